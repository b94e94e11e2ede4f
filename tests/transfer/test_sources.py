"""Sources: no stream holds up another, bytes are copied once at most, and generators end in the order they began."""

from __future__ import annotations

import queue
import tracemalloc
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

import handtruck
from handtruck.credentials import StaticCredentials
from handtruck.errors import AccessDenied, UsageError
from handtruck.protocol.parts import MIB
from handtruck.transfer import sources, workers
from handtruck.transfer.sources import blocks_of, stream_pieces
from handtruck.transfer.workers import run_workers
from tests.scripted import SILENCE, error, store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from pathlib import Path

    from handtruck._session import Session

pytestmark = pytest.mark.anyio

PART: Final = 1000
PATIENCE: Final = 3.0


@pytest.fixture(name="small_parts")
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)
    monkeypatch.setattr("handtruck.transfer.jobs.DEFAULT_PART_SIZE", PART)


class Sink(httpx.AsyncBaseTransport):
    """Takes uploads and keeps nothing of them."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _ in request.stream:
            pass
        if "uploads" in request.url.params:
            body = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
            return httpx.Response(200, text=body)
        if request.method == "POST":
            body = "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
            return httpx.Response(200, text=body)
        return httpx.Response(200, headers={"ETag": '"x"'})


@asynccontextmanager
async def sink() -> AsyncGenerator[handtruck.S3Client]:
    async with httpx.AsyncClient(transport=Sink()) as http:
        yield handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))


@pytest.fixture(name="session")
async def _session() -> AsyncIterator[Session]:
    async with sink() as s3:
        yield s3._session


async def pieces(session: Session, content: object, part_size: int, *, grow: bool = False) -> AsyncIterator[memoryview]:
    """What becomes of some content; the last piece is the one that is marked."""
    last = False
    feed = stream_pieces(session, blocks_of(session, content), part_size, hashed=False, grow=grow)
    async for piece in feed:
        assert not last
        last = piece.last
        yield (await piece.load()).view
        piece.release()
    assert last


# -- Threads -----------------------------------------------------------------------------------------------------------


async def test_iterables_may_wait_for_another_call_of_the_same_client(tmp_path: Path) -> None:
    """More of them than the session has threads. Found: they held all of its threads, and all waited for ever."""
    words: queue.Queue[bytes] = queue.Queue()
    started, count = queue.Queue[int](), 20
    (tmp_path / "file").write_bytes(bytes(200_000))

    def waiting(number: int) -> Iterator[bytes]:
        started.put(number)
        yield words.get(timeout=PATIENCE)

    async with store() as (s3, tiny):

        async def feed() -> None:
            while started.qsize() < min(count, 8):
                await checkpoint()
            await s3.put("b/large", bytes(200_000))
            await s3.put_file("b/file", tmp_path / "file")
            for _ in range(count):
                words.put(b"word")

        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(s3.put, f"b/{number}", waiting(number))
            group.start_soon(feed)
        assert sum(stored.data == b"word" for stored in tiny.objects.values()) == count


# -- Copies ------------------------------------------------------------------------------------------------------------


class Counted(bytearray):
    """Counts the bytes that go into buffers and out of them."""

    copied = 0

    def __iadd__(self, other: Any) -> Self:  # type: ignore[misc]
        Counted.copied += len(other)
        super().__iadd__(other)
        return self

    def __getitem__(self, key: Any) -> Any:
        taken = super().__getitem__(key)
        if isinstance(key, slice):
            Counted.copied += len(taken)
            return Counted(taken)
        return taken


async def _as_async(block: bytes) -> AsyncIterator[bytes]:
    yield block


@pytest.mark.parametrize("content", [lambda b: [b], _as_async], ids=["list", "async generator"])
async def test_a_large_block_is_copied_once(
    content: Callable[[bytes], Any], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found: what was left of it was copied again for every part."""
    monkeypatch.setattr(sources, "bytearray", Counted, raising=False)
    monkeypatch.setattr(Counted, "copied", 0)
    block, count = bytes(range(250)) * 400, 0
    whole = b""
    async for view in pieces(session, content(block), PART):
        whole += view
        count += 1
    assert (whole, count) == (block, 100)
    assert Counted.copied <= len(block) + 2 * count


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes_are_not_copied_at_all(kind: Callable[[bytes], Any], session: Session) -> None:
    content = kind(bytes(range(250)) * 14)
    views = [view async for view in pieces(session, content, PART)]
    assert [len(view) for view in views] == [1000, 1000, 1000, 500]
    assert b"".join(views) == bytes(content)
    assert all(view.obj is memoryview(content).obj for view in views)
    assert [bytes(view) async for view in pieces(session, kind(b""), PART)] == [b""]


