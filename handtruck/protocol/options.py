"""What the calls have in common that is not their subject: options by name → headers and query parameters.

They are dictionaries with named, typed keys, so that every method that writes takes the same ones, and every method
that reads. What S3 has no meaning for is refused here, before anything is sent; nothing is ever left out silently.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from hashlib import md5
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, TypedDict
from urllib.parse import quote

from ..errors import UsageError
from ..models.encryption import SSEKMS, SSES3, SSECustomer

if TYPE_CHECKING:
    from ..models.encryption import Encryption
    from .address import Query
    from .operations.base import Headers

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

RetentionMode: TypeAlias = Literal["GOVERNANCE", "COMPLIANCE"]
"""Who may shorten a retention: those with the permission to; or nobody, the account's owner included."""


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
        if_match: only over a version with this ETag.
        if_none_match: ``"*"``: only if there is no such object.
        retention_mode, retain_until: the version cannot be deleted before then (needs a bucket with object lock);
            time-zone aware. ``COMPLIANCE`` can be undone by nobody, and is paid for until the end.
        legal_hold: the version cannot be deleted while it is held.
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


_TEXT: Final = {
    "content_type": "Content-Type",
    "cache_control": "Cache-Control",
    "content_disposition": "Content-Disposition",
    "content_encoding": "Content-Encoding",
    "content_language": "Content-Language",
    "website_redirect_location": "x-amz-website-redirect-location",
    "storage_class": "x-amz-storage-class",
    "acl": "x-amz-acl",
    "if_match": "If-Match",
    "if_none_match": "If-None-Match",
    "retention_mode": "x-amz-object-lock-mode",
    "expected_bucket_owner": "x-amz-expected-bucket-owner",
    "mfa": "x-amz-mfa",
}
_DATES: Final = {
    "expires": "Expires",
    "if_modified_since": "If-Modified-Since",
    "if_unmodified_since": "If-Unmodified-Since",
}
_QUERY: Final = {
    "version_id": "versionId",
    "response_cache_control": "response-cache-control",
    "response_content_disposition": "response-content-disposition",
    "response_content_encoding": "response-content-encoding",
    "response_content_language": "response-content-language",
    "response_content_type": "response-content-type",
    "response_expires": "response-expires",
}
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MOST_TAGS: Final = 10
_LONGEST_TAG: Final = (128, 256)
_MOST_METADATA: Final = 2048


def write_headers(options: WriteOptions) -> Headers:
    """The headers that say so.

    Raises:
        UsageError: an option is unknown, of the wrong type, or nothing that S3 can keep.
    """
    return _headers(options, WriteOptions)


def read_request(options: ReadOptions) -> tuple[Headers, Query]:
    """The headers and the query parameters that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, ReadOptions), _query(options)


def delete_request(options: DeleteOptions) -> tuple[Headers, Query]:
    """The headers and the query parameters that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, DeleteOptions), _query(options)


def common_headers(options: CommonOptions) -> Headers:
    """The headers that say so.

    Raises:
        UsageError: see :func:`write_headers`.
    """
    return _headers(options, CommonOptions)


def customer_key_headers(sse: SSECustomer, *, copy_source: bool = False) -> Headers:
    """The three headers of a key of the caller's own; of the object that is copied they have other names."""
    prefix = f"x-amz-{'copy-source-' if copy_source else ''}server-side-encryption-customer-"
    digest = md5(sse.key).digest()  # noqa: S324 - S3's choice
    return (
        (f"{prefix}algorithm", "AES256"),
        (f"{prefix}key", b64encode(sse.key).decode()),
        (f"{prefix}key-MD5", b64encode(digest).decode()),
    )


def metadata_headers(metadata: Mapping[str, str]) -> Headers:
    """``x-amz-meta-…``.

    Raises:
        UsageError: it cannot travel in headers, or is more than S3 keeps.
    """
    if not isinstance(metadata, Mapping):
        raise UsageError(f"metadata must be a mapping of names to texts, not {type(metadata).__name__}")
    seen: dict[str, str] = {}
    size = 0
    pairs: Iterable[tuple[object, str]] = metadata.items()
    for name, value in pairs:
        if not (isinstance(name, str) and _TOKEN.fullmatch(name)):
            raise UsageError(f"metadata: {name!r} cannot be the name of a header")
        if name.lower() in seen:
            raise UsageError(f"metadata: S3 lowers names, and {seen[name.lower()]!r} and {name!r} are the same then")
        seen[name.lower()] = name
        size += len(name) + len(_text(f"metadata: the value of {name!r}", value))
    if size > _MOST_METADATA:
        raise UsageError(f"metadata: {size} bytes of names and values, and S3 keeps {_MOST_METADATA}")
    return tuple((f"x-amz-meta-{name}", value) for name, value in metadata.items())


def encode_tags(tags: Mapping[str, str]) -> str:
    """As ``x-amz-tagging`` carries them: a query string.

    Raises:
        UsageError: see :func:`check_tags`.
    """
    check_tags(tags)
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in tags.items())


