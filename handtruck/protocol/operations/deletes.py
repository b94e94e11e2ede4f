"""Deleting objects: one, or up to 1 000 in one request."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections import Counter
from hashlib import md5
from typing import TYPE_CHECKING, Final, TypeVar

from ...errors import InvalidResponse
from ...models import DeletedObject, NotDeleted
from .. import documents
from ..prefixes import add
from .base import Headers, Operation, is_conditional

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..address import Location
    from ..answers import Answer
    from ..documents import Deletions, ObjectIdentifier

T = TypeVar("T", DeletedObject, NotDeleted)

_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion"})


def is_gone(code: str | None) -> bool:
    """The error of a deletion says that there is nothing to delete. To S3 that is a success, but not to all servers."""
    return code in _GONE


def delete_objects(
    bucket: Location, names: Sequence[ObjectIdentifier], headers: Headers = (), *, quiet: bool = False
) -> Operation[Deletions]:
    """Delete objects, each named once; gives what became of every one of them.

    Idempotent: what is deleted can be deleted again (a bucket with versions may get a second marker, which hides no
    more than the first). AWS wants a checksum of the body, many other servers its MD5: both are sent.
    """
    content = documents.write_deletes([(add(bucket.prefix, key), version) for key, version in names], quiet=quiet)
    digest = md5(content, usedforsecurity=False).digest()
    crc32 = zlib.crc32(content).to_bytes(4, "big")
    return Operation(
        name="DeleteObjects",
        method="POST",
        location=bucket,
        query=(("delete", None),),
        headers=(
            ("Content-Type", "application/xml"),
            ("Content-MD5", b64encode(digest).decode()),
            ("x-amz-checksum-crc32", b64encode(crc32).decode()),
            *headers,
        ),
        content=content,
        error_in_200=True,
        parse=lambda answer: _settle(names, documents.parse_deletions(answer.body), prefix=bucket.prefix, quiet=quiet),
    )


def delete_object(location: Location, version_id: str | None = None, headers: Headers = ()) -> Operation[DeletedObject]:
    """Delete one object, or one version of it. Idempotent, but with a condition: see :func:`delete_objects`."""

    def parse(answer: Answer) -> DeletedObject:
        marker = answer.headers.get("x-amz-delete-marker") == "true"
        said = answer.headers.get("x-amz-version-id") or None
        return DeletedObject(
            key=location.name,
            version_id=version_id,
            delete_marker=marker,
            delete_marker_version_id=said if marker else None,
        )

    return Operation(
        name="DeleteObject",
        method="DELETE",
        location=location,
        query=(("versionId", version_id),) if version_id is not None else (),
        headers=headers,
        idempotent=not is_conditional(headers),
        parse=parse,
    )


def _settle(names: Sequence[ObjectIdentifier], said: Deletions, *, prefix: str = "", quiet: bool) -> Deletions:
    """What became of each that was asked for: an error goes before a success, and silence is an error, too.

    To a quiet request silence is the success; so there no error may be passed over.

    Raises:
        InvalidResponse: there is one of something that was not asked for.
    """
    times, asked = Counter(key for key, _ in names), set(names)
    deleted, errors = _by_name(said.deleted), _by_name(said.errors)
    strangers = {id(error) for versions in errors.values() for error in versions.values()}
    gone: list[DeletedObject] = []
    left: list[NotDeleted] = []
    for key, version_id in names:
        alone = times[key] == 1
        error = _look_up(errors, add(prefix, key), version_id, alone=alone)
        success = _look_up(deleted, add(prefix, key), version_id, alone=alone)
        if error is None and success is None and (key, None) not in asked:
            error = errors.get(add(prefix, key), {}).get(None)  # of this version, or of another one: it does not say
        strangers.discard(id(error))
        if error is not None and not is_gone(error.code):
            left.append(NotDeleted(key=key, version_id=version_id, code=error.code, message=error.message))
        elif error is not None or success is not None or quiet:
            marker, made = (success.delete_marker, success.delete_marker_version_id) if success else (False, None)
            gone.append(
                DeletedObject(key=key, version_id=version_id, delete_marker=marker, delete_marker_version_id=made)
            )
        else:
            left.append(NotDeleted(key=key, version_id=version_id, message="the answer does not say what became of it"))
    if quiet and strangers:
        raise InvalidResponse("the answer tells of an error, but not which of the objects it is about")
    return documents.Deletions(deleted=tuple(gone), errors=tuple(left))


def _by_name(said: Iterable[T]) -> Mapping[str, Mapping[str | None, T]]:
    found: dict[str, dict[str | None, T]] = {}
    for one in said:
        found.setdefault(one.key, {})[one.version_id] = one
    return found


def _look_up(found: Mapping[str, Mapping[str | None, T]], key: str, version_id: str | None, *, alone: bool) -> T | None:
    """What was said of it. A key that was asked for once may come without its version, or with one of its own."""
    versions = found.get(key, {})
    if version_id in versions:
        return versions[version_id]
    if alone and len(versions) == 1 and (version_id is None or None in versions):
        return next(iter(versions.values()))
    return None
