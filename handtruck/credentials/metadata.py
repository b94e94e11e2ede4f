"""Keys of the role that an EC2 instance runs under, kept fresh.

One value is held, with two times: when it ends (``expires_at``), and from when on a newer one is wanted
(``due``). Whoever asks between the two fetches a newer one, or, while somebody else is at it, or if that
fails, takes the old one. After the end, and when S3 has rejected the keys, everybody waits for the one fetch.
There is no background task: keys that nobody asks for are not refreshed, and nothing has to be joined.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Self

from .._tasks import LoopLocks
from ..errors import ConnectionFailed, InvalidResponse, UsageError
from ..models import Credentials
from .base import AbstractCredentials, environment, is_rejected
from .imds import DEFAULT_ENDPOINT, MetadataService, open_client, parse_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    import httpx

ADVISORY_REFRESH: Final = timedelta(minutes=15)
"""How long before their end newer keys are wanted; AWS gives out new ones well before that."""

RETRY_PAUSE: Final = timedelta(minutes=1)
"""How long a refresh that was not urgent and failed, or that found no service, is not tried again."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


class MetadataCredentials(AbstractCredentials):
    """Keys from EC2's instance metadata service (IMDSv2), fetched when first needed and refreshed ahead of their end.

    Works without :meth:`start` too. One fetch at a time, however many ask. A fetch makes its own connections,
    uses no proxy, and tries an answer of 5xx three times.

    Args:
        endpoint: an ``http://`` URL; else ``AWS_EC2_METADATA_SERVICE_ENDPOINT``, else ``http://169.254.169.254``.
        allow_v1: go on without a session token where the service refuses to give one, or does not answer that
            request. Version 1 is open to request forgery through proxies and web applications.
        timeout: seconds for each of the up to four requests of a fetch.
        clock: the time now, time-zone aware.
        environ: read instead of the process's environment.

    Raises:
        UsageError: ``endpoint`` is no ``http://`` URL.

    Source: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
    """

    def __init__(
        self,
        *,
        endpoint: str | None = None,
        allow_v1: bool = False,
        timeout: float = 1.0,
        clock: Callable[[], datetime] = _utc_now,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._endpoint = parse_endpoint(endpoint) if endpoint else None
        self._allow_v1 = allow_v1
        self._timeout = timeout
        self._clock = clock
        self._environ = environ
        self._locks = LoopLocks()
        self._held: Credentials | None = None
        self._due = datetime.max.replace(tzinfo=UTC)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Fetch the keys now, to learn early whether there are any. Not required.

        Raises:
            UsageError: no metadata service answers, or the instance has no role.
            ConnectionFailed: the service stopped answering.
            InvalidResponse: it answered nonsense, failed (5xx) three times, or gave keys that have ended.
        """
        async with self._locks.here():
            found = await self._refresh(self._good(None))
        if not found.complete:
            raise UsageError(
                f"no keys from {self.where}: nobody answers there, the instance has no role,"
                " or the service only speaks version 1 (allow_v1=True)"
            )

    async def stop(self) -> None:
        """Forget the keys. Waits for nothing; may come before :meth:`start`, or twice. Asking again fetches again."""
        self._held = None

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        """The role's keys, refreshed if it is time; blank where there is no service, or no role.

        See :meth:`AbstractCredentials.load`. An old value is only ever given while it lasts.

        Raises:
            UsageError: ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` is no ``http://`` URL.
            ConnectionFailed: the service stopped answering, or no longer has keys after it had some.
            InvalidResponse: it answered nonsense, failed (5xx) three times, or gave keys that have ended.
        """
        lock = self._locks.here()
        held = self._good(rejected)
        if held is not None and (not self._is_due() or lock.locked()):
            return held
        async with lock:
            held = self._good(rejected)
            if held is not None and not self._is_due():
                return held
            return await self._refresh(held)

    @property
    def where(self) -> str:
        """In words."""
        return "the EC2 instance metadata service"

    def _good(self, rejected: Credentials | None) -> Credentials | None:
        """What is held, unless it has ended or S3 turned it down."""
        held = self._held
        if held is None or self._has_ended(held) or is_rejected(held, rejected):
            return None
        return held

    def _has_ended(self, credentials: Credentials) -> bool:
        return credentials.expires_at is not None and credentials.expires_at <= self._clock()

    def _is_due(self) -> bool:
        return self._clock() >= self._due

    async def _refresh(self, good: Credentials | None) -> Credentials:
        """Newer keys, or the ones that are still ``good``. The caller holds the lock."""
        try:
            found = await self._fetch()
        except (ConnectionFailed, InvalidResponse):
            if good is None:
                raise
            found = good
        self._hold(found)
        return found

    async def _fetch(self) -> Credentials:
        known = self._held or Credentials()
        async with open_client(self._address()) as http:
            service = MetadataService(http=http, timeout=self._timeout, allow_v1=self._allow_v1)
            found = await service.fetch(known.region)
        if known.complete and not found.complete:
            raise ConnectionFailed(f"{self.where} no longer answers, or no longer has a role", sent=False)
        if self._has_ended(found):
            raise InvalidResponse(f"{self.where} gave keys that have already ended")
        return found

    def _address(self) -> httpx.URL:
        if self._endpoint is not None:
            return self._endpoint
        environ = environment(self._environ)
        return parse_endpoint(environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT_ENDPOINT)

    def _hold(self, found: Credentials) -> None:
        now = self._clock()
        lasts = found.expires_at - now - ADVISORY_REFRESH if found.expires_at else RETRY_PAUSE
        self._held = found
        self._due = now + max(lasts, RETRY_PAUSE)
