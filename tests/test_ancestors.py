"""What the ancestors of this design got wrong, one named test for each defect; docstrings quote the defect.

Five of them are about credentials and stand beside their sources: see :data:`ELSEWHERE`.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.from_thread
import pytest

from handtruck.errors import AccessDenied, ConnectionFailed, InvalidResponse, NotFound, S3Error
from handtruck.transfer.files import PositionalFile
from tests.scripted import SILENCE, Peer, Reply, client, completed_in_200, error, etag_of, serve, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from tests.scripted import Request

    Job = Callable[[], Coroutine[Any, Any, object]]
    Cancel = Callable[[Job, Job], Coroutine[Any, Any, None]]

pytestmark = pytest.mark.anyio

PART: Final = 1000
BODY: Final = bytes(range(256)) * 14
OLD: Final = b"what was there before"

ELSEWHERE: Final = {
    "test_metadata.py": ["stop_hangs"],
    "test_chain.py": ["a_token_of_one_source_glued_to_anothers_keys"],
    "test_files.py": ["profile_name_not_read_from_the_config_file", "aws_session_token_ignored"],
    "test_static.py": ["environment_read_at_import"],
}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.write_bytes(OLD)
    return target


def on_asyncio() -> bool:
    try:
        return bool(asyncio.get_running_loop())
    except RuntimeError:
        return False


def tasks_alive(peer: Peer) -> int:
    """Tasks of this event loop, but for the peer's: one for each connection."""
    if on_asyncio():
        return len(asyncio.all_tasks()) - peer.open
    import trio

    return trio.lowlevel.current_statistics().tasks_living - peer.open


async def cancelled_natively(job: Job, when: Job) -> None:
    """Run a job and cancel it as asyncio does, by an edge and not by a scope."""
    task = asyncio.ensure_future(job())
    await when()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def cancelled(job: Job, when: Job) -> None:
    """Run a job and cancel the scope around it."""
    async with anyio.create_task_group() as group:
        group.start_soon(job)
        await when()
        group.cancel_scope.cancel()


def ways_to_cancel() -> list[Cancel]:
    return [cancelled, cancelled_natively] if on_asyncio() else [cancelled]


class HeldWrite:
    """One write of a download that stays in its worker thread until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
        self.begun = anyio.Event()
        self.go_on = threading.Event()
        self.descriptors: list[int] = []
        self.log: list[str] = []
        write = PositionalFile.write

        def held(file: PositionalFile, view: memoryview, at: int) -> None:
            self.descriptors.append(file.descriptor)
            if at == offset:
                anyio.from_thread.run_sync(self.begun.set)
                assert self.go_on.wait(10)
            write(file, view, at)
            self.log.append("written")

        monkeypatch.setattr(PositionalFile, "write", held)


async def test_a_failed_parallel_download_goes_on_writing_into_a_reused_file_descriptor(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defect: "A failed parallel download goes on writing into a reused file descriptor"."""
    held = HeldWrite(monkeypatch, offset=PART)

    async def fail(request: Request) -> Reply | None:
        if request.header("range") != "bytes=2000-2999":
            return None
        await held.begun.wait()
        return error(404, "NoSuchKey")

    async def fetch() -> None:
        with pytest.raises(NotFound):
            await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=2)
        held.log.append("returned")

    async with store() as (s3, tiny), anyio.create_task_group() as group:
        tiny.put("b/k", BODY)
        tiny.on("GetObject", fail)
        group.start_soon(fetch)
        await held.begun.wait()
        await tiny.peer.until(lambda: len(tiny.calls) == 3 and tiny.peer.busy == 0)
        await anyio.wait_all_tasks_blocked()
        assert "returned" not in held.log
        held.go_on.set()
    assert_nothing_writes_any_more(held, target)


async def test_a_cancelled_parallel_download_goes_on_writing_into_a_reused_file_descriptor(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same defect, met by cancellation, of both kinds."""
    for cancel in ways_to_cancel():
        with monkeypatch.context() as patch:
            await check_a_cancelled_download_waits_for_its_threads(cancel, target, HeldWrite(patch, offset=PART))


async def check_a_cancelled_download_waits_for_its_threads(cancel: Cancel, target: Path, held: HeldWrite) -> None:
    async def fetch() -> None:
        try:
            await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=2)
        finally:
            held.log.append("returned")

    async with store() as (s3, tiny), anyio.create_task_group() as group:
        tiny.put("b/k", BODY)
        group.start_soon(cancel, fetch, held.begun.wait)
        await held.begun.wait()
        await anyio.wait_all_tasks_blocked()
        assert "returned" not in held.log
        held.go_on.set()
    assert_nothing_writes_any_more(held, target)


def assert_nothing_writes_any_more(held: HeldWrite, target: Path) -> None:
    assert held.log[-1] == "returned"
    assert held.log.count("returned") == 1
    [descriptor] = set(held.descriptors)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert target.read_bytes() == OLD
    assert list(target.parent.iterdir()) == [target]


async def test_complete_200_with_an_error_taken_for_success() -> None:
    """Defect: "Complete 200+`<Error>` taken for success"."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", completed_in_200("InternalError"))
        with pytest.raises(S3Error, match="InternalError"):
            await s3.put_multipart("b/k", BODY, part_size=PART)
        assert tiny.objects == {}


