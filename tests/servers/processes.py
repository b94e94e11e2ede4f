"""Starting a server's process, waiting until it is ready, and stopping it: by its own handle, never by name."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from tests.servers.model import StartFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")


class Deadline:
    """A start-up's share of the 20 s that its first test has."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())


class Daemon:
    """A running process and its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def wait_until(self, ready: Callable[[], T | None], deadline: Deadline) -> T:
        """Poll ``ready`` until it gives something, the process dies or the time is up."""
        while True:
            status = self._process.poll()
            if status is not None:
                raise StartFailed(f"{self._name} died with status {status}:\n{self.said()[-2000:]}")
            if (answer := ready()) is not None:
                return answer
            if not deadline.remaining:
                raise StartFailed(f"{self._name} was not ready in time:\n{self.said()[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def _name(self) -> str:
        return str(self._process.args[0]) if isinstance(self._process.args, list) else str(self._process.args)


@contextmanager
def daemon(
    command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, gently: bool = True
) -> Iterator[Daemon]:
    """Run a command while the block lasts; ``gently`` terminates it first, for servers that tidy up."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command),
            env=environment() if env is None else env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Daemon(process, log)
    try:
        yield running
    finally:
        if gently:
            running.stop()
        else:
            running.kill()


def run(command: Sequence[str], deadline: Deadline) -> None:
    """Run a command to its end; what it said is in the error when it fails."""
    try:
        done = subprocess.run(
            list(command),
            check=False,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=deadline.remaining,
        )
    except subprocess.TimeoutExpired as error:
        raise StartFailed(f"{' '.join(command)} took too long:\n{(error.output or b'')[-2000:]!r}") from error
    if done.returncode:
        said = done.stdout.decode(errors="replace")[-2000:]
        raise StartFailed(f"{' '.join(command)} failed with status {done.returncode}:\n{said}")


def environment() -> dict[str, str]:
    """Ours, without what would change a server: coverage's start-up hooks and Ceph's default arguments."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("COVERAGE_", "COV_", "CEPH_"))}
