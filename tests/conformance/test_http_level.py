"""put, get, head, delete, post, request: what goes in comes out, and the answer is given whatever its status."""

from __future__ import annotations

import gzip
from base64 import b64encode
from hashlib import md5
from typing import TYPE_CHECKING, Final

import httpx
import pytest
from botocore.exceptions import ClientError

from handtruck.protocol.documents import parse_error, parse_upload_id, parse_xml

if TYPE_CHECKING:
    from handtruck import S3Client
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

HEADERS: Final = {
    "Content-Type": "text/csv; charset=utf-8",
    "Cache-Control": "max-age=60,  private",
    "Content-Disposition": 'attachment; filename="a b.csv"',
    "Content-Language": "de",
    "Expires": "Thu, 01 Dec 2050 16:00:00 GMT",
    "x-amz-meta-colour": "blue and  green",
    "X-Amz-Meta-Number": "1",
}


async def test_objects_come_and_go(s3: S3Client, bucket: str, witness: Witness) -> None:
    put = await s3.put(f"{bucket}/key", "hello, world", headers={"Content-Type": "text/plain"})
    assert (put.status_code, put.headers["etag"]) == (200, '"e4d7f1b4ed2e42d15898f4b27b019da4"')
    assert witness.get(bucket, "key") == b"hello, world"

    got = await s3.get(f"{bucket}/key")
    assert (got.status_code, got.content, got.is_closed) == (200, b"hello, world", True)
    assert got.headers["content-type"] == "text/plain"

    head = await s3.head(f"{bucket}/key")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "12")
    assert head.headers["etag"] == put.headers["etag"]

    deleted = await s3.delete(f"{bucket}/key")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert not witness.exists(bucket, "key")