async def test_nothing_ever_aborted() -> None:
    """Defect: "nothing ever aborted"."""

    def blocks() -> Iterator[bytes]:
        yield BODY
        raise ZeroDivisionError

    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"), nth=2)
        with pytest.raises(AccessDenied):
            await s3.put_multipart("b/k", BODY, part_size=PART)
        assert tiny.uploads == {}
        with pytest.raises(ZeroDivisionError):
            await s3.put_multipart("b/k", blocks(), part_size=PART)
        assert tiny.uploads == {}
        assert tiny.names.count("CreateMultipartUpload") == 2


async def test_403_retried() -> None:
    """Defect: "403 retried"."""
    async with serve(error(403, "AccessDenied")) as peer, client(peer) as s3:
        assert (await s3.get("b/k")).status_code == 403
        assert len(peer.requests) == 1


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'])
async def test_listings_drop_objects_without_storage_class_or_xmlns(namespace: str) -> None:
    """Defect: "listings drop objects without StorageClass or xmlns"."""
    rows = (
        "<Contents><Key>bare</Key></Contents>"
        "<Contents><Key>full</Key><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )
    page = Reply(body=f"<ListBucketResult{namespace}>{rows}</ListBucketResult>".encode())
    async with serve(page) as peer, client(peer) as s3:
        [listed] = [each async for each in s3.list_objects_v2("b")]
        assert [(obj.key, obj.storage_class) for obj in listed] == [("bare", None), ("full", "STANDARD")]


async def test_a_page_that_parses_to_nothing_ends_the_listing() -> None:
    """Defect: "a page that parses to nothing ends the listing"."""
    first = "<ListBucketResult>{}<NextContinuationToken>{}</NextContinuationToken></ListBucketResult>"
    key = "<Contents><Key>k</Key></Contents>"
    pages = [first.format("", "1"), first.format("", "2"), f"<ListBucketResult>{key}</ListBucketResult>"]
    async with serve([Reply(body=page.encode()) for page in pages]) as peer, client(peer) as s3:
        assert [obj.key async for page in s3.list_objects_v2("b") for obj in page] == ["k"]
    async with serve([Reply(body=pages[0].encode()), Reply(body=b"<html/>")]) as peer, client(peer) as s3:
        with pytest.raises(InvalidResponse):
            await anext(s3.list_objects_v2("b"))


async def test_a_range_that_is_ignored_makes_a_corrupt_file(target: Path) -> None:
    """Defect: "Range ignored → corrupt file"."""

    def ignore(request: Request) -> Reply | None:
        whole = Reply(headers=(("ETag", etag_of(BODY)),), body=BODY)
        return None if tiny.sent("GetObject")[0] is request else whole

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", ignore)
        with pytest.raises(InvalidResponse, match="Range header was ignored"):
            await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=4)
        assert target.read_bytes() == OLD


@pytest.mark.parametrize("workers", [1, 8])
async def test_an_empty_object_crashes_the_parallel_download(target: Path, workers: int) -> None:
    """Defect: "empty object crashes the parallel download"."""
    async with store() as (s3, tiny):
        tiny.put("b/k", b"")
        result = await s3.get_file_parallel("b/k", target, workers_count=workers)
        assert (result.size, target.read_bytes()) == (0, b"")


