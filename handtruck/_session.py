"""One request, from the caller's wish to S3's word: credentials → route → attempt → correct or retry → map errors.

Keys are fetched anew for each attempt, because they may end in the middle of a transfer. Between attempts nothing is
held.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import httpx

from ._attempt import PLAIN, Attempt, Options
from ._body import NO_BODY, SMALL, Body, BytesBody, body_of
from ._correcting import correct, keep_clock
from ._express import SessionKeys
from ._places import Places
from ._tasks import LoopLocks, in_thread, isolated
from .credentials.base import is_rejected, no_credentials
from .errors import (
    ConnectionFailed,
    HandtruckError,
    InvalidResponse,
    S3Error,
    UsageError,
)
from .protocol.answers import Answer, failure
from .protocol.corrections import Corrections, Learned, is_taken
from .protocol.documents import parse_error
from .protocol.fields import has_customer_key, in_the_clear
from .protocol.operations import is_conditional
from .protocol.outcomes import outcome_of
from .protocol.quirks import quirks_at
from .protocol.retry import Retries, RetryBudget
from .protocol.routing import route_of
from .protocol.signing import check_keys
from .transport.foreign import undecodable
from .transport.reading import read_whole

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime, timedelta

    from ._attempt import Receive
    from .credentials import AbstractCredentials
    from .models import Credentials
    from .models.checksums import ChecksumAlgorithm
    from .protocol.address import Endpoint, Location
    from .protocol.hosts import Route
    from .protocol.operations import Operation
    from .protocol.quirks import Quirks
    from .transport.senders import Sender

T = TypeVar("T")

DEFAULT_REGION: Final = "us-east-1"

log = logging.getLogger("handtruck")


@dataclass(slots=True, kw_only=True)
class Session:
    """What all requests of a client share.

    Attributes:
        credentials: where keys come from; None: requests are not signed.
        limiter: requests on the wire at once, shared with others; what undoes something goes beside it.
        find: where settings say where the endpoint is: reads them, when the first request needs it.
        learned: by the refusals of earlier requests.
        asking: where a bucket is: one asks, for all that wait.
        chosen: what the caller says of the server; None: what its host is known for.
    """

    endpoint: Endpoint
    sender: Sender
    credentials: AbstractCredentials | None
    region: str
    max_connections: int
    max_attempts: int
    clock: Callable[[], datetime]
    random: Callable[[], float]
    limiter: anyio.CapacityLimiter | None = None
    budget: RetryBudget = field(default_factory=RetryBudget)
    find: Callable[[], Awaitable[Endpoint]] | None = None
    learned: Learned = field(default_factory=Learned)
    chosen: Quirks | None = None
    places: Places = field(init=False)
    checked: Credentials | None = None
    threads: anyio.CapacityLimiter = field(init=False)
    asking: LoopLocks = field(default_factory=LoopLocks)
    _finding: LoopLocks = field(default_factory=LoopLocks)
    _sessions: dict[str, SessionKeys] = field(default_factory=dict)
    _quirks: Quirks = field(init=False, repr=False)
    _private: bool = field(init=False, repr=False)
    _looked_at: Endpoint | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.places = Places(self.max_connections)
        self.threads = anyio.CapacityLimiter(8)

    @property
    def quirks(self) -> Quirks:
        """What the server does otherwise than S3, as far as is known."""
        if self._looked_at is not self.endpoint:
            self._look()
        return self._quirks

    def _look(self) -> None:
        """What there is to know of the endpoint, which the settings may have found since."""
        self._quirks, self._private = self.chosen or quirks_at(self.endpoint), self.endpoint.private
        self._looked_at = self.endpoint

    async def respond(
        self, operation: Operation[object], *, body: Body = NO_BODY, options: Options = PLAIN
    ) -> httpx.Response:
        """Send a request and give the last answer, whatever its status, its body read.

        Raises:
            ConnectionFailed: there was no answer.
        """
        final: list[httpx.Response] = []

        def again() -> Operation[object]:
            final.clear()
            return operation

        async def receive(operation: Operation[object], response: httpx.Response, attempt: int) -> httpx.Response:
            await read_whole(response)
            final.append(response)
            if response.status_code >= 400 or response.status_code in (301, 307):
                raise failure(_answer(response), operation.name, operation.location, attempt)
            return response

        try:
            return await self.exchange(again, receive, body=body, options=options)
        except S3Error:
            if not final:
                raise  # not the answer's: a source of credentials may speak to S3's kind, too
            return final[0]
        except InvalidResponse as error:
            cause = error.__cause__
            if cause is None or not undecodable(cause):
                raise
            # A body that is not encoded as it claims is no answer that anyone can read.
            failed = ConnectionFailed(str(error.args[0]), attempts=error.attempts)
            failed.request = httpx.Request(operation.method, self.endpoint.url_of(operation.location))
            raise failed from cause

    async def perform(
        self,
        operation: Operation[T],
        *,
        body: Body | None = None,
        options: Options = PLAIN,
        deliver: Callable[[T, httpx.Response], None] | None = None,
    ) -> T:
        """Carry an operation out and give what its answer means.

        ``deliver`` gets the result too, as soon as it is there: with ``options.on_wire`` even if the caller has been
        cancelled by then and nothing can be returned.

        Raises:
            S3Error, ConnectionFailed, InvalidResponse.
        """
        carried = body or (await self.bytes_body(memoryview(operation.content)) if operation.content else NO_BODY)

        async def receive(_: Operation[object], response: httpx.Response, attempt: int) -> T:
            await read_whole(response)
            answer = _answer(response)
            if not 200 <= answer.status < 300 or (operation.error_in_200 and parse_error(answer.body)):
                raise failure(
                    answer,
                    operation.name,
                    operation.location,
                    attempt,
                    conditional_write=operation.method not in ("GET", "HEAD") and is_conditional(operation.headers),
                )
            try:
                result = operation.parse(answer)
            except InvalidResponse as error:
                raise InvalidResponse(f"{operation.name} {operation.location}: {error}") from error
            if deliver is not None:
                deliver(result, response)
            return result

        return await self.exchange(lambda: operation, receive, body=carried, options=options)

    async def exchange(
        self,
        next_operation: Callable[[], Operation[object]],
        receive: Receive[T],
        *,
        body: Body = NO_BODY,
        options: Options = PLAIN,
    ) -> T:
        """Send until ``receive`` is content or the retry policy gives up.

        ``next_operation`` is asked before each attempt: what a broken answer left undone may be less than the whole.
        """
        retries = Retries(self.budget, options.attempts or self.max_attempts, idempotent=False)
        corrections = Corrections()
        while True:
            operation = next_operation()
            retries.attempt += 1
            retries.idempotent = operation.idempotent
            if self.find is not None:
                await self.ready()
            if self._looked_at is not self.endpoint or not self._private:
                self._check_privacy(operation)
            keys, route = await self._way(operation, options, corrections)
            attempt = Attempt(
                operation=operation,
                route=route,
                body=body,
                receive=receive,
                options=options,
                number=retries.attempt,
                keys=keys,
                renew=partial(self._way, operation, options, corrections) if keys and keys.expires_at else None,
            )
            try:
                now = self.now if corrections.skew is None else partial(self.now, corrections.skew)
                result = await attempt.run(self.sender, self.places, self.limiter, now)
            except (S3Error, ConnectionFailed, InvalidResponse) as error:
                if attempt.signed is None:
                    raise  # nothing was sent: newer keys were needed, and it is their source that failed
                await self._correct_or_wait(error, attempt, corrections, retries)
            else:
                if corrections.skew is not None:
                    keep_clock(self, corrections)
                retries.succeeded()
                return result

    async def ready(self) -> None:
        """Know where the endpoint is: environment and config files say so, where no URL does.

        Raises:
            UsageError: a file, or what is in it, cannot be used.
        """
        if self.find is None:
            return
        async with self._finding.here():
            if self.find is not None:
                self.endpoint = await self.find()
                self.find = None

    def _check_privacy(self, operation: Operation[object]) -> None:
        """Some requests were prepared before the endpoint was known."""
        if self._looked_at is not self.endpoint:
            self._look()
        if not self._private and has_customer_key(operation.headers):
            raise UsageError(in_the_clear(self.endpoint.origin))

    async def _way(
        self, operation: Operation[object], options: Options, corrections: Corrections
    ) -> tuple[Credentials | None, Route]:
        """What to sign with now, and where to go: for the objects of a directory bucket with a session's keys."""
        location, rejected, undoing = operation.location, corrections.rejected, options.placed
        try:
            keys = await self.keys(rejected, undoing=undoing)
            route = self.route(location, keys, operation.name)
            if route.session and keys is not None:
                keys = await self._keys_of_session(location, rejected, undoing=undoing)
        except HandtruckError:
            doubted, corrections.doubted = corrections.doubted, None
            if doubted is None:
                raise
            self.learned.lasting = rejected
            raise doubted from None  # which may have meant something else
        corrections.doubted = None
        return keys, route

    async def keys(self, rejected: Credentials | None = None, *, undoing: bool = False) -> Credentials | None:
        """What to sign with now; None: nothing is signed.

        Args:
            rejected: what S3 has called expired.
            undoing: there is no time to renew keys that are still good.

        Raises:
            UsageError: there are no keys, or they cannot travel in a header.
            ConnectionFailed, InvalidResponse: a source of keys cannot be asked.
        """
        if self.credentials is None:
            return None
        if undoing and self.checked is not None and self._lasts(self.checked, rejected):
            return self.checked
        keys = await self.credentials.get(rejected=rejected)
        if keys is None:
            raise no_credentials(self.credentials)
        if keys is not self.checked and keys != self.checked:
            check_keys(keys, self._region(None, keys), self.credentials)
            self.checked = keys
        return keys

    def _lasts(self, keys: Credentials, rejected: Credentials | None) -> bool:
        return not is_rejected(keys, rejected) and (keys.expires_at is None or keys.expires_at > self.now())

    async def _keys_of_session(self, location: Location, rejected: Credentials | None, *, undoing: bool) -> Credentials:
        bucket = location.bucket or ""
        if bucket not in self._sessions:
            place = self.endpoint.locate_bucket(bucket=bucket)
            self._sessions[bucket] = SessionKeys(self.perform, place, self.now)
        keys = self._sessions[bucket]
        return await (keys.at_once(rejected) if undoing else keys.load(rejected=rejected))

    def now(self, skew: timedelta | None = None) -> datetime:
        """The time, by S3's clock as far as it is known; ``skew``: by what one request takes it to be off."""
        return self.clock() + (self.learned.skew if skew is None else skew)

    def route(self, location: Location, keys: Credentials | None, operation: str = "") -> Route:
        """The way of a request about a place, as far as is known by now; ``operation``: S3's name of it.

        Raises:
            UsageError: there is no such place.
        """
        learned = location.bucket in self.learned.regions
        return route_of(self.endpoint, location, self._region(location.bucket, keys), operation, learned=learned)

    def _region(self, bucket: str | None, keys: Credentials | None) -> str:
        learned = self.learned.regions.get(bucket) if self.learned.regions else None
        known = learned or self.region or self.endpoint.region or self.quirks.region
        return known or (keys.region if keys else None) or DEFAULT_REGION

    async def _correct_or_wait(
        self,
        error: S3Error | ConnectionFailed | InvalidResponse,
        attempt: Attempt[T],
        corrections: Corrections,
        retries: Retries,
    ) -> None:
        """Get ready for the next attempt, at once where the refusal taught something; or raise the error."""
        if is_taken(error):
            keep_clock(self, corrections)
        if await correct(self, error, attempt, corrections):
            retries.attempt -= 1  # it is sent once more, not retried: nothing was wrong with the server, or the road
            return
        asked = error.retry_after if isinstance(error, S3Error) else 0.0
        outcome = outcome_of(error, attempt.operation)
        wait = retries.again(outcome, random=self.random(), retry_after=asked)
        if wait is None:
            if not isinstance(error, S3Error):
                error.attempts = retries.attempt
            try:
                raise error
            finally:
                del error, attempt  # no cycle: its traceback holds this frame, and the body
        log.debug("attempt %d failed, next in %.2f s: %s", retries.attempt, wait, error)
        await anyio.sleep(wait)

    async def bytes_body(
        self,
        view: memoryview,
        payload_hash: str | None = None,
        *,
        hashed: bool = True,
        algorithm: ChecksumAlgorithm | None = None,
    ) -> BytesBody:
        """Bytes in memory as a body, hashed unless that was done already or is not wanted; summed where that is."""
        known = payload_hash is not None or not hashed
        if len(view) <= SMALL or (known and algorithm is None):
            return body_of(view, payload_hash, algorithm, hashed=hashed)
        make = partial(body_of, view, payload_hash, algorithm, hashed=hashed)
        return await isolated(lambda: in_thread(make, limiter=self.threads))


def _answer(response: httpx.Response) -> Answer:
    return Answer(status=response.status_code, headers=response.headers, body=response.content)
