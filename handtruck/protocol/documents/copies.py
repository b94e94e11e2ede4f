"""What S3 says of a copy that it has made itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..checksums import read_checksum
from ..crc import ALGORITHMS
from .xml import expect, need, time_of

if TYPE_CHECKING:
    from datetime import datetime
    from xml.etree import ElementTree as ET

    from ...models.checksums import Checksum, ChecksumAlgorithm


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedObject:
    """A CopyObjectResult."""

    etag: str | None
    last_modified: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedPart:
    """A CopyPartResult; with the part's checksums, where the upload wants one."""

    etag: str
    checksums: tuple[Checksum, ...] = ()


def parse_copied_object(body: bytes) -> CopiedObject:
    """The answer to CopyObject. When rclone copies an object onto itself it says nothing of its ETag.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    root = expect(body, "CopyObjectResult")
    return CopiedObject(etag=root.findtext("ETag") or None, last_modified=time_of(root.findtext("LastModified") or ""))


def parse_copied_part(body: bytes) -> CopiedPart:
    """The answer to UploadPartCopy. Its ETag is needed: rclone, which stores an empty part, tells none.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPartCopy.html
    """
    root = expect(body, "CopyPartResult")
    return CopiedPart(etag=need(root, "ETag"), checksums=_checksums(root))


def _checksums(root: ET.Element) -> tuple[Checksum, ...]:
    names: tuple[ChecksumAlgorithm, ...] = ALGORITHMS
    return tuple([read_checksum(name, text) for name in names if (text := root.findtext(f"Checksum{name}"))])
