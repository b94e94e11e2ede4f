"""Calls about buckets as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from ...models.buckets import BucketInfo, ObjectOwnership
from .. import documents, fields
from ..options import CannedACL
from .base import Headers, Operation

if TYPE_CHECKING:
    from ..address import Location, Query
    from ..answers import Answer


def create_bucket(
    bucket: Location, region: str | None, headers: Headers = (), *, exist_ok: bool = False
) -> Operation[None]:
    """Make a bucket. Sent twice, the second answer may be a 409 that the first has caused: to be expected, or not."""
    content = documents.write_new_bucket(region)
    kind = (("Content-Type", "application/xml"),) if content else ()
    return Operation(
        name="CreateBucket",
        method="PUT",
        location=bucket,
        headers=(*kind, *headers),
        content=content,
        idempotent=exist_ok,
        parse=lambda _: None,
    )


def delete_bucket(bucket: Location, headers: Headers = (), *, missing_ok: bool = False) -> Operation[None]:
    """Remove an empty bucket. Sent twice, the second answer may be a 404 that the first has caused: as before."""
    return Operation(
        name="DeleteBucket",
        method="DELETE",
        location=bucket,
        headers=headers,
        idempotent=missing_ok,
        parse=lambda _: None,
    )


def head_bucket(bucket: Location, headers: Headers = ()) -> Operation[BucketInfo]:
    """Ask whether a bucket is there and may be used, and where it is."""

    def parse(answer: Answer) -> BucketInfo:
        said = answer.headers
        return BucketInfo(
            name=bucket.bucket or "",
            region=said.get("x-amz-bucket-region") or None,
            arn=said.get("x-amz-bucket-arn") or None,
        )

    return Operation(name="HeadBucket", method="HEAD", location=bucket, headers=headers, parse=parse)


def list_buckets(service: Location, query: Query) -> Operation[documents.ListedBuckets]:
    """One page of the buckets that belong to whoever asks."""
    return Operation(
        name="ListBuckets",
        method="GET",
        location=service,
        query=query,
        parse=lambda answer: documents.parse_listed_buckets(answer.body),
    )


def get_bucket_location(bucket: Location, headers: Headers = ()) -> Operation[str]:
    """Ask for a bucket's region."""
    return Operation(
        name="GetBucketLocation",
        method="GET",
        location=bucket,
        query=(("location", None),),
        headers=headers,
        parse=lambda answer: documents.parse_location(answer.body),
    )


def new_bucket_headers(*, object_lock: object, acl: object, object_ownership: object) -> Headers:
    """What a new bucket shall be like, beside where.

    Raises:
        UsageError: S3 has no such bucket.
    """
    headers: list[tuple[str, str]] = []
    if fields.flag("object_lock", object_lock):
        headers.append(("x-amz-bucket-object-lock-enabled", "true"))
    if acl is not None:
        headers += canned_acl(acl)
    if object_ownership is not None:
        known = fields.one_of("object_ownership", object_ownership, get_args(ObjectOwnership))
        headers.append(("x-amz-object-ownership", known))
    return tuple(headers)


def canned_acl(acl: object) -> Headers:
    """A ready-made ACL.

    Raises:
        UsageError: there is none of that name.
    """
    return (("x-amz-acl", fields.one_of("acl", acl, get_args(CannedACL))),)
