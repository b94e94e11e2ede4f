"""What S3 knows about an object's bytes, beside their number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

ChecksumAlgorithm: TypeAlias = Literal["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
"""S3's names. CRC32C and CRC64NVME are the fastest, and need the extra ``handtruck[checksums]``."""

ChecksumType: TypeAlias = Literal["FULL_OBJECT", "COMPOSITE"]
"""Of all bytes of the object; or of the checksums of its parts, which nobody can compare with the bytes alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checksum:
    """The checksum of an object, or of a part of one.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html

    Attributes:
        algorithm: ``CRC32`` …
        value: base64 of the checksum's bytes, the highest first.
        type: what it is a checksum of.
        parts: how many parts a composite one is made of, where that is told; None otherwise.
    """

    algorithm: ChecksumAlgorithm
    value: str
    type: ChecksumType = "FULL_OBJECT"
    parts: int | None = None
