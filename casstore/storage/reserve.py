# SPDX-License-Identifier: MIT
"""The file ``reserve``: space that a store holds so that it can be opened, and collected, on a full disk.

Real blocks, never read: as much as the largest segment present, which a collection may have to write anew before the
old one goes, and as LevelDB may need to turn its logs into tables. Small stores hold little: see ``wanted_bytes``.

Invariant: while the file is smaller than it should be, ordinary writes are refused until it is whole again, so that
they do not eat what it gave back. What frees space (deleting refs, collecting, opening) may use it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Final

from casstore.layout import INDEX, RESERVE
from casstore.osfile import OsFiles
from casstore.storage.index import WRITE_BUFFER_BYTES

ENTRY_BYTES: Final = 128
"""About what an index entry takes in LevelDB."""
_LEAST_BYTES: Final = 32 * 1024
"""An empty LevelDB was opened with 12 KiB free, and not with less; its files take whole blocks."""
_MOST_BYTES: Final = 2 * WRITE_BUFFER_BYTES
"""LevelDB replays at most two logs of a write buffer each: 733 KB of logs took 733 KB, 3.2 MB took 2.9 MB."""
_SMALLEST_BYTES: Final = 16 * 1024
_STEP_BYTES: Final = 64 * 1024
_LARGE_STEP_BYTES: Final = 1024 * 1024

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_FULL_TEXTS: Final = tuple(os.strerror(code) for code in sorted(FULL))


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that the disk, or the user's share of it, is full; LevelDB's say so in words only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if any(text in str(error) for text in _FULL_TEXTS):
            return True
        error = error.__cause__
    return False


def wanted_bytes(largest_segment: int, index_bytes: int) -> int:
    """How much a store should hold back.

    Args:
        largest_segment: Bytes of the largest segment file; 0 is a store without any, which holds nothing back.
        index_bytes: Bytes of the index; twice that, and no more than LevelDB's two write buffers, is held for it.
    """
    if not largest_segment:
        return 0
    return _rounded(largest_segment) + index_part(index_bytes)


def index_part(index_bytes: int) -> int:
    """How much LevelDB may need at an opening, or for its own work while a collection deletes."""
    return _rounded(min(_MOST_BYTES, _LEAST_BYTES + 2 * index_bytes))


def _rounded(size: int) -> int:
    step = _STEP_BYTES if size < _LARGE_STEP_BYTES else _LARGE_STEP_BYTES
    return -(-size // step) * step


class Reserve:
    """The reserve of one store, for the holder of the writer's lock and one thread at a time.

    Attributes:
        held_bytes: Size of the file.
        refusal: Why it could not be made larger, the last time that it could not.
    """

    __slots__ = ("_files", "_index", "_index_bytes", "_index_covered", "_path", "held_bytes", "refusal")

    def __init__(self, store: str, files: OsFiles) -> None:
        self._files = files
        self._path = os.path.join(store, RESERVE)
        self._index = os.path.join(store, INDEX)
        self._index_bytes = 0
        self._index_covered = 0
        self.held_bytes = 0
        self.refusal: OSError | None = None
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(self._path)
            # A copy of the store may have left holes, which hold nothing back: then it is made anew from the start.
            self.held_bytes = status.st_size if status.st_blocks * 512 >= status.st_size else 0

    # -- as the store grows

    def index_grew(self, entries: int) -> bool:
        """Counts entries that were written to the index; whether it outgrew what is held for it."""
        self._index_bytes += entries * ENTRY_BYTES
        return self._index_bytes > self._index_covered

    def cover(self, largest_segment: int) -> int:
        """The length to which segments may grow with what is held now; -1 where there is no room for more.

        Room is left beside it: LevelDB writes on its own, and after one refusal takes no more until it is opened again.
        """
        self.refusal = None
        self._index_bytes = folder_bytes(self._index)
        wanted = wanted_bytes(largest_segment, self._index_bytes)
        if wanted > self.held_bytes and not self._resize(wanted):
            return -1
        covered = _rounded(largest_segment)
        if self._free_bytes() < index_part(self._index_bytes) + covered - largest_segment:
            self.refusal = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return -1
        # Twice the index is held, so nobody need look again before it has grown by half.
        self._index_covered = max(_LEAST_BYTES // 2, self._index_bytes + self._index_bytes // 2)
        if 2 * self._index_bytes >= _MOST_BYTES:
            self._index_covered = sys.maxsize
        return covered

    # -- when the disk is full

    def settle(self, largest_segment: int) -> int:
        """The same as ``cover``; gives back what is too much, and all where LevelDB would have no room beside it."""
        if not largest_segment:
            self.release()
            return 0
        covered = self.cover(largest_segment)
        wanted = wanted_bytes(largest_segment, self._index_bytes)
        if wanted < self.held_bytes:
            self._resize(wanted)
        if is_full(self.refusal) or not self._has_beside(index_part(self._index_bytes)):
            self.release()
            return -1
        return covered

    def keep(self, largest_segment: int) -> None:
        """Holds as much as there is room for, when LevelDB is closed, for the next opening."""
        size = wanted_bytes(largest_segment, folder_bytes(self._index))
        while size > max(self.held_bytes, _SMALLEST_BYTES) and not self._resize(size):
            size //= 2

    def has_room(self) -> bool:
        """Whether a collection finds as much room beside the reserve as is held in it."""
        return self._free_bytes() >= self.held_bytes and self._has_beside(index_part(self._index_bytes))

    def _has_beside(self, size: int) -> bool:
        # Taken for a moment: a user's own share of the disk is not in the figures of the file system.
        held = self.held_bytes
        if self._resize(held + size):
            return self._resize(held)
        return not is_full(self.refusal)

    def _free_bytes(self) -> int:
        seen = os.statvfs(os.path.dirname(self._path))
        return seen.f_bavail * seen.f_frsize

    def release(self) -> bool:
        """Gives all of it back to the file system; whether there was anything."""
        if not self.held_bytes:
            return False
        try:
            # Synced, or some file systems do not hand the blocks out again at once.
            self._files.truncate(self._path, 0)
        except OSError as error:
            self.refusal = error
            return False
        self.held_bytes = 0
        return True

    def _resize(self, size: int) -> bool:
        """Makes the file that large; False where that is refused, and then it is as large as before."""
        try:
            if size > self.held_bytes:
                self._files.allocate(self._path, size, self.held_bytes)
            else:
                os.truncate(self._path, size)
        except OSError as error:
            self.refusal = error
            with contextlib.suppress(OSError):
                os.truncate(self._path, self.held_bytes)
            return False
        self.held_bytes = size
        return True


def disk_full(error: OSError | None) -> str:
    """What to tell somebody whose write was refused, and how to go on."""
    if not is_full(error):
        return f"space for collections cannot be held back ({error}); nothing of this was kept. See to the disk."
    what = os.strerror(errno.ENOSPC) if error is None else error.strerror
    return (
        f"the disk is full ({what}); no state has what was being written. Delete refs that are not needed and run "
        "`casstore gc`, with `--grace 0` for what was just written; space is held back for it. Or free space elsewhere."
    )


def folder_bytes(path: str) -> int:
    """Bytes of the files in a folder; 0 where there is none."""
    total = 0
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    # LevelDB removes files at any time.
                    continue
    except FileNotFoundError:
        return 0
    return total


def reserve_bytes(store: str) -> int:
    """Bytes that a store holds back just now, as blocks of the file system."""
    try:
        return os.stat(os.path.join(store, RESERVE)).st_blocks * 512
    except FileNotFoundError:
        return 0
