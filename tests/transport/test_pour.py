"""A body that worker threads receive and hand on: in order, all of it, and no thread waits for the network.

Whatever ends it early, a sink, a cancellation, the transport or the peer: what had come was handed over, nothing but
the body ever is, the thread is back before the call is, and no descriptor is closed while a thread may read from it.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from errno import ENOSPC
from functools import partial
from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.from_thread
import httpx
import pytest

from handtruck._tasks import in_thread, isolated, siblings
from handtruck.transport import bodies, wire
from handtruck.transport.bodies import ResponseBody
from handtruck.transport.wire import HOP, Wire
from tests.transport.peer import Line, answer, answering, leave, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    ON_ASYNCIO,
    ON_LINUX,
    assert_at_rest,
    descriptors,
    fetch,
    idle,
    leaving_nothing,
    pattern,
    raw,
    request,
    strays,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck import Transport
    from tests.transport.certificates import Authority
    from tests.transport.peer import Answer, Peer, Then

pytestmark = [pytest.mark.anyio, ON_LINUX]

SIZE: Final = 300_007
BODY: Final = pattern(SIZE)
LARGE: Final = pattern(10 * MIB + 12_345)
HEAD: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BREAKS: Final = (httpx.RemoteProtocolError, httpx.ReadError)
SOON: Final = 10.0
"""Seconds after which what was waited for does not come any more."""


def chunks(body: bytes, *, last: bytes = b"0\r\n\r\n") -> bytes:
    blocks = (body[start : start + 50_000] for start in range(0, len(body), 50_000))
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + last


def of_length(size: int, body: bytes) -> bytes:
    """An answer whose body is, or is to be, so long."""
    return HEAD + b"Content-Length: %d\r\n\r\n" % size + body


def in_a_way(way: str, body: bytes) -> Answer:
    """An answer whose end is told in one of the ways there are."""
    match way:
        case "chunks":
            return answer(CHUNKED + chunks(body))
        case "until close":
            return answer(HEAD + b"\r\n" + body, then="end")
        case _:
            return ok(body)


WAYS: Final = ("length", "chunks", "until close")
Paused: TypeAlias = "tuple[httpx.Response, Sink, anyio.CapacityLimiter]"


@pytest.fixture(params=["http", "https"])
def secure(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """Options of the peer, and of the transport."""
    if request.param == "http":
        return {"peer": {}, "own": {}}
    return {"peer": {"tls": authority.serving()}, "own": {"ssl_context": authority.trusting()}}


@pytest.fixture
def one_hop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread stays until the peer is done, however slow this machine is: no pause is one."""
    monkeypatch.setattr(wire, "_PAUSE", 10_000)
    monkeypatch.setattr(bodies, "HOP_TIME", 60.0)


@dataclass
class Sink:
    """Keeps what it is given, and looks at who gives it."""

    whole: bytearray = field(default_factory=bytearray)
    sizes: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    loop: int = field(default_factory=threading.get_ident)

    def __call__(self, block: memoryview) -> None:
        assert threading.get_ident() != self.loop
        self.whole += block
        self.sizes.append(len(block))


def holds(sink: Sink, expected: bytes) -> bool:
    """To compare megabytes in an ``assert`` would take pytest many seconds, to show how they differ."""
    return sink.whole == expected


