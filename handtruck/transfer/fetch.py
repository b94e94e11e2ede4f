"""One range of an object, fetched however often it breaks, and always of the same version.

The first answer tells the size and the ETag; every later request asks with If-Match, and every answer's ETag and
Content-Range are compared all the same, because some servers ignore the one and misstate the other. An answer of 200
is good if its Content-Range is exactly what was asked for; without one it is the whole object, and never taken for a
range. A range goes on where it broke off; one whose bytes are all there is done, however its answer ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import httpx

from .._attempt import PLAIN, Options
from ..errors import InvalidResponse, PreconditionFailed, S3Error
from ..protocol import operations
from ..protocol.answers import Answer, failure
from ..protocol.checksums import is_strong, same_etag
from ..protocol.parts import parse_content_range, parse_unsatisfied, range_header
from ..transport.foreign import broke_off
from ..transport.reading import raw_reader, read_whole
from .buffers import fresh
from .progress import CallbackFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._session import Session
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers, Operation
    from ..transport.reading import RawReader
    from .buffers import Buffers


_LITTLE: Final = 256 * 1024  # a huge page for less is cleared in vain


class Destination(Protocol):
    """Where an object's bytes go."""

    async def take(self, reader: RawReader, start: int, most: int | None) -> int:
        """Take the next bytes, which belong at ``start``, at most ``most``; gives how many, 0 where there are none."""
        ...


@dataclass(slots=True)
class IntoFile:
    """Written at their offsets, in worker threads, a buffer at a time; ``sink`` writes from an offset on."""

    sink: Callable[[int], Callable[[memoryview], object]]
    buffers: Buffers
    threads: anyio.CapacityLimiter

    async def take(self, reader: RawReader, start: int, most: int | None) -> int:
        """See :class:`Destination`."""
        if most is not None and most <= min(_LITTLE, self.buffers.size) and not self.buffers.free:
            return await reader.pour(fresh(most), self.sink(start), self.threads)
        buffer = self.buffers.take()
        try:
            return await reader.pour(buffer[:most], self.sink(start), self.threads)
        finally:
            self.buffers.give_back(buffer)


@dataclass(slots=True)
class IntoMemory:
    """Received where they are wanted: ``view`` begins at byte ``start`` of the object."""

    view: memoryview
    start: int

    async def take(self, reader: RawReader, start: int, most: int | None) -> int:
        """See :class:`Destination`."""
        return await reader.readinto(self.view[start - self.start :][:most])


@dataclass(slots=True)
class Version:
    """The one state of the object that is fetched; blank until the first answer.

    Attributes:
        known: set when the other fields are.
        headers: of the first answer.
        etag: as the server sent it.
        size: bytes; None while an answer without a length is being read.
        pinned: its ETag can be put into If-Match.
        whole: a single answer brings all of it: there are no other ranges.
        untied: ranges could be of different versions: they are given up for one answer that brings all.
    """

    known: anyio.Event = field(default_factory=anyio.Event)
    headers: httpx.Headers = field(default_factory=httpx.Headers)
    etag: str | None = None
    size: int | None = None
    pinned: bool = False
    whole: bool = False
    untied: bool = False

    def pin(self, etag: str, size: int) -> None:
        """It is known beforehand which one is wanted."""
        self.etag, self.size, self.pinned = etag, size, True
        self.known.set()


class NotInRanges(Exception):
    """The server gives the object only as a whole, for the reason told."""


_IGNORED: Final = "the Range header was ignored, and the answer is the whole object"
_UNTIED: Final = "without a strong ETag nothing ties one range to the next"


@dataclass(slots=True, kw_only=True)
class Remote:
    """An object that is fetched, in one or many requests.

    Attributes:
        headers, query: sent with every request.
        options: with the number of attempts.
        whole: its bytes may come as one answer, whatever was asked for; else that is :class:`NotInRanges`.
        alone: one range is all that is wanted, so that nothing needs to be tied to it.
    """

    session: Session
    location: Location
    headers: Headers = ()
    query: Query = ()
    options: Options = PLAIN
    whole: bool = True
    alone: bool = False
    version: Version = field(default_factory=Version)

    def changed(self, how: str) -> PreconditionFailed:
        """The error that says so."""
        return replaced(self.location, how)

    def beyond(self, stop: int, size: int) -> S3Error:
        """The error that says so: bytes up to ``stop`` were asked for, and there are only ``size``."""
        message = f"bytes up to {stop} were asked for, the object has {size}"
        return S3Error(
            f"GetObject {self.location}: 416 InvalidRange: {message}",
            status=416,
            code="InvalidRange",
            message=message,
            bucket=self.location.bucket,
            key=self.location.key,
            operation="GetObject",
        )

    def nonsense(self, what: str) -> InvalidResponse:
        """The error that says so."""
        return InvalidResponse(f"GetObject {self.location}: {what}")


