"""How far a transfer is, told to whoever asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from ..models import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

ProgressCallback: TypeAlias = "Callable[[Progress], object]"


class CallbackFailed(Exception):
    """What a callback raised, on its way through code that would take it for a failure of its own.

    An httpx error of the caller's, raised in the middle of an answer, is no broken answer, and must not be retried.
    """

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error: Exception = error


@dataclass(slots=True)
class Meter:
    """Counts bytes that are safely at the other end. What the callback raises fails the transfer."""

    callback: ProgressCallback | None
    total: int | None = None
    done: int = 0
    told: Progress | None = None

    def begin(self, done: int, total: int | None) -> None:
        """So much was there before; or, starting over, nothing is."""
        self.done, self.total = done, total
        if done:
            self._tell()

    def add(self, count: int) -> None:
        """``count`` more bytes are there."""
        self.done += count
        self._tell()

    def end(self, size: int) -> None:
        """All ``size`` bytes are there. That is told once, of an empty object too."""
        self.done = self.total = size
        if self.told != Progress(done=size, total=size):
            self._tell()

    def _tell(self) -> None:
        if self.callback is not None:
            self.told = Progress(done=self.done, total=self.total)
            self.callback(self.told)
