"""Readers before servers that send an object only as a whole: what was passed cannot be asked for again."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint

from handtruck.errors import ConnectionFailed, InvalidResponse, PreconditionFailed, UsageError
from handtruck.transfer.window import Flow
from tests.scripted import Reply, Request, TinyS3, store, truncated
from tests.transfer.reading import BODY, OPENING, PART, RANGES, turns, weak, whole

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small_windows")]

NOT_IN_RANGES: Final = pytest.mark.parametrize("answer", [weak, whole], ids=["weak", "ignored"])


@NOT_IN_RANGES
async def test_an_object_that_comes_only_as_a_whole(answer: Callable[[TinyS3, Request], Reply]) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(answer, tiny))
        async with s3.open("b/k", **RANGES) as file:
            assert (file.size, file.content_type) == (len(BODY), None)
            assert await file.read(10) == BODY[:10]
            file.seek(5)
            assert await file.read(20) == BODY[5:25]  # it is still there
            file.seek(40_000)
            assert await file.read(20_000) == BODY[40_000:60_000]
            for back in (partial(file.seek, 0), partial(file.seek, -40_000, io.SEEK_CUR)):
                with pytest.raises(UsageError, match="only from its beginning to its end"):
                    back()
            assert file.tell() == 60_000
            assert b"".join([block async for block in file]) == BODY[60_000:]
            assert file.seek(0, io.SEEK_END) == len(BODY)
        assert len(tiny.calls) == 2
        assert s3._session.places.taken == 0


@NOT_IN_RANGES
async def test_a_small_one_comes_in_one_request(answer: Callable[[TinyS3, Request], Reply]) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY[:OPENING])
        tiny.on("GetObject", partial(answer, tiny))
        async with s3.open("b/k", **RANGES) as file:
            assert await file.read() == BODY[:OPENING]
            file.seek(3)
            assert await file.read(4) == BODY[3:7]
        assert len(tiny.calls) in (1, 2)


async def test_as_a_whole_in_bounded_memory() -> None:
    """The rest waits in the socket."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(whole, tiny))
        async with s3.open("b/k", **RANGES) as file:
            await turns()
            assert file._memory.taken == 3
            assert isinstance(file._supply, Flow)
            assert file._supply._received == 3 * PART
            assert await file.read() == BODY


async def test_a_whole_that_breaks_off() -> None:
    """What came is given; the rest is not asked for again, because nothing ties it to that."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: truncated(whole(tiny, r), 30_000))
        async with s3.open("b/k", **RANGES) as file:
            assert await file.read(30_000) == BODY[:30_000]
            for _ in range(2):
                with pytest.raises(ConnectionFailed):
                    await file.read(1)
        assert len(tiny.calls) == 2


async def test_a_cancelled_read_of_a_whole_cannot_go_back() -> None:
    """Nothing is lost silently."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: Reply(headers=whole(tiny, r).headers, body=BODY, sent=60_000, then="silence"))
        async with s3.open("b/k", **RANGES) as file:
            async with anyio.create_task_group() as group:
                group.start_soon(file.read)
                while file._position < 50_000:
                    await checkpoint()
                group.cancel_scope.cancel()
            assert file.tell() == 0
            with pytest.raises(UsageError, match="only from its beginning to its end"):
                await file.read(1)


async def test_without_a_length() -> None:
    """In chunks, from a server without ranges: the size is known at the end."""

    def chunked(request: Request) -> Reply:
        body = b"".join(b"%x\r\n%s\r\n" % (len(BODY[i : i + 700]), BODY[i : i + 700]) for i in range(0, len(BODY), 700))
        return Reply(headers=(("Content-Length", None), ("Transfer-Encoding", "chunked")), body=body + b"0\r\n\r\n")

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", chunked)
        async with s3.open("b/k", **RANGES) as file:
            assert file.size is None
            with pytest.raises(UsageError, match="does not tell how long"):
                file.seek(0, io.SEEK_END)
            assert await file.read() == BODY
            assert file.size == len(BODY)
            assert await file.read() == b""


@pytest.mark.parametrize("size", [OPENING - 1, OPENING + 1])
async def test_one_that_nothing_ties_is_replaced_while_it_breaks_off(size: int) -> None:
    """Its beginning was not shown before all of it was there."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY[: OPENING - 1])

        def cut(request: Request) -> Reply:
            reply = truncated(weak(tiny, request), 2000)
            tiny.put("b/k", BODY[::-1][:size])
            return reply

        tiny.on("GetObject", partial(weak, tiny))
        tiny.on("GetObject", cut, nth=1)
        async with s3.open("b/k", **RANGES) as file:
            with pytest.raises((PreconditionFailed, InvalidResponse)):
                await file.read(1)
