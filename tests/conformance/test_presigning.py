"""Presigned URLs and forms, used by a plain HTTP client: good for what they say, and for nothing else.

Botocore's are used in the same way, so that what is signed by either is believed by the server or by neither.
"""

from __future__ import annotations

import logging
from base64 import b64encode
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck import S3Client, SSECustomer
from handtruck.credentials import AbstractCredentials
from handtruck.errors import UsageError
from handtruck.models import Credentials
from handtruck.protocol import address, post_policy, presigning
from handtruck.protocol.documents import parse_error
from tests.conformance.support import connect, http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from handtruck import PresignedPost, PresignedURL
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

ODD: Final = "a b/ü+%2F~(1)&=?#"
GOES_RED: Final = (AssertionError, pytest.fail.Exception)
FORMS: Final = pytest.mark.parametrize("server", ["rgw", "moto"], indirect=True)


async def use(url: PresignedURL | str, *, method: str = "", content: bytes = b"", **headers: str) -> httpx.Response:
    """What the user of a URL does, who knows nothing of S3."""
    async with http_client() as http:
        said = {**getattr(url, "headers", {}), **headers}
        return await http.request(method or getattr(url, "method", "GET"), str(url), content=content, headers=said)


async def send(post: PresignedPost, data: bytes, name: str = "a.txt", **more: str) -> httpx.Response:
    """What a browser does with a form."""
    async with http_client() as http:
        return await http.post(post.url, data={**post.fields, **more}, files={"file": (name, data)})


def assert_refused(server: Server, answer: httpx.Response, status: int = 403) -> None:
    """By whoever looks at signatures at all."""
    if server.faults.get("verifies-no-signature"):
        assert answer.is_success
    else:
        assert (answer.status_code, answer.is_success) == (status, False)


