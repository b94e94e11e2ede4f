"""What S3 says when it says no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ...errors import InvalidResponse
from .xml import parse_masked

if TYPE_CHECKING:
    from collections.abc import Mapping

_DETAILS: Final = ("Region", "Endpoint", "ServerTime")
"""Not more: where a signature is wrong, S3 repeats the request, session token and all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """What an ``<Error>`` says; ``details`` is where the bucket is, and what time it is there."""

    code: str | None
    message: str | None
    request_id: str | None
    details: Mapping[str, str] = field(default_factory=dict)


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
        details={name: text for name in _DETAILS if (text := root.findtext(name))},
    )
