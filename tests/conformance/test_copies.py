"""Copies and moves on real servers, each made by handtruck and read by an independent witness."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import pytest
from botocore.exceptions import ClientError

from handtruck import CopyResult, Progress, S3Client, SSECustomer
from handtruck.errors import InvalidResponse, NotFound, PreconditionFailed, S3Error, UsageError
from handtruck.protocol.checksums import bare_etag
from handtruck.protocol.parts import MIB
from handtruck.transfer.copy import Copy
from handtruck.transfer.multipart import MultipartUpload
from tests.conformance.support import PART, Loopback, connect, content, etag_of, http_client
from tests.conformance.test_cancellation import by_scope, natively
from tests.scripted.proxy import road_to

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conformance.test_cancellation import Cancel, Cancelled
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

ROADS: Final = [
    pytest.param(server, part_size, id=f"{server}, {'in parts' if part_size else 'one request'}")
    for server in ("rgw", "moto", "rclone")
    for part_size in (None, PART)
    if not part_size or server != "rclone"  # see test_parts_where_the_server_stores_empty_ones
]
EVERY_ROAD: Final = pytest.mark.parametrize(("server", "part_size"), ROADS, indirect=["server"])
ROADS_ON_RGW_AND_MOTO: Final = pytest.mark.parametrize(("server", "part_size"), ROADS[:4], indirect=["server"])
ON_RGW: Final = pytest.mark.parametrize("server", ["rgw"], indirect=True)
ON_ONE_LOOP: Final = pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"], indirect=True)
"""What is asked for and what comes of it does not depend on the loop; copies and moves themselves run on all."""

DATA: Final = content(PART + 3)
"""Two parts, the last one tiny."""
DESCRIBED: Final[dict[str, Any]] = {
    "ContentType": "text/x-one",
    "CacheControl": "no-cache",
    "ContentDisposition": "inline",
    "ContentEncoding": "identity",
    "ContentLanguage": "de",
    "Expires": datetime(2030, 1, 1, tzinfo=UTC),
    "Metadata": {"one": "1", "two": "2"},
}
TAGS: Final = {"a": "1", "b+c": "2 ü"}
SETTLED: Final = 100
"""Looks at the server, a twentieth of a second apart."""

ODD_KEYS: Final = (
    "a b+c%ü",
    "a?versionId=b",
    "a%2Fb",
    "a&b=c#d",
    "日本/\U0001f69a",
    "<&>\"'",
    "k\x01x",
    "/lead",
    "a/../b",
)
RING: Final = SSECustomer(bytes(range(32)))
OTHER_RING: Final = SSECustomer(bytes(range(32, 64)))


@pytest.fixture
def other(witness: Witness, bucket: str) -> Iterator[str]:
    """Another bucket."""
    name = f"{bucket}-other"
    witness.create_bucket(name)
    yield name
    witness.discard(name)


def some(part_size: int | None) -> bytes:
    """An object for this road: no larger than it takes."""
    return DATA if part_size else DATA[:1000]


def tagged(server: Server, tags: dict[str, str] = TAGS) -> dict[str, str]:
    """The arguments with which the witness tags an object, where the server has tags."""
    if server.faults.get("subresources-fall-through"):
        return {}
    return {"Tagging": "a=1&b%2Bc=2%20%C3%BC"} if tags is TAGS else {}


def tags_of(server: Server, witness: Witness, bucket: str, key: str) -> dict[str, str]:
    """An object's tags, as the witness sees them; a server that knows no tags is not asked for them."""
    if server.faults.get("subresources-fall-through"):
        return {}
    answer = witness.client.get_object_tagging(Bucket=bucket, Key=key)
    return {tag["Key"]: tag["Value"] for tag in answer.get("TagSet", ())}


def description(server: Server, head: Any) -> dict[str, Any]:
    """What HEAD says that describes an object, as S3 would say it."""
    described = {name: head.get(name) for name in DESCRIBED}
    # rclone's own entry comes and goes; S3 lowers the names.
    described["Metadata"] = {k.lower(): v for k, v in head["Metadata"].items() if k.lower() != "mtime"}
    if server.faults.get("loses-expires"):
        described["Expires"] = DESCRIBED["Expires"]
    return described


