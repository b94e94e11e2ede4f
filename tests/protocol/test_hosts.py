"""Which host a request goes to. That botocore says the same is in test_hosts_botocore.py."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handtruck.errors import UsageError
from handtruck.protocol import hosts as module
from handtruck.protocol import regions
from handtruck.protocol.address import Addressing, encode_path
from handtruck.protocol.hosts import AwsHosts, CustomHosts, Route
from handtruck.protocol.regions import PARTITIONS, check_region, in_region, parse_aws_host, partition_of, same_partition

from .strategies import DETERMINISTIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handtruck.protocol.hosts import Hosts

SUFFIXES = {partition.suffix for partition in PARTITIONS}
ACCESS_POINT = "arn:aws:s3:eu-west-1:111122223333:accesspoint/ap"
OUTPOST = "arn:aws:s3-outposts:eu-west-1:111122223333:outpost/op-1/accesspoint/ap"
LAMBDA = "arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/ap"
EXPRESS = "logs--use1-az4--x-s3"


def path_of(bucket: str | None, key: str = "a/b") -> str:
    return f"/{encode_path(bucket)}/{key}" if bucket else "/"


def target(hosts: Hosts, bucket: str | None, region: str = "eu-west-1", operation: str = "GetObject") -> str:
    route = hosts.route(bucket, path_of(bucket), region, operation=operation)
    return route.origin + route.path


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """What a place is, is remembered; a test that changes the rules must not leave that behind."""
    yield
    module._aws_place.cache_clear()
    module._custom_place.cache_clear()


# --- AWS


@pytest.mark.parametrize(
    ("hosts", "bucket", "expected"),
    [
        (AwsHosts(), "plain", "https://plain.s3.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(addressing="virtual"), "plain", "https://plain.s3.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(addressing="path"), "plain", "https://s3.eu-west-1.amazonaws.com/plain/a/b"),
        (AwsHosts(), None, "https://s3.eu-west-1.amazonaws.com/"),
        # What is no label of a host stays in the path.
        (AwsHosts(), "dotted.name", "https://s3.eu-west-1.amazonaws.com/dotted.name/a/b"),
        (AwsHosts(addressing="virtual"), "dotted.name", "https://s3.eu-west-1.amazonaws.com/dotted.name/a/b"),
        (AwsHosts(), "10.0.0.1", "https://s3.eu-west-1.amazonaws.com/10.0.0.1/a/b"),
        (AwsHosts(), "Upper", "https://s3.eu-west-1.amazonaws.com/Upper/a/b"),
        (AwsHosts(), "under_score", "https://s3.eu-west-1.amazonaws.com/under_score/a/b"),
        (AwsHosts(), "ab", "https://s3.eu-west-1.amazonaws.com/ab/a/b"),
        (AwsHosts(), "-dash", "https://s3.eu-west-1.amazonaws.com/-dash/a/b"),
        (AwsHosts(), "a" * 64, f"https://s3.eu-west-1.amazonaws.com/{'a' * 64}/a/b"),
        (AwsHosts(), "é/ü", "https://s3.eu-west-1.amazonaws.com/%C3%A9/%C3%BC/a/b"),
        # Other hosts.
        (AwsHosts(dual_stack=True), "plain", "https://plain.s3.dualstack.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(fips=True), "plain", "https://plain.s3-fips.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(fips=True, dual_stack=True), None, "https://s3-fips.dualstack.eu-west-1.amazonaws.com/"),
        (AwsHosts(accelerate=True), "plain", "https://plain.s3-accelerate.amazonaws.com/a/b"),
        (AwsHosts(accelerate=True, dual_stack=True), "plain", "https://plain.s3-accelerate.dualstack.amazonaws.com/a/b"),
        (AwsHosts(accelerate=True), None, "https://s3.eu-west-1.amazonaws.com/"),
        # Access points, directory buckets.
        (AwsHosts(), ACCESS_POINT, "https://ap-111122223333.s3-accesspoint.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(), LAMBDA, "https://ap-111122223333.s3-object-lambda.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(), OUTPOST, "https://ap-111122223333.op-1.s3-outposts.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(), EXPRESS, f"https://{EXPRESS}.s3express-use1-az4.eu-west-1.amazonaws.com/a/b"),
        (AwsHosts(addressing="path"), EXPRESS, f"https://{EXPRESS}.s3express-use1-az4.eu-west-1.amazonaws.com/a/b"),
    ],
)  # fmt: skip
def test_hosts_of_aws(hosts: AwsHosts, bucket: str | None, expected: str) -> None:
    assert target(hosts, bucket) == expected


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "s3.us-east-1.amazonaws.com"),
        ("aws-global", "s3.us-east-1.amazonaws.com"),
        ("cn-north-1", "s3.cn-north-1.amazonaws.com.cn"),
        ("us-gov-west-1", "s3.us-gov-west-1.amazonaws.com"),
        ("eusc-de-east-1", "s3.eusc-de-east-1.amazonaws.eu"),
        ("us-iso-east-1", "s3.us-iso-east-1.c2s.ic.gov"),
        ("us-isob-east-1", "s3.us-isob-east-1.sc2s.sgov.gov"),
        ("eu-isoe-west-1", "s3.eu-isoe-west-1.cloud.adc-e.uk"),
        ("us-isof-south-1", "s3.us-isof-south-1.csp.hci.ic.gov"),
        ("xx-new-9", "s3.xx-new-9.amazonaws.com"),
    ],
)
def test_regions(region: str, host: str) -> None:
    assert urlsplit(target(AwsHosts(), "plain", region)).hostname == f"plain.{host}"


def test_a_region_that_is_another_is_signed_for_as_that() -> None:
    """``aws-global`` is nobody's signing region."""
    assert AwsHosts().route("plain", "/plain/k", "aws-global").region == "us-east-1"
    assert AwsHosts().route("plain", "/plain/k", "us-east-1").region is None


