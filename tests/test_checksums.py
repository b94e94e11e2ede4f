"""Checksums: what is sent with an upload, what a download is compared with, and who asks for either.

The small S3 verifies them as S3 does (:mod:`tests.scripted.sums`); no server that can be installed would.

Each mutation at the end breaks one guarantee, and sees its check go red.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import pytest

import handtruck._body
from handtruck.errors import ChecksumMismatch, NotFound, PreconditionFailed, S3Error, UsageError
from handtruck.models import Checksum
from handtruck.protocol import checksums, crc
from handtruck.protocol.parts import MIN_PART_SIZE
from handtruck.transfer import download, files, multipart, upload, verify
from handtruck.transfer.partial import PartialTarget
from handtruck.transfer.resume import FileUpload
from tests.scripted import Reply, Request, TinyS3, client, error, serve, store, sums, truncated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from handtruck import S3Client
    from handtruck.models import ChecksumAlgorithm

pytestmark = pytest.mark.anyio

PART: Final = MIN_PART_SIZE
LONG: Final = bytes(range(251)) * (PART // 251 + 2)  # two parts, the last one short
SHORT: Final = b"some bytes"
STEP: Final = 1000
BODY: Final = bytes(range(251)) * 20
OLD: Final = b"what was there before"
BOTH: Final = ("CRC32", "SHA256")  # one that is combined, and one that cannot be


@pytest.fixture(name="source")
def _source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(LONG)
    return path


@pytest.fixture(name="target")
def _target(tmp_path: Path) -> Path:
    """A file that exists before it is downloaded to."""
    path = tmp_path / "folder" / "target"
    path.parent.mkdir()
    path.write_bytes(OLD)
    return path


def summed(request: Request) -> dict[str, str]:
    """What a request says of checksums, without their common beginning."""
    pairs = ((name.lower(), value) for name, value in request.headers)
    return {name.removeprefix("x-amz-"): value for name, value in pairs if "checksum" in name or "content-md5" in name}


def whole(algorithm: str, data: bytes) -> Checksum:
    return Checksum(algorithm=crc.named(algorithm), value=sums.value_of(algorithm, data))


# -- Uploads -----------------------------------------------------------------------------------------------------------


async def goes_as_one(s3: S3Client, tiny: TinyS3, algorithm: ChecksumAlgorithm) -> None:
    """The promise: the body's checksum goes with it, and S3 finds it right."""
    result = await s3.upload("b/k", SHORT, checksum=algorithm)
    assert result.checksum == whole(algorithm, SHORT)
    assert (await s3.put("b/k", SHORT.decode(), checksum=algorithm)).status_code == 200
    assert (await s3.put("b/k", iter([SHORT]), checksum=algorithm)).status_code == 200
    async with s3.open("b/k", "wb", checksum=algorithm) as file:
        await file.write(SHORT)
    assert file.result.checksum == whole(algorithm, SHORT)
    expected = {"sdk-checksum-algorithm": algorithm, f"checksum-{algorithm.lower()}": whole(algorithm, SHORT).value}
    assert [summed(request) for request in tiny.sent("PutObject")] == [expected] * 4
    assert tiny.objects["b/k"].sum == sums.Sum(algorithm, whole(algorithm, SHORT).value)


@pytest.mark.parametrize("algorithm", crc.ALGORITHMS)
async def test_one_put(algorithm: ChecksumAlgorithm) -> None:
    async with store() as (s3, tiny):
        await goes_as_one(s3, tiny, algorithm)


@pytest.mark.parametrize("algorithm", BOTH)
async def test_large_bodies_and_empty_ones(algorithm: ChecksumAlgorithm, source: Path) -> None:
    """Whatever the way, it is computed off the loop: the suite's guard watches."""
    async with store() as (s3, tiny):
        for data in (LONG, b""):
            source.write_bytes(data)
            expected = sums.Sum(algorithm, whole(algorithm, data).value)
            ways: tuple[Callable[[], Awaitable[object]], ...] = (
                partial(s3.put, "b/k", data, checksum=algorithm),
                partial(s3.put_file, "b/k", source, checksum=algorithm),
                partial(s3.put_file, "b/k", source, checksum=algorithm, content_sha256="UNSIGNED-PAYLOAD"),
                partial(s3.put_file_multipart, "b/k", source, part_size=len(LONG), checksum=algorithm),
                partial(
                    s3.upload, "b/k", data, part_size=len(LONG), checksum=algorithm, calculate_content_sha256=False
                ),
            )
            for way in ways:
                tiny.objects.clear()
                await way()
                assert tiny.objects["b/k"].data == data
                assert tiny.objects["b/k"].sum == expected
        assert tiny.sent("CreateMultipartUpload") == []


