# SPDX-License-Identifier: MIT
"""The open folders between the top of a walk and where it is.

Each was opened from the one above it with ``O_NOFOLLOW``, so the way down has no symlink in it, whoever moves things
about meanwhile. The number of open ones is bounded: deeper folders are closed while the walk is below them and found
again through ``..``, which must then be the same folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final

from casstore.errors import ConflictError

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_OPEN: Final = 128

Identity = tuple[int, int]
"""Device and inode."""


class OpenFolder:
    """A folder on the way; ``prefix`` is its path and a slash (``b""`` for the top), ``fd`` is -1 while it is closed.

    ``pending`` is the walk's own list of what it still has to visit there.
    """

    __slots__ = ("fd", "identity", "pending", "prefix")

    def __init__(self, prefix: bytes, fd: int, pending: list[bytes]) -> None:
        self.prefix = prefix
        self.fd = fd
        self.pending = pending
        self.identity: Identity = (0, 0)


class FolderStack:
    """Open folders, the top of the walk first. The stack owns their descriptors."""

    __slots__ = ("_folders",)

    def __init__(self) -> None:
        self._folders: list[OpenFolder] = []

    def __len__(self) -> int:
        return len(self._folders)

    @property
    def last(self) -> OpenFolder:
        """The deepest folder; it is open."""
        return self._folders[-1]

    def push(self, prefix: bytes, fd: int, pending: list[bytes]) -> None:
        """Goes down into a folder."""
        if len(self._folders) >= MAX_OPEN:
            above = self._folders[-1]
            status = os.fstat(above.fd)
            above.identity = (status.st_dev, status.st_ino)
            os.close(above.fd)
            above.fd = -1
        self._folders.append(OpenFolder(prefix, fd, pending))

    def pop(self) -> None:
        """Leaves the deepest folder.

        Raises:
            ConflictError: The folder above was moved while it was closed.
        """
        left = self._folders.pop()
        try:
            if self._folders and self._folders[-1].fd < 0:
                above = self._folders[-1]
                try:
                    above.fd = os.open("..", FOLDER_FLAGS, dir_fd=left.fd)
                    status = os.fstat(above.fd)
                    same = (status.st_dev, status.st_ino) == above.identity
                except OSError:
                    same = False
                if not same:
                    place = os.fsdecode(above.prefix[:-1])
                    raise ConflictError(f"the folder {place!r} was moved meanwhile; try again.", path=place)
        finally:
            os.close(left.fd)

    def enter(
        self,
        folder: bytes,
        open_folder: Callable[[int, bytes, bytes], int],
        leave: Callable[[], None] | None = None,
    ) -> int:
        """Goes to ``folder`` (``b""`` is the top); its descriptor is valid until the next call.

        Args:
            folder: A path below the top.
            open_folder: Opens a member of a folder: called with the open folder above, the name, and the whole path.
            leave: Called instead of ``pop`` for each folder that the way leads out of; it pops.
        """
        wanted = folder + b"/" if folder else b""
        above = self._folders[-1]
        while not wanted.startswith(above.prefix):
            if leave is None:
                self.pop()
            else:
                leave()
            above = self._folders[-1]
        while len(above.prefix) < len(wanted):
            name = wanted[len(above.prefix) : wanted.index(b"/", len(above.prefix))]
            prefix = above.prefix + name + b"/"
            self.push(prefix, open_folder(above.fd, name, prefix[:-1]), [])
            above = self._folders[-1]
        return above.fd

    def close(self) -> None:
        """Gives all descriptors back; safe to call twice."""
        while self._folders:
            fd = self._folders.pop().fd
            if fd >= 0:
                os.close(fd)
