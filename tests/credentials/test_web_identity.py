"""AssumeRoleWithWebIdentity against a scripted service: the token is read anew, and never shown."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handtruck.credentials import web_identity
from handtruck.credentials.web_identity import LARGEST_TOKEN, WebIdentityCredentials, read_token
from handtruck.errors import AccessDenied, S3Error, UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import SECRET, START, TOKEN, Clock
from tests.credentials.scripted_sts import Tokens, refusal, serve
from tests.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ROLE: Final = "arn:aws:iam::123456789012:role/pod"
JWT: Final = "marker-header.marker-claims.marker-signature"
MARKERS: Final = (SECRET, TOKEN, JWT)


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="service")
def _service(clock: Clock) -> Iterator[Tokens]:
    with serve() as script:
        script.clock = clock
        yield script


@pytest.fixture(name="token")
def _token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(JWT)
    return path


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.credentials.security_tokens.RETRY_PAUSES", (0, 0))


def environ_of(service: Tokens, token: Path, **more: str) -> dict[str, str]:
    return {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ENDPOINT_URL_STS": service.url,
    } | more


def assert_redacted(error: BaseException) -> None:
    """No secret shows, nor does a local on the error's way show one."""
    assert_clean(error, MARKERS)


async def test_by_the_environment(service: Tokens, clock: Clock, token: Path) -> None:
    environ = environ_of(service, token, AWS_ROLE_SESSION_NAME="me", AWS_REGION="eu-west-1")
    assert await WebIdentityCredentials(clock=clock, environ=environ, timeout=10).get() == Credentials(
        access_key_id="ASIA1",
        secret_access_key=SECRET,
        session_token=TOKEN,
        region="eu-west-1",
        expires_at=START + timedelta(hours=1),
    )
    (asked,) = service.asked
    assert asked.form == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "me",
        "WebIdentityToken": JWT,
    }
    assert "authorization" not in asked.headers
    assert "x-amz-security-token" not in asked.headers


