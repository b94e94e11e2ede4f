"""A process that does one transfer, and is killed in the middle of it: ``python -m tests.transfer.killed``."""

from __future__ import annotations

import sys
from typing import Any, Final

import anyio

from handtruck import S3Client
from handtruck.protocol import parts

LOOPS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


async def main(direction: str, url: str, name: str, path: str, part_size: int) -> None:
    """One transfer with ``resume=True``."""
    async with S3Client(url) as s3:
        if direction == "up":
            await s3.upload(name, path, part_size=part_size, workers_count=2, resume=True)
        else:
            await s3.download(name, path, part_size=part_size, workers_count=2, resume=True)


if __name__ == "__main__":
    loop, direction, url, name, path, part_size = sys.argv[1:]
    parts.MIN_PART_SIZE = min(parts.MIN_PART_SIZE, int(part_size))  # type: ignore[misc]
    backend, options = LOOPS[loop]
    anyio.run(main, direction, url, name, path, int(part_size), backend=backend, backend_options=options)
