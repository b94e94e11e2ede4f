"""``download(resume=True)``: what an attempt leaves, and what the next one makes of it.

Whatever happened before, the file that is there in the end is the object as it is now, and nothing lies beside it.
Until then the target is what it was. Bytes that the journal has are not moved again.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.errors import HandtruckError, InvalidResponse, NotFound, PreconditionFailed
from handtruck.models import DownloadResult, Progress
from handtruck.protocol import operations
from handtruck.transfer import partial as partial_module
from handtruck.transfer.journal import read_journal
from handtruck.transfer.partial import JOURNAL, PART, PartialTarget
from tests.scripted import Reply, Request, TinyS3, store, truncated
from tests.transfer.cancelling import memory_client
from tests.transfer.resuming import (
    BODY,
    OLD,
    OTHER,
    STEP,
    Stop,
    covered,
    get,
    journal_of,
    left,
    moved,
    names,
    part_of,
    stopped,
    true,
    untouched,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from handtruck import S3Client
    from tests.transfer.memory_s3 import MemoryS3

pytestmark = pytest.mark.anyio


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> Path:
    """A file that exists before it is downloaded to."""
    target = tmp_path / "target"
    target.write_bytes(OLD)
    return target


# -- Going on ----------------------------------------------------------------------------------------------------------


async def goes_on(s3: S3Client, tiny: TinyS3, target: Path, after: int, **options: Any) -> None:
    """The promise: only what is missing, of the same version."""
    etag = tiny.put("b/k", BODY)
    await stopped(s3, target, after, **options)
    assert left(target)
    assert true(target)
    have = min(covered(target), len(BODY) - 1)  # the last one tells whether the object is still the same
    assert have >= min(after, len(BODY) - 1)
    before = len(tiny.calls)
    result = await get(s3, target, **options)
    again = tiny.sent("GetObject")[before:]
    assert whole(target)
    assert result == DownloadResult(path=target, size=len(BODY), etag=etag, resumed=have)
    assert moved(again) == len(BODY) - have
    assert {request.header("if-match") for request in again} == {etag}


@pytest.mark.parametrize("after", [1, STEP, STEP + 1, 3 * STEP, 5 * STEP])
@pytest.mark.parametrize("options", [{}, {"workers_count": 3}, {"fsync": True}], ids=str)
async def test_it_goes_on_where_it_stopped(target: Path, after: int, options: dict[str, Any]) -> None:
    async with store() as (s3, tiny):
        await goes_on(s3, tiny, target, after, **options)


async def test_again_and_again(target: Path) -> None:
    """Each attempt goes on where the last one stopped, whatever its parts; no byte is moved twice."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        for after, step in ((1000, 500), (2100, 700), (3000, 100), (4990, 1000)):
            await stopped(s3, target, after, part_size=step)
            assert left(target)
            assert true(target)
        await get(s3, target)
        assert whole(target)
        assert moved(tiny.sent("GetObject")) == len(BODY)


async def test_a_file_that_was_not_there(tmp_path: Path) -> None:
    target = tmp_path / "new"
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, STEP)
        assert names(tmp_path) == ["new" + JOURNAL, "new" + PART]
        await get(s3, target)
        assert whole(target)


async def test_nothing_was_interrupted(target: Path) -> None:
    async with store() as (s3, tiny):
        for body in (BODY, BODY[:STEP], BODY[:1], b""):
            tiny.put("b/k", body)
            result = await get(s3, target)
            assert (result.size, result.resumed) == (len(body), 0)
            assert whole(target, body)


async def test_without_resume_nothing_is_taken_up(target: Path) -> None:
    """And nothing is removed: it may be another's."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, STEP)
        result = await get(s3, target, resume=False)
        assert (target.read_bytes(), result.resumed) == (BODY, 0)
        assert covered(target) >= STEP
        assert (await get(s3, target)).resumed >= STEP
        assert whole(target)


async def test_answers_that_break_off(target: Path) -> None:
    """An attempt that gives up by itself leaves what it has."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: truncated(tiny.GetObject(r, "b/k"), 100))
        with pytest.raises((HandtruckError, httpx.HTTPError)):
            await get(s3, target)
        assert left(target)
        assert true(target)
        have = covered(target)
        assert have >= 100
        tiny.hooks.clear()
        assert (await get(s3, target)).resumed == have
        assert whole(target)


# -- Other objects -----------------------------------------------------------------------------------------------------


async def starts_over(s3: S3Client, tiny: TinyS3, target: Path, change: Callable[[], object]) -> None:
    tiny.put("b/k", BODY)
    await stopped(s3, target, 3 * STEP)
    change()
    result = await get(s3, target)
    assert result.resumed == 0
    assert result.etag == (tiny.objects["b/k"].etag if result.size else None)  # a 416 tells none
    assert whole(target, tiny.objects["b/k"].data)


