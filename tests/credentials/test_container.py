"""The container's credentials service, scripted on loopback. The invariant: keys never cross a road that is open."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.credentials import ContainerCredentials, container
from handtruck.credentials.answers import keys_in, region_in
from handtruck.credentials.container import FULL, RELATIVE, TOKEN, TOKEN_FILE, is_near, place_of
from handtruck.errors import ConnectionFailed, InvalidResponse, TransferTimeout, UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import SECRET, START, Clock
from tests.credentials.scripted_metadata import TOKEN as SESSION_TOKEN
from tests.credentials.scripted_service import Request, Service, serve
from tests.leaks import assert_clean, leaks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

PASS = "marker-authorization"
PATH = "/v2/credentials/marker-path"
MARKERS = (SECRET, SESSION_TOKEN, PASS, "marker-path")
SHORT = 0.05


@dataclass
class Script:
    """Gives keys that last six hours, each time others."""

    expires: Any = START + timedelta(hours=6)
    given: int = 0
    instead: tuple[int, bytes] | None = None
    changes: dict[str, object] = field(default_factory=dict)

    def __call__(self, request: Request) -> tuple[int, bytes]:
        self.given += 1
        return self.instead or (200, self.document(self.given))

    def document(self, number: int) -> bytes:
        whole: dict[str, object] = {
            "AccessKeyId": f"ASIA{number}",
            "SecretAccessKey": SECRET,
            "Token": SESSION_TOKEN,
            "Expiration": self.expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return json.dumps({name: value for name, value in (whole | self.changes).items() if value is not None}).encode()

    def expected(self, number: int) -> Credentials:
        return Credentials(
            access_key_id=f"ASIA{number}",
            secret_access_key=SECRET,
            session_token=SESSION_TOKEN,
            expires_at=self.expires,
        )


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="service")
def _service(script: Script) -> Iterator[Service]:
    with serve(script) as service:
        yield service


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "RETRY_PAUSES", (0, 0))


def source_of(
    service: Service, clock: Clock, variables: dict[str, str] | None = None, *, timeout: float = 10
) -> ContainerCredentials:
    environ = variables or {RELATIVE: PATH}
    return ContainerCredentials(host=service.url, timeout=timeout, clock=clock, environ=environ)


# Where to ask.


async def test_nothing_is_asked_where_nothing_is_said() -> None:
    source = ContainerCredentials(environ={TOKEN: PASS})
    assert await source.load() == Credentials()
    assert source.reason == f"neither {RELATIVE} nor {FULL} is set"


async def test_the_relative_uri(service: Service, script: Script, clock: Clock) -> None:
    source = source_of(service, clock, {RELATIVE: PATH + "?a=b", FULL: "http://never.example"})
    assert await source.get() == await source.get() == script.expected(1)
    [request] = service.requests
    assert (request.method, request.path) == ("GET", PATH + "?a=b")
    assert "authorization" not in request.headers


async def test_the_full_uri(service: Service, script: Script, clock: Clock) -> None:
    source = ContainerCredentials(clock=clock, environ={FULL: service.url + "/get", TOKEN: PASS}, timeout=10)
    assert await source.get() == script.expected(1)
    [request] = service.requests
    assert (request.path, request.headers["authorization"]) == ("/get", PASS)


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost/x",
        "http://127.0.0.1:1234/x",
        "http://127.8.9.10/x",
        "http://[::1]/x",
        "http://169.254.170.2/x",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::23]/v1/credentials",
        "https://keys.example/x",
        "https://192.0.2.1/x",
    ],
)
def test_places_that_are_asked(url: str) -> None:
    place = place_of({FULL: url})
    assert place is not None
    assert place.url == url


OPEN_ROADS = [
    "http://keys.example/x",
    "http://169.254.169.254/x",
    "http://169.254.170.3/x",
    "http://[fd00:ec2::254]/x",
    "http://10.0.0.1/x",
    "http://0.0.0.0/x",
    "http://127.0.0.1.keys.example/x",
    "http://localhost.keys.example/x",
    "http://127.1/x",
    "http://2130706433/x",
]


@pytest.mark.parametrize("url", OPEN_ROADS)
def test_open_roads(url: str) -> None:
    with pytest.raises(UsageError, match="everybody could read the keys"):
        place_of({FULL: url})


async def test_an_open_road_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("something was sent")

    monkeypatch.setattr(container, "ask", never)
    with pytest.raises(UsageError, match="everybody could read the keys"):
        await ContainerCredentials(environ={FULL: OPEN_ROADS[0], TOKEN: PASS}).load()


def test_mutation_every_host_is_near(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "is_near", lambda _: True)
    for url in OPEN_ROADS:
        assert place_of({FULL: url}), "the check above stands on is_near()"


@pytest.mark.parametrize(
    "variables",
    [
        {RELATIVE: "v2/credentials"},
        {RELATIVE: "@keys.example/x"},
        {FULL: "keys.example"},
        {FULL: "ftp://127.0.0.1/x"},
        {FULL: "http://"},
        {FULL: f"http://user:{SECRET}@127.0.0.1/x"},
        {FULL: f"http://127.0.0.1:{SECRET}/x"},
        {FULL: "\0"},
    ],
)
async def test_variables_that_make_no_url(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="AWS_CONTAINER_CREDENTIALS_") as raised:
        await ContainerCredentials(environ=variables).load()
    assert_clean(raised.value, MARKERS)


@given(st.text() | st.ip_addresses().map(str))
def test_any_host_is_near_or_far(host: str) -> None:
    assert is_near(host) in (True, False)


# The token.


async def test_the_tokens_file_is_read_anew_each_time(
    service: Service, script: Script, clock: Clock, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    source = source_of(service, clock, {RELATIVE: PATH, TOKEN: "other", TOKEN_FILE: str(file)})
    rejected = None
    for number, token in enumerate(("first", "second"), 1):
        file.write_text(token)
        rejected = await source.get(rejected=rejected)
        assert rejected == script.expected(number)
    assert [request.headers["authorization"] for request in service.requests] == ["first", "second"]


@pytest.mark.parametrize("content", [b"", PASS.encode() + b"\n", PASS.encode() + b"\r\nx: y", b"\xff", b"a" * 20001])
async def test_a_token_that_cannot_be_sent(service: Service, clock: Clock, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(UsageError, match=f"no token in .*{TOKEN_FILE}.*one line") as raised:
        await source_of(service, clock, {RELATIVE: PATH, TOKEN_FILE: str(tmp_path / "token")}).load()
    assert_clean(raised.value, MARKERS)
    if content and len(content) < 100:
        with pytest.raises(UsageError, match=f"{TOKEN} is not one line") as raised:
            await source_of(service, clock, {RELATIVE: PATH, TOKEN: content.decode("latin-1")}).load()
        assert_clean(raised.value, MARKERS)
    assert service.requests == []


async def test_a_tokens_file_that_is_not_there(service: Service, clock: Clock, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        await source_of(service, clock, {RELATIVE: PATH, TOKEN_FILE: str(tmp_path / "token")}).load()


# Failures.


async def test_a_failure_is_tried_three_times(service: Service, script: Script, clock: Clock) -> None:
    service.first = [(500, b""), (0, b"")]
    source = source_of(service, clock)
    found = await source.get()
    assert found == script.expected(1)
    script.instead = 503, b""
    with pytest.raises(InvalidResponse, match="answered 503") as raised:
        await source.get(rejected=found)
    assert len(service.requests) == 6
    assert_clean(raised.value, MARKERS)
    script.instead = 0, b""
    with pytest.raises(ConnectionFailed, match="no answer from the container") as lost:
        await source.get(rejected=found)
    assert len(service.requests) == 9
    assert_clean(lost.value, MARKERS)


async def test_silence_ends(service: Service, clock: Clock) -> None:
    service.hold = True
    source = source_of(service, clock, {RELATIVE: PATH, TOKEN: PASS}, timeout=SHORT)
    with pytest.raises(TransferTimeout, match="did not answer") as raised:
        await source.load()
    assert_clean(raised.value, MARKERS)


async def test_a_refusal_is_final_and_tells_its_code(service: Service, script: Script, clock: Clock) -> None:
    script.instead = 400, json.dumps({"code": "InvalidRequest", "message": PASS}).encode()
    with pytest.raises(InvalidResponse, match="answered 400: InvalidRequest") as raised:
        await source_of(service, clock, {RELATIVE: PATH, TOKEN: PASS}).load()
    assert len(service.requests) == 1
    assert_clean(raised.value, MARKERS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"AccessKeyId": None}, "AccessKeyId is missing"),
        ({"AccessKeyId": "a\nb"}, "AccessKeyId is missing or not plain"),
        ({"SecretAccessKey": [SECRET]}, "SecretAccessKey is missing"),
        ({"Token": ""}, "Token is missing"),
        ({"Expiration": SECRET}, "Expiration is missing"),
        ({"Code": "NoRole"}, "no keys: NoRole"),
        ({"Code": f"{SECRET}!"}, "an unreadable code"),
        ({"Expiration": "2020-01-01T00:00:00Z"}, "already ended"),
    ],
)
async def test_nonsense(service: Service, script: Script, clock: Clock, changes: dict[str, object], words: str) -> None:
    script.changes = changes
    with pytest.raises(InvalidResponse, match=words) as raised:
        await source_of(service, clock).load()
    assert_clean(raised.value, MARKERS)


def test_mutation_a_local_with_a_secret_is_found() -> None:
    """Against a search for leaks that finds nothing."""

    def parse(body: bytes) -> None:
        raise InvalidResponse("nonsense") from ValueError(body)

    with pytest.raises(InvalidResponse) as raised:
        parse(SECRET.encode())
    assert leaks(raised.value, MARKERS) == ["ValueError: str", "ValueError: repr"]


# Freshness.


async def test_refreshed_in_the_middle_and_kept_while_they_last(service: Service, script: Script, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    script.instead = 500, b""
    clock.advance(hours=5, minutes=50)
    assert await source.get() == old
    clock.advance(minutes=10)
    with pytest.raises(InvalidResponse):
        await source.get()
    script.instead = None
    script.expires += timedelta(hours=6)
    assert await source.get() == script.expected(script.given)


async def test_twenty_at_once_make_one_request_though_one_of_them_is_cancelled(
    service: Service, script: Script, clock: Clock
) -> None:
    source = source_of(service, clock)
    service.hold = True
    found: list[Credentials | None] = []

    async def get() -> None:
        found.append(await source.get())

    async with anyio.create_task_group() as waiters:
        async with anyio.create_task_group() as fetchers:
            fetchers.start_soon(source.get)
            await service.arrival()
            for _ in range(19):
                waiters.start_soon(get)
            await anyio.wait_all_tasks_blocked()
            fetchers.cancel_scope.cancel()
        await service.arrival()
        service.release()
    assert len(service.requests) == 2, "one was cancelled, one more served all"
    assert len(found) == 19
    assert len({one and one.access_key_id for one in found}) == 1


def test_a_natively_cancelled_fetch_leaves_nothing_behind(
    service: Service, script: Script, clock: Clock, tmp_path: Path
) -> None:
    """``asyncio.Task.cancel()`` strikes once, at whatever is awaited."""
    (tmp_path / "token").write_text(PASS)
    source = source_of(service, clock, {RELATIVE: PATH, TOKEN_FILE: str(tmp_path / "token")})

    async def cancel_and_get() -> None:
        service.hold = True
        task = asyncio.create_task(source.get())
        await service.arrival()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        early = asyncio.create_task(source.get())
        await asyncio.sleep(0)
        early.cancel()  # the token's file is being read
        with pytest.raises(asyncio.CancelledError):
            await early
        service.release()
        assert await source.get() == script.expected(script.given)

    asyncio.run(cancel_and_get())


async def test_what_is_pickled_is_where_to_look(service: Service, script: Script, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(PASS)
    source = source_of(service, clock, {RELATIVE: PATH, TOKEN_FILE: str(tmp_path / "token")})
    await source.get()
    pickled = pickle.dumps(source)
    assert [marker for marker in (SECRET, SESSION_TOKEN, PASS) if marker.encode() in pickled] == []
    assert await pickle.loads(pickled).get() == script.expected(2)  # noqa: S301 - our own
    with pytest.raises(TypeError, match=f"environ= with {TOKEN}"):
        pickle.dumps(source_of(service, clock, {RELATIVE: PATH, TOKEN: PASS}))


async def test_no_secret_is_logged_or_printed(service: Service, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    source = source_of(service, clock, {RELATIVE: PATH, TOKEN: PASS})
    found = await source.get()
    assert "answered 200" in caplog.text, "nothing was captured"
    seen = "\n".join([caplog.text, repr(source), source.tried, repr(found)])
    assert [marker for marker in MARKERS if marker in seen] == []


# The pure half.

_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["Code", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"]), inner)
    ),
)


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_keys_or_words(body: bytes) -> None:
    found = keys_in(body)
    assert isinstance(found, str) or found.complete
    assert region_in(body) is None


_PLAIN = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(_PLAIN, _PLAIN, _PLAIN, st.datetimes())
def test_what_was_written_is_read(key_id: str, secret: str, token: str, end: Any) -> None:
    document = {"AccessKeyId": key_id, "SecretAccessKey": secret, "Token": token, "Expiration": end.isoformat() + "Z"}
    found = keys_in(json.dumps(document).encode())
    assert isinstance(found, Credentials)
    assert (found.access_key_id, found.secret_access_key, found.session_token) == (key_id, secret, token)
    assert found.expires_at is not None
    assert found.expires_at.replace(tzinfo=None) == end
