"""Results → Markdown: what misses its target first, then a table for each row."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any, Final

from benchmarks import targets
from benchmarks.catalogue import BASE, GIB, MIB
from benchmarks.results import Results, collect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.results import Cell, Row
    from benchmarks.targets import Verdict

__all__ = ("collect", "markdown", "one_line")

MISSED: Final = "✗"
MET: Final = "✓"
_RATES: Final[dict[str, tuple[str, Callable[[float], str]]]] = {
    "GiB": ("MiB/s", lambda rate: f"{rate * 1024:,.0f}".replace(",", " ")),
    "request": ("requests/s", lambda rate: f"{rate:,.0f}".replace(",", " ")),
    "key": ("keys/s", lambda rate: f"{rate:,.0f}".replace(",", " ")),
}
_COSTS: Final[dict[str, tuple[str, float, int]]] = {  # column, what a second is multiplied by, decimals
    "GiB": ("CPU s/GiB", 1, 2),
    "request": ("CPU µs/request", 1e6, 0),
    "key": ("CPU µs/key", 1e6, 1),
}


def one_line(line: dict[str, Any]) -> str:
    """A run, for whoever waits."""
    what = f"{line['endpoint']:11} {line['work']:16} {line['round'] + 1} {line['client']:25}"
    if reason := line.get("unsupported"):
        return f"{what} – {reason}"
    if error := line.get("error"):
        return f"{what} FAILED: {error.strip().splitlines()[-1]}"
    cpu = line["user"] + line["system"]
    return f"{what} {line['wall']:7.3f} s  CPU {cpu:7.3f} s  {line['peak_rss'] / MIB:4.0f} MiB"


def markdown(results: Results, *, base: str = BASE) -> str:
    """The whole report."""
    verdicts = targets.check(results)
    parts = [_preface(results, base), _targets(verdicts)]
    marks = targets.missed(verdicts)
    for endpoint in dict.fromkeys(row.endpoint for row in results.rows.values()):
        parts.append(f"## {endpoint}")
        parts += [_row(row, base, marks) for row in results.rows.values() if row.endpoint == endpoint]
    parts.append(_versions(results))
    return "\n\n".join(part for part in parts if part) + "\n"


def _preface(results: Results, base: str) -> str:
    machines = "; ".join(_machine(machine) for machine in results.machines)
    dates = sorted({date[:10] for date in results.dates})
    other = f"the same at {base[1:]}" if base.startswith("@") else base
    return (
        "# Side by side\n\n"
        f"{', '.join(dates)}; {results.rounds} round{'s' * (results.rounds > 1)}, interleaved; {machines}.\n\n"
        "Medians; in brackets the fastest and the slowest round. `×` is how many times as long, or as much, as "
        f"{other}. **Bold** is the best of a column, {MISSED} a target that is missed. CPU is the client's, user and "
        "system; peak RSS is the whole process's, interpreter included. [SETTINGS.md](SETTINGS.md) says how each "
        "client was set up, and why."
        f"{_disturbance(results)}"
    )


def _disturbance(results: Results) -> str:
    """A warning where the machine had other things to do; a tenth of a processor is nothing."""
    if not results.others or (busy := median(results.others)) < 0.1:
        return ""
    return f"\n\n**The machine was not idle: {busy:.1f} processors were busy with something else.**"


def _machine(machine: dict[str, Any]) -> str:
    memory = f"{machine['memory'] / GIB:.0f} GiB"
    return (
        f"{machine['cores']} × {machine['processor']}, {memory}, {machine['kernel']}, Python {machine['python']}, "
        f"handtruck at {machine['revision']}"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """A Markdown table; the first columns are aligned left, the others right."""
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _targets(verdicts: Sequence[Verdict]) -> str:
    if not verdicts:
        return ""
    bad = [each for each in verdicts if not each.met]
    good = [each for each in verdicts if each.met]
    head = f"## Targets\n\n{len(good)} of {len(verdicts)} are met."
    if bad:
        head += "\n\n" + _verdicts(bad)
    if good:
        head += f"\n\n<details><summary>The {len(good)} that are met</summary>\n\n{_verdicts(good)}\n\n</details>"
    return head


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        (
            MET if each.met else MISSED,
            each.endpoint,
            each.work,
            each.client,
            each.what,
            f"{each.figure:.2f}",
            f"≤ {each.limit:.2f}",
        )
        for each in verdicts
    ]
    return table(("", "endpoint", "work", "client", "what", "measured", "target"), rows, left=5)


def _row(row: Row, base: str, marks: set[tuple[str, str, str, str]]) -> str:
    """One row's table, the fastest first."""
    cells = row.measured
    parts = [f"### {row.title} ({row.work})"]
    if cells:
        rate, (cost, factor, decimals) = _RATES[row.unit], _COSTS[row.unit]
        head = ["client", "wall, s", rate[0], "×", cost, "×", "peak RSS, MiB"]
        payloads = any(cell.payload for cell in cells)
        best = {name: min(getattr(cell, name) for cell in cells) for name in ("wall", "cpu", "peak")}
        lines = []
        for cell in cells:
            mark = _Marker(row, cell, best, marks)
            low, high = cell.spread
            line = [
                cell.client + ("*" if cell.start else ""),
                mark("wall", f"{cell.wall:.3f}") + f" ({low:.3f}–{high:.3f})",
                rate[1](cell.rate),
                _ratio(row, base, lambda each: each.wall, cell),
                mark("cpu", f"{cell.cpu * factor:.{decimals}f}"),
                _ratio(row, base, lambda each: each.cpu, cell),
                mark("peak", f"{cell.peak / MIB:.0f}"),
            ]
            lines.append([*line, cell.payload or "–"] if payloads else line)
        parts.append(table([*head, "each part's hashes"] if payloads else head, lines))
    parts += _notes(row)
    return "\n\n".join(parts)


