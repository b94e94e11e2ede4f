"""Clients for the tests of this suite."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import connect, http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from handtruck import S3Client
    from tests.servers.model import Server


@pytest.fixture
async def s3(server: Server, anyio_backend: object) -> AsyncIterator[S3Client]:
    """A client with connections of its own."""
    async with connect(server) as client:
        yield client


@pytest.fixture(params=["own connections", "the caller's"])
async def either(request: pytest.FixtureRequest, server: Server, anyio_backend: object) -> AsyncIterator[S3Client]:
    """A client with connections of its own, and one that uses an httpx client of the caller's."""
    if request.param == "own connections":
        async with connect(server) as client:
            yield client
    else:
        async with http_client() as http, connect(server, client=http) as client:
            yield client
            await client.aclose()
            assert not http.is_closed
