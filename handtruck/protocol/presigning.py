"""AWS Signature Version 4, in the query of a URL: whoever has the URL may use it.

The payload is not signed, since nobody knows it yet. Headers are signed if they are named: the user of the URL must
send them, with these values.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from ..errors import UsageError
from ..models.presigning import PresignedURL
from .address import canonical_query
from .checksums import UNSIGNED_PAYLOAD
from .signing import ALGORITHM, canonical_headers, canonical_request, keyed_mac, stamp_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..models import Credentials
    from .address import Query
    from .operations import Headers

LONGEST: Final = 7 * 24 * 3600
"""Seconds that S3 believes such a signature for at most."""

_METHOD: Final = re.compile(r"[A-Z]+")
_OURS: Final = frozenset(
    f"x-amz-{name}"
    for name in ("algorithm", "credential", "date", "expires", "security-token", "signature", "signedheaders")
)
_VOLATILE: Final = frozenset(
    {"accept-encoding", "connection", "expect", "te", "transfer-encoding", "user-agent", "via", "x-amzn-trace-id"}
)
_CUSTOMER_KEY: Final = re.compile(r"x-amz-(copy-source-)?server-side-encryption-customer-key", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signs, where and when."""

    credentials: Credentials
    region: str
    now: datetime
    service: str = "s3"

    @property
    def stamp(self) -> str:
        """The time, as it is signed."""
        return stamp_of(int(self.now.timestamp()))

    @property
    def scope(self) -> str:
        """What a signature is good for: day, region and service."""
        return f"{self.stamp[:8]}/{self.region}/{self.service}/aws4_request"

    @property
    def credential(self) -> str:
        """The key's id, and the scope."""
        return f"{self.credentials.access_key_id}/{self.scope}"

    def signature(self, text: str) -> str:
        """The HMAC of a text, in hex."""
        mac = keyed_mac(self.credentials.secret_access_key, self.stamp[:8], self.region, self.service).copy()
        mac.update(text.encode())
        return mac.hexdigest()

    def expires_at(self, seconds: int) -> datetime:
        """When all this ends: temporary keys may end before it."""
        end = (self.now.astimezone(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
        keys_end = self.credentials.expires_at
        return end if keys_end is None else min(end, keys_end.astimezone(UTC))


def seconds_of(expires: object) -> int:
    """How long it is to be good for, in whole seconds.

    Raises:
        UsageError: it is no such time, under a second or over seven days.
    """
    if isinstance(expires, timedelta):
        seconds = expires.total_seconds()
    elif isinstance(expires, int | float) and not isinstance(expires, bool):
        seconds = expires
    else:
        raise UsageError(f"expires must be seconds or a timedelta, not {type(expires).__name__}")
    if not 1 <= seconds <= LONGEST:
        raise UsageError(f"expires must be between 1 second and 7 days ({LONGEST} seconds), not {seconds:g} seconds")
    return int(seconds)


def method_of(method: object) -> str:
    """An HTTP method in capitals.

    Raises:
        UsageError: it is none.
    """
    known = method.upper() if isinstance(method, str) else ""
    if not _METHOD.fullmatch(known):
        raise UsageError(f"the method must be GET, HEAD, PUT, POST or DELETE, not {method!r:.60}")
    return known


def check_request(query: Query, headers: Headers) -> None:
    """Refuse what cannot, or must not, be presigned.

    Raises:
        UsageError: a parameter is one of the signature's own; a customer's key would stand in the URL; a header is not
            the user's to choose.
    """
    for name, _ in query:
        if name.lower() in _OURS:
            raise UsageError(f"the query parameter {name} is the signature's own; leave it out")
        if _CUSTOMER_KEY.fullmatch(name):
            raise UsageError(
                f"the query parameter {name} would put an encryption key into the URL, where logs and histories keep "
                "it; give it in headers= (or as sse=), and whoever uses the URL must send it"
            )
    for name, _ in headers:
        if name.lower() == "host":
            raise UsageError("the header Host is the endpoint's; leave it out")
        if name.lower() in _VOLATILE:
            raise UsageError(f"the header {name} cannot be signed, because programs on the way change it; leave it out")


def presign(
    signer: Signer, *, method: str, origin: str, path: str, query: Query, headers: Headers, seconds: int
) -> PresignedURL:
    """The URL of a request, with its signature in it.

    Args:
        signer: see :class:`Signer`.
        method: in capitals.
        origin: ``scheme://host[:port]``.
        path: of the object, or the bucket, as it is sent.
        query: names and values, not encoded. They stand in the URL as they are given, before the signature's own.
        headers: what the user of the URL must send, all of it signed; not ``host``, which is added.
        seconds: see :func:`seconds_of`.
    """
    signed = canonical_headers([*headers, ("host", host_of(origin))])
    ours = [
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", signer.credential),
        ("X-Amz-Date", signer.stamp),
        ("X-Amz-Expires", str(seconds)),
        ("X-Amz-SignedHeaders", ";".join(signed)),
    ]
    if signer.credentials.session_token:
        ours.append(("X-Amz-Security-Token", signer.credentials.session_token))
    everything = (*query, *ours)
    request = canonical_request(method, path, canonical_query(everything), signed, UNSIGNED_PAYLOAD)
    signature = signer.signature(f"{ALGORITHM}\n{signer.stamp}\n{signer.scope}\n{sha256(request.encode()).hexdigest()}")
    return PresignedURL(
        f"{origin}{path}?{_as_given(everything)}&X-Amz-Signature={signature}",
        method=method,
        expires_at=signer.expires_at(seconds),
        headers=_together(headers),
    )


def host_of(origin: str) -> str:
    """The Host header that HTTP clients send: without the port that the scheme has anyway."""
    parts = urlsplit(origin)
    return parts.netloc.rpartition(":")[0] if parts.port == _DEFAULT_PORTS.get(parts.scheme) else parts.netloc


def _as_given(query: Iterable[tuple[str, str | None]]) -> str:
    return "&".join(f"{_encode(name)}={_encode(value or '')}" for name, value in query)


def _encode(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


def _together(headers: Headers) -> Headers:
    """Headers that come twice as one, as they are signed, under the name they came with first."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        first = found.get(name.lower())
        found[name.lower()] = (name, value) if first is None else (first[0], f"{first[1]},{value}")
    return tuple(found.values())
