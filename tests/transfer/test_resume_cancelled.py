"""A resumable download that is cancelled, or fails, at every place where it can.

The target is untouched or whole, and nothing is left but perhaps a part and its journal, which tell no lies: the next
attempt moves what they have not, and leaves the object and nothing else.
"""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import pytest

from handtruck.errors import UsageError
from handtruck.transfer.journal import Journal, read_journal
from handtruck.transfer.partial import JOURNAL, PART, PartialTarget
from tests.transfer.cancelling import (
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    OLD,
    ON_EVERY_LOOP,
    Lasting,
    World,
    at_every_checkpoint,
    left_behind,
    memory_client,
    not_our_error,
    not_the_cancellation,
    when_every_request_fails,
)
from tests.transfer.cancelling import PART as RANGE
from tests.transfer.checkpoints import InlineThreads, Trial, Way, run
from tests.transfer.memory_s3 import Fault
from tests.transfer.resuming import journal_of, names, part_of, stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import S3Client
    from handtruck.models import DownloadResult
    from tests.transfer.memory_s3 import MemoryS3

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("may_block")]


@pytest.fixture(autouse=True)
def _many_times(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Blocks that are smaller than a range; and what takes long some thousand times is left out."""
    caplog.set_level(logging.ERROR, "handtruck")  # "starting over"
    monkeypatch.setattr("handtruck.client.transfers.MIB", 1000)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # waits for a disk that others use, too


async def fetch(here: World) -> DownloadResult:
    return await here.client.download("b/k", here.target, part_size=RANGE, workers_count=2, resume=True)


async def nothing(_: S3Client, __: MemoryS3, target: Path) -> None:
    """There was no attempt before."""


async def an_attempt(client: S3Client, _: MemoryS3, target: Path) -> None:
    """There was one."""
    await stopped(client, target, 3000, part_size=RANGE, workers_count=2)


async def another_version(client: S3Client, server: MemoryS3, target: Path) -> None:
    """There was one, of another version of the object."""
    server.put("/b/k", DATA[::-1])
    await stopped(client, target, 3000, part_size=RANGE, workers_count=2)
    server.put("/b/k", DATA)


Before: TypeAlias = "Callable[[S3Client, MemoryS3, Path], Awaitable[None]]"


@asynccontextmanager
async def world(folder: Path, threads: InlineThreads, before: Before) -> AsyncIterator[World]:
    """Everything new, and what the attempt before has left."""
    async with memory_client() as (client, s3):
        here = World(s3, client, folder, threads)
        here.target.write_bytes(OLD)
        s3.put("/b/k", DATA)
        await before(client, s3, here.target)
        s3.calls.clear()
        here.begin()
        yield here
        for path in folder.iterdir():
            path.unlink()


def files_left(trial: Trial, target: Path) -> list[str]:
    """The target is untouched or whole; beside it lie a part and its journal, or nothing."""
    now, beside = target.read_bytes(), [name for name in names(target.parent) if name != target.name]
    found = [] if now in ((DATA,) if trial.kind is None else (OLD, DATA)) else [f"target {now!r:.40}"]
    allowed: list[list[str]] = [[]] if now == DATA else [[], [target.name + JOURNAL, target.name + PART]]
    found += [] if beside in allowed else [f"files {beside}"]
    if beside and target.name + JOURNAL in beside:
        read, part = read_journal(journal_of(target).read_bytes()), part_of(target).read_bytes()
        data = {f'"{etag}"': body for etag, body in ((_md5(DATA), DATA), (_md5(DATA[::-1]), DATA[::-1]))}
        lies = read is not None and [1 for a, b in read.ranges if part[a:b] != data[read.subject.etag][a:b]]
        found += ["a journal that lies"] if lies else []
        found += [] if read is not None and read.ranges else ["files of no use"]
    return found


def _md5(data: bytes) -> str:
    from hashlib import md5

    return md5(data, usedforsecurity=False).hexdigest()


async def after_it(here: World, trial: Trial) -> list[str]:
    """All that is wrong after an attempt that was cancelled or has failed, or with the attempt after it."""
    wrong = left_behind(here, trial) + files_left(trial, here.target)
    if here.target.read_bytes() == OLD:
        have = _usable(here.target)
        result = await fetch(here)
        wrong += [] if result.resumed == have else [f"resumed {result.resumed} of {have}"]
    wrong += [] if here.target.read_bytes() == DATA else ["a wrong file"]
    wrong += [] if names(here.folder) == [here.target.name] else [f"in the end {names(here.folder)}"]
    return wrong


def _usable(target: Path) -> int:
    """Bytes that need not be moved again."""
    read = read_journal(journal_of(target).read_bytes()) if journal_of(target).exists() else None
    if read is None or read.subject.etag != f'"{_md5(DATA)}"':
        return 0
    return min(read.covered, len(DATA) - 1)


async def after_cancellation(here: World, trial: Trial) -> list[str]:
    """All checks. What came at the same time becomes a note, and that the object had changed may come just then."""
    out = [text for text in not_the_cancellation(trial) if "object was replaced" not in text]
    return await after_it(here, trial) + out


async def after_failure(here: World, trial: Trial) -> list[str]:
    """All checks."""
    return await after_it(here, trial) + not_our_error(trial)


async def cancelled_everywhere(before: Before, way: Way, folder: Path, threads: InlineThreads) -> list[str]:
    """At the first, the second, the third checkpoint …; gives all that was wrong."""
    points, wrong = await at_every_checkpoint(partial(world, folder, threads, before), fetch, way, after_cancellation)
    assert points > 20
    return wrong


@EVERY_WAY
async def test_cancelled_at_every_checkpoint(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    assert not await cancelled_everywhere(nothing, way, tmp_path, threads)


@pytest.mark.parametrize("before", [an_attempt, another_version], ids=lambda before: before.__name__)
@BY_ITS_OWN_SCOPE
async def test_cancelled_when_it_was_cancelled_before(
    before: Before, way: Way, tmp_path: Path, threads: InlineThreads
) -> None:
    assert not await cancelled_everywhere(before, way, tmp_path, threads)


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("before", [nothing, an_attempt, another_version], ids=lambda before: before.__name__)
@ON_EVERY_LOOP
async def test_every_request_fails(before: Before, fault: Fault, tmp_path: Path, threads: InlineThreads) -> None:
    """Once, or with all that follow."""
    make = partial(world, tmp_path, threads, before)
    lasting = (Lasting.ONCE, Lasting.ALL)
    _, wrong = await when_every_request_fails(make, fetch, after_failure, faults=[fault], lasting=lasting)
    assert not wrong


# -- Mutations ---------------------------------------------------------------------------------------------------------


@BY_ITS_OWN_SCOPE
async def test_mutation_nothing_is_written_down(
    way: Way, tmp_path: Path, threads: InlineThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a part is removed of which something was there: no lie, but the tests must be able to tell."""
    monkeypatch.setattr(PartialTarget, "found", lambda _: None)
    wrong = await cancelled_everywhere(an_attempt, way, tmp_path, threads)
    assert [text for text in wrong if "resumed 0 of" in text]


@BY_ITS_OWN_SCOPE
async def test_mutation_a_part_is_always_kept(
    way: Way, tmp_path: Path, threads: InlineThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the journal says nothing."""
    monkeypatch.setattr(Journal, "is_blank", lambda _: False)
    monkeypatch.setattr(Journal, "add", lambda *_: None)
    wrong = await cancelled_everywhere(nothing, way, tmp_path, threads)
    assert [text for text in wrong if "files of no use" in text]


@BY_ITS_OWN_SCOPE
async def test_mutation_descriptors_stay_open(
    way: Way, tmp_path: Path, threads: InlineThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[PartialTarget] = []

    def keep(target: PartialTarget) -> None:
        kept.append(target)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(PartialTarget, "discard", keep)
            async with world(tmp_path, threads, nothing) as here:
                trial = await run(partial(fetch, here), at=30, way=way)
                wrong = await after_it(here, trial)
    except UsageError:
        wrong = ["descriptor"]  # so is the lock
    finally:
        for target in kept:
            target.discard()
    assert [text for text in wrong if text.startswith("descriptor")]
