"""Bugs that were here once, each of them seen to fail before it was mended."""

from __future__ import annotations

import gc
import socket
import ssl
from array import array
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from handtruck.models import Credentials
from handtruck.protocol.signing import sign
from handtruck.transport import dialing, wire
from handtruck.transport.dialing import Dialer
from tests.transport import peer as other_side
from tests.transport.certificates import NAME
from tests.transport.peer import Line, answer, let_others_run, ok, serving
from tests.transport.support import (
    MIB,
    ON_LINUX,
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
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from handtruck import Transport
    from handtruck.transport.bodies import ResponseBody
    from tests.transport.certificates import Authority
    from tests.transport.peer import Peer, Script, Then

pytestmark = pytest.mark.anyio

SIZE: Final = 4 * MIB
BODY: Final = pattern(SIZE)
NARROW: Final = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)]


async def resolve(_: str, __: int) -> list[str]:
    return ["127.0.0.1"]


class Blocks(httpx.AsyncByteStream):
    """A stream of a caller's own."""

    def __init__(self, *blocks: Any) -> None:
        self.blocks = blocks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for block in self.blocks:
            yield block


# -- Answers that come before all of the request was sent --------------------------------------------------------------

WAYS: Final[dict[str, Callable[[], dict[str, Any]]]] = {
    "view": lambda: {"view": BODY},
    "bytes": lambda: {"content": BODY},
    "stream": lambda: {"stream": Blocks(BODY[:MIB], BODY[MIB:]), "headers": {"Content-Length": str(SIZE)}},
    "chunks": lambda: {"stream": Blocks(BODY[:MIB], BODY[MIB:]), "headers": {"Transfer-Encoding": "chunked"}},
}


def hasty(status: int) -> Script:
    """Answers when it has seen the head, and reads no further."""

    async def script(line: Line) -> None:
        await line.head()
        await line.send(b"HTTP/1.1 %d Whatever\r\nContent-Length: 0\r\n\r\n" % status)
        await anyio.sleep_forever()

    return script


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("status", [200, 204, 299, 300, 307, 403, 503])
async def test_a_yes_before_all_was_heard_is_an_error(status: int, secure: bool, authority: Authority) -> None:
    tls = authority.serving() if secure else None
    options = {"ssl_context": authority.trusting()} if secure else {}
    async with (
        serving(hasty(status), tls=tls, memory=16 * 1024) as peer,
        transport(socket_options=NARROW, **options) as own,
    ):
        for way in WAYS.values():
            if status < 300:
                with pytest.raises(httpx.RemoteProtocolError, match=f"answered {status} before"):
                    await fetch(own, peer.url, "PUT", **way())
            else:
                assert (await fetch(own, peer.url, "PUT", **way())).status_code == status
            assert not idle(own)
            assert_at_rest(own)


def breaking(head: bytes, body: bytes) -> Script:
    """Answers when it has seen some of the body, and resets the connection."""

    async def script(line: Line) -> None:
        await line.head()
        await line.some_body()
        await line.send(head + b"\r\n\r\n" + body)
        line.reset()

    return script


