"""handtruck, this checkout's, on the loop that is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _harness import Job, run

from handtruck import S3Client

if TYPE_CHECKING:
    from typing import Self

    import httpx


class Handtruck:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._name = f"{job.bucket}/{job.key}"
        self._s3 = S3Client(
            job.url,
            access_key_id=job.access_key_id,
            secret_access_key=job.secret_access_key,
            region=job.region,
            max_connections=max(64, job.workers),
        )

    async def __aenter__(self) -> Self:
        await self._s3.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._s3.aclose()

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
        _ok(response)
        return response.content

    async def put(self, key: str, data: bytes) -> None:
        _ok(await self._s3.put(f"{self._job.bucket}/{key}", data))

    async def list(self) -> int:
        return sum([len(page) async for page in self._s3.list_objects_v2(f"{self._job.bucket}/")])


def _ok(response: httpx.Response) -> None:
    if response.status_code != 200:
        raise RuntimeError(f"{response.status_code} {response.text}")


if __name__ == "__main__":
    run(Handtruck, "handtruck", "httpx", "anyio")
