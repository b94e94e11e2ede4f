"""One ``limiter`` for several clients: never more requests on the wire, no token lost, and undoing never waits for it.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
import trio

from handtruck import S3Client
from handtruck._tasks import isolated
from handtruck.errors import ConnectionFailed
from tests.scripted import SILENCE, Reply, Request, TinyS3, client, error, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

BODY: Final = bytes(range(256)) * 40
PART: Final = 1024


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)
    monkeypatch.setattr("handtruck.transfer.multipart._LOOK_AGAIN", 0)


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(30):
        await anyio.lowlevel.checkpoint()


async def waiting(limiter: anyio.CapacityLimiter, count: int) -> None:
    """Until so many wait for a token."""
    with anyio.fail_after(10):
        while limiter.statistics().tasks_waiting < count:
            await anyio.lowlevel.checkpoint()


@asynccontextmanager
async def two_clients(
    limiter: anyio.CapacityLimiter, **options: Any
) -> AsyncIterator[tuple[S3Client, S3Client, TinyS3]]:
    """Two clients of one small S3 that share a limiter."""
    tiny = TinyS3()
    async with serve(tiny) as tiny._peer:
        tiny.put("b/k", BODY)
        async with client(tiny.peer, limiter=limiter, **options) as one, client(tiny.peer, limiter=limiter) as other:
            yield one, other, tiny
    assert not limiter.borrowed_tokens
    assert not limiter.statistics().tasks_waiting
    assert not one._session.places.taken
    assert not other._session.places.taken


# -- Never more --------------------------------------------------------------------------------------------------------


async def never_more(tokens: int, folder: Path) -> None:
    """Everything that a client can do, in two clients at once; the peer counts."""
    limiter = anyio.CapacityLimiter(tokens)
    async with two_clients(limiter) as (one, other, tiny):
        (folder / "source").write_bytes(BODY)
        async with anyio.create_task_group() as group:
            for number, s3 in enumerate((one, other)):
                for work in works(s3, folder / f"target-{number}", folder / "source"):
                    group.start_soon(isolated, work)
        assert tiny.peer.most_busy <= tokens
        assert (folder / "target-0").read_bytes() == (folder / "target-1").read_bytes() == BODY
        assert tiny.objects["b/file"].data == tiny.objects["b/stream"].data == BODY
        assert not tiny.uploads


def works(s3: S3Client, target: Path, source: Path) -> list[Callable[[], Awaitable[None]]]:
    async def down() -> None:
        await s3.download("b/k", target, part_size=PART, workers_count=5)

    async def down_to_sink() -> None:
        sink = Sink()
        await s3.download("b/k", sink, part_size=PART, workers_count=5)
        assert sink.taken == BODY

    async def up() -> None:
        await s3.upload("b/file", source, part_size=PART, workers_count=5)

    async def up_a_stream() -> None:
        blocks = [BODY[start : start + 700] for start in range(0, len(BODY), 700)]
        await s3.upload("b/stream", blocks, part_size=PART, workers_count=5)

    async def small_ones() -> None:
        for _ in range(5):
            assert (await s3.get("b/k")).content == BODY
            assert (await s3.put("b/small", b"x")).status_code == 200

    async def lists() -> None:
        async for page in s3.list_objects_v2("b"):
            assert page

    return [down, down_to_sink, up, up_a_stream, small_ones, lists]


class Sink:
    """Takes bytes."""

    def __init__(self) -> None:
        self.taken = bytearray()

    async def send(self, data: bytes) -> None:
        self.taken += data


@pytest.mark.parametrize("tokens", [1, 2, 3])
async def test_never_more(tokens: int, tmp_path: Path) -> None:
    await never_more(tokens, tmp_path)


async def test_as_many_as_there_are() -> None:
    """Two of four go out, and the others when those are over; clients take their turns."""
    limiter = anyio.CapacityLimiter(2)
    async with two_clients(limiter) as (one, other, tiny):
        free = anyio.Event()

        async def wait(_: Request) -> None:
            await free.wait()

        tiny.on("GetObject", wait)
        async with anyio.create_task_group() as group:
            for s3 in (one, other, one, other):
                group.start_soon(s3.get, "b/k")
            await tiny.peer.until(lambda: tiny.peer.busy == 2)
            await waiting(limiter, 2)
            await settle()
            assert (len(tiny.calls), limiter.borrowed_tokens, limiter.statistics().tasks_waiting) == (2, 2, 2)
            free.set()
        assert len(tiny.calls) == 4
        assert tiny.peer.most_busy == 2


async def test_it_is_not_the_clients_own_bound() -> None:
    """Both hold."""
    limiter = anyio.CapacityLimiter(3)
    async with two_clients(limiter, max_connections=1) as (one, _, tiny), anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(one.get, "b/k")
        await tiny.peer.until(lambda: len(tiny.calls) == 4)
        assert tiny.peer.most_busy == 1


async def test_more_tokens_and_fewer_while_it_runs() -> None:
    limiter = anyio.CapacityLimiter(1)
    async with two_clients(limiter) as (one, other, tiny):
        held = [anyio.Event() for _ in range(6)]

        async def wait(_: Request) -> None:
            await held[len(tiny.calls) - 1].wait()

        tiny.on("GetObject", wait)
        async with anyio.create_task_group() as group:
            for s3 in (one, other) * 3:
                group.start_soon(s3.get, "b/k")
            await tiny.peer.until(lambda: tiny.peer.busy == 1)
            limiter.total_tokens = 4
            await tiny.peer.until(lambda: tiny.peer.busy == 4)
            limiter.total_tokens = 1
            for event in held[:3]:
                event.set()
            await tiny.peer.until(lambda: tiny.peer.busy == 1)
            await settle()
            assert len(tiny.calls) == 4  # no other goes out before there is but one
            held[3].set()
            await tiny.peer.until(lambda: len(tiny.calls) == 5)
            assert tiny.peer.busy == 1
            for event in held:
                event.set()
        assert len(tiny.calls) == 6


async def test_an_answer_that_is_being_read_has_its_token() -> None:
    """Until its last byte was taken, or nobody wants more."""
    limiter = anyio.CapacityLimiter(1)
    async with two_clients(limiter) as (one, other, tiny):
        async with one.stream("b/k") as stream, anyio.create_task_group() as group:
            assert limiter.borrowed_tokens == 1
            group.start_soon(other.get, "b/k")
            await waiting(limiter, 1)
            await settle()
            assert len(tiny.calls) == 1
            assert await stream.read() == BODY
        assert len(tiny.calls) == 2


async def test_a_reader_that_is_left_in_the_middle() -> None:
    limiter = anyio.CapacityLimiter(1)
    async with two_clients(limiter) as (one, other, tiny):
        async with one.open("b/k", part_size=PART) as reader:
            assert await reader.read(10) == BODY[:10]
        assert (await other.get("b/k")).content == BODY
        assert tiny.peer.most_busy == 1


# -- None is lost ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply",
    [
        error(404, "NoSuchKey"),
        error(500, "InternalError"),
        Reply(raw=b"nonsense\r\n\r\n", then="close"),
        Reply(raw=b"", then="reset"),
    ],
    ids=["404", "500", "nonsense", "reset"],
)
async def test_requests_that_fail(reply: Reply) -> None:
    """However they end: the token is back, and between two attempts nobody has it."""
    limiter = anyio.CapacityLimiter(1)
    async with two_clients(limiter, max_attempts=3) as (one, other, tiny):
        seen: list[float] = []

        def between() -> float:
            seen.append(limiter.borrowed_tokens)
            return 0.0

        one._session.random = between
        tiny.on("GetObject", reply)
        with suppress(ConnectionFailed, httpx.HTTPError):
            await one.get("b/k")
        assert not any(seen)
        assert limiter.borrowed_tokens == 0
        assert (await other.put("b/next", b"x")).status_code == 200


async def natively(job: Callable[[], Awaitable[object]], cancel_when: Callable[[], Awaitable[None]]) -> None:
    """Run a job and cancel it in the loop's own way."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        async with trio.open_nursery() as nursery:

            async def cancel() -> None:
                await cancel_when()
                scope.cancel()

            with trio.CancelScope() as scope:
                nursery.start_soon(cancel)
                await job()
            assert scope.cancelled_caught
        return

    async def run() -> None:
        await job()

    task = loop.create_task(run())
    await cancel_when()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def by_scope(job: Callable[[], Awaitable[object]], cancel_when: Callable[[], Awaitable[None]]) -> None:
    """Run a job and cancel it by a scope of anyio's."""
    async with anyio.create_task_group() as group:

        async def cancel() -> None:
            await cancel_when()
            scope.cancel()

        with anyio.CancelScope() as scope:
            group.start_soon(cancel)
            await job()
        assert scope.cancelled_caught


