"""The socket half: raw HTTP/1.1 in, raw bytes out, one task for each connection, no framework in between.

Sockets are non-blocking and waited for by anyio, so the same lines run on asyncio, uvloop and trio. Heads are kept
byte for byte. Nothing here sleeps; a peer that is left closes every connection at once.
"""

from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import unquote, unquote_plus

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

_READ: Final = 256 * 1024
_RESET: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is sent, and what becomes of the connection.

    Attributes:
        status, headers, body: an ordinary answer; Content-Length is the body's unless ``headers`` has one, or None
            for it. A HEAD gets no body.
        sent: only so many bytes of the body leave, whatever was declared; None: all.
        raw: these bytes instead of all of the above.
        then: what becomes of the connection: it is kept; closed; reset (the client sees ECONNRESET); "silence" says
            nothing more until the client closes; "deaf" does not even read what the client still sends.
        early: answer before the request's body was read; it is read and thrown away afterwards.
        drip: one byte at a time.
    """

    status: int = 200
    headers: tuple[tuple[str, str | None], ...] = ()
    body: bytes = b""
    sent: int | None = None
    raw: bytes | None = None
    then: Literal["keep", "close", "reset", "silence", "deaf"] = "keep"
    early: bool = False
    drip: bool = False

    def plus(self, *headers: tuple[str, str | None]) -> Reply:
        """The same with these headers, in place of others of the same names."""
        names = {name.lower() for name, _ in headers}
        return replace(self, headers=(*(h for h in self.headers if h[0].lower() not in names), *headers))

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def wire(self, method: str) -> bytes:
        """The bytes that leave."""
        if self.raw is not None:
            return self.raw
        headers = list(self.headers)
        if not any(name.lower() == "content-length" for name, _ in headers):
            headers.append(("Content-Length", str(len(self.body))))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers if value is not None)
        body = b"" if method == "HEAD" else self.body[: self.sent]
        return f"HTTP/1.1 {self.status} Scripted\r\n{lines}\r\n".encode("latin-1") + body


RESET: Final = Reply(raw=b"", then="reset")
"""No answer: the connection is reset once the whole request was read."""

SILENCE: Final = Reply(raw=b"", then="silence")
"""No answer, and the connection stays open."""


def truncated(reply: Reply, sent: int, then: Literal["close", "reset"] = "close") -> Reply:
    """The same answer, of whose body only ``sent`` bytes leave."""
    return replace(reply, sent=sent, then=then)


def drip(reply: Reply) -> Reply:
    """The same answer, one byte at a time."""
    return replace(reply, drip=True)


@dataclass(slots=True, eq=False)
class Request:
    """A request as it came.

    Attributes:
        line: the request line, byte for byte.
        headers: names and values as they came, in order.
        connection: the number of the connection it came on, from 1.
        body: what was read of it so far; all of it after :meth:`read`.
    """

    line: bytes
    headers: list[tuple[str, str]]
    connection: int
    wire: _Wire
    body: bytes = b""
    unread: int = 0

    @property
    def method(self) -> str:
        return self.line.split(b" ")[0].decode()

    @property
    def target(self) -> str:
        """As it came: percent-encoded."""
        return self.line.split(b" ")[1].decode("latin-1")

    @property
    def path(self) -> str:
        """Decoded."""
        return unquote(self.target.partition("?")[0], errors="surrogateescape")

    @property
    def query(self) -> dict[str, str]:
        """Decoded; a bare name has an empty value."""
        pairs = (pair.partition("=") for pair in self.target.partition("?")[2].split("&") if pair)
        return {unquote_plus(name): unquote_plus(value) for name, _, value in pairs}

    def header(self, name: str) -> str | None:
        """The value of a header; None where there is none. Two of them are a mistake."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None

    async def read(self) -> bytes:
        """The whole body."""
        chunks = [self.body]
        while self.unread:
            chunk = await self.wire.receive(self.unread)
            if not chunk:
                raise ConnectionResetError("the client went away in the middle of a body")
            self.unread -= len(chunk)
            chunks.append(chunk)
        self.body = b"".join(chunks)
        return self.body


Handler: TypeAlias = "Callable[[Request], Awaitable[Reply]]"


def replies(*script: Reply) -> Handler:
    """A handler that gives these answers one after the other, and the last one for ever."""
    left = list(script)

    async def handler(_: Request) -> Reply:
        return left.pop(0) if len(left) > 1 else left[0]

    return handler


