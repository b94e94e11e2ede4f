"""Outcome + attempt → wait this long and send again, or give up.

* **What.** A *refusal* (429, 500, 503, SlowDown, RequestTimeout …) says that nothing was done: sent again always.
  Where the answer was *lost* (a broken connection, 502, 504, truncated XML) it may have been done: sent again only
  if doing it twice does no harm, which the operation knows. Everything else is final, a 403 first of all.
* **When.** Full jitter: a random part of ``base · 2ⁿ``, at most 20 s; never sooner than Retry-After asks.
* **How often.** ``attempts`` in all, and a bucket of 500 tokens shared by a client's requests: a retry takes 5, one
  after a timeout 10; a success gives back what its last retry took, or 1. An outage thus ends in quick errors,
  not in a storm.

Sources: S3's ErrorResponses page; https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html;
https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

CAPACITY: Final = 500
RETRY_COST: Final = 5
TIMEOUT_COST: Final = 10
BASE_DELAY: Final = 0.1
MAX_DELAY: Final = 20.0
MAX_RETRY_AFTER: Final = 60.0
"""A server that asks for more gets no retry at all: the caller knows better what to do with an hour."""

_REFUSED_STATUS: Final = frozenset({429, 500, 503})
_LOST_STATUS: Final = frozenset({502, 504})
_REFUSED_CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "InternalError",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
EXPIRED_CODES: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
"""The keys ran out: fetch new ones and send again, once."""


class Outcome(Enum):
    """How an attempt ended, as far as sending again goes."""

    FINAL = "final"
    """An answer that will not change."""
    REFUSED = "refused"
    """Nothing was done: no connection, or S3 said so."""
    LOST = "lost"
    """It may have been done: no answer, or half of one."""
    TIMED_OUT = "timed out"
    """As lost, after a long wait."""


def classify(status: int, code: str | None) -> Outcome:
    """What an answer means. An ``<Error>`` inside a 200 comes here as a 500."""
    if status == 403:
        return Outcome.FINAL
    if code in _REFUSED_CODES or status in _REFUSED_STATUS:
        return Outcome.REFUSED
    return Outcome.LOST if status in _LOST_STATUS else Outcome.FINAL


def backoff(attempt: int, random: float) -> float:
    """Seconds to wait after attempt number ``attempt`` (from 1); ``random`` is in ``[0, 1)``."""
    return random * min(MAX_DELAY, BASE_DELAY * 2.0 ** min(attempt, 64))  # 2.0**1024 is no float


@dataclass(slots=True)
class RetryBudget:
    """The token bucket that a client's requests share."""

    tokens: int = CAPACITY

    def take(self, cost: int) -> bool:
        """Pay for a retry, if there is enough."""
        if cost > self.tokens:
            return False
        self.tokens -= cost
        return True

    def refund(self, cost: int) -> None:
        """A request succeeded, and its last retry had cost ``cost`` (0: there was none)."""
        self.tokens = min(CAPACITY, self.tokens + (cost or 1))


@dataclass(slots=True)
class Retries:
    """The attempts of one request.

    Attributes:
        budget: shared with the client's other requests.
        attempts: how often it may be sent in all.
        idempotent: doing it twice does no harm.
        attempt: how often it was sent so far.
    """

    budget: RetryBudget
    attempts: int
    idempotent: bool
    attempt: int = 0
    paid: int = 0

    def succeeded(self) -> None:
        """The last attempt got what it wanted."""
        self.budget.refund(self.paid)

    def again(self, outcome: Outcome, *, random: float, retry_after: float = 0.0) -> float | None:
        """Seconds to wait before the next attempt, or None to give up."""
        harmless = self.idempotent or outcome is Outcome.REFUSED
        if outcome is Outcome.FINAL or not harmless or self.attempt >= self.attempts or retry_after > MAX_RETRY_AFTER:
            return None
        cost = TIMEOUT_COST if outcome is Outcome.TIMED_OUT else RETRY_COST
        if not self.budget.take(cost):
            return None
        self.paid = cost
        return max(retry_after, backoff(self.attempt, random))


def parse_retry_after(text: str | None) -> float:
    """Seconds that a Retry-After header asks for; 0 where it says nothing we can use (RFC 9110, 10.2.3).

    Its other form, a date, needs a clock that both sides agree on, and S3 never sends it.
    """
    return float(text) if text and text.strip().isascii() and text.strip().isdigit() else 0.0
