"""Keys that stand in the two files that AWS's tools share: ``~/.aws/credentials`` and ``~/.aws/config``."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from .._tasks import LoopLocks, isolated
from ..errors import UsageError
from ..models import Credentials
from .base import AbstractCredentials, environment, is_rejected
from .profiles import load_profiles, paths_of, profile_alone, profile_name

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    from .profiles import Profile

AUTO: Final = "auto"
"""The profile that the environment names, or ``default``."""


class ConfigCredentials(AbstractCredentials):
    """A profile of AWS's shared files, read in a worker thread when first needed, and again when S3 rejects it.

    Key, secret and token come from one section of one file: the credentials file's, if that is whole, else
    the config file's. The region may come from either; the credentials file wins.

    A default file, or one named by the environment, may be missing; so may a profile that was not named here.

    Args:
        credentials_path: else ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``; ``~`` is expanded.
        config_path: else ``AWS_CONFIG_FILE``, else ``~/.aws/config``; ``~`` is expanded.
        region: the region to sign for, whatever the files say.
        profile: ``[name]`` in the credentials file, ``[profile name]`` in the config file. ``"auto"`` is
            ``AWS_DEFAULT_PROFILE``, else ``AWS_PROFILE``, else ``default`` (botocore's order).
        environ: read instead of the process's environment (``~`` stays the process's home).

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """

    def __init__(
        self,
        credentials_path: str | os.PathLike[str] | None = None,
        config_path: str | os.PathLike[str] | None = None,
        *,
        region: str = "",
        profile: str = AUTO,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._credentials_path = credentials_path
        self._config_path = config_path
        self._region = region
        self._profile = profile
        self._environ = environ
        self._locks = LoopLocks()
        self._known: Credentials | None = None

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """What the profile has; see :meth:`AbstractCredentials.load`.

        Raises:
            UsageError: a file cannot be read or parsed, or a file or a profile named in the constructor is
                not there. The message names the file and the line, never what is written there.
        """
        if self._known is None or is_rejected(self._known, rejected):
            async with self._locks.here():
                if self._known is None or is_rejected(self._known, rejected):
                    self._known = await isolated(partial(to_thread.run_sync, self._read))
        return self._known

    @property
    def where(self) -> str:
        """In words."""
        credentials, config = self._paths()
        return f"profile [{self._name()}] in {credentials} and {config}"

    @property
    def reason(self) -> str:
        """Why the last load gave no whole credential."""
        return f"no keys in profile [{self._name()}], or no such profile"

    def _read(self) -> Credentials:
        profiles = load_profiles(self._credentials_path, self._config_path, environment(self._environ))
        name = self._name()
        if self._profile != AUTO and name not in profiles:
            raise UsageError(f"there is no profile [{name}] in {profiles.where}")
        found = static_keys(profile_alone(profiles, name), *self._paths())
        return replace(found, region=self._region or found.region)

    def _name(self) -> str:
        return profile_name(environment(self._environ)) if self._profile == AUTO else self._profile

    def _paths(self) -> tuple[Path, Path]:
        return paths_of(self._credentials_path, self._config_path, environment(self._environ))


def static_keys(profile: Profile, credentials_path: Path, config_path: Path) -> Credentials:
    """The keys that stand in a profile, and its region.

    Raises:
        UsageError: see :func:`keys_of`.
    """
    return choose(
        keys_of(profile.credentials, f"{credentials_path}, profile [{profile.name}]"),
        keys_of(profile.config, f"{config_path}, profile [{profile.name}]"),
    )


def keys_of(section: Mapping[str, str], where: str) -> Credentials:
    """What one section says.

    Raises:
        UsageError: a key goes on over several lines. That is what an indented next line does, and it would
            put the secret into the key id, which is printed.
    """

    def setting(name: str) -> str:
        value = section.get(name, "")
        if "\n" in value:
            raise UsageError(f"{where}: {name} goes on over several lines; is the next line indented?")
        return value

    return Credentials(
        access_key_id=setting("aws_access_key_id"),
        secret_access_key=setting("aws_secret_access_key"),
        session_token=setting("aws_session_token") or None,
        region=setting("region") or None,
    )


def choose(credentials: Credentials, config: Credentials) -> Credentials:
    """One file's keys, never a mixture: the first whole ones, else the credentials file's; the first region."""
    found = config if config.complete and not credentials.complete else credentials
    return replace(found, region=credentials.region or config.region)