async def goes_in_parts(s3: S3Client, tiny: TinyS3, algorithm: ChecksumAlgorithm, source: Path | bytes) -> None:
    """The promise: every part's checksum, their list, and for CRCs that of the whole; S3 finds all of them right."""
    kind = "FULL_OBJECT" if crc.combines(algorithm) else "COMPOSITE"
    header, pieces = (
        f"checksum-{algorithm.lower()}",
        [LONG[start : start + PART] for start in range(0, len(LONG), PART)],
    )
    result = await s3.upload("b/k", source, part_size=PART, workers_count=2, checksum=algorithm)
    [create] = tiny.sent("CreateMultipartUpload")
    assert summed(create) == {"checksum-algorithm": algorithm, "checksum-type": kind}
    parts = {int(request.query["partNumber"]): summed(request) for request in tiny.sent("UploadPart")}
    assert parts == {n: {header: sums.value_of(algorithm, piece)} for n, piece in enumerate(pieces, 1)}
    [complete] = tiny.sent("CompleteMultipartUpload")
    assert complete.body.count(f"</Checksum{algorithm}>".encode()) == len(pieces)
    stored = tiny.objects["b/k"].sum
    assert stored is not None
    assert result.checksum is not None
    assert (stored.kind, stored.value) == (kind, checksums.written(result.checksum))
    if kind == "FULL_OBJECT":
        assert result.checksum == whole(algorithm, LONG)
        assert summed(complete) == {header: result.checksum.value, "checksum-type": kind}
    else:
        assert summed(complete) == {}
        assert result.checksum.parts == len(pieces)


@pytest.mark.parametrize("algorithm", crc.ALGORITHMS)
async def test_multipart_uploads(algorithm: ChecksumAlgorithm, source: Path) -> None:
    async with store() as (s3, tiny):
        await goes_in_parts(s3, tiny, algorithm, source)


@pytest.mark.parametrize("algorithm", BOTH)
async def test_multipart_uploads_of_streams(algorithm: ChecksumAlgorithm) -> None:
    async with store() as (s3, tiny):
        await goes_in_parts(s3, tiny, algorithm, LONG)
        done = await s3.put_multipart("b/k", iter([LONG]), part_size=PART, checksum=algorithm)
        assert done.checksum is not None
        assert (done.checksum.type == "FULL_OBJECT") is crc.combines(algorithm)
        answer = await s3.put("b/k", iter([LONG]), checksum=algorithm)
        assert answer.status_code == 200
        stored = tiny.objects["b/k"].sum
        assert stored is not None
        assert stored.algorithm == algorithm


async def test_a_composite_crc_where_the_caller_wants_one() -> None:
    async with store() as (s3, tiny):
        composite = {"x-amz-checksum-type": "COMPOSITE"}
        result = await s3.upload("b/k", LONG, part_size=PART, checksum="CRC32", headers=composite)
        stored = tiny.objects["b/k"].sum
        assert stored is not None
        assert result.checksum is not None
        assert (result.checksum.type, stored.kind) == ("COMPOSITE", "COMPOSITE")
        assert stored.value == f"{result.checksum.value}-2"


async def _garbled(request: Request) -> None:
    body = await request.read()
    request.body = body[:-1] + b"!"


async def is_refused(s3: S3Client, tiny: TinyS3, algorithm: ChecksumAlgorithm) -> None:
    """The promise: what changes on its way, though nobody signed it, is not stored."""
    unsigned: dict[str, Any] = {"calculate_content_sha256": False, "checksum": algorithm}
    for operation, data in (("PutObject", SHORT), ("UploadPart", LONG)):
        tiny.on(operation, _garbled)
        with pytest.raises(S3Error) as caught:
            await s3.upload("b/k", data, part_size=PART, **unsigned)
        assert (caught.value.code, caught.value.operation) == ("BadDigest", operation)
        assert (tiny.objects, tiny.uploads) == ({}, {})


