"""Uploads of files that a later call can go on with, in whatever process.

::

    record ──fits──▶ ListParts ──▶ compare with the file ──▶ send the rest ──▶ complete ──▶ remove the record
      │                  └ upload gone: the object may be there, then all is done
      └ none; or the file changed: abort ──▶ Create ──▶ write the record ──▶ send all ──▶ …

*The promise* is another one than :mod:`handtruck.transfer.multipart`'s: when the call is over without the object,
either no upload is open, or exactly the one that the record speaks of. That one is kept, and S3 bills what it holds,
until a call goes on with it or it is aborted. An id that did not get into the record is aborted as ever.

*What is there* is believed after comparison only: a part counts if it is as long as it should be, and the MD5 of the
file's bytes is its ETag. Where ETags are no MD5s (SSE-KMS, SSE-C, some clones) all parts are sent again.

*Memory.* As an upload's; to compare, 1 MiB for each worker.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import md5
from typing import TYPE_CHECKING, Final

import anyio

from .._attempt import GRACE
from .._tasks import in_thread
from ..errors import (
    AccessDenied,
    NotFound,
    PreconditionFailed,
    S3Error,
    SourceChanged,
    Throttled,
)
from ..models import Checksum
from ..protocol import operations
from ..protocol.checksums import bare_etag, multipart_etag, same_etag
from ..protocol.crc import encode, new_hasher
from ..protocol.parts import plan_parts
from .listed import all_parts
from .multipart import MultipartUpload, Uploaded, uploaded
from .records import Record, RecordFile, hash_headers, open_record
from .sources import file_pieces
from .workers import Closing, run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from pathlib import Path

    import httpx

    from .._session import Session
    from ..models import PartInfo, UploadResult
    from ..protocol.crc import Hasher
    from ..protocol.parts import Part
    from .files import SourceFile
    from .progress import Meter
    from .sources import FilePiece
    from .upload import UploadPlan

log: Final = logging.getLogger("handtruck")

_BLOCK: Final = 1024 * 1024

FOR_GOOD: Final = {
    "ConditionalRequestConflict": "another write came between; only a new upload can succeed",
    "EntityTooLarge": "the parts, or all of them, are larger than the server takes",
    "EntityTooSmall": "the parts are smaller than the server takes",
    "InvalidPartOrder": "the server does not count as we do",
    "NoSuchUpload": "somebody has aborted it",
    "NotImplemented": "the server cannot do that, such as replacing a part",
}
"""S3's codes after which the same upload could never be finished, and why."""


def worth_keeping(error: BaseException) -> bool:
    """Another call might finish what this one could not.

    A cancellation, an interrupt, a network, a disk, keys that may not: all of these pass. A source that changed does
    not, nor a condition that does not hold.
    """
    if isinstance(error, S3Error):
        return not isinstance(error, PreconditionFailed) and error.code not in FOR_GOOD
    return not isinstance(error, SourceChanged)


def why_anew(record: Record, now: Record) -> str | None:
    """Why an upload that was begun is of no use to the one that is to be made now, or None."""
    if (record.size, record.mtime_ns) != (now.size, now.mtime_ns):
        return "the file has changed since (size or modification time)"
    if record.headers != now.headers:
        return "its headers are not those of now"
    return None


async def upload_resumably(
    session: Session, plan: UploadPlan, path: Path, source: SourceFile, meter: Meter
) -> UploadResult | None:
    """Send a file in parts, going on where an earlier call stopped. To be called inside ``isolated``.

    None: there is nothing to go on with, and the file is one part only; it is to be sent as such.

    Raises:
        OSError: the record cannot be made beside the file.
        UsageError: another upload of the file to the same object is under way.
    """
    url = session.endpoint.url_of(plan.location)
    several = source.size > plan.part_size
    record = await in_thread(partial(open_record, path, url, create=several), limiter=session.threads)
    if record is None:
        return None
    try:
        headers = operations.sort_upload_headers(plan.headers)
        now = Record(
            url=url,
            upload_id="",
            size=source.size,
            mtime_ns=source.mtime_ns,
            part_size=plan.part_size,
            headers=hash_headers(headers.create),
        )
        multipart = MultipartUpload(session, plan.location, headers, plan.options)
        return await FileUpload(session, plan, source, meter, record, now, multipart).run(several=several)
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(record.close, limiter=session.threads)


