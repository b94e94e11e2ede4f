"""Copies without I/O: what a request says of either object, what is taken over, and what the answers mean."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck import CopyOptions, SSECustomer
from handtruck.errors import InvalidResponse, UsageError
from handtruck.models import Checksum
from handtruck.protocol import documents, operations
from handtruck.protocol.address import Location
from handtruck.protocol.answers import Answer
from handtruck.protocol.documents import CopiedObject, CopiedPart
from handtruck.protocol.operations.copies import parse_found
from handtruck.protocol.options import read_request, write_headers

from .strategies import DETERMINISTIC, ENCODED_KEYS, names, xml_text
from .test_documents import DECLARATION, NAMESPACES, xml_escaped

if TYPE_CHECKING:
    from handtruck.protocol.operations import CopySource, CopyTarget, FoundSource

TARGET: Final = Location(path="/other/b", bucket="other", key="b")
RING: Final = SSECustomer(bytes(range(32)))
ETAGS: Final = st.one_of(st.just('"5d41402abc4b2a76b9719d911017c592"'), xml_text(min_size=1))
TIMES: Final = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(lambda time: time.replace(tzinfo=UTC))


def source(key: str = "a", **facts: Any) -> CopySource:
    location = Location(path=f"/bucket/{key}", bucket="bucket", key=key)
    return operations.CopySource(**{"bucket": "bucket", "key": key, "version_id": None, "location": location, **facts})


def found(*described: tuple[str, str], **facts: Any) -> FoundSource:
    known: dict[str, Any] = {"size": 7, "etag": '"e"', "last_modified": "today", "version_id": None, "tags": 0}
    return operations.FoundSource(**{**known, "described": described, **facts})


# --- documents


@DETERMINISTIC
@given(ETAGS, TIMES, st.sampled_from(NAMESPACES), st.sampled_from([b"", b" \n" * 20]))
def test_copied_objects_there_and_back(etag: str, time: datetime, namespace: str, blanks: bytes) -> None:
    """The blanks keep the connection alive while S3 is at work."""
    body = (
        f"{DECLARATION}<CopyObjectResult{namespace}><ETag>{xml_escaped(etag)}</ETag>"
        f"<LastModified>{time.isoformat()}</LastModified></CopyObjectResult>"
    ).encode()
    assert documents.parse_copied_object(blanks + body) == CopiedObject(etag=etag, last_modified=time)


@DETERMINISTIC
@given(ETAGS, st.sampled_from(NAMESPACES), st.none() | st.binary(min_size=4, max_size=4))
def test_copied_parts_there_and_back(etag: str, namespace: str, crc: bytes | None) -> None:
    value = b64encode(crc).decode() if crc is not None else ""
    checksum = f"<ChecksumCRC32>{value}</ChecksumCRC32>" if crc is not None else ""
    body = f"<CopyPartResult{namespace}><ETag>{xml_escaped(etag)}</ETag>{checksum}</CopyPartResult>".encode()
    checksums = (Checksum(algorithm="CRC32", value=value),) if crc is not None else ()
    assert documents.parse_copied_part(body) == CopiedPart(etag=etag, checksums=checksums)


@DETERMINISTIC
@given(st.binary() | st.text().map(str.encode) | xml_text().map(lambda text: f"<CopyPartResult>{text}".encode()))
def test_any_bytes_are_a_value_or_an_error(body: bytes) -> None:
    for parse, kind in ((documents.parse_copied_object, CopiedObject), (documents.parse_copied_part, CopiedPart)):
        with suppress(InvalidResponse):
            assert isinstance(parse(body), kind)


def test_what_may_be_missing() -> None:
    assert documents.parse_copied_object(b"<CopyObjectResult/>") == CopiedObject(etag=None, last_modified=None)
    for body in (
        b"",
        b"<CopyPartResult/>",
        b"<CopyPartResult><ETag/></CopyPartResult>",
        b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>",
        b"<Error><Code>InternalError</Code></Error>",
        b"<CopyPartResult><ETag>e</ETag>",
        b"<CopyPartResult><ETag>e</ETag><ChecksumCRC32>?</ChecksumCRC32></CopyPartResult>",
    ):
        with pytest.raises(InvalidResponse):
            documents.parse_copied_part(body)
    with pytest.raises(InvalidResponse, match="is no time"):
        documents.parse_copied_object(b"<CopyObjectResult><LastModified>soon</LastModified></CopyObjectResult>")


# --- what a copy says of its source


@pytest.mark.parametrize("key", ENCODED_KEYS, ids=ascii)
def test_names_of_sources(key: str) -> None:
    assert source(key).headers() == (("x-amz-copy-source", f"bucket/{ENCODED_KEYS[key]}"),)
    ((_, versioned),) = source(key, version_id="a/b?c&d=é").headers()
    assert versioned == f"bucket/{ENCODED_KEYS[key]}?versionId=a%2Fb%3Fc%26d%3D%C3%A9"


@DETERMINISTIC
@given(names(min_size=1), st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_names_of_sources_there_and_back(key: str, version_id: str | None) -> None:
    """Whatever the key looks like, S3 reads it, and the version, as they are."""
    try:
        ((_, name),) = source(key, version_id=version_id).headers()
    except UsageError:
        with pytest.raises(UnicodeEncodeError):
            key.encode("utf-8", "surrogateescape")
        return
    assert name.isascii()
    path, mark, version = name.partition("?versionId=")
    assert unquote(path, errors="surrogateescape") == f"bucket/{key}"
    assert (unquote(version) if mark else None) == version_id


def test_what_goes_with_a_source() -> None:
    """Conditions, a customer's key and the owner have other names there; the payer is named once, for both."""
    day = datetime(2026, 1, 2, tzinfo=UTC)
    options: CopyOptions = {
        "content_type": "text/x",
        "request_payer": True,
        "expected_bucket_owner": "1",
        "source_if_match": '"e"',
        "source_if_none_match": '"f"',
        "source_if_modified_since": day,
        "source_if_unmodified_since": day + timedelta(days=1),
        "source_sse": RING,
        "source_expected_bucket_owner": "2",
    }
    writing, reading = operations.sort_options(options, "v")
    assert writing == {"content_type": "text/x", "request_payer": True, "expected_bucket_owner": "1"}
    asking, query = read_request(reading)
    one = source(version_id="v", asking=asking)
    assert one.query == query == (("versionId", "v"),)
    assert dict(one.asking)["x-amz-expected-bucket-owner"] == "2"
    sent = dict(one.headers())
    assert {name: value for name, value in sent.items() if "customer" not in name} == {
        "x-amz-copy-source": "bucket/a?versionId=v",
        "x-amz-copy-source-if-match": '"e"',
        "x-amz-copy-source-if-none-match": '"f"',
        "x-amz-copy-source-if-modified-since": "Fri, 02 Jan 2026 00:00:00 GMT",
        "x-amz-copy-source-if-unmodified-since": "Sat, 03 Jan 2026 00:00:00 GMT",
        "x-amz-source-expected-bucket-owner": "2",
    }
    prefix = "x-amz-copy-source-server-side-encryption-customer-"
    assert [name for name in sent if "customer" in name] == [
        f"{prefix}{what}" for what in ("algorithm", "key", "key-MD5")
    ]
    assert "AAECAw" not in repr(one)  # the key
    # What was found is pinned; the other conditions were true of it.
    pinned = [name for name in dict(one.headers(found())) if "-if-" in name]
    assert (pinned, dict(one.headers(found()))["x-amz-copy-source-if-match"]) == (["x-amz-copy-source-if-match"], '"e"')
    weak = found(etag='W/"weak"')
    assert [name for name, _ in one.headers(weak) if "-if-" in name] == [name for name in sent if "-if-" in name]


