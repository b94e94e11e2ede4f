"""Keys that a program of the user's prints: ``credential_process``."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

import anyio

from .._tasks import isolated
from ..errors import UsageError
from ..models.identity import Secret
from .refreshing import ADVISORY_REFRESH, RefreshingCredentials, utc_now
from .whole import SecretBytes, whole_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from anyio.abc import Process

    from ..models import Credentials

TIMEOUT: Final = 60.0
"""Seconds that a program may take, as in most of AWS's SDKs: somebody may have to confirm it on another device."""

LARGEST_OUTPUT: Final = 65536
"""Bytes; a session token has some 1000."""


class ProcessCredentials(RefreshingCredentials):
    """Keys that a program prints, run when they are needed, and again ahead of their end.

    The program is started without a shell, with nothing to read from, and with our standard error: what it has to
    say to its user is not ours to keep. It prints JSON: ``{"Version": 1, "AccessKeyId": …, "SecretAccessKey": …,
    "SessionToken": …, "Expiration": "2026-01-01T00:00:00Z"}``. Keys without ``Expiration`` are kept until S3 rejects
    them. A program that is still running when its caller is cancelled, or after ``timeout``, is killed and waited for.

    Args:
        command: as a shell would be given it: quotes and backslashes count, nothing else does.
        timeout: seconds it may take.
        clock: the time now, time-zone aware.
        environ: its environment in place of ours.

    Raises:
        UsageError: ``command`` is blank, or a quote in it is left open.

    Source: https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html
    """

    def __init__(
        self,
        command: str,
        *,
        timeout: float = TIMEOUT,
        clock: Callable[[], datetime] = utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(clock=clock)
        self._words = split_command(command)
        self._timeout = timeout
        self._environ = environ
        if not self._words:
            raise UsageError("credential_process is blank, or has a quote that is left open")

    @property
    def where(self) -> str:
        """In words: the program's name, not what it is given."""
        return f"credential_process {self._program}"

    @property
    def _program(self) -> str:
        return PurePath(self._words[0]).name if self._words else ""

    def _lead(self, lasts: timedelta) -> timedelta:
        """A program may be slow, and ask its user: not every minute."""
        return min(ADVISORY_REFRESH, lasts / 4)

    async def _fetch(self, known: Credentials | None) -> Credentials:  # noqa: ARG002 - it knows nothing of old keys
        output = SecretBytes(await isolated(self._run))
        found = parse_output(output)
        if found is None:
            raise UsageError(
                f"{self.where} printed something else than a JSON object with Version 1, AccessKeyId,"
                " SecretAccessKey and perhaps SessionToken and Expiration"
            )
        return found

    async def _run(self) -> SecretBytes:
        try:
            with anyio.fail_after(self._timeout):
                return await self._output()
        except TimeoutError:
            pass  # raised below, without the frames of whoever was reading secrets
        raise UsageError(f"{self.where} did not end within {self._timeout:g} s, and was killed")

    async def _output(self) -> SecretBytes:
        process = await self._start()
        try:
            output = await _read(process)
            status = await process.wait() if output is not None else None
        finally:
            await _end(process)
        if output is None:
            raise UsageError(f"{self.where} printed more than {LARGEST_OUTPUT} bytes")
        if status:
            raise UsageError(f"{self.where} ended with status {status}; what it had to say is on standard error")
        return output

    async def _start(self) -> Process:
        why = ""
        try:
            return await anyio.open_process(
                self._words,
                stdin=subprocess.DEVNULL,
                stderr=None,
                env=None if self._environ is None else dict(self._environ),
            )
        except OSError as error:
            why = error.strerror or type(error).__name__  # raised below: the frames behind it hold the command
        raise UsageError(f"{self.where} cannot be started: {why}")


async def _read(process: Process) -> SecretBytes | None:
    """All that it prints; None if that is too much."""
    output = SecretBytes()
    stream = process.stdout
    assert stream is not None
    async for chunk in stream:
        output = SecretBytes(output + chunk)
        if len(output) > LARGEST_OUTPUT:
            return None
    return output


async def _end(process: Process) -> None:
    """Kill what still runs, and wait for it."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
        await process.aclose()


def split_command(command: str, *, windows: bool = sys.platform == "win32") -> list[str]:
    """A command's words, which do not show what they are; none if it is blank or a quote is left open.

    On Windows a backslash is a backslash.
    """
    try:
        words = shlex.split(command, posix=not windows)
    except ValueError:
        return []
    if windows:
        words = [word[1:-1] if len(word) > 1 and word[0] == word[-1] == '"' else word for word in words]
    return [Secret(word) for word in words]


def parse_output(output: bytes) -> Credentials | None:
    """The keys that a program printed; None if that is something else. Raises nothing."""
    try:
        document: object = json.loads(output)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("Version") != 1 or document["Version"] is True:
        return None
    return whole_keys(
        document.get("AccessKeyId"),
        document.get("SecretAccessKey"),
        document.get("SessionToken"),
        document.get("Expiration"),
        temporary=False,
    )