@pytest.mark.parametrize("bad", [error(404, "NoSuchKey"), Reply(raw=b"", then="reset"), Reply(raw=b"?", then="close")])
async def test_the_users_previous_file_deleted_or_truncated_by_a_failed_download(target: Path, bad: Reply) -> None:
    """Defect: "the user's previous file deleted or truncated by a failed download"."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        for nth in (1, 3):
            tiny.hooks.clear()
            tiny.calls.clear()
            tiny.on("GetObject", lambda _, first=nth: bad if len(tiny.calls) >= first else None)
            with pytest.raises((NotFound, ConnectionFailed)):
                await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=2)
            assert target.read_bytes() == OLD
            assert list(target.parent.iterdir()) == [target]


async def test_an_empty_put_goes_out_chunked() -> None:
    """Defect: "`put(b"")` goes out chunked"."""
    async with store() as (s3, tiny):
        await s3.put("b/k", b"")
        [request] = tiny.sent("PutObject")
        assert request.header("content-length") == "0"
        assert request.header("transfer-encoding") is None
        assert tiny.objects["b/k"].data == b""


async def test_dots_in_a_key_are_folded() -> None:
    """Defect: "`a/../b` becomes `b`"."""
    async with store() as (s3, tiny):
        await s3.put("b/a/../b", b"data")
        await s3.get("b/./a//../b")
        assert [request.line for request in tiny.peer.requests] == [
            b"PUT /b/a/../b HTTP/1.1",
            b"GET /b/./a//../b HTTP/1.1",
        ]


async def test_content_type_sent_on_get() -> None:
    """Defect: "`Content-Type` sent on GET"."""
    async with store() as (s3, tiny):
        for call in (s3.get, s3.head, s3.delete):
            await call("b/k.txt")
        assert [request.header("content-type") for _, request in tiny.calls] == [None] * 3


@pytest.mark.parametrize(("file", "defect"), [(file, defect) for file, found in ELSEWHERE.items() for defect in found])
def test_defects_of_credentials_are_named_beside_their_sources(file: str, defect: str) -> None:
    """Defects of sources.

    "metadata credentials' `stop()` hangs"; "a session token from one source glued to another's keys";
    "`[profile name]` not read from the config file, `aws_session_token` ignored"; "environment read at import".
    """
    text = (Path(__file__).parent / "credentials" / file).read_text()
    assert re.search(rf"^(async )?def test_ancestors_defect_{defect}\(", text, re.MULTILINE)


@pytest.mark.parametrize("slots", [1, 3])
async def test_the_whole_body_in_memory_before_streaming_it(slots: int) -> None:
    """Defect: "the whole body in memory before "streaming" it"."""
    asked: list[int] = []
    ahead: list[int] = []

    async def blocks() -> AsyncIterator[bytes]:
        for number in range(40):
            asked.append(number)
            stored = sum(len(part) for upload in tiny.uploads.values() for part in upload.parts.values())
            ahead.append(number * PART - stored)
            yield bytes(PART)

    async with store() as (s3, tiny):
        result = await s3.put_multipart("b/k", blocks(), part_size=2 * PART, workers_count=slots)
        assert result.size == 40 * PART
        # What is in hand: parts that wait or are being sent, and the one that is filled up to its first byte too many.
        assert max(ahead) <= (slots + 1) * 2 * PART + PART


async def test_a_file_is_read_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same defect, of ``put_file``."""
    reads: list[int] = []
    read = PositionalFile.read_into

    def counted(file: PositionalFile, view: memoryview, offset: int) -> int:
        reads.append(len(view))
        return read(file, view, offset)

    monkeypatch.setattr(PositionalFile, "read_into", counted)
    (tmp_path / "file").write_bytes(BODY)
    async with store() as (s3, tiny):
        await s3.put_file("b/k", tmp_path / "file", chunk_size=100)
        assert tiny.objects["b/k"].data == BODY
    hashing, *sending = reads
    assert hashing == len(BODY) < 1 << 20  # the hash is made of blocks of a MiB
    assert max(sending) == 100


@pytest.mark.parametrize("finished", [0, 16])
async def test_cancellation_leaves_tasks_uploads_and_parts(finished: int) -> None:
    """Defect: "cancellation leaves `tasks_alive=2 uploads_left=1 parts_left=16`"."""
    for cancel in ways_to_cancel():
        await check_a_cancelled_upload_leaves_nothing(cancel, finished)


async def check_a_cancelled_upload_leaves_nothing(cancel: Cancel, finished: int) -> None:
    """Cancel while four parts are on the wire, whose answers never come, and ``finished`` are stored."""

    async def blocks() -> AsyncIterator[bytes]:
        while True:
            yield bytes(PART)

    async def send() -> None:
        await s3.put_multipart("b/k", blocks(), part_size=PART, workers_count=4)

    async def all_on_the_wire() -> None:
        await tiny.peer.until(lambda: len(tiny.sent("UploadPart")) == finished + 4)
        await anyio.wait_all_tasks_blocked()

    async with store() as (s3, tiny):
        tiny.on("UploadPart", lambda _: SILENCE if len(tiny.sent("UploadPart")) > finished else None)
        before = tasks_alive(tiny.peer)
        await cancel(send, all_on_the_wire)
        assert tasks_alive(tiny.peer) == before
        assert tiny.uploads == {}
        assert tiny.objects == {}
        assert "AbortMultipartUpload" in tiny.names
        assert s3._session.places.taken == 0
        await tiny.peer.until(lambda: tiny.peer.busy == 0)
