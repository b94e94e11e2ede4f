"""What goes wrong comes out as an error that says what was being done to which bucket and key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from handtruck.errors import NotFound, UsageError
from tests.conformance.support import PART, connect, content, file_with, listed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from handtruck import S3Client
    from tests.servers.model import Server

    Call = Callable[[S3Client, str, Path], Awaitable[object]]

pytestmark = pytest.mark.anyio


async def _download(s3: S3Client, bucket: str, folder: Path) -> object:
    return await s3.get_file_parallel(f"{bucket}/a/key", folder / "target")


async def _list(s3: S3Client, bucket: str, folder: Path) -> object:
    return await listed(s3.list_objects_v2(bucket))


async def _put(s3: S3Client, bucket: str, folder: Path) -> object:
    return await s3.put_multipart(f"{bucket}/a/key", b"small")


async def _put_parts(s3: S3Client, bucket: str, folder: Path) -> object:
    return await s3.put_multipart(f"{bucket}/a/key", content(PART + 1), part_size=PART)


async def _put_file_parts(s3: S3Client, bucket: str, folder: Path) -> object:
    source = file_with(folder / "source", content(PART + 1))
    return await s3.put_file_multipart(f"{bucket}/a/key", source, part_size=PART, workers_count=2)


async def _put_stream(s3: S3Client, bucket: str, folder: Path) -> object:
    async def blocks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield content(4 * 1024 * 1024)

    return await s3.put(f"{bucket}/a/key", blocks())


CALLS: Final[tuple[tuple[Call, str, str | None], ...]] = (
    (_download, "GetObject", "a/key"),
    (_list, "ListObjectsV2", None),
    (_put, "PutObject", "a/key"),
    (_put_parts, "CreateMultipartUpload", "a/key"),
    (_put_file_parts, "CreateMultipartUpload", "a/key"),
    (_put_stream, "CreateMultipartUpload", "a/key"),
)


async def test_a_missing_bucket(either: S3Client, bucket: str, tmp_path: Path) -> None:
    missing = f"{bucket}-missing"
    for call, operation, key in CALLS:
        with pytest.raises(NotFound) as caught:
            await call(either, missing, tmp_path)
        error = caught.value
        assert (error.status, error.code, error.attempts) == (404, "NoSuchBucket", 1)
        assert (error.bucket, error.key, error.operation) == (missing, key, operation)
        assert str(error).startswith(f"{operation} {missing}{'/' + key if key else ''}: 404 NoSuchBucket")
        assert "check the bucket's name" in str(error)
        assert not hasattr(error, "__notes__")
        assert not (tmp_path / "target").exists()


async def test_a_missing_key(either: S3Client, bucket: str, server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        await either.get_file_parallel(f"{bucket}/a/key", tmp_path / "target", workers_count=4)
    error = caught.value
    assert (error.status, error.code, error.operation) == (404, "NoSuchKey", "GetObject")
    assert (error.bucket, error.key, error.attempts) == (bucket, "a/key", 1)
    assert error.request_id
    assert f"request {error.request_id}" in str(error)
    assert list(tmp_path.iterdir()) == []


async def test_keys_that_xml_cannot_carry(s3: S3Client, bucket: str, server: Server, tmp_path: Path) -> None:
    """The error's document repeats the key, and must be understood all the same."""
    with pytest.raises(NotFound) as caught:
        await s3.get_file_parallel(f"{bucket}/\x01", tmp_path / "target")
    assert (caught.value.code, caught.value.key) == ("NoSuchKey", "\x01")


async def test_nothing_is_sent_to_a_nameless_object(s3: S3Client, bucket: str, tmp_path: Path) -> None:
    for name in (f"{bucket}/", "", "/"):
        with pytest.raises(UsageError, match="names no object"):
            await s3.put_multipart(name, b"x")
        with pytest.raises(UsageError, match="names no object"):
            await s3.get_file_parallel(name, tmp_path / "target")
    assert list(tmp_path.iterdir()) == []


async def test_a_closed_client(server: Server, bucket: str) -> None:
    s3 = connect(server)
    assert (await s3.head(bucket)).status_code == 200
    await s3.aclose()
    await s3.aclose()
    with pytest.raises(UsageError, match="closed"):
        await s3.head(bucket)
