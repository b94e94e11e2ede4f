"""The tree of errors: who is caught by what, and that every fact survives pickling and copying."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import httpx
import pytest

from handtruck import errors
from handtruck.errors import ConnectionFailed, HandtruckError, OutcomeUnknown, S3Error, TransferTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: list[type[HandtruckError]] = [getattr(errors, name) for name in errors.__all__]
S3_KINDS = [kind for kind in KINDS if issubclass(kind, S3Error)]
FACTS = {
    "status": 404,
    "code": "NoSuchKey",
    "message": "gone",
    "request_id": "R",
    "bucket": "b",
    "key": "caf\udce9",
    "operation": "GetObject",
    "attempts": 3,
    "retry_after": 2.5,
}


def specimen(kind: type[HandtruckError]) -> HandtruckError:
    if issubclass(kind, S3Error):
        return kind("text", **FACTS)  # type: ignore[arg-type]
    if issubclass(kind, ConnectionFailed):
        return kind("text", sent=False, attempts=4)
    if issubclass(kind, OutcomeUnknown):
        return kind("text", upload_id="id")
    return kind("text")


def there_and_back(error: HandtruckError) -> HandtruckError:
    copied: HandtruckError = pickle.loads(pickle.dumps(error))  # noqa: S301
    return copied


@pytest.mark.parametrize("duplicate", [there_and_back, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", KINDS)
def test_every_fact_survives(kind: type[HandtruckError], duplicate: Callable[[HandtruckError], HandtruckError]) -> None:
    error = specimen(kind)
    error.add_note("a note")
    twin = duplicate(error)
    assert twin is not error
    assert type(twin) is kind
    assert (twin.args, str(twin), twin.__dict__) == (error.args, str(error), error.__dict__)
    assert twin.__notes__ == ["a note"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(protocol: int) -> None:
    for kind in KINDS:
        error = specimen(kind)
        assert pickle.loads(pickle.dumps(error, protocol)).__dict__ == error.__dict__  # noqa: S301


def _raise_in_a_process(kind: type[HandtruckError]) -> None:
    raise specimen(kind)


def test_errors_cross_process_pools() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for kind in (errors.NotFound, TransferTimeout, OutcomeUnknown):
            with pytest.raises(kind) as caught:
                pool.submit(_raise_in_a_process, kind).result()
            error = specimen(kind)
            assert str(caught.value) == str(error)
            assert {name: vars(caught.value)[name] for name in vars(error)} == vars(error)


@pytest.mark.parametrize("kind", S3_KINDS)
def test_what_s3_said_is_on_the_error(kind: type[S3Error]) -> None:
    error = specimen(kind)
    assert {name: getattr(error, name) for name in FACTS} == FACTS
    assert str(error) == "text"


def test_facts_that_nobody_told() -> None:
    error = S3Error("text", status=500)
    assert (error.code, error.message, error.request_id, error.bucket, error.key) == (None,) * 5
    assert (error.operation, error.attempts, error.retry_after) == ("", 1, 0.0)
    assert OutcomeUnknown("text").upload_id is None
    assert (ConnectionFailed("text").sent, ConnectionFailed("text").attempts) == (True, 1)


@pytest.mark.parametrize(
    ("kind", "caught_by"),
    [
        *((kind, HandtruckError) for kind in KINDS),
        *((kind, S3Error) for kind in S3_KINDS),
        (errors.UsageError, ValueError),
        (ConnectionFailed, httpx.TransportError),
        (ConnectionFailed, httpx.HTTPError),
        (TransferTimeout, ConnectionFailed),
        (TransferTimeout, httpx.TransportError),
        (TransferTimeout, httpx.TimeoutException),
        (TransferTimeout, TimeoutError),
    ],
)
def test_who_catches_whom(kind: type[HandtruckError], caught_by: type[Exception]) -> None:
    assert isinstance(specimen(kind), caught_by)


def test_who_does_not() -> None:
    """A no of S3 is no failure of the road, and only a stall is a timeout."""
    for kind in KINDS:
        assert issubclass(kind, httpx.HTTPError) is issubclass(kind, ConnectionFailed)
        assert issubclass(kind, OSError) is (kind is TransferTimeout)
        assert issubclass(kind, ValueError) is (kind is errors.UsageError)


def test_timeouts_are_drawn_as_their_tree_says() -> None:
    assert TransferTimeout.__bases__ == (ConnectionFailed, httpx.TimeoutException, TimeoutError)
    assert TransferTimeout("nothing moved").args == ("nothing moved",)


@pytest.mark.parametrize("kind", [ConnectionFailed, TransferTimeout])
def test_attempts_are_told(kind: type[ConnectionFailed]) -> None:
    assert str(kind("no answer")) == "no answer"
    assert str(kind("no answer", attempts=3)) == "no answer (3 attempts)"


def test_the_request_of_an_httpx_error_survives() -> None:
    """Set by httpx on the errors of its transports, ours among them."""
    error = ConnectionFailed("no answer")
    error.request = httpx.Request("GET", "http://host/key")
    twin = there_and_back(error)
    assert isinstance(twin, ConnectionFailed)
    assert twin.request.url == "http://host/key"


def test_every_error_is_public_and_documented() -> None:
    found = {
        name
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__module__ == errors.__name__
    }
    assert found == set(errors.__all__)
    for kind in KINDS:
        assert kind.__doc__
        assert kind.__name__ in (errors.__doc__ or "")
