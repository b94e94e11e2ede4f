"""An upload with ``resume=True``, cancelled at every checkpoint or with every request failing, can be gone on with.

Afterwards no upload is open, or exactly the one of which the record speaks; nothing else is left behind. And the next
call finishes: the object is whole, no upload is open, no record is left.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from handtruck.errors import AccessDenied, HandtruckError
from handtruck.transfer import records, resume
from handtruck.transfer.records import ENDING, read_record
from tests.transfer import cancelling
from tests.transfer.cancelling import (
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    OBJECT,
    ON_EVERY_LOOP,
    PART,
    Lasting,
    at_every_checkpoint,
    left_behind,
    memory_client,
    when_every_request_fails,
)
from tests.transfer.memory_s3 import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import Progress, UploadResult
    from tests.transfer.checkpoints import CountedThreads, InlineThreads, Trial, Way
    from tests.transfer.memory_s3 import Call

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60), pytest.mark.usefixtures("small", "may_block")]


class World(cancelling.World):
    """With what may lie beside the source."""

    async def put(self, **arguments: Any) -> UploadResult:
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

    def left(self) -> list[str]:
        """Anything but a record that says something."""
        found = super().left() + [f"file {path.name}" for path in self.beside if not path.name.endswith(ENDING)]
        return found + (["file: a record that says nothing"] if len(self.beside) != len(self.recorded()) else [])


Before: TypeAlias = "Callable[[World], Awaitable[None]]"


async def nothing(_: World) -> None:
    """The first call."""


@asynccontextmanager
async def world(
    folder: Path, threads: InlineThreads | CountedThreads, before: Before = nothing
) -> AsyncIterator[World]:
    """Everything new but the folder, and that as the call before has left it."""
    async with memory_client() as (client, s3):
        here = World(s3, client, folder, threads)
        if not here.source.exists():
            here.source.write_bytes(DATA)
        for path in here.beside:
            path.unlink()
        here.begin()
        await before(here)
        s3.calls.clear()
        yield here


# -- What is there before the call -----------------------------------------------------------------------------------


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


async def after_failure(here: World, trial: Trial) -> list[str]:
    """All checks."""
    return left_behind(here, trial) + on_record(here, trial) + await the_next_call(here)


async def after_cancellation(here: World, trial: Trial) -> list[str]:
    """All checks; and the cancellation has come out."""
    found = left_behind(here, trial) + on_record(here, trial)
    if trial.kind is not None and not trial.cancelled:
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found + await the_next_call(here)


# -- The tests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", BEFORE[:2], ids=lambda before: before.__name__)
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(before: Before, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """The promise of ``resume=True``."""
    points, wrong = await at_every_checkpoint(
        partial(world, tmp_path, threads, before), World.put, way, after_cancellation
    )
    assert not wrong
    assert points > 20


@pytest.mark.parametrize("before", BEFORE[2:], ids=lambda before: before.__name__)
@BY_ITS_OWN_SCOPE
async def test_cancelled_with_more_to_find_out(
    before: Before, way: Way, tmp_path: Path, threads: InlineThreads
) -> None:
    """The same, by fewer ways."""
    _, wrong = await at_every_checkpoint(partial(world, tmp_path, threads, before), World.put, way, after_cancellation)
    assert not wrong


@pytest.mark.parametrize("before", [nothing, a_part], ids=lambda before: before.__name__)
@BY_ITS_OWN_SCOPE
async def test_cancelled_with_real_threads(
    before: Before, way: Way, tmp_path: Path, real_threads: CountedThreads
) -> None:
    """A sample of the same, with threads that take their time."""
    async with world(tmp_path, real_threads) as here:
        await here.put()  # the loop keeps a descriptor or two for its threads
    make = partial(world, tmp_path, real_threads, before)
    _, wrong = await at_every_checkpoint(make, World.put, way, after_cancellation, stride=5)
    assert not wrong


@EVERY_BEFORE
@ON_EVERY_LOOP
async def test_every_request_fails(before: Before, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way: that once, or with all that follow."""
    make = partial(world, tmp_path, threads, before)
    lasting = (Lasting.ONCE, Lasting.ALL)
    tries, wrong = await when_every_request_fails(make, World.put, after_failure, lasting=lasting)
    assert not wrong
    assert tries >= 2 * len(Fault)


class Interrupt(BaseException):
    """As KeyboardInterrupt, but one that does not end the test's own event loop."""


async def test_interrupted(tmp_path: Path, threads: InlineThreads) -> None:
    """That keeps it, too, and comes out as it is."""

    def interrupt(_: Progress) -> None:
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
    _, wrong = await at_every_checkpoint(partial(world, tmp_path, threads), World.put, way, after_cancellation)
    assert [text for text in wrong if text.startswith(shows)]
