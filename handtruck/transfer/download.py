"""Ranged downloads into a file that is replaced in one step.

::

    [0, step) ──head──▶ size and ETag known ──▶ plan the other ranges ──▶ workers ──▶ rename
                 └ empty, whole or unpinnable: no other ranges

*One version.* See :mod:`handtruck.transfer.fetch`.

*One file.* Bytes go to a sibling by positional writes and take the target's place when the last one is there.
Whatever goes wrong before leaves the target as it was and the sibling removed.

*Memory.* One block of ``buffer_size`` for each worker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from .._session import PLAIN, Options, Session
from .._tasks import in_thread
from ..errors import UsageError
from ..models import DownloadResult
from ..protocol.parts import plan_ranges
from .buffers import Buffers
from .fetch import Fetch, IntoFile, Remote
from .files import AtomicTarget
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from ..protocol.address import Location
    from ..protocol.operations import Headers
    from .fetch import Destination, Version
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


class Download:
    """One download from the first range to the last byte."""

    def __init__(self, session: Session, plan: DownloadPlan, target: AtomicTarget, meter: Meter) -> None:
        self.plan = plan
        self.meter = meter
        self.remote: Remote = Remote(
            session=session,
            location=plan.location,
            headers=plan.headers,
            options=replace(plan.options, attempts=plan.tries),
        )
        self._into: Destination = IntoFile(target.file, Buffers(plan.block), session.threads)

    async def run(self) -> Version:
        """Fetch everything, or raise."""
        workers, version = self.plan.workers, self.remote.version
        await run_workers(self._feed(), Fetch.run, workers=workers, slots=workers)
        if version.untied:
            await self._fetch(0, None).run()
        return version

    async def _feed(self) -> AsyncGenerator[Fetch, None]:
        step, version = self.plan.step, self.remote.version
        yield self._fetch(0, step)
        await version.known.wait()
        if not (version.whole or version.untied):
            for start, stop in plan_ranges(step, version.size or 0, step):
                yield self._fetch(start, stop)

    def _fetch(self, start: int, stop: int | None) -> Fetch:
        return Fetch(remote=self.remote, start=start, stop=stop, destination=self._into, moved=self._moved)

    def _moved(self, count: int) -> None:
        self.meter.total = self.remote.version.size
        self.meter.add(count)