@dataclass(slots=True, kw_only=True)
class Fetch:
    """Bytes ``[start, stop)`` of an object on their way; ``stop`` None: to the end.

    Attributes:
        moved: told of bytes that arrived, each once: a range that must begin again is not told twice.
        position: the first byte that is still to come.
        counted: the furthest that it ever was.
        asked: ``stop``, before an answer told where the object ends.
    """

    remote: Remote
    start: int
    stop: int | None
    destination: Destination
    moved: Callable[[int], object] | None = None
    position: int = field(init=False)
    counted: int = field(init=False)
    asked: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.position = self.counted = self.start
        self.asked = self.stop

    async def run(self) -> None:
        """Fetch it, or raise."""
        try:
            await self.remote.session.exchange(self.operation, self.receive, options=self.remote.options)
        except CallbackFailed as carrier:
            failed = carrier.error
        else:
            return
        try:
            raise failed  # out here it is chained to nothing of ours
        finally:
            del failed  # no cycle: its traceback holds this frame

    def operation(self) -> Operation[Answer]:
        """Ask for what is missing of the version that is known; for all of it where nothing pins one."""
        remote, version = self.remote, self.remote.version
        headers = list(remote.headers)
        if self.stop is None or not version.pinned or self.position == self.stop:  # the last: more came than should
            self.position = self.start
        if self.stop is not None and not version.pinned:
            self.stop = self.asked  # it may be of another length by now
        if self.stop is not None:
            headers.append(("Range", range_header(self.position, self.stop)))
        if version.pinned and version.etag is not None and self.stop is not None:
            headers = [(name, value) for name, value in headers if name.lower() != "if-match"]
            headers.append(("If-Match", version.etag))
        return operations.get_object(remote.location, tuple(headers), remote.query)

    async def receive(self, operation: Operation[object], response: httpx.Response, attempt: int) -> None:
        """Take what the answer brings, if it is an answer to the question."""
        if response.status_code in (200, 206):
            await self._take(response, self._understand(response))
        else:
            await self._refused(operation, response, attempt)

    async def _refused(self, operation: Operation[object], response: httpx.Response, attempt: int) -> None:
        await read_whole(response)
        first = not self.remote.version.known.is_set()
        size = parse_unsatisfied(response.headers.get("content-range", ""))
        if response.status_code == 416 and first and not self.start and (self.remote.whole or not size):
            # Only an empty object has no byte 0; but some servers mean that the range goes on behind the end.
            self._learn(response, size=size or 0, untied=bool(size))
            return
        answer = Answer(status=response.status_code, headers=response.headers, body=response.content)
        error = failure(answer, operation.name, operation.location, attempt)
        if response.status_code in (412, 416) and not first:
            raise self.remote.changed(str(error)) from error
        if response.status_code == 416 and size is not None and self.stop is not None:
            raise self.remote.beyond(self.stop, size) from error
        raise error

    def _learn(self, response: httpx.Response, *, size: int | None, whole: bool = False, untied: bool = False) -> None:
        if untied and not self.remote.whole:
            raise NotInRanges(_UNTIED)
        version = self.remote.version
        version.headers = response.headers
        version.etag = response.headers.get("etag")
        version.pinned = is_strong(version.etag)
        version.size = size
        version.whole, version.untied = whole, untied
        version.known.set()

    def _understand(self, response: httpx.Response) -> int | None:
        """Compare the answer with the question; gives the bytes to take from it (None: until it ends)."""
        said = response.headers.get("content-range")
        if said is None:
            return self._understand_whole(response)
        try:
            piece = parse_content_range(said)
        except InvalidResponse as error:
            raise self.remote.nonsense(str(error)) from error
        if piece.total is None or self.stop is None:
            raise self.remote.nonsense(f"Content-Range {said!r} is no answer to the request")
        self._compare(response, piece.total)
        stop = min(self.stop, piece.total)
        if (piece.start, piece.stop) != (self.position, stop):
            raise self.remote.nonsense(f"Content-Range is {said!r}, asked were bytes {self.position}-{self.stop - 1}")
        if length_of(response) not in (None, piece.stop - piece.start):
            raise self.remote.nonsense(f"Content-Length {length_of(response)} contradicts Content-Range {said!r}")
        self.stop = stop
        return 0 if self.remote.version.untied else piece.stop - piece.start

    def _compare(self, response: httpx.Response, total: int) -> None:
        """The first answer says which version is fetched; the others must be of the same one."""
        version = self.remote.version
        etag = response.headers.get("etag")
        if not version.known.is_set() or not version.pinned:
            assert self.stop is not None
            untied = not is_strong(etag) and total > self.stop and not self.remote.alone
            self._learn(response, size=total, untied=untied)
        elif not same_etag(etag, version.etag) or total != version.size:
            raise self.remote.changed(f"its ETag was {version.etag}, now it is {etag}")

    def _understand_whole(self, response: httpx.Response) -> int | None:
        """An answer without Content-Range is the whole object, whatever was asked for."""
        first = not self.remote.version.known.is_set()
        if response.status_code != 200 or self.position != 0 or not (first or self.stop is None):
            raise self.remote.nonsense("the Range header was ignored, or answered without a Content-Range")
        try:
            length = whole_length(response)
        except InvalidResponse as error:
            raise self.remote.nonsense(str(error)) from error
        if not self.remote.whole and (length is None or self.asked is None or length > self.asked):
            raise NotInRanges(_IGNORED)
        self._learn(response, size=length, whole=True)
        self.stop = None
        return length

    async def _take(self, response: httpx.Response, count: int | None) -> None:
        """Take the body, and see that it is as long as it should be."""
        if count == 0:
            return
        reader = raw_reader(response)
        try:
            begin, stop = self.position, None if count is None else self.position + count
            while stop is None or self.position < stop:
                most = None if stop is None else stop - self.position
                got = await self.destination.take(reader, self.position, most)
                if not got:
                    break
                self._moved(got)
            if stop is None:
                self.remote.version.size = self.position
            elif self.position < stop:
                raise self.remote.nonsense(f"the body ended after {self.position - begin} of {count} bytes")
            elif length_of(response) is None:
                await self._expect_end(reader, stop - begin)
        finally:
            await reader.aclose()

    async def _expect_end(self, reader: RawReader, count: int) -> None:
        """All bytes are there: how the answer ends does not matter any more, but that it goes on does."""
        more = 0
        try:
            more = await reader.readinto(memoryview(bytearray(1)))
        except Exception as error:
            if not broke_off(error):
                raise
        if more:
            raise self.remote.nonsense(f"the body is longer than the {count} bytes it should have")

    def _moved(self, count: int) -> None:
        self.position += count
        if self.position > self.counted:
            fresh, self.counted = self.position - self.counted, self.position
            if self.moved is None:
                return
            try:
                self.moved(fresh)
            except Exception as error:
                raise CallbackFailed(error) from error


