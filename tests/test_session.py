"""What all requests of a client share: places on the wire, retries, the HTTP client, words for what went wrong."""

from __future__ import annotations

import logging
import socket
import traceback
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import httpx
import pytest

from handtruck import S3Client
from handtruck._places import Places
from handtruck.errors import ConnectionFailed, HandtruckError, S3Error, TransferTimeout, UsageError
from tests.scripted import RESET, SILENCE, Peer, Reply, Request, client, error, quick, serve, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.scripted import TinyS3

pytestmark = pytest.mark.anyio

PART: Final = 1000
BODY: Final = bytes(range(256)) * 14
IMPATIENT: Final = httpx.Timeout(10, read=0.05)
GOES_RED: Final = (AssertionError, pytest.fail.Exception)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)


@dataclass
class Gate:
    """A handler that lets nobody through before it is opened; requests pile up at the peer."""

    reply: Reply = field(default_factory=Reply)
    opened: anyio.Event = field(default_factory=anyio.Event)

    async def __call__(self, _: Request) -> Reply:
        await self.opened.wait()
        return self.reply


def all_tokens_back(s3: S3Client) -> bool:
    return s3._session.places.taken == 0


async def settled() -> None:
    """Give everybody the time to do one thing too many."""
    for _ in range(3):
        await anyio.wait_all_tasks_blocked()


# -- Tokens ------------------------------------------------------------------------------------------------------------


async def check_no_more_than_max_connections(bend: Callable[[S3Client], None] = lambda _: None) -> None:
    gate = Gate()
    async with serve(gate) as peer, client(peer, max_connections=3) as s3, anyio.create_task_group() as group:
        bend(s3)
        for number in range(12):
            group.start_soon(s3.get, f"b/{number}")
        await peer.until(lambda: peer.busy >= 3)
        await settled()
        most = peer.busy
        gate.opened.set()
    assert (most, peer.most_busy, len(peer.requests)) == (3, 3, 12)
    assert all_tokens_back(s3)


async def test_never_more_than_max_connections_on_the_wire() -> None:
    await check_no_more_than_max_connections()


async def test_mutation_tokens_without_end() -> None:
    def bend(s3: S3Client) -> None:
        s3._session.places = Places(100)

    with pytest.raises(GOES_RED):
        await check_no_more_than_max_connections(bend)


async def test_the_workers_of_all_jobs_share_the_tokens(tmp_path: Path) -> None:
    async with store(max_connections=2) as (s3, tiny), anyio.create_task_group() as group:
        tiny.put("b/down", BODY)
        for number in range(3):
            up = partial(s3.put_multipart, f"b/{number}", BODY, part_size=PART, workers_count=4)
            down = partial(s3.get_file_parallel, "b/down", tmp_path / str(number), range_step=PART, workers_count=4)
            group.start_soon(up)
            group.start_soon(down)
    assert tiny.peer.most_busy <= tiny.peer.connections == 2
    assert {tiny.objects[f"b/{number}"].data for number in range(3)} == {BODY}
    assert all_tokens_back(s3)


async def check_tokens_come_back(reply: Reply, tmp_path: Path) -> None:
    async with serve(reply) as peer, client(peer, max_connections=1) as s3:
        for call in (
            partial(s3.get, "b/k", timeout=0.1),
            partial(s3.put_multipart, "b/k", BODY, part_size=PART, timeout=0.1),
            partial(s3.get_file_parallel, "b/k", tmp_path / "file", timeout=0.1),
        ):
            with suppress(HandtruckError), anyio.fail_after(5):
                await call()
            assert all_tokens_back(s3)


GARBAGE: Final = Reply(raw=b"?\r\n\r\n", then="close")


@pytest.mark.parametrize("reply", [error(500, "InternalError"), error(403, "AccessDenied"), RESET, GARBAGE])
async def test_every_token_comes_back_from_a_failure(reply: Reply, tmp_path: Path) -> None:
    await check_tokens_come_back(reply, tmp_path)


async def test_mutation_a_token_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Places, "give_back", lambda _: None)
    with pytest.raises(GOES_RED):
        await check_tokens_come_back(error(403, "AccessDenied"), tmp_path)


async def test_every_token_comes_back_from_a_cancellation() -> None:
    async with serve(SILENCE) as peer, client(peer, max_connections=2) as s3:
        async with anyio.create_task_group() as group:
            for number in range(5):  # two on the wire, three in the queue
                group.start_soon(s3.get, f"b/{number}")
            await peer.until(lambda: peer.busy == 2)
            await settled()
            group.cancel_scope.cancel()
        assert all_tokens_back(s3)
        await peer.until(lambda: peer.busy == 0)
        peer.handler = Gate(Reply(body=b"x"), opened := anyio.Event())
        opened.set()
        assert (await s3.get("b/k")).content == b"x"


