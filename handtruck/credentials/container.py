"""Keys that a container gets from whoever runs it: ECS, EKS Pod Identity, Greengrass, or anything that speaks alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
from anyio import to_thread

from .._tasks import isolated
from ..errors import ConnectionFailed, InvalidResponse, UsageError
from ..models import Credentials
from ..models.identity import Secret
from ..protocol.signing import Signature
from .answers import keys_in, object_in, word
from .base import environment
from .http import ask, parse
from .refreshing import RefreshingCredentials, utc_now
from .whole import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from .whole import SecretBytes

DEFAULT_HOST: Final = "http://169.254.170.2"
TIMEOUT: Final = 2.0  # seconds for each request
RETRY_PAUSES: Final = (0.1, 0.4)  # seconds between the three tries that a failure on the other side gets
LARGEST_TOKEN: Final = 20000
"""Bytes in the token's file."""

RELATIVE: Final = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL: Final = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 - a variable's name
TOKEN_FILE: Final = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105 - a variable's name

_SERVICE: Final = "the container's credentials service"
_WHAT: Final = "the request for keys"  # its path is nobody's business
_LINK_LOCAL: Final = frozenset(map(ip_address, ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")))


class ContainerCredentials(RefreshingCredentials):
    """Keys of the container this runs in, fetched when first needed and refreshed ahead of their end.

    The environment says where they are, and is read anew for each fetch:

    * ``AWS_CONTAINER_CREDENTIALS_RELATIVE_URI``: a path on ``http://169.254.170.2`` (ECS). It goes before the other.
    * ``AWS_CONTAINER_CREDENTIALS_FULL_URI``: a URL. With ``http://`` its host can only be this machine
      (``localhost``, ``127.0.0.0/8``, ``[::1]``), ``169.254.170.2``, ``169.254.170.23`` or ``[fd00:ec2::23]``, for
      the keys travel in the open.
    * ``AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE``: what to send as ``Authorization`` stands in this file, which is read
      in a worker thread for each fetch: it may be replaced at any time. It goes before
      ``AWS_CONTAINER_AUTHORIZATION_TOKEN``, which is sent as it is.

    No proxy is used. An answer of 5xx, or none, is tried three times.

    Args:
        host: where the relative URI leads, in place of ``http://169.254.170.2``.
        timeout: seconds for each request.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
    """

    def __init__(
        self,
        *,
        host: str = DEFAULT_HOST,
        timeout: float = TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(clock=clock)
        self._host = host
        self._timeout = timeout
        self._environ = environ

    @property
    def where(self) -> str:
        """In words."""
        return _SERVICE

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential."""
        return f"neither {RELATIVE} nor {FULL} is set"

    async def _fetch(self, known: Credentials | None) -> Credentials:  # noqa: ARG002 - each fetch begins anew
        environ = environment(self._environ)
        place = place_of(environ, self._host)
        if place is None:
            return Credentials()
        token = await self._token(environ)
        headers = Signature({"accept": "application/json"})
        if token is not None:
            headers["authorization"] = token
        status, body = await self._send(place, headers)
        if status != 200:
            raise InvalidResponse(f"{_SERVICE} at {place.host} answered {status}: {said_in(body)}")
        found = keys_in(body)
        if isinstance(found, str):
            raise InvalidResponse(f"{_SERVICE} at {place.host} answered nonsense: {found}")
        return found

    async def _send(self, place: Place, headers: Signature) -> tuple[int, SecretBytes]:
        """One answer; that of the last try, if it is a failure each time."""
        send = partial(ask, "GET", place.url, service=f"{_SERVICE} at {place.host}", timeout=self._timeout, what=_WHAT)
        for pause in RETRY_PAUSES:
            try:
                status, body = await send(headers=headers)
            except ConnectionFailed:
                pass
            else:
                if status < 500:
                    return status, body
            await anyio.sleep(pause)
        return await send(headers=headers)

    async def _token(self, environ: Mapping[str, str]) -> Secret | None:
        """What to send as ``Authorization``."""
        path = environ.get(TOKEN_FILE)
        if path:
            return await isolated(lambda: to_thread.run_sync(read_token, Path(path)))
        if not environ.get(TOKEN):
            return None
        token = Secret(environ[TOKEN])
        if not is_plain(token):
            raise UsageError(f"{TOKEN} is not one line of plain text")
        return token


@dataclass(frozen=True, slots=True)
class Place:
    """Where to ask.

    Attributes:
        url: all of it; its path may be good for keys, so it does not show.
        host: with the port.
        name: the host without it.
        secure: nobody can read on the way.
    """

    url: Secret
    host: str
    name: str
    secure: bool


def place_of(environ: Mapping[str, str], host: str = DEFAULT_HOST) -> Place | None:
    """Where the environment says that the keys are; None if it says nothing.

    Raises:
        UsageError: it says something that is not to be asked.
    """
    relative, full = (Secret(environ.get(name) or "") for name in (RELATIVE, FULL))
    if relative:
        if not relative.startswith("/"):
            raise UsageError(f"{RELATIVE} has to begin with a /")
        return _place(Secret(host + relative), RELATIVE)
    if not full:
        return None
    place = _place(full, FULL)
    if not place.secure and not is_near(place.name):
        raise UsageError(
            f"{FULL} leads to {place.host} through http://, where everybody could read the keys: only https://,"
            " this machine, 169.254.170.2, 169.254.170.23 and [fd00:ec2::23] are asked"
        )
    return place


def _place(url: Secret, variable: str) -> Place:
    parsed = parse(url, variable)
    return Place(Secret(parsed), parsed.netloc.decode("ascii"), parsed.host, parsed.scheme == "https")


def is_near(host: str) -> bool:
    """Whether what travels there unencrypted stays on this machine, or on its link to whoever runs it. Asks no DNS."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address in _LINK_LOCAL


def read_token(path: Path) -> Secret:
    """The token in a file, as it stands there.

    Raises:
        UsageError: the file cannot be read, or holds something else than one line of plain text.
    """
    token, why = None, "it does not hold one line of plain text, without a line break"
    try:
        with path.open("rb") as file:
            token = _plain_token(file.read(LARGEST_TOKEN + 1))
    except OSError as error:
        why = error.strerror or type(error).__name__
    if token is None:
        raise UsageError(f"no token in {path} ({TOKEN_FILE}): {why}")
    return token


def _plain_token(content: bytes) -> Secret | None:
    text = Secret(content.decode("ascii", "replace"))
    return text if is_plain(text) and len(content) <= LARGEST_TOKEN else None


def said_in(body: bytes) -> str:
    """The code in an error's document, if it has one."""
    document = object_in(body) or {}
    return word(document.get("code") or document.get("Code"))
