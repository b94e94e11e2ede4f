"""Sessions of S3 Express One Zone: how they are begun and used, signed as botocore signs."""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3ExpressAuth, S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse, UsageError
from handtruck.models import Credentials
from handtruck.protocol.address import Location, wire_query
from handtruck.protocol.answers import Answer
from handtruck.protocol.checksums import EMPTY_SHA256
from handtruck.protocol.express import SESSION_HEADER, session_headers, uses_session, zone_of
from handtruck.protocol.hosts import AwsHosts
from handtruck.protocol.operations.sessions import create_session
from handtruck.protocol.signing import sign

from .strategies import DETERMINISTIC

BUCKET: Final = "logs--use1-az4--x-s3"
HERE: Final = Location(path=f"/{BUCKET}/", bucket=BUCKET, key="")
NOW: Final = datetime(2026, 11, 22, 16, tzinfo=UTC)
KEYS: Final = Credentials(access_key_id="AKID", secret_access_key="secret", session_token="token")
ANSWER: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n'
    b'<CreateSessionResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Credentials>'
    b"<SessionToken>the-token</SessionToken><SecretAccessKey>the-secret</SecretAccessKey>"
    b"<AccessKeyId>the-key</AccessKeyId><Expiration>2026-11-22T16:05:00Z</Expiration>"
    b"</Credentials></CreateSessionResult>"
)


@pytest.mark.parametrize(
    ("bucket", "zone"),
    [
        (BUCKET, "use1-az4"),
        ("a--usw2-lax1-az1--x-s3", "usw2-lax1-az1"),
        ("a--b--use1-az4--x-s3", "use1-az4"),
        ("ap--use1-az4--xa-s3", "use1-az4"),
        ("plain", None),
        ("logs--x-s3", None),
        ("--use1-az4--x-s3", None),
        ("logs--use1-az4--x-s3.evil.com", None),
        ("Logs--use1-az4--x-s3", None),
        ("lo.gs--use1-az4--x-s3", None),
        (f"{'a' * 50}--use1-az4--x-s3", None),
        ("logs--use1-az4--x-s3\n", None),
    ],
)
def test_zones(bucket: str, zone: str | None) -> None:
    assert zone_of(bucket) == zone


def test_create_session() -> None:
    operation = create_session(HERE)
    assert (operation.name, operation.method, operation.query) == ("CreateSession", "GET", (("session", None),))
    assert operation.headers == ()
    assert operation.idempotent
    assert not uses_session(operation.name)
    asked = create_session(HERE, "ReadOnly", (("x-amz-server-side-encryption", "AES256"),))
    assert asked.headers == (("x-amz-create-session-mode", "ReadOnly"), ("x-amz-server-side-encryption", "AES256"))
    with pytest.raises(UsageError, match="mode"):
        create_session(HERE, "WriteOnly")  # type: ignore[arg-type]


def test_its_answer() -> None:
    found = create_session(HERE).parse(Answer(status=200, headers={}, body=ANSWER))
    assert found == Credentials(
        access_key_id="the-key",
        secret_access_key="the-secret",
        session_token="the-token",
        expires_at=datetime(2026, 11, 22, 16, 5, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"the-secret",
        ANSWER[:-30],
        ANSWER.replace(b"CreateSessionResult", b"Other"),
        ANSWER.replace(b"Credentials>", b"Other>"),
        ANSWER.replace(b"the-key", b""),
        ANSWER.replace(b"the-secret", b""),
        ANSWER.replace(b"the-token", b"the-secret\n\nmore"),
        ANSWER.replace(b"the-token", "the-secret-é".encode()),
        ANSWER.replace(b"2026-11", b"later"),
    ],
)
def test_what_is_no_session(body: bytes) -> None:
    """And nothing of the keys shows in the error, or in the locals of the functions that raised it."""
    with pytest.raises(InvalidResponse) as caught:
        create_session(HERE).parse(Answer(status=200, headers={}, body=body))
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    below = [frame for frame in shown.stack if frame.filename.endswith("sessions.py")]
    assert below
    texts = [text for frame in below for name, text in (frame.locals or {}).items() if name != "answer"]
    assert "the-secret" not in f"{caught.value} {texts}"
    assert caught.value.__cause__ is None


