"""An EC2 metadata service on a real loopback socket, whose answers a test scripts and whose requests it counts."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from anyio import to_thread

if TYPE_CHECKING:
    from collections.abc import Generator

START: Final = datetime(2025, 3, 1, 12, tzinfo=UTC)
SECRET: Final = "marker/secret+key"
TOKEN: Final = "marker-session-token"
PASS: Final = "marker-imds-token"
MARKERS: Final = (SECRET, TOKEN, PASS)
ROLE: Final = "the-role"
REGION: Final = "eu-north-1"

_PATHS: Final = {
    "/latest/api/token": "token",
    "/latest/meta-data/iam/security-credentials/": "role",
    f"/latest/meta-data/iam/security-credentials/{ROLE}": "keys",
    "/latest/dynamic/instance-identity/document": "region",
}
REQUESTS: Final = tuple(_PATHS.values())


class Clock:
    """The time, which only moves when told to."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **amount: float) -> None:
        self.now += timedelta(**amount)


@dataclass
class Metadata:
    """The script.

    Attributes:
        url: where it listens.
        version: 1 knows no token and answers 404 to the request for one; 2 refuses requests without one.
        answers: status and body by request (``token role keys region``), instead of the usual ones; a list
            is used up first.
        held: requests that are not answered before :meth:`release`.
        expires: when the keys that it gives out end.
        counts: requests so far.
        unknown: paths asked for that the service does not have.
    """

    url: str = ""
    version: int = 2
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    first: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    expires: datetime = START + timedelta(hours=6)
    counts: Counter[str] = field(default_factory=Counter)
    unknown: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    arrivals: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    lock: threading.Lock = field(default_factory=threading.Lock)

    async def arrival(self) -> None:
        """Wait until a request that is held has come in."""
        assert await to_thread.run_sync(partial(self.arrivals.acquire, timeout=10))

    def release(self) -> None:
        self.held.clear()
        self.released.set()

    def answer(self, name: str, sent: str | None) -> tuple[int, bytes]:
        with self.lock:
            self.counts[name] += 1
            number = self.counts[name]
            if self.first.get(name):
                return self.first[name].pop(0)
        if name in self.held:
            self.arrivals.release()
            assert self.released.wait(15)
        if name in self.answers:
            return self.answers[name]
        if name == "token":
            return (200, PASS.encode()) if self.version == 2 else (404, b"")
        if self.version == 2 and sent != PASS:
            return 401, b""
        return 200, self.body(name, number)

    def body(self, name: str, number: int) -> bytes:
        if name == "role":
            return f"{ROLE}\nanother-role".encode()
        if name == "region":
            return json.dumps({"region": REGION, "accountId": "1"}).encode()
        return keys(f"ASIA{number}", self.expires)


def keys(key_id: str, expires: datetime) -> bytes:
    """The JSON of a role's keys."""
    return json.dumps(
        {
            "Code": "Success",
            "LastUpdated": "2025-03-01T11:00:00Z",
            "Type": "AWS-HMAC",
            "AccessKeyId": key_id,
            "SecretAccessKey": SECRET,
            "Token": TOKEN,
            "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    ).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: object, script: Metadata) -> None:
        self.script = script
        super().__init__(*args)  # type: ignore[arg-type]

    def reply(self) -> None:
        name = _PATHS.get(self.path)
        if name is None:
            self.script.unknown.append(self.path)
        status, body = self.script.answer(name or "unknown", self.headers.get("x-aws-ec2-metadata-token"))
        try:
            self.send_response(status)
            if status == 302:
                self.send_header("location", body.decode())
            self.send_header("content-length", str(len(body)))
            self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)
        except OSError:  # whoever asked has gone
            self.close_connection = True

    do_GET = do_PUT = reply  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


@contextmanager
def serve() -> Generator[Metadata]:
    """The service, while the block lasts."""
    script = Metadata()
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
