"""AssumeRole against a scripted service: what is asked, what the answers mean, and what is never shown."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from handtruck import S3Client
from handtruck.credentials import StaticCredentials
from handtruck.credentials.base import AbstractCredentials
from handtruck.credentials.http import ask
from handtruck.credentials.sts import AssumeRoleCredentials
from handtruck.errors import (
    AccessDenied,
    ConnectionFailed,
    InvalidResponse,
    S3Error,
    Throttled,
    TransferTimeout,
    UsageError,
)
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import SECRET, START, TOKEN, Clock
from tests.credentials.scripted_sts import Tokens, keys, refusal, serve
from tests.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

ROLE: Final = "arn:aws:iam::123456789012:role/reader"
SOURCE_SECRET: Final = "marker-source-secret"
SOURCE_TOKEN: Final = "marker-source-token"
CODE: Final = "marker-654321"
MARKERS: Final = (SECRET, TOKEN, SOURCE_SECRET, SOURCE_TOKEN, CODE)
SOURCE: Final = StaticCredentials("AKID", SOURCE_SECRET, SOURCE_TOKEN)


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(name="service")
def _service(clock: Clock) -> Iterator[Tokens]:
    with serve() as script:
        script.clock = clock
        yield script


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.credentials.security_tokens.RETRY_PAUSES", (0, 0))


def source_of(
    service: Tokens, clock: Clock, source: AbstractCredentials = SOURCE, **given: Any
) -> AssumeRoleCredentials:
    arguments: dict[str, Any] = {"endpoint": service.url, "timeout": 10, "clock": clock, "environ": {}, **given}
    return AssumeRoleCredentials(ROLE, source=source, **arguments)


async def test_what_is_asked_and_given(service: Tokens, clock: Clock) -> None:
    found = await source_of(service, clock, region="eu-west-1").get()
    assert found == Credentials(
        access_key_id="ASIA1",
        secret_access_key=SECRET,
        session_token=TOKEN,
        region="eu-west-1",
        expires_at=START + timedelta(hours=1),
    )
    (asked,) = service.asked
    assert asked.path == "/"
    assert asked.form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": f"handtruck-{int(START.timestamp())}",
    }


async def test_all_that_can_be_asked(service: Tokens, clock: Clock) -> None:
    source = source_of(
        service,
        clock,
        external_id="x&y=ü",
        session_name="me@example.com",
        duration=900,
        policy='{"Version": "2012-10-17"}',
        policy_arns=["arn:aws:iam::aws:policy/a", "arn:aws:iam::aws:policy/b"],
        mfa_serial="arn:aws:iam::1:mfa/me",
        mfa_token=lambda: f" {CODE}\n",
    )
    await source.get()
    assert service.asked[0].form == {
        "Action": "AssumeRole",
        "Version": "2011-06-15",
        "RoleArn": ROLE,
        "RoleSessionName": "me@example.com",
        "ExternalId": "x&y=ü",
        "DurationSeconds": "900",
        "Policy": '{"Version": "2012-10-17"}',
        "PolicyArns.member.1.arn": "arn:aws:iam::aws:policy/a",
        "PolicyArns.member.2.arn": "arn:aws:iam::aws:policy/b",
        "SerialNumber": "arn:aws:iam::1:mfa/me",
        "TokenCode": CODE,
    }


async def test_it_is_signed_as_botocore_signs(service: Tokens, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    await source_of(service, clock, region="eu-west-1", endpoint=service.url + "/base/?ignored").get()
    (asked,) = service.asked
    assert asked.path == "/base/"
    # botocore does not sign this header, the service takes it: the signer is the one for S3.
    signed = {name: asked.headers[name] for name in ("content-type", "x-amz-content-sha256")}
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: START.replace(tzinfo=None))
    request = AWSRequest(method="POST", url=service.url + "/base/", data=asked.body, headers=signed)
    SigV4Auth(BotoCredentials("AKID", SOURCE_SECRET, SOURCE_TOKEN), "sts", "eu-west-1").add_auth(request)
    assert asked.headers["authorization"] == request.headers["Authorization"]
    assert asked.headers["x-amz-security-token"] == SOURCE_TOKEN


@pytest.mark.parametrize(
    ("environ", "source", "region"),
    [
        ({"AWS_REGION": "a-1", "AWS_DEFAULT_REGION": "b-1"}, "c-1", "a-1"),
        ({"AWS_DEFAULT_REGION": "b-1"}, "c-1", "b-1"),
        ({}, "c-1", "c-1"),
        ({}, "", None),
    ],
)
async def test_regions(service: Tokens, clock: Clock, environ: dict[str, str], source: str, region: str | None) -> None:
    by = StaticCredentials("k", "s", region=source)
    for address in (
        {"environ": environ},
        {"endpoint": None, "environ": environ | {"AWS_ENDPOINT_URL_STS": service.url}},
    ):
        found = await source_of(service, clock, by, **address).get()
        assert found is not None
        assert found.region == region
        assert f"/{region or 'us-east-1'}/sts/aws4_request" in service.asked[-1].headers["authorization"]


# Freshness.


async def test_refreshed_ahead_of_the_end(service: Tokens, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    clock.advance(minutes=44)
    assert await source.get() is old
    clock.advance(minutes=1)
    service.first = [(403, refusal("AccessDenied"))]
    assert await source.get() is old
    clock.advance(minutes=1)
    assert (await source.load()).access_key_id == "ASIA3"


async def test_keys_of_a_quarter_of_an_hour_are_not_asked_for_every_minute(service: Tokens, clock: Clock) -> None:
    service.expires = START + timedelta(minutes=15)
    source = source_of(service, clock, duration=900)
    for _ in range(11):
        await source.get()
        clock.advance(minutes=1)
    assert len(service.asked) == 1


async def test_keys_that_have_ended_are_never_given(service: Tokens, clock: Clock) -> None:
    source = source_of(service, clock)
    await source.get()
    clock.advance(hours=1)
    service.first = [(403, refusal("AccessDenied"))] * 2
    with pytest.raises(AccessDenied):
        await source.get()
    service.expires = clock.now
    service.first = []
    with pytest.raises(InvalidResponse, match="already ended"):
        await source.get()


async def test_rejected_keys_are_replaced_by_one_request(service: Tokens, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    found: list[Credentials | None] = []

    async def get() -> None:
        found.append(await source.get(rejected=old))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(get)
    assert len(service.asked) == 2
    assert {one and one.access_key_id for one in found} == {"ASIA2"}


class Renewing(AbstractCredentials):
    """Gives newer keys when told that they were rejected."""

    def __init__(self) -> None:
        self.rejected: list[str] = []

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        if rejected is not None:
            self.rejected.append(rejected.access_key_id)
        return Credentials(access_key_id=f"K{len(self.rejected)}", secret_access_key="s")


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException"])
async def test_an_expired_source_is_refreshed_once(service: Tokens, clock: Clock, code: str) -> None:
    by = Renewing()
    service.first = [(403, refusal(code))]
    assert (await source_of(service, clock, by).load()).access_key_id == "ASIA2"
    assert by.rejected == ["K0"]
    assert [asked.headers["authorization"].split("/")[0][-2:] for asked in service.asked] == ["K0", "K1"]
    service.first = [(403, refusal(code))] * 3
    with pytest.raises(AccessDenied, match=code):
        await source_of(service, clock, by).load()
    assert len(service.asked) == 4


async def test_a_mutation_without_the_second_try(
    service: Tokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handtruck.credentials.sts.EXPIRED_CODES", frozenset())
    service.first = [(403, refusal("ExpiredToken"))]
    with pytest.raises(AccessDenied):
        await source_of(service, clock, Renewing()).load()


async def test_an_expired_source_that_has_nothing_newer(service: Tokens, clock: Clock) -> None:
    service.first = [(403, refusal("ExpiredToken"))]
    with pytest.raises(AccessDenied, match="ExpiredToken"):
        await source_of(service, clock).load()
    assert len(service.asked) == 1


async def test_a_source_without_keys(service: Tokens, clock: Clock) -> None:
    with pytest.raises(UsageError, match=r"role/reader cannot be assumed: no credentials: tried the arguments"):
        await source_of(service, clock, StaticCredentials()).load()
    assert service.asked == []


# One-time codes.


async def test_a_code_for_each_fetch(service: Tokens, clock: Clock) -> None:
    threads: list[int] = []
    loop = threading.get_ident()

    def plain() -> str:
        threads.append(threading.get_ident())
        return "1"

    async def on_the_loop() -> str:
        threads.append(threading.get_ident())
        return "2"

    for give in (plain, on_the_loop):
        source = source_of(service, clock, mfa_serial="m", mfa_token=give)
        found = await source.get()
        await source.get(rejected=found)
    assert [asked.form["TokenCode"] for asked in service.asked] == ["1", "1", "2", "2"]
    assert loop not in threads[:2]
    assert threads[2:] == [loop, loop]


@pytest.mark.parametrize("code", ["", " \n", f"{CODE}\nx"])
async def test_no_code(service: Tokens, clock: Clock, code: str) -> None:
    with pytest.raises(UsageError, match="no one-time code for m") as raised:
        await source_of(service, clock, mfa_serial="m", mfa_token=lambda: code).get()
    assert_redacted(raised.value)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"mfa_serial": "m"}, "mfa_token="),
        ({"duration": 899}, "900 to 43200"),
        ({"duration": 43201}, "900 to 43200"),
        ({"session_name": "a b"}, "session name"),
        ({"session_name": "é" * 3}, "session name"),
    ],
)
def test_bad_arguments(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AssumeRoleCredentials(ROLE, source=SOURCE, **changed)


@pytest.mark.parametrize("role", ["", "role", "arn:aws:iam::1:role/a b", "arn:aws:iam::1:role/\n", "arn:ü"])
def test_no_role(role: str) -> None:
    with pytest.raises(UsageError, match="is no role"):
        AssumeRoleCredentials(role, source=SOURCE)


# Refusals and nonsense.


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (
            403,
            refusal("AccessDenied", "User: u is not\n authorized"),
            AccessDenied,
            "AccessDenied: User: u is not auth",
        ),
        (403, b"<html>", AccessDenied, "status 403, without a word"),
        (400, refusal("ValidationError", "1 validation error"), S3Error, "ValidationError: 1 validation"),
        (302, b"", S3Error, "status 302"),
        (204, b"", S3Error, "status 204"),
        (200, b"", InvalidResponse, "no whole temporary keys"),
        (200, b"<html/>", InvalidResponse, "no whole temporary keys"),
        (200, keys("K", START, token=""), InvalidResponse, "no whole temporary keys"),
        (200, keys("K", START, token=TOKEN + " é"), InvalidResponse, "no whole temporary keys"),
        (200, keys("K", START).replace(b"2025-", b"x-"), InvalidResponse, "no whole temporary keys"),
        (200, keys("K", START)[:-9], InvalidResponse, "no whole temporary keys"),
        (200, keys("K", START), InvalidResponse, "already ended"),
    ],
)
async def test_answers_that_are_no_keys(
    service: Tokens, clock: Clock, status: int, body: bytes, kind: type[Exception], words: str
) -> None:
    service.first = [(status, body)]
    with pytest.raises(kind, match=words) as raised:
        await source_of(service, clock).get()
    assert len(service.asked) == 1
    assert_redacted(raised.value)
    assert raised.value.__context__ is None


async def test_what_a_refusal_says(service: Tokens, clock: Clock) -> None:
    service.first = [(403, refusal("AccessDenied", "not you"))]
    with pytest.raises(AccessDenied) as raised:
        await source_of(service, clock).get()
    error = raised.value
    assert str(error) == f"AssumeRole {ROLE} at 127.0.0.1: AccessDenied: not you"
    assert (error.status, error.code, error.message) == (403, "AccessDenied", "not you")
    assert (error.request_id, error.operation, error.bucket) == ("the-request", "AssumeRole", None)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "InternalFailure", S3Error),
        (503, "ServiceUnavailable", S3Error),
        (400, "Throttling", Throttled),
        (400, "IDPCommunicationError", S3Error),
    ],
)
async def test_what_passes_is_tried_three_times(
    service: Tokens, clock: Clock, status: int, code: str, kind: type[S3Error]
) -> None:
    service.first = [(status, refusal(code))] * 2
    assert (await source_of(service, clock).load()).access_key_id == "ASIA3"
    service.first = [(status, refusal(code))] * 4
    with pytest.raises(kind, match=code) as raised:
        await source_of(service, clock).load()
    assert type(raised.value) is kind
    assert len(service.asked) == 6


async def test_a_broken_road_is_tried_three_times(
    service: Tokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = 2

    async def ask_badly(*args: Any, **given: Any) -> Any:
        nonlocal fails
        fails -= 1
        if fails >= 0:
            raise ConnectionFailed("broken", sent=False)
        return await ask(*args, **given)

    monkeypatch.setattr("handtruck.credentials.security_tokens.ask", ask_badly)
    assert (await source_of(service, clock).load()).access_key_id == "ASIA1"
    fails = 3
    with pytest.raises(ConnectionFailed, match="broken"):
        await source_of(service, clock).load()
    assert len(service.asked) == 1


@pytest.mark.parametrize("code", ["AccessDenied", "ExpiredToken"])
async def test_a_refusal_ends_a_clients_request(service: Tokens, clock: Clock, code: str) -> None:
    """It comes out as it is: neither taken for S3's own, nor tried again."""
    service.first = [(403, refusal(code))]
    async with S3Client("http://127.0.0.1:1", credentials=source_of(service, clock)) as s3:
        with pytest.raises(AccessDenied, match=f"AssumeRole .*{code}") as raised:
            await s3.put("bucket/key", b"")
    assert (raised.value.operation, len(service.asked)) == ("AssumeRole", 1)
    assert_redacted(raised.value)


