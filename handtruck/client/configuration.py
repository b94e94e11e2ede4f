"""A bucket's settings that are small values: versioning, tags, encryption, who gets in.

Every method that writes or removes one asks first, by one more request, whether the server knows it at all. Those
that do not take ``PUT bucket?encryption`` for the making of the bucket, which may look like a success; and they take
``DELETE bucket?encryption`` for its deletion. Where the permission to read is missing, there is no such protection.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from ..errors import AccessDenied, InvalidResponse, S3Error
from ..protocol import documents, operations
from ..protocol.options import common_headers
from .buckets import BucketFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..models.buckets import ObjectOwnership, PublicAccessBlock, VersioningStatus
    from ..models.encryption import SSEKMS, SSES3
    from ..protocol.address import Location
    from ..protocol.operations import Headers
    from ..protocol.options import CommonOptions

T = TypeVar("T")


class SettingFamily(BucketFamily):
    """How a bucket's settings are read, written and removed."""

    async def _read_setting(
        self, kind: str, bucket: str | None, options: CommonOptions, parse: Callable[[bytes], T | None]
    ) -> T | None:
        """What is set; None where nothing is."""
        return await self._setting(kind, self._locate_bucket(bucket), parse, common_headers(options))

    async def _write_setting(
        self, kind: str, bucket: str | None, options: CommonOptions, content: bytes, headers: Headers = ()
    ) -> None:
        location, common = self._locate_bucket(bucket), common_headers(options)
        await self._is_set(kind, location, common)
        await self._session.perform(operations.put_configuration(location, kind, content, (*headers, *common)))

    async def _remove_setting(self, kind: str, bucket: str | None, options: CommonOptions) -> None:
        location, common = self._locate_bucket(bucket), common_headers(options)
        if await self._is_set(kind, location, common):
            await self._session.perform(operations.delete_configuration(location, kind, common))

    async def _is_set(self, kind: str, location: Location, headers: Headers) -> bool:
        """Whether there may be something. Raises where the server would take the sub-resource for the bucket.

        Only the document that was asked for shows that it would not; an empty answer, or a page of HTML, does not.
        """
        try:
            return await self._setting(kind, location, partial(_seen, kind), headers) is not None
        except AccessDenied:
            return True

    async def _setting(
        self, kind: str, location: Location, parse: Callable[[bytes], T | None], headers: Headers
    ) -> T | None:
        operation = operations.get_configuration(location, kind, parse, headers)
        try:
            setting = await self._session.perform(operation)
        except S3Error as error:
            if error.code in operations.KINDS[kind].absent:
                return None
            raise
        if not setting.known:
            raise InvalidResponse(
                f"{operation.name} {location}: this server does not know ?{kind}: it lists the bucket's objects "
                "instead, and would take a PUT or a DELETE of it for one of the bucket"
            )
        return setting.value


def _seen(kind: str, body: bytes) -> object:
    """The answer is the document, whatever is in it.

    Raises:
        InvalidResponse: it is something else.
    """
    roots = operations.KINDS[kind].roots
    return documents.parse_policy(body) if kind == "policy" else documents.expect_masked(body, *roots)


