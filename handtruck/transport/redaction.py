"""What of a request is nobody's business but the server's, and how it is kept out of what people see."""

from __future__ import annotations

from typing import Final

from ..protocol.express import SESSION_HEADER
from ..protocol.signing import TOKEN_HEADER

HIDDEN: Final = "[secure]"
"""Stands in the place of a secret, in the request that an answer carries."""

SECRET_HEADERS: Final = frozenset(
    {
        "x-amz-server-side-encryption-customer-key",
        "x-amz-copy-source-server-side-encryption-customer-key",
        "x-amz-server-side-encryption-context",
    }
)
"""Headers with something secret of the caller's."""

TOKEN_HEADERS: Final = frozenset({TOKEN_HEADER, SESSION_HEADER})
"""Headers with the token of temporary keys; they come with the signature."""


def forget_frames(error: BaseException, handled: BaseException | None) -> None:
    """Cut an exception's traceback off below the caller's frame, and those of what it stands for: they show locals.

    The frames themselves are left alone: one that caught something may still be running, in another task.

    Args:
        error: what was caught.
        handled: the exception that was being handled before; it, and what it stands for, is somebody else's.
    """
    if error.__traceback__ is not None:
        error.__traceback__.tb_next = None
    seen, todo = {id(error), id(handled)}, _behind(error)
    while todo:
        each = todo.pop()
        if id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            todo += _behind(each)


def _behind(error: BaseException) -> list[BaseException]:
    members = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return [each for each in (error.__cause__, error.__context__, *members) if each is not None]
