"""Many transfers in one block: so many at once, first come, first served; one voice; and nothing left behind.

The first half knows no S3: what is queued are coroutine functions that do as they are told. The second half cancels a
block of uploads and downloads at every checkpoint that it has, in every way that there is, with the checks of
:mod:`tests.transfer.test_cancellation`. Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections import deque
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import httpx
import pytest
import trio
from anyio.lowlevel import checkpoint

import handtruck
from handtruck._places import Places
from handtruck._tasks import Siblings
from handtruck.credentials import StaticCredentials
from handtruck.errors import HandtruckError, NotFound, S3Error, UsageError
from handtruck.models import UploadResult
from handtruck.transfer import many as many_module
from handtruck.transfer.files import AtomicTarget
from handtruck.transfer.many import Many, Transfer
from handtruck.transfer.multipart import MultipartUpload
from tests.scripted import store
from tests.transfer.checkpoints import CountedThreads, InlineThreads, Trial, Way, run, swept
from tests.transfer.memory_s3 import Call, Fault, MemoryS3
from tests.transfer.test_cancellation import (
    ASYNCIO,
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    OLD,
    ON_EITHER_ASYNCIO,
    PART,
    TRIO,
    UVLOOP,
    Failing,
    Lasting,
    World,
    _small,  # noqa: F401 - a fixture
    left_behind,
    open_descriptors,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from handtruck import Transfers

pytestmark = pytest.mark.anyio

LOOPS_ONLY: Final = pytest.mark.parametrize(
    "anyio_backend", [ASYNCIO, UVLOOP, TRIO], ids=["asyncio", "asyncio+uvloop", "trio"], indirect=True
)
"""Without asyncio's debug mode, which would take most of the time."""

ROUNDS: Final = 30
"""Of the event loop: more than anything here needs to come to a stand."""


async def a_while() -> None:
    for _ in range(ROUNDS):
        await checkpoint()


@contextmanager
def comes_out(kind: type[BaseException], match: str | None = None) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block inside, and its body, end with this."""
    with pytest.raises(kind, match=match) as caught:
        yield caught


def many(**options: Any) -> Many:
    return Many(**{"max_concurrency": 3, "on_error": "cancel", **options})


@dataclass
class Work:
    """Transfers that last until they are let go; remembers who began, and how many were at it."""

    block: Many
    now: int = 0
    most: int = 0
    begun: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    gates: dict[str, anyio.Event] = field(default_factory=dict)

    def ask(self, name: str, raises: BaseException | None = None, *, undoing: int = 0) -> Transfer[UploadResult]:
        """Ask for one; ``undoing``: how many rounds it takes to be undone."""
        self.gates[name] = anyio.Event()
        return self.block._queue("upload", name, partial(self._work, name, raises, undoing))

    def let_go(self, *names: str) -> None:
        for name in names:
            self.gates[name].set()

    async def _work(self, name: str, raises: BaseException | None, undoing: int) -> UploadResult:
        self.begun.append(name)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gates[name].wait()
            if raises is not None:
                raise raises
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                for _ in range(undoing):
                    await checkpoint()
            self.undone.append(name)
            raise
        finally:
            self.now -= 1
        return UploadResult(etag=name, size=0, parts=0)


def etags(block: Many) -> list[str | None]:
    return [result.etag if result else None for result in block.results]


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


# -- When one fails ----------------------------------------------------------------------------------------------------


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


# -- Uploads and downloads: nothing is left behind ---------------------------------------------------------------------

WHOLE: Final = DATA[: PART + 1500]
"""Two parts."""

OPTIONS: Final[dict[str, Any]] = {"part_size": PART, "workers_count": 2}
UPLOADS: Final = ("/bucket/stream", "/bucket/file", "/bucket/queued")
DOWNLOADS: Final = ("/bucket/new", "/bucket/old")


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> None:
    """Here the loop stands still for threads, so the guard of that name would complain."""


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> InlineThreads:
    """Threads that take the same steps in every run."""
    inline = InlineThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", inline.run_sync)
    monkeypatch.setattr(anyio.from_thread, "check_cancelled", lambda: None)
    return inline


@dataclass
class Here(World):
    """What a block of transfers works on, new for every run.

    Attributes:
        open_streams: generators of the caller's that have begun and are not closed.
    """

    block: Transfers | None = None
    open_streams: int = 0

    async def stream(self) -> AsyncIterator[bytes]:
        """A caller's async generator."""
        self.open_streams += 1
        try:
            for start in (0, 3000):
                await checkpoint()
                yield WHOLE[start : start + 3000]
        finally:
            self.open_streams -= 1

    @property
    def open_generators(self) -> list[str]:
        """See :class:`World`; one whose turn never came holds nothing."""
        return [f"{self.open_streams} streams"] if self.open_streams else []


