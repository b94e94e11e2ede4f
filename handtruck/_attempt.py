"""One attempt of a request: build it, take a place on the wire, sign, send, receive, give the place back.

Everything but the middle can be cancelled at no cost, and afterwards nothing is held. A request is signed last: its
date must not grow old in a queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeAlias, TypeVar

import anyio
import httpx

from ._tasks import settled
from .errors import HandtruckError, UsageError
from .protocol.address import wire_query
from .protocol.express import session_headers
from .protocol.outcomes import did_nothing
from .protocol.signing import Signature, sign
from .transport.foreign import ours_for
from .transport.senders import Draft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from httpx._types import TimeoutTypes

    from ._body import Body
    from ._places import Places
    from .models import Credentials
    from .protocol.hosts import Route
    from .protocol.operations import Headers, Operation
    from .transport.senders import Prepared, Sender

T = TypeVar("T")

GRACE: Final = 5.0
"""Seconds that all clean-up together may take once a transfer is cancelled or has failed."""

ANSWER_SHARE: Final = 0.6
"""What of it (3 s) may be spent on an answer that must not be lost; the rest is the abort's."""

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
        placed: it waits for nothing that others hold up. The caller has a place on the wire for it
            (:meth:`handtruck._places.Places.undoing`), or others wait for it; keys are not renewed before they end.
    """

    attempts: int | None = None
    timeout: TimeoutTypes | None = None
    extensions: Mapping[str, object] | None = None
    on_wire: Callable[[bool], None] | None = None
    on_cancel: Callable[[], object] | None = None
    placed: bool = False


PLAIN: Final = Options()


@dataclass(slots=True, kw_only=True)
class Attempt(Generic[T]):
    """One attempt, and what it needs.

    Attributes:
        route: where it goes, and what it is signed for.
        receive: makes something of the answer.
        number: from 1.
        keys: to sign with; None: nobody in particular asks.
        renew: gives newer keys, and the way again, if these have ended by the time that there is a place.
        signed: when the request was, by the clock that it was signed by; None: it has not gone out.
    """

    operation: Operation[object]
    route: Route
    body: Body
    receive: Receive[T]
    options: Options
    number: int
    keys: Credentials | None
    renew: Callable[[], Awaitable[tuple[Credentials | None, Route]]] | None = None
    signed: datetime | None = None

    async def run(
        self, sender: Sender, places: Places, limiter: anyio.CapacityLimiter | None, clock: Callable[[], datetime]
    ) -> T:
        """Carry it out.

        Raises:
            S3Error, ConnectionFailed, InvalidResponse: as ``receive`` and the wire have it.
            UsageError: it cannot be sent.
        """
        options = self.options
        prepared = await self._prepare(sender)
        if not options.placed:
            await places.take()
        shared = False
        try:
            if limiter is not None and not options.placed:
                await limiter.acquire_on_behalf_of(prepared)
                shared = True
            ends = None if self.keys is None else self.keys.expires_at
            if ends is not None and self.renew is not None and ends <= clock():
                self.keys, _ = await self.renew()
            self.signed = clock()
            signature = self._sign(prepared, self.signed)
            if options.on_wire is not None:
                options.on_wire(True)
                trip = partial(self._told_trip, prepared, signature, options.on_wire)
                return await settled(trip, GRACE * ANSWER_SHARE, options.on_cancel)
            return await self._round_trip(prepared, signature)
        finally:
            if limiter is not None and shared:
                limiter.release_on_behalf_of(prepared)
            if not options.placed:
                places.give_back()

    async def _told_trip(self, prepared: Prepared, signature: Signature, on_wire: Callable[[bool], None]) -> T:
        """With a word to the caller where nothing was done: even if he was cancelled, and gets no error."""
        try:
            return await self._round_trip(prepared, signature)
        except HandtruckError as error:
            if did_nothing(error, self.operation):
                on_wire(False)
            raise

    async def _round_trip(self, prepared: Prepared, signature: Signature) -> T:
        try:
            response = await prepared.send(signature)
            try:
                return await self.receive(self.operation, response, self.number)
            finally:
                if not response.is_closed:
                    with anyio.CancelScope(shield=True):
                        await response.aclose()
        except Exception as error:
            operation = self.operation
            doing = f"{operation.name} {operation.location} at {self.route.origin.partition('//')[2]}"
            ours = ours_for(error, doing, prepared.bare())
            if ours is None:
                raise
            raise ours from error
        finally:
            prepared.forget_body()

    async def _prepare(self, sender: Sender) -> Prepared:
        operation, route, body, options = self.operation, self.route, self.body, self.options
        query = wire_query(operation.query)
        headers = list(operation.headers)
        if not headers or not any(name.lower() == "accept-encoding" for name, _ in headers):
            headers.append(("Accept-Encoding", "identity"))
        if body.length or operation.method in ("PUT", "POST"):
            headers.append(("Content-Length", str(body.length)))
        draft = Draft(
            method=operation.method,
            origin=route.origin,
            target=f"{route.path}?{query}" if query else route.path,
            headers=headers,
            body=body,
            timeout=options.timeout,
            extensions=options.extensions,
            # Repeated by the transport behind our back; but not what answers differently then (Complete, Abort).
            idempotent=operation.idempotent and operation.method not in ("POST", "DELETE"),
        )
        try:
            return await sender.prepare(draft)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            doing = f"{operation.name} {operation.location}"
            raise UsageError(f"{doing}: {error}") from error

    def _sign(self, prepared: Prepared, now: datetime) -> Signature:
        if self.keys is None:
            return Signature()
        route, operation, keys = self.route, self.operation, self.keys
        more: Headers = ()
        if route.session:  # of a directory bucket
            keys, more = session_headers(keys)
        signature = sign(
            method=operation.method,
            path=route.path,
            query=operation.query,
            headers=[*prepared.headers(), *more] if more else prepared.headers(),
            payload_hash=self.body.payload_hash,
            credentials=keys,
            region=route.region or "",
            service=route.service,
            now=now,
        )
        if more:
            signature.update(more)
        return signature
