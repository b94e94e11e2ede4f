"""Bytes that can be told apart wherever they turn up."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MIB: Final = 1024 * 1024
SIZE: Final = 64 * MIB  # bytes of every object and file
KINDS: Final = ("old", "new", "earlier")
BLOCK: Final = 4096  # the grain of :func:`kind_of`


@cache
def content(kind: str) -> bytes:
    """:data:`SIZE` bytes of this kind: the object's ``old`` and ``new``, and what was in a file ``earlier``."""
    return Random(kind).randbytes(SIZE)  # noqa: S311 - contents, not secrets


def kind_of(data: bytes, kinds: Sequence[str] = KINDS) -> str:
    """What these bytes are: ``whole old``; ``mixed: 32 MiB old, 32 MiB new``; ``partial: 10 MiB old``."""
    for kind in kinds:
        if data == content(kind):
            return f"whole {kind}"
    if not data:
        return "empty"
    amounts = _amounts(data, kinds)
    told = ", ".join(f"{in_mib(amount)} {name}" for name, amount in amounts.items() if amount)
    mixed = sum(1 for name in kinds if amounts[name]) > 1
    return f"{'mixed' if mixed else 'partial'}: {told}"


def _amounts(data: bytes, kinds: Sequence[str]) -> dict[str, int]:
    """Bytes of each kind, block by block, each at its place in the object."""
    amounts = dict.fromkeys([*kinds, "zeros", "of neither"], 0)
    for start in range(0, len(data), BLOCK):
        block = data[start : start + BLOCK]
        names = (kind for kind in kinds if content(kind)[start : start + len(block)] == block)
        amounts[next(names, "of neither" if any(block) else "zeros")] += len(block)
    return amounts


def kind_of_file(path: Path) -> str:
    """What is in a file; ``none`` where there is none."""
    return kind_of(path.read_bytes()) if path.exists() else "none"


def in_mib(amount: int) -> str:
    """Bytes in MiB, as short as can be."""
    if 0 < amount < MIB // 10:
        return f"{amount} B"
    return f"{amount / MIB:.1f}".removesuffix(".0") + " MiB"
