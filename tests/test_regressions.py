"""Bugs that were here once, each of them seen to fail before it was mended."""

from __future__ import annotations

import logging
import pickle
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from handtruck import S3Client
from handtruck._body import NO_BODY
from handtruck.credentials import AbstractCredentials, StaticCredentials
from handtruck.errors import AccessDenied, ConnectionFailed, InvalidResponse, S3Error, TransferTimeout, UsageError
from handtruck.models import Credentials
from handtruck.protocol.documents import parse_xml, write_completion
from tests.scripted import RESET, Reply, Request, client, serve, store
from tests.transport import peer as other_side

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

PART = 1024
BODY = bytes(range(256)) * 12


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", PART)


def error(status: int, code: str) -> Reply:
    return Reply(status=status, body=f"<Error><Code>{code}</Code></Error>".encode())


# -- Undoing -----------------------------------------------------------------------------------------------------------


async def test_many_uploads_cancelled_at_once_are_all_aborted() -> None:
    """Aborts use every place that the cancelled transfers gave back, and wait for their turn at no cost."""
    async with store(max_connections=4) as (s3, tiny):
        going = anyio.Event()
        held = 0

        async def hold(_: Request) -> Reply:
            nonlocal held
            held += 1
            if held == 4:
                going.set()
            await anyio.sleep_forever()
            raise AssertionError

        tiny.on("UploadPart", hold)
        async with anyio.create_task_group() as group:
            for number in range(40):
                group.start_soon(partial(s3.put_multipart, f"b/{number}", BODY, part_size=PART))
            await going.wait()
            await tiny.peer.until(lambda: len(tiny.uploads) > 4)
            assert len(tiny.uploads) > 4
            group.cancel_scope.cancel()
        assert tiny.uploads == {}
        # To the peer the four parts are still under way: it never learns that nobody waits for its answers.
        assert 4 + 2 <= tiny.peer.most_busy <= 4 + 5
        assert s3._session.places.taken == 0


async def test_an_older_copy_of_the_same_bytes_is_no_proof() -> None:
    async with store() as (s3, tiny):
        await s3.put_multipart("b/k", BODY, part_size=PART)
        tiny.on("CompleteMultipartUpload", error(500, "InternalError"))
        with pytest.raises(S3Error, match="InternalError"):
            await s3.put_multipart("b/k", BODY, part_size=PART, headers={"Content-Type": "text/new"})
        assert tiny.uploads == {}


async def test_the_payer_is_named_when_aborting() -> None:
    headers = {"x-amz-request-payer": "requester", "x-amz-expected-bucket-owner": "1", "x-amz-meta-a": "b"}
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"))
        with pytest.raises(AccessDenied):
            await s3.put_multipart("b/k", BODY, part_size=PART, headers=headers)
        sent = {call.method: dict(call.headers) for call in tiny.peer.requests if call.method in ("DELETE", "GET")}
        for method in ("DELETE", "GET"):
            names = {name.lower() for name in sent[method]}
            assert {"x-amz-request-payer", "x-amz-expected-bucket-owner"} <= names
            assert "x-amz-meta-a" not in names


# -- Signing -----------------------------------------------------------------------------------------------------------


async def test_a_request_is_signed_when_its_turn_has_come() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    opened = anyio.Event()

    async def hold(_: Request) -> Reply:
        await opened.wait()
        return Reply()

    async with serve(hold) as peer, client(peer, max_connections=1) as s3:
        s3._session.clock = lambda: now
        async with anyio.create_task_group() as group:
            group.start_soon(s3.get, "b/first")
            await peer.until(lambda: peer.busy == 1)
            group.start_soon(s3.get, "b/second")
            for _ in range(10):
                await anyio.lowlevel.checkpoint()
            now += timedelta(minutes=20)
            opened.set()
        dates = [{n.lower(): v for n, v in request.headers}["x-amz-date"] for request in peer.requests]
        assert dates == ["20260101T000000Z", "20260101T002000Z"]


