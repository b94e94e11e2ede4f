"""Deleting many at once, as documents: what is named is what is meant, and every one of them is answered for."""

from __future__ import annotations

import zlib
from base64 import b64encode
from contextlib import suppress
from hashlib import md5
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse
from handtruck.models import DeletedObject, NotDeleted
from handtruck.protocol import documents, operations
from handtruck.protocol.address import Location
from handtruck.protocol.answers import Answer
from handtruck.protocol.operations import deletes

from .strategies import DETERMINISTIC, names, xml_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from handtruck.protocol.documents import Deletions, ObjectIdentifier

FEWER: Final = settings(DETERMINISTIC, max_examples=100)
BUCKET: Final = Location(path="/bucket/", bucket="bucket", key="")
NAMESPACE: Final = "{http://s3.amazonaws.com/doc/2006-03-01/}"
VERSIONS: Final = st.none() | st.sampled_from(["null", "v-1", "v<&>2"])
SILENCE: Final = "the answer does not say what became of it"


def asked(content: bytes) -> list[ObjectIdentifier]:
    """What a server that knows XML understands."""
    root = ET.fromstring(content)  # noqa: S314 - our own
    assert root.tag == f"{NAMESPACE}Delete"
    return [
        (found.findtext(f"{NAMESPACE}Key") or "", found.findtext(f"{NAMESPACE}VersionId"))
        for found in root.iterfind(f"{NAMESPACE}Object")
    ]


def result(*rows: str) -> bytes:
    return f'<DeleteResult xmlns="urn:whatever">{"".join(rows)}</DeleteResult>'.encode()


def row(tag: str, key: str, version_id: str | None = None, **more: str) -> str:
    fields = {"Key": key, **({"VersionId": version_id} if version_id is not None else {}), **more}
    return f"<{tag}>{''.join(f'<{name}>{escape(text)}</{name}>' for name, text in fields.items())}</{tag}>"


def settled(named: Sequence[ObjectIdentifier], *rows: str, quiet: bool = False) -> Deletions:
    answer = Answer(status=200, headers={}, body=result(*rows))
    return operations.delete_objects(BUCKET, named, quiet=quiet).parse(answer)


# --- what goes out


@FEWER
@given(st.lists(st.tuples(names(min_size=1), VERSIONS), max_size=5), st.booleans())
def test_what_is_written_is_what_is_read(wanted: list[ObjectIdentifier], quiet: bool) -> None:
    """Of any keys, those that a document carries arrive as they are, blanks cut off or not."""
    carried = [name for name in wanted if documents.is_carried(name)]
    content = documents.write_deletes(carried, quiet=quiet)
    assert asked(content) == carried
    assert [(key.strip(), version_id) for key, version_id in asked(content)] == carried
    assert (b"<Quiet>true</Quiet>" in content) is quiet


@FEWER
@given(xml_text(min_size=1))
def test_what_xml_carries_goes_by_a_document(key: str) -> None:
    plain = key == key.strip() and not set(key) & set("\r\x0b\x0c\x1c\x1d\x1e\x1f") and len(key.encode()) <= 1024
    assert documents.is_carried((key, None)) is plain


@pytest.mark.parametrize(
    "key",
    [
        "\x00",
        "a\x01b",
        "a\rb",
        "\x1f",
        "\ufffe",
        "a\uffff",
        "caf\udce9",
        " a",
        "a ",
        "\ta",
        "a\n",
        "\u3000a",
        "ü" * 513,
    ],
)
def test_keys_that_no_document_carries(key: str) -> None:
    assert not documents.is_carried((key, None))
    assert not documents.is_carried(("key", key[:3])) or len(key) > 3


