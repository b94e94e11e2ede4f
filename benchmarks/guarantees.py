"""What clients leave behind when things go wrong: the same situations, the same server, side by side.

::

    python -m benchmarks.guarantees                                    # all of it, to stdout
    python -m benchmarks.guarantees --report docs/guarantees.md        # … and into that file, between its markers
    python -m benchmarks.guarantees --situations upload-cancelled --clients 'aioboto3,handtruck, trio' --rounds 1

Each client is a process of its own, in an environment of its own (``.bench/``, made when it is first asked for), and
makes its ordinary call through a road of ours to Ceph's gateway. What is told was looked at afterwards: on the server
by another client, past the road; on the disk; and in the process.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from benchmarks import arena, endpoints, environments
from benchmarks.situations import table
from benchmarks.situations.stage import BACK_WITHIN, CLIENTS, Client, Facts, stage
from benchmarks.situations.table import SITUATIONS, Situation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.situations.stage import Stage

BEGIN: Final = "<!-- measured: python -m benchmarks.guarantees writes from here -->"
END: Final = "<!-- … to here -->"
_OURS: Final = [client.name for client in CLIENTS if client.environment == "ours"]
COMMAND: Final = "python -m benchmarks.guarantees --report docs/guarantees.md"


def arguments(line: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line's."""
    names = ", ".join(situation.name for situation in SITUATIONS)
    who = "; ".join(client.name for client in CLIENTS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.guarantees",
        description="Put S3 clients into the same situations; look what is left.",
    )
    parser.add_argument("--situations", metavar="NAMES", help=f"of: {names}; default: all")
    parser.add_argument("--clients", metavar="NAMES", help=f"separated by semicolons, of: {who}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is played; default: 3")
    parser.add_argument("--revision", metavar="REV", help="of handtruck; default: the files as they are")
    parser.add_argument("--output", type=Path, metavar="JSONL", help="default: .bench/results/guarantees-….jsonl")
    parser.add_argument("--report", type=Path, metavar="MARKDOWN", help="write the table into this file, too")
    parser.add_argument(
        "--from", dest="source", nargs="+", type=Path, metavar="JSONL", help="play nothing; report these"
    )
    options = parser.parse_args(line)
    try:
        options.situations = chosen(options.situations, ",", {each.name: each for each in SITUATIONS})
        options.clients = chosen(options.clients, ";", {each.name: each for each in CLIENTS})
        if options.revision is not None:
            options.revision = environments.commit_of(options.revision)
            options.clients = [_at(client, options.revision) for client in options.clients]
    except ValueError as error:
        parser.error(str(error))
    return options


def chosen(names: str | None, separator: str, offered: dict[str, Any]) -> list[Any]:
    """What these names name; all of them without any.

    Raises:
        ValueError: there is nothing of that name.
    """
    wanted = [name.strip() for name in names.split(separator)] if names else [*offered]
    if unknown := [name for name in wanted if name not in offered]:
        raise ValueError(f"nothing is called {unknown[0]!r}; there are: {f'{separator} '.join(offered)}")
    return [offered[name] for name in wanted]


def _at(client: Client, commit: str) -> Client:
    """The client; if it is ours, of that commit."""
    return dataclasses.replace(client, environment=f"revision-{commit}") if client.name in _OURS else client


def play(options: argparse.Namespace, output: Path) -> None:
    """Play everything; each line is in the file as soon as it is known.

    Raises:
        NotInstalled: Ceph is not on this machine.
    """
    for environment in {"peers", *(client.environment for client in options.clients)}:
        environments.python_of(environment)
    output.parent.mkdir(parents=True, exist_ok=True)
    with endpoints.rgw() as endpoint, TemporaryDirectory(prefix="handtruck-guarantees-") as own:
        asyncio.run(_play(options, output, endpoint, Path(own)))


async def _play(options: argparse.Namespace, output: Path, endpoint: endpoints.Endpoint, own: Path) -> None:
    machine = arena.machine()
    machine["revision"] = options.revision or machine["revision"]
    waited_for: set[tuple[str, str]] = set()
    async with stage(endpoint, own) as place:
        for number in range(options.rounds):
            for situation in options.situations:
                for client in options.clients:
                    who = situation.name, client.name
                    if who in waited_for or (situation.uploads and not client.uploads):
                        continue
                    line = await _line(place, situation, client) | {"round": number, "machine": machine}
                    if any(call["outcome"] == "not back" for call in line.get("calls", ())):
                        waited_for.add(who)  # once is enough
                    with output.open("a") as file:
                        file.write(json.dumps(line) + "\n")


async def _line(place: Stage, situation: Situation, client: Client) -> dict[str, Any]:
    """One client in one situation; ``error`` says that it could not be played, and why."""
    line: dict[str, Any] = {
        "situation": situation.name,
        "client": client.name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        calls = await situation.play(place, client)
        line["calls"] = [dataclasses.asdict(call) for call in calls]
        told = "; ".join(line_(calls).text for line_ in situation.lines)
    except (OSError, RuntimeError, ValueError) as error:
        line["error"] = told = f"{type(error).__name__}: {error}"
    sys.stderr.write(f"{situation.name:22} {client.name:20} {told}\n")
    return line


def collect(lines: Sequence[dict[str, Any]]) -> dict[tuple[str, str], list[list[Facts]]]:
    """The facts, by situation and client, a list for each round."""
    findings: dict[tuple[str, str], list[list[Facts]]] = {}
    for line in lines:
        if "calls" in line:
            calls = [Facts(**{name: _frozen(value) for name, value in call.items()}) for call in line["calls"]]
            findings.setdefault((line["situation"], line["client"]), []).append(calls)
    return findings


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def markdown(lines: Sequence[dict[str, Any]]) -> str:
    """The report: when, where and with what; then the table."""
    findings = collect(lines)
    dates = sorted({line["date"][:10] for line in lines})
    rounds = len({line["round"] for line in lines})
    machine = lines[-1]["machine"]
    revisions = {line["machine"]["revision"] for line in lines if line["client"] in _OURS}
    preface = (
        f"{' and '.join(dates)}; {rounds} round{'s' * (rounds != 1)}; {machine['cores']} × {machine['processor']}, "
        f"{machine['kernel']}, Python {machine['python']}, handtruck at {', '.join(sorted(revisions))}. "
        f"{table.versions(findings)}.\n\n```bash\n{COMMAND}\n```\n\n"
        "**Bold** is what was left behind, mixed, lost or misreported. A call that is not back after "
        f"{BACK_WITHIN:.0f} s is killed, and played once.\n\n"
    )
    return preface + table.markdown(findings)


def put_into(path: Path, text: str) -> None:
    """Replace what is between a file's markers; a file without any is replaced as a whole."""
    old = path.read_text() if path.exists() else ""
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}" if begin and end else text)


def main(line: Sequence[str] | None = None) -> int:
    """Play and report; the status is 1 if something could not be played."""
    options = arguments(line)
    if not options.source:
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
        output = options.output or environments.BENCH / "results" / f"guarantees-{date}.jsonl"
        play(options, output)
        sys.stderr.write(f"the facts are in {output}\n")
        options.source = [output]
    lines = [json.loads(text) for path in options.source for text in path.read_text().splitlines()]
    text = markdown(lines)
    sys.stdout.write(text)
    if options.report:
        put_into(options.report, text)
    return 1 if any("error" in each for each in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
