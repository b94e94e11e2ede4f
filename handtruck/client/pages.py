"""Listings page by page: iterators that hold nothing between pages but values, and may be abandoned anywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import TYPE_CHECKING, Final, Generic, Protocol, Self, TypeVar

from ..errors import InvalidResponse, UsageError
from ..protocol import operations
from . import arguments

if TYPE_CHECKING:
    from .._session import Session
    from ..models import ObjectPage, VersionPage
    from ..protocol.address import Location, Query
    from ..protocol.operations import Headers
    from .arguments import ObjectName


class _Page(Protocol):
    common_prefixes: tuple[str, ...]

    def __len__(self) -> int: ...


AUTO: Final = "auto"
"""The encoding type where the caller leaves it to us: by the server's quirks."""

Page = TypeVar("Page", bound=_Page)
Marker = TypeVar("Marker")
T = TypeVar("T")


class Pages(ABC, Generic[Page, Marker]):
    """An async iterator of pages that holds nothing between them: it may be abandoned anywhere.

    Pages without keys and prefixes (some servers send such, with a marker) are passed over.
    """

    def __init__(self, session: Session, bucket: Location, query: Query, headers: Headers = ()) -> None:
        self._session = session
        self._bucket = bucket
        self._query = query
        self._headers = headers
        self._begin: Marker | None = None
        self._mile: Marker | None = None
        self._count = 0
        self._more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Page:
        """Fetch the next page.

        Raises:
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the listing runs in a circle.
        """
        await self._session.ready()
        while self._more:
            page, begin = await self._fetch(self._begin)
            if begin is not None and begin in (self._begin, self._mile):
                raise InvalidResponse(f"{self._doing} {self._bucket}: the same page is offered for ever")
            self._begin = begin
            self._count += 1
            if self._count.bit_count() == 1:  # at powers of two: so every circle is found, however long (Brent)
                self._mile = begin
            self._more = begin is not None
            if len(page) or page.common_prefixes:
                return page
        raise StopAsyncIteration

    _doing: str

    def _asked(self, begin: tuple[tuple[str, str], ...] = ()) -> Query:
        """What is asked for, from ``begin`` on where that is given; keys url-encoded, if the server knows that."""
        names = {name for name, _ in begin}
        query = tuple(pair for pair in self._query if pair[0] not in names) + begin
        if ("encoding-type", AUTO) not in query:
            return query
        others = tuple(pair for pair in query if pair[0] != "encoding-type")
        return (*others, ("encoding-type", "url")) if self._session.quirks.encoded_lists else others

    @abstractmethod
    async def _fetch(self, begin: Marker | None) -> tuple[Page, Marker | None]:
        """The page that begins there, and where the next one does (None: this was the last)."""


class ObjectPages(Pages["ObjectPage", str]):
    """Pages of objects, by the version of the call that the server knows."""

    async def _fetch(self, begin: str | None) -> tuple[ObjectPage, str | None]:
        if self._session.quirks.list_version == 1:
            query = self._asked(() if begin is None else (("marker", begin),))
            operation = operations.list_objects(self._bucket, query, self._headers)
        else:
            query = self._asked(() if begin is None else (("continuation-token", begin),))
            operation = operations.list_objects_v2(self._bucket, query, self._headers)
        self._doing = operation.name
        listed = await self._session.perform(operation)
        return listed.page, listed.token


class VersionPages(Pages["VersionPage", tuple[str, str]]):
    """Pages of versions."""

    _doing = "ListObjectVersions"

    async def _fetch(self, begin: tuple[str, str] | None) -> tuple[VersionPage, tuple[str, str] | None]:
        markers = () if begin is None else (("key-marker", begin[0]), ("version-id-marker", begin[1]))
        query = tuple(pair for pair in self._asked(markers) if pair != ("version-id-marker", ""))
        operation = operations.list_object_versions(self._bucket, query, self._headers)
        listed = await self._session.perform(operation)
        return listed.page, listed.next


class Flat(AsyncIterator[T]):
    """An async iterator of what is on some pages, one by one; it holds a page of values, and may be abandoned."""

    def __init__(self, pages: AsyncIterator[Iterable[T]]) -> None:
        self._pages = pages
        self._page: Iterator[T] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Give the next one; one request for each page of them. Errors: those of the pages."""
        while True:
            for one in self._page:
                return one
            self._page = iter(await anext(self._pages))


class Below:
    """Pages that are listed with a delimiter, whose prefixes shall be listed in their turn.

    Each must be longer than the one it was found at, or that would have no end.
    """

    def __init__(self, prefix: str, pages: ObjectPages) -> None:
        self._prefix = prefix
        self._pages = pages

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectPage:
        """The next page. Errors: :meth:`Pages.__anext__`."""
        page = await anext(self._pages)
        for found in page.common_prefixes:
            if not found.startswith(self._prefix) or found == self._prefix:
                raise InvalidResponse(f"ListObjects: {found!r} is listed as a prefix below {self._prefix!r}")
        return page


def pages_query(
    *,
    prefix: ObjectName | None = None,
    delimiter: str | None = None,
    max_keys: int | None = None,
    **others: str | None,
) -> Query:
    """What a listing asks for; without what is not given. ``others``: by S3's names, with ``_`` for ``-``.

    Raises:
        UsageError: ``max_keys`` is below 1.
    """
    if max_keys is not None and max_keys < 1:
        raise UsageError(f"max_keys must be at least 1, not {max_keys}")
    given = {
        "delimiter": delimiter,
        "max-keys": None if max_keys is None else str(max_keys),
        "prefix": None if prefix is None else arguments.object_name(prefix),
        **{name.replace("_", "-"): value for name, value in others.items()},
    }
    return tuple((name, value) for name, value in sorted(given.items()) if value)
