"""Streams: one answer, as it comes, as long as it was promised to be."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import httpx2
import pytest
from anyio.lowlevel import checkpoint

from handtruck import ObjectStream
from handtruck.errors import ConnectionFailed, InvalidResponse, NotFound, S3Error, TransferTimeout, UsageError
from tests.scripted import RESET, SILENCE, Reply, Request, TinyS3, client, error, serve, store, truncated
from tests.transfer.cancelling import (
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    OBJECT,
    ON_EVERY_LOOP,
    Job,
    JobWorld,
    at_every_checkpoint,
    marked_only,
    when_every_request_fails,
    world_of,
)
from tests.transfer.reading import BLOCK, after_cancellation, after_failure, reading, whole

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.transfer.checkpoints import InlineThreads, Way

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small_windows")]

BODY: Final = bytes(range(251)) * 40  # 10 040 bytes


def chunked(reply: Reply, *, whole: bool = True) -> Reply:
    """The same answer in chunks; not ``whole``: the last one does not come."""
    pieces = [reply.body[start : start + 700] for start in range(0, len(reply.body), 700)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    headers = (*reply.headers, ("Content-Length", None), ("Transfer-Encoding", "chunked"))
    end = b"0\r\n\r\n" if whole else b""
    return Reply(status=reply.status, headers=headers, body=body + end, then="keep" if whole else "close")


# -- What comes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("byte_range", "asked", "start", "stop"),
    [
        (None, None, 0, len(BODY)),
        ((0, None), None, 0, len(BODY)),
        ((0, 10), "bytes=0-9", 0, 10),
        ((1000, None), "bytes=1000-", 1000, len(BODY)),
        ((1000, 9000), "bytes=1000-8999", 1000, 9000),
        ((len(BODY) - 1, 10**15), f"bytes={len(BODY) - 1}-{10**15 - 1}", len(BODY) - 1, len(BODY)),
    ],
)
async def test_a_part_of_it(
    byte_range: tuple[int, int | None] | None, asked: str | None, start: int, stop: int
) -> None:
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY, content_type="text/x", x_amz_meta_a="b")
        tiny.on("GetObject", partial(open_ended, tiny))
        async with s3.stream("b/k", byte_range=byte_range) as answer:
            assert (answer.size, answer.start, answer.stop) == (len(BODY), start, stop)
            assert (answer.etag, answer.content_type, answer.metadata) == (etag, "text/x", {"a": "b"})
            assert answer.headers["etag"] == etag
            assert await answer.read() == BODY[start:stop]
            assert await answer.read() == await answer.read(7) == b""
            assert s3._session.places.taken == 0  # with its last byte its place is free
        assert [request.header("range") for _, request in tiny.calls] == [asked]


def open_ended(tiny: TinyS3, request: Request) -> Reply:
    """The ordinary answer; this small S3 knows no ranges without an end."""
    request.headers = [
        (
            name,
            value + str(len(tiny.objects["b/k"].data) - 1) if name.lower() == "range" and value[-1] == "-" else value,
        )
        for name, value in request.headers
    ]
    reply = tiny.GetObject(request, "b/k")
    request.headers = [
        (name, f"bytes={value[6:].partition('-')[0]}-" if value.endswith(f"-{len(BODY) - 1}") else value)
        for name, value in request.headers
    ]
    return reply


@pytest.mark.parametrize("answer", [whole, lambda tiny, r: chunked(whole(tiny, r))], ids=["length", "chunks"])
async def test_every_way_to_read_it(answer: Callable[[TinyS3, Request], Reply]) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", partial(answer, tiny))
        async with s3.stream("b/k") as stream:
            got = [await stream.read(10), await stream.read(0), await anext(stream)]
            assert got == [BODY[:10], b"", BODY[10 : 10 + BLOCK]]
            buffer = bytearray(3000)
            assert await stream.readinto(memoryview(buffer)[1000:]) == 2000
            assert buffer == bytes(1000) + BODY[1510:3510]
            assert await stream.readinto(bytearray()) == 0
            blocks = [block async for block in stream]
            assert b"".join(blocks) == BODY[3510:]
            assert {len(block) for block in blocks[:-1]} == {BLOCK}
            assert await stream.readinto(buffer) == 0
            assert stream.size == stream.stop == len(BODY)


@pytest.mark.parametrize("byte_range", [None, (0, 5), (0, None)])
async def test_an_empty_object(byte_range: tuple[int, int | None] | None) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", b"", content_type="text/x")
        async with s3.stream("b/k", byte_range=byte_range) as stream:
            assert (stream.size, stream.start, stream.stop, stream.content_type) == (0, 0, 0, "text/x")
            assert await stream.read() == b""
            assert [block async for block in stream] == []


async def test_behind_the_end() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(S3Error) as caught:
            async with s3.stream("b/k", byte_range=(len(BODY), len(BODY) + 1)):
                pytest.fail("entered")
        assert caught.value.status == 416


async def test_errors_come_when_it_is_entered() -> None:
    async with store() as (s3, tiny):
        with pytest.raises(NotFound, match="NoSuchKey"):
            async with s3.stream("b/k"):
                pytest.fail("entered")
        tiny.on("GetObject", error(503, "SlowDown"))
        tiny.put("b/k", BODY)
        with pytest.raises(S3Error, match="4 attempts"):
            async with s3.stream("b/k"):
                pytest.fail("entered")
        assert s3._session.places.taken == 0


async def test_its_head_is_asked_for_again() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", error(503, "SlowDown"), nth=1)
        tiny.on("GetObject", RESET, nth=2)
        async with s3.stream("b/k") as stream:
            assert await stream.read() == BODY
        assert len(tiny.calls) == 3


# -- What does not come ------------------------------------------------------------------------------------------------


async def cut_short(reply: Callable[[TinyS3], Reply], kind: type[Exception]) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda _: reply(tiny))
        async with s3.stream("b/k") as stream:
            assert await stream.read(2000) == BODY[:2000]
            with pytest.raises(kind, match="GetObject b/k") as caught:
                await stream.read()
            for _ in range(2):  # it does not become better
                with pytest.raises(kind):
                    await stream.readinto(bytearray(1))
                with pytest.raises(kind):
                    await anext(stream)
        if isinstance(caught.value, ConnectionFailed):
            assert "authorization" not in caught.value.request.headers
        assert len(tiny.calls) == 1  # what the caller has cannot be taken back: nothing is asked for again
        assert s3._session.places.taken == 0


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_body_that_breaks_off(then: Any) -> None:
    await cut_short(lambda _: truncated(Reply(body=BODY), 5000, then), ConnectionFailed)


async def test_chunks_that_never_end() -> None:
    await cut_short(lambda _: chunked(Reply(body=BODY), whole=False), ConnectionFailed)


async def test_a_stall() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", Reply(body=BODY, sent=5000, then="silence"))
        async with s3.stream("b/k", timeout=httpx.Timeout(10, read=0.05)) as stream:
            with pytest.raises(TransferTimeout):
                await stream.read()
        tiny.on("GetObject", SILENCE)
        with pytest.raises(TransferTimeout):
            async with s3.stream("b/k", timeout=httpx.Timeout(10, read=0.01)):
                pytest.fail("entered")


def part(start: int, stop: int, total: int | str, body: bytes, status: int = 206) -> Reply:
    return Reply(status=status, headers=(("Content-Range", f"bytes {start}-{stop - 1}/{total}"),), body=body)


@pytest.mark.parametrize(
    ("byte_range", "reply"),
    [
        ((5, 10), Reply(body=BODY)),
        ((5, None), Reply(body=BODY)),
        ((0, 10), Reply(body=BODY)),
        ((0, 10), chunked(Reply(body=BODY[:5]))),
        ((5, 10), Reply(status=206, body=BODY[5:10])),
        (None, Reply(status=206, body=BODY)),
        ((5, 10), part(6, 10, 100, BODY[6:10])),
        ((5, 10), part(5, 9, 100, BODY[5:9])),
        ((5, 10), part(5, 11, 100, BODY[5:11])),
        ((5, None), part(5, 11, 100, BODY[5:11])),
        ((5, None), part(5, 11, "*", BODY[5:11])),
        ((5, 10), part(5, 10, 100, BODY[5:11])),
        ((5, 10), Reply(status=206, headers=(("Content-Range", "nonsense"),), body=BODY[5:10])),
        (None, part(1, 10, 10, BODY[1:10], status=200)),
        (None, Reply(body=BODY, headers=(("Content-Length", None),), then="close")),
        (None, chunked(Reply(body=BODY, headers=(("Content-Encoding", "gzip"),)))),
    ],
)
async def test_answers_to_another_question(byte_range: Any, reply: Reply) -> None:
    """Asked again, like any answer that makes no sense; nothing of it is shown."""
    async with serve(reply) as peer, client(peer) as s3:
        with pytest.raises(InvalidResponse, match="GetObject b/k"):
            async with s3.stream("b/k", byte_range=byte_range):
                pytest.fail("entered")
        assert len(peer.requests) == s3._session.max_attempts


@pytest.mark.parametrize(
    ("byte_range", "reply", "size"),
    [
        ((5, 10), part(5, 10, 100, BODY[5:10], status=200), 100),  # rclone's way
        ((5, 10), part(5, 10, "*", BODY[5:10]), None),
        ((5, 10), part(5, 8, 8, BODY[5:8]), 8),
        ((5, 10), chunked(part(5, 10, 100, BODY[5:10])), 100),
        ((5, 10), chunked(part(5, 10, 100, BODY[5:10]), whole=False), 100),
        ((0, 10), Reply(body=BODY[:10]), 10),
        ((0, 10), Reply(body=BODY[:5]), 5),
        ((0, None), part(0, 10, 10, BODY[:10]), 10),
    ],
)
async def test_answers_in_other_words(byte_range: Any, reply: Reply, size: int | None) -> None:
    async with serve(reply) as peer, client(peer) as s3:
        async with s3.stream("b/k", byte_range=byte_range) as stream:
            assert stream.size == size
            assert stream.stop is not None
            assert await stream.read() == BODY[byte_range[0] : stream.stop]
            assert await stream.read() == b""
        assert len(peer.requests) == 1


async def longer() -> None:
    """More bytes than the Content-Range promises; httpx and we cut off what a Content-Length does not."""
    async with serve(chunked(part(5, 10, 100, BODY[5:12]))) as peer, client(peer) as s3:  # noqa: SIM117
        async with s3.stream("b/k", byte_range=(5, 10)) as stream:
            assert await stream.read(5) == BODY[5:10]
            with pytest.raises(InvalidResponse, match="longer than the 5 bytes"):
                await stream.read(1)


async def test_more_than_was_promised() -> None:
    await longer()


async def test_mutation_the_end_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(stream: ObjectStream) -> None:
        await checkpoint()

    monkeypatch.setattr(ObjectStream, "_nothing", nothing)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await longer()


async def test_mutation_errors_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then a body that broke off looks as if it had come to its end."""
    monkeypatch.setattr(ObjectStream, "_failed", property(lambda _: None, lambda *_: None), raising=False)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await test_a_body_that_breaks_off("close")


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
async def test_through_a_callers_client(library: Any) -> None:
    async with serve(truncated(Reply(body=BODY), 5000)) as peer, library.AsyncClient(trust_env=False) as http:
        s3 = client(peer, client=http)
        async with s3.stream("b/k") as stream:
            assert await stream.read(2000) == BODY[:2000]
            with pytest.raises(ConnectionFailed):
                await stream.read()
            with pytest.raises(ConnectionFailed):
                await stream.read()
        peer.handler = partial(_ordinary, Reply(body=BODY))
        async with s3.stream("b/k") as stream:
            assert await anext(stream) == BODY[:BLOCK]
        async with s3.stream("b/k") as stream:
            assert await stream.read() == BODY


