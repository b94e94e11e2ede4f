"""A copy that was cancelled, or has failed, has left nothing behind; and a move never loses the object.

Cancelled at every checkpoint, in every way; then with every request failing in every way that it can; then with a
source, or a copy, that somebody replaces meanwhile. Each mutation at the end breaks one guarantee, and sees its check
go red.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from itertools import count, product
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

import handtruck
from handtruck.credentials import StaticCredentials
from handtruck.errors import (
    AccessDenied,
    HandtruckError,
    InvalidResponse,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    S3Error,
    UsageError,
)
from handtruck.models import CopyResult, Progress
from handtruck.protocol import documents, operations, parts
from handtruck.transfer import copy, multipart
from tests.transfer.checkpoints import ON_ASYNCIO, ON_TRIO, Trial, Way, cases, run, swept
from tests.transfer.memory_s3 import Call, Fault, MemoryS3, etag_of, joint_etag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.anyio

PART: Final = 4096
DATA: Final = bytes(range(251)) * 44  # 11 044 bytes: two whole parts, and one that is not
PIECES: Final = [DATA[start : start + PART] for start in range(0, len(DATA), PART)]
OTHER: Final = DATA[::-1]
OLD: Final = b"what was there before"
SOURCE: Final = "/bucket/source"
TARGET: Final = "/other/target"

LOOPS: Final[tuple[tuple[str, tuple[str, dict[str, bool]], tuple[Way, ...]], ...]] = (
    ("asyncio", ("asyncio", {}), ON_ASYNCIO),
    ("asyncio+uvloop", ("asyncio", {"use_uvloop": True}), ON_ASYNCIO),
    ("trio", ("trio", {}), ON_TRIO),
)
EVERY_WAY: Final = pytest.mark.parametrize(("anyio_backend", "way"), cases(LOOPS), indirect=["anyio_backend"])
ONCE_A_LOOP: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    [pytest.param(("asyncio", {}), Way.NATIVE, id="asyncio"), pytest.param(("trio", {}), Way.TRIO, id="trio")],
    indirect=["anyio_backend"],
)


@dataclass(frozen=True, slots=True)
class Job:
    """A call, and whether it is a move."""

    name: str
    options: dict[str, Any]
    move: bool = False
    existing: bool = False

    def __str__(self) -> str:
        return self.name

    def __call__(self, client: handtruck.S3Client) -> Awaitable[CopyResult]:
        call = client.move if self.move else client.copy
        return call(SOURCE, TARGET, **self.options)


IN_PARTS: Final[dict[str, Any]] = {"part_size": PART, "workers_count": 2}
JOBS: Final = (
    Job("copy", {}),
    Job("copy after a look", {"content_type": "text/x"}, existing=True),
    Job("copy in parts", IN_PARTS),
    Job("copy in parts over another", {**IN_PARTS, "workers_count": 1}, existing=True),
    Job("move", {}, move=True),
    Job("move in parts", IN_PARTS, move=True, existing=True),
)
EVERY_JOB: Final = pytest.mark.parametrize("job", JOBS, ids=str)
BY_NAME: Final = {job.name: job for job in JOBS}
PARTED: Final = BY_NAME["copy in parts"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few KiB go the ways of large ones."""
    monkeypatch.setattr(parts, "MIN_PART_SIZE", 1024)
    monkeypatch.setattr(multipart, "_LOOK_AGAIN", 0)


@asynccontextmanager
async def world(job: Job = PARTED) -> AsyncIterator[tuple[MemoryS3, handtruck.S3Client]]:
    """A new S3, and a client of it that never waits."""
    s3 = MemoryS3()
    s3.put(SOURCE, DATA)
    if job.existing:
        s3.put(TARGET, OLD)
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        client._session.random = lambda: 0.0
        yield s3, client


# -- The checks ----------------------------------------------------------------------------------------------------


def left_behind(s3: MemoryS3, client: handtruck.S3Client, trial: Trial) -> list[str]:
    """Whatever is there that should not be."""
    session = client._session
    found = [f"task {stray}" for stray in trial.strays]
    found += [f"answer {answer}" for answer in s3.answers]
    found += [f"request {s3.in_flight} in flight"] if s3.in_flight else []
    found += [f"token {session.places.taken} of places"] if session.places.taken else []
    found += [f"token {session.threads.borrowed_tokens} of threads"] if session.threads.borrowed_tokens else []
    return found


