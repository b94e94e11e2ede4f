"""A transport that is closed: nobody hangs, everything is closed, and what is asked of it later is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck.transport.pool import Pool
from handtruck.transport.wire import Wire
from tests.transport.peer import Line, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    ON_LINUX,
    assert_at_rest,
    deaf_address,
    descriptors,
    fetch,
    idle,
    raw,
    request,
    strays,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from handtruck import Transport
    from tests.transport.certificates import Authority
    from tests.transport.peer import Peer

pytestmark = [pytest.mark.anyio, ON_LINUX]

ERRORS: Final = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.StreamClosed, RuntimeError)
NO_LIMIT: Final = httpx.Timeout(None)


@dataclass
class World:
    """One place, no timeouts."""

    own: Transport
    peer: Peer
    deaf: int
    secure: bool

    def url(self, host: str, port: int = 0) -> str:
        return f"http{'s' * self.secure}://{host}:{port or self.peer.port}/"


async def converse(line: Line) -> None:
    while (head := await line.head()) is not None:
        if head.method == b"PUT":
            await anyio.sleep_forever()
        await line.body()
        match head.target:
            case b"/silent":
                await line.drain()
            case b"/half":
                await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                await line.drain()
            case b"/chunks":
                await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
                await line.drain()
            case _:
                await line.send(*ok(b"fine").segments)


async def resolve(host: str, _: int) -> list[str]:
    if host == "stuck.test":
        await anyio.sleep_forever()
    return ["127.0.0.1"] if host != "two.test" else ["127.0.0.1", "127.0.0.2"]


async def read_into(world: World, path: str) -> None:
    response = await world.own.handle_async_request(request(world.url("bucket.test") + path))
    try:
        while await raw(response).readinto(bytearray(3)):
            pass
    finally:
        await response.aclose()


WAITS: Final[dict[str, Callable[[World], Awaitable[Any]]]] = {
    "for a name": lambda w: fetch(w.own, w.url("stuck.test")),
    "for a connection": lambda w: fetch(w.own, w.url("bucket.test", w.deaf)),
    "for one of two": lambda w: fetch(w.own, w.url("two.test", w.deaf)),
    "for room to send": lambda w: fetch(w.own, w.url("bucket.test"), "PUT", view=bytes(16 * MIB)),
    "for a head": lambda w: fetch(w.own, w.url("bucket.test") + "silent"),
    "for a body": lambda w: read_into(w, "half"),
    "for chunks": lambda w: read_into(w, "chunks"),
}


async def check_closed_while(wait: str, secure: Authority | None) -> None:
    tls = secure.serving() if secure else None
    options: dict[str, Any] = {"ssl_context": secure.trusting()} if secure else {}
    limits = httpx.Limits(max_connections=1)
    with deaf_address() as deaf:
        async with serving(converse, tls=tls) as peer:
            own = transport(limits=limits, resolve=resolve, timeout=NO_LIMIT, **options)
            world = World(own, peer, deaf, secure is not None)
            await fetch(own, world.url("bucket.test"))
            before = descriptors() - peer.descriptors - {wire.sock.fileno() for wire in idle(own)}
            raised: list[Exception] = []

            async def waits(job: Callable[[World], Awaitable[Any]]) -> None:
                try:
                    await job(world)
                except ERRORS as error:
                    raised.append(error)

            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    group.start_soon(waits, WAITS[wait])
                    await let_others_run(30)
                    for _ in range(3):  # who queue behind it
                        group.start_soon(waits, WAITS["for a head"])
                    await let_others_run(10)
                    assert not raised
                    await own.aclose()
            assert len(raised) == 4
            assert_at_rest(own)
            assert not idle(own)
            assert not await strays(own, peer, before)
            await peer.until(lambda: len(peer.lines) == (wait == "for room to send"))


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("wait", WAITS)
async def test_closed_while_others_wait(wait: str, secure: bool, authority: Authority) -> None:
    await check_closed_while(wait, authority if secure else None)


async def test_closed_in_a_handshake(authority: Authority) -> None:
    async def script(line: Line) -> None:
        await line.drain()

    async with serving(script) as peer:  # it says nothing of TLS
        own = transport(ssl_context=authority.trusting(), timeout=NO_LIMIT)
        raised: list[Exception] = []

        async def waits() -> None:
            try:
                await fetch(own, f"https://127.0.0.1:{peer.port}")
            except ERRORS as error:
                raised.append(error)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(waits)
                await peer.until(lambda: peer.connections == 1)
                await let_others_run()
                await own.aclose()
        assert raised
        assert_at_rest(own)
        await peer.deserted()


async def test_closed_while_an_answer_is_held() -> None:
    """Nobody reads it, and somebody queues behind it: he is told, too."""
    async with serving(ok(bytes(100_000))) as peer:
        own = transport(limits=httpx.Limits(max_connections=1), timeout=NO_LIMIT)
        response = await own.handle_async_request(request(peer.url))
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:

                async def queues() -> None:
                    with pytest.raises(RuntimeError):
                        await fetch(own, peer.url)

                group.start_soon(queues)
                await let_others_run()
                await own.aclose()
            with pytest.raises(RuntimeError):
                await fetch(own, peer.url)
        with pytest.raises(ERRORS):
            await response.aread()
        await response.aclose()
        assert_at_rest(own)
        await peer.deserted()


async def test_closed_while_a_source_makes_us_wait() -> None:
    """It is the caller's, and nobody's to interrupt; when it goes on, the request ends."""
    go_on = anyio.Event()

    class Source(httpx.AsyncByteStream):
        async def __aiter__(self) -> Any:
            yield b"first"
            await go_on.wait()
            yield b"second"

    async with serving(ok()) as peer:
        own = transport(timeout=NO_LIMIT)

        async def send() -> None:
            with pytest.raises(ERRORS):
                await fetch(own, peer.url, "PUT", stream=Source(), headers={"Content-Length": "11"})

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(send)
                await peer.until(lambda: peer.connections == 1)
                await let_others_run()
                await own.aclose()
                await peer.deserted()
                go_on.set()
        assert_at_rest(own)


async def test_idle_connections_are_closed() -> None:
    async with serving(ok()) as peer:
        async with transport() as own:
            await fetch(own, peer.url)
            assert len(peer.lines) == 1
        await peer.deserted()
        await own.aclose()
        for call in (request(peer.url), request("http://nowhere.test")):
            with pytest.raises(RuntimeError):
                await own.handle_async_request(call)
        assert_at_rest(own)


async def test_an_answer_read_after_closing() -> None:
    """What had come already may be read; the connection is not kept."""
    async with serving(ok(b"small")) as peer:
        own = transport()
        response = await own.handle_async_request(request(peer.url))
        await own.aclose()
        await response.aread()
        await response.aclose()
        assert response.content == b"small"
        assert not idle(own)
        await peer.deserted()


# -- Mutations -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", ["for a connection", "for a name"])
async def test_mutation_who_waits_is_not_told(wait: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(set[Any]):
        def add(self, _: object) -> None:
            pass

    original = Pool.__post_init__

    def post_init(self: Pool) -> None:
        original(self)
        self._waiting = Forgetful()

    monkeypatch.setattr(Pool, "__post_init__", post_init)
    monkeypatch.setattr("tests.transport.test_closing.anyio.fail_after", lambda _: _fail_soon())
    with pytest.raises((*GOES_RED, TimeoutError)):
        await check_closed_while(wait, None)


async def test_mutation_closed_without_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that waits for a descriptor which is closed under it waits for ever."""
    monkeypatch.setattr(Wire, "close", lambda self: self.sock.close())
    monkeypatch.setattr("tests.transport.test_closing.anyio.fail_after", lambda _: _fail_soon())
    with pytest.raises((*GOES_RED, TimeoutError)):
        await check_closed_while("for a head", None)


def _fail_soon(original: Any = anyio.fail_after) -> Any:
    return original(0.1)
