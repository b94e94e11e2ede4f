"""What the tests of resumed downloads share: objects, attempts that end in the middle, and what lies there then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck.transfer.journal import read_journal
from handtruck.transfer.partial import JOURNAL, PART, PartialTarget

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import S3Client
    from handtruck.models import DownloadResult, Progress
    from tests.scripted import Request

STEP: Final = 1000
BODY: Final = bytes(range(251)) * 20  # 5 020 bytes: five whole ranges and a shorter one
OTHER: Final = BODY[::-1]
OLD: Final = b"what was there before"


class Stop(Exception):
    """What ends an attempt."""


def part_of(target: Path) -> Path:
    return target.with_name(target.name + PART)


def journal_of(target: Path) -> Path:
    return target.with_name(target.name + JOURNAL)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def left(target: Path) -> bool:
    """The target is as it was, with a part and its journal beside it, and nothing else."""
    expected = sorted([target.name, target.name + PART, target.name + JOURNAL])
    return target.read_bytes() == OLD and names(target.parent) == expected


def untouched(target: Path) -> bool:
    """The target is as it was, and nothing lies beside it."""
    return target.read_bytes() == OLD and names(target.parent) == [target.name]


def whole(target: Path, data: bytes = BODY) -> bool:
    """The target is the object, and nothing lies beside it."""
    return target.read_bytes() == data and names(target.parent) == [target.name]


def covered(target: Path) -> int:
    """Bytes that the journal speaks of. They are in the part, all of them."""
    if not journal_of(target).exists():
        return 0
    read = read_journal(journal_of(target).read_bytes())
    return 0 if read is None else read.covered


def true(target: Path, data: bytes = BODY) -> bool:
    """What the journal says is so."""
    read, part = read_journal(journal_of(target).read_bytes()), part_of(target).read_bytes()
    return read is None or all(part[start:stop] == data[start:stop] for start, stop in read.ranges)


def moved(requests: list[Request], size: int = len(BODY)) -> int:
    """Bytes that were asked for."""
    total = 0
    for request in requests:
        start, stop = (int(text) for text in (request.header("range") or f"bytes=0-{size}")[6:].split("-"))
        total += min(stop + 1, size) - start
    return total


async def get(s3: S3Client, target: Path, **options: Any) -> DownloadResult:
    """A download that goes on."""
    given = {"part_size": STEP, "workers_count": 1, "resume": True, **options}
    return await s3.download(options.pop("name", "b/k"), target, **{k: v for k, v in given.items() if k != "name"})


async def stopped(s3: S3Client, target: Path, after: int, **options: Any) -> None:
    """One that ends when so many bytes are there."""

    def progress(told: Progress) -> None:
        if told.done >= after:
            raise Stop

    with pytest.raises(Stop):
        await get(s3, target, progress=progress, **options)


URL: Final = "http://s3.test/b/k"


def opened(target: Path, *, url: str = URL, durable: bool = False) -> PartialTarget:
    return PartialTarget(target, url, durable=durable)


def begun(target: Path, data: bytes = BODY[:10]) -> PartialTarget:
    """A download that has some bytes."""
    first = opened(target)
    first.clear()
    first.knows('"etag"', len(BODY))
    first.allot(len(BODY))
    first.sink(0)(memoryview(data))
    return first


def finish(first: PartialTarget) -> None:
    first.sink(0)(memoryview(BODY))
    first.commit(len(BODY))


def give_up(first: PartialTarget) -> None:
    first.journal.clear()
    assert first.discard() is None
