"""How transfers go, and what comes of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from .checksums import Checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a transfer is, in bytes of the object.

    Attributes:
        done: bytes that are safely at the other end (a finished part, a block on disk); bytes sent again by a retry
            do not count twice. It never goes back, but where what had come proved to be worth nothing: a server
            without ranges replaced the object by a shorter one between two attempts, or one that was to be resumed has
            changed.
        total: the object's size, or None until it is known. The last call has ``done == total``.
    """

    done: int
    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadResult:
    """An object that is now there.

    Attributes:
        etag: as the server sent it.
        size: bytes.
        parts: how many parts it was sent in; 0 for a single PUT.
        version_id: of the new version, where the bucket keeps versions.
        resumed: bytes that an earlier attempt had sent, and that were not sent again.
        checksum: what was sent along, for S3 to compare; None where none was, or the object was found finished.
    """

    etag: str | None
    size: int
    parts: int
    version_id: str | None = None
    resumed: int = 0
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """A file that is now there.

    Attributes:
        path: the file, symbolic links resolved; None where the target was none.
        size: bytes.
        etag: of the object, as the server sent it.
        resumed: bytes that an earlier attempt had left, and that were not fetched again.
        checksum: what all bytes were compared with (``verify=True``); None where S3 has none of the whole object.
    """

    path: Path | None
    size: int
    etag: str | None
    resumed: int = 0
    checksum: Checksum | None = None
