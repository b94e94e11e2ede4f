"""Where one request goes, and what it is signed for: the endpoint's word, the bucket's place, and the region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .address import Endpoint, Location


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one request.

    Attributes:
        origin: ``scheme://host[:port]``.
        path: as it is sent and signed.
        region: that is signed for.
        service: that is signed for; ``s3`` nearly always.
    """

    origin: str
    path: str
    region: str
    service: str = "s3"


def route_of(endpoint: Endpoint, location: Location, region: str, *, learned: bool = False) -> Route:
    """The way to a place.

    Args:
        endpoint: the client's.
        location: of the object, or the bucket.
        region: to sign for; and what hosts of AWS are chosen by.
        learned: S3 said that the bucket is in this region: a host of AWS that names another is not the one to ask.
    """
    if endpoint.hosts is None:
        moved = in_region(endpoint.origin, region) if learned and endpoint.aws else None
        return Route(moved or endpoint.origin, location.path, region)
    found = endpoint.hosts.route(location.bucket, location.path, region)
    return Route(found.origin, found.path, found.region or region, found.service)


def in_region(origin: str, region: str) -> str | None:
    raise NotImplementedError
