"""Request bodies of every kind arrive as they are; what cannot be sent is refused before it is."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck.transport import exchange
from handtruck.transport.wire import Wire
from tests.transport.peer import Line, ok, serving
from tests.transport.support import GOES_RED, MIB, assert_at_rest, fetch, idle, pattern, raw, request, transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.transport.certificates import Authority

pytestmark = pytest.mark.anyio

JOINED: Final = 64 * 1024
SIZES: Final = (0, 1, JOINED - 200, JOINED - 1, JOINED, JOINED + 1, 3 * MIB + 1)
BODY: Final = pattern(max(SIZES))
STEP: Final = 100_003


class Stream(httpx.AsyncByteStream):
    """Blocks of a caller's own; tells whether it was closed."""

    def __init__(self, *blocks: bytes, fails: Exception | None = None) -> None:
        self.blocks = blocks
        self.fails = fails
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            for block in self.blocks:
                yield block
            if self.fails is not None:
                raise self.fails
        finally:
            self.closed = True


def cut(body: bytes) -> Iterator[bytes]:
    yield b""
    for start in range(0, len(body), STEP):
        yield body[start : start + STEP]
        yield b""


def length(body: bytes) -> dict[str, str]:
    return {"Content-Length": str(len(body))}


KINDS: Final[dict[str, Callable[[bytes], dict[str, Any]]]] = {
    "view": lambda body: {"view": body},
    "bytes": lambda body: {"content": body},
    "stream": lambda body: {"stream": Stream(*cut(body)), "headers": length(body)},
    "chunks": lambda body: {"stream": Stream(*cut(body)), "headers": {"Transfer-Encoding": "chunked"}},
    "threads": lambda body: {"content": cut(body), "headers": length(body)},
    "threads, chunks": lambda body: {"content": cut(body)},
}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("kind", KINDS)
async def test_bodies(kind: str, secure: bool, authority: Authority) -> None:
    tls = authority.serving() if secure else None
    options = {"ssl_context": authority.trusting()} if secure else {}
    async with serving(ok(b"fine"), tls=tls) as peer, transport(**options) as own:
        for size in SIZES:
            response = await fetch(own, peer.url, "PUT", **KINDS[kind](BODY[:size]))
            assert response.content == b"fine"
            assert peer.requests[-1].body == BODY[:size]
            chunked = peer.requests[-1].headers.get("transfer-encoding")
            assert chunked == ("chunked" if "chunks" in kind else None)
        assert peer.connections == 1
        assert_at_rest(own)


async def test_a_form() -> None:
    """What httpx makes of files: a stream of its own."""
    async with serving(ok()) as peer, httpx.AsyncClient(transport=transport()) as client:
        await client.post(peer.url, files={"file": ("name", BODY[:70_000])}, data={"field": "value"})
        assert BODY[:70_000] in peer.requests[0].body
        await client.post(peer.url, json={"a": 1})
        assert peer.requests[1].body in (b'{"a":1}', b'{"a": 1}')


async def check_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    body, sent = BODY[: 2 * MIB], list[object]()
    original = Wire.try_send

    def try_send(self: Wire, view: bytes | memoryview) -> int:
        sent.append(view.obj if isinstance(view, memoryview) else view)
        return original(self, view)

    monkeypatch.setattr(Wire, "try_send", try_send)
    async with serving(ok()) as peer, transport() as own:
        await fetch(own, peer.url, "PUT", view=body)
        assert peer.requests[0].body == body
    foreign = [each for each in sent if each is not body]
    assert len(foreign) == 1  # the head
    assert isinstance(foreign[0], bytes)
    assert foreign[0].startswith(b"PUT / ")


async def test_a_large_body_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_not_copied(monkeypatch)


