"""aiohttp-s3-client: the library that handtruck's names come from."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

from _harness import Job, Unsupported, run
from aiohttp import ClientSession, TCPConnector
from aiohttp_s3_client import S3Client

if TYPE_CHECKING:
    from typing import Self


class AiohttpS3Client:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        if not job.hashed:
            raise Unsupported("aiohttp-s3-client signs an empty payload hash then, which servers that verify refuse")
        self._job = job
        self._name = f"{job.bucket}/{job.key}"
        self._session: Any = None
        self._s3: Any = None

    async def __aenter__(self) -> Self:
        job = self._job
        connector = TCPConnector(limit=max(100, job.workers), ssl=job.context())
        self._session = ClientSession(connector=connector)
        self._s3 = S3Client(
            self._session,
            job.url,
            access_key_id=job.access_key_id,
            secret_access_key=job.secret_access_key,
            region=job.region,
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._session.close()

    async def download(self) -> None:
        step, workers = self._job.part_size, self._job.workers
        await self._s3.get_file_parallel(self._name, self._job.path, range_step=step, workers_count=workers)

    async def upload(self) -> None:
        await self._s3.put_file_multipart(
            self._name,
            self._job.path,
            part_size=self._job.part_size,
            workers_count=self._job.workers,
            calculate_content_sha256=self._job.hashed,
        )

    async def get(self, key: str) -> Any:
        async with self._s3.get(f"{self._job.bucket}/{key}") as response:
            if response.status != 200:
                raise RuntimeError(await response.text())
            return await response.read()

    async def put(self, key: str, data: bytes) -> None:
        digest = sha256(data).hexdigest()
        async with self._s3.put(f"{self._job.bucket}/{key}", data, content_sha256=digest) as response:
            if response.status != 200:
                raise RuntimeError(await response.text())

    async def list(self) -> int:
        return sum([len(page) async for page, _ in self._s3.list_objects_v2(self._job.bucket)])


if __name__ == "__main__":
    run(AiohttpS3Client, "aiohttp-s3-client", "aiohttp")
