"""Local files: read and written at offsets by many threads at once, and replaced in one step or not at all.

Everything here blocks; it runs in worker threads.
"""

from __future__ import annotations

import os
import secrets
import stat
from abc import ABC, abstractmethod
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Final

from .._body import stop_if_cancelled
from ..errors import SourceChanged, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from .journal import Read

VECTORED: Final = hasattr(os, "preadv")
POSITIONAL: Final = hasattr(os, "pread") and hasattr(os, "pwrite")
FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
LONGEST_NAME: Final = 255
_BLOCK: Final = 1024 * 1024


@dataclass(slots=True)
class PositionalFile:
    """A descriptor that is read and written at offsets: by ``pread`` and ``pwrite`` where there are such.

    Elsewhere by seek and read or write under a lock, so that threads never move each other's position.
    """

    descriptor: int
    path: Path
    lock: Lock = field(default_factory=Lock)

    def read_into(self, view: memoryview, offset: int) -> int:
        """Fill ``view`` from ``offset`` on; fewer bytes only where the file ends.

        Block by block: between blocks a cancellation ends it.
        """
        done = 0
        with named(self.path):
            while done < len(view):
                stop_if_cancelled()
                got = self._read_at(view[done : done + _BLOCK], offset + done)
                if not got:
                    break
                done += got
        return done

    def write(self, view: memoryview, offset: int) -> None:
        """Write all of ``view`` at ``offset``."""
        done = 0
        with named(self.path):
            while done < len(view):
                done += self._write_at(view[done:], offset + done)

    def _read_at(self, view: memoryview, offset: int) -> int:
        if VECTORED:
            return os.preadv(self.descriptor, [view], offset)
        if POSITIONAL:
            data = os.pread(self.descriptor, len(view), offset)
        else:
            with self.lock:
                os.lseek(self.descriptor, offset, os.SEEK_SET)
                data = os.read(self.descriptor, len(view))
        view[: len(data)] = data
        return len(data)

    def _write_at(self, view: memoryview, offset: int) -> int:
        if POSITIONAL:
            return os.pwrite(self.descriptor, view, offset)
        with self.lock:
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.write(self.descriptor, view)


@dataclass(slots=True)
class FileSink:
    """Writes block after block from ``offset`` on."""

    file: PositionalFile
    offset: int

    def __call__(self, block: memoryview) -> None:
        """Write one more."""
        self.file.write(block, self.offset)
        self.offset += len(block)


@contextmanager
def named(path: Path) -> Generator[None]:
    """Errors of the disk say which file the caller knows: a temporary name, or none, would not help."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


class SourceFile:
    """A regular file that is to be sent as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            OSError: it cannot be opened.
            UsageError: it is not a regular file.
        """
        descriptor = os.open(path, os.O_RDONLY | FLAGS | getattr(os, "O_NONBLOCK", 0))
        self.file: PositionalFile = PositionalFile(descriptor, path)
        self._before = os.fstat(descriptor)
        self.size: int = self._before.st_size
        self.mtime_ns: int = self._before.st_mtime_ns
        if not stat.S_ISREG(self._before.st_mode):
            self.close()
            raise UsageError(f"{path} is not a regular file; send it as an iterable of bytes")

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` from ``offset`` on.

        Raises:
            SourceChanged: the file has become shorter.
        """
        if self.file.read_into(view, offset) < len(view):
            raise SourceChanged(f"{self.file.path} became shorter while it was sent")

    def sha256(self) -> str:
        """The hex SHA-256 of all of it."""
        digest = sha256()
        self.feed(digest.update)
        return digest.hexdigest()

    def feed(self, *takers: Callable[[memoryview], object]) -> None:
        """Read all of it, for those that forget each block. A cancellation ends it between two of them."""
        block = bytearray(_BLOCK)
        for start in range(0, self.size, _BLOCK):
            view = memoryview(block)[: min(_BLOCK, self.size - start)]
            self.read_into(view, start)
            for take in takers:
                take(view)

    def check_unchanged(self) -> None:
        """Compare size and modification time with those at the start, and see that the file really ends there.

        Raises:
            SourceChanged: they differ; or there is more, as in many files of ``/proc``, that are said to be empty.
        """
        now = os.fstat(self.file.descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._before.st_size, self._before.st_mtime_ns):
            raise SourceChanged(f"{self.file.path} changed while it was sent (size or modification time)")
        if self.file.read_into(memoryview(bytearray(1)), self.size):
            raise SourceChanged(
                f"{self.file.path} has more bytes than its size says (a special file?); send it as an iterable of bytes"
            )

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.file.descriptor)


