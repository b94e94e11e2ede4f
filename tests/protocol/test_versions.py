"""Listings of versions: what is listed is what there is, and the next page begins where this one ends."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse
from handtruck.models import ObjectVersion, VersionPage
from handtruck.protocol import documents
from handtruck.protocol.documents import lists

from .strategies import DETERMINISTIC, names, xml_text

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWER: Final = settings(DETERMINISTIC, max_examples=100)
SPELLINGS: Final = ("encoded", "as it is", "missing")
"""How servers write the marker where the keys are url-encoded: AWS, Ceph's gateway, others."""


def url_encoded(text: str) -> str:
    return quote_plus(text, safe="/*", errors="surrogateescape")


def plain(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


def listing(
    keys: Sequence[tuple[str, str]], prefixes: Sequence[str] = (), *, url: bool, more: str = "", namespace: str = ""
) -> bytes:
    write = url_encoded if url else plain
    rows = "".join(
        f"<Version><Key>{write(key)}</Key><VersionId>{version}</VersionId></Version>" for key, version in keys
    )
    rows += "".join(f"<CommonPrefixes><Prefix>{write(prefix)}</Prefix></CommonPrefixes>" for prefix in prefixes)
    said = "<EncodingType>url</EncodingType>" if url else ""
    return f"<ListVersionsResult{namespace}>{said}{more}{rows}</ListVersionsResult>".encode(errors="surrogateescape")


def truncated(key: str | None, version: str | None) -> str:
    marker = "" if key is None else f"<NextKeyMarker>{key}</NextKeyMarker>"
    marker += "" if version is None else f"<NextVersionIdMarker>{version}</NextVersionIdMarker>"
    return f"<IsTruncated>true</IsTruncated>{marker}"


def names_of(page: VersionPage) -> list[tuple[str, str | None]]:
    return [(one.key, one.version_id) for one in page]


KEYS: Final = st.lists(st.tuples(names(min_size=1), st.sampled_from(["null", "v1", "v2"])), max_size=4)


@FEWER
@given(KEYS, st.lists(names(min_size=1), max_size=2), st.sampled_from(["", ' xmlns="urn:x"']))
def test_url_encoded_versions_there_and_back(keys: list[tuple[str, str]], prefixes: list[str], namespace: str) -> None:
    listed = documents.parse_listed_versions(listing(keys, prefixes, url=True, namespace=namespace))
    assert (names_of(listed.page), listed.page.common_prefixes) == (keys, tuple(prefixes))
    assert listed.next is None


@FEWER
@given(st.lists(st.tuples(xml_text(min_size=1), st.just("v")), max_size=4))
def test_plain_versions_there_and_back(keys: list[tuple[str, str]]) -> None:
    listed = documents.parse_listed_versions(listing(keys, url=False))
    assert names_of(listed.page) == keys


@FEWER
@given(
    st.lists(st.tuples(names(min_size=1), st.sampled_from(["null", "v1"])), min_size=1, max_size=3),
    st.sampled_from(SPELLINGS),
    st.booleans(),
)
def test_the_next_page_begins_at_the_last_version(
    keys: list[tuple[str, str]], spelling: str, version_said: bool
) -> None:
    check_marker(keys, spelling, version_said=version_said)


def check_marker(keys: list[tuple[str, str]], spelling: str, *, version_said: bool) -> None:
    """However the marker is spelled, it is the key that was listed."""
    key, version = keys[-1]
    marker = {"encoded": url_encoded(key), "as it is": plain(key), "missing": None}[spelling]
    body = listing(keys, url=True, more=truncated(marker, version if version_said else None))
    assert documents.parse_listed_versions(body).next == (key, version)


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        (truncated("a%2Fb/", None), ("a/b/", "")),
        (truncated("a/b/", None), ("a/b/", "")),
        (truncated("k+1", "v9"), ("k 1", "v9")),
        (truncated("somewhere+else", "v"), ("somewhere else", "v")),
        (truncated("somewhere+else", None), ("somewhere else", "")),
        (truncated(None, "v"), ("k 1", "v")),
    ],
)
def test_markers(marker: str, expected: tuple[str, str]) -> None:
    """A common prefix may be the last on a page; and a marker may be none of the page's names."""
    assert documents.parse_listed_versions(listing([("k 1", "v1")], ["a/b/"], url=True, more=marker)).next == expected


