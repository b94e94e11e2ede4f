"""Clean-up has one deadline: a server that answers no more costs 5 s in all, whatever was under way.

In virtual time, which jumps where nothing is ready, on asyncio and trio; on uvloop, which has its own clock, in real
time, a fifth of it.
"""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import httpx
import pytest
import trio
import trio.testing

import handtruck
from handtruck import _attempt
from handtruck.credentials import StaticCredentials
from handtruck.errors import S3Error
from handtruck.protocol import parts
from handtruck.transfer import multipart, sources, upload, workers
from tests.transfer.memory_s3 import Call, Fault, MemoryS3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from tests.transfer.checkpoints import InlineThreads

PART: Final = 4096
DATA: Final = bytes(range(251)) * 44  # 11 044 bytes: two whole parts, and one that is not
CREATE, SEND, LIST, COMPLETE, ABORT = (
    "CreateMultipartUpload",
    "UploadPart",
    "ListParts",
    "CompleteMultipartUpload",
    "AbortMultipartUpload",
)
LIMIT: Final = 2.0
"""Seconds that the caller gives an upload."""


class _Jumping(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "everything waits for ever"
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its clock stands still as long as anything is ready, and then jumps to what is next."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


@dataclass(frozen=True, slots=True)
class Loop:
    """An event loop, and how many of its seconds are one of ours."""

    backend: str
    options: Callable[[], dict[str, Any]]
    second: float = 1.0

    @property
    def slack(self) -> float:
        """How much later than expected something may be seen, in our seconds; two deadlines would be 3 s."""
        return 2.5 if self.second < 1 else 0.01

    def run(self, main: Callable[[], Awaitable[Any]]) -> Any:
        """Run ``main`` to its end."""
        return anyio.run(main, backend=self.backend, backend_options=self.options())


ASYNCIO: Final = Loop("asyncio", lambda: {"loop_factory": JumpingLoop})
UVLOOP: Final = Loop("asyncio", lambda: {"use_uvloop": True}, 0.2)
TRIO: Final = Loop("trio", lambda: {"clock": trio.testing.MockClock(autojump_threshold=0)})
ON_EVERY_LOOP: Final = pytest.mark.parametrize(
    "loop", [ASYNCIO, UVLOOP, TRIO], ids=["asyncio", "asyncio+uvloop", "trio"]
)
IN_VIRTUAL_TIME: Final = pytest.mark.parametrize("loop", [ASYNCIO, TRIO], ids=["asyncio", "trio"])


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch, threads: InlineThreads) -> None:
    """Objects of a few KiB go the ways of large ones, without real threads, which have a clock of their own."""
    monkeypatch.setattr(parts, "MIN_PART_SIZE", 1024)
    monkeypatch.setattr(multipart, "_LOOK_AGAIN", 0)


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        took: seconds until the call had come back.
        carried_out: by the server, whether or not it said so.
    """

    took: float
    carried_out: list[str]
    notes: list[str] = field(default_factory=list)


async def silent_from(first: str, call: Call, late: float | None = None, seen: list[str] | None = None) -> None:
    """From that operation on nothing is answered; ``late``: but this one, at that time."""
    assert seen is not None
    seen.append(call.operation)
    if first in seen:
        if late is not None and call.operation == first:
            await anyio.sleep_until(late)
        else:
            await anyio.sleep_forever()


async def one_upload(
    first: str, second: float, source: Path | None, late: float | None = None, fault: Fault | None = None
) -> Outcome:
    """Upload with a time limit to a server that stops answering; ``fault``: of the first part."""
    s3 = MemoryS3()
    began = anyio.current_time()
    seen: list[str] = []
    until = None if late is None else began + late * second
    s3.before_answer = partial(silent_from, first, late=until, seen=seen)
    s3.fault = lambda call: fault if call.operation == SEND else None
    notes: list[str] = []
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"), max_attempts=1)
        try:
            with anyio.fail_after(LIMIT * second):
                try:
                    if source is None:
                        await client.put_multipart("b/k", DATA, part_size=PART, part_upload_tries=1)
                    else:
                        await client.upload("b/k", source, part_size=PART, resume=True)
                except BaseException as error:
                    notes += getattr(error, "__notes__", ())
                    raise
        except (TimeoutError, S3Error):
            pass
        took = (anyio.current_time() - began) / second
        assert not client._session.places.taken
    return Outcome(took, seen, notes)


def outcome(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, first: str, *, source: Path | None = None, **arguments: Any
) -> Outcome:
    for module in (_attempt, multipart, upload, sources, workers):
        monkeypatch.setattr(module, "GRACE", 5.0 * loop.second)
    result = loop.run(partial(one_upload, first, loop.second, source, **arguments))
    assert isinstance(result, Outcome)
    return result


STAGES: Final = (
    # Silent from where on; how long all of it takes; what reaches the server.
    (CREATE, LIMIT + 3, [CREATE]),
    (SEND, LIMIT + 5, [CREATE, SEND, ABORT]),
    (COMPLETE, LIMIT + 3 + 2, [CREATE, SEND, SEND, SEND, COMPLETE, ABORT]),
)


def check_one_deadline(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, first: str, seconds: float, sent: list[str]
) -> None:
    found = outcome(loop, monkeypatch, first)
    assert seconds - 0.5 <= found.took <= seconds + loop.slack, "not within one deadline"
    assert found.carried_out == sent
    assert [note for note in found.notes if "may remain" in note]


@ON_EVERY_LOOP
@pytest.mark.parametrize(("first", "seconds", "sent"), STAGES, ids=[stage[0] for stage in STAGES])
def test_a_server_that_answers_no_more(
    loop: Loop, first: str, seconds: float, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fail_after(n)`` returns within n seconds and one clean-up deadline. Found: two of them, after Complete."""
    check_one_deadline(loop, monkeypatch, first, seconds, sent)


