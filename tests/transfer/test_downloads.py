"""Downloads: where a body ends, what is left of a range, what ``progress`` is told and may raise, what undoing hides.

What ``progress`` means is tested of uploads here too: it is one promise.
"""

from __future__ import annotations

import errno
import os
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from handtruck import S3Client
from handtruck.errors import ConnectionFailed, InvalidResponse, NotFound, TransferTimeout, UsageError
from handtruck.models import Progress
from tests.scripted import Reply, Request, TinyS3, client, error, serve, store, truncated

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from handtruck.transfer.progress import ProgressCallback

pytestmark = pytest.mark.anyio

PART: Final = 1000
BODY: Final = bytes(range(256)) * 14  # 3 584 bytes: three whole parts and a shorter one
OLD: Final = b"what was there before"


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)
    monkeypatch.setattr("handtruck.transfer.multipart._LOOK_AGAIN", 0)


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> Path:
    """A file that exists before it is downloaded to."""
    target = tmp_path / "target"
    target.write_bytes(OLD)
    return target


def untouched(target: Path) -> bool:
    """The file is what it was, and nothing lies beside it."""
    return target.read_bytes() == OLD and list(target.parent.iterdir()) == [target]


def ranges(tiny: TinyS3) -> list[str | None]:
    return [request.header("range") for request in tiny.sent("GetObject")]


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


