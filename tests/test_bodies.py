"""Bodies and request lines, byte for byte on the wire; and what becomes of the generators that bodies come from."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.errors import AccessDenied, S3Error, SourceChanged, UsageError
from handtruck.protocol.parts import DEFAULT_PART_SIZE
from handtruck.transfer.files import PositionalFile
from tests.scripted import SILENCE, Reply, client, error, serve, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from pathlib import Path

    from handtruck import S3Client
    from tests.scripted import Request, TinyS3

pytestmark = pytest.mark.anyio

PART: Final = 1000
BODY: Final = bytes(range(256)) * 14


@pytest.fixture(name="small_parts")
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a kilobyte, for ``put`` too."""
    monkeypatch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)
    monkeypatch.setattr("handtruck.transfer.jobs.DEFAULT_PART_SIZE", PART)


def cut(data: bytes, size: int = 700) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def acut(data: bytes, size: int = 700) -> AsyncIterator[bytes]:
    for block in cut(data, size):
        yield block


def framing(request: Request) -> tuple[str | None, str | None]:
    return request.header("content-length"), request.header("transfer-encoding")


# -- Framing -----------------------------------------------------------------------------------------------------------

KINDS: Final[dict[str, Callable[[], Any]]] = {
    "text": lambda: "hällo",
    "bytes": lambda: BODY,
    "bytearray": lambda: bytearray(BODY),
    "memoryview": lambda: memoryview(BODY),
    "strided memoryview": lambda: memoryview(BODY)[::2],
    "memoryview of numbers": lambda: memoryview(BODY).cast("H"),
    "list": lambda: list(cut(BODY)),
    "tuple of all kinds": lambda: (b"a", bytearray(b"b"), memoryview(b"c"), b""),
    "generator": lambda: cut(BODY),
    "iterator": lambda: iter([BODY]),
    "async generator": lambda: acut(BODY),
    "no bytes": lambda: b"",
    "no text": lambda: "",
    "nothing": lambda: None,
    "empty list": list,
    "empty generator": lambda: cut(b""),
    "empty async generator": lambda: acut(b""),
    "holes": lambda: [b"", b"a", b""],
}


def flat(content: Any) -> bytes:
    match content:
        case None:
            return b""
        case str():
            return content.encode()
        case bytes() | bytearray():
            return bytes(content)
        case memoryview():
            return content.tobytes()
        case list() | tuple():
            return b"".join(map(flat, content))
        case _:
            raise TypeError


@pytest.mark.parametrize("kind", KINDS)
async def test_a_body_has_its_length_and_is_never_chunked(kind: str) -> None:
    content = KINDS[kind]()
    whole = "generator" in kind or kind == "iterator"
    expected = (b"" if "empty" in kind else BODY) if whole else flat(KINDS[kind]())
    async with store() as (s3, tiny):
        assert (await s3.put("b/k", content)).status_code == 200
        [request] = tiny.sent("PutObject")
        assert framing(request) == (str(len(expected)), None)
        assert request.body == tiny.objects["b/k"].data == expected
        assert request.header("expect") is None


async def test_requests_without_a_body_say_nothing_about_one() -> None:
    async with store() as (s3, tiny):
        for call in (s3.get, s3.head, s3.delete):
            await call("b/k.json")
        for _, request in tiny.calls:
            assert framing(request) == (None, None)
            assert request.header("content-type") is None
        await s3.post("b/k")
        assert framing(tiny.calls[-1][1]) == ("0", None)


@pytest.mark.usefixtures("small_parts")
async def test_every_request_of_an_upload_has_its_length() -> None:
    async with store() as (s3, tiny):
        await s3.put_multipart("b/k", acut(BODY), part_size=PART)
        assert [framing(request)[0] for request in tiny.sent("UploadPart")] == ["1000", "1000", "1000", "584"]
        assert framing(tiny.sent("CreateMultipartUpload")[0]) == ("0", None)
        assert all(framing(request)[1] is None for _, request in tiny.calls)


