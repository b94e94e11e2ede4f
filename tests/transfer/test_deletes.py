"""Deleting many objects: all of them are answered for, and what is known to be deleted is told.

Wherever it is cancelled and whatever fails, nothing is left running.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck import DeleteResult, S3Client
from handtruck.errors import ConnectionFailed, HandtruckError, InvalidResponse, S3Error
from handtruck.transfer import deletes
from tests.transfer.checkpoints import InlineThreads, Trial, Way, run, swept
from tests.transfer.listing_s3 import ListingS3
from tests.transfer.memory_s3 import Fault
from tests.transfer.test_listing import EITHER, EVERY_WAY, ON_TRIO_ONLY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.anyio

KEYS: Final = ("a/1", "a/2", "a/3\x01", "a/4", "a/5", "b")
Source = Literal["list", "generator", "async generator", "prefix"]
SOURCES: Final[tuple[Source, ...]] = ("list", "generator", "async generator", "prefix")
EVERY_SOURCE: Final = pytest.mark.parametrize("source", SOURCES)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two objects are many."""
    monkeypatch.setattr(deletes, "MOST_DELETES", 2)


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> None:
    """Here the loop stands still for threads, so the guard of that name would complain."""


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> InlineThreads:
    """Threads that take the same steps in every run."""
    inline = InlineThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", inline.run_sync)
    monkeypatch.setattr(anyio.from_thread, "check_cancelled", lambda: None)
    return inline


@dataclass
class World:
    """An S3 with some keys, a client, and what the caller was told."""

    s3: ListingS3
    client: S3Client
    told: list[DeleteResult] = field(default_factory=list)
    results: list[DeleteResult] = field(default_factory=list)
    generators: list[Any] = field(default_factory=list)

    def names(self, source: Source) -> Any:
        async def asynchronous() -> AsyncIterator[str]:
            for key in KEYS[:-1]:
                await checkpoint()
                yield key

        def sync() -> Iterator[str]:
            yield from KEYS[:-1]

        if source == "list":
            return list(KEYS[:-1])
        self.generators.append(asynchronous() if source == "async generator" else sync())
        return self.generators[-1]

    async def delete(self, source: Source, **arguments: Any) -> None:
        """The job of this file: all but the last key go."""
        arguments = {"workers_count": 2, "on_batch": self.told.append, **arguments}
        if source == "prefix":
            result = await self.client.delete_prefix("bucket", prefix="a/", **arguments)
        else:
            result = await self.client.delete_objects(self.names(source), "bucket", **arguments)
        self.results.append(result)

    @property
    def known(self) -> int:
        return sum(each.count for each in self.told)

    def wrong(self, trial: Trial) -> list[str]:
        """Whatever is there that should not be."""
        found = [f"task {stray}" for stray in trial.strays]
        found += [f"answer {answer}" for answer in self.s3.answers]
        found += [f"request {self.s3.in_flight} in flight"] if self.s3.in_flight else []
        found += [f"place {self.client._session.places.taken}"] if self.client._session.places.taken else []
        frames = ("ag_frame", "gi_frame")
        found += [f"open {one}" for one in self.generators if any(getattr(one, frame, None) for frame in frames)]
        gone = set(KEYS) - set(self.s3.keys)
        told = {one.key for each in self.told for one in each.deleted}
        found += [f"told {told}, gone {gone}"] if not told <= gone else []
        found += ["the last key"] if "b" in gone else []
        if trial.kind is None and (self.s3.keys != ["b"] or [each.count for each in self.results] != [5]):
            found.append(f"left {self.s3.keys} {self.results}")
        return found


@asynccontextmanager
async def world(**options: Any) -> AsyncIterator[World]:
    """Everything new."""
    s3 = ListingS3()
    s3.fill(*KEYS)
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = S3Client("http://s3.test", http, **{"access_key_id": "k", "secret_access_key": "s", **options})
        client._session.random = lambda: 0.0
        here = World(s3, client)
        yield here
        for generator in here.generators:
            if hasattr(generator, "aclose"):
                await generator.aclose()


# -- What it does --------------------------------------------------------------------------------------------------


@EITHER
@EVERY_SOURCE
async def test_all_of_them_and_nothing_else(source: Source) -> None:
    async with world() as here:
        trial = await run(partial(here.delete, source))
        assert here.wrong(trial) == []
        assert here.known == 5
        assert here.s3.deleted == dict.fromkeys(KEYS[:-1], 1)
        assert [call.path for call in here.s3.sent("DeleteObject")] == ["/bucket/a/3\x01"]
        assert len(here.s3.sent("DeleteObjects")) == 2
        (result,) = here.results
        kept = [] if source == "prefix" else list(KEYS[:-1])
        assert (sorted(one.key for one in result.deleted), result.errors) == (kept, ())


