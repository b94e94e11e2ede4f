"""Ranges and conditions on the HTTP level, and hashes that do not fit: S3's own word comes back as the answer."""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Final
from zlib import crc32

import pytest

from handtruck.errors import UsageError
from handtruck.protocol.documents import parse_error

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

WRONG: Final = '"00000000000000000000000000000000"'


async def test_ranges(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"0123456789")
    for asked, content_range, body in (
        ("bytes=2-4", "bytes 2-4/10", b"234"),
        ("bytes=7-", "bytes 7-9/10", b"789"),
        ("bytes=-3", "bytes 7-9/10", b"789"),
        ("bytes=8-100", "bytes 8-9/10", b"89"),
    ):
        got = await s3.get(f"{bucket}/key", headers={"Range": asked})
        assert got.status_code == (200 if server.faults.get("range-is-200") else 206)
        assert (got.headers["content-range"], got.content) == (content_range, body)
    past = await s3.get(f"{bucket}/key", headers={"Range": "bytes=10-11"})
    said = parse_error(past.content)
    assert (past.status_code, said and said.code) == (416, "InvalidRange")


async def test_conditions_of_a_get(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    etag = f'"{witness.put(bucket, "key", b"x")}"'
    then = format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)
    now = format_datetime(datetime.now(UTC) + timedelta(minutes=1), usegmt=True)
    ignored, dateless = server.faults.get("get-if-match-ignored"), server.faults.get("get-dates-ignored")
    for header, value, status in (
        ("If-Match", etag, 200),
        ("If-Match", WRONG, 200 if ignored else 412),
        ("If-None-Match", etag, 304),
        ("If-None-Match", WRONG, 200),
        ("If-Unmodified-Since", now, 200),
        ("If-Unmodified-Since", then, 200 if dateless else 412),
        ("If-Modified-Since", then, 200),
    ):
        for ask in (s3.get, s3.head):
            answer = await ask(f"{bucket}/key", headers={header: value})
            assert answer.status_code == status, (header, value)


async def test_a_get_since_now(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"x")
    modified = witness.head(bucket, "key")["LastModified"].astimezone(UTC)
    got = await s3.get(f"{bucket}/key", headers={"If-Modified-Since": format_datetime(modified, usegmt=True)})
    assert got.status_code == (200 if server.faults.get("get-dates-ignored") else 304)


async def test_put_only_if_there_is_none(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    ignored = bool(server.faults.get("put-if-none-match-ignored"))
    for body, status in ((b"first", 200), (b"second", 200 if ignored else 412)):
        put = await s3.put(f"{bucket}/key", body, headers={"If-None-Match": "*"})
        assert put.status_code == status
    assert witness.get(bucket, "key") == (b"second" if ignored else b"first")


async def test_put_only_over_this(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    etag = witness.put(bucket, "key", b"first")
    wrong = await s3.put(f"{bucket}/key", b"second", headers={"If-Match": WRONG})
    if server.faults.get("put-if-match-ignored"):
        assert (wrong.status_code, witness.get(bucket, "key")) == (200, b"second")
        return
    assert (wrong.status_code, witness.get(bucket, "key")) == (412, b"first")
    quoted = await s3.put(f"{bucket}/key", b"third", headers={"If-Match": f'"{etag}"'})
    if server.faults.get("put-if-match-wants-unquoted"):
        assert quoted.status_code == 412
        quoted = await s3.put(f"{bucket}/key", b"third", headers={"If-Match": etag})
    assert (quoted.status_code, witness.get(bucket, "key")) == (200, b"third")


async def test_delete_only_this(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key")
    answer = await s3.delete(f"{bucket}/key", headers={"If-Match": WRONG})
    ignored = bool(server.faults.get("delete-if-match-ignored"))
    assert answer.status_code == (204 if ignored else 412)
    assert witness.exists(bucket, "key") is not ignored


async def test_content_hash(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path, server: Server) -> None:
    """A hash that the caller knows is not computed again; S3 finds out if it is wrong."""
    right, wrong = sha256(b"body").hexdigest(), sha256(b"other").hexdigest()
    path = tmp_path / "file"
    path.write_bytes(b"body")

    async def puts(key: str, content_sha256: str) -> list[httpx.Response]:
        return [
            await s3.put(f"{bucket}/{key}", b"body", content_sha256=content_sha256),
            await s3.put(f"{bucket}/{key}-stream", [b"bo", b"dy"], content_sha256=content_sha256),
            await s3.put_file(f"{bucket}/{key}-file", path, content_sha256=content_sha256),
            await s3.request("PUT", f"{bucket}/{key}-request", content=b"body", content_sha256=content_sha256),
        ]

    for known in (right, "UNSIGNED-PAYLOAD"):
        assert [answer.status_code for answer in await puts(known, known)] == [200] * 4
    assert len(witness.keys(bucket)) == 8
    refused = await puts("wrong", wrong)
    ignored = server.faults.get("payload-hash-ignored")
    assert [answer.status_code for answer in refused] == [200 if ignored else 400] * 4
    assert len(witness.keys(bucket, "wrong")) == (4 if ignored else 0)
    if not ignored:
        said = parse_error(refused[0].content)
        assert (said and said.code) == "XAmzContentSHA256Mismatch"


async def test_hashes_that_are_none(s3: S3Client, bucket: str, witness: Witness) -> None:
    with pytest.raises(UsageError, match="64 hex digits"):
        await s3.put(f"{bucket}/key", b"body", content_sha256="STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    with pytest.raises(UsageError, match="content_sha256="):
        await s3.put(f"{bucket}/key", b"body", headers={"X-Amz-Content-Sha256": sha256(b"body").hexdigest()})
    assert witness.keys(bucket) == []


async def test_content_md5(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    right, wrong = (b64encode(md5(text, usedforsecurity=False).digest()).decode() for text in (b"body", b"other"))
    assert (await s3.put(f"{bucket}/right", b"body", headers={"Content-MD5": right})).status_code == 200
    answer = await s3.put(f"{bucket}/wrong", b"body", headers={"Content-MD5": wrong})
    ignored = bool(server.faults.get("content-md5-ignored"))
    assert answer.status_code == (200 if ignored else 400)
    assert witness.exists(bucket, "wrong") is ignored


async def test_checksum_headers(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """None is sent unasked; one of the caller's own is passed on."""
    right, wrong = (b64encode(crc32(text).to_bytes(4, "big")).decode() for text in (b"body", b"other"))
    assert (await s3.put(f"{bucket}/key", b"body", headers={"x-amz-checksum-crc32": right})).status_code == 200
    head = await s3.head(f"{bucket}/key", headers={"x-amz-checksum-mode": "ENABLED"})
    told = head.headers.get("x-amz-checksum-crc32")
    assert told == (None if server.faults.get("checksums-not-returned") else right)
    answer = await s3.put(f"{bucket}/wrong", b"body", headers={"x-amz-checksum-crc32": wrong})
    ignored = bool(server.faults.get("checksums-not-verified"))
    assert answer.status_code == (200 if ignored else 400)
    assert witness.exists(bucket, "wrong") is ignored
