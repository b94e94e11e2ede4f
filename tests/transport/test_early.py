"""An answer that comes while the request's body is still going out is read and returned; its connection ends there.

A server that is busy, or does not let us write, says so after the head. It may then read no further, close, or reset:
the client that goes on sending meets a wall or a broken pipe, and the answer lies unread behind it.
"""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck.transport import wire
from handtruck.transport.exchange import Exchange
from handtruck.transport.wire import Wire
from tests.transport.peer import Line, Peer, answer, leave, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    assert_at_rest,
    fetch,
    idle,
    leaving_nothing,
    pattern,
    request,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from handtruck import Transport
    from tests.transport.certificates import Authority
    from tests.transport.peer import Script, Then

pytestmark = pytest.mark.anyio

SIZE: Final = 4 * MIB
BODY: Final = pattern(SIZE)
SLOW_DOWN: Final = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 5\r\n\r\nlater"
LONG_ANSWER: Final = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 60000\r\n\r\n" + BODY[:60_000]
NARROW: Final = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)]
STUCK: Final = httpx.Timeout(10, write=0.05)
"""For mutations, whose writes go nowhere for ever."""


class Blocks(httpx.AsyncByteStream):
    """A stream of a caller's own; tells whether its generator was closed."""

    def __init__(self) -> None:
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for start in range(0, SIZE, 100_000):
                yield BODY[start : start + 100_000]
        finally:
            self.closed = True


def sync_blocks() -> Iterator[bytes]:
    for start in range(0, SIZE, 1_000_000):
        yield BODY[start : start + 1_000_000]


LENGTH: Final = {"Content-Length": str(SIZE)}
BODIES: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "view": lambda: {"view": BODY},
    "bytes": lambda: {"content": BODY},
    "stream": lambda: {"stream": Blocks(), "headers": LENGTH},
    "chunks": lambda: {"stream": Blocks(), "headers": {"Transfer-Encoding": "chunked"}},
    "threads": lambda: {"content": sync_blocks(), "headers": LENGTH},
}


def refusing(*segments: bytes, then: Then | None, after: int = 0) -> Script:
    """Answer after the head, and ``after`` rounds; None: read no further, and keep the connection."""

    async def script(line: Line) -> None:
        await line.head()
        await let_others_run(after)
        await line.send(*segments)
        if then is None:
            await anyio.sleep_forever()
        else:
            await leave(line, then)

    return script


@asynccontextmanager
async def narrow(script: Script, authority: Authority | None, **options: Any) -> AsyncIterator[tuple[Peer, Transport]]:
    """A peer, and a transport, between whom not much fits."""
    tls = authority.serving() if authority is not None else None
    if authority is not None:
        options["ssl_context"] = authority.trusting()
    async with (
        serving(script, tls=tls, memory=16 * 1024, uds=options.get("uds")) as peer,
        transport(socket_options=NARROW, **options) as own,
    ):
        yield peer, own


async def check_answered(
    authority: Authority | None,
    then: Then | None,
    segments: tuple[bytes, ...] = (SLOW_DOWN,),
    *,
    after: int = 0,
    **options: Any,
) -> None:
    async with narrow(refusing(*segments, then=then, after=after), authority, **options) as (peer, own):
        for name, body in BODIES.items():
            parts = body()
            response = await fetch(own, peer.url, "PUT", **parts)
            whole = b"".join(segments)
            assert response.status_code == int(whole[9:12]), name
            assert response.content == whole.partition(b"\r\n\r\n")[2]
            assert not idle(own)
            assert_at_rest(own)
            if isinstance(parts.get("stream"), Blocks):
                assert parts["stream"].closed
        assert peer.connections == len(BODIES)


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, authority: Authority) -> Authority | None:
    """The authority for https, or none."""
    return authority if request.param == "https" else None


@pytest.mark.parametrize("then", [None, "close", "reset", "end"])
async def test_answered(tls: Authority | None, then: Then | None) -> None:
    await check_answered(tls, then)


async def test_answered_when_all_stands_still(tls: Authority | None, tmp_path: Path) -> None:
    await check_answered(tls, None, after=100)
    await check_answered(tls, None, after=100, uds=str(tmp_path / "peer"))


async def test_the_answer_comes_in_pieces(tls: Authority | None) -> None:
    await check_answered(tls, None, (SLOW_DOWN[:9], SLOW_DOWN[9:30], SLOW_DOWN[30:50], SLOW_DOWN[50:]))


async def test_a_long_answer(tls: Authority | None) -> None:
    await check_answered(tls, None, (LONG_ANSWER,))
    await check_answered(tls, "close", (LONG_ANSWER,))


async def test_an_interim_is_no_answer(tls: Authority | None) -> None:
    """After 100 Continue, come early or while the body goes out, the rest of the body is sent."""

    async def script(line: Line) -> None:
        while await line.head() is not None:
            await line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            got = len(await line.some_body())
            await line.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n", b"\r\n")
            got += len(await line.body())
            assert got == SIZE
            await line.send(*ok(b"taken").segments)

    async with narrow(script, tls) as (peer, own):
        for body in BODIES.values():
            assert (await fetch(own, peer.url, "PUT", **body())).content == b"taken"
        assert peer.connections == 1  # nothing was early: it may go on


