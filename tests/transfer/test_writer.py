"""The writer: an object appears when its block was left cleanly, whole, or not at all; and nothing is left behind.

Cancelled at every checkpoint, in every way, and with every request failing, by the checks of
:mod:`tests.transfer.test_cancellation`. Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count, product
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import handtruck
from handtruck._tasks import siblings
from handtruck.credentials import StaticCredentials
from handtruck.errors import AccessDenied, NotFound, S3Error, UsageError
from handtruck.protocol.parts import MIB
from handtruck.transfer.multipart import MultipartUpload
from handtruck.transfer.upload import UploadPlan
from handtruck.transfer.writer import HandedBlocks, ObjectWriter
from tests.scripted import Reply, error, store, xml
from tests.transfer.checkpoints import CountedThreads, InlineThreads, Trial, Way, run, swept
from tests.transfer.memory_s3 import Call, Fault, MemoryS3
from tests.transfer.test_cancellation import (
    BLOCKS,
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    FIRST,
    LOOPS,
    OBJECT,
    OLD,
    ON_EITHER_ASYNCIO,
    PART,
    Failing,
    Job,
    Lasting,
    World,
    _small,  # noqa: F401 - a fixture
    after_failure,
    at_every_checkpoint,
    left_behind,
    torn,
    world,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import Progress, S3Client
    from tests.scripted import Request

pytestmark = pytest.mark.anyio


def writer(s3: S3Client, name: str = OBJECT, progress: Callable[[Progress], object] | None = None, **plan: Any) -> Any:
    """What ``S3Client.open`` gives; typed as anything, for the arguments that are wrong.

    Not hashed, unless that is asked for: then no thread makes the number of rounds uncertain.
    """
    options = {"part_size": PART, "workers": 2, "slots": 2, "tries": 3, "headers": (), "hashed": False, **plan}
    return ObjectWriter(s3._session, UploadPlan(location=s3._locate(name), **options), progress)


@asynccontextmanager
async def memory(*, old: bool = False) -> AsyncIterator[tuple[S3Client, MemoryS3]]:
    """An S3 in memory, and a client of it; at the end nothing may be left open."""
    s3 = MemoryS3()
    if old:
        s3.put(OBJECT, OLD)
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        client._session.random = lambda: 0.0
        yield client, s3
    assert (s3.uploads, s3.in_flight, s3.answers, client._session.places.taken) == ({}, 0, set(), 0)


async def within(f: Any, body: Callable[[Any], Awaitable[object]]) -> None:
    """Use a writer."""
    async with f:
        await body(f)


def stored(s3: MemoryS3) -> bytes | None:
    return s3.objects.get(OBJECT, (None, ""))[0]


async def a_while() -> None:
    for _ in range(100):
        await checkpoint()


# -- Cancelled at every checkpoint, and with every request failing ---------------------------------------------------


async def _in_parts(here: World) -> None:
    async with writer(here.client, hashed=True) as f:
        for block in BLOCKS:
            await checkpoint()
            await f.write(block)


async def _as_one(here: World) -> None:
    async with writer(here.client, part_size=len(DATA), hashed=True) as f:
        for block in BLOCKS:
            await f.write(block)


async def _at_once(here: World) -> None:
    async with writer(here.client, slots=1, hashed=True) as f:
        await f.write(DATA)


async def _closed_early(here: World) -> None:
    async with writer(here.client) as f:
        await f.write(DATA)
        await f.aclose()
        await checkpoint()


async def _by_a_child(here: World) -> None:
    async with writer(here.client) as f, siblings() as group:
        group.start_soon(f.write, DATA)


async def _all_caught(here: World) -> None:
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
ON_ALL_LOOPS: Final = pytest.mark.parametrize(
    "anyio_backend", [loop for _, loop, _ in LOOPS], ids=[name for name, _, _ in LOOPS], indirect=True
)


@pytest.fixture(name="threads")
def _threads(monkeypatch: pytest.MonkeyPatch) -> InlineThreads:
    """Threads that take the same steps in every run."""
    inline = InlineThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", inline.run_sync)
    monkeypatch.setattr(anyio.from_thread, "check_cancelled", lambda: None)
    return inline


@THE_FIRST
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    points, wrong = await at_every_checkpoint(tmp_path, threads, job, way)
    assert not wrong
    assert points > 12


@EVERY_JOB
@BY_ITS_OWN_SCOPE
async def test_cancelled_with_real_threads(job: Job, way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = CountedThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", threads.run_sync)
    async with world(tmp_path, threads, job) as here:
        await job.call(here)
    _, wrong = await at_every_checkpoint(tmp_path, threads, job, way, stride=5)
    assert not wrong


@EVERY_JOB
@BY_ITS_OWN_SCOPE
async def test_cancelled_while_a_request_fails(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    def prepare(here: World) -> None:
        here.s3.fault = lambda call: Fault.REFUSED if call.part not in FIRST else None

    def check(here: World, trial: Trial, job: Job) -> list[str]:
        found = left_behind(here, trial) + torn(here, trial, job) + [f"open upload {one}" for one in here.s3.uploads]
        failed = trial.kind is None or trial.kind is S3Error
        return found if trial.cancelled or failed else [*found, f"exception {trial}"]

    _, wrong = await at_every_checkpoint(tmp_path, threads, job, way, prepare=prepare, check=check)
    assert not wrong


@EVERY_JOB
@ON_ALL_LOOPS
async def test_every_request_fails(job: Job, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way. What was there stays, or the object is whole; and no error gets lost in a block that catches it."""
    wrong: list[str] = []
    with swept():
        for fault, lasting in product(Fault, Lasting):
            for number in count(1):
                failing = Failing(number, fault, lasting)
                async with world(tmp_path, threads, job) as here:
                    here.s3.fault = failing
                    trial = await run(partial(job.call, here))
                    wrong += [f"{text} [{failing}: {trial}]" for text in after_failure(here, trial, job)]
                if failing.hit is None:
                    break
    assert not wrong


