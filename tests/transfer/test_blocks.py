"""Files and streams as contents: read block by block from where they are, never closed, and honest about their size."""

from __future__ import annotations

import asyncio
import codecs
import gzip
import io
import mmap
import os
import socket
import sys
import tempfile
import threading
import zipfile
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import httpx
import pytest
import trio
from anyio.lowlevel import checkpoint
from anyio.streams.buffered import BufferedByteReceiveStream

import handtruck
from handtruck._tasks import in_thread, isolated
from handtruck.credentials import StaticCredentials
from handtruck.errors import UsageError
from handtruck.transfer import blocks, jobs
from handtruck.transfer.blocks import size_of
from tests.transfer.cancelling import (
    BY_ITS_OWN_SCOPE,
    OBJECT,
    ON_EITHER_ASYNCIO,
    PART,
    TRIO,
    Job,
    JobWorld,
    after_cancellation,
    at_every_checkpoint,
    world_of,
)
from tests.transfer.cancelling import DATA as SENT
from tests.transfer.memory_s3 import MemoryS3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from handtruck import Progress, S3Client
    from handtruck.transfer.buffers import Filling
    from tests.transfer.checkpoints import InlineThreads, Way

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small")]

MULTIPART: Final[dict[str, Any]] = {"part_size": PART, "workers_count": 2}
DATA: Final = b"a line\n" * 2000 + b"the last one"
"""Four parts."""


@pytest.fixture(name="s3")
async def _s3(anyio_backend: object) -> AsyncIterator[S3Client]:
    async with httpx.AsyncClient(transport=MemoryS3(), trust_env=False) as http:
        yield handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))


async def sent(s3: S3Client, content: Any, **arguments: Any) -> bytes:
    """What arrives of it, by either method."""
    await s3.put_multipart(OBJECT, content, **{**MULTIPART, **arguments})
    return (await s3.get(OBJECT)).content


def refusing(s3: S3Client, content: Any) -> Any:
    return s3.put_multipart(OBJECT, content, **MULTIPART)


# -- Files -------------------------------------------------------------------------------------------------------------


def _zipped(path: Path) -> Any:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", DATA)
    with zipfile.ZipFile(path) as archive:
        return archive.open("member")


def _zip_compressed(path: Path) -> Any:
    path.write_bytes(gzip.compress(DATA))
    return gzip.open(path, "rb")


def _on_disk(path: Path, **how: Any) -> Any:
    path.write_bytes(DATA)
    return path.open("rb", **how)


def _mapped(path: Path) -> Any:
    with _on_disk(path) as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _filled(file: Any) -> Any:
    file.write(DATA)
    file.seek(0)
    return file


class OnlyRead:
    """What other libraries call a file. It gives less or more than it is asked for, in a kind of its own."""

    def __init__(self, kind: Callable[[bytes], Any] = bytes, *, more: bool = False) -> None:
        self._more = more
        self._inner = io.BytesIO(DATA)
        self._kind = kind
        self.asked: list[int] = []
        self.threads: set[threading.Thread] = set()

    def read(self, size: int) -> Any:
        self.asked.append(size)
        self.threads.add(threading.current_thread())
        return self._kind(self._inner.read(size + 1000 if self._more else min(size, 1000)))

    def __iter__(self) -> Any:
        raise AssertionError("line by line")


FILES: Final[dict[str, Callable[[Path], Any]]] = {
    "BytesIO": lambda _: io.BytesIO(DATA),
    "open": _on_disk,
    "open, unbuffered": partial(_on_disk, buffering=0),
    "open, r+b": lambda path: (path.write_bytes(DATA), path.open("r+b"))[1],
    "gzip": _zip_compressed,
    "zip": _zipped,
    "mmap": _mapped,
    "TemporaryFile": lambda _: _filled(tempfile.TemporaryFile()),  # noqa: SIM115 - the test closes it
    "NamedTemporaryFile": lambda _: _filled(tempfile.NamedTemporaryFile()),  # noqa: SIM115 - the test closes it
    "SpooledTemporaryFile": lambda _: _filled(tempfile.SpooledTemporaryFile(100)),  # noqa: SIM115 - the test closes it
    "read": lambda _: OnlyRead(),
    "read, more": lambda _: OnlyRead(more=True),
    "read, bytearray": lambda _: OnlyRead(bytearray),
    "read, memoryview": lambda _: OnlyRead(memoryview),
}
EVERY_FILE: Final = pytest.mark.parametrize("kind", FILES)


