"""handtruck: the S3 client for structured concurrency.

Import :class:`S3Client` and :class:`Transport` from here, keys' sources from :mod:`handtruck.credentials`, exceptions
from :mod:`handtruck.errors`. Everything else may move between releases.
"""

from importlib.metadata import version as _version

from .client import S3Client
from .models import AwsObjectMeta, DownloadResult, ObjectPage, Progress, UploadResult
from .transport import Transport

__version__ = _version("handtruck")

__all__ = (
    "AwsObjectMeta",
    "DownloadResult",
    "ObjectPage",
    "Progress",
    "S3Client",
    "Transport",
    "UploadResult",
    "__version__",
)