WAYS: Final = pytest.mark.parametrize("cancelled", [by_scope, natively], ids=lambda way: way.__name__)


@WAYS
async def test_cancelled_while_it_waits_for_a_token(cancelled: Any, tmp_path: Path) -> None:
    """Its place is given back, and it is in the queue no more."""
    limiter = anyio.CapacityLimiter(1)
    async with two_clients(limiter) as (one, other, tiny):
        async with limiter:  # somebody else's
            for job in (
                lambda: one.get("b/k"),
                lambda: one.put("b/k", b"x"),
                lambda: one.download("b/k", tmp_path / "target", part_size=PART),
                lambda: one.upload("b/new", [BODY], part_size=PART),
            ):
                await cancelled(job, lambda: waiting(limiter, 1))
                assert one._session.places.taken == 0
                assert limiter.statistics().tasks_waiting == 0
                assert limiter.borrowed_tokens == 1
            assert not tiny.calls
        assert (await other.get("b/k")).content == BODY
        assert list(tmp_path.iterdir()) == []


@WAYS
async def test_cancelled_on_the_wire(cancelled: Any) -> None:
    limiter = anyio.CapacityLimiter(1)
    async with two_clients(limiter) as (one, other, tiny):
        tiny.on("GetObject", SILENCE, nth=1)
        await cancelled(lambda: one.get("b/k"), lambda: tiny.peer.until(lambda: tiny.peer.busy == 1))
        assert limiter.borrowed_tokens == 0
        assert (await other.get("b/k")).content == BODY


