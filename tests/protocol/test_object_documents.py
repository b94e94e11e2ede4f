"""S3's documents about one object: decode∘encode is the identity, and any bytes are a value or InvalidResponse."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.errors import InvalidResponse, UsageError
from handtruck.models import AccessControlList, Checksum, Grant, Grantee, ObjectAttributes, ObjectPart, Retention
from handtruck.protocol.address import Location
from handtruck.protocol.answers import Answer
from handtruck.protocol.documents import configuration, objects
from handtruck.protocol.documents.xml import parse_xml
from handtruck.protocol.operations import subresources
from handtruck.protocol.operations.configuration import Setting

from .strategies import DETERMINISTIC, xml_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from handtruck.protocol.operations import Operation

AWS: Final = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
NAMESPACES: Final = pytest.mark.parametrize("namespace", ["", AWS, ' xmlns="urn:somebody-else"'])
HERE: Final = Location(path="/bucket/key", bucket="bucket", key="key")
NOON: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
ME: Final = Grantee(id="me", display_name="Me & mine")
ALL: Final = Grantee(uri="http://acs.amazonaws.com/groups/global/AllUsers")

FEW: Final = settings(DETERMINISTIC, max_examples=100)

PARSERS: Final[tuple[Callable[[bytes], object], ...]] = (
    objects.parse_acl,
    objects.parse_attributes,
    objects.parse_legal_hold,
    objects.parse_retention,
    lambda body: objects.is_document(body, "Tagging"),
)

ATTRIBUTES: Final = (
    "<ETag>e-2</ETag><Checksum><ChecksumSHA256>{sum}-2</ChecksumSHA256><ChecksumType>COMPOSITE</ChecksumType></Checksum>"
    "<ObjectParts><PartsCount>2</PartsCount><PartNumberMarker>0</PartNumberMarker><MaxParts>1</MaxParts>"
    "<NextPartNumberMarker>1</NextPartNumberMarker><IsTruncated>true</IsTruncated>"
    "<Part><PartNumber>1</PartNumber><Size>5242880</Size><ChecksumSHA256>{sum}</ChecksumSHA256></Part></ObjectParts>"
    "<StorageClass>STANDARD_IA</StorageClass><ObjectSize>5242883</ObjectSize>"
).format(sum="47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")
SUM: Final = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
WHOLE: Final = ObjectAttributes(
    etag="e-2",
    size=5242883,
    storage_class="STANDARD_IA",
    checksums=(Checksum(algorithm="SHA256", value=SUM, type="COMPOSITE", parts=2),),
    parts_count=2,
    parts=(ObjectPart(number=1, size=5242880, checksums=(Checksum(algorithm="SHA256", value=SUM),)),),
    next_part_number=1,
)


def document(root: str, inside: str = "", namespace: str = AWS) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{namespace}>{inside}</{root}>'.encode()


# --- attributes


@NAMESPACES
@pytest.mark.parametrize("root", ["GetObjectAttributesResponse", "GetObjectAttributesOutput"])
def test_all_that_attributes_tell(namespace: str, root: str) -> None:
    """Under S3's name of the document and under moto's."""
    assert objects.parse_attributes(document(root, ATTRIBUTES, namespace)) == WHOLE


def test_attributes_may_say_nothing() -> None:
    assert objects.parse_attributes(document("GetObjectAttributesResponse")) == ObjectAttributes()
    only_type = "<Checksum><ChecksumType>FULL_OBJECT</ChecksumType></Checksum><ObjectParts/>"
    assert objects.parse_attributes(document("GetObjectAttributesResponse", only_type)) == ObjectAttributes()


@pytest.mark.parametrize(
    "inside",
    [
        "<ObjectSize>x</ObjectSize>",
        "<ObjectSize>-1</ObjectSize>",
        "<Checksum><ChecksumCRC32>x</ChecksumCRC32></Checksum>",
        "<ObjectParts><Part><Size>1</Size></Part></ObjectParts>",
        "<ObjectParts><IsTruncated>true</IsTruncated><NextPartNumberMarker>x</NextPartNumberMarker></ObjectParts>",
    ],
)
def test_attributes_that_make_no_sense(inside: str) -> None:
    with pytest.raises(InvalidResponse):
        objects.parse_attributes(document("GetObjectAttributesResponse", inside))


@pytest.mark.parametrize(
    ("inside", "following"),
    [
        ("<IsTruncated>false</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>", None),
        ("<NextPartNumberMarker>2</NextPartNumberMarker>", None),
        ("<IsTruncated>true</IsTruncated><NextPartNumberMarker>2</NextPartNumberMarker>", 2),
        ("<IsTruncated>true</IsTruncated><NextPartNumberMarker>0</NextPartNumberMarker>", None),
        ("<IsTruncated>true</IsTruncated><Part><PartNumber>7</PartNumber></Part>", 7),
        ("<IsTruncated>true</IsTruncated>", None),
    ],
)
def test_where_the_next_page_of_parts_begins(inside: str, following: int | None) -> None:
    """An empty page is the last one, whatever it says."""
    found = objects.parse_attributes(document(objects.ATTRIBUTES[0], f"<ObjectParts>{inside}</ObjectParts>"))
    assert found.next_part_number == following


# --- access control lists

XSI: Final = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type'


@NAMESPACES
def test_a_list(namespace: str) -> None:
    inside = (
        "<Owner><ID>me</ID><DisplayName>Me &amp; mine</DisplayName></Owner><AccessControlList>"
        f'<Grant><Grantee {XSI}="CanonicalUser"><ID>me</ID><DisplayName>Me &amp; mine</DisplayName></Grantee>'
        "<Permission>FULL_CONTROL</Permission></Grant>"
        f'<Grant><Grantee {XSI}="Group"><URI>{ALL.uri}</URI></Grantee><Permission>READ</Permission></Grant>'
        "</AccessControlList>"
    )
    acl = AccessControlList(
        owner=ME, grants=(Grant(grantee=ME, permission="FULL_CONTROL"), Grant(grantee=ALL, permission="READ"))
    )
    assert objects.parse_acl(document("AccessControlPolicy", inside, namespace)) == acl


@pytest.mark.parametrize("inside", ["", "<AccessControlList/>", "<AccessControlList> </AccessControlList>"])
def test_a_list_without_anybody(inside: str) -> None:
    assert objects.parse_acl(document("AccessControlPolicy", inside)) == AccessControlList()


@pytest.mark.parametrize(
    "grant",
    [
        "",
        "text",
        "<Grantee><ID>me</ID></Grantee>",
        "<Permission>READ</Permission>",
        "<Grantee><ID>me</ID></Grantee><Permission>EAT</Permission>",
        "<Grantee>me</Grantee><Permission>READ</Permission>",
    ],
)
def test_grants_that_make_no_sense_are_not_guessed(grant: str) -> None:
    inside = f"<AccessControlList><Grant>{grant}</Grant></AccessControlList>"
    with pytest.raises(InvalidResponse):
        objects.parse_acl(document("AccessControlPolicy", inside))


def names() -> st.SearchStrategy[str]:
    return xml_text(min_size=1).map(str.strip).filter(bool)


def grantees() -> st.SearchStrategy[Grantee]:
    return st.one_of(
        st.builds(Grantee, id=names(), display_name=st.none() | names()),
        st.builds(Grantee, uri=names()),
        st.builds(Grantee, email=names()),
    )


@FEW
@given(
    st.builds(
        AccessControlList,
        owner=st.builds(Grantee, id=names(), display_name=st.none() | names()),
        grants=st.lists(
            st.builds(
                Grant,
                grantee=grantees(),
                permission=st.sampled_from(["FULL_CONTROL", "WRITE", "WRITE_ACP", "READ", "READ_ACP"]),
            ),
            max_size=4,
        ).map(tuple),
    )
)
def test_lists_there_and_back(acl: AccessControlList) -> None:
    assert objects.parse_acl(objects.write_acl(acl)) == acl


def test_a_list_in_headers() -> None:
    grants = (
        Grant(grantee=Grantee(id="a"), permission="READ"),
        Grant(grantee=ALL, permission="READ"),
        Grant(grantee=Grantee(email="a@b"), permission="WRITE_ACP"),
        Grant(grantee=Grantee(id="a"), permission="FULL_CONTROL"),
    )
    assert objects.acl_headers(AccessControlList(grants=grants)) == (
        ("x-amz-grant-read", f'id="a", uri="{ALL.uri}"'),
        ("x-amz-grant-write-acp", 'emailAddress="a@b"'),
        ("x-amz-grant-full-control", 'id="a"'),
    )


@pytest.mark.parametrize("bad", ['a"', "ü", "a\r\nx: y", ""])
def test_who_cannot_be_named_in_a_header(bad: str) -> None:
    with pytest.raises(UsageError):
        objects.acl_headers(AccessControlList(grants=(Grant(grantee=Grantee(id=bad), permission="READ"),)))


# --- locks


@NAMESPACES
def test_legal_holds(namespace: str) -> None:
    for inside, held in (("<Status>ON</Status>", True), ("<Status> OFF</Status>", False), ("", False)):
        assert objects.parse_legal_hold(document("LegalHold", inside, namespace)) is held
    for held in (True, False):
        assert objects.parse_legal_hold(objects.write_legal_hold(held)) is held


@pytest.mark.parametrize("status", ["on", "", "<x/>", "ON</Status><Status>OFF"])
def test_a_hold_is_not_guessed(status: str) -> None:
    with pytest.raises(InvalidResponse):
        objects.parse_legal_hold(document("LegalHold", f"<Status>{status}</Status>"))


@NAMESPACES
def test_retention(namespace: str) -> None:
    inside = "<Mode>GOVERNANCE</Mode><RetainUntilDate>2026-11-22T12:00:00.000000000Z</RetainUntilDate>"
    found = objects.parse_retention(document("Retention", inside, namespace))
    assert found == Retention(mode="GOVERNANCE", until=NOON)
    assert objects.parse_retention(document("Retention", "", namespace)) is None
    assert objects.parse_retention(objects.write_retention(None)) is None


@pytest.mark.parametrize(
    "inside",
    [
        "<Mode>GOVERNANCE</Mode>",
        "<RetainUntilDate>2026-11-22T12:00:00Z</RetainUntilDate>",
        "<Mode>SOME</Mode><RetainUntilDate>2026-11-22T12:00:00Z</RetainUntilDate>",
        "<Mode>GOVERNANCE</Mode><RetainUntilDate>tomorrow</RetainUntilDate>",
        "<Mode>GOVERNANCE</Mode><RetainUntilDate><x/></RetainUntilDate>",
    ],
)
def test_a_retention_is_not_guessed(inside: str) -> None:
    with pytest.raises(InvalidResponse):
        objects.parse_retention(document("Retention", inside))


@FEW
@given(
    st.sampled_from(["GOVERNANCE", "COMPLIANCE"]),
    st.datetimes(min_value=datetime(1000, 1, 2)).map(
        lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
    ),
    st.integers(-14, 14),
)
def test_retentions_there_and_back(mode: Any, naive: datetime, hours: int) -> None:
    until = naive.replace(tzinfo=timezone(timedelta(hours=hours)))
    if naive.year == 9999:
        return
    assert objects.parse_retention(objects.write_retention(Retention(mode=mode, until=until))) == Retention(
        mode=mode, until=until
    )


# --- tags, and the archive


@FEW
@given(st.dictionaries(xml_text(min_size=1).filter(lambda text: len(text) < 129), xml_text(), max_size=10))
def test_tags_there_and_back(tags: dict[str, str]) -> None:
    assert configuration.parse_tags(configuration.write_tags(tags, most=10)) == tags


def test_an_order_from_the_archive() -> None:
    root = parse_xml(objects.write_restore(7, "Bulk"))
    assert [child.tag for child in root] == ["Days", "GlacierJobParameters"]
    assert (root.findtext("Days"), root.findtext("GlacierJobParameters/Tier")) == ("7", "Bulk")
    assert b"Days" not in objects.write_restore(None, "Standard")


# --- any bytes


@DETERMINISTIC
@given(
    st.binary(max_size=60)
    | st.text(alphabet="<>/&;xONF =\"'", max_size=40).map(str.encode)
    | st.builds(
        lambda root, inside: document(root, inside),
        st.sampled_from(["AccessControlPolicy", "GetObjectAttributesResponse", "LegalHold", "Retention"]),
        st.lists(
            st.sampled_from(
                [
                    ATTRIBUTES,
                    "<Owner>",
                    "</Owner>",
                    "<Owner/>",
                    "<Status>ON</Status>",
                    "<Mode/>",
                    "<Grant/>",
                    "<ETag/>",
                    "text",
                    "<AccessControlList>",
                    "</AccessControlList>",
                    "<RetainUntilDate>x</RetainUntilDate>",
                ]
            ),
            max_size=5,
        ).map("".join),
    )
)
def test_any_bytes(body: bytes) -> None:
    for parse in PARSERS:
        try:
            parse(body)
        except InvalidResponse:
            continue


# --- which answers are documents at all


@pytest.mark.parametrize("kind", sorted(subresources.KINDS))
def test_an_object_is_no_document(kind: str) -> None:
    operation = subresources.read_subresource(kind, HERE, len)
    for body in (b"", b"abc", b"\x00<", b"<html/>", b"\xef\xbb\xbf<html/>", document("Tagging2")):
        assert operation.parse(said(body)) == Setting(known=False, value=None)
    for root in subresources.KINDS[kind].roots:
        assert operation.parse(said(b"\n" + document(root))).known


@pytest.mark.parametrize("kind", sorted(subresources.KINDS))
def test_half_a_document_may_be_one(kind: str) -> None:
    """It is asked for again."""
    with pytest.raises(InvalidResponse, match="no complete XML document"):
        subresources.read_subresource(kind, HERE, len).parse(said(document("Tagging")[:-3]))


def said(body: bytes, **headers: str) -> Answer:
    return Answer(status=200, headers=headers, body=body)


# --- the calls

V: Final = (("versionId", "v"),)
PAYER: Final = (("x-amz-request-payer", "requester"),)
CALLS: Final[tuple[tuple[Operation[Any], str, str, str], ...]] = (
    (subresources.get_object_tagging(HERE, PAYER, V), "GetObjectTagging", "GET", "tagging"),
    (subresources.put_object_tagging(HERE, {"a": "b"}, PAYER, V), "PutObjectTagging", "PUT", "tagging"),
    (subresources.delete_object_tagging(HERE, PAYER, V), "DeleteObjectTagging", "DELETE", "tagging"),
    (subresources.get_object_acl(HERE, PAYER, V), "GetObjectAcl", "GET", "acl"),
    (subresources.put_object_acl(HERE, AccessControlList(owner=ME), PAYER, V), "PutObjectAcl", "PUT", "acl"),
    (subresources.get_object_legal_hold(HERE, PAYER, V), "GetObjectLegalHold", "GET", "legal-hold"),
    (subresources.put_object_legal_hold(HERE, True, PAYER, V), "PutObjectLegalHold", "PUT", "legal-hold"),
    (subresources.get_object_retention(HERE, PAYER, V), "GetObjectRetention", "GET", "retention"),
    (subresources.put_object_retention(HERE, None, PAYER, V), "PutObjectRetention", "PUT", "retention"),
    (
        subresources.get_object_attributes(HERE, ["ETag"], headers=PAYER, query=V),
        "GetObjectAttributes", "GET", "attributes",
    ),
    (subresources.restore_object(HERE, 1, "Bulk", PAYER, V), "RestoreObject", "POST", "restore"),
)  # fmt: skip


@pytest.mark.parametrize(("operation", "name", "method", "kind"), CALLS, ids=[name for _, name, _, _ in CALLS])
def test_the_facts(operation: Operation[Any], name: str, method: str, kind: str) -> None:
    assert (operation.name, operation.method, operation.location) == (name, method, HERE)
    assert operation.query == ((kind, None), *V)
    assert set(PAYER) <= set(operation.headers)
    assert operation.idempotent is (name != "RestoreObject")
    assert not operation.error_in_200
    assert bool(operation.content) is (method in ("PUT", "POST"))
    names = {name for name, _ in operation.headers}
    assert ("Content-MD5" in names) is (method == "PUT")
    assert ("Content-Type" in names) is bool(operation.content)


def test_what_is_asked_of_attributes() -> None:
    operation = subresources.get_object_attributes(
        HERE, ["ETag", "ObjectParts", "ETag"], max_parts=2, part_number_marker=0
    )
    assert operation.headers == (
        ("x-amz-object-attributes", "ETag,ObjectParts"),
        ("x-amz-max-parts", "2"),
        ("x-amz-part-number-marker", "0"),
    )
    headers = {"x-amz-version-id": "v", "last-modified": "Sun, 22 Nov 2026 12:00:00 GMT"}
    answer = Answer(status=200, headers=headers, body=document("GetObjectAttributesOutput"))
    assert operation.parse(answer).value == ObjectAttributes(version_id="v", last_modified=NOON)


@pytest.mark.parametrize(("status", "begun"), [(202, True), (200, False)])
def test_what_restore_answers(status: int, begun: bool) -> None:
    operation = subresources.restore_object(HERE, 1, "Standard")
    assert operation.parse(Answer(status=status, headers={})) is begun
