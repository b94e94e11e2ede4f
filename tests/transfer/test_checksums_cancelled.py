"""Uploads with a checksum and downloads that are compared, cancelled at every checkpoint: they leave nothing behind."""

from __future__ import annotations

import zlib
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from handtruck.models import Checksum
from handtruck.protocol.crc import encode
from handtruck.transfer import verify
from tests.transfer.cancelling import (
    DATA,
    EVERY_WAY,
    OBJECT,
    PART,
    Job,
    after_cancellation,
    at_every_checkpoint,
    world_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.transfer.checkpoints import InlineThreads, Way

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small", "may_block", "told")]

JOBS: Final = (
    Job(
        "put_file_multipart(checksum)",
        lambda w: w.client.put_file_multipart(OBJECT, w.source, part_size=PART, workers_count=2, checksum="CRC32"),
        existing=True,
    ),
    Job(
        "get_file_parallel(verify)",
        lambda w: w.client.get_file_parallel(
            OBJECT, w.target, range_step=PART, workers_count=2, buffer_size=2000, verify=True
        ),
        upload=False,
        existing=True,
    ),
)
EVERY_JOB: Final = pytest.mark.parametrize("job", JOBS, ids=str)


@pytest.fixture(name="told")
def _told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server tells the object's checksum."""
    told = Checksum(algorithm="CRC32", value=encode(zlib.crc32(DATA).to_bytes(4, "big")))
    monkeypatch.setattr(verify, "read_checksums", lambda _: (told,))


@EVERY_JOB
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """The promise of the package."""
    world = partial(world_of, job, tmp_path, threads)
    points, wrong = await at_every_checkpoint(world, job.call, way, after_cancellation)
    assert not wrong
    assert points > 20
