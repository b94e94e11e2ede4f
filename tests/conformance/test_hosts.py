"""Where requests go is understood by real servers: found by settings, the bucket in the host or in the path.

RGW checks signatures, which are made for the host; moto knows AWS's hosts by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError

from handtruck import S3Client
from handtruck.credentials import StaticCredentials
from handtruck.errors import AccessDenied
from handtruck.protocol import hosts
from tests.conformance.support import Loopback, http_client, keys_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.servers.admin import Witness
    from tests.servers.model import Server

pytestmark = pytest.mark.anyio

ODD: Final = "a/../b//ü +%2F"


@pytest.fixture(autouse=True)
def _config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


def configure(tmp_path: Path, server: Server, settings: str) -> None:
    """Keys and settings in the default profile."""
    keys = f"aws_access_key_id = {server.access_key_id}\naws_secret_access_key = {server.secret_access_key}\n"
    (tmp_path / "config").write_text(f"[default]\nregion = {server.region}\n{keys}{settings}")


async def test_settings_lead_to_a_server(bucket: str, witness: Witness, server: Server, tmp_path: Path) -> None:
    """A config file is enough: keys, region and URL."""
    configure(tmp_path, server, f"services = here\n[services here]\ns3 =\n  endpoint_url = {server.url}\n")
    async with S3Client(f"s3://{bucket}/folder") as s3:
        assert (await s3.put("key", b"text")).status_code == 200
        assert witness.get(bucket, "folder/key") == b"text"
        assert (await s3.get("key")).content == b"text"
    async with S3Client() as s3:
        assert await keys_in(s3, bucket) == ["folder/key"]
        assert (await s3.delete(f"{bucket}/folder/key")).status_code == 204
    assert witness.keys(bucket) == []


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_settings_put_the_bucket_into_the_host(
    bucket: str, witness: Witness, server: Server, tmp_path: Path
) -> None:
    """The signature is made for the host and the path that are sent: RGW finds it right."""
    url = f"http://{server.virtual_host_suffix}"
    configure(tmp_path, server, f"endpoint_url = {url}\ns3 =\n  addressing_style = virtual\n")
    asked: list[str] = []

    async def note(request: httpx.Request) -> None:
        asked.append(request.headers["host"])

    async with http_client(transport=Loopback(), event_hooks={"request": [note]}) as http:
        s3 = S3Client(client=http)
        for key in ("key", "ä ö", ODD):
            assert (await s3.put(f"{bucket}/{key}", key)).status_code == 200
            assert witness.get(bucket, key) == key.encode()
            assert (await s3.get(f"{bucket}/{key}")).text == key
        assert await keys_in(s3, bucket) == sorted(["key", "ä ö", ODD])
        with pytest.raises(AccessDenied):
            await S3Client(client=http, credentials=StaticCredentials(server.access_key_id, "wrong")).stat(
                f"{bucket}/key"
            )
    assert set(asked) == {f"{bucket}.{server.virtual_host_suffix}"}


class AsIfAws(httpx.AsyncBaseTransport):
    """Sends everything to one server, and leaves the Host as it is."""

    def __init__(self, server: Server) -> None:
        self._to = urlsplit(server.url)
        self._inner = Loopback()
        self.hosts: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions.setdefault("target", request.url.raw_path)
        self.hosts.append(request.headers["host"])
        request.url = request.url.copy_with(scheme=self._to.scheme, port=self._to.port)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
async def aws(server: Server, anyio_backend: object) -> AsyncIterator[tuple[AsIfAws, httpx.AsyncClient]]:
    transport = AsIfAws(server)
    async with http_client(transport=transport) as http:
        yield transport, http


@pytest.mark.parametrize("server", ["moto"], indirect=True)
@pytest.mark.parametrize(
    ("settings", "host"),
    [
        ("", "{}.s3.us-east-1.amazonaws.com"),
        ("use_dualstack_endpoint = true\n", "{}.s3.dualstack.us-east-1.amazonaws.com"),
        ("use_fips_endpoint = true\n", "{}.s3-fips.us-east-1.amazonaws.com"),
        ("s3 =\n  use_accelerate_endpoint = true\n", "{}.s3-accelerate.amazonaws.com"),
    ],
    ids=["plain", "dual-stack", "FIPS", "accelerate"],
)
async def test_hosts_of_aws(
    settings: str,
    host: str,
    bucket: str,
    witness: Witness,
    server: Server,
    aws: tuple[AsIfAws, httpx.AsyncClient],
    tmp_path: Path,
) -> None:
    """The bucket in the host is the bucket, and the whole path is the key."""
    configure(tmp_path, server, settings)
    transport, http = aws
    s3 = S3Client(f"s3://{bucket}", client=http)
    assert (await s3.put("folder/ä ö", b"text")).status_code == 200
    assert witness.get(bucket, "folder/ä ö") == b"text"
    assert await keys_in(s3, "/") == ["folder/ä ö"]
    assert set(transport.hosts) == {host.format(bucket)}


@pytest.mark.parametrize("server", ["moto"], indirect=True)
async def test_a_bucket_with_dots_on_aws(
    bucket: str, witness: Witness, server: Server, aws: tuple[AsIfAws, httpx.AsyncClient], tmp_path: Path
) -> None:
    """It stays in the path, from its creation to its end."""
    configure(tmp_path, server, "")
    transport, http = aws
    s3, dotted = S3Client(client=http), f"{bucket}.with.dots"
    await s3.create_bucket(dotted)
    assert (await s3.put(f"{dotted}/key", b"text")).status_code == 200
    assert witness.get(dotted, "key") == b"text"
    await s3.delete(f"{dotted}/key")
    await s3.delete_bucket(dotted)
    assert set(transport.hosts) == {"s3.us-east-1.amazonaws.com"}


@pytest.mark.parametrize("server", ["rgw"], indirect=True)
async def test_mutation_the_bucket_stays_in_the_path(
    bucket: str, witness: Witness, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    route = hosts._Place.route
    monkeypatch.setattr(hosts._Place, "route", lambda place, path, base="": route(place, f"{place.cut}{path}", base))
    with pytest.raises(ClientError, match="NoSuchKey"):
        await test_settings_put_the_bucket_into_the_host(bucket, witness, server, tmp_path)
