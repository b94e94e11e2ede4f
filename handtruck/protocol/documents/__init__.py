"""S3's XML ⇄ values. Any bytes at all become a value or :class:`InvalidResponse`.

Namespaces are ignored: clones leave them out or misspell them. Every optional element is optional. A document
type declaration is refused, and with it every entity that could grow.

Keys may hold characters that XML 1.0 cannot carry, and most answers repeat the key (or the prefix) they are about:
all servers tried then send a document that no parser takes. Such characters are masked, and only where a masked text
would be believed (a listed key) it is an error.

Sources: the response syntax on the API page of each operation, https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from .errors import ErrorDocument, parse_error
from .lists import ListedPage, parse_listed_objects
from .multipart import (
    ListedParts,
    ListedUploads,
    parse_completed_etag,
    parse_listed_parts,
    parse_multipart_uploads,
    parse_upload_id,
    write_completion,
)
from .xml import parse_xml

__all__ = (
    "ErrorDocument",
    "ListedPage",
    "ListedParts",
    "ListedUploads",
    "parse_completed_etag",
    "parse_error",
    "parse_listed_objects",
    "parse_listed_parts",
    "parse_multipart_uploads",
    "parse_upload_id",
    "parse_xml",
    "write_completion",
)