async def _ordinary(reply: Reply, _: Request) -> Reply:
    return reply


# -- How it is used ----------------------------------------------------------------------------------------------------


async def test_out_of_the_block() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        stream = s3.stream("b/k")
        with pytest.raises(UsageError, match="inside its"):
            await stream.read()
        with pytest.raises(UsageError, match="inside the"):
            _ = stream.headers
        async with stream:
            await stream.read(10)
        for call in (stream.read, stream.__anext__, partial(stream.readinto, bytearray(1))):
            with pytest.raises(UsageError, match="inside its"):
                await call()
        with pytest.raises(UsageError, match="entered once"):
            async with stream:
                pytest.fail("entered")
        assert stream.size == len(BODY)


async def test_it_holds_a_place_and_gives_it_back() -> None:
    async with store(max_connections=1) as (s3, tiny):
        tiny.put("b/k", BODY)
        async with s3.stream("b/k") as stream:
            assert s3._session.places.taken == 1
            with anyio.move_on_after(0.01) as scope:
                await s3.get("b/k")
            assert scope.cancelled_caught
            await stream.read()
            assert (await s3.get("b/k")).content == BODY
        async with s3.stream("b/k"):
            pass
        assert s3._session.places.taken == 0
        assert (await s3.get("b/k")).content == BODY


