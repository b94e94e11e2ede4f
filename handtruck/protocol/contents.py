"""The objects of a listing, the quick way: by a pattern for the shape that a server gives each of them.

A page of 1 000 objects takes an XML parser about 10 ms of the event loop's time. Servers write all ``<Contents>`` of a
page alike, so the first of them is made into a pattern, which is held against all of them in one go. Whatever is not
exactly of that shape, or holds anything but plain text and XML's five entities, is left to the parser: for every
document that is read this way both give the same objects (a property test says so).
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree import ElementTree as ET

_OPEN: Final = "<Contents>"
_CLOSE: Final = "</Contents>"
_TEXT: Final = re.compile(r">[^<]*<")
_TAG: Final = re.compile(r"<(/?)(\w+)>")
_ENTITIES: Final = ("&lt;", "&gt;", "&amp;")
_CONTROLS: Final = bytes({*range(32), 127} - {9, 10})
_MARK: Final = "handtruck"
MARKER: Final = f'<Contents {_MARK}="1"/>'
_MARKED: Final = re.compile(rf"\s{_MARK}\s*=")
_LONGEST: Final = 2000  # of what a server calls an object's fields; longer ones would make long patterns

FIELDS: Final = ("Key", "Size", "ETag", "LastModified", "StorageClass", "Owner/ID")

Row = tuple[str, ...]
"""The texts of :data:`FIELDS`; blank where there is none."""


class Contents(NamedTuple):
    """A listing, taken apart.

    Attributes:
        rows: the objects.
        rest: the document with :data:`MARKER` in their place.
    """

    rows: list[Row]
    rest: str


class _Shape(NamedTuple):
    """What one ``<Contents>`` looks like, and where its fields stand.

    Attributes:
        length: of all that is not text.
        pick: a row's texts in the order of :data:`FIELDS`.
    """

    pattern: re.Pattern[str]
    length: int
    pick: Callable[[tuple[str, ...]], Row]


def take_contents(body: bytes) -> Contents | None:
    """The objects of a listing, or None where it has to be parsed: never an error."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    start, stop = text.find(_OPEN), text.rfind(_CLOSE) + len(_CLOSE)
    if start < 0 or stop <= start:
        return None
    outside, listed = text[:start] + text[stop:], text[start:stop]
    # Here a quote is a character like others, and every ETag has two of them.
    listed = listed.replace("&quot;", '"')
    if "&" in listed:
        listed = listed.replace("&apos;", "'")
    skeleton = _TEXT.sub("><", listed[: listed.find(_CLOSE) + len(_CLOSE)])
    shape = _shape_of(skeleton) if len(skeleton) <= _LONGEST else None
    if shape is None or _MARKED.search(outside) or _is_odd(listed) or len(body.translate(None, _CONTROLS)) != len(body):
        return None
    rows: list[tuple[str, ...]] = shape.pattern.findall(listed)
    # All of it, without a gap: else there is something between them, or one that is shaped otherwise.
    if sum(map(len, chain.from_iterable(rows))) + shape.length * len(rows) != len(listed):
        return None
    rows = [shape.pick((*row, "")) for row in rows]
    if "&" in listed:
        rows = [tuple([_unescape(each) for each in row]) for row in rows]
    return Contents(rows, text[:start] + MARKER + text[stop:])


def is_marker(element: ET.Element) -> bool:
    """This is what stands where the objects stood, and no other element of that name."""
    return element.get(_MARK) is not None


def _is_odd(listed: str) -> bool:
    """The text has what only a parser understands: references, line ends to be normalised, what is no XML."""
    # To look for one character costs next to nothing, for two it does.
    if "&" in listed and listed.count("&") != sum(map(listed.count, _ENTITIES)):
        return True
    return ("]" in listed and "]]" in listed) or "\ufffe" in listed or "\uffff" in listed


@lru_cache(maxsize=64)
def _shape_of(skeleton: str) -> _Shape | None:
    """The pattern for all that look like this one, or None if it is nothing that a listing has."""
    tags = [(mark.group(1), mark.group(2)) for mark in _TAG.finditer(skeleton)]
    if "".join(f"<{slash}{name}>" for slash, name in tags) != skeleton:
        return None
    pattern = ""
    path: list[str] = []
    paths: list[str] = []
    for (slash, name), after in zip(tags, [*tags[1:], ("", "")], strict=True):
        pattern += f"<{slash}{name}>"
        if slash:
            if not path or path.pop() != name:
                return None
            continue
        path.append(name)
        if after == ("/", name):
            pattern += "([0-9]{1,19})" if name == "Size" else "([^<]*)"
            paths.append("/".join(path[1:]))
    if len(paths) < 2 or len(set(paths)) < len(paths) or "Key" not in paths:
        return None
    return _Shape(re.compile(pattern), len(skeleton), _picker(paths))


def _picker(paths: list[str]) -> Callable[[tuple[str, ...]], Row]:
    """A row has a blank at its end, which stands for what it does not have."""
    return itemgetter(*(paths.index(field) if field in paths else len(paths) for field in FIELDS))


def _unescape(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") if "&" in text else text
