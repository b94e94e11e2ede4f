"""AWS Signature Version 4, in headers.

A signature is an HMAC over a text that repeats the request: method, path, query, some headers, the payload's
hash. Only headers that no proxy rewrites are signed: ``host``, ``x-amz-*`` and the few in ``_SIGNED``.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol

from ..errors import UsageError
from .address import canonical_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..models import Credentials

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TOKEN_HEADER: Final = "x-amz-security-token"  # noqa: S105 - a name
_SIGNED: Final = frozenset({"host", "content-md5", "content-type", "range"})


class Signature(dict[str, str]):
    """Headers that are nobody's business but S3's."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {', '.join(self)}>"


def sign(
    *,
    method: str,
    path: str,
    query: Sequence[tuple[str, str | None]],
    headers: Iterable[tuple[str, str]],
    payload_hash: str,
    credentials: Credentials,
    region: str,
    now: datetime,
    service: str = "s3",
) -> Signature:
    """The headers that must join a request so that S3 believes it.

    Args:
        method: the HTTP method.
        path: the path as it is sent: percent-encoded once, not normalised.
        query: names and values, not encoded.
        headers: those of the request, ``host`` among them. What is not to be signed is passed over.
        payload_hash: hex SHA-256 of the body, or ``UNSIGNED-PAYLOAD``.
        credentials: both halves of the key, and the token where there is one.
        region: what the endpoint believes to be; ``us-east-1`` for most clones.
        now: the time; aware of its zone.
        service: ``s3``; ``sts`` and others sign alike.
    """
    stamp = stamp_of(int(now.timestamp()))
    added = Signature({"x-amz-date": stamp, "x-amz-content-sha256": payload_hash})
    if credentials.session_token:
        added[TOKEN_HEADER] = credentials.session_token
    signed = canonical_headers(
        [
            *((known, value) for name, value in headers if (known := _signed(name)) and known not in added),
            *added.items(),
        ]
    )
    request = canonical_request(method, path, canonical_query(query), signed, payload_hash)
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    mac = keyed_mac(credentials.secret_access_key, stamp[:8], region, service).copy()
    mac.update(f"{ALGORITHM}\n{stamp}\n{scope}\n{sha256(request.encode()).hexdigest()}".encode())
    added["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, "
        f"SignedHeaders={';'.join(signed)}, Signature={mac.hexdigest()}"
    )
    return added


@lru_cache(maxsize=8)
def stamp_of(seconds: int) -> str:
    """``20261122T160000Z``: written once a second, because that takes as long as the whole signature."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


class Somewhere(Protocol):
    """Where keys came from, in words."""

    @property
    def where(self) -> str:
        """In words."""
        ...


def check_keys(credentials: Credentials, region: str, source: Somewhere) -> None:
    """Refuse keys that cannot travel in a header, before an HTTP library complains and quotes them.

    Raises:
        UsageError: with the name of the field, never with what is in it.
    """
    for what, text in (
        ("access key id", credentials.access_key_id),
        ("secret access key", credentials.secret_access_key),
        ("session token", credentials.session_token or ""),
        ("region", region),
    ):
        if not text.isascii() or not text.isprintable() or text != text.strip():
            raise UsageError(
                f"the {what} has a line break, an outer blank or a character beyond ASCII; from: {source.where}"
            )


def canonical_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Lower-case names in order; values trimmed, runs of blanks folded, repeated headers joined by commas."""
    collected: dict[str, str] = {}
    for name, value in headers:
        known, folded = name.lower(), " ".join(value.split())
        collected[known] = f"{collected[known]},{folded}" if known in collected else folded
    return dict(sorted(collected.items()))


def canonical_request(method: str, path: str, query: str, headers: dict[str, str], payload_hash: str) -> str:
    """The text that stands for the whole request. ``query`` and ``headers`` are canonical already."""
    lines = "\n".join([f"{name}:{value}" for name, value in headers.items()])
    return f"{method}\n{path}\n{query}\n{lines}\n\n{';'.join(headers)}\n{payload_hash}"


@lru_cache(maxsize=512)
def _signed(name: str) -> str:
    """A header's name in lower case if it is to be signed, else nothing."""
    known = name.lower()
    return known if known in _SIGNED or known.startswith("x-amz-") else ""


@lru_cache(maxsize=64)
def keyed_mac(secret: str, day: str, region: str, service: str) -> hmac.HMAC:
    """The HMAC with the signing key in it, to be copied: key and set-up only change with the day and the region."""
    key = b"AWS4" + secret.encode()
    for text in (day, region, service, "aws4_request"):
        key = hmac.digest(key, text.encode(), "sha256")
    return hmac.new(key, digestmod="sha256")
