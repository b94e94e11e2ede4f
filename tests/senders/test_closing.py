"""Closing an S3Client ends whatever waits in it, wherever it waits, in the same words."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from handtruck.errors import HandtruckError, UsageError
from handtruck.transport.own import OwnSender
from handtruck.transport.senders import DirectSender
from tests.scripted import SILENCE, Reply, client, serve, store, truncated
from tests.senders.support import BODY, GOES_RED, PART

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from handtruck import S3Client
    from handtruck.transport.exchange import Call
    from handtruck.transport.senders import Sender

pytestmark = pytest.mark.anyio

CLOSED: Final = "this S3Client is closed"


async def ended(s3: S3Client, calls: Mapping[str, Callable[[], Awaitable[object]]], begun: Any) -> dict[str, object]:
    """How these calls end when the client is closed as soon as ``begun`` came back and all of them wait."""
    outcomes: dict[str, object] = {}

    async def run(name: str) -> None:
        try:
            outcomes[name] = await calls[name]()
        except (HandtruckError, RuntimeError) as error:
            outcomes[name] = error

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for name in calls:
                group.start_soon(run, name)
            await begun()
            await anyio.wait_all_tasks_blocked()
            await s3.aclose()
    return outcomes


def assert_closed(outcomes: Mapping[str, object], names: object) -> None:
    assert outcomes.keys() == set(names)  # type: ignore[call-overload]
    assert {type(outcome) for outcome in outcomes.values()} == {UsageError}, outcomes
    assert {str(outcome) for outcome in outcomes.values()} == {CLOSED}


# -- Waiting for an answer, for a place --------------------------------------------------------------------------------


async def check_all_that_wait_are_told(reply: Reply) -> None:
    """Two are on the wire, the others wait for a place."""
    async with serve(reply) as peer, client(peer, max_connections=2) as s3:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            f"{method.__name__} {number}": partial(method, f"b/{number}")
            for number in range(3)
            for method in (s3.get, s3.delete)
        }
        calls["put"] = partial(s3.put, "b/k", BODY)
        calls["list"] = partial(anext, s3.list_objects_v2("b"))
        outcomes = await ended(s3, calls, partial(peer.until, lambda: peer.busy == 2))
        assert_closed(outcomes, calls)
        assert s3._session.places.taken == 0
        assert len(peer.requests) == 2
        await peer.deserted()


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(SILENCE, id="for an answer"),
        pytest.param(truncated(Reply(body=BODY), 100, "silence"), id="for the rest of one"),  # type: ignore[arg-type]
    ],
)
async def test_all_that_wait_are_told(reply: Reply) -> None:
    await check_all_that_wait_are_told(reply)


async def test_mutation_a_transport_that_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on the wire would wait for ever."""

    async def aclose(self: DirectSender) -> None:
        self._closed = True

    monkeypatch.setattr(DirectSender, "aclose", aclose)
    monkeypatch.setattr("tests.senders.test_closing.anyio.fail_after", lambda _: anyio.move_on_after(0.5))
    with pytest.raises(GOES_RED):
        await check_all_that_wait_are_told(SILENCE)


async def test_mutation_the_transports_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def perform(self: DirectSender, call: Call) -> Any:
        return await self._transport.perform(call)

    monkeypatch.setattr(DirectSender, "perform", perform)
    with pytest.raises(GOES_RED):
        await check_all_that_wait_are_told(SILENCE)


async def test_what_may_not_be_sent_twice_says_that_it_is_uncertain() -> None:
    """A POST on the wire may have been carried out; that it is not tried again has nothing to do with closing."""
    async with serve(SILENCE) as peer, client(peer) as s3:
        outcomes = await ended(s3, {"post": partial(s3.post, "b/k", b"")}, partial(peer.until, lambda: peer.busy == 1))
        assert isinstance(outcomes["post"], HandtruckError)
        assert s3._session.places.taken == 0


async def test_a_download_is_told(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"before")
    async with store() as (s3, tiny):
        tiny.put("b/k", BODY)
        tiny.on("GetObject", SILENCE, nth=2)
        down = partial(s3.get_file_parallel, "b/k", tmp_path / "target", range_step=PART, workers_count=2)
        outcomes = await ended(s3, {"down": down}, partial(tiny.peer.until, lambda: len(tiny.calls) >= 2))
        assert_closed(outcomes, ["down"])
        assert (tmp_path / "target").read_bytes() == b"before"
        assert len(list(tmp_path.iterdir())) == 1
        await tiny.peer.deserted()


# -- Waiting for the sender --------------------------------------------------------------------------------------------


async def test_closed_while_the_first_request_chooses_its_road(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading certificates for a proxy takes a while, in a thread."""
    chosen: list[Sender] = []
    make, reached, gate = OwnSender._make, anyio.Event(), anyio.Event()

    async def slowly(self: OwnSender, origin: str) -> Sender:
        reached.set()
        await gate.wait()
        chosen.append(await make(self, origin))
        return chosen[-1]

    monkeypatch.setattr(OwnSender, "_make", slowly)
    async with serve(Reply()) as peer, client(peer) as s3, anyio.create_task_group() as group:
        outcomes: dict[str, object] = {}

        async def ask(name: str) -> None:
            try:
                outcomes[name] = await s3.get("b/k")
            except UsageError as error:
                outcomes[name] = error

        for name in ("first", "second", "third"):
            group.start_soon(ask, name)
        await reached.wait()
        await anyio.wait_all_tasks_blocked()
        await s3.aclose()
        gate.set()
        with anyio.fail_after(10):
            while len(outcomes) < 3:
                await anyio.wait_all_tasks_blocked()
        assert_closed(outcomes, ["first", "second", "third"])
        assert (len(chosen), peer.connections) == (1, 0)
        for sender in chosen:  # the one that came too late owns nothing yet, and is nobody's
            await sender.aclose()


async def check_one_sender_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Sender] = []
    make = OwnSender._make

    async def counted(self: OwnSender, origin: str) -> Sender:
        await anyio.wait_all_tasks_blocked()
        made.append(await make(self, origin))
        return made[-1]

    monkeypatch.setattr(OwnSender, "_make", counted)
    async with serve(Reply()) as peer, client(peer) as s3, anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(s3.get, f"b/{number}")
    for sender in made:
        await sender.aclose()
    assert len(made) == 1


async def test_many_first_requests_make_one_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_one_sender_is_made(monkeypatch)


async def test_mutation_no_lock_around_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def chosen(self: OwnSender, origin: str) -> Sender:
        self._known[origin] = await self._make(origin)
        return self._known[origin]

    monkeypatch.setattr(OwnSender, "_chosen", chosen)
    with pytest.raises(GOES_RED):
        await check_one_sender_is_made(monkeypatch)


async def test_a_sender_that_could_not_be_made_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled first request leaves the choice to the next one."""
    make, reached = OwnSender._make, anyio.Event()
    stuck = True

    async def once(self: OwnSender, origin: str) -> Sender:
        if stuck:
            reached.set()
            await anyio.sleep_forever()
        return await make(self, origin)

    monkeypatch.setattr(OwnSender, "_make", once)
    async with serve(Reply()) as peer, client(peer) as s3:
        async with anyio.create_task_group() as group:
            group.start_soon(s3.get, "b/k")
            await reached.wait()
            group.cancel_scope.cancel()
        stuck = False
        assert (await s3.get("b/k")).is_success
