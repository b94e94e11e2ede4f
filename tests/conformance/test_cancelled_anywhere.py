"""A seeded sample of what `tests/transfer/test_cancellation.py` does exhaustively: cancelled over Ceph, at any byte.

A road in between counts bytes and cancels at a count; nothing passes it after that for the connection that it stopped.
Afterwards no upload is listed, once the server has settled; nothing runs, nothing is open, the target is what it was.
"""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.transfer.multipart import MultipartUpload
from tests.conformance.support import PART, SEVERAL, connect, content, file_with
from tests.conformance.test_cancellation import by_scope, natively
from tests.scripted.proxy import road_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from handtruck import S3Client
    from tests.conformance.test_cancellation import Cancel, Cancelled
    from tests.servers.admin import Witness
    from tests.servers.model import Server

    Call = Callable[[S3Client, str, Path], Awaitable[object]]

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.parametrize("server", ["rgw"], indirect=True),  # the strictest one alone
]

SEEDS: Final = range(4)
DATA: Final = content(SEVERAL)
OLD: Final = b"what was there before"
SETTLED: Final = 100
"""Looks at the server, a twentieth of a second apart: a part that was being written comes to light late."""


async def blocks() -> AsyncIterator[bytes]:
    for start in range(0, SEVERAL, 700_001):
        yield DATA[start : start + 700_001]


async def read_all(s3: S3Client, bucket: str, _: Path) -> None:
    async with s3.open(f"{bucket}/there", part_size=PART // 8, workers_count=3) as reader:
        async for _block in reader:
            pass


async def write_all(s3: S3Client, bucket: str, _: Path) -> None:
    async with s3.open(f"{bucket}/new", "wb", part_size=PART) as writer:
        async for block in blocks():
            await writer.write(block)


async def many(s3: S3Client, bucket: str, folder: Path) -> None:
    async with s3.transfers(max_concurrency=3) as group:
        group.upload(f"{bucket}/new", folder / "source", part_size=PART)
        group.download(f"{bucket}/there", folder / "target", part_size=PART // 8)
        group.upload(f"{bucket}/small", DATA[:1000])


UP: Final[dict[str, Call]] = {
    "upload": lambda s3, bucket, folder: s3.upload(f"{bucket}/new", folder / "source", part_size=PART),
    "upload a stream": lambda s3, bucket, _: s3.upload(f"{bucket}/new", blocks(), part_size=PART),
    "writer": write_all,
    "many": many,
}
DOWN: Final[dict[str, Call]] = {
    "download": lambda s3, bucket, folder: s3.download(f"{bucket}/there", folder / "target", part_size=PART // 8),
    "reader": read_all,
    "get_ranges": lambda s3, bucket, _: s3.get_ranges(
        f"{bucket}/there", [(start, start + 100_000) for start in range(0, SEVERAL - 100_000, 900_000)], gap=0
    ),
}


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - as in the exhaustive half


async def cancelled_at(
    server: Server, bucket: str, witness: Witness, folder: Path, call: Call, direction: str, at: int, way: Cancelled
) -> bool:
    """Cancel a call at a byte count and look at all that must hold; False: it was over before."""
    fired: list[bool] = []
    async with road_to(server.url) as road, connect(server, url=road.url) as s3:
        before = descriptors()

        async def job(cancel: Cancel) -> None:
            def strike() -> None:
                fired.append(True)
                cancel()

            road.when(direction, at, strike)
            await call(s3, bucket, folder)
            if not fired:
                cancel()
                await anyio.lowlevel.checkpoint()

        await way(job)
        assert (s3._session.places.taken, s3._session.threads.borrowed_tokens) == (0, 0)
    await settled(lambda: not witness.uploads(bucket))
    assert witness.uploads(bucket) == []
    alone = call is DOWN["download"] and fired
    assert (folder / "target").read_bytes() in ((OLD,) if alone else (OLD, DATA))
    assert sorted(path.name for path in folder.iterdir()) == ["source", "target"]
    await settled(lambda: descriptors() <= before)
    assert descriptors() <= before
    return bool(fired)


async def settled(fine: Callable[[], bool]) -> None:
    for _ in range(SETTLED):
        if fine():
            return
        await anyio.sleep(0.05)


@pytest.fixture
def folder(tmp_path: Path, bucket: str, witness: Witness) -> Path:
    witness.put(bucket, "there", DATA)
    file_with(tmp_path / "source", DATA)
    file_with(tmp_path / "target", OLD)
    return tmp_path


def cases() -> Iterator[Any]:
    for seed in SEEDS:
        for direction, calls in (("up", UP), ("down", DOWN)):
            for name in calls:
                yield pytest.param(direction, name, seed, id=f"{name}-{seed}")


@pytest.mark.parametrize(("direction", "name", "seed"), list(cases()))
async def test_cancelled_at_any_byte(
    direction: str, name: str, seed: int, server: Server, bucket: str, witness: Witness, folder: Path
) -> None:
    call = (UP if direction == "up" else DOWN)[name]
    at = Random(f"{name} {seed}").randrange(1, SEVERAL * 9 // 10)  # noqa: S311 - where to cancel is no secret
    await cancelled_at(server, bucket, witness, folder, call, direction, at, (by_scope, natively)[seed % 2])


async def test_mutation_no_abort(
    server: Server, bucket: str, witness: Witness, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(upload: MultipartUpload, error: BaseException) -> None:
        """In place of undo()."""

    monkeypatch.setattr(MultipartUpload, "undo", nothing)
    monkeypatch.setattr("tests.conformance.test_cancelled_anywhere.SETTLED", 2)
    with pytest.raises(AssertionError, match="new"):
        await cancelled_at(server, bucket, witness, folder, UP["upload"], "up", SEVERAL // 2, by_scope)
