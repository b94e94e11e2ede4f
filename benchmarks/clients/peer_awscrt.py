"""awscrt: the S3 client in C that is under AWS's own command line and, where asked for, under boto3."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from _harness import Job, Unsupported, run
from awscrt.auth import AwsCredentialsProvider
from awscrt.http import HttpHeaders, HttpRequest
from awscrt.io import ClientTlsContext, InputStream, TlsContextOptions
from awscrt.s3 import (
    S3ChecksumAlgorithm,
    S3ChecksumConfig,
    S3ChecksumLocation,
    S3Client,
    S3RequestTlsMode,
    S3RequestType,
    create_default_s3_signing_config,
)

THROUGHPUT_TARGET: Final = 10.0  # Gbit/s, the library's default
# The payload is never in its signature; a checksum in a header is how it hashes each part before it is sent.
SHA256: Final = S3ChecksumConfig(algorithm=S3ChecksumAlgorithm.SHA256, location=S3ChecksumLocation.HEADER)


class Crt:
    """See SETTINGS.md."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._host = urlsplit(job.url).netloc
        keys = AwsCredentialsProvider.new_static(job.access_key_id, job.secret_access_key)
        self._s3 = S3Client(
            region=job.region,
            tls_mode=S3RequestTlsMode.ENABLED if job.secure else S3RequestTlsMode.DISABLED,
            tls_connection_options=_trust(job),
            signing_config=create_default_s3_signing_config(region=job.region, credential_provider=keys),
            part_size=job.part_size,
            throughput_target_gbps=THROUGHPUT_TARGET,
            max_active_connections_override=max(8, job.workers),
        )

    def download(self) -> None:
        self._send(S3RequestType.GET_OBJECT, "GET", self._job.key, recv_filepath=self._job.path)

    def upload(self) -> None:
        length = str(Path(self._job.path).stat().st_size)
        self._send(
            S3RequestType.PUT_OBJECT,
            "PUT",
            self._job.key,
            headers={"Content-Length": length},
            send_filepath=self._job.path,
            checksum_config=SHA256 if self._job.hashed else None,
        )

    def get(self, key: str) -> bytearray:
        body = bytearray()

        def on_body(chunk: bytes, offset: int, **_: Any) -> None:
            body[offset : offset + len(chunk)] = chunk

        self._send(S3RequestType.GET_OBJECT, "GET", key, on_body=on_body)
        return body

    def put(self, key: str, data: bytes) -> None:
        headers = {"Content-Length": str(len(data))}
        self._send(S3RequestType.PUT_OBJECT, "PUT", key, body=data, headers=headers, checksum_config=SHA256)

    def list(self) -> int:
        raise Unsupported("awscrt sends requests and does not read listings")

    def _send(
        self,
        kind: S3RequestType,
        method: str,
        key: str,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        all_headers = HttpHeaders([("host", self._host), *(headers or {}).items()])
        stream = None if body is None else InputStream(io.BytesIO(body))
        request = HttpRequest(method, f"/{self._job.bucket}/{key}", all_headers, stream)
        done = threading.Event()
        failures: list[BaseException] = []

        def on_done(*, error: BaseException | None = None, **_: Any) -> None:
            if error is not None:
                failures.append(error)
            done.set()

        sent = self._s3.make_request(type=kind, request=request, on_done=on_done, **options)
        sent.finished_future.result()
        done.wait()
        if failures:
            raise failures[0]


def _trust(job: Job) -> Any:
    if not job.ca:
        return None
    options = TlsContextOptions()
    options.override_default_trust_store_from_path(None, job.ca)
    connection = ClientTlsContext(options).new_connection_options()
    connection.set_server_name(urlsplit(job.url).hostname)
    return connection


if __name__ == "__main__":
    run(Crt, "awscrt")
