"""Local files: positional reads and writes by many threads, targets that change in one step, sources that must not."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.from_thread
import pytest

from handtruck._body import BytesBody, hash_view
from handtruck.errors import SourceChanged, UsageError
from handtruck.transfer import files
from handtruck.transfer.files import AtomicTarget, PositionalFile, SourceFile
from tests.scripted import store
from tests.transfer.cancelling import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from handtruck import S3Client

OLD: Final = b"what was there before"
NEW: Final = b"something new"


@pytest.fixture(params=[True, False], ids=["positional", "seek"])
def positional(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """With pread and pwrite, and on a platform that has none."""
    if not request.param:
        monkeypatch.setattr(files, "POSITIONAL", False)
        monkeypatch.setattr(files, "VECTORED", False)
        monkeypatch.delattr(os, "preadv")
        monkeypatch.delattr(os, "pread")
        monkeypatch.delattr(os, "pwrite")
    return bool(request.param)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[PositionalFile]:
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    yield PositionalFile(descriptor, path)
    os.close(descriptor)


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def replace(path: Path, data: bytes) -> AtomicTarget:
    """A whole download."""
    target = AtomicTarget(path)
    target.file.write(memoryview(data), 0)
    target.commit(len(data))
    target.discard()
    return target


# -- PositionalFile ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("positional")
class TestPositionalFile:
    def test_many_threads(self, opened: PositionalFile) -> None:
        """Each writes its own ranges, out of order, and reads them back: nobody moves another's position."""
        size, count = 1000, 200
        expected = b"".join(bytes([number % 251]) * size for number in range(count))
        together = threading.Barrier(8)

        def work(first: int) -> bool:
            together.wait()
            for number in reversed(range(first, count, 8)):
                opened.write(memoryview(expected)[number * size : (number + 1) * size], number * size)
            back = bytearray(size)
            return all(
                opened.read_into(memoryview(back), number * size) == size
                and back == expected[number * size : (number + 1) * size]
                for number in range(first, count, 8)
            )

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(8)))
        assert opened.path.read_bytes() == expected

    def test_reads_less_only_at_the_end(self, opened: PositionalFile) -> None:
        opened.write(memoryview(b"0123456789"), 0)
        block = bytearray(b"....")
        assert opened.read_into(memoryview(block), 8) == 2
        assert block == b"89.."
        assert opened.read_into(memoryview(block), 10) == 0
        assert opened.read_into(memoryview(block), 99) == 0

    def test_short_reads_and_writes_are_gone_on_with(
        self, opened: PositionalFile, positional: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The system may do less than it was asked for: on signals, and beyond 2 GiB."""
        write = "pwrite" if positional else "write"
        original_read, original_write = os.read, getattr(os, write)
        if positional:
            original_readv = os.preadv
            monkeypatch.setattr(os, "preadv", lambda fd, views, at: original_readv(fd, [views[0][:3]], at))
        else:
            monkeypatch.setattr(os, "read", lambda fd, count: original_read(fd, min(count, 3)))
        monkeypatch.setattr(os, write, lambda fd, data, *at: original_write(fd, data[:3], *at))
        opened.write(memoryview(b"0123456789"), 5)
        block = bytearray(10)
        assert opened.read_into(memoryview(block), 5) == 10
        assert block == b"0123456789"

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
    def test_errors_name_the_file(
        self, opened: PositionalFile, positional: bool, number: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Found: an error of read() had no name."""
        for name in ("preadv", "pwrite") if positional else ("read", "write"):
            monkeypatch.setattr(os, name, _failing(number))
        with pytest.raises(OSError, match=os.strerror(number)) as wrote:
            opened.write(memoryview(b"data"), 0)
        with pytest.raises(OSError, match=os.strerror(number)) as read:
            opened.read_into(memoryview(bytearray(4)), 0)
        for caught in (wrote, read):
            assert (caught.value.errno, caught.value.filename) == (number, str(opened.path))


def _failing(number: int) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


# -- AtomicTarget --------------------------------------------------------------------------------------------------


class TestAtomicTarget:
    def test_appears_in_one_step(self, tmp_path: Path) -> None:
        path = tmp_path / "target"
        target = AtomicTarget(path)
        target.file.write(memoryview(NEW), 0)
        assert not path.exists()
        target.commit(len(NEW))
        assert path.read_bytes() == NEW
        target.discard()
        assert names(tmp_path) == ["target"]
        assert path.read_bytes() == NEW

    def test_replaces_in_one_step(self, tmp_path: Path) -> None:
        """A reader that has the old file open goes on reading the old one."""
        path = tmp_path / "target"
        path.write_bytes(OLD)
        with path.open("rb") as reader:
            replace(path, NEW)
            assert reader.read() == OLD
        assert path.read_bytes() == NEW

    def test_discarded_it_leaves_nothing(self, tmp_path: Path) -> None:
        """However often."""
        path = tmp_path / "target"
        path.write_bytes(OLD)
        before = open_descriptors()
        target = AtomicTarget(path)
        target.file.write(memoryview(NEW), 0)
        for _ in range(3):
            target.discard()
        assert names(tmp_path) == ["target"]
        assert path.read_bytes() == OLD
        assert open_descriptors() == before

    def test_discard_closes_no_stranger(self, tmp_path: Path) -> None:
        """A descriptor's number is used again at once."""
        target = AtomicTarget(tmp_path / "target")
        target.discard()
        stranger = os.open(tmp_path / "stranger", os.O_RDWR | os.O_CREAT)
        target.discard()
        os.write(stranger, b"still open")
        os.close(stranger)

    def test_commit_cuts_off_what_an_earlier_attempt_left(self, tmp_path: Path) -> None:
        path = tmp_path / "target"
        target = AtomicTarget(path)
        target.file.write(memoryview(b"0123456789"), 0)
        target.commit(4)
        assert path.read_bytes() == b"0123"

    def test_an_empty_object(self, tmp_path: Path) -> None:
        assert replace(tmp_path / "target", b"").path.read_bytes() == b""

    def test_umask_is_respected(self, tmp_path: Path, umask: int) -> None:
        path = tmp_path / "target"
        replace(path, NEW)
        assert mode(path) == 0o666 & ~umask

    @pytest.mark.parametrize("kept", [0o600, 0o644, 0o666, 0o755, 0o400, 0o640], ids=oct)
    def test_mode_is_kept(self, tmp_path: Path, kept: int, umask: int) -> None:
        """Whatever the umask says; of a file that nobody may write to as well."""
        path = tmp_path / "target"
        path.write_bytes(OLD)
        path.chmod(kept)
        replace(path, NEW)
        assert mode(path) == kept

    @pytest.mark.parametrize("kept", [0o600, 0o640], ids=oct)
    def test_a_secret_is_never_readable(self, tmp_path: Path, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Found: the sibling was made for all to read, and restricted afterwards, where that could be done."""
        path = tmp_path / "target"
        path.write_bytes(OLD)
        path.chmod(kept)
        monkeypatch.setattr(Path, "chmod", _failing(errno.EPERM))
        target = AtomicTarget(path)
        (part,) = (name for name in names(tmp_path) if name.endswith(".part"))
        assert mode(tmp_path / part) & ~kept == 0
        target.discard()

    def test_symlinks_are_followed(self, tmp_path: Path) -> None:
        """The file they end at is replaced, next to which the sibling is; the links stay."""
        (tmp_path / "far").mkdir()
        real = tmp_path / "far" / "real"
        real.write_bytes(OLD)
        (tmp_path / "second").symlink_to(real)
        (tmp_path / "first").symlink_to("second")
        target = AtomicTarget(tmp_path / "first")
        assert any(name.endswith(".part") for name in names(tmp_path / "far"))
        target.file.write(memoryview(NEW), 0)
        target.commit(len(NEW))
        assert target.path == real
        assert real.read_bytes() == NEW
        assert (tmp_path / "first").is_symlink()
        assert (tmp_path / "second").is_symlink()

    def test_a_dangling_symlink(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "missing")
        replace(tmp_path / "link", NEW)
        assert (tmp_path / "missing").read_bytes() == NEW
        assert (tmp_path / "link").is_symlink()

    def test_symlinks_in_a_circle(self, tmp_path: Path) -> None:
        """Found: a RuntimeError before Python 3.13."""
        (tmp_path / "link").symlink_to(tmp_path / "link")
        with pytest.raises(OSError, match="symbolic links") as caught:
            AtomicTarget(tmp_path / "link")
        assert caught.value.filename == str(tmp_path / "link")

    @pytest.mark.parametrize("kind", ["fifo", "directory", "device", "socket", "link to a directory"])
    def test_only_regular_files_are_replaced(self, tmp_path: Path, kind: str) -> None:
        path = _special(tmp_path, kind)
        with pytest.raises(UsageError, match="not a regular file"):
            AtomicTarget(path)
        assert not any(name.endswith(".part") for name in names(tmp_path))

    @pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "日" * 85, "x" + "ü" * 127, "xy" + "日" * 84], ids=len)
    def test_long_names(self, tmp_path: Path, name: str) -> None:
        """A name as long as the system allows leaves no room for the sibling's, which has half a character never."""
        target = AtomicTarget(tmp_path / name)
        (part,) = names(tmp_path)
        part.encode()
        assert part.endswith(".part")
        target.commit(0)
        assert names(tmp_path) == [name]

    def test_a_name_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"caf\xe9")
        replace(path, NEW)
        assert path.read_bytes() == NEW

    @pytest.mark.parametrize("make", ["missing folder", "file for a folder", "name too long"])
    def test_errors_name_the_target(self, tmp_path: Path, make: str) -> None:
        """Not a sibling that nobody knows."""
        (tmp_path / "file").touch()
        path = {
            "missing folder": tmp_path / "missing" / "target",
            "file for a folder": tmp_path / "file" / "target",
            "name too long": tmp_path / ("x" * 300),
        }[make]
        with pytest.raises(OSError, match=os.strerror(_ERRNO[make])) as caught:
            AtomicTarget(path)
        assert (caught.value.errno, caught.value.filename) == (_ERRNO[make], str(path))

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT], ids=errno.errorcode.get)
    @pytest.mark.parametrize("call", ["pwrite", "ftruncate", "replace"])
    def test_a_disk_that_fails(self, tmp_path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error names the target, and the old file is still there."""
        path = tmp_path / "target"
        path.write_bytes(OLD)
        target = AtomicTarget(path)
        with monkeypatch.context() as patch:
            patch.setattr(os, call, _failing(number))
            with pytest.raises(OSError, match=os.strerror(number)) as caught:
                _write_and_commit(target)
        assert (caught.value.errno, caught.value.filename) == (number, str(path))
        target.discard()
        assert names(tmp_path) == ["target"]
        assert path.read_bytes() == OLD

    def test_the_target_becomes_a_directory_meanwhile(self, tmp_path: Path) -> None:
        path = tmp_path / "target"
        target = AtomicTarget(path)
        path.mkdir()
        with pytest.raises(IsADirectoryError) as caught:
            target.commit(0)
        assert caught.value.filename == str(path)
        target.discard()
        assert names(tmp_path) == ["target"]

    def test_its_folder_is_gone_meanwhile(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        target = AtomicTarget(folder / "target")
        for name in names(folder):
            (folder / name).unlink()
        folder.rmdir()
        with pytest.raises(FileNotFoundError) as caught:
            target.commit(0)
        assert caught.value.filename == str(folder / "target")
        target.discard()

    def test_what_cannot_be_removed_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Not raised: it must not take the place of the error that one discards for."""
        target = AtomicTarget(tmp_path / "target")
        (part,) = tmp_path.iterdir()
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", _failing(errno.EACCES))
            assert target.discard() == f"handtruck: the unfinished {part} remains: {os.strerror(errno.EACCES)}"
        assert target.discard() is None
        assert target.discard() is None
        assert names(tmp_path) == []


_ERRNO: Final = {
    "missing folder": errno.ENOENT,
    "file for a folder": errno.ENOTDIR,
    "name too long": errno.ENAMETOOLONG,
}


def _write_and_commit(target: AtomicTarget) -> None:
    target.file.write(memoryview(NEW), 0)
    target.commit(1)


def _special(folder: Path, kind: str) -> Path:
    path = folder / "special"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "device":
        return Path("/dev/null")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            os.chdir(folder)  # a socket's path may have 107 bytes
            server.bind("special")
    else:
        (folder / "directory").mkdir()
        path.symlink_to(folder / "directory")
    return path


@pytest.fixture(autouse=True)
def _stay_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(".")


# -- SourceFile ----------------------------------------------------------------------------------------------------


class TestSourceFile:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Iterator[SourceFile]:
        path = tmp_path / "source"
        path.write_bytes(OLD)
        source = SourceFile(path)
        yield source
        source.close()

    def test_unchanged(self, source: SourceFile) -> None:
        source.check_unchanged()
        block = bytearray(4)
        source.read_into(memoryview(block), 5)
        assert block == OLD[5:9]

    def test_shorter(self, source: SourceFile) -> None:
        """It is noticed by the read that it makes too short, and at the end."""
        os.truncate(source.file.path, 5)
        source.read_into(memoryview(bytearray(5)), 0)
        with pytest.raises(SourceChanged, match="shorter"):
            source.read_into(memoryview(bytearray(5)), 1)
        with pytest.raises(SourceChanged, match="shorter"):
            source.sha256()
        with pytest.raises(SourceChanged, match="changed"):
            source.check_unchanged()

    def test_longer(self, source: SourceFile) -> None:
        with source.file.path.open("ab") as file:
            file.write(b"more")
        with pytest.raises(SourceChanged, match="changed"):
            source.check_unchanged()

    def test_same_length_other_time(self, source: SourceFile) -> None:
        status = source.file.path.stat()
        os.utime(source.file.path, ns=(status.st_atime_ns, status.st_mtime_ns + 1000))
        with pytest.raises(SourceChanged, match="changed"):
            source.check_unchanged()

    def test_replaced(self, source: SourceFile) -> None:
        """Who has opened it goes on with what he has opened."""
        replace(source.file.path, NEW)
        source.check_unchanged()
        block = bytearray(len(OLD))
        source.read_into(memoryview(block), 0)
        assert block == OLD

    @pytest.mark.parametrize("size", [0, 1, files._BLOCK - 1, files._BLOCK, files._BLOCK + 1])
    def test_sha256(self, tmp_path: Path, size: int) -> None:
        from hashlib import sha256

        data = os.urandom(size)
        (tmp_path / "source").write_bytes(data)
        source = SourceFile(tmp_path / "source")
        try:
            assert source.sha256() == sha256(data).hexdigest()
        finally:
            source.close()

    def test_more_than_its_size_says(self, source: SourceFile) -> None:
        """A special file changes neither its size nor its time; only reading on shows what it has."""
        source.size -= 1
        with pytest.raises(SourceChanged, match="has more bytes than its size says"):
            source.check_unchanged()

    @pytest.mark.parametrize("kind", ["fifo", "directory", "device", "link to a directory"])
    def test_only_regular_files_are_sent(self, tmp_path: Path, kind: str) -> None:
        """A fifo without a writer is refused at once, where opening it would wait for ever."""
        before = open_descriptors()
        path = _special(tmp_path, kind)
        with pytest.raises(UsageError, match="not a regular file"):
            SourceFile(path)
        assert open_descriptors() == before

    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError) as caught:
            SourceFile(tmp_path / "missing")
        assert caught.value.filename == str(tmp_path / "missing")


