"""The demo itself, on one event loop: send an object, list it, fetch it, break off another, look what remains."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from .._tasks import isolated
from ..protocol.parts import MIB
from .sizes import mib

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from ..client import S3Client
    from ..models import Progress
    from .place import Place, Server
    from .screen import Screen

__all__ = ("Finding", "Source", "Tour", "make_source")

_SEED: Final = 20060314


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The file that is sent."""

    path: Path
    size: int
    sha256: str


def make_source(path: Path, size: int, tell: Callable[[int], None], check: Callable[[], None]) -> Source:
    """Write a file of bytes that look random and are the same each time. It blocks; ``check`` may end it."""
    random, digest = Random(_SEED), sha256()  # noqa: S311 - nothing secret about it
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            block = random.randbytes(min(MIB, size - start))
            file.write(block)
            digest.update(block)
            tell(start + len(block))
            check()
    return Source(path=path, size=size, sha256=digest.hexdigest())


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = sha256()
        while block := file.read(MIB):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One row of the table: what was looked at, what was found, and whether it is as promised."""

    title: str
    text: str
    holds: bool = True


@dataclass(slots=True, kw_only=True)
class Tour:
    """One loop's way through the demo.

    Attributes:
        loop: the event loop's name; it is part of the objects' names too.
        copy: where the download goes; nothing else is in its folder.
    """

    loop: str
    server: Server
    place: Place
    source: Source
    copy: Path
    workers: int
    screen: Screen
    s3: S3Client = field(init=False)

    async def run(self) -> list[Finding]:
        """Everything, in order."""
        async with self.server.client() as self.s3:
            return await self._run(perf_counter())

    async def _run(self, started: float) -> list[Finding]:
        return [
            await self.upload(),
            await self.listing(),
            await self.download(),
            await self.comparison(),
            await self.cancellation(),
            await self.uploads_left(),
            await self.object_left(),
            await self.files_left(),
            Finding(title="time", text=f"{perf_counter() - started:.1f} s"),
        ]

    @property
    def sent(self) -> str:
        """The key of the object that is sent."""
        return f"{self.loop}-sent"

    @property
    def cancelled(self) -> str:
        """The key of the object that must never be."""
        return f"{self.loop}-cancelled"

    async def upload(self) -> Finding:
        """Send the file in parts."""
        started = perf_counter()
        with self._bar("upload") as tell:
            done = await self.s3.put_file_multipart(
                self.place.name(self.sent), self.source.path, workers_count=self.workers, progress=tell
            )
        return self._speed("upload", done.size, started)

    async def listing(self) -> Finding:
        """It is there, and nothing else of ours."""
        ours = self.place.prefix + self.loop
        found = [each for each in await self.place.objects(self.s3) if each.key.startswith(ours)]
        text = ", ".join(mib(each.size or 0) for each in found) or "nothing"
        holds = [(each.key, each.size) for each in found] == [(self.place.prefix + self.sent, self.source.size)]
        return Finding(title="listed", text=text, holds=holds)

    async def download(self) -> Finding:
        """Fetch it in ranges."""
        started = perf_counter()
        with self._bar("download") as tell:
            done = await self.s3.get_file_parallel(
                self.place.name(self.sent), self.copy, workers_count=self.workers, progress=tell
            )
        return self._speed("download", done.size, started)

    async def comparison(self) -> Finding:
        """The copy is the file."""
        equal = await isolated(lambda: anyio.to_thread.run_sync(_hash_of, self.copy)) == self.source.sha256
        return Finding(title="SHA-256", text="equal" if equal else "different", holds=equal)

    async def cancellation(self) -> Finding:
        """Begin to send it once more, and stop when half of it is there."""
        reached = 0
        with self._bar("cancelled upload") as tell, anyio.CancelScope() as scope:

            def half(progress: Progress) -> None:
                nonlocal reached
                reached = progress.done
                tell(progress)
                if 2 * progress.done >= self.source.size:
                    scope.cancel()

            await self.s3.put_file_multipart(
                self.place.name(self.cancelled), self.source.path, workers_count=self.workers, progress=half
            )
        return Finding(title="upload cancelled at", text=mib(reached), holds=scope.cancelled_caught)

    async def uploads_left(self) -> Finding:
        """S3 knows of no unfinished upload."""
        found = await self.place.uploads(self.s3)
        return Finding(title="unfinished uploads left", text=str(len(found) or "none"), holds=not found)

    async def object_left(self) -> Finding:
        """There is no object of the cancelled upload."""
        status = (await self.s3.head(self.place.name(self.cancelled))).status_code
        text = {404: "none", 200: "1"}.get(status, f"HTTP {status}")
        return Finding(title="objects of it left", text=text, holds=status == 404)

    async def files_left(self) -> Finding:
        """Beside the copy there is no file of the download."""
        found = {path.name async for path in anyio.Path(self.copy.parent).iterdir()} - {self.copy.name}
        return Finding(title="temporary files left", text=str(len(found) or "none"), holds=not found)

    @contextmanager
    def _bar(self, title: str) -> Generator[Callable[[Progress], None]]:
        with self.screen.step(f"{self.loop}: {title}", self.source.size) as tell:
            yield lambda progress: tell(progress.done)

    def _speed(self, title: str, size: int, started: float) -> Finding:
        speed = size / (perf_counter() - started)
        return Finding(title=title, text=f"{mib(speed)}/s", holds=size == self.source.size)
