"""rclone: a tool in Go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _command import Command, run_tool
from _harness import Job, Unsupported

if TYPE_CHECKING:
    from pathlib import Path


class Rclone:
    """See SETTINGS.md."""

    def __init__(self, job: Job, own: Path) -> None:
        self._job, self._own = job, own
        self._object = f":s3:{job.bucket}/{job.key}"

    def _command(self, *line: str, lists: bool = False) -> Command:
        job = self._job
        settings = {
            "PROVIDER": "Other",
            "ENDPOINT": job.url,
            "REGION": job.region,
            "ENV_AUTH": "true",
            "FORCE_PATH_STYLE": "true",
            "NO_CHECK_BUCKET": "true",
            "LIST_VERSION": "2",
            "CHUNK_SIZE": f"{job.part_size}B",
            "UPLOAD_CUTOFF": f"{job.part_size}B",
            "UPLOAD_CONCURRENCY": str(job.workers),
            "DISABLE_CHECKSUM": "true",
            "USE_UNSIGNED_PAYLOAD": "false",
            "USE_MULTIPART_ETAG": "false",
        }
        environment = {f"RCLONE_S3_{name}": value for name, value in settings.items()}
        environment["RCLONE_CONFIG"] = str(self._own / "none")
        if job.ca:
            environment["RCLONE_CA_CERT"] = job.ca
        return Command(line=["rclone", "--retries", "1", *line], environment=environment, lists=lists)

    def start(self) -> Command:
        return self._command("copyto", f":s3:{self._job.bucket}/small/000", str(self._own / "small"))

    def download(self) -> Command:
        size = f"{self._job.part_size}B"
        cut = ["--multi-thread-streams", str(self._job.workers), "--multi-thread-chunk-size", size]
        return self._command(
            "copyto", *cut, "--multi-thread-cutoff", size, "--ignore-checksum", self._object, self._job.path
        )

    def upload(self) -> Command:
        if self._job.work == ("upload" if self._job.secure else "upload-unsigned"):
            raise Unsupported("rclone hashes parts over http and does not over https, unasked")
        return self._command("copyto", "--ignore-checksum", "--ignore-times", self._job.path, self._object)

    def get(self) -> Command:
        raise Unsupported("rclone copies directories, which it lists first; a request for each file is s5cmd's work")

    def put(self) -> Command:
        raise Unsupported("rclone copies directories, which it lists first; a request for each file is s5cmd's work")

    def list(self) -> Command:
        return self._command("lsf", "--recursive", "--files-only", "--fast-list", self._bucket(), lists=True)

    def _bucket(self) -> str:
        return f":s3:{self._job.bucket}"


if __name__ == "__main__":
    run_tool(Rclone, "rclone", "version")
