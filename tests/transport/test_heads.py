"""Heads, without a connection: what we write can be read in one way only, what we read is understood or refused."""

from __future__ import annotations

from typing import Final

import h11
import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handtruck.transport.heads import (
    MAX_HEAD,
    MAX_HEADERS,
    Head,
    find_end,
    parse_head,
    request_length,
    write_head,
)

OK: Final = b"HTTP/1.1 200 OK\r\n"
DETERMINISTIC: Final = settings(derandomize=True, deadline=None, max_examples=300)
TOKEN: Final = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
CONTROLS: Final = [chr(code) for code in (*range(32), 127) if chr(code) != "\t"]

latin: Final = st.text(st.characters(max_codepoint=255), max_size=20)
tokens: Final = st.text(TOKEN, min_size=1, max_size=12)
printable: Final = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
pairs: Final = st.lists(st.tuples(tokens, st.text(st.characters(min_codepoint=32, max_codepoint=126))), max_size=6)


def read_by_h11(data: bytes) -> h11.Request:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(data)
    event = peer.next_event()
    assert isinstance(event, h11.Request)
    assert peer.trailing_data[0] == b""
    return event


# -- Requests --------------------------------------------------------------------------------------------------------


def test_a_request() -> None:
    written = write_head("GET", "/a/../b?c", [("Host", "h"), ("X-Name", "v \xfc")])
    assert written == b"GET /a/../b?c HTTP/1.1\r\nHost: h\r\nX-Name: v \xfc\r\n\r\n"


@DETERMINISTIC
@given(method=tokens, target=printable, headers=pairs)
def test_h11_reads_what_we_write(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    """Byte for byte the same, in the same order."""
    framing = {"host", "content-length", "transfer-encoding"}
    headers = [("Host", "h"), *((name, value) for name, value in headers if name.lower() not in framing)]
    event = read_by_h11(write_head(method, target, headers))
    assert (event.method, event.target) == (method.encode(), target.encode())
    assert list(event.headers) == [(name.lower().encode(), value.strip(" \t").encode()) for name, value in headers]


@DETERMINISTIC
@given(method=latin, target=latin, headers=st.lists(st.tuples(latin, latin), max_size=4))
@example(method="GET", target="/", headers=[("A", "1\r\nB: 2")])
@example(method="GET", target="/ HTTP/1.1\r\nEvil: 1\r\n\r\nGET /", headers=[])
@example(method="GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", target="/", headers=[])
@example(method="GET", target="/", headers=[("A: 1\r\nB", "2")])
def test_nothing_can_be_smuggled(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    """Whatever is given, so many lines come out as went in, or none."""
    try:
        data = write_head(method, target, headers)
    except httpx.LocalProtocolError:
        return
    lines = data.split(b"\r\n")
    assert lines.pop() == lines.pop() == b""
    assert lines[0].split(b" ") == [method.encode("latin-1"), target.encode("latin-1"), b"HTTP/1.1"]
    assert lines[1:] == [f"{name}: {value}".encode("latin-1") for name, value in headers]
    assert not any(byte in line for line in lines for byte in b"\r\n\0")
    assert all(":" not in name and name for name, _ in headers)


@pytest.mark.parametrize("character", CONTROLS, ids=repr)
def test_no_control_characters(character: str) -> None:
    for parts in (
        (f"G{character}T", "/", []),
        ("GET", f"/{character}", []),
        ("GET", "/", [(f"A{character}", "1")]),
        ("GET", "/", [("A", f"1{character}2")]),
        ("GET", "/", [("A", f"1{character}")]),
    ):
        with pytest.raises(httpx.LocalProtocolError):
            write_head(*parts)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("", "/", []),
        ("GET", "", []),
        ("GET", "/a b", []),
        ("GET", "/a\tb", []),
        ("G T", "/", []),
        ("GÉT", "/", []),
        ("GET", "/\u20ac", []),
        ("GET", "/", [("", "1")]),
        ("GET", "/", [("A:", "1")]),
        ("GET", "/", [("A B", "1")]),
        ("GET", "/", [(" A", "1")]),
        ("GET", "/", [("A", "\u20ac")]),
        ("GET", "/", [("É", "1")]),
    ],
)
def test_what_no_request_may_hold(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        write_head(method, target, headers)


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([("Content-Length", "0")], 0),
        ([("content-length", "12")], 12),
        ([("Content-Length", "12"), ("Content-Length", "12")], 12),
        ([("Transfer-Encoding", "chunked")], None),
        ([("transfer-encoding", "Chunked")], None),
        ([("X-Content-Length", "3")], 0),
    ],
)
def test_a_requests_length(headers: list[tuple[str, str]], length: int | None) -> None:
    assert request_length(headers) == length


