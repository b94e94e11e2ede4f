"""Unfinished uploads: all of them are listed, once, with their parts; and they go when they are told to.

First on real servers. Then on a shelf in memory, whose pages can be wrong in every way that we know of.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from handtruck import MultipartUploadInfo, PartInfo, S3Client
from handtruck.errors import AccessDenied, ConnectionFailed, InvalidResponse, NotFound, S3Error, UsageError
from handtruck.protocol.checksums import bare_etag
from handtruck.protocol.documents import parse_upload_id
from tests.conformance.support import connect, etag_of
from tests.transfer.checkpoints import ON_ASYNCIO, ON_TRIO, Trial, Way, cases, run, swept

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable

    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

KEYS: Final = ("a/1", "a/2", "a+b c%20ü", "a/2", "z&<>", "a/2")
"""Of the uploads that are begun; one key has three."""

ODD_KEYS: Final = ("a b+c%", "a%2Bb", "日本/\U0001f69a", "<&>\"'", "k\nx", "k\rx", "k\x01x", "/lead", "a//b", "a/../b")


async def all_of(items: AsyncIterable[Any]) -> list[Any]:
    return [item async for item in items]


async def begin(s3: S3Client, name: str) -> str:
    """Not by the witness: it cannot read an answer that repeats an odd key."""
    return parse_upload_id((await s3.post(name, params={"uploads": None})).content)


def names(uploads: list[MultipartUploadInfo]) -> list[tuple[str, str]]:
    return [(upload.key, upload.upload_id) for upload in uploads]


@pytest.fixture
def begun(bucket: str, witness: Witness) -> list[tuple[str, str]]:
    """Some unfinished uploads."""
    return [(key, witness.create_upload(bucket, key)) for key in KEYS]


# --- listing


async def test_uploads(s3: S3Client, bucket: str, begun: list[tuple[str, str]], server: Server) -> None:
    found = await all_of(s3.list_multipart_uploads(bucket))
    assert sorted(names(found)) == sorted(begun)
    in_order = [upload.key for upload in found]
    assert in_order == (list(KEYS) if server.faults.get("uploads-unsorted") else sorted(KEYS))
    for upload in found:
        assert upload.storage_class == "STANDARD"
        assert (upload.owner is None) is bool(server.faults.get("uploads-without-owner"))
        assert (upload.initiator is None) is bool(server.faults.get("uploads-without-owner"))
        if server.faults.get("uploads-begun-in-2010"):
            assert upload.initiated == datetime(2010, 11, 10, 20, 48, 33, tzinfo=UTC)
        else:
            assert abs(datetime.now(UTC) - upload.initiated) < timedelta(minutes=2)


async def test_pages_of_uploads(
    s3: S3Client, bucket: str, begun: list[tuple[str, str]], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = count_requests(s3, monkeypatch)
    for size in (1, 2, 4, len(begun), len(begun) + 1):
        answers.clear()
        assert sorted(names(await all_of(s3.list_multipart_uploads(bucket, max_uploads=size)))) == sorted(begun)
        pages = 1 if server.faults.get("uploads-pages-ignored") else -(-len(begun) // size)
        assert len(answers) == pages


def count_requests(s3: S3Client, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Grows by one with every request that is sent."""
    sent: list[object] = []
    prepare = s3._session.sender.prepare

    async def counted(draft: Any) -> Any:
        sent.append(draft)
        return await prepare(draft)

    monkeypatch.setattr(s3._session.sender, "prepare", counted)
    return sent


async def test_markers_of_uploads(s3: S3Client, bucket: str, begun: list[tuple[str, str]], server: Server) -> None:
    """What a server does with a marker: the reason why what the page before had is left out."""
    if server.faults.get("uploads-pages-ignored"):
        return
    key, upload_id = min(begun)
    answer = await s3.get(
        f"{bucket}/", params={"uploads": None, "key-marker": key, "upload-id-marker": upload_id, "max-uploads": 1}
    )
    assert (f"<UploadId>{upload_id}</UploadId>" in answer.text) is bool(server.faults.get("uploads-marker-inclusive"))


async def test_prefixes_of_uploads(s3: S3Client, bucket: str, begun: list[tuple[str, str]]) -> None:
    for prefix in ("a", "a/", "a/2", "a+b c%20", "z&", "nothing begins so", "", None):
        expected = sorted((key, upload_id) for key, upload_id in begun if key.startswith(prefix or ""))
        for size in (None, 1):
            found = await all_of(s3.list_multipart_uploads(bucket, prefix=prefix, max_uploads=size))
            assert sorted(names(found)) == expected


