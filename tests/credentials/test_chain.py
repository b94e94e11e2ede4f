"""Several sources as one: merged because asked to, otherwise whole or nothing."""

from __future__ import annotations

import json
import logging
import pickle
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from time import monotonic
from typing import TYPE_CHECKING

import anyio
import pytest
from botocore.exceptions import ProfileNotFound
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st

from handtruck._tasks import LoopLocks
from handtruck.credentials import (
    AbstractCredentials,
    EnvironmentCredentials,
    ProfileCredentials,
    StaticCredentials,
    collect_credentials,
    merge_credentials,
)
from handtruck.credentials.base import no_credentials
from handtruck.credentials.chain import ChainedCredentials, Tried, merge
from handtruck.errors import ConnectionFailed, UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import REGION, ROLE, Clock
from tests.credentials.scripted_metadata import keys as metadata_keys
from tests.credentials.scripted_metadata import serve as serve_metadata
from tests.credentials.scripted_service import serve as serve_service
from tests.leaks import assert_clean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

WHOLE = Credentials(access_key_id="k", secret_access_key="s", session_token="t", region="r")


class Scripted(AbstractCredentials):
    """Says what it is told to, and counts."""

    def __init__(self, *says: Credentials | Exception) -> None:
        self.says = list(says)
        self.rejected: list[Credentials | None] = []

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        self.rejected.append(rejected)
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if isinstance(said, Exception):
            raise said
        return said


@pytest.fixture(name="environ")
def _environ(tmp_path: Path) -> dict[str, str]:
    """An environment whose files are not there yet."""
    return {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }


def write_profile(environ: dict[str, str], *, region: str = "", key: str = "file") -> None:
    from pathlib import Path

    text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\nregion = {region}\n"
    Path(environ["AWS_SHARED_CREDENTIALS_FILE"]).write_text(text)


# The base class.


async def test_get_is_whole_or_none() -> None:
    assert await Scripted(WHOLE).get() == WHOLE
    assert await Scripted(Credentials(access_key_id="k", region="r")).get() is None
    assert repr(Scripted(WHOLE)) == "<Scripted: Scripted>"


# Merging.


async def test_merging_is_field_by_field() -> None:
    merged = merge_credentials(
        StaticCredentials(region="mine"),
        StaticCredentials("k"),
        StaticCredentials("k", "s"),
        StaticCredentials(session_token="t"),
        StaticCredentials("other", "other", "other", "other"),
    )
    assert await merged.get() == Credentials(access_key_id="k", secret_access_key="s", session_token="t", region="mine")


async def test_ancestors_defect_a_token_of_one_source_glued_to_anothers_keys() -> None:
    merged = merge_credentials(StaticCredentials("mine", "s"), StaticCredentials("other", "o", "other's", "r"))
    assert await merged.get() == Credentials(access_key_id="mine", secret_access_key="s", region="r")
    half = merge_credentials(StaticCredentials("mine"), StaticCredentials("other", "other's"))
    assert await half.get() is None


async def test_merging_is_lazy_and_passes_rejections_on() -> None:
    one, two = Scripted(Credentials(access_key_id="k", secret_access_key="s")), Scripted(Credentials(region="r"))
    merged = merge_credentials(one, two)
    assert one.rejected == []
    await merged.load(rejected=WHOLE)
    assert one.rejected == two.rejected == [WHOLE]
    assert merged.where == "Scripted; Scripted"


def test_merging_nothing() -> None:
    with pytest.raises(UsageError, match="at least one"):
        merge_credentials()


async def test_merged_keys_end_when_the_first_does() -> None:
    ends = [datetime(2025, 1, day, tzinfo=UTC) for day in (3, 2, 1)]
    found = merge(
        [
            Credentials(access_key_id="k", expires_at=ends[0]),
            Credentials(secret_access_key="s", expires_at=ends[1]),
            Credentials(access_key_id="other", expires_at=ends[2]),
        ]
    )
    assert found.expires_at == ends[1]


_NAMES = st.sampled_from(["", "a", "b"])
_FOUND = st.builds(
    Credentials, access_key_id=_NAMES, secret_access_key=_NAMES, session_token=_NAMES, region=st.none() | _NAMES
)


@given(st.lists(_FOUND))
def test_merged_fields_are_of_one_identity(found: list[Credentials]) -> None:
    merged = merge(found)
    kin = [one for one in found if one.access_key_id in ("", merged.access_key_id)]
    assert merged.secret_access_key in ["", *(one.secret_access_key for one in kin)]
    assert (merged.session_token or "") in ["", *(one.session_token for one in kin)]
    assert merged.access_key_id == next((one.access_key_id for one in found if one.access_key_id), "")