@pytest.mark.parametrize(
    "headers",
    [
        *(
            [("Content-Length", value)]
            for value in ("", "x", "-1", "+1", "1.0", "0x1", "1, 1", "1 1", "\u0663", "\xb2")
        ),
        [("Content-Length", "9" * 5000)],
        [("Content-Length", "1"), ("Content-Length", "2")],
        [("Content-Length", "1"), ("Transfer-Encoding", "chunked")],
        [("Transfer-Encoding", "gzip")],
        [("Transfer-Encoding", "gzip, chunked")],
        [("Transfer-Encoding", "")],
        [("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")],
    ],
)
def test_a_request_that_says_two_things(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        request_length(headers)


@DETERMINISTIC
@given(st.lists(st.tuples(st.sampled_from(["Content-Length", "Transfer-Encoding", "X"]), latin), max_size=4))
def test_any_request_has_a_length_or_none(headers: list[tuple[str, str]]) -> None:
    try:
        length = request_length(headers)
    except httpx.LocalProtocolError:
        return
    assert length is None or length >= 0


# -- Answers ---------------------------------------------------------------------------------------------------------

pieces: Final = st.lists(
    st.sampled_from(
        [
            *(b"HTTP/1.1 ", b"HTTP/1.0 ", b"HTTP/2 ", b"200 OK", b"204 No", b"100 Go", b"304 Same", b"099 ", b"\r\n"),
            *(b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"5", b"-1", b"chunked", b"close"),
            *(b"Content-Length: ", b"Transfer-Encoding: ", b"Connection: ", b"X: y", b"keep-alive", b"Upgrade: x"),
            *(b"HTTP/1.1 200 OK\r\n", b"\r\nContent-Length: 5\r\n", b"\r\nTransfer-Encoding: chunked\r\n", b"\xff"),
        ]
    ),
    max_size=14,
).map(b"".join)


@DETERMINISTIC
@given(data=pieces | st.binary(max_size=80), bodiless=st.booleans())
@example(data=OK + b"Content-Length: 99999999999999999999999\r\n\r\n", bodiless=False)
@example(data=OK + b"Transfer-Encoding:\r\n\r\n", bodiless=False)
def test_any_bytes_are_a_head_or_refused(data: bytes, bodiless: bool) -> None:
    buffer = bytearray(data)
    end = find_end(buffer, 0, len(buffer))
    if end < 0:
        return
    try:
        head = parse_head(memoryview(buffer)[:end], bodiless=bodiless)
    except httpx.RemoteProtocolError:
        return
    check_sense(head, bodiless=bodiless)


def check_sense(head: Head, *, bodiless: bool) -> None:
    assert 100 <= head.status <= 999
    assert head.version in (b"HTTP/1.0", b"HTTP/1.1")
    assert head.length is None or head.chunks is None
    assert head.length is None or head.length >= 0
    assert not (head.keep and head.length is None and head.chunks is None)
    if bodiless or head.status in (204, 304):
        assert head.length == 0
    for name, value in head.headers:
        assert name
        assert not set(b"\r\n\0") & {*name, *value}


@DETERMINISTIC
@given(data=pieces.map(lambda some: OK + some + b"\r\n\r\n" + some))
def test_more_bytes_change_no_head(data: bytes) -> None:
    """A head that was complete, and could be understood, is the same when more has come."""
    buffer, found = bytearray(data), set()
    for stop in range(len(OK), len(buffer) + 1):
        end = find_end(buffer, 0, stop)
        if end > 0:
            try:
                found.add((end, repr(parse_head(bytes(buffer[:end]), bodiless=True).headers)))
            except httpx.RemoteProtocolError:
                found.add((0, ""))
    assert len(found) <= 1


@DETERMINISTIC
@given(data=pieces, before=st.binary(max_size=9), after=st.binary(max_size=9))
def test_the_end_is_found_wherever_the_head_begins(data: bytes, before: bytes, after: bytes) -> None:
    alone = find_end(bytearray(data), 0, len(data))
    inside = find_end(bytearray(before + data + after), len(before), len(before) + len(data))
    assert inside == (alone + len(before) if alone >= 0 else -1)
    assert alone <= len(data)
    if alone >= 0:
        assert data[:alone].endswith((b"\n\n", b"\n\r\n"))


statuses: Final = st.integers(200, 999)
words: Final = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30).map(str.encode)
names: Final = tokens.map(str.encode).filter(
    lambda name: name.lower() not in (b"content-length", b"transfer-encoding", b"connection")
)


