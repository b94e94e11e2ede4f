"""httpx alone: hand-written ranged requests, unsigned. The price of the road, not of an S3 client."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from _harness import Job, Unsupported, in_tasks, run, write_at

if TYPE_CHECKING:
    from typing import Self


class Httpx:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        self._job = job
        limits = httpx.Limits(max_connections=job.workers, max_keepalive_connections=job.workers)
        base = f"{job.url}/{job.bucket}/"
        self._http = httpx.AsyncClient(base_url=base, limits=limits, verify=job.context(), timeout=None)  # noqa: S113

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._http.aclose()

    async def download(self) -> None:
        job = self._job
        with Path(job.path).open("wb") as file:

            async def fetch(wanted: range) -> None:
                headers = {"Range": f"bytes={wanted.start}-{wanted.stop - 1}"}
                at = wanted.start
                async with self._http.stream("GET", job.key, headers=headers) as response:
                    response.raise_for_status()
                    async for chunk in response.aiter_raw(1 << 20):
                        write_at(file.fileno(), chunk, at)
                        at += len(chunk)

            await in_tasks(job, iter(job.ranges), fetch)

    async def upload(self) -> None:
        raise Unsupported("a multipart upload by hand would be a client of its own")

    async def get(self, key: str) -> bytes:
        response = await self._http.get(key)
        response.raise_for_status()
        return response.content

    async def put(self, key: str, data: bytes) -> None:
        (await self._http.put(key, content=data)).raise_for_status()

    async def list(self) -> int:
        raise Unsupported("a listing by hand would be a client of its own")


if __name__ == "__main__":
    run(Httpx, "httpx", "httpcore")
