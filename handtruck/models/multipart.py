"""Multipart uploads that are not finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartUploadInfo:
    """One unfinished multipart upload of a listing (S3's MultipartUpload). What the server left out is None.

    Attributes:
        key: the whole key of the object that it is to become, decoded; of a client of a prefix, what follows that.
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
