"""Calls about one object, in one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..stat import object_info
from .base import Headers, Operation, is_conditional

if TYPE_CHECKING:
    from ...models.objects import ObjectInfo
    from ..address import Location, Query
    from ..answers import Answer


def _whole(answer: Answer) -> Answer:
    return answer


def plain(method: str, location: Location, query: Query, headers: Headers) -> Operation[Answer]:
    """A request of the caller's own making. POST, and writes with a condition, are not sent twice blindly."""
    idempotent = method in ("GET", "HEAD") or (method in ("PUT", "DELETE") and not is_conditional(headers))
    return Operation(
        name=_plain_name(method, headers) if location.key and not query else method,
        method=method,
        location=location,
        query=query,
        headers=headers,
        idempotent=idempotent,
        parse=_whole,
    )


def _plain_name(method: str, headers: Headers) -> str:
    if method == "PUT" and any(name.lower() == "x-amz-copy-source" for name, _ in headers):
        return "CopyObject"
    return _PLAIN_NAMES.get(method, method)


_PLAIN_NAMES: Final = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


def put_object(location: Location, headers: Headers) -> Operation[Answer]:
    """Write a whole object."""
    return Operation(
        name="PutObject",
        method="PUT",
        location=location,
        headers=headers,
        idempotent=not is_conditional(headers),
        parse=_whole,
    )


def head_object(location: Location, headers: Headers = (), query: Query = ()) -> Operation[Answer]:
    """Ask for an object's headers."""
    return Operation(name="HeadObject", method="HEAD", location=location, query=query, headers=headers, parse=_whole)


def stat_object(location: Location, headers: Headers = (), query: Query = ()) -> Operation[ObjectInfo]:
    """Ask what an object's headers say, and read them."""
    return Operation(
        name="HeadObject",
        method="HEAD",
        location=location,
        query=query,
        headers=headers,
        parse=lambda answer: object_info(location.name, answer.headers),
    )


def get_object(location: Location, headers: Headers, query: Query = ()) -> Operation[Answer]:
    """Read an object, or with a Range header a part of it. Its body is streamed, not parsed."""
    return Operation(name="GetObject", method="GET", location=location, query=query, headers=headers, parse=_whole)