# -- One request, or many ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blocks", [cut, acut])
async def test_eight_mebibytes_are_one_request_and_one_byte_more_is_an_upload(blocks: Callable[..., Any]) -> None:
    data = bytes(DEFAULT_PART_SIZE)
    async with store() as (s3, tiny):
        response = await s3.put("b/one", blocks(data, 3_000_000))
        assert tiny.names == ["PutObject"]
        assert response.headers["etag"] == tiny.objects["b/one"].etag
        tiny.calls.clear()
        response = await s3.put("b/many", blocks(data + b"x", 3_000_000), headers={"x-amz-meta-a": "b"})
        assert sorted(tiny.names) == ["CompleteMultipartUpload", "CreateMultipartUpload", "UploadPart", "UploadPart"]
        assert response.status_code == 200
        assert tiny.objects["b/many"].etag in response.text.replace("&quot;", '"')
        assert tiny.objects["b/many"].data == data + b"x"
        assert ("x-amz-meta-a", "b") in tiny.objects["b/many"].headers


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("options", [{"params": {"versionId": "x"}}, {"content_sha256": "UNSIGNED-PAYLOAD"}])
async def test_what_belongs_to_one_request_must_fit_into_one(options: dict[str, Any]) -> None:
    async with store() as (s3, tiny):
        assert (await s3.put("b/k", acut(BODY[:PART]), **options)).status_code == 200
        tiny.calls.clear()
        for content in (cut(BODY), acut(BODY)):
            with pytest.raises(UsageError, match="longer than one part"):
                await s3.put("b/k", content, **options)
        assert tiny.calls == []
        assert tiny.uploads == {}


@pytest.mark.usefixtures("small_parts")
async def test_a_refused_put_of_an_iterable_is_an_answer_and_a_refused_upload_an_error() -> None:
    async with store() as (s3, tiny):
        tiny.on("PutObject", error(403, "AccessDenied"))
        tiny.on("UploadPart", error(403, "AccessDenied"))
        assert (await s3.put("b/k", acut(b"small"))).status_code == 403
        with pytest.raises(AccessDenied):
            await s3.put("b/k", acut(BODY))
        assert tiny.uploads == {}


@pytest.mark.usefixtures("small_parts")
async def test_a_stream_of_exactly_one_part_is_a_put() -> None:
    async with store() as (s3, tiny):
        result = await s3.put_multipart("b/k", acut(BODY[:PART]), part_size=PART)
        assert tiny.names == ["PutObject"]
        assert (result.parts, result.size, result.etag) == (0, PART, tiny.objects["b/k"].etag)


# -- Names and headers -------------------------------------------------------------------------------------------------

TARGETS: Final = [
    ("a/../b", b"a/../b"),
    (".", b"."),
    ("..", b".."),
    ("./a", b"./a"),
    ("//x", b"//x"),
    ("a//b", b"a//b"),
    ("a/", b"a/"),
    ("a b+c%", b"a%20b%2Bc%25"),
    ("%2F", b"%252F"),
    ("ü", b"%C3%BC"),
    ("日本", b"%E6%97%A5%E6%9C%AC"),
    ("a?b#c", b"a%3Fb%23c"),
    ("a&b=c;d:e@f,g", b"a%26b%3Dc%3Bd%3Ae%40f%2Cg"),
    ("😀", b"%F0%9F%98%80"),
    ("\x01\r\n", b"%01%0D%0A"),
    ("end ", b"end%20"),
    ("~-_.", b"~-_."),
    ("!*'()", b"%21%2A%27%28%29"),
    ("caf\udce9", b"caf%E9"),
    ("\\x", b"%5Cx"),
    ("x" * 1024, b"x" * 1024),
]


@pytest.mark.parametrize("own", [True, False], ids=["own", "callers"])
async def test_odd_keys_go_out_byte_for_byte(own: bool) -> None:
    import httpx

    async with store() as (ours, tiny), httpx.AsyncClient() as http:
        s3 = ours if own else client(tiny.peer, client=http)
        for key, target in TARGETS:
            await s3.put(f"b/{key}", key.encode("utf-8", "surrogateescape"))
            assert tiny.peer.requests[-1].line == b"PUT /b/" + target + b" HTTP/1.1"
            assert tiny.objects[f"b/{key}"].data == key.encode("utf-8", "surrogateescape")
            assert (await s3.get(f"b/{key}")).content == key.encode("utf-8", "surrogateescape")


async def test_the_target_is_the_urls_path_and_the_name() -> None:
    async with serve(Reply()) as peer:
        for path, name, target in [
            ("", "b/k", b"/b/k"),
            ("", "/b/k", b"/b/k"),
            ("/", "b/k", b"/b/k"),
            ("/b", "k", b"/b/k"),
            ("/b/", "k", b"/b/k"),
            ("/b", "/k", b"/b//k"),
            ("/gate/way/b", "a/../k", b"/gate/way/b/a/../k"),
        ]:
            async with client(peer, url=peer.url + path) as s3:
                await s3.get(name)
            assert peer.requests[-1].line == b"GET " + target + b" HTTP/1.1"


