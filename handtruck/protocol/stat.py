"""An answer to HEAD ⇄ what it says of the object; and what its status may mean, for it has no body that tells.

Nothing in here fails: S3 stores some headers as they were sent (``Expires`` may be any text), and whoever asks for an
object's size wants it whatever they say. What cannot be read is None, and stands in ``headers`` as it came.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from ..errors import InvalidResponse
from ..models.objects import ObjectEncryption, ObjectInfo, RestoreStatus, Retention
from .checksums import TYPE_HEADER, bare_etag, read_checksum
from .crc import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models.checksums import Checksum

_METADATA: Final = "x-amz-meta-"
_LOCK: Final = "x-amz-object-lock-"
_SSE: Final = "x-amz-server-side-encryption"
_IN_PARTS: Final = re.compile(r"[0-9a-fA-F]+-([0-9]{1,5})", re.ASCII)
_SAID: Final = re.compile(r'([a-z-]+)="([^"]*)"', re.ASCII)
_HINTS: Final[Mapping[int, str]] = {
    301: "the bucket is in another region: check the endpoint URL and region=",
    307: "the bucket is in another region: check the endpoint URL and region=",
    400: "HEAD does not say why: wrong region=, keys that have expired, an object with a key of its own (sse=), or "
    "a version id that is none",
    403: "HEAD does not say why: it is forbidden, the keys are wrong, or, for who may not list the bucket, there is "
    "no such object",
    404: "HEAD does not say which: there is no such object or version, it is deleted, or there is no such bucket",
    405: "this version is a delete marker, and no object",
}


def hint_for(status: int) -> str | None:
    """What an answer to HEAD with this status may mean."""
    return _HINTS.get(status)


def is_an_object(headers: Mapping[str, str]) -> bool:
    """A successful answer is an object, and no document of S3's about one: those have no ETag and no ranges."""
    return bool(headers.get("etag")) and "last-modified" in headers and "accept-ranges" in headers


def object_info(key: str, said: Mapping[str, str]) -> ObjectInfo:
    """What the headers say, looked up in lower case."""
    etag = said.get("etag") or None
    return ObjectInfo(
        key=key,
        size=_number(said.get("content-length")),
        etag=etag,
        last_modified=time_in(said.get("last-modified")),
        content_type=said.get("content-type") or None,
        metadata={name.lower()[len(_METADATA) :]: value for name, value in said.items() if _is_metadata(name)},
        missing_metadata=_number(said.get("x-amz-missing-meta")) or 0,
        version_id=said.get("x-amz-version-id") or None,
        checksums=_checksums(said),
        storage_class=said.get("x-amz-storage-class") or None,
        archive_status=said.get("x-amz-archive-status") or None,
        encryption=_encryption(said),
        parts_count=_parts(said, etag),
        cache_control=said.get("cache-control") or None,
        content_disposition=said.get("content-disposition") or None,
        content_encoding=said.get("content-encoding") or None,
        content_language=said.get("content-language") or None,
        expires=time_in(said.get("expires")),
        retention=_retention(said),
        legal_hold=_one_of(said.get(f"{_LOCK}legal-hold"), {"ON": True, "OFF": False}),
        restore=_restore(said.get("x-amz-restore")),
        tag_count=_number(said.get("x-amz-tagging-count")),
        replication_status=said.get("x-amz-replication-status") or None,
        website_redirect_location=said.get("x-amz-website-redirect-location") or None,
        delete_marker=said.get("x-amz-delete-marker", "").lower() == "true",
        headers={name.lower(): value for name, value in said.items()},
    )


def time_in(text: str | None) -> datetime | None:
    """A time as HTTP writes it (RFC 9110, 5.6.7) or as S3 does (ISO 8601), time-zone aware; else None."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            time = read((text or "").strip())
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _is_metadata(name: str) -> bool:
    return len(name) > len(_METADATA) and name.lower().startswith(_METADATA)


def _number(text: str | None) -> int | None:
    known = (text or "").strip()
    return int(known) if known.isascii() and known.isdigit() and len(known) < 20 else None


def _one_of(text: str | None, meanings: Mapping[str, bool]) -> bool | None:
    return meanings.get((text or "").strip().upper())


def _parts(said: Mapping[str, str], etag: str | None) -> int | None:
    """S3 tells it only of who asks for one part; the ETag of what was sent in parts ends in their number."""
    match = _IN_PARTS.fullmatch(bare_etag(etag or ""))
    return _number(said.get("x-amz-mp-parts-count")) or (int(match[1]) if match else None)


def _checksums(said: Mapping[str, str]) -> tuple[Checksum, ...]:
    composite = said.get(TYPE_HEADER, "").strip().upper() == "COMPOSITE"
    found: list[Checksum] = []
    for algorithm in ALGORITHMS:
        text = said.get(f"x-amz-checksum-{algorithm.lower()}")
        try:
            found += [read_checksum(algorithm, text, composite=composite)] if text else []
        except InvalidResponse:
            continue
    return tuple(found)


def _encryption(said: Mapping[str, str]) -> ObjectEncryption | None:
    algorithm = said.get(_SSE) or said.get(f"{_SSE}-customer-algorithm")
    if not algorithm:
        return None
    return ObjectEncryption(
        algorithm=algorithm,
        kms_key_id=said.get(f"{_SSE}-aws-kms-key-id") or None,
        bucket_key=_one_of(said.get(f"{_SSE}-bucket-key-enabled"), {"TRUE": True, "FALSE": False}),
        customer_key_md5=said.get(f"{_SSE}-customer-key-md5") or None,
    )


def _retention(said: Mapping[str, str]) -> Retention | None:
    until = time_in(said.get(f"{_LOCK}retain-until-date"))
    match said.get(f"{_LOCK}mode", "").strip().upper():
        case "GOVERNANCE" | "COMPLIANCE" as mode if until is not None:
            return Retention(mode=mode, until=until)
    return None


def _restore(text: str | None) -> RestoreStatus | None:
    """``ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"``."""
    said = dict(_SAID.findall(text or ""))
    ongoing = _one_of(said.get("ongoing-request"), {"TRUE": True, "FALSE": False})
    return None if ongoing is None else RestoreStatus(ongoing=ongoing, expires=time_in(said.get("expiry-date")))
