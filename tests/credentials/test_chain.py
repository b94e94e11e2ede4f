"""Several sources as one: merged because asked to, otherwise whole or nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handtruck.credentials import (
    AbstractCredentials,
    EnvironmentCredentials,
    StaticCredentials,
    collect_credentials,
    merge_credentials,
)
from handtruck.credentials.base import no_credentials
from handtruck.credentials.chain import ChainedCredentials, merge
from handtruck.errors import ConnectionFailed, UsageError
from handtruck.models import Credentials

if TYPE_CHECKING:
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
    chain = collect_credentials(url="http://host", environ=environ | {"AWS_REGION": "r"})
    assert await chain.get() is None
    assert await chain.load() == Credentials(region="r")
    text = str(no_credentials(chain))
    places = ["arguments", "URL's user", "in the environment", "profile [default] in "]
    assert text.startswith("no credentials: tried the arguments access_key_id and secret_access_key; the URL's")
    assert [text.index(place) for place in places] == sorted(text.index(place) for place in places)


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
