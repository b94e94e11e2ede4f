"""Access points by their ARNs, which stand where a bucket's name does.

::

    arn:aws:s3:eu-west-1:111122223333:accesspoint/NAME
    arn:aws:s3-object-lambda:eu-west-1:111122223333:accesspoint/NAME
    arn:aws:s3-outposts:eu-west-1:111122223333:outpost/ID/accesspoint/NAME

After the account ``:`` separates as ``/`` does; here it is ``:`` that stands in what is given on, so that an ARN is one
segment of a name and of a path.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from ..errors import UsageError
from .regions import known_partition

Service = Literal["s3", "s3-object-lambda", "s3-outposts"]
"""Whose access point it is: also what its requests are signed for, and what its hosts are called after."""

_ARN: Final = re.compile(
    r"(?P<head>arn(?::[^:/]*){4}):(?P<resource>(?:outpost[:/][^:/]*[:/])?accesspoint[:/][^:/]*)(?:/(?P<key>.*))?",
    re.DOTALL,
)
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_FORM: Final = "write arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPoint:
    """A name and rules of its own for a bucket.

    Attributes:
        service: whose it is.
        region: where it is.
        account: twelve digits.
        name: within region and account.
        outpost: the id of the Outpost that it is on, or None.
    """

    service: Service
    region: str
    account: str
    name: str
    outpost: str | None = None

    @property
    def label(self) -> str:
        """What its host begins with."""
        whole = f"{self.name}-{self.account}"
        return f"{whole}.{self.outpost}" if self.outpost else whole


def is_arn(text: str) -> bool:
    """It is meant as an ARN: no bucket is called so."""
    return text.startswith("arn:")


def split_arn(name: str) -> tuple[str, str]:
    """An object's name that begins with an ARN → the ARN, its last separators as ``:``; and the key, without ``/``.

    ::

        split_arn("arn:aws:s3:eu-west-1:111122223333:accesspoint/logs/2026/11")
        # ("arn:aws:s3:eu-west-1:111122223333:accesspoint:logs", "2026/11")

    Raises:
        UsageError: it begins with no ARN of an access point.
    """
    found = _ARN.fullmatch(name)
    if found is None:
        raise UsageError(f"{name!r:.120} begins with no ARN of an access point: {_FORM}")
    return f"{found['head']}:{found['resource'].replace('/', ':')}", found["key"] or ""


def source_of(arn: str, key: str) -> str:
    """An object of an access point as the source of a copy: what ``x-amz-copy-source`` says, not encoded yet.

    ::

        source_of("arn:aws:s3:eu-west-1:111122223333:accesspoint:logs", "2026/11")
        # "arn:aws:s3:eu-west-1:111122223333:accesspoint/logs/object/2026/11"

    Raises:
        UsageError: it is no ARN of an access point.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    parse_arn(arn)
    *head, resource = arn.split(":", 5)
    return f"{':'.join(head)}:{resource.replace(':', '/')}/object/{key}"


def parse_arn(text: str) -> AccessPoint:
    """Understand the ARN of an access point.

    Raises:
        UsageError: it is none, it is that of a multi-Region access point, or it contradicts itself.
    """
    arn, key = split_arn(text)
    _, partition, service, region, account, *resource = arn.split(":")
    if key:
        raise UsageError(f"the ARN {text!r:.200} goes on after the access point's name")
    if service not in get_args(Service):
        raise UsageError(f"the ARN {text!r:.200} is of {service!r:.40}; access points are S3's: {_FORM}")
    outpost = resource[1] if resource[0] == "outpost" else None
    if (outpost is not None) != (service == "s3-outposts"):
        raise UsageError(f"the ARN {text!r:.200}: an outpost is named if, and only if, the service is s3-outposts")
    if not region and service == "s3":
        raise UsageError(
            f"{text!r:.200} is a multi-Region access point: its requests are signed for all regions at once (SigV4A), "
            "which handtruck does not do; use the bucket's name, or an access point that has a region"
        )
    found = AccessPoint(
        service=cast("Service", service), region=region, account=account, name=resource[-1], outpost=outpost
    )
    _check(found, partition, text)
    return found


def _check(found: AccessPoint, partition: str, text: str) -> None:
    home = known_partition(found.region)
    if home is None or home.name != partition:
        raise UsageError(f"the ARN {text!r:.200}: {found.region!r:.40} is no region of the partition {partition!r:.40}")
    if not _ACCOUNT.fullmatch(found.account):
        raise UsageError(f"the ARN {text!r:.200} has no account of twelve digits")
    if not _LABEL.fullmatch(found.name) or not _LABEL.fullmatch(f"{found.name}-{found.account}"):
        raise UsageError(f"the ARN {text!r:.200}: {found.name!r:.70} is no name of an access point (a-z, 0-9 and -)")
    if found.outpost is not None and not _LABEL.fullmatch(found.outpost):
        raise UsageError(f"the ARN {text!r:.200}: {found.outpost!r:.70} is no id of an outpost")
