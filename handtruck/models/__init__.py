"""What S3 and its identity sources tell us, and what transfers report: frozen, slotted values."""

from .buckets import (
    BucketInfo,
    ConfigurationKind,
    ObjectOwnership,
    PublicAccessBlock,
    RemovableKind,
    VersioningStatus,
)
from .checksums import Checksum, ChecksumAlgorithm, ChecksumType
from .copies import CopyResult
from .deletes import DeletedObject, DeleteResult, NotDeleted
from .encryption import SSEKMS, SSES3, Encryption, SSECustomer
from .identity import Credentials
from .lists import AwsObjectMeta, Folder, ObjectPage, ObjectVersion, VersionPage
from .multipart import MultipartUploadInfo, PartInfo
from .objects import (
    AccessControlList,
    Grant,
    Grantee,
    ObjectAttribute,
    ObjectAttributes,
    ObjectEncryption,
    ObjectInfo,
    ObjectPart,
    Permission,
    RestoreStatus,
    RestoreTier,
    Retention,
    RetentionMode,
)
from .presigning import PresignedPost, PresignedURL
from .transfers import DownloadResult, Progress, UploadResult

__all__ = (
    "SSEKMS",
    "SSES3",
    "AccessControlList",
    "AwsObjectMeta",
    "BucketInfo",
    "Checksum",
    "ChecksumAlgorithm",
    "ChecksumType",
    "ConfigurationKind",
    "CopyResult",
    "Credentials",
    "DeleteResult",
    "DeletedObject",
    "DownloadResult",
    "Encryption",
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
    "ObjectVersion",
    "PartInfo",
    "Permission",
    "PresignedPost",
    "PresignedURL",
    "Progress",
    "PublicAccessBlock",
    "RemovableKind",
    "RestoreStatus",
    "RestoreTier",
    "Retention",
    "RetentionMode",
    "SSECustomer",
    "UploadResult",
    "VersionPage",
    "VersioningStatus",
)
