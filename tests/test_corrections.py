"""What a refusal teaches: the bucket's region and the time, each once, and nobody else learns who we are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel
import httpx
import pytest

from handtruck import S3Client
from handtruck.credentials import StaticCredentials
from handtruck.errors import AccessDenied, S3Error
from handtruck.models import Credentials
from handtruck.protocol import corrections
from tests.scripted import Reply, Request, client, error, serve, xml

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

SCOPE: Final = re.compile(r"Credential=key-id/\d{8}/([^/]+)/s3/aws4_request")
GOES_RED: Final = (AssertionError, pytest.fail.Exception, S3Error)
KEYS: Final = StaticCredentials("key-id", "secret")
TRUE: Final = datetime(2026, 11, 23, 12, tzinfo=UTC)


def region_of(request: Request) -> str:
    found = SCOPE.search(request.header("authorization") or "")
    return found[1] if found else ""


def time_of(request: Request) -> datetime:
    return datetime.strptime(request.header("x-amz-date") or "", "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


def malformed(region: str, *headers: tuple[str, str]) -> Reply:
    """What S3, MinIO and Garage say to a signature for another region."""
    document = xml("Error", Code="AuthorizationHeaderMalformed", Message="wrong region", Region=region)
    return Reply(status=400, body=document.body, headers=headers)


def moved(status: int, code: str, *headers: tuple[str, str], **said: str) -> Reply:
    """What S3 says of a bucket that is elsewhere."""
    return Reply(status=status, body=xml("Error", Code=code, Message="elsewhere", **said).body, headers=headers)


class Regional:
    """A server that has buckets in a region, and answers those who sign for another."""

    def __init__(self, refusal: Callable[[Request], Reply], region: str = "eu-west-1") -> None:
        self.refusal = refusal
        self.region = region

    async def __call__(self, request: Request) -> Reply:
        await request.read()
        if region_of(request) != self.region:
            return self.refusal(request)
        return Reply(headers=(("ETag", '"e"'), ("x-amz-bucket-region", self.region)), body=b"here")


REFUSALS: Final = {
    "malformed, region in the document": lambda _: malformed("eu-west-1"),
    "malformed, region in the head": lambda _: malformed("", ("x-amz-bucket-region", "eu-west-1")),
    "301, region in the head": lambda _: moved(301, "PermanentRedirect", ("x-amz-bucket-region", "eu-west-1")),
    "301, a host in the document": lambda _: moved(
        301, "PermanentRedirect", Endpoint="bucket.s3.eu-west-1.amazonaws.com"
    ),
    "307, a host in Location": lambda _: moved(
        307, "TemporaryRedirect", ("Location", "https://bucket.s3-eu-west-1.amazonaws.com/key?x=1")
    ),
    "400, IllegalLocationConstraint": lambda _: moved(
        400, "IllegalLocationConstraintException", ("x-amz-bucket-region", "eu-west-1")
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_a_region_is_learned_once(refusal: Callable[[Request], Reply]) -> None:
    """The first request is signed anew; all others of the bucket are right at once; another one learns by itself."""
    async with serve(Regional(refusal)) as peer, client(peer) as s3:
        assert (await s3.get("bucket/key")).content == b"here"
        assert (await s3.put("bucket/key", b"x" * 100_000)).status_code == 200
        assert (await s3.get("other/key")).status_code == 200
        assert [region_of(each) for each in peer.requests] == [
            "us-east-1",
            "eu-west-1",
            "eu-west-1",
            "us-east-1",
            "eu-west-1",
        ]


@pytest.mark.parametrize("status", [301, 400])
async def test_a_head_learns_it_from_the_head(status: int) -> None:
    """There are no words: the answer's own header says it."""
    refusal = Reply(status=status, headers=(("x-amz-bucket-region", "eu-west-1"),))
    async with serve(Regional(lambda _: refusal)) as peer, client(peer) as s3:
        assert (await s3.stat("bucket/key")).etag == '"e"'
        assert len(peer.requests) == 2


