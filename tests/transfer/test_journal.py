"""The journal of a download: whatever becomes of its file, it never says more than what was written."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.transfer import journal
from handtruck.transfer.journal import Journal, Read, Subject, gaps, joined, read_journal, write_range, write_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from handtruck.transfer.journal import Range

SIZE: Final = 60
TRIED: Final = settings(derandomize=True, deadline=None)

_TEXT: Final = st.text(max_size=20)
SUBJECTS: Final = st.builds(Subject, url=_TEXT, etag=_TEXT, size=st.just(SIZE), place=_TEXT, boot=_TEXT)
RANGES: Final = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)).filter(lambda pair: pair[0] < pair[1]), max_size=8
)


def written(subject: Subject, ranges: Iterable[Range]) -> bytes:
    """A journal's bytes."""
    return write_subject(subject) + b"".join(write_range(*each) for each in ranges)


def line(text: str) -> bytes:
    """A line whose checksum is right, whatever it says."""
    data = text.encode()
    return b"%08x %s\n" % (crc32(data), data)


def bytes_of(ranges: Iterable[Range]) -> set[int]:
    """What ranges are about, one by one."""
    return {position for start, stop in ranges for position in range(start, stop)}


def understood(data: bytes) -> Read | None:
    """What a journal says; that is always in order, within the object, and in as few ranges as can be.

    And what comes behind the ``length`` of it that says so can be cut off; then lines may follow.
    """
    read = read_journal(data)
    if read is not None:
        assert read_journal(data[: read.length]) == read
        more = read_journal(data[: read.length] + write_range(1, 2))
        assert more is not None
        assert bytes_of(more.ranges) == bytes_of(read.ranges) | {1}
        read = replace(read, length=0)
        ends = [end for each in read.ranges for end in each]
        assert ends == sorted(set(ends))
        assert not ends or (ends[0] >= 0 and ends[-1] <= read.subject.size)
        assert read.covered == len(bytes_of(read.ranges))
    return read


# -- What it says ------------------------------------------------------------------------------------------------------


@TRIED
@given(SUBJECTS, RANGES)
def test_what_is_written_is_read(subject: Subject, ranges: list[Range]) -> None:
    read = understood(written(subject, ranges))
    assert read == Read(subject, joined(ranges))


@TRIED
@given(st.binary())
def test_anything_is_something_or_nothing(data: bytes) -> None:
    understood(data)


@TRIED
@given(SUBJECTS, st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=20).map(line)), max_size=5))
def test_anything_behind_a_subject_adds_nothing(subject: Subject, rest: list[bytes]) -> None:
    """Not even with the right checksum, unless it is a range."""
    no_ranges = [each for each in rest if not each[9:10].isdigit()]
    assert understood(write_subject(subject) + b"".join(no_ranges)) == Read(subject, ())


SAID: Final = '{"format": "handtruck-download-1", "url": "u", "etag": "e", "size": 60, "place": "p", "boot": "b"}'


def test_a_first_line_that_does() -> None:
    read = understood(line(SAID) + write_range(0, 1))
    assert read == Read(Subject(url="u", etag="e", size=60, place="p", boot="b"), ((0, 1),))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "1",
        '"x"',
        "{",
        "[" * 100_000,
        '{"a":' * 100_000,
        "9" * 5000,
        '{"format": "handtruck-download-1"}',
        SAID.replace("download-1", "download-2"),
        SAID.replace('"u"', "1"),
        SAID.replace('"e"', "null"),
        SAID.replace("60", '"60"'),
        SAID.replace("60", "60.0"),
        SAID.replace("60", "true"),
        SAID.replace("60", "NaN"),
        SAID.replace('"boot"', '"boots"'),
        SAID.replace("{", '{"more": 1, '),
        SAID + " ]",
        "\N{SNOWMAN}",
    ],
    ids=lambda text: text[:90] if len(text) < 200 else text[:9],
)
def test_first_lines_that_name_no_subject(text: str) -> None:
    """Found: brackets in brackets in brackets … were a RecursionError."""
    assert read_journal(line(text) + write_range(0, 1)) is None


@pytest.mark.parametrize(
    "text",
    [
        "0 0",
        "2 1",
        "-1 5",
        "0 61",
        "60 61",
        "0",
        "0 1 2",
        " 0 1",
        "0 1 ",
        "0  1",
        "0x0 1",
        "a b",
        f"0 {'9' * 20}",
        "٠ ١",
    ],
)
def test_lines_that_are_no_ranges_end_it(text: str) -> None:
    subject = Subject(url="u", etag="e", size=SIZE)
    read = understood(write_subject(subject) + write_range(0, 1) + line(text) + write_range(5, 6))
    assert read == Read(subject, ((0, 1),))


# -- What is left of it ------------------------------------------------------------------------------------------------


