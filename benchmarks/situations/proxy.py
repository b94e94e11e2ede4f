"""The road between a client and the server: it passes HTTP on, counts bodies, and at a count pulls a trigger.

While a trigger is pulled nothing passes, on no connection: what happens at a byte happens at that byte, however fast
the client, the server or the machine is. One asyncio task a connection, one request after the other; nothing here
sleeps.
"""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Awaitable, Callable

_BLOCK: Final = 64 * 1024
_HEAD: Final = 64 * 1024  # bytes a head may have


class Cut(Exception):
    """This connection ends here."""


class Swallowed(Exception):
    """Nothing passes any more: what comes is read and dropped, and no answer is given."""


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request or of an answer, as it came, without ``Expect``."""

    raw: bytes

    @property
    def words(self) -> list[str]:
        """The first line's: method, target, version; or version, status, reason."""
        return self.raw.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)

    def get(self, name: str) -> str:
        """A header's value, or nothing."""
        found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r]*)", self.raw, re.IGNORECASE)
        return found[1].decode("latin-1").strip() if found else ""

    @property
    def length(self) -> int:
        """Bytes of a body that says how many it has."""
        return int(self.get("content-length") or 0)

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return "chunked" in self.get("transfer-encoding").lower()

    def without(self, name: str) -> bytes:
        """The head, but for one header."""
        return re.sub(rb"\r\n" + name.encode() + rb":[^\r]*", b"", self.raw, flags=re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request(Head):
    """A request's head."""

    @property
    def method(self) -> str:
        """Its verb."""
        return self.words[0]

    @property
    def query(self) -> dict[str, list[str]]:
        """What stands behind the question mark."""
        return parse_qs(urlsplit(self.words[1]).query, keep_blank_values=True)

    @property
    def part_number(self) -> int:
        """Which part this is; 0 for none."""
        return int(self.query.get("partNumber", ["0"])[0])

    @property
    def completes(self) -> bool:
        """Whether this is a CompleteMultipartUpload."""
        return self.method == "POST" and "uploadId" in self.query

    @property
    def direction(self) -> str:
        """Which bodies count: ``up`` those of PUT, ``down`` the answers to GETs of objects; ``""`` none."""
        if self.method == "GET" and not self.query.keys() & {"uploadId", "uploads", "list-type"}:
            return "down"
        return "up" if self.method == "PUT" else ""


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the road does beside passing on.

    Attributes:
        direction, at: pull the trigger when so many bytes of bodies have passed ``up`` or ``down``.
        action: the trigger; nothing passes until it is over.
        then: what becomes of the connection that pulled it: ``pass``, ``cut``; or of all: ``swallow``.
        answer: the answer that we give instead of the server, or None; the request's body is read first.
        loses: whether the connection is cut when the server has answered this request, before its answer passes.
    """

    direction: str = ""
    at: int = 0
    action: Callable[[], Awaitable[object]] = _nothing
    then: str = "pass"
    answer: Callable[[Request], bytes | None] = lambda _: None
    loses: Callable[[Request], bool] = lambda _: False


FREELY: Final = Rules()


@dataclass(slots=True)
class Proxy:
    """The road. ``passed`` are bytes of bodies, ``begun`` requests since :meth:`arm`; ``pulled`` is the trigger."""

    host: str
    port: int
    url: str = ""
    passed: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    begun: int = 0
    pulled: bool = False
    rules: Rules = FREELY
    _swallows: bool = False
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def arm(self, rules: Rules) -> None:
        """From now on count from 0, by these rules."""
        self.passed = {"up": 0, "down": 0}
        self.rules, self.begun, self.pulled, self._swallows = rules, 0, False, False
        self._open.set()

    async def quiet(self, *, still: float, within: float) -> None:
        """Wait until no byte of a body has passed for ``still`` seconds; at most ``within``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                while True:
                    self._moved.clear()
                    try:
                        await asyncio.wait_for(self._moved.wait(), still)
                    except TimeoutError:
                        return

    async def settled(self, within: float) -> None:
        """Wait until every connection has ended; after so many seconds, end them."""
        if self._connections:
            await asyncio.wait(self._connections, timeout=within)
        for task in [*self._connections]:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    # -- one connection

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """All requests of one connection."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        client = _Side(reader, writer)
        server: _Side | None = None
        try:
            while True:
                request = Request(await client.head())
                self.begun += 1
                if self._swallows:
                    raise Swallowed
                server = server or _Side(*await asyncio.open_connection(self.host, self.port, limit=_HEAD))
                await self._one(request, client, server)
        except Swallowed:
            await client.drop()
        except (Cut, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # either side has gone, or we have
        finally:
            self._connections.discard(task)
            client.close()
            if server is not None:
                server.close()

    async def _one(self, request: Request, client: _Side, server: _Side) -> None:
        if request.chunked:
            raise NotImplementedError(f"a request in chunks: {request.raw!r}")
        if request.get("expect"):
            await client.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (answer := self.rules.answer(request)) is not None:
            await self._body(request.direction, request.length, client, None)
            await client.write(answer)
            return
        await server.write(request.without("expect"))
        await self._body(request.direction, request.length, client, server)
        await self._answer(request, server, None if self.rules.loses(request) else client)

    async def _answer(self, request: Request, server: _Side, client: _Side | None) -> None:
        """Pass the answer on; without ``client``, read it and cut the connection."""
        while (answer := Head(await server.head())).words[1] == "100":
            pass
        if self._swallows:
            raise Swallowed
        if client is not None:
            await client.write(answer.raw)
        direction = request.direction if request.direction == "down" and answer.words[1][0] == "2" else ""
        if request.method != "HEAD" and answer.words[1] not in ("204", "304"):
            if answer.chunked:
                await self._chunks(direction, server, client)
            else:
                await self._body(direction, answer.length, server, client)
        if client is None or answer.get("connection").lower() == "close":
            raise Cut

    async def _chunks(self, direction: str, source: _Side, target: _Side | None) -> None:
        size = -1
        while size:
            line = await source.reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            if target is not None:
                await target.write(line)
            await self._body(direction, size, source, target)
            await self._body("", 2, source, target)  # the line's end; after the last one, the trailer's

    async def _body(self, direction: str, length: int, source: _Side, target: _Side | None) -> None:
        left = length
        while left:
            block = await source.reader.read(min(left, _BLOCK))
            if not block:
                raise Cut
            left -= len(block)
            await self._pass(direction, block, target)

    async def _pass(self, direction: str, block: bytes, target: _Side | None) -> None:
        await self._open.wait()
        if self._swallows:
            raise Swallowed
        due = self.rules.at - self.passed[direction] if direction == self.rules.direction and direction else 0
        if not self.pulled and 0 < due <= len(block):
            self.pulled = True
            self._open.clear()
            await self._move(direction, block[:due], target)
            block = block[due:]
            await self._pull()
        await self._move(direction, block, target)

    async def _move(self, direction: str, block: bytes, target: _Side | None) -> None:
        if direction:
            self.passed[direction] += len(block)
            self._moved.set()
        if target is not None and block:
            await target.write(block)

    async def _pull(self) -> None:
        try:
            await self.rules.action()
            self._swallows = self.rules.then == "swallow"
        finally:
            self._open.set()
        if self._swallows:
            raise Swallowed
        if self.rules.then == "cut":
            raise Cut


@dataclass(slots=True)
class _Side:
    """A connection's end with us."""

    reader: StreamReader
    writer: StreamWriter

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drop(self) -> None:
        """Read until the other side has gone."""
        with suppress(OSError):
            while await self.reader.read(_BLOCK):
                pass

    def close(self) -> None:
        """What was written goes out; then the end does."""
        self.writer.close()


def _listener() -> socket.socket:
    """Its connections hold little: what has been sent has nearly passed."""
    listener = socket.create_server(("127.0.0.1", 0))
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        listener.setsockopt(socket.SOL_SOCKET, buffer, _BLOCK)
    return listener


@asynccontextmanager
async def road_to(url: str) -> AsyncIterator[Proxy]:
    """A road to a server, while the block lasts."""
    parts = urlsplit(url)
    proxy = Proxy(parts.hostname or "", parts.port or 80)
    proxy.arm(FREELY)
    async with await asyncio.start_server(proxy.serve, sock=_listener(), limit=_HEAD) as server:
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            await proxy.settled(0)
