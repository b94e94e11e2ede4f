"""botocore as the oracle: from the same files and the same environment, the same keys, token and region.

Where ours differs on purpose, the case is in DIFFERENCES, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import pytest
from botocore.exceptions import ConfigParseError, PartialCredentialsError, ProfileNotFound
from botocore.session import Session

from handtruck.credentials import AbstractCredentials, collect_credentials
from handtruck.credentials.chain import ChainedCredentials
from handtruck.credentials.files import ConfigCredentials
from handtruck.credentials.static import EnvironmentCredentials
from handtruck.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

_Answer = tuple[str, str, str | None, str | None] | str | None

_KEYS: Final = "aws_access_key_id = {0}\naws_secret_access_key = {0}-secret\n"
_ENV_KEYS: Final = {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env-secret"}
_SourceOf = Callable[[str | None, dict[str, str]], AbstractCredentials]
_METHODS: Final = ("env", "shared-credentials-file", "config-file")
_VARIABLES: Final = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"),
    *("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CREDENTIAL_EXPIRATION"),
)


def keys(name: str, token: str = "", region: str = "") -> str:
    """The settings of a section."""
    text = _KEYS.format(name)
    text += f"aws_session_token = {token}\n" if token else ""
    return text + (f"region = {region}\n" if region else "")


@dataclass(frozen=True, kw_only=True)
class Case:
    credentials: str = ""
    config: str = ""
    env: dict[str, str] = field(default_factory=dict)
    profile: str | None = None


_TWO: Final = "[default]\n" + keys("d", region="rd") + "[b]\n" + keys("b", "tb", "rb")

CASES: Final = {
    "nothing": Case(),
    "default in credentials": Case(credentials="[default]\n" + keys("a", "t", "r")),
    "default in config": Case(config="[default]\n" + keys("a", "t", "r")),
    "profile default in config": Case(config="[profile default]\n" + keys("a", "t", "r")),
    "default and profile default": Case(config=f"[default]\n{keys('a')}\n[profile default]\n{keys('b')}"),
    "profile default and default": Case(config=f"[profile default]\n{keys('b')}\n[default]\n{keys('a')}"),
    "keys in one, region in the other": Case(credentials="[default]\n" + keys("a"), config="[default]\nregion = r\n"),
    "both have keys": Case(credentials=f"[default]\n{keys('a')}", config=f"[default]\n{keys('b', 'tb', 'rb')}"),
    "both have regions": Case(credentials=f"[default]\n{keys('a', '', 'ra')}", config="[default]\nregion = rb\n"),
    "AWS_PROFILE": Case(credentials=_TWO, env={"AWS_PROFILE": "b"}),
    "AWS_DEFAULT_PROFILE": Case(credentials=_TWO, env={"AWS_DEFAULT_PROFILE": "b"}),
    "both profile variables": Case(credentials=_TWO, env={"AWS_PROFILE": "default", "AWS_DEFAULT_PROFILE": "b"}),
    "AWS_PROFILE in config": Case(config=f"[profile b]\n{keys('b', 'tb', 'rb')}", env={"AWS_PROFILE": "b"}),
    "quoted profile": Case(config=f'[profile "b c"]\n{keys("b")}', env={"AWS_PROFILE": "b c"}),
    "profile by argument": Case(credentials=_TWO, profile="b", env={"AWS_PROFILE": "default"}),
    "profile by argument in config": Case(config=f"[profile b]\n{keys('b', 'tb', 'rb')}", profile="b"),
    "profile by argument is missing": Case(credentials=_TWO, profile="c"),
    "a section of config that is no profile": Case(config=f"[b]\n{keys('b')}", profile="b"),
    "profile prefix in credentials": Case(credentials=f"[profile b]\n{keys('b')}", profile="b"),
    "keys of the environment": Case(env=_ENV_KEYS | {"AWS_SESSION_TOKEN": "t", "AWS_DEFAULT_REGION": "r"}),
    "environment before files": Case(env=_ENV_KEYS, credentials=_TWO),
    "environment's keys, files' region": Case(env=_ENV_KEYS, config="[default]\nregion = r\n"),
    "environment's keys, profile's region": Case(env=_ENV_KEYS | {"AWS_PROFILE": "b"}, credentials=_TWO),
    "environment's region, files' keys": Case(env={"AWS_DEFAULT_REGION": "r"}, credentials=_TWO),
    "a token alone in the environment": Case(env={"AWS_SESSION_TOKEN": "t"}, credentials=_TWO),
    "a secret alone in the environment": Case(env={"AWS_SECRET_ACCESS_KEY": "t"}, credentials=_TWO),
    "comments": Case(credentials=f"# c\n[default] ; c\n; c\n{keys('a')}region = r # kept ; kept\n"),
    "colons, capitals, blanks": Case(
        credentials="[default]\nAWS_ACCESS_KEY_ID : a\n\n  \naws_secret_access_key=  b=c:d  \nRegion=r\n"
    ),
    "percent and dollar": Case(credentials="[default]\naws_access_key_id = %(a)s\naws_secret_access_key = ${b}%\n"),
    "nested settings": Case(
        config="[default]\ns3 =\n  max_concurrent_requests = 20\n  region = nested\n" + keys("a", "", "r")
    ),
    "nested settings with our names": Case(
        config="[default]\nx =\n  aws_access_key_id = nested\n" + keys("a", "t", "r")
    ),
    "DEFAULT is inherited": Case(credentials=f"[DEFAULT]\nregion = r\n[default]\n{keys('a')}"),
    "windows": Case(credentials=("[default]\n" + keys("a", "t", "r")).replace("\n", "\r\n")),
    "other sections": Case(config=f"[sso-session x]\nsso_region = r\n[services y]\n[default]\n{keys('a')}[plugins]\n"),
    "section twice": Case(credentials=f"[default]\n{keys('a')}[default]\n{keys('b')}"),
    "setting twice": Case(credentials=f"[default]\n{keys('a')}{keys('a')}"),
    "no section": Case(config=keys("a")),
    "no setting": Case(config="[default]\nregion\n"),
    "a broken config beside good credentials": Case(credentials=_TWO, config="nonsense"),
}


@dataclass(frozen=True, kw_only=True)
class Difference(Case):
    theirs: _Answer
    ours: _Answer
    reason: str


_A: Final = ("a", "a-secret", None, None)

DIFFERENCES: Final = {
    "AWS_REGION": Difference(
        env={"AWS_REGION": "r"},
        credentials=f"[default]\n{keys('a')}",
        theirs=_A,
        ours=("a", "a-secret", None, "r"),
        reason="every other AWS SDK reads it, Lambda sets it; botocore only knows AWS_DEFAULT_REGION",
    ),
    "AWS_SECURITY_TOKEN": Difference(
        env=_ENV_KEYS | {"AWS_SECURITY_TOKEN": "t"},
        theirs=("env", "env-secret", "t", None),
        ours=("env", "env-secret", None, None),
        reason="the name of before 2013; AWS documents AWS_SESSION_TOKEN alone",
    ),
    "aws_security_token": Difference(
        credentials=f"[default]\n{keys('a')}aws_security_token = t\n",
        theirs=("a", "a-secret", "t", None),
        ours=_A,
        reason="the same, in files",
    ),
    "half a credential in the environment": Difference(
        env={"AWS_ACCESS_KEY_ID": "env"},
        credentials=f"[default]\n{keys('a')}",
        theirs="error",
        ours=_A,
        reason="a source yields a whole credential or nothing, so the next one is asked",
    ),
    "half a credential in the credentials file": Difference(
        credentials="[default]\naws_access_key_id = half\n",
        config=f"[default]\n{keys('a')}",
        theirs="error",
        ours=_A,
        reason="the same, between the two files",
    ),
    "AWS_PROFILE is missing": Difference(
        env={"AWS_PROFILE": "b"},
        credentials=f"[default]\n{keys('a')}",
        theirs="error",
        ours=None,
        reason="the variable may be meant for other tools; the error for no credentials names the profile",
    ),
    "blank token": Difference(
        credentials=f"[default]\n{keys('a')}aws_session_token =\nregion =\n",
        theirs=("a", "a-secret", "", ""),
        ours=_A,
        reason="blank is not there",
    ),
    "blank AWS_PROFILE": Difference(
        env={"AWS_PROFILE": ""},
        credentials=f"[default]\n{keys('a')}",
        theirs="error",
        ours=_A,
        reason="blank is not there",
    ),
    "profiles b": Difference(
        config=f"[profiles b]\n{keys('a')}",
        profile="b",
        theirs=_A,
        ours="error",
        reason="botocore takes any section that begins with the letters; AWS documents [profile NAME]",
    ),
    "byte order mark": Difference(
        credentials=f"\ufeff[default]\n{keys('a')}",
        theirs="error",
        ours=_A,
        reason="Windows editors write it",
    ),
    "nested lines that are no settings": Difference(
        config=f"[default]\ns3 =\n  nonsense\n{keys('a')}",
        theirs="error",
        ours=_A,
        reason="we do not read them",
    ),
    "a key over two lines": Difference(
        credentials="[default]\naws_secret_access_key = s\naws_access_key_id = a\n  b\n",
        theirs=("a\nb", "s", None, None),
        ours="error",
        reason="an indented next line would put the secret into the key id, which is printed",
    ),
}


@pytest.fixture(name="environ")
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    files = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    for name, value in files.items():
        monkeypatch.setenv(name, value)
    return files


def write(case: Case, tmp_path: Path) -> None:
    for name in ("credentials", "config"):
        if text := getattr(case, name):
            (tmp_path / name).write_bytes(text.encode())


def theirs(case: Case, monkeypatch: pytest.MonkeyPatch) -> _Answer:
    """Botocore's key, secret, token, region; "error" where it raises."""
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    try:
        session = Session(profile=case.profile)
        resolver = session.get_component("credential_provider")
        resolver.providers = [one for one in resolver.providers if one.METHOD in _METHODS]
        found = session.get_credentials()
        region = session.get_config_variable("region")
    except (ConfigParseError, PartialCredentialsError, ProfileNotFound):
        return "error"
    return found and (found.access_key, found.secret_key, found.token, region)


