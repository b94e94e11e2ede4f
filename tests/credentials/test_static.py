"""Keys from arguments, a URL, the environment."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import traceback
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck._tasks import LoopLocks
from handtruck.credentials import AbstractCredentials, EnvironmentCredentials, StaticCredentials, URLCredentials
from handtruck.credentials.base import no_credentials
from handtruck.credentials.static import parse_userinfo
from handtruck.errors import UsageError
from handtruck.models import Credentials
from tests.leaks import assert_clean

pytestmark = pytest.mark.anyio

SECRET = "marker-secret"


async def test_arguments() -> None:
    source = StaticCredentials(access_key_id="k", secret_access_key=SECRET, session_token="t", region="r")
    assert (source.access_key_id, source.secret_access_key, source.region) == ("k", SECRET, "r")
    assert await source.get() == Credentials(access_key_id="k", secret_access_key=SECRET, session_token="t", region="r")
    assert StaticCredentials("k", SECRET, "t", "r") == source


async def test_arguments_may_be_partial() -> None:
    assert await StaticCredentials(region="r").load() == Credentials(region="r")
    assert await StaticCredentials("k").get() is None
    assert await StaticCredentials(session_token="").load() == Credentials()


def test_an_option_that_would_be_ignored_is_refused() -> None:
    with pytest.raises(TypeError):
        StaticCredentials("k", SECRET, service="s3")  # type: ignore[call-arg]


def test_secrets_are_not_printed() -> None:
    sources = (
        StaticCredentials("k", SECRET, SECRET),
        URLCredentials(f"http://k:{SECRET}@host"),
        EnvironmentCredentials(environ={"AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": SECRET}),
    )
    for source in sources:
        assert SECRET not in f"{source!r} {source} {source.where} {no_credentials(source)}"
    assert "k" in repr(sources[0])


def test_the_error_says_where_was_looked() -> None:
    error = no_credentials(EnvironmentCredentials(environ={"AWS_ACCESS_KEY_ID": "k"}))
    assert isinstance(error, UsageError)
    assert str(error) == (
        "no credentials: tried AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment:"
        " AWS_SECRET_ACCESS_KEY is not set"
    )


@pytest.mark.parametrize(
    ("source", "given"),
    [
        (StaticCredentials("k", SECRET), "keys"),
        (StaticCredentials(session_token=SECRET), "keys"),
        (URLCredentials(f"http://k:{SECRET}@host"), "a URL with keys"),
        (EnvironmentCredentials(environ={"AWS_SECRET_ACCESS_KEY": SECRET}), "environ= with AWS_SECRET_ACCESS_KEY"),
        (EnvironmentCredentials(environ={"AWS_SESSION_TOKEN": SECRET}), "environ= with AWS_SESSION_TOKEN"),
    ],
)
async def test_what_was_given_secrets_is_not_pickled(source: AbstractCredentials, given: str) -> None:
    await source.load()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=f"was given {given}, which does not leave this process") as raised:
            pickle.dumps(source, protocol)
        assert_clean(raised.value, (SECRET,))
    assert copy.copy(source) is copy.deepcopy(source) is source
    assert copy.deepcopy([source])[0] is source


@pytest.mark.parametrize(
    "source",
    [
        StaticCredentials("k", region="r"),
        URLCredentials("http://host", region="r"),
        EnvironmentCredentials(region="r", environ={"AWS_REGION": "other"}),
    ],
)
async def test_what_holds_no_secret_is_pickled(source: AbstractCredentials) -> None:
    for loaded in (await source.load(), await source.load()):
        again: AbstractCredentials = pickle.loads(pickle.dumps(source))  # noqa: S301 - our own
        assert await again.load() == loaded


async def test_the_environment_is_read_on_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    source = EnvironmentCredentials()
    await source.load()
    pickled = pickle.dumps(source)
    assert SECRET.encode() not in pickled
    again: EnvironmentCredentials = pickle.loads(pickled)  # noqa: S301 - our own
    assert await again.get() == Credentials(access_key_id="k", secret_access_key=SECRET)


async def test_a_users_own_source_is_pickled_without_what_it_found() -> None:
    source = Remembering()
    assert await source.get() == Credentials(access_key_id="k", secret_access_key=SECRET)
    pickled = pickle.dumps(source)
    assert SECRET.encode() not in pickled
    again: Remembering = pickle.loads(pickled)  # noqa: S301 - our own
    assert again.found is None
    assert again.name == "mine"
    assert isinstance(again.locks, LoopLocks)


class Remembering(AbstractCredentials):
    """As a user may write one."""

    def __init__(self) -> None:
        self.found: Credentials | None = None
        self.locks = LoopLocks()
        self.name = "mine"

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        async with self.locks.here():
            self.found = self.found or Credentials(access_key_id="k", secret_access_key=SECRET)
            return self.found


# URLs.


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("http://key_id:access_key@your-s3-host", "key_id", "access_key"),
        ("https://k:s@host:9000/bucket?x#y", "k", "s"),
        ("http://k:s@[::1]:9000", "k", "s"),
        ("http://k:a%2Fb%2Bc%3D%40@host", "k", "a/b+c=@"),
        ("http://k:a+b=c:d@host", "k", "a+b=c:d"),
        ("http://k%3A:s@host", "k:", "s"),
        ("http://k:s@s@host", "k", "s@s"),
        ("http://host", "", ""),
        ("http://host:9000/path", "", ""),
        ("http://[::1]:9000", "", ""),
        ("http://@host", "", ""),
        ("http://host/a%40b", "", ""),
    ],
)
async def test_users_and_passwords(url: str, user: str, password: str) -> None:
    found = Credentials(access_key_id=user, secret_access_key=password)
    assert await URLCredentials(url).load() == found
    assert await URLCredentials(httpx.URL(url)).load() == found
    with_region = await URLCredentials(url, region="r").load()
    assert with_region.region == "r"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"http://key@{SECRET}:your-s3-host", "http://KEY_ID:SECRET@host"),  # as in the README of the reference
        (f"http://{SECRET}@host", "no password"),
        (f"http://{SECRET}:@host", "no password"),
        (f"http://:{SECRET}@host", "no user"),
        ("http://:@host", "no user"),
        (f"http://k:{SECRET}/more@host", "%2F"),
        (f"http://k:12/{SECRET}@host", "%2F"),
        (f"http://k:/{SECRET}@host", "%2F"),
        (f"http://k:{SECRET}?more@host", "%3F"),
        (f"http://k:{SECRET}#more@host", "%23"),
        (f"http://k:s@{SECRET}/more@host", "%2F"),
        (f"http://k:s@host:{SECRET}", "port"),
        (f"http://k:s@[{SECRET}", "port"),
        (f"k:{SECRET}@host", "http://"),
        (f"//k:{SECRET}@host", "http://"),
        ("", "http://"),
    ],
)
def test_malformed_urls_are_not_quoted(url: str, words: str) -> None:
    with pytest.raises(UsageError) as raised:
        URLCredentials(url)
    assert words in str(raised.value)
    assert raised.value.__context__ is None, "an error behind it that may quote the URL"
    assert SECRET not in "".join(traceback.format_exception_only(raised.value))
    assert_clean(raised.value, (SECRET,))


_HALF = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(_HALF, _HALF)
def test_what_is_percent_encoded_comes_back(user: str, password: str) -> None:
    url = f"http://{quote(user, safe='')}:{quote(password, safe='')}@host:9000/path"
    assert parse_userinfo(url) == (user, password)


@given(st.text() | st.text(alphabet="a:/@[]?#%1").map("http://".__add__))
def test_any_text_is_parsed_or_unusable(url: str) -> None:
    user = password = ""
    behind = None
    try:
        user, password = parse_userinfo(url)
    except UsageError as error:
        behind = error.__context__
    assert behind is None
    assert bool(user) == bool(password)


# The environment.


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, Credentials()),
        ({"AWS_ACCESS_KEY_ID": "k"}, Credentials(access_key_id="k")),
        ({"AWS_SESSION_TOKEN": ""}, Credentials()),
        (
            {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t"},
            Credentials(access_key_id="k", secret_access_key="s", session_token="t"),
        ),
        ({"AWS_REGION": "a", "AWS_DEFAULT_REGION": "b"}, Credentials(region="a")),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "b"}, Credentials(region="b")),
    ],
)
async def test_the_environment(environ: dict[str, str], found: Credentials) -> None:
    assert await EnvironmentCredentials(environ=environ).load() == found
    with_region = await EnvironmentCredentials(region="r", environ=environ).load()
    assert with_region.region == "r"


async def test_the_environment_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    source = EnvironmentCredentials()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "late")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    found = await source.get()
    assert found is not None
    assert found.access_key_id == "late"
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert await source.get() is None


_POISONED = """
import os

