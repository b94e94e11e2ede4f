"""Parts and ranges: every byte exactly once, and never more parts than S3 takes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse, UsageError
from handtruck.protocol import parts
from handtruck.protocol.parts import (
    DEFAULT_PART_SIZE,
    MAX_PART_SIZE,
    MAX_PARTS,
    MIB,
    MIN_PART_SIZE,
    ContentRange,
    Part,
)

from .strategies import DETERMINISTIC

GIB = 1024 * MIB
SIZES = st.integers(0, 5_000) | st.integers(0, MAX_PARTS * MAX_PART_SIZE)
PART_SIZES = st.integers(MIN_PART_SIZE, MAX_PART_SIZE) | st.sampled_from([MIN_PART_SIZE, DEFAULT_PART_SIZE])


@DETERMINISTIC
@given(st.integers(0, 10**6), st.integers(0, 3_000), st.integers(1, 4_000))
@example(0, 0, 1)
@example(7, 8, 8)
@example(7, 9, 8)
def test_ranges_cover_exactly_what_was_asked(start: int, length: int, step: int) -> None:
    """No gap, no overlap, none empty, none longer than the step, only the last one shorter."""
    ranges = list(parts.plan_ranges(start, start + length, step))
    assert [begin for begin, _ in ranges] == [start, *(stop for _, stop in ranges[:-1])][: len(ranges)]
    assert [stop - begin for begin, stop in ranges[:-1]] == [step] * (len(ranges) - 1 if ranges else 0)
    if length:
        assert 0 < ranges[-1][1] - ranges[-1][0] <= step
        assert ranges[-1][1] == start + length
    else:
        assert not ranges


@DETERMINISTIC
@given(st.integers(0, 3_000), st.integers(1, 4_000))
def test_parts_are_the_ranges_numbered_from_one(size: int, part_size: int) -> None:
    plan = list(parts.plan_parts(size, part_size))
    assert [part.number for part in plan] == list(range(1, len(plan) + 1))
    assert [(part.offset, part.offset + part.length) for part in plan] == list(parts.plan_ranges(0, size, part_size))
    assert sum(part.length for part in plan) == size


def test_a_plan_by_hand() -> None:
    assert list(parts.plan_parts(10, 4)) == [Part(1, 0, 4), Part(2, 4, 4), Part(3, 8, 2)]
    assert list(parts.plan_parts(0, 4)) == []
    assert list(parts.plan_ranges(5, 5, 4)) == []


@DETERMINISTIC
@given(SIZES, PART_SIZES)
@example(MAX_PARTS * MAX_PART_SIZE, MIN_PART_SIZE)
@example(MAX_PARTS * MIN_PART_SIZE + 1, MIN_PART_SIZE)
def test_any_size_fits_into_ten_thousand_parts(size: int, part_size: int) -> None:
    fitting = parts.fitting_part_size(size, part_size)
    count = -(-size // fitting)
    assert count <= MAX_PARTS
    assert part_size <= fitting <= MAX_PART_SIZE
    assert fitting == part_size or fitting % MIB == 0
    assert fitting == part_size or -(-size // (fitting - MIB)) > MAX_PARTS or fitting - MIB < part_size


@pytest.mark.parametrize(
    ("size", "part_size", "fitting"),
    [
        (0, MIN_PART_SIZE, MIN_PART_SIZE),
        (MAX_PARTS * MIN_PART_SIZE, MIN_PART_SIZE, MIN_PART_SIZE),
        (MAX_PARTS * MIN_PART_SIZE + 1, MIN_PART_SIZE, 6 * MIB),
        (MAX_PARTS * DEFAULT_PART_SIZE, DEFAULT_PART_SIZE, DEFAULT_PART_SIZE),
        (100 * GIB, DEFAULT_PART_SIZE, 11 * MIB),
        (MAX_PARTS * MAX_PART_SIZE, DEFAULT_PART_SIZE, MAX_PART_SIZE),
    ],
)
def test_fitting_part_sizes(size: int, part_size: int, fitting: int) -> None:
    assert parts.fitting_part_size(size, part_size) == fitting


def test_an_object_larger_than_s3_takes() -> None:
    with pytest.raises(UsageError, match="more than S3 takes"):
        parts.fitting_part_size(MAX_PARTS * MAX_PART_SIZE + 1, DEFAULT_PART_SIZE)


@pytest.mark.parametrize("part_size", [MIN_PART_SIZE, DEFAULT_PART_SIZE, MAX_PART_SIZE])
def test_part_sizes_that_are_allowed(part_size: int) -> None:
    parts.check_part_size(part_size)


@pytest.mark.parametrize("part_size", [-1, 0, 1, MIN_PART_SIZE - 1, MAX_PART_SIZE + 1])
def test_part_sizes_that_are_not(part_size: int) -> None:
    with pytest.raises(UsageError, match=rf"part_size must be .* not {part_size}$"):
        parts.check_part_size(part_size)


def test_growing_parts_of_five_mib_hold_five_terabytes() -> None:
    sizes = [parts.growing_part_size(number, MIN_PART_SIZE) for number in range(1, MAX_PARTS + 1)]
    assert sum(sizes) >= 5 * 10**12
    assert sizes == sorted(sizes)
    assert sizes[:5_000] == [MIN_PART_SIZE] * 5_000
    assert sizes[5_000:5_501] == [2 * MIN_PART_SIZE] * 500 + [4 * MIN_PART_SIZE]
    assert sizes[-1] == MAX_PART_SIZE


@DETERMINISTIC
@given(st.integers(1, MAX_PARTS), PART_SIZES)
def test_growing_parts_stay_within_the_limits(number: int, part_size: int) -> None:
    grown = parts.growing_part_size(number, part_size)
    assert part_size <= grown <= MAX_PART_SIZE
    assert parts.growing_part_size(number, part_size, grow=False) == part_size
    parts.check_part_size(grown)


@pytest.mark.parametrize(("grow", "words"), [(True, "larger part_size$"), (False, "or let parts grow$")])
def test_there_is_no_part_after_the_last(grow: bool, words: str) -> None:
    parts.growing_part_size(MAX_PARTS, MIN_PART_SIZE, grow=grow)
    with pytest.raises(UsageError, match=words):
        parts.growing_part_size(MAX_PARTS + 1, MIN_PART_SIZE, grow=grow)


@DETERMINISTIC
@given(st.integers(0, 2**63 - 2), st.integers(1, 2**40), st.none() | st.integers(0, 2**40))
def test_a_range_and_its_answer(start: int, length: int, beyond: int | None) -> None:
    """What ``range_header`` asks for, ``parse_content_range`` understands as the same half-open range."""
    stop = min(start + length, 2**63 - 1)
    total = None if beyond is None else min(stop + beyond, 2**63 - 1)
    header = parts.range_header(start, stop)
    answer = f"{header.replace('=', ' ')}/{'*' if total is None else total}"
    assert parts.parse_content_range(answer) == ContentRange(start, stop, total)


def test_range_headers_have_inclusive_ends() -> None:
    assert parts.range_header(0, 1) == "bytes=0-0"
    assert parts.range_header(10, 20) == "bytes=10-19"
    assert parts.range_header(10, None) == "bytes=10-"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 0-0/1", ContentRange(0, 1, 1)),
        ("bytes 0-9/*", ContentRange(0, 10, None)),
        ("  Bytes 5-9/10 ", ContentRange(5, 10, 10)),
        ("bytes 007-009/010", ContentRange(7, 10, 10)),
    ],
)
def test_content_ranges(text: str, found: ContentRange) -> None:
    assert parts.parse_content_range(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes */10",
        "bytes 0-9",
        "bytes 0-9/",
        "bytes -9/10",
        "bytes 0-/10",
        "bytes=0-9/10",
        "items 0-9/10",
        "bytes 0 - 9/10",
        "bytes 0-9/10, bytes 10-19/20",
        "bytes ١-٩/10",
        f"bytes 0-{'9' * 5_000}/*",
        f"bytes 0-9/{'9' * 5_000}",
    ],
    ids=lambda text: text[:30],
)
def test_content_ranges_that_make_no_sense(text: str) -> None:
    with pytest.raises(InvalidResponse, match="cannot be understood"):
        parts.parse_content_range(text)


@pytest.mark.parametrize("text", ["bytes 9-0/10", "bytes 0-10/10", "bytes 10-10/10", "bytes 0-0/0"])
def test_content_ranges_that_contradict_themselves(text: str) -> None:
    with pytest.raises(InvalidResponse, match="contradicts itself"):
        parts.parse_content_range(text)


@DETERMINISTIC
@given(st.text() | st.text("bytes 0123456789-/*").map("bytes {}".format))
def test_any_content_range_is_a_value_or_invalid(text: str) -> None:
    try:
        found = parts.parse_content_range(text)
    except InvalidResponse:
        return
    assert 0 <= found.start < found.stop <= (found.total or found.stop)


@pytest.mark.parametrize(("text", "size"), [("bytes */0", 0), (" BYTES */123 ", 123)])
def test_the_size_behind_whose_end_was_asked(text: str, size: int) -> None:
    assert parts.parse_unsatisfied(text) == size


@pytest.mark.parametrize(
    "text", ["", "bytes */", "bytes */*", "bytes 0-1/2", "*/5", "bytes */-1", f"bytes */{'9' * 99}"]
)
def test_no_size_behind_whose_end_was_asked(text: str) -> None:
    assert parts.parse_unsatisfied(text) is None


RANGES = st.lists(
    st.tuples(st.integers(0, 400), st.integers(0, 60)).map(lambda pair: (pair[0], sum(pair))), max_size=12
)


@DETERMINISTIC
@given(RANGES, st.integers(0, 40), st.integers(1, 100))
@example([(0, 100)], 0, 1)
@example([(0, 10), (0, 30), (5, 7)], 0, 8)
@example([(5, 5)], 40, 100)
def test_requests_bring_what_was_asked(ranges: list[tuple[int, int]], gap: int, most: int) -> None:
    """Everything, nothing twice, in order, none too long, and beyond that only gaps that are short enough."""
    requests = parts.coalesce(ranges, gap, most)
    assert all(0 < stop - start <= most for start, stop in requests)
    assert all(stop <= start for (_, stop), (start, _) in pairwise(requests))
    wanted = {byte for start, stop in ranges for byte in range(start, stop)}
    brought = {byte for start, stop in requests for byte in range(start, stop)}
    assert wanted <= brought
    assert all(begin in wanted and end - 1 in wanted for begin, end in requests)
    for start in brought - wanted:
        before = max(byte for byte in wanted if byte < start)
        behind = min(byte for byte in wanted if byte > start)
        assert behind - before - 1 <= gap


@DETERMINISTIC
@given(RANGES, st.integers(0, 40), st.integers(1, 100))
def test_every_range_finds_its_requests(ranges: list[tuple[int, int]], gap: int, most: int) -> None:
    """Cut out of what they bring and put together again, it is what was asked, whatever the order."""
    requests = parts.coalesce(ranges, gap, most)
    for start, stop in ranges:
        pieces = [requests[number] for number in parts.holding(requests, start, stop)]
        cut = [byte for begin, end in pieces for byte in range(max(begin, start), min(end, stop))]
        assert cut == list(range(start, stop))
        assert all(max(begin, start) < min(end, stop) for begin, end in pieces)


@DETERMINISTIC
@given(RANGES, st.integers(0, 40))
def test_few_requests(ranges: list[tuple[int, int]], gap: int) -> None:
    """Without a limit no two of them are so near that they should be one."""
    requests = parts.coalesce(ranges, gap, 10**9)
    assert all(start - stop > gap for (_, stop), (start, _) in pairwise(requests))


@pytest.mark.parametrize(
    ("ranges", "requests"),
    [
        ([], []),
        ([(3, 3)], []),
        ([(20, 25), (0, 5)], [(0, 5), (20, 25)]),
        ([(0, 5), (15, 20)], [(0, 20)]),
        ([(0, 60), (60, 61)], [(0, 50), (50, 61)]),
        ([(0, 40), (45, 60)], [(0, 40), (45, 60)]),
        ([(0, 40), (30, 60)], [(0, 40), (40, 60)]),
        ([(0, 120), (10, 20)], [(0, 50), (50, 100), (100, 120)]),
    ],
)
def test_requests_by_hand(ranges: list[tuple[int, int]], requests: list[tuple[int, int]]) -> None:
    assert parts.coalesce(ranges, 10, 50) == requests
