"""A transfer that was cancelled, or has failed, has left nothing behind.

Cancelled at every checkpoint that it has, in every way that there is: no upload is open, no task runs, every answer
is closed, every token is back, no descriptor and no temporary file is left, the caller's generator is closed, no
thread is still at work, the target is untouched or whole, and what comes out of the call is the cancellation alone.

The same holds when requests fail instead, one after the other, in every way that they can; there, one of our errors
comes out, and it says so where an upload may be left.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread
import httpx
import pytest
import trio
from anyio.lowlevel import checkpoint

import handtruck
from handtruck import _attempt, _session
from handtruck._places import Places
from handtruck.client import http as client_http
from handtruck.client import transfers as client_transfers
from handtruck.credentials import ConfigCredentials, StaticCredentials
from handtruck.errors import S3Error, UsageError
from handtruck.models import Credentials
from handtruck.transfer import download, files, multipart, sources, upload, workers
from handtruck.transport import own, senders
from tests.transfer.cancelling import (
    BLOCKS,
    BY_ITS_OWN_SCOPE,
    DATA,
    EVERY_WAY,
    LOOPS,
    OBJECT,
    OLD,
    ON_EITHER_ASYNCIO,
    ON_EVERY_LOOP,
    PART,
    Failing,
    Job,
    JobWorld,
    Lasting,
    after_both,
    after_cancellation,
    after_failure,
    all_but_the_first_fail,
    at_every_checkpoint,
    at_once,
    left_behind,
    marked_only,
    nothing,
    when_every_request_fails,
    world_of,
)
from tests.transfer.checkpoints import CountedThreads, InlineThreads, Trial, Way, run, swept
from tests.transfer.memory_s3 import Call, Fault, MemoryS3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("small", "may_block")]

# -- The jobs ------------------------------------------------------------------------------------------------------


async def _whatever_its_status(call: Awaitable[httpx.Response]) -> None:
    """The HTTP level raises nothing for an answer that is an error."""
    response = await call
    if response.is_error:
        raise S3Error(response.text, status=response.status_code)


JOBS: Final = (
    Job("put_multipart(async generator)", lambda w: w.client.put_multipart(OBJECT, w.blocks(), **MULTIPART)),
    Job("put_multipart(generator)", lambda w: w.client.put_multipart(OBJECT, w.sync_blocks(), **MULTIPART)),
    Job("put_multipart(list)", lambda w: w.client.put_multipart(OBJECT, BLOCKS, **MULTIPART)),
    Job("put_file_multipart", lambda w: w.client.put_file_multipart(OBJECT, w.source, **MULTIPART), existing=True),
    Job("put(async generator)", lambda w: _whatever_its_status(w.client.put(OBJECT, w.blocks()))),
    Job(
        "put_file",
        lambda w: _whatever_its_status(w.client.put_file(OBJECT, w.source, chunk_size=PART)),
        existing=True,
    ),
    Job("get_file_parallel", lambda w: w.client.get_file_parallel(OBJECT, w.target, **RANGES), upload=False),
    Job(
        "get_file_parallel(existing)",
        lambda w: w.client.get_file_parallel(OBJECT, w.target, **RANGES),
        upload=False,
        existing=True,
    ),
)
MULTIPART: Final[dict[str, Any]] = {"part_size": PART, "workers_count": 2}
RANGES: Final[dict[str, Any]] = {"range_step": PART, "workers_count": 2, "buffer_size": 2000}
EVERY_JOB: Final = pytest.mark.parametrize("job", JOBS, ids=str)
BY_NAME: Final = {job.name: job for job in JOBS}
STREAM: Final = BY_NAME["put_multipart(async generator)"]


# -- How many points were tried ------------------------------------------------------------------------------------

TRIED: Final[dict[str, dict[str, int]]] = {}


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[object, int], None]:
    """Remember how many points a test has tried."""

    def remember(job: object, points: int) -> None:
        what = ", real threads" if "real_threads" in request.node.name else ""
        TRIED.setdefault(str(job), {})[request.node.callspec.id.removesuffix(f"-{job}") + what] = points

    return remember


@pytest.fixture(scope="module", autouse=True)
def _tell(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print them when all is done; under xdist there is no place for it."""
    TRIED.clear()
    yield
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    capture = request.config.pluginmanager.getplugin("capturemanager")
    if reporter is None or capture is None:
        return
    with capture.global_and_fixture_disabled():
        reporter.write_line("")
        for job, points in TRIED.items():
            where = ", ".join(f"{name} {number}" for name, number in points.items())
            reporter.write_line(f"{job}: {sum(points.values())} points ({where})")


