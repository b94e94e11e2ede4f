"""Where the microseconds of a small GET go: processor time of each layer, from the bare sockets up.

::

    python -m benchmarks.layers --loop asyncio

runs the same 4 KiB GET, 32 at a time, against nginx through one layer after the other, the best of several rounds each,
and prints a Markdown table. A layer's own cost is the difference to the one below it.
"""

from __future__ import annotations

import argparse
import os
import resource
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx

from benchmarks.endpoints import nginx
from handtruck import S3Client, Transport
from handtruck._attempt import Options
from handtruck._body import NO_BODY
from handtruck.protocol import operations
from handtruck.transport.exchange import Call
from handtruck.transport.pool import origin_of
from handtruck.transport.senders import DirectSender, Draft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

AT_ONCE: Final = 32
REQUESTS: Final = 4000
ROUNDS: Final = 5
LOOPS: Final[dict[str, dict[str, Any]]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
SIGNED: Final = {"x-amz-date": "20261122T000000Z", "x-amz-content-sha256": "a" * 64, "authorization": "b" * 200}


def processor_time() -> float:
    """Seconds, of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def cost(work: Callable[[], Awaitable[object]]) -> float:
    """Microseconds for each call, :data:`AT_ONCE` of them at a time: the best of some rounds."""
    left = 0

    async def worker() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await work()

    rounds = []
    for _ in range(ROUNDS):
        left, before = REQUESTS, processor_time()
        async with anyio.create_task_group() as group:
            for _ in range(AT_ONCE):
                group.start_soon(worker)
        rounds.append((processor_time() - before) / REQUESTS * 1e6)
    return min(rounds)


class BareSockets:
    """What no client can do without: send, wait, receive."""

    def __init__(self, port: int, head: bytes) -> None:
        self.idle: list[socket.socket] = []
        self.port = port
        self.head = head
        self.view = memoryview(bytearray(16384))

    async def get(self) -> None:
        """One request."""
        sock = self.idle.pop() if self.idle else socket.create_connection(("127.0.0.1", self.port))
        sock.setblocking(False)
        sock.send(self.head)
        got = 0
        while got < 4096:
            await anyio.wait_readable(sock)
            got += sock.recv_into(self.view)
        self.idle.append(sock)


async def measure(url: str) -> dict[str, float]:
    """Each layer's cost, those below it included."""
    origin, transport = origin_of(httpx.URL(url), None), Transport()
    lines = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "127.0.0.1", **SIGNED}.items())
    head = f"GET /bench/small HTTP/1.1\r\n{lines}\r\n".encode()
    never = dict.fromkeys(("connect", "read", "write", "pool"))
    sender = DirectSender(transport)

    async def through_transport(timeouts: dict[str, float | None] | None) -> None:
        call = Call(
            origin=origin,
            head=head,
            stream=NO_BODY.stream(),
            length=0,
            bodiless=False,
            timeouts=timeouts,
            idempotent=True,
        )
        await (await transport.perform(call)).body.read()

    async def through_sender() -> None:
        draft = Draft(
            method="GET",
            origin=url,
            target="/bench/small",
            headers=[("Accept-Encoding", "identity")],
            body=NO_BODY,
            timeout=None,
            extensions=None,
            idempotent=True,
        )
        await (await (await sender.prepare(draft)).send(dict(SIGNED))).aread()

    async with S3Client(url, access_key_id="key-id", secret_access_key="hackme") as s3:  # noqa: S106 - nobody checks it
        operation = operations.plain("GET", s3._locate("bench/small"), (), ())
        found = {
            "bare sockets and `anyio.wait_readable`": await cost(BareSockets(origin.port, head).get),
            "+ connection pool, head parsed, body": await cost(lambda: through_transport(never)),
            "+ a stall timeout": await cost(lambda: through_transport(None)),
            "+ head written, `httpx.Response`": await cost(through_sender),
            "+ keys, place on the wire, signature, retries": await cost(
                lambda: s3._session.respond(operation, body=NO_BODY, options=Options())
            ),
            "+ arguments: `s3.get`": await cost(lambda: s3.get("bench/small")),
        }
    await transport.aclose()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Where the microseconds of a 4 KiB GET go.")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="default: all")
    loops = parser.parse_args().loop or list(LOOPS)
    with nginx() as (endpoint, _):
        assert endpoint.objects is not None
        endpoint.objects.mkdir(parents=True, exist_ok=True)
        (endpoint.objects / "small").write_bytes(os.urandom(4096))
        found = {loop: anyio.run(measure, endpoint.url, **LOOPS[loop]) for loop in loops}
    sys.stdout.write(f"| µs of CPU for each request, {AT_ONCE} at a time | {' | '.join(loops)} |\n")
    sys.stdout.write(f"| --- |{' ---: |' * len(loops)}\n")
    for layer in next(iter(found.values())):
        sys.stdout.write(f"| {layer} | {' | '.join(f'{found[loop][layer]:.0f}' for loop in loops)} |\n")


if __name__ == "__main__":
    main()
