"""get_file_parallel: every byte of one version of the object, in a file that appears in one step."""

from __future__ import annotations

import gzip
import stat
from typing import TYPE_CHECKING, Final

import pytest

from handtruck.errors import NotFound, PreconditionFailed, UsageError
from handtruck.protocol import operations
from handtruck.protocol.checksums import bare_etag
from handtruck.transfer import fetch as fetching
from tests.conformance.support import assert_progress, content, etag_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from handtruck import Progress, S3Client
    from handtruck.protocol.address import Location, Query
    from handtruck.protocol.answers import Answer
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

STEP: Final = 64 * 1024
SIZES: Final = (0, 1, STEP - 1, STEP, STEP + 1, 20 * STEP + 17)
ODD_BLOCK: Final = 10_007


async def fetch(s3: S3Client, bucket: str, target: Path, **arguments: int) -> list[Progress]:
    """Fetch ``key`` in small ranges and odd blocks."""
    told: list[Progress] = []
    await s3.get_file_parallel(
        f"{bucket}/key",
        target,
        **{"range_step": STEP, "buffer_size": ODD_BLOCK, "workers_count": 4, **arguments},  # type: ignore[arg-type]
        progress=told.append,
    )
    return told


async def test_every_size(either: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    for size in SIZES:
        data = content(size)
        told: list[Progress] = []
        witness.put(bucket, "key", data)
        target = tmp_path / f"of {size}"
        result = await either.get_file_parallel(
            f"{bucket}/key", target, range_step=STEP, buffer_size=ODD_BLOCK, workers_count=4, progress=told.append
        )
        assert (result.path, result.size) == (target, size)
        assert (bare_etag(result.etag) if result.etag else "") == (etag_of(data) if size else "")  # a 416 tells none
        assert target.read_bytes() == data
        assert_progress(told, size)
        assert all(progress.total == size for progress in told)
    assert len(list(tmp_path.iterdir())) == len(SIZES)


async def test_workers_and_blocks(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    data = content(3 * STEP + 1)
    witness.put(bucket, "key", data)
    for arguments in (
        {"workers_count": 1},
        {"workers_count": 16},
        {"buffer_size": 1 << 20},
        {"range_step": 8 << 20},
        {"range_step": 50_001, "buffer_size": 50_001},
    ):
        assert_progress(await fetch(s3, bucket, tmp_path / "target", **arguments), len(data))
        assert (tmp_path / "target").read_bytes() == data


async def test_targets(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    """A file is replaced in one step and keeps its mode; a link is followed; a new one obeys the umask."""
    data = content(2 * STEP)
    witness.put(bucket, "key", data)
    folder, elsewhere = tmp_path / "folder", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()

    fresh = folder / "fresh"
    await fetch(s3, bucket, fresh)
    example = folder / "example"
    example.touch()
    assert stat.S_IMODE(fresh.stat().st_mode) == stat.S_IMODE(example.stat().st_mode)

    old = folder / "old"
    old.write_bytes(b"longer than the object" * 10_000)
    old.chmod(0o640)
    before = old.stat().st_ino
    await fetch(s3, bucket, old)
    assert (old.read_bytes(), stat.S_IMODE(old.stat().st_mode)) == (data, 0o640)
    assert old.stat().st_ino != before

    real, link = elsewhere / "real", folder / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)
    result = await s3.get_file_parallel(f"{bucket}/key", link)
    assert (result.path, link.is_symlink(), real.read_bytes()) == (real, True, data)
    assert sorted(path.name for path in folder.iterdir()) == ["example", "fresh", "link", "old"]
    assert [path.name for path in elsewhere.iterdir()] == ["real"]


async def test_targets_that_cannot_be_written(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    witness.put(bucket, "key")
    with pytest.raises(FileNotFoundError, match="no-such-folder"):
        await s3.get_file_parallel(f"{bucket}/key", tmp_path / "no-such-folder" / "file")
    with pytest.raises(UsageError, match="not a regular file"):
        await s3.get_file_parallel(f"{bucket}/key", tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_encoded_content_stays_encoded(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    squeezed = gzip.compress(content(2 * STEP))
    witness.put(bucket, "key", squeezed, ContentEncoding="gzip")
    await fetch(s3, bucket, tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == squeezed


async def test_conditions_of_the_caller(
    s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    data = content(2 * STEP)
    etag = witness.put(bucket, "key", data)
    target = tmp_path / "target"
    await s3.get_file_parallel(f"{bucket}/key", target, headers={"If-Match": f'"{etag}"'}, range_step=STEP)
    assert target.read_bytes() == data
    target.unlink()
    wrong = {"If-Match": f'"{"0" * 32}"'}
    if server.faults.get("get-if-match-ignored"):
        await s3.get_file_parallel(f"{bucket}/key", target, headers=wrong, range_step=STEP)
        assert target.read_bytes() == data
    else:
        with pytest.raises(PreconditionFailed):
            await s3.get_file_parallel(f"{bucket}/key", target, headers=wrong, range_step=STEP)
        assert not target.exists()


async def test_a_missing_object_leaves_the_target(s3: S3Client, bucket: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    with pytest.raises(NotFound):
        await fetch(s3, bucket, target)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("target", b"precious")]


async def one_version_only(s3: S3Client, bucket: str, witness: Witness, folder: Path) -> None:
    """The object is replaced between two ranges by another of the same size: the download fails, leaving nothing."""
    first = content(4 * STEP)
    witness.put(bucket, "key", first)
    target = folder / "target"
    target.write_bytes(b"precious")

    def replace(progress: Progress) -> None:
        if progress.done == STEP:
            witness.put(bucket, "key", first[::-1])

    with pytest.raises(PreconditionFailed, match="replaced while it was downloaded") as caught:
        await s3.get_file_parallel(f"{bucket}/key", target, range_step=STEP, workers_count=1, progress=replace)
    assert (caught.value.status, caught.value.bucket, caught.value.key) == (412, bucket, "key")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("target", b"precious")]


async def test_one_version_only(either: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    await one_version_only(either, bucket, witness, tmp_path)


@pytest.fixture
def without_if_match(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A mutation: no range asks for the version that the first one found."""
    right = operations.get_object

    def bare(location: Location, headers: operations.Headers, query: Query) -> operations.Operation[Answer]:
        return right(location, tuple(pair for pair in headers if pair[0] != "If-Match"), query)

    return lambda: monkeypatch.setattr(operations, "get_object", bare)


@pytest.fixture
def without_comparison(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A mutation: no answer's ETag is looked at."""
    return lambda: monkeypatch.setattr(fetching, "same_etag", lambda *_: True)


async def test_either_guard_is_enough(
    s3: S3Client,
    bucket: str,
    witness: Witness,
    server: Server,
    tmp_path: Path,
    without_if_match: Callable[[], None],
) -> None:
    """Servers that ignore If-Match are caught by the ETag of their answer."""
    without_if_match()
    await one_version_only(s3, bucket, witness, tmp_path)


async def test_the_guards_are_what_guards(
    s3: S3Client,
    bucket: str,
    witness: Witness,
    server: Server,
    tmp_path: Path,
    without_if_match: Callable[[], None],
    without_comparison: Callable[[], None],
) -> None:
    """Without If-Match and comparison the promise is broken, and its test sees that."""
    without_comparison()
    if server.faults.get("get-if-match-ignored"):
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            await one_version_only(s3, bucket, witness, tmp_path)
    else:
        await one_version_only(s3, bucket, witness, tmp_path)
        without_if_match()
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            await one_version_only(s3, bucket, witness, tmp_path)
    mixed = content(4 * STEP)[:STEP] + content(4 * STEP)[::-1][STEP:]
    assert (tmp_path / "target").read_bytes() == mixed
