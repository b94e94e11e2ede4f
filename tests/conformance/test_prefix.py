"""A client of a prefix: what it calls by a name is below the prefix, and nothing else is ever touched.

Everything is done twice, by a client of a bucket and by one of a part of another bucket: what both are told is the
same, and so is what they leave there, but for the prefix.
"""

from __future__ import annotations

import json
from base64 import b64decode
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck.errors import NotFound, UsageError
from handtruck.protocol.address import Location, encode_path
from handtruck.protocol.operations import multipart
from tests.conformance.support import PART, SEVERAL, connect, content, http_client

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"], indirect=True)]

PREFIX: Final = "a b/ü+/"
OTHERS: Final = ("a b/", "a b/other", "a b/ü", "a b/ü+0", "k1", "k\x01", "z")
"""Keys that are not below the prefix, before and behind it."""

KEYS: Final = ("f/1", "f/2", "f/g/3", "k1", "k2+ü", "k\x01", " blank ", "x%2Fy")
CAPABLE: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)


@asynccontextmanager
async def below(server: Server, bucket: str, prefix: str) -> AsyncGenerator[S3Client]:
    """A client of what is below a prefix of a bucket."""
    async with connect(server, url=f"{server.url}/{bucket}") as s3:
        s3._session.endpoint = replace(s3._session.endpoint, prefix=prefix)
        yield s3


@pytest.fixture
async def both(server: Server, bucket: str, witness: Witness, anyio_backend: object) -> AsyncIterator[list[S3Client]]:
    """A client of a bucket, and one of a part of another, where others have something, too."""
    other = f"{bucket}-other"
    witness.create_bucket(other)
    for key in others(server):
        witness.put(other, key, b"of others")
    try:
        async with below(server, bucket, "") as plain, below(server, other, PREFIX) as part:
            yield [plain, part]
        assert {key: witness.get(other, key) for key in others(server)} == dict.fromkeys(others(server), b"of others")
        there = [key for key in witness.keys(other) if key not in others(server)]
        assert all(key.startswith(PREFIX) for key in there)
        assert sorted(witness.keys(bucket)) == sorted(key.removeprefix(PREFIX) for key in there)
        assert uploads_in(witness, bucket) == [key.removeprefix(PREFIX) for key in uploads_in(witness, other)]
    finally:
        for key, upload_id in witness.uploads(other):
            witness.abort(other, key, upload_id)
        witness.discard(other)


def others(server: Server) -> list[str]:
    """Rclone keeps files: no file is a folder, too."""
    return ["k1", "k\x01", "z", "a b/other"] if server.name == "rclone" else list(OTHERS)


def uploads_in(witness: Witness, bucket: str) -> list[str]:
    return sorted(key for key, _ in witness.uploads(bucket))


async def told(items: Any) -> list[Any]:
    return [item async for item in items]


async def same(calls: list[Any]) -> Any:
    """What both say."""
    first, second = [await call for call in calls]
    assert first == second
    return first


async def filled(both: list[S3Client]) -> None:
    for s3 in both:
        for key in KEYS:
            assert (await s3.put(key, key.encode())).status_code == 200


async def test_objects(both: list[S3Client], server: Server) -> None:
    await filled(both)
    for s3 in both:
        assert (await s3.get("k1")).content == b"k1"
        assert (await s3.stat("k1")).key == "k1"
        assert await s3.exists("k1")
        assert not await s3.exists("other")
        await s3.delete("k1")
        with pytest.raises(NotFound, match=r"k1: ") as caught:
            await s3.stat("k1")
        assert caught.value.key == s3._session.endpoint.prefix + "k1"
        await s3.upload("several", content(SEVERAL), part_size=PART)


async def test_listings(both: list[S3Client]) -> None:
    await filled(both)

    async def keys(s3: S3Client, **asked: Any) -> tuple[list[str], list[str]]:
        pages = await told(s3.list_objects_v2(**asked))
        return [one.key for page in pages for one in page], [each for page in pages for each in page.common_prefixes]

    for asked in ({}, {"prefix": "f/"}, {"start_after": "f/2"}, {"delimiter": "/"}, {"prefix": "nothing"}):
        for size in (None, 2):
            await same([keys(s3, **asked, max_keys=size) for s3 in both])
    assert sorted((await keys(both[1]))[0]) == sorted(KEYS)
    folders = await same([_folders(s3) for s3 in both])
    assert folders[0][:2] == ("", ["f/"])
    for s3 in both:
        async with s3.list_objects_parallel() as objects:
            assert sorted([one.key async for one in objects]) == sorted(KEYS)


