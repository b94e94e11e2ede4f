"""What the calls have in common that is not their subject: options by name → headers and query parameters.

They are dictionaries with named, typed keys, so that every method that writes takes the same ones, and every method
that reads. What S3 has no meaning for is refused here, before anything is sent; nothing is ever left out silently.
How a value looks in a header: :mod:`handtruck.protocol.fields`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping  # noqa: TC003 - for typing.get_type_hints(), as the next ones
from datetime import datetime  # noqa: TC003
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypedDict, get_args

from ..errors import UsageError
from ..models.checksums import ChecksumAlgorithm  # noqa: TC001
from ..models.encryption import Encryption, SSECustomer  # noqa: TC001
from ..models.objects import RetentionMode
from . import fields
from .checksums import ALGORITHM_HEADER
from .crc import named
from .fields import check_tags, customer_key_headers, encode_tags, http_date, metadata_headers

if TYPE_CHECKING:
    from .address import Query
    from .operations.base import Headers

__all__ = (
    "AttributesOptions",
    "CannedACL",
    "CommonOptions",
    "DeleteOptions",
    "PartsOptions",
    "ReadOptions",
    "RetentionMode",
    "RetentionOptions",
    "StorageClass",
    "VersionOptions",
    "WriteOptions",
    "check_tags",
    "common_headers",
    "customer_key_headers",
    "delete_request",
    "encode_tags",
    "http_date",
    "metadata_headers",
    "parts_headers",
    "read_request",
    "version_request",
    "write_headers",
)

CannedACL: TypeAlias = Literal[
    "private",
    "public-read",
    "public-read-write",
    "authenticated-read",
    "aws-exec-read",
    "bucket-owner-read",
    "bucket-owner-full-control",
    "log-delivery-write",
]
"""S3's ready-made access control lists."""

StorageClass: TypeAlias = Literal[
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "GLACIER_IR",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
]
"""S3's storage classes; servers of other makers have their own, so that any text is taken."""


class CommonOptions(TypedDict, total=False):
    """What every call takes.

    Keys:
        expected_bucket_owner: the account id that the bucket must belong to; else 403.
        request_payer: we pay for the request and the transfer, where the bucket's owner wants that.
    """

    expected_bucket_owner: str
    request_payer: bool


class WriteOptions(CommonOptions, total=False):
    """What every method that writes an object takes, for single requests and multipart uploads alike.

    Keys:
        content_type: MIME type. Files have one by their name.
        metadata: names and values of the caller's own, printable ASCII, 2 KiB in all; S3 lowers the names.
        tags: at most 10, names up to 128 and values up to 256 characters.
        cache_control, content_disposition, content_encoding, content_language: the headers of that name.
        expires: when caches must forget it; time-zone aware.
        website_redirect_location: where a bucket's website sends who asks for it.
        storage_class: S3's, or the server's own.
        acl: a ready-made access control list. Buckets that enforce their owner (AWS's default) refuse them.
        sse: how it is encrypted: :class:`~handtruck.SSES3`, :class:`~handtruck.SSEKMS` or
            :class:`~handtruck.SSECustomer`.
        if_match: only over a version with this ETag; else PreconditionFailed.
        if_none_match: ``"*"``: only if there is no such object; else PreconditionFailed. Of an upload in parts both are
            checked when it is completed, and not by every server.
        retention_mode, retain_until: the version cannot be deleted before then (needs a bucket with object lock);
            time-zone aware. ``COMPLIANCE`` can be undone by nobody, and is paid for until the end. S3 takes neither
            this nor a hold without a checksum: ``CRC32``, where ``checksum`` does not say which.
        legal_hold: the version cannot be deleted while it is held.
        checksum: S3 compares what it gets with it, part by part, and keeps it (of the whole object, if it is a CRC).
            ``CRC32C`` and ``CRC64NVME`` need the extra ``handtruck[checksums]``. Not given: ``CRC32`` on AWS, none
            elsewhere, because some servers refuse or ignore them. None: none.
    """

    content_type: str
    metadata: Mapping[str, str]
    tags: Mapping[str, str]
    cache_control: str
    content_disposition: str
    content_encoding: str
    content_language: str
    expires: datetime
    website_redirect_location: str
    storage_class: StorageClass | str
    acl: CannedACL
    sse: Encryption
    if_match: str
    if_none_match: str
    retention_mode: RetentionMode
    retain_until: datetime
    legal_hold: bool
    checksum: ChecksumAlgorithm | None