# The default order.


async def test_the_order(environ: dict[str, str]) -> None:
    write_profile(environ)
    keyed = environ | {"AWS_ACCESS_KEY_ID": "environment", "AWS_SECRET_ACCESS_KEY": "s"}
    url = "http://url:s@host"
    chains = {
        "keyword": collect_credentials(url=url, access_key_id="keyword", secret_access_key="s", environ=keyed),
        "url": collect_credentials(url=url, environ=keyed),
        "environment": collect_credentials(url="http://host", environ=keyed),
        "file": collect_credentials(environ=environ),
    }
    for name, chain in chains.items():
        found = await chain.get()
        assert found is not None
        assert found.access_key_id == name


async def test_a_chain_never_glues(environ: dict[str, str]) -> None:
    """Half a credential is passed over, and nothing of it stays."""
    write_profile(environ)
    halves = environ | {"AWS_ACCESS_KEY_ID": "half", "AWS_SESSION_TOKEN": "half's"}
    found = await collect_credentials(environ=halves).get()
    assert found == Credentials(access_key_id="file", secret_access_key="s")


async def test_keywords_have_a_token(environ: dict[str, str]) -> None:
    chain = collect_credentials(
        access_key_id="k", secret_access_key="s", session_token="t", region="r", environ=environ
    )
    assert await chain.get() == WHOLE


@pytest.mark.parametrize(
    ("keys", "missing"),
    [
        (("k", None, None), "secret_access_key"),
        (("k", "", "t"), "secret_access_key"),
        ((None, "marker", None), "access_key_id"),
        ((None, None, "marker"), "access_key_id"),
        (("", "marker", "marker"), "access_key_id"),
    ],
)
def test_half_a_credential_by_keywords(keys: tuple[str | None, str | None, str | None], missing: str) -> None:
    with pytest.raises(UsageError, match=f"^{missing}= is missing") as raised:
        collect_credentials(access_key_id=keys[0], secret_access_key=keys[1], session_token=keys[2])
    assert "marker" not in str(raised.value)


def test_a_malformed_url_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="KEY_ID:SECRET"):
        collect_credentials(url="http://key@hack-me:your-s3-host", access_key_id="k", secret_access_key="s")


async def test_nothing_found(environ: dict[str, str]) -> None:
    """One error that says of every place why it has no keys."""
    environ |= {"AWS_REGION": "r", "AWS_ACCESS_KEY_ID": "half", "AWS_PROFILE": "work"}
    chain = collect_credentials(url="http://host", environ=environ)
    assert await chain.get() is None
    assert await chain.load() == Credentials(region="r")
    files = f"{environ['AWS_SHARED_CREDENTIALS_FILE']} and {environ['AWS_CONFIG_FILE']}"
    assert str(no_credentials(chain)) == (
        "no credentials: tried "
        "the arguments access_key_id and secret_access_key: not given; "
        "the URL's user and password: the URL has none; "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment: AWS_SECRET_ACCESS_KEY is not set; "
        f"AWS_WEB_IDENTITY_TOKEN_FILE; profile [work] in {files}: there is no profile [work]; "
        "the container's credentials service: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor"
        " AWS_CONTAINER_CREDENTIALS_FULL_URI is set; "
        "the EC2 instance metadata service: AWS_EC2_METADATA_DISABLED is set"
    )