class _Marker:
    """Bold for a column's best, a cross for a missed target."""

    def __init__(self, row: Row, cell: Cell, best: dict[str, float], marks: set[tuple[str, str, str, str]]) -> None:
        self._place = row.endpoint, row.work, cell.client
        self._cell, self._best, self._marks = cell, best, marks

    def __call__(self, column: str, text: str) -> str:
        if getattr(self._cell, column) == self._best[column]:
            text = f"**{text}**"
        return f"{text} {MISSED}" if (*self._place, column) in self._marks else text


def _ratio(row: Row, base: str, of: Callable[[Cell], float], cell: Cell) -> str:
    """To the base; one that begins with ``@`` is a revision, and each client is compared with its own there."""
    other = row.get(cell.client.split("@")[0] + base if base.startswith("@") else base)
    return "–" if other is None else f"{of(cell) / of(other):.2f}"


def _notes(row: Row) -> Iterator[str]:
    started = [cell for cell in row.measured if cell.start is not None]
    if started:
        told = [f"{cell.client} {cell.start[0]:.3f} s ({cell.start[1]:.3f} s CPU)" for cell in started if cell.start]
        yield f"\\* a process, from its start; to start it and ask for one small object takes: {', '.join(told)}."
    for cell in row.cells.values():
        if cell.failed:
            yield f"{MISSED} {cell.client} failed {cell.failed} times: {cell.trouble}"
    unable = [f"{cell.client} ({cell.trouble})" for cell in row.cells.values() if not cell.walls and not cell.failed]
    if unable:
        yield f"Not here: {'; '.join(unable)}."


def _versions(results: Results) -> str:
    rows = [
        (client, ", ".join(f"{name} {version}" for name, version in versions.items()))
        for client, versions in results.versions.items()
        if versions
    ]
    return "## Versions\n\n" + table(("client", "versions"), rows, left=2)