async def check_an_abort_does_not_queue() -> None:
    """The only token is held by a request that is never answered, and four more wait for it."""
    async with store(max_connections=1) as (s3, tiny):
        tiny.on("GetObject", SILENCE)
        async with anyio.create_task_group() as group:

            async def refuse(_: Request) -> Reply:
                for number in range(5):
                    group.start_soon(s3.get, f"b/{number}")
                await settled()
                return error(400, "InvalidRequest")

            tiny.on("UploadPart", refuse)
            with pytest.raises(S3Error, match="InvalidRequest") as caught:
                await s3.put_multipart("b/k", BODY, part_size=PART)
            group.cancel_scope.cancel()
        assert not hasattr(caught.value, "__notes__")
        assert tiny.uploads == {}
        assert tiny.names[:4] == ["CreateMultipartUpload", "UploadPart", "GetObject", "AbortMultipartUpload"]
        assert tiny.peer.most_busy == 2


async def test_an_abort_does_not_queue_behind_others() -> None:
    await check_an_abort_does_not_queue()


async def test_mutation_no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Places.take

    async def as_everybody(self: Places, *, undo: bool = False) -> None:
        assert not (undo and self.taken >= self.size), "the abort would have to wait"
        await take(self)

    monkeypatch.setattr(Places, "take", as_everybody)
    with pytest.RaisesGroup(AssertionError):
        await check_an_abort_does_not_queue()


