"""What tests of cancellation ask for by name: threads that can be counted, small sizes, a loop that may stand still."""

from __future__ import annotations

import anyio.from_thread
import anyio.to_thread
import pytest

from handtruck import _body, _session
from handtruck.protocol import parts
from handtruck.transfer import jobs, multipart
from tests.transfer import reading
from tests.transfer.cancelling import PART
from tests.transfer.checkpoints import CountedThreads, InlineThreads


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> InlineThreads:
    """Threads that take the same steps in every run."""
    inline = InlineThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", inline.run_sync)
    monkeypatch.setattr(anyio.from_thread, "check_cancelled", lambda: None)
    return inline


@pytest.fixture
def real_threads(monkeypatch: pytest.MonkeyPatch) -> CountedThreads:
    """Threads that take their time."""
    counted = CountedThreads()
    monkeypatch.setattr(anyio.to_thread, "run_sync", counted.run_sync)
    return counted


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few KiB go up and down by the ways of large ones."""
    monkeypatch.setattr(parts, "MIN_PART_SIZE", 1024)
    monkeypatch.setattr(jobs, "DEFAULT_PART_SIZE", PART)
    monkeypatch.setattr(_body, "SLICE", 2500)
    monkeypatch.setattr(_session, "SMALL", 1024)
    monkeypatch.setattr(multipart, "_LOOK_AGAIN", 0)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects of a few KiB are read by the ways of large ones."""
    for name, value in (
        ("ahead.OPENING", reading.OPENING),
        ("window.OPENING", reading.OPENING),
        ("ahead._LEAST", reading.LEAST),
        ("window._STEP", reading.STEP),
        ("stream.BLOCK", reading.BLOCK),
        ("ranges.LARGEST", reading.LARGEST),
    ):
        monkeypatch.setattr(f"handtruck.transfer.{name}", value)


@pytest.fixture
def may_block() -> None:
    """Where the loop stands still for inline threads that work on files, its guard would complain."""


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop(request: pytest.FixtureRequest) -> None:
    """The guard of that name, unless a test asks for ``may_block``."""
    if "may_block" not in request.fixturenames:
        request.getfixturevalue("_nothing_blocks_the_loop")