class UntilBroken(httpx.AsyncByteStream):
    """What comes after the first block is not offered before the connection is gone."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield bytes(1000)
        before = self.peer.connections
        await self.peer.until(lambda: self.peer.connections >= max(before, 1) and not self.peer.lines)
        for _ in range(3):
            yield bytes(1000)


async def answered_in_a_break(own: Transport, peer: Peer) -> httpx.Response:
    stream = UntilBroken(peer)
    return await own.handle_async_request(
        request(peer.url, "PUT", stream=stream, headers={"Content-Length": "4000"}),
    )


async def test_the_end_of_a_broken_connection_is_no_end_of_a_body() -> None:
    """Sending met the break, so that reading meets nothing but an end."""
    async with (
        serving(breaking(b"HTTP/1.1 403 Forbidden\r\nConnection: close", b"<Error><Code>Acc")) as peer,
        transport() as own,
    ):
        response = await answered_in_a_break(own, peer)
        assert response.status_code == 403
        memory = bytearray(100)
        assert await raw(response).readinto(memory) == 16
        assert memory[:16] == b"<Error><Code>Acc"
        with pytest.raises(httpx.ReadError):
            await raw(response).readinto(memory)
        assert_at_rest(own)
        response = await answered_in_a_break(own, peer)
        with pytest.raises(httpx.ReadError):
            await response.aread()
        assert_at_rest(own)


async def test_a_body_that_came_whole_before_the_break_is_an_answer() -> None:
    async with (
        serving(breaking(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5", b"wrong")) as peer,
        transport() as own,
    ):
        response = await answered_in_a_break(own, peer)
        assert await response.aread() == b"wrong"
        assert response.status_code == 403
        assert not idle(own)
        assert_at_rest(own)


# -- Closing -----------------------------------------------------------------------------------------------------------


@ON_LINUX
async def test_a_descriptors_number_is_used_again_at_once(tmp_path: Path) -> None:
    """Whoever waited for the closed socket does not take the new one's readiness with him."""

    async def script(line: Line) -> None:
        asked = await line.request()
        if asked is not None and asked.target == b"/silent":
            await line.drain()
        else:
            await let_others_run(20)  # so that it is waited for
            await line.send(*ok(b"fine").segments)
            await line.drain()

    path = str(tmp_path / "peer")
    errors: list[Exception] = []
    async with serving(script, uds=path) as peer, transport(uds=path) as second:
        first = transport(uds=path)

        async def wait() -> None:
            try:
                await fetch(first, peer.url + "/silent")
            except httpx.ReadError as error:
                errors.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(wait)
            await peer.until(lambda: len(peer.requests) == 1)
            await let_others_run(20)
            (waiting,) = first._pool.busy
            number = waiting.sock.fileno()
            await first.aclose()
            with anyio.fail_after(5):
                response = await second.handle_async_request(request(peer.url + "/fast"))
                assert response.extensions["network_stream"].sock.fileno() == number
                assert await response.aread() == b"fine"
        assert len(errors) == 1
        assert_at_rest(first)
        assert_at_rest(second)


async def test_closed_while_a_sender_lets_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has sent its last byte: its socket is gone when it begins to wait for the answer."""
    reached, gone = anyio.Event(), anyio.Event()

    async def pause() -> None:
        reached.set()
        await gone.wait()

    async with serving(ok(b"fine")) as peer:
        own = transport()

        async def close() -> None:
            await reached.wait()
            await own.aclose()
            gone.set()

        with monkeypatch.context() as patch:
            patch.setattr(wire, "TURN", 1)
            patch.setattr(wire, "checkpoint", pause)
            async with anyio.create_task_group() as group:
                group.start_soon(close)
                with pytest.raises(httpx.ReadError, match="the transport was closed"):
                    await fetch(own, peer.url, "PUT", content=bytes(1000))
        assert_at_rest(own)
        await peer.deserted()
        async with transport() as another:  # the loop still waits as it should
            for _ in range(3):
                assert (await fetch(another, peer.url, "PUT", content=bytes(MIB))).content == b"fine"
            assert_at_rest(another)


async def test_connected_in_the_turn_in_which_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for any more that the closing could end."""
    opened: list[socket.socket] = []
    open_socket = Dialer._open

    async with serving(ok(b"fine")) as peer:
        own = transport()

        async def open_and_close(self: Dialer, family: socket.AddressFamily, address: Any) -> socket.socket:
            sock = await open_socket(self, family, address)
            opened.append(sock)
            await own.aclose()
            return sock

        monkeypatch.setattr(Dialer, "_open", open_and_close)
        with pytest.raises(RuntimeError, match="closed"):
            await fetch(own, peer.url)
        assert [sock.fileno() for sock in opened] == [-1]
        assert_at_rest(own)
        await peer.until(lambda: peer.connections == 1)
        await peer.deserted()
        assert not peer.requests


@ON_LINUX
async def test_a_closed_connection_does_not_look_at_what_has_its_number() -> None:
    async with serving(ok(b"fine")) as peer:
        own = transport()
        response = await fetch(own, peer.url)
        stream = response.extensions["network_stream"]
        number = stream.sock.fileno()
        assert stream.get_extra_info("is_readable") is False
        await own.aclose()
        await peer.deserted()
        pair = socket.socketpair()
        with pair[0], pair[1]:
            for sock in pair:
                sock.send(b"readable")
            assert number in {sock.fileno() for sock in pair}
            assert not stream.get_extra_info("is_readable")


# -- Connections that are used again, or not ---------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["close", "Close", "te, close"])
async def test_a_request_that_says_close_is_the_connections_last(value: str) -> None:
    async with serving(ok(b"fine")) as peer, transport() as own:
        for name in ("Connection", "connection"):
            assert (await fetch(own, peer.url, headers={name: value})).content == b"fine"
            assert not idle(own)
            assert_at_rest(own)
        assert peer.connections == 2
        await peer.deserted()
        await fetch(own, peer.url, headers={"Connection": "keep-alive"})
        assert len(idle(own)) == 1


