"""An answer and the exception that it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck import errors
from handtruck.errors import (
    AccessDenied,
    Conflict,
    NotFound,
    NotModified,
    PreconditionFailed,
    S3Error,
    Throttled,
)
from handtruck.protocol.address import Location
from handtruck.protocol.answers import Answer, failure

from .strategies import DETERMINISTIC

HERE = Location(path="/bucket/a%20key", bucket="bucket", key="a key")


def document(code: str = "", message: str = "", request_id: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{request_id}</RequestId></Error>".encode()


def fail(
    status: int,
    body: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    location: Location = HERE,
    attempts: int = 1,
) -> S3Error:
    return failure(Answer(status=status, headers=headers or {}, body=body), "GetObject", location, attempts)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        # The code decides, with the status it comes with …
        (404, "NoSuchKey", NotFound),
        (404, "NoSuchBucket", NotFound),
        (404, "NoSuchUpload", NotFound),
        (404, "NoSuchVersion", NotFound),
        (403, "AccessDenied", AccessDenied),
        (403, "SignatureDoesNotMatch", AccessDenied),
        (403, "InvalidAccessKeyId", AccessDenied),
        (403, "RequestTimeTooSkewed", AccessDenied),
        (412, "PreconditionFailed", PreconditionFailed),
        (409, "ConditionalRequestConflict", Conflict),
        (503, "SlowDown", Throttled),
        # … and against it: tokens that ended are a 400, and errors come inside a 200.
        (400, "ExpiredToken", AccessDenied),
        (400, "InvalidToken", AccessDenied),
        (200, "NoSuchUpload", NotFound),
        (200, "PreconditionFailed", PreconditionFailed),
        (200, "InternalError", S3Error),
        # Codes that we do not know leave it to the status.
        (404, "NoSuchTagSet", NotFound),
        (409, "BucketAlreadyOwnedByYou", Conflict),
        (409, "BucketNotEmpty", Conflict),
        (403, "AllAccessDisabled", AccessDenied),
        (400, "InvalidRequest", S3Error),
        (500, "InternalError", S3Error),
        (503, "ServiceUnavailable", S3Error),
        # No code at all.
        (301, None, S3Error),
        (304, None, NotModified),
        (400, None, S3Error),
        (401, None, AccessDenied),
        (403, None, AccessDenied),
        (404, None, NotFound),
        (405, None, S3Error),
        (409, None, Conflict),
        (412, None, PreconditionFailed),
        (416, None, S3Error),
        (418, None, S3Error),
        (429, None, Throttled),
        (500, None, S3Error),
        (503, None, S3Error),
    ],
)
def test_code_first_then_status(status: int, code: str | None, kind: type[S3Error]) -> None:
    error = fail(status, document(code) if code else b"")
    assert type(error) is kind
    assert (error.status, error.code) == (status, code)


def test_every_fact_is_kept() -> None:
    error = fail(
        404,
        document("NoSuchKey", "The key does not exist.", "BODY"),
        headers={"x-amz-request-id": "HEADER"},
        attempts=3,
    )
    assert (error.status, error.code, error.message) == (404, "NoSuchKey", "The key does not exist.")
    assert (error.request_id, error.bucket, error.key) == ("HEADER", "bucket", "a key")
    assert (error.operation, error.attempts) == ("GetObject", 3)


def test_every_fact_is_told() -> None:
    error = fail(404, document("NoSuchKey", "It is gone.", "4442587FB7D0A2F9"), attempts=3)
    assert str(error) == ("GetObject bucket/a key: 404 NoSuchKey: It is gone. (request 4442587FB7D0A2F9, 3 attempts)")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (fail(404), "GetObject bucket/a key: 404 not found"),
        (fail(403), "GetObject bucket/a key: 403 access denied"),
        (fail(301), "GetObject bucket/a key: 301 the bucket is in another region"),
        (fail(418), "GetObject bucket/a key: 418 no explanation given"),
        (fail(412, headers={"x-amz-request-id": "R"}), "GetObject bucket/a key: 412 a precondition failed (request R)"),
        (fail(500, attempts=2), "GetObject bucket/a key: 500 internal error (2 attempts)"),
        (fail(400, document("", "Only words.")), "GetObject bucket/a key: 400 Only words."),
        (fail(400, document("OnlyACode")), "GetObject bucket/a key: 400 OnlyACode"),
        (
            fail(403, document("SignatureDoesNotMatch", "No.")),
            "GetObject bucket/a key: 403 SignatureDoesNotMatch: No.; check the secret access key and region=",
        ),
        (fail(404, location=Location(path="/", bucket=None, key="")), "GetObject /: 404 not found"),
        (fail(404, location=Location(path="/k", bucket=None, key="k")), "GetObject k: 404 not found"),
        (fail(404, location=Location(path="/b/", bucket="b", key="")), "GetObject b: 404 not found"),
    ],
)
def test_messages(error: S3Error, text: str) -> None:
    assert str(error) == text


def test_head_has_no_body_and_is_understood_all_the_same() -> None:
    error = fail(404, headers={"x-amz-request-id": "R"})
    assert type(error) is NotFound
    assert (error.code, error.message, error.request_id) == (None, None, "R")


def test_what_is_not_there_is_none() -> None:
    error = fail(404, location=Location(path="/", bucket=None, key=""))
    assert (error.bucket, error.key, error.request_id) == (None, None, None)


def test_retry_after_is_kept() -> None:
    assert fail(503, headers={"retry-after": "7"}).retry_after == 7.0
    assert fail(503).retry_after == 0.0


@pytest.mark.parametrize("body", [b"<html>Bad Gateway</html>", b"upstream failed", b"<Error>", b"\xff\x00"])
def test_a_proxys_page_is_no_code(body: bytes) -> None:
    error = fail(502, body)
    assert (type(error), error.code, error.message) == (S3Error, None, None)


@DETERMINISTIC
@given(st.integers(100, 599), st.binary(max_size=50) | st.text(max_size=20).map(str.encode).map(b"<Error>%s".__mod__))
def test_any_answer_is_an_s3_error(status: int, body: bytes) -> None:
    error = fail(status, body, attempts=2)
    assert isinstance(error, S3Error)
    for fact in ("GetObject", "bucket/a key", str(status), "2 attempts"):
        assert fact in str(error)


def test_each_class_has_an_answer_that_means_it() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, S3Error)}
    statuses = {type(fail(status)) for status in range(200, 600)}
    assert kinds == statuses


def test_a_conditional_write_of_a_missing_key_is_a_condition_that_does_not_hold() -> None:
    answer = Answer(status=404, headers={}, body=b"<Error><Code>NoSuchKey</Code></Error>")
    where = Location(path="/b/k", bucket="b", key="k")
    assert type(failure(answer, "PutObject", where, 1, conditional_write=True)) is PreconditionFailed
    assert type(failure(answer, "PutObject", where, 1)) is NotFound
    unmodified = Answer(status=304, headers={})  # some servers' word for it
    assert type(failure(unmodified, "PutObject", where, 1, conditional_write=True)) is PreconditionFailed
    assert type(failure(unmodified, "GetObject", where, 1)) is NotModified
