"""What came of deleting many objects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedObject:
    """One that S3 says is deleted, or not there; that it was there before, S3 does not say.

    Attributes:
        key: the whole key; of a client of a prefix (``s3://bucket/prefix``), what follows that.
        version_id: the version that was removed for good; None where none was named.
        delete_marker: a delete marker was made (no version was named), or was what was removed.
        delete_marker_version_id: the version of that marker, where the server says.
    """

    key: str
    version_id: str | None = None
    delete_marker: bool = False
    delete_marker_version_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDeleted:
    """One that S3 did not delete, or of which it did not say so.

    Attributes:
        key: the whole key; of a client of a prefix (``s3://bucket/prefix``), what follows that.
        version_id: the version that was named, or None.
        code: S3's error code (``AccessDenied``); None where it gave none, or did not name the key at all.
        message: S3's own words, or ours where it had none.
    """

    key: str
    version_id: str | None = None
    code: str | None = None
    message: str | None = None

    def __str__(self) -> str:
        version = f" (version {self.version_id})" if self.version_id else ""
        return f"{self.key}{version}: {': '.join(filter(None, (self.code, self.message)))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteResult:
    """What came of deleting many objects: of each, one or the other.

    Attributes:
        count: how many are deleted.
        deleted: those, in no particular order; empty where they were not asked for (``quiet``).
        errors: those that are not, in no particular order.
    """

    count: int
    deleted: tuple[DeletedObject, ...] = ()
    errors: tuple[NotDeleted, ...] = ()
