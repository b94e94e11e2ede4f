"""Of multipart uploads: ids, completions, and what is not finished yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from ...errors import InvalidResponse
from ...models import Checksum, MultipartUploadInfo, PartInfo
from ..checksums import read_checksum, written
from ..crc import ALGORITHMS
from .xml import (
    MASK,
    NO_XML,
    XMLNS,
    UnreadableKey,
    decoder_of,
    expect,
    expect_masked,
    integer,
    need,
    parse_masked,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUploads:
    """One answer of ListMultipartUploads.

    Attributes:
        uploads: in the server's order.
        next: the key marker and the upload id marker (may be empty) of the next page; None: this was the last.
        unreadable: why no key of this page is believed; there are no uploads then, and no next page.
    """

    uploads: tuple[MultipartUploadInfo, ...] = ()
    next: tuple[str, str] | None = None
    unreadable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedParts:
    """One answer of ListParts, and where the server says that the next page begins (None: this was the last)."""

    parts: tuple[PartInfo, ...]
    next: int | None


def parse_upload_id(body: bytes) -> str:
    """The id that CreateMultipartUpload made. The root's name is not looked at: rclone's differs from S3's."""
    root, _ = parse_masked(body)
    if root.tag == "Error":
        raise InvalidResponse("expected an upload's id in the answer, found <Error>")
    return need(root, "UploadId")


def parse_completed_etag(body: bytes) -> str | None:
    """The ETag of the completed object; None where the server leaves it out or empty (Ceph, the first time)."""
    return expect(body, "CompleteMultipartUploadResult").findtext("ETag") or None


def parse_completed_checksums(body: bytes) -> tuple[Checksum, ...]:
    """The checksums of the completed object, as far as the server tells them.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    root = expect(body, "CompleteMultipartUploadResult")
    composite = (root.findtext("ChecksumType") or "").upper() == "COMPOSITE"
    return tuple(
        [
            read_checksum(algorithm, text, composite=composite)
            for algorithm in ALGORITHMS
            if (text := root.findtext(f"Checksum{algorithm}"))
        ]
    )


def write_completion(parts: Iterable[tuple[int, str]], checksums: Mapping[int, Checksum] | None = None) -> bytes:
    """The body of CompleteMultipartUpload: part numbers, ascending, with their ETags, and checksums where given."""
    known = checksums or {}
    rows = (
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag>{_element(known.get(number))}</Part>"
        for number, etag in sorted(parts)
    )
    head = "<?xml version='1.0' encoding='utf-8'?>\n"
    return f'{head}<CompleteMultipartUpload xmlns="{XMLNS}">{"".join(rows)}</CompleteMultipartUpload>'.encode()


def _element(checksum: Checksum | None) -> str:
    if checksum is None:
        return ""
    name = f"Checksum{checksum.algorithm}"
    return f"<{name}>{written(checksum)}</{name}>"


def parse_listed_parts(body: bytes) -> ListedParts:
    """One page of ListParts; moto has another name for the document.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
    """
    root, _ = expect_masked(body, "ListPartsResult", "ListPartsResponse")
    parts = tuple([_part(element) for element in root.iterfind("Part")])
    marker = None
    if root.findtext("IsTruncated") == "true":
        marker = integer(root.findtext("NextPartNumberMarker") or "")
        if marker is None and not parts:
            raise InvalidResponse("the listing says that it goes on, but gives no part number marker")
        marker = parts[-1].number if marker is None else marker
    return ListedParts(parts=parts, next=marker)


def _part(element: ET.Element) -> PartInfo:
    number = integer(need(element, "PartNumber"))
    assert number is not None
    return PartInfo(
        number=number,
        etag=element.findtext("ETag") or None,
        size=integer(element.findtext("Size") or ""),
        last_modified=time_of(element.findtext("LastModified") or ""),
    )


def parse_multipart_uploads(body: bytes, *, encoded: bool = False) -> ListedUploads:
    """One page of ListMultipartUploads; common prefixes are not looked at.

    ``encoded``: the keys are url-encoded even if the answer does not say so. (Ceph's gateway encodes when it is asked
    to, and never says so; rclone and moto do not encode, and do not say so either.)

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
    """
    root, masked = expect_masked(body, "ListMultipartUploadsResult")
    decode = decoder_of(root, masked, encoded=encoded)
    found = root.findall("Upload")
    try:
        uploads = tuple([_upload(element, decode) for element in found])
        marker = _next_uploads(root, need(found[-1], "Key") if found else "", uploads, decode)
    except UnreadableKey as error:
        return ListedUploads(unreadable=str(error))
    return ListedUploads(uploads=uploads, next=marker)


def _upload(element: ET.Element, decode: Callable[[str], str]) -> MultipartUploadInfo:
    return MultipartUploadInfo(
        key=decode(need(element, "Key")),
        upload_id=need(element, "UploadId"),
        initiated=time_of(element.findtext("Initiated") or ""),
        storage_class=element.findtext("StorageClass") or None,
        owner=element.findtext("Owner/ID") or None,
        initiator=element.findtext("Initiator/ID") or None,
    )


def _next_uploads(
    root: ET.Element, last_key: str, uploads: tuple[MultipartUploadInfo, ...], decode: Callable[[str], str]
) -> tuple[str, str] | None:
    """Where the next page begins: mostly at the last upload, whose key the marker may spell in another way."""
    if root.findtext("IsTruncated") != "true":
        return None
    key, upload_id = root.findtext("NextKeyMarker") or "", root.findtext("NextUploadIdMarker") or ""
    if uploads and key in ("", last_key, uploads[-1].key, NO_XML.sub(MASK, uploads[-1].key)):
        return uploads[-1].key, upload_id or uploads[-1].upload_id
    if not key:
        raise InvalidResponse("the listing says that it goes on, but gives no key marker")
    return decode(key), upload_id
