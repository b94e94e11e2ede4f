"""A client without a URL: where its requests go, by environment and config files; what is known before that."""

from __future__ import annotations

import pickle
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest

from handtruck import S3Client, SSECustomer
from handtruck.credentials import StaticCredentials
from handtruck.errors import UsageError
from tests.scripted import Peer, Reply, Request, quick, serve, xml

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from handtruck.protocol.address import Addressing

pytestmark = pytest.mark.anyio

KEYS: Final = StaticCredentials("key-id", "secret")
GOES_RED: Final = (AssertionError, pytest.fail.Exception, UsageError)


class Anybody(httpx.AsyncBaseTransport):
    """Answers for every host, and keeps whom was asked for what."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.asked.append(request)
        return self.answers.pop(0) if self.answers else httpx.Response(200, headers={"ETag": '"e"'})

    @property
    def urls(self) -> list[str]:
        return [f"{each.method} {each.url}" for each in self.asked]

    @property
    def regions(self) -> list[str]:
        return [each.headers["authorization"].split("/")[2] for each in self.asked]


@asynccontextmanager
async def asked(
    *arguments: str, answers: tuple[httpx.Response, ...] = (), **options: Any
) -> AsyncIterator[tuple[S3Client, Anybody]]:
    everybody = Anybody(*answers)
    options = {"credentials": KEYS, **options}
    url = arguments[0] if arguments else None
    async with httpx.AsyncClient(transport=everybody) as client, S3Client(url, client, **options) as s3:
        yield quick(s3), everybody


async def test_a_bucket_of_aws() -> None:
    """In the host, in the region of the environment or us-east-1; names may have a prefix."""
    async with asked("s3://logs") as (s3, aws):
        await s3.get("2026/a b")
        assert str(s3.url) == "s3://logs/"
    assert aws.urls == ["GET https://logs.s3.us-east-1.amazonaws.com/2026/a%20b"]
    async with asked("s3://logs/2026", region="eu-west-1") as (s3, aws):
        await s3.put("key", b"x")
        assert str(s3.url) == "s3://logs/2026/"
    assert aws.urls == ["PUT https://logs.s3.eu-west-1.amazonaws.com/2026/key"]
    assert aws.regions == ["eu-west-1"]


async def test_no_bucket_and_no_url() -> None:
    """The bucket is the name's first segment."""
    async with asked() as (s3, aws):
        await s3.get("logs/key")
        await s3.get("logs.with.dots/key")
        assert str(s3.url) == "s3:"
    assert aws.urls == [
        "GET https://logs.s3.us-east-1.amazonaws.com/key",
        "GET https://s3.us-east-1.amazonaws.com/logs.with.dots/key",
    ]
    async with asked(bucket="logs") as (s3, aws):
        await s3.get("key")
    assert aws.urls == ["GET https://logs.s3.us-east-1.amazonaws.com/key"]


