"""One process, one client, one call: made ready, let go, interrupted if asked, looked at when it is back.

We are told by lines on stdin (``go``, ``cancel``, ``end``) and tell by lines of JSON on stdout (``ready``,
``cancelled``, ``back``, ``end``). After ``back`` the client stays open and the loop runs on, so that whatever goes on
behind the caller's back shows; with ``end`` the client is closed and the process ends as any other does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SMALL: Final = "small"  # the key of a small object, to warm up with
IDLE: Final = {
    ("concurrent/futures/thread.py", "_worker"),
    ("anyio/_backends/_asyncio.py", "run"),
    ("trio/_core/_thread_cache.py", "_work"),
}
"""Where a pool's thread waits that has nothing to do."""
HANDED_OVER: Final = 0.2  # seconds
_WAITING: Final = ("/threading.py", "/queue.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to do: the command line's arguments.

    ``call`` is upload or download, ``path`` its source or target. ``deadline`` is seconds, 0 for none. ``resume`` is
    for those who have such a thing.
    """

    call: str
    url: str
    region: str
    access_key_id: str
    secret_access_key: str
    bucket: str
    key: str
    path: str
    part_size: int
    workers: int
    deadline: float
    resume: int
    loop: str


def parse() -> Job:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make one call with one client, as told by lines on stdin.")
    kinds: dict[Any, Callable[[str], object]] = {"int": int, "float": float}
    for each in fields(Job):
        kind = kinds.get(each.type, str)
        parser.add_argument(f"--{each.name.replace('_', '-')}", type=kind, required=True)
    return Job(**vars(parser.parse_args()))


def say(what: str, **facts: object) -> None:
    """A line on stdout."""
    sys.stdout.write(json.dumps({"said": what} | facts) + "\n")
    sys.stdout.flush()


def listen(orders: dict[str, Callable[[], object]]) -> None:
    """Carry out each order that comes, in a thread."""

    def read() -> None:
        for line in sys.stdin:
            orders[line.strip()]()

    threading.Thread(target=read, daemon=True, name="orders").start()


def outcome(error: BaseException | None) -> dict[str, object]:
    """What the caller was told."""
    if error is None:
        return {"outcome": "returned", "text": "", "notes": []}
    notes: list[str] = []
    link: BaseException | None = error
    while link is not None:  # a deadline's error has the cancellation, and its notes, behind it
        notes += [str(note)[:300] for note in getattr(link, "__notes__", ())]
        link = link.__cause__ or link.__context__
    return {"outcome": type(error).__name__, "text": str(error)[:500], "notes": notes}


def busy_threads(before: set[threading.Thread]) -> list[str]:
    """Threads that were not there before and go on doing something; a pool's idle ones do not count.

    A thread that has just handed its result over needs a moment to become idle.
    """
    end = time.monotonic() + HANDED_OVER
    while (busy := _busy(before)) and time.monotonic() < end:
        time.sleep(0.01)
    return busy


def _busy(before: set[threading.Thread]) -> list[str]:
    frames = sys._current_frames()
    return [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and (frame := frames.get(thread.ident or 0)) is not None and not _idle(frame)
    ]


def _idle(frame: Any) -> bool:
    while frame is not None and frame.f_code.co_filename.endswith(_WAITING):
        frame = frame.f_back
    return frame is not None and any(
        frame.f_code.co_filename.endswith(file) and frame.f_code.co_name == function for file, function in IDLE
    )


class Clock:
    """Seconds since the cancellation, or else since the call began."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def restart(self) -> None:
        """It is cancelled now."""
        self._since = time.monotonic()

    def seconds(self) -> float:
        return round(time.monotonic() - self._since, 3)


def run(client: Callable[[Job], Any], *packages: str) -> None:
    """Make the command line's call with a client of this kind."""
    job = parse()
    versions = {package: version(package) for package in packages}
    if job.loop == "trio":
        import trio

        trio.run(_trio, job, client, versions)
    elif job.loop == "threads":
        _threads(job, client, versions)
    else:
        asyncio.run(_asyncio(job, client, versions))


async def _asyncio(job: Job, client: Callable[[Job], Any], versions: dict[str, str]) -> None:
    loop = asyncio.get_running_loop()
    go, end = asyncio.Event(), asyncio.Event()
    clock, tasks, started = Clock(), list[asyncio.Task[None]](), set[asyncio.Task[Any]]()

    def cancel() -> None:
        clock.restart()
        tasks[0].cancel()
        say("cancelled")

    orders = {"go": go.set, "end": end.set, "cancel": cancel}
    listen({name: lambda order=order: loop.call_soon_threadsafe(order) for name, order in orders.items()})

    async with client(job) as opened:

        async def call() -> None:
            threads, others = {*threading.enumerate()}, asyncio.all_tasks()
            error: BaseException | None = None
            clock.restart()
            try:
                async with asyncio.timeout(job.deadline) if job.deadline else nullcontext():
                    await opened.call()
            except BaseException as raised:  # noqa: BLE001 - told to the runner
                error = raised
            seconds = clock.seconds()
            started.update(asyncio.all_tasks() - others)
            left = [str(task.get_coro()) for task in started]
            say("back", **outcome(error), seconds=seconds, tasks=left, threads=busy_threads(threads))

        await opened.warm()
        say("ready", versions=versions)
        await go.wait()
        tasks.append(asyncio.create_task(call()))
        await end.wait()
        say("end", tasks=[str(task.get_coro()) for task in started if not task.done()])


async def _trio(job: Job, client: Callable[[Job], Any], versions: dict[str, str]) -> None:
    import trio

    token = trio.lowlevel.current_trio_token()
    go, end, scope, clock = trio.Event(), trio.Event(), trio.CancelScope(), Clock()

    def cancel() -> None:
        clock.restart()
        scope.cancel()
        say("cancelled")

    orders = {"go": go.set, "end": end.set, "cancel": cancel}
    listen({name: lambda order=order: token.run_sync_soon(order) for name, order in orders.items()})
    async with client(job) as opened:
        await opened.warm()
        say("ready", versions=versions)
        await go.wait()
        threads, living = {*threading.enumerate()}, trio.lowlevel.current_statistics().tasks_living
        error: BaseException | None = None
        clock.restart()
        try:
            with scope, trio.fail_after(job.deadline or math.inf):
                await opened.call()
        except BaseException as raised:  # noqa: BLE001 - told to the runner
            error = raised
        seconds = clock.seconds()
        left = trio.lowlevel.current_statistics().tasks_living - living
        told = outcome(error)
        if scope.cancelled_caught:
            told["outcome"] = "Cancelled"
        say("back", **told, seconds=seconds, tasks=["a task"] * left, threads=busy_threads(threads))
        await end.wait()
        say("end", tasks=["a task"] * (trio.lowlevel.current_statistics().tasks_living - living))


def _threads(job: Job, client: Callable[[Job], Any], versions: dict[str, str]) -> None:
    go, end, clock = threading.Event(), threading.Event(), Clock()
    opened = client(job)

    def cancel() -> None:
        clock.restart()
        opened.cancel()
        say("cancelled")

    listen({"go": go.set, "end": end.set, "cancel": cancel})
    opened.warm()
    say("ready", versions=versions)
    go.wait()
    threads = {*threading.enumerate()}
    timer = threading.Timer(job.deadline, opened.cancel)
    if job.deadline:
        timer.start()
        threads.add(timer)
    error: BaseException | None = None
    clock.restart()
    try:
        opened.call()
    except BaseException as raised:  # noqa: BLE001 - told to the runner
        error = raised
    seconds = clock.seconds()
    say("back", **outcome(error), seconds=seconds, tasks=[], threads=busy_threads(threads))
    end.wait()
    say("end", tasks=[])
    timer.cancel()


def checked(body: Sequence[int]) -> None:
    """The small object has its byte."""
    if len(body) != 1:
        raise RuntimeError(f"a body of {len(body)} bytes instead of 1")
