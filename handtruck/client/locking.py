"""Who may do what with an object, and until when nobody may delete it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..errors import InvalidResponse, UsageError
from ..models.objects import AccessControlList
from ..protocol.operations import subresources
from ..protocol.operations.buckets import canned_acl
from ..protocol.options import RetentionOptions, version_request
from .subresources import SubresourceFamily

if TYPE_CHECKING:
    from ..models.objects import Retention
    from ..protocol.options import CannedACL, VersionOptions
    from .arguments import ObjectName


class LockingMethods(SubresourceFamily):
    """``get_…`` and ``put_…`` of ``object_acl object_legal_hold object_retention``."""

    async def get_object_acl(self, object_name: ObjectName, **options: Unpack[VersionOptions]) -> AccessControlList:
        """Tell who may do what with an object, beside what policies say (GetObjectAcl).

        ::

            acl = await s3.get_object_acl("bucket/key")
            for grant in acl.grants:
                print(grant.grantee, grant.permission)

        Args:
            object_name: the object.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the server does not know access control lists.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAcl.html
        """
        sent, query = version_request(options)
        operation = subresources.get_object_acl(self._locate_object(object_name), sent, query)
        acl = await self._read_setting_of("acl", operation)
        if acl is None:
            raise InvalidResponse(f"{operation.name} {operation.location}: the answer has no access control list")
        return acl

    async def put_object_acl(
        self, object_name: ObjectName, acl: CannedACL | AccessControlList, **options: Unpack[VersionOptions]
    ) -> None:
        """Say who may do what with an object, in place of all that was said (PutObjectAcl).

        ::

            await s3.put_object_acl("bucket/key", "public-read")

            everybody = Grantee(uri="http://acs.amazonaws.com/groups/global/AllUsers")
            acl = await s3.get_object_acl("bucket/key")
            more = (*acl.grants, Grant(grantee=everybody, permission="READ"))
            await s3.put_object_acl("bucket/key", AccessControlList(owner=acl.owner, grants=more))

        A list without an owner travels in headers, which hold fewer grants. Without a grant for it, the owner may
        not read the object; it may always change the list. Buckets that enforce their owner (AWS's default) have none:
        400 AccessControlListNotSupported.

        Elsewhere than on AWS the list is read first (one request more): a server that does not know such would write
        it over the object, as rclone does. Where it may not be read, there is no such protection.

        Args:
            object_name: the object.
            acl: a ready-made one by its name, or a list; at most 100 grants.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError: there is no such list, an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            S3Error: S3 says no.
            ConnectionFailed: there was no answer; the list may be there.
            InvalidResponse: the server does not know access control lists; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectAcl.html
        """
        sent, query = version_request(options)
        location = self._locate_object(object_name)
        if isinstance(acl, AccessControlList):
            changing = subresources.put_object_acl(location, acl, sent, query)
        elif isinstance(acl, str):
            changing = subresources.write_subresource("acl", location, b"", (*canned_acl(acl), *sent), query)
        else:
            raise UsageError(
                f"acl must be the name of a ready-made one or AccessControlList(…), not {type(acl).__name__}"
            )
        await self._change("acl", subresources.get_object_acl(location, sent, query), changing)

    async def get_object_legal_hold(self, object_name: ObjectName, **options: Unpack[VersionOptions]) -> bool:
        """Tell whether a version of an object is held, so that it cannot be deleted (GetObjectLegalHold).

        Nothing said is no hold. In a bucket without object lock S3 says no (400 InvalidRequest); other servers False.

        Args:
            object_name: the object.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            S3Error: S3 says no; its bucket has no object lock.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the server does not know object lock.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLegalHold.html
        """
        sent, query = version_request(options)
        operation = subresources.get_object_legal_hold(self._locate_object(object_name), sent, query)
        return await self._read_setting_of("legal-hold", operation) or False

    async def put_object_legal_hold(
        self, object_name: ObjectName, held: bool, **options: Unpack[VersionOptions]
    ) -> None:
        """Hold a version of an object, so that it cannot be deleted, or let it go (PutObjectLegalHold).

        ::

            await s3.put_object_legal_hold("bucket/key", True, version_id=version)

        It holds until it is let go, and is stored, and paid for, until then. Deleting the object without a version
        goes on working: that makes a delete marker.

        Elsewhere than on AWS the hold is read first (one request more), as with :meth:`put_object_acl`.

        Args:
            object_name: the object.
            held: whether it is to be held.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            S3Error: S3 says no; its bucket has no object lock.
            ConnectionFailed: there was no answer; it may be done.
            InvalidResponse: the server does not know object lock; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLegalHold.html
        """
        sent, query = version_request(options)
        location = self._locate_object(object_name)
        changing = subresources.put_object_legal_hold(location, held, sent, query)
        await self._change("legal-hold", subresources.get_object_legal_hold(location, sent, query), changing)

    async def get_object_retention(
        self, object_name: ObjectName, **options: Unpack[VersionOptions]
    ) -> Retention | None:
        """Tell until when a version of an object cannot be deleted (GetObjectRetention); None: nothing is said.

        Args:
            object_name: the object.
            options: which version: :class:`~handtruck.VersionOptions`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_object_legal_hold`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectRetention.html
        """
        sent, query = version_request(options)
        operation = subresources.get_object_retention(self._locate_object(object_name), sent, query)
        return await self._read_setting_of("retention", operation)

    async def put_object_retention(
        self, object_name: ObjectName, retention: Retention | None, **options: Unpack[RetentionOptions]
    ) -> None:
        """Say until when a version of an object cannot be deleted (PutObjectRetention); None: nothing is to be said.

        ::

            until = datetime.now(UTC) + timedelta(days=30)
            await s3.put_object_retention("bucket/key", Retention(mode="GOVERNANCE", until=until))

        *Money.* A ``COMPLIANCE`` retention can be made longer, and by nobody be shortened or removed: the version is
        stored, and paid for, until it ends. One in ``GOVERNANCE`` mode can be shortened, or removed, with
        ``bypass_governance`` and the permission to.

        Elsewhere than on AWS the legal hold is read first (one request more), as with :meth:`put_object_acl`: servers
        that know one of the two know the other.

        Args:
            object_name: the object.
            retention: mode and end, which is time-zone aware; sent in milliseconds.
            options: which version, and whether governance is bypassed: :class:`~handtruck.RetentionOptions`.

        Raises:
            UsageError: an argument makes no sense, or no object is named.
            NotFound: there is no such object, version or bucket.
            AccessDenied: it would be shortened, and may not be.
            S3Error: S3 says no: the end is in the past, or its bucket has no object lock.
            ConnectionFailed: there was no answer; it may be done.
            InvalidResponse: the server does not know object lock; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html
        """
        sent, query = version_request(options, RetentionOptions)
        location = self._locate_object(object_name)
        changing = subresources.put_object_retention(location, retention, sent, query)
        asking = tuple(header for header in sent if "bypass" not in header[0])
        await self._change("legal-hold", subresources.get_object_legal_hold(location, asking, query), changing)
