"""Names and endpoints: every way to say which bucket, and one percent-encoding that never normalises."""

from __future__ import annotations

import re
import traceback
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handtruck.errors import UsageError
from handtruck.protocol.address import (
    Addressing,
    Endpoint,
    Location,
    Query,
    canonical_query,
    check_bucket,
    encode_path,
    parse_endpoint,
    wire_query,
)
from handtruck.protocol.hosts import CustomHosts
from handtruck.protocol.s3_urls import parse_s3_url

from .strategies import DETERMINISTIC, ENCODED_KEYS, names, queries

if TYPE_CHECKING:
    from random import Random

# --- which part of it is the bucket


@pytest.mark.parametrize(
    ("url", "name", "target", "bucket", "key"),
    [
        # The name begins with the bucket.
        ("http://host", "bucket/key", "http://host/bucket/key", "bucket", "key"),
        ("http://host/", "bucket/key", "http://host/bucket/key", "bucket", "key"),
        ("http://host:9000", "bucket/a/b", "http://host:9000/bucket/a/b", "bucket", "a/b"),
        ("http://host", "bucket//key", "http://host/bucket//key", "bucket", "/key"),
        ("http://host", "bucket/", "http://host/bucket/", "bucket", ""),
        ("http://host", "bucket/a/../b", "http://host/bucket/a/../b", "bucket", "a/../b"),
        ("http://[::1]", "bucket/key", "http://[::1]/bucket/key", "bucket", "key"),
        ("http://[2001:db8::1]:9000", "bucket/key", "http://[2001:db8::1]:9000/bucket/key", "bucket", "key"),
        ("https://k:s@host:9000", "bucket/key", "https://host:9000/bucket/key", "bucket", "key"),
        ("HTTPS://HOST", "bucket/key", "https://host/bucket/key", "bucket", "key"),
        # One leading slash is dropped then, and only one.
        ("http://host", "/bucket/key", "http://host/bucket/key", "bucket", "key"),
        ("http://host", "/bucket//key", "http://host/bucket//key", "bucket", "/key"),
        ("http://host", "//x", "http://host//x", None, "x"),
        # A lone segment may be a bucket, or a key of a bucket whose host we do not know.
        ("http://host", "alone", "http://host/alone", None, "alone"),
        ("http://bucket.host", "key", "http://bucket.host/key", None, "key"),
        ("http://host", "", "http://host/", None, ""),
        ("http://host", "/", "http://host/", None, ""),
        # The URL's path ends in the bucket.
        ("http://host/bucket", "key", "http://host/bucket/key", "bucket", "key"),
        ("http://host/bucket/", "key", "http://host/bucket/key", "bucket", "key"),
        ("http://host/bucket//", "key", "http://host/bucket/key", "bucket", "key"),
        ("http://host/bucket", "bucket/key", "http://host/bucket/bucket/key", "bucket", "bucket/key"),
        ("http://host/bucket", "/key", "http://host/bucket//key", "bucket", "/key"),
        ("http://host/bucket", "", "http://host/bucket/", "bucket", ""),
        ("http://host/base/v1/bucket", "key", "http://host/base/v1/bucket/key", "bucket", "key"),
        ("http://[::1]:9000/bucket", "key", "http://[::1]:9000/bucket/key", "bucket", "key"),
        ("http://k:s@host/bucket", "key", "http://host/bucket/key", "bucket", "key"),
        ("http://host/my%20bucket", "key", "http://host/my%20bucket/key", "my bucket", "key"),
        ("http://host/my bucket", "key", "http://host/my%20bucket/key", "my bucket", "key"),
        ("http://host/%c3%bc", "key", "http://host/%c3%bc/key", "ü", "key"),
        ("http://host/ü", "key", "http://host/%C3%BC/key", "ü", "key"),
        ("http://host/caf\udce9", "key", "http://host/caf%E9/key", "caf\udce9", "key"),
        ("http://host/a/../b", "key", "http://host/a/../b/key", "b", "key"),
        # AWS's hosts begin with it.
        ("https://s3.amazonaws.com", "bucket/key", "https://s3.amazonaws.com/bucket/key", "bucket", "key"),
        ("https://bucket.s3.amazonaws.com", "key", "https://bucket.s3.amazonaws.com/key", "bucket", "key"),
        ("https://my.bucket.s3.amazonaws.com", "a/b", "https://my.bucket.s3.amazonaws.com/a/b", "my.bucket", "a/b"),
        ("https://bucket.s3.amazonaws.com", "/key", "https://bucket.s3.amazonaws.com//key", "bucket", "/key"),
    ],
)
def test_the_bucket_is_found(url: str, name: str, target: str, bucket: str | None, key: str) -> None:
    endpoint = parse_endpoint(url)
    location = endpoint.locate(name)
    assert (endpoint.origin + location.path, location.bucket, location.key) == (target, bucket, key)


