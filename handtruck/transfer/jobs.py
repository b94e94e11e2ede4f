"""The jobs that clients start: each brings a source or a target together with its engine, and tidies up after it.

To be called inside :func:`handtruck._tasks.isolated`.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Self

import anyio
import httpx

from .._attempt import GRACE, Options
from .._body import NO_BODY
from .._tasks import in_thread
from ..errors import UsageError
from ..models import Checksum, DownloadResult
from ..protocol import operations
from ..protocol.checksums import EMPTY_SHA256, UNSIGNED_PAYLOAD, asked_algorithm, single_headers
from ..protocol.crc import encode, new_hasher, require
from ..protocol.parts import DEFAULT_PART_SIZE, MAX_PART_SIZE, fitting_part_size
from .ahead import ReadPlan
from .download import DownloadPlan, download_file
from .files import SourceFile
from .multipart import Uploaded, uploaded
from .progress import Meter
from .reader import ObjectReader
from .resume import upload_resumably
from .sinks import taker_of
from .sources import blocks_of, file_pieces, size_of, stream_pieces
from .upload import Upload, UploadPlan, headers_for, put_object
from .verify import Expected, ask, check
from .workers import Closing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from httpx._types import TimeoutTypes

    from .._body import Body, BytesBody
    from .._session import Session
    from ..models import ChecksumAlgorithm, UploadResult
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers
    from .progress import ProgressCallback
    from .sources import MemoryPiece

__all__ = (
    "DownloadPlan",
    "UploadPlan",
    "download",
    "download_stream",
    "headers_for",
    "put_file",
    "put_stream",
    "upload_file",
    "upload_stream",
)

_STREAM_WORKERS: Final = 2


async def upload_file(
    session: Session, plan: UploadPlan, path: Path, progress: ProgressCallback | None, *, resume: bool = False
) -> UploadResult:
    """Send a file, in parts where it is longer than one; ``resume``: see :mod:`handtruck.transfer.resume`."""
    async with _opened(session, path) as source:
        plan = replace(plan, part_size=fitting_part_size(source.size, plan.part_size, session.quirks))
        meter = Meter(progress, source.size)
        if resume and (result := await upload_resumably(session, plan, path, source, meter)) is not None:
            return result
        upload = Upload(
            session,
            plan,
            meter,
            put=partial(put_object, session, plan),
            check_source=partial(in_thread, source.check_unchanged, limiter=session.threads),
        )
        pieces = file_pieces(session, source, plan.part_size, hashed=plan.hashed, algorithm=plan.algorithm)
        return (await upload.run(pieces)).result


async def upload_stream(
    session: Session,
    plan: UploadPlan,
    content: object,
    progress: ProgressCallback | None,
) -> UploadResult:
    """Send a stream, in parts where it is longer than one."""
    meter = Meter(progress, await size_of(session, content) if progress is not None else None)
    upload = Upload(session, plan, meter, put=partial(put_object, session, plan), check_source=_nothing)
    return (await _stream(upload, content)).result


async def put_stream(
    session: Session,
    location: Location,
    content: object,
    *,
    query: Query,
    headers: Headers,
    payload_hash: str | None,
    options: Options,
) -> httpx.Response:
    """Send a stream; as long as one request is enough the answer is given whatever its status."""
    require(asked_algorithm(headers))

    async def put(body: BytesBody) -> Uploaded:
        known = body if payload_hash is None else replace(body, payload_hash=payload_hash)
        operation = operations.plain("PUT", location, query, headers_for(body, headers))
        return uploaded(await session.respond(operation, body=known, options=options), size=body.length)

    plan = UploadPlan(
        location=location,
        headers=headers,
        part_size=DEFAULT_PART_SIZE,
        workers=_STREAM_WORKERS,
        slots=_STREAM_WORKERS,
        tries=session.max_attempts,
        hashed=payload_hash is None,
        never_parts=_why_not_parts(location, query, payload_hash),
        options=options,
    )
    upload = Upload(session, plan, Meter(None), put=put, check_source=_nothing)
    return (await _stream(upload, content)).response


def _why_not_parts(location: Location, query: Query, payload_hash: str | None) -> str | None:
    what = None
    if not location.key:
        what = f"{str(location)!r} names no object"
    elif query:
        what = "params= belong to one request"
    elif payload_hash is not None:
        what = "content_sha256= is that of one request"
    return f"the content is longer than one part, but {what}; give it as bytes" if what else None


async def _stream(upload: Upload, content: object) -> Uploaded:
    plan = upload.plan
    blocks = blocks_of(upload.session, content)
    pieces = stream_pieces(
        upload.session, blocks, plan.part_size, hashed=plan.hashed, grow=plan.grow, algorithm=plan.algorithm
    )
    return await upload.run(_measured(pieces, upload.meter))


async def _measured(pieces: AsyncGenerator[MemoryPiece, None], meter: Meter) -> AsyncGenerator[MemoryPiece, None]:
    """Tell the meter how long the stream is, as soon as its last piece is there: before the last one is sent.

    What was said of it before may be wrong: a file grows or shrinks. More than it was to have, and nobody knows.
    """
    size = 0
    async with Closing(pieces.aclose, GRACE):
        async for piece in pieces:
            size += len(piece.view)
            if piece.last:
                meter.total = size
            elif meter.total is not None and meter.total <= size:
                meter.total = None  # this piece is not the last one
            yield piece


async def _nothing() -> None:
    """A stream cannot change behind our back."""


async def download(
    session: Session, plan: DownloadPlan, path: Path, progress: ProgressCallback | None
) -> DownloadResult:
    """Fetch an object into a file."""
    return await download_file(session, plan, path, Meter(progress))


async def download_stream(
    session: Session, plan: DownloadPlan, target: object, progress: ProgressCallback | None
) -> DownloadResult:
    """Fetch an object into something that takes its bytes in order."""
    taker, meter = taker_of(target), Meter(progress)
    expected = await ask(session, plan) if plan.verify else Expected(None, None)
    plan = replace(plan, headers=expected.tied(plan.headers))
    hasher = None if expected.checksum is None else new_hasher(expected.checksum.algorithm)
    ahead = ReadPlan(
        location=plan.location,
        headers=plan.headers,
        query=plan.query,
        part_size=plan.step,
        workers=plan.workers,
        tries=plan.tries,
        opening=plan.step,  # all of it is wanted
        options=plan.options,
    )
    async with ObjectReader(session, ahead) as reader:
        meter.total = reader.size
        async for block in reader:
            if hasher is not None:
                await in_thread(hasher.update, memoryview(block), limiter=session.threads)
            await taker.take(block)
            meter.add(len(block))
    expected.check_version(plan.location, reader.etag)
    if expected.checksum is not None and hasher is not None:
        check(plan.location, expected.checksum, encode(hasher.digest()))
    meter.end(meter.done)
    return DownloadResult(path=None, size=meter.done, etag=reader.etag, checksum=expected.checksum)


async def put_file(
    session: Session,
    location: Location,
    path: Path,
    *,
    headers: Headers,
    payload_hash: str | None,
    chunk_size: int,
    timeout: TimeoutTypes | None,
) -> httpx.Response:
    """Send a file as one request; the answer is given whatever its status."""
    async with _opened(session, path) as source:
        most = session.quirks.max_part_size
        if source.size > most:
            taken = "5 GiB" if most == MAX_PART_SIZE else most
            raise UsageError(f"{path} has {source.size} bytes, one request takes {taken}; use put_file_multipart")
        if (algorithm := asked_algorithm(headers)) is not None:
            checksum, payload_hash = await _sum_of(session, source, algorithm, payload_hash)
            headers = single_headers(headers, checksum)
        elif payload_hash is None:
            payload_hash = await _hash_of(session, source)
        if source.size:
            body: Body = FileBody(session, source, payload_hash, chunk_size)
        else:
            await in_thread(source.check_unchanged, limiter=session.threads)
            body = NO_BODY
        operation = operations.plain("PUT", location, (), headers)
        return await session.respond(operation, body=body, options=Options(timeout=timeout))


async def _sum_of(
    session: Session, source: SourceFile, algorithm: ChecksumAlgorithm, payload_hash: str | None
) -> tuple[Checksum, str]:
    """What goes ahead of a body: its checksum, and its hash where that is wanted and not known."""
    require(algorithm)
    hasher, digest = new_hasher(algorithm), sha256()
    hashed = payload_hash is None and (not session.endpoint.secure or not source.size)
    takers = (hasher.update, digest.update) if hashed else (hasher.update,)
    await in_thread(source.feed, *takers, limiter=session.threads)
    known = digest.hexdigest() if hashed else payload_hash or UNSIGNED_PAYLOAD
    return Checksum(algorithm=algorithm, value=encode(hasher.digest())), known


async def _hash_of(session: Session, source: SourceFile) -> str:
    """Over https nobody can change the body on its way; over http its hash must go ahead of it."""
    if not source.size:
        return EMPTY_SHA256
    if session.endpoint.secure:
        return UNSIGNED_PAYLOAD
    return await in_thread(source.sha256, limiter=session.threads)


@asynccontextmanager
async def _opened(session: Session, path: Path) -> AsyncGenerator[SourceFile]:
    source = await in_thread(SourceFile, path, limiter=session.threads)
    try:
        yield source
    finally:
        with anyio.CancelScope(shield=True):
            await in_thread(source.close, limiter=session.threads)


@dataclass(frozen=True, slots=True)
class FileBody:
    """A file as the body of one request, read as it is sent.

    The last block is held back until the file was found unchanged: S3 stores nothing of a body that is too short.
    """

    session: Session
    source: SourceFile
    payload_hash: str
    chunk_size: int

    @property
    def length(self) -> int:
        """Bytes."""
        return self.source.size

    def stream(self) -> httpx.AsyncByteStream:
        """The file's bytes, from the first one on."""
        return _FileStream(self)


class _FileStream(httpx.AsyncByteStream):
    """No async generator: one that a cancelled request abandons is left to the event loop to finish."""

    def __init__(self, body: FileBody) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _FileIterator(self._body)


class _FileIterator:
    def __init__(self, body: FileBody) -> None:
        self._body = body
        self._position = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        body, start = self._body, self._position
        if start >= body.length:
            raise StopAsyncIteration
        self._position = min(start + body.chunk_size, body.length)
        return await in_thread(self._read, start, self._position - start, limiter=body.session.threads)

    def _read(self, start: int, count: int) -> bytes:
        block = bytearray(count)
        self._body.source.read_into(memoryview(block), start)
        if start + count == self._body.length:
            self._body.source.check_unchanged()
        return bytes(block)
