"""botocore as the oracle: for every region it knows, the same host, path, signing region and service.

Its endpoint rules are asked, with what a client sets for them; and whole clients, for what they sign and send in the
end. Where ours differs on purpose, the case is in DIFFERENCES, with the reason.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from botocore.loaders import create_loader
from botocore.regions import EndpointResolverBuiltins as Builtins
from botocore.session import Session

from handtruck.errors import UsageError
from handtruck.protocol.address import encode_path, parse_endpoint
from handtruck.protocol.express import is_control, uses_session
from handtruck.protocol.hosts import AwsHosts, CustomHosts
from handtruck.protocol.regions import GLOBAL, PARTITIONS, known_partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from handtruck.protocol.hosts import Hosts

_Answer = tuple[str, str, str, bool] | str
"""URL, service, region, whether the keys are a session's; "error"."""

_ACCOUNT: Final = "111122223333"
_LOADER: Final = create_loader()
_KEYS: Final = {"aws_access_key_id": "AKID", "aws_secret_access_key": "secret"}


@cache
def client() -> Any:
    return Session().create_client("s3", region_name="eu-west-1", **_KEYS)


@cache
def regions() -> dict[str, list[str]]:
    """The regions of each partition, pseudo-regions aside."""
    data = Session().get_component("data_loader").load_data("partitions")
    return {
        partition["id"]: [region for region in partition["regions"] if not region.endswith("-global")]
        for partition in data["partitions"]
    }


@dataclass(frozen=True, kw_only=True)
class Case:
    bucket: str | None = "plain-bucket"
    region: str = "eu-west-1"
    operation: str = "GetObject"
    endpoint: str | None = None
    path: bool = False
    dual_stack: bool = False
    fips: bool = False
    accelerate: bool = False
    use_arn_region: bool = True
    plain: bool = False


def theirs(case: Case) -> _Answer:
    resolver = client()._ruleset_resolver
    resolver._builtins = {
        **resolver._builtins,
        Builtins.AWS_REGION: case.region,
        Builtins.AWS_USE_FIPS: case.fips,
        Builtins.AWS_USE_DUALSTACK: case.dual_stack,
        Builtins.AWS_S3_ACCELERATE: case.accelerate,
        Builtins.AWS_S3_FORCE_PATH_STYLE: case.path,
        Builtins.AWS_S3_USE_ARN_REGION: case.use_arn_region,
        Builtins.AWS_S3_USE_GLOBAL_ENDPOINT: False,
        Builtins.SDK_ENDPOINT: case.endpoint,
    }
    resolver._client_context["disable_s3_express_session_auth"] = case.plain
    operation = case.operation if case.bucket else "ListBuckets"
    given = {"Bucket": case.bucket, "Key": "k"} if case.bucket else {}
    try:
        found = resolver.construct_endpoint(client().meta.service_model.operation_model(operation), given, {})
    except BotoCoreError:
        return "error"
    # Outposts would rather have SigV4A, and take SigV4.
    schemes = [scheme for scheme in found.properties["authSchemes"] if scheme["name"] != "sigv4a"]
    if not schemes:
        return "SigV4A"
    scheme = schemes[0]
    url = f"{found.url.rstrip('/')}/{'k' if case.bucket else ''}"
    return url, scheme["signingName"], scheme["signingRegion"], scheme["name"] == "sigv4-s3express"


def hosts_for(case: Case) -> Hosts:
    if case.endpoint is not None:
        endpoint = parse_endpoint(case.endpoint)
        return CustomHosts(
            origin=endpoint.origin,
            path=endpoint.path,
            addressing="path" if case.path else "virtual",
            use_arn_region=case.use_arn_region,
            express_sessions=not case.plain,
        )
    return AwsHosts(
        dual_stack=case.dual_stack,
        fips=case.fips,
        accelerate=case.accelerate,
        addressing="path" if case.path else "auto",
        use_arn_region=case.use_arn_region,
        express_sessions=not case.plain,
    )


def ours(case: Case) -> _Answer:
    path = f"/{encode_path(case.bucket)}/k" if case.bucket else "/"
    operation = case.operation if case.bucket else "ListBuckets"
    try:
        route = hosts_for(case).route(case.bucket, path, case.region, operation=operation)
    except UsageError:
        return "error"
    return route.origin + route.path, route.service, route.region or case.region, route.session