@EVERY_FILE
async def test_files(kind: str, s3: S3Client, tmp_path: Path) -> None:
    """Read to their end, from where they are, and left open."""
    file = FILES[kind](tmp_path / "file")
    with ExitStack() as stack:
        if hasattr(file, "close"):
            stack.callback(file.close)
        assert await sent(s3, file) == DATA
        assert not file.read(1)
        if hasattr(file, "seek"):
            file.seek(5000)
            assert await sent(s3, file) == DATA[5000:]
            file.seek(len(DATA))
            response = await s3.put(OBJECT, file)
            assert response.status_code == 200
            assert (await s3.get(OBJECT)).content == b""
        assert not getattr(file, "closed", False)


async def test_never_line_by_line(s3: S3Client) -> None:
    """A file is asked for as much as is missing, at most a MiB at once."""
    file = OnlyRead()
    await sent(s3, file)
    assert file.asked[:2] == [PART + 1, PART + 1 - 1000]
    assert len(file.asked) < len(DATA) / 1000 + 10
    assert threading.main_thread() not in file.threads

    large = io.BytesIO(bytes(3 * blocks._BLOCK))
    asked: list[int] = []

    class Large:
        def read(self, size: int) -> bytes:
            asked.append(size)
            return large.read(size)

    await sent(s3, Large(), part_size=4 * blocks._BLOCK)
    assert asked == [blocks._BLOCK] * 4


async def test_a_pipe(s3: S3Client) -> None:
    """It gives what is there; a thread waits for the rest, and nobody else does."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as file, os.fdopen(writing, "wb", buffering=0) as other:

        async def feed() -> None:
            for start in range(0, len(DATA), 3000):
                await checkpoint()
                other.write(DATA[start : start + 3000])
            other.close()

        async with anyio.create_task_group() as group:
            group.start_soon(feed)
            assert await sent(s3, file) == DATA


async def test_a_file_that_waits_for_other_calls_of_the_same_client(s3: S3Client, tmp_path: Path) -> None:
    """More of them than the session has threads."""
    go_on, count = threading.Event(), 20
    waiting: list[int] = []
    (tmp_path / "file").write_bytes(DATA)

    class Waiting:
        def read(self, _: int) -> bytes:
            waiting.append(1)
            assert go_on.wait(10)
            return b""

    content: Any = Waiting()
    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(s3.put, f"/bucket/{number}", content)
        while len(waiting) < 8:
            await checkpoint()
        try:
            assert not s3._session.threads.borrowed_tokens
            await s3.put_file_multipart(OBJECT, tmp_path / "file", **MULTIPART)
        finally:
            go_on.set()


@pytest.mark.parametrize("after", [0, 5000])
async def test_errors_of_a_file_come_out_unchanged(after: int, s3: S3Client) -> None:
    raised = OSError(5, "the disk is gone")

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() >= after:
                raise raised
            return super().read(size)

    file = Broken(DATA)
    for send in (s3.put_multipart, s3.put):
        file.seek(0)
        with pytest.raises(OSError, match="gone") as caught:
            await send(OBJECT, file)
        assert caught.value is raised
        assert not file.closed
    file.close()
    with pytest.raises(ValueError, match="closed file"):
        await refusing(s3, file)


async def test_a_file_that_does_not_block(s3: S3Client) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as file, os.fdopen(writing, "wb", buffering=0) as other:
        other.write(b"some")
        with pytest.raises(UsageError, match="does not block"):
            await refusing(s3, file)


@pytest.mark.parametrize("kind", ["open", "StringIO", "codecs", "SpooledTemporaryFile", "AsyncFile"])
async def test_text(kind: str, s3: S3Client, tmp_path: Path) -> None:
    """Named, with what to do; nothing is sent."""
    (tmp_path / "file").write_text("text")
    with ExitStack() as stack:
        opened = stack.enter_context((tmp_path / "file").open(encoding="utf-8"))
        spooled = stack.enter_context(tempfile.SpooledTemporaryFile(mode="w+"))
        spooled.write("text")
        spooled.seek(0)
        binary = stack.enter_context((tmp_path / "file").open("rb"))
        file = {
            "open": opened,
            "StringIO": io.StringIO("text"),
            "codecs": codecs.getreader("utf-8")(binary),
            "SpooledTemporaryFile": spooled,
            "AsyncFile": anyio.wrap_file(opened),
        }[kind]
        with pytest.raises(UsageError, match='open as text; open it as binary, with mode "rb"'):
            await refusing(s3, file)
    assert (await s3.get(OBJECT)).status_code == 404


async def test_what_only_looks_like_a_file(s3: S3Client) -> None:
    """An HTTP answer reads everything at once; a socket is none of ours; a ``read`` that is late to say it is async."""

    async def read(size: int) -> bytes:
        return bytes(size)

    class Late:
        def read(self, size: int) -> Any:
            return read(size)

    with socket.socket() as raw:
        for content in (httpx.Response(200, content=DATA), raw, object()):
            with pytest.raises(UsageError, match="must be bytes"):
                await refusing(s3, content)
    with pytest.raises(UsageError, match="Late gave coroutine where bytes are expected"):
        await refusing(s3, Late())
    with pytest.raises(UsageError, match="OnlyRead gave list where bytes are expected"):
        await refusing(s3, OnlyRead(list))


# -- Async files and receive streams -----------------------------------------------------------------------------------


class AsyncRead:
    """As of aiofiles: its lines are what an ``async for`` gives."""

    def __init__(self, most: int = 1000) -> None:
        self._inner = io.BytesIO(DATA)
        self._most = most
        self.closed = False

    async def read(self, size: int = -1) -> bytes:
        return self._inner.read(min(size, self._most) if self._most else None)

    def __aiter__(self) -> Any:
        raise AssertionError("line by line")

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("most", [7, 1000, 0], ids=["a few", "some", "more than it was asked for"])
async def test_an_async_read(most: int, s3: S3Client) -> None:
    file = AsyncRead(most)
    assert await sent(s3, file) == DATA
    assert not file.closed


async def test_async_reads_that_never_wait_let_others_have_their_turn(s3: S3Client) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await sent(s3, AsyncRead(7), part_size=10 * PART)
        group.cancel_scope.cancel()
    assert turns > len(DATA) / 7 / 256


async def test_a_file_of_anyio(s3: S3Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    async with await anyio.open_file(tmp_path / "file", "rb") as file:
        await file.seek(7)
        assert await sent(s3, file) == DATA[7:]
        assert await file.tell() == len(DATA)


@pytest.mark.parametrize("anyio_backend", [TRIO], ids=["trio"], indirect=True)
async def test_a_file_of_trio(s3: S3Client, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    async with await trio.open_file(tmp_path / "file", "rb") as file:
        assert await sent(s3, file) == DATA
        assert not file.closed


@ON_EITHER_ASYNCIO
async def test_a_stream_of_asyncio(s3: S3Client) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(DATA)
    reader.feed_eof()
    assert await sent(s3, reader) == DATA


class OnlyReceive:
    """A receive stream that is no iterable."""

    def __init__(self, size: int) -> None:
        self._blocks = [DATA[start : start + size] for start in range(0, len(DATA), size)]
        self.closed = False

    async def receive(self) -> bytes:
        if not self._blocks:
            raise anyio.EndOfStream
        return self._blocks.pop(0)

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.parametrize("size", [1000, len(DATA)])
async def test_receive_streams(size: int, s3: S3Client) -> None:
    """Of bytes, of whatever make; they are the caller's to close."""
    only = OnlyReceive(size)
    assert await sent(s3, only) == DATA
    assert not only.closed

    for wrap in (lambda stream: stream, BufferedByteReceiveStream):
        sending, receiving = anyio.create_memory_object_stream[bytes](100)
        with sending, receiving:
            for block in OnlyReceive(size)._blocks:
                sending.send_nowait(block)
            sending.close()
            assert await sent(s3, wrap(receiving)) == DATA
            assert receiving.statistics().open_receive_streams == 1