async def test_a_bucket_without_uploads(s3: S3Client, bucket: str, server: Server) -> None:
    raw = await s3.get(f"{bucket}/", params={"uploads": None})
    assert raw.status_code == (404 if server.faults.get("no-uploads-is-404") else 200)
    assert await all_of(s3.list_multipart_uploads(bucket)) == []
    assert await s3.abort_stale_uploads(bucket, older_than=timedelta()) == ()
    name = f"{bucket}/key"
    await s3.abort_multipart_upload(name, await begin(s3, name))
    assert await all_of(s3.list_multipart_uploads(bucket)) == []


async def test_a_missing_bucket(s3: S3Client, bucket: str) -> None:
    for listing in (
        lambda: all_of(s3.list_multipart_uploads(f"{bucket}-missing")),
        lambda: s3.abort_stale_uploads(f"{bucket}-missing", older_than=timedelta()),
    ):
        with pytest.raises(NotFound) as caught:
            await listing()
        error = caught.value
        assert (error.code, error.operation, error.bucket) == (
            "NoSuchBucket",
            "ListMultipartUploads",
            f"{bucket}-missing",
        )


async def test_ways_to_name_the_bucket(s3: S3Client, bucket: str, witness: Witness, server: Server) -> None:
    upload_id = witness.create_upload(bucket, "key")
    for listing in (
        s3.list_multipart_uploads(bucket),
        s3.list_multipart_uploads(f"/{bucket}/"),
        s3.list_multipart_uploads(bucket=bucket),
    ):
        assert names(await all_of(listing)) == [("key", upload_id)]
    async with connect(server, url=f"{server.url}/{bucket}") as one_bucket:
        assert names(await all_of(one_bucket.list_multipart_uploads())) == [("key", upload_id)]
        assert await all_of(one_bucket.list_parts("key", upload_id)) == []
        assert names(list(await one_bucket.abort_stale_uploads(older_than=timedelta()))) == [("key", upload_id)]
        with pytest.raises(NotFound):
            await one_bucket.abort_multipart_upload("key", upload_id)


@pytest.mark.parametrize("key", ODD_KEYS, ids=ascii)
async def test_odd_keys(key: str, bucket: str, witness: Witness, server: Server) -> None:
    """Listed as they are, and aborted by what the listing says."""
    async with connect(server, max_attempts=1) as s3:
        created = await s3.post(f"{bucket}/{key}", params={"uploads": None})
        if not created.is_success:
            assert refuses(server, key)
            return
        await begin(s3, f"{bucket}/plain%20key")
        if server.faults.get("uploads-encoding-ignored") and key == "k\x01x":
            with pytest.raises(InvalidResponse, match="a key that XML cannot carry, and it is not url-encoded"):
                await all_of(s3.list_multipart_uploads(bucket))
            return
        if server.faults.get("uploads-bare-cr") and "\r" in key:
            assert "k\nx" in [upload.key for upload in await all_of(s3.list_multipart_uploads(bucket))]
            return
        for size in (None, 1):
            found = await all_of(s3.list_multipart_uploads(bucket, max_uploads=size))
            assert sorted(upload.key for upload in found) == sorted([key, "plain%20key"])
        assert sorted(upload.key for upload in await all_of(s3.list_multipart_uploads(bucket, prefix=key))) == [key]
        assert len(await s3.abort_stale_uploads(bucket, older_than=timedelta())) == 2
        assert await all_of(s3.list_multipart_uploads(bucket)) == []


def refuses(server: Server, key: str) -> bool:
    """The server takes no such key, anywhere."""
    why = {
        "//": "refuses-double-slash",
        "/": "refuses-leading-slash",
        "/../": "refuses-dot-segments",
        "\n": "newline-key-404",
    }
    return any(server.faults.get(fault) for text, fault in why.items() if text in key)


async def test_keys_that_are_encoded_and_nobody_says_so(s3: S3Client, bucket: str, server: Server) -> None:
    """The reason why keys are asked for as they are, as long as they can be read."""
    await begin(s3, f"{bucket}/a b")
    answer = await s3.get(f"{bucket}/", params={"uploads": None, "encoding-type": "url"})
    plain = "<Key>a b</Key>" in answer.text
    assert plain is bool(server.faults.get("uploads-encoding-ignored"))
    if server.faults.get("uploads-encoding-not-said"):
        assert "<Key>a%20b</Key>" in answer.text
        assert "EncodingType" not in answer.text


