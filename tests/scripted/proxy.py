"""A road in between: passes bytes on, counts them, and at a count pulls a trigger."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketAttribute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import ByteStream, SocketStream

_BLOCK: Final = 16 * 1024


@dataclass(slots=True)
class Road:
    """What has passed.

    Attributes:
        url: of the road's own end.
        up, down: bytes towards the server, and from it.
        trigger: called when so many bytes have passed ``direction``; nothing more passes on that connection.
        refuses: new connections are closed at once.
    """

    url: str = ""
    up: int = 0
    down: int = 0
    direction: str = ""
    at: int = 0
    trigger: Callable[[], object] | None = None
    connections: set[anyio.CancelScope] = field(default_factory=set)
    refuses: bool = False

    def when(self, direction: str, at: int, trigger: Callable[[], object]) -> None:
        """Pull ``trigger`` when ``at`` bytes have passed in a direction, counted from now."""
        self.up = self.down = 0
        self.direction, self.at, self.trigger = direction, at, trigger

    def cut(self) -> None:
        """Nothing more passes, on no connection that there is, nor on any that comes before :meth:`pass_freely`."""
        self.refuses = True
        for connection in self.connections:
            connection.cancel()

    async def drain(self) -> None:
        """After a :meth:`cut`, meet who was on the way here: they are accepted, and refused, before the last one."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        async with await anyio.connect_tcp(parts.hostname, parts.port) as last:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                await last.receive()

    def pass_freely(self) -> None:
        """Count from now, and do nothing else."""
        self.refuses = False
        self.up = self.down = 0
        self.trigger = None

    def count(self, direction: str, block: bytes) -> bytes:
        """What of a block may pass."""
        before: int = getattr(self, direction)
        if self.trigger is not None and direction == self.direction and before + len(block) >= self.at:
            block = block[: max(self.at - before, 0)]
            trigger, self.trigger = self.trigger, None
            setattr(self, direction, before + len(block))
            trigger()
            return block
        setattr(self, direction, before + len(block))
        return block


@asynccontextmanager
async def road_to(url: str) -> AsyncIterator[Road]:
    """A road to a server, while it lasts."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port, road = parts.hostname, parts.port, Road()

    async def serve(client: SocketStream) -> None:
        broken = suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
        with broken, anyio.CancelScope() as scope:  # from the beginning: a cut may come while the server is called
            async with client:
                if road.refuses:
                    return
                road.connections.add(scope)
                try:
                    async with await anyio.connect_tcp(host, port) as server, anyio.create_task_group() as both:
                        both.start_soon(_pass, road, "down", server, client, both.cancel_scope)
                        await _pass(road, "up", client, server, both.cancel_scope)
                finally:
                    road.connections.discard(scope)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        own = listener.extra(SocketAttribute.local_address)  # noqa: S610 - anyio's, no database's
        road.url = f"http://127.0.0.1:{own[1]}{parts.path}"
        tasks.start_soon(listener.serve, serve)
        yield road
        tasks.cancel_scope.cancel()


async def _pass(road: Road, direction: str, source: ByteStream, target: ByteStream, over: anyio.CancelScope) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream):
        while True:
            block = await source.receive(_BLOCK)
            passing = road.count(direction, block)
            if passing:
                await target.send(passing)
            if len(passing) < len(block):
                break
    over.cancel()
