"""The guard against blocking calls catches each of them on each loop, and lets worker threads block."""

from __future__ import annotations

import asyncio
import hashlib
import io
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import types
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from tests import blocking
from tests.blocking import LARGE_HASH, BlockingCall, BlockingCallInLoop, guard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.anyio

LARGE: Final = bytes(LARGE_HASH + 1)


@dataclass(frozen=True, slots=True)
class Disk:
    """What the calls work on."""

    folder: Path
    file: Path
    fd: int

    @property
    def new(self) -> Path:
        return self.folder / "new"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    fd = os.open(file, os.O_RDWR)
    yield Disk(tmp_path, file, fd)
    os.close(fd)


def _link(disk: Disk) -> Path:
    link = disk.folder / "link"
    link.symlink_to(disk.file)
    return link


# How each guarded call is made, so that it works where it may be made. Keyed by the guard's own names.
CALLS: Final[dict[str, Callable[[Disk], Any]]] = {
    "builtins.open": lambda disk: open(disk.file).close(),  # noqa: PTH123
    "io.open": lambda disk: io.open(disk.file).close(),  # noqa: UP020
    "os.open": lambda disk: os.close(os.open(disk.file, os.O_RDONLY)),
    "os.read": lambda disk: os.read(disk.fd, 1),
    "os.write": lambda disk: os.write(disk.fd, b"x"),
    "os.readv": lambda disk: os.readv(disk.fd, [bytearray(1)]),
    "os.writev": lambda disk: os.writev(disk.fd, [b"x"]),
    "os.pread": lambda disk: os.pread(disk.fd, 1, 0),
    "os.pwrite": lambda disk: os.pwrite(disk.fd, b"x", 0),
    "os.preadv": lambda disk: os.preadv(disk.fd, [bytearray(1)], 0),
    "os.pwritev": lambda disk: os.pwritev(disk.fd, [b"x"], 0),
    "os.fsync": lambda disk: os.fsync(disk.fd),
    "os.fdatasync": lambda disk: os.fdatasync(disk.fd),
    "os.truncate": lambda disk: os.truncate(disk.file, 3),
    "os.ftruncate": lambda disk: os.ftruncate(disk.fd, 3),
    "os.posix_fallocate": lambda disk: os.posix_fallocate(disk.fd, 0, 10),
    "os.stat": lambda disk: os.stat(disk.file),  # noqa: PTH116
    "os.lstat": lambda disk: os.lstat(disk.file),
    "os.access": lambda disk: os.access(disk.file, os.R_OK),
    "os.listdir": lambda disk: os.listdir(disk.folder),  # noqa: PTH208
    "os.scandir": lambda disk: os.scandir(disk.folder).close(),
    "os.readlink": lambda disk: os.readlink(_link(disk)),  # noqa: PTH115
    "os.replace": lambda disk: os.replace(disk.file, disk.new),  # noqa: PTH105
    "os.rename": lambda disk: os.rename(disk.file, disk.new),  # noqa: PTH104
    "os.link": lambda disk: os.link(disk.file, disk.new),
    "os.symlink": lambda disk: os.symlink(disk.file, disk.new),  # noqa: PTH211
    "os.unlink": lambda disk: os.unlink(disk.file),  # noqa: PTH108
    "os.remove": lambda disk: os.remove(disk.file),  # noqa: PTH107
    "os.mkdir": lambda disk: os.mkdir(disk.new),  # noqa: PTH102
    "os.rmdir": lambda disk: os.rmdir(tempfile.mkdtemp(dir=disk.folder)),  # noqa: PTH106
    "os.chmod": lambda disk: os.chmod(disk.file, 0o600),  # noqa: PTH101
    "os.utime": lambda disk: os.utime(disk.file),
    "Path.glob": lambda disk: list(disk.folder.glob("*")),
    "Path.rglob": lambda disk: list(disk.folder.rglob("*")),
    "socket.getaddrinfo": lambda _: socket.getaddrinfo("127.0.0.1", 80),
    "socket.gethostbyname": lambda _: socket.gethostbyname("127.0.0.1"),
    "socket.getnameinfo": lambda _: socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST),
    "time.sleep": lambda _: time.sleep(0),
    "hashlib.file_digest": lambda _: hashlib.file_digest(io.BytesIO(b"x"), "sha256"),
    "hashlib.new": lambda _: hashlib.new("sha256", LARGE),
    "hashlib.md5": lambda _: hashlib.md5(LARGE, usedforsecurity=False),
    "hashlib.md5.update": lambda _: hashlib.md5(usedforsecurity=False).update(LARGE),
    "hashlib.sha1": lambda _: hashlib.sha1(LARGE, usedforsecurity=False),
    "hashlib.sha1.update": lambda _: hashlib.sha1(usedforsecurity=False).update(LARGE),
    "hashlib.sha256": lambda _: hashlib.sha256(LARGE),
    "hashlib.sha256.update": lambda _: hashlib.sha256().copy().update(memoryview(LARGE)),
    "hashlib.sha512": lambda _: hashlib.sha512(LARGE),
    "hashlib.sha512.update": lambda _: hashlib.new("sha512").update(LARGE),
    "zlib.crc32": lambda _: zlib.crc32(LARGE),
}
# Their setting up is caught first, when they are made on a loop.
CAUGHT_AS: Final = {"os.readlink": "os.symlink", "os.rmdir": "os.mkdir"}

