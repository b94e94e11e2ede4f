"""What the benchmarks talk to: nginx, which costs nearly nothing, and Ceph's gateway, which is a real S3 server.

Both keep everything in memory, listen on loopback only and are gone when the block ends.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE: Final = Path(__file__).resolve().parent
BUCKET: Final = "bench"
PAGES: Final = 100
KEYS_A_PAGE: Final = 1000
NGINX_PACKAGE: Final = "nginx"
_ETAG: Final = "d41d8cd98f00b204e9800998ecf8427e"
_NAMESPACE: Final = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_XML: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_START_WITHIN: Final = 10.0  # seconds


class NotInstalled(Exception):
    """A server's programs are not on this machine; says how to get them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A running server.

    ``ca`` is the certificate that signed its own, if it speaks https. ``pid`` is the process whose processor time is
    the server's; ``parts_log`` has a line for each part that was received, its request's length in bytes.
    """

    name: str
    url: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    ca: Path | None = None
    objects: Path | None = None
    parts_log: Path | None = None
    pid: int | None = None

    def environment(self) -> dict[str, str]:
        """Keys, region and trust, by the names that the libraries and tools know."""
        keys = {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        names = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
        return keys | ({} if self.ca is None else dict.fromkeys(names, str(self.ca)))


def memory() -> Path:
    """Where files cost no disk: tmpfs, where it is big enough to be of use.

    Raises:
        NotInstalled: there is none.
    """
    shm = Path("/dev/shm")  # noqa: S108 - directories of our own are made in it
    if shm.is_dir() and shutil.disk_usage(shm).free > 3 << 30:
        return shm
    raise NotInstalled(f"{shm} needs 3 GiB of room: the benchmarks keep objects and downloads there")


@contextmanager
def nginx() -> Iterator[tuple[Endpoint, Endpoint]]:
    """Run nginx in memory: the same objects over http and over https.

    Raises:
        NotInstalled: nginx or openssl is not on this machine.
    """
    find_nginx()
    with TemporaryDirectory(prefix="handtruck-bench-nginx-", dir=memory()) as own, serve(Path(own)) as both:
        yield both


@contextmanager
def serve(directory: Path) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Run nginx in a directory, which is empty."""
    program = find_nginx()
    http, https = free_ports(2)
    configuration, log = configure_nginx(directory, http=http, https=https), directory / "error.log"
    # What nginx frees it keeps: else each part's buffer would be mapped, zeroed and unmapped anew.
    keep = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 30)}
    command = [program, "-p", str(directory), "-c", str(configuration), "-e", str(log)]
    process = subprocess.Popen(command, env=os.environ | keep, stdin=subprocess.DEVNULL)
    try:
        wait_for(http, process, log)
        plain = Endpoint(
            name="nginx-http",
            url=f"http://127.0.0.1:{http}",
            access_key_id="key-id",
            secret_access_key="hackme",  # noqa: S106 - nobody checks it
            objects=directory / "objects" / BUCKET,
            parts_log=directory / "parts.log",
            pid=process.pid,
        )
        secure = replace(plain, name="nginx-https", url=f"https://localhost:{https}", ca=directory / "ca.pem")
        yield plain, secure
    finally:
        process.terminate()
        process.wait(10)


