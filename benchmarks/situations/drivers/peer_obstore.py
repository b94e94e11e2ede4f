"""obstore on asyncio. It has no call that downloads into a file; the file is opened and written by the caller.

``call`` is ``download`` for one answer, streamed, as its documentation does it; ``download-ranges`` for
``get_range_async`` in workers, as the speed benchmarks do it.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from _driver import SMALL, Job, checked, run
from obstore.store import S3Store

if TYPE_CHECKING:
    from typing import Self


class Obstore:
    """``put_async``, ``get_async(…).stream()``, ``get_range_async``; default timeouts and retries."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._store = S3Store(
            job.bucket,
            endpoint=job.url,
            region=job.region,
            access_key_id=job.access_key_id,
            secret_access_key=job.secret_access_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def warm(self) -> None:
        checked(bytes(await (await self._store.get_async(SMALL)).bytes_async()))

    async def call(self) -> None:
        calls = {"upload": self._upload, "download": self._stream, "download-ranges": self._ranges}
        await calls[self._job.call]()

    async def _upload(self) -> None:
        job = self._job
        await self._store.put_async(
            job.key, Path(job.path), use_multipart=True, chunk_size=job.part_size, max_concurrency=job.workers
        )

    async def _stream(self) -> None:
        answer = await self._store.get_async(self._job.key)
        with Path(self._job.path).open("wb") as file:
            async for chunk in answer.stream(min_chunk_size=1024 * 1024):
                file.write(chunk)

    async def _ranges(self) -> None:
        job = self._job
        size = (await self._store.head_async(job.key))["size"]
        starts = iter(range(0, size, job.part_size))
        with Path(job.path).open("wb") as file:

            async def worker() -> None:
                for start in starts:
                    end = min(start + job.part_size, size)
                    data = await self._store.get_range_async(job.key, start=start, end=end)
                    os.pwrite(file.fileno(), data, start)

            async with asyncio.TaskGroup() as group:
                for _ in range(job.workers):
                    group.create_task(worker())


if __name__ == "__main__":
    run(Obstore, "obstore")
