"""Entity tags: how they compare, and the one S3 gives to an object made of parts."""

from __future__ import annotations

from hashlib import md5, sha256

import pytest

from handtruck.protocol import checksums

ONE = "0cc175b9c0f1b6a831c399e269772661"  # md5 of b"a"
TWO = "92eb5ffee6ae2fec3ad71c777531578f"  # md5 of b"b"


@pytest.mark.parametrize(
    ("parts", "etag"),
    [
        # (printf a | md5sum; printf b | md5sum) | cut -c1-32 | xxd -r -p | md5sum
        ([ONE], "b6ff9a06b7e20bcb2858c5b8ff744aea-1"),
        ([ONE, TWO], "96e024ba2074fe77e8e965ba43a704be-2"),
    ],
)
def test_multipart_etag_by_hand(parts: list[str], etag: str) -> None:
    assert checksums.multipart_etag(parts) == etag
    assert checksums.multipart_etag([f'"{part}"' for part in parts]) == etag


def test_multipart_etag_by_its_definition() -> None:
    digests = [md5(bytes([i]), usedforsecurity=False) for i in range(200)]
    whole = md5(b"".join(digest.digest() for digest in digests), usedforsecurity=False).hexdigest()
    assert checksums.multipart_etag(digest.hexdigest() for digest in digests) == f"{whole}-200"


def test_the_order_of_the_parts_counts() -> None:
    assert checksums.multipart_etag([ONE, TWO]) != checksums.multipart_etag([TWO, ONE])


@pytest.mark.parametrize(
    "etag", ["", '""', "opaque", f"{ONE}-2", ONE[:-1], f"W/{ONE}", f'W/"{ONE}"', ONE[:-1] + "g", ONE + ONE, f"{ONE}\n0"]
)
def test_nothing_is_told_from_etags_that_are_no_md5(etag: str) -> None:
    assert checksums.multipart_etag([ONE, etag]) is None


def test_nothing_is_told_from_no_parts() -> None:
    assert checksums.multipart_etag([]) is None


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('"a"', '"a"', True),
        ('"a"', "a", True),
        (' "a" ', "a", True),
        ('"a"', '"b"', False),
        ('"a"', '"A"', False),
        ('W/"a"', '"a"', False),
        (None, None, False),
        (None, '"a"', False),
        ('"a"', None, False),
    ],
)
def test_same_etag(one: str | None, other: str | None, same: bool) -> None:
    assert checksums.same_etag(one, other) is same


@pytest.mark.parametrize(
    ("etag", "strong"), [('"a"', True), ("a", True), ('W/"a"', False), ('""', False), ("", False), (None, False)]
)
def test_only_strong_etags_go_into_if_match(etag: str | None, strong: bool) -> None:
    assert checksums.is_strong(etag) is strong


@pytest.mark.parametrize(
    ("text", "is_hash"),
    [
        (sha256(b"x").hexdigest(), True),
        (sha256(b"x").hexdigest().upper(), True),
        (checksums.EMPTY_SHA256, True),
        ("UNSIGNED-PAYLOAD", True),
        ("unsigned-payload", False),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", False),
        ("ab" * 31, False),
        ("ab" * 32 + "\n", False),
        ("", False),
    ],
)
def test_payload_hashes(text: str, is_hash: bool) -> None:
    assert checksums.is_payload_hash(text) is is_hash


def test_the_hash_of_nothing() -> None:
    assert sha256(b"").hexdigest() == checksums.EMPTY_SHA256
