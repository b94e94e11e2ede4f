"""Downloads into what takes bytes in order: open files and async streams. All bytes, in order, of one version.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import codecs
import errno
import io
import tempfile
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.abc
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck.errors import ConnectionFailed, InvalidResponse, NotFound, PreconditionFailed, UsageError
from handtruck.models import DownloadResult, Progress
from handtruck.transfer import sinks
from handtruck.transfer.sinks import taker_of
from tests.scripted import Reply, Request, TinyS3, store, truncated
from tests.transfer.cancelling import (
    DATA,
    EVERY_WAY,
    ON_EVERY_LOOP,
    Lasting,
    World,
    at_every_checkpoint,
    left_behind,
    memory_client,
    not_our_error,
    not_the_cancellation,
    when_every_request_fails,
)
from tests.transfer.cancelling import PART as RANGE
from tests.transfer.resuming import BODY, OTHER, STEP, moved

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from handtruck import S3Client
    from tests.transfer.checkpoints import InlineThreads, Trial, Way

pytestmark = pytest.mark.anyio


class Raw(io.RawIOBase):
    """A raw file: it takes at most so many bytes at once, or None where it would block."""

    def __init__(self, most: int | None) -> None:
        self.most = most
        self.taken = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> Any:
        if self.most is None:
            return None
        self.taken += bytes(data[: self.most])
        return min(len(data), self.most)


class Plain:
    """Something with a ``write`` that says what it is made to say."""

    def __init__(self, says: Callable[[bytes], object]) -> None:
        self.says = says
        self.taken = bytearray()

    def write(self, data: bytes) -> Any:
        assert type(data) is bytes
        self.taken += data
        return self.says(data)


class Writer:
    """Something with an async ``write``."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.most = most
        self.taken = bytearray()

    async def write(self, data: bytes) -> int:
        await anyio.lowlevel.checkpoint()
        self.taken += data[: self.most]
        return min(len(data), self.most)


class Sender:
    """Something with an async ``send``, that keeps the blocks as they are."""

    def __init__(self, says: object = None) -> None:
        self.says = says
        self.blocks: list[bytes] = []

    async def send(self, item: bytes) -> object:
        await anyio.lowlevel.checkpoint()
        self.blocks.append(item)
        return self.says

    @property
    def taken(self) -> bytes:
        return b"".join(self.blocks)


async def get(s3: S3Client, sink: Any, **options: Any) -> DownloadResult:
    return await s3.download("b/k", sink, **{"part_size": STEP, "workers_count": 3, **options})


# -- Kinds of sinks ----------------------------------------------------------------------------------------------------

KINDS: Final[dict[str, Callable[[], Any]]] = {
    "raw, whole": lambda: Raw(1 << 30),
    "raw, short": lambda: Raw(7),
    "says how much": lambda: Plain(len),
    "says nothing": lambda: Plain(lambda _: None),
    "says something": lambda: Plain(lambda _: "fine"),
    "async write": lambda: Writer(),
    "async write, short": lambda: Writer(7),
    "async send": lambda: Sender(),
    "async send, says yes": lambda: Sender(says=True),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_kinds(kind: str) -> None:
    """Each gets all bytes, in order."""
    sink = KINDS[kind]()
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY)
        result = await get(s3, sink)
        assert result == DownloadResult(path=None, size=len(BODY), etag=etag)
        assert bytes(sink.taken) == BODY
        assert moved(tiny.sent("GetObject")) == len(BODY)


@pytest.mark.parametrize("size", [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP])
async def test_sizes(size: int) -> None:
    sink, told = io.BytesIO(), list[Progress]()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY[:size])
        result = await get(s3, sink, progress=told.append)
        assert (result.size, sink.getvalue()) == (size, BODY[:size])
        assert told[-1] == Progress(done=size, total=size)


async def test_an_open_file_is_written_to_where_it_is(tmp_path: Path) -> None:
    """And stays open, and what lies around it stays."""
    (tmp_path / "file").write_bytes(b"." * 2 * len(BODY))
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with (tmp_path / "file").open("r+b") as file:
            file.seek(10)
            await get(s3, file)
            assert file.tell() == 10 + len(BODY)
            file.write(b"after")
    expected = b"." * 10 + BODY + b"after"
    assert (tmp_path / "file").read_bytes() == expected + b"." * (2 * len(BODY) - len(expected))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


async def test_memory_is_written_to_where_it_is() -> None:
    sink = io.BytesIO(b"0123456789")
    sink.seek(4)
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await get(s3, sink)
    assert sink.getvalue() == b"0123" + BODY
    assert not sink.closed


