"""Many ranges in few requests: the right bytes, of one version, in the caller's order."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck import S3Client
from handtruck.credentials import StaticCredentials
from handtruck.errors import InvalidResponse, NotFound, PreconditionFailed, S3Error, UsageError
from handtruck.transfer.fetch import Fetch
from tests.scripted import Reply, Request, TinyS3, client, error, serve, store, truncated
from tests.transfer.cancelling import (
    ASYNCIO,
    DATA,
    EVERY_WAY,
    OBJECT,
    ON_EVERY_LOOP,
    TRIO,
    Job,
    JobWorld,
    at_every_checkpoint,
    when_every_request_fails,
    world_of,
)
from tests.transfer.memory_s3 import MemoryS3
from tests.transfer.reading import LARGEST, after_cancellation, after_failure, asked, reading, weak, whole

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transfer.checkpoints import InlineThreads, Way

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small_windows")]

BODY: Final = bytes(range(251)) * 80  # 20 080 bytes
FAR: Final = [(0, 10), (9000, 9010), (18_000, 18_010)]


def cut_out(ranges: list[tuple[int, int]]) -> list[bytes]:
    return [BODY[start:stop] for start, stop in ranges]


# -- What comes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranges", "requests"),
    [
        ([], []),
        ([(5, 5), (0, 0)], []),
        ([(0, 1)], [(0, 1)]),
        ([(50, 60), (0, 10), (20, 30)], [(0, 60)]),
        ([(0, 10), (0, 10), (5, 8), (8, 12)], [(0, 12)]),
        ([(0, 10), (111, 120)], [(0, 10), (111, 120)]),
        ([(0, 10), (110, 120)], [(0, 120)]),
        ([(100, 8000), (3000, 3005)], [(100, 3100), (3100, 6100), (6100, 8000)]),
        ([(0, 20_080)], [(start, min(start + LARGEST, 20_080)) for start in range(0, 20_080, LARGEST)]),
        ([(7, 7), (20_079, 20_080), (0, 2)], [(0, 2), (20_079, 20_080)]),
    ],
)
async def test_requests(ranges: list[tuple[int, int]], requests: list[tuple[int, int]]) -> None:
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY)
        assert await s3.get_ranges("b/k", iter(ranges), gap=100) == cut_out(ranges)
        assert sorted(asked(tiny)) == requests
        conditions = [request.header("if-match") for _, request in tiny.calls]
        assert conditions == [None, *[etag] * (len(requests) - 1)][: len(requests)]


SPANS: Final = st.tuples(st.integers(0, 11_044), st.integers(0, 11_044)).map(sorted).map(tuple)


@pytest.mark.parametrize("anyio_backend", [ASYNCIO, TRIO], ids=["asyncio", "trio"], indirect=True)
@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(SPANS, max_size=8), st.integers(0, 3000), st.integers(1, 4))
async def test_any_ranges(ranges: list[Any], gap: int, workers: int) -> None:
    s3 = MemoryS3()
    s3.put(OBJECT, DATA)
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        s3_client = S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        got = await s3_client.get_ranges(OBJECT, ranges, gap=gap, workers_count=workers)
    assert got == [DATA[start:stop] for start, stop in ranges]
    assert all(type(each) is bytes for each in got)
    assert s3.most_in_flight <= workers


async def test_the_first_decides_then_they_run_side_by_side() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        first, others = anyio.Event(), anyio.Event()

        async def wait(_: Request) -> None:
            await (first if len(tiny.calls) == 1 else others).wait()

        tiny.on("GetObject", wait)
        got: list[bytes] = []

        async def fetch() -> None:
            got.extend(await s3.get_ranges("b/k", [(0, 20_080)], workers_count=3))

        async with anyio.create_task_group() as group:
            group.start_soon(fetch)
            await tiny.peer.until(lambda: len(tiny.calls) == 1)
            await anyio.wait_all_tasks_blocked()
            assert len(tiny.calls) == 1
            first.set()
            await tiny.peer.until(lambda: tiny.peer.busy == 3)
            await anyio.wait_all_tasks_blocked()
            assert len(tiny.calls) == 4
            others.set()
        assert got == [BODY]
        assert tiny.peer.most_busy == 3


async def test_what_breaks_off_goes_on() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: truncated(tiny.GetObject(r, "b/k"), 4), nth=1)
        tiny.on("GetObject", lambda r: truncated(tiny.GetObject(r, "b/k"), 3), nth=3)
        assert await s3.get_ranges("b/k", FAR, gap=0, workers_count=1) == cut_out(FAR)
        assert asked(tiny) == [(0, 10), (4, 10), (9000, 9010), (9003, 9010), (18_000, 18_010)]


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
async def test_all_bytes_are_enough_through_any_client(library: Any) -> None:
    """However the answer ends. Found: httpx2's errors were not known there, and the range was asked for again."""

    def unfinished(request: Request) -> Reply:
        reply = tiny.GetObject(request, "b/k").plus(("Content-Length", None), ("Transfer-Encoding", "chunked"))
        return replace(reply, body=b"%x\r\n%s\r\n" % (len(reply.body), reply.body), then="close")

    tiny = TinyS3()
    async with serve(tiny) as peer, library.AsyncClient(trust_env=False) as http:
        tiny.put("b/k", BODY)
        tiny.on("GetObject", unfinished)
        assert await client(peer, client=http).get_ranges("b/k", [(5, 500)]) == [BODY[5:500]]
        assert len(peer.requests) == 1


