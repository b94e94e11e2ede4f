"""Ranged downloads into a file that is replaced in one step.

::

    [0, step) ──head──▶ size and ETag known ──▶ plan the other ranges ──▶ workers ──▶ rename
                 └ empty, whole or unpinnable: no other ranges

*One version.* The first range tells the size and the ETag; every later one asks with If-Match, and every answer's
ETag and Content-Range are compared all the same, because some servers ignore the one and misstate the other.
An answer of 200 is good if its Content-Range is exactly what was asked for; without one it is the whole object, and
never written at an offset.

*One file.* Bytes go to a sibling by positional writes and take the target's place when the last one is there.
Whatever goes wrong before leaves the target as it was and the sibling removed.

*Broken answers.* A range goes on where it broke off, with the same ETag; what was written counts once. One whose
bytes are all there is done, however its answer ended.

*Memory.* One block of ``buffer_size`` for each worker.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
import httpx

from .._session import PLAIN, Options, Session
from .._tasks import in_thread
from ..errors import InvalidResponse, PreconditionFailed, UsageError
from ..models import DownloadResult
from ..protocol import operations
from ..protocol.answers import Answer, failure
from ..protocol.checksums import is_strong, same_etag
from ..protocol.parts import parse_content_range, plan_ranges, range_header
from ..transport.reading import raw_reader, read_whole
from .buffers import Buffers
from .files import AtomicTarget, FileSink
from .progress import CallbackFailed
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from ..protocol.address import Location
    from ..protocol.operations import Headers, Operation
    from ..transport.reading import RawReader
    from .progress import Meter


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPlan:
    """What the caller asked for.

    Attributes:
        step: bytes a request asks for.
        workers: ranges on their way at once.
        tries: attempts for each range.
        block: bytes a worker collects before it writes.
    """

    location: Location
    headers: Headers
    step: int
    workers: int
    tries: int
    block: int
    options: Options = PLAIN

    def check(self) -> None:
        """Refuse nonsense before anything is sent.

        Raises:
            UsageError.
        """
        for name, value in (
            ("range_step", self.step),
            ("workers_count", self.workers),
            ("range_get_tries", self.tries),
            ("buffer_size", self.block),
        ):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if not self.location.key:
            raise UsageError(f"{str(self.location)!r} names no object: write bucket/key")
        if any(name.lower() == "range" for name, _ in self.headers):
            raise UsageError("a download sets the Range header itself; use get() for a part of an object")


async def download_file(session: Session, plan: DownloadPlan, path: Path, meter: Meter) -> DownloadResult:
    """Fetch an object into a file. To be called inside :func:`handtruck._tasks.isolated`."""
    target = await in_thread(AtomicTarget, path, limiter=session.threads)
    try:
        version = await Download(session, plan, target, meter).run()
        size = version.size or 0
        meter.end(size)
        await in_thread(target.commit, size, limiter=session.threads)
    except BaseException as error:
        problem: str | None = None
        with anyio.CancelScope(shield=True):
            problem = await in_thread(target.discard, limiter=session.threads)
        if problem:
            error.add_note(problem)
        raise
    return DownloadResult(path=target.path, size=size, etag=version.etag)


@dataclass(slots=True)
class Version:
    """The one state of the object that is fetched; blank until the first answer.

    Attributes:
        known: set when the other fields are.
        etag: as the server sent it.
        size: bytes; None while an answer without a length is being read.
        pinned: its ETag can be put into If-Match.
        whole: a single answer brings all of it: there are no other ranges.
        untied: ranges could be of different versions: they are given up for one answer that brings all.
    """

    known: anyio.Event = field(default_factory=anyio.Event)
    etag: str | None = None
    size: int | None = None
    pinned: bool = False
    whole: bool = False
    untied: bool = False


class Download:
    """One download from the first range to the last byte."""

    def __init__(self, session: Session, plan: DownloadPlan, target: AtomicTarget, meter: Meter) -> None:
        self.session = session
        self.plan = plan
        self.target = target
        self.meter = meter
        self.version: Version = Version()
        self.buffers: Buffers = Buffers(plan.block)

    async def run(self) -> Version:
        """Fetch everything, or raise."""
        workers = self.plan.workers
        await run_workers(self._feed(), self._fetch, workers=workers, slots=workers)
        if self.version.untied:
            await self._fetch(Fetch(self, 0, None))
        return self.version

    async def _feed(self) -> AsyncGenerator[Fetch, None]:
        step = self.plan.step
        yield Fetch(self, 0, step)
        await self.version.known.wait()
        if not (self.version.whole or self.version.untied):
            for start, stop in plan_ranges(step, self.version.size or 0, step):
                yield Fetch(self, start, stop)

    async def _fetch(self, fetch: Fetch) -> None:
        options = replace(self.plan.options, attempts=self.plan.tries)
        try:
            await self.session.exchange(fetch.operation, fetch.receive, options=options)
        except CallbackFailed as carrier:
            failed = carrier.error
        else:
            return
        try:
            raise failed  # out here it is chained to nothing of ours
        finally:
            del failed  # no cycle: its traceback holds this frame


@dataclass(slots=True)
class Fetch:
    """Bytes ``[position, stop)`` still to come, of a range that began at ``start``; ``stop`` None: to the end.

    ``counted`` is how far progress was told: a range that must begin again is not told twice.
    """

    job: Download
    start: int
    stop: int | None
    position: int = field(init=False)
    counted: int = field(init=False)

    def __post_init__(self) -> None:
        self.position = self.counted = self.start

    def operation(self) -> Operation[Answer]:
        """Ask for what is missing of the version that is known; for all of it where nothing pins one."""
        headers = list(self.job.plan.headers)
        version = self.job.version
        if self.stop is None or not version.pinned or self.position == self.stop:  # the last: more came than should
            self.position = self.start
        if self.stop is not None:
            headers.append(("Range", range_header(self.position, self.stop)))
        if version.pinned and version.etag is not None and self.stop is not None:
            headers = [(name, value) for name, value in headers if name.lower() != "if-match"]
            headers.append(("If-Match", version.etag))
        return operations.get_object(self.job.plan.location, tuple(headers))

    async def receive(self, operation: Operation[object], response: httpx.Response, attempt: int) -> None:
        """Write what the answer brings, if it is an answer to the question."""
        if response.status_code in (200, 206):
            await self._write(response, self._understand(response))
        else:
            await self._refused(operation, response, attempt)

    async def _refused(self, operation: Operation[object], response: httpx.Response, attempt: int) -> None:
        await read_whole(response)
        first = not self.job.version.known.is_set()
        if response.status_code == 416 and first:
            self._learn(response, size=0)  # only an empty object has no byte 0
            return
        answer = Answer(status=response.status_code, headers=response.headers, body=response.content)
        error = failure(answer, operation.name, operation.location, attempt)
        if response.status_code in (412, 416) and not first:
            raise self._changed(str(error)) from error
        raise error

    def _learn(self, response: httpx.Response, *, size: int | None, whole: bool = False, untied: bool = False) -> None:
        version = self.job.version
        version.etag = response.headers.get("etag")
        version.pinned = is_strong(version.etag)
        version.size = self.job.meter.total = size
        version.whole, version.untied = whole, untied
        version.known.set()

    def _understand(self, response: httpx.Response) -> int | None:
        """Compare the answer with the question; gives the bytes to take from it (None: until it ends)."""
        said = response.headers.get("content-range")
        if said is None:
            return self._understand_whole(response)
        try:
            piece = parse_content_range(said)
        except InvalidResponse as error:
            raise self._nonsense(str(error)) from error
        if piece.total is None or self.stop is None:
            raise self._nonsense(f"Content-Range {said!r} is no answer to the request")
        self._compare(response, piece.total)
        stop = min(self.stop, piece.total)
        if (piece.start, piece.stop) != (self.position, stop):
            raise self._nonsense(f"Content-Range is {said!r}, asked were bytes {self.position}-{self.stop - 1}")
        if _length(response) not in (None, piece.stop - piece.start):
            raise self._nonsense(f"Content-Length {_length(response)} contradicts Content-Range {said!r}")
        self.stop = stop
        return 0 if self.job.version.untied else piece.stop - piece.start

    def _compare(self, response: httpx.Response, total: int) -> None:
        """The first answer says which version is fetched; the others must be of the same one."""
        version = self.job.version
        etag = response.headers.get("etag")
        if not version.known.is_set() or not version.pinned:
            assert self.stop is not None
            self._learn(response, size=total, untied=not is_strong(etag) and total > self.stop)
        elif not same_etag(etag, version.etag) or total != version.size:
            raise self._changed(f"its ETag was {version.etag}, now it is {etag}")

    def _understand_whole(self, response: httpx.Response) -> int | None:
        """An answer without Content-Range is the whole object, whatever was asked for."""
        first = not self.job.version.known.is_set()
        if response.status_code != 200 or self.position != 0 or not (first or self.stop is None):
            raise self._nonsense("the Range header was ignored, or answered without a Content-Range")
        length = _length(response)
        if length is None and "content-encoding" in response.headers:
            raise self._nonsense("an encoding was put on the body on its way, and its length is not told")
        if length is None and not _shows_its_end(response):
            raise self._nonsense("neither a Content-Length nor anything else tells where the body ends")
        self._learn(response, size=length, whole=True)
        self.stop = None
        return length

    async def _write(self, response: httpx.Response, count: int | None) -> None:
        """Write the body where it belongs, block by block, counting."""
        if count == 0:
            return
        buffers, reader = self.job.buffers, raw_reader(response)
        buffer = buffers.take()
        try:
            if count is None:
                await self._write_to_the_end(reader, memoryview(buffer))
            else:
                await self._write_count(reader, memoryview(buffer), self.position + count)
                if _length(response) is None:
                    await self._expect_end(reader, count)
        finally:
            await reader.aclose()
            buffers.give_back(buffer)

    async def _write_count(self, reader: RawReader, view: memoryview, stop: int) -> None:
        begin = self.position
        while self.position < stop:
            sink = FileSink(self.job.target.file, self.position)
            count = await reader.pour(view[: stop - self.position], sink, self.job.session.threads)
            if not count:
                raise self._nonsense(f"the body ended after {self.position - begin} of {stop - begin} bytes")
            self._moved(count)

    async def _write_to_the_end(self, reader: RawReader, view: memoryview) -> None:
        ahead = memoryview(bytearray(1))  # the last write is to be known for the last
        got = 0
        more = await reader.readinto(ahead)
        while more:
            view[:1] = ahead
            got = 1 + await reader.readinto(view[1:])
            more = await reader.readinto(ahead)
            if more:
                await self._flush(view[:got])
        self.job.version.size = self.job.meter.total = self.position + got
        if got:
            await self._flush(view[:got])

    async def _expect_end(self, reader: RawReader, count: int) -> None:
        """All bytes are there: how the answer ends does not matter any more, but that it goes on does."""
        more = 0
        with suppress(httpx.TransportError):
            more = await reader.readinto(memoryview(bytearray(1)))
        if more:
            raise self._nonsense(f"the body is longer than the {count} bytes it should have")

    async def _flush(self, block: memoryview) -> None:
        await in_thread(FileSink(self.job.target.file, self.position), block, limiter=self.job.session.threads)
        self._moved(len(block))

    def _moved(self, count: int) -> None:
        self.position += count
        if self.position > self.counted:
            fresh, self.counted = self.position - self.counted, self.position
            try:
                self.job.meter.add(fresh)
            except Exception as error:
                raise CallbackFailed(error) from error

    def _changed(self, how: str) -> PreconditionFailed:
        location = self.job.plan.location
        return PreconditionFailed(
            f"GetObject {location}: the object was replaced while it was downloaded: {how}",
            status=412,
            code="PreconditionFailed",
            message=how,
            bucket=location.bucket,
            key=location.key,
            operation="GetObject",
        )

    def _nonsense(self, what: str) -> InvalidResponse:
        return InvalidResponse(f"GetObject {self.job.plan.location}: {what}")


def _shows_its_end(response: httpx.Response) -> bool:
    """A body without a length is whole only if its framing says so; a closed connection may as well be a broken one."""
    chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    return chunked or response.http_version not in ("HTTP/1.0", "HTTP/1.1")


def _length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length")
    return int(text) if text and text.isascii() and text.isdigit() else None
