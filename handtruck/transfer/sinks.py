"""Where a download's bytes can go in order: open files and async streams. They stay open: they are the caller's."""

from __future__ import annotations

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
    if isinstance(target, io.TextIOBase):
        raise UsageError("the target is a text file; open it in binary mode")
    write, send = getattr(target, "write", None), getattr(target, "send", None)
    if iscoroutinefunction(write):
        return _Async(write)
    if iscoroutinefunction(send):
        return _Async(send)
    if callable(write):
        return _File(write, limiter)
    raise UsageError(
        f"the target must be a path, an open binary file, or have an async write or send, not {type(target).__name__}"
    )


@dataclass(slots=True)
class _Async:
    """Something that takes all it is given, in its own time."""

    function: Any

    async def take(self, block: bytes) -> None:
        """See :class:`Taker`."""
        await self.function(block)


@dataclass(slots=True)
class _File:
    """A file may block, so it is written in a worker thread; a raw one may take less than it is given."""

    write: Any
    limiter: anyio.CapacityLimiter

    async def take(self, block: bytes) -> None:
        """See :class:`Taker`."""
        await in_thread(self._write, block, limiter=self.limiter)

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            written = self.write(rest)
            if written is None or not 0 < written <= len(rest):
                raise UsageError(f"the target's write() took {written!r} of {len(rest)} bytes; is it non-blocking?")
            rest = rest[written:]
