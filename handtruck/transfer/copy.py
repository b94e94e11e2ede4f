"""Copies that S3 makes itself: in one request, or in parts at once; and moves, which are a copy and a deletion.

::

    look at the source (where that is needed) ──▶ CopyObject
                                             └──▶ create ──ranges──▶ workers ──UploadPartCopy──▶ look again ──▶ complete
                                                             └ or, whatever goes wrong: abort

*One version.* What was found is what is copied: every request says If-Match of it. Ceph's gateway, moto and rclone take
no notice of that, so the source is looked at again: before a multipart copy is completed, and after a single one whose
ETag does not prove it. A single CopyObject never mixes two versions, parts could.

*Tags* are kept by S3 itself in a single copy, and are sent again with a multipart one. Ceph's gateway forgets them
there, and where the description is replaced: so HEAD is asked for their number, and they are written once more.

What S3 knows of a multipart upload, and how that is finished or undone: :mod:`handtruck.transfer.multipart`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeVar

from .._tasks import isolated
from ..errors import HandtruckError, InvalidResponse, NotModified, PreconditionFailed, S3Error
from ..models import CopyResult
from ..protocol import operations
from ..protocol.checksums import asked_algorithm, same_etag
from ..protocol.operations import subresources
from ..protocol.parts import MAX_PART_SIZE, MIB, fitting_part_size, plan_parts
from .multipart import MultipartUpload
from .progress import Meter
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

    from .._session import Session
    from ..protocol.operations import Copied, FoundSource, Operation
    from ..protocol.parts import Part
    from .copy_plan import CopyPlan
    from .progress import ProgressCallback

T = TypeVar("T")

COPY_PART_SIZE: Final = 128 * MIB
"""Of what is too large for one request. No byte passes us, so parts cost no memory, and fewer of them less money."""

_TOO_LARGE: Final = frozenset({400, 413})


async def copy_object(
    session: Session, plan: CopyPlan, progress: ProgressCallback | None, *, move: bool = False
) -> CopyResult:
    """Copy an object; to move it, delete the source then."""
    copy = Copy(session, plan, Meter(progress))
    try:
        return await isolated(copy.move if move else copy.run)
    except BaseException as error:
        # Here and not inside: who is cancelled at the very end hears nothing from a job that was over.
        copy.tell(error, moving=move)
        raise


@dataclass(slots=True)
class Copy:
    """One copy from its first request to its last.

    Attributes:
        found: what is copied, where it was looked at.
        written: the copy is there.
        source_is: what has become of the source of a move, for people.
    """

    session: Session
    plan: CopyPlan
    meter: Meter
    found: FoundSource | None = None
    written: bool = False
    source_is: str = "was not deleted"

    def tell(self, error: BaseException, *, moving: bool) -> None:
        """Say on ``error`` what was done."""
        if self.written:
            source = f", and {self.plan.source} {self.source_is}" if moving else ""
            error.add_note(f"handtruck: {self.plan.location} was written{source}")

    async def run(self) -> CopyResult:
        """Copy it."""
        result = await self._run()
        if result.size is not None:
            self.meter.end(result.size)
        return result

    async def _run(self) -> CopyResult:
        plan = self.plan
        if plan.looks:
            self.found = await self._look()
            self.meter.total = self.found.size
        elif (result := await self._unseen()) is not None:
            return result
        assert self.found is not None
        in_parts = self._divides and self.found.size > (self._most if plan.part_size is None else plan.part_size)
        tags = await self._tags() if in_parts or plan.target.replaces else {}
        result = await (_Parts(self, self.found, tags).run() if in_parts else self._at_once())
        if tags:
            await self._mend_tags(result, tags)
        return result

    @property
    def _divides(self) -> bool:
        """The server can copy in parts; else it copies objects of any size at once."""
        return self.session.quirks.part_copies

    @property
    def _most(self) -> int:
        """Bytes that one request copies."""
        return min(MAX_PART_SIZE, self.session.quirks.max_part_size)

    async def _perform(self, operation: Operation[T]) -> T:
        return await self.session.perform(operation, options=replace(self.plan.options, attempts=self.plan.tries))

    # -- looking

    async def _look(self) -> FoundSource:
        """See what there is to be copied, and whether it is what the caller wants."""
        source = self.plan.source
        try:
            found = await self._perform(operations.find_source(source))
        except NotModified as error:
            raise self._unfit("it is as the condition says that it must not be") from error
        why = source.unmet(found)
        if why is not None:
            raise self._unfit(why)
        return found

    async def still_there(self) -> None:
        """See that the source is what was found.

        Raises:
            PreconditionFailed: it was replaced.
        """
        assert self.found is not None
        if self.plan.source.immutable:
            return
        now = await self._perform(operations.find_source(self.plan.source, conditions=False))
        if not self.found.is_as(now):
            raise self._unfit("it was replaced while it was copied")

    def _unfit(self, why: str) -> PreconditionFailed:
        source = self.plan.source
        return PreconditionFailed(
            f"HeadObject {source}: a precondition failed: {why}",
            status=412,
            code="PreconditionFailed",
            message=why,
            bucket=source.bucket,
            key=source.key,
            operation="HeadObject",
        )

    # -- one request

    async def _unseen(self) -> CopyResult | None:
        """Copy it without a look; None where it is too large for that, and has been looked at now."""
        try:
            return await self._at_once()
        except S3Error as error:
            # Too large, perhaps: S3 says just that the request is invalid.
            if error.status not in _TOO_LARGE or self.plan.source.location is None or not self._divides:
                raise
            try:
                self.found = await self._look()
            except HandtruckError as failed:
                error.add_note(f"also: {failed}")
                raise error from None
            if self.found.size <= self._most:
                raise
            self.meter.total = self.found.size
            return None

    async def _at_once(self) -> CopyResult:
        plan, found = self.plan, self.found
        copied = await self._perform(
            operations.copy_object(plan.source, plan.location, plan.target.at_once(found), found)
        )
        self.written = True
        result = CopyResult(
            etag=copied.document.etag,
            last_modified=copied.document.last_modified,
            size=None if found is None else found.size,
            version_id=copied.version_id,
            source_version_id=copied.source_version_id or (found.version_id if found else plan.source.version_id),
        )
        if found is not None:
            await self._see_what_was_copied(copied, found)
        return result

    async def _see_what_was_copied(self, copied: Copied, found: FoundSource) -> None:
        """It must be what was found; what S3 says may prove it, else the source is looked at again."""
        if found.version_id is not None and copied.source_version_id is not None:
            if copied.source_version_id != found.version_id:
                raise self._unfit("it was replaced while it was copied")
        elif not self.plan.onto_itself and not same_etag(copied.document.etag, found.etag):
            await self.still_there()

    # -- tags

    async def _tags(self) -> dict[str, str]:
        """The source's tags, if the copy is to have them. Only a server that knows of tags is ever asked for them."""
        if self.found is None or not self.found.tags or not self.plan.target.keeps_tags:
            return {}
        source = self.plan.source
        assert source.location is not None
        setting = await self._perform(subresources.get_object_tagging(source.location, source.bare, source.query))
        if setting.value is None:
            raise InvalidResponse(f"GetObjectTagging {source}: it is said to have tags, and the answer is no document")
        return setting.value

    async def _mend_tags(self, result: CopyResult, tags: dict[str, str]) -> None:
        """Write the tags that the copy should have, unless it has some."""
        now = await self._perform(self._look_at_copy())
        if not now.tags and same_etag(now.etag, result.etag):
            shared = operations.sort_upload_headers(self.plan.target.headers).undo
            await self._perform(subresources.put_object_tagging(self.plan.location, tags, shared))

    def _look_at_copy(self) -> Operation[FoundSource]:
        shared = operations.sort_upload_headers(self.plan.target.headers).part
        return operations.find_object(self.plan.location, shared)

    # -- moving

    async def move(self) -> CopyResult:
        """Copy it, see that it was copied, and delete the source."""
        result = await self.run()
        await self._verify(result)
        await self.still_there()
        await self._delete()
        return result

    async def _verify(self, result: CopyResult) -> None:
        """See that the copy is there: as long as the source, and with the ETag of the one or the other."""
        assert self.found is not None
        now = await self._perform(self._look_at_copy())
        same = same_etag(now.etag, result.etag) or same_etag(now.etag, self.found.etag)
        if now.size != self.found.size or not same:
            location = self.plan.location
            why = f"it has {now.size} bytes and the ETag {now.etag}, and is not what was copied"
            raise PreconditionFailed(
                f"HeadObject {location}: {why}",
                status=412,
                code="PreconditionFailed",
                message=why,
                bucket=location.bucket,
                key=location.key,
                operation="HeadObject",
            )

    async def _delete(self) -> None:
        """Delete the source: the version that the caller has named; else the object, if it is what was copied."""
        source, found = self.plan.source, self.found
        assert found is not None
        assert source.location is not None
        headers = source.bare
        if source.version_id is None and found.etag:
            headers += (("If-Match", found.etag),)
        operation = operations.delete_object(source.location, source.version_id, headers)

        def on_wire(sent: bool) -> None:
            self.source_is = "may have been deleted" if sent else "was not deleted"

        def deleted(_: object, __: httpx.Response) -> None:
            self.source_is = "was deleted"

        # Its own success may be what a condition does not hold for any more.
        once = replace(operation, idempotent=source.version_id is not None)
        options = replace(self.plan.options, attempts=self.plan.tries, on_wire=on_wire)
        await self.session.perform(once, options=options, deliver=deleted)