@dataclass(slots=True)
class FileUpload:
    """One call: it takes an upload up, or begins one.

    Attributes:
        now: what the record of an upload begun now would say, but for the id.
        multipart: the upload that is worked on.
        remains: what is to be said of an older upload that could not be aborted, if anything.
        resumed: bytes that were there already.
        was_completing: the earlier call had sent Complete, or was about to.
    """

    session: Session
    plan: UploadPlan
    source: SourceFile
    meter: Meter
    record: RecordFile
    now: Record
    multipart: MultipartUpload
    asked: UploadPlan = field(init=False)
    remains: str = ""
    resumed: int = 0
    was_completing: bool = False

    def __post_init__(self) -> None:
        self.asked = self.plan

    async def run(self, *, several: bool) -> UploadResult | None:
        """See :func:`upload_resumably`; ``several``: the file is longer than a part."""
        try:
            done = await self._take_up()
            if done is None and self.multipart.upload_id is None:
                if not several:
                    await self._clear()
                    return None
                await self._begin()
            if done is None:
                done = await self._finish()
        except BaseException as error:
            await self._leave(error)
            raise
        await self._clear()
        return replace(done.result, resumed=self.resumed)

    # -- What an earlier call has left -----------------------------------------------------------------------------

    async def _take_up(self) -> Uploaded | None:
        """Go on with the upload of the record; without one, or where it is of no use, ``multipart`` has no id."""
        record = self.record.holds
        if record is None:
            if self.record.torn:
                log.warning(
                    "%s cannot be understood: starting over; the upload that it spoke of may remain, and be billed",
                    self.record.path,
                )
            return None
        self.multipart.upload_id = record.upload_id
        why = why_anew(record, self.now)
        if why is not None:
            await self._abandon(why)
            return None
        self._plan_as(record.part_size)
        self.was_completing = bool(record.completing)
        try:
            listed = await all_parts(self.multipart)
        except AccessDenied as refused:
            log.warning("%s: all parts are sent again, because they may not be listed: %s", self.plan.location, refused)
            listed = {}
        except NotFound as gone:
            if gone.code == "NoSuchBucket":
                raise
            done = await self._written() if self.was_completing else None
            if done is None:
                log.warning("starting over with %s: upload %s is gone", self.plan.location, record.upload_id)
                self._anew()
            else:
                self._already(self.source.size)
            return done
        await self._compare(listed)
        return None

    def _plan_as(self, part_size: int) -> None:
        """Parts as long as those that are there; where that is longer than was asked for, fewer of them at once."""
        plan = self.plan
        fewer = max(plan.part_size * plan.workers // part_size, 1)
        self.plan = replace(plan, part_size=part_size, workers=min(plan.workers, fewer), slots=min(plan.slots, fewer))

    async def _abandon(self, why: str) -> None:
        """Throw the old upload away; that this fails for now is an error, that it will never work is not."""
        old = self.multipart
        log.warning("starting over with %s, not with upload %s: %s", old.location, old.upload_id, why)
        problem = await old.abort()
        if isinstance(problem, Exception) and not _is_refused(problem):
            raise problem
        if problem:
            self.remains = f"the upload {old.upload_id} of {old.location} may remain, and be billed: {problem}"
            log.warning("%s", self.remains)
        self._anew()

    def _anew(self) -> None:
        old = self.multipart
        self.multipart = MultipartUpload(self.session, old.location, old.headers, old.options)
        self.plan = self.asked

    async def _written(self) -> Uploaded | None:
        """The upload is gone. It was completed, and the answer lost, if the object's ETag is that of our parts."""
        upload = self.multipart
        found: list[httpx.Response] = []
        head = operations.head_object(upload.location, upload.headers.part)
        try:
            await self.session.perform(head, options=upload.options, deliver=lambda _, response: found.append(response))
        except S3Error as error:
            log.debug("%s: no object to be seen: %s", upload.location, error)
        etag = found[0].headers.get("etag") if found else None
        if etag is None or not await self._is_ours(etag):
            return None
        upload.completed = found[0]
        return uploaded(found[0], size=self.source.size, parts=len(upload.etags), etag=etag)

    async def _is_ours(self, etag: str) -> bool:
        parts = list(self._parts())
        if not bare_etag(etag).endswith(f"-{len(parts)}"):
            return False  # spares reading the file
        digests = self.multipart.etags

        async def digest(part: Part) -> None:
            digests[part.number] = await self._md5(part)

        await self._each(parts, digest)
        return same_etag(etag, multipart_etag(digests[part.number] for part in parts))

    async def _compare(self, listed: dict[int, PartInfo]) -> None:
        """Keep the ETags of the parts that are what they should be, with the checksums that Complete repeats."""
        same, algorithm = 0, self.plan.algorithm

        async def compare(part: Part) -> None:
            nonlocal same
            etag = listed[part.number].etag
            hasher = None if algorithm is None else new_hasher(algorithm)
            if etag is not None and await self._md5(part, hasher) == bare_etag(etag):
                self.multipart.etags[part.number] = etag
                if algorithm is not None and hasher is not None:
                    checksum = Checksum(algorithm=algorithm, value=encode(hasher.digest()))
                    self.multipart.sums[part.number] = checksum, part.length
                same += part.length

        await self._each((part for part in self._parts() if _comparable(part, listed.get(part.number))), compare)
        self._already(same)

    def _already(self, count: int) -> None:
        self.resumed = count
        self.meter.begin(count, self.source.size)

    def _parts(self) -> Iterable[Part]:
        return plan_parts(self.source.size, self.plan.part_size)

    async def _each(self, parts: Iterable[Part], work: Callable[[Part], Awaitable[object]]) -> None:
        async def feed() -> AsyncGenerator[Part, None]:
            for part in parts:
                yield part

        await run_workers(feed(), work, workers=self.plan.workers, slots=self.plan.workers)

    async def _md5(self, part: Part, hasher: Hasher | None = None) -> str:
        return await in_thread(_md5_of, self.source, part, hasher, limiter=self.session.threads)

    # -- What is left to do ----------------------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Create an upload, and see that its id is on record before anything is sent for which S3 bills."""
        await self.multipart.create()
        assert self.multipart.upload_id is not None
        record = replace(self.now, upload_id=self.multipart.upload_id)
        await in_thread(self.record.write, record, limiter=self.session.threads)

    async def _finish(self) -> Uploaded:
        try:
            return await self._send_rest()
        except NotFound as gone:
            # Where an earlier call's Complete was under way, it may have been carried out since we looked.
            done = await self._written() if self.was_completing and gone.code in ("NoSuchUpload", "NoSuchKey") else None
            if done is None:
                raise
            self.meter.end(self.source.size)
            return done

    async def _send_rest(self) -> Uploaded:
        plan = self.plan
        workers = min(plan.workers, plan.slots)
        await run_workers(self._missing(), self._send, workers=workers, slots=plan.slots)
        await in_thread(self.source.check_unchanged, limiter=self.session.threads)
        assert self.record.holds is not None
        record = replace(self.record.holds, completing=1)
        await in_thread(self.record.write, record, limiter=self.session.threads)
        return await self.multipart.complete(self.source.size)

    async def _missing(self) -> AsyncGenerator[FilePiece, None]:
        plan = self.plan
        pieces = file_pieces(self.session, self.source, plan.part_size, hashed=plan.hashed, algorithm=plan.algorithm)
        async with Closing(pieces.aclose, GRACE):
            async for piece in pieces:
                if piece.number not in self.multipart.etags:
                    yield piece

    async def _send(self, piece: FilePiece) -> None:
        body = await piece.load()
        await self.multipart.send(piece.number, body, self.plan.tries)
        piece.release()
        self.meter.add(body.length)

    # -- The end ---------------------------------------------------------------------------------------------------

    async def _clear(self) -> None:
        """The record has had its day."""
        with anyio.CancelScope(shield=True):
            try:
                await in_thread(self.record.clear, limiter=self.session.threads)
            except OSError as error:  # the next call finds no upload, but the object
                log.warning("the record of an upload that is over remains: %s", error)

    async def _leave(self, error: BaseException) -> None:
        """Keep what a later call can use, undo what none will."""
        upload, record = self.multipart, self.record.holds
        recorded = record is not None and record.upload_id == upload.upload_id
        if recorded and upload.completed is None and worth_keeping(error):
            upload.say_if_written(error)
            error.add_note(
                f"handtruck: the unfinished upload {upload.upload_id} of {upload.location} is kept, and what it holds "
                "is billed, until it is resumed by the same call, or aborted (by abort_stale_uploads, too)"
            )
        elif await upload.undo(error) and recorded:
            await self._clear()
        if self.remains:
            error.add_note(f"handtruck: {self.remains}")


def _is_refused(error: Exception) -> bool:
    """S3 says no, and will say so again."""
    return (
        isinstance(error, S3Error) and not isinstance(error, Throttled) and (error.status < 500 or error.status == 501)
    )


def _comparable(part: Part, there: PartInfo | None) -> bool:
    """It is as long as it should be, and its ETag is an MD5."""
    return there is not None and there.size == part.length and multipart_etag([there.etag or ""]) is not None


def _md5_of(source: SourceFile, part: Part, hasher: Hasher | None = None) -> str:
    """Of a part of a file, with a further hash on the way. A cancellation ends it between two blocks."""
    digest, block = md5(usedforsecurity=False), bytearray(min(_BLOCK, part.length))
    stop = part.offset + part.length
    for start in range(part.offset, stop, _BLOCK):
        view = memoryview(block)[: min(_BLOCK, stop - start)]
        source.read_into(view, start)
        digest.update(view)
        if hasher is not None:
            hasher.update(view)
    return digest.hexdigest()
