"""Child tasks that work while the caller's own block is running.

A task group around a block that is not ours would change what comes out of it: an error wrapped in a group, a group
of the caller's own taken apart, a cancellation taken for the end of the work. So the group is told of cancellations
only; whatever else the block raises passes by it as it is. The children end because they are told to, before
:meth:`Companions.leave`, and keep their errors for whoever asks them for something: none ends the block from behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVarTuple

import anyio

from .._tasks import add_notes, siblings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from .._tasks import Siblings

Ts = TypeVarTuple("Ts")


def cut_off() -> anyio.BrokenResourceError:
    """For whoever waits, shielded, for a child that was cancelled together with the block."""
    return anyio.BrokenResourceError("the block around it was cancelled")


class Companions:
    """They are there from :meth:`enter` to :meth:`leave`, both in the caller's task."""

    def __init__(self) -> None:
        self._group: AbstractAsyncContextManager[Siblings] = siblings()
        self._crew: Siblings | None = None

    async def enter(self) -> None:
        """Make room for them."""
        self._crew = await self._group.__aenter__()

    def start_soon(self, work: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run ``work`` beside the block. It must keep its errors, and end when it is told to."""
        assert self._crew is not None
        self._crew.start_soon(work, *args)

    async def leave(self, error: BaseException | None) -> None:
        """Wait for all of them; the block ended with ``error``, which is the caller's to raise.

        Raises:
            BaseException: what is louder than that: a cancellation that arrived meanwhile, an interrupt.
        """
        crew, self._crew = self._crew, None
        assert crew is not None
        try:
            if error is not None and isinstance(error, anyio.get_cancelled_exc_class()):
                await self._group.__aexit__(type(error), error, error.__traceback__)
            else:
                await self._group.__aexit__(None, None, None)
        except BaseException as louder:
            cancellation = anyio.get_cancelled_exc_class()
            if isinstance(louder, cancellation) and not isinstance(error, Exception | cancellation | None):
                return  # an interrupt comes out; and a group of the block's own, which tells of the cancellation, too
            if isinstance(error, Exception):
                add_notes(louder, [error], [])
            raise
        finally:
            del error  # no cycle: its traceback may hold this frame
