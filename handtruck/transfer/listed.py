"""What an upload has already, all pages of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..protocol import operations

if TYPE_CHECKING:
    from ..models import PartInfo
    from .multipart import MultipartUpload


async def all_parts(upload: MultipartUpload) -> dict[int, PartInfo]:
    """An upload's parts, by number.

    Servers differ in where a page begins: at its marker (rclone), or after it. A part that comes twice counts once, and
    a page that brings nothing new is the last.

    Raises:
        NotFound: there is no such upload; some servers (Ceph) say NoSuchKey.
        S3Error, ConnectionFailed, InvalidResponse.
    """
    assert upload.upload_id is not None
    found: dict[int, PartInfo] = {}
    while True:
        marker = max(found, default=0)
        look = operations.list_parts(upload.location, upload.upload_id, upload.headers.part, marker=marker)
        page = await upload.session.perform(look, options=upload.options)
        new = {part.number: part for part in page.parts if part.number not in found}
        found |= new
        if page.next is None or not new:
            return found
