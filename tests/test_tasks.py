"""One exception comes out, nothing outlives a call, and what is on the wire has a while to settle."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import pytest
import trio
import trio.testing
from anyio.lowlevel import checkpoint

from handtruck._tasks import in_thread, isolated, settled, siblings
from tests.loops import LOOPS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

ON_ASYNCIO: Final = pytest.mark.parametrize(
    "anyio_backend",
    LOOPS[:2],
    indirect=True,
)
"""For what only asyncio has: cancellations that are edges, not levels."""

LONG: Final = 3600.0
"""Nothing here waits that long."""


async def fails(error: Exception, *, after: int = 0) -> None:
    for _ in range(after):
        await checkpoint()
    raise error


async def fails_when_cancelled(error: Exception) -> None:
    try:
        await anyio.sleep_forever()
    finally:
        raise error


async def both(*works: Callable[[], Awaitable[object]]) -> None:
    """Two and more at a time."""
    async with siblings() as crew:
        for work in works:
            crew.start_soon(work)


async def three_at_once() -> None:
    """What every job is made of: one level inside another."""
    await isolated(
        partial(
            both,
            partial(both, partial(fails_when_cancelled, KeyError("inner"))),
            partial(fails_when_cancelled, OSError("outer")),
            anyio.sleep_forever,
        )
    )


async def raised_by(call: Callable[[], Awaitable[object]], cancel: Callable[[asyncio.Task[object]], None]) -> Any:
    """Run a call in a task of its own, cancel it natively when all stands still, and give what it raised."""
    raised: list[BaseException] = []

    async def caller() -> None:
        try:
            await call()
        except BaseException as error:
            raised.append(error)
            raise

    task = asyncio.ensure_future(caller())
    for _ in range(10):
        await checkpoint()
    cancel(task)
    await asyncio.wait({task})
    return raised[0] if raised else None


# -- siblings ------------------------------------------------------------------------------------------------------


async def test_nothing_fails() -> None:
    done: list[int] = []

    async def work(number: int) -> None:
        await checkpoint()
        done.append(number)

    async with siblings() as crew:
        for number in range(3):
            crew.start_soon(work, number)
    assert sorted(done) == [0, 1, 2]


async def test_one_error_comes_out_not_a_group() -> None:
    with pytest.raises(ValueError, match="the first") as caught:
        await both(partial(fails, ValueError("the first")), anyio.sleep_forever)
    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_others_are_its_notes() -> None:
    with pytest.raises(ValueError, match="the first") as caught:
        await both(partial(fails, ValueError("the first"), after=3), partial(fails_when_cancelled, KeyError("second")))
    assert caught.value.__notes__ == ["also: KeyError: 'second'"]


async def test_mutation_a_group_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck._tasks._loudest", lambda errors: errors)
    with pytest.raises(BaseExceptionGroup):  # and no ValueError
        await test_an_error_of_the_body()


async def test_mutation_others_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck._tasks.add_notes", lambda *_: None)
    with pytest.raises(AttributeError, match="__notes__"):
        await test_others_are_its_notes()


async def test_notes_of_all_levels_come_out() -> None:
    """Found: those of inner errors, and of inner cancellations, were lost on the way."""
    with pytest.raises(ValueError, match="the first") as caught:
        await both(partial(fails, ValueError("the first"), after=5), three_at_once)
    assert sorted(caught.value.__notes__) == ["also: KeyError: 'inner'", "also: OSError: outer"]


async def test_an_error_of_the_body() -> None:
    async def job() -> None:
        async with siblings() as crew:
            crew.start_soon(anyio.sleep_forever)
            raise ValueError("of the body")

    with pytest.raises(ValueError, match="of the body"):
        await job()


class Weak(Exception):
    """Can be watched."""


async def test_no_cycle_keeps_the_error() -> None:
    """An error that its own traceback leads to is kept, with what its frames hold, until garbage is collected.

    Found: by the name under which it was raised.
    """
    watched: list[weakref.ref[Weak]] = []

    async def work() -> None:
        error = Weak()
        watched.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.collect()
    gc.disable()
    try:
        with suppress(Weak):
            await isolated(partial(both, work, anyio.sleep_forever))
        await checkpoint()
        assert watched[0]() is None
    finally:
        gc.enable()


# -- Cancelled from outside ----------------------------------------------------------------------------------------


async def test_a_scope_cancels() -> None:
    """The cancellation alone comes out; errors are its notes."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def later() -> None:
                for _ in range(10):
                    await checkpoint()
                scope.cancel()

            group.start_soon(later)
            with pytest.raises(anyio.get_cancelled_exc_class()) as caught:
                await three_at_once()
            assert sorted(caught.value.__notes__) == ["also: KeyError: 'inner'", "also: OSError: outer"]
            await checkpoint()
    assert scope.cancelled_caught