@pytest.mark.parametrize("body", [OTHER, OTHER[:10], b"", OTHER * 2], ids=["same size", "short", "empty", "long"])
async def test_the_object_has_changed(target: Path, caplog: pytest.LogCaptureFixture, body: bytes) -> None:
    async with store() as (s3, tiny):
        with caplog.at_level(logging.WARNING, "handtruck"):
            await starts_over(s3, tiny, target, lambda: tiny.put("b/k", body))
        assert [record.getMessage() for record in caplog.records if "starting over" in record.getMessage()]


async def test_a_server_that_ignores_if_match(target: Path) -> None:
    """The ETag of its answer says it."""

    def careless(request: Request) -> Reply:
        request.headers = [pair for pair in request.headers if pair[0].lower() != "if-match"]
        return tiny.GetObject(request, "b/k")

    async with store() as (s3, tiny):
        tiny.on("GetObject", careless)
        await starts_over(s3, tiny, target, lambda: tiny.put("b/k", OTHER))


async def test_it_changes_while_it_is_resumed(target: Path) -> None:
    """As without ``resume``; what is there is of no version that exists any more, and the next attempt sees that."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, STEP)
        with pytest.raises(PreconditionFailed):
            await get(s3, target, progress=lambda told: tiny.put("b/k", OTHER) if told.done > 2 * STEP else None)
        assert target.read_bytes() == OLD
        assert (await get(s3, target)).resumed == 0
        assert whole(target, OTHER)


async def test_the_object_was_deleted(target: Path) -> None:
    """What is there stays: it may come back."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP)
        del tiny.objects["b/k"]
        with pytest.raises(NotFound):
            await get(s3, target)
        assert left(target)
        tiny.put("b/k", BODY)
        assert (await get(s3, target)).resumed >= 2 * STEP
        assert whole(target)


async def test_an_object_that_never_was(target: Path) -> None:
    async with store() as (s3, _):
        with pytest.raises(NotFound):
            await get(s3, target)
        assert untouched(target)


async def test_another_object_with_the_same_target(target: Path) -> None:
    """Even one of the same size and ETag."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.put("b/other", OTHER)
        tiny.objects["b/other"].etag = tiny.objects["b/k"].etag
        await stopped(s3, target, 3 * STEP)
        assert (await get(s3, target, name="b/other")).resumed == 0
        assert whole(target, OTHER)


async def test_the_callers_own_condition(target: Path) -> None:
    """Found: of another version than the caller wants, a part was made whole."""
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY)
        await stopped(s3, target, STEP)
        with pytest.raises(PreconditionFailed):
            await get(s3, target, headers={"If-Match": '"another"'})
        assert target.read_bytes() == OLD
        await get(s3, target, headers={"If-Match": etag})
        assert whole(target)


# -- Other files -------------------------------------------------------------------------------------------------------


async def test_all_bytes_are_there(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed just before the rename. One byte is asked for: that tells whether the object is still the same."""

    def killed(*_: object, **__: object) -> None:
        raise Stop

    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY)
        with monkeypatch.context() as patch:
            patch.setattr(PartialTarget, "commit", killed)
            with pytest.raises(Stop):
                await get(s3, target)
        assert covered(target) == len(BODY)
        before = len(tiny.calls)
        assert (await get(s3, target)).resumed == len(BODY) - 1
        (again,) = tiny.sent("GetObject")[before:]
        assert (again.header("range"), again.header("if-match")) == ("bytes=5019-5019", etag)
        assert whole(target)