def disagreements(cases: Iterable[Case]) -> list[tuple[Case, _Answer, _Answer]]:
    return [(case, told, found) for case in cases if (told := theirs(case)) != (found := ours(case))]


def buckets(partition: str, region: str) -> list[str | None]:
    arn = f"arn:{partition}:s3{{}}:{region}:{_ACCOUNT}:{{}}accesspoint{{}}ap".format
    return [
        *(None, "plain-bucket", "dotted.bucket", "Upper", "under_score", "192.168.1.1", "ab", "a" * 64, "-bad", "bad-"),
        *(
            "with space",
            "é",
            "x--use1-az4--x-s3",
            "x--usw2-lax1-az1--x-s3",
            "x--y--use1-az4--x-s3",
            "y--use1-az4--xa-s3",
        ),
        *("X--use1-az4--x-s3", "--use1-az4--x-s3", "x--use1--x-s3", "arn:", "arn:nonsense", "arn:aws:s3:::bucket"),
        *(arn("", "", "/"), arn("", "", ":"), arn("-object-lambda", "", "/"), arn("-outposts", "outpost/op-1/", "/")),
        *(arn("-outposts", "", "/"), arn("", "outpost:op-1:", ":"), arn("ns", "", "/"), f"{arn('', '', '/')}/more"),
        *(f"arn:{partition}:s3:{region}:{_ACCOUNT}:{kind}" for kind in ("accesspoint", "accesspoint/", "bucket/x")),
    ]


def is_listed(case: Case) -> bool:
    """DIFFERENCES has one like it."""
    arn = (case.bucket or "").startswith("arn:")
    return (arn and case.path) or (case.accelerate and case.path)


@pytest.mark.parametrize("partition", [partition.name for partition in PARTITIONS])
def test_every_region_and_kind_of_bucket(partition: str) -> None:
    """All that AWS's hosts may be asked to be, in all regions."""
    cases = [
        Case(bucket=bucket, region=region, dual_stack=dual, fips=fips, accelerate=fast, path=path)
        for region in regions()[partition]
        for bucket in buckets(partition, region)
        for dual, fips, fast, path in itertools.product((False, True), repeat=4)
    ]
    compared = [case for case in cases if not is_listed(case)]
    assert len(compared) > 0.6 * len(cases)
    assert disagreements(compared) == []


def test_there_are_no_other_partitions() -> None:
    assert {partition.name for partition in PARTITIONS} == set(regions())


def test_every_region_is_in_its_partition() -> None:
    for name, known in regions().items():
        assert {partition.name for region in known if (partition := known_partition(region))} == {name}


def test_what_partitions_have() -> None:
    """The names of hosts: botocore's data, again."""
    data = Session().get_component("data_loader").load_data("partitions")
    assert {one["id"]: one["outputs"]["dnsSuffix"] for one in data["partitions"]} == {
        partition.name: partition.suffix for partition in PARTITIONS
    }


@pytest.mark.parametrize("use_arn_region", [True, False])
@pytest.mark.parametrize("region", ["eu-west-1", "us-east-1", "cn-north-1", "us-gov-west-1", "xx-new-9"])
def test_access_points_elsewhere(region: str, use_arn_region: bool) -> None:
    points = [bucket for bucket in buckets("aws", "eu-west-1") if bucket and bucket.startswith("arn:aws:")]
    cases = [Case(bucket=point, region=region, use_arn_region=use_arn_region) for point in points]
    assert disagreements(cases) == []


_DIRECTORY: Final = "x--use1-az4--x-s3"


def bucket_operations() -> list[str]:
    model = client().meta.service_model
    return [
        name
        for name in model.operation_names
        if (shape := model.operation_model(name).input_shape) and "Bucket" in shape.members
    ]


@pytest.mark.parametrize("plain", [False, True])
def test_every_call(plain: bool) -> None:
    """Which calls of a directory bucket go to which host, and with which keys; and all calls of other buckets."""
    names = bucket_operations()
    assert len(names) > 80
    kinds = ("plain-bucket", "dotted.bucket", _DIRECTORY)
    cases = [Case(bucket=bucket, operation=name, plain=plain) for name in names for bucket in kinds]
    assert disagreements(cases) == []


