"""Memory that is used again and again."""

from __future__ import annotations

from dataclasses import dataclass, field


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
