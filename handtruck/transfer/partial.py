"""A download's unfinished file, kept from one attempt to the next: ``<name>.handtruck-part``, and its journal.

Both belong to one download at a time: whoever has the part's lock. The lock goes with the process.

The journal must never speak of another file than the part beside it. So a journal without a part is removed before a
part is made, and of both the journal goes first.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from ..errors import UsageError
from .files import FLAGS, LONGEST_NAME, FileSink, PositionalFile, StagedTarget, create, mode_of_existing, named
from .journal import Journal, Read, Subject, read_journal

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from pathlib import Path

PART: Final = ".handtruck-part"
JOURNAL: Final = ".handtruck-journal"
_TRIES: Final = 10


class PartialTarget(StagedTarget):
    """Whatever goes wrong, the part is kept, with its journal."""

    def __init__(self, path: Path, url: str, *, durable: bool) -> None:
        """Take up what an earlier attempt has left, or begin.

        Args:
            path: the file.
            url: the object, without query and credentials: bytes of another are worth nothing.
            durable: see :class:`~handtruck.transfer.journal.Journal`.

        Raises:
            OSError: the files cannot be made, with the target's name.
            UsageError: the target exists and is not a regular file; or another download has these files.
        """
        self._url = url
        with named(path):
            mode = mode_of_existing(path)
            self.path = path.resolve()
            self._part = self.path.with_name(_beside(self.path.name, PART))
            self._lines = self.path.with_name(_beside(self.path.name, JOURNAL))
            descriptor = self._open_part(mode)
            try:
                lines = os.open(self._lines, os.O_RDWR | os.O_CREAT | os.O_APPEND | FLAGS, 0o600)
            except BaseException:
                os.close(descriptor)
                raise
        self.file = PositionalFile(descriptor, path)
        self.journal: Journal = Journal(lines, descriptor, durable)

    def _open_part(self, mode: int | None) -> int:
        """The part, locked, and sure to be the one of that name: whoever had the lock may have renamed it."""
        for _ in range(_TRIES):
            try:
                descriptor = os.open(self._part, os.O_RDWR | FLAGS)
            except FileNotFoundError:
                self._lines.unlink(missing_ok=True)
                try:
                    descriptor = create(self._part, mode)
                except FileExistsError:
                    continue
            try:
                _lock(descriptor, self.path)
                if os.path.samestat(os.fstat(descriptor), self._part.stat()):
                    return descriptor
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise UsageError(f"{self.path}: other downloads into it come and go")

    def found(self) -> Read | None:
        """What an earlier attempt left of this object, if anything that can be believed.

        Where that is all of it the last byte is wanted again: whether the object is still the same must be asked.
        """
        with named(self.file.path):
            read = read_journal(self._lines.read_bytes())
            size = os.fstat(self.file.descriptor).st_size
        if read is None or read.subject.url != self._url or not read.ranges:
            return None
        if size < read.ranges[-1][1]:
            return None  # somebody has cut it off
        return read.without_last_byte() if read.covered == read.subject.size else read

    def clear(self) -> None:
        """See :class:`StagedTarget`."""
        with named(self.file.path):
            self.journal.clear()
            os.ftruncate(self.file.descriptor, 0)

    def knows(self, etag: str, size: int) -> None:
        """See :class:`StagedTarget`."""
        self.journal.subject = Subject(url=self._url, etag=etag, size=size)

    def sink(self, start: int) -> FileSink:
        """See :class:`StagedTarget`."""
        return JournaledSink(self.file, start, self.journal)

    def discard(self) -> str | None:
        """Keep what the next attempt can use: a journal that says something, and its part."""
        if not self._open:
            return None
        try:
            if self.journal.is_blank():
                self._lines.unlink(missing_ok=True)
                self._part.unlink(missing_ok=True)
        except OSError as error:
            return f"handtruck: the unfinished {self._part} remains: {error.strerror}"
        finally:
            with suppress(OSError):
                self._close()
        return None

    def _replace(self) -> None:
        self._lines.unlink(missing_ok=True)
        if fcntl is None:
            self._close()  # Windows renames no open file; elsewhere the lock is kept to the end
        self._part.replace(self.path)
        self._close()

    def _close(self) -> None:
        if self._open:
            os.close(self.journal.descriptor)
        super()._close()


@dataclass(slots=True)
class JournaledSink(FileSink):
    """Writes block after block, and says so in the journal after each."""

    journal: Journal

    def __call__(self, block: memoryview) -> None:
        """Write one more."""
        start = self.offset
        FileSink.__call__(self, block)
        with named(self.file.path):
            self.journal.add(start, self.offset)


def _lock(descriptor: int, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(f"{path}: another download is resuming it; wait for its end, or cancel it") from None


def _beside(name: str, ending: str) -> str:
    """A name that the next attempt finds; of a name too long for an ending, its beginning and a hash of it."""
    whole = os.fsencode(name)
    if len(whole) + len(ending) <= LONGEST_NAME:
        return name + ending
    mark = f".{sha256(whole).hexdigest()[:16]}{ending}"
    return whole[: LONGEST_NAME - len(mark)].decode(errors="ignore") + mark
