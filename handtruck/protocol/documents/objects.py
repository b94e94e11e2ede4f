"""Of objects: their attributes, access control lists, locks, and the order to bring one back from the archive.

An answer of S3's about an object may be the object itself: servers that do not know a sub-resource do not look at it.
:func:`is_document` tells them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

from ...errors import InvalidResponse, UsageError
from ...models.objects import (
    AccessControlList,
    Grant,
    Grantee,
    ObjectAttributes,
    ObjectPart,
    Permission,
    RestoreTier,
    Retention,
    RetentionMode,
)
from ..checksums import read_checksum
from ..crc import ALGORITHMS
from ..fields import flag, iso_date, one_of
from .trees import TYPE, parse_tree, write_tree
from .xml import integer, parse_xml, time_of

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from ...models.checksums import Checksum
    from .trees import Tree

ATTRIBUTES: Final = ("GetObjectAttributesResponse", "GetObjectAttributesOutput")
"""S3's name of the document, and botocore's, which moto uses."""

_BOM: Final = b"\xef\xbb\xbf"
_KINDS: Final = {
    "id": ("CanonicalUser", "ID"),
    "uri": ("Group", "URI"),
    "email": ("AmazonCustomerByEmail", "EmailAddress"),
}
_HEADERS: Final = {"id": "id", "uri": "uri", "email": "emailAddress"}


def is_document(body: bytes, *roots: str) -> bool:
    """The answer is the document that was asked for.

    Raises:
        InvalidResponse: it may have become one: it begins as XML does, and does not end so.
    """
    if not body.removeprefix(_BOM).lstrip().startswith(b"<"):
        return False
    return parse_xml(body).tag in roots


# --- attributes


def parse_attributes(body: bytes) -> ObjectAttributes:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html."""
    root = parse_xml(body)
    if root.tag not in ATTRIBUTES:
        raise InvalidResponse(f"expected <{ATTRIBUTES[0]}> in the answer, found <{root.tag}>")
    checksum, listed = root.find("Checksum"), root.find("ObjectParts")
    parts = () if listed is None else tuple([_part(part) for part in listed.iterfind("Part")])
    return ObjectAttributes(
        etag=_text(root, "ETag") or None,
        size=integer(_text(root, "ObjectSize")),
        storage_class=_text(root, "StorageClass") or None,
        checksums=() if checksum is None else _checksums(checksum),
        parts_count=None
        if listed is None
        else integer(_text(listed, "PartsCount") or _text(listed, "TotalPartsCount")),
        parts=parts,
        next_part_number=None if listed is None else _next(listed, parts),
    )


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()


def _next(listed: ET.Element, parts: tuple[ObjectPart, ...]) -> int | None:
    """MinIO says of an empty page, too, that there are more, and not where they begin."""
    if _text(listed, "IsTruncated").lower() != "true":
        return None
    return integer(_text(listed, "NextPartNumberMarker")) or (parts[-1].number if parts else None)


def _part(part: ET.Element) -> ObjectPart:
    number = integer(_text(part, "PartNumber"))
    if number is None:
        raise InvalidResponse("<Part> in the answer has no <PartNumber>")
    return ObjectPart(number=number, size=integer(_text(part, "Size")), checksums=_checksums(part))


def _checksums(element: ET.Element) -> tuple[Checksum, ...]:
    composite = _text(element, "ChecksumType").upper() == "COMPOSITE"
    return tuple(
        [
            read_checksum(algorithm, text, composite=composite)
            for algorithm in ALGORITHMS
            if (text := _text(element, f"Checksum{algorithm}"))
        ]
    )


# --- access control lists


