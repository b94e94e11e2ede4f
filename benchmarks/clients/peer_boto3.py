"""boto3: s3transfer's threads for files, one thread a request for small objects."""

from __future__ import annotations

from typing import Any

import boto3
from _harness import Job, run
from boto3.s3.transfer import TransferConfig
from botocore.config import Config


class Boto3:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=job.url,
            region_name=job.region,
            aws_access_key_id=job.access_key_id,
            aws_secret_access_key=job.secret_access_key,
            verify=job.ca or None,
            config=Config(
                max_pool_connections=max(10, job.workers),
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path", "payload_signing_enabled": job.hashed},
            ),
        )
        self._transfer = TransferConfig(
            multipart_threshold=job.part_size,
            multipart_chunksize=job.part_size,
            max_concurrency=job.workers,
            preferred_transfer_client="classic",
        )

    def download(self) -> None:
        job = self._job
        self._s3.download_file(job.bucket, job.key, job.path, Config=self._transfer)

    def upload(self) -> None:
        job = self._job
        self._s3.upload_file(job.path, job.bucket, job.key, Config=self._transfer)

    def get(self, key: str) -> Any:
        return self._s3.get_object(Bucket=self._job.bucket, Key=key)["Body"].read()

    def put(self, key: str, data: bytes) -> None:
        self._s3.put_object(Bucket=self._job.bucket, Key=key, Body=data)

    def list(self) -> int:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._job.bucket)
        return sum(len(page["Contents"]) for page in pages)


if __name__ == "__main__":
    run(Boto3, "boto3", "botocore", "s3transfer", "urllib3")
