"""s3transfer, of which boto3's ``upload_file`` and ``download_file`` are made, and its future that can be cancelled."""

from __future__ import annotations

from typing import Any

import boto3
from _driver import SMALL, Job, checked, run
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from botocore.config import Config


class S3Transfer:
    """``TransferManager.upload`` and ``.download``, ``TransferFuture.cancel``; default timeouts and retries."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._s3: Any = boto3.client(
            "s3",
            endpoint_url=job.url,
            region_name=job.region,
            aws_access_key_id=job.access_key_id,
            aws_secret_access_key=job.secret_access_key,
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path", "payload_signing_enabled": True},
            ),
        )
        self._transfer = TransferConfig(
            multipart_threshold=job.part_size,
            multipart_chunksize=job.part_size,
            max_concurrency=job.workers,
            preferred_transfer_client="classic",
        )
        self._future: Any = None

    def warm(self) -> None:
        checked(self._s3.get_object(Bucket=self._job.bucket, Key=SMALL)["Body"].read())

    def call(self) -> None:
        job = self._job
        with create_transfer_manager(self._s3, self._transfer) as manager:
            if job.call == "upload":
                self._future = manager.upload(job.path, job.bucket, job.key)
            else:
                self._future = manager.download(job.bucket, job.key, job.path)
            self._future.result()

    def cancel(self) -> None:
        self._future.cancel()


if __name__ == "__main__":
    run(S3Transfer, "boto3", "botocore", "s3transfer", "urllib3")
