"""What a refusal teaches: newer keys are needed, the bucket is in another region, our clock is wrong.

Such a request is signed anew and sent again, once for each of the three (twice for the region). What was learned holds
for the client's other requests too. Nobody is sent anywhere by an answer: a redirect's address is only read for the
name of a region, and a region only ever becomes part of a host that is ours to choose.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/userguide/Redirects.html,
https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (AuthorizationHeaderMalformed, PermanentRedirect,
RequestTimeTooSkewed).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from ..errors import HandtruckError, S3Error
from .fields import time_said
from .regions import parse_aws_host
from .retry import EXPIRED_CODES

if TYPE_CHECKING:
    from datetime import datetime

    from ..models import Credentials

_ELSEWHERE_CODES: Final = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    }
)
_ELSEWHERE_STATUS: Final = frozenset({301, 307})
_TAKEN: Final = frozenset({304, 404, 409, 412, 416})
_REGION: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAKES_BUCKETS: Final = "CreateBucket"
TOLERATED: Final = timedelta(minutes=5)
"""How far off our clock may be before a refusal without words (of a HEAD) is put down to it. S3 takes 15 minutes."""
_BELIEVED: Final = timedelta(days=36_525)
"""No clock is further off: a machine without one begins in 1970."""
MOVES: Final = 2
"""How often a request follows its bucket: a host that is of another region may be followed by the right one."""


@dataclass(slots=True)
class Learned:
    """What a client's requests have found out, for those that follow.

    Attributes:
        regions: of buckets, where it is not the one that was believed; None: the bucket whose name is not known.
        skew: what is to be added to our clock.
        lasting: keys of which a 400 without words says nothing: newer ones were not to be had, or got the same.
    """

    regions: dict[str | None, str] = field(default_factory=dict)
    skew: timedelta = timedelta()
    lasting: Credentials | None = None


@dataclass(slots=True)
class Corrections:
    """What was put right so far for one request.

    Attributes:
        rejected: the keys that S3 called expired.
        doubted: what it answered, where that was a 400 without words: what to raise if there are no newer keys.
        tried: where the request went, and for which region it was signed, each time before the bucket was elsewhere.
        skew: what is added to our clock for this request. It holds for others once S3 has taken it.
    """

    rejected: Credentials | None = None
    doubted: S3Error | None = None
    tried: list[tuple[str, str | None]] = field(default_factory=list)
    skew: timedelta | None = None


def is_taken(error: HandtruckError) -> bool:
    """S3 took the request for what it is: signature and time were right."""
    return isinstance(error, S3Error) and error.status in _TAKEN


def says_expired(error: HandtruckError) -> bool:
    """The keys ran out."""
    return isinstance(error, S3Error) and error.code in EXPIRED_CODES


def may_mean_expired(error: HandtruckError, method: str, keys: Credentials, region: str | None) -> bool:
    """The answer to a HEAD has no words: a bare 400 may mean that the keys ran out, unless it names another region."""
    if not isinstance(error, S3Error) or method != "HEAD" or error.status != 400 or keys.session_token is None:
        return False
    return error.code not in EXPIRED_CODES and error.headers.get("x-amz-bucket-region") in (None, region)


def is_elsewhere(error: HandtruckError, operation: str, method: str) -> bool:
    """The bucket is in another region than the one that was signed for, or asked.

    The answer to a HEAD has no words: 301, or a 400 that names a region in its head.
    """
    if not isinstance(error, S3Error) or operation == _MAKES_BUCKETS:
        return False
    bare = method == "HEAD" and error.status == 400 and "x-amz-bucket-region" in error.headers
    return error.code in _ELSEWHERE_CODES or error.status in _ELSEWHERE_STATUS or bare


def region_in(error: HandtruckError) -> str | None:
    """Where the bucket is, if the answer says so, one way or another."""
    if not isinstance(error, S3Error):
        return None
    location = error.headers.get("location", "").partition("://")[2].partition("/")[0]
    said = (
        error.headers.get("x-amz-bucket-region"),
        error.details.get("Region"),
        _named_by(error.details.get("Endpoint", "")),
        _named_by(location),
    )
    return next((region for region in said if region and _REGION.fullmatch(region)), None)


def _named_by(host: str) -> str | None:
    found = parse_aws_host(host)
    return found.region if found else None


def skew_in(error: HandtruckError, method: str, signed: datetime) -> timedelta | None:
    """What the clock was wrong by, if that may be why S3 said no; ``signed`` is the time that was signed.

    A HEAD's 403 does not say why: there the clock has to be off by more than :data:`TOLERATED`.
    """
    if not isinstance(error, S3Error):
        return None
    told = error.code == "RequestTimeTooSkewed"
    if not told and not (method == "HEAD" and error.status == 403):
        return None
    there = time_said(error.details.get("ServerTime")) or time_said(error.headers.get("date"))
    if there is None:
        return None
    off = there - signed
    return off if (told or abs(off) > TOLERATED) and abs(off) < _BELIEVED else None