class ConfigurationMethods(SettingFamily):
    """``get_…``, ``put_…`` and ``delete_…`` of ``bucket_versioning bucket_tags bucket_encryption …``."""

    async def get_bucket_versioning(
        self, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> VersioningStatus | None:
        """Tell whether a bucket keeps an object's versions (GetBucketVersioning); None: it never did.

        Args:
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: the name is missing.
            NotFound: there is no such bucket.
            S3Error, ConnectionFailed, InvalidResponse.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketVersioning.html
        """
        roots = operations.KINDS["versioning"].roots
        return await self._read_setting(
            "versioning", bucket, options, lambda body: documents.parse_versioning(body, roots)
        )

    async def put_bucket_versioning(
        self, status: VersioningStatus, *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Begin or suspend keeping an object's versions (PutBucketVersioning).

        Every version is stored, and paid for, until it is deleted by its id; deleting the object hides them only.
        ``"Suspended"`` keeps those there are. A bucket that has kept versions never goes back to none at all.

        Args:
            status: ``"Enabled"`` or ``"Suspended"``.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no such status, or the name is missing.
            Conflict: the bucket has object lock, which needs versions.
            NotFound, S3Error, ConnectionFailed.
            InvalidResponse: the server does not know versioning; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html
        """
        await self._write_setting("versioning", bucket, options, documents.write_versioning(status))

    async def get_bucket_tags(
        self, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> dict[str, str] | None:
        """Give a bucket's tags (GetBucketTagging); None: there are none. Arguments: :meth:`get_bucket_versioning`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_versioning`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketTagging.html
        """
        roots = operations.KINDS["tagging"].roots
        return await self._read_setting(
            "tagging", bucket, options, lambda body: documents.parse_tags(body, roots) or None
        )

    async def put_bucket_tags(
        self, tags: Mapping[str, str], *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Give a bucket these tags, in place of all that it has (PutBucketTagging).

        Args:
            tags: at most 50, names up to 128 and values up to 256 characters.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: S3 does not keep such tags, or the name is missing.
            NotFound, S3Error, ConnectionFailed.
            InvalidResponse: the server does not know tags of buckets; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html
        """
        await self._write_setting("tagging", bucket, options, documents.write_tags(tags))

    async def delete_bucket_tags(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> None:
        """Remove all of a bucket's tags (DeleteBucketTagging); it may have none. Arguments: as of the others.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_bucket_tags`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketTagging.html
        """
        await self._remove_setting("tagging", bucket, options)

    async def get_bucket_policy(
        self, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> dict[str, Any] | None:
        """Give a bucket's policy, as the dict that its JSON is (GetBucketPolicy); None: there is none.

        Arguments: :meth:`get_bucket_versioning`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_versioning`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicy.html
        """
        return await self._read_setting("policy", bucket, options, documents.parse_policy)

    async def put_bucket_policy(
        self, policy: Mapping[str, Any] | str, *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Say who may do what with a bucket, in place of what is said so far (PutBucketPolicy).

        ::

            statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
            await s3.put_bucket_policy({"Version": "2012-10-17", "Statement": [statement]}, bucket="b")

        A policy can shut its own author out.

        Args:
            policy: a dict, or JSON text, which is sent as it is.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: it is no JSON object, or the name is missing.
            NotFound, S3Error (MalformedPolicy, among others), ConnectionFailed.
            InvalidResponse: the server does not know policies; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketPolicy.html
        """
        await self._write_setting("policy", bucket, options, documents.write_policy(policy))

    async def delete_bucket_policy(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> None:
        """Remove a bucket's policy (DeleteBucketPolicy); there may be none. Arguments: as of the others.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_bucket_policy`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketPolicy.html
        """
        await self._remove_setting("policy", bucket, options)

    async def get_bucket_encryption(
        self, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> SSES3 | SSEKMS | None:
        """Tell how objects are encrypted of which nobody says how (GetBucketEncryption); None: it is not said.

        Arguments: :meth:`get_bucket_versioning`. What else S3's document says is in
        ``get_bucket_configuration("encryption")``.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_versioning`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketEncryption.html
        """
        roots = operations.KINDS["encryption"].roots
        return await self._read_setting(
            "encryption", bucket, options, lambda body: documents.parse_encryption(body, roots)
        )

    async def put_bucket_encryption(
        self, encryption: SSES3 | SSEKMS, *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Say how new objects are encrypted of which nobody says how (PutBucketEncryption).

        Objects that are there stay as they are. What S3's document says beside that is replaced, too.

        Args:
            encryption: :class:`~handtruck.SSES3` or :class:`~handtruck.SSEKMS`, without a context. The key service
                bills its requests: ``SSEKMS(bucket_key=True)`` makes them fewer.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: no bucket can do that by itself, or the name is missing.
            NotFound, S3Error, ConnectionFailed.
            InvalidResponse: the server does not know it; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketEncryption.html
        """
        await self._write_setting("encryption", bucket, options, documents.write_encryption(encryption))

    async def delete_bucket_encryption(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> None:
        """Go back to the server's own encryption, which on AWS is :class:`~handtruck.SSES3` (DeleteBucketEncryption).

        Arguments: as of the others.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_bucket_encryption`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketEncryption.html
        """
        await self._remove_setting("encryption", bucket, options)

    async def get_public_access_block(
        self, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> PublicAccessBlock | None:
        """Tell what a bucket refuses the public (GetPublicAccessBlock); None: it is not said, and nothing is.

        Arguments: :meth:`get_bucket_versioning`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_versioning`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetPublicAccessBlock.html
        """
        roots = operations.KINDS["publicAccessBlock"].roots
        return await self._read_setting(
            "publicAccessBlock", bucket, options, lambda body: documents.parse_public_access_block(body, roots)
        )

    async def put_public_access_block(
        self, block: PublicAccessBlock, *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Say what a bucket refuses the public, whatever its policy and ACLs say (PutPublicAccessBlock).

        ::

            await s3.put_public_access_block(PublicAccessBlock(), bucket="private")

        Args:
            block: what is refused; all of it by default.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: it is no such block, or the name is missing.
            NotFound, S3Error, ConnectionFailed.
            InvalidResponse: the server does not know it; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutPublicAccessBlock.html
        """
        await self._write_setting("publicAccessBlock", bucket, options, documents.write_public_access_block(block))

    async def delete_public_access_block(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> None:
        """Refuse the public nothing that policy and ACLs give it (DeletePublicAccessBlock). Arguments: as before.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_public_access_block`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeletePublicAccessBlock.html
        """
        await self._remove_setting("publicAccessBlock", bucket, options)

    async def get_bucket_ownership(
        self, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> ObjectOwnership | None:
        """Tell whose objects are that other accounts write (GetBucketOwnershipControls); None: it is not said.

        Arguments: :meth:`get_bucket_versioning`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_versioning`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketOwnershipControls.html
        """
        roots = operations.KINDS["ownershipControls"].roots
        return await self._read_setting(
            "ownershipControls", bucket, options, lambda body: documents.parse_ownership(body, roots)
        )

    async def put_bucket_ownership(
        self, ownership: ObjectOwnership, *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Say whose objects are that other accounts write (PutBucketOwnershipControls).

        Args:
            ownership: with ``"BucketOwnerEnforced"`` requests with an ACL are refused from then on.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no such thing, or the name is missing.
            NotFound, S3Error, ConnectionFailed.
            InvalidResponse: the server does not know it; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketOwnershipControls.html
        """
        await self._write_setting("ownershipControls", bucket, options, documents.write_ownership(ownership))

    async def delete_bucket_ownership(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> None:
        """Say nothing of it any more (DeleteBucketOwnershipControls). Arguments: as of the others.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_bucket_ownership`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketOwnershipControls.html
        """
        await self._remove_setting("ownershipControls", bucket, options)