class ReadOptions(CommonOptions, total=False):
    """What every method that reads an object takes.

    Keys:
        version_id: this version of it, and not the latest.
        if_match: only if its ETag is this one; else PreconditionFailed.
        if_none_match: only if its ETag is another one; else NotModified.
        if_modified_since: only if it was written after that; else NotModified. Time-zone aware, whole seconds.
        if_unmodified_since: only if it was not; else PreconditionFailed.
        sse: the :class:`~handtruck.SSECustomer` it was written with.
        response_cache_control, response_content_disposition, response_content_encoding, response_content_language,
            response_content_type, response_expires: the answer's headers, in place of the object's own.
    """

    version_id: str
    if_match: str
    if_none_match: str
    if_modified_since: datetime
    if_unmodified_since: datetime
    sse: SSECustomer
    response_cache_control: str
    response_content_disposition: str
    response_content_encoding: str
    response_content_language: str
    response_content_type: str
    response_expires: datetime


class VersionOptions(CommonOptions, total=False):
    """What calls take that read or write what belongs to an object: its tags, locks, access control list.

    Keys:
        version_id: of this version of it, and not of the latest.
    """

    version_id: str


class AttributesOptions(VersionOptions, total=False):
    """What :meth:`~handtruck.S3Client.get_object_attributes` takes.

    Keys:
        sse: the :class:`~handtruck.SSECustomer` the object was written with.
    """

    sse: SSECustomer


class RetentionOptions(VersionOptions, total=False):
    """What :meth:`~handtruck.S3Client.put_object_retention` takes.

    Keys:
        bypass_governance: whether a retention in governance mode may be shortened or removed.
    """

    bypass_governance: bool


class PartsOptions(CommonOptions, total=False):
    """What :meth:`~handtruck.S3Client.list_parts` takes.

    Keys:
        sse: the :class:`~handtruck.SSECustomer` of the upload; S3 wants it where parts have checksums.
    """

    sse: SSECustomer


class DeleteOptions(CommonOptions, total=False):
    """What :meth:`~handtruck.S3Client.delete` takes.

    Keys:
        version_id: remove this version for good. Without it, a bucket with versions hides the object behind a marker.
        if_match: only if its ETag is this one.
        mfa: serial number and code of a device, with a blank between them, where the bucket wants that.
        bypass_governance: whether a retention in governance mode is passed over.
    """

    version_id: str
    if_match: str
    mfa: str
    bypass_governance: bool


class DeleteManyOptions(CommonOptions, total=False):
    """What :meth:`~handtruck.S3Client.delete_objects` and :meth:`~handtruck.S3Client.delete_prefix` take.

    Keys:
        mfa, bypass_governance: see :class:`DeleteOptions`; said of every object.
    """

    mfa: str
    bypass_governance: bool


def _header(name: str, made: Callable[[str, object], str] = fields.text) -> Callable[[str, object], Headers]:
    return lambda option, value: ((name, made(option, value)),)


def _one_of(name: str, choices: object) -> Callable[[str, object], Headers]:
    return _header(name, lambda option, value: fields.one_of(option, value, get_args(choices)))


def _if_true(name: str, said: str) -> Callable[[str, object], Headers]:
    return lambda option, value: ((name, said),) if fields.flag(option, value) else ()


def _tags(_: str, value: object) -> Headers:
    encoded = encode_tags(value)
    return (("x-amz-tagging", encoded),) if encoded else ()


