"""The writer: an object appears when its block was left cleanly, whole, or not at all; and nothing is left behind.

Cancelled it is in ``test_writer_cancelled.py``. Each mutation at the end breaks one guarantee, and sees its check go
red.
"""

from __future__ import annotations

import tracemalloc
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import handtruck
from handtruck.credentials import StaticCredentials
from handtruck.errors import AccessDenied, NotFound, S3Error, UsageError
from handtruck.protocol.parts import MIB
from handtruck.transfer.writer import HandedBlocks, ObjectWriter
from tests.scripted import Reply, error, store, xml
from tests.transfer.cancelling import DATA, OBJECT, OLD, PART
from tests.transfer.memory_s3 import Call, Fault, MemoryS3
from tests.transfer.writing import a_while, memory, published_whatever_happens, stored, within, writer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from handtruck import Progress, S3Client
    from tests.scripted import Request

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small")]


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


async def test_an_interrupt_behind_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wraps it; the block is over."""

    def hash_view(_: object) -> str:
        raise Interrupt

    monkeypatch.setattr("handtruck._body.hash_view", hash_view)
    with pytest.raises(Interrupt):
        async with memory() as (client, _), writer(client, hashed=True) as f:
            await f.write(bytes(10))


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


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


async def test_mutation_an_exception_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    published_whatever_happens(monkeypatch)
    with pytest.raises(AssertionError):
        await test_it_comes_out_as_it_is(ZeroDivisionError(), 10)


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
