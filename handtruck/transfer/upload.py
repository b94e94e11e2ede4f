"""Uploads: one PUT where the source fits into a part, else a multipart upload. One engine for files and streams.

::

    feed ──parts──▶ workers ──UploadPart──▶ complete
      └ makes the upload when a second      └ or, whatever goes wrong: abort
        part is certain

What S3 knows of it, and how that is finished or undone: :mod:`handtruck.transfer.multipart`.

*Memory.* At most ``slots`` parts exist at a time, those waiting and those being sent, and one block of the source.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from .._attempt import GRACE, PLAIN, Options
from .._body import SummedBody
from ..errors import UsageError
from ..protocol import operations
from ..protocol.checksums import asked_algorithm, compare, read_checksums, single_headers
from ..protocol.crc import require
from ..protocol.parts import check_part_size
from .multipart import MultipartUpload, Uploaded, uploaded
from .workers import Closing, run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import httpx

    from .._body import Body, BytesBody
    from .._session import Session
    from ..models import ChecksumAlgorithm
    from ..protocol.address import Location
    from ..protocol.operations import Headers
    from ..protocol.parts import PartLimits
    from .progress import Meter
    from .sources import Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPlan:
    """What the caller asked for.

    Attributes:
        part_size: bytes; see :mod:`handtruck.protocol.parts`.
        workers: parts on their way at once.
        slots: parts in memory at once.
        tries: attempts for each part.
        hashed: parts are hashed, and S3 checks them; else ``UNSIGNED-PAYLOAD``.
        grow: parts of a source of unknown length grow, so that 10 000 are enough.
        never_parts: why it must not become a multipart upload, or None.
    """

    location: Location
    headers: Headers
    part_size: int
    workers: int
    slots: int
    tries: int
    hashed: bool = True
    grow: bool = True
    never_parts: str | None = None
    options: Options = PLAIN

    @property
    def algorithm(self) -> ChecksumAlgorithm | None:
        """What the parts are summed with: see :mod:`handtruck.protocol.checksums`."""
        return asked_algorithm(self.headers)

    def check(self, limits: PartLimits) -> None:
        """Refuse nonsense before anything is sent; ``limits`` are the server's.

        Raises:
            UsageError.
        """
        check_part_size(self.part_size, limits)
        for name, value in (
            ("workers_count", self.workers),
            ("max_size", self.slots),
            ("part_upload_tries", self.tries),
        ):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if not self.location.key:
            raise UsageError(f"{str(self.location)!r} names no object: write bucket/key")
        operations.sort_upload_headers(self.headers)
        require(self.algorithm)


async def put_object(session: Session, plan: UploadPlan, body: BytesBody) -> Uploaded:
    """Send the whole object as one request."""
    said: list[httpx.Response] = []
    checksum = body.checksum if isinstance(body, SummedBody) else None

    def deliver(_: object, response: httpx.Response) -> None:
        if checksum is not None:
            what = f"PutObject {plan.location}: the object was written"
            compare(what, checksum, partial(read_checksums, response.headers))
        said.append(response)

    await session.perform(
        operations.put_object(plan.location, headers_for(body, plan.headers)),
        body=body,
        options=replace(plan.options, attempts=plan.tries),
        deliver=deliver,
    )
    return uploaded(said[0], size=body.length, checksum=checksum)


def headers_for(body: Body, headers: Headers) -> Headers:
    """The headers of an upload whose body goes as one: with its checksum, if it has one."""
    return single_headers(headers, body.checksum) if isinstance(body, SummedBody) else headers


@dataclass(slots=True)
class Upload:
    """One upload from its first byte to its last word.

    Attributes:
        put: sends a source that is one piece only.
        check_source: raises where the source is not any more what it was.
    """

    session: Session
    plan: UploadPlan
    meter: Meter
    put: Callable[[BytesBody], Awaitable[Uploaded]]
    check_source: Callable[[], Awaitable[None]]
    only: Piece | None = None
    multipart: MultipartUpload | None = None

    async def run(self, pieces: AsyncGenerator[Piece, None]) -> Uploaded:
        """Send what ``pieces`` yields. To be called inside :func:`handtruck._tasks.isolated`."""
        plan = self.plan
        workers = min(plan.workers, plan.slots)
        try:
            await run_workers(self._feed(pieces), self._send, workers=workers, slots=plan.slots)
            if self.multipart is None:
                return await self._put()
            await self.check_source()
            return await self.multipart.complete(self.meter.done)
        except BaseException as error:
            if self.multipart is not None:
                await self.multipart.undo(error)
            raise

    async def _feed(self, pieces: AsyncGenerator[Piece, None]) -> AsyncGenerator[Piece, None]:
        """Pass the pieces on, once there is an upload for them; an only piece needs none and is kept."""
        async with Closing(pieces.aclose, GRACE, self._stopped):
            async for piece in pieces:
                if piece.number == 1:
                    if piece.last:
                        self.only = piece
                        return
                    await self._begin()
                yield piece

    def _stopped(self) -> None:
        """Something went wrong, or we were cancelled: what the source takes to close counts, too."""
        if self.multipart is not None:
            self.multipart.clean_up.begin()

    async def _begin(self) -> None:
        plan = self.plan
        if plan.never_parts is not None:
            raise UsageError(plan.never_parts)
        headers = operations.sort_upload_headers(plan.headers)
        self.multipart = MultipartUpload(self.session, plan.location, headers, plan.options)
        await self.multipart.create()

    async def _send(self, piece: Piece) -> None:
        assert self.multipart is not None
        body = await piece.load()
        await self.multipart.send(piece.number, body, self.plan.tries)
        piece.release()
        self.meter.add(body.length)

    async def _put(self) -> Uploaded:
        assert self.only is not None
        body = await self.only.load()
        await self.check_source()
        done = await self.put(body)
        try:
            self.meter.add(body.length)
        except BaseException as error:
            error.add_note(f"handtruck: {self.plan.location} was written")
            raise
        return done
