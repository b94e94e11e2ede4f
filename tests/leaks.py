"""What an exception shows to whoever prints it, with the locals of every frame that it came through."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_OF_TESTS = "/tests/"


def chain(error: BaseException) -> Iterator[BaseException]:
    """An exception, and all that it stands for: causes, contexts, members of groups."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [other for other in (each.__cause__, each.__context__) if other is not None]
        if isinstance(each, BaseExceptionGroup):
            todo += each.exceptions


def shown_by(error: BaseException) -> Iterator[tuple[str, str]]:
    """Where something is shown, and what: messages, notes, attributes, and the locals of all frames but the tests'."""
    yield "the traceback", "".join(traceback.format_exception(error))
    for each in chain(error):
        yield f"{type(each).__name__}'s repr", repr(each)
        yield f"{type(each).__name__}'s attributes", repr(vars(each))
        yield from _locals(each.__traceback__)


def _locals(trace: TracebackType | None) -> Iterator[tuple[str, str]]:
    while trace is not None:
        code = trace.tb_frame.f_code
        if _OF_TESTS not in code.co_filename:
            for name, value in trace.tb_frame.f_locals.items():
                yield f"{name} in {code.co_qualname} ({code.co_filename}:{trace.tb_lineno})", repr(value)
        trace = trace.tb_next


def leaks(error: BaseException, *markers: str) -> list[str]:
    """Where a marker is shown."""
    return [where for where, text in shown_by(error) if any(marker in text for marker in markers)]
