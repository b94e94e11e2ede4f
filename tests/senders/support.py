"""What the tests of this package share: the roads that a request can take."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import httpx2
import pytest

from handtruck import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

GOES_RED: Final = (AssertionError, pytest.fail.Exception)
PART: Final = 1000
BODY: Final = bytes(range(256)) * 14
OURS: Final = ("own connections", "Transport in a client")
THEIRS: Final = ("httpx", "httpx2")
ROADS: Final = (*OURS, *THEIRS)
LIBRARIES: Final = pytest.mark.parametrize("library", [httpx, httpx2], ids=THEIRS)

_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the CA bundle takes 20 ms a client


def http_client(library: Any, **options: Any) -> Any:
    """A caller's client, that does not look at this machine's proxies."""
    return library.AsyncClient(**{"verify": _NO_TLS, "trust_env": False, **options})


@asynccontextmanager
async def road(name: str) -> AsyncIterator[Any]:
    """What S3Client gets as ``client=``; None for connections of its own."""
    if name == "own connections":
        yield None
        return
    options = {"transport": Transport()} if name == "Transport in a client" else {}
    async with http_client(httpx2 if name == "httpx2" else httpx, **options) as http:
        yield http
        assert not http.is_closed


def kind_of_response(name: str) -> type:
    """Whose answers come back on a road."""
    return httpx2.Response if name == "httpx2" else httpx.Response