def torn(s3: MemoryS3, trial: Trial, job: Job) -> list[str]:
    """The copy is whole, or not there; the source is gone only where the copy is whole, and what comes out says so."""
    now = s3.objects.get(TARGET, (None, ""))[0]
    there = SOURCE in s3.objects
    said = "\n".join([trial.text, *trial.notes])
    done = trial.kind is None
    wrong = [] if now in ([DATA] if done else [DATA, OLD if job.existing else None]) else [f"target {now!r:.40}"]
    wrong += ["source is gone"] if not there and (not job.move or now != DATA) else []
    wrong += ["source is there"] if there and job.move and done else []
    if "part_size" in job.options and not done and now == DATA:
        wrong += [] if "written" in said else ["note: nothing says that the copy is there"]
    if job.move and not done:
        # Whoever is told nothing of the source may take it for granted that it is there; and the other way round.
        wrong += ["note: nothing says that it was deleted"] if not there and "deleted" not in said else []
        wrong += ["note: it was not deleted"] if there and f"{SOURCE[1:]} was deleted" in said else []
    return wrong


def after_cancellation(s3: MemoryS3, client: handtruck.S3Client, trial: Trial, job: Job) -> list[str]:
    """All checks. The server answers at once, so that nothing but a move's state is ever to be noted."""
    found = left_behind(s3, client, trial) + torn(s3, trial, job)
    found += [f"open upload {upload_id}" for upload_id in s3.uploads]
    found += [f"note {note}" for note in trial.notes if " was written" not in note]
    if trial.kind is not None and not trial.cancelled:
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found


def after_failure(s3: MemoryS3, client: handtruck.S3Client, trial: Trial, job: Job) -> list[str]:
    """All checks; an upload may be left where the error says so."""
    found = left_behind(s3, client, trial) + torn(s3, trial, job)
    said = "\n".join([trial.text, *trial.notes])
    for upload_id, left in s3.uploads.items():
        if "may remain" not in said or (left.known and upload_id not in said):
            found.append(f"open upload {upload_id}")
    if trial.kind is not None and not issubclass(trial.kind, HandtruckError):
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found


async def at_every_checkpoint(job: Job, way: Way, *, stride: int = 1, late: bool = False) -> tuple[int, list[str]]:
    """Cancel at the first, the second, the third checkpoint …; gives how many there are, and all that was wrong."""
    wrong: list[str] = []
    with swept():
        for at in count(1, stride):
            async with world(job) as (s3, client):
                s3.late = late
                trial = await run(partial(job, client), at=at, way=way)
                found = after_cancellation(s3, client, trial, job)
                wrong += [f"{text} [checkpoint {at} of {job}, {way.value}]" for text in found]
            if not trial.fired:
                return trial.steps, wrong
    raise AssertionError


# -- Cancelled, failed ---------------------------------------------------------------------------------------------


@EVERY_JOB
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(job: Job, way: Way) -> None:
    points, wrong = await at_every_checkpoint(job, way)
    assert not wrong
    assert points > 5


@ONCE_A_LOOP
async def test_parts_that_come_to_light_late(way: Way) -> None:
    """S3 may still be copying a part when the upload is aborted: so we look, and abort again."""
    _, wrong = await at_every_checkpoint(PARTED, way, late=True)
    assert not wrong


class Lasting(Enum):
    """How long a fault lasts."""

    ONCE = "once"
    THIS = "whenever this request is tried again"
    ALL = "for everything that follows"


@dataclass
class Failing:
    """Request ``number`` fails."""

    number: int
    fault: Fault
    lasting: Lasting
    hit: Call | None = None

    def __call__(self, call: Call) -> Fault | None:
        if call.number == self.number:
            self.hit = call
        if self.hit is None:
            return None
        same = (call.operation, call.part, call.path) == (self.hit.operation, self.hit.part, self.hit.path)
        again = self.lasting is Lasting.ALL or (self.lasting is Lasting.THIS and same)
        return self.fault if again or call is self.hit else None


