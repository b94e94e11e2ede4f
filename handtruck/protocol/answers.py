"""An answer of S3, and the exception that it means: by code first, by status where there is no code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..errors import AccessDenied, Conflict, NotFound, NotModified, PreconditionFailed, S3Error, Throttled
from .documents import ErrorDocument, parse_error
from .retry import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .address import Location

_BY_CODE: Final[Mapping[str, type[S3Error]]] = {
    "AccessDenied": AccessDenied,
    "ConditionalRequestConflict": Conflict,
    "ExpiredToken": AccessDenied,
    "InvalidAccessKeyId": AccessDenied,
    "InvalidToken": AccessDenied,
    "NoSuchBucket": NotFound,
    "NoSuchKey": NotFound,
    "NoSuchUpload": NotFound,
    "NoSuchVersion": NotFound,
    "PreconditionFailed": PreconditionFailed,
    "RequestTimeTooSkewed": AccessDenied,
    "SignatureDoesNotMatch": AccessDenied,
    "SlowDown": Throttled,
}
_BY_STATUS: Final[Mapping[int, type[S3Error]]] = {
    304: NotModified,
    401: AccessDenied,
    403: AccessDenied,
    404: NotFound,
    409: Conflict,
    412: PreconditionFailed,
    429: Throttled,
}
_REASONS: Final[Mapping[int, str]] = {
    301: "the bucket is in another region",
    304: "not modified",
    307: "the bucket is at another endpoint",
    400: "bad request",
    403: "access denied",
    404: "not found",
    405: "method not allowed",
    409: "conflict",
    412: "a precondition failed",
    416: "the range lies outside the object",
    500: "internal error",
    503: "the service is unavailable",
}
_HINTS: Final[Mapping[str, str]] = {
    "AuthorizationHeaderMalformed": "check region=",
    "InvalidAccessKeyId": "check the access key id and that it belongs to this endpoint",
    "NoSuchBucket": "check the bucket's name, and whether the endpoint URL already names a bucket",
    "PermanentRedirect": "the bucket is in another region: check the endpoint URL and region=",
    "RequestTimeTooSkewed": "check this machine's clock",
    "SignatureDoesNotMatch": "check the secret access key and region=",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back: status, headers (looked up in lower case) and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)  # where a signature is wrong, S3 repeats the request: token and all


def failure(
    answer: Answer, operation: str, location: Location, attempts: int, *, conditional_write: bool = False
) -> S3Error:
    """The exception that this answer means, with all that S3 said.

    A conditional write of a key that is not there is a condition that does not hold, though S3 calls it NoSuchKey;
    and so is one that a server answers by "not modified".
    """
    said = parse_error(answer.body) or ErrorDocument(code=None, message=None, request_id=None)
    kind = _BY_CODE.get(said.code or "") or _BY_STATUS.get(answer.status, S3Error)
    if conditional_write and (said.code == "NoSuchKey" or answer.status == 304):
        kind = PreconditionFailed
    request_id = answer.headers.get("x-amz-request-id") or said.request_id
    return kind(
        _describe(answer.status, said, operation, location, request_id, attempts),
        status=answer.status,
        code=said.code,
        message=said.message,
        request_id=request_id,
        bucket=location.bucket,
        key=location.key or None,
        operation=operation,
        attempts=attempts,
        retry_after=parse_retry_after(answer.headers.get("retry-after")),
        headers=answer.headers,
        details=said.details,
    )


def _describe(
    status: int,
    said: ErrorDocument,
    operation: str,
    location: Location,
    request_id: str | None,
    attempts: int,
) -> str:
    """``GetObject bucket/key: 404 NoSuchKey: … (request …, 3 attempts); hint``."""
    facts = [f"request {request_id}"] if request_id else []
    facts += [f"{attempts} attempts"] if attempts > 1 else []
    what = ": ".join(filter(None, (said.code, said.message))) or _REASONS.get(status, "no explanation given")
    text = f"{operation} {location}: {status} {what}" + (f" ({', '.join(facts)})" if facts else "")
    hint = _HINTS.get(said.code or "")
    return f"{text}; {hint}" if hint else text
