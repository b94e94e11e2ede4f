"""Listings of a bucket's objects, and of their versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import documents
from .base import Headers, Operation

if TYPE_CHECKING:
    from ..address import Location, Query


def list_objects_v2(bucket: Location, query: Query, headers: Headers = ()) -> Operation[documents.ListedPage]:
    """One page of a bucket's objects."""
    return Operation(
        name="ListObjectsV2",
        method="GET",
        location=bucket,
        query=(("list-type", "2"), *query),
        headers=headers,
        parse=lambda answer: documents.parse_listed_objects(answer.body),
    )


def list_object_versions(bucket: Location, query: Query, headers: Headers = ()) -> Operation[documents.ListedVersions]:
    """One page of the versions of a bucket's objects, delete markers among them."""
    return Operation(
        name="ListObjectVersions",
        method="GET",
        location=bucket,
        query=(("versions", None), *query),
        headers=headers,
        parse=lambda answer: documents.parse_listed_versions(answer.body),
    )
