"""S3's longer documents as trees of dictionaries, under S3's own names, there and back.

An element with children is a dict; one that S3 lets come several times is a list, always; the others are text, but
those that are a number, a yes or no, or a time::

    {"Rule": [{"ID": "old logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}}]}

The tables say which are which. What they do not know survives: as text, as a dict, or as a list where it came more
than once. Lists without items, and numbers, flags and times without anything in them, are as if they were not there;
an element without anything in it is the empty text, or where the table of branches has it, the empty dict.
Namespaces are written, and ignored when they are read. Of attributes there is ``xsi:type``, which ACLs need.

Source of the tables: the request syntax on the API page of each ``PutBucket…``,
https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from xml.sax.saxutils import escape, quoteattr

from ...errors import InvalidResponse, UsageError
from ..fields import iso_date
from .xml import XMLNS, parse_xml, time_of

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

Tree: TypeAlias = dict[str, Any]
"""S3's element names, and below each a dict, a list, text, a number, a bool or a time."""

LISTS: Final = frozenset(
    {
        "AccessControlList/Grant",
        "And/Tag",
        "BlockedEncryptionTypes/EncryptionType",
        "CORSConfiguration/CORSRule",
        "CORSRule/AllowedHeader",
        "CORSRule/AllowedMethod",
        "CORSRule/AllowedOrigin",
        "CORSRule/ExposeHeader",
        "CloudFunctionConfiguration/Event",
        "LifecycleConfiguration/Rule",
        "NotificationConfiguration/CloudFunctionConfiguration",
        "NotificationConfiguration/QueueConfiguration",
        "NotificationConfiguration/TopicConfiguration",
        "OwnershipControls/Rule",
        "QueueConfiguration/Event",
        "ReplicationConfiguration/Rule",
        "RoutingRules/RoutingRule",
        "Rule/NoncurrentVersionTransition",
        "Rule/Transition",
        "S3Key/FilterRule",
        "ServerSideEncryptionConfiguration/Rule",
        "TagSet/Tag",
        "TargetGrants/Grant",
        "TopicConfiguration/Event",
    }
)
"""What may come several times, with the element around it."""

NUMBERS: Final = frozenset(
    {
        "Days",
        "DaysAfterInitiation",
        "MaxAgeSeconds",
        "Minutes",
        "NewerNoncurrentVersions",
        "NoncurrentDays",
        "ObjectSizeGreaterThan",
        "ObjectSizeLessThan",
        "Priority",
        "Years",
    }
)
FLAGS: Final = frozenset(
    {
        "BlockPublicAcls",
        "BlockPublicPolicy",
        "BucketKeyEnabled",
        "ExpiredObjectDeleteMarker",
        "IgnorePublicAcls",
        "RestrictPublicBuckets",
    }
)
TIMES: Final = frozenset({"Date"})
BRANCHES: Final = frozenset(
    {
        "AccessControlList",
        "And",
        "BlockedEncryptionTypes",
        "DefaultRetention",
        "EventBridgeConfiguration",
        "Expiration",
        "Filter",
        "LoggingEnabled",
        "PartitionedPrefix",
        "RoutingRules",
        "SimplePrefix",
        "TagSet",
        "TargetGrants",
    }
)
"""What has children, and may have none."""

TYPE: Final = "xsi:type"
DEEPEST: Final = 32
"""Elements inside one another; S3's own documents have seven."""

_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*", re.ASCII)
_NOT_IN_XML: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def parse_tree(body: bytes, *roots: str) -> Tree:
    """A document whose root has one of these names, the first of which is S3's.

    Raises:
        InvalidResponse: it has another one, this is no document, or its values are not what they should be.
    """
    root = parse_xml(body)
    if root.tag not in roots:
        raise InvalidResponse(f"expected <{roots[0]}> in the answer, found <{root.tag}>")
    return _branch(root, roots[0], DEEPEST)


