"""Temporary keys as services and programs hand them out: four texts, of which nothing is trusted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, overload

from ..models import Credentials

if TYPE_CHECKING:
    from typing import TypeGuard

    from ..models.identity import Secret


class SecretBytes(bytes):
    """Bytes that hold secrets among other things, and do not show where they are printed."""

    def __repr__(self) -> str:
        return "b'[secure]'"


def whole_keys(key_id: object, secret: object, token: object, end: object, *, temporary: bool) -> Credentials | None:
    """The keys that four values make; None where one is missing, or cannot travel in a header.

    It raises nothing: a traceback would hold the values.

    Args:
        key_id: the public half.
        secret: the secret half.
        token: goes with temporary keys.
        end: when they end, as ISO 8601 has it.
        temporary: keys without token and end do not count.
    """
    expires_at = date_of(end)
    if not (is_plain(key_id) and is_plain(secret)):
        return None
    if not (is_plain(token) or (token in (None, "") and not temporary)):
        return None
    if expires_at is None and (temporary or end not in (None, "")):
        return None
    return Credentials(
        access_key_id=key_id,
        secret_access_key=secret,
        session_token=token if is_plain(token) else None,
        expires_at=expires_at,
    )


@overload
def is_plain(value: Secret) -> TypeGuard[Secret]: ...
@overload
def is_plain(value: object) -> TypeGuard[str]: ...
def is_plain(value: object) -> bool:
    """A text that can be sent in a header."""
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable() and value == value.strip()


def date_of(value: object) -> datetime | None:
    """A point in time, in UTC; None if it is none. Without a zone it is UTC."""
    if not isinstance(value, str):
        return None
    try:
        date = datetime.fromisoformat(value)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
