"""The floors of the package: imports go down only, and each floor keeps to what it may touch.

The picture is in docs/design.md. A new module is placed in ``FLOORS``, or this test is red.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FLOORS: Final = (
    ("errors", "models", "_places", "_tasks"),
    ("protocol",),
    ("_body",),
    ("transport",),
    ("_attempt", "credentials"),
    ("_correcting", "_express", "_session"),
    ("transfer",),
    ("client",),
    ("cli", "__init__"),
)
"""From the ground up. Modules of one floor, and of one folder, may import each other."""

HEIGHT: Final = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}
IMPURE: Final = frozenset({"anyio", "asyncio", "httpx", "os", "random", "socket", "ssl", "threading", "time", "trio"})
ASYNC: Final = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
TASK_GROUPS: Final = frozenset({"TaskGroup", "create_task_group", "open_nursery"})
MAY_START_TASKS: Final = frozenset({"_tasks", "transfer", "transport"})


def imports(tree: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line and absolute path of everything imported: at the top, in functions, for type checkers only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = package[: len(package) + 1 - node.level] if node.level else ()
            source += tuple(node.module.split(".")) if node.module else ()
            yield from ((node.lineno, [*source, alias.name]) for alias in node.names)


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every name that is used, and ``async`` for whatever is."""
    for node in ast.walk(tree):
        if isinstance(node, ASYNC) or any(loop.is_async for loop in getattr(node, "generators", ())):
            yield getattr(node, "lineno", 0), "async"
        elif isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.alias):
            yield node.lineno, node.name


def faults(root: Path) -> list[str]:
    """What the package below ``root`` does that its floors forbid, as ``path:line: why``."""
    found = []
    for path in sorted(root.rglob("*.py")):
        here = path.relative_to(root)
        room = here.parts[0].removesuffix(".py")
        tree = ast.parse(path.read_bytes())
        if room not in HEIGHT:
            found.append(f"{here}:1: {room} stands on no floor")
        for line, name in imports(tree, (root.name, *here.parts[:-1])):
            if name[0] == root.name:
                other = name[1] if len(name) > 1 and name[1] in HEIGHT else "__init__"
                if HEIGHT[other] > HEIGHT.get(room, len(FLOORS)):
                    found.append(f"{here}:{line}: {room} imports {other}, which is above it")
            elif room == "protocol" and name[0] in IMPURE:
                found.append(f"{here}:{line}: protocol imports {name[0]}")
        for line, used in uses(tree):
            if used == "async" and room == "protocol":
                found.append(f"{here}:{line}: protocol is async")
            if used in TASK_GROUPS and room not in MAY_START_TASKS:
                found.append(f"{here}:{line}: {room} uses {used}")
    return found


def test_the_package_keeps_to_its_floors() -> None:
    root = Path(__file__).parent.parent / "handtruck"
    assert {path.stem for path in root.iterdir()} >= set(HEIGHT)
    assert faults(root) == []


