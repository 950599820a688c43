# SPDX-License-Identifier: MIT
"""The one seam to the operating system for everything that matters for durability.

Crash tests replace an ``OsFiles`` by one that records, drops or fails these calls. Nothing else in casstore calls
``fsync``, ``rename`` or ``unlink`` on a file of the store.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Sequence

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_IOV_MAX = 1024
_ZEROS_BYTES = 1024 * 1024


class OsFiles:
    """Files as the operating system gives them. Methods raise ``OSError``; callers say what it means for the store."""

    __slots__ = ()

    def make_folder(self, path: str) -> None:
        """Makes one folder, private to its user; the entry is durable once the parent was given to ``sync_folder``."""
        os.mkdir(path, FOLDER_MODE)

    def create(self, path: str) -> int:
        """A new file, open for appending; fails if the name is taken."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)

    def append(self, fd: int, parts: Sequence[bytes]) -> int:
        """Appends all of ``parts``; returns the bytes written (always all: short writes are continued)."""
        total = 0
        for start in range(0, len(parts), _IOV_MAX):
            block = parts[start : start + _IOV_MAX]
            wanted = sum(map(len, block))
            done = os.writev(fd, block)
            if done < wanted:
                rest = memoryview(b"".join(block))[done:]
                while rest:
                    rest = rest[os.write(fd, rest) :]
            total += wanted
        return total

    def write_at(self, fd: int, data: bytes, offset: int) -> None:
        """Writes all of ``data`` over what is at ``offset``."""
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, data[done:], offset + done)

    def sync(self, fd: int) -> None:
        """What was written to ``fd`` survives a power loss once this returns."""
        if sys.platform == "darwin":
            import fcntl

            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        else:
            os.fsync(fd)

    def sync_folder(self, path: str) -> None:
        """Names created, renamed or removed in the folder are durable once this returns."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self.sync(fd)
        finally:
            os.close(fd)

    def allocate(self, path: str, size: int, start: int = 0) -> None:
        """Makes the file ``path`` ``size`` bytes long or leaves it longer, with real blocks from ``start`` to there.

        After an error it may have any length in between. Not durable; what is in it does not count.
        """
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(fd, start, size - start)
                    return
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                        raise
            # No such call here, or not on this file system: zeros do the same.
            for offset in range(os.fstat(fd).st_size, size, _ZEROS_BYTES):
                self.write_at(fd, bytes(min(_ZEROS_BYTES, size - offset)), offset)
        finally:
            os.close(fd)

    def rename(self, source: str, target: str) -> None:
        """Atomically gives ``source`` the name ``target``, replacing what was there."""
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """Removes a file's name."""
        os.unlink(path)

    def truncate(self, path: str, length: int) -> None:
        """Cuts a file to ``length`` bytes and makes that durable."""
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, length)
            self.sync(fd)
        finally:
            os.close(fd)

    def replace_file(self, path: str, data: bytes, *, sync: bool = True) -> None:
        """Makes ``path`` hold ``data``: temp file, fsync, rename, fsync of the folder. Old or new, never a mixture."""
        temporary = f"{path}.tmp"
        with contextlib.suppress(FileNotFoundError):
            self.unlink(temporary)
        fd = self.create(temporary)
        try:
            self.append(fd, [data])
            if sync:
                self.sync(fd)
        finally:
            os.close(fd)
        self.rename(temporary, path)
        if sync:
            self.sync_folder(os.path.dirname(path))