def parse_acl(body: bytes) -> AccessControlList:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html."""
    tree = parse_tree(body, "AccessControlPolicy")
    owner, listed = tree.get("Owner"), tree.get("AccessControlList")
    grants = listed.get("Grant", []) if isinstance(listed, dict) else []
    return AccessControlList(
        owner=_account(owner) if isinstance(owner, dict) else None,
        grants=tuple([_grant(grant) for grant in grants]),
    )


def _account(tree: Tree) -> Grantee:
    said = {name: tree.get(element) for name, (_, element) in _KINDS.items()}
    texts: dict[str, Any] = {
        name: text.strip() for name, text in said.items() if isinstance(text, str) and text.strip()
    }
    name = tree.get("DisplayName")
    return Grantee(**texts, display_name=name.strip() or None if isinstance(name, str) else None)


def _grant(tree: object) -> Grant:
    grantee = tree.get("Grantee") if isinstance(tree, dict) else None
    allowed = tree.get("Permission") if isinstance(tree, dict) else None
    if not isinstance(grantee, dict):
        raise InvalidResponse("<Grant> in the answer has no <Grantee>")
    return Grant(grantee=_account(grantee), permission=_word("Permission", allowed, Permission))


def _word(name: str, text: object, choices: object) -> Any:
    """One of a closed set: of who may do what, and for how long, nothing is guessed."""
    known = text.strip() if isinstance(text, str) else ""
    if known not in get_args(choices):
        raise InvalidResponse(
            f"<{name}> in the answer is {known[:40]!r}, and not one of {', '.join(get_args(choices))}"
        )
    return known


def write_acl(acl: AccessControlList) -> bytes:
    """The body of PutObjectAcl, for a list that has an owner.

    Raises:
        UsageError: somebody in it is nobody, or may do what S3 does not know.
    """
    assert acl.owner is not None
    owner = {"ID": acl.owner.id, "DisplayName": acl.owner.display_name}
    if not owner["ID"]:
        raise UsageError("the owner of an access control list is an account: give its id=, or no owner at all")
    grants = [_written_grant(grant) for grant in _checked(acl)]
    tree = {"Owner": _filled(owner), "AccessControlList": {"Grant": grants}}
    return write_tree("AccessControlPolicy", tree)


def _written_grant(grant: Grant) -> Tree:
    kind, value = _who(grant.grantee)
    xsi, element = _KINDS[kind]
    name = grant.grantee.display_name if kind == "id" else None
    return {"Grantee": {TYPE: xsi, **_filled({element: value, "DisplayName": name})}, "Permission": grant.permission}


def _filled(tree: Tree) -> Tree:
    return {name: value for name, value in tree.items() if value}


def _checked(acl: AccessControlList) -> tuple[Grant, ...]:
    for grant in acl.grants:
        known: object = grant
        if not (isinstance(known, Grant) and isinstance(known.grantee, Grantee)):
            raise UsageError(f"the grants of an access control list must be Grant(…), not {type(grant).__name__}")
        one_of("the permission of a grant", grant.permission, get_args(Permission))
    return tuple(acl.grants)


def _who(grantee: Grantee) -> tuple[str, str]:
    """The field that says who, and what it says."""
    said = [(name, value) for name in _KINDS if (value := getattr(grantee, name)) is not None]
    if len(said) != 1 or not isinstance(said[0][1], str) or not said[0][1]:
        raise UsageError(f"a grantee is an id, a uri or an email, one of them: {grantee!r:.100}")
    return said[0]


def acl_headers(acl: AccessControlList) -> tuple[tuple[str, str], ...]:
    """The headers of PutObjectAcl, for a list without an owner: ``x-amz-grant-read: id="…", uri="…"``.

    Raises:
        UsageError: see :func:`write_acl`; or a name cannot travel in a header; or there is no grant at all.
    """
    by_permission: dict[str, list[str]] = {}
    for grant in _checked(acl):
        kind, value = _who(grant.grantee)
        if not (value.isascii() and value.isprintable()) or '"' in value:
            raise UsageError(f"{value!r:.60} cannot be named in a header; give the access control list its owner, too")
        by_permission.setdefault(grant.permission, []).append(f'{_HEADERS[kind]}="{value}"')
    if not by_permission:
        raise UsageError("an access control list without an owner needs a grant; acl='private' leaves the owner's only")
    return tuple(
        (f"x-amz-grant-{permission.lower().replace('_', '-')}", ", ".join(who))
        for permission, who in by_permission.items()
    )


# --- locks


def parse_legal_hold(body: bytes) -> bool:
    """Nothing said is no hold.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLegalHold.html
    """
    said = parse_tree(body, "LegalHold").get("Status", "OFF")
    status = said.strip() if isinstance(said, str) else ""
    if status not in ("ON", "OFF"):
        raise InvalidResponse(f"<Status> in the answer is neither ON nor OFF: {said!r:.40}")
    return status == "ON"


def write_legal_hold(held: object) -> bytes:
    """The body of PutObjectLegalHold.

    Raises:
        UsageError: it is neither True nor False.
    """
    return write_tree("LegalHold", {"Status": "ON" if flag("held", held) else "OFF"})


def parse_retention(body: bytes) -> Retention | None:
    """None: there is none.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html
    """
    tree = parse_tree(body, "Retention")
    until = tree.get("RetainUntilDate", "")
    time = time_of(until.strip()) if isinstance(until, str) else None
    if not tree.get("Mode") and time is None:
        return None
    if time is None:
        raise InvalidResponse("<Retention> in the answer has no <RetainUntilDate>")
    return Retention(mode=_word("Mode", tree.get("Mode"), RetentionMode), until=time)


def write_retention(retention: object) -> bytes:
    """The body of PutObjectRetention; None: there is to be none.

    Raises:
        UsageError: it is no retention that S3 can keep.
    """
    if retention is None:
        return write_tree("Retention", {})
    if not isinstance(retention, Retention):
        raise UsageError(f"the retention must be Retention(…) or None, not {type(retention).__name__}")
    mode = one_of("the mode of a retention", retention.mode, get_args(RetentionMode))
    return write_tree("Retention", {"Mode": mode, "RetainUntilDate": iso_date("until", retention.until)})


# --- the archive


def write_restore(days: object, tier: object) -> bytes:
    """The body of RestoreObject.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html

    Raises:
        UsageError: there is no such number of days, or no such tier.
    """
    tree: Tree = {"GlacierJobParameters": {"Tier": one_of("tier", tier, get_args(RestoreTier))}}
    if days is not None:
        if not isinstance(days, int) or isinstance(days, bool) or not 1 <= days < 2**31:
            raise UsageError(f"days must be a whole number from 1, or None, not {days!r:.60}")
        tree = {"Days": days, **tree}
    return write_tree("RestoreRequest", tree)
