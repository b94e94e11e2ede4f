"""New connections: which address, in which order, how many at once; and how often a name is asked for."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck import Transport
from handtruck.transport import dialing
from handtruck.transport.dialing import Addresses, Dialer
from handtruck.transport.pool import origin_of
from tests.transport.certificates import NAME
from tests.transport.peer import Line, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    ON_LINUX,
    assert_at_rest,
    deaf_address,
    descriptors,
    fetch,
    idle,
    strays,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from tests.transport.certificates import Authority

pytestmark = pytest.mark.anyio

ALL: Final = "0.0.0.0"  # noqa: S104 - every address of the loopback


class Resolver:
    """Names with addresses, that may change; counts."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Iterable[str] = addresses
        self.asked: list[tuple[str, int]] = []
        self.go_on: anyio.Event | None = None
        self.error: Exception | None = None

    async def __call__(self, host: str, port: int) -> Iterable[str]:
        self.asked.append((host, port))
        await checkpoint()
        if self.go_on is not None:
            await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return self.addresses


async def where(line: Line) -> None:
    """Answers with the address that it was reached at; one request for each connection."""
    await line.request()
    await line.send(*ok(line.sock.getsockname()[0].encode(), b"Connection: close").segments)


# -- Names -----------------------------------------------------------------------------------------------------------


async def test_literal_addresses_are_not_asked_for() -> None:
    resolver = Resolver()
    resolver.error = AssertionError("asked")
    async with transport(resolve=resolver) as own:
        async with serving(ok(b"four")) as peer:
            assert (await fetch(own, peer.url)).content == b"four"
        async with serving(ok(b"six"), host="::1") as peer:
            assert (await fetch(own, peer.url)).content == b"six"
            assert peer.requests[0].headers["host"] == f"[::1]:{peer.port}"
    assert not resolver.asked


async def test_the_systems_resolver() -> None:
    async with serving(ok(b"fine")) as peer, transport() as own:
        assert (await fetch(own, f"http://localhost:{peer.port}")).content == b"fine"


