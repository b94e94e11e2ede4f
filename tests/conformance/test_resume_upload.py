"""Uploads that go on where an earlier call stopped, on each server: what it lists of an upload decides."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.errors import S3Error
from handtruck.protocol.checksums import bare_etag
from handtruck.transfer import resume
from handtruck.transfer.records import Record, hash_headers, read_record, record_name, write_record
from tests.conformance.support import PART, SEVERAL, assert_progress, assert_stored, content, etag_of, file_with

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import Progress, S3Client, UploadResult
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

DATA: Final = content(SEVERAL)
LAST: Final = SEVERAL - 2 * PART


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return file_with(tmp_path / "source", DATA)


async def put(s3: S3Client, bucket: str, source: Path, **arguments: Any) -> UploadResult:
    return await s3.upload(
        f"{bucket}/key", source, **{"part_size": PART, "workers_count": 1, "resume": True, **arguments}
    )


def left(source: Path) -> list[str]:
    return [path.name for path in source.parent.iterdir() if path != source]


async def cancelled(s3: S3Client, bucket: str, source: Path, witness: Witness, *, parts: int = 1) -> str:
    """An upload that was cancelled when some of its parts were there; gives its id."""
    with anyio.CancelScope() as scope:
        told: list[Progress] = []

        def progress(now: Progress) -> None:
            told.append(now)
            if len(told) == parts:
                scope.cancel()

        await put(s3, bucket, source, progress=progress)
    assert scope.cancelled_caught
    [(key, upload_id)] = witness.uploads(bucket)
    assert (key, len(left(source))) == ("key", 1)
    assert [size for _, size, _ in witness.parts(bucket, "key", upload_id)][:parts] == [PART] * parts
    return upload_id


async def finishes(
    s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness, *, resumed: int
) -> UploadResult:
    """The next call does what is left, and tidies up."""
    told: list[Progress] = []
    result = await put(s3, bucket, source, progress=told.append)
    assert result.resumed == resumed
    assert_progress(told, source.stat().st_size)
    assert told[0].done >= resumed
    assert_stored(server, witness, bucket, "key", source.read_bytes())
    assert witness.uploads(bucket) == []
    assert left(source) == []
    return result


async def test_only_what_is_missing_is_sent(
    either: S3Client, bucket: str, source: Path, server: Server, witness: Witness
) -> None:
    await cancelled(either, bucket, source, witness)
    result = await finishes(either, bucket, source, server, witness, resumed=PART)
    assert (result.size, result.parts) == (SEVERAL, 3)
    assert bare_etag(result.etag or "") == etag_of(DATA)


async def test_nothing_is_missing(s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness) -> None:
    """The tiny last part was there, too."""
    upload_id = await cancelled(s3, bucket, source, witness, parts=2)
    witness.put_part(bucket, "key", upload_id, 3, DATA[2 * PART :])
    await finishes(s3, bucket, source, server, witness, resumed=SEVERAL)


async def test_a_part_of_another_length(
    s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness
) -> None:
    """It is sent again; where parts cannot be replaced that is the end of the upload, and the next call begins anew."""
    upload_id = await cancelled(s3, bucket, source, witness)
    witness.put_part(bucket, "key", upload_id, 2, b"too short")
    await check_sent_again(s3, bucket, source, server, witness)


async def test_a_damaged_part(s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness) -> None:
    """The same of a part that has the right length, and other bytes."""
    await check_damaged(s3, bucket, source, server, witness)


async def check_damaged(s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness) -> None:
    upload_id = await cancelled(s3, bucket, source, witness)
    witness.put_part(bucket, "key", upload_id, 2, DATA[1 : PART + 1])
    await check_sent_again(s3, bucket, source, server, witness)


async def check_sent_again(s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness) -> None:
    if server.faults.get("parts-cannot-be-replaced"):
        with pytest.raises(S3Error, match="NotImplemented"):
            await put(s3, bucket, source)
        assert (witness.uploads(bucket), left(source)) == ([], [])
        await finishes(s3, bucket, source, server, witness, resumed=0)
    else:
        await finishes(s3, bucket, source, server, witness, resumed=PART)


async def _believe(job: resume.FileUpload, listed: dict[int, Any]) -> None:
    job.multipart.etags.update({number: part.etag for number, part in listed.items()})


async def test_mutation_what_is_there_is_believed(
    s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the comparison the damage gets into the object, and its test sees that."""
    with monkeypatch.context() as patch:
        patch.setattr(resume.FileUpload, "_compare", _believe)
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            await check_damaged(s3, bucket, source, server, witness)
    assert witness.get(bucket, "key") != DATA


async def test_a_file_that_has_changed(
    s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness
) -> None:
    """What was sent of the old one is aborted."""
    await cancelled(s3, bucket, source, witness)
    source.write_bytes(DATA[::-1] + b"more")
    await finishes(s3, bucket, source, server, witness, resumed=0)


async def test_somebody_has_aborted_it(
    s3: S3Client,
    bucket: str,
    source: Path,
    server: Server,
    witness: Witness,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each server has its own way to say so."""
    upload_id = await cancelled(s3, bucket, source, witness)
    witness.abort(bucket, "key", upload_id)
    with caplog.at_level(logging.WARNING):
        await finishes(s3, bucket, source, server, witness, resumed=0)
    assert [one for one in caplog.messages if f"upload {upload_id} is gone" in one]


async def test_it_was_completed_and_nobody_heard(
    s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness
) -> None:
    """The object's ETag proves it, where it is that of the parts."""
    upload_id = await cancelled(s3, bucket, source, witness, parts=2)
    witness.put_part(bucket, "key", upload_id, 3, DATA[2 * PART :])
    etags = [etag for _, _, etag in witness.parts(bucket, "key", upload_id)]
    witness.client.complete_multipart_upload(
        Bucket=bucket,
        Key="key",
        UploadId=upload_id,
        MultipartUpload={"Parts": [{"PartNumber": n, "ETag": f'"{etag}"'} for n, etag in enumerate(etags, 1)]},
    )
    [record] = source.parent.glob("*.handtruck-upload")
    said = read_record(record.read_bytes())
    assert said is not None
    record.write_bytes(write_record(replace(said, completing=1)))
    modified = witness.head(bucket, "key")["LastModified"]
    known = not server.faults.get("head-etag-is-plain-md5")
    await finishes(s3, bucket, source, server, witness, resumed=SEVERAL if known else 0)
    if known:
        assert witness.head(bucket, "key")["LastModified"] == modified


@pytest.mark.parametrize("fits", [True, False])
async def test_an_upload_that_never_was(
    fits: bool, s3: S3Client, bucket: str, source: Path, server: Server, witness: Witness
) -> None:
    """Whether it is gone on with or aborted: it is gone."""
    url = f"{server.url}/{bucket}/key"
    record = Record(
        url=url,
        upload_id="2~never-was",
        size=SEVERAL,
        mtime_ns=source.stat().st_mtime_ns if fits else 1,
        part_size=PART,
        headers=hash_headers((("Content-Type", "application/octet-stream"),)),
    )
    source.with_name(record_name(source.name, url)).write_bytes(write_record(record))
    await finishes(s3, bucket, source, server, witness, resumed=0)
