"""Found by readings of the code: blocks that end in unusual ways, and sinks of unusual kinds."""

from __future__ import annotations

import io
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import pytest

from handtruck.errors import ConnectionFailed, NotFound, UsageError
from tests.scripted import Reply, Request, store, truncated

if TYPE_CHECKING:
    from collections.abc import Callable

    from handtruck import S3Client

pytestmark = pytest.mark.anyio

BODY: Final = bytes(range(256)) * 8000  # 2 MB
PART: Final = 256 * 1024


def reading(s3: S3Client) -> Any:
    return s3.open("b/k", part_size=PART)


def streaming(s3: S3Client) -> Any:
    return s3.stream("b/k")


BOTH: Final = pytest.mark.parametrize("opened", [reading, streaming])


@BOTH
async def test_a_shielded_read_in_a_block_that_was_cancelled(opened: Callable[[S3Client], Any]) -> None:
    """Found: it waited for ever for news of children that were cancelled with the block."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with anyio.fail_after(10), anyio.CancelScope() as outer:
            async with opened(s3) as file:
                with anyio.CancelScope(shield=True):
                    outer.cancel()
                    with pytest.raises(anyio.BrokenResourceError):
                        await file.read()


@BOTH
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_of_a_cancelled_block(
    opened: Callable[[S3Client], Any], interrupt: type[BaseException]
) -> None:
    """Found: the cancellation took its place, and the program went on."""

    async def block() -> None:
        with anyio.CancelScope() as scope:
            async with opened(s3):
                scope.cancel()
                raise interrupt

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        caught: list[BaseException] = []
        try:
            await block()
        except BaseException as error:  # noqa: BLE001 - not by pytest.raises, which would let an interrupt pass
            caught.append(error)
        assert [type(error) for error in caught] == [interrupt]


async def test_a_stream_that_breaks_fills_no_buffer_in_part() -> None:
    """Found: fewer bytes, and no error, look like the end."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda request: truncated(tiny.GetObject(request, "b/k"), 5000))
        async with s3.stream("b/k") as file:
            with pytest.raises(ConnectionFailed):
                await file.readinto(bytearray(20_000))


async def test_a_stream_is_made_anywhere() -> None:
    """Found: outside an event loop there was no scope to be had."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        made = await anyio.to_thread.run_sync(s3.stream, "b/k")
        async with made as file:
            assert await file.read() == BODY


class Kept:
    """A sink of each kind."""

    def __init__(self) -> None:
        self.data = bytearray()

    async def keep(self, block: bytes) -> int:
        await anyio.lowlevel.checkpoint()
        self.data += block
        return len(block)


def decorated(kept: Kept) -> object:
    @wraps(kept.keep)
    def write(block: bytes) -> object:
        return kept.keep(block)

    return type("Decorated", (), {"write": staticmethod(write)})()


async def test_a_sink_that_gives_something_to_await() -> None:
    """Found: success, and nothing was written."""
    kept = Kept()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        result = await s3.download("b/k", decorated(kept), part_size=PART)  # type: ignore[arg-type]
    assert (bytes(kept.data), result.size) == (BODY, len(BODY))


async def test_a_stream_writer_of_asyncios_is_refused() -> None:
    """It belongs to its loop's thread, and has no back-pressure but drain()."""
    target = type("StreamWriter", (), {"write": lambda *_: None, "drain": lambda *_: None})()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(UsageError, match="async write or send"):
            await s3.download("b/k", target)
        assert not tiny.calls


async def test_a_shielded_body_waits_for_a_transfer_whose_turn_never_comes() -> None:
    """Found: the one before it fails, the block is cancelled, and the body waited for ever."""
    async with store() as (s3, _):

        async def block() -> None:
            async with s3.transfers(max_concurrency=1) as group:
                group.download("b/missing", io.BytesIO())
                second = group.upload("b/second", b"2")
                with anyio.CancelScope(shield=True), pytest.raises(anyio.TaskCancelled):
                    await second

        with anyio.fail_after(10), pytest.raises(NotFound):
            await block()


async def test_ranges_of_an_object_that_changes_between_attempts() -> None:
    """Found: nothing pins it; it shrinks and grows again, and bytes of two versions and zeros came out."""
    bodies = [b"1" * 10_000, b"2" * 4000, b"3" * 10_000]
    async with store() as (s3, tiny):

        def answer(request: Request) -> Reply:
            data = bodies[min(len(tiny.sent("GetObject")), 3) - 1]
            first, last = (int(n) for n in (request.header("range") or "").removeprefix("bytes=").split("-"))
            last = min(last, len(data) - 1)
            headers = (("Content-Range", f"bytes {first}-{last}/{len(data)}"), ("ETag", 'W/"weak"'))
            reply = Reply(status=206, headers=headers, body=data[first : last + 1])
            return truncated(reply, 3000) if len(tiny.sent("GetObject")) < 3 else reply

        tiny.put("b/k", bodies[0])
        tiny.on("GetObject", answer)
        assert await s3.get_ranges("b/k", [(0, 10_000)]) == [bodies[2]]
