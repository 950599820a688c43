# SPDX-License-Identifier: MIT
"""Temporary names beside the places of what is written, and what a run that was killed left under them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable

from casstore.errors import InvalidInputError, StorageError
from casstore.workspace.changing.places import NO_FOLDER_ERRNOS, Walk, members
from casstore.workspace.changing.steps import add_folders, check_keys
from casstore.workspace.scanning.scan import TEMPORARY as TEMPORARY

OnRemoval = Callable[[os.stat_result], None]
"""Called with what a file or symlink is that is about to be removed."""


class Names:
    """Temporary names: ``TEMPORARY``, the token, ``-`` and digits. Short, whatever the names in the state."""

    __slots__ = ("_next", "_prefix")

    def __init__(self, token: str) -> None:
        self._prefix = temporary_prefix(token)
        # A run that was killed may have left lower numbers behind.
        self._next = int.from_bytes(os.urandom(4)) << 16

    def take(self) -> bytes:
        """A name that nothing has."""
        self._next += 1
        return b"%b%d" % (self._prefix, self._next)


def temporary_prefix(token: str) -> bytes:
    """What the temporary names of ``token`` begin with.

    Raises:
        InvalidInputError: It is not 1 to 64 ASCII letters and digits.
    """
    if not (token.isascii() and token.isalnum() and len(token) <= 64):
        raise InvalidInputError(f"{token!r} is no token of temporary names: give up to 64 ASCII letters and digits.")
    return TEMPORARY + token.encode() + b"-"


def clear_temporaries(top: int, token: str, folders: Iterable[bytes], on_removal: OnRemoval | None = None) -> int:
    """Removes what a killed run of ``token`` left behind; returns how many names that were.

    Args:
        top: The folder that was changed, open.
        token: The run's token.
        folders: The folders of all changed paths; those above them are looked through too.
        on_removal: Told of each file and symlink, for it may have other names.

    Raises:
        CorruptionError: A path leads outside.
        StorageError: The system refused.
    """
    prefix = temporary_prefix(token)
    every: set[bytes] = set()
    for folder in folders:
        if folder:
            every.add(folder)
            add_folders(every, [folder])
    paths = sorted(every)
    check_keys(paths)
    count = 0
    walk = Walk(top, None)
    try:
        for folder in (b"", *paths):
            try:
                fd = walk.enter(folder)
                names = [os.fsencode(name) for name in os.listdir(fd)]
            except OSError as error:
                if error.errno in NO_FOLDER_ERRNOS:
                    continue
                raise _not_cleared(folder, error) from error
            for name in names:
                if name.startswith(prefix) and name[len(prefix) :].isdigit():
                    try:
                        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                        if on_removal is not None and not stat.S_ISDIR(status.st_mode):
                            on_removal(status)
                        remove(fd, name, stat.S_ISDIR(status.st_mode), on_removal)
                    except OSError as error:
                        raise _not_cleared(folder + b"/" + name if folder else name, error) from error
                    count += 1
    finally:
        walk.close()
    return count


def _not_cleared(path: bytes, error: OSError) -> StorageError:
    place = os.fsdecode(path)
    return StorageError(
        f"what an interrupted run left at {place!r} cannot be removed: {error.strerror}. Once that is solved, repeat "
        "the command.",
        path=place,
    )


def remove(fd: int, name: bytes, is_folder: bool, on_removal: OnRemoval | None = None) -> None:
    """Removes ``name``, a folder with all that is in it, from the open folder ``fd``. Raises ``OSError``."""
    if not is_folder:
        os.unlink(name, dir_fd=fd)
        return
    for folder, member, _, status in members(fd, name):
        if stat.S_ISDIR(status.st_mode):
            os.rmdir(member, dir_fd=folder)
        else:
            if on_removal is not None:
                on_removal(status)
            os.unlink(member, dir_fd=folder)
    os.rmdir(name, dir_fd=fd)
