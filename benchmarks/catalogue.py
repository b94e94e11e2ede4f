"""Who takes part, and what is measured: tables, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
PART: Final = 8 * MIB  # bytes; every client's part and range
WORKERS: Final = 8  # requests at once for the large objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Somebody who takes part.

    ``script`` is a file in ``clients/``, ``environment`` the name of its ``requirements-….txt``. ``loop`` is one of
    asyncio, uvloop, trio, threads and process. ``kind`` says whose targets it counts for: ``ours``, ``python`` (a
    library), ``tool`` or ``road`` (an HTTP client, which knows nothing of S3).
    """

    name: str
    script: str
    loop: str
    environment: str = "peers"
    kind: str = "python"
    signs: bool = True


CLIENTS: Final = {
    client.name: client
    for client in (
        Client(name="handtruck-asyncio", script="ours", loop="asyncio", environment="ours", kind="ours"),
        Client(name="handtruck-uvloop", script="ours", loop="uvloop", environment="ours", kind="ours"),
        Client(name="handtruck-trio", script="ours", loop="trio", environment="ours", kind="ours"),
        Client(name="obstore", script="peer_obstore", loop="asyncio"),
        Client(name="obstore-uvloop", script="peer_obstore", loop="uvloop"),
        Client(name="obstore-threads", script="peer_obstore", loop="threads"),
        Client(name="awscrt", script="peer_awscrt", loop="threads"),
        Client(name="boto3", script="peer_boto3", loop="threads"),
        Client(name="aioboto3", script="peer_aioboto3", loop="asyncio", environment="aioboto3"),
        Client(name="minio", script="peer_minio", loop="threads"),
        Client(name="miniopy-async", script="peer_miniopy_async", loop="asyncio"),
        Client(name="aiohttp-s3-client", script="peer_aiohttp_s3_client", loop="asyncio"),
        Client(name="aiohttp-s3-client-uvloop", script="peer_aiohttp_s3_client", loop="uvloop"),
        Client(name="handtruck-0.2.0", script="reference", loop="asyncio", environment="reference"),
        Client(name="httpx", script="peer_httpx", loop="asyncio", kind="road", signs=False),
        Client(name="s5cmd", script="tool_s5cmd", loop="process", kind="tool"),
        Client(name="rclone", script="tool_rclone", loop="process", kind="tool"),
    )
}
BASE: Final = "handtruck-asyncio"  # what everybody is compared with
QUICK_CLIENTS: Final = (
    "handtruck-asyncio",
    "handtruck-uvloop",
    "handtruck-trio",
    "obstore",
    "obstore-uvloop",
    "obstore-threads",
    "awscrt",
    "boto3",
    "aiohttp-s3-client",
    "s5cmd",
)
OURS: Final = tuple(name for name, client in CLIENTS.items() if client.kind == "ours")
# Who is asked where everybody would take hours and tell nothing new.
FASTEST: Final = (*OURS, "obstore", "obstore-threads", "awscrt", "minio", "s5cmd")
CONCURRENT: Final = (*OURS, "obstore", "obstore-threads", "aiohttp-s3-client")
GROWING: Final = ("handtruck-asyncio", "handtruck-trio", "obstore", "awscrt", "s5cmd")
# Who can be the fastest that a large object's wall time is compared with.
RIVALS: Final = (
    "obstore",
    "obstore-uvloop",
    "obstore-threads",
    "awscrt",
    "boto3",
    "aioboto3",
    "minio",
    "s5cmd",
    "rclone",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Something to do.

    ``job`` is what the client's process is told (``--work``). ``size`` is an object's bytes, ``count`` how many
    requests (of small objects) or keys. ``disk`` says that a download goes to a disk's file instead of tmpfs's.
    ``clients`` take part where nobody says who does.
    """

    name: str
    title: str
    job: str
    size: int = 0
    workers: int = WORKERS
    count: int = 0
    disk: bool = False
    endpoints: tuple[str, ...] = ("nginx-http",)
    clients: tuple[str, ...] = tuple(CLIENTS)

    @property
    def unit(self) -> str:
        """What its costs are divided by."""
        return "GiB" if self.size else "key" if self.job == "list" else "request"

    @property
    def amount(self) -> float:
        """How many units it has."""
        return self.size / GIB if self.size else self.count

    def clients_at(self, endpoint: str) -> tuple[str, ...]:
        """Who takes part there."""
        return self.clients if endpoint == "nginx-http" else FASTEST


_ALL: Final = ("nginx-http", "nginx-https", "rgw-http")
AT_ONCE: Final = (1, 8, 32, 256)
USUAL: Final = 32
SCALES: Final = tuple(MIB * 4**power for power in range(7))  # 1 MiB … 4 GiB


def in_words(size: int) -> str:
    """``1073741824`` → ``1 GiB``."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size // unit} {name}" if size % unit == 0 else f"{size / unit:.1f} {name}"
    return f"{size} B"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much of everything a run does."""

    size: int = GIB
    counts: dict[int, int] = field(default_factory=lambda: {1: 1000, 8: 4000, 32: 4000, 256: 4000})
    scales: tuple[int, ...] = SCALES


FULL: Final = Scale()
QUICK: Final = Scale(size=256 * MIB, counts={1: 250, 8: 1000, 32: 2000, 256: 2000}, scales=SCALES[:5])


def works(scale: Scale = FULL) -> dict[str, Work]:
    """Every work, by its name."""
    size, told = scale.size, in_words(scale.size)
    large = [
        Work(name="download-tmpfs", title=f"Download {told} to tmpfs", job="download", size=size, endpoints=_ALL),
        Work(name="download-disk", title=f"Download {told} to disk", job="download", size=size, disk=True),
        Work(name="upload", title=f"Upload {told}, hashed", job="upload", size=size, endpoints=_ALL),
        Work(
            name="upload-unsigned",
            title=f"Upload {told}, not hashed",
            job="upload-unsigned",
            size=size,
            endpoints=_ALL,
        ),
    ]
    small = [
        Work(
            name=f"{verb}-4k@{workers}",
            title=f"4 KiB {verb.upper()}, {workers} at a time",
            job=verb,
            workers=workers,
            count=scale.counts[workers],
            endpoints=("nginx-http", "rgw-http") if workers == USUAL else ("nginx-http",),
            clients=tuple(CLIENTS) if workers == USUAL else CONCURRENT,
        )
        for verb in ("get", "put")
        for workers in AT_ONCE
    ]
    listing = [Work(name="list-100k", title="List 100 000 keys", job="list", count=100_000)]
    growing = [
        Work(
            name=f"scaling@{in_words(length).replace(' ', '')}",
            title=f"Download {in_words(length)}",
            job="download",
            size=length,
            clients=GROWING,
        )
        for length in scale.scales
    ]
    return {work.name: work for work in (*large, *small, *listing, *growing)}


def choose(names: str, offered: dict[str, Work]) -> list[Work]:
    """``get-4k,upload`` → the works of these names, and of these families (what is before the ``@``).

    Raises:
        ValueError: there is no such work.
    """
    chosen: list[Work] = []
    for name in names.split(","):
        found = [work for work in offered.values() if name in (work.name, work.name.split("@")[0])]
        if not found:
            raise ValueError(f"no work is called {name!r}; there are: {', '.join(offered)}")
        chosen += [work for work in found if work not in chosen]
    return chosen


def in_turn(names: list[str], number: int) -> list[str]:
    """The clients' order in a round: each begins with another one, and few come after the same one twice.

    Williams's design: 0, 1, n - 1, 2, n - 2, … and then everybody moved by one. Of an even number each comes after
    each other exactly once in as many rounds as there are clients; of an odd number that takes the mirrored rounds,
    too.
    """
    count = len(names)
    pattern = [(step + 1) // 2 if step % 2 else -step // 2 for step in range(count)]
    if count % 2 and number // count % 2:
        pattern.reverse()
    return [names[(place + number) % count] for place in pattern]
