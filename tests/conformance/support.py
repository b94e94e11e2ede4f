"""What the tests of this suite share: clients, contents, and what S3 should make of them."""

from __future__ import annotations

import ssl
from functools import lru_cache
from hashlib import md5
from random import Random
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

import httpx

from handtruck import S3Client
from handtruck.protocol.checksums import bare_etag, multipart_etag
from handtruck.protocol.parts import MIB, MIN_PART_SIZE

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import ObjectPage, Progress
    from tests.servers.admin import Witness
    from tests.servers.model import Server

PART: Final = MIN_PART_SIZE
SEVERAL: Final = 2 * PART + 3
"""Three parts, the last one tiny."""

_LONGEST: Final = 12 * MIB
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the CA bundle takes 20 ms a client


def keys_of(server: Server) -> dict[str, Any]:
    """A server's keys, as keywords."""
    return {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}


def connect(server: Server, **arguments: Any) -> S3Client:
    """A client of the server; ``arguments`` are S3Client's, and win."""
    return S3Client(**{"url": server.url, **keys_of(server), **arguments})


def http_client(**arguments: Any) -> httpx.AsyncClient:
    """An HTTP client such as a caller may have, that does not look at this machine's proxies."""
    return httpx.AsyncClient(**{"verify": _NO_TLS, "trust_env": False, **arguments})


def url_with_keys(server: Server) -> str:
    """The server's URL with its keys inside, every byte of them percent-encoded."""
    user, password = ("".join(f"%{byte:02X}" for byte in half.encode()) for half in keys_of(server).values())
    scheme, netloc = urlsplit(server.url)[:2]
    return f"{scheme}://{user}:{password}@{netloc}"


@lru_cache(maxsize=1)
def _noise() -> bytes:
    return Random(7).randbytes(_LONGEST)  # noqa: S311 - contents, not secrets


def content(size: int) -> bytes:
    """Bytes no two pieces of which are alike; always the same."""
    assert size <= _LONGEST
    return _noise()[:size]


def file_with(path: Path, data: bytes) -> Path:
    """Write a file, and give its path."""
    path.write_bytes(data)
    return path


def etag_of(data: bytes, part_size: int = PART) -> str:
    """The ETag, unquoted, that S3 gives to ``data``: sent in parts where it is longer than one."""
    if len(data) <= part_size:
        return md5(data, usedforsecurity=False).hexdigest()
    pieces = (data[start : start + part_size] for start in range(0, len(data), part_size))
    etag = multipart_etag(md5(piece, usedforsecurity=False).hexdigest() for piece in pieces)
    assert etag is not None
    return etag


def assert_stored(server: Server, witness: Witness, bucket: str, key: str, data: bytes) -> None:
    """The object is there, byte for byte, with the ETag that tells how many parts it was sent in."""
    assert witness.get(bucket, key) == data
    whole = bool(server.faults.get("head-etag-is-plain-md5"))
    expected = etag_of(data, len(data)) if whole else etag_of(data)
    assert bare_etag(witness.head(bucket, key)["ETag"]) == expected


def assert_progress(told: list[Progress], size: int) -> None:
    """It never went back, and ended exactly at the end."""
    done = [progress.done for progress in told]
    assert done == sorted(set(done))
    assert done[-1:] == ([size] if size or done else [])
    assert all(progress.total in (None, size) for progress in told)


async def listed(pages: object) -> list[ObjectPage]:
    """All pages of a listing."""
    return [page async for page in pages]  # type: ignore[attr-defined]


async def keys_in(s3: S3Client, name: str, /, **arguments: Any) -> list[str]:
    """Every key that handtruck lists."""
    return [item.key for page in await listed(s3.list_objects_v2(name, **arguments)) for item in page]


class Loopback(httpx.AsyncBaseTransport):
    """Sends everything to 127.0.0.1, whatever the host: names below ``localhost`` do not resolve everywhere."""

    def __init__(self) -> None:
        self._inner = httpx.AsyncHTTPTransport(verify=_NO_TLS)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions.setdefault("target", request.url.raw_path)
        request.url = request.url.copy_with(host="127.0.0.1")  # the Host header stays
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def encoded(key: str) -> str:
    """A key as it stands in a URL."""
    return quote(key, safe="/")
