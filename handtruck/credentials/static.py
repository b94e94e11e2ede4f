"""Keys that somebody handed over: as arguments, inside a URL, in the environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from ..errors import UsageError
from ..models import Credentials
from ..models.identity import Secret
from .base import AbstractCredentials, environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx

_RIGHT_FORM: Final = "keys in a URL are written http://KEY_ID:SECRET@host, both percent-encoded"
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_HOST: Final = re.compile(r"(?:\[[^\[\]]*\]|[^:\[\]]*)(?::[0-9]*)?")


@dataclass(frozen=True)
class StaticCredentials(AbstractCredentials):
    """Keys given as arguments.

    Attributes:
        access_key_id: the public half.
        secret_access_key: the secret half; never printed.
        session_token: goes with temporary keys; never printed.
        region: the region to sign for; blank leaves it to other sources.
    """

    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str | None = field(default=None, repr=False)
    region: str = ""

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:  # noqa: ARG002 - there are no others
        """The fields as given; see :meth:`AbstractCredentials.load`."""
        return self._found

    @cached_property
    def _found(self) -> Credentials:
        return Credentials(
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            session_token=self.session_token or None,
            region=self.region or None,
        )

    def __post_init__(self) -> None:
        # Each may become a local of its own somewhere, and tracebacks are printed with their locals.
        object.__setattr__(self, "secret_access_key", Secret(self.secret_access_key))
        if self.session_token is not None:
            object.__setattr__(self, "session_token", Secret(self.session_token))

    def _given_secret(self) -> str:
        return "keys" if self.secret_access_key or self.session_token else ""

    @property
    def where(self) -> str:
        """In words."""
        return "the arguments access_key_id and secret_access_key"

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential."""
        if self.access_key_id or self.secret_access_key:
            return f"{'secret_access_key' if self.access_key_id else 'access_key_id'} is missing"
        return "not given"


class URLCredentials(AbstractCredentials):
    """The user and password of a URL, percent-decoded: ``http://KEY_ID:SECRET@host``.

    A ``/`` in the secret is written ``%2F`` (``?`` ``%3F``, ``#`` ``%23``). A URL without a user has blank keys.

    Args:
        url: the endpoint's URL.
        region: the region to sign for; blank leaves it to other sources.

    Raises:
        UsageError: the URL is malformed, or has only half a credential; the message never shows the URL.
    """

    def __init__(self, url: str | httpx.URL, *, region: str = "") -> None:
        url = Secret(url)
        user, password = parse_userinfo(url)
        self._user, self._password, self._region = user, password, region

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:  # noqa: ARG002 - there are no others
        """What the URL had; see :meth:`AbstractCredentials.load`."""
        return self._found

    @cached_property
    def _found(self) -> Credentials:
        return Credentials(access_key_id=self._user, secret_access_key=self._password, region=self._region or None)

    def _given_secret(self) -> str:
        return "a URL with keys" if self._password else ""

    @property
    def where(self) -> str:
        """In words."""
        return "the URL's user and password"

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential."""
        return "the URL has none"


def parse_userinfo(url: str) -> tuple[str, Secret]:
    """A URL → its user and password, percent-decoded; two blanks where it has none.

    Raises:
        UsageError: as :class:`URLCredentials` says. No parser's own error is behind it: those quote the URL.
    """
    url = Secret(url)
    found = _userinfo_in(url)
    if isinstance(found, str):
        raise UsageError(found)
    return found


def _userinfo_in(url: Secret) -> tuple[str, Secret] | str:
    """The two, or what is wrong. It raises nothing: a traceback would hold what it looks at."""
    parsed = _URL.fullmatch(url)
    if parsed is None:
        return "the URL has to begin with http:// or https://"
    if "@" in parsed["rest"]:
        return (
            f"the URL has an @ after the host's end. {_RIGHT_FORM}: a / in the secret as %2F, ? as %3F, # as %23"
            " (and an @ in the path as %40)"
        )
    userinfo, _, host = parsed["authority"].rpartition("@")
    if not _HOST.fullmatch(host):
        return f"the URL's host or port is malformed; {_RIGHT_FORM}"
    user, _, password = userinfo.partition(":")
    if userinfo and not (user and password):
        missing = "password (the secret key)" if user else "user (the key id)"
        return f"the URL has no {missing}; {_RIGHT_FORM}"
    return unquote(user), Secret(unquote(password))


class EnvironmentCredentials(AbstractCredentials):
    """``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``; read anew each time they are needed.

    The region is ``region``, else ``AWS_REGION``, else ``AWS_DEFAULT_REGION``.

    Args:
        region: the region to sign for, whatever the environment says.
        environ: read instead of the process's environment.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/environment-variables.html
    """

    def __init__(self, *, region: str = "", environ: Mapping[str, str] | None = None) -> None:
        self._region = region
        self._environ = environ

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:  # noqa: ARG002 - always read anew
        """What the environment says now; see :meth:`AbstractCredentials.load`."""
        return from_environment(environment(self._environ), self._region)

    @property
    def where(self) -> str:
        """In words."""
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential: what the environment lacks now."""
        environ = environment(self._environ)
        missing = [name for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY") if not environ.get(name)]
        return " and ".join(missing) + (" is not set" if len(missing) == 1 else " are not set")


def from_environment(environ: Mapping[str, str], region: str = "") -> Credentials:
    """The credentials that an environment holds."""
    return Credentials(
        access_key_id=environ.get("AWS_ACCESS_KEY_ID", ""),
        secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY", ""),
        session_token=environ.get("AWS_SESSION_TOKEN") or None,
        region=region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or None,
    )