async def test_the_environment_and_files_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read when the client is entered, or with its first request; not before."""
    config = tmp_path / "config"
    config.write_text("[profile there]\nregion = eu-north-1\ns3 =\n  addressing_style = path\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    async with httpx.AsyncClient(transport=(aws := Anybody())) as client:
        s3 = S3Client("s3://logs", client=client, credentials=KEYS)
        monkeypatch.setenv("AWS_PROFILE", "there")
        await s3.get("key")
        await S3Client("s3://logs", client=client, credentials=KEYS, addressing="virtual").get("key")
        monkeypatch.setenv("AWS_REGION", "eu-west-3")
        await S3Client("s3://logs", client=client, credentials=KEYS).get("key")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example:9000/base")
        await S3Client("s3://logs", client=client, credentials=KEYS).get("key")
        await S3Client("s3://logs", client=client, credentials=KEYS, addressing="virtual").get("key")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://other.example")
        await S3Client("s3://logs", client=client, credentials=KEYS).get("key")
        await S3Client("http://told.example/logs", client=client, credentials=KEYS).get("key")
    assert aws.urls == [
        "GET https://s3.eu-north-1.amazonaws.com/logs/key",
        "GET https://logs.s3.eu-north-1.amazonaws.com/key",
        "GET https://s3.eu-west-3.amazonaws.com/logs/key",
        "GET http://store.example:9000/base/logs/key",
        "GET http://logs.store.example:9000/base/key",
        "GET http://other.example/logs/key",
        "GET http://told.example/logs/key",
    ]


async def test_what_the_files_say_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told when the client is entered, before anything is sent; and with a first request."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "ftp://store")
    with pytest.raises(UsageError, match="AWS_ENDPOINT_URL"):
        async with asked("s3://logs"):
            pass
    async with httpx.AsyncClient(transport=(aws := Anybody())) as client:
        with pytest.raises(UsageError, match="AWS_ENDPOINT_URL"):
            await S3Client("s3://logs", client=client, credentials=KEYS).get("key")
    assert aws.asked == []
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    with pytest.raises(UsageError, match=r"there is no profile \[nobody\]"):
        async with asked("s3://logs", profile="nobody"):
            pass


async def test_a_region_that_is_learned_changes_the_host() -> None:
    """Of one bucket, for all further requests; a host that we made, not the one that the answer names."""
    moved = httpx.Response(301, headers={"x-amz-bucket-region": "eu-west-1", "Location": "https://evil.example/"})
    for arguments in (("s3://logs",), ("https://logs.s3.us-east-1.amazonaws.com",)):
        async with asked(*arguments, answers=(moved,)) as (s3, aws):
            await s3.get("key")
            await s3.get("other")
        assert aws.urls == [
            "GET https://logs.s3.us-east-1.amazonaws.com/key",
            "GET https://logs.s3.eu-west-1.amazonaws.com/key",
            "GET https://logs.s3.eu-west-1.amazonaws.com/other",
        ]
        assert aws.regions == ["us-east-1", "eu-west-1", "eu-west-1"]


async def test_a_region_that_has_to_be_asked_for() -> None:
    """The refusal does not say: HeadBucket does, and if that does not either, the refusal stands."""
    refusal = xml("Error", Code="PermanentRedirect", Message="elsewhere").body
    answers = httpx.Response(301, content=refusal), httpx.Response(403, headers={"x-amz-bucket-region": "eu-west-1"})
    async with asked("s3://logs", answers=answers) as (s3, aws):
        assert (await s3.get("key")).status_code == 200
    assert aws.urls == [
        "GET https://logs.s3.us-east-1.amazonaws.com/key",
        "HEAD https://logs.s3.us-east-1.amazonaws.com/",
        "GET https://logs.s3.eu-west-1.amazonaws.com/key",
    ]
    async with asked("s3://logs", answers=(httpx.Response(301, content=refusal), httpx.Response(403))) as (s3, aws):
        assert (await s3.get("key")).status_code == 301
    assert len(aws.asked) == 2


async def test_what_goes_with_aws_goes_with_it_unnamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checksum with what is written, from the first request on; not with a server of the environment's."""
    for entered in (True, False):
        async with httpx.AsyncClient(transport=(aws := Anybody())) as client:
            s3 = S3Client("s3://logs", client=client, credentials=KEYS)
            if entered:
                await s3.__aenter__()
            await s3.put("key", b"body")
            monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
            await S3Client("s3://logs", client=client, credentials=KEYS).put("key", b"body")
            monkeypatch.delenv("AWS_ENDPOINT_URL")
        assert ["x-amz-checksum-crc32" in each.headers for each in aws.asked] == [True, False]


async def test_a_key_is_not_told_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the settings lead to http, that is seen before the key is sent."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    async with httpx.AsyncClient(transport=(aws := Anybody())) as client:
        s3 = S3Client("s3://logs", client=client, credentials=KEYS)
        with pytest.raises(UsageError, match="in the clear"):
            await s3.get("key", sse=SSECustomer(bytes(32)))
        with pytest.raises(UsageError, match="in the clear"):
            await s3.get("key", sse=SSECustomer(bytes(32)))
    assert aws.asked == []


async def test_access_points_and_their_region() -> None:
    async with asked("s3://arn:aws:s3:eu-west-2:111122223333:accesspoint/logs", region="us-east-1") as (s3, aws):
        await s3.get("key")
    assert aws.urls == ["GET https://logs-111122223333.s3-accesspoint.eu-west-2.amazonaws.com/key"]
    assert aws.regions == ["eu-west-2"]


async def test_anonymous() -> None:
    """Nothing is signed, no source of keys is asked."""
    async with asked("s3://public", credentials=None, anonymous=True) as (s3, aws):
        assert (await s3.get("key")).status_code == 200
        with pytest.raises(UsageError, match="anonymous"):
            await s3.presign("GET", "key")
    sent = aws.asked[0].headers
    assert not [name for name in sent if name in ("authorization", "x-amz-date", "x-amz-security-token")]


async def test_presigned_urls_have_the_host() -> None:
    async with asked("s3://logs/2026", region="eu-west-1") as (s3, aws):
        url = await s3.presign("GET", "key")
        assert url.startswith("https://logs.s3.eu-west-1.amazonaws.com/2026/key?X-Amz-Algorithm=")
        form = await s3.presign_post("key")
        assert form.url == "https://logs.s3.eu-west-1.amazonaws.com/"
        assert form.fields["key"] == "2026/key"
    assert aws.asked == []


