"""The long runs: `make soak`, not part of `make test`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import url_with_keys
from tests.conformance.test_memory import LIMIT, PARTS, SCRIPT, streamed
from tests.servers import rgw as ceph

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.model import Server


@pytest.fixture
def large_rgw() -> Iterator[Server]:
    """A gateway with room for 16 GiB: a new one each time, because what is deleted stays in memory for hours."""
    with ceph.start(16 << 30) as server:
        yield server


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_a_gibibyte_there_and_back(loop: str, rgw: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, str(SCRIPT), "--endpoint", url_with_keys(rgw), "--loop", loop, "--size", "1GiB"]
    done = subprocess.run([*command, "--directory", str(tmp_path)], check=True, capture_output=True, text=True)
    with capsys.disabled():
        print(f"\n{done.stdout.strip()}")  # noqa: T201 - the figures are what it is for
    report = json.loads(done.stdout)
    assert report["sha256_equal"]
    assert report["peak_rss_mib"] < LIMIT


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop", "trio"])
def test_ten_gibibytes_streamed(loop: str, large_rgw: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """Of unknown length up, and down through a reader: memory is that of the parts in hand."""
    report = streamed(url_with_keys(large_rgw), loop, "10GiB", 1700)
    with capsys.disabled():
        print(f"\n{json.dumps(report)}")  # noqa: T201 - the figures are what it is for
    assert report["sha256_equal"]
    assert report["peak_rss_mib"] < PARTS + 60