def test_without_a_marker_the_next_page_begins_behind_the_greatest_key() -> None:
    """Found: behind the last prefix, though versions come behind that, so that they came once more."""
    rows = "<Version><Key>b</Key><VersionId>1</VersionId></Version><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>"
    body = f"<ListVersionsResult><IsTruncated>true</IsTruncated>{rows}</ListVersionsResult>"
    assert documents.parse_listed_versions(body.encode()).next == ("b", "1")


@pytest.mark.parametrize(
    ("element", "prefixes"),
    [
        ("<CommonPrefixes/>", ()),
        ("<CommonPrefixes><Prefix/></CommonPrefixes>", ()),
        ("<CommonPrefixes><Prefix>a/</Prefix><Prefix>b/</Prefix></CommonPrefixes>", ("a/", "b/")),
    ],
)
def test_prefixes_as_some_servers_write_them(element: str, prefixes: tuple[str, ...]) -> None:
    """Found: an empty one was a prefix, which a walk went into for ever; of several in one element one was seen."""
    for root, parse in (
        ("ListVersionsResult", documents.parse_listed_versions),
        ("ListBucketResult", documents.parse_listed_objects),
    ):
        assert parse(f"<{root}>{element}</{root}>".encode()).page.common_prefixes == prefixes


def test_a_listing_that_goes_on_nowhere_is_refused() -> None:
    with pytest.raises(InvalidResponse, match="no key marker"):
        documents.parse_listed_versions(listing([], url=True, more=truncated(None, None)))


def test_everything_a_version_tells() -> None:
    body = b"""<ListVersionsResult>
      <DeleteMarker><Key>k</Key><VersionId>2</VersionId><IsLatest>true</IsLatest>
        <LastModified>2009-10-12T17:50:30.000Z</LastModified><Owner><ID>o</ID></Owner></DeleteMarker>
      <Version><Key>k</Key><VersionId>null</VersionId><IsLatest>false</IsLatest><ETag>"e"</ETag><Size>7</Size>
        <LastModified>2009-10-12T17:50:30.000Z</LastModified><StorageClass>STANDARD</StorageClass></Version>
      <Version><Key>l</Key></Version></ListVersionsResult>"""
    time = datetime(2009, 10, 12, 17, 50, 30, tzinfo=UTC)
    assert documents.parse_listed_versions(body).page == [
        ObjectVersion(key="k", version_id="2", is_latest=True, is_delete_marker=True, last_modified=time, owner="o"),
        ObjectVersion(key="k", version_id="null", size=7, etag='"e"', last_modified=time, storage_class="STANDARD"),
        ObjectVersion(key="l"),
    ]


def test_a_key_that_xml_cannot_carry_is_not_guessed() -> None:
    with pytest.raises(InvalidResponse, match="not url-encoded"):
        documents.parse_listed_versions(b"<ListVersionsResult><Version><Key>\x01</Key></Version></ListVersionsResult>")
    with pytest.raises(InvalidResponse, match="no <Key>"):
        documents.parse_listed_versions(b"<ListVersionsResult><Version/></ListVersionsResult>")


PIECES: Final = st.sampled_from(
    [
        "<Version>",
        "</Version>",
        "<Key>a%zz</Key>",
        "<DeleteMarker/>",
        "<IsTruncated>true</IsTruncated>",
        "<Size>-1</Size>",
    ]
)


@FEWER
@given(
    st.binary()
    | st.lists(PIECES | xml_text()).map(
        lambda rows: f"<ListVersionsResult>{''.join(rows)}</ListVersionsResult>".encode()
    )
)
def test_any_bytes_are_a_value_or_invalid(body: bytes) -> None:
    with suppress(InvalidResponse):
        documents.parse_listed_versions(body)


def test_mutation_markers_are_decoded_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every server wrote its markers as it writes its keys."""

    def blindly(root: object, spelled: object, decode: object) -> tuple[str, str]:
        return decode(root.findtext("NextKeyMarker") or ""), root.findtext("NextVersionIdMarker") or ""  # type: ignore[attr-defined, operator]

    monkeypatch.setattr(lists, "_next_versions", blindly)
    check_marker([("plain", "v")], "as it is", version_said=True)
    with pytest.raises(AssertionError):
        check_marker([("a%2Bb", "v")], "as it is", version_said=True)
