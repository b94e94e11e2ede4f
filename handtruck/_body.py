"""Request bodies: every one knows its length and its hash, and can be sent again from the start."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Protocol, Self

import anyio
import anyio.from_thread
import httpx

from .models.checksums import Checksum
from .protocol.checksums import EMPTY_SHA256, UNSIGNED_PAYLOAD
from .protocol.crc import encode, new_hasher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .models.checksums import ChecksumAlgorithm

SLICE: Final = 256 * 1024
"""What one write hands to the connection: large bodies are not copied as a whole."""

SMALL: Final = 128 * 1024
"""Hashed on the spot: under half a millisecond. More goes to a worker thread."""

_HASHED_AT_ONCE: Final = 4 * 1024 * 1024  # 3 to 12 ms: what a cancellation waits for


class Body(Protocol):
    """What a request carries."""

    @property
    def length(self) -> int:
        """Bytes."""
        ...

    @property
    def payload_hash(self) -> str:
        """Hex SHA-256, or ``UNSIGNED-PAYLOAD``."""
        ...

    def stream(self) -> httpx.AsyncByteStream:
        """The bytes, from the first one on; a new stream for every attempt."""
        ...


@dataclass(frozen=True, slots=True)
class BytesBody:
    """A body in memory; never changed, never copied as a whole.

    Attributes:
        threads: it is worth them to send it, and it is sent inside :func:`handtruck._tasks.isolated`.
    """

    view: memoryview
    payload_hash: str
    threads: anyio.CapacityLimiter | None = field(default=None, kw_only=True)

    @property
    def length(self) -> int:
        """Bytes."""
        return len(self.view)

    def stream(self) -> httpx.AsyncByteStream:
        """The memory."""
        return ViewStream(self.view, self.threads)


@dataclass(frozen=True, slots=True)
class SummedBody(BytesBody):
    """… whose checksum is known, and goes ahead of it."""

    checksum: Checksum


class ViewStream(httpx.AsyncByteStream):
    """Memory that is to be sent: our transport takes ``view`` as it is, others get copies, slice by slice.

    No async generator: one that a cancelled request abandons is left to the event loop to finish.
    """

    def __init__(self, view: memoryview, threads: anyio.CapacityLimiter | None = None) -> None:
        self.view: memoryview = view
        self.threads: anyio.CapacityLimiter | None = threads

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _SliceIterator(self.view)

    def forget(self) -> None:
        """It was sent, or given up: whoever keeps this keeps no memory of the caller's."""
        self.view = memoryview(b"")


class _SliceIterator:
    def __init__(self, view: memoryview) -> None:
        self._rest = view

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not len(self._rest):
            raise StopAsyncIteration
        block, self._rest = bytes(self._rest[:SLICE]), self._rest[SLICE:]
        return block


NO_BODY: Final = BytesBody(memoryview(b""), EMPTY_SHA256)


def flat(data: bytes | bytearray | memoryview) -> memoryview:
    """The bytes of any bytes-like object, without a copy where its memory is contiguous."""
    view = memoryview(data)
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def hash_view(view: memoryview) -> str:
    """Hex SHA-256; lets other threads run meanwhile, and ends early where nobody waits for it any more."""
    digest = sha256(view[:_HASHED_AT_ONCE])
    for start in range(_HASHED_AT_ONCE, len(view), _HASHED_AT_ONCE):
        stop_if_cancelled()
        digest.update(view[start : start + _HASHED_AT_ONCE])
    return digest.hexdigest()


def sum_view(view: memoryview, algorithm: ChecksumAlgorithm) -> Checksum:
    """The checksum; lets go as :func:`hash_view` does."""
    hasher = new_hasher(algorithm)
    for start in range(0, len(view), _HASHED_AT_ONCE):
        if start:
            stop_if_cancelled()
        hasher.update(view[start : start + _HASHED_AT_ONCE])
    return Checksum(algorithm=algorithm, value=encode(hasher.digest()))


def body_of(
    view: memoryview, payload_hash: str | None, algorithm: ChecksumAlgorithm | None, *, hashed: bool = True
) -> BytesBody:
    """Memory as a body: hashed unless that is known or not wanted, summed where that is."""
    if payload_hash is None:
        payload_hash = hash_view(view) if hashed or not len(view) else UNSIGNED_PAYLOAD
    return (
        BytesBody(view, payload_hash)
        if algorithm is None
        else SummedBody(view, payload_hash, sum_view(view, algorithm))
    )


def stop_if_cancelled() -> None:
    """In a worker thread: raise if the task that waits for it was cancelled. Elsewhere there is no such task."""
    with suppress(anyio.NoEventLoopError):
        anyio.from_thread.check_cancelled()
