"""S3's XML: decode∘encode is the identity, and any bytes at all are a value or InvalidResponse."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import time
from datetime import UTC, datetime, timedelta, timezone
from encodings.aliases import aliases
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse
from handtruck.models import AwsObjectMeta, MultipartUploadInfo, PartInfo
from handtruck.protocol import documents

from .strategies import DETERMINISTIC, ENCODED_KEYS, names, xml_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

AWS: Final = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
NAMESPACES: Final = ["", AWS, ' xmlns="urn:somebody-else"', ' xmlns=""']
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'

PARSERS: Final[dict[str, Callable[[bytes], object]]] = {
    "xml": documents.parse_xml,
    "error": documents.parse_error,
    "upload id": documents.parse_upload_id,
    "completed": documents.parse_completed_etag,
    "objects": documents.parse_listed_objects,
    "parts": documents.parse_listed_parts,
    "uploads": documents.parse_multipart_uploads,
    "encoded uploads": partial(documents.parse_multipart_uploads, encoded=True),
}


# --- listings there and back


def url_encoded(text: str) -> str:
    """As S3 writes keys when it was asked for ``encoding-type=url``: blanks are ``+``, ``/`` and ``*`` stay."""
    return quote_plus(text, safe="/*", errors="surrogateescape").replace("~", "%7E")


def xml_escaped(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


def listing(
    keys: Sequence[str],
    prefixes: Sequence[str] = (),
    *,
    url: bool,
    namespace: str = AWS,
    token: str | None = None,
) -> bytes:
    """A page of ListObjectsV2 as AWS renders it."""
    write = url_encoded if url else xml_escaped
    lines = [f"{DECLARATION}<ListBucketResult{namespace}><Name>bucket</Name><Prefix></Prefix>"]
    lines += [f"<NextContinuationToken>{xml_escaped(token)}</NextContinuationToken>"] if token else []
    lines += [f"<KeyCount>{len(keys)}</KeyCount><MaxKeys>1000</MaxKeys>"]
    lines += ["<EncodingType>url</EncodingType>"] if url else []
    lines += [f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"]
    lines += [
        f"<Contents><Key>{write(key)}</Key><LastModified>2009-10-12T17:50:30.000Z</LastModified>"
        f"<ETag>&quot;etag{number}&quot;</ETag><Size>{number}</Size>"
        "<Owner><ID>owner</ID><DisplayName>somebody</DisplayName></Owner>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for number, key in enumerate(keys)
    ]
    lines += [f"<CommonPrefixes><Prefix>{write(prefix)}</Prefix></CommonPrefixes>" for prefix in prefixes]
    return "".join([*lines, "</ListBucketResult>"]).encode()


def check_listing(keys: list[str], prefixes: list[str], namespace: str, token: str | None, *, url: bool) -> None:
    listed = documents.parse_listed_objects(listing(keys, prefixes, url=url, namespace=namespace, token=token))
    assert [meta.key for meta in listed.page] == keys
    assert [meta.size for meta in listed.page] == list(range(len(keys)))
    assert listed.page.common_prefixes == tuple(prefixes)
    assert listed.token == token


TOKENS = st.none() | st.just("1+a%20b/==") | xml_text(min_size=1)


@DETERMINISTIC
@given(
    st.lists(names(min_size=1), max_size=5),
    st.lists(names(min_size=1), max_size=3),
    st.sampled_from(NAMESPACES),
    TOKENS,
)
def test_url_encoded_listings_there_and_back(
    keys: list[str], prefixes: list[str], namespace: str, token: str | None
) -> None:
    """Any key at all: control characters, what XML forbids, carriage returns, bytes that are no text."""
    check_listing(keys, prefixes, namespace, token, url=True)


@DETERMINISTIC
@given(
    st.lists(xml_text(min_size=1), max_size=5),
    st.lists(xml_text(min_size=1), max_size=3),
    st.sampled_from(NAMESPACES),
    TOKENS,
)
def test_plain_listings_there_and_back(keys: list[str], prefixes: list[str], namespace: str, token: str | None) -> None:
    """Where the answer does not echo the encoding type, ``+`` and ``%`` are themselves."""
    check_listing(keys, prefixes, namespace, token, url=False)


@pytest.mark.parametrize("key", ENCODED_KEYS, ids=ascii)
def test_odd_keys_in_a_listing(key: str) -> None:
    check_listing([key], [key + "/"], AWS, None, url=True)


def test_everything_an_object_tells() -> None:
    (meta,) = documents.parse_listed_objects(listing(["a b"], url=True)).page
    assert meta == AwsObjectMeta(
        key="a b",
        size=0,
        etag='"etag0"',
        last_modified=datetime(2009, 10, 12, 17, 50, 30, tzinfo=UTC),
        storage_class="STANDARD",
        owner="owner",
    )


def test_a_listed_object_is_like_any_other() -> None:
    """Listings make them by a shorter way, and nobody can tell."""
    (listed,) = documents.parse_listed_objects(listing(["k"], url=True)).page
    made = AwsObjectMeta(**dataclasses.asdict(listed))
    assert type(listed) is AwsObjectMeta
    assert (listed, hash(listed), repr(listed)) == (made, hash(made), repr(made))
    assert pickle.loads(pickle.dumps(listed)) == copy.copy(listed) == dataclasses.replace(listed) == made  # noqa: S301 - its own
    with pytest.raises(dataclasses.FrozenInstanceError):
        listed.key = "other"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        object.__setattr__(listed, "further", 1)


def test_prefixed_namespaces_are_ignored() -> None:
    body = (
        b'<x:ListBucketResult xmlns:x="urn:x"><x:Contents><x:Key>k</x:Key>'
        b"<x:Owner><x:ID>o</x:ID></x:Owner></x:Contents></x:ListBucketResult>"
    )
    assert documents.parse_listed_objects(body).page == [AwsObjectMeta(key="k", owner="o")]


def test_all_but_the_key_is_optional() -> None:
    """A clone's listing without StorageClass, Owner, ETag or a namespace loses no object."""
    contents = b"<Contents><Key>a</Key></Contents><Contents><Key>b</Key><Size/><ETag/></Contents>"
    body = b"<ListBucketResult>" + contents + b"</ListBucketResult>"
    assert documents.parse_listed_objects(body).page == [AwsObjectMeta(key="a"), AwsObjectMeta(key="b")]