# --- parts


@pytest.fixture
def upload(bucket: str, witness: Witness) -> str:
    """An upload of ``key`` with five parts."""
    upload_id = witness.create_upload(bucket, "key")
    for number in range(1, 6):
        witness.put_part(bucket, "key", upload_id, number, b"x" * number)
    return upload_id


async def test_parts(s3: S3Client, bucket: str, upload: str) -> None:
    found: list[PartInfo] = await all_of(s3.list_parts(f"{bucket}/key", upload))
    assert [(part.number, part.size) for part in found] == [(number, number) for number in range(1, 6)]
    for part in found:
        assert bare_etag(part.etag or "") == etag_of(b"x" * part.number)
        assert part.last_modified is not None
        assert abs(datetime.now(UTC) - part.last_modified) < timedelta(minutes=2)


async def test_pages_of_parts(s3: S3Client, bucket: str, upload: str) -> None:
    """In order, and none twice, whatever the server's markers mean."""
    for size in range(1, 7):
        found = await all_of(s3.list_parts(f"{bucket}/key", upload, max_parts=size))
        assert [part.number for part in found] == [1, 2, 3, 4, 5]


async def test_markers_of_parts(s3: S3Client, bucket: str, upload: str, server: Server) -> None:
    answer = await s3.get(f"{bucket}/key", params={"uploadId": upload, "part-number-marker": 3})
    inclusive = bool(server.faults.get("list-parts-marker-inclusive"))
    assert re.findall(r"<PartNumber>(\d+)", answer.text) == (["3", "4", "5"] if inclusive else ["4", "5"])
    root = "ListPartsResponse" if server.faults.get("list-parts-document") else "ListPartsResult"
    assert f"<{root}" in answer.text


async def test_an_upload_without_parts(s3: S3Client, bucket: str, witness: Witness) -> None:
    upload_id = witness.create_upload(bucket, "key")
    assert await all_of(s3.list_parts(f"{bucket}/key", upload_id)) == []


# --- aborting


async def test_abort(s3: S3Client, bucket: str, witness: Witness, upload: str, server: Server) -> None:
    other = witness.create_upload(bucket, "key")
    witness.put(bucket, "key", b"an object")
    await s3.abort_multipart_upload(f"{bucket}/key", upload)
    assert witness.uploads(bucket) == [("key", other)]
    assert witness.get(bucket, "key") == b"an object"
    with pytest.raises(NotFound) as caught:
        await s3.abort_multipart_upload(f"{bucket}/key", upload)
    error = caught.value
    assert (error.code, error.operation, error.key) == ("NoSuchUpload", "AbortMultipartUpload", "key")
    with pytest.raises(NotFound) as caught:
        await all_of(s3.list_parts(f"{bucket}/key", upload))
    odd = server.faults.get("list-parts-after-abort-is-no-such-key")
    assert (caught.value.code, caught.value.operation) == ("NoSuchKey" if odd else "NoSuchUpload", "ListParts")


async def test_stale_uploads(
    s3: S3Client, bucket: str, begun: list[tuple[str, str]], witness: Witness, server: Server
) -> None:
    """By a clock that is ten minutes ahead: no server here minds."""
    s3._session.clock = lambda: datetime.now(UTC) + timedelta(minutes=10)
    if not server.faults.get("uploads-begun-in-2010"):
        assert await s3.abort_stale_uploads(bucket, older_than=timedelta(minutes=11)) == ()
    else:
        assert await s3.abort_stale_uploads(bucket, older_than=timedelta(days=20_000)) == ()
    assert sorted(witness.uploads(bucket)) == sorted(begun)

    expected = [(key, upload_id) for key, upload_id in begun if key.startswith("a/")]
    gone = await s3.abort_stale_uploads(bucket, older_than=timedelta(minutes=9), prefix="a/")
    assert sorted(names(list(gone))) == sorted(expected)
    assert sorted(witness.uploads(bucket)) == sorted(set(begun) - set(expected))

    gone = await s3.abort_stale_uploads(bucket=bucket, older_than=timedelta(minutes=9))
    assert sorted(names(list(gone))) == sorted(set(begun) - set(expected))
    assert witness.uploads(bucket) == []


# --- what makes no sense


