"""An object's tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..protocol.operations import subresources
from ..protocol.options import version_request
from .subresources import SubresourceFamily

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..protocol.options import VersionOptions
    from .arguments import ObjectName


class TaggingMethods(SubresourceFamily):
    """``get_object_tags put_object_tags delete_object_tags``."""

    async def get_object_tags(self, object_name: ObjectName, **options: Unpack[VersionOptions]) -> dict[str, str]:
        """Give an object's tags (GetObjectTagging); empty where it has none.

        ::

            tags = await s3.get_object_tags("bucket/key")

        Args:
            object_name: the object.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the server does not know tags.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectTagging.html
        """
        sent, query = version_request(options)
        location = self._locate_object(object_name)
        operation = subresources.get_object_tagging(location, sent, query)
        return await self._read_setting_of("tagging", operation) or {}

    async def put_object_tags(
        self, object_name: ObjectName, tags: Mapping[str, str], **options: Unpack[VersionOptions]
    ) -> None:
        """Give an object these tags, in place of all that it has (PutObjectTagging).

        ::

            await s3.put_object_tags("bucket/key", {"project": "x", "state": "done"})

        The object itself stays as it is: no new version, no new date. Tags are billed, each, by the month.

        Elsewhere than on AWS the tags are read first (one request more): a server that does not know tags would write
        them over the object, as rclone does. Where they may not be read, there is no such protection.

        Args:
            object_name: the object.
            tags: at most 10, names up to 128 and values up to 256 characters; empty: none are left.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError: S3 does not keep such tags, an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            S3Error: S3 says no.
            ConnectionFailed: there was no answer; the tags may be there.
            InvalidResponse: the server does not know tags; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectTagging.html
        """
        sent, query = version_request(options)
        location = self._locate_object(object_name)
        changing = subresources.put_object_tagging(location, tags, sent, query)
        await self._change("tagging", subresources.get_object_tagging(location, sent, query), changing)

    async def delete_object_tags(self, object_name: ObjectName, **options: Unpack[VersionOptions]) -> None:
        """Take all of an object's tags away (DeleteObjectTagging); it may have none.

        Elsewhere than on AWS the tags are read first (one request more): a server that does not know tags would delete
        the object, as rclone does. Where they may not be read, there is no such protection.

        Args:
            object_name: the object.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_object_tags`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjectTagging.html
        """
        sent, query = version_request(options)
        location = self._locate_object(object_name)
        changing = subresources.delete_object_tagging(location, sent, query)
        await self._change("tagging", subresources.get_object_tagging(location, sent, query), changing)
