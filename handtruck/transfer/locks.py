"""One process at a time: files that are locked while they are open."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import msvcrt
    import os
    from typing import Final

    _FAR: Final = 1 << 30  # beyond all that is read: Windows locks bytes, not files

    def try_lock(descriptor: int) -> bool:
        """Lock an open file until it is closed; False: somebody else has."""
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

    def unlock(descriptor: int) -> None:
        """Closing it will do."""

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock an open file until it is closed; False: somebody else has."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(descriptor: int) -> None:
        """Closing it would do, unless a child that was forked meanwhile has it, too."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)