# What ends in a guarded call inside the standard library, and in which.
INDIRECT: Final[dict[str, tuple[str, Callable[[Disk], Any]]]] = {
    "Path.open": ("io.open", lambda disk: disk.file.open().close()),
    "Path.read_bytes": ("io.open", lambda disk: disk.file.read_bytes()),
    "Path.write_bytes": ("io.open", lambda disk: disk.file.write_bytes(b"x")),
    "Path.stat": ("os.stat", lambda disk: disk.file.stat()),
    "Path.lstat": ("os.lstat|os.stat", lambda disk: disk.file.lstat()),
    "Path.exists": ("os.stat", lambda disk: disk.file.exists()),
    "Path.is_dir": ("os.stat", lambda disk: disk.file.is_dir()),
    "Path.resolve": ("os.lstat", lambda disk: disk.file.resolve()),
    "Path.iterdir": ("os.listdir|os.scandir", lambda disk: list(disk.folder.iterdir())),
    "Path.replace": ("os.replace", lambda disk: disk.file.replace(disk.new)),
    "Path.rename": ("os.rename", lambda disk: disk.file.rename(disk.new)),
    "Path.unlink": ("os.unlink", lambda disk: disk.file.unlink()),
    "Path.mkdir": ("os.mkdir", lambda disk: disk.new.mkdir()),
    "Path.touch": ("os.utime|os.open", lambda disk: disk.file.touch()),
    "os.path.getsize": ("os.stat", lambda disk: os.path.getsize(disk.file)),  # noqa: PTH202
    "os.makedirs": ("os.stat", lambda disk: os.makedirs(disk.new)),  # noqa: PTH103
    "os.walk": ("os.scandir", lambda disk: list(os.walk(disk.folder))),
    "shutil.copyfile": ("os.stat", lambda disk: shutil.copyfile(disk.file, disk.new)),
    "shutil.rmtree": ("os.lstat|os.stat", lambda disk: shutil.rmtree(disk.folder)),
    "tempfile.mkdtemp": ("os.mkdir", lambda disk: tempfile.mkdtemp(dir=disk.folder)),
    "TemporaryFile": ("os.open|io.open", lambda disk: tempfile.TemporaryFile(dir=disk.folder).close()),
    "socket.create_connection": ("socket.getaddrinfo", lambda _: _connect()),
}


def _connect() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        socket.create_connection(listening.getsockname()).close()


def _mine(module: str) -> bool:
    return module == __name__


def test_every_guarded_call_is_tried() -> None:
    assert blocking.guarded() <= CALLS.keys()


@pytest.mark.parametrize("name", sorted(blocking.guarded()))
async def test_caught_on_a_loop(name: str, disk: Disk) -> None:
    with guard(_mine) as calls, pytest.raises(BlockingCallInLoop, match=f"called by {__name__}"):
        CALLS[name](disk)
    assert [call.name for call in calls] == [CAUGHT_AS.get(name, name)]


@pytest.mark.parametrize("name", sorted(blocking.guarded()))
async def test_allowed_in_a_worker_thread(name: str, disk: Disk) -> None:
    with guard(_mine) as calls:
        await anyio.to_thread.run_sync(CALLS[name], disk)
    assert calls == []


@pytest.mark.parametrize("name", INDIRECT)
async def test_caught_inside_the_standard_library(name: str, disk: Disk) -> None:
    caught_as, call = INDIRECT[name]
    with guard(_mine) as calls, pytest.raises(BlockingCallInLoop):
        call(disk)
    assert len(calls) == 1
    assert calls[0].name in caught_as.split("|")


@pytest.mark.parametrize("name", INDIRECT)
async def test_standard_library_is_allowed_in_a_worker_thread(name: str, disk: Disk) -> None:
    with guard(_mine) as calls:
        await anyio.to_thread.run_sync(INDIRECT[name][1], disk)
    assert calls == []


async def test_setting_up_is_not_what_was_caught(disk: Disk) -> None:
    link, folder = _link(disk), tempfile.mkdtemp(dir=disk.folder)
    with guard(_mine) as calls:
        with pytest.raises(BlockingCallInLoop):
            os.readlink(link)  # noqa: PTH115
        with pytest.raises(BlockingCallInLoop):
            os.rmdir(folder)  # noqa: PTH106
    assert [call.name for call in calls] == ["os.readlink", "os.rmdir"]


def test_allowed_where_no_loop_runs(disk: Disk) -> None:
    with guard(_mine) as calls:
        assert disk.file.read_bytes() == b"content"
        assert hashlib.sha256(LARGE).hexdigest() == hashlib.new("sha256", LARGE).hexdigest()
    assert calls == []