# -- The tests -----------------------------------------------------------------------------------------------------


@EVERY_JOB
@EVERY_WAY
async def test_cancelled_at_every_checkpoint(
    job: Job, way: Way, tmp_path: Path, threads: InlineThreads, tried: Callable[[object, int], None]
) -> None:
    """The promise of the package."""
    points, wrong = await at_every_checkpoint(
        partial(world_of, job, tmp_path, threads), job.call, way, after_cancellation
    )
    tried(job, points)
    assert not wrong
    assert points > 20


@EVERY_JOB
@BY_ITS_OWN_SCOPE
async def test_cancelled_with_real_threads(
    job: Job, way: Way, tmp_path: Path, real_threads: CountedThreads, tried: Callable[[object, int], None]
) -> None:
    """A sample of the same, with threads that take their time."""
    world = partial(world_of, job, tmp_path, real_threads)
    async with world() as here:
        await job.call(here)  # the loop keeps a descriptor or two for its threads
    points, wrong = await at_every_checkpoint(world, job.call, way, after_cancellation, stride=5)
    tried(job, points // 5)
    assert not wrong


@EVERY_JOB
@BY_ITS_OWN_SCOPE
async def test_cancelled_while_a_request_fails(job: Job, way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """Errors that come at the same time become notes; only a job that was over may end with its error."""
    world = partial(world_of, job, tmp_path, threads, all_but_the_first_fail)
    _, wrong = await at_every_checkpoint(world, job.call, way, after_both)
    assert not wrong


@EVERY_JOB
@ON_EVERY_LOOP
async def test_every_request_fails(job: Job, tmp_path: Path, threads: InlineThreads) -> None:
    """In every way: that once, each time that it is tried again, or with all that follow."""
    tries, wrong = await when_every_request_fails(partial(world_of, job, tmp_path, threads), job.call, after_failure)
    assert not wrong
    assert tries >= len(Fault) * len(Lasting)


# -- What the server does meanwhile ----------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean-up has hardly any time."""
    for module in (_attempt, multipart, upload, sources, workers):
        monkeypatch.setattr(module, "GRACE", 0.01)


def silent(here: JobWorld, *operations: str) -> anyio.Event:
    """Carry these requests out and never say so; gives the event that says that the first one came."""
    came = anyio.Event()

    async def before_answer(call: Call) -> None:
        if call.operation in operations:
            came.set()
            await anyio.sleep_forever()

    here.s3.before_answer = before_answer
    return came


async def cancelled_when(came: anyio.Event, here: JobWorld, way: Way) -> Trial:
    """Run its job; cancel that as soon as something happened, and everything stands still."""

    async def when(trigger: Callable[[], object]) -> None:
        await came.wait()
        for _ in range(50):
            await checkpoint()
        trigger()

    return await run(partial(here.job.call, here), way=way, when=when)


@pytest.mark.usefixtures("impatient")
@EVERY_WAY
async def test_the_answer_to_create_never_comes(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """Then nobody knows the upload's id, and the cancellation that comes out says so.

    Found: the note stayed on the cancellation of the task inside, which nobody sees.
    """
    async with world_of(STREAM, tmp_path, threads) as here:
        trial = await cancelled_when(silent(here, "CreateMultipartUpload"), here, way)
        assert trial.cancelled
        assert not left_behind(here, trial)
        assert [note for note in trial.notes if "may remain" in note and "CreateMultipartUpload" in note]


@pytest.mark.usefixtures("impatient")
@EVERY_WAY
async def test_the_answer_to_abort_never_comes(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """Then the upload may be left, and the note has its id."""
    async with world_of(STREAM, tmp_path, threads) as here:
        came = silent(here, "UploadPart", "AbortMultipartUpload")
        trial = await cancelled_when(came, here, way)
        assert trial.cancelled
        assert not left_behind(here, trial)
        assert [note for note in trial.notes if "upload-1" in note and "may remain" in note]


@pytest.mark.usefixtures("impatient")
@EVERY_WAY
async def test_the_answer_to_complete_never_comes(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """Then the object may have been written."""
    async with world_of(STREAM, tmp_path, threads) as here:
        trial = await cancelled_when(silent(here, "CompleteMultipartUpload"), here, way)
        assert trial.cancelled
        assert not left_behind(here, trial)
        assert [note for note in trial.notes if "may have been written" in note]


FIRST_COMPLETE: Final = 5
"""The number of that request of STREAM, after Create and three parts."""


@BY_ITS_OWN_SCOPE
async def test_the_first_answer_to_complete_was_lost(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """The second try finds no upload any more; who is cancelled while we look hears that there may be an object.

    Found: the second try's clear refusal made us forget the first.
    """
    async with world_of(STREAM, tmp_path, threads) as here:
        here.s3.fault = Failing(FIRST_COMPLETE, Fault.LOST, Lasting.ONCE)
        trial = await cancelled_when(silent(here, "HeadObject"), here, way)
        assert trial.cancelled
        assert not left_behind(here, trial)
        assert here.s3.objects[OBJECT][0] == DATA
        assert [note for note in trial.notes if "may have been written" in note]


@EVERY_WAY
async def test_parts_that_come_to_light_late(way: Way, tmp_path: Path, threads: InlineThreads) -> None:
    """S3 may still be writing a part when the upload is aborted: so we look, and abort again."""
    world = partial(world_of, STREAM, tmp_path, threads, _late)
    _, wrong = await at_every_checkpoint(world, STREAM.call, way, after_cancellation)
    assert not wrong


def _late(here: JobWorld) -> None:
    here.s3.late = True


async def test_the_abort_fails_for_a_reason_of_its_own(tmp_path: Path, threads: InlineThreads) -> None:
    """The caller sees what went wrong first, and hears of the upload.

    Found: an error that is not ours (of a source of keys, of an event hook) took the place of the first one.
    """
    async with world_of(STREAM, tmp_path, threads) as here:

        def fault(call: Call) -> Fault | None:
            if call.operation == "AbortMultipartUpload":
                raise RuntimeError("the hook fails")
            return Fault.REFUSED if call.operation == "UploadPart" else None

        here.s3.fault = fault
        trial = await run(partial(STREAM.call, here))
        assert trial.kind is S3Error
        assert not left_behind(here, trial)
        assert [note for note in trial.notes if "upload-1" in note and "the hook fails" in note]


# -- Cancellations that nobody asked for ---------------------------------------------------------------------------


@ON_EITHER_ASYNCIO
async def test_a_cancellation_from_elsewhere(tmp_path: Path, threads: InlineThreads) -> None:
    """A source that awaits a task which somebody has cancelled: that is a failure, and never the end of the data.

    Found: the task group took it for its own doing, and what had been read so far was completed as the object.
    """

    async def blocks() -> AsyncIterator[bytes]:
        for block in BLOCKS[:-1]:
            yield block
        other = asyncio.ensure_future(anyio.sleep_forever())
        other.cancel()
        await other

    async with world_of(STREAM, tmp_path, threads) as here:
        with pytest.raises(asyncio.CancelledError):
            await here.client.put_multipart(OBJECT, blocks(), **MULTIPART)
        assert not here.s3.objects
        assert not here.s3.uploads
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()


@ON_EITHER_ASYNCIO
async def test_a_worker_cancelled_from_elsewhere(tmp_path: Path, threads: InlineThreads) -> None:
    """The same of a download: a request that ends so is no range that came."""
    job = BY_NAME["get_file_parallel(existing)"]
    async with world_of(job, tmp_path, threads) as here:

        async def before_answer(call: Call) -> None:
            if call.number == 3:
                raise asyncio.CancelledError

        here.s3.before_answer = before_answer
        trial = await run(partial(job.call, here))
        assert trial.kind is asyncio.CancelledError
        assert not left_behind(here, trial)
        assert here.target.read_bytes() == OLD


# -- Threads ---------------------------------------------------------------------------------------------------------


ON_LINUX: Final = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc what a descriptor is")


class Disk:
    """A disk that is at work until it is let go on: a real thread waits in ``pwrite``."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.path: str | None = None
        self.wrote: list[str] = []

    async def when(self, trigger: Callable[[], object], *, for_ever: bool = False) -> None:
        """Cancel when it is at work, and let it go on, when everything stands still."""
        while not self.busy.is_set():
            await checkpoint()
        trigger()
        for _ in range(100):
            await checkpoint()
        if not for_ever:
            self.go_on.set()

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        self.busy.set()
        assert self.go_on.wait(10)
        try:
            self.wrote.append(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115
        except OSError as error:
            self.wrote.append(f"closed: {error}")
        return len(data)


async def cancelled_while_the_disk_is_busy(
    folder: Path, threads: CountedThreads, disk: Disk, way: Way, *, for_ever: bool = False
) -> list[str]:
    """Cancel a download whose thread is in the middle of a write; what is wrong when the call has come back."""
    job = BY_NAME["get_file_parallel"]
    async with world_of(job, folder, threads) as here:
        trial = await run(partial(job.call, here), way=way, when=partial(disk.when, for_ever=for_ever))
        wrong = [f"thread {thread}" for thread in threads.abandoned]
        disk.go_on.set()
        while threads.running:
            await checkpoint()
        assert trial.cancelled
        return wrong + [f"wrote to {name}" for name in disk.wrote if not name.startswith(f"{here.target}.")]


@ON_LINUX
@EVERY_WAY
async def test_no_thread_outlives_the_call(
    way: Way, tmp_path: Path, real_threads: CountedThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However we are cancelled, we wait for the thread: its descriptor is not closed, and used again, under it."""
    disk = Disk()
    monkeypatch.setattr(os, "pwrite", disk.pwrite)
    assert not await cancelled_while_the_disk_is_busy(tmp_path, real_threads, disk, way)
    assert disk.wrote
    assert not list(tmp_path.glob("*.part"))


@EVERY_WAY
async def test_no_thread_outlives_the_reading_of_the_keys(
    way: Way, real_threads: CountedThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first request of a job that is not isolated. Found: a native cancellation left it reading."""
    disk = Disk()

    def read(_: object) -> Credentials:
        disk.busy.set()
        assert disk.go_on.wait(10)
        return Credentials(access_key_id="id", secret_access_key="key")

    monkeypatch.setattr(ConfigCredentials, "_read", read)
    async with httpx.AsyncClient(transport=MemoryS3(), trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=ConfigCredentials())
        trial = await run(partial(client.get, OBJECT), way=way, when=disk.when)
        left = real_threads.abandoned
        disk.go_on.set()
        while real_threads.running:
            await checkpoint()
    assert trial.cancelled
    assert not left


# -- The client's own connections ------------------------------------------------------------------------------------


@EVERY_WAY
@pytest.mark.usefixtures("threads")
async def test_closing_a_client(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled at every checkpoint, its connections are closed all the same.

    Found: a native cancellation got through the shield.
    """
    wrong: list[int] = []
    with swept():
        for at in count(1):
            s3 = MemoryS3()

            async def make(_: object, __: str, s3: MemoryS3 = s3) -> senders.Sender:
                return senders.ClientSender(httpx.AsyncClient(transport=s3, trust_env=False), owned=True)

            async def job() -> None:
                async with handtruck.S3Client("http://s3.test", credentials=StaticCredentials("id", "key")) as client:
                    await client.get(OBJECT)

            monkeypatch.setattr(own.OwnSender, "_make", make)
            trial = await run(job, at=at, way=way)
            if not trial.fired:
                assert trial.kind is None
                break
            wrong += [at] if s3.connected and not s3.closed else []
    assert not wrong


async def test_a_client_that_is_closed_while_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends no more. Found: it went on, with connections that nobody closed."""
    s3, client = MemoryS3(), handtruck.S3Client("http://s3.test", credentials=StaticCredentials("id", "key"))

    async def make(_: object, __: str) -> senders.Sender:
        await client.aclose()
        return senders.ClientSender(httpx.AsyncClient(transport=s3, trust_env=False), owned=True)

    monkeypatch.setattr(own.OwnSender, "_make", make)
    for _ in range(2):
        with pytest.raises(UsageError, match="closed"):
            await client.get(OBJECT)
    assert not s3.calls


# -- Mutations: each breaks one guarantee, and sees its check go red ---------------------------------------------------


@dataclass(frozen=True, slots=True)
class Mutation:
    """What is broken, in which job it shows, and what the check that goes red begins with."""

    name: str
    apply: Callable[[pytest.MonkeyPatch], object]
    job: str
    shows: str
    natively: bool = False
    late: bool = False

    def __str__(self) -> str:
        return self.name


async def _unjoined(*args: Any, **options: Any) -> None:
    """Workers that are not waited for: cancelled, the caller goes on to undo while they go on to send."""
    done = anyio.Event()

    async def beside() -> None:
        with suppress(Exception):
            await workers.run_workers(*args, **options)
        done.set()

    if asyncio._get_running_loop() is None:
        trio.lowlevel.spawn_system_task(beside)
    else:
        UNJOINED.add(asyncio.ensure_future(beside()))
    await done.wait()


UNJOINED: Final[set[asyncio.Future[None]]] = set()


def _tokens_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A release that is no ``finally``: left out when an exception passes by."""
    give_back = Places.give_back

    def forgetful(self: Places) -> None:
        if sys.exc_info()[0] is None:
            give_back(self)

    patch.setattr(Places, "give_back", forgetful)


def _nothing_is_isolated(patch: pytest.MonkeyPatch) -> None:
    for module in (client_http, client_transfers, _session):
        patch.setattr(module, "isolated", at_once)


MUTATIONS: Final = (
    Mutation(
        "the abort removed",
        lambda patch: patch.setattr(multipart.MultipartUpload, "_abort", nothing),
        STREAM.name,
        "open",
    ),
    Mutation(
        "aborted once, without a look",
        lambda patch: patch.setattr(multipart, "_ABORTS", 1),
        STREAM.name,
        "open upload",
        late=True,
    ),
    Mutation(
        "workers not joined before the abort",
        lambda patch: patch.setattr(upload, "run_workers", _unjoined),
        STREAM.name,
        "task",
    ),
    Mutation("the token not returned", _tokens_are_forgotten, STREAM.name, "token"),
    Mutation(
        "the temporary file not discarded",
        lambda patch: patch.setattr(files.AtomicTarget, "discard", lambda target: target._close()),
        "get_file_parallel",
        "temporary file",
    ),
    Mutation(
        "the descriptor not closed",
        lambda patch: patch.setattr(files.SourceFile, "close", lambda _: None),
        "put_file_multipart",
        "descriptor",
    ),
    Mutation(
        "Create cut off on the wire",
        lambda patch: patch.setattr(_attempt, "settled", at_once),
        STREAM.name,
        "open upload",
    ),
    Mutation("threads in the caller's task", _nothing_is_isolated, "get_file_parallel", "thread", natively=True),
    Mutation(
        "the generator not closed",
        lambda patch: patch.setattr(sources.AsyncBlocks, "aclose", nothing),
        STREAM.name,
        "generator",
    ),
    Mutation(
        "the generator closed without a shield",
        lambda patch: patch.setattr(sources, "GRACE", 0),
        "put_multipart(generator)",
        "generator",
    ),
    Mutation(
        "the answer not closed",
        lambda patch: patch.setattr(httpx.Response, "aclose", marked_only),
        "get_file_parallel",
        "answer",
    ),
    Mutation(
        "what there is is kept",
        lambda patch: patch.setattr(files.AtomicTarget, "discard", _kept),
        "get_file_parallel",
        "target",
    ),
    Mutation(
        "an error instead of the cancellation",
        lambda patch: patch.setattr(multipart.MultipartUpload, "undo", _raises),
        STREAM.name,
        "note",
    ),
)


def _kept(target: files.AtomicTarget) -> None:
    if target._open:
        target._close()
        target._part.replace(target.path)


async def _raises(*_: object) -> None:
    raise RuntimeError("instead")


@pytest.mark.parametrize(
    ("anyio_backend", "mutation"),
    [
        pytest.param(loop, mutation, id=f"{name}-{mutation}")
        for name, loop, _ in LOOPS
        for mutation in MUTATIONS
        if name != "trio" or not mutation.natively  # only asyncio has cancellations that get through a shield
    ],
    indirect=["anyio_backend"],
)
async def test_mutation(
    mutation: Mutation,
    anyio_backend_name: str,
    tmp_path: Path,
    threads: InlineThreads,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The guarantee broken, its check is red; and whole again, green."""
    way = {"asyncio": Way.NATIVE, "trio": Way.TRIO}[anyio_backend_name]
    job = BY_NAME[mutation.job]

    world = partial(world_of, job, tmp_path, threads, _late if mutation.late else lambda _: None)
    with monkeypatch.context() as patch:
        mutation.apply(patch)
        _, wrong = await at_every_checkpoint(world, job.call, way, after_cancellation, stride=2)
    for left in tmp_path.glob("*.part"):
        left.unlink()
    assert [text for text in wrong if text.startswith(mutation.shows)]
    _, wrong = await at_every_checkpoint(world, job.call, way, after_cancellation, stride=7)
    assert not wrong


@ON_LINUX
@ON_EITHER_ASYNCIO
async def test_mutation_a_thread_writes_to_a_closed_descriptor(
    tmp_path: Path, real_threads: CountedThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With real threads: not isolated, the call comes back while one writes, and what it writes goes anywhere."""
    disk = Disk()
    monkeypatch.setattr(os, "pwrite", disk.pwrite)
    _nothing_is_isolated(monkeypatch)
    monkeypatch.setattr(download, "run_workers", _one_after_the_other)
    wrong = await cancelled_while_the_disk_is_busy(tmp_path, real_threads, disk, Way.NATIVE, for_ever=True)
    assert [text for text in wrong if text.startswith("thread")]
    assert [text for text in wrong if text.startswith("wrote to closed")]


async def _one_after_the_other(feed: Any, handle: Callable[[Any], Awaitable[object]], **_: object) -> None:
    """No task group, which would wait for its tasks and their threads."""
    async for item in feed:
        await handle(item)
