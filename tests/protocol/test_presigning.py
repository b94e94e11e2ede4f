"""Presigned URLs and forms: the documentation's own examples, and botocore as an oracle, byte for byte."""

from __future__ import annotations

import copy
import json
import os
import pickle
import string
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch
from urllib.parse import parse_qsl, urlsplit

import botocore.session
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st

from handtruck import SSECustomer
from handtruck.errors import UsageError
from handtruck.models import Credentials, PresignedURL
from handtruck.protocol import address, post_policy, presigning, signing
from handtruck.protocol.address import Addressing, Query, parse_endpoint
from handtruck.protocol.post_policy import PostPolicy, new_policy, sign_post
from handtruck.protocol.presigning import LONGEST, Signer

from .strategies import DETERMINISTIC, ENCODED_KEYS, header_values, names

if TYPE_CHECKING:
    from collections.abc import Callable

    from handtruck.models import PresignedPost

KEYS: Final = Credentials(
    access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)
TOKEN: Final = Credentials(access_key_id="id", secret_access_key="marker-secret", session_token="marker/token+=")
THEN: Final = datetime(2013, 5, 24, tzinfo=UTC)
HOST: Final = "https://examplebucket.s3.amazonaws.com"
GOES_RED: Final = (AssertionError, pytest.fail.Exception)


def url_of(
    name: str = "key",
    *,
    method: str = "GET",
    endpoint: str = "https://s3.example.com/bucket",
    addressing: Addressing = "auto",
    query: Query = (),
    headers: tuple[tuple[str, str], ...] = (),
    keys: Credentials = TOKEN,
    region: str = "us-east-1",
    now: datetime = THEN,
    seconds: int = 3600,
) -> PresignedURL:
    place = parse_endpoint(endpoint, addressing=addressing)
    return presigning.presign(
        Signer(credentials=keys, region=region, now=now),
        method=method,
        origin=place.origin,
        path=place.locate(name).path,
        query=query,
        headers=headers,
        seconds=seconds,
    )


# --- https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html


def test_published_url() -> None:
    url = url_of("test.txt", endpoint=HOST, keys=KEYS, seconds=86400)
    assert url == (
        f"{HOST}/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )
    assert url.expires_at == datetime(2013, 5, 25, tzinfo=UTC)


# --- https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-post-example.html

PUBLISHED_POLICY: Final = """\
{ "expiration": "2015-12-30T12:00:00.000Z",
  "conditions": [
    {"bucket": "sigv4examplebucket"},
    ["starts-with", "$key", "user/user1/"],
    {"acl": "public-read"},
    {"success_action_redirect": "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html"},
    ["starts-with", "$Content-Type", "image/"],
    {"x-amz-meta-uuid": "14365123651274"},
    {"x-amz-server-side-encryption": "AES256"},
    ["starts-with", "$x-amz-meta-tag", ""],

    {"x-amz-credential": "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"},
    {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
    {"x-amz-date": "20151229T000000Z" }
  ]
}""".replace("\n", "\r\n")


def test_published_policy() -> None:
    signer = Signer(credentials=KEYS, region="us-east-1", now=datetime(2015, 12, 29, tzinfo=UTC))
    signature = signer.signature(b64encode(PUBLISHED_POLICY.encode()).decode())
    assert signature == "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e"


# --- botocore as an oracle: URLs


def botocores_url(url: str, method: str, headers: Any, keys: Credentials, region: str, now: datetime, s: int) -> str:
    request: Any = AWSRequest(method=method, url=url)
    for name, value in headers:
        request.headers[name] = value
    signer: Any = S3SigV4QueryAuth(
        BotocoreCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token or None), "s3", region, s
    )
    with patch("botocore.auth.get_current_datetime", lambda: now.replace(tzinfo=None)):
        signer.add_auth(request)
    return str(request.url)


