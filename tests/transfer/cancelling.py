"""What the tests of cancellation share: loops and ways, worlds, what must not be left behind, and two sweeps.

A world is what a call works on: an S3 in memory, a client of it, a folder; new for every run. A sweep makes as many of
them as it takes: to cancel the call at each of its checkpoints, or to make each of its requests fail.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import count, product
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import httpx
import pytest
from anyio.lowlevel import checkpoint

import handtruck
from handtruck.credentials import StaticCredentials
from handtruck.errors import HandtruckError, S3Error
from tests.transfer.checkpoints import ON_ASYNCIO, ON_TRIO, Trial, Way, cases, run, swept
from tests.transfer.memory_s3 import Fault, MemoryS3

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from tests.transfer.checkpoints import CountedThreads, InlineThreads
    from tests.transfer.memory_s3 import Call

PART: Final = 4096
DATA: Final = bytes(range(251)) * 44  # 11 044 bytes: two whole parts, and one that is not
BLOCKS: Final = [DATA[start : start + 1500] for start in range(0, len(DATA), 1500)]
OLD: Final = b"what was there before"
OBJECT: Final = "/bucket/key"

# -- Loops and ways ------------------------------------------------------------------------------------------------

Loop: TypeAlias = tuple[str, dict[str, bool]]
ASYNCIO: Final[Loop] = ("asyncio", {})  # debug mode would take most of the time for the tracebacks of its callbacks
UVLOOP: Final[Loop] = ("asyncio", {"use_uvloop": True})
TRIO: Final[Loop] = ("trio", {})
LOOPS: Final = (("asyncio", ASYNCIO, ON_ASYNCIO), ("asyncio+uvloop", UVLOOP, ON_ASYNCIO), ("trio", TRIO, ON_TRIO))

EVERY_WAY: Final = pytest.mark.parametrize(("anyio_backend", "way"), cases(LOOPS), indirect=["anyio_backend"])
BY_ITS_OWN_SCOPE: Final = pytest.mark.parametrize(
    ("anyio_backend", "way"),
    [pytest.param(ASYNCIO, Way.NATIVE, id="asyncio-Task.cancel"), pytest.param(TRIO, Way.TRIO, id="trio-trio scope")],
    indirect=["anyio_backend"],
)
ON_EVERY_LOOP: Final = pytest.mark.parametrize(
    "anyio_backend", [loop for _, loop, _ in LOOPS], ids=[name for name, _, _ in LOOPS], indirect=True
)
ON_EITHER_ASYNCIO: Final = pytest.mark.parametrize(
    "anyio_backend", [ASYNCIO, UVLOOP], ids=["asyncio", "asyncio+uvloop"], indirect=True
)

# -- Worlds --------------------------------------------------------------------------------------------------------


def open_descriptors() -> int:
    """How many this process has."""
    return len(os.listdir("/dev/fd"))  # noqa: PTH208 - called thousands of times


@asynccontextmanager
async def memory_client() -> AsyncIterator[tuple[handtruck.S3Client, MemoryS3]]:
    """A client of an S3 in memory, that never waits before it tries again."""
    s3 = MemoryS3()
    async with httpx.AsyncClient(transport=s3, trust_env=False) as http:
        client = handtruck.S3Client("http://s3.test", http, credentials=StaticCredentials("id", "key"))
        client._session.random = lambda: 0.0
        yield client, s3


@dataclass
class World:
    """What a call works on, new for every run."""

    s3: MemoryS3
    client: handtruck.S3Client
    folder: Path
    threads: InlineThreads | CountedThreads
    descriptors: int = 0

    @property
    def source(self) -> Path:
        return self.folder / "source.bin"

    @property
    def target(self) -> Path:
        return self.folder / "target.bin"

    def begin(self) -> None:
        """All is there that the call is to find."""
        self.threads.abandoned.clear()
        self.descriptors = open_descriptors()

    def left(self) -> list[str]:
        """What is there that should not be, in worlds of this kind; see :func:`left_behind` for what is so in all."""
        return [f"temporary file {path}" for path in self.folder.glob("*.part")]


@dataclass(frozen=True, slots=True)
class Job:
    """A call with :data:`DATA`, and what is there before it."""

    name: str
    call: Callable[[JobWorld], Awaitable[object]]
    upload: bool = True
    existing: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass
class JobWorld(World):
    """What a job works on."""

    job: Job = field(kw_only=True)
    generators: list[Any] = field(default_factory=list)

    def blocks(self) -> AsyncIterator[bytes]:
        """A caller's async generator."""

        async def blocks() -> AsyncIterator[bytes]:
            for block in BLOCKS:
                await checkpoint()
                yield block

        generator = blocks()
        self.generators.append(generator)
        return generator

    def sync_blocks(self) -> Iterator[bytes]:
        """A caller's generator."""
        generator = (block for block in BLOCKS)
        self.generators.append(generator)
        return generator

    def left(self) -> list[str]:
        """Generators, too, that are not at their end. They are kept: a collected one would close itself."""
        frames = ("ag_frame", "gi_frame")
        still = [one for one in self.generators if any(getattr(one, frame, None) for frame in frames)]
        return super().left() + [f"generator {generator!r}" for generator in still]


