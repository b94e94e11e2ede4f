"""AWS's shared files: read as botocore reads them, never on the event loop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.credentials import ConfigCredentials
from handtruck.credentials.profiles import parse_ini, profiles_of
from handtruck.errors import UsageError
from handtruck.models import Credentials

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

SECRET = "marker-secret"
KEYS = f"aws_access_key_id = k\naws_secret_access_key = {SECRET}\n"


@pytest.fixture(name="home", autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no AWS variables."""
    for name in ("PROFILE", "DEFAULT_PROFILE", "SHARED_CREDENTIALS_FILE", "CONFIG_FILE"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / ".aws").mkdir()
    return tmp_path


def keys_like(key: str) -> str:
    return f"aws_access_key_id = {key}\naws_secret_access_key = s\n"


async def key_of(source: ConfigCredentials) -> str:
    return (await source.load()).access_key_id


async def test_the_default_files(home: Path) -> None:
    source = ConfigCredentials()
    (home / ".aws" / "credentials").write_text(f"[default]\n{KEYS}aws_session_token = t\n")
    (home / ".aws" / "config").write_text("[default]\nregion = r\n")
    assert await source.get() == Credentials(access_key_id="k", secret_access_key=SECRET, session_token="t", region="r")
    assert (await ConfigCredentials(region="mine").load()).region == "mine"


async def test_no_files_are_no_credentials(home: Path) -> None:
    assert await ConfigCredentials().load() == Credentials()
    (home / ".aws").rmdir()
    (home / ".aws").write_text("not a directory")
    assert await ConfigCredentials().load() == Credentials()


async def test_named_files(home: Path) -> None:
    (home / ".my-custom-aws-credentials").write_text(f"[default]\n{KEYS}")
    (home / "config").write_text("[default]\nregion = r\n")
    found = await ConfigCredentials("~/.my-custom-aws-credentials", home / "config").get()
    assert found == Credentials(access_key_id="k", secret_access_key=SECRET, region="r")


async def test_files_named_by_the_environment(home: Path) -> None:
    (home / "a").write_text(f"[default]\n{keys_like('a')}")
    (home / "b").write_text("[default]\nregion = r\n")
    environ = {"AWS_SHARED_CREDENTIALS_FILE": "~/a", "AWS_CONFIG_FILE": str(home / "b")}
    found = await ConfigCredentials(environ=environ).get()
    assert found == Credentials(access_key_id="a", secret_access_key="s", region="r")
    assert await ConfigCredentials(environ=dict.fromkeys(environ, "~/missing")).get() is None


@pytest.mark.parametrize("which", ["credentials_path", "config_path"])
async def test_a_file_named_here_has_to_exist(home: Path, which: str) -> None:
    missing = str(home / "missing")
    source = ConfigCredentials(missing) if which == "credentials_path" else ConfigCredentials(config_path=missing)
    with pytest.raises(UsageError, match=r"no file .*missing"):
        await source.load()


async def test_a_profile_named_here_has_to_exist(home: Path) -> None:
    (home / ".aws" / "config").write_text(f"[profile there]\n{KEYS}[not]\n{KEYS}")
    assert await key_of(ConfigCredentials(profile="there")) == "k"
    for missing in ("not", "default"):
        with pytest.raises(UsageError, match=rf"no profile \[{missing}\] in .*credentials or .*config"):
            await ConfigCredentials(profile=missing).load()


async def test_a_profile_of_the_environment_may_be_missing() -> None:
    source = ConfigCredentials(environ={"AWS_PROFILE": "other-tools"})
    assert await source.get() is None
    assert source.where == "profile [other-tools] in ~/.aws/credentials and ~/.aws/config"


async def test_an_unreadable_file_is_named(home: Path) -> None:
    (home / "folder").mkdir()
    with pytest.raises(UsageError, match=r"cannot read .*folder"):
        await ConfigCredentials(environ={"AWS_CONFIG_FILE": str(home / "folder")}).load()


async def test_a_homeless_user_has_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: object) -> None:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.expanduser", homeless)
    assert await ConfigCredentials().load() == Credentials()


async def test_ancestors_defect_profile_name_not_read_from_the_config_file(home: Path) -> None:
    (home / ".aws" / "config").write_text(f"[profile dev]\n{KEYS}region = r\n")
    expected = Credentials(access_key_id="k", secret_access_key=SECRET, region="r")
    assert await ConfigCredentials(profile="dev").get() == expected
    assert await ConfigCredentials(environ={"AWS_PROFILE": "dev"}).get() == expected


@pytest.mark.parametrize("name", ["credentials", "config"])
async def test_ancestors_defect_aws_session_token_ignored(home: Path, name: str) -> None:
    (home / ".aws" / name).write_text(f"[default]\n{KEYS}aws_session_token = t\n")
    found = await ConfigCredentials().get()
    assert found is not None
    assert found.session_token == "t"


async def test_a_token_stays_with_the_keys_of_its_file(home: Path) -> None:
    (home / ".aws" / "credentials").write_text(f"[default]\n{keys_like('mine')}")
    (home / ".aws" / "config").write_text(f"[default]\n{keys_like('other')}aws_session_token = other\n")
    found = await ConfigCredentials().get()
    assert found == Credentials(access_key_id="mine", secret_access_key="s")