ASCII: Final = string.ascii_letters + string.digits + "/+=-_"
TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
QUERIES: Final = st.lists(
    st.tuples(st.sampled_from(["uploads", "versionId", "partNumber", "a b", "ü"]) | TEXT.filter(bool), TEXT),
    max_size=4,
    unique_by=lambda pair: pair[0],
).map(tuple)
HEADERS: Final = st.lists(
    st.tuples(
        st.sampled_from(["Content-Type", "Content-MD5", "Content-Length", "Range", "x-amz-meta-A", "X-Amz-ACL"]),
        header_values(),
    ),
    max_size=5,
).map(tuple)  # fmt: skip
FACTS: Final = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
        "endpoint": st.sampled_from(
            [
                "https://s3.example.com/bucket",
                "http://localhost:9000/b",
                "http://[::1]:9000/b",
                "https://s3.example.com:443/b",
                "http://127.0.0.1:80",
                "https://b.s3.eu-west-1.amazonaws.com",
            ]
        ),
        "query": QUERIES,
        "headers": HEADERS,
        "keys": st.builds(
            Credentials,
            access_key_id=st.text(ASCII, min_size=1, max_size=20),
            secret_access_key=st.text(min_size=1, max_size=40),
            session_token=st.none() | st.text(ASCII, min_size=1, max_size=40),
        ),
        "region": st.sampled_from(["us-east-1", "eu-central-1", "auto"]) | st.text(ASCII, min_size=1, max_size=12),
        "now": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
        "seconds": st.integers(1, LONGEST),
    }
)


def check_against_botocore(name: str, facts: dict[str, Any]) -> None:
    ours = url_of(name, **facts)
    place = parse_endpoint(facts["endpoint"])
    asked = "&".join(f"{presigning._encode(n)}={presigning._encode(v or '')}" for n, v in facts["query"])
    url = f"{place.origin}{place.locate(name).path}" + (f"?{asked}" if asked else "")
    said = (facts[each] for each in ("method", "headers", "keys", "region", "now", "seconds"))
    assert str(ours) == botocores_url(url, *said)


@DETERMINISTIC
@given(names(), FACTS)
def test_botocore_signs_the_same(name: str, facts: dict[str, Any]) -> None:
    check_against_botocore(name, facts)


EVERYTHING: Final[dict[str, Any]] = {
    "method": "PUT",
    "endpoint": "https://s3.example.com:443/b",
    "query": (("versionId", "a b"), ("uploads", None), ("A", "ü/+")),
    "headers": (("x-amz-meta-a", " two  blanks"), ("Content-Type", "text/plain"), ("X-Amz-Meta-A", "again")),
    "keys": TOKEN,
    "region": "eu-west-1",
    "now": THEN + timedelta(hours=5, microseconds=7),
    "seconds": 77,
}
"""In which each of the faults below makes a difference."""


def test_everything_at_once() -> None:
    check_against_botocore("a b/ü+%2F~(1)", EVERYTHING)


@lru_cache(maxsize=4)
def botocore_client(endpoint: str, style: str, token: str | None, region: str) -> Any:
    session = botocore.session.Session()
    for variable in ("config_file", "credentials_file"):
        session.set_config_variable(variable, os.devnull)
    return session.create_client(
        "s3",
        region_name=region,
        endpoint_url=endpoint,
        aws_access_key_id=TOKEN.access_key_id,
        aws_secret_access_key=TOKEN.secret_access_key,
        aws_session_token=token,
        config=Config(signature_version="s3v4", s3={"addressing_style": style}),
    )


STYLES: Final = pytest.mark.parametrize(
    ("style", "ours", "addressing"),
    [("path", "https://s3.example.com/bucket", "path"), ("virtual", "https://bucket.s3.example.com", "virtual")],
)


@STYLES
def test_botocores_client_gives_the_same_for_every_key(style: str, ours: str, addressing: Addressing) -> None:
    """It encodes the keys itself. Bytes that are not UTF-8 it cannot."""
    theirs = botocore_client("https://s3.example.com", style, TOKEN.session_token, "us-east-1")
    with patch("botocore.auth.get_current_datetime", lambda: THEN.replace(tzinfo=None)):
        for key in ENCODED_KEYS:
            if not key.isascii() and any("\udc80" <= letter <= "\udcff" for letter in key):
                continue
            for method, params in (("get_object", {}), ("upload_part", {"PartNumber": 3, "UploadId": "id +/"})):
                url = theirs.generate_presigned_url(method, Params={"Bucket": "bucket", "Key": key, **params})
                query = tuple((name, str(params[n])) for name, n in PART_QUERY if n in params)
                verb = "GET" if method == "get_object" else "PUT"
                mine = url_of(key, method=verb, endpoint=ours, addressing=addressing, query=query)
                assert urlsplit(mine)[:3] == urlsplit(url)[:3], key
                assert sorted(parse_qsl(urlsplit(mine).query)) == sorted(parse_qsl(urlsplit(url).query)), key


PART_QUERY: Final = (("uploadId", "UploadId"), ("partNumber", "PartNumber"))


# --- botocore as an oracle: forms


