"""Options by name: what goes out for them is what botocore sends for the same, and what makes no sense is refused."""

from __future__ import annotations

import copy
import json
import pickle
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from hashlib import md5
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, get_args, get_type_hints
from urllib.parse import parse_qsl, urlsplit

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck import SSEKMS, SSES3, CannedACL, DeleteOptions, ReadOptions, RetentionMode, SSECustomer, WriteOptions
from handtruck.client import arguments
from handtruck.errors import UsageError
from handtruck.protocol import fields, options
from handtruck.protocol.address import parse_endpoint
from handtruck.protocol.operations import sort_upload_headers
from handtruck.protocol.options import CommonOptions, PartsOptions
from tests.protocol.strategies import DETERMINISTIC

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from handtruck.models import Encryption
    from handtruck.protocol.operations import Headers

FEWER: Final = settings(DETERMINISTIC, max_examples=40)
KEY: Final = bytes(range(32))
NOON: Final = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)

# --- botocore as an oracle: what it sends for the same wishes

_KINDS: Final[dict[str, type]] = {
    "write": WriteOptions,
    "read": ReadOptions,
    "delete": DeleteOptions,
    "common": CommonOptions,
    "parts": PartsOptions,
}
_MEMBERS: Final = {
    "acl": "ACL",
    "bypass_governance": "BypassGovernanceRetention",
    "cache_control": "CacheControl",
    "content_disposition": "ContentDisposition",
    "content_encoding": "ContentEncoding",
    "content_language": "ContentLanguage",
    "content_type": "ContentType",
    "expected_bucket_owner": "ExpectedBucketOwner",
    "expires": "Expires",
    "if_match": "IfMatch",
    "if_modified_since": "IfModifiedSince",
    "if_none_match": "IfNoneMatch",
    "if_unmodified_since": "IfUnmodifiedSince",
    "legal_hold": "ObjectLockLegalHoldStatus",
    "metadata": "Metadata",
    "mfa": "MFA",
    "request_payer": "RequestPayer",
    "response_cache_control": "ResponseCacheControl",
    "response_content_disposition": "ResponseContentDisposition",
    "response_content_encoding": "ResponseContentEncoding",
    "response_content_language": "ResponseContentLanguage",
    "response_content_type": "ResponseContentType",
    "response_expires": "ResponseExpires",
    "retain_until": "ObjectLockRetainUntilDate",
    "retention_mode": "ObjectLockMode",
    "storage_class": "StorageClass",
    "tags": "Tagging",
    "version_id": "VersionId",
    "website_redirect_location": "WebsiteRedirectLocation",
}
_ITS_OWN: Final = (
    "user-agent",
    "x-amz-date",
    "authorization",
    "x-amz-content-sha256",
    "content-length",
    "expect",
    "amz-sdk-",
)
_MODEL: Final[dict[str, dict[str, Any]]] = {
    "PutObject": {"Body": b""},
    "CreateMultipartUpload": {},
    "UploadPart": {"Body": b"", "PartNumber": 1, "UploadId": "id"},
    "CompleteMultipartUpload": {"UploadId": "id", "MultipartUpload": {"Parts": [{"PartNumber": 1, "ETag": "e"}]}},
    "AbortMultipartUpload": {"UploadId": "id"},
    "ListParts": {"UploadId": "id"},
    "GetObject": {},
    "HeadObject": {},
    "DeleteObject": {},
}


class _Answer(BytesIO):
    def stream(self, **_: object) -> list[bytes]:
        return [self.getvalue()]


