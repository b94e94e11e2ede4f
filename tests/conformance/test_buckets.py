"""Buckets are made, found, listed and removed; what is somebody else's is never taken for ours.

First on real servers. Then on a peer that says what others say.
"""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import ClientError

from handtruck import BucketInfo, S3Client
from handtruck.client.buckets import BucketMethods
from handtruck.errors import AccessDenied, Conflict, ConnectionFailed, InvalidResponse, NotFound, S3Error, UsageError
from handtruck.protocol import operations
from tests.conformance.support import connect
from tests.scripted.peer import RESET, Reply
from tests.scripted.tiny import client, error, store

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator

    from tests.scripted.peer import Request
    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

NUMBERS: Final = itertools.count(1)
WORKER: Final = os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture
def name(witness: Witness) -> Iterator[str]:
    """A name that no bucket has; what the test makes of it is removed."""
    name = f"made-{WORKER}-{next(NUMBERS):05}"
    yield name
    witness.discard(name)


def there(witness: Witness, bucket: str) -> bool:
    """The witness sees it."""
    try:
        witness.client.head_bucket(Bucket=bucket)
    except ClientError as refused:
        if refused.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        return False
    return True


async def names_of(buckets: AsyncIterable[BucketInfo]) -> list[str]:
    return [bucket.name async for bucket in buckets]


async def test_made_found_and_removed(s3: S3Client, name: str, witness: Witness) -> None:
    assert not await s3.bucket_exists(name)
    await s3.create_bucket(name)
    assert there(witness, name)
    assert await s3.bucket_exists(name)
    await s3.delete_bucket(name)
    assert not there(witness, name)
    assert not await s3.bucket_exists(name)


async def test_made_again(s3: S3Client, name: str, server: Server, witness: Witness) -> None:
    await s3.create_bucket(name)
    witness.put(name, "key", b"kept")
    if server.faults.get("create-again-is-taken"):
        with pytest.raises(Conflict) as caught:
            await s3.create_bucket(name)
        assert (caught.value.code, caught.value.bucket) == ("BucketAlreadyExists", name)
    else:
        await s3.create_bucket(name)
    await s3.create_bucket(name, exist_ok=True)
    assert witness.get(name, "key") == b"kept"


async def test_removed_again(s3: S3Client, name: str) -> None:
    with pytest.raises(NotFound) as caught:
        await s3.delete_bucket(name)
    assert (caught.value.code, caught.value.operation) == ("NoSuchBucket", "DeleteBucket")
    await s3.delete_bucket(name, missing_ok=True)


async def test_a_bucket_with_something_in_it_stays(s3: S3Client, bucket: str, witness: Witness) -> None:
    witness.put(bucket, "key", b"kept")
    for missing_ok in (False, True):
        with pytest.raises(Conflict) as caught:
            await s3.delete_bucket(bucket, missing_ok=missing_ok)
        assert caught.value.code == "BucketNotEmpty"
    assert witness.get(bucket, "key") == b"kept"


async def test_what_head_tells(s3: S3Client, bucket: str, server: Server) -> None:
    found = await s3.head_bucket(bucket)
    region = None if server.faults.get("head-bucket-has-no-region") else "us-east-1"
    assert found == BucketInfo(name=bucket, region=region)
    with pytest.raises(NotFound) as caught:
        await s3.head_bucket(f"{bucket}-missing")
    assert (caught.value.status, caught.value.operation) == (404, "HeadBucket")


