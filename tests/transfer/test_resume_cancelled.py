"""A resumable download that is cancelled, or fails, at every place where it can.

The target is untouched or whole, and nothing is left but perhaps a part and its journal, which tell no lies: the next
attempt moves what they have not, and leaves the object and nothing else.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import pytest

from handtruck.errors import HandtruckError, UsageError
from handtruck.transfer.journal import Journal, read_journal
from handtruck.transfer.partial import JOURNAL, PART, PartialTarget
from tests.transfer.checkpoints import ON_ASYNCIO, ON_TRIO, InlineThreads, Trial, Way, cases, run, swept
from tests.transfer.memory_s3 import Call, Fault, MemoryS3
from tests.transfer.resuming import (
    OLD,
    journal_of,
    memory_client,
    names,
    open_descriptors,
    part_of,
    stopped,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from handtruck import S3Client
    from handtruck.models import DownloadResult

pytestmark = pytest.mark.anyio


DATA: Final = bytes(range(251)) * 44  # 11 044 bytes: two whole ranges, and one that is not
RANGE: Final = 4096

Loop: TypeAlias = tuple[str, dict[str, bool]]
LOOPS: Final[tuple[tuple[str, Loop, tuple[Way, ...]], ...]] = (
    ("asyncio", ("asyncio", {}), ON_ASYNCIO),
    ("asyncio+uvloop", ("asyncio", {"use_uvloop": True}), ON_ASYNCIO),
    ("trio", ("trio", {}), ON_TRIO),
)
BY_LOOP: Final = pytest.mark.parametrize(
    "anyio_backend", [loop for _, loop, _ in LOOPS], ids=[name for name, _, _ in LOOPS], indirect=True
)
BY_ITS_OWN_SCOPE: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    [(("asyncio", {}), Way.NATIVE), (("trio", {}), Way.TRIO)],
    ids=["asyncio-Task.cancel", "trio-trio scope"],
    indirect=["anyio_backend"],
)
EVERY_WAY: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    cases(LOOPS),
    indirect=["anyio_backend"],
)


@pytest.fixture(name="threads")
def _threads(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> InlineThreads:
    """Threads that take the same steps in every run, and blocks that are smaller than a range."""
    caplog.set_level(logging.ERROR, "handtruck")  # "starting over", some thousand times
    inline = InlineThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", inline.run_sync)
    monkeypatch.setattr(anyio.from_thread, "check_cancelled", lambda: None)
    monkeypatch.setattr("handtruck.client.transfers.MIB", 1000)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # some thousand waits for a disk that others use, too
    return inline


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> None:
    """Here the loop stands still for threads, so the guard of that name would complain."""


async def fetch(client: S3Client, target: Path) -> DownloadResult:
    return await client.download("b/k", target, part_size=RANGE, workers_count=2, resume=True)


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


def leftovers(client: S3Client, server: MemoryS3, threads: InlineThreads, trial: Trial, descriptors: int) -> list[str]:
    """Whatever is there that should not be, files aside."""
    session = client._session
    found = [*trial.strays, *threads.abandoned, *map(repr, server.answers)]
    found += [f"{server.in_flight} in flight"] if server.in_flight else []
    found += ["places"] if session.places.taken else []
    found += ["thread tokens"] if session.threads.borrowed_tokens else []
    found += ["descriptors"] if open_descriptors() != descriptors else []
    return found


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


async def one_trial(
    folder: Path,
    threads: InlineThreads,
    before: Before,
    *,
    at: int = 0,
    way: Way = Way.ANYIO,
    fault: Callable[[Call], Fault | None] | None = None,
) -> tuple[Trial, list[str]]:
    """An attempt, cancelled or made to fail; gives all that was wrong, then or with the attempt after it."""
    target = folder / "target"
    target.write_bytes(OLD)
    async with memory_client() as (client, server):
        server.put("/b/k", DATA)
        await before(client, server, target)
        threads.abandoned.clear()
        descriptors = open_descriptors()
        server.fault = fault
        trial = await run(partial(fetch, client, target), at=at, way=way)
        server.fault = None
        wrong = leftovers(client, server, threads, trial, descriptors) + files_left(trial, target)
        if target.read_bytes() == OLD:
            have = _usable(target)
            result = await fetch(client, target)
            wrong += [] if result.resumed == have else [f"resumed {result.resumed} of {have}"]
        wrong += [] if target.read_bytes() == DATA else ["a wrong file"]
        wrong += [] if names(folder) == [target.name] else [f"in the end {names(folder)}"]
        for path in folder.iterdir():
            path.unlink()
    return trial, wrong


def _usable(target: Path) -> int:
    """Bytes that need not be moved again."""
    read = read_journal(journal_of(target).read_bytes()) if journal_of(target).exists() else None
    if read is None or read.subject.etag != f'"{_md5(DATA)}"':
        return 0
    return min(read.covered, len(DATA) - 1)


async def cancelled_everywhere(before: Before, way: Way, folder: Path, threads: InlineThreads) -> list[str]:
    """At the first, the second, the third checkpoint …; gives all that was wrong."""
    wrong: list[str] = []
    trial = Trial()
    with swept():
        for at in count(1):
            trial, found = await one_trial(folder, threads, before, at=at, way=way)
            if trial.kind is not None and not trial.cancelled:
                found.append(f"exception {trial.kind.__name__}: {trial.text}")
            # What came at the same time becomes a note, and that the object had changed may come just then.
            found += [note for note in trial.notes if "object was replaced" not in note]
            wrong += [f"{text} [checkpoint {at}]" for text in found]
            if not trial.fired:
                break
    assert trial.steps > 20
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


@dataclass
class Failing:
    """The ``number``-th request fails, or all from there on do."""

    fault: Fault
    number: int
    lasting: bool
    seen: int = 0

    def __call__(self, _: Call) -> Fault | None:
        self.seen += 1
        hit = self.seen >= self.number if self.lasting else self.seen == self.number
        return self.fault if hit else None


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("before", [nothing, an_attempt, another_version], ids=lambda before: before.__name__)
@BY_LOOP
async def test_every_request_fails(before: Before, fault: Fault, tmp_path: Path, threads: InlineThreads) -> None:
    """Once, or with all that follow."""
    wrong: list[str] = []
    with swept():
        for lasting in (False, True):
            for number in count(1):
                failing = Failing(fault, number, lasting)
                trial, found = await one_trial(tmp_path, threads, before, fault=failing)
                if trial.kind is not None and not issubclass(trial.kind, HandtruckError):
                    found.append(f"exception {trial.kind.__name__}: {trial.text}")
                wrong += [f"{text} [{failing}]" for text in found]
                if failing.seen < number:
                    break
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
            _, wrong = await one_trial(tmp_path, threads, nothing, at=30, way=way)
    except UsageError:
        wrong = ["descriptors"]  # so is the lock
    finally:
        for target in kept:
            target.discard()
    assert "descriptors" in wrong
