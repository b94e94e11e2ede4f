"""Many ranges of one object, in few requests.

::

    asked ──coalesce──▶ requests ──first──▶ ETag and size known ──▶ the others, in parallel ──▶ cut out, in order

*Memory.* A buffer for each request on its way, of at most :data:`LARGEST` bytes, beside what is returned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .._attempt import PLAIN, Options
from ..errors import UsageError
from ..protocol.parts import DEFAULT_PART_SIZE, coalesce, holding
from .buffers import Buffers
from .fetch import Fetch, IntoMemory, NotInRanges, Remote
from .stream import check_object, room_for
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from io import BytesIO

    from .._session import Session
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers

LARGEST: Final = DEFAULT_PART_SIZE
"""Bytes a request asks for at most."""

_MOST: Final = 2**40  # bytes in all: more than any memory; a mistake would have millions of requests planned


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesPlan:
    """What the caller asked for.

    Attributes:
        ranges: half-open.
        gap: bytes between two ranges that are fetched rather than left out.
        workers: requests on their way at once.
    """

    location: Location
    headers: Headers
    ranges: tuple[tuple[int, int], ...]
    gap: int
    workers: int
    query: Query = ()
    options: Options = PLAIN

    def check(self) -> None:
        """Refuse nonsense before anything is sent.

        Raises:
            UsageError.
        """
        if (size := sum(stop - start for start, stop in self.ranges)) > _MOST:
            raise UsageError(f"{size} bytes do not fit into memory; a range ends where the object does, not behind it")
        if self.gap < 0:
            raise UsageError(f"gap must be at least 0, not {self.gap}")
        if self.workers < 1:
            raise UsageError(f"workers_count must be at least 1, not {self.workers}")
        check_object(self.location, self.headers, "ranges= says which bytes")


@dataclass(slots=True)
class _Gathered:
    """A range, put together of what the requests bring that ``sources`` numbers."""

    start: int
    stop: int
    sources: range
    room: BytesIO | None = None
    added: int = 0
    whole: bytes = b""

    def add(self, begin: int, view: memoryview) -> None:
        """Take what is ours of a request whose bytes begin at ``begin``."""
        ours = view[max(self.start - begin, 0) : self.stop - begin]
        if len(self.sources) == 1:
            self.whole = bytes(ours)
            return
        if self.room is None:
            self.room = room_for(self.stop - self.start)
        self.room.seek(max(begin - self.start, 0))
        self.room.write(ours)
        self.added += 1
        if self.added == len(self.sources):
            self.whole, self.room = self.room.getvalue(), None


async def get_ranges(session: Session, plan: RangesPlan) -> list[bytes]:
    """Fetch them all. To be called inside :func:`handtruck._tasks.isolated`."""
    return await _Ranges(session, plan).run()


class _Ranges:
    def __init__(self, session: Session, plan: RangesPlan) -> None:
        self._plan = plan
        self._requests = coalesce(plan.ranges, plan.gap, LARGEST)
        self._gathered = [_Gathered(*each, holding(self._requests, *each)) for each in plan.ranges]
        self._takers: list[list[_Gathered]] = [[] for _ in self._requests]
        for gathered in self._gathered:
            for number in gathered.sources:
                self._takers[number].append(gathered)
        self._buffers = Buffers(max((stop - start for start, stop in self._requests), default=0))
        self._remote: Remote = Remote(
            session=session,
            location=plan.location,
            headers=plan.headers,
            query=plan.query,
            options=plan.options,
            whole=False,
            alone=len(self._requests) == 1,
        )

    async def run(self) -> list[bytes]:
        if self._requests:
            workers = min(self._plan.workers, len(self._requests))
            try:
                await run_workers(self._feed(), self._bring, workers=workers, slots=workers)
            except NotInRanges as error:
                raise self._remote.nonsense(str(error)) from None
        return [gathered.whole for gathered in self._gathered]

    async def _feed(self) -> AsyncGenerator[int, None]:
        """The first one tells which version it is, and whether all that is asked for is there."""
        yield 0
        version = self._remote.version
        await version.known.wait()
        stop = self._requests[-1][1]
        if version.size is not None and stop > version.size:
            raise self._remote.beyond(stop, version.size)
        for number in range(1, len(self._requests)):
            yield number

    async def _bring(self, number: int) -> None:
        start, stop = self._requests[number]
        buffer = self._buffers.take()
        try:
            view = buffer[: stop - start]
            fetch = Fetch(remote=self._remote, start=start, stop=stop, destination=IntoMemory(view, start))
            await fetch.run()
            if fetch.position != stop:
                raise self._remote.beyond(stop, fetch.position)
            for gathered in self._takers[number]:
                gathered.add(start, view)
        finally:
            self._buffers.give_back(buffer)
