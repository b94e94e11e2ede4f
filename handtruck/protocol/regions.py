"""AWS's regions, the partitions that they belong to, and the hosts of S3 that name them.

A region belongs to a partition by its name; one that no partition claims is taken for a new one of ``aws``, as AWS's
own tools do. Nothing leaves its partition: its keys, and what hosts are called, end there.

Source: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html,
https://docs.aws.amazon.com/general/latest/gr/s3.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ..errors import UsageError

GLOBAL: Final = "aws-global"
"""What old configurations call no region in particular: ``us-east-1``."""

_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NO_REGIONS: Final = re.compile(r"aws(?:-[a-z]+)*-global|[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A part of AWS that has nothing to do with the others.

    Attributes:
        name: as ARNs have it.
        suffix: that hosts end in.
        regions: what the names of its regions look like.
        fips: S3 has hosts there that follow FIPS 140.
        accelerate: S3 has hosts there near its users.
    """

    name: str
    suffix: str
    regions: re.Pattern[str]
    fips: bool = True
    accelerate: bool = True


def _partition(name: str, suffix: str, prefix: str, *, is_aws: bool = True) -> Partition:
    regions = re.compile(rf"(?:{prefix})-[a-z]+-[0-9]+")
    return Partition(name=name, suffix=suffix, regions=regions, fips=is_aws, accelerate=is_aws)


PARTITIONS: Final = (
    _partition("aws", "amazonaws.com", "us|eu|ap|sa|ca|me|af|il|mx"),
    _partition("aws-cn", "amazonaws.com.cn", "cn", is_aws=False),
    _partition("aws-us-gov", "amazonaws.com", "us-gov"),
    _partition("aws-eusc", "amazonaws.eu", "eusc-de"),
    _partition("aws-iso", "c2s.ic.gov", "us-iso"),
    _partition("aws-iso-b", "sc2s.sgov.gov", "us-isob"),
    _partition("aws-iso-e", "cloud.adc-e.uk", "eu-isoe"),
    _partition("aws-iso-f", "csp.hci.ic.gov", "us-isof"),
)
"""The first is the one that others are taken for. Of two with one suffix, too, the first."""


def known_partition(region: str) -> Partition | None:
    """The partition whose region has this name; None where there is none."""
    return next((partition for partition in PARTITIONS if partition.regions.fullmatch(region)), None)


def partition_of(region: str) -> Partition:
    """As :func:`known_partition`; a name that none knows belongs to ``aws``."""
    return known_partition(region) or PARTITIONS[0]


def same_partition(region: str, other: str) -> bool:
    """Whether what is meant for one region may be sent to the other: one that is known, of the same partition.

    Args:
        region: the client's.
        other: the one that an answer names; it is not trusted.
    """
    return known_partition(other) is partition_of(region)


def check_region(region: str) -> str:
    """A region's name that may become part of a host; ``aws-global`` is ``us-east-1``.

    Raises:
        UsageError: it is none.
    """
    if region == GLOBAL:
        return "us-east-1"
    if not _LABEL.fullmatch(region) or _NO_REGIONS.fullmatch(region):
        raise UsageError(f"{region!r:.80} is no region of AWS; one is called like 'eu-west-1'")
    return region


_HOST: Final = re.compile(
    r"(?:(?P<bucket>.+)\.)?(?P<service>s3|s3-fips|s3-accelerate)(?P<dual>\.dualstack)?"
    r"(?:[.-](?P<region>[a-z]{2,4}(?:-[a-z]+)+-[0-9]+|external-1))?"
    rf"\.(?P<suffix>{'|'.join(re.escape(suffix) for suffix in dict.fromkeys(p.suffix for p in PARTITIONS))})"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsHost:
    """A host of S3's that names a region, or none.

    Attributes:
        bucket: the host is its; None: it is everybody's.
        service: ``s3``, ``s3-fips`` or ``s3-accelerate``.
        dual_stack: it has addresses of IPv6, too.
        region: that it names; None: it is the partition's.
        partition: that it belongs to.
    """

    bucket: str | None
    service: str
    dual_stack: bool
    region: str | None
    partition: Partition


def parse_aws_host(host: str) -> AwsHost | None:
    """What a host says, if it is one of S3's own: not an access point's, nor a website's, nor a gateway's in a VPC."""
    found = _HOST.fullmatch(host.lower())
    if found is None:
        return None
    region = "us-east-1" if found["region"] == "external-1" else found["region"]
    suffix = found["suffix"]
    partition = partition_of(region) if region else next(p for p in PARTITIONS if p.suffix == suffix)
    if partition.suffix != suffix:
        return None
    return AwsHost(
        bucket=found["bucket"],
        service=found["service"],
        dual_stack=found["dual"] is not None,
        region=region,
        partition=partition,
    )


def in_region(origin: str, region: str) -> str | None:
    """The same place of S3's in another region of its partition.

    ::

        in_region("https://logs.s3.amazonaws.com", "eu-west-1")  # "https://logs.s3.eu-west-1.amazonaws.com"

    Args:
        origin: ``scheme://host[:port]``.
        region: where to; whoever said so is not trusted.

    Returns:
        None where there is no such place: the host is not one of S3's, or names no region ever (``s3-accelerate``); the
        region is another partition's, or nobody's.
    """
    parts = urlsplit(origin)
    host = parse_aws_host(parts.hostname or "")
    if host is None or host.service == "s3-accelerate" or known_partition(region) is not host.partition:
        return None
    bucket = f"{host.bucket}." if host.bucket else ""
    dual = ".dualstack" if host.dual_stack else ""
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{bucket}{host.service}{dual}.{region}.{host.partition.suffix}{port}"
