"""``checksum=`` and ``verify=``: all algorithms, single and in parts; what servers make of them and botocore reads.

None of these servers verifies a checksum; one that does: :mod:`tests.scripted.sums`.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import awscrt.checksums
import pytest

from handtruck.models import Checksum
from handtruck.protocol.checksums import written
from handtruck.protocol.crc import ALGORITHMS, combines
from tests.conformance.support import PART, assert_stored, content, file_with

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from handtruck import Progress, S3Client
    from handtruck.models import ChecksumAlgorithm
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

SHORT: Final = content(100)
LONG: Final = content(PART + 3)
"""Two parts."""


def digest(algorithm: str, data: bytes) -> bytes:
    match algorithm:
        case "CRC32":
            return zlib.crc32(data).to_bytes(4, "big")
        case "CRC32C":
            return int(awscrt.checksums.crc32c(data)).to_bytes(4, "big")
        case "CRC64NVME":
            return int(awscrt.checksums.crc64nvme(data)).to_bytes(8, "big")
    return hashlib.new(algorithm.lower(), data, usedforsecurity=False).digest()


def value_of(algorithm: str, data: bytes) -> str:
    return b64encode(digest(algorithm, data)).decode()


def composite_of(algorithm: str, data: bytes) -> str:
    parts = [data[start : start + PART] for start in range(0, len(data), PART)]
    return f"{value_of(algorithm, b''.join(digest(algorithm, part) for part in parts))}-{len(parts)}"


def kept(witness: Witness, bucket: str, key: str) -> Mapping[str, Any]:
    """What botocore reads of an object's checksums."""
    told = witness.head(bucket, key, ChecksumMode="ENABLED")
    return {name: value for name, value in told.items() if name.startswith("Checksum")}


async def test_one_put(s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    """Sent by object and by HTTP level; read by botocore, and compared when it is fetched."""
    lost = server.faults.get("checksums-not-kept")
    for algorithm in ALGORITHMS:
        result = await s3.upload(f"{bucket}/{algorithm}", SHORT, checksum=algorithm)
        value = value_of(algorithm, SHORT)
        assert result.checksum == Checksum(algorithm=algorithm, value=value)
        assert_stored(server, witness, bucket, algorithm, SHORT)
        assert kept(witness, bucket, algorithm).get(f"Checksum{algorithm}") == (None if lost else value)
        fetched = await s3.download(f"{bucket}/{algorithm}", tmp_path / "target", verify=True)
        assert fetched.checksum == (None if lost else result.checksum)
        assert (tmp_path / "target").read_bytes() == SHORT
    path = file_with(tmp_path / "source", SHORT)
    answers = (
        await s3.put(f"{bucket}/bytes", SHORT, checksum="SHA1"),
        await s3.put(f"{bucket}/stream", iter([SHORT]), checksum="SHA1"),
        await s3.put_file(f"{bucket}/file", path, checksum="SHA1"),
    )
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    for key in ("bytes", "stream", "file"):
        assert kept(witness, bucket, key).get("ChecksumSHA1") == (None if lost else value_of("SHA1", SHORT))


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA256"])
async def test_in_parts(
    algorithm: ChecksumAlgorithm, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """CRCs are of the whole object, hashes of the parts' hashes; only the one can be compared with its bytes."""
    result = await s3.upload(f"{bucket}/key", LONG, part_size=PART, checksum=algorithm)
    assert_stored(server, witness, bucket, "key", LONG)
    assert result.checksum is not None
    assert written(result.checksum) == (value_of if combines(algorithm) else composite_of)(algorithm, LONG)
    value = None if server.faults.get("multipart-checksums-not-kept") else written(result.checksum)
    if value and server.faults.get("composite-without-number"):
        value = value.partition("-")[0]
    assert kept(witness, bucket, "key").get(f"Checksum{algorithm}") == value
    fetched = await s3.download(f"{bucket}/key", tmp_path / "target", part_size=PART, verify=True)
    assert fetched.checksum == (result.checksum if value and combines(algorithm) else None)
    assert (tmp_path / "target").read_bytes() == LONG


async def test_crc32c_in_parts(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    result = await s3.upload(f"{bucket}/key", LONG, part_size=PART, checksum="CRC32C")
    assert_stored(server, witness, bucket, "key", LONG)
    assert result.checksum is not None
    assert result.checksum.value == value_of("CRC32C", LONG)
    if not server.faults.get("multipart-checksums-not-kept"):
        really = "CRC32" if server.faults.get("crc32c-is-crc32") else "CRC32C"
        assert kept(witness, bucket, "key")["ChecksumCRC32C"] == value_of(really, LONG)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_attributes(s3: S3Client, bucket: str, witness: Witness) -> None:
    """GetObjectAttributes tells them, too; what the other servers answer to it is a matter of its own."""
    await s3.upload(f"{bucket}/key", LONG, part_size=PART, checksum="CRC64NVME")
    told = witness.client.get_object_attributes(Bucket=bucket, Key="key", ObjectAttributes=["Checksum"])["Checksum"]
    assert told == {"ChecksumCRC64NVME": value_of("CRC64NVME", LONG), "ChecksumType": "FULL_OBJECT"}


async def test_what_botocore_wrote(s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    for algorithm in ALGORITHMS:
        # botocore computes the other two in C only, which tests/__init__.py has turned off; it sends what it is given.
        given = {f"Checksum{algorithm}": value_of(algorithm, SHORT)} if algorithm in ("CRC32C", "CRC64NVME") else {}
        witness.put(bucket, "key", SHORT, ChecksumAlgorithm=algorithm, **given)
        fetched = await s3.download(f"{bucket}/key", tmp_path / "target", verify=True)
        if server.faults.get("checksums-not-kept"):
            assert fetched.checksum is None
        else:
            assert fetched.checksum is not None
            assert (fetched.checksum.algorithm, fetched.checksum.value) == (algorithm, value_of(algorithm, SHORT))
        assert (tmp_path / "target").read_bytes() == SHORT


async def test_an_upload_that_goes_on(
    s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    source = file_with(tmp_path / "source", LONG)

    def stop(_: Progress) -> None:
        raise KeyError

    given: dict[str, Any] = {"part_size": PART, "workers_count": 1, "resume": True, "checksum": "CRC32"}
    with pytest.raises(KeyError):
        await s3.upload(f"{bucket}/key", source, progress=stop, **given)
    result = await s3.upload(f"{bucket}/key", source, **given)
    assert result.resumed == PART
    assert result.checksum is not None
    assert result.checksum.value == value_of("CRC32", LONG)
    assert_stored(server, witness, bucket, "key", LONG)


async def test_none_unless_asked(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    await s3.put(f"{bucket}/one", SHORT)
    assert (await s3.upload(f"{bucket}/two", LONG, part_size=PART)).checksum is None
    assert [kept(witness, bucket, key) for key in ("one", "two")] == [{}, {}]
    fetched = await s3.download(f"{bucket}/two", tmp_path / "target", part_size=PART, verify=True)
    assert (fetched.checksum, fetched.size) == (None, len(LONG))