@pytest.mark.parametrize("algorithm", BOTH)
async def test_what_changes_on_its_way_is_refused(algorithm: ChecksumAlgorithm) -> None:
    async with store() as (s3, tiny):
        await is_refused(s3, tiny, algorithm)


OTHER: Final = ("x-amz-checksum-crc32", sums.value_of("CRC32", b"other"))


async def is_noticed(s3: S3Client, tiny: TinyS3, operation: str) -> None:
    """The promise: where S3 tells that it has got something else, that is an error."""
    completed = (
        f"<CompleteMultipartUploadResult><ETag>e</ETag><ChecksumCRC32>{OTHER[1]}</ChecksumCRC32>"
        "<ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>"
    )
    body = completed.encode() if operation == "CompleteMultipartUpload" else b""
    tiny.on(operation, after=Reply(headers=(("ETag", '"e"'), OTHER), body=body))
    with pytest.raises(ChecksumMismatch, match=f"{operation} b/k: .*S3 answers {OTHER[1]}") as caught:
        await s3.upload("b/k", SHORT if operation == "PutObject" else LONG, part_size=PART, checksum="CRC32")
    assert tiny.uploads == {}
    assert ("the object was written" in str(caught.value)) is ("b/k" in tiny.objects)


@pytest.mark.parametrize("operation", ["PutObject", "UploadPart", "CompleteMultipartUpload"])
async def test_what_s3_says_that_it_got(operation: str) -> None:
    async with store() as (s3, tiny):
        await is_noticed(s3, tiny, operation)


# -- Who asks for them -------------------------------------------------------------------------------------------------


async def _write_everywhere(s3: S3Client, source: Path, **options: Any) -> None:
    await s3.put("b/k", SHORT, **options)
    await s3.put("b/k", iter([SHORT]), **options)
    await s3.put_file("b/k", source, **options)
    await s3.put_multipart("b/k", [SHORT], **options)
    await s3.put_file_multipart("b/k", source, part_size=PART, **options)
    await s3.upload("b/k", SHORT, **options)
    async with s3.open("b/k", "wb", **options) as file:
        await file.write(SHORT)


def _aws(s3: S3Client) -> None:
    s3._session.endpoint = replace(s3._session.endpoint, aws=True)


async def says_nothing(s3: S3Client, tiny: TinyS3, source: Path, **options: Any) -> None:
    """The promise: no request speaks of a checksum."""
    await _write_everywhere(s3, source, **options)
    assert len(tiny.calls) > 7
    assert [summed(request) for _, request in tiny.calls if summed(request)] == []


async def test_a_custom_endpoint_hears_of_none_unless_asked(source: Path) -> None:
    async with store() as (s3, tiny):
        await says_nothing(s3, tiny, source)
        await says_nothing(s3, tiny, source, content_type="text/plain")


async def test_aws_gets_a_crc32(source: Path) -> None:
    async with store() as (s3, tiny):
        _aws(s3)
        await _write_everywhere(s3, source)
        puts = [summed(request) for request in tiny.sent("PutObject")]
        assert len(puts) == 6
        assert all(put["sdk-checksum-algorithm"] == "CRC32" and put["checksum-crc32"] for put in puts)
        assert [summed(r)["checksum-algorithm"] for r in tiny.sent("CreateMultipartUpload")] == ["CRC32"]
        assert all(summed(request)["checksum-crc32"] for request in tiny.sent("UploadPart"))


async def test_aws_gets_none_where_that_is_said(source: Path) -> None:
    async with store() as (s3, tiny):
        _aws(s3)
        await says_nothing(s3, tiny, source, checksum=None)


async def test_aws_gets_only_the_callers_own() -> None:
    async with store() as (s3, tiny):
        _aws(s3)
        await s3.put("b/k", SHORT, headers={"Content-MD5": "vt8bjuVqhmfp7lJLVXtLxQ=="})
        await s3.put("b/k", SHORT, headers={"X-Amz-Checksum-SHA256": sums.value_of("SHA256", SHORT)})
        await s3.put("b/k", SHORT, checksum="SHA1")
        sent = [summed(request) for request in tiny.sent("PutObject")]
        assert [len(each) for each in sent] == [1, 1, 2]


