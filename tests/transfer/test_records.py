"""The record of an upload: what it says is true or it says nothing, and one call has it at a time."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.errors import UsageError
from handtruck.transfer import locks, records
from handtruck.transfer.records import (
    ENDING,
    Record,
    RecordFile,
    hash_headers,
    open_record,
    read_record,
    record_name,
    write_record,
)
from tests.transfer.cancelling import open_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

URL: Final = "https://s3.test:9000/bucket/a%20key"
RECORD: Final = Record(
    url=URL, upload_id="2~id/+=", size=11_044, mtime_ns=1_700_000_000_123_456_789, part_size=4096, headers="0" * 64
)
SECRET: Final = "bm90IHRvIGJlIHNlZW4gYnkgYW55Ym9keSBlbHNlISE="


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def opened(source: Path, url: str = URL) -> RecordFile:
    file = open_record(source, url, create=True)
    assert file is not None
    return file


def written(source: Path, record: Record = RECORD) -> Path:
    """A record as an earlier call leaves it."""
    file = opened(source, record.url)
    file.write(record)
    file.close()
    return file.path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(b"the source")
    return path


# -- What it says ------------------------------------------------------------------------------------------------------


@given(
    st.builds(
        Record,
        url=st.text(),
        upload_id=st.text(min_size=1),
        size=st.integers(4097, 4096 * 10_000),
        mtime_ns=st.integers(-(2**63), 2**63),
        part_size=st.just(4096),
        headers=st.text(),
    )
)
def test_what_is_written_is_read(record: Record) -> None:
    assert read_record(write_record(record)) == record


def test_torn_at_every_byte() -> None:
    data = write_record(RECORD)
    assert [length for length in range(len(data)) if read_record(data[:length]) is not None] == []
    assert [length for length in range(len(data)) if read_record(data[:length] + bytes(len(data) - length))] == []


def check_a_bit_that_flips() -> None:
    data = write_record(RECORD)
    for position in range(len(data)):
        for bit in range(8):
            torn = bytearray(data)
            torn[position] ^= 1 << bit
            assert read_record(bytes(torn)) in (None, RECORD), f"bit {bit} of byte {position}"


def test_a_bit_that_flips() -> None:
    """It says the same (in a blank between two names) or nothing."""
    check_a_bit_that_flips()


def test_mutation_without_a_checksum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_checksum", lambda _: "none")
    with pytest.raises(AssertionError, match="bit"):
        check_a_bit_that_flips()


@given(st.binary(max_size=200))
def test_any_bytes_at_all(data: bytes) -> None:
    assert read_record(data) is None


def document(**said: Any) -> bytes:
    upload = {**asdict(RECORD), **said.pop("upload", {})}
    upload = {name: value for name, value in upload.items() if value is not None}
    return json.dumps(
        {"format": "handtruck-upload-1", "upload": upload, "checksum": records._checksum(upload), **said}
    ).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"null",
        b"[]",
        b"{}",
        b"[" * 60_000,
        b'{"format":' + b"9" * 5000 + b"}",
        document(format="handtruck-upload-2"),
        document(format="handtruck-download-1"),
        document(checksum="0" * 64),
        document(checksum=None),
        document(upload={"later": 1}),
        document(upload={"size": None}),
        document(upload={"size": "11044"}),
        document(upload={"size": True}),
        document(upload={"size": 11044.0}),
        document(upload={"upload_id": ""}),
        document(upload={"upload_id": 7}),
        document(upload={"part_size": 0}),
        document(upload={"part_size": -4096}),
        document(upload={"part_size": 11_044}),  # one part: no upload of ours
        document(upload={"part_size": 1}),  # 11 044 parts: S3 takes 10 000
    ],
    ids=lambda data: data[:200].decode(),
)
def test_what_it_cannot_be(data: bytes) -> None:
    """Another version's, another program's, nonsense with the right checksum."""
    assert read_record(document()) == RECORD
    assert read_record(data) is None


def test_headers_by_their_hash() -> None:
    """However they are written, and not to be seen."""
    headers = (("Content-Type", "text/plain"), ("x-amz-server-side-encryption-customer-key", SECRET))
    assert hash_headers(headers) == hash_headers(tuple((name.upper(), value) for name, value in reversed(headers)))
    assert hash_headers(headers) != hash_headers((("Content-Type", "text/html"), headers[1]))
    assert hash_headers(headers) != hash_headers(headers[:1])
    assert SECRET.encode() not in write_record(replace(RECORD, headers=hash_headers(headers)))


# -- What it is called -------------------------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=255))
def test_its_name_is_never_too_long(name: str) -> None:
    called = record_name(name, URL)
    assert len(os.fsencode(called)) + len(".new") <= 255
    assert called.endswith(ENDING)
    if len(os.fsencode(name)) < 200:
        assert called.startswith(f"{name}.")


def test_its_name_tells_sources_and_destinations_apart() -> None:
    long = "x" * 250
    called = {record_name(name, url) for name in ("a", "b", f"{long}1", f"{long}2") for url in (URL, f"{URL}2")}
    assert len(called) == 8


# -- The file ----------------------------------------------------------------------------------------------------------


def test_written_read_and_removed(source: Path) -> None:
    file = opened(source)
    assert (file.holds, file.torn) == (None, False)
    file.write(RECORD)
    file.close()
    assert names(source.parent) == [source.name, record_name(source.name, URL)]
    assert file.path.stat().st_mode & 0o777 == 0o600

    again = opened(source)
    assert again.holds == RECORD
    again.write(replace(RECORD, upload_id="another"))
    again.close()
    last = open_record(source, URL, create=False)
    assert last is not None
    assert last.holds == replace(RECORD, upload_id="another")
    last.clear()
    assert last.holds is None
    last.close()
    assert names(source.parent) == [source.name]


def test_none_is_made_where_none_is_needed(source: Path) -> None:
    assert open_record(source, URL, create=False) is None
    assert names(source.parent) == [source.name]


def test_one_that_was_never_written_is_removed(source: Path) -> None:
    opened(source).close()
    assert names(source.parent) == [source.name]


def test_one_that_nobody_understands_is_kept_until_another_takes_its_place(source: Path) -> None:
    path = source.with_name(record_name(source.name, URL))
    path.write_bytes(b"what?")
    file = opened(source)
    assert (file.holds, file.torn) == (None, True)
    file.close()
    assert path.read_bytes() == b"what?"


def check_one_at_a_time(source: Path) -> None:
    first = opened(source)
    try:
        for _ in range(2):  # before and after the file was replaced
            with pytest.raises(UsageError, match="another upload is sending it"):
                open_record(source, URL, create=True)
            first.write(RECORD)
        opened(source, f"{URL}2").close()  # to another place: why not
    finally:
        first.close()
    opened(source).close()


def test_one_at_a_time(source: Path) -> None:
    check_one_at_a_time(source)


def test_mutation_not_locked(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "try_lock", lambda _: True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check_one_at_a_time(source)


def test_the_lock_goes_with_the_process(source: Path) -> None:
    """However it ends."""
    code = (
        "import sys, pathlib, os, handtruck.transfer.records as r\n"
        "file = r.open_record(pathlib.Path(sys.argv[1]), sys.argv[2], create=True)\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, source, URL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        with pytest.raises(UsageError, match="another upload is sending it"):
            open_record(source, URL, create=True)
        process.kill()
        process.wait()
    opened(source).close()


def test_the_lock_does_not_stay_with_a_fork(source: Path) -> None:
    """A child of ours has our descriptors, as long as it lives."""
    file = opened(source)
    file.write(RECORD)
    twin = os.dup(file.descriptor)
    file.close()
    opened(source).close()
    os.close(twin)


def other_takes_its_place(path: Path) -> None:
    path.with_name(f"{path.name}.other").replace(path)


@pytest.mark.parametrize("change", [os.unlink, other_takes_its_place], ids=["gone", "other"])
def test_whoever_had_it_has_changed_it(
    change: Callable[[Path], object], source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our open and our lock: the lock would be one of a file that has this name no more."""
    path = written(source)
    path.with_name(f"{path.name}.other").write_bytes(write_record(replace(RECORD, upload_id="another")))
    real = locks.try_lock
    changed: list[bool] = []

    def lock(descriptor: int) -> bool:
        if not changed:
            change(path)
            changed.append(True)
        return real(descriptor)

    monkeypatch.setattr(records, "try_lock", lock)
    file = opened(source)
    assert file.holds == (replace(RECORD, upload_id="another") if change is not os.unlink else None)
    assert os.path.samestat(os.fstat(file.descriptor), path.stat())
    file.close()


def test_a_full_disk_leaves_the_old_one(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(source)
    before, descriptors = path.read_bytes(), open_descriptors()
    file = opened(source)

    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(OSError, match="No space") as caught:
            file.write(replace(RECORD, upload_id="another"))
    assert caught.value.filename == str(path)
    assert file.holds == RECORD
    file.close()
    assert path.read_bytes() == before
    assert names(source.parent) == [source.name, path.name]
    assert open_descriptors() == descriptors


def test_what_a_killed_process_left_is_no_hindrance(source: Path) -> None:
    path = written(source)
    path.with_name(f"{path.name}.new").write_bytes(b"half")
    written(source, replace(RECORD, upload_id="another"))
    assert names(source.parent) == [source.name, path.name]


def test_names_that_are_taken(source: Path) -> None:
    """A link is not followed, a pipe not waited for."""
    path = source.with_name(record_name(source.name, URL))
    path.symlink_to(source)
    with pytest.raises(OSError, match="symbolic link") as caught:
        open_record(source, URL, create=True)
    assert caught.value.filename == str(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        open_record(source, URL, create=True)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(UsageError, match="not a regular file"):
        open_record(source, URL, create=True)
    assert source.read_bytes() == b"the source"
