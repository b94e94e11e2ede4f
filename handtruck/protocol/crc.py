"""Checksums as S3 counts them: computed block by block, and CRCs of two pieces made into that of both.

A CRC is the remainder of a polynomial over GF(2), the message, by a fixed one. To append ``n`` bytes is to multiply by
x⁸ⁿ, so the CRC of ``a + b`` follows from that of ``a``, that of ``b``, and the length of ``b``: pieces may be summed in
any order, in any thread. All three CRCs begin with ones and end inverted, and both effects cancel out. They are
reflected: the lowest bit of a number is the highest power of x.

Sources: https://reveng.sourceforge.io/crc-catalogue/ (CRC-32/ISO-HDLC, CRC-32/ISCSI, CRC-64/NVME), and zlib's
``crc32_combine`` for the arithmetic.
"""

from __future__ import annotations

import hashlib
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, Protocol, cast, get_args

from ..errors import UsageError
from ..models.checksums import ChecksumAlgorithm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Update = Callable[[memoryview, int], int]

ALGORITHMS: Final[tuple[ChecksumAlgorithm, ...]] = get_args(ChecksumAlgorithm)

_POLYNOMIALS: Final[Mapping[str, tuple[int, int]]] = {
    # Bits, and the polynomial without its highest power.
    "CRC32": (32, 0xEDB88320),
    "CRC32C": (32, 0x82F63B78),
    "CRC64NVME": (64, 0x9A6C9329AC4BC9B5),
}
_SIZES: Final[Mapping[str, int]] = {"CRC32": 4, "CRC32C": 4, "CRC64NVME": 8, "SHA1": 20, "SHA256": 32}


class Hasher(Protocol):
    """A checksum on its way: what :mod:`hashlib` gives, and :class:`Crc`."""

    def update(self, block: memoryview, /) -> object:
        """Take the next bytes."""
        ...

    def digest(self) -> bytes:
        """Of all bytes so far."""
        ...


@dataclass(slots=True)
class Crc:
    """A CRC of bytes that come one block after the other."""

    step: Update
    size: int
    value: int = 0

    def update(self, block: memoryview, /) -> None:
        """See :class:`Hasher`."""
        self.value = self.step(block, self.value)

    def digest(self) -> bytes:
        """See :class:`Hasher`."""
        return self.value.to_bytes(self.size, "big")


def combines(algorithm: ChecksumAlgorithm) -> bool:
    """Checksums of pieces tell that of the whole: it is a CRC."""
    return algorithm in _POLYNOMIALS


def new_hasher(algorithm: ChecksumAlgorithm) -> Hasher:
    """A checksum of no bytes yet.

    Raises:
        UsageError: see :func:`require`.
    """
    if algorithm == "SHA1":
        return hashlib.sha1(usedforsecurity=False)
    if algorithm == "SHA256":
        return hashlib.sha256()
    return Crc(_step(algorithm), size_of(algorithm))


def named(algorithm: object) -> ChecksumAlgorithm:
    """Give it back, if it is one of S3's.

    Raises:
        UsageError: it is not.
    """
    for known in ALGORITHMS:
        if algorithm == known:
            return known
    raise UsageError(f"checksum must be one of {', '.join(ALGORITHMS)}, or None, not {algorithm!r}")


def require(algorithm: ChecksumAlgorithm | None) -> None:
    """See that it can be computed here, before anything is sent. The first time it may import what that needs.

    Raises:
        UsageError: the extra that it needs is not installed.
    """
    if algorithm is not None and combines(algorithm):
        _step(algorithm)


def _step(algorithm: ChecksumAlgorithm) -> Update:
    if algorithm == "CRC32":
        return zlib.crc32
    try:
        from awscrt import checksums  # 50 ms, once
    except ImportError:
        raise UsageError(f"checksum {algorithm} needs an extra: pip install 'handtruck[checksums]'") from None
    # They take any bytes-like object, though their signatures say bytes.
    step: Any = checksums.crc32c if algorithm == "CRC32C" else checksums.crc64nvme
    return cast("Update", step)


def combine(algorithm: ChecksumAlgorithm, first: int, second: int, length: int) -> int:
    """The CRC of two pieces, one behind the other, of which the second has ``length`` bytes."""
    width, polynomial = _POLYNOMIALS[algorithm]
    return _multiply(_shift(algorithm, length), first, width, polynomial) ^ second


def decode(value: str) -> bytes:
    """The checksum's bytes, from the base64 that :func:`encode` made, or :func:`~.checksums.read_checksums` passed."""
    return b64decode(value)


def encode(digest: bytes) -> str:
    """A checksum as headers and documents carry it: base64 of its bytes."""
    return b64encode(digest).decode()


def size_of(algorithm: ChecksumAlgorithm) -> int:
    """Bytes that a checksum has."""
    return _SIZES[algorithm]


@lru_cache(maxsize=256)
def _shift(algorithm: ChecksumAlgorithm, length: int) -> int:
    """x⁸ⁿ: parts are of few different lengths, and each takes some 60 multiplications."""
    width, polynomial = _POLYNOMIALS[algorithm]
    power, result = 1 << (width - 9), 1 << (width - 1)  # x⁸, and 1
    while length:
        if length & 1:
            result = _multiply(power, result, width, polynomial)
        power = _multiply(power, power, width, polynomial)
        length >>= 1
    return result


def _multiply(one: int, other: int, width: int, polynomial: int) -> int:
    """The product of two polynomials, modulo the third."""
    product, bit = 0, 1 << (width - 1)
    while one:
        if one & bit:
            product ^= other
            one ^= bit
        bit >>= 1
        other = (other >> 1) ^ polynomial if other & 1 else other >> 1
    return product
