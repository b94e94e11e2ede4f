"""docs/guarantees.md names tests that exist; and what measures the others' behaviour does what it says.

The road, the kinds of bytes and the table of ``benchmarks/guarantees.py`` are tried without any server of S3's kind.
"""

from __future__ import annotations

import ast
import asyncio
import re
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from benchmarks import guarantees
from benchmarks.situations import contents, table
from benchmarks.situations.proxy import FREELY, Rules, road_to
from benchmarks.situations.stage import CLIENTS, Facts

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Callable

    from benchmarks.situations.proxy import Proxy, Request

TESTS: Final = Path(__file__).parent
DOCUMENT: Final = (TESTS.parent / "docs" / "guarantees.md").read_text()
NAMED: Final = sorted(set(re.findall(r"`([\w/]+\.py(?:::\w+)+(?:\[[^]`]+\])?)`", DOCUMENT)))
ROWS: Final = [line for line in DOCUMENT.partition("## Side by side")[0].splitlines() if line.startswith("| ")]

# -- The document ------------------------------------------------------------------------------------------------------


@cache
def defined(path: str) -> frozenset[str]:
    """What a file of tests defines: functions, and methods as ``Class::method``."""
    found: set[str] = set()
    for node in ast.parse((TESTS / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return frozenset(found)


@pytest.mark.parametrize("name", NAMED)
def test_it_names_tests_that_exist(name: str) -> None:
    path, _, function = name.partition("::")
    function, _, case = function.partition("[")
    assert function in defined(path)
    assert not case or f'"{case.removesuffix("]")}"' in (TESTS / path).read_text()


def test_every_guarantee_has_a_test() -> None:
    rows = [row.split(" | ") for row in ROWS if not row.startswith(("| guarantee", "| ---"))]
    assert len(rows) > 25
    assert not [row[0] for row in rows if len(row) != 4 or "::test_" not in row[2]]
    assert not [row[0] for row in rows if "::test_" not in row[3] and row[3] != "– |"]


def test_the_table_is_the_commands() -> None:
    assert guarantees.BEGIN in DOCUMENT
    assert guarantees.END in DOCUMENT.partition(guarantees.BEGIN)[2]


# -- The road ----------------------------------------------------------------------------------------------------------

DATA: Final = bytes(range(256)) * 4096  # 1 MiB


@asynccontextmanager
async def road() -> AsyncIterator[tuple[Proxy, list[bytes]]]:
    """A road to a server that keeps what it gets and answers every request with :data:`DATA`."""
    got: list[bytes] = []

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                got.append(head + await reader.readexactly(int(length[1]) if length else 0))
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(DATA)}\r\n\r\n".encode() + DATA)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        async with road_to(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as proxy:
            yield proxy, got
        server.close()


async def ask(proxy: Proxy, method: str = "GET", target: str = "/b/k", body: bytes = b"") -> bytes:
    """All that comes back on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(proxy.url.rpartition(":")[2]))
    try:
        writer.write(f"{method} {target} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        writer.write_eof()
        return await reader.read()
    finally:
        writer.close()


def on_asyncio(scene: Callable[[Proxy, list[bytes]], Any]) -> Callable[[], None]:
    """A test: the scene, played on a road."""

    async def play() -> None:
        async with asyncio.timeout(10), road() as (proxy, got):
            await scene(proxy, got)

    def test() -> None:
        asyncio.run(play())

    return test


@on_asyncio
async def test_it_passes_everything_on_and_counts_bodies(proxy: Proxy, got: list[bytes]) -> None:
    proxy.arm(FREELY)
    assert (await ask(proxy, "PUT", body=DATA)).endswith(DATA)
    assert got[0].endswith(DATA)
    assert (proxy.passed, proxy.begun) == ({"up": len(DATA), "down": 0}, 1)
    await ask(proxy)
    await ask(proxy, target="/b/k?uploadId=1")  # no object's
    assert (proxy.passed["down"], proxy.begun) == (len(DATA), 3)


@on_asyncio
async def test_a_trigger_is_pulled_at_its_byte(proxy: Proxy, got: list[bytes]) -> None:
    seen: list[int] = []

    async def look() -> None:
        other = asyncio.create_task(ask(proxy))
        for _ in range(100):
            await asyncio.sleep(0)  # the other one gets nothing, however often it has its turn
        seen.append(proxy.passed["down"])
        others.append(other)

    others: list[asyncio.Task[bytes]] = []
    proxy.arm(Rules(direction="down", at=300_001, action=look))
    assert (await ask(proxy)).endswith(DATA)
    assert (await others[0]).endswith(DATA)
    assert (seen, proxy.pulled, proxy.passed["down"]) == ([300_001], True, 2 * len(DATA))
    assert len(got) == 2


@on_asyncio
async def test_a_connection_is_cut_at_a_byte(proxy: Proxy, got: list[bytes]) -> None:
    proxy.arm(Rules(direction="down", at=300_001, then="cut"))
    assert (await ask(proxy)).partition(b"\r\n\r\n")[2] == DATA[:300_001]
    assert (await ask(proxy)).endswith(DATA)
    assert len(got) == 2


@on_asyncio
async def test_an_answer_is_ours(proxy: Proxy, got: list[bytes]) -> None:
    def answer(request: Request) -> bytes | None:
        return b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n" if request.part_number == 5 else None

    proxy.arm(Rules(answer=answer))
    assert (await ask(proxy, "PUT", "/b/k?partNumber=5&uploadId=1", DATA)).startswith(b"HTTP/1.1 403")
    assert not got
    assert (await ask(proxy, "PUT", "/b/k?partNumber=4&uploadId=1", DATA)).startswith(b"HTTP/1.1 200")
    assert proxy.passed["up"] == 2 * len(DATA)


@on_asyncio
async def test_an_answer_is_lost(proxy: Proxy, got: list[bytes]) -> None:
    proxy.arm(Rules(loses=lambda request: request.completes))
    assert await ask(proxy, "POST", "/b/k?uploadId=1", b"<x/>") == b""
    assert got[0].endswith(b"<x/>")


@on_asyncio
async def test_silence_is_for_all(proxy: Proxy, got: list[bytes]) -> None:
    proxy.arm(Rules(direction="up", at=300_001, then="swallow"))
    assert await ask(proxy, "PUT", body=DATA) == b""
    assert await ask(proxy) == b""  # … who is the first to hang up
    assert (got, proxy.passed["up"]) == ([], 300_001)


# -- What is told ------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of 16 KiB."""
    kinds = {kind: b"".join(f"{kind:8}{at:8}".encode() for at in range(1024)) for kind in contents.KINDS}
    monkeypatch.setattr(contents, "content", kinds.__getitem__)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("pieces", "kind"),
    [
        ([("old", 0, 16384)], "whole old"),
        ([], "empty"),
        ([("old", 0, 5000)], "partial: 5000 B old"),
        ([("old", 0, 8192), ("new", 8192, 16384)], "mixed: 8192 B old, 8192 B new"),
        ([("old", 8192, 16384), ("new", 0, 8192)], "partial: 16384 B of neither"),
        ([("old", 0, 8192), (None, 0, 8192)], "partial: 8192 B old, 8192 B zeros"),
    ],
)
def test_kinds_of_bytes(pieces: list[tuple[str | None, int, int]], kind: str) -> None:
    data = b"".join((contents.content(what) if what else bytes(16384))[start:end] for what, start, end in pieces)
    assert contents.kind_of(data) == kind


