"""What S3 and its identity sources tell us, and what transfers report: frozen, slotted values."""

from .encryption import SSEKMS, SSES3, Encryption, SSECustomer
from .identity import Credentials
from .lists import AwsObjectMeta, ObjectPage
from .multipart import MultipartUploadInfo, PartInfo
from .transfers import DownloadResult, Progress, UploadResult

__all__ = (
    "SSEKMS",
    "SSES3",
    "AwsObjectMeta",
    "Credentials",
    "DownloadResult",
    "Encryption",
    "MultipartUploadInfo",
    "ObjectPage",
    "PartInfo",
    "Progress",
    "SSECustomer",
    "UploadResult",
)
