"""What the tests of readers, streams and ranges share: small sizes, and what was asked of the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from anyio.lowlevel import checkpoint

from tests.scripted import Reply
from tests.transfer.cancelling import Job, JobWorld, left_behind, not_our_error, not_the_cancellation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.scripted import Request, TinyS3
    from tests.transfer.checkpoints import Trial

PART: Final = 5000
BODY: Final = bytes(range(251)) * 400  # 100 400 bytes
RANGES: Final[dict[str, Any]] = {"part_size": PART, "workers_count": 3}

OPENING: Final = 4000
LEAST: Final = 500
STEP: Final = 900
BLOCK: Final = 1500
LARGEST: Final = 3000


def weak(tiny: TinyS3, request: Request) -> Reply:
    """The ordinary answer, with an ETag that ties nothing."""
    reply = tiny.GetObject(request, "b/k")
    return reply.plus(("ETag", f"W/{reply.header('etag')}"))


def whole(tiny: TinyS3, _: Request) -> Reply:
    """A server that knows no ranges."""
    found = tiny.objects["b/k"]
    return Reply(headers=(("ETag", found.etag), *found.headers), body=found.data)


async def turns(number: int = 50) -> None:
    """Let everybody else do what there is to do."""
    for _ in range(number):
        await checkpoint()


def asked(tiny: TinyS3) -> list[tuple[int, int]]:
    """The half-open ranges that were asked for, in order of arrival."""
    found = []
    for request in tiny.sent("GetObject"):
        first, _, last = (request.header("range") or "bytes=0--1").removeprefix("bytes=").partition("-")
        found.append((int(first), int(last) + 1))
    return found


def reading(name: str, call: Callable[[JobWorld], Awaitable[object]]) -> Job:
    """A job that reads an object; it raises AssertionError where it got anything else."""
    return Job(name, call, upload=False)


def after_cancellation(here: JobWorld, trial: Trial) -> list[str]:
    """Nothing is left, and the cancellation alone has come out."""
    return left_behind(here, trial) + not_the_cancellation(trial)


def after_failure(here: JobWorld, trial: Trial) -> list[str]:
    """Nothing is left, and what has come out is one of our errors."""
    return left_behind(here, trial) + not_our_error(trial)