class Oracle:
    """What botocore would send; nothing is sent."""

    def __init__(self) -> None:
        session = botocore.session.Session()
        self._client: Any = session.create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url="https://s3.invalid",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
            config=Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self._client.meta.events.register("before-send.s3", self._keep)
        self._sent: Any = None

    def _keep(self, request: Any, **_: object) -> AWSResponse:
        self._sent = request
        return AWSResponse(request.url, 200, {}, _Answer())

    def sends(self, operation: str, members: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
        """Headers, with lowered names, and the query, of one operation, of ``members`` with those that it has."""
        known = self._client.meta.service_model.operation_model(operation).input_shape.members
        own = {name: value for name, value in members.items() if name in known}
        if operation == "ListParts" and "SSECustomerKey" in own:  # the one call for which botocore does not do it
            key = own["SSECustomerKey"]
            own |= {
                "SSECustomerKey": b64encode(key).decode(),
                "SSECustomerKeyMD5": b64encode(md5(key, usedforsecurity=False).digest()).decode(),
            }
        call = getattr(self._client, _snake(operation))
        call(Bucket="b", Key="k", **_MODEL[operation], **own)
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in self._sent.headers.items()
        }
        query = dict(parse_qsl(urlsplit(self._sent.url).query))
        return {name: value for name, value in headers.items() if not name.startswith(_ITS_OWN)}, query


def _snake(operation: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).removeprefix("_")


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


def as_botocore(wishes: Mapping[str, Any]) -> dict[str, Any]:
    """The same under botocore's names."""
    members: dict[str, Any] = {}
    for name, value in wishes.items():
        if name == "sse":
            members |= _sse(value)
        elif name == "request_payer":
            members |= {"RequestPayer": "requester"} if value else {}
        elif name == "legal_hold":
            members["ObjectLockLegalHoldStatus"] = "ON" if value else "OFF"
        elif name == "bypass_governance":
            members |= {"BypassGovernanceRetention": True} if value else {}
        elif name == "tags":
            members |= {"Tagging": fields.encode_tags(value)} if value else {}
        else:
            members[_MEMBERS[name]] = value
    return members


def _sse(sse: Encryption) -> dict[str, Any]:
    match sse:
        case SSES3():
            return {"ServerSideEncryption": "AES256"}
        case SSECustomer():
            return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": sse.key}
        case SSEKMS():
            known = {
                "ServerSideEncryption": "aws:kms:dsse" if sse.dual_layer else "aws:kms",
                "SSEKMSKeyId": sse.key_id,
                "BucketKeyEnabled": sse.bucket_key,
                "SSEKMSEncryptionContext": None
                if sse.context is None
                else b64encode(json.dumps(dict(sse.context), sort_keys=True).encode()).decode(),
            }
            return {name: value for name, value in known.items() if value is not None}


def lowered(headers: Headers) -> dict[str, str]:
    """As a dictionary; no name comes twice."""
    found = {name.lower(): str(value) for name, value in headers}
    assert len(found) == len(headers)
    return found


def assert_same(ours: Mapping[str, str], theirs: Mapping[str, str]) -> None:
    """The same fields; points in time may be written in different ways."""
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if name == "x-amz-object-lock-retain-until-date":
            assert value.endswith("Z")
            assert datetime.fromisoformat(value) == datetime.fromisoformat(theirs[name])
        elif name in ("response-expires", "expires"):
            assert parsedate_to_datetime(value) == _time(theirs[name])
        else:
            assert value == theirs[name], name


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)


# --- wishes

