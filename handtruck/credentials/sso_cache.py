"""The files in which AWS's command line keeps the tokens of single sign-on: ``~/.aws/sso/cache``.

One JSON file for each session, or each start URL of the form before there were sessions::

    {"accessToken": …, "expiresAt": "2025-03-01T12:00:00Z", "refreshToken": …,
     "clientId": …, "clientSecret": …, "registrationExpiresAt": …, "startUrl": …, "region": …}

Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-sso-credentials.html
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkstemp
from typing import TYPE_CHECKING, Final

from ..errors import UsageError
from ..models.identity import Secret
from .answers import object_in
from .whole import SecretBytes, date_of, is_plain

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER: Final = "~/.aws/sso/cache"
LARGEST_FILE: Final = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What says that a user has signed on.

    Attributes:
        access: goes with the request for keys.
        expires_at: when it ends.
        refresh: for a newer one; None where there is none to be had.
        client_id: who may ask for a newer one: a registration of the tool that signed the user on.
        client_secret: … and its secret.
        registration_ends: when this registration does.
        content: the whole file.
    """

    access: Secret
    expires_at: datetime
    refresh: Secret | None
    client_id: str | None
    client_secret: Secret | None
    registration_ends: datetime | None
    content: SecretBytes

    def can_be_renewed(self, now: datetime) -> bool:
        """Whether there is all it takes to ask for a newer one."""
        if not (self.refresh and self.client_id and self.client_secret):
            return False
        return self.registration_ends is None or self.registration_ends > now


def cache_path(folder: Path, session: str, start_url: str) -> Path:
    """The file of a session, or of a start URL where there is no session."""
    name = hashlib.sha1((session or start_url).encode(), usedforsecurity=False).hexdigest()
    return folder / f"{name}.json"


def parse_token(content: bytes) -> Token | None:
    """What a file of the cache holds; None if that is no token. Raises nothing."""
    document = object_in(content)
    if document is None:
        return None
    access, end = document.get("accessToken"), _date(document.get("expiresAt"))
    if not is_plain(access) or end is None:
        return None
    refresh, client_id, secret = (document.get(name) for name in ("refreshToken", "clientId", "clientSecret"))
    return Token(
        access=Secret(access),
        expires_at=end,
        refresh=Secret(refresh) if is_plain(refresh) else None,
        client_id=client_id if is_plain(client_id) else None,
        client_secret=Secret(secret) if is_plain(secret) else None,
        registration_ends=_date(document.get("registrationExpiresAt")),
        content=SecretBytes(content),
    )


def _date(value: object) -> datetime | None:
    """A time; the first version of the command line wrote ``UTC`` for its zone."""
    return date_of(value.removesuffix("UTC") if isinstance(value, str) else value)


def renewed(token: Token, answer: bytes, now: datetime) -> Token | None:
    """A token after the service has answered with a newer one; None if that makes no sense. Raises nothing.

    What else stood in the file stays there.
    """
    given, document = object_in(answer), object_in(token.content)
    if given is None or document is None:
        return None
    access, lasts, refresh = (given.get(name) for name in ("accessToken", "expiresIn", "refreshToken"))
    if not is_plain(access) or not isinstance(lasts, int) or not 0 < lasts < 10**9:
        return None
    fresh: Mapping[str, object] = {
        **document,
        "accessToken": access,
        "expiresAt": (now + timedelta(seconds=lasts)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **({"refreshToken": refresh} if is_plain(refresh) else {}),
    }
    return parse_token(json.dumps(fresh).encode())


def read_token(path: Path) -> Token | None:
    """The token in a file; None where there is no file, or something else in it.

    Raises:
        UsageError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            content = SecretBytes(file.read(LARGEST_FILE))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return parse_token(content)


def write_token(path: Path, token: Token) -> None:
    """Put a token in place of the one in a file, in one step; only its owner may read it.

    Raises:
        OSError: that cannot be done; the old file is as it was.
    """
    number, name = mkstemp(dir=path.parent, prefix=path.stem, suffix=".tmp")  # made with mode 0600
    try:
        with os.fdopen(number, "wb") as file:
            file.write(token.content)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise
