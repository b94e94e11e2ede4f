"""The other side: h11 judges every byte that we send, a script says which bytes come back.

All tasks of a peer exist before the first connection comes: whoever counts the tasks or the steps of a client does
not count the peer's. Sockets are non-blocking and waited for by anyio: the same lines serve all three loops.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import anyio
import h11
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_READ: Final = 256 * 1024
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_LONG_HEADS: Final = 128 * 1024
_PATIENCE: Final = 15.0


@dataclass(frozen=True, slots=True)
class Request:
    """What h11 made of a request.

    Attributes:
        raw: its head, byte for byte.
        connection: the number of the connection it came on, from 1.
    """

    method: str
    target: bytes
    headers: dict[str, str]
    body: bytes
    raw: bytes
    connection: int


class Line:
    """The peer's end of a connection."""

    def __init__(self, sock: socket.socket, number: int, peer: Peer) -> None:
        self.sock: Any = sock
        self.number = number
        self.peer = peer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONG_HEADS)
        self._rest = b""
        self._raw = b""
        self._ended = False

    # In

    async def receive(self, most: int = _READ) -> bytes:
        """Some bytes; none at the end."""
        while True:
            try:
                return bytes(self.sock.recv(most))
            except (BlockingIOError, ssl.SSLWantReadError):
                await anyio.wait_readable(self.sock)
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                return b""

    async def drain(self) -> None:
        """Read on, and forget it, until the client closes."""
        with suppress(OSError):
            while await self.receive():
                pass

    async def head(self) -> h11.Request | None:
        """The next request's; None where the client is done."""
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONG_HEADS)
        self._raw = b""
        if self._rest:
            self._feed(self._rest)
        event = await self._event()
        if isinstance(event, h11.Request):
            return event
        assert isinstance(event, h11.ConnectionClosed), event
        return None

    async def body(self) -> bytes:
        """Of the request whose head was read."""
        blocks: list[bytes] = []
        while True:
            event = await self._event()
            if isinstance(event, h11.EndOfMessage):
                self._rest = self._http.trailing_data[0]
                return b"".join(blocks)
            assert isinstance(event, h11.Data), event
            blocks.append(bytes(event.data))

    async def some_body(self) -> bytes:
        """The next piece of it."""
        event = await self._event()
        assert isinstance(event, h11.Data), event
        return bytes(event.data)

    async def request(self) -> Request | None:
        """The next one, whole; noted."""
        head = await self.head()
        if head is None:
            return None
        raw = self._raw.partition(b"\r\n\r\n")[0]
        headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
        request = Request(head.method.decode(), head.target, headers, await self.body(), raw, self.number)
        self.peer.requests.append(request)
        self.peer.note()
        return request

    async def _event(self) -> Any:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            try:
                data = await self.receive()
            except ConnectionResetError:
                if self._raw:
                    raise
                data = b""  # between requests that is a goodbye, too
            if not data and self._raw:
                raise ConnectionResetError("the client went away in the middle of a request")
            self._feed(data)
        return event

    def _feed(self, data: bytes) -> None:
        self._raw += data if len(self._raw) < _LONG_HEADS else b""
        self._http.receive_data(data)

    # Out

    async def send(self, *segments: bytes, turns: int = 4) -> None:
        """Send them one by one; the client has a chance to read each before the next one leaves."""
        for number, segment in enumerate(segments):
            if number:
                await let_others_run(turns)
            view = memoryview(segment)
            while view:
                try:
                    view = view[self.sock.send(view) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    await anyio.wait_writable(self.sock)

    def end(self, *, notify: bool = True) -> None:
        """Say that no more will come; over TLS with its own goodbye, unless ``notify`` is False."""
        if notify and isinstance(self.sock, ssl.SSLSocket):
            with suppress(ssl.SSLWantReadError, ssl.SSLSyscallError):
                self.sock.unwrap()
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """The client meets ECONNRESET."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.close()

    def close(self) -> None:
        """Harmless when closed."""
        if self.sock.fileno() >= 0:
            anyio.notify_closing(self.sock)
            self.sock.close()


Script: TypeAlias = Callable[[Line], Awaitable[None]]
"""What a peer does with each connection; it is closed afterwards."""

Then: TypeAlias = Literal["keep", "end", "cut", "reset", "close", "silence"]
"""After an answer: next request, please; goodbye; goodbye without TLS's own; reset; close at once; nothing more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes, and what becomes of the connection."""

    segments: tuple[bytes, ...]
    then: Then = "keep"


def answer(*segments: bytes, then: Then = "keep") -> Answer:
    """See :class:`Answer`."""
    return Answer(segments, then)


def ok(body: bytes = b"", *headers: bytes, then: Then = "keep") -> Answer:
    """An ordinary answer of 200."""
    lines = b"".join(header + b"\r\n" for header in headers)
    return Answer((b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body),), then)


