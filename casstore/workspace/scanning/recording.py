# SPDX-License-Identifier: MIT
"""What a checkout wrote, as the stat cache will want to know it: so the first look at the new directory reads nothing.

The directory was empty, and the names were made with ``O_EXCL`` by us. So what was written is trusted although it is
new, but for what was written in the last ticks of the clock: whoever waited for the checkout may change it in the same.
"""

from __future__ import annotations

import os
import time
from typing import Final

from casstore.format.stat_cache import NO_RULES, UNSETTLED, FolderRecord, Stat, decode_folder, encode_folder
from casstore.workspace.scanning.fingerprint import is_settled

MAX_MEMBERS: Final = 250_000
"""Of larger states nothing is kept, so that memory stays bounded; the first look then reads everything."""


class Recorder:
    """Takes the status of what is written, folder by folder.

    Attributes:
        folders: A folder's path and a slash → its encoded record.
    """

    __slots__ = ("_count", "_folders", "_members", "_newest", "folders")

    def __init__(self) -> None:
        self.folders: dict[bytes, bytes] = {}
        self._members: dict[bytes, list[tuple[bytes, Stat]]] = {}
        self._folders: dict[bytes, list[bytes]] = {}
        self._newest: dict[bytes, int] = {}
        self._count = 0

    def member(self, path: bytes, status: os.stat_result) -> None:
        """A file or symlink lies at ``path``."""
        cut = path.rfind(b"/") + 1
        stat = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode)
        self._members.setdefault(path[:cut], []).append((path[cut:], stat))
        self._count += 1

    def folder(self, path: bytes, status: os.stat_result) -> None:
        """Everything is in the folder at ``path`` (``b""`` is the top)."""
        prefix = path + b"/" if path else b""
        members = sorted(self._members.pop(prefix, ()))
        record = FolderRecord(
            status.st_ino,
            status.st_mtime_ns,
            status.st_ctime_ns,
            True,
            NO_RULES,
            [name for name, _ in members],
            [stat for _, stat in members],
            sorted(self._folders.pop(prefix, ())),
            [],
        )
        if path:
            cut = path.rfind(b"/") + 1
            self._folders.setdefault(path[:cut], []).append(path[cut:])
        if self._count <= MAX_MEMBERS:
            self.folders[prefix] = encode_folder(record)
            self._newest[prefix] = max([record.ctime_ns, *[stat[3] for stat in record.stats]])
        else:
            self.folders.clear()
            self._newest.clear()

    def settle(self) -> None:
        """Has what may change in this tick of the clock looked at again; to be called last."""
        now = time.time_ns()
        for prefix, newest in self._newest.items():
            if not is_settled(newest, newest, now):
                record = decode_folder(self.folders[prefix])
                record.listed = is_settled(record.ctime_ns, record.ctime_ns, now)
                for place, stat in enumerate(record.stats):
                    if not is_settled(stat[3], stat[3], now):
                        record.stats[place] = (*stat[:4], stat[4] | UNSETTLED)
                self.folders[prefix] = encode_folder(record)
