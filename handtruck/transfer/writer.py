"""An object that is written as it comes into being: what ``S3Client.open(name, "wb")`` gives.

::

    the caller's task            a child task, from __aenter__ to __aexit__
    write() ──copies──▶ the part that is being collected ──▶ upload_stream: workers, complete or undo
    leaving the block ──▶ the end of the stream, or: cancelled

*Hand-over.* The feeder of the upload says which part it collects, and waits; ``write`` copies into it, on the spot and
without a turn of the event loop, until the part is full. While the feeder waits for a slot there is no such part, and
``write`` waits too: that is the back-pressure.

*Who hears of what.* The child raises nothing (but an interrupt), so that the caller's block is never cancelled from
behind: what went wrong comes out of the next call, and of leaving the block, whatever the block made of it before. The
caller's exceptions do not pass through the task group, which would wrap them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import anyio
from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

from .._body import flat
from .._tasks import add_notes, siblings
from ..errors import UsageError
from .blocks import TURN, Blocks, Turns, is_bytes
from .jobs import upload_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from .._session import Session
    from .._tasks import Siblings
    from ..models import UploadResult
    from .blocks import BytesLike
    from .buffers import Filling
    from .progress import ProgressCallback
    from .upload import UploadPlan


class HandedBlocks(Blocks):
    """A stream that somebody else fills, while the feeder waits in :meth:`read`."""

    def __init__(self) -> None:
        self.ended: bool = False
        self._part: Filling | None = None
        self._wanted = 0
        self._asked = anyio.Event()
        self._answered = anyio.Event()

    async def read(self, data: Filling, wanted: int) -> bool:
        """See :class:`Blocks`."""
        if not self.ended:
            self._part, self._wanted, self._answered = data, wanted, anyio.Event()
            self._asked.set()
            try:
                await self._answered.wait()
            finally:
                if self._part is data:  # cancelled
                    self._withdraw()
        return len(data) >= wanted

    async def aclose(self) -> None:
        """See :class:`Blocks`: nothing is held."""

    async def asked(self) -> None:
        """Wait until there is room for more; or :meth:`stop` was called."""
        await self._asked.wait()

    def take(self, view: memoryview) -> int:
        """Copy what there is room for, at most a turn's worth; gives how many bytes."""
        if self._part is None:
            return 0
        count = min(len(view), self._wanted - len(self._part), TURN)
        self._part += view[:count]
        if len(self._part) == self._wanted:
            self._answer()
        return count

    def end(self) -> None:
        """Nothing more will come."""
        self.ended = True
        self._answer()

    def stop(self) -> None:
        """Nothing more will be asked for."""
        self._asked.set()

    def _answer(self) -> None:
        self._withdraw()
        self._answered.set()

    def _withdraw(self) -> None:
        self._part = None
        self._asked = anyio.Event()