@dataclass
class Held(Sink):
    """Takes a block, says so, and holds the thread until it may go on."""

    running: anyio.Event = field(default_factory=anyio.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def __call__(self, block: memoryview) -> None:
        super().__call__(block)
        if not self.running.is_set():
            anyio.from_thread.run_sync(self.running.set)
            assert self.go_on.wait(SOON)

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """While the block runs, the thread stands still; whatever happens, not for ever."""
        try:
            with anyio.fail_after(SOON):
                await self.running.wait()
            yield
        finally:
            self.go_on.set()


@dataclass
class Failing(Sink):
    """Takes no more than so many bytes."""

    after: int = 0

    def __call__(self, block: memoryview) -> None:
        super().__call__(block)
        if len(self.whole) > self.after:
            raise OSError(ENOSPC, os.strerror(ENOSPC))


def memory(size: int) -> memoryview:
    return memoryview(bytearray(size))


def one() -> anyio.CapacityLimiter:
    return anyio.CapacityLimiter(1)


async def pour_all(response: httpx.Response, size: int, sink: Sink, limiter: anyio.CapacityLimiter) -> None:
    """Call after call, to the end; what each says that it moved is what the sink was given."""
    view = memory(size)
    moved = len(sink.whole)
    while got := await raw(response).pour(view, sink, limiter):
        sink.calls.append(got)
        moved += got
        assert len(sink.whole) == moved


# -- All of it ---------------------------------------------------------------------------------------------------------


async def check_poured(way: str, data: bytes, size: int, secure: dict[str, Any]) -> list[int]:
    """Pour all of it, twice, on one connection where its end leaves one; gives what each call moved."""
    calls: list[int] = []
    async with serving(in_a_way(way, data), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        for _ in range(2):
            sink, limiter = Sink(), one()
            response = await own.handle_async_request(request(peer.url))
            await pour_all(response, size, sink, limiter)
            assert limiter.borrowed_tokens == 0
            assert holds(sink, data)
            assert max(sink.sizes, default=0) <= size
            for _ in range(2):
                assert await raw(response).pour(memory(size), sink, limiter) == 0
            assert len(sink.whole) == len(data)
            assert len(idle(own)) == (way != "until close")
            await response.aclose()
            assert_at_rest(own)
            calls = sink.calls
        assert peer.connections == (2 if way == "until close" else 1)
    return calls


@pytest.mark.parametrize("size", [999, 100_000, SIZE - 1, SIZE, SIZE + 1, 3 * MIB])
@pytest.mark.parametrize("way", WAYS)
async def test_poured(way: str, size: int, secure: dict[str, Any]) -> None:
    await check_poured(way, BODY, size, secure)


@pytest.mark.parametrize("data", [b"", b"?", BODY[:100_000], BODY[: 128 * 1024], BODY[: 128 * 1024 + 1]], ids=len)
@pytest.mark.parametrize("way", WAYS)
async def test_short_ones(way: str, data: bytes, secure: dict[str, Any]) -> None:
    for size in (70_000, MIB):
        await check_poured(way, data, size, secure)


@pytest.mark.parametrize("size", [13, 100, 5000, 16_000, 17_000])
async def test_what_came_with_the_head_is_first(size: int, secure: dict[str, Any]) -> None:
    """Found: memory that was full before all of it was taken went on with what came after it."""
    await check_poured("length", BODY[:20_000], size, secure)


@pytest.mark.parametrize("size", [100_000, 2 * MIB, 9 * MIB, 16 * MIB])
async def test_many_hops(size: int, secure: dict[str, Any]) -> None:
    """No call moves more than a hop may: others have their turn."""
    moved = await check_poured("length", LARGE, size, secure)
    assert len(moved) >= 2 or HOP + size > len(LARGE)
    assert max(moved) < HOP + size


async def check_a_hop(secure: dict[str, Any]) -> None:
    """Where the network does not pause, a thread goes on until a hop is over."""
    assert await check_poured("length", LARGE, MIB, secure) == [HOP, len(LARGE) - HOP]


async def test_a_hop(secure: dict[str, Any], one_hop: None) -> None:
    await check_a_hop(secure)


@pytest.mark.parametrize("way", WAYS)
async def test_mixed_with_other_ways_to_read(way: str, secure: dict[str, Any]) -> None:
    async with serving(in_a_way(way, LARGE), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        body, sink, limiter = raw(response), Sink(), one()
        for size in (9, 30_000, 100_000):
            view = memory(10)
            sink.whole += view[: await body.readinto(view)]
            before = len(sink.whole)
            assert await body.pour(memory(size), sink, limiter) == len(sink.whole) - before
            sink.whole += await anext(aiter(body), b"")
        sink.whole += await body.read()
        assert holds(sink, LARGE)
        assert await body.pour(memory(1), sink, limiter) == 0
        await response.aclose()
        assert_at_rest(own)


@pytest.mark.parametrize("seed", range(4))
async def test_pieces(seed: int, secure: dict[str, Any]) -> None:
    """However it is cut on its way, and whatever memory it goes through."""
    dice = random.Random(seed)  # noqa: S311
    whole = of_length(SIZE, BODY)
    cuts = [0, *sorted(dice.sample(range(1, len(whole)), 12)), len(whole)]
    segments = [whole[start:stop] for start, stop in pairwise(cuts)]
    async with serving(answer(*segments), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        sink, limiter = Sink(), one()
        while await raw(response).pour(memory(dice.choice([20_000, 65_536, 150_000, MIB])), sink, limiter):
            pass
        assert holds(sink, BODY)
        assert_at_rest(own)
        assert len(idle(own)) == 1


# -- Pauses ------------------------------------------------------------------------------------------------------------


def in_two(way: str, first: int) -> tuple[bytes, bytes]:
    """An answer with so many bytes of its body, and the rest of it."""
    match way:
        case "chunks":
            return CHUNKED + chunks(BODY[:first], last=b""), chunks(BODY[first:])
        case "until close":
            return HEAD + b"\r\n" + BODY[:first], BODY[first:]
        case _:
            return of_length(SIZE, BODY[:first]), BODY[first:]


@asynccontextmanager
async def pausing(way: str, first: int, secure: dict[str, Any]) -> AsyncIterator[Paused]:
    """An answer of which nothing more than the first bytes come before the block is over."""
    go_on = anyio.Event()
    start, rest = in_two(way, first)

    async def script(line: Line) -> None:
        await line.request()
        await line.send(start)
        await go_on.wait()
        await line.send(rest)
        await leave(line, "end")

    async with serving(script, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        limiter, sink = one(), Sink()

        async with siblings() as crew:
            crew.start_soon(pour_all, response, 50_000, sink, limiter)
            try:
                yield response, sink, limiter
            finally:
                go_on.set()
        assert holds(sink, BODY)
        await response.aclose()
        assert_at_rest(own)


async def check_pauses(way: str, first: int, secure: dict[str, Any], patience: float = SOON) -> None:
    """The peer goes on when another hop was made meanwhile, through the only place there is."""
    async with pausing(way, first, secure) as (_, sink, limiter):
        with anyio.fail_after(patience):
            while len(sink.whole) < first // 50_000 * 50_000:
                await let_others_run()
            assert await in_thread(threading.get_ident, limiter=limiter) != sink.loop
            while limiter.borrowed_tokens:
                await let_others_run()
        assert len(sink.whole) <= first


@pytest.mark.parametrize("first", [100_000, 150_001, 299_999])
@pytest.mark.parametrize("way", WAYS)
async def test_no_thread_waits_for_the_network(way: str, first: int, secure: dict[str, Any]) -> None:
    await check_pauses(way, first, secure)


@dataclass
class Trickle:
    """Asked whether there is more, it sends one byte: there always is."""

    peer: socket.socket

    def poll(self, _: int) -> list[int]:
        return [self.peer.send(b"?")]


def check_a_trickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes by from one look at the clock to the next."""
    clock = count()
    monkeypatch.setattr(wire, "monotonic", lambda: float(next(clock)))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        lent: Any = Wire(ours)
        lent._ready = Trickle(theirs)
        assert lent.fill(memory(1000), 20.0) == 20
        theirs.send(bytes(500))
        assert lent.fill(memory(1000), 0.0) == 500
        assert lent.fill(memory(1000), 0.0) == 0


def test_a_trickle_holds_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found: with gaps too short for pauses, a thread stayed until its memory was full, and heard of nothing."""
    check_a_trickle(monkeypatch)


async def test_a_look_while_a_thread_reads(secure: dict[str, Any], one_hop: None) -> None:
    """Found: a thread that waits for more, and one who asks the connection how it is, could not both ask the kernel."""
    async with pausing("length", 220_000, secure) as (response, sink, _):
        while len(sink.whole) < 200_000:
            await let_others_run()
        for _ in range(300):
            await let_others_run(1)
            for name in ("is_readable", "server_addr", "ssl_object"):
                response.extensions["network_stream"].get_extra_info(name)


# -- Breaks ------------------------------------------------------------------------------------------------------------


BROKEN: Final[dict[str, bytes]] = {
    "length": of_length(SIZE, BODY[:-7]),
    "chunks": CHUNKED + chunks(BODY[:-7], last=b""),
}


async def check_a_break(way: str, then: Then, size: int, secure: dict[str, Any]) -> None:
    """What came before it is handed over; the next call tells, and every one after it."""
    async with serving(answer(BROKEN[way], then=then), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        sink, limiter = Sink(), one()
        with pytest.raises(BREAKS):
            await pour_all(response, size, sink, limiter)
        moved = len(sink.whole)
        assert holds(sink, BODY[:moved])
        if then != "reset":  # which may overtake what was sent before it
            assert moved == SIZE - 7
        for _ in range(2):
            with pytest.raises(BREAKS):
                await raw(response).pour(memory(size), sink, limiter)
        assert moved == len(sink.whole)
        assert_at_rest(own)
        assert not idle(own)
        await response.aclose()


@pytest.mark.parametrize("size", [90_000, MIB])
@pytest.mark.parametrize("then", ["end", "cut", "reset"])
@pytest.mark.parametrize("way", BROKEN)
async def test_a_break(way: str, then: Then, size: int, secure: dict[str, Any]) -> None:
    await check_a_break(way, then, size, secure)


@pytest.mark.parametrize("then", ["end", "cut", "reset", "close"])
async def test_a_break_that_a_thread_meets(then: Then, secure: dict[str, Any], one_hop: None) -> None:
    """The thread stands in the sink meanwhile, and then reads on."""
    broken = anyio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(of_length(SIZE, BODY[:200_000]))
        await broken.wait()
        await leave(line, then)

    async with serving(script, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        sink, limiter = Held(), one()
        moved: list[int] = []

        async def pour() -> None:
            moved.append(await raw(response).pour(memory(70_000), sink, limiter))

        async with siblings() as crew:
            crew.start_soon(pour)
            async with sink.holding():
                broken.set()
                if then in ("reset", "close"):
                    await peer.deserted()
                else:
                    await let_others_run()
        assert moved == [len(sink.whole)]
        assert holds(sink, BODY[: moved[0]])
        assert moved[0] == 200_000 or then == "reset"
        for _ in range(2):
            with pytest.raises(BREAKS):
                await raw(response).pour(memory(70_000), sink, limiter)
        assert_at_rest(own)
        assert not idle(own)


@pytest.mark.parametrize("sent", [0, 100_000, 200_000, 250_001])
@pytest.mark.parametrize("way", ["length", "chunks"])
async def test_a_stall(way: str, sent: int, secure: dict[str, Any]) -> None:
    """What came before it is handed over, down to the last byte."""
    start = of_length(SIZE, BODY[:sent]) if way == "length" else CHUNKED + chunks(BODY[:sent], last=b"")
    stalling = answer(start, then="silence")
    timeout = httpx.Timeout(SOON, read=0.1)
    async with (
        serving(stalling, **secure["peer"]) as peer,
        transport(timeout=timeout, **secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        response = await own.handle_async_request(request(peer.url))
        sink, limiter = Sink(), one()
        with pytest.raises(httpx.ReadTimeout):
            await pour_all(response, 100_000, sink, limiter)
        assert holds(sink, BODY[:sent])
        with pytest.raises(httpx.ReadTimeout):
            await raw(response).pour(memory(100_000), sink, limiter)
        assert not idle(own)
        await peer.deserted()


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("body", [b"small", BODY], ids=len)
async def test_after_closing(body: bytes, first: int, secure: dict[str, Any]) -> None:
    """Found: an answer that was closed seemed to be at its end, where all of it had come with its head."""
    async with serving(ok(body), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        sink, limiter = Sink(), one()
        if first:
            assert await raw(response).pour(memory(first), sink, limiter) == first
        await response.aclose()
        for _ in range(2):
            with pytest.raises(httpx.StreamClosed):
                await raw(response).pour(memory(10), sink, limiter)
        assert holds(sink, body[:first])
        assert_at_rest(own)


# -- Sinks that fail ---------------------------------------------------------------------------------------------------


async def check_a_sink_that_fails(way: str, body: bytes, after: int, secure: dict[str, Any]) -> None:
    """The body is over, and its connection is closed unless all of the answer had come."""
    sink = Failing(after=after)
    async with (
        serving(answering(in_a_way(way, body), ok(b"fine")), **secure["peer"]) as peer,
        transport(limits=httpx.Limits(max_connections=1), **secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        response = await own.handle_async_request(request(peer.url))
        limiter, whole = one(), len(body) <= 50_000
        with pytest.raises(OSError, match="No space left"):
            await pour_all(response, 50_000, sink, limiter)
        assert limiter.borrowed_tokens == 0
        assert_at_rest(own)
        assert len(idle(own)) == whole
        before = len(sink.whole)
        for _ in range(2):
            with pytest.raises(httpx.StreamClosed):
                await raw(response).pour(memory(50_000), sink, limiter)
        assert len(sink.whole) == before
        await peer.until(lambda: len(peer.lines) == whole)
        assert (await fetch(own, peer.url)).content == b"fine"
        assert peer.connections == 2 - whole


@pytest.mark.parametrize("after", [0, 120_000])
@pytest.mark.parametrize("way", WAYS[:2])
async def test_a_sink_that_fails(way: str, after: int, secure: dict[str, Any]) -> None:
    await check_a_sink_that_fails(way, BODY, after, secure)


@pytest.mark.parametrize("way", WAYS[:2])
async def test_a_sink_that_fails_at_the_end(way: str, secure: dict[str, Any]) -> None:
    """Found: the next call took it for the end of the body."""
    await check_a_sink_that_fails(way, b"small", 0, secure)


# -- Cancellation and closing, while a thread is in the sink -----------------------------------------------------------


@dataclass
class Pouring:
    """A call whose thread stands in its sink."""

    own: Transport
    peer: Peer
    response: httpx.Response
    before: set[int]
    sink: Held = field(default_factory=Held)
    limiter: anyio.CapacityLimiter = field(default_factory=one)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    moved: list[int] = field(default_factory=list)
    back: anyio.Event = field(default_factory=anyio.Event)

    @property
    def wire(self) -> Wire:
        found: Wire = self.response.extensions["network_stream"]
        return found

    async def pour(self) -> int:
        return await raw(self.response).pour(memory(50_000), self.sink, self.limiter)

    async def run(self) -> None:
        with self.scope:
            try:
                self.moved.append(await self.pour())
            finally:
                self.back.set()

    async def stays(self) -> None:
        """The call waits for its thread, and nobody takes the connection from under that."""
        await let_others_run(20)
        assert not self.back.is_set()
        assert self.wire.sock.fileno() >= 0
        assert self.limiter.borrowed_tokens == 1

    async def ends(self) -> None:
        """The thread goes on, and nothing is left."""
        self.sink.go_on.set()
        await self.back.wait()
        assert self.wire.sock.fileno() < 0
        assert holds(self.sink, BODY[: len(self.sink.whole)])
        before = len(self.sink.whole)
        for _ in range(2):
            with pytest.raises((httpx.StreamClosed, *BREAKS)):
                await self.pour()
        assert len(self.sink.whole) == before
        assert not idle(self.own)
        assert_at_rest(self.own)
        assert self.limiter.borrowed_tokens == 0
        assert not await strays(self.own, self.peer, self.before)
        await self.peer.deserted()


@asynccontextmanager
async def pouring(secure: dict[str, Any], sent: int = 250_000) -> AsyncIterator[Pouring]:
    """The thread stands still while the block runs. More of the body is there than it has taken, but not all."""
    first = answer(of_length(SIZE, BODY[:sent]), then="silence")
    async with (
        serving(first, **secure["peer"]) as peer,
        transport(limits=httpx.Limits(max_connections=1), **secure["own"]) as own,
    ):
        before = descriptors()
        here = Pouring(own, peer, await own.handle_async_request(request(peer.url)), before)
        async with siblings() as crew:
            crew.start_soon(here.run)
            try:
                with anyio.fail_after(SOON):
                    await here.sink.running.wait()
                    yield here
            finally:
                here.sink.go_on.set()
                here.scope.cancel()


async def check_cancelled_in_the_sink(secure: dict[str, Any]) -> None:
    async with pouring(secure) as here:
        here.scope.cancel()
        await here.stays()
        await here.ends()
        assert here.scope.cancelled_caught
        assert len(here.sink.whole) == 50_000  # it read no further
        here.peer.script = answering(ok(b"fine"))
        assert (await fetch(here.own, here.peer.url)).content == b"fine"


async def test_cancelled_in_the_sink(secure: dict[str, Any]) -> None:
    """The call comes back with its thread, and the next request has the place."""
    await check_cancelled_in_the_sink(secure)


async def test_cancelled_in_the_last_sink(secure: dict[str, Any]) -> None:
    """All of it came and was taken: the connection may live on, or not, but nothing is left."""
    async with (
        serving(ok(BODY), **secure["peer"]) as peer,
        transport(**secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        response = await own.handle_async_request(request(peer.url))
        sink, scope = Held(), anyio.CancelScope()

        async def pour() -> None:
            with scope:
                await raw(response).pour(memory(MIB), sink, one())

        async with siblings() as crew:
            crew.start_soon(pour)
            async with sink.holding():
                scope.cancel()
                await let_others_run(20)
        assert BODY.startswith(sink.whole)
        await response.aclose()
        assert (await fetch(own, peer.url)).content == BODY


@ON_ASYNCIO
async def test_cancelled_as_asyncio_does(secure: dict[str, Any]) -> None:
    """What a native cancellation would tear apart is held together by isolation."""
    async with (
        serving(answer(of_length(SIZE, BODY[:250_000]), then="silence"), **secure["peer"]) as peer,
        transport(**secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        response = await own.handle_async_request(request(peer.url))
        sink = Held()
        task = asyncio.ensure_future(isolated(partial(raw(response).pour, memory(50_000), sink, one())))
        async with sink.holding():
            for _ in range(3):
                task.cancel()
                await let_others_run(20)
            assert not task.done()
            assert response.extensions["network_stream"].sock.fileno() >= 0
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(sink.whole) == 50_000
        await peer.deserted()


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_ended_before_there_is_a_thread(end: str, secure: dict[str, Any]) -> None:
    """It waits for its turn in the limiter."""
    async with (
        serving(answer(of_length(SIZE, BODY[:250_000]), then="silence"), **secure["peer"]) as peer,
        transport(**secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        response = await own.handle_async_request(request(peer.url))
        sink, limiter, scope = Sink(), one(), anyio.CancelScope()
        moved: list[int] = []
        other = object()
        await limiter.acquire_on_behalf_of(other)

        async def pour() -> None:
            with scope:
                moved.append(await raw(response).pour(memory(50_000), sink, limiter))

        async with siblings() as crew:
            crew.start_soon(pour)
            with anyio.fail_after(SOON):
                while not limiter.statistics().tasks_waiting:
                    await let_others_run()
            if end == "closed":
                await own.aclose()
                await let_others_run()
                limiter.release_on_behalf_of(other)
            else:
                scope.cancel()
        assert scope.cancelled_caught == (end == "cancelled")
        assert sum(moved) == len(sink.whole)
        assert holds(sink, BODY[: len(sink.whole)])
        with pytest.raises((httpx.StreamClosed, *BREAKS)):
            await raw(response).pour(memory(50_000), sink, one())
        assert not idle(own)
        await peer.deserted()


async def check_closed_in_the_sink(what: str, secure: dict[str, Any]) -> None:
    async with pouring(secure) as here:
        await (here.own if what == "transport" else here.response).aclose()
        await here.stays()
        await here.ends()
        assert here.moved == [len(here.sink.whole)]


@pytest.mark.parametrize("what", ["transport", "answer"])
async def test_closed_in_the_sink(what: str, secure: dict[str, Any]) -> None:
    """The descriptor stays until the thread is back; what that still finds is of the body, and decrypted."""
    await check_closed_in_the_sink(what, secure)


async def test_closed_while_a_thread_waits_for_more(secure: dict[str, Any], one_hop: None) -> None:
    """It is told, and does not wait for the pause to be over."""
    async with pouring(secure) as here:
        here.sink.go_on.set()
        while len(here.sink.whole) < 250_000:
            await let_others_run()
        await here.own.aclose()
        await here.ends()
        assert here.moved == [250_000]


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def test_mutation_closed_under_a_thread(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    close = Wire.close

    def mutated(self: Wire) -> None:
        self.lent = False
        close(self)

    monkeypatch.setattr(Wire, "close", mutated)
    for what in ("transport", "answer"):
        with pytest.raises(GOES_RED):
            await check_closed_in_the_sink(what, secure)


async def test_mutation_never_closed(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def take_back(self: Wire) -> None:
        self.lent = False

    monkeypatch.setattr(Wire, "take_back", take_back)
    with pytest.raises(GOES_RED):
        await check_closed_in_the_sink("transport", secure)


async def test_mutation_ciphertext(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS socket that is shut down in its own way goes on without TLS."""
    close = Wire.close

    def mutated(self: Wire) -> None:
        if not self.lent:
            close(self)
            return
        self._unwanted = True
        self.sock.shutdown(socket.SHUT_RDWR)

    monkeypatch.setattr(Wire, "close", mutated)
    with pytest.raises((*GOES_RED, TimeoutError)), anyio.fail_after(1):
        await check_closed_in_the_sink(
            "transport", {"peer": {"tls": authority.serving()}, "own": {"ssl_context": authority.trusting()}}
        )


async def test_mutation_a_sink_that_fails_ends_nothing(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def pour(self: ResponseBody, view: memoryview, sink: Sink, limiter: anyio.CapacityLimiter) -> int:
        got = await self.readinto(view)
        if got:
            await in_thread(sink, view[:got], limiter=limiter)
        return got

    monkeypatch.setattr(ResponseBody, "pour", pour)
    for way in WAYS[:2]:
        with pytest.raises(GOES_RED):
            await check_a_sink_that_fails(way, BODY, 0, secure)


async def test_mutation_a_partial_block_is_lost(
    secure: dict[str, Any], one_hop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = Wire.fill

    def mutated(self: Wire, view: memoryview, until: float) -> int:
        got = fill(self, view, until)
        return got if got == len(view) else 0

    monkeypatch.setattr(Wire, "fill", mutated)
    with pytest.raises(GOES_RED):
        await check_a_break("length", "end", 90_000, secure)


async def test_mutation_what_a_thread_moved_is_not_told(
    secure: dict[str, Any], one_hop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lend = ResponseBody._lend

    async def mutated(self: ResponseBody, *args: Any) -> int:
        self._count(await lend(self, *args))
        return 0

    monkeypatch.setattr(ResponseBody, "_lend", mutated)
    with pytest.raises(GOES_RED):
        await check_poured("length", BODY, 100_000, secure)


async def test_mutation_a_thread_waits_for_the_network(
    secure: dict[str, Any], one_hop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises((*GOES_RED, TimeoutError)):
        await check_pauses("length", 150_001, secure, patience=0.3)


def test_mutation_a_trickle_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Wire.fill
    monkeypatch.setattr(Wire, "fill", lambda self, view, _: fill(self, view, float("inf")))
    with pytest.raises(GOES_RED):
        check_a_trickle(monkeypatch)


async def test_mutation_what_came_with_the_head_is_passed_over(
    secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lend = ResponseBody._lend

    async def pour(self: ResponseBody, view: memoryview, sink: Sink, limiter: anyio.CapacityLimiter) -> int:
        got = await self._collect(view[: self._left])
        if not self._left:
            sink.whole += view[:got]
            return got
        more = await lend(self, view, got, sink, limiter)
        self._count(more)
        return got + more

    monkeypatch.setattr(ResponseBody, "pour", pour)
    with pytest.raises((*GOES_RED, TimeoutError)), anyio.fail_after(1):
        await check_poured("length", BODY, 5000, secure)


async def test_mutation_a_hop_without_end(
    secure: dict[str, Any], one_hop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "HOP", 2**60)
    with pytest.raises(GOES_RED):
        await check_a_hop(secure)


async def test_mutation_a_thread_that_nobody_waits_for(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "in_thread", partial(anyio.to_thread.run_sync, abandon_on_cancel=True))
    with pytest.raises(GOES_RED):
        await check_cancelled_in_the_sink(secure)


async def test_mutation_a_thread_reads_on_when_cancelled(
    secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "stop_if_cancelled", lambda: None)
    with pytest.raises(GOES_RED):
        await check_cancelled_in_the_sink(secure)
