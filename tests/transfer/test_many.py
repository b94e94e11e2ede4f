"""Many transfers in one block: so many at once, first come, first served; one voice; and nothing left behind.

What is queued are coroutine functions that do as they are told, and at the end a thousand transfers over real sockets.
What happens when one fails is in ``test_many_failing.py``; uploads and downloads are cancelled in
``test_many_cancelled.py``. Each mutation breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import inspect
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

import handtruck
from handtruck._tasks import Siblings
from handtruck.credentials import StaticCredentials
from handtruck.errors import UsageError
from handtruck.models import UploadResult
from handtruck.transfer import many as many_module
from handtruck.transfer.many import Many, Transfer
from tests.scripted import store
from tests.transfer.cancelling import ON_EVERY_LOOP
from tests.transfer.queueing import Work, a_while, comes_out, etags, goes_red, many

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transfer.queueing import Broken

pytestmark = pytest.mark.anyio

# -- In order, and so many at once -----------------------------------------------------------------------------------


async def test_results_come_in_the_order_they_were_asked_for() -> None:
    async with many() as block:
        work = Work(block)
        handles = [work.ask(name) for name in "abc"]
        assert [handle.done for handle in handles] == [False] * 3
        await a_while()
        assert etags(block) == [None, None, None]
        for name in "cab":
            work.let_go(name)
            await a_while()
    assert etags(block) == ["a", "b", "c"]
    assert [transfer.object_name async for transfer in block.as_finished()] == ["c", "a", "b"]
    assert block.transfers == handles
    assert [handle.done for handle in handles] == [True] * 3
    assert not block.errors
    assert [(handle.operation, handle.object_name) for handle in handles] == [("upload", name) for name in "abc"]


@pytest.mark.parametrize("at_once", [1, 3, 7])
async def test_so_many_at_once_first_come_first_served(at_once: int) -> None:
    async with many(max_concurrency=at_once) as block:
        work = Work(block)
        names = [f"{number:03}" for number in range(50)]
        for name in names:
            work.ask(name)
        await a_while()
        assert work.begun == names[:at_once]
        assert block._workers == at_once  # what waits has no task
        for position, name in enumerate(names):
            work.let_go(name)
            await a_while()
            assert work.begun == names[: position + 1 + at_once]
    assert work.most == at_once
    assert etags(block) == names


async def test_workers_come_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """And go when there is nothing to do."""
    started = list[object]()
    start_soon = Siblings.start_soon

    def counted(*args: Any) -> None:
        started.append(args)
        start_soon(*args)

    monkeypatch.setattr(Siblings, "start_soon", counted)
    async with many(max_concurrency=1_000_000) as block:
        work = Work(block)
        assert not started
        for name in "abc":
            work.ask(name)
            work.let_go(name)
        assert len(started) == 3
        await a_while()
        assert block._workers == 0
    assert etags(block) == ["a", "b", "c"]


async def test_an_empty_block() -> None:
    async with many() as block:
        pass
    assert (block.results, block.transfers, block.errors) == ([], [], [])
    assert [transfer async for transfer in block.as_finished()] == []


# -- Handles -----------------------------------------------------------------------------------------------------------


async def test_a_handle_gives_its_result_inside_and_after_the_block() -> None:
    async with many() as block:
        work = Work(block)
        first, second = work.ask("first"), work.ask("second")
        work.let_go("first")
        assert (await first).etag == "first"
        assert (await first.wait()).etag == "first"
        assert not second.done
        work.let_go("second")
    assert await second is await second.wait() is second.result
    assert second.error is None


async def test_what_a_handle_looks_like() -> None:
    async with many(max_concurrency=1, on_error="collect") as block:
        work = Work(block)
        handles = [work.ask("bucket/a"), work.ask("bucket/b", ValueError()), work.ask("bucket/c")]
        await a_while()
        handles[2].cancel()
        states = [repr(handle) for handle in handles]
        work.let_go(*work.gates)
    assert states == [
        "<Transfer upload 'bucket/a': under way>",
        "<Transfer upload 'bucket/b': queued>",
        "<Transfer upload 'bucket/c': cancelled>",
    ]
    assert [repr(handle).split()[-1] for handle in handles] == ["done>", "failed>", "cancelled>"]


async def test_waiting_for_a_handle_may_be_cancelled() -> None:
    """The transfer goes on."""
    async with many() as block:
        work = Work(block)
        handle = work.ask("a")
        with anyio.CancelScope() as scope:
            scope.cancel()
            await handle
        await a_while()
        assert not work.undone
        work.let_go("a")
    assert etags(block) == ["a"]


async def test_one_is_cancelled_alone_and_joined() -> None:
    async with many() as block:
        work = Work(block)
        one, other = work.ask("one", undoing=5), work.ask("other")
        await a_while()
        one.cancel()
        one.cancel()
        await checkpoint()
        await checkpoint()
        assert (one.done, work.undone) == (False, [])  # it is being undone
        with pytest.raises(anyio.TaskCancelled, match="upload one: the transfer was cancelled"):
            await one
        assert work.undone == ["one"]
        assert (one.done, one.cancelled, one.result) == (True, True, None)
        assert not other.done
        one.cancel()
        work.let_go("other")
    other.cancel()
    assert (await other).etag == "other"
    assert not other.cancelled
    assert etags(block) == [None, "other"]
    assert not block.errors


async def test_one_is_cancelled_before_its_turn() -> None:
    """It never begins, and is done at once."""
    async with many(max_concurrency=1) as block:
        work = Work(block)
        handles = [work.ask(name) for name in "abc"]
        handles[1].cancel()
        assert handles[1].done
        work.let_go("a", "c")
        with pytest.raises(anyio.TaskCancelled):
            await handles[1]
    assert work.begun == ["a", "c"]
    assert etags(block) == ["a", None, "c"]


async def test_cancelled_too_late() -> None:
    """What came to its end all the same has a result."""

    async def stubborn() -> UploadResult:
        with anyio.CancelScope(shield=True):
            await a_while()
        return UploadResult(etag="all the same", size=0, parts=0)

    async with many() as block:
        handle = block._queue("upload", "a", stubborn)
        await checkpoint()
        await checkpoint()
        handle.cancel()
    assert etags(block) == ["all the same"]
    assert not handle.cancelled


async def test_what_a_cancellation_could_not_undo_is_said_on_its_handle() -> None:
    """Notes of the cancellation: there is no other exception to carry them."""

    async def leaves_something() -> UploadResult:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class() as cancelled:
            cancelled.add_note("an upload may remain")
            raise
        raise AssertionError

    async with many() as block:
        handle = block._queue("upload", "a", leaves_something)
        await a_while()
        handle.cancel()
    with pytest.raises(anyio.TaskCancelled) as caught:
        await handle
    assert caught.value.__notes__ == ["an upload may remain"]


# -- As they finish ----------------------------------------------------------------------------------------------------


async def test_as_they_finish() -> None:
    """Those that are asked for meanwhile, too; every iterator has them all."""
    seen = list[str]()
    async with many(on_error="collect") as block:
        work = Work(block)
        for name in "abc":
            work.ask(name, ValueError("no") if name == "a" else None)
        await a_while()
        work.let_go("c")
        async for transfer in block.as_finished():
            assert transfer.done
            seen.append(transfer.object_name)
            if seen == ["c"]:
                work.ask("d").cancel()
                work.let_go("a")
            elif seen == ["c", "d", "a"]:
                work.let_go("b")
        assert seen == ["c", "d", "a", "b"]
    assert [transfer.object_name async for transfer in block.as_finished()] == seen


async def test_an_abandoned_iterator_holds_nothing() -> None:
    async with many() as block:
        work = Work(block)
        handles = [work.ask(name) for name in "abc"]
        work.let_go("a", "b", "c")
        async for transfer in block.as_finished():
            assert transfer in handles
            break
        with anyio.CancelScope() as scope:
            async for _ in block.as_finished():
                scope.cancel()
    assert scope.cancelled_caught
    assert etags(block) == ["a", "b", "c"]


async def test_as_they_finish_in_a_task_outside() -> None:
    """It ends with the block, even if that fails."""
    seen = list[str]()
    block = many(max_concurrency=1)

    async def watch() -> None:
        seen.extend([transfer.object_name async for transfer in block.as_finished()])

    async with anyio.create_task_group() as group:
        with comes_out(ValueError, match="b"):
            async with block:
                work = Work(block)
                for name in "abc":
                    work.ask(name, ValueError(name) if name == "b" else None)
                group.start_soon(watch)
                await a_while()
                work.let_go("a", "b")
                await anyio.sleep_forever()
    assert seen == ["a", "b", "c"]


# -- Where a block begins and ends -------------------------------------------------------------------------------------


async def test_asked_for_at_the_wrong_time() -> None:
    """It is said, and nothing is queued."""
    block = many()
    work = Work(block)
    with pytest.raises(UsageError, match=r"upload a: .*async with"):
        work.ask("a")
    async with block:
        pass
    with pytest.raises(UsageError, match=r"upload a: .*over"):
        work.ask("a")
    with pytest.raises(UsageError, match="once"):
        async with block:
            pass
    assert not block.transfers


async def test_asked_for_by_another_task_until_the_last_is_over() -> None:
    """The body may have ended: the block has not. On every loop it ends with its last transfer."""
    block = many()
    last = list[str]()
    async with anyio.create_task_group() as group:

        async def other() -> None:
            await a_while()
            work.ask("b")
            work.let_go("a")
            await a_while()
            work.let_go("b")
            while not block.transfers[1].done:
                await checkpoint()
            while True:
                try:
                    work.ask("c").cancel()
                except UsageError as refused:
                    last.append(str(refused))
                    return
                await checkpoint()

        async with block:
            work = Work(block)
            work.ask("a")
            group.start_soon(other)
    assert last == ["upload c: the block of transfers is over"]
    assert etags(block)[:2] == ["a", "b"]


async def test_asked_for_when_the_block_is_cancelled() -> None:
    """It does not begin, and is cancelled with the others."""
    with comes_out(ValueError, match="a"):
        async with many(max_concurrency=2) as block:
            work = Work(block)
            work.ask("a", ValueError("a"))
            work.let_go("a")
            try:
                await anyio.sleep_forever()
            finally:
                late = [work.ask(f"late {number}") for number in range(5)]
                with anyio.CancelScope(shield=True):
                    await a_while()
    assert work.begun == ["a"]
    assert all(handle.cancelled for handle in late)
    for handle in late:
        with pytest.raises(anyio.TaskCancelled):
            await handle


async def test_a_waiter_outside_does_not_wait_for_ever() -> None:
    """For a handle whose turn never came, because the block was cancelled."""
    raised = list[str]()
    async with anyio.create_task_group() as group:

        async def wait(handle: Transfer[UploadResult]) -> None:
            try:
                await handle
            except anyio.TaskCancelled as cancelled:
                raised.append(str(cancelled))

        with anyio.CancelScope() as scope:
            async with many(max_concurrency=1) as block:
                work = Work(block)
                for name in "ab":
                    group.start_soon(wait, work.ask(name))
                await a_while()
                scope.cancel()
    assert sorted(raised) == [f"upload {name}: the transfer was cancelled" for name in "ab"]


@pytest.mark.parametrize("wrong", [{"max_concurrency": 0}, {"max_concurrency": -1}, {"on_error": "ignore"}])
async def test_nonsense_is_refused(wrong: dict[str, Any]) -> None:
    client = handtruck.S3Client("http://s3.test", credentials=StaticCredentials("id", "key"))
    with pytest.raises(UsageError, match=next(iter(wrong))):
        client.transfers(**wrong)
    async with client.transfers() as block:
        with pytest.raises(UsageError, match="name"):
            block.upload(7, b"")  # type: ignore[arg-type]
    assert not block.transfers


@pytest.mark.parametrize("method", ["upload", "download"])
def test_the_same_options_as_the_clients(method: str) -> None:
    here, there = (inspect.signature(getattr(kind, method)) for kind in (handtruck.Transfers, handtruck.S3Client))
    assert here.parameters == there.parameters


# -- A thousand over real sockets --------------------------------------------------------------------------------------

CONNECTIONS: Final = 16


async def a_thousand(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, half: int = 500, **options: Any
) -> tuple[list[str], float]:
    """Half up, half down, 32 at once; gives what is wrong, and the longest wait from asking to beginning (seconds)."""
    asked, begun = dict[int, float](), dict[int, float]()
    proper = Transfer._run
    most_open = 0

    async def noted(transfer: Transfer[Any], *, collect: bool) -> None:
        begun[id(transfer)] = anyio.current_time()
        await proper(transfer, collect=collect)

    monkeypatch.setattr(Transfer, "_run", noted)
    async with store(**{"max_connections": CONNECTIONS, **options}) as (s3, tiny):

        async def look(_: object) -> None:
            nonlocal most_open
            await tiny.peer.until(lambda: tiny.peer.most_busy >= s3._session.max_connections)  # till they are in use
            most_open = max(most_open, tiny.peer.open)

        for name in ("PutObject", "GetObject"):
            tiny.on(name, look)
        for number in range(half):
            tiny.put(f"b/down/{number}", b"%d" % number)
        async with s3.transfers(max_concurrency=32) as block:
            for number in range(half):
                up = block.upload(f"b/up/{number}", b"%d" % number)
                down = block.download(f"b/down/{number}", folder / str(number))
                asked |= {id(up): anyio.current_time(), id(down): anyio.current_time()}
        wrong = [f"{most_open} sockets"] if most_open > CONNECTIONS else []
        wrong += ["places"] if s3._session.places.taken else []
        wrong += ["order"] if list(begun) != [id(transfer) for transfer in block.transfers] else []
        wrong += [repr(transfer) for transfer in block.transfers if transfer.result is None]
        for number in range(half):
            sent, fetched = tiny.objects[f"b/up/{number}"].data, (folder / str(number)).read_bytes()
            wrong += [] if sent == fetched == b"%d" % number else [f"content of {number}"]
    return wrong, max(begun[one] - asked[one] for one in asked)


@ON_EVERY_LOOP
async def test_a_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more sockets than places; begun in the order that they were asked for, so that none starves."""
    wrong, longest = await a_thousand(tmp_path, monkeypatch)
    assert not wrong
    with capsys.disabled():
        print(f"\n1 000 transfers, {anyio_backend_name}: the longest wait for its turn was {longest:.2f} s")  # noqa: T201


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