@pytest.mark.parametrize(("version_id", "immutable"), [(None, False), ("null", False), ("3HL4kqtJvjVBH40Nrjfkd", True)])
def test_what_never_changes(version_id: str | None, immutable: bool) -> None:
    assert source(version_id=version_id).immutable is immutable
    told = {"content-length": "1"} | ({"x-amz-version-id": version_id} if version_id else {})
    assert (parse_found(Answer(status=200, headers=told)).version_id is not None) is immutable


# --- what was found


def test_what_head_tells() -> None:
    described = {"content-type": "text/x", "expires": "0", "x-amz-meta-a": "1", "cache-control": "no-cache"}
    headers = {"content-length": "5", "etag": "e", "x-amz-storage-class": "GLACIER", "date": "today", **described}
    what = parse_found(Answer(status=200, headers=headers))
    assert (what.size, what.etag, what.last_modified, what.tags) == (5, "e", None, 0)
    more = {"last-modified": "today", "x-amz-tagging-count": "2"}
    assert parse_found(Answer(status=200, headers=headers | more)).is_as(
        found(size=5, etag='"e"', last_modified="today", tags=2)
    )
    assert dict(what.described) == described
    assert not what.missing
    assert parse_found(Answer(status=200, headers={"content-length": "5", "x-amz-missing-meta": "1"})).missing
    for wrong in ({}, {"content-length": "many"}):
        with pytest.raises(InvalidResponse):
            parse_found(Answer(status=200, headers=wrong))


