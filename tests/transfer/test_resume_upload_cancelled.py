"""An upload with ``resume=True``, cancelled at every checkpoint or with every request failing, can be gone on with.

Afterwards no upload is open, or exactly the one of which the record speaks; nothing else is left behind. And the next
call finishes: the object is whole, no upload is open, no record is left.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread
import httpx
import pytest

import handtruck
from handtruck import _body, _session
from handtruck.credentials import StaticCredentials
from handtruck.errors import AccessDenied, HandtruckError
from handtruck.protocol import parts
from handtruck.transfer import multipart, records, resume
from handtruck.transfer.records import ENDING, read_record
from tests.transfer.checkpoints import ON_ASYNCIO, ON_TRIO, CountedThreads, InlineThreads, Trial, Way, cases, run, swept
from tests.transfer.memory_s3 import Call, Fault, MemoryS3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

PART: Final = 4096
DATA: Final = bytes(range(251)) * 44  # 11 044 bytes: two whole parts, and one that is not
OBJECT: Final = "/bucket/key"

Loop: TypeAlias = tuple[str, dict[str, bool]]
ASYNCIO: Final[Loop] = ("asyncio", {})
UVLOOP: Final[Loop] = ("asyncio", {"use_uvloop": True})
TRIO: Final[Loop] = ("trio", {})
LOOPS: Final = (("asyncio", ASYNCIO, ON_ASYNCIO), ("asyncio+uvloop", UVLOOP, ON_ASYNCIO), ("trio", TRIO, ON_TRIO))
EVERY_WAY: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    cases(LOOPS),
    indirect=["anyio_backend"],
)
BY_ITS_OWN_SCOPE: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    [pytest.param(ASYNCIO, Way.NATIVE, id="asyncio-Task.cancel"), pytest.param(TRIO, Way.TRIO, id="trio-trio scope")],
    indirect=["anyio_backend"],
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few KiB go the ways of large ones."""
    monkeypatch.setattr(parts, "MIN_PART_SIZE", 1024)
    monkeypatch.setattr(_body, "SLICE", 2500)
    monkeypatch.setattr(_session, "SMALL", 1024)
    monkeypatch.setattr(multipart, "_LOOK_AGAIN", 0)


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop() -> None:
    """Here the loop stands still for threads, so the guard of that name would complain."""


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> InlineThreads:
    """Threads that take the same steps in every run."""
    inline = InlineThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", inline.run_sync)
    monkeypatch.setattr(anyio.from_thread, "check_cancelled", lambda: None)
    return inline


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - called thousands of times


@dataclass
class World:
    """What the calls work on, new for every run."""

    s3: MemoryS3
    client: handtruck.S3Client
    source: Path
    threads: InlineThreads | CountedThreads
    descriptors: int = 0

    async def put(self, **arguments: Any) -> handtruck.UploadResult:
        """The call."""
        return await self.client.upload(OBJECT, self.source, part_size=PART, workers_count=2, resume=True, **arguments)

    @property
    def beside(self) -> list[Path]:
        """What is there beside the source."""
        return [path for path in self.source.parent.iterdir() if path != self.source]

    def recorded(self) -> list[str]:
        """The id of the upload that the record speaks of."""
        found = [read_record(path.read_bytes()) for path in self.beside if path.name.endswith(ENDING)]
        return [record.upload_id for record in found if record is not None]


@asynccontextmanager
async def world(folder: Path, threads: InlineThreads | CountedThreads) -> AsyncIterator[World]:
    """Everything new but the folder, and that as it was."""
    s3 = MemoryS3()
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        client._session.random = lambda: 0.0
        here = World(s3, client, folder / "source.bin", threads)
        if not here.source.exists():
            here.source.write_bytes(DATA)
        for path in here.beside:
            path.unlink()
        threads.abandoned.clear()
        here.descriptors = open_descriptors()
        yield here


# -- What is there before the call -----------------------------------------------------------------------------------


async def nothing(_: World) -> None:
    """The first call."""


async def a_part(here: World) -> None:
    """An upload of which one part is there."""
    await _failing(here, lambda call: Fault.REFUSED if call.part not in ("", "1") else None)


async def all_parts(here: World) -> None:
    """An upload that has all it needs."""
    await _failing(here, lambda call: Fault.REFUSED if call.operation == "CompleteMultipartUpload" else None)


async def a_damaged_part(here: World) -> None:
    """An upload whose first part is not what was sent."""
    await all_parts(here)
    here.s3.uploads["upload-1"].parts[1] = bytes(PART)


