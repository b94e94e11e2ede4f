"""Readers: an object as a file, of one version, in bounded memory, with nothing left behind.

Each mutation beside a guarantee breaks it, and sees its test go red.
"""

from __future__ import annotations

import gc
import io
import weakref
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck import ObjectReader, ObjectStream, S3Client
from handtruck.credentials import StaticCredentials
from handtruck.errors import NotFound, PreconditionFailed, UsageError
from handtruck.protocol.checksums import same_etag
from handtruck.transfer.ahead import Memory, ReadAhead
from handtruck.transfer.companions import Companions
from tests.scripted import Reply, Request, TinyS3, error, store, truncated
from tests.transfer.cancelling import ASYNCIO, OBJECT, TRIO
from tests.transfer.memory_s3 import MemoryS3
from tests.transfer.reading import BODY, LEAST, OPENING, PART, RANGES, asked, turns, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small_windows")]


class Withheld:
    """Answers that wait until they are let go, one by one."""

    def __init__(self, tiny: TinyS3, *, after: int = 1) -> None:
        self.tiny = tiny
        self.waiting: dict[int, anyio.Event] = {}
        self.left = after
        tiny.on("GetObject", self)

    async def __call__(self, request: Request) -> Reply | None:
        if self.left:
            self.left -= 1
            return None
        start = int((request.header("range") or "").removeprefix("bytes=").partition("-")[0])
        self.waiting[start] = anyio.Event()
        await self.waiting[start].wait()
        return None

    async def until(self, number: int) -> list[int]:
        """Wait until so many wait; gives where their ranges begin."""
        await self.tiny.peer.until(lambda: len(self.waiting) >= number)
        return sorted(self.waiting)

    def let_go(self, start: int) -> None:
        self.waiting.pop(start).set()

    def let_all_go(self) -> None:
        for start in list(self.waiting):
            self.let_go(start)


# -- What it is, and what it reads -------------------------------------------------------------------------------------


async def test_what_is_known_when_it_is_entered() -> None:
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY, content_type="text/x", x_amz_meta_colour="blue")
        tiny.on(
            "GetObject",
            lambda r: tiny.GetObject(r, "b/k").plus(("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")),
        )
        file = s3.open("b/k")
        with pytest.raises(UsageError, match="known inside"):
            _ = file.size
        with pytest.raises(UsageError, match="known inside"):
            _ = file.etag
        async with file:
            assert (file.size, file.etag, file.tell()) == (len(BODY), etag, 0)
            assert (file.content_type, file.metadata) == ("text/x", {"colour": "blue"})
            assert file.last_modified == datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
        assert file.size == len(BODY)
        assert asked(tiny) == [(0, OPENING)]


@pytest.mark.parametrize("text", ["", "nonsense", "2015-10-21"])
async def test_a_date_that_is_none(text: str) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: tiny.GetObject(r, "b/k").plus(("Last-Modified", text)))
        async with s3.open("b/k") as file:
            assert file.last_modified is None


async def test_what_is_not_there() -> None:
    entered = False
    async with store() as (s3, _):
        with pytest.raises(NotFound, match="NoSuchKey") as caught:
            async with s3.open("b/k"):
                entered = True
        assert caught.value.__context__ is None
        assert s3._session.places.taken == 0
    assert not entered


async def test_an_empty_object() -> None:
    """Its answer of 416 says nothing but that; so it is asked for once more, for what is known of it."""
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", b"", content_type="text/x")
        async with s3.open("b/k") as file:
            assert (file.size, file.etag, file.content_type) == (0, etag, "text/x")
            assert await file.read() == await file.read(5) == b""
            assert [block async for block in file] == []
            assert file.seek(7) == 7
            assert await file.read(1) == b""


