"""What an S3 call is, and how the caller's headers are shared out among the calls of one upload."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ...errors import UsageError
from ..checksums import TYPE_HEADER, asked_algorithm, asked_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..address import Location, Query
    from ..answers import Answer

T_co = TypeVar("T_co", covariant=True)

Headers = tuple[tuple[str, str], ...]

CONDITIONAL: Final = frozenset(
    {
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[T_co]):
    """One S3 call.

    Attributes:
        name: S3's name of it.
        idempotent: sent twice it does what it does once, so that a lost answer may be asked for again.
        error_in_200: its answer may be 200 and an ``<Error>`` all the same, so the body decides.
        final_codes: S3's codes that elsewhere are worth another attempt, and not here.
        content: the body, where S3's own documents are the body; objects' bytes travel beside the operation.
        parse: the answer's meaning; called for a successful status only.
    """

    name: str
    method: str
    location: Location
    parse: Callable[[Answer], T_co]
    query: Query = ()
    headers: Headers = ()
    content: bytes = b""
    idempotent: bool = True
    error_in_200: bool = False
    final_codes: frozenset[str] = frozenset()


_EVERYWHERE: Final = frozenset({"x-amz-expected-bucket-owner", "x-amz-request-payer"})
_CUSTOMER_KEY: Final = "x-amz-server-side-encryption-customer-"
_OF_WHOLE_BODY: Final = re.compile(r"content-md5|x-amz-checksum-(?!algorithm|type)\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadHeaders:
    """The caller's headers of one upload, sorted by the requests of a multipart upload that must carry them."""

    create: Headers
    part: Headers
    complete: Headers
    undo: Headers


def sort_upload_headers(headers: Headers) -> UploadHeaders:
    """Who carries what: conditions decide at the end, a customer's key and the payer go everywhere.

    Where a checksum is wanted, Create says of what: see :func:`~handtruck.protocol.checksums.asked_type`.

    Source: the request syntax of CreateMultipartUpload, UploadPart and CompleteMultipartUpload.

    Raises:
        UsageError: a header speaks of the body as a whole, which never travels as one; or it wants a checksum that S3
            has not.
    """
    create: list[tuple[str, str]] = []
    part: list[tuple[str, str]] = []
    complete: list[tuple[str, str]] = []
    undo: list[tuple[str, str]] = []
    for header in headers:
        name = header[0].lower()
        if _OF_WHOLE_BODY.fullmatch(name):
            raise UsageError(f"{header[0]} speaks of the whole body, which is sent in parts; leave it out")
        if name in CONDITIONAL:
            complete.append(header)
            continue
        create.append(header)
        if name in _EVERYWHERE or name.startswith(_CUSTOMER_KEY):
            part.append(header)
            complete.append(header)
        if name in _EVERYWHERE:
            undo.append(header)
    algorithm = asked_algorithm(headers)
    if algorithm is not None:
        kind = asked_type(headers, algorithm)
        if not any(name.lower() == TYPE_HEADER for name, _ in create):
            create.append((TYPE_HEADER, kind))
    return UploadHeaders(create=tuple(create), part=tuple(part), complete=tuple(complete), undo=tuple(undo))


def is_conditional(headers: Iterable[tuple[str, str]]) -> bool:
    """The request has a condition, so that its own success may make it fail when it is sent again."""
    return any(name.lower() in CONDITIONAL for name, _ in headers)
