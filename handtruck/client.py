"""S3Client: one short method per call."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias

import httpx

from . import _arguments as arguments
from ._body import BytesBody, flat
from ._listing import ObjectPages
from ._session import Options, Session
from ._tasks import isolated
from .credentials import AbstractCredentials, collect_credentials
from .errors import UsageError
from .protocol import operations
from .protocol.address import Addressing, parse_endpoint
from .protocol.parts import DEFAULT_PART_SIZE, MIB
from .transfer import jobs
from .transport import ClientSender, OwnSender

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterable
    from os import PathLike
    from types import TracebackType

    from httpx._types import TimeoutTypes

    from ._arguments import HeaderTypes, ObjectName, ParamTypes
    from .models import DownloadResult, UploadResult
    from .transfer.progress import ProgressCallback
    from .transfer.sources import BytesLike

Content: TypeAlias = "str | BytesLike | Iterable[BytesLike] | AsyncIterable[BytesLike] | None"

DEFAULT_MAX_CONNECTIONS = 64
"""Below httpx's own limit of 100, so that a caller's client with default limits never queues our requests."""

DEFAULT_MAX_ATTEMPTS = 4


class S3Client:
    """An S3 endpoint, or one bucket of it, under asyncio and trio.

    Methods named after HTTP verbs, ``request`` and ``put_file`` give the :class:`httpx.Response` whatever its status,
    its body read. All others give a typed result or raise one of :mod:`handtruck.errors`.

    Any method may be cancelled at any moment: a call that has returned, raised or been cancelled leaves nothing
    behind. One client serves any number of tasks of one event loop.

    Args:
        url: where S3 is: ``http://host``, with ``/bucket`` if the client is for one bucket, or
            ``http://bucket.host`` with ``addressing="virtual"``. It may hold credentials:
            ``http://KEY_ID:SECRET@host``. The target of a request is always the URL's path joined with the object's
            name, byte for byte.
        client: an :class:`httpx.AsyncClient` to send with. It stays yours: its headers, hooks, mounts, proxies and
            timeouts hold, and it is never closed. Without one the S3Client has connections of its own and is used
            as ``async with``.
        secret_access_key: with ``access_key_id``, the keys to sign with.
        access_key_id: see ``secret_access_key``.
        session_token: goes with temporary keys.
        region: to sign for. Default: what an AWS host or the credentials' source says, else ``us-east-1``.
        credentials: a source of keys. Default: keywords, the URL's user and password, the environment, the
            config files, in this order; nothing is read before the first request.
        bucket: the name of the bucket that the URL stands for, where it cannot be seen in it.
        addressing: where the bucket stands in the URL: ``"path"``, ``"virtual"`` (in the host) or found out.
        max_connections: requests on the wire at once; one more may undo an upload.
        max_attempts: how often a request is sent in all before a failure that might pass is final.

    Raises:
        UsageError: the URL is unusable, or the arguments contradict each other.
    """

    def __init__(
        self,
        url: str | httpx.URL,
        client: httpx.AsyncClient | None = None,
        *,
        secret_access_key: str | None = None,
        access_key_id: str | None = None,
        session_token: str | None = None,
        region: str = "",
        credentials: AbstractCredentials | None = None,
        bucket: str | None = None,
        addressing: Addressing = "auto",
        max_connections: int = DEFAULT_MAX_CONNECTIONS,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
    ) -> None:
        for name, value in (("max_connections", max_connections), ("max_attempts", max_attempts)):
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        keywords = (access_key_id, secret_access_key, session_token)
        if credentials is not None and any(keywords):
            raise UsageError("give either credentials=, or access_key_id= and secret_access_key=")
        endpoint = parse_endpoint(str(url), bucket=bucket, addressing=addressing)
        self._session = Session(
            endpoint=endpoint,
            sender=OwnSender(secure=endpoint.secure, max_connections=max_connections + 1)
            if client is None
            else ClientSender(client),
            credentials=credentials
            or collect_credentials(
                url=str(url),
                access_key_id=access_key_id,
                secret_access_key=secret_access_key,
                session_token=session_token,
            ),
            region=region,
            max_connections=max_connections,
            max_attempts=max_attempts,
            clock=partial(datetime.now, UTC),
            random=random.random,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.url}>"

    @property
    def url(self) -> httpx.URL:
        """The endpoint, without user and password."""
        return httpx.URL(self._session.endpoint.origin + self._session.endpoint.path)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close our own connections; a caller's client is left alone. A closed client sends no more."""
        await self._session.sender.aclose()

    # -- HTTP level: the answer, whatever its status ---------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: ObjectName,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        content: str | BytesLike | None = None,
        content_sha256: str | None = None,
        *,
        timeout: TimeoutTypes | None = None,
        extensions: dict[str, object] | None = None,
    ) -> httpx.Response:
        """Sign and send any request, with the same retries as every other.

        Args:
            method: the HTTP method.
            path: the object's name; ``bucket/key``, or ``key`` where the URL names the bucket.
            headers: sent and, where S3 asks for it, signed.
            params: query parameters, not encoded; None as a value stands for a bare sub-resource (``?uploads``).
            content: the body.
            content_sha256: hex SHA-256 of the body if you know it, or ``UNSIGNED-PAYLOAD``.
            timeout: httpx's stall timeouts for this request; seconds.
            extensions: httpx's request extensions.

        Raises:
            UsageError: the request cannot be made, or there are no credentials.
            ConnectionFailed: there was no answer.
        """
        operation = operations.plain(
            method.upper(),
            self._session.endpoint.locate(arguments.object_name(path)),
            arguments.query_of(params),
            arguments.headers_of(headers),
        )
        body = await self._body(content, content_sha256)
        return await self._session.respond(
            operation, body=body, options=Options(timeout=timeout, extensions=extensions)
        )

    async def _body(self, content: str | BytesLike | None, content_sha256: str | None) -> BytesBody:
        payload_hash = arguments.payload_hash(content_sha256)
        if isinstance(content, str):
            content = content.encode()
        elif content is None:
            content = b""
        elif not isinstance(content, bytes | bytearray | memoryview):
            raise UsageError(f"the content must be text or bytes, not {type(content).__name__}")
        return await self._session.bytes_body(flat(content), payload_hash)

    async def get(
        self,
        object_name: ObjectName,
        *,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        content_sha256: str | None = None,
        timeout: TimeoutTypes | None = None,
        extensions: dict[str, object] | None = None,
    ) -> httpx.Response:
        """Read a whole object into memory (GetObject). Arguments and errors: :meth:`request`."""
        return await self.request(
            "GET", object_name, headers, params, None, content_sha256, timeout=timeout, extensions=extensions
        )

    async def head(
        self,
        object_name: ObjectName,
        *,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        content_sha256: str | None = None,
        timeout: TimeoutTypes | None = None,
        extensions: dict[str, object] | None = None,
    ) -> httpx.Response:
        """Read an object's headers (HeadObject). Arguments and errors: :meth:`request`."""
        return await self.request(
            "HEAD", object_name, headers, params, None, content_sha256, timeout=timeout, extensions=extensions
        )

    async def delete(
        self,
        object_name: ObjectName,
        *,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        content_sha256: str | None = None,
        timeout: TimeoutTypes | None = None,
        extensions: dict[str, object] | None = None,
    ) -> httpx.Response:
        """Delete an object (DeleteObject); 204 even if there was none. Arguments and errors: :meth:`request`."""
        return await self.request(
            "DELETE", object_name, headers, params, None, content_sha256, timeout=timeout, extensions=extensions
        )

    async def post(
        self,
        object_name: ObjectName,
        content: str | BytesLike | None = None,
        *,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        content_sha256: str | None = None,
        timeout: TimeoutTypes | None = None,
        extensions: dict[str, object] | None = None,
    ) -> httpx.Response:
        """Send a POST. Its answer lost, it is not sent again. Arguments and errors: :meth:`request`."""
        return await self.request(
            "POST", object_name, headers, params, content, content_sha256, timeout=timeout, extensions=extensions
        )

    async def put(
        self,
        object_name: ObjectName,
        content: Content,
        *,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        content_sha256: str | None = None,
        timeout: TimeoutTypes | None = None,
        extensions: dict[str, object] | None = None,
    ) -> httpx.Response:
        """Write an object (PutObject) from text, bytes or an iterable of bytes.

        Text and bytes are one request. An iterable, sync or async, is collected: up to 8 MiB are one request too;
        beyond, it becomes a multipart upload, because S3 takes no body of unknown length. Memory: two parts.
        A sync iterable advances in a worker thread.

        Returns:
            The answer whatever its status; of a multipart upload the verified answer to CompleteMultipartUpload.

        Raises:
            UsageError: the request cannot be made, or there are no credentials.
            ConnectionFailed: there was no answer.
            S3Error: the body became a multipart upload and S3 refused a step of it; the upload was aborted.
            OutcomeUnknown: the answer to the last step of a multipart upload was lost.
        """
        if content is None or isinstance(content, str | bytes | bytearray | memoryview):
            return await self.request(
                "PUT", object_name, headers, params, content, content_sha256, timeout=timeout, extensions=extensions
            )
        return await isolated(
            partial(
                jobs.put_stream,
                self._session,
                self._session.endpoint.locate(arguments.object_name(object_name)),
                content,
                query=arguments.query_of(params),
                headers=arguments.headers_of(headers),
                payload_hash=arguments.payload_hash(content_sha256),
                options=Options(timeout=timeout, extensions=extensions),
            )
        )

    async def put_file(
        self,
        object_name: ObjectName,
        file_path: str | PathLike[str],
        *,
        headers: HeaderTypes | None = None,
        chunk_size: int = MIB,
        content_sha256: str | None = None,
        timeout: TimeoutTypes | None = None,
    ) -> httpx.Response:
        """Write a file of up to 5 GiB as one request (PutObject); its name suggests the Content-Type.

        Over http the file is read twice, because its hash goes ahead of it. Larger files, and files that should be
        sent by several connections, go by :meth:`put_file_multipart`.

        Args:
            object_name: what the object will be called.
            file_path: the file.
            headers: see :meth:`request`.
            chunk_size: bytes read, and kept in memory, at a time.
            content_sha256: see :meth:`request`.
            timeout: see :meth:`request`.

        Raises:
            OSError: the file cannot be read.
            SourceChanged: the file changed meanwhile; nothing was stored.
            UsageError: see :meth:`request`; or the file is too large, or not a regular file.
            ConnectionFailed: there was no answer.
        """
        if chunk_size < 1:
            raise UsageError(f"chunk_size must be at least 1, not {chunk_size}")
        path = Path(file_path)
        return await isolated(
            partial(
                jobs.put_file,
                self._session,
                self._session.endpoint.locate(arguments.object_name(object_name)),
                path,
                headers=arguments.with_content_type(arguments.headers_of(headers), path.name),
                payload_hash=arguments.payload_hash(content_sha256),
                chunk_size=chunk_size,
                timeout=timeout,
            )
        )

    # -- Object level: a typed result or an error ------------------------------------------------------------------

    def list_objects_v2(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        delimiter: str | None = None,
        max_keys: int | None = None,
        start_after: str | None = None,
        encoding_type: str | None = "url",
    ) -> ObjectPages:
        """List a bucket's objects, page by page, in the order of their names (ListObjectsV2).

        ::

            async for page in s3.list_objects_v2("bucket/", prefix="logs/"):
                for obj in page:
                    print(obj.key, obj.size)

        Each page is a list of :class:`~handtruck.AwsObjectMeta` and has ``common_prefixes``; each costs one request.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            prefix: only keys that begin so.
            delimiter: fold keys that share what stands before it, beyond the prefix, into ``common_prefixes``.
            max_keys: keys a page has at most, from 1; servers have limits of their own, 1 000 mostly.
            start_after: only keys that come after this one.
            encoding_type: ``url`` keeps keys intact that XML cannot carry; None for servers that do not know it.

        Raises:
            UsageError: there is no bucket to list. While iterating: see
                :meth:`handtruck._listing.ObjectPages.__anext__`.
        """
        if max_keys is not None and max_keys < 1:
            raise UsageError(f"max_keys must be at least 1, not {max_keys}")
        given = {
            "delimiter": delimiter,
            "encoding-type": encoding_type,
            "max-keys": None if max_keys is None else str(max_keys),
            "prefix": None if prefix is None else arguments.object_name(prefix),
            "start-after": start_after,
        }
        location = self._session.endpoint.locate_bucket(arguments.object_name(object_name), bucket)
        return ObjectPages(self._session, location, tuple((name, value) for name, value in given.items() if value))

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
    ) -> UploadResult:
        """Write an object from an iterable of bytes of any length, several parts at a time.

        The object appears when all of it is there, or not at all: a failure or a cancellation aborts the upload.
        Less than two parts are sent as a single PUT. Memory: ``max_size × part_size`` and one block of the iterable.

        Args:
            object_name: what the object will be called.
            content: blocks of any size; a sync iterable advances in a worker thread, a generator is closed.
            headers: of the object (Content-Type, x-amz-meta-…); conditions are checked when the object is completed.
            part_size: bytes, 5 MiB to 5 GiB. Each part is a billed request.
            workers_count: parts on their way at once.
            max_size: parts in memory at once, those waiting and those being sent. Default: ``workers_count``.
            part_upload_tries: how often a part is sent before it fails the upload.
            calculate_content_sha256: hash every part, and let S3 check it; False sends them unsigned.
            grow_parts: let parts double every 1 000, so that 10 000 are always enough. Some servers want equal ones.
            progress: called with a :class:`~handtruck.Progress` after every part.
            timeout: httpx's stall timeouts; seconds.

        Raises:
            UsageError: an argument is wrong, or there are no credentials.
            S3Error: S3 refused.
            ConnectionFailed: S3 did not answer.
            InvalidResponse: its answer makes no sense.
            OutcomeUnknown: the answer to the last step was lost.
            Exception: whatever the iterable or ``progress`` raises.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
        """
        plan = jobs.UploadPlan(
            location=self._session.endpoint.locate(arguments.object_name(object_name)),
            headers=arguments.headers_of(headers),
            part_size=part_size,
            workers=workers_count,
            slots=workers_count if max_size is None else max_size,
            tries=part_upload_tries,
            hashed=calculate_content_sha256,
            grow=grow_parts,
            options=Options(timeout=timeout),
        )
        plan.check()
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
            max_size: parts in memory at once. Default: ``workers_count``.
            part_upload_tries: see :meth:`put_multipart`.
            calculate_content_sha256: see :meth:`put_multipart`.
            progress: see :meth:`put_multipart`.
            timeout: see :meth:`put_multipart`.

        Raises:
            OSError: the file cannot be read.
            SourceChanged: the file changed meanwhile; the upload was aborted.
            UsageError, S3Error, ConnectionFailed, InvalidResponse, OutcomeUnknown: see :meth:`put_multipart`.
        """
        path = Path(arguments.object_name(object_name) if file_path is None else file_path)
        plan = jobs.UploadPlan(
            location=self._session.endpoint.locate(arguments.object_name(object_name)),
            headers=arguments.with_content_type(arguments.headers_of(headers), path.name),
            part_size=part_size,
            workers=workers_count,
            slots=workers_count if max_size is None else max_size,
            tries=part_upload_tries,
            hashed=calculate_content_sha256,
            options=Options(timeout=timeout),
        )
        plan.check()
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
        buffer_size: int = MIB,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
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
            progress: called with a :class:`~handtruck.Progress` after every write.
            timeout: httpx's stall timeouts; seconds.

        Raises:
            OSError: the file cannot be written.
            PreconditionFailed: the object was replaced meanwhile.
            UsageError, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_multipart`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/range-get-olap.html
        """
        plan = jobs.DownloadPlan(
            location=self._session.endpoint.locate(arguments.object_name(object_name)),
            headers=arguments.headers_of(headers),
            step=range_step,
            workers=workers_count,
            tries=range_get_tries,
            block=buffer_size,
            options=Options(timeout=timeout),
        )
        plan.check()
        return await isolated(partial(jobs.download, self._session, plan, Path(file_path), progress))
