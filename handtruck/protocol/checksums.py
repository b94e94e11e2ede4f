"""Hashes, checksums and entity tags: their names, what they prove, how they compare.

An upload's headers say once which algorithm is wanted, in the header that CreateMultipartUpload has for it; so it
reaches every engine, whatever way it goes. A single PUT carries the checksum in its place, each part its own.
"""

from __future__ import annotations

import re
from hashlib import md5
from typing import TYPE_CHECKING, Final

from ..errors import ChecksumMismatch, InvalidResponse, UsageError
from ..models.checksums import Checksum
from .crc import ALGORITHMS, combine, combines, decode, encode, named, new_hasher, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..models.checksums import ChecksumAlgorithm, ChecksumType

    Headers = tuple[tuple[str, str], ...]

EMPTY_SHA256: Final = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""Of no bytes at all: the payload hash of every request without a body."""

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
"""Stands for the payload's hash where the body is not hashed; safe on https only."""

ALGORITHM_HEADER: Final = "x-amz-checksum-algorithm"
TYPE_HEADER: Final = "x-amz-checksum-type"
MODE: Final = ("x-amz-checksum-mode", "ENABLED")
"""Asks HEAD and GET to tell the object's checksums."""

_HEADERS: Final = {algorithm: f"x-amz-checksum-{algorithm.lower()}" for algorithm in ALGORITHMS}
_OF_A_BODY: Final = frozenset({*_HEADERS.values(), ALGORITHM_HEADER, "x-amz-sdk-checksum-algorithm", "content-md5"})
_OF_BOTH_TYPES: Final = frozenset({"CRC32", "CRC32C"})
_VALUE: Final = re.compile(r"([A-Za-z0-9+/]+={0,2})(?:-(\d{1,5}))?", re.ASCII)

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


def is_payload_hash(text: str) -> bool:
    """What ``x-amz-content-sha256`` may say of a plain body."""
    return text == UNSIGNED_PAYLOAD or bool(_SHA256.fullmatch(text))


def bare_etag(etag: str) -> str:
    """Without its quotes: servers differ in whether they send them."""
    return etag.strip().strip('"')


def is_strong(etag: str | None) -> bool:
    """It can be put into If-Match: there is one, and it is not weak (RFC 9110, 8.8.1)."""
    return bool(etag and bare_etag(etag) and not etag.startswith("W/"))


def same_etag(one: str | None, other: str | None) -> bool:
    """Both name the same version of an object, quoted or not."""
    return one is not None and other is not None and bare_etag(one) == bare_etag(other)


def multipart_etag(part_etags: Iterable[str]) -> str | None:
    """The ETag S3 gives to an object made of these parts, unquoted: the MD5 of their MD5s, and their number.

    None where a part's ETag is no MD5 (SSE-KMS, some clones), so that nothing can be told from it.
    """
    digests = [bare_etag(etag) for etag in part_etags]
    if not digests or not all(_MD5.fullmatch(digest) for digest in digests):
        return None
    return f"{md5(bytes.fromhex(''.join(digests)), usedforsecurity=False).hexdigest()}-{len(digests)}"


def asked_algorithm(headers: Headers) -> ChecksumAlgorithm | None:
    """What an upload's headers want the body, or the parts, to be summed with.

    Raises:
        UsageError: it is none of S3's.
    """
    for name, value in headers:
        if name.lower() == ALGORITHM_HEADER:
            return named(value.upper())
    return None


def asking(headers: Headers) -> Headers:
    """A request's headers, with :data:`MODE` among them, once."""
    return headers if any(name.lower() == MODE[0] for name, _ in headers) else (*headers, MODE)


def of_a_body(headers: Headers) -> list[str]:
    """The names of those that bring a checksum along, or say which one is wanted."""
    return [name for name, _ in headers if name.lower() in _OF_A_BODY]


def value_header(checksum: Checksum) -> tuple[str, str]:
    """The header that carries it."""
    return _HEADERS[checksum.algorithm], written(checksum)


def written(checksum: Checksum) -> str:
    """As S3 writes it: of a composite one also the number of parts."""
    return f"{checksum.value}-{checksum.parts}" if checksum.type == "COMPOSITE" else checksum.value


