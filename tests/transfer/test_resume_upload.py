"""Uploads that go on where an earlier call stopped: what is sent again, what is kept, what is begun anew.

Each guarantee at the end is broken once, and its check goes red.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck._tasks import in_thread
from handtruck.errors import (
    AccessDenied,
    ConnectionFailed,
    HandtruckError,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    S3Error,
    SourceChanged,
    UsageError,
)
from handtruck.protocol import parts
from handtruck.protocol.checksums import multipart_etag
from handtruck.transfer import multipart, records, resume
from handtruck.transfer.records import Record, open_record, read_record, write_record
from tests.scripted import RESET, Reply, Request, TinyS3, error, etag_of, store

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from handtruck import Progress, S3Client, UploadResult
    from tests.scripted.tiny import Bend

pytestmark = pytest.mark.anyio

PART: Final = 4096
DATA: Final = bytes(range(251)) * 44  # 11 044 bytes: two whole parts, and one that is not
OTHER: Final = bytes(range(13)) * 1000
NAME: Final = "b/k"
DENIED: Final = error(403, "AccessDenied")
CREATE, SEND, LIST, COMPLETE, ABORT, HEAD = (
    "CreateMultipartUpload",
    "UploadPart",
    "ListParts",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
    "HeadObject",
)


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few KiB go the ways of large ones."""
    monkeypatch.setattr(parts, "MIN_PART_SIZE", 1024)
    monkeypatch.setattr(multipart, "_LOOK_AGAIN", 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(DATA)
    return path


async def put(s3: S3Client, source: Path, name: str = NAME, **arguments: Any) -> UploadResult:
    return await s3.upload(name, source, **{"part_size": PART, "workers_count": 1, "resume": True, **arguments})


def left(source: Path) -> list[Path]:
    """What is there beside the source."""
    return sorted(path for path in source.parent.iterdir() if path != source)


def recorded(source: Path) -> Record:
    [path] = left(source)
    record = read_record(path.read_bytes())
    assert record is not None
    return record


def notes(caught: BaseException) -> str:
    return "\n".join(getattr(caught, "__notes__", ()))


def numbers(tiny: TinyS3, since: int = 0) -> list[int]:
    """The parts that were sent."""
    return [int(request.query["partNumber"]) for name, request in tiny.calls[since:] if name == SEND]


async def interrupted(s3: S3Client, tiny: TinyS3, source: Path, *, sent: int = 1, **arguments: Any) -> Record:
    """An upload that failed after some parts."""
    tiny.on(SEND, DENIED, nth=sent + 1)
    with pytest.raises(AccessDenied) as caught:
        await put(s3, source, **arguments)
    del tiny.hooks[0]
    assert "is kept, and what it holds is billed" in notes(caught.value)
    assert list(tiny.uploads) == [recorded(source).upload_id]
    assert recorded(source).upload_id in notes(caught.value)
    tiny.calls.clear()
    return recorded(source)


def check_done(tiny: TinyS3, source: Path) -> None:
    """The object is there, and nothing else is."""
    assert tiny.objects[NAME].data == source.read_bytes()
    assert not tiny.uploads
    assert not left(source)


# -- Going on ----------------------------------------------------------------------------------------------------------


async def test_only_what_is_missing_is_sent(source: Path) -> None:
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        told: list[Progress] = []
        result = await put(s3, source, progress=told.append)
        assert tiny.names == [LIST, SEND, SEND, COMPLETE]
        assert numbers(tiny) == [2, 3]
        check_done(tiny, source)
        assert (result.resumed, result.size, result.parts) == (PART, len(DATA), 3)
        assert result.etag == tiny.objects[NAME].etag
        assert [one.done for one in told] == [PART, 2 * PART, len(DATA)]
        assert {one.total for one in told} == {len(DATA)}


async def test_nothing_is_missing(source: Path) -> None:
    """Only Complete did not work."""
    async with store() as (s3, tiny):
        tiny.on(COMPLETE, DENIED)
        with pytest.raises(AccessDenied):
            await put(s3, source)
        tiny.hooks.clear()
        tiny.calls.clear()
        told: list[Progress] = []
        result = await put(s3, source, progress=told.append)
        assert tiny.names == [LIST, COMPLETE]
        assert result.resumed == len(DATA)
        assert [one.done for one in told] == [len(DATA)]
        check_done(tiny, source)


async def test_a_first_call_that_succeeds_leaves_nothing(source: Path) -> None:
    async with store() as (s3, tiny):
        result = await put(s3, source, workers_count=3)
        assert tiny.names == [CREATE, SEND, SEND, SEND, COMPLETE]
        assert result.resumed == 0
        check_done(tiny, source)


async def test_without_resume_nothing_is_kept(source: Path) -> None:
    async with store() as (s3, tiny):
        tiny.on(SEND, DENIED)
        with pytest.raises(AccessDenied):
            await put(s3, source, resume=False)
        assert not tiny.uploads
        assert not left(source)


@pytest.mark.parametrize("size", [0, 1, PART])
async def test_one_part_is_a_single_put(source: Path, size: int) -> None:
    """Nothing to resume, so no record: the folder need not be writable."""
    source.write_bytes(DATA[:size])
    async with store() as (s3, tiny):

        def look(_: Request) -> None:
            assert not left(source)

        tiny.on("PutObject", look)
        result = await put(s3, source)
        assert tiny.names == ["PutObject"]
        assert (result.size, result.parts, result.resumed) == (size, 0, 0)
        check_done(tiny, source)


@pytest.mark.parametrize("part_size", [1024, 8192, 1 << 20])
async def test_the_part_size_is_that_of_the_record(source: Path, part_size: int) -> None:
    """Even if the file would now be one part."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source, sent=2)
        result = await put(s3, source, part_size=part_size)
        assert numbers(tiny) == [3]
        assert result.resumed == 2 * PART
        check_done(tiny, source)


async def test_each_destination_has_a_record_of_its_own(source: Path) -> None:
    async with store() as (s3, tiny):
        tiny.on(SEND, DENIED)
        for name in ("b/one", "b/two"):
            with pytest.raises(AccessDenied):
                await put(s3, source, name)
        tiny.hooks.clear()
        assert len(left(source)) == 2
        await put(s3, source, "b/one")
        assert len(left(source)) == 1
        await put(s3, source, "b/two")
        assert not left(source)
        assert not tiny.uploads
        assert tiny.objects["b/one"].data == tiny.objects["b/two"].data == DATA


async def check_all_pages_are_read(source: Path, page: Callable[[TinyS3, Request], Reply]) -> None:
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source, sent=7, part_size=1024)
        tiny.on(LIST, lambda request: page(tiny, request))
        await put(s3, source)
        assert numbers(tiny) == [8, 9, 10, 11]
        check_done(tiny, source)


def two_a_page(tiny: TinyS3, request: Request) -> Reply:
    """As S3 does, with other numbers."""
    request.line = request.line.replace(b"?", b"?max-parts=2&")
    return tiny.ListParts(request, "")


def from_the_marker_on(tiny: TinyS3, request: Request) -> Reply:
    """As rclone does."""
    marker = int(request.query.get("part-number-marker", "0"))
    request.line = request.line.replace(b"number-marker=%d" % marker, b"number-marker=%d" % max(0, marker - 1))
    return two_a_page(tiny, request)


async def test_many_pages_of_parts(source: Path) -> None:
    await check_all_pages_are_read(source, two_a_page)


async def test_pages_that_begin_at_their_marker(source: Path) -> None:
    await check_all_pages_are_read(source, from_the_marker_on)


async def test_pages_without_end(source: Path) -> None:
    """A server that never gets beyond its first page: what it does not show is sent again."""

    def first(tiny: TinyS3, request: Request) -> Reply:
        request.line = request.line.replace(b"part-number-marker", b"ignored")
        return two_a_page(tiny, request)

    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source, sent=7, part_size=1024)
        tiny.on(LIST, lambda request: first(tiny, request))
        await put(s3, source)
        assert tiny.names.count(LIST) == 2
        assert numbers(tiny) == list(range(3, 12))
        check_done(tiny, source)


# -- What is there is compared with the file -------------------------------------------------------------------------


async def check_damaged_parts_are_sent_again(source: Path) -> None:
    async with store() as (s3, tiny):
        record = await interrupted(s3, tiny, source, sent=2)
        tiny.uploads[record.upload_id].parts[1] = b"x" * PART
        result = await put(s3, source)
        assert sorted(numbers(tiny)) == [1, 3]
        assert result.resumed == PART
        check_done(tiny, source)


async def test_damaged_parts_are_sent_again(source: Path) -> None:
    await check_damaged_parts_are_sent_again(source)


async def test_a_part_that_is_shorter_is_sent_again(source: Path) -> None:
    async with store() as (s3, tiny):
        record = await interrupted(s3, tiny, source, sent=2)
        tiny.uploads[record.upload_id].parts[2] = DATA[PART : 2 * PART - 1]
        await put(s3, source)
        assert numbers(tiny) == [2, 3]
        check_done(tiny, source)


async def test_a_source_that_changed_behind_its_times(source: Path) -> None:
    """Same size, same modification time, other bytes (``cp -p``): nothing of the old ones gets into the object."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source, sent=2)
        times = source.stat()
        source.write_bytes(DATA[::-1])
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
        result = await put(s3, source)
        assert numbers(tiny) == [1, 2, 3]
        assert result.resumed == 0
        check_done(tiny, source)


async def test_etags_that_are_no_md5s(source: Path) -> None:
    """As with SSE-KMS: nothing can be told from them, so all is sent again; they are not even compared."""

    def etag(request: Request) -> Reply:
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>opaque-{number}</ETag><Size>{PART}</Size></Part>"
            for number in (1, 2)
        )
        return Reply(body=f"<ListPartsResult>{rows}</ListPartsResult>".encode())

    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source, sent=2)
        tiny.on(LIST, etag)
        result = await put(s3, source)
        assert numbers(tiny) == [1, 2, 3]
        assert result.resumed == 0
        check_done(tiny, source)