@pytest.mark.parametrize(
    "key", ["a", "a b", "a\tb", "a\nb", "<&>\"'", "]]>", "\ufffd", "\x7f\x85x", "ü" * 512, "k" * 1024]
)
def test_keys_that_a_document_carries(key: str) -> None:
    assert documents.is_carried((key, None))
    assert documents.is_carried(("key", key))
    assert asked(documents.write_deletes([(key, key)], quiet=False)) == [(key, key)]


def test_both_checksums_are_those_of_the_body() -> None:
    operation = operations.delete_objects(BUCKET, [("a", None), ("b", "v")], (("x-amz-mfa", "1 2"),))
    said = dict(operation.headers)
    assert said.pop("Content-MD5") == b64encode(md5(operation.content).digest()).decode()  # noqa: S324
    assert said.pop("x-amz-checksum-crc32") == b64encode(zlib.crc32(operation.content).to_bytes(4, "big")).decode()
    assert said == {"Content-Type": "application/xml", "x-amz-mfa": "1 2"}


# --- what comes back


@FEWER
@given(st.binary() | xml_text().map(str.encode) | st.lists(xml_text()).map(lambda rows: result(*rows)))
def test_any_bytes_are_a_value_or_invalid(body: bytes) -> None:
    with suppress(InvalidResponse):
        documents.parse_deletions(body)


@FEWER
@given(
    st.lists(st.tuples(xml_text(min_size=1).filter(lambda key: "\r" not in key), VERSIONS), max_size=6, unique=True),
    st.sets(st.integers(0, 5)),
    st.sets(st.integers(0, 5)),
    st.booleans(),
)
def test_every_one_is_answered_for_once(
    wanted: list[ObjectIdentifier], refused: set[int], forgotten: set[int], quiet: bool
) -> None:
    rows = []
    for number, name in enumerate(wanted):
        if number in refused:
            rows.append(row("Error", *name, Code="AccessDenied", Message="no"))
        elif number not in forgotten:
            rows.append(row("Deleted", *name))
    said = settled(wanted, *rows, quiet=quiet)
    gone = {(one.key, one.version_id) for one in said.deleted}
    left = {(one.key, one.version_id): one.code for one in said.errors}
    assert len(said.deleted) + len(said.errors) == len(wanted)
    assert gone | left.keys() == set(wanted)
    for number, name in enumerate(wanted):
        if number in refused:
            assert left[name] == "AccessDenied"
        elif number in forgotten and not quiet:
            alone = [key for key, _ in wanted].count(name[0]) == 1
            assert not alone or left[name] is None


def test_everything_that_is_told_of_a_deletion() -> None:
    marker = row("Deleted", "a", DeleteMarker="true", DeleteMarkerVersionId="m")
    version = row("Deleted", "b", "v", DeleteMarker="true", DeleteMarkerVersionId="v")
    error = row("Error", "c", "null", Code="AccessDenied", Message="it is locked")
    said = settled([("a", None), ("b", "v"), ("c", "null")], marker, version, error)
    assert said.deleted == (
        DeletedObject(key="a", delete_marker=True, delete_marker_version_id="m"),
        DeletedObject(key="b", version_id="v", delete_marker=True, delete_marker_version_id="v"),
    )
    (refused,) = said.errors
    assert refused == NotDeleted(key="c", version_id="null", code="AccessDenied", message="it is locked")
    assert str(refused) == "c (version null): AccessDenied: it is locked"


@pytest.mark.parametrize(
    ("rows", "gone", "why"),
    [
        ([], False, SILENCE),
        ([row("Deleted", "other")], False, SILENCE),
        ([row("Deleted", "")], False, SILENCE),
        (["<Deleted/><Error/>"], False, SILENCE),
        ([row("Deleted", "k\ufffd")], False, SILENCE),
        ([row("Deleted", "k")], True, None),
        ([row("Deleted", "k", "of the server's own")], True, None),
        ([row("Deleted", "k"), row("Error", "k", Message="no")], False, "no"),
        ([row("Error", "k", Message="no"), row("Deleted", "k")], False, "no"),
    ],
)
def test_silence_is_no_success(rows: list[str], gone: bool, why: str | None) -> None:
    said = settled([("k", None)], *rows)
    assert (len(said.deleted), [error.message for error in said.errors]) == (int(gone), [] if gone else [why])


