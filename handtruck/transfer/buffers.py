"""Memory that is used again and again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self


@dataclass(slots=True)
class Buffers:
    """Buffers of one size; as many as were ever in use at once."""

    size: int
    free: list[bytearray] = field(default_factory=list)

    def take(self) -> bytearray:
        """A buffer that nobody uses."""
        return self.free.pop() if self.free else bytearray(self.size)

    def give_back(self, buffer: bytearray) -> None:
        """Nobody uses it any more: no thread, no socket."""
        self.free.append(buffer)


@dataclass(slots=True)
class Filling:
    """A buffer that fills up, from its beginning on.

    Memory that grows instead is moved as it grows, and what it leaves behind is seldom of use to the next: a stream's
    parts took half as much again.
    """

    buffer: bytearray
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
