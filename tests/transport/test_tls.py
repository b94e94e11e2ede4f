"""Who is at the other end: certificates, names, sessions; and peers that do not finish their handshake."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from handtruck.transport.dialing import Dialer
from tests.transport.certificates import NAME
from tests.transport.peer import Line, answering, leave, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    ON_LINUX,
    assert_at_rest,
    descriptors,
    fetch,
    pattern,
    strays,
    transport,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transport.certificates import Authority
    from tests.transport.peer import Then

pytestmark = pytest.mark.anyio

BODY: Final = pattern(3 * MIB)


async def resolve(_: str, __: int) -> list[str]:
    return ["127.0.0.1"]


async def reached(url: str, **options: Any) -> bytes:
    """What a new transport gets from there."""
    async with transport(resolve=resolve, **options) as own:
        try:
            return (await fetch(own, url)).content
        finally:
            assert_at_rest(own)


# -- Trust -----------------------------------------------------------------------------------------------------------


async def test_whom_we_trust(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    ca = str(authority.ca)
    async with serving(ok(b"fine"), tls=authority.serving()) as peer:
        assert await reached(peer.url, verify=ca) == b"fine"
        assert await reached(peer.url, verify=authority.trusting()) == b"fine"
        assert await reached(peer.url, ssl_context=authority.trusting()) == b"fine"
        assert await reached(peer.url, verify=False) == b"fine"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await reached(peer.url)
        monkeypatch.setenv("SSL_CERT_FILE", ca)
        assert await reached(peer.url) == b"fine"
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await reached(peer.url, trust_env=False)
        assert len(peer.requests) == 5  # of the others no byte has left


async def check_names(authority: Authority) -> None:
    async with serving(ok(b"fine"), tls=authority.serving()) as peer:
        assert await reached(f"https://{NAME}:{peer.port}", ssl_context=authority.trusting()) == b"fine"
        with pytest.raises(httpx.ConnectError, match=r"[Hh]ostname"):
            await reached(f"https://evil.test:{peer.port}", ssl_context=authority.trusting())
    async with serving(ok(b"fine"), tls=authority.serving(authority.other)) as peer:
        with pytest.raises(httpx.ConnectError, match=r"127\.0\.0\.1"):
            await reached(peer.url, ssl_context=authority.trusting())


async def test_names_are_checked(authority: Authority) -> None:
    await check_names(authority)


async def test_an_address_of_six(authority: Authority) -> None:
    async with serving(ok(b"fine"), tls=authority.serving(), host="::1") as peer:
        assert await reached(peer.url, ssl_context=authority.trusting()) == b"fine"


async def test_another_name_for_tls(authority: Authority) -> None:
    """``sni_hostname`` is what is asked for, and what is checked; the Host header says what the URL does."""
    asked: list[str | None] = []
    server = authority.serving(authority.other)
    server.sni_callback = lambda _, name, __: asked.append(name)
    async with serving(ok(b"fine"), tls=server) as peer, transport(ssl_context=authority.trusting()) as own:
        await fetch(own, peer.url, extensions={"sni_hostname": "other.test"})
        with pytest.raises(httpx.ConnectError):
            await fetch(own, peer.url, extensions={"sni_hostname": "wrong.test"})
        assert asked == ["other.test", "wrong.test"]
        assert peer.requests[0].headers["host"] == f"127.0.0.1:{peer.port}"


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_our_own_certificate(authority: Authority, most: ssl.TLSVersion, tmp_path: Path) -> None:
    path, ca = str(authority.client), str(authority.ca)
    async with serving(ok(b"fine"), tls=authority.serving(mutual=True, most=most)) as peer:
        for cert in (path, (path, path), (path, path, "unused")):
            assert await reached(peer.url, verify=ca, cert=cert) == b"fine"
        with pytest.raises((httpx.ConnectError, httpx.ReadError, httpx.WriteError)):
            await reached(peer.url, verify=ca)
        with pytest.raises(OSError, match=r"No such file"):
            await reached(peer.url, verify=ca, cert=str(tmp_path / "missing"))
        assert len(peer.requests) == 3


async def test_files_that_are_not_there(authority: Authority, tmp_path: Path) -> None:
    """No matter of the network's, which would be worth another try."""
    async with serving(ok(b"fine"), tls=authority.serving()) as peer:
        with pytest.raises(OSError, match=r"No such file") as caught:
            await reached(peer.url, verify=str(tmp_path / "missing"))
        assert not isinstance(caught.value, httpx.HTTPError)


# -- The handshake ---------------------------------------------------------------------------------------------------


async def test_http_1_is_offered_alone(authority: Authority) -> None:
    """A server that would rather speak HTTP/2 does not."""
    chosen: list[str | None] = []

    async def script(line: Line) -> None:
        chosen.append(line.sock.selected_alpn_protocol())
        await answering(ok(b"fine"))(line)

    context = authority.trusting()
    context.set_alpn_protocols(["h2"])
    async with serving(script, tls=authority.serving()) as peer:
        assert await reached(peer.url, ssl_context=context) == b"fine"
        assert await reached(peer.url, verify=str(authority.ca)) == b"fine"
    assert chosen == ["http/1.1"] * 2


