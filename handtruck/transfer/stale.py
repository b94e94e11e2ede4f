"""Aborting multipart uploads that others left behind.

All are listed before the first is aborted: a server may look for the upload at which the next page begins.

*Errors.* An upload that is gone already is nothing to do. S3's no to one upload (it may be somebody else's) does not
keep us from the others, and comes out in the end; whatever concerns all of them (no connection, 5xx, throttling) ends
the job at once. Either way one exception comes out, the others are its notes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .._tasks import add_notes
from ..errors import NotFound, S3Error, Throttled
from ..protocol import operations
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable
    from datetime import timedelta

    from .._session import Session
    from ..models import MultipartUploadInfo
    from ..protocol.address import Location
    from ..protocol.operations import Headers

_AT_ONCE: Final = 8
_TOLD: Final = 10
"""So many refusals are told in full; the others only counted."""


async def abort_upload(session: Session, location: Location, upload_id: str, headers: Headers = ()) -> None:
    """Abort an upload, once.

    Raises:
        NotFound: S3 knew no such upload the first time it was asked. (Later it may not because we asked.)
        S3Error, ConnectionFailed.
    """
    try:
        await session.perform(operations.abort_multipart_upload(location, upload_id, headers))
    except NotFound as error:
        if error.attempts == 1 or error.code == "NoSuchBucket":
            raise


async def abort_stale(
    session: Session,
    bucket: Location,
    uploads: AsyncIterable[MultipartUploadInfo],
    older_than: timedelta,
    headers: Headers = (),
) -> tuple[MultipartUploadInfo, ...]:
    """Abort those of ``uploads`` that are at least so old; gives the ones that were aborted, in order.

    To be called inside :func:`handtruck._tasks.isolated`.
    """
    now = session.clock()
    stale = [upload async for upload in uploads if upload.initiated and now - upload.initiated >= older_than]
    return await _Sweep(session, bucket, headers, stale).run()


@dataclass(slots=True)
class _Sweep:
    """Some uploads of one bucket, on their way out."""

    session: Session
    bucket: Location
    headers: Headers
    stale: list[MultipartUploadInfo]
    aborted: set[MultipartUploadInfo] = field(default_factory=set)
    refused: list[BaseException] = field(default_factory=list)
    untold: int = 0

    async def run(self) -> tuple[MultipartUploadInfo, ...]:
        try:
            await run_workers(self._feed(), self._abort, workers=_AT_ONCE, slots=_AT_ONCE)
            if self.refused:
                raise self.refused.pop(0)
        except Exception as error:
            self._explain(error)
            raise
        finally:
            self.refused.clear()  # no cycle: their tracebacks hold this object
        return tuple(upload for upload in self.stale if upload in self.aborted)

    async def _feed(self) -> AsyncGenerator[MultipartUploadInfo, None]:
        for upload in self.stale:
            yield upload

    async def _abort(self, upload: MultipartUploadInfo) -> None:
        try:
            await abort_upload(self.session, self.bucket.below(upload.key), upload.upload_id, self.headers)
        except NotFound:
            return
        except S3Error as error:
            if error.status >= 500 or isinstance(error, Throttled):
                raise
            if len(self.refused) < _TOLD:
                self.refused.append(error)
            else:
                self.untold += 1
            return
        self.aborted.add(upload)

    def _explain(self, error: Exception) -> None:
        notes = [f"also: {self.untold} more refusals"] if self.untold else []
        notes.append(f"handtruck: {len(self.aborted)} of {len(self.stale)} stale uploads were aborted")
        add_notes(error, [*self.refused], notes)
