"""The shape of every job: a feeder that asks for no more than there is room for, and workers that fail as one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from handtruck.transfer.workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

ROUNDS: Final = 30
"""Of the event loop: more than anything here needs to come to a stand."""


class Feed:
    """Numbers; remembers which task asked for them, how many were asked for, and that it was closed."""

    def __init__(self, count: int) -> None:
        self.given = 0
        self.tasks: set[int] = set()
        self.closed = False
        self.items = self._items(count)

    async def _items(self, count: int) -> AsyncGenerator[int, None]:
        try:
            for number in range(count):
                self._here()
                self.given += 1
                await checkpoint()
                yield number
        finally:
            self._here()
            self.closed = True

    def _here(self) -> None:
        self.tasks.add(anyio.get_current_task().id)


class Hands:
    """Work that takes until it is let go; remembers how many were at it."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.done: list[int] = []
        self.go_on = anyio.Event()

    async def __call__(self, item: int) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.go_on.wait()
            await checkpoint()
            self.done.append(item)
        finally:
            self.now -= 1


async def a_while() -> None:
    for _ in range(ROUNDS):
        await checkpoint()


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (1, 3), (2, 2), (3, 5), (5, 3), (4, 100)])
async def test_bounded_hands(workers: int, slots: int) -> None:
    """No more than ``workers`` at work, and no more than ``slots`` asked for and not done."""
    feed, hands = Feed(20), Hands()
    async with anyio.create_task_group() as group:

        async def job() -> None:
            await run_workers(feed.items, hands, workers=workers, slots=slots)

        group.start_soon(job)
        await a_while()
        assert hands.now == min(workers, slots)
        # One more than the workers have waits in the feeder's hand, if there is a slot for it.
        assert feed.given == min(workers + 1, slots)
        hands.go_on.set()
    assert sorted(hands.done) == list(range(20))
    assert hands.most == min(workers, slots)
    assert feed.closed


async def test_slots_bound_what_is_in_hand_at_every_moment() -> None:
    feed, most = Feed(50), 0
    done = 0

    async def handle(_: int) -> None:
        nonlocal most, done
        for _ in range(5):
            most = max(most, feed.given - done)
            await checkpoint()
        done += 1

    await run_workers(feed.items, handle, workers=2, slots=3)
    assert (done, most) == (50, 3)


async def test_one_task_advances_the_source() -> None:
    """From its first item to its end: a cancel scope may live in it."""
    feed, hands = Feed(10), Hands()
    hands.go_on.set()
    await run_workers(feed.items, hands, workers=3, slots=4)
    assert len(feed.tasks) == 1


async def test_one_task_closes_the_source_too() -> None:
    feed = Feed(10)

    async def fail(item: int) -> None:
        if item == 2:
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        await run_workers(feed.items, fail, workers=3, slots=4)
    assert len(feed.tasks) == 1
    assert feed.closed


async def test_more_workers_than_items() -> None:
    feed, hands = Feed(2), Hands()
    hands.go_on.set()
    await run_workers(feed.items, hands, workers=10, slots=10)
    assert sorted(hands.done) == [0, 1]


async def test_no_items() -> None:
    feed, hands = Feed(0), Hands()
    await run_workers(feed.items, hands, workers=3, slots=3)
    assert hands.done == []
    assert feed.closed


async def test_items_go_out_in_order() -> None:
    seen: list[int] = []

    async def handle(item: int) -> None:
        seen.append(item)
        await checkpoint()

    await run_workers(Feed(30).items, handle, workers=4, slots=6)
    assert seen == list(range(30))


async def test_the_first_error_comes_out_and_the_others_are_its_notes() -> None:
    """All have stopped by then; nothing more is asked for."""
    feed, stopped = Feed(100), 0

    async def handle(item: int) -> None:
        nonlocal stopped
        try:
            await (anyio.sleep_forever() if item else a_while())
            raise ValueError("first")
        except anyio.get_cancelled_exc_class():
            stopped += 1
            raise KeyError(item) from None

    with pytest.raises(ValueError, match="first") as caught:
        await run_workers(feed.items, handle, workers=3, slots=3)
    assert sorted(caught.value.__notes__) == ["also: KeyError: 1", "also: KeyError: 2"]
    assert stopped == 2
    assert feed.given <= 4
    assert feed.closed


async def test_an_error_of_the_feed_stops_the_workers() -> None:
    hands = Hands()

    async def feed() -> AsyncGenerator[int, None]:
        yield 1
        await a_while()
        raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        await run_workers(feed(), hands, workers=2, slots=2)
    assert hands.most == 1
    assert hands.now == 0


async def test_an_error_while_the_feed_is_closed() -> None:
    async def feed() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            raise OSError("cannot be closed")

    async def fail(_: int) -> None:
        raise ValueError("the work")

    with pytest.raises(ValueError, match="the work") as caught:
        await run_workers(feed(), fail, workers=2, slots=2)
    assert any("cannot be closed" in note for note in caught.value.__notes__)


async def test_a_feed_that_was_begun_elsewhere_is_closed_though_we_never_came_to_it() -> None:
    """Found: cancelled at its first checkpoint, the feeder closed a generator that had not begun, not its source."""
    source = Feed(10)
    assert await anext(source.items) == 0

    async def feed() -> AsyncGenerator[int, None]:
        try:
            async for item in source.items:
                yield item
        finally:
            await source.items.aclose()

    with anyio.CancelScope() as scope:
        scope.cancel()
        await run_workers(feed(), Hands(), workers=2, slots=2)
    assert source.closed


async def test_cancelled_the_source_has_time_to_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its clean-up may await; if that takes longer than the grace, it is cut off."""
    ended: list[str] = []

    async def feed(clean_up: float) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            with anyio.move_on_after(1) as scope:
                await anyio.sleep(clean_up)
            ended.append("cut off" if scope.cancelled_caught else "closed")

    monkeypatch.setattr("handtruck.transfer.workers.GRACE", 0.05)
    for clean_up in (0, 0.5):
        with anyio.CancelScope() as scope:

            async def stop(_: int, scope: anyio.CancelScope = scope) -> None:
                await a_while()
                scope.cancel()
                await checkpoint()

            await run_workers(feed(clean_up), stop, workers=1, slots=2)
    assert ended == ["closed"]