async def test_urls_do_what_they_say(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    name = f"{bucket}/{ODD}"
    put = await s3.presign("PUT", name, headers={"Content-Type": "text/csv", "x-amz-meta-colour": "dark  blue"})
    assert (await use(put, content=b"hello")).status_code == 200
    assert witness.get(bucket, ODD) == b"hello"
    assert witness.head(bucket, ODD)["ContentType"] == "text/csv"
    assert (await use(await s3.presign("get", name))).content == b"hello"
    head = await use(await s3.presign("HEAD", name, expires=timedelta(days=7)))
    assert (head.status_code, head.headers["content-length"]) == (200, "5")
    listing = await use(await s3.presign("GET", bucket, params={"list-type": 2, "prefix": "a b/"}))
    assert listing.status_code == 200
    assert b"<KeyCount>1<" in listing.content
    assert (await use(await s3.presign("DELETE", name))).status_code == 204
    assert not witness.exists(bucket, ODD)


async def test_overrides_of_the_answers_headers(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", b"x")
    said = 'attachment; filename="a b.txt"'
    url = await s3.presign(
        "GET", f"{bucket}/key", response_content_disposition=said, response_content_type="text/x-odd"
    )
    answer = await use(url)
    assert (answer.headers["content-disposition"], answer.headers["content-type"]) == (said, "text/x-odd")


@pytest.mark.parametrize("server", ["rgw", "moto"], indirect=True)
async def test_versions(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = witness.client.put_object(Bucket=bucket, Key="key", Body=b"first")["VersionId"]
    witness.put(bucket, "key", b"second")
    assert (await use(await s3.presign("GET", f"{bucket}/key", version_id=version))).content == b"first"
    assert (await use(await s3.presign("DELETE", f"{bucket}/key", version_id=version))).status_code == 204
    assert (await use(await s3.presign("GET", f"{bucket}/key"))).content == b"second"


async def test_parts(s3: S3Client, bucket: str, witness: Witness) -> None:
    """Whoever has the URLs sends the parts; they are named, begun and completed here."""
    begin = await use(await s3.presign("POST", f"{bucket}/key", params={"uploads": None}))
    (upload_id,) = [upload for _, upload in witness.uploads(bucket)]
    assert upload_id in begin.text
    url = await s3.presign("PUT", f"{bucket}/key", params={"partNumber": 1, "uploadId": upload_id})
    etag = (await use(url, content=b"part")).headers["etag"]
    parts = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    )
    done = await s3.presign("POST", f"{bucket}/key", params={"uploadId": upload_id})
    assert (await use(done, content=parts.encode())).status_code == 200
    assert witness.get(bucket, "key") == b"part"


async def test_what_was_not_signed_for_is_refused(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"x")
    witness.put(bucket, "other", b"secret")
    url = await s3.presign("GET", f"{bucket}/key", response_content_type="text/x-a")
    last = url[-1]
    for tampered in (
        url[:-1] + ("0" if last != "0" else "1"),
        url.replace("/key?", "/other?"),
        url.replace("text%2Fx-a", "text%2Fhtml"),
        url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"),
    ):
        assert tampered != url
        assert_refused(server, await use(tampered))
    assert_refused(server, await use(await s3.presign("GET", f"{bucket}/key"), method="DELETE"))
    assert witness.exists(bucket, "key") is not bool(server.faults.get("verifies-no-signature"))


async def test_what_was_signed_must_be_sent(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    url = await s3.presign("PUT", f"{bucket}/key", headers={"x-amz-meta-a": "1"})
    assert_refused(server, await use(str(url), method="PUT", content=b"x"))
    assert_refused(server, await use(url, content=b"x", **{"x-amz-meta-a": "2"}))
    sized = await s3.presign("PUT", f"{bucket}/sized", headers={"Content-Length": "4"})
    assert_refused(server, await use(str(sized), method="PUT", content=b"five!"))
    assert (await use(sized, content=b"four")).status_code == 200
    with pytest.raises(UsageError, match="a number of bytes, as text"):
        await s3.presign("PUT", f"{bucket}/sized", headers={"Content-Length": 4})  # type: ignore[arg-type]
    digest = b64encode(md5(b"this", usedforsecurity=False).digest()).decode()
    exact = await s3.presign("PUT", f"{bucket}/exact", headers={"Content-MD5": digest})
    assert (await use(exact, content=b"this")).status_code == 200
    other = await use(exact, content=b"that")
    assert other.status_code == (200 if server.faults.get("content-md5-ignored") else 400)


async def test_an_expired_url_is_refused(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    witness.put(bucket, "key", b"x")
    s3._session.clock = lambda: datetime.now(UTC) - timedelta(minutes=10)
    alive = await s3.presign("GET", f"{bucket}/key", expires=3600)
    assert (await use(alive)).status_code == 200
    expired = await s3.presign("GET", f"{bucket}/key", expires=60)
    assert expired.expires_at < datetime.now(UTC)
    assert_refused(server, await use(expired), 400 if server.faults.get("presigned-expired-is-400") else 403)


async def test_every_addressing_form(bucket: str, witness: Witness, server: Server) -> None:
    keys = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
    witness.put(bucket, "dir/key", b"x")
    async with connect(server, url=f"{server.url}/{bucket}", **keys) as one:
        assert (await use(await one.presign("GET", "dir/key"))).content == b"x"
        if not server.faults.get("no-post-forms"):
            assert (await send(await one.presign_post("dir/form"), b"form")).status_code == 204
            assert witness.get(bucket, "dir/form") == b"form"


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_a_key_of_the_callers_own_is_sent_by_the_user(s3: S3Client, bucket: str, server: Server) -> None:
    mine = SSECustomer(b"k" * 32)
    put = await s3.presign("PUT", f"{bucket}/key", sse=mine)
    assert b64encode(mine.key).decode() not in str(put)
    assert (await use(put, content=b"hidden")).status_code == 200
    assert (await use(await s3.presign("GET", f"{bucket}/key"))).status_code == 400
    assert (await use(await s3.presign("GET", f"{bucket}/key", sse=mine))).content == b"hidden"


async def test_botocores_urls_and_ours_are_the_same(
    s3: S3Client, bucket: str, witness: Witness, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read what its URL wrote, write what its URL reads; and letter for letter, at the same second."""
    now = datetime.now(UTC).replace(microsecond=0)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: now.replace(tzinfo=None))
    s3._session.clock = lambda: now
    params = {"Bucket": bucket, "Key": "a b+ü"}
    theirs = signing_client(server).generate_presigned_url("put_object", Params=params)
    assert str(await s3.presign("PUT", f"{bucket}/a b+ü")) == theirs
    assert (await use(theirs, method="PUT", content=b"x")).status_code == 200
    read = signing_client(server).generate_presigned_url("get_object", Params=params)
    assert str(await s3.presign("GET", f"{bucket}/a b+ü")) == read
    assert (await use(read)).content == b"x"


def signing_client(server: Server) -> Any:
    """Botocore, that signs as AWS wants it today: the witness's own URLs are of version 2."""
    import botocore.session
    from botocore.config import Config

    return botocore.session.Session().create_client(
        "s3",
        region_name=server.region,
        endpoint_url=server.url,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}),
    )


# --- forms


@FORMS
async def test_forms(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    post = await s3.presign_post(
        f"{bucket}/up/${{filename}}",
        max_size=5,
        status=201,
        starts_with={"Content-Type": "image/"},
        metadata={"a": "1"},
        tags={"k": "v w"},
    )
    answer = await send(post, b"bytes", "ü.png", **{"Content-Type": "image/png"})
    assert answer.status_code == 201
    assert (b"<PostResponse>" in answer.content) is not bool(server.faults.get("post-201-says-nothing"))
    key = "up/ü.png"
    said = witness.head(bucket, key)
    assert (witness.get(bucket, key), said["Metadata"], said["ContentType"]) == (b"bytes", {"a": "1"}, "image/png")
    tags = witness.client.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    assert tags == ([] if server.faults.get("post-tagging-ignored") else [{"Key": "k", "Value": "v w"}])


@FORMS
async def test_a_form_sends_the_browser_on(s3: S3Client, bucket: str, witness: Witness) -> None:
    post = await s3.presign_post(f"{bucket}/key", redirect="http://example.com/done", content_type="text/plain")
    answer = await send(post, b"x")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("http://example.com/done?")
    assert witness.head(bucket, "key")["ContentType"] == "text/plain"


async def check_a_form_is_held_to_its_policy(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    post = await s3.presign_post(f"{bucket}/key", min_size=2, max_size=5, starts_with={"Content-Type": "image/"})
    image = {"Content-Type": "image/png"}
    s3._session.clock = lambda: datetime.now(UTC) - timedelta(minutes=10)
    expired = await s3.presign_post(f"{bucket}/key", expires=60)
    s3._session.clock = lambda: datetime.now(UTC)
    answers = {
        "too large": (await send(post, b"123456", **image), 400),
        "too small": (await send(post, b"1", **image), 400),
        "another type": (await send(post, b"123", **{"Content-Type": "text/html"}), 403),
        "a field more": (await send(post, b"123", acl="public-read", **image), 403),
        "another key": (await send(post, b"123", **image, key="other"), 403),
        "no signature": (await send(post, b"123", **image, **{"x-amz-signature": "0" * 64}), 403),
        "expired": (await send(expired, b"123"), 403),
    }
    for what, (answer, status) in answers.items():
        if server.faults.get("post-policy-ignored"):
            assert answer.status_code == 204, what
        else:
            assert answer.status_code == status, (what, answer.text)
    assert bool(witness.keys(bucket)) is bool(server.faults.get("post-policy-ignored"))
    assert (await send(post, b"12345", **image)).status_code == 204
    assert witness.get(bucket, "key") == b"12345"


@FORMS
async def test_a_form_is_held_to_its_policy(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    await check_a_form_is_held_to_its_policy(s3, bucket, witness, server)


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_mutation_a_form_without_a_size(
    s3: S3Client, bucket: str, witness: Witness, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post_policy, "_size", lambda *_: None)
    with pytest.raises(GOES_RED):
        await check_a_form_is_held_to_its_policy(s3, bucket, witness, server)


@pytest.mark.parametrize("server", ["rclone"], indirect=True)
async def test_rclone_has_no_forms(s3: S3Client, bucket: str, server: Server) -> None:
    answer = await send(await s3.presign_post(f"{bucket}/key"), b"x")
    assert server.faults["no-post-forms"].startswith("400")
    said = parse_error(answer.content)
    assert (answer.status_code, said and said.code) == (400, "UnsupportedAlgorithm")


@FORMS
async def test_botocores_forms_and_ours_are_the_same(
    s3: S3Client, bucket: str, witness: Witness, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    for module in ("auth", "signers"):
        monkeypatch.setattr(f"botocore.{module}.get_current_datetime", lambda: now.replace(tzinfo=None))
    s3._session.clock = lambda: now
    conditions: list[Any] = [{"acl": "private"}, ["content-length-range", 1, 9]]
    theirs = signing_client(server).generate_presigned_post(
        Bucket=bucket, Key="k/${filename}", Fields={"acl": "private"}, Conditions=conditions
    )
    ours = await s3.presign_post(f"{bucket}/k/${{filename}}", acl="private", min_size=1, max_size=9)
    assert (ours.url, dict(ours.fields)) == (theirs["url"], theirs["fields"])
    assert (await send(ours, b"x")).status_code == 204
    assert witness.get(bucket, "k/a.txt") == b"x"


# --- mutations


async def _signed(s3: S3Client, bucket: str) -> None:
    url = await s3.presign("PUT", f"{bucket}/{ODD}", headers={"x-amz-meta-a": "1"})
    assert (await use(url, content=b"x")).status_code == 200


@pytest.mark.parametrize("server", ["rgw", "rclone"], indirect=True)
async def test_each_fault_in_the_signer_is_found_out(
    s3: S3Client, bucket: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _signed(s3, bucket)
    real = address.canonical_query
    for change in (
        ("UNSIGNED_PAYLOAD", "e" * 64),
        ("canonical_query", lambda query: real(query[:-1])),
        ("host_of", lambda _: "elsewhere"),
    ):
        with monkeypatch.context() as mutated:
            mutated.setattr(presigning, *change)
            with pytest.raises(GOES_RED):
                await _signed(s3, bucket)


# --- nothing is sent, and nothing is told


@asynccontextmanager
async def nowhere(**credentials: Any) -> AsyncIterator[S3Client]:
    """A client of an endpoint that does not exist, with keys that are known when they are seen."""
    keys = Credentials(access_key_id="id", secret_access_key="marker-key", session_token="marker-token", **credentials)
    async with S3Client("https://s3.invalid", credentials=Known(keys)) as s3:
        yield s3


class Known(AbstractCredentials):
    """Keys that may end."""

    def __init__(self, keys: Credentials) -> None:
        self.keys = keys

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        return self.keys


async def test_nothing_is_sent_and_nothing_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with nowhere() as s3:
        url, post = await s3.presign("GET", "b/k"), await s3.presign_post("b/k")
        assert "X-Amz-Security-Token=marker-token" in str(url)
        assert post.fields["x-amz-security-token"] == "marker-token"
        for said in (repr(url), repr(post), repr(s3), caplog.text):
            assert "marker" not in said
            assert url[-64:] not in said
        with pytest.raises(UsageError) as caught:
            await s3.presign("GET", "b/k", params={"x-amz-server-side-encryption-customer-key": "marker"})
        assert "marker" not in str(caught.value)
        with pytest.raises(UsageError, match="is for GET and HEAD"):
            await s3.presign("PUT", "b/k", response_content_type="x")
        for length in ("x", "-1", ""):
            with pytest.raises(UsageError, match="number of bytes"):
                await s3.presign("PUT", "b/k", headers={"content-length": length})


async def test_keys_that_end_before_the_url_are_told(caplog: pytest.LogCaptureFixture) -> None:
    end = datetime.now(UTC) + timedelta(minutes=5)
    async with nowhere(expires_at=end) as s3:
        assert (await s3.presign("GET", "b/k", expires=60)).expires_at < end
        assert caplog.text == ""
        assert (await s3.presign("GET", "b/k", expires=600)).expires_at == end
        assert "the temporary keys end at" in caplog.text
        assert "marker" not in caplog.text
        caplog.clear()
        assert (await s3.presign_post("b/k", expires=600)).expires_at == end
        assert "the temporary keys end at" in caplog.text
