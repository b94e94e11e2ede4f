"""botocore as the oracle: which way a profile's keys are to be had, and what is asked of whom.

No request leaves: both sides ask stand-ins, which give keys whose id tells what was asked. Where ours differs on
purpose, the case is in DIFFERENCES, with the reason.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from botocore import credentials as theirs_module
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from handtruck.credentials import collect_credentials, profile_keys, ways
from handtruck.credentials.base import AbstractCredentials
from handtruck.credentials.security_tokens import SecurityTokenService
from handtruck.errors import UsageError
from handtruck.models import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

END: Final = datetime(2999, 1, 1, tzinfo=UTC)
ARN: Final = "arn:aws:iam::123456789012:role/"
_TOLD: Final = ("RoleSessionName", "ExternalId", "DurationSeconds", "SerialNumber", "TokenCode", "WebIdentityToken")
_LEFT_OUT: Final = ("login", "ec2-credentials-file", "boto-config", "container-role", "iam-role")


def keys(name: str) -> str:
    return f"aws_access_key_id = {name}\naws_secret_access_key = {name}-secret\n"


def process(name: str) -> str:
    document = f'{{"Version": 1, "AccessKeyId": "{name}", "SecretAccessKey": "s"}}'
    return f"credential_process = echo {shlex.quote(document)}\n"


def role(name: str, **settings: str) -> str:
    return f"role_arn = {ARN}{name}\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())


def asked(action: str, fields: Mapping[str, object], by: str | None) -> str:
    """What was asked, as a key id."""
    said = [f"{name}={fields[name]}" for name in _TOLD if fields.get(name) is not None]
    said = [
        "RoleSessionName" if one.startswith(("RoleSessionName=botocore", "RoleSessionName=hand")) else one
        for one in said
    ]
    return f"{action}({str(fields['RoleArn']).removeprefix(ARN)} by {by}: {' '.join(said)})".replace(" ", "_")


@dataclass(frozen=True, kw_only=True)
class Case:
    credentials: str = ""
    config: str = ""
    env: dict[str, str] = field(default_factory=dict)
    profile: str | None = None


_WEB_ENV: Final = {"AWS_WEB_IDENTITY_TOKEN_FILE": "{token}", "AWS_ROLE_ARN": f"{ARN}env"}
_ENV_KEYS: Final = {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "env-secret"}
_WEB: Final = role("web", web_identity_token_file="{token}")
_SSO: Final = "sso_account_id = 1\nsso_role_name = r\n"
_SESSION: Final = "[sso-session s]\nsso_start_url = https://start\nsso_region = sr\nsso_registration_scopes = x\n"
_LEGACY: Final = "sso_start_url = https://start\nsso_region = sr\n"
_EVERYTHING: Final = role("r", source_profile="base") + _SSO + _LEGACY + process("process") + keys("config")

CASES: Final = {
    # A role by another profile.
    "source profile": Case(config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{keys('b')}"),
    "source profile in the credentials file": Case(
        config=f"[default]\n{role('a', source_profile='b')}", credentials=f"[b]\n{keys('b')}"
    ),
    "the role in the credentials file": Case(credentials=f"[default]\n{role('a', source_profile='b')}[b]\n{keys('b')}"),
    "half a role in each file": Case(
        config="[default]\nsource_profile = b\n", credentials=f"[default]\n{role('a')}[b]\n{keys('b')}"
    ),
    "both files have a role": Case(
        config=f"[default]\n{role('config', source_profile='b')}",
        credentials=f"[default]\n{role('credentials', source_profile='b')}[b]\n{keys('b')}",
    ),
    "all the settings of a role": Case(
        config=f"[default]\n{role('a', source_profile='b', external_id='x', role_session_name='me')}"
        f"duration_seconds = 1800\nmfa_serial = arn:aws:iam::1:mfa/m\n[profile b]\n{keys('b')}"
    ),
    "a chain of three": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{role('b', source_profile='c')}"
        f"[profile c]\n{role('c', source_profile='d', external_id='x')}[profile d]\n{keys('d')}"
    ),
    "its own source": Case(config=f"[default]\n{role('a', source_profile='default')}{keys('d')}"),
    "its own source, keys in the other file": Case(
        config=f"[profile a]\n{role('a', source_profile='a')}", credentials=f"[a]\n{keys('a')}", profile="a"
    ),
    "its own source without keys": Case(config=f"[default]\n{role('a', source_profile='default')}"),
    "a circle of two": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{role('b', source_profile='default')}"
    ),
    "a circle further on": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{role('b', source_profile='c')}"
        f"[profile c]\n{role('c', source_profile='b')}"
    ),
    "a source's keys go before its role": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{role('b', source_profile='c')}{keys('b')}"
        f"[profile c]\n{keys('c')}"
    ),
    "a source that is its own source": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{role('b', source_profile='b')}{keys('b')}"
    ),
    "a source that is not there": Case(config=f"[default]\n{role('a', source_profile='b')}"),
    "a source without keys": Case(config=f"[default]\n{role('a', source_profile='b')}[profile b]\nregion = r\n"),
    "a role without a source": Case(config=f"[default]\n{role('a')}"),
    "a role with two sources": Case(
        config=f"[default]\n{role('a', source_profile='b', credential_source='Environment')}[profile b]\n{keys('b')}"
    ),
    "a source by process": Case(config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{process('p')}"),
    "a source by web identity": Case(config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{_WEB}"),
    "a source by single sign-on": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\nsso_session = s\n{_SSO}{_SESSION}"
    ),
    "a source profile for web identity ignores the environment": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{_WEB}", env=_WEB_ENV
    ),
    "a role and keys beside it": Case(
        config=f"[default]\n{role('a', source_profile='b')}{keys('d')}[profile b]\n{keys('b')}"
    ),
    "a role and a process beside it": Case(
        config=f"[default]\n{role('a', source_profile='b')}{process('p')}[profile b]\n{keys('b')}"
    ),
    "the environment's keys before a role": Case(
        config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{keys('b')}", env=_ENV_KEYS
    ),
    "a profile by name before the environment's keys": Case(
        config=f"[profile a]\n{role('a', source_profile='b')}[profile b]\n{keys('b')}", env=_ENV_KEYS, profile="a"
    ),
    "AWS_PROFILE's role": Case(
        config=f"[profile a]\n{role('a', source_profile='b c')}[profile 'b c']\n{keys('b')}", env={"AWS_PROFILE": "a"}
    ),
    # A role by a source that has a name.
    **{
        f"credential_source {name}": Case(config=f"[default]\n{role('a', credential_source=name)}", env=_ENV_KEYS)
        for name in ("Environment", "Ec2InstanceMetadata", "EcsContainer", "environment", "Nowhere")
    },
    **{
        f"credential_source {name} by name": Case(
            config=f"[profile a]\n{role('a', credential_source=name)}", env=_ENV_KEYS, profile="a"
        )
        for name in ("Environment", "Ec2InstanceMetadata", "EcsContainer", "environment", "Nowhere")
    },
    "credential_source without keys": Case(
        config=f"[profile a]\n{role('a', credential_source='Environment')}", profile="a"
    ),
    # Web identity.
    "web identity": Case(config=f"[default]\n{_WEB}role_session_name = me\n"),
    "web identity of the environment": Case(env=_WEB_ENV | {"AWS_ROLE_SESSION_NAME": "me"}),
    "web identity of the environment before the profile's": Case(env=_WEB_ENV, config=f"[default]\n{_WEB}"),
    "web identity of the environment before keys": Case(env=_WEB_ENV, credentials=f"[default]\n{keys('d')}"),
    "the environment's keys before its web identity": Case(env=_WEB_ENV | _ENV_KEYS),
    "a role with a source before web identity of the environment": Case(
        env=_WEB_ENV, config=f"[default]\n{role('a', source_profile='b')}[profile b]\n{keys('b')}"
    ),
    "a profile by name ignores the environment's web identity": Case(
        env=_WEB_ENV, config=f"[profile a]\n{keys('a')}", profile="a"
    ),
    "the environment's role, the profile's token": Case(env={"AWS_ROLE_ARN": f"{ARN}env"}, config=f"[default]\n{_WEB}"),
    "the environment's token, the profile's role": Case(
        env={"AWS_WEB_IDENTITY_TOKEN_FILE": "{token}"}, config=f"[default]\n{_WEB}role_session_name = me\n"
    ),
    "a token without a role": Case(env={"AWS_WEB_IDENTITY_TOKEN_FILE": "{token}"}),
    "a role of the environment without a token": Case(
        env={"AWS_ROLE_ARN": f"{ARN}env"}, config=f"[default]\n{keys('d')}"
    ),
    "web identity and a source profile": Case(config=f"[default]\n{_WEB}source_profile = b\n[profile b]\n{keys('b')}"),
    "web identity before single sign-on, keys, process": Case(
        config=f"[default]\n{_WEB}{_SSO}{_LEGACY}{process('p')}{keys('d')}"
    ),
    # Single sign-on.
    "single sign-on": Case(config=f"[default]\nsso_session = s\n{_SSO}{_SESSION}"),
    "single sign-on without a session": Case(config=f"[default]\n{_SSO}{_LEGACY}"),
    "single sign-on, settings in both": Case(config=f"[default]\nsso_session = s\n{_SSO}{_LEGACY}{_SESSION}"),
    "single sign-on, settings that disagree": Case(
        config=f"[default]\nsso_session = s\nsso_region = other\n{_SSO}{_SESSION}"
    ),
    "single sign-on, no such session": Case(config=f"[default]\nsso_session = t\n{_SSO}{_SESSION}"),
    "single sign-on, half": Case(config=f"[default]\nsso_account_id = 1\n{_LEGACY}"),
    "single sign-on, a session alone": Case(config=f"[default]\nsso_session = s\n{keys('d')}{_SESSION}"),
    "single sign-on, a missing session alone": Case(config=f"[default]\nsso_session = t\n{keys('d')}"),
    "single sign-on, quoted session": Case(
        config=f"[default]\nsso_session = a b\n{_SSO}[sso-session 'a b']\n{_LEGACY}"
    ),
    "single sign-on before keys and process": Case(
        config=f"[default]\n{_SSO}{_LEGACY}{process('p')}", credentials=f"[default]\n{keys('d')}"
    ),
    # The rest, and the order of it all.
    "a process": Case(config=f"[default]\n{process('p')}"),
    "a process in the credentials file": Case(credentials=f"[default]\n{process('p')}"),
    "a process before the config file's keys": Case(config=f"[default]\n{process('p')}{keys('d')}"),
    "the credentials file's keys before a process": Case(
        config=f"[default]\n{process('p')}", credentials=f"[default]\n{keys('d')}"
    ),
    "everything": Case(
        config=f"[default]\n{_EVERYTHING}[profile base]\n{_EVERYTHING}", credentials=f"[base]\n{keys('x')}"
    ),
    "everything but a role": Case(config=f"[default]\n{_SSO}{_LEGACY}{process('p')}{keys('d')}"),
    "capitals": Case(config=f"[default]\nROLE_ARN = {ARN}a\nSource_Profile = b\n[profile b]\n{keys('b')}"),
    "comments": Case(config=f"[default]\n# c\n{role('a', source_profile='b')}; c\n[profile b] ; c\n{keys('b')}"),
    "a nested block beside a role": Case(
        config=f"[default]\ns3 =\n  role_arn = {ARN}nested\n{role('a', source_profile='b')}[profile b]\n{keys('b')}"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Difference(Case):
    theirs: str | None
    ours: str | None
    reason: str


DIFFERENCES: Final = {
    "a duration that is no number": Difference(
        config=f"[default]\n{role('a', source_profile='b', duration_seconds='1h')}[profile b]\n{keys('b')}",
        theirs="AssumeRole(a_by_b:_RoleSessionName)",
        ours="error",
        reason="botocore leaves it out, and the keys last another time than was asked for",
    ),
    "blank settings": Difference(
        config=f"[default]\nrole_arn =\ncredential_process =\n{keys('d')}",
        theirs="error",
        ours="d",
        reason="blank is not there",
    ),
    "a blank variable beside the profile's web identity": Difference(
        config=f"[default]\n{_WEB}",
        env={"AWS_WEB_IDENTITY_TOKEN_FILE": ""},
        theirs=None,
        ours="AssumeRoleWithWebIdentity(web_by_None:_RoleSessionName_WebIdentityToken=the-token)",
        reason="blank is not there",
    ),
    "half a credential before a process": Difference(
        config=f"[default]\n{process('p')}",
        credentials="[default]\naws_access_key_id = half\n",
        theirs="error",
        ours="p",
        reason="a source yields a whole credential or nothing, so the next one is asked",
    ),
    "a role over two lines": Difference(
        config=f"[default]\n{role('a')}  source_profile = b\n[profile b]\n{keys('b')}",
        theirs="error",
        ours="error",
        reason="botocore misses the source; we name the indented line",
    ),
    "a setting over two lines": Difference(
        config=f"[default]\n{role('a', source_profile='b', external_id='x')}  y\n[profile b]\n{keys('b')}",
        theirs="AssumeRole(a_by_b:_RoleSessionName_ExternalId=x\ny)",
        ours="error",
        reason="an indented next line may be a secret that would be sent as something else",
    ),
}


@pytest.fixture(name="environ")
def _environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The two files' paths, in both environments; and stand-ins for whoever would be asked."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    files = {
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    for name, value in files.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "token").write_text("the-token")
    stand_in_theirs(monkeypatch)
    stand_in_ours(monkeypatch)
    return files | {"PATH": os.environ["PATH"]}


class TheirSTS:
    def __init__(self, _: str, aws_access_key_id: str | None = None, **__: object) -> None:
        self._by = aws_access_key_id

    def _keys(self, action: str, fields: Mapping[str, object]) -> dict[str, Any]:
        found = {"AccessKeyId": asked(action, fields, self._by), "SecretAccessKey": "s", "SessionToken": "t"}
        return {"Credentials": found | {"Expiration": END}}

    def assume_role(self, **fields: object) -> dict[str, Any]:
        return self._keys("AssumeRole", fields)

    def assume_role_with_web_identity(self, **fields: object) -> dict[str, Any]:
        return self._keys("AssumeRoleWithWebIdentity", fields)


def sso(start_url: str, region: str, account_id: str, role_name: str, session: str | None) -> str:
    return f"SSO({start_url},{region},{account_id},{role_name},{session or None})"


class TheirSSO:
    def __init__(self, **asked: Any) -> None:
        self._asked = asked

    def fetch_credentials(self) -> dict[str, str]:
        told = self._asked
        name = sso(
            told["start_url"], told["sso_region"], told["account_id"], told["role_name"], told.get("sso_session_name")
        )
        return {"access_key": name, "secret_key": "s", "token": "t", "expiry_time": END.isoformat()}


def stand_in_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(theirs_module, "_get_client_creator", lambda *_: TheirSTS)
    monkeypatch.setattr(theirs_module, "SSOCredentialFetcher", TheirSSO)
    for kind, name in (("InstanceMetadataProvider", "metadata"), ("ContainerProvider", "container")):
        found = theirs_module.Credentials(name, "s")
        monkeypatch.setattr(getattr(theirs_module, kind), "load", lambda _, found=found: found)


def stand_in_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async def call(
        service: SecurityTokenService, action: str, fields: Mapping[str, str], keys: Credentials | None = None
    ) -> Credentials:
        name = asked(action, fields, keys.access_key_id if keys else None)
        return Credentials(access_key_id=name, secret_access_key="s", session_token="t", expires_at=END)

    monkeypatch.setattr(SecurityTokenService, "call", call)

    class Told(AbstractCredentials):
        def __init__(self, name: str) -> None:
            self.name = name

        async def load(self, *, rejected: Credentials | None = None) -> Credentials:
            return Credentials(access_key_id=self.name, secret_access_key="s")

    def our_sso(**told: Any) -> Told:
        return Told(sso(told["start_url"], told["sso_region"], told["account_id"], told["role_name"], told["session"]))

    monkeypatch.setattr(profile_keys, "SSOCredentials", our_sso)
    monkeypatch.setattr(profile_keys, "MetadataCredentials", lambda **_: Told("metadata"))
    monkeypatch.setattr(profile_keys, "ContainerCredentials", lambda **_: Told("container"))


def write(case: Case, tmp_path: Path) -> dict[str, str]:
    """The files; and the case's environment."""
    token = str(tmp_path / "token")
    for name in ("credentials", "config"):
        if text := getattr(case, name):
            (tmp_path / name).write_text(text.replace("{token}", token))
    return {name: value.replace("{token}", token) for name, value in case.env.items()}


