"""Lines of figures → one cell for each client in each row, a row being a work at an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

Line = dict[str, Any]


@dataclass(slots=True)
class Cell:
    """What one client did in one row, over the rounds.

    ``walls`` and ``cpus`` are seconds, ``peaks`` bytes; ``start`` is what starting a tool costs, in seconds of the
    wall's clock and of the processor. ``trouble`` says why there are no figures, or fewer.
    """

    client: str
    amount: float
    walls: list[float] = field(default_factory=list)
    cpus: list[float] = field(default_factory=list)
    peaks: list[int] = field(default_factory=list)
    payload: str = ""
    start: tuple[float, float] | None = None
    trouble: str = ""
    failed: int = 0

    @property
    def wall(self) -> float:
        """The median, seconds."""
        return median(self.walls)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest round, seconds."""
        return min(self.walls), max(self.walls)

    @property
    def rate(self) -> float:
        """Units (GiB, requests, keys) a second."""
        return self.amount / self.wall

    @property
    def cpu(self) -> float:
        """Processor seconds a unit, the median."""
        return median(self.cpus) / self.amount

    @property
    def peak(self) -> float:
        """The median of the rounds' peaks, bytes."""
        return median(self.peaks)

    def add(self, line: Line) -> None:
        """Count a run."""
        if "wall" not in line or "error" in line:
            self.trouble = line.get("unsupported") or line.get("error", "").strip().splitlines()[-1]
            self.failed += "error" in line
            return
        self.walls.append(line["wall"])
        self.cpus.append(line["user"] + line["system"])
        self.peaks.append(line["peak_rss"])
        self.payload = line.get("payload", self.payload)
        if start := line.get("start"):
            self.start = start["wall"], start["user"] + start["system"]


@dataclass(slots=True)
class Row:
    """A work at an endpoint."""

    endpoint: str
    work: str
    title: str
    unit: str
    cells: dict[str, Cell] = field(default_factory=dict)

    @property
    def measured(self) -> list[Cell]:
        """Those that have figures, the fastest first."""
        return sorted((cell for cell in self.cells.values() if cell.walls), key=lambda cell: cell.wall)

    def get(self, client: str) -> Cell | None:
        """A client's cell, if it has figures."""
        cell = self.cells.get(client)
        return cell if cell is not None and cell.walls else None

    @property
    def family(self) -> str:
        """``get-4k@32`` → ``get-4k``."""
        return self.work.split("@")[0]


@dataclass(slots=True)
class Results:
    """Everything that was measured. ``others`` is how many processors had something else to do, run by run."""

    rows: dict[tuple[str, str], Row] = field(default_factory=dict)
    machines: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    dates: list[str] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    rounds: int = 0

    def families(self) -> dict[tuple[str, str], list[Row]]:
        """Rows that differ only in how much there is to do, in that order; where there are several."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in self.rows.values():
            if "@" in row.work:
                groups.setdefault((row.endpoint, row.family), []).append(row)
        return {key: rows for key, rows in groups.items() if len(rows) > 1}


def collect(lines: Iterable[Line]) -> Results:
    """Sort the lines into rows and cells, in the order in which they came."""
    results = Results()
    for line in lines:
        key = line["endpoint"], line["work"]
        row = results.rows.get(key)
        if row is None:
            row = results.rows[key] = Row(*key, title=line["title"], unit=line["unit"])
        cell = row.cells.get(line["client"])
        if cell is None:
            cell = row.cells[line["client"]] = Cell(line["client"], line["amount"])
        cell.add(line)
        results.rounds = max(results.rounds, line["round"] + 1)
        results.dates.append(line["date"])
        results.others += [line["others"]] if "others" in line else []
        results.versions.setdefault(line["client"], {}).update(line.get("versions", {}))
        if line["machine"] not in results.machines:
            results.machines.append(line["machine"])
    return results