@TRIED
@given(SUBJECTS, RANGES, st.data())
def test_cut_off_it_says_what_was_written_first(subject: Subject, ranges: list[Range], data: st.DataObject) -> None:
    whole = written(subject, ranges)
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    lines = cut.count(b"\n")
    expected = Read(subject, joined(ranges[: lines - 1])) if lines else None
    assert understood(cut) == expected


@TRIED
@given(SUBJECTS, RANGES, st.data())
def test_a_wrong_byte_adds_nothing(subject: Subject, ranges: list[Range], data: st.DataObject) -> None:
    whole = bytearray(written(subject, ranges))
    at, wrong = data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(1, 255))
    line_number = whole[:at].count(b"\n")
    whole[at] ^= wrong
    read = understood(bytes(whole))
    assert read == (Read(subject, joined(ranges[: line_number - 1])) if line_number else None)


EXAMPLE: Final = (Subject(url="http://h/b/k", etag='"e"', size=SIZE), [(0, 10), (30, 40), (20, 30)])


def test_every_cut_of_one() -> None:
    """All of them, where Hypothesis tries some."""
    subject, ranges = EXAMPLE
    whole = written(subject, ranges)
    for at in range(len(whole)):
        lines = whole[:at].count(b"\n")
        assert understood(whole[:at]) == (Read(subject, joined(ranges[: lines - 1])) if lines else None)


def test_every_wrong_bit_of_one() -> None:
    subject, ranges = EXAMPLE
    whole = written(subject, ranges)
    for at in range(len(whole)):
        for bit in range(8):
            wrong = bytearray(whole)
            wrong[at] ^= 1 << bit
            read = understood(bytes(wrong))
            assert read is None or (read.subject == subject and bytes_of(read.ranges) < bytes_of(ranges))


@TRIED
@given(SUBJECTS, SUBJECTS, RANGES, st.data())
def test_lines_behind_a_torn_one_say_nothing(
    subject: Subject, other: Subject, ranges: list[Range], data: st.DataObject
) -> None:
    """Not of another object either, whose journal was not cleared away."""
    torn = write_range(0, 7)[: data.draw(st.integers(1, 5))]
    behind = torn + written(other, ranges)
    assert understood(write_subject(subject) + write_range(40, 50) + behind) == Read(subject, ((40, 50),))


# -- Ranges ------------------------------------------------------------------------------------------------------------


@TRIED
@given(RANGES)
def test_joined_is_the_same_bytes(ranges: list[Range]) -> None:
    result = joined(ranges)
    assert bytes_of(result) == bytes_of(ranges)
    assert joined(result) == result
    assert all(stop < start for (_, stop), (start, _) in pairwise(result))


@TRIED
@given(RANGES)
def test_gaps_are_the_rest(ranges: list[Range]) -> None:
    have = joined(ranges)
    missing = tuple(gaps(have, SIZE))
    assert bytes_of(missing) == set(range(SIZE)) - bytes_of(have)
    assert joined(missing) == missing
    assert tuple(gaps(missing, SIZE)) == have


@TRIED
@given(SUBJECTS, RANGES.filter(bool))
def test_without_its_last_byte(subject: Subject, ranges: list[Range]) -> None:
    read = Read(subject, joined(ranges))
    less = read.without_last_byte()
    assert bytes_of(less.ranges) == bytes_of(ranges) - {max(bytes_of(ranges))}
    assert less.covered == read.covered - 1
    assert less.ranges == joined(less.ranges)
    assert less.subject == subject


# -- The file ----------------------------------------------------------------------------------------------------------


@pytest.fixture(name="opened")
def _opened(tmp_path: Path) -> Iterator[Callable[..., Journal]]:
    """Makes a journal, and a data file beside it; closes both."""
    descriptors: list[int] = []

    def opened(*, durable: bool = False) -> Journal:
        lines = os.open(tmp_path / "lines", os.O_RDWR | os.O_CREAT | os.O_APPEND)
        data = os.open(tmp_path / "data", os.O_RDWR | os.O_CREAT)
        descriptors.extend((lines, data))
        return Journal(lines, data, durable)

    yield opened
    for descriptor in descriptors:
        os.close(descriptor)


SUBJECT: Final = Subject(url="http://h/b/k", etag='"e"', size=SIZE)


def test_it_says_nothing_until_the_version_is_known(opened: Callable[..., Journal], tmp_path: Path) -> None:
    mine = opened()
    mine.add(0, 10)
    assert mine.is_blank()
    mine.subject = SUBJECT
    mine.add(10, 20)
    assert not mine.is_blank()
    assert understood((tmp_path / "lines").read_bytes()) == Read(SUBJECT, ((10, 20),))
    mine.clear()
    mine.add(20, 30)
    assert mine.is_blank()


def test_one_goes_on_where_another_stopped(opened: Callable[..., Journal], tmp_path: Path) -> None:
    for start in (0, 10, 20):
        mine = opened()
        mine.subject = SUBJECT
        mine.add(start, start + 5)
    assert understood((tmp_path / "lines").read_bytes()) == Read(SUBJECT, ((0, 5), (10, 15), (20, 25)))


