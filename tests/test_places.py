"""Places on the wire: never too many, none lost, undoing first."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from handtruck._places import Places

pytestmark = pytest.mark.anyio


async def settle() -> None:
    for _ in range(5):
        await anyio.lowlevel.checkpoint()


async def test_first_come_first_served_and_undoing_before() -> None:
    places, order = Places(2), list[str]()
    await places.take()
    await places.take()

    async def wait(name: str, *, undo: bool = False) -> None:
        await places.take(undo=undo)
        order.append(name)

    async with anyio.create_task_group() as group:
        for name in "ab":
            group.start_soon(wait, name)
            await settle()
        for name in "xy":
            group.start_soon(partial(wait, name, undo=True))
            await settle()
        assert order == ["x"]  # the place in reserve
        assert places.taken == 3
        places.give_back()
        await settle()
        assert order == ["x", "y"]
        places.give_back()
        await settle()
        assert order == ["x", "y"]  # two are taken: nobody but one who undoes may have a third
        places.give_back()
        await settle()
        assert order == ["x", "y", "a"]
        places.give_back()
    assert order == ["x", "y", "a", "b"]
    places.give_back()
    places.give_back()
    assert places.taken == 0


async def test_undoing_takes_any_place_that_is_free() -> None:
    places = Places(2)
    for _ in range(3):
        with anyio.fail_after(5):
            await places.take(undo=True)
    assert places.taken == 3


async def test_cancelled_in_the_queue() -> None:
    places = Places(1)
    await places.take()
    with anyio.move_on_after(0) as scope:
        await places.take()
    assert scope.cancelled_caught
    places.give_back()
    assert places.taken == 0
    await places.take()


async def test_cancelled_as_the_place_is_granted() -> None:
    """Whoever comes back from ``take`` has a place, whoever does not has none: nothing between."""
    places, came_back = Places(1), list[bool]()
    await places.take()

    async def take() -> None:
        await places.take()
        came_back.append(True)

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        await settle()
        places.give_back()
        group.cancel_scope.cancel()
    assert places.taken == len(came_back)


@pytest.mark.parametrize("anyio_backend", [("asyncio", {}), ("asyncio", {"use_uvloop": True})], indirect=True)
async def test_cancelled_natively_as_the_place_is_granted(anyio_backend: Any) -> None:
    places = Places(1)
    await places.take()
    task = asyncio.ensure_future(places.take())
    await settle()
    places.give_back()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert places.taken == 0


async def test_a_cancelled_taker_takes_nothing() -> None:
    places = Places(1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await places.take()
    assert places.taken == 0
