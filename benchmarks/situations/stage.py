"""One call of one client, played over our road to a real server, and what is there when it is over."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from benchmarks import environments
from benchmarks.endpoints import BUCKET
from benchmarks.situations.contents import KINDS, MIB, content, kind_of_file
from benchmarks.situations.proxy import FREELY, Rules, road_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from benchmarks.endpoints import Endpoint
    from benchmarks.situations.proxy import Proxy

PART: Final = 8 * MIB  # bytes of a part and of a range
WORKERS: Final = 4
KEY: Final = "object"
LOG: Final = "stderr"  # the name of the file that has what all processes wrote there
TARGET: Final = "target"  # the name of a download's file, in a directory of its own

READY_WITHIN: Final = 60.0  # seconds, imports and the first request
BACK_WITHIN: Final = 100.0  # … for the call; longer is "not back"
END_WITHIN: Final = 10.0  # … for closing the client and ending the process
STILL: Final = 1.0  # nothing has moved for so long: the client has stopped
STOPS_WITHIN: Final = 15.0
SETTLES_WITHIN: Final = 10.0  # the server's listings

_DRIVERS: Final = environments.HERE / "situations" / "drivers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Somebody who is put into situations. ``download`` is the call, where there are two ways."""

    name: str
    script: str
    loop: str
    environment: str
    download: str = "download"
    uploads: bool = True


CLIENTS: Final = (
    Client(name="handtruck, asyncio", script="ours", loop="asyncio", environment="ours"),
    Client(name="handtruck, trio", script="ours", loop="trio", environment="ours"),
    Client(name="aioboto3", script="peer_aioboto3", loop="asyncio", environment="aioboto3"),
    Client(name="obstore", script="peer_obstore", loop="asyncio", environment="peers"),
    Client(
        name="obstore, by ranges",
        script="peer_obstore",
        loop="asyncio",
        environment="peers",
        download="download-ranges",
        uploads=False,  # there is one way to upload
    ),
    Client(name="s3transfer", script="peer_s3transfer", loop="threads", environment="peers"),
    Client(name="handtruck 0.2.0", script="reference", loop="asyncio", environment="reference"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What was found after one call.

    Attributes:
        outcome: ``returned``, the name of the exception, ``killed`` or ``not back``; with what it said and its notes.
        seconds: from the cancellation, or else from the beginning, until the call was back.
        tasks, threads: that the call had started, and that had something to do when it was back.
        still: which of the tasks were there when nothing had moved for a second.
        pulled: whether the trigger was.
        moved: bytes of bodies that passed, in the direction of the call.
        begun: requests that began after the call was back.
        ended: whether the process ended when its client had been closed.
        uploads: open on the server, each by its number of parts.
        stored: what the object is, by :func:`benchmarks.situations.contents.kind_of`; ``none``.
        file: the same of the target, or the source.
        beside: the names of other files in the directory.
        versions: of the client's packages.
    """

    outcome: str
    text: str = ""
    notes: tuple[str, ...] = ()
    seconds: float | None = None
    tasks: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()
    still: tuple[str, ...] = ()
    pulled: bool = False
    moved: int = 0
    begun: int = 0
    ended: bool = True
    uploads: tuple[int, ...] = ()
    stored: str = "none"
    file: str = "none"
    beside: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)


class Driver:
    """A client's process: see ``drivers/_driver.py``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def said(self, what: str, within: float) -> dict[str, Any]:
        """Wait for a line of this kind.

        Raises:
            TimeoutError: it did not come in time.
            ProcessLookupError: the process has ended.
        """
        return await asyncio.wait_for(asyncio.shield(self._future(what)), within)

    def tell(self, order: str) -> None:
        """Give an order."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.write(f"{order}\n".encode())

    async def cancel(self) -> None:
        """Cancel the call, and come back when that was done (the call may take longer)."""
        self.tell("cancel")
        await self.said("cancelled", READY_WITHIN)

    async def kill(self) -> None:
        """``kill -9``, and wait until it is dead."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._reading

    async def still(self) -> tuple[str, ...]:
        """Let it close its client; the tasks that were there until now."""
        self.tell("end")
        try:
            return tuple((await self.said("end", END_WITHIN))["tasks"])
        except (TimeoutError, ProcessLookupError):
            return ()

    async def ended(self) -> bool:
        """Whether, told so, it ends by itself."""
        try:
            await asyncio.wait_for(self._process.wait(), END_WITHIN)
        except TimeoutError:
            await self.kill()
            return False
        await self._reading
        return True

    def _future(self, what: str) -> asyncio.Future[dict[str, Any]]:
        return self._said.setdefault(what, asyncio.get_running_loop().create_future())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            self._future(told.pop("said")).set_result(told)
        for what in ("ready", "cancelled", "back", "end"):
            future = self._future(what)
            if not future.done():
                future.set_exception(ProcessLookupError(f"the process ended before it said {what!r}"))
                future.exception()  # nobody may be waiting for it


class Witness:
    """A process with boto3 that looks at the server past the road."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, name: str, *arguments: object) -> Any:
        """Call one of its methods: see ``drivers/witness.py``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, *arguments]).encode() + b"\n")
        return json.loads(await self._process.stdout.readline())

    async def settled_uploads(self) -> tuple[int, ...]:
        """The open uploads, once three looks in a row have found the same; each by its number of parts."""
        seen: list[dict[str, int]] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLES_WITHIN):
                while len(seen) < 3 or not seen[-1] == seen[-2] == seen[-3]:
                    seen.append(await self.ask("uploads"))
                    await asyncio.sleep(0.3)
        return tuple(sorted(seen[-1].values()))


