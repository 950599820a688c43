# SPDX-License-Identifier: MIT
"""Mode and metadata of a file or symlink that keeps its content and its inode.

What has another name elsewhere must not change there. So it is copied beside itself, and the copy takes its place.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from casstore.errors import CasstoreError
from casstore.workspace.changing.contents import BLOCK_BYTES
from casstore.workspace.changing.places import look
from casstore.workspace.changing.seen import Seen
from casstore.workspace.changing.target import write_file
from casstore.workspace.metadata import restore_link_metadata, restore_metadata
from casstore.workspace.report import LeftOut

if TYPE_CHECKING:
    from casstore.format.posix import PosixMetadata

# Without O_NONBLOCK, a file that was swapped for a FIFO would hang.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_PATH: Final = getattr(os, "O_PATH", 0)


@dataclass(frozen=True, slots=True)
class InPlace:
    """One file or symlink that is to change.

    Attributes:
        fd: The open folder that it is in.
        name: Its name there.
        path: Its path.
        seen: What it was when it was looked at.
        temporary: A free name in the folder.
        changed: Raised where it is not that any more.
    """

    fd: int
    name: bytes
    path: bytes
    seen: Seen
    temporary: bytes
    changed: CasstoreError

    def change(self, mode: int | None, metadata: PosixMetadata | None, warnings: list[LeftOut]) -> os.stat_result:
        """What it is with ``metadata``, or, where nothing was kept of it, with the permissions ``mode``.

        Raises ``OSError`` and ``changed``; what could not be restored is added to ``warnings``.
        """
        found = self._look()
        if not stat.S_ISLNK(found.st_mode):
            self._change_file(found, mode, metadata, warnings)
        elif metadata is not None and found.st_nlink == 1:
            restore_link_metadata(self.path, metadata, self.fd, self.name, warnings)
        elif metadata is not None:
            with self._replaced():
                os.symlink(os.readlink(self.name, dir_fd=self.fd), self.temporary, dir_fd=self.fd)
                restore_link_metadata(self.path, metadata, self.fd, self.temporary, warnings)
        return os.stat(self.name, dir_fd=self.fd, follow_symlinks=False)

    def _look(self) -> os.stat_result:
        found = look(self.fd, self.name)
        if found is None or not self._is_same(found):
            raise self.changed
        self.seen.will_change(found)
        return found

    def _is_same(self, status: os.stat_result) -> bool:
        return self.seen.is_same(self.path, status)

    def _change_file(
        self, found: os.stat_result, mode: int | None, metadata: PosixMetadata | None, warnings: list[LeftOut]
    ) -> None:
        def change(file: int) -> None:
            if metadata is not None:
                restore_metadata(self.path, metadata, file, warnings)
            elif mode is not None:
                os.fchmod(file, mode)

        file = self._open()
        try:
            if found.st_nlink == 1:
                change(file)
                return
            with self._replaced():
                write_file(self.fd, self.temporary, _blocks(file), stat.S_IMODE(found.st_mode), change)
                if not self._is_same(os.fstat(file)):
                    raise self.changed
        finally:
            os.close(file)

    def _open(self) -> int:
        """The file, open for reading and still what it was."""
        try:
            file = os.open(self.name, _READ, dir_fd=self.fd)
        except PermissionError:
            if not _PATH:
                raise
            return self._open_unreadable()
        if not self._is_same(os.fstat(file)):
            os.close(file)
            raise self.changed
        return file

    def _open_unreadable(self) -> int:
        """The same for a file that its owner may not read: it is made readable, for its mode is about to be set."""
        place = os.open(self.name, _PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            found = os.fstat(place)
            if not self._is_same(found):
                raise self.changed
            if found.st_nlink == 1:
                os.chmod(f"/proc/self/fd/{place}", stat.S_IMODE(found.st_mode) | stat.S_IRUSR)
            return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(place)

    @contextmanager
    def _replaced(self) -> Iterator[None]:
        """What the block makes under the temporary name takes the place, or goes again after an error."""
        try:
            yield
            os.rename(self.temporary, self.name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        except BaseException:
            try:
                os.unlink(self.temporary, dir_fd=self.fd)
            except FileNotFoundError:
                pass
            raise


def _blocks(file: int) -> Iterator[bytes]:
    while block := os.read(file, BLOCK_BYTES):
        yield block
