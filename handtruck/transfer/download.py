"""Ranged downloads into a file that is replaced in one step.

::

    [0, step) ──head──▶ size and ETag known ──▶ plan the other ranges ──▶ workers ──▶ rename
                 └ empty, whole or unpinnable: no other ranges

*One version.* See :mod:`handtruck.transfer.fetch`.

*One file.* Bytes go to a sibling by positional writes and take the target's place when the last one is there.
Whatever goes wrong before leaves the target as it was and the sibling removed.

*Another attempt.* With ``resume`` the sibling has a journal and stays: see :mod:`handtruck.transfer.partial`.

*Memory.* One block of ``buffer_size`` for each worker.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from .._session import PLAIN, Options, Session
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
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers
    from .fetch import Destination, Version
    from .files import FileSink, StagedTarget
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
    """

    location: Location
    headers: Headers
    step: int
    workers: int
    tries: int
    block: int
    resume: bool = False
    durable: bool = False
    query: Query = ()
    options: Options = PLAIN

    def wants(self, etag: str) -> bool:
        """Whether the caller's own conditions, if any, surely hold for that version."""
        given = [value for name, value in self.headers if name.lower() == "if-match"]
        return all(same_etag(value, etag) for value in given)

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
        read = await in_thread(target.found, limiter=session.threads)
        version, resumed = await _fetched(session, plan, target, meter, read)
        size = version.size or 0
        meter.end(size)
        await in_thread(partial(target.commit, size, durable=plan.durable), limiter=session.threads)
    except BaseException as error:
        problem: str | None = None
        with anyio.CancelScope(shield=True):
            problem = await in_thread(target.discard, limiter=session.threads)
        if problem:
            error.add_note(problem)
        raise
    return DownloadResult(path=target.path, size=size, etag=version.etag, resumed=resumed)


def _target(session: Session, plan: DownloadPlan, path: Path) -> StagedTarget:
    if plan.resume:
        version = f"?{wire_query(plan.query)}" if plan.query else ""
        return PartialTarget(path, session.endpoint.origin + plan.location.path + version, durable=plan.durable)
    return AtomicTarget(path)


async def _fetched(
    session: Session, plan: DownloadPlan, target: StagedTarget, meter: Meter, read: Read | None
) -> tuple[Version, int]:
    """Fetch what is missing, or all of it where the object is another one by now; gives also what was not missing."""
    if read is not None and plan.wants(read.subject.etag):
        meter.begin(read.covered, read.subject.size)
        try:
            return await Download(session, plan, target, meter, read).run(), read.covered
        except (PreconditionFailed, InvalidResponse) as error:
            if meter.done > read.covered:
                raise  # it was the same one, in ranges, a moment ago
            log.warning("%s: starting over: %s", target.path, error)
            meter.begin(0, None)
    await in_thread(target.clear, limiter=session.threads)
    return await Download(session, plan, target, meter).run(), 0


class Download:
    """One download from the first range to the last byte.

    Args:
        read: the version to fetch, and what of it need not be.
    """

    def __init__(
        self, session: Session, plan: DownloadPlan, target: StagedTarget, meter: Meter, read: Read | None = None
    ) -> None:
        self.session = session
        self.plan = plan
        self.target = target
        self.meter = meter
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

    def _sink(self, start: int) -> FileSink:
        version = self.remote.version
        if version.etag is not None and version.pinned and version.size is not None and not version.whole:
            self.target.knows(version.etag, version.size)
        return self.target.sink(start)

    def _moved(self, count: int) -> None:
        self.meter.total = self.remote.version.size
        self.meter.add(count)