async def _folders(s3: S3Client) -> list[Any]:
    return [(folder.prefix, folder.prefixes, [one.key for one in folder.objects]) async for folder in s3.walk()]


async def test_listings_by_the_first_version(both: list[S3Client]) -> None:
    await filled(both)
    for s3 in both:
        s3._session.chosen = replace(s3._session.quirks, list_version=1)
    await same([_keys(s3.iter_objects(max_keys=2)) for s3 in both])
    assert sorted(await _keys(both[1].iter_objects())) == sorted(KEYS)


async def _keys(items: Any) -> list[str]:
    return [one.key async for one in items]


@CAPABLE
async def test_versions(both: list[S3Client], witness: Witness, bucket: str) -> None:
    for name in (bucket, f"{bucket}-other"):
        witness.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    for s3 in both:
        for body in (b"1", b"2"):
            await s3.put("k1", body)
            await s3.put("k2", body)
        await s3.delete("k1")
        found = await told(s3.iter_object_versions())
        for size in (1, 2):
            paged = await told(s3.iter_object_versions(max_keys=size))
            assert sorted(map(str, paged)) == sorted(map(str, found))  # moto's order: versions-markers-last
        assert sorted((one.key, one.is_delete_marker) for one in found) == sorted(
            [("k1", True), ("k1", False), ("k1", False), ("k2", False), ("k2", False)]
        )
        assert {one.key for one in await told(s3.iter_object_versions(prefix="k2"))} == {"k2"}
        gone = await s3.delete_objects(found)
        assert (gone.errors, {one.key for one in gone.deleted}) == ((), {"k1", "k2"})
        await s3.put("k3", b"")
        assert (await s3.delete_prefix(prefix="", whole_bucket=True, versions=True)).count == 1
        assert await told(s3.iter_object_versions()) == []


async def test_deletes(both: list[S3Client]) -> None:
    await filled(both)
    for s3 in both:
        gone = await s3.delete_objects(["f/1", "k\x01", " blank ", "z"])
        assert (gone.errors, sorted(one.key for one in gone.deleted)) == ((), [" blank ", "f/1", "k\x01", "z"])
        assert (await s3.delete_prefix(prefix="f/")).count == 2
        left = await told(s3.iter_objects())
        gone = await s3.delete_objects(left)
        assert sorted(one.key for one in gone.deleted) == ["k1", "k2+ü", "x%2Fy"]
        await s3.put("again", b"")
        assert (await s3.delete_prefix(prefix="", whole_bucket=True)).count == 1


async def test_copies(both: list[S3Client], bucket: str, witness: Witness) -> None:
    for s3 in both:
        prefix, own = s3._session.endpoint.prefix, s3._session.endpoint.bucket
        assert own is not None
        await s3.put("from", b"body")
        await s3.copy("from", "to")
        await s3.copy("from", "by-bucket", source_bucket=own)
        await s3.move("to", "moved")
        with pytest.raises(UsageError, match="copied onto itself"):
            await s3.copy("from", "from", source_bucket=own)
        assert sorted(key for key in witness.keys(own, prefix)) == sorted(
            prefix + key for key in ("from", "by-bucket", "moved")
        )
    # the prefix is that of one bucket
    await both[1].copy("from", "from-the-other", source_bucket=bucket)
    await both[0].put("from-the-other", b"")


async def test_a_prefix_that_is_an_object(server: Server, bucket: str, witness: Witness) -> None:
    """What is called as the prefix is has the empty name."""
    if server.faults.get("trailing-slash-lists-dir"):
        return
    witness.put(bucket, PREFIX, b"")
    async with below(server, bucket, PREFIX) as s3:
        found = await told(s3.iter_objects())
        assert [one.key for one in found] == [""]
        assert [page[0].key for page in await told(s3.list_objects_v2(max_keys=1))] == [""]
        with pytest.raises(UsageError, match="empty"):
            await s3.delete_objects([""])
        assert (await s3.delete_objects(found)).count == 1
    assert witness.keys(bucket) == []


