"""How a profile says its keys are to be had: a pure decision, in the order of AWS's tools.

A role by a source (``role_arn`` with ``source_profile`` or ``credential_source``) · a role by a web identity token ·
single sign-on · keys of the credentials file · ``credential_process`` · keys of the config file. A source profile is
decided likewise, but that its own keys go before its role.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

from ..errors import UsageError
from .files import choose, keys_of
from .profiles import profile_alone

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..models import Credentials
    from .profiles import Profile, Profiles

NamedSource = Literal["Environment", "Ec2InstanceMetadata", "EcsContainer"]
"""What ``credential_source`` may say."""

_FROM_ENVIRONMENT: Final = {
    "web_identity_token_file": "AWS_WEB_IDENTITY_TOKEN_FILE",
    "role_arn": "AWS_ROLE_ARN",
    "role_session_name": "AWS_ROLE_SESSION_NAME",
}
_SSO_PROFILE: Final = ("sso_account_id", "sso_role_name")
_SSO: Final = ("sso_start_url", "sso_region", *_SSO_PROFILE)
_STATIC: Final = ("aws_access_key_id", "aws_secret_access_key")
_READ: Final = (
    *("role_arn", "source_profile", "credential_source", "external_id", "role_session_name", "duration_seconds"),
    *("mfa_serial", "web_identity_token_file", "credential_process", "sso_session", *_SSO, *_STATIC),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Keys that stand in one of the files."""

    profile: str
    keys: Credentials


@dataclass(frozen=True, slots=True, kw_only=True)
class ByProcess:
    """A program prints them."""

    command: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BySSO:
    """IAM Identity Center gives them; ``session`` is the ``[sso-session]``, blank in the form before there were any."""

    profile: str
    start_url: str
    region: str
    account_id: str
    role_name: str
    session: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ByWebIdentity:
    """A role's, for the token in a file."""

    token_file: str
    role_arn: str
    session_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ByName:
    """Those of a source that has a name."""

    source: NamedSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ByRole:
    """A role's, for other keys."""

    role_arn: str
    source: Way
    external_id: str | None = None
    session_name: str | None = None
    duration: int | None = None
    mfa_serial: str | None = None


Way: TypeAlias = "Written | ByProcess | BySSO | ByWebIdentity | ByName | ByRole"
"""How keys are to be had."""


def way_of(profiles: Profiles, name: str, environ: Mapping[str, str] | None = None) -> Way | None:
    """How the keys of a profile are to be had; None if it says nothing of any.

    Args:
        profiles: what the files hold.
        name: the profile, which need not be there.
        environ: where ``AWS_WEB_IDENTITY_TOKEN_FILE``, ``AWS_ROLE_ARN`` and ``AWS_ROLE_SESSION_NAME`` go before the
            profile's own settings for a web identity; None: nowhere, as with a profile that was asked for by name.

    Raises:
        UsageError: the profile says something that cannot be done; the message names the profile and the setting.
    """
    profile = profile_alone(profiles, name)
    if _has_role(said(profile)):
        return _by_role(profiles, profile, (name,))
    return _by_itself(profiles, profile, environ or {})


def said(profile: Profile) -> dict[str, str]:
    """Those settings of a profile that say something about keys. Blank is not there.

    Raises:
        UsageError: one goes on over several lines. That is what an indented next line does, and it would put what
            stands there, a secret maybe, into something that is printed.
    """
    settings = {name: value for name in _READ if (value := profile.settings.get(name))}
    for name, value in settings.items():
        if "\n" in value:
            raise UsageError(f"profile [{profile.name}]: {name} goes on over several lines; is the next line indented?")
    return settings


def _has_role(settings: Mapping[str, str]) -> bool:
    return "role_arn" in settings and "web_identity_token_file" not in settings


def _has_keys(settings: Mapping[str, str]) -> bool:
    return any(name in settings for name in _STATIC)


