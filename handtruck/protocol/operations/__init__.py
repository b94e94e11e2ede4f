"""Each S3 call as a value: the request that goes out, the facts that decide about retries, what its answer means.

By families: :mod:`~.objects`, :mod:`~.multipart`, :mod:`~.lists`; :mod:`~.base` says what a call is.

Source of each: the page of the same name under https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from .base import CONDITIONAL, Headers, Operation, UploadHeaders, is_conditional, sort_upload_headers
from .lists import list_objects_v2
from .multipart import (
    abort_multipart_upload,
    complete_multipart_upload,
    create_multipart_upload,
    list_multipart_uploads,
    list_parts,
    upload_part,
)
from .objects import get_object, head_object, plain, put_object

__all__ = (
    "CONDITIONAL",
    "Headers",
    "Operation",
    "UploadHeaders",
    "abort_multipart_upload",
    "complete_multipart_upload",
    "create_multipart_upload",
    "get_object",
    "head_object",
    "is_conditional",
    "list_multipart_uploads",
    "list_objects_v2",
    "list_parts",
    "plain",
    "put_object",
    "sort_upload_headers",
    "upload_part",
)