WRITTEN: Final = "Sun, 22 Nov 2026 12:00:00 GMT"
EARLIER, LATER = "Sun, 22 Nov 2026 11:59:59 GMT", "Sun, 22 Nov 2026 12:00:01 GMT"


@pytest.mark.parametrize(
    ("asked", "met"),
    [
        ({}, True),
        ({"If-Match": '"e"'}, True),
        ({"If-Match": '"f"'}, False),
        ({"If-None-Match": '"e"'}, False),
        ({"If-None-Match": '"f"'}, True),
        ({"If-Unmodified-Since": WRITTEN}, True),
        ({"If-Unmodified-Since": EARLIER}, False),
        ({"If-Unmodified-Since": EARLIER, "If-Match": '"e"'}, True),
        ({"If-Modified-Since": EARLIER}, True),
        ({"If-Modified-Since": WRITTEN}, False),
        ({"If-Modified-Since": LATER, "If-None-Match": '"f"'}, True),
        ({"If-Modified-Since": "today"}, True),
    ],
    ids=str,
)
def test_conditions_that_a_server_takes_no_notice_of(asked: dict[str, str], met: bool) -> None:
    """Found: only If-Match was looked at."""
    said = source(asking=tuple(asked.items())).unmet(found(etag='"e"', last_modified=WRITTEN))
    assert (said is None) is met


def test_metadata_that_no_header_carries() -> None:
    """It cannot be kept, but replaced. Found: it could not be copied at all."""
    with pytest.raises(UsageError, match="say what it is to be, by metadata="):
        target().in_parts(found(missing=True), {})
    target(metadata={"a": "b"}).in_parts(found(missing=True), {})


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"etag": "e"}, True),  # without its quotes
        ({"tags": 3}, True),
        ({"etag": '"f"'}, False),
        ({"etag": None}, False),
        ({"size": 8}, False),
        ({"last_modified": "tomorrow"}, False),
        ({"version_id": "v"}, False),
    ],
    ids=str,
)
def test_the_same_version(change: dict[str, Any], same: bool) -> None:
    assert found().is_as(found(**{"size": 7, **change})) is same


# --- what the copy is to be

DESCRIBED: Final = (("content-type", "text/x"), ("cache-control", "no-cache"), ("x-amz-meta-a", "1"))
META, TAGS = ("x-amz-metadata-directive", "REPLACE"), ("x-amz-tagging-directive", "REPLACE")


def target(*, keep: bool = True, **options: Any) -> CopyTarget:
    given: Any = options
    writing, _ = operations.sort_options(given, None)
    return operations.new_target(write_headers(writing), writing, keep=keep)


