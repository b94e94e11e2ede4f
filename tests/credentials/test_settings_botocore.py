"""botocore as the oracle: from the same files and the same environment, the same region, endpoint and sort of hosts.

Every setting we read, in every place where it may stand, against every other place. Where ours differs on purpose, the
case is in DIFFERENCES, with the reason.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from botocore.exceptions import BotoCoreError
from botocore.loaders import create_loader
from botocore.regions import EndpointResolverBuiltins as Builtins
from botocore.session import Session

from handtruck.credentials import settings as module
from handtruck.credentials.settings import hosts_of, read_settings
from handtruck.errors import UsageError
from handtruck.protocol.hosts import AwsHosts, CustomHosts

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a client would go by."""

    region: str | None = None
    endpoint: str | None = None
    path: bool = False
    dual_stack: bool = False
    fips: bool = False
    accelerate: bool = False
    use_arn_region: bool = True
    plain_express: bool = False


@dataclass(frozen=True, kw_only=True)
class Case:
    config: str = ""
    credentials: str = ""
    env: dict[str, str] = field(default_factory=dict)
    profile: str | None = None


_LOADER: Final = create_loader()
"""Reading S3's model takes most of the time that a client does."""


def theirs(case: Case, monkeypatch: pytest.MonkeyPatch) -> Answer | str:
    for name, value in case.env.items():
        monkeypatch.setenv(name, value)
    try:
        session = Session(profile=case.profile)
        session.register_component("data_loader", _LOADER)
        session.set_credentials("AKID", "secret")
        region = session.get_config_variable("region")
        client: Any = session.create_client("s3")
    except (BotoCoreError, ValueError):
        return "error"
    finally:
        for name in case.env:
            monkeypatch.delenv(name)
    told = client._ruleset_resolver._builtins
    return Answer(
        region=region,
        endpoint=told[Builtins.SDK_ENDPOINT],
        path=told[Builtins.AWS_S3_FORCE_PATH_STYLE],
        dual_stack=told[Builtins.AWS_USE_DUALSTACK],
        fips=told[Builtins.AWS_USE_FIPS],
        accelerate=told[Builtins.AWS_S3_ACCELERATE],
        use_arn_region=told[Builtins.AWS_S3_USE_ARN_REGION],
        plain_express=str(told[Builtins.AWS_S3_DISABLE_EXPRESS_SESSION_AUTH]).lower() == "true",
    )