_HEADERS: Final[Mapping[str, Callable[[str, object], Headers]]] = {
    "acl": _one_of("x-amz-acl", CannedACL),
    "bypass_governance": _if_true("x-amz-bypass-governance-retention", "true"),
    "cache_control": _header("Cache-Control"),
    "checksum": lambda _, value: () if value is None else ((ALGORITHM_HEADER, named(value)),),
    "content_disposition": _header("Content-Disposition"),
    "content_encoding": _header("Content-Encoding"),
    "content_language": _header("Content-Language"),
    "content_type": _header("Content-Type"),
    "expected_bucket_owner": _header("x-amz-expected-bucket-owner"),
    "expires": _header("Expires", http_date),
    "if_match": _header("If-Match"),
    "if_modified_since": _header("If-Modified-Since", http_date),
    "if_none_match": _header("If-None-Match"),
    "if_unmodified_since": _header("If-Unmodified-Since", http_date),
    "legal_hold": _header(
        "x-amz-object-lock-legal-hold", lambda option, value: "ON" if fields.flag(option, value) else "OFF"
    ),
    "metadata": lambda _, value: metadata_headers(value),
    "mfa": _header("x-amz-mfa"),
    "request_payer": _if_true("x-amz-request-payer", "requester"),
    "retain_until": _header("x-amz-object-lock-retain-until-date", fields.iso_date),
    "retention_mode": _one_of("x-amz-object-lock-mode", RetentionMode),
    "sse": lambda _, value: fields.encryption_headers(value),
    "storage_class": _header("x-amz-storage-class"),
    "tags": _tags,
    "website_redirect_location": _header("x-amz-website-redirect-location"),
}
_OF_READS: Final = {**_HEADERS, "sse": lambda _, value: customer_key_headers(value)}
_QUERY: Final[Mapping[str, tuple[str, Callable[[str, object], str]]]] = {
    "version_id": ("versionId", fields.words),
    "response_cache_control": ("response-cache-control", fields.words),
    "response_content_disposition": ("response-content-disposition", fields.words),
    "response_content_encoding": ("response-content-encoding", fields.words),
    "response_content_language": ("response-content-language", fields.words),
    "response_content_type": ("response-content-type", fields.words),
    "response_expires": ("response-expires", http_date),
}


def write_headers(options: WriteOptions) -> Headers:
    """The headers that say so.

    Raises:
        UsageError: an option is unknown, of the wrong type, or nothing that S3 can keep.
    """
    if ("retention_mode" in options) != ("retain_until" in options):
        raise UsageError("retention_mode= and retain_until= go together")
    return _headers(options, WriteOptions)


def read_request(options: ReadOptions) -> tuple[Headers, Query]:
    """The headers and the query parameters that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, ReadOptions, _OF_READS), _query(options)


def parts_headers(options: PartsOptions) -> Headers:
    """The headers that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, PartsOptions, _OF_READS)


def delete_request(options: DeleteOptions) -> tuple[Headers, Query]:
    """The headers and the query parameters that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, DeleteOptions), _query(options)


def version_request(options: Mapping[str, object], kind: type = VersionOptions) -> tuple[Headers, Query]:
    """The headers and the query parameters that say so; ``kind``: which options there are.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, kind, _OF_READS), _query(options)


def delete_many_headers(options: DeleteManyOptions) -> Headers:
    """The headers that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, DeleteManyOptions)


def common_headers(options: CommonOptions) -> Headers:
    """The headers that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, CommonOptions)


def _headers(
    options: Mapping[str, object], kind: type, made_by: Mapping[str, Callable[[str, object], Headers]] = _HEADERS
) -> Headers:
    headers: list[tuple[str, str]] = []
    for name, value in options.items():
        if name not in kind.__annotations__:
            raise UsageError(f"there is no option {name!r} here, but {', '.join(sorted(kind.__annotations__))}")
        if name not in _QUERY:
            headers += made_by[name](name, value)
    return tuple(headers)


def _query(options: Mapping[str, object]) -> Query:
    known = ((_QUERY[name], name, value) for name, value in options.items() if name in _QUERY)
    return tuple((parameter, made(name, value)) for (parameter, made), name, value in known)