@asynccontextmanager
async def here(folder: Path, threads: InlineThreads | CountedThreads) -> AsyncIterator[Here]:
    """Everything new but the folder, and that as it was."""
    s3 = MemoryS3()
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        client._session.random = lambda: 0.0
        here = Here(s3, client, folder, threads)
        if not here.source.exists():
            here.source.write_bytes(WHOLE)
        for name in DOWNLOADS:
            s3.put(name, WHOLE)
        (folder / "new").unlink(missing_ok=True)
        (folder / "old").write_bytes(OLD)
        threads.abandoned.clear()
        here.descriptors = open_descriptors()
        yield here


async def a_block(here: Here, *, on_error: Any = "cancel", waiting: bool = True) -> None:
    """Three uploads and two downloads, three at once; the body waits for one, and for whichever is next."""
    async with here.client.transfers(max_concurrency=3, on_error=on_error) as here.block:
        first = here.block.upload(UPLOADS[0], here.stream(), **OPTIONS)
        here.block.download(DOWNLOADS[0], here.folder / "new", **OPTIONS)
        here.block.upload(UPLOADS[1], here.source, **OPTIONS)
        here.block.download(DOWNLOADS[1], here.folder / "old", **OPTIONS)
        here.block.upload(UPLOADS[2], WHOLE[:3000], **OPTIONS)
        async for _ in here.block.as_finished():
            break
        if waiting:
            await first


def expected(name: str) -> bytes:
    return WHOLE[:3000] if name == UPLOADS[2] else WHOLE


def bytes_of(here: Here, transfer: Transfer[Any]) -> bytes | None:
    """What is there now."""
    if transfer.operation == "upload":
        return here.s3.objects.get(transfer.object_name, (None, ""))[0]
    path = here.folder / transfer.object_name.removeprefix("/bucket/")
    return path.read_bytes() if path.exists() else None


def unsettled(here: Here, trial: Trial) -> list[str]:
    """Handles that are not done, or tell something else than what is there."""
    found = []
    block = here.block
    if block is None:
        return []
    for transfer in block.transfers:
        before = OLD if transfer.object_name == DOWNLOADS[1] else None
        whole, now = expected(transfer.object_name), bytes_of(here, transfer)
        if not transfer.done or (transfer.result is None) is (transfer.error is None):
            found.append(f"handle {transfer!r}")
        if now not in ([whole] if transfer.result is not None else [whole, before]):
            found.append(f"target {transfer!r}: {now!r:.40}")
    if trial.kind is None and any(not transfer.result and not transfer.error for transfer in block.transfers):
        found.append("results missing")
    if list(block._waiting) or block._workers or len(block._finished) != len(block.transfers):
        found.append("bookkeeping")
    with suppress(UsageError):
        block.upload("/bucket/late", b"")
        found.append("block is still open")
    return found


def after_cancellation(here: Here, trial: Trial) -> list[str]:
    """All checks. The server answers at once, so that not even a note is needed."""
    found = left_behind(here, trial) + unsettled(here, trial)
    found += [f"open upload {upload_id}" for upload_id in here.s3.uploads]
    found += [f"note {note}" for note in trial.notes]
    if trial.kind is not None and not trial.cancelled:
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found


