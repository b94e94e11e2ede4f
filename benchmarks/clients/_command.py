"""Tools of the command line: their whole process is measured, and what it costs to start one apart from it.

A tool is a class with ``start`` (a command that asks for one small object, and no more) and a method for
each work, all of which give a command line and what to add to its environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from _harness import Job, Unsupported, parse

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line. ``lists`` says that each line of its output is a key; ``stdin`` is what it reads."""

    line: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    lists: bool = False
    stdin: str = ""


def run_tool(tool: Callable[[Job, Path], Any], *version: str) -> None:
    """Run the command line's work with this tool."""
    job = parse()
    with TemporaryDirectory(dir=_near(job)) as own:
        try:
            told = tool(job, Path(own))
            start, command = told.start(), getattr(told, job.work.removesuffix("-unsigned"))()
        except Unsupported as reason:
            sys.stdout.write(json.dumps({"unsupported": str(reason)}) + "\n")
            return
        started = measure(start, Path(own))
        done = measure(command, Path(own))
    versions = {version[0]: _first_line(list(version))}
    line = done | {"versions": versions, "loop": "process", "start": started["cost"]}
    sys.stdout.write(json.dumps(line) + "\n")


def _near(job: Job) -> str | None:
    return str(Path(job.path).parent) if job.path else None


def _first_line(version: list[str]) -> str:
    program = Path(sys.executable).with_name(version[0])
    said = subprocess.run([program, *version[1:]], capture_output=True, text=True, check=True).stdout
    return said.splitlines()[0].removeprefix(f"{version[0]} ")


def measure(command: Command, own: Path) -> dict[str, Any]:
    """Run it to its end; its cost, its peak of memory in bytes, and how many lines it wrote."""
    program = str(Path(sys.executable).with_name(command.line[0]))
    given, said = own / "stdin", own / "stdout"
    given.write_text(command.stdin)
    with given.open("rb") as stdin, said.open("wb") as stdout:
        before = time.perf_counter()
        process = subprocess.Popen(
            [program, *command.line[1:]], env=os.environ | command.environment, stdin=stdin, stdout=stdout
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - before
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command.line)} ended with status {process.returncode}")
    listed = said.read_bytes().count(b"\n") if command.lists else None
    cost = {"wall": wall, "user": usage.ru_utime, "system": usage.ru_stime}
    return {"cost": cost, "peak_rss": usage.ru_maxrss * 1024, "listed": listed}