@pytest.mark.parametrize("body", [OTHER, b""], ids=["changed", "empty"])
async def test_all_bytes_are_there_of_what_is_no_more(
    target: Path, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise Stop

    async with store() as (s3, tiny):
        for data in (BODY, BODY[:1]):  # one byte, and none is left of it
            tiny.put("b/k", data)
            with monkeypatch.context() as patch:
                patch.setattr(PartialTarget, "commit", killed)
                with pytest.raises(Stop):
                    await get(s3, target)
            tiny.put("b/k", body)
            assert (await get(s3, target)).resumed == 0
            assert whole(target, body)


@pytest.mark.parametrize("size", [0, 1, STEP, 3 * STEP - 1])
async def test_a_part_that_was_cut_off(target: Path, size: int) -> None:
    async with store() as (s3, tiny):
        await starts_over(s3, tiny, target, lambda: os.truncate(part_of(target), size))


async def test_a_part_that_has_grown(target: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 3 * STEP)
        with part_of(target).open("ab") as part:
            part.write(b"more" * 100)
        assert (await get(s3, target)).resumed >= 3 * STEP
        assert whole(target)


async def test_copies_of_a_part_and_its_journal(target: Path) -> None:
    """They may be of different moments: a part is as long from the beginning as it will be."""

    def copied() -> None:
        for path in (part_of(target), journal_of(target)):
            data = path.read_bytes()
            path.rename(target.parent.parent / f"{target.parent.name}{path.suffix}")  # keeps its inode to itself
            path.write_bytes(data)

    async with store() as (s3, tiny):
        await starts_over(s3, tiny, target, copied)


async def test_the_machine_was_started_again(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not on the disk by then may be in the journal all the same."""
    async with store() as (s3, tiny):
        await starts_over(s3, tiny, target, lambda: restarted(monkeypatch))


def restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_module, "_boot", lambda: "another start")


async def test_the_machine_was_started_again_but_all_was_on_the_disk(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP, fsync=True)
        restarted(monkeypatch)
        assert (await get(s3, target)).resumed >= 2 * STEP
        assert whole(target)


async def test_an_attempt_without_fsync_behind_one_with(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found: its lines were believed as if their bytes had been on the disk."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP, fsync=True)
        durable = covered(target)
        await stopped(s3, target, 4 * STEP)
        restarted(monkeypatch)
        assert (await get(s3, target)).resumed <= durable
        assert whole(target)


async def test_an_attempt_with_fsync_behind_one_without(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found: what it had written to the disk was not believed."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP)
        await stopped(s3, target, 4 * STEP, fsync=True)
        restarted(monkeypatch)
        assert (await get(s3, target)).resumed >= 2 * STEP - 1
        assert whole(target)


@pytest.mark.parametrize("ending", [PART, JOURNAL])
async def test_one_without_the_other(target: Path, ending: str) -> None:
    async with store() as (s3, tiny):
        await starts_over(s3, tiny, target, lambda: target.with_name(target.name + ending).unlink())


async def test_a_journal_cut_off_anywhere(target: Path) -> None:
    """What its whole lines say is not moved again; and from then on it is kept as if nothing had been.

    Found: lines behind a torn one are no lines, so that every further attempt began where this one had.
    """
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        for cut in range(0, 200, 7):
            await stopped(s3, target, 2 * STEP)
            lines = journal_of(target).read_bytes()
            journal_of(target).write_bytes(lines[:cut])
            have = covered(target)
            before = len(tiny.calls)
            await stopped(s3, target, have + 2 * STEP)
            assert true(target)
            assert covered(target) >= have + 2 * STEP
            await get(s3, target)
            assert moved(tiny.sent("GetObject")[before:]) == len(BODY) - have
            assert whole(target)
            target.write_bytes(OLD)


async def test_a_journal_of_nonsense(target: Path) -> None:
    async with store() as (s3, tiny):
        await starts_over(s3, tiny, target, lambda: journal_of(target).write_bytes(b"\0nonsense\n" * 99))


ACTS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("stop"), st.integers(1, len(BODY) - 1)),
        st.tuples(st.just("change"), st.booleans()),
        st.tuples(st.just("cut part"), st.integers(0, len(BODY))),
        st.tuples(st.just("cut journal"), st.integers(0, 300)),
        st.tuples(st.just("unlink"), st.sampled_from([PART, JOURNAL])),
        st.tuples(st.just("other"), st.integers(1, len(BODY) - 1)),
    ),
    max_size=6,
)


@settings(derandomize=True, max_examples=60, deadline=None)
@given(ACTS)
def test_whatever_happened_before(tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]) -> None:
    """The file is the object."""
    target = tmp_path_factory.mktemp("acts") / "target"
    target.write_bytes(OLD)

    async def play() -> None:
        async with memory_client() as (s3, server):
            server.put("/b/k", BODY)
            server.put("/b/other", OTHER)
            for act, how in acts:
                await _play(act, how, s3, server, target)
                assert target.read_bytes() == OLD
            assert (await get(s3, target)).size == len(BODY)
            assert whole(target, server.objects["/b/k"][0])

    anyio.run(play)


async def _play(act: str, how: Any, s3: S3Client, server: MemoryS3, target: Path) -> None:
    match act:
        case "stop":
            await stopped(s3, target, how)
        case "other":
            await stopped(s3, target, how, name="b/other")
        case "change":
            server.put("/b/k", OTHER if how else BODY)
        case "cut part":
            if part_of(target).exists() and part_of(target).stat().st_size > how:
                os.truncate(part_of(target), how)
        case "cut journal":
            if journal_of(target).exists() and journal_of(target).stat().st_size > how:
                os.truncate(journal_of(target), how)
        case "unlink":
            target.with_name(target.name + how).unlink(missing_ok=True)


# -- Objects that cannot be resumed ------------------------------------------------------------------------------------


def weak(tiny: TinyS3, request: Request) -> Reply:
    return tiny.GetObject(request, "b/k").plus(("ETag", 'W/"weak"'))


def nameless(tiny: TinyS3, request: Request) -> Reply:
    return tiny.GetObject(request, "b/k").plus(("ETag", None))


def rangeless(tiny: TinyS3, request: Request) -> Reply:
    found = tiny.objects["b/k"]
    return Reply(headers=(("ETag", found.etag),), body=found.data)


@pytest.mark.parametrize("server", [weak, nameless, rangeless], ids=lambda each: each.__name__)
async def test_what_cannot_be_resumed_leaves_nothing(target: Path, server: Callable[[TinyS3, Request], Reply]) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(server, tiny))
        await stopped(s3, target, 1)
        assert untouched(target)
        assert (await get(s3, target)).resumed == 0
        assert whole(target)


@pytest.mark.parametrize("server", [weak, nameless, rangeless], ids=lambda each: each.__name__)
async def test_a_server_that_was_another_one(target: Path, server: Callable[[TinyS3, Request], Reply]) -> None:
    """What was begun with a better one is of no use.

    Found: one that ignores ranges made every further attempt fail, and the part stayed.
    """
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP)
        tiny.on("GetObject", partial(server, tiny))
        assert (await get(s3, target)).resumed == 0
        assert whole(target)


# -- Progress ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [1, 2 * STEP, 5 * STEP])
@pytest.mark.parametrize("workers", [1, 3])
async def test_progress_begins_with_what_was_there(target: Path, after: int, workers: int) -> None:
    told: list[Progress] = []
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, after)
        have = covered(target)
        await get(s3, target, progress=told.append, workers_count=workers)
    done = [each.done for each in told]
    assert done[0] == have
    assert done == sorted(set(done))
    assert {each.total for each in told} == {len(BODY)}
    assert told[-1] == Progress(done=len(BODY), total=len(BODY))


async def test_progress_that_starts_over(target: Path) -> None:
    """From then on it is that of a download that begins."""
    told: list[Progress] = []
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP)
        tiny.put("b/k", OTHER)
        await get(s3, target, progress=told.append)
    done = [each.done for each in told[told[0].done == 2 * STEP :]]
    assert done == [1000, 2000, 3000, 4000, 5000, 5020]


@pytest.mark.parametrize("make", [lambda: PreconditionFailed("mine", status=412), lambda: InvalidResponse("mine")])
@pytest.mark.parametrize("nth", [1, 2])
async def test_what_progress_raises_starts_nothing_over(target: Path, make: Callable[[], Exception], nth: int) -> None:
    failure, told = make(), list[Progress]()

    def progress(progress: Progress) -> None:
        told.append(progress)
        if len(told) == nth:
            raise failure

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP)
        with pytest.raises(type(failure)) as caught:
            await get(s3, target, progress=progress)
        assert caught.value is failure
        assert left(target)
        assert covered(target) >= 2 * STEP


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def test_mutation_any_version_will_do(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without If-Match, an ETag that nobody compares is all that is left."""
    right = operations.get_object

    def bare(location: Any, headers: operations.Headers, *query: Any) -> Any:
        return right(location, tuple(pair for pair in headers if pair[0] != "If-Match"), *query)

    monkeypatch.setattr(operations, "get_object", bare)
    async with store() as (s3, tiny):
        with pytest.raises(AssertionError):
            await goes_on(s3, tiny, target, 2 * STEP)


async def test_mutation_neither_guard(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of two versions, and the check sees it."""
    right = operations.get_object

    def bare(location: Any, headers: operations.Headers, *query: Any) -> Any:
        return right(location, tuple(pair for pair in headers if pair[0] != "If-Match"), *query)

    monkeypatch.setattr(operations, "get_object", bare)
    monkeypatch.setattr("handtruck.transfer.fetch.same_etag", lambda *_: True)
    async with store() as (s3, tiny):
        with pytest.raises(AssertionError):
            await starts_over(s3, tiny, target, lambda: tiny.put("b/k", OTHER))
    assert target.read_bytes() == BODY[: 3 * STEP] + OTHER[3 * STEP :]


async def test_mutation_what_is_found_is_not_asked_for_again(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all bytes were there, nobody would ask whether they are still the object's."""
    monkeypatch.setattr("handtruck.transfer.journal.Read.without_last_byte", lambda read: read)
    with pytest.raises(AssertionError):
        await test_all_bytes_are_there_of_what_is_no_more(target, monkeypatch, OTHER)


async def test_mutation_a_part_of_which_much_is_missing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holes would be zeros."""
    monkeypatch.setattr(PartialTarget, "found", lambda mine: read_journal(mine._lines.read_bytes()))
    async with store() as (s3, tiny):
        with pytest.raises(AssertionError):
            await starts_over(s3, tiny, target, lambda: os.truncate(part_of(target), STEP))
