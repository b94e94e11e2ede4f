"""Where a body ends, in every way that an answer can tell it; and answers that tell it wrongly."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

import httpx
import pytest

from handtruck.transport.exchange import MAX_INTERIM
from handtruck.transport.heads import MAX_HEAD, MAX_HEADERS
from tests.transport.peer import Line, answer, answering, ok, serving
from tests.transport.support import MIB, assert_at_rest, exchanged, fetch, idle, pattern, transport

if TYPE_CHECKING:
    from tests.transport.certificates import Authority
    from tests.transport.peer import Answer, Then

pytestmark = pytest.mark.anyio

OK: Final = b"HTTP/1.1 200 OK\r\n"
CHUNKED: Final = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def chunks(*blocks: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks) + b"0\r\n" + trailer + b"\r\n"


def one_by_one(data: bytes) -> Answer:
    return answer(*(data[at : at + 1] for at in range(len(data))))


LARGE: Final = pattern(3 * MIB + 17)

WHOLE: Final = {
    "length 0": (ok(), b""),
    "length 1": (ok(b"x"), b"x"),
    "with the head": (ok(b"hello"), b"hello"),
    "after the head": (answer(OK + b"Content-Length: 5\r\n\r\n", b"hello"), b"hello"),
    "longer than the head's memory": (ok(LARGE[:50_000]), LARGE[:50_000]),
    "several MiB": (ok(LARGE), LARGE),
    "byte by byte": (one_by_one(ok(b"hello").segments[0]), b"hello"),
    "blanks around the length": (answer(OK + b"Content-Length: \t 5 \t\r\n\r\nhello"), b"hello"),
    "a long head": (ok(b"hello", *[b"X-%d: %s" % (n, b"v" * 600) for n in range(80)]), b"hello"),
    "many headers": (ok(b"hello", *[b"X-%d: v" % n for n in range(MAX_HEADERS - 1)]), b"hello"),
    "empty header": (ok(b"hello", b"X-Empty:"), b"hello"),
    "no reason": (answer(b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"), b"hello"),
    "blank lines ahead": (answer(b"\r\n\r\n" + ok(b"hello").segments[0]), b"hello"),
    "an upgrade is offered": (ok(b"hello", b"Upgrade: h2,h2c", b"Connection: Upgrade"), b"hello"),
    "chunked": (answer(CHUNKED + chunks(b"hel", b"lo")), b"hello"),
    "chunked and empty": (answer(CHUNKED + chunks()), b""),
    "chunked byte by byte": (one_by_one(CHUNKED + chunks(b"hel", b"lo")), b"hello"),
    "chunks of one byte": (answer(CHUNKED + chunks(*[b"%c" % c for c in LARGE[:9000]])), LARGE[:9000]),
    "a huge chunk": (answer(CHUNKED + chunks(LARGE)), LARGE),
    "uppercase coding": (answer(OK + b"Transfer-Encoding: Chunked\r\n\r\n" + chunks(b"hello")), b"hello"),
    "padded size": (answer(CHUNKED + b"0000000000005\r\nhello\r\n0000\r\n\r\n"), b"hello"),
    "extensions": (answer(CHUNKED + b'5;name=value;other="quoted"\r\nhello\r\n0;last\r\n\r\n'), b"hello"),
    "trailer": (answer(CHUNKED + chunks(b"hello", trailer=b"X-Sum: 1\r\nX-Other: 2\r\n")), b"hello"),
    "last chunk on its own": (answer(CHUNKED + b"5\r\nhello", b"\r\n", b"0", b"\r\n", b"\r", b"\n"), b"hello"),
    "interim 100": (answer(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"hello").segments[0]), b"hello"),
    "interim 103": (answer(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", *ok(b"hello").segments), b"hello"),
    "interim, as many as may be": (
        answer(b"HTTP/1.1 102 Processing\r\n\r\n" * MAX_INTERIM + ok(b"hello").segments[0]),
        b"hello",
    ),
    "HTTP/1.0, kept": (
        answer(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 5\r\n\r\nhello"),
        b"hello",
    ),
}

CLOSING: Final = {
    "until it closes": (answer(OK + b"\r\n", b"hel", b"lo", then="end"), b"hello"),
    "until it closes, empty": (answer(OK + b"\r\n", then="end"), b""),
    "until it closes, large": (answer(OK + b"\r\n" + LARGE, then="end"), LARGE),
    "HTTP/1.0 until it closes": (answer(b"HTTP/1.0 200 OK\r\n\r\nhello", then="end"), b"hello"),
    "HTTP/1.0 with a length": (answer(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"), b"hello"),
    "close": (ok(b"hello", b"Connection: close"), b"hello"),
    "Close": (ok(b"hello", b"connection: Close"), b"hello"),
    "close in a list": (ok(b"hello", b"Connection: x-one, close , x-two"), b"hello"),
    "close beside keep-alive": (ok(b"hello", b"Connection: close, keep-alive"), b"hello"),
    "close, then another header": (ok(b"hello", b"Connection: close", b"Connection: keep-alive"), b"hello"),
    "another header, then close": (ok(b"hello", b"Connection: keep-alive", b"Connection: close"), b"hello"),
    "HTTP/1.0 that says both": (
        answer(b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 5\r\n\r\nhello"),
        b"hello",
    ),
    "chunked, then closed": (
        answer(OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"hello")),
        b"hello",
    ),
    # Bytes that nobody asked for: the answer is fine, the connection is not.
    "more than the length": (answer(ok(b"hello").segments[0] + b"!"), b"hello"),
    "more than no body": (answer(OK + b"Content-Length: 0\r\n\r\nwhat?"), b""),
    "another answer": (answer(ok(b"hello").segments[0] * 2), b"hello"),
    "more than the chunks": (answer(CHUNKED + chunks(b"hello") + b"garbage"), b"hello"),
    "another answer after the chunks": (answer(CHUNKED + chunks(b"hello") + ok(b"EVIL").segments[0]), b"hello"),
    "another answer in chunks": (answer((CHUNKED + chunks(b"hello")) * 2), b"hello"),
}


@pytest.mark.parametrize(("reply", "body"), WHOLE.values(), ids=WHOLE)
async def test_whole(reply: Answer, body: bytes) -> None:
    """The body comes as it is, twice, on one connection."""
    async with serving(reply) as peer, transport() as own:
        for _ in range(2):
            assert (await fetch(own, peer.url)).content == body
            assert len(idle(own)) == 1
        assert peer.connections == 1
        assert_at_rest(own)


@pytest.mark.parametrize(("reply", "body"), CLOSING.values(), ids=CLOSING)
async def test_whole_and_the_last(reply: Answer, body: bytes) -> None:
    """The body comes as it is; the connection serves no other request."""
    async with serving(reply) as peer, transport() as own:
        assert (await fetch(own, peer.url)).content == body
        assert not idle(own)
        assert_at_rest(own)
        await peer.deserted()
        assert (await fetch(own, peer.url)).content == body
        assert peer.connections == 2


@pytest.mark.parametrize(
    ("method", "reply"),
    [
        ("HEAD", answer(OK + b"Content-Length: 5000\r\n\r\n")),
        ("HEAD", answer(OK + b"Transfer-Encoding: chunked\r\n\r\n")),
        ("HEAD", answer(OK + b"\r\n")),
        ("GET", answer(b"HTTP/1.1 204 No Content\r\n\r\n")),
        ("DELETE", answer(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")),
        ("GET", answer(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")),
        ("GET", answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n\r\n")),
    ],
)
async def test_no_body_whatever_the_head_says(method: str, reply: Answer) -> None:
    async with serving(reply) as peer, transport() as own:
        for _ in range(2):
            assert (await fetch(own, peer.url, method)).content == b""
        assert peer.connections == 1


TOO_SHORT: Final = {
    "nothing of it": OK + b"Content-Length: 5\r\n\r\n",
    "all but a byte": OK + b"Content-Length: 5\r\n\r\nhell",
    "all but a byte of much": OK + b"Content-Length: 100001\r\n\r\n" + LARGE[:100_000],
    "no chunk": CHUNKED,
    "in a size": CHUNKED + b"5",
    "after a size": CHUNKED + b"5\r\n",
    "in a chunk": CHUNKED + b"5\r\nhel",
    "after a chunk": CHUNKED + b"5\r\nhello\r\n",
    "no blank line": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "in the trailer": CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\r\n",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhell",
}


@pytest.mark.parametrize("then", ["end", "reset"])
@pytest.mark.parametrize("data", TOO_SHORT.values(), ids=TOO_SHORT)
async def test_a_short_body_is_an_error(data: bytes, then: Then) -> None:
    async with serving(answer(data, then=then)) as peer, transport() as own:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await fetch(own, peer.url)
        assert_at_rest(own)
        assert not idle(own)


@pytest.mark.parametrize("then", ["cut", "reset"])
@pytest.mark.parametrize("large", [False, True])
async def test_until_close_without_goodbye(authority: Authority, then: Then, large: bool) -> None:
    """Over TLS a connection that just ends may have been cut by anybody."""
    body = LARGE[: 100_000 if large else 5]
    reply = answer(OK + b"\r\n" + body, then=then)
    async with serving(reply, tls=authority.serving()) as peer, transport(ssl_context=authority.trusting()) as own:
        with pytest.raises(httpx.ReadError):
            await fetch(own, peer.url)
        assert_at_rest(own)


async def test_until_close_with_goodbye(authority: Authority) -> None:
    reply = answer(OK + b"\r\n" + LARGE, then="end")
    async with serving(reply, tls=authority.serving()) as peer, transport(ssl_context=authority.trusting()) as own:
        assert (await fetch(own, peer.url)).content == LARGE


async def test_until_a_reset() -> None:
    """A reset is no end, even where the end of the connection is the end of the body."""
    with pytest.raises(httpx.ReadError):
        await exchanged(answer(OK + b"\r\nhello", then="reset"))


async def test_garbage_on_the_wire_of_tls(authority: Authority) -> None:
    """What no key has signed is an error, not the end."""

    async def script(line: Line) -> None:
        await line.request()
        await line.send(OK + b"\r\n" + LARGE[:40_000])
        plain = socket.socket(fileno=line.sock.fileno())  # past TLS
        plain.send(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        plain.detach()
        await line.drain()

    async with serving(script, tls=authority.serving()) as peer, transport(ssl_context=authority.trusting()) as own:
        with pytest.raises(httpx.ReadError):
            await fetch(own, peer.url)


WRONG: Final = {
    "garbage": b"what?\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "ICE": b"ICE/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "one bare line feed": OK + b"X: 1\nContent-Length: 5\r\n\r\nhello",
    "a bare empty line": OK + b"Content-Length: 5\r\n\nhello",
    "folded length": OK + b"Content-Length: 1\r\n 2\r\n\r\nhello hello ",
    "folded header": OK + b"X: 1\r\n 2\r\nContent-Length: 5\r\n\r\nhello",
    "no name": OK + b": 1\r\nContent-Length: 5\r\n\r\nhello",
    "no colon": OK + b"what\r\nContent-Length: 5\r\n\r\nhello",
    "blank before the colon": OK + b"Content-Length : 5\r\n\r\nhello",
    "null in a header": OK + b"X: a\0b\r\nContent-Length: 5\r\n\r\nhello",
    "carriage return in a header": OK + b"X: a\rb\r\nContent-Length: 5\r\n\r\nhello",
    "length and chunks": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"hello"),
    "chunks and length": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunks(b"hello"),
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "two lengths in one": OK + b"Content-Length: 5, 6\r\n\r\nhello!",
    "no number": OK + b"Content-Length: five\r\n\r\nhello",
    "less than nothing": OK + b"Content-Length: -5\r\n\r\nhello",
    "a sign": OK + b"Content-Length: +5\r\n\r\nhello",
    "hexadecimal": OK + b"Content-Length: 0x5\r\n\r\nhello",
    "an empty length": OK + b"Content-Length:\r\n\r\nhello",
    "more than there is": OK + b"Content-Length: 99999999999999999999\r\n\r\nhello",
    "a coding that nobody asked for": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + chunks(b"hello"),
    "an unknown coding": OK + b"Transfer-Encoding: xchunked\r\n\r\n" + chunks(b"hello"),
    "chunked twice": OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunks(b"hello"),
    "chunked twice, in two headers": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + chunks(b"hello"),
    "status 99": b"HTTP/1.1 99 Low\r\nContent-Length: 5\r\n\r\nhello",
    "status 000": b"HTTP/1.1 000 None\r\n\r\n" + ok(b"hello").segments[0],
    "status 1000": b"HTTP/1.1 1000 High\r\nContent-Length: 5\r\n\r\nhello",
    "no chunk": CHUNKED + b"what?\r\n",
    "a negative chunk": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk of no number": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a chunk too large to count": CHUNKED + b"f" * 17 + b"\r\nhello",
    "a chunk that does not end": CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "bare line feeds around chunks": CHUNKED + b"5\nhello\n0\n\n",
    "a line feed in an extension": CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    "too many interims": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1) + ok(b"hello").segments[0],
    "interims without end": b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
    "too long a head": OK + b"X: " + b"v" * MAX_HEAD + b"\r\n\r\n",
    "too long a status": b"HTTP/1.1 200 " + b"O" * MAX_HEAD + b"\r\n\r\n",
    "blank lines without end": b"\r\n" * MAX_HEAD,
    "too many headers": ok(b"", *[b"X-%d: v" % n for n in range(MAX_HEADERS)]).segments[0],
    "too long an extension": CHUNKED + b"5;" + b"x" * (MAX_HEAD + 20_000) + b"\r\nhello\r\n0\r\n\r\n",
    "too long a trailer": CHUNKED + chunks(b"hello", trailer=b"".join(b"X-%d: v\r\n" % n for n in range(12_000))),
    "an endless trailer header": CHUNKED + b"0\r\nX: " + b"v" * (MAX_HEAD + 20_000),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
async def test_wrong(data: bytes) -> None:
    """An error of the peer's, whatever the peer does next; and nothing is left of it."""
    async with serving(answering(answer(data, then="silence"), ok(b"fine"))) as peer, transport() as own:
        with pytest.raises(httpx.RemoteProtocolError):
            await fetch(own, peer.url)
        assert_at_rest(own)
        assert not idle(own)
        assert (await fetch(own, peer.url)).content == b"fine"


@pytest.mark.parametrize("data", [b"", b"\r\n", b"HTTP/1.1", OK, OK + b"Content-Length: 5\r\n"])
@pytest.mark.parametrize("then", ["end", "reset"])
async def test_a_short_head(data: bytes, then: Then) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await exchanged(answer(data, then=then))