LEFT: Final = Facts(
    outcome="ExceptionGroup", seconds=0.1, tasks=("a", "b"), still=("a",), uploads=(4,), begun=3, ended=False
)
CLEAN: Final = Facts(outcome="CancelledError", seconds=2.2)


@pytest.mark.parametrize(
    ("line", "facts", "text", "wrong"),
    [
        (table.cancellation, CLEAN, "`CancelledError` after 2 s", False),
        (table.cancellation, LEFT, "`ExceptionGroup` after < 0.5 s", True),
        (table.cancellation, Facts(outcome="returned", seconds=0.7), "`returned` after < 1 s", True),
        (table.cancellation, Facts(outcome="not back", seconds=100), "not back after 100 s", True),
        (table.open_uploads, CLEAN, "no open upload", False),
        (table.open_uploads, LEFT, "1 open upload, 4 parts", True),
        (table.running, CLEAN, "nothing goes on", False),
        (table.running, LEFT, "2 tasks, 1 a second later, 3 requests begun afterwards, the process did not end", True),
        (table.stored, Facts(outcome="returned", stored="whole new"), "object: the new version, whole", False),
        (table.stored, Facts(outcome="returned", stored="none"), "object: none", True),
        (table.stored, Facts(outcome="S3Error", stored="none"), "object: none", False),
        (table.stored, Facts(outcome="returned", stored="mixed: a, b"), "object: mixed (a, b)", True),
        (table.file, Facts(outcome="S3Error", file="whole earlier"), "file: what was there before, whole", False),
        (table.file, Facts(outcome="returned", file="whole earlier"), "file: what was there before, whole", True),
        (table.file, Facts(outcome="S3Error", file="none"), "file: none", True),
        (table.beside, Facts(outcome="killed", beside=("target.x",)), "1 other file left", True),
        (table.again, Facts(outcome="returned", moved=contents.SIZE + contents.MIB), "1 MiB moved again", False),
        (table.again, Facts(outcome="OSError", moved=contents.SIZE), "not finished", True),
    ],
)
def test_lines(line: table.Line, facts: Facts, text: str, wrong: bool) -> None:
    assert line([facts]) == table.Said(text, wrong=wrong)