def find_nginx() -> str:
    """Where nginx is; Debian's ``sbin`` is not on everybody's path.

    Raises:
        NotInstalled: it is nowhere.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        raise NotInstalled(f"nginx is missing: apt-get install --no-install-recommends {NGINX_PACKAGE}")
    if shutil.which("openssl") is None:
        raise NotInstalled("openssl is missing: apt-get install openssl")
    return found


def configure_nginx(directory: Path, *, http: int, https: int) -> Path:
    """Write all that nginx needs into ``directory``; the configuration's path."""
    for name in ("objects", "pages", "answers", "body", "unused", "nothing"):
        directory.joinpath(name).mkdir()
    directory.chmod(0o755)  # the worker is another user where we are root
    directory.joinpath("objects", BUCKET).mkdir()
    write_certificates(directory)
    for number in range(PAGES):
        directory.joinpath("pages", f"{number}.xml").write_text(listing_page(number))
    location = f"{_XML}<LocationConstraint {_NAMESPACE}></LocationConstraint>"
    directory.joinpath("answers", "location.xml").write_text(location)
    upload = f"<Bucket>{BUCKET}</Bucket><Key>object</Key>"
    values = {
        "DIRECTORY": str(directory),
        "HTTP": str(http),
        "HTTPS": str(https),
        "BUCKET": BUCKET,
        "DISCARD": "/discard",
        "NAMES": "names",
        "ETAG": _ETAG,
        "CREATED": f"{_XML}<InitiateMultipartUploadResult {_NAMESPACE}>{upload}<UploadId>upload</UploadId>"
        "</InitiateMultipartUploadResult>",
        "COMPLETED": f"{_XML}<CompleteMultipartUploadResult {_NAMESPACE}><Location>http://localhost/</Location>{upload}"
        f'<ETag>"{_ETAG}-128"</ETag></CompleteMultipartUploadResult>',
    }
    text = HERE.joinpath("nginx.conf.in").read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    if os.geteuid() == 0:
        text = "user root;\n" + text  # else a worker of another user could not read what a root's umask hides
    path = directory / "nginx.conf"
    path.write_text(text)
    return path


def listing_page(number: int) -> str:
    """A thousand keys as S3 lists them; the last page says that it is the last."""
    last = number == PAGES - 1
    following = "" if last else f"<NextContinuationToken>{number + 1}</NextContinuationToken>"
    head = (
        f"<Name>{BUCKET}</Name><Prefix></Prefix>{following}<KeyCount>{KEYS_A_PAGE}</KeyCount>"
        f"<MaxKeys>{KEYS_A_PAGE}</MaxKeys><IsTruncated>{'false' if last else 'true'}</IsTruncated>"
    )
    return f"{_XML}<ListBucketResult {_NAMESPACE}>{head}{''.join(map(_contents, _keys(number)))}</ListBucketResult>"


def _keys(page: int) -> list[str]:
    first = page * KEYS_A_PAGE
    return [f"logs/2026/07/{number // 100:05}/object-{number:07}.json" for number in range(first, first + KEYS_A_PAGE)]


def _contents(key: str) -> str:
    return (
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-07-01T12:00:00.000Z</LastModified>"
        f"<ETag>&quot;{_ETAG}&quot;</ETag><Size>4096</Size><StorageClass>STANDARD</StorageClass></Contents>"
    )


def write_certificates(directory: Path) -> None:
    """An authority (``ca.pem``) and a certificate of it for localhost (``server.pem``, ``server.key``)."""
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")
    extensions = directory / "extensions"
    extensions.write_text(
        "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
    )
    _openssl(directory, "req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=benchmarks")
    _openssl(directory, "req", *curve[:-2], "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    signed = ("-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30")
    _openssl(directory, "x509", "-req", *signed, "-out", "server.pem", "-extfile", extensions.name)


def _openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until somebody listens on the port."""
    end = time.monotonic() + _START_WITHIN
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.01)
        else:
            return
    process.kill()
    said = log.read_text(errors="replace")[-2000:] if log.exists() else ""
    raise RuntimeError(f"nginx did not start:\n{said}")


@contextmanager
def rgw() -> Iterator[Endpoint]:
    """Run Ceph's gateway as the tests do.

    Raises:
        NotInstalled: Ceph is not on this machine.
    """
    sys.path.insert(0, str(HERE.parent))
    from tests.servers import model
    from tests.servers import rgw as ceph

    try:
        with ceph.start() as server:
            yield Endpoint(
                name="rgw-http",
                url=server.url,
                access_key_id=server.access_key_id,
                secret_access_key=server.secret_access_key,
            )
    except model.NotInstalled as error:
        raise NotInstalled(str(error)) from error
