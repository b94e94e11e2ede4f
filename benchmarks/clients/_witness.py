"""boto3, beside the measurements: ``URL BUCKET fill|fill-small|etag|delete NAME [PATH]``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config


def main(url: str, bucket: str, action: str, name: str, path: str = "") -> None:
    """Do it."""
    quiet: Any = "when_required"
    config = Config(request_checksum_calculation=quiet, response_checksum_validation=quiet)
    s3 = boto3.client("s3", endpoint_url=url, config=config)
    if action == "etag":
        sys.stdout.write(s3.head_object(Bucket=bucket, Key=name)["ETag"])
        return
    if action == "delete":
        s3.delete_object(Bucket=bucket, Key=name)
        return
    s3.create_bucket(Bucket=bucket)
    if action == "fill":
        s3.upload_file(path, bucket, name, Config=TransferConfig(max_concurrency=4))
    for small in sorted(Path(path).iterdir()) if action == "fill-small" else ():
        s3.put_object(Bucket=bucket, Key=f"{name}/{small.name}", Body=small.read_bytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