NONSENSE: Final[dict[str, Callable[[S3Client], object]]] = {
    "no bucket": lambda s3: s3.list_multipart_uploads(),
    "more than a bucket": lambda s3: s3.list_multipart_uploads("bucket/folder"),
    "an empty page of uploads": lambda s3: s3.list_multipart_uploads("bucket", max_uploads=0),
    "an empty page of parts": lambda s3: s3.list_parts("bucket/key", "id", max_parts=0),
    "parts of a bucket": lambda s3: s3.list_parts("bucket/", "id"),
    "parts without an id": lambda s3: s3.list_parts("bucket/key", ""),
    "an abort of a bucket": lambda s3: s3.abort_multipart_upload("bucket/", "id"),
    "an abort of what may be a bucket": lambda s3: s3.abort_multipart_upload("bucket", "id"),
    "an abort without an id": lambda s3: s3.abort_multipart_upload("bucket/key", ""),
    "a negative age": lambda s3: s3.abort_stale_uploads("bucket", older_than=timedelta(microseconds=-1)),
    "nothing stale": lambda s3: s3.abort_stale_uploads(older_than=timedelta()),
}


@pytest.mark.parametrize("call", NONSENSE.values(), ids=NONSENSE)
async def test_nonsense_is_refused_before_anything_is_sent(call: Callable[[S3Client], Any]) -> None:
    """Ceph's gateway and rclone take an abort without an id for the deletion of the object, or of the bucket."""
    async with shelved() as (s3, shelf):
        with pytest.raises(UsageError):
            await call(s3)
        assert shelf.requests == []


# --- a shelf in memory


NOW: Final = datetime(2030, 1, 1, tzinfo=UTC)
DAY: Final = timedelta(days=1)


@dataclass
class Shelf(httpx.AsyncBaseTransport):
    """Uploads and parts, and pages of them.

    Attributes:
        uploads: keys and ids, in order; :meth:`begin` puts them there.
        ages: of uploads, by id; None: the answer does not tell.
        parts: the numbers of every upload's parts.
        most: uploads that a page has at most.
        inclusive: an upload at the marker is listed again.
        encoding: "said", "silent" (as Ceph's gateway) or "none" (as rclone): what encoding-type=url does.
        paged: makes a page of parts: numbers, and the next marker or None. Arguments: numbers, marker, size.
        bent: asked before each request is carried out; what it gives is the answer.
        after: asked when one was carried out; what it gives takes the answer's place.
        steps: checkpoints that a request takes to arrive.
    """

    uploads: list[tuple[str, str]] = field(default_factory=list)
    ages: dict[str, timedelta | None] = field(default_factory=dict)
    parts: list[int] = field(default_factory=list)
    most: int = 1000
    inclusive: bool = False
    encoding: str = "said"
    paged: Callable[[list[int], int, int], tuple[list[int], int | None]] | None = None
    bent: Callable[[httpx.Request], tuple[int, str] | None] | None = None
    after: Callable[[httpx.Request], tuple[int, str] | None] | None = None
    steps: int = 1
    requests: list[httpx.Request] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    def begin(self, *keys: str, age: timedelta | None = 2 * DAY) -> list[str]:
        ids = [f"id-{number}" for number in range(len(self.uploads), len(self.uploads) + len(keys))]
        self.uploads = sorted([*self.uploads, *zip(keys, ids, strict=True)])
        self.ages.update(dict.fromkeys(ids, age))
        return ids

    def sent(self, method: str) -> list[str]:
        return [request.url.query.decode() for request in self.requests if request.method == method]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            for _ in range(self.steps):
                await checkpoint()
            answer = self.bent(request) if self.bent is not None else None
            if answer is None:
                answer = self._carry_out(request)
                await checkpoint()
                answer = (self.after(request) if self.after is not None else None) or answer
        finally:
            self.in_flight -= 1
        return httpx.Response(answer[0], content=answer[1].encode())

    def _carry_out(self, request: httpx.Request) -> tuple[int, str]:
        query = {name: values[0] for name, values in parse_qs(request.url.query.decode(), True).items()}
        if request.method == "DELETE":
            path = unquote(request.url.raw_path.decode().partition("?")[0])
            found = (path.removeprefix("/bucket/"), query["uploadId"])
            if found not in self.uploads:
                return refusal(404, "NoSuchUpload")
            self.uploads.remove(found)
            return 204, ""
        if "uploads" in query:
            return 200, self._list_uploads(query)
        return 200, self._list_parts(query)

    def _list_uploads(self, query: dict[str, str]) -> str:
        marker = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        left = [each for each in self.uploads if each > marker or (self.inclusive and each == marker)]
        page = left[: int(query.get("max-uploads", self.most))]
        asked = query.get("encoding-type") == "url"
        write = partial(quote, safe="") if asked and self.encoding != "none" else escape
        more = ""
        if len(page) < len(left):
            key = page[-1][0] if self.encoding == "silent" else write(page[-1][0])
            more = f"<NextKeyMarker>{key}</NextKeyMarker><NextUploadIdMarker>{page[-1][1]}</NextUploadIdMarker>"
        said = "<EncodingType>url</EncodingType>" if asked and self.encoding == "said" else ""
        rows = "".join(
            f"<Upload><Key>{write(key)}</Key><UploadId>{upload_id}</UploadId>{self._initiated(upload_id)}</Upload>"
            for key, upload_id in page
        )
        truncated = f"<IsTruncated>{'true' if more else 'false'}</IsTruncated>"
        return f"<ListMultipartUploadsResult>{said}{truncated}{more}{rows}</ListMultipartUploadsResult>"

    def _initiated(self, upload_id: str) -> str:
        age = self.ages[upload_id]
        return "" if age is None else f"<Initiated>{(NOW - age).isoformat()}</Initiated>"

    def _list_parts(self, query: dict[str, str]) -> str:
        assert self.paged is not None
        page, marker = self.paged(self.parts, int(query.get("part-number-marker", 0)), int(query["max-parts"]))
        rows = "".join(f"<Part><PartNumber>{number}</PartNumber></Part>" for number in page)
        more = f"<IsTruncated>true</IsTruncated><NextPartNumberMarker>{marker}</NextPartNumberMarker>"
        return f"<ListPartsResult>{'' if marker is None else more}{rows}</ListPartsResult>"


