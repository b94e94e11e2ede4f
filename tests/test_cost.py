"""What a request costs, in calls that Python makes: a number that does not depend on how busy the machine is.

Microseconds rot silently, because no test can hold them to anything on a shared machine. Calls can be counted. The
limits are what was counted when the benchmarks of docs/performance.md were run, and a tenth.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections import Counter
from contextlib import contextmanager
from functools import partial
from mmap import mmap
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest

from handtruck import S3Client, _body, _tasks
from handtruck._tasks import in_thread
from handtruck.credentials import StaticCredentials
from handtruck.transfer import files, sources, workers
from handtruck.transfer.buffers import Buffers
from handtruck.transport import bodies, reading, senders, wire
from handtruck.transport.bodies import ResponseBody
from tests.scripted import store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path
    from types import CodeType, FrameType

LOOPS: Final = {
    "asyncio": partial(anyio.run, backend="asyncio"),
    "asyncio+uvloop": partial(anyio.run, backend="asyncio", backend_options={"use_uvloop": True}),
    "trio": partial(anyio.run, backend="trio"),
}
REQUESTS: Final = 20
BODY: Final = b"x" * 4096
ANSWER: Final = (
    b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Type: application/octet-stream\r\nServer: counting\r\n'
    b"Content-Length: 4096\r\n\r\n" + BODY
)
FORBIDDEN: Final = ("CapacityLimiter", "TaskGroup", "URL.__init__", "Headers.__init__", "run_sync_in_worker_thread")
"""What a small request must do without: threads, task groups, parsing of URLs, headers that nobody looks at."""


def _answer_everything(listener: socket.socket) -> None:
    """In a thread of its own, so that what it does is not counted."""
    sock, _ = listener.accept()
    with sock:
        received = b""
        while block := sock.recv(65536):
            received += block
            head, found, rest = received.partition(b"\r\n\r\n")
            if found and len(rest) >= (len(BODY) if head.startswith(b"PUT") else 0):
                received = b""
                sock.sendall(ANSWER)


@contextmanager
def _server() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_answer_everything, args=(listener,))
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread.join()


def _count_calls(loop: str, call: Callable[[S3Client], Awaitable[object]]) -> tuple[float, Counter[str]]:
    """Calls of Python and C functions for each request on a connection that is there; and which functions."""
    names: Counter[str] = Counter()
    code: dict[CodeType, str] = {}

    def note(frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            names[code.setdefault(frame.f_code, frame.f_code.co_qualname)] += 1
        elif event == "c_call":
            names[what.__name__] += 1

    async def main(url: str) -> None:
        async with S3Client(url, credentials=StaticCredentials("id", "key")) as s3:
            await call(s3)
            await call(s3)  # by now everything is made that is made once
            sys.setprofile(note)
            try:
                for _ in range(REQUESTS):
                    await call(s3)
            finally:
                sys.setprofile(None)

    with _server() as url:
        LOOPS[loop](main, url)
    return sum(names.values()) / REQUESTS, names


async def _get(s3: S3Client) -> None:
    assert (await s3.get("bucket/key")).status_code == 200


async def _put(s3: S3Client) -> None:
    assert (await s3.put("bucket/key", BODY)).status_code == 200


LIMITS: Final = {
    ("asyncio", "_get"): 450,
    ("asyncio", "_put"): 470,
    ("asyncio+uvloop", "_get"): 335,
    ("asyncio+uvloop", "_put"): 355,
    ("trio", "_get"): 415,
    ("trio", "_put"): 435,
}


def check_the_cost(loop: str, call: Callable[[S3Client], Awaitable[object]]) -> None:
    calls, names = _count_calls(loop, call)
    assert not [name for name in names if any(word in name for word in FORBIDDEN)]
    assert calls <= LIMITS[loop, call.__name__], names.most_common(40)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("call", [_get, _put])
def test_calls_that_a_small_request_makes(loop: str, call: Callable[[S3Client], Awaitable[object]]) -> None:
    check_the_cost(loop, call)


def _parse_a_url(sender: senders.DirectSender, draft: senders.Draft) -> None:
    httpx.URL(draft.origin + draft.target)


def _hop_into_a_thread(*_: object) -> None:
    anyio.CapacityLimiter(1)


def _dawdle(*_: object) -> None:
    for _number in range(100):
        len("")


@pytest.mark.parametrize("mutation", [_parse_a_url, _hop_into_a_thread, _dawdle])
def test_mutation_the_hot_path_grows(mutation: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = senders.DirectSender.prepare

    async def mutated(self: senders.DirectSender, draft: senders.Draft) -> senders.Prepared:
        mutation(self, draft)
        return await prepare(self, draft)

    monkeypatch.setattr(senders.DirectSender, "prepare", mutated)
    with pytest.raises(AssertionError):
        check_the_cost("trio", _get)


MIB: Final = 1024 * 1024


async def check_the_hops_of_a_download(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranges of 4 MiB through blocks of 2 MiB, over a network that never pauses for long enough to be left."""
    counted: Counter[str] = Counter()
    written: list[int] = []
    blocks: list[object] = []
    pour, readinto, write = ResponseBody.pour, ResponseBody.readinto, files.PositionalFile.write

    async def counted_pour(self: ResponseBody, *args: Any) -> int:
        counted["pour"] += 1
        return await pour(self, *args)

    async def counted_readinto(self: ResponseBody, buffer: bytearray | memoryview) -> int:
        counted["readinto"] += 1
        return await readinto(self, buffer)

    async def counted_hop(function: Callable[..., Any], *args: Any, limiter: anyio.CapacityLimiter) -> Any:
        counted["hop"] += 1
        return await in_thread(function, *args, limiter=limiter)

    def counted_write(self: files.PositionalFile, view: memoryview, offset: int) -> None:
        written.append(len(view))
        blocks.append(view.obj)
        write(self, view, offset)

    monkeypatch.setattr(wire, "_PAUSE", 10_000)
    monkeypatch.setattr(bodies, "HOP_TIME", 60.0)
    monkeypatch.setattr(ResponseBody, "pour", counted_pour)
    monkeypatch.setattr(ResponseBody, "readinto", counted_readinto)
    monkeypatch.setattr(bodies, "in_thread", counted_hop)
    monkeypatch.setattr(reading, "in_thread", counted_hop)
    monkeypatch.setattr(files.PositionalFile, "write", counted_write)
    monkeypatch.setattr(httpx.Response, "aiter_raw", None)  # what copies
    body = bytes(range(256)) * (8 * MIB // 256)
    async with store() as (s3, tiny):
        tiny.put("b/k", body)
        await s3.get_file_parallel("b/k", target, range_step=4 * MIB, buffer_size=2 * MIB, workers_count=2)
    assert target.read_bytes() == body
    assert counted == {"pour": 2, "hop": 2}
    assert written == [2 * MIB] * 4
    assert {type(block) for block in blocks} == {mmap}
    assert len({id(block) for block in blocks}) <= 2


@pytest.mark.anyio
async def test_hops_and_writes_that_a_download_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hop into a thread for each range, a write for each block; however the bytes came over the wire."""
    await check_the_hops_of_a_download(tmp_path / "k", monkeypatch)


@pytest.mark.anyio
async def test_mutation_a_hop_for_each_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "HOP", 1)
    with pytest.raises(AssertionError):
        await check_the_hops_of_a_download(tmp_path / "k", monkeypatch)


@pytest.mark.anyio
async def test_mutation_writes_of_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = wire.Wire.fill
    monkeypatch.setattr(wire.Wire, "fill", lambda self, view, until: fill(self, view[: 64 * 1024], until))
    with pytest.raises(AssertionError):
        await check_the_hops_of_a_download(tmp_path / "k", monkeypatch)


async def check_what_a_small_download_takes(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hops: the part is made, the bytes are written, it is renamed. Tasks: the job's, its feeder's, a worker's."""
    counted: Counter[str] = Counter()
    run_sync, start_soon = anyio.to_thread.run_sync, _tasks.Siblings.start_soon

    async def hop(*args: Any, **options: Any) -> Any:
        counted["hop"] += 1
        return await run_sync(*args, **options)

    def start(self: _tasks.Siblings, *args: Any) -> None:
        counted["task"] += 1
        start_soon(self, *args)

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await s3.head("b/k")  # looks for a profile, once
        monkeypatch.setattr(anyio.to_thread, "run_sync", hop)
        monkeypatch.setattr(_tasks.Siblings, "start_soon", start)
        monkeypatch.setattr(Buffers, "take", None)  # a huge page
        await s3.get_file_parallel("b/k", target, workers_count=8)
    assert target.read_bytes() == BODY
    assert counted == {"hop": 3, "task": 3}


@pytest.mark.anyio
async def test_what_a_small_download_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_what_a_small_download_takes(tmp_path / "k", monkeypatch)


@pytest.mark.anyio
async def test_mutation_all_workers_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(self: workers.Hands, _: int) -> None:
        while self.left:
            self.left -= 1
            self.start()

    monkeypatch.setattr(workers.Hands, "call", call)
    with pytest.raises(AssertionError):
        await check_what_a_small_download_takes(tmp_path / "k", monkeypatch)


@pytest.mark.anyio
async def test_hops_that_an_upload_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part is read and hashed in one hop, and sent from the memory that it was read into."""
    hops = 0
    load = sources.FilePiece._read

    def counted(self: sources.FilePiece, view: memoryview) -> str:
        nonlocal hops
        hops += 1
        return load(self, view)

    monkeypatch.setattr(sources.FilePiece, "_read", counted)
    monkeypatch.setattr(_body._SliceIterator, "__anext__", None)  # what copies
    (tmp_path / "k").write_bytes(bytes(20 * MIB))
    async with store() as (s3, tiny):
        await s3.put_file_multipart("b/k", tmp_path / "k", part_size=5 * MIB, workers_count=2)
        assert tiny.objects["b/k"].data == bytes(20 * MIB)
    assert hops == 4