async def check_sessions(authority: Authority, most: ssl.TLSVersion) -> None:
    """The second connection, and the third, go on where the first has ended."""
    resumed: list[bool] = []

    async def script(line: Line) -> None:
        resumed.append(line.sock.session_reused)
        await line.request()
        await line.send(*ok(b"fine").segments)

    async with (
        serving(script, tls=authority.serving(most=most)) as peer,
        transport(ssl_context=authority.trusting()) as own,
    ):
        for _ in range(3):
            assert (await fetch(own, peer.url)).content == b"fine"
            await peer.deserted()
    assert resumed == [False, True, True]


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_are_resumed(authority: Authority, most: ssl.TLSVersion) -> None:
    await check_sessions(authority, most)


async def test_a_session_that_the_server_forgot(authority: Authority) -> None:
    """Another server behind the same name: a whole handshake, and no error."""
    async with (
        serving(ok(b"one", then="close"), tls=authority.serving()) as peer,
        transport(ssl_context=authority.trusting()) as own,
    ):
        await fetch(own, peer.url)
        peer.tls = authority.serving()
        assert (await fetch(own, peer.url)).content == b"one"
        peer.tls = authority.serving(most=ssl.TLSVersion.TLSv1_2)
        assert (await fetch(own, peer.url)).content == b"one"


async def test_a_session_is_its_origins(authority: Authority) -> None:
    """It stands for a name that was checked: for no other."""
    resumed: list[bool] = []

    async def script(line: Line) -> None:
        resumed.append(line.sock.session_reused)
        await answering(ok(b"fine", then="close"))(line)

    async with (
        serving(script, tls=authority.serving()) as peer,
        transport(ssl_context=authority.trusting(), resolve=resolve) as own,
    ):
        await fetch(own, f"https://{NAME}:{peer.port}")
        await fetch(own, peer.url)
        with pytest.raises(httpx.ConnectError):
            await fetch(own, f"https://evil.test:{peer.port}")
    assert resumed[:2] == [False, False]


@ON_LINUX
@pytest.mark.parametrize("says", [b"", b"\x15", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", b"\0" * 9999])
@pytest.mark.parametrize("then", ["close", "end", "reset"])
async def test_no_handshake(authority: Authority, says: bytes, then: Then) -> None:
    async def script(line: Line) -> None:
        await line.receive()
        await line.send(says)
        await leave(line, then)

    async with serving(script) as peer, transport(ssl_context=authority.trusting()) as own:
        before = descriptors() - peer.descriptors
        for _ in range(2):
            with pytest.raises(httpx.ConnectError):
                await fetch(own, f"https://127.0.0.1:{peer.port}")
            assert_at_rest(own)
        assert not await strays(own, peer, before)


async def test_hung_up_before_the_handshake(authority: Authority) -> None:
    async def script(line: Line) -> None:
        line.reset()

    async with serving(script) as peer, transport(ssl_context=authority.trusting()) as own:
        with pytest.raises(httpx.ConnectError):
            await fetch(own, f"https://127.0.0.1:{peer.port}")
        assert_at_rest(own)


async def test_an_old_protocol(authority: Authority) -> None:
    """One that both know is missing."""
    server = authority.serving(most=ssl.TLSVersion.TLSv1_2)
    client = authority.trusting()
    client.minimum_version = ssl.TLSVersion.TLSv1_3
    async with serving(ok(), tls=server) as peer:
        with pytest.raises(httpx.ConnectError):
            await reached(peer.url, ssl_context=client)
        assert peer.refused == 1


# -- Bytes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_there_and_back(authority: Authority, most: ssl.TLSVersion) -> None:
    async def script(line: Line) -> None:
        while (request := await line.request()) is not None:
            await line.send(*ok(request.body).segments)

    async with (
        serving(script, tls=authority.serving(most=most)) as peer,
        transport(ssl_context=authority.trusting()) as own,
    ):
        for size in (0, 1, 16_383, 16_384, 16_385, 3 * MIB):
            assert (await fetch(own, peer.url, "PUT", view=BODY[:size])).content == BODY[:size]
        assert peer.connections == 1


async def test_reading_that_must_write(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when keys are renewed: TLS wants to say something before it reads on."""
    original, refused = ssl.SSLSocket.recv_into, list[int]()

    def recv_into(self: ssl.SSLSocket, *args: Any) -> int:
        if len(refused) < 3:
            refused.append(1)
            raise ssl.SSLWantWriteError
        return original(self, *args)

    monkeypatch.setattr(ssl.SSLSocket, "recv_into", recv_into)
    async with serving(ok(b"fine"), tls=authority.serving()) as peer:
        assert await reached(peer.url, ssl_context=authority.trusting()) == b"fine"
    assert len(refused) == 3


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_any_name_will_do(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Dialer._wrap

    def wrap(self: Dialer, context: ssl.SSLContext, *args: Any) -> ssl.SSLSocket:
        context.check_hostname = False
        return original(self, context, *args)

    monkeypatch.setattr(Dialer, "_wrap", wrap)
    with pytest.raises(GOES_RED):
        await check_names(authority)


async def test_mutation_sessions_are_forgotten(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Dialer, "remember", lambda *_: None)
    with pytest.raises(GOES_RED):
        await check_sessions(authority, ssl.TLSVersion.TLSv1_3)


async def test_mutation_a_cut_is_an_end(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over TLS whoever sits between could shorten a body."""
    from tests.transport.test_framing import test_until_close_without_goodbye as check

    def wrap(self: Dialer, context: ssl.SSLContext, sock: Any, _: Any) -> ssl.SSLSocket:
        return context.wrap_socket(sock, server_hostname="127.0.0.1", do_handshake_on_connect=False)

    monkeypatch.setattr(Dialer, "_wrap", wrap)
    with pytest.raises(GOES_RED):
        await check(authority, "cut", large=False)
