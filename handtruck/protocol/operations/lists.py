"""Listings of a bucket's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import documents
from .base import Operation

if TYPE_CHECKING:
    from ..address import Location, Query


def list_objects_v2(bucket: Location, query: Query) -> Operation[documents.ListedPage]:
    """One page of a bucket's objects."""
    return Operation(
        name="ListObjectsV2",
        method="GET",
        location=bucket,
        query=(("list-type", "2"), *query),
        parse=lambda answer: documents.parse_listed_objects(answer.body),
    )
