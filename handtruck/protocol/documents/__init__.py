"""S3's XML ⇄ values. Any bytes at all become a value or :class:`InvalidResponse`.

Namespaces are ignored: clones leave them out or misspell them. Every optional element is optional. A document
type declaration is refused, and with it every entity that could grow.

Keys may hold characters that XML 1.0 cannot carry, and most answers repeat the key (or the prefix) they are about:
all servers tried then send a document that no parser takes. Such characters are masked, and only where a masked text
would be believed (a listed key) it is an error.

Sources: the response syntax on the API page of each operation, https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from .buckets import (
    ListedBuckets,
    parse_listed_buckets,
    parse_location,
    write_new_bucket,
)
from .configuration import (
    parse_encryption,
    parse_ownership,
    parse_policy,
    parse_public_access_block,
    parse_tags,
    parse_versioning,
    write_encryption,
    write_ownership,
    write_policy,
    write_public_access_block,
    write_tags,
    write_versioning,
)
from .copies import CopiedObject, CopiedPart, parse_copied_object, parse_copied_part
from .deletes import Deletions, ObjectIdentifier, is_carried, parse_deletions, write_deletes
from .errors import ErrorDocument, parse_error
from .lists import ListedPage, ListedVersions, parse_listed_objects, parse_listed_versions, parse_marked_objects
from .multipart import (
    ListedParts,
    ListedUploads,
    parse_completed_checksums,
    parse_completed_etag,
    parse_listed_parts,
    parse_multipart_uploads,
    parse_upload_id,
    write_completion,
)
from .trees import (
    Tree,
    parse_tree,
    write_tree,
)
from .xml import expect_masked, parse_xml

__all__ = (
    "CopiedObject",
    "CopiedPart",
    "Deletions",
    "ErrorDocument",
    "ListedBuckets",
    "ListedPage",
    "ListedParts",
    "ListedUploads",
    "ListedVersions",
    "ObjectIdentifier",
    "Tree",
    "expect_masked",
    "is_carried",
    "parse_completed_checksums",
    "parse_completed_etag",
    "parse_copied_object",
    "parse_copied_part",
    "parse_deletions",
    "parse_encryption",
    "parse_error",
    "parse_listed_buckets",
    "parse_listed_objects",
    "parse_listed_parts",
    "parse_listed_versions",
    "parse_location",
    "parse_marked_objects",
    "parse_multipart_uploads",
    "parse_ownership",
    "parse_policy",
    "parse_public_access_block",
    "parse_tags",
    "parse_tree",
    "parse_upload_id",
    "parse_versioning",
    "parse_xml",
    "write_completion",
    "write_deletes",
    "write_encryption",
    "write_new_bucket",
    "write_ownership",
    "write_policy",
    "write_public_access_block",
    "write_tags",
    "write_tree",
    "write_versioning",
)
