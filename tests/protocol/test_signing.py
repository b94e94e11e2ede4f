"""Signatures: the documentation's own examples, and botocore as an oracle, byte for byte."""

from __future__ import annotations

import string
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from handtruck.models import Credentials
from handtruck.protocol import signing
from handtruck.protocol.address import Query, parse_endpoint, wire_query
from handtruck.protocol.checksums import EMPTY_SHA256, UNSIGNED_PAYLOAD

from .strategies import DETERMINISTIC, header_values, names, queries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

# --- the examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html

EXAMPLE_HOST = "examplebucket.s3.amazonaws.com"
EXAMPLE_KEYS = Credentials(
    access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)
EXAMPLE_TIME = datetime(2013, 5, 24, tzinfo=UTC)


def example(
    method: str,
    name: str,
    *,
    query: Query = (),
    headers: tuple[tuple[str, str], ...] = (),
    body: bytes = b"",
    now: datetime = EXAMPLE_TIME,
    region: str = "us-east-1",
    credentials: Credentials = EXAMPLE_KEYS,
) -> dict[str, str]:
    return signing.sign(
        method=method,
        path=parse_endpoint(f"https://{EXAMPLE_HOST}").locate(name).path,
        query=query,
        headers=(("Host", EXAMPLE_HOST), *headers),
        payload_hash=sha256(body).hexdigest(),
        credentials=credentials,
        region=region,
        now=now,
    )


def authorization(signed_headers: str, signature: str) -> str:
    return (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders={signed_headers}, Signature={signature}"
    )


def test_published_get_object() -> None:
    signed = example("GET", "test.txt", headers=(("Range", "bytes=0-9"),))
    assert signed == {
        "x-amz-date": "20130524T000000Z",
        "x-amz-content-sha256": EMPTY_SHA256,
        "authorization": authorization(
            "host;range;x-amz-content-sha256;x-amz-date",
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        ),
    }


@pytest.fixture(autouse=True)
def _no_names_remembered() -> Iterator[None]:
    """Which headers are signed is remembered; a test that changes it must not leave that behind."""
    yield
    signing._signed.cache_clear()


def test_published_put_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one example that signs ``Date``, which we never send: it joins the signed headers for this test."""
    monkeypatch.setattr(signing, "_SIGNED", signing._SIGNED | {"date"})
    signing._signed.cache_clear()
    signed = example(
        "PUT",
        "test$file.text",
        headers=(("Date", "Fri, 24 May 2013 00:00:00 GMT"), ("x-amz-storage-class", "REDUCED_REDUNDANCY")),
        body=b"Welcome to Amazon S3.",
    )
    assert signed["authorization"] == authorization(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    )


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ((("lifecycle", None),), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ((("prefix", "J"), ("max-keys", "2")), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
    ids=["lifecycle", "list"],
)
def test_published_queries(query: Query, signature: str) -> None:
    signed = example("GET", "", query=query)
    assert signed["authorization"] == authorization("host;x-amz-content-sha256;x-amz-date", signature)


def test_published_canonical_request() -> None:
    """The text itself, as the page prints it for GET Object."""
    headers = signing.canonical_headers(
        [
            ("x-amz-date", "20130524T000000Z"),
            ("Range", "bytes=0-9"),
            ("x-amz-content-sha256", EMPTY_SHA256),
            ("Host", EXAMPLE_HOST),
        ]
    )
    text = signing.canonical_request("GET", "/test.txt", "", headers, EMPTY_SHA256)
    assert text == (
        f"GET\n/test.txt\n\nhost:{EXAMPLE_HOST}\nrange:bytes=0-9\nx-amz-content-sha256:{EMPTY_SHA256}\n"
        f"x-amz-date:20130524T000000Z\n\nhost;range;x-amz-content-sha256;x-amz-date\n{EMPTY_SHA256}"
    )
    assert sha256(text.encode()).hexdigest() == "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"


# --- botocore as an oracle


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, before anybody signed it. ``body`` None: the payload is not hashed."""

    method: str = "GET"
    host: str = "s3.example.com"
    name: str = "bucket/key"
    query: Query = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = b""
    credentials: Credentials = EXAMPLE_KEYS
    region: str = "us-east-1"
    now: datetime = EXAMPLE_TIME

    @property
    def path(self) -> str:
        return parse_endpoint(f"https://{self.host}").locate(self.name).path


