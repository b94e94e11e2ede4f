"""Keys for a directory bucket's objects: those of a session, which last five minutes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from .credentials.refreshing import RefreshingCredentials
from .protocol.operations import create_session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from .models import Credentials
    from .protocol.address import Location
    from .protocol.operations import Operation

_LEAD: Final = timedelta(minutes=1)


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
        perform: Callable[[Operation[Credentials]], Awaitable[Credentials]],
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

    async def _fetch(self, known: Credentials | None) -> Credentials:  # noqa: ARG002 - each session has keys of its own
        return await self._perform(create_session(self._bucket))

    def _lead(self, lasts: timedelta) -> timedelta:  # noqa: ARG002 - all last as long
        return _LEAD
