"""Where a new bucket's request goes, what it is signed for, which constraint it names: AWS takes what agrees."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from handtruck import S3Client
from handtruck.client.buckets import BucketMethods
from handtruck.credentials import StaticCredentials
from handtruck.errors import Conflict, S3Error, UsageError
from handtruck.models import Credentials
from tests.scripted import quick, xml

if TYPE_CHECKING:
    from collections.abc import Callable

    from handtruck.credentials import AbstractCredentials

pytestmark = pytest.mark.anyio

KEYS: Final = StaticCredentials("key-id", "secret")
GOES_RED: Final = (AssertionError, pytest.fail.Exception)
AWS: Final = "https://logs.s3.{}.amazonaws.com/"


class Everybody(httpx.AsyncBaseTransport):
    """Answers for every host: 200, or what is told; keeps what was sent."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None) -> None:
        self.answer = answer
        self.asked: list[httpx.Request] = []
        self.bodies: list[bytes] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.asked.append(request)
        self.bodies.append(b"".join([block async for block in request.stream]))
        return self.answer(request) or httpx.Response(200, headers={"ETag": '"e"'})

    @property
    def made(self) -> list[tuple[str, str, str | None]]:
        """Of each CreateBucket: the URL, the region that was signed for, the constraint."""
        return [
            (str(each.url), signed_for(each), constraint_of(body))
            for each, body in zip(self.asked, self.bodies, strict=True)
            if each.method == "PUT" and each.url.path in ("/", "/logs/")
        ]


def signed_for(request: httpx.Request) -> str:
    return str(request.headers["authorization"].split("/")[2])


def constraint_of(body: bytes) -> str | None:
    found = re.search(rb"<LocationConstraint>(.*)</LocationConstraint>", body)
    return found[1].decode() if found else None


class FromElsewhere(StaticCredentials):
    """Keys whose source says a region."""

    async def load(self, *, rejected: Credentials | None = None) -> Credentials:
        del rejected
        return Credentials(access_key_id="key-id", secret_access_key="secret", region="eu-west-1")