VOLATILE = (("User-Agent", "x"), ("Expect", "100-continue"), ("TE", "x"), ("X-Amzn-Trace-Id", "x"))
"""Headers that proxies touch; botocore signs none of them either."""


def signed_by_us(request: Request) -> dict[str, str]:
    return signing.sign(
        method=request.method,
        path=request.path,
        query=request.query,
        headers=(*VOLATILE, ("Accept-Encoding", "identity"), *request.headers, ("Host", request.host)),
        payload_hash=UNSIGNED_PAYLOAD if request.body is None else sha256(request.body).hexdigest(),
        credentials=request.credentials,
        region=request.region,
        now=request.now,
    )


def signed_by_botocore(request: Request) -> dict[str, str]:
    query = wire_query(request.query)
    theirs: Any = AWSRequest(
        method=request.method,
        url=f"https://{request.host}{request.path}" + (f"?{query}" if query else ""),
        data=request.body,
    )
    theirs.context["client_config"] = Config(s3={"payload_signing_enabled": request.body is not None})
    for name, value in (*VOLATILE, *request.headers):
        theirs.headers[name] = value
    keys = request.credentials
    signer: Any = S3SigV4Auth(
        BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token), "s3", request.region
    )
    with patch("botocore.auth.get_current_datetime", lambda: request.now.replace(tzinfo=None)):
        signer.add_auth(theirs)
    return {name.lower(): value for name, value in theirs.headers.items()}


def check_against_botocore(request: Request) -> None:
    """Every header that we add is, byte for byte, the one botocore adds."""
    ours, theirs = signed_by_us(request), signed_by_botocore(request)
    wanted = ["x-amz-date", "x-amz-content-sha256", "x-amz-security-token", "authorization"]
    assert ours == {name: theirs[name] for name in wanted if name in theirs}


META = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=8).map("x-amz-meta-{}".format)
HEADER_NAMES = st.one_of(
    st.sampled_from(["Content-Type", "Content-MD5", "Range", "x-amz-copy-source", "X-Amz-ACL", "x-amz-meta-A"]), META
)
ASCII = string.ascii_letters + string.digits + "/+=-_"
REQUESTS = st.builds(
    Request,
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    host=st.sampled_from(["s3.example.com", "localhost:9000", "[::1]:9000", "127.0.0.1", "b.s3.eu-west-1.example"]),
    name=names(),
    query=queries(),
    headers=st.lists(st.tuples(HEADER_NAMES, header_values()), max_size=6).map(tuple),
    body=st.none() | st.just(b"") | st.binary(max_size=64),
    credentials=st.builds(
        Credentials,
        access_key_id=st.text(ASCII, min_size=1, max_size=20),
        secret_access_key=st.text(min_size=1, max_size=40),
        session_token=st.none() | st.just("") | st.text(ASCII, min_size=1, max_size=40),
    ),
    region=st.sampled_from(["us-east-1", "eu-central-1", "auto", "garage"]) | st.text(ASCII, min_size=1, max_size=12),
    now=st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)


@DETERMINISTIC
@given(REQUESTS)
def test_botocore_signs_the_same(request: Request) -> None:
    check_against_botocore(request)


EVERYTHING = Request(
    method="PUT",
    name="bucket/a b+ü%2F",
    query=(("z", "2"), ("uploads", None), ("z", "1")),
    headers=(("x-amz-meta-note", "  two  blanks "), ("Content-Type", "text/plain")),
    body=None,
    credentials=Credentials(access_key_id="id", secret_access_key="secret", session_token="token"),
)
"""A request in which each of the faults below makes a difference."""


