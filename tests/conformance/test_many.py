"""Many transfers in one block, on real servers: identical bytes up and down, and nothing left open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import pytest

from handtruck.errors import NotFound
from tests.conformance.support import PART, SEVERAL, assert_stored, content, file_with

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import DownloadResult, Progress, S3Client, Transfer, UploadResult
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

COUNT: Final = 50
SIZES: Final = (0, 1, 1000, 70_001, PART + 1)
"""Every fifth is sent in parts."""


def size_of(number: int) -> int:
    """Of the object with that number; no two beside each other are alike."""
    return SIZES[number % len(SIZES)] + (number if number % len(SIZES) in (2, 3) else 0)


async def test_fifty_up_and_down(s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    """First up, of files and of bytes; then down; the results are those of the names that were asked for."""
    async with s3.transfers() as up:
        sent: list[Transfer[UploadResult]] = []
        for number in range(COUNT):
            data = content(size_of(number))
            source = data if number % 2 else file_with(tmp_path / f"source-{number}", data)
            sent.append(up.upload(f"{bucket}/{number}", source, part_size=PART, workers_count=2))
    assert [result.size for result in up.results if result] == [size_of(number) for number in range(COUNT)]
    assert [(await transfer).parts for transfer in sent] == [2 if number % 5 == 4 else 0 for number in range(COUNT)]
    assert witness.keys(bucket) == sorted(str(number) for number in range(COUNT))
    assert witness.uploads(bucket) == []
    for number in range(len(SIZES)):
        assert_stored(server, witness, bucket, str(number), content(size_of(number)))

    async with s3.transfers(max_concurrency=16) as down:
        for number in range(COUNT):
            down.download(f"{bucket}/{number}", tmp_path / f"target-{number}", part_size=PART, workers_count=2)
        fetched = [transfer.object_name async for transfer in down.as_finished()]
    assert sorted(fetched) == sorted(transfer.object_name for transfer in down.transfers)
    for number in range(COUNT):
        assert (tmp_path / f"target-{number}").read_bytes() == content(size_of(number))
    assert not list(tmp_path.glob("*part"))
    assert s3._session.places.taken == 0


async def test_one_that_fails(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    """The others are undone in the middle of it, or go on to their end."""
    source = file_with(tmp_path / "source", content(SEVERAL))
    for on_error in ("cancel", "collect"):
        sending = anyio.Event()

        async def block(on_error: str, sending: anyio.Event) -> tuple[Transfer[DownloadResult], list[object]]:
            def progress(_: Progress) -> None:
                sending.set()

            async with s3.transfers(on_error=on_error) as t:  # type: ignore[arg-type]
                for number in range(3):
                    t.upload(f"{bucket}/{number}", source, part_size=PART, workers_count=1, progress=progress)
                await sending.wait()
                missing = t.download(f"{bucket}/missing", tmp_path / "missing")
            return missing, list(t.results)

        if on_error == "cancel":
            with pytest.raises(NotFound):
                await block(on_error, sending)
        else:
            missing, results = await block(on_error, sending)
            assert isinstance(missing.error, NotFound)
            assert [bool(result) for result in results] == [True, True, True, False]
            assert witness.keys(bucket) == ["0", "1", "2"]
        assert witness.uploads(bucket) == []
        assert [path.name for path in tmp_path.iterdir()] == ["source"]
