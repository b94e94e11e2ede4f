"""Options by name on real servers: what goes in comes out again, whoever asks; ours and botocore's are one language."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import pytest

from handtruck import SSEKMS, SSES3, S3Client, SSECustomer
from handtruck.errors import NotFound, NotModified, PreconditionFailed, S3Error
from handtruck.protocol import options
from handtruck.protocol.documents import parse_error
from tests.conformance.support import PART, content, etag_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from pathlib import Path

    from tests.servers.admin import Witness
    from tests.servers.model import Server

    Writer: TypeAlias = Callable[..., Awaitable[None]]
    Reader: TypeAlias = Callable[..., Awaitable[bytes]]

pytestmark = pytest.mark.anyio

ALL: Final = pytest.mark.parametrize("server", ["rclone", "moto", "rgw"], indirect=True)
FULL: Final = pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
"""Those that know sub-resources: rclone takes ``PUT key?tagging`` for a PUT of the key, see its faults."""
ONCE: Final = pytest.mark.parametrize("anyio_backend", [("trio", {})], indirect=True, ids=["trio"])
"""Headers are made before any loop is asked: what differs by loop has its tests elsewhere."""

SMALL: Final = content(1000)
LARGE: Final = content(PART + 1)
KEY: Final = SSECustomer(bytes(range(32)))
OTHER: Final = SSECustomer(bytes(32))
THEIRS: Final[Mapping[str, Any]] = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY.key}
THEN: Final = datetime(2027, 11, 22, 12, tzinfo=UTC)
TAGS: Final = {"a b": "c+d", "e": "", "x/y": "=:@."}
WRONG: Final = '"00000000000000000000000000000000"'


async def _blocks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 20):
        yield data[start : start + (1 << 20)]


async def put(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    (await s3.put(name, data, **wishes)).raise_for_status()


async def put_stream(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    (await s3.put(name, _blocks(data), **wishes)).raise_for_status()


async def put_file(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    (folder / "source").write_bytes(data)
    (await s3.put_file(name, folder / "source", **wishes)).raise_for_status()


async def upload(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    (folder / "source").write_bytes(data)
    await s3.upload(name, folder / "source", part_size=PART, **wishes)


async def upload_resumably(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    await upload(s3, name, data, folder, resume=True, **wishes)


async def put_multipart(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    await s3.put_multipart(name, _blocks(data), part_size=PART, **wishes)


async def put_file_multipart(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    (folder / "source").write_bytes(data)
    await s3.put_file_multipart(name, folder / "source", part_size=PART, **wishes)


async def write(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    async with s3.open(name, "wb", part_size=PART, **wishes) as file:
        await file.write(data)


async def transfer(s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> None:
    async with s3.transfers() as transfers:
        transfers.upload(name, data, part_size=PART, **wishes)


IN_PARTS: Final = (upload, upload_resumably, put_multipart, put_file_multipart, write, transfer)
WRITERS: Final = [
    *(pytest.param(method, SMALL, id=f"{method.__name__}") for method in (put, put_stream, put_file, *IN_PARTS)),
    *(pytest.param(method, LARGE, id=f"{method.__name__}, in parts") for method in IN_PARTS),
]
ONE_AND_PARTS: Final = pytest.mark.parametrize(
    ("method", "data"), [pytest.param(put, SMALL, id="put"), pytest.param(put_multipart, LARGE, id="in parts")]
)


async def get(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    content: bytes = (await s3.get(name, **wishes)).raise_for_status().content
    return content


async def download(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    await s3.download(name, folder / "target", part_size=PART // 2, **wishes)
    return (folder / "target").read_bytes()


async def download_stream(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    target = BytesIO()
    await s3.download(name, target, part_size=PART // 2, **wishes)
    return target.getvalue()


async def get_file_parallel(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    await s3.get_file_parallel(name, folder / "target", range_step=PART // 2, workers_count=2, **wishes)
    return (folder / "target").read_bytes()


async def read(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    async with s3.open(name, "rb", part_size=PART // 2, **wishes) as file:
        content: bytes = await file.read()
    return content


async def stream(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    async with s3.stream(name, **wishes) as answer:
        content: bytes = await answer.read()
    return content


async def get_ranges(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    head = (await s3.head(name, **wishes)).raise_for_status()
    size = int(head.headers["content-length"])
    found: list[bytes] = await s3.get_ranges(name, [(0, size // 2), (size // 2, size)], gap=0, **wishes)
    return b"".join(found)


async def transfer_down(s3: S3Client, name: str, folder: Path, **wishes: Any) -> bytes:
    async with s3.transfers() as transfers:
        transfers.download(name, folder / "target", part_size=PART // 2, **wishes)
    return (folder / "target").read_bytes()


READERS: Final = (get, download, download_stream, get_file_parallel, read, stream, get_ranges, transfer_down)


# --- what an object is


@ALL
@ONCE
@pytest.mark.parametrize(("method", "data"), WRITERS)
async def test_objects_of_every_method(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """All that an object can be told at once, and botocore hears all of it."""
    further: Mapping[str, Any] = {"tags": TAGS, "acl": "public-read", "sse": KEY, "if_none_match": "*"}
    if server.name == "rclone":
        further = {}
    await method(
        s3,
        f"{bucket}/key",
        data,
        tmp_path,
        content_type="text/x; charset=utf-8",
        metadata={"Who": "us", "empty": "", "two": "a  b"},
        cache_control="max-age=60, public",
        content_disposition='attachment; filename="a b"',
        content_encoding="x-none",
        content_language="en, de",
        expires=THEN,
        website_redirect_location="/there",
        request_payer=True,
        **further,
    )
    known = THEIRS if further else {}
    head = witness.head(bucket, "key", **known)
    assert witness.get(bucket, "key", **known) == data
    if further:
        assert_tags_and_acl(server, witness, bucket, data)
    assert head["ContentType"] == "text/x; charset=utf-8"
    metadata = {name.lower(): value for name, value in head["Metadata"].items()}
    assert metadata == {"who": "us", "empty": "", "two": "a  b"}
    assert (head["CacheControl"], head["ContentDisposition"]) == ("max-age=60, public", 'attachment; filename="a b"')
    assert (head["ContentEncoding"], head["ContentLanguage"]) == ("x-none", "en, de")
    assert head.get("Expires") == (None if server.faults.get("loses-expires") else THEN)
    assert head["WebsiteRedirectLocation"] == "/there"
    if not server.faults.get("head-etag-is-plain-md5"):
        assert head["ETag"] == f'"{etag_of(data)}"'  # …-2 where it went in parts


@FULL
@ONCE
@ONE_AND_PARTS
async def test_tags_and_acl(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    await method(s3, f"{bucket}/key", data, tmp_path, tags=TAGS, acl="public-read")
    assert_tags_and_acl(server, witness, bucket, data)


def assert_tags_and_acl(server: Server, witness: Witness, bucket: str, data: bytes) -> None:
    found = witness.client.get_object_tagging(Bucket=bucket, Key="key").get("TagSet", ())
    lost = data is LARGE and server.faults.get("multipart-tagging-ignored")
    assert {tag["Key"]: tag["Value"] for tag in found} == ({} if lost else TAGS)
    grants = witness.client.get_object_acl(Bucket=bucket, Key="key")["Grants"]
    everybody = [grant["Permission"] for grant in grants if str(grant["Grantee"].get("URI")).endswith("/AllUsers")]
    assert everybody == ["READ"]


@FULL
@ONCE
@ONE_AND_PARTS
async def test_storage_classes(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    await method(s3, f"{bucket}/standard", data, tmp_path, storage_class="STANDARD")
    if server.faults.get("storage-classes-of-its-own"):
        refused = await s3.put(f"{bucket}/key", b"", storage_class="STANDARD_IA")
        said = parse_error(refused.content)
        assert (refused.status_code, said and said.code) == (400, "InvalidArgument")
        return
    await method(s3, f"{bucket}/key", data, tmp_path, storage_class="STANDARD_IA")
    listed = witness.client.list_objects_v2(Bucket=bucket)["Contents"]
    assert {item["Key"]: item["StorageClass"] for item in listed} == {"key": "STANDARD_IA", "standard": "STANDARD"}


@ALL
async def test_what_botocore_says_of_an_object_we_read(s3: S3Client, bucket: str, witness: Witness) -> None:
    """On every loop."""
    witness.put(
        bucket, "key", SMALL, ContentType="text/x", Metadata={"who": "botocore"}, CacheControl="no-store",
        ContentDisposition="inline", ContentEncoding="x-none", ContentLanguage="en",
    )  # fmt: skip
    head = await s3.head(f"{bucket}/key")
    for name, value in {
        "content-type": "text/x",
        "x-amz-meta-who": "botocore",
        "cache-control": "no-store",
        "content-disposition": "inline",
        "content-encoding": "x-none",
        "content-language": "en",
    }.items():
        assert head.headers[name] == value
    async with s3.stream(f"{bucket}/key") as answer:
        assert (answer.metadata, answer.content_type) == ({"who": "botocore"}, "text/x")


# --- encryption


@ALL
@ONCE
@ONE_AND_PARTS
async def test_a_key_of_ones_own(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """Botocore reads it with the key, and nobody without."""
    await method(s3, f"{bucket}/key", data, tmp_path, sse=KEY)
    assert witness.get(bucket, "key", **THEIRS) == data
    told = witness.head(bucket, "key", **THEIRS).get("SSECustomerKeyMD5")
    md5 = dict(options.customer_key_headers(KEY))["x-amz-server-side-encryption-customer-key-MD5"]
    assert told == (None if server.faults.get("sse-c-not-told") else md5)
    kept = (await s3.head(f"{bucket}/key", sse=KEY)).headers.get("x-amz-server-side-encryption-customer-key")
    assert (kept is not None) is bool(server.faults.get("sse-c-key-told"))
    ignored = bool(server.faults.get("sse-c-ignored"))
    for wishes in ({}, {"sse": OTHER}):
        for ask in (s3.get, s3.head):
            answer = await ask(f"{bucket}/key", **wishes)  # type: ignore[arg-type]
            assert answer.status_code == (200 if ignored else 400)


@FULL
@ONCE
async def test_we_read_what_botocore_has_encrypted(
    s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    witness.put(bucket, "key", LARGE, **THEIRS)
    for method in READERS:
        assert await method(s3, f"{bucket}/key", tmp_path, sse=KEY) == LARGE, method
    assert await get(s3, f"{bucket}/key", tmp_path, sse=KEY, byte_range=(PART - 5, PART + 1)) == LARGE[PART - 5 :]
    if not server.faults.get("sse-c-ignored"):
        for method in (download, read, stream):
            with pytest.raises(S3Error) as caught:
                await method(s3, f"{bucket}/key", tmp_path)
            assert caught.value.status == 400


@FULL
@ONCE
async def test_an_encrypted_upload_goes_on(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    """Its parts are listed with the key; their ETags may be no MD5s, and then they are sent again."""
    (tmp_path / "source").write_bytes(LARGE)

    def stop(_: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await s3.upload(
            f"{bucket}/key", tmp_path / "source", part_size=PART, workers_count=1, resume=True, progress=stop, sse=KEY
        )
    ((_, upload_id),) = witness.uploads(bucket)
    await s3.upload(f"{bucket}/key", tmp_path / "source", part_size=PART, resume=True, sse=KEY)
    assert witness.get(bucket, "key", **THEIRS) == LARGE
    assert upload_id not in dict(witness.uploads(bucket)).values()


@ALL
@ONCE
@ONE_AND_PARTS
async def test_keys_of_the_servers(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    await method(s3, f"{bucket}/s3", data, tmp_path, sse=SSES3())
    told = witness.head(bucket, "s3").get("ServerSideEncryption")
    assert told == (None if server.faults.get("sse-s3-ignored") else "AES256")
    kms = SSEKMS(key_id="testkey-1", context={"who": "us"}, bucket_key=True)
    await method(s3, f"{bucket}/kms", data, tmp_path, sse=kms)
    head = witness.head(bucket, "kms")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "testkey-1")
    fault = "multipart-bucket-key-not-told" if data is LARGE else "bucket-key-not-told"
    assert head.get("BucketKeyEnabled") == (None if server.faults.get(fault) else True)
    assert witness.get(bucket, "kms") == data
    assert (await s3.get(f"{bucket}/kms")).content == data


@FULL
@ONCE
async def test_keys_that_the_server_has_not(s3: S3Client, bucket: str, server: Server) -> None:
    def code(answer: Any) -> tuple[int, str | None]:
        said = parse_error(answer.content)
        return answer.status_code, said.code if said else None

    ok = (200, None)
    unknown = await s3.put(f"{bucket}/key", b"", sse=SSEKMS(key_id="no-such-key"))
    assert server.faults.get("sse-kms-unknown-keys")  # all of them are wrong, each in a way of its own
    assert code(unknown) == ((403, "InvalidAccessKeyId") if server.name == "rgw" else ok)
    own = await s3.put(f"{bucket}/key", b"", sse=SSEKMS())
    assert code(own) == ((400, "InvalidArgument") if server.faults.get("sse-kms-wants-a-key-id") else ok)
    twice = await s3.put(f"{bucket}/key", b"", sse=SSEKMS(key_id="testkey-1", dual_layer=True))
    assert code(twice) == ((400, "InvalidArgument") if server.faults.get("no-dual-layer") else ok)


# --- conditions


@ALL
@ONCE
@ONE_AND_PARTS
async def test_writes_with_conditions(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """If there is none; and if it is this one. Of an upload in parts Complete decides."""
    name = f"{bucket}/key"
    none, this = ("put-if-none-match-ignored", "put-if-match-ignored")
    if data is LARGE:
        none, this = ("complete-if-none-match-ignored", "complete-if-match-ignored")
    await method(s3, name, data, tmp_path, if_none_match="*")
    etag = witness.head(bucket, "key")["ETag"]
    assert await refuses(method, s3, name, data, tmp_path, if_none_match="*") is not bool(server.faults.get(none))
    assert await refuses(method, s3, name, data, tmp_path, if_match=WRONG) is not bool(server.faults.get(this))
    quotes = bool(server.faults.get("put-if-match-wants-unquoted"))
    await method(s3, name, data, tmp_path, if_match=etag.strip('"') if quotes else etag)
    assert witness.get(bucket, "key") == data
    assert witness.uploads(bucket) == []


async def refuses(method: Writer, s3: S3Client, name: str, data: bytes, folder: Path, **wishes: Any) -> bool:
    """Whether a condition is said not to hold; HTTP's methods give the answer, which ``put`` and others raise."""
    try:
        await method(s3, name, data, folder, **wishes)
    except PreconditionFailed:
        return True
    except Exception as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status != 412:
            raise
        return True
    return False