@IN_VIRTUAL_TIME
@pytest.mark.parametrize(
    ("first", "sent"),
    [(ABORT, [CREATE, SEND, ABORT]), (LIST, [CREATE, SEND, ABORT, LIST])],
)
def test_an_abort_that_is_not_answered(
    loop: Loop, first: str, sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure it has all of the time; the look that follows it, what it has left."""
    found = outcome(loop, monkeypatch, first, fault=Fault.REFUSED)
    assert found.carried_out == sent
    assert found.took == pytest.approx(5)
    assert [note for note in found.notes if "no answer within 5 s" in note]


@IN_VIRTUAL_TIME
@pytest.mark.parametrize("first", [CREATE, COMPLETE])
@pytest.mark.parametrize("late", [0.0, 1.0, 2.9])
def test_an_answer_that_comes_late(loop: Loop, first: str, late: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it took is missing from the abort's time, not added to it; an object that is there needs none."""
    found = outcome(loop, monkeypatch, first, late=LIMIT + late)
    if first == COMPLETE:
        assert ABORT not in found.carried_out
        assert found.took == pytest.approx(LIMIT + late)
        return
    assert found.carried_out == [CREATE, *([SEND] if late == 0 and SEND in found.carried_out else []), ABORT]
    assert found.took == pytest.approx(LIMIT + 5)


@ON_EVERY_LOOP
@pytest.mark.parametrize(("first", "seconds"), [(CREATE, 3), (SEND, 0), (COMPLETE, 3)])
def test_an_upload_that_is_kept(
    loop: Loop, first: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to abort."""
    source = tmp_path / "source.bin"
    source.write_bytes(DATA)
    found = outcome(loop, monkeypatch, first, source=source)
    assert ABORT not in found.carried_out
    assert LIMIT + seconds - 0.5 <= found.took <= LIMIT + seconds + loop.slack
    assert bool([note for note in found.notes if "is kept" in note]) == (first != CREATE)


# -- Many at once ------------------------------------------------------------------------------------------------------


async def many_uploads(count: int) -> tuple[float, int]:
    """Cancel uploads at once whose aborts have two places between them, and no answer."""
    s3 = MemoryS3()
    seen: list[str] = []
    s3.before_answer = partial(silent_from, SEND, seen=seen)
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        with anyio.move_on_after(LIMIT) as scope:
            async with anyio.create_task_group() as group:
                for number in range(count):
                    group.start_soon(partial(client.put_multipart, f"b/{number}", DATA, part_size=PART))
                await anyio.sleep(LIMIT / 2)
                client._session.places.size = 1
        assert scope.cancelled_caught
        return anyio.current_time() - scope.deadline, sum(call.operation == ABORT for call in s3.calls)


@IN_VIRTUAL_TIME
def test_every_abort_has_its_turn(loop: Loop) -> None:
    """Who had to wait for a place has less time for its abort, but some."""
    seconds, aborts = loop.run(partial(many_uploads, 6))
    assert aborts == 6
    assert seconds == pytest.approx(5 + 2 + 2)


# -- Mutations ---------------------------------------------------------------------------------------------------------


def _two_deadlines(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(multipart.CleanUp, "time_to_abort", lambda _: 5.0)


def _answers_take_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_attempt, "ANSWER_SHARE", 1.0)
    patch.setattr(multipart, "ANSWER_SHARE", 1.0)


def _nobody_looks_at_the_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(multipart.CleanUp, "begin", lambda clock: setattr(clock, "began", anyio.current_time()))


@IN_VIRTUAL_TIME
@pytest.mark.parametrize("apply", [_two_deadlines, _answers_take_all, _nobody_looks_at_the_clock])
def test_mutation(loop: Loop, apply: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one deadline broken, its check is red; and whole again, green."""
    first, seconds, sent = STAGES[-1]
    with monkeypatch.context() as patch:
        apply(patch)
        with pytest.raises(AssertionError):
            check_one_deadline(loop, monkeypatch, first, seconds, sent)
    check_one_deadline(loop, monkeypatch, first, seconds, sent)
