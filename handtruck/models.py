"""What S3 and its identity sources tell us, and what transfers report: frozen, slotted values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from pathlib import Path

__all__ = (
    "AwsObjectMeta",
    "Credentials",
    "DownloadResult",
    "MultipartUploadInfo",
    "ObjectPage",
    "PartInfo",
    "Progress",
    "UploadResult",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The keys a request is signed with. Blank fields mean "not known here"; secrets are never printed.

    Attributes:
        access_key_id: the public half.
        secret_access_key: the secret half.
        session_token: goes with temporary keys.
        region: the region this source is configured for.
        expires_at: when temporary keys end (time-zone aware), or None.
    """

    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    expires_at: datetime | None = None

    @property
    def complete(self) -> bool:
        """Both halves of the key are here."""
        return bool(self.access_key_id and self.secret_access_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsObjectMeta:
    """One object of a listing. What the server left out is None.

    Attributes:
        key: the whole key, decoded.
        size: bytes.
        etag: as the server sent it, quotes included where it sent quotes; an opaque validator, seldom an MD5.
        last_modified: time-zone aware.
        storage_class: ``STANDARD`` …, where the server says.
        owner: the owner's id, where the server says.
    """

    key: str
    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None
    storage_class: str | None = None
    owner: str | None = None


class ObjectPage(list[AwsObjectMeta]):
    """One page of a listing: a list of :class:`AwsObjectMeta` that carries the page's prefixes too.

    Attributes:
        common_prefixes: what the delimiter folded together, decoded; empty without a delimiter.
    """

    __slots__ = ("common_prefixes",)

    def __init__(self, objects: Iterable[AwsObjectMeta] = (), common_prefixes: Iterable[str] = ()) -> None:
        super().__init__(objects)
        self.common_prefixes: tuple[str, ...] = tuple(common_prefixes)


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
    """

    etag: str | None
    size: int
    parts: int
    version_id: str | None = None
    resumed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """A file that is now there.

    Attributes:
        path: the file, symbolic links resolved; None where the target was none.
        size: bytes.
        etag: of the object, as the server sent it.
        resumed: bytes that an earlier attempt had left, and that were not fetched again.
    """

    path: Path | None
    size: int
    etag: str | None
    resumed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartUploadInfo:
    """One unfinished multipart upload of a listing (S3's MultipartUpload). What the server left out is None.

    Attributes:
        key: the whole key of the object that it is to become, decoded.
        upload_id: names the upload; goes with the key.
        initiated: when it was created, by the server's clock; time-zone aware.
        storage_class: ``STANDARD`` …
        owner: the id of whom the object will belong to.
        initiator: the id of who created the upload.
    """

    key: str
    upload_id: str
    initiated: datetime | None = None
    storage_class: str | None = None
    owner: str | None = None
    initiator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartInfo:
    """One part that an unfinished multipart upload has (S3's Part). What the server left out is None.

    Attributes:
        number: from 1.
        etag: as the server sent it, quotes included where it sent quotes.
        size: bytes.
        last_modified: time-zone aware.
    """

    number: int
    etag: str | None = None
    size: int | None = None
    last_modified: datetime | None = None
