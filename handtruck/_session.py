"""One request, from the caller's wish to S3's word: credentials → sign → send → retry → map errors.

An attempt is: fetch the keys, build the request, take a place on the wire, sign, send, receive, give the place back.
Everything but the middle can be cancelled at no cost. Between attempts nothing is held. A request is signed last:
its date must not grow old in a queue.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import anyio
import httpx

from ._body import NO_BODY, SMALL, Body, BytesBody, hash_view, summed
from ._places import Places
from ._tasks import in_thread, isolated, settled
from .credentials.base import no_credentials
from .errors import (
    AccessDenied,
    ConnectionFailed,
    HandtruckError,
    InvalidResponse,
    NotFound,
    PreconditionFailed,
    S3Error,
    TransferTimeout,
    UsageError,
)
from .protocol.address import wire_query
from .protocol.answers import Answer, failure
from .protocol.checksums import EMPTY_SHA256, UNSIGNED_PAYLOAD
from .protocol.documents import parse_error
from .protocol.operations import is_conditional
from .protocol.retry import EXPIRED_CODES, Outcome, Retries, RetryBudget, classify
from .protocol.signing import check_keys, sign
from .transport.foreign import ours_for, undecodable
from .transport.reading import read_whole
from .transport.senders import Draft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from httpx._types import TimeoutTypes

    from .credentials import AbstractCredentials
    from .models import Credentials
    from .models.checksums import ChecksumAlgorithm
    from .protocol.address import Endpoint
    from .protocol.operations import Operation
    from .transport.senders import Prepared, Sender

T = TypeVar("T")

GRACE: Final = 5.0
"""Seconds that all clean-up together may take once a transfer is cancelled or has failed."""

ANSWER_SHARE: Final = 0.6
"""What of it (3 s) may be spent on an answer that must not be lost; the rest is the abort's."""

DEFAULT_REGION: Final = "us-east-1"

log = logging.getLogger("handtruck")


Receive: TypeAlias = "Callable[[Operation[object], httpx.Response, int], Awaitable[T]]"
"""Makes something of an answer whose body is still to be read; the number is that of the attempt.

Raises S3Error, InvalidResponse or ConnectionFailed where the answer is not the one hoped for.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to send a request, beside what it says.

    Attributes:
        attempts: in all; None: the client's own number.
        timeout: httpx's four stall timeouts; None: the HTTP client's own.
        extensions: httpx's request extensions.
        on_wire: told True when the request goes out, and False where it turns out to have done nothing. With it,
            a cancellation leaves the request a share of :data:`GRACE` to end once it is on the wire.
        on_cancel: called when it was cancelled there, and this time begins.
        placed: the caller holds a place on the wire for it (:meth:`handtruck._places.Places.undoing`).
    """

    attempts: int | None = None
    timeout: TimeoutTypes | None = None
    extensions: Mapping[str, object] | None = None
    on_wire: Callable[[bool], None] | None = None
    on_cancel: Callable[[], object] | None = None
    placed: bool = False


PLAIN: Final = Options()


