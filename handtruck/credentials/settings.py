"""Where the endpoint is, as the environment and the config files say: region, URL, and what sort of hosts.

It stands beside the credentials because it comes out of the same files. Of each setting the first that is there holds,
the environment's before the profile's; what is blank is not there. ``_NAMES`` has them all.

Source: https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, cast, get_args

from ..errors import UsageError
from ..models.identity import Secret
from ..protocol.address import Addressing, has_userinfo, parse_endpoint
from ..protocol.hosts import AwsHosts, CustomHosts
from .base import environment
from .profiles import parse_nested, profile_alone, profile_name, read_profiles

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from ..protocol.hosts import Hosts
    from .profiles import Profile, Profiles


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was found; the defaults where nothing was.

    Attributes:
        region: to sign for, and to choose hosts by; None: nothing is said.
        endpoint_url: of a server that is to be used in the place of AWS's hosts; None: of none.
        addressing: where the bucket stands: ``"path"``, ``"virtual"`` (in the host), ``"auto"``.
        dual_stack: use AWS's hosts that have addresses of IPv6, too.
        fips: use AWS's hosts that follow FIPS 140.
        accelerate: use S3 Transfer Acceleration.
        use_arn_region: the region of an access point's ARN may be another than the client's.
        express_sessions: sign for directory buckets with the keys of sessions.
    """

    region: str | None = None
    endpoint_url: str | None = None
    addressing: Addressing = "auto"
    dual_stack: bool = False
    fips: bool = False
    accelerate: bool = False
    use_arn_region: bool = True
    express_sessions: bool = True


_NAMES: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]]] = {
    "region": (("AWS_REGION", "AWS_DEFAULT_REGION"), ("region",), ()),
    "ignore_url": (("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",), ("ignore_configured_endpoint_urls",), ()),
    "addressing": ((), (), ("addressing_style",)),
    "s3_dual_stack": ((), (), ("use_dualstack_endpoint",)),
    "dual_stack": (("AWS_USE_DUALSTACK_ENDPOINT",), ("use_dualstack_endpoint",), ()),
    "fips": (("AWS_USE_FIPS_ENDPOINT",), ("use_fips_endpoint",), ()),
    "accelerate": ((), (), ("use_accelerate_endpoint",)),
    "use_arn_region": (("AWS_S3_USE_ARN_REGION",), ("s3_use_arn_region",), ("use_arn_region",)),
    "own_keys": (("AWS_S3_DISABLE_EXPRESS_SESSION_AUTH",), ("s3_disable_express_session_auth",), ()),
}
"""Of each setting: variables, names in a profile, names in its ``s3 =`` block."""

_URLS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What was written, not yet understood; of each setting where it stands, and the text.

    Attributes:
        found: by the name of the setting.
        url: where the endpoint's URL stands, and the URL: it may hold a password that does not belong there.
        services: the ``[services]`` section that would say where the endpoint is, and is missing.
    """

    found: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    url: tuple[str, Secret] | None = None
    services: str | None = None


async def read_settings(
    *,
    environ: Mapping[str, str] | None = None,
    profile: str | None = None,
    credentials_path: str | os.PathLike[str] | None = None,
    config_path: str | os.PathLike[str] | None = None,
) -> Settings:
    """The settings of the environment and of a profile; the files are read in a worker thread.

    Args:
        environ: read instead of the process's environment.
        profile: the profile's name. Default: ``AWS_DEFAULT_PROFILE``, else ``AWS_PROFILE``, else ``default``.
        credentials_path: else ``AWS_SHARED_CREDENTIALS_FILE``, else ``~/.aws/credentials``.
        config_path: else ``AWS_CONFIG_FILE``, else ``~/.aws/config``.

    Raises:
        UsageError: a file cannot be read or parsed, there is no such profile, or a setting makes no sense. The
            message says where it stands; it shows no URL.
    """
    environ = environment(environ)  # as it was given it would show in a traceback, with its secrets
    profiles = await read_profiles(credentials_path, config_path, environ)
    name = profile or profile_name(environ)
    texts = texts_of(environ, profiles, name)
    missing, where = name not in profiles, profiles.where
    del profiles  # their URLs may hold passwords
    if profile and missing:
        raise UsageError(f"there is no profile [{name}] in {where}")
    return settings_of(texts)


def texts_of(environ: Mapping[str, str], profiles: Profiles, name: str) -> Texts:
    """What is written about a profile's settings. Raises nothing: an environment holds secrets."""
    profile = profile_alone(profiles, name)
    found = {setting: first for setting in _NAMES if (first := next(_written(setting, environ, profile), None))}
    url = next(_urls(environ, profiles, profile), None)
    services = profile.settings.get("services", "")
    missing = services if services and services not in profiles.services else None
    return Texts(found=found, url=url, services=missing)


