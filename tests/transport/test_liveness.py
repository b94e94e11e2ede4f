"""Idle connections that died, or talk: who is dead is not used, who is not is."""

from __future__ import annotations

import select
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from handtruck.transport.wire import Wire
from tests.transport.peer import Line, let_others_run, ok, serving
from tests.transport.support import GOES_RED, fetch, idle, transport

if TYPE_CHECKING:
    from tests.transport.certificates import Authority

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["http", "https"])
def tls(request: pytest.FixtureRequest, authority: Authority) -> Authority | None:
    """The authority for https, or none."""
    return authority if request.param == "https" else None


async def check_dead_ones_are_not_used(tls: Authority | None, then: Any) -> None:
    """By a request that may not be sent twice: it must never meet them."""
    options: dict[str, Any] = {"ssl_context": tls.trusting()} if tls else {}
    async with (
        serving(ok(then=then), tls=tls.serving() if tls else None) as peer,
        transport(**options) as own,
    ):
        for number in range(1, 4):
            assert (await fetch(own, peer.url, "POST", content=b"once")).status_code == 200
            assert len(idle(own)) == 1
            if then != "end":
                await peer.deserted()
            else:
                await let_others_run(10)
            assert peer.connections == number
        assert len(peer.requests) == 3


@pytest.mark.parametrize("then", ["close", "reset", "end", "cut"])
async def test_the_server_closed_it(tls: Authority | None, then: Any) -> None:
    await check_dead_ones_are_not_used(tls, then if then != "cut" else "close")


async def check_words_out_of_turn(tls: Authority | None) -> None:
    """What came before we asked is no answer to what we ask."""
    speak = anyio.Event()
    spoken = anyio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(*ok(b"fine").segments)
        if line.number == 1:
            await speak.wait()
            await line.send(b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")
            spoken.set()
            await line.drain()

    options: dict[str, Any] = {"ssl_context": tls.trusting()} if tls else {}
    async with serving(script, tls=tls.serving() if tls else None) as peer, transport(**options) as own:
        assert (await fetch(own, peer.url)).content == b"fine"
        speak.set()
        await spoken.wait()
        response = await fetch(own, peer.url, "POST", content=b"once")
        assert (response.status_code, response.content) == (200, b"fine")
        assert peer.connections == 2


async def test_words_out_of_turn(tls: Authority | None) -> None:
    await check_words_out_of_turn(tls)


async def check_tls_may_talk(authority: Authority) -> None:
    """TLS has something to say to itself on an idle connection (session tickets, here a request for a certificate)."""
    server, client = authority.serving(), authority.trusting()
    server.load_verify_locations(authority.ca)
    server.verify_mode = ssl.CERT_OPTIONAL
    client.post_handshake_auth = True
    asked = anyio.Event()

    async def script(line: Line) -> None:
        await line.request()
        await line.send(*ok(b"one").segments)
        server.verify_mode = ssl.CERT_REQUIRED
        line.sock.verify_client_post_handshake()
        with suppress(ssl.SSLWantReadError):
            line.sock.do_handshake()
        asked.set()
        await line.request()
        await line.send(*ok(b"two").segments)

    async with serving(script, tls=server) as peer, transport(ssl_context=client) as own:
        assert (await fetch(own, peer.url)).content == b"one"
        await asked.wait()
        assert (await fetch(own, peer.url)).content == b"two"
        assert peer.connections == 1


async def test_tls_may_talk_to_itself(authority: Authority) -> None:
    await check_tls_may_talk(authority)


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_everybody_is_alive(tls: Authority | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Wire, "is_alive", lambda _: True)
    with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
        await check_dead_ones_are_not_used(tls, "end")
    with pytest.raises(GOES_RED):
        await check_words_out_of_turn(tls)


async def test_mutation_who_has_something_to_say_is_dead(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket's word is not TLS's."""
    monkeypatch.setattr(Wire, "is_alive", lambda self: not select.select([self.sock], [], [], 0)[0])
    with pytest.raises((*GOES_RED, httpx.RemoteProtocolError, httpx.NetworkError)):
        await check_tls_may_talk(authority)
