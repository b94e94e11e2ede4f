"""Situations of uploads: a file of 64 MiB in 8 parts, 4 at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.situations.contents import MIB, content
from benchmarks.situations.proxy import Rules

if TYPE_CHECKING:
    from benchmarks.situations.proxy import Request
    from benchmarks.situations.stage import Client, Driver, Facts, Stage

MIDDLE: Final = 28 * MIB  # in the midst of four parts or ranges that are on their way at once
DEADLINE: Final = 2.0  # seconds
REFUSED_PART: Final = 5

_REFUSAL: Final = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code><Message>no</Message></Error>'
_ERROR: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b"<Error><Code>InternalError</Code><Message>We encountered an internal error. Please try again.</Message></Error>"
)


def _answer(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def cancelled(stage: Stage, client: Client) -> list[Facts]:
    """Cancelled when 28 MiB of it have passed."""
    await stage.set_up(stored=None, file="new")
    return [await stage.play(client, "upload", lambda driver: Rules(direction="up", at=MIDDLE, action=driver.cancel))]


async def refused(stage: Stage, client: Client) -> list[Facts]:
    """Part 5 is answered with 403 AccessDenied, however often it is sent."""
    await stage.set_up(stored=None, file="new")

    def answer(request: Request) -> bytes | None:
        return _answer("403 Forbidden", _REFUSAL) if request.part_number == REFUSED_PART else None

    return [await stage.play(client, "upload", lambda _: Rules(answer=answer))]


async def source_changed(stage: Stage, client: Client) -> list[Facts]:
    """The source is rewritten in place, with as many other bytes, when 28 MiB of the old ones have passed."""
    await stage.set_up(stored=None, file="old")

    async def rewrite() -> None:
        with stage.path.open("r+b") as file:
            file.write(content("new"))

    return [await stage.play(client, "upload", lambda _: Rules(direction="up", at=MIDDLE, action=rewrite))]


async def silent(stage: Stage, client: Client) -> list[Facts]:
    """From the 16th MiB on the server says and takes nothing, on any connection; the caller's deadline is 2 s."""
    await stage.set_up(stored=None, file="new")
    rules = Rules(direction="up", at=16 * MIB, then="swallow")
    return [await stage.play(client, "upload", lambda _: rules, deadline=DEADLINE)]


async def error_in_200(stage: Stage, client: Client) -> list[Facts]:
    """Every CompleteMultipartUpload is answered with 200 and an ``<Error>``, and is not passed on."""
    await stage.set_up(stored=None, file="new")

    def answer(request: Request) -> bytes | None:
        return _answer("200 OK", _ERROR) if request.completes else None

    return [await stage.play(client, "upload", lambda _: Rules(answer=answer))]


async def answer_lost(stage: Stage, client: Client) -> list[Facts]:
    """The first CompleteMultipartUpload is carried out, and its connection is cut before its answer passes."""
    await stage.set_up(stored=None, file="new")
    lost: list[Request] = []

    def loses(request: Request) -> bool:
        if not request.completes or lost:
            return False
        lost.append(request)
        return True

    return [await stage.play(client, "upload", lambda _: Rules(loses=loses))]


async def killed(stage: Stage, client: Client) -> list[Facts]:
    """The process is killed (``kill -9``) when 28 MiB of it have passed; then the same call is made again."""
    await stage.set_up(stored=None, file="new")

    def rules(driver: Driver) -> Rules:
        return Rules(direction="up", at=MIDDLE, action=driver.kill)

    return [
        await stage.play(client, "upload", rules, resume=True),
        await stage.play(client, "upload", resume=True),
    ]
