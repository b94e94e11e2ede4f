"""The virtual environments in ``.bench/``: the peers', the reference's, ours, and those of other revisions of ours.

One is made when it is first asked for, and again when its requirements have changed.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
BENCH: Final = ROOT / ".bench"
_EXTRAS: Final = "trio,uvloop"


def python_of(name: str) -> Path:
    """The interpreter of an environment, which is made if it is missing or out of date.

    ``name`` is that of a ``requirements-….txt``, or ``revision-`` and a commit.
    """
    directory = BENCH / name
    python, stamp = directory / "bin" / "python", directory / "stamp"
    wanted, arguments = _requirements(name)
    if not stamp.exists() or stamp.read_text() != wanted:
        sys.stderr.write(f"making {directory.relative_to(ROOT)} …\n")
        venv.create(directory, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *arguments], cwd=ROOT, check=True)
        stamp.write_text(wanted)
    return python


def _requirements(name: str) -> tuple[str, list[str]]:
    """What the environment is made of, as a text to compare, and pip's arguments."""
    if name.startswith("revision-"):
        return name, [f"{revision_tree(name.removeprefix('revision-'))}[{_EXTRAS}]"]
    file = HERE / f"requirements-{name}.txt"
    text = file.read_text() + sys.version
    if name == "ours":
        text += ROOT.joinpath("pyproject.toml").read_text()
    return hashlib.sha256(text.encode()).hexdigest(), ["--requirement", str(file)]


def revision_tree(commit: str) -> Path:
    """A commit's files, in ``.bench/trees/``; the checkout is left alone."""
    tree = BENCH / "trees" / commit
    if not tree.exists():
        tree.mkdir(parents=True)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    return tree


def commit_of(revision: str) -> str:
    """A revision's short name, as git knows it.

    Raises:
        ValueError: git does not know it.
    """
    command = ["git", "rev-parse", "--short=10", "--verify", f"{revision}^{{commit}}"]
    found = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if found.returncode:
        raise ValueError(f"git knows no revision {revision!r}")
    return found.stdout.strip()


def state() -> str:
    """The checkout's commit, with a ``+`` where files differ from it; ``unknown`` outside of git."""
    try:
        commit = commit_of("HEAD")
    except (ValueError, OSError):
        return "unknown"
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--", "handtruck"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    return commit + ("+" if changed.stdout.strip() else "")