def test_many_threads(opened: Callable[..., Journal], tmp_path: Path) -> None:
    """One subject, and whole lines."""
    from concurrent.futures import ThreadPoolExecutor

    mine = opened()
    mine.subject = SUBJECT
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda start: mine.add(start, start + 1), range(0, SIZE, 2)))
    data = (tmp_path / "lines").read_bytes()
    assert data.count(b"\n") == 1 + SIZE // 2
    assert understood(data) == Read(SUBJECT, tuple((start, start + 1) for start in range(0, SIZE, 2)))


def test_short_writes(opened: Callable[..., Journal], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    mine = opened()
    mine.subject = SUBJECT
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    mine.add(0, 10)
    mine.add(20, 30)
    assert understood((tmp_path / "lines").read_bytes()) == Read(SUBJECT, ((0, 10), (20, 30)))


def test_the_same_again(opened: Callable[..., Journal]) -> None:
    mine = opened()
    mine.subject = SUBJECT
    for start in (0, 20, 10):
        mine.add(start, start + 10)
    first = read_journal(mine.text())
    assert first is not None
    said = replace(first, subject=replace(SUBJECT, boot="another"))
    mine.rewrite(said)
    assert understood(mine.text()) == Read(said.subject, ((0, 30),))
    mine.add(40, 50)
    assert understood(mine.text()) == Read(said.subject, ((0, 30), (40, 50)))


def add_all(mine: Journal) -> None:
    for start in range(2, SIZE, 2):
        mine.add(start, start + 1)


@pytest.mark.parametrize("room", range(0, 120, 9))
def test_a_full_disk(opened: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """A line that did not fit is taken back, so that what comes when there is room again is read."""
    write, left = os.write, [room]

    def full(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(descriptor, data[: left[0]])
        left[0] -= written
        return written

    mine = opened()
    mine.subject = SUBJECT
    mine.add(0, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left"):
            add_all(mine)
    before = understood(mine.text())
    assert before is not None
    mine.add(SIZE - 1, SIZE)
    assert understood(mine.text()) == Read(SUBJECT, (*before.ranges, (SIZE - 1, SIZE)))


@pytest.mark.parametrize("durable", [False, True])
def test_the_order_in_which_things_reach_the_disk(
    opened: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch, *, durable: bool
) -> None:
    """The bytes first. And what is taken back is so before anything else is written in its place.

    Found: it was taken back in memory only. After a loss of power one object's journal stood beside another's bytes.
    """
    mine = opened(durable=durable)
    names = {mine.descriptor: "lines", mine.data: "data"}
    steps: list[str] = []

    def noted(name: str, real: Callable[..., object], descriptor: int, *rest: object) -> object:
        steps.append(f"{name} {names[descriptor]}")
        return real(descriptor, *rest)

    for name in ("write", "fsync", "ftruncate"):
        monkeypatch.setattr(os, name, partial(noted, name, getattr(os, name)))
    mine.subject = SUBJECT
    mine.add(0, 10)
    assert steps == (["fsync data", "write lines", "fsync lines"] if durable else ["write lines"])
    steps.clear()
    read = read_journal(mine.text())
    assert read is not None
    mine.rewrite(read)
    assert steps == [
        *(["fsync data"] if durable else []),
        "ftruncate lines",
        "write lines",
        *(["fsync lines"] * (1 + durable)),
    ]
    steps.clear()
    mine.clear()
    assert steps == ["ftruncate lines", "fsync lines"]
    steps.clear()
    mine.clear()
    assert not steps


# -- Mutations ---------------------------------------------------------------------------------------------------------


def test_mutation_checksums_that_nobody_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a wrong byte adds ranges, and its test sees that."""

    def believing(data: bytes) -> Iterator[str]:
        *lines, _ = data.split(b"\n")
        yield from (each.partition(b" ")[2].decode("ascii", "replace") for each in lines)

    monkeypatch.setattr(journal, "_true_lines", believing)
    with pytest.raises((AssertionError, ExceptionGroup)):
        test_every_wrong_bit_of_one()


def test_mutation_a_last_line_that_needs_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """``0 1`` is how ``0 10`` begins, and ``30 4`` is how ``30 40`` does: seen."""

    def believing(data: bytes) -> Iterator[str]:
        yield from (each.partition(b" ")[2].decode("ascii", "replace") for each in data.split(b"\n"))

    monkeypatch.setattr(journal, "_true_lines", believing)
    with pytest.raises(AssertionError):
        test_every_cut_of_one()


def test_mutation_fsync_in_the_wrong_order(opened: Callable[..., Journal], monkeypatch: pytest.MonkeyPatch) -> None:
    """The line before the bytes: seen."""

    def add(self: Journal, start: int, stop: int) -> None:
        self._append(write_range(start, stop))
        os.fsync(self.data)

    monkeypatch.setattr(Journal, "add", add)
    with pytest.raises(AssertionError):
        test_the_order_in_which_things_reach_the_disk(opened, monkeypatch, durable=True)
