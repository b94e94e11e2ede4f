"""Listings: pages, one request each, fetched as they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ..errors import InvalidResponse, UsageError
from ..protocol import operations
from . import arguments
from .base import Family

if TYPE_CHECKING:
    from .._session import Session
    from ..models import ObjectPage
    from ..protocol.address import Location, Query
    from .arguments import ObjectName


class ObjectPages:
    """An async iterator of pages that holds nothing between them: it may be abandoned anywhere.

    Pages without keys and prefixes (some servers send such, with a token) are passed over.
    """

    def __init__(self, session: Session, bucket: Location, query: Query) -> None:
        self._session = session
        self._bucket = bucket
        self._query = query
        self._token: str | None = None
        self._mark: str | None = None
        self._count = 0
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
            if listed.token is not None and listed.token in (self._token, self._mark):
                raise InvalidResponse(f"ListObjectsV2 {self._bucket}: the same page is offered for ever")
            self._token = listed.token
            self._count += 1
            if self._count.bit_count() == 1:  # at powers of two: so every circle is found, however long (Brent)
                self._mark = listed.token
            self._more = listed.token is not None
            if listed.page or listed.page.common_prefixes:
                return listed.page
        raise StopAsyncIteration


class ListMethods(Family):
    """``list_objects_v2``."""

    def list_objects_v2(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        delimiter: str | None = None,
        max_keys: int | None = None,
        start_after: str | None = None,
        encoding_type: str | None = "url",
    ) -> ObjectPages:
        """List a bucket's objects, page by page, in the order of their names (ListObjectsV2).

        ::

            async for page in s3.list_objects_v2("bucket/", prefix="logs/"):
                for obj in page:
                    print(obj.key, obj.size)

        Each page is a list of :class:`~handtruck.AwsObjectMeta` and has ``common_prefixes``; each costs one request.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            prefix: only keys that begin so.
            delimiter: fold keys that share what stands before it, beyond the prefix, into ``common_prefixes``.
            max_keys: keys a page has at most, from 1; servers have limits of their own, 1 000 mostly.
            start_after: only keys that come after this one.
            encoding_type: ``url`` keeps keys intact that XML cannot carry; None for servers that do not know it.

        Raises:
            UsageError: there is no bucket to list.
            S3Error, ConnectionFailed, InvalidResponse: while iterating; InvalidResponse also where the listing
                runs in a circle.
        """
        if max_keys is not None and max_keys < 1:
            raise UsageError(f"max_keys must be at least 1, not {max_keys}")
        given = {
            "delimiter": delimiter,
            "encoding-type": encoding_type,
            "max-keys": None if max_keys is None else str(max_keys),
            "prefix": None if prefix is None else arguments.object_name(prefix),
            "start-after": start_after,
        }
        location = self._session.endpoint.locate_bucket(arguments.object_name(object_name), bucket)
        return ObjectPages(self._session, location, tuple((name, value) for name, value in given.items() if value))