@pytest.mark.parametrize("contents", [b"<Contents/>", b"<Contents><Key/><Size>1</Size></Contents>"])
def test_an_object_without_a_key_is_refused(contents: bytes) -> None:
    """An empty name would be the bucket itself to whoever deletes what a listing shows."""
    with pytest.raises(InvalidResponse, match="<Contents> in the answer has no <Key>"):
        documents.parse_listed_objects(b"<ListBucketResult>" + contents + b"</ListBucketResult>")


def test_an_empty_page_with_a_token_goes_on() -> None:
    listed = documents.parse_listed_objects(listing([], url=True, token="more"))
    assert (list(listed.page), listed.token) == ([], "more")


def test_a_page_of_prefixes_only() -> None:
    listed = documents.parse_listed_objects(listing([], ["a/", "b+c/"], url=True, token="more"))
    assert (list(listed.page), listed.page.common_prefixes, listed.token) == ([], ("a/", "b+c/"), "more")


def test_the_token_decides_not_the_flag() -> None:
    body = b"<ListBucketResult><NextContinuationToken>t%2B+</NextContinuationToken></ListBucketResult>"
    assert documents.parse_listed_objects(body).token == "t%2B+"
    assert documents.parse_listed_objects(b"<ListBucketResult/>").token is None


def test_truncated_without_a_token_is_refused() -> None:
    """The end of such a listing would be silently missing."""
    with pytest.raises(InvalidResponse, match="gives no continuation token"):
        documents.parse_listed_objects(b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("5", 5), ("5497558138880", 5 * 1024**4), ("", None), (str(2**63 - 1), 2**63 - 1)]
)
def test_sizes(text: str, size: int | None) -> None:
    body = f"<ListBucketResult><Contents><Key>k</Key><Size>{text}</Size></Contents></ListBucketResult>"
    assert documents.parse_listed_objects(body.encode()).page[0].size == size


