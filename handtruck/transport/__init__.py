"""handtruck's data plane: an httpx transport over non-blocking sockets.

::

    request ──▶ place ──▶ idle connection, or a new one ──▶ head and body out ──▶ head in ──▶ Response
                  │            (pool)      (dialing)              (exchange)        │
                  └──────────────── given back when the body is over ◀── readinto ──┘ (bodies)

* ``wire``: a socket, plain or TLS. Try first, wait only where the kernel has nothing for us.
* ``heads``: heads written and parsed, limits, framing. Sync.
* ``exchange``: one request out, one head in; answers that come early.
* ``bodies``: the answer's body, into the caller's memory or in httpx's blocks.
* ``pool``, ``dialing``: which connections there are, and how new ones come about.
* ``senders``: the seam to the floors above, which know requests and answers only.

Why there is one at all is told, with the measurements, in docs/performance.md.
"""

from __future__ import annotations

import socket
import sys
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final

import anyio
import httpx
from anyio.lowlevel import checkpoint

from .bodies import Arrival, ResponseBody
from .dialing import Certificate, Dialer, Resolve, SocketOption, tls_context
from .exchange import Call, Exchange
from .heads import request_length, says_close, write_head
from .pool import CLOSED, Origin, Pool, origin_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence

    from .heads import Head
    from .wire import Wire

DEFAULT_LIMITS: Final = httpx.Limits(max_connections=100, keepalive_expiry=15.0)
CONNECT_TIMEOUT: Final = 10.0
STALL_TIMEOUT: Final = 60.0
DEFAULT_TIMEOUT: Final = httpx.Timeout(STALL_TIMEOUT, connect=CONNECT_TIMEOUT, pool=None)


NO_TRACE: Final = "handtruck.Transport has no trace extension"


