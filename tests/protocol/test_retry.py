"""What is sent again, when, and how often: the table of S3's own words, and arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.protocol import retry
from handtruck.protocol.retry import Outcome, Retries, RetryBudget

from .strategies import DETERMINISTIC

CODES = st.none() | st.sampled_from(sorted(retry._REFUSED_CODES | retry.EXPIRED_CODES)) | st.text(max_size=20)


def retries(
    *, attempts: int = 3, idempotent: bool = True, attempt: int = 1, budget: RetryBudget | None = None
) -> Retries:
    return Retries(budget=budget or RetryBudget(), attempts=attempts, idempotent=idempotent, attempt=attempt)


# --- what


@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        # Statuses, with nothing said.
        (429, None, Outcome.REFUSED),
        (500, None, Outcome.REFUSED),
        (502, None, Outcome.LOST),
        (503, None, Outcome.REFUSED),
        (504, None, Outcome.LOST),
        # Codes, on the statuses that they come with.
        (503, "SlowDown", Outcome.REFUSED),
        (500, "InternalError", Outcome.REFUSED),
        (400, "RequestTimeout", Outcome.REFUSED),
        (400, "PriorRequestNotComplete", Outcome.REFUSED),
        (503, "ServiceUnavailable", Outcome.REFUSED),
        (409, "ConditionalRequestConflict", Outcome.REFUSED),
        (400, "Throttling", Outcome.REFUSED),
        (503, "BandwidthLimitExceeded", Outcome.REFUSED),
        # An <Error> inside a 200.
        (500, "SomethingNew", Outcome.REFUSED),
        # Final.
        (200, None, Outcome.FINAL),
        (301, "PermanentRedirect", Outcome.FINAL),
        (304, None, Outcome.FINAL),
        (307, "TemporaryRedirect", Outcome.FINAL),
        (400, None, Outcome.FINAL),
        (400, "InvalidRequest", Outcome.FINAL),
        (400, "ExpiredToken", Outcome.FINAL),
        (401, None, Outcome.FINAL),
        (403, None, Outcome.FINAL),
        (403, "AccessDenied", Outcome.FINAL),
        (403, "SignatureDoesNotMatch", Outcome.FINAL),
        (403, "RequestTimeTooSkewed", Outcome.FINAL),
        (404, "NoSuchKey", Outcome.FINAL),
        (405, None, Outcome.FINAL),
        (409, "BucketAlreadyOwnedByYou", Outcome.FINAL),
        (412, "PreconditionFailed", Outcome.FINAL),
        (416, "InvalidRange", Outcome.FINAL),
        (501, "NotImplemented", Outcome.FINAL),
        (505, None, Outcome.FINAL),
    ],
)
def test_what_an_answer_means(status: int, code: str | None, outcome: Outcome) -> None:
    assert retry.classify(status, code) is outcome


@DETERMINISTIC
@given(CODES)
def test_a_403_is_never_retried(code: str | None) -> None:
    """Whatever code comes with it: a storm of refused signatures locks accounts."""
    assert retry.classify(403, code) is Outcome.FINAL
    assert retries().again(retry.classify(403, code), random=0.5) is None


@pytest.mark.parametrize(
    ("outcome", "idempotent", "again"),
    [
        (Outcome.FINAL, True, False),
        (Outcome.FINAL, False, False),
        (Outcome.REFUSED, True, True),
        (Outcome.REFUSED, False, True),
        (Outcome.LOST, True, True),
        (Outcome.LOST, False, False),
        (Outcome.TIMED_OUT, True, True),
        (Outcome.TIMED_OUT, False, False),
    ],
)
def test_lost_answers_are_asked_for_again_only_where_that_is_harmless(
    outcome: Outcome, idempotent: bool, again: bool
) -> None:
    """A refusal was not carried out; a lost answer may have been."""
    request = retries(idempotent=idempotent)
    assert (request.again(outcome, random=0.5) is not None) is again
    assert request.budget.tokens == retry.CAPACITY - (0 if not again else request.paid)


@pytest.mark.parametrize("attempts", [1, 2, 3, 10])
def test_attempts_are_counted_in_all(attempts: int) -> None:
    request = retries(attempts=attempts, attempt=0)
    sent = 0
    while True:
        request.attempt += 1
        sent += 1
        if request.again(Outcome.REFUSED, random=0.0) is None:
            break
    assert sent == attempts


# --- when


@DETERMINISTIC
@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_full_jitter(attempt: int, random: float) -> None:
    """Anything from nothing to the ceiling, which doubles up to 20 seconds."""
    ceiling = retry.MAX_DELAY if attempt > 20 else min(retry.MAX_DELAY, retry.BASE_DELAY * 2**attempt)
    delay = retry.backoff(attempt, random)
    assert 0 <= delay < ceiling
    assert delay == pytest.approx(random * ceiling)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 0.2), (2, 0.4), (3, 0.8), (7, 12.8), (8, 20.0), (64, 20.0), (5_000, 20.0)]
)
def test_the_ceiling_doubles(attempt: int, ceiling: float) -> None:
    assert retry.backoff(attempt, 1.0) == pytest.approx(ceiling)
    assert retry.backoff(attempt, 0.0) == 0.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("1", 1.0),
        (" 30 ", 30.0),
        ("3600", 3600.0),
        (None, 0.0),
        ("", 0.0),
        (" ", 0.0),
        ("-1", 0.0),
        ("1.5", 0.0),
        ("1e9", 0.0),
        ("inf", 0.0),
        ("nan", 0.0),
        ("²", 0.0),
        ("١", 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("9" * 5_000, float("inf")),
    ],
)
def test_retry_after(text: str | None, seconds: float) -> None:
    assert retry.parse_retry_after(text) == seconds


@DETERMINISTIC
@given(st.none() | st.text())
def test_any_retry_after_is_understood(text: str | None) -> None:
    assert retry.parse_retry_after(text) >= 0


@DETERMINISTIC
@given(st.floats(0, retry.MAX_RETRY_AFTER), st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_never_sooner_than_asked(retry_after: float, attempt: int, random: float) -> None:
    delay = retries(attempts=10, attempt=attempt).again(Outcome.REFUSED, random=random, retry_after=retry_after)
    assert delay == max(retry_after, retry.backoff(attempt, random))


@pytest.mark.parametrize("retry_after", [60.1, 3600.0, float("inf")])
def test_too_long_a_wait_is_the_callers_to_decide(retry_after: float) -> None:
    request = retries()
    assert request.again(Outcome.REFUSED, random=0.5, retry_after=retry_after) is None
    assert request.budget.tokens == retry.CAPACITY


# --- how often


def test_the_numbers() -> None:
    """Those of the SDKs, so that our clients weigh on a server like theirs."""
    assert (retry.CAPACITY, retry.RETRY_COST, retry.TIMEOUT_COST, retry.MAX_DELAY) == (500, 5, 10, 20.0)


@pytest.mark.parametrize(("outcome", "cost"), [(Outcome.REFUSED, 5), (Outcome.LOST, 5), (Outcome.TIMED_OUT, 10)])
def test_what_a_retry_costs_and_a_success_gives_back(outcome: Outcome, cost: int) -> None:
    request = retries()
    assert request.again(outcome, random=0.5) is not None
    assert (request.budget.tokens, request.paid) == (500 - cost, cost)
    request.succeeded()
    assert request.budget.tokens == 500


def test_only_the_last_retry_is_given_back() -> None:
    request = retries(attempts=5)
    for _ in range(3):
        request.again(Outcome.TIMED_OUT, random=0.5)
        request.attempt += 1
    request.succeeded()
    assert request.budget.tokens == 500 - 3 * 10 + 10


def test_a_success_without_retries_gives_one_back() -> None:
    budget = RetryBudget(tokens=10)
    retries(budget=budget).succeeded()
    assert budget.tokens == 11


@pytest.mark.parametrize(("tokens", "outcome"), [(4, Outcome.REFUSED), (9, Outcome.TIMED_OUT), (0, Outcome.LOST)])
def test_an_empty_budget_ends_the_attempts_and_is_not_overdrawn(tokens: int, outcome: Outcome) -> None:
    budget = RetryBudget(tokens=tokens)
    request = retries(budget=budget)
    assert request.again(outcome, random=0.5) is None
    assert (budget.tokens, request.paid) == (tokens, 0)


@DETERMINISTIC
@given(st.lists(st.sampled_from(Outcome) | st.none(), max_size=400))
def test_the_budget_stays_within_its_bounds(story: list[Outcome | None]) -> None:
    """None is a success; whatever else happens, there are never fewer than 0 or more than 500 tokens."""
    budget = RetryBudget()
    request = retries(budget=budget, attempts=1_000)
    for outcome in story:
        if outcome is None:
            request.succeeded()
            request = retries(budget=budget, attempts=1_000)
        else:
            request.again(outcome, random=0.5)
        assert 0 <= budget.tokens <= retry.CAPACITY


@pytest.mark.parametrize(("outcome", "bound"), [(Outcome.REFUSED, 100), (Outcome.LOST, 100), (Outcome.TIMED_OUT, 50)])
@pytest.mark.parametrize("requests", [10, 1_000, 10_000])
def test_an_outage_ends_in_quick_errors(outcome: Outcome, bound: int, requests: int) -> None:
    """However many requests fail: the retries that they send together are bounded."""
    budget = RetryBudget()
    sent = 0
    for _ in range(requests):
        request = retries(budget=budget, attempts=5)
        while request.again(outcome, random=0.5) is not None:
            request.attempt += 1
            sent += 1
    assert sent == min(requests * 4, bound)


def test_after_an_outage_successes_fill_the_budget_again() -> None:
    budget = RetryBudget(tokens=0)
    for _ in range(600):
        retries(budget=budget).succeeded()
    assert budget.tokens == retry.CAPACITY
