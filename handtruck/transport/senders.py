"""The seam: what the floors above know of HTTP. They write a :class:`Draft`, sign what a sender makes of it, send it.

One sender drives our own :class:`~handtruck.Transport`, with no client in front of it. The other goes through an
``httpx.AsyncClient`` (or ``httpx2``'s), whose hooks, headers, mounts, proxies and timeouts hold.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx

from .._body import NO_BODY, ViewStream
from .._tasks import settled
from ..errors import UsageError
from . import NO_TRACE, Transport
from .exchange import Call
from .foreign import library_of
from .heads import says_close, write_head
from .pool import Origin, origin_of
from .redaction import HIDDEN, SECRET_HEADERS, TOKEN_HEADERS, forget_frames
from .values import DirectResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from httpx._types import TimeoutTypes

    from .._body import Body
    from .bodies import Arrival

_CLOSING: Final = 5.0
CLOSED: Final = "this S3Client is closed"
USER_AGENT: Final = "handtruck"
_USUAL: Final = (("Accept", "*/*"), ("User-Agent", USER_AGENT))


@dataclass(slots=True, kw_only=True)
class Draft:
    """A request before it is signed.

    Attributes:
        origin: ``scheme://host[:port]``.
        target: the path, percent-encoded, and the query: what is sent is exactly this.
        timeout: httpx's four stall timeouts; None: the HTTP client's own.
        extensions: httpx's request extensions.
        idempotent: sent twice it does what it does once.
    """

    method: str
    origin: str
    target: str
    headers: list[tuple[str, str]]
    body: Body
    timeout: TimeoutTypes | None
    extensions: Mapping[str, Any] | None
    idempotent: bool


class Prepared(Protocol):
    """A request that lacks nothing but its signature."""

    def headers(self) -> list[tuple[str, str]]:
        """All that will be sent, to be signed."""
        ...

    async def send(self, signature: dict[str, str]) -> httpx.Response:
        """Send it with these headers added, and come back with the head of the answer; the body is still to be read."""
        ...

    def bare(self) -> httpx.Request:
        """The request without its headers, for errors: they travel far, and the signature is nobody's business."""
        ...

    def forget_body(self) -> None:
        """It is over: whoever keeps the request, or a cycle of httpx's that holds it, keeps no part in memory."""


class Sender(Protocol):
    """Sends requests, one connection each while they last."""

    async def prepare(self, draft: Draft) -> Prepared:
        """Make it a request; its headers are final then, but for the signature."""
        ...

    async def aclose(self) -> None:
        """Close what we own, and send no more."""


# Through our own transport


