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
    """

    url: str
    upload_id: str
    size: int
    mtime_ns: int
    part_size: int
    headers: str


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
