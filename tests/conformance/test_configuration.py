"""A bucket's configurations: botocore reads what we wrote, and we what it wrote; and no server is taken at its word.

First on real servers. Then on a peer, for what they do not say.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from hashlib import md5
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError

from handtruck import SSEKMS, SSES3, ConfigurationKind, PublicAccessBlock, S3Client, VersioningStatus
from handtruck.client.configuration import SettingFamily
from handtruck.errors import AccessDenied, InvalidResponse, NotFound, S3Error, UsageError
from handtruck.protocol.operations import KINDS
from tests.conformance.support import connect
from tests.protocol import shapes
from tests.scripted.peer import RESET, Reply
from tests.scripted.tiny import error, store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.scripted.tiny import TinyS3
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

SOME: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
"""rclone has none of it, which one test proves."""

LIFECYCLE: Final = {
    "Rule": [
        {
            "ID": "a",
            "Filter": {"Prefix": "logs/ü & <x>/"},
            "Status": "Enabled",
            "Expiration": {"Days": 30},
            "NoncurrentVersionExpiration": {"NoncurrentDays": 3},
        },
        {
            "ID": "b",
            "Filter": {"Prefix": "once/"},
            "Status": "Enabled",
            "Expiration": {"Date": datetime(2040, 1, 1, tzinfo=UTC)},
        },
        {
            "ID": "c",
            "Filter": {"Prefix": "big/"},
            "Status": "Disabled",
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        },
    ]
}
CORS: Final = {
    "CORSRule": [
        {
            "ID": "r",
            "AllowedMethod": ["GET", "PUT"],
            "AllowedOrigin": ["https://a.example", "https://b.example"],
            "AllowedHeader": ["*"],
            "ExposeHeader": ["ETag"],
            "MaxAgeSeconds": 3000,
        }
    ]
}
WEBSITE: Final = {
    "IndexDocument": {"Suffix": "index.html"},
    "RoutingRules": {
        "RoutingRule": [{"Condition": {"KeyPrefixEquals": "a/"}, "Redirect": {"ReplaceKeyPrefixWith": "b/"}}]
    },
}
TOPIC: Final = {
    "Id": "n",
    "Topic": "arn:aws:sns:us-east-1:123456789012:t",
    "Event": ["s3:ObjectCreated:*"],
    "Filter": {"S3Key": {"FilterRule": [{"Name": "prefix", "Value": "x"}]}},
}
LOCK: Final = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}

TREES: Final[dict[ConfigurationKind, dict[str, Any]]] = {
    "lifecycle": LIFECYCLE,
    "cors": CORS,
    "website": WEBSITE,
    "notification": {"TopicConfiguration": [TOPIC]},
    "accelerate": {"Status": "Enabled"},
    "requestPayment": {"Payer": "Requester"},
    "object-lock": LOCK,
}
"""Documents that the servers take, and give back as they are."""

NOT_HERE: Final = {
    "accelerate": "no-accelerate",
    "encryption": "no-bucket-encryption",
    "ownershipControls": "no-ownership-controls",
    "requestPayment": "no-request-payment",
    "website": "no-website",
}


def policy(bucket: str) -> dict[str, Any]:
    allowed = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    return {"Version": "2012-10-17", "Statement": [allowed]}


def seen(witness: Witness, kind: str, bucket: str) -> dict[str, Any]:
    """What botocore reads, under its own names; nothing at all is an error of its own."""
    operation = KINDS[kind].names[0]
    method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
    answer: dict[str, Any] = getattr(witness.client, method)(Bucket=bucket)
    del answer["ResponseMetadata"]
    answer.pop("TransitionDefaultMinimumObjectSize", None)  # a header, and no part of the document
    payload = shapes.writer(kind).service_model.operation_model(operation).output_shape.serialization.get("payload")
    return answer.get(payload, {}) if payload else answer


def set_by(witness: Witness, kind: str, bucket: str, tree: dict[str, Any]) -> None:
    """By botocore."""
    operation = KINDS[kind].names[1]
    method = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in operation).lstrip("_")
    payload = shapes.writer(kind).input_shape.serialization["payload"]
    arguments = {payload: shapes.to_botocore(shapes.document(kind), tree)}
    getattr(witness.client, method)(Bucket=bucket, **arguments)


@pytest.fixture
def locked(witness: Witness, bucket: str) -> Iterator[str]:
    """A bucket whose objects can be locked."""
    name = f"{bucket}-locked"
    witness.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    yield name
    witness.discard(name)


# --- documents


@SOME
async def test_documents(s3: S3Client, bucket: str, locked: str, server: Server, witness: Witness) -> None:
    """We write, both read; botocore writes, we read; nothing set is None, and removed is nothing set."""
    for kind, tree in TREES.items():
        name = locked if kind == "object-lock" else bucket
        if kind in NOT_HERE and server.faults.get(NOT_HERE[kind]):
            await assert_not_here(s3, name, kind, tree)
        elif kind == "notification" and server.faults.get("notifications-of-its-own-topics"):
            for wrong, message in ((tree, "404 NoSuchKey"), ({}, "400 MalformedXML")):
                with pytest.raises(S3Error, match=message):
                    await s3.put_bucket_configuration(kind, wrong, bucket=name)
            assert await s3.get_bucket_configuration(kind, name) is None
        else:
            await there_and_back(s3, name, kind, server, witness)


async def there_and_back(s3: S3Client, bucket: str, kind: Any, server: Server, witness: Witness) -> None:
    tree = TREES[kind]
    await s3.put_bucket_configuration(kind, tree, bucket=bucket)
    assert without_years(await s3.get_bucket_configuration(kind, bucket), server) == tree
    assert seen(witness, kind, bucket) == shapes.to_botocore(shapes.document(kind), with_years(tree, server))
    if KINDS[kind].names[2]:
        for _ in range(2):
            await s3.delete_bucket_configuration(kind, bucket)
            assert await s3.get_bucket_configuration(kind, bucket) is None
        with pytest.raises(ClientError):
            seen(witness, kind, bucket)
    set_by(witness, kind, bucket, tree)
    assert without_years(await s3.get_bucket_configuration(kind, bucket), server) == tree


def without_years(tree: dict[str, Any] | None, server: Server) -> dict[str, Any] | None:
    """Of a retention in days, from a server that tells years, too."""
    if tree is not None and "ObjectLockEnabled" in tree and server.faults.get("object-lock-years-are-zero"):
        assert tree["Rule"]["DefaultRetention"].pop("Years") == 0
    return tree


def with_years(tree: dict[str, Any], server: Server) -> dict[str, Any]:
    if "ObjectLockEnabled" in tree and server.faults.get("object-lock-years-are-zero"):
        return {**tree, "Rule": {"DefaultRetention": {**tree["Rule"]["DefaultRetention"], "Years": 0}}}
    return tree


async def assert_not_here(s3: S3Client, bucket: str, kind: Any, tree: dict[str, Any]) -> None:
    """The server does not know it: then nothing is done, the bucket least of all."""
    calls = [s3.get_bucket_configuration(kind, bucket), s3.put_bucket_configuration(kind, tree, bucket=bucket)]
    if KINDS[kind].names[2]:
        calls.append(s3.delete_bucket_configuration(kind, bucket))
    for call in calls:
        with pytest.raises((InvalidResponse, S3Error), match=r"does not know \?|405 MethodNotAllowed"):
            await call
    assert await s3.bucket_exists(bucket)


@SOME
async def test_named_documents(s3: S3Client, bucket: str, locked: str) -> None:
    """The short ways, of the same documents."""
    assert await s3.get_bucket_lifecycle(bucket) is None
    await s3.put_bucket_lifecycle(LIFECYCLE, bucket=bucket)
    assert await s3.get_bucket_lifecycle(bucket) == LIFECYCLE
    await s3.delete_bucket_lifecycle(bucket)
    assert await s3.get_bucket_lifecycle(bucket) is None
    assert await s3.get_bucket_cors(bucket) is None
    await s3.put_bucket_cors(CORS, bucket=bucket)
    assert await s3.get_bucket_cors(bucket) == CORS
    await s3.delete_bucket_cors(bucket)
    assert await s3.get_bucket_cors(bucket) is None
    assert await s3.get_object_lock_configuration(bucket) is None
    await s3.put_object_lock_configuration(LOCK, bucket=locked)
    found = await s3.get_object_lock_configuration(locked)
    assert found is not None
    assert found["Rule"]["DefaultRetention"]["Days"] == 1


@SOME
async def test_rules_that_come_back_in_other_words(s3: S3Client, bucket: str, server: Server) -> None:
    both = {"Prefix": "a/", "Tag": [{"Key": "k", "Value": "v"}, {"Key": "k2", "Value": "v2"}]}
    rules = [
        {"ID": "a", "Filter": {}, "Status": "Enabled", "Expiration": {"Days": 1}},
        {"ID": "b", "Filter": {"And": both}, "Status": "Enabled", "Expiration": {"Days": 2}},
    ]
    await s3.put_bucket_lifecycle({"Rule": rules}, bucket=bucket)
    found = await s3.get_bucket_lifecycle(bucket)
    assert found is not None
    if server.faults.get("lifecycle-rewritten"):
        assert found["Rule"][0] == {"ID": "a", "Prefix": "", "Status": "Enabled", "Expiration": {"Days": 1}}
        assert found["Rule"][1]["Filter"] == {"Prefix": "a/", "And": {"Tag": both["Tag"]}}
    else:
        assert found["Rule"] == rules
    origins = ["https://z.example", "https://a.example"]
    await s3.put_bucket_cors({"CORSRule": [{"AllowedOrigin": origins, "AllowedMethod": ["GET"]}]}, bucket=bucket)
    cors = await s3.get_bucket_cors(bucket)
    assert cors is not None
    expected = sorted(origins) if server.faults.get("cors-origins-sorted") else origins
    assert cors["CORSRule"][0]["AllowedOrigin"] == expected


@SOME
async def test_acls(s3: S3Client, bucket: str, witness: Witness) -> None:
    acl = await s3.get_bucket_acl(bucket)
    assert acl is not None
    await s3.put_bucket_acl("public-read", bucket=bucket)
    public = await s3.get_bucket_acl(bucket)
    assert public is not None
    everybody = {"xsi:type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AllUsers"}
    assert {"Grantee": everybody, "Permission": "READ"} in public["AccessControlList"]["Grant"]
    assert seen(witness, "acl", bucket) == shapes.to_botocore(shapes.document("acl"), public)
    await s3.put_bucket_acl(acl, bucket=bucket)
    assert await s3.get_bucket_acl(bucket) == acl
    assert seen(witness, "acl", bucket) == shapes.to_botocore(shapes.document("acl"), acl)
    set_by(witness, "acl", bucket, public)
    assert await s3.get_bucket_acl(bucket) == public
    with pytest.raises(UsageError, match="acl must be one of private"):
        await s3.put_bucket_acl("open", bucket=bucket)  # type: ignore[arg-type]


# --- values


@SOME
async def test_versioning(s3: S3Client, bucket: str, witness: Witness) -> None:
    assert await s3.get_bucket_versioning(bucket) is None
    statuses: tuple[VersioningStatus, ...] = ("Enabled", "Suspended")
    for status in statuses:
        await s3.put_bucket_versioning(status, bucket=bucket)
        assert await s3.get_bucket_versioning(bucket) == status
        assert witness.client.get_bucket_versioning(Bucket=bucket)["Status"] == status
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert await s3.get_bucket_versioning(bucket) == "Enabled"


@SOME
async def test_tags(s3: S3Client, bucket: str, server: Server, witness: Witness) -> None:
    assert await s3.get_bucket_tags(bucket) is None
    tags = {"a": "b & <c>", "ü": "", "z z": "日本"}
    await s3.put_bucket_tags(tags, bucket=bucket)
    assert await s3.get_bucket_tags(bucket) == tags
    theirs = witness.client.get_bucket_tagging(Bucket=bucket)["TagSet"]
    assert {tag["Key"]: tag.get("Value", "") for tag in theirs} == tags
    assert any("Value" not in tag for tag in theirs) is bool(server.faults.get("empty-tag-values-left-out"))
    for _ in range(2):
        await s3.delete_bucket_tags(bucket)
        assert await s3.get_bucket_tags(bucket) is None
    witness.client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    assert await s3.get_bucket_tags(bucket) == {"k": "v"}


@SOME
async def test_policies(s3: S3Client, bucket: str, witness: Witness) -> None:
    said = policy(bucket)
    assert await s3.get_bucket_policy(bucket) is None
    await s3.put_bucket_policy(said, bucket=bucket)
    assert await s3.get_bucket_policy(bucket) == said
    text = witness.client.get_bucket_policy(Bucket=bucket)["Policy"]
    for _ in range(2):
        await s3.delete_bucket_policy(bucket)
        assert await s3.get_bucket_policy(bucket) is None
    witness.client.put_bucket_policy(Bucket=bucket, Policy=text)
    assert await s3.get_bucket_policy(bucket) == said
    await s3.put_bucket_policy(text, bucket=bucket)
    assert await s3.get_bucket_policy(bucket) == said


@SOME
async def test_encryption(s3: S3Client, bucket: str, server: Server, witness: Witness) -> None:
    if server.faults.get("no-bucket-encryption"):
        await assert_not_here(s3, bucket, "encryption", {})
        with pytest.raises(InvalidResponse, match=r"does not know \?encryption"):
            await s3.put_bucket_encryption(SSES3(), bucket=bucket)
        return
    assert await s3.get_bucket_encryption(bucket) is None
    for value in (SSES3(), SSEKMS(key_id="k", bucket_key=True)):
        await s3.put_bucket_encryption(value, bucket=bucket)
        assert await s3.get_bucket_encryption(bucket) == value
    (rule,) = seen(witness, "encryption", bucket)["Rules"]
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}
    assert rule == {"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}
    for _ in range(2):
        await s3.delete_bucket_encryption(bucket)
        assert await s3.get_bucket_encryption(bucket) is None
    set_by(witness, "encryption", bucket, {"Rule": [{"ApplyServerSideEncryptionByDefault": default}]})
    assert await s3.get_bucket_encryption(bucket) == SSEKMS(key_id="k", bucket_key=False)


@SOME
async def test_public_access(s3: S3Client, bucket: str, server: Server, witness: Witness) -> None:
    nothing = PublicAccessBlock(
        block_public_acls=False, ignore_public_acls=False, block_public_policy=False, restrict_public_buckets=False
    )
    unset = nothing if server.faults.get("public-access-block-always-there") else None
    assert await s3.get_public_access_block(bucket) == unset
    for block in (PublicAccessBlock(), PublicAccessBlock(block_public_acls=False, block_public_policy=False)):
        await s3.put_public_access_block(block, bucket=bucket)
        assert await s3.get_public_access_block(bucket) == block
    answer = witness.client.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert answer == {
        "BlockPublicAcls": False,
        "IgnorePublicAcls": True,
        "BlockPublicPolicy": False,
        "RestrictPublicBuckets": True,
    }
    for _ in range(2):
        await s3.delete_public_access_block(bucket)
        assert await s3.get_public_access_block(bucket) == unset
    set_by(witness, "publicAccessBlock", bucket, answer)
    assert await s3.get_public_access_block(bucket) == block


@SOME
async def test_ownership(s3: S3Client, bucket: str, server: Server, witness: Witness) -> None:
    if server.faults.get("no-ownership-controls"):
        await assert_not_here(s3, bucket, "ownershipControls", {})
        return
    assert await s3.get_bucket_ownership(bucket) is None
    await s3.put_bucket_ownership("ObjectWriter", bucket=bucket)
    assert await s3.get_bucket_ownership(bucket) == "ObjectWriter"
    assert seen(witness, "ownershipControls", bucket) == {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    for _ in range(2):
        await s3.delete_bucket_ownership(bucket)
        assert await s3.get_bucket_ownership(bucket) is None
    set_by(witness, "ownershipControls", bucket, {"Rule": [{"ObjectOwnership": "BucketOwnerPreferred"}]})
    assert await s3.get_bucket_ownership(bucket) == "BucketOwnerPreferred"


@SOME
async def test_a_wrong_md5(s3: S3Client, bucket: str, server: Server) -> None:
    """Whether the servers look at what we send with every document."""
    wrong = b64encode(md5(b"something else", usedforsecurity=False).digest()).decode()
    document = b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>"
    document += b"</CORSRule></CORSConfiguration>"
    answer = await s3.request("PUT", f"{bucket}/", {"Content-MD5": wrong}, {"cors": None}, document)
    ignored = bool(server.faults.get("content-md5-of-configurations-ignored"))
    assert answer.status_code == (200 if ignored else 400)
    assert (await s3.get_bucket_cors(bucket) is not None) is ignored


@SOME
async def test_a_missing_bucket(s3: S3Client, bucket: str) -> None:
    missing = f"{bucket}-missing"
    for call in (
        s3.get_bucket_versioning(missing),
        s3.get_bucket_cors(missing),
        s3.put_bucket_tags({"a": "b"}, bucket=missing),
        s3.delete_bucket_policy(missing),
    ):
        with pytest.raises(NotFound) as caught:
            await call
        assert (caught.value.code, caught.value.bucket) == ("NoSuchBucket", missing)


@SOME
async def test_a_client_of_one_bucket(bucket: str, server: Server) -> None:
    async with connect(server, url=f"{server.url}/{bucket}") as s3:
        await s3.put_bucket_tags({"a": "b"})
        assert await s3.get_bucket_tags() == await s3.get_bucket_tags(bucket) == {"a": "b"}
        await s3.delete_bucket_tags()
        assert await s3.get_bucket_tags() is None
        with pytest.raises(UsageError, match="is one bucket's"):
            await s3.delete_bucket_cors("other")


# --- servers that do not know a sub-resource


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_what_rclone_does_not_know(
    s3: S3Client, bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a bucket of its own: it stays. Without asking first it would be deleted: the mutation."""
    assert server.faults.get("no-bucket-configurations")
    for kind in shapes.XML_KINDS:
        if kind != "versioning":
            with pytest.raises(InvalidResponse, match=rf"does not know \?{kind}: it lists the bucket's objects"):
                await s3.get_bucket_configuration(kind, bucket)  # type: ignore[arg-type]
    for call in (
        s3.get_bucket_policy(bucket),
        s3.put_bucket_policy(policy(bucket), bucket=bucket),
        s3.put_bucket_cors(CORS, bucket=bucket),
        s3.delete_bucket_cors(bucket),
        s3.delete_bucket_policy(bucket),
    ):
        with pytest.raises(InvalidResponse, match="does not know"):
            await call
    assert await s3.get_bucket_versioning(bucket) is None
    with pytest.raises(S3Error, match="501 NotImplemented"):
        await s3.put_bucket_versioning("Enabled", bucket=bucket)
    assert await s3.bucket_exists(bucket)

    async def trusting(*_: object) -> bool:
        return True

    monkeypatch.setattr(SettingFamily, "_is_set", trusting)
    await s3.delete_bucket_cors(bucket)
    assert not await s3.bucket_exists(bucket)


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_what_ceph_does_not_know(s3: S3Client, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking first the bucket would go: the mutation."""

    async def trusting(*_: object) -> bool:
        return True

    monkeypatch.setattr(SettingFamily, "_is_set", trusting)
    with pytest.raises(S3Error, match="400 InvalidArgument"):
        await s3.put_bucket_encryption(SSES3(), bucket=bucket)
    await s3.delete_bucket_encryption(bucket)
    assert not await s3.bucket_exists(bucket)


# --- a peer; GET of a bucket is a GetObject to it, and so on


def not_set(tiny: TinyS3, kind: str) -> None:
    tiny.on("GetObject", error(404, next(iter(KINDS[kind].absent))))


async def test_what_goes_out() -> None:
    """First the question, then the document, with its MD5; the options with both."""
    async with store() as (s3, tiny):
        not_set(tiny, "cors")
        await s3.put_bucket_cors(CORS, bucket="b", expected_bucket_owner="123456789012")
        assert tiny.names == ["GetObject", "PutObject"]
        for _, request in tiny.calls:
            assert request.target == "/b/?cors"
            assert request.header("x-amz-expected-bucket-owner") == "123456789012"
        (put,) = tiny.sent("PutObject")
        assert put.header("content-md5") == b64encode(md5(put.body, usedforsecurity=False).digest()).decode()
        assert put.header("content-type") == "application/xml"


async def test_a_canned_acl_has_no_document() -> None:
    async with store() as (s3, tiny):
        tiny.on("GetObject", Reply(body=b"<AccessControlPolicy/>"))
        await s3.put_bucket_acl("private", bucket="b")
        (put,) = tiny.sent("PutObject")
        assert (put.body, put.header("x-amz-acl"), put.header("content-md5")) == (b"", "private", None)


@pytest.mark.parametrize("body", [b"", b"<html><body/></html>", b"<ListVersionsResult/>", b"no XML"])
async def test_what_is_not_the_document_is_no_permission(body: bytes) -> None:
    """Whoever answers so may take a DELETE of it for one of the bucket."""
    async with store(max_attempts=1) as (s3, tiny):
        tiny.on("GetObject", Reply(body=body))
        for call in (
            s3.delete_bucket_cors("b"),
            s3.delete_bucket_policy("b"),
            s3.put_bucket_cors(CORS, bucket="b"),
            s3.put_bucket_policy(policy("b"), bucket="b"),
        ):
            with pytest.raises(InvalidResponse):
                await call
        assert set(tiny.names) == {"GetObject"}


async def test_what_may_not_be_read_is_written_all_the_same() -> None:
    async with store() as (s3, tiny):
        tiny.on("GetObject", error(403, "AccessDenied"))
        await s3.put_bucket_tags({"a": "b"}, bucket="b")
        await s3.delete_bucket_tags("b")
        assert tiny.names == ["GetObject", "PutObject", "GetObject", "DeleteObject"]
        with pytest.raises(AccessDenied):
            await s3.get_bucket_tags("b")


async def test_what_is_not_set_is_not_removed() -> None:
    async with store() as (s3, tiny):
        not_set(tiny, "tagging")
        await s3.delete_bucket_tags("b")
        assert tiny.names == ["GetObject"]


async def test_every_code_for_nothing_set() -> None:
    async with store() as (s3, tiny):
        for kind in shapes.XML_KINDS:
            for code in KINDS[kind].absent:
                tiny.on("GetObject", error(404, code))
                assert await s3.get_bucket_configuration(kind, "b") is None  # type: ignore[arg-type]
        tiny.on("GetObject", error(404, "NoSuchBucketPolicy"))
        assert await s3.get_bucket_policy("b") is None
        tiny.on("GetObject", error(404, "NoSuchThing"))
        with pytest.raises(NotFound, match="404 NoSuchThing"):
            await s3.get_bucket_cors("b")


async def test_a_list_that_cannot_be_read_is_a_list() -> None:
    """Of a bucket with keys that XML cannot carry."""
    async with store() as (s3, tiny):
        listing = b'<?xml version="1.0"?>\n<ListBucketResult xmlns="x"><Key>\x01</Key></ListBucketResult>'
        tiny.on("GetObject", Reply(body=listing))
        for call in (s3.delete_bucket_cors("b"), s3.delete_bucket_policy("b"), s3.put_bucket_cors(CORS, bucket="b")):
            with pytest.raises(InvalidResponse, match="does not know"):
                await call
        assert tiny.names == ["GetObject"] * 3  # and asked once each: it would say the same again


async def test_lost_answers_are_asked_for_again() -> None:
    """All of it can be sent twice."""
    async with store() as (s3, tiny):
        tiny.on("GetObject", Reply(body=b"<Tagging/>"))
        for operation in ("GetObject", "PutObject", "DeleteObject"):
            tiny.on(operation, RESET, nth=1)
        await s3.put_bucket_tags({"a": "b"}, bucket="b")
        await s3.delete_bucket_tags("b")
        assert tiny.names == [
            "GetObject",
            "GetObject",
            "PutObject",
            "PutObject",
            "GetObject",
            "DeleteObject",
            "DeleteObject",
        ]


WRONG: Final[tuple[tuple[str, tuple[Any, ...], str], ...]] = (
    ("get_bucket_versioning", (), "no bucket is named"),
    ("delete_bucket_cors", ("/",), "is no bucket's name"),
    ("get_bucket_configuration", ("policy", "b"), "there is no configuration 'policy' here, but accelerate"),
    ("put_bucket_configuration", ("b", {}), "there is no configuration 'b' here"),
    ("delete_bucket_configuration", ("acl", "b"), "S3 has no call that removes 'acl'"),
    ("put_bucket_versioning", ("b",), "the status must be one of Enabled, Suspended"),
    ("put_bucket_tags", ({"": "a"},), "the name of a tag"),
    ("put_bucket_policy", ("b",), "the policy is no JSON document"),
    ("put_bucket_encryption", ("AES256",), "a bucket's default encryption is SSES3"),
    ("put_public_access_block", (True,), r"must be a PublicAccessBlock\(…\), not bool"),
    ("put_bucket_ownership", ("me",), "the ownership must be one of"),
    ("put_bucket_lifecycle", ({"Rule": {}},), "LifecycleConfiguration/Rule must be a list"),
)


async def test_what_makes_no_sense() -> None:
    """No server is asked."""
    async with S3Client("http://localhost:1", access_key_id="a", secret_access_key="b", max_attempts=1) as s3:
        for method, arguments, message in WRONG:
            with pytest.raises(UsageError, match=message):
                await getattr(s3, method)(*arguments)
        with pytest.raises(UsageError, match="there is no option 'acl' here"):
            await s3.get_bucket_tags("b", acl="private")  # type: ignore[call-arg]
