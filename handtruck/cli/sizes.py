"""Sizes as people write them: ``256MiB``, ``1GiB``, ``64M``."""

from __future__ import annotations

import re
from typing import Final

import click

from ..protocol.parts import MIB

__all__ = ("Size", "mib")

_SIZE: Final = re.compile(r"(\d{1,15})\s*([kmgt]?)(?:i?b)?", re.IGNORECASE | re.ASCII)
_UNITS: Final = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3, "t": 1024**4}


def mib(size: float) -> str:
    """A number of bytes in MiB, rounded."""
    return f"{size / MIB:,.0f} MiB"


class Size(click.ParamType[int]):
    """A number of bytes. K, M, G and T are powers of 1024, with or without ``iB`` or ``B``."""

    name = "size"

    def __init__(self, *, least: int) -> None:
        self.least = least

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """See :meth:`click.ParamType.convert`."""
        match = _SIZE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no size: write 256MiB, 1GiB or 64M", param, ctx)
        size = int(match[1]) * _UNITS[match[2].lower()]
        if size < self.least:
            self.fail(f"{value!r} is too small: at least {mib(self.least)}", param, ctx)
        return size
