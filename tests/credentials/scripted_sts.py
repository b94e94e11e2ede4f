"""A Security Token Service on a real loopback socket, whose answers a test scripts and whose requests it keeps."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from anyio import to_thread

from tests.credentials.scripted_metadata import SECRET, START, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_XMLNS: Final = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    form: dict[str, str]
    body: bytes


@dataclass
class Tokens:
    """The script.

    Attributes:
        url: where it listens.
        expires: when the keys that it gives out end; None: an hour after ``clock``.
        clock: the time.
        first: statuses and bodies that are used up before there are keys.
        held: nothing is answered before :meth:`release`.
        asked: the requests so far.
    """

    url: str = ""
    clock: Callable[[], datetime] = lambda: START
    expires: datetime | None = None
    first: list[tuple[int, bytes]] = field(default_factory=list)
    held: bool = False
    asked: list[Asked] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    arrivals: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    async def arrival(self) -> None:
        """Wait until a request that is held has come in."""
        assert await to_thread.run_sync(partial(self.arrivals.acquire, timeout=10))

    def release(self) -> None:
        self.held = False
        self.released.set()

    def answer(self, request: Asked) -> tuple[int, bytes]:
        self.asked.append(request)
        number = len(self.asked)
        if self.held:
            self.arrivals.release()
            assert self.released.wait(15)
        if self.first:
            return self.first.pop(0)
        expires = self.expires or self.clock() + timedelta(hours=1)
        return 200, keys(f"ASIA{number}", expires, request.form.get("Action", ""))


def keys(key_id: str, expires: datetime, action: str = "AssumeRole", token: str = TOKEN, secret: str = SECRET) -> bytes:
    """The XML of a role's keys."""
    return (
        f'<{action}Response xmlns="{_XMLNS}"><{action}Result><AssumedRoleUser><Arn>arn:aws:sts::1:x</Arn>'
        f"</AssumedRoleUser><Credentials><AccessKeyId>{key_id}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
        f"<SessionToken>{token}</SessionToken><Expiration>{expires.strftime('%Y-%m-%dT%H:%M:%SZ')}</Expiration>"
        f"</Credentials></{action}Result><ResponseMetadata><RequestId>id</RequestId></ResponseMetadata>"
        f"</{action}Response>"
    ).encode()


def refusal(code: str, message: str = "because") -> bytes:
    """The XML of an error."""
    return (
        f'<ErrorResponse xmlns="{_XMLNS}"><Error><Type>Sender</Type><Code>{code}</Code>'
        f"<Message>{escape(message)}</Message></Error><RequestId>the-request</RequestId></ErrorResponse>"
    ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, script: Tokens) -> None:
        self.script = script
        super().__init__(*args)  # type: ignore[arg-type]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Asked(path=self.path, headers=headers, form=dict(parse_qsl(body.decode())), body=body)
        status, answer = self.script.answer(request)
        try:
            self.send_response(status)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
        except OSError:  # whoever asked has gone
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@contextmanager
def serve() -> Iterator[Tokens]:
    """The service, while the block lasts."""
    script = Tokens()
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