@pytest.mark.parametrize(
    ("url", "bucket", "addressing", "found", "fixed"),
    [
        ("http://host/bucket", "bucket", "auto", "bucket", True),
        ("http://host/base/bucket", "bucket", "path", "bucket", True),
        ("http://host/bucket", None, "path", "bucket", True),
        ("http://host", None, "path", None, False),
        ("http://bucket.host", "bucket", "auto", "bucket", True),
        ("http://bucket.host:9000", "bucket", "auto", "bucket", True),
        ("http://bucket", "bucket", "auto", "bucket", True),
        ("http://my.bucket.host", "my.bucket", "auto", "my.bucket", True),
        ("http://bucket.host", None, "virtual", "bucket", True),
        ("http://127.0.0.1:9000", None, "virtual", None, True),
        ("http://[::1]:9000", None, "virtual", None, True),
        ("http://localhost", None, "virtual", None, True),
        ("https://s3.amazonaws.com", None, "virtual", None, True),
        ("http://files.example.com", "bucket", "virtual", "bucket", True),
        ("http://my.bucket.host", "my.bucket", "virtual", "my.bucket", True),
        ("http://bucket.host/base", None, "virtual", "bucket", True),
        ("https://bucket.s3.amazonaws.com", "bucket", "auto", "bucket", True),
        ("https://bucket.s3.amazonaws.com", None, "virtual", "bucket", True),
        ("https://my.bucket.s3.amazonaws.com", None, "virtual", "my.bucket", True),
        ("https://bucket.s3.amazonaws.com", None, "path", None, False),
    ],
)
def test_what_the_caller_says_about_the_bucket(
    url: str, bucket: str | None, addressing: Addressing, found: str | None, fixed: bool
) -> None:
    endpoint = parse_endpoint(url, bucket=bucket, addressing=addressing)
    assert (endpoint.bucket, endpoint.fixed) == (found, fixed)


@pytest.mark.parametrize("addressing", ["auto", "virtual"])
def test_the_target_is_the_urls_path_and_the_name_whatever_the_bucket(addressing: Addressing) -> None:
    endpoint = parse_endpoint("http://bucket.host/base", addressing=addressing)
    assert endpoint.locate("a/b").path == "/base/a/b"


@pytest.mark.parametrize(
    ("host", "bucket", "region"),
    [
        ("s3.amazonaws.com", None, None),
        ("s3.us-west-2.amazonaws.com", None, "us-west-2"),
        ("s3-us-west-2.amazonaws.com", None, "us-west-2"),
        ("s3.dualstack.eu-central-1.amazonaws.com", None, "eu-central-1"),
        ("s3-fips.us-gov-west-1.amazonaws.com", None, "us-gov-west-1"),
        ("s3-fips.dualstack.us-east-1.amazonaws.com", None, "us-east-1"),
        ("s3.cn-north-1.amazonaws.com.cn", None, "cn-north-1"),
        ("bucket.s3.amazonaws.com", "bucket", None),
        ("bucket.s3.ap-southeast-3.amazonaws.com", "bucket", "ap-southeast-3"),
        ("bucket.s3-eu-west-1.amazonaws.com", "bucket", "eu-west-1"),
        ("bucket.s3.dualstack.us-east-2.amazonaws.com", "bucket", "us-east-2"),
        ("bucket.s3-fips.us-gov-east-1.amazonaws.com", "bucket", "us-gov-east-1"),
        ("bucket.s3-accelerate.amazonaws.com", "bucket", None),
        ("bucket.s3-accelerate.dualstack.amazonaws.com", "bucket", None),
        ("bucket.s3.cn-northwest-1.amazonaws.com.cn", "bucket", "cn-northwest-1"),
        ("my.dotted.bucket.s3.us-west-2.amazonaws.com", "my.dotted.bucket", "us-west-2"),
        ("name-123456789012.s3-accesspoint.us-west-2.amazonaws.com", None, None),
        ("s3.amazonaws.com.example.com", None, None),
        ("bucket.s3.example.com", None, None),
        ("nots3.amazonaws.com", None, None),
        ("xs3.us-west-2.amazonaws.com", None, None),
    ],
)
def test_aws_hosts(host: str, bucket: str | None, region: str | None) -> None:
    endpoint = parse_endpoint(f"https://{host}:443")
    assert (endpoint.bucket, endpoint.fixed, endpoint.region) == (bucket, bucket is not None, region)
    assert endpoint.authority == f"{host}:443"


