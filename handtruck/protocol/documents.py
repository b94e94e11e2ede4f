"""S3's XML ⇄ values. Any bytes at all become a value or :class:`InvalidResponse`.

Namespaces are ignored: clones leave them out or misspell them. Every optional element is optional. A document
type declaration is refused, and with it every entity that could grow.

Keys may hold characters that XML 1.0 cannot carry, and most answers repeat the key (or the prefix) they are about:
all servers tried then send a document that no parser takes. Such characters are masked, and only where a masked text
would be believed (a listed key) it is an error.

Sources: the response syntax on the API page of each operation, https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

# Safe here: expat expands no entity without a document type, and _Builder refuses those.
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from ..errors import InvalidResponse
from ..models import AwsObjectMeta, MultipartUploadInfo, ObjectPage, PartInfo
from .contents import FIELDS, Row, is_marker, take_contents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_XMLNS: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_MASK: Final = "\ufffd"
_NO_XML: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
    r"|&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|fff[ef])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]|6553[45]));",
    re.IGNORECASE,
)
"""What XML 1.0 cannot carry, as it is and as a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """What an ``<Error>`` says."""

    code: str | None
    message: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """One answer of ListObjectsV2 and the token of the next (None: this was the last)."""

    page: ObjectPage
    token: str | None


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


class _UnreadableKey(InvalidResponse):
    """A key that XML cannot carry."""


class _Builder(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise InvalidResponse("the answer's XML has a document type declaration, which S3 never sends")


def parse_xml(body: bytes) -> ET.Element:
    """The root element, every tag below it without its namespace.

    Raises:
        InvalidResponse: this is no (or not all of an) XML document.
    """
    # S3 speaks UTF-8. What else a document may claim would run any of Python's codecs.
    parser = ET.XMLParser(target=_Builder(), encoding="utf-8")  # noqa: S314 - _Builder refuses document types
    try:
        # Some servers send blanks ahead of the document while they work; XML does not allow that.
        parser.feed(body.lstrip())
        root = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InvalidResponse(f"the answer is no complete XML document: {error}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _parse_masked(body: bytes) -> tuple[ET.Element, bool]:
    """As :func:`parse_xml`, with U+FFFD for what XML cannot carry; and whether there was any such."""
    try:
        return parse_xml(body), False
    except InvalidResponse:
        masked = _NO_XML.sub(_MASK, body.decode("utf-8", "replace")).encode()
        if masked == body:
            raise
        return parse_xml(masked), True


def _expect_masked(body: bytes, *tags: str) -> tuple[ET.Element, bool]:
    root, masked = _parse_masked(body)
    if root.tag not in tags:
        raise InvalidResponse(f"expected <{tags[0]}> in the answer, found <{root.tag}>")
    return root, masked


def _expect(body: bytes, tag: str) -> ET.Element:
    return _expect_masked(body, tag)[0]


def _need(element: ET.Element, tag: str) -> str:
    text = element.findtext(tag)
    if not text:
        raise InvalidResponse(f"<{element.tag}> in the answer has no <{tag}>")
    return text


def parse_error(body: bytes) -> ErrorDocument | None:
    """What the body says went wrong, or None where it is not an ``<Error>``."""
    try:
        root, _ = _parse_masked(body)
    except InvalidResponse:
        return None
    if root.tag != "Error":
        return None
    return ErrorDocument(
        code=root.findtext("Code") or None,
        message=root.findtext("Message") or None,
        request_id=root.findtext("RequestId") or None,
    )


def parse_upload_id(body: bytes) -> str:
    """The id that CreateMultipartUpload made. The root's name is not looked at: rclone's differs from S3's."""
    root, _ = _parse_masked(body)
    if root.tag == "Error":
        raise InvalidResponse("expected an upload's id in the answer, found <Error>")
    return _need(root, "UploadId")


def parse_completed_etag(body: bytes) -> str | None:
    """The ETag of the completed object; None where the server leaves it out or empty (Ceph, the first time)."""
    return _expect(body, "CompleteMultipartUploadResult").findtext("ETag") or None


def write_completion(parts: Iterable[tuple[int, str]]) -> bytes:
    """The body of CompleteMultipartUpload: part numbers, ascending, with their ETags."""
    rows = (
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag)}</ETag></Part>" for number, etag in sorted(parts)
    )
    head = "<?xml version='1.0' encoding='utf-8'?>\n"
    return f'{head}<CompleteMultipartUpload xmlns="{_XMLNS}">{"".join(rows)}</CompleteMultipartUpload>'.encode()


