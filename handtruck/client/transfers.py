"""Transfers: objects in parts, from files and streams and into files. They appear whole, or not at all."""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias, Unpack

from .._attempt import Options
from .._tasks import isolated
from ..errors import UsageError
from ..protocol.parts import DEFAULT_PART_SIZE, MIB
from ..transfer import jobs
from . import arguments
from .base import Family

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from typing import BinaryIO

    from anyio.abc import ByteReceiveStream
    from httpx._types import TimeoutTypes

    from ..models import DownloadResult, UploadResult
    from ..protocol.options import ReadOptions, WriteOptions
    from ..transfer.progress import ProgressCallback
    from ..transfer.sinks import Sink
    from ..transfer.sources import BytesLike
    from .arguments import HeaderTypes, ObjectName


DEFAULT_WORKERS: Final = 8
"""64 MiB in parts of the default size: more gains nothing on one machine's network."""

Source: TypeAlias = (
    "str | PathLike[str] | BytesLike | BinaryIO | Iterable[BytesLike] | AsyncIterable[BytesLike] | ByteReceiveStream"
)
Target: TypeAlias = "str | PathLike[str] | Sink"


class TransferMethods(Family):
    """``upload download``, and as 0.2.0 had them ``put_multipart put_file_multipart get_file_parallel``."""

    async def upload(
        self,
        object_name: ObjectName,
        source: Source,
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = DEFAULT_WORKERS,
        calculate_content_sha256: bool = True,
        resume: bool = False,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[WriteOptions],
    ) -> UploadResult:
        """Write an object from a file, bytes or a stream: what fits into one part as a single PUT, more in parts.

        The object appears when all of it is there, or not at all: a failure or a cancellation aborts the upload (with
        ``resume`` it is kept, and billed). Memory: ``workers_count × part_size`` (parts of a long stream grow: see
        :meth:`put_multipart`) and one block.

        Args:
            object_name: what the object will be called.
            source: a path; bytes; an open binary file, read from where it is to its end and left open; a sync or async
                iterable of bytes; an anyio byte stream. A file's name suggests the Content-Type.
            headers: of the object (Content-Type, x-amz-meta-…); conditions are checked when the object is completed.
            part_size: bytes, 5 MiB to 5 GiB; larger where a file needs it to fit into 10 000 parts, or where the server
                wants other parts than S3 (:class:`~handtruck.Quirks`). Each part is a billed request.
            workers_count: parts on their way, and in memory, at once.
            calculate_content_sha256: hash every part, and let S3 check it; False sends them unsigned.
            resume: go on with what an earlier call that failed, was cancelled or was killed has sent of this file, and
                leave what a later one may go on with. The record of it is ``<source>.<12 digits>.handtruck-upload``
                beside the file. A part is believed where its ETag is the MD5 of the file's bytes; an upload of a
                file, or with headers, that have changed since is aborted, and so is one that cannot succeed any more
                (a condition does not hold). Parts that are left are billed until then. Paths only.
            progress: called with a :class:`~handtruck.Progress` after every part.
            timeout: httpx's stall timeouts; seconds.
            options: of the object and of the request: :class:`~handtruck.WriteOptions`. With others than the earlier
                call's (but conditions) nothing of that is used: let no time among them depend on the clock.

        Raises:
            OSError: the file cannot be read; or, with ``resume``, the record cannot be written.
            SourceChanged: the file changed meanwhile; the upload was aborted.
            Exception: whatever the source or ``progress`` raises.
            UsageError: see :meth:`put_multipart`; or another upload is sending the file to the same place.
            S3Error, ConnectionFailed, InvalidResponse, OutcomeUnknown: see :meth:`put_multipart`.
        """
        path = Path(source) if isinstance(source, (str, PathLike)) else None
        if resume and path is None:
            raise UsageError("resume=True needs a file's path: only a file can be read again in another process")
        await self._session.ready()
        location = self._locate(object_name)
        given = self._sending(headers, options, location)
        plan = jobs.UploadPlan(
            location=location,
            headers=given if path is None else arguments.with_content_type(given, path.name),
            part_size=part_size,
            workers=workers_count,
            slots=workers_count,
            tries=self._session.max_attempts,
            hashed=calculate_content_sha256,
            options=Options(timeout=arguments.timeout_of(timeout)),
        )
        plan.check(self._session.quirks)
        if path is None:
            return await isolated(partial(jobs.upload_stream, self._session, plan, source, progress))
        return await isolated(partial(jobs.upload_file, self._session, plan, path, progress, resume=resume))

    async def download(
        self,
        object_name: ObjectName,
        target: Target,
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = DEFAULT_WORKERS,
        resume: bool = False,
        fsync: bool = False,
        verify: bool = False,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> DownloadResult:
        """Fetch an object into a file or a stream: what fits into one part by one request, more by ranges at once.

        A path is replaced in one step when all bytes are there; until then, and whatever goes wrong, what was there
        before stays. An open file or a sink gets the bytes in order as they come; what it got before a failure it
        keeps. All bytes are of one version of the object.

        Memory: ``workers_count × 2 MiB`` for a path, ``workers_count × part_size`` for anything else.

        Args:
            object_name: the object.
            target: a path (a symbolic link is followed, an existing file keeps its mode); an open binary file, written
                to where it is and left open; anything with an async ``write`` or ``send`` of bytes, such as an anyio
                byte stream.
            headers: sent with every request (not Range itself).
            part_size: bytes a request asks for. Each is billed.
            workers_count: requests on their way at once.
            resume: keep ``<target>.handtruck-part`` and a journal when the call fails, is cancelled or is killed, and
                go on with those that an earlier one left; of an object that has changed since, of another version, or
                with ``if_unmodified_since``, start over. Paths only.
            fsync: the file outlives a loss of power when the call returns; with ``resume``, its journal too, at any
                moment. Paths only.
            verify: compare the bytes with the checksum that S3 has of the whole object, and say with which (the
                result's ``checksum``; None: it has none, or one of parts only). One more request, which is billed;
                what an earlier attempt left is read again. A path stays untouched until then.
            progress: called with a :class:`~handtruck.Progress` after every write.
            timeout: httpx's stall timeouts; seconds.
            options: which version, and on what conditions: :class:`~handtruck.ReadOptions`.

        Raises:
            OSError: the file cannot be written.
            PreconditionFailed: the object was replaced meanwhile.
            ChecksumMismatch: with ``verify``, the bytes are not the ones that were stored.
            Exception: whatever the sink or ``progress`` raises.
            UsageError: see :meth:`put_multipart`; or another download is resuming this target; or, with ``verify``,
                what computes the checksum is not installed: the extra ``handtruck[checksums]``.
            S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_multipart`.
        """
        await self._session.ready()
        sent, query = self._reading(headers, options)
        plan = jobs.DownloadPlan(
            location=self._locate(object_name),
            headers=sent,
            query=query,
            step=part_size,
            workers=workers_count,
            tries=self._session.max_attempts,
            block=2 * MIB,
            resume=resume,
            durable=fsync,
            verify=verify,
            options=Options(timeout=arguments.timeout_of(timeout)),
        )
        plan.check(step="part_size")
        if isinstance(target, (str, PathLike)):
            return await isolated(partial(jobs.download, self._session, plan, Path(target), progress))
        if resume or fsync:
            raise UsageError("resume=True and fsync=True need a path as the target")
        return await isolated(partial(jobs.download_stream, self._session, plan, target, progress))

    async def put_multipart(
        self,
        object_name: ObjectName,
        content: BytesLike | Iterable[BytesLike] | AsyncIterable[BytesLike],
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = 1,
        max_size: int | None = None,
        part_upload_tries: int = 3,
        calculate_content_sha256: bool = True,
        grow_parts: bool = True,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[WriteOptions],
    ) -> UploadResult:
        """Write an object from an iterable of bytes of any length, several parts at a time.

        The object appears when all of it is there, or not at all: a failure or a cancellation aborts the upload.
        Less than two parts are sent as a single PUT. Memory: ``max_size × part_size`` and one block of the iterable
        (parts grow: see ``grow_parts``).

        Args:
            object_name: what the object will be called.
            content: bytes, or blocks of any size. Bytes are sent from where they are: do not change them meanwhile. A
                sync iterable advances in a thread of its own; a cancellation waits until its current step returns.
                An async generator is advanced and closed in one task, so that it may hold scopes open across its
                yields; it has 5 s to close, and what it raises then becomes a note on the error.
            headers: of the object (Content-Type, x-amz-meta-…); conditions are checked when the object is completed.
            part_size: bytes, 5 MiB to 5 GiB. Each part is a billed request.
            workers_count: parts on their way at once.
            max_size: parts in memory at once, those waiting and those being sent. Default: ``workers_count``.
            part_upload_tries: how often a part is sent before it fails the upload.
            calculate_content_sha256: hash every part, and let S3 check it; False sends them unsigned.
            grow_parts: let parts double every 500 from the 5 000th on, so that 10 000 are always enough. Some servers
                want equal ones: those that are known for it (:class:`~handtruck.Quirks`) get them.
            progress: called with a :class:`~handtruck.Progress` after every part.
            timeout: httpx's stall timeouts; seconds.
            options: of the object and of the request: :class:`~handtruck.WriteOptions`.

        Raises:
            UsageError: an argument is wrong, or there are no credentials.
            S3Error: S3 refused.
            ConnectionFailed: S3 did not answer.
            InvalidResponse: its answer makes no sense.
            OutcomeUnknown: the answer to the last step was lost.
            Exception: whatever the iterable or ``progress`` raises.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
        """
        await self._session.ready()
        location = self._locate(object_name)
        plan = jobs.UploadPlan(
            location=location,
            headers=self._sending(headers, options, location),
            part_size=part_size,
            workers=workers_count,
            slots=workers_count if max_size is None else max_size,
            tries=part_upload_tries,
            hashed=calculate_content_sha256,
            grow=grow_parts,
            options=Options(timeout=arguments.timeout_of(timeout)),
        )
        plan.check(self._session.quirks)
        return await isolated(partial(jobs.upload_stream, self._session, plan, content, progress))

    async def put_file_multipart(
        self,
        object_name: ObjectName,
        file_path: str | PathLike[str] | None = None,
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = 1,
        max_size: int | None = None,
        part_upload_tries: int = 3,
        calculate_content_sha256: bool = True,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[WriteOptions],
    ) -> UploadResult:
        """Write an object from a file, several parts at a time; the file's name suggests the Content-Type.

        The object appears when all of it is there, or not at all: a failure or a cancellation aborts the upload.
        A file of at most one part is sent as a single PUT. Memory: ``workers_count × part_size``.

        Args:
            object_name: what the object will be called.
            file_path: the file. Default: the path that is called like the object.
            headers: see :meth:`put_multipart`.
            part_size: bytes, 5 MiB to 5 GiB; larger where the file needs it to fit into 10 000 parts.
            workers_count: parts on their way at once.
            max_size: parts in memory at once, if that is to be fewer than ``workers_count``.
            part_upload_tries: see :meth:`put_multipart`.
            calculate_content_sha256: see :meth:`put_multipart`.
            progress: see :meth:`put_multipart`.
            timeout: see :meth:`put_multipart`.
            options: see :meth:`put_multipart`.

        Raises:
            OSError: the file cannot be read.
            SourceChanged: the file changed meanwhile, or has more bytes than its size says (files of /proc); the
                upload was aborted.
            Exception: whatever ``progress`` raises.
            UsageError, S3Error, ConnectionFailed, InvalidResponse, OutcomeUnknown: see :meth:`put_multipart`.
        """
        path = Path(arguments.object_name(object_name) if file_path is None else file_path)
        await self._session.ready()
        location = self._locate(object_name)
        plan = jobs.UploadPlan(
            location=location,
            headers=arguments.with_content_type(self._sending(headers, options, location), path.name),
            part_size=part_size,
            workers=workers_count,
            slots=workers_count if max_size is None else max_size,
            tries=part_upload_tries,
            hashed=calculate_content_sha256,
            options=Options(timeout=arguments.timeout_of(timeout)),
        )
        plan.check(self._session.quirks)
        return await isolated(partial(jobs.upload_file, self._session, plan, path, progress))

    async def get_file_parallel(
        self,
        object_name: ObjectName,
        file_path: str | PathLike[str],
        *,
        headers: HeaderTypes | None = None,
        range_step: int = DEFAULT_PART_SIZE,
        workers_count: int = 1,
        range_get_tries: int = 3,
        buffer_size: int = 2 * MIB,
        verify: bool = False,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> DownloadResult:
        """Fetch an object into a file, several ranges at a time, all of one version of the object.

        The file appears, or is replaced, in one step when all bytes are there; until then, and whatever goes wrong,
        what was there before stays. Memory: ``workers_count × buffer_size`` and what the HTTP client holds.

        Args:
            object_name: the object.
            file_path: the file; a symbolic link is followed, an existing file keeps its mode.
            headers: sent with every range (not Range itself).
            range_step: bytes a request asks for. Each is billed.
            workers_count: ranges on their way at once.
            range_get_tries: how often a range is asked for before it fails the download; it goes on where it broke.
            buffer_size: bytes a worker collects before it writes them.
            verify: see :meth:`download`.
            progress: called with a :class:`~handtruck.Progress` after every write; once for an empty object.
            timeout: httpx's stall timeouts; seconds.
            options: which version, and on what conditions: :class:`~handtruck.ReadOptions`.

        Raises:
            OSError: the file cannot be written.
            PreconditionFailed: the object was replaced meanwhile.
            ChecksumMismatch: with ``verify``, the bytes are not the ones that were stored.
            Exception: whatever ``progress`` raises.
            UsageError, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_multipart`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/range-get-olap.html
        """
        await self._session.ready()
        sent, query = self._reading(headers, options)
        plan = jobs.DownloadPlan(
            location=self._locate(object_name),
            headers=sent,
            query=query,
            step=range_step,
            workers=workers_count,
            tries=range_get_tries,
            block=buffer_size,
            verify=verify,
            options=Options(timeout=arguments.timeout_of(timeout)),
        )
        plan.check()
        return await isolated(partial(jobs.download, self._session, plan, Path(file_path), progress))
