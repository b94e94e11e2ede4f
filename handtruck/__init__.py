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
    AwsObjectMeta,
    DownloadResult,
    MultipartUploadInfo,
    ObjectPage,
    PartInfo,
    Progress,
    SSECustomer,
    UploadResult,
)
from .protocol.options import CannedACL, DeleteOptions, ReadOptions, RetentionMode, StorageClass, WriteOptions
from .transfer.many import Transfer
from .transfer.reader import ObjectReader
from .transfer.stream import ObjectStream
from .transfer.writer import ObjectWriter
from .transport import Transport

__version__ = _version("handtruck")

__all__ = (
    "SSEKMS",
    "SSES3",
    "AwsObjectMeta",
    "CannedACL",
    "DeleteOptions",
    "DownloadResult",
    "MultipartUploadInfo",
    "ObjectPage",
    "ObjectReader",
    "ObjectStream",
    "ObjectWriter",
    "PartInfo",
    "Progress",
    "ReadOptions",
    "RetentionMode",
    "S3Client",
    "SSECustomer",
    "StorageClass",
    "Transfer",
    "Transfers",
    "Transport",
    "UploadResult",
    "WriteOptions",
    "__version__",
)