def _by_role(profiles: Profiles, profile: Profile, visited: tuple[str, ...]) -> ByRole:
    settings, name = said(profile), profile.name
    source, named = settings.get("source_profile"), settings.get("credential_source")
    if source and named:
        raise UsageError(f"profile [{name}] has both source_profile and credential_source")
    if not source and not named:
        raise UsageError(f"profile [{name}] has a role_arn, but neither source_profile nor credential_source")
    return ByRole(
        role_arn=settings["role_arn"],
        source=_of_profile(profiles, name, source, visited) if source else _of_name(name, named or ""),
        external_id=settings.get("external_id"),
        session_name=settings.get("role_session_name"),
        duration=_duration(name, settings.get("duration_seconds", "")),
        mfa_serial=settings.get("mfa_serial"),
    )


def _duration(name: str, text: str) -> int | None:
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"profile [{name}]: duration_seconds is no number of seconds")
    return int(text) if text else None


def _of_name(name: str, named: str) -> ByName:
    for known in get_args(NamedSource):
        if named == known:
            return ByName(source=known)
    raise UsageError(f"profile [{name}]: credential_source is none of {', '.join(get_args(NamedSource))}")


def _of_profile(profiles: Profiles, name: str, source: str, visited: tuple[str, ...]) -> Way:
    """How the keys are to be had that profile ``name`` assumes its role with."""
    if source not in profiles:
        raise UsageError(f"profile [{name}] has the source_profile {source}, which is not in {profiles.where}")
    profile = profile_alone(profiles, source)
    # A profile may be its own source: by keys that stand beside the role.
    if source in visited and not (source == name and _has_keys(said(profile))):
        raise UsageError(f"source_profile goes round in a circle: {' → '.join((*visited, source))}")
    if _has_role(said(profile)) and not _has_keys(said(profile)):
        return _by_role(profiles, profile, (*visited, source))
    way = _by_itself(profiles, profile, {})
    if way is None:
        raise UsageError(f"profile [{source}], the source_profile of [{name}], has no keys")
    return way


def _by_itself(profiles: Profiles, profile: Profile, environ: Mapping[str, str]) -> Way | None:
    """How the keys are to be had that no other profile is needed for."""
    settings = said(profile)
    found = _by_web_identity(profile.name, settings, environ) or _by_sso(profiles, profile)
    if found is not None:
        return found
    credentials = keys_of(profile.credentials, f"profile [{profile.name}] in {profiles.where}")
    config = keys_of(profile.config, f"profile [{profile.name}] in {profiles.where}")
    if not credentials.complete and (command := settings.get("credential_process")):
        return ByProcess(command=command)
    keys = choose(credentials, config)
    return Written(profile=profile.name, keys=keys) if keys.complete else None


def _by_web_identity(name: str, settings: Mapping[str, str], environ: Mapping[str, str]) -> ByWebIdentity | None:
    def setting(name: str) -> str | None:
        return environ.get(_FROM_ENVIRONMENT[name]) or settings.get(name)

    token_file, role_arn = setting("web_identity_token_file"), setting("role_arn")
    if token_file is None:
        return None
    if role_arn is None:
        raise UsageError(
            f"there is a web identity token in {token_file}, but no role to assume with it:"
            f" AWS_ROLE_ARN, or role_arn in profile [{name}]"
        )
    return ByWebIdentity(token_file=token_file, role_arn=role_arn, session_name=setting("role_session_name"))


def _by_sso(profiles: Profiles, profile: Profile) -> BySSO | None:
    settings, name = said(profile), profile.name
    if not any(setting in settings for setting in _SSO_PROFILE):
        return None
    session = settings.get("sso_session", "")
    if session and session not in profiles.sso_sessions:
        raise UsageError(f"profile [{name}] names [sso-session {session}], which is not in {profiles.where}")
    for setting, value in profile.sso_session.items():
        if settings.get(setting, value) != value:
            raise UsageError(f"profile [{name}] and [sso-session {session}] do not agree on {setting}")
    merged = {**settings, **profile.sso_session}
    if missing := [setting for setting in _SSO if not merged.get(setting)]:
        raise UsageError(f"profile [{name}] is to sign on through SSO, but has no {', '.join(missing)}")
    return BySSO(
        profile=name,
        start_url=merged["sso_start_url"],
        region=merged["sso_region"],
        account_id=merged["sso_account_id"],
        role_name=merged["sso_role_name"],
        session=session,
    )
