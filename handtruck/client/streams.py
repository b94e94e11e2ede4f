"""Objects as files and streams: open for reading or writing, one answer as it comes, many small ranges."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, Unpack, cast, overload

from .._attempt import Options
from .._tasks import isolated
from ..errors import UsageError
from ..protocol.parts import DEFAULT_PART_SIZE, MIB
from ..transfer.ahead import ReadPlan
from ..transfer.ranges import RangesPlan, get_ranges
from ..transfer.reader import ObjectReader
from ..transfer.stream import ObjectStream
from ..transfer.upload import UploadPlan
from ..transfer.writer import ObjectWriter
from . import arguments
from .base import Family

if TYPE_CHECKING:
    from collections.abc import Iterable

    from httpx._types import TimeoutTypes

    from ..protocol.options import ReadOptions, WriteOptions
    from ..transfer.progress import ProgressCallback
    from .arguments import HeaderTypes, ObjectName


class StreamMethods(Family):
    """``open stream get_ranges``."""

    @overload
    def open(
        self,
        object_name: ObjectName,
        mode: Literal["rb"] = "rb",
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = 4,
        part_tries: int = 3,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> ObjectReader: ...

    @overload
    def open(
        self,
        object_name: ObjectName,
        mode: Literal["wb"],
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = 4,
        part_tries: int = 3,
        calculate_content_sha256: bool = True,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[WriteOptions],
    ) -> ObjectWriter: ...

    def open(
        self,
        object_name: ObjectName,
        mode: Literal["rb", "wb"] = "rb",
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = 4,
        part_tries: int = 3,
        calculate_content_sha256: bool | None = None,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: object,
    ) -> ObjectReader | ObjectWriter:
        """Open an object like a file, for reading (``rb``) or for writing it anew (``wb``), in an ``async with`` block.

        ::

            async with s3.open("bucket/key") as file:
                magic = await file.read(4)
                file.seek(-512, io.SEEK_END)
                tail = await file.read()

        **Reading.** Entering asks for the first 256 KiB: then it is known whether the object is there, its ``size``
        and ``etag``. All bytes are of that version; where it is replaced meanwhile, a read raises
        PreconditionFailed. A range that breaks off goes on where it stopped. What lies ahead is on its way while the
        caller is busy: from the object's beginning as much as memory allows, as soon as more than 128 KiB are wanted;
        after a jump what is wanted, from 64 KiB on, and then the more, the more is read in one go. What a jump makes
        useless is cancelled. An object that the server does not give in ranges, or without a strong ETag, is read as
        one answer, which holds a place on the wire until its end: it goes forward only, and what breaks off is not
        asked for again.

        **Writing.** See :class:`handtruck.ObjectWriter`: the object appears when the block ends without an error, or
        not at all.

        Memory: ``workers_count × part_size``, and what a read returns. Each part is a billed request.

        Args:
            object_name: the object.
            mode: ``rb`` or ``wb``.
            headers: reading: sent with every request (not Range itself); writing: of the object.
            part_size: bytes a request asks for, or brings, at most; writing: 5 MiB to 5 GiB, growing from part 5 001
                on.
            workers_count: parts on their way, and in memory, at once.
            part_tries: how often a part is asked for, or sent, before it fails.
            calculate_content_sha256: writing: hash every part, and let S3 check it (the default); False sends them
                unsigned.
            progress: writing: called with a :class:`~handtruck.Progress` after every part.
            timeout: httpx's stall timeouts; seconds.
            options: :class:`~handtruck.ReadOptions`, or :class:`~handtruck.WriteOptions`.

        Raises:
            UsageError: an argument is wrong, or belongs to the other mode.
            NotFound, S3Error, ConnectionFailed, InvalidResponse: when the block is entered, or later.
            PreconditionFailed: in a read: the object was replaced meanwhile.
            OutcomeUnknown: at the end of a block that wrote: the answer to the last step was lost.
        """
        location, sending = self._locate(object_name), Options(timeout=arguments.timeout_of(timeout))
        if mode == "rb":
            for name, value in (("calculate_content_sha256", calculate_content_sha256), ("progress", progress)):
                if value is not None:
                    raise UsageError(f'{name}= belongs to mode "wb"')
            sent, query = self._reading(headers, cast("ReadOptions", options))
            return ObjectReader(
                self._session,
                ReadPlan(
                    location=location,
                    headers=sent,
                    query=query,
                    part_size=part_size,
                    workers=workers_count,
                    tries=part_tries,
                    options=sending,
                ),
            )
        if mode != "wb":
            raise UsageError(f'mode must be "rb" or "wb", not {mode!r}')

        def plan() -> UploadPlan:
            made = UploadPlan(
                location=location,
                headers=self._sending(headers, cast("WriteOptions", options), location),
                part_size=part_size,
                workers=workers_count,
                slots=workers_count,
                tries=part_tries,
                hashed=calculate_content_sha256 is not False,
                options=sending,
            )
            made.check(self._session.quirks)
            return made

        return ObjectWriter(self._session, plan(), progress, plan if self._session.find is not None else None)

    def stream(
        self,
        object_name: ObjectName,
        *,
        byte_range: tuple[int, int | None] | None = None,
        headers: HeaderTypes | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> ObjectStream:
        """Read an object, or a part of it, as one answer (GetObject), in an ``async with`` block.

        ::

            async with s3.stream("bucket/key", byte_range=(1000, None)) as answer:
                print(answer.size, answer.content_type)
                async for block in answer:
                    ...

        One billed request, retried like any other until its head is here. From then on nothing is: what breaks off in
        the middle raises ConnectionFailed (:meth:`open` goes on where it broke). Bytes come as they are stored: what
        has a Content-Encoding stays encoded. Memory: a block of 256 KiB.

        From when the block is entered until the last byte was read, or the block is left, it holds one of the client's
        ``max_connections``, and of its limiter: where so many streams are open, any further request waits for one of
        them, and inside their blocks it waits for ever.

        Args:
            object_name: the object.
            byte_range: bytes ``[start, stop)``; ``(start, None)`` to the end. A ``stop`` behind the end is the end.
            headers: see :meth:`request` (not Range itself).
            timeout: httpx's stall timeouts; seconds.
            options: which version, and on what conditions: :class:`~handtruck.ReadOptions`.

        Raises:
            UsageError: an argument is wrong.
            S3Error: when the block is entered, S3 says no; with ``status`` 416, the object ends before ``start``. An
                empty object has nothing to say to ``(0, stop)``, which is no error.
            ConnectionFailed: there was no answer; or, in a read, it broke off.
            InvalidResponse: its answer makes no sense; the Range header was ignored.
        """
        sent, query = self._reading(headers, options)
        sending = Options(timeout=arguments.timeout_of(timeout))
        wanted = arguments.range_of(byte_range)
        return ObjectStream(self._session, self._locate(object_name), sent, wanted, sending, query)

    async def get_ranges(
        self,
        object_name: ObjectName,
        ranges: Iterable[tuple[int, int]],
        *,
        gap: int = MIB,
        workers_count: int = 8,
        headers: HeaderTypes | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> list[bytes]:
        """Read many ranges of an object into memory, all of one version, in few requests; gives them in your order.

        Ranges that lie near each other share a request, of at most 8 MiB; what overlaps is fetched once; longer ranges
        are fetched in pieces of 8 MiB. The first request tells the version, the others run in parallel and are tied to
        it by its ETag.

        Memory: what is returned, and ``workers_count`` requests with the gaps in them, at most 8 MiB each. Each
        request is billed, and so are the bytes of the gaps.

        Args:
            object_name: the object.
            ranges: half-open, ``(start, stop)``, in bytes; in any order, they may overlap. Empty ones cost nothing.
            gap: bytes between two ranges that are rather fetched than left out.
            workers_count: requests on their way at once.
            headers: sent with every request (not Range itself).
            timeout: httpx's stall timeouts; seconds.
            options: which version, and on what conditions: :class:`~handtruck.ReadOptions`.

        Raises:
            UsageError: an argument is wrong.
            S3Error: S3 says no; with ``status`` 416 and the object's size in its text, a range ends behind its end:
                nothing is cut off silently.
            PreconditionFailed: the object was replaced meanwhile.
            InvalidResponse: the answer makes no sense; the Range header was ignored; or more than one request is
                needed, and without a strong ETag nothing ties them together.
            ConnectionFailed: there was no answer, or it broke off, and further attempts did not help.
        """
        sent, query = self._reading(headers, options)
        plan = RangesPlan(
            location=self._locate(object_name),
            headers=sent,
            query=query,
            ranges=arguments.ranges_of(ranges),
            gap=gap,
            workers=workers_count,
            options=Options(timeout=arguments.timeout_of(timeout)),
        )
        plan.check()
        return await isolated(partial(get_ranges, self._session, plan))
