"""Ranged downloads into a file that is replaced in one step.

::

    [0, step) ──head──▶ size and ETag known ──▶ plan the other ranges ──▶ workers ──▶ rename
                 └ empty, whole or unpinnable: no other ranges

*One version.* See :mod:`handtruck.transfer.fetch`.

*One file.* Bytes go to a sibling by positional writes and take the target's place when the last one is there.
Whatever goes wrong before leaves the target as it was and the sibling removed.

*Another attempt.* With ``resume`` the sibling has a journal and stays: see :mod:`handtruck.transfer.partial`.

*The right bytes.* With ``verify``: see :mod:`handtruck.transfer.verify`.

*Memory.* One block of ``buffer_size`` for each worker.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from .._attempt import PLAIN, Options
from .._tasks import in_thread
from ..errors import InvalidResponse, PreconditionFailed, UsageError
from ..models import DownloadResult
from ..protocol.address import wire_query
from ..protocol.checksums import same_etag
from ..protocol.parts import plan_ranges
from .buffers import Buffers
from .fetch import Fetch, IntoFile, Remote
from .files import AtomicTarget
from .journal import gaps
from .partial import PartialTarget
from .verify import Expected, Tally, ask, check
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from .._session import Session
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers
    from .fetch import Destination, Version
    from .files import StagedTarget
    from .journal import Range, Read
    from .progress import Meter

log: Final = logging.getLogger("handtruck")


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPlan:
    """What the caller asked for.

    Attributes:
        step: bytes a request asks for.
        workers: ranges on their way at once.
        tries: attempts for each range.
        block: bytes a worker collects before it writes.
        resume: go on with what an earlier attempt left, and leave what a later one may use.
        durable: it outlives a loss of power when the call returns.
        verify: compare it with the checksum that S3 has of it: see :mod:`handtruck.transfer.verify`.
    """

    location: Location
    headers: Headers
    step: int
    workers: int
    tries: int
    block: int
    resume: bool = False
    durable: bool = False
    verify: bool = False
    query: Query = ()
    options: Options = PLAIN

    def wants(self, etag: str) -> bool:
        """Whether the caller's own conditions, if any, surely hold for that version.

        What was written since some time cannot be told by an ETag; and where If-Match holds, S3 does not look at
        If-Unmodified-Since any more (RFC 9110, 13.2.2), so that it must be asked without.
        """
        given = [(name.lower(), value) for name, value in self.headers]
        if any(name == "if-unmodified-since" for name, _ in given):
            return False
        return all(same_etag(value, etag) for name, value in given if name == "if-match")

    def check(self, *, step: str = "range_step") -> None:
        """Refuse nonsense before anything is sent; ``step`` is what the caller knows it as.

        Raises:
            UsageError.
        """
        for name, value in (
            (step, self.step),
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
    target = await in_thread(_target, session, plan, path, limiter=session.threads)
    try:
        read = await in_thread(target.found, limiter=session.threads) if plan.resume else None
        expected, tally = None, None
        if plan.verify:
            expected = await ask(session, plan)
            plan = replace(plan, headers=expected.tied(plan.headers))
            tally = None if expected.checksum is None else Tally(expected.checksum.algorithm)
        version, resumed = await _fetched(session, plan, target, meter, read, tally)
        size = version.size or 0
        meter.end(size)
        if expected is not None and tally is not None:
            await _compare(session, plan, target, expected, tally, version)
        await in_thread(partial(target.commit, size, durable=plan.durable), limiter=session.threads)
    except BaseException as error:
        problem: str | None = None
        with anyio.CancelScope(shield=True):
            problem = await in_thread(target.discard, limiter=session.threads)
        if problem:
            error.add_note(problem)
        raise
    checksum = None if expected is None else expected.checksum
    return DownloadResult(path=target.path, size=size, etag=version.etag, resumed=resumed, checksum=checksum)


async def _compare(
    session: Session, plan: DownloadPlan, target: StagedTarget, expected: Expected, tally: Tally, version: Version
) -> None:
    """See that the bytes are right; of wrong ones nothing is kept for another attempt."""
    assert expected.checksum is not None
    expected.check_version(plan.location, version.etag)
    found = await in_thread(tally.settle, target.file, version.size or 0, expected.checksum, limiter=session.threads)
    if found != expected.checksum.value:
        await in_thread(target.clear, limiter=session.threads)
    check(plan.location, expected.checksum, found)


def _target(session: Session, plan: DownloadPlan, path: Path) -> StagedTarget:
    if plan.resume:
        version = wire_query([each for each in plan.query if each[0] == "versionId"])  # the others change no byte
        url = f"{session.endpoint.url_of(plan.location)}{'?' if version else ''}{version}"
        return PartialTarget(path, url, durable=plan.durable)
    return AtomicTarget(path)


async def _fetched(
    session: Session,
    plan: DownloadPlan,
    target: StagedTarget,
    meter: Meter,
    read: Read | None,
    tally: Tally | None,
) -> tuple[Version, int]:
    """Fetch what is missing, or all of it where the object is another one by now; gives also what was not missing."""
    if read is not None and plan.wants(read.subject.etag):
        meter.begin(read.covered, read.subject.size)
        try:
            return await Download(session, plan, target, meter, read, tally).run(), read.covered
        except (PreconditionFailed, InvalidResponse) as error:
            if meter.done > read.covered:
                raise  # it was the same one, in ranges, a moment ago
            log.warning("%s: starting over: %s", target.path, error)
            meter.begin(0, None)
    if plan.resume:
        await in_thread(target.clear, limiter=session.threads)
    if tally is not None:
        tally.pieces.clear()
    return await Download(session, plan, target, meter, tally=tally).run(), 0


class Download:
    """One download from the first range to the last byte.

    Args:
        read: the version to fetch, and what of it need not be.
        tally: told of what is written.
    """

    def __init__(
        self,
        session: Session,
        plan: DownloadPlan,
        target: StagedTarget,
        meter: Meter,
        read: Read | None = None,
        tally: Tally | None = None,
    ) -> None:
        self.session = session
        self.plan = plan
        self.target = target
        self.meter = meter
        self.tally = tally
        self.remote: Remote = Remote(
            session=session,
            location=plan.location,
            headers=plan.headers,
            query=plan.query,
            options=replace(plan.options, attempts=plan.tries),
        )
        self._here: tuple[Range, ...] = ()
        if read is not None:
            self.remote.version.pin(read.subject.etag, read.subject.size)
            self._here = read.ranges
        self._into: Destination = IntoFile(self._sink, Buffers(plan.block), session.threads)

    async def run(self) -> Version:
        """Fetch everything, or raise."""
        workers, version = self.plan.workers, self.remote.version
        await run_workers(self._feed(), Fetch.run, workers=workers, slots=workers)
        if version.untied:
            await self._fetch(0, None).run()
        return version

    async def _feed(self) -> AsyncGenerator[Fetch, None]:
        step, version, begin = self.plan.step, self.remote.version, 0
        if not self._here:
            begin = step
            yield self._fetch(0, step)
            await version.known.wait()
        if version.whole or version.untied or version.size is None:
            return
        if version.size > begin:
            await in_thread(self.target.allot, version.size, limiter=self.session.threads)
        for start, stop in gaps(self._here, version.size):
            for each in plan_ranges(max(start, begin), stop, step):
                yield self._fetch(*each)

    def _fetch(self, start: int, stop: int | None) -> Fetch:
        return Fetch(remote=self.remote, start=start, stop=stop, destination=self._into, moved=self._moved)

    def _sink(self, start: int) -> Callable[[memoryview], object]:
        version = self.remote.version
        if version.etag is not None and version.pinned and version.size is not None and not version.whole:
            self.target.knows(version.etag, version.size)
        sink = self.target.sink(start)
        return sink if self.tally is None else self.tally.sink(sink)

    def _moved(self, count: int) -> None:
        self.meter.total = self.remote.version.size
        self.meter.add(count)
