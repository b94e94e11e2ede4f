"""What a test knows of the server it runs against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.servers.faults import Faults

if TYPE_CHECKING:
    from collections.abc import Mapping


class NotInstalled(Exception):
    """The server's programs are not on this machine; says how to get them."""


class StartFailed(Exception):
    """The server is installed, but it died or was not ready in time; has the tail of its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server, and what it gets wrong.

    ``virtual_host_suffix`` is the ``host:port`` that follows ``bucket.`` in virtual-hosted style, or None where
    the server has no such style. ``faults`` maps the name of a fault (``tests.servers.faults``) to what the
    server does instead, so that a test asserts the fault rather than skips:
    ``if fault := server.faults.get("range-is-200")``.
    """

    name: str
    url: str
    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"
    virtual_host_suffix: str | None = None
    faults: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "faults", Faults(self.name))