@pytest.mark.parametrize(
    ("version", "lines", "body", "kept"),
    [
        (b"HTTP/1.0", b"Connection: keep-alive\r\nTransfer-Encoding: chunked", b"4\r\nfine\r\n0\r\n\r\n", False),
        (b"HTTP/1.0", b"Connection: keep-alive\r\nContent-Length: 4", b"fine", True),
        (b"HTTP/1.1", b"Connection: keep-alive\r\nTransfer-Encoding: chunked", b"4\r\nfine\r\n0\r\n\r\n", True),
    ],
)
async def test_chunks_of_a_server_that_knows_none(version: bytes, lines: bytes, body: bytes, kept: bool) -> None:
    async with serving(answer(version + b" 200 OK\r\n" + lines + b"\r\n\r\n" + body)) as peer, transport() as own:
        assert (await fetch(own, peer.url)).content == b"fine"
        assert len(idle(own)) == kept
        assert_at_rest(own)


@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_with_a_stranger_is_not_resumed(authority: Authority, most: ssl.TLSVersion) -> None:
    """It was made when nobody looked at the certificate."""
    resumed: list[bool] = []

    async def script(line: Line) -> None:
        resumed.append(line.sock.session_reused)
        await line.request()
        await line.send(*ok(b"fine").segments)

    context = authority.trusting()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with (
        serving(script, tls=authority.serving(most=most)) as peer,
        transport(ssl_context=context, resolve=resolve) as own,
    ):
        for _ in range(2):
            await fetch(own, f"https://evil.test:{peer.port}")
            await peer.deserted()
        assert resumed == [False, True]
        context.verify_mode = ssl.CERT_REQUIRED
        await fetch(own, f"https://evil.test:{peer.port}")
        assert resumed == [False, True, False]
        await peer.deserted()
        context.check_hostname = True
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await fetch(own, f"https://evil.test:{peer.port}")
        assert_at_rest(own)


def test_fewer_idle_connections_than_none() -> None:
    with pytest.raises(ValueError, match="not fewer than 0 idle ones"):
        transport(limits=httpx.Limits(max_keepalive_connections=-1))
    assert transport(limits=httpx.Limits(max_keepalive_connections=0))._pool.keep == 0


# -- Names and platforms -----------------------------------------------------------------------------------------------


async def test_where_no_unix_domain_sockets_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has no ``socket.AF_UNIX``."""
    everything = ModuleType("socket")
    everything.__dict__.update(vars(socket))
    with monkeypatch.context() as patch:
        patch.setattr(other_side, "socket", everything)
        patch.delattr(socket, "AF_UNIX")
        async with serving(ok(b"fine")) as peer, transport() as own:
            assert (await fetch(own, peer.url)).content == b"fine"
        with pytest.raises(ValueError, match="no Unix-domain sockets"):
            transport(uds="peer")


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 64}.test", ".bucket.test"])
async def test_a_name_that_cannot_be_one(host: str, authority: Authority) -> None:
    """Our caller's resolver may know it; TLS does not."""
    async with (
        serving(ok(b"fine"), tls=authority.serving()) as peer,
        transport(ssl_context=authority.trusting(), resolve=resolve) as own,
        leaving_nothing(own, peer),
    ):
        with pytest.raises(httpx.ConnectError):
            await fetch(own, f"https://{host}:{peer.port}")
    async with transport() as own:
        with pytest.raises(httpx.ConnectError):
            await fetch(own, f"http://{host}:1")
        assert_at_rest(own)


async def test_a_name_with_a_dot_at_its_end(authority: Authority) -> None:
    """The certificate has none, and is good for it."""
    async with (
        serving(ok(b"fine"), tls=authority.serving()) as peer,
        transport(ssl_context=authority.trusting(), resolve=resolve) as own,
    ):
        assert (await fetch(own, f"https://{NAME}.:{peer.port}")).content == b"fine"
        assert peer.requests[0].headers["host"] == f"{NAME}.:{peer.port}"
        with pytest.raises(httpx.ConnectError, match="certificate"):
            await fetch(own, f"https://evil.test.:{peer.port}")


# -- Event loops -------------------------------------------------------------------------------------------------------