@pytest.mark.parametrize("size", [1, OPENING - 1, OPENING, OPENING + 1, OPENING + PART, len(BODY)])
@pytest.mark.parametrize("step", [1, 777, PART, 60_000, -1])
async def test_every_size_in_every_step(size: int, step: int) -> None:
    size = min(size, OPENING + 1) if step == 1 else size  # byte by byte the rest takes long, and tells nothing new
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY[:size])
        async with s3.open("b/k", **RANGES) as file:
            blocks = []
            while block := await file.read(step):
                blocks.append(block)
            assert all(len(block) == step for block in blocks[:-1])
            assert b"".join(blocks) == BODY[:size]
            assert file.tell() == size
        covered = sorted(asked(tiny))
        assert sum(stop - start for start, stop in covered[1:]) == max(size - OPENING, 0)  # each byte once


async def test_blocks_are_the_callers_for_ever() -> None:
    """Buffers are used again; what was given out is not."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", part_size=1000, workers_count=2) as file:
            blocks = [block async for block in file]
            assert all(isinstance(block, bytes) for block in blocks)
            assert b"".join(blocks) == BODY
            assert file._memory.taken <= 2


async def test_reading_into_the_callers_memory() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            buffer = bytearray(30_000)
            assert await file.readinto(buffer) == 30_000
            assert buffer == BODY[:30_000]
            file.seek(-10, io.SEEK_END)
            assert await file.readinto(memoryview(buffer)[5:]) == 10
            assert buffer[5:15] == BODY[-10:]
            assert await file.readinto(buffer) == 0
            assert await file.readinto(bytearray()) == 0


@pytest.mark.parametrize(("offset", "whence"), [(-1, 0), (-1, 1), (-len(BODY) - 1, 2), (0, 3), (0, -1)])
async def test_seeks_that_go_nowhere(offset: int, whence: int) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            with pytest.raises(UsageError, match=r"seek\(\) goes to the beginning|whence must be"):
                file.seek(offset, whence)
            assert file.tell() == 0


OPERATIONS: Final = st.lists(
    st.tuples(st.just("read"), st.integers(-1, 30_000), st.just(0))
    | st.tuples(st.just("readinto"), st.integers(0, 30_000), st.just(0))
    | st.tuples(st.just("seek"), st.integers(0, 40_000), st.just(0))
    | st.tuples(st.just("seek"), st.integers(-4_000, 4_000), st.just(1))
    | st.tuples(st.just("seek"), st.integers(-33_000, 100), st.just(2)),
    max_size=12,
)


@pytest.mark.parametrize("anyio_backend", [ASYNCIO, TRIO], ids=["asyncio", "trio"], indirect=True)
@settings(derandomize=True, deadline=None, max_examples=25)
@given(OPERATIONS, st.integers(0, 33_000), st.integers(1, 6_000), st.integers(1, 4))
async def test_it_is_a_file(operations: list[tuple[str, int, int]], size: int, part_size: int, workers: int) -> None:
    """Whatever is done with it, it does what a file in memory does."""
    s3, model = MemoryS3(), io.BytesIO(BODY[:size])
    s3.put(OBJECT, BODY[:size])
    part_size = max(part_size, size // 50)  # a request for each byte would take longer than a test may
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        async with client.open(OBJECT, part_size=part_size, workers_count=workers) as file:
            for name, number, whence in operations:
                if name == "seek":
                    if number + [0, model.tell(), size][whence] >= 0:
                        assert file.seek(number, whence) == model.seek(number, whence)
                elif name == "read":
                    assert await file.read(number) == model.read(number)
                else:
                    mine, theirs = bytearray(number), bytearray(number)
                    assert await file.readinto(mine) == model.readinto(theirs)
                    assert mine == theirs
                assert file.tell() == model.tell()
                assert file._memory.taken <= workers
    assert not s3.answers


# -- Order, memory, read-ahead -----------------------------------------------------------------------------------------


async def test_in_order_whatever_comes_first() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        withheld = Withheld(tiny)
        got: list[bytes] = []

        async def read() -> None:
            async with s3.open("b/k", **RANGES) as file:
                got.append(await file.read(OPENING + 3 * PART))

        async with anyio.create_task_group() as group:
            group.start_soon(read)
            starts = await withheld.until(2)  # the opening takes a buffer, too, until it is passed
            for start in reversed(starts):
                withheld.let_go(start)
                await turns()
            tiny.hooks.clear()
            while not got:
                withheld.let_all_go()
                await checkpoint()
        assert got == [BODY[: OPENING + 3 * PART]]


async def bounded(workers: int = 3) -> None:
    """However much is wanted, only so many parts are asked for, until one is passed."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        withheld = Withheld(tiny)

        async def read(file: ObjectReader) -> None:
            await file.read()

        async with s3.open("b/k", part_size=PART, workers_count=workers) as file, anyio.create_task_group() as group:
            group.start_soon(read, file)
            starts = await withheld.until(workers)
            await turns()
            assert sorted(withheld.waiting) == starts
            assert len(starts) == workers
            assert tiny.peer.busy == workers
            assert max(stop for _, stop in asked(tiny)) - OPENING == workers * PART
            if workers > 1:
                withheld.let_go(max(starts))  # out of turn: it has to wait, with its buffer
                await turns()
                assert len(withheld.waiting) == workers - 1
            group.cancel_scope.cancel()


