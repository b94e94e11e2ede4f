"""An answer's body: read into the caller's memory, or block by block as httpx does.

Or :meth:`~ResponseBody.pour` receives in a worker thread and hands each block on there: what downloads do.

Where it ends is told by a length, by chunks, or by the end of the connection. One that ends too early is an error,
always. When its last byte was read the connection goes back to the pool; left before that, it is closed.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Self

import httpx
from anyio.lowlevel import checkpoint

from .._body import stop_if_cancelled
from .._tasks import in_thread
from .wire import FAST, HOP, HOP_TIME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import anyio

    from .heads import Chunks, Head
    from .wire import Wire

_BLOCK: Final = 64 * 1024
_AT_ONCE: Final = 1024 * 1024  # what a length that is only claimed may make us set aside


class ResponseBody(httpx.AsyncByteStream):
    """The body of one answer. Besides httpx's iteration it has :meth:`readinto` and :meth:`read`.

    Args:
        wire: the connection.
        head: the answer's.
        start: where its body begins in the wire's memory.
        stop: where what was received ends there.
        timeout: seconds that nothing may come for.
        keep: the connection may serve another request when the body is over.
        broken: the connection broke already: its end is no end of the body.
        release: takes the connection back; told whether it may live on.
    """

    def __init__(
        self,
        wire: Wire,
        head: Head,
        *,
        start: int,
        stop: int,
        timeout: float | None,
        keep: bool,
        broken: bool,
        release: Callable[[Wire, bool], None],
    ) -> None:
        self._wire = wire
        self._length = self._left = head.length
        self._chunks: Chunks | None = head.chunks
        self._blocks: list[bytes] = []
        self._start = start
        self._stop = stop
        self._timeout = timeout
        self._keep = keep
        self._broken = broken
        self._release = release
        self._open = True
        self._over = False
        self._closed = False
        self._failed: Exception | None = None
        if self._left == 0:
            self._end()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _BodyIterator(self)

    async def read(self) -> bytes:
        """All that is still to come. Errors: :meth:`readinto`."""
        if self._open and self._left is not None and self._left <= self._stop - self._start:
            data = bytes(self._wire.view[self._start : self._start + self._left])
            self._advance(len(data))
            return data
        blocks: list[bytes] = []
        while True:
            room = _BLOCK if self._left is None else min(self._left, _AT_ONCE)
            view = memoryview(bytearray(room or 1))
            got = await self.readinto(view)
            if not got:
                return blocks[0] if len(blocks) == 1 else b"".join(blocks)
            blocks.append(bytes(view[:got]))

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer``: fewer bytes, or 0, only where the body ends, or breaks, which the next call tells.

        Raises:
            httpx.ReadTimeout: nothing came for too long.
            httpx.ReadError: the connection broke.
            httpx.RemoteProtocolError: the body ended too early, or is not framed as it claims.
            httpx.StreamClosed: it was closed before.
        """
        view = memoryview(buffer).cast("B")
        wire, got = self._wire, 0
        wire.waited = False
        try:
            while got < len(view):
                count = await self._some(view[got:] if got else view)
                if not count:
                    break
                got += count
        except httpx.TransportError:
            if not got:
                raise
        if not wire.waited:
            await self._checkpoint()
        return got

    async def pour(self, view: memoryview, sink: Callable[[memoryview], object], limiter: anyio.CapacityLimiter) -> int:
        """Receive the next bytes through ``view`` and hand them to ``sink``, in a worker thread; gives how many, or 0.

        One hop: it is over when the network pauses, after 8 MiB or 50 ms, or where the body ends. Slow bodies are
        collected by the loop, a ``view`` at a time, so that no thread waits for them. What ``sink`` raises ends the
        body. Only from inside :func:`handtruck._tasks.isolated`. Errors of the connection: :meth:`readinto`.
        """
        if self._over or self._closed:
            return await self._some(view)  # 0, or why not
        lendable = self._chunks is None and self._left is not None and self._wire.lendable
        got = await (self._collect(view[: self._left]) if lendable else self.readinto(view))
        if not got:
            return 0
        try:
            if not lendable or not self._left or self._start < self._stop:  # what came with the head goes first
                await in_thread(sink, view[:got], limiter=limiter)
                return got
            more = await self._lend(view, got, sink, limiter)
        except BaseException:
            self._abandon()
            self._closed = True
            raise
        self._count(more)
        return got + more

    async def _collect(self, room: memoryview) -> int:
        """Fill ``room``, unless so much comes at once that a thread had better go on."""
        got = 0
        try:
            while got < len(room):
                count = await self._some(room[got : got + FAST])
                got += count
                if not count or count == FAST:
                    break
        except httpx.TransportError:
            if not got:
                raise
        return got

    async def _lend(
        self, view: memoryview, got: int, sink: Callable[[memoryview], object], limiter: anyio.CapacityLimiter
    ) -> int:
        """Lend the connection to a thread; gives how many bytes it received itself."""
        wire, left = self._wire, self._left
        assert left is not None

        def work() -> int:
            until = monotonic() + HOP_TIME
            done, have = 0, got
            have += wire.fill(view[got : got + left], until)
            while True:
                sink(view[:have])
                done += have
                if done == got + left or done >= HOP:
                    break
                stop_if_cancelled()
                have = wire.fill(view[: got + left - done], until)
                if not have:
                    break
            return done - got

        wire.lent = True
        try:
            return await in_thread(work, limiter=limiter)
        finally:
            wire.take_back()

    async def read_some(self, most: int) -> bytes:
        """What is there of it, and at least a byte; none at its end. Errors: :meth:`readinto`."""
        view = memoryview(bytearray(most if self._left is None else min(self._left, most)))
        wire = self._wire
        wire.waited = False
        got = await self._some(view)
        if not wire.waited:
            await self._checkpoint()
        return bytes(view[:got])

    async def _checkpoint(self) -> None:
        try:
            await checkpoint()
        except BaseException:
            self._abandon()
            self._closed = True
            raise

    async def _some(self, view: memoryview) -> int:
        """Some of the body, 0 at its end."""
        if self._failed is not None:
            raise type(self._failed)(str(self._failed))  # each its own: one with a traceback would hold on to buffers
        if self._closed:
            raise httpx.StreamClosed
        if self._over or not view:
            return 0
        try:
            if self._chunks is not None:
                return await self._some_of_chunks(view, self._chunks)
            return self._some_ahead(view) or await self._some_more(view)
        except BaseException as error:
            self._abandon()
            self._closed = True
            if isinstance(error, httpx.TransportError):
                self._failed = type(error)(str(error))
            raise

    def _some_ahead(self, view: memoryview) -> int:
        """What came with the head."""
        count = min(self._stop - self._start, len(view), len(view) if self._left is None else self._left)
        if count:
            view[:count] = self._wire.view[self._start : self._start + count]
            self._advance(count)
        return count

    def _advance(self, count: int) -> None:
        self._start += count
        self._count(count)

    def _count(self, count: int) -> None:
        if self._left is not None:
            self._left -= count
            if not self._left:
                self._end()

    async def _some_more(self, view: memoryview) -> int:
        if self._left is not None and self._left < len(view):
            view = view[: self._left]
        count = await self._wire.receive_into(view, self._timeout)
        if count:
            self._count(count)
        elif self._left is None and not self._broken:
            self._end()
        elif self._left is None:
            raise httpx.ReadError("the connection broke, and nothing else tells where the body ends")
        else:
            assert self._length is not None
            raise httpx.RemoteProtocolError(
                f"the body ended too early: {self._length - self._left} of {self._length} bytes came"
            )
        return count

    async def _some_of_chunks(self, view: memoryview, chunks: Chunks) -> int:
        while not self._blocks and not chunks.over:
            if self._start == self._stop and not chunks.broken:
                self._start, self._stop = 0, await self._wire.receive_into(self._wire.view, self._timeout)
            if self._stop == 0:
                raise httpx.RemoteProtocolError("the body ended too early: its last chunk did not come")
            ahead, self._start = self._wire.view[self._start : self._stop], self._stop
            self._blocks = chunks.feed(ahead)
        got = 0
        while self._blocks and got < len(view):
            block = self._blocks[0]
            count = min(len(block), len(view) - got)
            view[got : got + count] = block[:count]
            got += count
            self._blocks[0:1] = [block[count:]] if count < len(block) else []
        if chunks.over and not self._blocks:
            self._keep = self._keep and chunks.clean
            self._end()
        return got

    def _end(self) -> None:
        """The last byte was read. More than that is no part of any answer, and ends the connection."""
        self._over = True
        if self._open:
            self._open = False
            self._release(self._wire, self._keep and self._start == self._stop)

    def _abandon(self) -> None:
        if self._open:
            self._open = False
            self._release(self._wire, False)

    async def aclose(self) -> None:
        """Close the connection, unless all that is missing came already, and it may live on."""
        if self._open and self._chunks is None and self._left is not None and self._left <= self._stop - self._start:
            self._advance(self._left)
        self._closed = True
        self._abandon()

    def get_extra_info(self, name: str) -> object:
        """What httpx calls ``network_stream`` tells: see :meth:`Wire.get_extra_info`."""
        return self._wire.get_extra_info(name)


@dataclass(slots=True)
class Arrival:
    """An answer whose body is still to be read."""

    head: Head
    body: ResponseBody
    wire: Wire

    def extensions(self) -> dict[str, Any]:
        """What httpx's responses carry beside status, headers and body."""
        return {
            "http_version": self.head.version,
            "reason_phrase": self.head.reason,
            "network_stream": self.wire,
            "handtruck.body": self.body,
        }


class _BodyIterator:
    """No async generator: one that a cancelled task abandons is left to the event loop to finish."""

    def __init__(self, body: ResponseBody) -> None:
        self._body = body

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        block = await self._body.read_some(_BLOCK)
        if not block:
            raise StopAsyncIteration
        return block