@pytest.mark.parametrize("buffering", [-1, 0])
async def test_an_async_file(tmp_path: Path, buffering: int) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with await anyio.open_file(tmp_path / "file", "wb", buffering=buffering) as file:
            await file.write(b"before")
            await get(s3, file)
            await file.write(b"after")
    assert (tmp_path / "file").read_bytes() == b"before" + BODY + b"after"


async def test_an_async_file_that_takes_less() -> None:
    """Found: what a raw file had not taken was lost."""
    raw = Raw(7)
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await get(s3, anyio.wrap_file(cast("Any", raw)))
    assert raw.taken == BODY


async def test_an_anyio_stream() -> None:
    """Block by block, as fast as it is read, and it stays open."""
    send, receive = anyio.create_memory_object_stream[bytes](0)
    taken = bytearray()

    async def read() -> None:
        async with receive:
            async for block in receive:
                taken.extend(block)

    async with store() as (s3, tiny), anyio.create_task_group() as group:
        tiny.put("b/k", BODY)
        group.start_soon(read)
        async with send:
            await get(s3, send)
            await send.send(b"after")
    assert taken == BODY + b"after"


async def test_a_socket() -> None:
    taken, done = bytearray(), anyio.Event()

    async def read(client: anyio.abc.SocketStream) -> None:
        async with client:
            async for block in client:
                taken.extend(block)
        done.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's, no database's
    async with store() as (s3, tiny), listener, anyio.create_task_group() as group:
        tiny.put("b/k", BODY)
        group.start_soon(listener.serve, read)
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await get(s3, stream)
        await done.wait()
        group.cancel_scope.cancel()
    assert taken == BODY


async def test_another_object() -> None:
    """What ``open`` gives for ``"wb"``: a copy by way of here."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.open("b/copy", "wb") as writer:
            await get(s3, writer)
        assert tiny.objects["b/copy"].data == BODY


@pytest.mark.parametrize(
    "make",
    [
        io.StringIO,
        lambda: io.TextIOWrapper(io.BytesIO()),
        lambda: anyio.wrap_file(io.TextIOWrapper(io.BytesIO())),
        lambda: codecs.getwriter("utf-8")(io.BytesIO()),
        lambda: codecs.open("/dev/null", "w", "utf-8"),  # noqa: SIM115 - closed below
        lambda: tempfile.NamedTemporaryFile("w"),  # noqa: SIM115
    ],
    ids=["StringIO", "TextIOWrapper", "AsyncFile", "StreamWriter", "codecs.open", "NamedTemporaryFile"],
)
@pytest.mark.filterwarnings("ignore:codecs.open:DeprecationWarning")
async def test_text_is_refused(make: Callable[[], Any]) -> None:
    """Before anything is asked."""
    async with store() as (s3, tiny):
        sink = make()
        with pytest.raises(UsageError, match="text file"):
            await get(s3, sink)
        assert not tiny.calls
        close = getattr(sink, "wrapped", sink).close
        close()


@pytest.mark.parametrize(
    "sink", [None, 1, b"path", bytearray(9), object(), [], print], ids=lambda sink: type(sink).__name__
)
async def test_what_takes_nothing_is_refused(sink: object) -> None:
    async with store() as (s3, tiny):
        with pytest.raises(UsageError, match="target must be"):
            await get(s3, sink)
        assert not tiny.calls


@pytest.mark.parametrize(
    "sink",
    [Raw(None), Raw(0), Plain(lambda _: 0), Plain(lambda _: -1), Plain(lambda data: len(data) + 1)],
    ids=["would block", "raw 0", "0", "-1", "more"],
)
async def test_what_takes_nothing_at_all(sink: Any) -> None:
    """An error, and no endless loop."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(UsageError, match=r"write\(\)"):
            await get(s3, sink)


async def test_a_file_is_written_to_in_a_thread() -> None:
    """It may block."""
    import threading

    seen: set[int] = set()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await get(s3, Plain(lambda _: seen.add(threading.get_ident())))
    assert seen
    assert threading.get_ident() not in seen


async def test_what_fits_into_a_part_costs_one_request() -> None:
    """Found: two, because a reader opens with less than that."""
    async with store() as (s3, tiny):
        body = bytes(300_000)
        tiny.put("b/k", body)
        sink = Writer()
        await get(s3, sink, part_size=len(body))
        assert sink.taken == body
        assert tiny.names == ["GetObject"]


async def test_takers_by_themselves() -> None:
    async def take(sink: Any) -> None:
        taker = taker_of(sink)
        for block in (b"one", b"", b"two"):
            await taker.take(block)

    for make in KINDS.values():
        sink = make()
        async with anyio.create_task_group() as group:
            group.start_soon(take, sink)
        assert bytes(sink.taken) == b"onetwo"