async def test_a_cancelled_read_breaks_it() -> None:
    """What it had received is lost, and is not left out silently."""
    async with serve(Reply(body=BODY, sent=5000, then="silence")) as peer, client(peer) as s3:  # noqa: SIM117
        async with s3.stream("b/k") as stream:
            with anyio.move_on_after(0.01) as scope:
                await stream.read()
            assert scope.cancelled_caught
            with pytest.raises(UsageError, match="cancelled in the middle"):
                await stream.read(1)


async def test_two_readers_at_once() -> None:
    async with serve(Reply(body=BODY, sent=5000, then="silence")) as peer, client(peer) as s3:  # noqa: SIM117
        async with s3.stream("b/k") as stream, anyio.create_task_group() as group:
            group.start_soon(stream.read)
            await checkpoint()
            await checkpoint()
            for call in (stream.read, stream.__anext__, partial(stream.readinto, bytearray(1))):
                with pytest.raises(anyio.BusyResourceError, match="reading from"):
                    await call()
            group.cancel_scope.cancel()


@pytest.mark.parametrize("byte_range", [(-1, 5), (5, 5), (6, 5), (0, 0), (-5, None)])
async def test_ranges_that_are_none(byte_range: tuple[int, int | None]) -> None:
    async with store() as (s3, tiny):
        with pytest.raises(UsageError, match="byte_range must be"):
            s3.stream("b/k", byte_range=byte_range)
        with pytest.raises(UsageError, match="use byte_range="):
            s3.stream("b/k", headers={"range": "bytes=0-1"})
        with pytest.raises(UsageError, match="names no object"):
            s3.stream("b/")
        assert not tiny.calls