async def test_parts_that_say_nothing_of_themselves(source: Path) -> None:
    """Neither size nor ETag; and one with a number that no part of the file has."""
    listing = b"<ListPartsResult><Part><PartNumber>1</PartNumber></Part><Part><PartNumber>9</PartNumber></Part>"
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source, sent=2)
        tiny.on(LIST, Reply(body=listing + b"</ListPartsResult>"))
        await put(s3, source)
        assert numbers(tiny) == [1, 2, 3]
        check_done(tiny, source)


# -- Starting over -----------------------------------------------------------------------------------------------------


def grow(source: Path) -> dict[str, Any]:
    source.write_bytes(DATA + b"more")
    return {}


def touch(source: Path) -> dict[str, Any]:
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))
    return {}


def label(_: Path) -> dict[str, Any]:
    return {"headers": {"x-amz-meta-colour": "red"}}


ANEW: Final = pytest.mark.parametrize(
    ("change", "why"),
    [(grow, "the file has changed since"), (touch, "the file has changed since"), (label, "its headers are not those")],
)


async def check_an_upload_of_something_else_is_aborted(
    source: Path, change: Callable[[Path], dict[str, Any]] = label
) -> None:
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        result = await put(s3, source, **change(source))
        assert tiny.names == [ABORT, LIST, CREATE, SEND, SEND, SEND, COMPLETE]
        assert result.resumed == 0
        check_done(tiny, source)


