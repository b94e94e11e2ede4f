"""What callers write, made uniform, or refused before anything is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from mimetypes import MimeTypes
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx

from ..errors import UsageError
from ..models.identity import Secret
from ..protocol.checksums import is_payload_hash
from ..protocol.fields import has_customer_key, in_the_clear
from ..transport.redaction import SECRET_HEADERS

if TYPE_CHECKING:
    from os import PathLike

    from httpx._types import TimeoutTypes

    from ..protocol.address import Endpoint, Query
    from ..protocol.operations import Headers

ObjectName: TypeAlias = "str | PathLike[str]"
HeaderTypes: TypeAlias = "Mapping[str, str] | Iterable[tuple[str, str]]"
ParamValue: TypeAlias = "str | int | float | bool | None"
ParamTypes: TypeAlias = (
    "Mapping[str, ParamValue | Sequence[ParamValue]] | Sequence[tuple[str, ParamValue]] | httpx.QueryParams"
)

# Only the table Python brings along: the system's own files would be I/O, and make results depend on the machine.
_TYPES: Final = MimeTypes(filenames=())
_ENCODED: Final = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
_OURS: Final = frozenset(
    {
        "authorization",
        "content-length",
        "transfer-encoding",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    }
)
_SSE: Final = "x-amz-server-side-encryption"
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")


def object_name(name: ObjectName) -> str:
    """An object's name as text; of a path, with slashes on every platform.

    Raises:
        UsageError: it is no text.
    """
    if isinstance(name, PurePath):
        return name.as_posix()
    if isinstance(name, str):
        return name
    path = getattr(name, "__fspath__", None)
    text = path() if callable(path) else None
    if not isinstance(text, str):
        raise UsageError(f"an object's name must be text or a path, not {type(name).__name__}")
    return text


def headers_of(headers: HeaderTypes | None) -> Headers:
    """Headers as pairs.

    Raises:
        UsageError: a name or a value cannot be sent, or is one that handtruck writes itself.
    """
    if not headers:
        return ()
    items = headers.items() if isinstance(headers, Mapping) else headers
    return tuple(_header(name, value) for name, value in items)


def merged(headers: HeaderTypes | None, options: Headers, endpoint: Endpoint) -> Headers:
    """The caller's headers, and those that options stand for.

    Raises:
        UsageError: see :func:`headers_of`; or something is said twice, or a key would travel in the clear.
    """
    given = headers_of(headers)
    if given:
        said = {_subject(name): name for name, _ in given}
        for name, _ in options:
            if _subject(name) in said:
                raise UsageError(f"given twice: in headers= as {said[_subject(name)]}, and by the option for {name}")
    if not endpoint.private and has_customer_key((*given, *options)):
        raise UsageError(in_the_clear(endpoint.origin))
    return (*given, *options)


def _subject(header: str) -> str:
    """What a header speaks of: those of encryption all of the same."""
    name = header.lower()
    return _SSE if name.startswith(_SSE) else name


def merged_query(params: ParamTypes | None, options: Query) -> Query:
    """The caller's query parameters, and those that options stand for.

    Raises:
        UsageError: see :func:`query_of`; or something is said twice.
    """
    given = query_of(params)
    names = {name for name, _ in given}
    for name, _ in options:
        if name in names:
            raise UsageError(f"the query parameter {name} is given twice: in params= and by an option")
    return (*given, *options)


def range_of(byte_range: object, name: str = "byte_range") -> tuple[int, int | None] | None:
    """Bytes ``[start, stop)`` that are wanted, at least one; ``stop`` None: to the end.

    Raises:
        UsageError: it is something else.
    """
    if byte_range is None:
        return None
    match byte_range:
        case (int(start), None) if start >= 0:
            return int(
                start
            ), None  # a bool would be written by its name, and what servers do not understand they ignore
        case (int(start), int(stop)) if 0 <= start < stop:
            return int(start), int(stop)
    raise UsageError(f"{name} must be (start, stop) with 0 <= start < stop, or (start, None), not {byte_range!r}")


def ranges_of(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of bytes; they may be empty.

    Raises:
        UsageError: one of them is something else.
    """
    found = []
    for each in ranges:
        match each:
            case (int(start), int(stop)) if 0 <= start <= stop:
                found.append((start, stop))
            case _:
                raise UsageError(f"a range must be (start, stop) with 0 <= start <= stop, not {each!r}")
    return tuple(found)


def _header(name: object, value: object) -> tuple[str, str]:
    if not isinstance(name, str) or not name or not _TOKEN.issuperset(name.lower()):
        raise UsageError(f"{name!r} is no name of a header")
    if name.lower() in _OURS:
        raise UsageError(f"the header {name} is handtruck's own; a payload's hash goes by content_sha256=")
    if not isinstance(value, str):
        raise UsageError(f"the value of the header {name} must be text, not {type(value).__name__}")
    if not value.isascii() or not value.isprintable():
        raise UsageError(f"the value of the header {name} must be printable ASCII; encode it (RFC 2047, or base64)")
    if value != value.strip():
        raise UsageError(f"the value of the header {name} begins or ends with a blank, which HTTP does not carry")
    return name, Secret(value) if name.lower() in SECRET_HEADERS else value


def query_of(params: ParamTypes | None) -> Query:
    """Query parameters as pairs; None stands for a sub-resource without a value, bools are written as S3 does."""
    if params is None:
        return ()
    if isinstance(params, httpx.QueryParams):
        return tuple(params.multi_items())
    items = params.items() if isinstance(params, Mapping) else params
    pairs: list[tuple[str, str | None]] = []
    for name, value in items:
        values = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        pairs += [(str(name), _param(each)) for each in values]
    return tuple(pairs)


def _param(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not isinstance(value, int | float):
        raise UsageError(f"a query parameter must be text, a number, a bool or None, not {type(value).__name__}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def payload_hash(content_sha256: str | None) -> str | None:
    """The caller's hash of the body, if there is one.

    Raises:
        UsageError: it is none.
    """
    if content_sha256 is not None and not is_payload_hash(content_sha256):
        raise UsageError("content_sha256 must be 64 hex digits, or 'UNSIGNED-PAYLOAD'")
    return content_sha256


def timeout_of(timeout: TimeoutTypes | None) -> httpx.Timeout | None:
    """Httpx's four stall timeouts, in seconds.

    Raises:
        UsageError: one of them is negative, or they are no numbers.
    """
    if timeout is None:
        return None
    try:
        as_dict: Callable[[], dict[str, Any]] | None = getattr(timeout, "as_dict", None)  # httpx's class, or httpx2's
        four = httpx.Timeout(timeout) if as_dict is None else httpx.Timeout(**as_dict())
        if all(value is None or value >= 0 for value in four.as_dict().values()):
            return four
    except (TypeError, ValueError, AssertionError):
        pass  # raised below, in our words
    raise UsageError(f"timeout must be seconds, from 0, or an httpx.Timeout, not {timeout!r}")


def with_content_type(headers: Headers, file_name: str) -> Headers:
    """Add the Content-Type that a file's name suggests, unless there is one."""
    if any(name.lower() == "content-type" for name, _ in headers):
        return headers
    kind, encoding = _TYPES.guess_type(file_name)
    if encoding is not None:
        kind = _ENCODED.get(encoding)
    return (*headers, ("Content-Type", kind or "application/octet-stream"))
