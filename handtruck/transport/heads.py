"""The heads of requests and answers: written in one go, parsed by llhttp, and how the body behind one is framed.

Nothing here waits. What a peer may send is bounded: :data:`MAX_HEAD` bytes, :data:`MAX_HEADERS` headers.

Sources: RFC 9110 (names and values, answers without a body), RFC 9112 (messages; section 6.3: where a body ends).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import httptools
import httpx

if TYPE_CHECKING:
    from collections.abc import Iterable

RawHeaders = list[tuple[bytes, bytes]]

MAX_HEAD: Final = 64 * 1024
MAX_HEADERS: Final = 256

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET: Final = re.compile(r"[\x21-\x7e\x80-\xff]+")  # one of the caller's own making may hold more than ASCII
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH: Final = re.compile(r"[0-9]{1,19}")
_BARE_END: Final = re.compile(rb"\n\r?\n")
_BODILESS: Final = frozenset({204, 304})


def write_head(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A request's head; text stands for bytes, as in Latin-1.

    Raises:
        httpx.LocalProtocolError: something in it would be read as something else: a blank in the target, a line
            break in a value, a name that is no token.
    """
    if not _is_token(method) or not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError("the request's method or target has a character that HTTP cannot carry")
    lines = [f"{method} {target} HTTP/1.1"]
    for name, value in headers:
        if not _is_token(name):
            raise httpx.LocalProtocolError(f"{name!r} is no name of a header")
        lines.append(name + ": " + value)
    if not "".join(lines).isprintable() and any(map(_CONTROL.search, lines)):
        raise httpx.LocalProtocolError("the value of a header has a line break or another control character")
    lines += ("", "")
    try:
        return "\r\n".join(lines).encode("latin-1")
    except UnicodeEncodeError:
        raise httpx.LocalProtocolError("the request's head has a character that HTTP cannot carry") from None


@lru_cache(maxsize=512)
def _is_token(name: str) -> bool:
    return _TOKEN.fullmatch(name) is not None


def request_length(headers: Iterable[tuple[str, str]]) -> int | None:
    """How many bytes of body the headers promise; None: it goes in chunks.

    Raises:
        httpx.LocalProtocolError: they say two things, or nothing that can be understood.
    """
    length: str | None = None
    chunked = False
    for name, value in headers:
        known = name.lower()
        if known == "content-length":
            if length not in (None, value) or not _LENGTH.fullmatch(value):
                raise httpx.LocalProtocolError("the request's Content-Length is not one number")
            length = value
        elif known == "transfer-encoding":
            if chunked or value.strip().lower() != "chunked":
                raise httpx.LocalProtocolError("the request's Transfer-Encoding can only be chunked")
            chunked = True
    if chunked and length is not None:
        raise httpx.LocalProtocolError("the request has both a Content-Length and a Transfer-Encoding")
    return None if chunked else int(length or 0)


def says_close(headers: Iterable[tuple[str, str]]) -> bool:
    """A request that promises to be the connection's last."""
    return any(name.lower() == "connection" and "close" in value.lower() for name, value in headers)


@dataclass(slots=True)
class Head:
    """An answer's head.

    Attributes:
        version: ``HTTP/1.1`` or ``HTTP/1.0``.
        length: bytes of the body; None where chunks tell, or the end of the connection.
        chunks: reads the body, where it comes in chunks.
        encoded: the body has a Content-Encoding.
        keep: the connection may serve another request when the body is over.
    """

    status: int
    reason: bytes
    version: bytes
    headers: RawHeaders
    length: int | None
    chunks: Chunks | None
    encoded: bool
    keep: bool


def find_end(buffer: bytearray, start: int, stop: int) -> int:
    """Where the head in ``buffer[start:stop]`` ends, its empty line included, or -1.

    Bare line feeds end it, too: llhttp is to judge them, and nobody to wait for more.
    """
    end = buffer.find(b"\r\n\r\n", start, stop)
    if end >= 0:
        return end + 4
    bare = _BARE_END.search(buffer, start, stop)
    return bare.end() if bare else -1


class _Events:
    """What llhttp calls back with: an answer's headers, then the body that comes in chunks."""

    __slots__ = ("blocks", "extra", "headers", "over", "reason")

    def __init__(self) -> None:
        self.headers: RawHeaders = []
        self.reason: bytes = b""
        self.blocks: list[bytes] = []
        self.over: bool = False
        self.extra: bool = False

    def on_message_begin(self) -> None:
        self.extra = self.over

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.rstrip(b" \t")))

    def on_body(self, block: bytes) -> None:
        if not self.over:
            self.blocks.append(block)

    def on_message_complete(self) -> None:
        self.over = True


