"""``handtruck demo``: what the library does, and leaves behind, on both event loops."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import click

from .. import __version__
from ..errors import HandtruckError, UsageError
from ..protocol.parts import DEFAULT_PART_SIZE
from .interrupts import Interrupts
from .local_server import local_server
from .place import Server, borrowed
from .screen import open_screen
from .sizes import Size, mib
from .tour import Finding, Tour, make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import TypeAlias

    from .place import Place

    Columns: TypeAlias = Mapping[str, Sequence[Finding]]

__all__ = ("demo",)

_LOOPS: Final = ("asyncio", "trio")
_INTERRUPTED: Final = 130


@click.command()
@click.option("--endpoint", metavar="URL", help="A server of yours. Default: rclone serves a temporary folder.")
@click.option("--bucket", metavar="NAME", help="A bucket of yours on it. Default: one is made, and removed.")
@click.option(
    "--size",
    type=Size(least=2 * DEFAULT_PART_SIZE),
    default="256MiB",
    show_default=True,
    help="Of the file that is sent; rclone holds it in memory.",
)
@click.option("--workers", type=click.IntRange(1), default=8, show_default=True, help="Requests at a time.")
@click.option("--loop", "loops", type=click.Choice(_LOOPS), multiple=True, help="Only this one. Default: both.")
@click.pass_context
def demo(
    ctx: click.Context, endpoint: str | None, bucket: str | None, size: int, workers: int, loops: tuple[str, ...]
) -> None:
    """Send a file, fetch it, cancel half-way, and look what remains.

    With --endpoint, keys come from the environment, the config files or the URL (http://KEY_ID:SECRET@HOST).
    Everything the demo makes is removed. The exit status is 0 only if all promises were kept.
    """
    if bucket and not endpoint:
        raise click.UsageError("--bucket is a bucket of a server of yours: say which by --endpoint")
    chosen = tuple(dict.fromkeys(loops)) or _LOOPS
    try:
        status = _status(lambda: _demonstrate(endpoint, bucket, size, workers, chosen))
    except KeyboardInterrupt as interrupt:
        _complain("interrupted", interrupt)
        status = _INTERRUPTED
    ctx.exit(status)


def _status(demonstrate: Callable[[], Columns]) -> int:
    """The exit status; what is wrong is told on standard error, without a traceback."""
    try:
        columns = demonstrate()
    except (HandtruckError, OSError) as error:
        _complain(f"{error}", error)
        return 1
    broken = [
        f"{loop}: {finding.title}: {finding.text}"
        for loop, findings in columns.items()
        for finding in findings
        if not finding.holds
    ]
    if broken:
        _complain("this should not be: " + "; ".join(broken))
    return 1 if broken else 0


def _complain(text: str, *errors: BaseException) -> None:
    notes = [note for error in errors for note in getattr(error, "__notes__", ())]
    for line in (text, *notes):
        click.echo(f"handtruck demo: {line}", err=True)


def _demonstrate(endpoint: str | None, bucket: str | None, size: int, workers: int, loops: Sequence[str]) -> Columns:
    """Everything that blocks is made around the event loops, and is gone after them."""
    if "trio" in loops and find_spec("trio") is None:
        raise UsageError("trio is not installed: pip install 'handtruck[demo]', or choose --loop asyncio")
    with ExitStack() as stack:
        interrupts = stack.enter_context(Interrupts())
        screen = stack.enter_context(open_screen())
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="handtruck-demo-")))
        server = stack.enter_context(_serve(endpoint))
        place = stack.enter_context(borrowed(server, bucket, interrupts))
        screen.say(_headline(server, place, size, workers))
        with screen.step("a file to send", size) as tell:
            source = make_source(folder / "source.bin", size, tell, interrupts.check)
        columns: dict[str, Sequence[Finding]] = {}
        for loop in loops:
            with TemporaryDirectory(dir=folder) as own:
                copy = Path(own, "copy.bin")
                tour = Tour(
                    loop=loop, server=server, place=place, source=source, copy=copy, workers=workers, screen=screen
                )
                columns[loop] = interrupts.run(tour.run, backend=loop)
    screen.table(columns)
    return columns


@contextmanager
def _serve(endpoint: str | None) -> Generator[Server]:
    if endpoint is not None:
        yield Server(url=endpoint)
        return
    with _directly("127.0.0.1"), local_server() as local:
        yield Server(
            url=local.url,
            access_key_id=local.access_key_id,
            secret_access_key=local.secret_access_key,
            temporary=True,
        )


@contextmanager
def _directly(host: str) -> Generator[None]:
    """Reach ``host`` past any proxy that the environment names: it stands for this machine."""
    before = os.environ.get("no_proxy")
    named = before or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = f"{named},{host}" if named else host
    try:
        yield
    finally:
        if before is None:
            del os.environ["no_proxy"]
        else:
            os.environ["no_proxy"] = before


def _headline(server: Server, place: Place, size: int, workers: int) -> str:
    where = f"{server.client().url}/{place.name('')}".rstrip("/")
    what = f"{mib(size)} in parts of {mib(DEFAULT_PART_SIZE)}, {workers} at a time"
    return f"handtruck {__version__}: {what}, {'a temporary rclone' if server.temporary else 'the server'} at {where}"
