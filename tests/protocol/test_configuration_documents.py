"""A bucket's configurations as trees and values: there and back, and botocore reads and writes the same."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck import SSEKMS, SSES3, BucketInfo, PublicAccessBlock, SSECustomer
from handtruck.errors import InvalidResponse, UsageError
from handtruck.protocol import documents
from handtruck.protocol.documents import parse_tree, trees, write_tree
from handtruck.protocol.documents.xml import parse_xml
from handtruck.protocol.operations import KINDS

from . import shapes
from .strategies import DETERMINISTIC, xml_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from xml.etree import ElementTree as ET

FEW: Final = settings(DETERMINISTIC, max_examples=20)
ROOT: Final = "LifecycleConfiguration"

RULES: Final = {
    "Rule": [
        {
            "ID": "old logs",
            "Status": "Enabled",
            "Filter": {"Prefix": "logs/ & <more>"},
            "Expiration": {"Days": 30},
            "Transition": [{"Date": datetime(2030, 1, 2, tzinfo=UTC), "StorageClass": "GLACIER"}],
        },
        {"ID": "all", "Status": "Disabled", "Filter": {}, "Expiration": {"ExpiredObjectDeleteMarker": True}},
    ]
}

ROOTS: Final = tuple(root for kind in KINDS.values() for root in kind.roots if root)
PARSERS: Final[dict[str, Callable[[bytes], object]]] = {
    "tree": lambda body: parse_tree(body, *ROOTS),
    "versioning": documents.parse_versioning,
    "ownership": documents.parse_ownership,
    "tags": documents.parse_tags,
    "encryption": documents.parse_encryption,
    "public access": documents.parse_public_access_block,
    "policy": documents.parse_policy,
    "buckets": documents.parse_listed_buckets,
    "location": documents.parse_location,
}


# --- trees


def test_a_tree_there_and_back() -> None:
    body = write_tree(ROOT, RULES)
    assert parse_tree(body, ROOT) == RULES
    assert body.startswith(
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<LifecycleConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Rule><ID>old logs</ID>'
    )
    assert b"<Filter></Filter>" in body
    assert parse_tree(write_tree(ROOT, {"Odd": "\r\n\t ]]>"}), ROOT) == {"Odd": "\r\n\t ]]>"}
    assert b"<Date>2030-01-02T00:00:00.000Z</Date>" in body


@pytest.mark.parametrize("kind", shapes.XML_KINDS)
@FEW
@given(data=st.data())
def test_every_document_of_s3_there_and_back(kind: str, data: st.DataObject) -> None:
    """Whatever botocore's model allows. And botocore writes the same, reads what we wrote, and we what it wrote."""
    tree = data.draw(shapes.trees(kind))
    root = KINDS[kind].roots[0]
    body = write_tree(root, tree)
    assert parse_tree(body, root) == tree
    assert _bare(shapes.parsed(kind, body)) == _bare(shapes.to_botocore(shapes.document(kind), tree))
    if tree:
        theirs = shapes.serialised(kind, tree)
        assert parse_tree(theirs, root) == tree
        assert _sorted(parse_xml(theirs)) == _sorted(parse_xml(body))


def _sorted(element: ET.Element) -> tuple[Any, ...]:
    """As a value: botocore has an order of its own for elements of several names, and no milliseconds in times."""
    text = str(datetime.fromisoformat(element.text or "")) if element.tag == "Date" else element.text or ""
    children = sorted(map(_sorted, element), key=lambda child: str(child[0]))
    return (element.tag, element.attrib, text, children)


def _bare(value: Any) -> Any:
    """Without what is empty: botocore's parser leaves out some of it, and its model of some answers has less."""
    if isinstance(value, dict):
        found = {name: _bare(each) for name, each in value.items() if name != "DefaultEventHold"}
        return {name: each for name, each in found.items() if each not in ({}, [], "")}
    return [_bare(each) for each in value] if isinstance(value, list) else value


