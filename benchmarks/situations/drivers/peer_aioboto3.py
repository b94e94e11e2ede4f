"""aioboto3, with botocore's default timeouts and retries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aioboto3
from _driver import SMALL, Job, checked, run
from aiobotocore.config import AioConfig
from boto3.s3.transfer import S3TransferConfig

if TYPE_CHECKING:
    from typing import Self


class Aioboto3:
    """``upload_file`` and ``download_file``."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._context: Any = aioboto3.Session().client(
            "s3",
            endpoint_url=job.url,
            region_name=job.region,
            aws_access_key_id=job.access_key_id,
            aws_secret_access_key=job.secret_access_key,
            config=AioConfig(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path", "payload_signing_enabled": True},
            ),
        )
        self._transfer = S3TransferConfig(
            multipart_threshold=job.part_size,
            multipart_chunksize=job.part_size,
            max_request_concurrency=job.workers,
        )
        self._s3: Any = None

    async def __aenter__(self) -> Self:
        self._s3 = await self._context.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._context.__aexit__(*exception)

    async def warm(self) -> None:
        answer = await self._s3.get_object(Bucket=self._job.bucket, Key=SMALL)
        async with answer["Body"] as body:
            checked(await body.read())

    async def call(self) -> None:
        job = self._job
        if job.call == "upload":
            await self._s3.upload_file(job.path, job.bucket, job.key, Config=self._transfer)
        else:
            await self._s3.download_file(job.bucket, job.key, job.path, Config=self._transfer)


if __name__ == "__main__":
    run(Aioboto3, "aioboto3", "aiobotocore", "aiohttp")