def test_off_cloud_it_takes_less_than_three_seconds(environ: dict[str, str]) -> None:
    """Where the metadata service would be, somebody accepts connections and never answers. Real time, real timeout."""

    async def look(chain: AbstractCredentials, times: int) -> float:
        begin = monotonic()
        for _ in range(times):
            assert await chain.get() is None
        return monotonic() - begin

    async def look_twice(chain: AbstractCredentials) -> tuple[float, float]:
        return await look(chain, 1), await look(chain, 10)

    del environ["AWS_EC2_METADATA_DISABLED"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        chain = collect_credentials(environ=environ | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://{host}"})
        first, others = anyio.run(look_twice, chain)
    assert first < 3
    assert others < 0.9, "the absence was not remembered"
    assert str(no_credentials(chain)).endswith(f"metadata service: nobody answered at {host} within 1 s")


async def test_the_record(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    write_profile(environ)
    chain = collect_credentials(environ=environ)
    assert isinstance(chain, ChainedCredentials)
    assert chain.record == tuple[Tried]()
    assert str(no_credentials(chain)) == f"no credentials: tried {chain.where}"
    await chain.get()
    assert [each.said for each in chain.record] == [
        "not given",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
        "",
    ]
    assert "in the environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set" in caplog.text
    assert f"{environ['AWS_CONFIG_FILE']}: found" in caplog.text


async def test_a_broken_source_is_the_end_and_stands_in_the_record() -> None:
    chain = ChainedCredentials([Scripted(Credentials()), Scripted(ConnectionFailed("down")), Scripted(WHOLE)])
    with pytest.raises(ConnectionFailed, match="down") as raised:
        await chain.get()
    assert raised.value.__notes__ == ["keys were looked for before that: Scripted: nothing there"]
    assert chain.record == (Tried("Scripted", "nothing there"), Tried("Scripted", "down"))


async def test_a_named_profile_goes_before_the_environments_keys(environ: dict[str, str], tmp_path: Path) -> None:
    environ |= {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "r", "AWS_PROFILE": "q"}
    (tmp_path / "config").write_text("[profile p]\naws_access_key_id = p\naws_secret_access_key = s\nregion = p\n")
    found = await collect_credentials(profile="p", environ=environ).get()
    assert found == Credentials(access_key_id="p", secret_access_key="s", region="r")
    found = await collect_credentials(profile="p", access_key_id="k", secret_access_key="s", environ=environ).get()
    assert found is not None
    assert found.access_key_id == "k"
    with pytest.raises(UsageError, match=r"there is no profile \[x\]"):
        await collect_credentials(profile="x", environ=environ).get()


async def test_a_blank_profile_is_none_named(environ: dict[str, str]) -> None:
    environ |= {"AWS_ACCESS_KEY_ID": "env", "AWS_SECRET_ACCESS_KEY": "s"}
    found = await collect_credentials(profile="", environ=environ).get()
    assert found is not None
    assert found.access_key_id == "env"


async def test_the_winner_refreshes_what_it_gave(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ahead of the end; if that fails, the old keys serve until then."""
    monkeypatch.setattr("handtruck.credentials.container.RETRY_PAUSES", (0, 0))
    clock, given = Clock(), [503, 200]

    def answer(_: object) -> tuple[int, bytes]:
        end = (clock.now + timedelta(hours=1)).isoformat()
        number = str(len(container.requests))
        return given[-1], json.dumps(
            {"AccessKeyId": number, "SecretAccessKey": "s", "Token": "t", "Expiration": end}
        ).encode()

    async def key() -> str:
        found = await chain.get()
        assert found is not None
        assert found.region == "r"
        return found.access_key_id

    with serve_service(answer) as container:
        environ |= {"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url, "AWS_REGION": "r"}
        chain = collect_credentials(environ=environ, clock=clock)
        assert (await key(), await key()) == ("1", "1")
        clock.advance(minutes=50)
        given.reverse()
        assert (await key(), await key()) == ("1", "1")
        clock.advance(minutes=9)
        given.reverse()
        assert await key() == str(len(container.requests)) != "1"


async def test_the_services_come_last(environ: dict[str, str]) -> None:
    """The container's before the instance's; neither is asked where a file has keys, nor for a region."""
    del environ["AWS_EC2_METADATA_DISABLED"]
    document = json.dumps(
        {"AccessKeyId": "c", "SecretAccessKey": "s", "Token": "t", "Expiration": "9999-12-31T00:00:00Z"}
    )
    with serve_service(lambda _: (200, document.encode())) as container, serve_metadata() as metadata:
        metadata.expires = datetime(9999, 12, 31, tzinfo=UTC)
        environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
        environ["AWS_METADATA_SERVICE_TIMEOUT"] = "10"
        instance = await collect_credentials(environ=environ).get()
        assert instance is not None
        assert (instance.access_key_id, instance.region) == ("ASIA1", REGION)
        environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = container.url
        contained = await collect_credentials(environ=environ).get()
        assert contained is not None
        assert (contained.access_key_id, contained.region) == ("c", None)
        write_profile(environ)
        found = await collect_credentials(environ=environ).get()
        assert found is not None
        assert (found.access_key_id, found.region) == ("file", None)
        assert (metadata.counts["keys"], len(container.requests)) == (1, 1)


async def test_the_region_of_the_first_that_has_one(environ: dict[str, str]) -> None:
    write_profile(environ, region="file's")
    keyed = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}

    async def region(extra: dict[str, str], argument: str = "") -> str | None:
        found = await collect_credentials(region=argument, environ=environ | extra).get()
        assert found is not None
        return found.region

    assert await region({}) == "file's"
    assert await region(keyed) == "file's"
    assert await region({"AWS_REGION": "environment's"}) == "environment's"
    assert await region(keyed | {"AWS_REGION": "environment's"}, "argument's") == "argument's"


async def test_a_broken_file_does_not_spoil_keys_found_before_it(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "config").write_text("nonsense")
    found = await collect_credentials(access_key_id="k", secret_access_key="s", environ=environ).get()
    assert found == Credentials(access_key_id="k", secret_access_key="s")
    with pytest.raises(UsageError, match="config, line 1"):
        await collect_credentials(environ=environ).get()


async def test_the_winner_is_asked_again_alone() -> None:
    before, winner, after = Scripted(Credentials()), Scripted(WHOLE), Scripted(Credentials())
    chain = ChainedCredentials([before, winner, after])
    assert await chain.get() == await chain.get(rejected=WHOLE) == WHOLE
    assert (before.rejected, winner.rejected, after.rejected) == ([None], [None, WHOLE], [])


async def test_a_winner_that_has_nothing_any_more_starts_the_search_again() -> None:
    fickle, steady = Scripted(WHOLE, Credentials()), Scripted(Credentials(access_key_id="b", secret_access_key="c"))
    chain = ChainedCredentials([fickle, steady], region="mine")
    first, second = await chain.get(), await chain.get()
    assert first is not None
    assert second is not None
    assert [(one.access_key_id, one.region) for one in (first, second)] == [("k", "mine"), ("b", "mine")]


async def test_errors_of_a_source_that_is_needed_come_out() -> None:
    chain = ChainedCredentials([Scripted(ConnectionFailed("down"), WHOLE)])
    with pytest.raises(ConnectionFailed):
        await chain.get()
    assert await chain.get() == WHOLE


async def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_REGION", "r")
    merged = merge_credentials(collect_credentials(), EnvironmentCredentials())
    found = await merged.get()
    assert found is not None
    assert (found.access_key_id, found.region) == ("k", "r")


# Many at once, cancelled, pickled.


class Slow(Scripted):
    """Answers when it is let go."""

    def __init__(self, *says: Credentials | Exception) -> None:
        super().__init__(*says)
        self.asked = anyio.Event()
        self.go = anyio.Event()

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        self.asked.set()
        await anyio.lowlevel.checkpoint()
        await self.go.wait()
        return await super().load(rejected=rejected)


@pytest.mark.parametrize("said", [WHOLE, Credentials(region="r")])
async def test_twenty_at_once_make_one_search(said: Credentials) -> None:
    slow = Slow(said)
    before = Scripted(Credentials())
    chain = ChainedCredentials([before, slow])
    found: list[Credentials | None] = []

    async def get() -> None:
        found.append(await chain.get())

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(get)
        await slow.asked.wait()
        await anyio.wait_all_tasks_blocked()
        slow.go.set()
    assert found == [said if said.complete else None] * 20
    assert before.rejected == [None]


async def test_twenty_at_once_are_told_of_one_failure() -> None:
    """Whoever waited does not begin the same again; whoever comes later does."""
    slow = Slow(ConnectionFailed("nobody there", sent=False))
    slow.go.set()
    chain, told = ChainedCredentials([Scripted(Credentials()), slow]), list[BaseException]()

    async def ask() -> None:
        with pytest.raises(ConnectionFailed, match="nobody there") as caught:
            await chain.load()
        told.append(caught.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(ask)
    assert (len(slow.rejected), len(set(map(id, told)))) == (1, 20)
    assert {len(error.__notes__) for error in told} == {1}
    slow.says = [WHOLE]
    assert await chain.get() == WHOLE


async def test_mutation_no_single_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    class Open(LoopLocks):
        def here(self) -> anyio.Lock:
            return anyio.Lock()

    monkeypatch.setattr("handtruck.credentials.chain.LoopLocks", Open)
    with pytest.raises(AssertionError):
        await test_twenty_at_once_make_one_search(WHOLE)


async def test_a_cancelled_search_leaves_nothing_behind() -> None:
    slow = Slow(WHOLE)
    chain = ChainedCredentials([slow])
    found: list[Credentials | None] = []

    async def get() -> None:
        found.append(await chain.get())

    async with anyio.create_task_group() as waiters:
        async with anyio.create_task_group() as searchers:
            searchers.start_soon(chain.get)
            await slow.asked.wait()
            waiters.start_soon(get)
            await anyio.wait_all_tasks_blocked()
            searchers.cancel_scope.cancel()
        slow.go.set()
    assert found == [WHOLE]


@pytest.mark.parametrize("backends", [("asyncio", "trio"), ("trio", "asyncio")])
def test_made_outside_a_loop_and_used_on_both(environ: dict[str, str], backends: tuple[str, str]) -> None:
    write_profile(environ)
    chain = collect_credentials(environ=environ)
    for backend in backends:
        found = anyio.run(chain.get, backend=backend)
        assert found is not None
        assert found.access_key_id == "file"


async def test_what_is_pickled_is_where_to_look(environ: dict[str, str]) -> None:
    write_profile(environ, key="marker")
    for chain in (
        collect_credentials(url="http://host", region="r", environ=environ),
        merge_credentials(collect_credentials(environ=environ), StaticCredentials(region="r")),
    ):
        found = await chain.get()
        pickled = pickle.dumps(chain)
        assert b"marker" not in pickled
        again: AbstractCredentials = pickle.loads(pickled)  # noqa: S301 - our own
        assert await again.get() == found == replace(WHOLE, access_key_id="marker", session_token=None)


async def test_mutation_all_of_a_source_is_pickled(environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AbstractCredentials, "__getstate__", lambda self: dict(vars(self)))
    monkeypatch.delattr(ChainedCredentials, "__getstate__")
    monkeypatch.delattr(ProfileCredentials, "__getstate__", raising=False)
    with pytest.raises((AssertionError, TypeError, AttributeError)):
        await test_what_is_pickled_is_where_to_look(environ)


async def test_given_keys_are_not_pickled(environ: dict[str, str]) -> None:
    for chain in (
        collect_credentials(access_key_id="k", secret_access_key="s", environ=environ),
        collect_credentials(url="http://k:s@host", environ=environ),
        merge_credentials(StaticCredentials("k", "s")),
    ):
        with pytest.raises(TypeError, match="does not leave this process"):
            pickle.dumps(chain)


async def test_errors_show_no_secret(environ: dict[str, str], tmp_path: Path) -> None:
    marker = "marker-secret"
    environ |= {"AWS_SESSION_TOKEN": marker, "AWS_SECRET_ACCESS_KEY": marker}
    (tmp_path / "credentials").write_text(f"[default]\naws_secret_access_key = {marker}\n{marker}\n")
    with pytest.raises(UsageError, match="line 3") as raised:
        await collect_credentials(url="http://host", environ=environ).get()
    assert_clean(raised.value, (marker,))
    with pytest.raises(UsageError, match="access_key_id= is missing") as raised:
        collect_credentials(secret_access_key=marker, session_token=marker, environ=environ)
    assert_clean(raised.value, (marker,))
    with pytest.raises(UsageError, match="no user") as raised:
        collect_credentials(url=f"http://:{marker}@host", environ=environ)
    assert_clean(raised.value, (marker,))


# botocore as the oracle: whose keys are taken, where several places have some.

_PLACES = ("environment", "file", "container", "instance")


@pytest.fixture(name="places", scope="module")
def _places() -> Iterator[dict[str, dict[str, str]]]:
    """What the environment has to say for each place to have keys."""
    end = "9999-12-31T00:00:00Z"
    document = {"AccessKeyId": "container", "SecretAccessKey": "s", "Token": "t", "Expiration": end}
    with serve_service(lambda _: (200, json.dumps(document).encode())) as container, serve_metadata() as metadata:
        metadata.answers["role"] = 200, ROLE.encode()
        metadata.answers["keys"] = 200, metadata_keys("instance", datetime(9999, 12, 31, tzinfo=UTC))
        yield {
            "environment": {"AWS_ACCESS_KEY_ID": "environment", "AWS_SECRET_ACCESS_KEY": "s"},
            "file": {},
            "container": {"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url},
            "instance": {
                "AWS_EC2_METADATA_DISABLED": "false",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
                "AWS_METADATA_SERVICE_TIMEOUT": "10",
            },
        }


@pytest.mark.parametrize("profile", [None, "default"])
@pytest.mark.parametrize("present", [c for n in range(5) for c in combinations(_PLACES, n)], ids="+".join)
def test_the_same_winner_as_botocores(
    places: dict[str, dict[str, str]],
    environ: dict[str, str],
    present: tuple[str, ...],
    profile: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for place in present:
        environ |= places[place]
    if "file" in present:
        write_profile(environ)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    try:
        credentials = Session(profile=profile).get_credentials()
        theirs = credentials and credentials.get_frozen_credentials().access_key
    except ProfileNotFound:
        theirs = "error"
    try:
        found = anyio.run(collect_credentials(profile=profile, environ=environ).get)
        ours = found and found.access_key_id
    except UsageError:
        ours = "error"
    assert ours == theirs
    if profile is None:
        assert ours == (present[0] if present else None)
