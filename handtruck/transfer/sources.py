"""Where an upload's bytes come from: a file read at offsets, or a stream of blocks cut into parts as it comes.

A source yields pieces, in order, numbered from 1, the last one marked; an empty source yields one empty piece.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeGuard

import anyio.from_thread

from .._body import BytesBody, flat, hash_view
from .._session import GRACE
from .._tasks import in_thread
from ..errors import UsageError
from ..protocol.checksums import UNSIGNED_PAYLOAD
from ..protocol.parts import Part, growing_part_size, plan_parts

if TYPE_CHECKING:
    from .._session import Session
    from .files import SourceFile

BytesLike: TypeAlias = bytes | bytearray | memoryview


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
class Buffers:
    """Memory for parts, used again and again."""

    size: int
    free: list[bytearray] = field(default_factory=list)

    def take(self) -> bytearray:
        """A buffer that nobody uses."""
        return self.free.pop() if self.free else bytearray(self.size)


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
            self.buffers.free.append(self.buffer)
            self.buffer = None


async def file_pieces(
    session: Session, source: SourceFile, part_size: int, *, hashed: bool
) -> AsyncGenerator[FilePiece, None]:
    """The pieces of a file, as long as it was when it was opened."""
    buffers = Buffers(min(part_size, source.size))
    parts = plan_parts(source.size, part_size) if source.size else iter([Part(1, 0, 0)])
    for part in parts:
        last = part.offset + part.length == source.size
        yield FilePiece(session, source, part, last, buffers, hashed)


@dataclass(slots=True)
class StreamPiece:
    """Part of a stream: its bytes are in memory already."""

    session: Session
    number: int
    data: bytearray
    last: bool
    hashed: bool

    async def load(self) -> BytesBody:
        """See :class:`Piece`."""
        return await self.session.bytes_body(memoryview(self.data), hashed=self.hashed)

    def release(self) -> None:
        """See :class:`Piece`."""
        self.data = bytearray()


async def stream_pieces(
    session: Session, blocks: Blocks, part_size: int, *, hashed: bool, grow: bool
) -> AsyncGenerator[StreamPiece, None]:
    """The pieces of a stream. One byte beyond a piece must be seen to know that it is not the last."""
    data, more, number = bytearray(), True, 0
    try:
        while True:
            number += 1
            size = growing_part_size(number, part_size, grow=grow)
            while more and len(data) <= size:
                more = await blocks.read(data, size + 1)
            rest = data[size:]
            del data[size:]
            last = not more and not rest
            yield StreamPiece(session, number, data, last, hashed)
            if last:
                return
            data = rest
    finally:
        with anyio.move_on_after(GRACE, shield=True):
            await blocks.aclose()


class Blocks(Protocol):
    """A stream of bytes in blocks of its own choosing."""

    async def read(self, data: bytearray, wanted: int) -> bool:
        """Append blocks to ``data``, at least one, up to ``wanted`` bytes in all; False: there are no more.

        Blocks are copied before the stream goes on: many streams fill one buffer again and again.
        """
        ...

    async def aclose(self) -> None:
        """The stream is not needed any longer."""


def is_bytes(content: object) -> TypeGuard[BytesLike]:
    """All of it is in memory. Bytes are iterables too, of numbers; nobody means that."""
    return isinstance(content, bytes | bytearray | memoryview)


def blocks_of(session: Session, content: object) -> Blocks:
    """Read whatever the caller gave, block by block.

    Raises:
        UsageError: it is nothing that yields bytes.
    """
    if is_bytes(content):
        return ThreadBlocks(session, iter([content]))
    if isinstance(content, AsyncIterable):
        return AsyncBlocks(aiter(content))
    if isinstance(content, Iterable) and not isinstance(content, str):
        return ThreadBlocks(session, iter(content))
    raise UsageError(
        f"the content must be bytes, or a sync or async iterable of bytes, not {type(content).__name__}"
        "; files go by put_file and put_file_multipart"
    )


@dataclass(slots=True)
class AsyncBlocks:
    """An async iterable. Its generator, if it is one, is closed when we are done with it."""

    blocks: AsyncIterator[BytesLike]

    async def read(self, data: bytearray, wanted: int) -> bool:
        """See :class:`Blocks`."""
        while len(data) < wanted:
            try:
                data += _checked(await anext(self.blocks))
            except StopAsyncIteration:
                return False
        return True

    async def aclose(self) -> None:
        """See :class:`Blocks`."""
        if isinstance(self.blocks, AsyncGenerator):
            await self.blocks.aclose()


@dataclass(slots=True)
class ThreadBlocks:
    """A sync iterable: it may block, so it advances in a worker thread, many items a hop."""

    session: Session
    blocks: Iterator[BytesLike]

    async def read(self, data: bytearray, wanted: int) -> bool:
        """See :class:`Blocks`."""
        return await in_thread(self._read, data, wanted, limiter=self.session.threads)

    def _read(self, data: bytearray, wanted: int) -> bool:
        for block in self.blocks:
            data += _checked(block)
            if len(data) >= wanted:
                return True
            anyio.from_thread.check_cancelled()
        return False

    async def aclose(self) -> None:
        """See :class:`Blocks`."""
        if isinstance(self.blocks, Generator):
            await in_thread(partial(self.blocks.close), limiter=self.session.threads)


def _checked(block: object) -> memoryview:
    if not is_bytes(block):
        raise UsageError(f"the content yielded {type(block).__name__} where bytes are expected")
    return flat(block)