def _written(setting: str, environ: Mapping[str, str], profile: Profile) -> Iterator[tuple[str, str]]:
    variables, names, nested = _NAMES[setting]
    where = f"profile [{profile.name}]"
    block = profile.nested("s3") if nested else {}
    for name in variables:
        if environ.get(name):
            yield name, environ[name]
    for name in names:
        if profile.settings.get(name):
            yield f"{name} in {where}", profile.settings[name]
    for name in nested:
        if block.get(name):
            yield f"s3, {name} in {where}", block[name]


def _urls(environ: Mapping[str, str], profiles: Profiles, profile: Profile) -> Iterator[tuple[str, Secret]]:
    for name in _URLS:
        if environ.get(name):
            yield name, Secret(environ[name])
    section = profile.settings.get("services", "")
    said = parse_nested(profiles.services.get(section, {}).get("s3", "")).get("endpoint_url")
    if said:
        yield f"s3, endpoint_url in [services {section}]", Secret(said)
    if profile.settings.get("endpoint_url"):
        yield f"endpoint_url in profile [{profile.name}]", Secret(profile.settings["endpoint_url"])


def settings_of(texts: Texts) -> Settings:
    """What was written, understood.

    Raises:
        UsageError: something makes no sense; the message says where it stands.
    """
    found = texts.found
    addressing = found.get("addressing", ("", "auto"))
    if addressing[1] not in get_args(Addressing):
        raise UsageError(f"{addressing[0]} must be auto, path or virtual, not {addressing[1]!r:.40}")
    url = None if _flag(found, "ignore_url", default=False) else _url(texts)
    return Settings(
        region=found["region"][1] if "region" in found else None,
        endpoint_url=url,
        addressing=cast("Addressing", addressing[1]),
        dual_stack=_flag(found, "s3_dual_stack", default=False) or _flag(found, "dual_stack", default=False),
        fips=_flag(found, "fips", default=False),
        accelerate=_flag(found, "accelerate", default=False),
        use_arn_region=_flag(found, "use_arn_region", default=True),
        express_sessions=not _flag(found, "own_keys", default=False),
    )


def _flag(found: Mapping[str, tuple[str, str]], setting: str, *, default: bool) -> bool:
    if setting not in found:
        return default
    where, text = found[setting]
    if text.lower() not in ("true", "false"):
        raise UsageError(f"{where} must be true or false, not {text!r:.40}")
    return text.lower() == "true"


def _url(texts: Texts) -> str | None:
    """The endpoint's URL, if there is one that can be used."""
    from_environment = texts.url is not None and texts.url[0] in _URLS
    if texts.services is not None and not from_environment:
        raise UsageError(f"the profile names [services {texts.services}], which is not in the config file")
    if texts.url is None:
        return None
    where, url = texts.url
    fault = _fault(url)
    if fault:
        raise UsageError(f"{where}: {fault}")
    return str(url)


def _fault(url: Secret) -> str | None:
    """Why a URL cannot be an endpoint's: nothing of it is shown."""
    try:
        if has_userinfo(url):
            return "the endpoint URL must have no user and no password: keys have settings of their own"
        parse_endpoint(url)
    except UsageError as error:
        return str(error)
    return None


def hosts_of(settings: Settings, addressing: Addressing = "auto") -> Hosts:
    """Where requests go: to AWS's hosts, or to the server whose URL was found.

    What is said of AWS's hosts (``dual_stack``, ``fips``) says nothing of another server, and is passed over.

    Args:
        settings: what was found.
        addressing: goes before what was found, if it is not ``"auto"``.

    Raises:
        UsageError: ``accelerate`` with a URL, with ``fips`` or with path style.
    """
    wanted = settings.addressing if addressing == "auto" else addressing
    if settings.endpoint_url is None:
        return AwsHosts(
            dual_stack=settings.dual_stack,
            fips=settings.fips,
            accelerate=settings.accelerate,
            addressing=wanted,
            use_arn_region=settings.use_arn_region,
            express_sessions=settings.express_sessions,
        )
    if settings.accelerate:
        raise UsageError("S3 Transfer Acceleration is AWS's: it does not go with an endpoint URL")
    endpoint = parse_endpoint(settings.endpoint_url)
    return CustomHosts(
        origin=endpoint.origin,
        path=endpoint.path,
        addressing=wanted,
        use_arn_region=settings.use_arn_region,
        express_sessions=settings.express_sessions,
    )
