"""Calls about a bucket's configurations: each is a sub-resource, which is read, written and removed.

A server that does not know a sub-resource mostly does not look at it: ``GET bucket?cors`` lists the bucket then,
``PUT bucket?cors`` makes it, and ``DELETE bucket?cors`` deletes it. All servers tried do so with some. The list is
how it shows, and why an answer is a :class:`Setting`.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import md5
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ...errors import InvalidResponse
from ..documents import parse_xml
from .base import Headers, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..address import Location
    from ..answers import Answer

T_co = TypeVar("T_co", covariant=True)

_OF_OBJECTS: Final = frozenset({"ListBucketResult"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting(Generic[T_co]):
    """What a bucket's sub-resource holds.

    Attributes:
        known: the server knows the sub-resource; else it has listed the bucket's objects instead.
        value: what it holds; None where it does not say, or is not known.
    """

    known: bool
    value: T_co | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sub-resource.

    Attributes:
        names: S3's names of the calls that read and write it; of the one that removes it, if there is one.
        roots: of its document; S3's name first, then other servers'.
        absent: S3's codes for a bucket that has no such configuration.
    """

    names: tuple[str, str, str | None]
    roots: tuple[str, ...]
    absent: frozenset[str]


def _kind(name: str, root: str, *absent: str, also: tuple[str, ...] = (), removed: str | None = None) -> Kind:
    return Kind(names=(f"Get{name}", f"Put{name}", removed), roots=(root, *also), absent=frozenset(absent))


KINDS: Final[Mapping[str, Kind]] = {
    "accelerate": _kind(
        "BucketAccelerateConfiguration",
        "AccelerateConfiguration",
        also=("GetBucketAccelerateConfigurationResponse",),
    ),
    "acl": _kind("BucketAcl", "AccessControlPolicy"),
    "cors": _kind("BucketCors", "CORSConfiguration", "NoSuchCORSConfiguration", removed="DeleteBucketCors"),
    "encryption": _kind(
        "BucketEncryption",
        "ServerSideEncryptionConfiguration",
        "ServerSideEncryptionConfigurationNotFoundError",
        removed="DeleteBucketEncryption",
    ),
    "lifecycle": _kind(
        "BucketLifecycleConfiguration",
        "LifecycleConfiguration",
        "NoSuchLifecycleConfiguration",
        removed="DeleteBucketLifecycle",
    ),
    "logging": _kind("BucketLogging", "BucketLoggingStatus"),
    "notification": _kind(
        "BucketNotificationConfiguration", "NotificationConfiguration", also=("GetBucketNotificationResponse",)
    ),
    "object-lock": _kind("ObjectLockConfiguration", "ObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"),
    "ownershipControls": _kind(
        "BucketOwnershipControls",
        "OwnershipControls",
        "OwnershipControlsNotFoundError",
        removed="DeleteBucketOwnershipControls",
    ),
    "policy": _kind("BucketPolicy", "", "NoSuchBucketPolicy", removed="DeleteBucketPolicy"),
    "publicAccessBlock": _kind(
        "PublicAccessBlock",
        "PublicAccessBlockConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        also=("BlockPublicAccessBlockConfiguration",),
        removed="DeletePublicAccessBlock",
    ),
    "replication": _kind(
        "BucketReplication",
        "ReplicationConfiguration",
        "ReplicationConfigurationNotFoundError",
        removed="DeleteBucketReplication",
    ),
    "requestPayment": _kind("BucketRequestPayment", "RequestPaymentConfiguration"),
    "tagging": _kind("BucketTagging", "Tagging", "NoSuchTagSet", "NoSuchTagSetError", removed="DeleteBucketTagging"),
    "versioning": _kind("BucketVersioning", "VersioningConfiguration", also=("GetBucketVersioningResponse",)),
    "website": _kind(
        "BucketWebsite", "WebsiteConfiguration", "NoSuchWebsiteConfiguration", removed="DeleteBucketWebsite"
    ),
}
"""All sub-resources, by the parameter that names them. Those without a call that removes them are written over."""


def get_configuration(
    bucket: Location, kind: str, parse: Callable[[bytes], T_co], headers: Headers = ()
) -> Operation[Setting[T_co]]:
    """Read one."""

    def meaning(answer: Answer) -> Setting[T_co]:
        if _lists_objects(answer.body):
            return Setting(known=False, value=None)
        return Setting(known=True, value=parse(answer.body))

    return Operation(
        name=KINDS[kind].names[0],
        method="GET",
        location=bucket,
        query=((kind, None),),
        headers=headers,
        parse=meaning,
    )


def put_configuration(bucket: Location, kind: str, content: bytes, headers: Headers = ()) -> Operation[None]:
    """Write one, in place of what is there. With the MD5 of the document, which S3 wants of most, and takes of all."""
    own: list[tuple[str, str]] = []
    if content:
        own.append(("Content-Type", "application/json" if kind == "policy" else "application/xml"))
        own.append(("Content-MD5", b64encode(md5(content, usedforsecurity=False).digest()).decode()))
    return Operation(
        name=KINDS[kind].names[1],
        method="PUT",
        location=bucket,
        query=((kind, None),),
        headers=(*own, *headers),
        content=content,
        parse=lambda _: None,
    )


def delete_configuration(bucket: Location, kind: str, headers: Headers = ()) -> Operation[None]:
    """Remove one."""
    name = KINDS[kind].names[2]
    assert name is not None
    return Operation(
        name=name,
        method="DELETE",
        location=bucket,
        query=((kind, None),),
        headers=headers,
        parse=lambda _: None,
    )


def _lists_objects(body: bytes) -> bool:
    """A listing, whatever else is wrong with it: keys that XML cannot carry are no reason to miss it."""
    try:
        return parse_xml(body).tag in _OF_OBJECTS
    except InvalidResponse:
        return b"<ListBucketResult" in body[:1000]