async def test_a_scope_that_is_cancelled_already() -> None:
    began: list[str] = []

    async def job() -> None:
        began.append("began")
        await checkpoint()
        began.append("went on")

    with anyio.CancelScope() as scope:
        scope.cancel()
        await isolated(job)
    assert scope.cancelled_caught
    assert began == ["began"]


async def test_a_deadline() -> None:
    with pytest.raises(TimeoutError), anyio.fail_after(0):
        await three_at_once()


@pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"], indirect=True)
async def test_a_trio_scope_cancels() -> None:
    """Found: where all tasks turned the cancellation into errors, trio's nursery told of these alone."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _later() -> None:
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()

            with pytest.raises(trio.Cancelled) as caught:
                await isolated(partial(fails_when_cancelled, OSError("instead")))
            assert caught.value.__notes__ == ["also: OSError: instead"]
            await checkpoint()
    assert scope.cancelled_caught


@ON_ASYNCIO
@pytest.mark.parametrize("times", [1, 2, 3])
async def test_native_cancellation(times: int) -> None:
    """However often in a row."""

    def cancel(task: asyncio.Task[object]) -> None:
        for _ in range(times):
            task.cancel()
        for turn in range(1, times):
            for _ in range(turn):
                asyncio.get_running_loop().call_soon(task.cancel)

    error = await raised_by(three_at_once, cancel)
    assert type(error) is asyncio.CancelledError
    assert sorted(error.__notes__) == ["also: KeyError: 'inner'", "also: OSError: outer"]


@ON_ASYNCIO
async def test_asyncio_timeout() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.001):
            await three_at_once()
    assert type(caught.value.__cause__) is asyncio.CancelledError
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@ON_ASYNCIO
async def test_an_error_does_not_leave_the_caller_cancelled() -> None:
    """Who catches it, inside ``asyncio.timeout`` too, can go on."""
    async with asyncio.timeout(LONG):
        with pytest.raises(ValueError, match="the first"):
            await isolated(partial(both, partial(fails, ValueError("the first")), anyio.sleep_forever))
        await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@ON_ASYNCIO
async def test_an_error_and_a_native_cancellation_at_once() -> None:
    """In the same turn of the loop."""
    go = asyncio.Event()

    async def job() -> None:
        await go.wait()
        raise ValueError("at once")

    def cancel(task: asyncio.Task[object]) -> None:
        go.set()
        task.cancel()

    error = await raised_by(lambda: isolated(partial(both, job, anyio.sleep_forever)), cancel)
    assert type(error) is asyncio.CancelledError


@ON_ASYNCIO
async def test_a_cancellation_of_somebody_else() -> None:
    """A task that we await was cancelled, we were not: that comes out too. Found: it was taken for success."""

    async def job() -> None:
        other = asyncio.ensure_future(anyio.sleep_forever())
        asyncio.get_running_loop().call_soon(other.cancel)
        await other

    for call in (partial(isolated, job), partial(both, job, anyio.sleep_forever), partial(settled, job, LONG)):
        with pytest.raises(asyncio.CancelledError):
            await call()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


# -- Interrupts ------------------------------------------------------------------------------------------------------


def in_a_loop(backend: str, main: Callable[[], Awaitable[object]]) -> None:
    async def run() -> None:
        await main()

    anyio.run(run, backend=backend)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_interrupts_are_not_wrapped(backend: str, interrupt: type[BaseException]) -> None:
    """From however deep."""

    async def job() -> None:
        await checkpoint()
        raise interrupt

    async def main() -> None:
        await isolated(partial(both, partial(both, job, anyio.sleep_forever), anyio.sleep_forever))

    with pytest.raises(interrupt):
        in_a_loop(backend, main)


@pytest.mark.parametrize("last", [True, False])
def test_an_interrupt_beats_a_cancellation(last: bool) -> None:
    """Found: where both came, the first of a nursery's list came out, which may be the cancellation."""

    async def interrupted() -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                for _ in range(3 if last else 0):
                    await checkpoint()
            raise KeyboardInterrupt

    async def main() -> None:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def _later() -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()

                await both(interrupted, trio.sleep_forever)

    with pytest.raises(BaseExceptionGroup) as caught:  # of main()'s own nursery
        trio.run(main)
    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]


# -- isolated --------------------------------------------------------------------------------------------------------


async def test_isolated_gives_the_result() -> None:
    async def job() -> str:
        await checkpoint()
        return "result"

    assert await isolated(job) == "result"