async def test_our_own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """The road is chosen with the first request: by the host that the settings name."""

    async def handler(request: Request) -> Reply:
        await request.read()
        return Reply(body=request.target.encode())

    async def go(peer: Peer) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", peer.url)
        async with S3Client("s3://logs/2026", access_key_id="key-id", secret_access_key="secret") as s3:
            assert (await s3.get("key")).content == b"/logs/2026/key"

    async with serve(handler) as peer:
        await go(peer)


def test_arguments_that_do_not_go_together() -> None:
    for wrong in (
        {"url": "s3://"},
        {"url": "s3://user:password@bucket"},
        {"url": "s3://logs", "bucket": "other"},
        {"url": "s3://logs", "access_key_id": "a", "secret_access_key": "b", "credentials": KEYS},
        {"credentials": KEYS, "anonymous": True},
        {"url": "http://a:b@host", "anonymous": True},
        {"access_key_id": "a"},
    ):
        with pytest.raises(UsageError) as caught:
            S3Client(**wrong)
        assert "password" not in str(caught.value).replace("a password", "")


@pytest.mark.parametrize("url", [None, "http://host", "http://host/logs", "http://logs.host", "s3://logs"])
def test_what_is_no_buckets_name(url: str | None) -> None:
    """An empty variable, say: the first segment of a key would be the bucket then, and a PUT would make one."""
    wrong: tuple[tuple[Any, str], ...] = (
        ("", "bucket='' names none"),
        ("..", r"'\.\.' is no bucket's name"),
        ("a/b", "'a/b' is no bucket's name"),
        ("x?y#z", "is no bucket's name"),
        ("logs\n", "is no bucket's name"),
        ("\ud800", "is no bucket's name"),
        ("arn:aws:s3:::logs", "no ARN of an access point"),
        (7, "bucket must be text, not int"),
    )
    ways: tuple[Addressing, ...] = ("auto", "path", "virtual")
    for bucket, words in wrong:
        for addressing in ways:
            with pytest.raises(UsageError, match=words):
                S3Client(url, credentials=KEYS, bucket=bucket, addressing=addressing)
    nonsense: Any = "nonsense"
    with pytest.raises(UsageError, match="addressing must be 'auto', 'path' or 'virtual', not 'nonsense'"):
        S3Client(url, credentials=KEYS, addressing=nonsense)


async def test_names_that_stay_possible() -> None:
    """Some are none of AWS's; servers have them."""
    point = "arn:aws:s3:us-east-1:111122223333:accesspoint"
    for bucket, url in (
        ("a.b", "https://s3.us-east-1.amazonaws.com/a.b/key"),
        ("My_Bucket", "https://s3.us-east-1.amazonaws.com/My_Bucket/key"),
        ("tenant:logs", "https://s3.us-east-1.amazonaws.com/tenant%3Alogs/key"),
        ("logs-x-s3alias", "https://logs-x-s3alias.s3.us-east-1.amazonaws.com/key"),
        ("..b", "https://s3.us-east-1.amazonaws.com/..b/key"),
        (f"{point}/logs", "https://logs-111122223333.s3-accesspoint.us-east-1.amazonaws.com/key"),
        (f"{point}:logs", "https://logs-111122223333.s3-accesspoint.us-east-1.amazonaws.com/key"),
    ):
        async with asked(bucket=bucket) as (s3, aws):
            await s3.get("key")
        assert aws.urls == [f"GET {url}"]
    zonal = "logs--use1-az4--x-s3"
    async with asked("https://host", bucket=zonal, addressing="virtual") as (s3, _):
        assert s3._session.endpoint.bucket == zonal


