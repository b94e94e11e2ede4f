"""Where a download's bytes can go in order: open files and async streams. They stay open: they are the caller's."""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass, field
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from .._tasks import in_thread, own_thread
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


def taker_of(target: object) -> Taker:
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
        return _Taker(write, awaited=True)
    if iscoroutinefunction(send):
        return _Taker(send, awaited=True)
    if callable(write) and not hasattr(target, "drain"):  # asyncio's StreamWriter belongs to its loop's thread
        return _Taker(write, raw=isinstance(target, io.RawIOBase))
    raise UsageError(
        f"the target must be a path, an open binary file, or have an async write or send, not {type(target).__name__}"
    )


@dataclass(slots=True)
class _Taker:
    """Calls a function until all of a block is taken: a file's in a worker thread, because it may block.

    What is no coroutine function may give something to await all the same: then it is called on the loop from then on.
    """

    function: Any
    awaited: bool = False
    raw: bool = False
    thread: anyio.CapacityLimiter = field(default_factory=own_thread)

    async def take(self, block: bytes) -> None:
        """See :class:`Taker`."""
        while block:
            block = _rest(block, await self._call(block))

    async def _call(self, block: bytes) -> object:
        if self.awaited:
            return await self.function(block)
        [took] = await in_thread(self._called, block, limiter=self.thread)
        if isawaitable(took):
            self.awaited = True
            return await took
        if self.raw and took is None:
            raise UsageError("the target's write() would block; give a blocking file")
        return took

    def _called(self, block: bytes) -> list[Any]:
        return [self.function(block)]  # trio takes no coroutine back from a thread


def _rest(block: bytes, took: object) -> bytes:
    """What is left of a block of which a write says how much it took; whoever says nothing took all."""
    if not isinstance(took, int) or isinstance(took, bool):
        return b""
    if not 0 < took <= len(block):
        raise UsageError(f"the target's write() says that it took {took} of {len(block)} bytes")
    return block[took:]
