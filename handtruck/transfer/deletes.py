"""Deleting many objects, batch by batch, several batches on their way at once.

::

    the caller's names, or a listing ──▶ batches of 1 000 ──▶ workers: DeleteObjects ──▶ deleted, or an error for each
                                    └▶ what XML cannot carry, one by one ──▶ DeleteObject ┘

*Errors.* What S3 says of one object is that object's, and stops nobody. What concerns all of them (no connection, 5xx,
throttling, no bucket, bad keys) ends the job; notes tell how many were deleted by then.

*Memory.* Workers times a batch of names, and the outcomes that are kept.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, KeysView, ValuesView
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.from_thread
from anyio.lowlevel import checkpoint

from .._attempt import GRACE
from .._tasks import in_thread, isolated
from ..errors import InvalidResponse, NotFound, S3Error, Throttled
from ..models import DeletedObject, DeleteResult, NotDeleted, ObjectVersion
from ..protocol import operations
from ..protocol.documents import Deletions, is_carried
from ..protocol.operations import is_gone
from ..protocol.quirks import MOST_DELETES
from ..protocol.retry import EXPIRED_CODES, Outcome, Retries, classify
from .workers import Closing, run_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._session import Session
    from ..models import ObjectPage, VersionPage
    from ..protocol.address import Location
    from ..protocol.documents import ObjectIdentifier
    from ..protocol.operations import Headers

    Identify = Callable[[object], ObjectIdentifier]

OnBatch: TypeAlias = "Callable[[DeleteResult], object]"
"""Called on the event loop with what one answer says."""

IN_MEMORY: Final = (list, tuple, set, frozenset, dict, KeysView, ValuesView)
"""Iterables that do not block."""

_OF_ALL: Final = EXPIRED_CODES | {
    "InvalidAccessKeyId",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
}
"""Codes of a 4xx that every other object would get, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePlan:
    """How to delete.

    Attributes:
        headers: of every request.
        workers: requests on their way at once.
        quiet: S3 is to tell of errors only.
        keep: the result is to tell what was deleted, not only how many.
        on_batch: told what each answer says.
    """

    bucket: Location
    headers: Headers
    workers: int
    quiet: bool
    keep: bool
    on_batch: OnBatch | None


async def delete_named(session: Session, plan: DeletePlan, names: object, identify: Identify) -> DeleteResult:
    """Delete what a caller's iterable, sync or async, names."""
    return await _Deletes(session, plan).run(lambda: _named(names, identify))


async def delete_listed(
    session: Session, plan: DeletePlan, pages: AsyncIterable[ObjectPage] | AsyncIterable[VersionPage], prefix: str
) -> DeleteResult:
    """Delete what a listing of what is below a prefix tells, while it goes on.

    Raises:
        InvalidResponse: it tells of something else, which stays, as do all that it told together with that.
    """
    return await _Deletes(session, plan).run(lambda: _listed(pages, prefix))


# -- Names, some at a time


async def _named(names: object, identify: Identify) -> AsyncGenerator[list[ObjectIdentifier], None]:
    """What the caller names, as it comes; a generator of the caller's is closed."""
    if isinstance(names, AsyncIterable):
        source = aiter(names)
        async with Closing(partial(_aclose, source), GRACE):
            async for name in source:
                yield [identify(name)]
        return
    assert isinstance(names, Iterable)
    iterator = iter(names)
    if isinstance(names, IN_MEMORY):
        while some := [identify(name) for name in islice(iterator, MOST_DELETES)]:
            yield some
        return
    thread = anyio.CapacityLimiter(1)  # not the session's: it may block for as long as it likes
    async with Closing(partial(_close, iterator, thread), GRACE):
        while found := await in_thread(_some, iterator, limiter=thread):
            yield [identify(name) for name in found]


def _some(iterator: Iterator[object]) -> list[object]:
    """The next names of an iterator that may block; between any two a cancellation ends it."""
    some = []
    for name in islice(iterator, MOST_DELETES):
        some.append(name)
        anyio.from_thread.check_cancelled()
    return some


async def _aclose(source: object) -> None:
    if isinstance(source, AsyncGenerator):
        await source.aclose()


async def _close(iterator: Iterator[object], thread: anyio.CapacityLimiter) -> None:
    if isinstance(iterator, Generator):
        await in_thread(iterator.close, limiter=thread)


async def _listed(
    pages: AsyncIterable[ObjectPage] | AsyncIterable[VersionPage], prefix: str
) -> AsyncGenerator[list[ObjectIdentifier], None]:
    """What a listing tells, a page late: where the next page begins is looked up among what must still be there."""
    before: list[ObjectIdentifier] = []
    async for page in pages:
        stray = next((one.key for one in page if not one.key.startswith(prefix)), None)
        if stray is not None:  # a server that takes no notice of the prefix would have us delete the whole bucket
            raise InvalidResponse(f"{stray!r} is listed below the prefix {prefix!r}, and was not deleted")
        yield before
        before = [(one.key, one.version_id if isinstance(one, ObjectVersion) else None) for one in page]
    yield before


