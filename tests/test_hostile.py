"""S3 as it really is: every trap that a peer can set, seen through the public API.

What a guarantee rests on is written as a ``check_…`` function, so that a mutation beside it can take the guarantee's
code away and see the check fail.
"""

from __future__ import annotations

import gzip
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck.credentials import AbstractCredentials
from handtruck.errors import (
    AccessDenied,
    ConnectionFailed,
    HandtruckError,
    InvalidResponse,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    S3Error,
    Throttled,
    TransferTimeout,
)
from handtruck.models import Credentials, ObjectPage
from handtruck.protocol import documents
from handtruck.protocol.retry import Outcome
from tests.scripted import (
    RESET,
    SILENCE,
    Reply,
    Request,
    TinyS3,
    client,
    completed_in_200,
    drip,
    error,
    serve,
    store,
    truncated,
    xml,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from handtruck import S3Client, UploadResult
    from handtruck.protocol.operations import Operation
    from handtruck.transfer.fetch import Fetch

pytestmark = pytest.mark.anyio

PART: Final = 1000
BODY: Final = bytes(range(256)) * 14  # 3 584 bytes: three whole parts and a shorter one
PARTS: Final = 4
OLD: Final = b"what was there before"

GOES_RED: Final = (AssertionError, pytest.fail.Exception)


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kilobytes do where S3 wants megabytes: nothing here depends on the size of a part."""
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)
    monkeypatch.setattr("handtruck.transfer.multipart._LOOK_AGAIN", 0)


@pytest.fixture(name="waits")
def _waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been waited for between attempts; nobody waits."""
    waits: list[float] = []

    async def sleep(delay: float) -> None:
        waits.append(delay)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr("anyio.sleep", sleep)
    return waits


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> Path:
    """A file that exists before it is downloaded to."""
    target = tmp_path / "target"
    target.write_bytes(OLD)
    return target


def untouched(target: Path) -> bool:
    """The file is what it was, and nothing lies beside it."""
    return target.read_bytes() == OLD and list(target.parent.iterdir()) == [target]


async def upload(s3: S3Client, **options: Any) -> UploadResult:
    return await s3.put_multipart("b/k", BODY, part_size=PART, **options)


async def download(s3: S3Client, target: Path, **options: Any) -> None:
    await s3.get_file_parallel("b/k", target, range_step=PART, **options)


def ranges(tiny: TinyS3) -> list[str | None]:
    return [request.header("range") for request in tiny.sent("GetObject")]


def notes(error: BaseException) -> str:
    return "\n".join(getattr(error, "__notes__", ()))


# -- Complete: 200 is not a yes ----------------------------------------------------------------------------------------


async def check_error_in_200_fails_the_upload() -> None:
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", completed_in_200("InternalError"))
        with pytest.raises(S3Error) as caught:
            await upload(s3)
        assert (caught.value.status, caught.value.code, caught.value.attempts) == (200, "InternalError", 4)
        assert caught.value.operation == "CompleteMultipartUpload"
        assert caught.value.request_id == "R-1"
        assert len(tiny.sent("CompleteMultipartUpload")) == 4
        assert tiny.uploads == {}
        assert tiny.objects == {}


async def test_error_in_200_of_complete_is_retried_then_raised_and_the_upload_aborted() -> None:
    await check_error_in_200_fails_the_upload()


async def test_mutation_a_body_of_200_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck._session.parse_error", lambda _: None)
    monkeypatch.setattr("handtruck.protocol.documents.parse_completed_etag", lambda _: None)
    with pytest.raises(GOES_RED):
        await check_error_in_200_fails_the_upload()


async def test_one_error_in_200_is_overcome() -> None:
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", completed_in_200("InternalError"), nth=1)
        result = await upload(s3)
        assert tiny.objects["b/k"].data == BODY
        assert result.etag == tiny.objects["b/k"].etag
        assert tiny.names.count("CompleteMultipartUpload") == 2


async def test_an_error_in_200_that_will_not_change_is_final() -> None:
    """Its code decides, as everywhere: InvalidPart stays InvalidPart however often one asks."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", completed_in_200("AccessDenied"))
        with pytest.raises(AccessDenied):
            await upload(s3)
        assert tiny.uploads == {}


async def test_blanks_that_keep_the_connection_alive() -> None:
    """AWS sends them for minutes, ahead of the document; here byte by byte."""

    def late(request: Request) -> Reply:
        reply = tiny.CompleteMultipartUpload(request, "b/k")
        return drip(replace(reply, body=b" \r\n\t" * 50 + reply.body))

    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", _after_body(late))
        result = await upload(s3)
        assert result.etag == tiny.objects["b/k"].etag
        assert tiny.names.count("CompleteMultipartUpload") == 1


def _after_body(answer: Callable[[Request], Reply]) -> Callable[[Request], Any]:
    async def bend(request: Request) -> Reply:
        await request.read()
        return answer(request)

    return bend


NONSENSE: Final = [
    b"",
    b"   ",
    b"<CompleteMultipartUploadResult><ETag>",
    b"<Another/>",
    b"<html>hello</html>",
    b"\xff\xfe",
]


@pytest.mark.parametrize("body", NONSENSE)
async def test_nonsense_from_complete_is_asked_again_and_head_decides(body: bytes) -> None:
    """It was carried out: the second try finds no upload, and HEAD shows our ETag."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", after=Reply(body=body), nth=1)
        result = await upload(s3)
        assert result.etag == tiny.objects["b/k"].etag
        assert tiny.objects["b/k"].data == BODY
        assert tiny.names[-3:] == ["CompleteMultipartUpload", "CompleteMultipartUpload", "HeadObject"]


@pytest.mark.parametrize("body", NONSENSE)
async def test_nothing_but_nonsense_from_complete(body: bytes) -> None:
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", Reply(body=body))
        with pytest.raises(OutcomeUnknown) as caught:
            await upload(s3)
        assert caught.value.upload_id == "upload-1"
        assert isinstance(caught.value.__cause__, InvalidResponse)
        assert tiny.names.count("CompleteMultipartUpload") == 4
        assert tiny.uploads == {}


async def test_an_answer_of_complete_that_breaks_off() -> None:
    async with store() as (s3, tiny):
        tiny.on(
            "CompleteMultipartUpload",
            _after_body(lambda r: truncated(tiny.CompleteMultipartUpload(r, "b/k"), 40)),
            nth=1,
        )
        result = await upload(s3)
        assert result.etag == tiny.objects["b/k"].etag


