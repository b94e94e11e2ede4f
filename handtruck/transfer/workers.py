"""The shape of every job: one feeder, some workers, a bounded number of things in hand.

The feeder alone advances the source of the work, so that a caller's generator lives in one task from its first
item to its ``aclose``. A thing is in hand from the moment it is asked for until it is done; ``slots`` bounds how
many there are, and with them the memory. The error policy is that of :func:`handtruck._tasks.siblings`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

from .._session import GRACE
from .._tasks import siblings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

T = TypeVar("T")


async def run_workers(
    feed: AsyncGenerator[T, None], handle: Callable[[T], Awaitable[object]], *, workers: int, slots: int
) -> None:
    """Call ``handle`` with everything ``feed`` yields, at most ``workers`` calls at once.

    Returns when all is done, or raises when all have stopped: no task, no generator is left behind.
    """
    free = anyio.Semaphore(slots)
    outbox, inbox = anyio.create_memory_object_stream[T](0)
    with inbox:  # until all are done: to find it closed would be one more error, of the feeder
        async with siblings() as crew:
            crew.start_soon(_feed, feed, outbox, free)
            for _ in range(workers):
                crew.start_soon(_work, handle, inbox, free)


async def _feed(feed: AsyncGenerator[T, None], outbox: MemoryObjectSendStream[T], free: anyio.Semaphore) -> None:
    async with outbox:
        try:
            free.acquire_nowait()  # no checkpoint before the feed has begun: only then does closing it close its source
            async for item in feed:
                await outbox.send(item)
                await free.acquire()
        finally:
            with anyio.move_on_after(GRACE, shield=True):
                await feed.aclose()


async def _work(
    handle: Callable[[T], Awaitable[object]], inbox: MemoryObjectReceiveStream[T], free: anyio.Semaphore
) -> None:
    async for item in inbox:
        await handle(item)
        free.release()
