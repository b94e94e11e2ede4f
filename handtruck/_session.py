"""One request, from the caller's wish to S3's word: credentials → sign → send → retry → map errors.

An attempt is: fetch the keys, build and sign the request, take a token (a place on the wire), send, receive, give
the token back. Everything but the middle can be cancelled at no cost. Between attempts nothing is held.

*Who takes a token.* Only this file, for the request object, never for the task: a task may have several requests'
tokens on its mind, a request has one. Undoing work has one token in reserve, so that an abort never queues behind
a thousand transfers: at most ``max_connections + 1`` requests are on the wire.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import anyio

from ._body import NO_BODY, SMALL, Body, BytesBody, hash_view
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
from .protocol.signing import sign
from .transport import Draft, foreign_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    import httpx
    from httpx._types import TimeoutTypes

    from .credentials import AbstractCredentials
    from .models import Credentials
    from .protocol.address import Endpoint
    from .protocol.operations import Operation
    from .transport import Sender

T = TypeVar("T")

GRACE: Final = 5.0
"""Seconds that clean-up may take once a transfer is cancelled or has failed."""

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
            a cancellation leaves the request :data:`GRACE` seconds to end once it is on the wire.
        undo: it may use the token in reserve.
    """

    attempts: int | None = None
    timeout: TimeoutTypes | None = None
    extensions: Mapping[str, object] | None = None
    on_wire: Callable[[bool], None] | None = None
    undo: bool = False


PLAIN: Final = Options()


@dataclass(slots=True, kw_only=True)
class Session:
    """What all requests of a client share."""

    endpoint: Endpoint
    sender: Sender
    credentials: AbstractCredentials
    region: str
    max_connections: int
    max_attempts: int
    clock: Callable[[], datetime]
    random: Callable[[], float]
    budget: RetryBudget = field(default_factory=RetryBudget)
    tokens: anyio.CapacityLimiter = field(init=False)
    reserve: anyio.CapacityLimiter = field(init=False)
    threads: anyio.CapacityLimiter = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = anyio.CapacityLimiter(self.max_connections)
        self.reserve = anyio.CapacityLimiter(1)
        self.threads = anyio.CapacityLimiter(8)

    async def respond(
        self, operation: Operation[object], *, body: Body = NO_BODY, options: Options = PLAIN
    ) -> httpx.Response:
        """Send a request and give the last answer, whatever its status, its body read.

        Raises:
            ConnectionFailed: there was no answer.
        """
        final: list[httpx.Response] = []

        async def receive(operation: Operation[object], response: httpx.Response, attempt: int) -> httpx.Response:
            final.clear()
            answer = await _read(response)
            final.append(response)
            if answer.status >= 400:
                raise failure(answer, operation.name, operation.location, attempt)
            return response

        try:
            return await self.exchange(lambda: operation, receive, body=body, options=options)
        except S3Error:
            return final[0]
        except InvalidResponse as error:  # a body that is not encoded as it claims: no answer anyone can read
            raise ConnectionFailed(str(error), attempts=self.max_attempts) from error.__cause__

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
            answer = await _read(response)
            if not 200 <= answer.status < 300 or (operation.error_in_200 and parse_error(answer.body)):
                raise failure(
                    answer,
                    operation.name,
                    operation.location,
                    attempt,
                    conditional_write=operation.method != "GET" and is_conditional(operation.headers),
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
                if isinstance(error, S3Error) and error.code in EXPIRED_CODES and expired is None:
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
        return keys

    async def _wait_or_raise(
        self, error: S3Error | ConnectionFailed | InvalidResponse, outcome: Outcome, retries: Retries
    ) -> None:
        asked = error.retry_after if isinstance(error, S3Error) else 0.0
        wait = retries.again(outcome, random=self.random(), retry_after=asked)
        if wait is None:
            if isinstance(error, ConnectionFailed):
                error.attempts = retries.attempt
            raise error
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
        request = await self._signed(operation, body, keys, options)
        place = await self._place(request, options)
        try:
            if options.on_wire is not None:
                options.on_wire(True)
                return await settled(partial(self._round_trip, operation, request, receive, attempt), GRACE)
            return await self._round_trip(operation, request, receive, attempt)
        finally:
            place.release_on_behalf_of(request)

    async def _place(self, request: httpx.Request, options: Options) -> anyio.CapacityLimiter:
        """Wait for a token; gives the limiter that it belongs to."""
        if options.undo:
            try:
                self.tokens.acquire_on_behalf_of_nowait(request)
            except anyio.WouldBlock:
                await self.reserve.acquire_on_behalf_of(request)
                return self.reserve
        else:
            await self.tokens.acquire_on_behalf_of(request)
        return self.tokens

    async def _round_trip(
        self, operation: Operation[object], request: httpx.Request, receive: Receive[T], attempt: int
    ) -> T:
        with foreign_errors(f"{operation.name} {operation.location} at {self.endpoint.authority}"):
            response = await self.sender.send(request)
            try:
                return await receive(operation, response, attempt)
            finally:
                if not response.is_closed:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()

    async def _signed(
        self, operation: Operation[object], body: Body, keys: Credentials, options: Options
    ) -> httpx.Request:
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
        )
        with foreign_errors(f"{operation.name} {operation.location}"):
            request = await self.sender.build(draft)
        request.headers.update(
            sign(
                method=operation.method,
                path=operation.location.path,
                query=operation.query,
                headers=request.headers.multi_items(),
                payload_hash=body.payload_hash,
                credentials=keys,
                region=self.region or self.endpoint.region or keys.region or DEFAULT_REGION,
                now=self.clock(),
            )
        )
        return request

    async def bytes_body(self, view: memoryview, payload_hash: str | None = None, *, hashed: bool = True) -> BytesBody:
        """Bytes in memory as a body, hashed unless that was done already or is not wanted."""
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


async def _read(response: httpx.Response) -> Answer:
    """The whole answer."""
    await response.aread()
    return Answer(status=response.status_code, headers=response.headers, body=response.content)


def _outcome(error: HandtruckError, operation: Operation[object]) -> Outcome:
    """How an attempt ended, by what it raised."""
    match error:
        case S3Error() if error.code in operation.final_codes:
            return Outcome.FINAL
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
