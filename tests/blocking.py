"""Blocking calls fail where they would block an event loop.

While :func:`guard` is on, the functions of the table below are wrapped. A wrapper raises when two things hold:
this thread runs an event loop (asyncio, uvloop or trio), and the call is ours: the nearest frame that is not the
standard library's belongs to handtruck. So a worker thread may block, and so may the code of pytest, of an event
loop, of httpx, or of the test itself. What it raises is recorded too, in case that somebody swallows it.

Not seen: reads and writes of a file object that a thread has opened (they happen in C), and functions that were
bound by name before the guard came on (``from os import pread``).
"""

from __future__ import annotations

import asyncio
import builtins
import hashlib
import io
import os
import socket
import sys
import time
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, ModuleType

LARGE_HASH: Final = 1 << 20  # a MiB of SHA-256 is 0.6 to 3 ms: about what a hop to a thread may cost at most
_DEPTH: Final = 12

# Always wrong on a loop. `Path.stat`, `os.path.exists`, `os.makedirs`, `tempfile` and the like end in these.
_BLOCKING: Final[tuple[tuple[ModuleType | type, tuple[str, ...]], ...]] = (
    (builtins, ("open",)),
    (io, ("open",)),
    (
        os,
        (
            *("open", "read", "write", "readv", "writev", "pread", "pwrite", "preadv", "pwritev"),
            *("fsync", "fdatasync", "truncate", "ftruncate", "posix_fallocate"),
            *("stat", "lstat", "access", "listdir", "scandir", "readlink"),
            *("replace", "rename", "link", "symlink", "unlink", "remove", "mkdir", "rmdir", "chmod", "utime"),
        ),
    ),
    (Path, ("glob", "rglob")),  # bind what they need of `os` when they are imported, from Python 3.13 on
    (socket, ("getaddrinfo", "gethostbyname", "getnameinfo")),
    (time, ("sleep",)),
    (hashlib, ("file_digest",)),
)
# Wrong on a loop when they are given more than LARGE_HASH at once.
_HASHES: Final = ("md5", "sha1", "sha256", "sha512")
# The standard library reads source files for tracebacks: asyncio's debug mode does for every callback.
_HARMLESS: Final = frozenset({"linecache"})


class BlockingCallInLoop(AssertionError):
    """A blocking call was made in a thread that runs an event loop."""


@dataclass(frozen=True, slots=True)
class BlockingCall:
    """What was called, and from where."""

    name: str
    module: str
    where: str

    def __str__(self) -> str:
        return f"{self.name} called by {self.module} ({self.where})"


def is_handtruck(module: str) -> bool:
    """Whether a module is the package's own."""
    return module == "handtruck" or module.startswith("handtruck.")


def guarded() -> frozenset[str]:
    """The names of all that is guarded on this platform."""
    blocking = {f"{owner.__name__}.{name}" for owner, names in _BLOCKING for name in names if hasattr(owner, name)}
    hashes = {f"hashlib.{name}{call}" for name in _HASHES for call in ("", ".update")}
    return frozenset(blocking | hashes | {"hashlib.new", "zlib.crc32"})


@contextmanager
def guard(is_ours: Callable[[str], bool] = is_handtruck) -> Iterator[list[BlockingCall]]:
    """Make blocking calls on event loops raise :class:`BlockingCallInLoop`.

    Args:
        is_ours: which modules are watched, by name.

    Yields:
        The calls that were caught so far.
    """
    calls: list[BlockingCall] = []

    def check(name: str) -> None:
        if not _runs_a_loop():
            return
        caller = _caller(sys._getframe(2))
        if caller is not None and is_ours(_module(caller)):
            call = BlockingCall(name, _module(caller), f"{caller.f_code.co_filename}:{caller.f_lineno}")
            calls.append(call)
            raise BlockingCallInLoop(f"{call}: it belongs in a worker thread")

    with ExitStack() as undo:
        for owner, names in _BLOCKING:
            for name in names:
                if hasattr(owner, name):
                    _patch(undo, owner, name, _refusing(check, owner, name))
        for name in _HASHES:
            _patch(undo, hashlib, name, _refusing_large_hash(check, name))
        _patch(undo, hashlib, "new", _refusing_large_new(check))
        _patch(undo, zlib, "crc32", _refusing_large_crc(check))
        yield calls


def _runs_a_loop() -> bool:
    if asyncio._get_running_loop() is not None:  # uvloop's too
        return True
    trio = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())


def _caller(frame: FrameType | None) -> FrameType | None:
    """The nearest frame that is neither the standard library's nor this file's."""
    for _ in range(_DEPTH):
        if frame is None or _module(frame) in _HARMLESS:
            return None
        if _module(frame) != __name__ and _module(frame).partition(".")[0] not in sys.stdlib_module_names:
            return frame
        frame = frame.f_back
    return None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _patch(undo: ExitStack, owner: ModuleType | type, name: str, wrapper: Callable[..., Any]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, update_wrapper(wrapper, original))
    undo.callback(setattr, owner, name, original)
    # `shutil` asks at run time what a function of `os` can do.
    for able in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
        if original in able:
            able.add(wrapper)
            undo.callback(able.discard, wrapper)


def _refusing(check: Callable[[str], None], owner: ModuleType | type, name: str) -> Callable[..., Any]:
    original = getattr(owner, name)
    title = f"{owner.__name__}.{name}"

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        check(title)
        return original(*args, **kwargs)

    return wrapper


def _refusing_large_hash(check: Callable[[str], None], name: str) -> Callable[..., Any]:
    original = getattr(hashlib, name)

    def wrapper(data: Any = b"", /, **kwargs: Any) -> _Hash:
        if _is_large(data):
            check(f"hashlib.{name}")
        return _Hash(original(data, **kwargs), f"hashlib.{name}.update", check)

    return wrapper


def _refusing_large_new(check: Callable[[str], None]) -> Callable[..., Any]:
    original = hashlib.new

    def wrapper(name: str, data: Any = b"", **kwargs: Any) -> _Hash:
        if _is_large(data):
            check("hashlib.new")
        return _Hash(original(name, data, **kwargs), f"hashlib.{name}.update", check)

    return wrapper


def _refusing_large_crc(check: Callable[[str], None]) -> Callable[..., Any]:
    original = zlib.crc32

    def wrapper(data: Any, value: int = 0, /) -> int:
        if _is_large(data):
            check("zlib.crc32")
        return original(data, value)

    return wrapper


def _is_large(data: Any) -> bool:
    return memoryview(data).nbytes > LARGE_HASH


class _Hash:
    """A hash whose ``update`` is watched; hashes are C types, whose methods cannot be replaced."""

    def __init__(self, original: Any, title: str, check: Callable[[str], None]) -> None:
        self._original = original
        self._title = title
        self._check = check

    def update(self, data: Any, /) -> None:
        if _is_large(data):
            self._check(self._title)
        self._original.update(data)

    def copy(self) -> _Hash:
        return _Hash(self._original.copy(), self._title, self._check)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
