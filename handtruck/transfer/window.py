"""Two ways to get what lies ahead of a reader: in parallel ranges, given in order; or as one answer.

:class:`Window` asks for ranges, and looks ahead the further, the more was read in one go. :class:`Flow` reads one
answer from its beginning to its end, where the server gives the object in no other way. Both are a
:class:`~handtruck.transfer.ahead.Supply`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from ..errors import S3Error
from .ahead import OPENING, Piece, ReadAhead
from .companions import cut_off
from .fetch import Fetch, NotInRanges, Remote, Version
from .stream import ObjectStream

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from .._session import Session
    from ..transport.reading import RawReader
    from .ahead import Memory, News, ReadPlan
    from .companions import Companions

_STEP: Final = 256 * 1024  # bytes that are received before the reader hears of them


@dataclass(slots=True)
class IntoPiece:
    """Received where they are wanted, and told of every so often; and when an answer has come."""

    piece: Piece
    tell: Callable[[], object]

    async def take(self, reader: RawReader, start: int, most: int | None) -> int:
        """See :class:`handtruck.transfer.fetch.Destination`."""
        self.tell()
        count = _STEP if most is None else min(most, _STEP)
        return await reader.readinto(self.piece[start, start + count])


class Window:
    """The ranges around the reader's position. See :class:`Supply`."""

    def __init__(self, session: Session, plan: ReadPlan, memory: Memory, companions: Companions, news: News) -> None:
        self.remote: Remote = Remote(
            session=session,
            location=plan.location,
            headers=plan.headers,
            query=plan.query,
            options=replace(plan.options, attempts=plan.tries),
            whole=False,
        )
        self.size: int | None = None
        self.headers: httpx.Headers = self.remote.version.headers
        self._etag: str | None = None
        self._memory = memory
        self._companions = companions
        self._news = news
        self._ahead = ReadAhead(plan.part_size)
        self._opening = OPENING if plan.opening is None else plan.opening
        self._pieces: deque[Piece] = deque()
        self._asked = 0
        self._single = False

    async def open(self) -> None:
        """See :class:`Supply`. :class:`NotInRanges`: this is no way to get it."""
        self._ask(min(self._opening, self._ahead.part_size))
        first, version = self._pieces[0], self.remote.version
        while not version.known.is_set() and first.error is None:
            await self._news.wait()
        if first.error is not None and not version.known.is_set():
            await checkpoint_if_cancelled()  # we were cut off, too
            if isinstance(first.error, S3Error) and first.error.status == 416:
                raise NotInRanges("the server refuses a range that goes on behind the end")
            raise first.error
        if not version.size and not version.whole:
            raise NotInRanges("416 tells nothing but that the object is empty")
        self.headers, self._etag, self.size = version.headers, version.etag, version.size
        self._single = version.whole or not version.pinned

    def reaches(self, _: int) -> bool:
        """See :class:`Supply`: it goes everywhere."""
        return True

    def peek(self, position: int, wanted: int) -> memoryview:
        """See :class:`Supply`."""
        self._look(position, wanted)
        if not self._pieces:
            return memoryview(b"")
        piece = self._pieces[0]
        if piece.error is not None and position >= piece.ready:
            self._drop_all(0 if self._single else position)
            raise piece.error
        return piece[position, max(position, piece.ready)]

    def passed(self, position: int, count: int) -> None:
        """See :class:`Supply`."""
        self._ahead.run += count
        self._look(position, 0)

    def hurry(self) -> None:
        """See :class:`Supply`."""
        self._ahead.hurry()

    def close(self) -> None:
        """See :class:`Supply`."""
        self._drop_all(self._asked)

    def _look(self, position: int, wanted: int) -> None:
        """Let the window begin at the position, and ask for what is missing."""
        if self._single:
            self._keep()
            return
        pieces = self._pieces
        while pieces and pieces[0].stop <= position:
            self._drop(pieces.popleft())
        if (pieces and position < pieces[0].start) or (not pieces and position != self._asked):
            self._drop_all(position)
            self._ahead.jump()
        assert self.size is not None
        while self._asked < self.size and self._memory.free:
            count = self._ahead.next_request(position, wanted, self._asked)
            if not count:
                break
            self._ask(min(count, self.size - self._asked))

    def _keep(self) -> None:
        """All there is came with the opening, and nothing would tie a second answer to it: so it stays."""
        if not self._pieces and self._memory.free:
            self.remote.version = Version()
            self._ask(self.size or 0)

    def _ask(self, count: int) -> None:
        piece = Piece(self._asked, self._asked + count, self._memory.take(count))
        self._asked += count
        self._pieces.append(piece)
        self._companions.start_soon(self._bring, piece)

    def _drop_all(self, position: int) -> None:
        while self._pieces:
            self._drop(self._pieces.pop())
        self._asked = position

    def _drop(self, piece: Piece) -> None:
        piece.dropped = True
        piece.scope.cancel()
        if piece.over:
            self._memory.give_back(piece)

    async def _bring(self, piece: Piece) -> None:
        into = IntoPiece(piece, self._news.tell)
        fetch = Fetch(remote=self.remote, start=piece.start, stop=piece.stop, destination=into)
        fetch.moved = partial(self._moved, piece, fetch)
        try:
            with piece.scope:
                await self._fetch(piece, fetch)
        finally:
            piece.over = True
            fetch.moved = None  # no cycle: it would keep the buffer
            if piece.dropped:
                self._memory.give_back(piece)
            self._news.tell()

    async def _fetch(self, piece: Piece, fetch: Fetch) -> None:
        try:
            await fetch.run()
            version = self.remote.version
            if self.size is not None and (version.size, version.etag) != (self.size, self._etag):
                raise self.remote.changed(f"its ETag was {self._etag}, now it is {version.etag}")
            piece.ready = piece.stop = fetch.position
        except NotInRanges as error:
            piece.error = error if self.size is None else self.remote.changed(str(error))
        except Exception as error:  # noqa: BLE001 - the read that comes to it raises it
            piece.error = error
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                piece.error = cut_off()
                raise
            piece.error = error  # nobody cancelled us: what the request awaited was cancelled

    def _moved(self, piece: Piece, fetch: Fetch, _: int) -> None:
        """What came of an answer that nothing ties to the next attempt is not shown before it is all there."""
        version = self.remote.version
        if version.pinned and not (version.whole or self._single):
            piece.ready = fetch.counted


