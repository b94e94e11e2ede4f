"""put_multipart and put_file_multipart: every size arrives whole, in the parts it should have, with its headers."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from hashlib import md5
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck.errors import PreconditionFailed, UsageError
from handtruck.protocol.checksums import bare_etag
from handtruck.protocol.documents import parse_xml
from tests.conformance.support import (
    PART,
    SEVERAL,
    assert_progress,
    assert_stored,
    connect,
    content,
    etag_of,
    file_with,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from handtruck import Progress, S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

SIZES: Final = {0: 0, 1: 0, PART - 1: 0, PART: 0, PART + 1: 2, SEVERAL: 3}
"""Sizes, and how many parts they are sent in (0: as a single PUT)."""


async def blocks(data: bytes) -> AsyncIterator[bytes]:
    """Blocks that fit into nothing evenly."""
    for start in range(0, len(data), 700_001):
        yield data[start : start + 700_001]


def sync_blocks(data: bytes) -> Iterator[memoryview]:
    for start in range(0, len(data), 2_000_003):
        yield memoryview(data)[start : start + 2_000_003]


async def test_streams_of_every_size(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    for size, parts in SIZES.items():
        data = content(size)
        told: list[Progress] = []
        result = await s3.put_multipart(
            f"{bucket}/key", blocks(data), part_size=PART, workers_count=2, progress=told.append
        )
        assert (result.size, result.parts, bare_etag(result.etag or "")) == (size, parts, etag_of(data))
        assert_stored(server, witness, bucket, "key", data)
        assert_progress(told, size)
    assert witness.uploads(bucket) == []


async def test_files_of_every_size(s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    for size, parts in SIZES.items():
        data = content(size)
        told: list[Progress] = []
        source = file_with(tmp_path / "source.csv", data)
        result = await s3.put_file_multipart(
            f"{bucket}/key", source, part_size=PART, workers_count=2, progress=told.append
        )
        assert (result.size, result.parts, bare_etag(result.etag or "")) == (size, parts, etag_of(data))
        assert_stored(server, witness, bucket, "key", data)
        assert witness.head(bucket, "key")["ContentType"] == "text/csv"
        assert_progress(told, size)
        assert all(progress.total == size for progress in told)
    assert witness.uploads(bucket) == []


async def test_both_connections(
    either: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    data = content(PART + 1)
    source = file_with(tmp_path / "source", data)
    await either.put_file_multipart(f"{bucket}/file", source, part_size=PART, workers_count=3)
    await either.put_multipart(f"{bucket}/stream", sync_blocks(data), part_size=PART, workers_count=3)
    for key in ("file", "stream"):
        assert_stored(server, witness, bucket, key, data)


async def test_few_places_and_many_workers(bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    """More workers than parts, fewer slots than workers, one connection, parts that are not hashed."""
    data = content(SEVERAL)
    source = file_with(tmp_path / "source", data)
    async with connect(server, max_connections=1) as s3:
        ways: dict[str, dict[str, Any]] = {
            "more workers than parts": {"workers_count": 16},
            "one slot": {"workers_count": 4, "max_size": 1},
            "more slots than workers": {"workers_count": 1, "max_size": 3},
        }
        for name, arguments in ways.items():
            if name == "one slot":
                result = await s3.put_file_multipart(f"{bucket}/{name}", source, part_size=PART, **arguments)
            else:
                result = await s3.put_multipart(
                    f"{bucket}/{name}", data, part_size=PART, calculate_content_sha256=False, **arguments
                )
            assert (result.parts, bare_etag(result.etag or "")) == (3, etag_of(data))
            assert_stored(server, witness, bucket, name, data)


async def test_default_part_size_and_name(
    s3: S3Client, bucket: str, witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is called like the object needs no second name."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / bucket
    folder.mkdir()
    file_with(folder / "page.html", b"<p>")
    result = await s3.put_file_multipart(f"{bucket}/page.html")
    assert (result.size, result.parts) == (3, 0)
    assert witness.head(bucket, "page.html")["ContentType"] == "text/html"


@pytest.mark.parametrize("size", [1, PART + 1])
async def test_headers_of_the_object(size: int, s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    headers = {"Content-Type": "text/x", "Cache-Control": "no-cache", "x-amz-meta-a": "1", "X-Amz-Meta-B": "2 3"}
    source = file_with(tmp_path / "source.csv", content(size))
    await s3.put_multipart(f"{bucket}/stream", blocks(content(size)), part_size=PART, headers=headers)
    await s3.put_file_multipart(f"{bucket}/file", source, part_size=PART, headers=headers)
    for key in ("stream", "file"):
        head = witness.head(bucket, key)
        assert (head["ContentType"], head["CacheControl"]) == ("text/x", "no-cache")
        metadata = {name.lower(): value for name, value in head["Metadata"].items()}
        assert (metadata["a"], metadata["b"]) == ("1", "2 3")


@pytest.mark.parametrize("size", [1, PART + 1])
async def test_only_if_there_is_none(size: int, s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """Of a multipart upload the condition goes to its last step, which decides."""
    fault = "complete-if-none-match-ignored" if size > PART else "put-if-none-match-ignored"
    headers = {"If-None-Match": "*"}
    await s3.put_multipart(f"{bucket}/key", content(size), part_size=PART, headers=headers)
    assert len(witness.get(bucket, "key")) == size
    witness.put(bucket, "key", b"theirs")
    if server.faults.get(fault):
        await s3.put_multipart(f"{bucket}/key", content(size), part_size=PART, headers=headers)
        assert len(witness.get(bucket, "key")) == size
    else:
        with pytest.raises(PreconditionFailed) as caught:
            await s3.put_multipart(f"{bucket}/key", content(size), part_size=PART, headers=headers)
        assert caught.value.operation == ("CompleteMultipartUpload" if size > PART else "PutObject")
        assert witness.get(bucket, "key") == b"theirs"
    assert witness.uploads(bucket) == []


async def test_a_customers_key(s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    """SSE-C headers go to every part and every range, or nothing works."""
    secret = bytes(range(32))
    prefix = "x-amz-server-side-encryption-customer-"
    headers = {
        f"{prefix}algorithm": "AES256",
        f"{prefix}key": b64encode(secret).decode(),
        f"{prefix}key-MD5": b64encode(md5(secret, usedforsecurity=False).digest()).decode(),
    }
    data = content(PART + 1)
    await s3.put_multipart(f"{bucket}/key", data, part_size=PART, headers=headers)
    target = tmp_path / "target"
    await s3.get_file_parallel(f"{bucket}/key", target, range_step=2_000_000, workers_count=3, headers=headers)
    assert target.read_bytes() == data
    assert (await s3.get(f"{bucket}/key")).status_code == (200 if server.faults.get("sse-c-ignored") else 400)


async def test_tags_on_the_way(s3: S3Client, bucket: str, server: Server) -> None:
    headers = {"x-amz-tagging": "a=1&b=2%203"}
    assert (await s3.put(f"{bucket}/key", b"<x/>", headers=headers)).status_code == 200
    await s3.put_multipart(f"{bucket}/big", content(PART + 1), part_size=PART, headers=headers)
    for key, fault in (("key", "tagging-header-ignored"), ("big", "multipart-tagging-ignored")):
        answer = await s3.get(f"{bucket}/{key}", params={"tagging": None})
        lost = server.faults.get(fault)
        if not (lost and server.faults.get("subresources-fall-through")):
            tags = parse_xml(answer.content).findall("TagSet/Tag") if answer.content else []
            pairs = sorted((tag.findtext("Key"), tag.findtext("Value")) for tag in tags)
            assert pairs == ([] if lost else [("a", "1"), ("b", "2 3")])


async def test_uploads_that_make_no_sense(s3: S3Client, bucket: str, witness: Witness) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"part_size": PART - 1},
        {"workers_count": 0},
        {"max_size": 0},
        {"part_upload_tries": 0},
        {"headers": {"Content-MD5": b64encode(hashlib.md5(b"x", usedforsecurity=False).digest()).decode()}},
        {"headers": {"x-amz-meta-ü": "1"}},
        {"headers": {"x-amz-meta-a": "ü"}},
    )
    for arguments in wrong:
        with pytest.raises(UsageError):
            await s3.put_multipart(f"{bucket}/key", b"x", **arguments)
    nonsense: tuple[Any, ...] = (["text"], [1], 1)
    for source in nonsense:
        with pytest.raises(UsageError):
            await s3.put_multipart(f"{bucket}/key", source)
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])
