"""Which request carries what: every method that writes or reads, against a peer that tells what it was sent."""

from __future__ import annotations

import logging
import pickle
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import md5
from inspect import signature
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import httpx
import pytest

from handtruck import SSES3, ReadOptions, S3Client, SSECustomer, Transfers, WriteOptions
from handtruck.errors import HandtruckError, NotModified, PreconditionFailed, S3Error, UsageError
from handtruck.protocol import operations
from handtruck.protocol.parts import DEFAULT_PART_SIZE, MIN_PART_SIZE
from handtruck.transfer import download
from handtruck.transport import senders
from tests.scripted import RESET, Reply, TinyS3, client, error, serve, store, truncated
from tests.senders.test_secrets import reachable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import ObjectReader, ObjectWriter
    from tests.scripted import Request

    Method: TypeAlias = Callable[..., Awaitable[object]]

pytestmark = pytest.mark.anyio

KEY: Final = b"a key of the caller's, 32 bytes."
SAID: Final = b64encode(KEY).decode()
SSE_C: Final = SSECustomer(KEY)
NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
SMALL: Final = b"small"
LARGE: Final = bytes(DEFAULT_PART_SIZE + 1)

WRITE: Final[WriteOptions] = {
    "content_type": "text/x",
    "metadata": {"Who": "us"},
    "tags": {"a b": "c&d", "e": ""},
    "cache_control": "no-store",
    "content_disposition": "attachment",
    "content_encoding": "gzip",
    "content_language": "en",
    "expires": NOON,
    "website_redirect_location": "/there",
    "storage_class": "STANDARD_IA",
    "acl": "bucket-owner-full-control",
    "sse": SSE_C,
    "if_none_match": "*",
    "retention_mode": "GOVERNANCE",
    "retain_until": NOON,
    "legal_hold": True,
    "expected_bucket_owner": "123456789012",
    "request_payer": True,
}
EVERYWHERE: Final = {"x-amz-expected-bucket-owner": "123456789012", "x-amz-request-payer": "requester"}
OF_THE_KEY: Final = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": SAID,
    "x-amz-server-side-encryption-customer-key-md5": b64encode(md5(KEY, usedforsecurity=False).digest()).decode(),
}
CONDITION: Final = {"if-none-match": "*"}
OF_THE_OBJECT: Final = {
    "content-type": "text/x",
    "x-amz-meta-who": "us",
    "x-amz-tagging": "a%20b=c%26d&e=",
    "cache-control": "no-store",
    "content-disposition": "attachment",
    "content-encoding": "gzip",
    "content-language": "en",
    "expires": "Sun, 22 Nov 2026 12:00:00 GMT",
    "x-amz-website-redirect-location": "/there",
    "x-amz-storage-class": "STANDARD_IA",
    "x-amz-acl": "bucket-owner-full-control",
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-object-lock-retain-until-date": "2026-11-22T12:00:00.000Z",
    "x-amz-object-lock-legal-hold": "ON",
}
CARRY: Final = {
    "PutObject": EVERYWHERE | OF_THE_KEY | OF_THE_OBJECT | CONDITION,
    "CreateMultipartUpload": EVERYWHERE | OF_THE_KEY | OF_THE_OBJECT,
    "UploadPart": EVERYWHERE | OF_THE_KEY,
    "CompleteMultipartUpload": EVERYWHERE | OF_THE_KEY | CONDITION | {"content-type": "application/xml"},
    "AbortMultipartUpload": EVERYWHERE,
    "ListParts": EVERYWHERE | OF_THE_KEY,
    "HeadObject": EVERYWHERE | OF_THE_KEY,
}
_OURS: Final = {"x-amz-date", "x-amz-content-sha256"}


def carried(request: Request) -> dict[str, str]:
    """What of a request is about S3, with lowered names."""
    names = [name.lower() for name, _ in request.headers]
    assert len(names) == len(set(names))
    sent = {name.lower(): value for name, value in request.headers}
    return {
        name: value
        for name, value in sent.items()
        if name not in _OURS
        and "checksum" not in name
        and (name.startswith("x-amz-") or name in {**CARRY["PutObject"], **CONDITIONS})
    }


