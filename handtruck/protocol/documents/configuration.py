"""A bucket's small settings as values: versioning, tags, encryption, what the public may, whose objects are, policy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, get_args

from ...errors import InvalidResponse, UsageError
from ...models.buckets import ObjectOwnership, PublicAccessBlock, VersioningStatus
from ...models.encryption import SSEKMS, SSES3
from ..fields import check_tags, one_of
from .trees import parse_tree, write_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .trees import Tree

MOST_TAGS: Final = 50
"""Of a bucket; objects have fewer."""

_PUBLIC: Final = {
    "block_public_acls": "BlockPublicAcls",
    "ignore_public_acls": "IgnorePublicAcls",
    "block_public_policy": "BlockPublicPolicy",
    "restrict_public_buckets": "RestrictPublicBuckets",
}
_KMS: Final = {"aws:kms": False, "aws:kms:dsse": True}


def parse_versioning(body: bytes, roots: Sequence[str] = ("VersioningConfiguration",)) -> VersioningStatus | None:
    """None: the bucket never kept versions.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html
    """
    status: VersioningStatus | None = _word(parse_tree(body, *roots), "Status", VersioningStatus)
    return status


def write_versioning(status: object) -> bytes:
    """The body of PutBucketVersioning.

    Raises:
        UsageError: it is no status.
    """
    return write_tree("VersioningConfiguration", {"Status": one_of("the status", status, get_args(VersioningStatus))})


def parse_ownership(body: bytes, roots: Sequence[str] = ("OwnershipControls",)) -> ObjectOwnership | None:
    """Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketOwnershipControls.html."""
    rule = _only_rule(parse_tree(body, *roots))
    return None if rule is None else _word(rule, "ObjectOwnership", ObjectOwnership)


def write_ownership(ownership: object) -> bytes:
    """The body of PutBucketOwnershipControls.

    Raises:
        UsageError: it is none.
    """
    word = one_of("the ownership", ownership, get_args(ObjectOwnership))
    return write_tree("OwnershipControls", {"Rule": [{"ObjectOwnership": word}]})


def parse_tags(body: bytes, roots: Sequence[str] = ("Tagging",)) -> dict[str, str]:
    """Names and values, as they come.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketTagging.html
    """
    tags: dict[str, str] = {}
    for tag in _branches(_branch(parse_tree(body, *roots), "TagSet"), "Tag"):
        name = _text(tag, "Key")
        if not name:
            raise InvalidResponse("<Tag> in the answer has no <Key>")
        tags[name] = _text(tag, "Value")
    return tags


def write_tags(tags: object, *, most: int = MOST_TAGS) -> bytes:
    """The body of PutBucketTagging.

    Raises:
        UsageError: S3 does not keep such tags.
    """
    pairs = check_tags(tags, most=most)
    return write_tree("Tagging", {"TagSet": {"Tag": [{"Key": name, "Value": value} for name, value in pairs]}})


def parse_encryption(
    body: bytes, roots: Sequence[str] = ("ServerSideEncryptionConfiguration",)
) -> SSES3 | SSEKMS | None:
    """How objects are encrypted of which nobody says how; None where nothing is said.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketEncryption.html
    """
    rule = _only_rule(parse_tree(body, *roots)) or {}
    default = _branch(rule, "ApplyServerSideEncryptionByDefault")
    algorithm = _text(default, "SSEAlgorithm").strip()
    if algorithm in ("", "AES256"):
        return SSES3() if algorithm else None
    if algorithm not in _KMS:
        raise InvalidResponse(f"the answer names an encryption that is not known here: {algorithm[:40]!r}")
    bucket_key = rule.get("BucketKeyEnabled")
    return SSEKMS(
        key_id=_text(default, "KMSMasterKeyID").strip() or None,
        bucket_key=bucket_key if isinstance(bucket_key, bool) else None,
        dual_layer=_KMS[algorithm],
    )


def write_encryption(encryption: object) -> bytes:
    """The body of PutBucketEncryption.

    Raises:
        UsageError: it cannot be what a bucket does by itself.
    """
    rule: dict[str, object]
    match encryption:
        case SSES3():
            rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        case SSEKMS(context=None):
            default = {"SSEAlgorithm": "aws:kms:dsse" if encryption.dual_layer else "aws:kms"}
            if encryption.key_id is not None:
                default["KMSMasterKeyID"] = encryption.key_id
            rule = {"ApplyServerSideEncryptionByDefault": default}
            if encryption.bucket_key is not None:
                rule["BucketKeyEnabled"] = encryption.bucket_key
        case SSEKMS():
            raise UsageError("a bucket's default encryption has no context; give it with each object")
        case _:
            raise UsageError(f"a bucket's default encryption is SSES3() or SSEKMS(…), not {type(encryption).__name__}")
    return write_tree("ServerSideEncryptionConfiguration", {"Rule": [rule]})


def parse_public_access_block(
    body: bytes, roots: Sequence[str] = ("PublicAccessBlockConfiguration",)
) -> PublicAccessBlock:
    """What is left out is not refused.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html
    """
    tree = parse_tree(body, *roots)
    return PublicAccessBlock(**{field: tree.get(name) is True for field, name in _PUBLIC.items()})


def write_public_access_block(block: object) -> bytes:
    """The body of PutPublicAccessBlock.

    Raises:
        UsageError: it is none, or one of its fields is neither True nor False.
    """
    if not isinstance(block, PublicAccessBlock):
        raise UsageError(f"the block must be a PublicAccessBlock(…), not {type(block).__name__}")
    tree = {name: getattr(block, field) for field, name in _PUBLIC.items()}
    return write_tree("PublicAccessBlockConfiguration", tree)


def parse_policy(body: bytes) -> dict[str, Any]:
    """A policy, which is JSON.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicy.html
    """
    try:
        policy = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidResponse(f"the answer is no JSON document: {error}") from error
    if not isinstance(policy, dict):
        raise InvalidResponse(f"expected a policy in the answer, found a {type(policy).__name__}")
    return policy


def write_policy(policy: object) -> bytes:
    """The body of PutBucketPolicy; text is sent as it is.

    Raises:
        UsageError: it is no JSON object.
    """
    try:
        text = policy if isinstance(policy, str) else json.dumps(policy, allow_nan=False, separators=(",", ":"))
        body = text.encode()
        known = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the policy is no JSON document: {error}") from None
    if not isinstance(known, dict):
        raise UsageError(f"the policy must be a JSON object, not a {type(known).__name__}")
    return body


def _only_rule(tree: Tree) -> Tree | None:
    """The first rule: S3 takes one, whatever the document has room for."""
    return next(iter(_branches(tree, "Rule")), None)


def _branches(tree: Tree, name: str) -> list[Tree]:
    """Children of that name that have children themselves."""
    found = tree.get(name, [])
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]


def _branch(tree: Tree, name: str) -> Tree:
    return next(iter(_branches(tree, name)), {})


def _text(tree: Tree, name: str) -> str:
    text = tree.get(name, "")
    return text if isinstance(text, str) else ""


def _word(tree: Tree, name: str, choices: object) -> Any:
    """One of a closed set of words; None where there is none."""
    word = _text(tree, name).strip()
    if word and word not in get_args(choices):
        raise InvalidResponse(f"<{name}> in the answer is {word[:40]!r}, and not one of {', '.join(get_args(choices))}")
    return word or None
