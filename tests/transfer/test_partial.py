"""The files that a resumable download keeps: locks, names, links, modes, and a disk that is full or dies.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck.errors import UsageError
from handtruck.transfer import partial as partial_module
from handtruck.transfer.files import FileSink
from handtruck.transfer.partial import JOURNAL, PART, JournaledSink, PartialTarget
from tests.scripted import Request, TinyS3, store
from tests.transfer.resuming import (
    BODY,
    OLD,
    OTHER,
    STEP,
    URL,
    begun,
    covered,
    finish,
    get,
    give_up,
    journal_of,
    left,
    moved,
    names,
    opened,
    part_of,
    stopped,
    true,
    untouched,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from handtruck import S3Client

pytestmark = pytest.mark.anyio


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> Path:
    """A file that exists before it is downloaded to."""
    target = tmp_path / "target"
    target.write_bytes(OLD)
    return target


# -- Two at once -------------------------------------------------------------------------------------------------------


async def the_second_is_refused(s3: S3Client, tiny: TinyS3, target: Path) -> None:
    """Before any request, and what the first one has is not touched."""
    tiny.put("b/k", BODY)
    came: list[object] = []

    async def second(_: Request) -> None:
        if not came:
            came.append(len(tiny.calls))
            try:
                await get(s3, target)
            except UsageError as refused:
                came.extend((str(refused), len(tiny.calls)))

    tiny.on("GetObject", second, nth=3)
    await get(s3, target)
    assert came == [3, f"{target}: another download is resuming it; wait for its end, or cancel it", 3]
    assert whole(target)
    assert moved(tiny.sent("GetObject")) == len(BODY)


async def test_two_at_once(target: Path) -> None:
    async with store() as (s3, tiny):
        await the_second_is_refused(s3, tiny, target)


HOLDER: Final = """
import sys
from pathlib import Path
from handtruck.transfer.partial import PartialTarget
target = PartialTarget(Path(sys.argv[1]), sys.argv[2], durable=False)
print("has it", flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(target: Path, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that has the lock."""
    command = [sys.executable, "-c", HOLDER, str(target), url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"has it\n"
        yield process
        process.kill()


async def test_another_process_has_it_until_it_is_killed(target: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, target, 2 * STEP)
        before = len(tiny.calls)
        with another_process(target, tiny.peer.url + "/b/k") as process:
            with pytest.raises(UsageError, match="another download"):
                await get(s3, target)
            assert len(tiny.calls) == before
            assert left(target)
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert (await get(s3, target)).resumed >= 2 * STEP
        assert whole(target)


def finish_and_begin_again(first: PartialTarget) -> None:
    finish(first)
    assert begun(first.path).discard() is None


@pytest.mark.parametrize("meanwhile", [finish, give_up, finish_and_begin_again], ids=lambda each: each.__name__)
def test_the_part_goes_while_another_opens_it(
    target: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[PartialTarget], None]
) -> None:
    """It was opened, and then renamed or removed, and then locked: that is the target, or nothing, and no part."""
    first = begun(target)
    lock = PartialTarget._lock

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(PartialTarget, "_lock", lock)
        meanwhile(first)
        return lock(*arguments)

    monkeypatch.setattr(PartialTarget, "_lock", late)
    second = opened(target)
    before = target.read_bytes()
    second.clear()
    second.sink(0)(memoryview(b"of the second"))
    assert target.read_bytes() == before
    assert part_of(target).read_bytes() == b"of the second"
    second.commit(13)
    assert whole(target, b"of the second")


def test_one_that_made_it_but_was_too_slow_to_lock_it(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is another's then, with all that is in it.

    Found: whoever had made the part removed it when he could not lock it. And before: its journal.
    """
    lock = PartialTarget._lock
    faster: list[PartialTarget] = []

    def late(*arguments: Any) -> bool:
        monkeypatch.setattr(PartialTarget, "_lock", lock)
        faster.append(begun(target))
        return lock(*arguments)

    monkeypatch.setattr(PartialTarget, "_lock", late)
    with pytest.raises(UsageError, match="another download"):
        opened(target)
    assert left(target)
    assert covered(target) == 10
    finish(faster[0])
    assert whole(target)


def test_a_part_that_was_removed_by_hand(target: Path) -> None:
    """And another download has begun since: that one's files are no business of the first.

    Found: the first went on to write its ranges into the journal of the second.
    """
    first = begun(target)
    part_of(target).unlink()
    second = begun(target, OTHER[:10])
    first.sink(1000)(memoryview(BODY[1000:1100]))
    assert covered(target) == 10
    assert true(target, OTHER)
    with pytest.raises((OSError, UsageError), match=str(target)):
        finish(first)
    first.discard()
    assert left(target)
    finish(second)
    assert whole(target)


def test_one_that_gives_up_removes_no_other_ones_files(target: Path) -> None:
    """Its own part is gone already, and its journal."""
    first = begun(target)
    part_of(target).unlink()
    second = opened(target)
    second.clear()
    first.discard()
    assert names(target.parent) == [target.name, target.name + JOURNAL, target.name + PART]
    finish(second)
    assert whole(target)


def test_where_there_are_no_locks(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on some network file systems: an error that names the target, and nothing is left."""

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises((OSError, UsageError), match=str(target)):
        opened(target)
    assert untouched(target)


def test_platforms_without_locks(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_module, "POSIX", False)
    with pytest.raises(UsageError, match="POSIX"):
        opened(target)
    assert untouched(target)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_keeps_no_lock(target: Path) -> None:
    """Found: it did, as long as it lived, because it has the descriptor too."""
    first = begun(target)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        first.discard()
        opened(target).discard()
    finally:
        os.close(reader)
        os.close(writer)
        os.waitpid(child, 0)


# -- Names, links, modes -----------------------------------------------------------------------------------------------


async def test_a_link_is_followed(tmp_path: Path) -> None:
    """The files lie beside what it points to: only there a rename is sure to be one."""
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    real, link = elsewhere / "real", folder / "link"
    real.write_bytes(OLD)
    link.symlink_to(real)
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        await stopped(s3, link, STEP)
        assert names(folder) == ["link"]
        assert left(real)
        assert (await get(s3, link)).path == real
        assert link.is_symlink()
        assert whole(real)


@pytest.mark.parametrize("ending", [PART, JOURNAL])
def test_a_link_in_place_of_our_files_is_not(target: Path, ending: str) -> None:
    """Found: whoever may write to the folder could have any file of ours truncated, and written to."""
    folder = target.parent.parent / (target.parent.name + "-elsewhere")
    folder.mkdir()
    victim = folder / "victim"
    victim.write_bytes(b"precious")
    target.with_name(target.name + ending).symlink_to(victim)
    with pytest.raises((OSError, UsageError), match=str(target)):
        opened(target)
    assert victim.read_bytes() == b"precious"
    assert target.read_bytes() == OLD


@pytest.mark.parametrize("ending", [PART, JOURNAL])
def test_what_is_no_file_in_place_of_ours(target: Path, ending: str) -> None:
    """An error that names the target; nothing of ours is left. Found: the new part was."""
    beside = target.with_name(target.name + ending)
    beside.mkdir()
    with pytest.raises((OSError, UsageError), match=str(target)):
        opened(target)
    assert names(target.parent) == sorted([target.name, beside.name])


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127, "n" * 239, "n" * 240, "n" * 238, "€" * 80 + "n" * 15])
async def test_long_names(tmp_path: Path, name: str) -> None:
    """As long as a file system takes; others that begin alike have files of their own."""
    target, twin = tmp_path / name, tmp_path / (name[:-1] + "x")
    target.write_bytes(OLD)
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.put("b/twin", OTHER)
        await stopped(s3, target, STEP)
        assert len(names(tmp_path)) == 3
        assert all(len(os.fsencode(each)) <= 255 for each in names(tmp_path))
        await stopped(s3, twin, STEP, name="b/twin")
        assert len(names(tmp_path)) == 5
        assert (await get(s3, target)).resumed >= STEP
        assert (await get(s3, twin, name="b/twin")).resumed >= STEP
        assert (target.read_bytes(), twin.read_bytes()) == (BODY, OTHER)
        assert len(names(tmp_path)) == 2


def test_planted_files(target: Path) -> None:
    """One that has another name too is not ours alone: who writes to it, writes to that."""
    precious = target.parent / "precious"
    precious.write_bytes(b"precious")
    part_of(target).hardlink_to(precious)
    with pytest.raises(UsageError, match="handtruck-part is not a file that"):
        opened(target)
    assert precious.read_bytes() == b"precious"


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    target = tmp_path / os.fsdecode(b"\xff" * 250)
    target.write_bytes(OLD)
    begun(target).discard()
    again = opened(target)
    found = again.found()
    assert found is not None
    assert found.covered == 10
    finish(again)
    assert whole(target)


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct, name="umask")
def _umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("before", [0o600, 0o640, 0o644, 0o400, 0o755], ids=oct)
def test_the_mode_of_the_target_is_kept(target: Path, monkeypatch: pytest.MonkeyPatch, umask: int, before: int) -> None:
    """And never, not for a moment, more than those may read the part, or its journal, who may read the target."""
    target.chmod(before)
    seen: list[int] = []
    real = os.open

    def looking(path: Any, *arguments: Any, **options: Any) -> int:
        descriptor = real(path, *arguments, **options)
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", looking)
        begun(target).discard()
    assert seen
    assert not [each for each in (*seen, mode(part_of(target)), mode(journal_of(target))) if each & 0o077 & ~before]
    finish(opened(target))
    assert mode(target) == before


def test_a_new_file_obeys_the_umask(tmp_path: Path, umask: int) -> None:
    target = tmp_path / "new"
    begun(target).discard()
    finish(opened(target))
    assert mode(target) == 0o666 & ~umask


@pytest.mark.parametrize("before", [0o600, 0o640], ids=oct)
def test_a_target_that_has_become_a_secret(target: Path, before: int) -> None:
    """Found: its mode at the time of the first attempt was what it got."""
    target.chmod(0o644)
    begun(target).discard()
    target.chmod(before)
    second = opened(target)
    assert mode(part_of(target)) == before
    finish(second)
    assert mode(target) == before


def test_a_folder_that_cannot_be_written_to(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's no, whoever runs this (root may write anywhere)."""

    def refused(path: str | Path, *_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError, match=str(target)):
        opened(target)
    monkeypatch.undo()
    assert untouched(target)


async def test_targets_that_can_be_none(tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with pytest.raises(UsageError, match="not a regular file"):
            await get(s3, tmp_path)
        with pytest.raises(FileNotFoundError, match="no-such-folder"):
            await get(s3, tmp_path / "no-such-folder" / "file")
        loop = tmp_path / "loop"
        loop.symlink_to(loop)
        with pytest.raises((OSError, RuntimeError), match="loop"):
            await get(s3, loop)
        loop.unlink()
        assert not tiny.calls
        assert names(tmp_path) == []


async def test_streams_cannot_be_resumed(tmp_path: Path) -> None:
    async with store() as (s3, tiny):
        with (tmp_path / "file").open("wb") as file:
            each: Any
            for each in ({"resume": True}, {"fsync": True}):
                with pytest.raises(UsageError, match="need a path"):
                    await s3.download("b/k", file, **each)
        assert not tiny.calls


# -- The disk ----------------------------------------------------------------------------------------------------------


@dataclass
class Disk:
    """Notes in which order things are done to which file."""

    steps: list[str] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def name(self, descriptor: int) -> str:
        where = os.fstat(descriptor)
        if stat.S_ISDIR(where.st_mode):
            return "folder"
        return self.names.get(where.st_ino, "other")

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for function in ("write", "pwrite", "fsync"):
            monkeypatch.setattr(os, function, partial(self._noted, function, getattr(os, function)))
        monkeypatch.setattr(os, "open", partial(self._opened, os.open))
        monkeypatch.setattr(Path, "replace", self._replaced(Path.replace))

    def _opened(self, real: Callable[..., int], path: Any, *arguments: Any, **options: Any) -> int:
        descriptor = real(path, *arguments, **options)
        ending = next((each for each in (PART, JOURNAL, ".part") if str(path).endswith(each)), None)
        if ending is not None:
            self.names[os.fstat(descriptor).st_ino] = "journal" if ending == JOURNAL else "data"
        return descriptor

    def _noted(self, function: str, real: Callable[..., Any], descriptor: int, *rest: Any) -> Any:
        if (name := self.name(descriptor)) != "other":
            self.steps.append(f"{function} {name}")
        return real(descriptor, *rest)

    def _replaced(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def replace(path: Path, target: Path) -> Any:
            self.steps.append("rename" if not journal_of(target).exists() else "rename beside a journal")
            return real(path, target)

        return replace


def in_order(steps: list[str]) -> None:
    """Bytes are on the disk before a line says so, and all are before the rename, and that before the call is over."""
    dirty = False
    for step in steps:
        if step == "pwrite data":
            dirty = True
        elif step == "fsync data":
            dirty = False
        elif step in ("write journal", "rename"):
            assert not dirty, steps
    assert steps[-2:] == ["rename", "fsync folder"]


@pytest.mark.parametrize("resume", [True, False])
async def test_fsync(target: Path, monkeypatch: pytest.MonkeyPatch, *, resume: bool) -> None:
    disk = Disk()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        disk.patch(monkeypatch)
        await get(s3, target, resume=resume, fsync=True)
    in_order(disk.steps)
    assert disk.steps.count("pwrite data") == 6
    if resume:
        assert disk.steps.count("write journal") == 6
        lines = [step for step in disk.steps if "journal" in step]
        assert lines[lines.index("write journal") :] == ["write journal", "fsync journal"] * 6
    assert whole(target)


@pytest.mark.parametrize("resume", [True, False])
async def test_no_fsync(target: Path, monkeypatch: pytest.MonkeyPatch, *, resume: bool) -> None:
    """Nobody waits for a disk who has not asked for it."""
    disk = Disk()
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        disk.patch(monkeypatch)
        await get(s3, target, resume=resume)
    assert disk.steps[-1] == "rename"
    assert not [step for step in disk.steps if "fsync" in step]


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_taken_back_is_so_on_the_disk(target: Path, monkeypatch: pytest.MonkeyPatch, *, durable: bool) -> None:
    """Before bytes of another object take the place of those that a durable journal spoke of, whoever writes them.

    Found: after a loss of power the journal of the first would have been back beside the bytes of the second.
    """
    first = opened(target, durable=True)
    first.knows('"etag"', len(BODY))
    first.sink(0)(memoryview(BODY[:10]))
    first.discard()
    disk = Disk()
    disk.patch(monkeypatch)
    second = opened(target, url=URL + "2", durable=durable)
    assert second.found() is None
    second.clear()
    second.sink(0)(memoryview(BODY[:10]))
    second.discard()
    assert disk.steps[: disk.steps.index("pwrite data")][-1:] == ["fsync journal"]


def full(real: Callable[..., int], free: list[int], descriptor: int, data: Any, *rest: Any) -> int:
    """A disk that has so many bytes left: what still fits is written."""
    fits = min(len(data), free[0])
    if not fits:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    free[0] -= fits
    return real(descriptor, data[:fits], *rest)


async def full_disk(s3: S3Client, tiny: TinyS3, target: Path, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """The error names the target, which stays; the journal tells no lies; when there is room it goes on."""
    tiny.put("b/k", BODY)
    room = [free]
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", partial(full, os.pwrite, room))
        with pytest.raises(OSError, match="No space left") as caught:
            await get(s3, target)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(target))
    assert target.read_bytes() == OLD
    if journal_of(target).exists():
        assert left(target)
        assert true(target)
    else:
        assert untouched(target)
    have = covered(target)
    assert have == free // STEP * STEP
    assert (await get(s3, target)).resumed == have
    assert whole(target)


@pytest.mark.parametrize("free", [0, 1, STEP, 2 * STEP + 500, len(BODY) - 1])
async def test_a_full_disk(target: Path, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    async with store() as (s3, tiny):
        await full_disk(s3, tiny, target, monkeypatch, free)


@pytest.mark.parametrize("free", [0, 1, 50, 150, 180, 200])
async def test_no_room_for_the_journal(target: Path, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """What is torn is not in the way of what follows, then or later."""
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        room = [free]
        write = os.write

        def lines_only(descriptor: int, data: bytes) -> int:
            if os.fstat(descriptor).st_ino != journal_of(target).stat().st_ino:
                return write(descriptor, data)  # the loop's own
            return full(write, room, descriptor, data)

        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lines_only)
            with pytest.raises(OSError, match="No space left") as caught:
                await get(s3, target)
        assert caught.value.filename == str(target)
        have = covered(target)
        assert left(target) if have else untouched(target)
        await stopped(s3, target, have + 2 * STEP)
        assert true(target)
        assert covered(target) >= have + 2 * STEP
        await get(s3, target)
        assert whole(target)


def test_a_rename_that_fails(target: Path) -> None:
    """Found: the part stayed, without its journal, of no use to anybody."""
    first = begun(target)
    target.unlink()
    target.mkdir()
    with pytest.raises((OSError, UsageError), match=str(target)):
        finish(first)
    assert first.discard() is None
    assert names(target.parent) in ([target.name], [target.name, target.name + JOURNAL, target.name + PART])


async def test_a_rename_that_is_refused(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the last moment, when the journal is gone already."""

    def refused(*_: object) -> None:
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))

    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", refused)
            with pytest.raises(PermissionError, match=str(target)):
                await get(s3, target)
        assert untouched(target)
        await get(s3, target)
        assert whole(target)


# -- Mutations ---------------------------------------------------------------------------------------------------------


async def test_mutation_a_line_before_its_bytes(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def early(sink: JournaledSink, block: memoryview) -> None:
        sink.journal.add(sink.offset, sink.offset + len(block))
        FileSink.__call__(sink, block)

    monkeypatch.setattr(JournaledSink, "__call__", early)
    async with store() as (s3, tiny):
        with pytest.raises(AssertionError):
            await full_disk(s3, tiny, target, monkeypatch, 2 * STEP)


async def test_mutation_no_lock(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    async with store() as (s3, tiny):
        with pytest.raises((AssertionError, OSError, UsageError)):  # one has renamed the other's part
            await the_second_is_refused(s3, tiny, target)


async def test_mutation_the_journal_goes_last(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, there would be a journal beside no part."""

    def late(mine: PartialTarget) -> None:
        mine._part.replace(mine.path)
        mine._lines.unlink(missing_ok=True)
        mine._close()

    monkeypatch.setattr(PartialTarget, "_replace", late)
    with pytest.raises(AssertionError, match="rename beside a journal"):
        await test_fsync(target, monkeypatch, resume=True)