def test_which_calls_are_told_apart() -> None:
    """By their names, S3's model says it of each."""
    model = client().meta.service_model

    def said(name: str) -> dict[str, object]:
        return {one.name: one.value for one in model.operation_model(name).static_context_parameters}

    names = [*bucket_operations(), "ListBuckets", "ListDirectoryBuckets"]
    assert {name for name in names if is_control(name)} == {
        name for name in names if said(name).get("UseS3ExpressControlEndpoint")
    }
    own = {name for name in names if not uses_session(name)}
    assert own == {
        name for name in names if {"UseS3ExpressControlEndpoint", "DisableS3ExpressSessionAuth"} & set(said(name))
    }


@pytest.mark.parametrize("path", [False, True], ids=["virtual", "path"])
@pytest.mark.parametrize(
    "endpoint",
    [
        "http://h.example:9000",
        "https://h.example",
        "https://h.example/base",
        "http://localhost:9000",
        "http://10.0.0.1:9000",
    ],
)
def test_custom_endpoints(endpoint: str, path: bool) -> None:
    cases = [
        Case(bucket=bucket, endpoint=endpoint, path=path)
        for bucket in buckets("aws", "eu-west-1")
        if not is_listed_of_custom(bucket or "", endpoint, path)
    ]
    assert len(cases) > 10
    assert disagreements(cases) == []


def is_listed_of_custom(bucket: str, endpoint: str, path: bool) -> bool:
    if bucket.startswith("arn:"):
        # Differently: path style; an address; http for Outposts, and no base path.
        return path or "10.0" in endpoint or "outposts" in bucket
    if bucket == "dotted.bucket" and "10.0" in endpoint:
        return True  # before an address
    return bucket.endswith("-s3") and (path or "/base" in endpoint or bucket[0] in "X-" or "use1--" in bucket)


# --- differences


@dataclass(frozen=True, kw_only=True)
class Difference:
    case: Case
    theirs: _Answer
    ours: _Answer
    reason: str


_POINT: Final = f"arn:aws:s3:eu-west-1:{_ACCOUNT}:accesspoint/ap"
_OUTPOST: Final = f"arn:aws:s3-outposts:eu-west-1:{_ACCOUNT}:outpost/op-1/accesspoint/ap"
_ALIAS: Final = "test-accessp-o0b1d075431d83bebde8xz5w8ijx1qzlbp3i3kuse10--op-s3"