@pytest.fixture(params=[True, False], ids=["entered", "not entered"])
def entered(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize(
    ("url", "options", "environment", "region", "expected"),
    [
        (None, {}, {}, None, (AWS.format("us-east-1"), "us-east-1", None)),
        (None, {"region": "eu-west-1"}, {}, None, (AWS.format("eu-west-1"), "eu-west-1", "eu-west-1")),
        (
            None,
            {"region": "eu-west-1"},
            {"AWS_REGION": "us-west-2"},
            None,
            (AWS.format("eu-west-1"), "eu-west-1", "eu-west-1"),
        ),
        (None, {}, {"AWS_REGION": "eu-west-1"}, None, (AWS.format("eu-west-1"), "eu-west-1", "eu-west-1")),
        (None, {"credentials": FromElsewhere("a", "b")}, {}, None, (AWS.format("eu-west-1"), "eu-west-1", "eu-west-1")),
        # The call's region goes before the client's: to a host that takes it.
        (None, {}, {}, "us-west-2", (AWS.format("us-west-2"), "us-west-2", "us-west-2")),
        (None, {"region": "eu-west-1"}, {}, "us-west-2", (AWS.format("us-west-2"), "us-west-2", "us-west-2")),
        (None, {"region": "eu-west-1"}, {}, "us-east-1", (AWS.format("us-east-1"), "us-east-1", None)),
        (None, {"region": "eu-west-1"}, {}, "eu-west-1", (AWS.format("eu-west-1"), "eu-west-1", "eu-west-1")),
        (None, {}, {}, "EU", (AWS.format("eu-west-1"), "eu-west-1", "eu-west-1")),
        ("s3://logs", {}, {}, "us-west-2", (AWS.format("us-west-2"), "us-west-2", "us-west-2")),
        # Hosts of AWS's in a URL.
        ("https://s3.amazonaws.com", {}, {}, None, ("https://s3.amazonaws.com/logs/", "us-east-1", None)),
        (
            "https://s3.amazonaws.com",
            {"region": "eu-west-1"},
            {},
            None,
            ("https://s3.eu-west-1.amazonaws.com/logs/", "eu-west-1", "eu-west-1"),
        ),
        (
            "https://s3.eu-west-1.amazonaws.com",
            {},
            {"AWS_REGION": "us-west-2"},
            None,
            ("https://s3.eu-west-1.amazonaws.com/logs/", "eu-west-1", "eu-west-1"),
        ),
        (
            "https://s3.eu-west-1.amazonaws.com",
            {},
            {},
            "us-west-2",
            ("https://s3.us-west-2.amazonaws.com/logs/", "us-west-2", "us-west-2"),
        ),
        (
            None,
            {},
            {"AWS_ENDPOINT_URL": "https://s3.eu-west-1.amazonaws.com", "AWS_REGION": "us-west-2"},
            None,
            ("https://s3.eu-west-1.amazonaws.com/logs/", "eu-west-1", "eu-west-1"),
        ),
        # Other servers: what the caller says, or nothing; and it is no matter of the signature.
        (
            "http://ceph.example",
            {},
            {"AWS_REGION": "eu-west-1"},
            None,
            ("http://ceph.example/logs/", "us-east-1", None),
        ),
        (
            None,
            {},
            {"AWS_ENDPOINT_URL": "http://ceph.example", "AWS_REGION": "eu-west-1"},
            None,
            ("http://ceph.example/logs/", "eu-west-1", None),
        ),
        ("http://ceph.example", {}, {}, "zone", ("http://ceph.example/logs/", "us-east-1", "zone")),
        (
            "http://ceph.example",
            {"region": "eu-west-1"},
            {},
            None,
            ("http://ceph.example/logs/", "eu-west-1", None),
        ),
    ],
)
async def test_host_signature_and_constraint_agree(
    url: str | None,
    options: dict[str, Any],
    environment: dict[str, str],
    region: str | None,
    expected: tuple[str, str, str | None],
    entered: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether or not the settings had been read when it was asked for."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    keys: AbstractCredentials = options.get("credentials", KEYS)
    async with httpx.AsyncClient(transport=(everybody := Everybody())) as client:
        s3 = S3Client(url, client, **{**options, "credentials": keys})
        if entered:
            await s3.__aenter__()
        await s3.create_bucket("logs" if url != "s3://logs" else None, region=region)
    assert everybody.made == [expected]


def only_in_europe(request: httpx.Request) -> httpx.Response | None:
    """S3, of a bucket that is in eu-west-1."""
    if request.method == "HEAD" and signed_for(request) != "eu-west-1":
        return httpx.Response(301, headers={"x-amz-bucket-region": "eu-west-1"})
    return None


async def test_what_was_learned_of_another_bucket_is_forgotten() -> None:
    """Of one that was removed; and of one that somebody else may have removed."""
    for removed in (True, False):
        async with httpx.AsyncClient(transport=(aws := Everybody(only_in_europe))) as client:
            s3 = quick(S3Client(None, client, credentials=KEYS))
            await s3.head_bucket("logs")
            if removed:
                await s3.delete_bucket("logs")
                assert s3._session.learned.regions == {}
            await s3.create_bucket("logs", region="us-west-2")
            await s3.create_bucket("logs")
        assert aws.made == [
            (AWS.format("us-west-2"), "us-west-2", "us-west-2"),
            (AWS.format("us-east-1"), "us-east-1", None),
        ]


async def test_mutation_it_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    class Lasting(dict[Any, Any]):
        def pop(self, *_: object) -> None: ...

    monkeypatch.setattr("handtruck.protocol.corrections.Learned.__init__", _remembering(Lasting()))
    with pytest.raises(GOES_RED):
        await test_what_was_learned_of_another_bucket_is_forgotten()


def _remembering(regions: dict[Any, Any]) -> Any:
    from datetime import timedelta

    def init(self: Any) -> None:
        self.regions, self.skew, self.lasting = regions, timedelta(), None

    return init


async def test_a_new_bucket_is_asked_where_it_was_made() -> None:
    """Without another redirect; not where it was not made: it may be there already, in yet another region."""
    async with httpx.AsyncClient(transport=(aws := Everybody())) as client:
        s3 = S3Client(None, client, credentials=KEYS)
        await s3.create_bucket("logs", region="us-west-2")
        await s3.get("logs/key")
    assert str(aws.asked[1].url) == AWS.format("us-west-2") + "key"

    document = xml("Error", Code="BucketAlreadyOwnedByYou", Message="yours").body
    taken = Everybody(lambda request: httpx.Response(409, content=document) if request.method == "PUT" else None)
    async with httpx.AsyncClient(transport=taken) as client:
        s3 = S3Client(None, client, credentials=KEYS)
        with pytest.raises(Conflict):
            await s3.create_bucket("logs", region="us-west-2")
        await s3.create_bucket("logs", region="us-west-2", exist_ok=True)
        await s3.get("logs/key")
    assert [each.url.host for each in taken.asked] == [
        "logs.s3.us-west-2.amazonaws.com",
        "logs.s3.us-west-2.amazonaws.com",
        "logs.s3.us-east-1.amazonaws.com",
    ]


async def test_a_bucket_that_stays_is_not_forgotten() -> None:
    """A DeleteBucket that is refused has not made room for another."""
    document = xml("Error", Code="BucketNotEmpty", Message="full").body

    def answer(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(409, content=document) if request.method == "DELETE" else only_in_europe(request)

    async with httpx.AsyncClient(transport=Everybody(answer)) as client:
        s3 = quick(S3Client(None, client, credentials=KEYS))
        await s3.head_bucket("logs")
        with pytest.raises(S3Error, match="BucketNotEmpty"):
            await s3.delete_bucket("logs")
        assert s3._session.learned.regions == {"logs": "eu-west-1"}


async def test_regions_that_cannot_be() -> None:
    """Nothing is sent: keys end with their partition."""
    async with httpx.AsyncClient(transport=(aws := Everybody())) as client:
        for region, words in (("cn-north-1", "another partition"), ("a.b", "no region of AWS")):
            for url in (None, "https://s3.us-east-1.amazonaws.com"):
                with pytest.raises(UsageError, match=words):
                    await S3Client(url, client, credentials=KEYS).create_bucket("logs", region=region)
        await S3Client(None, client, anonymous=True).create_bucket("logs")
    assert len(aws.asked) == 1


async def test_mutation_the_host_is_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def said(_: object, __: object, wanted: str | None) -> str | None:
        return wanted

    monkeypatch.setattr(BucketMethods, "_settle", said)
    expected = AWS.format("us-west-2"), "us-west-2", "us-west-2"
    with pytest.raises(GOES_RED):
        await test_host_signature_and_constraint_agree(
            None, {}, {}, "us-west-2", expected, entered=True, monkeypatch=monkeypatch
        )
