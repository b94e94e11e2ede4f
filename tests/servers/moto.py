"""moto's server, in a process of its own: breadth of API, but it verifies nothing."""

from __future__ import annotations

import importlib.util
import re
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.servers.model import NotInstalled, Server
from tests.servers.processes import Deadline, daemon, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTENING = re.compile(r"Running on (http://127\.0\.0\.1:\d+)")


@contextmanager
def start() -> Iterator[Server]:
    """Run moto on a port of the kernel's choice; its spooled bodies go to a directory that is removed."""
    if importlib.util.find_spec("moto") is None:
        raise NotInstalled("moto is missing: pip install moto[server]")
    with TemporaryDirectory(prefix="handtruck-moto-") as own:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        env = environment() | {"PYTHONUNBUFFERED": "1", "TMPDIR": own}
        with daemon(command, log=Path(own, "log"), env=env) as process:
            match = process.wait_until(lambda: _LISTENING.search(process.said()), Deadline(15))
            yield Server(name="moto", url=match[1], access_key_id="moto-key", secret_access_key="moto-secret")