def chunked(reply: Reply, *, step: int = 400, whole: bool = True) -> Reply:
    """The same answer in chunks; not ``whole``: all bytes come, but not the last chunk, and the connection ends."""
    pieces = [reply.body[start : start + step] for start in range(0, len(reply.body), step)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    head = reply.plus(("Content-Length", None), ("Transfer-Encoding", "chunked"))
    return replace(head, body=body + (b"0\r\n\r\n" if whole else b""), then="keep" if whole else "close")


def until_close(reply: Reply, sent: int | None = None) -> Reply:
    """The same answer in HTTP/1.0's way: its body ends where the connection does, for whatever reason."""
    return replace(reply, sent=sent, then="close").plus(("Content-Length", None))


def all_of(tiny: TinyS3) -> Reply:
    """A server without ranges."""
    found = tiny.objects["b/k"]
    return Reply(headers=(("ETag", found.etag),), body=found.data)


# -- Where a body ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [9, None], ids=["half", "whole"])
async def test_a_whole_object_that_ends_with_the_connection_is_not_believed(target: Path, sent: int | None) -> None:
    """Found: half an object replaced the target, because nobody can tell such a half from a whole."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY[:18])
        tiny.on("GetObject", lambda _: until_close(all_of(tiny), sent))
        with pytest.raises(InvalidResponse, match="nor anything else tells where the body ends"):
            await s3.get_file_parallel("b/k", target)
        assert untouched(target)


async def test_one_that_is_told_its_end_at_the_next_attempt(target: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda _: all_of(tiny))
        tiny.on("GetObject", lambda _: until_close(all_of(tiny), 9), nth=1)
        assert (await s3.get_file_parallel("b/k", target)).size == len(BODY)
        assert target.read_bytes() == BODY


async def test_chunks_tell_where_a_whole_object_ends(target: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda _: chunked(all_of(tiny)))
        result = await s3.get_file_parallel("b/k", target, range_step=PART)
        assert (result.size, target.read_bytes()) == (len(BODY), BODY)
        assert len(tiny.calls) == 1


async def test_chunks_that_never_end_are_no_whole_object(target: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda _: chunked(all_of(tiny), whole=False))
        with pytest.raises(ConnectionFailed):
            await s3.get_file_parallel("b/k", target, range_step=PART)
        assert untouched(target)


async def test_http_2_frames_tell_it_too(target: Path) -> None:
    """There a stream has an end of its own, and neither header need be."""

    class Body(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield BODY

    async def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=Body(), extensions={"http_version": b"HTTP/2"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        s3 = S3Client("http://peer.invalid", access_key_id="k", secret_access_key="s", client=http)
        async with s3:
            assert (await s3.get_file_parallel("b/k", target)).size == len(BODY)
    assert target.read_bytes() == BODY


# -- What is left of a range -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [7, 100, PART, 2 * PART])
@pytest.mark.parametrize("nth", [1, 2, 4])
async def test_a_range_whose_bytes_all_came_is_done(target: Path, nth: int, block: int) -> None:
    """Found: it was asked for again, as the empty range bytes=2000-1999, and 416 taken for a replaced object."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: chunked(tiny.GetObject(r, "b/k"), whole=False), nth=nth)
        await s3.get_file_parallel("b/k", target, range_step=PART, buffer_size=block)
        assert target.read_bytes() == BODY
        assert ranges(tiny) == ["bytes=0-999", "bytes=1000-1999", "bytes=2000-2999", "bytes=3000-3583"]


async def test_bytes_that_came_before_a_stall_are_all_that_is_wanted(target: Path) -> None:
    """The last chunk never comes: that is a stall of the framing, not of the range."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on(
            "GetObject",
            lambda r: replace(chunked(tiny.GetObject(r, "b/k"), whole=False), then="silence"),
            nth=2,
        )
        await s3.get_file_parallel("b/k", target, range_step=PART, timeout=httpx.Timeout(10, read=0.1))
        assert target.read_bytes() == BODY
        assert len(tiny.calls) == 4


@pytest.mark.parametrize("block", [7, PART, 2 * PART])
async def test_a_range_that_goes_on_behind_its_end_is_fetched_anew(target: Path, block: int) -> None:
    """All its bytes were written, and more came: what to believe? Never is an empty range asked for."""

    def longer(request: Request) -> Reply:
        reply = tiny.GetObject(request, "b/k")
        return chunked(replace(reply, body=reply.body + b"x"), step=1)

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", longer, nth=2)
        await s3.get_file_parallel("b/k", target, range_step=PART, buffer_size=block)
        assert target.read_bytes() == BODY
        assert ranges(tiny)[1:3] == ["bytes=1000-1999", "bytes=1000-1999"]


# -- What progress raises ----------------------------------------------------------------------------------------------

CALLERS_ERRORS: Final[list[Callable[[], Exception]]] = [
    lambda: httpx.ConnectError("mine"),
    lambda: httpx.ReadTimeout("mine"),
    lambda: httpx.InvalidURL("mine"),
    lambda: ConnectionFailed("mine"),
    lambda: TransferTimeout("mine"),
    lambda: InvalidResponse("mine"),
    lambda: NotFound("mine", status=404, code="NoSuchKey", message="mine", bucket="b", key="k", operation="GetObject"),
    lambda: UsageError("mine"),
    lambda: OSError(errno.EIO, "mine"),
    lambda: ZeroDivisionError("mine"),
    lambda: ExceptionGroup("mine", [httpx.ReadError("mine")]),
]


def raising(failure: Exception, *, cause: Exception | None = None, after: int = 0) -> ProgressCallback:
    """A callback that raises once, when ``after`` calls went well."""
    calls: list[Progress] = []

    def progress(told: Progress) -> None:
        calls.append(told)
        if len(calls) == after + 1:
            raise failure from cause

    return progress


async def put_stream(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.put_multipart("b/new", [BODY], part_size=PART, workers_count=3, **options)


async def put_small_stream(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.put_multipart("b/new", [BODY], **options)


async def put_file(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.put_file_multipart("b/new", target, part_size=7, workers_count=2, **options)


async def get_file(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=3, **options)


async def get_whole(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.get_file_parallel("b/k", target, range_step=2 * len(BODY), **options)


async def get_nothing(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.get_file_parallel("b/empty", target, **options)


TRANSFERS: Final = [put_stream, put_small_stream, put_file, get_file, get_whole, get_nothing]


@pytest.mark.parametrize("make", CALLERS_ERRORS, ids=lambda make: type(make()).__name__)
@pytest.mark.parametrize("transfer", TRANSFERS, ids=lambda transfer: transfer.__name__)
async def test_what_progress_raises_comes_out_as_it_is(
    target: Path, transfer: Callable[..., Awaitable[object]], make: Callable[[], Exception]
) -> None:
    """Found: in a download an httpx error, or one of ours, was taken for a broken answer, and asked again."""
    failure, cause = make(), KeyError("why")
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.put("b/empty", b"")
        with pytest.raises(type(failure)) as caught:
            await transfer(s3, target, progress=raising(failure, cause=cause))
        assert caught.value is failure
        assert failure.__cause__ is cause
        assert failure.__context__ is None
        assert traceback.extract_tb(failure.__traceback__)[-1].name == "progress"
        assert tiny.uploads == {}
        asked = ranges(tiny)
        assert sorted(set(map(str, asked))) == sorted(map(str, asked))  # nothing was asked for again
        if transfer in (get_file, get_whole, get_nothing):
            assert untouched(target)
        else:
            assert target.read_bytes() == OLD


async def test_an_error_of_progress_is_not_chained_to_an_answer_that_broke_off(target: Path) -> None:
    """What came of it is written, and told, when it broke off; the caller's own error is all there is to say."""
    failure = httpx.ReadError("mine")
    told: list[int] = []

    async with store() as (s3, tiny):

        def progress(_: Progress) -> None:
            told.append(len(tiny.calls))
            raise failure

        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda r: truncated(tiny.GetObject(r, "b/k"), 300))
        with pytest.raises(httpx.ReadError) as caught:
            # One worker: of two, both may break off and fail, and the second would be a note on the first.
            await s3.get_file_parallel("b/k", target, range_step=len(BODY), workers_count=1, progress=progress)
        assert caught.value is failure
        assert (failure.__cause__, failure.__context__, notes(failure)) == (None, None, "")
        # Nothing is asked for after it. (Before it there may be several: a broken answer may bring no byte at all.)
        assert told == [len(tiny.calls)]


