"""A parallel listing: every object once, so many requests at once, and no more pages than there is room for.

Nothing is left behind, wherever it is cancelled and whatever fails.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck import S3Client
from handtruck.client import lists
from handtruck.errors import ConnectionFailed, HandtruckError, InvalidResponse, S3Error, UsageError
from handtruck.transfer import listing
from tests.transfer.checkpoints import ON_ASYNCIO, ON_TRIO, Trial, Way, cases, run, swept
from tests.transfer.listing_s3 import ListingS3
from tests.transfer.memory_s3 import Call, Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator

pytestmark = pytest.mark.anyio

ASYNCIO: Final[tuple[str, dict[str, bool]]] = ("asyncio", {})
TRIO: Final[tuple[str, dict[str, bool]]] = ("trio", {})
LOOPS: Final = (
    ("asyncio", ASYNCIO, ON_ASYNCIO),
    ("asyncio+uvloop", ("asyncio", {"use_uvloop": True}), ON_ASYNCIO),
    ("trio", TRIO, ON_TRIO),
)
EVERY_WAY: Final = pytest.mark.parametrize(("anyio_backend", "way"), cases(LOOPS), indirect=["anyio_backend"])
EITHER: Final = pytest.mark.parametrize("anyio_backend", [ASYNCIO, TRIO], ids=["asyncio", "trio"], indirect=True)
ON_TRIO_ONLY: Final = pytest.mark.parametrize("anyio_backend", [TRIO], ids=["trio"], indirect=True)

KEYS: Final = ("a/1", "a/2", "a/3", "a/x/1", "b/1", "b/y/1", "b/y/2", "c", "d")
MANY: Final = tuple(f"{folder}/{number:02}" for folder in "abcdef" for number in range(12))


@asynccontextmanager
async def store(*keys: str, **options: Any) -> AsyncIterator[tuple[S3Client, ListingS3]]:
    """An S3 with some keys, and a client that waits for nothing between attempts; in the end nothing is open."""
    s3 = ListingS3()
    s3.fill(*keys)
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = S3Client("http://s3.test", http, **{"access_key_id": "k", "secret_access_key": "s", **options})
        client._session.random = lambda: 0.0
        yield client, s3
        assert left_behind(client, s3) == []


def left_behind(client: S3Client, s3: ListingS3, trial: Trial | None = None) -> list[str]:
    """Whatever is there that should not be."""
    found = [f"task {stray}" for stray in (trial.strays if trial else ())]
    found += [f"answer {answer}" for answer in s3.answers]
    found += [f"request {s3.in_flight} in flight"] if s3.in_flight else []
    found += [f"place {client._session.places.taken}"] if client._session.places.taken else []
    return found


async def names(objects: AsyncIterable[Any]) -> list[str]:
    return sorted([one.key async for one in objects])


async def list_all(client: S3Client, into: list[str], **arguments: Any) -> None:
    """The job of this file."""
    async with client.list_objects_parallel("bucket", **arguments) as objects:
        async for one in objects:
            into.append(one.key)  # noqa: PERF401 - what came before an error counts, too


# -- What it lists -------------------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("workers", [1, 2, 5])
async def test_every_object_comes_once(workers: int) -> None:
    for most in (1, 2, 3, 1000):
        for prefix in ("", "a", "a/", "b/y", "c", "nothing"):
            async with store(*KEYS) as (client, s3):
                s3.most = most
                async with client.list_objects_parallel("bucket", prefix=prefix, workers_count=workers) as objects:
                    assert await names(objects) == [key for key in KEYS if key.startswith(prefix)]


@EITHER
async def test_several_requests_at_once() -> None:
    async with store(*MANY) as (client, s3):
        found: list[str] = []
        await list_all(client, found, workers_count=3)
        assert sorted(found) == list(MANY)
        assert s3.most_in_flight == 3


@ON_TRIO_ONLY
async def test_prefixes_are_divided_only_while_there_is_little_to_do() -> None:
    """A thousand small folders cost a request each, and no more; flat below that."""
    folders = [f"{number:03}/" for number in range(120)]
    async with store(*(f"{folder}x/y/z/1" for folder in folders)) as (client, s3):
        s3.most = 40
        async with client.list_objects_parallel("bucket", workers_count=4) as objects:
            assert len(await names(objects)) == 120
            assert len(objects._todo) == 0
        divided = [call for call in s3.calls if "delimiter" in call.query]
        assert len(s3.calls) < 120 + 3 + 4 * 4 * 4
        assert len(divided) < 3 + 4 * 4 * 4


@ON_TRIO_ONLY
async def test_of_a_wide_level_only_a_page_of_prefixes_is_known() -> None:
    most = 0
    async with store(*(f"{number:03}/1" for number in range(120))) as (client, s3):
        s3.most = 20
        async with client.list_objects_parallel("bucket", workers_count=2) as objects:
            async for _ in objects:
                most = max(most, len(objects._todo))
    assert 2 < most <= 3 * 20


async def requests_without_a_reader(workers: int) -> int:
    """How many pages are fetched for somebody who takes none, in as long as it likes."""
    keys = [f"{folder}/{number}" for folder in range(8) for number in range(40)]
    async with store(*keys) as (client, s3), client.list_objects_parallel("bucket", workers_count=workers):
        while not s3.calls:
            await checkpoint()
        for _ in range(1000):
            await checkpoint()
        return len(s3.calls)


@EITHER
async def test_nothing_is_fetched_that_there_is_no_room_for() -> None:
    """Pages that wait for the caller, and one in each worker's hand; and the levels that were divided."""
    assert 3 <= await requests_without_a_reader(3) <= 2 * 3 + 8


