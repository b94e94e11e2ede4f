"""Copies that S3 makes itself, and moves: no byte of the object passes this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack
from urllib.parse import unquote

from .._attempt import Options
from ..errors import UsageError
from ..protocol import operations, options
from ..protocol.address import Location, encode_path
from ..transfer.copy import copy_object
from ..transfer.copy_plan import CopyPlan
from . import arguments
from .base import Family
from .transfers import DEFAULT_WORKERS

if TYPE_CHECKING:
    from httpx._types import TimeoutTypes

    from ..models import CopyResult
    from ..protocol.operations import CopyOptions
    from ..transfer.progress import ProgressCallback
    from .arguments import HeaderTypes, ObjectName


class CopyMethods(Family):
    """``copy move``."""

    async def copy(
        self,
        source: ObjectName,
        target: ObjectName,
        *,
        source_bucket: str | None = None,
        source_version_id: str | None = None,
        keep: bool = True,
        headers: HeaderTypes | None = None,
        part_size: int | None = None,
        workers_count: int = DEFAULT_WORKERS,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[CopyOptions],
    ) -> CopyResult:
        """Copy an object within S3, from one bucket to another too: no byte of it passes this machine.

        ::

            await s3.copy("bucket/a", "bucket/b")
            await s3.copy("bucket/a", "archive/a", storage_class="GLACIER")
            await s3.copy("bucket/a", "bucket/a", content_type="text/html")  # the rest stays as it is
            await s3.copy("bucket/huge", "other/huge", part_size=256 * 2**20, workers_count=16)

        The copy appears when all of it is there, or not at all: a failure or a cancellation aborts what was copied in
        parts. That does not stop S3 in the middle of a part, which may come to light after the abort: we look, and
        abort again, for up to 5 s in all. A single request that is cancelled may be carried out all the same. All
        bytes are of one version of the source.

        *Kept* are metadata, content type, cache control, content disposition, encoding and language, expiry date and
        tags; of them, each that an option names is replaced (``metadata={}`` and ``tags={}`` leave none), alone, and
        the others stay: S3 itself replaces all or none, so they are read and sent again. What S3 never copies is as
        the options say, or as the target's bucket wants it: storage class, access control list, encryption, retention,
        legal hold and website redirect.

        *Money.* One billed request for up to 5 GiB, and one that looks at the source before if there are conditions,
        ``part_size``, ``progress``, or an option that replaces something of the above. Larger objects go in parts:
        two requests to begin and to complete it, two looks at the source, one request a part. Tags that S3 does not
        keep itself cost up to three more. A copy from another region is billed as traffic, too.

        Some servers ignore conditions of copies (Ceph's gateway, moto and rclone do). Those for the source are
        therefore looked at before it is copied, and the source once more before a copy in parts is completed; those
        for the target can only be sent. A source that its bucket's own host name hides from this client (see
        ``source_bucket``) cannot be looked at, and neither can one in another region.

        Args:
            source: the object to copy.
            target: what the copy will be called.
            source_bucket: the bucket of the source, which is its key alone then; for clients whose URL names another
                bucket. Where that one stands in the host's name, only a plain copy of up to 5 GiB is possible.
            source_version_id: copy this version, not the latest. Its own name may be the target: that brings it back.
            keep: take over what the options do not name. False: nothing is kept, neither metadata nor tags.
            headers: of the copy, beside those that options stand for.
            part_size: bytes, 5 MiB to 5 GiB: copy whatever is longer in parts of that size; larger where it needs
                that to fit into 10 000 parts. None: only what is longer than 5 GiB, in parts of 128 MiB.
            workers_count: parts being copied at once. They cost no memory.
            progress: called with a :class:`~handtruck.Progress` after every part.
            timeout: httpx's stall timeouts; seconds. Some servers are silent until all of the object, or of the part,
                is copied.
            options: of the copy, of the request, and conditions for the source: :class:`~handtruck.CopyOptions`.

        Raises:
            UsageError: an argument is wrong; or an object would be copied onto itself and nothing changed, which S3
                refuses; or something of the source is to be kept that cannot be sent again (metadata that is not
                ASCII, or that no header can carry).
            NotFound: there is no such source, or no such bucket.
            PreconditionFailed: a condition does not hold, or the source was replaced while it was copied; a note says
                so if the copy was written all the same.
            S3Error: S3 refused.
            ConnectionFailed: S3 did not answer. A copy with conditions may be there; any other is just made again.
            InvalidResponse: its answer makes no sense; among others where the server cannot copy parts (rclone).
            OutcomeUnknown: the answer to the last step of a copy in parts was lost.
            Exception: whatever ``progress`` raises.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html,
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
        """
        await self._session.ready()
        plan = self._plan_copy(
            (source, source_bucket, source_version_id),
            target,
            headers,
            options,
            keep=keep,
            part_size=part_size,
            workers=workers_count,
            look=progress is not None,
            timeout=timeout,
        )
        return await copy_object(self._session, plan, progress)

    async def move(
        self,
        source: ObjectName,
        target: ObjectName,
        *,
        source_bucket: str | None = None,
        source_version_id: str | None = None,
        keep: bool = True,
        headers: HeaderTypes | None = None,
        part_size: int | None = None,
        workers_count: int = DEFAULT_WORKERS,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[CopyOptions],
    ) -> CopyResult:
        """Copy an object within S3, see that the copy is there, and then delete the source.

        ::

            await s3.move("bucket/inbox/a", "bucket/done/a")

        *Not atomic.* For a while both are there. Where it fails or is cancelled in between, both stay, and a note on
        what comes out says that the copy was written and what is known of the source; to call it again does no
        harm. The source is never deleted unless the copy has been seen, as long as the source and with the ETag of
        the one or the other, and the source is still what was copied. A deletion that is on the wire is waited for up
        to 3 s, even if we are cancelled.

        A writer who replaces the source in that very moment loses nothing on servers that know conditional deletes
        (AWS), nor where the bucket keeps versions: the source is hidden behind a marker then, and no version of it is
        deleted but the one that ``source_version_id`` names, for good. Elsewhere (Ceph's gateway, rclone) what is
        written between the last look and the deletion is lost.

        It costs what :meth:`copy` does, and four requests more: looks at the source, before and after, and at the
        copy, and the deletion. Storage classes may bill a minimum time for what is deleted.

        Args:
            source: the object to move.
            target: what it will be called.
            source_bucket: see :meth:`copy`; the source must be one that can be looked at.
            source_version_id: move this version; an older one becomes the latest, if there is one.
            keep: see :meth:`copy`.
            headers: see :meth:`copy`.
            part_size: see :meth:`copy`.
            workers_count: see :meth:`copy`.
            progress: see :meth:`copy`.
            timeout: see :meth:`copy`.
            options: see :meth:`copy`.

        Raises:
            UsageError: see :meth:`copy`; or source and target are the same.
            PreconditionFailed: see :meth:`copy`; or the copy is not what was copied (any more), or the source was
                replaced: it was not deleted.
            NotFound, S3Error, ConnectionFailed, InvalidResponse, OutcomeUnknown, Exception: see :meth:`copy`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html,
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
        """
        await self._session.ready()
        plan = self._plan_copy(
            (source, source_bucket, source_version_id),
            target,
            headers,
            options,
            keep=keep,
            part_size=part_size,
            workers=workers_count,
            look=True,
            timeout=timeout,
        )
        if plan.onto_itself:
            raise UsageError(f"{plan.source} cannot be moved to where it is: that would delete it")
        return await copy_object(self._session, plan, progress, move=True)

    def _plan_copy(
        self,
        source: tuple[ObjectName, str | None, str | None],
        target: ObjectName,
        headers: HeaderTypes | None,
        given: CopyOptions,
        *,
        keep: bool,
        part_size: int | None,
        workers: int,
        look: bool,
        timeout: TimeoutTypes | None,
    ) -> CopyPlan:
        """All that was asked for.

        Raises:
            UsageError: it makes no sense.
        """
        endpoint = self._session.endpoint
        location = self._locate(target)
        if not location.key or not (location.bucket or endpoint.fixed):
            raise UsageError(f"the target {str(location)!r} names no object: write bucket/key")
        writing, reading = operations.sort_options(given, source[2])
        asking, _ = options.read_request(reading)
        plan = CopyPlan(
            source=self._find_source(*source, arguments.merged(None, asking, endpoint)),
            location=location,
            target=operations.new_target(self._writing(headers, writing), writing, keep=keep),
            part_size=part_size,
            workers=workers,
            tries=self._session.max_attempts,
            look=look,
            options=Options(timeout=arguments.timeout_of(timeout)),
        )
        plan.check(self._session.quirks)
        return plan

    def _find_source(
        self, name: ObjectName, bucket: str | None, version_id: str | None, asking: operations.Headers
    ) -> operations.CopySource:
        """Where the source is.

        Raises:
            UsageError: it cannot be known.
        """
        endpoint, key = self._session.endpoint, arguments.object_name(name)
        location: Location | None
        if bucket is None:
            location = endpoint.locate(key)
            bucket, key = location.bucket, location.key
        elif bucket == endpoint.bucket:
            location = endpoint.locate(key)
            key = location.key
        elif not endpoint.fixed:
            location = endpoint.locate(f"{bucket}/{key}")
        else:
            location = self._in_another_bucket(bucket, key)
        if not bucket or "/" in bucket or not key:
            raise UsageError(
                f"the source {arguments.object_name(name)!r} names no object of a bucket: write bucket/key, "
                "or the key alone with source_bucket="
            )
        return operations.CopySource(bucket=bucket, key=key, version_id=version_id, location=location, asking=asking)

    def _in_another_bucket(self, bucket: str, key: str) -> Location | None:
        """Where an object of another bucket is than the endpoint's; None if that one stands in the host's name."""
        endpoint = self._session.endpoint
        parent, _, last = endpoint.path.rpartition("/")
        if endpoint.bucket is None or unquote(last, errors="surrogateescape") != endpoint.bucket:
            return None
        return Location(path=f"{parent}/{encode_path(bucket)}/{encode_path(key)}", bucket=bucket, key=key)
