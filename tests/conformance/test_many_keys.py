"""Thousands of keys: listed flat, by pages, by versions, folder by folder and in parallel; then deleted, all of them.

1 200 in every run, two pages; 25 000 where long runs are asked for. Those print time and memory.
"""

from __future__ import annotations

import time
import tracemalloc
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from tests.conformance.support import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck import S3Client
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

ON_RGW: Final = pytest.mark.parametrize("server", ["rgw"], indirect=True)
FOLDERS: Final = 10
WRITERS: Final = 32
MOST: Final = 8
"""MiB that a listing may have in memory, whatever it lists; 25 000 objects would take 11, and 2 are the test's own."""


@dataclass
class Figures:
    """What each way to list or delete has cost."""

    lines: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def of(self, what: str, keys: int) -> AsyncIterator[None]:
        """Measure a block: seconds; or, where memory is traced, MiB, which must not be too many."""
        if tracemalloc.is_tracing():
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            yield
            peak = (tracemalloc.get_traced_memory()[1] - before) / 2**20
            self.lines.append(f"{what:20} {peak:8.2f} MiB")
            assert peak < MOST, what
        else:
            begun = time.perf_counter()
            yield
            seconds = time.perf_counter() - begun
            self.lines.append(f"{what:20} {seconds:8.2f} s {keys / seconds:8.0f} keys/s")


async def fill(s3: S3Client, bucket: str, keys: list[str]) -> None:
    """Write empty objects, many at once."""
    left = iter(keys)

    async def write() -> None:
        for key in left:
            assert (await s3.put(f"{bucket}/{key}", b"")).is_success

    async with anyio.create_task_group() as group:
        for _ in range(WRITERS):
            group.start_soon(write)


async def counted(objects: Any) -> tuple[int, int]:
    """How many, and how many different ones; without keeping them."""
    number, seen = 0, set()
    async for one in objects:
        number += 1
        seen.add(hash(one.key))
    return number, len(seen)


async def listed_in_every_way(s3: S3Client, bucket: str, count: int, figures: Figures) -> None:
    """The right numbers, every time; memory is that of some pages, where it is looked at."""
    async with figures.of("pages", count):
        assert sum([len(page) async for page in s3.list_objects_v2(bucket)]) == count
    async with figures.of("flat", count):
        assert await counted(s3.iter_objects(bucket)) == (count, count)
    async with figures.of("versions", count):
        assert await counted(s3.iter_object_versions(bucket)) == (count, count)
    async with figures.of("folder by folder", count):
        assert sum([len(objects) async for _, _, objects in s3.walk(bucket)]) == count
    async with figures.of("in parallel", count), s3.list_objects_parallel(bucket) as objects:
        assert await counted(objects) == (count, count)


async def there_and_gone(server: Server, bucket: str, count: int) -> Figures:
    """Write so many, list them in every way, delete half of them by name and the others by prefix."""
    figures = Figures()
    keys = [f"{number % FOLDERS}/{number:06}" for number in range(count)]
    async with connect(server) as s3:
        async with figures.of("written", count):
            await fill(s3, bucket, keys)
        await listed_in_every_way(s3, bucket, count, figures)
        tracemalloc.start()
        try:
            await listed_in_every_way(s3, bucket, count, figures)
        finally:
            tracemalloc.stop()
        half = [key for key in keys if int(key[0]) < FOLDERS // 2]
        async with figures.of("delete_objects", len(half)):
            result = await s3.delete_objects(half, bucket)
        assert (result.count, len(result.deleted), result.errors) == (len(half), len(half), ())
        async with figures.of("delete_prefix", count - len(half)):
            result = await s3.delete_prefix(bucket, prefix="", whole_bucket=True)
        assert (result.count, result.errors) == (count - len(half), ())
        assert await counted(s3.iter_objects(bucket)) == (0, 0)
    return figures


def show(figures: Figures, count: int, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{count} keys", *figures.lines, sep="\n  ")  # noqa: T201 - the figures are what it is for


@ON_RGW
@pytest.mark.timeout(60)
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], ids=["uvloop"], indirect=True)
async def test_thousands(server: Server, bucket: str) -> None:
    await there_and_gone(server, bucket, 1200)


@ON_RGW
@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_twenty_five_thousand(server: Server, bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(await there_and_gone(server, bucket, 25_000), 25_000, capsys)
