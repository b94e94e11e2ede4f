"""Keys that end, kept fresh.

One value is held, with two times: when it ends (``expires_at``), and from when on a newer one is wanted
(``due``). Whoever asks between the two fetches a newer one, or, while somebody else is at it, or if that
fails, takes the old one. After the end, and when S3 has rejected the keys, everybody waits for the one fetch.
There is no background task: keys that nobody asks for are not refreshed, and nothing has to be joined.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from .._tasks import LoopLocks
from ..errors import ConnectionFailed, HandtruckError, InvalidResponse
from .base import AbstractCredentials, afresh, is_rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..models import Credentials

ADVISORY_REFRESH: Final = timedelta(minutes=15)
"""How long before their end newer keys are wanted; AWS gives out new ones well before that."""

RETRY_PAUSE: Final = timedelta(minutes=1)
"""How long a refresh that was not urgent and failed, or that found nothing, is not tried again."""

_NEVER: Final = datetime.max.replace(tzinfo=UTC)
_EVER: Final = datetime.min.replace(tzinfo=UTC)


def utc_now() -> datetime:
    """The time, aware of its zone."""
    return datetime.now(UTC)


class RefreshingCredentials(AbstractCredentials):
    """A source whose keys end: fetched when first needed, refreshed ahead of their end. Write :meth:`_fetch`.

    One fetch at a time on each event loop, however many ask. A refresh ahead of the end that fails leaves the old
    keys in use while they last. Keys without an end are fetched again only when S3 rejects them.

    Args:
        clock: the time now, time-zone aware.
    """

    def __init__(self, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock
        self._locks = LoopLocks()
        self._forget()

    @abstractmethod
    async def _fetch(self, known: Credentials | None) -> Credentials:
        """Newer keys; blank where there are none to be had here.

        Args:
            known: what was fetched last, though it may have ended.

        Raises:
            HandtruckError: the source is there, and failed.
        """

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """The keys, refreshed if it is time; blank where there are none to be had.

        See :meth:`AbstractCredentials.load`. An old value is only ever given while it lasts.

        Raises:
            UsageError: the source is there and cannot be used.
            ConnectionFailed: it stopped answering, or no longer has keys after it had some.
            InvalidResponse: it answered nonsense, or gave keys that have ended.
            S3Error: a service that was asked for the keys said no.
        """
        lock, failed = self._locks.here(), self._failed
        held = self._good(rejected)
        if held is not None and (not self._is_due() or lock.locked()):
            return held
        async with lock:
            held = self._good(rejected)
            if held is not None and not self._is_due():
                return held
            if held is None and self._failed is not None and self._failed is not failed:
                raise afresh(self._failed)  # whoever waited for a fetch that failed does not begin another
            return await self._refresh(held)

    async def _renew(self) -> Credentials:
        """Newer keys now, due or not; the old ones if that fails while they last."""
        async with self._locks.here():
            return await self._refresh(self._good(None))

    def _forget(self) -> None:
        """Hold nothing. Asking again fetches again."""
        self._held: Credentials | None = None
        self._since, self._due = _EVER, _NEVER
        self._failed: HandtruckError | None = None

    def _lead(self, lasts: timedelta) -> timedelta:  # noqa: ARG002 - for those who override it
        """How long ahead of their end keys that last so long are to be refreshed."""
        return ADVISORY_REFRESH

    def _good(self, rejected: Credentials | None) -> Credentials | None:
        """What is held, unless it has ended or S3 turned it down."""
        held = self._held
        if held is None or self._has_ended(held) or is_rejected(held, rejected):
            return None
        return held

    def _has_ended(self, credentials: Credentials) -> bool:
        return credentials.expires_at is not None and credentials.expires_at <= self._clock()

    def _is_due(self) -> bool:
        return not self._since <= self._clock() < self._due

    def _pause(self) -> None:
        """Nothing is fetched for a while; a clock that is set back meanwhile ends it."""
        self._since = self._clock()
        self._due = self._since + RETRY_PAUSE

    async def _refresh(self, good: Credentials | None) -> Credentials:
        """Newer keys, or the ones that are still ``good``. The caller holds the lock."""
        try:
            found = self._checked(await self._fetch(self._held))
        except HandtruckError as error:
            self._failed = afresh(error)
            if good is None:
                raise
            self._pause()
            return good
        self._hold(found)
        return found

    def _checked(self, found: Credentials) -> Credentials:
        if self._held is not None and self._held.complete and not found.complete:
            raise ConnectionFailed(f"{self.where} no longer answers, or no longer has keys", sent=False)
        if self._has_ended(found):
            raise InvalidResponse(f"{self.where} gave keys that have already ended")
        return found

    def _hold(self, found: Credentials) -> None:
        now = self._clock()
        self._held, self._since = found, _EVER
        if found.expires_at is not None:
            lasts = found.expires_at - now
            self._due = now + max(lasts - self._lead(lasts), RETRY_PAUSE)
        elif found.complete:
            self._due = _NEVER
        else:
            self._pause()
