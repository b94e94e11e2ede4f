"""The event loops of every async test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVarTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

Ts = TypeVarTuple("Ts")


class WatchedLoop(asyncio.SelectorEventLoop):
    """A loop that refuses calls from another thread, as asyncio's debug mode does.

    That mode also keeps the whole stack of whoever makes a future, which took a third of the tests' time.
    """

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._check_thread()  # type: ignore[attr-defined]
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        self._check_thread()  # type: ignore[attr-defined]
        return super().call_at(when, callback, *args, context=context)


LOOPS: Final = (
    pytest.param(("asyncio", {"loop_factory": WatchedLoop}), id="asyncio"),
    pytest.param(("asyncio", {"use_uvloop": True}), id="asyncio+uvloop"),
    pytest.param(("trio", {}), id="trio"),
)
