"""What comes back by our own road is an ``httpx.Response`` in every respect, though hardly anything of it was made.

The same bytes are answered to our transport and to httpx's own client; whatever can be asked of the one response, the
other says the same. Where ours differs on purpose, a test of its own says so.
"""

from __future__ import annotations

import copy
import gzip
import pickle
import zlib
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck import S3Client
from handtruck.errors import ConnectionFailed, InvalidResponse
from handtruck.protocol import operations
from handtruck.transport.values import DirectRequest, DirectResponse
from tests.scripted import Reply, client, serve
from tests.senders.support import BODY, GOES_RED, http_client
from tests.transport.peer import let_others_run
from tests.transport.peer import serving as serving_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scripted import Peer
    from tests.transport.peer import Line

pytestmark = pytest.mark.anyio


def answer(status: str, *headers: bytes, body: bytes = b"", length: bool = True) -> Reply:
    lines = [b"HTTP/1.1 " + status.encode("latin-1"), *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return Reply(raw=b"\r\n".join([*lines, b"", body]))


LATIN: Final = "Grüße, für Dich\nund mich\n".encode("latin-1")
MANY: Final = (
    b"Content-Type: text/plain; charset=iso-8859-1",
    b"X-Several: one",
    b"x-several: two",
    b"X-SEVERAL:   three, four   ",
    b"Set-Cookie: first=1; Path=/",
    b"Set-Cookie: second=2; Path=/",
    b'Link: <http://next.invalid>; rel="next", <http://last.invalid>; rel="last"',
    b"X-Empty:",
    b"X-Latin: gr\xfc\xdfe",
)
ANSWERS: Final[dict[str, Reply]] = {
    "plain": answer("200 OK", body=BODY),
    "many headers": answer("200 Fine By Me", *MANY, body=LATIN),
    "utf-8": answer("200 OK", b"Content-Type: text/plain", body="grüße\r\nzwei".encode()),
    "unknown charset": answer("200 OK", b"Content-Type: text/plain; charset=klingon", body=b"abc"),
    "json": answer("200 OK", b"Content-Type: application/json", body=b'{"a": [1, 2, "\xc3\xbc"]}'),
    "empty": answer("200 OK"),
    "gzip": answer("200 OK", b"Content-Encoding: gzip", body=gzip.compress(BODY, mtime=0)),
    "deflate": answer("200 OK", b"Content-Encoding: deflate", body=zlib.compress(BODY)),
    "twice encoded": answer(
        "200 OK", b"Content-Encoding: deflate, gzip", body=gzip.compress(zlib.compress(BODY), mtime=0)
    ),
    "identity": answer("200 OK", b"Content-Encoding: identity", body=BODY),
    "unknown encoding": answer("200 OK", b"Content-Encoding: aws-chunked", body=BODY),
    "empty gzip": answer("200 OK", b"Content-Encoding: gzip"),
    "chunks": answer(
        "200 OK",
        b"Transfer-Encoding: chunked",
        length=False,
        body=b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Trailer: yes\r\n\r\n",
    ),
    "until the end": Reply(raw=b"HTTP/1.0 200 OK\r\nX-Old: yes\r\n\r\n" + BODY, then="close"),
    "no reason": answer("200 ", body=b"x"),
    "odd reason": answer("299 Gr\xfc\xdfe", body=b"x"),
    "early hints": Reply(raw=b"HTTP/1.1 103 Early\r\nX-Hint: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    "204": answer("204 No Content", length=False),
    "304": Reply(raw=b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\nETag: W/x\r\n\r\n"),
    "403": answer("403 Forbidden", b"Content-Type: application/xml", body=b"<Error><Code>AccessDenied</Code></Error>"),
    "404": answer("404 Not Found", b"Content-Type: text/html", body=b"<h1>?</h1>"),
    "moved": answer("301 Moved Permanently", b"Location: http://elsewhere.invalid/", body=b""),
    "moved nowhere": answer("307 Temporary Redirect", body=b""),
    "599": answer("599 Whatever", body=b"x"),
}

EVERYWHERE: Final = ("Set-Cookie", "x-several", "X-Empty", "x-latin", "content-length", "nowhere")
ASKED: Final[dict[str, Callable[[Any], Any]]] = {
    "status_code": lambda r: r.status_code,
    "reason_phrase": lambda r: r.reason_phrase,
    "http_version": lambda r: r.http_version,
    "headers.raw": lambda r: r.headers.raw,
    "headers": lambda r: (dict(r.headers), r.headers.multi_items(), r.headers.encoding, repr(r.headers)),
    "a header": lambda r: [r.headers.get(name) for name in EVERYWHERE],
    "lists": lambda r: [r.headers.get_list(name, split_commas=True) for name in EVERYWHERE],
    "content": lambda r: r.content,
    "text": lambda r: r.text,
    "encoding": lambda r: (r.encoding, r.charset_encoding, r.default_encoding),
    "json": lambda r: r.json(),
    "read": lambda r: (r.read(), r.read() is r.content),
    "iter_bytes": lambda r: (list(r.iter_bytes()), list(r.iter_bytes(7))),
    "iter_text": lambda r: list(r.iter_text(5)),
    "iter_lines": lambda r: list(r.iter_lines()),
    "iter_raw": lambda r: list(r.iter_raw()),
    "close": lambda r: (r.close(), r.is_closed),
    "closed": lambda r: (r.is_closed, r.is_stream_consumed),
    "kind of status": lambda r: (
        (r.is_success, r.is_error, r.is_redirect, r.is_client_error, r.is_server_error),
        (r.is_informational, r.has_redirect_location),
    ),
    "raise_for_status": lambda r: r.raise_for_status() is r,
    "cookies": lambda r: (dict(r.cookies), len(r.cookies.jar)),
    "links": lambda r: r.links,
    "history": lambda r: r.history,
    "num_bytes_downloaded": lambda r: r.num_bytes_downloaded,
    "elapsed": lambda r: timedelta() < r.elapsed < timedelta(seconds=20),
    "url": lambda r: (str(r.url), r.url == r.request.url, type(r.url)),
    "request": lambda r: (r.request.method, str(r.request.url), r.request is r.request),
    "repr": lambda r: (repr(r), str(r), repr(r.request).replace("DirectRequest", "Request")),
    "request's headers": lambda r: sorted(
        (name, value) for name, value in r.request.headers.multi_items() if name not in ("connection", "user-agent")
    ),
    "extensions": lambda r: {k: r.extensions[k] for k in ("http_version", "reason_phrase") if k in r.extensions},
    "set encoding": lambda r: setattr(r, "encoding", "utf-16"),
    "classes": lambda r: (isinstance(r, httpx.Response), isinstance(r.request, httpx.Request)),
    "hashable": lambda r: len({r, r}),
    "equal": lambda r: (r == r, r == copy.copy(r)),
}
AWAITED: Final[dict[str, Callable[[Any], Any]]] = {
    "aread": lambda r: r.aread(),
    "aclose": lambda r: r.aclose(),
    "aiter_bytes": lambda r: collected(r.aiter_bytes()),
    "aiter_bytes(3)": lambda r: collected(r.aiter_bytes(3)),
    "aiter_text": lambda r: collected(r.aiter_text()),
    "aiter_lines": lambda r: collected(r.aiter_lines()),
    "aiter_raw": lambda r: collected(r.aiter_raw()),
}


async def collected(blocks: Any) -> list[Any]:
    return [block async for block in blocks]


def said(error: Exception) -> tuple[str, str]:
    return type(error).__name__, str(error)


async def all_that_it_says(response: httpx.Response) -> dict[str, object]:
    """Everything that can be asked of a response, and what it answers, or raises."""
    told: dict[str, object] = {}
    for name, ask in ASKED.items():
        try:
            told[name] = ask(response)
        except Exception as error:  # noqa: BLE001 - compared
            told[name] = said(error)
    for name, ask in AWAITED.items():
        try:
            told[name] = await ask(response)
        except Exception as error:  # noqa: BLE001 - compared
            told[name] = said(error)
    return told


def with_a_stopped_clock(s3: S3Client) -> S3Client:
    now = s3._session.clock().replace(2026, 7, 9, 12, 0, 0, 0)
    s3._session.clock = lambda: now
    return s3


async def both(peer: Peer, method: str = "GET", **options: Any) -> tuple[DirectResponse, httpx.Response]:
    """The same request by our transport and by httpx's client."""
    options = {"session_token": "token", "max_attempts": 1, **options}
    async with client(peer, **options) as s3, http_client(httpx) as http:
        ours = await with_a_stopped_clock(s3).request(method, "b/a%20key", params={"x": "1"}, content=content(method))
        theirs = await with_a_stopped_clock(client(peer, client=http, **options)).request(
            method, "b/a%20key", params={"x": "1"}, content=content(method)
        )
    assert isinstance(ours, DirectResponse)
    assert not isinstance(theirs, DirectResponse)
    return ours, theirs


def content(method: str) -> bytes | None:
    return BODY if method == "PUT" else None


async def check_ours_says_what_theirs_says(reply: Reply, method: str) -> None:
    async with serve(reply) as peer:
        ours, theirs = await both(peer, method)
    mine, his = await all_that_it_says(ours), await all_that_it_says(theirs)
    assert [name for name in his if mine[name] != his[name]] == []
    assert mine == his


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
async def test_ours_says_what_theirs_says(name: str, method: str) -> None:
    reply = ANSWERS[name]
    assert reply.raw is not None
    if method == "HEAD":
        head, end, _ = reply.raw.rpartition(b"\r\n\r\n") if name == "early hints" else reply.raw.partition(b"\r\n\r\n")
        reply = Reply(raw=head + end, then=reply.then)
    await check_ours_says_what_theirs_says(reply, method)


CARELESS: Final[dict[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "encoded bodies as they came": lambda patch: patch.setattr(
        DirectResponse, "read", lambda self: self.__dict__.setdefault("_content", b"".join(self.stream))
    ),
    "an old version": lambda patch: patch.setattr(DirectResponse, "http_version", "HTTP/0.9"),
    "one header of each name": lambda patch: patch.setattr(
        DirectResponse, "headers", property(lambda self: httpx.Headers(dict(self._raw_headers)))
    ),
    "a request that forgot its query": lambda patch: patch.setattr(
        DirectRequest, "url", property(lambda self: httpx.URL(self._where[0]))
    ),
    "a request that forgot its headers": lambda patch: patch.setattr(
        DirectRequest, "headers", property(lambda _: httpx.Headers())
    ),
    "a new request each time": lambda patch: patch.setattr(
        DirectResponse, "_request", property(lambda self: DirectRequest(*self._sent))
    ),
}


@pytest.mark.parametrize("name", CARELESS)
async def test_mutation_a_careless_response(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    CARELESS[name](monkeypatch)
    encoded = "gzip" if "encoded" in name else "many headers"
    with pytest.raises(GOES_RED):
        await check_ours_says_what_theirs_says(ANSWERS[encoded], "GET")


# -- One by one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 403, 404, 599])
async def test_raise_for_status_tells_request_and_response(status: int) -> None:
    async with serve(ANSWERS[{301: "moved"}.get(status, str(status))]) as peer:
        for response in await both(peer):
            with pytest.raises(httpx.HTTPStatusError, match=str(status)) as caught:
                response.raise_for_status()
            assert caught.value.response is response
            assert caught.value.request is response.request
            assert caught.value.request.headers["host"] == peer.url.partition("//")[2]


@pytest.mark.parametrize("method", ["PUT", "GET"])
async def test_the_request_keeps_no_body(method: str) -> None:
    """Through httpx's client it never had one: it was built without it."""
    async with serve(ANSWERS["204"]) as peer:
        for response in await both(peer, method):
            assert await response.request.aread() == b""


async def test_reading_twice_gives_the_same_object() -> None:
    async with serve(ANSWERS["plain"]) as peer:
        for response in await both(peer):
            assert await response.aread() is await response.aread() is response.content is response.read()


async def test_elapsed_lasts_until_the_body_is_read() -> None:
    """As httpx says: from sending the request to closing the answer."""
    pause = 0.02
    begun = anyio.Event()

    async def script(line: Line) -> None:
        while await line.request() is not None:
            await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await begun.wait()
            until = monotonic() + pause
            while monotonic() < until:
                await let_others_run()
            await line.send(b"cd")

    async def release() -> None:
        await anyio.wait_all_tasks_blocked()
        begun.set()

    async with serving_raw(script, hands=1) as peer:
        for http in (None, http_client(httpx)):
            begun = anyio.Event()
            async with (
                S3Client(peer.url, http, access_key_id="k", secret_access_key="s") as s3,
                anyio.create_task_group() as group,
            ):
                group.start_soon(release)
                response = await s3.get("b/k")
                assert response.content == b"abcd"
                assert response.elapsed >= timedelta(seconds=pause)
            if http is not None:
                await http.aclose()


def pickled(response: Any) -> Any:
    return pickle.loads(pickle.dumps(response))  # noqa: S301


async def check_a_duplicate(reply: Reply, duplicate: Callable[[Any], Any]) -> None:
    async with serve(reply) as peer:
        ours, theirs = await both(peer)
    lost = {"extensions", "reason_phrase", "repr", "http_version", "close", "raise_for_status"}  # as httpx drops them
    again, twice = duplicate(ours), duplicate(duplicate(ours))
    assert type(again) is type(twice) is DirectResponse
    mine, his = await all_that_it_says(again), await all_that_it_says(duplicate(theirs))
    assert mine == his
    assert await all_that_it_says(twice) == mine
    before = await all_that_it_says(ours)
    assert {name for name, value in mine.items() if before[name] != value} <= lost
    assert pickled(ours.request).headers == ours.request.headers


@pytest.mark.parametrize("duplicate", [pickled, copy.copy])
@pytest.mark.parametrize("name", ["many headers", "gzip", "204", "403", "moved"])
async def test_it_survives_pickling_and_copying(name: str, duplicate: Callable[[Any], Any]) -> None:
    await check_a_duplicate(ANSWERS[name], duplicate)


@pytest.mark.parametrize("lost", ["_lazy_request", "_lazy_headers", "_content"])
async def test_mutation_a_duplicate_without(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state = DirectResponse.__getstate__
    monkeypatch.setattr(
        DirectResponse, "__getstate__", lambda self: {k: v for k, v in state(self).items() if k != lost}
    )
    with pytest.raises((*GOES_RED, AttributeError, TypeError)):
        await check_a_duplicate(ANSWERS["204" if lost == "_lazy_headers" else "403"], pickled)


async def test_the_connection_can_be_asked_who_is_there() -> None:
    async with serve(ANSWERS["plain"]) as peer, client(peer) as s3, http_client(httpx) as http:
        ours, theirs = await s3.get("b/k"), await client(peer, client=http).get("b/k")
        port = int(peer.url.rpartition(":")[2])
        for response in (ours, theirs):
            stream = response.extensions["network_stream"]
            assert tuple(stream.get_extra_info("server_addr")) == ("127.0.0.1", port)
            host, *_ = stream.get_extra_info("client_addr")
            assert host == "127.0.0.1"
            assert stream.get_extra_info("ssl_object") is None
            assert stream.get_extra_info("socket") is not None
            assert stream.get_extra_info("nonsense") is None


async def check_a_broken_encoding(body: bytes) -> None:
    async with serve(answer("200 OK", b"Content-Encoding: gzip", body=body)) as peer, http_client(httpx) as http:
        outcomes: list[object] = []
        for options in ({}, {"client": http}):
            async with client(peer, max_attempts=1, **options) as s3:
                try:
                    outcomes.append((await s3.get("b/k")).content)
                except ConnectionFailed as error:
                    outcomes.append((type(error), type(error.__cause__)))
        assert outcomes[0] == outcomes[1]
        assert body.startswith(b"\x1f\x8b") or outcomes[0] == (ConnectionFailed, httpx.DecodingError)


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(BODY, mtime=0)[:-20]], ids=["garbage", "half"])
async def test_a_broken_encoding_is_no_answer(body: bytes) -> None:
    """Half of a gzip stream passes for a whole one in httpx, and so it does here."""
    await check_a_broken_encoding(body)


async def test_mutation_an_encoding_that_nobody_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck._session.undecodable", lambda _: False)
    with pytest.raises(InvalidResponse):
        await check_a_broken_encoding(b"no gzip at all")


async def test_what_was_closed_unread_stays_unread() -> None:
    """As httpx's own, before and after pickling."""
    async with serve(ANSWERS["plain"]) as peer, client(peer) as s3:
        kept: list[httpx.Response] = []

        async def receive(_: object, response: httpx.Response, __: int) -> None:
            with pytest.raises(httpx.ResponseNotRead):
                _ = response.content
            with pytest.raises(RuntimeError, match="sync iterator on an async stream"):
                response.read()
            await response.aclose()
            kept.append(response)

        operation = operations.plain("GET", s3._locate("b/k"), (), ())
        await s3._session.exchange(lambda: operation, receive)
        for response in (kept[0], pickled(kept[0])):
            assert response.is_closed
            with pytest.raises(httpx.StreamClosed):
                await response.aread()
