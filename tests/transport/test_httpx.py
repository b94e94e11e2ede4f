"""What users of httpx rely on, through an AsyncClient with this transport."""

from __future__ import annotations

import gzip
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

import handtruck
from tests.transport.peer import Line, answer, ok, serving
from tests.transport.support import assert_at_rest, idle, pattern, raw, transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.transport.certificates import Authority

pytestmark = pytest.mark.anyio

TEXT: Final = b"one\ntwo\r\nthree"
BODY: Final = pattern(300_000)


async def test_the_public_name() -> None:
    async with serving(ok(b"fine")) as peer:
        async with httpx.AsyncClient(transport=handtruck.Transport()) as client:
            response = await client.get(peer.url)
            response.raise_for_status()
            assert (response.status_code, response.text) == (200, "fine")
        await peer.deserted()  # the client has closed its transport


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_what_an_answer_tells(version: bytes) -> None:
    reply = answer(version + b" 418 I'm a Teapot\r\nContent-Length: 3\r\nX-A: 1\r\nx-a: 2\r\nX-L: \xfc\r\n\r\npot")
    async with serving(reply) as peer, httpx.AsyncClient(transport=transport()) as client:
        response = await client.get(peer.url)
        assert response.http_version == version.decode()
        assert response.reason_phrase == "I'm a Teapot"
        assert (response.status_code, response.content) == (418, b"pot")
        assert response.headers.get_list("x-a") == ["1", "2"]
        assert response.headers["X-L"] == "\xfc"
        assert response.headers.raw[1:3] == [(b"X-A", b"1"), (b"x-a", b"2")]
        assert response.elapsed.total_seconds() > 0
        assert response.request.url == peer.url
        assert response.is_closed
        assert response.num_bytes_downloaded == 3


async def test_the_network_stream(authority: Authority) -> None:
    async with (
        serving(ok(BODY), tls=authority.serving()) as peer,
        httpx.AsyncClient(transport=transport(ssl_context=authority.trusting())) as client,
        client.stream("GET", peer.url) as response,
    ):
        stream = response.extensions["network_stream"]
        assert stream.get_extra_info("server_addr") == ("127.0.0.1", peer.port)
        assert stream.get_extra_info("client_addr")[0] == "127.0.0.1"
        assert stream.get_extra_info("ssl_object").version() == "TLSv1.3"
        assert stream.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        assert isinstance(stream.get_extra_info("ssl_object"), ssl.SSLSocket)
        assert isinstance(stream.get_extra_info("socket"), socket.socket)
        assert stream.get_extra_info("what?") is None


async def test_the_network_stream_of_an_answer_that_is_over() -> None:
    """Hooks and logs look late: then it knows less, and raises nothing."""
    reply = ok(b"fine", b"Connection: close")
    async with serving(reply) as peer, httpx.AsyncClient(transport=transport()) as client:
        response = await client.get(peer.url)
        for name in ("server_addr", "client_addr", "ssl_object", "socket", "is_readable"):
            response.extensions["network_stream"].get_extra_info(name)


async def test_streams() -> None:
    async with serving(ok(TEXT)) as peer, httpx.AsyncClient(transport=transport()) as client:
        async with client.stream("GET", peer.url) as response:
            assert [line async for line in response.aiter_lines()] == ["one", "two", "three"]
        async with client.stream("GET", peer.url) as response:
            assert [text async for text in response.aiter_text(5)] == ["one\nt", "wo\r\nt", "hree"]
        async with client.stream("GET", peer.url) as response:
            assert b"".join([block async for block in response.aiter_raw()]) == TEXT
        async with client.stream("GET", peer.url) as response:
            assert await response.aread() == TEXT
        assert peer.connections == 1
    async with serving(ok(BODY)) as peer, httpx.AsyncClient(transport=(own := transport())) as client:
        async with client.stream("GET", peer.url) as response:
            assert BODY.startswith(await anext(aiter(raw(response))))
        assert_at_rest(own)
        with pytest.raises(httpx.StreamClosed):
            await response.aread()


async def test_readinto_behind_a_client() -> None:
    async with (
        serving(ok(BODY)) as peer,
        httpx.AsyncClient(transport=transport()) as client,
        client.stream("GET", peer.url) as response,
    ):
        memory = bytearray(400_000)
        assert await raw(response).readinto(memory) == len(BODY)
        assert memory[: len(BODY)] == BODY


@pytest.mark.parametrize("chunked", [False, True])
async def test_gzip(chunked: bool) -> None:
    """Undone by httpx; the raw bytes stay what they are."""
    packed = gzip.compress(TEXT)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
    reply = answer(head + b"Content-Length: %d\r\n\r\n" % len(packed) + packed)
    if chunked:
        reply = answer(head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))
    async with serving(reply) as peer, httpx.AsyncClient(transport=transport()) as client:
        assert (await client.get(peer.url)).content == TEXT
        async with client.stream("GET", peer.url) as response:
            assert b"".join([block async for block in response.aiter_raw()]) == packed