async def test_a_receive_stream_of_something_else(s3: S3Client) -> None:
    sending, receiving = anyio.create_memory_object_stream[str](1)
    with sending, receiving:
        sending.send_nowait("text")
        with pytest.raises(UsageError, match="yielded str where bytes are expected"):
            await refusing(s3, receiving)


# -- Sizes -------------------------------------------------------------------------------------------------------------


async def size(s3: S3Client, content: object) -> int | None:
    return await isolated(partial(size_of, s3._session, content))


@EVERY_FILE
async def test_the_size_is_right_or_unknown(kind: str, s3: S3Client, tmp_path: Path) -> None:
    known = ("BytesIO", "open", "open, r+b", "TemporaryFile")
    file = FILES[kind](tmp_path / "file")
    with ExitStack() as stack:
        if hasattr(file, "close"):
            stack.callback(file.close)
        assert await size(s3, file) == (len(DATA) if kind in known else None)
        if hasattr(file, "seek"):
            file.seek(5)
            assert await size(s3, file) == (len(DATA) - 5 if kind in known else None)


async def test_sizes_of_what_is_no_ordinary_file(s3: S3Client, tmp_path: Path) -> None:
    assert await size(s3, b"123") == await size(s3, memoryview(b"123")) == 3
    assert await size(s3, memoryview(bytes(8)).cast("I")) == 8
    assert await size(s3, iter([b"123"])) is None
    beyond = io.BytesIO(b"123")
    beyond.seek(10)
    assert await size(s3, beyond) == 0
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert await size(s3, pipe) is None
    file = _on_disk(tmp_path / "file")
    file.close()
    assert await size(s3, file) is None
    if sys.platform == "linux":
        with Path("/proc/self/status").open("rb") as status:
            assert await size(s3, status) is None
            assert (await sent(s3, status)).startswith(b"Name:")


