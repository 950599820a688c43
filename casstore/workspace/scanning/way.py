# SPDX-License-Identifier: MIT
"""The way from the top of a walk to where it is, with folders opened only when they are needed.

A folder is opened from the nearest open one above it, component by component with ``O_NOFOLLOW``: no symlink is ever
walked through. A bounded number is open at a time.
"""

from __future__ import annotations

import os
from typing import Final

from casstore.workspace.scanning.folders import FOLDER_FLAGS

MAX_OPEN: Final = 128


class Way:
    """Folders from the top on. It owns their descriptors.

    Args:
        top: The top folder, open.
    """

    __slots__ = ("_fds", "_open", "_prefixes", "top")

    def __init__(self, top: int) -> None:
        self.top = top
        self._prefixes = [b""]
        self._fds = [top]
        self._open = 1

    def go(self, prefix: bytes) -> None:
        """Makes ``prefix`` (a path and a slash, or nothing) the place where the walk is; opens nothing."""
        prefixes, fds = self._prefixes, self._fds
        while not prefix.startswith(prefixes[-1]):
            prefixes.pop()
            fd = fds.pop()
            if fd >= 0:
                os.close(fd)
                self._open -= 1
        if len(prefix) > len(prefixes[-1]):
            prefixes.append(prefix)
            fds.append(-1)

    def fd(self) -> int:
        """The folder where the walk is, open until the walk leaves it.

        Raises:
            OSError: It is not there any more, or is no folder.
        """
        fds = self._fds
        if fds[-1] >= 0:
            return fds[-1]
        at = len(fds) - 1
        while fds[at] < 0:
            at -= 1
        prefixes = self._prefixes
        for place in range(at + 1, len(fds)):
            fd = fds[place - 1]
            opened = -1
            # What lies between two places of the way may be several components.
            for name in prefixes[place][len(prefixes[place - 1]) : -1].split(b"/"):
                try:
                    fd = os.open(name, FOLDER_FLAGS, dir_fd=fd)
                finally:
                    if opened >= 0:
                        os.close(opened)
                opened = fd
            fds[place] = fd
            self._open += 1
        if self._open > MAX_OPEN:
            self._close_upper()
        return fds[-1]

    def _close_upper(self) -> None:
        """Closes the upper half of the open folders but the top; they are opened again when they are needed."""
        fds = self._fds
        for place in range(1, len(fds) - 1):
            if fds[place] >= 0 and self._open > MAX_OPEN // 2:
                os.close(fds[place])
                fds[place] = -1
                self._open -= 1

    def close(self) -> None:
        """Gives all descriptors back, the top's too; safe to call twice."""
        while self._fds:
            fd = self._fds.pop()
            if fd >= 0:
                os.close(fd)
        self._prefixes = [b""]
