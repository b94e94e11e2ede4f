"""The quick way through a listing gives what the parser gives, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse
from handtruck.protocol import contents, documents
from handtruck.protocol.documents import lists

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


OPENINGS: Final = ("<Contents>", "<Contents >", '<Contents xmlns="x">', '<Contents handtruck="1">', "<Contents\n>")
PLAIN: Final = "<Contents><Key>aside</Key><Size>1</Size></Contents>"
ASIDES: Final = {
    "comment": f"<!--{PLAIN}-->",
    "CDATA": f"<Prefix><![CDATA[{PLAIN}]]></Prefix>",
    "nested": f"<Foo>{PLAIN}</Foo>",
    "marked": '<Contents handtruck="1"/>',
    "marked and nested": '<Foo><Contents handtruck="1"/></Foo>',
}


def one(leaves: Sequence[str], texts: Mapping[str, str], *, quoted: bool, opening: str = "<Contents>") -> str:
    """A ``<Contents>``."""
    entities = {'"': "&quot;"} if quoted else {}
    parts = []
    for leaf in leaves:
        text = escape(texts[leaf], entities)
        parts.append(f"<Owner><ID>{text}</ID></Owner>" if leaf == "Owner" else f"<{leaf}>{text}</{leaf}>")
    return f"{opening}{''.join(parts)}</Contents>"


def listing(body: str, *, more: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>{body}{more}</ListBucketResult>'.encode()


@st.composite
def listings(draw: st.DrawFn) -> bytes:
    """Pages as servers write them, and as none would."""
    leaves = draw(st.permutations(LEAVES).flatmap(lambda all_: st.integers(1, len(all_)).map(lambda n: all_[:n])))
    quoted = draw(st.booleans())
    texts = st.fixed_dictionaries({leaf: VALUES.get(leaf, TEXT) for leaf in leaves})
    opening = draw(st.sampled_from(OPENINGS))
    rows = [one(leaves, row, quoted=quoted, opening=opening) for row in draw(st.lists(texts, min_size=1, max_size=4))]
    between = draw(
        st.sampled_from(["", "", "", "\n", "<!-- x -->", "<CommonPrefixes><Prefix>p</Prefix></CommonPrefixes>"])
    )
    body = between.join(rows)
    wrap = draw(st.sampled_from(["", "", "", "Foo", "!--", "![CDATA["]))
    body = {"": body, "!--": f"<!--{body}-->", "![CDATA[": f"<![CDATA[{body}]]>"}.get(wrap, f"<{wrap}>{body}</{wrap}>")
    aside = draw(st.sampled_from(["", *ASIDES.values()] if opening == OPENINGS[0] else list(ASIDES.values())))
    body = aside + body if draw(st.sampled_from([False, False, True])) else body + aside
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
        patch.setattr(lists, "take_contents", lambda _: None)
        assert quick == outcome(body)


@DETERMINISTIC
@given(body=listings())
def test_both_ways_agree(body: bytes) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        check_both_ways_agree(body, monkeypatch)


REAL: Final = "<Key>real</Key><Size>5</Size></Contents>"


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("aside", ["comment", "CDATA", "nested"])
@pytest.mark.parametrize("opening", [*OPENINGS[1:], "<Contents handtruck='1'>"])
def test_objects_that_stand_elsewhere_are_none(
    opening: str, aside: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real one is written so that only the parser sees it; what looks like one is no part of the listing."""
    real = opening + REAL
    body = listing(ASIDES[aside] + real if before else real + ASIDES[aside])
    check_both_ways_agree(body, monkeypatch)
    if "xmlns" not in opening:
        assert [each.key for each in documents.parse_listed_objects(body).page] == ["real"]


@pytest.mark.parametrize("aside", ["comment", "CDATA", "nested"])
@pytest.mark.parametrize("space", [" ", "\n"])
def test_a_mark_with_a_space(space: str, aside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_both_ways_agree(listing(f'<Contents handtruck{space}="1">{REAL}{ASIDES[aside]}'), monkeypatch)


@pytest.mark.parametrize("aside", ["marked", "marked and nested"])
def test_a_mark_that_is_not_ours(aside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for body in (listing(PLAIN + ASIDES[aside]), listing(ASIDES[aside] + PLAIN)):
        assert contents.take_contents(body) is None
        check_both_ways_agree(body, monkeypatch)


@pytest.mark.parametrize("count", [1000, 5000])
def test_an_object_of_thousands_of_fields_is_left_to_the_parser(count: int) -> None:
    """A pattern that is made of them takes longer than the parser."""
    flat = "".join(f"<a{number}></a{number}>" for number in range(count))
    assert contents.take_contents(listing(f"<Contents><Key>k</Key>{flat}</Contents>")) is None
    deep = "".join(f"<b{number}><c></c>" for number in range(count))
    deep += "".join(f"</b{number}>" for number in reversed(range(count)))
    assert contents.take_contents(listing(f"<Contents><Key>k</Key>{deep}</Contents>")) is None


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
