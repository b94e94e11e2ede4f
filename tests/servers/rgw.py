"""Ceph's object gateway: one monitor, one in-memory OSD and one gateway in one directory, loopback only.

The strictest server that can be had: it verifies signatures, payload hashes and conditions. The monitor only
introduces the three to each other; authentication between them (cephx) is off, so there are no keyrings.
"""

from __future__ import annotations

import http.client
import shutil
import socket
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from tests.servers.model import NotInstalled, Server
from tests.servers.processes import Deadline, daemon, run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGES: Final = "radosgw ceph-mon ceph-osd"
_PROGRAMS: Final = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")
_START_WITHIN: Final = 18.0  # of the first test's 20 s; on an idle machine 1.4 s are enough
_DNS_NAME: Final = "s3.localhost"
_KEY: Final = "rgw-key"
_SECRET: Final = "rgw-secret"

_CONFIG: Final = """\
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
# the gateway asks the monitor for an encrypted connection, which needs cephx keys
ms mon client mode = crc secure
run dir = {directory}
crash dir = {directory}
admin socket =
keyring = /dev/null
log file = {directory}/$name.log
log to stderr = false
err to stderr = true
log flush on exit = true
max open files = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 2000

[mon]
mon data = {directory}/mon
mon cluster log file = {directory}/cluster.log
# the cluster is tiny: let it start on a disk that is nearly full
mon data avail warn = 2
mon data avail crit = 1
paxos propose interval = 0.05
paxos min wait = 0.01

[osd]
osd data = {directory}/osd
osd objectstore = memstore
memstore device bytes = {store}
osd scrub load threshold = 0.01
osd op num shards = 2
osd op num threads per shard = 2
osd mclock skip benchmark = true

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw dns name = {dns_name}
rgw thread pool size = 64
rgw enable usage log = false
rgw enable ops log = false
rgw run sync thread = false
rgw gc obj min wait = 5
rgw gc processor period = 10
rgw gc processor max time = 10
# customer keys (SSE-C) and a key store for tests, over plain HTTP
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
debug rgw = 0/0
"""


@contextmanager
def start(
    store: int = 8 << 30, *, settings: Sequence[str] = (), commands: Sequence[Sequence[str]] = ()
) -> Iterator[Server]:
    """Run a cluster with one user, and with room for ``store`` bytes, which are the machine's memory.

    Args:
        store: the room.
        settings: more lines for the gateway's configuration.
        commands: of ``radosgw-admin``, once there is a user, and before there is a gateway.

    Raises:
        NotInstalled: Ceph is not on this machine.
    """
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        how = f"apt-get install --no-install-recommends {PACKAGES}"
        raise NotInstalled(f"Ceph is missing ({', '.join(missing)}): {how}")
    with TemporaryDirectory(prefix="handtruck-rgw-", dir=_memory()) as own, ExitStack() as daemons:
        config = _CONFIG + "".join(f"{line}\n" for line in settings)
        port = _start_cluster(Path(own), daemons, Deadline(_START_WITHIN), store, config, commands)
        yield Server(
            name="rgw",
            url=f"http://127.0.0.1:{port}",
            access_key_id=_KEY,
            secret_access_key=_SECRET,
            virtual_host_suffix=f"{_DNS_NAME}:{port}",
        )


def _start_cluster(
    own: Path,
    daemons: ExitStack,
    deadline: Deadline,
    store: int,
    template: str,
    commands: Sequence[Sequence[str]],
) -> int:
    """Start the three, each of which needs the one before it; the gateway's port.

    They are killed, not asked to stop: the data is thrown away, and a clean unmount takes seconds.
    """
    fsid, osd_id = str(uuid.uuid4()), str(uuid.uuid4())
    for name in ("mon", "osd"):
        own.joinpath(name).mkdir()
    with _reserved_port() as mon_port, _reserved_port() as port:
        config = own / "ceph.conf"
        config.write_text(
            template.format(directory=own, fsid=fsid, mon_port=mon_port, port=port, dns_name=_DNS_NAME, store=store)
        )
        conf = ("-c", str(config))
        monmap = str(own / "monmap")
        addresses = f"[v2:127.0.0.1:{mon_port}]"
        run(["monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, monmap], deadline)
        run(["ceph-mon", *conf, "-i", "a", "--mkfs", "--monmap", monmap], deadline)
        command = ["ceph-mon", *conf, "-i", "a", "-f"]
        mon = daemons.enter_context(daemon(command, log=own / "mon.out", gently=False))
        mon.wait_until(lambda: _listening(mon_port), deadline)

        run(["ceph", *conf, "--connect-timeout", "15", "osd", "new", osd_id, "0"], deadline)
        run(["ceph-osd", *conf, "-i", "0", "--mkfs", "--osd-uuid", osd_id], deadline)
        command = ["ceph-osd", *conf, "-i", "0", "-f"]
        daemons.enter_context(daemon(command, log=own / "osd.out", gently=False))

        # Waits for the OSD, and makes the pools, which the gateway then finds.
        user = ["user", "create", "--uid=test", "--display-name=test"]
        keys = [f"--access-key={_KEY}", f"--secret={_SECRET}"]
        admin = ["radosgw-admin", *conf, "-n", "client.rgw", "--rgw-cache-enabled=false"]
        for one in ([*user, *keys], *commands):
            run([*admin, *one], deadline)
        command = ["radosgw", *conf, "-n", "client.rgw", "-f"]
        gateway = daemons.enter_context(daemon(command, log=own / "rgw.out", gently=False))
        gateway.wait_until(lambda: _answers(port), deadline)
    return port


def _memory() -> str | None:
    """Where a monitor's fsyncs are free: tmpfs if it has room (a container's may have 64 MB), else the disk."""
    shm = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
    return str(shm) if shm.is_dir() and shutil.disk_usage(shm).free > 512 << 20 else None


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A free port that nobody else is given meanwhile.

    Linux lets a second socket bind a port that is bound but not listened on if both ask for SO_REUSEADDR, as
    Ceph does; and it gives such a port to nobody who asks for any port.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        yield port


def _listening(port: int) -> bool | None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return None
    return True


def _answers(port: int) -> bool | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/")
        return True if connection.getresponse().status == 200 else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