def replaced(location: Location, how: str) -> PreconditionFailed:
    """The error that says so."""
    return PreconditionFailed(
        f"GetObject {location}: the object was replaced while it was downloaded: {how}",
        status=412,
        code="PreconditionFailed",
        message=how,
        bucket=location.bucket,
        key=location.key,
        operation="GetObject",
    )


def whole_length(response: httpx.Response) -> int | None:
    """Bytes of an answer that brings the whole object; None where its framing alone will tell.

    Raises:
        InvalidResponse: nothing tells where it ends.
    """
    length = length_of(response)
    if length is None and "content-encoding" in response.headers:
        raise InvalidResponse("an encoding was put on the body on its way, and its length is not told")
    if length is None and not _shows_its_end(response):
        raise InvalidResponse("neither a Content-Length nor anything else tells where the body ends")
    return length


def _shows_its_end(response: httpx.Response) -> bool:
    """A body without a length is whole only if its framing says so; a closed connection may as well be a broken one."""
    chunked = "chunked" in response.headers.get("transfer-encoding", "").lower()
    return chunked or response.http_version not in ("HTTP/1.0", "HTTP/1.1")


def length_of(response: httpx.Response) -> int | None:
    """Bytes of the body, as Content-Length tells; None where it does not."""
    text = response.headers.get("content-length")
    return int(text) if text and text.isascii() and text.isdigit() else None
