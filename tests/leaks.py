"""Whether an error shows a secret: in its words, in those of every error behind it, or in the locals on its way.

Looked at is what a debugger, or a logger of tracebacks with locals, would print of every frame that is ours or a
library's; those of the tests, which made the secrets up, do not count.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import tests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_TESTS = str(Path(tests.__file__).parent)


def errors_of(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was caused by, what was being handled, and the members of groups."""
    seen: list[BaseException] = []
    todo: list[BaseException | None] = [error]
    while todo:
        one = todo.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        todo += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
        yield one


def frames_of(error: BaseException) -> Iterator[FrameType]:
    """Every frame on the error's way that is not a test's."""
    entry = error.__traceback__
    while entry is not None:
        if not entry.tb_frame.f_code.co_filename.startswith(_TESTS):
            yield entry.tb_frame
        entry = entry.tb_next


def leaks(error: BaseException, markers: tuple[str, ...]) -> list[str]:
    """Where a marker shows."""
    found = []
    for one in errors_of(error):
        texts = {"str": str(one), "repr": repr(one), "attributes": repr(vars(one))}  # notes are among them
        found += [f"{type(one).__name__}: {name}" for name, text in texts.items() if shows(text, markers)]
        for frame in frames_of(one):
            for name, value in frame.f_locals.items():
                if shows(repr(value), markers):
                    found.append(f"{frame.f_code.co_filename}:{frame.f_lineno}: {name}")
    return found


def shows(text: str, markers: tuple[str, ...]) -> bool:
    """Whether one of the markers stands there."""
    return any(marker in text for marker in markers)


def assert_clean(error: BaseException, markers: tuple[str, ...]) -> None:
    """Nothing shows; and there was something to look at."""
    assert any(True for one in errors_of(error) for _ in frames_of(one)), "no frame to look at"
    found = leaks(error, markers)
    assert not found, found
