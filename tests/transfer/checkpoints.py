"""Run a job and cancel it at its k-th checkpoint, with threads that are deterministic.

A checkpoint is the end of a scheduling step of the job's caller or of any task below it: a trio instrument counts
them there, a task factory under asyncio. So for k = 1, 2, 3 … a cancellation arrives at every place where one can
arrive, once; the first run that ends before its k-th checkpoint has not been cancelled at all.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import Coroutine
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread
import pytest
import trio
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator

    from _pytest.mark import ParameterSet

SETTLING: Final = 4
"""Rounds of the event loop, after the job, in which a task that nobody waits for would show."""


class Way(Enum):
    """How the cancellation comes."""

    ANYIO = "anyio scope"
    TRIO = "trio scope"
    NATIVE = "Task.cancel"
    TWICE = "Task.cancel twice"
    TIMEOUT = "asyncio.timeout"


ON_ASYNCIO: Final = (Way.ANYIO, Way.NATIVE, Way.TWICE, Way.TIMEOUT)
ON_TRIO: Final = (Way.ANYIO, Way.TRIO)

HARSHEST: Final = frozenset(
    {("asyncio", Way.TWICE), ("asyncio", Way.TIMEOUT), ("asyncio+uvloop", Way.TWICE), ("trio", Way.TRIO)}
)
"""What every run of the suite tries at every checkpoint; `make exhaustive` tries the others, too."""


def cases(loops: Iterable[tuple[str, tuple[str, dict[str, bool]], tuple[Way, ...]]]) -> list[ParameterSet]:
    """Every way on every loop, as parameters ``anyio_backend`` and ``way``."""
    return [
        pytest.param(
            loop,
            way,
            id=f"{name}-{way.value}",
            marks=[] if (name, way) in HARSHEST else [pytest.mark.exhaustive],
        )
        for name, loop, ways in loops
        for way in ways
    ]


@dataclass(slots=True)
class Trial:
    """What came of one run.

    Attributes:
        fired: it was cancelled: it had a k-th checkpoint.
        steps: how many checkpoints it had.
        kind: type of what the call raised, or None.
        cancelled: what it raised is the loop's cancellation.
        text, notes: of what it raised. The exception itself is not kept: its frames would keep the evidence alive.
        strays: tasks left behind, or begun after the call had come back.
    """

    fired: bool = False
    steps: int = 0
    kind: type[BaseException] | None = None
    cancelled: bool = False
    text: str = ""
    notes: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def came_out(self, error: BaseException) -> None:
        """Keep the facts about what the call raised."""
        self.kind = type(error)
        self.cancelled = isinstance(error, anyio.get_cancelled_exc_class())
        self.text = str(error)
        self.notes = list(getattr(error, "__notes__", ()))


@contextmanager
def swept() -> Iterator[None]:
    """Make many runs of the same cheap. Coverage is not measured, which would take as long again.

    Garbage is collected after every run: what is here already is not looked at again, by this sweep or a later one.
    """
    gc.collect()
    gc.freeze()
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracer)


When: TypeAlias = "Callable[[Callable[[], object]], Awaitable[None]]"
"""Watches the job, and calls what it is given when the job is to be cancelled."""


async def run(
    job: Callable[[], Awaitable[object]], *, at: int = 0, way: Way = Way.ANYIO, when: When | None = None
) -> Trial:
    """Run a job in a task of its own; cancel it at checkpoint ``at`` (from 1; 0: never), or as ``when`` says."""
    trial = Trial()
    kind = _Trio if asyncio._get_running_loop() is None else _Asyncio
    steps = kind(trial, at, way)
    if when is None:
        await steps.run(job)
        return trial

    async def watch(when: When) -> None:
        await when(steps.fire)
        if way is Way.TWICE:
            await checkpoint()
            steps.fire()
        await anyio.sleep_forever()  # tasks are counted: this one is there before and after

    async with anyio.create_task_group() as group:
        group.start_soon(watch, when)
        await checkpoint()
        await steps.run(job)
        group.cancel_scope.cancel()
    return trial


@dataclass(eq=False)
class _Steps:
    """Counts, and pulls the trigger."""

    trial: Trial
    at: int
    way: Way
    over: bool = False
    triggers: list[Callable[[], object]] = field(default_factory=list)

    def step(self) -> None:
        if self.over:
            return
        self.trial.steps += 1
        again = self.way is Way.TWICE and self.trial.fired and self.trial.steps == self.at + 1
        if self.trial.steps == self.at or again:
            self.fire()

    def fire(self) -> None:
        """Cancel the call, if it is still there."""
        if not self.over:
            self.trial.fired = True
            for trigger in self.triggers:
                trigger()

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        """Run it to its end, and see what is left."""
        raise NotImplementedError

    async def call(self, job: Callable[[], Awaitable[object]]) -> None:
        """What the caller's task does."""
        async with self.scope():
            try:
                await job()
            except BaseException as error:
                self.trial.came_out(error)
                raise
            finally:
                self.over = True

    @asynccontextmanager
    async def scope(self) -> AsyncIterator[None]:
        if self.way is Way.ANYIO:
            with anyio.CancelScope() as scope:
                self.triggers.append(scope.cancel)
                yield
        elif self.way is Way.TRIO:
            with trio.CancelScope() as inner:
                self.triggers.append(inner.cancel)
                yield
        elif self.way is Way.TIMEOUT:
            async with asyncio.timeout(None) as timeout:
                self.triggers.append(lambda: None if timeout.expired() else timeout.reschedule(0))
                yield
        else:
            task = asyncio.current_task()
            assert task is not None
            self.triggers.append(task.cancel)
            yield


