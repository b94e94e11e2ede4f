"""handtruck 0.2.0 of PyPI, whose calls this checkout answers to."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import httpx
from _harness import Job, run

from handtruck import S3Client

if TYPE_CHECKING:
    from typing import Self


class Reference:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._name = f"{job.bucket}/{job.key}"
        connections = max(100, job.workers)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(limits=limits, verify=job.context(), timeout=None)  # noqa: S113
        client: Any = S3Client  # the reference takes its arguments in another order than ours
        self._s3 = client(
            self._http,
            job.url,
            access_key_id=job.access_key_id,
            secret_access_key=job.secret_access_key,
            region=job.region,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._http.aclose()

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

    async def get(self, key: str) -> bytes:
        response = await self._s3.get(f"{self._job.bucket}/{key}")
        response.raise_for_status()
        return bytes(response.content)

    async def put(self, key: str, data: bytes) -> None:
        digest = sha256(data).hexdigest()
        response = await self._s3.put(f"{self._job.bucket}/{key}", data, content_sha256=digest)
        response.raise_for_status()

    async def list(self) -> int:
        return sum([len(page) async for page in self._s3.list_objects_v2(self._job.bucket)])


if __name__ == "__main__":
    run(Reference, "handtruck", "httpx", "anyio")
