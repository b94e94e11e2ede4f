"""Where a download's bytes can go in order: open files and async streams. They stay open: they are the caller's."""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .._tasks import in_thread
from ..errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import anyio


class WritableFile(Protocol):
    """An open binary file."""

    def write(self, data: bytes, /) -> int | None:
        """Write some of it; how many bytes."""
        ...


class AsyncWriter(Protocol):
    """Such as :class:`anyio.AsyncFile`, or what :meth:`S3Client.open` gives for ``"wb"``."""

    def write(self, data: bytes, /) -> Awaitable[object]:
        """Take all of it."""
        ...


class AsyncSender(Protocol):
    """Such as :class:`anyio.abc.ByteSendStream`."""

    def send(self, item: bytes, /) -> Awaitable[object]:
        """Take all of it."""
        ...


Sink: TypeAlias = WritableFile | AsyncWriter | AsyncSender


class Taker(Protocol):
    """A sink, whatever its kind."""

    async def take(self, block: bytes) -> None:
        """Take all of it."""
        ...


def taker_of(target: object, limiter: anyio.CapacityLimiter) -> Taker:
    """Whatever the caller gave, as something that takes blocks.

    Raises:
        UsageError: it is nothing that takes bytes.
    """
    wrapped = getattr(target, "wrapped", None) or getattr(target, "file", None)  # anyio.AsyncFile, tempfile's
    if any(
        isinstance(each, io.TextIOBase | codecs.StreamReaderWriter | codecs.StreamWriter) for each in (target, wrapped)
    ):
        raise UsageError("the target is a text file; open it in binary mode")
    write, send = getattr(target, "write", None), getattr(target, "send", None)
    if iscoroutinefunction(write):
        return _Async(write)
    if iscoroutinefunction(send):
        return _Async(send)
    if callable(write):
        return _File(write, limiter, raw=isinstance(target, io.RawIOBase))
    raise UsageError(
        f"the target must be a path, an open binary file, or have an async write or send, not {type(target).__name__}"
    )


@dataclass(slots=True)
class _Async:
    """Something that takes all it is given in its own time, or says how much it took."""

    function: Any

    async def take(self, block: bytes) -> None:
        """See :class:`Taker`."""
        while block:
            block = _rest(block, await self.function(block))


@dataclass(slots=True)
class _File:
    """A file may block, so it is written in a worker thread; a raw one may take less than it is given."""

    write: Any
    limiter: anyio.CapacityLimiter
    raw: bool

    async def take(self, block: bytes) -> None:
        """See :class:`Taker`."""
        await in_thread(self._write, block, limiter=self.limiter)

    def _write(self, block: bytes) -> None:
        while block:
            took = self.write(block)
            if self.raw and took is None:
                raise UsageError("the target's write() would block; give a blocking file")
            block = _rest(block, took)


def _rest(block: bytes, took: object) -> bytes:
    """What is left of a block of which a write says how much it took; whoever says nothing took all."""
    if not isinstance(took, int) or isinstance(took, bool):
        return b""
    if not 0 < took <= len(block):
        raise UsageError(f"the target's write() says that it took {took} of {len(block)} bytes")
    return block[took:]