class Transport(httpx.AsyncBaseTransport):
    """Sends HTTP/1.1 requests under asyncio and trio: ``httpx.AsyncClient(transport=handtruck.Transport())``.

    Made for moving many bytes: they go from the kernel into the caller's memory and back, Python runs about once for
    each MiB. What httpx's own transport does with timeouts, errors, limits and extensions, this one does too, but
    for proxies, HTTP/2 and the ``trace`` extension.

    Request extensions:
        ``timeout``: httpx's four, in seconds: ``connect`` (in all: name, connection, TLS), ``read`` and ``write`` (how
        long nothing may move), ``pool``. ``target``: bytes that are sent as the request's target, as they are.
        ``sni_hostname``: the name that TLS asks for. ``handtruck.idempotent``: True if the request may be sent twice
        and its stream iterated again: it is, once, if a connection that was used before turns out dead.

    Response extensions:
        ``handtruck.body``: has ``async readinto(buffer) -> int`` beside the usual iteration: fills the buffer, fewer
        bytes only at the end, 0 when the body is over. ``http_version``, ``reason_phrase``, ``network_stream`` (for
        ``get_extra_info``): as httpx has them.

    Args:
        verify: False: certificates are not checked. A path: to CA certificates, in place of certifi's. Or a context.
        ssl_context: in place of one made from the other arguments.
        cert: the client's certificate: a file with the key in it; or both files; or both and the key's password.
        trust_env: ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` count.
        limits: connections at once, how many of them may be idle, and for how many seconds.
        uds: path of a Unix-domain socket, to which all requests go.
        local_address: the address to connect from.
        socket_options: for ``setsockopt``, before connecting. TCP_NODELAY is set anyway.
        resolve: an async function from host and port to IP addresses (text), in place of the system's resolver.
        timeout: for requests that bring none of their own.

    Raises:
        ValueError: the arguments contradict each other.
    """

    def __init__(
        self,
        *,
        verify: bool | str | ssl.SSLContext = True,
        ssl_context: ssl.SSLContext | None = None,
        cert: Certificate | None = None,
        trust_env: bool = True,
        limits: httpx.Limits = DEFAULT_LIMITS,
        uds: str | None = None,
        local_address: str | None = None,
        socket_options: Sequence[SocketOption] = (),
        resolve: Resolve | None = None,
        timeout: httpx.Timeout = DEFAULT_TIMEOUT,
    ) -> None:
        if ssl_context is not None and (cert is not None or verify is not True):
            raise ValueError("give either ssl_context=, or verify= and cert=")
        if uds is not None and not hasattr(socket, "AF_UNIX"):
            raise ValueError("this platform has no Unix-domain sockets (uds=)")
        if uds is not None and (local_address is not None or resolve is not None):
            raise ValueError("a Unix-domain socket (uds=) goes with neither local_address= nor resolve=")
        self._dialer = Dialer(
            tls=partial(tls_context, ssl_context or verify, cert, trust_env=trust_env),
            uds=uds,
            local_address=local_address,
            socket_options=socket_options,
            resolve=resolve,
        )
        size = sys.maxsize if limits.max_connections is None else limits.max_connections
        keep = size if limits.max_keepalive_connections is None else limits.max_keepalive_connections
        if size < 1 or keep < 0:
            raise ValueError(f"{limits}: at least 1 connection there must be, and not fewer than 0 idle ones")
        self._pool = Pool(size, keep, limits.keepalive_expiry, monotonic)
        self._timeouts: Mapping[str, float | None] = timeout.as_dict()
        self._closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and come back with the head of the answer; the body is still to be read, and to be closed.

        Raises:
            httpx.TransportError: see https://www.python-httpx.org/exceptions/.
            httpx.UnsupportedProtocol: the URL is not http or https.
            RuntimeError: the transport is closed.
            OSError: the certificates that the arguments name cannot be read.
            ValueError: the request has a ``trace`` extension, which would be ignored.
        """
        arrival = await self.perform(self._call(request))
        head = arrival.head
        return httpx.Response(
            head.status,
            headers=head.headers,
            stream=arrival.body,
            extensions=arrival.extensions(),
        )

    def _call(self, request: httpx.Request) -> Call:
        extensions = request.extensions
        if "trace" in extensions:
            raise ValueError(NO_TRACE)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        target: bytes = extensions.get("target") or request.url.raw_path
        return Call(
            origin=origin_of(request.url, extensions.get("sni_hostname")),
            head=write_head(request.method, target.decode("latin-1"), headers),
            stream=request.stream,
            length=request_length(headers),
            bodiless=request.method == "HEAD",
            timeouts=extensions.get("timeout"),
            idempotent=bool(extensions.get("handtruck.idempotent")),
            last=says_close(headers),
        )

    async def perform(self, call: Call) -> Arrival:
        """Send a request that needs no more than a connection; for what stands behind our own clients.

        Raises: see :meth:`handle_async_request`.
        """
        self._check_open()
        if call.timeouts is None:
            call.timeouts = self._timeouts
        if not self._pool.enter_now():
            await self._pool.enter(call.timeouts.get("pool"))
        try:
            exchange, head = await self._exchange(call)
        except BaseException:
            self._pool.leave()
            raise
        body = ResponseBody(
            exchange.wire,
            head,
            start=exchange.start,
            stop=exchange.received,
            timeout=exchange.read_timeout,
            keep=head.keep and exchange.whole and not call.last,
            broken=exchange.broken,
            release=partial(self._release, call.origin),
        )
        return Arrival(head, body, exchange.wire)

    async def _exchange(self, call: Call) -> tuple[Exchange, Head]:
        """Send it on a connection that is there, or else on a new one."""
        wire = self._pool.reuse(call.origin)
        if wire is not None:
            exchange = Exchange(wire, call)
            try:
                return exchange, await exchange.run()
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                self._pool.drop(wire)
                if not exchange.may_repeat():
                    raise
            except BaseException:
                self._pool.drop(wire)
                raise
        exchange = Exchange(await self._connect(call), call)
        try:
            return exchange, await exchange.run()
        except BaseException:
            self._pool.drop(exchange.wire)
            raise

    async def _connect(self, call: Call) -> Wire:
        self._check_open()
        self._pool.make_room()
        with self._pool.interruptible():
            wire = await self._dialer.connect(call.origin, (call.timeouts or {}).get("connect"))
            self._pool.busy.add(wire)
        if self._closed:  # in the same turn of the loop
            self._pool.drop(wire)
            self._check_open()
        return wire

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(CLOSED)

    def _release(self, origin: Origin, wire: Wire, keep: bool) -> None:
        """Take a connection back from an answer that is over."""
        try:
            if keep and not self._closed:
                if wire.fresh:
                    wire.fresh = False
                    self._dialer.remember(origin, wire)
                self._pool.put_back(origin, wire)
            else:
                self._pool.drop(wire)
        finally:
            self._pool.leave()

    async def aclose(self) -> None:
        """Close every connection. Requests under way end in errors; there can be no others."""
        self._closed = True
        self._pool.close()
        # Whoever waited for a socket must leave before a new one gets its number: asyncio forgets by number.
        with anyio.CancelScope(shield=True):
            await checkpoint()
