"""Where an upload's bytes come from: a file read at offsets, memory, or a stream cut into parts as it comes.

A source yields pieces, in order, numbered from 1, the last one marked; an empty source yields one empty piece.

*Copies.* Bytes in memory are never copied, bytes of a stream once, into their part; what a block has too much for a
part waits as a view of it. The stream goes on only when the block is used up and the view is gone: many streams fill
one buffer again and again, and a buffer of which there are views cannot change its size. Parts are collected in buffers
that are used again, too, when they were sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from .._attempt import GRACE
from .._body import BytesBody, SummedBody, hash_view, sum_view
from .._tasks import in_thread
from ..protocol.checksums import UNSIGNED_PAYLOAD
from ..protocol.parts import Part, fitting_part_size, growing_part_size, plan_parts
from .blocks import NOTHING, AsyncBlocks, Blocks, BytesLike, blocks_of, is_bytes, size_of
from .buffers import Buffers, Filling
from .workers import Closing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from .._session import Session
    from ..models import Checksum, ChecksumAlgorithm
    from .files import SourceFile

__all__ = (
    "AsyncBlocks",
    "BytesLike",
    "FilePiece",
    "MemoryPiece",
    "Piece",
    "blocks_of",
    "bytes_pieces",
    "file_pieces",
    "is_bytes",
    "size_of",
    "stream_pieces",
)


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
    """Part of a file: read, hashed and summed in one thread hop, when its turn has come."""

    session: Session
    source: SourceFile
    part: Part
    last: bool
    buffers: Buffers
    hashed: bool
    algorithm: ChecksumAlgorithm | None = None
    buffer: memoryview | None = None
    checksum: Checksum | None = None

    @property
    def number(self) -> int:
        """See :class:`Piece`."""
        return self.part.number

    async def load(self) -> BytesBody:
        """See :class:`Piece`."""
        self.buffer = self.buffers.take()
        view = self.buffer[: self.part.length]
        payload_hash = await in_thread(self._read, view, limiter=self.session.threads)
        if self.checksum is not None:
            return SummedBody(view, payload_hash, self.checksum, threads=self.session.threads)
        return BytesBody(view, payload_hash, threads=self.session.threads)

    def _read(self, view: memoryview) -> str:
        self.source.read_into(view, self.part.offset)
        if self.algorithm is not None:
            self.checksum = sum_view(view, self.algorithm)
        return hash_view(view) if self.hashed else UNSIGNED_PAYLOAD

    def release(self) -> None:
        """See :class:`Piece`."""
        if self.buffer is not None:
            self.buffers.give_back(self.buffer)
            self.buffer = None


async def file_pieces(
    session: Session,
    source: SourceFile,
    part_size: int,
    *,
    hashed: bool,
    algorithm: ChecksumAlgorithm | None = None,
) -> AsyncGenerator[FilePiece, None]:
    """The pieces of a file, as long as it was when it was opened."""
    buffers = Buffers(min(part_size, source.size))
    for part in _parts(source.size, part_size):
        last = part.offset + part.length == source.size
        yield FilePiece(session, source, part, last, buffers, hashed, algorithm)


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
    algorithm: ChecksumAlgorithm | None = None
    give_back: Callable[[], object] | None = None

    async def load(self) -> BytesBody:
        """See :class:`Piece`."""
        body = await self.session.bytes_body(self.view, hashed=self.hashed, algorithm=self.algorithm)
        return replace(body, threads=self.session.threads)

    def release(self) -> None:
        """See :class:`Piece`."""
        self.view = NOTHING
        if self.give_back is not None:
            self.give_back()
            self.give_back = None


def stream_pieces(
    session: Session,
    blocks: Blocks | memoryview,
    part_size: int,
    *,
    hashed: bool,
    grow: bool,
    algorithm: ChecksumAlgorithm | None = None,
) -> AsyncGenerator[MemoryPiece, None]:
    """The pieces of what :func:`blocks_of` gave."""
    if isinstance(blocks, memoryview):
        return bytes_pieces(session, blocks, part_size, hashed=hashed, algorithm=algorithm)
    return _collected(session, blocks, part_size, hashed=hashed, grow=grow, algorithm=algorithm)


async def bytes_pieces(
    session: Session, view: memoryview, part_size: int, *, hashed: bool, algorithm: ChecksumAlgorithm | None = None
) -> AsyncGenerator[MemoryPiece, None]:
    """The pieces of bytes in memory: views of them."""
    size = len(view)
    for part in _parts(size, fitting_part_size(size, part_size, session.quirks)):
        stop = part.offset + part.length
        yield MemoryPiece(session, part.number, view[part.offset : stop], stop == size, hashed, algorithm)


async def _collected(
    session: Session,
    blocks: Blocks,
    part_size: int,
    *,
    hashed: bool,
    grow: bool,
    algorithm: ChecksumAlgorithm | None,
) -> AsyncGenerator[MemoryPiece, None]:
    """The pieces of a stream. One byte beyond a piece must be seen to know that it is not the last."""
    buffers, rest, more, number, last = Buffers(0), b"", True, 0, False
    limits = session.quirks
    async with Closing(blocks.aclose, GRACE):
        while not last:
            number += 1
            size = growing_part_size(number, part_size, grow=grow, limits=limits)
            if buffers.size != size + 1:
                buffers = Buffers(size + 1)
            # The first grows: most streams end in it, and for 100 bytes a page of 2 MiB is much.
            data = Filling(buffers.take() if number > 1 else bytearray())
            data += rest
            more = more and await blocks.read(data, size + 1)
            rest = bytes(data.view(size, size + 1))
            last = not more and not rest
            give_back = partial(buffers.give_back, memoryview(data.buffer))
            yield MemoryPiece(session, number, data.view(0, size), last, hashed, algorithm, give_back)
