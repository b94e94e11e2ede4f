"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The keys a request is signed with. Blank fields mean "not known here"; secrets are never printed.

    Attributes:
        access_key_id: the public half.
        secret_access_key: the secret half.
        session_token: goes with temporary keys.
        region: the region this source is configured for.
        expires_at: when temporary keys end (time-zone aware), or None.
    """

    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str | None = None
    expires_at: datetime | None = None

    @property
    def complete(self) -> bool:
        """Both halves of the key are here."""
        return bool(self.access_key_id and self.secret_access_key)
