"""EC2 metadata, against a service on a real socket. The invariant: keys that have ended are never given out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pickle
import socket
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.credentials import AssumeRoleCredentials, MetadataCredentials, ProfileCredentials
from handtruck.credentials.imds import parse_credentials, parse_endpoint, parse_region, parse_role
from handtruck.credentials.metadata import service_of
from handtruck.errors import ConnectionFailed, InvalidResponse, TransferTimeout, UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import (
    MARKERS,
    REGION,
    REQUESTS,
    SECRET,
    START,
    TOKEN,
    Clock,
    Metadata,
    keys,
    serve,
)
from tests.credentials.scripted_service import serve as serve_service
from tests.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

SHORT = 0.05  # seconds: for requests that are never answered
NO_FILE = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull}


@pytest.fixture(name="service")
def _service() -> Iterator[Metadata]:
    with serve() as script:
        yield script


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.credentials.imds.RETRY_PAUSES", (0, 0))


def source_of(service: Metadata, clock: Clock, *, allow_v1: bool = False, timeout: float = 10) -> MetadataCredentials:
    return MetadataCredentials(endpoint=service.url, allow_v1=allow_v1, timeout=timeout, clock=clock)


def expected(number: int, service: Metadata) -> Credentials:
    return Credentials(
        access_key_id=f"ASIA{number}",
        secret_access_key=SECRET,
        session_token=TOKEN,
        region=REGION,
        expires_at=service.expires,
    )


async def test_version_2_gives_whole_keys_and_the_region(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    assert await source.get() == expected(1, service)
    assert await source.get() == expected(1, service)
    assert service.counts == dict.fromkeys(REQUESTS, 1)


async def test_the_region_is_asked_once(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    first = await source.get()
    assert await source.get(rejected=first) == expected(2, service)
    assert service.counts["region"] == 1


# Versions, and no service at all.


async def test_version_1_only_by_request(service: Metadata, clock: Clock) -> None:
    service.version = 1
    assert await source_of(service, clock).load() == Credentials()
    assert await source_of(service, clock, allow_v1=True).get() == expected(1, service)


@pytest.mark.parametrize("status", [403, 405])
async def test_a_refused_token_is_version_1(service: Metadata, clock: Clock, status: int) -> None:
    service.version = 1
    service.answers["token"] = status, b""
    assert await source_of(service, clock).load() == Credentials()
    assert await source_of(service, clock, allow_v1=True).get() == expected(1, service)


async def test_a_token_that_never_comes_is_version_1(service: Metadata, clock: Clock) -> None:
    """What a hop limit does to the answer: the packets are dropped."""
    service.version = 1
    service.held.add("token")
    source = source_of(service, clock, timeout=SHORT)
    assert await source.load() == Credentials()
    assert source.reason.endswith("within 0.05 s")
    # Only the token request is held, so this one's timeout may be long enough for a busy machine.
    assert await source_of(service, clock, timeout=0.5, allow_v1=True).get() == expected(1, service)


@pytest.mark.parametrize("allow_v1", [False, True])
async def test_nobody_there_is_blank(clock: Clock, allow_v1: bool) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        nobody = Metadata(url=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        source = source_of(nobody, clock, allow_v1=allow_v1)
        assert await source.load() == Credentials()
        assert await source.get() is None
        assert source.reason == f"nobody answers at {nobody.url.removeprefix('http://')}"
        with pytest.raises(UsageError, match="no keys from the EC2 instance metadata service: nobody answers"):
            await source.start()


@pytest.mark.parametrize("allow_v1", [False, True])
async def test_silence_is_blank(service: Metadata, clock: Clock, allow_v1: bool) -> None:
    service.held |= {"token", "role"}
    assert await source_of(service, clock, allow_v1=allow_v1, timeout=SHORT).load() == Credentials()


@pytest.mark.parametrize("answer", [(404, b"not found"), (200, b""), (200, b"\n")])
async def test_no_role_is_blank(service: Metadata, clock: Clock, answer: tuple[int, bytes]) -> None:
    service.answers["role"] = answer
    source = source_of(service, clock)
    assert await source.get() is None
    with pytest.raises(UsageError, match="no role"):
        await source.start()


async def test_absence_is_remembered_for_a_minute(service: Metadata, clock: Clock) -> None:
    service.answers["role"] = 404, b""
    source = source_of(service, clock)
    await source.get()
    clock.advance(seconds=59)
    await source.get()
    assert service.counts["role"] == 1
    clock.advance(seconds=1)
    del service.answers["role"]
    assert await source.get() == expected(1, service)


# What the environment and the config file say.


def settings_source(clock: Clock, **environ: str) -> MetadataCredentials:
    return MetadataCredentials(clock=clock, environ={"AWS_CONFIG_FILE": os.devnull, **NO_FILE, **environ})


async def test_switched_off(service: Metadata, clock: Clock) -> None:
    off = {"AWS_EC2_METADATA_DISABLED": "True", "AWS_EC2_METADATA_SERVICE_ENDPOINT": service.url}
    source = settings_source(clock, **off)
    assert await source.load() == Credentials()
    assert source.reason == "AWS_EC2_METADATA_DISABLED is set"
    assert service.counts == {}
    explicit = MetadataCredentials(endpoint=service.url, clock=clock, environ=off, timeout=10)
    assert await explicit.get() == expected(1, service)


async def test_version_1_switched_off(service: Metadata, clock: Clock) -> None:
    service.version = 1
    environ = {"AWS_EC2_METADATA_V1_DISABLED": "true"}
    source = MetadataCredentials(endpoint=service.url, allow_v1=True, clock=clock, environ=environ, timeout=10)
    assert await source.load() == Credentials()
    assert "refused a session token (404)" in source.reason


async def test_the_config_file_says_where(service: Metadata, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        f"[profile p]\nec2_metadata_service_endpoint = {service.url}\nmetadata_service_timeout = 10\n"
    )
    files = {**NO_FILE, "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_PROFILE": "p"}
    assert await MetadataCredentials(clock=clock, environ=files).get() == expected(1, service)
    other = MetadataCredentials(profile="q", clock=clock, environ=files | {"AWS_METADATA_SERVICE_TIMEOUT": "x"})
    with pytest.raises(UsageError, match=r"AWS_METADATA_SERVICE_TIMEOUT \(or metadata_service_timeout in the config"):
        await other.get()


@pytest.mark.parametrize("by_path", [False, True])
async def test_a_named_profile_says_where_its_source_is(
    service: Metadata, clock: Clock, tmp_path: Path, by_path: bool
) -> None:
    path = tmp_path / "config"
    path.write_text(
        "[default]\nec2_metadata_service_endpoint = http://127.0.0.1:1\n[profile p]\nmetadata_service_timeout = 10\n"
        f"ec2_metadata_service_endpoint = {service.url}\nrole_arn = arn:aws:iam::1:role/r\n"
        "credential_source = Ec2InstanceMetadata\n"
    )
    environ = {**NO_FILE, "AWS_CONFIG_FILE": os.devnull if by_path else str(path)}
    source = ProfileCredentials("p", config_path=path if by_path else None, clock=clock, environ=environ)
    await source._read()
    role = source._source
    assert isinstance(role, AssumeRoleCredentials)
    assert await role._source.get() == expected(1, service)


async def test_nobody_is_asked_as_often_as_is_said(clock: Clock) -> None:
    """Each time a connection that is accepted, and closed."""
    with serve_closed() as (url, counts):
        environ = {"AWS_METADATA_SERVICE_NUM_ATTEMPTS": "4"}
        source = MetadataCredentials(endpoint=url, clock=clock, environ=environ, timeout=10)
        assert await source.load() == Credentials()
    assert counts == [4]


@contextlib.contextmanager
def serve_closed() -> Generator[tuple[str, list[int]]]:
    """Somebody who hangs up; how often, is known at the end."""
    counts: list[int] = []
    with serve_service(lambda _: (0, b"")) as service:
        yield service.url, counts
    counts.append(len(service.requests))


@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ({}, "169.254.169.254"),
        ({"ec2_metadata_service_endpoint_mode": "IPv4"}, "169.254.169.254"),
        ({"ec2_metadata_service_endpoint_mode": "ipv6"}, "fd00:ec2::254"),
        ({"ec2_metadata_service_endpoint_mode": "IPv6", "ec2_metadata_service_endpoint": "http://there"}, "there"),
    ],
)
def test_endpoints_and_modes(settings: dict[str, str], host: str) -> None:
    service = service_of(settings, endpoint=None, timeout=None, allow_v1=True)
    assert (service.endpoint.host, service.timeout, service.attempts, service.allow_v1) == (host, 1, 1, True)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ec2_metadata_service_endpoint_mode": "IPv5"}, "ENDPOINT_MODE .* has to be IPv4 or IPv6"),
        ({"ec2_metadata_service_endpoint": "https://there"}, "http://"),
        ({"metadata_service_timeout": "0"}, "AWS_METADATA_SERVICE_TIMEOUT .* from 1 to 100"),
        ({"metadata_service_timeout": "1.5"}, "whole number"),
        ({"metadata_service_num_attempts": "101"}, "AWS_METADATA_SERVICE_NUM_ATTEMPTS"),
        ({"metadata_service_num_attempts": "\u0663"}, "whole number"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        service_of(settings, endpoint=None, timeout=None, allow_v1=False)


def test_arguments_go_before_settings() -> None:
    said = {"metadata_service_timeout": "7", "metadata_service_num_attempts": "3", "ec2_metadata_v1_disabled": "no"}
    service = service_of(said, endpoint=parse_endpoint("http://there"), timeout=0.5, allow_v1=True)
    assert (service.endpoint.host, service.timeout, service.attempts, service.allow_v1) == ("there", 0.5, 3, True)


# Nonsense.


@pytest.mark.parametrize("name", ["token", "role", "keys"])
async def test_5xx_is_tried_three_times(service: Metadata, clock: Clock, name: str) -> None:
    source = source_of(service, clock)
    service.first[name] = [(500, b""), (503, b"")]
    assert await source.get() == expected(3 if name == "keys" else 1, service)
    service.answers[name] = 500, b""
    await source.stop()
    with pytest.raises(InvalidResponse, match="answered 500"):
        await source.get()
    assert service.counts[name] == 6


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("token", (400, b""), "400"),
        ("token", (200, b""), "session token"),
        ("token", (200, b"a\nb"), "session token"),
        ("role", (401, b""), "401"),
        ("role", (302, b"http://127.0.0.1:1/"), "302"),
        ("role", (200, b"../../user-data"), "role name"),
        ("keys", (404, b""), "404"),
        ("keys", (200, b"<html>"), "JSON"),
        ("keys", (200, b" " * 65537), "longer"),
        ("keys", (200, keys("ASIA", START)), "already ended"),
    ],
)
async def test_nonsense(service: Metadata, clock: Clock, name: str, answer: tuple[int, bytes], words: str) -> None:
    service.answers[name] = answer
    source = source_of(service, clock)
    with pytest.raises(InvalidResponse, match=words) as raised:
        await source.get()
    assert_clean(raised.value, MARKERS)
    assert service.unknown == []
    del service.answers[name]
    assert await source.get() is not None


@pytest.mark.parametrize("name", ["role", "keys"])
async def test_a_service_that_falls_silent_is_no_absence(service: Metadata, clock: Clock, name: str) -> None:
    service.held.add(name)
    with pytest.raises(TransferTimeout, match="did not answer GET") as raised:
        await source_of(service, clock, timeout=0.5).get()
    assert_clean(raised.value, MARKERS)


@pytest.mark.parametrize("answer", [(404, b""), (500, b""), (200, b"{}"), (200, b"[" * 60000), (200, b"\xff")])
async def test_no_region_is_no_failure(service: Metadata, clock: Clock, answer: tuple[int, bytes]) -> None:
    service.answers["region"] = answer
    found = await source_of(service, clock).get()
    assert found is not None
    assert found.region is None


# Freshness.


async def test_nothing_is_asked_before_it_is_time(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    await source.get()
    clock.advance(hours=5, minutes=44)
    await source.get()
    assert service.counts["keys"] == 1
    clock.advance(minutes=1)
    service.expires += timedelta(hours=6)
    assert await source.get() == expected(2, service)


async def test_a_failed_early_refresh_leaves_the_old_keys_until_they_end(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    service.answers["keys"] = 500, b""
    clock.advance(hours=5, minutes=50)
    assert await source.get() == old
    assert await source.get() == old
    assert service.counts["keys"] == 1 + 3, "the failure was tried again within the minute"
    clock.advance(minutes=9, seconds=59)
    assert await source.get() == old
    clock.advance(seconds=1)
    for _ in range(2):
        with pytest.raises(InvalidResponse):
            await source.get()
    del service.answers["keys"]
    service.expires += timedelta(hours=6)
    assert await source.get() == expected(service.counts["keys"], service)


async def test_keys_already_ended_do_not_replace_good_ones(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    clock.advance(hours=5, minutes=50)
    service.expires = clock.now
    assert await source.get() == old


async def test_a_service_that_goes_away_is_an_error_once_there_were_keys(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    service.answers["role"] = 404, b""
    clock.advance(hours=5, minutes=50)
    assert await source.get() == old
    clock.advance(minutes=10)
    with pytest.raises(ConnectionFailed, match="no longer"):
        await source.get()


async def test_short_lived_keys_are_refreshed_once_a_minute(service: Metadata, clock: Clock) -> None:
    service.expires = START + timedelta(minutes=5)
    source = source_of(service, clock)
    for _ in range(3):
        await source.get()
        await source.get()
        clock.advance(minutes=1)
    assert service.counts["keys"] == 3


async def test_rejected_keys_are_replaced(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    assert await source.get(rejected=old) == expected(2, service)
    assert await source.get(rejected=old) == expected(2, service)
    assert service.counts["keys"] == 2


async def test_rejected_keys_are_never_the_fallback(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    service.answers["keys"] = 500, b""
    with pytest.raises(InvalidResponse):
        await source.get(rejected=old)


# Many at once, cancelled, stopped.


async def get_many(source: MetadataCredentials, rejected: Credentials | None = None) -> list[Credentials | None]:
    found: list[Credentials | None] = []

    async def get() -> None:
        found.append(await source.get(rejected=rejected))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(get)
    return found


async def test_twenty_at_once_make_one_fetch(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    assert await get_many(source) == [expected(1, service)] * 20
    assert service.counts == dict.fromkeys(REQUESTS, 1)
    assert await get_many(source, rejected=expected(1, service)) == [expected(2, service)] * 20
    assert service.counts["keys"] == 2


async def test_good_keys_do_not_wait_for_an_early_refresh(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    old = await source.get()
    clock.advance(hours=5, minutes=50)
    service.held.add("keys")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.get)
        await service.arrival()
        assert await get_many(source) == [old] * 20
        service.release()
    assert service.counts["keys"] == 2
    assert await source.get() == expected(2, service)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_cancelled_fetch_leaves_nothing_behind(service: Metadata, clock: Clock, name: str) -> None:
    source = source_of(service, clock)
    service.held.add(name)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.get)
        await service.arrival()
        tasks.cancel_scope.cancel()
    service.release()
    with anyio.fail_after(10):
        assert await source.get() == expected(service.counts["keys"], service)


@pytest.mark.parametrize("name", REQUESTS)
def test_a_natively_cancelled_fetch_leaves_nothing_behind(service: Metadata, clock: Clock, name: str) -> None:
    """``asyncio.Task.cancel()`` strikes once, at whatever is awaited."""

    async def cancel_and_get() -> None:
        source = source_of(service, clock)
        service.held.add(name)
        task = asyncio.create_task(source.get())
        await service.arrival()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        service.release()
        assert await source.get() == expected(service.counts["keys"], service)

    asyncio.run(cancel_and_get())


async def test_who_waits_goes_on_when_the_fetching_task_is_cancelled(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    service.held.add("role")
    found: list[Credentials | None] = []

    async def wait() -> None:
        found.append(await source.get())

    async with anyio.create_task_group() as waiters, anyio.create_task_group() as fetchers:
        fetchers.start_soon(source.get)
        await service.arrival()
        waiters.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        service.release()
        fetchers.cancel_scope.cancel()
    assert len(found) == 1
    assert found[0] is not None


async def test_ancestors_defect_stop_hangs(service: Metadata, clock: Clock) -> None:
    """The ancestor's stop() awaited its background task for ever. Ours has none, and waits for nothing."""
    source = source_of(service, clock)
    with anyio.fail_after(10):
        await source.stop()
        await source.start()
        await source.stop()
        await source.stop()
        service.held.add("keys")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.get)
            await service.arrival()
            await source.stop()
            service.release()
        await source.stop()
    assert await source.get() is not None