async def _batches(
    source: AsyncGenerator[list[ObjectIdentifier], None], most: int, alone: Callable[[ObjectIdentifier], bool]
) -> AsyncGenerator[list[ObjectIdentifier], None]:
    """Batches of up to ``most`` names, none of them twice; those that no document carries alone."""
    batch: dict[ObjectIdentifier, None] = {}
    async with Closing(source.aclose, GRACE):
        async for some in source:
            for name in some:
                if alone(name):
                    yield [name]
                    continue
                batch[name] = None
                if len(batch) == most:
                    yield list(batch)
                    batch.clear()
    if batch:
        yield list(batch)


# -- Requests


@dataclass(slots=True)
class _Deletes:
    """Many objects of one bucket, on their way out."""

    session: Session
    plan: DeletePlan
    count: int = 0
    kept: list[Deletions] = field(default_factory=list)

    async def run(self, source: Callable[[], AsyncGenerator[list[ObjectIdentifier], None]]) -> DeleteResult:
        """Delete them all, in a child task; whatever comes out instead, a cancellation too, tells how many went."""

        async def job() -> None:
            most = min(MOST_DELETES, self.session.quirks.max_deletes)
            batches = _batches(source(), most, self._goes_alone)
            await run_workers(batches, self._delete, workers=self.plan.workers, slots=self.plan.workers)

        try:
            await self.session.ready()
            await isolated(job)
        except (Exception, anyio.get_cancelled_exc_class()) as error:
            error.add_note(f"handtruck: {self.count} objects were deleted; requests under way may have deleted more")
            raise
        return DeleteResult(
            count=self.count,
            deleted=tuple(one for some in self.kept for one in some.deleted),
            errors=tuple(error for some in self.kept for error in some.errors),
        )

    def _goes_alone(self, name: ObjectIdentifier) -> bool:
        """No document carries it, or the server takes none."""
        key, version_id = name
        return self.session.quirks.max_deletes == 1 or not is_carried((self.plan.bucket.prefix + key, version_id))

    async def _delete(self, names: list[ObjectIdentifier]) -> None:
        await checkpoint()  # a source in memory would have the loop to itself while it is cut up
        if len(names) == 1 and self._goes_alone(names[0]):
            self._told(await self._delete_one(*names[0]))
            return
        plan, retries = self.plan, Retries(self.session.budget, self.session.max_attempts, idempotent=True)
        while True:
            said = await self.session.perform(
                operations.delete_objects(plan.bucket, names, plan.headers, quiet=plan.quiet)
            )
            retries.attempt += 1
            passing = [error for error in said.errors if _passes(error)]
            wait = retries.again(Outcome.REFUSED, random=self.session.random()) if passing else None
            if wait is None:
                break
            final = [error for error in said.errors if not _passes(error)]
            self._told(Deletions(deleted=said.deleted, errors=tuple(final)))
            names = [(error.key, error.version_id) for error in passing]
            await anyio.sleep(wait)
        if retries.paid and not passing:
            retries.succeeded()
        self._told(said)

    async def _delete_one(self, key: str, version_id: str | None) -> Deletions:
        """One that goes alone."""
        location = self.plan.bucket.below(key)
        try:
            deleted = await self.session.perform(operations.delete_object(location, version_id, self.plan.headers))
        except S3Error as error:
            if _concerns_all(error):
                raise
            if is_gone(error.code):
                return Deletions(deleted=(DeletedObject(key=key, version_id=version_id),))
            failed = NotDeleted(key=key, version_id=version_id, code=error.code, message=error.message or str(error))
            return Deletions(errors=(failed,))
        return Deletions(deleted=(deleted,))

    def _told(self, said: Deletions) -> None:
        """S3 has told of some."""
        self.count += len(said.deleted)
        if self.plan.keep or said.errors:
            self.kept.append(said if self.plan.keep else Deletions(errors=said.errors))
        if self.plan.on_batch is not None:
            self.plan.on_batch(DeleteResult(count=len(said.deleted), deleted=said.deleted, errors=said.errors))


def _passes(error: NotDeleted) -> bool:
    return classify(400, error.code) is Outcome.REFUSED


def _concerns_all(error: S3Error) -> bool:
    return (
        error.status >= 500
        or isinstance(error, Throttled)
        or error.code in _OF_ALL
        or (isinstance(error, NotFound) and error.code == "NoSuchBucket")
    )
