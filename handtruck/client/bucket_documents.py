"""A bucket's configurations that are long: S3's documents in and out, as trees of dictionaries.

What such a tree looks like: :mod:`handtruck.protocol.documents.trees`. As for all settings, whether the server knows
one is asked before it is written or removed: :mod:`handtruck.client.configuration`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack, get_args

from ..errors import UsageError
from ..models.buckets import ConfigurationKind
from ..protocol import documents, operations
from .configuration import SettingFamily

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models.buckets import RemovableKind
    from ..protocol.documents import Tree
    from ..protocol.options import CannedACL, CommonOptions


class BucketDocumentMethods(SettingFamily):
    """``get_…``, ``put_…`` and ``delete_…`` of ``bucket_lifecycle bucket_cors bucket_acl … bucket_configuration``."""

    async def get_bucket_configuration(
        self, kind: ConfigurationKind, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> Tree | None:
        """Give any of a bucket's configurations as S3's document (``GetBucket…``); None: nothing is set.

        ::

            await s3.get_bucket_configuration("website", "www")
            # {"IndexDocument": {"Suffix": "index.html"}}

        The keys are S3's element names. What S3 lets come several times is a list, always; days, sizes and the like
        are int, yes or no is bool, ``Date`` is a datetime with time zone, all else is str. Elements that are not
        known here are kept: as text, a dict, or where one came more than once, a list.

        Args:
            kind: which; S3's name of the sub-resource.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no such kind, or the name is missing.
            NotFound: there is no such bucket.
            S3Error, ConnectionFailed.
            InvalidResponse: the answer makes no sense, or the server does not know such a configuration.

        Source: the pages of GetBucketWebsite and so on, https://docs.aws.amazon.com/AmazonS3/latest/API/
        """
        roots = _known(kind).roots
        return await self._read_setting(kind, bucket, options, lambda body: documents.parse_tree(body, *roots) or None)

    async def put_bucket_configuration(
        self,
        kind: ConfigurationKind,
        configuration: Mapping[str, Any],
        *,
        bucket: str | None = None,
        **options: Unpack[CommonOptions],
    ) -> None:
        """Set any of a bucket's configurations by S3's document, in place of what is there (``PutBucket…``).

        ::

            await s3.put_bucket_configuration("website", {"IndexDocument": {"Suffix": "index.html"}}, bucket="www")

        Args:
            kind: which; S3's name of the sub-resource.
            configuration: as :meth:`get_bucket_configuration` gives it. Whether S3 knows what is in it, S3 says; only
                types are looked at.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is no such kind, an element is not of its type, or the name is missing.
            NotFound, S3Error (MalformedXML, among others), ConnectionFailed.
            InvalidResponse: the server does not know such a configuration; nothing was changed.

        Source: the pages of PutBucketWebsite and so on, https://docs.aws.amazon.com/AmazonS3/latest/API/
        """
        content = documents.write_tree(_known(kind).roots[0], configuration)
        await self._write_setting(kind, bucket, options, content)

    async def delete_bucket_configuration(
        self, kind: RemovableKind, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Remove one of a bucket's configurations (``DeleteBucket…``); it may have none.

        Args:
            kind: which; S3's name of the sub-resource.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: this kind cannot be removed, but written over only, or the name is missing.
            NotFound, S3Error, ConnectionFailed.
            InvalidResponse: the server does not know such a configuration; nothing was changed.

        Source: the pages of DeleteBucketWebsite and so on, https://docs.aws.amazon.com/AmazonS3/latest/API/
        """
        if _known(kind).names[2] is None:
            raise UsageError(f"S3 has no call that removes {kind!r}; put another configuration in its place")
        await self._remove_setting(kind, bucket, options)

    async def get_bucket_lifecycle(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> Tree | None:
        """Give the rules by which objects move and vanish (GetBucketLifecycleConfiguration); None: there are none.

        Arguments, and what the document looks like: :meth:`get_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLifecycleConfiguration.html
        """
        return await self.get_bucket_configuration("lifecycle", bucket, **options)

    async def put_bucket_lifecycle(
        self, configuration: Mapping[str, Any], *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Say by which rules objects move and vanish, in place of all there are (PutBucketLifecycleConfiguration).

        ::

            rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}
            abort = {"DaysAfterInitiation": 7}
            parts = {"ID": "parts", "Status": "Enabled", "Filter": {}, "AbortIncompleteMultipartUpload": abort}
            await s3.put_bucket_lifecycle({"Rule": [rule, parts]}, bucket="logs")

        Objects that a rule lets expire are deleted, soon and for good where the bucket keeps no versions. An empty
        ``Filter`` is the whole bucket. Transitions are billed, each object by itself.

        Arguments: :meth:`put_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
        """
        await self.put_bucket_configuration("lifecycle", configuration, bucket=bucket, **options)

    async def delete_bucket_lifecycle(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> None:
        """Remove all of these rules (DeleteBucketLifecycle). Arguments: :meth:`delete_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`delete_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketLifecycle.html
        """
        await self.delete_bucket_configuration("lifecycle", bucket, **options)

    async def get_bucket_cors(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> Tree | None:
        """Tell which sites' pages may use a bucket in a browser (GetBucketCors); None: it is not said.

        Arguments, and what the document looks like: :meth:`get_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketCors.html
        """
        return await self.get_bucket_configuration("cors", bucket, **options)

    async def put_bucket_cors(
        self, configuration: Mapping[str, Any], *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Say which sites' pages may use a bucket in a browser, in place of what is said so far (PutBucketCors).

        ::

            rule = {"AllowedOrigin": ["https://example.org"], "AllowedMethod": ["GET"], "MaxAgeSeconds": 3000}
            await s3.put_bucket_cors({"CORSRule": [rule]}, bucket="assets")

        Arguments: :meth:`put_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketCors.html
        """
        await self.put_bucket_configuration("cors", configuration, bucket=bucket, **options)

    async def delete_bucket_cors(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> None:
        """Remove all of these rules (DeleteBucketCors). Arguments: :meth:`delete_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`delete_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucketCors.html
        """
        await self.delete_bucket_configuration("cors", bucket, **options)

    async def get_bucket_acl(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> Tree | None:
        """Give a bucket's owner and access control list (GetBucketAcl).

        ::

            {"Owner": {"ID": "…"}, "AccessControlList": {"Grant": [
                {"Grantee": {"xsi:type": "CanonicalUser", "ID": "…"}, "Permission": "FULL_CONTROL"}]}}

        Arguments, and what the document looks like: :meth:`get_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketAcl.html
        """
        return await self.get_bucket_configuration("acl", bucket, **options)

    async def put_bucket_acl(
        self, acl: CannedACL | Mapping[str, Any], *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Set a bucket's access control list (PutBucketAcl). Buckets that enforce their owner have none.

        Args:
            acl: a ready-made one by its name, or a document as :meth:`get_bucket_acl` gives it, with the owner.
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: there is none of that name, an element is not of its type, or the bucket's name is missing.
            NotFound, S3Error (AccessControlListNotSupported, among others), ConnectionFailed.
            InvalidResponse: the server does not know ACLs; nothing was changed.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketAcl.html
        """
        if isinstance(acl, str):
            await self._write_setting("acl", bucket, options, b"", operations.canned_acl(acl))
        else:
            await self.put_bucket_configuration("acl", acl, bucket=bucket, **options)

    async def get_object_lock_configuration(
        self, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> Tree | None:
        """Tell whether objects can be locked, and how new ones are (GetObjectLockConfiguration); None: they cannot.

        Arguments, and what the document looks like: :meth:`get_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`get_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectLockConfiguration.html
        """
        return await self.get_bucket_configuration("object-lock", bucket, **options)

    async def put_object_lock_configuration(
        self, configuration: Mapping[str, Any], *, bucket: str | None = None, **options: Unpack[CommonOptions]
    ) -> None:
        """Say how new objects are locked (PutObjectLockConfiguration); those that are there stay as they are.

        ::

            retention = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}}
            await s3.put_object_lock_configuration({"ObjectLockEnabled": "Enabled", "Rule": retention}, bucket="b")

        With the mode COMPLIANCE nobody, the account's owner included, can delete such an object before its time, and
        it is paid for until then. That objects can be locked cannot be undone.

        Arguments: :meth:`put_bucket_configuration`.

        Raises:
            UsageError, NotFound, S3Error, ConnectionFailed, InvalidResponse: see :meth:`put_bucket_configuration`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectLockConfiguration.html
        """
        await self.put_bucket_configuration("object-lock", configuration, bucket=bucket, **options)


def _known(kind: object) -> operations.Kind:
    """The kind of that name.

    Raises:
        UsageError: there is none.
    """
    if kind not in get_args(ConfigurationKind):
        raise UsageError(f"there is no configuration {kind!r:.60} here, but {', '.join(get_args(ConfigurationKind))}")
    return operations.KINDS[str(kind)]
