"""Situations of downloads: an object of 64 MiB over a file that has other bytes, in ranges of 8 MiB, 4 at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.situations.contents import MIB
from benchmarks.situations.proxy import Rules
from benchmarks.situations.stage import KEY
from benchmarks.situations.uploads import DEADLINE, MIDDLE

if TYPE_CHECKING:
    from benchmarks.situations.stage import Client, Driver, Facts, Stage


async def cancelled(stage: Stage, client: Client) -> list[Facts]:
    """Cancelled when 28 MiB of it have passed."""
    await stage.set_up(stored="old", file="earlier")
    return [
        await stage.play(client, "download", lambda driver: Rules(direction="down", at=MIDDLE, action=driver.cancel))
    ]


async def replaced(stage: Stage, client: Client) -> list[Facts]:
    """The object is replaced by as many other bytes when 28 MiB of the old ones have passed."""
    await stage.set_up(stored="old", file="earlier")

    async def replace() -> None:
        await stage.witness.ask("put", KEY, str(stage.kept("new")))

    return [await stage.play(client, "download", lambda _: Rules(direction="down", at=MIDDLE, action=replace))]


async def silent(stage: Stage, client: Client) -> list[Facts]:
    """From the 16th MiB on the server says and takes nothing, on any connection; the caller's deadline is 2 s."""
    await stage.set_up(stored="old", file="earlier")
    rules = Rules(direction="down", at=16 * MIB, then="swallow")
    return [await stage.play(client, "download", lambda _: rules, deadline=DEADLINE)]


async def cut(stage: Stage, client: Client) -> list[Facts]:
    """One connection is cut, once, when 28 MiB of it have passed."""
    await stage.set_up(stored="old", file="earlier")
    return [await stage.play(client, "download", lambda _: Rules(direction="down", at=MIDDLE, then="cut"))]


async def killed(stage: Stage, client: Client) -> list[Facts]:
    """The process is killed (``kill -9``) when 28 MiB of it have passed; then the same call is made again."""
    await stage.set_up(stored="old", file="earlier")

    def rules(driver: Driver) -> Rules:
        return Rules(direction="down", at=MIDDLE, action=driver.kill)

    return [
        await stage.play(client, "download", rules, resume=True),
        await stage.play(client, "download", resume=True),
    ]
