"""Which connection serves a request, how many there are, and who waits for whom."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck._places import Places
from handtruck.transport.pool import Pool
from tests.transport.peer import answering, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    assert_at_rest,
    fetch,
    idle,
    leaving_nothing,
    raw,
    request,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck import Transport
    from tests.transport.certificates import Authority
    from tests.transport.peer import Peer

pytestmark = pytest.mark.anyio

BODY: Final = b"x" * 100_000


def limits(most: int | None, keep: int | None = None, expiry: float | None = None) -> httpx.Limits:
    return httpx.Limits(max_connections=most, max_keepalive_connections=keep, keepalive_expiry=expiry)


async def opened(own: Transport, url: str) -> httpx.Response:
    """An answer whose body, which is long, nobody has read: it holds its connection."""
    response = await own.handle_async_request(request(url))
    assert response.status_code == 200
    return response


async def read_out(response: httpx.Response) -> None:
    assert await response.aread() == BODY
    await response.aclose()


# -- Reuse -----------------------------------------------------------------------------------------------------------


async def test_the_last_that_came_goes_first() -> None:
    async with serving(ok(BODY)) as peer, transport() as own:
        responses = [await opened(own, peer.url) for _ in range(3)]
        for number in (1, 2, 0):
            await read_out(responses[number])
        assert len(idle(own)) == 3
        for _ in range(3):
            await fetch(own, peer.url)
        assert [request.connection for request in peer.requests[3:]] == [1, 1, 1]
        again = [await opened(own, peer.url) for _ in range(3)]
        assert [request.connection for request in peer.requests[6:]] == [1, 3, 2]
        for response in again:
            await response.aclose()
        assert_at_rest(own)


async def test_origins_are_not_mixed(authority: Authority) -> None:
    """Host, port, scheme and the name that TLS asks for separate connections."""

    async def resolve(_: str, __: int) -> list[str]:
        return ["127.0.0.1"]

    tls = authority.serving()
    async with (
        serving(ok(b"plain")) as one,
        serving(ok(b"another")) as two,
        serving(ok(b"secret"), tls=tls) as three,
        transport(resolve=resolve, ssl_context=authority.trusting()) as own,
    ):
        named: dict[str, Any] = {"extensions": {"sni_hostname": "bucket.test"}}
        for _ in range(2):
            assert (await fetch(own, one.url)).content == b"plain"
            assert (await fetch(own, f"http://bucket.test:{one.port}")).content == b"plain"
            assert (await fetch(own, two.url)).content == b"another"
            assert (await fetch(own, three.url)).content == b"secret"
            assert (await fetch(own, three.url, **named)).content == b"secret"
        assert (one.connections, two.connections, three.connections) == (2, 1, 2)


# -- How many --------------------------------------------------------------------------------------------------------


async def check_no_more_than(most: int, requests: int) -> None:
    """Requests that all want to be first; each is answered when as many as may be are under way."""
    async with serving(ok(BODY), hands=requests) as peer, transport(limits=limits(most)) as own:
        highest = 0

        async def one() -> None:
            nonlocal highest
            response = await opened(own, peer.url)
            highest = max(highest, len(peer.lines))
            await let_others_run()
            await read_out(response)

        async with anyio.create_task_group() as group:
            for _ in range(requests):
                group.start_soon(one)
        assert highest == most
        assert peer.connections == most
        assert_at_rest(own)


@pytest.mark.parametrize("most", [1, 3])
async def test_no_more_connections_than_asked_for(most: int) -> None:
    await check_no_more_than(most, 4 * most)


async def test_as_many_as_it_takes() -> None:
    async with serving(ok(BODY), hands=30) as peer, transport(limits=limits(None)) as own:
        responses = [await opened(own, peer.url) for _ in range(30)]
        assert peer.connections == 30
        for response in responses:
            await read_out(response)
        assert len(idle(own)) == 30


@pytest.mark.parametrize(("keep", "left"), [(0, 0), (2, 2), (None, 5), (99, 5)])
async def test_no_more_idle_ones_than_asked_for(keep: int | None, left: int) -> None:
    async with serving(ok(BODY)) as peer, transport(limits=limits(5, keep)) as own:
        responses = [await opened(own, peer.url) for _ in range(5)]
        for response in responses:
            await read_out(response)
        assert len(idle(own)) == left
        await peer.until(lambda: len(peer.lines) == left)
        assert_at_rest(own)


@asynccontextmanager
async def three_origins(most: int) -> AsyncIterator[tuple[Transport, list[Peer]]]:
    async with serving(ok()) as a, serving(ok()) as b, serving(ok()) as c, transport(limits=limits(most)) as own:
        yield own, [a, b, c]


async def check_room_is_made() -> None:
    async with three_origins(2) as (own, (a, b, c)):
        await fetch(own, a.url)
        await fetch(own, b.url)
        await fetch(own, a.url)  # now b's is the oldest
        c.script = answering(ok(BODY))
        response = await opened(own, c.url)
        await b.deserted()
        assert (len(a.lines), len(c.lines)) == (1, 1)
        await read_out(response)
        await fetch(own, a.url)
        assert a.connections == 1
        assert_at_rest(own)


async def test_room_is_made_by_the_oldest_of_another_origin() -> None:
    with anyio.fail_after(5):
        await check_room_is_made()


async def test_no_more_than_places_while_connecting() -> None:
    """Two places, two idle connections, two requests to a third origin at once."""
    async with three_origins(2) as (own, (a, b, c)):
        await fetch(own, a.url)
        await fetch(own, b.url)
        async with anyio.create_task_group() as group:
            group.start_soon(fetch, own, c.url)
            group.start_soon(fetch, own, c.url)
        await a.deserted()
        await b.deserted()
        assert len(idle(own)) == len(c.lines) == 2


# -- How long --------------------------------------------------------------------------------------------------------


async def check_expiry(expiry: float | None, age: float, kept: bool) -> None:
    now = 1000.0
    async with serving(ok()) as peer, transport(limits=limits(9, None, expiry)) as own:
        own._pool.clock = lambda: now
        await fetch(own, peer.url)
        now += age
        await fetch(own, peer.url)
        assert peer.connections == (1 if kept else 2)
        assert len(idle(own)) == 1


@pytest.mark.parametrize(
    ("expiry", "age", "kept"), [(15, 14.9, True), (15, 15.1, False), (None, 1e9, True), (0, 0.001, False)]
)
async def test_idle_ones_grow_old(expiry: float | None, age: float, kept: bool) -> None:
    await check_expiry(expiry, age, kept)


async def test_old_ones_of_other_origins_are_closed_too() -> None:
    now = 0.0
    async with three_origins(9) as (own, (a, b, c)):
        own._pool.expiry = 15
        own._pool.clock = lambda: now
        await fetch(own, a.url)
        now = 10
        await fetch(own, b.url)
        now = 20
        await fetch(own, c.url)
        await a.deserted()
        assert len(b.lines) == 1


# -- Who waits -------------------------------------------------------------------------------------------------------


async def check_first_come_first_served() -> None:
    async with serving(ok(BODY)) as peer, transport(limits=limits(1)) as own:
        first = await opened(own, peer.url)
        async with anyio.create_task_group() as group:
            for number in range(6):
                group.start_soon(fetch, own, f"{peer.url}/{number}")
                await let_others_run()
            await read_out(first)
        assert [request.target for request in peer.requests[1:]] == [b"/%d" % number for number in range(6)]
        assert peer.connections == 1
        assert_at_rest(own)


async def test_first_come_first_served() -> None:
    await check_first_come_first_served()


async def check_pool_timeout() -> None:
    async with serving(ok(BODY)) as peer, transport(limits=limits(1)) as own:
        first = await opened(own, peer.url)
        impatient: dict[str, Any] = {"extensions": {"timeout": {"pool": 0.01}}}
        for _ in range(3):
            with pytest.raises(httpx.PoolTimeout):
                await fetch(own, peer.url, **impatient)
        await read_out(first)
        await fetch(own, peer.url, **impatient)
        assert_at_rest(own)
        assert len(peer.requests) == 2


async def test_pool_timeout() -> None:
    await check_pool_timeout()


async def test_a_place_is_held_until_the_body_is_closed() -> None:
    """Closed unread it is free, too; and so is its connection."""
    async with serving(ok(BODY)) as peer, transport(limits=limits(1)) as own:
        await fetch(own, peer.url)
        async with leaving_nothing(own, peer):
            for _ in range(3):
                response = await opened(own, peer.url)
                await response.aclose()
            response = await opened(own, peer.url)
            assert await raw(response).readinto(bytearray(10)) == 10
            await response.aclose()
            await response.aclose()
            with pytest.raises(httpx.StreamClosed):
                await raw(response).readinto(bytearray(10))


async def test_what_came_with_the_head_need_not_be_read() -> None:
    """A small body that nobody reads costs no connection."""
    async with serving(ok(b"small")) as peer, transport() as own:
        for _ in range(3):
            response = await own.handle_async_request(request(peer.url))
            await response.aclose()
        assert peer.connections == 1
        assert_at_rest(own)


# -- Mutations -------------------------------------------------------------------------------------------------------


async def test_mutation_places_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def take_free(self: Places) -> bool:
        self.taken += 1
        return True

    monkeypatch.setattr(Places, "take_free", take_free)
    with pytest.raises(GOES_RED):
        await check_no_more_than(3, 12)
    with pytest.raises(GOES_RED):
        await check_first_come_first_served()
    with pytest.raises(GOES_RED):
        await check_pool_timeout()


async def test_mutation_no_room_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "make_room", lambda _: None)
    with pytest.raises((*GOES_RED, TimeoutError)), anyio.fail_after(0.1):
        await check_room_is_made()


async def test_mutation_nobody_grows_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "_expire", lambda _: None)
    with pytest.raises(GOES_RED):
        await check_expiry(15, 15.1, kept=False)


async def test_mutation_who_came_last_is_served_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def next_(self: Places, queue: Any) -> None:
        self.taken += 1
        queue.pop().set()

    monkeypatch.setattr(Places, "_next", next_)
    with pytest.raises(GOES_RED):
        await check_first_come_first_served()