async def test_arguments_go_before_the_environment(service: Tokens, clock: Clock, token: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("\n other-token \r\n")
    source = WebIdentityCredentials(
        other,
        ROLE + "2",
        session_name="you",
        duration=3600,
        policy="{}",
        policy_arns=["arn:aws:iam::aws:policy/a"],
        region="r-1",
        endpoint=service.url,
        timeout=10,
        clock=clock,
        environ=environ_of(service, token, AWS_ROLE_SESSION_NAME="me", AWS_ENDPOINT_URL_STS="http://127.0.0.1:1"),
    )
    found = await source.get()
    assert found is not None
    assert found.region == "r-1"
    assert service.asked[0].form == {
        "Action": "AssumeRoleWithWebIdentity",
        "Version": "2011-06-15",
        "RoleArn": ROLE + "2",
        "RoleSessionName": "you",
        "WebIdentityToken": "other-token",
        "DurationSeconds": "3600",
        "Policy": "{}",
        "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/a",
    }


async def test_blank_without_a_file(service: Tokens, token: Path) -> None:
    for environ in ({}, {"AWS_ROLE_ARN": ROLE}, {"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_ROLE_ARN": ROLE}):
        source = WebIdentityCredentials(environ=environ)
        assert await source.load() == Credentials()
        assert source.where == "the token in the file of AWS_WEB_IDENTITY_TOKEN_FILE"
        assert source.reason == "AWS_WEB_IDENTITY_TOKEN_FILE is not set"


async def test_the_file_is_read_anew_in_a_worker_thread(
    service: Tokens, clock: Clock, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[int] = []

    def noted(path: Path) -> object:
        readers.append(threading.get_ident())
        return read_token(path)

    monkeypatch.setattr(web_identity, "read_token", noted)
    source = WebIdentityCredentials(clock=clock, environ=environ_of(service, token), timeout=10)
    old = await source.get()
    token.write_text("newer")
    assert await source.get() is old
    clock.advance(minutes=45)
    assert await source.get() is not old
    assert [asked.form["WebIdentityToken"] for asked in service.asked] == [JWT, "newer"]
    assert threading.get_ident() not in readers
    assert len(readers) == 2


async def test_a_mutation_that_remembers_the_token(
    service: Tokens, clock: Clock, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_identity, "read_token", lru_cache(read_token))
    source = WebIdentityCredentials(clock=clock, environ=environ_of(service, token), timeout=10)
    await source.get()
    token.write_text("newer")
    clock.advance(minutes=45)
    await source.get()
    assert [asked.form["WebIdentityToken"] for asked in service.asked] == [JWT, JWT]


async def test_a_mutation_with_a_plain_token(
    service: Tokens, clock: Clock, token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret in a local of a frame that an error passes is seen."""
    monkeypatch.setattr(web_identity, "Secret", str)
    service.first = [(403, refusal("AccessDenied"))]
    with pytest.raises(AccessDenied) as raised:
        await WebIdentityCredentials(clock=clock, environ=environ_of(service, token), timeout=10).get()
    with pytest.raises(AssertionError):
        assert_redacted(raised.value)


async def test_an_expired_token_is_no_reason_to_ask_again(service: Tokens, clock: Clock, token: Path) -> None:
    service.first = [(400, refusal("ExpiredTokenException", f"Token {JWT} expired"))]
    with pytest.raises(S3Error, match="ExpiredTokenException") as raised:
        await WebIdentityCredentials(clock=clock, environ=environ_of(service, token), timeout=10).get()
    assert len(service.asked) == 1
    assert_redacted(raised.value)


async def test_a_refusal(service: Tokens, clock: Clock, token: Path) -> None:
    service.first = [(403, refusal("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity"))]
    with pytest.raises(
        AccessDenied, match=r"AssumeRoleWithWebIdentity .*role/pod at 127\.0\.0\.1: AccessDenied: Not au"
    ):
        await WebIdentityCredentials(clock=clock, environ=environ_of(service, token), timeout=10).get()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"AWS_ROLE_ARN": ""}, r"no role to assume with it: AWS_ROLE_ARN"),
        ({"AWS_ROLE_ARN": "pod"}, "is no role"),
        ({"AWS_ROLE_SESSION_NAME": "a b"}, "no session name"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/no/such/file"}, "no web identity token in /no/such/file: No such file"),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/"}, "no web identity token in /: Is a directory"),
        ({"AWS_REGION": "a.b", "AWS_ENDPOINT_URL_STS": ""}, "region"),
    ],
)
async def test_unusable_environments(service: Tokens, token: Path, changed: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        await WebIdentityCredentials(environ=environ_of(service, token, **changed)).get()
    assert_redacted(raised.value)
    assert service.asked == []


@pytest.mark.parametrize("changed", [{"role_arn": "pod"}, {"session_name": "é"}, {"duration": 1}])
def test_bad_arguments(changed: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        WebIdentityCredentials("file", **changed)


@pytest.mark.parametrize("content", [b"", b" \n", f"{JWT}\n{JWT}".encode(), JWT.encode() + b"\xff", b"x" * 20001])
def test_files_that_hold_no_token(token: Path, content: bytes) -> None:
    token.write_bytes(content)
    with pytest.raises(UsageError, match="holds no token") as raised:
        read_token(token)
    assert_redacted(raised.value)
    assert raised.value.__context__ is None


def test_a_homeless_user_has_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def homeless(path: object) -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", homeless)
    with pytest.raises(UsageError, match="no home"):
        read_token(tmp_path)


async def test_no_secret_is_logged_or_printed(
    service: Tokens, clock: Clock, token: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = WebIdentityCredentials(token, ROLE, clock=clock, environ=environ_of(service, token), timeout=10)
    found = await source.get()
    seen = "\n".join([caplog.text, repr(source), source.where, repr(found)])
    assert str(token) in seen
    assert [marker for marker in MARKERS if marker in seen] == []


async def test_cancelled_while_it_asks(service: Tokens, clock: Clock, token: Path) -> None:
    service.held = True
    source = WebIdentityCredentials(clock=clock, environ=environ_of(service, token), timeout=10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.get)
        await service.arrival()
        tasks.cancel_scope.cancel()
    service.release()
    assert await source.get() is not None


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=LARGEST_TOKEN + 2) | st.text(st.characters(codec="ascii")).map(str.encode))
def test_any_file_holds_a_token_or_none(token: Path, content: bytes) -> None:
    token.write_bytes(content)
    behind = None
    try:
        assert read_token(token) == content.strip().decode()
    except UsageError as error:
        behind = error.__context__
    assert behind is None
