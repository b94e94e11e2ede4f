"""Deleting many objects: those that are named, or all below a prefix."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from os import PathLike
from typing import TYPE_CHECKING, Final, TypeAlias, Unpack

from ..errors import UsageError
from ..models import AwsObjectMeta, ObjectVersion
from ..protocol import options as names_of
from ..protocol.address import encode_path
from ..transfer.deletes import IN_MEMORY, DeletePlan, delete_listed, delete_named
from . import arguments
from .base import Family
from .pages import AUTO, ObjectPages, VersionPages, pages_query

if TYPE_CHECKING:
    from ..models import DeleteResult
    from ..protocol.documents import ObjectIdentifier
    from ..protocol.options import CommonOptions, DeleteManyOptions
    from ..transfer.deletes import OnBatch
    from .arguments import ObjectName

Deletable: TypeAlias = "str | PathLike[str] | tuple[str, str | None] | AwsObjectMeta | ObjectVersion"
"""A key; a key and one of its versions; or what a listing gave."""

DEFAULT_DELETERS: Final = 4
"""Requests at once, each of 1 000 objects: AWS counts every object, and throttles from 3 500 a second on."""


class DeleteMethods(Family):
    """``delete_objects delete_prefix``."""

    async def delete_objects(
        self,
        names: Iterable[Deletable] | AsyncIterable[Deletable],
        object_name: ObjectName = "/",
        *,
        bucket: str | None = None,
        quiet: bool = False,
        workers_count: int = DEFAULT_DELETERS,
        on_batch: OnBatch | None = None,
        **options: Unpack[DeleteManyOptions],
    ) -> DeleteResult:
        """Delete many objects of one bucket, 1 000 with each request (DeleteObjects).

        ::

            result = await s3.delete_objects(["logs/1", "logs/2"], "bucket/")
            for error in result.errors:
                print(error.key, error.code, error.message)

        S3's no to one object is no exception: it is in ``errors``, and the others are deleted all the same. So is an
        object of which the answer says nothing. What S3 cannot do just now (``SlowDown``, ``InternalError``) is asked
        for again first.

        It is not atomic. When it raises or is cancelled some of the objects are gone for good: how many are known to
        be is in the exception's notes, and which, ``on_batch`` was told; a request under way may have deleted more.
        Doing it again does no harm. To name what is not there is no error.

        Without a version, a bucket that keeps versions hides each object behind a delete marker, and goes on billing
        for it; with one, that version is removed for good.

        Keys that XML cannot carry (control characters), or not safely (blanks around them), go by a request each.
        Memory: ``workers_count`` times 1 000 names, and, but with ``quiet``, one value for every object.

        Args:
            names: keys, without the bucket; ``(key, version_id)``; or what a listing gives:
                :class:`~handtruck.AwsObjectMeta`, :class:`~handtruck.ObjectVersion`. Any iterable, sync or async: it is
                read as far as there is room, a sync one that is no list, set or the like in a worker thread.
            object_name: the bucket, unless the URL or ``bucket`` names it.
            bucket: the bucket.
            quiet: S3 tells of errors only: ``deleted`` stays empty, and an object that S3 forgot is counted as deleted.
            workers_count: requests on their way at once, from 1.
            on_batch: called with a :class:`~handtruck.DeleteResult` of each answer; what it raises ends the call.
            options: of every request: :class:`~handtruck.DeleteManyOptions`.

        Raises:
            UsageError: a name is none, or there is no bucket. (Names that come from an iterator are looked at as they
                come: those before it may be deleted by then.)
            S3Error, ConnectionFailed, InvalidResponse: a request failed as a whole.
            Exception: whatever ``names`` or ``on_batch`` raises.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html
        """
        if isinstance(names, str | bytes | PathLike) or not isinstance(names, Iterable | AsyncIterable):
            raise UsageError(
                f"names must be an iterable of keys, not {type(names).__name__}; one object goes by delete()"
            )
        plan = self._plan(object_name, bucket, workers_count, on_batch, options, quiet=quiet, keep=not quiet)
        if isinstance(names, IN_MEMORY):
            for name in names:
                identifier(name, plan.bucket.prefix)
        return await delete_named(self._session, plan, names, lambda name: identifier(name, plan.bucket.prefix))

    async def delete_prefix(
        self,
        object_name: ObjectName = "/",
        *,
        prefix: ObjectName,
        bucket: str | None = None,
        versions: bool = False,
        whole_bucket: bool = False,
        workers_count: int = DEFAULT_DELETERS,
        on_batch: OnBatch | None = None,
        encoding_type: str | None = AUTO,
        **options: Unpack[DeleteManyOptions],
    ) -> DeleteResult:
        """Delete all objects whose keys begin so: they are listed, and deleted while the listing goes on.

        ::

            result = await s3.delete_prefix("bucket/", prefix="logs/2019/")
            print(result.count, "deleted", len(result.errors), "not")

        The arguments are those of :meth:`iter_objects`, which shows what would be deleted. ``logs`` is a prefix of
        ``logs-of-others/1``, too: mostly it ends in a slash. Objects that are written meanwhile may stay.

        In a bucket that keeps versions the objects are hidden behind delete markers, and billed as before;
        ``versions=True`` removes all their versions, and the markers, for good.

        What holds for :meth:`delete_objects` holds here: it is not atomic, and S3's no to one object is in ``errors``;
        but ``deleted`` is empty, so that memory does not grow with what is deleted: two pages of the listing, and
        ``workers_count`` times 1 000 names. ``on_batch`` is told of each.

        Args:
            object_name: the bucket, unless the URL or ``bucket`` names it.
            prefix: what the keys begin with.
            bucket: the bucket.
            versions: remove every version, for good.
            whole_bucket: an empty prefix is meant: everything goes (below the prefix that the client is for, if any).
            workers_count: requests on their way at once, from 1, beside the listing's.
            on_batch: called with a :class:`~handtruck.DeleteResult` of each answer; what it raises ends the call.
            encoding_type: see :meth:`list_objects_v2`.
            options: of every request: :class:`~handtruck.DeleteManyOptions`.

        Raises:
            UsageError: the prefix is empty and nobody said ``whole_bucket``, or the other way round; or there is no
                bucket.
            S3Error, ConnectionFailed, InvalidResponse: a request failed as a whole; InvalidResponse also where the
                listing tells of keys that do not begin so (of a server that ignores prefixes), which are not deleted.
            Exception: whatever ``on_batch`` raises.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/delete-multiple-objects.html
        """
        begin = arguments.object_name(prefix)
        if not begin and not whole_bucket:
            raise UsageError("an empty prefix is that of every object; if that is meant, say whole_bucket=True")
        if begin and whole_bucket:
            raise UsageError(f"whole_bucket=True, but the prefix is {begin!r}")
        plan = self._plan(object_name, bucket, workers_count, on_batch, options, quiet=False, keep=False)
        query = pages_query(prefix=begin, encoding_type=encoding_type)
        kind = VersionPages if versions else ObjectPages
        pages = kind(self._session, plan.bucket, query, names_of.common_headers(_common(options)))
        return await delete_listed(self._session, plan, pages, begin)

    def _plan(
        self,
        object_name: ObjectName,
        bucket: str | None,
        workers_count: int,
        on_batch: OnBatch | None,
        options: DeleteManyOptions,
        *,
        quiet: bool,
        keep: bool,
    ) -> DeletePlan:
        if workers_count < 1:
            raise UsageError(f"workers_count must be at least 1, not {workers_count}")
        return DeletePlan(
            bucket=self._session.endpoint.locate_bucket(arguments.object_name(object_name), bucket),
            headers=names_of.delete_many_headers(options),
            workers=workers_count,
            quiet=quiet,
            keep=keep,
            on_batch=on_batch,
        )


def _common(options: DeleteManyOptions) -> CommonOptions:
    """Those that the listing's requests take."""
    shared: CommonOptions = {}
    if "expected_bucket_owner" in options:
        shared["expected_bucket_owner"] = options["expected_bucket_owner"]
    if "request_payer" in options:
        shared["request_payer"] = options["request_payer"]
    return shared


def identifier(name: object, prefix: str = "") -> ObjectIdentifier:
    """The key and the version that the caller means; below a ``prefix`` a listing names what is called as that is, "".

    Raises:
        UsageError: it is nothing of the kind.
    """
    match name:
        case ObjectVersion():
            key, version_id = name.key, name.version_id
        case AwsObjectMeta():
            key, version_id = name.key, None
        case (str(key), str() | None as version_id) if isinstance(name, tuple):
            pass
        case str() | PathLike():
            key, version_id = arguments.object_name(name), None
        case _:
            raise UsageError(f"a key must be text, (key, version_id), or what a listing gave, not {name!r:.100}")
    its_own = prefix and isinstance(name, AwsObjectMeta | ObjectVersion)
    if not (key or its_own) or version_id == "":
        raise UsageError(f"a key, or its version, is empty: {name!r:.100}")
    encode_path(key)
    return key, version_id