@pytest.mark.parametrize("text", ["-1", "1.5", "0x1", "١", "²", "1e3", "many", "9" * 20, "9" * 100_000])
def test_sizes_that_are_no_numbers(text: str) -> None:
    body = f"<ListBucketResult><Contents><Key>k</Key><Size>{text}</Size></Contents></ListBucketResult>"
    with pytest.raises(InvalidResponse, match="is no number") as caught:
        documents.parse_listed_objects(body.encode())
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2009-10-12T17:50:30.000Z", datetime(2009, 10, 12, 17, 50, 30, tzinfo=UTC)),
        ("2009-10-12T17:50:30Z", datetime(2009, 10, 12, 17, 50, 30, tzinfo=UTC)),
        ("2009-10-12T17:50:30", datetime(2009, 10, 12, 17, 50, 30, tzinfo=UTC)),
        ("2009-10-12T17:50:30.123456789Z", datetime(2009, 10, 12, 17, 50, 30, 123456, tzinfo=UTC)),
        ("2009-10-12T19:50:30+02:00", datetime(2009, 10, 12, 19, 50, 30, tzinfo=timezone(timedelta(hours=2)))),
        ("", None),
    ],
)
def test_times(text: str, moment: datetime | None) -> None:
    body = f"<ListBucketResult><Contents><Key>k</Key><LastModified>{text}</LastModified></Contents></ListBucketResult>"
    found = documents.parse_listed_objects(body.encode()).page[0].last_modified
    assert found == moment
    assert found is None or found.tzinfo is not None


def test_a_time_that_is_none() -> None:
    body = b"<ListBucketResult><Contents><Key>k</Key><LastModified>now</LastModified></Contents></ListBucketResult>"
    with pytest.raises(InvalidResponse, match="'now' in the answer is no time"):
        documents.parse_listed_objects(body)


# --- the other documents


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("blanks", [b"", b" ", b"\r\n\t ", b" \n" * 10_000])
def test_blanks_ahead_of_a_document(blanks: bytes, namespace: str) -> None:
    """S3 sends them to keep the connection alive while it works; ahead of a declaration they are no XML."""
    body = f"{DECLARATION}<CompleteMultipartUploadResult{namespace}><ETag>e</ETag></CompleteMultipartUploadResult>"
    assert documents.parse_completed_etag(blanks + body.encode()) == "e"


@pytest.mark.parametrize("root", ["InitiateMultipartUploadResult", "InitiateMultipartUpload"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_upload_id(namespace: str, root: str) -> None:
    """Under S3's name of the document and under rclone's."""
    body = (
        f"{DECLARATION}<{root}{namespace}><Bucket>b</Bucket><Key>k</Key><UploadId>VXBsb2Fk &amp; id</UploadId></{root}>"
    )
    assert documents.parse_upload_id(body.encode()) == "VXBsb2Fk & id"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no complete XML document"),
        (b"   ", "no complete XML document"),
        (b"<InitiateMultipartUploadResult>", "no complete XML document"),
        (b"<InitiateMultipartUploadResult/>", "has no <UploadId>"),
        (b"<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>", "has no <UploadId>"),
        (b"<Error><Code>InternalError</Code></Error>", "expected an upload's id in the answer, found <Error>"),
        (b"<Error><UploadId>id</UploadId></Error>", "found <Error>"),
        (b"<html/>", "<html> in the answer has no <UploadId>"),
        (b"not XML", "no complete XML document"),
    ],
)
def test_no_upload_id(body: bytes, words: str) -> None:
    with pytest.raises(InvalidResponse, match=words):
        documents.parse_upload_id(body)


@pytest.mark.parametrize(
    ("inside", "etag"), [("<ETag>&quot;e-2&quot;</ETag>", '"e-2"'), ("<ETag></ETag>", None), ("", None)]
)
def test_a_completed_upload(inside: str, etag: str | None) -> None:
    body = f"<CompleteMultipartUploadResult>{inside}</CompleteMultipartUploadResult>"
    assert documents.parse_completed_etag(body.encode()) == etag


@pytest.mark.parametrize(
    "body", [b"<Error><Code>InternalError</Code></Error>", b"<CompleteMultipartUploadResult>", b""]
)
def test_a_completion_that_failed_is_no_success(body: bytes) -> None:
    with pytest.raises(InvalidResponse):
        documents.parse_completed_etag(body)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_an_error_document(namespace: str) -> None:
    body = (
        f"{DECLARATION}<Error{namespace}><Code>NoSuchKey</Code><Message>It is &lt;gone&gt;</Message>"
        "<Resource>/b/k</Resource><RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )
    assert documents.parse_error(b"\n" + body.encode()) == documents.ErrorDocument(
        code="NoSuchKey", message="It is <gone>", request_id="4442587FB7D0A2F9"
    )


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"<Error>", b"text", b"<ListBucketResult/>", b"\0"])
def test_what_is_no_error_document(body: bytes) -> None:
    assert documents.parse_error(body) is None


