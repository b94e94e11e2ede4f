"""Names below a prefix, where requests are made and answers are read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck import AwsObjectMeta, ObjectPage
from handtruck.errors import InvalidResponse
from handtruck.protocol import operations, prefixes
from handtruck.protocol.address import parse_endpoint
from handtruck.protocol.answers import Answer
from tests.protocol.strategies import DETERMINISTIC

TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=8)
PREFIXES: Final = st.one_of(st.just(""), TEXT.map(lambda text: f"{text}/"))
BUCKET: Final = replace(parse_endpoint("http://host/bucket"), prefix="a/b/").locate_bucket()
WHOLE: Final = replace(BUCKET, prefix="")


@DETERMINISTIC
@given(PREFIXES, TEXT)
def test_what_is_added_is_stripped(prefix: str, name: str) -> None:
    assert prefixes.strip(prefix, prefixes.add(prefix, name)) == name


@DETERMINISTIC
@given(PREFIXES, TEXT)
def test_what_is_stripped_is_below_the_prefix(prefix: str, key: str) -> None:
    if key.startswith(prefix):
        assert prefixes.add(prefix, prefixes.strip(prefix, key)) == key
    else:
        with pytest.raises(InvalidResponse, match="only what is below"):
            prefixes.strip(prefix, key)


@DETERMINISTIC
@given(PREFIXES, TEXT)
def test_locations_have_the_key_and_the_name(prefix: str, name: str) -> None:
    endpoint = replace(parse_endpoint("http://host/bucket"), prefix=prefix)
    location = endpoint.locate(name)
    assert (location.key, location.name) == (prefix + name, name)
    assert location.path == f"/bucket/{quote(prefix + name, safe='/~')}"
    assert endpoint.locate_bucket().below(name) == location
    assert endpoint.locate_bucket().path == "/bucket/"


@DETERMINISTIC
@given(PREFIXES, st.lists(TEXT.filter(bool)), st.lists(TEXT.filter(bool)))
def test_pages_are_named(prefix: str, names: list[str], folders: list[str]) -> None:
    page = ObjectPage([AwsObjectMeta(key=prefix + name, size=1) for name in names], [prefix + each for each in folders])
    named = prefixes.named_objects(prefix, page)
    assert named == [AwsObjectMeta(key=name, size=1) for name in names]
    assert named.common_prefixes == tuple(folders)


@pytest.mark.parametrize(
    ("query", "whole"),
    [
        ((), (("prefix", "a/b/"),)),
        ((("prefix", "c"),), (("prefix", "a/b/c"),)),
        (
            (("start-after", "x"), ("delimiter", "/"), ("continuation-token", "t")),
            (("start-after", "a/b/x"), ("delimiter", "/"), ("continuation-token", "t"), ("prefix", "a/b/")),
        ),
        ((("key-marker", ""), ("prefix", "")), (("key-marker", "a/b/"), ("prefix", "a/b/"))),
    ],
)
def test_queries_ask_for_what_is_below(query: Any, whole: Any) -> None:
    assert prefixes.whole_query(BUCKET, query) == whole
    assert prefixes.whole_query(WHOLE, query) == query


def answer(root: str, rows: str) -> Answer:
    return Answer(status=200, headers={}, body=f"<{root}>{rows}</{root}>".encode())


def row(name: str, **fields: str) -> str:
    return f"<{name}>{''.join(f'<{key}>{escape(value)}</{key}>' for key, value in fields.items())}</{name}>"


def test_listings() -> None:
    rows = row("Contents", Key="a/b/x") + row("CommonPrefixes", Prefix="a/b/y/")
    operation = operations.list_objects_v2(BUCKET, (("prefix", "q"),))
    assert operation.query == (("list-type", "2"), ("prefix", "a/b/q"))
    page = operation.parse(answer("ListBucketResult", rows)).page
    assert ([one.key for one in page], page.common_prefixes) == (["x"], ("y/",))
    first = operations.list_objects(BUCKET, (("start-after", "w"), ("fetch-owner", "true")))
    assert first.query == (("marker", "a/b/w"), ("prefix", "a/b/"))
    listed = first.parse(answer("ListBucketResult", f"<IsTruncated>true</IsTruncated>{rows}"))
    assert ([one.key for one in listed.page], listed.token) == (["x"], "a/b/y/")
    further = operations.list_objects(BUCKET, (("start-after", "w"), ("marker", "a/b/y/")))
    assert further.query == (("marker", "a/b/y/"), ("prefix", "a/b/"))


def test_versions() -> None:
    rows = row("Version", Key="a/b/x", VersionId="1") + row("DeleteMarker", Key="a/b/x", VersionId="0")
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>a/b/x</NextKeyMarker>"
    operation = operations.list_object_versions(BUCKET, (("key-marker", "w"),))
    assert operation.query == (("versions", None), ("key-marker", "a/b/w"), ("prefix", "a/b/"))
    listed = operation.parse(answer("ListVersionsResult", more + rows))
    assert [one.key for one in listed.page] == ["x", "x"]
    assert listed.next == ("x", "0")


def test_uploads_of_others_are_left_out() -> None:
    """Not all servers look at the prefix; the marker is theirs."""
    rows = row("Upload", Key="a/b/x", UploadId="1") + row("Upload", Key="z", UploadId="2")
    more = "<IsTruncated>true</IsTruncated><NextKeyMarker>z</NextKeyMarker>"
    operation = operations.list_multipart_uploads(BUCKET, (("key-marker", "a/b/w"),))
    assert operation.query == (("uploads", None), ("key-marker", "a/b/w"), ("prefix", "a/b/"))
    listed = operation.parse(answer("ListMultipartUploadsResult", more + rows))
    assert [one.key for one in listed.uploads] == ["x"]
    assert listed.next == ("z", "2")


def test_deletes() -> None:
    rows = row("Deleted", Key="a/b/x") + row("Error", Key="a/b/y", Code="AccessDenied") + row("Deleted", Key="z")
    operation = operations.delete_objects(BUCKET, [("x", None), ("y", None), ("z", None)])
    assert b"<Key>a/b/x</Key>" in operation.content
    assert b"<Key>x</Key>" not in operation.content
    said = operation.parse(answer("DeleteResult", rows))
    assert [one.key for one in said.deleted] == ["x"]
    assert [(one.key, one.code) for one in said.errors] == [("y", "AccessDenied"), ("z", None)]
    alone = operations.delete_object(BUCKET.below("x"))
    assert alone.location.path == "/bucket/a/b/x"
    assert alone.parse(Answer(status=204, headers={}, body=b"")).key == "x"


@pytest.mark.parametrize(
    ("operation", "root", "rows"),
    [
        (operations.list_objects_v2(BUCKET, ()), "ListBucketResult", row("Contents", Key="a/c")),
        (operations.list_objects_v2(BUCKET, ()), "ListBucketResult", row("CommonPrefixes", Prefix="a/")),
        (operations.list_objects(BUCKET, ()), "ListBucketResult", row("Contents", Key="a/c")),
        (operations.list_object_versions(BUCKET, ()), "ListVersionsResult", row("Version", Key="a/c", VersionId="1")),
    ],
)
def test_what_is_not_below_is_never_listed(operation: Any, root: str, rows: str) -> None:
    with pytest.raises(InvalidResponse, match="below 'a/b/'"):
        operation.parse(answer(root, rows))


def test_mutation_everything_is_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "strip", lambda prefix, key: key.removeprefix(prefix))
    with pytest.raises(pytest.fail.Exception):
        test_what_is_not_below_is_never_listed(
            operations.list_objects_v2(BUCKET, ()), "ListBucketResult", row("Contents", Key="a/c")
        )


def test_mutation_a_listing_of_the_whole_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "whole_query", lambda _, query: query)
    with pytest.raises(AssertionError):
        test_queries_ask_for_what_is_below((), (("prefix", "a/b/"),))
