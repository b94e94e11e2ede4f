"""The two files that AWS's tools share, ``~/.aws/credentials`` and ``~/.aws/config``: what stands in them.

The credentials file has a section for each profile, ``[NAME]``. The config file has ``[default]``,
``[profile NAME]``, and two kinds of sections that profiles refer to: ``[sso-session NAME]`` and
``[services NAME]``. Names may be quoted. What the settings mean is decided elsewhere.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
"""

from __future__ import annotations

import configparser
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from anyio import to_thread

from .._tasks import isolated
from ..errors import UsageError
from ..models.identity import Secret

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

Sections = dict[str, dict[str, str]]
"""Settings by section."""

_HIDDEN: Final = frozenset({"aws_secret_access_key", "aws_session_token", "credential_process"})
_KINDS: Final = ("profile", "sso-session", "services")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """One profile, of both files.

    Attributes:
        name: without ``profile``, and without quotes.
        credentials: its section of the credentials file; blank if there is none.
        config: its section of the config file; blank if there is none.
        services: the settings of each service, by its name (``s3``, ``sts``), in the ``[services]`` section that
            the profile names.
        sso_session: the ``[sso-session]`` section that the profile names; blank if there is none.
    """

    name: str
    credentials: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sso_session: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, str]:
        """The config file's section; what the credentials file says goes before it."""
        return {**self.config, **self.credentials}

    def nested(self, name: str) -> Mapping[str, str]:
        """The settings indented under a setting (``s3 =``)."""
        return parse_nested(self.settings.get(name, ""))


@dataclass(frozen=True, kw_only=True)
class Profiles:
    """What both files hold.

    Attributes:
        credentials: the credentials file's sections.
        config: the config file's profiles.
        sso_sessions: the config file's ``[sso-session NAME]`` sections.
        services: the config file's ``[services NAME]`` sections.
        where: the two files, in words.
    """

    credentials: Sections = field(default_factory=dict)
    config: Sections = field(default_factory=dict)
    sso_sessions: Sections = field(default_factory=dict)
    services: Sections = field(default_factory=dict)
    where: str = "the files"

    def __contains__(self, name: str) -> bool:
        return name in self.credentials or name in self.config


def profile_of(profiles: Profiles, name: str) -> Profile:
    """A profile by its name; one without settings if it stands in neither file.

    Raises:
        UsageError: it names ``services`` that the config file does not have.
    """
    alone = profile_alone(profiles, name)
    section = alone.settings.get("services", "")
    if section and section not in profiles.services:
        raise UsageError(f"profile [{name}] names [services {section}], which is not in {profiles.where}")
    services = profiles.services.get(section, {})
    return replace(alone, services={service: parse_nested(text) for service, text in services.items()})


def profile_alone(profiles: Profiles, name: str) -> Profile:
    """As :func:`profile_of`, without the services: whoever does not ask for them need not have them in order."""
    credentials, config = profiles.credentials.get(name, {}), profiles.config.get(name, {})
    alone = Profile(name=name, credentials=credentials, config=config)
    return replace(alone, sso_session=profiles.sso_sessions.get(alone.settings.get("sso_session", ""), {}))


def profile_name(environ: Mapping[str, str]) -> str:
    """The profile that an environment asks for: ``AWS_DEFAULT_PROFILE``, else ``AWS_PROFILE``, else ``default``."""
    return environ.get("AWS_DEFAULT_PROFILE") or environ.get("AWS_PROFILE") or "default"


def paths_of(
    credentials_path: str | os.PathLike[str] | None,
    config_path: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
) -> tuple[Path, Path]:
    """Where the two files are: as given, else as the environment says, else at home."""
    return (
        Path(credentials_path or environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"),
        Path(config_path or environ.get("AWS_CONFIG_FILE") or "~/.aws/config"),
    )


async def read_profiles(
    credentials_path: str | os.PathLike[str] | None,
    config_path: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
) -> Profiles:
    """Both files, read in a worker thread.

    Args:
        credentials_path: else ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``; ``~`` is expanded.
        config_path: else ``AWS_CONFIG_FILE``, else ``~/.aws/config``; ``~`` is expanded.
        environ: the environment.

    Raises:
        UsageError: a file cannot be read or parsed, or one that is named here is not there. The message names the
            file and the line, never what is written there.
    """
    return await isolated(lambda: to_thread.run_sync(load_profiles, credentials_path, config_path, environ))


def load_profiles(
    credentials_path: str | os.PathLike[str] | None,
    config_path: str | os.PathLike[str] | None,
    environ: Mapping[str, str],
) -> Profiles:
    """As :func:`read_profiles`, in this thread."""
    credentials, config = paths_of(credentials_path, config_path, environ)
    sections = read_ini(credentials, required=credentials_path is not None)
    kinds = sort_sections(read_ini(config, required=config_path is not None))
    return Profiles(
        credentials=sections,
        config=kinds["profile"],
        sso_sessions=kinds["sso-session"],
        services=kinds["services"],
        where=f"{credentials} or {config}",
    )


def read_ini(path: Path, *, required: bool) -> Sections:
    """The sections of a file; none where there is no file, unless it is ``required``.

    Raises:
        UsageError: it cannot be read or parsed, or is required and missing.
    """
    try:
        text = Secret(_expand(path).read_text(encoding="utf-8-sig"))
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


def parse_ini(text: str, name: str = "the file") -> Sections:
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
        return {section: _settings(parser.items(section)) for section in parser.sections()}
    raise UsageError(f"{name}, line {line}: not a [section], a setting (name = value) or a comment, or there twice")


def _line_of(error: configparser.Error) -> object:
    listed: list[tuple[int, str]] = getattr(error, "errors", [])
    return listed[0][0] if listed else getattr(error, "lineno", "?")


def _settings(items: list[tuple[str, str]]) -> dict[str, str]:
    """Settings whose repr shows no secret: neither a key's, nor one that an indented line made part of another."""
    return {name: Secret(value) if name in _HIDDEN or "\n" in value else value for name, value in items}


def parse_nested(text: str) -> dict[str, str]:
    """The settings of an indented block; lines that are none are passed over, as is a value that is no block."""
    if not text.startswith("\n"):
        return {}
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def sort_sections(config: Sections) -> dict[str, Sections]:
    """A config file's sections by their kind (``profile``, ``sso-session``, ``services``) and name."""
    kinds: dict[str, Sections] = {kind: {} for kind in _KINDS}
    for section, settings in config.items():
        kind, name = _kind_and_name(section)
        if kind in kinds:
            kinds[kind][name] = settings
    return kinds


def profiles_of(config: Sections) -> Sections:
    """The profiles of a config file: ``[default]`` and ``[profile NAME]``, where NAME may be quoted."""
    return sort_sections(config)["profile"]


def _kind_and_name(section: str) -> tuple[str, str]:
    if section == "default":
        return "profile", section
    try:
        words = shlex.split(section)
    except ValueError:  # an open quote
        return "", ""
    return (words[0], words[1]) if len(words) == 2 else ("", "")
