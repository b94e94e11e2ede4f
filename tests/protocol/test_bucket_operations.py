"""The calls about buckets as values: what goes out, what may be sent twice, and what the answers mean."""

from __future__ import annotations

from typing import Any, Final

import pytest

from handtruck import BucketInfo
from handtruck.errors import InvalidResponse
from handtruck.protocol import operations
from handtruck.protocol.address import Location
from handtruck.protocol.answers import Answer
from handtruck.protocol.operations import KINDS, Operation, Setting

BUCKET: Final = Location(path="/bucket/", bucket="bucket", key="")
SERVICE: Final = Location(path="/", bucket=None, key="")
OWNER: Final = ("x-amz-expected-bucket-owner", "1")
XML: Final = ("Content-Type", "application/xml")


def facts(operation: Operation[Any]) -> tuple[object, ...]:
    return operation.name, operation.method, operation.query, operation.headers, operation.idempotent


def test_what_goes_out() -> None:
    """Nothing of it has an error inside a 200."""
    found = [
        (operations.create_bucket(BUCKET, None, (OWNER,)), ("CreateBucket", "PUT", (), (OWNER,), False)),
        (operations.create_bucket(BUCKET, "eu", exist_ok=True), ("CreateBucket", "PUT", (), (XML,), True)),
        (operations.delete_bucket(BUCKET, (OWNER,)), ("DeleteBucket", "DELETE", (), (OWNER,), False)),
        (operations.delete_bucket(BUCKET, missing_ok=True), ("DeleteBucket", "DELETE", (), (), True)),
        (operations.head_bucket(BUCKET, (OWNER,)), ("HeadBucket", "HEAD", (), (OWNER,), True)),
        (operations.list_buckets(SERVICE, (("prefix", "p"),)), ("ListBuckets", "GET", (("prefix", "p"),), (), True)),
        (
            operations.get_bucket_location(BUCKET, (OWNER,)),
            ("GetBucketLocation", "GET", (("location", None),), (OWNER,), True),
        ),
        (
            operations.get_configuration(BUCKET, "cors", len, (OWNER,)),
            ("GetBucketCors", "GET", (("cors", None),), (OWNER,), True),
        ),
        (
            operations.put_configuration(BUCKET, "cors", b"x", (OWNER,)),
            (
                "PutBucketCors",
                "PUT",
                (("cors", None),),
                (XML, ("Content-MD5", "ndTkYSaMgDT1yFZOFVxnpg=="), OWNER),
                True,
            ),
        ),
        (
            operations.delete_configuration(BUCKET, "lifecycle", (OWNER,)),
            ("DeleteBucketLifecycle", "DELETE", (("lifecycle", None),), (OWNER,), True),
        ),
    ]
    for operation, expected in found:
        assert facts(operation) == expected
        assert operation.location is (SERVICE if operation.name == "ListBuckets" else BUCKET)
        assert not operation.error_in_200
    assert dict(operations.put_configuration(BUCKET, "policy", b"{}").headers)["Content-Type"] == "application/json"
    assert operations.put_configuration(BUCKET, "acl", b"").headers == ()


def test_what_the_answers_mean() -> None:
    said = Answer(status=200, headers={"x-amz-bucket-region": "eu"})
    assert operations.head_bucket(BUCKET).parse(said) == BucketInfo(name="bucket", region="eu")
    assert operations.head_bucket(SERVICE).parse(Answer(status=200, headers={})) == BucketInfo(name="")
    for done in (operations.create_bucket(BUCKET, None), operations.put_configuration(BUCKET, "cors", b"")):
        done.parse(Answer(status=200, headers={}, body=b"whatever"))
    operations.delete_bucket(BUCKET).parse(Answer(status=204, headers={}))
    operations.delete_configuration(BUCKET, "cors").parse(Answer(status=204, headers={}))


@pytest.mark.parametrize(
    ("body", "setting"),
    [
        (b"<Tagging/>", Setting(known=True, value=10)),
        (b"{}", Setting(known=True, value=2)),
        (b"", Setting(known=True, value=0)),
        (b"<ListBucketResult/>", Setting(known=False, value=None)),
        (b'<?xml version="1.0"?>\n<ListBucketResult xmlns="x"/>', Setting(known=False, value=None)),
        (b"<ListBucketResult><Key>\x01</Key></ListBucketResult>", Setting(known=False, value=None)),
    ],
)  # fmt: skip
def test_a_list_of_objects_is_no_setting(body: bytes, setting: Setting[int]) -> None:
    operation = operations.get_configuration(BUCKET, "tagging", len)
    assert operation.parse(Answer(status=200, headers={}, body=body)) == setting


def test_what_makes_no_sense_is_no_setting() -> None:
    def refuse(_: bytes) -> int:
        raise InvalidResponse("nonsense")

    with pytest.raises(InvalidResponse):
        operations.get_configuration(BUCKET, "tagging", refuse).parse(Answer(status=200, headers={}, body=b"<x"))


def test_every_kind_has_names_of_its_own() -> None:
    names = [name for kind in KINDS.values() for name in kind.names if name]
    assert len(names) == len(set(names))
    roots = [root for kind in KINDS.values() for root in kind.roots]
    assert len(roots) == len(set(roots))
