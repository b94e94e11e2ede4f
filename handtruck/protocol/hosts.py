"""Which host a request goes to: AWS's, chosen by region and bucket, or one of the caller's.

Given is always the path that begins with the bucket, encoded. Where the bucket is in the host instead, it is cut off.

AWS: ``https://BUCKET.s3.REGION.SUFFIX``; buckets that are no label of a host (dots, capitals, underscores, one or two
letters) stay in the path, as no certificate fits them. Elsewhere the bucket stays in the path unless asked otherwise.
What makes up a host is checked first: no region, bucket or ARN leads to a host that does not end as it should.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html,
https://docs.aws.amazon.com/general/latest/gr/s3.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol
from urllib.parse import urlsplit

from ..errors import UsageError
from .address import Addressing, encode_path
from .arns import AccessPoint, is_arn, parse_arn
from .express import SERVICE as EXPRESS
from .express import is_control, uses_session, zone_of
from .regions import Partition, check_region, in_region, parse_aws_host, partition_of

_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_DOTTED: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
_ADDRESS: Final = re.compile(r"[0-9]+(?:\.[0-9]+){3}|.*:.*")
_RESERVED: Final = {
    "--x-s3": "ends as directory buckets do, which are called like 'logs--use1-az4--x-s3'",
    "--op-s3": "is the alias of an access point on Outposts: name that by its ARN",
}
"""How no other bucket's name ends."""

