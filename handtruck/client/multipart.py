"""Multipart uploads that are not finished: which there are, what they hold, and how to be rid of them."""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Self, Unpack

from .._tasks import isolated
from ..errors import InvalidResponse, NotFound, UsageError
from ..protocol import operations
from ..protocol.documents import ListedUploads
from ..protocol.options import common_headers, parts_headers
from ..transfer.stale import abort_stale, abort_upload
from . import arguments
from .base import Family

if TYPE_CHECKING:
    from .._session import Session
    from ..models import MultipartUploadInfo, PartInfo
    from ..protocol.address import Location, Query
    from ..protocol.documents import ListedParts
    from ..protocol.operations import Headers
    from ..protocol.options import CommonOptions, PartsOptions
    from .arguments import ObjectName


class MultipartUploads:
    """An async iterator of a bucket's unfinished uploads that holds nothing between them but a page of values.

    It may be abandoned anywhere. Keys are asked for as they are, and url-encoded only from the first page on that has
    one which XML cannot carry: whether they are encoded, only some servers say.
    """

    def __init__(
        self, session: Session, bucket: Location, prefix: str, max_uploads: int | None, headers: Headers = ()
    ) -> None:
        self._session = session
        self._bucket = bucket
        self._prefix = prefix
        self._max_uploads = max_uploads
        self._headers = headers
        self._encoded = False
        self._marker: tuple[str, str] | None = None
        self._mark: tuple[str, str] | None = None
        self._count = 0
        self._more = True
        self._page: frozenset[tuple[str, str]] = frozenset()
        self._ready: deque[MultipartUploadInfo] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MultipartUploadInfo:
        """Give the next upload; one request for each page of them.

        Raises:
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the listing runs in a circle.
        """
        while not self._ready:
            if not self._more:
                raise StopAsyncIteration
            self._take(await self._fetch())
        return self._ready.popleft()

    async def _fetch(self) -> ListedUploads:
        listed = await self._ask()
        if listed.unreadable is not None and not self._encoded and self._session.quirks.encoded_lists:
            self._encoded = True
            listed = await self._ask()
        if listed.unreadable is not None:
            raise InvalidResponse(f"ListMultipartUploads {self._bucket}: {listed.unreadable}")
        return listed

    async def _ask(self) -> ListedUploads:
        try:
            operation = operations.list_multipart_uploads(self._bucket, self._query(), self._headers)
            return await self._session.perform(operation)
        except NotFound as error:
            if error.code == "NoSuchUpload" and self._marker is None:
                return ListedUploads()  # rclone's way to say that there are none
            raise

    def _query(self) -> Query:
        key, upload_id = self._marker or ("", "")
        given = {
            "encoding-type": "url" if self._encoded else "",
            "key-marker": key,
            "max-uploads": str(self._max_uploads or ""),
            "prefix": self._prefix,
            "upload-id-marker": upload_id,
        }
        return tuple((name, value) for name, value in given.items() if value)

    def _take(self, listed: ListedUploads) -> None:
        """Keep a page; where a server counts its marker in, without what the page before had."""
        if listed.next is not None and listed.next in (self._marker, self._mark):
            raise InvalidResponse(f"ListMultipartUploads {self._bucket}: the same page is offered for ever")
        self._marker = listed.next
        self._count += 1
        if self._count.bit_count() == 1:  # at powers of two: so every circle is found, however long (Brent)
            self._mark = listed.next
        self._more = listed.next is not None
        before = self._page
        self._page = frozenset((upload.key, upload.upload_id) for upload in listed.uploads)
        self._ready.extend(
            upload
            for upload in listed.uploads
            if upload.key.startswith(self._prefix) and (upload.key, upload.upload_id) not in before
        )


class UploadParts:
    """An async iterator of an upload's parts that holds nothing between them but a page of values.

    It may be abandoned anywhere. Pages are asked for by the last number that was seen, which is what S3's own marker
    is: others' markers point one too far, or back, and some count the part at the marker in.
    """

    def __init__(
        self, session: Session, location: Location, upload_id: str, max_parts: int | None, headers: Headers = ()
    ) -> None:
        self._session = session
        self._location = location
        self._upload_id = upload_id
        self._max_parts = max_parts
        self._headers = headers
        self._marker = 0
        self._last = 0
        self._step = 0
        self._more = True
        self._ready: deque[PartInfo] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> PartInfo:
        """Give the next part; one request for each page of them.

        Raises:
            NotFound: there is no such upload (any more).
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the listing does not get on.
        """
        while not self._ready:
            if not self._more:
                raise StopAsyncIteration
            operation = operations.list_parts(
                self._location, self._upload_id, self._headers, marker=self._marker, max_parts=self._max_parts
            )
            self._take(await self._session.perform(operation))
        return self._ready.popleft()

    def _take(self, listed: ListedParts) -> None:
        fresh = {part.number: part for part in listed.parts if part.number > self._last}
        last = max(fresh, default=self._last)
        if self._marker and any(part.number == self._marker for part in listed.parts):
            self._step = 1  # this server counts the part at the marker in
        if listed.next is not None:
            marker = last + self._step if listed.parts else max(last, listed.next)
            if marker <= self._marker:
                raise InvalidResponse(f"ListParts {self._location}: the same page is offered for ever")
            self._marker = marker
        self._last = last
        self._more = listed.next is not None
        self._ready.extend(fresh[number] for number in sorted(fresh))