async def test_aws_gets_none_with_what_is_no_object() -> None:
    async with store() as (s3, tiny):
        _aws(s3)
        await s3.put("bucket", b"")
        await s3.put("b/k", b"<Tagging/>", params={"tagging": None})
        await s3.delete("b/k")
        assert [summed(request) for _, request in tiny.calls] == [{}, {}, {}]


async def test_aws_gets_none_with_a_part_that_is_sent_by_hand() -> None:
    """Of an upload that was begun without one S3 refuses it, whatever else is said of the part."""
    async with store() as (s3, tiny):
        _aws(s3)
        await s3.post("b/k", params={"uploads": None})
        for data in (SHORT, iter([SHORT])):
            part = {"partNumber": "1", "uploadId": "upload-1"}
            assert (await s3.put("b/k", data, params=part, request_payer=True)).status_code == 200
        await s3.post("b/k", params={"uploads": None}, headers={"x-amz-checksum-algorithm": "SHA1"})
        answer = await s3.put("b/k", SHORT, params={"partNumber": "1", "uploadId": "upload-2"}, checksum="SHA1")
        assert answer.status_code == 200
        assert [len(summed(request)) for request in tiny.sent("UploadPart")] == [0, 0, 2]


async def test_what_is_kept_gets_one_where_the_buckets_name_is_not_known(source: Path) -> None:
    tiny = TinyS3()
    async with serve(tiny) as peer, client(peer, addressing="virtual") as s3:
        assert s3._session.endpoint.bucket is None
        await s3.put("key", SHORT, legal_hold=True)
        await s3.put_file("key", source, legal_hold=True)
        assert ["checksum-crc32" in summed(request) for request in tiny.sent("PutObject")] == [True, True]


@pytest.mark.parametrize(
    ("url", "aws"),
    [
        ("https://s3.amazonaws.com", True),
        ("https://bucket.s3.eu-west-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn/bucket", True),
        ("https://s3.amazonaws.com.example.org", False),
        ("http://localhost:9000/bucket", False),
    ],
)
async def test_which_hosts_are_aws(url: str, aws: bool) -> None:
    from handtruck import S3Client

    async with S3Client(url, access_key_id="k", secret_access_key="s") as s3:
        assert s3._session.endpoint.aws is aws


@pytest.mark.parametrize("header", ["Content-MD5", "x-amz-checksum-sha1", "x-amz-checksum-algorithm"])
async def test_two_checksums_are_refused(header: str) -> None:
    async with store() as (s3, tiny):
        for way in (s3.put, s3.upload):
            with pytest.raises(UsageError, match="given"):
                await way("b/k", SHORT, checksum="CRC32", headers={header: "CRC32"})
        assert tiny.calls == []


@pytest.mark.parametrize(("algorithm", "kind"), [("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")])
async def test_types_that_s3_has_not_are_refused(algorithm: ChecksumAlgorithm, kind: str) -> None:
    async with store() as (s3, tiny):
        with pytest.raises(UsageError, match=f"'{kind}', which S3 has not of {algorithm}"):
            await s3.upload("b/k", LONG, part_size=PART, checksum=algorithm, headers={"x-amz-checksum-type": kind})
        assert tiny.calls == []


async def test_what_is_unknown_or_not_installed_is_refused_before_anything_is_sent(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "awscrt", None)
    monkeypatch.delitem(sys.modules, "awscrt.checksums", raising=False)
    unknown: Any = "MD5"
    missing: ChecksumAlgorithm = "CRC64NVME"
    async with store() as (s3, tiny):
        for algorithm, why in ((unknown, "checksum must be one of"), (missing, "needs an extra")):
            for way in (
                s3.put("b/k", SHORT, checksum=algorithm),
                s3.put("b/k", iter([SHORT]), checksum=algorithm),
                s3.put_file("b/k", source, checksum=algorithm),
                s3.put_multipart("b/k", [SHORT], checksum=algorithm),
                s3.upload("b/k", source, checksum=algorithm),
            ):
                with pytest.raises(UsageError, match=why):
                    await way
            with pytest.raises(UsageError, match=why):
                s3.open("b/k", "wb", checksum=algorithm)
        assert tiny.calls == []


# -- Uploads that go on ------------------------------------------------------------------------------------------------


