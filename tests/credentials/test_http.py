"""One small request: bounded in size and time, nowhere but where it was sent, and nothing of it in an error."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import pytest

from handtruck.credentials import http
from handtruck.credentials.http import LARGEST_ANSWER, ask
from handtruck.errors import ConnectionFailed, InvalidResponse, TransferTimeout, UsageError
from tests.credentials.scripted_service import Service, serve
from tests.leaks import assert_clean, leaks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

pytestmark = pytest.mark.anyio

SENT = ("marker-header", "marker-body")
HEADERS = {"x-token": SENT[0]}
MARKERS = (*SENT, "marker-answer")


@pytest.fixture(name="service")
def _service() -> Iterator[Service]:
    with serve(lambda _: (200, b"marker-answer")) as service:
        yield service


@contextmanager
def raw(*answer: bytes, pause: float = 0) -> Generator[str]:
    """Somebody who takes one request and answers these bytes, one after the other; then hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                for block in answer:
                    try:
                        connection.sendall(block)
                    except OSError:  # whoever asked has gone
                        return
                    over.wait(pause)

        over = threading.Event()
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/path?query"
        finally:
            over.set()
            thread.join()


async def test_what_is_sent_and_what_comes_back(service: Service) -> None:
    status, body = await ask(
        "POST", service.url + "/a%2Fb?c=d%20e", service="it", headers=HEADERS, content=SENT[1].encode(), timeout=10
    )
    assert (status, bytes(body)) == (200, b"marker-answer")
    assert repr(body) == "b'[secure]'"
    [request] = service.requests
    assert (request.method, request.path, request.body) == ("POST", "/a%2Fb?c=d%20e", SENT[1].encode())
    assert {"x-token": SENT[0], "accept-encoding": "identity"}.items() <= request.headers.items()


@pytest.mark.parametrize("status", [204, 302, 404, 500])
async def test_every_status_is_an_answer(service: Service, status: int) -> None:
    """A redirect, too: nobody follows it."""
    service.first = [(status, b"")]
    assert (await ask("GET", service.url, service="it", timeout=10))[0] == status
    assert len(service.requests) == 1


async def test_an_answer_that_is_too_long(service: Service) -> None:
    service.first = [(200, b"x" * LARGEST_ANSWER), (200, b"x" * (LARGEST_ANSWER + 1))]
    assert len((await ask("GET", service.url, service="it", timeout=10))[1]) == LARGEST_ANSWER
    with pytest.raises(InvalidResponse, match="answer of it to GET / is longer"):
        await ask("GET", service.url, service="it", timeout=10)


async def test_the_time_is_for_all_of_it() -> None:
    """An answer that comes drop by drop never stalls, and yet takes too long."""
    begin = monotonic()
    drops = [b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", *[b"marker-answer"] * 70]
    with (
        raw(*drops, pause=0.05) as url,
        pytest.raises(TransferTimeout, match=r"it did not answer GET /path$") as raised,
    ):
        await ask("GET", url, service="it", headers=HEADERS, content=SENT[1].encode(), timeout=0.3)
    assert monotonic() - begin < 3
    assert raised.value.sent is False
    assert_clean(raised.value, MARKERS)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nmarker-answer", b"marker-answer\r\n\r\n"]
)
async def test_half_an_answer(answer: bytes) -> None:
    with raw(answer) as url, pytest.raises(ConnectionFailed, match=r"no answer from it to the wish$") as raised:
        await ask("GET", url, service="it", headers=HEADERS, content=SENT[1].encode(), timeout=10, what="the wish")
    assert_clean(raised.value, MARKERS)


async def test_mutation_frames_that_keep_their_locals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "forget_frames", lambda *_: None)
    with raw(b"") as url, pytest.raises(ConnectionFailed) as raised:
        await ask("GET", url, service="it", headers=HEADERS, content=SENT[1].encode(), timeout=10)
    assert leaks(raised.value, MARKERS), "whoever sends has the head in a local"


async def test_a_cancelled_request_shows_nothing_and_leaves_nothing(service: Service) -> None:
    service.hold = True
    seen: list[BaseException] = []

    async def get() -> None:
        try:
            await ask("GET", service.url, service="it", headers=HEADERS, timeout=10)
        except BaseException as error:
            seen.append(error)
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(get)
        await service.arrival()
        tasks.cancel_scope.cancel()
    assert_clean(seen[0], MARKERS)


@pytest.mark.parametrize(
    "url", ["ftp://host", "host", "http://", "http://user:marker-body@host", "http://h:marker-body", "\0"]
)
async def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="the URL of it has to be an http:// or https:// URL") as raised:
        await ask("GET", url, service="it", timeout=10)
    assert_clean(raised.value, MARKERS)


async def test_proxies_of_the_environment(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where they are asked for."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", service.url)
    with pytest.raises(ConnectionFailed, match="no answer from it"):
        await ask("GET", "http://127.0.0.1:1/x", service="it", timeout=10)
    assert service.requests == []
    status, _ = await ask("GET", "http://127.0.0.1:1/x", service="it", headers=HEADERS, timeout=10, through_proxy=True)
    [request] = service.requests
    assert (status, request.path, request.headers["x-token"]) == (200, "http://127.0.0.1:1/x", SENT[0])


async def test_certificates_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("httpx.create_ssl_context", unreadable)
    with pytest.raises(UsageError, match="the CA certificates for it cannot be read: No such file"):
        await ask("GET", "https://127.0.0.1:1/x", service="it", timeout=10)
