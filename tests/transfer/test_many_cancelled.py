"""A block of uploads and downloads, cancelled at every checkpoint, or with every request failing.

In every way that there is: nothing is left behind, every target is what it was or whole, every handle says which. Each
mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint

from handtruck._places import Places
from handtruck.errors import NotFound, S3Error, UsageError
from handtruck.transfer import many as many_module
from handtruck.transfer.files import AtomicTarget
from handtruck.transfer.many import Transfer
from handtruck.transfer.multipart import MultipartUpload
from tests.transfer.cancelling import (
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    OLD,
    ON_EVERY_LOOP,
    PART,
    Lasting,
    World,
    at_every_checkpoint,
    left_behind,
    memory_client,
    not_our_error,
    not_the_cancellation,
    nothing,
    open_uploads,
    untold_uploads,
    when_every_request_fails,
)
from tests.transfer.checkpoints import CountedThreads, InlineThreads, Trial, Way, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import Transfers
    from tests.transfer.memory_s3 import Call

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small", "may_block")]

WHOLE: Final = DATA[: PART + 1500]
"""Two parts."""

OPTIONS: Final[dict[str, Any]] = {"part_size": PART, "workers_count": 2}
UPLOADS: Final = ("/bucket/stream", "/bucket/file", "/bucket/queued")
DOWNLOADS: Final = ("/bucket/new", "/bucket/old")


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

    def left(self) -> list[str]:
        """Generators, too, that have begun; one whose turn never came holds nothing."""
        return super().left() + ([f"generator {self.open_streams} streams"] if self.open_streams else [])


@asynccontextmanager
async def here(folder: Path, threads: InlineThreads | CountedThreads) -> AsyncIterator[Here]:
    """Everything new but the folder, and that as it was."""
    async with memory_client() as (client, s3):
        here = Here(s3, client, folder, threads)
        if not here.source.exists():
            here.source.write_bytes(WHOLE)
        for name in DOWNLOADS:
            s3.put(name, WHOLE)
        (folder / "new").unlink(missing_ok=True)
        (folder / "old").write_bytes(OLD)
        here.begin()
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
    return left_behind(here, trial) + unsettled(here, trial) + open_uploads(here) + not_the_cancellation(trial)


IN_THREE: Final = pytest.mark.parametrize("first", [1, 2, 3])
"""The checkpoints, in three tests: one would take long."""


@EVERY_WAY
@IN_THREE
async def test_a_block_cancelled_at_every_checkpoint(
    way: Way, first: int, tmp_path: Path, threads: InlineThreads
) -> None:
    """The promise of the package."""
    points, wrong = await at_every_checkpoint(
        partial(here, tmp_path, threads), a_block, way, after_cancellation, first=first, stride=3
    )
    assert not wrong
    assert points > 150


@BY_ITS_OWN_SCOPE
async def test_a_block_cancelled_with_real_threads(way: Way, tmp_path: Path, real_threads: CountedThreads) -> None:
    """A sample of the same, with threads that take their time."""
    async with here(tmp_path, real_threads) as world:
        await a_block(world)  # the loop keeps a descriptor or two for its threads
    _, wrong = await at_every_checkpoint(
        partial(here, tmp_path, real_threads), a_block, way, after_cancellation, stride=23
    )
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


@ON_EVERY_LOOP
@IN_THREE
async def test_one_of_a_block_cancelled_at_every_checkpoint(first: int, tmp_path: Path, threads: InlineThreads) -> None:
    """It alone is undone; the others do not notice."""
    cancelled = 0

    def check(here: Here, trial: Trial) -> list[str]:
        nonlocal cancelled
        assert here.block is not None
        cancelled += here.block.transfers[0].cancelled
        return after_one_was_cancelled(here, trial)

    make = partial(here, tmp_path, threads)
    _, wrong = await at_every_checkpoint(make, the_first_alone, Way.ANYIO, check, first=first, stride=3)
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

    _, wrong = await at_every_checkpoint(partial(here, tmp_path, threads), job, way, after_cancellation, stride=3)
    assert not wrong


def after_failure(here: Here, trial: Trial) -> list[str]:
    """All checks; an upload may be left where an error says so."""
    assert here.block is not None
    told = [note for error in here.block.errors for note in (str(error), *getattr(error, "__notes__", ()))]
    said = "\n".join([trial.text, *trial.notes, *told])
    return left_behind(here, trial) + unsettled(here, trial) + untold_uploads(here, said) + not_our_error(trial)


@ON_EVERY_LOOP
@pytest.mark.parametrize("on_error", ["cancel", "collect"])
async def test_every_request_of_a_block_fails(on_error: str, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way, and each time that it is tried again: the rest is cancelled, or goes on."""
    kinds: set[object] = set()

    def check(here: Here, trial: Trial) -> list[str]:
        kinds.add(trial.kind)
        assert here.block is not None
        if on_error == "collect":
            assert not [transfer for transfer in here.block.transfers if transfer.cancelled]
        elif trial.kind is not None:
            assert here.block.errors
        return after_failure(here, trial)

    call = partial(a_block, on_error=on_error, waiting=False)
    _, wrong = await when_every_request_fails(partial(here, tmp_path, threads), call, check, lasting=[Lasting.THIS])
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


LEFT_BEHIND: Final[dict[str, tuple[str, Callable[[pytest.MonkeyPatch], object]]]] = {
    "not joined": ("task", lambda patch: patch.setattr(many_module, "siblings", _unjoined)),
    "the queue forgotten": ("handle", _left_in_the_queue),
    "the abort removed": ("open upload", lambda patch: patch.setattr(MultipartUpload, "_abort", nothing)),
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
    make = partial(here, tmp_path, threads)
    with monkeypatch.context() as patch:
        apply(patch)
        _, wrong = await at_every_checkpoint(make, a_block, way, after_cancellation, stride=5)
    while any(callable(work) for work in BESIDE):
        await checkpoint()
    for left in tmp_path.glob("*.part"):
        left.unlink()
    assert [text for text in wrong if text.startswith(shows)]
    _, wrong = await at_every_checkpoint(make, a_block, way, after_cancellation, stride=31)
    assert not wrong
