"""What is done about a refusal that teaches something, so that the request may be signed anew and sent again.

:mod:`handtruck.protocol.corrections` reads the refusals; here is what a client keeps of them.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from ._attempt import Attempt, Options
from ._body import NO_BODY
from .errors import HandtruckError, S3Error
from .protocol.corrections import (
    MOVES,
    TOLERATED,
    is_elsewhere,
    may_mean_expired,
    region_in,
    says_expired,
    skew_in,
)
from .protocol.operations import head_bucket
from .protocol.regions import same_partition
from .transport.reading import read_whole

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from ._session import Session
    from .protocol.corrections import Corrections
    from .protocol.operations import Operation

log: Final = logging.getLogger("handtruck")


async def correct(session: Session, error: HandtruckError, attempt: Attempt[Any], corrections: Corrections) -> bool:
    """Whether the refusal taught something; then the same request, signed anew, may go well."""
    return (
        _doubt_keys(session, error, attempt, corrections)
        or _correct_clock(session, error, attempt, corrections)
        or await _follow_bucket(session, error, attempt, corrections)
    )


def _doubt_keys(session: Session, error: HandtruckError, attempt: Attempt[Any], corrections: Corrections) -> bool:
    """Newer keys are to be fetched. Where the refusal had no words, that is tried once for the same keys."""
    keys = attempt.keys
    if keys is None:
        return False
    guessed = may_mean_expired(error, attempt.operation.method, keys, attempt.route.region)
    if corrections.rejected is not None:
        if guessed:
            session.learned.lasting = keys  # new as they are, they got the same
        return False
    if guessed and keys == session.learned.lasting:
        return False
    if not guessed and not says_expired(error):
        return False
    corrections.rejected = keys
    if guessed and isinstance(error, S3Error):
        corrections.doubted = error.with_traceback(None)  # no cycle: it holds the frame that holds us
    return True


def _correct_clock(session: Session, error: HandtruckError, attempt: Attempt[Any], corrections: Corrections) -> bool:
    """The time is another one. So far that is a guess: see :func:`keep_clock`."""
    if corrections.skew is not None or attempt.signed is None or attempt.keys is None:
        return False
    off = skew_in(error, attempt.operation.method, attempt.signed)
    if off is None:
        return False
    left = attempt.signed + off - session.now()
    # Others may have learned it since this one was signed.
    corrections.skew = session.learned.skew + (left if abs(left) > TOLERATED else timedelta())
    return True


def keep_clock(session: Session, corrections: Corrections) -> None:
    """S3 took what was signed with the corrected time: it is right for others, too."""
    skew, corrections.skew = corrections.skew, None
    if skew is not None and skew != session.learned.skew:
        session.learned.skew = skew
        log.warning("this machine's clock is off by %.0f s, S3 says", -skew.total_seconds())


async def _follow_bucket(
    session: Session, error: HandtruckError, attempt: Attempt[Any], corrections: Corrections
) -> bool:
    """The bucket is in another region: find out which, and whether there is a way that was not tried."""
    operation, route = attempt.operation, attempt.route
    if len(corrections.tried) >= MOVES or not is_elsewhere(error, operation.name, operation.method):
        return False
    corrections.tried.append((route.origin, route.region))

    def is_open() -> bool:
        way = session.route(operation.location, attempt.keys, operation.name)
        return (way.origin, way.region) not in corrections.tried

    if is_open():
        return True  # another request has found out meanwhile
    region = region_in(error)
    if region is None:
        async with session.asking.here():
            if is_open():
                return True
            region = await _ask_region(session, attempt)
    if region is None or (session.endpoint.aws and route.region and not same_partition(route.region, region)):
        return False
    return _learn_region(session, operation.location.bucket, region, is_open)


def _learn_region(session: Session, bucket: str | None, region: str, helps: Callable[[], bool]) -> bool:
    """Believe that the bucket is there, if that helps."""
    regions = session.learned.regions
    before, regions[bucket] = regions.get(bucket), region
    if not helps():
        del regions[bucket]
        if before is not None:
            regions[bucket] = before
        return False
    log.info("bucket %s is in region %s", bucket or "(unnamed)", region)
    return True


async def _ask_region(session: Session, attempt: Attempt[Any]) -> str | None:
    """HeadBucket names the region in its answer, a refusal too."""
    bucket, name = attempt.operation.location.bucket, attempt.operation.name
    if bucket is None or name == "HeadBucket" or not session.endpoint.aws:
        return None
    located = session.endpoint.locate_bucket(bucket=bucket)
    asking = Attempt(
        operation=head_bucket(located),
        route=session.route(located, attempt.keys, "HeadBucket"),
        body=NO_BODY,
        receive=_region_of_answer,
        options=Options(timeout=attempt.options.timeout, placed=attempt.options.placed),
        number=1,
        keys=attempt.keys,
    )
    try:
        return await asking.run(session.sender, session.places, session.limiter, session.now)
    except HandtruckError:
        return None  # the refusal that there was already says more


async def _region_of_answer(_: Operation[object], response: httpx.Response, __: int) -> str | None:
    await read_whole(response)
    return response.headers.get("x-amz-bucket-region") or None
