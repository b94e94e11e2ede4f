"""Listings beyond pages: flat, folder by folder, by versions, by many requests at once. Every object once.

Pages are those of test_listing.py; what is asked of a server that keeps no versions is asserted, too.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck import Folder, ObjectVersion
from handtruck.errors import InvalidResponse, NotFound, S3Error, UsageError
from tests.conformance.support import connect, listed

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

KEYS: Final = ("a/1", "a/2", "a/b/3", "a/b/c/4", "b+ü/5", "c&d", "d e/6", "f")
"""In the order of their names."""

ON_ONE_LOOP: Final = pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"], indirect=True)
"""What is asked and understood is the same on all loops; what runs at the same time is tried on each."""

VERSIONED: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
"""rclone keeps no versions: test_a_server_without_versions."""


async def all_of(items: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in items]


async def names(items: AsyncIterable[Any]) -> list[str]:
    return [item.key async for item in items]


@pytest.fixture
def filled(bucket: str, witness: Witness) -> str:
    """A bucket with some keys in it."""
    for key in KEYS:
        witness.put(bucket, key, key.encode())
    return bucket


# --- flat


@ON_ONE_LOOP
async def test_flat(s3: S3Client, filled: str) -> None:
    for size in (None, 1, 3, len(KEYS)):
        assert await names(s3.iter_objects(filled, max_keys=size)) == list(KEYS)
        assert await names(s3.iter_objects(bucket=filled, prefix="a/", max_keys=size)) == list(KEYS[:4])
        assert await names(s3.iter_objects(filled, start_after="a/b/3", max_keys=size)) == list(KEYS[3:])
    assert await names(s3.iter_objects(filled, prefix="nothing begins so")) == []
    first = await anext(s3.iter_objects(filled))
    (page,) = await listed(s3.list_objects_v2(filled))
    assert first == page[0]


@ON_ONE_LOOP
async def test_a_flat_listing_that_is_left_and_taken_up_again(s3: S3Client, filled: str) -> None:
    objects = s3.iter_objects(filled, max_keys=3)
    found = []
    async for one in objects:
        found.append(one.key)
        if len(found) == 2:
            break
    assert found + await names(objects) == list(KEYS)
    assert await names(objects) == []


@ON_ONE_LOOP
async def test_owners_are_told_when_they_are_asked_for(s3: S3Client, filled: str, server: Server) -> None:
    owners = {one.owner async for one in s3.iter_objects(filled, fetch_owner=True)}
    assert len(owners) == 1
    assert (owners == {None}) is bool(server.faults.get("fetch-owner-ignored"))


# --- folders


async def test_a_walk(s3: S3Client, filled: str) -> None:
    found = [(prefix, prefixes, [one.key for one in objects]) async for prefix, prefixes, objects in s3.walk(filled)]
    assert found == [
        ("", ["a/", "b+ü/", "d e/"], ["c&d", "f"]),
        ("a/", ["a/b/"], ["a/1", "a/2"]),
        ("a/b/", ["a/b/c/"], ["a/b/3"]),
        ("a/b/c/", [], ["a/b/c/4"]),
        ("b+ü/", [], ["b+ü/5"]),
        ("d e/", [], ["d e/6"]),
    ]


@ON_ONE_LOOP
async def test_a_walk_that_is_pruned_and_turned_round(s3: S3Client, filled: str) -> None:
    seen = []
    async for prefix, prefixes, _ in s3.walk(bucket=filled):
        seen.append(prefix)
        if not prefix:
            prefixes.reverse()
        if "a/b/" in prefixes:
            prefixes.remove("a/b/")
    assert seen == ["", "d e/", "b+ü/", "a/"]


@ON_ONE_LOOP
async def test_a_walk_below_a_prefix(s3: S3Client, filled: str) -> None:
    folders: list[Folder] = await all_of(s3.walk(filled, prefix="a/b/"))
    assert [folder.prefix for folder in folders] == ["a/b/", "a/b/c/"]
    half: list[Folder] = await all_of(s3.walk(filled, prefix="a"))
    assert [folder.prefix for folder in half] == ["a", "a/", "a/b/", "a/b/c/"]
    assert await all_of(s3.walk(filled, prefix="nothing/")) == [Folder("nothing/", [], [])]


# --- by many requests at once


@pytest.mark.parametrize("workers", [1, 8])
async def test_in_parallel(s3: S3Client, filled: str, workers: int) -> None:
    for size in (None, 1):
        async with s3.list_objects_parallel(filled, workers_count=workers, max_keys=size) as objects:
            assert sorted(await names(objects)) == sorted(KEYS)
            assert await names(objects) == []
        async with s3.list_objects_parallel(bucket=filled, prefix="a/b", workers_count=workers) as objects:
            assert sorted(await names(objects)) == ["a/b/3", "a/b/c/4"]
    async with s3.list_objects_parallel(filled, prefix="nothing begins so", workers_count=workers) as objects:
        assert await names(objects) == []


async def test_a_parallel_listing_that_is_left(s3: S3Client, filled: str) -> None:
    async with s3.list_objects_parallel(filled, max_keys=1, workers_count=2) as objects:
        assert (await anext(objects)).key in KEYS
    with pytest.raises(UsageError, match="async with"):
        await anext(objects)
    with pytest.raises(UsageError, match="entered once"):
        await objects.__aenter__()
    assert s3._session.places.taken == 0


# --- versions


async def put_versions(s3: S3Client, witness: Witness, bucket: str) -> list[tuple[str, str, bool, bool]]:
    """Two versions of two keys, and one that is hidden: as they are to be listed."""
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    expected = []
    for key in ("a b+c%", "d/1", "ü"):
        ids = [(await s3.put(f"{bucket}/{key}", b"x" * number)).headers["x-amz-version-id"] for number in (1, 2)]
        if key == "d/1":
            ids.append((await s3.delete(f"{bucket}/{key}")).headers["x-amz-version-id"])
        newest = len(ids) - 1
        expected += [(key, ids[n], n == newest, n == 2) for n in range(newest, -1, -1)]
    return expected


def facts(version: ObjectVersion) -> tuple[str, str | None, bool, bool]:
    return version.key, version.version_id, version.is_latest, version.is_delete_marker


@ON_ONE_LOOP
@VERSIONED
async def test_versions(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    expected = await put_versions(s3, witness, bucket)
    for size in (None, 1, 2, 3, len(expected), len(expected) + 1):
        found = await all_of(s3.iter_object_versions(bucket, max_keys=size))
        if not server.faults.get("versions-markers-last"):
            assert [facts(one) for one in found] == expected
        assert sorted(facts(one) for one in found) == sorted(expected)
    for one in await all_of(s3.iter_object_versions(bucket)):
        assert (one.size, one.etag, one.storage_class) == (None,) * 3 if one.is_delete_marker else one.size in (1, 2)
        assert one.last_modified is not None
        assert abs(datetime.now(UTC) - one.last_modified) < timedelta(minutes=2)
        assert one.owner is not None


@ON_ONE_LOOP
@VERSIONED
async def test_versions_as_the_witness_sees_them(s3: S3Client, bucket: str, witness: Witness) -> None:
    await put_versions(s3, witness, bucket)
    seen = witness.client.list_object_versions(Bucket=bucket)
    theirs = [(one["Key"], one["VersionId"], one["IsLatest"], False) for one in seen["Versions"]]
    theirs += [(one["Key"], one["VersionId"], one["IsLatest"], True) for one in seen["DeleteMarkers"]]
    assert sorted(theirs) == sorted([facts(one) async for one in s3.iter_object_versions(bucket)])


@ON_ONE_LOOP
@VERSIONED
async def test_pages_of_versions(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    expected = await put_versions(s3, witness, bucket)
    pages = await all_of(s3.list_object_versions(bucket, max_keys=3))
    assert all(len(page) <= 3 for page in pages)
    assert sum(len(page) for page in pages) == len(expected)
    for size in (None, 1):
        folded = await all_of(s3.list_object_versions(bucket, delimiter="/", max_keys=size))
        assert [prefix for page in folded for prefix in page.common_prefixes] == ["d/"]
        assert {one.key for page in folded for one in page} == {"a b+c%", "ü"}
    below = await all_of(s3.iter_object_versions(bucket, prefix="d/"))
    assert sorted(facts(one) for one in below) == sorted(each for each in expected if each[0] == "d/1")
    behind = await names(s3.iter_object_versions(bucket, key_marker="a b+c%"))
    assert {"d/1", "ü"} <= set(behind)
    assert ("a b+c%" in behind) is bool(server.faults.get("versions-key-marker-inclusive"))
    one, newer = expected[1], expected[0]
    after = await all_of(s3.iter_object_versions(bucket, key_marker=newer[0], version_id_marker=newer[1]))
    assert one[:2] in {(each.key, each.version_id) for each in after}
    assert newer[:2] not in {(each.key, each.version_id) for each in after}


@ON_ONE_LOOP
@VERSIONED
async def test_versions_of_a_bucket_that_keeps_none(s3: S3Client, filled: str) -> None:
    found = await all_of(s3.iter_object_versions(filled))
    assert [facts(one) for one in found] == [(key, "null", True, False) for key in KEYS]


@ON_ONE_LOOP
@VERSIONED
async def test_versions_of_keys_that_xml_cannot_carry(
    s3: S3Client, bucket: str, witness: Witness, server: Server
) -> None:
    """Moto encodes nothing: what it lists is not believed."""
    odd = ["\x01", "a\rb", "x\x1fy"]
    for key in odd:
        await s3.put(f"{bucket}/{key}", b"")
    if server.faults.get("versions-encoding-ignored"):
        async with connect(server, max_attempts=1) as once:
            with pytest.raises(InvalidResponse, match="not url-encoded"):
                await all_of(once.list_object_versions(bucket))
        return
    for size in (None, 1):
        assert await names(s3.iter_object_versions(bucket, max_keys=size)) == odd


@ON_ONE_LOOP
@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_markers_of_versions(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """The reason why a marker is looked for among the names of its page."""
    for key in ("a b", "c"):
        witness.put(bucket, key)
    answer = await s3.get(f"{bucket}/", params={"versions": None, "encoding-type": "url", "max-keys": 1})
    assert "<EncodingType>url</EncodingType>" in answer.text
    assert ("<NextKeyMarker>a b</NextKeyMarker>" in answer.text) is bool(
        server.faults.get("versions-marker-not-encoded")
    )


@ON_ONE_LOOP
@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_a_server_without_versions(s3: S3Client, filled: str, server: Server) -> None:
    assert server.faults.get("no-versions")
    with pytest.raises(S3Error) as caught:
        await all_of(s3.iter_object_versions(filled))
    assert (caught.value.status, caught.value.code) == (501, "NotImplemented")


# --- what makes no sense


async def test_a_missing_bucket(s3: S3Client, bucket: str) -> None:
    missing = f"{bucket}-missing"
    for listing in (s3.iter_objects(missing), s3.walk(missing)):
        with pytest.raises(NotFound):
            await anext(listing)
    async with s3.list_objects_parallel(missing) as objects:
        with pytest.raises(NotFound):
            await anext(objects)
        with pytest.raises(NotFound) as caught:
            await anext(objects)
    assert (caught.value.operation, caught.value.bucket) == ("ListObjectsV2", missing)


NONSENSE: Final[dict[str, Callable[[S3Client], object]]] = {
    "no bucket": lambda s3: s3.iter_objects(),
    "an empty page": lambda s3: s3.iter_objects("bucket", max_keys=0),
    "an empty page in parallel": lambda s3: s3.list_objects_parallel("bucket", max_keys=0),
    "an empty page of versions": lambda s3: s3.list_object_versions("bucket", max_keys=0),
    "more than a bucket": lambda s3: s3.iter_object_versions("bucket/folder"),
    "two buckets": lambda s3: s3.walk("bucket", bucket="other"),
    "a walk without a delimiter": lambda s3: s3.walk("bucket", delimiter=""),
    "parallel without a delimiter": lambda s3: s3.list_objects_parallel("bucket", delimiter=""),
    "nobody who lists": lambda s3: s3.list_objects_parallel("bucket", workers_count=0),
    "a version of no key": lambda s3: s3.list_object_versions("bucket", version_id_marker="v"),
    "no such option": lambda s3: s3.iter_objects("bucket", owner="x"),  # type: ignore[call-arg]
    "an option of the wrong type": lambda s3: s3.walk("bucket", request_payer="yes"),  # type: ignore[arg-type]
}


@ON_ONE_LOOP
@pytest.mark.parametrize("call", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_nonsense_is_refused_at_once(call: Callable[[S3Client], object], s3: S3Client) -> None:
    with pytest.raises(UsageError):
        call(s3)
