"""What a copy is to be, and what is wrong with that before anything is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .._attempt import PLAIN, Options
from ..errors import UsageError
from ..protocol import operations
from ..protocol.parts import check_part_size

if TYPE_CHECKING:
    from ..protocol.address import Location
    from ..protocol.operations import CopySource, CopyTarget
    from ..protocol.quirks import Quirks


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyPlan:
    """What the caller asked for.

    Attributes:
        part_size: bytes; what is longer is copied in parts. None: only what one request cannot copy is.
        workers: parts being copied at once.
        tries: attempts for each request.
        look: the source must be looked at, though the copy itself does not need it.
    """

    source: CopySource
    location: Location
    target: CopyTarget
    part_size: int | None
    workers: int
    tries: int
    look: bool
    options: Options = PLAIN

    @property
    def onto_itself(self) -> bool:
        """Source and target are one object."""
        source, target = self.source, self.location
        if source.location is not None and source.location.path == target.path:
            return True
        return (source.bucket, source.key) == (target.bucket, target.key)

    @property
    def looks(self) -> bool:
        """The source is looked at before anything else."""
        said = self.source.conditional or operations.is_conditional(self.target.headers)
        return self.look or said or self.part_size is not None or self.target.mends

    def check(self, quirks: Quirks) -> None:
        """Refuse nonsense before anything is sent; ``quirks`` are the server's.

        Raises:
            UsageError.
        """
        if self.part_size is not None:
            check_part_size(self.part_size, quirks)
            if not quirks.part_copies:
                raise UsageError("part_size= is given, and this server cannot copy in parts: leave it out")
        if self.workers < 1:
            raise UsageError(f"workers_count must be at least 1, not {self.workers}")
        self.target.check()
        operations.sort_upload_headers(self.target.headers)
        if self.onto_itself and self.source.version_id is None and not self.target.changes:
            raise UsageError(
                f"{self.source} would be copied onto itself, which S3 refuses unless something changes: "
                "its metadata, content type and the like, storage class, encryption or website redirect"
            )
        if self.looks and self.source.location is None:
            raise UsageError(
                f"{self.source} must be looked at first, and this endpoint is that of another bucket alone: "
                "use a client whose URL names no bucket"
            )
