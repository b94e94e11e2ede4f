"""delete_objects and delete_prefix: what is named goes, whatever it is called, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck import DeleteResult
from handtruck.errors import NotFound, S3Error, UsageError
from tests.conformance.support import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

ON_ONE_LOOP: Final = pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"], indirect=True)
"""What is asked and understood is the same on all loops; what runs at the same time is tried on each."""

VERSIONED: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
"""rclone keeps no versions."""

ODD: Final = (
    "a b+c%", "a%2Bb", "ü", "日本/\U0001f69a", "<&>\"'", "]]>", "k\tx", "k\nx", "k\rx", "k\x01x", "\ufffe",
    " blank", "blank ", "//x", "/lead", "a//b", "a/../b", "dir/", "ü" * 512,
)  # fmt: skip
REFUSED: Final = {
    "k\nx": "newline-key-404",
    "//x": "refuses-double-slash",
    "/lead": "refuses-leading-slash",
    "a//b": "refuses-double-slash",
    "a/../b": "refuses-dot-segments",
    "ü" * 512: "key-1024-one-segment-500",
}


def done(result: DeleteResult) -> tuple[int, list[str], list[str]]:
    return result.count, sorted(one.key for one in result.deleted), sorted(str(error) for error in result.errors)


async def test_lists_iterators_and_listings(s3: S3Client, bucket: str, witness: Witness) -> None:
    """Each names the same objects; one is not there; another is named twice."""

    def sync() -> Iterator[str]:
        yield from ("a", "b", "missing", "a")

    async def asynchronous() -> AsyncIterator[str]:
        for name in sync():
            yield name

    for names in (
        ["a", "b", "missing", "a"],
        {"a", "b", "missing"},
        sync(),
        asynchronous(),
        {"a": 1, "b": 2, "missing": 3},
    ):
        for key in ("a", "b", "c"):
            witness.put(bucket, key)
        told: list[DeleteResult] = []
        result = await s3.delete_objects(names, bucket, on_batch=told.append)
        assert done(result) == (3, ["a", "b", "missing"], [])
        assert [each.count for each in told] == [3]
        assert witness.keys(bucket) == ["c"]
    result = await s3.delete_objects(s3.iter_objects(bucket), bucket=bucket, quiet=True)
    assert result == DeleteResult(count=1)
    assert witness.keys(bucket) == []
    assert await s3.delete_objects([], bucket) == DeleteResult(count=0)


@ON_ONE_LOOP
async def test_odd_keys(s3: S3Client, bucket: str, server: Server, witness: Witness) -> None:
    """What the server stores is deleted: this object, and no other, whose name is like it."""
    stored = []
    for key in ODD:
        if (await s3.put(f"{bucket}/{key}", b"")).is_success:
            stored.append(key)
        else:
            assert server.faults.get(REFUSED[key])
    others = ["blank", "k", "kx"]
    for key in others:
        witness.put(bucket, key)
    result = await s3.delete_objects(stored, bucket)
    refused = [key for key in stored if server.faults.get("trailing-slash-cannot-be-deleted") and key.endswith("/")]
    gone = sorted(set(stored) - set(refused))
    assert done(result) == (len(gone), gone, [f"{key}: InternalError" for key in refused])
    left = [one.key async for one in s3.iter_objects(bucket, start_after="a")]
    if server.faults.get("control-characters-renamed"):
        stay = ["dir", "k\u2401x", "k\u2409x", "k\u240ax", "k\u240dx"]
        assert sorted(left) == sorted(
            [*stay, *others, *(["ü" * 512] if "key-1024-one-segment-500" in server.faults else [])]
        )
    else:
        assert left == others


async def test_a_prefix(s3: S3Client, bucket: str, witness: Witness) -> None:
    for key in ("logs/1", "logs/2/3", "logs-of-others/1", "a"):
        witness.put(bucket, key)
    told: list[DeleteResult] = []
    result = await s3.delete_prefix(bucket, prefix="logs/", on_batch=told.append)
    assert result == DeleteResult(count=2)
    assert sorted(one.key for each in told for one in each.deleted) == ["logs/1", "logs/2/3"]
    assert witness.keys(bucket) == ["a", "logs-of-others/1"]
    assert await s3.delete_prefix(bucket=bucket, prefix="nothing begins so") == DeleteResult(count=0)
    with pytest.raises(UsageError, match="whole_bucket=True"):
        await s3.delete_prefix(bucket, prefix="")
    assert witness.keys(bucket) == ["a", "logs-of-others/1"]
    assert (await s3.delete_prefix(bucket, prefix="", whole_bucket=True)).count == 2
    assert witness.keys(bucket) == []


@ON_ONE_LOOP
async def test_a_client_of_one_bucket(server: Server, bucket: str, witness: Witness) -> None:
    for key in ("a", "b/1"):
        witness.put(bucket, key)
    async with connect(server, url=f"{server.url}/{bucket}") as one_bucket:
        assert (await one_bucket.delete_objects(["a"])).count == 1
        assert (await one_bucket.delete_prefix(prefix="b/")).count == 1
    assert witness.keys(bucket) == []


@ON_ONE_LOOP
@VERSIONED
async def test_versions(s3: S3Client, bucket: str, witness: Witness) -> None:
    """Without a version objects are hidden; with one it is gone for good; delete_prefix does either."""
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = {
        key: (await s3.put(f"{bucket}/{key}", b"1")).headers["x-amz-version-id"] for key in ("a", "b", " c", "d\x01")
    }
    del first["d\x01"]  # moto cannot list it
    await s3.delete_objects([("d\x01", None)], bucket)
    hidden = await s3.delete_objects(first, bucket)
    assert all(one.delete_marker for one in hidden.deleted)
    markers = {one.key: one.delete_marker_version_id for one in hidden.deleted}
    assert witness.keys(bucket) == []
    # The markers go, and the objects are there again.
    result = await s3.delete_objects(markers.items(), bucket)
    assert {(one.key, one.version_id) for one in result.deleted} == set(markers.items())
    assert sorted(witness.keys(bucket)) == sorted(first)
    result = await s3.delete_objects([("a", first["a"]), ("a", first["a"]), (" c", first[" c"])], bucket)
    assert {(one.key, one.version_id) for one in result.deleted} == {(key, first[key]) for key in ("a", " c")}
    assert witness.keys(bucket) == ["b"]


@ON_ONE_LOOP
@VERSIONED
async def test_all_versions_below_a_prefix(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a/1", "a/2", "a/ 3", "b"):
        for body in (b"1", b"2"):
            witness.put(bucket, key, body)
    await s3.delete(f"{bucket}/a/1")
    assert (await s3.delete_prefix(bucket, prefix="a/2")).count == 1
    assert len([one async for one in s3.iter_object_versions(bucket, prefix="a/")]) == 8
    assert await s3.delete_prefix(bucket, prefix="a/", versions=True) == DeleteResult(count=8)
    assert [one.key async for one in s3.iter_object_versions(bucket)] == ["b", "b"]
    some = s3.iter_object_versions(bucket)
    assert (await s3.delete_objects(some, bucket)).count == 2
    assert [one async for one in s3.iter_object_versions(bucket)] == []


@ON_ONE_LOOP
@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_locked_versions_are_errors_of_their_own(s3: S3Client, bucket: str, witness: Witness) -> None:
    """S3's no to one is no exception; the others are deleted all the same."""
    name = f"{bucket}-locked"
    witness.client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    free = witness.client.put_object(Bucket=name, Key="free", Body=b"")["VersionId"]
    held = {}
    for key in ("held", " held"):
        held[key] = witness.client.put_object(Bucket=name, Key=key, Body=b"")["VersionId"]
        witness.client.put_object_legal_hold(Bucket=name, Key=key, VersionId=held[key], LegalHold={"Status": "ON"})
    result = await s3.delete_objects([("free", free), *held.items()], name)
    assert [(one.key, one.version_id) for one in result.deleted] == [("free", free)]
    assert sorted((error.key, error.version_id, error.code) for error in result.errors) == [
        (key, held[key], "AccessDenied") for key in sorted(held)
    ]
    for key, version_id in held.items():
        witness.client.put_object_legal_hold(Bucket=name, Key=key, VersionId=version_id, LegalHold={"Status": "OFF"})
    assert (await s3.delete_prefix(name, prefix="", whole_bucket=True, versions=True)).count == 2
    witness.client.delete_bucket(Bucket=name)


