"""Listings of a bucket's objects, and of their versions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidResponse
from ...models import AwsObjectMeta, ObjectPage, ObjectVersion, VersionPage
from ...models.lists import object_meta
from ..contents import FIELDS, Row, is_marker, take_contents
from .xml import MASK, NO_XML, decoder_of, expect_masked, integer, need, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """One answer of ListObjectsV2 and the token of the next (None: this was the last); of ListObjects, the marker."""

    page: ObjectPage
    token: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedVersions:
    """One answer of ListObjectVersions.

    Attributes:
        page: versions and delete markers, in the server's order.
        next: the key marker and the version id marker (may be empty) of the next page; None: this was the last.
    """

    page: VersionPage
    next: tuple[str, str] | None


def parse_listed_objects(body: bytes) -> ListedPage:
    """One page of ListObjectsV2.

    Keys are decoded where the answer says that they are url-encoded (``+`` is a space then), the token never is.
    """
    root, decode, rows, texts = _taken(body)
    token = root.findtext("NextContinuationToken") or None
    if token is None and root.findtext("IsTruncated") == "true":
        raise InvalidResponse("the listing says that it goes on, but gives no continuation token")
    return ListedPage(page=ObjectPage(_objects(rows, decode), map(decode, texts)), token=token)


def parse_marked_objects(body: bytes) -> ListedPage:
    """One page of ListObjects, the first version; the token is the marker of the next page, decoded.

    S3 tells the marker only where there is a delimiter; else it is the last key. It is a key, or a common prefix.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html
    """
    root, decode, rows, texts = _taken(body)
    page = ObjectPage(_objects(rows, decode), map(decode, texts))
    if root.findtext("IsTruncated") != "true":
        return ListedPage(page=page, token=None)
    spelled = [(row[0], one.key) for row, one in zip(rows, page, strict=True)]
    spelled += zip(texts, page.common_prefixes, strict=True)
    marker = root.findtext("NextMarker") or ""
    if not marker and spelled:
        return ListedPage(page=page, token=max((name for _, name in spelled), key=_in_order))
    if not marker:
        raise InvalidResponse("the listing says that it goes on, but nothing tells where")
    return ListedPage(page=page, token=_meant(marker, spelled) or decode(marker))


def _in_order(name: str) -> bytes:
    """What S3 sorts keys by."""
    return name.encode("utf-8", "surrogateescape")


def _meant(marker: str, spelled: Iterable[tuple[str, str]]) -> str | None:
    """Which of a page's names a marker is; servers that encode the keys may send it as it is."""
    for text, name in spelled:
        if marker in (text, name) or (MASK in marker and marker == _as_masked(name)):
            return name
    return None


def _taken(body: bytes) -> tuple[ET.Element, Callable[[str], str], list[Row], list[str]]:
    """A page taken apart: what is not objects; what decodes; objects and prefixes as they are spelled."""
    taken = take_contents(body)
    root, masked = expect_masked(taken.rest.encode() if taken else body, "ListBucketResult")
    if taken and not (len(found := root.findall("Contents")) == 1 and is_marker(found[0])):
        # They stand somewhere else, and mean something else.
        taken, (root, masked) = None, expect_masked(body, "ListBucketResult")
    rows = taken.rows if taken else [_row(element) for element in root.iterfind("Contents")]
    return root, decoder_of(root, masked), rows, _prefixes(root)


def _prefixes(root: ET.Element) -> list[str]:
    """One element for each, as S3 has it, or one for all; without any it may stand there empty."""
    return [prefix.text for prefix in root.iterfind("CommonPrefixes/Prefix") if prefix.text]


def _row(element: ET.Element) -> Row:
    row = tuple([element.findtext(path) or "" for path in FIELDS])
    integer(row[1])
    return row


def _objects(rows: Iterable[Row], decode: Callable[[str], str]) -> Iterator[AwsObjectMeta]:
    for key, size, etag, modified, storage_class, owner in rows:
        if not key:
            raise InvalidResponse("<Contents> in the answer has no <Key>")
        yield object_meta(
            decode(key),
            int(size) if size else None,
            etag or None,
            time_of(modified),
            storage_class or None,
            owner or None,
        )


def parse_listed_versions(body: bytes) -> ListedVersions:
    """One page of ListObjectVersions.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
    """
    root, masked = expect_masked(body, "ListVersionsResult")
    decode = decoder_of(root, masked)
    found = [element for element in root if element.tag in ("Version", "DeleteMarker")]
    versions = [_version(element, decode) for element in found]
    prefixes = _prefixes(root)
    page = VersionPage(versions, map(decode, prefixes))
    if root.findtext("IsTruncated") != "true":
        return ListedVersions(page=page, next=None)
    # As the page spells them, and what they are; the last key first: that is where the next page mostly begins.
    spelled = [
        (need(element, "Key"), one.key, one.version_id or "") for element, one in zip(found, versions, strict=True)
    ]
    folded = [(text, prefix, "") for text, prefix in zip(prefixes, page.common_prefixes, strict=True)]
    behind = not (spelled and folded) or folded[-1][1] > spelled[-1][1]
    spelled = [*spelled, *folded] if behind else [*folded, *spelled]
    return ListedVersions(page=page, next=_next_versions(root, spelled[::-1], decode))


def _version(element: ET.Element, decode: Callable[[str], str]) -> ObjectVersion:
    marker = element.tag == "DeleteMarker"
    return ObjectVersion(
        key=decode(need(element, "Key")),
        version_id=element.findtext("VersionId") or None,
        is_latest=element.findtext("IsLatest") == "true",
        is_delete_marker=marker,
        size=None if marker else integer(element.findtext("Size") or ""),
        etag=None if marker else element.findtext("ETag") or None,
        last_modified=time_of(element.findtext("LastModified") or ""),
        storage_class=None if marker else element.findtext("StorageClass") or None,
        owner=element.findtext("Owner/ID") or None,
    )


def _next_versions(
    root: ET.Element, spelled: list[tuple[str, str, str]], decode: Callable[[str], str]
) -> tuple[str, str]:
    """Where the next page begins. Ceph's gateway encodes the keys and says so, but not the marker."""
    key, version_id = root.findtext("NextKeyMarker") or "", root.findtext("NextVersionIdMarker") or ""
    for text, name, its_version in spelled:
        if key in ("", text, name) or (MASK in key and key == _as_masked(name)):
            return name, version_id or its_version
    if not key:
        raise InvalidResponse("the listing says that it goes on, but gives no key marker")
    return decode(key), version_id


def _as_masked(name: str) -> str:
    """What is left of a name that a server wrote into its XML as it is."""
    return NO_XML.sub(MASK, name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
