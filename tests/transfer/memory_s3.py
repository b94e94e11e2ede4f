"""An S3 in memory, behind httpx: no sockets, checkpoints at every step of a request, faults on demand.

It remembers all that is open: uploads, requests in flight, answers whose body nobody closed. As a real one it may
carry a request out whose sender has gone: once the body is there, the deed is done, whoever waits for the answer.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import anyio
import httpx
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

CHUNK: Final = 3000
"""Bytes an answer's body comes in."""

_RANGE: Final = re.compile(r"bytes=(\d+)-(\d+)")
_OPERATIONS: Final = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("GET", "uploadId"): "ListParts",
    ("PUT", ""): "PutObject",
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
    ("DELETE", ""): "DeleteObject",
}


class Fault(Enum):
    """What goes wrong with a request."""

    REFUSED = "500, and nothing was done"
    UNREACHABLE = "no connection"
    BROKEN = "the connection broke in the middle of the request"
    LOST = "it was done, and the connection broke before the answer"
    CUT = "it was done, and the connection broke in the middle of the answer"


@dataclass(frozen=True, slots=True)
class Call:
    """One request: its number (from 1), S3's name for it, its object, what tells it from its likes."""

    number: int
    operation: str
    path: str
    query: dict[str, str]
    headers: httpx.Headers

    @property
    def part(self) -> str:
        """The number of the part that it sends, or the range it asks for."""
        return self.query.get("partNumber", "") or self.headers.get("range", "")


@dataclass(slots=True)
class OpenUpload:
    """An upload that was neither completed nor aborted.

    Attributes:
        known: the answer to Create was delivered to the last byte: the client has the id.
    """

    path: str
    parts: dict[int, bytes] = field(default_factory=dict)
    known: bool = False


def etag_of(data: bytes) -> str:
    """An object's ETag."""
    return f'"{hashlib.md5(data).hexdigest()}"'  # noqa: S324 - S3's choice


def joint_etag(parts: list[bytes]) -> str:
    """The ETag of an object made of parts."""
    digests = b"".join(hashlib.md5(part).digest() for part in parts)  # noqa: S324
    return f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'  # noqa: S324


