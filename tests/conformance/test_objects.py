"""What S3 knows of an object: what handtruck reads is what botocore wrote, and the other way round."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck import (
    AccessControlList,
    Checksum,
    Grant,
    Grantee,
    ObjectAttributes,
    Retention,
    S3Client,
    SSECustomer,
    UploadResult,
)
from handtruck.client.subresources import SubresourceFamily
from handtruck.errors import (
    AccessDenied,
    InvalidResponse,
    NotFound,
    NotModified,
    PreconditionFailed,
    S3Error,
    UsageError,
)
from handtruck.protocol.checksums import bare_etag
from tests.conformance.support import PART, connect, content, etag_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

KNOWN: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
"""The servers that know sub-resources; the other one is in a section of its own."""

EVERYBODY: Final = Grantee(uri="http://acs.amazonaws.com/groups/global/AllUsers")
CRC32: Final = "sZlDzg=="
"""Of ``bytes``."""

EXPIRES: Final = datetime(2040, 2, 29, 12, 0, 1, tzinfo=UTC)


@pytest.fixture
def locked(bucket: str, witness: Witness) -> str:
    """A new bucket with object lock."""
    name = f"{bucket}-locked"
    witness.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return name


@pytest.fixture
async def once(server: Server, anyio_backend: object) -> AsyncIterator[S3Client]:
    """A client that tries once: for answers that are 500 whatever is done."""
    async with connect(server, max_attempts=1) as client:
        yield client


def in_days(days: float) -> datetime:
    """In whole milliseconds, which is what is sent."""
    return (datetime.now(UTC) + timedelta(days=days)).replace(microsecond=123_000)


# --- stat


async def test_stat(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    extra: dict[str, Any] = {"Tagging": "a=b&c=d", "WebsiteRedirectLocation": "/elsewhere"}
    witness.put(
        bucket,
        "folder/a key",
        b"bytes",
        ContentType="text/x",
        Metadata={"Some-Name": "a value", "other": "x"},
        CacheControl="no-cache",
        ContentDisposition="inline",
        ContentEncoding="x",
        ContentLanguage="de",
        Expires=EXPIRES,
        **({} if server.name == "rclone" else extra),
    )
    info, said = await s3.stat(f"{bucket}/folder/a key"), witness.head(bucket, "folder/a key")
    assert (info.key, info.size, info.etag) == ("folder/a key", 5, said["ETag"])
    assert info.last_modified == said["LastModified"]
    assert {"some-name": "a value", "other": "x"}.items() <= info.metadata.items()
    assert info.metadata == {name.lower(): value for name, value in said["Metadata"].items()}
    assert (info.content_type, info.cache_control, info.content_disposition) == ("text/x", "no-cache", "inline")
    assert (info.content_encoding, info.content_language) == ("x", "de")
    assert info.expires == (None if server.faults.get("loses-expires") else EXPIRES)
    if server.name != "rclone":
        assert (info.tag_count, info.website_redirect_location) == (said["TagCount"], "/elsewhere")
        assert server.faults.get("tagging-header-ignored") or info.tag_count in (1, 2)
    assert (info.retention, info.legal_hold, info.restore, info.parts_count) == (None, None, None, None)
    assert (info.encryption, info.version_id, info.delete_marker) == (None, said.get("VersionId"), False)
    assert info.headers["content-type"] == "text/x"


async def test_stat_of_what_was_sent_in_parts(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    sent = await s3.put_multipart(f"{bucket}/key", [content(PART), b"end"], part_size=PART)
    assert isinstance(sent, UploadResult)
    info = await s3.stat(f"{bucket}/key")
    assert (info.size, info.etag) == (PART + 3, witness.head(bucket, "key")["ETag"])
    assert info.parts_count == (None if server.faults.get("head-etag-is-plain-md5") else 2)


async def test_stat_tells_checksums(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """As far as the server keeps them."""
    await s3.put(f"{bucket}/key", b"bytes", checksum="CRC32")
    info = await s3.stat(f"{bucket}/key")
    kept = witness.head(bucket, "key", ChecksumMode="ENABLED").get("ChecksumCRC32")
    assert kept == (CRC32 if info.checksums else None)
    assert info.checksums in ((), (Checksum(algorithm="CRC32", value=CRC32),))
    if server.name == "rclone":
        assert kept == CRC32


@KNOWN
async def test_stat_of_versions(s3: S3Client, locked: str, witness: Witness, server: Server) -> None:
    versions = [witness.client.put_object(Bucket=locked, Key="key", Body=body)["VersionId"] for body in (b"1", b"22")]
    name = f"{locked}/key"
    assert ((await s3.stat(name)).version_id, (await s3.stat(name)).size) == (versions[1], 2)
    old = await s3.stat(name, version_id=versions[0])
    assert (old.version_id, old.size) == (versions[0], 1)
    marker = witness.client.delete_object(Bucket=locked, Key="key")["VersionId"]
    assert await s3.exists(name) is False
    assert await s3.exists(name, version_id=versions[0]) is True
    with pytest.raises(NotFound, match="it is deleted"):
        await s3.stat(name)
    if server.faults.get("delete-marker-by-version-is-404"):
        assert await s3.exists(name, version_id=marker) is False
    else:
        for asking in (s3.exists, s3.stat):
            with pytest.raises(S3Error, match="this version is a delete marker") as caught:
                await asking(name, version_id=marker)
            assert caught.value.status == 405


@KNOWN
async def test_conditions(s3: S3Client, bucket: str, witness: Witness) -> None:
    etag = witness.put(bucket, "key", b"bytes")
    for asking in (s3.stat, s3.exists):
        assert await asking(f"{bucket}/key", if_match=f'"{etag}"')
        with pytest.raises(PreconditionFailed):
            await asking(f"{bucket}/key", if_match='"another"')
        with pytest.raises(NotModified):
            await asking(f"{bucket}/key", if_none_match=f'"{etag}"')


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_stat_of_a_customers_key(s3: S3Client, bucket: str) -> None:
    key = SSECustomer(b"k" * 32)
    await s3.put(f"{bucket}/key", b"bytes", sse=key)
    info = await s3.stat(f"{bucket}/key", sse=key)
    assert info.encryption is not None
    assert (info.size, info.encryption.algorithm, info.encryption.kms_key_id) == (5, "AES256", None)
    assert info.encryption.customer_key_md5
    with pytest.raises(S3Error, match="an object with a key of its own") as caught:
        await s3.stat(f"{bucket}/key")
    assert (caught.value.status, caught.value.code) == (400, None)


async def test_what_is_not_there(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", b"bytes")
    with pytest.raises(NotFound, match=f"HeadObject {bucket}/no: 404 not found.*HEAD does not say which") as caught:
        await s3.stat(f"{bucket}/no")
    error = caught.value
    assert (error.status, error.code, error.operation, error.bucket, error.key) == (
        404,
        None,
        "HeadObject",
        bucket,
        "no",
    )
    assert [await s3.exists(f"{bucket}/{key}") for key in ("key", "no", "ke", "key/")][:3] == [True, False, False]
    with pytest.raises(NotFound, match="there is no such bucket, so nothing is known of") as caught:
        await s3.exists(f"{bucket}-missing/key")
    assert (caught.value.operation, caught.value.bucket) == ("HeadBucket", f"{bucket}-missing")


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_what_is_forbidden_is_an_error(bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"bytes")
    async with connect(server, secret_access_key="wrong") as s3:
        for asking in (s3.exists, s3.stat):
            for key in ("key", "no"):
                with pytest.raises(AccessDenied, match="HEAD does not say why"):
                    await asking(f"{bucket}/{key}")


async def test_one_buckets_client(bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"bytes")
    async with connect(server, url=f"{server.url}/{bucket}") as s3:
        assert [await s3.exists(key) for key in ("key", "no")] == [True, False]
        assert (await s3.stat("key")).size == 5
    async with connect(server, url=f"{server.url}/{bucket}-missing") as s3:
        with pytest.raises(NotFound, match="there is no such bucket"):
            await s3.exists("key")


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_names_that_are_no_objects(s3: S3Client, bucket: str, witness: Witness) -> None:
    """Such requests would be about the bucket: its tags would be replaced, its ACL opened."""
    retention = Retention(mode="GOVERNANCE", until=in_days(1))
    for name in ("", "/", bucket, f"{bucket}/", f"/{bucket}"):
        for asking in (
            s3.stat(name),
            s3.exists(name),
            s3.get_object_attributes(name),
            s3.restore(name, days=1),
            s3.get_object_tags(name),
            s3.put_object_tags(name, {"a": "b"}),
            s3.delete_object_tags(name),
            s3.get_object_acl(name),
            s3.put_object_acl(name, "public-read"),
            s3.get_object_legal_hold(name),
            s3.put_object_legal_hold(name, True),
            s3.get_object_retention(name),
            s3.put_object_retention(name, retention),
        ):
            with pytest.raises(UsageError, match="names no object"):
                await asking
    assert len(witness.client.get_bucket_acl(Bucket=bucket)["Grants"]) == 1


# --- tags


def tags_of(witness: Witness, bucket: str, key: str, **arguments: Any) -> dict[str, str]:
    found = witness.client.get_object_tagging(Bucket=bucket, Key=key, **arguments)["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in found}


@KNOWN
async def test_tags(s3: S3Client, once: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "a key", b"bytes", Tagging="a=b")
    name = f"{bucket}/a key"
    assert await s3.get_object_tags(name) == {"a": "b"}
    odd = {"c d": "+-=._:/@", "empty": "", "ü": "日本"}
    if server.faults.get("tag-characters-unchecked"):
        odd |= {"& <>": "\r\n\ttail "}
    else:
        with pytest.raises(S3Error) as refused:
            await s3.put_object_tags(name, {"& <>": "x"})
        assert (refused.value.status, refused.value.code) == (400, "InvalidTag")
    await s3.put_object_tags(name, odd)
    assert tags_of(witness, bucket, "a key") == await s3.get_object_tags(name) == odd
    if server.faults.get("empty-tag-set-is-500"):
        with pytest.raises(S3Error) as caught:
            await once.put_object_tags(name, {})
        assert caught.value.status == 500
    else:
        await s3.put_object_tags(name, {})
        assert tags_of(witness, bucket, "a key") == await s3.get_object_tags(name) == {}
    await s3.put_object_tags(name, {"x": "y"})
    await s3.delete_object_tags(name)
    await s3.delete_object_tags(name)
    assert tags_of(witness, bucket, "a key") == await s3.get_object_tags(name) == {}
    assert witness.get(bucket, "a key") == b"bytes"


@KNOWN
async def test_tags_of_a_version(s3: S3Client, locked: str, witness: Witness) -> None:
    old, new = (witness.client.put_object(Bucket=locked, Key="key", Body=body)["VersionId"] for body in (b"1", b"2"))
    await s3.put_object_tags(f"{locked}/key", {"is": "old"}, version_id=old)
    await s3.put_object_tags(f"{locked}/key", {"is": "new"})
    assert tags_of(witness, locked, "key", VersionId=old) == {"is": "old"}
    assert await s3.get_object_tags(f"{locked}/key", version_id=new) == {"is": "new"}
    await s3.delete_object_tags(f"{locked}/key", version_id=old)
    assert await s3.get_object_tags(f"{locked}/key", version_id=old) == {}
    assert await s3.get_object_tags(f"{locked}/key") == {"is": "new"}


@KNOWN
async def test_what_belongs_to_nothing(s3: S3Client, bucket: str, server: Server) -> None:
    name = f"{bucket}/no"
    retention = Retention(mode="GOVERNANCE", until=in_days(1))
    for asking in (
        s3.get_object_tags(name),
        s3.put_object_tags(name, {"a": "b"}),
        s3.delete_object_tags(name),
        s3.get_object_acl(name),
        s3.put_object_acl(name, "private"),
        s3.get_object_attributes(name),
    ):
        with pytest.raises(NotFound) as caught:
            await asking
        assert (caught.value.code, caught.value.key) == ("NoSuchKey", "no")
    for locking in (s3.get_object_legal_hold(name), s3.put_object_retention(name, retention)):
        with pytest.raises(S3Error):
            await locking
    assert await s3.exists(name) is False


# --- access control lists


@KNOWN
async def test_ready_made_lists(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", b"bytes")
    private = await s3.get_object_acl(f"{bucket}/key")
    said = witness.client.get_object_acl(Bucket=bucket, Key="key")
    assert private.owner is not None
    assert private.owner.id == said["Owner"]["ID"]
    ((grantee, permission),) = [(grant.grantee, grant.permission) for grant in private.grants]
    assert (grantee.id, grantee.uri, permission) == (private.owner.id, None, "FULL_CONTROL")
    await s3.put_object_acl(f"{bucket}/key", "public-read")
    grants = (await s3.get_object_acl(f"{bucket}/key")).grants
    assert set(grants) == {private.grants[0], Grant(grantee=EVERYBODY, permission="READ")}
    await s3.put_object_acl(f"{bucket}/key", "private")
    assert await s3.get_object_acl(f"{bucket}/key") == private
    assert witness.get(bucket, "key") == b"bytes"


@KNOWN
async def test_lists(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """With its owner as a document, without in headers."""
    witness.put(bucket, "key", b"bytes")
    acl = await s3.get_object_acl(f"{bucket}/key")
    more = replace(acl, grants=(*acl.grants, Grant(grantee=EVERYBODY, permission="READ_ACP")))
    await s3.put_object_acl(f"{bucket}/key", replace(more, owner=None))
    allowed = {(grant["Permission"], grant["Grantee"]["Type"]) for grant in grants_of(witness, bucket)}
    assert allowed == {("FULL_CONTROL", "CanonicalUser"), ("READ_ACP", "Group")}
    await s3.put_object_acl(f"{bucket}/key", acl)
    assert await s3.get_object_acl(f"{bucket}/key") == acl
    await s3.put_object_acl(f"{bucket}/key", more)
    lost = server.faults.get("acl-document-loses-groups")
    assert set((await s3.get_object_acl(f"{bucket}/key")).grants) == set(acl.grants if lost else more.grants)
    assert witness.get(bucket, "key") == b"bytes"


def grants_of(witness: Witness, bucket: str) -> list[Any]:
    found: list[Any] = witness.client.get_object_acl(Bucket=bucket, Key="key")["Grants"]
    return found


async def test_lists_that_make_no_sense(s3: S3Client) -> None:
    grant = Grant(grantee=Grantee(), permission="READ")
    nonsense: tuple[Any, ...] = (
        "public",
        None,
        {"owner": None},
        AccessControlList(),
        AccessControlList(grants=(grant,)),
        AccessControlList(grants=(Grant(grantee=Grantee(id="a", uri="b"), permission="READ"),)),
        AccessControlList(grants=(Grant(grantee=Grantee(id='a"'), permission="READ"),)),
        AccessControlList(grants=(Grant(grantee=Grantee(id="a"), permission="EAT"),)),  # type: ignore[arg-type]
        AccessControlList(owner=Grantee(uri="a")),
    )
    for acl in nonsense:
        with pytest.raises(UsageError):
            await s3.put_object_acl("bucket/key", acl)


# --- locks


@KNOWN
async def test_legal_holds(s3: S3Client, locked: str, witness: Witness) -> None:
    old, new = (witness.client.put_object(Bucket=locked, Key="key", Body=body)["VersionId"] for body in (b"1", b"2"))
    name = f"{locked}/key"
    assert await s3.get_object_legal_hold(name) is False
    await s3.put_object_legal_hold(name, True, version_id=old)
    said = witness.client.get_object_legal_hold(Bucket=locked, Key="key", VersionId=old)
    assert said["LegalHold"]["Status"] == "ON"
    assert await s3.get_object_legal_hold(name, version_id=old) is True
    assert await s3.get_object_legal_hold(name, version_id=new) is False
    assert (await s3.stat(name, version_id=old)).legal_hold is True
    await s3.put_object_legal_hold(name, False, version_id=old)
    assert await s3.get_object_legal_hold(name, version_id=old) is False
    witness.delete(locked, "key", VersionId=old)


@KNOWN
async def test_retention(s3: S3Client, locked: str, witness: Witness, server: Server) -> None:
    witness.put(locked, "key", b"bytes")
    name, late, soon = f"{locked}/key", in_days(2), in_days(1)
    if not server.faults.get("retention-falls-through"):
        assert await s3.get_object_retention(name) is None
    await s3.put_object_retention(name, Retention(mode="GOVERNANCE", until=late))
    assert witness.head(locked, "key")["ObjectLockRetainUntilDate"] == late
    assert (await s3.stat(name)).retention == Retention(mode="GOVERNANCE", until=late)
    if server.faults.get("governance-ignored"):
        await s3.put_object_retention(name, Retention(mode="GOVERNANCE", until=soon))
    else:
        with pytest.raises(AccessDenied):
            await s3.put_object_retention(name, Retention(mode="GOVERNANCE", until=soon))
        await s3.put_object_retention(name, Retention(mode="GOVERNANCE", until=soon), bypass_governance=True)
    if server.faults.get("retention-falls-through"):
        with pytest.raises(InvalidResponse, match=r"this server does not know \?retention"):
            await s3.get_object_retention(name)
    else:
        assert await s3.get_object_retention(name) == Retention(mode="GOVERNANCE", until=soon)
    if server.faults.get("retention-stays"):
        with pytest.raises(S3Error) as caught:
            await s3.put_object_retention(name, None, bypass_governance=True)
        assert caught.value.code == "MalformedXML"
    else:
        await s3.put_object_retention(name, None, bypass_governance=True)
    assert ((await s3.stat(name)).retention is None) is not bool(server.faults.get("retention-stays"))
    assert witness.get(locked, "key") == b"bytes"


@KNOWN
async def test_buckets_without_locks(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"bytes")
    if server.faults.get("legal-hold-without-lock-is-200"):
        assert await s3.get_object_legal_hold(f"{bucket}/key") is False
    else:
        with pytest.raises(S3Error) as caught:
            await s3.get_object_legal_hold(f"{bucket}/key")
        assert (caught.value.status, caught.value.code) == (400, "InvalidRequest")
    with pytest.raises(S3Error):
        await s3.put_object_legal_hold(f"{bucket}/key", True)
    with pytest.raises(S3Error):
        await s3.put_object_retention(f"{bucket}/key", Retention(mode="GOVERNANCE", until=in_days(1)))


async def test_locks_that_make_no_sense(s3: S3Client) -> None:
    naive = datetime(2040, 1, 1)
    nonsense: tuple[Any, ...] = (
        "GOVERNANCE",
        Retention(mode="FOREVER", until=in_days(1)),  # type: ignore[arg-type]
        Retention(mode="GOVERNANCE", until=naive),
        {"mode": "GOVERNANCE"},
    )
    for retention in nonsense:
        with pytest.raises(UsageError):
            await s3.put_object_retention("bucket/key", retention)
    for held in ("ON", None, 1):
        with pytest.raises(UsageError, match="True or False"):
            await s3.put_object_legal_hold("bucket/key", held)  # type: ignore[arg-type]
    for tags in ({"": "b"}, {"a": 1}, "a=b", {str(number): "" for number in range(11)}):
        with pytest.raises(UsageError):
            await s3.put_object_tags("bucket/key", tags)  # type: ignore[arg-type]
    for days, tier in ((0, "Bulk"), (True, "Bulk"), (1.5, "Bulk"), (1, "bulk"), (1, None)):
        with pytest.raises(UsageError):
            await s3.restore("bucket/key", days=days, tier=tier)  # type: ignore[arg-type]
    unknown: tuple[dict[str, Any], ...] = (
        {"attributes": ()},
        {"attributes": "ETag"},
        {"attributes": ["Size"]},
        {"max_parts": 0},
        {"part_number_marker": -1},
        {"sse": b"k" * 32},
        {"nothing": "such"},
    )
    for arguments in unknown:
        with pytest.raises(UsageError):
            await s3.get_object_attributes("bucket/key", **arguments)


# --- attributes


async def test_attributes(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"bytes")
    if server.faults.get("attributes-fall-through"):
        with pytest.raises(InvalidResponse, match=r"this server does not know \?attributes"):
            await s3.get_object_attributes(f"{bucket}/key")
        return
    found = await s3.get_object_attributes(f"{bucket}/key")
    assert found.etag is not None
    assert bare_etag(found.etag) == etag_of(b"bytes")
    assert (found.size, found.storage_class) == (5, "STANDARD")
    assert found.last_modified == witness.head(bucket, "key")["LastModified"]
    only = await s3.get_object_attributes(f"{bucket}/key", attributes=["ObjectSize"], max_parts=1)
    assert only == ObjectAttributes(size=5, last_modified=found.last_modified)


@KNOWN
async def test_attributes_of_a_version(s3: S3Client, locked: str, witness: Witness, server: Server) -> None:
    if server.faults.get("attributes-fall-through"):
        return
    old = witness.client.put_object(Bucket=locked, Key="key", Body=b"1")["VersionId"]
    witness.put(locked, "key", b"22")
    found = await s3.get_object_attributes(f"{locked}/key", attributes=["ObjectSize"], version_id=old)
    assert (found.size, found.version_id) == (1, old)


# --- the archive


async def test_restore(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    name = f"{bucket}/key"
    if server.faults.get("no-archive"):
        witness.put(bucket, "key", b"bytes")
        with pytest.raises(S3Error) as caught:
            await s3.restore(name, days=1)
        assert caught.value.code in ("NotImplemented", "MethodNotAllowed")
        assert witness.get(bucket, "key") == b"bytes"
        return
    witness.put(bucket, "key", b"bytes", StorageClass="GLACIER")
    frozen = await s3.stat(name)
    assert (frozen.storage_class, frozen.restore) == ("GLACIER", None)
    assert await s3.restore(name, days=1, tier="Expedited") is True
    info = await s3.stat(name)
    assert info.restore is not None
    assert info.restore.ongoing is False
    assert info.restore.expires is not None
    assert abs(info.restore.expires - in_days(1)) < timedelta(minutes=2)
    assert await s3.restore(name, days=2) is False
    witness.put(bucket, "warm", b"bytes", StorageClass="STANDARD_IA")
    with pytest.raises(AccessDenied) as caught_warm:
        await s3.restore(f"{bucket}/warm", days=1)
    assert caught_warm.value.code == "InvalidObjectState"


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_storage_classes_of_one_server(s3: S3Client, bucket: str, server: Server) -> None:
    """The reason why the archive is tested elsewhere."""
    refused = await s3.put(f"{bucket}/key", b"bytes", storage_class="GLACIER")
    assert (refused.status_code == 400) is bool(server.faults.get("storage-classes-refused"))


# --- a server that does not know sub-resources

FALLS_THROUGH: Final = pytest.mark.parametrize("server", ["rclone"], indirect=True)


def changes(s3: S3Client, name: str) -> tuple[Any, ...]:
    """All that would change something that belongs to the object."""
    return (
        s3.put_object_tags(name, {"a": "b"}),
        s3.delete_object_tags(name),
        s3.put_object_acl(name, "private"),
        s3.put_object_acl(name, AccessControlList(owner=Grantee(id="me"))),
        s3.put_object_legal_hold(name, True),
        s3.put_object_retention(name, Retention(mode="GOVERNANCE", until=in_days(1))),
    )


@FALLS_THROUGH
async def test_an_object_is_not_taken_for_what_belongs_to_it(
    s3: S3Client, bucket: str, witness: Witness, server: Server
) -> None:
    """Nothing is changed where the server would change the object itself, and the object is not read."""
    assert server.faults.get("subresources-fall-through")
    data = content(PART)
    witness.put(bucket, "key", data)
    name = f"{bucket}/key"
    for asking in (
        s3.get_object_tags(name),
        s3.get_object_acl(name),
        s3.get_object_legal_hold(name),
        s3.get_object_retention(name),
        s3.get_object_attributes(name),
        *changes(s3, name),
    ):
        with pytest.raises(InvalidResponse, match=r"this server does not know \?(tagging|acl|legal|ret|attr).*") as got:
            await asking
        assert got.value.attempts == 1
    assert witness.get(bucket, "key") == data
    missing = f"{bucket}/no"
    for change in changes(s3, missing):
        with pytest.raises(NotFound):
            await change
    assert witness.keys(bucket) == ["key"]


@FALLS_THROUGH
async def test_what_it_would_do(
    s3: S3Client, bucket: str, witness: Witness, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    """What the test above is about: without the look at the server first the object is lost."""

    async def change(self: SubresourceFamily, kind: str, asking: Any, changing: Any) -> None:
        await self._session.perform(changing)

    monkeypatch.setattr(SubresourceFamily, "_change", change)
    witness.put(bucket, "key", b"bytes")
    await s3.put_object_tags(f"{bucket}/key", {"a": "b"})
    assert witness.get(bucket, "key") != b"bytes"
    await s3.delete_object_tags(f"{bucket}/key")
    assert witness.keys(bucket) == []