async def test_backoff_holds_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one request waits for its next attempt, another one gets through."""
    between: list[tuple[float, bytes]] = []

    async def sleep(_: float) -> None:
        between.append((s3._session.places.taken, (await s3.get("b/other")).content))

    async with store(max_connections=1) as (s3, tiny):
        monkeypatch.setattr("anyio.sleep", sleep)
        tiny.put("b/k", b"k")
        tiny.put("b/other", b"other")
        tiny.on("GetObject", error(503, "SlowDown"), key="b/k", nth=1)
        assert (await s3.get("b/k")).content == b"k"
    assert between == [(0, b"other")]


async def test_the_budget_for_retries_is_shared() -> None:
    """5 a retry: twelve are enough for two, whoever asks; then failures are final at once."""
    async with serve(error(500, "InternalError")) as peer, client(peer) as s3:
        s3._session.budget.tokens = 12
        await s3.get("b/one")
        assert len(peer.requests) == 3
        await s3.get("b/two")
        assert len(peer.requests) == 4


async def test_success_gives_the_budget_back() -> None:
    async with serve([error(500, "InternalError"), Reply()]) as peer, client(peer) as s3:
        s3._session.budget.tokens = 5
        await s3.get("b/k")
        assert s3._session.budget.tokens == 5
        await s3.get("b/k")
        assert s3._session.budget.tokens == 6


# -- A caller's httpx client -------------------------------------------------------------------------------------------


async def test_hooks_of_a_callers_client_run() -> None:
    seen: list[str] = []

    async def note_request(request: httpx.Request) -> None:
        seen.append(f"{request.method} {request.headers['authorization'].split()[0]}")

    async def note_response(response: httpx.Response) -> None:
        seen.append(str(response.status_code))

    hooks: dict[str, list[Callable[..., Any]]] = {"request": [note_request], "response": [note_response]}
    async with serve(Reply()) as peer, httpx.AsyncClient(event_hooks=hooks) as http:
        await client(peer, client=http).get("b/k")
    assert seen == ["GET AWS4-HMAC-SHA256", "200"]


async def test_a_hook_that_reads_answers(tmp_path: Path) -> None:
    """Welcome where the body is for the caller; a download needs the bodies itself, and says so."""

    async def read(response: httpx.Response) -> None:
        await response.aread()

    async with store() as (_, tiny), httpx.AsyncClient(event_hooks={"response": [read]}) as http:
        tiny.put("b/k", BODY)
        s3 = client(tiny.peer, client=http)
        assert (await s3.get("b/k")).content == BODY
        await s3.put_multipart("b/new", BODY, part_size=PART)
        with pytest.raises(UsageError, match=r"GetObject b/k at .*already been streamed"):
            await s3.get_file_parallel("b/k", tmp_path / "target")
        assert list(tmp_path.iterdir()) == []


async def test_headers_of_a_callers_client_are_sent_and_those_of_amazon_are_signed() -> None:
    headers = {"X-Amz-Meta-Team": "blue", "X-Other": "yes", "User-Agent": "mine"}
    async with serve(Reply()) as peer, httpx.AsyncClient(headers=headers, cookies={"a": "b"}) as http:
        await client(peer, client=http).put("b/k", b"data", headers={"X-Amz-Acl": "private"})
        [request] = peer.requests
        assert (request.header("x-amz-meta-team"), request.header("x-other")) == ("blue", "yes")
        assert (request.header("user-agent"), request.header("cookie")) == ("mine", "a=b")
        signed = (request.header("authorization") or "").split("SignedHeaders=")[1].split(",")[0].split(";")
        assert signed == ["host", "x-amz-acl", "x-amz-content-sha256", "x-amz-date", "x-amz-meta-team"]


async def test_a_callers_auth_is_not_applied() -> None:
    async with serve(Reply()) as peer, httpx.AsyncClient(auth=("user", "password")) as http:
        await client(peer, client=http).get("b/k")
        assert (peer.requests[0].header("authorization") or "").startswith("AWS4-HMAC-SHA256 ")


async def test_cookies_of_a_server_do_no_harm() -> None:
    async with serve(Reply(headers=(("Set-Cookie", "session=1"),))) as peer, httpx.AsyncClient() as http:
        s3 = client(peer, client=http)
        assert [(await s3.get("b/k")).status_code for _ in range(2)] == [200, 200]


async def test_a_callers_client_is_never_closed() -> None:
    async with serve(Reply()) as peer, httpx.AsyncClient() as http:
        async with client(peer, client=http) as s3:
            await s3.get("b/k")
        assert not http.is_closed
        assert (await http.get(peer.url)).status_code == 200
        with pytest.raises(UsageError, match="this S3Client is closed"):
            await s3.get("b/k")


async def test_a_callers_timeout_holds_unless_there_is_another() -> None:
    async with serve(SILENCE) as peer, httpx.AsyncClient(timeout=0.05) as http:
        s3 = client(peer, client=http, max_attempts=1)
        with pytest.raises(TransferTimeout):
            await s3.get("b/k")
        with anyio.move_on_after(0.2) as scope:
            await s3.get("b/k", timeout=60)
        assert scope.cancelled_caught


async def test_a_callers_base_url_does_not_matter() -> None:
    async with serve(Reply()) as peer, httpx.AsyncClient(base_url="http://nonexistent.invalid/x") as http:
        await client(peer, client=http).get("b/k")
        assert peer.requests[0].target == "/b/k"


async def test_default_params_of_a_callers_client_are_refused() -> None:
    async with httpx.AsyncClient(params={"acl": ""}) as http:
        with pytest.raises(UsageError, match="default params="):
            S3Client("http://localhost", http)


# -- A client of our own -----------------------------------------------------------------------------------------------


async def test_connections_are_kept_and_closed_in_the_end() -> None:
    async with store(max_connections=8) as (s3, tiny):
        tiny.put("b/k", BODY)
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(s3.get, "b/k")
        connections = tiny.peer.connections
        assert connections <= 9
        for _ in range(5):
            await s3.get("b/k")
        assert tiny.peer.connections == connections
        await s3.aclose()
        await tiny.peer.deserted()


async def test_a_closed_client_sends_no_more() -> None:
    async with serve(Reply()) as peer:
        async with client(peer) as s3:
            await s3.get("b/k")
        for _ in range(2):
            with pytest.raises(UsageError, match="this S3Client is closed"):
                await s3.get("b/k")
        await s3.aclose()
        assert len(peer.requests) == 1
        never_used = client(peer)
        await never_used.aclose()
        with pytest.raises(UsageError, match="closed"):
            await never_used.get("b/k")


async def test_a_connection_that_the_server_closed_meanwhile_is_not_noticed() -> None:
    async with serve([Reply(then="close"), Reply(then="close"), Reply(body=b"x")]) as peer, client(peer) as s3:
        for _ in range(2):
            await s3.get("b/k")
            await peer.until(lambda: peer.busy == 0)
        assert (await s3.get("b/k")).content == b"x"
        assert len(peer.requests) == 3


# -- What went wrong, in words -----------------------------------------------------------------------------------------


@asynccontextmanager
async def nobody() -> AsyncIterator[S3Client]:
    """A client of a port that is taken, and not listened at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
        async with quick(S3Client(url, access_key_id="k", secret_access_key="s")) as s3:
            yield s3