async def test_silence(service: Tokens, clock: Clock) -> None:
    service.held = True
    with pytest.raises(TransferTimeout):
        await source_of(service, clock, timeout=0.05).get()


async def test_nobody_there(clock: Clock) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        nobody = Tokens(url=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        with pytest.raises(ConnectionFailed) as raised:
            await source_of(nobody, clock).get()
    assert raised.value.sent is False
    assert_redacted(raised.value)


@pytest.mark.parametrize("url", ["ftp://there", "there", "https://", "http://u:p@there", "\0", "http://:x"])
async def test_an_endpoint_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="http://"):
        await AssumeRoleCredentials(ROLE, source=SOURCE, endpoint=url, environ={}).get()


async def test_cancelled_while_it_asks(service: Tokens, clock: Clock) -> None:
    service.held = True
    source = source_of(service, clock)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.get)
        await service.arrival()
        tasks.cancel_scope.cancel()
    service.release()
    assert await source.get() is not None


def test_natively_cancelled_while_it_asks(service: Tokens, clock: Clock) -> None:
    async def cancel_and_get() -> None:
        service.held = True
        source = source_of(service, clock)
        task = asyncio.create_task(source.get())
        await service.arrival()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        service.release()
        assert await source.get() is not None

    asyncio.run(cancel_and_get())


