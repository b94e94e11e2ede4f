"""Objects that S3 has copied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyResult:
    """A copy that is now there. What the server left out is None.

    Attributes:
        etag: of the copy, as the server sent it. It may differ from the source's though the bytes are the same: it
            tells in how many parts they were written, and depends on the encryption.
        last_modified: of the copy, where one request made it; time-zone aware.
        size: bytes; None where one request made it and nothing had to be known about the source.
        parts: how many parts it was copied in; 0 for a single request.
        version_id: of the copy, where its bucket keeps versions.
        source_version_id: of the source, where its bucket keeps versions.
    """

    etag: str | None
    last_modified: datetime | None = None
    size: int | None = None
    parts: int = 0
    version_id: str | None = None
    source_version_id: str | None = None
