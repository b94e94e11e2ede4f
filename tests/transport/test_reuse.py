"""A connection turns out dead: the request goes once more, on a fresh one, where that does no harm; never twice."""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from handtruck import Transport
from handtruck.transport.exchange import Exchange
from handtruck.transport.wire import Wire
from tests.transport.peer import Line, leave, ok, serving
from tests.transport.support import GOES_RED, MIB, assert_at_rest, fetch, leaving_nothing, transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from tests.transport.certificates import Authority
    from tests.transport.peer import Script, Then

pytestmark = pytest.mark.anyio

BODY: Final = b"body"
FAILURES: Final = (httpx.NetworkError, httpx.RemoteProtocolError)


def dying(*, then: Then, last: int, says: bytes = b"") -> Script:
    """Each connection answers one request, and dies of the next; the ``last``-th one lives. One that is reused only."""

    async def script(line: Line) -> None:
        first = True
        while await line.request() is not None:
            if line.number < last and (not first or line.number > 1):
                await line.send(says)
                await leave(line, then)
                return
            first = False
            await line.send(*ok(b"fine").segments)

    return script


@pytest.fixture(params=["http", "https"])
def secure(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """Options of the peer, and of the transport."""
    if request.param == "http":
        return {"peer": {}, "own": {}}
    return {"peer": {"tls": authority.serving()}, "own": {"ssl_context": authority.trusting()}}


async def check_sent_again(secure: dict[str, Any], then: Then, **options: Any) -> None:
    async with serving(dying(then=then, last=2), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        await fetch(own, peer.url)
        async with leaving_nothing(own, peer):
            response = await fetch(own, peer.url, "PUT", idempotent=True, **options)
        assert response.content == b"fine"
        assert [request.connection for request in peer.requests] == [1, 1, 2]
        assert peer.requests[1].body == peer.requests[2].body


@pytest.mark.parametrize("then", ["close", "end", "reset", "cut"])
@pytest.mark.parametrize("options", [{"view": BODY}, {"content": BODY}, {"view": b"x" * MIB}])
async def test_sent_again(secure: dict[str, Any], then: Then, options: dict[str, Any]) -> None:
    await check_sent_again(secure, then, **options)


async def check_not_sent_again(secure: dict[str, Any], then: Then, **options: Any) -> None:
    """Whoever did not say that it does no harm."""
    async with serving(dying(then=then, last=2), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        await fetch(own, peer.url)
        with pytest.raises(FAILURES):
            await fetch(own, peer.url, "PUT", **options)
        assert len(peer.requests) == 2
        assert_at_rest(own)


@pytest.mark.parametrize("then", ["close", "end", "reset"])
@pytest.mark.parametrize(
    "options",
    [{"view": BODY}, {"content": BODY}, {"view": BODY, "extensions": {"handtruck.idempotent": False}}],
)
async def test_not_sent_again(secure: dict[str, Any], then: Then, options: dict[str, Any]) -> None:
    await check_not_sent_again(secure, then, **options)


@pytest.mark.parametrize("says", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_not_after_the_first_byte_of_an_answer(secure: dict[str, Any], says: bytes) -> None:
    """The server was alive: it has seen the request."""
    script = dying(then="close", last=2, says=says)
    async with serving(script, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        await fetch(own, peer.url)
        with pytest.raises(FAILURES):
            await fetch(own, peer.url, "PUT", view=BODY, idempotent=True)
        assert len(peer.requests) == 2
        assert_at_rest(own)


async def check_never_twice(secure: dict[str, Any]) -> None:
    script = dying(then="close", last=9)
    async with serving(script, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        await fetch(own, peer.url)
        with pytest.raises(FAILURES):
            await fetch(own, peer.url, "PUT", view=BODY, idempotent=True)
        assert [request.connection for request in peer.requests] == [1, 1, 2]
        with pytest.raises(FAILURES):
            await fetch(own, peer.url, "PUT", view=BODY, idempotent=True)
        assert [request.connection for request in peer.requests] == [1, 1, 2, 3]  # a fresh connection: not even once
        assert_at_rest(own)


async def test_never_twice(secure: dict[str, Any]) -> None:
    await check_never_twice(secure)


async def test_a_timeout_is_no_dead_connection(secure: dict[str, Any]) -> None:
    script = dying(then="silence", last=2)
    async with serving(script, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        await fetch(own, peer.url)
        with pytest.raises(httpx.ReadTimeout):
            await fetch(own, peer.url, view=BODY, idempotent=True, extensions={"timeout": {"read": 0.05}})
        assert len(peer.requests) == 2


class Reiterable(httpx.AsyncByteStream):
    """A stream that can be read again, and counts how often it is."""

    def __init__(self) -> None:
        self.reads = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.reads += 1
        yield BODY[:2]
        yield BODY[2:]


async def test_a_stream_is_read_again(secure: dict[str, Any]) -> None:
    stream = Reiterable()
    await check_sent_again(secure, "close", stream=stream, headers={"Content-Length": "4"})
    assert stream.reads == 2


@pytest.fixture
def unsent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection breaks before the kernel takes a byte, but only one that was used before."""
    original = Wire.try_send

    def try_send(self: Wire, view: bytes | memoryview) -> int:
        if not self.fresh:
            raise BrokenPipeError(32, "Broken pipe")
        return original(self, view)

    monkeypatch.setattr(Wire, "try_send", try_send)


@pytest.mark.parametrize("options", [{"view": BODY}, {"content": BODY}, {"view": b"x" * MIB}, {}])
async def test_of_which_no_byte_was_sent(unsent: None, options: dict[str, Any]) -> None:
    """Sending it again is sending it: whatever the request is."""
    async with serving(ok(b"fine")) as peer, transport() as own:
        await fetch(own, peer.url)
        assert (await fetch(own, peer.url, "POST", **options)).content == b"fine"
        assert [request.connection for request in peer.requests] == [1, 2]
        assert_at_rest(own)


async def test_of_which_no_byte_was_sent_but_some_were_read(unsent: None) -> None:
    """A generator gives its bytes once."""

    async def blocks() -> AsyncGenerator[bytes]:
        yield BODY

    async with serving(ok(b"fine")) as peer, transport() as own, aclosing(blocks()) as content:
        await fetch(own, peer.url)
        with pytest.raises(httpx.WriteError):
            await fetch(own, peer.url, "POST", content=content, headers={"Content-Length": "4"})
        assert len(peer.requests) == 1
        assert_at_rest(own)


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_everything_is_sent_again(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchange, "may_repeat", lambda _: True)
    with pytest.raises(GOES_RED):
        await check_not_sent_again(secure, "close", view=BODY)


async def test_mutation_nothing_is_sent_again(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Exchange, "may_repeat", lambda _: False)
    with pytest.raises(FAILURES):
        await check_sent_again(secure, "close", view=BODY)


async def test_mutation_sent_again_for_ever(secure: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Transport.perform

    async def perform(self: Transport, call: Any) -> Any:
        while True:
            with suppress(*FAILURES):
                return await original(self, call)

    monkeypatch.setattr(Transport, "perform", perform)
    with pytest.raises(GOES_RED):
        await check_never_twice(secure)
