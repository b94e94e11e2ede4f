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

_EQUAL: Final = 5_000
_TIER: Final = 500
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII)
_UNSATISFIED: Final = re.compile(r"bytes \*/(\d{1,19})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a source of known size: bytes ``[offset, offset + length)`` become part ``number`` (from 1)."""

    number: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What an answer carries: bytes ``[start, stop)`` of an object of ``total`` bytes (None: not said)."""

    start: int
    stop: int
    total: int | None


def check_part_size(part_size: int) -> None:
    """Refuse what no S3 accepts for more than one part.

    Raises:
        UsageError: not between 5 MiB and 5 GiB.
    """
    if not MIN_PART_SIZE <= part_size <= MAX_PART_SIZE:
        raise UsageError(
            f"part_size must be from {MIN_PART_SIZE} (5 MiB) to {MAX_PART_SIZE} (5 GiB) bytes, not {part_size}"
        )


def fitting_part_size(size: int, part_size: int) -> int:
    """``part_size``, or the next whole MiB with which ``size`` bytes fit into 10 000 parts.

    Raises:
        UsageError: the object is larger than 10 000 parts of 5 GiB.
    """
    needed = -(-size // MAX_PARTS)
    if needed <= part_size:
        return part_size
    fitting = -(-needed // MIB) * MIB
    if fitting > MAX_PART_SIZE:
        raise UsageError(f"{size} bytes are more than S3 takes: at most {MAX_PARTS} parts of 5 GiB")
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


def growing_part_size(number: int, part_size: int, *, grow: bool = True) -> int:
    """How large part ``number`` of a source of unknown length is to be.

    The first 5 000 are equal, then it doubles every 500: so 10 000 parts of at first 5 MiB hold 5 TB, and with parts
    of 8 MiB nobody pays for that, in memory, before 39 GiB.

    Raises:
        UsageError: there is no such part: S3 takes 10 000.
    """
    if number > MAX_PARTS:
        raise UsageError(
            f"the source is longer than {MAX_PARTS} parts of {part_size} bytes; use a larger part_size"
            + ("" if grow else ", or let parts grow")
        )
    doublings = (number - 1 - _EQUAL) // _TIER + 1 if grow and number > _EQUAL else 0
    return min(part_size << doublings, MAX_PART_SIZE)


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
