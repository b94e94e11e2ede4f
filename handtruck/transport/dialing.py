"""New connections: addresses, the race between them, TLS.

*Addresses.* A name is asked for once in :data:`NAMES_LAST` seconds, whoever needs it meanwhile waits for the same
answer. New connections go round all addresses it gave, because S3 spreads its load so; the family that the resolver put
first stays first.

*The race* (RFC 8305). Where there are several addresses the next one is tried when the one before it has failed, or
has not answered in :data:`STAGGER` seconds; the first that connects wins, the others are closed. A single address
needs no task group.

*TLS.* The context is made at the first https request, in a thread: reading the CA bundle takes 20 ms. The handshake
offers http/1.1 alone, and resumes the last session with the same origin.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import httpx

from .._tasks import LoopLocks, in_thread, isolated, siblings
from .wire import Wire

if TYPE_CHECKING:
    from .pool import Origin

Resolve: TypeAlias = Callable[[str, int], Awaitable[Iterable[str]]]
"""Host and port → IP addresses as text, the best first."""

SocketOption: TypeAlias = tuple[int, int, int | bytes]
Certificate: TypeAlias = str | tuple[str, str] | tuple[str, str, str]
"""A client's: the file with certificate and key; or both files; or both and the key's password."""

STAGGER: Final = 0.25
NAMES_LAST: Final = 5.0


@dataclass(slots=True)
class Addresses:
    """What one name stood for, and when that was asked."""

    found: list[tuple[socket.AddressFamily, Any]] = field(default_factory=list)
    until: float = 0.0
    turn: int = 0
    asking: LoopLocks = field(default_factory=LoopLocks)

    def rotated(self) -> list[tuple[socket.AddressFamily, Any]]:
        """All of them, each family beginning one further than the last time, families taking turns."""
        self.turn += 1
        families: dict[socket.AddressFamily, list[tuple[socket.AddressFamily, Any]]] = {}
        for each in self.found:
            families.setdefault(each[0], []).append(each)
        turned = [_turned(group, self.turn - 1) for group in families.values()]
        return [each for rank in zip_longest(*turned) for each in rank if each is not None]


def _turned(group: list[tuple[socket.AddressFamily, Any]], by: int) -> list[tuple[socket.AddressFamily, Any]]:
    by %= len(group)
    return group[by:] + group[:by]


class Dialer:
    """Makes connections.

    Args:
        tls: gives the context; called once, in a thread.
        uds: path of a Unix-domain socket that stands for every host.
        local_address: to connect from.
        socket_options: for ``setsockopt``.
        resolve: in place of the system's resolver.
    """

    def __init__(
        self,
        *,
        tls: Callable[[], ssl.SSLContext],
        uds: str | None,
        local_address: str | None,
        socket_options: Sequence[SocketOption],
        resolve: Resolve | None,
    ) -> None:
        self._make_tls = tls
        self._uds = uds
        self._local_address = local_address
        self._options = socket_options
        self._resolve = resolve or _system_resolver
        self._names: dict[tuple[str, int], Addresses] = {}
        self._tls: ssl.SSLContext | None = None
        self._making_tls = LoopLocks()
        self._sessions: dict[tuple[Origin, int, bool], ssl.SSLSession] = {}

    async def connect(self, origin: Origin, timeout: float | None) -> Wire:
        """A connection, with its TLS handshake done.

        Raises:
            httpx.ConnectTimeout: it took longer than ``timeout`` seconds in all.
            httpx.ConnectError: there is no such name, nobody listens, or the certificate is not to be trusted.
            OSError: the files with our own certificates cannot be read.
        """
        context = await self._context() if origin.secure else None
        try:
            with anyio.fail_after(timeout):
                return await self._connect(origin, context)
        except TimeoutError as error:
            if error.errno or timeout is None:
                raise httpx.ConnectError(str(error)) from error  # the kernel's own, or the resolver's
            raise httpx.ConnectTimeout(f"no connection to {origin.host}:{origin.port} in {timeout:g} s") from error
        except (OSError, UnicodeError) as error:  # the latter of a name that cannot be one
            raise httpx.ConnectError(str(error)) from error

    async def _connect(self, origin: Origin, context: ssl.SSLContext | None) -> Wire:
        sock = await self._dial(origin)
        if context is None:
            return Wire(sock)
        try:
            sock = self._wrap(context, sock, origin)
            await _shake_hands(sock)
        except BaseException:
            sock.close()
            raise
        return Wire(sock)

    def remember(self, origin: Origin, wire: Wire) -> None:
        """Keep the TLS session for the next connection. The tickets of TLS 1.3 come with the first answer."""
        sock = wire.sock
        if isinstance(sock, ssl.SSLSocket) and sock.session is not None:
            _make_room(self._sessions)
            self._sessions[_terms(origin, sock.context)] = sock.session

    # TLS

    async def _context(self) -> ssl.SSLContext:
        async with self._making_tls.here():
            if self._tls is None:
                limiter = anyio.CapacityLimiter(1)
                self._tls = await isolated(lambda: in_thread(self._make_tls, limiter=limiter))
            return self._tls

    def _wrap(self, context: ssl.SSLContext, sock: socket.socket, origin: Origin) -> ssl.SSLSocket:
        # Of the context, which a caller may share with a client that speaks HTTP/2, each connection takes a copy here.
        context.set_alpn_protocols(["http/1.1"])
        name = (origin.name or origin.host).rstrip(".")
        name.encode("idna")  # or ssl would find out with the socket in its hands
        return context.wrap_socket(
            sock,
            server_hostname=name,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,
            session=self._sessions.get(_terms(origin, context)),
        )

    # Addresses

    async def _dial(self, origin: Origin) -> socket.socket:
        if self._uds is not None:
            return await self._open(socket.AF_UNIX, self._uds)
        addresses = await self._addresses(origin.host, origin.port)
        if len(addresses) == 1:
            return await self._open(*addresses[0])
        return await self._race(addresses)

    async def _addresses(self, host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        if (host, port) not in self._names:
            _make_room(self._names)
        name = self._names.setdefault((host, port), Addresses())
        async with name.asking.here():
            if monotonic() >= name.until:
                found = [_literal(text, port) for text in await self._resolve(host, port)]
                name.found = list(dict.fromkeys(each for each in found if each is not None))
                if not name.found:
                    raise OSError(errno.EADDRNOTAVAIL, f"the name {host} has no address")
                name.until = monotonic() + NAMES_LAST
        return name.rotated()

    async def _race(self, addresses: list[tuple[socket.AddressFamily, Any]]) -> socket.socket:
        won: list[socket.socket] = []
        failed: list[OSError] = []

        async def attempt(family: socket.AddressFamily, address: Any, over: anyio.Event) -> None:
            try:
                sock = await self._open(family, address)
            except OSError as error:
                failed.append(error)
                over.set()
                return
            if won:
                sock.close()
                return
            won.append(sock)
            crew.group.cancel_scope.cancel()

        try:
            async with siblings() as crew:
                for family, address in addresses:
                    over = anyio.Event()
                    crew.start_soon(attempt, family, address, over)
                    with anyio.move_on_after(STAGGER):
                        await over.wait()
        except BaseException:
            for sock in won:
                sock.close()
            raise
        if won:
            return won[0]
        raise failed[0]

    async def _open(self, family: socket.AddressFamily, address: Any) -> socket.socket:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            if family in _FAMILIES:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._local_address is not None:
                    sock.bind((self._local_address, 0))
            for level, name, value in self._options:
                sock.setsockopt(level, name, value)
            code = sock.connect_ex(address)
            if code in _UNDER_WAY:
                await anyio.wait_writable(sock)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, os.strerror(code))
        except BaseException:
            sock.close()
            raise
        return sock


def _terms(origin: Origin, context: ssl.SSLContext) -> tuple[Origin, int, bool]:
    """A session that was made without looking at the certificate is not resumed where it counts."""
    return origin, context.verify_mode, context.check_hostname


def _make_room(known: dict[Any, Any]) -> None:
    """Forget what came first: a client that talks to everybody must not remember everybody."""
    if len(known) >= _REMEMBERED:
        del known[next(iter(known))]


_REMEMBERED: Final = 256
_FAMILIES: Final = frozenset({socket.AF_INET, socket.AF_INET6})
_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, getattr(errno, "WSAEWOULDBLOCK", errno.EINPROGRESS)})


async def _shake_hands(sock: ssl.SSLSocket) -> None:
    while True:
        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            await anyio.wait_readable(sock)
        except ssl.SSLWantWriteError:
            await anyio.wait_writable(sock)
        else:
            return


def _literal(text: str, port: int) -> tuple[socket.AddressFamily, Any] | None:
    """An address as it is, or None where it is a name."""
    plain, _, zone = text.partition("%")
    try:
        version = ip_address(plain).version
    except ValueError:
        return None
    if version == 4:
        return socket.AF_INET, (plain, port)
    scope = (int(zone) if zone.isdigit() else socket.if_nametoindex(zone)) if zone else 0
    return socket.AF_INET6, (plain, port, 0, scope)


async def _system_resolver(host: str, port: int) -> list[str]:
    found: list[Any] = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [_text(family, address) for family, _, _, _, address in found if family in _FAMILIES]


def _text(family: socket.AddressFamily, address: tuple[Any, ...]) -> str:
    zone = address[3] if family == socket.AF_INET6 else 0
    return f"{address[0]}%{zone}" if zone else str(address[0])


def tls_context(verify: bool | str | ssl.SSLContext, cert: Certificate | None, *, trust_env: bool) -> ssl.SSLContext:
    """What httpx makes of the same arguments. Reads files."""
    if isinstance(verify, str):
        folder = Path(verify).is_dir()
        context = ssl.create_default_context(cafile=None if folder else verify, capath=verify if folder else None)
    else:
        context = httpx.create_ssl_context(verify=verify, trust_env=trust_env)
    if cert is not None:
        context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    return context