async def check_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And again when the answer is old."""
    now = 1000.0
    monkeypatch.setattr(dialing, "monotonic", lambda: now)
    resolver = Resolver("127.0.0.1")
    async with serving(where) as peer, transport(resolve=resolver) as own:
        for age in (0, 4.9, 0.2, 1):
            now += age
            await fetch(own, f"http://{NAME}:{peer.port}")
        assert resolver.asked == [(NAME, peer.port)] * 2
        await fetch(own, f"http://other.test:{peer.port}")
        assert len(resolver.asked) == 3


async def test_a_name_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_asked_once(monkeypatch)


async def test_a_failure_is_not_remembered() -> None:
    resolver = Resolver("127.0.0.1")
    async with serving(where) as peer, transport(resolve=resolver) as own:
        url = f"http://{NAME}:{peer.port}"
        for error in (socket.gaierror(socket.EAI_NONAME, "no such name"), OSError("what?")):
            resolver.error = error
            with pytest.raises(httpx.ConnectError):
                await fetch(own, url)
            assert_at_rest(own)
        resolver.error, resolver.addresses = None, ()
        with pytest.raises(httpx.ConnectError, match="no address"):
            await fetch(own, url)
        resolver.addresses = ("127.0.0.1",)
        await fetch(own, url)


@pytest.mark.parametrize("timeout", [None, 10.0])
async def test_a_resolver_that_gives_up(timeout: float | None) -> None:
    """By a timeout of its own, which is none of ours."""
    resolver = Resolver()
    resolver.error = TimeoutError()
    async with transport(resolve=resolver) as own:
        with pytest.raises((httpx.ConnectError, httpx.ConnectTimeout)):
            await fetch(own, f"http://{NAME}", extensions={"timeout": {"connect": timeout}})
        assert_at_rest(own)


async def test_an_error_that_is_not_the_networks() -> None:
    resolver = Resolver()
    resolver.error = KeyError("theirs")
    async with transport(resolve=resolver) as own:
        with pytest.raises(KeyError, match="theirs"):
            await fetch(own, f"http://{NAME}")
        assert_at_rest(own)


async def test_what_is_no_address_is_passed_over() -> None:
    resolver = Resolver("not an address", "127.0.0.1", "127.0.0.1", "")
    async with serving(where) as peer, transport(resolve=resolver) as own:
        assert (await fetch(own, f"http://{NAME}:{peer.port}")).content == b"127.0.0.1"


async def check_one_flight(cancelled: int | None) -> None:
    """Many wait for one answer; if one of them goes, whichever, the others get theirs."""
    resolver = Resolver("127.0.0.1")
    resolver.go_on = anyio.Event()
    done: list[int] = []
    scopes: list[anyio.CancelScope] = []
    async with serving(where) as peer, transport(resolve=resolver) as own:

        async def one(number: int) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await fetch(own, f"http://{NAME}:{peer.port}")
                done.append(number)

        with anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for number in range(5):
                    group.start_soon(one, number)
                    await let_others_run()
                if cancelled is not None:
                    scopes[cancelled].cancel()
                    await let_others_run()
                resolver.go_on.set()
        assert sorted(done) == [number for number in range(5) if number != cancelled]
        assert len(resolver.asked) <= (2 if cancelled == 0 else 1)
        assert_at_rest(own)


@pytest.mark.parametrize("cancelled", [None, 0, 2, 4])
async def test_one_flight(cancelled: int | None) -> None:
    await check_one_flight(cancelled)


# -- Addresses -------------------------------------------------------------------------------------------------------


async def check_rotation() -> None:
    resolver = Resolver("127.0.0.1", "127.0.0.2", "127.0.0.3")
    async with serving(where, host=ALL) as peer, transport(resolve=resolver) as own:
        reached = [(await fetch(own, f"http://{NAME}:{peer.port}")).text for _ in range(6)]
    assert reached == ["127.0.0.1", "127.0.0.2", "127.0.0.3"] * 2


async def test_new_connections_go_round_all_addresses() -> None:
    await check_rotation()


def test_families_take_turns() -> None:
    """The one that came first stays first, however often."""
    four, six = socket.AF_INET, socket.AF_INET6
    addresses = Addresses([(six, "a"), (six, "b"), (four, "x"), (four, "y"), (four, "z")])
    assert [name for _, name in addresses.rotated()] == ["a", "x", "b", "y", "z"]
    assert [name for _, name in addresses.rotated()] == ["b", "y", "a", "z", "x"]
    assert [name for _, name in addresses.rotated()] == ["a", "z", "b", "x", "y"]
    assert {addresses.rotated()[0][0] for _ in range(9)} == {six}


@ON_LINUX
@pytest.mark.parametrize("addresses", [("127.0.0.9", "127.0.0.1"), ("127.0.0.9", "127.0.0.8", "::1", "127.0.0.1")])
async def test_the_next_at_once_when_one_refuses(addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "STAGGER", 3600.0)
    async with serving(where) as peer, transport(resolve=Resolver(*addresses)) as own:
        before = descriptors() - peer.descriptors
        for _ in range(4):
            assert (await fetch(own, f"http://{NAME}:{peer.port}")).content == b"127.0.0.1"
        await peer.deserted()
        assert not await strays(own, peer, before)


@ON_LINUX
async def test_the_next_when_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who lost is closed."""
    monkeypatch.setattr(dialing, "STAGGER", 0.01)
    with deaf_address("127.0.0.9") as port:
        resolver = Resolver("127.0.0.9", "127.0.0.8", "127.0.0.1")
        async with serving(where, port=port) as peer, transport(resolve=resolver) as own:
            before = descriptors() - peer.descriptors
            for _ in range(4):
                assert (await fetch(own, f"http://{NAME}:{peer.port}")).content == b"127.0.0.1"
            await peer.deserted()
            assert not await strays(own, peer, before)
            assert_at_rest(own)