class ObjectWriter:
    """An object that appears when the block is left, or not at all. Use it as ``async with``; nothing is sent before.

    ::

        async with s3.open("bucket/key", "wb") as f:
            await f.write(b"…")
        print(f.result.etag)

    Leaving the block publishes the object: by a single PUT (of nothing, too) where it fits into one part, else by a
    multipart upload, whose parts go out as they fill, each a billed request. An exception or a cancellation in the
    block publishes nothing, aborts the upload, keeps what was there before, and comes out unchanged; what could not
    be undone is a note on it.

    What goes wrong with the upload meanwhile does not interrupt the block. The next call raises it, and leaving the
    block does, even where the block has caught it; where the block raises something else, it is a note on that.

    Memory: as many parts as the plan has slots, those waiting and those being sent. Parts grow, if they may, so that
    10 000 are enough.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
    """

    def __init__(
        self,
        session: Session,
        plan: UploadPlan,
        progress: ProgressCallback | None,
        again: Callable[[], UploadPlan] | None = None,
    ) -> None:
        self._session = session
        self._plan = plan
        self._again = again  # makes the plan anew, once it is known which server it is for
        self._progress = progress
        self._blocks = HandedBlocks()
        self._crew: AbstractAsyncContextManager[Siblings] | None = None
        self._upload: anyio.CancelScope  # from here on to be made inside an event loop
        self._over = anyio.Event()
        self._alone = anyio.ResourceGuard("writing to")
        self._turns = Turns()
        self._position = 0
        self._torn = False
        self._left = False
        self._result: UploadResult | None = None
        self._failure: BaseException | None = None
        self._notes: list[str] = []

    async def __aenter__(self) -> Self:
        if self._crew is not None:
            raise UsageError(f"{self!r} can be entered once")
        if self._again is not None:
            await self._session.ready()
            self._plan = self._again()
        self._upload = anyio.CancelScope()
        self._crew = siblings()
        crew = await self._crew.__aenter__()
        crew.start_soon(self._publish)
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self._left = True
        against = self._end() if error is None else error
        if against is not None:
            self._upload.cancel()
        outside = await self._joined()
        failure, self._failure = self._failure, None  # no cycle: its traceback holds this object
        loudest = _loudest(against, outside)
        try:
            if loudest is None:
                loudest = failure
            if loudest is None and self._result is None:
                loudest = self._broken("the upload was cancelled")
            if loudest is None:
                return
            others = [one for one in (against, outside, failure) if isinstance(one, Exception) and one is not loudest]
            add_notes(loudest, [*others], self._notes)
            if loudest is not error:
                raise loudest
        finally:
            del error, against, outside, failure, loudest

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._plan.location}>"

    @property
    def result(self) -> UploadResult:
        """What was written, once the object is there.

        Raises:
            UsageError: it is not, or not yet.
        """
        if self._result is None:
            raise UsageError(
                f"{self._plan.location} has no result: what leaving the block raised says whether it was written"
                if self._left
                else f"{self._plan.location} is not there yet: it appears when the block is left, or by aclose()"
            )
        return self._result

    def tell(self) -> int:
        """How many bytes were taken."""
        return self._position

    async def write(self, data: BytesLike) -> int:
        """Append bytes; gives how many: all of them.

        It comes back when they were copied, so the buffer may be used again. It waits while the upload has as much in
        hand as it may.

        Cancelled before anything was taken, it has done nothing. Cancelled half-way it has torn the object, which will
        not be published.

        Raises:
            UsageError: these are no bytes; or the object was published already, or the block was left.
            S3Error, ConnectionFailed, InvalidResponse: the upload has failed.
            Exception: whatever ``progress`` raised.
            anyio.BusyResourceError: another task is writing.
            anyio.BrokenResourceError: a write before was cancelled half-way, or the upload was cancelled.
        """
        if not is_bytes(data):
            raise UsageError(f"bytes can be written, not {type(data).__name__}")
        with self._alone, flat(data) as view:
            self._check_writable()
            await self._hand_over(view)
            return len(view)

    async def aclose(self) -> None:
        """Publish the object now; after that nothing can be written. To be called again does no harm.

        What goes wrong in the block afterwards takes nothing back. Cancelled, it stops the upload.

        Raises:
            OutcomeUnknown: the answer to the last step was lost.
            UsageError, S3Error, ConnectionFailed, InvalidResponse, anyio.BusyResourceError,
                anyio.BrokenResourceError: see :meth:`write`.
        """
        with self._alone:
            if self._result is not None:
                return
            self._check_writable()
            self._blocks.end()
            try:
                await self._over.wait()
            except anyio.get_cancelled_exc_class():
                self._upload.cancel()
                raise
            await self._check_going_on()

    # -- within ----------------------------------------------------------------------------------------------------

    def _check_writable(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._torn:
            raise self._broken("a write was cancelled half-way")
        if self._crew is None:
            raise UsageError(f"use {self!r} as `async with`")
        if self._left or self._blocks.ended:
            raise UsageError(f"{self!r} is closed")

    def _broken(self, why: str) -> anyio.BrokenResourceError:
        # Cancelled at the last step it may be there all the same: S3 has done what nobody waited to hear.
        fate = "may or may not have been written" if self._blocks.ended else "was not written"
        return anyio.BrokenResourceError(f"{why}; {self._plan.location} {fate}")

    async def _hand_over(self, view: memoryview) -> None:
        begin = self._position
        end = begin + len(view)
        try:
            while self._position < end:
                if self._turns.due(min(end - self._position, TURN)):
                    await checkpoint()
                taken = self._blocks.take(view[self._position - begin :])
                self._position += taken
                if not taken:
                    await self._blocks.asked()
                    await self._check_going_on()
        except BaseException:
            self._torn = self._position > begin
            raise

    async def _check_going_on(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._over.is_set() and self._result is None:
            await checkpoint_if_cancelled()
            raise self._broken("the upload was cancelled")

    async def _publish(self) -> None:
        """The child. It raises nothing but interrupts."""
        with self._upload:
            try:
                self._result = await upload_stream(self._session, self._plan, self._blocks, self._progress)
            except Exception as error:  # noqa: BLE001 - the next call raises it, and __aexit__() does
                self._failure = error
            except anyio.get_cancelled_exc_class() as cancelled:
                if anyio.current_effective_deadline() > -math.inf:
                    self._failure = cancelled  # not by us: the upload awaited a task that somebody else has cancelled
                else:
                    self._notes += getattr(cancelled, "__notes__", ())
            finally:
                self._blocks.stop()
                self._over.set()

    def _end(self) -> BaseException | None:
        """The block was left without an error: nothing more will come. Gives what stands against publishing."""
        if self._failure is not None or self._blocks.ended:
            return None
        if self._torn:
            return self._broken("a write was cancelled half-way")
        try:
            with self._alone:
                self._blocks.end()
        except anyio.BusyResourceError as busy:
            return busy
        return None

    async def _joined(self) -> BaseException | None:
        """Wait for the child; gives what struck us meanwhile: a cancellation, an interrupt."""
        assert self._crew is not None
        try:
            await self._crew.__aexit__(None, None, None)
            if self._result is None:
                await checkpoint_if_cancelled()
        except BaseException as raised:  # noqa: BLE001 - __aexit__() raises it
            return raised
        return None


def _loudest(against: BaseException | None, outside: BaseException | None) -> BaseException | None:
    """An interrupt before a cancellation before anything else; where they are alike, what was there first."""

    def rank(error: BaseException) -> int:
        if isinstance(error, anyio.get_cancelled_exc_class()):
            return 1
        return 2 if isinstance(error, Exception | GeneratorExit) else 0

    return min((one for one in (against, outside) if one is not None), key=rank, default=None)
