"""One process, one client, one work: run it, look at the clocks before and after, print one line of JSON.

A client is a class with the methods of :class:`Client`: coroutines where it is asynchronous, plain functions where
threads are its way. What it cannot do raises :class:`Unsupported`. Tools of the command line are in ``_command.py``.

What is measured: the work alone. Importing, making the client and one small request, which fetches keys and opens a
connection, come before; checking the result is the runner's, afterwards. The peak of memory is the whole process's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import resource
import ssl
import sys
import threading
import time
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

MIB: Final = 1024 * 1024
SMALL: Final = 4096  # bytes of a small object
SMALL_OBJECTS: Final = 256  # how many of them there are
WORKS: Final = ("download", "upload", "upload-unsigned", "get", "put", "list")


class Unsupported(Exception):
    """The client has no way to do this work; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do: the command line's arguments.

    ``path`` is a download's target or an upload's source. ``size`` and ``part_size`` are bytes, ``workers`` is how
    many requests at once, ``count`` how many in all.
    """

    work: str
    url: str
    region: str
    access_key_id: str
    secret_access_key: str
    ca: str
    bucket: str
    key: str
    path: str
    size: int
    part_size: int
    workers: int
    count: int
    loop: str

    @property
    def secure(self) -> bool:
        return self.url.startswith("https:")

    @property
    def hashed(self) -> bool:
        """Whether an upload's payload is to be hashed."""
        return self.work != "upload-unsigned"

    @property
    def ranges(self) -> list[range]:
        """The object, cut into ranges of a part's size."""
        starts = range(0, self.size, self.part_size)
        return [range(start, min(start + self.part_size, self.size)) for start in starts]

    def context(self) -> ssl.SSLContext:
        """For clients that take one."""
        return ssl.create_default_context(cafile=self.ca or None)


class Client(Protocol):
    """What a client's class has; asynchronous ones return awaitables."""

    def __init__(self, job: Job) -> None: ...
    def download(self) -> Any: ...
    def upload(self) -> Any: ...
    def get(self, key: str) -> Any: ...
    def put(self, key: str, data: bytes) -> Any: ...
    def list(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Look:
    """A look at the clocks: seconds of the wall's, of this process's and of its children's."""

    wall: float
    user: float
    system: float

    @classmethod
    def now(cls) -> Look:
        """Look."""
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        user, system = own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime
        return cls(time.perf_counter(), user, system)

    def cost(self) -> dict[str, float]:
        """What it took since."""
        now = Look.now()
        return {"wall": now.wall - self.wall, "user": now.user - self.user, "system": now.system - self.system}


def peak_rss() -> int:
    """The most memory that this process ever had, in bytes.

    Linux counts what the process had before it became this program, its parent's memory, in ``ru_maxrss``.
    """
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(match[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def parse(arguments: Sequence[str] | None = None) -> Job:
    """The command line."""
    parser = argparse.ArgumentParser(description="Run one work with one client; prints one line of JSON.")
    for field in fields(Job):
        kind = int if field.type == "int" else str
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, required=True)
    return Job(**vars(parser.parse_args(arguments)))


def small_keys(job: Job) -> Iterator[str]:
    """The keys that a work of small objects asks for, ``count`` in all."""
    prefix = "small" if job.work == "get" else "put"
    return (f"{prefix}/{number % SMALL_OBJECTS:03}" for number in range(job.count))


def checked(body: Any) -> None:
    """A small object's body has its size."""
    if len(body) != SMALL:
        raise RuntimeError(f"a body of {len(body)} bytes instead of {SMALL}")


def report(job: Job, cost: dict[str, float], packages: Sequence[str], **more: object) -> None:
    """Print the line."""
    versions = {package: version(package) for package in packages}
    versions["python"] = sys.version.split()[0]
    line: dict[str, object] = {"cost": cost, "peak_rss": peak_rss(), "loop": job.loop, "versions": versions}
    sys.stdout.write(json.dumps(line | more) + "\n")


def run(client: Callable[[Job], Any], *packages: str) -> None:
    """Run the command line's work with a client of this kind."""
    job = parse()
    try:
        if job.loop == "threads":
            cost, listed = _run_threads(job, client(job))
        else:
            cost, listed = _run_loop(job, client)
    except Unsupported as reason:
        sys.stdout.write(json.dumps({"unsupported": str(reason)}) + "\n")
    else:
        report(job, cost, packages, listed=listed)


# --- clients with threads


def _run_threads(job: Job, client: Any) -> tuple[dict[str, float], int | None]:
    checked(client.get("small/000"))
    before = Look.now()
    listed = _thread_work(job, client)
    return before.cost(), listed


def _thread_work(job: Job, client: Any) -> int | None:
    if job.work == "list":
        return int(client.list())
    if job.work in ("get", "put"):
        in_threads(job.workers, small_keys(job), _small(job, client))
    elif job.work == "download":
        client.download()
    else:
        client.upload()
    return None


def _small(job: Job, client: Any) -> Callable[[str], None]:
    data = os.urandom(SMALL)
    if job.work == "get":
        return lambda key: checked(client.get(key))
    return lambda key: client.put(key, data)


def in_threads(count: int, items: Iterator[Any], work: Callable[[Any], object]) -> None:
    """Do the work for each item, in that many threads."""
    failures: list[BaseException] = []
    lock = threading.Lock()
    done = object()

    def following() -> object:
        with lock:
            return next(items, done)

    def worker() -> None:
        try:
            while not failures and (item := following()) is not done:
                work(item)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    threads = [threading.Thread(target=worker) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


# --- clients with an event loop


def _run_loop(job: Job, client: Callable[[Job], Any]) -> tuple[dict[str, float], int | None]:
    async def main() -> tuple[dict[str, float], int | None]:
        async with client(job) as opened:
            checked(await opened.get("small/000"))
            before = Look.now()
            listed = await _loop_work(job, opened)
            return before.cost(), listed

    if job.loop == "trio":
        import trio

        return trio.run(main)
    if job.loop == "uvloop":
        import uvloop

        return uvloop.run(main())
    import asyncio

    return asyncio.run(main())


async def _loop_work(job: Job, client: Any) -> int | None:
    if job.work == "list":
        return int(await client.list())
    if job.work in ("get", "put"):
        await in_tasks(job, small_keys(job), _small_task(job, client))
    elif job.work == "download":
        await client.download()
    else:
        await client.upload()
    return None


def _small_task(job: Job, client: Any) -> Callable[[str], Awaitable[None]]:
    data = os.urandom(SMALL)

    async def get(key: str) -> None:
        checked(await client.get(key))

    async def put(key: str) -> None:
        await client.put(key, data)

    return get if job.work == "get" else put


async def in_tasks(job: Job, items: Iterator[Any], work: Callable[[Any], Awaitable[object]]) -> None:
    """Do the work for each item, in ``workers`` tasks."""

    async def worker() -> None:
        for item in items:
            await work(item)

    if job.loop == "trio":
        import trio

        async with trio.open_nursery() as nursery:
            for _ in itertools.repeat(None, job.workers):
                nursery.start_soon(worker)
    else:
        import asyncio

        await asyncio.gather(*(worker() for _ in itertools.repeat(None, job.workers)))


def write_at(descriptor: int, data: Any, offset: int) -> None:
    """``pwrite``, all of it."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
