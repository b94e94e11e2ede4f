"""One client, one work, one endpoint: start the process, check what it did, give back a line of facts."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from benchmarks import environments
from benchmarks.catalogue import MIB, PART, Client, Work, in_words
from benchmarks.endpoints import BUCKET, Endpoint, NotInstalled, memory

if TYPE_CHECKING:
    from collections.abc import Iterator

SMALL_OBJECTS: Final = 256  # as in clients/_harness.py
TIMEOUT: Final = 600.0  # seconds a process may take
_BLOCK: Final = 4 * MIB
_CLIENTS: Final = environments.HERE / "clients"


class Wrong(Exception):
    """The client did not do what it was asked for."""


@dataclass(slots=True)
class Arena:
    """Where the files are: sources and downloads on tmpfs, and a directory on disk."""

    memory: Path
    disk: Path
    facts: dict[str, Any]
    _tags: dict[int, str] = field(default_factory=dict)

    def source(self, size: int) -> Path:
        """A file of that many bytes that do not compress, no two of its blocks alike."""
        path = self.memory / f"source-{size}"
        if not path.exists():
            noise = Random(7).randbytes(MIB)  # noqa: S311 - contents, not secrets
            with path.open("wb") as file:
                for number in range(-(-size // MIB)):
                    file.write((number.to_bytes(8, "big") + noise[8:])[: size - number * MIB])
        return path

    def fill(self, endpoint: Endpoint, sizes: set[int]) -> None:
        """Put the objects there that will be asked for.

        Raises:
            NotInstalled: there is no room for them.
        """
        small = self.memory / "small"
        if not small.exists():
            small.mkdir()
            for number in range(SMALL_OBJECTS):
                small.joinpath(f"{number:03}").write_bytes(os.urandom(4096))
        needed = sum(sizes) + max(sizes, default=0)
        if shutil.disk_usage(self.memory).free < needed:
            raise NotInstalled(f"{self.memory.parent} needs {in_words(needed)} of room for works of these sizes")
        sources = {size: self.source(size) for size in sorted(sizes)}
        if endpoint.objects is None:
            for size, path in sources.items():
                self.boto3(endpoint, "fill", f"object-{size}", str(path))
            self.boto3(endpoint, "fill-small", "small", str(small))
            return
        shutil.copytree(small, endpoint.objects / "small", copy_function=os.link, dirs_exist_ok=True)
        for size, path in sources.items():
            for name in ("object", "upload"):  # what is uploaded is dropped; who asks for it finds its like
                link = endpoint.objects / f"{name}-{size}"
                if not link.exists():
                    link.hardlink_to(path)

    def boto3(self, endpoint: Endpoint, *arguments: str) -> str:
        """Ask another client, outside of every measurement."""
        command = [
            str(environments.python_of("peers")),
            str(_CLIENTS / "_witness.py"),
            endpoint.url,
            BUCKET,
            *arguments,
        ]
        done = subprocess.run(command, env=_environment(endpoint), check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def run(self, client: Client, work: Work, endpoint: Endpoint, number: int) -> dict[str, Any]:
        """One run's line; ``error`` or ``unsupported`` in it say that there is no figure, and why."""
        line: dict[str, Any] = {
            "client": client.name,
            "work": work.name,
            "title": work.title,
            "endpoint": endpoint.name,
            "round": number,
            "unit": work.unit,
            "amount": work.amount,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if not client.signs and endpoint.name.startswith("rgw"):
            return line | {"unsupported": "its requests are not signed"}
        try:
            line |= self._measured(client, work, endpoint)
        except Wrong as wrong:
            line["error"] = str(wrong)
        return line | self.facts

    def _measured(self, client: Client, work: Work, endpoint: Endpoint) -> dict[str, Any]:
        target = (self.disk if work.disk else self.memory) / "target"
        target.unlink(missing_ok=True)
        if work.job == "download":
            warm(target, work.size)
        if endpoint.parts_log is not None and endpoint.parts_log.exists():
            os.truncate(endpoint.parts_log, 0)
        if work.job.startswith("upload") and endpoint.objects is None:
            self.boto3(endpoint, "delete", f"upload-{work.size}")  # so that what is found afterwards is this run's
        before = Usage.now(endpoint)
        said = self._process(client, work, endpoint, target)
        if "unsupported" in said:
            return said
        said |= Usage.now(endpoint).since(before, known=endpoint.pid is not None)
        said |= said.pop("cost")
        said |= self._checked(work, endpoint, target, said)
        target.unlink(missing_ok=True)
        return said

    def _process(self, client: Client, work: Work, endpoint: Endpoint, target: Path) -> dict[str, Any]:
        uploads = work.job.startswith("upload")
        command = {
            "work": work.job,
            "url": endpoint.url,
            "region": endpoint.region,
            "access-key-id": endpoint.access_key_id,
            "secret-access-key": endpoint.secret_access_key,
            "ca": "" if endpoint.ca is None else str(endpoint.ca),
            "bucket": BUCKET,
            "key": f"{'upload' if uploads else 'object'}-{work.size}",
            "path": str(self.source(work.size) if uploads else target),
            "size": work.size,
            "part-size": PART,
            "workers": work.workers,
            "count": work.count,
            "loop": client.loop,
        }
        python = str(environments.python_of(client.environment))
        arguments = [f"--{name}={value}" for name, value in command.items()]
        try:
            done = subprocess.run(
                [python, str(_CLIENTS / f"{client.script}.py"), *arguments],
                cwd=self.memory,
                env=_environment(endpoint),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise Wrong(f"it was not done within {TIMEOUT:.0f} s") from None
        if done.returncode:
            raise Wrong(f"status {done.returncode}: {done.stderr.strip()[-1500:]}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer

    def _checked(self, work: Work, endpoint: Endpoint, target: Path, said: dict[str, Any]) -> dict[str, Any]:
        """What can be seen from outside: the file, the parts that arrived, the number of keys."""
        if work.job == "download" and not same_bytes(self.source(work.size), target):
            raise Wrong("the file differs from the object")
        if work.job == "list" and said["listed"] != work.count:
            raise Wrong(f"{said['listed']} keys instead of {work.count}")
        if not work.job.startswith("upload"):
            return {}
        if endpoint.parts_log is not None:
            return parts_arrived(endpoint.parts_log.read_text(), work.size, hashed=work.job == "upload")
        stored, wanted = self.boto3(endpoint, "etag", f"upload-{work.size}"), self._entity_tag(work.size)
        if stored != wanted:
            raise Wrong(f"the object's ETag is {stored} instead of {wanted}")
        return {}

    def _entity_tag(self, size: int) -> str:
        """What S3 calls an object of parts: the MD5 of their MD5s."""
        if size not in self._tags:
            with self.source(size).open("rb") as file:
                parts = iter(lambda: file.read(PART), b"")
                digests = [hashlib.md5(part, usedforsecurity=False).digest() for part in parts]
            joined = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
            self._tags[size] = f'"{joined}-{len(digests)}"'
        return self._tags[size]


def warm(target: Path, size: int) -> None:
    """Write a file as long as the one to come, and delete it again, so that its memory is there.

    A virtual machine hands memory that nobody uses back to its host, and pays several times as much for its first
    touch thereafter: whoever came after a slower client would pay for it.
    """
    os.sync()
    block = bytes(_BLOCK)
    with target.open("wb", buffering=0) as file:
        for start in range(0, size, _BLOCK):
            file.write(block[: size - start])
    target.unlink()


@contextmanager
def arena(facts: dict[str, Any]) -> Iterator[Arena]:
    """Directories that are gone when the block ends."""
    environments.BENCH.mkdir(exist_ok=True)
    with (
        TemporaryDirectory(prefix="handtruck-bench-", dir=memory()) as fast,
        TemporaryDirectory(prefix="scratch-", dir=environments.BENCH) as slow,
    ):
        yield Arena(Path(fast), Path(slow), facts)


def parts_arrived(log: str, size: int, *, hashed: bool) -> dict[str, Any]:
    """What nginx says of an upload: how many parts of how many bytes there were, and how they were hashed.

    Raises:
        Wrong: bytes are missing, or parts have another size or hash than was asked for.
    """
    lines = [line.split() for line in log.splitlines()]
    received, parts = sum(int(line[0]) for line in lines), -(-size // PART)
    if received < size:
        raise Wrong(f"{received} bytes of {size} were sent")
    if len(lines) != parts:
        raise Wrong(f"{len(lines)} parts were sent instead of {parts}")
    payload = ", ".join(sorted({_hashing(*line[1:]) for line in lines}))
    if ("sha256" in payload) != hashed:
        raise Wrong(f"the payload's hash was {payload}")
    return {"payload": payload, "sent": received}


def _hashing(*headers: str) -> str:
    """``UNSIGNED-PAYLOAD``, ``sha256``, and what else was computed of a part."""
    said = {name: value for name, value in (header.split("=", 1) for header in headers) if value != "-"}
    content = said.pop("content", "nothing")
    return " + ".join(["sha256" if len(content) == 64 else content or "an empty value", *said])


def same_bytes(one: Path, other: Path) -> bool:
    """Whether two files are alike, byte for byte."""
    if not other.exists() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        return all(left.read(_BLOCK) == right.read(_BLOCK) for _ in range(-(-one.stat().st_size // _BLOCK)))


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds so far: the wall's clock, and the processors' for everybody, for our children and for the server."""

    wall: float
    everybody: float
    children: float
    server: float

    @classmethod
    def now(cls, endpoint: Endpoint) -> Usage:
        """Look."""
        ours = resource.getrusage(resource.RUSAGE_CHILDREN)
        return cls(time.perf_counter(), _busy_seconds(), ours.ru_utime + ours.ru_stime, server_seconds(endpoint))

    def since(self, before: Usage, *, known: bool) -> dict[str, float]:
        """The server's seconds, and how many processors were busy with something that is not part of the run."""
        server, children = self.server - before.server, self.children - before.children
        if not known or not self.everybody:
            return {}
        others = self.everybody - before.everybody - children - server
        return {"server": server, "others": max(0.0, others / (self.wall - before.wall))}


def _busy_seconds() -> float:
    """What all processors have worked so far, where there is a ``/proc``."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _idle, _waiting, *rest = map(int, stat.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")


def server_seconds(endpoint: Endpoint) -> float:
    """The processor time that the server has used so far, where it is known and there is a ``/proc``."""
    if endpoint.pid is None or not Path("/proc/self/stat").exists():
        return 0.0
    children = Path(f"/proc/{endpoint.pid}/task/{endpoint.pid}/children").read_text().split()
    ticks = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13] for pid in children]
    return sum(int(user) + int(system) for user, system in ticks) / os.sysconf("SC_CLK_TCK")


def _environment(endpoint: Endpoint) -> dict[str, str]:
    """Ours, without what would change a client, and the endpoint's."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "AWS_", "S3_", "RCLONE_", "COVERAGE"))}
    return {k: v for k, v in ours.items() if not k.lower().endswith("_proxy")} | endpoint.environment()


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
        "revision": environments.state(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()