async def test_parameters_are_sorted_and_bare_where_they_have_no_value() -> None:
    async with serve(Reply()) as peer, client(peer) as s3:
        table: list[tuple[dict[str, Any], bytes]] = [
            ({"uploads": None}, b"uploads"),
            ({"acl": ""}, b"acl="),
            ({"b": "2", "a": "1 +/&=ü"}, b"a=1%20%2B%2F%26%3D%C3%BC&b=2"),
            ({"n": 1, "t": True, "x": [2, 1]}, b"n=1&t=true&x=1&x=2"),
            ({}, b""),
        ]
        for params, query in table:
            await s3.get("b/k", params=params)
            assert peer.requests[-1].line == b"GET /b/k" + (b"?" + query if query else b"") + b" HTTP/1.1"


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-meta-name": "Müller"},
        {"x-amz-meta-name": "a\nb"},
        {"x-amz-meta-name": "a\r\nx-injected: 1"},
        {"x-amz-meta-name": "\x00"},
        {"bad name": "x"},
        {"": "x"},
        {"x-amz-meta-ü": "x"},
        {"Authorization": "mine"},
        {"Content-Length": "3"},
        {"Transfer-Encoding": "chunked"},
        {"X-Amz-Date": "now"},
        {"x-amz-meta-n": 1},
        {"x-amz-meta-n": " blank"},
    ],
    ids=repr,
)
async def test_headers_that_cannot_be_sent_are_refused_before_anything_is(headers: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY)
    async with serve(Reply()) as peer, client(peer) as s3:
        for call in (
            partial(s3.get, "b/k"),
            partial(s3.put, "b/k", BODY),
            partial(s3.put, "b/k", acut(BODY)),
            partial(s3.put_file, "b/k", tmp_path / "file"),
            partial(s3.put_multipart, "b/k", BODY),
            partial(s3.put_file_multipart, "b/k", tmp_path / "file"),
            partial(s3.get_file_parallel, "b/k", tmp_path / "copy"),
        ):
            with pytest.raises(UsageError):
                await call(headers=headers)
        assert peer.connections == 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.json", "application/json"),
        ("x.html", "text/html"),
        ("x.tar.gz", "application/gzip"),
        ("x.unheard-of", "application/octet-stream"),
        ("x", "application/octet-stream"),
    ],
)
async def test_a_files_name_suggests_its_type(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(BODY)
    async with store() as (s3, tiny):
        await s3.put_file("b/one", tmp_path / name)
        await s3.put_file_multipart("b/two", tmp_path / name)
        await s3.put_file("b/three", tmp_path / name, headers={"content-type": "text/mine"})
        await s3.put("b/four.json", b"{}")
        types = [request.header("content-type") for request in tiny.sent("PutObject")]
        assert types == [kind, kind, "text/mine", None]


@pytest.mark.usefixtures("small_parts")
async def test_the_headers_of_an_upload_go_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(BODY)
    headers = {
        "x-amz-meta-a": "b",
        "If-None-Match": "*",
        "x-amz-server-side-encryption-customer-key": "k",
        "x-amz-expected-bucket-owner": "me",
    }
    async with store() as (s3, tiny):
        await s3.put_file_multipart("b/k", tmp_path / "x.json", part_size=PART, headers=headers)
        sent = {
            name: {header for header in ("content-type", *headers) if request.header(header) is not None}
            for name, request in tiny.calls
        }
    everywhere = {"x-amz-server-side-encryption-customer-key", "x-amz-expected-bucket-owner"}
    assert sent == {
        "CreateMultipartUpload": {"content-type", "x-amz-meta-a", *everywhere},
        "UploadPart": everywhere,
        "CompleteMultipartUpload": {"content-type", "If-None-Match", *everywhere},
    }


# -- Generators --------------------------------------------------------------------------------------------------------


class Told:
    """Generators that tell which task advanced them, and that they were closed."""

    def __init__(self, count: int = 40, *, fail_at: int | None = None) -> None:
        self.count = count
        self.fail_at = fail_at
        self.tasks: list[int] = []
        self.closed = 0

    def _step(self, number: int) -> bytes:
        if number == self.fail_at:
            raise ZeroDivisionError("the generator's own")
        return bytes([number]) * 250

    async def blocks(self) -> AsyncIterator[bytes]:
        try:
            for number in range(self.count):
                self.tasks.append(anyio.get_current_task().id)
                await anyio.lowlevel.checkpoint()
                yield self._step(number)
        finally:
            self.closed += 1
            self.tasks.append(anyio.get_current_task().id)

    def sync_blocks(self) -> Iterator[bytes]:
        try:
            for number in range(self.count):
                yield self._step(number)
        finally:
            self.closed += 1

    @property
    def whole(self) -> bytes:
        return b"".join(self._step(number) for number in range(self.count))


def ways_to_send(s3: S3Client, told: Told) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: s3.put("b/k", told.blocks()),
        lambda: s3.put("b/k", told.sync_blocks()),
        lambda: s3.put_multipart("b/k", told.blocks(), part_size=PART, workers_count=3),
        lambda: s3.put_multipart("b/k", told.sync_blocks(), part_size=PART, workers_count=3),
    ]