def test_one_version_does_not_answer_for_another() -> None:
    said = settled([("k", "1"), ("k", "2")], row("Deleted", "k", "1"))
    assert [one.version_id for one in said.deleted] == ["1"]
    assert [one.version_id for one in said.errors] == ["2"]
    assert [one.version_id for one in settled([("k", "1")], row("Deleted", "k", "2")).errors] == ["1"]
    assert [one.version_id for one in settled([("k", "1")], row("Deleted", "k")).deleted] == ["1"]


@pytest.mark.parametrize("quiet", [True, False])
def test_an_error_that_names_no_version_is_that_of_each(quiet: bool) -> None:
    """Found: to a quiet request it was passed over, and both were taken for deleted."""
    said = settled([("k", "v1"), ("k", "v2")], row("Error", "k", Code="AccessDenied"), quiet=quiet)
    assert [(error.version_id, error.code) for error in said.errors] == [("v1", "AccessDenied"), ("v2", "AccessDenied")]
    assert said.deleted == ()


def test_an_error_of_something_else_is_none_of_ours() -> None:
    """Where silence is success it may be that of any of them."""
    stranger = row("Error", "other", Code="AccessDenied")
    with pytest.raises(InvalidResponse, match="not which of the objects"):
        settled([("k", None)], stranger, quiet=True)
    assert [error.key for error in settled([("k", None)], stranger).errors] == ["k"]


@pytest.mark.parametrize("code", ["NoSuchKey", "NoSuchVersion"])
def test_what_is_not_there_is_deleted(code: str) -> None:
    """S3 says so; servers that call it an error mean the same."""
    said = settled([("k", None)], row("Error", "k", Code=code))
    assert [one.key for one in said.deleted] == ["k"]
    assert said.errors == ()


def test_an_error_inside_a_200_is_no_success() -> None:
    operation = operations.delete_objects(BUCKET, [("k", None)], quiet=True)
    assert operation.error_in_200
    for body in (b"<Error><Code>InternalError</Code></Error>", b"", b"<DeleteResult>", b"<html/>"):
        with pytest.raises(InvalidResponse):
            operation.parse(Answer(status=200, headers={}, body=body))


def test_one_alone() -> None:
    here = Location(path="/bucket/k", bucket="bucket", key="k")
    operation = operations.delete_object(here, "v", (("x-amz-mfa", "1 2"),))
    assert (operation.name, operation.method, operation.query) == ("DeleteObject", "DELETE", (("versionId", "v"),))
    assert operation.headers == (("x-amz-mfa", "1 2"),)
    plain = operations.delete_object(here)
    assert (plain.query, plain.idempotent) == ((), True)
    headers = {"x-amz-delete-marker": "true", "x-amz-version-id": "m"}
    assert plain.parse(Answer(status=204, headers=headers)) == DeletedObject(
        key="k", delete_marker=True, delete_marker_version_id="m"
    )
    quiet = {"x-amz-delete-marker": "false", "x-amz-version-id": "v"}
    assert operation.parse(Answer(status=204, headers=quiet)) == DeletedObject(key="k", version_id="v")


# --- the checks can fail


def test_mutation_silence_taken_for_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is read as if it had been asked to be quiet."""
    settle = deletes._settle
    monkeypatch.setattr(deletes, "_settle", lambda named, said, **_: settle(named, said, quiet=True))
    with pytest.raises(AssertionError):
        test_silence_is_no_success([], False, SILENCE)


def test_mutation_keys_written_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents.deletes, "escape", lambda text: text)
    with pytest.raises((AssertionError, ET.ParseError)):
        test_keys_that_a_document_carries("<&>\"'")