def parse_head(data: bytes | memoryview, *, bodiless: bool) -> Head:
    """Understand a whole head; ``bodiless``: the request was a HEAD.

    Raises:
        httpx.RemoteProtocolError: it is none, or has too many headers, or says two things about its body.
    """
    if bytes(data[:7]) != b"HTTP/1.":
        raise httpx.RemoteProtocolError("the answer is no HTTP/1.1: it does not begin with HTTP/1.")
    events = _Events()
    llhttp = httptools.HttpResponseParser(events)
    try:
        llhttp.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise httpx.RemoteProtocolError(f"the answer is no HTTP/1.1: {error}") from error
    headers, events.headers = events.headers, []  # what else comes is the trailer, which nobody asked for
    if len(headers) > MAX_HEADERS:
        raise httpx.RemoteProtocolError(f"the answer has {len(headers)} headers, more than {MAX_HEADERS}")
    status: int = llhttp.get_status_code()
    if status < 100:
        raise httpx.RemoteProtocolError(f"the answer's status is {status}")
    version = b"HTTP/" + llhttp.get_http_version().encode()
    framing = _Framing(headers)
    if bodiless or status in _BODILESS:
        framing.length, framing.chunked = 0, False
    return Head(
        status=status,
        reason=events.reason,
        version=version,
        headers=headers,
        length=framing.length,
        chunks=Chunks(events, llhttp) if framing.chunked else None,
        encoded=framing.encoded,
        keep=_stays_alive(version, framing),
    )


class _Framing:
    """What an answer's headers say of its body and of the connection."""

    __slots__ = ("chunked", "connection", "encoded", "length")

    def __init__(self, headers: RawHeaders) -> None:
        self.length: int | None = None
        self.chunked = self.encoded = False
        self.connection: list[bytes] = []
        for name, value in headers:
            match name.lower():
                case b"content-length":
                    self.length = int(value)  # llhttp has seen to it: it is one number, and there are no chunks
                case b"transfer-encoding":
                    self.chunked = _only_chunked(value, self.chunked)
                case b"connection":
                    self.connection += [token.strip() for token in value.lower().split(b",")]
                case b"content-encoding":
                    self.encoded = True


def _only_chunked(value: bytes, already: bool) -> bool:
    if already or value.strip().lower() != b"chunked":
        raise httpx.RemoteProtocolError(f"the answer's Transfer-Encoding is {value!r}, and only chunked was offered")
    return True


def _stays_alive(version: bytes, framing: _Framing) -> bool:
    if b"close" in framing.connection or (framing.length is None and not framing.chunked):
        return False
    # HTTP/1.0 knows no chunks: what reads them on its behalf may not know where they end (RFC 9112, 6.1).
    return version != b"HTTP/1.0" or (b"keep-alive" in framing.connection and not framing.chunked)


class Chunks:
    """A body in chunks; what is around them (sizes, extensions, the trailer) is dropped, and bounded."""

    __slots__ = ("_events", "_failed", "_llhttp", "_overhead")

    def __init__(self, events: _Events, llhttp: httptools.HttpResponseParser) -> None:
        self._events = events
        self._llhttp = llhttp
        self._overhead = 0
        self._failed: httpx.RemoteProtocolError | None = None

    @property
    def over(self) -> bool:
        """The last chunk was there, and the trailer."""
        return self._events.over

    @property
    def broken(self) -> bool:
        """The next call of :meth:`feed` raises."""
        return self._failed is not None

    @property
    def clean(self) -> bool:
        """Nothing came behind it."""
        return not self._events.extra

    def feed(self, data: bytes | memoryview) -> list[bytes]:
        """What ``data`` holds of the body, up to what is wrong with it, which the next call tells.

        Raises:
            httpx.RemoteProtocolError: these are no chunks, or too much is around them.
        """
        if self._failed is not None:
            raise self._failed
        events = self._events
        try:
            self._llhttp.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            events.extra = True
            if not events.over:
                self._failed = httpx.RemoteProtocolError(f"the answer's body is not in chunks, as it claims: {error}")
                self._failed.__cause__ = error
                if not events.blocks:
                    raise self._failed from error
        blocks, events.blocks = events.blocks, []
        self._overhead = 0 if blocks else self._overhead + len(data)
        if self._overhead > MAX_HEAD:
            raise httpx.RemoteProtocolError("the answer's body has too much around its chunks")
        return blocks