# Secrets.


def assert_redacted(error: BaseException) -> None:
    """No secret shows, nor does a local on the error's way show one."""
    assert_clean(error, MARKERS)


async def test_a_mutation_that_quotes_what_repeats_the_request(
    service: Tokens, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handtruck.credentials.security_tokens._REPEATING", frozenset())
    service.first = [(403, refusal("SignatureDoesNotMatch", SECRET))]
    with pytest.raises(AccessDenied) as raised:
        await source_of(service, clock).get()
    with pytest.raises(AssertionError):
        assert_redacted(raised.value)


@pytest.mark.parametrize("code", ["SignatureDoesNotMatch", "Other"])
@pytest.mark.parametrize("marker", [SOURCE_TOKEN, SOURCE_SECRET, CODE])
async def test_a_refusal_that_repeats_the_request(service: Tokens, clock: Clock, code: str, marker: str) -> None:
    service.first = [(403, refusal(code, f"x-amz-security-token:{marker}"))]
    with pytest.raises(AccessDenied, match=code) as raised:
        await source_of(service, clock, mfa_serial="m", mfa_token=lambda: CODE).get()
    assert_redacted(raised.value)


async def test_no_secret_is_logged_or_printed(service: Tokens, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    source = source_of(service, clock, mfa_serial="m", mfa_token=lambda: CODE)
    found = await source.get()
    seen = "\n".join([caplog.text, repr(source), source.where, repr(found)])
    assert "role/reader" in seen
    assert [marker for marker in MARKERS if marker in seen] == []


async def test_pickled_without_keys(service: Tokens, clock: Clock) -> None:
    source = AssumeRoleCredentials(ROLE, source=Renewing(), endpoint=service.url, environ={}, region="r-1")
    service.clock = lambda: datetime.now(UTC)
    await source.get()
    pickled = pickle.dumps(source)
    assert [marker for marker in MARKERS if marker.encode() in pickled] == []
    again = await pickle.loads(pickled).get()  # noqa: S301 - our own
    assert again.access_key_id == "ASIA2"