async def _stopped(s3: S3Client, tiny: TinyS3, source: Path, algorithm: ChecksumAlgorithm | None) -> None:
    tiny.on("UploadPart", error(403, "AccessDenied"), nth=2)
    with pytest.raises(S3Error):
        await s3.upload("b/k", source, part_size=PART, workers_count=1, resume=True, checksum=algorithm)
    tiny.hooks.clear()


async def goes_on(s3: S3Client, tiny: TinyS3, source: Path, algorithm: ChecksumAlgorithm) -> None:
    """The promise: parts that are there are not sent again, and Complete carries their checksums all the same."""
    await _stopped(s3, tiny, source, algorithm)
    assert len(tiny.uploads) == 1
    result = await s3.upload("b/k", source, part_size=PART, resume=True, checksum=algorithm)
    stored = tiny.objects["b/k"].sum
    assert stored is not None
    assert result.checksum is not None
    assert (result.resumed, stored.value) == (PART, checksums.written(result.checksum))
    assert len(tiny.sent("CreateMultipartUpload")) == 1
    [complete] = tiny.sent("CompleteMultipartUpload")
    assert complete.body.count(f"</Checksum{algorithm}>".encode()) == 2


@pytest.mark.parametrize("algorithm", BOTH)
async def test_resumed_uploads(algorithm: ChecksumAlgorithm, source: Path) -> None:
    async with store() as (s3, tiny):
        await goes_on(s3, tiny, source, algorithm)


async def test_another_algorithm_is_another_upload(source: Path) -> None:
    async with store() as (s3, tiny):
        for before, now in pairwise((None, "CRC32", "SHA256", None)):
            await _stopped(s3, tiny, source, crc.named(before) if before else None)
            result = await s3.upload(
                "b/k", source, part_size=PART, resume=True, checksum=crc.named(now) if now else None
            )
            assert (result.resumed, tiny.uploads) == (0, {})
            assert (result.checksum.algorithm if result.checksum else None) == now


# -- Downloads ---------------------------------------------------------------------------------------------------------


def put(tiny: TinyS3, data: bytes, algorithm: str | None, *, parts: int = 0) -> None:
    """An object with a checksum; composite where it was made of parts."""
    tiny.put("b/k", data)
    if algorithm is not None:
        value = sums.value_of(algorithm, data)
        tiny.objects["b/k"].sum = (
            sums.Sum(algorithm, f"{value}-{parts}", "COMPOSITE") if parts else sums.Sum(algorithm, value)
        )


def corrupt(tiny: TinyS3, position: int = -1) -> None:
    """Bytes change, and nothing that is known of them does."""
    stored = tiny.objects["b/k"]
    data = bytearray(stored.data)
    data[position] ^= 1
    stored.data = bytes(data)


def untouched(target: Path) -> bool:
    return target.read_bytes() == OLD and [path.name for path in target.parent.iterdir()] == [target.name]


async def is_compared(s3: S3Client, tiny: TinyS3, target: Path, algorithm: ChecksumAlgorithm, **options: Any) -> None:
    """The promise: what is right arrives, and is said to be right; what is not leaves the target alone."""
    put(tiny, BODY, algorithm)
    result = await s3.download("b/k", target, part_size=STEP, verify=True, **options)
    assert (result.checksum, target.read_bytes()) == (whole(algorithm, BODY), BODY)
    [head] = tiny.sent("HeadObject")
    assert head.header("x-amz-checksum-mode") == "ENABLED"
    target.write_bytes(OLD)
    for position in (0, STEP - 1, 2 * STEP, -1):
        put(tiny, BODY, algorithm)
        corrupt(tiny, position)
        with pytest.raises(ChecksumMismatch, match=f"GetObject b/k: the {algorithm} of the bytes that came"):
            await s3.download("b/k", target, part_size=STEP, verify=True, **options)
        assert untouched(target)


@pytest.mark.parametrize("algorithm", crc.ALGORITHMS)
async def test_downloads_are_compared(algorithm: ChecksumAlgorithm, target: Path) -> None:
    async with store() as (s3, tiny):
        await is_compared(s3, tiny, target, algorithm)


