"""A large body over TLS, which worker threads encrypt and send: in order, all of it, and no thread waits for the peer.

Whatever ends it early, a cancellation, the transport or the peer: the thread is back before the call is, no descriptor
is closed while a thread may write to it, and an answer that comes meanwhile is read.
"""

from __future__ import annotations

import asyncio
import select
import socket
import threading
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.from_thread
import httpx
import pytest

from handtruck._tasks import in_thread, isolated, siblings
from handtruck.transport import exchange, wire
from handtruck.transport.wire import FAST, HOP, Wire
from tests.transport.peer import answer, answering, leave, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    ON_ASYNCIO,
    ON_LINUX,
    assert_at_rest,
    descriptors,
    fetch,
    leaving_nothing,
    pattern,
    strays,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck import Transport
    from tests.transport.certificates import Authority
    from tests.transport.peer import Line, Peer, Then

pytestmark = [pytest.mark.anyio, ON_LINUX]

BODY: Final = pattern(2 * HOP + 12_345)
SOON: Final = 10.0
"""Seconds after which what was waited for does not come any more."""


@pytest.fixture
def secure(authority: Authority) -> dict[str, Any]:
    """Options of the peer, and of the transport."""
    return {"peer": {"tls": authority.serving()}, "own": {"ssl_context": authority.trusting()}}


IN_THE_CLEAR: Final[dict[str, Any]] = {"peer": {}, "own": {}}


@dataclass(frozen=True)
class Hop:
    """What a thread was given, and did."""

    size: int
    sent: int
    thread: int


@pytest.fixture
def hops(monkeypatch: pytest.MonkeyPatch) -> list[Hop]:
    made: list[Hop] = []
    push = Wire.push

    def noted(self: Wire, view: memoryview, until: float) -> int:
        sent = push(self, view, until)
        made.append(Hop(len(view), sent, threading.get_ident()))
        return sent

    monkeypatch.setattr(Wire, "push", noted)
    return made


@pytest.fixture
def one_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread stays, however slow this machine is: no pause is one."""
    monkeypatch.setattr(wire, "_PAUSE", 10_000)
    monkeypatch.setattr(exchange, "HOP_TIME", 60.0)


def one() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(1)


async def greeted(line: Line) -> None:
    """A request before the one that counts: after it nothing is left to read, TLS's tickets neither."""
    await line.request()
    await line.send(*ok().segments)


async def put(own: Transport, peer: Peer, body: bytes, threads: anyio.CapacityLimiter | None) -> httpx.Response:
    return await isolated(partial(fetch, own, peer.url, "PUT", view=body, threads=threads))


# -- All of it ---------------------------------------------------------------------------------------------------------