async def check_losers_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All connect at once: one is used, the others are closed before anybody notices."""
    monkeypatch.setattr(dialing, "STAGGER", 0.0)
    addresses = [f"127.0.0.{last}" for last in range(1, 7)]
    async with serving(where, host=ALL) as peer, transport(resolve=Resolver(*addresses)) as own:
        before = descriptors() - peer.descriptors
        for number in range(10):
            await fetch(own, f"http://{NAME}:{peer.port}")
            assert len(peer.requests) == number + 1
            await peer.deserted()
        assert not await strays(own, peer, before)
        assert_at_rest(own)


@ON_LINUX
async def test_losers_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_losers_are_closed(monkeypatch)


@ON_LINUX
@pytest.mark.parametrize("addresses", [("127.0.0.9",), ("127.0.0.9", "127.0.0.8"), ("127.0.0.9", "::1")])
async def test_all_refuse(addresses: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "STAGGER", 3600.0)
    async with serving(where) as peer, transport(resolve=Resolver(*addresses)) as own:
        before = descriptors() - peer.descriptors
        with pytest.raises(httpx.ConnectError) as caught:
            await fetch(own, f"http://{NAME}:{peer.port}")
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert not await strays(own, peer, before)
        assert_at_rest(own)


# -- Sockets ---------------------------------------------------------------------------------------------------------


async def test_a_unix_domain_socket(tmp_path: Path, authority: Authority) -> None:
    """It stands for every host; and TLS goes through it, too."""
    path = str(tmp_path / "peer")
    async with serving(ok(b"fine"), uds=path) as peer, transport(uds=path) as own:
        for host in ("one.test", "two.test:81"):
            assert (await fetch(own, f"http://{host}/x")).content == b"fine"
        assert [request.headers["host"] for request in peer.requests] == ["one.test", "two.test:81"]
    path += "-secure"
    options: dict[str, Any] = {"uds": path, "ssl_context": authority.trusting()}
    async with serving(ok(b"secret"), uds=path, tls=authority.serving()) as peer, transport(**options) as own:
        assert (await fetch(own, f"https://{NAME}")).content == b"secret"
        with pytest.raises(httpx.ConnectError):
            await fetch(own, "https://other.test")


async def test_no_such_socket(tmp_path: Path) -> None:
    async with transport(uds=str(tmp_path / "nobody")) as own:
        with pytest.raises(httpx.ConnectError):
            await fetch(own, "http://one.test")
        assert_at_rest(own)


@ON_LINUX
async def test_local_address() -> None:
    seen: list[str] = []

    async def script(line: Line) -> None:
        seen.append(line.sock.getpeername()[0])
        await line.request()
        await line.send(*ok().segments)

    async with serving(script) as peer:
        async with transport(local_address="127.0.0.77") as own:
            await fetch(own, peer.url)
        async with transport(local_address="127.0.0.77", resolve=Resolver("::1", "127.0.0.1")) as own:
            await fetch(own, f"http://{NAME}:{peer.port}")  # the other family is passed over
        async with transport(local_address="192.0.2.1") as own:
            with pytest.raises(httpx.ConnectError):
                await fetch(own, peer.url)
            assert_at_rest(own)
    assert seen == ["127.0.0.77"] * 2


async def test_socket_options() -> None:
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1), (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 7)]
    async with serving(ok()) as peer, transport(socket_options=options) as own:
        await fetch(own, peer.url)
        sock = idle(own)[0].sock
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 7
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert not sock.getblocking()
    async with serving(ok()) as peer, transport(socket_options=[(socket.SOL_SOCKET, 9999, 1)]) as own:
        with pytest.raises(httpx.ConnectError):
            await fetch(own, peer.url)
        assert_at_rest(own)


@pytest.mark.parametrize(
    ("url", "port"), [("http://h", 80), ("https://h", 443), ("http://h:81", 81), ("https://h:0", 0)]
)
def test_ports(url: str, port: int) -> None:
    assert origin_of(httpx.URL(url), None).port == port


@pytest.mark.parametrize(
    "options",
    [
        {"uds": "/path", "local_address": "127.0.0.1"},
        {"uds": "/path", "resolve": Resolver()},
        {"ssl_context": True, "verify": False},
        {"ssl_context": True, "cert": "path"},
        {"limits": httpx.Limits(max_connections=0)},
        {"limits": httpx.Limits(max_connections=-1)},
    ],
)
def test_contradictions(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"ssl_context=|uds=|max_connections"):
        Transport(**options)


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_names_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialing, "NAMES_LAST", 0.0)
    with pytest.raises(GOES_RED):
        await check_asked_once(monkeypatch)


async def test_mutation_everybody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    original: Callable[..., Any] = Dialer._addresses

    async def addresses(self: Dialer, host: str, port: int) -> Any:
        self._names.clear()
        return await original(self, host, port)

    monkeypatch.setattr(Dialer, "_addresses", addresses)
    with pytest.raises(GOES_RED):
        await check_one_flight(None)


async def test_mutation_always_the_first_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Addresses, "rotated", lambda self: list(self.found))
    with pytest.raises(GOES_RED):
        await check_rotation()


@ON_LINUX
async def test_mutation_losers_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if whoever connects last kept his socket, too."""
    kept: list[socket.socket] = []

    async def race(self: Dialer, addresses: list[tuple[Any, Any]]) -> socket.socket:
        kept.extend([await self._open(*address) for address in addresses])
        return kept.pop(0)

    monkeypatch.setattr(Dialer, "_race", race)
    monkeypatch.setattr("tests.transport.peer._PATIENCE", 0.1)
    with pytest.raises((*GOES_RED, TimeoutError)):
        await check_losers_are_closed(monkeypatch)
    for sock in kept:
        sock.close()
