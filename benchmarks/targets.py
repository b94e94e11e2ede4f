"""What handtruck is to reach, as ratios in one run, and whether it did: docs/design.md has the targets' reasons.

A missed target is a finding to explain; no peer is slowed down and no limit moved to meet it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.catalogue import CLIENTS, MIB, OURS, RIVALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from benchmarks.results import Cell, Results, Row

PEAK: Final = 110 * MIB  # bytes a large object's transfer may take, interpreter included
GROWTH: Final = 1.25  # how much the cost of a unit may grow with the work
PARITY: Final = 1.25  # asyncio against trio
LARGE: Final = ("download-tmpfs", "download-disk", "upload", "upload-unsigned")
SMALL: Final = ("get-4k@32", "put-4k@32")
_FLAT: Final = 64 / 1024  # GiB from which on all workers have something to do


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target of one client in one row. ``figure`` is to be at most ``limit``.

    ``column`` is the figure's in the row's table: wall, cpu or peak.
    """

    endpoint: str
    work: str
    client: str
    column: str
    what: str
    figure: float
    limit: float

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.figure <= self.limit


def check(results: Results) -> list[Verdict]:
    """Every target that can be judged by what was measured."""
    verdicts: list[Verdict] = []
    for row in results.rows.values():
        for name in OURS:
            if (cell := row.get(name)) is not None:
                verdicts += _row(row, cell)
        verdicts += _parity(row)
    for rows in results.families().values():
        verdicts += _growth(rows)
    return verdicts


def _row(row: Row, ours: Cell) -> Iterator[Verdict]:
    if row.work in LARGE:
        yield from _large(row, ours)
    elif row.work in SMALL:
        yield from _small(row, ours)
    elif row.work == "list-100k":
        for peer in _obstores(row, ours):
            yield _against(row, ours, peer, "wall", 1.0)


def _large(row: Row, ours: Cell) -> Iterator[Verdict]:
    secure = row.endpoint.endswith("https")
    rivals = [cell for cell in row.measured if cell.client in RIVALS]
    if rivals:
        yield _against(row, ours, rivals[0], "wall", 1.1 if secure else 1.0)
    if obstore := _obstore(row, ours):
        yield _against(row, ours, obstore, "cpu", 1.0 if secure else 0.8)
    yield Verdict(row.endpoint, row.work, ours.client, "peak", "peak RSS, MiB", ours.peak / MIB, PEAK / MIB)


def _small(row: Row, ours: Cell) -> Iterator[Verdict]:
    for peer in _obstores(row, ours):
        yield _against(row, ours, peer, "wall", 1.0)
    if obstore := _obstore(row, ours):
        yield _against(row, ours, obstore, "cpu", 0.75)
    others = [cell for cell in row.measured if _kind(cell) == "python" and not cell.client.startswith("obstore")]
    if others:
        yield _against(row, ours, others[0], "wall", 1 / 1.2)


def _kind(cell: Cell) -> str:
    return CLIENTS[cell.client].kind if cell.client in CLIENTS else ""


def _obstore(row: Row, ours: Cell) -> Cell | None:
    """Its coroutines, on the same loop where they run on it."""
    name = "obstore-uvloop" if ours.client.endswith("uvloop") else "obstore"
    return row.get(name)


def _obstores(row: Row, ours: Cell) -> Iterator[Cell]:
    """… and its blocking calls in threads, which no event loop slows down."""
    for peer in (_obstore(row, ours), row.get("obstore-threads")):
        if peer is not None:
            yield peer


def _against(row: Row, ours: Cell, peer: Cell, column: str, limit: float) -> Verdict:
    mine, theirs = (ours.wall, peer.wall) if column == "wall" else (ours.cpu, peer.cpu)
    what = f"{'CPU' if column == 'cpu' else column}, × {peer.client}"
    return Verdict(row.endpoint, row.work, ours.client, column, what, mine / theirs, limit)


def _parity(row: Row) -> Iterator[Verdict]:
    asyncio, trio = row.get("handtruck-asyncio"), row.get("handtruck-trio")
    if asyncio and trio:
        slower, faster = sorted((asyncio, trio), key=lambda cell: -cell.wall)
        what = f"wall, × {faster.client}"
        yield Verdict(row.endpoint, row.work, slower.client, "wall", what, slower.wall / faster.wall, PARITY)


def _growth(rows: list[Row]) -> Iterator[Verdict]:
    """The last row's cost of a unit against the cheapest before it; the memory of large objects likewise."""
    for name in OURS:
        cells = [(row, cell) for row in rows if (cell := row.get(name)) is not None]
        if len(cells) > 1:
            yield _grown(cells, "cpu", "CPU a unit, × its smallest", lambda cell: cell.cpu)
        large = [(row, cell) for row, cell in cells if row.unit == "GiB" and cell.amount >= _FLAT]
        if len(large) > 1:
            yield _grown(large, "peak", "peak RSS, × its smallest from 64 MiB on", lambda cell: cell.peak)


def _grown(cells: list[tuple[Row, Cell]], column: str, what: str, cost: Callable[[Cell], float]) -> Verdict:
    row, last = cells[-1]
    growth = cost(last) / min(cost(cell) for _, cell in cells[:-1])
    return Verdict(row.endpoint, row.work, last.client, column, what, growth, GROWTH)


def missed(verdicts: Iterable[Verdict]) -> set[tuple[str, str, str, str]]:
    """The cells (endpoint, work, client, column) in which a target is missed."""
    return {(each.endpoint, each.work, each.client, each.column) for each in verdicts if not each.met}
