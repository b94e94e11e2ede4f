"""Readers, cancelled at every checkpoint, or with every request failing: nothing is left behind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest
from anyio.lowlevel import checkpoint

from tests.transfer.cancelling import (
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    OBJECT,
    ON_EVERY_LOOP,
    Job,
    JobWorld,
    at_every_checkpoint,
    when_every_request_fails,
    world_of,
)
from tests.transfer.memory_s3 import Fault
from tests.transfer.reading import after_cancellation, after_failure, reading

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transfer.checkpoints import InlineThreads, Trial, Way

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small_windows")]

OPEN: Final[dict[str, Any]] = {"part_size": 3000, "workers_count": 2}


async def _to_its_end(here: JobWorld) -> None:
    async with here.client.open(OBJECT, **OPEN) as file:
        assert await file.read() == DATA


async def _here_and_there(here: JobWorld) -> None:
    async with here.client.open(OBJECT, **OPEN) as file:
        for place in (9000, 4000, 0):
            file.seek(place)
            assert await file.read(600) == DATA[place : place + 600]


async def _in_blocks(here: JobWorld) -> None:
    async with here.client.open(OBJECT, **OPEN) as file:
        assert b"".join([block async for block in file]) == DATA


async def _left_in_the_middle(here: JobWorld) -> None:
    async with here.client.open(OBJECT, **OPEN) as file:
        got = 0
        async for block in file:
            assert DATA[got:].startswith(block)
            got += len(block)
            if got > 5000:
                break


async def _closed_in_the_middle(here: JobWorld) -> None:
    async with here.client.open(OBJECT, **OPEN) as file:
        assert await file.read(4500) == DATA[:4500]
        await file.aclose()
        await checkpoint()


async def _as_a_whole(here: JobWorld) -> None:
    here.s3.objects[OBJECT] = (DATA, 'W/"weak"')
    async with here.client.open(OBJECT, **OPEN) as file:
        assert await file.read(700) == DATA[:700]
        assert await file.read() == DATA[700:]


JOBS: Final = [
    reading("open, read to the end", _to_its_end),
    reading("open, seek and read", _here_and_there),
    reading("open, iterate", _in_blocks),
    reading("open, left in the middle", _left_in_the_middle),
    reading("open, closed in the middle", _closed_in_the_middle),
    reading("open, as a whole", _as_a_whole),
]
EVERY_JOB: Final = pytest.mark.parametrize("job", JOBS, ids=str)


@EVERY_JOB
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    points, wrong = await at_every_checkpoint(
        partial(world_of, job, tmp_path, threads), job.call, way, after_cancellation
    )
    assert not wrong
    assert points > 15


@EVERY_JOB
@BY_ITS_OWN_SCOPE
async def test_cancelled_while_a_request_fails(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """The cancellation, or, where the read was over by then, its error; and nothing is left."""

    def prepare(here: JobWorld) -> None:
        here.s3.fault = lambda call: Fault.REFUSED if call.number > 1 else None

    def check(here: JobWorld, trial: Trial) -> list[str]:
        return [each for each in after_failure(here, trial) if not trial.cancelled or "exception" not in each]

    _, wrong = await at_every_checkpoint(partial(world_of, job, tmp_path, threads, prepare), job.call, way, check)
    assert not wrong


@EVERY_JOB
@ON_EVERY_LOOP
async def test_every_request_fails(job: Job, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way: that once, each time that it is tried again, or with all that follow."""
    _, wrong = await when_every_request_fails(partial(world_of, job, tmp_path, threads), job.call, after_failure)
    assert not wrong