_TEXT: Final = st.from_regex(r"[!-~]([ -~]{0,30}[!-~])?", fullmatch=True)
_TIMES: Final = st.datetimes(
    datetime(2001, 1, 1),
    datetime(2090, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7, minutes=30))]),
).map(lambda time: time.replace(microsecond=0))
_UNICODE: Final = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
_SSE_KMS: Final = st.builds(
    SSEKMS,
    key_id=st.none() | st.just("arn:aws:kms:eu-north-1:1:key/2"),
    context=st.none() | st.dictionaries(_UNICODE, _UNICODE, max_size=3),
    bucket_key=st.none() | st.booleans(),
    dual_layer=st.booleans(),
)
_CUSTOMER: Final = st.builds(SSECustomer, st.binary(min_size=32, max_size=32))
_METADATA: Final = st.dictionaries(st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True), st.just("") | _TEXT, max_size=4)
_TAGS: Final = st.dictionaries(_UNICODE.filter(bool), _UNICODE, max_size=10)
_COMMON: Final[dict[str, st.SearchStrategy[Any]]] = {
    "expected_bucket_owner": st.just("123456789012"),
    "request_payer": st.booleans(),
}
_WRITES: Final[dict[str, st.SearchStrategy[Any]]] = {
    **_COMMON,
    "content_type": _TEXT,
    "metadata": _METADATA,
    "tags": _TAGS,
    "cache_control": _TEXT,
    "content_disposition": _TEXT,
    "content_encoding": _TEXT.filter(lambda text: text.lower() != "aws-chunked"),
    "content_language": _TEXT,
    "expires": _TIMES,
    "website_redirect_location": _TEXT,
    "storage_class": st.sampled_from(["STANDARD_IA", "MADE_UP"]),
    "acl": st.sampled_from(get_args(CannedACL)),
    "sse": st.just(SSES3()) | _SSE_KMS | _CUSTOMER,
    "if_match": _TEXT,
    "if_none_match": st.just("*"),
    "legal_hold": st.booleans(),
}
_READS: Final[dict[str, st.SearchStrategy[Any]]] = {
    **_COMMON,
    "version_id": _TEXT,
    "if_match": _TEXT,
    "if_none_match": _TEXT,
    "if_modified_since": _TIMES,
    "if_unmodified_since": _TIMES,
    "sse": _CUSTOMER,
    "response_cache_control": _UNICODE.filter(lambda text: text.isprintable() and bool(text)),
    "response_content_disposition": _TEXT,
    "response_content_encoding": _TEXT,
    "response_content_language": _TEXT,
    "response_content_type": _TEXT,
    "response_expires": _TIMES,
}
_DELETES: Final[dict[str, st.SearchStrategy[Any]]] = {
    **_COMMON,
    "version_id": _TEXT,
    "if_match": _TEXT,
    "mfa": st.just("serial 123456"),
    "bypass_governance": st.booleans(),
}
_LOCKS: Final[st.SearchStrategy[Any]] = st.just({}) | st.fixed_dictionaries(
    {"retention_mode": st.sampled_from(get_args(RetentionMode)), "retain_until": _TIMES}
)