async def test_bounded_memory() -> None:
    await bounded()
    await bounded(1)


async def test_mutation_unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "free", True)
    with pytest.raises(ExceptionGroup) as caught:
        await bounded()
    assert caught.group_contains(AssertionError)


class Watched(bytearray):
    """A buffer of which is known whether it is still there."""

    made: ClassVar[list[weakref.ref[Watched]]] = []

    def __init__(self, size: int = 0) -> None:
        super().__init__(size)
        if size:
            self.made.append(weakref.ref(self))


def still_there() -> int:
    return sum(each() is not None for each in Watched.made)


async def left_in_memory(answer: Callable[[TinyS3, Request], Reply] | None) -> int:
    """Buffers that are there when the block is left, and no garbage was collected."""
    Watched.made.clear()
    gc.disable()
    try:
        async with store() as (s3, tiny):
            tiny.put("b/k", BODY)
            tiny.on("GetObject", None if answer is None else partial(answer, tiny))
            async with s3.open("b/k", **RANGES) as file:
                await file.read(60_000)
                file.seek(70_000)
                await file.read(10)
                await turns()
                assert still_there()
            await turns()
            return still_there()
    finally:
        gc.enable()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("ahead", "buffers"):
        monkeypatch.setattr(f"handtruck.transfer.{module}.bytearray", Watched, raising=False)


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("answer", [None, whole], ids=["ranges", "whole"])
async def test_memory_goes_with_the_block(answer: Callable[[TinyS3, Request], Reply] | None) -> None:
    """Though the reader may live on. Found: 32 MiB of each were left to the garbage collector."""
    assert await left_in_memory(answer) == 0


@pytest.mark.usefixtures("watched")
async def test_mutation_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Memory, "clear", lambda _: None)
    assert await left_in_memory(None)