@asynccontextmanager
async def world_of(
    job: Job,
    folder: Path,
    threads: InlineThreads | CountedThreads,
    prepare: Callable[[JobWorld], object] = lambda _: None,
) -> AsyncIterator[JobWorld]:
    """Everything new but the folder, and that as it was."""
    async with memory_client() as (client, s3):
        here = JobWorld(s3, client, folder, threads, job=job)
        if not here.source.exists():
            here.source.write_bytes(DATA)
        here.target.unlink(missing_ok=True)
        if not job.upload:
            s3.put(OBJECT, DATA)
        if job.existing:
            here.target.write_bytes(OLD)
            s3.objects.setdefault(OBJECT, (OLD, '"old"'))
        prepare(here)
        here.begin()
        yield here
        for generator in here.generators:
            if hasattr(generator, "aclose"):
                await generator.aclose()


# -- Checks --------------------------------------------------------------------------------------------------------


def left_behind(here: World, trial: Trial) -> list[str]:
    """Whatever is there that should not be, whether the call came to its end or not."""
    session = here.client._session
    found = [f"task {stray}" for stray in trial.strays]
    found += [f"thread {thread}" for thread in here.threads.abandoned]
    found += [f"answer {answer}" for answer in here.s3.answers]
    found += [f"request {here.s3.in_flight} in flight"] if here.s3.in_flight else []
    found += [f"token {session.places.taken} of places"] if session.places.taken else []
    found += [f"token {session.threads.borrowed_tokens} of threads"] if session.threads.borrowed_tokens else []
    if (now := open_descriptors()) != here.descriptors:
        found.append(f"descriptor {now - here.descriptors} more than before")
    return found + here.left()


def open_uploads(here: World) -> list[str]:
    """None may be open, whoever knows of them."""
    return [f"open upload {upload_id}" for upload_id in here.s3.uploads]


def untold_uploads(here: World, said: str) -> list[str]:
    """One may be open where the caller was told."""
    return [
        f"open upload {upload_id}"
        for upload_id, left in here.s3.uploads.items()
        if "may remain" not in said or (left.known and upload_id not in said)
    ]


def not_the_cancellation(trial: Trial) -> list[str]:
    """What came out, if it is not the cancellation: not even a note on that, where the server answers at once."""
    found = [f"note {note}" for note in trial.notes]
    if trial.kind is not None and not trial.cancelled:
        found.append(f"exception {trial.kind.__name__}: {trial.text}")
    return found


def not_our_error(trial: Trial) -> list[str]:
    """What came out, if it is not one of our errors."""
    if trial.kind is None or issubclass(trial.kind, HandtruckError):
        return []
    return [f"exception {trial.kind.__name__}: {trial.text}"]


def torn(here: JobWorld, trial: Trial) -> list[str]:
    """The target is what it was, or whole; whole for certain if the call has returned."""
    if here.job.upload:
        now = here.s3.objects.get(OBJECT, (None, ""))[0]
    else:
        now = here.target.read_bytes() if here.target.exists() else None
    allowed = [DATA] if trial.kind is None else [DATA, OLD if here.job.existing else None]
    return [] if now in allowed else [f"target {now!r:.40}"]


def after_cancellation(here: JobWorld, trial: Trial) -> list[str]:
    """All checks of a job that was cancelled."""
    return left_behind(here, trial) + torn(here, trial) + open_uploads(here) + not_the_cancellation(trial)