@DETERMINISTIC
@given(status=statuses, reason=words, headers=st.lists(st.tuples(names, words), max_size=8))
def test_heads_that_h11_would_send(status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
    peer.next_event()
    data = peer.send(h11.Response(status_code=status, headers=[*headers, (b"Content-Length", b"7")], reason=reason))
    assert data is not None
    assert find_end(bytearray(data), 0, len(data)) == len(data)
    head = parse_head(data, bodiless=False)
    assert (head.status, head.reason, head.length) == (status, reason, 0 if status in (204, 304) else 7)
    assert [(name.lower(), value) for name, value in head.headers if name.lower() != b"connection"] == [
        *((name.lower(), value) for name, value in headers),
        (b"content-length", b"7"),
    ]


@pytest.mark.parametrize(
    ("lines", "keep"),
    [
        (b"HTTP/1.1 200 OK\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nconnection: x, CLOSE\r\n", False),
        (b"HTTP/1.1 200 OK\r\nConnection: closed\r\n", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: keep-alive\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: x , Keep-Alive\r\n", True),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n", False),
    ],
)
def test_whether_the_connection_lives_on(lines: bytes, keep: bool) -> None:
    assert parse_head(lines + b"Content-Length: 0\r\n\r\n", bodiless=False).keep is keep
    assert not parse_head(lines + b"\r\n", bodiless=False).keep
    assert parse_head(lines + b"\r\n", bodiless=True).keep is keep


def test_limits() -> None:
    assert len(parse_head(OK + b"X: 1\r\n" * MAX_HEADERS + b"\r\n", bodiless=True).headers) == MAX_HEADERS
    with pytest.raises(httpx.RemoteProtocolError):
        parse_head(OK + b"X: 1\r\n" * (MAX_HEADERS + 1) + b"\r\n", bodiless=True)


# -- Chunks ----------------------------------------------------------------------------------------------------------


def chunked(data: bytes, cuts: list[int]) -> tuple[Head, list[bytes]]:
    """Feed it, cut so."""
    head = parse_head(OK + b"Transfer-Encoding: chunked\r\n\r\n", bodiless=False)
    assert head.chunks is not None
    blocks: list[bytes] = []
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        if start < stop:
            blocks += head.chunks.feed(data[start:stop])
    return head, blocks


@DETERMINISTIC
@given(
    blocks=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    extension=st.sampled_from([b"", b";a", b";a=b", b';a="b c"']),
    trailer=st.sampled_from([b"", b"X: 1\r\n", b"X: 1\r\nY: 2\r\n"]),
    junk=st.sampled_from([b"", b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"]),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_chunks(blocks: list[bytes], extension: bytes, trailer: bytes, junk: bytes, cuts: list[int]) -> None:
    """However they are cut; and what stands behind them is not theirs."""
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(block), extension, block) for block in blocks)
    whole = body + b"0" + extension + b"\r\n" + trailer + b"\r\n"
    head, got = chunked(whole + junk, sorted({min(cut, len(whole + junk)) for cut in cuts}))
    assert b"".join(got) == b"".join(blocks)
    assert head.chunks is not None
    assert head.chunks.over
    assert head.chunks.clean is (not junk)


@DETERMINISTIC
@given(
    st.lists(st.sampled_from([b"\r\n", b"\n", b"0", b"5", b"a", b";", b"hello", b"X: 1", b"g", b"\0"])).map(b"".join)
)
def test_any_bytes_are_chunks_or_refused(data: bytes) -> None:
    try:
        head, blocks = chunked(data, [])
    except httpx.RemoteProtocolError:
        return
    assert head.chunks is not None
    assert sum(map(len, blocks)) <= len(data)


def test_what_is_around_chunks_is_bounded() -> None:
    head = parse_head(OK + b"Transfer-Encoding: chunked\r\n\r\n", bodiless=False)
    assert head.chunks is not None
    head.chunks.feed(b"5;")
    for _ in range(MAX_HEAD // 1000 - 1):
        head.chunks.feed(b"x" * 1000)
    with pytest.raises(httpx.RemoteProtocolError):
        head.chunks.feed(b"x" * 2000)
