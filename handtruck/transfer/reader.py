"""An object as a file that is open for reading: a position, seeks, and what lies ahead on its way already.

::

    read ──▶ peek ──▶ a piece that is there: copied out, and passed
               └──▶ none: requests go out, as far as memory allows; wait for news

The caller's task decides and copies; requests run in child tasks, which keep their errors until a read comes to them.
"""

from __future__ import annotations

import io
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Final, Self

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from ..errors import UsageError
from ..protocol.parts import MIB
from .ahead import Memory, News
from .buffers import Buffers
from .companions import Companions
from .fetch import NotInRanges
from .stream import ObjectFacts, room_for
from .window import Flow, Window

if TYPE_CHECKING:
    from types import TracebackType

    from .._session import Session
    from .ahead import ReadPlan, Supply

_AT_ONCE: Final = 64 * MIB  # what a size that is only claimed may make us set aside
_CLOSED: Final = "a reader is read inside its `async with` block, and before aclose()"


class ObjectReader(ObjectFacts):
    """An object, open for reading, made by :meth:`handtruck.S3Client.open`.

    All bytes are of the version that was there when the block was entered. Iterating yields blocks of at most 1 MiB,
    as they come. Any task may read, one at a time. A read that fails, or is cancelled, leaves the position where it
    was, and may be tried again.
    """

    def __init__(self, session: Session, plan: ReadPlan) -> None:
        plan.check()
        self._session = session
        self._plan = plan
        self._companions = Companions()
        self._news = News()
        self._guard = anyio.ResourceGuard("reading from")
        self._memory = Memory(plan.workers, Buffers(plan.part_size))
        self._supply: Supply | None = None
        self._position = 0
        self._used = self._closed = False

    @property
    def size(self) -> int | None:
        """Bytes of the object; None where a server that knows no ranges does not tell before it ends.

        Raises:
            UsageError: nobody has asked yet.
        """
        if self._supply is None:
            raise UsageError("what the object is, is known inside the `async with` block")
        return self._supply.size

    async def __aenter__(self) -> Self:
        """Ask for the beginning, and wait until it is known what the object is."""
        if self._used:
            raise UsageError("a reader is entered once; open another")
        self._used = True
        await self._companions.enter()
        try:
            self._supply = await self._begin()
            self._headers = self._supply.headers
        except BaseException as error:
            await self._leave(error)
            raise
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def _begin(self) -> Supply:
        common = self._session, self._plan, self._memory, self._companions, self._news
        supply: Supply = Window(*common)
        self._supply = supply
        try:
            await supply.open()
        except NotInRanges:
            supply.close()
        else:
            return supply
        supply = self._supply = Flow(*common)  # outside, so that its errors do not begin with that one
        await supply.open()
        return supply

    async def _leave(self, error: BaseException | None) -> None:
        self._end()
        try:
            await self._companions.leave(error)
        finally:
            self._memory.clear()
            del error

    def _end(self) -> None:
        self._closed = True
        if self._supply is not None:
            self._supply.close()
        self._news.tell()

    async def aclose(self) -> None:
        """End what is on its way; the block's end does that, too. What is known of the object stays known."""
        self._end()
        await checkpoint()

    def tell(self) -> int:
        """The position: how many bytes of the object lie before the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, and give it. No ``await``: nothing is asked for before the next read.

        Behind the end of the object, a read gives nothing.

        Args:
            offset: bytes, from where ``whence`` says.
            whence: ``io.SEEK_SET``, from the beginning; ``io.SEEK_CUR``, from the position; ``io.SEEK_END``, from the
                end.

        Raises:
            UsageError: that is before the beginning; or the server gives the object only from its beginning to its
                end (it knows no ranges, or has no strong ETag for them), and what is there was passed already; or its
                size is not known. The reader is closed.
            anyio.BusyResourceError: another task is reading.
        """
        with self._guard:
            if whence not in (io.SEEK_SET, io.SEEK_CUR, io.SEEK_END):
                raise UsageError(f"whence must be 0, 1 or 2, not {whence!r}")
            position = offset + (self._origin(whence) if whence else 0)
            if position < 0:
                raise UsageError(f"seek() goes to the beginning at the most, not to {position}")
            self._reachable(position)
            self._position = position
            return position

    def _origin(self, whence: int) -> int:
        if whence == io.SEEK_CUR:
            return self._position
        size = self.size
        if size is None:
            raise UsageError(f"{self._plan.location}: the server does not tell how long the object is before it ends")
        return size

    def _reachable(self, position: int) -> Supply:
        if self._supply is None or self._closed:
            raise UsageError(_CLOSED)
        if not self._supply.reaches(position):
            raise UsageError(
                f"{self._plan.location}: byte {position} was passed, and the server gives this object only from its "
                "beginning to its end: without ranges, or without a strong ETag for them"
            )
        return self._supply

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """What has come of the next bytes, at most 1 MiB. Errors: :meth:`readinto`."""
        with self._guard:
            await checkpoint()
            self._reachable(self._position).hurry()
            block = bytes((await self._some(MIB))[:MIB])
            self._pass(len(block))
        if not block:
            raise StopAsyncIteration
        return block

    async def read(self, n: int = -1) -> bytes:
        """The next ``n`` bytes, or all that are left; fewer only at the end, none behind it. Errors: :meth:`readinto`.

        Memory: what it returns, beside what is ahead.
        """
        with self._guard:
            wanted = sys.maxsize if n < 0 else n
            left = 0 if self._supply is None else max((self._supply.size or 0) - self._position, 0)
            taken = room_for(min(wanted, left, _AT_ONCE))
            await self._copy(taken, wanted)
            taken.truncate()
            return taken.getvalue()

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer`` with the next bytes; gives how many, fewer only at the end, 0 behind it.

        Raises:
            PreconditionFailed: the object was replaced meanwhile.
            S3Error: S3 says no.
            ConnectionFailed: there was no answer, or it broke off, and further attempts did not help.
            InvalidResponse: the answer makes no sense.
            UsageError: the reader is closed; or the position was passed, as in :meth:`seek`.
            anyio.BusyResourceError: another task is reading.
        """
        view = memoryview(buffer).cast("B")
        with self._guard:
            return await self._copy(_Into(view), len(view))

    async def _copy(self, taken: BytesIO | _Into, wanted: int) -> int:
        """Copy the next bytes; the position moves when all of them are there."""
        begin, left = self._position, wanted
        await checkpoint()
        if self._supply is None or self._closed:  # for who wants nothing, too
            raise UsageError(_CLOSED)
        try:
            while left:
                view = (await self._some(left))[:left]
                if not view:
                    break
                taken.write(view)
                self._pass(len(view))
                left -= len(view)
        except BaseException:
            self._position = begin
            raise
        return wanted - left

    async def _some(self, wanted: int) -> memoryview:
        """What is there of the next bytes, and at least one; none at the end."""
        while True:
            supply = self._reachable(self._position)
            if supply.size is not None and self._position >= supply.size:
                return memoryview(b"")
            try:
                view = supply.peek(self._position, wanted)
            except anyio.BrokenResourceError:
                await checkpoint_if_cancelled()  # we were cut off, too
                raise
            if view:
                return view
            await self._news.wait()

    def _pass(self, count: int) -> None:
        self._position += count
        if count and self._supply is not None:
            self._supply.passed(self._position, count)


class _Into:
    """A caller's buffer, written to from its beginning on."""

    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._at = 0

    def write(self, block: memoryview) -> None:
        self._view[self._at : self._at + len(block)] = block
        self._at += len(block)
