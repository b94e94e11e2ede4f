"""A small S3 in memory: what it does right is S3's, what it does wrong is scripted."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import md5
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from handtruck import S3Client
from tests.scripted import sums
from tests.scripted.peer import Peer, Reply, Request, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

Bend: TypeAlias = "Reply | Callable[[Request], Reply | Awaitable[Reply | None] | None]"
"""An answer, or a function of the request that gives one; None is the ordinary answer."""

_STORED: Final = ("content-type", "content-encoding", "cache-control", "x-amz-storage-class")


def xml(root: str, **fields: object) -> Reply:
    """A document of one level."""
    text = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in fields.items())
    return Reply(body=f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>{text}</{root}>'.encode())


def error(status: int, code: str, message: str = "scripted", *headers: tuple[str, str | None]) -> Reply:
    """S3's no."""
    return Reply(status=status, headers=headers, body=xml("Error", Code=code, Message=message, RequestId="R-1").body)


def completed_in_200(code: str) -> Reply:
    """An error inside a successful answer, behind the blanks that keep the connection alive."""
    return Reply(body=b" \n" * 8 + error(200, code).body)


def etag_of(data: bytes) -> str:
    """Quoted, as S3 makes it of a single PUT."""
    return f'"{md5(data, usedforsecurity=False).hexdigest()}"'


@dataclass(slots=True)
class Stored:
    """An object."""

    data: bytes
    etag: str
    headers: tuple[tuple[str, str], ...] = ()
    sum: sums.Sum | None = None


@dataclass(slots=True)
class OpenUpload:
    """A multipart upload that is neither completed nor aborted."""

    key: str
    headers: tuple[tuple[str, str], ...]
    parts: dict[int, bytes] = field(default_factory=dict)
    summed: sums.Summed = field(default_factory=sums.Summed)


@dataclass(slots=True)
class _Hook:
    operation: str
    nth: int | None
    instead: Bend | None
    after: Bend | None
    key: str | None
    seen: int = 0

    def fits(self, operation: str, key: str) -> bool:
        if operation != self.operation or self.key not in (None, key):
            return False
        self.seen += 1
        return self.nth in (None, self.seen)