async def test_errors_of_progress_in_two_workers(target: Path) -> None:
    """One comes out, the other is its note, under its own name. Which one, depends on whose answer is closed sooner."""
    both = (httpx.ConnectError("mine"), httpx.ReadError("mine, too"))

    def progress(told: Progress) -> None:
        raise both[told.done > PART]

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(httpx.TransportError) as caught:
            await get_file(s3, target, progress=progress)
        assert caught.value in both
        assert "CallbackFailed" not in notes(caught.value)
        assert untouched(target)


# -- What progress is told ---------------------------------------------------------------------------------------------


async def told_by(transfer: Callable[..., Awaitable[object]], s3: S3Client, target: Path) -> list[Progress]:
    told: list[Progress] = []
    await transfer(s3, target, progress=told.append)
    return told


async def put_nothing(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.put_multipart("b/new", [], **options)


async def put_empty_bytes(s3: S3Client, target: Path, **options: Any) -> object:
    return await s3.put_multipart("b/new", b"", **options)


async def put_async_stream(s3: S3Client, target: Path, **options: Any) -> object:
    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 77):
            yield BODY[start : start + 77]

    return await s3.put_multipart("b/new", blocks(), part_size=PART, workers_count=3, **options)


async def put_exact_parts(s3: S3Client, target: Path, **options: Any) -> object:
    def blocks() -> Iterator[bytes]:
        yield from (bytes(PART),) * 3

    return await s3.put_multipart("b/new", blocks(), part_size=PART, workers_count=2, **options)


