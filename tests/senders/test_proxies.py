"""Proxies are httpx's business: named by ``proxy=``, or by the environment when the first request is made."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import pytest

from handtruck import S3Client
from handtruck._body import NO_BODY
from handtruck.errors import ConnectionFailed, UsageError
from handtruck.transport.own import OwnSender, proxy_of
from handtruck.transport.senders import ClientSender, DirectSender, Draft, _Direct
from tests.scripted import Reply, TinyS3, client, quick, serve
from tests.senders.support import BODY, GOES_RED, PART, http_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.scripted import Peer, Request

pytestmark = pytest.mark.usefixtures("no_proxies")

ELSEWHERE: Final = "s3.invalid"
"""Does not resolve: whoever gets there, went by the proxy."""


@dataclass
class Proxy:
    """A forward proxy with a small S3 behind it, which refuses to be a tunnel."""

    tiny: TinyS3 = field(default_factory=TinyS3)
    asked: list[str] = field(default_factory=list)
    heads: list[Request] = field(default_factory=list)
    tunnel: Reply = field(default_factory=lambda: Reply(status=403, then="close"))

    async def __call__(self, request: Request) -> Reply:
        self.asked.append(f"{request.method} {request.target}")
        self.heads.append(request)
        if request.method == "CONNECT":
            return self.tunnel
        scheme, _, rest = request.target.partition("://")
        assert scheme == "http", f"no absolute form: {request.line!r}"
        request.line = b"%b /%b HTTP/1.1" % (request.method.encode(), rest.partition("/")[2].encode())
        return await self.tiny(request)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Proxy, Peer]]:
    proxy = Proxy()
    async with serve(proxy) as peer:
        yield proxy, peer


def s3_of(url: str, **options: Any) -> S3Client:
    return quick(S3Client(url, access_key_id="key-id", secret_access_key="secret", **options))


def _by_environment(name: str) -> Callable[[pytest.MonkeyPatch, str], dict[str, Any]]:
    def set_it(monkeypatch: pytest.MonkeyPatch, url: str) -> dict[str, Any]:
        monkeypatch.setenv(name, url)
        return {}

    return set_it


WAYS: Final[dict[str, Callable[[pytest.MonkeyPatch, str], dict[str, Any]]]] = {
    "proxy=": lambda _, url: {"proxy": url},
    "proxy=URL": lambda _, url: {"proxy": httpx.URL(url)},
    "proxy=Proxy": lambda _, url: {"proxy": httpx.Proxy(url)},
    "HTTP_PROXY": _by_environment("HTTP_PROXY"),
    "http_proxy": _by_environment("http_proxy"),
    "ALL_PROXY": _by_environment("ALL_PROXY"),
}


# -- Through one -------------------------------------------------------------------------------------------------------


async def check_everything_goes_through(way: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    async with serving() as (proxy, peer):
        options = WAYS[way](monkeypatch, peer.url)
        async with s3_of(f"http://{ELSEWHERE}:9000", **options) as s3:
            await s3.put("b/k", BODY)
            assert (await s3.get("b/k")).content == BODY
            await s3.put_multipart("b/parts", BODY, part_size=PART)
            await s3.get_file_parallel("b/parts", folder / "target", range_step=PART)
            assert (folder / "target").read_bytes() == BODY
            assert [[item.key for item in page] async for page in s3.list_objects_v2("b")] == [["k", "parts"]]
        assert proxy.asked[:2] == [f"{method} http://{ELSEWHERE}:9000/b/k" for method in ("PUT", "GET")]
        assert all(f" http://{ELSEWHERE}:9000/b" in each for each in proxy.asked)
        assert {request.header("host") for request in proxy.heads} == {f"{ELSEWHERE}:9000"}
        assert len(proxy.asked) == len(proxy.tiny.calls) == 13
        await peer.deserted()


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_everything_goes_through(way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    await check_everything_goes_through(way, monkeypatch, tmp_path)


@pytest.mark.anyio
@pytest.mark.parametrize("way", WAYS)
async def test_mutation_a_proxy_that_is_passed_by(way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("handtruck.transport.own.proxy_of", lambda _: None)
    init = S3Client.__init__
    monkeypatch.setattr(S3Client, "__init__", lambda self, url, **rest: init(self, url, **{**rest, "proxy": None}))
    with pytest.raises(ConnectionFailed, match=ELSEWHERE):
        await check_everything_goes_through(way, monkeypatch, tmp_path)


KEYS: Final = ("a//b", "%2e%2e", "a b", "ü", "q?x=1#y")


@pytest.mark.anyio
async def test_keys_arrive_as_they_are() -> None:
    """A proxy needs the whole URL, byte for byte as well."""
    async with serving() as (proxy, peer), s3_of(f"http://{ELSEWHERE}", proxy=peer.url) as s3:
        for key in KEYS:
            await s3.put(f"b/{key}", key.encode())
        assert proxy.asked == [f"PUT http://{ELSEWHERE}/b/{quote(key)}" for key in KEYS]
        assert proxy.tiny.objects.keys() == {f"b/{key}" for key in KEYS}


async def check_folded_keys_arrive() -> None:
    async with serving() as (proxy, peer), s3_of(f"http://{ELSEWHERE}", proxy=peer.url) as s3:
        assert (await s3.put("b/a/../b", b"data")).is_success
        assert proxy.asked == [f"PUT http://{ELSEWHERE}/b/a/../b"]
        assert proxy.tiny.objects.keys() == {"b/a/../b"}


@pytest.mark.anyio
async def test_keys_that_httpx_folds_arrive_as_they_are() -> None:
    """What httpcore sends in place of its own target must be the whole URL, too."""
    await check_folded_keys_arrive()


@pytest.mark.anyio
async def test_mutation_targets_as_for_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    direct = partial(ClientSender, owned=True)
    monkeypatch.setattr("handtruck.transport.own.ClientSender", lambda http, **_: direct(http))
    with pytest.raises((*GOES_RED, ExceptionGroup)):
        await check_folded_keys_arrive()


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["proxy=", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("status", [403, 407, 502])
async def test_https_asks_for_a_tunnel(way: str, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, it is a road that failed, whatever the proxy's status: S3 has said nothing."""
    async with serving() as (proxy, peer):
        proxy.tunnel = Reply(status=status, body=b"no", then="close")
        options = WAYS[way](monkeypatch, peer.url) if way in WAYS else _by_environment(way)(monkeypatch, peer.url)
        async with s3_of(f"https://{ELSEWHERE}", max_attempts=2, **options) as s3:
            with pytest.raises(ConnectionFailed, match=rf"GetObject b/k at s3\.invalid: {status}") as caught:
                await s3.get("b/k")
        assert proxy.asked == [f"CONNECT {ELSEWHERE}:443"] * 2
        assert (caught.value.sent, caught.value.attempts) == (False, 2)
        assert all(request.header("authorization") is None for request in proxy.heads)


