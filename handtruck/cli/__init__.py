"""The ``handtruck`` command. Importing this needs nothing; running it needs the extra ``cli``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("main",)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command with these arguments, by default the process's own.

    Raises:
        SystemExit: always, with the exit status: 2 where click or rich are not installed.
    """
    try:
        from .command import handtruck
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        sys.stderr.write(f"handtruck: the command needs {error.name}: pip install 'handtruck[cli]'\n")
        raise SystemExit(2) from None
    handtruck.main(args=args, prog_name="handtruck")