async def test_a_refused_connection_is_named() -> None:
    async with nobody() as s3:
        with pytest.raises(
            ConnectionFailed, match=r"GetObject b/k at 127\.0\.0\.1:\d+: .*refused.*\(4 attempts\)"
        ) as caught:
            await s3.get("b/k")
    assert isinstance(caught.value, httpx.TransportError)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert (caught.value.sent, caught.value.attempts) == (False, 4)


async def test_a_create_that_was_never_sent_is_tried_again() -> None:
    """It is not idempotent, but nothing left."""
    async with nobody() as s3:
        with pytest.raises(ConnectionFailed) as caught:
            await s3.put_multipart("b/k", BODY, part_size=PART)
    assert caught.value.attempts == 4
    assert not hasattr(caught.value, "__notes__")


async def test_a_host_that_does_not_exist_is_named() -> None:
    async with serve(Reply()) as peer, client(peer, url="http://nonexistent.invalid", max_attempts=1) as s3:
        with pytest.raises(ConnectionFailed, match=r"GetObject b/k at nonexistent\.invalid: .+") as caught:
            await s3.get("b/k")
        assert caught.value.sent is False


async def test_silence_is_a_timeout() -> None:
    async with serve(SILENCE) as peer, client(peer, max_attempts=2) as s3:
        with pytest.raises(TransferTimeout, match=r"HeadObject b/k at .*ReadTimeout.*2 attempts") as caught:
            await s3.head("b/k", timeout=IMPATIENT)
        assert isinstance(caught.value, TimeoutError)
        assert isinstance(caught.value, httpx.TimeoutException)
        assert len(peer.requests) == 2
        with pytest.raises(TransferTimeout):
            await s3.post("b/k", b"", timeout=IMPATIENT)
        assert len(peer.requests) == 3
        assert s3._session.budget.tokens == 490


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "begin with http"),
        ("localhost:9000", "begin with http"),
        ("ftp://localhost", "begin with http"),
        ("http://", "no usable host"),
        ("http://localhost:99999", "cannot be understood"),
        ("http://localhost:nine", "cannot be understood"),
        ("http://localhost/?uploads", "no [?]query"),
        ("http://localhost/#top", "no #fragment"),
        ("http://key:sec/ret@localhost", "%2F"),
    ],
)
def test_a_bad_url_is_refused_without_being_repeated(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        S3Client(url)
    assert "sec" not in str(caught.value).replace("secret", "")
    assert caught.value.__cause__ is None


async def test_no_credentials_are_an_error_before_anything_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    async with serve(Reply()) as peer, client(peer, access_key_id=None, secret_access_key=None) as s3:
        with pytest.raises(
            UsageError, match=r"no credentials: tried .*access_key_id.*AWS_ACCESS_KEY_ID.*AWS_CONFIG_FILE"
        ):
            await s3.get("b/k")
        with pytest.raises(UsageError, match="no credentials"):
            await s3.put_multipart("b/k", BODY, part_size=PART)
        assert peer.connections == 0


def zero(name: str, value: int = 0) -> dict[str, Any]:
    return {name: value}


@pytest.mark.parametrize("value", [0, -1])
def test_limits_below_one_are_refused(value: int) -> None:
    for name in ("max_connections", "max_attempts"):
        with pytest.raises(UsageError, match=f"{name} must be at least 1, not {value}"):
            S3Client("http://localhost", **zero(name, value))


async def refused(peer: Peer, call: Callable[[], Awaitable[object]], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        await call()
    assert peer.connections == 0


async def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BODY)
    async with serve(Reply()) as peer, client(peer) as s3:
        for name in ("workers_count", "max_size", "part_upload_tries"):
            await refused(peer, partial(s3.put_multipart, "b/k", BODY, **zero(name)), f"{name} must be at least 1")
            up = partial(s3.put_file_multipart, "b/k", tmp_path / "source", **zero(name))
            await refused(peer, up, f"{name} must be at least 1")
        for name in ("workers_count", "range_step", "range_get_tries", "buffer_size"):
            down = partial(s3.get_file_parallel, "b/k", tmp_path / "target", **zero(name))
            await refused(peer, down, f"{name} must be at least 1")
        await refused(peer, partial(s3.put_multipart, "b/k", BODY, part_size=0), "part_size must be from")
        await refused(peer, partial(s3.put_multipart, "b/k", BODY, part_size=6 << 30), "part_size must be from")
        await refused(peer, partial(s3.put_multipart, "b/", BODY), "names no object")
        await refused(peer, partial(s3.put_file, "b/k", tmp_path / "source", chunk_size=0), "chunk_size")
        await refused(peer, partial(s3.get_file_parallel, "b/", tmp_path / "target"), "names no object")
        ranged = partial(s3.get_file_parallel, "b/k", tmp_path / "target", headers={"range": "bytes=0-1"})
        await refused(peer, ranged, "sets the Range header itself")
        with pytest.raises(UsageError, match="max_keys"):
            s3.list_objects_v2("b", max_keys=0)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


async def test_a_source_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    async with serve(Reply()) as peer, client(peer) as s3:
        for call in (s3.put_file, s3.put_file_multipart):
            with pytest.raises(FileNotFoundError, match="missing"):
                await call("b/k", missing)
            with pytest.raises(UsageError, match="not a regular file"):
                await call("b/k", tmp_path)
        assert peer.connections == 0


async def test_a_target_that_cannot_be_written_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(BODY)
    async with serve(Reply()) as peer, client(peer) as s3:
        with pytest.raises(UsageError, match="folder is not a regular file"):
            await s3.get_file_parallel("b/k", tmp_path / "folder")
        with pytest.raises(FileNotFoundError, match="no such folder"):
            await s3.get_file_parallel("b/k", tmp_path / "no such folder" / "file")
        with pytest.raises(NotADirectoryError, match="file/below"):
            await s3.get_file_parallel("b/k", tmp_path / "file" / "below")
        assert peer.connections == 0
    assert (tmp_path / "file").read_bytes() == BODY
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]


