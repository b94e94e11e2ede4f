"""One request out, one answer's head in.

A body that is not taken may have been answered already (403, 503): while it blocks, both directions are watched, and
an answer that comes early is read and returned, not lost in a broken pipe. After a break, what was received before it
is read first. Answers of 1xx are passed over.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Self

import anyio
import httpx
from anyio.lowlevel import checkpoint

from .._body import ViewStream
from .._tasks import in_thread, isolated
from .heads import MAX_HEAD, Head, find_end, parse_head
from .wire import FAST, HOP, HOP_TIME

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from .pool import Origin
    from .wire import Wire

MAX_INTERIM: Final = 16
"""Answers of 1xx that may come before the one that counts."""

_NOTHING: Final = memoryview(b"")
_LAST_CHUNK: Final = memoryview(b"0\r\n\r\n")
_JOINED: Final = 64 * 1024  # a small body leaves together with the head: one copy is cheaper than another packet
_SWITCHING: Final = 101


@dataclass(slots=True, kw_only=True)
class Call:
    """A request, as far as a connection is concerned.

    Attributes:
        head: its bytes.
        stream: its body: iterable, sync or async.
        length: bytes of the body; None: it goes in chunks.
        bodiless: the answer has no body: this is a HEAD.
        timeouts: httpx's four, by name; seconds. None: the transport's own.
        idempotent: it may be sent twice, and ``stream`` iterated again.
        last: it says so itself: the connection serves no other request.
    """

    origin: Origin
    head: bytes = field(repr=False)  # the signature is in it
    stream: object
    length: int | None
    bodiless: bool
    timeouts: Mapping[str, float | None] | None
    idempotent: bool
    last: bool = False


class Exchange:
    """One request on one connection.

    Attributes:
        sent: bytes of the request that the kernel has taken.
        received: bytes of the answer in the wire's memory.
        start: where in it the answer's head begins; once that is there, where its body does.
        whole: all of the request was sent.
        broken: the connection broke, so that its end is no end of a body.
    """

    __slots__ = (
        "_interim",
        "_small",
        "broken",
        "call",
        "read_timeout",
        "received",
        "sent",
        "start",
        "whole",
        "wire",
        "write_timeout",
    )

    def __init__(self, wire: Wire, call: Call) -> None:
        self.wire: Wire = wire
        self.call: Call = call
        timeouts = call.timeouts or {}
        self.read_timeout: float | None = timeouts.get("read")
        self.write_timeout: float | None = timeouts.get("write")
        self.sent: int = 0
        self.received: int = 0
        self.start: int = 0
        self.whole: bool = False
        self.broken: bool = False
        self._interim = 0
        self._small = b""

    async def run(self) -> Head:
        """Send the request and receive the answer's head.

        Raises:
            httpx.TransportError: no answer; which kind says why.
        """
        self.wire.waited = False
        early = None if self._sent_at_once() else await self._send()
        self.whole = early is None
        if early is not None and early.status < 300:
            # A no may come before all was heard. A yes may not: S3 would have nothing to say it to.
            raise httpx.RemoteProtocolError(f"the peer answered {early.status} before the request was sent")
        head = early or await self._receive()
        if not self.wire.waited:
            await checkpoint()
        return head

    def may_repeat(self) -> bool:
        """The connection was dead when we took it, and sending again does no harm."""
        call = self.call
        again = call.idempotent or (not self.sent and isinstance(call.stream, ViewStream | httpx.ByteStream))
        return again and not self.received

    # Out

    def _sent_at_once(self) -> bool:
        """Most requests are small, and the kernel takes them whole: no coroutine for them."""
        call = self.call
        if not isinstance(call.stream, ViewStream):
            return False
        view = call.stream.view
        if len(view) != call.length:
            raise httpx.LocalProtocolError(_MISCOUNTED)
        if len(view) > _JOINED:
            return False
        self._small = call.head + view if call.length else call.head
        with suppress(OSError):  # whatever it was, _send() meets it again
            self.sent = max(self.wire.try_send(self._small), 0)
        return self.sent == len(self._small)

    async def _send(self) -> Head | None:
        """Send the request; an answer that came before all of it was sent ends that."""
        call = self.call
        if self._small:
            return await self._send_bytes(memoryview(self._small)[self.sent :])
        if isinstance(call.stream, ViewStream):
            stream = call.stream
            return await self._send_bytes(memoryview(call.head)) or await self._send_bytes(stream.view, stream.threads)
        return await self._send_stream(memoryview(call.head), call.stream, call.length)

    async def _send_stream(self, pending: memoryview, stream: object, length: int | None) -> Head | None:
        blocks, left = _blocks(stream), length
        try:
            async for given in blocks:
                block = memoryview(given).cast("B")  # of an array, len() would count items
                if not len(block):
                    continue
                if left is None:
                    block = memoryview(b"".join((b"%x\r\n" % len(block), block, b"\r\n")))
                else:
                    left -= len(block)
                    if left < 0:
                        raise httpx.LocalProtocolError(_MISCOUNTED)
                early = await self._send_joined(pending, block)
                if early is not None:
                    return early
                pending = _NOTHING
        finally:
            if isinstance(blocks, AsyncGenerator):
                await blocks.aclose()
        if left:
            raise httpx.LocalProtocolError(_MISCOUNTED)
        return await self._send_joined(pending, _NOTHING if left is not None else _LAST_CHUNK)

    async def _send_joined(self, pending: memoryview, block: memoryview) -> Head | None:
        if len(pending) + len(block) <= _JOINED:
            return await self._send_bytes(memoryview(b"".join((pending, block))))
        return await self._send_bytes(pending) or await self._send_bytes(block)

    async def _send_bytes(self, view: memoryview, threads: anyio.CapacityLimiter | None = None) -> Head | None:
        """Views, because the head is among them: tracebacks are printed with their locals."""
        while view:
            try:
                count = await self.wire.send_some(view, self.write_timeout)
                early = None if count else self._look()
            except OSError as error:
                return self._look_after(error)
            if early is not None:
                return early
            self.sent += count
            view = view[count:]
            # Nobody waits for a thread that others use: meanwhile nothing would be sent, and no answer heard.
            if threads is not None and threads.available_tokens and len(view) >= FAST and self.wire.encrypts:
                count = await self._lend(view, threads)
                self.sent += count
                view = view[count:]
        return None

    async def _lend(self, view: memoryview, threads: anyio.CapacityLimiter) -> int:
        """Lend the connection to a thread that sends; gives how many bytes went."""
        wire = self.wire
        if wire.sock.fileno() < 0:
            return 0  # closed meanwhile, as the next to send will be told
        wire.lent = True
        try:
            return await in_thread(lambda: wire.push(view[:HOP], monotonic() + HOP_TIME), limiter=threads)
        finally:
            wire.take_back()

    def _look(self) -> Head | None:
        """The answer, if it is there already.

        Raises:
            OSError: the connection broke.
            httpx.RemoteProtocolError: it is no answer, or the peer has hung up.
        """
        while True:
            got = self.wire.try_receive(self._room())
            if got < 0:
                return None
            if got == 0:
                raise httpx.RemoteProtocolError(_DISCONNECTED)
            self.received += got
            head = self._parse()
            if head is not None:
                return head

    def _look_after(self, error: OSError) -> Head:
        """Sending has failed: what the peer said before that counts."""
        try:
            head = self._look()
        except OSError:
            head = None
        except httpx.RemoteProtocolError:
            if self.received:
                raise
            head = None
        if head is None:
            raise httpx.WriteError(str(error)) from error
        self.broken = True
        return head

    # In

    async def _receive(self) -> Head:
        while True:
            got = await self.wire.receive_into(self._room(), self.read_timeout, wait_first=True)
            if got == 0:
                raise httpx.RemoteProtocolError(_BROKEN_OFF if self.received else _DISCONNECTED)
            self.received += got
            head = self._parse()
            if head is not None:
                return head

    def _room(self) -> memoryview:
        """Memory for more of the head.

        Raises:
            httpx.RemoteProtocolError: it had enough.
        """
        wire = self.wire
        if self.received == len(wire.buffer):
            if self.received >= MAX_HEAD:
                raise httpx.RemoteProtocolError(f"the answer's head is longer than {MAX_HEAD} bytes")
            wire.resize(MAX_HEAD)
        return wire.view[self.received :]

    def _parse(self) -> Head | None:
        """The head of the final answer, if all of it is there."""
        buffer = self.wire.buffer
        while True:
            while self.start < self.received and buffer[self.start] in b"\r\n":
                self.start += 1  # RFC 9112, 2.2: blank lines ahead of a message are to be forgiven
            end = find_end(buffer, self.start, self.received)
            if end < 0:
                return None
            head = parse_head(self.wire.view[self.start : end], bodiless=self.call.bodiless)
            self.start = end
            if head.status >= 200:
                return head
            self._interim += 1
            if head.status == _SWITCHING or self._interim > MAX_INTERIM:
                raise httpx.RemoteProtocolError(f"the peer answered {head.status}, which nobody asked for")


_MISCOUNTED: Final = "the request's body is not as long as its Content-Length says"
_DISCONNECTED: Final = "Server disconnected without sending a response."
_BROKEN_OFF: Final = "the connection was closed in the middle of the answer's head"


def _blocks(stream: object) -> AsyncIterator[bytes]:
    if isinstance(stream, AsyncIterable):
        return aiter(stream)
    if isinstance(stream, Iterable):
        return _Threaded(iter(stream))
    raise TypeError(f"a request's stream must be iterable, which {type(stream).__name__} is not")


class _Threaded:
    """A sync iterable: it may block, so it advances in a worker thread."""

    def __init__(self, iterator: Iterator[bytes]) -> None:
        self._iterator = iterator
        self._thread = anyio.CapacityLimiter(1)

    def __aiter__(self) -> Self:
        return self

    def _next(self) -> bytes | None:
        return next(self._iterator, None)

    async def __anext__(self) -> bytes:
        block = await isolated(partial(in_thread, self._next, limiter=self._thread))
        if block is None:
            raise StopAsyncIteration
        return block