@pytest.mark.parametrize("said", [0, 1, PART, PART + 1, 2 * PART, len(DATA) - 1, len(DATA), len(DATA) + 1, 10**6])
async def test_progress_whatever_was_said_before(said: int, s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is never further than all of it, goes up, and ends with what there was."""

    async def wrong(*_: object) -> int:
        return said

    monkeypatch.setattr(jobs, "size_of", wrong)
    told: list[Progress] = []
    for workers in (1, 3):
        told.clear()
        await sent(s3, io.BytesIO(DATA), progress=told.append, workers_count=workers)
        assert all(progress.total is None or progress.done <= progress.total for progress in told)
        assert all(before.done < after.done for before, after in pairwise(told))
        assert (told[-1].done, told[-1].total) == (len(DATA), len(DATA))
        assert all(progress.total in (None, said, len(DATA)) for progress in told)


async def test_progress_of_a_file_that_grows(s3: S3Client, tmp_path: Path) -> None:
    """And its size is known from the beginning."""
    path = tmp_path / "file"
    with _on_disk(path) as file, path.open("ab") as more:
        told: list[Progress] = []

        def grow(progress: Progress) -> None:
            told.append(progress)
            if len(told) == 1:
                more.write(DATA)
                more.flush()

        assert (await sent(s3, file, progress=grow, workers_count=1)) == DATA * 2
    assert told[0].total == len(DATA)
    assert all(progress.total is None or progress.done <= progress.total for progress in told)
    assert told[-1].total == len(DATA) * 2


async def test_without_progress_nobody_asks_for_the_size(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(jobs, "size_of")
    assert await sent(s3, io.BytesIO(DATA)) == DATA


# -- Cancelled ---------------------------------------------------------------------------------------------------------


async def _file(here: JobWorld) -> None:
    file = io.BytesIO(SENT)
    try:
        await here.client.put_multipart(OBJECT, file, progress=lambda _: None, **MULTIPART)
    finally:
        assert not file.closed


async def _async_file(here: JobWorld) -> None:
    async with await anyio.open_file(here.source, "rb") as file:
        await here.client.put_multipart(OBJECT, file, **MULTIPART)


async def _receive_stream(here: JobWorld) -> None:
    sending, receiving = anyio.create_memory_object_stream[bytes](100)
    with sending, receiving:
        sending.send_nowait(SENT)
        sending.close()
        await here.client.put_multipart(OBJECT, receiving, **MULTIPART)


@pytest.mark.parametrize("call", [_file, _receive_stream], ids=["file", "receive stream"])
@BY_ITS_OWN_SCOPE
async def test_cancelled_at_every_checkpoint(call: Any, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    world = partial(world_of, Job("", call), tmp_path, threads)
    points, wrong = await at_every_checkpoint(world, call, way, after_cancellation)
    assert not wrong
    assert points > 20


async def test_cancelled_while_a_file_is_read(s3: S3Client) -> None:
    """The call waits for the thread: the file is the caller's again when it comes back."""
    busy, go_on = threading.Event(), threading.Event()
    reads: list[str] = []

    class Slow:
        def read(self, size: int) -> bytes:
            busy.set()
            assert go_on.wait(10)
            reads.append("done")
            return bytes(size)

    async with anyio.create_task_group() as group:

        async def put() -> None:
            try:
                await sent(s3, Slow())
            finally:
                reads.append("came back")

        group.start_soon(put)
        while not busy.is_set():
            await checkpoint()
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for _ in range(50):
                await checkpoint()
            assert not reads
            go_on.set()
    assert reads == ["done", "came back"]


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def test_mutation_files_are_iterables(s3: S3Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_reads", lambda _: False)
    with pytest.raises(AssertionError, match="line by line"):
        await test_never_line_by_line(s3)


async def test_mutation_files_are_closed(s3: S3Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def aclose(self: blocks.FileBlocks) -> None:
        self.file.close()  # type: ignore[attr-defined]

    monkeypatch.setattr(blocks.FileBlocks, "aclose", aclose)
    with pytest.raises(ValueError, match="closed"):
        await test_files("BytesIO", s3, tmp_path)


async def test_mutation_what_was_said_is_believed(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_measured", lambda pieces, _: pieces)
    with pytest.raises(AssertionError):
        await test_progress_whatever_was_said_before(PART, s3, monkeypatch)


async def test_mutation_files_take_the_sessions_threads(
    s3: S3Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(self: blocks.FileBlocks, data: Filling, wanted: int) -> bool:
        return await in_thread(self._read, data, wanted, limiter=s3._session.threads)

    monkeypatch.setattr(blocks.FileBlocks, "read", read)
    with pytest.raises(ExceptionGroup):
        await test_a_file_that_waits_for_other_calls_of_the_same_client(s3, tmp_path)