# -- What does not come ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ranges",
    [
        [(20_000, 20_081)],
        [(20_080, 20_081)],
        [(30_000, 30_001)],
        [(0, 1), (30_000, 30_001)],
        [(0, 1), (20_000, 30_000)],
        [(0, 10**6)],
    ],
)
async def test_behind_the_end(ranges: list[tuple[int, int]]) -> None:
    """Nothing is cut off silently; and nothing is fetched in vain, once it is known."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(S3Error, match=r"bytes up to .* were asked for, the object has 20080") as caught:
            await s3.get_ranges("b/k", ranges, gap=0)
        assert (caught.value.status, caught.value.code) == (416, "InvalidRange")
        assert (caught.value.bucket, caught.value.key, caught.value.operation) == ("b", "k", "GetObject")
        assert len(tiny.calls) == 1
        tiny.put("b/k", b"")
        with pytest.raises(S3Error, match="416"):
            await s3.get_ranges("b/k", ranges, gap=0)


async def test_behind_the_end_in_a_servers_own_words() -> None:
    """It does not tell how long the object is."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", error(416, "InvalidRange"))
        with pytest.raises(S3Error, match="416 InvalidRange") as caught:
            await s3.get_ranges("b/k", [(30_000, 30_001)])
        assert caught.value.status == 416


async def test_what_is_not_there() -> None:
    async with store() as (s3, tiny):
        with pytest.raises(NotFound):
            await s3.get_ranges("b/k", FAR)
        assert await s3.get_ranges("b/k", [(3, 3)]) == [b""]  # which costs no request
        assert len(tiny.calls) == 1


async def replaced(ignored: bool) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)

        def replace(request: Request) -> Reply:
            reply = tiny.GetObject(request, "b/k")
            tiny.put("b/k", BODY[::-1])
            return reply

        def unconditional(request: Request) -> Reply:
            request.headers = [pair for pair in request.headers if pair[0].lower() != "if-match"]
            return tiny.GetObject(request, "b/k")

        if ignored:
            tiny.on("GetObject", unconditional)
        tiny.on("GetObject", replace, nth=1)
        with pytest.raises(PreconditionFailed, match="replaced while it was downloaded"):
            await s3.get_ranges("b/k", FAR, gap=0)


@pytest.mark.parametrize("ignored", [False, True])
async def test_the_object_is_replaced_meanwhile(ignored: bool) -> None:
    await replaced(ignored)


async def test_mutation_etags_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.fetch.same_etag", lambda *_: True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await replaced(ignored=True)


async def test_nothing_to_tie_them_with() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(weak, tiny))
        with pytest.raises(InvalidResponse, match="without a strong ETag nothing ties"):
            await s3.get_ranges("b/k", FAR, gap=0)
        assert len(tiny.calls) == 1
        assert await s3.get_ranges("b/k", [FAR[1]]) == cut_out([FAR[1]])  # a single one needs no tie


