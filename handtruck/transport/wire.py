"""A connected, non-blocking socket, plain or TLS: try first, and wait only where the kernel has nothing for us.

The same code serves asyncio, uvloop and trio: they wait with anyio, all else is between us and the kernel. TLS is an
:class:`ssl.SSLSocket`: it decrypts from the kernel straight into the caller's buffer, record by record, until it wants
the network, without a turn of the event loop for each 16 KiB.

A socket that is always ready would never let others run: after :data:`TURN` bytes without a wait comes a checkpoint.
One that brings more than the loop should carry is lent to a worker thread, which fills whole blocks from it and comes
back at the first pause: threads never wait for the network. So is one that takes more than the loop should encrypt.
Closing is synchronous, so that a cancellation needs no shield.
"""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Final

import anyio
import httpx
from anyio.lowlevel import checkpoint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from _typeshed import FileDescriptorLike

TURN: Final = 1024 * 1024
AHEAD: Final = 16 * 1024
"""Bytes of a body that may come together with its head; only they are copied."""

FAST: Final = 128 * 1024
"""Bytes for which a thread pays: that the kernel brings at once, or that remain to be encrypted."""

HOP: Final = 8 * 1024 * 1024
"""Bytes after which a thread comes back, and others have their turn."""

HOP_TIME: Final = 0.05
"""Seconds after which a thread waits no more: a trickle is the loop's business."""

_PLAIN_BLOCK: Final = 1024 * 1024
_SECURE_BLOCK: Final = 256 * 1024  # OpenSSL encrypts and writes all of it before it comes back: 0.2 ms
_STEP: Final = 1.0  # seconds
_PAUSE: Final = 2  # milliseconds: a thread hop takes 0.1
_PEEK: Final = socket.MSG_PEEK
_EPOLL: Final[type[select.epoll] | None] = getattr(select, "epoll", None)
_POLL: Final[Callable[[], select.poll] | None] = getattr(select, "poll", None)
_WANT_READ: Final = (BlockingIOError, ssl.SSLWantReadError)
_WANT_WRITE: Final = (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)


