"""minio: urllib3 in threads."""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from _harness import Job, Unsupported, in_threads, run, write_at
from minio import Minio


class MinioThreads:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        if job.work == ("upload" if job.secure else "upload-unsigned"):
            raise Unsupported("minio hashes parts over http and does not over https, unasked")
        self._job = job
        pool = urllib3.PoolManager(maxsize=max(10, job.workers), ca_certs=job.ca or None)
        self._s3 = Minio(
            urlsplit(job.url).netloc,
            access_key=job.access_key_id,
            secret_key=job.secret_access_key,
            secure=job.secure,
            region=job.region,
            http_client=pool,
        )

    def download(self) -> None:
        job = self._job
        with Path(job.path).open("wb") as file:

            def fetch(wanted: range) -> None:
                write_at(file.fileno(), self._get(job.key, wanted.start, len(wanted)), wanted.start)

            in_threads(job.workers, iter(job.ranges), fetch)

    def upload(self) -> None:
        job = self._job
        options = {"part_size": job.part_size, "num_parallel_uploads": job.workers}
        self._s3.fput_object(job.bucket, job.key, job.path, **options)

    def get(self, key: str) -> bytes:
        return self._get(key)

    def put(self, key: str, data: bytes) -> None:
        self._s3.put_object(self._job.bucket, key, io.BytesIO(data), len(data))

    def list(self) -> int:
        return sum(1 for _ in self._s3.list_objects(self._job.bucket, recursive=True))

    def _get(self, key: str, offset: int = 0, length: int = 0) -> bytes:
        response = self._s3.get_object(self._job.bucket, key, offset=offset, length=length)
        try:
            data: bytes = response.read()
            return data
        finally:
            response.close()
            response.release_conn()


if __name__ == "__main__":
    run(MinioThreads, "minio", "urllib3")
