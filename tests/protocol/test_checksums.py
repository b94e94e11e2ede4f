"""Entity tags and checksums: how they compare, and those that S3 gives to an object made of parts."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import replace
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Any, Final

import awscrt.checksums
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.errors import ChecksumMismatch, InvalidResponse, UsageError
from handtruck.models import Checksum
from handtruck.protocol import checksums, crc, documents
from handtruck.protocol.options import write_headers
from tests.scripted import sums

if TYPE_CHECKING:
    from handtruck.models import ChecksumAlgorithm

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


# -- Checksums ---------------------------------------------------------------------------------------------------------

CHECK: Final = b"123456789"
PUBLISHED: Final[dict[ChecksumAlgorithm, str]] = {
    # https://reveng.sourceforge.io/crc-catalogue/: CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME; `sha1sum`, `sha256sum`.
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
}
POLYNOMIALS: Final[dict[ChecksumAlgorithm, tuple[int, int]]] = {
    # As the catalogue has them: the highest power first.
    "CRC32": (32, 0x04C11DB7),
    "CRC32C": (32, 0x1EDC6F41),
    "CRC64NVME": (64, 0xAD93D23594C93659),
}
CRCS: Final = tuple(POLYNOMIALS)
algorithms = st.sampled_from(crc.ALGORITHMS)
crcs = st.sampled_from(CRCS)


def digest_of(algorithm: ChecksumAlgorithm, *blocks: bytes) -> bytes:
    hasher = crc.new_hasher(algorithm)
    for block in blocks:
        hasher.update(memoryview(block))
    return hasher.digest()


def crc_of(algorithm: ChecksumAlgorithm, data: bytes) -> int:
    return int.from_bytes(digest_of(algorithm, data), "big")


def summed(algorithm: ChecksumAlgorithm, data: bytes) -> Checksum:
    return Checksum(algorithm=algorithm, value=crc.encode(digest_of(algorithm, data)))


def long_division(algorithm: ChecksumAlgorithm, data: bytes) -> int:
    """The CRC by its definition, bit by bit."""
    width, polynomial = POLYNOMIALS[algorithm]
    remainder = (1 << width) - 1
    for byte in data:
        for bit in range(8):
            top = remainder >> (width - 1) ^ (byte >> bit & 1)
            remainder = (remainder << 1) & ((1 << width) - 1) ^ (polynomial if top else 0)
    reflected = int(f"{remainder:0{width}b}"[::-1], 2)
    return reflected ^ ((1 << width) - 1)


@pytest.mark.parametrize("algorithm", crc.ALGORITHMS)
def test_published_check_values(algorithm: ChecksumAlgorithm) -> None:
    assert digest_of(algorithm, CHECK).hex() == PUBLISHED[algorithm]
    assert len(PUBLISHED[algorithm]) == 2 * crc.size_of(algorithm)


@given(crcs, st.binary(max_size=60))
def test_crcs_by_their_definition(algorithm: ChecksumAlgorithm, data: bytes) -> None:
    assert crc_of(algorithm, data) == long_division(algorithm, data)


@given(algorithms, st.lists(st.binary(max_size=40), max_size=6))
def test_how_the_bytes_are_cut_makes_no_difference(algorithm: ChecksumAlgorithm, blocks: list[bytes]) -> None:
    assert digest_of(algorithm, *blocks) == digest_of(algorithm, b"".join(blocks))


def check_combination(algorithm: ChecksumAlgorithm, one: bytes, other: bytes) -> None:
    combined = crc.combine(algorithm, crc_of(algorithm, one), crc_of(algorithm, other), len(other))
    assert combined == crc_of(algorithm, one + other)


@given(crcs, st.binary(max_size=300), st.binary(max_size=300))
def test_crcs_of_pieces_tell_that_of_the_whole(algorithm: ChecksumAlgorithm, one: bytes, other: bytes) -> None:
    check_combination(algorithm, one, other)


@pytest.mark.parametrize("algorithm", CRCS)
@pytest.mark.parametrize("length", [1, 5 * 2**20, 5 * 2**20 + 1, 2**33 + 7])
def test_combinations_of_long_pieces(algorithm: ChecksumAlgorithm, length: int) -> None:
    """Against what AWS has in C: nobody computes gigabytes here."""
    oracle = getattr(awscrt.checksums, f"combine_{algorithm.lower()}")
    for one, other in ((0, 0), (1, 2), (0xCBF43926, 0xE3069283), (0xFFFFFFFF, 0)):
        assert crc.combine(algorithm, one, other, length) == oracle(one, other, length)


@pytest.mark.parametrize("algorithm", CRCS)
def test_mutation_a_wrong_polynomial(algorithm: ChecksumAlgorithm, monkeypatch: pytest.MonkeyPatch) -> None:
    width, polynomial = crc._POLYNOMIALS[algorithm]
    monkeypatch.setattr(crc, "_POLYNOMIALS", {algorithm: (width, polynomial ^ 2)})
    crc._shift.cache_clear()
    with pytest.raises(AssertionError):
        check_combination(algorithm, CHECK, CHECK)
    crc._shift.cache_clear()


@given(crcs, st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_checksums_of_parts_tell_that_of_the_object(algorithm: ChecksumAlgorithm, pieces: list[bytes]) -> None:
    parts = [(summed(algorithm, piece), len(piece)) for piece in pieces]
    assert checksums.whole_of(algorithm, "FULL_OBJECT", parts) == summed(algorithm, b"".join(pieces))


@given(algorithms, st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_composite_checksums_are_of_checksums(algorithm: ChecksumAlgorithm, pieces: list[bytes]) -> None:
    parts = [(summed(algorithm, piece), len(piece)) for piece in pieces]
    whole = checksums.whole_of(algorithm, "COMPOSITE", parts)
    of_digests = crc.encode(digest_of(algorithm, b"".join(digest_of(algorithm, piece) for piece in pieces)))
    assert whole == Checksum(algorithm=algorithm, value=of_digests, type="COMPOSITE", parts=len(pieces))
    assert checksums.written(whole) == f"{of_digests}-{len(pieces)}"


def test_which_types_multipart_uploads_ask_for() -> None:
    wanted = {algorithm: checksums.type_of(algorithm) for algorithm in crc.ALGORITHMS}
    assert wanted == dict.fromkeys(CRCS, "FULL_OBJECT") | {"SHA1": "COMPOSITE", "SHA256": "COMPOSITE"}
    assert {algorithm: checksums.asked_type((), algorithm) for algorithm in crc.ALGORITHMS} == wanted


@pytest.mark.parametrize("algorithm", crc.ALGORITHMS)
def test_which_types_may_be_asked_for(algorithm: ChecksumAlgorithm) -> None:
    for kind in ("FULL_OBJECT", "COMPOSITE", "composite"):
        headers = (("X-Amz-Checksum-Type", kind),)
        if kind in sums.TYPES[algorithm]:
            assert checksums.asked_type(headers, algorithm) == kind
        else:
            with pytest.raises(UsageError, match="leave it out"):
                checksums.asked_type(headers, algorithm)


@given(algorithms, st.binary(max_size=20), st.none() | st.integers(1, 10_000))
def test_headers_there_and_back(algorithm: ChecksumAlgorithm, data: bytes, parts: int | None) -> None:
    value = crc.encode(digest_of(algorithm, data))
    told = Checksum(algorithm=algorithm, value=value, type="COMPOSITE" if parts else "FULL_OBJECT", parts=parts)
    name, text = checksums.value_header(told)
    assert name == f"x-amz-checksum-{algorithm.lower()}"
    assert checksums.read_checksums({name: text}) == (told,)
    assert checksums.read_checksums({name: text, "x-amz-checksum-type": told.type}) == (told,)


def test_what_is_said_to_be_composite_is() -> None:
    told = {"x-amz-checksum-crc32": "y/Q5Jg==", "x-amz-checksum-type": "COMPOSITE"}
    assert checksums.read_checksums(told) == (Checksum(algorithm="CRC32", value="y/Q5Jg==", type="COMPOSITE"),)


def test_unknown_checksums_are_left_out() -> None:
    assert checksums.read_checksums({"x-amz-checksum-xxhash64": "AAAA", "x-amz-checksum-type": "FULL_OBJECT"}) == ()
    assert checksums.read_checksums({"x-amz-checksum-crc32": ""}) == ()


@given(algorithms, st.text(max_size=60) | st.text("AQgw+/=-0123", max_size=50))
def test_any_text_is_a_checksum_or_an_error(algorithm: ChecksumAlgorithm, text: str) -> None:
    try:
        told = checksums.read_checksum(algorithm, text)
    except InvalidResponse:
        return
    assert len(crc.decode(told.value)) == crc.size_of(algorithm)
    assert checksums.written(told) == text.strip()


@pytest.mark.parametrize("text", ["", "y/Q5Jg", "y/Q5Jg=", "y/Q5Jg==-", "y/Q5Jg==-x", "AAAA", "y/Q5J\n==", "é/Q5Jg=="])
def test_texts_that_are_no_crc32(text: str) -> None:
    with pytest.raises(InvalidResponse, match="is no CRC32 checksum"):
        checksums.read_checksum("CRC32", text)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_completion_or_an_error(body: bytes) -> None:
    for document in (body, b"<CompleteMultipartUploadResult><ChecksumCRC32>" + body):
        with contextlib.suppress(InvalidResponse):
            assert isinstance(documents.parse_completed_checksums(document), tuple)


def test_completions_carry_the_checksums_of_their_parts() -> None:
    known = {1: summed("CRC32", b"a"), 3: summed("CRC32", b"c")}
    said = documents.write_completion([(3, "e3"), (1, "e1"), (2, "e2")], known).decode()
    assert [f"<ChecksumCRC32>{known[n].value}</ChecksumCRC32>" in said for n in (1, 3)] == [True, True]
    assert said.count("ChecksumCRC32>") == 4
    assert documents.write_completion([(1, "e1")]) == documents.write_completion([(1, "e1")], {})


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        ("", ()),
        ("<ChecksumCRC32>y/Q5Jg==</ChecksumCRC32>", ("FULL_OBJECT", None)),
        ("<ChecksumCRC32>y/Q5Jg==-3</ChecksumCRC32>", ("COMPOSITE", 3)),
        ("<ChecksumType>COMPOSITE</ChecksumType><ChecksumCRC32>y/Q5Jg==</ChecksumCRC32>", ("COMPOSITE", None)),
    ],
)
def test_checksums_of_completed_objects(inside: str, told: tuple[object, ...]) -> None:
    body = f'<CompleteMultipartUploadResult xmlns="x">{inside}</CompleteMultipartUploadResult>'.encode()
    found = documents.parse_completed_checksums(body)
    assert [(one.type, one.parts) for one in found] == ([told] if told else [])


def test_headers_of_a_body_that_goes_as_one() -> None:
    given_ = (("a", "b"), ("X-Amz-Checksum-Algorithm", "CRC32"), ("x-amz-checksum-type", "FULL_OBJECT"))
    assert checksums.single_headers(given_, summed("CRC32", CHECK)) == (
        ("a", "b"),
        ("x-amz-sdk-checksum-algorithm", "CRC32"),
        ("x-amz-checksum-crc32", "y/Q5Jg=="),
    )
    assert checksums.asked_algorithm(given_) == "CRC32"
    assert checksums.asked_algorithm((("a", "b"),)) is None


@pytest.mark.parametrize("unknown", ["crc32", "MD5", "", 1, True])
def test_options_name_s3s_algorithms(unknown: Any) -> None:
    with pytest.raises(UsageError, match="checksum must be one of CRC32, CRC32C, CRC64NVME, SHA1, SHA256, or None"):
        write_headers({"checksum": unknown})
    assert write_headers({"checksum": None}) == ()
    assert write_headers({"checksum": "SHA1"}) == (("x-amz-checksum-algorithm", "SHA1"),)


@pytest.mark.parametrize("algorithm", ["CRC32C", "CRC64NVME"])
def test_what_is_not_installed_says_how_to_get_it(
    algorithm: ChecksumAlgorithm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "awscrt", None)
    monkeypatch.delitem(sys.modules, "awscrt.checksums", raising=False)
    with pytest.raises(UsageError, match=rf"{algorithm} needs an extra: pip install 'handtruck\[checksums\]'"):
        crc.require(algorithm)
    for other in ("CRC32", "SHA1", "SHA256", None):
        crc.require(other)


def test_answers_are_compared_where_they_can_be() -> None:
    ours = summed("CRC32", CHECK)
    other = summed("CRC32", b"")
    composite = Checksum(algorithm="CRC32", value=other.value, type="COMPOSITE", parts=2)
    checksums.compare("it", ours, list)
    checksums.compare("it", ours, lambda: [ours, composite, summed("SHA1", b"")])
    with pytest.raises(ChecksumMismatch, match="it: the CRC32 of what was sent is y/Q5Jg==, S3 answers AAAAAA=="):
        checksums.compare("it", ours, lambda: [other])
    with pytest.raises(InvalidResponse):
        checksums.compare("it", composite, lambda: [replace(composite, value=ours.value)])
    with pytest.raises(InvalidResponse, match="it: 'x' is no CRC32 checksum"):
        checksums.compare("it", ours, lambda: checksums.read_checksums({"x-amz-checksum-crc32": "x"}))
