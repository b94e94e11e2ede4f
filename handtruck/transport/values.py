"""httpx's requests and answers, as they come out of our own transport: what nobody looks at is not made.

To parse a URL, or to normalise a dozen headers, takes about as long as to send a small request.
"""

from __future__ import annotations

from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from .bodies import Arrival
    from .heads import RawHeaders
    from .senders import Draft


class DirectRequest(httpx.Request):
    """What was sent."""

    def __init__(self, draft: Draft, headers: list[tuple[str, str]]) -> None:
        self.method: str = draft.method
        self.stream: httpx.AsyncByteStream = draft.body.stream()
        self.extensions: dict[str, Any] = {**draft.extensions} if draft.extensions else {}
        self._where = draft.origin, draft.target
        self._pairs = headers
        self._url: httpx.URL | None = None
        if not draft.body.length:
            self._content = b""
        self._headers: httpx.Headers | None = None

    @property
    def url(self) -> httpx.URL:
        """Where it went."""
        if self._url is None:
            self._url = httpx.URL("".join(self._where))
        return self._url

    @url.setter
    def url(self, url: httpx.URL) -> None:
        self._url = url

    @property
    def headers(self) -> httpx.Headers:
        """All that were sent."""
        if self._headers is None:
            self._headers = httpx.Headers(self._pairs)
        return self._headers

    @headers.setter
    def headers(self, headers: httpx.Headers) -> None:
        self._headers = headers


class DirectResponse(httpx.Response):
    """What came back; its body is still to be read."""

    def __init__(self, arrival: Arrival, draft: Draft, headers: list[tuple[str, str]], begin: float) -> None:
        head = arrival.head
        self.status_code: int = head.status
        self.is_closed: bool = False
        self.is_stream_consumed: bool = False
        self.default_encoding = "utf-8"
        self.history: list[httpx.Response] = []
        self.next_request: httpx.Request | None = None
        self.stream: httpx.AsyncByteStream = arrival.body
        self.extensions: dict[str, Any] = arrival.extensions()
        self._arrival: Arrival | None = arrival
        self._raw_headers: RawHeaders = head.headers
        self._lazy_headers: httpx.Headers | None = None
        self._sent = draft, headers
        self._lazy_request: httpx.Request | None = None
        self._num_bytes_downloaded = 0
        self._begin = begin

    @property
    def headers(self) -> httpx.Headers:
        """All that came."""
        if self._lazy_headers is None:
            self._lazy_headers = httpx.Headers(self._raw_headers)
        return self._lazy_headers

    @headers.setter
    def headers(self, headers: httpx.Headers) -> None:
        self._lazy_headers = headers

    @property
    def _request(self) -> httpx.Request:
        if self._lazy_request is None:
            self._lazy_request = DirectRequest(*self._sent)
        return self._lazy_request

    @_request.setter
    def _request(self, request: httpx.Request) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self._lazy_request = request

    def __getstate__(self) -> dict[str, Any]:
        lazy = {"_lazy_request": self._request, "_lazy_headers": self.headers, "_arrival": None, "_sent": None}
        return {**super().__getstate__(), **lazy}

    async def aread(self) -> bytes:
        """As httpx's, but a body that is not encoded goes no way round through iterators and decoders."""
        arrival, self._arrival = self._arrival, None
        if arrival is None or self.is_stream_consumed or self.is_closed:
            return await super().aread()
        content = await arrival.body.read()
        if arrival.head.encoded:
            self.stream = httpx.ByteStream(content)
            self.elapsed = timedelta(seconds=monotonic() - self._begin)
            return self.read()
        self._content = content
        self.elapsed = timedelta(seconds=monotonic() - self._begin)
        self._num_bytes_downloaded = len(content)
        self.is_closed = self.is_stream_consumed = True
        return content

    async def aclose(self) -> None:
        """As httpx's."""
        if not self.is_closed:
            self.elapsed = timedelta(seconds=monotonic() - self._begin)
        await super().aclose()