# -- Files that lie about their size -----------------------------------------------------------------------------------

PROC: Final = Path("/proc/cpuinfo")


async def put_file(s3: S3Client, path: Path) -> object:
    return await s3.put_file("b/k", path)


async def put_file_multipart(s3: S3Client, path: Path) -> object:
    return await s3.put_file_multipart("b/k", path)


async def put_unsigned(s3: S3Client, path: Path) -> object:
    return await s3.put_file("b/k", path, content_sha256="UNSIGNED-PAYLOAD")


PUTS: Final = [put_file, put_file_multipart, put_unsigned]


@pytest.mark.anyio
@pytest.mark.skipif(not PROC.exists(), reason="no such file here")
@pytest.mark.parametrize("put", PUTS, ids=lambda put: put.__name__)
async def test_a_file_that_says_it_is_empty_and_is_not(put: Callable[..., Awaitable[object]]) -> None:
    """Found: 0 bytes were stored, with success."""
    assert PROC.stat().st_size == 0
    async with store() as (s3, tiny):
        with pytest.raises(SourceChanged, match=f"{PROC} has more bytes than its size says .* as an iterable"):
            await put(s3, PROC)
        assert tiny.calls == []


@pytest.mark.anyio
@pytest.mark.parametrize("put", PUTS, ids=lambda put: put.__name__)
async def test_a_file_that_is_longer_than_it_says(
    put: Callable[..., Awaitable[object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last block is not sent, so that nothing is stored."""
    source, init = tmp_path / "source", SourceFile.__init__
    source.write_bytes(NEW)

    def understated(self: SourceFile, path: Path) -> None:
        init(self, path)
        self.size -= 1

    monkeypatch.setattr(SourceFile, "__init__", understated)
    async with store() as (s3, tiny):
        with pytest.raises(SourceChanged, match="has more bytes than its size says"):
            await put(s3, source)
        await tiny.peer.until(lambda: tiny.peer.busy == 0)
        assert tiny.objects == {}


# -- Cancelled in the middle of much work ------------------------------------------------------------------------------

BLOCKS: Final = 20


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Some blocks that take no room."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, BLOCKS * files._BLOCK)
    return path


async def hash_a_file(s3: S3Client, path: Path) -> object:
    return await s3.put_file("b/k", path)


async def read_a_part(s3: S3Client, path: Path) -> object:
    return await s3.put_file_multipart("b/k", path, part_size=BLOCKS * files._BLOCK)


@pytest.mark.anyio
@pytest.mark.skipif(not files.VECTORED, reason="counts calls of preadv")
@pytest.mark.parametrize("put", [hash_a_file, read_a_part], ids=lambda put: put.__name__)
async def test_reading_ends_with_the_block_in_which_it_is_cancelled(
    put: Callable[..., Awaitable[object]], large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found: the caller waited until 4 GiB were hashed."""
    read, reads = os.preadv, 0

    def preadv(descriptor: int, views: list[memoryview], offset: int) -> int:
        nonlocal reads
        reads += 1
        if reads == 3:
            anyio.from_thread.run_sync(scope.cancel)
        return read(descriptor, views, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    before = open_descriptors()
    async with store() as (s3, tiny):
        with anyio.CancelScope() as scope:
            await put(s3, large)
        assert scope.cancelled_caught
        assert reads == 3
        assert tiny.calls == []
    assert open_descriptors() == before


async def hash_memory(s3: S3Client, path: Path) -> object:
    return await s3.put("b/k", bytes(BLOCKS * files._BLOCK))


@pytest.mark.anyio
@pytest.mark.parametrize("put", [hash_memory, read_a_part], ids=lambda put: put.__name__)
async def test_hashing_ends_with_the_block_in_which_it_is_cancelled(
    put: Callable[..., Awaitable[object]], large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = 0

    class Digest:
        def __init__(self, view: memoryview) -> None:
            self.update(view)

        def update(self, view: memoryview) -> None:
            nonlocal hashed
            hashed += len(view)
            anyio.from_thread.run_sync(scope.cancel)

        def hexdigest(self) -> str:
            return "0" * 64

    monkeypatch.setattr("handtruck._body.sha256", Digest)
    async with store() as (s3, tiny):
        with anyio.CancelScope() as scope:
            await put(s3, large)
        assert scope.cancelled_caught
        assert 0 < hashed < BLOCKS * files._BLOCK
        assert tiny.calls == []


@pytest.mark.parametrize("size", [0, 1, (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20])
def test_a_hash_made_in_blocks(size: int) -> None:
    """Here, where no event loop waits for it, nothing can cancel it."""
    data = os.urandom(size)
    assert hash_view(memoryview(data)) == hashlib.sha256(data).hexdigest()


@pytest.mark.anyio
@pytest.mark.parametrize("known", ["UNSIGNED-PAYLOAD", hashlib.sha256(bytes(files._BLOCK)).hexdigest()])
async def test_a_hash_that_the_caller_gave_is_not_made(known: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found: that of a stream was, and thrown away."""
    sent: list[BytesBody] = []
    stream = BytesBody.stream

    def seen(body: BytesBody) -> Any:
        sent.append(body)
        return stream(body)

    monkeypatch.setattr(BytesBody, "stream", seen)
    monkeypatch.setattr("handtruck._body.sha256", lambda _: pytest.fail("hashed"))
    async with store() as (s3, tiny):
        await s3.put("b/k", iter([bytes(files._BLOCK)]), content_sha256=known)
        assert tiny.sent("PutObject")[0].header("x-amz-content-sha256") == known
    assert [body.payload_hash for body in sent] == [known]
