"""A download's unfinished file, kept from one attempt to the next: ``<name>.handtruck-part``, and its journal.

Both belong to one download at a time: whoever has the part's lock. The lock goes with the process.

The journal must never speak of another file than the part beside it: it names the file by its inode, is blanked where
the part is new, and of both goes first. Without ``durable`` it is believed until the machine is started again.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Final

from ..errors import UsageError
from .files import FLAGS, LONGEST_NAME, FileSink, PositionalFile, StagedTarget, create, mode_of_existing, named
from .journal import Journal, Read, Subject, read_journal, take_back
from .locks import try_lock, unlock

PART: Final = ".handtruck-part"
JOURNAL: Final = ".handtruck-journal"
POSIX: Final = os.name == "posix"
_TRIES: Final = 10
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)


class PartialTarget(StagedTarget):
    """Whatever goes wrong, the part is kept, with its journal."""

    def __init__(self, path: Path, url: str, *, durable: bool) -> None:
        """Take up what an earlier attempt has left, or begin.

        Args:
            path: the file.
            url: the object, without query and credentials: bytes of another are worth nothing.
            durable: see :class:`~handtruck.transfer.journal.Journal`.

        Raises:
            OSError: the files cannot be made, or locked, with the target's name.
            UsageError: the target exists and is not a regular file; another download has these files; they are not
                ours; or the platform has no locks.
        """
        if not POSIX:
            raise UsageError("resume=True of a download needs a POSIX system: owners, inodes and renames of open files")
        self._url = url
        with named(path):
            mode = mode_of_existing(path)
            self.path: Path = path.resolve()
            self._part = self.path.with_name(_beside(self.path.name, PART))
            self._lines = self.path.with_name(_beside(self.path.name, JOURNAL))
            # The next attempt must be able to write it, whatever its final mode.
            descriptor, made = self._open_part(None if mode is None else mode | stat.S_IRUSR | stat.S_IWUSR)
            try:
                lines = self._open_lines(new=made)
            except BaseException:
                with suppress(OSError):
                    if made:
                        self._part.unlink(missing_ok=True)
                os.close(descriptor)
                raise
        self.file: PositionalFile = PositionalFile(descriptor, path)
        self.journal: Journal = Journal(lines, descriptor, durable)
        self._place = _place(descriptor)
        self._boot = "" if durable else _boot()

    def _open_part(self, mode: int | None) -> tuple[int, bool]:
        """The part, locked, and sure to be the one of that name; and whether it is new."""
        for _ in range(_TRIES):
            made = True
            try:
                descriptor = create(self._part, mode)
            except FileExistsError:
                made = False
                try:
                    descriptor = _open(self._part, os.O_RDWR)
                except FileNotFoundError:
                    continue
            try:
                if self._lock(descriptor, made):
                    if mode is not None:
                        with suppress(OSError):  # the target may have got another one since
                            os.fchmod(descriptor, mode)
                    return descriptor, made
            except BaseException:
                os.close(descriptor)  # and no more: without the lock it may be another's by now
                raise
            os.close(descriptor)
        raise UsageError(f"{self.path}: other downloads into it come and go")

    def _lock(self, descriptor: int, made: bool) -> bool:
        """Lock it; False: whoever had the lock before has renamed or removed the file meanwhile."""
        try:
            locked = try_lock(descriptor)
        except OSError:
            if made:  # where there are no locks nobody has it
                self._part.unlink(missing_ok=True)
            raise
        if not locked:
            raise UsageError(f"{self.path}: another download is resuming it; wait for its end, or cancel it")
        if not made:
            _check_ours(descriptor, self._part)
        return self._is_in_place(descriptor)

    def _is_in_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._part.lstat())
        except FileNotFoundError:
            return False

    def _open_lines(self, *, new: bool) -> int:
        """The journal; a new one for a new part: whoever still writes into an old one writes about another file."""
        lines = _open(self._lines, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            _check_ours(lines, self._lines)
            if new:
                take_back(lines)
        except BaseException:
            os.close(lines)
            raise
        if not new:
            return lines
        os.close(lines)
        self._lines.unlink()
        return _open(self._lines, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_EXCL)

    def found(self) -> Read | None:
        """What an earlier attempt left of this object, if anything that can be believed.

        Where that is all of it the last byte is wanted again: whether the object is still the same must be asked.
        """
        with named(self.file.path):
            read = read_journal(self.journal.text())
            if read is None or not read.ranges or not self._is_about_this(read.subject):
                return None
            if os.fstat(self.file.descriptor).st_size < read.ranges[-1][1]:
                return None  # somebody has cut it off
            if read.subject.boot == self._boot:
                os.ftruncate(self.journal.descriptor, read.length)  # what follows a torn line would not be read
            else:
                self.journal.rewrite(replace(read, subject=replace(read.subject, boot=self._boot)))
        return read.without_last_byte() if read.covered == read.subject.size else read

    def _is_about_this(self, subject: Subject) -> bool:
        """This object; this very file, and no copy of it; and written since the machine started, or to its disk."""
        return (subject.url, subject.place) == (self._url, self._place) and subject.boot in ("", _boot())

    def clear(self) -> None:
        """See :class:`StagedTarget`."""
        with named(self.file.path):
            self.journal.clear()
            os.ftruncate(self.file.descriptor, 0)

    def knows(self, etag: str, size: int) -> None:
        """See :class:`StagedTarget`."""
        self.journal.subject = Subject(url=self._url, etag=etag, size=size, place=self._place, boot=self._boot)

    def sink(self, start: int) -> FileSink:
        """See :class:`StagedTarget`."""
        return JournaledSink(self.file, start, self.journal)

    def discard(self) -> str | None:
        """Keep what the next attempt can use: a journal that says something, and its part."""
        if not self._open:
            return None
        try:
            useless = self.journal.is_blank() or not os.fstat(self.journal.descriptor).st_nlink
            if useless and self._is_in_place(self.file.descriptor):
                self._lines.unlink(missing_ok=True)
                self._part.unlink(missing_ok=True)
        except OSError as error:
            return f"handtruck: the unfinished {self._part} remains: {error.strerror}"
        finally:
            with suppress(OSError):
                self._close()
        return None

    def _replace(self) -> None:
        if not self._is_in_place(self.file.descriptor):
            raise OSError(errno.ESTALE, "somebody has removed the unfinished file", str(self._part))
        mode = mode_of_existing(self.path)
        if mode is not None:
            with suppress(OSError):
                os.fchmod(self.file.descriptor, mode)
        self._lines.unlink(missing_ok=True)
        self._part.replace(self.path)  # under the lock
        self._close()

    def _close(self) -> None:
        if self._open:
            os.close(self.journal.descriptor)
            with suppress(OSError):
                unlock(self.file.descriptor)
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


def _open(path: Path, flags: int) -> int:
    """Open a file, and no link to one.

    Raises:
        UsageError: it is a link.
    """
    try:
        return os.open(path, flags | _NO_LINK | FLAGS, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{path} is a symbolic link, which no download has left; remove it") from None
        raise


def _check_ours(descriptor: int, path: Path) -> None:
    """Where others may write, they could plant a file; who owns the folder may (some mounts give all to one user)."""
    status = os.fstat(descriptor)
    owners = (os.geteuid(), path.parent.stat().st_uid)
    if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners or status.st_nlink > 1:
        raise UsageError(f"{path} is not a file that a download of yours has left; remove it")


def _place(descriptor: int) -> str:
    status = os.fstat(descriptor)
    return f"{status.st_dev}:{status.st_ino}"


@cache
def _boot() -> str:
    """Which start of the machine this is; where that cannot be told, every one is the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "?"


def _beside(name: str, ending: str) -> str:
    """A name that the next attempt finds; of a name too long for an ending, its beginning and a hash of it."""
    whole = os.fsencode(name)
    if len(whole) + len(ending) <= LONGEST_NAME:
        return name + ending
    mark = f".{sha256(whole).hexdigest()[:16]}{ending}"
    return whole[: LONGEST_NAME - len(mark)].decode(errors="ignore") + mark
