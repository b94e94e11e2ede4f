"""Each S3 call as a value: what goes out, what may be sent twice, and what its answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from handtruck.errors import InvalidResponse, UsageError
from handtruck.models import AwsObjectMeta, MultipartUploadInfo, PartInfo
from handtruck.protocol import operations
from handtruck.protocol.address import Location
from handtruck.protocol.answers import Answer

if TYPE_CHECKING:
    from handtruck.protocol.address import Query
    from handtruck.protocol.operations import Headers, Operation

HERE = Location(path="/bucket/key", bucket="bucket", key="key")
BUCKET = Location(path="/bucket/", bucket="bucket", key="")
TYPE = ("Content-Type", "text/plain")
IF_MATCH = ("If-Match", '"e"')
XML = ("Content-Type", "application/xml")
DELETE_SUMS = (("Content-MD5", "4CxkVsBhzCpK4x62ox/ECQ=="), ("x-amz-checksum-crc32", "nauZ9Q=="))
PAYING = ("x-amz-request-payer", "requester")


def answer(body: bytes = b"", **headers: str) -> Answer:
    return Answer(status=200, headers=headers, body=body)


# name, method, query, headers, idempotent, error_in_200
FACTS: list[tuple[Operation[Any], str, str, Query, Headers, bool, bool]] = [
    (operations.put_object(HERE, (TYPE,)), "PutObject", "PUT", (), (TYPE,), True, False),
    (operations.put_object(HERE, (TYPE, IF_MATCH)), "PutObject", "PUT", (), (TYPE, IF_MATCH), False, False),
    (operations.head_object(HERE), "HeadObject", "HEAD", (), (), True, False),
    (operations.head_object(HERE, (IF_MATCH,)), "HeadObject", "HEAD", (), (IF_MATCH,), True, False),
    (operations.get_object(HERE, (IF_MATCH,)), "GetObject", "GET", (), (IF_MATCH,), True, False),
    (
        operations.create_multipart_upload(HERE, (TYPE,)),
        "CreateMultipartUpload", "POST", (("uploads", None),), (TYPE,), False, True,
    ),
    (
        operations.upload_part(HERE, "id", 7, (TYPE,)),
        "UploadPart", "PUT", (("partNumber", "7"), ("uploadId", "id")), (TYPE,), True, False,
    ),
    (
        operations.complete_multipart_upload(HERE, "id", [(1, "e")]),
        "CompleteMultipartUpload", "POST", (("uploadId", "id"),), (XML,), True, True,
    ),
    (
        operations.complete_multipart_upload(HERE, "id", [(1, "e")], (IF_MATCH,)),
        "CompleteMultipartUpload", "POST", (("uploadId", "id"),), (XML, IF_MATCH), False, True,
    ),
    (
        operations.abort_multipart_upload(HERE, "id"),
        "AbortMultipartUpload", "DELETE", (("uploadId", "id"),), (), True, False,
    ),
    (operations.list_parts(HERE, "id", (TYPE,)), "ListParts", "GET", (("uploadId", "id"),), (TYPE,), True, False),
    (
        operations.list_parts(HERE, "id", marker=7, max_parts=2),
        "ListParts", "GET", (("uploadId", "id"), ("part-number-marker", "7"), ("max-parts", "2")), (), True, False,
    ),
    (
        operations.list_multipart_uploads(BUCKET, (("prefix", "p"),)),
        "ListMultipartUploads", "GET", (("uploads", None), ("prefix", "p")), (), True, False,
    ),
    (
        operations.list_objects_v2(BUCKET, (("prefix", "p"),)),
        "ListObjectsV2", "GET", (("list-type", "2"), ("prefix", "p")), (), True, False,
    ),
    (
        operations.list_object_versions(BUCKET, (("prefix", "p"),), (PAYING,)),
        "ListObjectVersions", "GET", (("versions", None), ("prefix", "p")), (PAYING,), True, False,
    ),
    (
        operations.delete_object(HERE, "v", (PAYING,)),
        "DeleteObject", "DELETE", (("versionId", "v"),), (PAYING,), True, False,
    ),
    (
        operations.delete_objects(BUCKET, [("a", None)], (PAYING,)),
        "DeleteObjects", "POST", (("delete", None),),
        (XML, *DELETE_SUMS, PAYING), True, True,
    ),
]  # fmt: skip


OF_BUCKETS = ("ListObjectsV2", "ListObjectVersions", "ListMultipartUploads", "DeleteObjects")


@pytest.mark.parametrize(
    ("operation", "name", "method", "query", "headers", "idempotent", "error_in_200"),
    FACTS,
    ids=[f"{name}{'' if idempotent else ' (once)'}" for _, name, _, _, _, idempotent, _ in FACTS],
)
def test_the_facts(
    operation: Operation[Any],
    name: str,
    method: str,
    query: Query,
    headers: Headers,
    idempotent: bool,
    error_in_200: bool,
) -> None:
    assert (operation.name, operation.method, operation.query) == (name, method, query)
    assert operation.headers == headers
    assert (operation.idempotent, operation.error_in_200) == (idempotent, error_in_200)
    assert operation.location is (BUCKET if name in OF_BUCKETS else HERE)
    assert bool(operation.content) is (name in ("CompleteMultipartUpload", "DeleteObjects"))


@pytest.mark.parametrize(
    ("method", "headers", "idempotent"),
    [
        ("GET", (), True),
        ("GET", (IF_MATCH,), True),
        ("HEAD", (IF_MATCH,), True),
        ("PUT", (), True),
        ("PUT", (IF_MATCH,), False),
        ("PUT", (("if-none-match", "*"),), False),
        ("PUT", (("IF-UNMODIFIED-SINCE", "x"),), False),
        ("DELETE", (), True),
        ("DELETE", (("If-Modified-Since", "x"),), False),
        ("POST", (), False),
        ("PATCH", (), False),
    ],
)
def test_requests_of_the_callers_own(method: str, headers: Headers, idempotent: bool) -> None:
    """POST, and writes with a condition, are not sent twice blindly: their own success may make them fail."""
    operation = operations.plain(method, HERE, (), headers)
    assert operation.idempotent is idempotent
    assert (operation.method, operation.headers, operation.error_in_200) == (method, headers, False)


@pytest.mark.parametrize(
    ("method", "location", "query", "name"),
    [
        ("GET", HERE, (), "GetObject"),
        ("HEAD", HERE, (), "HeadObject"),
        ("PUT", HERE, (), "PutObject"),
        ("DELETE", HERE, (), "DeleteObject"),
        ("POST", HERE, (), "POST"),
        ("GET", BUCKET, (), "GET"),
        ("GET", HERE, (("tagging", None),), "GET"),
    ],
)
def test_names_of_the_callers_own_requests(method: str, location: Location, query: Query, name: str) -> None:
    """S3's name where it is sure, else the method: an error never names what was not asked."""
    assert operations.plain(method, location, query, ()).name == name


