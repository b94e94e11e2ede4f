"""Of deleting many objects at once: what is asked for, and what came of each.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias
from xml.sax.saxutils import escape

from ...models import DeletedObject, NotDeleted
from .xml import XMLNS, expect

if TYPE_CHECKING:
    from collections.abc import Iterable

ObjectIdentifier: TypeAlias = "tuple[str, str | None]"
"""A key, and a version of it or None."""

LONGEST_KEY: Final = 1024
"""Bytes of UTF-8."""

_UNSAFE: Final = re.compile("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletions:
    """What became of some objects."""

    deleted: tuple[DeletedObject, ...] = ()
    errors: tuple[NotDeleted, ...] = ()


def is_carried(name: ObjectIdentifier) -> bool:
    """Whether a document names this object, and no other, to every server.

    XML 1.0 has no way to write most control characters; a CR that an answer repeats as it is arrives as LF; blanks
    around a text are cut off by some parsers, so that another object would be deleted. Of a key that is too long
    servers refuse the whole document.
    """
    return not any(_UNSAFE.search(text) or text != text.strip() for text in name if text) and (
        len(name[0]) <= LONGEST_KEY // 4 or len(name[0].encode()) <= LONGEST_KEY
    )


def write_deletes(names: Iterable[ObjectIdentifier], *, quiet: bool) -> bytes:
    """The body of DeleteObjects; ``quiet``: the answer shall have the errors only."""
    rows = "".join(
        f"<Object><Key>{escape(key)}</Key>"
        + (f"<VersionId>{escape(version_id)}</VersionId>" if version_id is not None else "")
        + "</Object>"
        for key, version_id in names
    )
    head = f"<?xml version='1.0' encoding='utf-8'?>\n<Delete xmlns=\"{XMLNS}\">"
    return f"{head}{'<Quiet>true</Quiet>' if quiet else ''}{rows}</Delete>".encode()


def parse_deletions(body: bytes) -> Deletions:
    """The answer to DeleteObjects. A success without a key is none."""
    root = expect(body, "DeleteResult")
    deleted = (
        DeletedObject(
            key=element.findtext("Key") or "",
            version_id=element.findtext("VersionId") or None,
            delete_marker=element.findtext("DeleteMarker") == "true",
            delete_marker_version_id=element.findtext("DeleteMarkerVersionId") or None,
        )
        for element in root.iterfind("Deleted")
    )
    errors = (
        NotDeleted(
            key=element.findtext("Key") or "",
            version_id=element.findtext("VersionId") or None,
            code=element.findtext("Code") or None,
            message=element.findtext("Message") or None,
        )
        for element in root.iterfind("Error")
    )
    return Deletions(deleted=tuple(one for one in deleted if one.key), errors=tuple(errors))