def test_an_error_document_that_says_nothing() -> None:
    nothing = documents.ErrorDocument(code=None, message=None, request_id=None)
    assert documents.parse_error(b"<Error><Code/></Error>") == nothing


def test_an_error_inside_other_text_is_none() -> None:
    """Never a substring search: an object may well be called that."""
    body = b"<ListBucketResult><Contents><Key>&lt;Error&gt;</Key></Contents></ListBucketResult>"
    assert documents.parse_error(body) is None


# --- the parts of an upload


def listed_parts(inside: str, *, root: str = "ListPartsResult", namespace: str = AWS) -> documents.ListedParts:
    return documents.parse_listed_parts(f"{DECLARATION}<{root}{namespace}>{inside}</{root}>".encode())


@pytest.mark.parametrize("root", ["ListPartsResult", "ListPartsResponse"])
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_everything_a_part_tells(namespace: str, root: str) -> None:
    """Under S3's name of the document and under moto's."""
    inside = (
        "<Bucket>b</Bucket><Key>k</Key><UploadId>u</UploadId><IsTruncated>false</IsTruncated>"
        "<Part><PartNumber>7</PartNumber><LastModified>2010-11-10T20:48:34.000Z</LastModified>"
        "<ETag>&quot;e&quot;</ETag><Size>10485760</Size></Part><Part><PartNumber>9</PartNumber></Part>"
    )
    whole = PartInfo(number=7, etag='"e"', size=10485760, last_modified=datetime(2010, 11, 10, 20, 48, 34, tzinfo=UTC))
    listed = listed_parts(inside, root=root, namespace=namespace)
    assert listed == documents.ListedParts(parts=(whole, PartInfo(number=9)), next=None)


def test_parts_of_a_key_that_xml_cannot_carry() -> None:
    """The answer repeats it, and nobody looks at it."""
    assert listed_parts("<Key>\x01&#1;</Key><Part><PartNumber>1</PartNumber></Part>").parts == (PartInfo(number=1),)


TWO_PARTS: Final = "<Part><PartNumber>1</PartNumber></Part><Part><PartNumber>5</PartNumber></Part>"


@pytest.mark.parametrize(
    ("inside", "marker"),
    [
        (TWO_PARTS, None),
        ("", None),
        (f"<IsTruncated>false</IsTruncated><NextPartNumberMarker>5</NextPartNumberMarker>{TWO_PARTS}", None),
        (f"<IsTruncated>true</IsTruncated><NextPartNumberMarker>6</NextPartNumberMarker>{TWO_PARTS}", 6),
        (f"<IsTruncated>true</IsTruncated><NextPartNumberMarker/>{TWO_PARTS}", 5),
        ("<IsTruncated>true</IsTruncated><NextPartNumberMarker>5</NextPartNumberMarker>", 5),
    ],
)
def test_where_the_next_parts_begin(inside: str, marker: int | None) -> None:
    assert listed_parts(inside).next == marker


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("<Part/>", "has no <PartNumber>"),
        ("<Part><PartNumber>one</PartNumber></Part>", "'one' in the answer is no number"),
        ("<Part><PartNumber>1</PartNumber><Size>-1</Size></Part>", "is no number"),
        ("<Part><PartNumber>1</PartNumber><LastModified>now</LastModified></Part>", "is no time"),
        ("<IsTruncated>true</IsTruncated>", "gives no part number marker"),
        ("<IsTruncated>true</IsTruncated><NextPartNumberMarker>x</NextPartNumberMarker>", "is no number"),
    ],
)
def test_parts_that_make_no_sense(inside: str, words: str) -> None:
    with pytest.raises(InvalidResponse, match=words):
        listed_parts(inside)


# --- the uploads of a bucket


