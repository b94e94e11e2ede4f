"""HTTP level: the methods named after HTTP's verbs. They give the answer, whatever its status."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Unpack

from .._attempt import Options
from .._body import BytesBody, flat
from .._tasks import isolated
from ..errors import UsageError
from ..protocol import operations
from ..protocol.checksums import asked_algorithm
from ..protocol.crc import require
from ..protocol.options import delete_request
from ..protocol.parts import MIB, range_header
from ..transfer import jobs
from ..transfer.sources import BytesLike, is_bytes
from . import arguments
from .base import Family

if TYPE_CHECKING:
    from os import PathLike

    import httpx
    from httpx._types import TimeoutTypes

    from ..models import ChecksumAlgorithm
    from ..protocol.address import Query
    from ..protocol.operations import Headers
    from ..protocol.options import DeleteOptions, ReadOptions, WriteOptions
    from .arguments import HeaderTypes, ObjectName, ParamTypes

Content: TypeAlias = str | BytesLike | Iterable[BytesLike] | AsyncIterable[BytesLike] | None


class HttpMethods(Family):
    """``request get head put post delete put_file``."""

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
        raise_for_status: bool = False,
        error_in_200: bool = False,
    ) -> httpx.Response:
        """Sign and send any request, with the same retries as every other: what handtruck has no method for, too.

        ::

            answer = await s3.request("GET", "bucket", params={"inventory": None}, raise_for_status=True)
            inventories = ElementTree.fromstring(answer.content)

        GET, HEAD, and PUT and DELETE without a condition are sent again after a lost answer; POST is not.

        Args:
            method: the HTTP method.
            path: the object's name; ``bucket/key``, or ``key`` where the URL names the bucket.
            headers: sent and, where S3 asks for it, signed.
            params: query parameters, not encoded; None as a value stands for a bare sub-resource (``?uploads``).
            content: the body.
            content_sha256: hex SHA-256 of the body if you know it, or ``UNSIGNED-PAYLOAD``.
            timeout: httpx's stall timeouts for this request; seconds.
            extensions: httpx's request extensions.
            raise_for_status: whatever is no success (304, too) becomes an error, as in the typed methods. Otherwise the
                answer is given whatever its status.
            error_in_200: with ``raise_for_status``: a success whose body is an ``<Error>`` is an error, too, and sent
                again if it might pass. For what S3 answers so: copies, batch deletes, CompleteMultipartUpload. Not for
                reading objects, which may hold anything.

        Raises:
            UsageError: the request cannot be made, or there are no credentials.
            ConnectionFailed: there was no answer.
            S3Error: with ``raise_for_status``: S3 said no.
        """
        if error_in_200 and not raise_for_status:
            raise UsageError("error_in_200= says what is an error: give it with raise_for_status=True")
        operation = operations.plain(
            method.upper(),
            self._locate(path),
            arguments.query_of(params),
            arguments.headers_of(headers),
        )
        body = await self._body(content, content_sha256)
        sending = Options(timeout=arguments.timeout_of(timeout), extensions=extensions)
        if not raise_for_status:
            return await self._session.respond(operation, body=body, options=sending)
        answers: list[httpx.Response] = []
        await self._session.perform(
            replace(operation, error_in_200=error_in_200),
            body=body,
            options=sending,
            deliver=lambda _, answer: answers.append(answer),
        )
        return answers[-1]

    async def _body(
        self,
        content: str | BytesLike | None,
        content_sha256: str | None,
        algorithm: ChecksumAlgorithm | None = None,
    ) -> BytesBody:
        payload_hash = arguments.payload_hash(content_sha256)
        if isinstance(content, str):
            content = _encoded(content)
        elif content is None:
            content = b""
        elif not is_bytes(content):
            raise UsageError(f"the content must be text or bytes, not {type(content).__name__}")
        return await self._session.bytes_body(flat(content), payload_hash, algorithm=algorithm)

    def _reading_by(
        self,
        headers: HeaderTypes | None,
        params: ParamTypes | None,
        options: ReadOptions,
        byte_range: tuple[int, int | None] | None = None,
    ) -> tuple[Headers, Query]:
        """Headers and parameters with all that the options stand for."""
        sent, query = self._reading(headers, options)
        wanted = arguments.range_of(byte_range)
        if wanted is not None:
            sent = arguments.merged(sent, (("Range", range_header(*wanted)),), self._session.endpoint)
        return sent, arguments.merged_query(params, query)

    async def get(
        self,
        object_name: ObjectName,
        *,
        byte_range: tuple[int, int | None] | None = None,
        headers: HeaderTypes | None = None,
        params: ParamTypes | None = None,
        content_sha256: str | None = None,
        timeout: TimeoutTypes | None = None,
        extensions: dict[str, object] | None = None,
        **options: Unpack[ReadOptions],
    ) -> httpx.Response:
        """Read an object, or a part of it, into memory (GetObject).

        ::

            answer = await s3.get("bucket/key", byte_range=(0, 1024), version_id=version)

        Args:
            object_name: the object.
            byte_range: bytes ``[start, stop)``; ``(start, None)`` to the end. A ``stop`` behind the end is the end.
            headers: see :meth:`request`.
            params: see :meth:`request`.
            content_sha256: see :meth:`request`.
            timeout: see :meth:`request`.
            extensions: see :meth:`request`.
            options: which version, and on what conditions: :class:`~handtruck.ReadOptions`. One that does not hold is
                an answer, too: with status 304 or 412.

        Raises:
            UsageError, ConnectionFailed: see :meth:`request`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
        """
        if options or byte_range is not None:
            headers, params = self._reading_by(headers, params, options, byte_range)
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
        **options: Unpack[ReadOptions],
    ) -> httpx.Response:
        """Read an object's headers (HeadObject). Arguments and errors: :meth:`request`; options: :meth:`get`."""
        if options:
            headers, params = self._reading_by(headers, params, options)
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
        **options: Unpack[DeleteOptions],
    ) -> httpx.Response:
        """Delete an object (DeleteObject); 204 even if there was none. Arguments and errors: :meth:`request`.

        Options are :class:`~handtruck.DeleteOptions`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObject.html
        """
        if options:
            more, query = delete_request(options)
            headers = arguments.merged(headers, more, self._session.endpoint)
            params = arguments.merged_query(params, query)
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
        **options: Unpack[WriteOptions],
    ) -> httpx.Response:
        """Write an object (PutObject) from text, bytes or an iterable of bytes.

        Text and bytes are one request. An iterable, sync or async, is collected: up to 8 MiB are one request too;
        beyond, it becomes a multipart upload, because S3 takes no body of unknown length. Memory: two parts.
        A sync iterable advances in a worker thread.

        ::

            await s3.put("bucket/key", data, content_type="text/plain", metadata={"who": "me"}, if_none_match="*")

        Args:
            object_name: what the object will be called.
            content: see above.
            headers: see :meth:`request`.
            params: see :meth:`request`; they belong to a single request.
            content_sha256: see :meth:`request`.
            timeout: see :meth:`request`.
            extensions: see :meth:`request`.
            options: of the object and of the request: :class:`~handtruck.WriteOptions`. A multipart upload's conditions
                are checked when it is completed.

        Returns:
            The answer whatever its status; of a multipart upload the verified answer to CompleteMultipartUpload.

        Raises:
            UsageError: the request cannot be made, or there are no credentials.
            ConnectionFailed: there was no answer.
            S3Error, InvalidResponse: the body became a multipart upload and a step of it failed; it was aborted.
            OutcomeUnknown: the answer to the last step of a multipart upload was lost.
            Exception: whatever the iterable raises; nothing is stored.
        """
        await self._session.ready()
        sent: HeaderTypes | None = headers
        if options or (self._session.quirks.checksum and not params):
            sent = self._sending(headers, options, self._locate(object_name), whole=not params)
            if algorithm := asked_algorithm(sent):
                require(algorithm)
                if content is None or isinstance(content, str) or is_bytes(content):
                    body = await self._body(content, content_sha256, algorithm)
                    operation = operations.plain(
                        "PUT", self._locate(object_name), arguments.query_of(params), jobs.headers_for(body, sent)
                    )
                    sending = Options(timeout=arguments.timeout_of(timeout), extensions=extensions)
                    return await self._session.respond(operation, body=body, options=sending)
        if content is None or isinstance(content, str) or is_bytes(content):
            return await self.request(
                "PUT", object_name, sent, params, content, content_sha256, timeout=timeout, extensions=extensions
            )
        return await isolated(
            partial(
                jobs.put_stream,
                self._session,
                self._locate(object_name),
                content,
                query=arguments.query_of(params),
                headers=arguments.headers_of(sent),
                payload_hash=arguments.payload_hash(content_sha256),
                options=Options(timeout=arguments.timeout_of(timeout), extensions=extensions),
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
        **options: Unpack[WriteOptions],
    ) -> httpx.Response:
        """Write a file of up to 5 GiB as one request (PutObject); its name suggests the Content-Type.

        Over http, and with a checksum (AWS gets one), the file is read twice, because both go ahead of it. Larger
        files, and files that should be sent by several connections, go by :meth:`put_file_multipart`.

        Args:
            object_name: what the object will be called.
            file_path: the file.
            headers: see :meth:`request`.
            chunk_size: bytes read, and kept in memory, at a time.
            content_sha256: see :meth:`request`.
            timeout: see :meth:`request`.
            options: of the object and of the request: :class:`~handtruck.WriteOptions`.

        Raises:
            OSError: the file cannot be read.
            SourceChanged: the file changed meanwhile; nothing was stored.
            UsageError: see :meth:`request`; or the file is too large, or not a regular file.
            ConnectionFailed: there was no answer.
        """
        if chunk_size < 1:
            raise UsageError(f"chunk_size must be at least 1, not {chunk_size}")
        await self._session.ready()
        path, location = Path(file_path), self._locate(object_name)
        return await isolated(
            partial(
                jobs.put_file,
                self._session,
                location,
                path,
                headers=arguments.with_content_type(self._sending(headers, options, location), path.name),
                payload_hash=arguments.payload_hash(content_sha256),
                chunk_size=chunk_size,
                timeout=arguments.timeout_of(timeout),
            )
        )


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise UsageError("the content cannot be encoded as UTF-8; give it as bytes") from None