@dataclass(slots=True, kw_only=True)
class Stage:
    """A server, our road to it, a witness, and a directory of files."""

    endpoint: Endpoint
    proxy: Proxy
    witness: Witness
    own: Path

    @property
    def directory(self) -> Path:
        """Where the call's file is, and nothing else."""
        return self.own / "work"

    @property
    def path(self) -> Path:
        """The call's file: the source of an upload, the target of a download."""
        return self.directory / TARGET

    def kept(self, kind: str) -> Path:
        """A file of this kind, which no client touches."""
        return self.own / kind

    async def set_up(self, *, stored: str | None, file: str | None) -> None:
        """Nothing is left of what was before; the object and the file are of these kinds."""
        self.proxy.arm(FREELY)
        await self.witness.ask("clear", KEY)
        if stored is not None:
            await self.witness.ask("put", KEY, str(self.kept(stored)))
        for path in self.directory.iterdir():
            path.unlink()
        if file is not None:
            self.path.write_bytes(content(file))

    async def play(
        self,
        client: Client,
        call: str,
        rules: Callable[[Driver], Rules] = lambda _: FREELY,
        *,
        deadline: float = 0.0,
        resume: bool = False,
    ) -> Facts:
        """Make one call, and look at what is there when nothing moves any more."""
        driver = await self._start(client, client.download if call == "download" else call, deadline, resume)
        try:
            ready = await driver.said("ready", READY_WITHIN)
            self.proxy.arm(rules(driver))
            driver.tell("go")
            told = await self._back(driver)
            begun = self.proxy.begun
            await self.proxy.quiet(still=STILL, within=STOPS_WITHIN)
            begun = self.proxy.begun - begun
            still, ended = await driver.still(), await driver.ended()
        finally:
            await driver.kill()
        await self.proxy.settled(END_WITHIN)
        told = {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
        return Facts(
            **told,
            pulled=self.proxy.pulled,
            moved=self.proxy.passed["up" if call == "upload" else "down"],
            begun=begun,
            still=still,
            ended=ended,
            versions=ready["versions"],
            **await self._found(),
        )

    async def _back(self, driver: Driver) -> dict[str, Any]:
        try:
            return await driver.said("back", BACK_WITHIN)
        except TimeoutError:
            return {"outcome": "not back", "seconds": BACK_WITHIN}
        except ProcessLookupError:
            return {"outcome": "killed"}

    async def _found(self) -> dict[str, Any]:
        fetched = self.own / "fetched"
        fetched.unlink(missing_ok=True)
        await self.witness.ask("fetch", KEY, str(fetched))
        return {
            "uploads": await self.witness.settled_uploads(),
            "stored": kind_of_file(fetched),
            "file": kind_of_file(self.path),
            "beside": tuple(sorted(path.name for path in self.directory.iterdir() if path.name != TARGET)),
        }

    async def _start(self, client: Client, call: str, deadline: float, resume: bool) -> Driver:
        options = {
            "call": call,
            "url": self.proxy.url,
            "region": self.endpoint.region,
            "access-key-id": self.endpoint.access_key_id,
            "secret-access-key": self.endpoint.secret_access_key,
            "bucket": BUCKET,
            "key": KEY,
            "path": self.path,
            "part-size": PART,
            "workers": WORKERS,
            "deadline": deadline,
            "resume": int(resume),
            "loop": client.loop,
        }
        line = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        script = str(_DRIVERS / f"{client.script}.py")
        return Driver(await self._process(client.environment, script, *line))

    async def _process(self, environment: str, *line: str) -> asyncio.subprocess.Process:
        return await _process(self.endpoint, self.own / LOG, environment, *line)


async def _process(endpoint: Endpoint, log: Path, environment: str, *line: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        environments.python_of(environment),
        *line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log.open("ab"),
        env={k: v for k, v in os.environ.items() if not k.startswith("AWS_")} | endpoint.environment(),
    )


@asynccontextmanager
async def stage(endpoint: Endpoint, own: Path) -> AsyncIterator[Stage]:
    """All of it, in an empty directory, while the block lasts."""
    own.joinpath("work").mkdir()
    for kind in KINDS:
        own.joinpath(kind).write_bytes(content(kind))
    own.joinpath("small").write_bytes(b"1")
    asked = await _process(endpoint, own / LOG, "peers", str(_DRIVERS / "witness.py"), endpoint.url, BUCKET)
    try:
        async with road_to(endpoint.url) as proxy:
            witness = Witness(asked)
            await witness.ask("put", "small", str(own / "small"))
            yield Stage(endpoint=endpoint, proxy=proxy, witness=witness, own=own)
    finally:
        with suppress(ProcessLookupError):
            asked.kill()
        await asked.wait()