async def test_start_fetches_and_stop_forgets(service: Metadata, clock: Clock) -> None:
    async with source_of(service, clock) as source:
        assert service.counts["keys"] == 1
        assert await source.get() == expected(1, service)
    assert await source.get() == expected(2, service)


async def test_start_raises_what_went_wrong(service: Metadata, clock: Clock) -> None:
    service.answers["keys"] = 200, b'{"Code": "AssumeRoleUnauthorizedAccess"}'
    with pytest.raises(InvalidResponse, match="AssumeRoleUnauthorizedAccess"):
        await source_of(service, clock).start()


def test_made_outside_a_loop_and_used_on_both(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    first = anyio.run(get_many, source, backend="asyncio")
    assert first == anyio.run(get_many, source, backend="trio") == [expected(1, service)] * 20
    rejected = expected(1, service)
    assert anyio.run(get_many, source, rejected, backend="trio") == [expected(2, service)] * 20


# The road there.


async def test_proxies_of_the_environment_are_not_used(
    service: Metadata, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert await source_of(service, clock).get() == expected(1, service)


async def test_no_certificates_are_loaded(service: Metadata, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(*args: object, **kwargs: object) -> None:
        raise AssertionError("a CA bundle was loaded: that takes 20 ms")

    monkeypatch.setattr(ssl, "create_default_context", loaded)
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", loaded)
    assert await source_of(service, clock).get() == expected(1, service)


async def test_the_endpoint_of_the_environment_is_read_when_needed(service: Metadata, clock: Clock) -> None:
    environ = {"AWS_CONFIG_FILE": os.devnull, **NO_FILE}
    source = MetadataCredentials(clock=clock, environ=environ, timeout=10)
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = service.url + "/"
    assert await source.get() == expected(1, service)
    environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = "https://there"
    await source.stop()
    with pytest.raises(UsageError, match="http://"):
        await source.get()


@pytest.mark.parametrize("endpoint", ["https://169.254.169.254", "169.254.169.254", "http://:port", "http://", "\0"])
def test_an_endpoint_that_is_no_http_url(endpoint: str) -> None:
    with pytest.raises(UsageError, match="http://"):
        MetadataCredentials(endpoint=endpoint)


def test_the_default_endpoint() -> None:
    assert str(parse_endpoint("http://169.254.169.254")) == "http://169.254.169.254"
    assert parse_endpoint("http://[fd00:ec2::254]").host == "fd00:ec2::254"


async def test_no_secret_is_logged_or_printed(
    service: Metadata, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source = source_of(service, clock)
    found = await source.get()
    service.answers["keys"] = 200, keys("ASIA", START)
    with pytest.raises(InvalidResponse) as raised:
        await source.get(rejected=found)
    assert "answered 200" in caplog.text, "nothing was captured"
    assert_clean(raised.value, MARKERS)
    seen = "\n".join([caplog.text, repr(source), str(source), repr(found), repr(raised.value)])
    assert [marker for marker in MARKERS if marker in seen] == []


async def test_what_is_pickled_is_where_to_look(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    await source.get()
    pickled = pickle.dumps(source)
    assert [marker for marker in MARKERS if marker.encode() in pickled] == []
    again: MetadataCredentials = pickle.loads(pickled)  # noqa: S301 - our own
    assert await again.get() == expected(2, service)


# The pure half.


def document(**changes: object) -> bytes:
    whole: dict[str, object] = json.loads(keys("ASIA1", START))
    return json.dumps({name: value for name, value in (whole | changes).items() if value is not None}).encode()


def test_an_answer_is_parsed() -> None:
    found = parse_credentials(document(Code=None))
    assert found == Credentials(access_key_id="ASIA1", secret_access_key=SECRET, session_token=TOKEN, expires_at=START)


@pytest.mark.parametrize("text", ["2025-03-01T13:00:00+01:00", "2025-03-01T12:00:00", "2025-03-01T12:00:00.000Z"])
def test_dates(text: str) -> None:
    assert parse_credentials(document(Expiration=text)).expires_at == START


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"AccessKeyId": "' + SECRET.encode(),
        document(Code="Failed"),
        document(Code=SECRET),
        document(Code=7),
        document(AccessKeyId=None),
        document(AccessKeyId="a\r\nx-evil: 1"),
        document(SecretAccessKey=""),
        document(SecretAccessKey=[SECRET]),
        document(Token=None),
        document(Token="ü" + TOKEN),
        document(Expiration=None),
        document(Expiration=SECRET),
        document(Expiration=1740830400),
    ],
)
def test_a_malformed_answer(body: bytes) -> None:
    with pytest.raises(InvalidResponse) as raised:
        parse_credentials(body)
    assert raised.value.__context__ is None, "an error behind it that may quote the document"
    assert [marker for marker in MARKERS if marker in str(raised.value)] == []


async def test_the_ends_of_time(service: Metadata, clock: Clock) -> None:
    source = source_of(service, clock)
    for end, words in (("0001-01-01T00:00:00Z", "ended"), ("9999-12-31T23:59:59-23:59", "not a date")):
        service.answers["keys"] = 200, document(Expiration=end)
        with pytest.raises(InvalidResponse, match=words):
            await source.get()
    service.answers["keys"] = 200, document(Expiration="9999-12-31T23:59:59Z")
    assert await source.get() is not None


@pytest.mark.parametrize("name", ["a", "the-role", "A+b=c,d.e@f_g-1"])
def test_role_names(name: str) -> None:
    assert parse_role(200, name.encode()) == name
    assert parse_role(200, f" {name}\r\nother".encode()) == name


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a b", "a?b", "a#b", "a%2Fb", "é", "<html>", "a" * 129])
def test_role_names_that_are_none(name: str) -> None:
    with pytest.raises(InvalidResponse, match="role name"):
        parse_role(200, name.encode())


def or_invalid(parse: object, *args: object) -> object:
    assert callable(parse)
    try:
        return parse(*args)
    except InvalidResponse:
        return None


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["Code", "AccessKeyId", "region"]), inner),
)


@given(st.binary() | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_parsed_or_invalid(body: bytes) -> None:
    for parse in (parse_credentials, parse_region):
        or_invalid(parse, body)
    or_invalid(parse_role, 200, body)


@given(st.text())
def test_any_endpoint_is_parsed_or_unusable(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_endpoint(text).host


def test_the_real_clock_is_aware() -> None:
    source = MetadataCredentials()
    assert abs(source._clock() - datetime.now(UTC)) < timedelta(minutes=1)