def refusal(status: int, code: str) -> tuple[int, str]:
    return status, f"<Error><Code>{code}</Code><Message>scripted</Message></Error>"


@asynccontextmanager
async def shelved(*keys: str, **options: Any) -> AsyncIterator[tuple[S3Client, Shelf]]:
    """A shelf with uploads that are two days old, and a client whose clock stands still and who waits for nothing."""
    shelf = Shelf()
    shelf.begin(*keys)
    async with httpx.AsyncClient(transport=shelf, trust_env=False) as http:
        s3 = S3Client("http://s3.test", http, **{"access_key_id": "k", "secret_access_key": "s", **options})
        s3._session.clock = lambda: NOW
        s3._session.random = lambda: 0.0
        yield s3, shelf
        assert s3._session.places.taken == 0
        assert shelf.in_flight == 0


@pytest.mark.parametrize("inclusive", [False, True])
@pytest.mark.parametrize("encoding", ["said", "silent", "none"])
async def test_every_upload_comes_once(inclusive: bool, encoding: str) -> None:
    async with shelved("a b", "a+b", "a+b", "a+b", "c%20d", "ü") as (s3, shelf):
        shelf.inclusive, shelf.encoding = inclusive, encoding
        for size in range(2 if inclusive else 1, 8):
            assert names(await all_of(s3.list_multipart_uploads("bucket", max_uploads=size))) == shelf.uploads
        assert not any("encoding-type" in query for query in shelf.sent("GET"))


