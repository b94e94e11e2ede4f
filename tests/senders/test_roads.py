"""Whichever way a request goes, the results are the same."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import pytest

from handtruck import S3Client
from handtruck._body import BytesBody, ViewStream
from handtruck.errors import (
    ConnectionFailed,
    HandtruckError,
    InvalidResponse,
    NotFound,
    PreconditionFailed,
    TransferTimeout,
    UsageError,
)
from handtruck.transport.bodies import ResponseBody
from handtruck.transport.reading import RawReader, _Iterated
from handtruck.transport.senders import ClientSender, DirectSender, _Direct, _ThroughClient
from tests.scripted import RESET, SILENCE, Reply, client, error, etag_of, serve, store, truncated
from tests.senders.support import BODY, GOES_RED, OURS, PART, ROADS, THEIRS, kind_of_response, road

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from handtruck.transport.senders import Draft, Prepared
    from tests.scripted import Request
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio


# -- Results -----------------------------------------------------------------------------------------------------------


async def check_the_http_level(name: str, tmp_path: Path) -> None:
    (tmp_path / "source.txt").write_bytes(BODY)
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        answers = {
            "put": await s3.put("b/k", BODY, headers={"X-Amz-Meta-Team": "blue"}),
            "put text": await s3.put("b/text", "grüße"),
            "put empty": await s3.put("b/empty", b""),
            "put_file": await s3.put_file("b/file", tmp_path / "source.txt"),
            "get": await s3.get("b/k"),
            "get empty": await s3.get("b/empty"),
            "range": await s3.get("b/k", headers={"Range": "bytes=1-4"}),
            "head": await s3.head("b/k"),
            "missing": await s3.get("b/missing"),
            "post": await s3.post("b/k", b"<x/>", params={"select": None}),
            "delete": await s3.delete("b/k"),
        }
        assert {type(answer).__mro__[-2] for answer in answers.values()} == {kind_of_response(name)}
        assert {what: (answer.status_code, answer.content) for what, answer in answers.items()} == {
            "put": (200, b""),
            "put text": (200, b""),
            "put empty": (200, b""),
            "put_file": (200, b""),
            "get": (200, BODY),
            "get empty": (200, b""),
            "range": (206, BODY[1:5]),
            "head": (200, b""),
            "missing": (404, error(404, "NoSuchKey").body),
            "post": (501, error(501, "NotImplemented").body),
            "delete": (204, b""),
        }
        assert answers["range"].headers["content-range"] == f"bytes 1-4/{len(BODY)}"
        assert answers["head"].headers["content-length"] == str(len(BODY))
        assert (answers["get"].headers["x-amz-meta-team"], answers["put"].headers["etag"]) == ("blue", etag_of(BODY))
        assert all(answer.is_closed for answer in answers.values())
        assert {key: stored.data for key, stored in tiny.objects.items()} == {
            "b/text": "grüße".encode(),
            "b/empty": b"",
            "b/file": BODY,
        }


@pytest.mark.parametrize("name", ROADS)
async def test_the_http_level(name: str, tmp_path: Path) -> None:
    await check_the_http_level(name, tmp_path)


async def test_mutation_bodies_of_one_library_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transport.senders._as_stream_of", lambda _, stream: stream)
    with pytest.raises(RuntimeError, match="sync request with an AsyncClient"):
        await check_the_http_level("httpx2", tmp_path)


@pytest.mark.parametrize("name", OURS)
async def test_mutation_a_body_that_is_not_sent(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BytesBody, "stream", lambda _: ViewStream(memoryview(b"")))
    with pytest.raises((*GOES_RED, UsageError)):
        await check_the_http_level(name, tmp_path)


@pytest.mark.parametrize("name", ROADS)
async def test_the_object_level(name: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(BODY)

    def chunks() -> Iterator[bytes]:
        yield from (BODY[start : start + 700] for start in range(0, len(BODY), 700))

    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        up = await s3.put_multipart("b/bytes", BODY, part_size=PART, workers_count=3)
        await s3.put_multipart("b/stream", chunks(), part_size=PART)
        await s3.put_file_multipart("b/file", source, part_size=PART, workers_count=2)
        down = await s3.get_file_parallel("b/bytes", target, range_step=PART, workers_count=3)
        pages = [[item.key for item in page] async for page in s3.list_objects_v2("b", max_keys=2)]
        assert (up.etag, up.size, up.parts) == (tiny.objects["b/bytes"].etag, len(BODY), 4)
        assert (down.size, down.etag, target.read_bytes()) == (len(BODY), up.etag, BODY)
        assert pages == [["bytes", "file"], ["stream"]]
        assert {stored.data for stored in tiny.objects.values()} == {BODY}
        with pytest.raises(NotFound, match="GetObject b/missing"):
            await s3.get_file_parallel("b/missing", target)
        assert target.read_bytes() == BODY
        assert tiny.uploads == {}


@pytest.mark.parametrize("name", OURS)
async def test_threads_are_for_our_own_hands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may cancel whom it has called, natively, and not wait for a thread: it is not given any."""
    seen: list[tuple[type, bool]] = []

    def noting(kind: type[DirectSender | ClientSender], what: str) -> None:
        sending = getattr(kind, what)

        async def noted(self: Any, call: Any) -> Any:
            if isinstance(call.stream, ViewStream) and call.stream.view:
                seen.append((kind, call.stream.threads is not None))
            return await sending(self, call)

        monkeypatch.setattr(kind, what, noted)

    noting(DirectSender, "perform")
    noting(ClientSender, "send")
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        await s3.put_multipart("b/k", BODY, part_size=PART, workers_count=3)
    assert {kind for kind, _ in seen} == {DirectSender if http is None else ClientSender}
    assert any(threads for _, threads in seen) == (http is None)  # parts have some, and what completes them has not


