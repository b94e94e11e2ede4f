"""Run the benchmarks: every client beside every other, in rounds, and print what came of it.

::

    python -m benchmarks.run                                    # everything: 5 rounds, three endpoints; an hour
    python -m benchmarks.run --quick                            # a look, in under three minutes
    python -m benchmarks.run --works get-4k,put-4k@32 --clients handtruck-asyncio,obstore --rounds 3
    python -m benchmarks.run --compare v1.0.0 . --works upload  # two revisions of handtruck, this checkout being "."
    python -m benchmarks.run --from .bench/results/*.jsonl      # the tables and plots again, of what was measured
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __package__ in (None, ""):  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import arena, catalogue, endpoints, environments, plots, report
from benchmarks.catalogue import CLIENTS, FULL, QUICK, Client, Work

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ENDPOINTS = ("nginx-http", "nginx-https", "rgw-http")
QUICK_WORKS = "download-tmpfs,upload,get-4k@32,put-4k@32,list-100k"


def arguments(line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, with what ``--quick`` and ``--compare`` mean filled in."""
    what, _, how = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description=what,
        epilog=how.removeprefix("::\n\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--works", metavar="NAME,…", help=f"of: {', '.join(catalogue.works())}; or a family: get-4k, put-4k, scaling"
    )
    parser.add_argument(
        "--clients", metavar="NAME,…", help=f"of: {', '.join(CLIENTS)}; each work has its own, or those you say"
    )
    parser.add_argument(
        "--endpoint",
        metavar="NAME,…",
        help=f"of: {', '.join(ENDPOINTS)}; a work runs where it makes sense, or where you say",
    )
    parser.add_argument("--rounds", type=int, help="how often each client does each work; default 5, quick 3")
    parser.add_argument("--size", type=int, metavar="MIB", help="MiB of the large objects; default 1024, quick 256")
    parser.add_argument("--quick", action="store_true", help="fewer clients and works, smaller objects, 3 rounds")
    parser.add_argument(
        "--compare", nargs=2, metavar="REVISION", help="compare two of git's revisions of handtruck; . is this checkout"
    )
    parser.add_argument("--output", type=Path, metavar="JSONL", help="append the figures to it; default: a new one")
    parser.add_argument("--report", type=Path, metavar="MARKDOWN", help="write the tables to this file, too")
    parser.add_argument("--plots", type=Path, metavar="DIRECTORY", help="draw a plot of each work into this directory")
    parser.add_argument(
        "--from", dest="source", nargs="+", type=Path, metavar="JSONL", help="measure nothing; report what these say"
    )
    options = parser.parse_args(line)
    try:
        _complete(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def _complete(options: argparse.Namespace) -> None:
    """Fill in the defaults, and make names what they name."""
    scale = QUICK if options.quick else FULL
    if options.size is not None:
        scale = dataclasses.replace(scale, size=options.size * catalogue.MIB)
    offered = catalogue.works(scale)
    names = options.works or (QUICK_WORKS if options.quick else ",".join(offered))
    options.works = catalogue.choose(names, offered)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.clients = _chosen(options)
    options.base = f"@{options.compare[0]}" if options.compare else catalogue.BASE
    if options.endpoint is None:
        options.endpoint = ["nginx-http"] if options.quick else None
    else:
        options.endpoint = options.endpoint.split(",")
        if unknown := set(options.endpoint) - set(ENDPOINTS):
            raise ValueError(f"no endpoint is called {unknown.pop()!r}; there are: {', '.join(ENDPOINTS)}")


def _chosen(options: argparse.Namespace) -> list[Client] | None:
    """Who was asked for; None says that each work has its own."""
    if not (options.clients or options.compare or options.quick):
        return None
    default = catalogue.OURS if options.compare else catalogue.QUICK_CLIENTS
    names = options.clients.split(",") if options.clients else default
    if unknown := [name for name in names if name not in CLIENTS]:
        raise ValueError(f"no client is called {unknown[0]!r}; there are: {', '.join(CLIENTS)}")
    chosen = [CLIENTS[name] for name in names]
    if not options.compare:
        return chosen
    return [_at(client, revision) for client in chosen for revision in options.compare if client.kind == "ours"]


def clients_of(options: argparse.Namespace, work: Work, endpoint: str) -> list[Client]:
    """Who does a work."""
    if options.clients is not None:
        chosen: list[Client] = options.clients
        return chosen
    return [CLIENTS[name] for name in work.clients_at(endpoint)]


def _at(client: Client, revision: str) -> Client:
    """The client, of that revision."""
    if revision == ".":
        return dataclasses.replace(client, name=f"{client.name}@.")
    commit = environments.commit_of(revision)
    return dataclasses.replace(client, name=f"{client.name}@{revision}", environment=f"revision-{commit}")


def plan(options: argparse.Namespace) -> dict[str, list[Work]]:
    """The works of each endpoint."""
    wanted: list[str] = options.endpoint or list(ENDPOINTS)
    explicit = options.endpoint is not None

    def fits(work: Work, name: str) -> bool:
        return (explicit and not (work.job == "list" and name.startswith("rgw"))) or name in work.endpoints

    works = {name: [work for work in options.works if fits(work, name)] for name in wanted}
    return {name: chosen for name, chosen in works.items() if chosen}


def measure(options: argparse.Namespace, output: Path) -> list[dict[str, Any]]:
    """Run everything; each line is in the file as soon as it is known."""
    planned = plan(options)
    taking_part = [clients_of(options, work, name) for name, works in planned.items() for work in works]
    for environment in {client.environment for clients in taking_part for client in clients}:
        environments.python_of(environment)
    output.parent.mkdir(parents=True, exist_ok=True)
    lines: list[dict[str, Any]] = []
    with arena.arena({"machine": arena.machine()}) as place, ExitStack() as servers:
        for name, works in planned.items():
            try:
                endpoint = _start(name, servers)
                place.fill(endpoint, {work.size for work in works if work.size})
            except endpoints.NotInstalled as error:
                sys.stderr.write(f"{name} is left out: {error}\n")
                continue
            for line in _rounds(place, endpoint, works, options):
                lines.append(line)
                with output.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    return lines


def _start(name: str, servers: ExitStack) -> endpoints.Endpoint:
    """Stop the endpoint before, and start this one."""
    servers.close()
    if name.startswith("nginx"):
        plain, secure = servers.enter_context(endpoints.nginx())
        return secure if name == secure.name else plain
    return servers.enter_context(endpoints.rgw())


def _rounds(
    place: arena.Arena, endpoint: endpoints.Endpoint, works: list[Work], options: argparse.Namespace
) -> Iterable[dict[str, Any]]:
    """Work by work; in each round all clients, in another order; who cannot do a work is asked once."""
    for work in works:
        clients = {client.name: client for client in clients_of(options, work, endpoint.name)}
        out: set[str] = set()
        for number in range(options.rounds):
            for name in catalogue.in_turn(list(clients), number):
                if name not in out:
                    line = place.run(clients[name], work, endpoint, number)
                    out |= {name} if "unsupported" in line else set()
                    sys.stderr.write(report.one_line(line) + "\n")
                    yield line


def main(line: Sequence[str] | None = None) -> int:
    """Measure and report; the status is 1 if a run failed, or there was none."""
    options = arguments(line)
    started = time.monotonic()
    if options.source:
        lines = [json.loads(text) for path in options.source for text in path.read_text().splitlines()]
    else:
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
        output = options.output or environments.BENCH / "results" / f"{date}.jsonl"
        lines = measure(options, output)
        sys.stderr.write(f"{len(lines)} runs in {time.monotonic() - started:.0f} s; the figures are in {output}\n")
    if not lines:
        return 1
    results = report.collect(lines)
    text = report.markdown(results, base=options.base)
    sys.stdout.write(text)
    if options.report:
        options.report.write_text(text)
    if options.plots:
        plots.draw(results, options.plots)
    return 1 if any("error" in each for each in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