async def another_label(here: World) -> None:
    """An upload that is of no use any more."""
    await _failing(
        here, lambda call: Fault.REFUSED if call.part not in ("", "1") else None, headers={"x-amz-meta-a": "b"}
    )


async def an_upload_that_is_gone(here: World) -> None:
    """A record of an upload that somebody aborted."""
    await a_part(here)
    here.s3.uploads.clear()


async def completed_unheard(here: World) -> None:
    """A record of an upload that was completed, and nobody heard of it."""
    await _failing(
        here, lambda call: Fault.LOST if call.operation in ("CompleteMultipartUpload", "HeadObject") else None
    )
    assert not here.s3.uploads


async def _failing(here: World, fault: Callable[[Call], Fault | None], **arguments: Any) -> None:
    here.s3.fault = fault
    with pytest.raises(HandtruckError):
        await here.put(**arguments)
    here.s3.fault = None
    assert here.recorded() == ["upload-1"]


BEFORE: Final = (nothing, a_part, all_parts, a_damaged_part, another_label, an_upload_that_is_gone, completed_unheard)
EVERY_BEFORE: Final = pytest.mark.parametrize("before", BEFORE, ids=lambda before: before.__name__)


# -- The checks ------------------------------------------------------------------------------------------------------


def left_behind(here: World, trial: Trial) -> list[str]:
    """Whatever is there that should not be."""
    session = here.client._session
    found = [f"task {stray}" for stray in trial.strays]
    found += [f"thread {thread}" for thread in here.threads.abandoned]
    found += [f"answer {answer}" for answer in here.s3.answers]
    found += [f"request {here.s3.in_flight} in flight"] if here.s3.in_flight else []
    found += [f"token {session.places.taken} of places"] if session.places.taken else []
    found += [f"token {session.threads.borrowed_tokens} of threads"] if session.threads.borrowed_tokens else []
    if (now := open_descriptors()) != here.descriptors:
        found.append(f"descriptor {now - here.descriptors} more than before")
    found += [f"file {path.name}" for path in here.beside if not path.name.endswith(ENDING)]
    if len(here.beside) != len(here.recorded()):
        found.append("file: a record that says nothing")
    return found


def on_record(here: World, trial: Trial) -> list[str]:
    """Every open upload is that of the record, and the caller was told (if the call has come so far as to know)."""
    knows = bool(here.s3.calls)
    said = "\n".join([trial.text, *trial.notes])
    found = []
    for upload_id, one in here.s3.uploads.items():
        if one.known and upload_id not in here.recorded():
            found.append(f"open upload {upload_id}, not recorded")
        if knows and f"{upload_id} of bucket/key is kept" not in said and (one.known or "may remain" not in said):
            found.append(f"untold {upload_id}: {said}")
    if OBJECT in here.s3.objects and here.s3.objects[OBJECT][0] != DATA:
        found.append("object: it is not whole")
    if trial.kind is None and (here.s3.known_uploads() or here.beside or OBJECT not in here.s3.objects):
        found.append("done, and it is not")
    return found


async def the_next_call(here: World) -> list[str]:
    """It finishes."""
    here.s3.fault = None
    unheard = {upload_id for upload_id, one in here.s3.uploads.items() if not one.known}
    try:
        result = await here.put()
    except HandtruckError as error:
        return [f"next: {error}"]
    found = [] if here.s3.objects[OBJECT][0] == DATA and result.size == len(DATA) else ["next: the object is not whole"]
    found += [f"next: open upload {one}" for one in here.s3.uploads if one not in unheard]
    return found + [f"next: {path.name} is left" for path in here.beside]


async def after_cancellation(here: World, trial: Trial) -> list[str]:
    """All checks."""
    found = left_behind(here, trial) + on_record(here, trial)
    if trial.kind is not None and not trial.cancelled:
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found + await the_next_call(here)


async def at_every_checkpoint(
    folder: Path,
    threads: InlineThreads | CountedThreads,
    before: Callable[[World], Awaitable[None]],
    way: Way,
    *,
    stride: int = 1,
) -> tuple[int, list[str]]:
    """Cancel at the first, the second, the third checkpoint …; gives how many there are, and all that was wrong."""
    wrong: list[str] = []
    with swept():
        for at in count(1, stride):
            async with world(folder, threads) as here:
                await before(here)
                here.s3.calls.clear()
                trial = await run(here.put, at=at, way=way)
                wrong += [f"{text} [checkpoint {at}, {way.value}]" for text in await after_cancellation(here, trial)]
            if not trial.fired:
                return trial.steps, wrong
    raise AssertionError


