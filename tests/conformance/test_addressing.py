"""All the ways to say where an object is mean the same object, with and without an HTTP client of the caller's."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from handtruck.errors import NotFound, UsageError
from tests.conformance.support import (
    PART,
    SEVERAL,
    Loopback,
    connect,
    content,
    etag_of,
    file_with,
    http_client,
    keys_in,
    listed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

ODD = "a/../b//ü +%2F"


@pytest.fixture(params=["own connections", "the caller's"])
def callers(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "the caller's")


@asynccontextmanager
async def client_of(server: Server, callers: bool, **arguments: Any) -> AsyncIterator[S3Client]:
    async with AsyncExitStack() as stack:
        if callers:
            arguments["client"] = await stack.enter_async_context(http_client())
        yield await stack.enter_async_context(connect(server, **arguments))


async def check_key(s3: S3Client, name: str, bucket: str, key: str, witness: Witness) -> None:
    """``name`` is ``bucket/key`` to everybody."""
    assert (await s3.put(name, key)).status_code == 200
    assert witness.keys(bucket) == [key]
    assert witness.get(bucket, key) == key.encode()
    assert (await s3.get(name)).text == key
    assert (await s3.delete(name)).status_code == 204
    assert witness.keys(bucket) == []


async def test_bucket_in_the_name(bucket: str, witness: Witness, server: Server, callers: bool) -> None:
    async with client_of(server, callers) as s3:
        for form in ("{}/key", "/{}/key", "{}/folder/key", "/{}/ä ö"):
            name = form.format(bucket)
            await check_key(s3, name, bucket, name.removeprefix("/").partition("/")[2], witness)


async def test_bucket_in_the_url(bucket: str, witness: Witness, server: Server, callers: bool) -> None:
    url = f"{server.url}/{bucket}"
    for arguments in (
        {"url": url},
        {"url": f"{url}/"},
        {"url": httpx.URL(url)},
        {"url": url, "bucket": bucket, "addressing": "path"},
    ):
        async with client_of(server, callers, **arguments) as s3:
            await check_key(s3, "key", bucket, "key", witness)
            await check_key(s3, f"{bucket}/key", bucket, f"{bucket}/key", witness)
            with pytest.raises(NotFound) as caught:
                await s3.get_file_parallel("missing", "never")
            assert (caught.value.bucket, caught.value.key) == (bucket, "missing")


async def test_a_leading_slash_belongs_to_the_key(bucket: str, witness: Witness, server: Server) -> None:
    """Where the URL names the bucket, every character of the name is the key's."""
    async with connect(server, url=f"{server.url}/{bucket}") as s3:
        if server.faults.get("refuses-leading-slash"):
            assert (await s3.put("/key", b"")).status_code == 400
        else:
            await check_key(s3, "/key", bucket, "/key", witness)


@pytest.fixture
async def loopback(anyio_backend: object) -> AsyncIterator[httpx.AsyncClient]:
    async with http_client(transport=Loopback()) as http:
        yield http


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_bucket_in_the_host(
    bucket: str, witness: Witness, server: Server, loopback: httpx.AsyncClient, tmp_path: Path
) -> None:
    url = f"http://{bucket}.{server.virtual_host_suffix}"
    for arguments in (
        {"addressing": "virtual"},
        {"addressing": "virtual", "bucket": bucket},
        {"bucket": bucket},
        {},  # unknown by name, and still right
    ):
        s3 = connect(server, url=url, client=loopback, **arguments)
        for key in ("key", "folder/key", "ä ö"):
            await check_key(s3, key, bucket, key, witness)
        if arguments:
            await check_key(s3, ODD, bucket, ODD, witness)
            assert await keys_in(s3, "/") == []
            with pytest.raises(NotFound) as caught:
                await s3.get_file_parallel("missing", tmp_path / "file")
            assert (caught.value.bucket, caught.value.key) == (bucket, "missing")
        else:
            with pytest.raises(UsageError, match="no bucket to list"):
                s3.list_objects_v2()


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_transfers_with_the_bucket_in_the_host(
    bucket: str, witness: Witness, server: Server, loopback: httpx.AsyncClient, tmp_path: Path
) -> None:
    data = content(SEVERAL)
    source = file_with(tmp_path / "source", data)
    url = f"http://{bucket}.{server.virtual_host_suffix}"
    s3 = connect(server, url=url, client=loopback, addressing="virtual")
    result = await s3.put_file_multipart(ODD, source, part_size=PART, workers_count=3)
    assert (result.parts, result.etag) == (3, f'"{etag_of(data)}"')
    assert witness.get(bucket, ODD) == data
    assert [item.key for page in await listed(s3.list_objects_v2(max_keys=1)) for item in page] == [ODD]
    await s3.get_file_parallel(ODD, tmp_path / "target", range_step=PART, workers_count=3)
    assert (tmp_path / "target").read_bytes() == data


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_a_host_that_holds_another_bucket(server: Server, loopback: httpx.AsyncClient) -> None:
    """The Host header is really what decides."""
    s3 = connect(server, url=f"http://no-such-bucket.{server.virtual_host_suffix}", client=loopback)
    assert (await s3.get("key")).status_code == 404
    assert b"NoSuchBucket" in (await s3.get("key")).content
