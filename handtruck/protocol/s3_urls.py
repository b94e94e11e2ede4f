"""``s3://`` URLs: a bucket, and what its keys begin with.

Source: https://docs.aws.amazon.com/cli/latest/reference/s3/ ("Path Argument Type")
"""

from __future__ import annotations

import re
from typing import Final

from ..errors import UsageError
from .address import encode_path
from .arns import is_arn, parse_arn, split_arn

_SCHEME: Final = "s3://"
_BUCKET: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
_NO_BUCKETS: Final = frozenset({".", ".."})


def is_s3_url(url: str) -> bool:
    """It begins with ``s3://``, in whatever letters."""
    return url[: len(_SCHEME)].lower() == _SCHEME


def parse_s3_url(url: str) -> tuple[str, str]:
    """``s3://bucket[/prefix]`` → the bucket, and the prefix as it is written: nothing is percent-decoded.

    ::

        parse_s3_url("s3://logs/2026/")  # ("logs", "2026/")
        parse_s3_url("s3://arn:aws:s3:eu-west-1:111122223333:accesspoint/logs/2026/")
        # ("arn:aws:s3:eu-west-1:111122223333:accesspoint:logs", "2026/")

    Raises:
        UsageError: it names no bucket, or something else than one: a user and a password do not belong there. The
            message does not show it.
    """
    if not is_s3_url(url):
        raise UsageError("the URL does not begin with s3://")
    rest = url[len(_SCHEME) :]
    if is_arn(rest):
        arn, prefix = split_arn(rest)
        parse_arn(arn)
        return arn, prefix
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise UsageError("s3:// has to go on with a bucket's name: s3://BUCKET or s3://BUCKET/PREFIX")
    if "@" in bucket or ":" in bucket:
        raise UsageError(
            "an s3:// URL has no place for a user, a password or a port: write s3://BUCKET/PREFIX, and give keys as "
            "access_key_id= and secret_access_key=; or write the endpoint as http(s)://"
        )
    if not _BUCKET.fullmatch(bucket) or bucket in _NO_BUCKETS:
        raise UsageError("what follows s3:// is no bucket's name (A-Z a-z 0-9 . - _)")
    return bucket, prefix


def shown_s3_url(bucket: str, prefix: str) -> str:
    """A bucket, and what keys begin with, as a URL that shows them: percent-encoded, and no segment is only dots."""
    segments = encode_path(f"{bucket}/{prefix}").split("/")
    return "s3://" + "/".join(["%2E" * len(each) if each in (".", "..") else each for each in segments])