# --- what is copied


@EVERY_ROAD
async def test_a_copy(
    s3: S3Client, server: Server, bucket: str, other: str, witness: Witness, part_size: int | None
) -> None:
    """Bytes, description and tags; into another bucket. The source stays as it is."""
    witness.put(bucket, "source", DATA, **DESCRIBED, **tagged(server))
    before = witness.head(bucket, "source")
    result = await s3.copy(f"{bucket}/source", f"{other}/target", part_size=part_size)
    after = witness.head(other, "target")
    assert witness.get(other, "target") == DATA
    assert description(server, after) == DESCRIBED
    assert tags_of(server, witness, other, "target") == (TAGS if tagged(server) else {})
    assert witness.head(bucket, "source")["ETag"] == before["ETag"]
    assert bare_etag(result.etag or "") == bare_etag(after["ETag"]) == etag_of(DATA, part_size or len(DATA))
    assert (result.size, result.parts) == ((len(DATA), 2) if part_size else (None, 0))
    if not part_size:
        assert result.last_modified is not None
        assert abs(result.last_modified - after["LastModified"]) < timedelta(seconds=2)
        unquoted = not (result.etag or "").startswith('"')
        assert unquoted is bool(server.faults.get("copy-etag-unquoted"))
    assert witness.uploads(other) == []


@ON_ONE_LOOP
@EVERY_ROAD
async def test_progress(s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None) -> None:
    witness.put(bucket, "source", DATA)
    told: list[Progress] = []
    await s3.copy(f"{bucket}/source", f"{bucket}/target", part_size=part_size, progress=told.append)
    assert [progress.total for progress in told] == [len(DATA)] * (2 if part_size else 1)
    assert told[-1].done == len(DATA)


@ON_ONE_LOOP
@EVERY_ROAD
async def test_what_an_option_names_is_replaced_alone(
    s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None
) -> None:
    """S3 replaces all of the description or nothing: the rest is sent again."""
    witness.put(bucket, "source", DATA, **DESCRIBED, **tagged(server))
    roads: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
        ("type", {"content_type": "text/x-two"}, {"ContentType": "text/x-two"}),
        ("metadata", {"metadata": {"Three": "3"}}, {"Metadata": {"three": "3"}}),
        ("none", {"metadata": {}, "cache_control": "no-store"}, {"Metadata": {}, "CacheControl": "no-store"}),
    )
    for name, given, expected in roads:
        await s3.copy(f"{bucket}/source", f"{bucket}/{name}", part_size=part_size, **given)
        if server.faults.get("copy-replace-adds") and "Metadata" in expected:
            expected = {**expected, "Metadata": {**DESCRIBED["Metadata"], **expected["Metadata"]}}
        assert description(server, witness.head(bucket, name)) == {**DESCRIBED, **expected}
        assert tags_of(server, witness, bucket, name) == (TAGS if tagged(server) else {})


@ON_ONE_LOOP
@EVERY_ROAD
async def test_nothing_is_kept(
    s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None
) -> None:
    witness.put(bucket, "source", DATA, **DESCRIBED, **tagged(server))
    await s3.copy(f"{bucket}/source", f"{bucket}/target", part_size=part_size, keep=False, cache_control="no-store")
    found = description(server, witness.head(bucket, "target"))
    assert found["CacheControl"] == "no-store"
    adds = bool(server.faults.get("copy-replace-adds"))
    assert (found["Metadata"] != {}, found["ContentType"] == DESCRIBED["ContentType"]) == (adds, adds)
    assert tags_of(server, witness, bucket, "target") == {}


@ON_ONE_LOOP
@ROADS_ON_RGW_AND_MOTO
async def test_tags_are_replaced(
    s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None
) -> None:
    """Ceph's gateway takes no notice: a single copy keeps the source's, one in parts has none."""
    witness.put(bucket, "source", DATA, **DESCRIBED, **tagged(server))
    ignored = server.faults.get("multipart-tagging-ignored" if part_size else "copy-tagging-ignored")
    for name, tags in (("target", {"new": "tag"}), ("none", {})):
        await s3.copy(f"{bucket}/source", f"{bucket}/{name}", part_size=part_size, tags=tags)
        instead = {} if part_size else TAGS
        assert tags_of(server, witness, bucket, name) == (instead if ignored else tags)
        assert description(server, witness.head(bucket, name)) == DESCRIBED