async def test_an_interim_and_then_no(tls: Authority | None) -> None:
    async def script(line: Line) -> None:
        await line.head()
        await line.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await line.some_body()
        await line.send(SLOW_DOWN)
        await anyio.sleep_forever()

    async with narrow(script, tls) as (peer, own):
        for body in BODIES.values():
            assert (await fetch(own, peer.url, "PUT", **body())).status_code == 503
            assert not idle(own)


async def test_the_answer_of_a_reader(tls: Authority | None) -> None:
    """It answers early, reads on all the same, and keeps the connection; we have stopped, so it cannot live on."""

    async def script(line: Line) -> None:
        await line.head()
        await line.send(SLOW_DOWN)
        await line.drain()

    async with narrow(script, tls) as (peer, own):
        assert (await fetch(own, peer.url, "PUT", view=BODY)).status_code == 503
        await peer.deserted()  # had the body gone out whole, the connection would be waiting in the pool


@pytest.mark.parametrize("then", ["close", "reset", "end"])
async def test_hung_up_without_a_word(tls: Authority | None, then: Then) -> None:
    """No answer, no hang: an error of the network's, or of the peer's."""
    async with narrow(refusing(b"", then=then), tls) as (peer, own):
        for body in BODIES.values():
            with pytest.raises((httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)):
                await fetch(own, peer.url, "PUT", **body())
            assert_at_rest(own)


@pytest.mark.parametrize("then", [None, "close", "reset"])
async def test_garbage_comes_early(tls: Authority | None, then: Then | None) -> None:
    async with narrow(refusing(b"what?\r\n\r\n", then=then), tls) as (peer, own):
        with pytest.raises(httpx.RemoteProtocolError):
            await fetch(own, peer.url, "PUT", view=BODY)
        assert_at_rest(own)


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_half_an_answer_comes_early(tls: Authority | None, then: Then) -> None:
    async with narrow(refusing(SLOW_DOWN[:30], then=then), tls) as (peer, own):
        with pytest.raises((httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)):
            await fetch(own, peer.url, "PUT", view=BODY)
        assert_at_rest(own)


async def test_an_answer_before_any_request(tls: Authority | None) -> None:
    """A server that is full says so to whoever connects, and closes."""

    async def script(line: Line) -> None:
        await line.send(SLOW_DOWN)
        await leave(line, "end")

    async with narrow(script, tls) as (peer, own):
        assert (await fetch(own, peer.url, "PUT", view=BODY)).status_code == 503
        assert_at_rest(own)


async def test_a_head_that_is_answered(tls: Authority | None) -> None:
    """HEAD with a body is odd, and has no answer's body even then."""
    reply = answer(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\n")
    async with narrow(refusing(*reply.segments, then=None), tls) as (peer, own):
        assert (await fetch(own, peer.url, "HEAD", view=BODY)).status_code == 403
        assert not idle(own)


async def test_answered_where_no_epoll_is(
    tls: Authority | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other systems than Linux only one direction can be watched: it may take longer, but is not lost."""
    monkeypatch.setattr(wire, "_EPOLL", None)
    await check_answered(tls, None, timeout=STUCK, uds=str(tmp_path / "peer"))
    await check_answered(tls, "close", timeout=STUCK)


async def test_the_generator_is_at_its_end_at_once() -> None:
    """Not when the garbage is collected: a source that is a file, or a lock, is free when the request is over."""
    async with narrow(refusing(SLOW_DOWN, then=None), None) as (peer, own):
        stream = Blocks()
        response = await own.handle_async_request(request(peer.url, "PUT", stream=stream, headers=LENGTH))
        assert stream.closed
        await response.aclose()


async def test_nothing_is_left(tls: Authority | None) -> None:
    async with narrow(refusing(SLOW_DOWN, then=None), tls) as (peer, own):
        await fetch(own, peer.url, "PUT", view=BODY)
        async with leaving_nothing(own, peer):
            for body in BODIES.values():
                await fetch(own, peer.url, "PUT", **body())


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_nobody_looks(tls: Authority | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: Exchange) -> None:
        while self.wire.try_receive(memoryview(bytearray(MIB))) > 0:
            pass

    monkeypatch.setattr(Exchange, "_look", forget)
    with pytest.raises(httpx.WriteTimeout):
        await check_answered(tls, None, timeout=STUCK)


async def test_mutation_only_one_direction_is_watched(
    tls: Authority | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a Unix-domain socket: a TCP socket becomes writable again by its own timers, and then we look."""

    async def until_writable(self: Wire, timeout: float | None) -> bool:
        return await self._until(anyio.wait_writable, self.sock, timeout, httpx.WriteError)

    monkeypatch.setattr(Wire, "_until_either_way", until_writable)
    with pytest.raises(httpx.WriteTimeout):
        await check_answered(tls, None, after=100, timeout=STUCK, uds=str(tmp_path / "peer"))


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_mutation_a_broken_pipe_is_the_end(
    tls: Authority | None, then: Then, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_after(_: Exchange, error: OSError) -> None:
        raise httpx.WriteError(str(error)) from error

    monkeypatch.setattr(Exchange, "_look", lambda _: None)
    monkeypatch.setattr(Exchange, "_look_after", look_after)
    with pytest.raises(httpx.WriteError):
        await check_answered(tls, then)


async def test_mutation_half_a_request_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer's connection would serve the next request, in the middle of the last one's body."""
    monkeypatch.setattr(Exchange, "whole", property(lambda _: True, lambda *_: None))
    with pytest.raises(GOES_RED):
        await check_answered(None, None)