async def test_a_host_of_the_environments_names_its_region(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one in the URL does, before other settings; the caller's word goes before both."""
    host = "https://s3.eu-west-1.amazonaws.com"
    nothing: dict[str, str] = {}
    for settings in (nothing, {"AWS_REGION": "us-west-2"}):
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(name, value)
            for region, said in (("", "eu-west-1"), ("us-west-1", "us-west-1")):
                async with asked(f"{host}/logs", region=region) as (s3, _):
                    in_the_url = await s3.presign("GET", "key")
                patch.setenv("AWS_ENDPOINT_URL", host)
                async with asked("s3://logs", region=region) as (s3, _):
                    assert f"%2F{said}%2Fs3%2Faws4_request" in await s3.presign("GET", "key")
                patch.delenv("AWS_ENDPOINT_URL")
                assert f"%2F{said}%2Fs3%2Faws4_request" in in_the_url
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    async with asked("s3://logs") as (s3, aws):
        await s3.get("key")
    assert aws.regions == ["us-west-2"]


@pytest.mark.parametrize("url", ["s3://logs/\ud800", "s3://1.2.3.400", f"s3://logs/{'long' * 20_000}"])
def test_a_prefix_that_no_url_has(url: str) -> None:
    """The client could not even be shown."""
    with pytest.raises(UsageError) as caught:
        S3Client(url, credentials=KEYS)
    assert url not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://logs/ü\x01", "s3://logs/%C3%BC%01/"),
        ("s3://logs/2026\n", "s3://logs/2026%0A/"),
        ("s3://logs/caf\udce9", "s3://logs/caf%E9/"),
        ("s3://logs/a b?c#d", "s3://logs/a%20b%3Fc%23d/"),
        ("s3://logs/../x", "s3://logs/%2E%2E/x/"),
        ("s3://My.Bucket", "s3://My.Bucket/"),
        ("s3://a..b", "s3://a..b/"),
        ("s3://xn--foo", "s3://xn--foo/"),
        ("s3://1.2.3.4", "s3://1.2.3.4/"),
    ],
)
def test_a_client_can_be_shown(url: str, shown: str) -> None:
    """Whatever its keys begin with; and where it is, as it is written."""
    s3 = S3Client(url, credentials=KEYS)
    assert repr(s3) == f"<S3Client {shown}>"
    assert str(s3.url).lower() == shown.lower()


def test_a_client_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="make another there"):
        pickle.dumps(S3Client("s3://logs", credentials=KEYS))


async def test_mutation_settings_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from handtruck.credentials.settings import Settings

    async def nothing(**_: object) -> Settings:
        return Settings()

    monkeypatch.setattr("handtruck.client.endpoints.read_settings", nothing)
    with pytest.raises(GOES_RED):
        await test_what_goes_with_aws_goes_with_it_unnamed(monkeypatch)


async def test_mutation_privacy_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck._session.Session._check_privacy", lambda *_: None)
    with pytest.raises(GOES_RED):
        await test_a_key_is_not_told_in_the_clear(monkeypatch)


async def test_no_answer_leads_out_of_the_partition() -> None:
    """Its keys end there; and what is no region is not believed."""
    for region in ("cn-north-1", "us-gov-west-1", "x_y", "evil.example"):
        moved = httpx.Response(301, headers={"x-amz-bucket-region": region})
        for arguments in (("s3://logs",), ("https://logs.s3.us-east-1.amazonaws.com",)):
            async with asked(*arguments, answers=(moved,)) as (s3, aws):
                assert (await s3.get("key")).status_code == 301
            assert {each.url.host for each in aws.asked} == {"logs.s3.us-east-1.amazonaws.com"}


async def test_access_points_in_names() -> None:
    """With a slash, as AWS writes them; as the source of a copy, too."""
    arn = "arn:aws:s3:us-east-1:111122223333:accesspoint/logs"
    etag = httpx.Response(200, content=b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
    found = httpx.Response(200, headers={"ETag": '"e"', "Content-Length": "3"})
    async with asked(answers=(httpx.Response(200), found, etag)) as (s3, aws):
        await s3.get(f"{arn}/2026/11")
        await s3.copy(f"{arn}/2026/11", "other/key")
    assert aws.urls[0] == "GET https://logs-111122223333.s3-accesspoint.us-east-1.amazonaws.com/2026/11"
    assert aws.asked[-1].headers["x-amz-copy-source"] == f"{arn}/object/2026/11".replace(":", "%3A")


SERVERS: Final[dict[str, tuple[int, Callable[[httpx.Request], bool]]]] = {
    "https://s3.eu-west-1.amazonaws.com": (1, lambda one: one.headers["x-amz-sdk-checksum-algorithm"] == "CRC32"),
    "https://fra1.digitaloceanspaces.com": (1, lambda one: one.headers["if-match"] == "e"),
    "https://gateway.storjshare.io": (9 << 20, lambda one: one.method == "PUT"),  # in one, where parts are larger
}


@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("url", SERVERS)
async def test_a_writer_knows_its_server(url: str, entered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it is told before anything was awaited holds for the server that is found."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    size, check = SERVERS[url]
    everybody = Anybody()
    async with httpx.AsyncClient(transport=everybody) as own:
        s3 = quick(S3Client("s3://logs", own, credentials=KEYS))
        if entered:
            await s3.__aenter__()
        async with s3.open("key", "wb", if_match='"e"') as f:
            await f.write(bytes(size))
    assert check(everybody.asked[0])
