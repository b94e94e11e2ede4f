"""Each of the four timeouts has its error; they limit how long nothing moves, not how long it takes in all."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck import Transport
from handtruck.transport import CONNECT_TIMEOUT, STALL_TIMEOUT
from handtruck.transport.wire import Wire
from tests.transport.peer import Line, answer, ok, serving
from tests.transport.support import (
    MIB,
    assert_at_rest,
    deaf_address,
    fetch,
    idle,
    raw,
    request,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.transport.certificates import Authority

pytestmark = pytest.mark.anyio

SOON: Final = 0.03
NEVER: Final = {"connect": 60.0, "read": 60.0, "write": 60.0, "pool": 60.0}


def only(name: str) -> dict[str, Any]:
    """This one strikes, the others do not."""
    return {"extensions": {"timeout": {**NEVER, name: SOON}}}


@pytest.fixture(params=["http", "https"])
def secure(request: pytest.FixtureRequest, authority: Authority) -> dict[str, Any]:
    """Options of the peer, and of the transport."""
    if request.param == "http":
        return {"peer": {}, "own": {}}
    return {"peer": {"tls": authority.serving()}, "own": {"ssl_context": authority.trusting()}}


async def resolve(host: str, _: int) -> list[str]:
    if host == "stuck.test":
        await anyio.sleep_forever()
    return ["127.0.0.1"] if host != "two.test" else ["127.0.0.1", "127.0.0.2"]


@pytest.mark.parametrize("host", ["stuck.test", "127.0.0.1", "bucket.test", "two.test"])
async def test_connect(host: str) -> None:
    """The name, or the connection."""
    with deaf_address() as port:
        async with transport(resolve=resolve) as own:
            with pytest.raises(httpx.ConnectTimeout):
                await fetch(own, f"http://{host}:{port}", **only("connect"))
            assert_at_rest(own)


async def test_connect_tls(authority: Authority) -> None:
    """A peer that says nothing of TLS."""

    async def script(line: Line) -> None:
        await line.drain()

    async with serving(script) as peer, transport(ssl_context=authority.trusting()) as own:
        with pytest.raises(httpx.ConnectTimeout):
            await fetch(own, f"https://127.0.0.1:{peer.port}", **only("connect"))
        assert_at_rest(own)
        await peer.deserted()


HALVES: Final = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-",
    "an interim": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
    "half of the chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "no end": b"HTTP/1.1 200 OK\r\n\r\nhalf",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
async def test_read(half: bytes, secure: dict[str, Any]) -> None:
    async with serving(answer(half, then="silence"), **secure["peer"]) as peer, transport(**secure["own"]) as own:
        with pytest.raises(httpx.ReadTimeout):
            await fetch(own, peer.url, **only("read"))
        assert_at_rest(own)
        assert not idle(own)
        await peer.deserted()


async def test_read_delivers_what_came(secure: dict[str, Any]) -> None:
    half = answer(HALVES["half a body"], then="silence")
    async with serving(half, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        response = await own.handle_async_request(request(peer.url, **only("read")))
        assert await raw(response).readinto(memory := bytearray(9)) == 4
        assert memory[:4] == b"half"
        with pytest.raises(httpx.ReadTimeout):
            await raw(response).readinto(bytearray(9))
        assert_at_rest(own)


async def test_write(secure: dict[str, Any]) -> None:
    async def deaf(line: Line) -> None:
        await line.head()
        await anyio.sleep_forever()

    narrow = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)]
    async with (
        serving(deaf, **secure["peer"], memory=16 * 1024) as peer,
        transport(**secure["own"], socket_options=narrow) as own,
    ):
        for options in ({"view": bytes(4 * MIB)}, {"content": bytes(4 * MIB)}):
            # TCP moves a little by its own timers, so this one is longer
            with pytest.raises(httpx.WriteTimeout):
                await fetch(own, peer.url, "PUT", **options, extensions={"timeout": {**NEVER, "write": 0.1}})
        assert_at_rest(own)


async def test_no_time_at_all() -> None:
    async with serving(answer(b"", then="silence")) as peer, transport(resolve=resolve) as own:
        with pytest.raises(httpx.ReadTimeout):
            await fetch(own, peer.url, extensions={"timeout": {**NEVER, "read": 0.0}})
        with pytest.raises(httpx.ConnectTimeout):
            await fetch(own, "http://stuck.test", extensions={"timeout": {**NEVER, "connect": 0.0}})
        assert_at_rest(own)


# -- Which, and how they are counted ---------------------------------------------------------------------------------


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """How long each wait may take."""
    seen: list[float | None] = []
    original = Wire._until

    async def until(self: Wire, wait: Callable[..., Any], what: Any, timeout: float | None, closed: Any) -> bool:
        seen.append(timeout)
        return await original(self, wait, what, timeout, closed)

    monkeypatch.setattr(Wire, "_until", until)
    return seen


async def test_each_wait_begins_anew(waits: list[float | None], secure: dict[str, Any]) -> None:
    """A peer that says a byte now and then may take as long as it likes."""
    data = ok(b"0123456789").segments[0]
    drip = answer(*(data[at : at + 1] for at in range(len(data))))
    async with serving(drip, **secure["peer"]) as peer, transport(**secure["own"]) as own:
        await fetch(own, peer.url, extensions={"timeout": {**NEVER, "read": 7.0}})
    assert waits.count(7.0) >= len(data) - 1


@pytest.mark.parametrize(
    ("own", "of_the_request", "expected"),
    [
        ({"timeout": httpx.Timeout(3.0)}, None, 3.0),
        ({"timeout": httpx.Timeout(3.0)}, {"read": 4.0}, 4.0),
        ({"timeout": httpx.Timeout(3.0)}, {"read": None}, None),
        ({"timeout": httpx.Timeout(3.0)}, {"connect": 1.0}, None),
        ({}, None, STALL_TIMEOUT),
    ],
)
async def test_the_requests_come_before_the_transports(
    own: dict[str, Any], of_the_request: Any, expected: float | None, waits: list[float | None]
) -> None:
    options: dict[str, Any] = {"extensions": {"timeout": of_the_request}} if of_the_request is not None else {}
    async with serving(ok(b"fine")) as peer, Transport(**own) as one:
        await fetch(one, peer.url, **options)
    assert set(waits) == {expected}


def test_the_defaults() -> None:
    """Told in the documentation."""
    assert (CONNECT_TIMEOUT, STALL_TIMEOUT) == (10.0, 60.0)
    assert Transport()._timeouts == {"connect": 10.0, "read": 60.0, "write": 60.0, "pool": None}


async def test_a_clients_timeouts(waits: list[float | None]) -> None:
    async with serving(ok(b"fine")) as peer, httpx.AsyncClient(transport=transport(), timeout=5.5) as client:
        await client.get(peer.url)
        await client.get(peer.url, timeout=6.5)
        await client.get(peer.url, timeout=None)
    assert list(dict.fromkeys(waits)) == [5.5, 6.5, None]


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_nothing_is_ever_late(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Wire._until

    async def until(self: Wire, wait: Callable[..., Any], what: Any, timeout: float | None, closed: Any) -> bool:
        return await original(self, wait, what, None, closed)

    monkeypatch.setattr(Wire, "_until", until)
    with anyio.move_on_after(0.2) as scope:
        await test_read(b"", {"peer": {}, "own": {}})
    assert scope.cancelled_caught
