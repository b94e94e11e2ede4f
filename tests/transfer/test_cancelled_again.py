"""Cancelled natively while a call is still undoing what an earlier cancellation, or failure, has ended.

On asyncio every native ``cancel()`` counts. One that comes while we clean up must not be taken back by the end of a
scope of ours that somebody else's cancellation has closed: the task would run on as if nobody had cancelled it. (Found:
anyio 4.16 hands a child's count on to the scope of the task that waits for it; see ``handtruck._tasks``.)
"""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck import _tasks
from tests.transfer.cancelling import ON_EITHER_ASYNCIO, PART, memory_client
from tests.transfer.memory_s3 import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from handtruck import S3Client
    from tests.transfer.memory_s3 import Call, MemoryS3

    Job = Callable[[S3Client, MemoryS3, asyncio.Event], Awaitable[object]]

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small"), ON_EITHER_ASYNCIO]


async def blocks(sent: asyncio.Event) -> AsyncIterator[bytes]:
    """Some parts, and then nothing more for ever."""
    yield b"x" * 5 * PART
    sent.set()
    await anyio.sleep_forever()


async def uploading(client: S3Client, _: MemoryS3, busy: asyncio.Event) -> None:
    await client.upload("b/k", blocks(busy), part_size=PART)


async def writing(client: S3Client, _: MemoryS3, busy: asyncio.Event) -> None:
    async with client.open("b/k", "wb", part_size=PART) as file:
        await file.write(b"x" * 5 * PART)
        busy.set()
        await anyio.sleep_forever()


async def refused(client: S3Client, s3: MemoryS3, busy: asyncio.Event) -> None:
    """It fails by itself, and is undoing that."""
    s3.fault = lambda call: Fault.REFUSED if call.operation == "UploadPart" else None
    busy.set()
    async with client.open("b/k", "wb", part_size=PART) as file:
        await file.write(b"x" * 25 * PART)


async def one_of_many(client: S3Client, _: MemoryS3, busy: asyncio.Event) -> None:
    """One of them was cancelled by its handle."""
    async with client.transfers() as group:
        handle = group.upload("b/k", blocks(busy), part_size=PART)
        await busy.wait()
        handle.cancel()


FIRST: Final[dict[str, Job]] = {"upload": uploading, "writer": writing}
BY_ITSELF: Final[dict[str, Job]] = {"a part is refused": refused, "one of many": one_of_many}


async def cancelled_again(job: Job, first: str) -> tuple[list[str], bool, int]:
    """Cancel a job, and once more while it aborts its upload; gives what its task saw, and what asyncio says of it."""
    aborting, answered, busy = asyncio.Event(), asyncio.Event(), asyncio.Event()
    saw: list[str] = []
    async with memory_client() as (client, s3):

        async def before(call: Call) -> None:
            if call.operation == "AbortMultipartUpload":
                aborting.set()
                await answered.wait()

        s3.before_answer = before
        strike: list[Callable[[], object]] = []

        async def victim() -> None:
            try:
                try:
                    async with asyncio.timeout(None) as timeout:
                        strike.append(lambda: timeout.reschedule(0))
                        await job(client, s3, busy)
                except TimeoutError:
                    saw.append("TimeoutError")
                await asyncio.sleep(0)
                saw.append("ran on")
            except asyncio.CancelledError:
                saw.append("cancelled")
                raise

        task = asyncio.create_task(victim())
        await busy.wait()
        if first == "by itself":
            await aborting.wait()
        (task.cancel if first == "Task.cancel" else strike[0])()
        await aborting.wait()
        for _ in range(100):  # turns, in which the timeout strikes
            await asyncio.sleep(0)
        task.cancel()
        for _ in range(100):
            await asyncio.sleep(0)
        answered.set()
        await asyncio.wait({task})
        assert not s3.uploads
        return saw, task.cancelled(), task.cancelling()


@pytest.mark.parametrize("first", ["asyncio.timeout", "Task.cancel"])
@pytest.mark.parametrize("name", FIRST)
async def test_cancelled_while_it_is_undone(name: str, first: str) -> None:
    saw, cancelled, count = await cancelled_again(FIRST[name], first)
    assert (saw, cancelled) == (["cancelled"], True)
    assert count == (2 if first == "Task.cancel" else 1)  # what an enclosing timeout or task group goes by


@pytest.mark.parametrize("name", BY_ITSELF)
async def test_cancelled_while_a_failure_is_undone(name: str) -> None:
    saw, cancelled, _ = await cancelled_again(BY_ITSELF[name], "by itself")
    assert (saw, cancelled) == (["cancelled"], True)


@pytest.mark.parametrize("name", ["writer", "one of many"])
async def test_mutation_counts_are_handed_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tasks, "_own_count", nullcontext)
    job: Any = {**FIRST, **BY_ITSELF}[name]
    saw, cancelled, _ = await cancelled_again(job, "asyncio.timeout" if name in FIRST else "by itself")
    assert (saw, cancelled) != (["cancelled"], True)
