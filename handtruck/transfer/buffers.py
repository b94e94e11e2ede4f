"""Memory for many bytes: cheap to get, and used again and again.

A page that nobody has used yet is dear: the kernel takes as long to find and to clear it as to fill it twice from a
socket. And a ``bytearray`` is written from end to end when it is made: on the event loop, 4 ms for a part of 8 MiB.
What comes from here is not touched before somebody fills it, in a thread; and where the kernel has huge pages, it does
in one step what would be 512.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

_HUGE: Final = 2 * 1024 * 1024
_OPTIONS: Final = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
"""A child of ``fork`` has pages of its own. Windows knows no other kind."""


def fresh(size: int) -> memoryview:
    """So many bytes of zeros. The memory goes with the last view of it."""
    if size < _HUGE:
        return memoryview(bytearray(size))
    pages = mmap.mmap(-1, -(-size // _HUGE) * _HUGE, **_OPTIONS)  # whole ones are aligned to what they are
    if hasattr(pages, "madvise") and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a kernel without them
            pages.madvise(mmap.MADV_HUGEPAGE, 0, size // _HUGE * _HUGE)  # the rest is no more than it must be
    return memoryview(pages)[:size]


@dataclass(slots=True)
class Buffers:
    """Buffers of one size; as many as were ever in use at once."""

    size: int
    free: list[memoryview] = field(default_factory=list)

    def take(self) -> memoryview:
        """A buffer that nobody uses."""
        return self.free.pop() if self.free else fresh(self.size)

    def give_back(self, buffer: memoryview) -> None:
        """Nobody uses it any more: no thread, no socket."""
        self.free.append(buffer)


@dataclass(slots=True)
class Filling:
    """A buffer that fills up, from its beginning on.

    Memory that grows instead is moved as it grows, and what it leaves behind is seldom of use to the next: a stream's
    parts took half as much again.
    """

    buffer: bytearray | memoryview
    length: int = 0

    def __len__(self) -> int:
        return self.length

    def __iadd__(self, block: memoryview | bytes) -> Self:
        end = self.length + len(block)
        self.buffer[self.length : end] = block
        self.length = end
        return self

    def view(self, start: int, stop: int) -> memoryview:
        """Bytes ``[start, stop)`` of what is there."""
        return memoryview(self.buffer)[start : min(stop, self.length)]