@pytest.mark.parametrize(
    ("options", "at_once", "in_parts"),
    [
        ({}, set(), {*DESCRIBED, ("x-amz-tagging", "t=1")}),
        (
            {"storage_class": "GLACIER"},
            {("x-amz-storage-class", "GLACIER")},
            {*DESCRIBED, ("x-amz-tagging", "t=1"), ("x-amz-storage-class", "GLACIER")},
        ),
        (
            {"content_type": "text/y"},
            {("Content-Type", "text/y"), *DESCRIBED[1:], META},
            {("Content-Type", "text/y"), *DESCRIBED[1:], ("x-amz-tagging", "t=1")},
        ),
        ({"metadata": {}}, {*DESCRIBED[:2], META}, {*DESCRIBED[:2], ("x-amz-tagging", "t=1")}),
        (
            {"metadata": {"A": "2"}},
            {*DESCRIBED[:2], ("x-amz-meta-A", "2"), META},
            {*DESCRIBED[:2], ("x-amz-meta-A", "2"), ("x-amz-tagging", "t=1")},
        ),
        ({"tags": {}}, {TAGS}, {*DESCRIBED}),
        ({"tags": {"n": "2"}}, {("x-amz-tagging", "n=2"), TAGS}, {*DESCRIBED, ("x-amz-tagging", "n=2")}),
        ({"keep": False}, {META, TAGS}, set()),
        (
            {"keep": False, "content_type": "text/y"},
            {("Content-Type", "text/y"), META, TAGS},
            {("Content-Type", "text/y")},
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",  # sets have no order
)
def test_what_is_taken_over(
    options: dict[str, Any], at_once: set[tuple[str, str]], in_parts: set[tuple[str, str]]
) -> None:
    what, copy = found(*DESCRIBED), target(**options)
    assert set(copy.at_once(what)) == at_once
    tags = {"t": "1"} if copy.keeps_tags else {}
    assert set(copy.in_parts(what, tags)) == in_parts
    assert copy.mends is (META in at_once and options.get("keep", True))  # then it must be known


def test_what_cannot_be_sent_again() -> None:
    for value in ("Grüße", "two\nlines"):
        what = found(("content-type", "text/x"), ("x-amz-meta-a", value))
        with pytest.raises(UsageError, match=r"the source's x-amz-meta-a is .* which cannot be sent again"):
            target().in_parts(what, {})
        assert target(metadata={}).in_parts(what, {}) == (("content-type", "text/x"),)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, False),
        ({"tags": {"a": "b"}}, False),
        ({"acl": "private"}, False),
        ({"if_match": "e"}, False),
        ({"keep": False}, True),
        ({"metadata": {}}, True),
        ({"expires": datetime(2030, 1, 1, tzinfo=UTC)}, True),
        ({"storage_class": "GLACIER"}, True),
        ({"website_redirect_location": "/x"}, True),
        ({"sse": RING}, True),
    ],
    ids=str,
)
def test_what_changes_an_object_that_is_copied_onto_itself(options: dict[str, Any], changes: bool) -> None:
    assert target(**options).changes is changes


# --- the requests


def test_a_copy() -> None:
    copy = operations.copy_object(source(), TARGET, (("Content-Type", "text/x"),), found())
    assert (copy.name, copy.method, copy.query) == ("CopyObject", "PUT", ())
    assert (copy.location.path, str(copy.location)) == ("/other/b", "bucket/a to other/b")
    assert (copy.idempotent, copy.error_in_200) == (True, True)
    body = b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>"
    headers = {"x-amz-version-id": "new", "x-amz-copy-source-version-id": "old"}
    copied = copy.parse(Answer(status=200, headers=headers, body=body))
    assert (copied.document.etag, copied.version_id, copied.source_version_id) == ("e", "new", "old")


def test_which_copies_are_sent_once() -> None:
    """Where the first one's success would keep the second one from succeeding."""
    itself = Location(path="/bucket/a", bucket="bucket", key="a")
    pinned = source(asking=(("If-Match", '"e"'),))
    assert operations.copy_object(pinned, TARGET, ()).idempotent
    assert not operations.copy_object(source(), TARGET, (("If-None-Match", "*"),)).idempotent
    assert not operations.copy_object(source(), TARGET, (("If-Match", "e"),)).idempotent
    assert not operations.copy_object(source(), itself, (), found()).idempotent


def test_a_part() -> None:
    customer = ("x-amz-server-side-encryption-customer-algorithm", "AES256")
    part = operations.upload_part_copy(source(), TARGET, "id", 3, (100, 200), found(), (customer,))
    assert (part.name, part.method) == ("UploadPartCopy", "PUT")
    assert part.query == (("partNumber", "3"), ("uploadId", "id"))
    assert part.headers == (
        ("x-amz-copy-source", "bucket/a"),
        ("x-amz-copy-source-if-match", '"e"'),
        ("x-amz-copy-source-range", "bytes=100-199"),
        customer,
    )
    assert (part.idempotent, part.error_in_200) == (True, True)
    body = b"<CopyPartResult><ETag>e</ETag></CopyPartResult>"
    answer = Answer(status=200, headers={"x-amz-copy-source-version-id": "v"}, body=body)
    assert part.parse(answer) == (CopiedPart(etag="e"), "v")


def test_what_needs_no_key() -> None:
    """To read the source's tags, or to delete it, says nothing of its bytes, and has no condition."""
    customer = "x-amz-server-side-encryption-customer-key"
    asking = (("If-Match", "e"), (customer, "k"), ("x-amz-request-payer", "requester"))
    assert source(asking=asking).bare == (("x-amz-request-payer", "requester"),)
    assert dict(source(asking=asking).unconditional) == {customer: "k", "x-amz-request-payer": "requester"}
    assert dict(operations.find_source(source(asking=asking)).headers) == dict(asking)
    assert "If-Match" not in dict(operations.find_source(source(asking=asking), conditions=False).headers)
