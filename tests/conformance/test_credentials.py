"""All the ways to hand credentials over open the same door; wrong ones are refused by name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
import pytest

from handtruck import S3Client
from handtruck.credentials import (
    ConfigCredentials,
    EnvironmentCredentials,
    StaticCredentials,
    URLCredentials,
    merge_credentials,
)
from handtruck.errors import AccessDenied, UsageError
from handtruck.protocol.documents import parse_error
from tests.conformance.support import connect, http_client, keys_of, listed, url_with_keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_keys_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What this machine's user has configured is none of our business."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "no-such-file"))


async def opens(s3: S3Client, bucket: str, witness: Witness) -> None:
    async with s3:
        assert (await s3.put(f"{bucket}/key", b"x")).status_code == 200
        await listed(s3.list_objects_v2(bucket))
    assert witness.keys(bucket) == ["key"]
    witness.delete(bucket, "key")


async def test_from_arguments_and_url(bucket: str, witness: Witness, server: Server) -> None:
    keys = keys_of(server)
    url = url_with_keys(server)
    await opens(S3Client(server.url, **keys), bucket, witness)
    await opens(S3Client(server.url, region=server.region, **keys), bucket, witness)
    await opens(S3Client(url), bucket, witness)
    await opens(S3Client(httpx.URL(url)), bucket, witness)
    await opens(S3Client(server.url, credentials=StaticCredentials(**keys)), bucket, witness)
    await opens(S3Client(server.url, credentials=URLCredentials(url)), bucket, witness)
    halves = (StaticCredentials(access_key_id=keys["access_key_id"]), StaticCredentials(**keys))
    await opens(S3Client(server.url, credentials=merge_credentials(*halves)), bucket, witness)
    async with http_client() as http:
        await opens(S3Client(url, http), bucket, witness)
        await opens(S3Client(url=server.url, client=http, credentials=StaticCredentials(**keys)), bucket, witness)


async def test_from_the_environment(
    bucket: str, witness: Witness, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = S3Client(server.url)
    for name, value in keys_of(server).items():  # nothing was read before the first request
        monkeypatch.setenv(f"AWS_{name.upper()}", value)
    await opens(s3, bucket, witness)
    await opens(S3Client(server.url, credentials=EnvironmentCredentials()), bucket, witness)


async def test_from_a_file(
    bucket: str, witness: Witness, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "credentials"
    keys = (f"aws_{name} = {value}\n" for name, value in keys_of(server).items())
    path.write_text(f"[default]\n{''.join(keys)}", encoding="utf-8")
    await opens(S3Client(server.url, credentials=ConfigCredentials(path)), bucket, witness)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    await opens(S3Client(server.url), bucket, witness)


async def test_none_at_all(bucket: str, witness: Witness, server: Server) -> None:
    async with S3Client(server.url) as s3:
        with pytest.raises(UsageError, match="credentials"):
            await s3.put(f"{bucket}/key", b"x")
    assert witness.keys(bucket) == []


@pytest.mark.parametrize(
    ("wrong", "code", "hint"),
    [
        ("secret_access_key", "SignatureDoesNotMatch", "check the secret access key"),
        ("access_key_id", "InvalidAccessKeyId", "check the access key id"),
    ],
)
async def test_wrong_keys(wrong: str, code: str, hint: str, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key")
    async with connect(server, **{wrong: "wrong"}) as s3:
        answer = await s3.get(f"{bucket}/key")
        if server.faults.get("verifies-no-signature"):
            assert answer.status_code == 200
            return
        said = parse_error(answer.content)
        assert (answer.status_code, said and said.code) == (403, code)
        assert (await s3.head(f"{bucket}/key")).status_code == 403
        with pytest.raises(AccessDenied) as caught:
            await listed(s3.list_objects_v2(bucket))
        error = caught.value
        assert (error.status, error.code, error.bucket, error.attempts) == (403, code, bucket, 1)
        assert hint in str(error)
        with pytest.raises(AccessDenied):
            await s3.put_multipart(f"{bucket}/key", b"lost")
    assert witness.get(bucket, "key") == b""


async def test_a_region_of_its_own(bucket: str, witness: Witness, server: Server) -> None:
    async with connect(server, region="xx-nowhere-7") as s3:
        answer = await s3.put(f"{bucket}/key", b"")
    assert (answer.status_code == 200) is bool(server.faults.get("region-ignored"))


async def test_a_clock_that_is_wrong(bucket: str, witness: Witness, server: Server) -> None:
    """S3 says what time it is, and what is signed from then on has that time."""
    async with connect(server) as s3:
        s3._session.clock = lambda: datetime.now(UTC) - timedelta(minutes=20)
        if server.faults.get("clock-skew-is-400"):  # and does not say that it is the clock
            with pytest.raises(AccessDenied) as caught:
                await listed(s3.list_objects_v2(bucket))
            assert (caught.value.status, caught.value.code) == (400, "AccessDenied")
            return
        assert await listed(s3.list_objects_v2(bucket)) == []
        assert (await s3.put(f"{bucket}/key", b"in time")).status_code == 200
        off = s3._session.learned.skew
    ignored = bool(server.faults.get("clock-skew-ignored"))
    assert off == timedelta() if ignored else abs(off - timedelta(minutes=20)) < timedelta(seconds=30)
    assert witness.get(bucket, "key") == b"in time"


async def _unsigned(request: httpx.Request) -> None:
    request.headers["x-amz-meta-unsigned"] = "1"


async def _signed_differently(request: httpx.Request) -> None:
    request.headers["x-amz-meta-signed"] = "changed"


@pytest.mark.parametrize(
    ("hook", "fault"),
    [(_unsigned, "unsigned-header-accepted"), (_signed_differently, "verifies-no-signature")],
)
async def test_headers_changed_by_the_callers_client(
    hook: Callable[[httpx.Request], Awaitable[None]], fault: str, bucket: str, witness: Witness, server: Server
) -> None:
    """Hooks of the caller's client run after signing: what they change is the server's to judge."""
    async with http_client(event_hooks={"request": [hook]}) as http:
        s3 = connect(server, client=http)
        answer = await s3.put(f"{bucket}/key", b"", headers={"x-amz-meta-signed": "so"})
    accepted = bool(server.faults.get(fault))
    assert answer.status_code == (200 if accepted else 403)
    assert witness.exists(bucket, "key") is accepted