def form_of(
    name: str = "bucket/key",
    endpoint: str = "https://s3.example.com",
    *,
    now: datetime = THEN,
    seconds: int = 3600,
    region: str = "us-east-1",
    keys: Credentials = TOKEN,
    **arguments: Any,
) -> PresignedPost:
    place = parse_endpoint(endpoint)
    policy = new_policy(place.locate(name), **arguments)
    url = place.origin + (place.locate_bucket(bucket=policy.bucket).path.rstrip("/") or "/")
    return sign_post(Signer(credentials=keys, region=region, now=now), url=url, policy=policy, seconds=seconds)


def document_of(post: PresignedPost) -> Any:
    return json.loads(b64decode(post.fields["policy"]))


def check_form_against_botocore(key: str, fields: dict[str, str], opened: dict[str, str], **facts: Any) -> None:
    ours = form_of(f"bucket/{key}", fields=fields, starts_with=opened, min_size=1, max_size=99, **facts)
    conditions: list[Any] = [{name: value} for name, value in fields.items()]
    conditions += [["starts-with", f"${name}", value] for name, value in opened.items()]
    conditions.append(["content-length-range", 1, 99])
    client = botocore_client("https://s3.example.com", "path", TOKEN.session_token, "us-east-1")
    now = facts.get("now", THEN).replace(tzinfo=None)
    with (
        patch("botocore.auth.get_current_datetime", lambda: now),
        patch("botocore.signers.get_current_datetime", lambda: now),
    ):
        theirs = client.generate_presigned_post(
            Bucket="bucket", Key=key, Fields=fields, Conditions=conditions, ExpiresIn=facts.get("seconds", 3600)
        )
    assert (ours.url, dict(ours.fields)) == (theirs["url"], theirs["fields"])


FIELDS: Final = st.dictionaries(
    st.sampled_from(["Content-Type", "acl", "success_action_status", "x-amz-meta-a", "tagging"]), TEXT
)
OPENED: Final = st.dictionaries(st.sampled_from(["Cache-Control", "x-amz-meta-b"]), TEXT)


@DETERMINISTIC
@given(TEXT.filter(bool), st.booleans(), FIELDS, OPENED, st.integers(1, LONGEST))
def test_botocore_makes_the_same_form(
    key: str, prefix: bool, fields: dict[str, str], opened: dict[str, str], seconds: int
) -> None:
    check_form_against_botocore(f"{key}${{filename}}" if prefix else key, fields, opened, seconds=seconds)


def check_every_field_is_covered(post: PresignedPost) -> None:
    """S3 excuses the signature, the policy and the file from conditions, and nothing else."""
    covered = set()
    for condition in document_of(post)["conditions"]:
        if isinstance(condition, dict):
            ((name, value),) = condition.items()
            assert name == "bucket" or post.fields[name] == value
            covered.add(name)
        elif condition[0] == "starts-with":
            covered.add(condition[1].removeprefix("$"))
    assert set(post.fields) | set(post.open_fields) <= covered | {"policy", "x-amz-signature"}


FULL: Final[dict[str, Any]] = {
    "min_size": 1,
    "max_size": 5,
    "redirect": "https://example.com/done?x=1",
    "fields": {"x-amz-meta-more": "x"},
    "starts_with": {"Cache-Control": "max-age"},
    "options": {
        "content_type": "text/plain",
        "metadata": {"a": "1"},
        "tags": {"k&": "<v>"},
        "acl": "private",
        "storage_class": "STANDARD",
        "content_disposition": "inline",
    },
}


def test_every_field_of_a_form_is_covered() -> None:
    post = form_of("bucket/up/${filename}", **FULL)
    check_every_field_is_covered(post)
    document = document_of(post)
    assert document["expiration"] == "2013-05-24T01:00:00Z"
    for condition in (
        ["starts-with", "$key", "up/"],
        ["content-length-range", 1, 5],
        ["starts-with", "$Cache-Control", "max-age"],
        {"success_action_redirect": "https://example.com/done?x=1"},
        {"acl": "private"},
        {"bucket": "bucket"},
        {"x-amz-security-token": TOKEN.session_token},
    ):
        assert condition in document["conditions"]
    assert "<Key>k&amp;</Key><Value>&lt;v&gt;</Value>" in post.fields["tagging"]
    assert dict(post.open_fields) == {"Cache-Control": "max-age"}


