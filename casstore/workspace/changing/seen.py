# SPDX-License-Identifier: MIT
"""What a directory's files were when it was looked at, and whether they still are, whatever this run did itself.

Files that share an inode (hard links) share its change time too: when one of the names goes, gives way or is set aside,
the others look changed. So the change time says nothing any more about an inode that this run has changed; inode,
size, mode and the time of the last change of content still do, and no step of a run alters those of another name.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from casstore.workspace.scanning.fingerprint import Fingerprint, fingerprint_of
from casstore.workspace.scanning.folders import Identity

Expected = Callable[[bytes], Fingerprint | None]
"""What was at a path when the directory was looked at; None where nothing was."""


class Seen:
    """Tells the files that are as they were from those that somebody else changed.

    Args:
        expected: What was at a path when the directory was looked at.
    """

    __slots__ = ("_changed", "expected")

    def __init__(self, expected: Expected) -> None:
        self.expected = expected
        self._changed: set[Identity] = set()

    def will_change(self, status: os.stat_result) -> None:
        """Notes that this run is about to rename, remove or change a file or symlink that looks like ``status``."""
        # What has a single name is not compared again once that is gone.
        if status.st_nlink > 1:
            self._changed.add((status.st_dev, status.st_ino))

    def is_same(self, path: bytes, status: os.stat_result | None, *, moved: bool = False) -> bool:
        """Whether ``status`` is what was at ``path``. ``moved``: it was renamed, which moves its change time."""
        if status is None:
            return False
        expected, found = self.expected(path), fingerprint_of(status)
        if found == expected:
            return True
        if expected is None or not (moved or (status.st_dev, status.st_ino) in self._changed):
            return False
        return found._replace(ctime_ns=expected.ctime_ns) == expected
