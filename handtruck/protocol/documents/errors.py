"""What S3 says when it says no."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InvalidResponse
from .xml import parse_masked


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """What an ``<Error>`` says."""

    code: str | None
    message: str | None
    request_id: str | None


def parse_error(body: bytes) -> ErrorDocument | None:
    """What the body says went wrong, or None where it is not an ``<Error>``."""
    try:
        root, _ = parse_masked(body)
    except InvalidResponse:
        return None
    if root.tag != "Error":
        return None
    return ErrorDocument(
        code=root.findtext("Code") or None,
        message=root.findtext("Message") or None,
        request_id=root.findtext("RequestId") or None,
    )
