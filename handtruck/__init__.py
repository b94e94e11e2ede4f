"""handtruck: the S3 client for structured concurrency.

Import :class:`S3Client` and :class:`Transport` from here, keys' sources from :mod:`handtruck.credentials`, exceptions
from :mod:`handtruck.errors`. Everything else may move between releases.
"""

from importlib.metadata import version as _version

from .client import S3Client
from .client.groups import Transfers
from .models import (
    SSEKMS,
    SSES3,
    AccessControlList,
    AwsObjectMeta,
    BucketInfo,
    Checksum,
    ChecksumAlgorithm,
    ConfigurationKind,
    CopyResult,
    DeletedObject,
    DeleteResult,
    DownloadResult,
    Folder,
    Grant,
    Grantee,
    MultipartUploadInfo,
    NotDeleted,
    ObjectAttribute,
    ObjectAttributes,
    ObjectEncryption,
    ObjectInfo,
    ObjectOwnership,
    ObjectPage,
    ObjectPart,
    ObjectVersion,
    PartInfo,
    Permission,
    PresignedPost,
    PresignedURL,
    Progress,
    PublicAccessBlock,
    RemovableKind,
    RestoreStatus,
    RestoreTier,
    Retention,
    SSECustomer,
    UploadResult,
    VersioningStatus,
    VersionPage,
)
from .protocol.operations import CopyOptions
from .protocol.options import (
    AttributesOptions,
    CannedACL,
    CommonOptions,
    DeleteManyOptions,
    DeleteOptions,
    ReadOptions,
    RetentionMode,
    RetentionOptions,
    StorageClass,
    VersionOptions,
    WriteOptions,
)
from .protocol.post_policy import PostOptions
from .protocol.quirks import Quirks, QuirksName
from .transfer.listing import ParallelListing
from .transfer.many import Transfer
from .transfer.reader import ObjectReader
from .transfer.stream import ObjectStream
from .transfer.writer import ObjectWriter
from .transport import Transport

__version__ = _version("handtruck")

__all__ = (
    "SSEKMS",
    "SSES3",
    "AccessControlList",
    "AttributesOptions",
    "AwsObjectMeta",
    "BucketInfo",
    "CannedACL",
    "Checksum",
    "ChecksumAlgorithm",
    "CommonOptions",
    "ConfigurationKind",
    "CopyOptions",
    "CopyResult",
    "DeleteManyOptions",
    "DeleteOptions",
    "DeleteResult",
    "DeletedObject",
    "DownloadResult",
    "Folder",
    "Grant",
    "Grantee",
    "MultipartUploadInfo",
    "NotDeleted",
    "ObjectAttribute",
    "ObjectAttributes",
    "ObjectEncryption",
    "ObjectInfo",
    "ObjectOwnership",
    "ObjectPage",
    "ObjectPart",
    "ObjectReader",
    "ObjectStream",
    "ObjectVersion",
    "ObjectWriter",
    "ParallelListing",
    "PartInfo",
    "Permission",
    "PostOptions",
    "PresignedPost",
    "PresignedURL",
    "Progress",
    "PublicAccessBlock",
    "Quirks",
    "QuirksName",
    "ReadOptions",
    "RemovableKind",
    "RestoreStatus",
    "RestoreTier",
    "Retention",
    "RetentionMode",
    "RetentionOptions",
    "S3Client",
    "SSECustomer",
    "StorageClass",
    "Transfer",
    "Transfers",
    "Transport",
    "UploadResult",
    "VersionOptions",
    "VersionPage",
    "VersioningStatus",
    "WriteOptions",
    "__version__",
)