async def test_who_does_not_read_gets_no_more_than_the_window() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            await turns()
            assert asked(tiny) == [(0, OPENING)]
            await file.read(100)  # a look at what it is
            await turns()
            assert asked(tiny) == [(0, OPENING)]
            await file.read(OPENING // 2)
            await tiny.peer.until(lambda: len(tiny.calls) == 3)
            await turns()
            assert sum(stop - start for start, stop in asked(tiny)) == OPENING + 2 * PART
            assert await file.read() == BODY[OPENING // 2 + 100 :]


async def small_reads() -> int:
    """Read a little here and there; gives the bytes that were asked for."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            for place in (90_000, 50_000, 70_000, 10_000, 30_000, 99_990):
                file.seek(place)
                assert await file.read(100) == BODY[place : place + 100]
                await turns()
        return sum(stop - start for start, stop in asked(tiny)[1:])


async def test_small_reads_ask_for_little() -> None:
    assert await small_reads() == 5 * LEAST + len(BODY) - 99_990


async def test_mutation_a_jump_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadAhead, "jump", lambda _: None)
    assert await small_reads() > 6 * PART


async def test_reading_on_after_a_jump_asks_for_more_and_more() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            file.seek(20_000)
            for _ in range(300):
                await file.read(200)
                behind = asked(tiny)[-1][1] - file.tell()
                assert behind <= 3 * PART
        lengths = [stop - start for start, stop in sorted(asked(tiny)[1:])]
        assert lengths[:2] == [LEAST, LEAST]
        assert lengths == sorted(lengths)
        assert lengths[-1] == PART


async def test_what_nobody_needs_is_cancelled() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            withheld = Withheld(tiny, after=0)
            async with anyio.create_task_group() as group:
                group.start_soon(file.read, OPENING + 100)
                await withheld.until(2)
                group.cancel_scope.cancel()
            tiny.hooks.clear()
            file.seek(50_000)
            assert await file.read(10) == BODY[50_000:50_010]
            await turns()
            assert s3._session.places.taken == 0
            assert file._memory.taken == 1


class TestReadAhead:
    """The policy by itself: it reads no clock and sends nothing."""

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.lists(st.integers(1, 20_000), max_size=30), st.integers(1, 10_000), st.integers(0, 50_000))
    def test_never_much_more_than_what_was_read(self, reads: list[int], part_size: int, place: int) -> None:
        policy = ReadAhead(part_size)
        policy.jump()
        position = requested = place
        for wanted in reads:
            while count := policy.next_request(position, wanted, requested):
                assert 0 < count <= part_size
                requested += count
            assert requested >= position + wanted
            vain = requested - (position + wanted)
            assert vain <= policy.run // 2 + max(policy.run, LEAST) + LEAST
            position += wanted
            policy.run += wanted

    def test_the_beginning(self) -> None:
        policy = ReadAhead(PART)
        assert policy.next_request(0, 100, OPENING) == 0
        assert policy.next_request(100, OPENING // 2, OPENING) == PART

    def test_whoever_wants_all(self) -> None:
        policy = ReadAhead(PART)
        policy.jump()
        policy.hurry()
        assert policy.next_request(50, 1, 10**9) == PART


# -- What goes wrong ---------------------------------------------------------------------------------------------------


async def replaced(kind: str) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            first = await file.read(1000)
            tiny.put("b/k", BODY[::-1])
            if kind == "ignored":
                tiny.on("GetObject", lambda r: _unconditional(tiny, r))
            with pytest.raises(PreconditionFailed, match="replaced while it was downloaded"):
                await file.read()
            assert file.tell() == len(first)
            with pytest.raises(PreconditionFailed):  # it is another object from now on
                await file.read(100)


def _unconditional(tiny: TinyS3, request: Request) -> Reply:
    request.headers = [pair for pair in request.headers if pair[0].lower() != "if-match"]
    return tiny.GetObject(request, "b/k")


@pytest.mark.parametrize("kind", ["refused", "ignored"])
async def test_the_object_is_replaced_meanwhile(kind: str) -> None:
    await replaced(kind)


async def test_mutation_etags_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.fetch.same_etag", lambda *_: True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await replaced("ignored")
    assert same_etag('"a"', '"a"')


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_range_goes_on_where_it_broke_off(then: Any) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: truncated(tiny.GetObject(r, "b/k"), 700, then), nth=1)
        tiny.on("GetObject", lambda r: truncated(tiny.GetObject(r, "b/k"), 1300, then), nth=3)
        async with s3.open("b/k", part_size=PART, workers_count=1) as file:
            assert await file.read(OPENING + PART) == BODY[: OPENING + PART]
        ranges = asked(tiny)
        assert ranges[0] == (0, OPENING)
        assert ranges[1][1] == OPENING
        assert ranges[2] == (OPENING, OPENING + PART)
        assert ranges[3][1] == OPENING + PART
        if then == "close":  # a reset may overtake bytes
            assert (ranges[1][0], ranges[3][0]) == (700, OPENING + 1300)


async def test_an_error_waits_until_a_read_comes_to_it() -> None:
    """What is ahead fails; the block goes on, and what lies before can be read."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        broken = error(403, "AccessDenied")
        tiny.on("GetObject", broken, nth=3)
        async with s3.open("b/k", **RANGES) as file:
            await file.read(OPENING)
            await tiny.peer.until(lambda: len(tiny.calls) >= 4)
            failing = asked(tiny)[2][0]
            await turns()
            assert await file.read(failing - OPENING) == BODY[OPENING:failing]
            with pytest.raises(Exception, match="AccessDenied") as caught:
                await file.read(1)
            assert type(caught.value).__name__ == "AccessDenied"
            assert file.tell() == failing
            assert await file.read() == BODY[failing:]  # another try


async def test_a_cancelled_read_moves_nothing() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            assert await file.read(10) == BODY[:10]
            withheld = Withheld(tiny, after=4)
            async with anyio.create_task_group() as group:
                group.start_soon(file.read)
                await withheld.until(1)
                await turns()
                group.cancel_scope.cancel()
            assert file.tell() == 10
            withheld.let_all_go()
            tiny.hooks.clear()
            assert await file.read() == BODY[10:]


async def test_two_readers_at_once() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/k", **RANGES) as file:
            withheld = Withheld(tiny, after=0)
            async with anyio.create_task_group() as group:
                group.start_soon(file.read)
                await withheld.until(1)
                for call in (file.read, partial(file.read, 0), file.__anext__, partial(file.readinto, bytearray(1))):
                    with pytest.raises(anyio.BusyResourceError, match="reading from"):
                        await call()
                with pytest.raises(anyio.BusyResourceError, match="reading from"):
                    file.seek(0)
                group.cancel_scope.cancel()


async def test_out_of_the_block() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        file = s3.open("b/k", **RANGES)
        with pytest.raises(UsageError, match="inside its"):
            await file.read()
        async with file:
            await file.read(5)
            await file.aclose()
            for call in (file.read, partial(file.read, 0), file.__anext__, partial(file.readinto, bytearray(1))):
                with pytest.raises(UsageError, match="inside its"):
                    await call()
            with pytest.raises(UsageError, match="inside its"):
                file.seek(0)
        with pytest.raises(UsageError, match="inside its"):
            await file.read()
        with pytest.raises(UsageError, match="entered once"):
            async with file:
                pass
        assert (file.size, file.tell()) == (len(BODY), 5)


async def test_a_read_under_way_when_the_block_ends() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        failures: list[BaseException] = []

        async def read(file: ObjectReader) -> None:
            try:
                await file.read()
            except UsageError as failure:
                failures.append(failure)

        async with anyio.create_task_group() as group, s3.open("b/k", **RANGES) as file:
            withheld = Withheld(tiny, after=0)
            group.start_soon(read, file)
            await withheld.until(1)
        assert len(failures) == 1


# -- What comes out of the block ---------------------------------------------------------------------------------------


def _with_cause() -> Exception:
    try:
        raise KeyError("the cause")
    except KeyError as cause:
        failure = ValueError("mine")
        failure.__cause__ = cause
        return failure


FAILURES: Final[list[Callable[[], BaseException]]] = [
    _with_cause,
    lambda: ExceptionGroup("mine", [ValueError("one"), ExceptionGroup("deep", [TypeError("two")])]),
    lambda: BaseExceptionGroup("mine", [KeyboardInterrupt()]),
    lambda: httpx.ReadError("mine"),
    lambda: NotFound("mine", status=404),
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
]


EVERY_BLOCK: Final = pytest.mark.parametrize("kind", ["ranges", "whole", "stream"])


async def read_and_raise(opened: ObjectReader | ObjectStream, failure: BaseException) -> None:
    async with opened as file:
        await file.read(3000)
        raise failure


@EVERY_BLOCK
@pytest.mark.parametrize("make", FAILURES, ids=lambda make: type(make()).__name__)
async def test_what_the_block_raises_comes_out_as_it_is(kind: str, make: Callable[[], BaseException]) -> None:
    failure = make()
    cause, context = failure.__cause__, failure.__context__

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(whole, tiny) if kind == "whole" else None)
        opened = s3.stream("b/k") if kind == "stream" else s3.open("b/k", **RANGES)
        with pytest.raises(type(failure)) as caught:
            await read_and_raise(opened, failure)
        assert caught.value is failure
        assert (failure.__cause__, failure.__context__) == (cause, context)
        assert not getattr(failure, "__notes__", ())
        assert s3._session.places.taken == 0


@EVERY_BLOCK
async def test_a_generator_that_is_closed_in_the_block(kind: str) -> None:
    closed: list[str] = []

    async def generator(s3: S3Client) -> AsyncIterator[bytes]:
        opened = s3.stream("b/k") if kind == "stream" else s3.open("b/k", **RANGES)
        async with opened as file:
            async for each in file:
                yield each
        closed.append("not reached")

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(whole, tiny) if kind == "whole" else None)
        blocks = generator(s3)
        assert BODY.startswith(await anext(blocks))
        await blocks.aclose()  # type: ignore[attr-defined]
        assert s3._session.places.taken == 0
    assert not closed


