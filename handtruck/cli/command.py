"""The root of the command line: what all commands share."""

from __future__ import annotations

import click

from .. import __version__
from .demo import demo

__all__ = ("handtruck",)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="handtruck")
def handtruck() -> None:
    """Move objects to and from S3."""


handtruck.add_command(demo)