def assert_carried(tiny: TinyS3, *expected: str) -> None:
    """These were asked for, and each request carried what it should."""
    assert set(tiny.names) == set(expected)
    for name, request in tiny.calls:
        assert carried(request) == CARRY[name], name


# --- all that writes


async def _blocks(data: bytes) -> AsyncIterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(data), 1 << 20):
        yield bytes(view[start : start + (1 << 20)])


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "source.html"
    path.write_bytes(data)
    return path


async def _put(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    (await s3.put("b/k", data, **wishes)).raise_for_status()


async def _put_stream(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    (await s3.put("b/k", _blocks(data), **wishes)).raise_for_status()


async def _put_file(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    (await s3.put_file("b/k", _file(folder, data), **wishes)).raise_for_status()


async def _upload(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    await s3.upload("b/k", _file(folder, data), **wishes)


async def _upload_bytes(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    await s3.upload("b/k", data, **wishes)


async def _upload_again(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    await s3.upload("b/k", _file(folder, data), resume=True, workers_count=1, **wishes)


async def _put_multipart(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    await s3.put_multipart("b/k", _blocks(data), part_size=MIN_PART_SIZE, **wishes)


async def _put_file_multipart(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    await s3.put_file_multipart("b/k", _file(folder, data), part_size=MIN_PART_SIZE, **wishes)


async def _write(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    async with s3.open("b/k", "wb", **wishes) as file:
        await file.write(data)


async def _transfer(s3: S3Client, data: bytes, folder: Path, **wishes: Any) -> None:
    async with s3.transfers() as transfers:
        transfers.upload("b/k", _file(folder, data), **wishes)


SINGLE: Final = (_put, _put_file)
IN_PARTS: Final = (
    _put_stream,
    _upload,
    _upload_bytes,
    _upload_again,
    _put_multipart,
    _put_file_multipart,
    _write,
    _transfer,
)
WRITERS: Final = (*SINGLE, *IN_PARTS)


async def check_single(method: Method, folder: Path) -> None:
    async with store() as (s3, tiny):
        await method(s3, SMALL, folder, **WRITE)
        assert_carried(tiny, "PutObject")
        assert tiny.objects["b/k"].data == SMALL


@pytest.mark.parametrize("method", WRITERS)
async def test_single_requests(method: Method, tmp_path: Path) -> None:
    await check_single(method, tmp_path)


async def check_in_parts(method: Method, folder: Path) -> None:
    async with store() as (s3, tiny):
        await method(s3, LARGE, folder, **WRITE)
        assert_carried(tiny, "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
        assert tiny.objects["b/k"].data == LARGE


@pytest.mark.parametrize("method", IN_PARTS)
async def test_uploads_in_parts(method: Method, tmp_path: Path) -> None:
    await check_in_parts(method, tmp_path)


async def check_undone(method: Method, folder: Path) -> None:
    """The abort, and the look whether it is gone."""
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"), nth=2)
        with pytest.raises(S3Error):
            await method(s3, LARGE, folder, **WRITE)
        assert_carried(tiny, "CreateMultipartUpload", "UploadPart", "AbortMultipartUpload", "ListParts")
        assert not tiny.uploads


@pytest.mark.parametrize("method", [_put_stream, _write])
async def test_uploads_that_are_undone(method: Method, tmp_path: Path) -> None:
    await check_undone(method, tmp_path)


async def test_an_upload_that_goes_on(tmp_path: Path) -> None:
    """What is listed of an upload with a customer's key, S3 may want the key for."""
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"), nth=2)
        with pytest.raises(S3Error):
            await _upload_again(s3, LARGE, tmp_path, **WRITE)
        path = tmp_path / "source.html"
        assert (await s3.upload("b/k", path, resume=True, **WRITE)).resumed
        assert_carried(tiny, "CreateMultipartUpload", "UploadPart", "ListParts", "CompleteMultipartUpload")
        assert tiny.names.count("CreateMultipartUpload") == 1


async def test_an_upload_with_other_options_begins_anew(tmp_path: Path) -> None:
    """What Create was told stays with the upload; conditions are for the end, and may be others."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", error(403, "AccessDenied"), nth=1)
        with pytest.raises(S3Error):
            await _upload_again(s3, LARGE, tmp_path, content_type="a/b", if_none_match="*")
        path = tmp_path / "source.html"
        tiny.on("CompleteMultipartUpload", error(403, "AccessDenied"), nth=1)
        with pytest.raises(S3Error):
            await s3.upload("b/k", path, resume=True, content_type="a/b", if_match="x")
        assert tiny.names.count("CreateMultipartUpload") == 1
        await s3.upload("b/k", path, resume=True, content_type="a/c")
        assert tiny.names.count("CreateMultipartUpload") == 2
        assert tiny.names.count("AbortMultipartUpload") == 1
        assert dict(tiny.objects["b/k"].headers)["Content-Type"] == "a/c"


async def test_a_complete_whose_answer_is_lost(tmp_path: Path) -> None:
    """HEAD tells, and S3 wants the key for it."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", after=RESET)
        await _upload(s3, LARGE, tmp_path, **WRITE)
        assert_carried(
            tiny, "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "ListParts", "HeadObject"
        )
        assert tiny.names.count("CompleteMultipartUpload") == 1  # with a condition its success would make it fail


async def test_a_condition_that_does_not_hold(tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", b"older")
        for method in (_upload, _put_multipart, _write, _transfer):
            for data in (SMALL, LARGE):
                with pytest.raises(PreconditionFailed):
                    await method(s3, data, tmp_path, if_none_match="*")
        assert (await s3.put("b/k", SMALL, if_none_match="*")).status_code == 412
        with pytest.raises(PreconditionFailed):
            await s3.put("b/k", _blocks(LARGE), if_none_match="*")
        assert (tiny.objects["b/k"].data, tiny.uploads) == (b"older", {})


async def test_a_files_name_suggests_its_type(tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        for method in (_put_file, _upload, _put_file_multipart, _transfer):
            await method(s3, SMALL, tmp_path, metadata={"a": "b"})
            assert tiny.calls[-1][1].header("content-type") == "text/html"
            await method(s3, SMALL, tmp_path, content_type="text/x")
            assert tiny.calls[-1][1].header("content-type") == "text/x"


async def test_headers_beside_options(tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        for method in WRITERS:
            await method(s3, SMALL, tmp_path, headers={"x-amz-meta-a": "b"}, metadata={"c": "d"})
            request = tiny.calls[-1][1]
            assert (request.header("x-amz-meta-a"), request.header("x-amz-meta-c")) == ("b", "d")
        await s3.put("b/k", SMALL, params={"x": "y"}, content_type="a/b")
        assert (tiny.calls[-1][1].query, tiny.calls[-1][1].header("content-type")) == ({"x": "y"}, "a/b")


async def check_sums_of_what_is_kept(method: Method, folder: Path) -> None:
    """S3 takes a retention, or a hold, only with a checksum of the body: of each part, where there are parts."""
    for wishes in ({"legal_hold": False}, {"retention_mode": "GOVERNANCE", "retain_until": NOON}):
        for data in (SMALL, LARGE):
            async with store() as (s3, tiny):
                await method(s3, data, folder, **wishes)
                bodies = [*tiny.sent("PutObject"), *tiny.sent("UploadPart")]
                assert bodies
                assert all(request.header("x-amz-checksum-crc32") for request in bodies)


@pytest.mark.parametrize("method", WRITERS)
async def test_sums_of_what_is_kept(method: Method, tmp_path: Path) -> None:
    await check_sums_of_what_is_kept(method, tmp_path)


# --- all that reads

READ: Final[ReadOptions] = {
    "version_id": "v+1",
    "if_none_match": '"another"',
    "if_modified_since": NOON,
    "sse": SSE_C,
    "response_cache_control": "no-store",
    "response_content_disposition": 'attachment; filename="ü"',
    "response_content_encoding": "identity",
    "response_content_language": "en",
    "response_content_type": "a/b",
    "response_expires": NOON,
    "expected_bucket_owner": "123456789012",
    "request_payer": True,
}
CONDITIONS: Final = {"if-none-match": '"another"', "if-modified-since": "Sun, 22 Nov 2026 12:00:00 GMT", "if-match": ""}
ASKED: Final = {
    "versionId": "v+1",
    "response-cache-control": "no-store",
    "response-content-disposition": 'attachment; filename="ü"',
    "response-content-encoding": "identity",
    "response-content-language": "en",
    "response-content-type": "a/b",
    "response-expires": "Sun, 22 Nov 2026 12:00:00 GMT",
}
BODY: Final = bytes(range(256)) * 4096
STEP: Final = len(BODY) // 4


async def _get(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    answer: httpx.Response = await s3.get("b/k", **wishes)
    return answer.raise_for_status().content


async def _head(s3: S3Client, folder: Path, **wishes: Any) -> None:
    (await s3.head("b/k", **wishes)).raise_for_status()


async def _download(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    await s3.download("b/k", folder / "target", part_size=STEP, **wishes)
    return (folder / "target").read_bytes()


async def _download_again(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    return await _download(s3, folder, resume=True, **wishes)


async def _download_stream(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    target = BytesIO()
    await s3.download("b/k", target, part_size=STEP, **wishes)
    return target.getvalue()


async def _get_file_parallel(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    await s3.get_file_parallel("b/k", folder / "target", range_step=STEP, workers_count=2, **wishes)
    return (folder / "target").read_bytes()


async def _read(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    async with s3.open("b/k", "rb", part_size=STEP, **wishes) as file:
        content: bytes = await file.read()
    return content


async def _stream(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    async with s3.stream("b/k", **wishes) as answer:
        return await answer.read()


async def _get_ranges(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    cuts = [(start, start + STEP) for start in range(0, len(BODY), STEP)]
    return b"".join(await s3.get_ranges("b/k", cuts, gap=0, **wishes))


async def _transfer_down(s3: S3Client, folder: Path, **wishes: Any) -> bytes:
    async with s3.transfers() as transfers:
        transfers.download("b/k", folder / "target", part_size=STEP, **wishes)
    return (folder / "target").read_bytes()


READERS: Final = (
    _get,
    _head,
    _download,
    _download_again,
    _download_stream,
    _get_file_parallel,
    _read,
    _stream,
    _get_ranges,
    _transfer_down,
)


async def check_read(method: Method, folder: Path) -> None:
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY)
        assert await method(s3, folder, **READ) in (BODY, None)
        once = method in (_get, _head, _stream)
        assert (len(tiny.calls) == 1) is (once or method is _get_ranges)
        for number, (_, request) in enumerate(tiny.calls):
            pinned = {"if-match": etag} if number else {}
            said = {name: value for name, value in CONDITIONS.items() if name != "if-match"}
            assert carried(request) == EVERYWHERE | OF_THE_KEY | said | pinned
            assert request.query == ASKED


@pytest.mark.parametrize("method", READERS)
async def test_reads(method: Method, tmp_path: Path) -> None:
    await check_read(method, tmp_path)


@pytest.mark.parametrize("method", READERS)
async def test_reads_of_one_version(method: Method, tmp_path: Path) -> None:
    """The caller's own If-Match is what every request has, or it is not what the caller wants."""
    async with store() as (s3, tiny):
        etag = tiny.put("b/k", BODY)
        await method(s3, tmp_path, if_match=etag)
        assert {request.header("if-match") for _, request in tiny.calls} == {etag}
        with pytest.raises((PreconditionFailed, httpx.HTTPStatusError), match="412"):
            await method(s3, tmp_path, if_match='"another"')


async def test_answers_that_say_not_modified(tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", Reply(status=304))
        for method in READERS:
            if method in (_get, _head):
                continue
            with pytest.raises(NotModified):
                await method(s3, tmp_path, if_none_match="*")
        assert (await s3.get("b/k", if_none_match="*")).status_code == 304


async def test_ranges_of_a_get() -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        for asked, header, body in (
            ((2, 5), "bytes=2-4", BODY[2:5]),
            ((0, 1), "bytes=0-0", BODY[:1]),
            ((False, 2), "bytes=0-1", BODY[:2]),
            ((len(BODY) - 3, len(BODY) + 10), f"bytes={len(BODY) - 3}-{len(BODY) + 9}", BODY[-3:]),
        ):
            answer = await s3.get("b/k", byte_range=asked, version_id="v")
            assert (answer.content, tiny.calls[-1][1].header("range")) == (body, header)
            assert tiny.calls[-1][1].query == {"versionId": "v"}
        tiny.on("GetObject", Reply(status=206))
        await s3.get("b/k", byte_range=(7, None), headers={"x-a": "b"}, params={"partNumber": 1})
        request = tiny.calls[-1][1]
        assert (request.header("range"), request.header("x-a"), request.query) == ("bytes=7-", "b", {"partNumber": "1"})


async def test_deletes() -> None:
    async with store() as (s3, tiny):
        await s3.delete(
            "b/k",
            version_id="v",
            if_match='"e"',
            mfa="serial 123456",
            bypass_governance=True,
            expected_bucket_owner="123456789012",
            request_payer=True,
        )
        request = tiny.calls[-1][1]
        assert request.query == {"versionId": "v"}
        assert carried(request) == EVERYWHERE | {
            "if-match": '"e"',
            "x-amz-mfa": "serial 123456",
            "x-amz-bypass-governance-retention": "true",
        }


async def test_uploads_by_hand() -> None:
    """What lists and aborts them says whose bucket it must be, and who pays."""
    common: dict[str, Any] = {"expected_bucket_owner": "123456789012", "request_payer": True}
    async with store() as (s3, tiny):
        for key in ("a", "b"):
            await s3.post(f"b/{key}", params={"uploads": None})
        assert [part async for part in s3.list_parts("b/a", "upload-1", sse=SSE_C, **common)] == []
        assert carried(tiny.calls[-1][1]) == EVERYWHERE | OF_THE_KEY
        tiny.calls.clear()
        assert len([upload async for upload in s3.list_multipart_uploads("b", **common)]) == 2
        await s3.abort_multipart_upload("b/a", "upload-1", **common)
        root = "ListMultipartUploadsResult"
        old = "<Upload><Key>b</Key><UploadId>upload-2</UploadId><Initiated>2020-01-01T00:00:00Z</Initiated></Upload>"
        tiny.on("ListMultipartUploads", Reply(body=f"<{root}>{old}</{root}>".encode()))
        assert len(await s3.abort_stale_uploads("b", older_than=timedelta(), **common)) == 1
        assert tiny.uploads == {}
        for _, request in tiny.calls:
            assert carried(request) == EVERYWHERE


# --- downloads that go on, of the version that is meant


async def begun(s3: S3Client, tiny: TinyS3, folder: Path, **wishes: Any) -> None:
    """A download of which only the first range came."""
    whole = tiny.GetObject

    def cut(request: Request) -> Reply | None:
        reply = whole(request, "b/k")
        return None if request.header("range") == f"bytes=0-{STEP - 1}" else truncated(reply, 10)

    tiny.on("GetObject", cut)
    with pytest.raises(HandtruckError):
        await s3.download("b/k", folder / "target", part_size=STEP, workers_count=1, resume=True, **wishes)
    tiny.hooks.clear()
    tiny.calls.clear()


async def goes_on(first: ReadOptions, then: ReadOptions, folder: Path) -> bool:
    """Whether a download that was begun with some options is gone on with, with others."""
    async with store(max_attempts=1) as (s3, tiny):
        tiny.put("b/k", BODY)
        await begun(s3, tiny, folder, **first)
        result = await s3.download("b/k", folder / "target", part_size=STEP, resume=True, **then)
        assert (folder / "target").read_bytes() == BODY
        started = tiny.calls[0][1]
        assert (started.header("range") != f"bytes=0-{STEP - 1}") is bool(result.resumed)
        assert (started.header("if-match") is not None) is bool(result.resumed)
        return bool(result.resumed)


@pytest.mark.parametrize(
    ("first", "then", "expected"),
    [
        ({}, {}, True),
        ({"version_id": "1"}, {"version_id": "1"}, True),
        ({"version_id": "1"}, {"version_id": "2"}, False),
        ({"version_id": "1"}, {}, False),
        ({}, {"version_id": "1"}, False),
        ({"version_id": "1"}, {"version_id": "1", "response_content_type": "a/b"}, True),
        ({"sse": SSE_C}, {"sse": SSE_C}, True),
        ({}, {"if_unmodified_since": NOON}, False),
        ({}, {"if_modified_since": NOON, "if_none_match": '"x"'}, True),
    ],
    ids=str,
)
async def test_downloads_that_go_on(first: ReadOptions, then: ReadOptions, expected: bool, tmp_path: Path) -> None:
    assert await goes_on(first, then, tmp_path) is expected


# --- nonsense, before anything is sent

BAD: Final = (
    {"content_typo": "x"},
    {"content_type": 1},
    {"metadata": {"a": "ü"}},
    {"tags": {str(number): "" for number in range(11)}},
    {"expires": NOON.replace(tzinfo=None)},
    {"content_type": "a/b", "headers": {"Content-Type": "a/b"}},
    {"retention_mode": "GOVERNANCE"},
    {"sse": KEY},
    {"version_id": "1"},
)


@pytest.mark.parametrize("method", WRITERS)
async def test_writes_that_make_no_sense(method: Method, tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        for wishes in BAD:
            with pytest.raises(UsageError):
                await method(s3, SMALL, tmp_path, **wishes)
        assert tiny.peer.connections == 0


@pytest.mark.parametrize("method", READERS)
async def test_reads_that_make_no_sense(method: Method, tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        for wishes in (
            {"content_type": "x"},
            {"version_id": ""},
            {"version_id": 1},
            {"if_modified_since": NOON.replace(tzinfo=None)},
            {"if_match": "x", "headers": {"if-match": "x"}},
            {"response_content_type": "a\r\nb"},
        ):
            with pytest.raises(UsageError):
                await method(s3, tmp_path, **wishes)
        assert tiny.peer.connections == 0
        assert list(tmp_path.iterdir()) == []


async def test_requests_that_make_no_sense() -> None:
    async with store() as (s3, tiny):
        nonsense: Any = (
            partial(s3.get, params={"versionId": "1"}, version_id="1"),
            partial(s3.delete, params={"versionId": "1"}, version_id="1"),
            partial(s3.head, params=[("versionId", "1")], version_id="1"),
            partial(s3.get, byte_range=(0, 1), headers={"range": "bytes=0-0"}),
            partial(s3.get, byte_range=(1, 1)),
            partial(s3.get, byte_range=(-1, None)),
            partial(s3.get, byte_range="0-1"),  # type: ignore[arg-type]
            partial(s3.get, byte_range=(None, 1)),  # type: ignore[arg-type]
            partial(s3.put, content="\ud800"),
            partial(s3.delete, version_id=""),
            partial(s3.delete, bypass_governance="yes"),  # type: ignore[arg-type]
        )
        for call in nonsense:
            with pytest.raises(UsageError):
                await call("b/k")
        assert tiny.peer.connections == 0


# --- the key of SSE-C


async def test_a_key_does_not_travel_in_the_clear(tmp_path: Path) -> None:
    async with client_of("http://s3.example") as s3:
        for write in WRITERS:
            with pytest.raises(UsageError, match="in the clear"):
                await write(s3, SMALL, tmp_path, sse=SSE_C)
        for read in READERS:
            with pytest.raises(UsageError, match="in the clear"):
                await read(s3, tmp_path, sse=SSE_C)


def client_of(url: str) -> S3Client:
    def never(request: httpx.Request) -> httpx.Response:
        raise AssertionError(f"{request} was sent")

    http = httpx.AsyncClient(transport=httpx.MockTransport(never), trust_env=False)
    return S3Client(url, http, access_key_id="key-id", secret_access_key="secret")


def all_said(error: BaseException | None) -> str:
    """An exception, its notes, and those that it came of."""
    if error is None:
        return ""
    notes = getattr(error, "__notes__", ())
    request = vars(error).get("_request")
    facts = [str(error), repr(error), *notes, repr(vars(error)), repr(request and (request, request.headers))]
    return "\n".join([*facts, all_said(error.__cause__), all_said(error.__context__)])


async def check_nothing_says_the_key(method: Method, caplog: pytest.LogCaptureFixture, *arguments: Any) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for reply in (RESET, error(403, "AccessDenied"), error(503, "SlowDown"), Reply(body=b"<nonsense")):
        async with store(max_attempts=2) as (s3, tiny):
            tiny.put("b/k", BODY)
            for name in ("PutObject", "GetObject", "HeadObject", "UploadPart", "CompleteMultipartUpload"):
                tiny.on(name, reply)
            try:
                await method(s3, *arguments, sse=SSE_C)
            except (HandtruckError, httpx.HTTPStatusError) as caught:
                said.append(all_said(caught))
            assert any(request.header("x-amz-server-side-encryption-customer-key") == SAID for _, request in tiny.calls)
    assert said
    for text in (*said, caplog.text):
        assert SAID not in text
        assert KEY.decode() not in text


@pytest.mark.parametrize("method", WRITERS)
async def test_nothing_says_the_key_of_a_write(
    method: Method, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await check_nothing_says_the_key(method, caplog, SMALL, tmp_path)


@pytest.mark.parametrize("method", READERS)
async def test_nothing_says_the_key_of_a_read(method: Method, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await check_nothing_says_the_key(method, caplog, tmp_path)


async def test_nothing_says_the_key_of_an_upload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await check_nothing_says_the_key(_upload_bytes, caplog, LARGE, tmp_path)


async def check_answers_forget_the_key(http: httpx.AsyncClient | None) -> None:
    async with serve(Reply(body=b"x")) as peer, client(peer, client=http) as s3:
        loud = {name.upper(): value for name, value in OF_THE_KEY.items()}
        calls: list[tuple[bool, Callable[[], Awaitable[httpx.Response]]]] = [
            (False, partial(s3.put, "b/k", b"x", sse=SSE_C)),
            (False, partial(s3.get, "b/k", sse=SSE_C)),
            (False, partial(s3.head, "b/k", sse=SSE_C)),
            (True, partial(s3.get, "b/k", headers=loud)),
        ]
        for by_hand, call in calls:
            response = await call()
            assert peer.requests[-1].header("x-amz-server-side-encryption-customer-key") == SAID
            peer.requests.clear()
            told = [response, response.__dict__, response.request, response.request.headers]
            for text in map(repr, told):
                assert SAID not in text
            assert SAID.encode() not in pickle.dumps(response)
            assert response.request.headers["x-amz-server-side-encryption-customer-key"] == "[secure]"
            if http is None and not by_hand:
                assert not [one for one in reachable(*told) if isinstance(one, str | bytes) and holds_key(one)]


def holds_key(one: str | bytes) -> bool:
    return (SAID in one) if isinstance(one, str) else (SAID.encode() in one or KEY in one)


@pytest.mark.transport_only("what httpx and httpcore hang on a response is theirs: pool, connection, request")
async def test_answers_forget_the_key() -> None:
    await check_answers_forget_the_key(None)


async def test_answers_of_a_callers_client_forget_the_key() -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as http:  # noqa: S501 - plain http
        await check_answers_forget_the_key(http)


# --- types


@pytest.mark.parametrize(
    ("methods", "kind"),
    [
        ("put put_file upload put_multipart put_file_multipart", "WriteOptions"),
        ("get head download get_file_parallel stream get_ranges", "ReadOptions"),
        ("delete", "DeleteOptions"),
    ],
)
def test_the_same_names_everywhere(methods: str, kind: str) -> None:
    for method in methods.split():
        assert signature(getattr(S3Client, method)).parameters["options"].annotation == f"Unpack[{kind}]"
    for method, wanted in (("upload", "WriteOptions"), ("download", "ReadOptions")):
        assert signature(getattr(Transfers, method)).parameters["options"].annotation == f"Unpack[{wanted}]"


async def what_type_checkers_see(s3: S3Client) -> None:
    """Nobody calls it. What they have to see is marked, and a mark that is not needed is an error, too."""
    await s3.put("b/k", b"", content_typo="x")  # type: ignore[call-arg]
    await s3.put("b/k", b"", content_type=1)  # type: ignore[arg-type]
    await s3.put("b/k", b"", acl="public")  # type: ignore[arg-type]
    await s3.upload("b/k", b"", version_id="x")  # type: ignore[call-arg]
    await s3.get("b/k", sse=SSES3())  # type: ignore[arg-type]
    s3.open("b/k", "rb", content_type="x")  # type: ignore[call-overload]
    s3.open("b/k", "wb", version_id="x")  # type: ignore[call-overload]
    reader: ObjectReader = s3.open("b/k", version_id="x", sse=SSECustomer(KEY))
    writer: ObjectWriter = s3.open("b/k", "wb", content_type="x", sse=SSES3())
    await s3.delete("b/k", version_id=str(reader), if_match=str(writer))


# --- mutations


@pytest.mark.parametrize("anyio_backend", ["asyncio"], indirect=True)
class TestMutations:
    async def test_nothing_is_summed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("handtruck.client.base._KEPT", frozenset())
        with pytest.raises(AssertionError):
            await check_sums_of_what_is_kept(_put, tmp_path)

    async def test_answers_that_tell(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(senders, "SECRET_HEADERS", frozenset())
        with pytest.raises(AssertionError):
            await check_answers_forget_the_key(None)

    async def test_parts_without_the_key(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        right = operations.upload_part

        def forgetful(where: Any, upload: str, number: int, headers: operations.Headers) -> Any:
            return right(where, upload, number, tuple(each for each in headers if "customer" not in each[0]))

        monkeypatch.setattr(operations, "upload_part", forgetful)
        with pytest.raises(AssertionError):
            await check_in_parts(_upload_bytes, tmp_path)

    async def test_an_abort_without_the_owner(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        right = operations.abort_multipart_upload
        monkeypatch.setattr(operations, "abort_multipart_upload", lambda where, upload, _: right(where, upload))
        with pytest.raises(AssertionError):
            await check_undone(_put_stream, tmp_path)

    async def test_ranges_without_the_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        right = operations.get_object
        monkeypatch.setattr(operations, "get_object", lambda where, headers, _: right(where, headers))
        with pytest.raises(AssertionError):
            await check_read(_download, tmp_path)

    async def test_a_journal_of_any_version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "wire_query", lambda _: "")
        assert await goes_on({"version_id": "1"}, {"version_id": "2"}, tmp_path)

    async def test_a_journal_whatever_the_condition(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download.DownloadPlan, "wants", lambda *_: True)
        assert await goes_on({}, {"if_unmodified_since": NOON}, tmp_path)