@pytest.mark.parametrize(
    "region",
    [
        "x/../evil", "evil.com/", "evil.com#", "evil.com?", "a@evil.com", "evil.com:80", "us-east-1.evil.com", "a b",
        "us-east-1\n", "", "-a", "a-", "1", "US-EAST-1", "é", "a" * 64, "aws-cn-global", "us_east_1", "%2f", "\\",
    ],
)  # fmt: skip
def test_what_is_no_region_is_refused(region: str) -> None:
    """A region is text out of files, or of an answer; it never becomes more of a host than a label."""
    with pytest.raises(UsageError, match="is no region of AWS"):
        AwsHosts().route("plain", "/plain/k", region)


@pytest.mark.parametrize(
    ("hosts", "bucket", "region", "words"),
    [
        (AwsHosts(accelerate=True), "dotted.name", "eu-west-1", "cannot stand there"),
        (AwsHosts(accelerate=True), "Upper", "eu-west-1", "cannot stand there"),
        (AwsHosts(accelerate=True), "plain", "cn-north-1", "no S3 Transfer Acceleration in cn-north-1"),
        (AwsHosts(accelerate=True), EXPRESS, "eu-west-1", "directory buckets"),
        (AwsHosts(accelerate=True), ACCESS_POINT, "eu-west-1", "have no accelerate hosts"),
        (AwsHosts(dual_stack=True), LAMBDA, "eu-west-1", "have no dual-stack hosts"),
        (AwsHosts(fips=True), OUTPOST, "eu-west-1", "have no FIPS hosts"),
        (AwsHosts(fips=True), "plain", "cn-north-1", "no FIPS hosts in cn-north-1"),
        (AwsHosts(addressing="path"), ACCESS_POINT, "eu-west-1", "path style"),
        (AwsHosts(), ACCESS_POINT, "cn-north-1", "another partition"),
        (AwsHosts(), ACCESS_POINT, "us-gov-west-1", "another partition"),
        (AwsHosts(use_arn_region=False), ACCESS_POINT, "us-east-1", "use_arn_region"),
        (AwsHosts(), "logs--nozone--x-s3", "us-east-1", "directory buckets"),
        (AwsHosts(), "Logs--use1-az4--x-s3", "us-east-1", "directory buckets"),
        (CustomHosts(origin="http://h", addressing="path"), ACCESS_POINT, "eu-west-1", "path style"),
        (CustomHosts(origin="http://127.0.0.1:9000"), ACCESS_POINT, "eu-west-1", "cannot have one"),
        (CustomHosts(origin="http://[::1]:9000"), ACCESS_POINT, "eu-west-1", "cannot have one"),
    ],
)
def test_what_does_not_go_together(hosts: Hosts, bucket: str, region: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        target(hosts, bucket, region)


def test_aws_is_aws() -> None:
    assert AwsHosts().aws
    assert AwsHosts().secure


def test_what_never_goes_together() -> None:
    with pytest.raises(UsageError, match="FIPS"):
        AwsHosts(accelerate=True, fips=True)
    with pytest.raises(UsageError, match="path style"):
        AwsHosts(accelerate=True, addressing="path")


def test_calls_that_go_elsewhere() -> None:
    """Acceleration is for buckets that exist, and only GetBucketLocation may be asked of any region."""
    fast = AwsHosts(accelerate=True)
    assert target(fast, "plain", operation="CreateBucket") == "https://plain.s3.eu-west-1.amazonaws.com/a/b"
    assert target(fast, "plain", operation="DeleteBucket") == "https://plain.s3.eu-west-1.amazonaws.com/a/b"
    assert target(AwsHosts(), "plain", operation="GetBucketLocation") == "https://s3.eu-west-1.amazonaws.com/plain/a/b"
    with pytest.raises(UsageError, match="CreateBucket is about a bucket"):
        target(AwsHosts(), ACCESS_POINT, operation="CreateBucket")


@pytest.mark.parametrize(
    ("operation", "origin", "session"),
    [
        ("GetObject", f"https://{EXPRESS}.s3express-use1-az4.eu-west-1.amazonaws.com", True),
        ("HeadBucket", f"https://{EXPRESS}.s3express-use1-az4.eu-west-1.amazonaws.com", True),
        ("ListObjectsV2", f"https://{EXPRESS}.s3express-use1-az4.eu-west-1.amazonaws.com", True),
        ("CreateSession", f"https://{EXPRESS}.s3express-use1-az4.eu-west-1.amazonaws.com", False),
        ("CopyObject", f"https://{EXPRESS}.s3express-use1-az4.eu-west-1.amazonaws.com", False),
        ("CreateBucket", "https://s3express-control.eu-west-1.amazonaws.com", False),
        ("PutBucketPolicy", "https://s3express-control.eu-west-1.amazonaws.com", False),
    ],
)
def test_directory_buckets(operation: str, origin: str, session: bool) -> None:
    route = AwsHosts().route(EXPRESS, f"/{EXPRESS}/k", "eu-west-1", operation=operation)
    cut = "" if "control" in origin else f"/{EXPRESS}"
    assert route == Route(
        origin=origin, path=f"/{EXPRESS}/k".removeprefix(cut), service="s3express", session=session
    )  # fmt: skip
    plain = AwsHosts(express_sessions=False).route(EXPRESS, f"/{EXPRESS}/k", "eu-west-1", operation=operation)
    assert not plain.session


def test_the_list_of_directory_buckets() -> None:
    route = AwsHosts().route(None, "/", "eu-west-1", operation="ListDirectoryBuckets")
    assert route == Route(origin="https://s3express-control.eu-west-1.amazonaws.com", path="/", service="s3express")


@pytest.mark.parametrize(
    ("path", "cut"),
    [("/plain/k", "/k"), ("/plain/", "/"), ("/plain", "/"), ("/plain//k", "//k"), ("/plain/a/../b", "/a/../b")],
)
def test_what_is_left_of_the_path(path: str, cut: str) -> None:
    assert AwsHosts().route("plain", path, "eu-west-1").path == cut


@pytest.mark.parametrize("path", ["/other/k", "/plainer/k", "/", "", "plain/k"])
def test_a_path_that_does_not_begin_with_the_bucket(path: str) -> None:
    """It would be sent to the bucket's host as the name of a key, whatever was meant."""
    with pytest.raises(UsageError, match="has to begin with the bucket"):
        AwsHosts().route("plain", path, "eu-west-1")


# --- other hosts


@pytest.mark.parametrize(
    ("hosts", "bucket", "expected"),
    [
        (CustomHosts(origin="http://h:9000"), "plain", "http://h:9000/plain/a/b"),
        (CustomHosts(origin="http://h:9000"), None, "http://h:9000/"),
        (CustomHosts(origin="http://h:9000", path="/base"), "plain", "http://h:9000/base/plain/a/b"),
        (CustomHosts(origin="http://h:9000", path="/base"), None, "http://h:9000/base/"),
        (CustomHosts(origin="http://h:9000", addressing="virtual"), "plain", "http://plain.h:9000/a/b"),
        (CustomHosts(origin="http://h", path="/x", addressing="virtual"), "plain", "http://plain.h/x/a/b"),
        (CustomHosts(origin="http://h", addressing="virtual"), "dotted.name", "http://dotted.name.h/a/b"),
        (CustomHosts(origin="https://h", addressing="virtual"), "dotted.name", "https://h/dotted.name/a/b"),
        (CustomHosts(origin="http://h", addressing="virtual"), "10.0.0.1", "http://h/10.0.0.1/a/b"),
        (CustomHosts(origin="http://h", addressing="virtual"), "Upper", "http://h/Upper/a/b"),
        (CustomHosts(origin="http://127.0.0.1:9", addressing="virtual"), "plain", "http://127.0.0.1:9/plain/a/b"),
        (CustomHosts(origin="http://[::1]:9", addressing="virtual"), "plain", "http://[::1]:9/plain/a/b"),
        (CustomHosts(origin="https://h"), ACCESS_POINT, "https://ap-111122223333.h/a/b"),
        (CustomHosts(origin="https://h"), OUTPOST, "https://ap-111122223333.op-1.h/a/b"),
        (CustomHosts(origin="https://h"), EXPRESS, f"https://{EXPRESS}.h/a/b"),
        (CustomHosts(origin="https://h", addressing="path"), EXPRESS, f"https://h/{EXPRESS}/a/b"),
        (CustomHosts(origin="http://127.0.0.1:9"), EXPRESS, f"http://127.0.0.1:9/{EXPRESS}/a/b"),
    ],
)
def test_other_hosts(hosts: CustomHosts, bucket: str | None, expected: str) -> None:
    assert target(hosts, bucket, operation="GetObject") == expected


def test_what_others_are_signed_for() -> None:
    at_home = CustomHosts(origin="http://127.0.0.1:9")
    assert at_home.route("plain", "/plain/k", "home") == Route(origin="http://127.0.0.1:9", path="/plain/k")
    express = at_home.route(EXPRESS, f"/{EXPRESS}/k", "home", operation="GetObject")
    assert (express.service, express.session, express.region) == ("s3express", True, None)
    point = CustomHosts(origin="https://h").route(LAMBDA, path_of(LAMBDA), "us-east-1")
    assert (point.service, point.region) == ("s3-object-lambda", "eu-west-1")


def test_a_custom_host_only_moves_if_it_is_one_of_awss() -> None:
    there = CustomHosts(origin="https://s3.us-east-1.amazonaws.com")
    assert there.aws
    assert there.secure
    assert there.route("b", "/b/k", "eu-west-1").origin == "https://s3.us-east-1.amazonaws.com"
    assert there.route("b", "/b/k", "eu-west-1", learned=True).origin == "https://s3.eu-west-1.amazonaws.com"
    assert there.route("b", "/b/k", "cn-north-1", learned=True).origin == "https://s3.us-east-1.amazonaws.com"
    here = CustomHosts(origin="http://h")
    assert not here.aws
    assert not here.secure
    assert here.route("b", "/b/k", "eu-west-1", learned=True).origin == "http://h"


# --- AWS's hosts, as others name them


@pytest.mark.parametrize(
    ("origin", "region", "expected"),
    [
        ("https://s3.us-east-1.amazonaws.com", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("https://b.s3.us-east-1.amazonaws.com", "eu-west-1", "https://b.s3.eu-west-1.amazonaws.com"),
        ("https://a.b.s3.us-east-1.amazonaws.com", "eu-west-1", "https://a.b.s3.eu-west-1.amazonaws.com"),
        ("http://s3.us-east-1.amazonaws.com:80", "eu-west-1", "http://s3.eu-west-1.amazonaws.com:80"),
        ("https://s3.amazonaws.com", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("https://b.s3.amazonaws.com", "eu-west-1", "https://b.s3.eu-west-1.amazonaws.com"),
        ("https://s3-us-west-2.amazonaws.com", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("https://s3-external-1.amazonaws.com", "eu-west-1", "https://s3.eu-west-1.amazonaws.com"),
        ("https://s3.dualstack.us-east-1.amazonaws.com", "eu-west-1", "https://s3.dualstack.eu-west-1.amazonaws.com"),
        ("https://s3-fips.us-east-1.amazonaws.com", "us-west-2", "https://s3-fips.us-west-2.amazonaws.com"),
        ("https://b.s3-fips.dualstack.us-east-1.amazonaws.com", "us-west-2",
         "https://b.s3-fips.dualstack.us-west-2.amazonaws.com"),
        ("https://s3.cn-north-1.amazonaws.com.cn", "cn-northwest-1", "https://s3.cn-northwest-1.amazonaws.com.cn"),
        ("https://s3.us-gov-west-1.amazonaws.com", "us-gov-east-1", "https://s3.us-gov-east-1.amazonaws.com"),
        ("https://s3.us-iso-east-1.c2s.ic.gov", "us-iso-west-1", "https://s3.us-iso-west-1.c2s.ic.gov"),
        # It does not leave its partition.
        ("https://s3.us-east-1.amazonaws.com", "cn-north-1", None),
        ("https://s3.us-east-1.amazonaws.com", "us-gov-west-1", None),
        ("https://s3.amazonaws.com", "us-gov-west-1", None),
        ("https://s3.us-gov-west-1.amazonaws.com", "us-east-1", None),
        ("https://s3.cn-north-1.amazonaws.com.cn", "us-east-1", None),
        # Nobody's region.
        ("https://s3.us-east-1.amazonaws.com", "xx-new-9", None),
        ("https://s3.us-east-1.amazonaws.com", "evil.com/", None),
        ("https://s3.us-east-1.amazonaws.com", "", None),
        # Hosts that are not S3's, or never name a region, or are in one for good.
        ("https://b.s3-accelerate.amazonaws.com", "eu-west-1", None),
        ("https://ap-111122223333.s3-accesspoint.us-east-1.amazonaws.com", "eu-west-1", None),
        ("https://b.s3-website-us-east-1.amazonaws.com", "eu-west-1", None),
        ("https://bucket.vpce-1a2b.s3.us-east-1.vpce.amazonaws.com", "eu-west-1", None),
        ("https://b--use1-az4--x-s3.s3express-use1-az4.us-east-1.amazonaws.com", "eu-west-1", None),
        ("https://s3.us-east-1.amazonaws.com.evil.com", "eu-west-1", None),
        ("https://s3.us-east-1.amazonaws.com.cn", "eu-west-1", None),
        ("https://evil-s3.us-east-1.amazonaws.com", "eu-west-1", None),
        ("https://minio.example", "eu-west-1", None),
        ("http://127.0.0.1:9000", "eu-west-1", None),
    ],
)  # fmt: skip
def test_in_another_region(origin: str, region: str, expected: str | None) -> None:
    assert in_region(origin, region) == expected


@pytest.mark.parametrize(
    ("region", "other", "same"),
    [
        ("us-east-1", "eu-west-1", True),
        ("aws-global", "eu-west-1", True),
        ("xx-new-9", "eu-west-1", True),
        ("cn-north-1", "cn-northwest-1", True),
        ("us-east-1", "cn-north-1", False),
        ("us-east-1", "us-gov-west-1", False),
        ("us-gov-west-1", "us-east-1", False),
        ("us-east-1", "xx-new-9", False),
        ("us-east-1", "x_y", False),
        ("us-east-1", "", False),
    ],
)
def test_where_an_answer_may_send_us(region: str, other: str, same: bool) -> None:
    assert same_partition(region, other) is same


def test_what_a_host_of_aws_says() -> None:
    found = parse_aws_host("A.B.S3-FIPS.dualstack.us-gov-west-1.amazonaws.com")
    assert found is not None
    assert (found.bucket, found.service, found.dual_stack, found.region) == ("a.b", "s3-fips", True, "us-gov-west-1")
    assert found.partition.name == "aws-us-gov"
    new = parse_aws_host("s3.xx-new-9.amazonaws.com")
    assert new is not None
    assert (new.bucket, new.region, new.partition.name) == (None, "xx-new-9", "aws")
    assert parse_aws_host("s3.xx-new-9.amazonaws.com.cn") is None
    assert parse_aws_host("xs3.us-east-1.amazonaws.com") is None


# --- properties

texts = st.text(max_size=80) | st.from_regex(r"[a-z0-9.-]{1,70}", fullmatch=True)
known_regions = st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"])
some_buckets = texts | st.sampled_from([ACCESS_POINT, OUTPOST, LAMBDA, EXPRESS]) | st.builds("arn:{}".format, texts)
all_hosts: st.SearchStrategy[dict[str, object]] = st.builds(
    dict,
    dual_stack=st.booleans(),
    fips=st.booleans(),
    addressing=st.sampled_from(get_args(Addressing)),
    use_arn_region=st.booleans(),
)


@DETERMINISTIC
@given(
    all_hosts, some_buckets, texts | known_regions, st.sampled_from(["GetObject", "CreateBucket", "PutBucketPolicy"])
)
@example({}, "evil.com/", "us-east-1", "GetObject")
@example({}, "plain", "us-east-1.evil.com#", "GetObject")
@example({}, "evil.com#.s3", "us-east-1", "GetObject")
@example({}, "arn:aws:s3:eu-west-1:111122223333:accesspoint/evil.com#", "eu-west-1", "GetObject")
@example({}, "arn:aws:s3:evil.com:111122223333:accesspoint/ap", "eu-west-1", "GetObject")
@example({}, "arn:aws:s3-outposts:eu-west-1:111122223333:outpost/evil.com?/accesspoint/ap", "eu-west-1", "GetObject")
def test_nothing_leads_to_another_host(asked: dict[str, object], bucket: str, region: str, operation: str) -> None:
    """Whatever the bucket and the region: a host of the region's partition, all of it AWS's; or a UsageError."""
    try:
        path = path_of(bucket)
        route = AwsHosts(**asked).route(bucket, path, region, operation=operation)  # type: ignore[arg-type]
    except UsageError:
        return
    parts = urlsplit(route.origin)
    suffix = partition_of(check_region(route.region or region)).suffix
    assert route.origin == f"https://{parts.hostname}"
    assert re.fullmatch(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*", parts.hostname or "")
    assert (parts.hostname or "").endswith(f".{suffix}")
    assert (parts.hostname or "").split(".")[-len(suffix.split(".")) - 1] == check_region(route.region or region)
    assert route.path in (path, "/a/b")


@DETERMINISTIC
@given(texts | known_regions, st.sampled_from([f"https://s3.us-east-1.{suffix}" for suffix in sorted(SUFFIXES)]))
def test_no_region_leads_out_of_a_partition(region: str, origin: str) -> None:
    moved = in_region(origin, region)
    assert moved is None or moved == f"https://s3.{region}.amazonaws.com"


@DETERMINISTIC
@given(
    some_buckets,
    st.sampled_from(["http://h:9", "https://h/", "http://127.0.0.1"]),
    st.sampled_from(get_args(Addressing)),
)
def test_others_keep_their_host(bucket: str, origin: str, addressing: Addressing) -> None:
    origin = origin.rstrip("/")
    try:
        path = path_of(bucket)
        route = CustomHosts(origin=origin, addressing=addressing).route(bucket, path, "eu-west-1")
    except UsageError:
        return
    scheme, _, authority = origin.partition("://")
    assert route.origin == origin or re.fullmatch(rf"{scheme}://[a-z0-9.-]+\.{re.escape(authority)}", route.origin)
    assert route.path in (path, "/a/b")


# --- mutations: with the check removed, the test above is red


def test_mutation_regions_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_region", lambda region: region)
    with pytest.raises(pytest.fail.Exception):
        test_what_is_no_region_is_refused("x/../evil")
    assert urlsplit(target(AwsHosts(), "plain", "x/../evil")).hostname == "plain.s3.x"


def test_mutation_any_bucket_goes_into_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LABEL", re.compile(".*", re.DOTALL))
    with pytest.raises(AssertionError):
        test_hosts_of_aws(AwsHosts(), "dotted.name", "https://s3.eu-west-1.amazonaws.com/dotted.name/a/b")
    assert urlsplit(target(AwsHosts(), "evil.com/x")).hostname == "evil.com"


def test_mutation_partitions_are_all_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "known_partition", lambda _: PARTITIONS[0])
    with pytest.raises(AssertionError):
        test_in_another_region("https://s3.us-east-1.amazonaws.com", "cn-north-1", None)