def default_chain(profile: str | None, environ: dict[str, str]) -> AbstractCredentials:
    """What a client asks by itself."""
    return collect_credentials(profile=profile, environ=environ | {"AWS_EC2_METADATA_DISABLED": "true"})


def files_alone(profile: str | None, environ: dict[str, str]) -> AbstractCredentials:
    """Environment, then the keys that stand in files; these alone where a profile is named."""
    if profile is not None:
        return ConfigCredentials(profile=profile, environ=environ)
    return ChainedCredentials([EnvironmentCredentials(environ=environ), ConfigCredentials(environ=environ)])


_SOURCES: Final = (default_chain, files_alone)


def ours(case: Case, environ: dict[str, str], source_of: _SourceOf) -> _Answer:
    source = source_of(case.profile, environ | case.env)
    try:
        found = anyio.run(source.get)
    except UsageError:
        return "error"
    if found is None:
        return None
    return found.access_key_id, found.secret_access_key, found.session_token, found.region


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_botocore(
    name: str, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(CASES[name], tmp_path)
    expected = theirs(CASES[name], monkeypatch)
    for source_of in _SOURCES:
        assert ours(CASES[name], environ, source_of) == expected


@pytest.mark.parametrize("name", DIFFERENCES)
def test_different_for_a_reason(
    name: str, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = DIFFERENCES[name]
    write(case, tmp_path)
    for source_of in _SOURCES:
        assert (ours(case, environ, source_of), theirs(case, monkeypatch)) == (case.ours, case.theirs), case.reason
    assert case.ours != case.theirs


def test_the_corpus_finds_keys() -> None:
    """Against two implementations that agree on finding nothing."""
    assert len(CASES) > 35
