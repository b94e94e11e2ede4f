"""Copies that S3 makes itself, where no byte passes us: what is read, what is written, and the requests for that.

A copy speaks of two objects. What speaks of the source has names of its own (``x-amz-copy-source-…``), and is kept
here under the names that a request about the source alone has; :meth:`CopySource.headers` translates.

*What is taken over.* One CopyObject takes the source's description (metadata, content type, caching …) or none of it,
and its tags or none of them. A multipart copy takes nothing. So what is to be kept beside something that is replaced,
or in a multipart copy, is read from the source and sent again.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html and API_UploadPartCopy.html
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 - for typing.get_type_hints()
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ...errors import InvalidResponse, UsageError
from ...models.encryption import SSECustomer  # noqa: TC001
from .. import documents
from ..address import Location, encode_path
from ..arns import is_arn, source_of
from ..checksums import is_strong, same_etag
from ..fields import time_said
from ..options import WriteOptions, encode_tags
from ..parts import range_header
from .base import Headers, Operation, is_conditional

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..address import Query
    from ..answers import Answer
    from ..documents import CopiedPart
    from ..options import ReadOptions


class CopyOptions(WriteOptions, total=False):
    """What :meth:`~handtruck.S3Client.copy` and ``move`` take: all that a write takes, and more of the source.

    Keys:
        source_if_match: only if its ETag is this one; else PreconditionFailed, as with the next three.
        source_if_none_match: only if its ETag is another one.
        source_if_modified_since: only if it was written after that. Time-zone aware, whole seconds.
        source_if_unmodified_since: only if it was not.
        source_sse: the :class:`~handtruck.SSECustomer` it was written with.
        source_expected_bucket_owner: the account id that its bucket must belong to; else 403.
    """

    source_if_match: str
    source_if_none_match: str
    source_if_modified_since: datetime
    source_if_unmodified_since: datetime
    source_sse: SSECustomer
    source_expected_bucket_owner: str


_PREFIX: Final = "source_"
_DESCRIBING: Final = frozenset(
    {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"}
)
_METADATA: Final = "x-amz-meta-"
_TAGS: Final = "x-amz-tagging"
_CHANGING: Final = ("x-amz-storage-class", "x-amz-website-redirect-location", "x-amz-server-side-encryption")
"""With the description, all that may change when an object is copied onto itself."""

_OURS: Final = ("x-amz-copy-source", "x-amz-metadata-directive", "x-amz-tagging-directive")
_CUSTOMER_KEY: Final = "x-amz-server-side-encryption-customer-"
_CONDITIONS: Final = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")


def sort_options(options: CopyOptions, version_id: str | None) -> tuple[WriteOptions, ReadOptions]:
    """What they say about the copy, and about the source."""
    writing: Any = {name: value for name, value in options.items() if not name.startswith(_PREFIX)}
    reading: Any = {name.removeprefix(_PREFIX): value for name, value in options.items() if name.startswith(_PREFIX)}
    if version_id is not None:
        reading["version_id"] = version_id
    if "request_payer" in options:
        reading["request_payer"] = options["request_payer"]
    return writing, reading


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundSource:
    """What HEAD said of the source.

    Attributes:
        size: bytes.
        last_modified: as the server sent it: it is compared, and means nothing else.
        version_id: of a version that never changes.
        tags: how many it has.
        described: the headers that describe it, metadata included.
        missing: it has metadata that no header can carry.
    """

    size: int
    etag: str | None
    last_modified: str | None
    version_id: str | None
    tags: int
    described: Headers
    missing: bool = False

    def is_as(self, other: FoundSource) -> bool:
        """Both are the same version of the object, as far as can be told."""
        if self.version_id != other.version_id or self.size != other.size:
            return False
        same = same_etag(self.etag, other.etag) if self.etag and other.etag else self.etag == other.etag
        return same and self.last_modified == other.last_modified


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """The object that is copied.

    Attributes:
        location: where it can be asked about; None: not at this endpoint, which is that of another bucket alone.
        asking: the headers of a request that asks about it: conditions, the key it is encrypted with, the payer.
    """

    bucket: str
    key: str
    version_id: str | None
    location: Location | None
    asking: Headers = ()

    def __str__(self) -> str:
        """``bucket/key``, for people."""
        version = f" (version {self.version_id})" if self.version_id else ""
        return f"{self.bucket}/{self.key}{version}"

    @property
    def immutable(self) -> bool:
        """A version that never changes."""
        return _immutable(self.version_id) is not None

    @property
    def conditional(self) -> bool:
        """The caller has conditions for it."""
        return any(name.lower() in _CONDITIONS for name, _ in self.asking)

    def unmet(self, found: FoundSource) -> str | None:
        """What stands against a condition of the caller's, at a server that has taken no notice of it; None: nothing.

        That of an ETag goes before the one of a date that means the same (RFC 9110, 13.2.2).
        """
        asked = {name.lower(): value for name, value in self.asking}
        match, unlike = asked.get("if-match"), asked.get("if-none-match")
        if match is not None and not same_etag(match, found.etag):
            return f"its ETag is {found.etag}, not {match}"
        if unlike is not None and same_etag(unlike, found.etag):
            return f"its ETag is {found.etag}"
        written = time_said(found.last_modified)
        before, after = time_said(asked.get("if-unmodified-since")), time_said(asked.get("if-modified-since"))
        late = match is None and written is not None and before is not None and written > before
        early = unlike is None and written is not None and after is not None and written <= after
        return f"it was last modified on {found.last_modified}" if late or early else None

    @property
    def query(self) -> Query:
        """Of a request that asks about it."""
        return (("versionId", self.version_id),) if self.version_id is not None else ()

    @property
    def unconditional(self) -> Headers:
        """The headers of a request that asks about it whatever it is by now."""
        return tuple(header for header in self.asking if header[0].lower() not in _CONDITIONS)

    @property
    def bare(self) -> Headers:
        """The headers of a request that neither asks for conditions nor reads any byte of it."""
        return tuple(header for header in self.unconditional if not header[0].lower().startswith(_CUSTOMER_KEY))

    def headers(self, found: FoundSource | None = None) -> Headers:
        """How a copy speaks of it; of what was found nothing but this very version is to be copied."""
        name = encode_path(source_of(self.bucket, self.key) if is_arn(self.bucket) else f"{self.bucket}/{self.key}")
        if self.version_id is not None:
            name += f"?versionId={quote(self.version_id, safe='')}"
        asking = self.asking
        if found is not None and found.etag and is_strong(found.etag):
            asking = (*self.unconditional, ("If-Match", found.etag))  # what the caller asked for was true of it
        return (("x-amz-copy-source", name), *filter(None, map(_of_source, asking)))


def _immutable(version_id: str | None) -> str | None:
    """A version's id, but not that of what was written while the bucket kept no versions, which may be overwritten."""
    return None if version_id in (None, "", "null") else version_id


