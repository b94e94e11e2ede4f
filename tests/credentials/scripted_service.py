"""A small HTTP service on a real loopback socket, whose answers a test scripts and whose requests it keeps."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

Answer = tuple[int, bytes]


@dataclass(frozen=True)
class Request:
    """What came in; headers by their names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Service:
    """The script.

    Attributes:
        url: where it listens.
        answer: gives status and body of an answer; 0 closes the connection without one.
        first: answers that come before all others.
        hold: requests are not answered before :meth:`release`.
        requests: so far.
    """

    answer: Callable[[Request], Answer]
    url: str = ""
    first: list[Answer] = field(default_factory=list)
    hold: bool = False
    requests: list[Request] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    arrivals: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def arrival(self) -> None:
        """Wait until a request that is held has come in."""
        assert await to_thread.run_sync(partial(self.arrivals.acquire, timeout=10))

    def release(self) -> None:
        """Answer from now on."""
        self.hold = False
        self.released.set()

    def reply(self, request: Request) -> Answer:
        """The answer to a request."""
        with self.lock:
            self.requests.append(request)
            if self.first:
                return self.first.pop(0)
        if self.hold:
            self.arrivals.release()
            assert self.released.wait(15)
        return self.answer(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, script: Service) -> None:
        self.script = script
        super().__init__(*args)  # type: ignore[arg-type]

    def respond(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        content = self.rfile.read(int(headers.get("content-length", "0")))
        status, body = self.script.reply(Request(self.command, self.path, headers, content))
        if status == 0:
            self.close_connection = True
            return
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # whoever asked has gone
            self.close_connection = True

    do_GET = do_POST = do_PUT = respond  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@contextmanager
def serve(answer: Callable[[Request], Answer]) -> Generator[Service]:
    """The service, while the block lasts."""
    script = Service(answer)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, script=script))
    server.daemon_threads = False
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=partial(server.serve_forever, 0.01))
    thread.start()
    try:
        yield script
    finally:
        script.release()
        server.shutdown()
        server.server_close()
        thread.join()