@FULL
@ONCE
@pytest.mark.parametrize("method", READERS)
async def test_reads_with_conditions(
    method: Reader, s3: S3Client, bucket: str, witness: Witness, tmp_path: Path
) -> None:
    name, etag = f"{bucket}/key", f'"{witness.put(bucket, "key", LARGE)}"'
    modified = witness.head(bucket, "key")["LastModified"]
    hour = timedelta(hours=1)
    holds: list[dict[str, Any]] = [
        {"if_match": etag, "if_unmodified_since": modified},
        {"if_none_match": WRONG, "if_modified_since": modified - hour},
        {"if_unmodified_since": modified + hour},
    ]
    for wishes in holds:
        assert await method(s3, name, tmp_path, **wishes) == LARGE, wishes
    fails: list[tuple[dict[str, Any], type[S3Error], int]] = [
        ({"if_match": WRONG}, PreconditionFailed, 412),
        ({"if_unmodified_since": modified - hour}, PreconditionFailed, 412),
        ({"if_none_match": etag}, NotModified, 304),
        ({"if_modified_since": modified}, NotModified, 304),
    ]
    for wishes, kind, status in fails:
        if method in (get, get_ranges):
            assert (await s3.get(name, **wishes)).status_code == status
            assert (await s3.head(name, **wishes)).status_code == status
        else:
            with pytest.raises(kind):
                await method(s3, name, tmp_path, **wishes)


