"""A writer whose block is cancelled, or fails behind it: the object is what it was, or whole; nothing is left behind.

At every checkpoint, in every way; with every request failing; and in the middle of one write. Each mutation at the end
breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from handtruck._tasks import siblings
from handtruck.transfer.multipart import MultipartUpload
from handtruck.transfer.writer import ObjectWriter
from tests.transfer.cancelling import (
    BLOCKS,
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    OLD,
    ON_EITHER_ASYNCIO,
    ON_EVERY_LOOP,
    PART,
    Job,
    JobWorld,
    after_both,
    after_cancellation,
    after_failure,
    all_but_the_first_fail,
    at_every_checkpoint,
    at_once,
    left_behind,
    nothing,
    when_every_request_fails,
    world_of,
)
from tests.transfer.checkpoints import CountedThreads, InlineThreads, Way, run
from tests.transfer.writing import a_while, memory, published_whatever_happens, stored, within, writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.transfer.memory_s3 import Call, MemoryS3

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small")]

# -- Cancelled at every checkpoint, and with every request failing ---------------------------------------------------


async def _in_parts(here: JobWorld) -> None:
    async with writer(here.client, hashed=True) as f:
        for block in BLOCKS:
            await checkpoint()
            await f.write(block)


async def _as_one(here: JobWorld) -> None:
    async with writer(here.client, part_size=len(DATA), hashed=True) as f:
        for block in BLOCKS:
            await f.write(block)


async def _at_once(here: JobWorld) -> None:
    async with writer(here.client, slots=1, hashed=True) as f:
        await f.write(DATA)


async def _closed_early(here: JobWorld) -> None:
    async with writer(here.client) as f:
        await f.write(DATA)
        await f.aclose()
        await checkpoint()


async def _by_a_child(here: JobWorld) -> None:
    async with writer(here.client) as f, siblings() as group:
        group.start_soon(f.write, DATA)


async def _all_caught(here: JobWorld) -> None:
    """As those do who log every error and go on."""
    async with writer(here.client) as f:
        for block in BLOCKS:
            with suppress(Exception):
                await f.write(block)


JOBS: Final = (
    Job("in parts", _in_parts, existing=True),
    Job("as one", _as_one),
    Job("at once", _at_once),
    Job("closed early", _closed_early),
    Job("by a child", _by_a_child),
    Job("all errors caught", _all_caught, existing=True),
)
EVERY_JOB: Final = pytest.mark.parametrize("job", JOBS, ids=str)
IN_PARTS: Final = JOBS[0]
THE_FIRST: Final = pytest.mark.parametrize("job", JOBS[:4], ids=str)


@THE_FIRST
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    points, wrong = await at_every_checkpoint(
        partial(world_of, job, tmp_path, threads), job.call, way, after_cancellation
    )
    assert not wrong
    assert points > 12


@EVERY_JOB
@BY_ITS_OWN_SCOPE
async def test_cancelled_with_real_threads(job: Job, way: Way, tmp_path: Path, real_threads: CountedThreads) -> None:
    world = partial(world_of, job, tmp_path, real_threads)
    async with world() as here:
        await job.call(here)
    _, wrong = await at_every_checkpoint(world, job.call, way, after_cancellation, stride=5)
    assert not wrong


@EVERY_JOB
@BY_ITS_OWN_SCOPE
async def test_cancelled_while_a_request_fails(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    world = partial(world_of, job, tmp_path, threads, all_but_the_first_fail)
    _, wrong = await at_every_checkpoint(world, job.call, way, after_both)
    assert not wrong


@EVERY_JOB
@ON_EVERY_LOOP
async def test_every_request_fails(job: Job, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way. What was there stays, or the object is whole; and no error gets lost in a block that catches it."""
    _, wrong = await when_every_request_fails(partial(world_of, job, tmp_path, threads), job.call, after_failure)
    assert not wrong


# -- Cancelled in part -------------------------------------------------------------------------------------------------


async def test_a_write_that_was_cancelled_half_way_tears_the_object() -> None:
    """Who goes on after that would publish an object with a hole."""
    async with memory(old=True) as (client, s3):

        async def body(f: Any) -> None:
            await write_half_of_it(f, s3)
            for use in (partial(f.write, b"the rest"), f.aclose):
                with pytest.raises(anyio.BrokenResourceError, match="bucket/key was not written"):
                    await use()

        with pytest.raises(anyio.BrokenResourceError, match="half-way"):
            await within(writer(client), body)
        assert stored(s3) == OLD


async def write_half_of_it(f: Any, s3: MemoryS3) -> None:
    """Start a write that S3's silence stops, and cancel it; then S3 speaks again."""
    speak = anyio.Event()

    async def before_answer(_: Call) -> None:
        await speak.wait()

    s3.before_answer = before_answer
    async with anyio.create_task_group() as group:
        group.start_soon(f.write, DATA * 2)
        await a_while()
        assert 0 < f.tell() < len(DATA * 2)
        group.cancel_scope.cancel()
    speak.set()


