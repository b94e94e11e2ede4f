"""Keys in the two files that AWS's tools share: ``~/.aws/credentials`` and ``~/.aws/config``."""

from __future__ import annotations

import configparser
import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from .._tasks import LoopLocks, isolated
from ..errors import UsageError
from ..models import Credentials
from .base import AbstractCredentials, environment, is_rejected

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

_Sections = dict[str, dict[str, str]]

_AUTO: Final = "auto"


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
        profile: str = _AUTO,
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

    def _read(self) -> Credentials:
        credentials_path, config_path = self._paths()
        credentials = read_ini(credentials_path, required=self._credentials_path is not None)
        config = profiles_of(read_ini(config_path, required=self._config_path is not None))
        name = self._name()
        if self._profile != _AUTO and name not in credentials and name not in config:
            raise UsageError(f"there is no profile [{name}] in {credentials_path} or {config_path}")
        found = choose(
            keys_of(credentials.get(name, {}), f"{credentials_path}, profile [{name}]"),
            keys_of(config.get(name, {}), f"{config_path}, profile [{name}]"),
        )
        return replace(found, region=self._region or found.region)

    def _name(self) -> str:
        if self._profile != _AUTO:
            return self._profile
        environ = environment(self._environ)
        return environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE") or "default"

    def _paths(self) -> tuple[Path, Path]:
        environ = environment(self._environ)
        return (
            Path(self._credentials_path or environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"),
            Path(self._config_path or environ.get("AWS_CONFIG_FILE") or "~/.aws/config"),
        )


def read_ini(path: Path, *, required: bool) -> _Sections:
    """The sections of a file; none where there is no file, unless it is ``required``.

    Raises:
        UsageError: it cannot be read or parsed, or is required and missing.
    """
    try:
        text = _expand(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise UsageError(f"there is no file {path}") from None
        return {}
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        text = None  # raised below: the decoder's error holds the whole file
    if text is None:
        raise UsageError(f"{path} is not text in UTF-8")
    return parse_ini(text, str(path))


def _expand(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # nobody's home
        return path


def parse_ini(text: str, name: str = "the file") -> _Sections:
    """The sections of an INI text, as botocore reads them.

    A line beginning with ``#`` or ``;`` is a comment, one after a value is not; keys are lower-cased; lines
    indented under a setting (``s3 =``) belong to its value; ``[DEFAULT]`` applies to every section.

    Args:
        text: what the file holds.
        name: what to call it in errors.

    Raises:
        UsageError: a line outside any section, one that is no setting, a section or a setting that comes
            twice. The message has the line's number, never its text.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        line = _line_of(error)  # raised below: the parser's error quotes the line
    else:
        return {section: dict(parser.items(section)) for section in parser.sections()}
    raise UsageError(f"{name}, line {line}: not a [section], a setting (name = value) or a comment, or there twice")


def _line_of(error: configparser.Error) -> object:
    listed: list[tuple[int, str]] = getattr(error, "errors", [])
    return listed[0][0] if listed else getattr(error, "lineno", "?")


def profiles_of(config: _Sections) -> _Sections:
    """The profiles of a config file: ``[default]`` and ``[profile NAME]``, where NAME may be quoted."""
    named = ((_profile_name(section), settings) for section, settings in config.items())
    return {name: settings for name, settings in named if name is not None}


def _profile_name(section: str) -> str | None:
    if section == "default":
        return section
    try:
        words = shlex.split(section)
    except ValueError:  # an open quote
        return None
    return words[1] if len(words) == 2 and words[0] == "profile" else None


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