WAYS: Final = range(4)


@asynccontextmanager
async def sending(way: int, told: Told) -> AsyncIterator[tuple[TinyS3, Callable[[], Awaitable[object]]]]:
    async with store() as (s3, tiny):
        yield tiny, ways_to_send(s3, told)[way]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("count", [0, 1, 40])
@pytest.mark.parametrize("way", WAYS)
async def test_a_generator_is_advanced_by_one_task_and_closed(way: int, count: int) -> None:
    told = Told(count)
    async with sending(way, told) as (tiny, send):
        await send()
        assert tiny.objects["b/k"].data == told.whole
    assert told.closed == 1
    assert len(set(told.tasks)) <= 1


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("fail_at", [0, 1, 3, 4, 5, 39])
@pytest.mark.parametrize("way", WAYS)
async def test_a_generator_that_raises_is_heard_and_its_upload_aborted(way: int, fail_at: int) -> None:
    told = Told(fail_at=fail_at)
    async with sending(way, told) as (tiny, send):
        with pytest.raises(ZeroDivisionError, match="the generator's own") as caught:
            await send()
        assert tiny.uploads == {}
        assert tiny.objects == {}
        assert not hasattr(caught.value, "__notes__")
    assert told.closed == 1
    assert len(set(told.tasks)) <= 1


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("nth", [1, 5])
@pytest.mark.parametrize("way", WAYS)
async def test_a_generator_is_closed_when_the_upload_fails(way: int, nth: int) -> None:
    told = Told()
    async with sending(way, told) as (tiny, send):
        tiny.on("UploadPart", error(400, "InvalidRequest"), nth=nth)
        with pytest.raises(S3Error, match="InvalidRequest"):
            await send()
        assert tiny.uploads == {}
    assert told.closed == 1
    assert len(set(told.tasks)) <= 1


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("way", WAYS)
async def test_a_generator_is_closed_when_the_upload_is_cancelled(way: int) -> None:
    told = Told()
    async with sending(way, told) as (tiny, send):
        tiny.on("UploadPart", SILENCE)
        async with anyio.create_task_group() as group:
            group.start_soon(send)  # type: ignore[arg-type]
            await tiny.peer.until(lambda: bool(tiny.sent("UploadPart")))
            group.cancel_scope.cancel()
        assert told.closed == 1
        assert tiny.uploads == {}
    assert len(set(told.tasks)) <= 1


@pytest.mark.usefixtures("small_parts")
async def test_a_generator_that_waits_for_ever_is_cancelled() -> None:
    closed: list[bool] = []
    waiting = anyio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        try:
            yield BODY
            waiting.set()
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    async with store() as (s3, tiny), anyio.create_task_group() as group:
        group.start_soon(partial(s3.put_multipart, "b/k", blocks(), part_size=PART))
        await waiting.wait()
        group.cancel_scope.cancel()
    assert closed == [True]
    assert tiny.uploads == {}


@pytest.mark.usefixtures("small_parts")
async def test_a_generator_that_fills_one_buffer_again_and_again() -> None:
    def reused() -> Iterator[bytearray]:
        buffer = bytearray(300)
        for number in range(20):
            buffer[:] = bytes([number]) * 300
            yield buffer

    async def areused() -> AsyncIterator[memoryview]:
        for buffer in reused():
            yield memoryview(buffer)

    expected = b"".join(bytes([number]) * 300 for number in range(20))
    async with store() as (s3, tiny):
        for content in (reused(), areused()):
            await s3.put_multipart("b/k", content, part_size=PART, workers_count=3)
            assert tiny.objects.pop("b/k").data == expected
        for content in (reused(), areused()):
            await s3.put("b/k", content)
            assert tiny.objects.pop("b/k").data == expected


@pytest.mark.parametrize("block", ["text", 1, None, [b"nested"]])
async def test_blocks_that_are_no_bytes_are_refused(block: Any) -> None:
    async with store() as (s3, tiny):
        for send in (s3.put, s3.put_multipart):
            with pytest.raises(UsageError, match=f"the content yielded {type(block).__name__} where bytes"):
                await send("b/k", [b"first", block])
        assert tiny.names == []


