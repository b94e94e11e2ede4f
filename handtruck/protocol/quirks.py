"""What a server does otherwise than S3, as far as a client has to know, and which one is known for what.

Where nothing is said all is as S3 documents it, but for two things that AWS alone is trusted with: a checksum with
every body, and sub-resources that are written without a look.

The sources of all that stands here are in the table of docs/quirks.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal, get_args
from urllib.parse import urlsplit

from ..errors import UsageError
from ..models.checksums import ChecksumAlgorithm
from .parts import MAX_PARTS, MIB, MIN_PART_SIZE, PartLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .address import Endpoint

QuirksName = Literal[
    "aws",
    "b2",
    "ceph",
    "digitalocean",
    "gcs",
    "ionos",
    "linode",
    "minio",
    "ovh",
    "r2",
    "rclone",
    "scaleway",
    "storj",
    "tencent",
    "wasabi",
]
"""Servers and services that are known."""

MOST_DELETES: Final = 1000
"""Objects that one request may name, at S3."""

_LEAST: Final = {"min_part_size": 0, "max_part_size": MIN_PART_SIZE, "max_parts": 1, "max_deletes": 1}
_MOST: Final = {"max_parts": MAX_PARTS, "max_deletes": MOST_DELETES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks(PartLimits):
    """What a server does otherwise than S3.

    ::

        s3 = S3Client("https://objects.example.org/bucket", quirks="ceph")
        s3 = S3Client("https://s3.example.org/bucket", quirks=Quirks(max_parts=1000, list_version=1))

    Attributes:
        encoded_lists: listings are asked to url-encode keys, so that those arrive whole which XML cannot carry.
        list_version: of ListObjects. 1 is for servers that do not know, or get wrong, the second.
        min_part_size: bytes that smaller parts are made, but for the last: it costs memory. 0: S3's 5 MiB will do.
        max_part_size: bytes of a part, of an object that goes in one request, and of one that is copied by one.
        max_parts: of one upload; parts are made large enough for that.
        equal_parts: all parts but the last have to be equal: none grow.
        part_copies: an object may be copied in parts. Without it one request copies an object of any size.
        max_deletes: objects that one DeleteObjects may name, up to 1 000; 1: each is deleted by a request of its own.
        unquoted_if_match: a PUT with If-Match is only understood without the quotes of the ETag.
        checksum: of every object that is sent, where the call does not say; None: none.
        trusted: sub-resources (``?tagging``) are written without a look at whether the server knows them: a request
            less. One that does not overwrites the object with its tags.
        region: to sign for, where neither the call nor the URL says.

    Raises:
        UsageError: a number, or a name, is none that this could be.
    """

    encoded_lists: bool = True
    list_version: Literal[1, 2] = 2
    part_copies: bool = True
    max_deletes: int = MOST_DELETES
    unquoted_if_match: bool = False
    checksum: ChecksumAlgorithm | None = None
    trusted: bool = False
    region: str | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value, most = getattr(self, name), _MOST.get(name)
            if type(value) is not int or value < least or (most is not None and value > most):
                limits = f"from {least}" + (f" to {most}" if most is not None else "")
                raise UsageError(f"Quirks: {name} must be a number {limits}, not {value!r:.60}")
        if self.min_part_size > self.max_part_size:
            raise UsageError("Quirks: min_part_size must not be more than max_part_size")
        if self.list_version not in (1, 2):
            raise UsageError(f"Quirks: list_version must be 1 or 2, not {self.list_version!r:.60}")
        if self.checksum is not None and self.checksum not in get_args(ChecksumAlgorithm):
            raise UsageError(f"Quirks: checksum must be one of {', '.join(get_args(ChecksumAlgorithm))}, or None")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A known server.

    Attributes:
        quirks: what it does otherwise.
        host: what its hosts look like, with the region, if they name one; None: they may have any name.
    """

    quirks: Quirks
    host: re.Pattern[str] | None = None


def _preset(host: str = "", **said: object) -> Preset:
    pattern = re.compile(rf"(?:.+\.)?{host}") if host else None
    return Preset(quirks=replace(Quirks(), **said), host=pattern)  # type: ignore[arg-type]


_REGION: Final = r"(?P<region>[a-z0-9-]+)"

PRESETS: Final[Mapping[QuirksName, Preset]] = {
    "aws": _preset(checksum="CRC32", trusted=True),  # its hosts: handtruck.protocol.regions
    "b2": _preset(rf"s3\.{_REGION}\.backblazeb2\.com"),
    "ceph": _preset(unquoted_if_match=True),
    "digitalocean": _preset(rf"{_REGION}\.digitaloceanspaces\.com", encoded_lists=False, unquoted_if_match=True),
    "gcs": _preset(r"storage\.googleapis\.com", part_copies=False),
    "ionos": _preset(rf"s3\.{_REGION}\.ionoscloud\.com", encoded_lists=False),
    "linode": _preset(rf"{_REGION}\.linodeobjects\.com", unquoted_if_match=True),
    "minio": _preset(),
    "ovh": _preset(rf"s3\.{_REGION}\.io\.cloud\.ovh\.(?:net|us)"),
    "r2": _preset(r"r2\.cloudflarestorage\.com", equal_parts=True, region="auto"),
    "rclone": _preset(part_copies=False),
    "scaleway": _preset(rf"s3\.{_REGION}\.scw\.cloud", max_parts=1000),
    "storj": _preset(r"gateway\.storjshare\.io", min_part_size=64 * MIB, part_copies=False),
    "tencent": _preset(rf"cos\.{_REGION}\.myqcloud\.com", list_version=1),
    "wasabi": _preset(rf"s3(?:\.{_REGION})?\.wasabisys\.com"),
}
"""What is known, by name."""


def quirks_of(host: str) -> Quirks:
    """What the server of that name is known for; :class:`Quirks` of S3 where the name tells nothing.

    MinIO, Ceph and rclone run under any name: say ``quirks="ceph"``.
    """
    name = host.lower().rstrip(".")
    for preset in PRESETS.values():
        found = preset.host.fullmatch(name) if preset.host is not None else None
        if found is not None:
            region = found.groupdict().get("region")
            return replace(preset.quirks, region=region) if region else preset.quirks
    return _PLAIN


_PLAIN: Final = Quirks()


def quirks_at(endpoint: Endpoint) -> Quirks:
    """What the server at an endpoint is known for."""
    return PRESETS["aws"].quirks if endpoint.aws else _at_origin(endpoint.origin)


@lru_cache(maxsize=64)
def _at_origin(origin: str) -> Quirks:
    return quirks_of(urlsplit(origin).hostname or "")


def chosen_quirks(said: Quirks | QuirksName | None) -> Quirks | None:
    """What a caller chose; None: whatever the host is known for.

    Raises:
        UsageError: there is no preset of that name.
    """
    if said is None or isinstance(said, Quirks):
        return said
    for name, preset in PRESETS.items():
        if name == said:
            return preset.quirks
    raise UsageError(f"quirks must be Quirks(…), or one of {', '.join(PRESETS)}, not {said!r:.60}")


def differences(quirks: Quirks) -> dict[str, object]:
    """What is said that S3 itself would not need."""
    return {field.name: value for field in fields(quirks) if (value := getattr(quirks, field.name)) != field.default}
