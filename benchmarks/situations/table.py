"""What was found, as a Markdown table: a row for each situation, a column for each client."""

from __future__ import annotations

import re
from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING, Final, TypeAlias

from benchmarks.situations import downloads, uploads
from benchmarks.situations.contents import SIZE, in_mib
from benchmarks.situations.stage import CLIENTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from benchmarks.situations.stage import Client, Facts, Stage

Findings: TypeAlias = "Mapping[tuple[str, str], Sequence[Sequence[Facts]]]"
"""By situation and client: for each round, the facts of each of its calls."""

CANCELLATIONS: Final = ("Cancelled", "CancelledError", "TimeoutError", "TooSlowError")
_NUMBER: Final = re.compile(r"(?<![`\w])\d+(?:\.\d+)?")
_PLURAL: Final = re.compile(r"(?<=\w)s\b")
_WORDS: Final = {
    "none": "none",
    "empty": "empty",
    "whole old": "the old version, whole",
    "whole new": "the new version, whole",
    "whole earlier": "what was there before, whole",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A line of a cell. ``wrong`` is printed in bold: something was left behind, mixed, lost or misreported."""

    text: str
    wrong: bool = False


Line: TypeAlias = "Callable[[Sequence[Facts]], Said]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A row: what to play, and what to say of what was found."""

    name: str
    title: str
    play: Callable[[Stage, Client], Awaitable[list[Facts]]]
    lines: tuple[Line, ...]

    @property
    def uploads(self) -> bool:
        """Whether it is one of uploads."""
        return self.name.startswith("upload")

    @property
    def text(self) -> str:
        """What happens, in a sentence."""
        return " ".join(cleandoc(self.play.__doc__ or "").split()).replace("``", "`")


# -- lines: of the last call, where there were two


def cancellation(calls: Sequence[Facts]) -> Said:
    """What a cancelled caller gets: the cancellation; and after how long."""
    told = calls[-1]
    if told.outcome == "not back":
        return Said(f"not back after {told.seconds:.0f} s", wrong=True)
    return Said(f"`{told.outcome}` after {_about(told.seconds or 0)}", wrong=told.outcome not in CANCELLATIONS)


def outcome(calls: Sequence[Facts]) -> Said:
    """What the caller is told."""
    told = calls[-1].outcome
    return Said("returned" if told == "returned" else f"`{told}`")


def finished(calls: Sequence[Facts]) -> Said:
    """The same, where it should have returned."""
    return Said(outcome(calls).text, wrong=calls[-1].outcome != "returned")


def open_uploads(calls: Sequence[Facts]) -> Said:
    """What is left on the server."""
    found = calls[-1].uploads
    if not found:
        return Said("no open upload")
    parts = sum(found)
    return Said(f"{_count(len(found), 'open upload')}, {_count(parts, 'part')}", wrong=True)


def running(calls: Sequence[Facts]) -> Said:
    """What goes on in the process."""
    found = calls[-1]
    if found.outcome == "not back":
        return Said("killed by us", wrong=True)
    going_on = [
        f"{_count(len(found.tasks), 'task')}, {len(found.still)} a second later" if found.tasks else "",
        _count(len(found.threads), "busy thread") if found.threads else "",
        f"{_count(found.begun, 'request')} begun afterwards" if found.begun else "",
        "the process did not end" if not found.ended else "",
    ]
    text = ", ".join(each for each in going_on if each)
    return Said(text or "nothing goes on", wrong=bool(text))


def stored(calls: Sequence[Facts]) -> Said:
    """The object: one version of the source, or, if the call failed, none."""
    last = calls[-1]
    right = ("whole new", "whole old") if last.outcome == "returned" else ("none",)
    return Said(f"object: {_words(last.stored)}", wrong=last.stored not in right)


def file(calls: Sequence[Facts]) -> Said:
    """The target: one version of the object, or, if the call failed, what was there before."""
    return _file(calls[-1])


def file_then(calls: Sequence[Facts]) -> Said:
    """The target after the first call, which was killed."""
    said = _file(calls[0])
    return Said(f"after the kill, {said.text}", wrong=said.wrong)


def _file(found: Facts) -> Said:
    right = ("whole new", "whole old") if found.outcome == "returned" else ("whole earlier",)
    return Said(f"file: {_words(found.file)}", wrong=found.file not in right)


def beside(calls: Sequence[Facts]) -> Said:
    """Other files in its directory."""
    count = len(calls[-1].beside)
    return Said(f"{_count(count, 'other file')} left" if count else "no other file", wrong=bool(count))


def again(calls: Sequence[Facts]) -> Said:
    """Bytes that passed more than once, in all calls together."""
    twice = sum(each.moved for each in calls) - SIZE
    if calls[-1].outcome != "returned":
        return Said("not finished", wrong=True)
    return Said(f"{in_mib(max(twice, 0))} moved again")


SITUATIONS: Final = (
    Situation(
        name="upload-cancelled",
        title="Upload, cancelled",
        play=uploads.cancelled,
        lines=(cancellation, open_uploads, running),
    ),
    Situation(
        name="upload-refused",
        title="Upload, a part refused",
        play=uploads.refused,
        lines=(outcome, open_uploads, running),
    ),
    Situation(
        name="upload-silent",
        title="Upload, the server silent",
        play=uploads.silent,
        lines=(cancellation, open_uploads, running),
    ),
    Situation(
        name="upload-source-changed",
        title="Upload, the source changed",
        play=uploads.source_changed,
        lines=(outcome, stored, open_uploads),
    ),
    Situation(
        name="upload-error-in-200",
        title="Upload, an error inside a 200",
        play=uploads.error_in_200,
        lines=(outcome, stored, open_uploads),
    ),
    Situation(
        name="upload-answer-lost",
        title="Upload, the last answer lost",
        play=uploads.answer_lost,
        lines=(outcome, stored, open_uploads),
    ),
    Situation(
        name="upload-killed",
        title="Upload, killed and run again",
        play=uploads.killed,
        lines=(finished, stored, again, open_uploads, beside),
    ),
    Situation(
        name="download-cancelled",
        title="Download, cancelled",
        play=downloads.cancelled,
        lines=(cancellation, file, beside, running),
    ),
    Situation(
        name="download-silent",
        title="Download, the server silent",
        play=downloads.silent,
        lines=(cancellation, file, beside, running),
    ),
    Situation(
        name="download-replaced",
        title="Download, the object replaced",
        play=downloads.replaced,
        lines=(outcome, file, beside, running),
    ),
    Situation(
        name="download-cut",
        title="Download, a connection cut",
        play=downloads.cut,
        lines=(finished, file, again, running),
    ),
    Situation(
        name="download-killed",
        title="Download, killed and run again",
        play=downloads.killed,
        lines=(finished, file_then, file, again, beside),
    ),
)


def markdown(findings: Findings, clients: Iterable[Client] = CLIENTS) -> str:
    """The table, and under it what happens in each row."""
    columns = [client for client in clients if any(name == client.name for _, name in findings)]
    rows = [situation for situation in SITUATIONS if any(name == situation.name for name, _ in findings)]
    lines = ["| | " + " | ".join(client.name for client in columns) + " |", "| --- |" + " --- |" * len(columns)]
    for row in rows:
        cells = [_cell(row, client, findings) for client in columns]
        lines.append(f"| **{row.title}** | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"* *{row.title}*: {row.text}" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(row: Situation, client: Client, findings: Findings) -> str:
    if row.uploads and not client.uploads:
        return "the same call"
    rounds = findings.get((row.name, client.name), ())
    return "<br>".join(merged([line(calls) for calls in rounds]) for line in row.lines) if rounds else "not measured"


def merged(rounds: Sequence[Said]) -> str:
    """What was said in all rounds: once if it was always the same but for numbers, else each with how often."""
    alike: dict[tuple[str, bool], list[str]] = {}
    for said in rounds:
        words = _NUMBER.sub("#", said.text)
        alike.setdefault((_PLURAL.sub("", words), said.wrong), []).append(said.text)
    told = [
        (_spread(texts) + (f" ({len(texts)}×)" if len(alike) > 1 else ""), wrong) for (_, wrong), texts in alike.items()
    ]
    return " / ".join(f"**{text}**" if wrong else text for text, wrong in told)


def _spread(texts: Sequence[str]) -> str:
    """Texts that differ in their numbers, as one: from the smallest to the largest of each."""
    columns = zip(*(_NUMBER.findall(text) for text in texts), strict=True)
    ends = iter([(min(column, key=float), max(column, key=float)) for column in columns])
    return _NUMBER.sub(lambda _: "–".join(dict.fromkeys(next(ends))), max(texts, key=len))


def versions(findings: Findings) -> str:
    """Every package that took part."""
    seen = {
        f"{package} {version}"
        for rounds in findings.values()
        for calls in rounds
        for facts in calls
        for package, version in facts.versions.items()
    }
    return ", ".join(sorted(seen))


def _words(kind: str) -> str:
    """A kind of bytes, as a reader would say it."""
    kind, _, amounts = kind.partition(": ")
    return _WORDS.get(kind) or f"{kind} ({amounts})"


def _about(seconds: float) -> str:
    """As exact as a single measurement deserves."""
    return next((text for limit, text in ((0.5, "< 0.5 s"), (1.0, "< 1 s")) if seconds < limit), f"{seconds:.0f} s")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