async def test_caught_in_a_child_task(disk: Disk) -> None:
    async def block() -> None:
        with pytest.raises(BlockingCallInLoop):
            disk.file.read_bytes()

    with guard(_mine) as calls:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(block)
    assert len(calls) == 1


async def test_swallowed_error_is_recorded(disk: Disk) -> None:
    with guard(_mine) as calls, suppress(AssertionError):
        os.stat(disk.file)  # noqa: PTH116
    (call,) = calls
    assert (call.name, call.module) == ("os.stat", __name__)
    assert call.where.startswith(__file__)
    assert str(call) == f"os.stat called by {__name__} ({call.where})"


async def test_call_that_was_caught_did_nothing(disk: Disk) -> None:
    with guard(_mine), pytest.raises(BlockingCallInLoop):
        os.unlink(disk.file)  # noqa: PTH108
    assert disk.file.exists()


async def test_small_hashes_are_allowed() -> None:
    small = LARGE[1:]
    with guard(_mine) as calls:
        digest = hashlib.sha256(small)
        digest.update(small)
        again = digest.copy()
        assert digest.digest() == again.digest()
        assert (digest.name, digest.digest_size, digest.block_size) == ("sha256", 32, 64)
        assert zlib.crc32(small, 1) != zlib.crc32(small)
    assert calls == []


async def test_size_is_counted_in_bytes_not_items() -> None:
    words = memoryview(bytes(LARGE_HASH + 4)).cast("I")
    with guard(_mine) as calls, pytest.raises(BlockingCallInLoop):
        hashlib.sha256(words)
    assert len(calls) == 1


async def test_others_may_block(disk: Disk) -> None:
    """httpx, pytest, an event loop: what they do is theirs, also when we call them."""
    other = types.ModuleType("other")
    exec("def read(path):\n    return path.read_bytes()", other.__dict__)  # noqa: S102
    with guard(_mine) as calls:
        assert other.read(disk.file) == b"content"
    assert calls == []


@pytest.mark.parametrize(
    ("module", "ours"),
    [("handtruck", True), ("handtruck.transfer.upload", True), ("handtrucks", False), ("tests", False)],
)
def test_ours_by_default(module: str, ours: bool) -> None:
    assert blocking.is_handtruck(module) is ours


async def test_handtruck_is_watched_by_default(disk: Disk) -> None:
    ours = types.ModuleType("handtruck.pretended")
    exec("def read(path):\n    return path.read_bytes()", ours.__dict__)  # noqa: S102
    with guard() as calls, pytest.raises(BlockingCallInLoop):
        ours.read(disk.file)
    assert [call.module for call in calls] == ["handtruck.pretended"]


async def test_tracebacks_are_allowed() -> None:
    """The debug mode of asyncio takes one for every callback, and they look into source files."""
    with guard(_mine) as calls:
        assert traceback.extract_stack()
        logging.getLogger(__name__).debug("nothing", stack_info=True)
    assert calls == []


async def test_the_loop_itself_is_allowed(anyio_backend_name: str) -> None:
    with guard(_mine) as calls:
        assert await anyio.getaddrinfo("127.0.0.1", 80)
        await anyio.lowlevel.checkpoint()
        if anyio_backend_name == "asyncio":
            asyncio.get_running_loop().call_soon(lambda: None)
            await asyncio.sleep(0)
    assert calls == []


def test_everything_is_put_back() -> None:
    owners = (os, io, Path, socket, time, hashlib, zlib)
    before = [dict(vars(owner)) for owner in owners]
    abilities = [set(able) for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks)]
    opener = open
    with guard(_mine), guard(_mine):
        assert open is not opener
        assert os.stat in os.supports_follow_symlinks
    assert open is opener
    assert [dict(vars(owner)) for owner in owners] == before
    assert [os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks] == abilities


SUITE: Final = """
import types
import pytest

ours = types.ModuleType("handtruck.pretended")
exec('''def swallow():
    try:
        open("/dev/null").close()
    except AssertionError:
        pass
''', ours.__dict__)

@pytest.mark.anyio
async def test_on_a_loop():
    ours.swallow()

def test_elsewhere():
    ours.swallow()
"""


def test_fixture_fails_tests_on_loops_only(tmp_path: Path) -> None:
    """Even where the package swallowed the error."""
    fixtures = "from tests.conftest import _nothing_blocks_the_loop, anyio_backend"
    tmp_path.joinpath("conftest.py").write_text(fixtures)
    tmp_path.joinpath("test_it.py").write_text(SUITE)
    tmp_path.joinpath("pytest.ini").write_text("[pytest]")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-rN", tmp_path],
        cwd=Path(__file__).parents[1],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "4 passed, 3 errors" in ran.stdout
    assert ran.stdout.count("\nbuiltins.open called by handtruck.pretended (") == 3


def test_call_says_what_and_where() -> None:
    assert str(BlockingCall("os.stat", "handtruck.x", "x.py:3")) == "os.stat called by handtruck.x (x.py:3)"
