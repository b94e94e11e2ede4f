"""An upload that fails leaves nothing behind: no object, no open upload, no generator half-way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from handtruck.errors import NotFound, S3Error, SourceChanged
from handtruck.transfer.files import SourceFile
from handtruck.transfer.multipart import MultipartUpload
from tests.conformance.support import PART, SEVERAL, connect, content, file_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from handtruck import Progress, S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio


class SourceBroke(Exception):
    """What a caller's generator raises."""


class Source:
    """A generator of either kind that yields a part and a half, and raises; it tells whether it was closed."""

    def __init__(self) -> None:
        self.closed = False

    def blocks(self) -> Iterator[bytes]:
        try:
            yield content(PART)
            yield content(PART // 2)
            raise SourceBroke
        finally:
            self.closed = True

    async def async_blocks(self) -> AsyncIterator[bytes]:
        try:
            for block in (content(PART), content(PART // 2)):
                yield block
                await anyio.lowlevel.checkpoint()
            raise SourceBroke
        finally:
            await anyio.lowlevel.checkpoint()
            self.closed = True


async def broken_source_leaves_nothing(s3: S3Client, bucket: str, witness: Witness) -> None:
    """The generator's own exception comes out, and the upload is gone."""
    for kind in ("blocks", "async_blocks"):
        source = Source()
        with pytest.raises(SourceBroke):
            await s3.put_multipart(f"{bucket}/key", getattr(source, kind)(), part_size=PART, workers_count=2)
        assert source.closed
        assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


async def test_a_source_that_breaks(either: S3Client, bucket: str, witness: Witness) -> None:
    await broken_source_leaves_nothing(either, bucket, witness)


async def test_the_abort_is_what_leaves_nothing(
    s3: S3Client, bucket: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the abort taken out the promise is broken, and its test sees that."""
    monkeypatch.setattr(MultipartUpload, "undo", _nothing)
    with pytest.raises(AssertionError, match="key"):
        await broken_source_leaves_nothing(s3, bucket, witness)
    ((key, upload_id),) = witness.uploads(bucket)
    witness.abort(bucket, key, upload_id)


async def _nothing(upload: MultipartUpload, error: BaseException) -> None:
    """In place of undo()."""


async def test_a_put_that_breaks(s3: S3Client, bucket: str, witness: Witness) -> None:
    async def blocks() -> AsyncIterator[bytes]:
        yield content(9 * 1024 * 1024)
        raise SourceBroke

    with pytest.raises(SourceBroke):
        await s3.put(f"{bucket}/key", blocks())
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


async def test_a_callback_that_raises(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    def refuse(progress: Progress) -> None:
        raise SourceBroke

    source = file_with(tmp_path / "source", content(SEVERAL))
    with pytest.raises(SourceBroke):
        await s3.put_file_multipart(f"{bucket}/key", source, part_size=PART, workers_count=2, progress=refuse)
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])
    witness.put(bucket, "key", b"x" * 100_000)
    target = tmp_path / "target"
    with pytest.raises(SourceBroke):
        await s3.get_file_parallel(f"{bucket}/key", target, range_step=10_000, workers_count=2, progress=refuse)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


async def check_a_file_that_changes(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    source = file_with(tmp_path / "source", content(SEVERAL))

    def grow(progress: Progress) -> None:
        with source.open("ab") as file:
            file.write(b"more")

    with pytest.raises(SourceChanged, match="source changed"):
        await s3.put_file_multipart(f"{bucket}/key", source, part_size=PART, progress=grow)
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


async def test_a_file_that_changes(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    await check_a_file_that_changes(s3, bucket, witness, tmp_path)


async def test_mutation_nobody_looks_at_the_file_again(
    s3: S3Client, bucket: str, witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SourceFile, "check_unchanged", lambda _: None)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await check_a_file_that_changes(s3, bucket, witness, tmp_path)


async def test_an_upload_that_somebody_else_aborts(
    bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """The next part finds no upload: an error that says so, and nothing is left."""
    source = file_with(tmp_path / "source", content(PART + 1))

    def abort(progress: Progress) -> None:
        ((key, upload_id),) = witness.uploads(bucket)
        witness.abort(bucket, key, upload_id)

    async with connect(server) as s3:
        with pytest.raises(S3Error) as caught:
            await s3.put_file_multipart(f"{bucket}/key", source, part_size=PART, progress=abort, part_upload_tries=1)
    error = caught.value
    assert (error.operation, error.bucket, error.key) == ("UploadPart", bucket, "key")
    if server.faults.get("part-after-abort-is-500"):
        assert error.status == 500
    else:
        assert (type(error), error.status, error.code) == (NotFound, 404, "NoSuchUpload")
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])