# -- Who takes from it ---------------------------------------------------------------------------------------------


@EITHER
async def test_what_is_cancelled_while_it_waits_has_taken_nothing() -> None:
    async with store(*MANY) as (client, _):
        found: list[Any] = []
        async with client.list_objects_parallel("bucket", workers_count=2) as objects:
            more = True
            for patience in count():
                more = await impatiently(objects, found, patience % 7) and more
                if not more:
                    break
        assert len(found) == len(MANY)
        assert sorted(one.key for one in found) == list(MANY)


async def impatiently(source: AsyncIterator[Any], found: list[Any], steps: int) -> bool:
    """Take the next, but wait only so long; whether there may be more."""
    more = True

    async def take() -> None:
        nonlocal more
        try:
            found.append(await anext(source))
        except StopAsyncIteration:
            more = False

    async with anyio.create_task_group() as group:
        group.start_soon(take)
        for _ in range(steps):
            await checkpoint()
        group.cancel_scope.cancel()
    return more


@EITHER
async def test_several_tasks_may_take_from_it() -> None:
    async with store(*MANY) as (client, _):
        found: list[str] = []

        async def take(objects: AsyncIterable[Any]) -> None:
            async for one in objects:
                found.append(one.key)
                await checkpoint()

        async with (
            client.list_objects_parallel("bucket", workers_count=2) as objects,
            anyio.create_task_group() as group,
        ):
            for _ in range(4):
                group.start_soon(take, objects)
        assert sorted(found) == list(MANY)


@EITHER
async def test_what_the_body_raises_comes_out_as_it_is() -> None:
    async with store(*MANY) as (client, s3):
        with pytest.raises(LookupError) as caught:  # noqa: PT012 - a block is what it is about
            async with client.list_objects_parallel("bucket", workers_count=2) as objects:
                await anext(objects)
                raise LookupError("the caller's own")
        assert not hasattr(caught.value, "__notes__")
        assert len(s3.calls) < 20
        with pytest.raises(UsageError, match="async with"):
            await anext(objects)


@ON_TRIO_ONLY
async def test_a_listing_outside_its_block() -> None:
    async with store("a") as (client, s3):
        objects = client.list_objects_parallel("bucket")
        with pytest.raises(UsageError, match="async with"):
            await anext(objects)
        assert s3.calls == []


# -- What goes wrong -----------------------------------------------------------------------------------------------


@EITHER
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.UNREACHABLE, Fault.CUT])
async def test_a_request_that_fails(fault: Fault) -> None:
    """Once, it is repeated; for ever, the error comes out of the iterator, again and again, and the block is clean."""
    for number in range(1, 6):
        async with store(*KEYS) as (client, s3):
            s3.fault = lambda call, number=number: fault if call.number == number else None
            found: list[str] = []
            await list_all(client, found, workers_count=2)
            assert sorted(found) == list(KEYS)
        async with store(*KEYS, max_attempts=1) as (client, s3):
            s3.fault = lambda call, number=number: fault if call.number >= number else None
            async with client.list_objects_parallel("bucket", workers_count=2) as objects:
                for _ in range(2):
                    with pytest.raises((S3Error, ConnectionFailed)):
                        await names(objects)
            assert s3.in_flight == 0


@EITHER
@pytest.mark.parametrize("strange", ["", "b/", "other/"])
async def test_prefixes_without_an_end_are_refused(strange: str) -> None:
    """A prefix is listed below itself, or elsewhere: that would go on for ever."""
    async with store("a/1", max_attempts=1) as (client, s3):
        s3.strange = ("a/", strange or "a/")
        with pytest.raises(InvalidResponse, match="is listed as a prefix below 'a/'"):
            await list_all(client, [], prefix="a/", workers_count=1)
        with pytest.raises(InvalidResponse, match="is listed as a prefix below 'a/'"):
            await names(client.walk("bucket", prefix="a/"))
        assert len(s3.calls) < 10


# -- A walk --------------------------------------------------------------------------------------------------------


