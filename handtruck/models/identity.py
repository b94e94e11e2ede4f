"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Never, Self

if TYPE_CHECKING:
    from datetime import datetime


class Secret(str):
    """Text that is sent as it is, and does not show where it is printed as a part of something else.

    What holds one may stand in a log, or among the locals of a traceback. To see it, print the text itself.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'[secure]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The keys a request is signed with. Blank fields mean "not known here"; secrets are never printed, nor pickled.

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

    def __post_init__(self) -> None:
        # Each may become a local of its own somewhere, and tracebacks are printed with their locals.
        object.__setattr__(self, "secret_access_key", Secret(self.secret_access_key))
        if self.session_token is not None:
            object.__setattr__(self, "session_token", Secret(self.session_token))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce_ex__(self, _: object) -> Never:
        raise TypeError("credentials do not leave this process: pickle the source that can find them on the other side")

    @property
    def complete(self) -> bool:
        """Both halves of the key are here."""
        return bool(self.access_key_id and self.secret_access_key)