def _of_source(header: tuple[str, str]) -> tuple[str, str] | None:
    """What a request about the source says, as a copy says it."""
    name, value = header[0].lower(), header[1]
    if name in _CONDITIONS:
        return f"x-amz-copy-source-{name}", value
    if name.startswith(_CUSTOMER_KEY):
        return f"x-amz-copy-source-{header[0][len('x-amz-') :]}", value
    return ("x-amz-source-expected-bucket-owner", value) if name == "x-amz-expected-bucket-owner" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyTarget:
    """What the copy is to be.

    Attributes:
        headers: the caller's.
        keep: what they do not say is as it is at the source; else there is nothing but what they say.
        metadata: they say something about metadata, though it may be that there is to be none.
        tags: the same of tags.
    """

    headers: Headers
    keep: bool
    metadata: bool
    tags: bool

    @property
    def replaces(self) -> bool:
        """The description is not the source's."""
        return not self.keep or self.metadata or any(_describes(name) for name, _ in self.headers)

    @property
    def mends(self) -> bool:
        """The description is the source's in parts, so that it must be known."""
        return self.keep and self.replaces

    @property
    def keeps_tags(self) -> bool:
        """The tags are to be the source's."""
        return self.keep and not self.tags

    @property
    def changes(self) -> bool:
        """It is not just the same once more."""
        return self.replaces or any(name.lower().startswith(_CHANGING) for name, _ in self.headers)

    def check(self) -> None:
        """Refuse headers that are ours to write.

        Raises:
            UsageError: there is one.
        """
        for name, _ in self.headers:
            if name.lower().startswith(_OURS):
                raise UsageError(f"the header {name} is handtruck's own here: the arguments of the call stand for it")

    def at_once(self, found: FoundSource | None) -> Headers:
        """The headers of a single CopyObject."""
        headers = self.headers
        if self.mends:
            assert found is not None
            headers += self._kept(found)
        if self.replaces:
            headers += (("x-amz-metadata-directive", "REPLACE"),)
        return headers if self.keeps_tags else (*headers, ("x-amz-tagging-directive", "REPLACE"))

    def in_parts(self, found: FoundSource, tags: Mapping[str, str]) -> Headers:
        """The headers of a multipart upload; ``tags`` are the source's, where they are to be kept."""
        headers = self.headers + (self._kept(found) if self.keep else ())
        return (*headers, (_TAGS, encode_tags(tags))) if tags else headers

    def _kept(self, found: FoundSource) -> Headers:
        if found.missing and not self.metadata:
            raise UsageError("the source has metadata that no header can carry; say what it is to be, by metadata=")
        given = {name.lower() for name, _ in self.headers}
        kept = []
        for name, value in found.described:
            if name in given or (self.metadata and name.startswith(_METADATA)):
                continue
            if not (value.isascii() and value.isprintable()):
                raise UsageError(f"the source's {name} is {value!r}, which cannot be sent again; say what it is to be")
            kept.append((name, value))
        return tuple(kept)


