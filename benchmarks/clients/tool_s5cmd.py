"""s5cmd: a tool in Go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _command import Command, run_tool
from _harness import Job, Unsupported, small_keys

if TYPE_CHECKING:
    from pathlib import Path


class S5cmd:
    """See SETTINGS.md."""

    def __init__(self, job: Job, own: Path) -> None:
        self._job, self._own = job, own
        self._object = f"s3://{job.bucket}/{job.key}"
        self._cut = ["--concurrency", str(job.workers), "--part-size", str(job.part_size >> 20)]

    def _command(self, *line: str, lists: bool = False, stdin: str = "", workers: int = 8) -> Command:
        options = ["--endpoint-url", self._job.url, "--numworkers", str(workers), "--log", "error"]
        return Command(line=["s5cmd", *(options[:-2] if lists else options), *line], lists=lists, stdin=stdin)

    def start(self) -> Command:
        return self._command("head", f"s3://{self._job.bucket}/small/000")

    def download(self) -> Command:
        return self._command("cp", *self._cut, self._object, self._job.path)

    def upload(self) -> Command:
        if not self._job.hashed:
            raise Unsupported("s5cmd has no setting for it: it hashes always, with SHA-256 and MD5")
        return self._command("cp", *self._cut, self._job.path, self._object)

    def get(self) -> Command:
        lines = [f"cp s3://{self._job.bucket}/{key} {self._own}/" for key in small_keys(self._job)]
        return self._command("run", stdin="\n".join(lines), workers=self._job.workers)

    def put(self) -> Command:
        small = self._own / "small"
        small.write_bytes(bytes(4096))
        lines = [f"cp {small} s3://{self._job.bucket}/{key}" for key in small_keys(self._job)]
        return self._command("run", stdin="\n".join(lines), workers=self._job.workers)

    def list(self) -> Command:
        return self._command("ls", f"s3://{self._job.bucket}/*", lists=True)


if __name__ == "__main__":
    run_tool(S5cmd, "s5cmd", "version")
