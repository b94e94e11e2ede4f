"""One large object there and back: how long it takes, and what it costs the client.

::

    python benchmarks/round_trip.py --endpoint http://KEY_ID:SECRET@127.0.0.1:9000 --size 1GiB --workers 8 --loop trio

prints one line of JSON. The file is written before the clock starts, and hashed after it stopped; the process's peak
memory includes the interpreter and both transfers.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import time
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import anyio

from handtruck import S3Client

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MIB: Final = 1024 * 1024
LOOPS: Final[dict[str, dict[str, Any]]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
_UNITS: Final = {"": 1, "KiB": 1024, "MiB": MIB, "GiB": 1024 * MIB}


def size(text: str) -> int:
    """``1GiB`` → bytes."""
    match = re.fullmatch(r"(\d+)\s*(KiB|MiB|GiB)?", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 1GiB, 256MiB or a number of bytes")
    return int(match[1]) * _UNITS[match[2] or ""]


def arguments() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description="Send a large object and fetch it again; prints one line of JSON.")
    parser.add_argument("--endpoint", required=True, help="the server's URL, with user and password if it wants any")
    parser.add_argument("--bucket", default="handtruck-round-trip", help="made if it is missing")
    parser.add_argument("--size", type=size, default=size("1GiB"))
    parser.add_argument("--part-size", type=size, default=size("8MiB"))
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--unsigned", action="store_true", help="do not hash the parts")
    parser.add_argument("--directory", type=Path, help="where the two files are put; default: the system's own place")
    return parser.parse_args()


def write_file(path: Path, length: int) -> None:
    """Fill a file with blocks that do not compress, no two of them alike."""
    noise = Random(7).randbytes(MIB)  # noqa: S311 - contents, not secrets
    with path.open("wb") as file:
        for number in range(-(-length // MIB)):
            block = number.to_bytes(8, "big") + noise[8:]
            file.write(block[: length - number * MIB])


def sha256_of(path: Path) -> str:
    """A file's hash, read block by block."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Cost:
    """What a transfer took."""

    wall: float
    cpu: float


async def measured(job: Callable[[], Awaitable[object]]) -> Cost:
    """Run a transfer between two looks at the clocks: the wall's, and this process's own."""
    wall, cpu = time.perf_counter(), time.process_time()
    await job()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


async def round_trip(options: argparse.Namespace, source: Path, target: Path) -> tuple[Cost, Cost]:
    """Send ``source`` and fetch it into ``target``; the object is removed again."""
    name = f"{options.bucket}/round-trip-{options.loop}"
    async with S3Client(options.endpoint) as s3:
        await s3.put(options.bucket, b"")
        up = await measured(
            lambda: s3.put_file_multipart(
                name,
                source,
                part_size=options.part_size,
                workers_count=options.workers,
                calculate_content_sha256=not options.unsigned,
            )
        )
        down = await measured(
            lambda: s3.get_file_parallel(name, target, range_step=options.part_size, workers_count=options.workers)
        )
        await s3.delete(name)
    return up, down


def peak_mib() -> float:
    """The most memory that this process ever had.

    Linux counts what the process had before it became this program, its parent's memory, in ``ru_maxrss``.
    """
    status = Path("/proc/self/status")
    if status.exists() and (match := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(match[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MIB if sys.platform == "darwin" else 1024)


def main() -> None:
    """Run it."""
    options = arguments()
    mib = options.size / MIB
    with TemporaryDirectory(dir=options.directory) as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        write_file(source, options.size)
        up, down = anyio.run(round_trip, options, source, target, **LOOPS[options.loop])
        peak = peak_mib()
        report = {
            "loop": options.loop,
            "size": options.size,
            "part_size": options.part_size,
            "workers": options.workers,
            "upload_seconds": round(up.wall, 3),
            "upload_mib_per_second": round(mib / up.wall, 1),
            "download_seconds": round(down.wall, 3),
            "download_mib_per_second": round(mib / down.wall, 1),
            "upload_cpu_seconds": round(up.cpu, 3),
            "download_cpu_seconds": round(down.cpu, 3),
            "client_cpu_seconds": round(up.cpu + down.cpu, 3),
            "peak_rss_mib": round(peak, 1),
            "sha256_equal": sha256_of(source) == sha256_of(target),
        }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
