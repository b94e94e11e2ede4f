"""Whether the bytes that came are the ones that S3 has a checksum of.

::

    HEAD ──▶ the checksum of the whole object, and its ETag ──▶ download of that version ──▶ the same? ──▶ rename

The checksum that an answer to a range has need not be the object's, so it is asked for beforehand, by one more request.
A composite one (``…-N``) is of the parts' checksums, and compared with nothing.

CRCs are summed where the bytes are written, range by range, and combined in the end; what an earlier attempt left is
read again. Hashes cannot be combined: the file is read when it is all there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from .._body import stop_if_cancelled
from ..errors import ChecksumMismatch, InvalidResponse, UsageError
from ..protocol import operations
from ..protocol.checksums import asking, is_strong, read_checksums, same_etag
from ..protocol.crc import combine, combines, encode, new_hasher, require, size_of
from .fetch import replaced

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._session import Session
    from ..models import Checksum, ChecksumAlgorithm
    from ..protocol.address import Location
    from ..protocol.crc import Hasher
    from ..protocol.operations import Headers
    from .download import DownloadPlan
    from .files import FileSink, PositionalFile

_BLOCK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Expected:
    """What S3 knows of the version that is to be fetched.

    Attributes:
        checksum: of all its bytes; None: it knows none.
        etag: its ETag, as the server sent it, if it did.
    """

    checksum: Checksum | None
    etag: str | None

    def tied(self, headers: Headers) -> Headers:
        """A download's headers, that bring this version and no other."""
        if self.checksum is None or self.etag is None or not is_strong(self.etag):
            return headers
        if any(name.lower() == "if-match" for name, _ in headers):
            return headers
        return (*headers, ("If-Match", self.etag))

    def check_version(self, location: Location, etag: str | None) -> None:
        """It was this version that came: some servers ignore If-Match, and say of an empty object nothing but 416.

        Raises:
            PreconditionFailed: it was another one.
        """
        if self.checksum is not None and None not in (self.etag, etag) and not same_etag(self.etag, etag):
            raise replaced(location, f"its ETag was {self.etag}, now it is {etag}")


async def ask(session: Session, plan: DownloadPlan) -> Expected:
    """Ask for the checksum of an object. One billed request.

    Raises:
        UsageError: there is one, but what computes it is not installed.
        S3Error, ConnectionFailed, InvalidResponse.
    """
    location, options = plan.location, replace(plan.options, attempts=plan.tries)
    head = operations.head_object(location, asking(plan.headers), plan.query)
    answer = await session.perform(head, options=options)
    try:
        told = read_checksums(answer.headers)
    except InvalidResponse as error:
        raise InvalidResponse(f"HeadObject {location}: {error}") from error
    whole = [checksum for checksum in told if checksum.type == "FULL_OBJECT"]
    return Expected(_computable(whole), answer.headers.get("etag"))


def _computable(checksums: list[Checksum]) -> Checksum | None:
    """The first one that can be computed here; they are in the order of what they cost."""
    missing: UsageError | None = None
    for checksum in checksums:
        try:
            require(checksum.algorithm)
        except UsageError as error:
            missing = error
        else:
            return checksum
    if missing is not None:
        raise missing
    return None


def check(location: Location, expected: Checksum, value: str) -> None:
    """The bytes have the checksum that they should have.

    Raises:
        ChecksumMismatch: they have not.
    """
    if value != expected.value:
        raise ChecksumMismatch(
            f"GetObject {location}: the {expected.algorithm} of the bytes that came is {value}, "
            f"S3 has stored {expected.value}"
        )


@dataclass(slots=True, eq=False)
class _Piece:
    stop: int
    hasher: Hasher


@dataclass(slots=True)
class Tally:
    """The CRCs of a file's pieces, by their offsets, in whatever order they are written; the last that was counts.

    Each piece is written by one thread at a time, from its beginning on.
    """

    algorithm: ChecksumAlgorithm
    pieces: dict[int, _Piece] = field(default_factory=dict)

    def sink(self, sink: FileSink) -> Callable[[memoryview], object]:
        """Writes as ``sink`` does, and sums what it writes."""
        if not combines(self.algorithm):
            return sink
        piece = self.pieces[sink.offset] = _Piece(sink.offset, new_hasher(self.algorithm))

        def write(block: memoryview) -> None:
            sink(block)
            piece.hasher.update(block)
            piece.stop = sink.offset

        return write

    def total(self, file: PositionalFile, size: int) -> str:
        """Of all ``size`` bytes; those that no piece tells of are read. It blocks."""
        if not combines(self.algorithm):
            return encode(self._read(file, 0, size))
        whole, position = 0, 0
        for start in (*sorted(start for start in self.pieces if start < size), size):
            stop_if_cancelled()  # of a TiB there are half a million, which take 10 s
            if start > position:  # a gap
                whole = self._append(whole, self._read(file, position, start), start - position)
                position = start
            piece = self.pieces.get(start)
            if piece is not None and start == position < piece.stop <= size:
                whole = self._append(whole, piece.hasher.digest(), piece.stop - start)
                position = piece.stop
        return encode(whole.to_bytes(size_of(self.algorithm), "big"))

    def settle(self, file: PositionalFile, size: int, expected: Checksum) -> str:
        """See :meth:`total`; before it says that the file is another one than expected, it reads all of it."""
        found = self.total(file, size)
        return found if found == expected.value else encode(self._read(file, 0, size))

    def _append(self, whole: int, digest: bytes, length: int) -> int:
        return combine(self.algorithm, whole, int.from_bytes(digest, "big"), length)

    def _read(self, file: PositionalFile, start: int, stop: int) -> bytes:
        hasher, block = new_hasher(self.algorithm), bytearray(_BLOCK)
        for offset in range(start, stop, _BLOCK):
            stop_if_cancelled()
            view = memoryview(block)[: min(_BLOCK, stop - offset)]
            hasher.update(view[: file.read_into(view, offset)])
        return hasher.digest()