@DETERMINISTIC
@given(st.binary(max_size=200) | st.builds(lambda cut: ANSWER[:cut], st.integers(0, len(ANSWER))))
def test_any_bytes_are_keys_or_no_answer(body: bytes) -> None:
    try:
        found = create_session(HERE).parse(Answer(status=200, headers={}, body=body))
    except InvalidResponse:
        return
    assert found.complete
    assert found.session_token
    assert found.expires_at


# --- signatures


def botocores(kind: Any, credentials: BotocoreCredentials, method: str, url: str, headers: dict[str, str]) -> Any:
    more: dict[str, object] = {"identity_cache": {}} if kind is S3ExpressAuth else {}
    signer = kind(credentials, "s3express", "us-east-1", **more)
    request = AWSRequest(method=method, url=url, headers=headers)
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    request.context["payload_signing_enabled"] = True
    signer._modify_request_before_signing(request)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return request.headers


def test_create_session_is_signed_as_botocore_signs_it() -> None:
    """With one's own keys, for s3express, at the bucket's host in its zone."""
    operation = create_session(HERE, "ReadWrite")
    route = AwsHosts().route(BUCKET, HERE.path, "us-east-1", operation=operation.name)
    url = f"{route.origin}{route.path}?{wire_query(operation.query)}"
    assert url == f"https://{BUCKET}.s3express-use1-az4.us-east-1.amazonaws.com/?session"
    assert not route.session
    signed = sign(
        method=operation.method,
        path=route.path,
        query=operation.query,
        headers=[("Host", urlsplit(url).netloc), *operation.headers],
        payload_hash=EMPTY_SHA256,
        credentials=KEYS,
        region="us-east-1",
        service=route.service,
        now=NOW,
    )
    theirs = botocores(
        S3SigV4Auth, BotocoreCredentials("AKID", "secret", "token"), "GET", url, dict(operation.headers)
    )  # fmt: skip
    assert signed["authorization"] == theirs["Authorization"]
    assert signed["x-amz-security-token"] == theirs["X-Amz-Security-Token"] == "token"


def test_a_request_of_a_session_is_signed_as_botocore_signs_it() -> None:
    session = create_session(HERE).parse(Answer(status=200, headers={}, body=ANSWER))
    keys, extra = session_headers(session)
    assert extra == ((SESSION_HEADER, "the-token"),)
    assert (keys.session_token, keys.expires_at) == (None, session.expires_at)
    route = AwsHosts().route(BUCKET, f"/{BUCKET}/a%20b", "us-east-1", operation="GetObject")
    assert route.session
    url = route.origin + route.path
    signed = sign(
        method="GET",
        path=route.path,
        query=(),
        headers=[("Host", urlsplit(url).netloc), *extra],
        payload_hash=EMPTY_SHA256,
        credentials=keys,
        region="us-east-1",
        service=route.service,
        now=NOW,
    )
    theirs = botocores(S3ExpressAuth, BotocoreCredentials("the-key", "the-secret", "the-token"), "GET", url, {})
    assert signed["authorization"] == theirs["Authorization"]
    assert theirs[SESSION_HEADER] == "the-token"
    assert "x-amz-security-token" not in {*signed, *(name.lower() for name in theirs)}


def test_nothing_of_a_session_shows() -> None:
    session = create_session(HERE).parse(Answer(status=200, headers={}, body=ANSWER))
    assert "the-secret" not in repr(session)
    assert "the-token" not in f"{session!r} {session_headers(session)!r}"


def test_keys_without_a_token_need_no_header() -> None:
    assert session_headers(Credentials(access_key_id="a", secret_access_key="b")) == (
        Credentials(access_key_id="a", secret_access_key="b"), (),
    )  # fmt: skip


def test_mutation_a_session_signs_with_its_token_in_the_usual_header(monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.protocol import express

    check = test_a_request_of_a_session_is_signed_as_botocore_signs_it
    monkeypatch.setattr(express, "SESSION_HEADER", "x-amz-security-token")
    with pytest.raises(AssertionError):
        check()
