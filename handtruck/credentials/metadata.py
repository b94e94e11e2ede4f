"""Keys of the role that an EC2 instance runs under, kept fresh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from ..errors import UsageError
from ..models import Credentials
from .base import environment
from .files import AUTO
from .imds import DEFAULT_ENDPOINT, IPV6_ENDPOINT, AbsentError, MetadataService, parse_endpoint
from .profiles import profile_alone, profile_name, read_profiles
from .refreshing import RefreshingCredentials, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime
    from types import TracebackType

    import httpx

TIMEOUT: Final = 1.0
"""Seconds for each request, where nobody says otherwise: botocore's."""

DISABLED: Final = "AWS_EC2_METADATA_DISABLED"
_MODES: Final = {"": DEFAULT_ENDPOINT, "ipv4": DEFAULT_ENDPOINT, "ipv6": IPV6_ENDPOINT}
_MOST: Final = 100


class MetadataCredentials(RefreshingCredentials):
    """Keys from EC2's instance metadata service (IMDSv2), fetched when first needed and refreshed ahead of their end.

    Works without :meth:`start` too. One fetch at a time, however many ask. A fetch makes its own connections,
    uses no proxy, and tries an answer of 5xx three times. Where nobody answers, that is remembered for a minute.

    What is not given here is what the environment says, else the profile in the config file (the names in brackets):

    * ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` (``ec2_metadata_service_endpoint``)
    * ``AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE`` (``ec2_metadata_service_endpoint_mode``): ``IPv4`` or ``IPv6``
    * ``AWS_METADATA_SERVICE_TIMEOUT`` (``metadata_service_timeout``): seconds
    * ``AWS_METADATA_SERVICE_NUM_ATTEMPTS`` (``metadata_service_num_attempts``): how often a request is sent that nobody
      answers
    * ``AWS_EC2_METADATA_V1_DISABLED`` (``ec2_metadata_v1_disabled``): ``true`` holds against ``allow_v1``, too

    With ``AWS_EC2_METADATA_DISABLED=true`` nothing is asked, unless there is an ``endpoint`` here; then only the
    environment counts, and no file is read.

    Args:
        endpoint: an ``http://`` URL; else as above, else ``http://169.254.169.254``.
        allow_v1: go on without a session token where the service refuses to give one, or does not answer that
            request. Version 1 is open to request forgery through proxies and web applications.
        timeout: seconds for each of the up to four requests of a fetch; else as above, else 1.
        profile: whose section of the config file counts. ``"auto"`` is ``AWS_DEFAULT_PROFILE``, else ``AWS_PROFILE``,
            else ``default``.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment.

    Raises:
        UsageError: ``endpoint`` is no ``http://`` URL.

    Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        allow_v1: bool = False,
        timeout: float | None = None,
        profile: str = AUTO,
        clock: Callable[[], datetime] = utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(clock=clock)
        self._endpoint = parse_endpoint(endpoint) if endpoint else None
        self._allow_v1 = allow_v1
        self._timeout = timeout
        self._profile = profile
        self._environ = environ
        self._absence = ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Fetch the keys now, to learn early whether there are any. Not required.

        Raises:
            UsageError: no metadata service answers, or the instance has no role.
            ConnectionFailed: the service stopped answering.
            InvalidResponse: it answered nonsense, failed (5xx) three times, or gave keys that have ended.
        """
        found = await self._renew()
        if not found.complete:
            raise UsageError(f"no keys from {self.where}: {self.reason}")

    async def stop(self) -> None:
        """Forget the keys. Waits for nothing; may come before :meth:`start`, or twice. Asking again fetches again."""
        self._forget()

    @property
    def where(self) -> str:
        """In words."""
        return "the EC2 instance metadata service"

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential."""
        return self._absence or "nothing there"

    async def _fetch(self, known: Credentials | None) -> Credentials:
        environ = environment(self._environ)
        if self._endpoint is None and is_on(environ.get(DISABLED, "")):
            self._absence = f"{DISABLED} is set"
            return Credentials()
        service = service_of(
            await self._settings(environ), endpoint=self._endpoint, timeout=self._timeout, allow_v1=self._allow_v1
        )
        try:
            return await service.fetch((known or Credentials()).region)
        except AbsentError as absent:
            self._absence = str(absent)
            return Credentials()

    async def _settings(self, environ: Mapping[str, str]) -> dict[str, str]:
        """What environment and config file say, by the names that it has in the file."""
        said = {name: value for name, variable in _VARIABLES.items() if (value := environ.get(variable))}
        if self._endpoint is not None:
            return said  # it is all there, but for what has a default
        name = profile_name(environ) if self._profile == AUTO else self._profile
        profiles = await read_profiles(None, None, environ)
        written = profile_alone(profiles, name).settings
        return {name: written[name] for name in _VARIABLES if written.get(name)} | said


_VARIABLES: Final = {
    "ec2_metadata_service_endpoint": "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "ec2_metadata_service_endpoint_mode": "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "ec2_metadata_v1_disabled": "AWS_EC2_METADATA_V1_DISABLED",
    "metadata_service_timeout": "AWS_METADATA_SERVICE_TIMEOUT",
    "metadata_service_num_attempts": "AWS_METADATA_SERVICE_NUM_ATTEMPTS",
}


def is_on(text: str) -> bool:
    """Whether a variable's or a setting's text switches something on."""
    return text.strip().lower() == "true"


def service_of(
    settings: Mapping[str, str], *, endpoint: httpx.URL | None, timeout: float | None, allow_v1: bool
) -> MetadataService:
    """The service that arguments and settings describe; arguments go first.

    Raises:
        UsageError: a setting is malformed. The message names it.
    """
    return MetadataService(
        endpoint=endpoint or _endpoint_in(settings),
        timeout=timeout if timeout is not None else _number_in(settings, "metadata_service_timeout", TIMEOUT),
        attempts=int(_number_in(settings, "metadata_service_num_attempts", 1)),
        allow_v1=allow_v1 and not is_on(settings.get("ec2_metadata_v1_disabled", "")),
    )


def _endpoint_in(settings: Mapping[str, str]) -> httpx.URL:
    mode = settings.get("ec2_metadata_service_endpoint_mode", "").strip().lower()
    if mode not in _MODES:
        raise UsageError(f"{_named('ec2_metadata_service_endpoint_mode')} has to be IPv4 or IPv6")
    return parse_endpoint(settings.get("ec2_metadata_service_endpoint") or _MODES[mode])


def _number_in(settings: Mapping[str, str], name: str, default: float) -> float:
    text = settings.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= _MOST):
        raise UsageError(f"{_named(name)} has to be a whole number from 1 to {_MOST}")
    return float(text)


def _named(name: str) -> str:
    return f"{_VARIABLES[name]} (or {name} in the config file)"
