"""Listings of a bucket's objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidResponse
from ...models import AwsObjectMeta, ObjectPage
from ..contents import FIELDS, Row, is_marker, take_contents
from .xml import decoder_of, expect_masked, integer, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from xml.etree import ElementTree as ET


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPage:
    """One answer of ListObjectsV2 and the token of the next (None: this was the last)."""

    page: ObjectPage
    token: str | None


def parse_listed_objects(body: bytes) -> ListedPage:
    """One page of ListObjectsV2.

    Keys are decoded where the answer says that they are url-encoded (``+`` is a space then), the token never is.
    """
    taken = take_contents(body)
    root, masked = expect_masked(taken.rest.encode() if taken else body, "ListBucketResult")
    if taken and not (len(found := root.findall("Contents")) == 1 and is_marker(found[0])):
        # They stand somewhere else, and mean something else.
        taken, (root, masked) = None, expect_masked(body, "ListBucketResult")
    decode = decoder_of(root, masked)
    token = root.findtext("NextContinuationToken") or None
    if token is None and root.findtext("IsTruncated") == "true":
        raise InvalidResponse("the listing says that it goes on, but gives no continuation token")
    rows = taken.rows if taken else [_row(element) for element in root.iterfind("Contents")]
    prefixes = (decode(prefix.findtext("Prefix") or "") for prefix in root.iterfind("CommonPrefixes"))
    return ListedPage(page=ObjectPage(_objects(rows, decode), prefixes), token=token)


def _row(element: ET.Element) -> Row:
    row = tuple([element.findtext(path) or "" for path in FIELDS])
    integer(row[1])
    return row


def _objects(rows: Iterable[Row], decode: Callable[[str], str]) -> Iterator[AwsObjectMeta]:
    for key, size, etag, modified, storage_class, owner in rows:
        if not key:
            raise InvalidResponse("<Contents> in the answer has no <Key>")
        yield AwsObjectMeta(
            key=decode(key),
            size=int(size) if size else None,
            etag=etag or None,
            last_modified=time_of(modified),
            storage_class=storage_class or None,
            owner=owner or None,
        )
