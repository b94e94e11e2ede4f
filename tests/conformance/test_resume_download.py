"""``download(resume=True)`` against real servers: interrupted, it goes on, and moves little again.

A road in between counts the bytes. An object that was replaced meanwhile is fetched from its beginning.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.errors import NotFound
from handtruck.transfer.partial import JOURNAL, PART, PartialTarget
from tests.conformance.support import assert_progress, connect, content
from tests.conformance.test_cancellation import by_deadline, by_scope, natively
from tests.scripted.proxy import Road, road_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import Progress, S3Client
    from tests.conformance.test_cancellation import Cancel, Cancelled
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

STEP: Final = 64 * 1024
WORKERS: Final = 4
SIZE: Final = 20 * STEP + 123
HEADS: Final = 64 * 1024
"""What 21 answers weigh beside their bodies, and what a road holds of one that is cut off."""

OLD: Final = b"precious"


class Stop(Exception):
    """What ends an attempt."""


async def by_error(job: Callable[[Cancel], Awaitable[object]]) -> None:
    """The caller's own code fails."""

    def fail() -> None:
        raise Stop

    with pytest.raises(Stop):
        await job(fail)


@pytest.fixture(params=[by_error, by_scope, by_deadline, natively], ids=lambda way: way.__name__)
def interrupted(request: pytest.FixtureRequest) -> Cancelled:
    """Runs a job, which is handed what ends it."""
    way: Cancelled = request.param
    return way


@pytest.fixture(name="road")
async def _road(server: Server, anyio_backend: object) -> AsyncIterator[Road]:
    async with road_to(server.url) as road:
        yield road


@pytest.fixture(name="by_road")
async def _by_road(server: Server, road: Road) -> AsyncIterator[S3Client]:
    """A client that takes it."""
    async with connect(server, url=road.url) as client:
        yield client


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.write_bytes(OLD)
    return target


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ending(cancel: Cancel, after: int) -> Callable[[Progress], None]:
    """A progress callback that ends it when so much is there."""

    def progress(told: Progress) -> None:
        if told.done >= after:
            cancel()

    return progress


async def fetch(s3: S3Client, bucket: str, target: Path, **options: Any) -> Any:
    return await s3.download(
        f"{bucket}/key", target, **{"part_size": STEP, "workers_count": WORKERS, "resume": True, **options}
    )


async def goes_on(s3: S3Client, road: Road, bucket: str, target: Path, interrupted: Cancelled, after: int) -> None:
    """Interrupted, it leaves a part and its journal; the next call moves at most ``WORKERS × STEP`` bytes again."""
    road.pass_freely()
    await interrupted(lambda cancel: fetch(s3, bucket, target, progress=ending(cancel, after)))
    assert target.read_bytes() == OLD
    assert names(target.parent) == [target.name, target.name + JOURNAL, target.name + PART]
    assert s3._session.places.taken == 0
    first = road.down
    road.pass_freely()
    told: list[Progress] = []
    result = await fetch(s3, bucket, target, progress=told.append)
    assert (result.size, target.read_bytes()) == (SIZE, content(SIZE))
    assert names(target.parent) == [target.name]
    assert result.resumed >= after
    assert told[0].done == result.resumed
    assert_progress(told, SIZE)
    assert road.down <= SIZE - result.resumed + HEADS
    assert first + road.down <= SIZE + WORKERS * STEP + 2 * HEADS


@pytest.mark.parametrize("after", [1, 10 * STEP])
async def test_it_goes_on(
    by_road: S3Client, road: Road, bucket: str, witness: Witness, target: Path, interrupted: Cancelled, after: int
) -> None:
    witness.put(bucket, "key", content(SIZE))
    await goes_on(by_road, road, bucket, target, interrupted, after)


async def test_the_object_was_replaced(s3: S3Client, bucket: str, witness: Witness, target: Path) -> None:
    """By one of the same size."""
    witness.put(bucket, "key", content(SIZE))
    await by_scope(lambda cancel: fetch(s3, bucket, target, progress=ending(cancel, 10 * STEP)))
    witness.put(bucket, "key", content(SIZE)[::-1])
    assert (await fetch(s3, bucket, target)).resumed == 0
    assert target.read_bytes() == content(SIZE)[::-1]
    assert names(target.parent) == [target.name]


