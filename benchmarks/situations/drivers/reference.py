"""handtruck 0.2.0 of PyPI, over ``httpx.AsyncClient`` as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
from _driver import SMALL, Job, checked, run

from handtruck import S3Client

if TYPE_CHECKING:
    from typing import Self


class Reference:
    """``put_file_multipart`` and ``get_file_parallel``."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._http = httpx.AsyncClient()
        client: Any = S3Client  # it takes its arguments in another order than ours
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

    async def warm(self) -> None:
        checked((await self._s3.get(f"{self._job.bucket}/{SMALL}")).content)

    async def call(self) -> None:
        job = self._job
        name, workers = f"{job.bucket}/{job.key}", job.workers
        if job.call == "upload":
            await self._s3.put_file_multipart(name, job.path, part_size=job.part_size, workers_count=workers)
        else:
            await self._s3.get_file_parallel(name, job.path, range_step=job.part_size, workers_count=workers)


if __name__ == "__main__":
    run(Reference, "handtruck", "httpx", "anyio")
