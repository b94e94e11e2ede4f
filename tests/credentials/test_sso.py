"""IAM Identity Center: tokens on disk, as ``aws sso login`` leaves them; portal and token service are scripted."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, urlsplit

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.credentials import SSOCredentials, sso, sso_cache
from handtruck.credentials.sso_cache import Token, parse_token, renewed
from handtruck.errors import AccessDenied, ConnectionFailed, InvalidResponse, NotFound, UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import SECRET, START, TOKEN, Clock
from tests.credentials.scripted_service import Request, Service, serve
from tests.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

START_URL = "https://somewhere.awsapps.example/start"
SESSION = "my-sso"
ACCESS = ("marker-access-0", "marker-access-1", "marker-access-2")
REFRESH = ("marker-refresh-0", "marker-refresh-1", "marker-refresh-2")
CLIENT_SECRET = "marker-client-secret"
MARKERS = (SECRET, TOKEN, CLIENT_SECRET, "marker-access", "marker-refresh")


@dataclass
class Script:
    """Portal and token service in one. A token is good for one refresh, as there: each gives another.

    Attributes:
        good: the access token that the portal takes.
        instead: answers by path.
    """

    good: int = 0
    given: int = 0
    expires: datetime = START + timedelta(hours=2)
    instead: dict[str, tuple[int, bytes]] = field(default_factory=dict)

    def __call__(self, request: Request) -> tuple[int, bytes]:
        path = urlsplit(request.path).path
        if path in self.instead:
            return self.instead[path]
        return self.token(request) if path == "/token" else self.keys(request)

    def token(self, request: Request) -> tuple[int, bytes]:
        asked = json.loads(request.body)
        expected = {
            "clientId": "client",
            "clientSecret": CLIENT_SECRET,
            "grantType": "refresh_token",
            "refreshToken": REFRESH[self.good],
        }
        if asked != expected or request.method != "POST":
            return 400, json.dumps({"error": "invalid_grant", "error_description": REFRESH[0]}).encode()
        self.good += 1
        given = {"accessToken": ACCESS[self.good], "refreshToken": REFRESH[self.good], "expiresIn": 3600}
        return 200, json.dumps({**given, "tokenType": "Bearer"}).encode()

    def keys(self, request: Request) -> tuple[int, bytes]:
        url = urlsplit(request.path)
        assert (request.method, url.path) == ("GET", "/federation/credentials")
        assert dict(parse_qsl(url.query)) == {"role_name": "reader", "account_id": "123456789012"}
        if request.headers.get("x-amz-sso_bearer_token") != ACCESS[self.good]:
            return 401, json.dumps({"__type": "UnauthorizedException", "message": ACCESS[0]}).encode()
        self.given += 1
        keys = {
            "accessKeyId": f"ASIA{self.given}",
            "secretAccessKey": SECRET,
            "sessionToken": TOKEN,
            "expiration": int(self.expires.timestamp() * 1000),
        }
        return 200, json.dumps({"roleCredentials": keys}).encode()

    def expected(self, number: int) -> Credentials:
        return Credentials(
            access_key_id=f"ASIA{number}", secret_access_key=SECRET, session_token=TOKEN, expires_at=self.expires
        )


@dataclass
class Cache:
    """The command line's folder."""

    folder: Path

    def path(self, name: str = SESSION) -> Path:
        return self.folder / (hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest() + ".json")

    def write(self, name: str = SESSION, *, ends: datetime = START + timedelta(hours=8), **changes: object) -> None:
        """What ``aws sso login`` writes; a change to None leaves something out."""
        written: dict[str, object] = {
            "startUrl": START_URL,
            "region": "eu-west-1",
            "accessToken": ACCESS[0],
            "expiresAt": ends.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "clientId": "client",
            "clientSecret": CLIENT_SECRET,
            "registrationExpiresAt": "2025-06-01T00:00:00Z",
            "refreshToken": REFRESH[0],
        }
        document = {key: value for key, value in (written | changes).items() if value is not None}
        self.path(name).write_text(json.dumps(document))

    def read(self, name: str = SESSION) -> dict[str, object]:
        document: dict[str, object] = json.loads(self.path(name).read_text())
        return document


@pytest.fixture(name="script")
def _script() -> Script:
    return Script()


@pytest.fixture(name="service")
def _service(script: Script) -> Iterator[Service]:
    with serve(script) as service:
        yield service


@pytest.fixture(name="cache")
def _cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="source")
def _source(service: Service, cache: Cache, clock: Clock) -> SSOCredentials:
    return source_of(service, cache, clock)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sso, "RETRY_PAUSES", (0, 0))