class StagedTarget(ABC):
    """A file that appears, or is replaced, in one step when it is complete; until then nobody sees a change.

    A symbolic link is followed, the mode of an existing file is kept. Bytes go to a sibling, the part.
    """

    path: Path
    file: PositionalFile
    _part: Path
    _open: bool = True

    def sink(self, start: int) -> FileSink:
        """Writes from ``start`` on."""
        return FileSink(self.file, start)

    def found(self) -> Read | None:
        """What an earlier attempt left, if it is of use."""
        return None

    @abstractmethod
    def knows(self, etag: str, size: int) -> None:
        """Which version of the object the bytes are of."""

    @abstractmethod
    def clear(self) -> None:
        """Forget what was found."""

    def allot(self, size: int) -> None:
        """Make the part as long as it will be: where there are sparse files, that takes no space and no time."""
        with named(self.file.path):
            os.ftruncate(self.file.descriptor, size)

    def commit(self, size: int, *, durable: bool = False) -> None:
        """Put it in place of whatever was there; ``durable``: it outlives a loss of power from now on.

        A longer attempt before the last one may have left more bytes.
        """
        with named(self.file.path):
            if os.fstat(self.file.descriptor).st_size > size:
                os.ftruncate(self.file.descriptor, size)
            if durable:
                os.fsync(self.file.descriptor)
            self._replace()
            if durable:
                sync_folder(self.path.parent)

    @abstractmethod
    def discard(self) -> str | None:
        """Leave no trace that is of no use; gives what stood in the way, if anything did. Harmless when committed."""

    def _replace(self) -> None:
        self._close()
        self._part.replace(self.path)

    def _close(self) -> None:
        if self._open:
            self._open = False
            os.close(self.file.descriptor)


class AtomicTarget(StagedTarget):
    """Whatever goes wrong, the part is removed: a sibling ``<name>.<random>.part``."""

    def __init__(self, path: Path) -> None:
        """Make the part.

        Raises:
            OSError: it cannot be made, with the target's name.
            UsageError: the target exists and is not a regular file.
        """
        with named(path):
            mode = mode_of_existing(path)  # of links that go round in circles, an OSError
            self.path: Path = path.resolve()
            self._part = self.path.with_name(_part_name(self.path.name))
            self.file: PositionalFile = PositionalFile(create(self._part, mode), path)

    def knows(self, etag: str, size: int) -> None:
        """See :class:`StagedTarget`: nobody asks later."""

    def clear(self) -> None:
        """See :class:`StagedTarget`: nothing was."""

    def discard(self) -> str | None:
        """See :class:`StagedTarget`."""
        with suppress(OSError):
            self._close()
        try:
            self._part.unlink(missing_ok=True)
        except OSError as error:
            return f"handtruck: the unfinished {self._part} remains: {error.strerror}"
        return None


def sync_folder(folder: Path) -> None:
    """Make the names in it outlive a loss of power, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY | FLAGS)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def create(path: Path, mode: int | None) -> int:
    """A new file, with the mode of the one that it will replace; gives its descriptor.

    Raises:
        FileExistsError: there is one.
    """
    # Never, not even for a moment, more than those may read it who may read what it replaces.
    asked = 0o666 if mode is None else mode & 0o666
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | FLAGS, asked)
    if mode is not None:
        with suppress(OSError):  # a file system without modes keeps none
            path.chmod(mode)
    return descriptor


def mode_of_existing(path: Path) -> int | None:
    """The mode of the file that is to be replaced; None: there is none.

    Raises:
        UsageError: it is not a regular file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):
        raise UsageError(f"{path} is not a regular file, so it cannot be replaced by a download")
    return stat.S_IMODE(mode)


def _part_name(name: str) -> str:
    ending = f".{secrets.token_hex(6)}.part"
    room = LONGEST_NAME - len(ending)
    return os.fsencode(name)[:room].decode(errors="ignore") + ending  # some systems refuse half a character