def some(wishes: Mapping[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=dict(wishes))


WRITES: Final = st.tuples(some(_WRITES), _LOCKS).map(lambda two: two[0] | two[1])


def test_the_wishes_are_all_there_are() -> None:
    """An option that nobody compares with botocore's would be noticed here."""
    compared = {*_WRITES, "retention_mode", "retain_until"}
    assert get_type_hints(WriteOptions).keys() - {"checksum"} == compared
    assert get_type_hints(ReadOptions).keys() - {"checksum"} == _READS.keys()
    assert get_type_hints(DeleteOptions).keys() == _DELETES.keys()
    assert get_type_hints(CommonOptions).keys() == _COMMON.keys()
    assert get_type_hints(PartsOptions).keys() == {*_COMMON, "sse"}


@FEWER
@given(wishes=WRITES)
def test_writes_are_botocores(oracle: Oracle, wishes: WriteOptions) -> None:
    headers, _ = oracle.sends("PutObject", as_botocore(wishes))
    assert_same(lowered(options.write_headers(wishes)), headers)


@FEWER
@given(wishes=WRITES)
def test_multipart_uploads_are_botocores(oracle: Oracle, wishes: WriteOptions) -> None:
    """Each request of an upload carries what S3's own model of that request has, and nothing else."""
    shares = sort_upload_headers(options.write_headers(wishes))
    for operation, share in (
        ("CreateMultipartUpload", shares.create),
        ("UploadPart", shares.part),
        ("CompleteMultipartUpload", shares.complete),
        ("AbortMultipartUpload", shares.undo),
        ("ListParts", shares.part),
    ):
        headers, _ = oracle.sends(operation, as_botocore(wishes))
        assert_same(lowered(share), headers)


@FEWER
@given(wishes=some(_READS))
def test_reads_are_botocores(oracle: Oracle, wishes: ReadOptions) -> None:
    ours, query = options.read_request(wishes)
    for operation in ("GetObject", "HeadObject"):
        headers, their_query = oracle.sends(operation, as_botocore(wishes))
        assert_same(lowered(ours), headers)
        assert_same({name: value or "" for name, value in query}, their_query)


@FEWER
@given(wishes=some(_DELETES))
def test_deletes_are_botocores(oracle: Oracle, wishes: DeleteOptions) -> None:
    ours, query = options.delete_request(wishes)
    headers, their_query = oracle.sends("DeleteObject", as_botocore(wishes))
    assert_same(lowered(ours), headers)
    assert dict(query) == their_query


@FEWER
@given(wishes=some({**_COMMON, "sse": _CUSTOMER}))
def test_lists_of_parts_are_botocores(oracle: Oracle, wishes: PartsOptions) -> None:
    headers, _ = oracle.sends("ListParts", as_botocore(wishes))
    assert_same(lowered(options.parts_headers(wishes)), headers)


@FEWER
@given(wishes=some(_COMMON))
def test_common_options(wishes: CommonOptions) -> None:
    everything: Any = wishes
    assert options.common_headers(wishes) == options.write_headers(everything)


# --- what is read back


@FEWER
@given(tags=_TAGS)
def test_tags_are_a_query_string(tags: dict[str, str]) -> None:
    assert dict(parse_qsl(options.encode_tags(tags), keep_blank_values=True, strict_parsing=bool(tags))) == tags
    assert options.encode_tags(tags).isascii()


@FEWER
@given(time=st.datetimes(datetime(1000, 1, 3), datetime(9999, 12, 29), timezones=st.timezones() | st.just(UTC)))
def test_dates(time: datetime) -> None:
    assert parsedate_to_datetime(options.http_date("x", time)) == time.astimezone(UTC).replace(microsecond=0)
    said = datetime.fromisoformat(fields.iso_date("x", time))
    assert timedelta() <= time.astimezone(UTC) - said < timedelta(milliseconds=1)


@FEWER
@given(key=st.binary(min_size=32, max_size=32))
def test_a_key_and_its_md5(key: bytes) -> None:
    for copy_source in (False, True):
        headers = options.customer_key_headers(SSECustomer(key), copy_source=copy_source)
        assert b64decode(headers[1][1]) == key
        assert len(b64decode(headers[2][1])) == 16
        assert all(("copy-source" in name) is copy_source for name, _ in headers)


@DETERMINISTIC
@given(name=st.sampled_from(sorted({*_WRITES, *_READS, *_DELETES, "retain_until"})), value=st.from_type(object))
def test_anything_becomes_headers_or_is_refused(name: str, value: object) -> None:
    wishes: Any = {name: value}
    for make in (options.write_headers, options.read_request, options.delete_request):
        try:
            made = make(wishes)
        except UsageError:
            continue
        headers = made if make is options.write_headers else made[0]
        assert all(isinstance(text, str) and text.isascii() and text.isprintable() for pair in headers for text in pair)


# --- what is refused


def refuse(kind: str, wishes: dict[str, object], match: str) -> None:
    make: dict[str, Callable[[Any], object]] = {
        "write": options.write_headers,
        "read": options.read_request,
        "delete": options.delete_request,
        "common": options.common_headers,
        "parts": options.parts_headers,
    }
    with pytest.raises(UsageError, match=match):
        make[kind](wishes)


@pytest.mark.parametrize("kind", _KINDS)
def test_unknown_names(kind: str) -> None:
    refuse(kind, {"content_typo": "x"}, "no option 'content_typo' here, but .*expected_bucket_owner")


def test_names_of_another_kind() -> None:
    refuse("read", {"content_type": "x"}, "no option 'content_type' here")
    refuse("write", {"version_id": "x"}, "no option 'version_id' here")
    refuse("delete", {"metadata": {}}, "no option 'metadata' here")
    refuse("common", {"if_match": "e"}, "no option 'if_match' here")


_NO_TEXT: Final = (None, 1, b"bytes", ["x"], "", " x", "x ", "ü", "a\nb", "a\x7fb")


@pytest.mark.parametrize("name", sorted(name for name, made in _WRITES.items() if made is _TEXT))
@pytest.mark.parametrize("value", _NO_TEXT, ids=ascii)
def test_texts_that_are_none(name: str, value: object) -> None:
    refuse("write", {name: value}, f"{name} must ")


@pytest.mark.parametrize("value", [None, 1, b"bytes", "", "a\nb", "a\x00b"], ids=ascii)
@pytest.mark.parametrize("name", ["version_id", "response_content_disposition"])
def test_parameters_that_are_none(name: str, value: object) -> None:
    """An empty version would be the latest one: deleting it is not what was asked for."""
    refuse("read", {name: value}, f"{name} must ")


class Nowhere(tzinfo):
    """A time zone that does not know its offset: aware to whoever looks at ``tzinfo`` only."""

    def utcoffset(self, _: datetime | None) -> None:
        return None

    def dst(self, _: datetime | None) -> None:
        return None

    def tzname(self, _: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    "value",
    [
        None,
        0,
        "2026-11-22",
        NOON.replace(tzinfo=None),
        NOON.date(),
        NOON.replace(tzinfo=Nowhere()),
        datetime.min.replace(tzinfo=timezone.max),
    ],
    ids=["None", "number", "text", "naive", "date", "nowhere", "overflow"],
)
@pytest.mark.parametrize(
    ("kind", "name"),
    [("write", "expires"), ("write", "retain_until"), ("read", "if_modified_since"), ("read", "response_expires")],
)
def test_times_that_are_none(kind: str, name: str, value: object) -> None:
    refuse(kind, {name: value, **({"retention_mode": "GOVERNANCE"} if name == "retain_until" else {})}, f"{name} ")


@pytest.mark.parametrize(
    ("metadata", "match"),
    [
        (None, "must be a mapping"),
        ([("a", "b")], "must be a mapping"),
        ({"a": 1}, "the value of 'a' must be text, not int"),
        ({1: "a"}, "1 cannot be the name of a header"),
        ({"": "a"}, "'' cannot be the name"),
        ({"ü": "a"}, "'ü' cannot be the name"),
        ({"a b": "c"}, "'a b' cannot be the name"),
        ({"a": "ü"}, "printable ASCII"),
        ({"a": " b"}, "without blanks around it"),
        ({"a": "b\r\nx-amz-acl: public-read"}, "printable ASCII"),
        ({"Who": "a", "who": "b"}, "'Who' and 'who' are the same"),
        ({"a": "b" * 2048}, "2049 bytes of names and values, and S3 keeps 2048"),
    ],
)
def test_metadata_that_s3_does_not_keep(metadata: object, match: str) -> None:
    refuse("write", {"metadata": metadata}, match)


def test_as_much_metadata_as_s3_keeps() -> None:
    assert options.metadata_headers({"a": "b" * 2047}) == (("x-amz-meta-a", "b" * 2047),)
    assert options.metadata_headers({}) == ()


@pytest.mark.parametrize(
    ("tags", "match"),
    [
        (None, "must be a mapping"),
        ("a=b", "must be a mapping"),
        ({str(number): "" for number in range(11)}, "11 tags, and S3 keeps 10"),
        ({"": "a"}, "name of a tag must be text of 1 to 128"),
        ({"a" * 129: ""}, "name of a tag must be text of 1 to 128"),
        ({"a": "b" * 257}, "value of a tag must be text of 0 to 256"),
        ({"a": None}, "value of a tag"),
        ({1: "a"}, "name of a tag"),
        ({"a": "\udc80"}, "cannot be encoded as UTF-8"),
    ],
)
def test_tags_that_s3_does_not_keep(tags: object, match: str) -> None:
    refuse("write", {"tags": tags}, match)


def test_as_many_tags_as_s3_keeps() -> None:
    options.check_tags({f"{number:0128}": "v" * 256 for number in range(10)})
    options.check_tags({str(number): "" for number in range(50)}, most=50)
    assert options.write_headers({"tags": {}}) == ()


@pytest.mark.parametrize(
    ("kind", "wishes", "match"),
    [
        ("write", {"acl": "public"}, "acl must be one of private, "),
        ("write", {"acl": ["private"]}, "acl must be one of"),
        ("write", {"retention_mode": "FOREVER", "retain_until": NOON}, "must be one of GOVERNANCE, COMPLIANCE"),
        ("write", {"retention_mode": "GOVERNANCE"}, "go together"),
        ("write", {"retain_until": NOON}, "go together"),
        ("write", {"legal_hold": "ON"}, "True or False"),
        ("write", {"request_payer": "requester"}, "True or False"),
        ("delete", {"bypass_governance": 1}, "True or False"),
        ("write", {"sse": "AES256"}, r"sse must be SSES3\(\), SSEKMS\(…\) or SSECustomer\(…\), not str"),
        ("write", {"sse": SSES3}, "not the class SSES3"),
        ("write", {"sse": KEY}, "not bytes"),
        ("read", {"sse": SSES3()}, r"must be SSECustomer\(…\) here"),
        ("read", {"sse": SSEKMS()}, r"must be SSECustomer\(…\) here"),
    ],
)
def test_what_is_none_of_a_closed_set(kind: str, wishes: dict[str, object], match: str) -> None:
    refuse(kind, wishes, match)


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "x" * 32, bytearray(32), None], ids=repr)
def test_keys_that_are_none(key: Any) -> None:
    with pytest.raises(UsageError, match="32 bytes") as caught:
        SSECustomer(key)
    assert "x" * 32 not in str(caught.value)


