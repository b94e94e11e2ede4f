"""The quick way through a listing gives what the parser gives, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse
from handtruck.protocol import contents, documents

from .strategies import DETERMINISTIC

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEAVES: Final = ("Key", "Size", "ETag", "LastModified", "StorageClass", "Owner", "Type", "ChecksumAlgorithm")
TEXT: Final = st.text(st.sampled_from("abc/&<>\"' +%é\n\t\r日🚚]\x01"), max_size=8)
VALUES: Final = {
    "Size": st.integers(0, 10**19 - 1).map(str) | st.sampled_from(["", "x", "-1", "9" * 20, "١"]),
    "LastModified": st.sampled_from(["2026-11-22T12:00:00.000Z", "2026-11-22T12:00:00", "", "yesterday"]),
    "Key": TEXT.filter(bool) | st.just(""),
}


def one(leaves: Sequence[str], texts: Mapping[str, str], *, quoted: bool) -> str:
    """A ``<Contents>``."""
    entities = {'"': "&quot;"} if quoted else {}
    parts = []
    for leaf in leaves:
        text = escape(texts[leaf], entities)
        parts.append(f"<Owner><ID>{text}</ID></Owner>" if leaf == "Owner" else f"<{leaf}>{text}</{leaf}>")
    return f"<Contents>{''.join(parts)}</Contents>"


def listing(body: str, *, more: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>{body}{more}</ListBucketResult>'.encode()


@st.composite
def listings(draw: st.DrawFn) -> bytes:
    """Pages as servers write them, and as none would."""
    leaves = draw(st.permutations(LEAVES).flatmap(lambda all_: st.integers(1, len(all_)).map(lambda n: all_[:n])))
    quoted = draw(st.booleans())
    texts = st.fixed_dictionaries({leaf: VALUES.get(leaf, TEXT) for leaf in leaves})
    rows = [one(leaves, row, quoted=quoted) for row in draw(st.lists(texts, min_size=1, max_size=4))]
    between = draw(
        st.sampled_from(["", "", "", "\n", "<!-- x -->", "<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>"])
    )
    body = between.join(rows)
    wrap = draw(st.sampled_from(["", "", "", "Foo", "!--", "![CDATA["]))
    body = {"": body, "!--": f"<!--{body}-->", "![CDATA[": f"<![CDATA[{body}]]>"}.get(wrap, f"<{wrap}>{body}</{wrap}>")
    return listing(body, more=draw(st.sampled_from(["", "<EncodingType>url</EncodingType>", "<Name>b</Name>"])))


def outcome(body: bytes) -> object:
    try:
        listed = documents.parse_listed_objects(body)
    except InvalidResponse:
        return InvalidResponse
    return list(listed.page), listed.page.common_prefixes, listed.token


def check_both_ways_agree(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = outcome(body)
    with monkeypatch.context() as patch:
        patch.setattr(documents, "take_contents", lambda _: None)
        assert quick == outcome(body)


@DETERMINISTIC
@given(body=listings())
def test_both_ways_agree(body: bytes) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_both_ways_agree(body, monkeypatch)


@DETERMINISTIC
@given(body=st.binary() | st.text().map(str.encode))
def test_any_bytes_are_no_error(body: bytes) -> None:
    contents.take_contents(body)


AWS: Final = {
    "Key": "a & b/<c>.json",
    "LastModified": "2026-11-22T12:00:00.000Z",
    "ETag": '"d41d8cd98f00b204e9800998ecf8427e"',
    "Size": "4096",
    "StorageClass": "STANDARD",
}


@pytest.mark.parametrize("leaves", [tuple(AWS), ("Key", "Size"), ("Size", "Key", "ETag")])
def test_what_servers_write_is_read_the_quick_way(leaves: tuple[str, ...]) -> None:
    """Otherwise all of this would be for nothing."""
    body = listing("".join(one(leaves, AWS | {"Key": f"{n} & <x>"}, quoted=True) for n in range(3)))
    taken = contents.take_contents(body)
    assert taken is not None
    assert [row[0] for row in taken.rows] == ["0 & <x>", "1 & <x>", "2 & <x>"]
    assert taken.rest.count(contents.MARKER) == 1
    assert "<Key>" not in taken.rest


@pytest.mark.parametrize(
    "body",
    [
        "<Contents><Key>a</Key></Contents>",  # a pattern of one group gives no rows
        "<Contents><Key>a</Key><Size>1</Size></Contents> <Contents><Key>b</Key><Size>1</Size></Contents>",
        "<Contents><Key>a</Key><Size>1</Size></Contents><Contents><Size>1</Size><Key>b</Key></Contents>",
        "<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents>",
        "<Contents><Key>a&#97;</Key><Size>1</Size></Contents>",
        "<Contents><Key>a&eacute;</Key><Size>1</Size></Contents>",
        "<Contents><Key>a\rb</Key><Size>1</Size></Contents>",
        "<Contents><Key>a</Key><Size>x</Size></Contents>",
        "<Contents>\n<Key>a</Key><Size>1</Size></Contents>",
        "<Contents><Key x='1'>a</Key><Size>1</Size></Contents>",
    ],
)
def test_what_is_left_to_the_parser(body: str) -> None:
    assert contents.take_contents(listing(body)) is None


class _FitsAlways:
    """A sum that is equal to every length."""

    def __add__(self, _: int) -> _FitsAlways:
        return self

    def __ne__(self, _: object) -> bool:
        return False


MUTATIONS: Final[dict[str, tuple[dict[str, object], str]]] = {
    "gaps are passed over": (
        {"sum": lambda _: _FitsAlways()},
        "<Contents><Key>a</Key><Size>1</Size></Contents><Contents><Size>2</Size><Key>b</Key></Contents>",
    ),
    "references are passed over": (
        {"_is_odd": lambda _: False},
        "<Contents><Key>a&#97;</Key><Size>1</Size></Contents>",
    ),
    "line ends are passed over": ({"_CONTROLS": b""}, "<Contents><Key>a\rb</Key><Size>1</Size></Contents>"),
    "entities stay": ({"_unescape": lambda text: text}, "<Contents><Key>a&amp;b</Key><Size>1</Size></Contents>"),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    faults, body = MUTATIONS[name]
    check_both_ways_agree(listing(body), monkeypatch)
    for attribute, fault in faults.items():
        monkeypatch.setattr(contents, attribute, fault, raising=False)
    with pytest.raises(AssertionError):
        check_both_ways_agree(listing(body), monkeypatch)
