"""Streams of bytes, whatever the caller gave: read block by block, straight into the part that is being collected.

============================================  ==================================================================
bytes, bytearray, memoryview                  sent from where they are
a binary file: ``read(n)`` gives bytes        in a worker thread, from its position on, never line by line
an async file: ``read(n)`` is ``async``       anyio's, aiofiles', our own reader; from its position on
an async iterable                             in one task; anyio's receive streams are such, too
``async receive()`` until EndOfStream         as an async iterable
a sync iterable                               in a worker thread, many items a hop
============================================  ==================================================================

Files are iterables, too, of lines: so they are recognized first. What the caller opened is his to close; only
generators are closed, because nobody else can.
"""

from __future__ import annotations

import inspect
import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeGuard

import anyio
import anyio.from_thread
from anyio.lowlevel import checkpoint

from .._body import flat
from .._tasks import in_thread, own_thread
from ..errors import UsageError
from ..protocol.parts import MIB

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from .._session import Session
    from .buffers import Filling

BytesLike: TypeAlias = bytes | bytearray | memoryview

NOTHING: Final = memoryview(b"")

TURN: Final = MIB
"""Bytes that a stream may bring before others have their turn: a copy of that takes about 0.2 ms."""

AT_LEAST: Final = TURN // 256
"""What a block counts for in this, however small it is: 256 blocks take about as long as a copy."""

_BLOCK: Final = MIB
"""What a file is asked for at once: between blocks a cancellation ends it."""


class BinaryFile(Protocol):
    """An open file, or what reads like one."""

    def read(self, size: int, /) -> BytesLike | None:
        """At most ``size`` bytes; none at the end."""
        ...


class AsyncBinaryFile(Protocol):
    """A file whose ``read`` is to be awaited."""

    def read(self, size: int, /) -> Awaitable[BytesLike | None]:
        """At most ``size`` bytes; none at the end."""
        ...


class Receiver(Protocol):
    """What anyio calls a receive stream."""

    def receive(self) -> Awaitable[BytesLike]:
        """The next block; raises :class:`anyio.EndOfStream` at the end."""
        ...


class Blocks(ABC):
    """A stream of bytes in blocks of its own choosing."""

    __slots__ = ()

    @abstractmethod
    async def read(self, data: Filling, wanted: int) -> bool:
        """Append to ``data`` until it has ``wanted`` bytes; False: there are no more."""

    @abstractmethod
    async def aclose(self) -> None:
        """The stream is not needed any longer."""


def is_bytes(content: object) -> TypeGuard[BytesLike]:
    """All of it is in memory. Bytes are iterables too, of numbers; nobody means that."""
    return isinstance(content, bytes | bytearray | memoryview)


def blocks_of(session: Session, content: object) -> Blocks | memoryview:
    """Whatever the caller gave, as something to read block by block, or as the memory that it is in.

    The kinds are those of the table above, looked for in this order.

    Raises:
        UsageError: it is nothing that yields bytes; a file is open as text.
    """
    if isinstance(content, Blocks):
        return content
    if is_bytes(content):
        return flat(content)
    if isinstance(content, io.TextIOBase):
        raise UsageError(f'{_name_of(content)} is open as text; open it as binary, with mode "rb"')
    file: Any = content
    if _reads(file):
        if inspect.iscoroutinefunction(file.read):
            return AsyncFileBlocks(file)
        if not isinstance(content, AsyncIterable):
            return FileBlocks(file)
    if isinstance(content, AsyncIterable):
        return AsyncBlocks(aiter(content))
    if inspect.iscoroutinefunction(getattr(file, "receive", None)):
        return AsyncBlocks(_Received(file))
    if isinstance(content, Iterable) and not isinstance(content, str):
        return ThreadBlocks(session, iter(content))
    raise UsageError(
        f"the content must be bytes, or a sync or async iterable of bytes, or a binary file, not "
        f"{type(content).__name__}; paths go by put_file and put_file_multipart"
    )


def _reads(content: Any) -> bool:
    """It has a ``read`` that takes a number. That of an HTTP answer takes none, and gives everything at once."""
    read = getattr(content, "read", None)
    if not callable(read):
        return False
    try:
        inspect.signature(read).bind(1)
    except TypeError:
        return False
    except ValueError:  # written in C, and it does not say
        return True
    return True


def _name_of(file: object) -> str:
    name = getattr(file, "name", None)
    return repr(name) if isinstance(name, str) else type(file).__name__


async def size_of(session: Session, content: object) -> int | None:
    """How many bytes the caller gave, where that is known before they are sent.

    Of a file it is what is left in it now: it may grow or shrink meanwhile. A wrong number would be worse than none,
    so only memory and regular files are believed, and nothing that unpacks or wraps them; nor a size of 0, which the
    files of /proc claim to have. To be called inside :func:`handtruck._tasks.isolated`.
    """
    if is_bytes(content):
        return memoryview(content).nbytes
    if type(content) is io.BytesIO:
        return max(len(content.getbuffer()) - content.tell(), 0)
    if type(content) in (io.BufferedReader, io.BufferedRandom) and type(getattr(content, "raw", None)) is io.FileIO:
        return await in_thread(_left_in, content, limiter=session.threads)
    return None


def _left_in(file: Any) -> int | None:
    try:
        status = os.fstat(file.fileno())
        left: int = status.st_size - file.tell()
    except (OSError, ValueError):  # closed, or it cannot tell: reading will say what is wrong, if anything is
        return None
    return left if stat.S_ISREG(status.st_mode) and left > 0 else None