async def test_a_stream_is_sent_as_it_comes() -> None:
    """A source may be slow, or wait for the other side to have seen what it gave so far."""
    arrived = anyio.Event()

    async def script(line: Line) -> None:
        await line.head()
        assert await line.some_body() == b"first"
        arrived.set()
        await line.body()
        await line.send(*ok(b"fine").segments)

    class Slow(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"first"
            await arrived.wait()
            yield b"second"

    for headers in ({"Content-Length": "11"}, {"Transfer-Encoding": "chunked"}):
        arrived = anyio.Event()
        async with serving(script) as peer, transport() as own:
            with anyio.fail_after(5):
                await fetch(own, peer.url, "PUT", stream=Slow(), headers=headers)


async def test_sync_iterables_advance_in_a_thread() -> None:
    """They may block; an error of theirs comes out as it is."""
    threads: list[int] = []

    def blocks() -> Iterator[bytes]:
        for block in (b"a", b"b"):
            threads.append(threading.get_ident())
            yield block

    def failing() -> Iterator[bytes]:
        yield b"a"
        raise KeyError("theirs")

    async with serving(ok()) as peer, transport() as own:
        await fetch(own, peer.url, "PUT", content=blocks(), headers={"Content-Length": "2"})
        assert peer.requests[0].body == b"ab"
        assert threading.get_ident() not in threads
        with pytest.raises(KeyError, match="theirs"):
            await fetch(own, peer.url, "PUT", content=failing(), headers={"Content-Length": "2"})
        assert_at_rest(own)


# -- Refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize("blocks", [(b"12345",), (b"123", b"45"), (b"x" * 200_000,), (b"x" * 200_000, b"y" * 200_001)])
@pytest.mark.parametrize("by", [-1, 1])
async def test_a_body_of_another_length(used: bool, blocks: tuple[bytes, ...], by: int) -> None:
    """Neither a byte too many nor an answer to half a request: the connection ends."""
    promised = {"Content-Length": str(sum(map(len, blocks)) + by)}
    async with serving(ok(b"fine")) as peer, transport() as own:
        for options in (
            {"stream": Stream(*blocks), "headers": promised},
            {"content": iter(blocks), "headers": promised},
            {"view": b"".join(blocks), "headers": promised},
            {"content": b"".join(blocks), "headers": promised},
        ):
            if used:
                await fetch(own, peer.url)
            seen = len(peer.requests)
            with pytest.raises(httpx.LocalProtocolError):
                await fetch(own, peer.url, "PUT", idempotent=True, **options)
            assert_at_rest(own)
            assert not idle(own)
            await peer.deserted()
            assert len(peer.requests) == seen
            if isinstance(stream := options.get("stream"), Stream):
                assert stream.closed


@pytest.mark.parametrize("blocks", [(), (b"123",), (b"x" * 200_000,)])
async def test_a_stream_that_fails(blocks: tuple[bytes, ...]) -> None:
    async with serving(ok()) as peer, transport() as own:
        for headers in ({"Content-Length": "500000"}, {"Transfer-Encoding": "chunked"}):
            await fetch(own, peer.url)
            stream = Stream(*blocks, fails=KeyError("theirs"))
            with pytest.raises(KeyError, match="theirs"):
                await fetch(own, peer.url, "PUT", stream=stream, headers=headers)
            assert stream.closed
            assert_at_rest(own)
            assert not idle(own)
        assert len(peer.requests) == 2


@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"X": "1\r\nEvil: 2"}},
        {"headers": {"X": "1\nEvil: 2"}},
        {"headers": {"X": "1\r"}},
        {"headers": {"X": "\0"}},
        {"headers": {"X: 1\r\nEvil": "2"}},
        {"headers": {"X:": "2"}},
        {"headers": {"X ": "2"}},
        {"headers": {"": "2"}},
        {"extensions": {"target": b"/ HTTP/1.1\r\nEvil: 2\r\n\r\n"}},
        {"extensions": {"target": b"/a b"}},
        {"extensions": {"target": b"/a\n"}},
        {"headers": {"Content-Length": "1", "Transfer-Encoding": "chunked"}},
        {"headers": {"Content-Length": "-1"}},
        {"headers": {"Transfer-Encoding": "gzip"}},
    ],
)
async def test_what_cannot_be_sent(options: dict[str, Any]) -> None:
    """No connection is made for it, none is lost by it."""
    async with serving(ok()) as peer, transport() as own:
        with pytest.raises(httpx.LocalProtocolError):
            await fetch(own, peer.url, **options)
        assert_at_rest(own)
        assert peer.connections == 0
        await fetch(own, peer.url)
        with pytest.raises(httpx.LocalProtocolError):
            await fetch(own, peer.url, **options)
        await fetch(own, peer.url)
        assert (peer.connections, len(peer.requests)) == (1, 2)


@pytest.mark.parametrize("method", ["GET /evil HTTP/1.1\r\nX:", "G T", "", "GÉT"])
async def test_no_such_method(method: str) -> None:
    async with serving(ok()) as peer, transport() as own:
        with pytest.raises(httpx.LocalProtocolError):
            await fetch(own, peer.url, method)
        assert peer.connections == 0


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "ws://127.0.0.1/", "//127.0.0.1/", "/path", "http:///path"])
async def test_nowhere_to_go(url: str) -> None:
    async with transport() as own:
        with pytest.raises(httpx.UnsupportedProtocol):
            await own.handle_async_request(httpx.Request("GET", url))
        assert_at_rest(own)


async def test_a_stream_that_is_none() -> None:
    async with serving(ok()) as peer, transport() as own:
        with pytest.raises(TypeError):
            await own.handle_async_request(request(peer.url, stream=17))
        assert_at_rest(own)
        assert not idle(own)


@pytest.mark.parametrize("target", [b"/a/../b", b"/a//b/./c?x=%2F&y=+", b"*", b"/\xc3\xa9", b"/%zz", b"http://other/x"])
async def test_targets_are_sent_byte_for_byte(target: bytes) -> None:
    """h11 takes ASCII alone, so the rest is read from the line itself."""
    seen: list[bytes] = []

    async def script(line: Line) -> None:
        data = b""
        while b"\r\n\r\n" not in data:
            data += await line.receive()
        seen.append(data.partition(b"\r\n")[0])
        await line.send(*ok().segments)

    async with serving(script) as peer, transport() as own:
        await fetch(own, peer.url, extensions={"target": target})
    assert seen == [b"GET %b HTTP/1.1" % target]


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_a_large_body_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    original = exchange.Exchange._send_bytes

    async def copying(self: exchange.Exchange, data: bytes | memoryview, *_: object) -> Any:
        return await original(self, bytearray(data))  # type: ignore[arg-type]

    monkeypatch.setattr(exchange.Exchange, "_send_bytes", copying)
    with pytest.raises(GOES_RED):
        await check_not_copied(monkeypatch)


async def test_raw_is_there() -> None:
    """The seam that the other tests use."""
    async with serving(ok(b"fine")) as peer, transport() as own:
        response = await own.handle_async_request(request(peer.url))
        assert await raw(response).readinto(memory := bytearray(9)) == 4
        assert memory[:4] == b"fine"
        await response.aclose()