# -- The tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", BEFORE[:2], ids=lambda before: before.__name__)
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(
    before: Callable[[World], Awaitable[None]], way: Way, tmp_path: Path, threads: InlineThreads
) -> None:
    """The promise of ``resume=True``."""
    points, wrong = await at_every_checkpoint(tmp_path, threads, before, way)
    assert not wrong
    assert points > 20


@pytest.mark.parametrize("before", BEFORE[2:], ids=lambda before: before.__name__)
@BY_ITS_OWN_SCOPE
async def test_cancelled_with_more_to_find_out(
    before: Callable[[World], Awaitable[None]], way: Way, tmp_path: Path, threads: InlineThreads
) -> None:
    """The same, by fewer ways."""
    _, wrong = await at_every_checkpoint(tmp_path, threads, before, way)
    assert not wrong


@pytest.mark.parametrize("before", [nothing, a_part], ids=lambda before: before.__name__)
@BY_ITS_OWN_SCOPE
async def test_cancelled_with_real_threads(
    before: Callable[[World], Awaitable[None]], way: Way, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of the same, with threads that take their time."""
    threads = CountedThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", threads.run_sync)
    async with world(tmp_path, threads) as here:
        await here.put()  # the loop keeps a descriptor or two for its threads
    _, wrong = await at_every_checkpoint(tmp_path, threads, before, way, stride=5)
    assert not wrong


@EVERY_BEFORE
@pytest.mark.parametrize(
    "anyio_backend", [ASYNCIO, UVLOOP, TRIO], ids=["asyncio", "asyncio+uvloop", "trio"], indirect=True
)
async def test_every_request_fails(
    before: Callable[[World], Awaitable[None]], tmp_path: Path, threads: InlineThreads
) -> None:
    """In every way: that once, or with all that follow."""
    wrong: list[str] = []
    tries = 0
    with swept():
        for fault, lasting in product(Fault, (False, True)):
            for number in count(1):
                async with world(tmp_path, threads) as here:
                    await before(here)
                    here.s3.calls.clear()
                    here.s3.fault = partial(_from, number, fault, lasting)
                    trial = await run(here.put)
                    hit = len(here.s3.calls) >= number
                    found = left_behind(here, trial) + on_record(here, trial) + await the_next_call(here)
                    wrong += [f"{text} [{fault} of request {number}, {lasting=}: {trial}]" for text in found]
                if not hit:
                    break
                tries += 1
    assert not wrong
    assert tries >= 2 * len(Fault)


def _from(number: int, fault: Fault, lasting: bool, call: Call) -> Fault | None:
    return fault if call.number == number or (lasting and call.number > number) else None


class Interrupt(BaseException):
    """As KeyboardInterrupt, but one that does not end the test's own event loop."""


async def test_interrupted(tmp_path: Path, threads: InlineThreads) -> None:
    """That keeps it, too, and comes out as it is."""

    def interrupt(_: handtruck.Progress) -> None:
        raise Interrupt

    async with world(tmp_path, threads) as here:
        with pytest.raises(Interrupt):
            await here.put(progress=interrupt)
        assert here.recorded() == list(here.s3.uploads) == ["upload-1"]
        assert not await the_next_call(here)


# -- Mutations -------------------------------------------------------------------------------------------------------


async def _left_alone(job: resume.FileUpload, error: BaseException) -> None:
    """Neither kept nor undone."""


async def _always_kept(job: resume.FileUpload, error: BaseException) -> None:
    error.add_note(f"handtruck: {job.multipart.upload_id} of bucket/key is kept")


async def _raises(*_: object) -> None:
    raise AccessDenied("instead", status=403)


MUTATIONS: Final = (
    ("kept though it is not recorded", resume.FileUpload, "_leave", _always_kept, "open upload"),
    ("nobody is told", resume.FileUpload, "_leave", _left_alone, "untold"),
    ("the record is not closed", records.RecordFile, "close", lambda _: None, "descriptor"),
    ("an error instead of the cancellation", resume.FileUpload, "_leave", _raises, "untold"),
)


@pytest.mark.parametrize(
    ("owner", "name", "instead", "shows"), [one[1:] for one in MUTATIONS], ids=[one[0] for one in MUTATIONS]
)
@BY_ITS_OWN_SCOPE
async def test_mutation(
    owner: Any,
    name: str,
    instead: Any,
    shows: str,
    way: Way,
    tmp_path: Path,
    threads: InlineThreads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guarantee broken, its check is red."""
    monkeypatch.setattr(owner, name, instead)
    _, wrong = await at_every_checkpoint(tmp_path, threads, nothing, way)
    assert [text for text in wrong if text.startswith(shows)]