class LastComeFirstServed(deque[Any]):
    """A queue that lets the first ones starve."""

    def popleft(self) -> Any:
        return self.pop()


def _without_a_limit(patch: pytest.MonkeyPatch) -> None:
    init = Many.__init__
    patch.setattr(Many, "__init__", lambda self, **options: init(self, **options | {"max_concurrency": 1_000}))


def _backwards(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Many, "_tell", lambda self, transfer: self._finished.insert(0, transfer))


BROKEN: Final[dict[str, Broken]] = {
    "last come, first served": (
        partial(test_so_many_at_once_first_come_first_served, 3),
        lambda patch: patch.setattr(many_module, "deque", LastComeFirstServed),
    ),
    "no limit": (partial(test_so_many_at_once_first_come_first_served, 3), _without_a_limit),
    "the last to finish is told first": (test_results_come_in_the_order_they_were_asked_for, _backwards),
    "cancelled in name only": (
        test_one_is_cancelled_before_its_turn,
        lambda patch: patch.setattr(Transfer, "cancel", lambda _: None),
    ),
}
"""Checks, and what makes them red."""


@pytest.mark.parametrize("name", BROKEN)
async def test_mutation_of_the_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await goes_red(BROKEN[name], monkeypatch)


@ON_EVERY_LOOP
async def test_mutation_more_places_than_sockets_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the thousand counts what is really open, and sees who came first."""
    monkeypatch.setattr(many_module, "deque", LastComeFirstServed)
    wrong, _ = await a_thousand(tmp_path, monkeypatch, half=50, max_connections=24)
    assert "order" in wrong
    assert [text for text in wrong if text.endswith("sockets")]
