# SPDX-License-Identifier: MIT
"""Folders that a killed switch had set aside, and that somebody went on writing to: they are kept, in sight."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable
from typing import Final

from casstore.format.entry import Entry
from casstore.workspace.changing.places import NO_FOLDER_ERRNOS, Walk, look, members
from casstore.workspace.changing.steps import parent_of
from casstore.workspace.scanning.reading import HashingSink, read_file, read_symlink

KEPT: Final = b"kept-"
"""What stands before the rest of the temporary name."""


def keep_unknown(
    top: int, leftovers: Iterable[bytes], aside: Collection[int], is_known: Callable[[Entry], bool]
) -> list[bytes]:
    """Gives a visible name to every leftover folder that holds something unknown; returns the new paths.

    Args:
        top: The folder that was changed, open.
        leftovers: Paths of temporary names.
        aside: Inodes of folders that were set aside; others were in the making, and may be torn.
        is_known: Whether a content lies in the store for good.

    Raises:
        OSError: The system refused.
    """
    kept: list[bytes] = []
    walk = Walk(top, None)
    try:
        for path in sorted(leftovers):
            folder = parent_of(path)
            name = path[len(folder) + 1 :] if folder else path
            try:
                fd = walk.enter(folder)
            except OSError as error:
                if error.errno in NO_FOLDER_ERRNOS:
                    continue
                raise
            status = look(fd, name)
            if status is None or status.st_ino not in aside or not stat.S_ISDIR(status.st_mode):
                continue
            if not _has_unknown(fd, name, is_known):
                continue
            shown = KEPT + name.lstrip(b".")
            os.rename(name, shown, src_dir_fd=fd, dst_dir_fd=fd)
            kept.append(folder + b"/" + shown if folder else shown)
    finally:
        walk.close()
    return kept


def _has_unknown(fd: int, name: bytes, is_known: Callable[[Entry], bool]) -> bool:
    sink = HashingSink()
    for folder, member, _, status in members(fd, name):
        if stat.S_ISDIR(status.st_mode):
            continue
        if stat.S_ISLNK(status.st_mode):
            entry = read_symlink(sink, folder, member)
        elif stat.S_ISREG(status.st_mode):
            found = read_file(sink, folder, member)
            if found is None:
                return True  # Somebody writes it right now.
            entry = found[1]
        else:
            return True
        if not is_known(entry):
            return True
    return False
