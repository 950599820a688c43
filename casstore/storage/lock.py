# SPDX-License-Identifier: MIT
"""The writer's lock: one process writes a store, and the kernel says which.

``flock`` belongs to the open file, so it ends with the process however that ends, and a second opening in the same
process is refused too (``lockf`` would let it in). A forked child closes its copy, so it never keeps the lock alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Callable

from casstore.errors import LockedError

_POLL_SECONDS = 0.01
_STORE = "has the store open for writing; wait for it, pass a timeout, or open read-only"
_held: weakref.WeakSet[FileLock] = weakref.WeakSet()


class FileLock:
    """An exclusive lock on a file, held until ``release`` or the end of the process."""

    __slots__ = ("__weakref__", "_fd", "forked", "path")

    def __init__(self, path: str, timeout: float = 0.0, what: str = _STORE) -> None:
        """Takes the lock, waiting up to ``timeout`` seconds; ``what`` says in an error what the holder does.

        Raises:
            LockedError: Another opening holds it; ``pid`` names the holder.
        """
        self.path = path
        self.forked = False
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    pid = self._holder()
                    os.close(self._fd)
                    who = f"process {pid}" if pid else "another process"
                    raise LockedError(f"{who} {what}.", path=path, pid=pid) from None
                time.sleep(_POLL_SECONDS)
        # Always as long, so that nothing of an older one is left; to cut the file first would have ext4 write it out.
        # Only for the message to others: on a full disk the lock must not fail for it.
        with contextlib.suppress(OSError):
            os.pwrite(self._fd, b"%-15d\n" % os.getpid(), 0)
        _held.add(self)

    def _holder(self) -> int | None:
        text = os.pread(self._fd, 32, 0).strip()
        return int(text) if text.isdigit() else None

    def release(self) -> None:
        """Gives the lock up; harmless when done twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        _held.discard(self)


def remove_dead(path: str, remove: Callable[[], None]) -> bool:
    """Calls ``remove``, which is to unlink ``path``, if no living process holds its lock; whether it did.

    The lock is held meanwhile, so nobody takes the file for his own between the look and the unlink.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except PermissionError:
        # Another user's: nothing shows that it is dead.
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove()
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def _after_fork_in_child() -> None:
    for lock in list(_held):
        lock.forked = True
        lock.release()


os.register_at_fork(after_in_child=_after_fork_in_child)
