"""The call that begins a session of S3 Express One Zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, get_args

from ...errors import InvalidResponse
from ...models import Credentials
from ...models.identity import Secret
from .. import fields
from ..documents.xml import parse_xml
from .base import Headers, Operation

if TYPE_CHECKING:
    from xml.etree import ElementTree as ET

    from ..address import Location
    from ..answers import Answer

SessionMode = Literal["ReadWrite", "ReadOnly"]
"""What a session may do."""


def create_session(bucket: Location, mode: SessionMode | None = None, headers: Headers = ()) -> Operation[Credentials]:
    """Ask for the keys of a session: they last five minutes, and are good for one directory bucket.

    It is signed with one's own keys; how the session's are used, :func:`handtruck.protocol.express.session_headers`
    says.

    Args:
        bucket: where the bucket is.
        mode: what the session may do; None: as much as its owner allows.
        headers: more of them, such as those of encryption.

    Raises:
        UsageError: there is no such mode.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateSession.html
    """
    asked = () if mode is None else (("x-amz-create-session-mode", fields.one_of("mode", mode, get_args(SessionMode))),)
    return Operation(
        name="CreateSession",
        method="GET",
        location=bucket,
        query=(("session", None),),
        headers=(*asked, *headers),
        parse=_parse_session,
    )


def _parse_session(answer: Answer) -> Credentials:
    """The keys; no error shows what there is of them, nor do the locals of a function that raises."""
    found = _credentials_in(answer)
    names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
    key_id, secret, token = (_sendable(found, name) for name in names)
    ends = _date(found)
    if not (key_id and secret and token and ends):
        raise InvalidResponse("CreateSession's answer has no whole keys, or does not say when they end")
    return Credentials(access_key_id=str(key_id), secret_access_key=secret, session_token=token, expires_at=ends)


def _credentials_in(answer: Answer) -> ET.Element | None:
    try:
        root = parse_xml(answer.body)
    except InvalidResponse:
        return None  # the parser's frame holds the document
    return root.find("Credentials") if root.tag == "CreateSessionResult" else None


def _sendable(found: ET.Element | None, name: str) -> Secret | None:
    """A text that can travel in a header."""
    text = Secret((found.findtext(name) or "").strip()) if found is not None else Secret()
    return text if text and text.isascii() and text.isprintable() else None


def _date(found: ET.Element | None) -> datetime | None:
    try:
        time = datetime.fromisoformat((found.findtext("Expiration") or "").strip() if found is not None else "")
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