@ON_ASYNCIO
@pytest.mark.parametrize("times", [1, 2])
async def test_no_thread_is_left_by_a_native_cancellation(times: int) -> None:
    """``to_thread.run_sync`` comes back while its thread runs on; a job in a task of its own does not."""
    busy, go_on, over = threading.Event(), threading.Event(), threading.Event()
    limiter = anyio.CapacityLimiter(1)

    def work() -> None:
        busy.set()
        assert go_on.wait(10)
        over.set()

    async def job() -> None:
        await in_thread(work, limiter=limiter)

    async def watch(task: asyncio.Task[object]) -> None:
        while not busy.is_set():
            await checkpoint()
        for _ in range(times):
            task.cancel()
            for _ in range(20):
                await checkpoint()
        assert not task.done()
        assert not over.is_set()
        go_on.set()

    at_return: list[bool] = []

    async def caller(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        finally:
            at_return.append(over.is_set())

    task: asyncio.Task[Any] = asyncio.ensure_future(caller(partial(isolated, job)))
    await watch(task)
    await asyncio.wait({task})
    assert task.cancelled()
    assert at_return == [True]
    assert limiter.borrowed_tokens == 0

    # The mutation: without the task of its own.
    for event in (busy, go_on, over):
        event.clear()
    task = asyncio.ensure_future(caller(job))
    with pytest.raises(AssertionError, match="done"):
        await watch(task)
    go_on.set()
    while limiter.borrowed_tokens or not over.is_set():
        await checkpoint()
    assert at_return == [True, False]
    await asyncio.wait({task})


async def test_a_thread_that_has_finished_gives_its_result_to_the_job_even_if_it_was_cancelled() -> None:
    """So that the job can give back what the thread has opened."""
    opened: list[str] = []
    busy, go_on = threading.Event(), threading.Event()

    def work() -> str:
        busy.set()
        assert go_on.wait(10)
        return "descriptor"

    async def job() -> None:
        opened.append(await in_thread(work, limiter=anyio.CapacityLimiter(1)))
        await checkpoint()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def later() -> None:
                while not busy.is_set():
                    await checkpoint()
                scope.cancel()
                go_on.set()

            group.start_soon(later)
            await isolated(job)
    assert scope.cancelled_caught
    assert opened == ["descriptor"]


# -- settled ---------------------------------------------------------------------------------------------------------


class Exchange:
    """Takes as long as it is told; remembers how it ended."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.ended = "not begun"

    async def __call__(self) -> str:
        self.ended = "cut off"
        await anyio.sleep(self.seconds)
        self.ended = "finished"
        if self.error is not None:
            raise self.error
        return "answer"


async def test_settled_gives_the_result() -> None:
    assert await settled(Exchange(0), 0) == "answer"


async def test_settled_raises_the_error() -> None:
    with pytest.raises(ValueError, match="refused"):
        await settled(Exchange(0, ValueError("refused")), LONG)


@pytest.mark.parametrize(
    ("seconds", "grace", "ended", "took"),
    [(3, 5, "finished", 3), (7, 5, "cut off", 6), (0, 5, "finished", 0), (7, 0, "cut off", 1)],
)
def test_the_grace_of_a_cancelled_exchange(seconds: float, grace: float, ended: str, took: float) -> None:
    """In virtual time. Cancelled after one second: it finishes within the grace, or is cut off at its end."""
    exchange = Exchange(seconds)

    async def main() -> None:
        began = trio.current_time()
        with trio.move_on_after(1) as scope:
            await settled(exchange, grace)
        assert scope.cancelled_caught == (seconds > 1)
        assert trio.current_time() - began == pytest.approx(took)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert exchange.ended == ended


async def settle_cancelled(exchange: Exchange, grace: float, times: int) -> Any:
    def cancel(task: asyncio.Task[object]) -> None:
        task.cancel()
        for _ in range(1, times):
            asyncio.get_running_loop().call_soon(task.cancel)

    return await raised_by(partial(settled, exchange, grace), cancel)


@ON_ASYNCIO
@pytest.mark.parametrize("times", [1, 2])
async def test_native_cancellations_leave_the_grace(times: int) -> None:
    exchange = Exchange(0.02)
    assert type(await settle_cancelled(exchange, LONG, times)) is asyncio.CancelledError
    assert exchange.ended == "finished"


@ON_ASYNCIO
@pytest.mark.parametrize("times", [1, 2])
async def test_native_cancellations_cut_off_at_the_end_of_the_grace(times: int) -> None:
    exchange = Exchange(LONG)
    assert type(await settle_cancelled(exchange, 0.01, times)) is asyncio.CancelledError
    assert exchange.ended == "cut off"


@ON_ASYNCIO
async def test_an_error_within_the_grace_is_a_note() -> None:
    error = await settle_cancelled(Exchange(0.01, ValueError("refused")), LONG, 1)
    assert type(error) is asyncio.CancelledError
    assert error.__notes__ == ["also: ValueError: refused"]


async def test_cancelled_before_it_began() -> None:
    """What must not be cut off is not begun for nothing either: it is carried out."""
    exchange = Exchange(0)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await settled(exchange, LONG)
    assert scope.cancelled_caught
    assert exchange.ended == "finished"


async def test_a_sibling_that_fails_leaves_the_grace() -> None:
    """To the exchange it is the same who cancels."""
    exchange = Exchange(0.01)
    with pytest.raises(ValueError, match="beside"):
        await isolated(partial(both, partial(settled, exchange, LONG), partial(fails, ValueError("beside"), after=5)))
    assert exchange.ended == "finished"