async def test_a_write_that_waits_for_other_calls_of_the_same_client(tmp_path: Path) -> None:
    """More of them than the session has threads."""
    go_on, count = threading.Event(), 20
    waiting: list[int] = []
    source = tmp_path / "source"
    source.write_bytes(BODY)

    def wait(_: bytes) -> None:
        waiting.append(1)
        assert go_on.wait(10)

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(get, s3, Plain(wait))
            try:
                while len(waiting) < count:
                    await checkpoint()
                assert not s3._session.threads.borrowed_tokens
                await s3.upload("b/other", source)
            finally:
                go_on.set()
        assert tiny.objects["b/other"].data == BODY


# -- What goes wrong ---------------------------------------------------------------------------------------------------

ERRORS: Final[list[Callable[[], Exception]]] = [
    lambda: OSError(errno.ENOSPC, "mine"),
    lambda: BrokenPipeError("mine"),
    lambda: anyio.BrokenResourceError("mine"),
    lambda: anyio.ClosedResourceError(),
    lambda: httpx.ReadError("mine"),
    lambda: ConnectionFailed("mine"),
    lambda: InvalidResponse("mine"),
    lambda: PreconditionFailed("mine", status=412),
    lambda: NotFound("mine", status=404),
    lambda: ExceptionGroup("mine", [httpx.ReadError("mine")]),
    lambda: ZeroDivisionError("mine"),
]


class Breaking:
    """Takes some blocks, and then no more."""

    def __init__(self, failure: Exception, after: int) -> None:
        self.failure = failure
        self.after = after
        self.taken = bytearray()

    def take(self, data: bytes) -> None:
        if len(self.taken) >= self.after:
            raise self.failure
        self.taken += data


class BreakingFile(Breaking):
    def write(self, data: bytes) -> None:
        self.take(data)