@ANEW
async def test_an_upload_of_something_else_is_aborted(
    change: Callable[[Path], dict[str, Any]], why: str, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await check_an_upload_of_something_else_is_aborted(source, change)
    [warning] = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert warning.startswith("starting over with b/k, not with upload upload-1: ")
    assert why in warning


async def test_conditions_may_change(source: Path) -> None:
    """They are Complete's, and nothing of what was sent depends on them."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        await put(s3, source, headers={"If-None-Match": "*"})
        assert tiny.names == [LIST, SEND, SEND, COMPLETE]


async def test_a_file_that_shrank_to_one_part(source: Path) -> None:
    """Its old upload is aborted all the same."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        source.write_bytes(DATA[:PART])
        await put(s3, source)
        assert tiny.names == [ABORT, LIST, "PutObject"]
        check_done(tiny, source)


async def test_the_old_upload_cannot_be_aborted(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For good: then nobody has to wait for ever. Its id is told."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        grow(source)
        tiny.on(ABORT, DENIED)
        await put(s3, source)
        assert tiny.objects[NAME].data == DATA + b"more"
        assert list(tiny.uploads) == ["upload-1"]
        assert not left(source)
    assert [one for one in caplog.messages if "upload upload-1 of b/k may remain" in one]


async def test_the_old_upload_cannot_be_aborted_nor_a_new_one_begun(source: Path) -> None:
    """The error tells of the old one."""
    async with store() as (s3, tiny):
        record = await interrupted(s3, tiny, source)
        grow(source)
        tiny.on(ABORT, DENIED)
        tiny.on(CREATE, DENIED)
        with pytest.raises(AccessDenied) as caught:
            await put(s3, source)
        assert "upload upload-1 of b/k may remain, and be billed" in notes(caught.value)
        assert recorded(source) == record


@pytest.mark.parametrize("answer", [RESET, error(500, "InternalError"), error(503, "SlowDown")])
async def test_the_old_upload_cannot_be_aborted_now(source: Path, answer: Reply) -> None:
    """That may pass: the record stays, so that the next call can try."""
    async with store() as (s3, tiny):
        record = await interrupted(s3, tiny, source)
        grow(source)
        tiny.on(ABORT, answer)
        with pytest.raises(HandtruckError) as caught:
            await put(s3, source)
        assert "upload-1 of b/k is kept" in notes(caught.value)
        assert recorded(source) == record
        tiny.hooks.clear()
        await put(s3, source)
        check_done(tiny, source)


async def test_a_torn_record(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    """At any length: what is there is not used, the object is right, and it is said that an upload may be left."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        [path] = left(source)
        whole = path.read_bytes()
        for length in range(0, len(whole), 29):
            path.write_bytes(whole[:length])
            caplog.clear()
            tiny.calls.clear()
            assert (await put(s3, source)).resumed == 0
            assert tiny.names == [CREATE, SEND, SEND, SEND, COMPLETE]
            assert list(tiny.uploads) == ["upload-1"]
            assert not left(source)
            assert bool(length) == any("cannot be understood" in one for one in caplog.messages)


async def test_a_record_of_another_version(source: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        [path] = left(source)
        path.write_bytes(path.read_bytes().replace(b"handtruck-upload-1", b"handtruck-upload-2"))
        assert (await put(s3, source)).resumed == 0
        assert tiny.names[0] == CREATE
        assert tiny.objects[NAME].data == DATA
        assert not left(source)
    assert [one for one in caplog.messages if "cannot be understood" in one]


async def test_a_record_of_another_object(source: Path) -> None:
    """A file that was renamed. Nothing is aborted at a place of which it does not speak."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        [path] = left(source)
        path.replace(path.with_name(records.record_name(source.name, f"{s3._session.endpoint.origin}/b/another")))
        await put(s3, source, "b/another")
        assert tiny.objects["b/another"].data == DATA
        assert "upload-1" in tiny.uploads


# -- The upload is gone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["NoSuchUpload", "NoSuchKey"])
async def test_somebody_has_aborted_it(source: Path, code: str, caplog: pytest.LogCaptureFixture) -> None:
    """Ceph's gateway has another name for that."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        tiny.uploads.clear()
        tiny.on(LIST, error(404, code))
        result = await put(s3, source, part_size=2048)
        assert tiny.names == [LIST, CREATE, *[SEND] * 6, COMPLETE]  # in parts as large as those asked for
        assert result.resumed == 0
        check_done(tiny, source)
    assert [one for one in caplog.messages if "upload upload-1 is gone" in one]


def say_completing(source: Path) -> None:
    """An earlier call had sent Complete."""
    [path] = left(source)
    path.write_bytes(write_record(replace(recorded(source), completing=1)))


async def completed_unheard(s3: S3Client, tiny: TinyS3, source: Path) -> None:
    """All answers to Complete, and to what asks whether it worked, are lost."""
    tiny.on(COMPLETE, after=RESET)
    tiny.on(HEAD, RESET)
    with pytest.raises(OutcomeUnknown) as caught:
        await put(s3, source)
    assert "is kept" in notes(caught.value)
    tiny.hooks.clear()
    tiny.calls.clear()
    assert not tiny.uploads
    assert recorded(source).upload_id == caught.value.upload_id


async def test_it_was_completed_and_nobody_heard(source: Path) -> None:
    async with store() as (s3, tiny):
        await completed_unheard(s3, tiny, source)
        told: list[Progress] = []
        result = await put(s3, source, progress=told.append, headers={"If-None-Match": "*"})
        assert tiny.names == [LIST, HEAD]
        assert (result.resumed, result.size, result.parts) == (len(DATA), len(DATA), 3)
        assert result.etag == tiny.objects[NAME].etag
        assert [one.done for one in told] == [len(DATA)]
        check_done(tiny, source)


@pytest.mark.parametrize("etag", [etag_of(DATA), f'"{"0" * 32}-3"', '"opaque"', "", None])
async def test_another_object_is_there(source: Path, etag: str | None) -> None:
    """Nothing but our own ETag proves that it is ours."""
    async with store() as (s3, tiny):
        await completed_unheard(s3, tiny, source)
        tiny.on(HEAD, Reply(headers=(("ETag", etag),) if etag is not None else ()))
        await put(s3, source)
        assert tiny.names == [LIST, HEAD, CREATE, SEND, SEND, SEND, COMPLETE]
        check_done(tiny, source)


async def test_who_may_not_look_starts_over(source: Path) -> None:
    async with store() as (s3, tiny):
        await completed_unheard(s3, tiny, source)
        tiny.on(HEAD, error(403, "AccessDenied"))
        await put(s3, source)
        check_done(tiny, source)


@pytest.mark.parametrize("at", [SEND, COMPLETE])
async def test_it_is_completed_while_we_go_on(source: Path, at: str) -> None:
    """By an earlier call's Complete, that was under way for long: whichever request finds no upload any more."""
    async with store() as (s3, tiny):
        record = await interrupted(s3, tiny, source)
        say_completing(source)

        def meanwhile(request: Request) -> None:
            del tiny.uploads[record.upload_id]
            tiny.put(NAME, DATA)
            etag = multipart_etag([etag_of(DATA[start : start + PART]) for start in range(0, len(DATA), PART)])
            tiny.objects[NAME].etag = f'"{etag}"'

        tiny.on(at, meanwhile, nth=1)
        told: list[Progress] = []
        result = await put(s3, source, progress=told.append)
        assert result.etag == tiny.objects[NAME].etag
        assert told[-1].done == len(DATA)
        assert [one.done for one in told] == sorted(one.done for one in told)
        check_done(tiny, source)


async def test_it_is_aborted_while_we_go_on(source: Path) -> None:
    """That is an error, as ever; the next call begins anew."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        tiny.on(SEND, lambda _: tiny.uploads.clear())
        with pytest.raises(NotFound):
            await put(s3, source)
        assert not left(source)


async def test_parts_that_may_not_be_listed(source: Path) -> None:
    """All are sent again: keys that may write need not be allowed to look."""
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)
        tiny.on(LIST, DENIED)
        result = await put(s3, source)
        assert result.resumed == 0
        check_done(tiny, source)


async def test_an_older_copy_is_not_taken_for_ours(source: Path) -> None:
    """The upload is gone, and Complete was never sent: the same bytes there are somebody else's, with his headers."""
    async with store() as (s3, tiny):
        await put(s3, source, headers={"Content-Type": "text/old"})
        await interrupted(s3, tiny, source)
        tiny.uploads.clear()
        result = await put(s3, source)
        assert result.resumed == 0
        assert ("content-type", "text/old") not in [(n.lower(), v) for n, v in tiny.objects[NAME].headers]
        check_done(tiny, source)


@pytest.mark.parametrize("answer", [error(404, "NoSuchBucket"), error(500, "InternalError"), RESET])
async def test_nothing_is_said_of_the_upload(source: Path, answer: Reply) -> None:
    """It is not known to be gone, so it is kept."""
    async with store() as (s3, tiny):
        record = await interrupted(s3, tiny, source)
        tiny.on(LIST, answer)
        with pytest.raises(HandtruckError) as caught:
            await put(s3, source)
        assert "is kept" in notes(caught.value)
        assert tiny.uploads
        assert recorded(source) == record


# -- What is kept and what is not --------------------------------------------------------------------------------------


def changed(source: Path) -> Callable[[Request], None]:
    """The source, when this is asked for."""

    def change(_: Request) -> None:
        touch(source)

    return change


KEPT: Final = (
    (SEND, DENIED, AccessDenied),
    (SEND, error(500, "InternalError"), S3Error),
    (SEND, error(503, "SlowDown"), S3Error),
    (SEND, error(400, "ExpiredToken"), S3Error),
    (SEND, RESET, ConnectionFailed),
    (COMPLETE, error(500, "InternalError"), S3Error),
    (COMPLETE, error(400, "InvalidPart"), S3Error),
    (COMPLETE, error(409, "OperationAborted"), S3Error),
    (COMPLETE, Reply(raw=b"nonsense\r\n\r\n", then="close"), HandtruckError),
)
POINTLESS: Final = (
    (COMPLETE, error(412, "PreconditionFailed"), PreconditionFailed),
    (COMPLETE, error(409, "ConditionalRequestConflict"), S3Error),
    (COMPLETE, error(400, "EntityTooSmall"), S3Error),
    (COMPLETE, error(400, "EntityTooLarge"), S3Error),
    (COMPLETE, error(400, "InvalidPartOrder"), S3Error),
    (SEND, error(501, "NotImplemented"), S3Error),
)


async def fails(s3: S3Client, tiny: TinyS3, source: Path, at: str, answer: Bend, kind: type[Exception]) -> str:
    """Both calls, the one that begins it and the one that goes on, fail so; gives the notes of the second."""
    said = ""
    for _ in range(2):
        tiny.on(at, answer)
        with pytest.raises(kind) as caught:
            await put(s3, source)
        tiny.hooks.clear()
        said = notes(caught.value)
    return said


@pytest.mark.parametrize(("at", "answer", "kind"), KEPT)
async def test_what_may_pass_keeps_it(at: str, answer: Reply, kind: type[Exception], source: Path) -> None:
    async with store() as (s3, tiny):
        assert "upload-1 of b/k is kept" in await fails(s3, tiny, source, at, answer, kind)
        assert recorded(source).upload_id == "upload-1"
        assert tiny.names.count(CREATE) == 1
        assert ABORT not in tiny.names
        await put(s3, source)
        check_done(tiny, source)


@pytest.mark.parametrize(("at", "answer", "kind"), POINTLESS)
async def test_what_will_not_pass_ends_it(at: str, answer: Reply, kind: type[Exception], source: Path) -> None:
    async with store() as (s3, tiny):
        assert await fails(s3, tiny, source, at, answer, kind) == ""
        assert tiny.names.count(CREATE) == 2
        assert not tiny.uploads
        assert not left(source)


async def check_a_changed_source_ends_it(source: Path) -> None:
    async with store() as (s3, tiny):
        tiny.on(SEND, changed(source), nth=2)
        with pytest.raises(SourceChanged):
            await put(s3, source)
        assert not tiny.uploads
        assert not left(source)


async def test_a_source_that_changes_ends_it(source: Path) -> None:
    await check_a_changed_source_ends_it(source)


async def test_an_abort_that_fails_leaves_the_record(source: Path) -> None:
    """So that a later call can try again."""
    async with store() as (s3, tiny):
        tiny.on(ABORT, DENIED)
        tiny.on(SEND, changed(source), nth=2)
        with pytest.raises(SourceChanged) as caught:
            await put(s3, source)
        assert "upload-1 of b/k may remain" in notes(caught.value)
        assert recorded(source).upload_id == "upload-1"
        tiny.hooks.clear()
        await put(s3, source)
        check_done(tiny, source)


async def test_what_progress_raises_keeps_it(source: Path) -> None:
    def progress(_: Progress) -> None:
        raise LookupError("mine")

    async with store() as (s3, tiny):
        with pytest.raises(LookupError) as caught:
            await put(s3, source, progress=progress)
        assert "is kept" in notes(caught.value)
        tiny.calls.clear()
        assert (await put(s3, source)).resumed == PART
        assert numbers(tiny) == [2, 3]


async def test_the_answer_to_create_is_lost(source: Path) -> None:
    """Nobody knows its id; as ever, the error says so, and there is no record."""
    async with store() as (s3, tiny):
        tiny.on(CREATE, after=RESET)
        with pytest.raises(ConnectionFailed) as caught:
            await put(s3, source)
        assert "the answer to CreateMultipartUpload was lost" in notes(caught.value)
        assert not left(source)


# -- The record on the disk --------------------------------------------------------------------------------------------


async def check_the_record_is_there_before_a_part_is(source: Path) -> None:
    async with store() as (s3, tiny):
        seen: list[str] = []

        def look(_: Request) -> None:
            seen.append(next((recorded(source).upload_id for path in left(source) if path.read_bytes()), "none"))

        tiny.on(SEND, look)
        await put(s3, source)
        assert seen == ["upload-1"] * 3
        check_done(tiny, source)


async def test_the_record_is_there_before_a_part_is(source: Path) -> None:
    await check_the_record_is_there_before_a_part_is(source)


async def test_a_record_that_cannot_be_written_ends_the_upload(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would find it again."""

    def write(*_: object) -> None:
        raise OSError(28, "No space left on device", "the record")

    monkeypatch.setattr(records.RecordFile, "write", write)
    async with store() as (s3, tiny):
        with pytest.raises(OSError, match="No space") as caught:
            await put(s3, source)
        assert tiny.names == [CREATE, ABORT, LIST]
        assert not notes(caught.value)
        assert not left(source)


async def test_a_folder_that_is_read_only(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error with the record's name, before anything is sent."""
    real = os.open

    def refuse(path: Any, flags: int, *arguments: Any) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *arguments)

    async with store() as (s3, tiny):
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(PermissionError, match="Permission denied") as caught:
            await put(s3, source)
        assert Path(caught.value.filename).name.startswith("source.bin.")
        source.write_bytes(DATA[:PART])
        await put(s3, source)
        assert tiny.names == ["PutObject"]


async def check_one_at_a_time(source: Path) -> None:
    async with store() as (s3, tiny):
        waiting, go_on = anyio.Event(), anyio.Event()

        async def wait(_: Request) -> None:
            waiting.set()
            await go_on.wait()

        tiny.on(SEND, wait, nth=1)
        async with anyio.create_task_group() as group:
            group.start_soon(put, s3, source)
            await waiting.wait()
            before = len(tiny.calls)
            try:
                with pytest.raises(UsageError, match="another upload is sending it to the same place"):
                    await put(s3, source)
                assert len(tiny.calls) == before
                await put(s3, source, resume=False, part_size=1 << 20)  # that has no record to share
            finally:
                go_on.set()
        check_done(tiny, source)


async def test_one_at_a_time(source: Path) -> None:
    await check_one_at_a_time(source)


async def test_a_record_that_cannot_be_cleared(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The object is there, so nothing has failed; the next call sees that, too."""

    def clear(*_: object) -> None:
        raise OSError(30, "Read-only file system", "the record")

    async with store() as (s3, tiny):
        with monkeypatch.context() as patch:
            patch.setattr(records.RecordFile, "clear", clear)
            await put(s3, source)
        assert [one for one in caplog.messages if "Read-only file system" in one]
        tiny.calls.clear()
        await put(s3, source)
        assert tiny.names == [LIST, HEAD]
        check_done(tiny, source)


async def test_no_secrets_are_recorded(source: Path) -> None:
    secret = "bm90IHRvIGJlIHNlZW4gYnkgYW55Ym9keSBlbHNlISE="
    headers = {"x-amz-server-side-encryption-customer-key": secret, "x-amz-meta-a": "private"}
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source, headers=headers)
        [path] = left(source)
        assert not [word for word in (secret, "private", "key-id", "secret") if word in path.read_text()]


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def _believe(job: resume.FileUpload, listed: dict[int, Any]) -> None:
    job.multipart.etags.update({number: part.etag for number, part in listed.items()})


async def _only_create(job: resume.FileUpload) -> None:
    await job.multipart.create()


def _recorded_late(patch: pytest.MonkeyPatch) -> None:
    finish = resume.FileUpload._finish

    async def late(job: resume.FileUpload) -> Any:
        try:
            return await finish(job)
        finally:
            record = replace(job.now, upload_id=str(job.multipart.upload_id))
            await in_thread(job.record.write, record, limiter=job.session.threads)

    patch.setattr(resume.FileUpload, "_begin", _only_create)
    patch.setattr(resume.FileUpload, "_finish", late)


async def check_a_failure_keeps_it(source: Path) -> None:
    async with store() as (s3, tiny):
        await interrupted(s3, tiny, source)


async def check_an_object_of_others_is_not_ours(source: Path) -> None:
    await test_another_object_is_there(source, f'"{"0" * 32}-3"')


async def _anybodys(*_: object) -> bool:
    return True


MUTATIONS: Final[Sequence[tuple[str, Callable[[pytest.MonkeyPatch], object], Callable[[Path], Any]]]] = (
    (
        "what is there is believed",
        lambda patch: patch.setattr(resume.FileUpload, "_compare", _believe),
        check_damaged_parts_are_sent_again,
    ),
    ("recorded late", _recorded_late, check_the_record_is_there_before_a_part_is),
    (
        "aborted in spite of resume",
        lambda patch: patch.setattr(resume, "worth_keeping", lambda _: False),
        check_a_failure_keeps_it,
    ),
    (
        "kept whatever happens",
        lambda patch: patch.setattr(resume, "worth_keeping", lambda _: True),
        check_a_changed_source_ends_it,
    ),
    (
        "anything will do",
        lambda patch: patch.setattr(resume, "why_anew", lambda *_: None),
        check_an_upload_of_something_else_is_aborted,
    ),
    ("not locked", lambda patch: patch.setattr(records, "try_lock", lambda _: True), check_one_at_a_time),
    (
        "any object will do",
        lambda patch: patch.setattr(resume.FileUpload, "_is_ours", _anybodys),
        check_an_object_of_others_is_not_ours,
    ),
)


@pytest.mark.parametrize(("apply", "check"), [one[1:] for one in MUTATIONS], ids=[one[0] for one in MUTATIONS])
async def test_mutation(
    apply: Callable[[pytest.MonkeyPatch], object],
    check: Callable[[Path], Any],
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guarantee broken, its check is red; and whole again, green."""
    with monkeypatch.context() as patch:
        apply(patch)
        with pytest.raises((AssertionError, pytest.fail.Exception, BaseExceptionGroup)):
            await check(source)
    for path in left(source):
        path.unlink()
    source.write_bytes(DATA)
    await check(source)


def test_the_table_names_codes_that_s3_has() -> None:
    """Every entry decides, and says why."""
    for code, why in resume.FOR_GOOD.items():
        assert not resume.worth_keeping(S3Error("", status=400, code=code))
        assert why
    assert open_record(Path("/nonexistent/source"), "http://s3.test/b/k", create=False) is None
