"""The border: whatever httpx, or httpx2, raises becomes one of our errors, by one table."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import httpx

from ..errors import ConnectionFailed, HandtruckError, InvalidResponse, TransferTimeout, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

_LIBRARIES: Final = frozenset({"httpx", "httpx2"})


def _unsent(kind: type[ConnectionFailed]) -> Callable[[str], HandtruckError]:
    return lambda text: kind(text, sent=False)


def _no_place(text: str) -> HandtruckError:
    hint = "the httpx client's pool is too small: set max_connections= of S3Client to its limit"
    return TransferTimeout(f"{text}; {hint}", sent=False)


_FOREIGN: Final[dict[str, Callable[[str], HandtruckError] | None]] = {
    # By the nearest base class. `sent` is False where no byte of the request left: sending again is harmless.
    "ConnectTimeout": _unsent(TransferTimeout),
    "PoolTimeout": _no_place,
    "TimeoutException": TransferTimeout,
    "ConnectError": _unsent(ConnectionFailed),
    "ProxyError": _unsent(ConnectionFailed),
    "UnsupportedProtocol": UsageError,
    "LocalProtocolError": UsageError,
    "InvalidURL": UsageError,
    "DecodingError": InvalidResponse,
    "HTTPStatusError": None,  # raised by a caller's hook: there was an answer, and he has judged it
    "HTTPError": ConnectionFailed,
    "StreamError": UsageError,  # an event hook has read a body that was ours to read
}


def ours_for(error: Exception, doing: str, request: httpx.Request) -> HandtruckError | None:
    """What to raise in place of ``error``; None: itself."""
    make = _maker(error)
    if make is None:
        return None
    ours = make(f"{doing}: {_reason(error)}")
    if isinstance(ours, httpx.RequestError):
        ours.request = request
    return ours


def broke_off(error: Exception) -> bool:
    """The connection failed, or the peer broke the rules of HTTP."""
    return not isinstance(error, HandtruckError) and "TransportError" in _kinds(error)


def undecodable(error: BaseException | None) -> bool:
    """The body is not encoded as it claims."""
    return error is not None and "DecodingError" in _kinds(error)


def library_of(thing: object) -> ModuleType:
    """The package that a client's or an answer's class comes from, however it was derived."""
    for kind in type(thing).__mro__:
        name = kind.__module__.partition(".")[0]
        if name in _LIBRARIES:
            return sys.modules[name]
    return httpx


def _maker(error: Exception) -> Callable[[str], HandtruckError] | None:
    if isinstance(error, HandtruckError):
        return None
    return next((_FOREIGN[name] for name in _kinds(error) if name in _FOREIGN), None)


def _kinds(error: BaseException) -> list[str]:
    """The error's classes that are httpx's, the nearest first."""
    return [kind.__name__ for kind in type(error).__mro__ if kind.__module__.partition(".")[0] in _LIBRARIES]


def _reason(error: Exception) -> str:
    """The words nearest to the cause: httpx often says no more than "All connection attempts failed"."""
    seen: list[BaseException] = []
    todo: list[BaseException] = [error]
    while todo and len(seen) < 20:
        cause = todo.pop()
        seen.append(cause)
        nested = cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()
        todo += [c for c in (cause.__cause__ or cause.__context__, *nested) if c is not None and c not in seen]
    told = next((c for c in reversed(seen) if isinstance(c, OSError) and c.errno and c.strerror), error)
    text = _words(told) if isinstance(told, OSError) else str(told)
    kind = type(error).__name__
    return f"{text} ({kind})" if text else kind


def _words(error: OSError) -> str:
    # asyncio writes "Connect call failed ('127.0.0.1', 9000)", whatever the reason was.
    if error.errno and str(error.strerror).startswith("Connect call failed"):
        return os.strerror(error.errno)
    return str(error.strerror)