async def test_progress_that_raises_fails_the_transfer(tmp_path: Path) -> None:
    def complain(_: object) -> None:
        raise ZeroDivisionError

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(ZeroDivisionError):
            await s3.put_multipart("b/new", BODY, part_size=PART, workers_count=3, progress=complain)
        assert tiny.uploads == {}
        with pytest.raises(ZeroDivisionError):
            await s3.get_file_parallel("b/k", tmp_path / "target", range_step=PART, progress=complain)
        assert list(tmp_path.iterdir()) == []
        assert all_tokens_back(s3)


# -- Secrets -----------------------------------------------------------------------------------------------------------

SECRET: Final = "marker/secret+key"
TOKEN: Final = "marker-session-token"
IN_URL: Final = "marker%2Fsecret%2Bkey"


def everything_said(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + repr(getattr(error, "__dict__", ""))


async def everything_that_can_happen(s3: S3Client, tiny: TinyS3, target: Path) -> list[str]:
    """Successes and failures of all sorts; gives what the failures said."""
    said: list[str] = []
    for reply in (
        None,
        error(403, "SignatureDoesNotMatch"),
        error(400, "ExpiredToken"),
        RESET,
        Reply(raw=b"?\r\n\r\n"),
    ):
        tiny.put("b/k", BODY)
        for name in ("GetObject", "UploadPart", "CompleteMultipartUpload", "ListObjectsV2"):
            tiny.on(name, reply)
        for call in (
            partial(s3.get, "b/k", timeout=0.1),
            partial(s3.put, "b/new", BODY, timeout=0.1),
            partial(s3.put_multipart, "b/new", BODY, part_size=PART, timeout=0.1),
            partial(s3.get_file_parallel, "b/k", target, timeout=0.1),
            partial(anext, s3.list_objects_v2("b")),
        ):
            try:
                await call()
            except HandtruckError as failed:
                said.append(everything_said(failed))
    return said


@pytest.mark.parametrize("where", ["keywords", "url"])
async def test_secrets_are_never_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str) -> None:
    """Neither by repr, nor by logs (ours, httpx's, httpcore's), nor by errors."""
    caplog.set_level(logging.DEBUG)
    async with store() as (_, tiny):
        if where == "url":
            options = {
                "url": tiny.peer.url.replace("://", f"://key-id:{IN_URL}@"),
                "access_key_id": None,
                "secret_access_key": None,
            }
        else:
            options = {"secret_access_key": SECRET, "session_token": TOKEN}
        async with client(tiny.peer, **options) as s3:
            said = await everything_that_can_happen(s3, tiny, tmp_path / "target")
            said += [repr(s3), str(s3), repr(s3.url), repr(s3._session), repr(s3._session.credentials)]
    assert len(said) > 15
    assert "handtruck" in {record.name for record in caplog.records}
    for text in (*said, caplog.text):
        assert "marker" not in text
