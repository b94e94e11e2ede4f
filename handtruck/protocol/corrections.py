"""What a refusal teaches: newer keys are needed, the bucket is in another region, our clock is wrong.

Such a request is signed anew and sent again, once for each of the three. What was learned holds for the client's other
requests too. Nobody is sent anywhere by an answer: a redirect's address is only read for the name of a region, and a
region only ever becomes part of a host that is ours to choose.

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
_REGION: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAKES_BUCKETS: Final = "CreateBucket"
TOLERATED: Final = timedelta(minutes=5)
"""How far off our clock may be before a refusal without words (of a HEAD) is put down to it. S3 takes 15 minutes."""


@dataclass(slots=True)
class Learned:
    """What a client's requests have found out, for those that follow.

    Attributes:
        regions: of buckets, where it is not the one that was believed; None: the bucket whose name is not known.
        skew: what is to be added to our clock.
    """

    regions: dict[str | None, str] = field(default_factory=dict)
    skew: timedelta = timedelta()


@dataclass(slots=True)
class Corrections:
    """What was put right so far for one request.

    Attributes:
        rejected: the keys that S3 called expired.
        region: a region was learned for it.
        clock: the time was.
    """

    rejected: Credentials | None = None
    region: bool = False
    clock: bool = False


def is_expired(error: HandtruckError, method: str, keys: Credentials, region: str | None) -> bool:
    """The keys ran out. The answer to a HEAD cannot say so: a bare 400 may mean it, unless it names another region."""
    if not isinstance(error, S3Error):
        return False
    here = error.headers.get("x-amz-bucket-region") in (None, region)
    bare = method == "HEAD" and error.status == 400 and here
    return error.code in EXPIRED_CODES or (bare and keys.session_token is not None)


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


def skew_in(error: HandtruckError, method: str, now: datetime) -> timedelta | None:
    """What the clock is wrong by, if that may be why S3 said no; ``now`` is the time that was signed.

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
    off = there - now
    return off if told or abs(off) > TOLERATED else None
