"""What a reader has ahead of it: pieces that follow one another, in memory of which there is only so much.

A piece has a buffer from when its request is made until the reader has passed it, so that ``workers`` buffers of
``part_size`` are all there ever are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from .._attempt import PLAIN, Options
from ..errors import UsageError
from .buffers import fresh
from .stream import check_object

if TYPE_CHECKING:
    import httpx

    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers
    from .buffers import Buffers

OPENING: Final = 256 * 1024
"""Bytes that entering asks for: who wants only the end of the object, or a word with it, has not paid for a part."""

_NOTHING: Final = memoryview(b"")
_LEAST: Final = 64 * 1024  # what a request asks for at least: a smaller one takes as long


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadPlan:
    """What the caller asked for.

    Attributes:
        part_size: bytes a request asks for at most.
        workers: requests on their way, and parts in memory, at once.
        tries: attempts for each.
        opening: bytes that entering asks for, before anybody has read; None: :data:`OPENING`.
    """

    location: Location
    headers: Headers
    part_size: int
    workers: int
    tries: int
    opening: int | None = None
    query: Query = ()
    options: Options = PLAIN

    def check(self) -> None:
        """Refuse nonsense before anything is sent.

        Raises:
            UsageError.
        """
        for name, value in (
            ("part_size", self.part_size),
            ("workers_count", self.workers),
            ("part_tries", self.tries),
        ):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        check_object(self.location, self.headers, "seek() goes to any part of the object")


@dataclass(slots=True)
class ReadAhead:
    """How far to look ahead: half as far as was read in one go since the reader last jumped.

    So what was asked for in vain is never much more than what was of use. From the object's start, and where the
    reader says that it wants all, there is nothing to find out.

    Attributes:
        run: bytes read one after the other.
        from_the_start: nobody has jumped yet.
    """

    part_size: int
    run: int = 0
    from_the_start: bool = True

    def jump(self) -> None:
        """The reader goes on elsewhere."""
        self.run = 0
        self.from_the_start = False

    def hurry(self) -> None:
        """The reader wants all that comes."""
        self.run = sys.maxsize

    def next_request(self, position: int, wanted: int, asked: int) -> int:
        """Bytes that the next request is to bring; 0: none yet.

        The reader wants ``wanted`` bytes from ``position`` on; everything before ``asked`` was asked for.
        """
        behind = position + wanted
        if self.from_the_start and behind > min(OPENING, self.part_size) // 2:
            self.hurry()
        if asked >= behind and asked - behind >= self.run // 2:
            return 0
        size = max(behind - asked, self.run, 1)
        return min(-(-size // _LEAST) * _LEAST, self.part_size)


class News:
    """Something has changed: look again."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def tell(self) -> None:
        """Wake everybody who waits."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def wait(self) -> None:
        """Wait for the next of them."""
        await self._event.wait()


@dataclass(slots=True, eq=False)
class Piece:
    """Bytes ``[start, stop)`` of the object, and how many of them there are.

    Attributes:
        buffer: holds them.
        ready: those before are there.
        error: why no more will come.
        over: nobody writes into the buffer any more.
        dropped: nobody will read from it any more.
    """

    start: int
    stop: int
    buffer: memoryview
    ready: int = field(init=False)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    error: BaseException | None = None
    over: bool = False
    dropped: bool = False

    def __post_init__(self) -> None:
        self.ready = self.start

    def __getitem__(self, bounds: tuple[int, int]) -> memoryview:
        start, stop = bounds
        return self.buffer[start - self.start : stop - self.start]


@dataclass(slots=True)
class Memory:
    """So many buffers at once, and no more."""

    count: int
    buffers: Buffers
    taken: int = 0

    @property
    def free(self) -> bool:
        """There is one more."""
        return self.taken < self.count

    def take(self, size: int) -> memoryview:
        """A buffer for so many bytes."""
        self.taken += 1
        return self.buffers.take() if self.buffers.free or size == self.buffers.size else fresh(size)

    def give_back(self, piece: Piece) -> None:
        """Nobody uses its buffer any more."""
        buffer, piece.buffer = piece.buffer, _NOTHING
        self.taken -= 1
        if len(buffer) == self.buffers.size:
            self.buffers.give_back(buffer)

    def clear(self) -> None:
        """Nobody will need any more."""
        self.buffers.free.clear()


class Supply(Protocol):
    """Where a reader gets its bytes from."""

    @property
    def size(self) -> int | None:
        """Bytes of the object; None until it is known."""
        ...

    @property
    def headers(self) -> httpx.Headers:
        """Of the answer that told what it is."""
        ...

    async def open(self) -> None:
        """Wait until it is known what the object is, or raise why not."""
        ...

    def reaches(self, position: int, /) -> bool:
        """Whether it can give the bytes there."""
        ...

    def peek(self, position: int, wanted: int, /) -> memoryview:
        """What is there from ``position`` on; nothing: wait for news. Raises what stands in the way."""
        ...

    def passed(self, position: int, count: int, /) -> None:
        """The reader has had ``count`` bytes, and is at ``position`` now."""
        ...

    def hurry(self) -> None:
        """The reader wants all that comes."""
        ...

    def close(self) -> None:
        """End all requests; memory goes when they are over."""
        ...