@pytest.mark.parametrize("content", [1, 1.5, object()])
async def test_content_that_is_none_is_refused(content: Any) -> None:
    async with store() as (s3, tiny):
        for send in (s3.put, s3.put_multipart):
            with pytest.raises(UsageError, match="must be bytes, or a sync or async iterable"):
                await send("b/k", content)
        assert tiny.names == []


@pytest.mark.usefixtures("small_parts")
async def test_bytes_as_an_upload() -> None:
    async with store() as (s3, tiny):
        for content in (BODY, bytearray(BODY), memoryview(BODY)):
            await s3.put_multipart("b/k", content, part_size=PART)
            assert tiny.objects.pop("b/k").data == BODY


async def test_an_answer_keeps_nothing_of_the_body() -> None:
    """Whoever keeps the response may resize the buffer. Found: it was exported as long as the response lived."""
    async with store() as (s3, tiny):
        buffer = bytearray(BODY)
        response = await s3.put("b/k", buffer)
        buffer.append(0)
        buffer.clear()
        assert await response.request.aread() == b""
        assert tiny.objects["b/k"].data == BODY


# -- Files that change -------------------------------------------------------------------------------------------------


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 2500)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("change", [grow, shrink, touch])
@pytest.mark.parametrize("multipart", [True, False])
async def test_a_file_that_changes_while_it_is_sent_is_not_stored(
    change: Callable[[Path], None], multipart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    source.write_bytes(BODY)
    read = PositionalFile.read_into

    def read_into(file: PositionalFile, view: memoryview, offset: int) -> int:
        if offset == 2 * PART:
            change(source)
        return read(file, view, offset)

    monkeypatch.setattr(PositionalFile, "read_into", read_into)
    async with store() as (s3, tiny):
        call = partial(s3.put_file_multipart, part_size=PART) if multipart else partial(s3.put_file, chunk_size=PART)
        with pytest.raises(SourceChanged, match=r"source (changed|became shorter) while it was sent"):
            await call("b/k", source)
        assert tiny.uploads == {}
        await tiny.peer.until(lambda: tiny.peer.busy == 0)
        assert tiny.objects == {}
        assert tiny.names.count("PutObject") == (0 if multipart else 1)


async def test_a_small_file_that_changes_before_it_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(BODY)
    read = PositionalFile.read_into

    def read_into(file: PositionalFile, view: memoryview, offset: int) -> int:
        done = read(file, view, offset)
        grow(source)
        return done

    monkeypatch.setattr(PositionalFile, "read_into", read_into)
    async with store() as (s3, tiny):
        for call in (s3.put_file, s3.put_file_multipart):
            with pytest.raises(SourceChanged):
                await call("b/k", source)
        await tiny.peer.until(lambda: tiny.peer.busy == 0)
        assert tiny.objects == {}


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 3584])
@pytest.mark.usefixtures("small_parts")
async def test_files_of_all_sizes(size: int, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BODY[:size])
    async with store() as (s3, tiny):
        await s3.put_file("b/one", tmp_path / "file", chunk_size=PART)
        result = await s3.put_file_multipart("b/two", tmp_path / "file", part_size=PART, workers_count=3)
        assert tiny.objects["b/one"].data == tiny.objects["b/two"].data == BODY[:size]
        assert (result.size, result.parts) == (size, -(-size // PART) if size > PART else 0)
        assert framing(tiny.sent("PutObject")[0]) == (str(size), None)


# -- Any chunking ------------------------------------------------------------------------------------------------------


async def sent_and_stored(chunks: Iterable[bytes], part_size: int) -> list[bytes]:
    async def achunks() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async with store() as (s3, tiny):
        await s3.put("b/1", list(chunks))
        await s3.put("b/2", achunks())
        await s3.put_multipart("b/3", list(chunks), part_size=part_size, workers_count=2)
        await s3.put_multipart("b/4", achunks(), part_size=part_size, max_size=1)
        assert tiny.uploads == {}
        return [tiny.objects[f"b/{number}"].data for number in (1, 2, 3, 4)]


@settings(max_examples=15, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=40), max_size=8),
    part_size=st.integers(8, 60),
    backend=st.sampled_from(["asyncio", "trio"]),
)
def test_any_chunking_arrives_intact(chunks: list[bytes], part_size: int, backend: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("handtruck.protocol.parts.MIN_PART_SIZE", 1)
        patch.setattr("handtruck.transfer.jobs.DEFAULT_PART_SIZE", part_size)
        assert anyio.run(sent_and_stored, chunks, part_size, backend=backend) == [b"".join(chunks)] * 4