@dataclass(slots=True)
class _Parts:
    """One multipart copy.

    Attributes:
        tags: to be kept.
        versions: of the source, as the answers name them.
    """

    copy: Copy
    found: FoundSource
    tags: dict[str, str]
    versions: set[str | None] = field(default_factory=set)
    upload: MultipartUpload = field(init=False)

    def __post_init__(self) -> None:
        plan = self.copy.plan
        headers = operations.sort_upload_headers(plan.target.in_parts(self.found, self.tags))
        self.upload = MultipartUpload(self.copy.session, plan.location, headers, plan.options)

    async def run(self) -> CopyResult:
        plan, upload = self.copy.plan, self.upload
        try:
            await upload.create()
            await run_workers(self._feed(), self._copy, workers=plan.workers, slots=plan.workers)
            if self.found.version_id is None or self.versions != {self.found.version_id}:
                await self.copy.still_there()
            done = (await upload.complete(self.found.size)).result
        except BaseException as error:
            self.copy.written = upload.completed is not None
            await upload.undo(error)
            raise
        self.copy.written = True
        return CopyResult(
            etag=done.etag,
            size=done.size,
            parts=done.parts,
            version_id=done.version_id,
            source_version_id=self.found.version_id,
        )

    async def _feed(self) -> AsyncGenerator[Part, None]:
        size = self.found.size
        limits = self.copy.session.quirks
        usual = min(COPY_PART_SIZE, limits.max_part_size)
        for part in plan_parts(size, fitting_part_size(size, self.copy.plan.part_size or usual, limits)):
            yield part

    async def _copy(self, part: Part) -> None:
        upload, plan = self.upload, self.copy.plan
        assert upload.upload_id is not None
        operation = operations.upload_part_copy(
            plan.source,
            plan.location,
            upload.upload_id,
            part.number,
            (part.offset, part.offset + part.length),
            self.found,
            upload.headers.part,
        )
        copied, version = await self.copy._perform(operation)
        self.versions.add(version)
        upload.etags[part.number] = copied.etag
        wanted = asked_algorithm(upload.headers.create)
        for checksum in copied.checksums:
            if checksum.algorithm == wanted:
                upload.sums[part.number] = checksum, part.length
        self.copy.meter.add(part.length)
