"""Every Python snippet of the README, of docs/transfers.md, objects.md and identity.md runs as written, on every loop.

Only what no reader has is put in its place: hosts, keys and paths. A snippet that makes a client and sends nothing
is followed by a request, which proves that its credentials are the right ones.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import httpx
import pytest

from handtruck import S3Client
from handtruck.cli.local_server import local_server
from handtruck.credentials import MetadataCredentials
from tests.credentials import scripted_metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.servers.admin import Witness
    from tests.servers.model import Server

README: Final = Path(__file__).parent.parent / "README.md"
TRANSFERS: Final = README.parent / "docs" / "transfers.md"
OBJECTS: Final = re.findall(r"```python\n(.*?)```", (README.parent / "docs" / "objects.md").read_text(), re.DOTALL)
IDENTITY: Final = re.findall(r"```python\n(.*?)```", (README.parent / "docs" / "identity.md").read_text(), re.DOTALL)
SNIPPETS: Final = re.findall(r"```python\n(.*?)```", README.read_text() + TRANSFERS.read_text(), re.DOTALL)
QUICKSTART: Final = next(s for s in SNIPPETS if "anyio.run(" in s)
BIG: Final = bytes(range(256)) * (80 * 1024)  # 20 MiB: three parts

STAGED: Final[set[str]] = set()
SERVERS = pytest.mark.parametrize("server", ["rgw", "rclone"], indirect=True)


@dataclass
class World:
    """What the README takes for granted: servers with some buckets, a home directory, some files."""

    server: Server
    witness: Witness
    home: Path
    virtual_host: str

    def stage(self, snippet: str) -> str:
        """Put real hosts, keys and paths into a snippet."""
        server = self.server
        userinfo = f"{quote(server.access_key_id, safe='')}:{quote(server.secret_access_key, safe='')}@"
        address = server.url.removeprefix("http://")
        for old, new in {
            "http://bucket.your-s3-host": self.virtual_host,
            "key_id:access_key@your-s3-host": userinfo + address,
            "key:hack-me@your-s3-host": userinfo + address,
            "http://your-s3-host": server.url,
            "http://s3-url": server.url,
            "http://localhost:9000": server.url,
            "/path_to_file": str(self.home / "file"),
            "/home/user/bigfile.csv": str(self.home / "downloaded.csv"),
        }.items():
            snippet = snippet.replace(old, new)
        for quoted, secret in re.findall(r"""((?:access_key_id|secret_access_key)=)(["'][^"']+["'])""", snippet):
            value = server.access_key_id if quoted.startswith("access") else server.secret_access_key
            snippet = snippet.replace(quoted + secret, quoted + repr(value))
        return snippet


@pytest.fixture
def world(
    server: Server, witness: Witness, rclone_by_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> World:
    """All of it, for one test."""
    known = [bucket["Name"] for bucket in witness.client.list_buckets()["Buckets"]]
    for bucket in {"bucket", "test", "dump"}.difference(known):
        witness.create_bucket(bucket)
    witness.put("bucket", "key", b"value")
    witness.put("bucket", "prefix/1", b"one")
    if server.url not in STAGED:  # it is only read
        witness.put("dump", "bigfile.csv", BIG)
        STAGED.add(server.url)
    (tmp_path / "file").write_bytes(b"some text")
    (tmp_path / "big.bin").write_bytes(BIG)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "bigfile.csv").write_bytes(BIG)
    monkeypatch.chdir(tmp_path)
    _configure(server, tmp_path, monkeypatch)
    _resolve_localhost(monkeypatch)
    virtual_host = f"http://bucket.{server.virtual_host_suffix}" if server.virtual_host_suffix else rclone_by_host
    return World(server, witness, tmp_path, virtual_host)


@pytest.fixture(scope="session")
def rclone_by_host() -> Iterator[str]:
    """The URL, with its keys, of a bucket on an rclone that knows buckets in hosts only."""
    with local_server(virtual_hosts=True) as server:
        url = server.url.replace("127.0.0.1", f"{server.access_key_id}:{server.secret_access_key}@bucket.localhost")
        with pytest.MonkeyPatch.context() as monkeypatch:
            _resolve_localhost(monkeypatch)
            asyncio.run(_make_bucket(url))
        yield url


async def _make_bucket(url: str) -> None:
    async with S3Client(url, addressing="virtual") as s3:
        assert (await s3.put("", b"")).status_code == 200


def _configure(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        f"[default]\naws_access_key_id = {server.access_key_id}\naws_secret_access_key = {server.secret_access_key}\n"
    )
    (home / ".aws").mkdir()
    (home / ".aws" / "credentials").write_text(text)
    (home / ".my-custom-aws-credentials").write_text(text)
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE", raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)


def _resolve_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every name below localhost be this machine, as RFC 6761 has it; not every resolver knows."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name and name.endswith(".localhost") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.fixture
async def closing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The README's clients live as long as its programs; here they are closed after each snippet."""
    made: list[httpx.AsyncClient] = []

    class AsyncClient(httpx.AsyncClient):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(httpx, "AsyncClient", AsyncClient)
    yield
    for client in made:
        await client.aclose()


