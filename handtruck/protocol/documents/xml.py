"""What all of S3's documents have in common: how they are parsed, and what is made of their texts."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

# Safe here: expat expands no entity without a document type, and _Builder refuses those.
from xml.etree import ElementTree as ET

from ...errors import InvalidResponse

if TYPE_CHECKING:
    from collections.abc import Callable

XMLNS: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
MASK: Final = "\ufffd"
NO_XML: Final = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]"
    r"|&#(?:x0*(?:[0-8bcef]|1[0-9a-f]|fff[ef])|0*(?:[0-8]|1[124-9]|2[0-9]|3[01]|6553[45]));",
    re.IGNORECASE,
)
"""What XML 1.0 cannot carry, as it is and as a reference."""


class UnreadableKey(InvalidResponse):
    """A key that XML cannot carry."""


class _Builder(ET.TreeBuilder):
    def doctype(self, *_: object) -> None:
        raise InvalidResponse("the answer's XML has a document type declaration, which S3 never sends")


def parse_xml(body: bytes) -> ET.Element:
    """The root element, every tag below it without its namespace.

    Raises:
        InvalidResponse: this is no (or not all of an) XML document.
    """
    # S3 speaks UTF-8. What else a document may claim would run any of Python's codecs.
    parser = ET.XMLParser(target=_Builder(), encoding="utf-8")  # noqa: S314 - _Builder refuses document types
    try:
        # Some servers send blanks ahead of the document while they work; XML does not allow that.
        parser.feed(body.lstrip())
        root = parser.close()
    except (ET.ParseError, ValueError, LookupError) as error:
        raise InvalidResponse(f"the answer is no complete XML document: {error}") from error
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def parse_masked(body: bytes) -> tuple[ET.Element, bool]:
    """As :func:`parse_xml`, with U+FFFD for what XML cannot carry; and whether there was any such."""
    try:
        return parse_xml(body), False
    except InvalidResponse:
        masked = NO_XML.sub(MASK, body.decode("utf-8", "replace")).encode()
        if masked == body:
            raise
        return parse_xml(masked), True


def expect_masked(body: bytes, *tags: str) -> tuple[ET.Element, bool]:
    """As :func:`parse_masked`, of a document whose root has one of these names.

    Raises:
        InvalidResponse: it has another one, or this is no document.
    """
    root, masked = parse_masked(body)
    if root.tag not in tags:
        raise InvalidResponse(f"expected <{tags[0]}> in the answer, found <{root.tag}>")
    return root, masked


def expect(body: bytes, tag: str) -> ET.Element:
    """The root of a document of that name; what XML cannot carry is masked.

    Raises:
        InvalidResponse: see :func:`expect_masked`.
    """
    return expect_masked(body, tag)[0]


def need(element: ET.Element, tag: str) -> str:
    """The text of a child.

    Raises:
        InvalidResponse: there is none.
    """
    text = element.findtext(tag)
    if not text:
        raise InvalidResponse(f"<{element.tag}> in the answer has no <{tag}>")
    return text


def decoder_of(root: ET.Element, masked: bool, *, encoded: bool = False) -> Callable[[str], str]:
    """What makes keys of texts: decoded, if the answer says that they are encoded. Raises :class:`UnreadableKey`."""
    encoded = encoded or (root.findtext("EncodingType") or "").strip() == "url"

    def decode(text: str) -> str:
        if masked and MASK in text:
            raise UnreadableKey(f"the answer names {text!r}: a key that XML cannot carry, and it is not url-encoded")
        if encoded and ("%" in text or "+" in text):
            return unquote_plus(text, errors="surrogateescape")
        return text

    return decode


def integer(text: str) -> int | None:
    """A number from 0; None for an empty text.

    Raises:
        InvalidResponse: it is none.
    """
    if not text:
        return None
    # No more digits than 2**63 has: int() of untrusted text is otherwise a quadratic surprise.
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidResponse(f"{text[:40]!r} in the answer is no number")
    return int(text)


def time_of(text: str) -> datetime | None:
    """A point in time, time-zone aware; None for an empty text.

    Raises:
        InvalidResponse: it is none.
    """
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidResponse(f"{text[:40]!r} in the answer is no time") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