class BreakingStream(Breaking):
    async def send(self, data: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.take(data)


@pytest.mark.parametrize("kind", [BreakingFile, BreakingStream])
@pytest.mark.parametrize("after", [0, 3 * STEP])
@pytest.mark.parametrize("make", ERRORS, ids=lambda make: type(make()).__name__)
async def test_what_a_sink_raises_comes_out_as_it_is(
    kind: type[Breaking], make: Callable[[], Exception], after: int
) -> None:
    failure = make()
    sink: Any = kind(failure, after)
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(type(failure)) as caught:
            await get(s3, sink)
        assert caught.value is failure
        assert (failure.__cause__, getattr(failure, "__notes__", [])) == (None, [])
        assert sink.taken == BODY[: len(sink.taken)]
        asked = [request.header("range") for request in tiny.sent("GetObject")]
        assert len(asked) == len(set(asked))
        assert not s3._session.places.taken


async def test_a_stream_whose_reader_has_gone() -> None:
    send, receive = anyio.create_memory_object_stream[bytes](0)
    receive.close()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(anyio.BrokenResourceError):
            await get(s3, send)
    send.close()


async def test_what_progress_raises_comes_out_as_it_is() -> None:
    failure, sink = ConnectionFailed("mine"), io.BytesIO()

    def progress(told: Progress) -> None:
        assert told.done == sink.tell()  # never ahead of the sink
        if told.done >= 2 * STEP:
            raise failure

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(ConnectionFailed) as caught:
            await get(s3, sink, progress=progress)
    assert caught.value is failure
    assert sink.getvalue() == BODY[: sink.tell()]


async def test_answers_that_break_off() -> None:
    """They go on where they broke, and the sink gets each byte once."""
    sink = io.BytesIO()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        for nth in (1, 2, 4):
            tiny.on("GetObject", lambda r: truncated(tiny.GetObject(r, "b/k"), 300), nth=nth)
        await get(s3, sink)
    assert sink.getvalue() == BODY


async def test_there_is_no_such_object() -> None:
    sink = io.BytesIO()
    async with store() as (s3, _):
        with pytest.raises(NotFound):
            await get(s3, sink)
    assert sink.getvalue() == b""


async def one_version(s3: S3Client, tiny: TinyS3) -> None:
    """The object is replaced when the sink has some of it: what the sink gets is of the first one."""
    sink = Plain(lambda _: tiny.put("b/k", OTHER) and None)
    tiny.put("b/k", BODY)
    try:
        await get(s3, sink, workers_count=1)
    except (PreconditionFailed, InvalidResponse, UsageError, ConnectionFailed):
        pass
    else:
        assert len(sink.taken) == len(BODY)
    assert BODY.startswith(bytes(sink.taken))


async def test_one_version() -> None:
    async with store() as (s3, tiny):
        await one_version(s3, tiny)
        assert len(tiny.sent("GetObject")) > 1


async def test_one_version_where_nothing_pins_it() -> None:
    """Without a strong ETag one answer brings all; if it breaks off, it cannot go on with another's bytes."""

    def weak(request: Request) -> Reply:
        reply = tiny.GetObject(request, "b/k").plus(("ETag", 'W/"weak"'))
        return truncated(reply, 2 * STEP) if request.header("range") is None else reply

    async with store() as (s3, tiny):
        tiny.on("GetObject", weak)
        await one_version(s3, tiny)


async def test_a_slow_sink_holds_everything_up() -> None:
    """No more is asked for than memory may hold."""
    free = anyio.Event()

    class Slow(Sender):
        async def send(self, item: bytes) -> object:
            await free.wait()
            return await super().send(item)

    sink = Slow()
    async with store() as (s3, tiny), anyio.create_task_group() as group:
        tiny.put("b/k", BODY)
        group.start_soon(partial(get, s3, sink, workers_count=2))
        await tiny.peer.until(lambda: len(tiny.calls) >= 2 and not tiny.peer.busy)
        for _ in range(50):
            await anyio.lowlevel.checkpoint()
        assert moved(tiny.sent("GetObject")) <= 3 * STEP
        free.set()
    assert sink.taken == BODY


# -- Cancelled, and failing, at every place ----------------------------------------------------------------------------

SINKS: Final = pytest.mark.parametrize("make", [lambda: Plain(len), Sender], ids=["file", "stream"])


@dataclass
class Filling(World):
    """A sink that a download is to fill."""

    sink: Any = field(kw_only=True)

    def left(self) -> list[str]:
        """What the sink took is the object's, too."""
        taken = bytes(self.sink.taken)
        return super().left() + ([] if taken == DATA[: len(taken)] else ["bytes that are not the object's"])


@asynccontextmanager
async def filling(make: Callable[[], Any], folder: Path, threads: InlineThreads) -> AsyncIterator[Filling]:
    async with memory_client() as (client, s3):
        s3.put("/b/k", DATA)
        here = Filling(s3, client, folder, threads, sink=make())
        here.begin()
        yield here


async def fill(here: Filling) -> DownloadResult:
    return await here.client.download("b/k", here.sink, part_size=RANGE, workers_count=2)


def less_than_all(here: Filling, trial: Trial) -> list[str]:
    return ["less than all"] if trial.kind is None and len(here.sink.taken) < len(DATA) else []


def after_cancellation(here: Filling, trial: Trial) -> list[str]:
    return left_behind(here, trial) + less_than_all(here, trial) + not_the_cancellation(trial)


def after_failure(here: Filling, trial: Trial) -> list[str]:
    return left_behind(here, trial) + less_than_all(here, trial) + not_our_error(trial)


@SINKS
@EVERY_WAY
@pytest.mark.usefixtures("may_block")
async def test_cancelled_at_every_checkpoint(
    make: Callable[[], Any], way: Way, tmp_path: Path, threads: InlineThreads
) -> None:
    points, wrong = await at_every_checkpoint(partial(filling, make, tmp_path, threads), fill, way, after_cancellation)
    assert not wrong
    assert points > 20


@SINKS
@ON_EVERY_LOOP
@pytest.mark.usefixtures("may_block")
async def test_every_request_fails(make: Callable[[], Any], tmp_path: Path, threads: InlineThreads) -> None:
    """And all that follow."""
    world = partial(filling, make, tmp_path, threads)
    _, wrong = await when_every_request_fails(world, fill, after_failure, lasting=[Lasting.ALL])
    assert not wrong


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def test_mutation_what_a_write_says_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sinks, "_rest", lambda *_: b"")
    for kind in ("raw, short", "async write, short"):
        with pytest.raises(AssertionError):
            await test_kinds(kind)


async def test_mutation_in_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def here(function: Callable[..., Any], *arguments: Any, limiter: object) -> Any:
        return function(*arguments)

    monkeypatch.setattr(sinks, "in_thread", here)
    with pytest.raises(AssertionError):
        await test_a_file_is_written_to_in_a_thread()


async def test_mutation_neither_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """No If-Match, and no ETag compared: bytes of two versions, and the check sees it."""
    from handtruck.protocol import operations

    right = operations.get_object

    def bare(location: Any, headers: operations.Headers, *query: Any) -> Any:
        return right(location, tuple(pair for pair in headers if pair[0] != "If-Match"), *query)

    monkeypatch.setattr(operations, "get_object", bare)
    monkeypatch.setattr("handtruck.transfer.fetch.same_etag", lambda *_: True)
    async with store() as (s3, tiny):
        with pytest.raises(AssertionError):
            await one_version(s3, tiny)


async def test_mutation_writes_take_the_sessions_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eight = anyio.CapacityLimiter(8)
    taker: Any = sinks._Taker
    monkeypatch.setattr(sinks, "_Taker", partial(taker, thread=eight))
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        await test_a_write_that_waits_for_other_calls_of_the_same_client(tmp_path)