def source_of(
    service: Service, cache: Cache, clock: Clock, *, session: str = SESSION, profile: str = "", url: str = ""
) -> SSOCredentials:
    return SSOCredentials(
        account_id="123456789012",
        role_name="reader",
        start_url=START_URL,
        sso_region="eu-west-1",
        session=session,
        cache_dir=cache.folder,
        profile=profile,
        portal=service.url,
        oidc=(url or service.url) + "/",
        clock=clock,
        environ={},
    )


def paths(service: Service) -> list[str]:
    return [urlsplit(request.path).path for request in service.requests]


# The token that is there.


@pytest.mark.parametrize("session", [SESSION, ""])
async def test_both_forms(service: Service, script: Script, cache: Cache, clock: Clock, session: str) -> None:
    """A session's token is found by its name, in the older form by the start URL."""
    cache.write(session or START_URL)
    source = source_of(service, cache, clock, session=session)
    assert await source.get() == await source.get() == script.expected(1)
    assert paths(service) == ["/federation/credentials"]


async def test_the_first_command_lines_dates(source: SSOCredentials, script: Script, cache: Cache) -> None:
    cache.write(expiresAt="2025-03-01T20:00:00UTC")
    assert await source.get() == script.expected(1)


@pytest.mark.parametrize(
    ("session", "profile", "command"),
    [
        (SESSION, "", "aws sso login --sso-session my-sso"),
        (SESSION, "work", "aws sso login --profile work"),
        ("", "", "aws sso login"),
    ],
)
async def test_nobody_has_signed_on(
    service: Service, cache: Cache, clock: Clock, session: str, profile: str, command: str
) -> None:
    with pytest.raises(UsageError, match=f"there is no token in .*; sign on with: {command}$"):
        await source_of(service, cache, clock, session=session, profile=profile).load()
    assert service.requests == []


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"accessToken": "marker-access-0"}', b"[" * 60000])
async def test_a_file_that_holds_no_token(source: SSOCredentials, cache: Cache, content: bytes) -> None:
    cache.path().write_bytes(content)
    with pytest.raises(UsageError, match="there is no token") as raised:
        await source.load()
    assert_clean(raised.value, MARKERS)


async def test_a_file_that_cannot_be_read(source: SSOCredentials, cache: Cache) -> None:
    cache.path().mkdir()
    with pytest.raises(UsageError, match="Is a directory"):
        await source.load()


# A newer token.


async def test_a_token_that_ends_soon_is_renewed_and_kept(
    source: SSOCredentials, service: Service, script: Script, cache: Cache
) -> None:
    cache.write(ends=START + timedelta(minutes=10), kept="as it was")
    assert await source.get() == script.expected(1)
    assert paths(service) == ["/token", "/federation/credentials"]
    written = cache.read()
    assert (written["accessToken"], written["refreshToken"]) == (ACCESS[1], REFRESH[1])
    assert (written["expiresAt"], written["kept"]) == ("2025-03-01T13:00:00Z", "as it was")
    assert stat.S_IMODE(cache.path().stat().st_mode) == 0o600
    assert [file.name for file in cache.folder.iterdir()] == [cache.path().name]