@pytest.mark.parametrize(
    "facts",
    [
        {"key_id": ""},
        {"key_id": 1},
        {"context": "{}"},
        {"context": {"a": 1}},
        {"context": {1: "a"}},
        {"bucket_key": "yes"},
        {"bucket_key": 0},
        {"dual_layer": None},
    ],
    ids=repr,
)
def test_key_services_that_are_none(facts: Any) -> None:
    with pytest.raises(UsageError, match="of SSEKMS must be"):
        SSEKMS(**facts)


def test_values_of_encryption() -> None:
    assert {SSES3(), SSES3()} == {SSES3()}
    assert SSECustomer(KEY) == SSECustomer(bytes(KEY))
    assert hash(SSEKMS(key_id="k", context={"a": "b"})) == hash(SSEKMS(key_id="k", context={"a": "c"}))
    assert SSEKMS(context={"a": "b"}) != SSEKMS(context={"a": "c"})


# --- said twice

HERE: Final = parse_endpoint("http://127.0.0.1:9000")


@pytest.mark.parametrize(
    ("headers", "wishes"),
    [
        ({"content-type": "a"}, {"content_type": "b"}),
        ({"X-Amz-Meta-Who": "a"}, {"metadata": {"who": "b"}}),
        ([("IF-MATCH", "a")], {"if_match": "a"}),
        ({"x-amz-server-side-encryption": "AES256"}, {"sse": SSECustomer(KEY)}),
        ({"x-amz-server-side-encryption-bucket-key-enabled": "true"}, {"sse": SSEKMS()}),
    ],
)
def test_headers_that_are_options_too(headers: Any, wishes: WriteOptions) -> None:
    with pytest.raises(UsageError, match="given twice"):
        arguments.merged(headers, options.write_headers(wishes), HERE)


