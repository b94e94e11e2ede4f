"""``kill -9`` in the middle of a transfer, at enumerated byte counts; then ``resume=True`` finishes it.

A process of its own does the transfer through a road that counts bytes and kills it. What was finished by then is not
moved again: at most what its workers had in hand.
"""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.protocol import parts
from handtruck.transfer import partial
from tests.conformance.support import PART as REAL_PART
from tests.conformance.support import connect, content, url_with_keys
from tests.scripted import TinyS3, client, serve
from tests.scripted.proxy import Road, road_to
from tests.transfer.killed import Transfer

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


async def killed_at(road: Road, at: int, transfer: Transfer) -> bool:
    """Let a process do a transfer and kill it at a byte count; False: it was done before."""
    process = transfer.start()

    def kill() -> None:
        process.kill()
        road.cut()

    try:
        road.when(transfer.direction, at, kill)
        await anyio.wait_readable(process.sentinel)
    finally:
        process.kill()
        process.join()
    if road.refuses:
        await road.drain()  # connections that the process had begun, with bytes in them
    return process.exitcode == -signal.SIGKILL


def point(index: int, size: int) -> int:
    """Where the ``index``-th of them lies: from the first head to the last byte."""
    return 200 + (size - 200) * index // POINTS


async def check(s3: S3Client, road: Road, at: int, transfer: Transfer) -> None:
    """Killed there, it leaves what was there before; the next call moves what is missing, and leaves no journal."""
    name, path = transfer.name, transfer.path
    how: dict[str, Any] = {"part_size": transfer.part_size, "workers_count": WORKERS, "resume": True}
    before = path.read_bytes()
    assert await killed_at(road, at, transfer)
    assert path.read_bytes() == before
    road.pass_freely()
    result = await (s3.upload if transfer.direction == "up" else s3.download)(name, path, **how)
    size, moved = path.stat().st_size, getattr(road, transfer.direction)
    assert moved <= size - result.resumed + HEADS
    assert at + moved - size <= WORKERS * transfer.part_size + HEADS, "moved again"
    assert [path.name for path in path.parent.iterdir()] == [path.name]


def with_keys(url: str) -> str:
    return url.replace("http://", "http://key-id:secret@")


@pytest.mark.parametrize("third", range(3))
async def test_downloads_killed(third: int, anyio_backend: Any, tmp_path: Path) -> None:
    """Every third of the points on each loop; together they are all."""
    loop = mine(anyio_backend)
    target = tmp_path / "target"
    tiny = TinyS3()
    tiny.put("b/k", DATA)
    async with serve(tiny) as peer, road_to(peer.url) as road, client(peer, url=road.url) as s3:
        for index in range(loop + 3 * third, POINTS, 9):
            target.write_bytes(b"old")
            await check(s3, road, point(index, SIZE), down(loop, road, target))
            assert target.read_bytes() == DATA


def down(loop: int, road: Road, target: Path) -> Transfer:
    return Transfer(
        loop=LOOPS[loop], direction="down", url=with_keys(road.url), name="b/k", path=target, part_size=PART
    )


@pytest.mark.parametrize("third", range(3))
async def test_uploads_killed(third: int, anyio_backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MIN_PART_SIZE", PART)
    loop = mine(anyio_backend)
    source = tmp_path / "source"
    source.write_bytes(DATA)
    tiny = TinyS3()
    async with serve(tiny) as peer, road_to(peer.url) as road, client(peer, url=road.url) as s3:
        transfer = replace(down(loop, road, source), direction="up")
        for index in range(loop + 3 * third, POINTS, 9):
            tiny.objects.clear()
            await check(s3, road, point(index, SIZE), transfer)
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
        what = Transfer(loop=loop, direction="up", url=url, name=f"{bucket}/k", path=source, part_size=REAL_PART)
        at = len(data) * eighth // 8
        await check(s3, road, at, what)
        await check(s3, road, at, replace(what, direction="down", path=target))
        assert target.read_bytes() == data


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
        with pytest.raises(AssertionError, match="moved again"):
            await check(s3, road, SIZE * 9 // 10, down(mine(anyio_backend), road, target))
