"""What botocore's model of S3 says of a configuration's document: the oracle for ours.

botocore has names of its own for elements (``Rules`` for ``Rule``); a tree here has S3's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

import botocore.session
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import strategies as st

from handtruck.protocol.documents.trees import BRANCHES
from handtruck.protocol.operations import KINDS

from .strategies import xml_text

XML_KINDS: Final = tuple(kind for kind in KINDS if kind != "policy")


@lru_cache(maxsize=1)
def _service() -> Any:
    return botocore.session.get_session().get_service_model("s3")


def writer(kind: str) -> Any:
    """The operation that writes it."""
    return _service().operation_model(KINDS[kind].names[1])


def document(kind: str) -> Any:
    """The shape of the document that is written."""
    shape = writer(kind).input_shape
    return shape.members[shape.serialization["payload"]]


def _name(member: str, shape: Any) -> str:
    return str(shape.serialization.get("name", member))


def _item_name(member: str, shape: Any) -> str:
    """What an item of a list is called. In a flattened list that is the list's own name, or its item's."""
    of_items = shape.member.serialization.get("name")
    if shape.serialization.get("flattened"):
        return str(shape.serialization.get("name", of_items or member))
    return str(of_items or "member")


@dataclass
class Tables:
    """What the shapes say that our tables must say, too."""

    lists: set[str] = field(default_factory=set)
    numbers: set[str] = field(default_factory=set)
    flags: set[str] = field(default_factory=set)
    times: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)

    def add(self, name: str, shape: Any) -> None:
        """All that is below a structure."""
        for member, below in shape.members.items():
            self._add(name, _name(member, below), member, below)

    def _add(self, around: str, name: str, member: str, shape: Any) -> None:
        match shape.type_name:
            case "structure":
                self.add(name, shape)
            case "list":
                item = _item_name(member, shape)
                around = around if shape.serialization.get("flattened") else name
                self.lists.add(f"{around}/{item}")
                if shape.member.type_name == "structure":
                    self.add(item, shape.member)
            case "integer" | "long":
                self.numbers.add(name)
            case "boolean":
                self.flags.add(name)
            case "timestamp":
                self.times.add(name)
            case _:
                self.texts.add(name)


def trees(kind: str) -> st.SearchStrategy[Any]:
    """Every document that the model allows; structures are empty only where our tables say that they may be."""
    return _structures(document(kind), empty=True)


def _structures(shape: Any, *, empty: bool) -> st.SearchStrategy[Any]:
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for member, below in shape.members.items():
        name = _name(member, below)
        if below.type_name == "list":
            items = st.lists(_values(_item_name(member, below), below.member), min_size=1, max_size=2)
            if below.serialization.get("flattened"):
                fields[_item_name(member, below)] = items
            else:
                fields[name] = st.fixed_dictionaries({_item_name(member, below): items})
        else:
            fields[name] = _values(name, below)
    drawn = st.fixed_dictionaries({}, optional=fields)
    return drawn if empty else drawn.filter(bool)


def _values(name: str, shape: Any) -> st.SearchStrategy[Any]:
    match shape.type_name:
        case "structure":
            return st.just({}) if not shape.members else _structures(shape, empty=name in BRANCHES)
        case "integer" | "long":
            return st.integers(0, 2**31 - 1)
        case "boolean":
            return st.booleans()
        case "timestamp":
            return st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
                lambda time: time.replace(microsecond=0, tzinfo=UTC)
            )
    if shape.serialization.get("xmlAttribute"):
        return st.sampled_from(["CanonicalUser", "Group", "AmazonCustomerByEmail", "<&\"'>"])
    return xml_text().map(lambda text: text.replace("\r", ""))  # botocore sends a CR bare, which XML takes for an LF


def to_botocore(shape: Any, tree: dict[str, Any]) -> dict[str, Any]:
    """A tree under botocore's names."""
    found: dict[str, Any] = {}
    for member, below in shape.members.items():
        if below.type_name == "list":
            item = _item_name(member, below)
            inside = tree if below.serialization.get("flattened") else tree.get(_name(member, below))
            if inside is not None and item in inside:
                found[member] = [_to(below.member, each) for each in inside[item]]
        elif _name(member, below) in tree:
            found[member] = _to(below, tree[_name(member, below)])
    return found


def _to(shape: Any, value: Any) -> Any:
    return to_botocore(shape, value) if shape.type_name == "structure" else value


def serialised(kind: str, tree: dict[str, Any]) -> bytes:
    """The document as botocore writes it."""
    operation = writer(kind)
    payload = operation.input_shape.serialization["payload"]
    params = {"Bucket": "bucket", payload: to_botocore(document(kind), tree)}
    body = create_serializer("rest-xml", include_validation=False).serialize_to_request(params, operation)["body"]
    return bytes(body)


def parsed(kind: str, body: bytes) -> dict[str, Any]:
    """What botocore makes of the document, as an answer; under its own names."""
    shape = _service().operation_model(KINDS[kind].names[0]).output_shape
    found = create_parser("rest-xml").parse({"status_code": 200, "headers": {}, "body": body}, shape)
    del found["ResponseMetadata"]
    payload = shape.serialization.get("payload")
    inner: dict[str, Any] = found.get(payload, {}) if payload else found
    return inner