def after_failure(here: JobWorld, trial: Trial) -> list[str]:
    """All checks of a job that has failed; an upload may be left where the error says so."""
    said = "\n".join([trial.text, *trial.notes])
    return left_behind(here, trial) + torn(here, trial) + untold_uploads(here, said) + not_our_error(trial)


def after_both(here: JobWorld, trial: Trial) -> list[str]:
    """All checks of a job that was cancelled while it failed: errors became notes; only a job that was over may raise.

    See :func:`all_but_the_first_fail`.
    """
    found = left_behind(here, trial) + torn(here, trial) + open_uploads(here)
    failed = trial.kind is None or trial.kind is S3Error
    return found if trial.cancelled or failed else [*found, f"exception {trial}"]


# -- Sweeps --------------------------------------------------------------------------------------------------------

W = TypeVar("W", bound=World)
MakeWorld: TypeAlias = "Callable[[], AbstractAsyncContextManager[W]]"
CallIn: TypeAlias = "Callable[[W], Awaitable[object]]"
Check: TypeAlias = "Callable[[W, Trial], list[str] | Awaitable[list[str]]]"
"""Says what is wrong, each beginning with what kind of thing it is."""


async def at_every_checkpoint(
    make_world: MakeWorld[W], call: CallIn[W], way: Way, check: Check[W], *, first: int = 1, stride: int = 1
) -> tuple[int, list[str]]:
    """Cancel at checkpoint ``first``, and every ``stride`` on; gives how many there are, and all that was wrong."""
    wrong: list[str] = []
    with swept():
        for at in count(first, stride):
            async with make_world() as here:
                trial = await run(partial(call, here), at=at, way=way)
                wrong += [f"{text} [checkpoint {at}, {way.value}]" for text in await _found(check, here, trial)]
            if not trial.fired:
                return trial.steps, wrong
    raise AssertionError


async def when_every_request_fails(
    make_world: MakeWorld[W],
    call: CallIn[W],
    check: Check[W],
    *,
    faults: Iterable[Fault] = Fault,
    lasting: Iterable[Lasting] | None = None,
) -> tuple[int, list[str]]:
    """The first, the second, the third …, in every way, for so long; gives how many that were, and all that was wrong.

    By the time of the check the server is well again.
    """
    wrong: list[str] = []
    tries = 0
    with swept():
        for fault, how_long in product(faults, Lasting if lasting is None else lasting):
            for number in count(1):
                failing = Failing(number, fault, how_long)
                async with make_world() as here:
                    here.s3.fault = failing
                    trial = await run(partial(call, here))
                    here.s3.fault = None
                    wrong += [f"{text} [{failing}: {trial}]" for text in await _found(check, here, trial)]
                if failing.hit is None:
                    break
                tries += 1
    return tries, wrong


async def _found(check: Check[W], here: W, trial: Trial) -> list[str]:
    found = check(here, trial)
    return found if isinstance(found, list) else await found


class Lasting(Enum):
    """How long a fault lasts."""

    ONCE = "once"
    THIS = "whenever this request is tried again"
    ALL = "for everything that follows"


@dataclass
class Failing:
    """Request ``number`` fails."""

    number: int
    fault: Fault
    lasting: Lasting
    hit: Call | None = None

    def __call__(self, call: Call) -> Fault | None:
        if call.number == self.number:
            self.hit = call
        if self.hit is None:
            return None
        same = (call.operation, call.part) == (self.hit.operation, self.hit.part)
        again = self.lasting is Lasting.ALL or (self.lasting is Lasting.THIS and same)
        return self.fault if again or call is self.hit else None


def all_but_the_first_fail(here: World) -> None:
    """Parts and ranges, that is; the upload is created."""
    first = ("", "1", f"bytes=0-{PART - 1}")
    here.s3.fault = lambda call: Fault.REFUSED if call.part not in first else None


# -- For mutations: instead of what should be done -------------------------------------------------------------------


async def nothing(*_: object, **__: object) -> None:
    """Nothing is done."""


async def at_once(work: Callable[[], Awaitable[Any]], *_: object) -> Any:
    """It is done without a task of its own."""
    return await work()


async def marked_only(response: httpx.Response) -> None:
    """An answer says that it is closed."""
    response.is_closed = True