async def test_mutation_the_group_is_told_of_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a plain ``async with`` of a task group would."""

    async def leave(self: Companions, failure: BaseException | None) -> None:
        kind = None if failure is None else type(failure)
        await self._group.__aexit__(kind, failure, failure.__traceback__ if failure else None)

    monkeypatch.setattr(Companions, "leave", leave)
    with pytest.raises(ValueError, match="one"):  # taken out of the group that it was raised in
        await test_what_the_block_raises_comes_out_as_it_is("ranges", FAILURES[1])


# -- How it is left, and how it is asked for ---------------------------------------------------------------------------


async def left_with_requests_under_way() -> bool:
    """Whether the block could be left while answers are withheld."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        left = False
        with anyio.move_on_after(0.5):
            async with s3.open("b/k", **RANGES) as file:
                withheld = Withheld(tiny, after=0)
                await file.read(3000)
                await withheld.until(2)
            left = True
        return left


async def test_leaving_ends_what_is_under_way() -> None:
    assert await left_with_requests_under_way()


async def test_mutation_requests_are_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.window.Window.close", lambda _: None)
    assert not await left_with_requests_under_way()


async def test_arguments() -> None:
    async with store() as (s3, _):
        for arguments in ({"part_size": 0}, {"workers_count": 0}, {"part_tries": 0}):
            with pytest.raises(UsageError, match="must be at least 1, not 0"):
                s3.open("b/k", **arguments)  # type: ignore[call-overload]
        with pytest.raises(UsageError, match="names no object"):
            s3.open("b/")
        with pytest.raises(UsageError, match="Range header"):
            s3.open("b/k", headers={"Range": "bytes=0-1"})
        with pytest.raises(UsageError, match='mode must be "rb" or "wb", not \'r\''):
            s3.open("b/k", "r")  # type: ignore[call-overload]
        for option in ({"calculate_content_sha256": True}, {"calculate_content_sha256": False}, {"progress": print}):
            with pytest.raises(UsageError, match='= belongs to mode "wb"'):
                s3.open("b/k", **option)
            s3.open("b/k", "wb", **option)
        with pytest.raises(UsageError, match="part_size must be"):
            s3.open("b/k", "wb", part_size=1)