@dataclass(slots=True, kw_only=True)
class Session:
    """What all requests of a client share.

    Attributes:
        limiter: requests on the wire at once, shared with others; what undoes something goes beside it.
    """

    endpoint: Endpoint
    sender: Sender
    credentials: AbstractCredentials
    region: str
    max_connections: int
    max_attempts: int
    clock: Callable[[], datetime]
    random: Callable[[], float]
    limiter: anyio.CapacityLimiter | None = None
    budget: RetryBudget = field(default_factory=RetryBudget)
    places: Places = field(init=False)
    checked: Credentials | None = None
    threads: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.places = Places(self.max_connections)
        self.threads = anyio.CapacityLimiter(8)

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
            if response.status_code >= 400:
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
            failed.request = httpx.Request(operation.method, self.endpoint.origin + operation.location.path)
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
        expired: Credentials | None = None
        while True:
            operation = next_operation()
            retries.attempt += 1
            retries.idempotent = operation.idempotent
            keys = await self._keys(expired)
            try:
                result = await self._attempt(operation, receive, body, keys, options, retries.attempt)
            except (S3Error, ConnectionFailed, InvalidResponse) as error:
                if options.on_wire is not None and _outcome(error, operation) in (Outcome.REFUSED, Outcome.FINAL):
                    options.on_wire(False)
                if expired is None and _expired(error, operation, keys):
                    expired = keys
                    continue
                await self._wait_or_raise(error, _outcome(error, operation), retries)
            else:
                retries.succeeded()
                return result

    async def _keys(self, expired: Credentials | None) -> Credentials:
        keys = await self.credentials.get(rejected=expired)
        if keys is None:
            raise no_credentials(self.credentials)
        if keys is not self.checked and keys != self.checked:
            check_keys(keys, self._region(keys), self.credentials)
            self.checked = keys
        return keys

    def _region(self, keys: Credentials) -> str:
        return self.region or self.endpoint.region or keys.region or DEFAULT_REGION

    async def _wait_or_raise(
        self, error: S3Error | ConnectionFailed | InvalidResponse, outcome: Outcome, retries: Retries
    ) -> None:
        asked = error.retry_after if isinstance(error, S3Error) else 0.0
        wait = retries.again(outcome, random=self.random(), retry_after=asked)
        if wait is None:
            if not isinstance(error, S3Error):
                error.attempts = retries.attempt
            try:
                raise error
            finally:
                del error  # no cycle: its traceback holds this frame, and the body
        log.debug("attempt %d failed, next in %.2f s: %s", retries.attempt, wait, error)
        await anyio.sleep(wait)

    async def _attempt(
        self,
        operation: Operation[object],
        receive: Receive[T],
        body: Body,
        keys: Credentials,
        options: Options,
        attempt: int,
    ) -> T:
        prepared = await self._prepare(operation, body, options)
        if not options.placed:
            await self.places.take()
        shared = False
        try:
            if self.limiter is not None and not options.placed:
                await self.limiter.acquire_on_behalf_of(prepared)
                shared = True
            signature = self._sign(prepared, operation, body, keys)
            if options.on_wire is not None:
                options.on_wire(True)
                trip = partial(self._round_trip, operation, prepared, signature, receive, attempt)
                return await settled(trip, GRACE * ANSWER_SHARE, options.on_cancel)
            return await self._round_trip(operation, prepared, signature, receive, attempt)
        finally:
            if self.limiter is not None and shared:
                self.limiter.release_on_behalf_of(prepared)
            if not options.placed:
                self.places.give_back()

    async def _round_trip(
        self,
        operation: Operation[object],
        prepared: Prepared,
        signature: dict[str, str],
        receive: Receive[T],
        attempt: int,
    ) -> T:
        try:
            response = await prepared.send(signature)
            try:
                return await receive(operation, response, attempt)
            finally:
                if not response.is_closed:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except Exception as error:
            doing = f"{operation.name} {operation.location} at {self.endpoint.authority}"
            ours = ours_for(error, doing, prepared.bare())
            if ours is None:
                raise
            raise ours from error
        finally:
            prepared.forget_body()

    async def _prepare(self, operation: Operation[object], body: Body, options: Options) -> Prepared:
        query = wire_query(operation.query)
        headers = list(operation.headers)
        if not any(name.lower() == "accept-encoding" for name, _ in headers):
            headers.append(("Accept-Encoding", "identity"))
        if body.length or operation.method in ("PUT", "POST"):
            headers.append(("Content-Length", str(body.length)))
        draft = Draft(
            method=operation.method,
            origin=self.endpoint.origin,
            target=f"{operation.location.path}?{query}" if query else operation.location.path,
            headers=headers,
            body=body,
            timeout=options.timeout,
            extensions=options.extensions,
            # Repeated by the transport behind our back; but not what answers differently then (Complete, Abort).
            idempotent=operation.idempotent and operation.method not in ("POST", "DELETE"),
        )
        try:
            return await self.sender.prepare(draft)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            doing = f"{operation.name} {operation.location}"
            raise UsageError(f"{doing}: {error}") from error

    def _sign(self, prepared: Prepared, operation: Operation[object], body: Body, keys: Credentials) -> dict[str, str]:
        return sign(
            method=operation.method,
            path=operation.location.path,
            query=operation.query,
            headers=prepared.headers(),
            payload_hash=body.payload_hash,
            credentials=keys,
            region=self._region(keys),
            now=self.clock(),
        )

    async def bytes_body(
        self,
        view: memoryview,
        payload_hash: str | None = None,
        *,
        hashed: bool = True,
        algorithm: ChecksumAlgorithm | None = None,
    ) -> BytesBody:
        """Bytes in memory as a body, hashed unless that was done already or is not wanted; summed where that is."""
        if algorithm is not None:
            make = partial(summed, view, payload_hash, algorithm, hashed=hashed)
            return make() if len(view) <= SMALL else await isolated(lambda: in_thread(make, limiter=self.threads))
        if payload_hash is None:
            if not len(view):
                payload_hash = EMPTY_SHA256
            elif not hashed:
                payload_hash = UNSIGNED_PAYLOAD
            elif len(view) <= SMALL:
                payload_hash = hash_view(view)
            else:
                payload_hash = await isolated(lambda: in_thread(hash_view, view, limiter=self.threads))
        return BytesBody(view, payload_hash)


def _answer(response: httpx.Response) -> Answer:
    return Answer(status=response.status_code, headers=response.headers, body=response.content)


def _expired(error: HandtruckError, operation: Operation[object], keys: Credentials) -> bool:
    """The keys ran out. The answer to a HEAD cannot say so: a bare 400 may mean it."""
    if not isinstance(error, S3Error):
        return False
    bare = operation.method == "HEAD" and error.status == 400
    return error.code in EXPIRED_CODES or (bare and keys.session_token is not None)


def _outcome(error: HandtruckError, operation: Operation[object]) -> Outcome:
    """How an attempt ended, by what it raised."""
    match error:
        case S3Error() if error.code in operation.final_codes:
            return Outcome.FINAL
        case S3Error(status=500) if is_conditional(operation.headers):
            return Outcome.LOST  # had it been done all the same, a repetition would answer 412
        case S3Error():
            # Inside a 200 an error counts as a 500, unless it is one of those that do not pass.
            inside = 400 if isinstance(error, AccessDenied | NotFound | PreconditionFailed) else 500
            return classify(error.status if error.status >= 300 else inside, error.code)
        case ConnectionFailed(sent=False):
            return Outcome.REFUSED
        case TransferTimeout():
            return Outcome.TIMED_OUT
        case UsageError():
            return Outcome.FINAL
        case _:
            return Outcome.LOST
