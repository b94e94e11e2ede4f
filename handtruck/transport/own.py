"""The senders of an S3Client that was given no client: which of them a request goes by, its origin decides."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx

from .._tasks import LoopLocks, in_thread, isolated
from ..errors import UsageError
from . import DEFAULT_LIMITS, DEFAULT_TIMEOUT, Transport
from .senders import CLOSED, USER_AGENT, ClientSender, DirectSender

if TYPE_CHECKING:
    from httpx._types import ProxyTypes

    from .senders import Draft, Prepared, Sender

_MOST_ORIGINS: Final = 1024


class OwnSender:
    """The senders of an S3Client that was given no client: a direct one, or one for each proxy, as an origin wants it.

    Args:
        max_connections: at once, of each.
        proxy: an explicit one; otherwise the environment's counts, as for httpx.
    """

    def __init__(self, *, max_connections: int, proxy: ProxyTypes | None = None) -> None:
        self._limits = httpx.Limits(max_connections=max_connections, keepalive_expiry=DEFAULT_LIMITS.keepalive_expiry)
        self._proxy = proxy
        self._making = LoopLocks()
        self._senders: dict[tuple[str | None, bool], Sender] = {}
        self._known: dict[str, Sender] = {}
        self._closed = False

    async def prepare(self, draft: Draft) -> Prepared:
        """See :class:`Sender`."""
        try:
            sender = self._known[draft.origin]
        except KeyError:
            sender = await self._chosen(draft.origin)
        return await sender.prepare(draft)

    async def _chosen(self, origin: str) -> Sender:
        """The environment may name a proxy, or none, for each host: it is looked at once for each."""
        async with self._making.here():
            road = self._road(origin)
            if road not in self._senders and not self._closed:
                sender = await self._make(origin)
                if not self._closed:  # still
                    self._senders[road] = sender
            if road not in self._senders:
                raise UsageError(CLOSED)
            if len(self._known) >= _MOST_ORIGINS:
                self._known.clear()
            self._known[origin] = self._senders[road]
            return self._senders[road]

    def _road(self, origin: str) -> tuple[str | None, bool]:
        """The environment's proxy for an origin, and whether it gets whole URLs (of what is asked over http)."""
        named = None if self._proxy else proxy_of(origin)
        return named, bool(self._proxy or named) and origin.startswith("http:")

    async def _make(self, origin: str) -> Sender:
        proxy = self._proxy or proxy_of(origin)
        if not proxy:
            return DirectSender(Transport(limits=self._limits))
        # Proxies are httpx's business. Reading the CA bundle takes 20 ms: in a thread.
        limiter = anyio.CapacityLimiter(1)
        tls = await isolated(lambda: in_thread(httpx.create_ssl_context, limiter=limiter))
        try:
            client = httpx.AsyncClient(
                verify=tls,
                limits=self._limits,
                proxy=proxy,
                trust_env=False,  # it was looked at, and two opinions are one too many
                timeout=DEFAULT_TIMEOUT,
                headers={"User-Agent": USER_AGENT},
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise UsageError(f"the proxy (proxy=, or the environment's) cannot be used: {error}") from error
        return ClientSender(client, owned=True, forwarding=origin.startswith("http:"))

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        async with AsyncExitStack() as closing:
            for sender in self._senders.values():
                closing.push_async_callback(sender.aclose)
            self._known.clear()
            self._senders.clear()


def proxy_of(origin: str) -> str | None:
    """The proxy that the environment names for requests to ``origin``."""
    url, proxies = httpx.URL(origin), getproxies()
    named = proxies.get(url.scheme) or proxies.get("all")
    if not named or proxy_bypass(url.netloc.decode("ascii")) or proxy_bypass(url.host):  # IPv6 without its brackets
        return None
    return named if "://" in named else f"http://{named}"
