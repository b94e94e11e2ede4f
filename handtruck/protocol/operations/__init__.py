"""Each S3 call as a value: the request that goes out, the facts that decide about retries, what its answer means.

By families: :mod:`~.objects`, :mod:`~.subresources`, :mod:`~.multipart`, :mod:`~.lists` …; :mod:`~.base` says what a
call is.

Source of each: the page of the same name under https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from .base import CONDITIONAL, Headers, Operation, UploadHeaders, is_conditional, sort_upload_headers
from .buckets import (
    canned_acl,
    create_bucket,
    delete_bucket,
    get_bucket_location,
    head_bucket,
    list_buckets,
    new_bucket_headers,
)
from .configuration import (
    KINDS,
    Kind,
    Setting,
    delete_configuration,
    get_configuration,
    put_configuration,
)
from .copies import (
    Copied,
    CopyOptions,
    CopySource,
    CopyTarget,
    FoundSource,
    copy_object,
    find_object,
    find_source,
    new_target,
    sort_options,
    upload_part_copy,
)
from .deletes import delete_object, delete_objects, is_gone
from .lists import list_object_versions, list_objects, list_objects_v2
from .multipart import (
    abort_multipart_upload,
    complete_multipart_upload,
    create_multipart_upload,
    list_multipart_uploads,
    list_parts,
    upload_part,
)
from .objects import get_object, head_object, plain, put_object
from .sessions import create_session

__all__ = (
    "CONDITIONAL",
    "KINDS",
    "Copied",
    "CopyOptions",
    "CopySource",
    "CopyTarget",
    "FoundSource",
    "Headers",
    "Kind",
    "Operation",
    "Setting",
    "UploadHeaders",
    "abort_multipart_upload",
    "canned_acl",
    "complete_multipart_upload",
    "copy_object",
    "create_bucket",
    "create_multipart_upload",
    "create_session",
    "delete_bucket",
    "delete_configuration",
    "delete_object",
    "delete_objects",
    "find_object",
    "find_source",
    "get_bucket_location",
    "get_configuration",
    "get_object",
    "head_bucket",
    "head_object",
    "is_conditional",
    "is_gone",
    "list_buckets",
    "list_multipart_uploads",
    "list_object_versions",
    "list_objects",
    "list_objects_v2",
    "list_parts",
    "new_bucket_headers",
    "new_target",
    "plain",
    "put_configuration",
    "put_object",
    "sort_options",
    "sort_upload_headers",
    "upload_part",
    "upload_part_copy",
)
