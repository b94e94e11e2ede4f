"""Cancelled half-way, by a scope or natively, a transfer leaves nothing behind and keeps what was there.

The cancellation comes out of the progress callback: after the first part, or the first block, while other parts are
on the wire.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import anyio
import pytest
import trio

from handtruck.transfer.files import AtomicTarget
from handtruck.transfer.multipart import MultipartUpload
from tests.conformance.support import PART, SEVERAL, content, file_with

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import Progress, S3Client
    from tests.servers.admin import Witness

    Cancel = Callable[[], object]
    Job = Callable[[Cancel], Awaitable[object]]
    Cancelled = Callable[[Job], Awaitable[None]]

pytestmark = pytest.mark.anyio

STEP: Final = 64 * 1024


async def by_scope(job: Job) -> None:
    """An anyio scope around the job is cancelled from within."""
    with anyio.CancelScope() as scope:
        await job(scope.cancel)
    assert scope.cancelled_caught


async def by_deadline(job: Job) -> None:
    """A deadline passes: it is moved into the past."""

    def pass_now() -> None:
        scope.deadline = anyio.current_time() - 1

    with anyio.move_on_after(60) as scope:
        await job(pass_now)
    assert scope.cancelled_caught


async def natively(job: Job) -> None:
    """The loop's own way: a task's cancel() on asyncio, trio's own scope on trio."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        with trio.CancelScope() as scope:
            await job(scope.cancel)
        assert scope.cancelled_caught
        return

    async def run() -> None:
        await job(task.cancel)

    task = asyncio.create_task(run())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


@pytest.fixture(params=[by_scope, by_deadline, natively], ids=lambda way: way.__name__)
def cancelled(request: pytest.FixtureRequest) -> Cancelled:
    """Runs a job, which is handed what cancels it, and sees that it was cancelled."""
    way: Cancelled = request.param
    return way


def once(cancel: Cancel) -> Callable[[Progress], None]:
    """A progress callback that cancels when something, but not all, is done."""

    def progress(told: Progress) -> None:
        assert told.total is None or told.done < told.total
        cancel()

    return progress


async def upload_leaves_nothing(
    s3: S3Client, bucket: str, witness: Witness, source: Path, cancelled: Cancelled
) -> None:
    await cancelled(
        lambda cancel: s3.put_file_multipart(
            f"{bucket}/key", source, part_size=PART, workers_count=2, progress=once(cancel)
        )
    )
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])
    # The client is none the worse for it.
    assert s3._session.places.taken == 0
    assert (await s3.put(f"{bucket}/next", b"x")).status_code == 200
    witness.delete(bucket, "next")


async def test_an_upload(either: S3Client, bucket: str, witness: Witness, tmp_path: Path, cancelled: Cancelled) -> None:
    source = file_with(tmp_path / "source", content(SEVERAL))
    await upload_leaves_nothing(either, bucket, witness, source, cancelled)


async def test_the_abort_is_what_leaves_nothing(
    s3: S3Client, bucket: str, witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the abort taken out the promise is broken, and its test sees that."""

    async def nothing(upload: MultipartUpload, error: BaseException) -> None:
        """In place of undo()."""

    monkeypatch.setattr(MultipartUpload, "undo", nothing)
    source = file_with(tmp_path / "source", content(SEVERAL))
    with pytest.raises(AssertionError, match="key"):
        await upload_leaves_nothing(s3, bucket, witness, source, by_scope)
    assert [key for key, _ in witness.uploads(bucket)] == ["key"]


async def test_a_stream(s3: S3Client, bucket: str, witness: Witness, cancelled: Cancelled) -> None:
    """The caller's generator is closed, in the task in which it ran."""
    closed: list[bool] = []

    async def blocks() -> AsyncIterator[bytes]:
        try:
            while True:
                yield content(PART)
                await anyio.lowlevel.checkpoint()
        finally:
            closed.append(True)

    await cancelled(
        lambda cancel: s3.put_multipart(
            f"{bucket}/key", blocks(), part_size=PART, workers_count=2, progress=once(cancel)
        )
    )
    assert closed == [True]
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


async def test_a_stream_by_put(s3: S3Client, bucket: str, witness: Witness, cancelled: Cancelled) -> None:
    """Cancelled by the source itself, when the upload has begun and a part is being sent."""

    async def job(cancel: Cancel) -> None:
        async def blocks() -> AsyncIterator[bytes]:
            yield content(12 * 1024 * 1024)
            cancel()
            await anyio.sleep_forever()

        await s3.put(f"{bucket}/key", blocks())

    await cancelled(job)
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


async def download_leaves_nothing(s3: S3Client, bucket: str, target: Path, cancelled: Cancelled) -> None:
    before = target.read_bytes() if target.exists() else None
    await cancelled(
        lambda cancel: s3.get_file_parallel(
            f"{bucket}/key", target, range_step=STEP, buffer_size=10_007, workers_count=4, progress=once(cancel)
        )
    )
    assert [path.name for path in target.parent.iterdir()] == ([] if before is None else [target.name])
    assert before is None or target.read_bytes() == before
    assert s3._session.places.taken == 0


async def test_a_download(
    either: S3Client, bucket: str, witness: Witness, tmp_path: Path, cancelled: Cancelled
) -> None:
    witness.put(bucket, "key", content(20 * STEP))
    await download_leaves_nothing(either, bucket, tmp_path / "target", cancelled)
    target = file_with(tmp_path / "target", b"precious")
    target.chmod(0o600)
    await download_leaves_nothing(either, bucket, target, cancelled)
    await either.get_file_parallel(f"{bucket}/key", target, range_step=STEP, workers_count=4)
    assert target.read_bytes() == content(20 * STEP)


async def test_the_removal_is_what_leaves_nothing(
    s3: S3Client, bucket: str, witness: Witness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the temporary file's removal taken out the promise is broken, and its test sees that."""
    witness.put(bucket, "key", content(20 * STEP))
    monkeypatch.setattr(AtomicTarget, "discard", AtomicTarget._close)
    with pytest.raises(AssertionError, match=r"\.part"):
        await download_leaves_nothing(s3, bucket, tmp_path / "target", by_scope)


async def test_before_anything_begins(
    s3: S3Client, bucket: str, witness: Witness, tmp_path: Path, cancelled: Cancelled
) -> None:
    """Every call of a task that is cancelled already ends at once, having done nothing."""
    source = file_with(tmp_path / "source", content(PART + 1))
    for call in (
        lambda: s3.put(f"{bucket}/key", b"x"),
        lambda: s3.put_file(f"{bucket}/key", source),
        lambda: s3.put_multipart(f"{bucket}/key", content(PART + 1), part_size=PART),
        lambda: s3.put_file_multipart(f"{bucket}/key", source, part_size=PART),
        lambda: s3.get_file_parallel(f"{bucket}/key", tmp_path / "target"),
    ):

        async def job(cancel: Cancel, call: Callable[[], Awaitable[object]] = call) -> None:
            cancel()
            await call()

        await cancelled(job)
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
