"""``rclone serve s3``: the server that ``handtruck demo`` uses, started the same way."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from handtruck.cli.local_server import local_server
from tests.servers.model import Server

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def start() -> Iterator[Server]:
    """Run rclone over a directory of its own."""
    with local_server() as endpoint:
        yield Server(
            name="rclone",
            url=endpoint.url,
            access_key_id=endpoint.access_key_id,
            secret_access_key=endpoint.secret_access_key,
            region=endpoint.region,
        )