@EITHER
async def test_a_walk_that_is_cancelled_goes_on_where_it_was() -> None:
    async with store(*KEYS) as (client, s3):
        s3.most = 1
        whole = [folder async for folder in client.walk("bucket")]
        for patience in range(1, 12):
            walk = client.walk("bucket")
            found: list[Any] = []
            attempt = 0
            while await impatiently(walk, found, patience * (attempt := attempt + 1)):
                pass
            assert found == whole


# -- Cancelled anywhere --------------------------------------------------------------------------------------------


async def at_every_checkpoint(way: Way, stride: int = 1) -> tuple[int, list[str]]:
    """Cancel a listing at its first checkpoint, its second …; gives how many there are, and all that was wrong."""
    wrong: list[str] = []
    with swept():
        for at in count(1, stride):
            async with AsyncStore() as (client, s3):
                found: list[str] = []
                trial = await run(partial(list_all, client, found, workers_count=2), at=at, way=way)
                here = left_behind(client, s3, trial)
                if trial.kind is None and sorted(found) != list(KEYS):
                    here.append(f"listed {found}")
                if trial.kind is not None and not trial.cancelled:
                    here.append(f"exception {trial.kind.__name__}: {trial.text}")
                wrong += [f"{text} [checkpoint {at}, {way.value}]" for text in here]
                s3.answers.clear()
            if not trial.fired:
                return trial.steps, wrong
    raise AssertionError


class AsyncStore:
    """As :func:`store`, without its checks."""

    async def __aenter__(self) -> tuple[S3Client, ListingS3]:
        s3 = ListingS3()
        s3.fill(*KEYS)
        self.http = httpx.AsyncClient(transport=s3, trust_env=False)
        client = S3Client("http://s3.test", self.http, access_key_id="k", secret_access_key="s")
        client._session.random = lambda: 0.0
        return client, s3

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()


@EVERY_WAY
async def test_cancelled_anywhere(way: Way) -> None:
    points, wrong = await at_every_checkpoint(way)
    assert wrong == []
    assert points > 60


@EITHER
async def test_failed_anywhere() -> None:
    """Each request in turn breaks for good: one of our errors comes out, and nothing is left."""
    with swept():
        for number in range(1, 6):
            async with store(*KEYS, max_attempts=1) as (client, s3):
                s3.fault = lambda call, number=number: Fault.BROKEN if call.number == number else None
                trial = await run(partial(list_all, client, [], workers_count=3))
                assert left_behind(client, s3, trial) == []
                assert trial.kind is not None
                assert issubclass(trial.kind, HandtruckError)


# -- The checks can fail -------------------------------------------------------------------------------------------


@EITHER
async def test_mutation_no_end_of_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async def deliver(self: listing.ParallelListing, page: Any) -> None:
        self._ready.append(page)
        self._stir()

    monkeypatch.setattr(listing.ParallelListing, "_deliver", deliver)
    assert await requests_without_a_reader(3) > 2 * 3 + 8


@EITHER
async def test_mutation_any_prefix_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "Below", lambda _, pages: pages)
    async with store("a/1", max_attempts=1) as (client, s3):
        s3.strange = ("a/",)

        def enough(call: Call) -> Fault | None:
            return Fault.REFUSED if call.number > 100 else None

        s3.fault = enough
        with pytest.raises(S3Error):
            await list_all(client, [], prefix="a/", workers_count=3)
        assert len(s3.calls) > 100


@ON_TRIO_ONLY
async def test_mutation_a_page_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of a divided level is forgotten."""

    async def forget(self: listing.ParallelListing, level: Any) -> None:
        level.pages = self._pages_of(level.prefix, True)
        page = await anext(level.pages, None)
        if page is not None:
            self._todo.extend(listing._Level(prefix) for prefix in page.common_prefixes)
            await self._deliver(page)
        self._busy -= 1
        self._stir()

    monkeypatch.setattr(listing.ParallelListing, "_list", forget)
    _, wrong = await at_every_checkpoint(Way.TRIO, stride=25)
    assert any("listed" in text for text in wrong)


@pytest.mark.parametrize("anyio_backend", [ASYNCIO], ids=["asyncio"], indirect=True)
async def test_mutation_tasks_outlive_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for the child."""
    import asyncio

    kept: list[Any] = []

    class Loose:
        async def enter(self) -> None:
            pass

        def start_soon(self, work: Any) -> None:
            kept.append(asyncio.get_running_loop().create_task(work()))

        async def leave(self, error: BaseException | None) -> None:
            pass

    monkeypatch.setattr(listing, "Companions", Loose)
    _, wrong = await at_every_checkpoint(Way.NATIVE, stride=7)
    assert any(text.startswith("task") for text in wrong)
    for task in kept:
        task.cancel()
    await asyncio.gather(*kept, return_exceptions=True)
