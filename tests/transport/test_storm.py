"""Many requests are cancelled at once, wherever they are; then one more succeeds at once."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck._places import Places
from handtruck.transport.pool import Pool
from tests.loops import LOOPS
from tests.transport.certificates import NAME
from tests.transport.peer import Line, let_others_run, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    ON_LINUX,
    assert_at_rest,
    descriptors,
    fetch,
    raw,
    request,
    strays,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from handtruck import Transport
    from tests.transport.certificates import Authority
    from tests.transport.peer import Peer

pytestmark = [pytest.mark.anyio, ON_LINUX]

ON_BOTH_ASYNCIO: Final = pytest.mark.parametrize(
    "anyio_backend",
    LOOPS[:2],
    indirect=True,
)
MOST: Final = 5
MANY: Final = 10 * MOST


async def converse(line: Line) -> None:
    """Deaf for what is sent, slow in what it says."""
    while (head := await line.head()) is not None:
        match head.target:
            case b"/deaf":
                await anyio.sleep_forever()
            case b"/half":
                await line.body()
                await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
                await line.drain()
            case b"/silent":
                await line.body()
                await line.drain()
            case _:
                await line.body()
                await line.send(*ok(b"x" * 50_000).segments)


async def resolve(host: str, _: int) -> list[str]:
    if host == "stuck.test":
        await anyio.sleep_forever()
    return ["127.0.0.1"]


async def held(own: Transport, url: str) -> None:
    """A caller that has his answer, and takes his time."""
    response = await own.handle_async_request(request(url))
    try:
        await raw(response).readinto(bytearray(3))
        await anyio.sleep_forever()
    finally:
        await response.aclose()


def storm(own: Transport, peer: Peer) -> list[Callable[[], Awaitable[Any]]]:
    """What they do: connect, send, wait, read, dawdle, come and go."""
    url = f"http{'s' * bool(peer.tls)}://{NAME}:{peer.port}"
    body = bytes(8 * MIB)
    kinds: list[Callable[[], Awaitable[Any]]] = [
        lambda: fetch(own, f"http://stuck.test:{peer.port}"),
        lambda: fetch(own, f"{url}/deaf", "PUT", view=body),
        lambda: fetch(own, f"{url}/silent"),
        lambda: fetch(own, f"{url}/half"),
        lambda: held(own, f"{url}/"),
        lambda: fetch(own, f"{url}/"),
    ]
    return [kinds[number % len(kinds)] for number in range(MANY)]


async def check_cancelled_in_a_storm(
    seed: int, authority: Authority | None, *, one_by_one: bool, native: bool = False
) -> None:
    dice = random.Random(seed)  # noqa: S311
    options: dict[str, Any] = {"ssl_context": authority.trusting()} if authority else {}
    tls = authority.serving() if authority else None
    limits = httpx.Limits(max_connections=MOST)
    async with (
        serving(converse, tls=tls, hands=3 * MANY) as peer,
        transport(limits=limits, resolve=resolve, timeout=httpx.Timeout(None), **options) as own,
    ):
        await fetch(own, f"http{'s' * bool(tls)}://{NAME}:{peer.port}")
        before = descriptors() - peer.descriptors - {wire.sock.fileno() for s in own._pool._idle.values() for wire in s}
        jobs = storm(own, peer)
        dice.shuffle(jobs)
        scopes: list[anyio.CancelScope | asyncio.Task[None]] = []

        async def one(job: Callable[[], Awaitable[Any]]) -> None:
            with anyio.CancelScope() as scope, suppress(httpx.TransportError):
                scopes.append(scope)
                await job()

        async def task(job: Callable[[], Awaitable[Any]]) -> None:
            with suppress(httpx.TransportError):
                await job()

        async with anyio.create_task_group() as group:
            for job in jobs:
                if native:
                    scopes.append(asyncio.create_task(task(job)))
                else:
                    group.start_soon(one, job)
            await let_others_run(dice.randrange(60))
            dice.shuffle(scopes)
            for scope in scopes:
                scope.cancel()
                if one_by_one:
                    await let_others_run(dice.randrange(4))
            await checkpoint()
            for scope in scopes:  # those that had not begun
                scope.cancel()
        if native:
            await asyncio.wait([each for each in scopes if isinstance(each, asyncio.Task)])
        assert len(peer.lines) <= 2 * MOST  # a peer may be slow to see that its client has gone
        assert_at_rest(own)
        assert not await strays(own, peer, before)
        with anyio.fail_after(5):
            await fetch(own, f"http{'s' * bool(tls)}://{NAME}:{peer.port}")
        assert_at_rest(own)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("one_by_one", [False, True], ids=["at once", "one by one"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
async def test_cancelled_in_a_storm(seed: int, one_by_one: bool, secure: bool, authority: Authority) -> None:
    await check_cancelled_in_a_storm(seed, authority if secure else None, one_by_one=one_by_one)


@ON_BOTH_ASYNCIO
@pytest.mark.parametrize("seed", range(3))
async def test_tasks_cancelled_in_a_storm(seed: int, authority: Authority) -> None:
    """By asyncio's own ``Task.cancel()``, which no scope knows of."""
    await check_cancelled_in_a_storm(seed, authority if seed else None, one_by_one=bool(seed % 2), native=True)


async def test_mutation_a_granted_place_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled between the grant and the waking, a request has a place that it does not know of."""

    async def take(self: Places, *, undo: bool = False) -> None:
        granted = anyio.Event()
        self._others.append(granted)
        self._grant()
        try:
            await granted.wait()
        except BaseException:
            if not granted.is_set():
                self._others.remove(granted)
            raise

    monkeypatch.setattr(Places, "take", take)

    async def storms() -> None:
        for seed in range(10):
            await check_cancelled_in_a_storm(seed, None, one_by_one=False)

    with pytest.raises((*GOES_RED, TimeoutError)):
        await storms()


async def test_mutation_places_are_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pool, "leave", lambda _: None)
    with pytest.raises((*GOES_RED, TimeoutError)), anyio.fail_after(2):
        await check_cancelled_in_a_storm(1, None, one_by_one=True)