@dataclass(slots=True, eq=False)
class TinyS3:
    """The handler of a :class:`~tests.scripted.peer.Peer`. Keys are ``bucket/key``; every bucket exists.

    Attributes:
        objects: what is stored.
        uploads: open multipart uploads by id.
        calls: operations and requests in order of arrival.
    """

    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, OpenUpload] = field(default_factory=dict)
    calls: list[tuple[str, Request]] = field(default_factory=list)
    hooks: list[_Hook] = field(default_factory=list)
    ids: int = 0
    _peer: Peer | None = None

    @property
    def peer(self) -> Peer:
        """The socket half, while it is served by :func:`store`."""
        assert self._peer is not None
        return self._peer

    @property
    def names(self) -> list[str]:
        """The operations that were asked for, in order of arrival."""
        return [name for name, _ in self.calls]

    def sent(self, operation: str) -> list[Request]:
        """The requests of one operation, in order of arrival."""
        return [request for name, request in self.calls if name == operation]

    def put(self, key: str, data: bytes, **headers: str) -> str:
        """Store an object; gives its ETag."""
        pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        self.objects[key] = Stored(data, etag_of(data), pairs)
        return self.objects[key].etag

    def on(
        self,
        operation: str,
        instead: Bend | None = None,
        *,
        nth: int | None = None,
        after: Bend | None = None,
        key: str | None = None,
    ) -> None:
        """Bend an operation: its ``nth`` request (from 1), or all; of one key, or all. The newest hook wins.

        ``instead`` answers, and nothing is done. ``after`` answers when it has been done: its own answer is lost.
        """
        self.hooks.insert(0, _Hook(operation, nth, instead, after, key))

    async def __call__(self, request: Request) -> Reply:
        name, key = _operation(request), request.path.removeprefix("/")
        self.calls.append((name, request))
        hook = next(iter([hook for hook in self.hooks if hook.fits(name, key)]), None)  # all count, the first bends
        reply = await _bent(hook.instead if hook else None, request)
        if reply is None:
            await request.read()
            reply = getattr(self, name)(request, key)
            reply = (await _bent(hook.after if hook else None, request)) or reply
        return reply

    # -- objects ---------------------------------------------------------------------------------------------------

    def PutObject(self, request: Request, key: str) -> Reply:  # noqa: N802 - S3's names
        if request.header("if-none-match") == "*" and key in self.objects:
            return error(412, "PreconditionFailed")
        try:
            told = sums.checked(request)
        except sums.Refused as refused:
            return error(400, refused.code, str(refused))
        self.objects[key] = Stored(request.body, etag_of(request.body), _kept(request), told)
        return Reply(headers=(("ETag", self.objects[key].etag), *sums.headers(told)))

    def GetObject(self, request: Request, key: str) -> Reply:  # noqa: N802
        found = self.objects.get(key)
        if found is None:
            return error(404, "NoSuchKey")
        if request.header("if-match") not in (None, found.etag):
            return error(412, "PreconditionFailed")
        headers = (("ETag", found.etag), *found.headers)
        if request.header("x-amz-checksum-mode") == "ENABLED":
            headers += sums.headers(found.sum, only_type=request.header("range") is not None)
        asked = request.header("range")
        if asked is None:
            return Reply(headers=headers, body=found.data)
        size = len(found.data)
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        if first >= size:
            return error(416, "InvalidRange", "", ("Content-Range", f"bytes */{size}"))
        last = min(last, size - 1)
        content_range = ("Content-Range", f"bytes {first}-{last}/{size}")
        return Reply(status=206, headers=(*headers, content_range), body=found.data[first : last + 1])

    def HeadObject(self, request: Request, key: str) -> Reply:  # noqa: N802
        return self.GetObject(request, key)

    def DeleteObject(self, request: Request, key: str) -> Reply:  # noqa: N802
        self.objects.pop(key, None)
        return Reply(status=204)

    # -- multipart -------------------------------------------------------------------------------------------------

    def CreateMultipartUpload(self, request: Request, key: str) -> Reply:  # noqa: N802
        self.ids += 1
        upload_id = f"upload-{self.ids}"
        try:
            summed = sums.begun(request)
        except sums.Refused as refused:
            return error(400, refused.code, str(refused))
        self.uploads[upload_id] = OpenUpload(key, _kept(request), summed=summed)
        return xml("InitiateMultipartUploadResult", Bucket="b", Key=key, UploadId=upload_id)

    def UploadPart(self, request: Request, key: str) -> Reply:  # noqa: N802
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        number = int(request.query["partNumber"])
        try:
            told = upload.summed.part(number, request)
        except sums.Refused as refused:
            return error(400, refused.code, str(refused))
        upload.parts[number] = request.body
        return Reply(headers=(("ETag", etag_of(request.body)), *sums.headers(told)))

    def CompleteMultipartUpload(self, request: Request, key: str) -> Reply:  # noqa: N802
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        if request.header("if-none-match") == "*" and key in self.objects:
            return error(412, "PreconditionFailed")
        wanted = [(_text(part, "PartNumber"), _text(part, "ETag")) for part in _document(request.body).iter("Part")]
        have = [(str(number), etag_of(data)) for number, data in sorted(upload.parts.items())]
        if wanted != have or not wanted:
            return error(400, "InvalidPart", f"{wanted} is not {have}")
        try:
            told = upload.summed.completed(request, _document(request.body), upload.parts)
        except sums.Refused as refused:
            return error(400, refused.code, str(refused))
        del self.uploads[request.query["uploadId"]]
        pieces = [data for _, data in sorted(upload.parts.items())]
        digest = md5(b"".join(md5(piece, usedforsecurity=False).digest() for piece in pieces), usedforsecurity=False)
        etag = f'"{digest.hexdigest()}-{len(pieces)}"'
        self.objects[key] = Stored(b"".join(pieces), etag, upload.headers, told)
        return xml("CompleteMultipartUploadResult", Bucket="b", Key=key, ETag=etag, **sums.elements(told))

    def AbortMultipartUpload(self, request: Request, key: str) -> Reply:  # noqa: N802
        gone = self.uploads.pop(request.query["uploadId"], None)
        return Reply(status=204) if gone else error(404, "NoSuchUpload")

    def ListParts(self, request: Request, key: str) -> Reply:  # noqa: N802
        upload = self.uploads.get(request.query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        after = int(request.query.get("part-number-marker", "0"))
        numbers = [number for number in sorted(upload.parts) if number > after]
        page = numbers[: int(request.query.get("max-parts", "1000"))]
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag_of(upload.parts[number]))}</ETag>"
            f"<Size>{len(upload.parts[number])}</Size></Part>"
            for number in page
        )
        truncated = str(len(page) < len(numbers)).lower()
        marker = f"<NextPartNumberMarker>{page[-1]}</NextPartNumberMarker>" if page else ""
        return Reply(
            body=f"<ListPartsResult>{rows}<IsTruncated>{truncated}</IsTruncated>{marker}</ListPartsResult>".encode()
        )

    def ListMultipartUploads(self, request: Request, key: str) -> Reply:  # noqa: N802
        """By key, then by id."""
        bucket, query = key.strip("/") + "/", request.query
        after = (query.get("key-marker", ""), query.get("upload-id-marker", "\U0010ffff"))
        known = [(upload.key.removeprefix(bucket), upload_id) for upload_id, upload in self.uploads.items()]
        found = sorted(each for each in known if each[0].startswith(query.get("prefix", "")) and each > after)
        page = found[: int(query.get("max-uploads", "1000"))]
        rows = "".join(f"<Upload><Key>{escape(k)}</Key><UploadId>{i}</UploadId></Upload>" for k, i in page)
        truncated = str(len(page) < len(found)).lower()
        markers = (
            f"<NextKeyMarker>{escape(page[-1][0])}</NextKeyMarker><NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>"
            if page
            else ""
        )
        root = "ListMultipartUploadsResult"
        return Reply(body=f"<{root}>{rows}<IsTruncated>{truncated}</IsTruncated>{markers}</{root}>".encode())

    # -- listings --------------------------------------------------------------------------------------------------

    def ListObjectsV2(self, request: Request, key: str) -> Reply:  # noqa: N802
        bucket = key.strip("/") + "/"
        query = request.query
        after = query.get("continuation-token", query.get("start-after", ""))
        keys = sorted(k.removeprefix(bucket) for k in self.objects if k.startswith(bucket + query.get("prefix", "")))
        keys = [k for k in keys if k > after]
        page = keys[: int(query.get("max-keys", "1000"))]
        rows = "".join(
            f"<Contents><Key>{escape(k)}</Key><Size>{len(self.objects[bucket + k].data)}</Size></Contents>"
            for k in page
        )
        more = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if len(page) < len(keys) else ""
        return Reply(body=f"<ListBucketResult>{rows}{more}</ListBucketResult>".encode())

    def Unknown(self, request: Request, key: str) -> Reply:  # noqa: N802
        return error(501, "NotImplemented")