def parse_listed_objects(body: bytes) -> ListedPage:
    """One page of ListObjectsV2.

    Keys are decoded where the answer says that they are url-encoded (``+`` is a space then), the token never is.
    """
    taken = take_contents(body)
    root, masked = _expect_masked(taken.rest.encode() if taken else body, "ListBucketResult")
    if taken and not (len(found := root.findall("Contents")) == 1 and is_marker(found[0])):
        # They stand somewhere else, and mean something else.
        taken, (root, masked) = None, _expect_masked(body, "ListBucketResult")
    decode = _decoder(root, masked)
    token = root.findtext("NextContinuationToken") or None
    if token is None and root.findtext("IsTruncated") == "true":
        raise InvalidResponse("the listing says that it goes on, but gives no continuation token")
    rows = taken.rows if taken else [_row(element) for element in root.iterfind("Contents")]
    prefixes = (decode(prefix.findtext("Prefix") or "") for prefix in root.iterfind("CommonPrefixes"))
    return ListedPage(page=ObjectPage(_objects(rows, decode), prefixes), token=token)


def _decoder(root: ET.Element, masked: bool, *, encoded: bool = False) -> Callable[[str], str]:
    encoded = encoded or (root.findtext("EncodingType") or "").strip() == "url"

    def decode(text: str) -> str:
        if masked and _MASK in text:
            raise _UnreadableKey(f"the answer names {text!r}: a key that XML cannot carry, and it is not url-encoded")
        return unquote_plus(text, errors="surrogateescape") if encoded else text

    return decode


def _row(element: ET.Element) -> Row:
    row = tuple([element.findtext(path) or "" for path in FIELDS])
    _integer(row[1])
    return row


def _objects(rows: Iterable[Row], decode: Callable[[str], str]) -> Iterator[AwsObjectMeta]:
    for key, size, etag, modified, storage_class, owner in rows:
        if not key:
            raise InvalidResponse("<Contents> in the answer has no <Key>")
        yield AwsObjectMeta(
            key=decode(key),
            size=int(size) if size else None,
            etag=etag or None,
            last_modified=_time(modified),
            storage_class=storage_class or None,
            owner=owner or None,
        )


def _integer(text: str) -> int | None:
    if not text:
        return None
    # No more digits than 2**63 has: int() of untrusted text is otherwise a quadratic surprise.
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidResponse(f"{text[:40]!r} in the answer is no number")
    return int(text)


def _time(text: str) -> datetime | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidResponse(f"{text[:40]!r} in the answer is no time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def parse_listed_parts(body: bytes) -> ListedParts:
    """One page of ListParts; moto has another name for the document.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
    """
    root, _ = _expect_masked(body, "ListPartsResult", "ListPartsResponse")
    parts = tuple([_part(element) for element in root.iterfind("Part")])
    marker = None
    if root.findtext("IsTruncated") == "true":
        marker = _integer(root.findtext("NextPartNumberMarker") or "")
        if marker is None and not parts:
            raise InvalidResponse("the listing says that it goes on, but gives no part number marker")
        marker = parts[-1].number if marker is None else marker
    return ListedParts(parts=parts, next=marker)


def _part(element: ET.Element) -> PartInfo:
    number = _integer(_need(element, "PartNumber"))
    assert number is not None
    return PartInfo(
        number=number,
        etag=element.findtext("ETag") or None,
        size=_integer(element.findtext("Size") or ""),
        last_modified=_time(element.findtext("LastModified") or ""),
    )


def parse_multipart_uploads(body: bytes, *, encoded: bool = False) -> ListedUploads:
    """One page of ListMultipartUploads; common prefixes are not looked at.

    ``encoded``: the keys are url-encoded even if the answer does not say so. (Ceph's gateway encodes when it is asked
    to, and never says so; rclone and moto do not encode, and do not say so either.)

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
    """
    root, masked = _expect_masked(body, "ListMultipartUploadsResult")
    decode = _decoder(root, masked, encoded=encoded)
    found = root.findall("Upload")
    try:
        uploads = tuple([_upload(element, decode) for element in found])
        marker = _next_uploads(root, _need(found[-1], "Key") if found else "", uploads, decode)
    except _UnreadableKey as error:
        return ListedUploads(unreadable=str(error))
    return ListedUploads(uploads=uploads, next=marker)


def _upload(element: ET.Element, decode: Callable[[str], str]) -> MultipartUploadInfo:
    return MultipartUploadInfo(
        key=decode(_need(element, "Key")),
        upload_id=_need(element, "UploadId"),
        initiated=_time(element.findtext("Initiated") or ""),
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
    if uploads and key in ("", last_key, uploads[-1].key, _NO_XML.sub(_MASK, uploads[-1].key)):
        return uploads[-1].key, upload_id or uploads[-1].upload_id
    if not key:
        raise InvalidResponse("the listing says that it goes on, but gives no key marker")
    return decode(key), upload_id