def test_the_table() -> None:
    handtruck, *_, obstore, _, _ = CLIENTS
    assert not obstore.uploads
    findings = {
        ("upload-cancelled", handtruck.name): [[CLEAN], [CLEAN]],
        ("upload-cancelled", "aioboto3"): [[CLEAN], [LEFT], [LEFT]],
        ("download-cancelled", obstore.name): [[CLEAN]],
    }
    rows = table.markdown(findings).splitlines()
    assert rows[0] == f"| | {handtruck.name} | aioboto3 | {obstore.name} |"
    assert f"| {'`CancelledError` after 2 s'}<br>no open upload<br>nothing goes on |" in rows[2]
    assert "no open upload (1×) / **1 open upload, 4 parts (2×)**" in rows[2]
    assert "nothing goes on (1×) / **2 tasks" in rows[2]
    assert rows[2].endswith("| the same call |")
    assert rows[3].startswith("| **Download, cancelled** | not measured | not measured |")
    assert "* *Upload, cancelled*: Cancelled when 28 MiB of it have passed." in rows


@pytest.mark.parametrize(
    ("texts", "cell"),
    [
        (["1 part", "12 parts", "3 parts"], "1–12 parts"),
        (["`E2` after 2 s", "`E2` after 2 s"], "`E2` after 2 s"),
        (
            ["mixed (40 MiB old, 24 MiB new)", "mixed (32.5 MiB old, 31.5 MiB new)"],
            "mixed (32.5–40 MiB old, 24–31.5 MiB new)",
        ),
        (["returned", "`E`", "returned"], "returned (2×) / `E` (1×)"),
    ],
)
def test_rounds(texts: list[str], cell: str) -> None:
    assert table.merged([table.Said(text) for text in texts]) == cell


def test_the_report_goes_between_its_markers(tmp_path: Path) -> None:
    path = tmp_path / "guarantees.md"
    guarantees.put_into(path, "first\n")
    assert path.read_text() == "first\n"
    path.write_text(f"before\n{guarantees.BEGIN}\nold\n{guarantees.END}\nafter\n")
    guarantees.put_into(path, "new\n")
    assert path.read_text() == f"before\n{guarantees.BEGIN}\n\nnew\n\n{guarantees.END}\nafter\n"


def test_names_that_are_none() -> None:
    assert guarantees.chosen(" b,a", ",", {"a": 1, "b": 2}) == [2, 1]
    assert guarantees.chosen(None, ",", {"a": 1, "b": 2}) == [1, 2]
    with pytest.raises(ValueError, match="nothing is called 'c'; there are: a, b"):
        guarantees.chosen("a,c", ",", {"a": 1, "b": 2})
