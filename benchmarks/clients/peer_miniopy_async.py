"""miniopy-async: minio, written anew over aiohttp."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from _harness import Job, Unsupported, in_tasks, run, write_at
from aiohttp import ClientSession, TCPConnector
from miniopy_async import Minio

if TYPE_CHECKING:
    from typing import Self


class MinioTasks:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        if job.work == ("upload" if job.secure else "upload-unsigned"):
            raise Unsupported("miniopy-async hashes parts over http and does not over https, unasked")
        self._job = job
        self._s3 = Minio(
            urlsplit(job.url).netloc,
            access_key=job.access_key_id,
            secret_key=job.secret_access_key,
            secure=job.secure,
            region=job.region,
        )

    async def __aenter__(self) -> Self:
        connector = TCPConnector(limit=max(10, self._job.workers), ssl=self._job.context())
        self._s3.set_session(ClientSession(connector=connector))
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._s3.close_session()

    async def download(self) -> None:
        job = self._job
        with Path(job.path).open("wb") as file:

            async def fetch(wanted: range) -> None:
                data = await self._get(job.key, wanted.start, len(wanted))
                write_at(file.fileno(), data, wanted.start)

            await in_tasks(job, iter(job.ranges), fetch)

    async def upload(self) -> None:
        job = self._job
        await self._s3.fput_object(
            job.bucket, job.key, job.path, part_size=job.part_size, num_parallel_uploads=job.workers
        )

    async def get(self, key: str) -> bytes:
        return await self._get(key)

    async def put(self, key: str, data: bytes) -> None:
        await self._s3.put_object(self._job.bucket, key, io.BytesIO(data), len(data))

    async def list(self) -> int:
        return sum([1 async for _ in self._s3.list_objects(self._job.bucket, recursive=True)])

    async def _get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        response = await self._s3.get_object(self._job.bucket, key, offset=offset, length=length)
        try:
            return bytes(await response.read())
        finally:
            response.release()


if __name__ == "__main__":
    run(MinioTasks, "miniopy-async", "aiohttp")
