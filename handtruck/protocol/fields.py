"""Values as S3's header fields carry them: text, dates, metadata, tags, encryption. What they cannot carry is refused.

Secrets become a :class:`Secret`, so that whatever holds the headers can be printed.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import md5
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ..errors import UsageError
from ..models.encryption import SSEKMS, SSES3, SSECustomer
from ..models.identity import Secret

if TYPE_CHECKING:
    from .operations.base import Headers

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MOST_TAGS: Final = 10
_LONGEST_TAG: Final = (128, 256)
_MOST_METADATA: Final = 2048
_SSE: Final = "x-amz-server-side-encryption"


def text(name: str, value: object) -> str:
    """Text that a header can carry.

    Raises:
        UsageError: it is none, or empty.
    """
    return _not_empty(name, _ascii(name, value))


def words(name: str, value: object) -> str:
    """Text that a query parameter can carry, and a server may put into a header of its answer.

    Raises:
        UsageError: it is none, empty, or has a line break or another control character.
    """
    known = _not_empty(name, _str(name, value))
    if not known.isprintable():
        raise UsageError(f"{name} must be printable text")
    return known


def one_of(name: str, value: object, choices: Collection[object]) -> str:
    """One of a closed set of words.

    Raises:
        UsageError: it is none of them.
    """
    if value not in choices:
        raise UsageError(f"{name} must be one of {', '.join(map(str, choices))}, not {value!r:.60}")
    return str(value)


def flag(name: str, value: object) -> bool:
    """A yes or a no.

    Raises:
        UsageError: it is neither.
    """
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, not {value!r:.60}")
    return value


def http_date(name: str, time: object) -> str:
    """A point in time as HTTP writes it (RFC 9110, 5.6.7), in whole seconds.

    Raises:
        UsageError: it is none, or has no time zone.
    """
    return format_datetime(_in_utc(name, time), usegmt=True)


def time_said(text: str | None) -> datetime | None:
    """A point in time that a server has written, as HTTP does or as XML; None where that cannot be read."""
    if not text:
        return None
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = parse(text)
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, OverflowError):
            continue
    return None


def iso_date(name: str, time: object) -> str:
    """A point in time as S3 writes it (ISO 8601), in milliseconds.

    Raises:
        UsageError: it is none, or has no time zone.
    """
    return _in_utc(name, time).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def metadata_headers(metadata: object) -> Headers:
    """``x-amz-meta-…``.

    Raises:
        UsageError: it cannot travel in headers, or is more than S3 keeps.
    """
    pairs = _pairs("metadata", metadata)
    seen: dict[str, str] = {}
    size = 0
    headers: list[tuple[str, str]] = []
    for name, value in pairs:
        if not (isinstance(name, str) and _TOKEN.fullmatch(name)):
            raise UsageError(f"metadata: {name!r:.60} cannot be the name of a header")
        if name.lower() in seen:
            raise UsageError(f"metadata: S3 lowers names, and {seen[name.lower()]!r} and {name!r} are the same then")
        seen[name.lower()] = name
        known = _ascii(f"metadata: the value of {name!r}", value)
        size += len(name) + len(known)
        headers.append((f"x-amz-meta-{name}", known))
    if size > _MOST_METADATA:
        raise UsageError(f"metadata: {size} bytes of names and values, and S3 keeps {_MOST_METADATA}")
    return tuple(headers)


def encode_tags(tags: object) -> str:
    """As ``x-amz-tagging`` carries them: a query string.

    Raises:
        UsageError: see :func:`check_tags`.
    """
    pairs = check_tags(tags)
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def check_tags(tags: object, *, most: int = _MOST_TAGS) -> tuple[tuple[str, str], ...]:
    """Refuse what S3 does not keep; gives them as pairs.

    Raises:
        UsageError: there are too many, or one is too long, or no text.
    """
    pairs = _pairs("tags", tags)
    if len(pairs) > most:
        raise UsageError(f"{len(pairs)} tags, and S3 keeps {most}")
    name_most, value_most = _LONGEST_TAG
    return tuple((_tag("name", name, 1, name_most), _tag("value", value, 0, value_most)) for name, value in pairs)


def encryption_headers(sse: object) -> Headers:
    """How the object is to be encrypted.

    Raises:
        UsageError: it is no such thing.
    """
    match sse:
        case SSES3():
            return ((_SSE, "AES256"),)
        case SSEKMS():
            return _kms(sse)
        case SSECustomer():
            return customer_key_headers(sse)
    raise UsageError(f"sse must be SSES3(), SSEKMS(…) or SSECustomer(…), not {_kind(sse)}")


def customer_key_headers(sse: object, *, copy_source: bool = False) -> Headers:
    """The three headers of a key of the caller's own; of the object that is copied they have other names.

    Raises:
        UsageError: it is no such key.
    """
    if not isinstance(sse, SSECustomer):
        raise UsageError(f"sse must be SSECustomer(…) here: whoever reads names no other key; not {_kind(sse)}")
    prefix = f"x-amz-{'copy-source-' if copy_source else ''}server-side-encryption-customer-"
    digest = md5(sse.key, usedforsecurity=False).digest()
    return (
        (f"{prefix}algorithm", "AES256"),
        (f"{prefix}key", Secret(b64encode(sse.key).decode())),
        (f"{prefix}key-MD5", b64encode(digest).decode()),
    )


def _kms(sse: SSEKMS) -> Headers:
    headers = [(_SSE, "aws:kms:dsse" if sse.dual_layer else "aws:kms")]
    if sse.key_id is not None:
        headers.append((f"{_SSE}-aws-kms-key-id", text("the key_id of SSEKMS", sse.key_id)))
    if sse.context is not None:
        context = json.dumps(dict(sse.context), sort_keys=True).encode()
        headers.append((f"{_SSE}-context", Secret(b64encode(context).decode())))
    if sse.bucket_key is not None:
        headers.append((f"{_SSE}-bucket-key-enabled", str(sse.bucket_key).lower()))
    return tuple(headers)


def _kind(value: object) -> str:
    """What it is, for messages: never the thing itself, which may be a key."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _str(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, not {_kind(value)}")
    return value