def check_tags(tags: Mapping[str, str], *, most: int = _MOST_TAGS) -> None:
    """Refuse what S3 does not keep.

    Raises:
        UsageError: there are too many, or one is too long, or no text.
    """
    if not isinstance(tags, Mapping):
        raise UsageError(f"tags must be a mapping of names to texts, not {type(tags).__name__}")
    if len(tags) > most:
        raise UsageError(f"{len(tags)} tags, and S3 keeps {most}")
    pairs: Iterable[tuple[object, object]] = tags.items()
    for tag in pairs:
        for what, text, longest in zip(("name", "value"), tag, _LONGEST_TAG, strict=True):
            if not (isinstance(text, str) and len(text) <= longest and (text or what == "value")):
                raise UsageError(f"the {what} of a tag must be text of at most {longest} characters, not {text!r:.60}")


def http_date(name: str, time: datetime) -> str:
    """A point in time as HTTP writes it (RFC 9110), in whole seconds.

    Raises:
        UsageError: it is none, or has no time zone.
    """
    return format_datetime(_aware(name, time).astimezone(UTC), usegmt=True)


def _headers(options: Mapping[str, object], kind: type) -> Headers:
    headers: list[tuple[str, str]] = []
    for name, value in options.items():
        if name not in kind.__annotations__:
            raise UsageError(f"there is no option {name!r} here, but {', '.join(sorted(kind.__annotations__))}")
        if name not in _QUERY:
            headers += _header(name, value)
    if ("retention_mode" in options) != ("retain_until" in options):
        raise UsageError("retention_mode= and retain_until= go together")
    return tuple(headers)


def _header(name: str, value: object) -> Headers:
    if name in _TEXT:
        return ((_TEXT[name], _text(name, value)),)
    if name in _DATES:
        return ((_DATES[name], http_date(name, _aware(name, value))),)
    return _OTHERS[name](name, value)


def _query(options: Mapping[str, object]) -> Query:
    return tuple(
        (_QUERY[name], http_date(name, value) if isinstance(value, datetime) else _text(name, value, ascii_only=False))
        for name, value in options.items()
        if name in _QUERY
    )


def _text(name: str, value: object, *, ascii_only: bool = True) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, not {type(value).__name__}")
    if ascii_only and not (value.isascii() and value.isprintable() and value == value.strip()):
        raise UsageError(f"{name} must be printable ASCII without blanks around it; encode it (RFC 2047, or base64)")
    return value


def _aware(name: str, value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise UsageError(f"{name} must be a datetime with a time zone, not {value!r}")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, not {value!r}")
    return value


def _metadata(_: str, value: object) -> Headers:
    return metadata_headers(value)  # type: ignore[arg-type]  # it looks for itself


def _tags(_: str, value: object) -> Headers:
    encoded = encode_tags(value)  # type: ignore[arg-type]  # it looks for itself
    return (("x-amz-tagging", encoded),) if encoded else ()


def _encryption(_: str, value: object) -> Headers:
    match value:
        case SSES3():
            return (("x-amz-server-side-encryption", "AES256"),)
        case SSEKMS():
            return _kms(value)
        case SSECustomer():
            return customer_key_headers(value)
    raise UsageError(f"sse must be SSES3(), SSEKMS(…) or SSECustomer(…), not {type(value).__name__}")


def _kms(sse: SSEKMS) -> Headers:
    headers = [("x-amz-server-side-encryption", "aws:kms:dsse" if sse.dual_layer else "aws:kms")]
    if sse.key_id is not None:
        headers.append(("x-amz-server-side-encryption-aws-kms-key-id", _text("key_id", sse.key_id)))
    if sse.context is not None:
        context = json.dumps(dict(sse.context)).encode()
        headers.append(("x-amz-server-side-encryption-context", b64encode(context).decode()))
    if sse.bucket_key is not None:
        headers.append(("x-amz-server-side-encryption-bucket-key-enabled", str(sse.bucket_key).lower()))
    return tuple(headers)


def _retain_until(name: str, value: object) -> Headers:
    time = _aware(name, value).astimezone(UTC).isoformat(timespec="milliseconds")
    return (("x-amz-object-lock-retain-until-date", time.replace("+00:00", "Z")),)


def _legal_hold(name: str, value: object) -> Headers:
    return (("x-amz-object-lock-legal-hold", "ON" if _flag(name, value) else "OFF"),)


def _request_payer(name: str, value: object) -> Headers:
    return (("x-amz-request-payer", "requester"),) if _flag(name, value) else ()


def _bypass(name: str, value: object) -> Headers:
    return (("x-amz-bypass-governance-retention", "true"),) if _flag(name, value) else ()


_OTHERS: Final = {
    "metadata": _metadata,
    "tags": _tags,
    "sse": _encryption,
    "retain_until": _retain_until,
    "legal_hold": _legal_hold,
    "request_payer": _request_payer,
    "bypass_governance": _bypass,
}
