"""Names below a prefix: what callers call by a name is, for S3, a key that begins with the endpoint's prefix.

All of it happens where requests are made and answers are read (``operations``), so that nothing above ever meets a key
of which it would have to know whether it is whole. ``strip`` undoes ``add``, for every name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from ..errors import InvalidResponse
from ..models import AwsObjectMeta, MultipartUploadInfo, ObjectPage, ObjectVersion, VersionPage

if TYPE_CHECKING:
    from .address import Location, Query

T = TypeVar("T", AwsObjectMeta, ObjectVersion, MultipartUploadInfo)

_NAMES: Final = frozenset({"key-marker", "prefix", "start-after"})
"""Query parameters that hold a key, or what keys begin with. (A marker of ListObjects is the server's own.)"""


def add(prefix: str, name: str) -> str:
    """The key of a name."""
    return prefix + name


def strip(prefix: str, key: str) -> str:
    """The name of a key.

    Raises:
        InvalidResponse: it does not begin with the prefix, so that it is none of ours.
    """
    if not key.startswith(prefix):
        raise InvalidResponse(f"the answer names {key!r}, and only what is below {prefix!r} was asked for")
    return key[len(prefix) :]


def whole_query(bucket: Location, query: Query) -> Query:
    """What a listing asks for, with keys in place of names; never for anything that is not below the prefix."""
    if not bucket.prefix:
        return query
    said = tuple(
        (name, add(bucket.prefix, value) if name in _NAMES and value is not None else value) for name, value in query
    )
    given = {name for name, value in said if value}
    return said if "prefix" in given else (*said, ("prefix", bucket.prefix))


def named(prefix: str, one: T) -> T:
    """One of a listing, called by its name. Raises: see :func:`strip`."""
    return replace(one, key=strip(prefix, one.key)) if prefix else one


def named_objects(prefix: str, page: ObjectPage) -> ObjectPage:
    """A page, called by names. Raises: see :func:`strip`."""
    if not prefix:
        return page
    return ObjectPage([named(prefix, one) for one in page], [strip(prefix, each) for each in page.common_prefixes])


def named_versions(prefix: str, page: VersionPage) -> VersionPage:
    """A page of versions, called by names. Raises: see :func:`strip`."""
    if not prefix:
        return page
    return VersionPage([named(prefix, one) for one in page], [strip(prefix, each) for each in page.common_prefixes])