@WAYS
async def test_cancelled_at_the_moment_a_token_comes(cancelled: Any) -> None:
    """It has both then, or neither; whoever waits behind it gets the token."""
    for steps in range(8):
        limiter = anyio.CapacityLimiter(1)
        async with two_clients(limiter) as (one, other, _):
            borrower = object()
            await limiter.acquire_on_behalf_of(borrower)

            async def given(
                steps: int = steps, limiter: anyio.CapacityLimiter = limiter, borrower: object = borrower
            ) -> None:
                await waiting(limiter, 1)
                limiter.release_on_behalf_of(borrower)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()

            await cancelled(lambda one=one: forever(one), given)
            assert limiter.borrowed_tokens == 0
            assert (await other.get("b/k")).content == BODY


async def forever(s3: S3Client) -> None:
    """Requests, until somebody has enough of them."""
    while True:
        await s3.get("b/k")


# -- Undoing goes beside it --------------------------------------------------------------------------------------------


async def undone_while_it_is_full() -> None:
    """An abort neither waits for a token nor takes one."""
    said: list[str] = []
    limiter = anyio.CapacityLimiter(2)
    async with two_clients(limiter) as (one, _, tiny):
        others = [object(), object()]
        part_came = anyio.Event()

        async def part(_: Request) -> Reply:
            part_came.set()
            return SILENCE

        tiny.on("UploadPart", part)

        async def take_all() -> None:
            """All tokens, before the abort comes: behind those of the parts."""
            await part_came.wait()
            limiter.total_tokens = 4
            for other in others:
                await limiter.acquire_on_behalf_of(other)
            limiter.total_tokens = 2
            scope.cancel()

        async with anyio.create_task_group() as group:
            group.start_soon(take_all)
            with anyio.CancelScope() as scope:
                try:
                    await one.put_multipart("b/new", [BODY], part_size=PART, workers_count=2)
                except anyio.get_cancelled_exc_class() as cancelled:
                    said += getattr(cancelled, "__notes__", ())
                    raise
        try:
            assert not said
            assert "AbortMultipartUpload" in tiny.names
            assert not tiny.uploads
            assert limiter.borrowed_tokens == 2
        finally:
            for other in others:
                limiter.release_on_behalf_of(other)


async def test_undone_while_it_is_full() -> None:
    await undone_while_it_is_full()


async def test_two_clients_that_undo_at_once() -> None:
    """Both aborts go out, though there is one token, and a third has it."""
    limiter = anyio.CapacityLimiter(1)
    async with two_clients(limiter) as (one, other, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"))

        async def upload(s3: S3Client) -> None:
            with pytest.raises(Exception, match="AccessDenied"):
                await s3.put_multipart("b/new", [BODY], part_size=PART, workers_count=2)

        async with anyio.create_task_group() as group:
            group.start_soon(upload, one)
            group.start_soon(upload, other)
        assert not tiny.uploads


async def test_through_a_callers_client() -> None:
    """Another road, the same bound."""
    limiter = anyio.CapacityLimiter(2)
    tiny = TinyS3()
    async with serve(tiny) as tiny._peer, httpx.AsyncClient(trust_env=False) as http:
        tiny.put("b/k", BODY)
        both = [client(tiny.peer, limiter=limiter, client=http) for _ in range(2)]
        async with anyio.create_task_group() as group:
            for s3 in both * 4:
                group.start_soon(s3.get, "b/k")
        assert tiny.peer.most_busy <= 2
        assert not limiter.borrowed_tokens


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def test_mutation_a_token_is_not_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request waits for ever, and the check sees it."""
    kind = type(anyio.CapacityLimiter(1))
    monkeypatch.setattr(kind, "release_on_behalf_of", lambda *_: None)
    limiter = anyio.CapacityLimiter(1)
    with pytest.raises(AssertionError):
        async with two_clients(limiter) as (one, _, _):
            assert (await one.get("b/k")).content == BODY


async def test_mutation_no_limiter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = S3Client.__init__

    def without(self: S3Client, *arguments: Any, **options: Any) -> None:
        right(self, *arguments, **{**options, "limiter": None})

    monkeypatch.setattr(S3Client, "__init__", without)
    with pytest.raises(AssertionError):
        await never_more(1, tmp_path)


async def test_mutation_undoing_waits_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nothing is undone where others have all tokens, and the check sees it."""
    from handtruck._attempt import Attempt

    right = Attempt.run

    async def queueing(attempt: Attempt[Any], sender: Any, places: Any, limiter: Any, clock: Any) -> Any:
        if not attempt.options.placed or limiter is None:
            return await right(attempt, sender, places, limiter, clock)
        async with limiter:
            return await right(attempt, sender, places, limiter, clock)

    monkeypatch.setattr(Attempt, "run", queueing)
    for module in ("handtruck._attempt", "handtruck.transfer.multipart", "handtruck.transfer.upload"):
        monkeypatch.setattr(f"{module}.GRACE", 0.05)
    with pytest.raises(AssertionError):
        await undone_while_it_is_full()
