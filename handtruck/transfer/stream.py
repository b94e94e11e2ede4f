"""One answer of GetObject, read as it comes.

::

    caller's task   enter ─────▶ facts ─▶ read, read, read ─▶ leave
    child task      exchange ─▶ head ┊ waits: place and connection are the caller's ┊ closes the answer

The child carries out an ordinary exchange, with its retries and its place on the wire, and hands over the answer that
will do. From then on nothing is repeated: bytes that the caller has can not be taken back.
"""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BytesIO
from typing import TYPE_CHECKING, Final, Self

import anyio
import httpx
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from ..errors import InvalidResponse, S3Error, UsageError
from ..protocol import operations
from ..protocol.answers import Answer, failure
from ..protocol.parts import MIB, parse_content_range, range_header
from ..transport.foreign import ours_for
from ..transport.reading import raw_reader, read_whole
from .companions import Companions, cut_off
from .fetch import length_of, whole_length

if TYPE_CHECKING:
    from types import TracebackType

    from .._attempt import Options
    from .._session import Session
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers, Operation
    from ..transport.reading import RawReader

BLOCK: Final = 256 * 1024
_META: Final = "x-amz-meta-"


def check_object(location: Location, headers: Headers, instead: str) -> None:
    """Refuse what names no object, and a Range that is not ours.

    Raises:
        UsageError.
    """
    if not location.key:
        raise UsageError(f"{str(location)!r} names no object: write bucket/key")
    if any(name.lower() == "range" for name, _ in headers):
        raise UsageError(f"the Range header is handtruck's own here; {instead}")


def room_for(size: int) -> BytesIO:
    """Memory for so many bytes, to be written to: its value is given without another copy if they all come."""
    room = BytesIO()
    if size:
        room.seek(size - 1)
        room.write(b"\0")
        room.seek(0)
    return room


class ObjectFacts:
    """What the headers of an answer say of its object. Known inside the ``async with`` block, and after it."""

    _headers: httpx.Headers | None = None

    @property
    def headers(self) -> httpx.Headers:
        """All of the answer's.

        Raises:
            UsageError: nobody has asked yet.
        """
        if self._headers is None:
            raise UsageError("what the object is, is known inside the `async with` block")
        return self._headers

    @property
    def etag(self) -> str | None:
        """As the server sent it."""
        etag: str | None = self.headers.get("etag")
        return etag

    @property
    def content_type(self) -> str | None:
        """The media type that was stored with it."""
        kind: str | None = self.headers.get("content-type")
        return kind

    @property
    def last_modified(self) -> datetime | None:
        """Time-zone aware; None where the server does not tell, or not in HTTP's words."""
        try:
            time = parsedate_to_datetime(self.headers.get("last-modified", ""))
        except ValueError:
            return None
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    @property
    def metadata(self) -> dict[str, str]:
        """What was stored with it as ``x-amz-meta-…``: by name, in lower case, without that prefix."""
        pairs = self.headers.items()
        return {name.lower()[len(_META) :]: value for name, value in pairs if name.lower().startswith(_META)}


