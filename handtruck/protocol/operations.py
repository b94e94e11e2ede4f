"""Each S3 call as a value: the request that goes out, the facts that decide about retries, what its answer means.

Source of each: the page of the same name under https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from ..errors import InvalidResponse, UsageError
from . import documents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .address import Location, Query
    from .answers import Answer

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

    Source: the request syntax of CreateMultipartUpload, UploadPart and CompleteMultipartUpload.

    Raises:
        UsageError: a header speaks of the body as a whole, which never travels as one.
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
    return UploadHeaders(create=tuple(create), part=tuple(part), complete=tuple(complete), undo=tuple(undo))


def is_conditional(headers: Iterable[tuple[str, str]]) -> bool:
    """The request has a condition, so that its own success may make it fail when it is sent again."""
    return any(name.lower() in CONDITIONAL for name, _ in headers)


def _whole(answer: Answer) -> Answer:
    return answer


def plain(method: str, location: Location, query: Query, headers: Headers) -> Operation[Answer]:
    """A request of the caller's own making. POST, and writes with a condition, are not sent twice blindly."""
    idempotent = method in ("GET", "HEAD") or (method in ("PUT", "DELETE") and not is_conditional(headers))
    return Operation(
        name=_PLAIN_NAMES.get(method, method) if location.key and not query else method,
        method=method,
        location=location,
        query=query,
        headers=headers,
        idempotent=idempotent,
        parse=_whole,
    )


_PLAIN_NAMES: Final = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


def put_object(location: Location, headers: Headers) -> Operation[Answer]:
    """Write a whole object."""
    return Operation(
        name="PutObject",
        method="PUT",
        location=location,
        headers=headers,
        idempotent=not is_conditional(headers),
        parse=_whole,
    )


def head_object(location: Location, headers: Headers = ()) -> Operation[Answer]:
    """Ask for an object's headers."""
    return Operation(name="HeadObject", method="HEAD", location=location, headers=headers, parse=_whole)


def get_object(location: Location, headers: Headers) -> Operation[Answer]:
    """Read an object, or with a Range header a part of it. Its body is streamed, not parsed."""
    return Operation(name="GetObject", method="GET", location=location, headers=headers, parse=_whole)


def create_multipart_upload(location: Location, headers: Headers) -> Operation[str]:
    """Begin a multipart upload; gives its id. Not idempotent: each call makes another upload."""
    return Operation(
        name="CreateMultipartUpload",
        method="POST",
        location=location,
        query=(("uploads", None),),
        headers=headers,
        idempotent=False,
        error_in_200=True,
        parse=lambda answer: documents.parse_upload_id(answer.body),
    )


def upload_part(location: Location, upload_id: str, number: int, headers: Headers = ()) -> Operation[str]:
    """Send one part; gives its ETag."""
    return Operation(
        name="UploadPart",
        method="PUT",
        location=location,
        query=(("partNumber", str(number)), ("uploadId", upload_id)),
        headers=headers,
        parse=_etag,
    )


def _etag(answer: Answer) -> str:
    etag = answer.headers.get("etag")
    if not etag:
        raise InvalidResponse("the answer to UploadPart has no ETag")
    return etag


def complete_multipart_upload(
    location: Location, upload_id: str, parts: Iterable[tuple[int, str]], headers: Headers = ()
) -> Operation[str | None]:
    """Make an object of the parts; gives its ETag where the server tells. The body decides, not the status."""
    return Operation(
        name="CompleteMultipartUpload",
        method="POST",
        location=location,
        query=(("uploadId", upload_id),),
        headers=(("Content-Type", "application/xml"), *headers),
        content=documents.write_completion(parts),
        idempotent=not is_conditional(headers),
        error_in_200=True,
        final_codes=frozenset({"ConditionalRequestConflict"}),  # only a new upload can succeed after that
        parse=lambda answer: documents.parse_completed_etag(answer.body),
    )


def abort_multipart_upload(location: Location, upload_id: str, headers: Headers = ()) -> Operation[None]:
    """Throw an upload and its parts away."""
    return Operation(
        name="AbortMultipartUpload",
        method="DELETE",
        location=location,
        query=(("uploadId", upload_id),),
        headers=headers,
        parse=lambda _: None,
    )


def list_parts(
    location: Location, upload_id: str, headers: Headers = (), *, marker: int = 0, max_parts: int | None = None
) -> Operation[documents.ListedParts]:
    """One page of an upload's parts: those with numbers above ``marker``, at most ``max_parts``."""
    query: Query = (("uploadId", upload_id),)
    query += (("part-number-marker", str(marker)),) if marker else ()
    query += (("max-parts", str(max_parts)),) if max_parts is not None else ()
    return Operation(
        name="ListParts",
        method="GET",
        location=location,
        query=query,
        headers=headers,
        parse=lambda answer: documents.parse_listed_parts(answer.body),
    )


def list_multipart_uploads(bucket: Location, query: Query) -> Operation[documents.ListedUploads]:
    """One page of a bucket's unfinished uploads.

    With ``encoding-type=url`` in the query their keys are decoded, whether or not the answer says that they are
    encoded.
    """
    encoded = ("encoding-type", "url") in query
    return Operation(
        name="ListMultipartUploads",
        method="GET",
        location=bucket,
        query=(("uploads", None), *query),
        parse=lambda answer: documents.parse_multipart_uploads(answer.body, encoded=encoded),
    )


def list_objects_v2(bucket: Location, query: Query) -> Operation[documents.ListedPage]:
    """One page of a bucket's objects."""
    return Operation(
        name="ListObjectsV2",
        method="GET",
        location=bucket,
        query=(("list-type", "2"), *query),
        parse=lambda answer: documents.parse_listed_objects(answer.body),
    )