async def test_regions(s3: S3Client, name: str, server: Server, witness: Witness) -> None:
    if server.faults.get("no-other-regions") and server.name == "rgw":
        with pytest.raises(S3Error) as caught:
            await s3.create_bucket(name, region="eu-west-1")
        assert (caught.value.status, caught.value.code) == (400, "InvalidLocationConstraint")
        assert not there(witness, name)
        return
    await s3.create_bucket(name, region="eu-west-1")
    region = "us-east-1" if server.faults.get("no-other-regions") else "eu-west-1"
    assert await s3.get_bucket_location(name) == region
    assert (witness.client.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1") == region


async def test_the_first_region(s3: S3Client, name: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be said, and is not. Were it, S3 would refuse: the mutation."""
    await s3.create_bucket(name, region="us-east-1")
    location = "default" if server.faults.get("location-is-its-own") else "us-east-1"
    assert await s3.get_bucket_location(name) == location
    await s3.delete_bucket(name)
    said = operations.create_bucket(s3._session.endpoint.locate_bucket(name), "us-east-1")
    assert said.content == b""
    monkeypatch.setattr("handtruck.protocol.documents.buckets.FIRST_REGION", None)
    operation = operations.create_bucket(s3._session.endpoint.locate_bucket(name), "us-east-1")
    assert b"us-east-1" in operation.content
    if server.faults.get("first-region-may-be-said"):
        await s3._session.perform(operation)
    else:
        with pytest.raises(S3Error, match="400 InvalidLocationConstraint"):
            await s3._session.perform(operation)


async def test_object_lock(s3: S3Client, name: str, server: Server, witness: Witness) -> None:
    await s3.create_bucket(name, object_lock=True)
    if server.faults.get("no-bucket-configurations"):
        assert witness.client.get_bucket_versioning(Bucket=name).get("Status") is None
        return
    answer = witness.client.get_object_lock_configuration(Bucket=name)
    assert answer["ObjectLockConfiguration"] == {"ObjectLockEnabled": "Enabled"}
    assert witness.client.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"


@pytest.mark.parametrize("server", ["moto", "rgw"], indirect=True)
async def test_acl_and_ownership(s3: S3Client, name: str, server: Server, witness: Witness) -> None:
    await s3.create_bucket(name, acl="public-read", object_ownership="ObjectWriter")
    grants = witness.client.get_bucket_acl(Bucket=name)["Grants"]
    assert [grant["Permission"] for grant in grants if grant["Grantee"]["Type"] == "Group"] == ["READ"]
    if not server.faults.get("no-ownership-controls"):
        controls = witness.client.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]
        assert controls == {"Rules": [{"ObjectOwnership": "ObjectWriter"}]}


async def test_lists(s3: S3Client, bucket: str, name: str, server: Server, witness: Witness) -> None:
    await s3.create_bucket(name)
    found = {each.name: each async for each in s3.list_buckets()}
    listed = witness.client.list_buckets()["Buckets"]
    assert list(found) == [each["Name"] for each in listed]
    assert {bucket, name} <= set(found)
    assert server.faults.get("buckets-unsorted") or list(found) == sorted(found)
    for each in listed:
        made = found[each["Name"]].created
        assert made == each["CreationDate"]
        assert made is not None
        assert made.utcoffset() == timedelta()
    made = found[name].created
    assert made is not None
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=2)


async def test_prefixes(s3: S3Client, bucket: str, name: str, server: Server, witness: Witness) -> None:
    await s3.create_bucket(name)
    assert await names_of(s3.list_buckets(prefix=name)) == [name]
    assert bucket not in await names_of(s3.list_buckets(prefix="made-"))
    assert await names_of(s3.list_buckets(prefix="nothing-begins-so")) == []
    raw = (await s3.get("/", params={"prefix": "nothing-begins-so"})).text
    assert (f"<Name>{name}</Name>" in raw) is bool(server.faults.get("buckets-prefix-ignored"))


async def test_pages(s3: S3Client, bucket: str, name: str, server: Server) -> None:
    await s3.create_bucket(name)
    everything = await names_of(s3.list_buckets())
    paged = await names_of(s3.list_buckets(max_buckets=1))
    if server.faults.get("buckets-pages-have-no-token"):
        assert paged == everything[:1]
    else:
        assert paged == everything
        raw = (await s3.get("/", params={"max-buckets": 1})).text
        assert server.faults.get("buckets-pages-ignored")
        assert raw.count("<Bucket>") == len(everything)


async def test_a_client_of_one_bucket(name: str, server: Server, witness: Witness) -> None:
    """Its name may be left out; no other's may be given; and there is no list."""
    async with connect(server, url=f"{server.url}/{name}") as s3:
        await s3.create_bucket()
        assert there(witness, name)
        assert (await s3.head_bucket()).name == name
        assert await s3.bucket_exists(name)
        assert await s3.get_bucket_location()
        for wrong in (s3.head_bucket("other"), s3.delete_bucket("other"), s3.create_bucket(""), s3.delete_bucket("/")):
            with pytest.raises(UsageError, match=f"is one bucket's, and that is '{name}'"):
                await wrong
        with pytest.raises(UsageError, match="is one bucket's, which cannot list the others"):
            s3.list_buckets()
        await s3.delete_bucket(bucket=name)
        assert not there(witness, name)


# --- what makes no sense; no server is asked


WRONG: Final[tuple[tuple[str, dict[str, Any], str], ...]] = (
    ("create_bucket", {}, "no bucket is named"),
    ("delete_bucket", {}, "no bucket is named"),
    ("head_bucket", {"bucket": ""}, "no bucket is named"),
    ("delete_bucket", {"bucket": "/"}, "is no bucket's name"),
    ("delete_bucket", {"bucket": "a/b"}, "is no bucket's name"),
    ("delete_bucket", {"bucket": "bucket/"}, "is no bucket's name"),
    ("delete_bucket", {"bucket": ".."}, "is no bucket's name"),
    ("create_bucket", {"bucket": 7}, "bucket must be text, not int"),
    ("create_bucket", {"bucket": "b", "region": ""}, "region must not be empty"),
    ("create_bucket", {"bucket": "b", "region": "ü"}, "region must be printable ASCII"),
    ("create_bucket", {"bucket": "b", "acl": "mine"}, "acl must be one of private"),
    ("create_bucket", {"bucket": "b", "object_lock": 1}, "object_lock must be True or False"),
    ("create_bucket", {"bucket": "b", "object_ownership": "x"}, "object_ownership must be one of BucketOwnerEnforced"),
    ("head_bucket", {"bucket": "b", "acl": "private"}, "there is no option 'acl' here"),
)


async def test_what_makes_no_sense() -> None:
    async with S3Client("http://localhost:1", access_key_id="a", secret_access_key="b", max_attempts=1) as s3:
        for method, arguments, message in WRONG:
            with pytest.raises(UsageError, match=message):
                await getattr(s3, method)(**arguments)


async def test_lists_that_make_no_sense() -> None:
    async with S3Client("http://localhost:1", access_key_id="a", secret_access_key="b") as s3:
        for wrong in (0, -1, 10_001):
            with pytest.raises(UsageError, match="max_buckets must be from 1 to 10000"):
                s3.list_buckets(max_buckets=wrong)


async def test_a_host_that_does_not_name_its_bucket() -> None:
    """A request for another bucket would be one for the host's."""
    url = "http://127.0.0.1:1"
    async with S3Client(url, access_key_id="a", secret_access_key="b", addressing="virtual") as s3:
        with pytest.raises(UsageError, match="is one bucket's, which it does not name; leave bucket= out"):
            await s3.delete_bucket("bucket")


# --- a peer that says what other servers say: PUT of a bucket is a PutObject to it, and so on


def taken(code: str) -> Reply:
    return error(409, code)


def listed(*names: str, token: str = "") -> Reply:
    buckets = "".join(f"<Bucket><Name>{name}</Name></Bucket>" for name in names)
    more = f"<ContinuationToken>{token}</ContinuationToken>" if token else ""
    root = "ListAllMyBucketsResult"
    return Reply(body=f"<{root}><Buckets>{buckets}</Buckets>{more}</{root}>".encode())


async def test_ours_already() -> None:
    async with store() as (s3, tiny):
        tiny.on("PutObject", taken("BucketAlreadyOwnedByYou"))
        with pytest.raises(Conflict, match="409 BucketAlreadyOwnedByYou"):
            await s3.create_bucket("b")
        await s3.create_bucket("b", exist_ok=True)
        assert tiny.names == ["PutObject"] * 2


async def test_somebody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the list of ours: not taken, however much it may be used. Without that look it would be: the mutation."""
    async with store() as (s3, tiny):
        tiny.on("PutObject", taken("BucketAlreadyExists"))
        tiny.on("HeadObject", Reply())
        tiny.on("GetObject", listed("a", "bb"))
        with pytest.raises(Conflict, match="409 BucketAlreadyExists"):
            await s3.create_bucket("b", exist_ok=True)
        assert tiny.sent("GetObject")[0].query == {"max-buckets": "1000", "prefix": "b"}
        tiny.on("GetObject", listed("a", "b"))
        await s3.create_bucket("b", exist_ok=True)

        async def trusting(*_: object) -> bool:
            return True

        tiny.on("GetObject", listed("a", "bb"))
        monkeypatch.setattr(BucketMethods, "_is_ours", trusting)
        await s3.create_bucket("b", exist_ok=True)


async def test_whose_it_is_cannot_be_found_out() -> None:
    async with store() as (s3, tiny):
        tiny.on("PutObject", taken("BucketAlreadyExists"))
        tiny.on("GetObject", error(403, "AccessDenied"))
        with pytest.raises(Conflict) as caught:
            await s3.create_bucket("b", exist_ok=True)
        assert "whose it is was not found out: ListBuckets" in caught.value.__notes__[0]
        async with client(tiny.peer, url=f"{tiny.peer.url}/b") as one_bucket:
            with pytest.raises(Conflict) as caught:
                await one_bucket.create_bucket(exist_ok=True)
        assert "by a client whose URL is one bucket's" in caught.value.__notes__[0]


async def test_other_conflicts_are_conflicts() -> None:
    async with store() as (s3, tiny):
        tiny.on("PutObject", taken("OperationAborted"))
        with pytest.raises(Conflict, match="409 OperationAborted"):
            await s3.create_bucket("b", exist_ok=True)


async def test_an_answer_that_is_lost() -> None:
    """Asked again only where what the first attempt may have done is no error of the second.

    Also on a connection that was used before, where the transport may send a request twice by itself.
    """
    async with store() as (s3, tiny):
        tiny.on("HeadObject", Reply())
        assert await s3.bucket_exists("b")
        calls: tuple[tuple[str, Reply, Any, str], ...] = (
            ("PutObject", taken("BucketAlreadyOwnedByYou"), s3.create_bucket, "exist_ok"),
            ("DeleteObject", error(404, "NoSuchBucket"), s3.delete_bucket, "missing_ok"),
        )
        for operation, code, call, allowed in calls:
            tiny.on(operation, code)
            tiny.on(operation, RESET, nth=1)
            with pytest.raises(ConnectionFailed):
                await call("b")
            assert len(tiny.sent(operation)) == 1
            tiny.on(operation, RESET, nth=1)
            await call("b", **{allowed: True})
            assert len(tiny.sent(operation)) == 3


async def test_no_answer_at_all() -> None:
    async with store(max_attempts=2) as (s3, tiny):
        for operation in ("PutObject", "DeleteObject", "HeadObject"):
            tiny.on(operation, RESET)
        for call in (s3.create_bucket("b"), s3.delete_bucket("b", missing_ok=True), s3.bucket_exists("b")):
            with pytest.raises(ConnectionFailed):
                await call


@pytest.mark.parametrize(("status", "exists"), [(200, True), (404, False), (301, True), (307, True)])
async def test_existence(status: int, exists: bool) -> None:
    async with store() as (s3, tiny):
        tiny.on("HeadObject", Reply(status=status))
        assert await s3.bucket_exists("b") is exists


async def test_existence_that_is_not_told() -> None:
    async with store() as (s3, tiny):
        tiny.on("HeadObject", Reply(status=403))
        with pytest.raises(AccessDenied, match="HeadBucket b: 403"):
            await s3.bucket_exists("b")
        tiny.on("HeadObject", Reply(status=400))
        with pytest.raises(S3Error, match="HeadBucket b: 400"):
            await s3.bucket_exists("b")


async def test_what_head_tells_on_aws() -> None:
    async with store() as (s3, tiny):
        arn = "arn:aws:s3:::b"
        tiny.on("HeadObject", Reply(headers=(("x-amz-bucket-region", "eu-west-1"), ("x-amz-bucket-arn", arn))))
        found = await s3.head_bucket("b", expected_bucket_owner="123456789012")
        assert found == BucketInfo(name="b", region="eu-west-1", arn=arn)
        assert tiny.sent("HeadObject")[0].header("x-amz-expected-bucket-owner") == "123456789012"


async def test_pages_by_tokens() -> None:
    """Empty pages are passed over; a listing that is left is taken up again."""
    pages = {"": listed("a", "b", token="1"), "1": listed(token="2 +/="), "2 +/=": listed("c")}

    def page(request: Request) -> Reply:
        return pages[request.query.get("continuation-token", "")]

    async with store() as (s3, tiny):
        tiny.on("GetObject", page)
        buckets = s3.list_buckets(max_buckets=2)
        assert (await anext(buckets)).name == "a"
        assert len(tiny.calls) == 1
        assert await names_of(buckets) == ["b", "c"]
        assert await names_of(buckets) == []
        assert len(tiny.calls) == 3


async def test_a_circle_of_pages() -> None:
    async with store() as (s3, tiny):
        numbers = itertools.count()
        tiny.on("GetObject", lambda _: listed("a", token=str(next(numbers) % 5)))
        with pytest.raises(InvalidResponse, match="the same page is offered for ever"):
            await names_of(s3.list_buckets())
        assert len(tiny.calls) < 20


async def test_regions_of_aws() -> None:
    """By default the one of the endpoint, because it takes no other."""
    bodies: list[bytes] = []

    async def perform(operation: Any) -> None:
        bodies.append(operation.content)

    for host in ("s3.eu-central-1.amazonaws.com", "s3.us-east-1.amazonaws.com", "s3.amazonaws.com", "example.org"):
        async with S3Client(f"https://{host}", access_key_id="a", secret_access_key="b", region="x") as s3:
            object.__setattr__(s3, "_session", _Performing(s3._session, perform))
            await s3.create_bucket("b")
    assert [b"eu-central-1" in body for body in bodies] == [True, False, False, False]
    assert bodies[1:] == [b"", b"", b""]


class _Performing:
    """A session that sends nothing."""

    def __init__(self, session: Any, perform: Any) -> None:
        self._session = session
        self.perform = perform

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)
