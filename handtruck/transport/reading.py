"""An answer's raw bytes, into the caller's memory, whichever transport they come from."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import anyio

from .._tasks import in_thread
from .foreign import library_of
from .values import DirectResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx


async def read_whole(response: httpx.Response) -> None:
    """All of an answer into memory, decoded: httpx's ``aread``.

    That leaves its generators to the garbage collector where the body is not encoded as it claims; so what is encoded
    is received first, and decoded then.
    """
    ours = isinstance(response, DirectResponse)
    if ours or response.is_closed or response.is_stream_consumed or "content-encoding" not in response.headers:
        await response.aread()
        return
    raw = b"".join([block async for block in response.aiter_raw()])
    response.stream = library_of(response).ByteStream(raw)
    response.is_closed = response.is_stream_consumed = False
    response.read()


class RawReader(Protocol):
    """Reads a body once, from its first byte to its last."""

    async def readinto(self, buffer: memoryview, /) -> int:
        """Fill ``buffer``: fewer bytes, or 0, only where the body ends, or breaks, which the next call tells."""
        ...

    async def pour(
        self, view: memoryview, sink: Callable[[memoryview], object], limiter: anyio.CapacityLimiter, /
    ) -> int:
        """Hand the next bytes to ``sink``, through ``view``, in a worker thread; gives how many, 0 at the end.

        Only from inside :func:`handtruck._tasks.isolated`.
        """
        ...

    async def aclose(self) -> None:
        """Leave nothing behind but the response, which is the caller's to close."""
        ...


def raw_reader(response: httpx.Response) -> RawReader:
    """The fast path of our own transport, where the answer came through it; else httpx's iterator."""
    body: RawReader | None = response.extensions.get("handtruck.body")
    return _Untouched(body) if body is not None else _Iterated(response.aiter_raw())


class _Untouched:
    """Our transport's body: closed with its response."""

    __slots__ = ("pour", "readinto")

    def __init__(self, body: RawReader) -> None:
        self.readinto = body.readinto
        self.pour = body.pour

    async def aclose(self) -> None:
        """See :class:`RawReader`."""


class _Iterated:
    """Any other: blocks of whatever size it has are copied, and an error waits until all before it was taken."""

    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")
        self._failed: Exception | None = None

    async def readinto(self, buffer: memoryview, /) -> int:
        """See :class:`RawReader`."""
        got = 0
        try:
            while got < len(buffer):
                if not self._rest:
                    self._rest = memoryview(await self._next())
                    if not self._rest:
                        break
                count = min(len(buffer) - got, len(self._rest))
                buffer[got : got + count] = self._rest[:count]
                self._rest = self._rest[count:]
                got += count
        except Exception as error:
            if not got:
                raise
            self._failed = error
        return got

    async def pour(
        self, view: memoryview, sink: Callable[[memoryview], object], limiter: anyio.CapacityLimiter, /
    ) -> int:
        """See :class:`RawReader`."""
        got = await self.readinto(view)
        if got:
            await in_thread(sink, view[:got], limiter=limiter)
        return got

    async def _next(self) -> bytes:
        """The next block that is not empty; an empty one at the end."""
        if self._failed is not None:
            raise self._failed
        async for block in self._blocks:
            if block:
                return block
        return b""

    async def aclose(self) -> None:
        """Bring the async generators that a body comes through to their end, if we stopped in the middle.

        Only the outermost can be closed from here; dropped, the others are left to the event loop to finish: later, in
        tasks of its own. Read on in a cancelled scope, they end one after the other as the cancellation passes.
        """
        with anyio.CancelScope(shield=True) as scope, suppress(Exception):
            scope.cancel()
            async for _ in self._blocks:
                pass
