"""What buckets are, and the small ones of their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

VersioningStatus: TypeAlias = Literal["Enabled", "Suspended"]
"""Whether a bucket keeps an object's versions; a bucket that never did has no status."""

ObjectOwnership: TypeAlias = Literal["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"]
"""Whose an object is that another account writes. With ``BucketOwnerEnforced`` (AWS's default) there are no ACLs."""

ConfigurationKind: TypeAlias = Literal[
    "accelerate",
    "acl",
    "cors",
    "encryption",
    "lifecycle",
    "logging",
    "notification",
    "object-lock",
    "ownershipControls",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "tagging",
    "versioning",
    "website",
]
"""A bucket's configurations that are XML, by S3's names of the sub-resources."""

RemovableKind: TypeAlias = Literal[
    "cors",
    "encryption",
    "lifecycle",
    "ownershipControls",
    "publicAccessBlock",
    "replication",
    "tagging",
    "website",
]
"""Those of them that can be removed; the others are written over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketInfo:
    """One bucket. What the server left out is None.

    Attributes:
        name: the bucket; empty where the client's URL is one bucket's and does not show its name.
        region: where it is; AWS tells in answers to ``head_bucket``, and in listings.
        created: when it was made (AWS: or when its settings were last changed); time-zone aware. Listings only.
        arn: Amazon's name of it, where there is one.
    """

    name: str
    region: str | None = None
    created: datetime | None = None
    arn: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicAccessBlock:
    """What a bucket refuses, whatever its policy and its ACLs say. ``PublicAccessBlock()`` refuses all of it.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PublicAccessBlockConfiguration.html

    Attributes:
        block_public_acls: requests that would set an ACL which gives the public something.
        ignore_public_acls: what such ACLs give.
        block_public_policy: policies that give the public something.
        restrict_public_buckets: where the policy is public, everybody but the owner's account and AWS's services.
    """

    block_public_acls: bool = True
    ignore_public_acls: bool = True
    block_public_policy: bool = True
    restrict_public_buckets: bool = True