@pytest.mark.parametrize(
    ("path", "source", "fault"),
    [
        # Upwards, however it is written.
        ("errors.py", "from .transport import x", "errors.py:1: errors imports transport, which is above it"),
        ("errors.py", "from . import transport", "errors imports transport"),
        ("errors.py", "from . import models, client", "errors imports client"),
        ("errors.py", "from handtruck import client", "errors imports client"),
        ("errors.py", "from handtruck.client import S3Client", "errors imports client"),
        ("errors.py", "import handtruck.client", "errors imports client"),
        ("errors.py", "import re, handtruck.client as c", "errors imports client"),
        ("client.py", "import handtruck", "client imports __init__"),
        ("client.py", "from . import S3Client", "client imports __init__"),
        ("client.py", "from . import *", "client imports __init__"),
        ("client.py", "from handtruck import S3Client", "client imports __init__"),
        ("client.py", "from .cli import main", "client imports cli"),
        ("_tasks.py", "from .protocol import parts", "_tasks imports protocol"),
        ("protocol/parts.py", "from ..client import S3Client", "protocol imports client"),
        ("protocol/parts.py", "from .. import transport", "protocol imports transport"),
        ("protocol/parts.py", "from ..transfer.upload import x", "protocol imports transfer"),
        ("protocol/deep/er.py", "from ...client import x", "protocol imports client"),
        ("protocol/__init__.py", "from ..client import x", "protocol imports client"),
        ("_body.py", "from .transport import x", "_body imports transport"),
        ("transport.py", "from .credentials import x", "transport imports credentials"),
        ("credentials/chain.py", "from .._session import x", "credentials imports _session"),
        ("_session.py", "from .transfer import x", "_session imports transfer"),
        ("transfer/upload.py", "from ..client import x", "transfer imports client"),
        # … and wherever it stands.
        ("models.py", "def f():\n    from .client import x", "models.py:2: models imports client"),
        ("models.py", "if TYPE_CHECKING:\n    from .client import x", "models.py:2: models imports client"),
        ("models.py", "try:\n    import handtruck.cli\nexcept ImportError: pass", "models.py:2: models imports cli"),
        # A module that nobody has placed.
        ("surprise.py", "", "surprise.py:1: surprise stands on no floor"),
        ("integrations/dask.py", "", "integrations stands on no floor"),
        # The protocol is pure.
        *(("protocol/parts.py", f"import {name}", f"protocol imports {name}") for name in sorted(IMPURE)),
        ("protocol/parts.py", "from os import path", "protocol imports os"),
        ("protocol/parts.py", "import os.path as p", "protocol imports os"),
        ("protocol/parts.py", "def f():\n    import time", "protocol/parts.py:2: protocol imports time"),
        ("protocol/parts.py", "async def f(): pass", "protocol is async"),
        ("protocol/parts.py", "async def f():\n    await g()", "protocol/parts.py:2: protocol is async"),
        ("protocol/parts.py", "async def f():\n    async with g(): pass", "protocol/parts.py:2: protocol is async"),
        ("protocol/parts.py", "async def f():\n    async for _ in g(): pass", "protocol/parts.py:2: protocol is async"),
        ("protocol/parts.py", "f = lambda: (x async for x in g())", "protocol is async"),
        # Tasks are started in few places.
        ("client.py", "import anyio\nanyio.create_task_group()", "client.py:2: client uses create_task_group"),
        ("client.py", "from anyio import create_task_group as g", "client uses create_task_group"),
        ("client.py", "trio.open_nursery()", "client uses open_nursery"),
        ("_session.py", "import asyncio\nasyncio.TaskGroup()", "_session.py:2: _session uses TaskGroup"),
        ("_session.py", "def f(group: TaskGroup): pass", "_session uses TaskGroup"),
        ("credentials/chain.py", "create_task_group()", "credentials uses create_task_group"),
    ],
)
def test_the_check_sees(path: str, source: str, fault: str, tmp_path: Path) -> None:
    """Each fault is reported, with its place; were it not, the test above would prove nothing."""
    assert any(fault in line for line in faults_of(path, source, tmp_path))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("models.py", "from .errors import x"),
        ("protocol/parts.py", "from ..errors import UsageError\nfrom . import documents\nfrom .address import x"),
        ("protocol/parts.py", "import re\nfrom urllib.parse import quote\nfrom datetime import datetime"),
        ("protocol/parts.py", "timeout = 1\nanswer.time"),
        (
            "transport.py",
            "import os, ssl, anyio\nfrom .protocol import parts\nasync def f(): anyio.create_task_group()",
        ),
        ("transfer/upload.py", "from .. import errors\nfrom .workers import x\nfrom anyio.abc import TaskGroup"),
        ("_tasks.py", "async def f():\n    async with anyio.create_task_group(): pass"),
        ("client.py", "from handtruck.transfer import upload\nfrom handtruck import errors"),
        ("cli/main.py", "from .. import S3Client\nimport handtruck"),
        ("__init__.py", "from .client import S3Client"),
    ],
)
def test_the_check_lets_pass(path: str, source: str, tmp_path: Path) -> None:
    assert faults_of(path, source, tmp_path) == []


def faults_of(path: str, source: str, folder: Path) -> list[str]:
    file = folder / "handtruck" / path
    file.parent.mkdir(parents=True)
    file.write_text(source, encoding="utf-8")
    return faults(folder / "handtruck")
