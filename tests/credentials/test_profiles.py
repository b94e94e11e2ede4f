"""Profiles: what stands in the two files, the way that a profile goes, and the source that goes it."""

from __future__ import annotations

import json
import os
import pickle
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.credentials import profiles as profiles_module
from handtruck.credentials import ways
from handtruck.credentials.profile_keys import ProfileCredentials
from handtruck.credentials.profiles import (
    Profile,
    Profiles,
    load_profiles,
    parse_ini,
    parse_nested,
    profile_alone,
    profile_name,
    profile_of,
    read_profiles,
    sort_sections,
)
from handtruck.credentials.ways import ByProcess, ByRole, Written, way_of
from handtruck.errors import AccessDenied, UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import SECRET, TOKEN, Clock
from tests.credentials.scripted_sts import Tokens, refusal, serve
from tests.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

MINE: Final = "marker-mine"
MARKERS: Final = (SECRET, TOKEN, MINE)
KEYS: Final = f"aws_access_key_id = k\naws_secret_access_key = {MINE}\n"
ROLE: Final = "arn:aws:iam::123456789012:role/r"


def assert_redacted(error: BaseException) -> None:
    """No secret shows, nor does a local on the error's way show one."""
    assert_clean(error, MARKERS)


def profiles(config: str = "", credentials: str = "") -> Profiles:
    kinds = sort_sections(parse_ini(config))
    return Profiles(
        credentials=parse_ini(credentials),
        config=kinds["profile"],
        sso_sessions=kinds["sso-session"],
        services=kinds["services"],
    )


class Files:
    """The two files, and the environment that names them."""

    def __init__(self, folder: Path) -> None:
        self._paths = {"credentials": folder / "credentials", "config": folder / "config"}
        self.environ = {
            "AWS_SHARED_CREDENTIALS_FILE": str(self._paths["credentials"]),
            "AWS_CONFIG_FILE": str(self._paths["config"]),
            "PATH": os.environ["PATH"],
        }

    def write(self, config: str = "", credentials: str = "") -> None:
        self._paths["config"].write_text(config)
        self._paths["credentials"].write_text(credentials)

    def source(self, *args: str, **given: Any) -> ProfileCredentials:
        environ = self.environ | given.pop("environ", {})
        return ProfileCredentials(*args, **({"environ": environ, "clock": Clock()} | given))


@pytest.fixture(name="files")
def _files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture(name="service")
def _service() -> Iterator[Tokens]:
    with serve() as script:
        yield script


# What stands in the files.


def test_a_profile_of_both_files() -> None:
    both = profiles(
        config="[profile a]\nregion = rc\noutput = json\nservices = s\nsso_session = x\n"
        "s3 =\n  addressing_style = path\n"
        "  use_accelerate_endpoint = true\n[services s]\n"
        "s3 =\n  endpoint_url = http://s3\nsts =\n  endpoint_url=http://sts\n"
        "[sso-session x]\nsso_region = sr\n[services t]\n[plugins]\n",
        credentials="[a]\nregion = rr\n",
    )
    profile = profile_of(both, "a")
    assert (profile.settings["region"], profile.settings["output"]) == ("rr", "json")
    assert (dict(profile.credentials), profile.config["region"]) == ({"region": "rr"}, "rc")
    assert profile.services == {"s3": {"endpoint_url": "http://s3"}, "sts": {"endpoint_url": "http://sts"}}
    assert profile.sso_session == {"sso_region": "sr"}
    assert profile.nested("s3") == {"addressing_style": "path", "use_accelerate_endpoint": "true"}
    assert profile.nested("region") == profile.nested("nothing") == {}
    assert profile_of(both, "b") == Profile(name="b")
    assert "a" in both
    assert "b" not in both


def test_services_that_are_missing() -> None:
    missing = profiles("[default]\nservices = s\nsso_session = x\nregion = r\n")
    with pytest.raises(UsageError, match=r"profile \[default\] names \[services s\], which is not in the files"):
        profile_of(missing, "default")
    assert profile_alone(missing, "default").settings["region"] == "r"


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", {}),
        ("x = y", {}),
        ("\nx = y", {"x": "y"}),
        ("\nx=y=z\nnonsense\n a  =", {"x": "y=z", "a": ""}),
    ],
)
def test_nested_settings(text: str, settings: dict[str, str]) -> None:
    assert parse_nested(text) == settings


