"""request(): whatever handtruck has no method for, with the same retries, and with the same errors where wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck.errors import NotFound, NotModified, PreconditionFailed, S3Error, UsageError
from handtruck.protocol.documents import parse_xml
from tests.conformance.support import listed
from tests.scripted import RESET, TinyS3, completed_in_200, error, store

if TYPE_CHECKING:
    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

GOES_RED: Final = (AssertionError, pytest.fail.Exception)
LOOPS: Final = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


async def test_errors_on_demand(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    assert (await s3.request("GET", f"{bucket}/none")).status_code == 404
    with pytest.raises(NotFound) as caught:
        await s3.request("GET", f"{bucket}/none", raise_for_status=True)
    assert (caught.value.code, caught.value.key, caught.value.status) == ("NoSuchKey", "none", 404)
    put = await s3.request("PUT", f"{bucket}/key", content=b"x", raise_for_status=True)
    answer = await s3.request("GET", f"{bucket}/key", raise_for_status=True)
    assert (answer.status_code, answer.content, answer.is_closed) == (200, b"x", True)
    seen = {"If-None-Match": put.headers["etag"]}
    assert (await s3.request("GET", f"{bucket}/key", seen)).status_code == 304
    with pytest.raises(NotModified):
        await s3.request("GET", f"{bucket}/key", seen, raise_for_status=True)


async def test_an_operation_without_a_method(s3: S3Client, bucket: str, witness: Witness) -> None:
    """ListObjects, of version 1, for example."""
    witness.put(bucket, "a&b", b"x")
    answer = await s3.request("GET", bucket, params={"prefix": "a&"}, raise_for_status=True)
    keys = [each.text for each in parse_xml(answer.content).iter("Key")]
    assert keys == ["a&b"]
    assert [item.key for page in await listed(s3.list_objects_v2(bucket)) for item in page] == keys


async def outcome(*bends: Any, **arguments: Any) -> tuple[object, int]:
    """What a POST gives whose first answers are bent, and how often it was sent."""
    async with store() as (s3, tiny):
        for nth, bend in enumerate(bends, 1):
            tiny.on("CompleteMultipartUpload", bend, nth=nth)
        params, content = await _upload(s3, tiny)
        try:
            answer: object = (await s3.request("POST", "b/k", None, params, content, **arguments)).status_code
        except S3Error as failed:
            answer = failed.code
        return answer, tiny.names.count("CompleteMultipartUpload")


async def _upload(s3: S3Client, tiny: TinyS3) -> tuple[dict[str, str], str]:
    await s3.post("b/k", params={"uploads": None})
    ((upload_id, _),) = tiny.uploads.items()
    part = await s3.put("b/k", b"x", params={"partNumber": 1, "uploadId": upload_id})
    entry = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
    return {"uploadId": upload_id}, f"<CompleteMultipartUpload>{entry}</CompleteMultipartUpload>"


async def check_an_error_in_200() -> None:
    wanted = {"raise_for_status": True, "error_in_200": True}
    assert await outcome(completed_in_200("InvalidPart"), raise_for_status=True) == (200, 1)
    assert await outcome(*[completed_in_200("InvalidPart")] * 4, **wanted) == ("InvalidPart", 4)
    assert await outcome(completed_in_200("SlowDown"), error(503, "SlowDown"), **wanted) == (200, 3)


@LOOPS
async def test_an_error_in_200(anyio_backend: object) -> None:
    await check_an_error_in_200()


@LOOPS
async def test_mutation_200_is_believed(anyio_backend: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck._session.parse_error", lambda _: None)
    with pytest.raises(GOES_RED):
        await check_an_error_in_200()


@LOOPS
async def test_retries_are_those_of_all_requests(anyio_backend: object) -> None:
    async with store() as (s3, tiny):
        tiny.put("b/k", b"x")
        tiny.on("GetObject", RESET, nth=1)
        tiny.on("GetObject", error(500, "InternalError"), nth=2)
        assert (await s3.request("GET", "b/k", raise_for_status=True)).content == b"x"
        assert tiny.names == ["GetObject"] * 3
        tiny.on("PutObject", error(404, "NoSuchKey"), nth=1)
        with pytest.raises(PreconditionFailed):
            await s3.request("PUT", "b/k", {"If-Match": '"a"'}, content=b"y", raise_for_status=True)


@LOOPS
async def test_error_in_200_goes_with_raise_for_status(anyio_backend: object) -> None:
    async with store() as (s3, tiny):
        with pytest.raises(UsageError, match="raise_for_status"):
            await s3.request("GET", "b/k", error_in_200=True)
        assert tiny.names == []
