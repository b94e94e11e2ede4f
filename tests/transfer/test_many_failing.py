"""Many transfers in one block, of which one fails: one voice, and the rest is undone, or goes on.

What is queued are coroutine functions that do as they are told. Each mutation at the end breaks one guarantee, and sees
its check go red.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from handtruck.errors import UsageError
from handtruck.transfer.many import Transfer
from tests.transfer.cancelling import ON_EITHER_ASYNCIO
from tests.transfer.queueing import Work, a_while, comes_out, etags, goes_red, many

if TYPE_CHECKING:
    from handtruck.models import UploadResult
    from tests.transfer.queueing import Broken

pytestmark = pytest.mark.anyio


async def test_one_failing_cancels_the_rest_and_the_body() -> None:
    """One exception comes out. What was finished stays, what was queued never begins."""
    body = list[str]()
    with comes_out(ValueError, match="b") as caught:
        async with many() as block:
            work = Work(block)
            handles = {name: work.ask(name, ValueError("b") if name == "b" else None, undoing=3) for name in "abcde"}
            work.let_go("a")
            await handles["a"]
            work.let_go("b")
            try:
                await anyio.sleep_forever()
            finally:
                body.append("cancelled")
    assert body == ["cancelled"]
    assert sorted(work.undone) == ["c", "d"]
    assert work.now == 0
    assert etags(block) == ["a", None, None, None, None]
    assert block.errors == [caught.value]
    assert [handle.object_name for handle in handles.values() if handle.cancelled] == ["c", "d", "e"]
    assert not hasattr(caught.value, "__notes__")
    assert caught.value.__context__ is None
    with pytest.raises(ValueError, match="b") as again:
        await handles["b"]
    assert again.value is caught.value
    for name in "cde":
        with pytest.raises(anyio.TaskCancelled):
            await handles[name]


async def test_the_first_error_comes_out() -> None:
    """Even where nothing is left to be cancelled."""
    with comes_out(ValueError, match="a"):
        async with many() as block:
            work = Work(block)
            for name in "ab":
                work.ask(name, ValueError(name) if name == "a" else None)
                work.let_go(name)


async def test_the_others_errors_are_notes() -> None:
    """Of transfers that fail while they are cancelled, and of the body."""

    async def fails_too() -> UploadResult:
        try:
            await anyio.sleep_forever()
        finally:
            raise OSError("second")

    with comes_out(ValueError, match="first") as caught:
        async with many() as block:
            work = Work(block)
            work.ask("a", ValueError("first"))
            block._queue("upload", "b", fails_too)
            await a_while()
            work.let_go("a")
            try:
                await anyio.sleep_forever()
            finally:
                raise KeyError("third")
    assert sorted(caught.value.__notes__) == ["also: KeyError: 'third'", "also: OSError: second"]


async def test_the_body_fails() -> None:
    """Like any other of them."""
    error = RuntimeError("body")
    with comes_out(RuntimeError, match="body") as caught:
        async with many() as block:
            work = Work(block)
            work.ask("a")
            await a_while()
            raise error
    assert caught.value is error
    assert work.undone == ["a"]
    assert block.transfers[0].cancelled


async def test_the_body_fails_with_what_a_transfer_raised() -> None:
    """It awaited it where the block's cancellation does not reach. No note says the same once more."""
    with comes_out(ValueError, match="a") as caught:
        async with many() as block:
            work = Work(block)
            handle = work.ask("a", ValueError("a"))
            work.let_go("a")
            with anyio.CancelScope(shield=True):
                await handle
    assert not hasattr(caught.value, "__notes__")


async def test_a_nursery_in_the_body() -> None:
    """Its group of errors comes out as it is; cancelled by us, what it raises is a note."""

    async def fails() -> None:
        raise KeyError("own")

    async def fails_when_cancelled() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise KeyError("late")

    with comes_out(ExceptionGroup) as group:
        async with many() as block, anyio.create_task_group() as nursery:
            Work(block).ask("a")
            nursery.start_soon(fails)
    assert [type(each) for each in group.value.exceptions] == [KeyError]

    with comes_out(ValueError, match="first") as caught:
        async with many() as block, anyio.create_task_group() as nursery:
            work = Work(block)
            work.ask("a", ValueError("first"))
            nursery.start_soon(fails_when_cancelled)
            nursery.start_soon(anyio.sleep_forever)
            await a_while()
            work.let_go("a")
    assert len(caught.value.__notes__) == 1


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("where", ["transfer", "body"])
@pytest.mark.parametrize("on_error", ["cancel", "collect"])
def test_interrupts_are_not_wrapped(backend: str, interrupt: type[BaseException], where: str, on_error: str) -> None:
    """Nor collected."""
    undone = list[bool]()

    async def main() -> None:
        block = many(on_error=on_error)
        try:
            async with block:
                work = Work(block)
                work.ask("a", interrupt() if where == "transfer" else None)
                work.ask("b")
                await a_while()
                if where == "body":
                    raise interrupt
                work.let_go("a")
                await anyio.sleep_forever()
        finally:
            undone.append(all(transfer.cancelled for transfer in block.transfers))

    with pytest.raises(interrupt):
        anyio.run(main, backend=backend)
    assert undone == [True]