class MultipartMethods(Family):
    """``list_multipart_uploads list_parts abort_multipart_upload abort_stale_uploads``."""

    def list_multipart_uploads(
        self,
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        max_uploads: int | None = None,
        **options: Unpack[CommonOptions],
    ) -> MultipartUploads:
        """List a bucket's unfinished multipart uploads, one by one (ListMultipartUploads).

        ::

            async for upload in s3.list_multipart_uploads("bucket/", prefix="logs/"):
                print(upload.key, upload.upload_id, upload.initiated)

        Each is a :class:`~handtruck.MultipartUploadInfo`; they come in the order of their keys. Pages of them are
        fetched as they are needed, and each costs one request.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            prefix: only uploads whose keys begin so.
            max_uploads: uploads a page has at most, from 1; servers have limits of their own, 1 000 mostly.
            options: whose bucket it must be, and who pays: :class:`~handtruck.protocol.options.CommonOptions`.

        Raises:
            UsageError: there is no bucket to list, or an option is wrong.
            S3Error, ConnectionFailed, InvalidResponse: while iterating; InvalidResponse also where the listing
                runs in a circle, or has a key that XML cannot carry on a server that does not encode keys.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html
        """
        _check_page("max_uploads", max_uploads)
        location = self._session.endpoint.locate_bucket(arguments.object_name(object_name), bucket)
        begin = "" if prefix is None else arguments.object_name(prefix)
        return MultipartUploads(self._session, location, begin, max_uploads, common_headers(options))

    def list_parts(
        self,
        object_name: ObjectName,
        upload_id: str,
        *,
        max_parts: int | None = None,
        **options: Unpack[PartsOptions],
    ) -> UploadParts:
        """List the parts that an unfinished upload has, by number (ListParts).

        Each is a :class:`~handtruck.PartInfo`, and comes once. Pages of them are fetched as they are needed, and each
        costs one request.

        Args:
            object_name: the object that the upload is to become.
            upload_id: the upload.
            max_parts: parts a page has at most, from 1; servers have limits of their own, 1 000 mostly.
            options: :class:`~handtruck.protocol.options.PartsOptions`.

        Raises:
            UsageError: the name or the id is missing, or an option is wrong.
            NotFound, S3Error, ConnectionFailed, InvalidResponse: while iterating; NotFound where there is no such
                upload (any more).

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListParts.html
        """
        _check_page("max_parts", max_parts)
        headers = arguments.merged(None, parts_headers(options), self._session.endpoint)
        return UploadParts(self._session, self._locate_upload(object_name, upload_id), upload_id, max_parts, headers)

    async def abort_multipart_upload(
        self, object_name: ObjectName, upload_id: str, **options: Unpack[CommonOptions]
    ) -> None:
        """Throw an unfinished upload and its parts away (AbortMultipartUpload).

        The parts of an upload are billed as storage until it is completed or aborted. A part that is being written
        meanwhile may survive, and is billed, too: when its writer has stopped, abort again.

        Args:
            object_name: the object that the upload was to become. An object of that name is left alone.
            upload_id: the upload.
            options: see :meth:`list_multipart_uploads`.

        Raises:
            UsageError: the name or the id is missing, or an option is wrong.
            NotFound: S3 knows no such upload: it was completed or aborted already, or the name or the id is wrong.
                Where a repetition of ours finds it gone, it is a success.
            S3Error, ConnectionFailed: it may still be there.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html
        """
        location, headers = self._locate_upload(object_name, upload_id), common_headers(options)
        await abort_upload(self._session, location, upload_id, headers)

    async def abort_stale_uploads(
        self,
        object_name: ObjectName = "/",
        *,
        older_than: timedelta,
        bucket: str | None = None,
        prefix: ObjectName | None = None,
        **options: Unpack[CommonOptions],
    ) -> tuple[MultipartUploadInfo, ...]:
        """Abort a bucket's unfinished uploads that were begun some time ago; gives those that it aborted.

        It asks nobody whether an upload is still being written: let ``older_than`` be longer than any upload takes.
        Age is this machine's clock minus the server's: what they differ by counts. Uploads whose beginning the
        server does not tell are left, and so are those that begin meanwhile. Eight are aborted at once, each by a
        request of its own; a part that is being written meanwhile may survive and is billed, until the next call.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            older_than: uploads that are at least so old; zero for all.
            bucket: the bucket.
            prefix: only uploads whose keys begin so.
            options: see :meth:`list_multipart_uploads`.

        Raises:
            UsageError: ``older_than`` is negative, there is no bucket, or an option is wrong.
            S3Error: S3 refused to abort an upload, for which the others did not suffer; or something was wrong with
                all of them. What else went wrong is in the notes, and how many were aborted.
            ConnectionFailed, InvalidResponse: see :meth:`list_multipart_uploads`.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/abort-mpu.html
        """
        if older_than < timedelta():
            raise UsageError(f"older_than must not be negative, as {older_than} is")
        uploads = self.list_multipart_uploads(object_name, bucket=bucket, prefix=prefix, **options)
        location = self._session.endpoint.locate_bucket(arguments.object_name(object_name), bucket)
        return await isolated(
            partial(abort_stale, self._session, location, uploads, older_than, common_headers(options))
        )

    def _locate_upload(self, object_name: ObjectName, upload_id: str) -> Location:
        """Where an upload is.

        Raises:
            UsageError: the name has no key, or the id is empty. Servers then take an abort for the deletion of the
                bucket, or of the object.
        """
        location = self._locate(object_name)
        if not location.key or not (location.bucket or self._session.endpoint.fixed):
            raise UsageError(
                f"{str(location)!r} names no object: write bucket/key "
                '(where the host names the bucket, S3Client wants addressing="virtual")'
            )
        if not upload_id:
            raise UsageError(f"no upload id is given for {location}")
        return location


def _check_page(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise UsageError(f"{name} must be at least 1, not {value}")