def listed_uploads(keys: Sequence[str], *, url: bool, said: bool = True, namespace: str = AWS, more: str = "") -> bytes:
    """A page of ListMultipartUploads; ``more`` comes ahead of the uploads."""
    write = url_encoded if url else xml_escaped
    lines = [f"{DECLARATION}<ListMultipartUploadsResult{namespace}><Bucket>bucket</Bucket><KeyMarker></KeyMarker>"]
    lines += ["<EncodingType>url</EncodingType>"] if url and said else []
    lines += [more]
    lines += [
        f"<Upload><Key>{write(key)}</Key><UploadId>id+{number}%20</UploadId>"
        "<Initiator><ID>initiator</ID><DisplayName>i</DisplayName></Initiator>"
        "<Owner><ID>owner</ID><DisplayName>o</DisplayName></Owner>"
        "<StorageClass>STANDARD</StorageClass><Initiated>2010-11-10T20:48:33.000Z</Initiated></Upload>"
        for number, key in enumerate(keys)
    ]
    lines += ["<CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListMultipartUploadsResult>"]
    return "".join(lines).encode()


def truncated(key_marker: str, upload_id_marker: str = "") -> str:
    return (
        f"<IsTruncated>true</IsTruncated><NextKeyMarker>{key_marker}</NextKeyMarker>"
        f"<NextUploadIdMarker>{upload_id_marker}</NextUploadIdMarker>"
    )


def keys_and_ids(listed: documents.ListedUploads) -> list[tuple[str, str]]:
    assert listed.unreadable is None
    return [(upload.key, upload.upload_id) for upload in listed.uploads]


@DETERMINISTIC
@given(st.lists(names(min_size=1), max_size=4), st.sampled_from(NAMESPACES), st.booleans())
def test_url_encoded_uploads_there_and_back(keys: list[str], namespace: str, said: bool) -> None:
    """Any key at all; where the answer does not say that keys are encoded, who asked for it knows."""
    body = listed_uploads(keys, url=True, said=said, namespace=namespace)
    expected = [(key, f"id+{number}%20") for number, key in enumerate(keys)]
    assert keys_and_ids(documents.parse_multipart_uploads(body, encoded=not said)) == expected


@DETERMINISTIC
@given(st.lists(xml_text(min_size=1), max_size=4), st.sampled_from(NAMESPACES))
def test_plain_uploads_there_and_back(keys: list[str], namespace: str) -> None:
    body = listed_uploads(keys, url=False, namespace=namespace)
    expected = [(key, f"id+{number}%20") for number, key in enumerate(keys)]
    assert keys_and_ids(documents.parse_multipart_uploads(body)) == expected


def test_everything_an_upload_tells() -> None:
    listed = documents.parse_multipart_uploads(listed_uploads(["a b"], url=True))
    assert listed == documents.ListedUploads(
        uploads=(
            MultipartUploadInfo(
                key="a b",
                upload_id="id+0%20",
                initiated=datetime(2010, 11, 10, 20, 48, 33, tzinfo=UTC),
                storage_class="STANDARD",
                owner="owner",
                initiator="initiator",
            ),
        )
    )


def test_all_but_the_key_and_the_id_of_an_upload_is_optional() -> None:
    upload = b"<Upload><Key>k</Key><UploadId>u</UploadId><Owner/></Upload>"
    body = b"<ListMultipartUploadsResult>" + upload + b"</ListMultipartUploadsResult>"
    assert documents.parse_multipart_uploads(body).uploads == (MultipartUploadInfo(key="k", upload_id="u"),)


@DETERMINISTIC
@given(st.lists(names(min_size=1), min_size=1, max_size=3), st.sampled_from(["encoded", "as it is", "missing"]))
def test_the_next_uploads_begin_at_the_last_one(keys: list[str], spelling: str) -> None:
    """S3 encodes the marker like the keys, Ceph's gateway never does; the id may be missing."""
    last = keys[-1]
    with_bytes = xml_escaped(last).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    marker = {"encoded": url_encoded(last), "as it is": with_bytes, "missing": ""}[spelling]
    if spelling == "as it is" and (last != last.encode("utf-8", "replace").decode() or "\r" in last):
        return  # bytes that are no text, which that gateway refuses
    for upload_id in ("marker", ""):
        body = listed_uploads(keys, url=True, more=truncated(marker, upload_id))
        listed = documents.parse_multipart_uploads(body)
        assert listed.next == (last, upload_id or f"id+{len(keys) - 1}%20")