async def check_sent(size: int, secure: dict[str, Any], *, threads: bool = True) -> None:
    """Twice, on one connection."""
    body, limiter = BODY[:size], one() if threads else None
    async with serving(ok(b"fine"), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        for _ in range(2):
            assert (await put(own, peer, body, limiter)).content == b"fine"
            assert peer.requests[-1].method == "PUT"
            same = peer.requests[-1].body == body  # said like this, pytest does not show how megabytes differ
            assert same
            assert_at_rest(own)
        assert limiter is None or limiter.borrowed_tokens == 0
        assert peer.connections == 1


@pytest.mark.parametrize("size", [0, 1, FAST, 2 * FAST + 1, 3 * FAST - 1, 3 * FAST, MIB, 3 * MIB + 1, HOP, len(BODY)])
async def test_sent(size: int, secure: dict[str, Any], hops: list[Hop]) -> None:
    await check_sent(size, secure)
    assert threading.get_ident() not in {hop.thread for hop in hops}
    assert all(0 <= hop.sent <= hop.size <= HOP for hop in hops)
    assert bool(hops) == (size >= 3 * FAST)  # the loop encrypts two at once, and what is not worth a hop


async def test_nobody_waits_for_a_thread(secure: dict[str, Any], hops: list[Hop]) -> None:
    """All have something else to do, with a disk that hangs: the loop encrypts."""
    busy = one()
    busy.acquire_on_behalf_of_nowait("somebody else")
    async with serving(ok(b"fine"), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        with anyio.fail_after(SOON):
            assert (await put(own, peer, BODY[: 3 * MIB], busy)).content == b"fine"
        assert_at_rest(own)
    assert not hops


async def test_closed_before_it_is_lent(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody who had a turn after the first block."""
    send_some = Wire.send_some

    async def closing(self: Wire, view: memoryview, timeout: float | None) -> int:
        sent = await send_some(self, view, timeout)
        if sent > FAST:
            self.close()
        return sent

    monkeypatch.setattr(Wire, "send_some", closing)
    async with serving(ok(b"fine"), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        with pytest.raises(httpx.WriteError):
            await put(own, peer, BODY[: 3 * MIB], one())
        assert_at_rest(own)


async def check_who_sends(secure: dict[str, Any], hops: list[Hop]) -> None:
    """The loop: in the clear, threads cost more than they are worth; and where none were offered, none are taken."""
    await check_sent(3 * MIB, IN_THE_CLEAR)
    await check_sent(3 * MIB, secure, threads=False)
    assert not hops


async def test_who_sends(secure: dict[str, Any], hops: list[Hop]) -> None:
    await check_who_sends(secure, hops)


async def check_a_hop(secure: dict[str, Any], hops: list[Hop]) -> None:
    """Where the peer does not pause, a thread goes on until a hop is over."""
    await check_sent(len(BODY), secure)
    assert max(hop.sent for hop in hops) == HOP


async def test_a_hop(secure: dict[str, Any], hops: list[Hop], one_hop: None) -> None:
    await check_a_hop(secure, hops)


# -- Pauses ------------------------------------------------------------------------------------------------------------


async def check_pauses(secure: dict[str, Any], patience: float = SOON) -> None:
    """The peer reads on when another hop was made meanwhile, through the only place there is."""
    go_on = anyio.Event()

    async def script(line: Line) -> None:
        await greeted(line)
        await line.head()
        await line.some_body()
        await go_on.wait()
        await line.body()
        await line.send(*ok(b"fine").segments)
        await line.drain()

    async with serving(script, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        limiter, answers = one(), list[httpx.Response]()
        await fetch(own, peer.url)

        async def send() -> None:
            answers.append(await put(own, peer, BODY, limiter))

        async with siblings() as crew:
            crew.start_soon(send)
            try:
                with anyio.fail_after(patience):
                    while not any(each.lent for each in own._pool.busy):
                        await let_others_run()
                    assert await in_thread(threading.get_ident, limiter=limiter) != threading.get_ident()
                    while limiter.borrowed_tokens:
                        await let_others_run()
                assert not answers
            finally:
                go_on.set()
        assert answers[0].content == b"fine"
        assert_at_rest(own)


async def test_no_thread_waits_for_the_peer(secure: dict[str, Any]) -> None:
    await check_pauses(secure)


async def test_a_stall(secure: dict[str, Any]) -> None:
    """A peer that takes no more is waited for as long as was asked, by the loop."""
    async with (
        serving(lambda _: anyio.sleep(SOON), **secure["peer"]) as peer,
        transport(timeout=httpx.Timeout(SOON, write=0.2), **secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        limiter = one()
        with pytest.raises(httpx.WriteTimeout):
            await put(own, peer, BODY, limiter)
        assert limiter.borrowed_tokens == 0
        for line in peer.lines:
            line.close()


class Dripping:
    """Asked whether there is room, it makes some: there always is."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer

    def register(self, sock: socket.socket, _: int) -> None:
        self._number = sock.fileno()

    def poll(self, _: int) -> list[tuple[int, int]]:
        self._peer.recv(256 * 1024)
        return [(self._number, select.POLLOUT)]


def check_a_drip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes by from one look at the clock to the next."""
    clock = count()
    monkeypatch.setattr(wire, "monotonic", lambda: float(next(clock)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        lent = Wire(ours)
        monkeypatch.setattr(wire, "_POLL", partial(Dripping, theirs))
        sent = lent.push(memoryview(bytes(64 * MIB)), 20.0)
        assert 0 < sent < 64 * MIB
        assert lent.push(memoryview(bytes(64 * MIB)), 0.0) < MIB
        assert next(clock) < 200


def test_a_drip_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    check_a_drip(monkeypatch)


# -- The peer has something to say -------------------------------------------------------------------------------------


async def check_answered(secure: dict[str, Any], then: Then | None, patience: float = SOON) -> None:
    """No, it says, and then (None) reads no further; nobody waits for the stall timeout."""
    heard = anyio.Event()

    async def script(line: Line) -> None:
        await greeted(line)
        await line.head()
        await line.some_body()
        await line.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno")
        await (leave(line, then) if then is not None else heard.wait())

    async with serving(script, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        limiter = one()
        await fetch(own, peer.url)
        try:
            with anyio.fail_after(patience):
                response = await put(own, peer, BODY, limiter)
        finally:
            heard.set()
        assert (response.status_code, response.content) == (403, b"no")
        assert_at_rest(own)
        assert limiter.borrowed_tokens == 0


@pytest.mark.parametrize("then", ["end", "silence", None])
async def test_answered(then: Then | None, secure: dict[str, Any]) -> None:
    await check_answered(secure, then)


async def test_answered_while_a_thread_waits(secure: dict[str, Any], one_hop: None) -> None:
    """It is told, and does not wait for room."""
    await check_answered(secure, None, patience=5)


@pytest.mark.parametrize("then", ["reset", "close"])
async def test_a_break(then: Then, secure: dict[str, Any]) -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.some_body()
        await leave(line, then)

    async with (
        serving(script, **secure["peer"]) as peer,
        transport(**secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        limiter = one()
        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            await put(own, peer, BODY, limiter)
        assert limiter.borrowed_tokens == 0


# -- Ended while a thread sends ----------------------------------------------------------------------------------------


@dataclass
class Pushing:
    """A request whose thread stands still."""

    own: Transport
    peer: Peer
    before: set[int]
    limiter: anyio.CapacityLimiter = field(default_factory=one)
    running: anyio.Event = field(default_factory=anyio.Event)
    go_on: threading.Event = field(default_factory=threading.Event)
    back: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    failed: list[Exception] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)

    async def run(self) -> None:
        with self.scope:
            try:
                await put(self.own, self.peer, BODY, self.limiter)
            except Exception as error:  # noqa: BLE001 - looked at below
                self.failed.append(error)
            finally:
                self.back.set()

    def hold(self, held: Wire) -> None:
        self.wires.append(held)
        anyio.from_thread.run_sync(self.running.set)
        assert self.go_on.wait(SOON)

    async def stays(self) -> None:
        """The call waits for its thread, and nobody takes the connection from under that."""
        await let_others_run(20)
        assert not self.back.is_set()
        assert self.wires[0].sock.fileno() >= 0
        assert self.limiter.borrowed_tokens == 1

    async def ends(self) -> None:
        """The thread goes on, and nothing is left."""
        self.go_on.set()
        await self.back.wait()
        assert self.wires[0].sock.fileno() < 0
        assert_at_rest(self.own)
        assert self.limiter.borrowed_tokens == 0
        assert not await strays(self.own, self.peer, self.before)
        await self.peer.deserted()


@asynccontextmanager
async def pushing(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pushing]:
    """The thread stands still while the block runs."""
    async with serving(answer(then="silence"), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        here = Pushing(own, peer, descriptors())
        push = Wire.push

        def held(self: Wire, view: memoryview, until: float) -> int:
            here.hold(self)
            return push(self, view, until)

        monkeypatch.setattr(Wire, "push", held)
        async with siblings() as crew:
            crew.start_soon(here.run)
            try:
                with anyio.fail_after(SOON):
                    await here.running.wait()
                    yield here
            finally:
                here.go_on.set()
                here.scope.cancel()


async def check_cancelled(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async with pushing(secure, monkeypatch) as here:
        here.scope.cancel()
        await here.stays()
        await here.ends()
        assert here.scope.cancelled_caught
        assert not here.failed
        here.peer.script = answering(ok(b"fine"))
        assert (await fetch(here.own, here.peer.url)).content == b"fine"


async def test_cancelled(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The call comes back with its thread, and the next request has the place."""
    await check_cancelled(secure, monkeypatch)


@ON_ASYNCIO
async def test_cancelled_as_asyncio_does(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What a native cancellation would tear apart is held together by isolation."""
    async with pushing(secure, monkeypatch) as here:
        first = next(iter(here.own._pool.busy))
        task = asyncio.ensure_future(put(here.own, here.peer, BODY, anyio.CapacityLimiter(1)))
        while len(here.wires) < 2:
            await let_others_run()
        second = here.wires[1]
        for _ in range(3):
            task.cancel()
            await let_others_run(20)
        assert not task.done()
        assert second.sock.fileno() >= 0
        here.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert second.sock.fileno() < 0
        assert second is not first


async def check_closed(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async with pushing(secure, monkeypatch) as here:
        await here.own.aclose()
        await here.stays()
        await here.ends()
        assert [type(error) for error in here.failed] == [httpx.WriteError]


async def test_closed(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor stays until the thread is back, which finds that nothing goes any more."""
    await check_closed(secure, monkeypatch)


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def test_mutation_some_is_sent_twice(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    push = Wire.push
    monkeypatch.setattr(Wire, "push", lambda self, view, until: max(push(self, view, until) - 1, 0))
    with pytest.raises((*GOES_RED, httpx.TransportError, TimeoutError)), anyio.fail_after(3):
        await check_sent(3 * MIB, secure)


async def test_mutation_threads_in_the_clear(
    secure: dict[str, Any], hops: list[Hop], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wire, "encrypts", property(lambda _: True))
    with pytest.raises(GOES_RED):
        await check_who_sends(secure, hops)


async def test_mutation_a_hop_without_end(
    secure: dict[str, Any], hops: list[Hop], one_hop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "HOP", 2**60)
    with pytest.raises(GOES_RED):
        await check_a_hop(secure, hops)


async def test_mutation_a_thread_waits_for_the_peer(secure: dict[str, Any], one_hop: None) -> None:
    with pytest.raises((*GOES_RED, TimeoutError)):
        await check_pauses(secure, patience=0.3)


def test_mutation_a_drip_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    push = Wire.push
    monkeypatch.setattr(Wire, "push", lambda self, view, _: push(self, view, float("inf")))
    with pytest.raises(GOES_RED):
        check_a_drip(monkeypatch)


async def test_mutation_nobody_listens(secure: dict[str, Any], one_hop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for room alone does not hear the answer."""
    monkeypatch.setattr(wire, "_PAUSE", 1000)
    monkeypatch.setattr(select, "POLLIN", 0)
    with pytest.raises(TimeoutError):
        await check_answered(secure, None, patience=0.3)


async def test_mutation_closed_under_a_thread(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    close = Wire.close

    def mutated(self: Wire) -> None:
        self.lent = False
        close(self)

    monkeypatch.setattr(Wire, "close", mutated)
    with pytest.raises(GOES_RED):
        await check_closed(secure, monkeypatch)


async def test_mutation_a_thread_that_nobody_waits_for(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "in_thread", partial(anyio.to_thread.run_sync, abandon_on_cancel=True))
    with pytest.raises(GOES_RED), suppress(OSError):
        await check_cancelled(secure, monkeypatch)