async def at_every_checkpoint(
    folder: Path,
    threads: InlineThreads | CountedThreads,
    way: Way,
    *,
    first: int = 1,
    stride: int = 1,
    job: Callable[[Here], Awaitable[object]] = a_block,
    check: Callable[[Here, Trial], list[str]] = after_cancellation,
) -> tuple[int, list[str]]:
    """Cancel at checkpoint ``first``, and every ``stride`` on; gives how many there are, and all that was wrong."""
    wrong: list[str] = []
    with swept():
        for at in count(first, stride):
            async with here(folder, threads) as world:
                trial = await run(partial(job, world), at=at, way=way)
                wrong += [f"{text} [checkpoint {at}, {way.value}]" for text in check(world, trial)]
            if not trial.fired:
                return trial.steps, wrong
    raise AssertionError


IN_THREE: Final = pytest.mark.parametrize("first", [1, 2, 3])
"""The checkpoints, in three tests: one would take long."""


@EVERY_WAY
@IN_THREE
async def test_a_block_cancelled_at_every_checkpoint(
    way: Way, first: int, tmp_path: Path, threads: InlineThreads
) -> None:
    """The promise of the package."""
    points, wrong = await at_every_checkpoint(tmp_path, threads, way, first=first, stride=3)
    assert not wrong
    assert points > 150


