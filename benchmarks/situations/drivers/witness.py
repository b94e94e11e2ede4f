"""boto3, which looks at the server past the road: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import json
import sys
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError


class Witness:
    """What can be asked."""

    def __init__(self, url: str, bucket: str) -> None:
        quiet: Any = "when_required"
        config = Config(request_checksum_calculation=quiet, response_checksum_validation=quiet)
        self._s3 = boto3.client("s3", endpoint_url=url, config=config)
        self._bucket = bucket
        self._s3.create_bucket(Bucket=bucket)

    def put(self, key: str, path: str) -> None:
        """Write an object, whatever was there."""
        self._s3.upload_file(path, self._bucket, key, Config=TransferConfig(preferred_transfer_client="classic"))

    def fetch(self, key: str, path: str) -> bool:
        """Read an object into a file; whether there is one."""
        try:
            self._s3.download_file(self._bucket, key, path)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("404", "NoSuchKey"):
                raise
            return False
        return True

    def uploads(self) -> dict[str, int]:
        """Every open upload, with how many parts it has."""
        open_ones = self._s3.list_multipart_uploads(Bucket=self._bucket).get("Uploads", [])
        return {each["UploadId"]: len(self._parts(each)) for each in open_ones}

    def _parts(self, upload: Any) -> Any:
        try:
            found = self._s3.list_parts(Bucket=self._bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except self._s3.exceptions.NoSuchUpload:  # gone between the two
            return []
        return found.get("Parts", [])

    def clear(self, key: str) -> None:
        """Leave neither an object of this name nor any open upload."""
        for each in self._s3.list_multipart_uploads(Bucket=self._bucket).get("Uploads", []):
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=each["Key"], UploadId=each["UploadId"])
        self._s3.delete_object(Bucket=self._bucket, Key=key)


def main(url: str, bucket: str) -> None:
    """Answer until stdin ends."""
    witness = Witness(url, bucket)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        sys.stdout.write(json.dumps(getattr(witness, name)(*arguments)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
