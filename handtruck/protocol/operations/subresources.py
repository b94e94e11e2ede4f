"""Calls about what belongs to an object and is not its bytes: tags, access control list, locks, attributes.

A server that does not know a sub-resource mostly does not look at it: ``GET key?tagging`` gives the object then,
``PUT key?tagging`` writes the document over it, and ``DELETE key?tagging`` deletes it (rclone does all of that, and
others some). An object has an ETag and ranges, and these documents have not: that is how it shows, and why an answer is
a :class:`~handtruck.protocol.operations.configuration.Setting`.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, replace
from hashlib import md5
from typing import TYPE_CHECKING, Final, TypeVar, get_args

from ...errors import UsageError
from ...models.objects import ObjectAttribute, ObjectAttributes
from ..documents import configuration, objects
from ..fields import one_of
from ..stat import time_in
from .base import Headers, Operation
from .configuration import Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from ...models.objects import AccessControlList, Retention
    from ..address import Location, Query
    from ..answers import Answer

T = TypeVar("T")

MOST_TAGS: Final = 10
_SLOW: Final = frozenset({"GlacierExpeditedRetrievalNotAvailable"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sub-resource.

    Attributes:
        name: of S3's calls, behind their verb.
        roots: of its document; S3's name first, then other servers'.
        absent: S3's codes for an object that has nothing of that kind.
    """

    name: str
    roots: tuple[str, ...]
    absent: frozenset[str] = frozenset()


_NO_LOCK: Final = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"})
KINDS: Final[Mapping[str, Kind]] = {
    "acl": Kind(name="ObjectAcl", roots=("AccessControlPolicy",)),
    "attributes": Kind(name="ObjectAttributes", roots=objects.ATTRIBUTES),
    "legal-hold": Kind(name="ObjectLegalHold", roots=("LegalHold",), absent=_NO_LOCK),
    "retention": Kind(name="ObjectRetention", roots=("Retention",), absent=_NO_LOCK),
    "tagging": Kind(name="ObjectTagging", roots=("Tagging",), absent=frozenset({"NoSuchTagSet", "NoSuchTagSetError"})),
}
"""By the parameter that names it."""


def read_subresource(
    kind: str, location: Location, parse: Callable[[bytes], T], headers: Headers = (), query: Query = ()
) -> Operation[Setting[T]]:
    """Read one."""

    def meaning(answer: Answer) -> Setting[T]:
        if not objects.is_document(answer.body, *KINDS[kind].roots):
            return Setting(known=False, value=None)
        return Setting(known=True, value=parse(answer.body))

    return Operation(
        name=f"Get{KINDS[kind].name}",
        method="GET",
        location=location,
        query=((kind, None), *query),
        headers=headers,
        parse=meaning,
    )


def write_subresource(
    kind: str, location: Location, content: bytes, headers: Headers = (), query: Query = ()
) -> Operation[None]:
    """Write one, in place of what is there; with the MD5 of the document, which S3 wants of most."""
    own: list[tuple[str, str]] = []
    if content:
        own.append(("Content-Type", "application/xml"))
        own.append(("Content-MD5", b64encode(md5(content, usedforsecurity=False).digest()).decode()))
    return Operation(
        name=f"Put{KINDS[kind].name}",
        method="PUT",
        location=location,
        query=((kind, None), *query),
        headers=(*own, *headers),
        content=content,
        parse=lambda _: None,
    )


def get_object_tagging(
    location: Location, headers: Headers = (), query: Query = ()
) -> Operation[Setting[dict[str, str]]]:
    """Read an object's tags."""
    return read_subresource("tagging", location, configuration.parse_tags, headers, query)


def put_object_tagging(location: Location, tags: object, headers: Headers = (), query: Query = ()) -> Operation[None]:
    """Give an object these tags, and no others."""
    return write_subresource("tagging", location, configuration.write_tags(tags, most=MOST_TAGS), headers, query)


def delete_object_tagging(location: Location, headers: Headers = (), query: Query = ()) -> Operation[None]:
    """Take an object's tags away."""
    return Operation(
        name="DeleteObjectTagging",
        method="DELETE",
        location=location,
        query=(("tagging", None), *query),
        headers=headers,
        parse=lambda _: None,
    )


