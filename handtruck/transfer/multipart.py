"""A multipart upload as S3 knows it: made, fed with parts, completed or aborted, whatever happens on the way.

*The promise.* Every upload whose id reached us is completed or aborted when the call is over. Create and Complete,
once on the wire, are therefore waited for a while even if we are cancelled. Undo comes after all workers have
stopped; a part that S3 was still writing then may come to light later, so after the abort we look, and abort again.
Both share one deadline (:class:`CleanUp`), so that a server which answers no more costs 5 s in all. (A generator of the
caller's that does not close takes up to 5 s of its own; the abort has 2 s then.)

*What happened?* Where Complete's answer was lost, or a second try finds no upload, the object may be there. It
is if both are true: S3 knows the upload no more, and the object's ETag is the MD5 of our parts' MD5s (an older copy of
the same bytes has that ETag, too). What cannot be told is `OutcomeUnknown`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from .._attempt import ANSWER_SHARE, GRACE, Options
from .._body import SummedBody
from .._tasks import in_thread
from ..errors import (
    AccessDenied,
    Conflict,
    ConnectionFailed,
    HandtruckError,
    InvalidResponse,
    NotFound,
    OutcomeUnknown,
    PreconditionFailed,
    S3Error,
)
from ..models import UploadResult
from ..protocol import operations
from ..protocol.checksums import (
    asked_type,
    compare,
    multipart_etag,
    read_checksums,
    same_etag,
    value_header,
    whole_of,
)
from ..protocol.documents import parse_completed_checksums

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from .._body import BytesBody
    from .._session import Session
    from ..models import Checksum
    from ..protocol.address import Location
    from ..protocol.operations import UploadHeaders

log: Final = logging.getLogger("handtruck")

_ABORTS: Final = 4
_LOOK_AGAIN: Final = 0.2


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What came of it, and the answer that said so."""

    result: UploadResult
    response: httpx.Response


def uploaded(
    response: httpx.Response, *, size: int, parts: int = 0, etag: str | None = None, checksum: Checksum | None = None
) -> Uploaded:
    """What an answer says about the object that was written."""
    result = UploadResult(
        etag=etag or response.headers.get("etag"),
        size=size,
        parts=parts,
        version_id=response.headers.get("x-amz-version-id"),
        checksum=checksum,
    )
    return Uploaded(result, response)


@dataclass(slots=True)
class CleanUp:
    """One deadline for all that an upload still does once it is cancelled or has failed.

    The clock starts where that is noticed first: while Create or Complete is waited for, or before the abort.
    """

    began: float | None = None

    def begin(self) -> None:
        """Start the clock, unless it runs."""
        if self.began is None:
            self.began = anyio.current_time()

    def time_to_abort(self) -> float:
        """Seconds, from now on: what is left; but never so little that no abort could be answered."""
        self.begin()
        assert self.began is not None
        return max(self.began + GRACE - anyio.current_time(), GRACE * (1 - ANSWER_SHARE))