def test_what_an_endpoint_tells() -> None:
    assert parse_endpoint("https://host").secure
    assert not parse_endpoint("http://host").secure
    assert parse_endpoint("http://user:secret@[::1]:9000/bucket").authority == "[::1]:9000"


def test_a_location_reads_well() -> None:
    assert str(Location(path="/b/k", bucket="b", key="k")) == "b/k"
    assert str(Location(path="/k", bucket=None, key="k")) == "k"
    assert str(Location(path="/b/", bucket="b", key="")) == "b"
    assert str(Location(path="/", bucket=None, key="")) == "/"


# --- a bucket's own requests


@pytest.mark.parametrize(
    ("url", "name", "bucket", "path", "found"),
    [
        ("http://host", "bucket", None, "/bucket/", "bucket"),
        ("http://host", "/bucket/", None, "/bucket/", "bucket"),
        ("http://host", "/", "bucket", "/bucket/", "bucket"),
        ("http://host", "bucket", "bucket", "/bucket/", "bucket"),
        ("http://host", "my bucket", None, "/my%20bucket/", "my bucket"),
        ("http://host/bucket", "/", None, "/bucket/", "bucket"),
        ("http://host/base/bucket", "", "bucket", "/base/bucket/", "bucket"),
        ("https://bucket.s3.amazonaws.com", "/", None, "/", "bucket"),
    ],
)
def test_the_bucket_to_list(url: str, name: str, bucket: str | None, path: str, found: str) -> None:
    assert parse_endpoint(url).locate_bucket(name, bucket) == Location(path=path, bucket=found, key="")


