"""Task groups that keep a cancellation from tearing work apart; the only ones outside ``transfer/``.

Cancellation comes in two kinds. anyio's and trio's scopes are levels: they can be shielded against, and a thread hop
inside one waits for its thread. A native ``asyncio.Task.cancel()`` is an edge: it makes ``to_thread.run_sync``, and
even a shielded scope, return while the thread still runs. A task group turns the edge into a level for its children
and always waits for them. So:

* :func:`isolated` runs a whole job in a child task: inside it only scopes cancel, and nothing outlives the call.
* :func:`settled` waits a while for an exchange that a cancellation must not cut off, once it is on the wire.

Both speak with one voice (:func:`siblings`): where a cancellation reached the job from outside it alone comes out,
elsewhere the first error does, never an ``ExceptionGroup``; what else went wrong becomes its notes. An interrupt
(KeyboardInterrupt, SystemExit) is never wrapped.
"""

from __future__ import annotations

import math
from asyncio import AbstractEventLoop
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread
from anyio.lowlevel import checkpoint_if_cancelled, current_token

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

    from anyio.abc import TaskGroup

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


@dataclass(slots=True)
class Siblings:
    """Tasks that work for the same result: when one fails, the others are cancelled."""

    group: TaskGroup
    failures: list[BaseException]
    notes: list[str]

    def start_soon(self, work: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run ``work`` beside the others."""
        self.group.start_soon(self._guard, work, *args)

    async def _guard(self, work: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        with _own_count():
            await self._run(work, *args)

    async def _run(self, work: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        try:
            await work(*args)
        except Exception as error:  # noqa: BLE001 - siblings() raises it, with the others as its notes
            self._failed(error)
        except anyio.get_cancelled_exc_class() as cancelled:
            if anyio.current_effective_deadline() > -math.inf:
                # Nobody cancelled us: the work awaited a task that somebody did. A task group would take this for
                # its own doing, and for success.
                self._failed(cancelled)
            else:
                self.notes += getattr(cancelled, "__notes__", ())  # of all cancellations, one alone comes out
            raise

    def _failed(self, error: BaseException) -> None:
        self.failures.append(error)
        self.group.cancel_scope.cancel()


@contextmanager
def _own_count() -> Generator[None]:
    """Around all that a child task does: on asyncio its cancellations are settled with itself.

    There every native ``cancel()`` is counted, and a scope that ends takes back those that were its own. Of a scope
    that ends inside another one that is cancelled, too, anyio (4.16) hands the count on to that, even where that is
    another task's: the task that waits for us would forget a cancellation of its own, and run on. A shielded scope
    hands nothing on. (It swallows the child's cancellation; the waiting task has one of its own. On trio it would be
    missed.)
    """
    if not isinstance(current_token().native_token, AbstractEventLoop):
        yield
        return
    with anyio.CancelScope() as barrier:
        try:
            yield
        finally:
            barrier.shield = True
            barrier.cancel()


@asynccontextmanager
async def siblings() -> AsyncGenerator[Siblings]:
    """A task group with one policy for errors: see above."""
    failures: list[BaseException] = []
    notes: list[str] = []
    try:
        async with anyio.create_task_group() as group:
            yield Siblings(group, failures, notes)
        if failures:
            # Trio's nurseries do not tell of a cancellation if all who were cancelled raised something else.
            await checkpoint_if_cancelled()
    except anyio.get_cancelled_exc_class() as cancelled:
        add_notes(cancelled, failures, notes)
        failures.clear()  # no cycle: their tracebacks hold this list
        raise
    except BaseExceptionGroup as errors:
        loudest = _loudest(errors)
        add_notes(loudest, [failure for failure in failures if failure is not loudest], notes)
        failures.clear()
        try:
            raise loudest from None
        finally:
            del loudest
    if failures:
        first, *others = failures
        failures.clear()
        add_notes(first, others, notes)
        try:
            raise first
        finally:
            del first, others


def add_notes(error: BaseException, others: list[BaseException], notes: list[str]) -> None:
    """Say on ``error`` what else went wrong."""
    for other in others:
        notes = [*notes, f"also: {type(other).__name__}: {other}", *getattr(other, "__notes__", ())]
    for note in notes:
        error.add_note(note)


def _loudest(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """An interrupt before a cancellation before anything else; the first of its kind."""
    leaves: list[BaseException] = []
    todo: list[BaseException] = [errors]
    while todo:
        error = todo.pop(0)
        if isinstance(error, BaseExceptionGroup):
            todo.extend(error.exceptions)
        else:
            leaves.append(error)
    cancelled = anyio.get_cancelled_exc_class()
    return min(leaves, key=lambda leaf: (isinstance(leaf, Exception), isinstance(leaf, cancelled)))


async def isolated(job: Callable[[], Awaitable[T]]) -> T:
    """Run ``job`` in a child task and come back only when it is over, however the caller is cancelled."""
    results: list[T] = []

    async def child() -> None:
        results.append(await job())

    async with siblings() as crew:
        crew.start_soon(child)
    return results[0]


async def settled(
    exchange: Callable[[], Awaitable[T]], grace: float, cancelled: Callable[[], object] | None = None
) -> T:
    """Run ``exchange`` to its end; when the caller is cancelled meanwhile, it has ``grace`` seconds left for that.

    ``cancelled`` is called at that moment.
    """
    results: list[T] = []
    over = anyio.Event()
    shield = anyio.CancelScope(shield=True)

    async def child() -> None:
        try:
            with shield:
                results.append(await exchange())
        finally:
            over.set()

    async with siblings() as crew:
        crew.start_soon(child)
        try:
            await over.wait()
        except anyio.get_cancelled_exc_class():
            shield.deadline = anyio.current_time() + grace
            if cancelled is not None:
                cancelled()
            raise
    return results[0]


async def in_thread(function: Callable[[*Ts], T], *args: *Ts, limiter: anyio.CapacityLimiter) -> T:
    """Run a blocking function in a worker thread. Only from inside :func:`isolated`: see above."""
    return await anyio.to_thread.run_sync(function, *args, limiter=limiter)


def own_thread() -> anyio.CapacityLimiter:
    """For what is the caller's, and may block for as long as it likes; it may even wait for another call of ours.

    So it takes none of the threads in which a session does its own work.
    """
    return anyio.CapacityLimiter(1)


class LoopLocks:
    """One lock for each event loop: what it guards may outlive a loop, or serve two of them.

    (An ``anyio.Lock`` made outside a loop stays with the first kind of loop that used it.)
    """

    def __init__(self) -> None:
        self._locks: WeakKeyDictionary[object, anyio.Lock] = WeakKeyDictionary()

    def here(self) -> anyio.Lock:
        """The running loop's lock."""
        return self._locks.setdefault(current_token().native_token, anyio.Lock())
