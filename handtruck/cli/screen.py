"""What people see: bars that move on a terminal, one plain line for each step anywhere else, a table at the end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Column, Table
from rich.text import Text

from .sizes import mib

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from .tour import Finding

__all__ = ("Screen", "open_screen")


class Screen:
    """Where the demo tells how it goes."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self._console = console
        self._bars = bars

    def say(self, text: str) -> None:
        """One line of text."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def step(self, title: str, total: int) -> Generator[Callable[[int], None]]:
        """A step of so many bytes; yields what is to be told the number of those done."""
        number = self._bars.add_task(escape(title), total=total)
        try:
            yield lambda done: self._bars.update(number, completed=done)
        finally:
            self._bars.stop_task(number)
        if self._bars.disable:
            self.say(f"{title:<26}{_amount(self._bars.tasks[number])}")

    def table(self, columns: Mapping[str, Sequence[Finding]]) -> None:
        """What was found: a column for each event loop, a row for each finding."""
        table = Table("", *columns, box=SIMPLE_HEAD)
        for row in zip(*columns.values(), strict=True):
            table.add_row(row[0].title, *(Text(each.text, "" if each.holds else "bold red") for each in row))
        self._console.print(table)


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_amount(task))


def _amount(task: Task) -> str:
    """How much, and how fast since the step began: rich's own columns know the last seconds, and powers of ten."""
    elapsed = task.elapsed or 0.0
    speed = f"{mib(task.completed / elapsed)}/s" if elapsed else ""
    return f"{mib(task.completed):>10} of {mib(task.total or 0)} {elapsed:6.1f} s {speed:>11}"


@contextmanager
def open_screen() -> Generator[Screen]:
    """Take standard output; bars that are still moving stop in the end."""
    console = Console()
    live = console.file.isatty() and not console.is_dumb_terminal
    title = TextColumn("{task.description}", table_column=Column(no_wrap=True))
    columns = title, BarColumn(bar_width=None), _Amount(table_column=Column(no_wrap=True))
    with Progress(*columns, console=console, disable=not live, expand=True) as bars:
        yield Screen(console, bars)