@EVERY_JOB
@pytest.mark.parametrize("anyio_backend", [loop for _, loop, _ in LOOPS], ids=str, indirect=True)
async def test_every_request_fails(job: Job) -> None:
    """In every way: once, each time that it is tried again, or with all that follow."""
    wrong: list[str] = []
    tries = 0
    with swept():
        for fault, lasting in product(Fault, Lasting):
            for number in count(1):
                failing = Failing(number, fault, lasting)
                async with world(job) as (s3, client):
                    s3.fault = failing
                    trial = await run(partial(job, client))
                    wrong += [f"{text} [{failing}: {trial}]" for text in after_failure(s3, client, trial, job)]
                if failing.hit is None:
                    break
                tries += 1
    assert not wrong
    assert tries >= len(Fault) * len(Lasting)


async def test_what_is_asked_for() -> None:
    """A plain copy is one request; what must be known first, or afterwards, costs one more each."""
    head, done = "HeadObject", "CompleteMultipartUpload"
    expected = {
        "copy": ["CopyObject"],
        "copy after a look": [head, "CopyObject"],
        "copy in parts": [head, "CreateMultipartUpload", *["UploadPartCopy"] * 3, head, done],
        "move": [head, "CopyObject", head, head, "DeleteObject"],
    }
    for name, requests in expected.items():
        async with world() as (s3, client):
            await BY_NAME[name](client)
            assert [call.operation for call in s3.calls] == requests


