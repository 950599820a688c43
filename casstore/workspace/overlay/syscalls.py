# SPDX-License-Identifier: MIT
"""The few calls of Linux that Python does not have, each raising ``OSError`` as Python's own do."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ctypes

MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
_PR_SET_PDEATHSIG: Final = 1


def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, options: bytes | None) -> None:
    """Mounts a file system of ``kind`` at ``target``: mount(2)."""
    _check(_libc().mount(source, target, kind, flags, options), target)


def unmount(target: bytes, flags: int = 0) -> None:
    """Takes away what is mounted at ``target`` and does not follow a symlink there: umount2(2)."""
    _check(_libc().umount2(target, flags | UMOUNT_NOFOLLOW), target)


def unshare(flags: int) -> None:
    """Gives this process namespaces of its own: unshare(2)."""
    _check(_libc().unshare(flags))


def die_with_parent(signal: int) -> None:
    """Has the kernel send ``signal`` to this process when the thread that made it ends: prctl(2)."""
    _check(_libc().prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0))


def sync_file_system(fd: int) -> None:
    """Everything written so far to the file system of ``fd`` survives a power loss: syncfs(2)."""
    if sys.platform == "linux":
        _check(_libc().syncfs(fd))
    else:
        os.sync()


@cache
def _libc() -> ctypes.CDLL:
    # Imported on use: it takes milliseconds, and most commands mount nothing.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    text, number = ctypes.c_char_p, ctypes.c_ulong
    libc.mount.argtypes = (text, text, text, number, text)
    libc.umount2.argtypes = (text, ctypes.c_int)
    libc.prctl.argtypes = (ctypes.c_int, number, number, number, number)
    return libc


def _check(result: int, path: bytes | None = None) -> None:
    if result:
        import ctypes

        number = ctypes.get_errno()
        if path is None:
            raise OSError(number, os.strerror(number))
        raise OSError(number, os.strerror(number), os.fsdecode(path))