async def test_a_head_that_is_refused_for_its_keys() -> None:
    """A 400 that names the region that was signed for: the keys may have ended, and newer ones are asked for."""
    asked: list[bool] = []

    class Source(StaticCredentials):
        async def load(self, *, rejected: Credentials | None = None) -> Credentials:
            asked.append(rejected is not None)
            number = asked.count(True)
            return Credentials(access_key_id="key-id", secret_access_key=f"s{number}", session_token=f"t{number}")

    async def handler(request: Request) -> Reply:
        ended = request.header("x-amz-security-token") == "t0"
        return Reply(status=400 if ended else 200, headers=(("x-amz-bucket-region", "us-east-1"), ("ETag", '"e"')))

    async with serve(handler) as peer, client(peer, credentials=Source()) as s3:
        assert (await s3.stat("bucket/key")).etag == '"e"'
    assert asked == [False, True]


async def test_a_body_is_sent_again_whole(tmp_path: Path) -> None:
    """The refusal may come before all of it was sent; and parts are signed anew."""
    file = tmp_path / "file"
    file.write_bytes(bytes(range(256)) * 4096)
    bodies: list[bytes] = []

    async def handler(request: Request) -> Reply:
        if region_of(request) != "eu-west-1":
            return Reply(status=301, headers=(("x-amz-bucket-region", "eu-west-1"),), early=True)
        bodies.append(await request.read())
        return Reply(headers=(("ETag", '"e"'),))

    async with serve(handler) as peer, client(peer) as s3:
        assert (await s3.put_file("bucket/key", file)).status_code == 200
    assert bodies == [file.read_bytes()]


async def test_many_at_once_learn_it_together() -> None:
    """Whoever was refused meanwhile signs anew with what the others found out."""
    async with serve(Regional(lambda _: malformed("eu-west-1"))) as peer, client(peer) as s3:
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(s3.get, f"bucket/{number}")
        assert len(peer.requests) <= 40
        assert sum(region_of(each) == "eu-west-1" for each in peer.requests) == 20


@pytest.mark.parametrize(
    "refusal",
    [
        malformed("us-east-1"),  # the one that was signed for
        malformed("x/../../evil"),
        malformed(""),
        moved(301, "PermanentRedirect", Endpoint="evil.example"),
        error(403, "AccessDenied"),
    ],
    ids=["the same", "no region", "none", "another host", "something else"],
)
async def test_what_teaches_nothing_is_the_answer(refusal: Reply) -> None:
    """It is given to the caller, and the request is not sent again."""
    async with serve(Regional(lambda _: refusal)) as peer, client(peer) as s3:
        assert (await s3.get("bucket/key")).status_code == refusal.status
        with pytest.raises(S3Error):
            await s3.stat("bucket/key")
        assert len(peer.requests) == 2