class DirectSender:
    """Sends through our transport, with nothing in front of it: no URL is parsed, headers are written once."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._closed = False

    async def prepare(self, draft: Draft) -> Prepared:
        """See :class:`Sender`."""
        self.check_open()
        if draft.extensions and "trace" in draft.extensions:
            raise UsageError(f"{NO_TRACE}; give client=httpx.AsyncClient()")
        return _Direct(draft, self)

    async def perform(self, call: Call) -> Arrival:
        """Hand it to the transport."""
        try:
            return await self._transport.perform(call)
        except RuntimeError:
            self.check_open()  # closed while it waited there
            raise

    def check_open(self) -> None:
        """Refuse what comes too late."""
        if self._closed:
            raise UsageError(CLOSED)

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        await self._transport.aclose()


@lru_cache(maxsize=64)
def _origin_and_host(origin: str, name: str | None) -> tuple[Origin, tuple[str, str]]:
    url = httpx.URL(origin)
    return origin_of(url, name), ("Host", url.netloc.decode("ascii"))


class _Direct:
    """A request to our transport."""

    __slots__ = ("_draft", "_headers", "_keys", "_origin", "_sender")

    def __init__(self, draft: Draft, sender: DirectSender) -> None:
        self._draft = draft
        self._sender = sender
        name = draft.extensions.get("sni_hostname") if draft.extensions else None
        self._origin, host = _origin_and_host(draft.origin, name)
        given = {name.lower() for name, _ in draft.headers}
        self._keys = given & SECRET_HEADERS
        self._headers = [each for each in (host, *_USUAL) if each[0].lower() not in given]
        self._headers += draft.headers

    def headers(self) -> list[tuple[str, str]]:
        """See :class:`Prepared`."""
        return self._headers

    async def send(self, signature: dict[str, str]) -> httpx.Response:
        """See :class:`Prepared`."""
        draft, headers = self._draft, [*self._headers, *signature.items()]
        call = Call(
            origin=self._origin,
            head=write_head(draft.method, draft.target, headers),
            stream=draft.body.stream(),
            length=draft.body.length,
            bodiless=draft.method == "HEAD",
            timeouts=_timeouts(draft),
            idempotent=draft.idempotent,
            last=says_close(draft.headers),
        )
        if not TOKEN_HEADERS.isdisjoint(signature):
            shown = {name: HIDDEN if name in TOKEN_HEADERS else value for name, value in signature.items()}
            headers = [*self._headers, *shown.items()]
        if self._keys:
            headers = [(name, HIDDEN if name.lower() in self._keys else value) for name, value in headers]
            draft.headers = []  # an answer keeps the draft
        begin = monotonic()
        arrival = await self._sender.perform(call)
        return DirectResponse(arrival, draft, headers, begin)

    def bare(self) -> httpx.Request:
        """See :class:`Prepared`."""
        return httpx.Request(self._draft.method, self._draft.origin + self._draft.target)

    def forget_body(self) -> None:
        """See :class:`Prepared`. An answer keeps the draft, for whoever asks what was sent."""
        self._draft.body = NO_BODY


def _timeouts(draft: Draft) -> Mapping[str, float | None] | None:
    if draft.timeout is not None:
        return httpx.Timeout(draft.timeout).as_dict()
    return draft.extensions.get("timeout") if draft.extensions else None


# Through a caller's client


class ClientSender:
    """Sends through an :class:`httpx.AsyncClient`, or one of httpx2, which has the same API and classes of its own.

    Its ``auth`` and its redirects do not hold: requests are signed for one host, and a redirect would carry the
    signature to another.

    Args:
        client: the client.
        owned: it is closed with the sender.
        forwarding: requests go to a proxy as they are, not through a tunnel: it must be told the whole URL.
    """

    def __init__(self, client: httpx.AsyncClient, *, owned: bool = False, forwarding: bool = False) -> None:
        if len(client.params):
            raise UsageError(
                "the httpx client has default params=, which S3 would take for its own; give params= per call"
            )
        self._client = client
        self._library = library_of(client)
        self._owned = owned
        self._forwarding = forwarding
        self._closed = False

    async def prepare(self, draft: Draft) -> Prepared:
        """See :class:`Sender`."""
        self.check_open()
        client, library = self._client, self._library
        request = client.build_request(
            draft.method,
            draft.origin + draft.target,
            headers=draft.headers,
            timeout=library.USE_CLIENT_DEFAULT
            if draft.timeout is None
            else library.Timeout(**httpx.Timeout(draft.timeout).as_dict()),
            extensions=dict(draft.extensions or {}),
        )
        raw = draft.target.encode("ascii")
        if request.url.raw_path != raw:
            # httpx folds "a/../b" into "b"; httpcore, and our own transport, send this instead.
            request.extensions["target"] = draft.origin.encode("ascii") + raw if self._forwarding else raw
        request.extensions["handtruck.idempotent"] = draft.idempotent
        # An empty one too: httpx's own is an async generator, see _body.
        body = draft.body.stream()
        if isinstance(body, ViewStream):
            body.threads = None  # what is between us and the socket may cancel a hop, whose thread goes on
        request.stream = _as_stream_of(library.AsyncByteStream, body)
        return _ThroughClient(self, request, body)

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Hand it to the client."""
        self.check_open()  # it may have been closed since, while the request waited for its place
        return await self._client.send(request, stream=True, auth=None, follow_redirects=False)

    def check_open(self) -> None:
        """Refuse what comes too late."""
        if self._closed:
            raise UsageError(CLOSED)
        if self._client.is_closed:
            raise UsageError("the httpx client that was given as client= is closed")

    async def aclose(self) -> None:
        """Send no more. A caller's client stays open."""
        self._closed = True
        if self._owned:
            await settled(self._client.aclose, _CLOSING)


class _ThroughClient:
    """A request of a client's own making."""

    __slots__ = ("_body", "_request", "_sender")

    def __init__(self, sender: ClientSender, request: httpx.Request, body: httpx.AsyncByteStream) -> None:
        self._sender = sender
        self._request = request
        self._body = body

    def headers(self) -> list[tuple[str, str]]:
        """See :class:`Prepared`."""
        return self._request.headers.multi_items()

    async def send(self, signature: dict[str, str]) -> httpx.Response:
        """See :class:`Prepared`."""
        request = self._request
        request.headers.update(signature)
        secrets = [name for name in (*TOKEN_HEADERS, *SECRET_HEADERS) if name in request.headers]
        handled = sys.exception() if secrets else None
        try:
            return await self._sender.send(request)
        except BaseException as error:
            if secrets:
                forget_frames(error, handled)  # the client's hold the request's head
            raise
        finally:
            for name in secrets:
                request.headers[name] = HIDDEN

    def bare(self) -> httpx.Request:
        """See :class:`Prepared`."""
        return httpx.Request(self._request.method, str(self._request.url))

    def forget_body(self) -> None:
        """See :class:`Prepared`. An answer keeps httpcore's request, and that the stream, whatever ours has."""
        self._request.stream = library_of(self._request).ByteStream(b"")
        if isinstance(self._body, ViewStream):
            self._body.forget()


def _as_stream_of(base: type, stream: httpx.AsyncByteStream) -> Any:
    return stream if isinstance(stream, base) else _adapter(base)(stream)


@lru_cache
def _adapter(base: type) -> type:
    """The same stream as one of another library, which looks at the class."""
    return type("AdaptedStream", (_Adapted, base), {})


class _Adapted:
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._stream)
