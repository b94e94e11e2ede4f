"""obstore: Rust's object_store. With a loop its coroutines, with ``--loop threads`` its blocking functions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _harness import Job, in_tasks, in_threads, run, write_at
from obstore.store import S3Store

if TYPE_CHECKING:
    from typing import Self


def store(job: Job) -> S3Store:
    """The bucket."""
    options: Any = {"allow_http": True, "pool_max_idle_per_host": str(max(64, job.workers))}
    if job.ca:
        options["root_certificate"] = Path(job.ca).read_bytes()
    return S3Store(
        job.bucket,
        endpoint=job.url,
        region=job.region,
        access_key_id=job.access_key_id,
        secret_access_key=job.secret_access_key,
        unsigned_payload=not job.hashed,
        virtual_hosted_style_request=False,
        client_options=options,
    )


class Tasks:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._store = store(job)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def download(self) -> None:
        job = self._job
        with Path(job.path).open("wb") as file:

            async def fetch(wanted: range) -> None:
                data = await self._store.get_range_async(job.key, start=wanted.start, end=wanted.stop)
                write_at(file.fileno(), data, wanted.start)

            await in_tasks(job, iter(job.ranges), fetch)

    async def upload(self) -> None:
        job = self._job
        await self._store.put_async(
            job.key, Path(job.path), use_multipart=True, chunk_size=job.part_size, max_concurrency=job.workers
        )

    async def get(self, key: str) -> Any:
        return await (await self._store.get_async(key)).bytes_async()

    async def put(self, key: str, data: bytes) -> None:
        await self._store.put_async(key, data, use_multipart=False)

    async def list(self) -> int:
        return sum([len(chunk) async for chunk in self._store.list(chunk_size=1000)])


class Threads:
    """The same, in threads."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._store = store(job)

    def download(self) -> None:
        job = self._job
        with Path(job.path).open("wb") as file:

            def fetch(wanted: range) -> None:
                data = self._store.get_range(job.key, start=wanted.start, end=wanted.stop)
                write_at(file.fileno(), data, wanted.start)

            in_threads(job.workers, iter(job.ranges), fetch)

    def upload(self) -> None:
        job = self._job
        path = Path(job.path)
        self._store.put(job.key, path, use_multipart=True, chunk_size=job.part_size, max_concurrency=job.workers)

    def get(self, key: str) -> Any:
        return self._store.get(key).bytes()

    def put(self, key: str, data: bytes) -> None:
        self._store.put(key, data, use_multipart=False)

    def list(self) -> int:
        return sum(len(chunk) for chunk in self._store.list(chunk_size=1000))


if __name__ == "__main__":
    os.environ.setdefault("RUST_LOG", "off")
    run(lambda job: Threads(job) if job.loop == "threads" else Tasks(job), "obstore")