# -- What is written ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 3 * PART + 5])
async def test_what_is_sent(size: int) -> None:
    """A single PUT where one part is enough, of nothing too; and nothing at all before there is a reason."""
    data = bytes(range(256)) * 64
    told: list[Progress] = []
    async with memory() as (client, s3):
        async with writer(client, progress=told.append) as f:
            await a_while()
            assert not s3.calls
            assert f.tell() == 0
            assert await f.write(data[:size]) == f.tell() == size
            await a_while()
            assert "PutObject" not in s3.done
        assert stored(s3) == data[:size]
        parts = -(-size // PART) if size > PART else 0
        assert (f.result.size, f.result.parts, f.result.etag) == (size, parts, s3.objects[OBJECT][1])
        assert s3.done["UploadPart"] == parts
        assert s3.done["PutObject"] == (parts == 0)
    assert (told[-1].done, told[-1].total) == (size, size) if told else not size


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(0, 2500) | st.sampled_from([999, 1000, 1001, 3000]), max_size=12),
    slots=st.integers(1, 3),
    kind=st.sampled_from([bytes, bytearray, memoryview]),
)
async def test_however_it_is_cut(sizes: list[int], slots: int, kind: Callable[[bytes], Any]) -> None:
    """The same object, in the same parts."""
    data = (bytes(range(251)) * 120)[: sum(sizes)]
    async with memory() as (client, s3):
        async with writer(client, part_size=1000, slots=slots) as f:
            start = 0
            for size in sizes:
                assert await f.write(kind(data[start : start + size])) == size
                start += size
                assert f.tell() == start
        assert stored(s3) == data
        assert f.result.parts == (-(-len(data) // 1000) if len(data) > 1000 else 0)


@pytest.mark.parametrize("size", [10, PART, 3 * PART + 1])
async def test_a_buffer_may_be_used_again(size: int) -> None:
    """Changed, and made shorter: nothing looks at it any more."""
    buffer, expected = bytearray(), b""
    async with memory() as (client, s3):
        async with writer(client) as f:
            for number in range(5):
                buffer.extend(bytes([number]) * size)
                expected += buffer
                await f.write(buffer)
                buffer.clear()
        assert stored(s3) == expected


async def test_a_buffer_may_be_used_again_after_an_error() -> None:
    buffer = bytearray(3 * PART)
    async with memory() as (client, s3):
        s3.fault = lambda _: Fault.REFUSED
        with pytest.raises(S3Error) as caught:  # its frames are there until the end
            await within(writer(client), lambda f: f.write(buffer))
        buffer.clear()
        assert caught.value.operation == "CreateMultipartUpload"


async def test_memory_that_is_not_in_one_piece() -> None:
    async with memory() as (client, s3):
        async with writer(client) as f:
            assert await f.write(memoryview(DATA)[::2]) == len(DATA[::2])
            assert await f.write(memoryview(DATA).cast("I", [len(DATA) // 4])) == len(DATA)
        assert stored(s3) == DATA[::2] + DATA


@pytest.mark.parametrize("wrong", ["text", None, 1, [b"block"]], ids=repr)
async def test_what_is_no_bytes(wrong: Any) -> None:
    """Is refused by its name, and nothing is lost."""
    async with memory() as (client, s3):
        async with writer(client) as f:
            await f.write(b"one ")
            with pytest.raises(UsageError, match=type(wrong).__name__):
                await f.write(wrong)
            await f.write(b"two")
        assert stored(s3) == b"one two"


async def test_a_large_block_is_not_copied_whole() -> None:
    """Peer and client share this process: each has a part or two in hand."""
    data = bytes(32 * MIB)

    async def forget(request: Request) -> Reply:
        await request.read()
        request.body = b""
        return Reply(headers=(("ETag", '"x"'),))

    async with store() as (s3, tiny):
        tiny.on("UploadPart", forget)
        tiny.on("CompleteMultipartUpload", xml("CompleteMultipartUploadResult", ETag="x"))
        async with writer(s3, "b/k", part_size=MIB) as f:
            await f.write(data[: 4 * MIB])
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                await f.write(data)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak - before < 10 * MIB


@pytest.mark.parametrize(("workers", "slots"), [(1, 1), (2, 2), (2, 3)])
async def test_memory_is_bounded_while_s3_withholds_its_answers(workers: int, slots: int) -> None:
    """``write`` waits; what was taken by then is what the slots hold, and one byte that says that there is more."""
    go_on = anyio.Event()

    async def before_answer(call: Call) -> None:
        if call.operation == "UploadPart":
            await go_on.wait()

    async with memory() as (client, s3):
        s3.before_answer = before_answer
        async with writer(client, workers=workers, slots=slots) as f, anyio.create_task_group() as group:
            group.start_soon(f.write, DATA * 3)
            await a_while()
            assert f.tell() == slots * PART + 1
            assert s3.most_in_flight == workers
            go_on.set()
        assert stored(s3) == DATA * 3


async def test_many_small_writes_let_others_have_their_turn() -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with memory() as (client, s3), anyio.create_task_group() as group:
        group.start_soon(other)
        async with writer(client, part_size=MIB) as f:
            await a_while()
            turns = 0
            for _ in range(256 * 20):
                await f.write(b"tiny")
            assert 10 <= turns < 256 * 20
        group.cancel_scope.cancel()
        assert stored(s3) == b"tiny" * 256 * 20


# -- How it is used ----------------------------------------------------------------------------------------------------


async def test_closed_early() -> None:
    """Published at once; then nothing can be written, and what the block raises takes nothing back."""
    async with memory() as (client, s3):

        async def body(f: Any) -> None:
            await f.write(DATA)
            await f.aclose()
            assert stored(s3) == DATA
            assert f.result.size == len(DATA)
            s3.calls.clear()
            await f.aclose()
            for data in (b"more", b""):
                with pytest.raises(UsageError, match="closed"):
                    await f.write(data)
            raise ZeroDivisionError

        f = writer(client)
        with pytest.raises(ZeroDivisionError) as caught:
            await within(f, body)
        await f.aclose()
        assert not hasattr(caught.value, "__notes__")
        assert not s3.calls
        assert f.result.parts == 3


async def test_out_of_its_block() -> None:
    async with memory() as (client, s3):
        f = writer(client)
        for use in (partial(f.write, b"x"), f.aclose):
            with pytest.raises(UsageError, match="async with"):
                await use()
        with pytest.raises(UsageError, match="not there yet"):
            f.result  # noqa: B018 - it raises
        async with f:
            with pytest.raises(UsageError, match="not there yet"):
                f.result  # noqa: B018
            with pytest.raises(UsageError, match="once"):
                await f.__aenter__()
        assert f.result.size == 0
        with pytest.raises(UsageError, match="closed"):
            await f.write(b"x")
        with pytest.raises(UsageError, match="once"):
            await f.__aenter__()
        assert stored(s3) == b""


async def test_after_a_failure_there_is_no_result() -> None:
    async with memory() as (client, s3):
        with pytest.raises(ZeroDivisionError):
            async with writer(client) as f:
                raise ZeroDivisionError
        with pytest.raises(UsageError, match="has no result"):
            f.result  # noqa: B018
        for use in (partial(f.write, b"x"), f.aclose):
            with pytest.raises(UsageError, match="closed"):
                await use()
        assert not s3.calls
        assert repr(f) == "<ObjectWriter bucket/key>"


async def test_two_tasks_at_once() -> None:
    """The second is refused; so is whoever closes, or leaves the block, meanwhile: that does not publish."""
    async with memory() as (client, s3), anyio.create_task_group() as group:
        silence = anyio.Event()

        async def before_answer(_: Call) -> None:
            await silence.wait()

        async def write() -> None:
            with pytest.raises(anyio.BrokenResourceError):
                await f.write(DATA)

        async def body(f: Any) -> None:
            group.start_soon(write)
            await a_while()
            for use in (partial(f.write, b"x"), f.aclose):
                with pytest.raises(anyio.BusyResourceError):
                    await use()
            silence.set()

        s3.before_answer = before_answer
        f = writer(client)
        with pytest.raises(anyio.BusyResourceError):
            await within(f, body)
        assert stored(s3) is None


async def test_no_keys() -> None:
    """Asked for when they are needed first."""
    async with httpx.AsyncClient(transport=MemoryS3()) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials())
        entered = False
        with pytest.raises(UsageError):
            async with writer(client) as f:
                entered = await f.write(b"x") == 1
        assert entered


# -- What the block raises ---------------------------------------------------------------------------------------------


class Interrupt(BaseException):
    pass


@pytest.mark.parametrize("size", [0, 10, 3 * PART])
@pytest.mark.parametrize(
    "raised",
    [ZeroDivisionError("mine"), ExceptionGroup("mine", [ValueError(), KeyError()]), Interrupt("mine")],
    ids=lambda raised: type(raised).__name__,
)
async def test_it_comes_out_as_it_is(raised: BaseException, size: int) -> None:
    """The same object with the same cause; nothing is published, no upload is open, what was there stays."""
    cause = KeyError("the cause")

    async def body(f: Any) -> None:
        await f.write(bytes(size))
        raise raised from cause

    async with memory(old=True) as (client, s3):
        with pytest.raises(type(raised)) as caught:
            await within(writer(client), body)
        assert caught.value is raised
        assert raised.__cause__ is cause
        assert not hasattr(raised, "__notes__")
        assert stored(s3) == OLD


async def test_in_a_generator_that_is_closed() -> None:
    """GeneratorExit is an exception as any other: the rest was not written."""

    async def items() -> AsyncGenerator[int, None]:
        async with writer(client) as f:
            for number in range(10):
                await f.write(bytes(PART))
                yield number

    async with memory(old=True) as (client, s3):
        generator = items()
        async for number in generator:
            if number == 3:
                break
        await generator.aclose()
        assert s3.done["AbortMultipartUpload"] == 1
        assert stored(s3) == OLD


async def test_what_could_not_be_undone_is_a_note() -> None:
    async def body(f: Any) -> None:
        await f.write(DATA)
        raise ZeroDivisionError

    async with memory() as (client, s3):
        s3.fault = lambda call: Fault.REFUSED if call.operation == "AbortMultipartUpload" else None
        with pytest.raises(ZeroDivisionError) as caught:
            await within(writer(client), body)
        assert [note for note in caught.value.__notes__ if "upload-1" in note and "may remain" in note]
        s3.uploads.clear()


# -- What goes wrong behind the block ----------------------------------------------------------------------------------


@asynccontextmanager
async def failing(operation: str) -> AsyncIterator[tuple[S3Client, MemoryS3]]:
    """An S3 that refuses one kind of request."""
    async with memory(old=True) as (client, s3):
        s3.fault = lambda call: Fault.REFUSED if call.operation == operation else None
        yield client, s3
        assert stored(s3) == OLD


BEHIND: Final = pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart"])


@BEHIND
async def test_the_next_write_raises_it(operation: str) -> None:
    """And the block is not interrupted before. Leaving it raises the same."""
    raised: list[BaseException] = []

    async def body(f: Any) -> None:
        await f.write(bytes(PART + 1))
        await a_while()  # it fails, and nothing happens to us
        for use in (partial(f.write, b"x"), partial(f.write, b""), f.aclose):
            with pytest.raises(S3Error) as inner:
                await use()
            raised.append(inner.value)

    async with failing(operation) as (client, _):
        with pytest.raises(S3Error) as outer:
            await within(writer(client, tries=1), body)
    assert raised == [outer.value] * 3
    assert outer.value.operation == operation


@BEHIND
async def test_a_write_that_waits_raises_it(operation: str) -> None:
    async def body(f: Any) -> None:
        await f.write(DATA * 10)
        pytest.fail("it was not taken")

    async with failing(operation) as (client, _):
        with pytest.raises(S3Error):
            await within(writer(client, tries=1), body)


@pytest.mark.parametrize("size", [10, PART + 1])
async def test_leaving_the_block_raises_it(size: int) -> None:
    """That is where the only PUT is sent, or the last part."""
    async with memory(old=True) as (client, s3):
        s3.fault = lambda call: Fault.REFUSED if call.operation == "PutObject" or call.part == "2" else None
        with pytest.raises(S3Error):
            async with writer(client) as f:
                await f.write(bytes(size))
        assert stored(s3) == OLD


async def test_what_the_block_raises_then_comes_out_with_a_note() -> None:
    async def body(f: Any) -> None:
        try:
            await f.write(DATA * 10)
        except S3Error as error:
            raise ZeroDivisionError from error

    async with failing("UploadPart") as (client, _):
        with pytest.raises(ZeroDivisionError) as caught:
            await within(writer(client), body)
        (note,) = caught.value.__notes__
        assert "also: S3Error" in note
        assert "UploadPart" in note


async def test_what_progress_raises() -> None:
    def progress(_: Progress) -> None:
        raise ZeroDivisionError("of the callback")

    for size in (10, 3 * PART):
        async with memory() as (client, _):
            with pytest.raises(ZeroDivisionError, match="of the callback"):
                async with writer(client, progress=progress) as f:
                    await f.write(bytes(size))


async def test_an_error_of_a_peer() -> None:
    """By our own transport, over a socket."""
    async with store() as (s3, tiny):
        tiny.on("CreateMultipartUpload", error(403, "AccessDenied"), nth=1)
        with pytest.raises(AccessDenied):
            async with writer(s3, "b/k") as f:
                await f.write(DATA)
        tiny.on("PutObject", error(404, "NoSuchBucket"), nth=1)
        with pytest.raises(NotFound, match="NoSuchBucket"):
            async with writer(s3, "b/k") as f:
                await f.write(b"small")
        assert (tiny.objects, tiny.uploads) == ({}, {})
        async with writer(s3, "b/other") as f:
            await f.write(DATA)
            await f.aclose()
            assert tiny.objects["b/other"].data == DATA


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

    async def call(here: World) -> None:
        async with writer(here.client) as f:
            await f.write(DATA)
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                raise ZeroDivisionError("instead") from None

    async def when(trigger: Callable[[], object]) -> None:
        await a_while()
        trigger()

    job = Job("", call)
    async with world(tmp_path, threads, job) as here:
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


async def test_an_interrupt_behind_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wraps it; the block is over."""

    def hash_view(_: object) -> str:
        raise Interrupt

    monkeypatch.setattr("handtruck._session.hash_view", hash_view)
    with pytest.raises(Interrupt):
        async with memory() as (client, _), writer(client, hashed=True) as f:
            await f.write(bytes(10))


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


async def _nothing(*_: object, **__: object) -> None:
    """Instead of what should be done."""


def _published_whatever_happens(patch: pytest.MonkeyPatch) -> None:
    leave = ObjectWriter.__aexit__

    async def __aexit__(self: ObjectWriter, *_: object) -> None:  # noqa: N807
        await leave(self, None, None, None)

    patch.setattr(ObjectWriter, "__aexit__", __aexit__)


CANCELLED: Final = {"asyncio": Way.NATIVE, "trio": Way.TRIO}


@pytest.mark.parametrize(
    ("mutate", "shows"),
    [
        pytest.param(
            lambda patch: patch.setattr(MultipartUpload, "_abort", _nothing), "open upload", id="the abort removed"
        ),
        pytest.param(
            lambda patch: patch.setattr("handtruck._session.settled", _unsettled), "open upload", id="Create cut off"
        ),
    ],
)
@ON_ALL_LOOPS
async def test_mutation_of_cancellation(
    mutate: Callable[[pytest.MonkeyPatch], None],
    shows: str,
    anyio_backend_name: str,
    tmp_path: Path,
    threads: InlineThreads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    way = CANCELLED[anyio_backend_name]
    with monkeypatch.context() as patch:
        mutate(patch)
        _, wrong = await at_every_checkpoint(tmp_path, threads, IN_PARTS, way, stride=2)
    assert [text for text in wrong if text.startswith(shows)]
    _, wrong = await at_every_checkpoint(tmp_path, threads, IN_PARTS, way, stride=7)
    assert not wrong


async def _unsettled(work: Callable[[], Any], *_: object) -> Any:
    return await work()


@ON_EITHER_ASYNCIO
async def test_mutation_a_cancellation_publishes(
    tmp_path: Path, threads: InlineThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Natively; a scope's would strike again, before all is sent."""
    _published_whatever_happens(monkeypatch)
    _, wrong = await at_every_checkpoint(tmp_path, threads, IN_PARTS, Way.NATIVE, stride=2)
    assert [text for text in wrong if text.startswith("target")]


async def test_mutation_an_exception_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    _published_whatever_happens(monkeypatch)
    with pytest.raises(AssertionError):
        await test_it_comes_out_as_it_is(ZeroDivisionError(), 10)


async def test_mutation_a_torn_object_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ObjectWriter, "_torn", property(lambda _: False, lambda *_: None), raising=False)
    async with memory() as (client, s3):
        async with writer(client) as f:
            await write_half_of_it(f, s3)
        assert len(stored(s3) or b"") not in (0, len(DATA * 2))


async def test_mutation_no_back_pressure(monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue in between would take everything."""
    queue: list[bytes] = []

    def take(self: HandedBlocks, view: memoryview) -> int:
        queue.append(bytes(view))
        return len(view)

    monkeypatch.setattr(HandedBlocks, "take", take)
    with pytest.raises((AssertionError, ExceptionGroup)):
        await test_memory_is_bounded_while_s3_withholds_its_answers(1, 1)


async def test_mutation_the_block_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that raises would have the task group cancel the block."""
    publish = ObjectWriter._publish

    async def raising(self: ObjectWriter) -> None:
        await publish(self)
        if self._failure is not None:
            raise self._failure

    monkeypatch.setattr(ObjectWriter, "_publish", raising)
    raised: BaseException | None = None
    async with failing("UploadPart") as (client, _):
        try:
            async with writer(client, tries=1) as f:
                await f.write(bytes(PART + 1))
                await a_while()
        except BaseException as error:  # noqa: BLE001 - nobody has asked for this cancellation
            raised = error
    assert isinstance(raised, anyio.get_cancelled_exc_class())
