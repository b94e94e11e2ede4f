"""``handtruck demo``: what the library does, and leaves behind, on both event loops."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from warnings import catch_warnings, filterwarnings

import anyio
import click

from .. import __version__
from ..errors import HandtruckError, UsageError
from ..protocol.parts import DEFAULT_PART_SIZE
from .local_server import local_server
from .place import Server, borrowed
from .screen import open_screen
from .sizes import Size, mib
from .tour import Finding, Source, Tour, make_source

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import TypeAlias

    from .place import Place
    from .screen import Screen

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
    status = _INTERRUPTED
    with catch_warnings():
        # What asyncio says of a Ctrl-C that comes while it makes its loop.
        filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        try:
            status = _status(lambda: _demonstrate(endpoint, bucket, size, workers, chosen))
        except* KeyboardInterrupt as interrupts:
            _complain("interrupted", interrupts, *interrupts.exceptions)
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
        screen = stack.enter_context(open_screen())
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="handtruck-demo-")))
        server = stack.enter_context(_serve(endpoint))
        place = stack.enter_context(borrowed(server, bucket))
        screen.say(_headline(server, place, size, workers, temporary=endpoint is None))
        with screen.step("a file to send", size) as tell:
            source = make_source(folder / "source.bin", size, tell)
        columns = {loop: _run(loop, server, place, source, workers, screen) for loop in loops}
    screen.table(columns)
    return columns


@contextmanager
def _serve(endpoint: str | None) -> Generator[Server]:
    if endpoint is not None:
        yield Server(url=endpoint)
        return
    with local_server() as local:
        yield Server(url=local.url, access_key_id=local.access_key_id, secret_access_key=local.secret_access_key)


def _headline(server: Server, place: Place, size: int, workers: int, *, temporary: bool) -> str:
    where = f"{server.client().url}/{place.name('')}".rstrip("/")
    what = f"{mib(size)} in parts of {mib(DEFAULT_PART_SIZE)}, {workers} at a time"
    return f"handtruck {__version__}: {what}, {'a temporary rclone' if temporary else 'the server'} at {where}"


def _run(loop: str, server: Server, place: Place, source: Source, workers: int, screen: Screen) -> list[Finding]:
    """One column of the table."""

    async def tour(copy: Path) -> list[Finding]:
        async with server.client() as s3:
            return await Tour(
                loop=loop, s3=s3, place=place, source=source, copy=copy, workers=workers, screen=screen
            ).run()

    with TemporaryDirectory(dir=source.path.parent) as folder:
        return anyio.run(tour, Path(folder, "copy.bin"), backend=loop)