def answering(*script: Answer) -> Script:
    """Each request gets the next answer, the last one for ever; whichever connection it comes on."""
    left = list(script)

    async def converse(line: Line) -> None:
        while await line.request() is not None:
            reply = left.pop(0) if len(left) > 1 else left[0]
            await line.send(*reply.segments)
            if reply.then != "keep":
                await leave(line, reply.then)
                return

    return converse


async def leave(line: Line, then: Then) -> None:
    """End a connection in one of the ways there are."""
    match then:
        case "end":
            line.end()
            await line.drain()
        case "cut":
            line.end(notify=False)
            await line.drain()
        case "reset":
            line.reset()
        case "silence":
            await line.drain()
        case _:
            line.close()


async def let_others_run(turns: int = 4) -> None:
    for _ in range(turns):
        await checkpoint()


@dataclass(slots=True, eq=False)
class Peer:
    """A listening peer.

    Attributes:
        script: may be replaced while it runs.
        requests: all that came whole, in order of arrival.
        connections: that were accepted, TLS handshake included.
        refused: TLS handshakes that failed.
        lines: open now.
    """

    script: Script
    sock: socket.socket
    tls: ssl.SSLContext | None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    refused: int = 0
    lines: list[Line] = field(default_factory=list)
    wrong: list[Exception] = field(default_factory=list)
    _turn: anyio.Lock = field(default_factory=anyio.Lock)
    _changed: anyio.Event = field(default_factory=anyio.Event)

    @property
    def port(self) -> int:
        port: int = self.sock.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        """Of its root, without the slash."""
        if self.sock.family == socket.AF_UNIX:
            return f"{'https' if self.tls else 'http'}://127.0.0.1"
        host = self.sock.getsockname()[0]
        return f"{'https' if self.tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"

    @property
    def descriptors(self) -> set[int]:
        return {line.sock.fileno() for line in self.lines}

    def note(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that came or went makes this true; not for ever."""
        with anyio.fail_after(_PATIENCE):
            while not condition():
                await self._changed.wait()

    async def deserted(self) -> None:
        """Wait until every connection is closed."""
        await self.until(lambda: not self.lines)

    async def work(self) -> None:
        """One connection after the other."""
        while True:
            async with self._turn:
                sock = await self._accepted()
            line = Line(sock, 0, self)
            self.lines.append(line)
            try:
                await self._serve(line)
            finally:
                line.close()
                self.lines.remove(line)
                self.note()

    async def _accepted(self) -> socket.socket:
        while True:
            with suppress(BlockingIOError):
                sock, _ = self.sock.accept()
                sock.setblocking(False)
                if sock.family != socket.AF_UNIX:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return sock
            await anyio.wait_readable(self.sock)

    async def _serve(self, line: Line) -> None:
        try:
            if self.tls is not None:
                try:
                    await _shake_hands(line, self.tls)
                except OSError:
                    self.refused += 1
                    return
            self.connections += 1
            line.number = self.connections
            self.note()
            await self.script(line)
        except (ConnectionError, ssl.SSLError):
            pass  # the client did not want to hear more
        except (h11.RemoteProtocolError, AssertionError) as error:
            self.wrong.append(error)


async def _shake_hands(line: Line, context: ssl.SSLContext) -> None:
    line.sock = context.wrap_socket(
        line.sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
    )
    while True:
        try:
            line.sock.do_handshake()
        except ssl.SSLWantReadError:
            await anyio.wait_readable(line.sock)
        except ssl.SSLWantWriteError:
            await anyio.wait_writable(line.sock)
        else:
            return


@asynccontextmanager
async def serving(
    script: Script | Answer,
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    uds: str | None = None,
    hands: int = 8,
    memory: int | None = None,
) -> AsyncIterator[Peer]:
    """Listen while the block runs. What h11 did not understand fails the block.

    Args:
        script: for each connection; or one answer for every request.
        tls: for https.
        host: to listen at.
        port: there.
        uds: a Unix-domain socket's path instead.
        hands: connections at once.
        memory: how many bytes the kernel keeps for us before the client has to wait; about.
    """
    if isinstance(script, Answer):
        script = answering(script)
    sock = _listening(host, port, uds)
    if memory is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, memory)
    with sock:
        peer = Peer(script, sock, tls)
        failures: list[BaseException] = []
        async with anyio.create_task_group() as group:
            for _ in range(hands):
                group.start_soon(peer.work)
            try:
                yield peer
            except anyio.get_cancelled_exc_class():
                raise
            except BaseException as failure:  # noqa: BLE001 - raised below, and not in a group
                failures.append(failure)
            group.cancel_scope.cancel()
        first = next(iter([*peer.wrong, *failures]), None)  # what the client met may come of what the peer did
        if first is not None:
            raise first


def _listening(host: str, port: int, uds: str | None) -> socket.socket:
    family = socket.AF_UNIX if uds else socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    if uds is None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(uds or (host, port))
    sock.listen(512)
    sock.setblocking(False)
    return sock
