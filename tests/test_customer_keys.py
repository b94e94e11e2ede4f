"""A caller's own key (SSE-C) travels over https, or not at all: whenever it turns out where requests go."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck import S3Client, SSECustomer
from handtruck.credentials import StaticCredentials
from handtruck.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

pytestmark = pytest.mark.anyio

KEY: Final = SSECustomer(bytes(range(32)))
RAW: Final = {"x-amz-server-side-encryption-customer-key": "MDEyMw=="}
GOES_RED: Final = (AssertionError, pytest.fail.Exception)


class Listener(httpx.AsyncBaseTransport):
    """Somebody on the road: what carried a key came by here."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.keys = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(f"{request.method} {request.url}")
        self.keys += any(name.endswith("-customer-key") for name in request.headers)
        return httpx.Response(200, headers={"ETag": '"e"', "Content-Length": "0"})


@asynccontextmanager
async def unentered(url: str | None = None) -> AsyncIterator[tuple[S3Client, Listener]]:
    """A client of http://store.example that knows its URL, or has still to find it."""
    road = Listener()
    async with httpx.AsyncClient(transport=road) as own:
        s3 = S3Client(url, own, credentials=StaticCredentials("key-id", "secret"))
        yield s3, road
        await s3.aclose()


async def opened(s3: S3Client) -> None:
    made = s3.open("logs/key", "rb", sse=KEY)
    await s3.get("logs/other")
    async with made as reader:
        await reader.read()


async def written(s3: S3Client) -> None:
    made = s3.open("logs/key", "wb", sse=KEY)
    await s3.get("logs/other")
    async with made as writer:
        await writer.write(b"x")


async def streamed(s3: S3Client) -> None:
    made = s3.stream("logs/key", sse=KEY)
    await s3.get("logs/other")
    async with made:
        pass


async def ranged(s3: S3Client) -> None:
    """While another request finds out where the server is."""
    async with anyio.create_task_group() as group:
        group.start_soon(s3.get, "logs/other")
        await s3.get_ranges("logs/key", [(0, 1)], sse=KEY)


async def got(s3: S3Client) -> None:
    await s3.get("logs/key", sse=KEY)


async def raw(s3: S3Client) -> None:
    await s3.get("logs/key", headers=RAW)


async def raw_again(s3: S3Client) -> None:
    with pytest.raises(UsageError):
        await raw(s3)
    await raw(s3)


WAYS: Final[dict[str, Callable[[S3Client], Awaitable[None]]]] = {
    each.__name__: each for each in (opened, written, streamed, ranged, got, raw, raw_again)
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("found", ["URL", "settings"])
async def test_a_key_does_not_travel_in_the_clear(way: str, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    async with unentered("http://store.example" if found == "URL" else None) as (s3, road):
        with pytest.raises(UsageError, match=r"in the clear to http://store\.example; use https"):
            await flat(WAYS[way](s3))
        assert road.keys == 0


@pytest.mark.parametrize("way", ["opened", "written", "streamed", "got", "raw"])
async def test_over_https_it_does(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://store.example")
    async with unentered() as (s3, road):
        await WAYS[way](s3)
        assert road.keys > 0


async def flat(work: Awaitable[Any]) -> None:
    """The one error, where a task group of the test's own wraps it."""
    try:
        await work
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def test_mutation_only_the_first_request_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck._session import Session

    monkeypatch.setattr(Session, "_check_privacy", lambda *_: None)
    with pytest.raises(GOES_RED):
        await test_a_key_does_not_travel_in_the_clear("raw", "settings", monkeypatch)