@pytest.mark.parametrize(
    "operation",
    [
        operations.plain("GET", HERE, (), ()),
        operations.put_object(HERE, ()),
        operations.get_object(HERE, ()),
        operations.head_object(HERE),
    ],
    ids=["plain", "put", "get", "head"],
)
def test_whole_answers(operation: Operation[Answer]) -> None:
    said = answer(b"body", etag="e")
    assert operation.parse(said) is said


def test_what_the_answers_mean() -> None:
    created = b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"
    completed = b"<CompleteMultipartUploadResult><ETag>e-1</ETag></CompleteMultipartUploadResult>"
    listed = b"<ListBucketResult><Contents><Key>k</Key></Contents></ListBucketResult>"
    parts = b"<ListPartsResult><Part><PartNumber>1</PartNumber></Part></ListPartsResult>"
    assert operations.create_multipart_upload(HERE, ()).parse(answer(created)) == "id"
    assert operations.upload_part(HERE, "id", 1).parse(answer(etag='"e"')) == '"e"'
    assert operations.complete_multipart_upload(HERE, "id", []).parse(answer(completed)) == "e-1"
    assert operations.list_parts(HERE, "id").parse(answer(parts)).parts == (PartInfo(number=1),)
    assert operations.list_objects_v2(BUCKET, ()).parse(answer(listed)).page == [AwsObjectMeta(key="k")]
    operations.abort_multipart_upload(HERE, "id").parse(answer())


