"""handtruck, this checkout's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _driver import SMALL, Job, checked, run

from handtruck import S3Client

if TYPE_CHECKING:
    from typing import Self


class Handtruck:
    """``S3Client.upload`` and ``S3Client.download``."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._s3 = S3Client(
            job.url,
            access_key_id=job.access_key_id,
            secret_access_key=job.secret_access_key,
            region=job.region,
        )

    async def __aenter__(self) -> Self:
        await self._s3.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._s3.aclose()

    async def warm(self) -> None:
        checked((await self._s3.get(f"{self._job.bucket}/{SMALL}")).content)

    async def call(self) -> None:
        job = self._job
        move = self._s3.upload if job.call == "upload" else self._s3.download
        name = f"{job.bucket}/{job.key}"
        await move(name, job.path, part_size=job.part_size, workers_count=job.workers, resume=bool(job.resume))


if __name__ == "__main__":
    run(Handtruck, "handtruck", "anyio")