class ObjectStream(ObjectFacts):
    """An object's bytes as they come, made by :meth:`handtruck.S3Client.stream`.

    Iterating yields blocks of 256 KiB, the last one shorter. Any task may read, one at a time. A read that is cancelled
    in the middle breaks the stream: what came of it is lost.

    Attributes:
        start: the first byte that comes.
        stop: the one behind the last, or None until that is known.
        size: bytes of the whole object, or None until that is known.
    """

    def __init__(
        self,
        session: Session,
        location: Location,
        headers: Headers,
        byte_range: tuple[int, int | None] | None,
        options: Options,
        query: Query = (),
    ) -> None:
        start, stop = (0, None) if byte_range is None else byte_range
        check_object(location, headers, "use byte_range=")
        self.start: int = start
        self.stop: int | None = stop
        self.size: int | None = None
        self._most = stop
        self._session = session
        self._location = location
        self._sent = headers
        self._query = query
        self._options = options
        self._doing = f"GetObject {location} at {session.endpoint.authority}"
        self._companions = Companions()
        self._guard = anyio.ResourceGuard("reading from")
        self._scope: anyio.CancelScope  # to be made inside an event loop
        self._arrived = anyio.Event()
        self._over = anyio.Event()
        self._used = self._open = False
        self._response: httpx.Response | None = None
        self._reader: RawReader | None = None
        self._failed: BaseException | None = None
        self._position = start
        self._block: bytearray | None = None

    async def __aenter__(self) -> Self:
        """Ask for it, and wait until its head is here."""
        if self._used:
            raise UsageError("a stream is entered once; ask for another")
        self._used = True
        self._scope = anyio.CancelScope()
        await self._companions.enter()
        try:
            self._companions.start_soon(self._perform)
            await self._arrived.wait()
            if self._failed is not None:
                await checkpoint_if_cancelled()  # whoever was cut off together with us
                raise self._failed
        except BaseException as error:
            await self._leave(error)
            raise
        self._open = True
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        self._open = False
        self._failed = None
        self._over.set()
        if self._response is None:
            self._scope.cancel()
        try:
            await self._companions.leave(error)
        finally:
            del error

    # -- The child: asks, hands over, waits, closes

    async def _perform(self) -> None:
        try:
            with self._scope:
                await self._ask_or_find_it_empty()
        except Exception as error:  # noqa: BLE001 - whoever waits for the head raises it
            self._failed = error
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                raise
            self._failed = error  # nobody cancelled us: what the request awaited was cancelled
        finally:
            self._arrived.set()

    async def _ask_or_find_it_empty(self) -> None:
        try:
            await self._ask()
        except S3Error as error:
            if error.status != 416 or self.start or self._most is None:
                raise
            await self._ask(ranged=False)  # only an empty object has no byte 0; asked without a range it tells the rest

    async def _ask(self, *, ranged: bool = True) -> None:
        headers = self._sent
        if ranged and (self.start or self._most is not None):
            headers = (*headers, ("Range", range_header(self.start, self._most)))
        operation = operations.get_object(self._location, headers, self._query)
        await self._session.exchange(lambda: operation, self._receive, options=self._options)

    async def _receive(self, operation: Operation[object], response: httpx.Response, attempt: int) -> None:
        if response.status_code not in (200, 206):
            await read_whole(response)
            answer = Answer(status=response.status_code, headers=response.headers, body=response.content)
            raise failure(answer, operation.name, operation.location, attempt)
        self._understand(response)
        self._reader = raw_reader(response)
        self._response = response
        self._headers = response.headers
        if self.start == self.stop:
            self._over.set()
        self._arrived.set()
        try:
            await self._over.wait()
        except anyio.get_cancelled_exc_class():
            self._failed = self._failed or cut_off()
            raise
        finally:
            await self._reader.aclose()
            with anyio.CancelScope(shield=True), suppress(Exception):  # an error here would have it all repeated
                await response.aclose()

    def _understand(self, response: httpx.Response) -> None:
        """Compare the answer with the question."""
        said = response.headers.get("content-range")
        try:
            if said is None:
                self._understand_whole(response)
            else:
                self._understand_range(response, said)
        except InvalidResponse as error:
            raise self._nonsense(str(error)) from error

    def _understand_whole(self, response: httpx.Response) -> None:
        length = whole_length(response) if response.status_code == 200 else None
        ignored = self.start > 0 or (self._most is not None and (length is None or length > self._most))
        if response.status_code != 200 or ignored:
            raise InvalidResponse("the Range header was ignored, or answered without a Content-Range")
        self.size = self.stop = length

    def _understand_range(self, response: httpx.Response, said: str) -> None:
        piece = parse_content_range(said)
        most = self._most
        to_its_end = piece.stop == piece.total and (most is None or most > piece.stop)
        if piece.start != self.start or not (to_its_end or piece.stop == most):
            asked = f"{self.start}-{'' if most is None else most - 1}"
            raise InvalidResponse(f"Content-Range is {said!r}, asked were bytes {asked}")
        if length_of(response) not in (None, piece.stop - piece.start):
            raise InvalidResponse(f"Content-Length {length_of(response)} contradicts Content-Range {said!r}")
        self.size, self.stop = piece.total, piece.stop

    def _nonsense(self, what: str) -> InvalidResponse:
        return InvalidResponse(f"GetObject {self._location}: {what}")

    # -- The caller: reads

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """The next block. Errors: :meth:`readinto`."""
        with self._guard:
            self._block = self._block or bytearray(BLOCK)
            view = memoryview(self._block)
            got = await self._fill(view)
            if not got:
                raise StopAsyncIteration
            return bytes(view[:got])

    async def read(self, n: int = -1) -> bytes:
        """The next ``n`` bytes, or all that are left; fewer only at the end, none behind it. Errors: :meth:`readinto`.

        Memory: what it returns, and 1 MiB.
        """
        with self._guard:
            taken = BytesIO()
            view = memoryview(bytearray(min(MIB, n if n >= 0 else MIB, self._left())))
            while True:
                left = len(view) if n < 0 else n - taken.tell()
                got = await self._fill(view[:left])
                taken.write(view[:got])
                if not got or taken.tell() == n:
                    return taken.getvalue()

    async def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill ``buffer`` with the next bytes; gives how many, fewer only at the end, 0 behind it.

        Raises:
            ConnectionFailed: the connection broke, or the body ended too early.
            InvalidResponse: the body is not as long as was promised.
            UsageError: the block is over, or an earlier read was cancelled in the middle.
            anyio.BusyResourceError: another task is reading.
        """
        view, got = memoryview(buffer).cast("B"), 0
        with self._guard:
            while count := await self._fill(view[got:]):
                got += count
                if got == len(view):
                    break
            return got

    def _left(self) -> int:
        return MIB if self.stop is None else self.stop - self._position

    async def _fill(self, view: memoryview) -> int:
        if not self._open:
            raise UsageError("a stream is read inside its `async with` block")
        if self._failed is not None:
            await checkpoint_if_cancelled()  # whoever was cut off together with us
            raise self._failed
        if self.stop is not None:
            view = view[: self._left()]
        if self._over.is_set() or not len(view):
            await self._nothing()
            return 0
        got = await self._carefully(view)
        self._position += got
        assert self._response is not None
        if self._position == self.stop and length_of(self._response) is not None:
            self._over.set()
        elif not got and self.stop is None:
            self.size = self.stop = self._position
            self._over.set()
        return got

    async def _nothing(self) -> None:
        """All bytes are there: how the answer ends does not matter any more, but that it goes on does."""
        await checkpoint()
        if self._over.is_set() or self._position != self.stop:
            return
        assert self._reader is not None
        more = 0
        with suppress(Exception):
            more = await self._reader.readinto(memoryview(bytearray(1)))
        self._over.set()
        if more:
            promised = self._position - self.start
            self._failed = self._nonsense(f"the body is longer than the {promised} bytes it should have")
            raise self._failed

    async def _carefully(self, view: memoryview) -> int:
        """Some bytes; what stands in the way is remembered, and what httpx raises becomes ours."""
        assert self._reader is not None
        try:
            got = await self._reader.readinto(view)
            if not got and self.stop is not None:
                came, promised = self._position - self.start, self.stop - self.start
                raise self._nonsense(f"the body ended after {came} of {promised} bytes")
        except Exception as error:
            await checkpoint_if_cancelled()  # whoever is cancelled with us may have closed the connection under us
            ours = ours_for(error, self._doing, self._bare())
            self._failed = ours or error
            self._over.set()
            if ours is None:
                raise
            raise ours from error
        except BaseException:
            self._failed = UsageError(f"{self._doing}: a read was cancelled in the middle; what came of it is lost")
            self._over.set()
            raise
        return got

    def _bare(self) -> httpx.Request:
        return httpx.Request("GET", self._session.endpoint.origin + self._location.path)