@pytest.mark.parametrize(("query", "key"), [((), "a%20b"), ((("encoding-type", "url"),), "a b")])
def test_keys_of_uploads_are_decoded_where_that_was_asked_for(query: Query, key: str) -> None:
    """Ceph's gateway encodes them and does not say so."""
    body = b"<Upload><Key>a%20b</Key><UploadId>u</UploadId></Upload>"
    said = answer(b"<ListMultipartUploadsResult>" + body + b"</ListMultipartUploadsResult>")
    found = operations.list_multipart_uploads(BUCKET, query).parse(said)
    assert found.uploads == (MultipartUploadInfo(key=key, upload_id="u"),)


def test_a_part_without_an_etag_is_refused() -> None:
    with pytest.raises(InvalidResponse, match="UploadPart has no ETag"):
        operations.upload_part(HERE, "id", 1).parse(answer())


def test_a_completion_inside_a_200_that_is_an_error_is_refused() -> None:
    complete = operations.complete_multipart_upload(HERE, "id", [(1, "e")])
    with pytest.raises(InvalidResponse, match="found <Error>"):
        complete.parse(answer(b"<Error><Code>InternalError</Code></Error>"))


def test_a_completion_lists_its_parts_in_order() -> None:
    content = operations.complete_multipart_upload(HERE, "id", [(2, "b"), (1, "a")]).content
    assert content.index(b"<ETag>a</ETag>") < content.index(b"<ETag>b</ETag>")


# --- who carries which of the caller's headers

CUSTOMER_KEY = tuple(
    (f"x-amz-server-side-encryption-customer-{name}", name) for name in ("algorithm", "key", "key-MD5")
)
PAYER = ("x-amz-request-payer", "requester")
META = ("x-amz-meta-a", "1")


def test_upload_headers_go_where_they_belong() -> None:
    """A customer's key goes on every request, a condition only where the object comes into being."""
    found = operations.sort_upload_headers((TYPE, META, IF_MATCH, PAYER, *CUSTOMER_KEY))
    assert found.create == (TYPE, META, PAYER, *CUSTOMER_KEY)
    assert found.part == (PAYER, *CUSTOMER_KEY)
    assert found.complete == (IF_MATCH, PAYER, *CUSTOMER_KEY)


def test_a_hash_of_the_whole_body_cannot_be_sent_in_parts() -> None:
    for name in ("Content-MD5", "x-amz-checksum-crc32"):
        with pytest.raises(UsageError, match=f"{name} speaks of the whole body"):
            operations.sort_upload_headers(((name, "x"),))
    algorithm = (("x-amz-checksum-algorithm", "CRC32"),)
    of_all = ("x-amz-checksum-type", "FULL_OBJECT")
    assert operations.sort_upload_headers(algorithm).create == (*algorithm, of_all)


@pytest.mark.parametrize(
    ("method", "headers", "name"),
    [
        ("PUT", (), "PutObject"),
        ("PUT", (("X-Amz-Copy-Source", "b/k"),), "CopyObject"),
        ("GET", (("x-amz-copy-source", "b/k"),), "GetObject"),
    ],
)
def test_what_a_request_of_the_callers_own_is_called(method: str, headers: Headers, name: str) -> None:
    """Directory buckets take a copy with one's own keys only: it goes by its name, however it was written."""
    assert operations.plain(method, HERE, (), headers).name == name