def get_object_acl(
    location: Location, headers: Headers = (), query: Query = ()
) -> Operation[Setting[AccessControlList]]:
    """Read an object's access control list."""
    return read_subresource("acl", location, objects.parse_acl, headers, query)


def put_object_acl(
    location: Location, acl: AccessControlList, headers: Headers = (), query: Query = ()
) -> Operation[None]:
    """Write an object's access control list: as a document, or without an owner in headers."""
    if acl.owner is not None:
        return write_subresource("acl", location, objects.write_acl(acl), headers, query)
    return write_subresource("acl", location, b"", (*objects.acl_headers(acl), *headers), query)


def get_object_legal_hold(location: Location, headers: Headers = (), query: Query = ()) -> Operation[Setting[bool]]:
    """Ask whether a version is held."""
    return read_subresource("legal-hold", location, objects.parse_legal_hold, headers, query)


def put_object_legal_hold(
    location: Location, held: object, headers: Headers = (), query: Query = ()
) -> Operation[None]:
    """Hold a version, or let it go."""
    return write_subresource("legal-hold", location, objects.write_legal_hold(held), headers, query)


def get_object_retention(
    location: Location, headers: Headers = (), query: Query = ()
) -> Operation[Setting[Retention | None]]:
    """Ask until when a version is kept."""
    return read_subresource("retention", location, objects.parse_retention, headers, query)


def put_object_retention(
    location: Location, retention: object, headers: Headers = (), query: Query = ()
) -> Operation[None]:
    """Say until when a version is kept."""
    return write_subresource("retention", location, objects.write_retention(retention), headers, query)


def get_object_attributes(
    location: Location,
    wanted: Collection[str],
    *,
    max_parts: int | None = None,
    part_number_marker: int | None = None,
    headers: Headers = (),
    query: Query = (),
) -> Operation[Setting[ObjectAttributes]]:
    """Ask for some of what S3 knows of an object, with one page of its parts.

    Raises:
        UsageError: nothing is asked for, or something that S3 does not know.
    """
    named = [one_of("an attribute", each, get_args(ObjectAttribute)) for each in wanted]
    if isinstance(wanted, str) or not named:
        raise UsageError(f"attributes must be some of {', '.join(get_args(ObjectAttribute))}, not {wanted!r:.60}")
    own = [("x-amz-object-attributes", ",".join(dict.fromkeys(named)))]
    for option, header, number in (
        ("max_parts", "x-amz-max-parts", max_parts),
        ("part_number_marker", "x-amz-part-number-marker", part_number_marker),
    ):
        if number is not None:
            own.append((header, str(_at_least(option, number, 1 if option == "max_parts" else 0))))
    operation = read_subresource("attributes", location, objects.parse_attributes, (*own, *headers), query)

    def meaning(answer: Answer) -> Setting[ObjectAttributes]:
        found = operation.parse(answer)
        if found.value is None:
            return found
        version_id, modified = answer.headers.get("x-amz-version-id"), answer.headers.get("last-modified")
        value = replace(found.value, version_id=version_id or None, last_modified=time_in(modified))
        return Setting(known=True, value=value)

    return replace(operation, parse=meaning)


def _at_least(option: str, number: object, least: int) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise UsageError(f"{option} must be a whole number from {least}, not {number!r:.60}")
    return number


def restore_object(
    location: Location, days: object, tier: object, headers: Headers = (), query: Query = ()
) -> Operation[bool]:
    """Ask for an archived object back; gives whether that has begun now. False: it was back already.

    Not sent twice where the answer was lost: the second would be told that the first is under way, which is an error.
    """
    return Operation(
        name="RestoreObject",
        method="POST",
        location=location,
        query=(("restore", None), *query),
        headers=(("Content-Type", "application/xml"), *headers),
        content=objects.write_restore(days, tier),
        idempotent=False,
        final_codes=_SLOW,
        parse=lambda answer: answer.status == 202,
    )