def test_kinds_of_sections() -> None:
    named = ("default", "profile a", "sso-session a", "services a", 'services "a b"', "plugins", "profile", "x y")
    assert sort_sections({name: {"was": name} for name in named}) == {
        "profile": {"default": {"was": "default"}, "a": {"was": "profile a"}},
        "sso-session": {"a": {"was": "sso-session a"}},
        "services": {"a": {"was": "services a"}, "a b": {"was": 'services "a b"'}},
    }


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "default"),
        ({"AWS_PROFILE": "a"}, "a"),
        ({"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": "b"}, "b"),
        ({"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": ""}, "a"),
    ],
)
def test_the_name(environ: dict[str, str], name: str) -> None:
    assert profile_name(environ) == name


async def test_read_in_a_worker_thread(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[int] = []
    read = profiles_module.read_ini

    def noted(path: Path, *, required: bool) -> object:
        readers.append(threading.get_ident())
        return read(path, required=required)

    monkeypatch.setattr(profiles_module, "read_ini", noted)
    files.write(f"[default]\n{KEYS}")
    found = await read_profiles(None, None, files.environ)
    assert found.config["default"]["aws_access_key_id"] == "k"
    assert len(readers) == 2
    assert threading.get_ident() not in readers


def test_no_secret_shows(files: Files) -> None:
    files.write(
        f"[default]\n{KEYS}aws_session_token = {MINE}\ncredential_process = p {MINE}\n"
        f"role_arn = x\n  aws_secret_access_key = {MINE}\n",
        f"[default]\n{KEYS}",
    )
    found = load_profiles(None, None, files.environ)
    for seen in (found, profile_of(found, "default"), asdict(found), profile_of(found, "default").settings):
        assert MINE not in repr(seen)


# Which way a profile goes.


def test_ways() -> None:
    keys = Credentials(access_key_id="k", secret_access_key=MINE)
    assert way_of(profiles(), "default") is None
    assert way_of(profiles(f"[default]\n{KEYS}"), "default") == Written(profile="default", keys=keys)
    assert way_of(profiles("[default]\ncredential_process = a b\n"), "default") == ByProcess(command="a b")
    chain = profiles(f"[profile a]\nrole_arn = {ROLE}\nsource_profile = b\nduration_seconds = 900\n[profile b]\n{KEYS}")
    way = way_of(chain, "a")
    assert way == ByRole(role_arn=ROLE, source=Written(profile="b", keys=keys), duration=900)
    assert MINE not in repr(way)


_CIRCLE: Final = """\
[default]
role_arn = r
source_profile = b
[profile b]
role_arn = r
source_profile = c
[profile c]
role_arn = r
source_profile = default
"""


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (
            _CIRCLE,
            "goes round in a circle: default → b → c → default",
        ),
        ("[default]\nrole_arn=r\nsource_profile=default\n", "circle: default → default"),
        (
            "[default]\nrole_arn=r\nsource_profile=b\n",
            r"\[default\] has the source_profile b, which is not in the files",
        ),
        (
            "[default]\nrole_arn=r\nsource_profile=b\n[profile b]\n",
            r"\[b\], the source_profile of \[default\], has no k",
        ),
        ("[default]\nrole_arn=r\n", r"profile \[default\] has a role_arn, but neither source_profile nor credential_s"),
        ("[default]\nrole_arn=r\nsource_profile=b\ncredential_source=c", "both source_profile and credential_source"),
        (
            "[default]\nrole_arn=r\ncredential_source=c",
            "credential_source is none of Environment, Ec2InstanceMetadata, E",
        ),
        (f"[default]\nrole_arn=r\nduration_seconds=1h\nsource_profile=b\n[profile b]\n{KEYS}", "no number of seconds"),
        (
            "[default]\nweb_identity_token_file=/t\n",
            r"token in /t, but no role .* AWS_ROLE_ARN, or role_arn in profile",
        ),
        ("[default]\nsso_account_id=1\nsso_session=s\n", r"names \[sso-session s\], which is not in the files"),
        ("[default]\nsso_account_id=1\nsso_region=r\n", "but has no sso_start_url, sso_role_name"),
        (
            "[default]\nsso_account_id=1\nsso_region=r\nsso_session=s\n[sso-session s]\nsso_region=t\n",
            r"profile \[default\] and \[sso-session s\] do not agree on sso_region",
        ),
        (f"[default]\nrole_arn=r\n  aws_secret_access_key = {MINE}\n", r"\[default\]: role_arn goes on over several"),
        (f"[default]\ncredential_process=p\n  aws_secret_access_key = {MINE}\n", "credential_process goes on over"),
    ],
)
def test_ways_that_lead_nowhere(config: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as raised:
        way_of(profiles(config), "default")
    assert_redacted(raised.value)


def test_a_mutation_that_forgets_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    by_role = ways._by_role
    monkeypatch.setattr(ways, "_by_role", lambda profiles, profile, _: by_role(profiles, profile, ()))
    with pytest.raises(RecursionError):
        way_of(profiles(_CIRCLE), "default")


_SETTINGS: Final = st.sampled_from(
    [
        *("[default]", "[profile a]", "[a]", "[sso-session a]", f"role_arn = {MINE}", "source_profile = a"),
        *("source_profile = default", "credential_source = Environment", "credential_source = x", "sso_session = a"),
        *("sso_account_id = 1", "sso_role_name = r", "sso_region = r", "sso_start_url = u", "  indented = x", "a ="),
        *("credential_process = p", "web_identity_token_file = t", "duration_seconds = 9", "mfa_serial = m"),
        *("aws_access_key_id = k", f"aws_secret_access_key = {MINE}", "role_arn =", f"  {MINE}"),
    ]
)


@given(st.lists(_SETTINGS, max_size=20), st.lists(_SETTINGS, max_size=10))
def test_any_profile_leads_somewhere_or_is_unusable(config: list[str], credentials: list[str]) -> None:
    """The decision's invariant: a way, none, or a UsageError that shows no secret; and it ends."""
    message, way, behind = "", None, None
    try:
        way = way_of(profiles("\n".join(config), "\n".join(credentials)), "default", {})
    except UsageError as error:
        message, behind = str(error), error.__context__
    assert behind is None
    assert MINE not in message
    assert not isinstance(way, Written) or way.keys.complete


# The source.


async def test_keys_are_read_again_when_rejected_or_missing(files: Files) -> None:
    source = files.source()
    assert await source.load() == Credentials()
    files.write(f"[default]\n{KEYS}region = r\n")
    old = await source.get()
    assert old == Credentials(access_key_id="k", secret_access_key=MINE, region="r")
    files.write(f"[default]\n{KEYS}aws_session_token = new\n")
    assert await source.get() is old
    newer = await source.get(rejected=old)
    assert newer is not None
    assert newer.session_token == "new"


async def test_twenty_at_once_read_once(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[object] = []
    read = profiles_module.load_profiles

    def noted(*args: Any) -> Profiles:
        reads.append(args)
        return read(*args)

    monkeypatch.setattr(profiles_module, "load_profiles", noted)
    files.write(f"[default]\n{KEYS}")
    source = files.source()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(source.load)
    assert len(reads) == 1


async def test_a_profile_named_here_has_to_exist(files: Files) -> None:
    files.write(f"[profile there]\n{KEYS}")
    assert (await files.source("there").load()).access_key_id == "k"
    with pytest.raises(UsageError, match=r"there is no profile \[missing\] in .*credentials or .*config"):
        await files.source("missing").load()


@pytest.mark.parametrize("which", ["credentials_path", "config_path"])
async def test_a_file_named_here_has_to_exist(files: Files, tmp_path: Path, which: str) -> None:
    with pytest.raises(UsageError, match=r"no file .*missing"):
        await files.source(**{which: tmp_path / "missing"}).load()


async def test_why_there_are_no_keys(files: Files) -> None:
    source = files.source()
    assert await source.get() is None
    assert source.reason == "there is no profile [default]"
    files.write("[default]\nregion = r\n")
    assert await source.load() == Credentials(region="r")
    assert source.reason == "profile [default] has no keys"
    config, credentials = files.environ["AWS_CONFIG_FILE"], files.environ["AWS_SHARED_CREDENTIALS_FILE"]
    assert source.where == f"AWS_WEB_IDENTITY_TOKEN_FILE; profile [default] in {credentials} and {config}"
    assert files.source("x").where == f"profile [x] in {credentials} and {config}"


async def test_the_region_is_the_profiles(files: Files, service: Tokens) -> None:
    files.write(
        f"[default]\nrole_arn = {ROLE}\nsource_profile = b\nregion = outer-1\nendpoint_url = {service.url}\n"
        f"[profile b]\nregion = inner-1\n{KEYS}"
    )
    for given_region, environ, region, signed in (
        ("", {}, "outer-1", "outer-1"),
        ("", {"AWS_REGION": "env-1"}, "outer-1", "env-1"),  # whoever reads the environment goes before this source
        ("mine-1", {"AWS_REGION": "env-1"}, "mine-1", "mine-1"),
    ):
        found = await files.source(region=given_region, environ=environ).load()
        assert found.region == region
        assert f"/{signed}/sts/" in service.asked[-1].headers["authorization"]


async def test_the_token_service_of_the_profile(files: Files, service: Tokens) -> None:
    files.write(
        f"[default]\nrole_arn = {ROLE}\nsource_profile = b\nservices = s\nendpoint_url = http://127.0.0.1:1\n"
        f"[profile b]\nendpoint_url = http://127.0.0.1:1\n{KEYS}[services s]\nsts =\n  endpoint_url = {service.url}\n"
    )
    assert (await files.source().load()).access_key_id == "ASIA1"


async def test_a_role_is_refreshed_by_its_own_class(files: Files, service: Tokens) -> None:
    clock = Clock()
    service.clock = clock
    files.write(f"[default]\nrole_arn = {ROLE}\nsource_profile = b\nendpoint_url = {service.url}\n[profile b]\n{KEYS}")
    source = files.source(clock=clock)
    old = await source.get()
    assert await source.get() is old
    assert (await source.load(rejected=old)).access_key_id == "ASIA2"
    clock.advance(minutes=45)
    assert (await source.load()).access_key_id == "ASIA3"


async def test_a_chain_of_roles(files: Files, service: Tokens) -> None:
    files.write(
        f"[default]\nrole_arn = {ROLE}1\nsource_profile = b\nendpoint_url = {service.url}\n"
        f"[profile b]\nrole_arn = {ROLE}2\ncredential_source = Environment\n"
    )
    environ = {"AWS_ACCESS_KEY_ID": "AKENV", "AWS_SECRET_ACCESS_KEY": MINE}
    source = files.source(environ=environ)
    assert (await source.load()).access_key_id == "ASIA2"
    assert [asked.form["RoleArn"] for asked in service.asked] == [ROLE + "2", ROLE + "1"]
    assert [asked.headers["authorization"].split("=")[1].split("/")[0] for asked in service.asked] == ["AKENV", "ASIA1"]


async def test_one_time_codes(files: Files, service: Tokens) -> None:
    files.write(
        f"[default]\nrole_arn = {ROLE}\nsource_profile = b\nmfa_serial = arn:m\nendpoint_url = {service.url}\n"
        f"[profile b]\n{KEYS}"
    )
    with pytest.raises(UsageError, match=r"wants a one-time code of arn:m: pass mfa_token="):
        await files.source().load()
    await files.source(mfa_token=lambda: "123456").load()
    assert service.asked[0].form["TokenCode"] == "123456"


async def test_a_process(files: Files) -> None:
    document = json.dumps({"Version": 1, "AccessKeyId": "p", "SecretAccessKey": MINE})
    files.write(f"[default]\ncredential_process = printf %s '{document}'\nregion = r\n")
    assert await files.source().get() == Credentials(access_key_id="p", secret_access_key=MINE, region="r")


async def test_refusals_show_no_secret(files: Files, service: Tokens) -> None:
    files.write(f"[default]\nrole_arn = {ROLE}\nsource_profile = b\nendpoint_url = {service.url}\n[profile b]\n{KEYS}")
    service.first = [(403, refusal("AccessDenied", f"signed with {MINE}"))]
    with pytest.raises(AccessDenied) as raised:
        await files.source(environ={"AWS_SECRET_ACCESS_KEY": MINE}).get()
    assert_redacted(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        f"aws_secret_access_key = {MINE}",
        f"[default]\n{MINE}",
        f"[default]\naws_access_key_id = k\n  aws_secret_access_key = {MINE}",
        f"[default]\n{KEYS}role_arn = r",
        f"[default]\n{KEYS}role_arn = r\nsource_profile = default",
        f"[default]\n{KEYS}role_arn = {ROLE}\nsource_profile = default\nmfa_serial = m",
        f"[default]\ncredential_process = /no/such/program {MINE}",
        f"[default]\ncredential_process = '{MINE}",
    ],
)
async def test_unusable_files_show_no_secret(files: Files, text: str) -> None:
    files.write(text, f"[other]\n{KEYS}")
    with pytest.raises(UsageError) as raised:
        await files.source(environ={"AWS_SECRET_ACCESS_KEY": MINE}).get()
    assert_redacted(raised.value)
    assert raised.value.__context__ is None


async def test_pickled_without_keys(files: Files, service: Tokens) -> None:
    for config in (
        f"[default]\n{KEYS}",
        f"[default]\nrole_arn = {ROLE}\nsource_profile = b\nendpoint_url = {service.url}\n[profile b]\n{KEYS}",
    ):
        files.write(config)
        source = files.source()
        found = await source.get()
        pickled = pickle.dumps(source)
        assert [marker for marker in MARKERS if marker.encode() in pickled] == []
        again = await pickle.loads(pickled).get()  # noqa: S301 - our own
        assert found is not None
        assert (again.secret_access_key, again.region) == (found.secret_access_key, found.region)


def test_on_both_loops(files: Files) -> None:
    files.write(f"[default]\n{KEYS}")
    source = files.source()
    first = anyio.run(source.load, backend="asyncio")
    assert anyio.run(source.load, backend="trio") is first