async def test_one_that_nothing_ties_begins_again() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)

        def cut(request: Request) -> Reply:
            reply = truncated(weak(tiny, request), 500)
            tiny.put("b/k", BODY[::-1])
            return reply

        tiny.on("GetObject", partial(weak, tiny))
        tiny.on("GetObject", cut, nth=1)
        assert await s3.get_ranges("b/k", [(1000, 2000)]) == [BODY[::-1][1000:2000]]
        assert asked(tiny) == [(1000, 2000)] * 2


@pytest.mark.parametrize("ranges", [[(0, 10)], [(5, 10)], FAR])
async def test_a_server_without_ranges(ranges: list[tuple[int, int]]) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(whole, tiny))
        with pytest.raises(InvalidResponse, match="Range header was ignored"):
            await s3.get_ranges("b/k", ranges, gap=0)
        tiny.put("b/k", BODY[:10])
        assert await s3.get_ranges("b/k", [(0, 10)]) == [BODY[:10]]


@pytest.mark.parametrize(
    ("ranges", "options", "text"),
    [
        ([(0, 1), (-1, 5)], {}, r"a range must be .* not \(-1, 5\)"),
        ([(6, 5)], {}, r"a range must be .* not \(6, 5\)"),
        ([(0, 10**15)], {}, "not fit into memory"),
        ([(0, 2**39)] * 3, {}, "not fit into memory"),
        ([(0, 1)], {"gap": -1}, "gap must be at least 0"),
        ([(0, 1)], {"workers_count": 0}, "workers_count must be at least 1"),
        ([(0, 1)], {"headers": {"Range": "bytes=0-1"}}, "Range header"),
    ],
)
async def test_nonsense_is_refused_before_anything_is_sent(ranges: Any, options: dict[str, Any], text: str) -> None:
    async with store() as (s3, tiny):
        with pytest.raises(UsageError, match=text):
            await s3.get_ranges("b/k", ranges, **options)
        with pytest.raises(UsageError, match="names no object"):
            await s3.get_ranges("b/", [(0, 1)])
        assert not tiny.calls


# -- Memory ------------------------------------------------------------------------------------------------------------


async def most_under_way(workers: int) -> int:
    """The most bytes that were asked for and not here yet, at once."""
    under_way = most = 0
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)

        async def measure(fetch: Fetch) -> None:
            nonlocal under_way, most
            size = (fetch.stop or 0) - fetch.start
            under_way += size
            most = max(most, under_way)
            await run_fetch(fetch)
            under_way -= size

        run_fetch = Fetch.run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Fetch, "run", measure)
            assert await s3.get_ranges("b/k", [(0, 20_080)], workers_count=workers) == [BODY]
    return most


@pytest.mark.parametrize("workers", [1, 2, 4])
async def test_bounded_memory(workers: int) -> None:
    assert await most_under_way(workers) <= workers * LARGEST


async def test_mutation_requests_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.ranges.LARGEST", 10**9)
    assert await most_under_way(2) > 2 * LARGEST


# -- Cancelled at every checkpoint, failing at every request -----------------------------------------------------------


async def _near(here: JobWorld) -> None:
    ranges = [(500, 600), (0, 10), (550, 700)]
    assert await here.client.get_ranges(OBJECT, ranges) == [DATA[start:stop] for start, stop in ranges]


async def _far(here: JobWorld) -> None:
    ranges = [(9000, 10_000), (0, 4000), (5000, 5000), (6000, 6001)]
    got = await here.client.get_ranges(OBJECT, ranges, gap=100, workers_count=2)
    assert got == [DATA[start:stop] for start, stop in ranges]


JOBS: Final = [reading("get_ranges, one request", _near), reading("get_ranges, several requests", _far)]
EVERY_JOB: Final = pytest.mark.parametrize("job", JOBS, ids=str)


@EVERY_JOB
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    points, wrong = await at_every_checkpoint(
        partial(world_of, job, tmp_path, threads), job.call, way, after_cancellation
    )
    assert not wrong
    assert points > 10


@EVERY_JOB
@ON_EVERY_LOOP
async def test_every_request_fails(job: Job, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way: that once, each time that it is tried again, or with all that follow."""
    _, wrong = await when_every_request_fails(partial(world_of, job, tmp_path, threads), job.call, after_failure)
    assert not wrong
