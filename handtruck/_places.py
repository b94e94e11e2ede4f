"""Places on the wire: how many requests a client has under way at once.

A place belongs to a request, not to a task (a task may wait for several requests, or for none). Whoever undoes
something goes first and has one place more than the others, so that an abort never queues behind a thousand
transfers. Within a queue, first come, first served.
"""

from __future__ import annotations

from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@dataclass(slots=True)
class Places:
    """``size`` of them, and one that only undoing may take.

    Attributes:
        taken: how many are.
    """

    size: int
    taken: int = 0
    _undoing: deque[anyio.Event] = field(default_factory=deque)
    _others: deque[anyio.Event] = field(default_factory=deque)

    def take_free(self) -> bool:
        """Take one if nobody has to wait for it. Most find one: no event, no queue."""
        if self.taken >= self.size or self._others or self._undoing:
            return False
        self.taken += 1
        return True

    async def take(self, *, undo: bool = False) -> None:
        """Wait for a place. Cancelled, it has none."""
        await anyio.lowlevel.checkpoint_if_cancelled()
        if not undo and self.take_free():
            return
        queue = self._undoing if undo else self._others
        granted = anyio.Event()
        queue.append(granted)
        self._grant()
        if granted.is_set():
            return
        try:
            await granted.wait()
        except BaseException:
            if granted.is_set():
                self.give_back()
            else:
                queue.remove(granted)
            raise

    def give_back(self) -> None:
        """The request is over."""
        self.taken -= 1
        self._grant()

    def _grant(self) -> None:
        while self._undoing and self.taken <= self.size:
            self._next(self._undoing)
        while self._others and self.taken < self.size:
            self._next(self._others)

    def _next(self, queue: deque[anyio.Event]) -> None:
        self.taken += 1
        queue.popleft().set()

    @asynccontextmanager
    async def undoing(self) -> AsyncGenerator[None]:
        """One place for all the requests that undo something, one after the other."""
        await self.take(undo=True)
        try:
            yield
        finally:
            self.give_back()