async def test_a_write_that_was_cancelled_before_it_began_has_done_nothing() -> None:
    async with memory() as (client, s3):
        speak = anyio.Event()

        async def before_answer(call: Call) -> None:
            if call.operation == "UploadPart":
                await speak.wait()

        s3.before_answer = before_answer
        async with writer(client) as f:
            await f.write(bytes(2 * PART + 1))
            with anyio.CancelScope() as scope:
                scope.cancel()
                await f.write(b"not this")
            speak.set()
            await f.write(b"but this")
        assert stored(s3) == bytes(2 * PART + 1) + b"but this"


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "CompleteMultipartUpload"])
async def test_closing_was_cancelled(operation: str) -> None:
    """Then the upload stops. Who leaves the block all the same hears what is known of the object."""
    came, speak = anyio.Event(), anyio.Event()

    async def before_answer(call: Call) -> None:
        if call.operation == operation:
            came.set()
            await speak.wait()

    async with memory() as (client, s3):
        s3.before_answer = before_answer

        async def job() -> None:
            async with writer(client) as f:
                await f.write(bytes(10 if operation == "PutObject" else PART + 10))
                async with anyio.create_task_group() as group:
                    group.start_soon(f.aclose)
                    await came.wait()
                    group.cancel_scope.cancel()
                    if operation == "CompleteMultipartUpload":
                        speak.set()

        with pytest.raises(anyio.BrokenResourceError, match="cancelled; bucket/key may or may not have been written"):
            await job()
        # A PUT that S3 has carried out cannot be undone, nor can this: its answer was waited for.
        assert stored(s3) == {"PutObject": bytes(10), "UploadPart": None}.get(operation, bytes(PART + 10))


async def test_a_block_that_shields_itself() -> None:
    """The upload is cancelled all the same; whoever writes hears of it, and the cancellation alone comes out."""
    async with memory(old=True) as (client, s3):
        with anyio.CancelScope() as scope:
            async with writer(client) as f:
                await f.write(DATA)
                with anyio.CancelScope(shield=True):
                    scope.cancel()
                    await a_while()
                    await f.write(DATA * 10)
        assert scope.cancelled_caught
        assert stored(s3) == OLD


async def test_a_shielded_block_that_catches_it() -> None:
    async with memory(old=True) as (client, s3):
        with anyio.CancelScope() as scope:
            async with writer(client) as f:
                with anyio.CancelScope(shield=True):
                    scope.cancel()
                    with pytest.raises(anyio.BrokenResourceError, match="cancelled"):
                        await f.write(DATA * 10)
        assert scope.cancelled_caught
        assert stored(s3) == OLD


@EVERY_WAY
async def test_a_block_that_makes_an_error_of_a_cancellation(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """Where the cancellation comes again it alone comes out; natively it comes once, and the error is what there is."""

    async def call(here: JobWorld) -> None:
        async with writer(here.client) as f:
            await f.write(DATA)
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                raise ZeroDivisionError("instead") from None

    async def when(trigger: Callable[[], object]) -> None:
        await a_while()
        trigger()

    async with world_of(Job("", call), tmp_path, threads) as here:
        trial = await run(partial(call, here), way=way, when=when)
        assert not left_behind(here, trial)
        assert not here.s3.uploads
        assert not here.s3.objects
    if way in (Way.NATIVE, Way.TIMEOUT):
        assert trial.kind is ZeroDivisionError
    else:
        assert trial.cancelled
        assert trial.notes == ["also: ZeroDivisionError: instead"]


@ON_EITHER_ASYNCIO
async def test_a_cancellation_from_elsewhere(anyio_backend_name: str) -> None:
    """The upload awaits a task that somebody has cancelled: a failure, and never the end of the data."""

    async def before_answer(call: Call) -> None:
        if call.part == "1":
            other = asyncio.ensure_future(anyio.sleep_forever())
            other.cancel()
            await other

    async with memory() as (client, s3):
        s3.before_answer = before_answer
        with pytest.raises(asyncio.CancelledError):
            async with writer(client) as f:
                await f.write(DATA)
        assert stored(s3) is None
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


CANCELLED: Final = {"asyncio": Way.NATIVE, "trio": Way.TRIO}


@pytest.mark.parametrize(
    ("mutate", "shows"),
    [
        pytest.param(
            lambda patch: patch.setattr(MultipartUpload, "_abort", nothing), "open upload", id="the abort removed"
        ),
        pytest.param(
            lambda patch: patch.setattr("handtruck._attempt.settled", at_once), "open upload", id="Create cut off"
        ),
    ],
)
@ON_EVERY_LOOP
async def test_mutation_of_cancellation(
    mutate: Callable[[pytest.MonkeyPatch], None],
    shows: str,
    anyio_backend_name: str,
    tmp_path: Path,
    threads: InlineThreads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way = CANCELLED[anyio_backend_name]
    world = partial(world_of, IN_PARTS, tmp_path, threads)
    with monkeypatch.context() as patch:
        mutate(patch)
        _, wrong = await at_every_checkpoint(world, IN_PARTS.call, way, after_cancellation, stride=2)
    assert [text for text in wrong if text.startswith(shows)]
    _, wrong = await at_every_checkpoint(world, IN_PARTS.call, way, after_cancellation, stride=7)
    assert not wrong


@ON_EITHER_ASYNCIO
async def test_mutation_a_cancellation_publishes(
    tmp_path: Path, threads: InlineThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Natively; a scope's would strike again, before all is sent."""
    published_whatever_happens(monkeypatch)
    world = partial(world_of, IN_PARTS, tmp_path, threads)
    _, wrong = await at_every_checkpoint(world, IN_PARTS.call, Way.NATIVE, after_cancellation, stride=2)
    assert [text for text in wrong if text.startswith("target")]


async def test_mutation_a_torn_object_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectWriter, "_torn", property(lambda _: False, lambda *_: None), raising=False)
    async with memory() as (client, s3):
        async with writer(client) as f:
            await write_half_of_it(f, s3)
        assert len(stored(s3) or b"") not in (0, len(DATA * 2))
