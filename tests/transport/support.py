"""What the tests of this package share."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from handtruck import Transport
from handtruck._body import ViewStream
from tests.transport.peer import let_others_run, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import anyio

    from handtruck.transport.bodies import ResponseBody
    from handtruck.transport.wire import Wire
    from tests.transport.peer import Answer, Peer, Script

GOES_RED: Final = (AssertionError, pytest.fail.Exception)
ON_LINUX: Final = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for descriptors")
MIB: Final = 1024 * 1024
PATIENT: Final = httpx.Timeout(10.0)
"""Nothing here takes that long."""

ON_ASYNCIO: Final = pytest.mark.parametrize("anyio_backend", [("asyncio", {})], ids=["asyncio"], indirect=True)


def pattern(size: int) -> bytes:
    """Bytes of which no two stretches look the same for long."""
    block = b"".join(b"%07x|" % number for number in range(0, min(size, MIB), 8))
    return (block * (size // max(len(block), 1) + 1))[:size]


def transport(**options: Any) -> Transport:
    """A patient one."""
    return Transport(**{"timeout": PATIENT, **options})


def request(
    url: str,
    method: str = "GET",
    *,
    view: bytes | None = None,
    threads: anyio.CapacityLimiter | None = None,
    idempotent: bool = False,
    **options: Any,
) -> httpx.Request:
    """``view``: a body that is sent as it lies in memory; by ``threads``, if they are given and it pays."""
    if idempotent:
        options["extensions"] = {**options.get("extensions", {}), "handtruck.idempotent": True}
    if view is not None:
        options["headers"] = {"Content-Length": str(len(view)), **options.get("headers", {})}
        options["stream"] = ViewStream(memoryview(view), threads)
    if "stream" in options:  # then httpx adds no headers of its own
        options["headers"] = {"Host": httpx.URL(url).netloc.decode(), **options.get("headers", {})}
    return httpx.Request(method, url, **options)


async def fetch(own: Transport, url: str, method: str = "GET", **options: Any) -> httpx.Response:
    """Send a request, and read all of the answer."""
    response = await own.handle_async_request(request(url, method, **options))
    try:
        await response.aread()
    finally:
        await response.aclose()
    return response


def raw(response: httpx.Response) -> ResponseBody:
    """Our own body, with readinto."""
    body: ResponseBody = response.extensions["handtruck.body"]
    return body


async def exchanged(script: Script | Answer, method: str = "GET", **options: Any) -> httpx.Response:
    """One request to a peer of its own, and all of the answer."""
    async with serving(script) as peer, transport() as own:
        return await fetch(own, peer.url, method, **options)


def idle(own: Transport) -> list[Wire]:
    """Connections that wait in the pool."""
    return [wire for stack in own._pool._idle.values() for wire in stack]


def assert_at_rest(own: Transport) -> None:
    """Every place is back, nobody waits, and no connection is in anybody's hands."""
    pool = own._pool
    assert pool._places.taken == 0
    assert not pool._places._others
    assert not pool.busy
    assert len(idle(own)) == pool._idle_count


def descriptors() -> set[int]:
    """Of this process; the one that looks is gone by then."""
    return {number for number in map(int, os.listdir("/proc/self/fd")) if _is_open(number)}  # noqa: PTH208


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@contextmanager
def deaf_address(host: str = "127.0.0.1") -> Iterator[int]:
    """A port where a connection is neither made nor refused: those who wait to be accepted are too many."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((host, 0))
        sock.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(sock.getsockname())
        port: int = sock.getsockname()[1]
        yield port


async def strays(own: Transport, peer: Peer, before: set[int]) -> set[str]:
    """Open descriptors that are neither the peer's nor of idle connections; the peer has time to let go of its own."""
    left: set[int] = set()
    for _ in range(50):
        mine = {wire.sock.fileno() for wire in idle(own)}
        mine |= {wire._both.fileno() for wire in idle(own) if wire._both is not None}
        left = descriptors() - before - peer.descriptors - mine
        if not left:
            break
        await let_others_run()
    return {f"{number}: {_what(number)}" for number in left}


def _what(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
    except OSError:
        return "closed meanwhile"


@asynccontextmanager
async def leaving_nothing(own: Transport, peer: Peer) -> AsyncIterator[None]:
    """After the block nothing is left but idle connections."""
    before = descriptors()
    yield
    assert not await strays(own, peer, before)
    assert_at_rest(own)