async def test_complete_without_an_etag() -> None:
    """Ceph leaves it empty; it is made of the parts'."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", after=xml("CompleteMultipartUploadResult", ETag=""))
        assert (await upload(s3)).etag == tiny.objects["b/k"].etag


# -- Complete: the answer is lost --------------------------------------------------------------------------------------


async def test_a_lost_answer_to_complete_and_then_no_such_upload_is_success_if_the_etag_is_ours() -> None:
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", after=RESET, nth=1)
        result = await upload(s3)
        assert result.etag == tiny.objects["b/k"].etag
        assert (result.size, result.parts) == (len(BODY), PARTS)
        assert tiny.names[-3:] == ["CompleteMultipartUpload", "CompleteMultipartUpload", "HeadObject"]
        assert "AbortMultipartUpload" not in tiny.names


async def test_a_server_that_completes_twice_needs_no_head() -> None:
    """AWS answers the second Complete as it did the first."""
    async with store() as (s3, tiny):
        said: list[Reply] = []

        def lose(request: Request) -> Reply:
            said.append(tiny.CompleteMultipartUpload(request, "b/k"))
            return RESET

        tiny.on("CompleteMultipartUpload", lambda _: said[0])
        tiny.on("CompleteMultipartUpload", _after_body(lose), nth=1)
        assert (await upload(s3)).etag == tiny.objects["b/k"].etag
        assert "HeadObject" not in tiny.names


async def check_an_older_object_of_the_same_size_is_not_ours() -> None:
    async with store() as (s3, tiny):
        old = tiny.put("b/k", bytes(len(BODY)))
        tiny.on("CompleteMultipartUpload", error(404, "NoSuchUpload"))
        tiny.on("CompleteMultipartUpload", RESET, nth=1)
        with pytest.raises(OutcomeUnknown) as caught:
            await upload(s3)
        assert caught.value.upload_id == "upload-1"
        assert "upload-1" in str(caught.value)
        assert isinstance(caught.value.__cause__, NotFound)
        assert tiny.objects["b/k"].etag == old
        assert tiny.uploads == {}


async def test_an_older_object_of_the_same_size_does_not_pass_for_ours() -> None:
    await check_an_older_object_of_the_same_size_is_not_ours()


async def test_mutation_any_object_passes_for_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.multipart.same_etag", lambda *_: True)
    with pytest.raises(GOES_RED):
        await check_an_older_object_of_the_same_size_is_not_ours()


async def test_etags_that_are_no_md5_prove_nothing() -> None:
    """SSE-KMS, R2: whether the object is ours cannot be told."""
    async with store() as (s3, tiny):
        tiny.on("UploadPart", after=Reply(headers=(("ETag", '"opaque"'),)))
        tiny.on("CompleteMultipartUpload", error(404, "NoSuchUpload"))
        tiny.on("CompleteMultipartUpload", RESET, nth=1)
        tiny.put("b/k", BODY)
        with pytest.raises(OutcomeUnknown):
            await upload(s3)


async def test_no_such_upload_at_once_is_what_it_says() -> None:
    """Nothing was lost, so there is nothing to find out."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", error(404, "NoSuchUpload"))
        with pytest.raises(NotFound) as caught:
            await upload(s3)
        assert caught.value.code == "NoSuchUpload"
        assert "HeadObject" not in tiny.names