@pytest.mark.parametrize(
    ("what", "keys"),
    [
        ("session token", {"session_token": "TOP-SECRET\n"}),
        ("access key id", {"access_key_id": "TOP-SECRET-ä"}),
        ("secret access key", {"secret_access_key": "TOP-SECRET\n"}),
        ("region", {"region": "TOP-SECRET\n"}),
    ],
)
async def test_keys_that_cannot_travel_are_named_but_not_shown(
    what: str, keys: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given: dict[str, Any] = {"access_key_id": "id", "secret_access_key": "secret"} | keys
    async with serve(Reply()) as peer, S3Client(peer.url, credentials=StaticCredentials(**given)) as s3:
        with pytest.raises(UsageError, match=f"the {what} has a line break") as caught:
            await s3.get("b/k")
        assert peer.requests == []
    assert "TOP-SECRET" not in f"{caught.value!r} {caplog.text}"


async def test_the_token_is_not_left_in_the_request() -> None:
    keys = StaticCredentials("id", "secret", session_token="TOP-SECRET")
    async with serve(Reply()) as peer, S3Client(peer.url, credentials=keys) as s3:
        response = await s3.get("b/k")
        assert {n.lower(): v for n, v in peer.requests[0].headers}["x-amz-security-token"] == "TOP-SECRET"
    assert "TOP-SECRET" not in repr(response.request.headers)


async def test_keys_in_the_url_and_a_source_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="one of credentials="):
        S3Client("http://a:b@localhost", credentials=StaticCredentials("c", "d"))


async def test_a_bare_400_to_head_may_mean_that_the_token_ran_out() -> None:
    class Rotating(AbstractCredentials):
        number = 0

        async def load(self, *, rejected: Credentials | None = None) -> Credentials:
            self.number += rejected is not None
            return Credentials(access_key_id="id", secret_access_key="s", session_token=f"t{self.number}")

    source = Rotating()
    async with serve([Reply(status=400), Reply()]) as peer, S3Client(peer.url, credentials=source) as s3:
        assert (await s3.head("b/k")).status_code == 200
        assert source.number == 1
    async with serve(Reply(status=400)) as peer, client(peer) as s3:
        assert (await s3.head("b/k")).status_code == 400
        assert len(peer.requests) == 1  # keys without a token do not run out


# -- Errors ------------------------------------------------------------------------------------------------------------


async def test_a_hook_that_judges_answers_is_believed() -> None:
    async def judge(response: httpx.Response) -> None:
        response.raise_for_status()

    async with (
        serve(Reply(status=403)) as peer,
        httpx.AsyncClient(event_hooks={"response": [judge]}) as http,
        client(peer, client=http) as s3,
    ):
        with pytest.raises(httpx.HTTPStatusError):
            await s3.get("b/k")
        assert len(peer.requests) == 1


async def test_a_source_of_keys_that_speaks_to_s3_is_heard() -> None:
    class Refused(AbstractCredentials):
        def __init__(self, error: Exception) -> None:
            self.error = error

        async def load(self, *, rejected: Credentials | None = None) -> Credentials:
            raise self.error

    for failure in (S3Error("sts says no", status=403), InvalidResponse("nonsense")):
        async with serve(Reply()) as peer, S3Client(peer.url, credentials=Refused(failure)) as s3:
            with pytest.raises(type(failure)) as caught:
                await s3.get("b/k")
            assert caught.value is failure
            assert "attempts" not in str(failure)


async def test_attempts_are_counted_not_guessed() -> None:
    broken = Reply(headers=(("Content-Encoding", "gzip"),), body=b"not packed at all")
    async with serve(broken) as peer, client(peer) as s3:
        with pytest.raises(ConnectionFailed) as caught:
            await s3.post("b/k", b"")
        assert caught.value.attempts == len(peer.requests) == 1


# httpx leaves its generators suspended where decoding fails, and trio warns of such.
test_attempts_are_counted_not_guessed = pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")(
    test_attempts_are_counted_not_guessed
)


async def test_a_closed_client_of_the_callers_is_named() -> None:
    http = httpx.AsyncClient()
    s3 = S3Client("http://localhost", http, access_key_id="a", secret_access_key="b")
    await http.aclose()
    with pytest.raises(UsageError, match="given as client= is closed"):
        await s3.get("b/k")