@FULL
@ONCE
async def test_a_resumed_download_asks_since_when(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    """Where If-Match holds a server does not look at If-Unmodified-Since: so it is asked without."""
    witness.put(bucket, "key", LARGE)
    modified = witness.head(bucket, "key")["LastModified"]
    name, target = f"{bucket}/key", tmp_path / "target"

    def stop(_: object) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await s3.download(name, target, part_size=PART // 2, workers_count=1, resume=True, progress=stop)
    with pytest.raises(PreconditionFailed):
        await s3.download(name, target, resume=True, if_unmodified_since=modified - timedelta(hours=1))
    result = await s3.download(name, target, resume=True, if_unmodified_since=modified)
    assert (target.read_bytes() == LARGE, result.resumed) == (True, 0)


# --- versions


@FULL
@ONCE
async def test_versions(s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    """Botocore writes them, and each is read by its id, also where the latest one is a marker."""
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    name, bodies = f"{bucket}/key", {}
    for body in (LARGE, LARGE[::-1]):
        bodies[witness.client.put_object(Bucket=bucket, Key="key", Body=body)["VersionId"]] = body
    for version, body in bodies.items():
        for method in READERS:
            same = await method(s3, name, tmp_path, version_id=version) == body
            assert same, method  # pytest would compare megabytes byte by byte, to show how they differ
        head = await s3.head(name, version_id=version)
        assert head.headers["x-amz-version-id"] == version
    unknown = await s3.get(name, version_id="3HL4kqtJvjVBH40Nrjfkd")
    said = parse_error(unknown.content)
    code = "NoSuchKey" if server.faults.get("unknown-version-is-no-such-key") else "NoSuchVersion"
    assert (unknown.status_code, said and said.code) == (404, code)
    with pytest.raises(NotFound):
        await s3.download(name, tmp_path / "target", version_id="3HL4kqtJvjVBH40Nrjfkd")
    older, newer = bodies
    assert (await s3.delete(name, version_id=newer)).status_code == 204
    assert witness.get(bucket, "key") == LARGE
    assert (await s3.delete(name)).headers["x-amz-delete-marker"] == "true"
    assert not witness.exists(bucket, "key")
    assert await download(s3, name, tmp_path, version_id=older) == LARGE


@FULL
@ONCE
async def test_a_download_goes_on_with_the_version_it_began(
    s3: S3Client, bucket: str, witness: Witness, tmp_path: Path
) -> None:
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    name, target = f"{bucket}/key", tmp_path / "target"
    older, newer = (
        witness.client.put_object(Bucket=bucket, Key="key", Body=body)["VersionId"] for body in (LARGE, LARGE[::-1])
    )

    def stop(_: object) -> None:
        raise KeyError

    async def begin() -> None:
        with pytest.raises(KeyError):
            await s3.download(
                name, target, part_size=PART // 2, workers_count=1, resume=True, progress=stop, version_id=older
            )

    await begin()
    result = await s3.download(name, target, part_size=PART // 2, resume=True, version_id=older)
    assert (target.read_bytes() == LARGE, result.resumed > 0) == (True, True)
    for wishes in ({"version_id": newer}, {}):
        await begin()
        result = await s3.download(name, target, part_size=PART // 2, resume=True, **wishes)
        assert (target.read_bytes() == LARGE[::-1], result.resumed) == (True, 0)


# --- locks


@FULL
@ONCE
@ONE_AND_PARTS
async def test_retention_and_hold(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """And their end: a hold that is lifted, a retention that is passed over."""
    locked, aws = f"{bucket}-locked", witness.client
    aws.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    name, until = f"{locked}/key", datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    await method(
        s3, name, data, tmp_path, retention_mode="GOVERNANCE", retain_until=until, legal_hold=True, tags={"a": "b"}
    )
    head = witness.head(locked, "key")
    if data is LARGE and server.faults.get("multipart-lock-ignored"):
        assert not [fact for fact in head if fact.startswith("ObjectLock")]
    else:
        assert (head["ObjectLockMode"], head["ObjectLockLegalHoldStatus"]) == ("GOVERNANCE", "ON")
        assert head["ObjectLockRetainUntilDate"] == until
        version = head["VersionId"]
        assert (await s3.delete(name, version_id=version, bypass_governance=True)).status_code == 403
        aws.put_object_legal_hold(Bucket=locked, Key="key", VersionId=version, LegalHold={"Status": "OFF"})
        assert (await s3.delete(name, version_id=version)).status_code == 403
    done = await s3.delete(name, version_id=head["VersionId"], bypass_governance=True)
    assert done.status_code == 204
    aws.delete_bucket(Bucket=locked)


@FULL
@ONCE
async def test_a_retention_wants_a_checksum(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """The reason why one is sent with it, and why by headers alone it is the caller's business."""
    locked = f"{bucket}-locked"
    witness.client.create_bucket(Bucket=locked, ObjectLockEnabledForBucket=True)
    headers = options.write_headers({"retention_mode": "GOVERNANCE", "retain_until": datetime.now(UTC) + timedelta(1)})
    bare = await s3.put(f"{locked}/key", b"", headers=headers)
    assert bare.status_code == (200 if server.faults.get("lock-without-checksum-accepted") else 400)


# --- answers


@ALL
@ONCE
async def test_headers_of_an_answer(s3: S3Client, bucket: str, witness: Witness, tmp_path: Path) -> None:
    witness.put(bucket, "key", LARGE, ContentType="text/x")
    wishes: dict[str, Any] = {
        "response_cache_control": "no-store",
        "response_content_disposition": 'attachment; filename="ü"',
        "response_content_encoding": "x-none",
        "response_content_language": "en",
        "response_content_type": "a/b; c=d",
        "response_expires": THEN,
    }
    answer = await s3.get(f"{bucket}/key", **wishes)
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    for name, value in {
        "cache-control": "no-store",
        "content-encoding": "x-none",
        "content-language": "en",
        "content-type": "a/b; c=d",
        "expires": "Mon, 22 Nov 2027 12:00:00 GMT",
    }.items():
        assert answer.headers[name] == value
    for method in READERS:
        assert await method(s3, f"{bucket}/key", tmp_path, **wishes) == LARGE
    async with s3.stream(f"{bucket}/key", response_content_type="a/b") as whole:
        assert whole.content_type == "a/b"


@ALL
async def test_ranges(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    """On every loop."""
    witness.put(bucket, "key", SMALL)
    for asked, body in (((0, 1), SMALL[:1]), ((990, None), SMALL[990:]), ((990, 5000), SMALL[990:])):
        answer = await s3.get(f"{bucket}/key", byte_range=asked)
        assert answer.content == body
        assert answer.status_code == (200 if server.faults.get("range-is-200") else 206)
    assert (await s3.get(f"{bucket}/key", byte_range=(1000, None))).status_code == 416


@ALL
@ONCE
@ONE_AND_PARTS
async def test_owners_and_payers(
    method: Writer, data: bytes, s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """They are taken; that another's bucket is refused shows a scripted peer, for no server here looks."""
    await method(s3, f"{bucket}/key", data, tmp_path, expected_bucket_owner="000000000000", request_payer=True)
    assert server.faults.get("owner-ignored")
    for reader in READERS:
        wishes = {"expected_bucket_owner": "000000000000", "request_payer": True}
        assert await reader(s3, f"{bucket}/key", tmp_path, **wishes) == data
    deleted = await s3.delete(f"{bucket}/key", expected_bucket_owner="000000000000", request_payer=True)
    assert deleted.status_code == 204
    assert not witness.exists(bucket, "key")


@FULL
@ONCE
async def test_deletes_with_conditions(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    etag = witness.put(bucket, "key")
    refused = await s3.delete(f"{bucket}/key", if_match=WRONG)
    if server.faults.get("delete-if-match-ignored"):
        assert (refused.status_code, witness.exists(bucket, "key")) == (204, False)
        return
    assert (refused.status_code, witness.exists(bucket, "key")) == (412, True)
    assert (await s3.delete(f"{bucket}/key", if_match=f'"{etag}"')).status_code == 204
    assert not witness.exists(bucket, "key")


# --- mutations


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
@ONCE
async def test_mutation_parts_without_the_key(
    s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handtruck.protocol.operations.base._CUSTOMER_KEY", "no such header")
    with pytest.raises(S3Error):
        await test_a_key_of_ones_own(put_multipart, LARGE, s3, bucket, witness, server, tmp_path)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@ONCE
async def test_mutation_conditions_that_nobody_hears_of(
    s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handtruck.protocol.operations.base.CONDITIONAL", frozenset())
    with pytest.raises(AssertionError):
        await test_writes_with_conditions(put_multipart, LARGE, s3, bucket, witness, server, tmp_path)


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
@ONCE
async def test_mutation_any_version(
    s3: S3Client, bucket: str, witness: Witness, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handtruck.protocol.options._query", lambda _: ())
    with pytest.raises(AssertionError):
        await test_versions(s3, bucket, witness, server, tmp_path)
