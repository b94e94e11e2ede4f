"""Where an upload's bytes come from: a file read at offsets, memory, or a stream cut into parts as it comes.

A source yields pieces, in order, numbered from 1, the last one marked; an empty source yields one empty piece.

*Copies.* Bytes in memory are never copied, bytes of a stream once, into their part; what a block has too much for a
part waits as a view of it. The stream goes on only when the block is used up and the view is gone: many streams fill
one buffer again and again, and a buffer of which there are views cannot change its size.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, TypeGuard

import anyio
import anyio.from_thread
from anyio.lowlevel import checkpoint

from .._body import BytesBody, flat, hash_view
from .._session import GRACE
from .._tasks import in_thread
from ..errors import UsageError
from ..protocol.checksums import UNSIGNED_PAYLOAD
from ..protocol.parts import MIB, Part, fitting_part_size, growing_part_size, plan_parts
from .buffers import Buffers
from .workers import Closing

if TYPE_CHECKING:
    from .._session import Session
    from .files import SourceFile

BytesLike: TypeAlias = bytes | bytearray | memoryview

NOTHING: Final = memoryview(b"")

TURN: Final = MIB
"""Bytes that a stream may bring before others have their turn: a copy of that takes about 0.2 ms."""

AT_LEAST: Final = TURN // 256
"""What a block counts for in this, however small it is: 256 blocks take about as long as a copy."""


class Piece(Protocol):
    """A part that is to be sent."""

    @property
    def number(self) -> int:
        """From 1."""
        ...

    @property
    def last(self) -> bool:
        """Nothing comes after it."""
        ...

    async def load(self) -> BytesBody:
        """Its bytes, with their hash."""
        ...

    def release(self) -> None:
        """Give its memory back."""


@dataclass(slots=True)
class FilePiece:
    """Part of a file: read and hashed in one thread hop, when its turn has come."""

    session: Session
    source: SourceFile
    part: Part
    last: bool
    buffers: Buffers
    hashed: bool
    buffer: bytearray | None = None

    @property
    def number(self) -> int:
        """See :class:`Piece`."""
        return self.part.number

    async def load(self) -> BytesBody:
        """See :class:`Piece`."""
        self.buffer = self.buffers.take()
        view = memoryview(self.buffer)[: self.part.length]
        payload_hash = await in_thread(self._read, view, limiter=self.session.threads)
        return BytesBody(view, payload_hash)

    def _read(self, view: memoryview) -> str:
        self.source.read_into(view, self.part.offset)
        return hash_view(view) if self.hashed else UNSIGNED_PAYLOAD

    def release(self) -> None:
        """See :class:`Piece`."""
        if self.buffer is not None:
            self.buffers.give_back(self.buffer)
            self.buffer = None


async def file_pieces(
    session: Session, source: SourceFile, part_size: int, *, hashed: bool
) -> AsyncGenerator[FilePiece, None]:
    """The pieces of a file, as long as it was when it was opened."""
    buffers = Buffers(min(part_size, source.size))
    for part in _parts(source.size, part_size):
        last = part.offset + part.length == source.size
        yield FilePiece(session, source, part, last, buffers, hashed)


def _parts(size: int, part_size: int) -> Iterator[Part]:
    return plan_parts(size, part_size) if size else iter([Part(1, 0, 0)])


@dataclass(slots=True)
class MemoryPiece:
    """Part of a source whose bytes are in memory already."""

    session: Session
    number: int
    view: memoryview
    last: bool
    hashed: bool

    async def load(self) -> BytesBody:
        """See :class:`Piece`."""
        return await self.session.bytes_body(self.view, hashed=self.hashed)

    def release(self) -> None:
        """See :class:`Piece`."""
        self.view = NOTHING


def stream_pieces(
    session: Session, blocks: Blocks | memoryview, part_size: int, *, hashed: bool, grow: bool
) -> AsyncGenerator[MemoryPiece, None]:
    """The pieces of what :func:`blocks_of` gave."""
    if isinstance(blocks, memoryview):
        return bytes_pieces(session, blocks, part_size, hashed=hashed)
    return _collected(session, blocks, part_size, hashed=hashed, grow=grow)


async def bytes_pieces(
    session: Session, view: memoryview, part_size: int, *, hashed: bool
) -> AsyncGenerator[MemoryPiece, None]:
    """The pieces of bytes in memory: views of them."""
    size = len(view)
    for part in _parts(size, fitting_part_size(size, part_size)):
        stop = part.offset + part.length
        yield MemoryPiece(session, part.number, view[part.offset : stop], stop == size, hashed)


async def _collected(
    session: Session, blocks: Blocks, part_size: int, *, hashed: bool, grow: bool
) -> AsyncGenerator[MemoryPiece, None]:
    """The pieces of a stream. One byte beyond a piece must be seen to know that it is not the last."""
    data, more, number, last = bytearray(), True, 0, False
    async with Closing(blocks.aclose, GRACE):
        while not last:
            number += 1
            size = growing_part_size(number, part_size, grow=grow)
            more = more and await blocks.read(data, size + 1)
            rest = data[size:]
            del data[size:]
            last = not more and not rest
            yield MemoryPiece(session, number, memoryview(data), last, hashed)
            data = rest


class Blocks(Protocol):
    """A stream of bytes in blocks of its own choosing."""

    async def read(self, data: bytearray, wanted: int) -> bool:
        """Append to ``data`` until it has ``wanted`` bytes; False: there are no more."""
        ...

    async def aclose(self) -> None:
        """The stream is not needed any longer."""


def is_bytes(content: object) -> TypeGuard[BytesLike]:
    """All of it is in memory. Bytes are iterables too, of numbers; nobody means that."""
    return isinstance(content, bytes | bytearray | memoryview)


def size_of(content: object) -> int | None:
    """How many bytes the caller gave, where that is known before they are sent."""
    return memoryview(content).nbytes if is_bytes(content) else None


def blocks_of(session: Session, content: object) -> Blocks | memoryview:
    """Whatever the caller gave, as something to read block by block, or as the memory that it is in.

    Raises:
        UsageError: it is nothing that yields bytes.
    """
    if is_bytes(content):
        return flat(content)
    if isinstance(content, AsyncIterable):
        return AsyncBlocks(aiter(content))
    if isinstance(content, Iterable) and not isinstance(content, str):
        return ThreadBlocks(session, iter(content))
    raise UsageError(
        f"the content must be bytes, or a sync or async iterable of bytes, not {type(content).__name__}"
        "; files go by put_file and put_file_multipart"
    )


@dataclass(slots=True)
class Rest:
    """What has not been taken yet of the block that a stream gave last."""

    view: memoryview = NOTHING

    def move(self, data: bytearray, wanted: int) -> int:
        """Append some of it to ``data``, at most a turn's worth; gives how many bytes."""
        count = min(len(self.view), wanted - len(data), TURN)
        data += self.view[:count]
        self.view = self.view[count:] if count < len(self.view) else NOTHING
        return count