@pytest.mark.parametrize("timeout", [-1, "soon", (1, -2)])
async def test_timeouts_that_are_none(timeout: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    async with serve(Reply()) as peer, client(peer) as s3:
        for call in (
            partial(s3.get, "b/k"),
            partial(s3.put, "b/k", [b"x"]),
            partial(s3.put_file, "b/k", tmp_path / "file"),
            partial(s3.put_multipart, "b/k", b"x"),
            partial(s3.put_file_multipart, "b/k", tmp_path / "file"),
            partial(s3.get_file_parallel, "b/k", tmp_path / "copy"),
        ):
            with pytest.raises(UsageError, match="timeout must be seconds"):
                await call(timeout=timeout)
        assert peer.connections == 0


async def test_a_pool_that_is_too_small_is_named() -> None:
    opened = anyio.Event()

    async def hold(_: Request) -> Reply:
        await opened.wait()
        return Reply()

    limits, timeout = httpx.Limits(max_connections=1), httpx.Timeout(5, pool=0.05)
    async with serve(hold) as peer, httpx.AsyncClient(limits=limits, timeout=timeout) as http:
        s3 = client(peer, client=http, max_attempts=1)
        async with anyio.create_task_group() as group:
            group.start_soon(s3.get, "b/first")
            await peer.until(lambda: peer.busy == 1)
            with pytest.raises(TransferTimeout, match="set max_connections= of S3Client"):
                await s3.get("b/second")
            opened.set()


async def test_the_request_of_a_failure_is_known_without_its_signature() -> None:
    async with serve(RESET) as peer, client(peer, max_attempts=1) as s3:
        with pytest.raises(ConnectionFailed) as caught:
            await s3.get("b/k")
        assert caught.value.request.url.path == "/b/k"
        assert "authorization" not in caught.value.request.headers
        assert pickle.loads(pickle.dumps(caught.value)).attempts == 1  # noqa: S301 - our own


async def test_a_conditional_write_is_not_repeated_after_a_500() -> None:
    async with serve(error(500, "InternalError")) as peer, client(peer) as s3:
        await s3.put("b/k", BODY, headers={"If-None-Match": "*"})
        assert len(peer.requests) == 1
        await s3.put("b/k", BODY)
        assert len(peer.requests) == 5


async def test_parameters_that_are_none() -> None:
    async with serve(Reply()) as peer, client(peer) as s3:
        for value in (b"ab", object(), [b"a"]):
            params: Any = {"x": value}
            with pytest.raises(UsageError, match="a query parameter must be"):
                await s3.get("b/k", params=params)
        assert peer.connections == 0


def test_ten_thousand_parts_are_one_flat_text() -> None:
    root = parse_xml(write_completion((number, f'"{number}&<"') for number in range(10_000, 0, -1)))
    assert [part.findtext("PartNumber") for part in root] == [str(number) for number in range(1, 10_001)]
    assert root[0].findtext("ETag") == '"1&<"'
    assert NO_BODY.length == 0


@pytest.mark.transport_only("httpcore looks for no answer while a body blocks")
async def test_a_yes_before_all_was_heard_stores_nothing(tmp_path: Path) -> None:
    """A peer that answers 200 to half of an object has not got it."""
    large = bytes(16 * 1024 * 1024)
    path = tmp_path / "large"
    path.write_bytes(large)

    async def hasty(line: other_side.Line) -> None:
        await line.head()
        await line.send(*other_side.ok(b"", b'ETag: "x"').segments)
        await anyio.sleep_forever()

    async with (
        other_side.serving(hasty, memory=16 * 1024) as peer,
        S3Client(peer.url, access_key_id="key-id", secret_access_key="secret", max_attempts=1) as s3,
    ):
        with pytest.raises(ConnectionFailed, match="answered 200 before"):
            await s3.put("b/k", large, timeout=2.0)
        with pytest.raises(ConnectionFailed, match="answered 200 before"):
            await s3.put_file("b/k", path, timeout=2.0)


async def test_the_content_of_a_request_that_has_none() -> None:
    async with serve(Reply()) as peer, client(peer) as s3:
        response = await s3.get("b/k")
        assert response.request.content == b""
        assert response.request.read() == b""
