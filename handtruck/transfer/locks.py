"""One process at a time: files that are locked while they are open."""

from __future__ import annotations

import sys

if sys.platform == "win32":  # no open file can be replaced; what is torn is known by its checksum
                os.ftruncate(self.descriptor, 0)
                os.lseek(self.descriptor, 0, os.SEEK_SET)
                _write_all(self.descriptor, write_record(record))
            else:
                self._replace(write_record(record))
        self.holds, self.torn = record, False

    def _replace(self, data: bytes) -> None:
        new = self.path.with_name(self.path.name + _NEW)
        new.unlink(missing_ok=True)  # nobody else's: we have the lock
        descriptor = os.open(new, _OPEN | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            try_lock(descriptor)
            _write_all(descriptor, data)
            new.replace(self.path)
        except BaseException:
            os.close(descriptor)
            new.unlink(missing_ok=True)
            raise
        os.close(self.descriptor)
        self.descriptor = descriptor

    def clear(self) -> None:
        """There is no such upload any more."""
        with named(self.path):
            os.ftruncate(self.descriptor, 0)
        self.holds, self.torn = None, False

    def close(self) -> None:
        """Let others have it; one that says nothing is removed."""
        empty = False
        try:
            with suppress(OSError):  # an empty record does no harm
                empty = not os.fstat(self.descriptor).st_size and _is_called(self.descriptor, self.path)
                if empty and sys.platform != "win32":
                    self.path.unlink()
                unlock(self.descriptor)
        finally:
            os.close(self.descriptor)
        with suppress(OSError):
            if empty and sys.platform == "win32":  # an open file cannot be removed
                self.path.unlink()


def open_record(source: Path, url: str, *, create: bool) -> RecordFile | None:
    """The record of an upload of ``source`` to ``url``; None: there is none, and none is to be made.

    Raises:
        OSError: it cannot be made or read, with its name.
        UsageError: another upload has it.
    """
    path = source.absolute().with_name(record_name(source.name, url))
    flags = _OPEN | os.O_CREAT if create else _OPEN
    for _ in range(_TRIES):
        with named(path):
            try:
                descriptor = os.open(path, flags, 0o600)
            except FileNotFoundError:
                if create:
                    raise
                return None
        try:
            if _is_taken(descriptor, path, source):
                return _read(descriptor, path, url)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise UsageError(f"{source}: other uploads of it come and go")


def _is_taken(descriptor: int, path: Path, source: Path) -> bool:
    """Lock it; False: whoever had it has removed or replaced it meanwhile."""
    with named(path):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise UsageError(f"{path} is not a regular file, so it cannot be the record of an upload; remove it")
        if not try_lock(descriptor):
            raise UsageError(
                f"{source}: another upload is sending it to the same place; wait for its end, or cancel it"
            )
        return _is_called(descriptor, path)


def _read(descriptor: int, path: Path, url: str) -> RecordFile:
    with named(path):
        data = os.read(descriptor, _LONGEST)
    record = read_record(data)
    holds = record if record is not None and record.url == url else None
    return RecordFile(path, descriptor, holds, torn=bool(data) and holds is None)


def _is_called(descriptor: int, path: Path) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    return False


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


if sys.platform == "win32":
    import msvcrt
    import os
    from typing import Final

    _FAR: Final = 1 << 30  # beyond all that is read: Windows locks bytes, not files

    def try_lock(descriptor: int) -> bool:
        """Lock an open file until it is closed; False: somebody else has."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def unlock(descriptor: int) -> None:
        """Closing it will do."""

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock an open file until it is closed; False: somebody else has."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Closing it would do, unless a child that was forked meanwhile has it, too."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)