@EITHER
async def test_so_many_requests_at_once() -> None:
    """The first answers come when there are so many: whoever is idle takes the next one."""
    full = anyio.Event()

    async def wait(_: object) -> None:
        if here.s3.in_flight == 3:
            full.set()
        with anyio.fail_after(10):
            await full.wait()

    async with world() as here:
        here.s3.before_answer = wait
        names = [f"k{number}" for number in range(40)]
        await here.client.delete_objects(names, "bucket", workers_count=3)
        assert here.s3.most_in_flight == 3
        assert len(here.s3.calls) == 20


@ON_TRIO_ONLY
async def test_names_are_taken_as_there_is_room() -> None:
    """Of an endless source so many are in hand: batches on their way, and the one that waits."""
    async with world(max_attempts=1) as here:
        taken = 0

        async def endless() -> AsyncIterator[str]:
            nonlocal taken
            for taken in count(1):
                await checkpoint()
                yield f"k{taken}"

        most = 0

        async def look(_: object) -> None:
            nonlocal most
            most = max(most, taken - 2 * here.s3.done["DeleteObjects"])

        here.s3.before_answer = look
        here.s3.fault = lambda call: Fault.UNREACHABLE if call.number > 50 else None
        with pytest.raises(ConnectionFailed):
            await here.client.delete_objects(endless(), "bucket", workers_count=3)
        assert 0 < most <= (3 + 1) * 2


async def tokens_lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tokens whose key was gone when they came, where listings take much longer than deletes."""
    monkeypatch.setattr(deletes, "MOST_DELETES", 1)
    async with world() as here:
        here.s3.most = 1
        handle = here.s3.handle_async_request

        async def late(request: httpx.Request) -> httpx.Response:
            for _ in range(100 if request.method == "GET" else 0):
                await checkpoint()
            return await handle(request)

        here.s3.handle_async_request = late  # type: ignore[method-assign]
        await here.delete("prefix")
        assert here.s3.keys == ["b"]
        return here.s3.lost


@EITHER
async def test_the_page_at_which_the_next_begins_is_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers may look for it: a page is deleted when the one after it is here."""
    assert await tokens_lost(monkeypatch) == []


@ON_TRIO_ONLY
async def test_both_checksums_and_the_options_are_sent() -> None:
    async with world() as here:
        await here.client.delete_objects(
            ["a/1", "a\x01"],
            "bucket",
            expected_bucket_owner="1234",
            request_payer=True,
            mfa="serial 1",
            bypass_governance=True,
        )
        for call in here.s3.calls:
            assert call.headers["x-amz-expected-bucket-owner"] == "1234"
            assert call.headers["x-amz-request-payer"] == "requester"
            assert call.headers["x-amz-mfa"] == "serial 1"
            assert call.headers["x-amz-bypass-governance-retention"] == "true"
        (batch,) = here.s3.sent("DeleteObjects")
        assert {"content-md5", "x-amz-checksum-crc32"} <= set(batch.headers)
        here.s3.calls.clear()
        await here.client.delete_prefix("bucket", prefix="a/", expected_bucket_owner="1234", mfa="serial 1")
        for call in here.s3.calls:
            assert call.headers["x-amz-expected-bucket-owner"] == "1234"
            assert ("x-amz-mfa" in call.headers) is (call.operation != "ListObjectsV2")


# -- What S3 says of one object ------------------------------------------------------------------------------------


@EITHER
async def test_errors_of_one_object_are_returned() -> None:
    async with world() as here:
        here.s3.refused = {"a/1": ["AccessDenied"] * 9}
        await here.delete("list")
        (result,) = here.results
        assert (result.count, [(error.key, error.code) for error in result.errors]) == (4, [("a/1", "AccessDenied")])
        assert len(here.s3.sent("DeleteObjects")) == 2


@EITHER
async def test_what_passes_is_asked_for_again() -> None:
    """That object alone; as often as a request is sent, and then it is an error."""
    async with world() as here:
        here.s3.refused = {"a/1": ["SlowDown", "InternalError"], "a/4": ["SlowDown"] * 9}
        await here.delete("list")
        (result,) = here.results
        assert (result.count, [(error.key, error.code) for error in result.errors]) == (4, [("a/4", "SlowDown")])
        assert len(here.s3.sent("DeleteObjects")) == 2 + 2 + 3
        assert here.s3.deleted == dict.fromkeys(["a/1", "a/2", "a/3\x01", "a/5"], 1)
        assert here.known == 4


