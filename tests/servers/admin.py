"""An independent witness: botocore, asked what is really on the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from tests.servers.model import Server


class Witness:
    """A synchronous client of one server; it tries once, verifies nothing, and knows nothing of handtruck."""

    def __init__(self, server: Server) -> None:
        session = botocore.session.Session()
        for variable in ("config_file", "credentials_file"):  # the user's own are none of our business
            session.set_config_variable(variable, os.devnull)
        self._s3: Any = session.create_client(
            "s3",
            region_name=server.region,
            endpoint_url=server.url,
            aws_access_key_id=server.access_key_id,
            aws_secret_access_key=server.secret_access_key,
            config=Config(
                connect_timeout=5,
                read_timeout=15,
                proxies={},
                retries={"total_max_attempts": 1},
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._s3.close()

    @property
    def client(self) -> Any:
        """The botocore client, for what has no method here."""
        return self._s3

    def create_bucket(self, bucket: str) -> None:
        self._s3.create_bucket(Bucket=bucket)

    def put(self, bucket: str, key: str, body: bytes = b"", **arguments: Any) -> str:
        """Store an object; ``arguments`` are PutObject's own. Returns the ETag, without its quotes."""
        answer = self._s3.put_object(Bucket=bucket, Key=key, Body=body, **arguments)
        return str(answer["ETag"]).strip('"')

    def get(self, bucket: str, key: str, **arguments: Any) -> bytes:
        with self._s3.get_object(Bucket=bucket, Key=key, **arguments)["Body"] as body:
            data: bytes = body.read()
        return data

    def head(self, bucket: str, key: str, **arguments: Any) -> Mapping[str, Any]:
        """HeadObject's answer under botocore's names (``ETag``, ``ContentLength``, ``Metadata``)."""
        answer: Mapping[str, Any] = self._s3.head_object(Bucket=bucket, Key=key, **arguments)
        return answer

    def exists(self, bucket: str, key: str) -> bool:
        try:
            self.head(bucket, key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return True

    def delete(self, bucket: str, key: str, **arguments: Any) -> None:
        self._s3.delete_object(Bucket=bucket, Key=key, **arguments)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """Every key, in the server's order."""
        return [item["Key"] for item in self._listed("list_objects_v2", "Contents", bucket, prefix)]

    def uploads(self, bucket: str, prefix: str = "") -> list[tuple[str, str]]:
        """The key and the id of every multipart upload that is neither completed nor aborted."""
        try:
            uploads = list(self._listed("list_multipart_uploads", "Uploads", bucket, prefix))
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchUpload":  # rclone's word for none at all
                return []
            raise
        return [(item["Key"], item["UploadId"]) for item in uploads]

    def create_upload(self, bucket: str, key: str, **arguments: Any) -> str:
        answer = self._s3.create_multipart_upload(Bucket=bucket, Key=key, **arguments)
        return str(answer["UploadId"])

    def put_part(self, bucket: str, key: str, upload_id: str, number: int, body: bytes) -> str:
        answer = self._s3.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body)
        return str(answer["ETag"]).strip('"')

    def parts(self, bucket: str, key: str, upload_id: str) -> list[tuple[int, int, str]]:
        """Number, size and ETag (without its quotes) of the parts of an open upload; at most 1000."""
        answer = self._s3.list_parts(Bucket=bucket, Key=key, UploadId=upload_id)
        return [(item["PartNumber"], item["Size"], item["ETag"].strip('"')) for item in answer.get("Parts", ())]

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        self._s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)

    def discard(self, bucket: str) -> None:
        """Give the server its memory back, as far as it lets us: what is left goes with the server."""
        try:
            for key, upload_id in self.uploads(bucket):
                self.abort(bucket, key, upload_id)
            for key in self.keys(bucket):
                self.delete(bucket, key)
            self._s3.delete_bucket(Bucket=bucket)
        except (BotoCoreError, ClientError):
            return

    def _listed(self, operation: str, member: str, bucket: str, prefix: str) -> Iterator[Any]:
        for page in self._s3.get_paginator(operation).paginate(Bucket=bucket, Prefix=prefix):
            yield from page.get(member, ())