class Wire:
    """One connection.

    Attributes:
        view: memory for the answer's head and what comes with it.
        fresh: no answer ever came on it.
        idle_since: on the pool's clock.
        lent: a worker thread uses it; closed meanwhile, it is closed when the thread is back.
        waited: others have run since this was set to False.
    """

    __slots__ = (
        "_block",
        "_blocked",
        "_both",
        "_ready",
        "_ready_for_read",
        "_unwaited",
        "_unwanted",
        "buffer",
        "fresh",
        "idle_since",
        "lent",
        "secure",
        "sock",
        "view",
        "waited",
    )

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket = sock
        self.secure: bool = isinstance(sock, ssl.SSLSocket)
        self._block = _SECURE_BLOCK if self.secure else _PLAIN_BLOCK
        self.resize(AHEAD)
        self.fresh: bool = True
        self.idle_since: float = 0.0
        self.lent: bool = False
        self._unwanted = False
        self.waited: bool = False
        self._unwaited = 0
        self._both: select.epoll | None = None
        self._blocked = 0.0
        self._ready: select.poll | None = None
        if _POLL is not None:
            self._ready = _POLL()
            self._ready.register(sock, select.POLLIN)
        self._ready_for_read: Callable[[FileDescriptorLike], Awaitable[None]] = anyio.wait_readable

    def resize(self, size: int) -> None:
        """Make room for a longer head; what is there stays."""
        kept = self.buffer if hasattr(self, "buffer") else b""
        self.buffer: bytearray = bytearray(size)
        self.buffer[: len(kept)] = kept
        self.view: memoryview = memoryview(self.buffer)

    def is_alive(self) -> bool:
        """Whether an idle connection may be used again: it is open, and nobody said anything out of turn.

        An idle TLS connection may be readable all the same (session tickets), so it is TLS that is asked.
        """
        if self._ready is not None and not self._pending() and not self._ready.poll(0):
            return True  # cheaper than to try and to fail
        try:
            if self.secure:
                self.sock.recv_into(self.view[:1])
            else:
                self.sock.recv_into(self.view[:1], 1, _PEEK)
        except _WANT_READ:
            return True
        except OSError:
            return False
        return False  # the end, or bytes that nobody asked for

    def _pending(self) -> int:
        """Bytes that TLS holds already, of which the socket knows nothing."""
        return self.sock.pending() if isinstance(self.sock, ssl.SSLSocket) else 0

    def try_receive(self, view: memoryview) -> int:
        """What is there; 0 at the end, -1 where nothing is.

        Raises:
            OSError: the connection broke.
        """
        if len(view) > TURN:
            view = view[:TURN]
        try:
            got = self.sock.recv_into(view)
        except _WANT_READ:
            return -1
        except ssl.SSLWantWriteError:  # keys are renewed
            self._ready_for_read = anyio.wait_writable
            return -1
        if self.secure and got:
            got += self._drain(view[got:])
        return got

    def _drain(self, view: memoryview) -> int:
        """The records that are there already; whatever ends this is met again by the next call."""
        got, room, receive_into = 0, len(view), self.sock.recv_into
        with suppress(OSError):  # of which all that SSL wants are kinds
            while got < room:
                count = receive_into(view[got:], room - got)  # told the size, it need not look
                if not count:
                    break
                got += count
        return got

    @property
    def lendable(self) -> bool:
        """A thread can tell a pause from an end."""
        return self._ready is not None

    def fill(self, view: memoryview, until: float) -> int:
        """In a worker thread: what comes without a pause, waiting for none of it after ``until`` (time.monotonic).

        Whatever else ends this is met again by the next call.
        """
        got, ready = 0, self._ready
        assert ready is not None
        with suppress(OSError):
            while got < len(view):
                try:
                    count = self.sock.recv_into(view[got:])
                except _WANT_READ:
                    if monotonic() < until and ready.poll(_PAUSE):
                        continue
                    break
                if not count:
                    break
                got += count
        return got

    @property
    def encrypts(self) -> bool:
        """Large bodies had better be sent in a thread: there is much to encrypt. In the clear that would cost more."""
        return self.secure and self._ready is not None

    def push(self, view: memoryview, until: float) -> int:
        """In a worker thread: send what goes without a pause, waiting for nothing after ``until`` (time.monotonic).

        Whatever else ends this is met again by the next call; of what remains the same bytes must be offered again.
        """
        assert _POLL is not None
        sent, ready = 0, _POLL()
        ready.register(self.sock, select.POLLIN | select.POLLOUT)
        goes_on = [(self.sock.fileno(), select.POLLOUT)]
        with suppress(OSError):
            while sent < len(view):
                count = self.try_send(view[sent:])
                if count < 0 and (monotonic() >= until or ready.poll(_PAUSE) != goes_on):
                    break
                sent += max(count, 0)
        return sent

    def take_back(self) -> None:
        """The thread that it was lent to is done with it."""
        self.lent = False
        self.waited = True
        self._unwaited = 0
        if self._unwanted:
            self.close()

    async def receive_into(self, view: memoryview, timeout: float | None, *, wait_first: bool = False) -> int:
        """Receive what is there, and wait while there is nothing; 0 at the end.

        ``wait_first`` saves a vain try where nothing can be there yet.

        Raises:
            httpx.ReadTimeout: nothing came for ``timeout`` seconds.
            httpx.ReadError: the connection broke.
        """
        wait_first = wait_first and not self._pending()
        late = wait_first and not await self._until(anyio.wait_readable, self.sock, timeout, httpx.ReadError)
        while True:
            try:
                got = self.try_receive(view)
            except OSError as error:
                raise httpx.ReadError(str(error)) from error
            if got >= 0:
                if self._is_turn_over(got):
                    await checkpoint()
                return got
            if late:
                raise httpx.ReadTimeout(f"nothing came for {timeout:g} s")
            wait, self._ready_for_read = self._ready_for_read, anyio.wait_readable
            late = not await self._until(wait, self.sock, timeout, httpx.ReadError)

    async def send_some(self, view: memoryview, timeout: float | None) -> int:
        """Send some of it; 0: it had to wait, and the peer may have said something meanwhile.

        After a 0 the same bytes must be offered again, or TLS is out of step.

        Raises:
            httpx.WriteTimeout: nothing could be sent for ``timeout`` seconds.
            OSError: the connection broke.
        """
        sent = self.try_send(view)
        if sent < 0:
            if await self._until_either_way(timeout):
                return 0
            sent = self.try_send(view)  # the loop may have been late, not the peer
            if sent < 0:
                raise httpx.WriteTimeout(f"nothing could be sent for {timeout:g} s")
        self._blocked = 0.0
        if self._is_turn_over(sent):
            await checkpoint()
        return sent

    def try_send(self, view: bytes | memoryview) -> int:
        """Send some of it; -1: the kernel takes nothing now.

        Raises:
            OSError: the connection broke.
        """
        try:
            return self.sock.send(view if len(view) <= self._block else memoryview(view)[: self._block])
        except _WANT_WRITE:
            return -1

    async def _until_either_way(self, timeout: float | None) -> bool:
        """Wait until the socket takes bytes or has some: without a task for each, by an epoll that has it for both."""
        if _EPOLL is None:
            return await self._until_writable_or_late(timeout)
        if self._both is None:
            self._both = _EPOLL()
            self._both.register(self.sock, select.EPOLLIN | select.EPOLLOUT)
        return await self._until(anyio.wait_readable, self._both, timeout, httpx.WriteError)

    async def _until_writable_or_late(self, timeout: float | None) -> bool:
        """Where there is no epoll: wait in steps; after each of them, the last too, the peer is listened to."""
        if timeout is not None and self._blocked >= timeout:
            self._blocked = 0.0
            return False
        step = _STEP if timeout is None else min(_STEP, timeout - self._blocked)
        writable = await self._until(anyio.wait_writable, self.sock, step, httpx.WriteError)
        self._blocked = 0.0 if writable else self._blocked + step
        return True

    async def _until(
        self,
        wait: Callable[[FileDescriptorLike], Awaitable[None]],
        what: FileDescriptorLike,
        timeout: float | None,
        closed: type[httpx.NetworkError],
    ) -> bool:
        """Wait; False where it took longer than ``timeout``."""
        self.waited = True
        self._unwaited = 0
        if self.sock.fileno() < 0:
            raise closed("the transport was closed")
        try:
            if timeout is None:
                await wait(what)
                return True
            with anyio.CancelScope(deadline=anyio.current_time() + timeout) as scope:
                await wait(what)
        except anyio.ClosedResourceError:
            raise closed("the transport was closed") from None
        return not scope.cancelled_caught

    def _is_turn_over(self, count: int) -> bool:
        """Whether others must have their turn, now that ``count`` more bytes went without a wait."""
        self._unwaited += count
        if self._unwaited < TURN:
            return False
        self._unwaited = 0
        self.waited = True
        return True

    def close(self) -> None:
        """Give the descriptors back; whoever waits for them gets an error. Harmless when closed."""
        if self.lent:  # a descriptor that is closed under a thread may be another file's the next moment
            self._unwanted = True
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)  # SSLSocket's own would go on in plain text
            return
        both, self._both = self._both, None
        for each in (both, self.sock):
            if each is not None and each.fileno() >= 0:
                anyio.notify_closing(each)
                each.close()

    def get_extra_info(self, name: str) -> object:
        """What httpx's ``network_stream`` extension tells: of TLS, of the addresses, and of the socket itself."""
        match name:
            case "ssl_object":
                return self.sock if self.secure else None
            case "client_addr" | "server_addr":
                with suppress(OSError):  # closed by now
                    return self.sock.getsockname() if name == "client_addr" else self.sock.getpeername()
            case "socket":
                return self.sock
            case "is_readable" if self.sock.fileno() >= 0 and not self.lent:  # not even a look beside a thread
                return bool(self._pending() or (self._ready is not None and self._ready.poll(0)))
        return None