@ON_ONE_LOOP
@ON_RGW
async def test_tags_that_the_server_forgets(s3: S3Client, server: Server, bucket: str, witness: Witness) -> None:
    """The reason why they are looked at, and written once more: also of an object that is copied onto itself."""
    witness.put(bucket, "source", b"data", **tagged(server))
    witness.client.copy_object(
        Bucket=bucket,
        Key="target",
        CopySource={"Bucket": bucket, "Key": "source"},
        MetadataDirective="REPLACE",
        ContentType="text/x",
    )
    assert server.faults.get("copy-replace-loses-tags")
    assert tags_of(server, witness, bucket, "target") == {}
    await s3.copy(f"{bucket}/source", f"{bucket}/source", content_type="text/x")
    assert tags_of(server, witness, bucket, "source") == TAGS


@ON_RGW
@ON_ONE_LOOP
async def test_mutation_tags_are_not_mended(
    s3: S3Client, server: Server, bucket: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a copy in parts has none on Ceph's gateway, and what looks for them is red."""

    async def nothing(*_: object) -> None:
        """In place of _mend_tags()."""

    monkeypatch.setattr(Copy, "_mend_tags", nothing)
    witness.put(bucket, "source", DATA, **tagged(server))
    await s3.copy(f"{bucket}/source", f"{bucket}/target", part_size=PART)
    assert tags_of(server, witness, bucket, "target") == {}


@ON_ONE_LOOP
@EVERY_ROAD
async def test_onto_itself(s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None) -> None:
    """With a change, which must be one: S3 refuses it otherwise, and we do before it is asked."""
    witness.put(bucket, "key", DATA, **DESCRIBED)
    await s3.copy(f"{bucket}/key", f"{bucket}/key", part_size=part_size, content_type="text/x-two")
    expected = {**DESCRIBED, "ContentType": "text/x-two"}
    assert (witness.get(bucket, "key"), description(server, witness.head(bucket, "key"))) == (DATA, expected)
    with pytest.raises(UsageError, match="onto itself, which S3 refuses unless something changes"):
        await s3.copy(f"{bucket}/key", f"/{bucket}/key", tags={"a": "b"})
    answer = await s3.put(f"{bucket}/key", b"", headers={"x-amz-copy-source": f"{bucket}/key"})
    assert answer.status_code == (200 if server.faults.get("copy-onto-itself-accepted") else 400)
    assert witness.get(bucket, "key") == DATA


@ON_ONE_LOOP
@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
async def test_odd_keys(key: str, bucket: str, witness: Witness, server: Server) -> None:
    """The source's name is encoded, and what looks like a version in it is none."""
    async with connect(server, max_attempts=1) as s3:
        if not (await s3.put(f"{bucket}/{key}", b"odd")).is_success:
            assert server.faults.get("refuses-leading-slash" if key[0] == "/" else "refuses-dot-segments")
            return
        await s3.copy(f"{bucket}/{key}", f"{bucket}/target")
        assert witness.get(bucket, "target") == b"odd"
        await s3.move(f"{bucket}/target", f"{bucket}/2{key}")
        assert (await s3.get(f"{bucket}/2{key}")).content == b"odd"
        assert not witness.exists(bucket, "target")


@ON_ONE_LOOP
async def test_ways_to_name_the_source(bucket: str, other: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "a/b", b"data")
    async with connect(server, url=f"{server.url}/{other}") as s3:
        await s3.copy("a/b", "plain", source_bucket=bucket)
        await s3.copy("a/b", "looked at", source_bucket=bucket, content_type="text/x")
        await s3.copy("plain", "own")
        await s3.copy("plain", "own, too", source_bucket=other)
        await s3.move("a/b", "moved", source_bucket=bucket)
        assert witness.keys(other) == ["looked at", "moved", "own", "own, too", "plain"]
        assert witness.keys(bucket) == []
    async with connect(server) as s3:
        await s3.copy("plain", f"{bucket}/a/b", source_bucket=other)
        assert witness.get(bucket, "a/b") == b"data"
        for source in ("plain", "", f"{other}/", "/"):
            with pytest.raises(UsageError, match="write bucket/key"):
                await s3.copy(source, f"{bucket}/x")
        with pytest.raises(UsageError, match="write bucket/key"):
            await s3.copy(f"{other}/plain", bucket)


@ON_RGW
@ON_ONE_LOOP
async def test_a_bucket_in_the_hosts_name(server: Server, bucket: str, other: str, witness: Witness) -> None:
    """What another bucket has cannot be looked at from there; a plain copy needs no look."""
    witness.put(other, "a b", b"data")
    url = f"http://{bucket}.{server.virtual_host_suffix}"
    async with (
        http_client(transport=Loopback()) as http,
        connect(server, url=url, client=http, addressing="virtual") as s3,
    ):
        await s3.copy("a b", "target", source_bucket=other)
        await s3.copy("target", "own", content_type="text/x")
        assert witness.get(bucket, "own") == b"data"
        with pytest.raises(UsageError, match="must be looked at first, and this endpoint is that of another bucket"):
            await s3.copy("a b", "x", source_bucket=other, part_size=PART)
        with pytest.raises(UsageError, match="must be looked at first"):
            await s3.move("a b", "x", source_bucket=other)
        with pytest.raises(NotFound):
            await s3.copy("missing", "x", source_bucket=other)


@ON_ONE_LOOP
@EVERY_ROAD
async def test_what_is_not_there(s3: S3Client, bucket: str, witness: Witness, part_size: int | None) -> None:
    name = f"{bucket}/missing"
    with pytest.raises(NotFound) as caught:
        await s3.copy(name, f"{bucket}/target", part_size=part_size)
    assert name in str(caught.value)  # it is the source that is missing
    with pytest.raises(NotFound):
        await s3.copy(f"{bucket}-missing/key", f"{bucket}/target", part_size=part_size)
    with pytest.raises(NotFound):
        await s3.move(name, f"{bucket}/target")
    assert (witness.keys(bucket), witness.uploads(bucket)) == ([], [])


@ON_ONE_LOOP
@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_parts_where_the_server_stores_empty_ones(server: Server, bucket: str, witness: Witness) -> None:
    """It is noticed, and nothing is left."""
    witness.put(bucket, "source", DATA)
    upload_id = witness.create_upload(bucket, "by hand")
    witness.client.upload_part_copy(
        Bucket=bucket,
        Key="by hand",
        UploadId=upload_id,
        PartNumber=1,
        CopySource={"Bucket": bucket, "Key": "source"},
    )
    assert [size for _, size, _ in witness.parts(bucket, "by hand", upload_id)] == [0]
    assert server.faults.get("part-copy-stores-nothing")
    witness.abort(bucket, "by hand", upload_id)
    async with connect(server, max_attempts=1) as s3:
        with pytest.raises(InvalidResponse, match=r"^UploadPartCopy \S+/source to \S+/target: "):
            await s3.copy(f"{bucket}/source", f"{bucket}/target", part_size=PART)
    assert (witness.keys(bucket), witness.uploads(bucket)) == (["source"], [])


# --- conditions


@ON_ONE_LOOP
@EVERY_ROAD
async def test_conditions_for_the_source(
    s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None
) -> None:
    """All servers tried take no notice of (most of) them: they are looked at before."""
    etag = witness.put(bucket, "source", DATA)
    written = witness.head(bucket, "source")["LastModified"]
    day = timedelta(days=1)
    fitting: list[dict[str, Any]] = [
        {"source_if_match": f'"{etag}"'},
        {"source_if_none_match": '"another"'},
        {"source_if_modified_since": written - day},
        {"source_if_unmodified_since": written + day},
    ]
    for number, given in enumerate(fitting):
        result = await s3.copy(f"{bucket}/source", f"{bucket}/{number}", part_size=part_size, **given)
        assert result.size == len(DATA)
        witness.delete(bucket, str(number))
    failing: list[dict[str, Any]] = [
        {"source_if_match": '"another"'},
        {"source_if_none_match": f'"{etag}"'},
        {"source_if_modified_since": written},
        {"source_if_unmodified_since": written - day},
    ]
    for given in failing:
        for call in (s3.copy, s3.move):
            with pytest.raises(PreconditionFailed):
                await call(f"{bucket}/source", f"{bucket}/target", part_size=part_size, **given)
    assert (witness.keys(bucket), witness.uploads(bucket)) == (["source"], [])


@ON_ONE_LOOP
async def test_what_a_server_makes_of_conditions(server: Server, bucket: str, witness: Witness) -> None:
    """Why they are looked at by us; those for the target nobody else can look at."""
    etag = witness.put(bucket, "source", b"data")
    witness.put(bucket, "target", b"old")
    for fault, condition in (
        ("copy-source-if-match-ignored", {"CopySourceIfMatch": '"another"'}),
        ("copy-source-if-none-match-ignored", {"CopySourceIfNoneMatch": f'"{etag}"'}),
        ("copy-source-dates-ignored", {"CopySourceIfUnmodifiedSince": datetime(2000, 1, 1, tzinfo=UTC)}),
        ("copy-if-none-match-ignored", {"IfNoneMatch": "*"}),
        ("copy-if-match-ignored", {"IfMatch": '"another"'}),
    ):
        try:
            witness.client.copy_object(
                Bucket=bucket, Key="target", CopySource={"Bucket": bucket, "Key": "source"}, **condition
            )
        except ClientError as error:
            accepted = error.response["ResponseMetadata"]["HTTPStatusCode"] != 412
        else:
            accepted = True
        assert accepted is bool(server.faults.get(fault)), fault


@ON_ONE_LOOP
@EVERY_ROAD
async def test_conditions_for_the_target(
    s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None
) -> None:
    """They go to CopyObject, or to CompleteMultipartUpload."""
    witness.put(bucket, "source", DATA)
    await s3.copy(f"{bucket}/source", f"{bucket}/new", part_size=part_size, if_none_match="*")
    witness.put(bucket, "target", b"old")
    fault = "complete-if-none-match-ignored" if part_size else "copy-if-none-match-ignored"
    if server.faults.get(fault):
        await s3.copy(f"{bucket}/source", f"{bucket}/target", part_size=part_size, if_none_match="*")
        return
    with pytest.raises(PreconditionFailed):
        await s3.copy(f"{bucket}/source", f"{bucket}/target", part_size=part_size, if_none_match="*")
    assert (witness.get(bucket, "target"), witness.uploads(bucket)) == (b"old", [])


# --- versions


@ON_ONE_LOOP
@ROADS_ON_RGW_AND_MOTO
async def test_versions(s3: S3Client, server: Server, bucket: str, witness: Witness, part_size: int | None) -> None:
    versioned(witness, bucket)
    first, second = (
        witness.client.put_object(Bucket=bucket, Key="a?b", Body=body)["VersionId"] for body in (DATA, DATA[::-1])
    )
    latest = await s3.copy(f"{bucket}/a?b", f"{bucket}/latest", part_size=part_size)
    assert witness.get(bucket, "latest") == DATA[::-1]
    named = await s3.copy(f"{bucket}/a?b", f"{bucket}/old", source_version_id=first, part_size=part_size)
    assert witness.get(bucket, "old") == DATA
    assert named.source_version_id == first
    if part_size:
        assert latest.source_version_id == second
    said = witness.head(bucket, "old")["VersionId"]
    silent = server.faults.get("copy-tells-no-version") and not part_size
    assert named.version_id == (None if silent else said)
    # Its own name may be the target: that brings it back.
    await s3.copy(f"{bucket}/a?b", f"{bucket}/a?b", source_version_id=first, part_size=part_size)
    assert witness.get(bucket, "a?b") == DATA
    with pytest.raises(S3Error):
        await s3.copy(f"{bucket}/a?b", f"{bucket}/x", source_version_id=said, part_size=part_size)


def versioned(witness: Witness, bucket: str) -> None:
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def versions_of(witness: Witness, bucket: str, key: str) -> tuple[list[str], int]:
    """The ids of the versions of an object, and how many delete markers it has."""
    answer = witness.client.list_object_versions(Bucket=bucket, Prefix=key)
    return [one["VersionId"] for one in answer.get("Versions", ())], len(answer.get("DeleteMarkers", ()))


@ON_ONE_LOOP
@ROADS_ON_RGW_AND_MOTO
async def test_moving_versions(s3: S3Client, bucket: str, witness: Witness, part_size: int | None) -> None:
    """Without a version nothing is deleted for good; and if one is named, that one and no other."""
    versioned(witness, bucket)
    put = witness.client.put_object
    first, second = (put(Bucket=bucket, Key="key", Body=body)["VersionId"] for body in (DATA, DATA[::-1]))
    await s3.move(f"{bucket}/key", f"{bucket}/latest", part_size=part_size)
    assert witness.get(bucket, "latest") == DATA[::-1]
    assert sorted(versions_of(witness, bucket, "key")[0]) == sorted([first, second])
    assert versions_of(witness, bucket, "key")[1] == 1
    assert not witness.exists(bucket, "key")
    await s3.move(f"{bucket}/key", f"{bucket}/named", source_version_id=second, part_size=part_size)
    assert (witness.get(bucket, "named"), versions_of(witness, bucket, "key")) == (DATA[::-1], ([first], 1))


# --- moves


@EVERY_ROAD
async def test_a_move(
    s3: S3Client, server: Server, bucket: str, other: str, witness: Witness, part_size: int | None
) -> None:
    witness.put(bucket, "source", DATA, **DESCRIBED, **tagged(server))
    told: list[Progress] = []
    result = await s3.move(f"{bucket}/source", f"{other}/target", part_size=part_size, progress=told.append)
    assert isinstance(result, CopyResult)
    assert (witness.keys(bucket), witness.keys(other)) == ([], ["target"])
    assert witness.get(other, "target") == DATA
    assert description(server, witness.head(other, "target")) == DESCRIBED
    assert tags_of(server, witness, other, "target") == (TAGS if tagged(server) else {})
    assert (result.size, told[-1].done) == (len(DATA), len(DATA))


@ON_ONE_LOOP
async def test_a_move_to_where_it_is(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", b"data")
    with pytest.raises(UsageError, match="cannot be moved to where it is"):
        await s3.move(f"{bucket}/key", f"{bucket}/key", content_type="text/x")
    assert witness.get(bucket, "key") == b"data"


# --- a customer's key


@ON_ONE_LOOP
async def test_customer_keys(s3: S3Client, server: Server, bucket: str, witness: Witness) -> None:
    """Of the source and of the copy. Ceph's gateway refuses the one and takes no notice of the other."""
    await s3.put(f"{bucket}/source", b"secret", sse=RING)
    if server.faults.get("copy-of-sse-c-refused"):
        with pytest.raises(S3Error) as caught:
            await s3.copy(f"{bucket}/source", f"{bucket}/target", source_sse=RING, sse=OTHER_RING)
        assert (caught.value.status, caught.value.code) == (501, "NotImplemented")
    else:
        await s3.copy(f"{bucket}/source", f"{bucket}/target", source_sse=RING, sse=OTHER_RING)
        assert (await s3.get(f"{bucket}/target", sse=OTHER_RING)).content == b"secret"
    await s3.put(f"{bucket}/plain", b"plain")
    await s3.copy(f"{bucket}/plain", f"{bucket}/target", sse=RING)
    bare = await s3.get(f"{bucket}/target")
    in_the_clear = server.faults.get("sse-c-ignored") or server.faults.get("copy-to-sse-c-ignored")
    assert (bare.content == b"plain") is bool(in_the_clear)


# --- cancelled


class Copying:
    """A large object, and copies of it in parts that are cancelled when so many bytes have passed."""

    def __init__(self, server: Server, bucket: str, witness: Witness, *, size: int, part_size: int) -> None:
        self.server, self.bucket, self.witness = server, bucket, witness
        self.size, self.part_size = size, part_size

    async def begin(self) -> dict[str, int]:
        """Write the source; gives how many bytes pass in either direction when all goes well."""
        async with connect(self.server) as s3:
            piece = content(MIB)
            await s3.put_multipart(f"{self.bucket}/source", (piece for _ in range(self.size // MIB)), workers_count=4)
        async with road_to(self.server.url) as road, connect(self.server, url=road.url) as s3:
            await self.copy(s3)
            self.look(whole=True)
            return {"up": road.up, "down": road.down}

    async def copy(self, s3: S3Client) -> None:
        await s3.copy(f"{self.bucket}/source", f"{self.bucket}/target", part_size=self.part_size)

    def look(self, *, whole: bool = False) -> None:
        """No upload is left; the copy is whole, or not there."""
        assert self.witness.uploads(self.bucket) == []
        there = self.witness.exists(self.bucket, "target")
        assert there or not whole
        if there:
            assert self.witness.head(self.bucket, "target")["ContentLength"] == self.size
            self.witness.delete(self.bucket, "target")

    async def cancelled_at(self, direction: str, at: int, way: Cancelled) -> None:
        """Cancel when so many bytes have passed in a direction; nothing more passes on that connection.

        So the answer to CreateMultipartUpload may be cut off, and with it the upload's id: then a note must say so.
        """
        fired: list[bool] = []
        notes: list[str] = []
        async with road_to(self.server.url) as road, connect(self.server, url=road.url) as s3:

            async def job(cancel: Cancel) -> None:
                def strike() -> None:
                    fired.append(True)
                    cancel()

                road.when(direction, at, strike)
                try:
                    await self.copy(s3)
                except BaseException as error:
                    notes.extend(getattr(error, "__notes__", ()))
                    raise
                if not fired:
                    cancel()
                    await anyio.lowlevel.checkpoint()

            await way(job)
            assert (s3._session.places.taken, s3._session.threads.borrowed_tokens) == (0, 0)
        if any("the answer to CreateMultipartUpload was lost" in note for note in notes):
            for key, upload_id in self.witness.uploads(self.bucket):
                self.witness.abort(self.bucket, key, upload_id)
        else:
            assert not [note for note in notes if "may remain" in note]
            await settled(lambda: not self.witness.uploads(self.bucket))
        self.look()

    async def cancelled_anywhere(self, points: int, seed: str) -> None:
        passed = await self.begin()
        random = Random(seed)  # noqa: S311 - where to cancel is no secret
        for number in range(points):
            direction = random.choice(("up", "down"))
            at = random.randrange(1, passed[direction])
            await self.cancelled_at(direction, at, (by_scope, natively)[number % 2])


async def settled(fine: Callable[[], bool]) -> None:
    """A part that was being copied may come to light late."""
    for _ in range(SETTLED):
        if fine():
            return
        await anyio.sleep(0.05)


@ON_RGW
@pytest.mark.timeout(60)
async def test_cancelled_anywhere(server: Server, bucket: str, witness: Witness, anyio_backend_name: str) -> None:
    """At any byte of the requests, and of the answers: nothing is left."""
    copying = Copying(server, bucket, witness, size=24 * MIB, part_size=PART)
    await copying.cancelled_anywhere(6, f"copies on {anyio_backend_name}")


@pytest.mark.soak
@ON_RGW
@pytest.mark.timeout(600)
async def test_200_mib_cancelled_anywhere(
    server: Server, bucket: str, witness: Witness, anyio_backend_name: str
) -> None:
    copying = Copying(server, bucket, witness, size=200 * MIB, part_size=8 * MIB)
    await copying.cancelled_anywhere(40, f"large copies on {anyio_backend_name}")


@ON_RGW
@ON_ONE_LOOP
async def test_mutation_no_abort(
    server: Server, bucket: str, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(upload: MultipartUpload, error: BaseException) -> None:
        """In place of undo()."""

    copying = Copying(server, bucket, witness, size=6 * MIB, part_size=PART)
    passed = await copying.begin()
    monkeypatch.setattr(MultipartUpload, "undo", nothing)
    monkeypatch.setattr("tests.conformance.test_copies.SETTLED", 2)
    with pytest.raises(AssertionError, match="target"):
        await copying.cancelled_at("up", passed["up"] // 2, by_scope)
