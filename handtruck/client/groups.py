"""Many transfers at once, as children of one task group."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack, cast

from ..protocol.parts import DEFAULT_PART_SIZE
from ..transfer.many import Many
from . import arguments
from .base import Family
from .transfers import DEFAULT_WORKERS

if TYPE_CHECKING:
    from httpx._types import TimeoutTypes

    from ..models import DownloadResult, UploadResult
    from ..protocol.options import ReadOptions, WriteOptions
    from ..transfer.many import OnError, Transfer
    from ..transfer.progress import ProgressCallback
    from . import S3Client
    from .arguments import HeaderTypes, ObjectName
    from .transfers import Source, Target


class Transfers(Many):
    """Transfers of one block, made by :meth:`handtruck.S3Client.transfers`.

    ::

        async with s3.transfers(max_concurrency=8) as t:
            one = t.upload("bucket/a", "a.bin")
            two = t.download("bucket/b", "b.bin")
            print(await one)  # an UploadResult; the other goes on
        print(t.results)

    :meth:`upload` and :meth:`download` do not wait: they queue a transfer and give its :class:`handtruck.Transfer`. Any
    task of the event loop may ask for more while the block is running, and until its last transfer is over.
    """

    def __init__(self, client: S3Client, *, max_concurrency: int, on_error: OnError) -> None:
        super().__init__(max_concurrency=max_concurrency, on_error=on_error)
        self._client = client

    def upload(
        self,
        object_name: ObjectName,
        source: Source,
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = DEFAULT_WORKERS,
        calculate_content_sha256: bool = True,
        resume: bool = False,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[WriteOptions],
    ) -> Transfer[UploadResult]:
        """Queue an upload; arguments, cost, memory and errors are those of :meth:`handtruck.S3Client.upload`.

        A source whose turn never comes has not been touched.

        Raises:
            UsageError: the block is over, or ``object_name`` is no name. Whatever else is wrong fails the transfer.
        """
        work = partial(
            self._client.upload,
            object_name,
            source,
            headers=headers,
            part_size=part_size,
            workers_count=workers_count,
            calculate_content_sha256=calculate_content_sha256,
            resume=resume,
            progress=progress,
            timeout=timeout,
            **options,
        )
        return self._queue("upload", arguments.object_name(object_name), work)

    def download(
        self,
        object_name: ObjectName,
        target: Target,
        *,
        headers: HeaderTypes | None = None,
        part_size: int = DEFAULT_PART_SIZE,
        workers_count: int = DEFAULT_WORKERS,
        resume: bool = False,
        fsync: bool = False,
        verify: bool = False,
        progress: ProgressCallback | None = None,
        timeout: TimeoutTypes | None = None,
        **options: Unpack[ReadOptions],
    ) -> Transfer[DownloadResult]:
        """Queue a download; arguments, cost, memory and errors are those of :meth:`handtruck.S3Client.download`.

        A target whose turn never comes has not been touched.

        Raises:
            UsageError: the block is over, or ``object_name`` is no name. Whatever else is wrong fails the transfer.
        """
        work = partial(
            self._client.download,
            object_name,
            target,
            headers=headers,
            part_size=part_size,
            workers_count=workers_count,
            resume=resume,
            fsync=fsync,
            verify=verify,
            progress=progress,
            timeout=timeout,
            **options,
        )
        return self._queue("download", arguments.object_name(object_name), work)


class GroupMethods(Family):
    """``transfers``."""

    def transfers(self, *, max_concurrency: int = 8, on_error: OnError = "cancel") -> Transfers:
        """Many transfers in one block, so many at once, in the order they are asked for.

        ::

            async with s3.transfers(max_concurrency=8) as t:
                for path in paths:
                    t.upload(f"bucket/{path.name}", path)
            print(t.results)

        The block ends when all of them are over, like a task group, and leaves nothing behind: when one fails, or the
        body does, the others are cancelled and undone, and so is the body; that one exception comes out, whatever
        else went wrong is its notes. What was finished before stays. Where a cancellation from outside comes in, it
        alone comes out.

        Requests of all of them share the client's ``max_connections``. Memory: ``max_concurrency`` times that of a
        transfer, and up to 2 KiB for every one that was asked for; what waits for its turn holds nothing else.

        Args:
            max_concurrency: transfers under way at once; each has ``workers_count`` of its own. Many small objects
                want more, few large ones less.
            on_error: ``"cancel"``: see above. ``"collect"``: one that fails keeps its error, and the others go on:
                see ``errors`` and :attr:`handtruck.Transfer.error`, or await each. The body's own errors, and
                interrupts, still end all.

        Raises:
            UsageError: an argument is wrong.
            Exception: at the end of the block, whatever a transfer (with ``"cancel"``) or the body raised first.
        """
        return Transfers(cast("S3Client", self), max_concurrency=max_concurrency, on_error=on_error)