@dataclass
class MemoryS3(httpx.AsyncBaseTransport):
    """Where requests end.

    Attributes:
        objects: bodies and ETags, by path.
        uploads: the open ones, by id.
        fault: says what is wrong with a request, before it is looked at.
        before_answer: awaited when a request was carried out, before its answer goes out.
        late: parts whose sender has gone come to light only after the next abort.
        unconditional_copies: it takes no notice of a copy's conditions for its source.
        done: operations carried out.
        in_flight, most_in_flight: requests whose answer is not read to its end.
        answers: bodies that nobody has closed.
        connected, closed: there are connections; and they were closed.
    """

    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    uploads: dict[str, OpenUpload] = field(default_factory=dict)
    fault: Callable[[Call], Fault | None] | None = None
    before_answer: Callable[[Call], Awaitable[None]] | None = None
    late: bool = False
    unconditional_copies: bool = False
    done: Counter[str] = field(default_factory=Counter)
    calls: list[Call] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    answers: set[Answer] = field(default_factory=set)
    connected: bool = False
    closed: bool = False
    _ids: count[int] = field(default_factory=lambda: count(1))
    _hidden: list[tuple[str, str, int, bytes]] = field(default_factory=list)

    def put(self, path: str, data: bytes) -> None:
        """An object that is there already."""
        self.objects[path] = (data, etag_of(data))

    def known_uploads(self) -> list[str]:
        """The open uploads whose id the client has."""
        return [upload_id for upload_id, upload in self.uploads.items() if upload.known]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Carry a request out."""
        call = self._call(request)
        fault = self.fault(call) if self.fault is not None else None
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await checkpoint()  # connecting
            self.connected = True
            if fault is Fault.UNREACHABLE:
                raise httpx.ConnectError("nobody listens", request=request)
            body = await _receive(request, broken=fault is Fault.BROKEN)
            answer = self._carry_out(call, body, refused=fault is Fault.REFUSED)
            await self._answering(call)
            if fault is Fault.LOST:
                raise httpx.ReadError("connection reset", request=request)
        except BaseException:
            self.in_flight -= 1
            raise
        answer.stream.cut = fault is Fault.CUT
        self.answers.add(answer.stream)
        return httpx.Response(answer.status, headers=answer.headers, stream=answer.stream)

    async def _answering(self, call: Call) -> None:
        try:
            await checkpoint()
            if self.before_answer is not None:
                await self.before_answer(call)
        except BaseException:
            upload = self.uploads.get(call.query.get("uploadId", ""))
            number = int(call.query.get("partNumber", "0"))
            if self.late and upload is not None and number in upload.parts:
                self._hidden.append((call.query["uploadId"], call.path, number, upload.parts.pop(number)))
            raise

    async def aclose(self) -> None:
        """Close the connections, one after the other."""
        await checkpoint()
        await checkpoint()
        self.closed = True

    def _call(self, request: httpx.Request) -> Call:
        query = {
            name: values[0] for name, values in parse_qs(request.url.query.decode(), keep_blank_values=True).items()
        }
        resource = next((name for name in ("uploads", "uploadId") if name in query), "")
        operation = _OPERATIONS[request.method, resource]
        if "x-amz-copy-source" in request.headers:
            operation = {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}[operation]
        call = Call(len(self.calls) + 1, operation, request.url.path, query, request.headers)
        self.calls.append(call)
        return call

    def _carry_out(self, call: Call, body: bytes, *, refused: bool) -> _Reply:
        if refused:
            return self._error(500, "InternalError")
        if "uploadId" in call.query and call.query["uploadId"] not in self.uploads:
            return self._error(404, "NoSuchUpload")
        self.done[call.operation] += 1
        match call.operation:
            case "CreateMultipartUpload":
                return self._create(call)
            case "UploadPart":
                self.uploads[call.query["uploadId"]].parts[int(call.query["partNumber"])] = body
                return self._reply(200, {"ETag": etag_of(body)})
            case "CompleteMultipartUpload":
                return self._complete(call, body)
            case "AbortMultipartUpload":
                return self._abort(call)
            case "ListParts":
                parts = self.uploads[call.query["uploadId"]].parts
                listed = "".join(
                    f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag_of(part))}</ETag>"
                    f"<Size>{len(part)}</Size></Part>"
                    for number, part in sorted(parts.items())
                )
                return self._reply(200, {}, f"<ListPartsResult>{listed}</ListPartsResult>".encode())
            case "PutObject":
                self.put(call.path, body)
                return self._reply(200, {"ETag": etag_of(body)})
            case "DeleteObject":
                return self._delete_object(call)
            case _:
                return self._copy_object(call) if "x-amz-copy-source" in call.headers else self._get(call)

    def _delete_object(self, call: Call) -> _Reply:
        wanted = call.headers.get("if-match")
        if wanted is not None and self.objects.get(call.path, (b"", ""))[1] != wanted:
            return self._error(412, "PreconditionFailed")
        self.objects.pop(call.path, None)
        return self._reply(204, {})

    def _copy_object(self, call: Call) -> _Reply:
        source = "/" + unquote(call.headers["x-amz-copy-source"].partition("?")[0])
        if source not in self.objects:
            return self._error(404, "NoSuchKey")
        data, etag = self.objects[source]
        if call.headers.get("x-amz-copy-source-if-match", etag) != etag and not self.unconditional_copies:
            return self._error(412, "PreconditionFailed")
        asked = _RANGE.fullmatch(call.headers.get("x-amz-copy-source-range", ""))
        if call.operation == "CopyObject":
            self.objects[call.path] = (data, etag)
        else:
            data = data[int(asked[1]) : int(asked[2]) + 1] if asked is not None else data
            self.uploads[call.query["uploadId"]].parts[int(call.query["partNumber"])] = data
        root = "CopyObjectResult" if call.operation == "CopyObject" else "CopyPartResult"
        return self._reply(200, {}, f" \n <{root}><ETag>{etag_of(data)}</ETag></{root}>".encode())

    def _create(self, call: Call) -> _Reply:
        upload_id = f"upload-{next(self._ids)}"
        upload = self.uploads[upload_id] = OpenUpload(call.path)
        document = f"<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"

        def delivered() -> None:
            upload.known = True

        return self._reply(200, {}, document.encode(), delivered)

    def _complete(self, call: Call, body: bytes) -> _Reply:
        upload = self.uploads[call.query["uploadId"]]
        wanted = [int(number.text or "") for number in ET.fromstring(body).iter() if number.tag.endswith("PartNumber")]  # noqa: S314
        if not wanted or wanted != sorted(upload.parts):
            return self._error(400, "InvalidPart")
        del self.uploads[call.query["uploadId"]]
        parts = [upload.parts[number] for number in wanted]
        self.objects[call.path] = (b"".join(parts), joint_etag(parts))
        document = f"<CompleteMultipartUploadResult><ETag>{joint_etag(parts)}</ETag></CompleteMultipartUploadResult>"
        return self._reply(200, {}, document.encode())

    def _abort(self, call: Call) -> _Reply:
        del self.uploads[call.query["uploadId"]]
        for upload_id, path, number, body in self._hidden:
            self.uploads[upload_id] = OpenUpload(path, {number: body}, known=True)
        self._hidden.clear()
        return self._reply(204, {})

    def _get(self, call: Call) -> _Reply:
        if call.path not in self.objects:
            return self._error(404, "NoSuchKey")
        data, etag = self.objects[call.path]
        if call.headers.get("if-match", etag) != etag:
            return self._error(412, "PreconditionFailed")
        asked = _RANGE.fullmatch(call.headers.get("range", ""))
        if asked is None or call.operation == "HeadObject":
            said = data if call.operation == "GetObject" else b""
            return self._reply(200, {"ETag": etag, "Content-Length": str(len(data))}, said)
        start, stop = int(asked[1]), min(int(asked[2]) + 1, len(data))
        if start >= len(data):
            return self._error(416, "InvalidRange")
        where = f"bytes {start}-{stop - 1}/{len(data)}"
        headers = {"ETag": etag, "Content-Range": where, "Content-Length": str(stop - start)}
        return self._reply(206, headers, data[start:stop])

    def _reply(
        self, status: int, headers: dict[str, str], body: bytes = b"", delivered: Callable[[], None] | None = None
    ) -> _Reply:
        return _Reply(status, headers, Answer(self, body, delivered))

    def _error(self, status: int, code: str) -> _Reply:
        return self._reply(status, {}, f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode())


@dataclass(slots=True)
class _Reply:
    status: int
    headers: dict[str, str]
    stream: Answer


class Answer(httpx.AsyncByteStream):
    """An answer's body. Not a generator: abandoned ones would have to be finished by somebody."""

    def __init__(self, s3: MemoryS3, body: bytes, delivered: Callable[[], None] | None) -> None:
        self.cut = False
        self._s3 = s3
        self._body = body
        self._delivered = delivered
        self._position = 0

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        await checkpoint()
        if self not in self._s3.answers:
            raise httpx.ReadError("the answer was closed")
        if self.cut and self._position >= len(self._body) // 2:
            raise httpx.RemoteProtocolError("peer closed connection")
        if self._position >= len(self._body):
            raise StopAsyncIteration
        until = len(self._body) // 2 if self.cut else len(self._body)
        chunk = self._body[self._position : min(self._position + CHUNK, until)]
        self._position += len(chunk)
        if self._position == len(self._body) and self._delivered is not None:
            self._delivered()
        return chunk

    async def aclose(self) -> None:
        """Closes at once; as httpcore's it then waits for something that a scope cannot cut short."""
        if self in self._s3.answers:
            self._s3.answers.remove(self)
            self._s3.in_flight -= 1
        with anyio.CancelScope(shield=True):
            await checkpoint()


async def _receive(request: httpx.Request, *, broken: bool) -> bytes:
    """Read a request's body as httpcore does: a plain ``async for``, left in the middle where writing fails."""
    body = bytearray()
    assert isinstance(request.stream, httpx.AsyncByteStream)
    async for chunk in request.stream:
        body += chunk
        await checkpoint()
        if broken:
            raise httpx.WriteError("broken pipe", request=request)
    if broken:
        raise httpx.WriteError("broken pipe", request=request)
    await checkpoint()
    return bytes(body)
