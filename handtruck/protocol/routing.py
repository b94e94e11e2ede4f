"""Where one request goes, and what it is signed for: the endpoint's word, the bucket's place, and the region."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .hosts import Route
from .regions import in_region

if TYPE_CHECKING:
    from .address import Endpoint, Location


def route_of(endpoint: Endpoint, location: Location, region: str, operation: str, *, learned: bool = False) -> Route:
    """The way to a place.

    Args:
        endpoint: the client's.
        location: of the object, or the bucket.
        region: to sign for; and what hosts of AWS are chosen by.
        operation: S3's name of it.
        learned: S3 said that the bucket is in this region: a host of AWS that names another is not the one to ask.

    Raises:
        UsageError: there is no such place.
    """
    if endpoint.hosts is None:
        moved = in_region(endpoint.origin, region) if learned and endpoint.aws else None
        return Route(origin=moved or endpoint.origin, path=location.path, region=region)
    route = endpoint.hosts.route(location.bucket, location.path, region, operation=operation, learned=learned)
    return route if route.region else replace(route, region=region)