class _Asyncio(_Steps):
    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        late: list[str] = []
        factory = loop.get_task_factory()

        def make(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> asyncio.Task[Any]:
            if self.over:
                late.append(f"begun afterwards: {work!r}")
            return asyncio.Task(_Counted(work, self.step), loop=loop, **options)

        loop.set_task_factory(make)
        try:
            task = loop.create_task(self.call(job))
            await asyncio.wait({task})
            left = asyncio.all_tasks() - before - {task}
            error = None if task.cancelled() else task.exception()
            if error is not None and self.trial.kind is None:
                raise error  # the harness's own
            del task, error  # and with them the frames, and what those hold
            gc.collect()
            for _ in range(SETTLING):
                await checkpoint()
        finally:
            loop.set_task_factory(factory)
        self.trial.strays = [f"left behind: {one.get_coro()!r}" for one in left] + late


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine that says when it has come to a checkpoint, or to its end."""

    def __init__(self, inner: Coroutine[Any, Any, Any], step: Callable[[], None]) -> None:
        self._inner = inner
        self._step = step

    def send(self, value: Any) -> Any:
        try:
            return self._inner.send(value)
        finally:
            self._step()

    def throw(self, *error: Any) -> Any:
        try:
            return self._inner.throw(*error)
        finally:
            self._step()

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()

    def __getattr__(self, name: str) -> Any:  # cr_frame and the like, which anyio and asyncio ask for
        return getattr(self._inner, name)


_OURS: Final = contextvars.ContextVar("_OURS", default=0)


class _Trio(_Steps, trio.abc.Instrument):
    watcher: trio.lowlevel.Task

    async def run(self, job: Callable[[], Awaitable[object]]) -> None:
        self.watcher = trio.lowlevel.current_task()
        token = _OURS.set(id(self))
        before = trio.lowlevel.current_statistics().tasks_living
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._call, job)
                trio.lowlevel.add_instrument(self)
        finally:
            _OURS.reset(token)
            trio.lowlevel.remove_instrument(self)
        gc.collect()
        for _ in range(SETTLING):
            await checkpoint()
        if (after := trio.lowlevel.current_statistics().tasks_living) != before:
            self.trial.strays.append(f"{after - before} tasks")

    async def _call(self, job: Callable[[], Awaitable[object]]) -> None:
        try:
            await self.call(job)
        except Exception:
            if self.trial.kind is None:
                raise  # not the call's own, which is told already

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is not self.watcher and task.context.get(_OURS) == id(self):
            self.step()


Limiter: TypeAlias = anyio.CapacityLimiter | None


@dataclass
class InlineThreads:
    """Instead of ``anyio.to_thread.run_sync``: the loop stands still until the thread is done.

    So every run takes the same steps. Cancellation finds the same places as with real threads: before it starts,
    while it waits for its turn, and while it runs, when only a native one gets through the shield. The thread would
    then go on for a while: that is noted as ``abandoned``.
    """

    abandoned: list[str] = field(default_factory=list)

    async def run_sync(self, function: Callable[..., Any], *args: Any, limiter: Limiter = None) -> Any:
        """See :func:`anyio.to_thread.run_sync`."""
        await checkpoint()
        async with limiter or anyio.to_thread.current_default_thread_limiter():
            try:
                return function(*args)
            finally:
                with anyio.CancelScope(shield=True):
                    await self._running(function)

    async def _running(self, function: Callable[..., Any]) -> None:
        try:
            await checkpoint()
        except BaseException:
            self.abandoned.append(f"{function!r} was still running")
            raise


@dataclass
class CountedThreads:
    """Real threads, counted: each that still runs when the call has come back is one too many."""

    running: dict[int, str] = field(default_factory=dict)
    run_in_thread: Callable[..., Awaitable[Any]] = anyio.to_thread.run_sync

    async def run_sync(self, function: Callable[..., Any], *args: Any, limiter: Limiter = None) -> Any:
        """See :func:`anyio.to_thread.run_sync`."""

        def counted(*args: Any) -> Any:
            self.running[threading.get_ident()] = f"{function!r} is still running"
            try:
                return function(*args)
            finally:
                del self.running[threading.get_ident()]

        return await self.run_in_thread(counted, *args, limiter=limiter)

    @property
    def abandoned(self) -> list[str]:
        """Those that run now."""
        return list(self.running.values())