async def test_parts_and_progress() -> None:
    told: list[Progress] = []
    async with world() as (s3, client):
        result = await client.copy(SOURCE, TARGET, **{**IN_PARTS, "workers_count": 3}, progress=told.append)
        assert result == CopyResult(etag=joint_etag(PIECES), size=len(DATA), parts=3)
        assert told[-1] == Progress(done=len(DATA), total=len(DATA))
        assert [progress.done for progress in told] == sorted({progress.done for progress in told})
        sent = [call for call in s3.calls if call.operation == "UploadPartCopy"]
        ranges = {call.part: call.headers["x-amz-copy-source-range"] for call in sent}
        assert ranges == {"1": "bytes=0-4095", "2": "bytes=4096-8191", "3": "bytes=8192-11043"}
        assert {call.headers["x-amz-copy-source-if-match"] for call in sent} == {etag_of(DATA)}
        assert s3.most_in_flight > 1


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART])
async def test_sizes(size: int) -> None:
    """What fits into one part is one request, as with uploads."""
    told: list[Progress] = []
    async with world() as (s3, client):
        s3.put(SOURCE, DATA[:size])
        result = await client.copy(SOURCE, TARGET, part_size=PART, progress=told.append)
        assert (result.size, result.parts) == (size, 0 if size <= PART else -(-size // PART))
        assert s3.objects[TARGET][0] == DATA[:size]
        assert told[-1] == Progress(done=size, total=size)
        assert not s3.uploads


async def test_what_the_callback_raises() -> None:
    """It fails the copy: nothing is there if it comes out while parts are being copied, and else a note says so."""
    for options, there in ((IN_PARTS, False), ({}, True)):
        async with world() as (s3, client):

            def fail(_: Progress) -> None:
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError) as caught:
                await client.copy(SOURCE, TARGET, progress=fail, **options)
            notes = getattr(caught.value, "__notes__", [])
            assert ("handtruck: other/target was written" in notes) is there
            assert (TARGET in s3.objects, s3.uploads) == (there, {})


# -- Too large for one request ---------------------------------------------------------------------------------------


async def too_large(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[MemoryS3, CopyResult]:
    """Copy what one request cannot, without having looked at it."""
    monkeypatch.setattr(copy, "MAX_PART_SIZE", 10_000)
    monkeypatch.setattr(copy, "COPY_PART_SIZE", PART)
    async with world() as (s3, client):
        answer = s3._carry_out

        def carry_out(call: Call, body: bytes, *, refused: bool) -> Any:
            refuse = call.operation == "CopyObject" and len(s3.objects[SOURCE][0]) > 10_000
            return s3._error(400, "InvalidRequest") if refuse else answer(call, body, refused=refused)

        monkeypatch.setattr(s3, "_carry_out", carry_out)
        return s3, await client.copy(SOURCE, TARGET, **options)


async def test_more_than_one_request_can_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 says no more than that the request is invalid; so then we look, and copy it in parts."""
    s3, result = await too_large(monkeypatch)
    assert [call.operation for call in s3.calls][:3] == ["CopyObject", "HeadObject", "CreateMultipartUpload"]
    assert (result.parts, s3.objects[TARGET][0]) == (3, DATA)


async def test_known_to_be_more_than_one_request_can_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    s3, result = await too_large(monkeypatch, progress=lambda _: None)
    assert [call.operation for call in s3.calls][:2] == ["HeadObject", "CreateMultipartUpload"]
    assert (result.parts, s3.objects[TARGET][0]) == (3, DATA)


async def test_invalid_for_another_reason() -> None:
    """Then the first answer is the one that comes out, whatever the look brings."""
    for fault in (None, Fault.REFUSED):
        async with world() as (s3, client):
            s3.fault = lambda call, fault=fault: fault if call.operation == "HeadObject" else None
            answer = s3._carry_out

            def carry_out(call: Call, body: bytes, *, refused: bool, s3: MemoryS3 = s3, answer: Any = answer) -> Any:
                if call.operation == "CopyObject":
                    return s3._error(400, "InvalidRequest")
                return answer(call, body, refused=refused)

            s3._carry_out = carry_out  # type: ignore[method-assign]
            with pytest.raises(S3Error) as caught:
                await client.copy(SOURCE, TARGET)
            assert (caught.value.code, caught.value.operation) == ("InvalidRequest", "CopyObject")
            assert bool(getattr(caught.value, "__notes__", None)) is (fault is not None)
            assert TARGET not in s3.objects


# -- What others do meanwhile ----------------------------------------------------------------------------------------


def meanwhile(s3: MemoryS3, operation: str, number: int, deed: Callable[[], object]) -> None:
    """Do something when the ``number``-th request of a kind was carried out, and is not answered yet."""
    seen = count(1)

    async def before_answer(call: Call) -> None:
        if call.operation == operation and next(seen) == number:
            deed()

    s3.before_answer = before_answer


async def replaced_between_parts(*, unconditional: bool) -> bytes | None:
    """Replace the source between its first part and its second; what the copy is then."""
    async with world() as (s3, client):
        s3.unconditional_copies = unconditional
        meanwhile(s3, "UploadPartCopy", 1, partial(s3.put, SOURCE, OTHER))
        with pytest.raises(PreconditionFailed) as caught:
            await client.copy(SOURCE, TARGET, part_size=PART, workers_count=1)
        assert ("replaced while it was copied" in str(caught.value)) is unconditional
        assert not s3.uploads
        assert TARGET not in s3.objects
        return None


@pytest.mark.parametrize("unconditional", [False, True])
async def test_a_source_that_changes_between_parts(unconditional: bool) -> None:
    """Nothing is written, on servers that know the condition, and on those that take no notice of it."""
    await replaced_between_parts(unconditional=unconditional)


async def replaced_before_the_copy(*, unconditional: bool) -> None:
    """Replace the source after the look; the copy's description would be the old one's."""
    async with world() as (s3, client):
        s3.unconditional_copies = unconditional
        meanwhile(s3, "HeadObject", 1, partial(s3.put, SOURCE, OTHER))
        with pytest.raises(PreconditionFailed) as caught:
            await client.copy(SOURCE, TARGET, content_type="text/x")
        notes = getattr(caught.value, "__notes__", [])
        assert ("handtruck: other/target was written" in notes) is unconditional
        assert (TARGET in s3.objects) is unconditional


@pytest.mark.parametrize("unconditional", [False, True])
async def test_a_source_that_changes_after_the_look(unconditional: bool) -> None:
    await replaced_before_the_copy(unconditional=unconditional)


async def test_a_source_that_goes_meanwhile() -> None:
    async with world() as (s3, client):
        meanwhile(s3, "UploadPartCopy", 3, lambda: s3.objects.pop(SOURCE))
        with pytest.raises(NotFound):
            await PARTED(client)
        assert not s3.uploads
        assert TARGET not in s3.objects


async def moved_while(operation: str, number: int, path: str, *, options: dict[str, Any] | None = None) -> list[str]:
    """Replace an object during a move; gives the notes. The source must be there afterwards, as the other wrote it."""
    async with world() as (s3, client):
        s3.unconditional_copies = True
        meanwhile(s3, operation, number, partial(s3.put, path, OTHER))
        with pytest.raises(PreconditionFailed) as caught:
            await client.move(SOURCE, TARGET, **(options or {}))
        assert s3.objects[SOURCE][0] == (OTHER if path == SOURCE else DATA)
        assert s3.done["DeleteObject"] <= 1
        return caught.value.__notes__


NOT_DELETED: Final = "handtruck: other/target was written, and bucket/source was not deleted"


@pytest.mark.parametrize(
    ("operation", "number", "path"),
    [("CopyObject", 1, SOURCE), ("HeadObject", 3, SOURCE), ("CopyObject", 1, TARGET)],
    ids=["the source, when it was copied", "the source, in the last moment", "the copy"],
)
async def test_a_move_deletes_nothing_that_it_has_not_copied(operation: str, number: int, path: str) -> None:
    assert NOT_DELETED in await moved_while(operation, number, path)


async def test_a_move_whose_deletion_fails() -> None:
    """What is known of the source is said."""
    for fault, told in (
        (Fault.REFUSED, "may have been deleted"),  # by a 500, of a request with a condition
        (Fault.UNREACHABLE, "was not deleted"),
        (Fault.LOST, "may have been deleted"),
    ):
        async with world() as (s3, client):
            s3.fault = lambda call, fault=fault: fault if call.operation == "DeleteObject" else None
            with pytest.raises(HandtruckError) as caught:
                await client.move(SOURCE, TARGET)
            assert caught.value.__notes__ == [f"handtruck: other/target was written, and bucket/source {told}"]
            assert s3.objects[TARGET][0] == DATA
            assert (SOURCE in s3.objects) is (fault is not Fault.LOST)
            assert s3.done["DeleteObject"] <= 1  # once it may have been done it is not sent again


@ONCE_A_LOOP
async def test_cancelled_while_the_source_is_deleted(way: Way) -> None:
    """Once the deletion is on the wire it is waited for; what comes out says that the object has moved."""
    async with world() as (s3, client):
        came = anyio.Event()

        async def before_answer(call: Call) -> None:
            if call.operation == "DeleteObject":
                came.set()
                for _ in range(100):
                    await checkpoint()

        async def when(trigger: Callable[[], object]) -> None:
            await came.wait()
            trigger()

        s3.before_answer = before_answer
        trial = await run(partial(client.move, SOURCE, TARGET), way=way, when=when)
        assert trial.cancelled
        assert trial.notes == ["handtruck: other/target was written, and bucket/source was deleted"]
        assert (SOURCE in s3.objects, s3.objects[TARGET][0]) == (False, DATA)
        assert not left_behind(s3, client, trial)


# -- Answers that are none -------------------------------------------------------------------------------------------


def answering(s3: MemoryS3, operation: str, *bodies: bytes) -> None:
    """Answer requests of a kind with 200 and these bodies, and do nothing; then go on as usual."""
    left = list(bodies)
    answer = s3._carry_out

    def carry_out(call: Call, body: bytes, *, refused: bool) -> Any:
        if call.operation == operation and left:
            return s3._reply(200, {}, left.pop(0))
        return answer(call, body, refused=refused)

    s3._carry_out = carry_out  # type: ignore[method-assign]


ERROR: Final = b"<Error><Code>%s</Code><Message>scripted</Message></Error>"


@pytest.mark.parametrize(("name", "operation"), [("copy", "CopyObject"), ("copy in parts", "UploadPartCopy")])
async def test_errors_inside_a_200(name: str, operation: str) -> None:
    """Behind blanks that keep the connection alive, too. What may pass is tried again, and nothing is believed."""
    result = b"<CopyObjectResult>" if operation == "CopyObject" else b"<CopyPartResult>"
    for wrong in (ERROR % b"InternalError", b" \n" * 9 + ERROR % b"SlowDown", result + b"<ETag>", b"", b"<Other/>"):
        async with world() as (s3, client):
            answering(s3, operation, wrong)
            await BY_NAME[name](client)
            assert s3.objects[TARGET][0] == DATA
        async with world() as (s3, client):
            answering(s3, operation, *[wrong] * 50)
            with pytest.raises(S3Error if b"<Error>" in wrong else InvalidResponse) as caught:
                await BY_NAME[name](client)
            assert f"{operation} bucket/source to other/target" in str(caught.value)
            assert TARGET not in s3.objects
            assert not s3.uploads


async def refused_inside(name: str, operation: str) -> None:
    """An error inside a 200 that does not pass, and so is not asked for again."""
    async with world() as (s3, client):
        answering(s3, operation, *[ERROR % b"AccessDenied"] * 50)
        with pytest.raises(AccessDenied) as caught:
            await BY_NAME[name](client)
        assert (caught.value.status, caught.value.attempts) == (200, 1)
        assert not s3.uploads


async def test_an_error_inside_a_200_that_does_not_pass() -> None:
    await refused_inside("copy", "CopyObject")
    await refused_inside("copy in parts", "UploadPartCopy")


async def test_a_lost_answer() -> None:
    """Copying twice does no harm, but with a condition: the second attempt would see the first one's success."""
    roads: tuple[tuple[dict[str, Any], int], ...] = (({}, 2), ({"if_none_match": "*"}, 1))
    for options, calls in roads:
        async with world() as (s3, client):
            copies = count(1)
            s3.fault = lambda call, copies=copies: (
                Fault.LOST if call.operation == "CopyObject" and next(copies) == 1 else None
            )
            try:
                await client.copy(SOURCE, TARGET, **options)
            except handtruck.errors.ConnectionFailed:
                assert options
            assert len([call for call in s3.calls if call.operation == "CopyObject"]) == calls


async def test_the_answer_to_complete_is_lost() -> None:
    """Then two facts decide, as with uploads: the upload is gone, and the object's ETag is that of the parts."""
    async with world() as (s3, client):
        s3.fault = Failing(7, Fault.LOST, Lasting.ONCE)
        result = await PARTED(client)
        assert (result.etag, result.parts) == (joint_etag(PIECES), 3)
    async with world() as (s3, client):
        s3.fault = Failing(7, Fault.LOST, Lasting.ONCE)
        meanwhile(s3, "CompleteMultipartUpload", 1, partial(s3.put, TARGET, OTHER))
        with pytest.raises(OutcomeUnknown):
            await PARTED(client)


async def test_checksums_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 tells them; they are named when the copy is completed, and the one of the whole that they make."""
    bodies: list[bytes] = []
    async with world() as (s3, client):
        answer = s3._carry_out

        def carry_out(call: Call, body: bytes, *, refused: bool) -> Any:
            reply = answer(call, body, refused=refused)
            if call.operation == "UploadPartCopy":
                data = s3.uploads[call.query["uploadId"]].parts[int(call.part)]
                crc = b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
                told = f"<ETag>{etag_of(data)}</ETag><ChecksumCRC32>{crc}</ChecksumCRC32>"
                return s3._reply(200, {}, f"<CopyPartResult>{told}</CopyPartResult>".encode())
            if call.operation == "CompleteMultipartUpload":
                bodies.append(body)
            return reply

        monkeypatch.setattr(s3, "_carry_out", carry_out)
        await client.copy(SOURCE, TARGET, **IN_PARTS, checksum="CRC32")
        whole = b64encode(zlib.crc32(DATA).to_bytes(4, "big")).decode()
        asked = {call.operation: call.headers for call in s3.calls}
        assert asked["CreateMultipartUpload"]["x-amz-checksum-algorithm"] == "CRC32"
        assert asked["CompleteMultipartUpload"]["x-amz-checksum-crc32"] == whole
        assert bodies[0].count(b"<ChecksumCRC32>") == 3


async def test_a_condition_that_does_not_hold() -> None:
    """For the target: S3's own word, whichever request it is the answer to."""
    for job, operation in ((BY_NAME["copy"], "CopyObject"), (PARTED, "CompleteMultipartUpload")):
        async with world() as (s3, client):
            answer = s3._carry_out

            def carry_out(call: Call, body: bytes, *, refused: bool, s3: MemoryS3 = s3, answer: Any = answer) -> Any:
                if call.headers.get("if-none-match") == "*":
                    return s3._error(412, "PreconditionFailed")
                return answer(call, body, refused=refused)

            s3._carry_out = carry_out  # type: ignore[method-assign]
            with pytest.raises(PreconditionFailed) as caught:
                await client.copy(SOURCE, TARGET, if_none_match="*", **job.options)
            assert caught.value.operation == operation
            assert (TARGET in s3.objects, s3.uploads) == (False, {})


async def test_a_source_of_unknown_size() -> None:
    async with world() as (s3, client):
        answer = s3._get

        def get(call: Call) -> Any:
            reply = answer(call)
            del reply.headers["Content-Length"]
            return reply

        s3._get = get  # type: ignore[method-assign]
        with pytest.raises(InvalidResponse, match="does not tell the object's size"):
            await PARTED(client)


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


async def _nothing(*_: object, **__: object) -> None:
    """Instead of what should be done."""


@ONCE_A_LOOP
@pytest.mark.parametrize(
    ("name", "value", "late"),
    [("MultipartUpload._abort", _nothing, False), ("_ABORTS", 1, True)],
    ids=["the abort removed", "aborted once, without a look"],
)
async def test_mutation_of_undo(
    name: str, value: object, late: bool, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(f"handtruck.transfer.multipart.{name}", value)
        _, wrong = await at_every_checkpoint(PARTED, way, stride=2, late=late)
    assert [text for text in wrong if text.startswith("open upload")]


async def test_mutation_no_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts without If-Match, and no second look: the copy is a mixture."""
    headers = operations.CopySource.headers
    monkeypatch.setattr(operations.CopySource, "headers", lambda source, _=None: headers(source))
    with pytest.raises(AssertionError):  # the second look finds it, in other words
        await replaced_between_parts(unconditional=False)
    monkeypatch.setattr(copy.Copy, "still_there", _nothing)
    for unconditional in (False, True):
        with pytest.raises(pytest.fail.Exception):
            await replaced_between_parts(unconditional=unconditional)


async def test_mutation_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copy.Copy, "still_there", _nothing)
    for check in (replaced_between_parts, replaced_before_the_copy):
        await check(unconditional=False)
        with pytest.raises(pytest.fail.Exception):
            await check(unconditional=True)


@pytest.mark.parametrize(
    ("name", "operation", "number", "path", "options"),
    [
        ("_verify", "CopyObject", 1, TARGET, {}),
        ("still_there", "CopyObject", 1, SOURCE, {"source_version_id": "null"}),
    ],
)
async def test_mutation_of_a_move(
    name: str, operation: str, number: int, path: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy, or a source, that is not looked at before the deletion."""
    await moved_while(operation, number, path, options=options)
    monkeypatch.setattr(copy.Copy, name, _nothing)
    with pytest.raises(pytest.fail.Exception):
        await moved_while(operation, number, path, options=options)


async def test_mutation_deleted_without_a_condition(monkeypatch: pytest.MonkeyPatch) -> None:
    delete_object = operations.delete_object
    monkeypatch.setattr(operations, "delete_object", lambda where, version, _: delete_object(where, version))
    with pytest.raises(pytest.fail.Exception):
        await moved_while("HeadObject", 3, SOURCE)


async def test_mutation_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 200 that is believed for its status."""
    believed = {
        "copy_object": operations.Copied(
            document=documents.CopiedObject(etag=None, last_modified=None), version_id=None, source_version_id=None
        ),
        "upload_part_copy": (documents.CopiedPart(etag='"part"'), None),
    }
    for function, result in believed.items():
        made = getattr(operations, function)

        def believing(*args: Any, made: Any = made, result: Any = result) -> Any:
            return replace(made(*args), error_in_200=False, parse=lambda _: result)

        monkeypatch.setattr(operations, function, believing)
    for name, operation in (("copy", "CopyObject"), ("copy in parts", "UploadPartCopy")):
        with pytest.raises((pytest.fail.Exception, S3Error)):  # believed; or Complete finds no part
            await refused_inside(name, operation)


async def test_usage_is_checked_before_anything_is_sent() -> None:
    async with world() as (s3, client):
        calls: tuple[dict[str, Any], ...] = (
            {"part_size": 10},
            {"workers_count": 0},
            {"headers": {"x-amz-copy-source": "a/b"}},
            {"headers": {"x-amz-metadata-directive": "COPY"}},
            {"headers": {"x-amz-checksum-crc32": "AAAAAA=="}},
            {"sorce_sse": 1},
        )
        for wrong in calls:
            with pytest.raises(UsageError):
                await client.copy(SOURCE, TARGET, **wrong)
        assert not s3.calls