_OPERATIONS: Final = (
    # The first that fits: method, a parameter of the query (None: none is looked for), name.
    ("PUT", "uploadId", "UploadPart"),
    ("POST", "uploadId", "CompleteMultipartUpload"),
    ("DELETE", "uploadId", "AbortMultipartUpload"),
    ("GET", "uploadId", "ListParts"),
    ("POST", "uploads", "CreateMultipartUpload"),
    ("GET", "uploads", "ListMultipartUploads"),
    ("GET", "list-type", "ListObjectsV2"),
    ("PUT", None, "PutObject"),
    ("GET", None, "GetObject"),
    ("HEAD", None, "HeadObject"),
    ("DELETE", None, "DeleteObject"),
)


def _operation(request: Request) -> str:
    query = request.query
    fitting = (name for method, tag, name in _OPERATIONS if method == request.method and (tag is None or tag in query))
    return next(fitting, "Unknown")


async def _bent(bend: Bend | None, request: Request) -> Reply | None:
    if bend is None or isinstance(bend, Reply):
        return bend
    reply = bend(request)
    return await reply if isawaitable(reply) else reply


def _kept(request: Request) -> tuple[tuple[str, str], ...]:
    return tuple(
        (name, value)
        for name, value in request.headers
        if name.lower() in _STORED or name.lower().startswith("x-amz-meta-")
    )


def _document(body: bytes) -> ET.Element:
    return ET.fromstring(re.sub(rb' xmlns="[^"]*"', b"", body))  # noqa: S314 - our own client wrote it


def _text(element: ET.Element, tag: str) -> str:
    return element.findtext(tag) or ""


def quick(s3: S3Client) -> S3Client:
    """Take the waiting out of its retries."""
    s3._session.random = lambda: 0.0
    return s3


def client(peer: Peer, **options: Any) -> S3Client:
    """A client of a peer that waits for nothing; keys are there unless ``credentials`` are given."""
    if "credentials" not in options:
        options = {"access_key_id": "key-id", "secret_access_key": "secret", **options}
    return quick(S3Client(options.pop("url", peer.url), **options))


@asynccontextmanager
async def store(**options: Any) -> AsyncIterator[tuple[S3Client, TinyS3]]:
    """A small S3, and a client of it."""
    tiny = TinyS3()
    async with serve(tiny) as tiny._peer, client(tiny._peer, **options) as s3:
        yield s3, tiny