async def test_headers_go_along() -> None:
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY)
        async with s3.stream("b/k", headers={"If-Match": etag, "x-amz-request-payer": "requester"}) as stream:
            assert await stream.read() == BODY
        assert tiny.calls[0][1].header("x-amz-request-payer") == "requester"
        with pytest.raises(S3Error) as caught:
            async with s3.stream("b/k", headers={"If-Match": '"other"'}):
                pytest.fail("entered")
        assert caught.value.status == 412


# -- Cancelled at every checkpoint, failing at every request -----------------------------------------------------------


async def _all(here: JobWorld) -> None:
    async with here.client.stream(OBJECT) as stream:
        assert await stream.read() == DATA


async def _blocks_of_a_part(here: JobWorld) -> None:
    async with here.client.stream(OBJECT, byte_range=(1000, 9000)) as stream:
        assert b"".join([block async for block in stream]) == DATA[1000:9000]


async def _left_in_the_middle(here: JobWorld) -> None:
    async with here.client.stream(OBJECT) as stream:
        assert await stream.read(1000) == DATA[:1000]
        await checkpoint()


async def _with_requests_inside(here: JobWorld) -> None:
    async with here.client.stream(OBJECT) as stream:
        assert await stream.read(10) == DATA[:10]
        async with here.client.stream(OBJECT, byte_range=(5, 50)) as other:
            assert await other.read() == DATA[5:50]
        assert await stream.read() == DATA[10:]


JOBS: Final = [
    reading("stream, read to the end", _all),
    reading("stream, iterate over a part", _blocks_of_a_part),
    reading("stream, left in the middle", _left_in_the_middle),
    reading("stream, one in the other", _with_requests_inside),
]
EVERY_JOB: Final = pytest.mark.parametrize("job", JOBS, ids=str)


@EVERY_JOB
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    points, wrong = await at_every_checkpoint(
        partial(world_of, job, tmp_path, threads), job.call, way, after_cancellation
    )
    assert not wrong
    assert points > 10


@EVERY_JOB
@ON_EVERY_LOOP
async def test_every_request_fails(job: Job, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way: that once, each time that it is tried again, or with all that follow."""
    _, wrong = await when_every_request_fails(partial(world_of, job, tmp_path, threads), job.call, after_failure)
    assert not wrong


@BY_ITS_OWN_SCOPE
async def test_mutation_the_answer_is_not_closed(
    way: Way, tmp_path: Path, threads: InlineThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpx.Response, "aclose", marked_only)
    world = partial(world_of, JOBS[2], tmp_path, threads)
    _, wrong = await at_every_checkpoint(world, JOBS[2].call, way, after_cancellation, stride=3)
    assert [text for text in wrong if text.startswith("answer")]


async def test_whoever_is_cancelled_hears_of_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child may be first to be cancelled, and closes the connection under a read that is about to begin."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with anyio.CancelScope() as scope:
            async with s3.stream("b/k") as stream:
                scope.cancel()
                monkeypatch.setattr(stream, "_reader", _Closed())
                with pytest.raises(anyio.get_cancelled_exc_class()):
                    await stream.read()
                await checkpoint()
        assert scope.cancelled_caught


class _Closed:
    async def readinto(self, _: memoryview) -> int:
        raise httpx.StreamClosed
