"""Memory for many bytes: nobody pays for it before it is filled, and nobody else sees it."""

from __future__ import annotations

import mmap
import os
import resource
import sys
from typing import TYPE_CHECKING, Final

import pytest
from anyio import CapacityLimiter

from handtruck.transfer import buffers
from handtruck.transfer.buffers import Buffers, Filling, fresh
from handtruck.transfer.fetch import IntoFile
from tests.transport.support import GOES_RED, MIB

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES: Final = [0, 1, 4095, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 5 * MIB, 8 * MIB + 1]
LARGE: Final = 64 * MIB


@pytest.mark.parametrize("size", SIZES)
def test_zeros_that_can_be_written(size: int) -> None:
    view = fresh(size)
    assert (len(view), view.format, view.readonly, view.contiguous) == (size, "B", False, True)
    assert not any(view)
    if size:
        view[0] = view[-1] = 7
        assert (view[0], view[-1]) == (7, 7)


@pytest.mark.parametrize("size", SIZES)
def test_each_has_its_own(size: int) -> None:
    one, other = fresh(size), fresh(size)
    one[:] = bytes([1]) * size
    assert not any(other)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_has_its_own() -> None:
    """Pages that a fork shares would be written by both."""
    check_a_child_has_its_own()


def check_a_child_has_its_own() -> None:
    view = fresh(4 * MIB)
    view[0] = 1
    child = os.fork()
    if not child:
        view[0] = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert view[0] == 1


def faults(make: Callable[[int], object]) -> int:
    """Pages that the kernel had to find while it was made."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    made = make(LARGE)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert made is not None
    return after - before


def check_not_touched(make: Callable[[int], object] = fresh) -> None:
    assert faults(make) < 100


def test_not_touched() -> None:
    check_not_touched()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc for memory")
@pytest.mark.parametrize("size", [2 * MIB, 5 * MIB, 8 * MIB + 1])
def test_what_is_not_used_takes_no_memory(size: int) -> None:
    """Huge pages are asked for as far as they are filled, and not for the rest."""
    before = resident()
    view = fresh(size)
    for start in range(0, size, 4096):
        view[start] = 1
    assert resident() - before < size + MIB
    del view
    assert resident() - before < MIB


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


def test_it_works_where_there_are_no_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmap, "MADV_HUGEPAGE", -1)  # which the kernel refuses
    test_zeros_that_can_be_written(8 * MIB + 1)
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE")
    test_zeros_that_can_be_written(8 * MIB + 1)


def test_used_again() -> None:
    some = Buffers(3 * MIB)
    one = some.take()
    assert len(one) == 3 * MIB
    other = some.take()
    assert other is not one
    some.give_back(one)
    assert some.take() is one


@pytest.mark.parametrize("buffer", [bytearray(), bytearray(6), memoryview(bytearray(6))], ids=["grows", "fits", "view"])
def test_filling(buffer: bytearray | memoryview) -> None:
    filling = Filling(buffer)
    filling += b"abc"
    filling += memoryview(b"def")
    assert len(filling) == 6
    assert bytes(filling.view(1, 4)) == b"bcd"
    assert bytes(filling.view(4, 100)) == b"ef"


# -- Mutations ---------------------------------------------------------------------------------------------------------


def test_mutation_written_when_made() -> None:
    with pytest.raises(GOES_RED):
        check_not_touched(bytearray)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_mutation_shared_with_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffers, "_OPTIONS", {})
    with pytest.raises(GOES_RED):
        check_a_child_has_its_own()


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("size", "pooled", "most", "length", "taken"),
    [
        (2 * MIB, False, 1000, 1000, False),
        (2 * MIB, True, 1000, 1000, True),
        (2 * MIB, False, 300 * 1024, 300 * 1024, True),
        (2 * MIB, False, None, 2 * MIB, True),
        (4096, False, 1000, 1000, False),
        (4096, False, 5000, 4096, True),
    ],
)
async def test_blocks_are_no_larger_than_was_asked_for(
    size: int, pooled: bool, most: int | None, length: int, taken: bool
) -> None:
    """Little has memory of its own, where there is none yet; else it is a buffer's."""
    given: list[int] = []

    class Reader:
        async def pour(self, view: memoryview, _sink: object, _limiter: object) -> int:
            given.append(len(view))
            return len(view)

    pool = Buffers(size, [fresh(size)] if pooled else [])
    into = IntoFile(lambda _: bytes, pool, CapacityLimiter(1))
    assert await into.take(Reader(), 0, most) == length  # type: ignore[arg-type]
    assert given == [length]
    assert len(pool.free) == taken