async def run(source: str, names: dict[str, Any]) -> None:
    """Run a program with ``await`` at its top level."""
    code = compile(source, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    result = eval(code, names)  # noqa: S307 - our own README
    if inspect.isawaitable(result):
        await result


async def gen() -> AsyncIterator[bytes]:
    """The README's own, from its first snippet."""
    yield b"some bytes"


def _title(snippet: str) -> str:
    words = re.findall(
        r"(\w+Credentials\(|merge_credentials\(|put_\w+\(|get_\w+\(|\.download\(|your-s3-host/bucket|_in_url)", snippet
    )
    return words[-1].strip("(") if words else "objects"


@pytest.mark.anyio
@SERVERS
@pytest.mark.usefixtures("closing")
@pytest.mark.parametrize(
    "snippet", [pytest.param(s, id=f"{n}-{_title(s)}") for n, s in enumerate(SNIPPETS) if s is not QUICKSTART]
)
async def test_snippet(world: World, snippet: str, anyio_backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if "bucket.your-s3-host" in snippet and anyio_backend[1].get("use_uvloop"):
        # libuv resolves by itself and knows nothing of our names below localhost: give it an address.
        snippet = snippet.replace('url="http://bucket.your-s3-host"', 'url="http://your-s3-host/bucket"')
    listed: list[object] = []
    names: dict[str, Any] = {"gen": gen, "do_work": listed.append}
    with ExitStack() as stack:
        if "MetadataCredentials" in snippet:
            monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
            monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", stack.enter_context(_metadata(world.server)))
        await run(world.stage(snippet), names)
        await _check_keys(world.server, names)
    _check_effects(snippet, world, listed)


async def _check_keys(server: Server, names: dict[str, Any]) -> None:
    clients = [value for value in names.values() if isinstance(value, S3Client)]
    assert clients
    if isinstance(source := names.get("credentials"), MetadataCredentials):
        # Temporary keys have a token, and the servers here know none: what would be signed with is looked at instead.
        found = await source.get()
        assert found is not None
        assert found.access_key_id == server.access_key_id
        return
    for client in clients:
        name = "key" if client.url.path != "/" else "bucket/key"
        assert (await client.head(name)).status_code in (200, 404)  # wrong keys are a 403


@contextmanager
def _metadata(server: Server) -> Iterator[str]:
    """An instance whose role has the keys of this server."""
    with scripted_metadata.serve() as service:
        document = {
            "Code": "Success",
            "AccessKeyId": server.access_key_id,
            "SecretAccessKey": server.secret_access_key,
            "Token": "a token",
            "Expiration": "2999-01-01T00:00:00Z",
        }
        service.answers["keys"] = (200, json.dumps(document).encode())
        yield service.url


def _check_effects(snippet: str, world: World, listed: list[object]) -> None:
    witness = world.witness
    if "do_work" in snippet:
        assert witness.get("bucket", "str") == b"hello, world"
        assert witness.get("bucket", "file") == b"some text"
        assert [[meta.key for meta in page] for page in listed] == [["prefix/1"]]  # type: ignore[attr-defined]
    if "put_file_multipart" in snippet:
        assert witness.get("test", "bigfile.csv") == BIG
        assert witness.head("test", "bigfile.csv")["ContentType"] == "text/csv"
    if "get_file_parallel" in snippet or '.download("dump/bigfile.csv"' in snippet:
        assert (world.home / "downloaded.csv").read_bytes() == BIG


@pytest.mark.anyio
@pytest.mark.parametrize("server", ["rgw"], indirect=True)
@pytest.mark.parametrize("snippet", OBJECTS, ids=range(len(OBJECTS)))
async def test_objects(snippet: str, world: World) -> None:
    """Those of docs/objects.md, on the server that knows most of it; each asserts for itself."""
    world.witness.client.delete_object(Bucket="bucket", Key="once")  # another loop's
    await run(world.stage(snippet), {})


@pytest.mark.anyio
@pytest.mark.parametrize("server", ["rgw"], indirect=True)
@pytest.mark.parametrize("snippet", IDENTITY, ids=range(len(IDENTITY)))
async def test_identity(snippet: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of docs/identity.md: the environment names the server, and a profile has its keys."""
    config = world.home / "config"
    keys = (
        f"aws_access_key_id = {world.server.access_key_id}\naws_secret_access_key = {world.server.secret_access_key}\n"
    )
    config.write_text(f"[default]\n{keys}[profile work]\n{keys}")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.server.url)
    await run(world.stage(snippet), {})


@SERVERS
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_quickstart(world: World, backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    program = world.stage(QUICKSTART)
    assert 'backend="trio"' in program
    exec(compile(program.replace('backend="trio"', f"backend={backend!r}"), "README.md", "exec"), {})  # noqa: S102
    assert (world.home / "copy.bin").read_bytes() == BIG
    printed = capsys.readouterr().out
    assert f"{len(BIG)} 3" in printed
    assert f"big.bin {len(BIG)}" in printed


def test_the_two_commands() -> None:
    text = README.read_text()
    assert "\nmake demo " in text
    assert "\nmake test " in text