async def test_an_upload_of_bytes_takes_no_memory_for_them() -> None:
    """Found: 2.4 times as much as they have."""
    data = bytes(64 * MIB)
    async with sink() as s3:
        await s3.put_multipart("b/k", data[: 16 * MIB])
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await s3.put_multipart("b/k", data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before < 2 * MIB


async def test_a_short_stream_takes_no_memory_for_a_part() -> None:
    """Found: 8 MiB for each, and hundreds of them at once."""
    async with sink() as s3:
        await s3.put_multipart("b/k", [b"short"])
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            await s3.put_multipart("b/k", [b"short"])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak - before < MIB


@pytest.mark.parametrize("size", [300, 2500])
@pytest.mark.parametrize("part", [299, 300, 301, 1000])
async def test_one_buffer_for_all_blocks(size: int, part: int, session: Session) -> None:
    """The stream goes on when its block is used up, and it may change the buffer's size, too."""

    def reused() -> Iterator[bytearray]:
        buffer = bytearray()
        try:
            for number in range(10):
                buffer.clear()
                buffer.extend(bytes([number]) * (size + number))
                yield buffer
        finally:
            buffer.clear()

    async def areused() -> AsyncIterator[memoryview | bytearray]:
        for number, buffer in enumerate(reused()):
            yield memoryview(bytes(buffer)) if number % 2 else buffer

    expected = b"".join(bytes([number]) * (size + number) for number in range(10))
    for content in (reused(), areused()):
        assert b"".join([bytes(view) async for view in pieces(session, content, part)]) == expected


async def test_a_buffer_may_be_changed_when_the_stream_is_closed_early() -> None:
    buffer = bytearray(5 * PART)

    async def blocks() -> AsyncIterator[bytearray]:
        try:
            yield buffer
        finally:
            buffer.clear()

    async with sink() as s3:
        feed = stream_pieces(s3._session, blocks_of(s3._session, blocks()), PART, hashed=False, grow=False)
        await anext(feed)
        await feed.aclose()
    assert not buffer


# -- Turns -------------------------------------------------------------------------------------------------------------


async def turns_during(read: AsyncIterator[object]) -> int:
    """How often others have had their turn."""
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await checkpoint()
        async for _ in read:
            pass
        group.cancel_scope.cancel()
    return turns


async def _many(block: bytes, count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield block


@pytest.mark.parametrize(
    ("size", "count", "turns"), [(4, 256 * 40, 40), (0, 256 * 40, 40), (MIB // 2, 80, 40), (40 * MIB, 1, 40)], ids=str
)
async def test_a_stream_that_never_waits_lets_others_have_their_turn(
    size: int, count: int, turns: int, session: Session
) -> None:
    assert await turns_during(pieces(session, _many(bytes(size), count), 64 * MIB)) >= turns - 2


async def test_a_stream_that_never_waits_can_be_cancelled(session: Session) -> None:
    given = 0

    async def blocks() -> AsyncIterator[bytes]:
        nonlocal given
        for given in range(1, 100_000):
            if given == 1000:
                scope.cancel()
            yield b"tiny"

    with anyio.CancelScope() as scope:
        async for _ in pieces(session, blocks(), 8 * MIB):
            pass
    assert scope.cancelled_caught
    assert given <= 1000 + 256


# -- Scopes and task groups that are open across a yield ---------------------------------------------------------------


class Source:
    """Generators of the awkward kinds. ``closed`` says what their clean-up has come to."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.failure: Exception | None = None
        self.shield = False

    async def _blocks(self) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(50):
                await checkpoint()
                yield bytes(700)
        finally:
            with anyio.CancelScope(shield=self.shield):
                await checkpoint()
            self.closed.append("closed")
            if self.failure is not None:
                raise self.failure

    async def timeout(self) -> AsyncGenerator[bytes, None]:
        with anyio.fail_after(1000):
            async with aclosing(self._blocks()) as blocks:
                async for block in blocks:
                    yield block

    async def scope(self) -> AsyncGenerator[bytes, None]:
        with anyio.CancelScope():
            async with aclosing(self._blocks()) as blocks:
                async for block in blocks:
                    yield block

    async def group(self) -> AsyncGenerator[bytes, None]:
        self.shield = True  # trio cancels a nursery when the cancellation has reached a child of it
        async with anyio.create_task_group() as group, aclosing(self._blocks()) as blocks:
            group.start_soon(anyio.sleep_forever)
            async for block in blocks:
                yield block
            group.cancel_scope.cancel()


AWKWARD: Final = pytest.mark.parametrize("kind", ["timeout", "scope", "group"])


@AWKWARD
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart"])
async def test_the_real_error_comes_out(kind: str, operation: str) -> None:
    """Found: RuntimeError in its place, because our shield ended before the scope that it lay in.

    While the one worker sends, the source waits at a yield.
    """
    source = Source()
    async with store() as (s3, tiny):
        tiny.on(operation, error(403, "AccessDenied"))
        with pytest.raises(AccessDenied) as caught:
            await s3.put_multipart("b/k", getattr(source, kind)(), part_size=PART, workers_count=1)
        assert not hasattr(caught.value, "__notes__")
        assert tiny.uploads == {}
        await s3.put("b/after", b"the task's scopes are in order")
    assert source.closed == ["closed"]


@AWKWARD
@pytest.mark.parametrize(("operation", "nth"), [("CreateMultipartUpload", 1), ("UploadPart", 2)])
@pytest.mark.usefixtures("small_parts")
async def test_what_fails_on_closing_is_a_note(kind: str, operation: str, nth: int) -> None:
    source = Source()
    source.failure = ZeroDivisionError("on closing")
    async with store() as (s3, tiny):
        tiny.on(operation, error(403, "AccessDenied"), nth=nth)
        with pytest.raises(AccessDenied) as caught:
            await s3.put_multipart("b/k", getattr(source, kind)(), part_size=PART)
    notes = "\n".join(caught.value.__notes__)
    assert "ZeroDivisionError: on closing" in notes or "ExceptionGroup" in notes


@AWKWARD
@pytest.mark.usefixtures("small_parts")
async def test_what_fails_at_the_end_comes_out(kind: str) -> None:
    source = Source()
    source.failure = ZeroDivisionError("on closing")
    async with store() as (s3, tiny):
        with pytest.raises((ZeroDivisionError, ExceptionGroup)):
            await s3.put_multipart("b/k", getattr(source, kind)(), part_size=PART)
        assert tiny.uploads == {}
        assert tiny.objects == {}


@AWKWARD
@pytest.mark.usefixtures("small_parts")
async def test_cancelled_it_has_time_to_close(kind: str) -> None:
    source = Source()
    async with store() as (s3, tiny):
        tiny.on("UploadPart", SILENCE)
        async with anyio.create_task_group() as group:
            group.start_soon(partial(s3.put_multipart, "b/k", getattr(source, kind)(), part_size=PART))
            await tiny.peer.until(lambda: bool(tiny.sent("UploadPart")))
            group.cancel_scope.cancel()
        assert tiny.uploads == {}
    assert source.closed == ["closed"]


@AWKWARD
@pytest.mark.usefixtures("small_parts")
async def test_all_goes_well(kind: str) -> None:
    source = Source()
    async with store() as (s3, tiny):
        await s3.put_multipart("b/k", getattr(source, kind)(), part_size=PART, workers_count=3)
        assert tiny.objects["b/k"].data == bytes(50 * 700)
    assert source.closed == ["closed"]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("how", ["timeout", "scope", "child"])
async def test_a_source_that_is_cancelled_from_within_while_it_waits_at_its_yield(how: str) -> None:
    """It cannot hear of it; no end of the data, and no cancellation that nobody has asked for, comes of that."""
    inner = anyio.CancelScope()

    async def fail() -> None:
        await sent.wait()
        raise ZeroDivisionError("a child of the source")

    async def blocks() -> AsyncIterator[bytes]:
        if how == "child":
            async with anyio.create_task_group() as group:
                group.start_soon(fail)
                while True:
                    yield bytes(700)
        with inner:
            while True:
                yield bytes(700)

    async with store() as (s3, tiny):
        sent = anyio.Event()
        tiny.on("UploadPart", SILENCE)
        async with anyio.create_task_group() as group:

            async def put() -> None:
                with pytest.raises(TimeoutError if how != "child" else ExceptionGroup):
                    await s3.put_multipart("b/k", blocks(), part_size=PART)
                assert tiny.uploads == {}
                assert tiny.objects == {}

            group.start_soon(put)
            await tiny.peer.until(lambda: bool(tiny.sent("UploadPart")))
            sent.set()
            if how == "timeout":
                inner.deadline = anyio.current_time()
            elif how == "scope":
                inner.cancel()


# -- Grace -------------------------------------------------------------------------------------------------------------


async def _never_closed() -> AsyncGenerator[bytes, None]:
    try:
        while True:
            yield bytes(700)
    finally:
        await anyio.sleep_forever()


@pytest.fixture(name="impatient")
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sources, workers):
        monkeypatch.setattr(module, "GRACE", 0.01)


@pytest.mark.usefixtures("small_parts", "impatient")
async def test_a_source_that_does_not_close_is_cut_off_and_no_success() -> None:
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"), nth=2)
        with pytest.raises(AccessDenied) as caught:
            await s3.put_multipart("b/k", _never_closed(), part_size=PART)
        assert caught.value.__notes__ == ["also: TimeoutError: the source was not closed within 0.01 s"]
        assert tiny.uploads == {}
        assert tiny.objects == {}


@pytest.mark.usefixtures("impatient")
async def test_a_block_that_is_none_is_no_end_though_the_source_does_not_close() -> None:
    async def blocks() -> AsyncGenerator[Any, None]:
        try:
            yield b"data"
            yield "text"
        finally:
            await anyio.sleep_forever()

    async with store() as (s3, tiny):
        with pytest.raises(UsageError, match="where bytes are expected"):
            await s3.put("b/k", blocks())
        assert tiny.objects == {}


async def test_an_interrupt_while_a_source_is_closed_is_no_note() -> None:
    class Interrupt(BaseException):
        pass

    async def feed() -> AsyncGenerator[int, None]:
        try:
            while True:
                yield 1
        finally:
            raise Interrupt

    async def fail(_: int) -> None:
        raise ValueError

    with pytest.raises(Interrupt):
        await run_workers(feed(), fail, workers=1, slots=2)
