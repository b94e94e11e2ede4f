"""Whose word counts on who is proxied: ours and httpx's, environment by environment."""

from __future__ import annotations

from typing import Final
from urllib.request import getproxies

import httpx
import pytest

from handtruck.transport.own import proxy_of
from tests.senders.support import GOES_RED, http_client

pytestmark = pytest.mark.usefixtures("no_proxies")

ORIGINS: Final = (
    "http://127.0.0.1:9000",
    "http://localhost:9000",
    "http://s3.example.com",
    "http://bucket.s3.example.com:8080",
    "https://s3.example.com",
    "https://[::1]:9000",
    "http://10.1.2.3",
)
ENVIRONMENTS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"HTTP_PROXY": "http://p:1"},
    {"HTTPS_PROXY": "http://p:1"},
    {"ALL_PROXY": "http://p:1"},
    {"ALL_PROXY": "p:1", "HTTP_PROXY": ""},
    {"HTTP_PROXY": "p:1", "http_proxy": ""},
    {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": "*"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": ""},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": "localhost,127.0.0.1"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": " localhost , example.com"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": "example.com"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": ".example.com"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": "s3.example.com:8080"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": "bucket.s3.example.com:8080"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": "10.1.2.3,::1"},
    {"ALL_PROXY": "http://p:1", "NO_PROXY": "ample.com"},
    {"NO_PROXY": "example.com"},
)


def check_we_are_of_one_mind(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    http = http_client(httpx, trust_env=True)
    theirs = {origin for origin in ORIGINS if http._transport_for_url(httpx.URL(origin)) is not http._transport}
    ours = {origin: named for origin in ORIGINS if (named := proxy_of(origin)) is not None}
    assert ours == dict.fromkeys(theirs, "http://p:1")


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=str)
def test_we_are_of_one_mind(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    check_we_are_of_one_mind(environment, monkeypatch)


def test_schemes_in_no_proxy_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Httpx alone knows them, neither curl nor urllib does."""
    monkeypatch.setenv("ALL_PROXY", "http://p:1")
    monkeypatch.setenv("NO_PROXY", "http://127.0.0.1")
    assert proxy_of("http://127.0.0.1:9000") == "http://p:1"


@pytest.mark.parametrize("forgotten", ["all", "http", "https"])
def test_mutation_a_proxy_that_is_forgotten(forgotten: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def others() -> dict[str, str]:
        return {name: url for name, url in getproxies().items() if name != forgotten}

    monkeypatch.setattr("handtruck.transport.own.getproxies", others)
    with pytest.raises(GOES_RED):
        check_we_are_of_one_mind({f"{forgotten.upper()}_PROXY": "http://p:1"}, monkeypatch)
