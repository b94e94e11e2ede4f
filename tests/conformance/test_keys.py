"""Every key S3 allows survives every way through handtruck, and means the same to an independent witness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from handtruck.protocol.documents import parse_error
from tests.conformance.support import PART, assert_stored, connect, content, file_with, keys_in

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

GOOD: Final = (
    *("a b+c%", "+", "%", "%2F", "a%2Fb", "a%zz", "%2e%2e", "a=b&c=d", "a?b#c", "a&b=c;d", "~", "-_.~"),
    *("!*'();:@&=$,[]", '"<>\\^`{|}#?', "C:\\x", "ü", "u\u0308", "日本/語", "😀/🎉", "a\x85b\u2028c", "\ufffe"),
    *("\x01", "\x1f\x7f", "a\tb", "a\rb", " leading", "trailing ", "a/ ", "trailing.", "...", ".hidden", "&amp;"),
    "/".join(["s" * 204] * 5),  # 1024 bytes
)
FAULTY: Final = {
    "a\nb": "newline-key-404",
    "a\r\nb": "newline-key-404",
    "//x": "refuses-double-slash",
    "a//b": "refuses-double-slash",
    "/leading": "refuses-leading-slash",
    ".": "refuses-dot-segments",
    "..": "refuses-dot-segments",
    "./a": "refuses-dot-segments",
    "a/../b": "refuses-dot-segments",
    "../../etc/passwd": "refuses-dot-segments",
    "a/./b": "refuses-dot-segments",
    "a/.": "refuses-dot-segments",
    "a/..": "refuses-dot-segments",
}


async def survive(s3: S3Client, bucket: str, witness: Witness, keys: list[str]) -> None:
    """What handtruck writes the witness reads, and the other way round; both list it, either deletes it."""
    for key in keys:
        assert (await s3.put(f"{bucket}/{key}", f"our {key}")).status_code == 200, key
    assert await keys_in(s3, bucket) == witness.keys(bucket) == sorted(keys)
    for number, key in enumerate(keys):
        assert witness.get(bucket, key).decode() == f"our {key}"
        witness.put(bucket, key, f"their {key}".encode())
        got = await s3.get(f"{bucket}/{key}")
        assert (got.status_code, got.content.decode()) == (200, f"their {key}")
        assert (await keys_in(s3, bucket, prefix=key))[:1] == [key]
        if number % 2:
            witness.delete(bucket, key)
        else:
            assert (await s3.delete(f"{bucket}/{key}")).status_code == 204, key
    for key in keys:
        assert (await s3.head(f"{bucket}/{key}")).status_code == 404, key
    assert witness.keys(bucket) == []


async def test_keys_survive(s3: S3Client, bucket: str, witness: Witness) -> None:
    await survive(s3, bucket, witness, list(GOOD))


async def test_keys_that_some_refuse(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    refused = [key for key, fault in FAULTY.items() if server.faults.get(fault)]
    for key in refused:
        assert (await s3.put(f"{bucket}/{key}", b"x")).status_code in (400, 404), key
    assert witness.keys(bucket) == []
    await survive(s3, bucket, witness, [key for key in FAULTY if key not in refused])


async def test_a_key_that_ends_in_a_slash(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    if server.faults.get("trailing-slash-lists-dir"):
        assert (await s3.put(f"{bucket}/dir/", b"x")).status_code == 200
        assert await keys_in(s3, bucket) == witness.keys(bucket) == ["dir"]
    else:
        await survive(s3, bucket, witness, ["dir/"])


async def test_the_longest_key(bucket: str, witness: Witness, server: Server) -> None:
    longest = "ü" * 512
    async with connect(server, max_attempts=1) as s3:
        if server.faults.get("key-1024-one-segment-500"):
            assert (await s3.put(f"{bucket}/{longest}", b"")).status_code == 500
            return
        await survive(s3, bucket, witness, [longest])
        too_long = await s3.put(f"{bucket}/{longest}x", b"")
    if instead := server.faults.get("key-1025-accepted"):
        assert instead.startswith(str(too_long.status_code))
    else:
        said = parse_error(too_long.content)
        assert (too_long.status_code, said and said.code) == (400, "KeyTooLongError")


async def test_file_and_folder_coexist(bucket: str, witness: Witness, server: Server) -> None:
    async with connect(server, max_attempts=1) as s3:
        assert (await s3.put(f"{bucket}/x", b"file")).status_code == 200
        answer = await s3.put(f"{bucket}/x/y", b"in it")
        if server.faults.get("file-and-folder-coexist"):
            assert answer.status_code == 500
        else:
            assert answer.status_code == 200
            assert await keys_in(s3, bucket) == witness.keys(bucket) == ["x", "x/y"]
    assert witness.get(bucket, "x") == b"file"


@pytest.mark.parametrize("key", ["a/../b//c", "ü +%2F?&=#", "\x01\r ", "/\n"])
async def test_keys_of_large_objects(
    key: str, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """The same through multipart uploads and parallel downloads."""
    data = content(PART + 1)
    source = file_with(tmp_path / "source", data)
    faults = {"/": "refuses-leading-slash", "a": "refuses-dot-segments"}
    fault = faults.get(key[0])
    if (fault and server.faults.get(fault)) or ("\n" in key and server.faults.get("newline-key-404")):
        witness.put(bucket, "stand-in", data)
        assert await keys_in(s3, bucket) == ["stand-in"]
        return
    result = await s3.put_file_multipart(f"{bucket}/{key}", source, part_size=PART, workers_count=2)
    assert result.parts == 2
    assert_stored(server, witness, bucket, key, data)
    assert await keys_in(s3, bucket) == [key]
    target = tmp_path / "target"
    await s3.get_file_parallel(f"{bucket}/{key}", target, range_step=PART, workers_count=2)
    assert target.read_bytes() == data
