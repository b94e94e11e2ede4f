"""Listings of the versions of a bucket's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..errors import UsageError
from ..protocol import options as names_of
from . import arguments
from .base import Family
from .pages import AUTO, Flat, VersionPages, pages_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..models import ObjectVersion
    from ..protocol.options import CommonOptions
    from .arguments import ObjectName


class VersionMethods(Family):
    """``list_object_versions iter_object_versions``."""

    def list_object_versions(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        delimiter: str | None = None,
        max_keys: int | None = None,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        encoding_type: str | None = AUTO,
        **options: Unpack[CommonOptions],
    ) -> VersionPages:
        """List the versions of a bucket's objects, and the delete markers, page by page (ListObjectVersions).

        ::

            async for page in s3.list_object_versions("bucket/", prefix="logs/"):
                for version in page:
                    print(version.key, version.version_id, version.is_latest, version.is_delete_marker)

        By key, and the versions of one key from the newest to the oldest. Each page is a list of
        :class:`~handtruck.ObjectVersion` and has ``common_prefixes``; each costs one request. A bucket that never kept
        versions has one of each object, whose id is ``"null"``. Every version is stored, and billed, as an object is.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            prefix: only keys that begin so.
            delimiter: fold keys that share what stands before it, beyond the prefix, into ``common_prefixes``.
            max_keys: versions a page has at most, from 1; servers have limits of their own, 1 000 mostly.
            key_marker: only keys that come after this one (some servers begin with its own versions); with
                ``version_id_marker``, that key's older versions, too.
            version_id_marker: goes with ``key_marker``: only versions of it that come after this one.
            encoding_type: ``url`` keeps keys intact that XML cannot carry; None does not ask for it. ``auto``: as the
                server's :class:`~handtruck.Quirks` have it.
            options: of every request: :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no bucket to list, or an argument makes no sense.
            S3Error, ConnectionFailed, InvalidResponse: while iterating; InvalidResponse also where the listing
                runs in a circle.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
        """
        if version_id_marker is not None and not key_marker:
            raise UsageError("version_id_marker= goes with key_marker=")
        query = pages_query(
            prefix=prefix,
            delimiter=delimiter,
            max_keys=max_keys,
            encoding_type=encoding_type,
            key_marker=key_marker,
            version_id_marker=version_id_marker,
        )
        location = self._session.endpoint.locate_bucket(arguments.object_name(object_name), bucket)
        return VersionPages(self._session, location, query, names_of.common_headers(options))

    def iter_object_versions(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        max_keys: int | None = None,
        key_marker: str | None = None,
        version_id_marker: str | None = None,
        encoding_type: str | None = AUTO,
        **options: Unpack[CommonOptions],
    ) -> AsyncIterator[ObjectVersion]:
        """List the versions of a bucket's objects, and the delete markers, one by one.

        ::

            async for version in s3.iter_object_versions("bucket/", prefix="logs/"):
                if version.is_delete_marker and version.is_latest:
                    print(version.key, "was deleted", version.last_modified)

        It costs a request for each page of (mostly) 1 000, made when it is needed. Memory: a page. The iterator holds
        nothing else, and may be abandoned anywhere. Arguments and errors: :meth:`list_object_versions`.

        Raises:
            UsageError: there is no bucket to list, or an argument makes no sense.
            S3Error, ConnectionFailed, InvalidResponse: while iterating.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html
        """
        pages = self.list_object_versions(
            object_name,
            bucket=bucket,
            prefix=prefix,
            max_keys=max_keys,
            key_marker=key_marker,
            version_id_marker=version_id_marker,
            encoding_type=encoding_type,
            **options,
        )
        return Flat(pages)