@pytest.mark.parametrize("options", [{"workers_count": 1}, {"resume": True}, {"part_size": 2 * len(BODY)}], ids=str)
async def test_other_ways_to_download(options: dict[str, Any], target: Path) -> None:
    async with store() as (s3, tiny):
        step = options.pop("part_size", STEP)
        put(tiny, BODY, "CRC32")
        assert (await s3.download("b/k", target, part_size=step, verify=True, **options)).checksum is not None
        corrupt(tiny)
        target.write_bytes(OLD)
        with pytest.raises(ChecksumMismatch):
            await s3.download("b/k", target, part_size=step, verify=True, **options)
        assert untouched(target)


async def test_get_file_parallel_and_many(target: Path) -> None:
    async with store() as (s3, tiny):
        put(tiny, BODY, "CRC32")
        done = await s3.get_file_parallel("b/k", target, range_step=STEP, workers_count=3, verify=True)
        assert done.checksum == whole("CRC32", BODY)
        async with s3.transfers() as transfers:
            one = transfers.download("b/k", target, part_size=STEP, verify=True)
        assert one.result is not None
        assert one.result.checksum == whole("CRC32", BODY)


@pytest.mark.parametrize("algorithm", BOTH)
@pytest.mark.parametrize("step", [STEP, 2 * len(BODY)])
async def test_into_a_stream(algorithm: ChecksumAlgorithm, step: int) -> None:
    """It has all bytes by then: it hears that they are wrong."""

    class Sink:
        taken = b""

        async def write(self, data: bytes) -> None:
            self.taken += data

    async with store() as (s3, tiny):
        put(tiny, BODY, algorithm)
        sink = Sink()
        result = await s3.download("b/k", sink, part_size=step, verify=True)
        assert (sink.taken, result.checksum) == (BODY, whole(algorithm, BODY))
        corrupt(tiny)
        with pytest.raises(ChecksumMismatch):
            await s3.download("b/k", Sink(), part_size=step, verify=True)


async def test_empty_objects(target: Path) -> None:
    async with store() as (s3, tiny):
        put(tiny, b"", "CRC32")
        assert (await s3.download("b/k", target, verify=True)).checksum == whole("CRC32", b"")
        assert target.read_bytes() == b""


