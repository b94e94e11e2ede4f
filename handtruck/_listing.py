"""Listings: pages, one request each, fetched as they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from .errors import InvalidResponse
from .protocol import operations

if TYPE_CHECKING:
    from ._session import Session
    from .models import ObjectPage
    from .protocol.address import Location, Query


class ObjectPages:
    """An async iterator of pages that holds nothing between them: it may be abandoned anywhere.

    Pages without keys and prefixes (some servers send such, with a token) are passed over.
    """

    def __init__(self, session: Session, bucket: Location, query: Query) -> None:
        self._session = session
        self._bucket = bucket
        self._query = query
        self._token: str | None = None
        self._more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ObjectPage:
        """Fetch the next page.

        Raises:
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the listing runs in a circle.
        """
        while self._more:
            token = (("continuation-token", self._token),) if self._token else ()
            listed = await self._session.perform(operations.list_objects_v2(self._bucket, self._query + token))
            if listed.token is not None and listed.token == self._token:
                raise InvalidResponse(f"ListObjectsV2 {self._bucket}: the same page is offered for ever")
            self._token = listed.token
            self._more = listed.token is not None
            if listed.page or listed.page.common_prefixes:
                return listed.page
        raise StopAsyncIteration
