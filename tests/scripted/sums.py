"""Checksums as S3 verifies them, which no server that can be installed does: the half of the small S3 that knows them.

Written against S3's documentation, and with other code than the package's: where S3 has the checksum of a whole object
it is computed here from the whole object.

Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from xml.etree import ElementTree as ET

    from tests.scripted.peer import Request


def _crt(name: str, data: bytes) -> int:
    import awscrt.checksums

    value: int = getattr(awscrt.checksums, name)(data)
    return value


DIGESTS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "CRC32C": lambda data: _crt("crc32c", data).to_bytes(4, "big"),
    "CRC64NVME": lambda data: _crt("crc64nvme", data).to_bytes(8, "big"),
    "SHA1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "SHA256": lambda data: hashlib.sha256(data).digest(),
}
TYPES: Final = {
    # The default first.
    "CRC32": ("COMPOSITE", "FULL_OBJECT"),
    "CRC32C": ("COMPOSITE", "FULL_OBJECT"),
    "CRC64NVME": ("FULL_OBJECT",),
    "SHA1": ("COMPOSITE",),
    "SHA256": ("COMPOSITE",),
}


class Refused(Exception):
    """400, with S3's code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Sum:
    """A checksum that S3 keeps."""

    algorithm: str
    value: str
    kind: str = "FULL_OBJECT"


def value_of(algorithm: str, data: bytes) -> str:
    """Base64, as it travels."""
    return b64encode(DIGESTS[algorithm](data)).decode()


def headers(told: Sum | None, *, only_type: bool = False) -> tuple[tuple[str, str], ...]:
    """What an answer tells; of a range only the type."""
    if told is None:
        return ()
    value = (f"x-amz-checksum-{told.algorithm.lower()}", told.value)
    return (("x-amz-checksum-type", told.kind), *(() if only_type else (value,)))


def elements(told: Sum | None) -> dict[str, str]:
    """What a document tells."""
    return {} if told is None else {f"Checksum{told.algorithm}": told.value, "ChecksumType": told.kind}


def checked(request: Request, expected: str | None = None) -> Sum | None:
    """The checksum that came with a body, if one did, and if it is right."""
    given = {name: value for name in DIGESTS if (value := request.header(f"x-amz-checksum-{name.lower()}")) is not None}
    named = request.header("x-amz-sdk-checksum-algorithm")
    if len(given) > 1:
        raise Refused("InvalidRequest", "Expecting a single x-amz-checksum- header")
    if named and named not in given:
        raise Refused("InvalidRequest", "x-amz-sdk-checksum-algorithm specified, but no corresponding header was found")
    if not given:
        return None
    [(algorithm, value)] = given.items()
    if expected is not None and algorithm != expected:
        raise Refused("InvalidRequest", f"Checksum Type mismatch occurred, expected {expected}, actual {algorithm}")
    _verify(algorithm, value, DIGESTS[algorithm](request.body))
    return Sum(algorithm, value)


def _verify(algorithm: str, value: str, digest: bytes) -> None:
    if len(value) != len(b64encode(digest)):
        raise Refused("InvalidRequest", f"Value for x-amz-checksum-{algorithm.lower()} header is invalid.")
    if b64decode(value) != digest:
        raise Refused("BadDigest", f"The {algorithm} you specified did not match the calculated checksum.")


def begun(request: Request) -> Summed:
    """What CreateMultipartUpload asks for."""
    algorithm, kind = request.header("x-amz-checksum-algorithm"), request.header("x-amz-checksum-type")
    if algorithm is None:
        if kind is not None:
            raise Refused("InvalidRequest", "The x-amz-checksum-type header goes with x-amz-checksum-algorithm")
        return Summed()
    if algorithm not in TYPES:
        raise Refused("InvalidRequest", "Checksum algorithm provided is unsupported.")
    if kind is not None and kind not in TYPES[algorithm]:
        raise Refused("InvalidRequest", f"The {kind} checksum type cannot be used with the {algorithm} algorithm.")
    return Summed(algorithm, kind or TYPES[algorithm][0])


@dataclass(slots=True)
class Summed:
    """The checksums of an upload's parts."""

    algorithm: str | None = None
    kind: str | None = None
    values: dict[int, str] = field(default_factory=dict)

    def part(self, number: int, request: Request) -> Sum | None:
        """One more part, if its checksum is right."""
        told = checked(request, self.algorithm)
        if told is not None:
            if self.algorithm is None:
                raise Refused("InvalidRequest", "Checksum Type mismatch occurred, expected null")
            self.values[number] = told.value
        return told

    def completed(self, request: Request, document: ET.Element, parts: Mapping[int, bytes]) -> Sum | None:
        """The checksum of the object, if what Complete says of it is right."""
        algorithm = self.algorithm
        if algorithm is None:
            return None
        for part in document.iter("Part"):
            number, said = int(part.findtext("PartNumber") or ""), part.findtext(f"Checksum{algorithm}")
            if said is None and self.kind == "COMPOSITE":
                raise Refused("InvalidRequest", f"The complete request must include the checksum of part {number}")
            if said not in (None, self.values.get(number)):
                raise Refused("InvalidPart", f"The checksum of part {number} is another one")
        pieces = [data for _, data in sorted(parts.items())]
        if self.kind == "COMPOSITE":
            digests = b"".join(DIGESTS[algorithm](piece) for piece in pieces)
            return Sum(algorithm, f"{value_of(algorithm, digests)}-{len(pieces)}", "COMPOSITE")
        if request.header("x-amz-checksum-type") not in (None, self.kind):
            raise Refused("InvalidRequest", "The upload was created with another checksum type")
        whole = DIGESTS[algorithm](b"".join(pieces))
        if (said := request.header(f"x-amz-checksum-{algorithm.lower()}")) is not None:
            _verify(algorithm, said, whole)
        return Sum(algorithm, b64encode(whole).decode())
