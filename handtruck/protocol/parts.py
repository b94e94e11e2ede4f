"""Cutting objects into parts (to send) and ranges (to fetch). All ranges are half-open: ``[start, stop)``.

Limits: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ..errors import InvalidResponse, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MIB: Final = 1024 * 1024
MIN_PART_SIZE: Final = 5 * MIB
MAX_PART_SIZE: Final = 5 * 1024 * MIB
MAX_PARTS: Final = 10_000
DEFAULT_PART_SIZE: Final = 8 * MIB
"""78 GiB in 10 000 parts before parts must grow; eight workers hold 64 MiB. The default of boto3 and the CLI too."""

_TIERS: Final = 10
"""Of parts that grow: half of all there may be are equal, the other half is in so many tiers, each twice the last."""

_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII)
_UNSATISFIED: Final = re.compile(r"bytes \*/(\d{1,19})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source of known size: bytes ``[offset, offset + length)`` become part ``number`` (from 1)."""

    number: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLimits:
    """What a server takes of a multipart upload; S3's own, if nothing else is said.

    Attributes:
        min_part_size: bytes that smaller parts are made; the last may still have less. 0: S3's 5 MiB will do.
        max_part_size: bytes that a part has at most, and an object that goes in one request.
        max_parts: how many there may be.
        equal_parts: all but the last have to be equal, so that those of a source of unknown length never grow.
    """

    min_part_size: int = 0
    max_part_size: int = MAX_PART_SIZE
    max_parts: int = MAX_PARTS
    equal_parts: bool = False


S3_LIMITS: Final = PartLimits()


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What an answer carries: bytes ``[start, stop)`` of an object of ``total`` bytes (None: not said)."""

    start: int
    stop: int
    total: int | None


def check_part_size(part_size: int, limits: PartLimits = S3_LIMITS) -> None:
    """Refuse what no S3 accepts for more than one part. What this one wants to be larger is made larger later on.

    Raises:
        UsageError: not between 5 MiB and 5 GiB, or what the server has for limits instead.
    """
    least, most = MIN_PART_SIZE, limits.max_part_size
    if not least <= part_size <= most:
        raise UsageError(f"part_size must be from {_bytes(least)} to {_bytes(most)} bytes, not {part_size}")


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1024 * MIB), ("MiB", MIB)):
        if count >= size and count % size == 0:
            return f"{count} ({count // size} {unit})"
    return str(count)


def fitting_part_size(size: int, part_size: int, limits: PartLimits = S3_LIMITS) -> int:
    """``part_size``, or what the server wants at least, or the next whole MiB with which ``size`` bytes fit.

    Raises:
        UsageError: the object is larger than all the parts that there may be.
    """
    part_size = max(part_size, limits.min_part_size)
    needed = -(-size // limits.max_parts)
    if needed <= part_size:
        return part_size
    fitting = min(-(-needed // MIB) * MIB, max(limits.max_part_size, part_size))
    if needed > fitting:
        most = f"{limits.max_parts} parts of {_bytes(limits.max_part_size)} bytes"
        raise UsageError(f"{size} bytes are more than S3 takes: at most {most}")
    return fitting


def plan_parts(size: int, part_size: int) -> Iterator[Part]:
    """Cut ``[0, size)`` into consecutive parts of ``part_size``, the last one shorter."""
    for number, (start, stop) in enumerate(plan_ranges(0, size, part_size), 1):
        yield Part(number, start, stop - start)


def plan_ranges(start: int, stop: int, step: int) -> Iterator[tuple[int, int]]:
    """Cut ``[start, stop)`` into consecutive ranges of ``step``, the last one shorter."""
    for position in range(start, stop, step):
        yield position, min(position + step, stop)


def coalesce(ranges: Iterable[tuple[int, int]], gap: int, most: int) -> list[tuple[int, int]]:
    """The requests that bring all these ranges: in order, apart, none empty, none longer than ``most``.

    Ranges with at most ``gap`` bytes between them share a request, so the requests bring nothing else but such gaps.
    What several ranges have in common is brought once. A range is cut only where it is longer than ``most``, or what
    comes before it is brought already.
    """
    requests: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        begin, end = requests[-1] if requests else (0, 0)
        start = max(start, end)  # what lies before belongs to the last request, which began no later
        if start >= stop:
            continue
        if requests and start - end <= gap and stop - begin <= most:
            requests[-1] = begin, stop
        else:
            requests += plan_ranges(start, stop, most)
    return requests


def holding(requests: Sequence[tuple[int, int]], start: int, stop: int) -> range:
    """Which of :func:`coalesce`'s requests bring bytes of ``[start, stop)``, one of the ranges they were made for."""
    if start >= stop:
        return range(0)
    first = bisect_right(requests, start, key=_start) - 1
    return range(first, bisect_left(requests, stop, key=_start))


def _start(request: tuple[int, int]) -> int:
    return request[0]


def growing_part_size(number: int, part_size: int, *, grow: bool = True, limits: PartLimits = S3_LIMITS) -> int:
    """How large part ``number`` of a source of unknown length is to be.

    The first half of all that there may be are equal (5 000), then it doubles with every twentieth (500): so 10 000
    parts of at first 5 MiB hold 5 TB, and with parts of 8 MiB nobody pays for that, in memory, before 39 GiB.

    Raises:
        UsageError: there is no such part: S3 takes 10 000, and some servers fewer.
    """
    grow = grow and not limits.equal_parts
    part_size = max(part_size, limits.min_part_size)
    if number > limits.max_parts:
        raise UsageError(
            f"the source is longer than {limits.max_parts} parts of {part_size} bytes; use a larger part_size"
            + ("" if grow or limits.equal_parts else ", or let parts grow")
        )
    equal = limits.max_parts // 2
    tier = max(1, (limits.max_parts - equal) // _TIERS)
    doublings = (number - 1 - equal) // tier + 1 if grow and number > equal else 0
    return min(part_size << doublings, max(limits.max_part_size, part_size))


def range_header(start: int, stop: int | None) -> str:
    """The Range header for bytes ``[start, stop)``, None: to the end (RFC 9110, 14.2: its own end is inclusive)."""
    return f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"


def parse_content_range(text: str) -> ContentRange:
    """Understand a Content-Range header (RFC 9110, 14.4).

    Raises:
        InvalidResponse: it makes no sense.
    """
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise InvalidResponse(f"Content-Range {text!r} cannot be understood")
    start, stop = int(match[1]), int(match[2]) + 1
    total = None if match[3] == "*" else int(match[3])
    if stop <= start or (total is not None and stop > total):
        raise InvalidResponse(f"Content-Range {text!r} contradicts itself")
    return ContentRange(start, stop, total)


def parse_unsatisfied(text: str) -> int | None:
    """The object's size as an answer of 416 tells it in Content-Range, if it does (RFC 9110, 14.4)."""
    match = _UNSATISFIED.fullmatch(text.strip())
    return int(match[1]) if match else None
