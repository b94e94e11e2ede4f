"""A body into the caller's memory: full, but at the end; what came before a break first; others have their turn."""

from __future__ import annotations

import socket
import ssl
from array import array
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck.transport import bodies
from handtruck.transport.wire import TURN, Wire
from tests.transport.peer import answer, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    assert_at_rest,
    fetch,
    idle,
    leaving_nothing,
    pattern,
    raw,
    request,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck.transport.bodies import ResponseBody
    from tests.transport.certificates import Authority
    from tests.transport.peer import Answer, Then

pytestmark = pytest.mark.anyio

SIZE: Final = 300_007
BODY: Final = pattern(SIZE)
HEAD: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def chunks(body: bytes, step: int = 50_000, *, last: bytes = b"0\r\n\r\n") -> bytes:
    blocks = (body[start : start + step] for start in range(0, len(body), step))
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + last


WAYS: Final[dict[str, Answer]] = {
    "length": ok(BODY),
    "chunks": answer(CHUNKED + chunks(BODY)),
    "until close": answer(HEAD + b"\r\n" + BODY, then="end"),
}


@pytest.fixture(params=["http", "https"])
def secure(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """Options of the peer, and of the transport."""
    if request.param == "http":
        return {"peer": {}, "own": {}}
    return {"peer": {"tls": authority.serving()}, "own": {"ssl_context": authority.trusting()}}


async def check_filled(way: str, size: int, secure: dict[str, Any]) -> None:
    async with serving(WAYS[way], **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        body, whole = raw(response), bytearray()
        while got := await body.readinto(memory := bytearray(size)):
            assert got == min(size, SIZE - len(whole))
            assert not any(memory[got:])
            whole += memory[:got]
        assert whole == BODY
        for _ in range(3):
            assert await body.readinto(bytearray(size)) == 0
        assert len(idle(own)) == (way != "until close")
        await response.aclose()
        assert_at_rest(own)


@pytest.mark.parametrize("size", [999, 100_000, SIZE - 1, SIZE, SIZE + 1, 3 * MIB])
@pytest.mark.parametrize("way", WAYS)
async def test_filled(way: str, size: int, secure: dict[str, Any]) -> None:
    """Fewer bytes only at the end, none after it."""
    await check_filled(way, size, secure)


async def test_any_memory() -> None:
    async with serving(ok(BODY)) as peer, transport() as own:
        response = await own.handle_async_request(request(peer.url))
        body = raw(response)
        assert await body.readinto(bytearray()) == 0
        numbers = array("I", bytes(400))
        assert await body.readinto(memoryview(numbers)) == 400
        assert numbers.tobytes() == BODY[:400]
        memory = bytearray(1000)
        assert await body.readinto(memoryview(memory)[100:200]) == 100
        assert memory == bytes(100) + BODY[400:500] + bytes(800)
        with pytest.raises((TypeError, BufferError)):
            await body.readinto(b"constant")  # type: ignore[arg-type]
        with pytest.raises((TypeError, BufferError)):
            await body.readinto(memoryview(memory)[::2])
        await response.aclose()
        assert_at_rest(own)


@pytest.mark.parametrize("way", WAYS)
async def test_mixed_with_iteration(way: str, secure: dict[str, Any]) -> None:
    async with serving(WAYS[way], **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        body, whole = raw(response), bytearray()
        for size in (10, 20_000, 1):
            memory = bytearray(size)
            assert await body.readinto(memory) == size
            whole += memory
            whole += await anext(aiter(body))
        async for block in body:
            assert block
            whole += block
        assert whole == BODY
        assert await body.readinto(bytearray(1)) == 0
        await response.aclose()
        assert_at_rest(own)


@pytest.mark.parametrize("before", [0, 10, 70_000])
@pytest.mark.parametrize("way", [*WAYS, "short"])
async def test_all_the_rest_at_once(way: str, before: int, secure: dict[str, Any]) -> None:
    reply, data = (ok(BODY[:100]), BODY[:100]) if way == "short" else (WAYS[way], BODY)
    async with serving(reply, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        memory = bytearray(before)
        got = await raw(response).readinto(memory)
        assert bytes(memory[:got]) + await raw(response).read() == data
        assert await raw(response).read() == b""
        assert_at_rest(own)
        await response.aclose()
        response = await own.handle_async_request(request(peer.url))
        await response.aclose()
        with pytest.raises(httpx.StreamClosed):
            await raw(response).read()


@pytest.mark.parametrize("then", ["end", "reset"])
@pytest.mark.parametrize("short", [HEAD + b"Content-Length: 9\r\n\r\nhalf", CHUNKED + b"4\r\nhalf\r\n"])
async def test_all_the_rest_of_less(short: bytes, then: Then) -> None:
    async with serving(answer(short, then=then)) as peer, transport() as own:
        response = await own.handle_async_request(request(peer.url))
        for _ in range(2):
            with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
                await raw(response).read()
        assert_at_rest(own)


# -- Breaks ----------------------------------------------------------------------------------------------------------


BROKEN: Final[dict[str, bytes]] = {
    "length": HEAD + b"Content-Length: %d\r\n\r\n" % SIZE + BODY[:-7],
    "chunks": CHUNKED + chunks(BODY[:-7], last=b""),
}


@pytest.mark.parametrize("then", ["end", "cut", "reset"])
@pytest.mark.parametrize("way", BROKEN)
async def test_a_break(way: str, then: Then, secure: dict[str, Any]) -> None:
    """What came before it is delivered; the next call tells, and every one after it."""
    async with serving(answer(BROKEN[way], then=then), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        body, whole = raw(response), bytearray()
        failures = (httpx.RemoteProtocolError, httpx.ReadError)
        with suppress(*failures):
            while got := await body.readinto(memory := bytearray(100_000)):
                whole += memory[:got]
                if got < 100_000:
                    break
        assert whole == BODY[: len(whole)]
        if then != "reset":  # which may overtake what was sent before it
            assert len(whole) == SIZE - 7
        for _ in range(2):
            with pytest.raises(failures):
                await body.readinto(bytearray(10))
            with pytest.raises(failures):
                await anext(aiter(body))
        assert_at_rest(own)
        assert not idle(own)
        await response.aclose()


@pytest.mark.parametrize("body", [b"small", BODY])
@pytest.mark.parametrize("read", [0, 3])
async def test_after_closing(body: bytes, read: int, secure: dict[str, Any]) -> None:
    """Whatever came already: an answer that was closed has no end, so nobody takes it for whole."""
    async with serving(ok(body), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        if read:
            assert await raw(response).readinto(bytearray(read)) == read
        await response.aclose()
        for _ in range(2):
            with pytest.raises(httpx.StreamClosed):
                await raw(response).readinto(bytearray(10))
            with pytest.raises(httpx.StreamClosed):
                await anext(aiter(raw(response)))
        assert_at_rest(own)


async def test_closed_by_another_task(secure: dict[str, Any]) -> None:
    """Who waits for bytes learns of it."""
    script = answer(HEAD + b"Content-Length: 100\r\n\r\n", then="silence")
    raised: list[Exception] = []

    async def read(response: httpx.Response) -> None:
        try:
            await raw(response).readinto(bytearray(10))
        except Exception as error:  # noqa: BLE001
            raised.append(error)

    async with (
        serving(script, **secure["peer"]) as peer,
        transport(**secure["own"]) as own,
        leaving_nothing(own, peer),
    ):
        response = await own.handle_async_request(request(peer.url))
        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(read, response)
                await let_others_run()
                await response.aclose()
        assert isinstance(raised[0], (httpx.ReadError, httpx.StreamClosed))


async def test_a_look_takes_nothing_away(secure: dict[str, Any]) -> None:
    """The pool of httpx's own transport asks connections whether they are readable; so may anybody, at any time."""
    async with serving(ok(BODY), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url))
        whole = bytearray()
        while True:
            response.extensions["network_stream"].get_extra_info("is_readable")
            if not (got := await raw(response).readinto(memory := bytearray(10_000))):
                break
            whole += memory[:got]
        assert whole == BODY
        await response.aclose()


async def test_cancelled_it_is_over() -> None:
    """Bytes may have gone into memory that nobody looks at any more."""
    async with serving(answer(HEAD + b"Content-Length: 9\r\n\r\nhalf", then="silence")) as peer, transport() as own:
        response = await own.handle_async_request(request(peer.url))
        with anyio.move_on_after(0.01):
            await raw(response).readinto(bytearray(9))
        assert_at_rest(own)
        with pytest.raises(httpx.StreamClosed):
            await raw(response).readinto(bytearray(9))
        await response.aclose()


# -- Fairness --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "tls"])
def firehose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, authority: Authority) -> dict[str, Any]:
    """Sockets that always have bytes, and always take some, once they have read a head."""
    kind: Any = socket.socket if request.param == "plain" else ssl.SSLSocket
    most = 8 * MIB if request.param == "plain" else 16 * 1024
    receive, send = kind.recv_into, kind.send

    def recv_into(self: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        view = memoryview(buffer)
        if not flooded:
            got: int = receive(self, buffer, nbytes, flags)
            if bytes(view[: min(got, 8)]) == b"HTTP/1.1":
                flooded.append(1)
            return got
        return min(len(view), most)

    flooded: list[int] = []
    monkeypatch.setattr(kind, "recv_into", recv_into)
    monkeypatch.setattr(kind, "send", lambda self, data, *_: send(self, data) if len(data) < 9000 else len(data))
    if request.param == "plain":
        return {"peer": {}, "own": {}}
    return {"peer": {"tls": authority.serving()}, "own": {"ssl_context": authority.trusting()}}


@pytest.fixture
async def flooding(firehose: dict[str, Any]) -> AsyncIterator[ResponseBody]:
    """A body without end."""
    head = HEAD + b"Content-Length: %d\r\n\r\n" % 2**50
    async with (
        serving(answer(head, then="silence"), **firehose["peer"]) as peer,
        transport(**firehose["own"]) as own,
    ):
        response = await own.handle_async_request(request(peer.url))
        yield raw(response)
        await response.aclose()


async def check_others_have_their_turn(body: ResponseBody, size: int, count: int) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await checkpoint()
            turns += 1

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await checkpoint()
        turns = 0
        for _ in range(count):
            assert await body.readinto(bytearray(size)) == size
        seen = turns
        group.cancel_scope.cancel()
    assert seen >= size * count // MIB * 3 // 4  # trio shuffles who runs first in a round
    assert seen >= count * 3 // 4


@pytest.mark.parametrize(("size", "count"), [(32 * MIB, 1), (MIB, 20), (100_000, 50), (20_000, 100)])
async def test_others_have_their_turn(flooding: ResponseBody, size: int, count: int) -> None:
    await check_others_have_their_turn(flooding, size, count)


async def check_an_expired_scope(body: ResponseBody) -> None:
    memory = bytearray(b"?" * (64 * MIB))
    with anyio.move_on_after(0) as scope:
        await body.readinto(memory)
    assert scope.cancelled_caught


async def test_an_expired_scope_is_honoured(flooding: ResponseBody) -> None:
    await check_an_expired_scope(flooding)


async def test_an_expired_scope_is_honoured_while_sending(firehose: dict[str, Any]) -> None:
    async with serving(ok(), **firehose["peer"]) as peer, transport(**firehose["own"]) as own:
        with anyio.move_on_after(10) as scope:
            # cancelled by what it sends: the connection is made by then
            body = memoryview(bytearray(64 * MIB))
            sent = 0
            original = Wire.try_send

            def try_send(self: Wire, view: bytes | memoryview) -> int:
                nonlocal sent
                scope.cancel()
                count = original(self, view)
                sent += count
                return count

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Wire, "try_send", try_send)
                await fetch(own, peer.url, "PUT", view=bytes(body))
        assert scope.cancelled_caught
        assert sent <= 3 * TURN
        assert_at_rest(own)


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_nobody_has_a_turn(flooding: ResponseBody, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "_is_turn_over", lambda *_: False)
    with pytest.raises(GOES_RED):
        await check_others_have_their_turn(flooding, 32 * MIB, 1)


async def test_mutation_no_checkpoint_for_small_reads(flooding: ResponseBody, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_checkpoint(_: ResponseBody) -> None:
        pass

    monkeypatch.setattr(bodies.ResponseBody, "_checkpoint", no_checkpoint)
    with pytest.raises(GOES_RED):
        await check_others_have_their_turn(flooding, 20_000, 40)


async def test_mutation_short_reads(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def readinto(self: ResponseBody, buffer: bytearray) -> int:
        return await self._some(memoryview(buffer))

    monkeypatch.setattr(bodies.ResponseBody, "readinto", readinto)
    with pytest.raises(GOES_RED):
        await check_filled("chunks", 100_000, secure)


async def test_mutation_a_short_body_is_accepted(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def some_more(self: ResponseBody, view: memoryview) -> int:
        count = await self._wire.receive_into(view, self._timeout)
        if not count:
            self._end()
        return count

    monkeypatch.setattr(bodies.ResponseBody, "_some_more", some_more)
    with pytest.raises(GOES_RED):
        await test_a_break("length", "end", secure)
