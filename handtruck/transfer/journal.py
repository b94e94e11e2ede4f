"""What a partial download has on disk already, written so that it is true whenever the process dies.

One line says which version of which object it is, each further one a range that was written before the line was. A
line carries its checksum; the first that is torn, or wrong, ends the journal. What a line does not vouch for is fetched
again: the worst that a journal can do is to say too little.

It survives the process, not the machine: without ``fsync`` the lines may reach the disk ahead of the bytes.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Range = tuple[int, int]

_FORMAT: Final = "handtruck-download-1"
_FIELDS: Final = {"url": str, "etag": str, "size": int, "place": str, "boot": str}
_RANGE: Final = re.compile(r"(\d{1,19}) (\d{1,19})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is downloaded.

    Attributes:
        url: the object, without query and credentials.
        etag: of the one version that its bytes are of.
        size: bytes.
        place: the file that they are in, by device and inode: a copy of it is another.
        boot: the start of the machine since which the lines are true; empty: they are, whatever happens to it.
    """

    url: str
    etag: str
    size: int
    place: str = ""
    boot: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """A journal as it was found: the bytes ``[start, stop)`` of each range are in the file; sorted, none touches.

    Attributes:
        length: bytes of the journal that say so.
    """

    subject: Subject
    ranges: tuple[Range, ...]
    length: int = 0

    @property
    def covered(self) -> int:
        """Bytes that need not be fetched again."""
        return sum(stop - start for start, stop in self.ranges)

    def without_last_byte(self) -> Read:
        """The same, as if that had not been written."""
        *others, (start, stop) = self.ranges
        return replace(self, ranges=(*others, (start, stop - 1)) if stop - 1 > start else tuple(others))


def write_subject(subject: Subject) -> bytes:
    """The first line."""
    return _line(json.dumps({"format": _FORMAT, **asdict(subject)}, sort_keys=True))


def write_range(start: int, stop: int) -> bytes:
    """A further line: bytes ``[start, stop)`` are written."""
    return _line(f"{start} {stop}")


def read_journal(data: bytes) -> Read | None:
    """Understand a journal, however it ends; None: it says nothing."""
    lines = _true_lines(data)
    first = next(lines, "")
    subject = _subject(first)
    if subject is None:
        return None
    ranges: list[Range] = []
    length = len(_line(first))
    for line in lines:
        match = _RANGE.fullmatch(line)
        if match is None or not int(match[1]) < int(match[2]) <= subject.size:
            break
        ranges.append((int(match[1]), int(match[2])))
        length += len(_line(line))
    return Read(subject, joined(ranges), length)


def joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same bytes in as few ranges as can be, in order."""
    result: list[Range] = []
    for start, stop in sorted(ranges):
        if result and start <= result[-1][1]:
            result[-1] = (result[-1][0], max(stop, result[-1][1]))
        else:
            result.append((start, stop))
    return tuple(result)


def gaps(ranges: Iterable[Range], size: int) -> Iterator[Range]:
    """What of ``[0, size)`` lies in none of ``ranges``, which are as :func:`joined` gives them."""
    position = 0
    for start, stop in ranges:
        if position < start:
            yield position, start
        position = stop
    if position < size:
        yield position, size


def _line(text: str) -> bytes:
    data = text.encode("ascii")
    return b"%08x %s\n" % (crc32(data), data)


def _true_lines(data: bytes) -> Iterator[str]:
    *lines, _ = data.split(b"\n")
    for line in lines:
        checksum, _, text = line.partition(b" ")
        if checksum != b"%08x" % crc32(text) or not text.isascii():
            return
        yield text.decode("ascii")


def _subject(line: str) -> Subject | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.pop("format", None) != _FORMAT:
        return None
    if {name: type(value) for name, value in said.items()} != _FIELDS:
        return None
    return Subject(**said)


def take_back(descriptor: int) -> None:
    """Make a journal blank: on the disk too, before bytes of another version take the place of those it spoke of."""
    if os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, 0)
        os.fsync(descriptor)


@dataclass(slots=True)
class Journal:
    """The file, while a download writes it; threads may use it at once.

    Attributes:
        descriptor: opened to append.
        data: of the file that it speaks of.
        durable: lines, and the bytes they speak of, are on the disk before more is done.
        subject: what is downloaded; as long as it is not known nothing is written.
    """

    descriptor: int
    data: int
    durable: bool
    subject: Subject | None = None
    _lock: Lock = field(default_factory=Lock)

    def add(self, start: int, stop: int) -> None:
        """Bytes ``[start, stop)`` of the data file are written."""
        subject = self.subject
        if subject is None:
            return
        with self._lock:
            if self.durable:
                os.fsync(self.data)
            self._append((write_subject(subject) if self.is_blank() else b"") + write_range(start, stop))

    def is_blank(self) -> bool:
        """It says nothing yet."""
        return not os.fstat(self.descriptor).st_size

    def clear(self) -> None:
        """Take everything back."""
        self.subject = None
        take_back(self.descriptor)

    def text(self) -> bytes:
        """All that it says."""
        return os.pread(self.descriptor, os.fstat(self.descriptor).st_size, 0)

    def rewrite(self, read: Read) -> None:
        """Say the same again, as surely as ``durable`` promises; and no surer than it was is no line that follows."""
        if self.durable:
            os.fsync(self.data)
        os.ftruncate(self.descriptor, 0)
        self._append(write_subject(read.subject) + b"".join(write_range(*each) for each in read.ranges))
        os.fsync(self.descriptor)

    def _append(self, lines: bytes) -> None:
        """All of it, or nothing: what follows a torn line would not be read."""
        before = os.fstat(self.descriptor).st_size
        try:
            while lines:
                lines = lines[os.write(self.descriptor, lines) :]
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self.descriptor, before)
            raise
        if self.durable:
            os.fsync(self.descriptor)