def test_a_marker_that_looks_like_what_xml_cannot_carry() -> None:
    body = listed_uploads(["&#1;%"], url=True, more=truncated("&amp;#1;%", "u"))
    assert documents.parse_multipart_uploads(body).next == ("&#1;%", "u")


@pytest.mark.parametrize(
    ("url", "more", "marker"),
    [
        (True, truncated("b+%25", "u+1"), ("b %", "u+1")),
        (False, truncated("b+%25", "u+1"), ("b+%25", "u+1")),
        (False, truncated("b"), ("b", "")),
        (False, "<NextKeyMarker>b</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>", None),
        (False, "<IsTruncated>false</IsTruncated><NextKeyMarker>b</NextKeyMarker>", None),
    ],
)
def test_the_next_uploads_begin_elsewhere(url: bool, more: str, marker: tuple[str, str] | None) -> None:
    """As on rclone, whose markers are those of the first upload that is not shown; or there are no more."""
    for keys in (["a"], []):
        assert documents.parse_multipart_uploads(listed_uploads(keys, url=url, more=more)).next == marker


def test_more_uploads_without_a_marker_are_refused() -> None:
    with pytest.raises(InvalidResponse, match="gives no key marker"):
        documents.parse_multipart_uploads(listed_uploads([], url=False, more=truncated("", "id")))


@pytest.mark.parametrize("more", ["", "<Prefix>\x02</Prefix>"])
@pytest.mark.parametrize("key", ["\x01", "\uffff", "\x00"])
def test_uploads_whose_keys_cannot_be_read(key: str, more: str) -> None:
    """Said, not raised: it is not worth another attempt, but another question."""
    listed = documents.parse_multipart_uploads(listed_uploads(["a", key], url=False, more=more))
    assert (listed.uploads, listed.next) == ((), None)
    assert "not url-encoded" in (listed.unreadable or "")


def test_a_marker_that_cannot_be_read() -> None:
    body = listed_uploads(["a"], url=False, more=truncated("&#x1;", "u"))
    assert "not url-encoded" in (documents.parse_multipart_uploads(body).unreadable or "")


@pytest.mark.parametrize("upload", ["<Key>k</Key>", "<UploadId>u</UploadId>", "<Key/><UploadId>u</UploadId>", ""])
def test_an_upload_without_key_or_id_is_refused(upload: str) -> None:
    """An empty id would make the deletion of an object of an abort."""
    body = f"<ListMultipartUploadsResult><Upload>{upload}</Upload></ListMultipartUploadsResult>"
    with pytest.raises(InvalidResponse, match="<Upload> in the answer has no"):
        documents.parse_multipart_uploads(body.encode())


# --- what we write


@DETERMINISTIC
@given(st.dictionaries(st.integers(1, 10_000), xml_text().map(lambda text: text.replace("\r", "")), max_size=20))
def test_completions_are_sorted_and_parse_back(parts: dict[int, str]) -> None:
    root = documents.parse_xml(documents.write_completion(parts.items()))
    found = [(int(part.findtext("PartNumber") or 0), part.findtext("ETag")) for part in root]
    assert root.tag == "CompleteMultipartUpload"
    assert [tag.tag for part in root for tag in part] == ["PartNumber", "ETag"] * len(parts)
    assert found == sorted(parts.items())


def test_a_completion_byte_for_byte() -> None:
    assert documents.write_completion([(2, '"b"'), (10, "<&>"), (1, "é")]).decode() == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        f"<CompleteMultipartUpload{AWS}>"
        "<Part><PartNumber>1</PartNumber><ETag>é</ETag></Part>"
        '<Part><PartNumber>2</PartNumber><ETag>"b"</ETag></Part>'
        "<Part><PartNumber>10</PartNumber><ETag>&lt;&amp;&gt;</ETag></Part>"
        "</CompleteMultipartUpload>"
    )


# --- anything at all


def check_any(body: bytes) -> None:
    """The invariant: every parser gives a value or raises InvalidResponse, and ``parse_error`` never raises."""
    for parse in PARSERS.values():
        try:
            parse(body)
        except InvalidResponse:
            assert parse is not documents.parse_error