@pytest.mark.anyio
async def test_a_proxy_that_is_not_there() -> None:
    async with serving() as (_, peer):
        url = peer.url.replace("://", "://user:hush@")
    async with s3_of(f"http://{ELSEWHERE}", proxy=url) as s3:
        with pytest.raises(ConnectionFailed, match=r"GetObject b/k at s3\.invalid: .*refused") as caught:
            await s3.get("b/k")
        assert caught.value.sent is False
        assert "hush" not in f"{caught.value!r}{s3!r}{s3._session!r}"


@pytest.mark.anyio
async def test_its_user_and_password_go_to_it() -> None:
    async with serving() as (proxy, peer):
        async with s3_of(f"http://{ELSEWHERE}", proxy=peer.url.replace("://", "://user:hush@")) as s3:
            await s3.get("b/k")
        assert proxy.heads[0].header("proxy-authorization") == "Basic dXNlcjpodXNo"
        assert (proxy.heads[0].header("authorization") or "").startswith("AWS4-HMAC-SHA256 ")


# -- Past one ----------------------------------------------------------------------------------------------------------


async def check_no_proxy_goes_direct(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (proxy, peer), serve(Reply(body=b"direct")) as s3_peer, client(s3_peer) as s3:
        monkeypatch.setenv("HTTP_PROXY", peer.url)
        monkeypatch.setenv("NO_PROXY", no_proxy.format(port=s3_peer.url.rpartition(":")[2]))
        assert (await s3.get("b/k")).content == b"direct"
        assert proxy.asked == []
        sender: Any = s3._session.sender
        assert [type(each) for each in sender._senders.values()] == [DirectSender]


NOT_BY_PROXY: Final = ("127.0.0.1", "*", "example.com, 127.0.0.1", "127.0.0.1:{port}")


@pytest.mark.anyio
@pytest.mark.parametrize("no_proxy", NOT_BY_PROXY)
async def test_no_proxy_goes_direct(no_proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_no_proxy_goes_direct(no_proxy, monkeypatch)


async def check_each_host_is_looked_at(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The endpoint's hosts are many (buckets, regions): of each it is asked whether it goes by the proxy."""
    hosts = {"inside": "direct", "outside": "by proxy"}
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "inside.invalid")
    sender = OwnSender(max_connections=2)
    roads: dict[str, str] = {}
    for host in sorted(hosts, key=lambda host: host != first):
        for _ in range(2):
            prepared = await sender.prepare(draft_for(f"http://{host}.invalid"))
            assert hosts[host] == roads.setdefault(host, "direct" if isinstance(prepared, _Direct) else "by proxy")
    assert len(sender._senders) == 2
    await sender.aclose()
    with pytest.raises(UsageError, match="closed"):
        await sender.prepare(draft_for("http://inside.invalid"))


def draft_for(origin: str) -> Draft:
    return Draft(
        method="GET",
        origin=origin,
        target="/",
        headers=[],
        body=NO_BODY,
        timeout=None,
        extensions=None,
        idempotent=True,
    )


@pytest.mark.anyio
@pytest.mark.parametrize("first", ["inside", "outside"])
async def test_each_host_is_looked_at(first: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await check_each_host_is_looked_at(first, monkeypatch)


@pytest.mark.anyio
async def test_mutation_the_first_host_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OwnSender, "_road", lambda *_: (None, False))
    with pytest.raises(GOES_RED):
        await check_each_host_is_looked_at("inside", monkeypatch)


@pytest.mark.anyio
async def test_what_is_remembered_of_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transport.own._MOST_ORIGINS", 3)
    sender = OwnSender(max_connections=2)
    for number in range(10):
        await sender.prepare(draft_for(f"http://host-{number}.invalid"))
    assert (len(sender._known), len(sender._senders)) == (1, 1)
    await sender.aclose()


@pytest.mark.anyio
async def test_mutation_no_proxy_that_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handtruck.transport.own.proxy_bypass", lambda _: False)
    with pytest.raises(GOES_RED):
        await check_no_proxy_goes_direct("127.0.0.1", monkeypatch)


@pytest.mark.anyio
async def test_no_proxy_for_others_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (proxy, peer):
        monkeypatch.setenv("HTTP_PROXY", peer.url)
        monkeypatch.setenv("NO_PROXY", "other.invalid, 10.0.0.1, invalid.example")
        async with s3_of(f"http://{ELSEWHERE}") as s3:
            assert (await s3.get("b/k")).status_code == 404
            sender: Any = s3._session.sender
            assert [type(each) for each in sender._senders.values()] == [ClientSender]
        assert proxy.asked == [f"GET http://{ELSEWHERE}/b/k"]


@pytest.mark.anyio
async def test_an_explicit_one_counts_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (proxy, peer), serve(Reply()) as other:
        monkeypatch.setenv("HTTP_PROXY", other.url)
        monkeypatch.setenv("NO_PROXY", "*")
        async with s3_of(f"http://{ELSEWHERE}", proxy=peer.url) as s3:
            await s3.get("b/k")
        assert (len(proxy.asked), len(other.requests)) == (1, 0)


# -- When --------------------------------------------------------------------------------------------------------------


async def check_the_first_request_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving() as (proxy, peer), s3_of(f"http://{ELSEWHERE}") as s3:
        monkeypatch.setenv("HTTP_PROXY", peer.url)
        await s3.get("b/k")
        monkeypatch.delenv("HTTP_PROXY")
        await s3.get("b/k")
        assert len(proxy.asked) == 2


@pytest.mark.anyio
async def test_the_first_request_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_the_first_request_decides(monkeypatch)


@pytest.mark.anyio
async def test_mutation_the_constructor_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    init = S3Client.__init__

    def early(self: S3Client, url: str, **options: Any) -> None:
        init(self, url, **options)
        found = proxy_of(url)
        monkeypatch.setattr("handtruck.transport.own.proxy_of", lambda _: found)

    monkeypatch.setattr(S3Client, "__init__", early)
    with pytest.raises(ConnectionFailed, match=ELSEWHERE):
        await check_the_first_request_decides(monkeypatch)


class Watched(dict[str, str]):
    """An environment that notes what is read of it."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.read: list[str] = []

    def __getitem__(self, name: str) -> str:
        self.read.append(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.read.append(name)
        return super().get(name, default)

    def items(self) -> Any:
        self.read.append("*")
        return super().items()

    def __contains__(self, name: object) -> bool:
        self.read.append(str(name))
        return super().__contains__(name)

    def __iter__(self) -> Any:
        self.read.append("*")
        return super().__iter__()


async def check_nothing_is_read_before_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(os.environ)
    async with serve(Reply()) as peer:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", watched)
            async with client(peer) as s3:
                repr(s3)
                s3.list_objects_v2("b")
                assert watched.read == []
                await s3.get("b/k")
                assert "*" in watched.read
            watched.read.clear()
            async with client(peer, proxy="http://127.0.0.1:1"):
                assert watched.read == []


@pytest.mark.anyio
async def test_nothing_is_read_before_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    await check_nothing_is_read_before_the_first_request(monkeypatch)


@pytest.mark.anyio
async def test_mutation_a_constructor_that_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    init = S3Client.__init__

    def early(self: S3Client, url: str, **options: Any) -> None:
        init(self, url, **options)
        proxy_of(url)

    monkeypatch.setattr(S3Client, "__init__", early)
    with pytest.raises(GOES_RED):
        await check_nothing_is_read_before_the_first_request(monkeypatch)


# -- What makes no sense -----------------------------------------------------------------------------------------------


def test_a_proxy_for_somebody_elses_client_is_refused() -> None:
    with pytest.raises(UsageError, match=r"give proxy= to the httpx client"):
        s3_of("http://localhost", client=http_client(httpx), proxy="http://localhost:3128")


UNUSABLE: Final = ("socks5://127.0.0.1:1080", "ftp://127.0.0.1:21", "http://127.0.0.1:nine")


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["proxy=", "HTTP_PROXY"])
@pytest.mark.parametrize("url", UNUSABLE)
async def test_a_proxy_that_cannot_be_used_is_named(url: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SOCKS needs a package that we do not ask for; where it is missing, that is said in our words."""
    monkeypatch.setitem(sys.modules, "socksio", None)
    url = url.replace("://", "://user:hush@")
    async with serve(Reply()) as peer:
        with pytest.raises(UsageError, match="proxy") as caught:
            async with client(peer, **WAYS[how](monkeypatch, url)) as s3:
                await s3.get("b/k")
        assert "hush" not in str(caught.value)
        assert peer.connections == 0
