# SPDX-License-Identifier: MIT
"""Deleting folders of the store that hold what programs made: of any depth, and with any permissions."""

from __future__ import annotations

import os
import stat
from typing import Final

from casstore.errors import StorageError
from casstore.workspace.scanning.folders import FOLDER_FLAGS
from casstore.workspace.scanning.way import Way

_OPEN_MODE: Final = 0o700


def remove_tree(folder: str) -> None:
    """Deletes a folder with all that is in it; no symlink is followed. Nothing happens if it is gone already.

    Raises:
        StorageError: The system refused.

    *Cost*: memory for the paths of the folders; a bounded number of them is open.
    """
    try:
        status = os.stat(folder, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(folder)
            return
        if status.st_mode & _OPEN_MODE != _OPEN_MODE:
            os.chmod(folder, _OPEN_MODE)
        way = Way(os.open(folder, FOLDER_FLAGS))
        try:
            _empty(way)
        finally:
            way.close()
        os.rmdir(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        name = os.fsdecode(error.filename or folder)
        raise StorageError(
            f"{name!r} in {folder!r} cannot be deleted: {error.strerror}; once that is solved, try again.", path=folder
        ) from error


def _empty(way: Way) -> None:
    pending, found = [b""], []
    while pending:
        prefix = pending.pop()
        way.go(prefix)
        fd = way.fd()
        with os.scandir(fd) as members:
            names = [(os.fsencode(member.name), member.is_dir(follow_symlinks=False)) for member in members]
        for name, is_folder in names:
            if not is_folder:
                os.unlink(name, dir_fd=fd)
                continue
            if os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode & _OPEN_MODE != _OPEN_MODE:
                os.chmod(name, _OPEN_MODE, dir_fd=fd)
            pending.append(prefix + name + b"/")
            found.append((prefix, name))
    # Folders were found before those in them.
    for prefix, name in reversed(found):
        way.go(prefix)
        os.rmdir(name, dir_fd=way.fd())
