"""What is handed to others so that they may ask S3 in our name: URLs and forms. Who prints them sees no signature."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_TOLD: Final = re.compile(r"(?<=[?&])(X-Amz-(?:Signature|Security-Token|Credential))=[^&]*", re.IGNORECASE)


class PresignedURL(str):
    """A URL that whoever has it may use until it expires: text, that is, with what else its user must know.

    Its ``repr`` leaves the signature, the token and the key's id out, so that a list or a dataclass that holds it can
    be logged. ``str(url)``, ``f"{url}"`` and ``"%s"`` are the URL itself: that is what it is for. Do not log those.

    Attributes:
        method: the HTTP method it is good for.
        expires_at: from then on it is refused, in UTC: after ``expires``, or with the temporary keys that signed it.
    """

    __slots__ = ("_headers", "expires_at", "method")

    method: str
    expires_at: datetime
    _headers: tuple[tuple[str, str], ...]

    def __new__(cls, url: str, *, method: str, expires_at: datetime, headers: tuple[tuple[str, str], ...] = ()) -> Self:
        """Add to a URL what it does not say."""
        self = super().__new__(cls, url)
        self.method, self.expires_at, self._headers = method, expires_at, headers
        return self

    def __getnewargs_ex__(self) -> tuple[tuple[str], dict[str, Any]]:
        """What :meth:`__new__` takes, so that it can be copied and pickled."""
        return (str(self),), {"method": self.method, "expires_at": self.expires_at, "headers": self._headers}

    @property
    def headers(self) -> dict[str, str]:
        """What must be sent with it, exactly so: it is signed, and without it S3 answers 403."""
        return dict(self._headers)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method} {redacted(self)}>"


def redacted(url: str) -> str:
    """A presigned URL without what makes it one, for people."""
    return _TOLD.sub(r"\1=[secure]", url)


@dataclass(frozen=True, slots=True, kw_only=True)
class PresignedPost:
    """A form that a browser may send to S3 until it expires, and the file with it.

    Its ``repr`` shows neither the signature nor the policy (which holds the session token).

    Attributes:
        url: where the form goes: its ``action``, by POST, as ``multipart/form-data``.
        fields: all that must be sent with it, before the file, whose field is called ``file`` and comes last.
        open_fields: what the sender must fill in besides, and what each value must begin with.
        expires_at: from then on it is refused, in UTC: after ``expires``, or with the temporary keys that signed it.
    """

    url: str
    fields: Mapping[str, str]
    open_fields: Mapping[str, str] = field(default_factory=dict)
    expires_at: datetime
