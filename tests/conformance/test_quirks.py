"""What may be different at a server, proven on servers: each quirk changes what is sent, and the result is right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck import Quirks
from handtruck.errors import InvalidResponse, PreconditionFailed, UsageError
from handtruck.protocol import parts, quirks
from handtruck.protocol.parts import MIB
from handtruck.transfer import jobs, sources
from tests.conformance.support import PART, SEVERAL, connect, content, file_with, listed

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"], indirect=True)]

KEYS: Final = ("a/1", "a/2", "a/b/3", "a/b/c/4", "b+ü/5", "c&d", "d e/6", "e%2Fe", "f")
FIRST: Final = Quirks(list_version=1)
OTHER: Final = '"00000000000000000000000000000000"'

CONDITIONS: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
"""rclone looks at no condition of a PUT: put-if-match-ignored."""

COPIES: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
"""rclone cannot copy in parts: test_a_server_that_does_not_copy_in_parts."""


@pytest.fixture
def filled(bucket: str, witness: Witness) -> str:
    """A bucket with some keys in it."""
    for key in KEYS:
        witness.put(bucket, key, key.encode())
    return bucket


# --- listings


async def everything(s3: S3Client, bucket: str, **arguments: Any) -> tuple[list[str], list[str]]:
    pages = await listed(s3.list_objects_v2(bucket, **arguments))
    return [one.key for page in pages for one in page], [each for page in pages for each in page.common_prefixes]


@pytest.mark.parametrize("encoding", ["url", None])
async def test_the_first_version_lists_the_same(
    s3: S3Client, filled: str, server: Server, encoding: str | None
) -> None:
    async with connect(server, quirks=FIRST) as first:
        for size in (1, 2, None):
            asked: dict[str, Any] = {"max_keys": size, "encoding_type": encoding}
            for flat in ({}, {"prefix": "a/"}, {"start_after": "a/b/3"}, {"prefix": "a/", "start_after": "a/2"}):
                assert await everything(first, filled, **asked, **flat) == await everything(s3, filled, **asked, **flat)
            for prefix in ("", "a/"):
                keys, folders = await everything(first, filled, **asked, prefix=prefix, delimiter="/")
                same = await everything(s3, filled, **asked, prefix=prefix, delimiter="/")
                if encoding and server.faults.get("v1-prefixes-not-encoded"):
                    folders = [folder.replace("b ü/", "b+ü/") for folder in folders]
                if server.faults.get("v1-prefixes-on-every-page"):
                    assert size is None or prefix or len(folders) > len(same[1])
                    folders = sorted(set(folders))
                assert (keys, folders) == same


async def test_where_the_next_page_begins(filled: str, server: Server, witness: Witness) -> None:
    """Botocore asks for encoded names, and decodes the marker, too."""
    said = witness.client.list_objects(Bucket=filled, MaxKeys=2, Delimiter="/")
    assert said["IsTruncated"]
    if server.faults.get("v1-marker-is-a-token"):
        assert said["NextMarker"] not in (*KEYS, "a/", "b+ü/", "d e/")
    else:
        assert said["NextMarker"] == ("b ü/" if server.faults.get("v1-marker-not-encoded") else "b+ü/")


async def test_the_first_version_everywhere(filled: str, server: Server, witness: Witness) -> None:
    async with connect(server, quirks=FIRST) as s3:
        assert [one.key async for one in s3.iter_objects(filled, max_keys=2)] == list(KEYS)
        folders = [folder async for folder in s3.walk(filled, prefix="a/")]
        assert [(folder.prefix, len(folder.objects)) for folder in folders] == [("a/", 2), ("a/b/", 1), ("a/b/c/", 1)]
        async with s3.list_objects_parallel(filled, prefix="a/", max_keys=1) as objects:
            found = sorted([one.key async for one in objects])
        if server.faults.get("v1-prefixes-on-every-page"):
            assert len(found) > 4
            found = sorted(set(found))
        assert found == list(KEYS[:4])
        gone = await s3.delete_prefix(filled, prefix="a/")
    assert (gone.count, gone.errors) == (4, ())
    assert witness.keys(filled) == list(KEYS[4:])


async def test_listings_that_are_not_encoded(s3: S3Client, filled: str, server: Server) -> None:
    async with connect(server, quirks=Quirks(encoded_lists=False)) as plain:
        for version in (plain, s3):
            assert await everything(version, filled) == (list(KEYS), [])
        await plain.put(f"{filled}/g\x01", b"")
        with pytest.raises(InvalidResponse, match="XML cannot carry"):
            await everything(plain, filled)
        assert await everything(plain, filled, encoding_type="url") == ([*KEYS, "g\x01"], [])
    assert await everything(s3, filled) == ([*KEYS, "g\x01"], [])


# --- conditions


@CONDITIONS
async def test_if_match_without_quotes(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    etag = f'"{witness.put(bucket, "key", b"first")}"'
    quoted = await s3.put(f"{bucket}/key", b"second", if_match=etag)
    assert quoted.status_code == (412 if server.faults.get("put-if-match-wants-unquoted") else 200)
    etag = witness.head(bucket, "key")["ETag"]
    async with connect(server, quirks="ceph") as ceph:
        wrong = await ceph.put(f"{bucket}/key", b"third", if_match=OTHER)
        assert (wrong.status_code, witness.get(bucket, "key") == b"third") == (412, False)
        with pytest.raises(PreconditionFailed):
            await ceph.upload(f"{bucket}/key", b"third", if_match=OTHER)
        right = await ceph.put(f"{bucket}/key", b"third", if_match=etag)
        assert (right.status_code, witness.get(bucket, "key")) == (200, b"third")
        await ceph.upload(f"{bucket}/key", b"fourth", if_match=witness.head(bucket, "key")["ETag"])
    assert witness.get(bucket, "key") == b"fourth"


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_mutation_quotes_that_stay(
    monkeypatch: pytest.MonkeyPatch, s3: S3Client, bucket: str, witness: Witness, server: Server
) -> None:
    monkeypatch.setitem(quirks.PRESETS, "ceph", quirks.PRESETS["minio"])
    with pytest.raises(AssertionError):
        await test_if_match_without_quotes(s3, bucket, witness, server)


# --- parts


async def test_fewer_parts_are_larger(bucket: str, server: Server, witness: Witness, tmp_path: Path) -> None:
    data = content(SEVERAL)
    file = file_with(tmp_path / "file", data)
    async with connect(server, quirks=Quirks(max_parts=2)) as s3:
        done = await s3.upload(f"{bucket}/file", file, part_size=PART)
        assert (done.parts, witness.get(bucket, "file") == data) == (2, True)
        done = await s3.upload(f"{bucket}/memory", data, part_size=PART)
        assert (done.parts, witness.get(bucket, "memory") == data) == (2, True)


async def test_small_parts_are_made_larger(bucket: str, server: Server, witness: Witness, tmp_path: Path) -> None:
    data = content(SEVERAL)
    file = file_with(tmp_path / "file", data)
    async with connect(server, quirks=Quirks(min_part_size=6 * MIB)) as s3:
        for name, source in (("file", file), ("memory", data), ("stream", iter([data[:PART], data[PART:]]))):
            done = await s3.upload(f"{bucket}/{name}", source, part_size=PART)
            assert (name, done.parts, witness.get(bucket, name) == data) == (name, 2, True)


async def test_mutation_as_many_parts_as_at_s3(
    monkeypatch: pytest.MonkeyPatch, bucket: str, server: Server, witness: Witness, tmp_path: Path
) -> None:
    fitting = parts.fitting_part_size
    for module in (sources, jobs):
        monkeypatch.setattr(module, "fitting_part_size", lambda size, part_size, _: fitting(size, part_size))
    with pytest.raises(AssertionError):
        await test_fewer_parts_are_larger(bucket, server, witness, tmp_path)


@COPIES
async def test_copies_in_fewer_parts(bucket: str, server: Server, witness: Witness) -> None:
    witness.put(bucket, "key", content(SEVERAL))
    async with connect(server, quirks=Quirks(max_parts=2)) as s3:
        done = await s3.copy(f"{bucket}/key", f"{bucket}/copy", part_size=PART)
    assert (done.parts, witness.get(bucket, "copy") == content(SEVERAL)) == (2, True)


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_a_server_that_does_not_copy_in_parts(
    monkeypatch: pytest.MonkeyPatch, bucket: str, server: Server, witness: Witness
) -> None:
    """What is too large for one request of S3's goes in one all the same."""
    monkeypatch.setattr("handtruck.transfer.copy.MAX_PART_SIZE", 10)
    witness.put(bucket, "key", b"more than ten bytes")
    async with connect(server, quirks="rclone") as s3:
        with pytest.raises(UsageError, match="cannot copy in parts"):
            await s3.copy(f"{bucket}/key", f"{bucket}/copy", part_size=PART)
        done = await s3.move(f"{bucket}/key", f"{bucket}/copy")
    assert (done.parts, witness.get(bucket, "copy")) == (0, b"more than ten bytes")
    async with connect(server) as s3:
        with pytest.raises(InvalidResponse):
            await s3.move(f"{bucket}/copy", f"{bucket}/again")


# --- deletes


@pytest.mark.parametrize("most", [1, 3])
async def test_deletes_of_few_objects_at_a_time(filled: str, server: Server, witness: Witness, most: int) -> None:
    told: list[int] = []
    async with connect(server, quirks=Quirks(max_deletes=most)) as s3:
        done = await s3.delete_objects(KEYS[4:], filled, on_batch=lambda batch: told.append(batch.count))
        assert sorted(one.key for one in done.deleted) == sorted(KEYS[4:])
        assert sorted(told) == ([1] * 5 if most == 1 else [2, 3])
        assert (await s3.delete_prefix(filled, prefix="a/")).count == 4
    assert witness.keys(filled) == []