@dataclass(slots=True)
class _Wire:
    """A non-blocking socket, and the bytes that were received too early."""

    sock: socket.socket
    ahead: bytearray = field(default_factory=bytearray)

    async def receive(self, most: int = _READ) -> bytes:
        """Some bytes; none at the end."""
        if self.ahead:
            data, self.ahead = bytes(self.ahead[:most]), self.ahead[most:]
            return data
        while True:
            try:
                return self.sock.recv(min(most, _READ))
            except BlockingIOError:
                await anyio.wait_readable(self.sock)
            except ConnectionError:
                return b""

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[self.sock.send(view) :]
            except BlockingIOError:
                await anyio.wait_writable(self.sock)

    async def head(self) -> bytes:
        """Up to the empty line, without it; nothing where the client is done."""
        data = bytearray()
        while b"\r\n\r\n" not in data:
            chunk = await self.receive()
            if not chunk:
                return b""
            data += chunk
        head, _, rest = bytes(data).partition(b"\r\n\r\n")
        self.ahead = bytearray(rest) + self.ahead
        return head

    async def drain(self) -> None:
        """Read until the client closes."""
        while await self.receive():
            pass

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()


@dataclass(slots=True, eq=False)
class Peer:
    """A listening peer.

    Attributes:
        handler: may be replaced while it runs.
        requests: all that came, in order of arrival.
        open: connections that are open now.
        busy, most_busy: requests that are being answered now, and the most that ever were at once. A request is
            busy from its head to the last byte of its answer.
    """

    handler: Handler
    sock: socket.socket
    url: str
    requests: list[Request] = field(default_factory=list)
    open: int = 0
    connections: int = 0
    busy: int = 0
    most_busy: int = 0
    _changed: anyio.Event = field(default_factory=anyio.Event)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that came or went makes this true; not for ever."""
        with anyio.fail_after(10):
            while not condition():
                await self._changed.wait()

    async def deserted(self) -> None:
        """Wait until every connection is closed."""
        await self.until(lambda: self.open == 0)

    def _note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _listen(self, group: TaskGroup) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except BlockingIOError:
                await anyio.wait_readable(self.sock)
                continue
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.open += 1
            group.start_soon(self._serve, _Wire(sock), self.connections)

    async def _serve(self, wire: _Wire, number: int) -> None:
        try:
            while await self._exchange(wire, number):
                pass
        except ConnectionError:
            pass  # the client did not want to hear more
        finally:
            if wire.sock.fileno() >= 0:
                anyio.notify_closing(wire.sock)
                wire.sock.close()
            self.open -= 1
            self._note()

    async def _exchange(self, wire: _Wire, number: int) -> bool:
        """One request and its answer; whether the connection lives on."""
        head = await wire.head()
        if not head:
            return False
        request = _parse(head, number, wire)
        self.requests.append(request)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        self._note()
        try:
            reply = await self.handler(request)
            if not reply.early:
                await request.read()
            await _answer(wire, request.method, reply)
            if reply.then == "deaf":
                await anyio.sleep_forever()
            if reply.then == "silence":
                await wire.drain()
        finally:
            self.busy -= 1
            self._note()
        if reply.then == "reset":
            wire.reset()
        elif reply.then == "close" or reply.early:
            with suppress(OSError):  # the client has hung up
                wire.sock.shutdown(socket.SHUT_WR)
            await wire.drain()  # closed with bytes unread, the socket would send a reset behind the answer
        return reply.then == "keep" and not reply.early


async def _answer(wire: _Wire, method: str, reply: Reply) -> None:
    data = reply.wire(method)
    step = 1 if reply.drip else max(len(data), 1)
    for start in range(0, len(data), step):
        await wire.send(data[start : start + step])
        await anyio.lowlevel.checkpoint()


def _parse(head: bytes, number: int, wire: _Wire) -> Request:
    line, *rest = head.split(b"\r\n")
    pairs = (each.decode("latin-1").partition(":") for each in rest)
    request = Request(line, [(name, value.strip()) for name, _, value in pairs], number, wire)
    request.unread = int(request.header("content-length") or 0)
    return request


@asynccontextmanager
async def serve(handler: Handler | Reply | Sequence[Reply]) -> AsyncIterator[Peer]:
    """Listen on a free port of the loopback while the block runs; then every connection is closed.

    An error of the block comes out as it is, not inside an ExceptionGroup.
    """
    if isinstance(handler, Reply):
        handler = replies(handler)
    elif not callable(handler):
        handler = replies(*handler)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        sock.setblocking(False)
        peer = Peer(handler, sock, f"http://127.0.0.1:{sock.getsockname()[1]}")
        failures: list[BaseException] = []
        async with anyio.create_task_group() as group:
            group.start_soon(peer._listen, group)
            try:
                yield peer
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as failure:  # noqa: BLE001 - raised below
                failures.append(failure)
            group.cancel_scope.cancel()
        if failures:
            raise failures[0]
