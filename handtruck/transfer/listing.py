"""A listing by several requests at once: a prefix is divided where its keys have a delimiter.

::

    todo: prefixes ──▶ workers: page after page ──▶ ready: pages ──▶ the caller's ``async for``
          ▲                  │ few are left to do: listed with the delimiter, so that
          └──────────────────┘ what it folds becomes work of its own; else flat

*Cost.* A prefix is divided only while there is less to do than there are workers: of many small folders most are
listed by one request each, of few large ones all workers have something to do.

*Memory.* Pages: one for each worker, as many that wait for the caller, and the one that the caller has. Prefixes: of a
level that is divided only a page of them is known at a time, and its next page comes after those.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from ..errors import UsageError
from .companions import Companions, cut_off
from .workers import run_workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable
    from types import TracebackType

    from ..models import AwsObjectMeta, ObjectPage

PagesOf: TypeAlias = "Callable[[str, bool], AsyncIterator[ObjectPage]]"
"""The pages below a prefix; True: with the delimiter, so that they have prefixes, each longer than this one."""


@dataclass(slots=True)
class _Level:
    """What is below a prefix, and how far that is listed.

    Attributes:
        pages: those still to come; None: it has not been begun.
        divided: they have prefixes, which are levels of their own.
    """

    prefix: str
    pages: AsyncIterator[ObjectPage] | None = None
    divided: bool = False


class ParallelListing:
    """The objects of a listing in no particular order, made by :meth:`handtruck.S3Client.list_objects_parallel`.

    Inside its ``async with`` block it is an async iterator of :class:`~handtruck.AwsObjectMeta`. Any task may take from
    it; one that is cancelled while it waits has taken nothing.
    """

    def __init__(self, pages_of: PagesOf, prefix: str, workers: int) -> None:
        self._pages_of = pages_of
        self._workers = workers
        self._todo: deque[_Level] = deque([_Level(prefix)])
        self._busy = 0
        self._ready: deque[ObjectPage] = deque()
        self._page: deque[AwsObjectMeta] = deque()
        self._companions = Companions()
        self._scope: anyio.CancelScope  # to be made inside an event loop
        self._change: anyio.Event
        self._failed: BaseException | None = None
        self._used = self._open = self._over = False

    async def __aenter__(self) -> Self:
        """Begin to list."""
        if self._used:
            raise UsageError("a listing is entered once; ask for another")
        self._used = True
        self._scope, self._change = anyio.CancelScope(), anyio.Event()
        await self._companions.enter()
        self._companions.start_soon(self._perform)
        self._open = True
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self._open = False
        self._failed = None
        self._page.clear()
        self._ready.clear()
        self._scope.cancel()
        self._stir()
        try:
            await self._companions.leave(error)
        finally:
            self._failed = None
            del error  # no cycle: its traceback may hold this frame

    # -- The caller takes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AwsObjectMeta:
        """Give the next object.

        Raises:
            UsageError: the block has not begun, or is over.
            S3Error: S3 says no to one of the requests; the others have been cancelled.
            ConnectionFailed: there was no answer.
            InvalidResponse: an answer makes no sense, or the listing runs in a circle.
        """
        while self._open and self._failed is None:
            if self._page:
                return self._page.popleft()
            await checkpoint()  # a page is 1 000 objects: now the others
            if self._page:
                continue  # another task was here
            if self._ready:
                self._page.extend(self._ready.popleft())
                self._stir()
            elif self._over:
                raise StopAsyncIteration
            elif self._failed is None:
                await self._change.wait()
        await checkpoint_if_cancelled()  # whoever was cut off together with us
        if self._failed is not None:
            raise self._failed
        raise UsageError("a parallel listing is read inside its `async with` block")

    # -- The child lists

    def _stir(self) -> None:
        """Something has changed: whoever waits is to look again."""
        change, self._change = self._change, anyio.Event()
        change.set()

    async def _perform(self) -> None:
        try:
            with self._scope:
                await run_workers(self._levels(), self._list, workers=self._workers, slots=self._workers)
            self._over = True
        except Exception as error:  # noqa: BLE001 - whoever takes from us raises it
            self._failed = error
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                self._failed = cut_off()
                raise
            self._failed = error  # nobody cancelled us: what a request awaited was cancelled
        finally:
            self._stir()

    async def _levels(self) -> AsyncGenerator[_Level, None]:
        """What is to be listed, until nothing is and nobody can find any more."""
        while True:
            if self._todo:
                self._busy += 1
                yield self._todo.popleft()
            elif self._busy:
                await self._change.wait()
            else:
                return

    async def _list(self, level: _Level) -> None:
        """List a level to its end, or, where it is divided, one page of it; the rest comes after what was found."""
        if level.pages is None:
            level.divided = len(self._todo) < self._workers
            level.pages = self._pages_of(level.prefix, level.divided)
        async for page in level.pages:
            self._todo.extend(_Level(prefix) for prefix in page.common_prefixes)
            if level.divided:
                self._todo.append(level)
                self._stir()
            await self._deliver(page)
            if level.divided:
                break
        self._busy -= 1
        self._stir()

    async def _deliver(self, page: ObjectPage) -> None:
        """Wait until there is room for a page."""
        while len(self._ready) >= self._workers:
            await self._change.wait()
        if page:
            self._ready.append(page)
            self._stir()