async def test_half_a_credential_does_not_hide_a_whole_one(home: Path) -> None:
    (home / ".aws" / "credentials").write_text("[default]\naws_access_key_id = half\naws_session_token = t\n")
    assert await ConfigCredentials().load() == Credentials(access_key_id="half", session_token="t")
    (home / ".aws" / "config").write_text(f"[default]\n{keys_like('whole')}")
    assert await ConfigCredentials().load() == Credentials(access_key_id="whole", secret_access_key="s")


# Reading.


async def test_files_are_read_once_until_rejected(home: Path) -> None:
    path = home / ".aws" / "credentials"
    path.write_text(f"[default]\n{keys_like('old')}")
    source = ConfigCredentials()
    old = await source.load()
    path.write_text(f"[default]\n{keys_like('new')}")
    assert await source.load() == old
    assert await source.load(rejected=Credentials(access_key_id="others", secret_access_key="s")) == old
    new = await source.load(rejected=old)
    assert new.access_key_id == "new"
    path.write_text(f"[default]\n{keys_like('newer')}")
    assert await source.load(rejected=old) == new


async def test_twenty_at_once_read_once_in_a_worker_thread(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[int] = []
    read = ConfigCredentials._read

    def counted(source: ConfigCredentials) -> Credentials:
        readers.append(threading.get_ident())
        return read(source)

    monkeypatch.setattr(ConfigCredentials, "_read", counted)
    source = ConfigCredentials()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(source.load)
    assert len(readers) == 1
    assert readers[0] != threading.get_ident()


# Malformed files.


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"aws_secret_access_key = {SECRET}\n", 1),
        (f"[default]\n\n{SECRET}\n", 3),
        (f"[default]\n= {SECRET}\n", 2),
        (f"[default]\naws_secret_access_key = {SECRET}\naws_secret_access_key = 2\n", 3),
        (f"[{SECRET}]\n[{SECRET}]\n", 2),
        (f"[default\n{KEYS}", 1),
    ],
)
async def test_a_malformed_file_is_named_but_not_quoted(home: Path, text: str, line: int) -> None:
    (home / ".aws" / "credentials").write_text(text)
    with pytest.raises(UsageError, match=rf"\.aws/credentials, line {line}:") as raised:
        await ConfigCredentials().load()
    assert SECRET not in str(raised.value)
    assert raised.value.__context__ is None, "an error behind it that quotes the file"


async def test_bytes_that_are_no_text(home: Path) -> None:
    (home / ".aws" / "config").write_bytes(SECRET.encode() + b"\xff")
    with pytest.raises(UsageError, match="config is not text") as raised:
        await ConfigCredentials().load()
    assert raised.value.__context__ is None, "an error behind it that holds the whole file"


async def test_an_indented_setting_does_not_put_the_secret_into_the_key_id(home: Path) -> None:
    (home / ".aws" / "config").write_text(f"[default]\naws_access_key_id = k\n  aws_secret_access_key = {SECRET}\n")
    with pytest.raises(UsageError, match=r"config, profile \[default\]: aws_access_key_id .* indented") as raised:
        await ConfigCredentials().load()
    assert SECRET not in str(raised.value)


def test_windows_files(home: Path) -> None:
    (home / "windows").write_bytes(b"\xef\xbb\xbf[default]\r\n" + KEYS.replace("\n", "\r\n").encode())
    assert anyio.run(key_of, ConfigCredentials(home / "windows")) == "k"


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("", {}),
        ("[a]\nKEY: v\n[b]\n", {"a": {"key": "v"}, "b": {}}),
        ("[a]\ns3 =\n  x = 1\n  y = 2\nk = v\n", {"a": {"s3": "\nx = 1\ny = 2", "k": "v"}}),
        ("# c\n; c\n[a]\nk = v # kept\n# c\n", {"a": {"k": "v # kept"}}),
        ("[a]\nk = %(x)s ${y}\n", {"a": {"k": "%(x)s ${y}"}}),
        ("[DEFAULT]\nk = v\n[a]\n", {"a": {"k": "v"}}),
    ],
)
def test_ini(text: str, sections: dict[str, dict[str, str]]) -> None:
    assert parse_ini(text) == sections


def test_names_of_profiles() -> None:
    sections = ["default", "profile a", 'profile "b c"', "profile  d", "profile", "profile e f", "sso-session g", "h"]
    sections += ["profiles i", 'profile "open']
    found = profiles_of({section: {"was": section} for section in sections})
    assert found == {
        "default": {"was": "default"},
        "a": {"was": "profile a"},
        "b c": {"was": 'profile "b c"'},
        "d": {"was": "profile  d"},
    }


_LINES = st.lists(st.text(alphabet="[]=:#; \tak\r\n\x00é") | st.sampled_from(["[a]", "[profile a]", "k = v"]))


@given(st.text() | _LINES.map("\n".join))
def test_any_text_is_parsed_or_unusable(text: str) -> None:
    """The parser's invariant: a value or a UsageError, and nothing behind it that quotes the text."""
    behind = None
    try:
        profiles_of(parse_ini(text))
    except UsageError as error:
        behind = error.__context__
    assert behind is None