@pytest.mark.parametrize("name", ROADS)
@pytest.mark.parametrize("server", ["rclone", "rgw"], indirect=True)
async def test_a_round_trip_over_a_real_server(
    name: str, server: Server, bucket: str, witness: Witness, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    keys: dict[str, Any] = {"access_key_id": server.access_key_id, "secret_access_key": server.secret_access_key}
    async with road(name) as http, S3Client(server.url, http, **keys) as s3:
        assert (await s3.put(f"{bucket}/a folder/ü+%.txt", BODY)).is_success
        assert witness.get(bucket, "a folder/ü+%.txt") == BODY
        assert (await s3.get(f"{bucket}/a folder/ü+%.txt")).content == BODY
        await s3.get_file_parallel(f"{bucket}/a folder/ü+%.txt", target, range_step=PART)
        assert target.read_bytes() == BODY
        assert [[item.key for item in page] async for page in s3.list_objects_v2(bucket)] == [["a folder/ü+%.txt"]]


# -- What arrives ------------------------------------------------------------------------------------------------------

KEYS: Final = ("a/../b", "a//b", "%2e%2e", "../x", "./y", "a/.", "/", "a b+c", "ü", "q?x=1#y", "a%2Fb", "~!*'()")


async def check_keys_arrive(name: str) -> None:
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        for key in KEYS:
            await s3.put(f"b/{key}", key.encode())
            assert (await s3.get(f"b/{key}", params={"x": "a/../b c"})).content == key.encode()
        targets = [f"/b/{quote(key, safe='/-_.~')}" for key in KEYS]
        assert [request.target for request in tiny.sent("PutObject")] == targets
        assert [request.target for request in tiny.sent("GetObject")] == [f"{t}?x=a%2F..%2Fb%20c" for t in targets]
        assert [request.line.split()[2] for _, request in tiny.calls] == [b"HTTP/1.1"] * 2 * len(KEYS)


@pytest.mark.parametrize("name", ROADS)
async def test_keys_arrive_byte_for_byte(name: str) -> None:
    await check_keys_arrive(name)


@pytest.mark.parametrize("name", ROADS)
async def test_mutation_targets_as_httpx_understands_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    direct, through = DirectSender.prepare, ClientSender.prepare

    async def folded(self: DirectSender, draft: Draft) -> Prepared:
        target = httpx.URL(draft.origin + draft.target).raw_path.decode()
        return await direct(self, replace(draft, target=target))

    async def without_target(self: ClientSender, draft: Draft) -> Prepared:
        prepared: Any = await through(self, draft)
        prepared._request.extensions.pop("target", None)
        return prepared  # type: ignore[no-any-return]

    monkeypatch.setattr(DirectSender, "prepare", folded)
    monkeypatch.setattr(ClientSender, "prepare", without_target)
    with pytest.raises(GOES_RED):
        await check_keys_arrive(name)


async def test_every_road_sends_the_same_signed_request() -> None:
    """But for what belongs to the road: who sends it, and whether the connection is to be kept."""
    sent: dict[str, list[tuple[str, str]]] = {}
    async with serve(Reply()) as peer:
        for name in ROADS:
            async with road(name) as http, client(peer, client=http, session_token="token") as s3:
                clock = s3._session.clock().replace(2026, 7, 9, 12, 0, 0, 0)
                s3._session.clock = lambda clock=clock: clock  # type: ignore[misc]
                await s3.put("b/k", BODY, headers={"X-Amz-Acl": "private", "Content-Type": "text/plain"})
            last = peer.requests[-1]
            assert last.body == BODY
            named = {(key.lower(), value) for key, value in last.headers}
            sent[name] = sorted(pair for pair in named if pair[0] not in ("user-agent", "connection"))
    assert all(each == sent["httpx"] for each in sent.values())
    names = [key for key, _ in sent["httpx"]]
    assert names == [
        "accept",
        "accept-encoding",
        "authorization",
        "content-length",
        "content-type",
        "host",
        "x-amz-acl",
        "x-amz-content-sha256",
        "x-amz-date",
        "x-amz-security-token",
    ]


# -- The fast path -----------------------------------------------------------------------------------------------------


async def check_downloads_fill_our_memory(name: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each range is poured through a block of ours; nothing is read block by block, or iterated."""
    calls: list[str] = []
    poured = 0
    pour, readinto, aiter_raw = ResponseBody.pour, ResponseBody.readinto, httpx.Response.aiter_raw

    async def noted_pour(self: ResponseBody, view: memoryview, sink: Callable[[memoryview], object], *args: Any) -> int:
        def noted_sink(block: memoryview) -> None:
            nonlocal poured
            assert block.obj is view.obj
            poured += len(block)
            sink(block)

        calls.append("pour")
        return await pour(self, view, noted_sink, *args)

    async def noted_readinto(self: ResponseBody, buffer: memoryview) -> int:
        calls.append("readinto")
        return await readinto(self, buffer)

    def iterated(self: httpx.Response, chunk_size: int | None = None) -> Any:
        calls.append("aiter_raw")
        return aiter_raw(self, chunk_size)

    monkeypatch.setattr(ResponseBody, "pour", noted_pour)
    monkeypatch.setattr(ResponseBody, "readinto", noted_readinto)
    monkeypatch.setattr(httpx.Response, "aiter_raw", iterated)
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        tiny.put("b/k", BODY)
        await s3.get_file_parallel("b/k", target, range_step=PART)
        assert target.read_bytes() == BODY
        assert len(tiny.sent("GetObject")) == 4
    assert set(calls) == {"pour"}
    assert len(calls) >= 4
    assert poured == len(BODY)


@pytest.mark.parametrize("name", OURS)
async def test_downloads_fill_our_memory(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_downloads_fill_our_memory(name, tmp_path / "target", monkeypatch)


@pytest.mark.parametrize("name", THEIRS)
async def test_elsewhere_they_do_not(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GOES_RED):
        await check_downloads_fill_our_memory(name, tmp_path / "target", monkeypatch)


@pytest.mark.parametrize("name", OURS)
async def test_mutation_the_way_of_httpx(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def reader(response: httpx.Response) -> RawReader:
        return _Iterated(response.aiter_raw())

    monkeypatch.setattr("handtruck.transfer.fetch.raw_reader", reader)
    with pytest.raises(GOES_RED):
        await check_downloads_fill_our_memory(name, tmp_path / "target", monkeypatch)


# -- Failures ----------------------------------------------------------------------------------------------------------


def wrong_encoding(_: Request) -> Reply:
    return Reply(headers=(("Content-Encoding", "gzip"),), body=b"this is no gzip")


@pytest.mark.parametrize("name", ROADS)
@pytest.mark.parametrize(
    ("reply", "kind", "attempts"),
    [
        pytest.param(RESET, ConnectionFailed, 2, id="reset"),
        pytest.param(Reply(raw=b"?\r\n\r\n", then="close"), ConnectionFailed, 2, id="garbage"),
        pytest.param(Reply(raw=b"", then="close"), ConnectionFailed, 2, id="hung up"),
        pytest.param(truncated(Reply(body=BODY), 100), ConnectionFailed, 2, id="truncated"),
        pytest.param(truncated(Reply(body=BODY), 100, "reset"), ConnectionFailed, 2, id="reset in the body"),
        pytest.param(SILENCE, TransferTimeout, 2, id="silence"),
        pytest.param(truncated(Reply(body=BODY), 100, "silence"), TransferTimeout, 2, id="silence in the body"),  # type: ignore[arg-type]
        pytest.param(wrong_encoding, ConnectionFailed, 2, id="wrong encoding"),
    ],
)
async def test_no_answer_is_the_same_failure(
    name: str, reply: Any, kind: type[ConnectionFailed], attempts: int, tmp_path: Path
) -> None:
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http, max_attempts=2) as s3:
        tiny.on("GetObject", reply)
        with pytest.raises(ConnectionFailed, match=r"GetObject b/k at 127\.0\.0\.1:\d+: ") as caught:
            await s3.get("b/k", timeout=httpx.Timeout(10, read=0.05 if kind is TransferTimeout else 10))
        assert type(caught.value) is kind
        assert (caught.value.attempts, caught.value.sent) == (attempts, True)
        assert len(tiny.calls) == attempts
        assert s3._session.places.taken == 0
        assert_bare(caught.value, f"{tiny.peer.url}/b/k")


def assert_bare(error: ConnectionFailed, url: str) -> None:
    """The error's request says where it went, and nothing of what was sent."""
    assert isinstance(error.request, httpx.Request)
    assert (error.request.method, str(error.request.url)) == ("GET", url)
    assert set(error.request.headers) <= {"host"}


async def check_errors_carry_a_bare_request(name: str) -> None:
    async with serve(RESET) as peer, road(name) as http, client(peer, client=http, max_attempts=1) as s3:
        with pytest.raises(ConnectionFailed) as caught:
            await s3.get("b/k", params={"versionId": "7"})
        assert_bare(caught.value, f"{peer.url}/b/k?versionId=7")


@pytest.mark.parametrize("name", ROADS)
async def test_errors_carry_a_bare_request(name: str) -> None:
    await check_errors_carry_a_bare_request(name)


@pytest.mark.parametrize("name", ROADS)
async def test_mutation_errors_carry_all(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def whole(self: Prepared) -> httpx.Request:
        return httpx.Request("GET", "http://localhost", headers=self.headers())

    monkeypatch.setattr(_Direct, "bare", whole)
    monkeypatch.setattr(_ThroughClient, "bare", whole)
    with pytest.raises(GOES_RED):
        await check_errors_carry_a_bare_request(name)


OUTCOMES: Final[list[tuple[Any, type[HandtruckError] | None]]] = [
    (error(404, "NoSuchKey"), NotFound),
    (error(412, "PreconditionFailed"), PreconditionFailed),
    (Reply(body=b"<nonsense/>"), InvalidResponse),
    (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n\r\n123456789"), InvalidResponse),
]


@pytest.mark.parametrize("name", ROADS)
@pytest.mark.parametrize(("reply", "kind"), OUTCOMES)
async def test_a_bad_answer_is_the_same_error(name: str, reply: Reply, kind: type[HandtruckError]) -> None:
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        tiny.on("ListObjectsV2", reply)
        with pytest.raises(HandtruckError, match="ListObjectsV2 b") as caught:
            await anext(s3.list_objects_v2("b"))
        assert type(caught.value) is kind


@pytest.mark.parametrize("name", ROADS)
async def test_what_breaks_off_goes_on_where_it_stopped(name: str, tmp_path: Path) -> None:
    target = tmp_path / "target"
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        tiny.put("b/k", BODY)
        whole = tiny.GetObject

        def cut(request: Request) -> Reply:
            return truncated(whole(request, "b/k"), 300, "reset")

        tiny.on("GetObject", cut, nth=2)
        tiny.on("GetObject", error(503, "SlowDown"), nth=3)
        await s3.get_file_parallel("b/k", target, range_step=PART, workers_count=1)
        assert target.read_bytes() == BODY
        assert len(tiny.calls) == 6
        assert tiny.sent("GetObject")[3].header("range") != tiny.sent("GetObject")[1].header("range")


@pytest.mark.parametrize("name", ROADS)
async def test_what_is_refused_for_a_while_is_tried_again(name: str) -> None:
    async with store() as (_, tiny), road(name) as http, client(tiny.peer, client=http) as s3:
        calls: list[Callable[[], Awaitable[object]]] = [
            partial(s3.put, "b/k", BODY),
            partial(s3.put_multipart, "b/parts", BODY, part_size=PART),
        ]
        for operation in ("PutObject", "UploadPart", "CompleteMultipartUpload"):
            tiny.on(operation, RESET, nth=1)
        for call in calls:
            await call()
        assert {stored.data for stored in tiny.objects.values()} == {BODY}
        assert tiny.uploads == {}