BACKENDS: Final[dict[str, dict[str, Any]]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "closed"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("loops", [("asyncio", "trio", "asyncio"), ("trio", "uvloop", "trio")], ids="-".join)
def test_one_transport_for_several_loops(
    loops: tuple[str, ...], secure: bool, kept: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One after the other: locks, names, and connections that are left from the last one."""
    monkeypatch.setattr(dialing, "NAMES_LAST", 0.0)
    tls = authority.serving() if secure else None
    reply = ok(b"fine", *(() if kept else (b"Connection: close",)))
    own = transport(resolve=resolve, **({"ssl_context": authority.trusting()} if secure else {}))

    async def several(url: str, *, close: bool) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(partial(fetch, own, url))
        assert (await fetch(own, url)).content == b"fine"
        assert_at_rest(own)
        if close:
            await own.aclose()

    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(reply, tls=tls)) as peer,
    ):
        url = f"http{'s' * secure}://{NAME}:{peer.port}"
        for number, loop in enumerate(loops):
            anyio.run(partial(several, url, close=number == len(loops) - 1), **BACKENDS[loop])


# -- Secrets -----------------------------------------------------------------------------------------------------------


def test_a_call_keeps_its_head_to_itself() -> None:
    headers = {"Authorization": "AWS4-HMAC-SHA256 Signature=5ec2e7", "X-Amz-Security-Token": "t0ken"}
    call = transport()._call(request("http://bucket.test/k", headers=headers))
    assert b"5ec2e7" in call.head
    assert "bucket.test" in repr(call)
    for shown in (repr(call), str(call), f"{call}", repr([call])):
        assert "5ec2e7" not in shown
        assert "t0ken" not in shown


def test_a_signature_keeps_itself_to_itself() -> None:
    signature = sign(
        method="GET",
        path="/b/k",
        query=(),
        headers=(("Host", "bucket.test"),),
        payload_hash="UNSIGNED-PAYLOAD",
        credentials=Credentials(access_key_id="key-id", secret_access_key="s3cret", session_token="t0ken"),
        region="us-east-1",
        now=datetime(2026, 1, 1, tzinfo=UTC),
    )
    (authorization,) = (value for name, value in signature.items() if name.lower() == "authorization")
    found = authorization.rpartition("Signature=")[2]
    assert len(found) == 64
    assert "t0ken" in signature.values()
    for shown in (repr(signature), str(signature), f"{signature}", repr([signature])):
        assert found not in shown
        assert "t0ken" not in shown
        assert "authorization" in shown.lower()


# -- Memory ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [4, 100_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_blocks_are_counted_in_bytes(count: int, chunked: bool) -> None:
    """Not in whatever the caller's array has."""
    numbers = array("I", range(count))
    size = count * numbers.itemsize
    headers = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(2 * size)}
    async with serving(ok(b"fine")) as peer, transport() as own:
        stream = Blocks(memoryview(numbers), memoryview(numbers))
        assert (await fetch(own, peer.url, "PUT", stream=stream, headers=headers)).content == b"fine"
        assert peer.requests[0].body == numbers.tobytes() * 2
        assert len(idle(own)) == 1


@pytest.mark.parametrize(
    ("way", "came", "times"),
    [
        ("length", 0, 1),
        ("length", 10, 1),
        ("chunks", 0, 1),
        ("chunks", 10, 1),
        ("reset", 0, 1),
        ("reset", 10, 1),
        ("length", 0, 2),
        ("length", 10, 2),
        ("chunks", 10, 2),
        ("reset", 10, 2),
    ],
)
async def test_a_failure_does_not_hold_the_callers_memory(way: str, came: int, times: int) -> None:
    """When the error is dropped, the buffer is free: not when the garbage is collected."""
    framing = b"Transfer-Encoding: chunked" if way == "chunks" else b"Content-Length: 20"
    begun = b"14\r\n" if way == "chunks" else b""
    then: Then = "reset" if way == "reset" else "end"
    reply = answer(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + begun + bytes(came), then=then)
    met: list[int | str] = []

    async def fail(body: ResponseBody, buffer: bytearray) -> None:
        for _ in range(times):
            try:
                met.append(await body.readinto(buffer))
            except httpx.TransportError as error:
                met.append(type(error).__name__)

    async with serving(reply) as peer, transport() as own:
        response = await own.handle_async_request(request(peer.url))
        body, buffer = raw(response), bytearray(20)
        gc.disable()
        try:
            await fail(body, buffer)
            buffer.extend(b"x")
        finally:
            gc.enable()
            await response.aclose()
        assert met[0] == came or not came
        assert len(met) == 1 or met[-1] in {"RemoteProtocolError", "ReadError"}
        assert_at_rest(own)
