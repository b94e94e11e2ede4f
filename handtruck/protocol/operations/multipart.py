"""Calls about multipart uploads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import InvalidResponse
from .. import documents
from ..checksums import TYPE_HEADER, value_header
from ..prefixes import add, named
from .base import Headers, Operation, is_conditional

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ...models import Checksum
    from ..address import Location, Query
    from ..answers import Answer


def create_multipart_upload(location: Location, headers: Headers) -> Operation[str]:
    """Begin a multipart upload; gives its id. Not idempotent: each call makes another upload."""
    return Operation(
        name="CreateMultipartUpload",
        method="POST",
        location=location,
        query=(("uploads", None),),
        headers=headers,
        idempotent=False,
        error_in_200=True,
        parse=lambda answer: documents.parse_upload_id(answer.body),
    )


def upload_part(location: Location, upload_id: str, number: int, headers: Headers = ()) -> Operation[str]:
    """Send one part; gives its ETag."""
    return Operation(
        name="UploadPart",
        method="PUT",
        location=location,
        query=(("partNumber", str(number)), ("uploadId", upload_id)),
        headers=headers,
        parse=_etag,
    )


def _etag(answer: Answer) -> str:
    etag = answer.headers.get("etag")
    if not etag:
        raise InvalidResponse("the answer to UploadPart has no ETag")
    return etag


def complete_multipart_upload(
    location: Location,
    upload_id: str,
    parts: Iterable[tuple[int, str]],
    headers: Headers = (),
    *,
    checksums: Mapping[int, Checksum] | None = None,
    whole: Checksum | None = None,
) -> Operation[str | None]:
    """Make an object of the parts; gives its ETag where the server tells. The body decides, not the status.

    ``checksums`` of the parts, and of the ``whole``, if it is one of all bytes: then S3 compares that, too.
    """
    if whole is not None and whole.type == "FULL_OBJECT":
        headers = (*headers, value_header(whole), (TYPE_HEADER, whole.type))
    return Operation(
        name="CompleteMultipartUpload",
        method="POST",
        location=location,
        query=(("uploadId", upload_id),),
        headers=(("Content-Type", "application/xml"), *headers),
        content=documents.write_completion(parts, checksums or {}),
        idempotent=not is_conditional(headers),
        error_in_200=True,
        final_codes=frozenset({"ConditionalRequestConflict"}),  # only a new upload can succeed after that
        parse=lambda answer: documents.parse_completed_etag(answer.body),
    )


def abort_multipart_upload(location: Location, upload_id: str, headers: Headers = ()) -> Operation[None]:
    """Throw an upload and its parts away."""
    return Operation(
        name="AbortMultipartUpload",
        method="DELETE",
        location=location,
        query=(("uploadId", upload_id),),
        headers=headers,
        parse=lambda _: None,
    )


def list_parts(
    location: Location, upload_id: str, headers: Headers = (), *, marker: int = 0, max_parts: int | None = None
) -> Operation[documents.ListedParts]:
    """One page of an upload's parts: those with numbers above ``marker``, at most ``max_parts``."""
    query: Query = (("uploadId", upload_id),)
    query += (("part-number-marker", str(marker)),) if marker else ()
    query += (("max-parts", str(max_parts)),) if max_parts is not None else ()
    return Operation(
        name="ListParts",
        method="GET",
        location=location,
        query=query,
        headers=headers,
        parse=lambda answer: documents.parse_listed_parts(answer.body),
    )


def list_multipart_uploads(bucket: Location, query: Query, headers: Headers = ()) -> Operation[documents.ListedUploads]:
    """One page of a bucket's unfinished uploads.

    With ``encoding-type=url`` in the query their keys are decoded, whether or not the answer says that they are
    encoded. Keys are called by their names below the bucket's prefix, and others are left out, but not in markers: not
    all servers look at the prefix.
    """
    encoded = ("encoding-type", "url") in query
    begin = next((value for name, value in query if name == "prefix"), None) or ""
    others = tuple(pair for pair in query if pair[0] != "prefix")

    def parse(answer: Answer) -> documents.ListedUploads:
        listed = documents.parse_multipart_uploads(answer.body, encoded=encoded)
        ours = [named(bucket.prefix, one) for one in listed.uploads if one.key.startswith(bucket.prefix)]
        return replace(listed, uploads=tuple(ours))

    whole = add(bucket.prefix, begin)
    return Operation(
        name="ListMultipartUploads",
        method="GET",
        location=bucket,
        query=(("uploads", None), *others, *((("prefix", whole),) if whole else ())),
        headers=headers,
        parse=parse,
    )