@EITHER
async def test_silence_is_an_error_unless_it_was_asked_for() -> None:
    async with world() as here:
        here.s3.forgotten = {"a/2"}
        await here.delete("list")
        await here.delete("prefix")
        await here.delete("list", quiet=True)
        assert [result.count for result in here.results] == [4, 0, 5]
        assert [error.key for result in here.results for error in result.errors] == ["a/2", "a/2"]
        assert here.results[-1] == DeleteResult(count=5)


@EITHER
async def test_a_single_delete_that_is_refused_is_that_objects_error() -> None:
    async with world() as here:
        answer = here.s3._carry_out

        def refuse(call: Any, body: bytes, *, refused: bool) -> Any:
            return (
                here.s3._error(403, "AccessDenied")
                if call.operation == "DeleteObject"
                else answer(call, body, refused=refused)
            )

        here.s3._carry_out = refuse  # type: ignore[method-assign]
        await here.delete("list")
        (result,) = here.results
        assert result.count == 4
        assert [(error.key, error.code, error.message) for error in result.errors] == [
            ("a/3\x01", "AccessDenied", "scripted")
        ]


@EITHER
@pytest.mark.parametrize("code", ["NoSuchBucket", "InvalidAccessKeyId", "SlowDown"])
async def test_a_single_delete_that_none_would_survive_ends_all(code: str) -> None:
    async with world(max_attempts=1) as here:
        answer = here.s3._carry_out

        def refuse(call: Any, body: bytes, *, refused: bool) -> Any:
            status = {"NoSuchBucket": 404, "InvalidAccessKeyId": 403, "SlowDown": 503}[code]
            return (
                here.s3._error(status, code)
                if call.operation == "DeleteObject"
                else answer(call, body, refused=refused)
            )

        here.s3._carry_out = refuse  # type: ignore[method-assign]
        with pytest.raises(S3Error) as caught:
            await here.delete("list")
        assert caught.value.code == code


# -- What concerns all of them -------------------------------------------------------------------------------------


@ON_TRIO_ONLY
@EVERY_SOURCE
async def test_failed_anywhere(source: Source) -> None:
    """Each request in turn fails in every way, once: repeated, nothing is wrong; for good, the error tells the rest."""
    with swept():
        for fault in Fault:
            for number in range(1, 7):
                async with world() as here:
                    here.s3.fault = lambda call, number=number, fault=fault: fault if call.number == number else None
                    trial = await run(partial(here.delete, source))
                    assert (trial.kind, here.wrong(trial)) == (None, [])
                async with world(max_attempts=1) as here:
                    here.s3.fault = lambda call, number=number, fault=fault: fault if call.number == number else None
                    trial = await run(partial(here.delete, source))
                    assert here.wrong(trial) == []
                    if trial.kind is not None:
                        assert issubclass(trial.kind, HandtruckError)
                        assert f"{here.known} objects were deleted" in trial.notes[-1]


@EITHER
async def test_an_error_inside_a_200_is_repeated() -> None:
    async with world() as here:
        answer, calls = here.s3._delete_all, count(1)

        def late(body: bytes) -> str:
            return "<Error><Code>InternalError</Code></Error>" if next(calls) < 3 else answer(body)

        here.s3._delete_all = late  # type: ignore[method-assign]
        await here.delete("list")
        assert here.s3.keys == ["b"]
        assert len(here.s3.sent("DeleteObjects")) == 4


@EITHER
async def test_what_the_caller_raises_ends_it() -> None:
    """In the iterable, and when it is told."""

    def broken() -> Iterator[str]:
        yield "a/1"
        yield "a/2"
        yield "a/4"
        raise LookupError("the caller's own")

    def no(result: DeleteResult) -> None:
        raise LookupError("the caller's own")

    async with world() as here:
        with pytest.raises(LookupError):
            await here.client.delete_objects(broken(), "bucket")
        with pytest.raises(LookupError) as caught:
            await here.delete("list", on_batch=no)
        assert "objects were deleted" in caught.value.__notes__[-1]
        assert here.s3.in_flight == 0


# -- Cancelled anywhere --------------------------------------------------------------------------------------------