VALID: Final = [
    listing(["a b", "ü", "\x01"], ["p/"], url=True, token="t"),
    listing(["a", "b"], url=False),
    b"<Error><Code>SlowDown</Code><Message>m</Message><RequestId>r</RequestId></Error>",
    b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
    b"<CompleteMultipartUploadResult><ETag>&quot;e&quot;</ETag></CompleteMultipartUploadResult>",
    b"<ListPartsResult><IsTruncated>true</IsTruncated><Part><PartNumber>1</PartNumber></Part></ListPartsResult>",
    listed_uploads(["k", "ü"], url=True, more=truncated("%C3%BC", "u")),
    listed_uploads(["k"], url=False, more=truncated("", "")),
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid document in which a few stretches were cut out, doubled, or replaced."""
    body = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body)))
        stop = draw(st.integers(start, min(len(body), start + 30)))
        filling = draw(
            st.sampled_from(
                [b"", body[start:stop] * 2, b"<!DOCTYPE x>", b"<![CDATA[", b"<!--", b"<?p?>", b"&x;", b"&#0;"]
            )
            | st.binary(max_size=4)
            | st.text(max_size=4).map(lambda text: text.encode())
        )
        body = body[:start] + filling + body[stop:]
    return body


@DETERMINISTIC
@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    check_any(body)


@DETERMINISTIC
@given(damaged())
def test_damaged_documents(body: bytes) -> None:
    check_any(body)


@DETERMINISTIC
@given(xml_text(), xml_text(), xml_text())
def test_any_text_in_the_fields(size: str, modified: str, token: str) -> None:
    check_any(
        f"<ListBucketResult><NextContinuationToken>{xml_escaped(token)}</NextContinuationToken><Contents><Key>k</Key>"
        f"<Size>{xml_escaped(size)}</Size><LastModified>{xml_escaped(modified)}</LastModified></Contents>"
        "</ListBucketResult>".encode()
    )


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("number", range(len(VALID)))
def test_truncated_documents_are_refused(number: int, cut: float) -> None:
    """Half an answer is none: it must never pass for a short listing."""
    body = VALID[number]
    with pytest.raises(InvalidResponse):
        documents.parse_xml(body[: int(len(body) * cut)])


def test_every_encoding_a_document_may_claim() -> None:
    """Left alone, expat asks Python's codecs about them, and some of those raise or warn in ways of their own."""
    claims = {*aliases, *aliases.values(), "undefined", "idna", "punycode", "unicode_escape", "none"}
    for encoding in sorted(name for name in claims if name[0].isalpha()):
        body = f'<?xml version="1.0" encoding="{encoding}"?><Error><Code>ü</Code></Error>'.encode()
        check_any(body)
        assert documents.parse_error(body) == documents.ErrorDocument(code="ü", message=None, request_id=None)


LAUGHS: Final = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    "head",
    [
        "<!DOCTYPE Error>",
        '<!DOCTYPE Error SYSTEM "http://example.com/x.dtd">',
        '<!DOCTYPE Error [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        f'<!DOCTYPE Error [<!ENTITY l0 "ha">{LAUGHS}]>',
        f'<!DOCTYPE Error [<!ENTITY l9 "{"ha" * 50_000}">]>',
    ],
    ids=["bare", "external", "file", "billion laughs", "quadratic"],
)
def test_document_types_are_refused(head: str) -> None:
    """At once: nothing is expanded, nothing is fetched."""
    body = f"{DECLARATION}{head}<Error><Code>{'&l9;' * 100}</Code></Error>".encode()
    started = time.monotonic()
    with pytest.raises(InvalidResponse, match="document type"):
        documents.parse_xml(body)
    assert documents.parse_error(body) is None
    assert time.monotonic() - started < 2


def test_an_unknown_entity_is_refused() -> None:
    with pytest.raises(InvalidResponse):
        documents.parse_xml(b"<Error><Code>&unknown;</Code></Error>")


def test_deep_nesting_is_survived() -> None:
    check_any(b"<a>" * 100_000 + b"</a>" * 100_000)


def test_comments_and_instructions_are_passed_over() -> None:
    body = b"<!--x--><?x y?><Error><!--x--><Code>No<!--x-->SuchKey</Code></Error>"
    assert documents.parse_error(body) == documents.ErrorDocument(code="NoSuchKey", message=None, request_id=None)
    assert isinstance(documents.parse_xml(body), ET.Element)