async def test_the_object_was_deleted(s3: S3Client, bucket: str, witness: Witness, target: Path) -> None:
    witness.put(bucket, "key", content(SIZE))
    await by_scope(lambda cancel: fetch(s3, bucket, target, progress=ending(cancel, 10 * STEP)))
    witness.delete(bucket, "key")
    with pytest.raises(NotFound):
        await fetch(s3, bucket, target)
    assert target.read_bytes() == OLD
    witness.put(bucket, "key", content(SIZE))
    await fetch(s3, bucket, target)
    assert target.read_bytes() == content(SIZE)
    assert names(target.parent) == [target.name]


async def test_all_bytes_were_there(
    s3: S3Client, bucket: str, witness: Witness, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the last byte and the rename."""

    def killed(*_: object, **__: object) -> None:
        raise Stop

    witness.put(bucket, "key", content(SIZE))
    with monkeypatch.context() as patch:
        patch.setattr(PartialTarget, "commit", killed)
        with pytest.raises(Stop):
            await fetch(s3, bucket, target)
    assert (await fetch(s3, bucket, target)).resumed == SIZE - 1
    assert target.read_bytes() == content(SIZE)
    assert names(target.parent) == [target.name]


@pytest.mark.parametrize("size", [0, 1, STEP, SIZE])
async def test_with_fsync(s3: S3Client, bucket: str, witness: Witness, target: Path, size: int) -> None:
    witness.put(bucket, "key", content(size))
    assert (await fetch(s3, bucket, target, fsync=True)).resumed == 0
    assert target.read_bytes() == content(size)
    assert names(target.parent) == [target.name]


@pytest.mark.parametrize("size", [0, 1, STEP, SIZE])
async def test_into_an_open_file(either: S3Client, bucket: str, witness: Witness, size: int) -> None:
    witness.put(bucket, "key", content(size))
    sink = io.BytesIO()
    told: list[Progress] = []
    result = await either.download(f"{bucket}/key", sink, part_size=STEP, workers_count=WORKERS, progress=told.append)
    assert (result.path, result.size, sink.getvalue()) == (None, size, content(size))
    assert_progress(told, size)


async def test_into_a_stream(s3: S3Client, bucket: str, witness: Witness) -> None:
    """Its other end is read meanwhile, here by an upload: a copy by way of this process."""
    witness.put(bucket, "key", content(SIZE))
    send, receive = anyio.create_memory_object_stream[bytes](0)

    async def up() -> None:
        async with receive:
            await s3.upload(f"{bucket}/copy", receive)

    async with anyio.create_task_group() as group:
        group.start_soon(up)
        async with send:
            await s3.download(f"{bucket}/key", send, part_size=STEP, workers_count=WORKERS)
    assert witness.get(bucket, "copy") == content(SIZE)


async def test_clients_that_share_a_limiter(server: Server, bucket: str, witness: Witness, tmp_path: Path) -> None:
    """With one token between them, all is done in turn."""
    witness.put(bucket, "key", content(SIZE))
    limiter = anyio.CapacityLimiter(1)
    async with connect(server, limiter=limiter) as one, connect(server, limiter=limiter) as other:
        async with anyio.create_task_group() as group:
            for number, s3 in enumerate((one, other)):
                group.start_soon(fetch, s3, bucket, tmp_path / str(number))
        assert limiter.borrowed_tokens == 0
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes() == content(SIZE)


async def test_the_journal_is_what_saves_bytes(
    by_road: S3Client, road: Road, bucket: str, witness: Witness, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was found not believed, all is moved again, and the check sees it."""
    witness.put(bucket, "key", content(SIZE))
    monkeypatch.setattr(PartialTarget, "found", lambda _: None)
    with pytest.raises(AssertionError):
        await goes_on(by_road, road, bucket, target, by_scope, 10 * STEP)
