"""Hashes and entity tags: their names, what they prove, how they compare."""

from __future__ import annotations

import re
from hashlib import md5
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""Of no bytes at all: the payload hash of every request without a body."""

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""Stands for the payload's hash where the body is not hashed; safe on https only."""

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


def is_payload_hash(text: str) -> bool:
    """What ``x-amz-content-sha256`` may say of a plain body."""
    return text == UNSIGNED_PAYLOAD or bool(_SHA256.fullmatch(text))


def bare_etag(etag: str) -> str:
    """Without its quotes: servers differ in whether they send them."""
    return etag.strip().strip('"')


def is_strong(etag: str | None) -> bool:
    """It can be put into If-Match: there is one, and it is not weak (RFC 9110, 8.8.1)."""
    return bool(etag and bare_etag(etag) and not etag.startswith("W/"))


def same_etag(one: str | None, other: str | None) -> bool:
    """Both name the same version of an object, quoted or not."""
    return one is not None and other is not None and bare_etag(one) == bare_etag(other)


def multipart_etag(part_etags: Iterable[str]) -> str | None:
    """The ETag S3 gives to an object made of these parts, unquoted: the MD5 of their MD5s, and their number.

    None where a part's ETag is no MD5 (SSE-KMS, some clones), so that nothing can be told from it.
    """
    digests = [bare_etag(etag) for etag in part_etags]
    if not digests or not all(_MD5.fullmatch(digest) for digest in digests):
        return None
    return f"{md5(bytes.fromhex(''.join(digests)), usedforsecurity=False).hexdigest()}-{len(digests)}"