def test_headers_and_options_side_by_side() -> None:
    made = options.write_headers({"content_type": "a", "metadata": {"who": "b"}})
    assert arguments.merged({"x-amz-meta-what": "c"}, made, HERE) == (("x-amz-meta-what", "c"), *made)
    assert arguments.merged(None, made, HERE) == made


def test_parameters_that_are_options_too() -> None:
    _, query = options.read_request({"version_id": "a"})
    with pytest.raises(UsageError, match="versionId is given twice"):
        arguments.merged_query({"versionId": "a"}, query)
    assert arguments.merged_query({"partNumber": 1}, query) == (("partNumber", "1"), ("versionId", "a"))
    assert arguments.merged_query(None, query) == query


# --- the key of SSE-C

SAID: Final = b64encode(KEY).decode()


@pytest.mark.parametrize(
    ("url", "private"),
    [
        ("https://s3.example", True),
        ("http://127.0.0.1:9000", True),
        ("http://127.255.0.9", True),
        ("http://[::1]:9000", True),
        ("http://localhost", True),
        ("http://bucket.localhost:80", True),
        ("http://s3.example", False),
        ("http://10.0.0.1", False),
        ("http://localhost.example", False),
        ("http://notlocalhost", False),
        ("http://127.0.0.1.example", False),
        ("http://[::2]", False),
        ("http://0.0.0.0", False),
    ],
)
def test_where_a_key_may_travel(url: str, private: bool) -> None:
    endpoint = parse_endpoint(url)
    assert endpoint.private is private
    for headers in (
        options.write_headers({"sse": SSECustomer(KEY)}),
        options.read_request({"sse": SSECustomer(KEY)})[0],
        options.customer_key_headers(SSECustomer(KEY), copy_source=True),
    ):
        if private:
            assert arguments.merged(None, headers, endpoint) == headers
        else:
            with pytest.raises(UsageError, match="in the clear") as caught:
                arguments.merged(None, headers, endpoint)
            assert SAID not in str(caught.value)
    assert arguments.merged(None, options.write_headers({"sse": SSES3()}), endpoint)


