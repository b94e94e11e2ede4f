"""Keys for a directory bucket's objects: those of a session, which last five minutes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol

from ._attempt import Options
from .credentials.refreshing import RefreshingCredentials
from .protocol.fields import time_said
from .protocol.operations import create_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import httpx

    from .models import Credentials
    from .protocol.address import Location
    from .protocol.operations import Operation

_LEAD: Final = timedelta(minutes=1)


class Perform(Protocol):
    """Carries an operation out: see :meth:`handtruck._session.Session.perform`."""

    async def __call__(
        self,
        operation: Operation[Credentials],
        *,
        options: Options,
        deliver: Callable[[Credentials, httpx.Response], None],
    ) -> Credentials: ...


class SessionKeys(RefreshingCredentials):
    """The keys of one directory bucket's sessions.

    Args:
        perform: asks for them, with the client's own keys.
        bucket: where the bucket is.
        clock: the time now, time-zone aware.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/s3-express-create-session.html
    """

    def __init__(
        self,
        perform: Perform,
        bucket: Location,
        clock: Callable[[], datetime],
    ) -> None:
        super().__init__(clock=clock)
        self._perform = perform
        self._bucket = bucket

    @property
    def where(self) -> str:
        """In words."""
        return f"CreateSession {self._bucket}"

    async def at_once(self, rejected: Credentials | None) -> Credentials:
        """What is held while it is good; else a session of one's own, whoever else is waiting for one."""
        return self._good(rejected) or await self._fetch(None)

    async def _fetch(self, known: Credentials | None) -> Credentials:  # noqa: ARG002 - each session has keys of its own
        """A new session's keys; their end by our own clock, which may be minutes off before S3 minds."""
        said: list[datetime | None] = []
        keys = await self._perform(
            create_session(self._bucket),
            options=Options(placed=True),
            deliver=lambda _, answer: said.append(time_said(answer.headers.get("date"))),
        )
        if keys.expires_at is None or not said or said[-1] is None:
            return keys
        return replace(keys, expires_at=self._clock() + (keys.expires_at - said[-1]))

    def _lead(self, lasts: timedelta) -> timedelta:  # noqa: ARG002 - all last as long
        return _LEAD