_NOT_ACCELERATED: Final = frozenset({"CreateBucket", "DeleteBucket"})
_OF_ANY_REGION: Final = "GetBucketLocation"
"""By path any region's host answers it, whatever the bucket's own."""
_NOT_OF_ACCESS_POINTS: Final = frozenset({"CreateBucket"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a request goes, and what it is signed for.

    Attributes:
        origin: ``scheme://host[:port]``.
        path: as it is sent and signed.
        service: that is signed for.
        region: that is signed for, where the host is of one; None: the client's.
        session: it is signed with the keys of a session (CreateSession), not with one's own.
    """

    origin: str
    path: str
    service: str = "s3"
    region: str | None = None
    session: bool = False


class Hosts(Protocol):
    """Where requests go."""

    @property
    def path(self) -> str:
        """What all paths begin with: encoded, mostly empty."""
        ...

    @property
    def aws(self) -> bool:
        """It is AWS that answers."""
        ...

    @property
    def secure(self) -> bool:
        """The road is https."""
        ...

    def route(self, bucket: str | None, path: str, region: str, *, operation: str = "", learned: bool = False) -> Route:
        """The way of one request.

        Args:
            bucket: a name, or the ARN of an access point; None: the request is about none, or one that is not known.
            path: ``/bucket/key``, encoded.
            region: the bucket's, as far as is known.
            operation: S3's name of it: a few go elsewhere than the others.
            learned: S3 said that the region is this one.

        Raises:
            UsageError: there is no such place.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What all requests about one bucket have in common; ``cut`` is what the path loses at its beginning."""

    origin: str
    cut: str = ""
    service: str = "s3"
    region: str | None = None
    session: bool = False

    def route(self, path: str, base: str = "") -> Route:
        if self.cut:
            if path != self.cut and not path.startswith(f"{self.cut}/"):
                raise UsageError("the path of a request has to begin with the bucket")
            path = path[len(self.cut) :] or "/"
        return Route(
            origin=self.origin, path=base + path, service=self.service, region=self.region, session=self.session
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsHosts:
    """AWS's own, by region.

    Attributes:
        dual_stack: hosts that have addresses of IPv6, too.
        fips: hosts that follow FIPS 140.
        accelerate: hosts near the caller (S3 Transfer Acceleration), for what concerns a bucket that exists.
        addressing: ``"path"`` leaves the bucket in the path; the others put it into the host where that is possible.
        use_arn_region: the region of an ARN goes before the client's; otherwise they have to be the same.
        express_sessions: requests about a directory bucket's objects are signed with a session's keys.

    Raises:
        UsageError: ``accelerate`` with ``fips``, or with ``addressing="path"``.
    """

    dual_stack: bool = False
    fips: bool = False
    accelerate: bool = False
    addressing: Addressing = "auto"
    use_arn_region: bool = True
    express_sessions: bool = True

    def __post_init__(self) -> None:
        if self.accelerate and self.fips:
            raise UsageError("S3 Transfer Acceleration has no FIPS hosts: leave out one of the two")
        if self.accelerate and self.addressing == "path":
            raise UsageError("S3 Transfer Acceleration has the bucket in the host: it does not go with path style")

    @property
    def path(self) -> str:
        """Nothing."""
        return ""

    @property
    def aws(self) -> bool:
        """Always."""
        return True

    @property
    def secure(self) -> bool:
        """Always."""
        return True

    def route(self, bucket: str | None, path: str, region: str, *, operation: str = "", learned: bool = False) -> Route:
        """The way of one request; see :meth:`Hosts.route`.

        Raises:
            UsageError: the region is none; the bucket, or what is asked of hosts, does not go with it.
        """
        del learned  # every region has a host of its own
        return _aws_place(self, bucket, region, operation).route(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomHosts:
    """One host, of whomever: the bucket stands in the path, or before the host.

    Attributes:
        origin: ``scheme://host[:port]``.
        path: that all paths begin with: encoded, without a ``/`` at its end; mostly empty.
        addressing: ``"virtual"`` puts the bucket before the host, where there is a name to put it before.
        use_arn_region: as in :class:`AwsHosts`.
        express_sessions: as in :class:`AwsHosts`.
    """

    origin: str
    path: str = ""
    addressing: Addressing = "auto"
    use_arn_region: bool = True
    express_sessions: bool = True

    @property
    def aws(self) -> bool:
        """It is one of AWS's hosts all the same."""
        return parse_aws_host(urlsplit(self.origin).hostname or "") is not None

    @property
    def secure(self) -> bool:
        """The road is https."""
        return self.origin.startswith("https:")

    def route(self, bucket: str | None, path: str, region: str, *, operation: str = "", learned: bool = False) -> Route:
        """The way of one request; see :meth:`Hosts.route`. A host of AWS's moves to the region that was learned.

        Raises:
            UsageError: an access point does not go with the client's region, or has no host here.
        """
        origin = (in_region(self.origin, region) if learned else None) or self.origin
        return _custom_place(self, origin, bucket, region, operation).route(path, self.path)


@lru_cache(maxsize=1024)
def _aws_place(hosts: AwsHosts, bucket: str | None, region: str, operation: str) -> _Place:
    name = check_region(region)
    partition = partition_of(name)
    if hosts.fips and not partition.fips:
        raise UsageError(f"S3 has no FIPS hosts in {name}")
    fixed = None if name == region else name
    if not bucket:
        control = operation == "ListDirectoryBuckets"
        service = EXPRESS if control else "s3"
        return _Place(origin=_aws(hosts, "s3express-control" if control else "s3", name), service=service, region=fixed)
    if is_arn(bucket):
        return _aws_access_point(hosts, bucket, name, operation)
    zone = zone_of(bucket)
    if zone is not None:
        return _directory(hosts, bucket, zone, name, operation, fixed)
    for suffix, why in _RESERVED.items():
        if bucket.endswith(suffix):
            raise UsageError(f"{bucket!r:.80} {why}")
    if hosts.accelerate and operation not in _NOT_ACCELERATED | {_OF_ANY_REGION}:
        return _Place(origin=_accelerated(hosts, bucket, name, partition), cut=f"/{bucket}", region=fixed)
    if hosts.addressing == "path" or not _LABEL.fullmatch(bucket) or operation == _OF_ANY_REGION:
        return _Place(origin=_aws(hosts, "s3", name), region=fixed)
    return _Place(origin=_aws(hosts, "s3", name, f"{bucket}."), cut=f"/{bucket}", region=fixed)


def _aws(hosts: AwsHosts, service: str, region: str, before: str = "") -> str:
    """``https://[BEFORE]SERVICE[-fips][.dualstack].REGION.SUFFIX``."""
    fips, dual = "-fips" if hosts.fips else "", ".dualstack" if hosts.dual_stack else ""
    return f"https://{before}{service}{fips}{dual}.{region}.{partition_of(region).suffix}"


def _accelerated(hosts: AwsHosts, bucket: str, region: str, partition: Partition) -> str:
    if not partition.accelerate:
        raise UsageError(f"there is no S3 Transfer Acceleration in {region}")
    if not _LABEL.fullmatch(bucket):
        raise UsageError(f"S3 Transfer Acceleration has the bucket in the host, and {bucket!r:.80} cannot stand there")
    return f"https://{bucket}.s3-accelerate{'.dualstack' if hosts.dual_stack else ''}.{partition.suffix}"


def _directory(hosts: AwsHosts, bucket: str, zone: str, region: str, operation: str, fixed: str | None) -> _Place:
    """A directory bucket's requests go to its zone, whatever the addressing; those about itself do not."""
    if hosts.accelerate:
        raise UsageError("S3 Transfer Acceleration does not go with directory buckets")
    if is_control(operation):
        return _Place(origin=_aws(hosts, "s3express-control", region), service=EXPRESS, region=fixed)
    fips, dual = "fips-" if hosts.fips else "", ".dualstack" if hosts.dual_stack else ""
    return _Place(
        origin=f"https://{bucket}.s3express-{fips}{zone}{dual}.{region}.{partition_of(region).suffix}",
        cut=f"/{bucket}",
        service=EXPRESS,
        region=fixed,
        session=hosts.express_sessions and uses_session(operation),
    )


def _access_point(hosts: AwsHosts | CustomHosts, arn: str, region: str, operation: str) -> AccessPoint:
    """The access point, if it is one that this client may speak to."""
    point = parse_arn(arn)
    if hosts.addressing == "path":
        raise UsageError("an access point has a host of its own: it does not go with path style")
    if operation in _NOT_OF_ACCESS_POINTS:
        raise UsageError(f"{operation} is about a bucket: name that, and not an access point")
    if partition_of(point.region) is not partition_of(region):
        raise UsageError(f"the access point is in {point.region}, which is another partition than {region}'s")
    if point.region != region and not hosts.use_arn_region:
        raise UsageError(f"the access point is in {point.region}, the client in {region}, and use_arn_region is false")
    return point


def _aws_access_point(hosts: AwsHosts, arn: str, region: str, operation: str) -> _Place:
    point = _access_point(hosts, arn, region, operation)
    missing = {
        "s3": (("accelerate", hosts.accelerate),),
        "s3-object-lambda": (("accelerate", hosts.accelerate), ("dual-stack", hosts.dual_stack)),
        "s3-outposts": (("accelerate", hosts.accelerate), ("dual-stack", hosts.dual_stack), ("FIPS", hosts.fips)),
    }[point.service]
    wanted = [what for what, asked in missing if asked]
    if wanted:
        raise UsageError(f"access points of {point.service} have no {wanted[0]} hosts")
    service = "s3-accesspoint" if point.service == "s3" else point.service
    return _Place(
        origin=_aws(hosts, service, point.region, f"{point.label}."),
        cut=f"/{encode_path(arn)}",
        service=point.service,
        region=point.region,
    )


@lru_cache(maxsize=1024)
def _custom_place(hosts: CustomHosts, origin: str, bucket: str | None, region: str, operation: str) -> _Place:
    scheme, _, authority = origin.partition("://")
    named = not _ADDRESS.fullmatch(urlsplit(origin).hostname or "")
    if not bucket:
        return _Place(origin=origin)
    if is_arn(bucket):
        point = _access_point(hosts, bucket, region, operation)
        if not named:
            raise UsageError(f"an access point has a name for its host: {authority} cannot have one")
        return _Place(
            origin=f"{scheme}://{point.label}.{authority}",
            cut=f"/{encode_path(bucket)}",
            service=point.service,
            region=point.region,
        )
    express = zone_of(bucket) is not None
    asked = hosts.addressing == "virtual" or (express and hosts.addressing == "auto")
    virtual = asked and named and _may_stand_before(bucket, secure=hosts.secure)
    return _Place(
        origin=f"{scheme}://{bucket}.{authority}" if virtual else origin,
        cut=f"/{bucket}" if virtual else "",
        service=EXPRESS if express else "s3",
        session=express and hosts.express_sessions and uses_session(operation),
    )


def _may_stand_before(bucket: str, *, secure: bool) -> bool:
    """A bucket's name may become part of a host. One with dots would need a certificate that nobody has."""
    if _LABEL.fullmatch(bucket):
        return True
    dotted = not secure and 3 <= len(bucket) <= 63 and _DOTTED.fullmatch(bucket) and not _ADDRESS.fullmatch(bucket)
    return bool(dotted)
