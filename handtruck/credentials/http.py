"""One small request to a service that gives out keys, on connections of its own.

Such services are asked seldom, and not all of them deserve trust: answers are bounded in size and in total time, and
redirects are not followed. What is sent and what comes back are secrets, so neither is quoted anywhere, nor left in
the frames of a traceback.
"""

from __future__ import annotations

import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio
import httpx

from .._body import NO_BODY, BytesBody
from ..errors import ConnectionFailed, HandtruckError, InvalidResponse, TransferTimeout, UsageError
from ..models.identity import Secret
from ..protocol.checksums import UNSIGNED_PAYLOAD
from ..protocol.signing import Signature
from ..transport import Transport
from ..transport.own import OwnSender
from ..transport.redaction import forget_frames
from ..transport.senders import DirectSender, Draft
from .whole import SecretBytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from ..transport.senders import Sender

LARGEST_ANSWER: Final = 65536
"""Bytes; the keys of a role have some 1500."""

log: logging.Logger = logging.getLogger("handtruck")


async def ask(
    method: str,
    url: str,
    *,
    service: str,
    headers: Mapping[str, str] | None = None,
    content: bytes = b"",
    timeout: float,
    through_proxy: bool = False,
    what: str | None = None,
) -> tuple[int, SecretBytes]:
    """Send one request and give the answer's status, whatever it is, and its body.

    Args:
        method: the HTTP method.
        url: where to, with the query; all of it is sent as it is.
        service: whom we ask, in words that begin an error's message.
        headers: of the request, beside ``host`` and what HTTP itself needs.
        content: the request's body.
        timeout: seconds for all of it: name, connection, request, answer.
        through_proxy: take the proxy that the environment names for this URL; otherwise none.
        what: the request, in words that end an error's message; its method and path if left out.

    Raises:
        UsageError: the URL, the environment's proxy, or its CA certificates cannot be used.
        TransferTimeout: it took too long.
        ConnectionFailed: there was no answer, or half of one.
        InvalidResponse: the answer is longer than :data:`LARGEST_ANSWER` bytes.
    """
    url, sent, body = Secret(url), Signature(headers or {}), SecretBytes(content)
    del headers, content
    path = parse(url, f"the URL of {service}").path
    what = what or f"{method} {path}"
    del path
    handled = sys.exception()
    try:
        with anyio.fail_after(timeout):
            status, answer = await _exchange(method, httpx.URL(url), sent, body, through_proxy=through_proxy)
    except BaseException as error:
        forget_frames(error, handled)  # they hold the headers and the body
        if (ours := _ours_for(error, service, what)) is None:
            raise
        raise ours from error
    log.debug("%s answered %d to %s", service, status, what)
    if len(answer) > LARGEST_ANSWER:
        raise InvalidResponse(f"the answer of {service} to {what} is longer than {LARGEST_ANSWER} bytes")
    return status, answer


def parse(url: str, name: str) -> httpx.URL:
    """A service's URL.

    Raises:
        UsageError: it is none that can be asked; ``name`` is what the message calls it.
    """
    url = Secret(url)
    parsed = usable(url)
    if parsed is None:
        raise UsageError(f"{name} has to be an http:// or https:// URL without a user")
    return parsed


def usable(url: Secret) -> httpx.URL | None:
    """As :func:`parse`; None where that raises."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return None
    return parsed if parsed.scheme in ("http", "https") and parsed.host and not parsed.userinfo else None


def _ours_for(error: BaseException, service: str, what: str) -> HandtruckError | None:
    """What to raise in place of ``error``; None: itself."""
    match error:
        case HandtruckError():
            return None
        case TimeoutError() | httpx.TimeoutException():
            return TransferTimeout(f"{service} did not answer {what}", sent=False)
        case httpx.TransportError():
            return ConnectionFailed(f"no answer from {service} to {what}", sent=False)
        case OSError():
            return UsageError(f"the CA certificates for {service} cannot be read: {error.strerror or 'malformed'}")
        case _:
            return None


async def _exchange(
    method: str, url: httpx.URL, headers: Signature, content: SecretBytes, *, through_proxy: bool
) -> tuple[int, SecretBytes]:
    origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
    draft = Draft(
        method=method,
        origin=origin,
        target=url.raw_path.decode("ascii"),
        headers=[("Accept-Encoding", "identity"), ("Connection", "close"), ("Content-Length", str(len(content)))],
        body=BytesBody(memoryview(content), UNSIGNED_PAYLOAD) if content else NO_BODY,
        timeout=None,
        extensions=None,
        idempotent=False,
    )
    async with _sender(through_proxy=through_proxy) as sender:
        response = await (await sender.prepare(draft)).send(headers)
        try:
            body = SecretBytes()
            async for chunk in response.aiter_raw():  # to its end: httpx leaks the generators of a loop left early
                body = SecretBytes((body + chunk)[: LARGEST_ANSWER + 1])
        finally:
            await response.aclose()
    return response.status_code, body


@asynccontextmanager
async def _sender(*, through_proxy: bool) -> AsyncGenerator[Sender]:
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=0)
    sender = OwnSender(max_connections=1) if through_proxy else DirectSender(Transport(limits=limits))
    try:
        yield sender
    finally:
        await sender.aclose()