async def test_headers_of_an_object(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    put = await s3.put(f"{bucket}/key", b"a;b", headers=HEADERS.items())
    assert put.status_code == 200
    said = witness.head(bucket, "key")
    assert said["ContentType"] == "text/csv; charset=utf-8"
    assert said["CacheControl"].split() == ["max-age=60,", "private"]  # blanks are folded by some
    assert said["ContentDisposition"] == 'attachment; filename="a b.csv"'
    assert said["ContentLanguage"] == "de"
    metadata = {name.lower(): value.split() for name, value in said["Metadata"].items()}
    assert metadata.pop("mtime", None) is None or server.name == "rclone"
    assert metadata == {"colour": ["blue", "and", "green"], "number": ["1"]}
    assert (
        ("Expires" not in said) if server.faults.get("loses-expires") else said["ExpiresString"] == HEADERS["Expires"]
    )
    head = await s3.head(f"{bucket}/key")
    assert head.headers["x-amz-meta-colour"].split() == ["blue", "and", "green"]


async def test_encoded_content_is_decoded_as_httpx_does(s3: S3Client, bucket: str, witness: Witness) -> None:
    squeezed = gzip.compress(b"hello" * 100)
    await s3.put(f"{bucket}/key", squeezed, headers={"Content-Encoding": "gzip"})
    assert witness.get(bucket, "key") == squeezed
    assert (await s3.get(f"{bucket}/key")).content == b"hello" * 100


async def test_what_is_missing(s3: S3Client, bucket: str, server: Server) -> None:
    for name, code in ((f"{bucket}/missing", "NoSuchKey"), (f"{bucket}-missing/key", "NoSuchBucket")):
        got = await s3.get(name)
        said = parse_error(got.content)
        assert (got.status_code, said and said.code) == (404, code)
        head = await s3.head(name)
        assert (head.status_code, head.content) == (404, b"")
    assert (await s3.put(f"{bucket}-missing/key", b"lost")).status_code == 404
    assert (await s3.delete(f"{bucket}/missing")).status_code == 204


async def test_answers_have_a_request_id(s3: S3Client, bucket: str, server: Server) -> None:
    await s3.put(f"{bucket}/key", b"")
    none = bool(server.faults.get("no-x-amz-request-id"))
    for key in ("key", "missing"):
        assert ("x-amz-request-id" in (await s3.get(f"{bucket}/{key}")).headers) is not none


async def test_parameters_override_headers(s3: S3Client, bucket: str) -> None:
    await s3.put(f"{bucket}/key", b"x")
    wanted = {"response-content-type": "text/a+b; x=1 & 2", "response-cache-control": "no-store"}
    for params in (wanted, list(wanted.items()), httpx.QueryParams(wanted)):
        got = await s3.get(f"{bucket}/key", params=params)
        assert got.status_code == 200
        assert got.headers["content-type"] == wanted["response-content-type"]
        assert got.headers["cache-control"] == "no-store"


async def test_parameters_of_a_listing(s3: S3Client, bucket: str, witness: Witness) -> None:
    for key in ("a b/1", "a b/2", "c"):
        witness.put(bucket, key)
    got = await s3.get(bucket, params={"list-type": 2, "prefix": "a b/", "max-keys": "1", "fetch-owner": False})
    root = parse_xml(got.content)
    assert [element.text for element in root.iterfind("Contents/Key")] == ["a b/1"]
    assert root.findtext("IsTruncated") == "true"


async def test_bare_subresources(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    begun = await s3.post(f"{bucket}/key", params={"uploads": None}, headers={"Content-Type": "text/plain"})
    assert begun.status_code == 200
    upload_id = parse_upload_id(begun.content)
    assert witness.uploads(bucket) == [("key", upload_id)]
    assert (await s3.delete(f"{bucket}/key", params={"uploadId": upload_id})).status_code == 204
    assert witness.uploads(bucket) == []


async def test_listing_no_uploads(s3: S3Client, bucket: str, server: Server) -> None:
    answer = await s3.get(bucket, params={"uploads": None})
    assert answer.status_code == (404 if server.faults.get("no-uploads-is-404") else 200)


async def test_tags(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """A server that does not know a sub-resource may take it for the object itself."""
    tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    await s3.put(f"{bucket}/key", b"content")
    assert (await s3.put(f"{bucket}/key", tags, params={"tagging": None})).status_code in (200, 204)
    lost = server.faults.get("subresources-fall-through")
    assert witness.get(bucket, "key") == (tags if lost else b"content")
    if not lost:
        got = await s3.get(f"{bucket}/key", params={"tagging": None})
        assert parse_xml(got.content).findtext("TagSet/Tag/Value") == "1"


async def test_post_deletes_many(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    for key in ("a & b", "c"):
        witness.put(bucket, key)
    document = b"<Delete><Object><Key>a &amp; b</Key></Object><Quiet>true</Quiet></Delete>"
    digest = b64encode(md5(document, usedforsecurity=False).digest()).decode()
    answer = await s3.post(bucket, document, params={"delete": None}, headers={"Content-MD5": digest})
    assert answer.status_code == 200
    assert witness.keys(bucket) == ["c"]
    told = [element.text for element in parse_xml(answer.content).iterfind("Deleted/Key")]
    assert told == (["a & b"] if server.faults.get("quiet-ignored") else [])

    bare = await s3.post(bucket, b"<Delete><Object><Key>c</Key></Object></Delete>", params={"delete": None})
    if server.faults.get("batch-delete-unverified"):
        assert (bare.status_code, witness.keys(bucket)) == (200, [])
    else:
        assert (bare.status_code, witness.keys(bucket)) == (400, ["c"])


async def test_any_method(s3: S3Client, bucket: str, witness: Witness) -> None:
    put = await s3.request("put", f"{bucket}/key", {"x-amz-meta-a": "1"}, None, "text")
    assert put.status_code == 200
    assert witness.get(bucket, "key") == b"text"
    got = await s3.request("GET", f"/{bucket}/key")
    assert (got.content, got.headers["x-amz-meta-a"]) == (b"text", "1")


async def test_buckets(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    mine = f"{bucket}-mine"
    assert (await s3.put(mine, None)).status_code == 200
    assert (await s3.head(mine)).status_code == 200
    assert (await s3.put(mine, b"")).status_code == (409 if server.faults.get("create-again-is-taken") else 200)
    await s3.put(f"{mine}/key", b"x")
    assert (await s3.delete(mine)).status_code == 409
    await s3.delete(f"{mine}/key")
    assert (await s3.delete(mine)).status_code == 204
    assert (await s3.head(mine)).status_code == 404
    bad = await s3.put("Bad_Name!", None)
    assert bad.status_code == (200 if server.faults.get("bad-bucket-names-accepted") else 400)


async def test_connections_are_used_again(s3: S3Client, bucket: str, server: Server) -> None:
    answers = [await s3.put(f"{bucket}/key", b"x") for _ in range(3)]
    connections = {id(answer.extensions["network_stream"]) for answer in answers}
    assert len(connections) == (3 if server.faults.get("closes-connections") else 1)


async def test_versions(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """Versioning is switched on; every write says which version it made, and each can be read."""
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    switched = await s3.put(bucket, document, params={"versioning": None})
    if server.faults.get("no-versions"):
        assert switched.status_code == 501
        return
    assert switched.status_code == 200
    first = await s3.put_multipart(f"{bucket}/key", b"one")
    second = await s3.put_multipart(f"{bucket}/key", b"two")
    assert None is not first.version_id != second.version_id is not None
    assert (await s3.get(f"{bucket}/key", params={"versionId": first.version_id})).content == b"one"
    assert (await s3.delete(f"{bucket}/key")).headers["x-amz-delete-marker"] == "true"
    with pytest.raises(ClientError):
        witness.get(bucket, "key")
    for version in witness.client.list_object_versions(Bucket=bucket).get("Versions", ()):
        witness.delete(bucket, "key", VersionId=version["VersionId"])