async def test_a_server_that_sends_round_in_circles() -> None:
    """Each request is corrected once."""
    other = {"us-east-1": "eu-west-1", "eu-west-1": "us-east-1"}

    async def handler(request: Request) -> Reply:
        return malformed(other[region_of(request)])

    async with serve(handler) as peer, client(peer) as s3:
        assert (await s3.get("bucket/key")).status_code == 400
        assert len(peer.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("through", ["own", "httpx"])
async def test_nobody_is_sent_to_another_host(status: int, through: str) -> None:
    """A redirect is not followed: the signature, and the session token, are for one host only."""

    async def elsewhere(_: Request) -> Reply:
        return Reply(body=b"welcome")

    async with serve(elsewhere) as stranger:
        target = f"{stranger.url}/bucket/key"

        async def handler(request: Request) -> Reply:
            await request.read()
            document = xml("Error", Code="TemporaryRedirect", Message="there", Endpoint=stranger.url.partition("//")[2])
            said = (("Location", target), ("x-amz-bucket-region", "eu-west-1"))
            return Reply(status=status, headers=said, body=document.body)

        async with httpx.AsyncClient(follow_redirects=True) as theirs, serve(handler) as peer:
            options: dict[str, Any] = {"client": theirs} if through == "httpx" else {}
            async with client(peer, session_token="token", **options) as s3:
                assert (await s3.get("bucket/key")).status_code == status
                assert (await s3.put("bucket/key", b"body")).status_code == status
        assert stranger.requests == []


class Punctual:
    """A server with a clock of its own that refuses what was signed more than 15 minutes off it."""

    def __init__(self, *, wordy: bool = True, dated: bool = True) -> None:
        self.wordy = wordy
        self.dated = dated

    async def __call__(self, request: Request) -> Reply:
        await request.read()
        date = (("Date", format_datetime(TRUE, usegmt=True)),) if self.dated else ()
        if abs(time_of(request) - TRUE) <= timedelta(minutes=15):
            return Reply(headers=(("ETag", '"e"'), *date), body=b"here")
        if not self.wordy:
            return Reply(status=403, headers=date)
        stamp = TRUE.isoformat().replace("+00:00", "Z")
        return moved(403, "RequestTimeTooSkewed", *date, ServerTime=stamp)


def wrong_by(s3: S3Client, off: timedelta) -> None:
    s3._session.clock = lambda: TRUE + off


@pytest.mark.parametrize("off", [timedelta(minutes=20), -timedelta(hours=7), timedelta(days=400)], ids=str)
@pytest.mark.parametrize("dated", [True, False])
async def test_a_wrong_clock_is_corrected_once(off: timedelta, dated: bool) -> None:
    """From Date, or the document; all further requests are signed with the right time."""
    async with serve(Punctual(dated=dated)) as peer, client(peer) as s3:
        wrong_by(s3, off)
        assert (await s3.get("bucket/key")).content == b"here"
        assert (await s3.put("bucket/key", b"body")).status_code == 200
        assert [abs(time_of(each) - TRUE) < timedelta(minutes=1) for each in peer.requests] == [False, True, True]
        url = await s3.presign("GET", "bucket/key")
        assert TRUE.strftime("X-Amz-Date=%Y%m%dT") in url


async def test_a_head_corrects_the_clock_by_its_date() -> None:
    """Its refusal has no words: Date is far off, so that may be why."""
    async with serve(Punctual(wordy=False)) as peer, client(peer) as s3:
        wrong_by(s3, timedelta(hours=1))
        assert (await s3.stat("bucket/key")).etag == '"e"'
        assert len(peer.requests) == 2


async def test_a_head_that_is_refused_for_another_reason() -> None:
    """The clock is right, within what S3 tolerates: a 403 is a 403."""

    async def handler(_: Request) -> Reply:
        return Reply(status=403, headers=(("Date", format_datetime(TRUE, usegmt=True)),))

    async with serve(handler) as peer, client(peer) as s3:
        wrong_by(s3, timedelta(minutes=4))
        with pytest.raises(AccessDenied):
            await s3.stat("bucket/key")
        assert len(peer.requests) == 1


async def test_a_clock_that_cannot_be_put_right() -> None:
    """The server says that the time is wrong, whatever is signed: once more, and then it is the answer."""

    async def handler(_: Request) -> Reply:
        return moved(403, "RequestTimeTooSkewed", ("Date", "nonsense"), ServerTime="2026-99-99")

    async with serve(handler) as peer, client(peer) as s3:
        assert (await s3.get("bucket/key")).status_code == 403
        assert len(peer.requests) == 1
    async with serve(partial(_late, [])) as peer, client(peer) as s3:
        assert (await s3.get("bucket/key")).status_code == 403
        assert len(peer.requests) == 2


async def _late(seen: list[int], _: Request) -> Reply:
    """Its clock runs away."""
    seen.append(1)
    there = TRUE + timedelta(hours=len(seen))
    return moved(403, "RequestTimeTooSkewed", ("Date", format_datetime(there, usegmt=True)))


async def test_many_heads_at_once_learn_the_time() -> None:
    """Whoever comes second compares the server's time with what was signed, not with what the first one learned."""
    async with serve(Punctual(wordy=False)) as peer, client(peer) as s3:
        wrong_by(s3, timedelta(hours=1))
        found: list[str | None] = []

        async def stat() -> None:
            found.append((await s3.stat("bucket/key")).etag)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(stat)
        assert found == ['"e"'] * 5
        assert s3._session.learned.skew == -timedelta(hours=1)


@pytest.mark.parametrize("told", [True, False])
async def test_a_time_that_does_not_help_is_not_learned(told: bool) -> None:
    """Someone's Date is wrong, and the refusal had another reason: the next URL is signed by our own clock."""
    there = TRUE + timedelta(hours=3)

    async def handler(_: Request) -> Reply:
        date = ("Date", format_datetime(there, usegmt=True))
        return moved(403, "RequestTimeTooSkewed", date) if told else Reply(status=403, headers=(date,))

    async with serve(handler) as peer, client(peer) as s3:
        wrong_by(s3, timedelta())
        assert (await (s3.get if told else s3.head)("bucket/key")).status_code == 403
        assert len(peer.requests) == 2
        assert s3._session.learned.skew == timedelta()
        assert TRUE.strftime("X-Amz-Date=%Y%m%dT%H%M") in await s3.presign("GET", "bucket/key")


async def test_a_time_that_nobody_can_mean() -> None:
    async def handler(_: Request) -> Reply:
        return moved(403, "RequestTimeTooSkewed", ServerTime="9999-12-31T23:59:59Z")

    async with serve(handler) as peer, client(peer) as s3:
        for _ in range(2):
            assert (await s3.get("bucket/key")).status_code == 403
        assert len(peer.requests) == 2


class Aws(httpx.AsyncBaseTransport):
    """Its hosts, all of them: ``answer`` says how one answers; None: with what was asked for."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response | None]) -> None:
        self.answer = answer
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        await anyio.lowlevel.checkpoint()
        return self.answer(request) or httpx.Response(200, headers={"ETag": '"e"'})


def elsewhere(home: dict[str, str]) -> Callable[[httpx.Request], httpx.Response | None]:
    """AWS's hosts: buckets by region; who asks at the wrong host, or signs for another region, is told."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        bucket = next(name for name in home if name in str(request.url))
        region, head = home[bucket], {"x-amz-bucket-region": home[bucket]}
        if f"/{region}/" not in request.headers["authorization"]:
            return httpx.Response(400, headers=head, content=malformed(region).body)
        return None if region in request.url.host else httpx.Response(301, headers=head)

    return answer


@pytest.mark.parametrize("host", ["s3.amazonaws.com", "s3.us-east-1.amazonaws.com"])
@pytest.mark.parametrize("region", ["eu-west-1", "", "ap-south-1"])
async def test_the_right_region_at_the_wrong_host(host: str, region: str) -> None:
    """That it is the region that was signed for does not mean that there is nothing to learn."""
    aws = Aws(elsewhere({"logs": "eu-west-1"}))
    url = f"https://{host}/logs"
    async with httpx.AsyncClient(transport=aws) as own, S3Client(url, own, credentials=KEYS, region=region) as s3:
        assert (await s3.get("key")).status_code == 200
        assert (await s3.get("key")).status_code == 200
    assert [each.url.host for each in aws.asked[1:]] == ["s3.eu-west-1.amazonaws.com"] * 2


async def test_a_bucket_is_followed_twice() -> None:
    """A signature for the host's region first, and then the bucket's."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.url.host == "s3.amazonaws.com" and "/us-east-1/" not in request.headers["authorization"]:
            return httpx.Response(400, content=malformed("us-east-1").body)
        if "eu-west-1" not in request.url.host:
            return httpx.Response(301, headers={"x-amz-bucket-region": "eu-west-1"})
        return None

    aws = Aws(answer)
    url = "https://s3.amazonaws.com/logs"
    async with httpx.AsyncClient(transport=aws) as own, S3Client(url, own, credentials=KEYS, region="eu-west-1") as s3:
        assert (await s3.get("key")).status_code == 200
    assert len(aws.asked) == 3


async def test_a_bucket_that_is_never_where_it_is_said_to_be() -> None:
    """Each answer names another region: there is an end to it."""
    names = iter(f"eu-west-{number}" for number in range(1, 100))
    aws = Aws(lambda _: httpx.Response(301, headers={"x-amz-bucket-region": next(names)}))
    async with httpx.AsyncClient(transport=aws) as own, S3Client(None, own, credentials=KEYS) as s3:
        assert (await s3.get("logs/key")).status_code == 301
    assert len(aws.asked) == 1 + corrections.MOVES


@pytest.mark.parametrize("named", ["{}", "{}/", "{}/key"])
@pytest.mark.parametrize("entered", [True, False])
async def test_each_bucket_is_followed_for_itself(named: str, entered: bool) -> None:
    """At AWS's hosts a name without a slash is a bucket's, and what is learned is that one's."""
    home = {"a-bucket": "eu-west-1", "c-bucket": "ap-south-1"}
    aws = Aws(elsewhere(home))
    found: dict[str, int] = {}
    async with httpx.AsyncClient(transport=aws) as own:
        s3 = S3Client(None, own, credentials=KEYS)
        if entered:
            await s3.__aenter__()

        async def head(bucket: str) -> None:
            found[bucket] = (await s3.head(named.format(bucket))).status_code

        async with anyio.create_task_group() as group:
            for bucket in home:
                group.start_soon(head, bucket)
        await s3.aclose()
    assert found == dict.fromkeys(home, 200)


async def test_one_asks_for_all() -> None:
    """The refusal says nothing of the region: one HeadBucket finds out, for all who wait."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method == "HEAD":
            return httpx.Response(301, headers={"x-amz-bucket-region": "eu-west-1"})
        return None if "eu-west-1" in request.url.host else httpx.Response(301)

    aws = Aws(answer)
    async with (
        httpx.AsyncClient(transport=aws) as own,
        S3Client(None, own, credentials=KEYS) as s3,
        anyio.create_task_group() as group,
    ):
        for number in range(5):
            group.start_soon(s3.get, f"logs/{number}")
    assert [each.method for each in aws.asked].count("HEAD") == 1
    assert len(aws.asked) == 11


async def test_region_keys_and_clock_in_one_request() -> None:
    """One correction does not use up another."""

    async def handler(request: Request) -> Reply:
        if abs(time_of(request) - TRUE) > timedelta(minutes=15):
            return moved(403, "RequestTimeTooSkewed", ServerTime=TRUE.isoformat())
        if region_of(request) != "eu-west-1":
            return malformed("eu-west-1")
        if len(peer.requests) == 3:
            return error(400, "ExpiredToken")
        return Reply(body=b"here")

    async with serve(handler) as peer, client(peer, session_token="token") as s3:
        wrong_by(s3, timedelta(hours=2))
        assert (await s3.get("bucket/key")).content == b"here"
        assert len(peer.requests) == 4


# Each of these must be seen

CHECKS: Final[dict[str, Callable[[], Awaitable[None]]]] = {
    "is_elsewhere": partial(test_a_region_is_learned_once, REFUSALS["malformed, region in the document"]),
    "region_in": partial(test_a_region_is_learned_once, REFUSALS["301, region in the head"]),
    "skew_in": partial(test_a_wrong_clock_is_corrected_once, timedelta(hours=1), True),
}


@pytest.mark.parametrize("name", CHECKS)
async def test_mutation_nothing_is_learned(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(f"handtruck._correcting.{name}", lambda *_: None)
    with pytest.raises(GOES_RED):
        await CHECKS[name]()


async def test_mutation_any_region_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrections, "_REGION", re.compile(".*"))
    with pytest.raises(GOES_RED):
        await test_what_teaches_nothing_is_the_answer(malformed("x/../../evil"))


async def test_mutation_redirects_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.transport import senders

    async def followed(self: senders.ClientSender, request: httpx.Request) -> httpx.Response:
        return await self._client.send(request, stream=True, follow_redirects=True)

    monkeypatch.setattr(senders.ClientSender, "send", followed)
    with pytest.raises(GOES_RED):
        await test_nobody_is_sent_to_another_host(307, "httpx")
