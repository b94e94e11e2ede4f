"""What of an upload outlives the process: its id, in a small file beside the source.

``<source>.<12 hex digits>.handtruck-upload``; the digits tell one destination from another. It is JSON, with a
checksum: what is torn, foreign or of another version says nothing, and the upload that it may have spoken of is found
by its key only. There are no secrets in it: an id is worth nothing without keys, and of the headers there is a hash.

Whoever has the record has it locked, from before the first request to the end of the call; the lock goes with the
process. A record is replaced in one step, by one that is locked already. It survives the process, not the machine:
nothing waits for the disk.

All of this blocks; it runs in worker threads.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from ..errors import UsageError
from ..protocol.parts import MAX_PARTS
from .files import FLAGS, LONGEST_NAME, named
from .locks import try_lock, unlock

if TYPE_CHECKING:
    from pathlib import Path

    from ..protocol.operations import Headers

ENDING: Final = ".handtruck-upload"
_NEW: Final = ".new"
_FORMAT: Final = "handtruck-upload-1"
_LONGEST: Final = 64 * 1024
_TRIES: Final = 10
_OPEN: Final = os.O_RDWR | FLAGS | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """An upload that was begun, and of what.

    The source is known by its size and modification time, not by its inode, which changes where a file is moved or
    restored: whatever these two let pass is found out when what S3 has is compared with the source's bytes.

    Attributes:
        url: the object, without query and credentials.
        upload_id: S3's name for the upload.
        size: of the source, in bytes.
        mtime_ns: when the source was modified last.
        part_size: bytes.
        headers: what :func:`hash_headers` makes of those that Create carried.
        completing: 1: Complete may have been sent, so that the object may be there although nobody heard of it.
    """

    url: str
    upload_id: str
    size: int
    mtime_ns: int
    part_size: int
    headers: str
    completing: int = 0


def write_record(record: Record) -> bytes:
    """A record as it stands in its file."""
    return json.dumps({"format": _FORMAT, "upload": asdict(record), "checksum": _checksum(asdict(record))}).encode()


def read_record(data: bytes) -> Record | None:
    """Understand a record; None: it says nothing."""
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return None
    upload = said.get("upload") if isinstance(said, dict) and said.get("format") == _FORMAT else None
    if not isinstance(upload, dict) or said.get("checksum") != _checksum(upload):
        return None
    kinds = {field.name: int if field.type == "int" else str for field in fields(Record)}
    if upload.keys() != kinds.keys() or not all(type(upload[name]) is kind for name, kind in kinds.items()):
        return None
    record = Record(**upload)
    return record if record.upload_id and 0 < record.part_size < record.size <= record.part_size * MAX_PARTS else None


def _checksum(upload: dict[str, object]) -> str:
    return sha256(json.dumps(upload, sort_keys=True).encode()).hexdigest()


def hash_headers(headers: Headers) -> str:
    """The hex SHA-256 of headers; neither their order nor how their names are written makes a difference."""
    return sha256(json.dumps(sorted((name.lower(), value) for name, value in headers)).encode()).hexdigest()


def record_name(source: str, url: str) -> str:
    """What the record of an upload of the file called ``source`` to ``url`` is called."""
    ending = f".{sha256(url.encode()).hexdigest()[:12]}{ENDING}"
    room = LONGEST_NAME - len(ending) - len(_NEW)
    whole = os.fsencode(source)
    if len(whole) <= room:
        return source + ending
    mark = f".{sha256(whole).hexdigest()[:12]}"  # of all of it: others may begin alike
    return whole[: room - len(mark)].decode(errors="ignore") + mark + ending


@dataclass(slots=True)
class RecordFile:
    """The file, open and locked.

    Attributes:
        holds: what it says.
        torn: it says something, and nothing that can be understood, or of this upload.
    """

    path: Path
    descriptor: int
    holds: Record | None = None
    torn: bool = False

    def write(self, record: Record) -> None:
        """Replace what it says, in one step."""
        with named(self.path):
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