@pytest.mark.parametrize(
    ("endpoint", "name", "url"),
    [
        ("https://s3.example.com", "bucket/key", "https://s3.example.com/bucket"),
        ("https://s3.example.com/base/bucket", "key", "https://s3.example.com/base/bucket"),
        ("https://bucket.s3.eu-west-1.amazonaws.com", "key", "https://bucket.s3.eu-west-1.amazonaws.com/"),
    ],
)
def test_where_the_form_goes(endpoint: str, name: str, url: str) -> None:
    post = form_of(name, endpoint)
    assert (post.url, post.fields["key"]) == (url, "key")
    assert {"bucket": "bucket"} in document_of(post)["conditions"]


def test_sizes_have_ends() -> None:
    most = 5 * 1024**3
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"max_size": 7}, [0, 7]),
        ({"min_size": 7}, [7, most]),
        ({"max_size": 0}, [0, 0]),
    ]
    for arguments, said in cases:
        assert ["content-length-range", *said] in document_of(form_of(**arguments))["conditions"]
    assert not any(
        isinstance(each, list) and each[0] == "content-length-range" for each in document_of(form_of())["conditions"]
    )


# --- what is refused


@pytest.mark.parametrize(
    ("expires", "seconds"),
    [(1, 1), (1.9, 1), (LONGEST, LONGEST), (timedelta(days=7), LONGEST), (timedelta(minutes=1, milliseconds=1), 60)],
)
def test_times(expires: object, seconds: int) -> None:
    assert presigning.seconds_of(expires) == seconds


@pytest.mark.parametrize(
    "expires",
    [0, -1, 0.9, LONGEST + 1, LONGEST + 0.5, timedelta(days=7, microseconds=1), timedelta(0), True, "60", None,
     float("nan"), float("inf")],
)  # fmt: skip
def test_times_out_of_range(expires: object) -> None:
    with pytest.raises(UsageError, match="expires must be"):
        presigning.seconds_of(expires)


@pytest.mark.parametrize("method", ["", "G T", "GET /", 1, None, "PÜT"])
def test_methods_that_are_none(method: object) -> None:
    with pytest.raises(UsageError, match="method"):
        presigning.method_of(method)


