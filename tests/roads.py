"""``--through=httpx``: every S3Client without ``client=`` sends through a plain ``httpx.AsyncClient``.

Our own transport and httpx's are to give the same results. What only ours can do is marked ``transport_only`` with the
reason, and must fail on httpx's: a test that passes there has lost its reason. Left out are tests that send nothing, or
choose their roads themselves.
"""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import httpx
import pytest

from handtruck._tasks import in_thread, isolated
from handtruck.transport import DEFAULT_TIMEOUT
from handtruck.transport.own import OwnSender, proxy_of
from handtruck.transport.senders import ClientSender

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handtruck.transport.senders import Sender

_LEFT_OUT: Final = frozenset(
    Path(__file__).parent / name
    for name in (
        "cli",
        "conformance/test_memory.py",
        "credentials",
        "protocol",
        "senders",
        "test_benchmarks.py",
        "test_blocking.py",
        "test_cost.py",
        "test_errors.py",
        "test_floors.py",
        "test_places.py",
        "test_public.py",
        "test_readme.py",
        "test_servers.py",
        "test_tasks.py",
        "transfer/test_cancellation.py",
        "transfer/test_workers.py",
        "transport",
    )
)
_NO_TLS: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the CA bundle takes 20 ms a client
_ours: Final = OwnSender._make


async def _through_httpx(self: OwnSender, origin: str) -> Sender:
    if self._proxy or proxy_of(origin):
        return await _ours(self, origin)
    tls = _NO_TLS
    if origin.startswith("https:"):
        limiter = anyio.CapacityLimiter(1)
        tls = await isolated(lambda: in_thread(httpx.create_ssl_context, limiter=limiter))
    http = httpx.AsyncClient(verify=tls, trust_env=False, limits=self._limits, timeout=DEFAULT_TIMEOUT)
    return ClientSender(http, owned=True)


def add_option(parser: pytest.Parser) -> None:
    """For pytest's command line."""
    parser.addoption(
        "--through", choices=("transport", "httpx"), default="transport", help="what S3Clients of tests send through"
    )


def add_marker(config: pytest.Config) -> None:
    """For ``--strict-markers``."""
    config.addinivalue_line(
        "markers",
        "transport_only(reason): httpx's own transport cannot keep the promise",
    )


def is_left_out(path: Path, config: pytest.Config) -> bool | None:
    """Whether tests in there have nothing to do with the road."""
    return True if config.getoption("through") == "httpx" and path in _LEFT_OUT else None


def expect_failures(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make a strict ``xfail`` of every ``transport_only``, where the road is httpx's."""
    if config.getoption("through") != "httpx":
        return
    for item in items:
        for mark in item.iter_markers("transport_only"):
            item.add_marker(pytest.mark.xfail(reason=f"only our transport: {mark.args[0]}", strict=True))


@contextmanager
def taken(config: pytest.Config) -> Iterator[None]:
    """The road that the command line asks for."""
    with pytest.MonkeyPatch.context() as patch:
        if config.getoption("through") == "httpx":
            patch.setattr(OwnSender, "_make", _through_httpx)
        yield