@pytest.mark.parametrize(
    "answer", [error(500, "InternalError"), error(503, "SlowDown"), completed_in_200("InternalError")]
)
async def test_an_error_of_complete_is_not_believed_where_the_object_is_ours(answer: Reply) -> None:
    """It failed on its way back: HEAD knows better."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", answer)
        tiny.on("CompleteMultipartUpload", after=answer, nth=1)
        result = await upload(s3)
        assert result.etag == tiny.objects["b/k"].etag
        assert tiny.names[-1] == "HeadObject"


@pytest.mark.parametrize(
    "answer", [error(409, "ConditionalRequestConflict"), completed_in_200("ConditionalRequestConflict")]
)
async def test_a_conflict_of_complete_is_final(answer: Reply) -> None:
    """Only a new upload could succeed."""
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", answer)
        with pytest.raises(S3Error, match="ConditionalRequestConflict"):
            await upload(s3, headers={"If-None-Match": "*"})
        assert tiny.names.count("CompleteMultipartUpload") == 1
        assert tiny.uploads == {}


async def test_every_answer_to_complete_is_lost() -> None:
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", RESET)
        tiny.on("HeadObject", RESET)
        with pytest.raises(OutcomeUnknown) as caught:
            await upload(s3)
        assert isinstance(caught.value.__cause__, ConnectionFailed)
        assert caught.value.upload_id == "upload-1"


async def check_a_conditional_complete_is_not_sent_again() -> None:
    async with store() as (s3, tiny):
        tiny.on("CompleteMultipartUpload", after=RESET, nth=1)
        result = await upload(s3, headers={"If-None-Match": "*"})
        assert result.etag == tiny.objects["b/k"].etag
        assert tiny.names[-3:] == ["CompleteMultipartUpload", "ListParts", "HeadObject"]
        assert tiny.names.count("CompleteMultipartUpload") == 1
        assert tiny.sent("CompleteMultipartUpload")[0].header("if-none-match") == "*"
        assert not any(r.header("if-none-match") for name, r in tiny.calls if name != "CompleteMultipartUpload")


async def test_a_conditional_complete_is_not_sent_again_and_head_decides() -> None:
    await check_a_conditional_complete_is_not_sent_again()


async def test_mutation_conditional_writes_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for family in ("objects", "multipart"):
        monkeypatch.setattr(f"handtruck.protocol.operations.{family}.is_conditional", lambda _: False)
    with pytest.raises((*GOES_RED, HandtruckError)):
        await check_a_conditional_complete_is_not_sent_again()
    with pytest.raises((*GOES_RED, HandtruckError)):
        await check_a_conditional_put_is_not_sent_again()


async def test_a_complete_whose_condition_fails() -> None:
    async with store() as (s3, tiny):
        old = tiny.put("b/k", OLD)
        with pytest.raises(PreconditionFailed):
            await upload(s3, headers={"If-None-Match": "*"})
        assert tiny.objects["b/k"].etag == old
        assert tiny.uploads == {}


# -- Create ------------------------------------------------------------------------------------------------------------


async def check_a_lost_answer_to_create_is_told() -> None:
    async with store() as (s3, tiny):
        tiny.on("CreateMultipartUpload", after=RESET)
        with pytest.raises(ConnectionFailed) as caught:
            await upload(s3)
        assert tiny.names == ["CreateMultipartUpload"]
        assert "an unfinished upload of b/k may remain" in notes(caught.value)


async def test_a_lost_answer_to_create_is_not_asked_again_and_said() -> None:
    await check_a_lost_answer_to_create_is_told()


async def test_a_create_that_is_never_answered_is_told_too() -> None:
    async with store() as (s3, tiny):
        tiny.on("CreateMultipartUpload", SILENCE)
        with pytest.raises(TransferTimeout) as caught:
            await upload(s3, timeout=httpx.Timeout(10, read=0.05))
        assert tiny.names == ["CreateMultipartUpload"]
        assert "an unfinished upload of b/k may remain" in notes(caught.value)


async def test_mutation_create_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import handtruck.protocol.operations as operations

    create = operations.create_multipart_upload
    monkeypatch.setattr(operations, "create_multipart_upload", lambda *a: replace(create(*a), idempotent=True))
    with pytest.raises(GOES_RED):
        await check_a_lost_answer_to_create_is_told()


@pytest.mark.parametrize("body", [*NONSENSE, b"<InitiateMultipartUploadResult/>"])
async def test_nonsense_from_create(body: bytes) -> None:
    async with store() as (s3, tiny):
        tiny.on("CreateMultipartUpload", after=Reply(body=body))
        with pytest.raises(InvalidResponse, match="CreateMultipartUpload b/k") as caught:
            await upload(s3)
        assert tiny.names == ["CreateMultipartUpload"]
        assert "may remain" in notes(caught.value)


async def test_a_refused_create_is_sent_again() -> None:
    """503 says that nothing was done; so does an error inside a 200."""
    async with store() as (s3, tiny):
        tiny.on("CreateMultipartUpload", error(503, "SlowDown"), nth=1)
        tiny.on("CreateMultipartUpload", completed_in_200("InternalError"), nth=2)
        await upload(s3)
        assert tiny.names.count("CreateMultipartUpload") == 3
        assert tiny.uploads == {}


async def test_a_create_that_is_refused_for_good_leaves_nothing() -> None:
    async with store() as (s3, tiny):
        tiny.on("CreateMultipartUpload", error(403, "AccessDenied"))
        with pytest.raises(AccessDenied) as caught:
            await upload(s3)
        assert tiny.names == ["CreateMultipartUpload"]
        assert notes(caught.value) == ""


# -- Parts and undo ----------------------------------------------------------------------------------------------------


async def check_a_failed_upload_is_aborted() -> None:
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(400, "InvalidRequest"), nth=3)
        with pytest.raises(S3Error) as caught:
            await upload(s3)
        assert caught.value.code == "InvalidRequest"
        assert tiny.uploads == {}
        assert tiny.objects == {}
        assert notes(caught.value) == ""


async def test_a_failed_upload_is_aborted() -> None:
    await check_a_failed_upload_is_aborted()


async def test_mutation_nothing_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def forget(self: object) -> None:
        pass

    monkeypatch.setattr("handtruck.transfer.multipart.MultipartUpload._abort", forget)
    with pytest.raises(GOES_RED):
        await check_a_failed_upload_is_aborted()


async def test_a_part_without_an_etag() -> None:
    async with store() as (s3, tiny):
        tiny.on("UploadPart", after=Reply(), key="b/k")
        with pytest.raises(InvalidResponse, match=r"UploadPart b/k.*no ETag"):
            await upload(s3)
        assert tiny.names.count("UploadPart") == 3
        assert tiny.uploads == {}


async def test_a_part_whose_answer_is_lost_is_sent_again_whole() -> None:
    async with store() as (s3, tiny):
        tiny.on("UploadPart", after=RESET, nth=2)
        await upload(s3)
        assert tiny.objects["b/k"].data == BODY
        second = [r.body for r in tiny.sent("UploadPart") if r.query["partNumber"] == "2"]
        assert second == [BODY[PART : 2 * PART]] * 2


async def test_an_abort_is_repeated_while_parts_are_shown() -> None:
    """A part that was still being written when the upload was aborted comes to light later."""
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"), nth=2)
        tiny.on("AbortMultipartUpload", Reply(status=204), nth=1)
        with pytest.raises(AccessDenied) as caught:
            await upload(s3)
        assert tiny.names[-4:] == ["AbortMultipartUpload", "ListParts"] * 2
        assert tiny.uploads == {}
        assert notes(caught.value) == ""


async def test_an_upload_that_will_not_go_away_is_named() -> None:
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(403, "AccessDenied"))
        tiny.on("AbortMultipartUpload", Reply(status=204))
        with pytest.raises(AccessDenied) as caught:
            await upload(s3)
        assert tiny.names.count("AbortMultipartUpload") == 4
        assert "the unfinished upload upload-1 of b/k may remain" in notes(caught.value)


@pytest.mark.parametrize("answer", [error(403, "AccessDenied"), RESET, Reply(raw=b"nonsense\r\n\r\n", then="close")])
async def test_an_abort_that_fails_names_the_upload(answer: Reply) -> None:
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(400, "InvalidRequest"))
        tiny.on("AbortMultipartUpload", answer)
        with pytest.raises(S3Error, match="InvalidRequest") as caught:
            await upload(s3)
        assert "the unfinished upload upload-1 of b/k may remain" in notes(caught.value)


async def test_an_abort_whose_answer_was_lost_is_no_missing_upload() -> None:
    """Found: on a connection that was used before, the transport asked again by itself, and nobody knew."""
    async with store() as (s3, tiny):
        await s3.put("b/k", b"x")
        await s3.post("b/k", params={"uploads": None})
        tiny.on("AbortMultipartUpload", after=RESET, nth=1)
        await s3.abort_multipart_upload("b/k", "upload-1")
        assert tiny.names.count("AbortMultipartUpload") == 2


async def test_an_abort_that_is_never_answered_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.multipart.GRACE", 0.1)
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(400, "InvalidRequest"))
        tiny.on("AbortMultipartUpload", SILENCE)
        with pytest.raises(S3Error, match="InvalidRequest") as caught:
            await upload(s3)
        assert "upload-1 of b/k may remain" in notes(caught.value)
        assert "no answer within 0." in notes(caught.value)


async def test_an_upload_that_somebody_else_aborted() -> None:
    """The abort finds nothing: that is what it wanted."""
    async with store() as (s3, tiny):
        tiny.on("UploadPart", error(404, "NoSuchUpload"), nth=2)
        tiny.on("AbortMultipartUpload", error(404, "NoSuchUpload"))
        with pytest.raises(NotFound) as caught:
            await upload(s3)
        assert notes(caught.value) == ""


# -- Downloads: broken bodies ------------------------------------------------------------------------------------------


@asynccontextmanager
async def stored(data: bytes = BODY, **options: Any) -> AsyncIterator[tuple[S3Client, TinyS3]]:
    async with store(**options) as (s3, tiny):
        tiny.put("b/k", data)
        yield s3, tiny


def broken(tiny: TinyS3, sent: int, then: Any = "close") -> Callable[[Request], Reply]:
    return lambda request: truncated(tiny.GetObject(request, "b/k"), sent, then)


async def check_a_short_body_is_resumed(target: Path) -> None:
    async with stored() as (s3, tiny):
        etag = tiny.objects["b/k"].etag
        tiny.on("GetObject", broken(tiny, 300), nth=2)
        await download(s3, target)
        assert target.read_bytes() == BODY
        assert ranges(tiny) == [
            "bytes=0-999",
            "bytes=1000-1999",
            "bytes=1300-1999",
            "bytes=2000-2999",
            "bytes=3000-3583",
        ]
        assert [request.header("if-match") for request in tiny.sent("GetObject")] == [None, *[etag] * 4]


async def test_a_short_body_is_resumed_where_it_broke_with_the_same_etag(target: Path) -> None:
    await check_a_short_body_is_resumed(target)


async def test_mutation_no_if_match(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.transfer import fetch as module

    ask = module.Fetch.operation

    def unconditional(self: Fetch) -> Operation[Any]:
        operation = ask(self)
        return replace(operation, headers=tuple(h for h in operation.headers if h[0] != "If-Match"))

    monkeypatch.setattr(module.Fetch, "operation", unconditional)
    with pytest.raises(GOES_RED):
        await check_a_short_body_is_resumed(target)


async def test_a_short_first_body_is_resumed_with_the_etag_it_told(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", broken(tiny, 999), nth=1)
        await download(s3, target, workers_count=3)
        assert target.read_bytes() == BODY
        assert sorted(filter(None, ranges(tiny)))[:2] == ["bytes=0-999", "bytes=1000-1999"]
        resumed = [r for r in tiny.sent("GetObject") if r.header("range") == "bytes=999-999"]
        assert [r.header("if-match") for r in resumed] == [tiny.objects["b/k"].etag]


async def test_a_body_that_always_breaks_fails_the_download(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", broken(tiny, 0))
        with pytest.raises(ConnectionFailed) as caught:
            await download(s3, target, range_get_tries=3)
        assert caught.value.attempts == 3
        assert len(tiny.calls) == 3
        assert untouched(target)


@pytest.mark.parametrize("nth", [1, 2, 4])
async def test_a_reset_in_the_middle_of_a_body_is_overcome(target: Path, nth: int) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", broken(tiny, 300, "reset"), nth=nth)
        await download(s3, target, workers_count=2)
        assert target.read_bytes() == BODY


async def test_a_slow_drip_is_a_download(target: Path) -> None:
    """A byte at a time is no stall: timeouts are for every read, not for the whole."""
    async with stored(BODY[:400]) as (s3, tiny):
        tiny.on("GetObject", lambda request: drip(tiny.GetObject(request, "b/k")))
        await s3.get_file_parallel("b/k", target, range_step=100, workers_count=2, timeout=5)
        assert target.read_bytes() == BODY[:400]


async def test_a_body_longer_than_its_range(target: Path) -> None:
    """Without a length the excess is seen in the body itself."""

    def longer(request: Request) -> Reply:
        reply = tiny.GetObject(request, "b/k")
        return replace(reply, body=reply.body + b"x", then="close").plus(("Content-Length", None))

    async with stored() as (s3, tiny):
        tiny.on("GetObject", longer, nth=2)
        await download(s3, target)
        assert target.read_bytes() == BODY
        tiny.on("GetObject", longer)
        target.write_bytes(OLD)
        with pytest.raises(InvalidResponse, match="longer than the 1000 bytes"):
            await download(s3, target)
        assert untouched(target)


async def test_a_body_that_ends_too_early_without_saying_so(target: Path) -> None:
    """No Content-Length: only the Content-Range tells that something is missing; and it is fetched."""

    def shorter(request: Request) -> Reply:
        reply = tiny.GetObject(request, "b/k")
        return replace(reply, body=reply.body[:10], then="close").plus(("Content-Length", None))

    async with stored() as (s3, tiny):
        tiny.on("GetObject", shorter, nth=2)
        await download(s3, target)
        assert target.read_bytes() == BODY
        assert ranges(tiny)[1:3] == ["bytes=1000-1999", "bytes=1010-1999"]


# -- Downloads: ranges that are not those asked for --------------------------------------------------------------------


def whole(tiny: TinyS3) -> Callable[[Request], Reply]:
    """Range ignored: the whole object, 200, no Content-Range."""
    found = tiny.objects["b/k"]
    return lambda _: Reply(headers=(("ETag", found.etag),), body=found.data)


async def check_an_ignored_range_is_refused(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: whole(tiny)(r) if r.header("range") != "bytes=0-999" else None)
        with pytest.raises(InvalidResponse, match="GetObject b/k: the Range header was ignored"):
            await download(s3, target)
        assert untouched(target)


async def test_the_whole_object_is_no_answer_to_a_later_range(target: Path) -> None:
    await check_an_ignored_range_is_refused(target)


async def test_mutation_200_is_written_at_an_offset(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.transfer.fetch import Fetch

    def trust(self: Fetch, response: httpx.Response) -> int:
        assert self.stop is not None
        return self.stop - self.position

    async def closed(self: Fetch, *_: object) -> None:
        """No look at what comes behind the bytes that were counted."""

    monkeypatch.setattr(Fetch, "_understand_whole", trust)
    monkeypatch.setattr(Fetch, "_expect_end", closed)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        await check_an_ignored_range_is_refused(target)
    assert target.read_bytes() not in (OLD, BODY)


@pytest.mark.parametrize("workers", [1, 3])
async def test_the_whole_object_is_an_answer_to_the_first_range(target: Path, workers: int) -> None:
    """A server that knows no ranges at all: one request brings everything."""
    async with stored() as (s3, tiny):
        tiny.on("GetObject", whole(tiny))
        result = await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=workers)
        assert target.read_bytes() == BODY
        assert (result.size, result.etag) == (len(BODY), tiny.objects["b/k"].etag)
        assert ranges(tiny) == ["bytes=0-999"]


async def test_a_whole_object_that_breaks_off_is_fetched_again_from_its_beginning(target: Path) -> None:
    """Nothing of a server without ranges can be resumed, and what was written before must not stay behind it."""
    async with stored() as (s3, tiny):
        tiny.on("GetObject", whole(tiny))
        tiny.on("GetObject", lambda r: truncated(whole(tiny)(r), 2500), nth=1)
        await download(s3, target)
        assert target.read_bytes() == BODY
        assert len(tiny.calls) == 2


async def test_a_range_in_a_200_is_good_if_its_content_range_is(target: Path) -> None:
    """That is how rclone answers."""
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: replace(tiny.GetObject(r, "b/k"), status=200))
        await download(s3, target, workers_count=2)
        assert target.read_bytes() == BODY
        assert len(tiny.calls) == PARTS


@pytest.mark.parametrize(
    "said",
    [
        "bytes 0-999/3584",  # another range
        "bytes 1000-1998/3584",  # a shorter one
        "bytes 1000-2000/3584",
        "bytes 1000-1999/*",  # of what?
        "bytes */3584",
        "bytes 1999-1000/3584",
        "bytes 1000-1999/1500",
        "bits 1000-1999/3584",
        "bytes 1000-1999/99999999999999999999",
        "",
    ],
)
async def test_a_wrong_content_range_is_refused(target: Path, said: str) -> None:
    async with stored() as (s3, tiny):
        wrong = ("Content-Range", said)
        tiny.on(
            "GetObject", lambda r: tiny.GetObject(r, "b/k").plus(wrong) if "1000" in str(r.header("range")) else None
        )
        with pytest.raises(InvalidResponse, match="Content-Range"):
            await download(s3, target)
        assert untouched(target)


async def test_a_content_length_that_contradicts_the_content_range(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: replace(tiny.GetObject(r, "b/k"), body=b"short"))
        with pytest.raises(InvalidResponse, match="Content-Length 5 contradicts"):
            await download(s3, target)
        assert untouched(target)


async def test_206_without_a_content_range(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: tiny.GetObject(r, "b/k").plus(("Content-Range", None)))
        with pytest.raises(InvalidResponse):
            await download(s3, target)
        assert untouched(target)


@pytest.mark.parametrize("workers", [1, 4])
async def test_an_empty_object_has_no_ranges(target: Path, workers: int) -> None:
    """416 to bytes=0-999: there is no byte 0."""
    async with stored(b"") as (s3, tiny):
        result = await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=workers)
        assert target.read_bytes() == b""
        assert result.size == 0
        assert ranges(tiny) == ["bytes=0-999"]


@pytest.mark.parametrize("workers", [1, 4])
async def test_416_to_a_range_that_goes_on_behind_the_end_is_no_empty_object(target: Path, workers: int) -> None:
    """The answer itself says how long the object is: then it is asked for as a whole."""
    async with stored(b"hello") as (s3, tiny):
        beyond = error(416, "InvalidRange", "", ("Content-Range", "bytes */5"))
        tiny.on("GetObject", lambda r: beyond if r.header("range") else None)
        result = await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=workers)
        assert (target.read_bytes(), result.size) == (b"hello", 5)
        assert result.etag == tiny.objects["b/k"].etag
        async with s3.open("b/k") as file:
            assert (file.size, await file.read()) == (5, b"hello")
        with pytest.raises(S3Error, match="416 InvalidRange: bytes up to 10 were asked for, the object has 5"):
            await s3.get_ranges("b/k", [(0, 10)])


async def test_an_empty_object_as_200(target: Path) -> None:
    async with stored(b"") as (s3, tiny):
        tiny.on("GetObject", whole(tiny))
        assert (await s3.get_file_parallel("b/k", target)).size == 0
        assert target.read_bytes() == b""


async def test_416_to_a_later_range_is_a_changed_object(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: error(416, "InvalidRange") if r.header("if-match") else None)
        with pytest.raises(PreconditionFailed, match="replaced while it was downloaded"):
            await download(s3, target)
        assert untouched(target)


# -- Downloads: encodings ----------------------------------------------------------------------------------------------


async def test_identity_is_asked_for_and_stored_gzip_arrives_as_it_is_stored(target: Path) -> None:
    packed = gzip.compress(BODY, mtime=0)
    async with store() as (s3, tiny):
        tiny.put("b/k", packed, content_encoding="gzip")
        await s3.get_file_parallel("b/k", target, range_step=100, workers_count=2)
        assert target.read_bytes() == packed
        assert {request.header("accept-encoding") for _, request in tiny.calls} == {"identity"}


async def test_gzip_that_nobody_asked_for(target: Path) -> None:
    """A proxy packs a range on its way: the lengths betray it."""

    def packed(request: Request) -> Reply:
        reply = tiny.GetObject(request, "b/k")
        return replace(reply, body=gzip.compress(reply.body, mtime=0)).plus(("Content-Encoding", "gzip"))

    async with stored(b"a" * 3000) as (s3, tiny):
        tiny.on("GetObject", packed)
        with pytest.raises(InvalidResponse, match="contradicts Content-Range"):
            await download(s3, target)
        assert untouched(target)


async def test_gzip_of_unknown_length_that_nobody_asked_for(target: Path) -> None:
    def packed(request: Request) -> Reply:
        reply = whole(tiny)(request)
        reply = replace(reply, body=gzip.compress(reply.body, mtime=0), then="close")
        return reply.plus(("Content-Encoding", "gzip"), ("Content-Length", None))

    async with stored() as (s3, tiny):
        tiny.on("GetObject", packed)
        with pytest.raises(InvalidResponse, match="encoding"):
            await download(s3, target)
        assert untouched(target)


async def test_gzip_around_s3s_own_documents() -> None:
    def packed(request: Request) -> Reply:
        reply = tiny.ListObjectsV2(request, "b")
        return replace(reply, body=gzip.compress(reply.body)).plus(("Content-Encoding", "gzip"))

    async with stored() as (s3, tiny):
        tiny.on("ListObjectsV2", packed)
        assert [obj.key async for page in s3.list_objects_v2("b") for obj in page] == ["k"]


# httpx leaves its generators suspended where decoding fails, and trio warns of such.
@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")
async def test_a_claim_of_gzip_that_is_none() -> None:
    async with stored() as (s3, tiny):
        tiny.on("ListObjectsV2", Reply(headers=(("Content-Encoding", "gzip"),), body=b"not packed at all"))
        with pytest.raises(InvalidResponse):
            await anext(s3.list_objects_v2("b"))
        tiny.on("GetObject", Reply(headers=(("Content-Encoding", "gzip"),), body=b"not packed at all"))
        with pytest.raises(ConnectionFailed, match=r"incorrect header check.*4 attempts"):
            await s3.get("b/k")


# -- Downloads: the object changes -------------------------------------------------------------------------------------


def swap(tiny: TinyS3) -> Callable[[Request], Reply | None]:
    """Replace the object, by another of the same size, once its first range was read."""

    def bend(request: Request) -> Reply | None:
        reply = tiny.GetObject(request, "b/k")
        tiny.put("b/k", BODY[::-1])
        return reply

    return bend


async def test_a_changed_object_is_412(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", swap(tiny), nth=1)
        with pytest.raises(PreconditionFailed, match="replaced while it was downloaded") as caught:
            await download(s3, target)
        assert (caught.value.bucket, caught.value.key) == ("b", "k")
        assert len(tiny.calls) == 2
        assert untouched(target)


def ignoring_if_match(tiny: TinyS3, request: Request) -> Reply:
    blind = replace_headers(request, "if-match")
    return tiny.GetObject(blind, "b/k")


def replace_headers(request: Request, without: str) -> Request:
    left = [(name, value) for name, value in request.headers if name.lower() != without]
    return Request(request.line, left, request.connection, request.wire)


async def check_a_changed_etag_is_noticed(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: ignoring_if_match(tiny, r))
        tiny.on("GetObject", swap(tiny), nth=1)
        with pytest.raises(PreconditionFailed, match="its ETag was"):
            await download(s3, target)
        assert untouched(target)


async def test_a_changed_object_is_noticed_where_if_match_is_ignored(target: Path) -> None:
    await check_a_changed_etag_is_noticed(target)


async def test_mutation_etags_are_not_compared(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.fetch.same_etag", lambda *_: True)
    with pytest.raises(GOES_RED):
        await check_a_changed_etag_is_noticed(target)


async def test_a_changed_size_is_noticed(target: Path) -> None:
    """The same ETag, and all the same another object."""
    async with stored() as (s3, tiny):
        grown = ("Content-Range", "bytes 1000-1999/3585")
        tiny.on(
            "GetObject", lambda r: tiny.GetObject(r, "b/k").plus(grown) if "1000" in str(r.header("range")) else None
        )
        with pytest.raises(PreconditionFailed):
            await download(s3, target)
        assert untouched(target)


async def test_a_later_range_without_an_etag(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: tiny.GetObject(r, "b/k").plus(("ETag", None)) if r.header("if-match") else None)
        with pytest.raises(PreconditionFailed):
            await download(s3, target)
        assert untouched(target)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
async def test_without_a_strong_etag_one_request_brings_the_object(target: Path, etag: str | None) -> None:
    """Nothing would tie ranges to one version."""
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: tiny.GetObject(r, "b/k").plus(("ETag", etag)))
        await download(s3, target, workers_count=3)
        assert target.read_bytes() == BODY
        assert ranges(tiny) == ["bytes=0-999", None]


async def check_a_failed_download_leaves_the_target(target: Path) -> None:
    async with stored() as (s3, tiny):
        tiny.on("GetObject", lambda r: error(500, "InternalError") if "2000" in str(r.header("range")) else None)
        with pytest.raises(S3Error, match="InternalError"):
            await download(s3, target)
        assert untouched(target)


async def test_a_failed_download_leaves_the_target_as_it_was(target: Path) -> None:
    await check_a_failed_download_leaves_the_target(target)


async def test_mutation_what_is_there_is_put_in_place(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.transfer.files import AtomicTarget

    monkeypatch.setattr(AtomicTarget, "discard", lambda self: AtomicTarget.commit(self, 0))
    with pytest.raises(GOES_RED):
        await check_a_failed_download_leaves_the_target(target)


# -- Retries -----------------------------------------------------------------------------------------------------------


async def check_a_storm_is_bounded(waits: list[float]) -> None:
    """Twenty refusals in a row; the client gives up after its four attempts."""
    async with serve([*[error(503, "SlowDown")] * 20, Reply()]) as peer, client(peer) as s3:
        response = await s3.get("b/k")
        assert response.status_code == 503
        assert len(peer.requests) == 4
        assert len(waits) == 3


async def test_a_storm_of_503_is_bounded(waits: list[float]) -> None:
    await check_a_storm_is_bounded(waits)


async def test_mutation_retries_without_end(waits: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "handtruck._session.Retries.again", lambda _, outcome, **__: None if outcome is Outcome.FINAL else 0.0
    )
    with pytest.raises(GOES_RED):
        await check_a_storm_is_bounded(waits)


@pytest.mark.parametrize("attempts", [1, 2, 7])
async def test_the_number_of_attempts_is_the_callers(attempts: int, waits: list[float]) -> None:
    async with serve(error(500, "InternalError")) as peer, client(peer, max_attempts=attempts) as s3:
        with pytest.raises(S3Error) as caught:
            await anext(s3.list_objects_v2("b"))
        assert caught.value.attempts == len(peer.requests) == attempts


async def test_waits_grow_and_are_a_random_part_of_their_limit(waits: list[float]) -> None:
    async with serve(error(503, "SlowDown")) as peer, client(peer, max_attempts=6) as s3:
        s3._session.random = lambda: 0.5
        await s3.get("b/k")
    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])


async def test_retry_after_is_honoured(waits: list[float]) -> None:
    answers = [error(503, "SlowDown", "later", ("Retry-After", "7")), error(429, "TooManyRequests"), Reply(body=b"x")]
    async with serve(answers) as peer, client(peer) as s3:
        assert (await s3.get("b/k")).content == b"x"
    assert waits == [7.0, 0.0]


async def test_more_than_a_minute_is_not_waited_for(waits: list[float]) -> None:
    async with serve(error(503, "SlowDown", "later", ("Retry-After", "61"))) as peer, client(peer) as s3:
        assert (await s3.get("b/k")).status_code == 503
        with pytest.raises(Throttled) as caught:
            await anext(s3.list_objects_v2("b"))
        assert caught.value.retry_after == 61
        assert len(peer.requests) == 2
    assert waits == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "RequestTimeout"),
        (409, "ConditionalRequestConflict"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (502, "Whatever"),
        (503, "ServiceUnavailable"),
        (504, "Whatever"),
    ],
)
async def test_what_passes_is_retried(status: int, code: str, waits: list[float]) -> None:
    async with serve([error(status, code), error(status, code), Reply()]) as peer, client(peer) as s3:
        assert (await s3.put("b/k", b"data")).status_code == 200
        assert [request.body for request in peer.requests] == [b"data"] * 3


async def check_403_is_final() -> None:
    async with serve(error(403, "AccessDenied")) as peer, client(peer) as s3:
        assert (await s3.get("b/k")).status_code == 403
        with pytest.raises(AccessDenied):
            await anext(s3.list_objects_v2("b"))
        assert len(peer.requests) == 2


async def test_403_is_never_retried() -> None:
    await check_403_is_final()


async def test_mutation_403_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.outcomes.classify", lambda *_: Outcome.REFUSED)
    with pytest.raises(GOES_RED):
        await check_403_is_final()


@pytest.mark.parametrize("code", ["SlowDown", "RequestTimeout", "SignatureDoesNotMatch"])
async def test_403_is_final_whatever_its_code(code: str) -> None:
    async with serve(error(403, code)) as peer, client(peer) as s3:
        assert (await s3.put("b/k", b"data")).status_code == 403
        assert len(peer.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 405, 409, 411, 412, 416, 501])
async def test_what_will_not_change_is_asked_once(status: int) -> None:
    async with serve(error(status, "Whatever")) as peer, client(peer) as s3:
        assert (await s3.get("b/k")).status_code == status
        assert len(peer.requests) == 1


GARBAGE: Final = [
    b"",
    b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    b"HTTP/1.1 two hundred\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Len",
]


@pytest.mark.parametrize("head", GARBAGE, ids=range(len(GARBAGE)))
async def test_garbage_for_a_head_is_no_answer(head: bytes) -> None:
    garbage = Reply(raw=head, then="close")
    async with serve(garbage) as peer, client(peer) as s3:
        with pytest.raises(ConnectionFailed, match=r"GetObject b/k at 127\.0\.0\.1") as caught:
            await s3.get("b/k")
        assert caught.value.__cause__ is not None
        assert caught.value.attempts == len(peer.requests) == 4
        with pytest.raises(ConnectionFailed):
            await s3.post("b/k", b"not sent twice")
        assert len(peer.requests) == 5


async def test_one_head_of_garbage_is_overcome() -> None:
    async with serve([Reply(raw=b"garbage\r\n\r\n", then="close"), Reply(body=b"x")]) as peer, client(peer) as s3:
        assert (await s3.get("b/k")).content == b"x"


async def test_informational_answers_are_passed_over() -> None:
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + Reply(body=b"x").wire("GET")
    async with serve(Reply(raw=raw)) as peer, client(peer) as s3:
        assert (await s3.get("b/k")).content == b"x"


@pytest.mark.parametrize("status", [403, 503])
async def test_an_answer_that_comes_while_the_body_is_being_sent(status: int) -> None:
    """It is read, and decides; it is not lost in a broken pipe."""
    early = replace(error(status, "AccessDenied" if status == 403 else "SlowDown"), early=True)
    async with serve([early, Reply()]) as peer, client(peer) as s3:
        response = await s3.put("b/k", bytes(3 << 20))
        assert response.status_code == (403 if status == 403 else 200)
        assert len(peer.requests) == (1 if status == 403 else 2)


@pytest.mark.transport_only("httpcore looks for no answer while a body blocks, and times out")
async def test_an_answer_that_comes_from_a_peer_that_reads_no_further() -> None:
    """The body blocks for good; the answer is there all the same."""
    deaf = replace(error(403, "AccessDenied"), early=True, then="deaf")
    async with serve(deaf) as peer, client(peer, max_attempts=1) as s3:
        response = await s3.put("b/k", bytes(24 << 20), content_sha256="UNSIGNED-PAYLOAD", timeout=0.3)
        assert response.status_code == 403


async def test_an_early_403_ends_an_upload() -> None:
    async with store() as (s3, tiny):
        tiny.on("UploadPart", replace(error(403, "AccessDenied"), early=True))
        with pytest.raises(AccessDenied):
            await s3.put_multipart("b/k", bytes(3 << 20), part_size=1 << 20)
        assert tiny.uploads == {}


async def check_a_conditional_put_is_not_sent_again() -> None:
    async with store() as (s3, tiny):
        tiny.on("PutObject", after=RESET)
        with pytest.raises(ConnectionFailed):
            await s3.put("b/k", b"data", headers={"If-None-Match": "*"})
        with pytest.raises(ConnectionFailed):
            await s3.put_multipart("b/other", b"data", headers={"if-none-match": "*"})
        assert tiny.names == ["PutObject"] * 2


async def test_a_conditional_put_is_not_sent_again_when_its_answer_was_lost() -> None:
    """It may have succeeded, and would then be refused by its own success."""
    await check_a_conditional_put_is_not_sent_again()


async def test_a_conditional_put_that_was_refused_is_sent_again(waits: list[float]) -> None:
    async with store() as (s3, tiny):
        tiny.on("PutObject", error(409, "ConditionalRequestConflict"), nth=1)
        assert (await s3.put("b/k", b"data", headers={"If-None-Match": "*"})).status_code == 200
        assert tiny.names == ["PutObject"] * 2


async def test_a_plain_put_is_sent_again_when_its_answer_was_lost() -> None:
    async with store() as (s3, tiny):
        tiny.on("PutObject", after=RESET, nth=1)
        assert (await s3.put("b/k", b"data")).status_code == 200
        assert tiny.names == ["PutObject"] * 2


# -- Identity ----------------------------------------------------------------------------------------------------------


@dataclass
class Renewable(AbstractCredentials):
    """Keys that get a new number whenever they are rejected."""

    number: int = 1
    rejected: list[str] = field(default_factory=list)

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        if rejected is not None:
            self.rejected.append(rejected.access_key_id)
            self.number += 1
        return Credentials(access_key_id=f"key-{self.number}", secret_access_key="s", session_token="t")


def key_ids(requests: list[Request]) -> list[str]:
    found = (re.search(r"Credential=([^/]+)/", request.header("authorization") or "") for request in requests)
    return [match[1] for match in found if match]


@pytest.mark.parametrize("status", [400, 403])
async def test_an_expired_token_is_refreshed_once(status: int) -> None:
    keys = Renewable()
    async with serve([error(status, "ExpiredToken"), Reply()]) as peer, client(peer, credentials=keys) as s3:
        assert (await s3.put("b/k", b"data")).status_code == 200
        assert key_ids(peer.requests) == ["key-1", "key-2"]
        assert keys.rejected == ["key-1"]
        assert (await s3.get("b/k")).status_code == 200
        assert keys.rejected == ["key-1"]


async def test_a_token_that_stays_expired_is_an_error() -> None:
    keys = Renewable()
    async with serve(error(400, "ExpiredToken")) as peer, client(peer, credentials=keys) as s3:
        with pytest.raises(AccessDenied, match="ExpiredToken"):
            await anext(s3.list_objects_v2("b"))
        assert key_ids(peer.requests) == ["key-1", "key-2"]
        assert keys.rejected == ["key-1"]


async def test_a_token_that_expires_in_the_middle_of_an_upload() -> None:
    keys = Renewable()
    async with store(credentials=keys) as (s3, tiny):
        tiny.on("UploadPart", error(400, "ExpiredToken"), nth=2)
        await upload(s3)
        assert tiny.objects["b/k"].data == BODY
        assert keys.rejected == ["key-1"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("own", [True, False], ids=["own", "callers"])
async def test_redirects_are_never_followed(status: int, own: bool) -> None:
    """Another host must not see a signature made for this one."""
    async with serve(Reply()) as elsewhere, httpx.AsyncClient(follow_redirects=True) as http:
        moved = error(status, "PermanentRedirect", "moved", ("Location", f"{elsewhere.url}/b/k"))
        async with serve(moved) as peer, client(peer, **({} if own else {"client": http})) as s3:
            response = await s3.get("b/k")
            assert response.status_code == status
            assert response.headers["location"] == f"{elsewhere.url}/b/k"
            assert (await s3.put("b/k", b"data")).status_code == status
            with pytest.raises(S3Error, match="PermanentRedirect"):
                await anext(s3.list_objects_v2("b"))
            assert len(peer.requests) == 3
        assert elsewhere.requests == []


# -- Listings ----------------------------------------------------------------------------------------------------------


def page(*rows: str, token: str = "", extra: str = "", namespace: str = "") -> Reply:
    keys = "".join(f"<Contents><Key>{row}</Key></Contents>" for row in rows)
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return Reply(body=f"<ListBucketResult{namespace}>{extra}{keys}{more}</ListBucketResult>".encode())


async def keys_listed(*pages: Reply, **options: Any) -> list[str]:
    async with serve(pages) as peer, client(peer) as s3:
        found = [obj.key async for each in s3.list_objects_v2("b", **options) for obj in each]
        assert len(peer.requests) == len(pages)
        return found


@pytest.mark.parametrize("rows", [(), ("k",)])
async def test_a_token_that_repeats_itself_ends_the_listing_with_an_error(rows: tuple[str, ...]) -> None:
    async with serve(page(*rows, token="again")) as peer, client(peer) as s3:
        with pytest.raises(InvalidResponse, match="ListObjectsV2 b: the same page is offered for ever"):
            _ = [each async for each in s3.list_objects_v2("b")]
        assert len(peer.requests) == 2


@pytest.mark.parametrize(("lead", "circle"), [(0, 2), (1, 3), (5, 7)])
async def test_a_listing_that_runs_in_a_circle_ends_with_an_error(lead: int, circle: int) -> None:
    async def offer(request: Request) -> Reply:
        number = int(request.query.get("continuation-token", "0")) + 1
        return page(token=str(number if number < lead + circle else lead))

    async with serve(offer) as peer, client(peer) as s3:
        with pytest.raises(InvalidResponse, match="the same page is offered for ever"):
            await anext(s3.list_objects_v2("b"))
        assert len(peer.requests) <= 4 * (lead + circle)


async def test_a_long_listing_is_no_circle() -> None:
    pages = [page(str(number), token=str(number + 1)) for number in range(40)]
    assert len(await keys_listed(*pages, page("last"))) == 41


async def test_empty_pages_with_a_token_do_not_end_a_listing() -> None:
    assert await keys_listed(page("a", token="1"), page(token="2"), page(token="3"), page("b")) == ["a", "b"]


async def test_an_empty_listing() -> None:
    assert await keys_listed(page()) == []


async def test_a_token_is_sent_back_as_it_came() -> None:
    async with serve([page("a", token="1/+=&amp;%2F ü", extra="<EncodingType>url</EncodingType>"), page("b")]) as peer:
        async with client(peer) as s3:
            assert len([each async for each in s3.list_objects_v2("b")]) == 2
        assert peer.requests[1].query["continuation-token"] == "1/+=&%2F ü"


async def test_url_encoding_is_undone_only_where_the_answer_says_so() -> None:
    rows = ("a+b%2Bc%0D%FF", "%E6%97%A5")
    encoded = page(*rows, extra="<EncodingType>url</EncodingType>")
    assert await keys_listed(encoded) == ["a b+c\r\udcff", "日"]
    assert await keys_listed(page(*rows)) == list(rows)
    assert await keys_listed(page(*rows), encoding_type=None) == list(rows)


async def test_pages_of_prefixes_only() -> None:
    prefixes = "<EncodingType>url</EncodingType><CommonPrefixes><Prefix>x+y/</Prefix></CommonPrefixes>"
    async with serve([page(extra=prefixes, token="1"), page("k")]) as peer, client(peer) as s3:
        pages = [each async for each in s3.list_objects_v2("b", delimiter="/")]
        assert [each.common_prefixes for each in pages] == [("x y/",), ()]
        assert [len(each) for each in pages] == [0, 1]
        assert peer.requests[0].query["delimiter"] == "/"


async def test_objects_without_any_of_the_optional_fields() -> None:
    async with serve(page("k")) as peer, client(peer) as s3:
        [obj] = await anext(s3.list_objects_v2("b"))
        assert (obj.key, obj.size, obj.etag, obj.storage_class, obj.owner, obj.last_modified) == ("k", *[None] * 5)


@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', ' xmlns="urn:whatever"'])
async def test_namespaces_do_not_matter(namespace: str) -> None:
    assert await keys_listed(page("k", namespace=namespace)) == ["k"]


@pytest.mark.parametrize(
    "body",
    [
        b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
        b"<ListBucketResult><Contents/></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key><Size>many</Size></Contents></ListBucketResult>",
        b"<ListBucketResult><Contents><Key>k</Key>",
        b"<ListAllMyBucketsResult/>",
        b"<!DOCTYPE x [<!ENTITY e 'x'>]><ListBucketResult/>",
        b"<html/>",
        b"",
        b"\x00",
    ],
)
async def test_a_page_that_makes_no_sense_does_not_end_a_listing_quietly(body: bytes) -> None:
    async with serve([page("a", token="1"), Reply(body=body)]) as peer, client(peer) as s3:
        pages = s3.list_objects_v2("b")
        assert len(await anext(pages)) == 1
        with pytest.raises(InvalidResponse, match="ListObjectsV2 b"):
            await anext(pages)


async def test_mutation_what_makes_no_sense_is_an_empty_page(monkeypatch: pytest.MonkeyPatch) -> None:
    right = documents.parse_listed_objects

    def lenient(body: bytes) -> documents.ListedPage:
        try:
            return right(body)
        except InvalidResponse:
            return documents.ListedPage(page=ObjectPage(), token=None)

    monkeypatch.setattr(documents, "parse_listed_objects", lenient)
    with pytest.raises(StopAsyncIteration):  # the listing just ends
        await test_a_page_that_makes_no_sense_does_not_end_a_listing_quietly(b"<ListBucketResult>")


async def test_a_page_that_broke_off_is_asked_for_again() -> None:
    answers = [page("a", token="1"), truncated(page("b"), 20), Reply(body=b"<ListBucketResult>"), page("b")]
    assert await keys_listed(*answers) == ["a", "b"]