class Flow:
    """One answer, from its beginning to its end. See :class:`Supply`."""

    def __init__(self, session: Session, plan: ReadPlan, memory: Memory, companions: Companions, news: News) -> None:
        options = replace(plan.options, attempts=plan.tries)
        self._stream = ObjectStream(session, plan.location, plan.headers, None, options, plan.query)
        self._part_size = plan.part_size
        self._memory = memory
        self._companions = companions
        self._news = news
        self._pieces: deque[Piece] = deque()
        self._scope = anyio.CancelScope()
        self._known = self._over = False
        self._failed: BaseException | None = None
        self._received = 0

    @property
    def size(self) -> int | None:
        """See :class:`Supply`."""
        return self._stream.size

    @property
    def headers(self) -> httpx.Headers:
        """See :class:`Supply`."""
        return self._stream.headers

    async def open(self) -> None:
        """See :class:`Supply`."""
        self._companions.start_soon(self._run)
        while not self._known and self._failed is None:
            await self._news.wait()
        if not self._known and self._failed is not None:
            await checkpoint_if_cancelled()
            raise self._failed

    def reaches(self, position: int) -> bool:
        """See :class:`Supply`: what was passed is gone."""
        return position >= (self._pieces[0].start if self._pieces else self._received)

    def peek(self, position: int, _: int) -> memoryview:
        """See :class:`Supply`."""
        pieces = self._pieces
        self._pass(position)
        if pieces and position < pieces[0].ready:
            return pieces[0][position, pieces[0].ready]
        if self._failed is not None:
            raise self._failed
        return memoryview(b"")

    def passed(self, position: int, _: int) -> None:
        """See :class:`Supply`."""
        self._pass(position)

    def _pass(self, position: int) -> None:
        while self._pieces and self._pieces[0].over and self._pieces[0].stop <= position:
            self._memory.give_back(self._pieces.popleft())
            self._news.tell()

    def hurry(self) -> None:
        """See :class:`Supply`: it does."""

    def close(self) -> None:
        """See :class:`Supply`."""
        self._scope.cancel()
        self._pieces.clear()
        self._failed = None

    async def _run(self) -> None:
        try:
            with self._scope:
                async with self._stream:
                    self._known = True
                    self._news.tell()
                    await self._receive()
        except Exception as error:  # noqa: BLE001 - the read that comes to it raises it
            self._failed = error
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                self._failed = cut_off()
                raise
            self._failed = error  # nobody cancelled us: what the request awaited was cancelled
        finally:
            self._news.tell()

    async def _receive(self) -> None:
        while self._received != self.size:
            while not self._memory.free:
                await self._news.wait()
            start = self._received
            piece = Piece(start, start + self._part_size, self._memory.take(self._part_size))
            self._pieces.append(piece)
            try:
                await self._fill(piece)
            finally:
                piece.over = True
                piece.stop = piece.ready

    async def _fill(self, piece: Piece) -> None:
        while piece.ready < piece.stop:
            got = await self._stream.readinto(piece[piece.ready, min(piece.stop, piece.ready + _STEP)])
            if not got:
                return
            piece.ready += got
            self._received = piece.ready
            self._news.tell()
