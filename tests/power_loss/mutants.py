# SPDX-License-Identifier: MIT
"""Faults that are put into the store on purpose, to see that the crash points catch them.

Each takes away one safeguard of the write order or of recovery. A process applies one before it opens the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from casstore.layout import SEGMENTS, parse_segment_name
from casstore.osfile import OsFiles
from casstore.storage.index import LevelIndex
from casstore.storage.readers import live_pins
from casstore.storage.segment_backend import SegmentBackend

STORE: Final = "store"
"""The store's folder in the watched one."""


def _is_segment(fd: int) -> bool:
    return parse_segment_name(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))) is not None


def segment_not_synced() -> None:
    """Step 2 of the write order without the ``fsync`` of the segment."""
    real = OsFiles.sync

    def sync(self: OsFiles, fd: int) -> None:
        if not _is_segment(fd):
            real(self, fd)

    def truncate(self: OsFiles, path: str, length: int) -> None:
        with open(path, "r+b") as file:
            file.truncate(length)
            os.fsync(file.fileno())

    OsFiles.sync = sync  # type: ignore[method-assign]
    OsFiles.truncate = truncate  # type: ignore[method-assign]


def _folder_not_synced(name: str) -> None:
    real = OsFiles.sync_folder

    def sync_folder(self: OsFiles, path: str) -> None:
        if os.path.basename(path) != name:
            real(self, path)

    OsFiles.sync_folder = sync_folder  # type: ignore[method-assign]


def segments_folder_not_synced() -> None:
    """The name of a new segment is not made durable."""
    _folder_not_synced(SEGMENTS)


def store_folder_not_synced() -> None:
    """The superblock or the settings are replaced, and the folder is not synced."""
    _folder_not_synced(STORE)


def adopted_without_cut() -> None:
    """Recovery adopts a tail that it neither cut nor synced."""
    OsFiles.truncate = lambda self, path, length: None  # type: ignore[method-assign]


def batches_not_counted() -> None:
    """An opening believes an index from whose middle batches are missing."""
    LevelIndex.batches_complete = lambda self: True  # type: ignore[method-assign]


def ends_not_compared() -> None:
    """An entry that points beyond the end of its segment counts as there."""
    SegmentBackend._reachable = lambda self, entry: True  # type: ignore[method-assign]


def removed_before_condemned() -> None:
    """Compaction removes a segment before the batch that says where its records are now."""
    real: Callable[..., bool] = SegmentBackend._move_live

    def move(self: SegmentBackend, segment: int, end: int, *more: Any) -> bool:
        moved = real(self, segment, end, *more)
        if moved and not live_pins(self.path):
            os.unlink(self._files.path(segment))
        return moved

    SegmentBackend._move_live = move  # type: ignore[assignment, method-assign]


def renamed_unsynced() -> None:
    """A file is replaced by one whose bytes are not on the disk yet."""

    def replace_file(self: OsFiles, path: str, data: bytes, *, sync: bool = True) -> None:
        with open(f"{path}.tmp", "wb") as file:
            file.write(data)
        self.rename(f"{path}.tmp", path)
        self.sync_folder(os.path.dirname(path))

    OsFiles.replace_file = replace_file  # type: ignore[method-assign]


MUTANTS: Final[dict[str, Callable[[], None]]] = {
    one.__name__: one
    for one in (
        segment_not_synced,
        segments_folder_not_synced,
        store_folder_not_synced,
        adopted_without_cut,
        batches_not_counted,
        ends_not_compared,
        removed_before_condemned,
        renamed_unsynced,
    )
}


def apply_mutant(name: str) -> None:
    """Puts the faults ``name`` into this process, several with ``+`` between; "" is none."""
    for part in filter(None, name.split("+")):
        MUTANTS[part]()