@pytest.mark.parametrize("encoding", ["said", "silent"])
async def test_keys_that_xml_cannot_carry(encoding: str) -> None:
    """From the first such key on the server is asked to encode them: one request more, once."""
    async with shelved("%41", "a\x01b", "a b+%41", "c\x02", "d\r") as (s3, shelf):
        shelf.encoding = encoding
        for size in range(1, 6):
            shelf.requests.clear()
            assert names(await all_of(s3.list_multipart_uploads("bucket", max_uploads=size))) == shelf.uploads
            assert len(shelf.requests) == -(-len(shelf.uploads) // size) + 1
        assert len(await s3.abort_stale_uploads("bucket", older_than=DAY)) == 5
        assert shelf.uploads == []


async def test_keys_that_xml_cannot_carry_are_not_guessed() -> None:
    async with shelved("a", "b\x01") as (s3, shelf):
        shelf.encoding = "none"
        with pytest.raises(InvalidResponse, match=r"ListMultipartUploads bucket: .* not url-encoded"):
            await all_of(s3.list_multipart_uploads("bucket"))
        assert len(shelf.requests) == 2  # no attempt is wasted on it


async def test_uploads_that_go_round_in_circles() -> None:
    """The same page for ever; a page at which it begins again; and an inclusive marker, one upload at a time."""
    page = "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>{}</ListMultipartUploadsResult>"
    for length in (1, 2, 3, 10):
        async with shelved() as (s3, shelf):

            def circle(request: httpx.Request, length: int = length, shelf: Shelf = shelf) -> tuple[int, str]:
                number = len(shelf.requests) % length
                return 200, page.format(f"<NextKeyMarker>k{number}</NextKeyMarker>")

            shelf.bent = circle
            with pytest.raises(InvalidResponse, match="offered for ever"):
                await all_of(s3.list_multipart_uploads("bucket"))
            assert len(shelf.requests) < 4 * length + 2
    async with shelved("a", "b") as (s3, shelf):
        shelf.inclusive = True
        with pytest.raises(InvalidResponse, match="offered for ever"):
            await all_of(s3.list_multipart_uploads("bucket", max_uploads=1))


async def test_empty_pages_of_uploads_are_passed_over() -> None:
    async with shelved("a", "b") as (s3, shelf):
        marker = "<NextKeyMarker>a</NextKeyMarker><NextUploadIdMarker>id-0</NextUploadIdMarker>"
        empty = f"<ListMultipartUploadsResult><IsTruncated>true</IsTruncated>{marker}</ListMultipartUploadsResult>"
        shelf.bent = lambda _: (200, empty) if len(shelf.requests) == 1 else None
        assert names(await all_of(s3.list_multipart_uploads("bucket"))) == [("b", "id-1")]


async def test_a_server_that_knows_no_prefixes() -> None:
    """Nobody else's uploads are aborted."""
    async with shelved("a/1", "b/1", "b/2") as (s3, shelf):
        assert [each.key async for each in s3.list_multipart_uploads("bucket", prefix="b/")] == ["b/1", "b/2"]
        await s3.abort_stale_uploads("bucket", older_than=DAY, prefix="b/")
        assert shelf.uploads == [("a/1", "id-0")]


async def test_the_end_of_uploads_is_not_taken_on_trust() -> None:
    """Only the first page may say that there are no uploads by a 404."""
    async with shelved("a", "b") as (s3, shelf):
        shelf.bent = lambda request: refusal(404, "NoSuchUpload") if b"key-marker" in request.url.query else None
        uploads = s3.list_multipart_uploads("bucket", max_uploads=1)
        assert (await anext(uploads)).key == "a"
        with pytest.raises(NotFound):
            await anext(uploads)
        shelf.bent = None
        assert [upload.key async for upload in uploads] == ["b"]  # taken up where it broke
        with pytest.raises(StopAsyncIteration):
            await anext(uploads)


# Pages of parts: S3's, and what others make of them.


def exact(numbers: list[int], marker: int, size: int) -> tuple[list[int], int | None]:
    left = [number for number in numbers if number > marker]
    return left[:size], left[size - 1] if len(left) > size else None


def one_too_far(numbers: list[int], marker: int, size: int) -> tuple[list[int], int | None]:
    page, after = exact(numbers, marker, size)
    return page, after and after + 1


def at_the_marker(numbers: list[int], marker: int, size: int) -> tuple[list[int], int | None]:
    return exact(numbers, marker - 1, size)


def at_the_next(numbers: list[int], marker: int, size: int) -> tuple[list[int], int | None]:
    left = [number for number in numbers if number >= marker]
    return left[:size], left[size] if len(left) > size else None


def as_rclone(numbers: list[int], marker: int, size: int) -> tuple[list[int], int | None]:
    """Its next marker is counted from the marker."""
    page, after = at_the_next(numbers, marker, size)
    return page, after and after - marker


def backwards(numbers: list[int], marker: int, size: int) -> tuple[list[int], int | None]:
    page, after = exact(numbers, marker, size)
    return page[::-1], after


def without_markers(numbers: list[int], marker: int, size: int) -> tuple[list[int], int | None]:
    page, after = exact(numbers, marker, size)
    return page, after and 0


@pytest.mark.parametrize(
    "paged", [exact, one_too_far, at_the_marker, at_the_next, as_rclone, backwards, without_markers]
)
@pytest.mark.parametrize("numbers", [[], [1], [1, 2, 3, 4, 5, 6, 7], [2, 5, 9, 10, 11, 400, 10_000]])
async def test_every_part_comes_once(paged: Callable[..., Any], numbers: list[int]) -> None:
    async with shelved() as (s3, shelf):
        shelf.parts, shelf.paged = numbers, paged
        for size in range(1, 9):
            found = await all_of(s3.list_parts("bucket/key", "id", max_parts=size))
            assert [part.number for part in found] == numbers


@pytest.mark.parametrize("page", [[], [1], [1, 2], [2, 1, 1]])
async def test_parts_that_go_round_in_circles(page: list[int]) -> None:
    async with shelved() as (s3, shelf):
        shelf.paged = lambda *_: (page, 2)
        with pytest.raises(InvalidResponse, match="ListParts bucket/key: the same page is offered for ever"):
            await all_of(s3.list_parts("bucket/key", "id", max_parts=2))
        assert len(shelf.requests) < 5


async def test_empty_pages_of_parts_are_passed_over() -> None:
    async with shelved() as (s3, shelf):
        shelf.paged = lambda _, marker, __: ([], marker + 5) if marker < 20 else ([21], None)
        assert await all_of(s3.list_parts("bucket/key", "id", max_parts=2)) == [PartInfo(number=21)]


# --- aborting what is not as it should be


async def test_an_abort_whose_answer_was_lost() -> None:
    """Our own repetition finds nothing: that is what was wanted."""
    async with shelved("key") as (s3, shelf):
        shelf.after = lost_once()
        await s3.abort_multipart_upload("bucket/key", "id-0")
        assert shelf.sent("DELETE") == ["uploadId=id-0"] * 2
    async with shelved("key") as (s3, shelf):
        shelf.after = lost_once()
        assert names(list(await s3.abort_stale_uploads("bucket", older_than=DAY))) == [("key", "id-0")]


def lost_once() -> Callable[[httpx.Request], None]:
    lost: list[str] = []

    def after(request: httpx.Request) -> None:
        if request.method == "DELETE" and not lost:
            lost.append(request.method)
            raise httpx.ReadError("connection reset", request=request)

    return after


async def test_an_abort_in_a_bucket_that_goes_meanwhile() -> None:
    async with shelved("key") as (s3, shelf):
        shelf.bent = lambda _: (
            refusal(500, "InternalError") if len(shelf.requests) == 1 else refusal(404, "NoSuchBucket")
        )
        with pytest.raises(NotFound) as caught:
            await s3.abort_multipart_upload("bucket/key", "id-0")
        assert (caught.value.code, caught.value.attempts) == ("NoSuchBucket", 2)


async def test_only_stale_uploads_are_aborted() -> None:
    async with shelved() as (s3, shelf):
        shelf.begin("old", "older", age=DAY)
        shelf.begin("nobody says", age=None)
        shelf.begin("young", age=DAY - timedelta(microseconds=1))
        shelf.begin("by a clock that is ahead", age=-DAY)
        assert names(list(await s3.abort_stale_uploads("bucket", older_than=DAY))) == [
            ("old", "id-0"),
            ("older", "id-1"),
        ]
        assert [key for key, _ in shelf.uploads] == ["by a clock that is ahead", "nobody says", "young"]
        assert await s3.abort_stale_uploads("bucket", older_than=timedelta.max) == ()
        assert len(await s3.abort_stale_uploads("bucket", older_than=timedelta())) == 1


async def test_some_are_aborted_at_once() -> None:
    async with shelved(*(f"k{number:03}" for number in range(50))) as (s3, shelf):
        expected = list(shelf.uploads)
        shelf.most, shelf.steps = 7, 40
        assert names(list(await s3.abort_stale_uploads("bucket", older_than=DAY))) == expected
        assert (shelf.uploads, shelf.most_in_flight) == ([], 8)
        methods = [request.method for request in shelf.requests]
        assert methods == ["GET"] * 8 + ["DELETE"] * 50  # listed to the end before the first is gone
    async with shelved("a", "b", "c", max_connections=1) as (s3, shelf):
        shelf.steps = 40
        await s3.abort_stale_uploads("bucket", older_than=DAY)
        assert (shelf.uploads, shelf.most_in_flight) == ([], 1)


async def test_uploads_that_are_gone_already() -> None:
    """Completed or aborted by somebody else meanwhile: nothing to do, and not our doing."""
    async with shelved("a", "b", "c") as (s3, shelf):

        def gone(request: httpx.Request) -> None:
            if request.method == "DELETE":
                shelf.uploads = [each for each in shelf.uploads if each[0] != "b"]

        shelf.bent = gone
        assert names(list(await s3.abort_stale_uploads("bucket", older_than=DAY))) == [("a", "id-0"), ("c", "id-2")]


async def test_a_refusal_does_not_keep_the_others_from_being_aborted() -> None:
    async with shelved(*(f"k{number:02}" for number in range(30))) as (s3, shelf):
        mine = [each for each in shelf.uploads if each[0].endswith("7")]

        def bent(request: httpx.Request) -> tuple[int, str] | None:
            foreign = request.method == "DELETE" and not request.url.path.endswith("7")
            return refusal(403, "AccessDenied") if foreign else None

        shelf.bent = bent
        with pytest.raises(AccessDenied) as caught:
            await s3.abort_stale_uploads("bucket", older_than=DAY)
        assert not set(mine) & set(shelf.uploads)
        notes = caught.value.__notes__
        assert len([note for note in notes if "also: AccessDenied: AbortMultipartUpload bucket/k" in note]) == 9
        assert notes[:2] == ["also: 17 more refusals", "handtruck: 3 of 30 stale uploads were aborted"]


@pytest.mark.parametrize("answer", [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
async def test_trouble_that_concerns_all_ends_the_job(answer: tuple[int, str]) -> None:
    async with shelved(*(f"k{number:02}" for number in range(30)), max_attempts=1) as (s3, shelf):
        shelf.bent = lambda request: refusal(*answer) if request.method == "DELETE" else None
        with pytest.raises(S3Error) as caught:
            await s3.abort_stale_uploads("bucket", older_than=DAY)
        assert caught.value.status == answer[0]
        assert "handtruck: 0 of 30 stale uploads were aborted" in caught.value.__notes__
        assert len(shelf.sent("DELETE")) <= 8


async def test_a_connection_that_breaks_ends_the_job() -> None:
    async with shelved(*(f"k{number:02}" for number in range(30)), max_attempts=1) as (s3, shelf):

        def broken(request: httpx.Request) -> tuple[int, str] | None:
            if request.url.path == "/bucket/k00":
                return refusal(403, "AccessDenied")
            if request.url.path == "/bucket/k20":
                raise httpx.ReadError("connection reset", request=request)
            return None

        shelf.bent = broken
        with pytest.raises(ConnectionFailed) as caught:
            await s3.abort_stale_uploads("bucket", older_than=DAY)
        assert any("AccessDenied: AbortMultipartUpload bucket/k00" in note for note in caught.value.__notes__)
        assert "k20" in {key for key, _ in shelf.uploads}


async def test_a_listing_that_fails_aborts_nothing() -> None:
    async with shelved("a", "b", "c", max_attempts=1) as (s3, shelf):
        shelf.most = 1
        shelf.bent = lambda _: refusal(403, "AccessDenied") if len(shelf.requests) == 3 else None
        with pytest.raises(AccessDenied):
            await s3.abort_stale_uploads("bucket", older_than=DAY)
        assert (len(shelf.uploads), shelf.sent("DELETE")) == (3, [])


# --- cancelling

LOOPS: Final[tuple[tuple[str, tuple[str, dict[str, bool]], tuple[Way, ...]], ...]] = (
    ("asyncio", ("asyncio", {}), ON_ASYNCIO),
    ("asyncio+uvloop", ("asyncio", {"use_uvloop": True}), ON_ASYNCIO),
    ("trio", ("trio", {}), ON_TRIO),
)
EVERY_WAY: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    cases(LOOPS),
    indirect=["anyio_backend"],
)


@EVERY_WAY
async def test_cancelled_at_every_checkpoint(anyio_backend: object, way: Way) -> None:
    """It comes out as a cancellation, alone; no task and no request is left, and every place is free."""
    async with shelved(max_connections=2) as (s3, shelf):
        shelf.most = 3
        job = partial(s3.abort_stale_uploads, "bucket", older_than=DAY)
        at, trial = 0, Trial(fired=True)
        with swept():
            while trial.fired:
                at += 1
                shelf.uploads.clear()
                shelf.begin("a", "b", "c", "d")
                trial = await run(job, at=at, way=way)
                assert (trial.strays, shelf.in_flight, s3._session.places.taken) == ([], 0, 0)
                assert trial.cancelled or trial.kind is None
        assert at > 20
        assert (trial.kind, shelf.uploads) == (None, [])


async def test_a_listing_that_is_cancelled_goes_on_where_it_was() -> None:
    async with shelved("a", "b", "c") as (s3, shelf):
        uploads = s3.list_multipart_uploads("bucket", max_uploads=1)
        found = [await anext(uploads)]
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anext(uploads)
        assert scope.cancelled_caught
        found += await all_of(uploads)
        assert names(found) == shelf.uploads
