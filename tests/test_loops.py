"""The tests' own asyncio loop sees what asyncio's debug mode sees."""

from __future__ import annotations

import asyncio

import pytest

from tests.loops import WatchedLoop


@pytest.mark.parametrize("call", ["call_soon", "call_later", "call_at", "create_task"])
def test_calls_from_another_thread_are_refused(call: str) -> None:
    async def from_a_thread() -> None:
        loop = asyncio.get_running_loop()
        asked = loop.create_future()

        def ask() -> None:
            if call == "create_task":
                waiting = asyncio.sleep(0)
                try:
                    loop.create_task(waiting)  # noqa: RUF006 - there will be none
                finally:
                    waiting.close()
            elif call == "call_soon":
                loop.call_soon(print)
            else:
                getattr(loop, call)(0, print)

        with pytest.raises(RuntimeError, match="Non-thread-safe"):
            await asyncio.to_thread(ask)
        loop.call_soon_threadsafe(asked.set_result, 1)
        assert await asked == 1

    with asyncio.Runner(loop_factory=WatchedLoop) as runner:
        runner.run(from_a_thread())