async def test_collected_errors_stay_on_their_handles() -> None:
    """And the others go on."""
    async with many(on_error="collect") as block:
        work = Work(block)
        handles = [work.ask(name, ValueError(name) if name in "bd" else None) for name in "abcde"]
        await a_while()
        work.let_go("b")
        with pytest.raises(ValueError, match="b"):
            await handles[1]
        await a_while()
        assert work.begun == ["a", "b", "c", "d"]
        handles[0].cancel()
        work.let_go("c", "d", "e")
    assert etags(block) == [None, None, "c", None, "e"]
    assert [str(error) for error in block.errors] == ["b", "d"]
    assert [str(handle.error or "") for handle in handles[1:]] == ["b", "", "d", ""]


async def test_with_collect_the_body_still_fails() -> None:
    with comes_out(ValueError, match="b"):
        async with many(on_error="collect") as block:
            work = Work(block)
            work.ask("a")
            await work_failed(work)
    assert work.undone == ["a"]


async def work_failed(work: Work) -> None:
    failing = work.ask("b", ValueError("b"))
    work.let_go("b")
    await failing


async def test_a_thousand_that_are_refused_at_once() -> None:
    """Others have their turn between them."""

    async def refused() -> UploadResult:
        raise UsageError("no")

    turns = list[int]()
    async with many(max_concurrency=1, on_error="collect") as block, anyio.create_task_group() as group:

        async def other() -> None:
            while len(block.errors) < 50:
                turns.append(len(block.errors))
                await checkpoint()

        for _ in range(50):
            block._queue("upload", "a", refused)
        group.start_soon(other)
    assert len(set(turns)) > 20


@ON_EITHER_ASYNCIO
@pytest.mark.parametrize("on_error", ["cancel", "collect"])
async def test_a_cancellation_from_elsewhere(on_error: str) -> None:
    """A transfer awaits a task that somebody has cancelled: that is a failure of the block, and nobody's success."""

    async def stray() -> UploadResult:
        other = asyncio.ensure_future(anyio.sleep_forever())
        other.cancel()
        await other
        raise AssertionError

    block = many(on_error=on_error)
    with comes_out(asyncio.CancelledError):
        async with block:
            Work(block).ask("a")
            block._queue("upload", "b", stray)
    assert etags(block) == [None, None]
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_errors_hold_no_cycle() -> None:
    """What was collected goes when its handle goes."""

    async def fails() -> UploadResult:
        raise ValueError("a")

    gc.collect()
    gc.disable()
    try:
        async with many(on_error="collect") as block:
            transfer = block._queue("upload", "a", fails)
            with suppress(ValueError):
                await transfer
        assert transfer.done
        del block, transfer
        assert not [one for one in gc.get_objects() if isinstance(one, Transfer)]
    finally:
        gc.enable()


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


def _always_collected(patch: pytest.MonkeyPatch) -> None:
    run = Transfer._run
    patch.setattr(Transfer, "_run", lambda self, **_: run(self, collect=True))


def _never_collected(patch: pytest.MonkeyPatch) -> None:
    run = Transfer._run
    patch.setattr(Transfer, "_run", lambda self, **_: run(self, collect=False))


BROKEN: Final[dict[str, Broken]] = {
    "a failure that nobody hears of": (test_the_first_error_comes_out, _always_collected),
    "one failure ends all, collected or not": (test_collected_errors_stay_on_their_handles, _never_collected),
}
"""Checks, and what makes them red."""


@pytest.mark.parametrize("name", BROKEN)
async def test_mutation_of_the_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await goes_red(BROKEN[name], monkeypatch)