def _unsorted(query: Iterable[tuple[str, str | None]]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value or '', safe='')}" for name, value in query)


def _untrimmed(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in sorted(headers, key=lambda header: header[0].lower())}


def _encoded_twice(
    method: str,
    path: str,
    *rest: Any,
    real: Callable[..., str] = signing.canonical_request,
) -> str:
    return real(method, quote(path, safe="/"), *rest)


def _without_token(*, real: Callable[..., dict[str, str]] = signing.sign, **request: Any) -> dict[str, str]:
    return real(**request | {"credentials": replace(request["credentials"], session_token=None)})


MUTATIONS = {
    "query not sorted": ("canonical_query", _unsorted),
    "header values not trimmed": ("canonical_headers", _untrimmed),
    "key encoded twice": ("canonical_request", _encoded_twice),
    "session token dropped": ("sign", _without_token),
    "content type not signed": ("_SIGNED", signing._SIGNED - {"content-type"}),
    "volatile header signed": ("_SIGNED", signing._SIGNED | {"accept-encoding"}),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_oracle_sees_a_fault(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_against_botocore(EVERYTHING)
    monkeypatch.setattr(signing, *MUTATIONS[mutation])
    signing._signed.cache_clear()
    with pytest.raises(AssertionError):
        check_against_botocore(EVERYTHING)


# --- what is ours alone


def test_the_callers_own_signing_headers_are_replaced() -> None:
    """A request signed a second time (a retry) never carries two dates or two hashes."""
    headers = (("X-Amz-Date", "19990101T000000Z"), ("X-Amz-Content-SHA256", "old"), ("Authorization", "old"))
    assert example("GET", "key", headers=headers) == example("GET", "key")


def test_other_services_sign_alike() -> None:
    signed = signing.sign(
        method="POST",
        path="/",
        query=(),
        headers=(("host", "sts.amazonaws.com"),),
        payload_hash=EMPTY_SHA256,
        credentials=EXAMPLE_KEYS,
        region="us-east-1",
        now=EXAMPLE_TIME,
        service="sts",
    )
    assert "/20130524/us-east-1/sts/aws4_request," in signed["authorization"]


def test_canonical_headers_fold_blanks_and_join_repeats() -> None:
    headers = [("X-B", "  a   b\t c "), ("X-A", "1"), ("x-b", "d"), ("X-C", "")]
    assert list(signing.canonical_headers(headers).items()) == [("x-a", "1"), ("x-b", "a b c,d"), ("x-c", "")]


def test_the_signing_key_is_cached_by_day_and_region() -> None:
    """Another day, region or secret gives another signature; another second of the same day costs no new key."""
    signing.keyed_mac.cache_clear()
    later = EXAMPLE_TIME + timedelta(hours=23)
    other_secret = replace(EXAMPLE_KEYS, secret_access_key="other")
    signatures = [
        example("GET", "key")["authorization"],
        example("GET", "key", now=later)["authorization"],
        example("GET", "key", now=later + timedelta(hours=1))["authorization"],
        example("GET", "key", region="eu-west-1")["authorization"],
        example("GET", "key", credentials=other_secret)["authorization"],
    ]
    assert len(set(signatures)) == 5
    assert signing.keyed_mac.cache_info()[:2] == (1, 4)  # hits, misses
    assert example("GET", "key")["authorization"] == signatures[0]
    assert signing.keyed_mac.cache_info().hits == 2


def test_no_secret_is_left_in_what_is_added() -> None:
    keys = Credentials(access_key_id="id", secret_access_key="MARKER", session_token="token")
    assert "MARKER" not in str(example("GET", "key", credentials=keys))
    assert "MARKER" not in repr(keys)
    assert "token=" not in repr(keys)
