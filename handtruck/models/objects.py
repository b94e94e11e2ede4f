"""What S3 tells of one object, beside its bytes: its headers, attributes, locks, and who may do what with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from .checksums import Checksum

RetentionMode: TypeAlias = Literal["GOVERNANCE", "COMPLIANCE"]
"""Who may shorten a retention: those with the permission to; or nobody, the account's owner included."""

ObjectAttribute: TypeAlias = Literal["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
"""What :meth:`~handtruck.S3Client.get_object_attributes` can ask for."""

Permission: TypeAlias = Literal["FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP"]
"""What a grant allows. Of an object, ``WRITE`` means nothing; ``…_ACP`` is about its access control list."""

RestoreTier: TypeAlias = Literal["Standard", "Bulk", "Expedited"]
"""How fast an archived object is brought back, and at what price: hours; up to two days, cheapest; minutes, dearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long a version cannot be deleted or overwritten.

    Attributes:
        mode: ``GOVERNANCE``: but by those with a permission of its own; ``COMPLIANCE``: by nobody.
        until: when it ends; time-zone aware. Servers keep milliseconds at least.
    """

    mode: RetentionMode
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreStatus:
    """Where an archived object stands that was asked back.

    Attributes:
        ongoing: it is still on its way, and cannot be read yet.
        expires: when the copy that can be read goes again, once it is there; time-zone aware.
    """

    ongoing: bool
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectEncryption:
    """How an object is encrypted where it lies. What the server left out is None.

    Attributes:
        algorithm: ``AES256``, ``aws:kms``, ``aws:kms:dsse``; with a customer's key ``AES256`` too.
        kms_key_id: the key of the key service, as an ARN mostly.
        bucket_key: S3 uses one data key for many objects of the bucket.
        customer_key_md5: base64 of the MD5 of the customer's key; None where it is no customer's.
    """

    algorithm: str
    kms_key_id: str | None = None
    bucket_key: bool | None = None
    customer_key_md5: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What an object's headers say. What the server left out is None, and so is what cannot be read: see ``headers``.

    Attributes:
        key: the whole key; of a client of a prefix (``s3://bucket/prefix``), what follows that.
        size: bytes.
        etag: as the server sent it, quotes included where it sent quotes; an opaque validator, seldom an MD5.
        last_modified: time-zone aware, whole seconds.
        content_type: MIME type.
        metadata: the caller's own, without ``x-amz-meta-``; names are lowered, values as they come.
        missing_metadata: how many more of them there are that no header can carry.
        version_id: where the bucket keeps versions; ``"null"`` of what was written before it did.
        checksums: those that S3 keeps; empty where it tells none.
        storage_class: ``GLACIER`` …; AWS leaves ``STANDARD`` out.
        archive_status: of Intelligent-Tiering: in which archive tier it lies.
        encryption: how it is encrypted.
        parts_count: in how many parts it was sent. Mostly read off an ETag that ends in ``-N``; None of a single PUT.
        cache_control, content_disposition, content_encoding, content_language: the headers of that name.
        expires: when caches must forget it; time-zone aware.
        retention: until when this version cannot be deleted; None also where we may not see it.
        legal_hold: whether it is held; None where nothing is said.
        restore: where an archived object stands that was asked back.
        tag_count: how many tags it has, if it has any and we may see them.
        replication_status: ``COMPLETED``, ``PENDING``, ``FAILED``, ``REPLICA``.
        website_redirect_location: where a bucket's website sends who asks for it.
        delete_marker: it is no object but the marker of a deletion; S3 answers such with an error mostly.
        headers: all of the answer's, names lowered.
    """

    key: str
    size: int | None = None
    etag: str | None = None
    last_modified: datetime | None = None
    content_type: str | None = None
    metadata: dict[str, str] = field(default_factory=dict, hash=False)
    missing_metadata: int = 0
    version_id: str | None = None
    checksums: tuple[Checksum, ...] = ()
    storage_class: str | None = None
    archive_status: str | None = None
    encryption: ObjectEncryption | None = None
    parts_count: int | None = None
    cache_control: str | None = None
    content_disposition: str | None = None
    content_encoding: str | None = None
    content_language: str | None = None
    expires: datetime | None = None
    retention: Retention | None = None
    legal_hold: bool | None = None
    restore: RestoreStatus | None = None
    tag_count: int | None = None
    replication_status: str | None = None
    website_redirect_location: str | None = None
    delete_marker: bool = False
    headers: dict[str, str] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectPart:
    """One part of an object that was sent in parts.

    Attributes:
        number: from 1.
        size: bytes; None where the server does not tell.
        checksums: of the part alone.
    """

    number: int
    size: int | None = None
    checksums: tuple[Checksum, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAttributes:
    """What :meth:`~handtruck.S3Client.get_object_attributes` was asked for. What was not, or is not known, is None.

    Attributes:
        etag: as the server sent it; without quotes, unlike everywhere else.
        size: bytes.
        storage_class: ``STANDARD`` …
        checksums: of the whole object, or of its parts' checksums; empty where there are none.
        parts_count: in how many parts it was sent; None of a single PUT.
        parts: one page of them. AWS tells them only of an object whose parts have checksums of their own.
        next_part_number: the ``part_number_marker`` of the next page; None: there is none.
        version_id: where the bucket keeps versions.
        last_modified: time-zone aware, whole seconds.
    """

    etag: str | None = None
    size: int | None = None
    storage_class: str | None = None
    checksums: tuple[Checksum, ...] = ()
    parts_count: int | None = None
    parts: tuple[ObjectPart, ...] = ()
    next_part_number: int | None = None
    version_id: str | None = None
    last_modified: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grantee:
    """Who is allowed something: an account, a group, or, when it is written, whose address this is. One of the three.

    Attributes:
        id: the canonical id of an account.
        uri: of a group: ``http://acs.amazonaws.com/groups/global/AllUsers`` is everybody,
            ``…/AuthenticatedUsers`` everybody with any AWS account.
        email: of an account's owner. AWS takes no new ones.
        display_name: the account's, where the server says.
    """

    id: str | None = None
    uri: str | None = None
    email: str | None = None
    display_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One line of an access control list.

    Attributes:
        grantee: who.
        permission: may do what.
    """

    grantee: Grantee
    permission: Permission


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessControlList:
    """Who may do what with an object, beside what policies say.

    Attributes:
        grants: in the server's order.
        owner: whose the object is. It cannot be changed.
    """

    grants: tuple[Grant, ...] = ()
    owner: Grantee | None = None