@pytest.mark.parametrize(
    "transfer", [*TRANSFERS, put_nothing, put_async_stream, put_exact_parts], ids=lambda transfer: transfer.__name__
)
async def test_the_last_word_is_that_all_is_done(target: Path, transfer: Callable[..., Awaitable[object]]) -> None:
    """Found: of a stream the total was never told, and nothing at all of a download of nothing."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.put("b/empty", b"")
        told = await told_by(transfer, s3, target)
        done = [progress.done for progress in told]
        assert done == sorted(set(done))
        assert told[-1].total == told[-1].done


@pytest.mark.parametrize("transfer", [get_nothing, put_nothing, put_empty_bytes])
async def test_nothing_is_told_once(target: Path, transfer: Callable[..., Awaitable[object]]) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/empty", b"")
        assert await told_by(transfer, s3, target) == [Progress(done=0, total=0)]


async def test_nothing_as_200_is_told_once(target: Path) -> None:
    async with store() as (s3, tiny):
        tiny.on("GetObject", Reply())
        assert await told_by(get_nothing, s3, target) == [Progress(done=0, total=0)]
        tiny.on("GetObject", chunked(Reply()))
        assert await told_by(get_nothing, s3, target) == [Progress(done=0, total=0)]


@pytest.mark.parametrize("content", [BODY, bytearray(BODY), memoryview(BODY), memoryview(BODY).cast("I")])
async def test_the_length_of_bytes_is_told_from_the_beginning(content: bytes | bytearray | memoryview) -> None:
    told: list[Progress] = []
    async with store() as (s3, tiny):
        await s3.put_multipart("b/new", content, part_size=PART, progress=told.append)
        assert tiny.objects["b/new"].data == BODY
    assert [progress.total for progress in told] == [len(BODY)] * 4


@pytest.mark.parametrize("block", [1, 400, 2 * len(BODY)])
async def test_the_length_of_chunks_is_told_at_their_end(target: Path, block: int) -> None:
    told: list[Progress] = []
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda _: chunked(all_of(tiny)))
        await s3.get_file_parallel("b/k", target, buffer_size=block, progress=told.append)
    done = [progress.done for progress in told]
    assert done == sorted(done)
    assert done[-1] == len(BODY)
    assert [progress.total for progress in told] == [None] * (len(told) - 1) + [len(BODY)]


async def test_a_whole_object_that_breaks_off_behind_its_last_byte(target: Path) -> None:
    """Sent again it brings nothing new; that it ended is new all the same."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", lambda _: chunked(all_of(tiny)))
        tiny.on("GetObject", lambda _: chunked(all_of(tiny), whole=False), nth=1)
        told = await told_by(get_whole, s3, target)
    assert told[-1] == Progress(done=len(BODY), total=len(BODY))


async def test_an_object_replaced_by_a_shorter_one_between_two_whole_answers(target: Path) -> None:
    """The only case in which progress goes back: what had come is worth nothing."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY[:100])
        tiny.on("GetObject", lambda _: all_of(tiny))
        tiny.on("GetObject", truncated(Reply(headers=(("ETag", '"v1"'),), body=BODY), 900), nth=1)
        told = await told_by(get_whole, s3, target)
        assert target.read_bytes() == BODY[:100]
    assert told[-1] == Progress(done=100, total=100)


# -- What undoing hides ------------------------------------------------------------------------------------------------


async def test_a_part_file_that_cannot_be_removed_hides_no_error(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found: the EACCES of the clean-up was all that one got to see."""

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "unlink", denied)
    async with serve(error(404, "NoSuchKey")) as peer, client(peer) as s3:
        with pytest.raises(NotFound) as caught:
            await s3.get_file_parallel("b/k", target)
    (part,) = (path for path in target.parent.iterdir() if path != target)
    assert notes(caught.value) == f"handtruck: the unfinished {part} remains: Permission denied"
    assert target.read_bytes() == OLD


async def test_a_cancellation_says_so_too(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import anyio

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "unlink", denied)
    said: list[str] = []
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with anyio.CancelScope() as scope:
            try:
                await get_file(s3, target, progress=lambda _: scope.cancel())
            except anyio.get_cancelled_exc_class() as cancelled:
                said.append(notes(cancelled))
                raise
    assert scope.cancelled_caught
    assert ".part remains: Permission denied" in said[0]
