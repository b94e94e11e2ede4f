"""A walk over prefixes, as os.walk walks directories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ..models import Folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..models import ObjectPage


class Walk:
    """An async iterator of :class:`~handtruck.Folder`, made by :meth:`handtruck.S3Client.walk`.

    It holds nothing between them but values: it may be abandoned anywhere. A step that is cancelled, or fails, goes on
    where it was when the next is asked for.
    """

    def __init__(self, pages_of: Callable[[str], AsyncIterator[ObjectPage]], prefix: str) -> None:
        self._pages_of = pages_of
        self._todo = [prefix]
        self._folder: Folder | None = None
        self._pages: AsyncIterator[ObjectPage] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Folder:
        """List the next folder; at least one request.

        Raises:
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the listing has no end.
        """
        if self._pages is None or self._folder is None:
            if self._folder is not None:
                self._todo.extend(reversed(self._folder.prefixes))  # as the caller has left them
                self._folder = None
            if not self._todo:
                raise StopAsyncIteration
            self._folder = Folder(self._todo.pop(), [], [])
            self._pages = self._pages_of(self._folder.prefix)
        async for page in self._pages:
            self._folder.prefixes.extend(page.common_prefixes)
            self._folder.objects.extend(page)
        self._pages = None
        return self._folder
