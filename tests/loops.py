"""The event loops of every async test."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final, TypeVarTuple
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
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


def share_servers(items: Iterable[pytest.Item]) -> None:
    """Give each test on uvloop one of its servers; with the others it is ``exhaustive``.

    asyncio and trio meet every server. What uvloop could do differently has little to do with who answers, and each
    test meets it still; the servers are spread evenly.
    """
    same: defaultdict[tuple[object, ...], list[pytest.Function]] = defaultdict(list)
    for item in items:
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            where = dict(item.callspec.indices)
            loop = item.callspec.params.get("anyio_backend")
            if where.pop("server", None) is not None and loop == ("asyncio", {"use_uvloop": True}):
                same[(item.nodeid.split("[")[0], *sorted(where.items()))].append(item)
    for key, alike in same.items():
        kept = crc32(repr(key).encode()) % len(alike)
        for number, item in enumerate(alike):
            if number != kept:
                item.add_marker(pytest.mark.exhaustive)
