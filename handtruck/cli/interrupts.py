"""Ctrl-C that never tears anything apart.

Python raises KeyboardInterrupt between any two instructions: in the middle of an event loop's start (which then
complains), or of a clean-up (which then stays undone). Here a Ctrl-C is a cancellation where a loop runs, and waits
for the next :meth:`Interrupts.check` elsewhere. So it is raised in few places, each of which is ready for it.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

T = TypeVar("T")

__all__ = ("Interrupts",)


class Interrupts:
    """Keeps the process's Ctrl-C while it is entered. For the main thread."""

    def __init__(self) -> None:
        self._pressed = 0
        self._raised = 0
        self._cancel: Callable[[], object] | None = None
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _press(self, *_: object) -> None:
        self._pressed += 1
        if self._cancel is not None:
            self._cancel()

    def check(self) -> None:
        """Raise what is due.

        Raises:
            KeyboardInterrupt: there was a Ctrl-C that was not raised yet.
        """
        if self._pressed > self._raised:
            self._raised = self._pressed
            raise KeyboardInterrupt

    def run(self, job: Callable[[], Awaitable[T]], *, backend: str = "asyncio", cleaning: bool = False) -> T:
        """Run ``job`` on an event loop; a Ctrl-C cancels it, also one that waits to be raised.

        Cleaning up is not cancelled by what made it necessary, only by a Ctrl-C that comes after its start.

        Raises:
            KeyboardInterrupt: there was one; the loop is closed.
        """
        results: list[T] = []
        before = self._pressed if cleaning else self._raised

        async def main() -> None:
            with anyio.CancelScope() as scope:
                soon = _signal_safe(backend)
                self._cancel = lambda: soon(scope.cancel)
                if self._pressed > before:
                    scope.cancel()
                try:
                    results.append(await job())
                finally:
                    self._cancel = None

        try:
            anyio.run(main, backend=backend)
        finally:
            if self._pressed > before:
                self.check()
        return results[0]


def _signal_safe(backend: str) -> Callable[[Callable[[], object]], object]:
    """What has a function called on this loop, and may itself be called by a signal's handler."""
    if backend == "trio":
        import trio

        return trio.lowlevel.current_trio_token().run_sync_soon
    return asyncio.get_running_loop().call_soon_threadsafe