@pytest.mark.parametrize(
    ("url", "name", "bucket", "words"),
    [
        ("http://host", "/", None, "no bucket to list"),
        ("http://host", "bucket/prefix", None, "'bucket/prefix' is more than a bucket's name"),
        ("http://host", "/", "a/b", "'a/b' is more than a bucket's name"),
        ("http://host", "one", "two", "'two'"),
        ("http://host/one", "/", "two", "http://host/one is one bucket's, so 'two' cannot be listed"),
        ("http://u:secret@host/one", "prefix", None, "http://host/one is one bucket's, so 'prefix' cannot be listed"),
    ],
)
def test_a_bucket_that_cannot_be_listed(url: str, name: str, bucket: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        parse_endpoint(url).locate_bucket(name, bucket)


# --- endpoints that are refused


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "must begin with http:// or https://"),
        ("host:9000", "must begin with http:// or https://"),
        ("localhost", "must begin with http:// or https://"),
        ("s3://bucket", "must begin with http:// or https://"),
        ("ftp://host", "must begin with http:// or https://"),
        ("http://", "names no usable host"),
        ("http://:9000", "names no usable host"),
        ("http://user:secret@", "names no usable host"),
        ("http://host:0", "names no usable host"),
        ("http://ho st", "names no usable host"),
        ("http://host:port", "cannot be understood"),
        ("http://host:70000", "cannot be understood"),
        ("http://[::1", "cannot be understood"),
        ("http://[nonsense]", "cannot be understood"),
        ("http://user:sec/ret@host", "cannot be understood"),
        ("http://user:1/ret@host", "has an @ after its host"),
        ("http://user:1?ret@host", "no ?query and no #fragment"),
        ("http://user:1#ret@host", "no ?query and no #fragment"),
        ("http://host?x=1", "no ?query and no #fragment"),
        ("http://host/bucket#x", "no ?query and no #fragment"),
        ("http://host/100%", "'/100%', has a % that is not followed by two hex digits"),
        ("http://host/%zz", "'/%zz', has a % that is not followed by two hex digits"),
        ("http://host/\ud800", "cannot be encoded as UTF-8"),
    ],
)
def test_unusable_endpoints(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        parse_endpoint(url)


@pytest.mark.parametrize(
    ("url", "bucket", "addressing", "words"),
    [
        ("http://host/one", "two", "auto", "bucket='two', but the path of the endpoint URL ends in 'one'"),
        ("http://host/one", "two", "path", "bucket='two', but the path of the endpoint URL ends in 'one'"),
        ("https://one.s3.amazonaws.com", "two", "auto", "bucket='two', but the host of the endpoint URL is that of"),
        ("http://host", "two", "auto", "bucket='two' stands neither in the host nor in the path"),
        ("http://host", "two", "path", "bucket='two' stands neither in the host nor in the path"),
        ("http://two.host", "two", "path", "bucket='two' stands neither in the host nor in the path"),
        ("http://twofold.host", "two", "auto", "bucket='two' stands neither in the host nor in the path"),
        ("https://s3.amazonaws.com", "two", "auto", "bucket='two' stands neither in the host nor in the path"),
        ("https://x.s3.amazonaws.com", "y", "virtual", "bucket='y', but the host of the endpoint URL is that of 'x'"),
        ("http://host", None, "vhost", "addressing must be 'auto', 'path' or 'virtual', not 'vhost'"),
    ],
)
def test_a_bucket_that_does_not_go_with_the_url(
    url: str, bucket: str | None, addressing: Addressing, words: str
) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        parse_endpoint(url, bucket=bucket, addressing=addressing)


@pytest.mark.parametrize(
    "bucket", ["", ".", "..", "a/b", "/", "a?b", "a#b", " a", "a\n", "a\x00b", "\ud800", "arn:x", 7]
)
def test_what_is_no_bucket(bucket: Any) -> None:
    """Whatever the URL and the addressing: it would be another place in the path, or is no name anywhere."""
    for url in ("http://host", "http://host/two", "https://two.s3.amazonaws.com"):
        for addressing in get_args(Addressing):
            with pytest.raises(UsageError, match=r"bucket|ARN"):
                parse_endpoint(url, bucket=bucket, addressing=addressing)


@pytest.mark.parametrize("path", ["..", "base/..", ".", "a%2Fb", "%2e%2E", "a%3Fb", "a%00"])
def test_a_path_that_ends_in_no_bucket(path: str) -> None:
    with pytest.raises(UsageError, match="which is no bucket's name"):
        parse_endpoint(f"http://host/{path}")


@DETERMINISTIC
@given(st.from_regex(r"\A[A-Za-z0-9._-]{1,255}\Z", fullmatch=True))
def test_buckets_of_s3_urls_are_buckets(bucket: str) -> None:
    """The same rule, less what cannot stand in a URL."""
    try:
        assert parse_s3_url(f"s3://{bucket}/x") == (check_bucket(bucket), "x")
    except UsageError:
        assert bucket in (".", "..")


MARKER = "S3cretMarker"
NOISE = st.text(max_size=6) | st.sampled_from(["/", "?", "#", "@", ":", "%", "[", "]", "\\", " ", "\n", "１", "%zz"])
RESTS = st.sampled_from(["host", "host:9000", "host:x", "[::1]", "[::1", "", "host/b", "host/%zz", "host?q", "ho st"])


@DETERMINISTIC
@given(
    st.sampled_from(["http://", "https://", "s3://", "", "http:/"]),
    NOISE,
    NOISE,
    NOISE,
    RESTS,
    st.none() | st.just("other"),
    st.sampled_from(["auto", "path", "virtual"]),
)
@example("http://", "user", "1/", "", "host", None, "auto")
@example("http://", "user", "１/", "", "host", None, "auto")
@example("http://", "user", "1/", "%zz", "host", None, "auto")
@example("http://", "user", "℀", "", "host", None, "auto")
def test_a_password_is_never_repeated(
    scheme: str, user: str, before: str, after: str, rest: str, bucket: str | None, addressing: Addressing
) -> None:
    """Whatever is wrong with a URL, and wherever its password has a character that it must not have."""
    url = f"{scheme}{user}:{before}{MARKER}{after}@{rest}"
    assert MARKER not in what_is_told(url, bucket, addressing)


def what_is_told(url: str, bucket: str | None, addressing: Addressing) -> str:
    try:
        endpoint = parse_endpoint(url, bucket=bucket, addressing=addressing)
    except UsageError as error:
        return "".join(traceback.format_exception(error))
    with pytest.raises(UsageError) as caught:
        endpoint.locate_bucket("a/b")
    return f"{endpoint!r} {caught.value}"


@DETERMINISTIC
@given(st.text() | st.text().map("http://{}".format) | st.text().map("http://host/{}".format))
def test_any_text_is_an_endpoint_or_a_usage_error(url: str) -> None:
    try:
        endpoint = parse_endpoint(url)
    except UsageError:
        return
    assert isinstance(endpoint, Endpoint)
    assert re.fullmatch(r"(/[\w%.~-]*)*", endpoint.path, re.ASCII)


# --- the one encoding


@pytest.mark.parametrize(("key", "encoded"), ENCODED_KEYS.items(), ids=[ascii(key)[:20] for key in ENCODED_KEYS])
def test_odd_keys(key: str, encoded: str) -> None:
    assert encode_path(key) == encoded
    assert parse_endpoint("http://host/bucket").locate(key) == Location(
        path=f"/bucket/{encoded}", bucket="bucket", key=key
    )
    assert parse_endpoint("http://host").locate(f"bucket/{key}") == Location(
        path=f"/bucket/{encoded}", bucket="bucket", key=key
    )


@DETERMINISTIC
@given(names())
def test_encoding_loses_nothing(name: str) -> None:
    """Bytes back, text back, and nothing on the wire but unreserved characters, slashes and %XX."""
    encoded = encode_path(name)
    assert unquote(encoded, errors="surrogateescape") == name
    assert unquote_to_bytes(encoded) == name.encode("utf-8", "surrogateescape")
    assert re.fullmatch(r"([A-Za-z0-9_.~/-]|%[0-9A-F]{2})*", encoded)


@DETERMINISTIC
@given(names())
def test_nothing_is_normalised(name: str) -> None:
    """Slashes and dots stay as many as they were, where they were."""
    assert [unquote(part, errors="surrogateescape") for part in encode_path(name).split("/")] == name.split("/")
    assert parse_endpoint("http://host/bucket").locate(name).path == f"/bucket/{encode_path(name)}"


@pytest.mark.parametrize("name", ["\ud800", "a\udfffb", "bucket/\udd00", chr(0xDC7F)])
def test_a_surrogate_that_is_no_byte_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be encoded as UTF-8"):
        parse_endpoint("http://host").locate(name)
    with pytest.raises(UsageError, match=r"the query parameter .* cannot be encoded"):
        canonical_query([("prefix", name)])
    with pytest.raises(UsageError, match=r"the query parameter .* cannot be encoded"):
        wire_query([(name, None)])


# --- queries


@pytest.mark.parametrize(
    ("query", "signed", "sent"),
    [
        ((), "", ""),
        ((("uploads", None),), "uploads=", "uploads"),
        ((("uploads", ""),), "uploads=", "uploads="),
        ((("prefix", "J"), ("max-keys", "2")), "max-keys=2&prefix=J", "max-keys=2&prefix=J"),
        ((("a", "2"), ("a", "10"), ("a", None)), "a=&a=10&a=2", "a&a=10&a=2"),
        ((("a", "1"), ("B", "2")), "B=2&a=1", "B=2&a=1"),
        ((("a-", "1"), ("a", "2")), "a=2&a-=1", "a=2&a-=1"),
        ((("prefix", "a b+c/d"),), "prefix=a%20b%2Bc%2Fd", "prefix=a%20b%2Bc%2Fd"),
        ((("x", "ü=&~"),), "x=%C3%BC%3D%26~", "x=%C3%BC%3D%26~"),
        ((("x", "caf\udce9"),), "x=caf%E9", "x=caf%E9"),
        ((("é", "1"), ("z", "2")), "%C3%A9=1&z=2", "%C3%A9=1&z=2"),
    ],
)
def test_queries(query: Query, signed: str, sent: str) -> None:
    assert canonical_query(query) == signed
    assert wire_query(query) == sent


@DETERMINISTIC
@given(queries(), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_sent_is_signed(query: Query, random: Random) -> None:
    """Both are sorted; they differ only in the ``=`` of names without a value."""
    shuffled = list(query)
    random.shuffle(shuffled)
    assert canonical_query(shuffled) == canonical_query(query)
    assert wire_query(shuffled) == wire_query(query)
    pairs = [part.partition("=")[::2] for part in wire_query(query).split("&")] if query else []
    assert "&".join(f"{name}={value}" for name, value in sorted(pairs)) == canonical_query(query)


def test_what_a_place_is_called_in_records() -> None:
    """Two gateways behind one host are two places."""
    names = set()
    for path in ("", "/east", "/west"):
        hosts = CustomHosts(origin="http://host", path=path)
        endpoint = Endpoint(origin="http://host", path="", bucket=None, fixed=False, region=None, hosts=hosts)
        names.add(endpoint.url_of(endpoint.locate("bucket/key")))
    assert names == {"http://host/bucket/key", "http://host/east/bucket/key", "http://host/west/bucket/key"}