async def test_uploads(both: list[S3Client], server: Server, witness: Witness, bucket: str) -> None:
    witness.create_upload(f"{bucket}-other", "f/of-others")
    for s3 in both:
        endpoint = s3._session.endpoint
        for key in ("f/1", "f/2", "g"):
            witness.create_upload(endpoint.bucket or "", endpoint.prefix + key)
        assert sorted(await _keys(s3.list_multipart_uploads(max_uploads=1))) == ["f/1", "f/2", "g"]
        found = await told(s3.list_multipart_uploads(prefix="f/"))
        assert sorted(one.key for one in found) == ["f/1", "f/2"]
        await s3.abort_multipart_upload(found[0].key, found[0].upload_id)
        if server.faults.get("uploads-begun-in-2010"):
            assert len(await s3.abort_stale_uploads(older_than=timedelta(days=1))) == 2
            continue
        s3._session.clock = _tomorrow(s3._session.clock)
        done = await s3.abort_stale_uploads(older_than=timedelta(hours=1))
        assert sorted(one.key for one in done) == sorted({"f/1", "f/2", "g"} - {found[0].key})
    left = uploads_in(witness, f"{bucket}-other")
    assert left == ["f/of-others"]
    for key, upload_id in witness.uploads(f"{bucket}-other"):
        witness.abort(f"{bucket}-other", key, upload_id)


def _tomorrow(clock: Any) -> Any:
    return lambda: clock() + timedelta(days=1)


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_forms_and_urls(both: list[S3Client]) -> None:
    for s3 in both:
        prefix = s3._session.endpoint.prefix
        post = await s3.presign_post("form/${filename}")
        assert post.fields["key"] == f"{prefix}form/${{filename}}"
        conditions = json.loads(b64decode(str.__str__(post.fields["policy"])))["conditions"]
        assert ["starts-with", "$key", f"{prefix}form/"] in conditions
        put, get = await s3.presign("PUT", "signed"), await s3.presign("GET", "form/f")
        async with http_client() as http:
            sent = await http.post(post.url, data=dict(post.fields), files={"file": ("f", b"of a form")})
            assert sent.is_success
            assert (await http.put(str(put), content=b"signed")).is_success
            assert (await http.get(str(get))).content == b"of a form"
        assert (await s3.get("signed")).content == b"signed"


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_what_belongs_to_an_object(both: list[S3Client]) -> None:
    for s3 in both:
        await s3.put("k", b"body")
        await s3.put_object_tags("k", {"a": "b"})
        assert await s3.get_object_tags("k") == {"a": "b"}
        assert (await s3.get_object_attributes("k", attributes=["ObjectSize"])).size == 4


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_mutation_keys_of_uploads_taken_for_names(
    monkeypatch: pytest.MonkeyPatch, both: list[S3Client], server: Server, witness: Witness, bucket: str
) -> None:
    monkeypatch.setattr(multipart, "named", lambda _, one: one)
    with pytest.raises(AssertionError):
        await test_uploads(both, server, witness, bucket)
    for each in (bucket, f"{bucket}-other"):
        for key, upload_id in witness.uploads(each):
            witness.abort(each, key, upload_id)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_mutation_names_taken_for_keys(
    monkeypatch: pytest.MonkeyPatch, server: Server, bucket: str, witness: Witness
) -> None:
    """A control character goes by a request of its own."""
    witness.put(bucket, "k\x01", b"of others")
    async with below(server, bucket, PREFIX) as s3:
        await s3.put("k\x01", b"")
        monkeypatch.setattr(Location, "below", _outside)
        await s3.delete_objects(["k\x01"])
    assert witness.keys(bucket) == [f"{PREFIX}k\x01"]


def _outside(self: Location, name: str) -> Location:
    return Location(path=f"{self.path}{encode_path(name)}", bucket=self.bucket, key=name)
