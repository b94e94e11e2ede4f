"""What a quirk changes on the wire, where no server at hand would show it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from handtruck import Quirks, QuirksName, S3Client
from handtruck._session import Session
from handtruck.client.base import Family
from handtruck.client.subresources import SubresourceFamily
from handtruck.errors import InvalidResponse, UsageError
from handtruck.protocol import operations, parts
from handtruck.protocol.quirks import PRESETS
from tests.scripted import Reply, client, serve, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scripted import Request

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", [("trio", {})], ids=["trio"], indirect=True)]

PART: Final = 100
EMPTY: Final = Reply(body=b"<ListBucketResult></ListBucketResult>")


class Asked:
    """Gives one answer to everything, and keeps what it was asked."""

    def __init__(self, answer: Reply) -> None:
        self.answer = answer
        self.requests: list[Request] = []

    async def __call__(self, request: Request) -> Reply:
        await request.read()
        self.requests.append(request)
        return self.answer

    @property
    def lines(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.requests]


# --- listings


@pytest.mark.parametrize(
    ("quirks", "asked", "target"),
    [
        (Quirks(), {}, "/b/?encoding-type=url&list-type=2"),
        (Quirks(), {"encoding_type": None}, "/b/?list-type=2"),
        (Quirks(encoded_lists=False), {}, "/b/?list-type=2"),
        (Quirks(encoded_lists=False), {"encoding_type": "url"}, "/b/?encoding-type=url&list-type=2"),
        (
            Quirks(list_version=1),
            {"start_after": "x", "fetch_owner": True, "max_keys": 3},
            "/b/?encoding-type=url&marker=x&max-keys=3",
        ),
    ],
)
async def test_what_a_listing_asks_for(quirks: Quirks, asked: Any, target: str) -> None:
    script = Asked(EMPTY)
    async with serve(script) as peer, client(peer, quirks=quirks) as s3:
        assert [page async for page in s3.list_objects_v2("b", **asked)] == []
    assert script.lines == [f"GET {target}"]


async def test_where_the_next_page_of_the_first_version_begins() -> None:
    """At the last name where nobody says, whichever kind it is; the marker may be spelled in either way."""
    more = "<IsTruncated>true</IsTruncated>"
    key, folder = "<Contents><Key>a%2Bb</Key></Contents>", "<CommonPrefixes><Prefix>c%20d%2F</Prefix></CommonPrefixes>"
    said = "<EncodingType>url</EncodingType>"
    bodies = [
        said + more + key + folder,
        said + more + key + folder + "<NextMarker>a%2Bb</NextMarker>",
        said + more + key + folder + "<NextMarker>c d/</NextMarker>",
        said + more + key + folder + "<NextMarker>x%20y</NextMarker>",
        more + key,
        key,
    ]
    replies = [Reply(body=f"<ListBucketResult>{body}</ListBucketResult>".encode()) for body in bodies]
    targets: list[str] = []

    async def handler(request: Request) -> Reply:
        targets.append(request.query.get("marker", ""))
        return replies[len(targets) - 1]

    async with serve(handler) as peer, client(peer, quirks=Quirks(list_version=1)) as s3:
        assert len([page async for page in s3.list_objects_v2("b")]) == 6
    assert targets == ["", "c d/", "a+b", "c d/", "x y", "a%2Bb"]


async def test_a_first_version_that_goes_on_from_nowhere() -> None:
    answer = Reply(body=b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>")
    async with serve(Asked(answer)) as peer, client(peer, quirks=Quirks(list_version=1)) as s3:
        with pytest.raises(InvalidResponse, match="nothing tells where"):
            await anext(s3.list_objects_v2("b"))


async def test_a_first_version_that_runs_in_a_circle() -> None:
    answer = Reply(
        body=b"<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a</Key></Contents></ListBucketResult>"
    )
    async with serve(Asked(answer)) as peer, client(peer, quirks=Quirks(list_version=1)) as s3:
        with pytest.raises(InvalidResponse, match="the same page is offered for ever"):
            assert [page async for page in s3.list_objects_v2("b")] == []


async def test_uploads_are_asked_for_once_where_lists_are_not_encoded() -> None:
    upload = b"<Upload><Key>\x01</Key><UploadId>1</UploadId></Upload>"
    script = Asked(Reply(body=b"<ListMultipartUploadsResult>" + upload + b"</ListMultipartUploadsResult>"))
    async with serve(script) as peer, client(peer, quirks=Quirks(encoded_lists=False)) as s3:
        with pytest.raises(InvalidResponse, match="XML cannot carry"):
            await anext(s3.list_multipart_uploads("b"))
    assert script.lines == ["GET /b/?uploads"]


async def test_mutation_the_version_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "list_objects", operations.list_objects_v2)
    with pytest.raises(AssertionError):
        await test_what_a_listing_asks_for(Quirks(list_version=1), {}, "/b/?encoding-type=url")


# --- deletes


@pytest.mark.parametrize("most", [1, 2])
async def test_objects_that_are_deleted_alone(most: int) -> None:
    script = Asked(Reply(status=204) if most == 1 else Reply(body=b"<DeleteResult></DeleteResult>"))
    async with serve(script) as peer, client(peer, quirks=Quirks(max_deletes=most)) as s3:
        done = await s3.delete_objects(["k", "l", "m"], "b", workers_count=1)
    one_by_one = ["DELETE /b/k", "DELETE /b/l", "DELETE /b/m"]
    assert (script.lines, done.count) == ((one_by_one, 3) if most == 1 else (["POST /b/?delete"] * 2, 0))


async def test_mutation_nothing_goes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transfer.deletes._Deletes._goes_alone", lambda *_: False)
    with pytest.raises((AssertionError, InvalidResponse)):
        await test_objects_that_are_deleted_alone(1)


# --- parts


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MIN_PART_SIZE", 1)


def blocks(count: int) -> Iterator[bytes]:
    return (bytes([number]) * PART for number in range(count))


@pytest.mark.usefixtures("_small")
async def test_a_stream_of_few_parts_grows_unless_parts_have_to_be_equal() -> None:
    async with store(quirks=Quirks(max_parts=10)) as (s3, tiny):
        await s3.put_multipart("b/k", blocks(17), part_size=PART)
        sizes = [int(request.header("content-length") or 0) for request in tiny.sent("UploadPart")]
    assert sorted(sizes) == [PART] * 5 + [2 * PART, 4 * PART, 6 * PART]
    async with store(quirks=Quirks(max_parts=10, equal_parts=True)) as (s3, tiny):
        await s3.put_multipart("b/k", blocks(10), part_size=PART)
        sizes = [int(request.header("content-length") or 0) for request in tiny.sent("UploadPart")]
        assert sizes == [PART] * 10
        with pytest.raises(UsageError, match="longer than 10 parts"):
            await s3.put_multipart("b/k", blocks(11), part_size=PART)
        assert tiny.names[-2:] == ["AbortMultipartUpload", "ListParts"]
        async with s3.open("b/k", "wb", part_size=PART) as writer:
            for block in blocks(8):
                await writer.write(block)


async def test_a_part_size_that_the_server_does_not_take() -> None:
    async with store(quirks=Quirks(max_part_size=6 * parts.MIB)) as (s3, tiny):
        for upload in (s3.upload("b/k", b"", part_size=7 * parts.MIB), s3.copy("b/k", "b/l", part_size=7 * parts.MIB)):
            with pytest.raises(UsageError, match=r"to 6291456 \(6 MiB\) bytes"):
                await upload
        assert tiny.names == []


async def test_a_file_that_one_request_does_not_take(tmp_path: Path) -> None:
    most = parts.MIN_PART_SIZE
    with (tmp_path / "file").open("wb") as file:
        file.truncate(most + 1)
    async with store(quirks=Quirks(max_part_size=most)) as (s3, tiny):
        with pytest.raises(UsageError, match=f"one request takes {most}; use put_file_multipart"):
            await s3.put_file("b/k", tmp_path / "file")
        await s3.upload("b/k", tmp_path / "file", part_size=most)
        assert tiny.names.count("UploadPart") == 2


# --- what objects are sent with


@pytest.mark.parametrize(
    ("quirks", "algorithm"),
    [(Quirks(), None), (Quirks(checksum="SHA1"), "SHA1"), (Quirks(checksum="CRC32"), "CRC32"), ("aws", "CRC32")],
)
async def test_the_usual_checksum(quirks: Any, algorithm: str | None) -> None:
    script = Asked(Reply())
    async with serve(script) as peer, client(peer, quirks=quirks) as s3:
        await s3.put("b/k", b"body")
        await s3.upload("b/k", b"body")
        await s3.upload("b/k", b"body", checksum=None)
    sums = [
        {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-checksum")}
        for request in script.requests
    ]
    wanted = set() if algorithm is None else {f"x-amz-checksum-{algorithm.lower()}"}
    assert [wanted <= found for found in sums[:2]] == [True, True]
    assert bool(sums[0]) is (algorithm is not None)
    assert sums[2] == set()


@pytest.mark.parametrize(("quirks", "quotes"), [(Quirks(), True), (Quirks(unquoted_if_match=True), False)])
async def test_the_quotes_of_conditions(quirks: Quirks, quotes: bool) -> None:
    """Reads keep them; so does what is in ``headers=``."""
    script = Asked(Reply())
    async with serve(script) as peer, client(peer, quirks=quirks) as s3:
        await s3.put("b/k", b"", if_match='"e"')
        await s3.get("b/k", if_match='"e"')
        await s3.put("b/k", b"", headers={"If-Match": '"e"'}, content_type="text/plain")
        await s3.put("b/k", b"", if_none_match="*")
    found = [request.header("if-match") for request in script.requests]
    assert found == ['"e"' if quotes else "e", '"e"', '"e"', None]
    assert script.requests[3].header("if-none-match") == "*"


@pytest.mark.parametrize(
    ("quirks", "asked", "region"),
    [
        (Quirks(), {}, "us-east-1"),
        ("r2", {}, "auto"),
        (Quirks(region="elsewhere"), {}, "elsewhere"),
        (Quirks(region="elsewhere"), {"region": "here"}, "here"),
    ],
)
async def test_the_region_that_is_signed_for(quirks: Any, asked: Any, region: str) -> None:
    script = Asked(Reply())
    keys = {"access_key_id": "k", "secret_access_key": "s"}
    async with serve(script) as peer, client(peer, quirks=quirks, **keys, **asked) as s3:
        await s3.get("b/k")
    (scope,) = re.findall(r"Credential=k/\d{8}/([^/]+)/s3/", script.requests[0].header("authorization") or "")
    assert scope == region


@pytest.mark.parametrize("trusted", [True, False])
async def test_who_is_trusted_is_not_looked_at(trusted: bool) -> None:
    script = Asked(Reply(body=b"<Tagging><TagSet></TagSet></Tagging>"))
    async with serve(script) as peer, client(peer, quirks=Quirks(trusted=trusted)) as s3:
        await s3.put_object_tags("b/k", {"a": "b"})
    assert script.lines == ["GET /b/k?tagging"] * (not trusted) + ["PUT /b/k?tagging"]


async def test_mutation_everybody_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def change(self: Any, _: object, __: object, changing: Any) -> None:
        await self._session.perform(changing)

    monkeypatch.setattr(SubresourceFamily, "_change", change)
    with pytest.raises(AssertionError):
        await test_who_is_trusted_is_not_looked_at(trusted=False)


@pytest.mark.parametrize(
    ("url", "chosen", "name"),
    [
        ("https://abc.r2.cloudflarestorage.com/b", None, "r2"),
        ("https://b.s3.eu-west-1.amazonaws.com", None, "aws"),
        ("http://127.0.0.1:1", None, "minio"),
        ("https://abc.r2.cloudflarestorage.com/b", "ceph", "ceph"),
    ],
)
async def test_whose_quirks_they_are(url: str, chosen: Any, name: QuirksName) -> None:
    async with S3Client(url, anonymous=True, quirks=chosen) as s3:
        assert s3._session.quirks == PRESETS[name].quirks
    own = Quirks(max_parts=3)
    async with S3Client(url, anonymous=True, quirks=own) as s3:
        assert s3._session.quirks is own


async def test_mutation_checksums_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Family, "_sending", lambda self, headers, given, *_, **__: self._writing(headers, given))
    with pytest.raises(AssertionError):
        await test_the_usual_checksum("aws", "CRC32")


async def test_mutation_a_region_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "_region", lambda *_: "us-east-1")
    with pytest.raises(AssertionError):
        await test_the_region_that_is_signed_for("r2", {}, "auto")


async def test_a_name_that_nobody_has() -> None:
    with pytest.raises(UsageError, match="quirks must be"):
        S3Client("http://host", quirks="cef")  # type: ignore[arg-type]
