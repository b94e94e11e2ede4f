"""What the tests of many transfers in one block share: work that lasts until it is let go."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import pytest
from anyio.lowlevel import checkpoint

from handtruck.models import UploadResult
from handtruck.transfer.many import Many

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from handtruck.transfer.many import Transfer

ROUNDS: Final = 30
"""Of the event loop: more than anything here needs to come to a stand."""


async def a_while() -> None:
    for _ in range(ROUNDS):
        await checkpoint()


@contextmanager
def comes_out(kind: type[BaseException], match: str | None = None) -> Iterator[pytest.ExceptionInfo[Any]]:
    """The block inside, and its body, end with this."""
    with pytest.raises(kind, match=match) as caught:
        yield caught


def many(**options: Any) -> Many:
    return Many(**{"max_concurrency": 3, "on_error": "cancel", **options})


@dataclass
class Work:
    """Transfers that last until they are let go; remembers who began, and how many were at it."""

    block: Many
    now: int = 0
    most: int = 0
    begun: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    gates: dict[str, anyio.Event] = field(default_factory=dict)

    def ask(self, name: str, raises: BaseException | None = None, *, undoing: int = 0) -> Transfer[UploadResult]:
        """Ask for one; ``undoing``: how many rounds it takes to be undone."""
        self.gates[name] = anyio.Event()
        return self.block._queue("upload", name, partial(self._work, name, raises, undoing))

    def let_go(self, *names: str) -> None:
        for name in names:
            self.gates[name].set()

    async def _work(self, name: str, raises: BaseException | None, undoing: int) -> UploadResult:
        self.begun.append(name)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.gates[name].wait()
            if raises is not None:
                raise raises
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                for _ in range(undoing):
                    await checkpoint()
            self.undone.append(name)
            raise
        finally:
            self.now -= 1
        return UploadResult(etag=name, size=0, parts=0)


def etags(block: Many) -> list[str | None]:
    return [result.etag if result else None for result in block.results]


Broken: TypeAlias = "tuple[Callable[[], Awaitable[object]], Callable[[pytest.MonkeyPatch], object]]"
"""A check, and what makes it red."""


async def goes_red(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guarantee broken, its check is red; and whole again, green."""
    check, apply = broken
    with monkeypatch.context() as patch:
        apply(patch)
        with pytest.raises((AssertionError, ValueError, pytest.fail.Exception)):
            await check()
    await check()
