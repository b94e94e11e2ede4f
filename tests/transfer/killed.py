"""Processes that do one transfer each, and are killed in the middle of it.

They are forked from one process that has imported everything already and has neither threads nor a loop: a new
interpreter for each would take longer than what it does.
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from unittest import mock

import anyio

from handtruck import S3Client
from handtruck.protocol import parts

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path

LOOPS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """An object moved ``up`` from ``path``, or ``down`` to there, with ``resume=True``, on a loop of its own."""

    loop: str
    direction: str
    url: str
    name: str
    path: Path
    part_size: int

    def start(self) -> BaseProcess:
        """Do it in a process of its own."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, "trio", "uvloop"])
        process = context.Process(target=_run, args=(self,))
        with mock.patch.dict(os.environ):  # what is killed saves no coverage, so that none needs to be measured
            for variable in [name for name in os.environ if name.startswith("COVERAGE")]:
                del os.environ[variable]
            process.start()
        return process


def _run(transfer: Transfer) -> None:
    parts.MIN_PART_SIZE = min(parts.MIN_PART_SIZE, transfer.part_size)  # type: ignore[misc]
    backend, options = LOOPS[transfer.loop]
    anyio.run(_transfer, transfer, backend=backend, backend_options=options)


async def _transfer(what: Transfer) -> None:
    async with S3Client(what.url) as s3:
        if what.direction == "up":
            await s3.upload(what.name, what.path, part_size=what.part_size, workers_count=2, resume=True)
        else:
            await s3.download(what.name, what.path, part_size=what.part_size, workers_count=2, resume=True)
