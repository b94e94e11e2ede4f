"""What the tests of readers, streams and ranges share: small sizes, and what was asked of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio.from_thread
import anyio.to_thread

from handtruck.errors import HandtruckError
from tests.transfer.checkpoints import InlineThreads
from tests.transfer.test_cancellation import Job, World, left_behind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from tests.scripted import TinyS3
    from tests.transfer.checkpoints import Trial

OPENING: Final = 4000
LEAST: Final = 500
STEP: Final = 900
LARGEST: Final = 3000


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few KiB go the ways of large ones."""
    for name, value in (
        ("ahead.OPENING", OPENING),
        ("window.OPENING", OPENING),
        ("ahead._LEAST", LEAST),
        ("window._STEP", STEP),
        ("stream.BLOCK", 1500),
        ("ranges.LARGEST", LARGEST),
    ):
        monkeypatch.setattr(f"handtruck.transfer.{name}", value)


def inline_threads(monkeypatch: pytest.MonkeyPatch) -> InlineThreads:
    """Threads that take the same steps in every run."""
    inline = InlineThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", inline.run_sync)
    monkeypatch.setattr(anyio.from_thread, "check_cancelled", lambda: None)
    return inline


def asked(tiny: TinyS3) -> list[tuple[int, int]]:
    """The half-open ranges that were asked for, in order of arrival."""
    found = []
    for request in tiny.sent("GetObject"):
        first, _, last = (request.header("range") or "bytes=0--1").removeprefix("bytes=").partition("-")
        found.append((int(first), int(last) + 1))
    return found


def reading(name: str, call: Callable[[World], Awaitable[object]]) -> Job:
    """A job that reads an object; it raises AssertionError where it got anything else."""
    return Job(name, call, upload=False)


def after_cancellation(world: World, trial: Trial, _: Job) -> list[str]:
    """Nothing is left, and the cancellation alone has come out."""
    found = left_behind(world, trial) + [f"note {note}" for note in trial.notes]
    if trial.kind is not None and not trial.cancelled:
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found


def after_failure(world: World, trial: Trial, _: Job) -> list[str]:
    """Nothing is left, and what has come out is one of our errors."""
    found = left_behind(world, trial)
    if trial.kind is not None and not issubclass(trial.kind, HandtruckError):
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found
