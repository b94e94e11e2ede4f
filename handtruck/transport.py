"""What carries requests. This is the seam: :class:`Sender` is all that the floors above know of HTTP.

Today there is one sender, over an :class:`httpx.AsyncClient`: the caller's, or one of our own.
"""

from __future__ import annotations

import os
import ssl
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import anyio
import httpx

from ._tasks import in_thread, isolated, settled
from .errors import ConnectionFailed, HandtruckError, InvalidResponse, TransferTimeout, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from httpx._types import TimeoutTypes

    from ._body import Body

CONNECT_TIMEOUT: Final = 10.0
STALL_TIMEOUT: Final = 60.0
_CLOSING: Final = 5.0
_USER_AGENT: Final = "handtruck"
_CLOSED: Final = "this S3Client is closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A request before it is signed.

    Attributes:
        origin: ``scheme://host[:port]``.
        target: the path, percent-encoded, and the query: what is sent is exactly this.
        timeout: httpx's four stall timeouts; None: the HTTP client's own.
        extensions: httpx's request extensions.
    """

    method: str
    origin: str
    target: str
    headers: list[tuple[str, str]]
    body: Body
    timeout: TimeoutTypes | None
    extensions: Mapping[str, object] | None


class Sender(Protocol):
    """Builds requests and sends them, one connection each while they last."""

    async def build(self, draft: Draft) -> httpx.Request:
        """Make it a request; its headers are final then, but for the signature."""
        ...

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send it and come back with the head of the answer; the body is still to be read."""
        ...

    async def aclose(self) -> None:
        """Close what we own."""


class ClientSender:
    """Sends through an :class:`httpx.AsyncClient`: its hooks, headers, mounts, proxies and timeouts hold.

    Its ``auth`` and its redirects do not: requests are signed for one host, and a redirect would carry the signature
    to another.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        if len(client.params):
            raise UsageError(
                "the httpx client has default params=, which S3 would take for its own; give params= per call"
            )
        self._client = client
        self._closed = False

    async def build(self, draft: Draft) -> httpx.Request:
        """See :class:`Sender`."""
        if self._closed:
            raise UsageError(_CLOSED)
        if self._client.is_closed:
            raise UsageError("the httpx client that was given as client= is closed")
        request = self._client.build_request(
            draft.method,
            draft.origin + draft.target,
            headers=draft.headers,
            timeout=httpx.USE_CLIENT_DEFAULT if draft.timeout is None else draft.timeout,
            extensions=dict(draft.extensions or {}),
        )
        raw = draft.target.encode("ascii")
        if request.url.raw_path != raw:
            # httpx folds "a/../b" into "b"; httpcore sends this instead.
            request.extensions["target"] = raw
        request.stream = draft.body.stream()  # an empty one too: httpx's is an async generator, see _body
        return request

    async def send(self, request: httpx.Request) -> httpx.Response:
        """See :class:`Sender`."""
        return await self._client.send(request, stream=True, auth=None, follow_redirects=False)

    async def aclose(self) -> None:
        """Send no more. The client is the caller's and stays open."""
        self._closed = True


class OwnSender:
    """Sends through an :class:`httpx.AsyncClient` of its own, made at the first request."""

    def __init__(self, *, secure: bool, max_connections: int) -> None:
        self._secure = secure
        self._limits = httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
        self._making = anyio.Lock()
        self._client: httpx.AsyncClient | None = None
        self._sender: ClientSender | None = None
        self._closed = False

    async def build(self, draft: Draft) -> httpx.Request:
        """See :class:`Sender`."""
        sender = self._sender or await self._make()
        return await sender.build(draft)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """See :class:`Sender`."""
        sender = self._sender or await self._make()
        return await sender.send(request)

    async def _make(self) -> ClientSender:
        async with self._making:
            if self._sender is None and not self._closed:
                client = await self._make_client()
                if not self._closed:  # still
                    self._client, self._sender = client, ClientSender(client)
            if self._sender is None:
                raise UsageError(_CLOSED)
            return self._sender

    async def _make_client(self) -> httpx.AsyncClient:
        # Reading the CA bundle takes 20 ms: in a thread, and not at all for http.
        limiter = anyio.CapacityLimiter(1)
        tls = (
            await isolated(lambda: in_thread(httpx.create_ssl_context, limiter=limiter))
            if self._secure
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        )
        return httpx.AsyncClient(
            verify=tls,
            limits=self._limits,
            timeout=httpx.Timeout(STALL_TIMEOUT, connect=CONNECT_TIMEOUT, pool=None),
            headers={"User-Agent": _USER_AGENT},
        )

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        self._sender, client, self._client = None, self._client, None
        if client is not None:
            await settled(client.aclose, _CLOSING)


def _unsent(kind: type[ConnectionFailed]) -> Callable[[str], HandtruckError]:
    return lambda text: kind(text, sent=False)


def _no_place(text: str) -> HandtruckError:
    hint = "the httpx client's pool is too small: set max_connections= of S3Client to its limit"
    return TransferTimeout(f"{text}; {hint}", sent=False)


_FOREIGN: Final[tuple[tuple[type[Exception], Callable[[str], HandtruckError]], ...]] = (
    # The first that fits. `sent` is False where no byte of the request left, so that sending again is harmless.
    (httpx.ConnectTimeout, _unsent(TransferTimeout)),
    (httpx.PoolTimeout, _no_place),
    (httpx.TimeoutException, TransferTimeout),
    (httpx.ConnectError, _unsent(ConnectionFailed)),
    (httpx.ProxyError, _unsent(ConnectionFailed)),
    (httpx.UnsupportedProtocol, UsageError),
    (httpx.LocalProtocolError, UsageError),
    (httpx.InvalidURL, UsageError),
    (httpx.DecodingError, InvalidResponse),
    (httpx.TransportError, ConnectionFailed),
    (httpx.StreamError, UsageError),  # an event hook has read a body that was ours to read
)


@contextmanager
def foreign_errors(doing: str) -> Generator[None]:
    """The border: whatever httpx raises in here leaves as one of our errors, the original as its cause."""
    try:
        yield
    except (HandtruckError, httpx.HTTPStatusError):
        raise  # the latter comes from a caller's hook: there was an answer, and he has judged it
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        make = next((make for kind, make in _FOREIGN if isinstance(error, kind)), ConnectionFailed)
        ours = make(f"{doing}: {_reason(error)}")
        if isinstance(ours, httpx.RequestError) and isinstance(error, httpx.RequestError):
            ours.request = _bare(error)
        raise ours from error


def _bare(error: httpx.RequestError) -> httpx.Request:
    """The request without its headers: errors travel far, and the signature is nobody's business."""
    return httpx.Request(error.request.method, error.request.url)


def _reason(error: Exception) -> str:
    """The words nearest to the cause: httpx often says no more than "All connection attempts failed"."""
    seen: list[BaseException] = []
    todo: list[BaseException] = [error]
    while todo and len(seen) < 20:
        cause = todo.pop()
        seen.append(cause)
        nested = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        todo += [c for c in (cause.__cause__ or cause.__context__, *nested) if c is not None and c not in seen]
    told = next((c for c in reversed(seen) if isinstance(c, OSError) and c.errno and c.strerror), error)
    text = _words(told) if isinstance(told, OSError) else str(told)
    kind = type(error).__name__
    return f"{text} ({kind})" if text else kind


def _words(error: OSError) -> str:
    # asyncio writes "Connect call failed ('127.0.0.1', 9000)", whatever the reason was.
    if error.errno and str(error.strerror).startswith("Connect call failed"):
        return os.strerror(error.errno)
    return str(error.strerror)
