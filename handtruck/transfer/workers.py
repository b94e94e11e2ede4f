"""The shape of every job: one feeder, some workers, a bounded number of things in hand.

The feeder alone advances the source of the work, so that a caller's generator lives in one task from its first
item to its ``aclose``. A thing is in hand from the moment it is asked for until it is done; ``slots`` bounds how
many there are, and with them the memory. The error policy is that of :func:`handtruck._tasks.siblings`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio

from .._attempt import GRACE
from .._tasks import add_notes, siblings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from types import TracebackType

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
            hands = Hands(workers, lambda: crew.start_soon(_work, handle, inbox, free))
            crew.start_soon(_feed, feed, outbox, free, hands)


@dataclass(slots=True)
class Hands:
    """Workers, of whom each begins when there is work and nobody idle: most objects need one."""

    left: int
    start: Callable[[], object]

    def call(self, idle: int) -> None:
        """There is work."""
        if self.left and not idle:
            self.left -= 1
            self.start()


async def _feed(
    feed: AsyncGenerator[T, None], outbox: MemoryObjectSendStream[T], free: anyio.Semaphore, hands: Hands
) -> None:
    async with outbox, Closing(feed.aclose, GRACE):
        free.acquire_nowait()  # no checkpoint before the feed has begun: only then does closing it close its source
        async for item in feed:
            hands.call(outbox.statistics().tasks_waiting_receive)
            await outbox.send(item)
            await free.acquire()


async def _work(
    handle: Callable[[T], Awaitable[object]], inbox: MemoryObjectReceiveStream[T], free: anyio.Semaphore
) -> None:
    async for item in inbox:
        await handle(item)
        free.release()


class Closing:
    """Around all use of a source: closes it; if something went wrong, shielded and within ``grace`` seconds.

    A generator may hold a cancel scope or a task group open across a ``yield``. A shield that we put up around its
    ``aclose`` would lie inside that scope, which then ends first: on no loop can it. So our scope is there before
    the source's first step, and becomes the shield.

    What the source raises while it is closed is a note on what went wrong before; where nothing did, it comes out.
    ``stopped`` is called when something went wrong, before the source is closed.
    """

    def __init__(
        self, aclose: Callable[[], Awaitable[object]], grace: float, stopped: Callable[[], object] | None = None
    ) -> None:
        self._aclose = aclose
        self._grace = grace
        self._stopped = stopped
        self._scope = anyio.CancelScope()
        self._cancelled_within = False

    async def __aenter__(self) -> None:
        self._scope.__enter__()

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        failed: BaseException | None = None
        try:
            if error is None:
                await self._aclose()
            else:
                failed = await self._close()
        finally:
            self._scope.__exit__(None, None, None)
        try:
            cancellation = anyio.get_cancelled_exc_class()
            stray = isinstance(error, cancellation) and not _cancelled()
            if failed is None and stray and self._cancelled_within:
                failed = TimeoutError("a cancel scope of the source was cancelled while the source was at its yield")
            if error is None or failed is None:
                return
            interrupt = not isinstance(failed, (Exception, cancellation))
            if stray or interrupt or isinstance(error, GeneratorExit):
                raise failed
            add_notes(error, [failed], [])
        finally:
            del failed, error  # no cycle: their tracebacks hold this frame

    async def _close(self) -> BaseException | None:
        """Close the source, however we are cancelled; gives what went wrong."""
        scope = self._scope
        scope.shield = True
        if self._stopped is not None:
            self._stopped()
        # From outside nothing reaches us any more: that would be a scope of the source's own, which struck us instead.
        self._cancelled_within = _cancelled()
        scope.deadline = anyio.current_time() + self._grace
        failed: BaseException | None = None
        try:
            await self._aclose()
        except anyio.get_cancelled_exc_class() as cancelled:
            failed = TimeoutError(f"the source was not closed within {self._grace:g} s")
            if not scope.cancel_called:
                failed = cancelled
        except GeneratorExit:
            pass
        except BaseExceptionGroup as errors:  # a task group wraps the GeneratorExit, too
            failed = errors.split((GeneratorExit, anyio.get_cancelled_exc_class()))[1]
        except BaseException as raised:  # noqa: BLE001 - __aexit__ says it, or raises it
            failed = raised
        return failed


def _cancelled() -> bool:
    """Whether the next checkpoint raises."""
    return anyio.current_effective_deadline() == -math.inf