def single_headers(headers: Headers, checksum: Checksum) -> Headers:
    """An upload's headers for a body that goes as one: the checksum in place of what it was to be.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html
    """
    others = tuple(header for header in headers if header[0].lower() not in (ALGORITHM_HEADER, TYPE_HEADER))
    return (*others, ("x-amz-sdk-checksum-algorithm", checksum.algorithm), value_header(checksum))


def type_of(algorithm: ChecksumAlgorithm) -> ChecksumType:
    """What a multipart upload asks for: one of the whole object where there can be such, and only CRCs can be."""
    return "FULL_OBJECT" if combines(algorithm) else "COMPOSITE"


def asked_type(headers: Headers, algorithm: ChecksumAlgorithm) -> ChecksumType:
    """What an upload's headers want it to be of; where they do not say, :func:`type_of`.

    Raises:
        UsageError: S3 has no checksum of that type by that algorithm.
    """
    usual = type_of(algorithm)
    for said in (value for name, value in headers if name.lower() == TYPE_HEADER):
        if said == usual:
            return usual
        if said == "COMPOSITE" and algorithm in _OF_BOTH_TYPES:
            return "COMPOSITE"
        raise UsageError(f"{TYPE_HEADER} is {said!r:.60}, which S3 has not of {algorithm}; leave it out for {usual}")
    return usual


def whole_of(algorithm: ChecksumAlgorithm, kind: ChecksumType, parts: Sequence[tuple[Checksum, int]]) -> Checksum:
    """The checksum of an object made of these parts: their checksums and lengths, in order."""
    if kind == "COMPOSITE":
        digests = new_hasher(algorithm)
        digests.update(memoryview(b"".join(decode(part.value) for part, _ in parts)))
        return Checksum(algorithm=algorithm, value=encode(digests.digest()), type=kind, parts=len(parts))
    whole = 0
    for part, length in parts:
        whole = combine(algorithm, whole, int.from_bytes(decode(part.value), "big"), length)
    return Checksum(algorithm=algorithm, value=encode(whole.to_bytes(size_of(algorithm), "big")))


def read_checksums(told: Mapping[str, str]) -> tuple[Checksum, ...]:
    """The checksums that an answer's headers tell; those that we cannot name are left out.

    Composite is what has a number of parts, or is said to be; S3 says neither of a single PUT.

    Raises:
        InvalidResponse: one is no checksum of its kind.
    """
    composite = told.get(TYPE_HEADER, "").upper() == "COMPOSITE"
    return tuple(
        [
            read_checksum(algorithm, text, composite=composite)
            for algorithm in ALGORITHMS
            if (text := told.get(_HEADERS[algorithm]))
        ]
    )


def read_checksum(algorithm: ChecksumAlgorithm, text: str, *, composite: bool = False) -> Checksum:
    """One checksum, as a header or an element has it.

    Raises:
        InvalidResponse: it is none of its kind.
    """
    match = _VALUE.fullmatch(text.strip())
    if match is None or len(match[1]) % 4 or len(decode(match[1])) != size_of(algorithm):
        raise InvalidResponse(f"{text!r:.100} is no {algorithm} checksum")
    parts = int(match[2]) if match[2] else None
    kind: ChecksumType = "COMPOSITE" if composite or parts is not None else "FULL_OBJECT"
    return Checksum(algorithm=algorithm, value=match[1], type=kind, parts=parts)


def compare(what: str, ours: Checksum, read: Callable[[], Iterable[Checksum]]) -> None:
    """S3 has got what we sent, as far as ``read`` finds that it tells.

    Raises:
        ChecksumMismatch: it has got something else.
        InvalidResponse: nobody can read what it tells.
    """
    try:
        theirs = read()
    except InvalidResponse as error:
        raise InvalidResponse(f"{what}: {error}") from error
    for their in theirs:
        if (their.algorithm, their.type) == (ours.algorithm, ours.type) and their.value != ours.value:
            raise ChecksumMismatch(
                f"{what}: the {ours.algorithm} of what was sent is {ours.value}, S3 answers {their.value}"
            )