@pytest.mark.parametrize(
    "changes",
    [
        {"refreshToken": None},
        {"clientId": None},
        {"clientSecret": None},
        {"registrationExpiresAt": "2025-01-01T00:00:00Z"},
    ],
)
async def test_a_token_that_cannot_be_renewed(
    source: SSOCredentials, service: Service, script: Script, cache: Cache, clock: Clock, changes: dict[str, Any]
) -> None:
    cache.write(SESSION, ends=START + timedelta(minutes=10), **changes)
    assert await source.get() == script.expected(1)
    clock.advance(hours=3)
    with pytest.raises(UsageError, match="has ended; sign on with: aws sso login") as raised:
        await source.get()
    assert paths(service) == ["/federation/credentials"]
    assert_clean(raised.value, MARKERS)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((400, b'{"error": "invalid_grant", "error_description": "marker-refresh-0"}'), UsageError, "invalid_grant"),
        ((401, b"marker-refresh-0"), UsageError, "refused .401.; sign on"),
        ((403, b"{}"), AccessDenied, "CreateToken was refused: status 403"),
        ((500, b"marker-refresh-0"), InvalidResponse, "status 500"),
        ((0, b""), ConnectionFailed, "no answer"),
        ((200, b'{"accessToken": "marker-access-1"}'), InvalidResponse, "no whole token"),
        ((200, b'{"accessToken": "marker-access-1", "expiresIn": 1e300}'), InvalidResponse, "no whole token"),
    ],
)
async def test_a_refused_renewal_leaves_the_old_token_while_it_lasts(
    service: Service,
    script: Script,
    cache: Cache,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    answer: tuple[int, bytes],
    kind: type[Exception],
    words: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    cache.write(ends=START + timedelta(minutes=10))
    before = cache.read()
    script.instead["/token"] = answer
    source = source_of(service, cache, clock)
    assert await source.get() == script.expected(1)
    clock.advance(hours=3)
    with pytest.raises(kind, match=words) as raised:
        await source.get()
    assert cache.read() == before
    assert_clean(raised.value, MARKERS)
    assert "no newer token" in caplog.text
    assert [marker for marker in MARKERS if marker in caplog.text] == []


async def test_another_process_was_faster(
    source: SSOCredentials, service: Service, script: Script, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has used the refresh token up, and left a newer one."""
    cache.write(ends=START - timedelta(minutes=1))

    def refuse(request: Request) -> tuple[int, bytes]:
        script.good = 1
        cache.write(accessToken=ACCESS[1], refreshToken=REFRESH[1])
        return 400, b'{"error": "invalid_grant"}'

    monkeypatch.setattr(script, "token", refuse)
    assert await source.get() == script.expected(1)


async def test_a_folder_that_cannot_be_written(
    source: SSOCredentials,
    script: Script,
    cache: Cache,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The newer token is kept in memory, for the older one's refresh token is used up."""

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sso_cache, "mkstemp", full)
    cache.write(ends=START)
    found = await source.get()
    assert found == script.expected(1)
    assert cache.read()["accessToken"] == ACCESS[0]
    assert await source.get(rejected=found) == script.expected(2)
    assert [marker for marker in MARKERS if marker.encode() in pickle.dumps(source)] == []
    clock.advance(minutes=59)
    assert await source.get(rejected=script.expected(2)) == script.expected(3)
    assert script.good == 2, "the newer refresh token was used"
    assert "cannot keep the newer token" in caplog.text


def test_mutation_a_file_that_is_not_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens between, the old file is whole and nothing lies beside it."""
    cache = Cache(tmp_path)
    cache.write()
    token = parse_token(cache.path().read_bytes())
    assert token is not None

    def broken(*args: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type(tmp_path), "replace", broken)
    with pytest.raises(OSError, match="Input/output"):
        sso_cache.write_token(cache.path(), token)
    assert cache.read()["accessToken"] == ACCESS[0]
    assert len(list(tmp_path.iterdir())) == 1


# The portal.


async def test_a_token_that_was_revoked(source: SSOCredentials, script: Script, cache: Cache) -> None:
    cache.write()
    script.good = 2
    with pytest.raises(UsageError, match="no longer good; sign on with") as raised:
        await source.load()
    assert_clean(raised.value, MARKERS)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((403, b'{"__type": "ForbiddenException", "message": "No access"}'), AccessDenied, "ForbiddenException"),
        ((404, b'{"__type": "ResourceNotFoundException"}'), NotFound, "ResourceNotFoundException"),
        ((400, b"marker-access-0"), Exception, "status 400"),
        ((302, b""), InvalidResponse, "status 302"),
        ((503, b"marker-access-0"), InvalidResponse, "status 503"),
        ((0, b""), ConnectionFailed, "no answer"),
        ((200, b"{}"), InvalidResponse, "no whole temporary keys"),
        ((200, b'{"roleCredentials": {"secretAccessKey": "marker/secret+key"}}'), InvalidResponse, "no whole"),
        ((200, b" " * 65537), InvalidResponse, "longer"),
    ],
)
async def test_a_portal_that_says_no(
    source: SSOCredentials,
    service: Service,
    script: Script,
    cache: Cache,
    answer: tuple[int, bytes],
    kind: type[Exception],
    words: str,
) -> None:
    cache.write()
    script.instead["/federation/credentials"] = answer
    with pytest.raises(kind, match=words) as raised:
        await source.load()
    assert len(service.requests) == (3 if answer[0] in (0, 503) else 1)
    assert_clean(raised.value, MARKERS)


async def test_refreshed_in_the_middle_and_kept_while_they_last(
    source: SSOCredentials, script: Script, cache: Cache, clock: Clock
) -> None:
    cache.write()
    old = await source.get()
    script.instead["/federation/credentials"] = 500, b""
    clock.advance(hours=1, minutes=50)
    assert await source.get() == old
    clock.advance(minutes=10)
    with pytest.raises(InvalidResponse):
        await source.get()
    script.instead.clear()
    script.expires += timedelta(hours=2)
    assert await source.get() == script.expected(2)


async def test_twenty_at_once_make_one_request_though_one_of_them_is_cancelled(
    source: SSOCredentials, service: Service, cache: Cache
) -> None:
    cache.write()
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
    assert None not in found


async def test_what_is_pickled_is_where_to_look(source: SSOCredentials, script: Script, cache: Cache) -> None:
    cache.write()
    await source.get()
    pickled = pickle.dumps(source)
    assert [marker for marker in MARKERS if marker.encode() in pickled] == []
    again: SSOCredentials = pickle.loads(pickled)  # noqa: S301 - our own
    assert await again.get() == script.expected(2)


async def test_no_secret_is_logged_or_printed(
    source: SSOCredentials, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cache.write(ends=START)
    token = parse_token(cache.path().read_bytes())
    found = await source.get()
    assert "answered 200" in caplog.text, "nothing was captured"
    seen = "\n".join([caplog.text, repr(source), source.tried, repr(found), repr(token)])
    assert [marker for marker in MARKERS if marker in seen] == []


# The pure half.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"account_id": "reader"}, "sso_account_id"),
        ({"role_name": ""}, "sso_role_name"),
        ({"role_name": "a\nb"}, "sso_role_name"),
        ({"start_url": ""}, "sso_start_url"),
        ({"sso_region": "evil.example/"}, "no region"),
    ],
)
def test_arguments(changes: dict[str, str], words: str) -> None:
    good = {"account_id": "1", "role_name": "r", "start_url": "s", "sso_region": "eu-west-1"}
    make = cast("Callable[..., SSOCredentials]", SSOCredentials)
    assert make(**good).where == "IAM Identity Center, role r in account 1"
    with pytest.raises(UsageError, match=words):
        make(**good | changes)


@pytest.mark.parametrize(
    ("region", "environ", "urls"),
    [
        ("eu-west-1", {}, ("https://portal.sso.eu-west-1.amazonaws.com", "https://oidc.eu-west-1.amazonaws.com")),
        (
            "cn-north-1",
            {},
            ("https://portal.sso.cn-north-1.amazonaws.com.cn", "https://oidc.cn-north-1.amazonaws.com.cn"),
        ),
        (
            "eu-west-1",
            {"AWS_ENDPOINT_URL_SSO": "https://a/", "AWS_ENDPOINT_URL_SSO_OIDC": "https://b"},
            ("https://a", "https://b"),
        ),
        (
            "eu-west-1",
            {"AWS_ENDPOINT_URL_SSO": "https://a/", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            ("https://portal.sso.eu-west-1.amazonaws.com", "https://oidc.eu-west-1.amazonaws.com"),
        ),
    ],
)
def test_hosts(region: str, environ: dict[str, str], urls: tuple[str, str]) -> None:
    source = SSOCredentials(account_id="1", role_name="r", start_url="s", sso_region=region, environ=environ)
    portal = source._url(None, "AWS_ENDPOINT_URL_SSO", "portal.sso")
    assert (portal, source._url(None, "AWS_ENDPOINT_URL_SSO_OIDC", "oidc")) == urls


_NAMES = ["accessToken", "expiresAt", "refreshToken", "expiresIn", "roleCredentials", "expiration", "clientId", "error"]
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2025-03-01T12:00:00Z"),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(_NAMES), inner),
)
_BYTES = st.binary() | _JSON.map(lambda value: json.dumps(value).encode())


@settings(max_examples=50)
@given(_BYTES, _BYTES)
def test_any_bytes_are_parsed_or_nothing(body: bytes, other: bytes) -> None:
    token = parse_token(body)
    assert token is None or token.access
    assert sso.keys_in(body) is None
    assert sso.code_in(body) != ""
    if token is not None:
        fresh = renewed(token, other, START)
        assert fresh is None or fresh.expires_at > START


@given(st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1)), st.text("abc=/+", min_size=1))
def test_what_was_written_is_read(ends: datetime, text: str) -> None:
    date = ends.replace(microsecond=0, tzinfo=UTC)
    written = {"accessToken": text, "expiresAt": date.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20), "refreshToken": text}
    token = parse_token(json.dumps(written).encode())
    assert isinstance(token, Token)
    assert (token.access, token.refresh, token.expires_at, token.can_be_renewed(START)) == (text, text, date, False)
