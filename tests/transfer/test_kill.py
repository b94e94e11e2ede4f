"""``kill -9`` in the middle of a transfer, at enumerated byte counts; then ``resume=True`` finishes it.

A process of its own does the transfer through a road that counts bytes and kills it. What was finished by then is not
moved again: at most what its workers had in hand.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.protocol import parts
from handtruck.transfer import partial
from tests.conformance.support import PART as REAL_PART
from tests.conformance.support import connect, content, url_with_keys
from tests.scripted import TinyS3, client, serve
from tests.scripted.proxy import Road, road_to

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import S3Client
    from tests.servers.model import Server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

POINTS: Final = 50
WORKERS: Final = 2
PART: Final = 256 * 1024
SIZE: Final = 10 * PART + 1234
DATA: Final = content(SIZE)
HEADS: Final = 40 * 1024
"""What requests and answers weigh beside their bodies, and what a road's blocks round up to."""

LOOPS: Final = ("asyncio", "uvloop", "trio")


def mine(anyio_backend: Any) -> int:
    """Which of the loops a test runs on: the killed process runs on the same."""
    name, options = anyio_backend
    return 2 if name == "trio" else int(bool(options.get("use_uvloop")))


async def killed_at(road: Road, direction: str, at: int, arguments: list[str]) -> bool:
    """Run a transfer in a process of its own and kill it at a byte count; False: it was done before."""
    # What is killed saves no coverage, so that none needs to be measured.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-m", "tests.transfer.killed", *arguments]
    process = await anyio.open_process(command, stderr=None, env=environment)
    async with process:

        def kill() -> None:
            process.send_signal(signal.SIGKILL)
            road.cut()

        road.when(direction, at, kill)
        await process.wait()
    if road.refuses:
        await road.drain()  # connections that the process had begun, with bytes in them
    return process.returncode == -signal.SIGKILL


def point(index: int, size: int) -> int:
    """Where the ``index``-th of them lies: from the first head to the last byte."""
    return 200 + (size - 200) * index // POINTS


async def check_down(s3: S3Client, road: Road, name: str, target: Path, at: int, arguments: list[str]) -> None:
    data, part_size = DATA if arguments[-1] == str(PART) else content(2 * REAL_PART + 3), int(arguments[-1])
    assert await killed_at(road, "down", at, arguments)
    assert target.read_bytes() == b"old"
    road.pass_freely()
    result = await s3.download(name, target, part_size=part_size, workers_count=WORKERS, resume=True)
    assert target.read_bytes() == data
    assert road.down <= len(data) - result.resumed + HEADS
    assert at + road.down - len(data) <= WORKERS * part_size + HEADS  # moved again
    assert sorted(path.name for path in target.parent.iterdir()) == [target.name]


async def check_up(s3: S3Client, road: Road, name: str, source: Path, at: int, part_size: int, loop: str) -> None:
    size = source.stat().st_size
    arguments = [loop, "up", road_url(s3, road), name, str(source), str(part_size)]
    assert await killed_at(road, "up", at, arguments)
    road.pass_freely()
    result = await s3.upload(name, source, part_size=part_size, workers_count=WORKERS, resume=True)
    assert road.up <= size - result.resumed + HEADS
    assert at + road.up - size <= WORKERS * part_size + HEADS  # moved again
    assert sorted(path.name for path in source.parent.iterdir()) == [source.name]


def road_url(_: S3Client, road: Road) -> str:
    return road.url.replace("http://", "http://key-id:secret@")


@pytest.mark.parametrize("third", range(3))
async def test_downloads_killed(third: int, anyio_backend: Any, tmp_path: Path) -> None:
    """Every third of the points on each loop; together they are all."""
    loop = mine(anyio_backend)
    tiny = TinyS3()
    tiny.put("b/k", DATA)
    async with serve(tiny) as peer, road_to(peer.url) as road, client(peer, url=road.url) as s3:
        for index in range(loop + 3 * third, POINTS, 9):
            target = tmp_path / "target"
            target.write_bytes(b"old")
            where = ["down", road_url(s3, road), "b/k", str(target), str(PART)]
            await check_down(s3, road, "b/k", target, point(index, SIZE), [LOOPS[loop], *where])


@pytest.mark.parametrize("third", range(3))
async def test_uploads_killed(third: int, anyio_backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MIN_PART_SIZE", PART)
    loop = mine(anyio_backend)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    tiny = TinyS3()
    async with serve(tiny) as peer, road_to(peer.url) as road, client(peer, url=road.url) as s3:
        for index in range(loop + 3 * third, POINTS, 9):
            tiny.objects.clear()
            await check_up(s3, road, "b/k", source, point(index, SIZE), PART, LOOPS[loop])
            assert tiny.objects["b/k"].data == DATA
            assert not tiny.uploads


def test_all_points_are_tried() -> None:
    tried = [index for loop in range(3) for third in range(3) for index in range(loop + 3 * third, POINTS, 9)]
    assert sorted(tried) == list(range(POINTS))


@pytest.mark.parametrize("eighth", [1, 5])
async def test_killed_before_a_real_server(eighth: int, anyio_backend: Any, rgw: Server, tmp_path: Path) -> None:
    """The same against Ceph, in parts of 5 MiB, up and down again."""
    loop = LOOPS[mine(anyio_backend)]
    data = content(2 * REAL_PART + 3)
    source, folder = tmp_path / "up" / "source", tmp_path / "down"
    for each in (source.parent, folder):
        each.mkdir()
    source.write_bytes(data)
    target = folder / "target"
    target.write_bytes(b"old")
    async with road_to(rgw.url) as road, connect(rgw, url=road.url) as s3:
        bucket = f"killed-{loop}-{eighth}"
        assert (await s3.put(bucket, b"")).status_code == 200
        url = url_with_keys(rgw).replace(rgw.url.removeprefix("http://"), road.url.removeprefix("http://"))
        size, at = len(data), len(data) * eighth // 8
        assert await killed_at(road, "up", at, [loop, "up", url, f"{bucket}/k", str(source), str(REAL_PART)])
        road.pass_freely()
        result = await s3.upload(f"{bucket}/k", source, part_size=REAL_PART, workers_count=WORKERS, resume=True)
        assert road.up <= size - result.resumed + HEADS
        assert at + road.up - size <= WORKERS * REAL_PART + HEADS
        assert [path.name for path in source.parent.iterdir()] == ["source"]
        arguments = [loop, "down", url, f"{bucket}/k", str(target), str(REAL_PART)]
        await check_down(s3, road, f"{bucket}/k", target, at, arguments)


async def test_mutation_a_journal_that_is_not_kept(
    anyio_backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is moved again, and the check sees it."""
    tiny = TinyS3()
    tiny.put("b/k", DATA)
    monkeypatch.setattr(partial.PartialTarget, "found", lambda _: None)
    target = tmp_path / "target"
    target.write_bytes(b"old")
    async with serve(tiny) as peer, road_to(peer.url) as road, client(peer, url=road.url) as s3:
        loop = LOOPS[mine(anyio_backend)]
        where = [loop, "down", road_url(s3, road), "b/k", str(target), str(PART)]
        with pytest.raises(AssertionError):
            await check_down(s3, road, "b/k", target, SIZE * 9 // 10, where)
