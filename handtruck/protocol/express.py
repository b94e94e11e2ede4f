"""S3 Express One Zone: directory buckets, which live in one zone and sign for sessions.

A directory bucket is called ``NAME--ZONE--x-s3``, and has a host in its zone. Requests about objects are signed with
keys that S3 makes for a session of five minutes (CreateSession, which is signed with one's own keys); they travel with
their token in a header of its own. What concerns the bucket as a whole goes to the region's control host, by its path,
and is signed with one's own keys, as copies are. All of it is signed for the service ``s3express``.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-create-session.html,
https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-Regions-and-Zones.html
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ..models import Credentials

SERVICE: Final = "s3express"
"""What is signed for."""

SESSION_HEADER: Final = "x-amz-s3session-token"
"""Takes the token of a session's keys, in the place of ``x-amz-security-token``."""

_DIRECTORY: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?--(?P<zone>[a-z0-9]+(?:-[a-z0-9]+)+)--xa?-s3")
_CONTROL: Final = re.compile(
    r"(?:Create|Get|Put|Update|Delete)Bucket(?!Abac).*|(?:Get|Put|Delete)PublicAccessBlock|ListBucket[A-Z].*"
    r"|ListDirectoryBuckets"
)
_OWN_KEYS: Final = frozenset({"CopyObject", "CreateSession", "UploadPartCopy"})


def zone_of(bucket: str) -> str | None:
    """The zone (``use1-az4``) of a directory bucket, or of an access point for one; None for other buckets."""
    found = _DIRECTORY.fullmatch(bucket) if len(bucket) <= 63 else None
    return found["zone"] if found else None


def is_control(operation: str) -> bool:
    """A directory bucket's call of this name goes to the region's control host."""
    return _CONTROL.fullmatch(operation) is not None


def uses_session(operation: str) -> bool:
    """A directory bucket's call of this name is signed with a session's keys, not one's own."""
    return operation not in _OWN_KEYS and not is_control(operation)


def session_headers(session: Credentials) -> tuple[Credentials, tuple[tuple[str, str], ...]]:
    """A session's keys, for use: what to sign with, and the header that has to be signed and sent besides."""
    token = session.session_token
    return replace(session, session_token=None), (((SESSION_HEADER, token),) if token else ())