def _ascii(name: str, value: object) -> str:
    known = _str(name, value)
    if not (known.isascii() and known.isprintable() and known == known.strip()):
        raise UsageError(f"{name} must be printable ASCII without blanks around it; encode it (RFC 2047, or base64)")
    return known


def _not_empty(name: str, value: str) -> str:
    if not value:
        raise UsageError(f"{name} must not be empty; leave it out")
    return value


def _in_utc(name: str, time: object) -> datetime:
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise UsageError(f"{name} must be a datetime with a time zone, not {time!r:.60}")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{name} is out of range: {time!r:.60}") from None


def _pairs(name: str, value: object) -> tuple[tuple[object, object], ...]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{name} must be a mapping of names to texts, not {_kind(value)}")
    items: Iterable[tuple[object, object]] = value.items()
    return tuple(items)


def _tag(what: str, value: object, least: int, most: int) -> str:
    if not (isinstance(value, str) and least <= len(value) <= most):
        raise UsageError(f"the {what} of a tag must be text of {least} to {most} characters, not {value!r:.60}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the {what} of a tag, {value!r:.60}, cannot be encoded as UTF-8") from None
    return value


def has_customer_key(headers: Iterable[tuple[str, str]]) -> bool:
    """A key of the caller's, for SSE-C, is among them."""
    return any(name.lower().endswith("-customer-key") for name, _ in headers)


def in_the_clear(origin: str) -> str:
    """What to say where such a key would go to a host that is not asked over https."""
    return f"SSECustomer: its key would travel in the clear to {origin}; use https"