def theirs(profile: str | None, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Botocore's key id; "error" where it raises."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    try:
        session = Session(profile=profile)
        resolver = session.get_component("credential_provider")
        resolver.providers = [one for one in resolver.providers if one.METHOD not in _LEFT_OUT]
        resolver.get_provider("assume-role")._prompter = lambda _: "123456"
        found = session.get_credentials()
        return found and str(found.get_frozen_credentials().access_key)
    except (BotoCoreError, FileNotFoundError, IndexError):
        return "error"


def ours(profile: str | None, environ: dict[str, str]) -> str | None:
    alone = environ | {"AWS_EC2_METADATA_DISABLED": "true"}
    source = collect_credentials(profile=profile, mfa_token=lambda: "123456", environ=alone)
    try:
        found = anyio.run(source.get)
    except UsageError:
        return "error"
    return found.access_key_id if found else None


@pytest.mark.parametrize("name", CASES)
def test_the_same_way_as_botocore(
    name: str, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    env = write(case, tmp_path)
    assert ours(case.profile, environ | env) == theirs(case.profile, env, monkeypatch)


@pytest.mark.parametrize("name", DIFFERENCES)
def test_another_way_for_a_reason(
    name: str, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = DIFFERENCES[name]
    env = write(case, tmp_path)
    answers = ours(case.profile, environ | env), theirs(case.profile, env, monkeypatch)
    assert answers == (case.ours, case.theirs), case.reason


def test_a_tokens_line_break(tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference, too: botocore sends what an editor put after the token, and the service refuses it."""
    env = write(Case(env=_WEB_ENV), tmp_path)
    (tmp_path / "token").write_text("the-token\n")
    ours_is, theirs_is = ours(None, environ | env), theirs(None, env, monkeypatch)
    assert ours_is == "AssumeRoleWithWebIdentity(env_by_None:_RoleSessionName_WebIdentityToken=the-token)"
    assert theirs_is == ours_is.replace("the-token", "the-token\n")


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        ("_by_web_identity", lambda *_: None),
        ("_by_sso", lambda *_: None),
        ("_has_role", lambda *_: False),
        ("_has_keys", lambda *_: False),
        ("_has_keys", lambda *_: True),
        ("_duration", lambda *_: None),
        ("choose", lambda _, config: config),
    ],
)
def test_the_corpus_sees_a_mutation(
    broken: str, mended: object, tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each decision changes the answer to one case at least."""
    before, after = [], []
    for case in CASES.values():
        for name in ("config", "credentials"):
            (tmp_path / name).unlink(missing_ok=True)
        env = write(case, tmp_path)
        if "credential_process" in case.config + case.credentials:
            continue
        before.append(ours(case.profile, environ | env))
        with monkeypatch.context() as patched:
            patched.setattr(ways, broken, mended)
            after.append(ours(case.profile, environ | env))
    assert before != after


def test_the_corpus_finds_keys(tmp_path: Path, environ: dict[str, str]) -> None:
    """Against two implementations that agree on finding nothing."""
    env = write(CASES["all the settings of a role"], tmp_path)
    assert ours(None, environ | env) == (
        "AssumeRole(a_by_b:_RoleSessionName=me_ExternalId=x_DurationSeconds=1800_"
        "SerialNumber=arn:aws:iam::1:mfa/m_TokenCode=123456)"
    )
    assert len(CASES) >= 70
