"""Listings of objects: in pages, flat, folder by folder, and by many requests at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack

from ..errors import UsageError
from ..protocol import options as names_of
from ..transfer.listing import ParallelListing
from . import arguments
from .base import Family
from .pages import AUTO, Below, Flat, ObjectPages, pages_query
from .walking import Walk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..models import AwsObjectMeta, ObjectPage
    from ..protocol.address import Location
    from ..protocol.options import CommonOptions
    from .arguments import ObjectName

DEFAULT_LISTERS: Final = 8
"""Listings at once: more gains little where an answer of 1 000 objects takes longer to read than to wait for."""


class ListMethods(Family):
    """``list_objects_v2 iter_objects walk list_objects_parallel``."""

    def list_objects_v2(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        delimiter: str | None = None,
        max_keys: int | None = None,
        start_after: str | None = None,
        fetch_owner: bool = False,
        encoding_type: str | None = AUTO,
        **options: Unpack[CommonOptions],
    ) -> ObjectPages:
        """List a bucket's objects, page by page, in the order of their names (ListObjectsV2).

        ::

            async for page in s3.list_objects_v2("bucket/", prefix="logs/"):
                for obj in page:
                    print(obj.key, obj.size)

        Each page is a list of :class:`~handtruck.AwsObjectMeta` and has ``common_prefixes``; each costs one request.
        It is no snapshot: what is written or deleted meanwhile may be listed or not.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            prefix: only keys that begin so.
            delimiter: fold keys that share what stands before it, beyond the prefix, into ``common_prefixes``.
            max_keys: keys a page has at most, from 1; servers have limits of their own, 1 000 mostly.
            start_after: only keys that come after this one.
            fetch_owner: tell each object's owner, where the server knows.
            encoding_type: ``url`` keeps keys intact that XML cannot carry; None does not ask for it. ``auto``: as the
                server's :class:`~handtruck.Quirks` have it.
            options: of every request: :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no bucket to list, or an argument makes no sense.
            S3Error, ConnectionFailed, InvalidResponse: while iterating; InvalidResponse also where the listing
                runs in a circle.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
        """
        query = pages_query(
            prefix=prefix,
            delimiter=delimiter,
            max_keys=max_keys,
            encoding_type=encoding_type,
            fetch_owner="true" if fetch_owner else None,
            start_after=start_after,
        )
        return ObjectPages(
            self._session, self._locate_listed(object_name, bucket), query, names_of.common_headers(options)
        )

    def iter_objects(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        max_keys: int | None = None,
        start_after: str | None = None,
        fetch_owner: bool = False,
        encoding_type: str | None = AUTO,
        **options: Unpack[CommonOptions],
    ) -> AsyncIterator[AwsObjectMeta]:
        """List a bucket's objects, one by one, in the order of their names.

        ::

            async for obj in s3.iter_objects("bucket/", prefix="logs/"):
                print(obj.key, obj.size)

        It costs a request for each page of (mostly) 1 000 objects, made when it is needed. Memory: a page. The
        iterator holds nothing else, and may be abandoned anywhere. Arguments and errors: :meth:`list_objects_v2`.

        Raises:
            UsageError: there is no bucket to list, or an argument makes no sense.
            S3Error, ConnectionFailed, InvalidResponse: while iterating.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
        """
        pages = self.list_objects_v2(
            object_name,
            bucket=bucket,
            prefix=prefix,
            max_keys=max_keys,
            start_after=start_after,
            fetch_owner=fetch_owner,
            encoding_type=encoding_type,
            **options,
        )
        return Flat(pages)

    def walk(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        delimiter: str = "/",
        encoding_type: str | None = AUTO,
        **options: Unpack[CommonOptions],
    ) -> Walk:
        """Go through a bucket folder by folder, from the top down, as :func:`os.walk` goes through directories.

        ::

            async for prefix, prefixes, objects in s3.walk("bucket/", prefix="logs/"):
                prefixes[:] = [each for each in prefixes if not each.endswith("/tmp/")]
                print(prefix, sum(obj.size or 0 for obj in objects))

        Each is a :class:`~handtruck.Folder`; the first is that of ``prefix``, even where nothing is in it. What you
        take out of its ``prefixes``, and before you ask for the next, is not walked; their order is yours, too.

        It costs at least a request for each folder, one after the other: to see all objects,
        :meth:`iter_objects` is cheaper. Memory: one folder's objects, and the names of folders still to come.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            prefix: where to begin. It mostly ends in the delimiter; ``lo`` has ``logs/`` and ``local/`` below it.
            delimiter: what keys are divided by.
            encoding_type: see :meth:`list_objects_v2`.
            options: of every request: :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no bucket to list, or no delimiter.
            S3Error, ConnectionFailed, InvalidResponse: while iterating.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-prefixes.html
        """
        self._check_delimiter(delimiter)
        location, headers = self._locate_listed(object_name, bucket), names_of.common_headers(options)

        def pages_of(prefix: str) -> AsyncIterator[ObjectPage]:
            query = pages_query(prefix=prefix, delimiter=delimiter, encoding_type=encoding_type)
            return Below(prefix, ObjectPages(self._session, location, query, headers))

        return Walk(pages_of, arguments.object_name(prefix or ""))

    def list_objects_parallel(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        delimiter: str = "/",
        workers_count: int = DEFAULT_LISTERS,
        max_keys: int | None = None,
        fetch_owner: bool = False,
        encoding_type: str | None = AUTO,
        **options: Unpack[CommonOptions],
    ) -> ParallelListing:
        """List a large bucket's objects by several requests at once, one object after the other, in no order.

        ::

            async with s3.list_objects_parallel("bucket/", prefix="logs/") as objects:
                async for obj in objects:
                    print(obj.key, obj.size)

        The name is that of the request it is made of, with what sets it apart: it is the only listing here that works
        while your code runs, which is why it is a block, and the only one that has no order.

        A page of a listing tells where the next begins, so one listing is one request after the other. This one asks
        for what is below each prefix that ``delimiter`` makes, and below those in their turn, as long as there are
        fewer of them than workers; the rest it lists flat. So it is fast for a few, or some hundred, folders with very
        many objects; keys without the delimiter come as :meth:`iter_objects` gives them. It costs a request for each
        1 000 objects, and one more for each prefix: for a great number of small folders :meth:`iter_objects` is
        cheaper, and may be faster.

        Each object comes once, if nobody writes meanwhile. When the block is left, in whatever way, its requests have
        been cancelled and nothing runs any more; when one of them fails, the others are cancelled, and the iterator
        raises that. Memory: ``2 × workers_count + 1`` pages, and the names of some thousand prefixes; nothing is
        fetched that there is no room for.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            prefix: only keys that begin so.
            delimiter: what keys are divided by.
            workers_count: listings at once, from 1.
            max_keys: keys a page has at most: see :meth:`list_objects_v2`.
            fetch_owner: tell each object's owner, where the server knows.
            encoding_type: see :meth:`list_objects_v2`.
            options: of every request: :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no bucket to list, no delimiter, or no worker.
            S3Error, ConnectionFailed, InvalidResponse: while iterating.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-prefixes.html
        """
        self._check_delimiter(delimiter)
        if workers_count < 1:
            raise UsageError(f"workers_count must be at least 1, not {workers_count}")
        location, headers = self._locate_listed(object_name, bucket), names_of.common_headers(options)
        first = arguments.object_name(prefix or "")

        def pages_of(prefix: str, divided: bool) -> AsyncIterator[ObjectPage]:
            query = pages_query(
                prefix=prefix,
                delimiter=delimiter if divided else None,
                max_keys=max_keys,
                encoding_type=encoding_type,
                fetch_owner="true" if fetch_owner else None,
            )
            return Below(prefix, ObjectPages(self._session, location, query, headers))

        pages_of(first, True)  # to refuse max_keys here and now
        return ParallelListing(pages_of, first, workers_count)

    def _locate_listed(self, object_name: ObjectName, bucket: str | None) -> Location:
        return self._session.endpoint.locate_bucket(arguments.object_name(object_name), bucket)

    @staticmethod
    def _check_delimiter(delimiter: str) -> None:
        if not delimiter:
            raise UsageError("no delimiter is given: without one there are no folders; use iter_objects")
