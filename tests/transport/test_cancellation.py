"""A request that was cancelled has left nothing behind, wherever it was.

Cancelled at every checkpoint that it has, in every way that there is: its connection is closed, or idle and clean; its
place is free; no task and no descriptor is left, no generator is open; what comes out is the cancellation alone; and
the next request succeeds at once.

Each mutation at the end breaks one guarantee, and sees the check go red.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck.transport import dialing, pool
from handtruck.transport.wire import Wire
from tests.transfer.checkpoints import ON_ASYNCIO, ON_TRIO, InlineThreads, Trial, Way, run, swept
from tests.transport.certificates import NAME
from tests.transport.peer import Line, Peer, ok, serving
from tests.transport.support import (
    GOES_RED,
    MIB,
    ON_LINUX,
    assert_at_rest,
    descriptors,
    fetch,
    pattern,
    raw,
    request,
    strays,
    transport,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from handtruck import Transport
    from tests.transport.certificates import Authority

pytestmark = [pytest.mark.anyio, ON_LINUX]

SIZE: Final = MIB + 12_345
BODY: Final = pattern(SIZE)
MANY: Final = 150_000  # bytes in chunks: they are read in small pieces
MOST: Final = 400  # checkpoints; nothing here has half as many

Loop: TypeAlias = tuple[str, dict[str, bool]]
LOOPS: Final[tuple[tuple[str, Loop, tuple[Way, ...]], ...]] = (
    ("asyncio", ("asyncio", {}), ON_ASYNCIO),
    ("asyncio+uvloop", ("asyncio", {"use_uvloop": True}), (Way.NATIVE,)),
    ("trio", ("trio", {}), ON_TRIO),
)
EVERY_WAY: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    [pytest.param(loop, way, id=f"{name}-{way.value}") for name, loop, ways in LOOPS for way in ways],
    indirect=["anyio_backend"],
)


@dataclass
class World:
    """What a job works on, new for every run.

    Attributes:
        url: by the name that has two addresses.
        generators: that the job made; kept, because a collected one would close itself.
    """

    peer: Peer
    own: Transport
    generators: list[Any] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http{'s' * bool(self.peer.tls)}://{NAME}:{self.peer.port}/"

    def blocks(self, *, turns: bool) -> Any:
        world = self

        class Blocks(httpx.AsyncByteStream):
            def __aiter__(self) -> AsyncIterator[bytes]:
                async def generate() -> AsyncIterator[bytes]:
                    for start in range(0, SIZE, 300_000):
                        if turns:
                            await checkpoint()
                        yield BODY[start : start + 300_000]

                world.generators.append(generate())
                iterator: AsyncIterator[bytes] = world.generators[-1]
                return iterator

        return Blocks()


@dataclass(frozen=True, slots=True)
class Job:
    """A call, and what is there before it.

    Attributes:
        warm: requests that leave their connection in the pool.
        secure: over https.
        addresses: of the name.
        stagger: seconds between two addresses.
    """

    name: str
    call: Callable[[World], Awaitable[object]]
    warm: int = 0
    secure: bool = False
    addresses: tuple[str, ...] = ("127.0.0.1",)
    stagger: float = 60.0

    def __str__(self) -> str:
        return self.name


async def get(world: World, path: str = "small") -> None:
    await fetch(world.own, world.url + path)


async def put(world: World, **options: Any) -> None:
    response = await fetch(world.own, world.url + "put", "PUT", **options)
    assert response.content == b"%d" % SIZE


async def put_blocks(world: World, *, turns: bool = False, chunked: bool = False) -> None:
    headers = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(SIZE)}
    await put(world, stream=world.blocks(turns=turns), headers=headers)


async def put_from_threads(world: World) -> None:
    blocks = (BODY[start : start + MIB // 2] for start in range(0, SIZE, MIB // 2))
    await put(world, content=blocks, headers={"Content-Length": str(SIZE)})


async def read_into(world: World, path: str = "large") -> None:
    response = await world.own.handle_async_request(request(world.url + path))
    try:
        memory, got = bytearray(SIZE + 1), 0
        while count := await raw(response).readinto(memoryview(memory)[got : got + 400_000]):
            got += count
        assert memory[:got] == BODY[:got]
        assert got == (MANY if path == "chunked" else SIZE)
    finally:
        await response.aclose()


async def left_in_the_middle(world: World) -> None:
    response = await world.own.handle_async_request(request(world.url + "large"))
    try:
        assert await raw(response).readinto(bytearray(1000)) == 1000
    finally:
        await response.aclose()


async def through_a_client(world: World) -> None:
    client = httpx.AsyncClient(transport=world.own)  # not entered: it would close our transport
    response = await client.get(world.url + "large")
    assert response.content == BODY


JOBS: Final = (
    Job("small GET", get),
    Job("small GET, reused", get, warm=1),
    Job("small GET, https", get, secure=True),
    Job("small GET, https, reused", get, warm=1, secure=True),
    Job("HTTP until close", partial(get, path="until-close")),
    Job("large GET", partial(get, path="large")),
    Job("chunked GET", partial(get, path="chunked"), warm=1),
    Job("chunked GET, https", partial(get, path="chunked"), secure=True),
    Job("readinto", read_into),
    Job("readinto of chunks", partial(read_into, path="chunked")),
    Job("readinto, https", read_into, secure=True, warm=1),
    Job("left in the middle", left_in_the_middle, warm=1),
    Job("through a client", through_a_client),
    Job("PUT", partial(put, view=BODY)),
    Job("PUT, https", partial(put, view=BODY), secure=True),
    Job("PUT of blocks", put_blocks, warm=1),
    Job("PUT of blocks that wait", partial(put_blocks, turns=True), warm=1),
    Job("PUT of blocks in chunks", partial(put_blocks, chunked=True, turns=True)),
    Job("PUT of blocks from threads", put_from_threads, warm=1),
    Job("first address refuses", get, addresses=("127.0.0.9", "127.0.0.1")),
    Job("two addresses at once", get, addresses=("127.0.0.1", "127.0.0.2"), stagger=0.0),
    Job("two addresses at once, https", get, addresses=("127.0.0.1", "127.0.0.2"), stagger=0.0, secure=True),
)
BY_NAME: Final = {job.name: job for job in JOBS}


async def converse(line: Line) -> None:
    """One answer for each of the jobs."""
    while (request := await line.request()) is not None:
        match request.target:
            case b"/put":
                await line.send(*ok(b"%d" % len(request.body)).segments)
            case b"/large":
                await line.send(*ok(BODY).segments)
            case b"/chunked":
                await line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                for start in range(0, MANY, 60_000):
                    block = BODY[start : min(start + 60_000, MANY)]
                    await line.send(b"%x\r\n%b\r\n" % (len(block), block))
                await line.send(b"0\r\n\r\n")
            case b"/until-close":
                await line.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
                line.end()
            case _:
                await line.send(*ok(b"small").segments)


@asynccontextmanager
async def world(job: Job, authority: Authority) -> AsyncIterator[World]:
    async def resolve(host: str, _: int) -> list[str]:
        assert host == NAME
        await checkpoint()
        return list(job.addresses)

    host = "0.0.0.0" if job.stagger == 0 else "127.0.0.1"  # noqa: S104 - all of the loopback's addresses
    tls = authority.serving() if job.secure else None
    options = {"ssl_context": authority.trusting()} if job.secure else {}
    async with serving(converse, tls=tls, host=host, hands=4) as peer, transport(resolve=resolve, **options) as own:
        here = World(peer, own)
        for _ in range(job.warm):
            await get(here)
        yield here


@pytest.fixture(autouse=True)
def _inline_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that every run takes the same steps."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", InlineThreads().run_sync)


@pytest.fixture(autouse=True)
def _cheap_garbage() -> Iterator[None]:
    with swept():
        yield


async def one_run(job: Job, way: Way, at: int, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """Cancel it at its ``at``-th checkpoint, look what is left, and go on."""
    monkeypatch.setattr(dialing, "STAGGER", job.stagger)
    async with world(job, authority) as here:
        before = descriptors() - here.peer.descriptors - {wire.sock.fileno() for wire in idle_of(here)}
        trial = await run(partial(job.call, here), at=at, way=way)
        assert not trial.strays, f"at {at}: {trial}"
        assert trial.kind is None or trial.cancelled, f"at {at}: {trial}"
        left = [one for one in here.generators if one.ag_frame is not None]
        assert not left, f"at {at}: the generator is open"
        assert_at_rest(here.own)
        assert not await strays(here.own, here.peer, before), f"at {at}: {trial}"
        with anyio.fail_after(5):
            await get(here)
        assert_at_rest(here.own)
    return trial


def idle_of(here: World) -> list[Wire]:
    return [wire for stack in here.own._pool._idle.values() for wire in stack]


async def check_cancelled_everywhere(job: Job, way: Way, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in range(1, MOST):
        trial = await one_run(job, way, at, authority, monkeypatch)
        if not trial.fired:
            assert trial.kind is None
            assert at > 2
            return
    pytest.fail("it has no end")


@EVERY_WAY
@pytest.mark.parametrize("job", JOBS, ids=str)
async def test_cancelled_everywhere(job: Job, way: Way, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_cancelled_everywhere(job, way, authority, monkeypatch)


# -- Mutations -------------------------------------------------------------------------------------------------------


ONE_WAY: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    [
        pytest.param(("asyncio", {}), Way.NATIVE, id="asyncio-Task.cancel"),
        pytest.param(("trio", {}), Way.TRIO, id="trio-trio scope"),
    ],
    indirect=["anyio_backend"],
)


async def goes_red(job: str, way: Way, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises((*GOES_RED, TimeoutError, ValueError)):
        await check_cancelled_everywhere(BY_NAME[job], way, authority, monkeypatch)


@ONE_WAY
async def test_mutation_a_place_is_lost(way: Way, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.Pool, "leave", lambda _: None)
    await goes_red("small GET", way, authority, monkeypatch)


@pytest.fixture
def wires(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Wire]]:
    """Every connection that is made: a mutation would leave them to the garbage collector."""
    made: list[Wire] = []
    original = Wire.__init__

    def note(self: Wire, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(Wire, "__init__", note)
    yield made
    for wire in made:
        wire.sock.close()
        if wire._both is not None:
            wire._both.close()


@ONE_WAY
@pytest.mark.parametrize("job", ["small GET", "PUT"])
async def test_mutation_a_connection_stays_open(
    job: str, way: Way, authority: Authority, wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wire, "close", lambda _: None)
    await goes_red(job, way, authority, monkeypatch)


@ONE_WAY
async def test_mutation_a_connection_is_not_dropped(
    way: Way, authority: Authority, wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.Pool, "drop", lambda *_: None)
    await goes_red("small GET", way, authority, monkeypatch)


@ONE_WAY
async def test_mutation_a_half_read_connection_is_reused(
    way: Way, authority: Authority, wires: list[Wire], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next request would read the rest of the last one's answer."""

    def put_back(self: pool.Pool, wire: Wire) -> None:
        self.put_back(pool.Origin(secure=False, host=NAME, port=wire.sock.getpeername()[1]), wire)

    monkeypatch.setattr(pool.Pool, "drop", put_back)
    monkeypatch.setattr(Wire, "is_alive", lambda _: True)
    with pytest.raises((*GOES_RED, httpx.RemoteProtocolError, TimeoutError)):
        await check_cancelled_everywhere(BY_NAME["left in the middle"], way, authority, monkeypatch)
