"""A stream of unknown length up, and the same down through a reader: what it costs in memory, however long it is.

::

    python -m benchmarks.streaming --endpoint http://KEY_ID:SECRET@127.0.0.1:9000 --size 10GiB --loop trio

prints one line of JSON. Nothing touches a disk; both sides are hashed as they pass.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from benchmarks.round_trip import LOOPS, MIB, peak_mib, size
from handtruck import S3Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def arguments() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description="Stream a large object up and down; prints one line of JSON.")
    parser.add_argument("--endpoint", required=True, help="the server's URL, with user and password if it wants any")
    parser.add_argument("--bucket", default="handtruck-streaming", help="made if it is missing")
    parser.add_argument("--size", type=size, default=size("1GiB"))
    parser.add_argument("--part-size", type=size, default=size("8MiB"))
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    return parser.parse_args()


async def stream(options: argparse.Namespace) -> dict[str, object]:
    """Up and down; the object is removed again."""
    name = f"{options.bucket}/stream-{options.loop}"
    sent, received = sha256(), sha256()
    noise = Random(7).randbytes(MIB)  # noqa: S311 - contents, not secrets

    async def blocks() -> AsyncIterator[bytes]:
        for number in range(options.size // MIB):
            block = number.to_bytes(8, "big") + noise[8:]
            await anyio.to_thread.run_sync(sent.update, block)
            yield block

    async with S3Client(options.endpoint) as s3:
        await s3.put(options.bucket, b"")
        begin = time.perf_counter()
        await s3.upload(name, blocks(), part_size=options.part_size, workers_count=options.workers)
        middle, up_peak = time.perf_counter(), peak_mib()
        buffer = memoryview(bytearray(MIB))
        async with s3.open(name, part_size=options.part_size, workers_count=options.workers) as reader:
            while got := await reader.readinto(buffer):
                await anyio.to_thread.run_sync(received.update, buffer[:got])
        end = time.perf_counter()
        await s3.delete(name)
    return {
        "loop": options.loop,
        "size": options.size,
        "part_size": options.part_size,
        "workers": options.workers,
        "upload_seconds": round(middle - begin, 3),
        "download_seconds": round(end - middle, 3),
        "upload_peak_rss_mib": round(up_peak, 1),
        "peak_rss_mib": round(peak_mib(), 1),
        "sha256_equal": sent.digest() == received.digest(),
    }


def main() -> None:
    """Run it."""
    options = arguments()
    sys.stdout.write(json.dumps(anyio.run(stream, options, **LOOPS[options.loop])) + "\n")


if __name__ == "__main__":
    main()