async def test_adding_up_ends_with_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large object has so many pieces that it takes seconds."""
    pieces = {start: verify._Piece(start + 1, crc.new_hasher("CRC32")) for start in range(100)}
    looks: list[None] = []
    monkeypatch.setattr(verify, "stop_if_cancelled", lambda: looks.append(None))
    no_file: Any = None
    verify.Tally("CRC32", pieces).total(no_file, 100)
    assert len(looks) >= 100


async def test_the_question_is_put_once(target: Path) -> None:
    """A header that comes twice is another one to whoever checks the signature line by line."""
    async with store() as (s3, tiny):
        put(tiny, BODY, "CRC32")
        await s3.download("b/k", target, verify=True, headers={"X-Amz-Checksum-Mode": "ENABLED"})
        [head] = tiny.sent("HeadObject")
        assert [value for name, value in head.headers if name.lower() == "x-amz-checksum-mode"] == ["ENABLED"]


@pytest.mark.parametrize(("algorithm", "parts"), [(None, 0), ("SHA256", 3), ("CRC32", 1)])
async def test_what_is_not_of_the_whole_object_is_not_compared(algorithm: str | None, parts: int, target: Path) -> None:
    async with store() as (s3, tiny):
        put(tiny, BODY, algorithm, parts=parts)
        corrupt(tiny)
        result = await s3.download("b/k", target, part_size=STEP, verify=True)
        assert result.checksum is None
        assert target.read_bytes() == tiny.objects["b/k"].data


async def test_a_missing_object(target: Path) -> None:
    async with store() as (s3, _):
        with pytest.raises(NotFound, match="HeadObject b/k"):
            await s3.download("b/k", target, verify=True)
        assert untouched(target)


async def test_what_has_no_checksum_is_fetched_as_ever(target: Path) -> None:
    """Nothing is compared with what HEAD told: its ETag ties nothing."""
    async with store() as (s3, tiny):
        put(tiny, BODY, None)
        tiny.on("HeadObject", Reply(headers=(("ETag", '"another"'), ("Content-Length", "0"))))
        assert (await s3.download("b/k", target, part_size=STEP, verify=True)).checksum is None
        assert target.read_bytes() == BODY


async def test_nobody_asks_without_verify(target: Path) -> None:
    async with store() as (s3, tiny):
        put(tiny, BODY, "CRC32")
        assert (await s3.download("b/k", target, part_size=STEP)).checksum is None
        assert set(tiny.names) == {"GetObject"}
        assert [summed(request) for _, request in tiny.calls if summed(request)] == []


async def test_what_cannot_be_computed_is_said(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store() as (s3, tiny):
        put(tiny, BODY, "CRC64NVME")
        monkeypatch.setitem(sys.modules, "awscrt", None)
        monkeypatch.delitem(sys.modules, "awscrt.checksums", raising=False)
        with pytest.raises(UsageError, match=r"handtruck\[checksums\]"):
            await s3.download("b/k", target, verify=True)
        assert untouched(target)
        assert tiny.names == ["HeadObject"]


async def hears_of_another_version(s3: S3Client, tiny: TinyS3, target: Path, *, conditions: bool) -> None:
    """The promise: the checksum of one version is never compared with the bytes of another."""
    put(tiny, BODY, "CRC32")

    def replaced(_: Request) -> None:
        put(tiny, BODY[::-1], "CRC32")

    def ignored(request: Request) -> None:
        replaced(request)
        request.headers[:] = [(name, value) for name, value in request.headers if name.lower() != "if-match"]

    tiny.on("GetObject", replaced if conditions else ignored)
    with pytest.raises(PreconditionFailed):
        await s3.download("b/k", target, part_size=STEP, verify=True)
    assert untouched(target)


@pytest.mark.parametrize("conditions", [True, False])
async def test_an_object_that_is_replaced_after_it_was_asked_for(conditions: bool, target: Path) -> None:
    async with store() as (s3, tiny):
        await hears_of_another_version(s3, tiny, target, conditions=conditions)


async def test_a_server_without_ranges(target: Path) -> None:
    def plain(request: Request) -> None:
        request.headers[:] = [(name, value) for name, value in request.headers if name.lower() != "range"]

    async with store() as (s3, tiny):
        put(tiny, BODY, "CRC32")
        tiny.on("GetObject", plain)
        assert (await s3.download("b/k", target, part_size=STEP, verify=True)).checksum == whole("CRC32", BODY)
        corrupt(tiny)
        with pytest.raises(ChecksumMismatch):
            await s3.download("b/k", target, part_size=STEP, verify=True)


async def is_not_read_again(s3: S3Client, tiny: TinyS3, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The promise: CRCs are summed as bytes come; where ranges broke off, too."""
    reads: list[int] = []
    read_into = files.PositionalFile.read_into

    def counted(self: files.PositionalFile, view: memoryview, offset: int) -> int:
        reads.append(len(view))
        return read_into(self, view, offset)

    monkeypatch.setattr(files.PositionalFile, "read_into", counted)
    put(tiny, BODY, "CRC32")
    for nth in (2, 4):
        tiny.on("GetObject", _cut_off(tiny), nth=nth)
    result = await s3.download("b/k", target, part_size=STEP, workers_count=3, verify=True)
    assert (result.checksum, reads) == (whole("CRC32", BODY), [])


def _cut_off(tiny: TinyS3) -> Callable[[Request], Reply]:
    return lambda request: truncated(tiny.GetObject(request, "b/k"), 300)


