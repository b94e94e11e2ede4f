"""Every kind of body arrives whole: in memory, from iterables of both kinds, from files."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING, Final

import pytest

from handtruck.errors import S3Error, UsageError
from handtruck.protocol.checksums import bare_etag
from handtruck.protocol.documents import parse_xml
from handtruck.protocol.parts import DEFAULT_PART_SIZE, MIB
from tests.conformance.support import content, etag_of, file_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from handtruck import S3Client
    from handtruck.transfer.sources import BytesLike
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

IN_MEMORY: Final[dict[str, tuple[str | BytesLike | None, bytes]]] = {
    "text": ("hällo, wörld", "hällo, wörld".encode()),
    "no text": ("", b""),
    "bytes": (b"\x00\xff", b"\x00\xff"),
    "no bytes": (b"", b""),
    "bytearray": (bytearray(b"abc"), b"abc"),
    "memoryview": (memoryview(b"abc")[1:], b"bc"),
    "strided memoryview": (memoryview(b"abcdef")[::2], b"ace"),
    "memoryview of numbers": (memoryview(array("H", [1, 2])), b"".join(n.to_bytes(2, sys.byteorder) for n in (1, 2))),
    "nothing": (None, b""),
    "more than is hashed on the spot": (content(MIB + 1), content(MIB + 1)),
}


def blocks(data: bytes) -> Iterator[bytes]:
    """A sync generator of blocks that fit into nothing evenly."""
    for start in range(0, len(data), 700_001):
        yield data[start : start + 700_001]


async def async_blocks(data: bytes) -> AsyncIterator[bytes]:
    for block in blocks(data):
        yield block


async def test_bodies_in_memory(s3: S3Client, bucket: str, witness: Witness) -> None:
    for name, (body, stored) in IN_MEMORY.items():
        answer = await s3.put(f"{bucket}/{name}", body)
        assert (answer.status_code, bare_etag(answer.headers["etag"])) == (200, etag_of(stored)), name
        assert witness.get(bucket, name) == stored, name
        assert (await s3.get(f"{bucket}/{name}")).content == stored, name


async def test_small_iterables(s3: S3Client, bucket: str, witness: Witness) -> None:
    data = content(2 * MIB)
    bodies: dict[str, Iterable[BytesLike] | AsyncIterable[BytesLike]] = {
        "async": async_blocks(data),
        "sync": blocks(data),
        "a list": [data[:1], bytearray(data[1:9]), memoryview(data)[9:]],
        "with holes": [b"", data, b""],
    }
    for name, body in bodies.items():
        answer = await s3.put(f"{bucket}/{name}", body, headers={"Content-Type": "text/x"})
        assert (answer.status_code, bare_etag(answer.headers["etag"])) == (200, etag_of(data)), name
        assert witness.get(bucket, name) == data, name
        assert witness.head(bucket, name)["ContentType"] == "text/x"


async def test_empty_iterables(s3: S3Client, bucket: str, witness: Witness) -> None:
    bodies: dict[str, Iterable[BytesLike] | AsyncIterable[BytesLike]] = {
        "async": async_blocks(b""),
        "sync": blocks(b""),
        "a list": [b""],
    }
    for name, body in bodies.items():
        assert (await s3.put(f"{bucket}/{name}", body)).status_code == 200
        assert witness.get(bucket, name) == b""


async def test_refused_iterables_give_the_answer(s3: S3Client, bucket: str) -> None:
    assert (await s3.put(f"{bucket}-missing/key", async_blocks(b"x"))).status_code == 404


async def test_an_iterable_that_outgrows_a_part(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """It becomes a multipart upload, and gives the answer that completed it."""
    data = content(DEFAULT_PART_SIZE + MIB)
    answer = await s3.put(f"{bucket}/key", async_blocks(data), headers={"x-amz-meta-a": "1"})
    assert answer.status_code == 200
    root = parse_xml(answer.content)
    assert (root.tag, root.findtext("Key")) == ("CompleteMultipartUploadResult", "key")
    expected = etag_of(data, DEFAULT_PART_SIZE)
    if server.faults.get("first-complete-etag-empty"):
        assert not root.findtext("ETag")
    else:
        assert bare_etag(root.findtext("ETag") or "") == expected
    assert bool(root.findtext("Location")) is not bool(server.faults.get("complete-has-no-location"))
    assert witness.get(bucket, "key") == data
    head = witness.head(bucket, "key")
    assert {name.lower(): value for name, value in head["Metadata"].items()}["a"] == "1"
    if not server.faults.get("head-etag-is-plain-md5"):
        assert bare_etag(head["ETag"]) == expected
    assert witness.uploads(bucket) == []


async def test_outgrowing_a_part_may_be_refused(s3: S3Client, bucket: str, witness: Witness) -> None:
    data = content(DEFAULT_PART_SIZE + 1)
    with pytest.raises(S3Error) as caught:
        await s3.put(f"{bucket}-missing/key", blocks(data))
    assert caught.value.code == "NoSuchBucket"
    with pytest.raises(UsageError, match="params= belong to one request"):
        await s3.put(f"{bucket}/key", blocks(data), params={"tagging": None})
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


async def test_put_file(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    data = content(MIB + 1)
    for name, chunk_size, kind in (
        ("data.csv", 100_003, "text/csv"),
        ("data.json", MIB, "application/json"),
        ("data.tar.gz", 9 * MIB, "application/gzip"),
        ("data.txt.bz2", MIB, "application/x-bzip2"),
        ("data", MIB, "application/octet-stream"),
    ):
        answer = await s3.put_file(f"{bucket}/{name}", file_with(tmp_path / name, data), chunk_size=chunk_size)
        assert (answer.status_code, bare_etag(answer.headers["etag"])) == (200, etag_of(data)), name
        assert witness.get(bucket, name) == data, name
        head = witness.head(bucket, name)
        assert (head["ContentType"], head.get("ContentEncoding", "")) == (kind, "")


async def test_put_file_with_headers(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    path = file_with(tmp_path / "page.html", b"")
    answer = await s3.put_file(f"{bucket}/key", str(path), headers={"content-type": "text/plain", "x-amz-meta-a": "1"})
    assert answer.status_code == 200
    head = witness.head(bucket, "key")
    assert (head["ContentLength"], head["ContentType"]) == (0, "text/plain")


async def test_put_file_that_cannot_be_read(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"missing\.txt"):
        await s3.put_file(f"{bucket}/key", tmp_path / "missing.txt")
    with pytest.raises(UsageError, match="not a regular file"):
        await s3.put_file(f"{bucket}/key", tmp_path)
    assert witness.keys(bucket) == []


async def test_put_file_gives_the_answer(s3: S3Client, bucket: str, tmp_path: Path) -> None:
    path = file_with(tmp_path / "file", b"x")
    assert (await s3.put_file(f"{bucket}-missing/key", path)).status_code == 404
