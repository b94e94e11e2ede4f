"""Kilobytes do where S3 wants megabytes; an environment without proxies."""

from __future__ import annotations

from typing import Final

import pytest

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's but the test's. ``REQUEST_METHOD`` would mean CGI, where HTTP_PROXY is a client's header."""
    for name in (*_PROXIES, *map(str.upper, _PROXIES), "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
