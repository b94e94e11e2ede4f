"""A profile's keys, however it says that they are to be had."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from .._tasks import LoopLocks
from ..errors import UsageError
from ..models import Credentials
from .base import AbstractCredentials, environment, is_rejected
from .container import ContainerCredentials
from .files import AUTO
from .metadata import MetadataCredentials
from .process import ProcessCredentials
from .profiles import paths_of, profile_alone, profile_name, profile_of, read_profiles
from .refreshing import utc_now
from .security_tokens import address_of
from .sso import SSOCredentials
from .static import EnvironmentCredentials
from .sts import AssumeRoleCredentials
from .ways import ByName, ByProcess, ByRole, BySSO, ByWebIdentity, Written, way_of
from .web_identity import WebIdentityCredentials

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from .profiles import Profiles
    from .security_tokens import Address
    from .ways import Way


class WrittenCredentials(AbstractCredentials):
    """Keys that stood in a file when it was read.

    Args:
        keys: the keys.
        where: the file, in words.
    """

    def __init__(self, keys: Credentials, where: str) -> None:
        self.keys = keys
        self._where = where

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:  # noqa: ARG002 - there are no others
        """The keys; see :meth:`AbstractCredentials.load`."""
        return self.keys

    @property
    def where(self) -> str:
        """In words."""
        return self._where


class ProfileCredentials(AbstractCredentials):
    """A profile's keys, in all the ways that AWS's tools know, in their order.

    1. a role (``role_arn``) by the keys of ``source_profile``, itself any profile, or of ``credential_source``
    2. a role by a web identity token: ``AWS_WEB_IDENTITY_TOKEN_FILE``, ``AWS_ROLE_ARN`` and ``AWS_ROLE_SESSION_NAME``
       (unless ``profile`` was named here), else ``web_identity_token_file`` and ``role_arn``
    3. IAM Identity Center: ``sso_session``, or ``sso_start_url`` and the like
    4. ``aws_access_key_id`` and ``aws_secret_access_key`` in the credentials file
    5. ``credential_process``
    6. ``aws_access_key_id`` and ``aws_secret_access_key`` in the config file

    The files are read in a worker thread when keys are first needed; again as long as they say nothing of any, and
    when S3 rejects keys that stand there. Everything else is asked, kept and refreshed as its own class says.

    A default file, or one named by the environment, may be missing; so may a profile that was not named here.

    Args:
        profile: the name. ``"auto"`` is ``AWS_DEFAULT_PROFILE``, else ``AWS_PROFILE``, else ``default``.
        credentials_path: else ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``; ``~`` is expanded.
        config_path: else ``AWS_CONFIG_FILE``, else ``~/.aws/config``; ``~`` is expanded.
        region: the region to sign for, whatever the files say.
        mfa_token: gives the one-time code that a role with ``mfa_serial`` wants: see :class:`AssumeRoleCredentials`.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment (``~`` stays the process's home).

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """

    def __init__(
        self,
        profile: str = AUTO,
        *,
        credentials_path: str | os.PathLike[str] | None = None,
        config_path: str | os.PathLike[str] | None = None,
        region: str = "",
        mfa_token: Callable[[], str | Awaitable[str]] | None = None,
        clock: Callable[[], datetime] = utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._profile = profile
        self._credentials_path = credentials_path
        self._config_path = config_path
        self._region = region
        self._mfa_token = mfa_token
        self._clock = clock
        self._environ = environ
        self._locks = LoopLocks()
        self._source: AbstractCredentials | None = None
        self._found_region: str | None = region or None
        self._given: tuple[Credentials, Credentials] | None = None
        self._reason = "not asked yet"

    def __getstate__(self) -> dict[str, object]:
        return super().__getstate__() | {"_source": None, "_given": None}

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """The profile's keys and region; see :meth:`AbstractCredentials.load`.

        Raises:
            UsageError: a file cannot be read or parsed, a file or a profile that is named is not there, or the
                profile says something that cannot be done. No message quotes a file.
            ConnectionFailed: a service that was asked for the keys did not answer.
            InvalidResponse: it talked nonsense.
            S3Error: it said no.
        """
        if self._is_stale(rejected):
            async with self._locks.here():
                if self._is_stale(rejected):
                    await self._read()
        if self._source is None:
            return Credentials(region=self._found_region)
        return self._in_region(await self._source.load(rejected=rejected))

    @property
    def where(self) -> str:
        """In words."""
        credentials, config = paths_of(self._credentials_path, self._config_path, environment(self._environ))
        place = f"profile [{self._name()}] in {credentials} and {config}"
        return place if self._profile != AUTO else f"AWS_WEB_IDENTITY_TOKEN_FILE; {place}"

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential."""
        return self._reason if self._source is None else self._source.reason

    def _name(self) -> str:
        return profile_name(environment(self._environ)) if self._profile == AUTO else self._profile

    def _is_stale(self, rejected: Credentials | None) -> bool:
        source = self._source
        return source is None or (isinstance(source, WrittenCredentials) and is_rejected(source.keys, rejected))

    def _in_region(self, found: Credentials) -> Credentials:
        """The same object for the same keys: whoever has seen it need not look at it again."""
        if self._given is None or self._given[0] is not found:
            self._given = found, replace(found, region=self._found_region)
        return self._given[1]

    async def _read(self) -> None:
        environ = environment(self._environ)
        profiles = await read_profiles(self._credentials_path, self._config_path, environ)
        name = self._name()
        if self._profile != AUTO and name not in profiles:
            raise UsageError(f"there is no profile [{name}] in {profiles.where}")
        way = way_of(profiles, name, environ if self._profile == AUTO else None)
        self._found_region = self._region or profile_alone(profiles, name).settings.get("region") or None
        self._reason = f"profile [{name}] has no keys" if name in profiles else f"there is no profile [{name}]"
        self._source = None if way is None else self._source_of(way, profiles, name)

    def _source_of(self, way: Way, profiles: Profiles, name: str) -> AbstractCredentials:
        """The class that goes that way."""
        match way:
            case Written(keys=keys):
                return WrittenCredentials(keys, f"profile [{way.profile}] in {profiles.where}")
            case ByProcess(command=command):
                return ProcessCredentials(command, clock=self._clock, environ=environment(self._environ))
            case BySSO():
                return self._sso(way)
            case ByName():
                return self._named(way, name)
            case ByWebIdentity():
                address = self._address(profiles, name)
                return WebIdentityCredentials(
                    way.token_file,
                    way.role_arn,
                    session_name=way.session_name,
                    region=address.region,
                    endpoint=address.url,
                    clock=self._clock,
                    environ={},
                )
            case ByRole():
                address = self._address(profiles, name)
                return AssumeRoleCredentials(
                    way.role_arn,
                    source=self._source_of(way.source, profiles, name),
                    external_id=way.external_id,
                    session_name=way.session_name,
                    duration=way.duration,
                    mfa_serial=way.mfa_serial,
                    mfa_token=self._mfa_token,
                    region=address.region,
                    endpoint=address.url,
                    clock=self._clock,
                    environ={},
                )

    def _sso(self, way: BySSO) -> AbstractCredentials:
        return SSOCredentials(
            start_url=way.start_url,
            sso_region=way.region,
            account_id=way.account_id,
            role_name=way.role_name,
            session=way.session,
            profile=way.profile,
            clock=self._clock,
            environ=environment(self._environ),
        )

    def _named(self, way: ByName, name: str) -> AbstractCredentials:
        match way.source:
            case "Environment":
                return EnvironmentCredentials(environ=environment(self._environ))
            case "Ec2InstanceMetadata":
                return MetadataCredentials(profile=name, clock=self._clock, environ=self._with_paths())
            case "EcsContainer":
                return ContainerCredentials(clock=self._clock, environ=environment(self._environ))

    def _with_paths(self) -> Mapping[str, str]:
        """The environment, for a source that finds the files by it."""
        given = {"AWS_SHARED_CREDENTIALS_FILE": self._credentials_path, "AWS_CONFIG_FILE": self._config_path}
        paths = {name: os.fspath(path) for name, path in given.items() if path}
        environ = environment(self._environ)
        return environment({**environ, **paths}) if paths else environ

    def _address(self, profiles: Profiles, name: str) -> Address:
        """The Security Token Service, as the profile that was asked for says; not its source."""
        environ = environment(self._environ)
        profile = profile_of(profiles, name)
        in_environment = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION")
        region = self._region or in_environment or profile.settings.get("region") or None
        return address_of(region, environ, profile.settings, profile.services)