@ON_ONE_LOOP
async def test_a_missing_bucket(s3: S3Client, bucket: str, server: Server) -> None:
    missing = f"{bucket}-missing"
    for names in (["a"], ["a\x01"]):
        with pytest.raises(NotFound) as caught:
            await s3.delete_objects(names, missing)
        assert (caught.value.code, caught.value.bucket) == ("NoSuchBucket", missing)
        assert "0 objects were deleted" in caught.value.__notes__[0]
    with pytest.raises(NotFound):
        await s3.delete_prefix(missing, prefix="a")


@ON_ONE_LOOP
async def test_what_other_checks_the_servers_make(s3: S3Client, bucket: str, server: Server, witness: Witness) -> None:
    """Whether a wrong MD5 is noticed; and that a quiet request is answered quietly, or not, and understood."""
    witness.put(bucket, "a")
    body = b"<Delete><Quiet>true</Quiet><Object><Key>a</Key></Object></Delete>"
    answer = await s3.post(f"{bucket}/", body, params={"delete": None}, headers={"Content-MD5": "A" * 22 + "=="})
    assert (answer.status_code == 200) is bool(server.faults.get("batch-delete-unverified"))
    assert ("<Deleted>" in answer.text) is bool(server.faults.get("quiet-ignored"))


NONSENSE: Final[dict[str, Callable[[S3Client], Any]]] = {
    "no bucket": lambda s3: s3.delete_objects(["a"]),
    "one name": lambda s3: s3.delete_objects("key", "bucket"),
    "bytes": lambda s3: s3.delete_objects(b"key", "bucket"),  # type: ignore[arg-type]
    "a number": lambda s3: s3.delete_objects(7, "bucket"),  # type: ignore[arg-type]
    "an empty key": lambda s3: s3.delete_objects(["a", ""], "bucket"),
    "no key": lambda s3: s3.delete_objects(["a", None], "bucket"),  # type: ignore[list-item]
    "an empty version": lambda s3: s3.delete_objects([("a", "")], "bucket"),
    "a tuple of three": lambda s3: s3.delete_objects([("a", "b", "c")], "bucket"),  # type: ignore[list-item]
    "half a surrogate": lambda s3: s3.delete_objects(["a", "\ud800"], "bucket"),
    "nobody who deletes": lambda s3: s3.delete_objects(["a"], "bucket", workers_count=0),
    "no such option": lambda s3: s3.delete_objects(["a"], "bucket", version_id="v"),  # type: ignore[call-arg]
    "everything": lambda s3: s3.delete_prefix("bucket", prefix=""),
    "everything, and not": lambda s3: s3.delete_prefix("bucket", prefix="a", whole_bucket=True),
    "a prefix in place of a bucket": lambda s3: s3.delete_prefix("bucket/logs", prefix="logs"),
}


@ON_ONE_LOOP
@pytest.mark.parametrize("call", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_nonsense_is_refused_before_anything_is_sent(
    call: Callable[[S3Client], Any], s3: S3Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def sent(draft: object) -> None:
        raise AssertionError(draft)

    monkeypatch.setattr(s3._session.sender, "prepare", sent)
    with pytest.raises(UsageError):
        await call(s3)


@ON_ONE_LOOP
async def test_a_name_that_is_none_ends_an_iterator(s3: S3Client, bucket: str, witness: Witness) -> None:
    """What came before it may be deleted by then; the error says so."""
    witness.put(bucket, "a")
    names = iter(["a", 7])
    with pytest.raises(UsageError, match="a key must be text") as caught:
        await s3.delete_objects(names, bucket)  # type: ignore[arg-type]
    assert "objects were deleted" in caught.value.__notes__[0]


@ON_ONE_LOOP
@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_a_server_without_versions(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    assert server.faults.get("no-versions")
    witness.put(bucket, "a/1")
    with pytest.raises(S3Error) as caught:
        await s3.delete_prefix(bucket, prefix="a/", versions=True)
    assert caught.value.code == "NotImplemented"
    assert witness.keys(bucket) == ["a/1"]
