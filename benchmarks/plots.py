"""Results → SVG, one file for a row, and one for a family of rows, that suits a light page and a dark one.

Bars: what a unit takes, what it costs and what memory it needs, the shorter the better; a thin line spans the rounds.
Curves: the processor time of a unit as the work grows.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from benchmarks.catalogue import CLIENTS, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.results import Cell, Results, Row

WIDTH: Final = 920
_LEFT: Final = 190  # the names' column
_TOP: Final = 78
_BAR: Final = 22  # from bar to bar
_STYLE: Final = """
svg { background: #ffffff; font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; }
text { fill: #24292f; } .soft { fill: #656d76; } .title { font-size: 16px; font-weight: 600; }
.rule { stroke: #d0d7de; stroke-width: 1; fill: none; } .span { stroke: #24292f; stroke-width: 1.2; }
.peer { fill: #a8b3bf; stroke: #8c959f; } .road { fill: #d8dee4; stroke: #c0c8d0; }
.asyncio { fill: #d9480f; stroke: #d9480f; } .uvloop { fill: #e8870c; stroke: #e8870c; }
.trio { fill: #ae3ec9; stroke: #ae3ec9; }
path.curve { fill: none; stroke-width: 2.2; } path.peer, path.road { stroke-width: 1.4; }
rect.bar { stroke: none; } .ours { font-weight: 600; }
@media (prefers-color-scheme: dark) {
svg { background: #0d1117; } text { fill: #e6edf3; } .soft { fill: #9198a1; }
.rule { stroke: #30363d; } .span { stroke: #e6edf3; }
.peer { fill: #57606a; stroke: #8b949e; } .road { fill: #343b44; stroke: #57606a; }
.asyncio { fill: #ff7b39; stroke: #ff7b39; } .uvloop { fill: #ffb454; stroke: #ffb454; }
.trio { fill: #d27bea; stroke: #d27bea; }
}
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """A column of bars: its heading, what a bar's length is, and its ends over the rounds."""

    heading: str
    value: Callable[[Cell], float]
    ends: Callable[[Cell], tuple[float, float]] | None = None
    decimals: int = 0


def draw(results: Results, directory: Path) -> list[Path]:
    """Write the files; they are called after endpoint and work."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = {f"{row.endpoint}-{row.work.replace('@', '-')}": bars(row) for row in _barred(results)}
    for (endpoint, family), rows in results.families().items():
        drawn[f"{endpoint}-{family}"] = curves(rows)
    paths = []
    for name, text in drawn.items():
        paths.append(directory / f"{name}.svg")
        paths[-1].write_text(text)
    return paths


def _barred(results: Results) -> Iterator[Row]:
    """All rows but those that are points of a curve, and not the one that has a target."""
    families = {(row.endpoint, row.work) for rows in results.families().values() for row in rows}
    for key, row in results.rows.items():
        if row.measured and (key not in families or row.work.endswith("@32")):
            yield row


def bars(row: Row) -> str:
    """A row's three columns of bars, the fastest client first."""
    cells = row.measured
    panels = _panels(row)
    height = _TOP + _BAR * len(cells) + 18
    room = (WIDTH - _LEFT - 10) / len(panels)
    body = [_text(16, 30, row.title, "title"), _text(16, 50, f"{row.endpoint}; shorter is better", "soft")]
    for number, cell in enumerate(cells):
        y = _TOP + _BAR * number
        body.append(_text(_LEFT - 10, y + 13, cell.client, "ours" if _is_ours(cell.client) else "", end=True))
    for number, panel in enumerate(panels):
        body += _panel(panel, cells, _LEFT + room * number, room - 20)
    return _svg(height, row.title, body)


def _panels(row: Row) -> list[Panel]:
    unit, factor, decimals = {"GiB": ("s", 1.0, 2), "request": ("µs", 1e6, 0), "key": ("µs", 1e6, 1)}[row.unit]
    return [
        Panel(
            f"{unit} a {row.unit}",
            lambda cell: cell.wall / cell.amount * factor,
            lambda cell: (cell.spread[0] / cell.amount * factor, cell.spread[1] / cell.amount * factor),
            decimals,
        ),
        Panel(f"CPU {unit} a {row.unit}", lambda cell: cell.cpu * factor, decimals=decimals),
        Panel("peak RSS, MiB", lambda cell: cell.peak / MIB),
    ]


def _panel(panel: Panel, cells: Sequence[Cell], left: float, room: float) -> Iterator[str]:
    """Bars from ``left``; those beyond four times the median are cut off, and say so by their figure."""
    values = sorted(panel.value(cell) for cell in cells)
    end = min(values[-1], 4 * values[len(values) // 2])
    scale = (room - 58) / end if end else 0.0
    yield _text(left, _TOP - 10, panel.heading, "soft")
    for number, cell in enumerate(cells):
        y, value = _TOP + _BAR * number, panel.value(cell)
        length = min(value, end) * scale
        place = f'x="{left:.1f}" y="{y}" width="{length:.1f}" height="16" rx="2"'
        yield f'<rect class="bar {_class(cell.client)}" {place}/>'
        right = length
        if panel.ends is not None and value <= end:
            low, high = panel.ends(cell)
            right = max(length, min(high * scale, room - 50))
            yield f'<path class="span" d="M{left + low * scale:.1f} {y + 8}H{left + right:.1f}"/>'
        told = f"{value:,.{panel.decimals}f}".replace(",", " ") + (" →" if value > end else "")
        yield _text(left + right + 5, y + 13, told)


def curves(rows: Sequence[Row]) -> str:
    """What a unit's processor time is, at each size of the work, on a logarithmic scale."""
    lines = _lines(rows)
    factor, unit = (1.0, "s a GiB") if rows[0].unit == "GiB" else (1e6, f"µs a {rows[0].unit}")
    height, bottom, right = 420, 380, WIDTH - 190
    scale = _Scale([value * factor for points in lines.values() for value in points.values()], bottom, _TOP)
    step = (right - 70) / max(1, len(rows) - 1)
    family = rows[0].family
    title = f"{family}: client CPU, {unit}, as the work grows"
    body = [_text(16, 30, title, "title"), _text(16, 50, f"{rows[0].endpoint}; lower is better, flat is best", "soft")]
    for value in scale.marks():
        y = scale.at(value)
        body.append(f'<path class="rule" d="M60 {y:.1f}H{right}"/>')
        body.append(_text(54, y + 4, f"{value:g}", "soft", end=True))
    for number, row in enumerate(rows):
        body.append(_text(70 + step * number, bottom + 20, row.work.split("@")[1], "soft", middle=True))
    labels: list[tuple[float, str]] = []
    for client, points in lines.items():
        places = [(70 + step * number, scale.at(value * factor)) for number, value in points.items()]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        body.append(f'<path class="{_class(client)} curve" d="{path}"/>')
        labels.append((places[-1][1], client))
    body += _labels(labels, right + 12, bottom)
    return _svg(height, title, body)


def _lines(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Each client's CPU a unit, by the row's number; ours are drawn last, over the others."""
    names = dict.fromkeys(client for row in rows for client in row.cells)
    found = {
        name: {number: cell.cpu for number, row in enumerate(rows) if (cell := row.get(name)) is not None}
        for name in sorted(names, key=_is_ours)
    }
    return {name: points for name, points in found.items() if points}


class _Scale:
    """A logarithmic axis from ``bottom`` up to ``top``, pixels."""

    def __init__(self, values: Sequence[float], bottom: float, top: float) -> None:
        self._low, self._high = min(values) / 1.15, max(values) * 1.15
        self._bottom, self._top = bottom, top

    def at(self, value: float) -> float:
        """A value's height on the page."""
        share = log10(value / self._low) / log10(self._high / self._low)
        return self._bottom - share * (self._bottom - self._top)

    def marks(self) -> list[float]:
        """Round values within the axis: 1, 2, 5, 10, and so on."""
        candidates = [step * 10.0**power for power in range(-9, 9) for step in (1, 2, 5)]
        return [value for value in candidates if self._low <= value <= self._high]


def _labels(labels: Sequence[tuple[float, str]], x: float, bottom: float) -> Iterator[str]:
    """The curves' names at their ends, moved apart where they would cover each other."""
    ordered = sorted(labels)
    heights = [height for height, _ in ordered]
    for number in range(1, len(heights)):
        heights[number] = max(heights[number], heights[number - 1] + 15)
    limit = bottom
    for number in reversed(range(len(heights))):
        heights[number] = min(heights[number], limit)
        limit = heights[number] - 15
    for height, (_, client) in zip(heights, ordered, strict=True):
        yield _text(x, height + 4, client, "ours" if _is_ours(client) else "soft")


def _is_ours(client: str) -> bool:
    known = CLIENTS.get(client.split("@", maxsplit=1)[0])
    return known is not None and known.kind == "ours"


def _class(client: str) -> str:
    known = CLIENTS.get(client.split("@", maxsplit=1)[0])
    if known is None:
        return "peer"
    return known.loop if known.kind == "ours" else "road" if known.kind == "road" else "peer"


def _text(x: float, y: float, text: str, kind: str = "", *, end: bool = False, middle: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ' text-anchor="middle"' if middle else ""
    name = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{name}{anchor}>{escape(text)}</text>'


def _svg(height: int, title: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}">'
    )
    return "\n".join([head, f"<style>{_STYLE}</style>", *body, "</svg>\n"])
