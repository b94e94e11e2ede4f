"""What the tests of writers share: a writer of small parts, and an S3 in memory where nothing may be left open."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from anyio.lowlevel import checkpoint

from handtruck.transfer.upload import UploadPlan
from handtruck.transfer.writer import ObjectWriter
from tests.transfer.cancelling import OBJECT, OLD, PART, memory_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import pytest

    from handtruck import Progress, S3Client
    from tests.transfer.memory_s3 import MemoryS3


def writer(s3: S3Client, name: str = OBJECT, progress: Callable[[Progress], object] | None = None, **plan: Any) -> Any:
    """What ``S3Client.open`` gives; typed as anything, for the arguments that are wrong.

    Not hashed, unless that is asked for: then no thread makes the number of rounds uncertain.
    """
    options = {"part_size": PART, "workers": 2, "slots": 2, "tries": 3, "headers": (), "hashed": False, **plan}
    return ObjectWriter(s3._session, UploadPlan(location=s3._locate(name), **options), progress)


@asynccontextmanager
async def memory(*, old: bool = False) -> AsyncIterator[tuple[S3Client, MemoryS3]]:
    """An S3 in memory, and a client of it; at the end nothing may be left open."""
    async with memory_client() as (client, s3):
        if old:
            s3.put(OBJECT, OLD)
        yield client, s3
    assert (s3.uploads, s3.in_flight, s3.answers, client._session.places.taken) == ({}, 0, set(), 0)


async def within(f: Any, body: Callable[[Any], Awaitable[object]]) -> None:
    """Use a writer."""
    async with f:
        await body(f)


def stored(s3: MemoryS3) -> bytes | None:
    return s3.objects.get(OBJECT, (None, ""))[0]


async def a_while() -> None:
    for _ in range(100):
        await checkpoint()


def published_whatever_happens(patch: pytest.MonkeyPatch) -> None:
    """A mutation: however the block is left."""
    leave = ObjectWriter.__aexit__

    async def __aexit__(self: ObjectWriter, *_: object) -> None:  # noqa: N807
        await leave(self, None, None, None)

    patch.setattr(ObjectWriter, "__aexit__", __aexit__)