@dataclass(slots=True)
class MultipartUpload:
    """The upload as S3 knows it: an id, parts with their ETags, and an end.

    Attributes:
        sums: the checksums of parts, and their lengths, where they have any.
        create_lost: CreateMultipartUpload went out and no answer came back (yet).
        complete_lost: how many times CompleteMultipartUpload went out and may have been carried out all the same.
        completed: the answer that proves the object is there.
    """

    session: Session
    location: Location
    headers: UploadHeaders
    options: Options
    upload_id: str | None = None
    etags: dict[int, str] = field(default_factory=dict)
    sums: dict[int, tuple[Checksum, int]] = field(default_factory=dict)
    create_lost: bool = False
    complete_lost: int = 0
    completed: httpx.Response | None = None
    clean_up: CleanUp = field(default_factory=CleanUp)

    async def create(self) -> None:
        """Get an id. Once the request is on the wire its answer is waited for, whatever happens."""

        def on_wire(sent: bool) -> None:
            self.create_lost = sent

        def opened(upload_id: str, _: httpx.Response) -> None:
            self.upload_id, self.create_lost = upload_id, False

        operation = operations.create_multipart_upload(self.location, self.headers.create)
        await self.session.perform(operation, options=self._awaited(on_wire), deliver=opened)

    def _awaited(self, on_wire: Callable[[bool], None]) -> Options:
        """For a request whose answer is waited for even if we are cancelled."""
        return replace(self.options, on_wire=on_wire, on_cancel=self.clean_up.begin)

    async def send(self, number: int, body: BytesBody, tries: int) -> None:
        """Send one part; keeps its ETag, and its checksum."""
        assert self.upload_id is not None
        options = replace(self.options, attempts=tries)
        if isinstance(body, SummedBody):
            self.etags[number] = await self._send_summed(number, body, options)
            return
        operation = operations.upload_part(self.location, self.upload_id, number, self.headers.part)
        self.etags[number] = await self.session.perform(operation, body=body, options=options)

    async def _send_summed(self, number: int, body: SummedBody, options: Options) -> str:
        assert self.upload_id is not None
        checksum = body.checksum

        def said(_: object, response: httpx.Response) -> None:
            compare(f"UploadPart {self.location}", checksum, partial(read_checksums, response.headers))

        headers = (*self.headers.part, value_header(checksum))
        operation = operations.upload_part(self.location, self.upload_id, number, headers)
        etag = await self.session.perform(operation, body=body, options=options, deliver=said)
        self.sums[number] = checksum, body.length
        return etag

    async def complete(self, size: int) -> Uploaded:
        """Make the object of the parts, and be sure of it.

        Raises:
            S3Error: S3 says no.
            ChecksumMismatch: the object was written, and S3 says that its checksum is another one.
            OutcomeUnknown: the answer was lost and nothing tells whether the object is ours.
        """
        assert self.upload_id is not None
        whole = await self._sum()

        def on_wire(sent: bool) -> None:
            self.complete_lost += 1 if sent else -1

        def said(_: object, response: httpx.Response) -> None:
            self.completed, self.complete_lost = response, 0

        operation = operations.complete_multipart_upload(
            self.location,
            self.upload_id,
            self.etags.items(),
            self.headers.complete,
            checksums={number: checksum for number, (checksum, _) in self.sums.items()},
            whole=whole,
        )
        try:
            etag = await self.session.perform(operation, options=self._awaited(on_wire), deliver=said)
        except (S3Error, ConnectionFailed, InvalidResponse) as error:
            if not _maybe_done(error):
                raise
            etag = await self._find_out(error)
        assert self.completed is not None
        if whole is not None and self.completed.content:
            what = f"CompleteMultipartUpload {self.location}: the object was written"
            compare(what, whole, partial(parse_completed_checksums, self.completed.content))
        etag = etag or self.completed.headers.get("etag") or self._expected_etag()
        return uploaded(self.completed, size=size, parts=len(self.etags), etag=etag, checksum=whole)

    async def _sum(self) -> Checksum | None:
        """The checksum of the whole, if all parts have one. Of thousands it takes a while, and so a thread."""
        if not self.sums or self.sums.keys() != self.etags.keys():
            return None
        parts = [self.sums[number] for number in sorted(self.sums)]
        algorithm = parts[0][0].algorithm
        kind = asked_type(self.headers.create, algorithm)
        return await in_thread(whole_of, algorithm, kind, parts, limiter=self.session.threads)

    def _expected_etag(self) -> str | None:
        etag = multipart_etag(self.etags[number] for number in sorted(self.etags))
        return f'"{etag}"' if etag else None

    async def _find_out(self, error: HandtruckError) -> str | None:
        """Complete may have worked: it has if the upload is gone and the object's ETag is that of our parts.

        The ETag alone could be that of an older copy of the same bytes; its size would prove nothing at all.
        """
        expected = self._expected_etag()
        found: list[httpx.Response] = []
        head = operations.head_object(self.location, self.headers.part)
        try:
            if await self._gone(error):
                await self.session.perform(
                    head, options=self.options, deliver=lambda _, response: found.append(response)
                )
        except HandtruckError as failed:
            error.add_note(f"also: {failed}")
        if found and same_etag(found[0].headers.get("etag"), expected):
            self.completed, self.complete_lost = found[0], 0
            return expected
        if isinstance(error, S3Error) and not isinstance(error, NotFound):
            raise error  # S3 says that it failed, and nothing says otherwise
        raise OutcomeUnknown(
            f"CompleteMultipartUpload {self.location}: the object may or may not have been written; compare its ETag "
            f"with {expected or 'that of your data'} (upload id {self.upload_id}); the cause: {error}",
            upload_id=self.upload_id,
        ) from error

    async def _gone(self, error: HandtruckError) -> bool:
        """S3 knows the upload no more."""
        assert self.upload_id is not None
        if isinstance(error, NotFound):
            return True
        look = operations.list_parts(self.location, self.upload_id, self.headers.part)
        try:
            await self.session.perform(look, options=self.options)
        except NotFound:
            return True
        return False

    async def undo(self, error: BaseException) -> bool:
        """Abort, unless there is nothing to abort. What could not be done is said on ``error``, and False given."""
        if self.completed is not None:
            return True
        if self.upload_id is None:
            if self.create_lost:
                error.add_note(
                    f"handtruck: an unfinished upload of {self.location} may remain: "
                    "the answer to CreateMultipartUpload was lost, and with it the upload's id"
                )
            return not self.create_lost
        self.clean_up.begin()
        self.say_if_written(error)
        problem: object = None
        with anyio.CancelScope(shield=True) as scope:
            async with self.session.places.undoing():
                # Some of it counts from the place on: of a thousand cancelled at once none goes without its turn.
                seconds = self.clean_up.time_to_abort()
                problem = f"no answer within {seconds:.2g} s"
                scope.deadline = anyio.current_time() + seconds
                problem = await self._abort()
        if problem:
            remains = (
                f"handtruck: the unfinished upload {self.upload_id} of {self.location} may remain, "
                f"and what it holds is billed: {problem}"
            )
            error.add_note(remains)
            log.warning("%s", remains)  # a scope may swallow the cancellation, and with it its notes
        return not problem

    def say_if_written(self, error: BaseException) -> None:
        """Say on ``error`` that the object may be there."""
        if self.complete_lost and not isinstance(error, OutcomeUnknown):
            error.add_note(
                f"handtruck: {self.location} may have been written: the answer to Complete was not waited for"
            )

    async def abort(self) -> object:
        """Throw it away while nothing is wrong: see :meth:`undo`. Gives what stood in the way, or None."""
        return await self._abort(placed=False)

    async def _abort(self, *, placed: bool = True) -> object:
        """Abort until S3 knows the upload no more; gives what stood in the way, or None."""
        assert self.upload_id is not None
        options = replace(self.options, placed=placed)
        abort = operations.abort_multipart_upload(self.location, self.upload_id, self.headers.undo)
        look = operations.list_parts(self.location, self.upload_id, self.headers.part)
        for _ in range(_ABORTS):
            try:
                await self.session.perform(abort, options=options)
            except NotFound:
                return None
            except Exception as failed:  # noqa: BLE001 - told as a note: the caller is to see what went wrong first
                return failed
            try:
                await self.session.perform(look, options=options)
            except Exception:  # noqa: BLE001 - gone; or not ours to list, and then the abort's own word must do
                return None
            await anyio.sleep(_LOOK_AGAIN)
        return "S3 still lists it after several aborts"


def _maybe_done(error: S3Error | ConnectionFailed | InvalidResponse) -> bool:
    """The request may have been carried out, in spite of this."""
    if isinstance(error, NotFound):
        return error.code == "NoSuchUpload" and error.attempts > 1
    if isinstance(error, S3Error):
        # Inside a 200 an error counts as a 500, unless it says why nothing was done.
        refused = isinstance(error, AccessDenied | Conflict | PreconditionFailed)
        return error.status >= 500 or (error.status < 300 and not refused)
    return error.sent if isinstance(error, ConnectionFailed) else True