async def test_redirects() -> None:
    """The body of an answer that redirects is not read by us, yet its connection serves the next."""

    async def script(line: Line) -> None:
        while (request := await line.request()) is not None:
            if request.target == b"/end":
                await line.send(*ok(request.method.encode() + b" " + request.body).segments)
                continue
            status = b"307 Again" if request.target == b"/post" else b"302 Found"
            await line.send(b"HTTP/1.1 %b\r\nLocation: /end\r\nContent-Length: 4\r\n\r\nmove" % status)

    async with serving(script) as peer:
        async with httpx.AsyncClient(transport=transport(), base_url=peer.url, follow_redirects=True) as client:
            response = await client.get("/start")
            assert response.content == b"GET "
            assert [each.status_code for each in response.history] == [302]
            assert (await client.post("/post", content=b"again")).content == b"POST again"
        assert peer.connections == 1


async def test_hooks_headers_cookies_and_authentication() -> None:
    seen: list[str] = []

    async def before(request: httpx.Request) -> None:
        seen.append(f"{request.method} {request.url.path}")
        request.headers["X-Hook"] = "yes"

    async def after(response: httpx.Response) -> None:
        await response.aread()
        seen.append(f"{response.status_code} {response.text}")

    hooks: dict[str, Any] = {"request": [before], "response": [after]}
    options: dict[str, Any] = {"headers": {"X-Client": "1"}, "params": {"q": "a b"}, "auth": ("user", "secret")}
    async with serving(ok(b"fine", b"Set-Cookie: a=b")) as peer:
        async with httpx.AsyncClient(
            transport=transport(), base_url=f"{peer.url}/base/", event_hooks=hooks, **options
        ) as client:
            await client.get("one")
            await client.get("two")
        assert seen == ["GET /base/one", "200 fine", "GET /base/two", "200 fine"]
        first, second = peer.requests
        assert first.target == b"/base/one?q=a+b"
        assert (first.headers["x-hook"], first.headers["x-client"]) == ("yes", "1")
        assert first.headers["authorization"].startswith("Basic ")
        assert "cookie" not in first.headers
        assert second.headers["cookie"] == "a=b"
        assert peer.connections == 1


async def test_targets() -> None:
    """Folded by httpx; but not those of the extension."""
    async with serving(ok()) as peer, httpx.AsyncClient(transport=transport()) as client:
        await client.get(f"{peer.url}/a/../b?c=ü#d")
        await client.get(peer.url, extensions={"target": b"/a/../b"})
        assert [request.target for request in peer.requests] == [b"/b?c=%C3%BC", b"/a/../b"]


async def test_the_host_header() -> None:
    async with serving(ok()) as peer, httpx.AsyncClient(transport=transport()) as client:
        await client.get(peer.url)
        await client.get(peer.url, headers={"Host": "other.test"})
        assert [request.headers["host"] for request in peer.requests] == [f"127.0.0.1:{peer.port}", "other.test"]


async def test_errors_know_their_request() -> None:
    async def script(line: Line) -> None:
        await line.request()
        await line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")

    async with serving(script) as peer, httpx.AsyncClient(transport=(own := transport())) as client:
        with pytest.raises(httpx.RemoteProtocolError) as caught:
            await client.get(peer.url)
        assert caught.value.request.url == peer.url
        with pytest.raises(httpx.ConnectError) as refused:
            await client.get("http://127.0.0.1:1/")
        assert refused.value.request.url.port == 1
        assert_at_rest(own)
        assert not idle(own)


async def test_uploads() -> None:
    """What httpx makes of each kind of content."""

    async def blocks() -> AsyncIterator[bytes]:
        for start in range(0, len(BODY), 70_000):
            yield BODY[start : start + 70_000]

    async with serving(ok()) as peer, httpx.AsyncClient(transport=transport()) as client:
        await client.put(peer.url, content=BODY)
        await client.put(peer.url, content=blocks())
        await client.put(peer.url, content=blocks(), headers={"Content-Length": str(len(BODY))})
        await client.put(peer.url, data={"a": "1"})
        assert [request.body for request in peer.requests[:3]] == [BODY] * 3
        assert peer.requests[1].headers["transfer-encoding"] == "chunked"
        assert "transfer-encoding" not in peer.requests[2].headers
        assert peer.requests[3].body == b"a=1"
        assert peer.connections == 1


async def test_mounted_for_some_urls(tmp_path: Path) -> None:
    path = str(tmp_path / "peer")
    async with serving(ok(b"socket"), uds=path), serving(ok(b"network")) as peer:
        mounts = {"http://socket.test": transport(uds=path)}
        async with httpx.AsyncClient(transport=transport(), mounts=mounts) as client:
            assert (await client.get("http://socket.test/x")).content == b"socket"
            assert (await client.get(peer.url)).content == b"network"