@pytest.mark.parametrize(
    ("query", "headers", "why"),
    [
        ((("X-Amz-Signature", "x"),), (), "signature's own"),
        ((("x-amz-expires", "1"),), (), "signature's own"),
        ((("X-Amz-Server-Side-Encryption-Customer-Key", "a"),), (), "encryption key into the URL"),
        ((("x-amz-copy-source-server-side-encryption-customer-key", "a"),), (), "encryption key into the URL"),
        ((), (("Host", "x"),), "the endpoint's"),
        ((), (("User-Agent", "x"),), "cannot be signed"),
    ],
)
def test_what_is_not_presigned(query: Query, headers: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        presigning.check_request(query, headers)


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("bucket/", {}, "must not be empty"),
        ("key", {}, "bucket"),
        ("bucket/${filename}/x", {}, "at the end"),
        ("bucket/k\udcff", {}, "UTF-8"),
        ("bucket/k", {"min_size": 2, "max_size": 1}, "min_size"),
        ("bucket/k", {"min_size": -1}, "min_size"),
        ("bucket/k", {"max_size": 5 * 1024**3 + 1}, "5 GiB"),
        ("bucket/k", {"max_size": 1.5}, "numbers of bytes"),
        ("bucket/k", {"redirect": "https://x", "status": 201}, "redirect= or status="),
        ("bucket/k", {"redirect": "javascript:alert(1)"}, "http"),
        ("bucket/k", {"redirect": "https://[x/"}, "http"),
        ("bucket/k", {"status": 202}, "200, 201 or 204"),
        ("bucket/k", {"fields": {"Policy": "x"}}, "handtruck's own"),
        ("bucket/k", {"starts_with": {"key": ""}}, "handtruck's own"),
        ("bucket/k", {"fields": {"acl": "private"}, "options": {"acl": "private"}}, "given twice"),
        ("bucket/k", {"fields": {"a": "x"}, "starts_with": {"A": "x"}}, "given twice"),
        ("bucket/k", {"fields": {"a": 1}}, "must be text"),
        ("bucket/k", {"fields": {"a": "\ud800"}}, "UTF-8"),
        ("bucket/k", {"fields": ["a"]}, "mapping"),
        ("bucket/k", {"fields": {"": "a"}}, "no name"),
        ("bucket/k", {"fields": {"acl ": "private"}}, "no name"),
        ("bucket/k", {"starts_with": {"$Content-Type": "image/"}}, "no name"),
        ("bucket/k", {"fields": {"x-amz-server-side-encryption-customer-key": "a"}}, "encryption key"),
        ("bucket/k", {"options": {"sse": SSECustomer(bytes(32))}}, "all its users"),
        ("bucket/k", {"options": {"expires": 1}}, "no option"),
        ("bucket/k", {"options": {"tags": {str(n): "" for n in range(11)}}}, "tags"),
    ],
)
def test_forms_that_are_refused(name: str, arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        form_of(name, **arguments)


# --- values


def test_a_url_is_text_that_does_not_show() -> None:
    url = url_of(headers=(("x-amz-meta-a", "1"), ("X-Amz-Meta-A", "2")), query=(("versionId", "v"),))
    assert isinstance(url, str)
    assert "marker" in f"{url}"
    assert json.loads(json.dumps([url])) == [str(url)]
    for said in (repr(url), repr([url]), f"{url!r}", f"{ ({'url': url}) }"):
        assert "marker" not in said
        assert url.rpartition("=")[2] not in said
        assert "/bucket/key?versionId=v" in said
    assert (url.method, url.headers) == ("GET", {"x-amz-meta-a": "1,2"})
    for again in (pickle.loads(pickle.dumps(url)), copy.deepcopy(url), copy.copy(url)):  # noqa: S301
        assert (again, again.method, again.headers, again.expires_at) == (url, "GET", url.headers, url.expires_at)


def test_a_form_does_not_show() -> None:
    post = form_of()
    for said in (repr(post), str(post), f"{post.fields}"):
        assert "marker" not in said
        assert post.fields["policy"] not in said
        assert post.fields["x-amz-signature"] not in said
    assert pickle.loads(pickle.dumps(post)) == post  # noqa: S301


def test_temporary_keys_end_a_url() -> None:
    end = THEN + timedelta(minutes=5)
    keys = Credentials(access_key_id="a", secret_access_key="b", session_token="c", expires_at=end)
    assert url_of(keys=keys).expires_at == form_of(keys=keys).expires_at == end
    assert url_of(keys=keys, seconds=60).expires_at == THEN + timedelta(minutes=1)


# --- the oracles see faults


def _check_url() -> None:
    check_against_botocore("a b/ü+%2F~(1)", EVERYTHING)


def _check_form() -> None:
    check_form_against_botocore("k/${filename}", {"acl": "private"}, {"x-amz-meta-b": "x"})


def _check_covered() -> None:
    check_every_field_is_covered(form_of("bucket/up/${filename}", **FULL))


def _without_open(policy: PostPolicy) -> list[Any]:
    return [each for each in REAL_CONDITIONS(policy) if not isinstance(each, list) or each[1] == "$key"]


REAL_CONDITIONS: Final[Callable[[PostPolicy], list[Any]]] = PostPolicy.conditions.fget  # type: ignore[attr-defined]
REAL_QUERY: Final = address.canonical_query
REAL_HEADERS: Final = signing.canonical_headers

MUTATIONS: Final[dict[str, tuple[Callable[[], None], object, str, object]]] = {
    "the payload is signed": (_check_url, presigning, "UNSIGNED_PAYLOAD", "e" * 64),
    "the port is signed": (_check_url, presigning, "host_of", lambda origin: urlsplit(origin).netloc),
    "the query is not sorted": (_check_url, presigning, "canonical_query", presigning._as_given),
    "headers are not signed": (_check_url, presigning, "canonical_headers", lambda all_: REAL_HEADERS(all_[-1:])),
    "the token is not signed": (
        _check_url, presigning, "canonical_query", lambda query: REAL_QUERY([p for p in query if "Token" not in p[0]])
    ),
    "an hour is longer": (_check_url, presigning.Signer, "stamp", "20130524T000000Z"),
    "the scope is another": (_check_form, presigning.Signer, "scope", "20130524/x/s3/aws4_request"),
    "open fields have no condition": (_check_covered, PostPolicy, "conditions", property(_without_open)),
    "nothing is encoded": (_check_form, post_policy, "b64encode", bytes),
}  # fmt: skip


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_oracle_sees_a_fault(mutation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, *change = MUTATIONS[mutation]
    check()
    partial(monkeypatch.setattr, *change)()
    with pytest.raises(GOES_RED):
        check()


def test_mutation_a_url_that_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PresignedURL, "__repr__", str.__repr__)
    with pytest.raises(GOES_RED):
        test_a_url_is_text_that_does_not_show()


def test_mutation_a_form_that_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_policy, "Secret", str)
    with pytest.raises(GOES_RED):
        test_a_form_does_not_show()