def test_the_tables_are_those_of_botocores_model() -> None:
    """What may come several times, what is a number, a yes or no, a time: no more, no less, and never two things."""
    found = shapes.Tables()
    for kind in shapes.XML_KINDS:
        found.add(KINDS[kind].roots[0], shapes.document(kind))
    assert found.lists == trees.LISTS
    assert found.numbers == trees.NUMBERS
    assert found.flags == trees.FLAGS
    assert found.times == trees.TIMES
    assert not found.texts & (trees.NUMBERS | trees.FLAGS | trees.TIMES | trees.BRANCHES)


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_the_calls_are_s3s(kind: str) -> None:
    service = shapes.writer(kind).service_model
    for name, method in zip(KINDS[kind].names, ("GET", "PUT", "DELETE"), strict=True):
        if name is not None:
            found = service.operation_model(name).http
            assert (found["method"], found["requestUri"]) == (method, f"/{{Bucket}}?{kind}")
    if KINDS[kind].names[2] is None:
        made = KINDS[kind].names[1].replace("Put", "Delete")
        assert made not in service.operation_names
    if kind != "policy":
        assert shapes.document(kind).serialization["name"] == KINDS[kind].roots[0]


def test_a_mistake_in_a_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutation: without its row, a list of one comes back as no list."""
    monkeypatch.setattr(trees, "LISTS", trees.LISTS - {"Rule/Transition"})
    assert parse_tree(write_tree(ROOT, RULES), ROOT) != RULES
    with pytest.raises(AssertionError):
        test_the_tables_are_those_of_botocores_model()


def test_what_the_tables_do_not_know_survives() -> None:
    body = (
        b'<?xml version="1.0"?><LifecycleConfiguration xmlns="urn:x" xmlns:y="urn:y"><Rule><Status>Enabled</Status>'
        b"<y:New>a</y:New><y:New>b</y:New><Tree>\n  <Leaf>1</Leaf>\n <Leaf>2</Leaf><One> x </One></Tree><Nil/></Rule>"
        b"<!-- c --><Other><X>1</X></Other></LifecycleConfiguration>"
    )
    rule = {"Status": "Enabled", "New": ["a", "b"], "Tree": {"Leaf": ["1", "2"], "One": " x "}, "Nil": ""}
    tree = {"Rule": [rule], "Other": {"X": "1"}}
    assert parse_tree(body, ROOT) == tree
    assert parse_tree(write_tree(ROOT, tree), ROOT) == tree


def test_what_says_nothing_is_left_out() -> None:
    body = b"<LifecycleConfiguration><Rule><Filter>\n </Filter><Expiration><Days/><Date></Date></Expiration></Rule>"
    assert parse_tree(body + b"</LifecycleConfiguration>", ROOT) == {"Rule": [{"Filter": {}, "Expiration": {}}]}
    assert parse_tree(write_tree(ROOT, {"Rule": []}), ROOT) == {}


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("<Rule><Expiration><Days>1e3</Days></Expiration></Rule>", "<Days> in the answer is no number: '1e3'"),
        ("<Rule><Expiration><Days>" + "9" * 5000 + "</Days></Expiration></Rule>", "is no number"),
        ("<Rule><Expiration><Days>٣</Days></Expiration></Rule>", "is no number"),
        ("<Rule><BucketKeyEnabled>yes</BucketKeyEnabled></Rule>", "neither true nor false"),
        ("<Rule><Expiration><Date>soon</Date></Expiration></Rule>", "is no time"),
        ("<a>" * 5000 + "</a>" * 5000, "more than 32 deep"),
        ("<a>&#1;</a>", "no complete XML document"),
    ],
)
def test_values_that_are_none(inside: str, message: str) -> None:
    with pytest.raises(InvalidResponse, match=message):
        parse_tree(f"<{ROOT}>{inside}</{ROOT}>".encode(), ROOT)


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["Rule"] = [found]
    return found


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ("text", "LifecycleConfiguration must be a dict of S3's element names, not str"),
        ({"Rule": {}}, "LifecycleConfiguration/Rule must be a list, not {}"),
        ({"Rule": [{"Expiration": {"Days": "30"}}]}, "Rule/Expiration/Days must be a whole number, not '30'"),
        ({"Rule": [{"Expiration": {"Days": True}}]}, "Days must be a whole number, not True"),
        ({"Rule": [{"Expiration": {"Days": 10**18}}]}, "Days must be a whole number"),
        ({"Rule": [{"BucketKeyEnabled": "true"}]}, "BucketKeyEnabled must be True or False"),
        ({"Rule": [{"Expiration": {"Date": "2030-01-01"}}]}, "Date must be a datetime with a time zone"),
        ({"Rule": [{"Expiration": {"Date": datetime(2030, 1, 1)}}]}, "with a time zone"),
        ({"Rule": [{"ID": 7}]}, "Rule/ID must be text, not 7"),
        ({"Rule": [{"ID": None}]}, "Rule/ID must be text, not None"),
        ({"Rule": [{"ID": [["a"]]}]}, "Rule/ID must be text"),
        ({"Rule": [{"ID": "a\x01"}]}, "has a character that XML cannot carry"),
        ({"Rule": [{"ID": "\udcff"}]}, "has a character that XML cannot carry"),
        ({"Rule": [{"a b": "x"}]}, "is no name of an element"),
        ({"Rule": [{"a><b": "x"}]}, "is no name of an element"),
        ({"Rule": [{"": "x"}]}, "is no name of an element"),
        ({"Rule": [{7: "x"}]}, "the name of an element must be text, not 7"),
        ({"Grantee": {"xsi:type": 7}}, "Grantee/xsi:type must be text"),
        (circle(), "more than 32 dicts deep"),
    ],
)
def test_trees_that_are_none(tree: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_tree(ROOT, tree)


def test_times_are_written_in_utc() -> None:
    east = datetime(2030, 1, 2, 5, tzinfo=timezone(timedelta(hours=5)))
    body = write_tree(ROOT, {"Rule": [{"Expiration": {"Date": east}}]})
    assert b"<Date>2030-01-02T00:00:00.000Z</Date>" in body


LEAVES = st.one_of(xml_text(), st.integers(), st.booleans(), st.none(), st.datetimes())
NAMES = st.one_of(
    st.sampled_from(["Rule", "Filter", "And", "Tag", "Days", "Date", "Grantee", "xsi:type", "BucketKeyEnabled"]),
    st.text(max_size=4),
)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)


@settings(DETERMINISTIC, max_examples=150)
@given(st.dictionaries(NAMES, ANYTHING, max_size=4))
def test_any_tree_is_a_document_or_a_usage_error(tree: dict[str, Any]) -> None:
    """And what is a document is read, and written the same again."""
    try:
        body = write_tree(ROOT, tree)
    except UsageError:
        return
    again = parse_tree(body, ROOT)
    assert write_tree(ROOT, again) == write_tree(ROOT, parse_tree(write_tree(ROOT, again), ROOT))
    assert parse_tree(write_tree(ROOT, again), ROOT) == again


INSIDE: Final = st.sampled_from(
    [*ROOTS, "Rule", "Bucket", "Buckets", "Name", "CreationDate", "TagSet", "Tag", "Key", "Status", "Days",
     "SSEAlgorithm", "ApplyServerSideEncryptionByDefault", "LocationConstraint", "ListAllMyBucketsResult", "Error"]
)  # fmt: skip
ELEMENTS = st.recursive(
    st.sampled_from(["", "x", "7", "true", "Enabled", "aws:kms", "2030-01-01", "&amp;", "&#1;", "\n"]),
    lambda below: st.builds(
        lambda name, all_: f"<{name}>{''.join(all_)}</{name}>", INSIDE, st.lists(below, max_size=3)
    ),
    max_leaves=6,
)


@DETERMINISTIC
@given(st.binary(max_size=60) | st.builds(lambda name, all_: f"<{name}>{all_}</{name}>".encode(), INSIDE, ELEMENTS))
def test_any_bytes_are_a_value_or_an_invalid_response(body: bytes) -> None:
    """Noise, and documents of all kinds with anything at all inside."""
    for parse in PARSERS.values():
        with suppress(InvalidResponse):
            parse(body)


# --- values


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_versioning(status: Any) -> None:
    assert documents.parse_versioning(documents.write_versioning(status)) == status
    assert documents.parse_versioning(b"<VersioningConfiguration/>") is None
    with pytest.raises(InvalidResponse, match="'Maybe', and not one of Enabled, Suspended"):
        documents.parse_versioning(b"<VersioningConfiguration><Status>Maybe</Status></VersioningConfiguration>")
    with pytest.raises(UsageError, match="the status must be one of Enabled, Suspended"):
        documents.write_versioning("enabled")


@pytest.mark.parametrize("ownership", ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"])
def test_ownership(ownership: Any) -> None:
    assert documents.parse_ownership(documents.write_ownership(ownership)) == ownership
    assert documents.parse_ownership(b"<OwnershipControls/>") is None
    with pytest.raises(UsageError, match="the ownership must be one of"):
        documents.write_ownership("mine")


@settings(DETERMINISTIC, max_examples=100)
@given(st.dictionaries(xml_text(min_size=1).map(lambda name: name[:128]), xml_text().map(lambda v: v[:256])))
def test_tags(tags: dict[str, str]) -> None:
    assert documents.parse_tags(documents.write_tags(tags)) == tags


def test_tags_that_are_none() -> None:
    with pytest.raises(UsageError, match="51 tags, and S3 keeps 50"):
        documents.write_tags({str(number): "" for number in range(51)})
    with pytest.raises(UsageError):
        documents.write_tags({"a": 1})
    with pytest.raises(UsageError, match="XML cannot carry"):
        documents.write_tags({"a": "\x01"})
    with pytest.raises(InvalidResponse, match="<Tag> in the answer has no <Key>"):
        documents.parse_tags(b"<Tagging><TagSet><Tag><Value>v</Value></Tag></TagSet></Tagging>")
    assert documents.parse_tags(b"<Tagging><TagSet/></Tagging>") == {}


ENCRYPTIONS: Final = [
    SSES3(),
    SSEKMS(),
    SSEKMS(key_id="arn:aws:kms:eu-west-1:1:key/a", bucket_key=True),
    SSEKMS(bucket_key=False, dual_layer=True),
]


@pytest.mark.parametrize("encryption", ENCRYPTIONS, ids=str)
def test_encryption(encryption: SSES3 | SSEKMS) -> None:
    assert documents.parse_encryption(documents.write_encryption(encryption)) == encryption


def test_encryption_that_a_bucket_cannot_do_by_itself() -> None:
    for wrong, message in (
        (SSEKMS(context={"a": "b"}), "has no context"),
        (SSECustomer(bytes(32)), "not SSECustomer"),
        ("AES256", "not str"),
        (SSES3, "not type"),
    ):
        with pytest.raises(UsageError, match=message):
            documents.write_encryption(wrong)


def test_encryption_that_is_not_said_or_not_known() -> None:
    def body(algorithm: str) -> bytes:
        inside = f"<SSEAlgorithm>{algorithm}</SSEAlgorithm>" if algorithm else ""
        rule = f"<Rule><ApplyServerSideEncryptionByDefault>{inside}</ApplyServerSideEncryptionByDefault></Rule>"
        return f"<ServerSideEncryptionConfiguration>{rule}</ServerSideEncryptionConfiguration>".encode()

    assert documents.parse_encryption(b"<ServerSideEncryptionConfiguration/>") is None
    assert documents.parse_encryption(body("")) is None
    with pytest.raises(InvalidResponse, match="an encryption that is not known here: 'ROT13'"):
        documents.parse_encryption(body("ROT13"))


@DETERMINISTIC
@given(st.tuples(*[st.booleans()] * 4))
def test_public_access(flags: tuple[bool, bool, bool, bool]) -> None:
    names = ("block_public_acls", "ignore_public_acls", "block_public_policy", "restrict_public_buckets")
    block = PublicAccessBlock(**dict(zip(names, flags, strict=True)))
    assert documents.parse_public_access_block(documents.write_public_access_block(block)) == block


def test_public_access_that_is_not_said_is_not_refused() -> None:
    block = documents.parse_public_access_block(
        b"<PublicAccessBlockConfiguration><BlockPublicAcls>TRUE</BlockPublicAcls></PublicAccessBlockConfiguration>"
    )
    assert block == PublicAccessBlock(
        block_public_acls=True, ignore_public_acls=False, block_public_policy=False, restrict_public_buckets=False
    )
    for wrong in (True, {"block_public_acls": True}, PublicAccessBlock(block_public_acls="yes")):  # type: ignore[arg-type]
        with pytest.raises(UsageError):
            documents.write_public_access_block(wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=5), below, max_size=2),
    max_leaves=4,
)


@settings(DETERMINISTIC, max_examples=100)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=3))
def test_policies(policy: dict[str, Any]) -> None:
    body = documents.write_policy(policy)
    assert documents.parse_policy(body) == policy
    assert documents.write_policy(body.decode()) == body


@pytest.mark.parametrize(
    "policy", [None, "", "{", "[]", "7", [], {"a": float("nan")}, {"a": b""}, {"a": {1, 2}}, '{"a": "\udcff"}', b"{}"]
)
def test_policies_that_are_none(policy: Any) -> None:
    with pytest.raises(UsageError, match="the policy"):
        documents.write_policy(policy)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"<Policy/>", b"[" * 100_000, b"1" * 5000])
def test_answers_that_are_no_policies(body: bytes) -> None:
    with pytest.raises(InvalidResponse):
        documents.parse_policy(body)


# --- buckets


def test_listed_buckets() -> None:
    body = (
        b'<?xml version="1.0"?>\n<ListAllMyBucketsResult xmlns="x"><Buckets><Bucket><Name>a</Name></Bucket>'
        b"<Bucket><Name>b</Name><CreationDate>2026-11-22T22:53:10.176Z</CreationDate>"
        b"<BucketRegion>eu-west-1</BucketRegion><BucketArn>arn:aws:s3:::b</BucketArn></Bucket></Buckets>"
        b"<ContinuationToken>t</ContinuationToken></ListAllMyBucketsResult>"
    )
    listed = documents.parse_listed_buckets(body)
    made = datetime(2026, 11, 22, 22, 53, 10, 176000, tzinfo=UTC)
    assert listed.buckets == (
        BucketInfo(name="a"),
        BucketInfo(name="b", region="eu-west-1", created=made, arn="arn:aws:s3:::b"),
    )
    assert listed.token == "t"
    assert documents.parse_listed_buckets(b"<ListAllMyBucketsResult/>") == documents.ListedBuckets(
        buckets=(), token=None
    )
    with pytest.raises(InvalidResponse, match="<Bucket> in the answer has no <Name>"):
        documents.parse_listed_buckets(b"<ListAllMyBucketsResult><Buckets><Bucket/></Buckets></ListAllMyBucketsResult>")


@pytest.mark.parametrize(
    ("inside", "region"),
    [
        ("", "us-east-1"),
        ("US", "us-east-1"),
        ("EU", "eu-west-1"),
        ("eu-central-1", "eu-central-1"),
        ("\n", "us-east-1"),
    ],
)
def test_locations(inside: str, region: str) -> None:
    document = f"<LocationConstraint>{inside}</LocationConstraint>"
    assert documents.parse_location(document.encode()) == region
    assert (
        documents.parse_location(f"<CreateBucketConfiguration>{document}</CreateBucketConfiguration>".encode())
        == region
    )
    with pytest.raises(InvalidResponse, match="expected <LocationConstraint>"):
        documents.parse_location(b"<ListBucketResult/>")


def test_the_first_region_is_not_named() -> None:
    """S3 answers 400 where it is."""
    assert documents.write_new_bucket(None) == documents.write_new_bucket("us-east-1") == b""
    assert parse_tree(documents.write_new_bucket("eu-<1"), "CreateBucketConfiguration") == {
        "LocationConstraint": "eu-<1"
    }
