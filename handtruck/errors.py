"""Every exception handtruck raises.

::

    HandtruckError
    ├── UsageError (ValueError)                    you: a bad argument, no credentials, an unusable endpoint
    ├── SourceChanged                              your file changed while it was sent; nothing was stored
    ├── ConnectionFailed (httpx.TransportError)    the road: no answer from S3; the original is __cause__
    │   └── TransferTimeout (TimeoutError)         … because nothing moved for too long
    ├── S3Error                                    S3 said no
    │   ├── NotFound            404
    │   ├── AccessDenied        401, 403
    │   ├── PreconditionFailed  412, or the object changed under a download
    │   ├── NotModified         304
    │   ├── Conflict            409
    │   └── Throttled           429, 503 SlowDown
    ├── OutcomeUnknown                             it may have happened; says what to check
    └── InvalidResponse                            S3 talked nonsense: XML, wrong range, short body
        └── ChecksumMismatch                       … or other bytes than the ones that were stored

Errors of the local disk (a missing source, a full disk) stay what they are: ``OSError``, naming the path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = (
    "AccessDenied",
    "ChecksumMismatch",
    "Conflict",
    "ConnectionFailed",
    "HandtruckError",
    "InvalidResponse",
    "NotFound",
    "NotModified",
    "OutcomeUnknown",
    "PreconditionFailed",
    "S3Error",
    "SourceChanged",
    "Throttled",
    "TransferTimeout",
    "UsageError",
)


_E = TypeVar("_E", bound=BaseException)


class HandtruckError(Exception):
    """The root of all of them."""

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        """Keyword-only facts survive pickling: errors cross process pools."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[_E], args: tuple[Any, ...], facts: dict[str, Any]) -> _E:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(facts)
    return error


class UsageError(HandtruckError, ValueError):
    """A bad argument, no credentials or an unusable endpoint; raised before anything is sent to S3."""


class SourceChanged(HandtruckError):
    """The file being uploaded changed its size or its modification time meanwhile; nothing was stored."""


class ConnectionFailed(HandtruckError, httpx.TransportError):
    """No answer from S3: connecting, sending or receiving failed. The original error is ``__cause__``.

    Also an :class:`httpx.TransportError`, so code that catches httpx's errors goes on working.
    """

    def __init__(self, message: str, *, sent: bool = True, attempts: int = 1) -> None:
        """``sent`` is False where no byte of the request can have reached S3."""
        super().__init__(message)
        self.sent = sent
        self.attempts = attempts

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.attempts} attempts)" if self.attempts > 1 else str(self.args[0])


class TransferTimeout(ConnectionFailed, httpx.TimeoutException, TimeoutError):
    """Nothing moved for as long as the timeout allows (a stall, not a total)."""


class S3Error(HandtruckError):
    """S3 answered, and the answer is no.

    Attributes:
        status: the HTTP status; 200 for an error that came inside a successful answer.
        code: S3's error code (``NoSuchKey``), or None where the answer had none (HEAD has no body).
        message: S3's own words, or None.
        request_id: what the operator of the server will ask you for, or None.
        bucket, key: what it was about; None where the request named none, or it cannot be known.
        operation: S3's name of the request (``CompleteMultipartUpload``).
        attempts: how many times the request was sent.
        retry_after: seconds S3 asked to wait before the next attempt; 0 where it did not.
        headers: the answer's, by their names in lower case.
        details: of what else the answer's document says: ``Region`` and ``Endpoint`` of the bucket, ``ServerTime``.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    """

    def __init__(
        self,
        text: str,
        *,
        status: int,
        code: str | None = None,
        message: str | None = None,
        request_id: str | None = None,
        bucket: str | None = None,
        key: str | None = None,
        operation: str = "",
        attempts: int = 1,
        retry_after: float = 0.0,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.bucket = bucket
        self.key = key
        self.operation = operation
        self.attempts = attempts
        self.retry_after = retry_after
        self.headers: dict[str, str] = {name.lower(): value for name, value in (headers or {}).items()}
        self.details: dict[str, str] = {**(details or {})}


class NotFound(S3Error):
    """No such bucket, key or upload (404)."""


class AccessDenied(S3Error):
    """The keys are unknown, the signature is wrong, or the policy forbids it (401, 403)."""


class PreconditionFailed(S3Error):
    """A condition did not hold (412), or the object was replaced while it was downloaded."""


class NotModified(S3Error):
    """The object is the one you already have (304)."""


class Conflict(S3Error):
    """Another request got in the way, or the bucket is in the wrong state (409)."""


class Throttled(S3Error):
    """S3 asked to slow down and went on asking (429, 503 SlowDown)."""


class OutcomeUnknown(HandtruckError):
    """The request may have been carried out: its answer was lost, and no way was left to find out.

    Attributes:
        upload_id: the multipart upload in question, or None.
    """

    def __init__(self, message: str, *, upload_id: str | None = None) -> None:
        super().__init__(message)
        self.upload_id = upload_id


class InvalidResponse(HandtruckError):
    """S3's answer makes no sense: broken XML, another range than the one asked for, a short body."""

    attempts: int = 1

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.attempts} attempts)" if self.attempts > 1 else str(self.args[0])


class ChecksumMismatch(InvalidResponse):
    """The bytes that came are not the ones that were stored, or S3 has got other bytes than we sent."""
