"""One object: what it is, whether it is there, and how it comes back from the archive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Unpack, get_args

from .._attempt import Options
from ..errors import InvalidResponse, NotFound, S3Error, Throttled
from ..models.objects import ObjectAttribute
from ..protocol.checksums import asking
from ..protocol.operations import buckets, objects, subresources
from ..protocol.options import AttributesOptions, version_request
from ..protocol.stat import hint_for
from . import arguments
from .subresources import SubresourceFamily

if TYPE_CHECKING:
    from collections.abc import Collection

    from httpx._types import TimeoutTypes

    from ..models.objects import ObjectAttributes, ObjectInfo, RestoreTier
    from ..protocol.address import Location
    from ..protocol.operations import Headers
    from ..protocol.options import ReadOptions, VersionOptions
    from .arguments import HeaderTypes, ObjectName

ALL_ATTRIBUTES: Final[tuple[ObjectAttribute, ...]] = get_args(ObjectAttribute)

_EVERYWHERE: Final = ("x-amz-expected-bucket-owner", "x-amz-request-payer")


class ObjectMethods(SubresourceFamily):
    """``stat exists get_object_attributes restore``."""

    async def stat(
        self,
        object_name: ObjectName,
        *,
        checksums: bool = True,
        headers: HeaderTypes | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> ObjectInfo:
        """Tell what an object is, without its bytes: size, ETag, metadata, locks … (HeadObject).

        ::

            info = await s3.stat("bucket/key")
            print(info.size, info.content_type, info.metadata)

        One billed request. What the server leaves out is None, and so is what cannot be read (S3 keeps some headers as
        they were sent); :attr:`ObjectInfo.headers <handtruck.ObjectInfo>` has all of them as they came.

        An answer to HEAD has no body, so an error has no ``code``, and cannot tell a missing object from a missing
        bucket; nor, for who may not list the bucket, from a forbidden one (403). Its text says what it may mean.

        Args:
            object_name: the object.
            checksums: ask for the checksums, too. Of an object encrypted with a key of the key service, AWS wants the
                permission to use it then.
            headers: sent along.
            timeout: httpx's stall timeouts; seconds.
            options: which version, and on what conditions: :class:`~handtruck.ReadOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket, or the latest version is a delete marker.
            AccessDenied: it is forbidden; or it is not there, and we may not know.
            PreconditionFailed, NotModified: a condition does not hold.
            S3Error: S3 says no: with status 400 the object may be encrypted with a key of its own (``sse``), with 405
                the version is a delete marker.
            ConnectionFailed: there was no answer.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
        """
        sent, query = self._reading(headers, options)
        sent = asking(sent) if checksums else sent
        operation = objects.stat_object(self._locate_object(object_name), sent, query)
        try:
            return await self._session.perform(operation, options=Options(timeout=arguments.timeout_of(timeout)))
        except S3Error as error:
            _add_hint(error)
            raise

    async def exists(
        self,
        object_name: ObjectName,
        *,
        headers: HeaderTypes | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> bool:
        """Tell whether there is such an object (HeadObject).

        ::

            if not await s3.exists("bucket/key"):
                ...

        It is the answer of one moment: to write only what is not there, say ``if_none_match="*"`` to the write.

        False stands for one thing only, a 404 of the object: no such key or version, or a delete marker on top of it.
        As a HEAD does not say what is missing, the bucket is asked for, too, where the answer would be False (a second
        billed request): one that is not there is an error. Where we may not ask for it, that cannot be told: False.

        A 403 is an error, never False: who may not list the bucket is told 403 of what is not there, too. So is a 405:
        the version that was named is a delete marker. Some servers (Ceph) say 404 of that.

        Args: see :meth:`stat`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such bucket.
            AccessDenied: it is forbidden; or it is not there, and we may not know.
            PreconditionFailed, NotModified: it is there, and a condition does not hold.
            S3Error: see :meth:`stat`.
            ConnectionFailed: there was no answer.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html,
        https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
        """
        location = self._locate_object(object_name)
        sent, query = self._reading(headers, options)
        how = Options(timeout=arguments.timeout_of(timeout))
        try:
            await self._session.perform(objects.stat_object(location, sent, query), options=how)
        except NotFound:
            await self._check_bucket(location, sent, how)
            return False
        except S3Error as error:
            _add_hint(error)
            raise
        return True

    async def _check_bucket(self, location: Location, sent: Headers, how: Options) -> None:
        """Raise NotFound where it is the bucket that is missing, and that can be told."""
        endpoint = self._session.endpoint
        bucket = endpoint.locate_bucket(bucket=None if endpoint.fixed else location.bucket)
        headers = tuple(header for header in sent if header[0].lower() in _EVERYWHERE)
        try:
            await self._session.perform(buckets.head_bucket(bucket, headers), options=how)
        except NotFound as error:
            error.args = (f"{error.args[0]}; there is no such bucket, so nothing is known of {location}",)
            raise
        except S3Error as error:
            if error.status >= 500 or isinstance(error, Throttled):
                raise

    async def get_object_attributes(
        self,
        object_name: ObjectName,
        *,
        attributes: Collection[ObjectAttribute] = ALL_ATTRIBUTES,
        max_parts: int | None = None,
        part_number_marker: int | None = None,
        **options: Unpack[AttributesOptions],
    ) -> ObjectAttributes:
        """Tell what S3 knows of an object and HEAD does not say: its parts and their checksums (GetObjectAttributes).

        ::

            known = await s3.get_object_attributes("bucket/key", attributes=["ObjectSize", "ObjectParts"])
            for part in known.parts:
                print(part.number, part.size, part.checksums)

        One billed request for each page of parts. Many servers have no such call; Ceph gives the object instead, which
        is noticed before it is read.

        Args:
            object_name: the object.
            attributes: what to ask for. Default: everything.
            max_parts: parts a page has at most, from 1; AWS: 1 000.
            part_number_marker: the page begins after this part: ``next_part_number`` of the one before.
            options: which version: :class:`~handtruck.AttributesOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the server has no such call.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html
        """
        sent, query = version_request(options, AttributesOptions)
        operation = subresources.get_object_attributes(
            self._locate_object(object_name),
            attributes,
            max_parts=max_parts,
            part_number_marker=part_number_marker,
            headers=arguments.merged(None, sent, self._session.endpoint),
            query=query,
        )
        known = await self._read_setting_of("attributes", operation)
        if known is None:
            raise InvalidResponse(f"{operation.name} {operation.location}: the answer has no attributes")
        return known

    async def restore(
        self,
        object_name: ObjectName,
        *,
        days: int | None,
        tier: RestoreTier = "Standard",
        **options: Unpack[VersionOptions],
    ) -> bool:
        """Ask for an archived object back, for some days (RestoreObject); True: that has begun now.

        ::

            await s3.restore("bucket/key", days=7, tier="Bulk")
            ...
            if not (await s3.stat("bucket/key")).restore.ongoing:
                await s3.download("bucket/key", "file")

        It takes minutes to days, and :meth:`stat` tells how it stands (``restore``). False: it is back already, and
        stays for ``days`` from now on.

        *Money.* The request; every byte that is brought back, by ``Expedited`` at many times the price of
        ``Standard``; and the copy, which is stored and paid for beside the archived object for all those days.

        Args:
            object_name: the object.
            days: how long the copy stays, from 1. None for Intelligent-Tiering, which moves the object for good.
            tier: how fast, and at what price. ``Expedited`` may be refused for a while (503); that is not tried again.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            Conflict: it is on its way already (``RestoreAlreadyInProgress``).
            AccessDenied: it is forbidden; or, with the code ``InvalidObjectState``, it is not archived.
            S3Error: S3 says no. Ceph and others have no archive.
            ConnectionFailed: there was no answer; it may have begun: ask :meth:`stat`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_RestoreObject.html
        """
        sent, query = version_request(options)
        location = self._locate_object(object_name)
        return await self._session.perform(subresources.restore_object(location, days, tier, sent, query))


def _add_hint(error: S3Error) -> None:
    """Let its text say what it may mean."""
    hint = hint_for(error.status)
    if hint is not None and error.code is None:
        error.args = (f"{error.args[0]}; {hint}",)
