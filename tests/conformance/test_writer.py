"""Objects that are written bit by bit: on every server they arrive whole, or leave nothing, not even an upload."""

from __future__ import annotations

import asyncio
import gzip
import io
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.errors import NotFound
from handtruck.protocol.checksums import bare_etag
from handtruck.transfer.multipart import MultipartUpload
from handtruck.transfer.upload import UploadPlan
from handtruck.transfer.writer import ObjectWriter
from tests.conformance.support import PART, SEVERAL, assert_progress, assert_stored, content, etag_of, file_with

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from handtruck import Progress, S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

SIZES: Final = {0: 0, 1: 0, PART - 1: 0, PART: 0, PART + 1: 2, SEVERAL: 3}
"""Sizes, and how many parts they are sent in (0: as a single PUT)."""

ODD: Final = (1, 700_001, 3, 0, 2_000_003, 65_536)


def writer(
    s3: S3Client, name: str, progress: Callable[[Progress], object] | None = None, **changes: Any
) -> ObjectWriter:
    arguments = {"headers": (), "part_size": PART, "workers": 2, "slots": 2, "tries": 3, **changes}
    return ObjectWriter(s3._session, UploadPlan(location=s3._locate(name), **arguments), progress)


async def write(f: ObjectWriter, data: bytes) -> None:
    """In blocks that fit into nothing evenly."""
    start, sizes = 0, cycle(ODD)
    while start < len(data):
        size = next(sizes)
        start += await f.write(memoryview(data)[start : start + size])
    assert f.tell() == len(data)


async def test_every_size(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    for size, parts in SIZES.items():
        data = content(size)
        told: list[Progress] = []
        async with writer(s3, f"{bucket}/key", told.append) as f:
            await write(f, data)
        assert (f.result.size, f.result.parts, bare_etag(f.result.etag or "")) == (size, parts, etag_of(data))
        assert_stored(server, witness, bucket, "key", data)
        assert (await s3.get(f"{bucket}/key")).content == data
        assert_progress(told, size)
    assert witness.uploads(bucket) == []


async def test_both_connections(either: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """In one block, and closed before its time; headers are the object's."""
    data = content(SEVERAL)
    async with writer(either, f"{bucket}/key", headers=(("Content-Type", "text/x"), ("x-amz-meta-a", "1"))) as f:
        await f.write(data)
        await f.aclose()
        assert_stored(server, witness, bucket, "key", data)
    head = witness.head(bucket, "key")
    assert (head["ContentType"], {name.lower(): value for name, value in head["Metadata"].items()}) == (
        "text/x",
        {"a": "1"},
    )


async def fails_after(s3: S3Client, name: str, size: int) -> None:
    async with writer(s3, name) as f:
        await write(f, content(size))
        raise ZeroDivisionError


async def an_exception_leaves_nothing(s3: S3Client, bucket: str, witness: Witness) -> None:
    for size in (0, 10, PART + 1, SEVERAL):
        with pytest.raises(ZeroDivisionError) as caught:
            await fails_after(s3, f"{bucket}/key", size)
        assert not hasattr(caught.value, "__notes__")
        assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])
    witness.put(bucket, "key", b"theirs")
    with pytest.raises(ZeroDivisionError):
        await fails_after(s3, f"{bucket}/key", SEVERAL)
    assert witness.get(bucket, "key") == b"theirs"
    assert witness.uploads(bucket) == []
    assert s3._session.places.taken == 0


async def test_an_exception_leaves_nothing(either: S3Client, bucket: str, witness: Witness) -> None:
    await an_exception_leaves_nothing(either, bucket, witness)


async def test_a_cancellation_leaves_nothing(s3: S3Client, bucket: str, witness: Witness) -> None:
    """By a scope, while a part is on the wire."""
    with anyio.CancelScope() as scope:
        async with writer(s3, f"{bucket}/key", lambda _: scope.cancel()) as f:
            while True:
                await f.write(content(PART))
    assert scope.cancelled_caught
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], ids=["asyncio", "asyncio+uvloop"]
)
async def test_asyncios_timeout_leaves_nothing(
    anyio_backend: object, s3: S3Client, bucket: str, witness: Witness
) -> None:
    async def job() -> None:
        async with asyncio.timeout(None) as timeout:
            async with writer(s3, f"{bucket}/key", lambda _: timeout.reschedule(0)) as f:
                while True:
                    await f.write(content(PART))

    with pytest.raises(TimeoutError):
        await job()
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


async def test_no_such_bucket(s3: S3Client, bucket: str) -> None:
    """Known when the first part is full, or when the block is left."""
    for size in (10, SEVERAL):
        with pytest.raises(NotFound):
            await writes(s3, f"{bucket}-that-is-not-there/key", size)


async def writes(s3: S3Client, name: str, size: int, **plan: Any) -> None:
    async with writer(s3, name, **plan) as f:
        await write(f, content(size))


async def test_who_catches_the_error_has_not_written(s3: S3Client, bucket: str, witness: Witness) -> None:
    """It comes out again when the block is left."""
    caught: list[NotFound] = []

    async def job() -> None:
        async with writer(s3, f"{bucket}-that-is-not-there/key") as f:
            for _ in range(3):
                try:
                    await f.write(content(SEVERAL))
                except NotFound as error:
                    caught.append(error)

    with pytest.raises(NotFound) as last:
        await job()
    assert caught == [last.value] * 3


async def test_open_files(s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    """As contents, by every method that takes streams; their size is known from the beginning."""
    data = content(SEVERAL)
    path = file_with(tmp_path / "file", data)
    told: list[Progress] = []
    with path.open("rb") as file, gzip.open(io.BytesIO(gzip.compress(data, 1))) as unpacked:
        await s3.put_multipart(f"{bucket}/file", file, part_size=PART, workers_count=2, progress=told.append)
        await s3.put_multipart(f"{bucket}/unpacked", unpacked, part_size=PART, workers_count=2)
        file.seek(PART)
        assert (await s3.put(f"{bucket}/rest", file)).status_code == 200
    async with await anyio.open_file(path, "rb") as async_file:
        await s3.put_multipart(f"{bucket}/async", async_file, part_size=PART, workers_count=2)
    for key in ("file", "unpacked", "async"):
        assert_stored(server, witness, bucket, key, data)
    assert witness.get(bucket, "rest") == data[PART:]
    assert_progress(told, SEVERAL)
    assert all(progress.total == SEVERAL for progress in told)


async def test_the_abort_is_what_leaves_nothing(
    s3: S3Client, bucket: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the abort taken out the promise is broken, and its test sees that."""

    async def nothing(*_: object) -> None:
        """In place of undo()."""

    monkeypatch.setattr(MultipartUpload, "undo", nothing)
    with pytest.raises(AssertionError, match="key"):
        await an_exception_leaves_nothing(s3, bucket, witness)


async def test_only_a_clean_exit_publishes(
    s3: S3Client, bucket: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave = ObjectWriter.__aexit__

    async def publish(self: ObjectWriter, *_: object) -> None:
        await leave(self, None, None, None)

    monkeypatch.setattr(ObjectWriter, "__aexit__", publish)
    with pytest.raises(AssertionError, match="key"):
        await an_exception_leaves_nothing(s3, bucket, witness)