def check_the_key_is_not_printed() -> None:
    sse = SSECustomer(KEY)
    headers = options.write_headers({"sse": sse, "content_type": "x"})
    for text in (
        repr(sse),
        str(sse),
        f"{sse}",
        repr(headers),
        repr(sort_upload_headers(headers)),
        repr(SSEKMS(context={"s": "t"})),
    ):
        assert SAID not in text
        assert repr(KEY)[2:-1] not in text
        assert "'s'" not in text
    assert f"{dict(headers)['x-amz-server-side-encryption-customer-key']}" == SAID
    assert "".join(dict(headers)["x-amz-server-side-encryption-customer-key"]) == SAID


def test_the_key_is_not_printed() -> None:
    check_the_key_is_not_printed()


def test_mutation_a_key_like_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "Secret", str)
    with pytest.raises(AssertionError):
        check_the_key_is_not_printed()


def test_a_key_stays_in_its_process() -> None:
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="does not leave this process"):
            leave(SSECustomer(KEY))


# --- mutations


def test_mutation_conditions_with_the_beginning(oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who would decide whether the object may be written before its bytes are there."""
    monkeypatch.setattr("handtruck.protocol.operations.base.CONDITIONAL", frozenset())
    with pytest.raises(AssertionError):
        test_multipart_uploads_are_botocores.hypothesis.inner_test(oracle, {"if_match": "e"})  # type: ignore[attr-defined]


@pytest.mark.parametrize("wishes", [{"sse": SSECustomer(KEY)}, {"request_payer": True}], ids=["key", "payer"])
def test_mutation_nothing_is_carried_on(wishes: Any, oracle: Oracle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.operations.base._EVERYWHERE", frozenset())
    monkeypatch.setattr("handtruck.protocol.operations.base._CUSTOMER_KEY", "no such header")
    with pytest.raises(AssertionError):
        test_multipart_uploads_are_botocores.hypothesis.inner_test(oracle, wishes)  # type: ignore[attr-defined]


def test_mutation_a_naive_time_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_in_utc", lambda _, time: time.replace(tzinfo=UTC))
    with pytest.raises(pytest.fail.Exception):
        refuse("write", {"expires": NOON.replace(tzinfo=None)}, "expires")