DIFFERENCES: Final = {
    "aws-global": Difference(
        case=Case(region=GLOBAL),
        theirs=("https://plain-bucket.s3.amazonaws.com/k", "s3", "us-east-1", False),
        ours=("https://plain-bucket.s3.us-east-1.amazonaws.com/k", "s3", "us-east-1", False),
        reason="the global host answers 307 for new buckets elsewhere; AWS advises the regional one",
    ),
    "aws-cn-global": Difference(
        case=Case(region="aws-cn-global"),
        theirs=("https://plain-bucket.s3.aws-cn-global.amazonaws.com.cn/k", "s3", "aws-cn-global", False),
        ours="error",
        reason="there is no such host",
    ),
    "capitals in a region": Difference(
        case=Case(region="US-EAST-1"),
        theirs=("https://plain-bucket.s3.US-EAST-1.amazonaws.com/k", "s3", "US-EAST-1", False),
        ours="error",
        reason="S3 refuses what is signed for a region that is not called so",
    ),
    "acceleration with path style": Difference(
        case=Case(bucket=None, accelerate=True, path=True),
        theirs=("https://s3.eu-west-1.amazonaws.com/", "s3", "eu-west-1", False),
        ours="error",
        reason="the two contradict each other; botocore says so as soon as there is a bucket",
    ),
    "CreateBucket with acceleration": Difference(
        case=Case(operation="CreateBucket", accelerate=True),
        theirs=("https://plain-bucket.s3-accelerate.amazonaws.com/k", "s3", "eu-west-1", False),
        ours=("https://plain-bucket.s3.eu-west-1.amazonaws.com/k", "s3", "eu-west-1", False),
        reason="AWS documents that acceleration has no CreateBucket, DeleteBucket and ListBuckets",
    ),
    "GetBucketLocation with acceleration": Difference(
        case=Case(operation="GetBucketLocation", accelerate=True),
        theirs="error",
        ours=("https://s3.eu-west-1.amazonaws.com/plain-bucket/k", "s3", "eu-west-1", False),
        reason="it has to go by path, which acceleration has not; the region's host answers it",
    ),
    "an access point with path style": Difference(
        case=Case(bucket=_POINT, path=True),
        theirs=(f"https://ap-{_ACCOUNT}.s3-accesspoint.eu-west-1.amazonaws.com/k", "s3", "eu-west-1", False),
        ours="error",
        reason="AWS's own rules say that the two do not go together; botocore drops the wish before it asks them",
    ),
    "a multi-Region access point": Difference(
        case=Case(bucket=f"arn:aws:s3::{_ACCOUNT}:accesspoint/mfzwi23gnjvgw.mrap"),
        theirs="SigV4A",
        ours="error",
        reason="needs SigV4A, which handtruck does not do; the error says so",
    ),
    "an ARN of another partition than its region's": Difference(
        case=Case(bucket=_POINT.replace("arn:aws:", "arn:aws-cn:")),
        theirs=(f"https://ap-{_ACCOUNT}.s3-accesspoint.eu-west-1.amazonaws.com/k", "s3", "eu-west-1", False),
        ours="error",
        reason="it contradicts itself",
    ),
    "an ARN with a short account": Difference(
        case=Case(bucket=_POINT.replace(_ACCOUNT, "123")),
        theirs=("https://ap-123.s3-accesspoint.eu-west-1.amazonaws.com/k", "s3", "eu-west-1", False),
        ours="error",
        reason="accounts have twelve digits",
    ),
    "an ARN with capitals": Difference(
        case=Case(bucket=_POINT.replace("/ap", "/AP")),
        theirs=(f"https://AP-{_ACCOUNT}.s3-accesspoint.eu-west-1.amazonaws.com/k", "s3", "eu-west-1", False),
        ours="error",
        reason="access points have no capitals in their names",
    ),
    "a zone with a name of another length": Difference(
        case=Case(bucket="x--use100-az4--x-s3"),
        theirs="error",
        ours=(
            "https://x--use100-az4--x-s3.s3express-use100-az4.eu-west-1.amazonaws.com/k",
            "s3express", "eu-west-1", True,
        ),
        reason="the rules list the lengths of the zones that there are; new ones need not have them",
    ),
    "an Outposts alias": Difference(
        case=Case(bucket=_ALIAS),
        theirs=(
            f"https://{_ALIAS}.op-0b1d075431d83bebd.s3-outposts.eu-west-1.amazonaws.com/k",
            "s3-outposts", "eu-west-1", False,
        ),
        ours="error",
        reason="its host is cut out of the name at fixed places, which AWS documents nowhere; the ARN does",
    ),
    "a bucket with dots at an address": Difference(
        case=Case(bucket="dotted.bucket", endpoint="http://10.0.0.1:9000"),
        theirs=("http://dotted.bucket.10.0.0.1:9000/k", "s3", "eu-west-1", False),
        ours=("http://10.0.0.1:9000/dotted.bucket/k", "s3", "eu-west-1", False),
        reason="there is no such host; botocore itself spares buckets without dots",
    ),
    "an access point at an address": Difference(
        case=Case(bucket=_POINT, endpoint="http://10.0.0.1:9000"),
        theirs=(f"http://ap-{_ACCOUNT}.10.0.0.1:9000/k", "s3", "eu-west-1", False),
        ours="error",
        reason="there is no such host",
    ),
    "an outpost at a custom http endpoint": Difference(
        case=Case(bucket=_OUTPOST, endpoint="http://h.example/base"),
        theirs=(f"https://ap-{_ACCOUNT}.op-1.h.example/k", "s3-outposts", "eu-west-1", False),
        ours=(f"http://ap-{_ACCOUNT}.op-1.h.example/base/k", "s3-outposts", "eu-west-1", False),
        reason="an endpoint's scheme and path are what was asked for, here as with the other access points",
    ),
    "a directory bucket at a custom endpoint by path": Difference(
        case=Case(bucket=_DIRECTORY, endpoint="http://h.example", path=True),
        theirs=(f"http://{_DIRECTORY}.h.example/k", "s3express", "eu-west-1", True),
        ours=(f"http://h.example/{_DIRECTORY}/k", "s3express", "eu-west-1", True),
        reason="path style was asked for, and another server than AWS's may have nothing else",
    ),
    "the control of a directory bucket at a custom endpoint": Difference(
        case=Case(bucket=_DIRECTORY, endpoint="http://h.example", operation="GetBucketPolicy"),
        theirs=(f"http://{_DIRECTORY}.h.example/k", "s3express", "eu-west-1", True),
        ours=(f"http://{_DIRECTORY}.h.example/k", "s3express", "eu-west-1", False),
        reason="sessions are for objects: AWS documents that these calls are signed with one's own keys",
    ),
    "what ends like a directory bucket, at a custom endpoint": Difference(
        case=Case(bucket="x--use1--x-s3", endpoint="http://h.example"),
        theirs=("http://x--use1--x-s3.h.example/k", "s3express", "eu-west-1", True),
        ours=("http://x--use1--x-s3.h.example/k", "s3", "eu-west-1", False),
        reason="without a zone it is none; other servers may have buckets that are called so",
    ),
    "GetBucketLocation at a custom endpoint": Difference(
        case=Case(operation="GetBucketLocation", endpoint="http://h.example"),
        theirs=("http://h.example/plain-bucket/k", "s3", "eu-west-1", False),
        ours=("http://plain-bucket.h.example/k", "s3", "eu-west-1", False),
        reason="a server that has the bucket in the host need not know another way",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIFFERENCES)
def test_different_for_a_reason(name: str) -> None:
    different = DIFFERENCES[name]
    assert theirs(different.case) == different.theirs
    assert ours(different.case) == different.ours
    assert different.ours != different.theirs
    assert different.reason


# --- whole clients


def sent_by(config: dict[str, Any], bucket: str, region: str, endpoint: str | None = None) -> _Answer:
    """What a client of botocore's sends and signs at last, from its own options."""
    sent: list[Any] = []

    def answer(request: Any, **_: object) -> AWSResponse:
        sent.append(request)
        return AWSResponse(request.url, 200, {}, cast("Any", _Nothing()))

    session = Session()
    session.register_component("data_loader", _LOADER)
    made = session.create_client("s3", region_name=region, endpoint_url=endpoint, config=Config(**config), **_KEYS)
    made.meta.events.register("before-send.s3", answer)
    made.get_object(Bucket=bucket, Key="k")
    found = re.search(r"Credential=AKID/\d+/([^/]+)/([^/]+)/", sent[-1].headers["Authorization"].decode())
    assert found is not None
    return sent[-1].url, found[2], found[1], False


class _Nothing:
    def stream(self, *_: object, **__: object) -> Iterable[bytes]:
        return iter(())

    def read(self, *_: object) -> bytes:
        return b""


_REGIONAL: Final = {"us_east_1_regional_endpoint": "regional"}


@pytest.mark.parametrize(
    ("config", "case"),
    [
        ({}, Case()),
        ({}, Case(region="cn-north-1")),
        ({}, Case(bucket="dotted.bucket")),
        ({}, Case(bucket=_POINT, region="us-west-2")),
        ({"s3": _REGIONAL}, Case(region="us-east-1")),
        ({"s3": {"addressing_style": "path"}}, Case(path=True)),
        ({"s3": {"addressing_style": "virtual"}}, Case()),
        ({"s3": {"use_accelerate_endpoint": True}}, Case(accelerate=True)),
        ({"use_dualstack_endpoint": True}, Case(dual_stack=True)),
        ({"use_fips_endpoint": True}, Case(fips=True, region="us-west-2")),
        ({}, Case(endpoint="http://h.example:9000", path=True)),
        ({"s3": {"addressing_style": "virtual"}}, Case(endpoint="http://h.example:9000")),
        ({"s3": {"addressing_style": "virtual"}}, Case(endpoint="http://10.0.0.1:9000")),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_client_sends(config: dict[str, Any], case: Case) -> None:
    """The rules above are what clients go by: the same out of a client's own options."""
    assert sent_by(config, str(case.bucket), case.region, case.endpoint) == ours(case)


def test_the_old_global_host() -> None:
    """A difference of the client's own: for ``us-east-1`` botocore still takes the global host, by default."""
    assert sent_by({}, "plain-bucket", "us-east-1") == (
        "https://plain-bucket.s3.amazonaws.com/k", "s3", "us-east-1", False,
    )  # fmt: skip
    assert ours(Case(region="us-east-1")) == (
        "https://plain-bucket.s3.us-east-1.amazonaws.com/k", "s3", "us-east-1", False,
    )  # fmt: skip


# --- a mutation


def test_mutation_a_suffix_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.protocol import hosts

    check: Callable[[str], None] = test_every_region_and_kind_of_bucket
    monkeypatch.setattr(hosts, "partition_of", lambda _: PARTITIONS[0])
    hosts._aws_place.cache_clear()
    with pytest.raises(AssertionError):
        check("aws-cn")
    hosts._aws_place.cache_clear()
