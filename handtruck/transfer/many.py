"""Many transfers as children of one task group, so many at once, first come, first served.

::

    asked for ──queue──▶ a worker ──▶ a call of the client's method ──▶ its handle is done
                 └ cancelled, or the block failed: done without having begun

*Workers* are started as transfers are asked for, never more than ``max_concurrency``; each takes the next from the
queue until there is none. What is queued is a handle and nothing more: no task, no place, no descriptor.

*Errors.* The policy is that of :func:`handtruck._tasks.siblings`, with the caller's body as one of the siblings: the
first failure cancels all others and comes out of the block. With ``collect`` a failure stays on its handle. A
cancellation that nobody asked for (the work awaited a task which somebody else cancelled) fails the block either way.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias, TypeVar, cast

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .._tasks import siblings
from ..errors import UsageError
from ..models import DownloadResult, UploadResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from .._tasks import Siblings

OnError: TypeAlias = Literal["cancel", "collect"]
TransferResult: TypeAlias = UploadResult | DownloadResult

T = TypeVar("T", bound=TransferResult)
T_co = TypeVar("T_co", bound=TransferResult, covariant=True)


class Transfer(Generic[T_co]):
    """One of many transfers, from when it is asked for.

    ``await transfer`` waits for it and gives its result, as often as you like, also after the block.

    Attributes:
        operation: the client's method that carries it out (``upload``, ``download``).
        object_name: the object, as it was asked for.
        result: what came of it, or None as long as nothing did.
        error: why nothing did: what it raised; :exc:`anyio.TaskCancelled` where it was cancelled, with the notes of
            the cancellation (an upload that may remain); None while it is queued or under way, and after success.
        cancelled: it was cancelled, by :meth:`cancel` or with the whole block, queued or half-way.
    """

    __slots__ = ("_over", "_scope", "_tell", "_work", "cancelled", "error", "object_name", "operation", "result")

    def __init__(
        self,
        operation: str,
        object_name: str,
        work: Callable[[], Awaitable[T_co]],
        tell: Callable[[Transfer[T_co]], object],
    ) -> None:
        self.operation: str = operation
        self.object_name: str = object_name
        self.result: T_co | None = None
        self.error: Exception | None = None
        self.cancelled: bool = False
        self._work: Callable[[], Awaitable[T_co]] | None = work
        self._tell: Callable[[Transfer[T_co]], object] | None = tell
        self._scope: anyio.CancelScope | None = None
        self._over = anyio.Event()

    def __repr__(self) -> str:
        if not self.done:
            state = "queued" if self._scope is None else "under way"
        else:
            state = "cancelled" if self.cancelled else "failed" if self.error else "done"
        return f"<{type(self).__name__} {self.operation} {self.object_name!r}: {state}>"

    @property
    def done(self) -> bool:
        """It is over, however it ended: nothing of it runs any more."""
        return self._over.is_set()

    def cancel(self) -> None:
        """Cancel this one alone: it is undone, and done when that is over; queued, at once. Harmless when it is done.

        A transfer that comes to its end all the same has a result.
        """
        if self._scope is not None:
            self._scope.cancel()
        else:
            self._end()

    async def wait(self) -> T_co:
        """Wait until it is over, and give its result. Cancelled meanwhile, the transfer goes on.

        Raises:
            anyio.TaskCancelled: it was cancelled.
            Exception: whatever it raised.
        """
        await self._over.wait()
        error = self.error
        if error is None:
            return cast("T_co", self.result)
        try:
            raise error
        finally:
            del self, error  # no cycle: its traceback holds this frame

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self.wait().__await__()

    async def _run(self, *, collect: bool) -> None:
        """Carry it out, or raise; with ``collect`` an exception stays here."""
        work = cast("Callable[[], Awaitable[T_co]]", self._work)
        with anyio.CancelScope() as self._scope:
            try:
                await checkpoint_if_cancelled()  # in a block that is cancelled nothing begins
                self.result = await work()
            except Exception as error:
                if error.__traceback__ is not None:
                    error.__traceback__ = error.__traceback__.tb_next  # no cycle: this frame holds us
                self.error = error
                if not collect:
                    raise
            except BaseException as error:
                self._end(error)
                raise
            finally:
                self._end()

    def _end(self, why: BaseException | None = None) -> None:
        """It is over; without a result or an error it was cancelled."""
        if self._tell is None:
            return
        if self.result is None and self.error is None:
            self.cancelled = True
            self.error = anyio.TaskCancelled(f"{self.operation} {self.object_name}: the transfer was cancelled")
            for note in getattr(why, "__notes__", ()):
                self.error.add_note(note)
        tell, self._tell, self._work, self._scope = self._tell, None, None, None
        self._over.set()
        tell(self)


class Many:
    """Transfers in one block, and what came of them: kept until you let go of the whole, up to 2 KiB for each."""

    def __init__(self, *, max_concurrency: int, on_error: OnError) -> None:
        if max_concurrency < 1:
            raise UsageError(f"max_concurrency must be at least 1, not {max_concurrency}")
        if on_error not in ("cancel", "collect"):
            raise UsageError(f"on_error must be 'cancel' or 'collect', not {on_error!r}")
        self._asked: list[Transfer[TransferResult]] = []
        self._finished: list[Transfer[TransferResult]] = []
        self._news = anyio.Event()  # a new one for each transfer that is done
        self._max_concurrency = max_concurrency
        self._collect: bool = on_error == "collect"
        self._waiting: deque[Transfer[TransferResult]] = deque()
        self._workers: int = 0
        self._group: AbstractAsyncContextManager[Siblings] | None = None
        self._crew: Siblings | None = None  # while something may be asked for
        self._ending: bool = False

    @property
    def transfers(self) -> list[Transfer[TransferResult]]:
        """All, in the order they were asked for."""
        return list(self._asked)

    @property
    def results(self) -> list[TransferResult | None]:
        """Of all, in the order they were asked for; None in the place of one that has no result (yet)."""
        return [transfer.result for transfer in self._asked]

    @property
    def errors(self) -> list[Exception]:
        """Of those that failed, in the order they were asked for; one that was cancelled is none of them."""
        return [one.error for one in self._asked if one.error is not None and not one.cancelled]

    def as_finished(self) -> Finished:
        """All transfers, those still to be asked for too, each when it is done, however it ended.

        ::

            async for transfer in t.as_finished():
                print(transfer.object_name, transfer.error)

        It ends when all that were asked for by then are done. It holds nothing: it may be abandoned anywhere, and
        every call begins anew.
        """
        return Finished(self._finished, self._next)

    async def _next(self, position: int) -> bool:
        """Wait until so many are done; whether there will ever be."""
        while len(self._finished) <= position:
            if len(self._finished) == len(self._asked):
                return False
            await self._news.wait()
        return True

    def _queue(self, operation: str, object_name: str, work: Callable[[], Awaitable[T]]) -> Transfer[T]:
        """Have ``work`` called, in a child task, when its turn has come.

        Raises:
            UsageError: the block has not begun, or is over.
        """
        if self._crew is None:
            why = (
                "transfers() is to be used as `async with`" if self._group is None else "the block of transfers is over"
            )
            raise UsageError(f"{operation} {object_name}: {why}")
        transfer = Transfer(operation, object_name, work, self._tell)
        self._asked.append(transfer)
        self._waiting.append(transfer)
        if self._workers < self._max_concurrency:
            self._workers += 1
            self._crew.start_soon(self._work)
        return transfer

    def _tell(self, transfer: Transfer[TransferResult]) -> None:
        self._finished.append(transfer)
        news, self._news = self._news, anyio.Event()
        news.set()

    async def _work(self) -> None:
        try:
            while self._waiting:
                transfer = self._waiting.popleft()
                if not transfer.done:
                    await transfer._run(collect=self._collect)
                    await checkpoint()  # a thousand that are refused before they wait for anything: others have a turn
        except BaseException:
            self._end_waiting()  # nobody will take them up; and a body may wait for one, shielded
            raise
        finally:
            self._workers -= 1
            self._close_if_over()

    def _end_waiting(self) -> None:
        while self._waiting:
            self._waiting.popleft()._end()

    def _close_if_over(self) -> None:
        """The block ends with its last worker: a task group would take more or not, depending on the loop."""
        if self._ending and not self._workers:
            self._crew = None

    async def __aenter__(self) -> Self:
        if self._group is not None:
            raise UsageError("a block of transfers can be used once; ask the client for another")
        self._group = siblings()
        self._crew = await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._group is not None
        assert self._crew is not None
        crew, self._ending = self._crew, True
        self._close_if_over()
        failed = _failure(error)
        if failed is not None:
            kind = trace = None
            if not any(failed is known for known in crew.failures):  # it may be a transfer's own, awaited
                crew.failures.append(failed)
            crew.group.cancel_scope.cancel()
        try:
            return await self._group.__aexit__(kind, error if failed is None else None, trace)
        except BaseException as raised:
            if raised is error:
                return False
            if raised.__context__ is error:
                raised.__context__ = None  # the body's cancellation is what came of it, and says nothing
            raise
        finally:
            self._crew = None
            self._end_waiting()
            del crew, failed, error  # no cycle: their tracebacks hold this frame


def _failure(error: BaseException | None) -> Exception | None:
    """What went wrong in the body, but for cancellations and interrupts. A nursery in it may have them all in one."""
    if isinstance(error, BaseExceptionGroup):
        error = error.split(anyio.get_cancelled_exc_class())[1]
    return error if isinstance(error, Exception) else None


class Finished:
    """An async iterator of transfers that holds nothing between them: it may be abandoned anywhere."""

    def __init__(self, finished: list[Transfer[TransferResult]], more: Callable[[int], Awaitable[bool]]) -> None:
        self._finished = finished
        self._more = more
        self._position: int = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Transfer[TransferResult]:
        """Wait for the next one that is done; does not raise what that raised."""
        await checkpoint()
        if not await self._more(self._position):
            raise StopAsyncIteration
        self._position += 1
        return self._finished[self._position - 1]
