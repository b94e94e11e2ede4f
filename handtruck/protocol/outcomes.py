"""How an attempt ended, by what it raised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import (
    AccessDenied,
    ConnectionFailed,
    NotFound,
    PreconditionFailed,
    S3Error,
    TransferTimeout,
    UsageError,
)
from .operations import is_conditional
from .retry import Outcome, classify

if TYPE_CHECKING:
    from ..errors import HandtruckError
    from .operations import Operation


def outcome_of(error: HandtruckError, operation: Operation[object]) -> Outcome:
    """What it means for sending the request again."""
    match error:
        case S3Error() if error.code in operation.final_codes:
            return Outcome.FINAL
        case S3Error(status=500) if is_conditional(operation.headers):
            return Outcome.LOST  # had it been done all the same, a repetition would answer 412
        case S3Error():
            # Inside a 200 an error counts as a 500, unless it is one of those that do not pass.
            inside = 400 if isinstance(error, AccessDenied | NotFound | PreconditionFailed) else 500
            return classify(error.status if error.status >= 300 else inside, error.code)
        case ConnectionFailed(sent=False):
            return Outcome.REFUSED
        case TransferTimeout():
            return Outcome.TIMED_OUT
        case UsageError():
            return Outcome.FINAL
        case _:
            return Outcome.LOST


def did_nothing(error: HandtruckError, operation: Operation[object]) -> bool:
    """S3 carried nothing out: it said so, or was never reached."""
    return outcome_of(error, operation) in (Outcome.REFUSED, Outcome.FINAL)
