"""Keys that end, kept fresh: what every source that fetches has in common, with a clock that a test moves."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handtruck.credentials.refreshing import RefreshingCredentials
from handtruck.errors import ConnectionFailed, HandtruckError, InvalidResponse, S3Error, UsageError
from handtruck.models import Credentials
from tests.credentials.scripted_metadata import START, Clock

if TYPE_CHECKING:
    from datetime import datetime

pytestmark = pytest.mark.anyio


class Scripted(RefreshingCredentials):
    """Gives ``K1``, ``K2`` …, or raises, or has nothing."""

    def __init__(self, clock: Clock | None = None, *, lasts: float | None = 6 * 3600) -> None:
        super().__init__(clock=clock or Clock())
        self.lasts = lasts
        self.fetches = 0
        self.known: list[Credentials | None] = []
        self.fails: HandtruckError | None = None
        self.blank = False

    async def _fetch(self, known: Credentials | None) -> Credentials:
        self.fetches += 1
        self.known.append(known)
        await anyio.lowlevel.checkpoint()
        if self.fails is not None:
            raise self.fails
        if self.blank:
            return Credentials()
        end = None if self.lasts is None else self._clock() + timedelta(seconds=self.lasts)
        return Credentials(access_key_id=f"K{self.fetches}", secret_access_key="marker-s", expires_at=end)


ERRORS = (
    UsageError("no"),
    ConnectionFailed("no", sent=False),
    InvalidResponse("no"),
    S3Error("no", status=403),
)


@pytest.fixture(name="clock")
def _clock() -> Clock:
    return Clock()


async def key_of(source: RefreshingCredentials) -> str:
    return (await source.load()).access_key_id


async def test_nothing_is_fetched_before_it_is_time(clock: Clock) -> None:
    source = Scripted(clock)
    assert await key_of(source) == "K1"
    clock.advance(hours=5, minutes=44, seconds=59)
    assert await key_of(source) == "K1"
    clock.advance(seconds=1)
    assert await key_of(source) == "K2"
    assert [known and known.access_key_id for known in source.known] == [None, "K1"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_a_failed_early_refresh_leaves_the_old_keys_until_they_end(clock: Clock, error: HandtruckError) -> None:
    source = Scripted(clock)
    await source.load()
    source.fails = error
    clock.advance(hours=5, minutes=50)
    assert [await key_of(source), await key_of(source)] == ["K1", "K1"]
    assert source.fetches == 2, "the failure was tried again within the minute"
    clock.advance(minutes=9, seconds=59)
    assert await key_of(source) == "K1"
    clock.advance(seconds=1)
    with pytest.raises(type(error)):
        await source.load()
    source.fails = None
    assert await key_of(source) == f"K{source.fetches}"


async def test_an_error_of_the_program_is_not_hidden(clock: Clock) -> None:
    source = Scripted(clock)
    await source.load()
    clock.advance(hours=5, minutes=50)
    source.fails = ZeroDivisionError()  # type: ignore[assignment]
    with pytest.raises(ZeroDivisionError):
        await source.load()


async def test_keys_of_two_seconds(clock: Clock) -> None:
    """Given while they last; fetched again only when somebody asks after that."""
    source = Scripted(clock, lasts=2)
    assert [await key_of(source), await key_of(source)] == ["K1", "K1"]
    clock.advance(seconds=2)
    assert await key_of(source) == "K2"


async def test_keys_without_an_end_are_kept_until_rejected(clock: Clock) -> None:
    source = Scripted(clock, lasts=None)
    old = await source.load()
    clock.advance(days=9999)
    assert await source.load() is old
    assert (await source.load(rejected=old)).access_key_id == "K2"


async def test_absence_is_remembered_for_a_minute(clock: Clock) -> None:
    source = Scripted(clock)
    source.blank = True
    assert await source.get() is None
    clock.advance(seconds=59)
    assert await source.get() is None
    assert source.fetches == 1
    clock.advance(seconds=1)
    source.blank = False
    assert await key_of(source) == "K2"


@pytest.mark.parametrize("blank", [True, False])
async def test_a_pause_ends_where_the_clock_is_set_back(clock: Clock, blank: bool) -> None:
    source = Scripted(clock, lasts=1000)
    source.blank = blank
    await source.load()
    clock.now += timedelta(seconds=200)
    source.fails = None if blank else ConnectionFailed("no", sent=False)
    await source.load()
    fetches = source.fetches
    await source.load()
    assert source.fetches == fetches
    clock.now -= timedelta(days=1)
    await source.load()
    assert source.fetches == fetches + 1


async def test_each_is_told_with_notes_of_its_own(clock: Clock) -> None:
    source, told = Scripted(clock), list[BaseException]()
    source.fails = ConnectionFailed("nobody there", sent=False)
    source.fails.add_note("looked elsewhere")

    async def ask() -> None:
        with pytest.raises(ConnectionFailed) as caught:
            await source.load()
        caught.value.add_note("mine")
        told.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert [error.__notes__ for error in told] == [["looked elsewhere", "mine"]] * 5


async def test_a_source_that_loses_its_keys(clock: Clock) -> None:
    source = Scripted(clock)
    await source.load()
    source.blank = True
    clock.advance(hours=5, minutes=50)
    assert await key_of(source) == "K1"
    clock.advance(minutes=10)
    with pytest.raises(ConnectionFailed, match="no longer has keys"):
        await source.load()


async def test_keys_already_ended_are_not_given(clock: Clock) -> None:
    source = Scripted(clock, lasts=0)
    with pytest.raises(InvalidResponse, match="already ended"):
        await source.load()


async def test_rejected_keys_are_never_the_fallback(clock: Clock) -> None:
    source = Scripted(clock)
    old = await source.load()
    source.fails = UsageError("no")
    with pytest.raises(UsageError):
        await source.load(rejected=old)
    assert await key_of(source) == "K1", "nobody else was told that they were rejected"


async def test_twenty_at_once_fetch_once(clock: Clock) -> None:
    source = Scripted(clock)
    found: list[str] = []

    async def get(rejected: Credentials | None = None) -> None:
        found.append((await source.load(rejected=rejected)).access_key_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(get)
    old = await source.load()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(get, old)
    assert found == ["K1"] * 20 + ["K2"] * 20


async def test_twenty_at_once_are_told_of_one_failure(clock: Clock) -> None:
    """Whoever waited does not wait for the same again; whoever comes later does."""
    source, told = Scripted(clock), list[BaseException]()
    source.fails = ConnectionFailed("nobody there", sent=False)

    async def ask() -> None:
        with pytest.raises(ConnectionFailed, match="nobody there") as caught:
            await source.load()
        told.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(ask)
    assert (source.fetches, len(told), len(set(map(id, told)))) == (1, 20, 20)
    await ask()
    assert source.fetches == 2
    source.fails = None
    assert await key_of(source) == "K3"


async def test_a_mutation_without_the_lock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty would fetch twenty times."""
    source = Scripted(clock)

    async def unlocked(*, rejected: Credentials | None = None) -> Credentials:
        return source._good(rejected) or await source._refresh(None)

    monkeypatch.setattr(source, "load", unlocked)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(source.get)
    assert source.fetches == 20


