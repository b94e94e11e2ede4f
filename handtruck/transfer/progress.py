"""How far a transfer is, told to whoever asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ..models import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

ProgressCallback: TypeAlias = "Callable[[Progress], object]"


@dataclass(slots=True)
class Meter:
    """Counts bytes that are safely at the other end. What the callback raises fails the transfer."""

    callback: ProgressCallback | None
    total: int | None = None
    done: int = 0

    def add(self, count: int) -> None:
        """``count`` more bytes are there."""
        self.done += count
        if self.callback is not None:
            self.callback(Progress(done=self.done, total=self.total))
