"""Listings of a bucket's objects, and of their versions.

Names in the query and in what comes of it are those below the bucket's prefix: :mod:`handtruck.protocol.prefixes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .. import documents
from ..prefixes import named_objects, named_versions, strip, whole_query
from .base import Headers, Operation

if TYPE_CHECKING:
    from ..address import Location, Query
    from ..answers import Answer

_V2: Final = frozenset({"continuation-token", "fetch-owner"})


def list_objects_v2(bucket: Location, query: Query, headers: Headers = ()) -> Operation[documents.ListedPage]:
    """One page of a bucket's objects."""

    def parse(answer: Answer) -> documents.ListedPage:
        listed = documents.parse_listed_objects(answer.body)
        return documents.ListedPage(page=named_objects(bucket.prefix, listed.page), token=listed.token)

    return Operation(
        name="ListObjectsV2",
        method="GET",
        location=bucket,
        query=(("list-type", "2"), *whole_query(bucket, query)),
        headers=headers,
        parse=parse,
    )


def list_objects(bucket: Location, query: Query, headers: Headers = ()) -> Operation[documents.ListedPage]:
    """One page of a bucket's objects, by the first version of the call; the token is the marker of the next page.

    ``query`` is that of the second version. What is called ``start-after`` there is the first page's marker. What has
    no meaning here (``fetch-owner``: the owner is always told) is left out. A marker is a key, but not at all servers,
    and so it is sent back as it is.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjects.html
    """
    known = {"start-after", *_V2} if any(name == "marker" for name, _ in query) else _V2
    said = [(name, value) for name, value in whole_query(bucket, query) if name not in known]

    def parse(answer: Answer) -> documents.ListedPage:
        listed = documents.parse_marked_objects(answer.body)
        return documents.ListedPage(page=named_objects(bucket.prefix, listed.page), token=listed.token)

    return Operation(
        name="ListObjects",
        method="GET",
        location=bucket,
        query=tuple(("marker" if name == "start-after" else name, value) for name, value in said),
        headers=headers,
        parse=parse,
    )


def list_object_versions(bucket: Location, query: Query, headers: Headers = ()) -> Operation[documents.ListedVersions]:
    """One page of the versions of a bucket's objects, delete markers among them."""

    def parse(answer: Answer) -> documents.ListedVersions:
        listed = documents.parse_listed_versions(answer.body)
        begin = None if listed.next is None else (strip(bucket.prefix, listed.next[0]), listed.next[1])
        return documents.ListedVersions(page=named_versions(bucket.prefix, listed.page), next=begin)

    return Operation(
        name="ListObjectVersions",
        method="GET",
        location=bucket,
        query=(("versions", None), *whole_query(bucket, query)),
        headers=headers,
        parse=parse,
    )
