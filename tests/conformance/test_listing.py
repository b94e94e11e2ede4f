"""list_objects_v2: every key once, in order, however the pages are cut and the bucket is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck.errors import InvalidResponse, NotFound, UsageError
from handtruck.protocol.checksums import bare_etag
from tests.conformance.support import connect, etag_of, keys_in, listed

if TYPE_CHECKING:
    from handtruck import ObjectPage, S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

KEYS: Final = ("a/1", "a/2", "a/b/3", "b+ü/4", "c&d", "d e/5", "f")


@pytest.fixture
def filled(bucket: str, witness: Witness) -> str:
    """A bucket with some keys in it."""
    for key in KEYS:
        witness.put(bucket, key, key.encode())
    return bucket


def keys(pages: list[ObjectPage]) -> list[str]:
    return [item.key for page in pages for item in page]


async def test_facts(s3: S3Client, filled: str, server: Server) -> None:
    (page,) = await listed(s3.list_objects_v2(filled))
    assert (tuple(item.key for item in page), page.common_prefixes) == (KEYS, ())
    for item in page:
        assert item.size == len(item.key.encode())
        assert item.etag is not None
        assert bare_etag(item.etag) == etag_of(item.key.encode())
        assert (item.etag == bare_etag(item.etag)) is bool(server.faults.get("etag-unquoted-in-lists"))
        assert item.last_modified is not None
        assert abs(datetime.now(UTC) - item.last_modified) < timedelta(minutes=2)
        assert item.storage_class == "STANDARD"


async def test_pages(s3: S3Client, filled: str) -> None:
    for size in (1, 2, 3, len(KEYS), len(KEYS) + 1):
        pages = await listed(s3.list_objects_v2(filled, max_keys=size))
        assert tuple(keys(pages)) == KEYS
        assert [len(page) for page in pages] == [len(KEYS[start : start + size]) for start in range(0, len(KEYS), size)]


async def test_an_empty_bucket_has_no_pages(s3: S3Client, bucket: str, filled: str) -> None:
    assert await listed(s3.list_objects_v2(bucket, prefix="nothing begins so")) == []
    for key in KEYS:
        await s3.delete(f"{bucket}/{key}")
    assert await listed(s3.list_objects_v2(bucket)) == []


async def test_prefixes(s3: S3Client, filled: str) -> None:
    for prefix in ("a", "a/", "a/1", "b+", "b+ü/", "c&", "d e", "z", "", None):
        expected = [key for key in KEYS if key.startswith(prefix or "")]
        assert await keys_in(s3, filled, prefix=prefix) == expected
        assert await keys_in(s3, filled, prefix=prefix, max_keys=1) == expected


async def test_folders(s3: S3Client, filled: str) -> None:
    for size in (None, 1, 2):
        pages = await listed(s3.list_objects_v2(filled, delimiter="/", max_keys=size))
        assert keys(pages) == ["c&d", "f"]
        assert [prefix for page in pages for prefix in page.common_prefixes] == ["a/", "b+ü/", "d e/"]
        assert size is None or all(len(page) + len(page.common_prefixes) == size for page in pages[:-1])
    (page,) = await listed(s3.list_objects_v2(filled, prefix="a/", delimiter="/"))
    assert ([item.key for item in page], page.common_prefixes) == (["a/1", "a/2"], ("a/b/",))


async def test_other_delimiters(s3: S3Client, filled: str, server: Server) -> None:
    (page,) = await listed(s3.list_objects_v2(filled, delimiter="b"))
    if server.faults.get("delimiter-is-slash"):
        assert page.common_prefixes == ("a/", "b+ü/", "d e/")
    else:
        assert page.common_prefixes == ("a/b", "b")
        assert [item.key for item in page] == [key for key in KEYS if "b" not in key]


async def test_start_after(s3: S3Client, filled: str) -> None:
    for start in ("a/1", "a/1a", "b+ü/4", "d e/5", "f"):
        expected = [key for key in KEYS if key > start]
        assert await keys_in(s3, filled, start_after=start) == expected
        assert await keys_in(s3, filled, start_after=start, max_keys=1) == expected


async def test_ways_to_name_the_bucket(s3: S3Client, filled: str, server: Server) -> None:
    for name in (filled, f"{filled}/", f"/{filled}", f"/{filled}/"):
        assert await keys_in(s3, name) == list(KEYS)
        assert await keys_in(s3, name, bucket=filled) == list(KEYS)
    assert keys(await listed(s3.list_objects_v2(bucket=filled))) == list(KEYS)
    async with connect(server, url=f"{server.url}/{filled}") as one_bucket:
        assert keys(await listed(one_bucket.list_objects_v2())) == list(KEYS)
        assert keys(await listed(one_bucket.list_objects_v2("/", bucket=filled))) == list(KEYS)
        with pytest.raises(UsageError, match="is one bucket's"):
            one_bucket.list_objects_v2("other/")


async def test_listings_that_make_no_sense(s3: S3Client) -> None:
    nonsense: tuple[dict[str, Any], ...] = (
        {},
        {"object_name": "bucket/folder"},
        {"object_name": "bucket", "bucket": "other"},
    )
    for arguments in nonsense:
        with pytest.raises(UsageError):
            s3.list_objects_v2(**arguments)
    with pytest.raises(UsageError, match="max_keys"):
        s3.list_objects_v2("bucket", max_keys=0)


async def test_a_missing_bucket(s3: S3Client, bucket: str) -> None:
    with pytest.raises(NotFound) as caught:
        await listed(s3.list_objects_v2(f"{bucket}-missing"))
    error = caught.value
    assert (error.status, error.code, error.operation) == (404, "NoSuchBucket", "ListObjectsV2")
    assert (error.bucket, error.key) == (f"{bucket}-missing", None)


async def test_a_listing_that_is_left_and_taken_up_again(s3: S3Client, filled: str) -> None:
    pages = s3.list_objects_v2(filled, max_keys=2)
    async for page in pages:
        assert [item.key for item in page] == ["a/1", "a/2"]
        break
    assert keys(await listed(pages)) == list(KEYS[2:])
    assert await listed(pages) == []


async def test_without_encoding(filled: str, witness: Witness, server: Server) -> None:
    """Plain XML cannot carry every key: such a listing is refused, not guessed."""
    async with connect(server, max_attempts=1) as s3:
        assert await keys_in(s3, filled, encoding_type=None) == list(KEYS)
        witness.put(filled, "\x01")
        assert await keys_in(s3, filled) == ["\x01", *KEYS]
        with pytest.raises(InvalidResponse, match="not url-encoded"):
            await keys_in(s3, filled, encoding_type=None)


async def test_what_is_asked_for_comes_back_unreadable(s3: S3Client, bucket: str, witness: Witness) -> None:
    """Servers repeat prefix, delimiter and start in the answer, where XML cannot carry them; keys are not affected."""
    witness.put(bucket, "\x01/ü \x02/x")
    (page,) = await listed(s3.list_objects_v2(bucket, prefix="\x01/ü ", start_after="\x01", delimiter="/"))
    assert (list(page), page.common_prefixes) == ([], ("\x01/ü \x02/",))
