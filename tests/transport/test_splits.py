"""However the network cuts an answer into pieces, the same comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handtruck.transport.wire import Wire
from tests.transport.peer import answer, answering, ok, serving
from tests.transport.support import assert_at_rest, pattern, raw, request, transport

if TYPE_CHECKING:
    from handtruck import Transport
    from tests.transport.certificates import Authority
    from tests.transport.peer import Answer, Then

pytestmark = pytest.mark.anyio

CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY: Final = pattern(40)

ANSWERS: Final[dict[str, tuple[bytes, Then]]] = {
    "length": (b"\r\nHTTP/1.1 200 OK\r\nX-One: 1\r\nContent-Length: 40\r\n\r\n" + BODY, "keep"),
    "empty": (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "keep"),
    "interim": (b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nbody", "keep"),
    "chunks": (CHUNKED + b"5;a=b\r\n01234\r\n1\r\n5\r\n0022\r\n" + BODY[:34] + b"\r\n0\r\nX: 1\r\n\r\n", "keep"),
    "until close": (b"HTTP/1.1 200 OK\r\nX-One: 1\r\n\r\n" + BODY, "end"),
    "too much": (ok(b"hello").segments[0] + b"more", "end"),
    "too much after chunks": (
        CHUNKED + b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL",
        "end",
    ),
    "too short": (b"HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\n" + BODY, "end"),
    "too short in chunks": (CHUNKED + b"5\r\nhello\r\n3\r\nab", "end"),
    "wrong length": (b"HTTP/1.1 200 OK\r\nContent-Length: 4x\r\n\r\n" + BODY, "end"),
    "wrong chunk": (CHUNKED + b"5\r\nhello\r\nx\r\n", "end"),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 4\n\nbody\r\n\r\n", "end"),
}
WHOLE: Final = {"too much": ANSWERS["too much"][0].find(b"more"), "too much after chunks": len(CHUNKED) + 15}
"""Where the answer is whole; what comes later is words out of turn: the pool looks at those."""

REUSED: Final = frozenset({"length", "empty", "interim", "chunks"})

Outcome: TypeAlias = tuple[int, list[tuple[str, str]], bytes, str]


async def outcome(own: Transport, url: str, *, readinto: bool) -> Outcome:
    """Status, headers, what came of the body, and the kind of error that ended it."""
    body = bytearray()
    status, headers = 0, httpx.Headers()
    try:
        response = await own.handle_async_request(request(url))
        status, headers = response.status_code, response.headers
        try:
            if readinto:
                while got := await raw(response).readinto(memory := bytearray(7)):
                    body += memory[:got]
            else:
                async for block in response.stream:  # type: ignore[union-attr]
                    body += block
        finally:
            await response.aclose()
    except httpx.TransportError as error:
        return status, headers.multi_items(), bytes(body), type(error).__name__
    return status, headers.multi_items(), bytes(body), ""


def same(found: Outcome, expected: Outcome) -> bool:
    """Ahead of an error there may be more or less of the body."""
    if expected[3]:
        return (found[0], found[1], found[3]) == (expected[0], expected[1], expected[3])
    return found == expected


def halves(data: bytes, then: Then) -> list[Answer]:
    return [answer(data[:at], data[at:], then=then) for at in range(1, len(data))]


@pytest.mark.parametrize("name", ANSWERS)
async def test_in_two(name: str) -> None:
    data, then = ANSWERS[name]
    readinto = len(data) % 2 == 0  # one or the other
    async with serving(answer(data, then=then)) as peer, transport() as own:
        expected = await outcome(own, peer.url, readinto=readinto)
        peer.script = answering(*halves(data, then))
        for at in range(1, WHOLE.get(name, len(data))):
            found = await outcome(own, peer.url, readinto=readinto)
            assert same(found, expected), f"split at {at}"
            assert_at_rest(own)
        connections = [request.connection for request in peer.requests]
        assert connections == [1 if name in REUSED else number for number in range(1, len(connections) + 1)]


@pytest.mark.parametrize("name", ["length", "chunks", "too short in chunks"])
async def test_in_two_over_tls(name: str, authority: Authority) -> None:
    """Where each piece is a record of its own."""
    data, then = ANSWERS[name]
    tls, trusting = authority.serving(), authority.trusting()
    async with serving(answer(data, then=then), tls=tls) as peer, transport(ssl_context=trusting) as own:
        expected = await outcome(own, peer.url, readinto=True)
        peer.script = answering(*halves(data, then))
        for at in range(1, len(data)):
            assert same(await outcome(own, peer.url, readinto=True), expected), f"split at {at}"


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(ANSWERS)),
    sizes=st.lists(st.integers(1, 60), max_size=40),
    readinto=st.booleans(),
)
async def test_in_many(name: str, sizes: list[int], readinto: bool) -> None:
    """Each try to receive finds so many bytes, whatever is there."""
    data, then = ANSWERS[name]
    original = Wire.try_receive
    async with serving(answer(data, then=then)) as peer, transport() as own:
        expected = await outcome(own, peer.url, readinto=readinto)
        left = list(sizes)

        def try_receive(self: Wire, view: memoryview) -> int:
            return original(self, view[: left.pop(0)] if left else view)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Wire, "try_receive", try_receive)
            assert same(await outcome(own, peer.url, readinto=readinto), expected)
        assert_at_rest(own)