class Poisoned(dict):
    def refuse(self, name, *rest):
        if str(name).startswith("AWS_"):
            raise AssertionError(f"{name} was read")
        return dict.get(self, name, *rest)
    get = refuse
    def __getitem__(self, name):
        return self.refuse(name)
    def __contains__(self, name):
        return self.refuse(name) is not None

real, os.environ = os.environ, Poisoned(os.environ)
import anyio
from handtruck import credentials as c

sources = [
    c.StaticCredentials(), c.URLCredentials("http://h"), c.EnvironmentCredentials(), c.ConfigCredentials(),
    c.MetadataCredentials(), c.collect_credentials(url="http://h"), c.merge_credentials(c.EnvironmentCredentials()),
]
try:
    anyio.run(sources[2].load)
except AssertionError:
    os.environ = real
    real.update(AWS_ACCESS_KEY_ID="late", AWS_SECRET_ACCESS_KEY="s")
    print(*[anyio.run(source.load).access_key_id for source in (sources[2], sources[5], sources[6])])
"""


def test_ancestors_defect_environment_read_at_import() -> None:
    """Neither import nor a constructor reads it: what is set later counts."""
    run = subprocess.run([sys.executable, "-c", _POISONED], capture_output=True, text=True, check=False)
    assert run.stdout.split() == ["late"] * 3, run.stderr