@dataclass(slots=True)
class Turns:
    """When a stream that never waits is to let others have their turn."""

    brought: int = 0

    def due(self, count: int) -> bool:
        """After ``count`` bytes more it is time for a checkpoint."""
        self.brought += max(count, AT_LEAST)
        if self.brought < TURN:
            return False
        self.brought = 0
        return True


@dataclass(slots=True)
class Rest:
    """What has not been taken yet of the block that a stream gave last."""

    view: memoryview = NOTHING

    def move(self, data: Filling, wanted: int) -> int:
        """Append some of it to ``data``, at most a turn's worth; gives how many bytes."""
        count = min(len(self.view), wanted - len(data), TURN)
        data += self.view[:count]
        self.view = self.view[count:] if count < len(self.view) else NOTHING
        return count


@dataclass(slots=True)
class AsyncBlocks(Blocks):
    """An async iterable. Its generator, if it is one, is closed when we are done with it."""

    blocks: AsyncIterator[BytesLike]
    rest: Rest = field(default_factory=Rest)
    turns: Turns = field(default_factory=Turns)

    async def read(self, data: Filling, wanted: int) -> bool:
        """See :class:`Blocks`. A stream that never waits does not keep others waiting."""
        while len(data) < wanted:
            if not self.rest.view:
                try:
                    self.rest.view = _checked(await anext(self.blocks))
                except StopAsyncIteration:
                    return False
            if self.turns.due(self.rest.move(data, wanted)):
                await checkpoint()
        return True

    async def aclose(self) -> None:
        """See :class:`Blocks`."""
        self.rest.view = NOTHING
        if isinstance(self.blocks, AsyncGenerator):
            await self.blocks.aclose()


class _Received:
    """The blocks of a receive stream that is no iterable."""

    def __init__(self, stream: Receiver) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[BytesLike]:
        return self

    async def __anext__(self) -> BytesLike:
        try:
            return await self._stream.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None


@dataclass(slots=True)
class AsyncFileBlocks(Blocks):
    """A file whose ``read`` is to be awaited. It stays open."""

    file: AsyncBinaryFile
    rest: Rest = field(default_factory=Rest)
    turns: Turns = field(default_factory=Turns)

    async def read(self, data: Filling, wanted: int) -> bool:
        """See :class:`Blocks`."""
        while len(data) < wanted:
            if not self.rest.view:
                self.rest.view = _read_from(self.file, await self.file.read(min(wanted - len(data), _BLOCK)))
                if not self.rest.view:
                    return False
            if self.turns.due(self.rest.move(data, wanted)):
                await checkpoint()
        return True

    async def aclose(self) -> None:
        """See :class:`Blocks`: the file is the caller's."""
        self.rest.view = NOTHING


@dataclass(slots=True)
class FileBlocks(Blocks):
    """A file, read in a worker thread, a hop for each part. It stays open."""

    file: BinaryFile
    rest: Rest = field(default_factory=Rest)
    thread: anyio.CapacityLimiter = field(default_factory=own_thread)

    async def read(self, data: Filling, wanted: int) -> bool:
        """See :class:`Blocks`."""
        return await in_thread(self._read, data, wanted, limiter=self.thread)

    def _read(self, data: Filling, wanted: int) -> bool:
        while len(data) < wanted:
            if not self.rest.view:
                self.rest.view = _read_from(self.file, self.file.read(min(wanted - len(data), _BLOCK)))
                if not self.rest.view:
                    return False
            self.rest.move(data, wanted)
            anyio.from_thread.check_cancelled()
        return True

    async def aclose(self) -> None:
        """See :class:`Blocks`: the file is the caller's."""
        self.rest.view = NOTHING


@dataclass(slots=True)
class ThreadBlocks(Blocks):
    """A sync iterable: it may block, so it advances in a worker thread, many items a hop."""

    session: Session
    blocks: Iterator[BytesLike]
    rest: Rest = field(default_factory=Rest)
    thread: anyio.CapacityLimiter = field(default_factory=own_thread)

    async def read(self, data: Filling, wanted: int) -> bool:
        """See :class:`Blocks`."""
        return await in_thread(self._read, data, wanted, limiter=self.thread)

    def _read(self, data: Filling, wanted: int) -> bool:
        while len(data) < wanted:
            if not self.rest.view:
                try:
                    self.rest.view = _checked(next(self.blocks))
                except StopIteration:
                    return False
            self.rest.move(data, wanted)
            anyio.from_thread.check_cancelled()
        return True

    async def aclose(self) -> None:
        """See :class:`Blocks`."""
        self.rest.view = NOTHING
        if isinstance(self.blocks, Generator):
            await in_thread(self.blocks.close, limiter=self.thread)


def _checked(block: object) -> memoryview:
    if not is_bytes(block):
        raise UsageError(f"the content yielded {type(block).__name__} where bytes are expected")
    return flat(block)


def _read_from(file: object, block: object) -> memoryview:
    """What a file's ``read`` gave: it may be more than it was asked for."""
    if is_bytes(block):
        return flat(block)
    name = _name_of(file)
    if block is None:
        raise UsageError(f"{name} has nothing to read now: it does not block; open it so that it does")
    if isinstance(block, str):
        raise UsageError(f'{name} is open as text; open it as binary, with mode "rb"')
    if inspect.iscoroutine(block):
        block.close()
    raise UsageError(f"read() of {name} gave {type(block).__name__} where bytes are expected")