def _branch(element: ET.Element, name: str, depth: int) -> Tree:
    if not depth:
        raise InvalidResponse(f"the answer has elements more than {DEEPEST} deep")
    tree: Tree = {}
    kind = element.get(f"{{{_XSI}}}type")
    if kind is not None:
        tree[TYPE] = kind
    for child in element:
        value = _node(child, depth - 1)
        if value is None:
            continue
        if f"{name}/{child.tag}" in LISTS:
            tree.setdefault(child.tag, []).append(value)
        elif child.tag not in tree:
            tree[child.tag] = value
        elif isinstance(tree[child.tag], list):
            tree[child.tag].append(value)
        else:
            tree[child.tag] = [tree[child.tag], value]
    return tree


def _node(element: ET.Element, depth: int) -> object:
    """What an element says; None where it says nothing, and had to."""
    name, text = element.tag, element.text or ""
    if len(element) or element.attrib.keys() & {f"{{{_XSI}}}type"} or (name in BRANCHES and not text.strip()):
        return _branch(element, name, depth)
    if name in NUMBERS:
        return _number(name, text.strip())
    if name in FLAGS:
        return _flag(name, text.strip().lower())
    return time_of(text.strip()) if name in TIMES else text


def _number(name: str, text: str) -> int | None:
    if text and not _NUMBER.fullmatch(text):
        raise InvalidResponse(f"<{name}> in the answer is no number: {text[:40]!r}")
    return int(text) if text else None


def _flag(name: str, text: str) -> bool | None:
    if text not in ("true", "false", ""):
        raise InvalidResponse(f"<{name}> in the answer is neither true nor false: {text[:40]!r}")
    return text == "true" if text else None


def write_tree(root: str, tree: object) -> bytes:
    """The document.

    Raises:
        UsageError: it is no such tree; says which element is not what it should be.
    """
    if not isinstance(tree, Mapping):
        raise UsageError(f"{root} must be a dict of S3's element names, not {type(tree).__name__}")
    text = "".join(_element(root, tree, root, f' xmlns="{XMLNS}"', DEEPEST))
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


def _element(name: str, value: object, path: str, attributes: str, depth: int) -> Iterator[str]:
    """One element; ``path`` says where it stands, for messages."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{path}: {name!r:.60} is no name of an element")
    if not depth:
        raise UsageError(f"{path[:200]}: more than {DEEPEST} dicts deep")
    if not isinstance(value, Mapping):
        yield f"<{name}{attributes}>{_leaf(name, value, path)}</{name}>"
        return
    if TYPE in value:
        attributes += f' xmlns:xsi="{_XSI}" {TYPE}={quoteattr(_text(value[TYPE], f"{path}/{TYPE}"))}'
    yield f"<{name}{attributes}>"
    for child, below in _children(value, path):
        items = _items(f"{name}/{child}", below, f"{path}/{child}")
        for item in items:
            yield from _element(child, item, f"{path}/{child}", "", depth - 1)
    yield f"</{name}>"


def _children(value: Mapping[Any, object], path: str) -> Iterator[tuple[str, object]]:
    for child, below in value.items():
        if not isinstance(child, str):
            raise UsageError(f"{path}: the name of an element must be text, not {child!r:.60}")
        if child != TYPE:
            yield child, below


def _items(name: str, value: object, path: str) -> Iterable[object]:
    if isinstance(value, list | tuple):
        return value
    if name in LISTS:
        raise UsageError(f"{path} must be a list, not {value!r:.60}")
    return (value,)


def _leaf(name: str, value: object, path: str) -> str:
    if name in NUMBERS:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 10**18:
            raise UsageError(f"{path} must be a whole number, not {value!r:.60}")
        return str(value)
    if name in FLAGS:
        if not isinstance(value, bool):
            raise UsageError(f"{path} must be True or False, not {value!r:.60}")
        return str(value).lower()
    if name in TIMES:
        return iso_date(path, value)
    return escape(_text(value, path), {"\r": "&#13;"})


def _text(value: object, path: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{path} must be text, not {value!r:.60}")
    if _NOT_IN_XML.search(value):
        raise UsageError(f"{path} has a character that XML cannot carry: {value!r:.60}")
    return value