def new_target(headers: Headers, options: WriteOptions, *, keep: bool) -> CopyTarget:
    """What the copy is to be, by all the headers and by the options that some of them come from."""
    names = [name.lower() for name, _ in headers]
    return CopyTarget(
        headers=headers,
        keep=keep,
        metadata="metadata" in options or any(name.startswith(_METADATA) for name in names),
        tags="tags" in options or _TAGS in names,
    )


def _describes(name: str) -> bool:
    return name.lower() in _DESCRIBING or name.lower().startswith(_METADATA)


def find_object(location: Location, headers: Headers = (), query: Query = ()) -> Operation[FoundSource]:
    """Ask what there is: of the source, or of the copy."""
    return Operation(
        name="HeadObject", method="HEAD", location=location, query=query, headers=headers, parse=parse_found
    )


def find_source(source: CopySource, *, conditions: bool = True) -> Operation[FoundSource]:
    """Ask about the source; without its conditions where all that matters is what has become of it."""
    assert source.location is not None
    return find_object(source.location, source.asking if conditions else source.unconditional, source.query)


def parse_found(answer: Answer) -> FoundSource:
    """What an answer to HEAD says of an object that is to be copied."""
    told = answer.headers
    size, tags = told.get("content-length", ""), told.get("x-amz-tagging-count", "")
    if not (size.isascii() and size.isdigit()):
        raise InvalidResponse("the answer to HeadObject does not tell the object's size, and it is needed")
    return FoundSource(
        size=int(size),
        etag=told.get("etag") or None,
        last_modified=told.get("last-modified"),
        version_id=_immutable(told.get("x-amz-version-id")),
        tags=int(tags) if tags.isascii() and tags.isdigit() else 0,
        described=tuple((name.lower(), value) for name, value in told.items() if _describes(name)),
        missing=told.get("x-amz-missing-meta", "0") != "0",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way(Location):
    """Where a copy is written; for people, also where it comes from."""

    source: str

    def __str__(self) -> str:
        return f"{self.source} to {Location.__str__(self)}"


def _way(source: CopySource, target: Location) -> Location:
    return _Way(path=target.path, bucket=target.bucket, key=target.key, source=str(source))


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """What the answer to CopyObject says."""

    document: documents.CopiedObject
    version_id: str | None
    source_version_id: str | None


def copy_object(
    source: CopySource, target: Location, headers: Headers, found: FoundSource | None = None
) -> Operation[Copied]:
    """Copy an object of up to 5 GiB. The body decides, not the status. Twice does no harm without a condition."""

    def parse(answer: Answer) -> Copied:
        return Copied(
            document=documents.parse_copied_object(answer.body),
            version_id=answer.headers.get("x-amz-version-id"),
            source_version_id=answer.headers.get("x-amz-copy-source-version-id"),
        )

    itself = source.location is not None and source.location.path == target.path
    return Operation(
        name="CopyObject",
        method="PUT",
        location=_way(source, target),
        headers=(*source.headers(found), *headers),
        # Onto itself, its success is a new version: what was found is there no more.
        idempotent=not (is_conditional(headers) or (itself and found is not None)),
        error_in_200=True,
        parse=parse,
    )


def upload_part_copy(
    source: CopySource,
    target: Location,
    upload_id: str,
    number: int,
    byte_range: tuple[int, int],
    found: FoundSource,
    headers: Headers = (),
) -> Operation[tuple[CopiedPart, str | None]]:
    """Copy bytes ``[start, stop)`` of what was found as one part; gives also the version that was read.

    The body decides, not the status.
    """
    return Operation(
        name="UploadPartCopy",
        method="PUT",
        location=_way(source, target),
        query=(("partNumber", str(number)), ("uploadId", upload_id)),
        headers=(*source.headers(found), ("x-amz-copy-source-range", range_header(*byte_range)), *headers),
        error_in_200=True,
        parse=lambda answer: (
            documents.parse_copied_part(answer.body),
            answer.headers.get("x-amz-copy-source-version-id"),
        ),
    )
