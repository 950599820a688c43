# SPDX-License-Identifier: MIT
"""Renames in one folder that lose nothing: two names swapped in one step, and a name taken only if it is free.

Linux has both as one call, for files, symlinks and folders alike. A plain rename over a file is no substitute for the
swap: what was replaced can no longer be looked at, and ext4 begins to write the new file out (0.2 to 4 ms each). Where
the call is missing, a free name is taken by ``link``, which never replaces.

Source: ``link`` for a name that must be free is maildir's (D. J. Bernstein).
"""

from __future__ import annotations

import errno
import os
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_NOREPLACE: Final = 1
_EXCHANGE: Final = 2
# What says that the kernel, the file system or a sandbox does not have the call (an overlay: not for this folder).
_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM})
# What a file system says that has no hard links, or not one more of this file.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS, errno.EINVAL})


def exchange(fd: int, one: bytes, other: bytes) -> bool:
    """Swaps two names in the open folder ``fd``; False, and nothing done, where that cannot be. Raises ``OSError``."""
    return _rename(fd, one, other, _EXCHANGE)


def rename_new(fd: int, name: bytes, new: bytes, *, is_folder: bool) -> None:
    """Gives ``name`` in the open folder ``fd`` the name ``new``. Raises ``FileExistsError`` where that is taken.

    Without the system's help, a folder may replace an empty one that came into being at this instant.
    """
    if _rename(fd, name, new, _NOREPLACE):
        return
    if not is_folder:
        try:
            os.link(name, new, src_dir_fd=fd, dst_dir_fd=fd, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
        else:
            os.unlink(name, dir_fd=fd)
            return
    try:
        os.stat(new, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(name, new, src_dir_fd=fd, dst_dir_fd=fd)
    else:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def _rename(fd: int, name: bytes, new: bytes, flags: int) -> bool:
    call = _renameat2()
    if call is None:
        return False
    code = call(fd, name, new, flags)
    if code == 0:
        return True
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code))


@cache
def _renameat2() -> Callable[[int, bytes, bytes, int], int] | None:
    """The call within one folder, which returns 0 or the error's number; None where the system has none."""
    # Loaded on use: it costs 2 ms.
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def call(fd: int, name: bytes, new: bytes, flags: int) -> int:
        if function(fd, name, fd, new, flags) == 0:
            return 0
        return ctypes.get_errno()

    return call
