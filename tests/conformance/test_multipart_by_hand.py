"""Multipart uploads step by step, on the HTTP level: what our own retries and clean-up meet on each server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from handtruck.protocol.checksums import bare_etag
from handtruck.protocol.documents import parse_completed_etag, parse_error, parse_upload_id, write_completion
from tests.conformance.support import PART, connect, content, etag_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def once(server: Server, anyio_backend: object) -> AsyncIterator[S3Client]:
    """A client that sends nothing twice."""
    async with connect(server, max_attempts=1) as client:
        yield client


async def begin(s3: S3Client, name: str) -> str:
    return parse_upload_id((await s3.post(name, params={"uploads": None})).content)


async def send(s3: S3Client, name: str, upload_id: str, number: int, body: bytes) -> httpx.Response:
    return await s3.put(name, body, params={"uploadId": upload_id, "partNumber": number})


async def complete(s3: S3Client, name: str, upload_id: str, etags: list[str]) -> httpx.Response:
    return await s3.post(name, write_completion(enumerate(etags, 1)), params={"uploadId": upload_id})


def code(answer: httpx.Response) -> str | None:
    said = parse_error(answer.content)
    return said.code if said else None


async def test_step_by_step(once: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    name, data = f"{bucket}/key", content(PART + 1)
    upload_id = await begin(once, name)
    etags = []
    for number, piece in enumerate((data[:PART], data[PART:]), 1):
        answer = await send(once, name, upload_id, number, piece)
        assert (answer.status_code, bare_etag(answer.headers["etag"])) == (200, etag_of(piece))
        etags.append(answer.headers["etag"])
    answer = await complete(once, name, upload_id, etags)
    assert answer.status_code == 200
    told = parse_completed_etag(answer.content)
    assert told is None if server.faults.get("first-complete-etag-empty") else bare_etag(told or "") == etag_of(data)
    assert witness.get(bucket, "key") == data

    again = await complete(once, name, upload_id, etags)  # as after an answer that was lost
    if server.faults.get("complete-twice-is-404"):
        assert (again.status_code, code(again)) == (404, "NoSuchUpload")
    else:
        assert again.status_code == 200
        assert bare_etag(parse_completed_etag(again.content) or "") == etag_of(data)


async def test_a_part_that_is_sent_again(once: S3Client, bucket: str, server: Server) -> None:
    """As after an answer that was lost, which does no harm anywhere; another part in its place may."""
    name = f"{bucket}/key"
    upload_id = await begin(once, name)
    for _ in range(2):
        assert (await send(once, name, upload_id, 1, b"part")).status_code == 200
    other = await send(once, name, upload_id, 1, b"another")
    assert other.status_code == (501 if server.faults.get("parts-cannot-be-replaced") else 200)


async def test_after_an_abort(once: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    name = f"{bucket}/key"
    upload_id = await begin(once, name)
    etag = (await send(once, name, upload_id, 1, b"part")).headers["etag"]
    assert (await once.get(name, params={"uploadId": upload_id})).status_code == 200
    assert (await once.delete(name, params={"uploadId": upload_id})).status_code == 204
    assert witness.uploads(bucket) == []

    looked = await once.get(name, params={"uploadId": upload_id})
    odd = server.faults.get("list-parts-after-abort-is-no-such-key")
    assert (looked.status_code, code(looked)) == (404, "NoSuchKey" if odd else "NoSuchUpload")
    late = await complete(once, name, upload_id, [etag])
    assert late.status_code == (500 if server.faults.get("complete-after-abort-is-500") else 404)
    assert witness.keys(bucket) == []
