"""Of buckets: which there are, where they are, and where a new one goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from ...errors import InvalidResponse
from ...models.buckets import BucketInfo
from .xml import XMLNS, expect, need, parse_xml, time_of

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

FIRST_REGION: Final = "us-east-1"
"""S3's first region has no name in S3's documents."""

_OLD_NAMES: Final = {"": FIRST_REGION, "US": FIRST_REGION, "EU": "eu-west-1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBuckets:
    """One answer of ListBuckets and the token of the next (None: this was the last)."""

    buckets: tuple[BucketInfo, ...]
    token: str | None


def parse_listed_buckets(body: bytes) -> ListedBuckets:
    """One page of ListBuckets.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html
    """
    root = expect(body, "ListAllMyBucketsResult")
    return ListedBuckets(
        buckets=tuple([_bucket(element) for element in root.iterfind("Buckets/Bucket")]),
        token=root.findtext("ContinuationToken") or None,
    )


def _bucket(element: ET.Element) -> BucketInfo:
    return BucketInfo(
        name=need(element, "Name"),
        region=element.findtext("BucketRegion") or None,
        created=time_of((element.findtext("CreationDate") or "").strip()),
        arn=element.findtext("BucketArn") or None,
    )


def parse_location(body: bytes) -> str:
    """The region that GetBucketLocation tells, by the name that requests are signed for.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
    """
    root = parse_xml(body)
    found = root if root.tag == "LocationConstraint" else root.find("LocationConstraint")
    if found is None:
        raise InvalidResponse(f"expected <LocationConstraint> in the answer, found <{root.tag}>")
    region = (found.text or "").strip()
    return _OLD_NAMES.get(region, region)


def write_new_bucket(region: str | None) -> bytes:
    """The body of CreateBucket: none for the first region, which S3 refuses to be told by its name.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    """
    if region in (None, FIRST_REGION):
        return b""
    constraint = f"<LocationConstraint>{escape(region)}</LocationConstraint>"
    return f'<CreateBucketConfiguration xmlns="{XMLNS}">{constraint}</CreateBucketConfiguration>'.encode()