@BY_ITS_OWN_SCOPE
async def test_a_block_cancelled_with_real_threads(way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of the same, with threads that take their time."""
    threads = CountedThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", threads.run_sync)
    async with here(tmp_path, threads) as world:
        await a_block(world)  # the loop keeps a descriptor or two for its threads
    _, wrong = await at_every_checkpoint(tmp_path, threads, way, stride=23)
    assert not wrong


async def the_first_alone(here: Here) -> None:
    """The block, of which one transfer is cancelled where the call should be."""
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                if here.block is not None and here.block.transfers:
                    here.block.transfers[0].cancel()

        group.start_soon(watch)
        with anyio.CancelScope(shield=True):
            await a_block(here, waiting=False)
        group.cancel_scope.cancel()


def after_one_was_cancelled(here: Here, trial: Trial) -> list[str]:
    """All checks; and the others have come to their end."""
    found = after_cancellation(here, trial)
    assert here.block is not None
    first, *others = here.block.transfers
    if not trial.fired and first.cancelled:
        found.append("cancelled by itself")
    return found + [f"result of {other!r} missing" for other in others if other.result is None]


@LOOPS_ONLY
@IN_THREE
async def test_one_of_a_block_cancelled_at_every_checkpoint(first: int, tmp_path: Path, threads: InlineThreads) -> None:
    """It alone is undone; the others do not notice."""
    cancelled = 0

    def check(here: Here, trial: Trial) -> list[str]:
        nonlocal cancelled
        assert here.block is not None
        cancelled += here.block.transfers[0].cancelled
        return after_one_was_cancelled(here, trial)

    _, wrong = await at_every_checkpoint(
        tmp_path, threads, Way.ANYIO, first=first, stride=3, job=the_first_alone, check=check
    )
    assert not wrong
    assert cancelled > 20


@EVERY_WAY
async def test_one_was_cancelled_before_all_are(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """Its own scope does not swallow the cancellation that comes from outside while it is undone."""

    async def job(here: Here) -> None:
        def cancel_one(call: Call) -> None:
            if here.block is not None and call.number == 4:
                here.block.transfers[0].cancel()

        here.s3.fault = cancel_one
        await a_block(here, waiting=False)

    _, wrong = await at_every_checkpoint(tmp_path, threads, way, stride=3, job=job)
    assert not wrong


def after_failure(here: Here, trial: Trial) -> list[str]:
    """All checks; an upload may be left where an error says so."""
    assert here.block is not None
    found = left_behind(here, trial) + unsettled(here, trial)
    told = [note for error in here.block.errors for note in (str(error), *getattr(error, "__notes__", ()))]
    said = "\n".join([trial.text, *trial.notes, *told])
    for upload_id, left in here.s3.uploads.items():
        if "may remain" not in said or (left.known and upload_id not in said):
            found.append(f"open upload {upload_id}")
    if trial.kind is not None and not issubclass(trial.kind, HandtruckError):
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found


@LOOPS_ONLY
@pytest.mark.parametrize("on_error", ["cancel", "collect"])
async def test_every_request_of_a_block_fails(on_error: str, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way, and each time that it is tried again: the rest is cancelled, or goes on."""
    wrong: list[str] = []
    kinds: set[object] = set()
    with swept():
        for fault in Fault:
            for number in count(1):
                failing = Failing(number, fault, Lasting.THIS)
                async with here(tmp_path, threads) as world:
                    world.s3.fault = failing
                    trial = await run(partial(a_block, world, on_error=on_error, waiting=False))
                    wrong += [f"{text} [{failing}: {trial}]" for text in after_failure(world, trial)]
                    kinds.add(trial.kind)
                    assert world.block is not None
                    if on_error == "collect":
                        assert not [transfer for transfer in world.block.transfers if transfer.cancelled]
                    elif trial.kind is not None:
                        assert world.block.errors
                if failing.hit is None:
                    break
    assert not wrong
    assert (S3Error in kinds) is (on_error == "cancel")


async def test_one_failing_undoes_the_rest(tmp_path: Path, threads: InlineThreads) -> None:
    """While they are in the middle of it: uploads are open, files half-written."""
    async with here(tmp_path, threads) as world:
        parts = 0

        async def before_answer(call: Call) -> None:
            nonlocal parts
            parts += call.operation == "UploadPart"
            if call.path != "/bucket/missing" and call.operation in ("UploadPart", "GetObject"):
                await anyio.sleep_forever()

        async def job() -> None:
            async with world.client.transfers(max_concurrency=5) as world.block:
                world.block.upload(UPLOADS[0], world.stream(), **OPTIONS)
                world.block.upload(UPLOADS[1], world.source, **OPTIONS)
                world.block.download(DOWNLOADS[0], world.folder / "new", **OPTIONS)
                world.block.download(DOWNLOADS[1], world.folder / "old", **OPTIONS)
                while parts < 4 or len(list(world.folder.glob("*.part"))) < 2:
                    await checkpoint()
                assert len(world.s3.uploads) == 2
                world.block.download("/bucket/missing", world.folder / "missing")
                await anyio.sleep_forever()

        world.s3.before_answer = before_answer
        trial = await run(job)
        assert trial.kind is NotFound
        assert not left_behind(world, trial) + unsettled(world, trial)
        assert not world.s3.uploads
        assert not trial.notes


# -- A thousand over real sockets --------------------------------------------------------------------------------------

CONNECTIONS: Final = 16


async def a_thousand(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[list[str], float]:
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
        for number in range(500):
            tiny.put(f"b/down/{number}", b"%d" % number)
        async with s3.transfers(max_concurrency=32) as block:
            for number in range(500):
                up = block.upload(f"b/up/{number}", b"%d" % number)
                down = block.download(f"b/down/{number}", folder / str(number))
                asked |= {id(up): anyio.current_time(), id(down): anyio.current_time()}
        wrong = [f"{most_open} sockets"] if most_open > CONNECTIONS else []
        wrong += ["places"] if s3._session.places.taken else []
        wrong += ["order"] if list(begun) != [id(transfer) for transfer in block.transfers] else []
        wrong += [repr(transfer) for transfer in block.transfers if transfer.result is None]
        for number in range(500):
            sent, fetched = tiny.objects[f"b/up/{number}"].data, (folder / str(number)).read_bytes()
            wrong += [] if sent == fetched == b"%d" % number else [f"content of {number}"]
    return wrong, max(begun[one] - asked[one] for one in asked)


@LOOPS_ONLY
async def test_a_thousand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, anyio_backend_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No more sockets than places; begun in the order that they were asked for, so that none starves."""
    wrong, longest = await a_thousand(tmp_path, monkeypatch)
    assert not wrong
    with capsys.disabled():
        print(f"\n1 000 transfers, {anyio_backend_name}: the longest wait for its turn was {longest:.2f} s")  # noqa: T201


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


@asynccontextmanager
async def _unjoined() -> AsyncIterator[Any]:
    """A crew whose work is not waited for."""

    class Crew:
        def start_soon(self, work: Callable[[], Awaitable[object]]) -> None:
            async def beside() -> None:
                with suppress(Exception):
                    await work()
                BESIDE.remove(work)

            BESIDE.append(work)
            if asyncio._get_running_loop() is None:
                trio.lowlevel.spawn_system_task(beside)
            else:
                BESIDE.append(asyncio.ensure_future(beside()))

    yield Crew()


BESIDE: Final[list[object]] = []


def _left_in_the_queue(patch: pytest.MonkeyPatch) -> None:
    end = Transfer._end
    patch.setattr(Transfer, "_end", lambda self, *why: end(self, *why) if self._scope else None)


async def _nothing(*_: object) -> None:
    """Instead of what should be done."""


LEFT_BEHIND: Final[dict[str, tuple[str, Callable[[pytest.MonkeyPatch], object]]]] = {
    "not joined": ("task", lambda patch: patch.setattr(many_module, "siblings", _unjoined)),
    "the queue forgotten": ("handle", _left_in_the_queue),
    "the abort removed": ("open upload", lambda patch: patch.setattr(MultipartUpload, "_abort", _nothing)),
    "the place not returned": ("token", lambda patch: patch.setattr(Places, "give_back", lambda _: None)),
    "the file not discarded": (
        "temporary file",
        lambda patch: patch.setattr(AtomicTarget, "discard", lambda target: target._close()),
    ),
}
"""What the checks of a cancelled block begin with, and what makes them red."""


@BY_ITS_OWN_SCOPE
@pytest.mark.parametrize("name", LEFT_BEHIND)
async def test_mutation(
    name: str, way: Way, tmp_path: Path, threads: InlineThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guarantee broken, its check is red; and whole again, green."""
    shows, apply = LEFT_BEHIND[name]
    with monkeypatch.context() as patch:
        apply(patch)
        _, wrong = await at_every_checkpoint(tmp_path, threads, way, stride=5)
    while any(callable(work) for work in BESIDE):
        await checkpoint()
    for left in tmp_path.glob("*.part"):
        left.unlink()
    assert [text for text in wrong if text.startswith(shows)]
    _, wrong = await at_every_checkpoint(tmp_path, threads, way, stride=31)
    assert not wrong


class LastComeFirstServed(deque[Any]):
    """A queue that lets the first ones starve."""

    def popleft(self) -> Any:
        return self.pop()


def _without_a_limit(patch: pytest.MonkeyPatch) -> None:
    init = Many.__init__
    patch.setattr(Many, "__init__", lambda self, **options: init(self, **options | {"max_concurrency": 1_000}))


def _always_collected(patch: pytest.MonkeyPatch) -> None:
    run = Transfer._run
    patch.setattr(Transfer, "_run", lambda self, **_: run(self, collect=True))


def _never_collected(patch: pytest.MonkeyPatch) -> None:
    run = Transfer._run
    patch.setattr(Transfer, "_run", lambda self, **_: run(self, collect=False))


def _backwards(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Many, "_tell", lambda self, transfer: self._finished.insert(0, transfer))


BROKEN: Final[dict[str, tuple[Callable[[], Awaitable[object]], Callable[[pytest.MonkeyPatch], object]]]] = {
    "last come, first served": (
        partial(test_so_many_at_once_first_come_first_served, 3),
        lambda patch: patch.setattr(many_module, "deque", LastComeFirstServed),
    ),
    "no limit": (partial(test_so_many_at_once_first_come_first_served, 3), _without_a_limit),
    "a failure that nobody hears of": (test_the_first_error_comes_out, _always_collected),
    "one failure ends all, collected or not": (test_collected_errors_stay_on_their_handles, _never_collected),
    "the last to finish is told first": (test_results_come_in_the_order_they_were_asked_for, _backwards),
    "cancelled in name only": (
        test_one_is_cancelled_before_its_turn,
        lambda patch: patch.setattr(Transfer, "cancel", lambda _: None),
    ),
}
"""Checks of the first half, and what makes them red."""


@pytest.mark.parametrize("name", BROKEN)
async def test_mutation_of_the_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, apply = BROKEN[name]
    with monkeypatch.context() as patch:
        apply(patch)
        with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
            await check()
    await check()


@LOOPS_ONLY
async def test_mutation_more_places_than_sockets_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of the thousand counts what is really open, and sees who came first."""
    monkeypatch.setattr(many_module, "deque", LastComeFirstServed)
    wrong, _ = await a_thousand(tmp_path, monkeypatch, max_connections=24)
    assert "order" in wrong
    assert [text for text in wrong if text.endswith("sockets")]