@dataclass(slots=True)
class AsyncBlocks:
    """An async iterable. Its generator, if it is one, is closed when we are done with it."""

    blocks: AsyncIterator[BytesLike]
    rest: Rest = field(default_factory=Rest)
    brought: int = 0

    async def read(self, data: bytearray, wanted: int) -> bool:
        """See :class:`Blocks`. A stream that never waits does not keep others waiting."""
        while len(data) < wanted:
            if not self.rest.view:
                try:
                    self.rest.view = _checked(await anext(self.blocks))
                except StopAsyncIteration:
                    return False
            self.brought += max(self.rest.move(data, wanted), AT_LEAST)
            if self.brought >= TURN:
                self.brought = 0
                await checkpoint()
        return True

    async def aclose(self) -> None:
        """See :class:`Blocks`."""
        self.rest.view = NOTHING
        if isinstance(self.blocks, AsyncGenerator):
            await self.blocks.aclose()


@dataclass(slots=True)
class ThreadBlocks:
    """A sync iterable: it may block, so it advances in a worker thread, many items a hop.

    It may block for as long as it likes, and may even wait for another call of the same client. So it takes none of
    the threads in which the session does its own work.
    """

    session: Session
    blocks: Iterator[BytesLike]
    rest: Rest = field(default_factory=Rest)
    thread: anyio.CapacityLimiter = field(default_factory=partial(anyio.CapacityLimiter, 1))

    async def read(self, data: bytearray, wanted: int) -> bool:
        """See :class:`Blocks`."""
        return await in_thread(self._read, data, wanted, limiter=self.thread)

    def _read(self, data: bytearray, wanted: int) -> bool:
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