async def test_ranges_are_summed_as_they_come(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store() as (s3, tiny):
        await is_not_read_again(s3, tiny, target, monkeypatch)


class Stop(Exception):
    """What ends an attempt."""


async def is_read_again(s3: S3Client, tiny: TinyS3, target: Path, algorithm: ChecksumAlgorithm) -> None:
    """The promise: what an earlier attempt has left counts, too; of wrong bytes nothing is kept for another one."""

    def progress(told: Any) -> None:
        if told.done >= 3 * STEP:
            raise Stop

    for wrong in (False, True):
        target.write_bytes(OLD)
        put(tiny, BODY, algorithm)
        if wrong:
            corrupt(tiny, 0)
        with pytest.raises(Stop):
            await s3.download("b/k", target, part_size=STEP, workers_count=1, resume=True, progress=progress)
        if wrong:
            tiny.objects["b/k"].data = BODY
            with pytest.raises(ChecksumMismatch):
                await s3.download("b/k", target, part_size=STEP, workers_count=1, resume=True, verify=True)
            assert untouched(target)
        result = await s3.download("b/k", target, part_size=STEP, resume=True, verify=True)
        assert (result.checksum, target.read_bytes()) == (whole(algorithm, BODY), BODY)
        assert (result.resumed > 0) is not wrong


@pytest.mark.parametrize("algorithm", BOTH)
async def test_resumed_downloads(algorithm: ChecksumAlgorithm, target: Path) -> None:
    async with store() as (s3, tiny):
        await is_read_again(s3, tiny, target, algorithm)


# -- Mutations ---------------------------------------------------------------------------------------------------------


ALONE: Final = pytest.mark.parametrize("anyio_backend", [pytest.param(("trio", {}), id="trio")], scope="module")
"""A mutation is the same on every loop."""


def _nothing(*_: object) -> None:
    """What a check that was removed does."""


@ALONE
async def test_mutation_checksums_of_other_bytes(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.setattr(handtruck._body, "sum_view", lambda _, algorithm: whole(algorithm, b"other"))
    async with store() as (s3, tiny):
        with pytest.raises((AssertionError, S3Error)):
            await goes_as_one(s3, tiny, "CRC32")


@ALONE
async def test_mutation_parts_without_their_checksums(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.setattr(multipart, "value_header", lambda _: ("x-nothing", "said"))
    async with store() as (s3, tiny):
        with pytest.raises((AssertionError, S3Error)):
            await goes_in_parts(s3, tiny, "SHA256", source)


@ALONE
async def test_mutation_crcs_in_the_wrong_order(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    combine = crc.combine
    monkeypatch.setattr(checksums, "combine", lambda kind, one, two, count: combine(kind, two, one, count))
    async with store() as (s3, tiny):
        with pytest.raises(S3Error, match="BadDigest"):
            await goes_in_parts(s3, tiny, "CRC32", source)


@ALONE
@pytest.mark.parametrize(("where", "operation"), [(upload, "PutObject"), (multipart, "UploadPart")])
async def test_mutation_answers_are_not_compared(where: Any, operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, "compare", _nothing)
    async with store() as (s3, tiny):
        with pytest.raises((pytest.fail.Exception, S3Error)):
            await is_noticed(s3, tiny, operation)


@ALONE
async def test_mutation_every_endpoint_gets_one(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    async with store() as (s3, tiny):
        _aws(s3)
        with pytest.raises(AssertionError):
            await says_nothing(s3, tiny, source)


@ALONE
async def test_mutation_parts_that_are_there_are_not_summed(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    compare = FileUpload._compare

    async def forgetful(self: FileUpload, listed: Any) -> None:
        await compare(self, listed)
        self.multipart.sums.clear()

    monkeypatch.setattr(FileUpload, "_compare", forgetful)
    async with store() as (s3, tiny):
        with pytest.raises((AssertionError, S3Error)):
            await goes_on(s3, tiny, source, "SHA256")


@ALONE
async def test_mutation_downloads_are_not_compared(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    monkeypatch.setattr(download, "check", _nothing)
    async with store() as (s3, tiny):
        with pytest.raises(pytest.fail.Exception):
            await is_compared(s3, tiny, target, "CRC32")


@ALONE
async def test_mutation_versions_are_not_compared(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    monkeypatch.setattr(verify.Expected, "check_version", _nothing)
    async with store() as (s3, tiny):
        with pytest.raises(ChecksumMismatch):
            await hears_of_another_version(s3, tiny, target, conditions=False)


@ALONE
async def test_mutation_crcs_of_ranges_are_not_combined(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    """Then the file is read, which is slower, but no less right."""
    monkeypatch.setattr(verify, "combine", lambda *_: 0)
    async with store() as (s3, tiny):
        with pytest.raises(AssertionError):
            await is_not_read_again(s3, tiny, target, monkeypatch)


@ALONE
async def test_mutation_what_is_wrong_is_kept(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    async with store() as (s3, tiny):
        monkeypatch.setattr(PartialTarget, "clear", _nothing)
        with pytest.raises(AssertionError):
            await is_read_again(s3, tiny, target, "CRC32")


@ALONE
async def test_mutation_what_was_left_is_not_read(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    monkeypatch.setattr(verify.Tally, "_read", lambda self, *_: crc.new_hasher(self.algorithm).digest())
    async with store() as (s3, tiny):
        with pytest.raises((AssertionError, ChecksumMismatch)):
            await is_read_again(s3, tiny, target, "CRC32")
