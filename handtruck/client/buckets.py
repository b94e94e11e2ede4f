"""Buckets: made, removed, looked for, listed."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Self, Unpack
from urllib.parse import urlsplit

from ..errors import Conflict, HandtruckError, InvalidResponse, NotFound, S3Error, UsageError
from ..protocol import fields, operations
from ..protocol.address import Location, check_bucket
from ..protocol.options import common_headers
from ..protocol.regions import check_region, parse_aws_host, partition_of
from .base import Family

if TYPE_CHECKING:
    from .._session import Session
    from ..models.buckets import BucketInfo, ObjectOwnership
    from ..protocol.address import Query
    from ..protocol.documents import ListedBuckets
    from ..protocol.operations import Operation
    from ..protocol.options import CannedACL, CommonOptions

_ELSEWHERE: Final = (301, 307)
_MOST_A_PAGE: Final = 10_000
_CREATE: Final = "CreateBucket"
_OLD_NAMES: Final = {"EU": "eu-west-1"}
_FIRST_REGION: Final = "us-east-1"


class BucketFamily(Family):
    """What methods about a bucket as a whole share."""

    def _locate_bucket(self, bucket: str | None) -> Location:
        """Where a bucket's own requests go.

        Raises:
            UsageError: no bucket is named, or another one than the URL's, or one whose request would be another's.
        """
        named: object = bucket
        if not (named is None or isinstance(named, str)):
            raise UsageError(f"bucket must be text, not {type(named).__name__}")
        endpoint = self._session.endpoint
        if endpoint.fixed and bucket is not None and bucket != endpoint.bucket:
            raise UsageError(
                f"the endpoint {endpoint.origin}{endpoint.path} is one bucket's, "
                + (f"and that is {endpoint.bucket!r}, not {bucket!r}" if endpoint.bucket else "which it does not name")
                + "; leave bucket= out, or use a client whose URL has no bucket"
            )
        if not endpoint.fixed and not bucket:
            raise UsageError("no bucket is named: give bucket=, or use a client whose URL has a bucket")
        return endpoint.locate_bucket(bucket=check_bucket(bucket) if bucket else None)


class Buckets:
    """An async iterator of buckets that holds nothing between them but a page of values.

    It may be abandoned anywhere. What does not begin with the prefix is left out where the server does not do so.
    """

    def __init__(self, session: Session, service: Location, prefix: str, max_buckets: int) -> None:
        self._session = session
        self._service = service
        self._prefix = prefix
        self._max_buckets = max_buckets
        self._token: str | None = None
        self._mark: str | None = None
        self._count = 0
        self._more = True
        self._ready: deque[BucketInfo] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BucketInfo:
        """Give the next bucket; one request for each page of them.

        Raises:
            S3Error: S3 says no.
            ConnectionFailed: there was no answer.
            InvalidResponse: the answer makes no sense, or the listing runs in a circle.
        """
        while not self._ready:
            if not self._more:
                raise StopAsyncIteration
            self._take(await self._session.perform(operations.list_buckets(self._service, self._query())))
        return self._ready.popleft()

    def _query(self) -> Query:
        given = {
            "continuation-token": self._token,
            "max-buckets": str(self._max_buckets),
            "prefix": self._prefix,
        }
        return tuple((name, value) for name, value in given.items() if value)

    def _take(self, listed: ListedBuckets) -> None:
        if listed.token is not None and listed.token in (self._token, self._mark):
            raise InvalidResponse("ListBuckets: the same page is offered for ever")
        self._token = listed.token
        self._count += 1
        if self._count.bit_count() == 1:  # at powers of two: so every circle is found, however long (Brent)
            self._mark = listed.token
        self._more = listed.token is not None
        self._ready.extend(bucket for bucket in listed.buckets if bucket.name.startswith(self._prefix))


class BucketMethods(BucketFamily):
    """``create_bucket delete_bucket head_bucket bucket_exists get_bucket_location list_buckets``."""

    async def create_bucket(
        self,
        bucket: str | None = None,
        *,
        region: str | None = None,
        exist_ok: bool = False,
        object_lock: bool = False,
        acl: CannedACL | None = None,
        object_ownership: ObjectOwnership | None = None,
    ) -> None:
        """Make a bucket (CreateBucket).

        ::

            await s3.create_bucket("logs", region="eu-central-1", exist_ok=True)

        What servers say of a bucket that is there already differs. If it belongs to somebody else, it is always
        an error. If it is yours, with ``exist_ok`` it is none. Without, it is one where the server says so; AWS in
        us-east-1 and Ceph say that all is well (and AWS resets the bucket's ACL): this is no lock. Where an answer
        is lost, the request is sent again with ``exist_ok`` only.

        Where a server says that the bucket exists, but not whose it is (rclone does), ``exist_ok`` looks for it in
        the list of your buckets, which a client whose URL is one bucket's cannot do.

        Args:
            bucket: its name; may be left out where the URL is the bucket's.
            region: where; S3's LocationConstraint. Default: on AWS the client's, else the server's own. AWS is asked
                at that region's host, because others do not take it; us-east-1 is sent as none at all, as S3 wants it.
            exist_ok: it may be there already, if it is yours.
            object_lock: its objects can be locked, and it keeps versions, for ever: neither can be undone. What is
                locked is stored, and paid for, until it is not.
            acl: a ready-made access control list; AWS wants another ``object_ownership`` than the default with it.
            object_ownership: whose objects are that others write, and whether there are ACLs at all.

        Raises:
            UsageError: the arguments make no sense, the name is missing, or the region is another partition's of AWS.
            Conflict: it is there already (``code`` is S3's: BucketAlreadyExists, BucketAlreadyOwnedByYou), or is being
                made or deleted at this moment (OperationAborted).
            S3Error: S3 does not take the name or the region, or says no.
            ConnectionFailed: there was no answer; it may be there now.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
        """
        location = self._locate_bucket(bucket)
        headers = operations.new_bucket_headers(object_lock=object_lock, acl=acl, object_ownership=object_ownership)
        wanted = None if region is None else fields.text("region", region)
        await self._session.ready()
        constraint = await self._settle(location, wanted)
        try:
            await self._make(operations.create_bucket(location, constraint, headers, exist_ok=exist_ok))
        except Conflict as error:
            if not exist_ok or not await self._is_ours(error):
                raise

    async def _settle(self, location: Location, wanted: str | None) -> str | None:
        """See to it that a new bucket's request goes where it can be taken, and tell the constraint that it needs.

        AWS's hosts take no other region than their own, in the constraint as in the signature (that of us-east-1
        takes others in the constraint). So a region that is not the host's is noted as the bucket's, ahead of time.
        """
        session, bucket = self._session, location.bucket
        session.learned.regions.pop(bucket, None)  # that was another bucket of this name
        if not session.endpoint.aws:
            return wanted
        keys = await session.keys()
        route = session.route(location, keys, _CREATE)
        own = region = route.region or _FIRST_REGION
        if wanted is not None:
            region = check_region(_OLD_NAMES.get(wanted, wanted))
            if partition_of(region) is not partition_of(own):
                raise UsageError(f"region={wanted!r} is in another partition of AWS than the client's, {own!r}")
        if region != _region_of(route.origin, own):
            session.learned.regions[bucket] = region
            route = session.route(location, keys, _CREATE)
        return _region_of(route.origin, None) if wanted is None else region

    async def _make(self, operation: Operation[None]) -> None:
        try:
            await self._session.perform(operation)
        except BaseException:
            self._session.learned.regions.pop(operation.location.bucket, None)  # it may be elsewhere, or nowhere
            raise

    async def _is_ours(self, error: Conflict) -> bool:
        """A bucket that is there already is in the list of those who ask. Never taken on trust: others' are traps."""
        if error.code != "BucketAlreadyExists" or error.bucket is None:
            return error.code == "BucketAlreadyOwnedByYou"
        if self._session.endpoint.fixed:
            error.add_note("handtruck: whose it is cannot be found out by a client whose URL is one bucket's")
            return False
        try:
            return error.bucket in [found.name async for found in self.list_buckets(prefix=error.bucket)]
        except HandtruckError as failed:
            error.add_note(f"handtruck: whose it is was not found out: {failed}")
            return False

    async def delete_bucket(
        self, bucket: str | None = None, *, missing_ok: bool = False, **options: Unpack[CommonOptions]
    ) -> None:
        """Remove an empty bucket (DeleteBucket).

        One with objects, versions, delete markers or (on AWS) unfinished uploads is refused, and nothing is lost.
        The name may be anybody's from then on; whoever takes it gets the requests of those that still use it. Where
        an answer is lost, the request is sent again with ``missing_ok`` only.

        Args:
            bucket: its name; may be left out where the URL is the bucket's.
            missing_ok: it may be gone already.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: the name is missing.
            NotFound: there is none, and ``missing_ok`` does not hold.
            Conflict: it is not empty (BucketNotEmpty).
            S3Error, ConnectionFailed: it may still be there.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteBucket.html
        """
        location, headers = self._locate_bucket(bucket), common_headers(options)
        operation = operations.delete_bucket(location, headers, missing_ok=missing_ok)
        try:
            await self._session.perform(operation)
        except NotFound:
            if not missing_ok:
                raise
        self._session.learned.regions.pop(location.bucket, None)  # the next one of this name may be elsewhere

    async def head_bucket(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> BucketInfo:
        """Ask whether a bucket is there and may be used, and where it is (HeadBucket).

        Args:
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: the name is missing.
            NotFound: there is none.
            AccessDenied: it may be there, and is not for you.
            S3Error: status 301: it is there, in another region than the endpoint's.
            ConnectionFailed: there was no answer.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html
        """
        return await self._session.perform(operations.head_bucket(self._locate_bucket(bucket), common_headers(options)))

    async def bucket_exists(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> bool:
        """Whether there is such a bucket; in another region than the endpoint's counts, too.

        Arguments: :meth:`head_bucket`.

        Raises:
            UsageError: the name is missing.
            AccessDenied: it may be there, and is not for you.
            S3Error, ConnectionFailed: it was not found out.
        """
        try:
            await self.head_bucket(bucket, **options)
        except NotFound:
            return False
        except S3Error as error:
            if error.status not in _ELSEWHERE:
                raise
        return True

    async def get_bucket_location(self, bucket: str | None = None, **options: Unpack[CommonOptions]) -> str:
        """Ask for a bucket's region (GetBucketLocation), by the name that requests are signed for.

        S3's names of old are translated: none is us-east-1, and EU is eu-west-1. :meth:`head_bucket` tells it, too,
        on AWS, and to more people. Servers of other makers have names of their own.

        Args:
            bucket: its name; may be left out where the URL is the bucket's.
            options: see :class:`~handtruck.CommonOptions`.

        Raises:
            UsageError: the name is missing.
            NotFound, S3Error, ConnectionFailed, InvalidResponse.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html
        """
        operation = operations.get_bucket_location(self._locate_bucket(bucket), common_headers(options))
        return await self._session.perform(operation)

    def list_buckets(self, *, prefix: str = "", max_buckets: int = 1000) -> Buckets:
        """List your buckets, one by one, in the server's order; S3's is that of their names (ListBuckets).

        ::

            async for bucket in s3.list_buckets(prefix="logs-"):
                print(bucket.name, bucket.created)

        Each is a :class:`~handtruck.BucketInfo`. Pages of them are fetched as they are needed, and each costs one
        request.

        Args:
            prefix: only buckets whose names begin so.
            max_buckets: buckets a page has at most, from 1 to 10 000; not all servers have pages.

        Raises:
            UsageError: the client's URL is one bucket's: requests about all of them go to another place.
            S3Error, ConnectionFailed, InvalidResponse: while iterating; InvalidResponse also where the listing
                runs in a circle.

        Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListBuckets.html
        """
        endpoint = self._session.endpoint
        if endpoint.fixed:
            raise UsageError(
                f"the endpoint {endpoint.origin}{endpoint.path} is one bucket's, which cannot list the others: "
                "use a client whose URL has no bucket"
            )
        if not 1 <= max_buckets <= _MOST_A_PAGE:
            raise UsageError(f"max_buckets must be from 1 to {_MOST_A_PAGE}, not {max_buckets}")
        service = Location(path=f"{endpoint.path}/", bucket=None, key="")
        return Buckets(self._session, service, prefix, max_buckets)


def _region_of(origin: str, default: str | None) -> str | None:
    """The region whose constraint a host of AWS's takes; the default: it is none of S3's usual hosts."""
    host = parse_aws_host(urlsplit(origin).hostname or "")
    return (host.region or _FIRST_REGION) if host else default
