"""Connections that wait for their next request, and how many there are in all.

Every request takes a place, of which there are ``size``; a connection in a request's hands needs no other record. Idle
ones stand in stacks, one for each origin: the last that came goes first, so that a burst's surplus grows old and is
closed. A request that needs a new connection where all places are filled closes the idle one that is oldest.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio
import httpx

from .._places import Places

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .wire import Wire


CLOSED: Final = "this handtruck.Transport is closed"


class Origin(NamedTuple):
    """Where connections lead, and what separates those that must not be mixed.

    Attributes:
        name: the name that TLS asks for, where it is not the host's.
    """

    secure: bool
    host: str
    port: int
    name: str | None = None


_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: httpx.URL, name: str | None) -> Origin:
    """Where a URL leads.

    Raises:
        httpx.UnsupportedProtocol: nowhere that we know.
    """
    if url.scheme not in _PORTS or not url.host:
        raise httpx.UnsupportedProtocol(f"a URL must have a host, and begin with http:// or https://: {url.scheme!r}")
    port = _PORTS[url.scheme] if url.port is None else url.port
    return Origin(url.scheme == "https", url.raw_host.decode("ascii"), port, name)


@dataclass(slots=True)
class Pool:
    """All connections of a transport.

    Attributes:
        size: connections there may be at once.
        keep: how many of them may be idle.
        expiry: seconds after which an idle one is closed; None: never.
        clock: seconds that never go back.
    """

    size: int
    keep: int
    expiry: float | None
    clock: Callable[[], float]
    busy: set[Wire] = field(default_factory=set)
    _places: Places = field(init=False)
    _waiting: set[anyio.CancelScope] = field(default_factory=set)
    _idle: dict[Origin, deque[Wire]] = field(default_factory=dict)
    _idle_count: int = 0

    def __post_init__(self) -> None:
        self._places = Places(self.size)

    def enter_now(self) -> bool:
        """Take a place, if one is free."""
        return self._places.take_free()

    async def enter(self, timeout: float | None) -> None:
        """Wait for a place.

        Raises:
            httpx.PoolTimeout: none became free for ``timeout`` seconds.
            RuntimeError: the pool was closed.
        """
        with self.interruptible(), anyio.move_on_after(timeout) as scope:
            await self._places.take()
        if scope.cancelled_caught:
            raise httpx.PoolTimeout(f"all {self.size} connections were busy for {timeout:g} s")

    @contextmanager
    def interruptible(self) -> Generator[None]:
        """What is waited for in here ends when the pool is closed.

        Raises:
            RuntimeError: that happened.
        """
        with anyio.CancelScope() as scope:
            self._waiting.add(scope)
            try:
                yield
            finally:
                self._waiting.discard(scope)
        if scope.cancelled_caught:
            raise RuntimeError(CLOSED)

    def leave(self) -> None:
        """The request is over."""
        self._places.give_back()

    def reuse(self, origin: Origin) -> Wire | None:
        """The connection that was used last, if it is alive."""
        self._expire()
        stack = self._idle.get(origin)
        while stack:
            wire = stack.pop()
            self._idle_count -= 1
            if not stack:
                del self._idle[origin]
            if wire.is_alive():
                self.busy.add(wire)
                return wire
            wire.close()
        return None

    def make_room(self) -> None:
        """Before a new connection: no more of them than there are places, this one included."""
        while self._idle_count and self._idle_count + self._places.taken > self.size:
            self._close_oldest()

    def put_back(self, origin: Origin, wire: Wire) -> None:
        """A connection that may serve another request."""
        self.busy.discard(wire)
        if not self.keep:
            wire.close()
            return
        while self._idle_count >= self.keep:
            self._close_oldest()
        wire.idle_since = self.clock()
        self._idle.setdefault(origin, deque()).append(wire)
        self._idle_count += 1

    def drop(self, wire: Wire) -> None:
        """A connection that may not."""
        self.busy.discard(wire)
        wire.close()

    def _expire(self) -> None:
        if self.expiry is None or not self._idle_count:
            return
        limit = self.clock() - self.expiry
        for origin in list(self._idle):
            stack = self._idle[origin]
            while stack and stack[0].idle_since < limit:
                stack.popleft().close()
                self._idle_count -= 1
            if not stack:
                del self._idle[origin]

    def _close_oldest(self) -> None:
        origin, stack = min(
            ((origin, stack) for origin, stack in self._idle.items() if stack), key=lambda each: each[1][0].idle_since
        )
        stack.popleft().close()
        self._idle_count -= 1
        if not stack:
            del self._idle[origin]

    def close(self) -> None:
        """Close every connection. Whoever waits on one gets an error."""
        for stack in self._idle.values():
            for wire in stack:
                wire.close()
        self._idle.clear()
        self._idle_count = 0
        for wire in list(self.busy):
            wire.close()
        for scope in list(self._waiting):
            scope.cancel()