async def at_every_checkpoint(source: Source, way: Way, stride: int = 1) -> tuple[int, list[str]]:
    """Cancel at the first, the second, the third checkpoint …; gives how many there are, and all that was wrong."""
    wrong: list[str] = []
    with swept():
        for at in count(1, stride):
            async with world() as here:
                trial = await run(partial(here.delete, source), at=at, way=way)
                found = here.wrong(trial)
                if trial.kind is not None and not trial.cancelled:
                    found.append(f"exception {trial.kind.__name__}: {trial.text}")
                if here.known and trial.cancelled and f"{here.known} objects were deleted" not in "".join(trial.notes):
                    found.append(f"notes {trial.notes} of {here.known}")
                wrong += [f"{text} [checkpoint {at} of {source}, {way.value}]" for text in found]
            if not trial.fired:
                return trial.steps, wrong
    raise AssertionError


@EVERY_WAY
@EVERY_SOURCE
async def test_cancelled_anywhere(source: Source, way: Way, threads: InlineThreads) -> None:
    points, wrong = await at_every_checkpoint(source, way)
    assert wrong == []
    assert threads.abandoned == []
    assert points > 40


class IgnoresPrefixes(ListingS3):
    """Lists all that there is, whatever is asked."""

    def _listed(self, query: dict[str, str]) -> str:
        return super()._listed({name: value for name, value in query.items() if name != "prefix"})


class Finicky(ListingS3):
    """To delete what is not there is an error to it, as to GCS."""

    def _delete_object(self, call: Any) -> Any:
        return super()._delete_object(call) if call.path in self.objects else self._error(404, "NoSuchKey")


@asynccontextmanager
async def client_of(s3: ListingS3) -> AsyncIterator[S3Client]:
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        yield S3Client("http://s3.test", http, access_key_id="k", secret_access_key="s", max_attempts=1)


async def check_a_prefix_is_not_taken_for_the_bucket() -> None:
    s3 = IgnoresPrefixes()
    s3.fill("logs/1", "precious/1", "precious/2")
    async with client_of(s3) as client:
        with pytest.raises(InvalidResponse, match=r"'precious/1' is listed below the prefix 'logs/'"):
            await client.delete_prefix("bucket", prefix="logs/")
    assert set(s3.keys) >= {"precious/1", "precious/2"}


@EITHER
async def test_a_server_that_takes_no_notice_of_prefixes() -> None:
    """Found: all of the bucket was deleted."""
    await check_a_prefix_is_not_taken_for_the_bucket()


@EITHER
async def test_what_is_not_there_is_deleted() -> None:
    """To S3 that is a success, and so it is where a server calls it an error; a key with a blank goes alone."""
    async with client_of(Finicky()) as client:
        result = await client.delete_objects([" x"], "bucket")
    assert (result.count, result.errors) == (1, ())


@EITHER
async def test_mutation_what_is_listed_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = deletes._listed
    monkeypatch.setattr(deletes, "_listed", lambda pages, _: right(pages, ""))
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await check_a_prefix_is_not_taken_for_the_bucket()


# -- The checks can fail -------------------------------------------------------------------------------------------


async def _early(pages: Any, _: str) -> AsyncIterator[list[Any]]:
    async for page in pages:
        yield [(one.key, None) for one in page]


@EITHER
async def test_mutation_pages_are_deleted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletes, "_listed", _early)
    assert await tokens_lost(monkeypatch)


@EITHER
async def test_mutation_everything_goes_by_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletes, "is_carried", lambda _: True)
    async with world(max_attempts=1) as here:
        with pytest.raises(Exception):  # noqa: B017, PT011 - what the server makes of it
            await here.delete("list")
        assert here.s3.keys != ["b"]


def _forgetful(function: Callable[..., Any]) -> Callable[..., Any]:
    async def told(self: Any, *arguments: Any) -> Any:
        await function(self, *arguments)
        self.count = 0

    return told


@ON_TRIO_ONLY
async def test_mutation_what_was_deleted_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletes._Deletes, "_delete", _forgetful(deletes._Deletes._delete))
    _, wrong = await at_every_checkpoint("list", Way.TRIO, stride=5)
    assert any("notes" in text or "left" in text for text in wrong)


@ON_TRIO_ONLY
async def test_mutation_sources_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: object) -> None:
        pass

    monkeypatch.setattr(deletes, "_aclose", nothing)
    _, wrong = await at_every_checkpoint("async generator", Way.TRIO, stride=3)
    assert any(text.startswith("open") for text in wrong)
