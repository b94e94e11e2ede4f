"""What handtruck writes botocore reads, and the other way round."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.conformance.support import PART, SEVERAL, content, etag_of

if TYPE_CHECKING:
    from pathlib import Path

    from handtruck import S3Client
    from tests.servers.admin import Witness

pytestmark = pytest.mark.anyio


async def test_botocore_reads_ours(s3: S3Client, bucket: str, witness: Witness) -> None:
    data = content(SEVERAL)
    headers = {"Content-Type": "text/x; charset=utf-8", "x-amz-meta-who": "handtruck", "Cache-Control": "no-store"}
    result = await s3.put_multipart(f"{bucket}/a folder/ü", data, part_size=PART, workers_count=3, headers=headers)
    assert result.etag == f'"{etag_of(data)}"'
    assert witness.get(bucket, "a folder/ü") == data
    assert witness.get(bucket, "a folder/ü", Range=f"bytes={PART - 1}-{PART}") == data[PART - 1 : PART + 1]
    head = witness.head(bucket, "a folder/ü")
    assert head["ContentLength"] == SEVERAL
    assert (head["ContentType"], head["CacheControl"]) == ("text/x; charset=utf-8", "no-store")
    assert {name.lower(): value for name, value in head["Metadata"].items()}["who"] == "handtruck"


async def test_we_read_botocores(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    """An upload in parts of unequal size, with metadata."""
    data, key = content(2 * PART + 1008), "a folder/ü"
    upload_id = witness.create_upload(bucket, key, ContentType="text/x", Metadata={"who": "botocore"})
    cuts = (0, PART + 1000, 2 * PART + 1007, 2 * PART + 1008)
    parts = [
        {"PartNumber": number, "ETag": witness.put_part(bucket, key, upload_id, number, data[start:stop])}
        for number, (start, stop) in enumerate(pairwise(cuts), 1)
    ]
    assert [size for _, size, _ in witness.parts(bucket, key, upload_id)] == [PART + 1000, PART + 7, 1]
    witness.client.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}
    )
    target = tmp_path / "target"
    result = await s3.get_file_parallel(f"{bucket}/{key}", target, range_step=1_000_003, workers_count=4)
    assert (target.read_bytes() == data, result.size) == (True, len(data))
    head = await s3.head(f"{bucket}/{key}")
    assert (head.headers["content-type"], head.headers["x-amz-meta-who"]) == ("text/x", "botocore")
    (page,) = [page async for page in s3.list_objects_v2(bucket)]
    assert [(item.key, item.size) for item in page] == [(key, len(data))]