def test_on_both_loops(clock: Clock) -> None:
    source = Scripted(clock)
    first = anyio.run(source.load, backend="asyncio")
    assert anyio.run(source.load, backend="trio") is first


async def test_pickled_without_keys(clock: Clock) -> None:
    source = Scripted(clock)
    await source.load()
    pickled = pickle.dumps(source)
    assert b"marker-s" not in pickled
    again = pickle.loads(pickled)  # noqa: S301 - our own
    assert again._held is None
    assert await key_of(again) == "K2"


_DAY = 24 * 3600


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, _DAY), st.floats(-10, _DAY), st.sampled_from(["keys", "error", "blank", "no end"])))
)
def test_keys_that_have_ended_are_never_given(script: list[tuple[float, float, str]]) -> None:
    """The invariant, whatever the source does, and whenever it is asked."""
    clock = Clock()
    source = Scripted(clock)

    async def ask() -> datetime | None:
        for later, lasts, what in script:
            clock.advance(seconds=later)
            source.lasts = None if what == "no end" else lasts
            source.fails = UsageError("no") if what == "error" else None
            source.blank = what == "blank"
            try:
                found = await source.load()
            except HandtruckError:
                continue
            assert found.expires_at is None or found.expires_at > clock.now
            assert not found.complete or found.access_key_id == f"K{found.access_key_id[1:]}"
        return None

    anyio.run(ask)
    assert clock.now >= START