def ours(case: Case, tmp_path: Path) -> Answer | str:
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"), "AWS_CONFIG_FILE": str(tmp_path / "config")}

    async def read() -> Answer:
        settings = await read_settings(environ={**files, **case.env}, profile=case.profile)
        hosts = hosts_of(settings)
        found = Answer(
            region=settings.region,
            endpoint=settings.endpoint_url,
            use_arn_region=settings.use_arn_region,
            plain_express=not settings.express_sessions,
        )
        if isinstance(hosts, CustomHosts):
            return replace(found, path=hosts.addressing != "virtual")
        assert isinstance(hosts, AwsHosts)
        return replace(
            found,
            path=hosts.addressing == "path",
            dual_stack=hosts.dual_stack,
            fips=hosts.fips,
            accelerate=hosts.accelerate,
        )

    try:
        return anyio.run(read)
    except UsageError:
        return "error"


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def write(case: Case, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text(case.credentials)
    (tmp_path / "config").write_text(case.config)


# --- every place against every other


@pytest.mark.parametrize("ignoring", list(itertools.product((None, "true", "false"), repeat=2)), ids=str)
def test_where_the_endpoint_stands(
    ignoring: tuple[str | None, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All sets of the four places, and whether they count."""
    for env_s3, env, services, profile in itertools.product((False, True), repeat=4):
        text = "[default]\nregion = eu-west-1\n"
        text += "services = here\n" if services else ""
        text += "endpoint_url = http://profile:1\n" if profile else ""
        text += f"ignore_configured_endpoint_urls = {ignoring[1]}\n" if ignoring[1] else ""
        text += "[services here]\nsts =\n  endpoint_url = http://sts:1\ns3 =\n  endpoint_url = http://services:1\n"
        variables = {"AWS_ENDPOINT_URL_S3": "http://env-s3:1"} if env_s3 else {}
        variables |= {"AWS_ENDPOINT_URL": "http://env:1"} if env else {}
        variables |= {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": ignoring[0]} if ignoring[0] else {}
        case = Case(config=text, env=variables)
        write(case, tmp_path)
        assert ours(case, tmp_path) == theirs(case, monkeypatch)


_FLAGS: Final = (None, "true", "False")


def setting(name: str, value: str | None, indent: str = "") -> str:
    return f"{indent}{name} = {value}\n" if value else ""


@pytest.mark.parametrize("env", _FLAGS, ids=str)
def test_flags(env: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each flag all values in all places; the flags do not know of one another, so they are tried all at once."""
    for top, block in itertools.product(_FLAGS, repeat=2):
        config = "[default]\nregion = eu-west-1\n"
        config += setting("use_dualstack_endpoint", top) + setting("s3_use_arn_region", top)
        config += setting("use_fips_endpoint", top) + setting("s3_disable_express_session_auth", top)
        config += "s3 =\n  max_concurrent_requests = 20\n"
        config += setting("use_dualstack_endpoint", block, "  ") + setting("use_arn_region", block, "  ")
        names = ("DUALSTACK_ENDPOINT", "FIPS_ENDPOINT")
        variables = {f"AWS_USE_{name}": env for name in names if env}
        variables |= {"AWS_S3_USE_ARN_REGION": env, "AWS_S3_DISABLE_EXPRESS_SESSION_AUTH": env} if env else {}
        case = Case(config=config, env=variables)
        write(case, tmp_path)
        assert ours(case, tmp_path) == theirs(case, monkeypatch)


def test_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for env, credentials, config in itertools.product((False, True), repeat=3):
        case = Case(
            env={"AWS_DEFAULT_REGION": "us-west-1"} if env else {},
            credentials="[default]\nregion = us-west-2\n" if credentials else "",
            config="[default]\nregion = eu-west-1\n" if config else "",
        )
        write(case, tmp_path)
        assert ours(case, tmp_path) == theirs(case, monkeypatch)


# --- single cases

_REGION: Final = "[default]\nregion = eu-west-1\n"
_TWO: Final = "[default]\nregion = eu-west-1\nendpoint_url = http://d:1\n[profile b]\nregion = eu-west-2\n"

CASES: Final = {
    "nothing": Case(),
    "AWS_PROFILE": Case(config=_TWO, env={"AWS_PROFILE": "b"}),
    "AWS_DEFAULT_PROFILE": Case(config=_TWO, env={"AWS_DEFAULT_PROFILE": "b"}),
    "both profile variables": Case(config=_TWO, env={"AWS_PROFILE": "default", "AWS_DEFAULT_PROFILE": "b"}),
    "a profile by argument": Case(config=_TWO, env={"AWS_PROFILE": "default"}, profile="b"),
    "a profile by argument that is missing": Case(config=_TWO, profile="c"),
    "a profile in the credentials file": Case(credentials="[b]\nendpoint_url = http://b:1\nregion = r\n", profile="b"),
    "the credentials file's URL": Case(config=_TWO, credentials="[default]\nendpoint_url = http://c:1\n"),
    "the block of the credentials file": Case(
        config=_REGION + "s3 =\n  addressing_style = path\n  use_dualstack_endpoint = true\n",
        credentials="[default]\ns3 =\n  addressing_style = virtual\n",
    ),
    "addressing path": Case(config=_REGION + "s3 =\n  addressing_style = path\n"),
    "addressing virtual": Case(config=_REGION + "s3 =\n  addressing_style = virtual\n"),
    "addressing auto": Case(config=_REGION + "s3 =\n  addressing_style = auto\n"),
    "a URL": Case(config=_REGION + "endpoint_url = http://d:1/base\n"),
    "a URL and addressing virtual": Case(
        config=_REGION + "endpoint_url = http://d:1\ns3 =\n  addressing_style = virtual\n"
    ),
    "a URL and addressing auto": Case(config=_REGION + "endpoint_url = http://d:1\ns3 =\n  addressing_style = auto\n"),
    "a URL, dual-stack and FIPS": Case(
        config=_REGION + "endpoint_url = http://d:1\nuse_dualstack_endpoint = true\nuse_fips_endpoint = true\n"
    ),
    "accelerate": Case(config=_REGION + "s3 =\n  use_accelerate_endpoint = true\n"),
    "no accelerate": Case(config=_REGION + "s3 =\n  use_accelerate_endpoint = false\n"),
    "accelerate is nobody's but the block's": Case(config=_REGION + "use_accelerate_endpoint = true\n"),
    "services for another service": Case(
        config=_REGION + "endpoint_url = http://d:1\nservices = x\n[services x]\nsts =\n  endpoint_url = http://s:1\n"
    ),
    "services that are missing": Case(config=_REGION + "services = x\n"),
    "services that are missing and not needed": Case(
        config=_REGION + "services = x\n", env={"AWS_ENDPOINT_URL": "http://e:1"}
    ),
    "services that are missing and ignored": Case(
        config=_REGION + "services = x\n", env={"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"}
    ),
    "services of another profile": Case(
        config="[default]\nregion = r\n[profile b]\nservices = x\n[services x]\ns3 =\n  endpoint_url = http://s:1\n"
    ),
    "blank URLs": Case(
        config=_REGION + "endpoint_url = http://d:1\n", env={"AWS_ENDPOINT_URL_S3": "", "AWS_ENDPOINT_URL": ""}
    ),
    "another service's URL": Case(config=_REGION, env={"AWS_ENDPOINT_URL_STS": "http://sts:1"}),
    "nested in capitals": Case(config=_REGION + "S3 =\n  addressing_style = path\n  ADDRESSING_STYLE = virtual\n"),
    "an addressing that is none": Case(config=_REGION + "s3 =\n  addressing_style = pth\n"),
    "broken": Case(config="nonsense"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_botocore(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(CASES[name], tmp_path)
    assert ours(CASES[name], tmp_path) == theirs(CASES[name], monkeypatch)


@dataclass(frozen=True, kw_only=True)
class Difference(Case):
    theirs: Answer | str
    ours: Answer | str
    reason: str


_EU: Final = Answer(region="eu-west-1")

DIFFERENCES: Final = {
    "AWS_REGION": Difference(
        env={"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-west-1"},
        config=_REGION,
        theirs=Answer(region="us-west-1"),
        ours=Answer(region="us-west-2"),
        reason="every other AWS SDK reads it, and first; Lambda sets it; botocore only knows AWS_DEFAULT_REGION",
    ),
    "a blank region": Difference(
        env={"AWS_DEFAULT_REGION": ""},
        config=_REGION,
        theirs="error",
        ours=_EU,
        reason="blank is not there",
    ),
    "a blank flag": Difference(
        env={"AWS_USE_FIPS_ENDPOINT": ""},
        config=_REGION + "use_fips_endpoint = true\n",
        theirs=_EU,
        ours=replace(_EU, fips=True),
        reason="blank is not there",
    ),
    "a flag that is none": Difference(
        env={"AWS_USE_FIPS_ENDPOINT": "yes"},
        config=_REGION,
        theirs=_EU,
        ours="error",
        reason="whoever wrote it wanted FIPS hosts, and would not get them",
    ),
    "a URL of another scheme": Difference(
        config=_REGION + "endpoint_url = ftp://d:1\n",
        theirs=replace(_EU, endpoint="ftp://d:1", path=True),
        ours="error",
        reason="botocore says so with the first request",
    ),
    "AWS_PROFILE is missing": Difference(
        env={"AWS_PROFILE": "b"},
        config=_REGION,
        theirs="error",
        ours=Answer(),
        reason="the variable may be meant for other tools; that there are no keys is told, and where",
    ),
    "a password in a URL": Difference(
        env={"AWS_ENDPOINT_URL": "http://user:hush@d:1"},
        config=_REGION,
        theirs=replace(_EU, endpoint="http://user:hush@d:1", path=True),
        ours="error",
        reason="botocore sends it on as part of the host's name",
    ),
    "a query in a URL": Difference(
        env={"AWS_ENDPOINT_URL": "http://d:1/?x"},
        config=_REGION,
        theirs=replace(_EU, endpoint="http://d:1/?x", path=True),
        ours="error",
        reason="botocore says so with the first request",
    ),
    "a URL and acceleration": Difference(
        config=_REGION + "endpoint_url = http://d:1\ns3 =\n  use_accelerate_endpoint = true\n",
        theirs=replace(_EU, endpoint="http://d:1", accelerate=True),
        ours="error",
        reason="botocore says so with the first request",
    ),
    "acceleration and FIPS": Difference(
        config=_REGION + "use_fips_endpoint = true\ns3 =\n  use_accelerate_endpoint = true\n",
        theirs=replace(_EU, accelerate=True, fips=True),
        ours="error",
        reason="botocore says so with the first request",
    ),
    "acceleration and path style": Difference(
        config=_REGION + "s3 =\n  addressing_style = path\n  use_accelerate_endpoint = true\n",
        theirs=replace(_EU, accelerate=True),
        ours="error",
        reason="the two contradict each other; botocore drops the path style",
    ),
    "nested lines that are no settings": Difference(
        config=_REGION + "s3 =\n  nonsense\n  addressing_style = path\n",
        theirs="error",
        ours=replace(_EU, path=True),
        reason="as where keys are read: we do not read them",
    ),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_different_for_a_reason(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = DIFFERENCES[name]
    write(case, tmp_path)
    assert theirs(case, monkeypatch) == case.theirs
    assert ours(case, tmp_path) == case.ours
    assert case.ours != case.theirs
    assert case.reason


def test_mutation_the_urls_are_the_other_way_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_URLS", module._URLS[::-1])
    with pytest.raises(AssertionError):
        test_where_the_endpoint_stands((None, None), tmp_path, monkeypatch)
