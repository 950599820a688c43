# SPDX-License-Identifier: MIT
"""Where changes go: folders that are there, opened along the changed paths only, and those that are yet to be made."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

from casstore.errors import CasstoreError, ConflictError, InvalidInputError, StorageError
from casstore.workspace.changing.steps import Steps, parent_of
from casstore.workspace.changing.target import FOLDER_MODE, check_name
from casstore.workspace.scanning.folders import FOLDER_FLAGS, FolderStack, Identity

NO_FOLDER_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK})
"""Says that there is no folder of that name (``O_NOFOLLOW`` on a symlink says it in three ways)."""
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_GONE: Final = frozenset({errno.ENOENT, errno.ESTALE})


class Walk:
    """Folders below ``top``, each opened from the one above it with ``O_NOFOLLOW``. Cheapest along sorted paths.

    Args:
        top: The top folder, open; it stays the caller's.
        forbidden: A folder that is never entered (the store), if any.
    """

    __slots__ = ("_forbidden", "_stack", "making")

    def __init__(self, top: int, forbidden: Identity | None) -> None:
        self.making: bytes | None = None
        """A path and a slash: folders below it are made where they are missing."""
        self._forbidden = forbidden
        self._stack = FolderStack()
        self._stack.push(b"", os.dup(top), [])

    def enter(self, folder: bytes) -> int:
        """The open folder ``folder`` (``b""`` is the top). Valid until the next call.

        Raises:
            OSError: It is not there, or is no folder.
            CorruptionError: The path would lead outside.
            InvalidInputError: It is the forbidden folder.
        """
        return self._stack.enter(folder, self._open)

    def close(self) -> None:
        """Gives open folders back; safe to call twice."""
        self._stack.close()

    def _open(self, above: int, name: bytes, path: bytes) -> int:
        check_name(name, path)
        if self.making is not None and path.startswith(self.making):
            try:
                os.mkdir(name, FOLDER_MODE, dir_fd=above)
            except FileExistsError:
                pass
        fd = os.open(name, FOLDER_FLAGS, dir_fd=above)
        if self._forbidden is not None:
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == self._forbidden:
                os.close(fd)
                place = os.fsdecode(path)
                raise InvalidInputError(
                    f"{place!r} is the store itself, and the state has something there; move the store away.",
                    path=place,
                )
        return fd


class Errors:
    """What goes wrong below ``directory``, in the user's words.

    Attributes:
        begun: Something was changed already.
    """

    __slots__ = ("_directory", "begun")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self.begun = False

    def full_name(self, path: bytes) -> str:
        """The path as the user would name it."""
        return os.path.join(self._directory, os.fsdecode(path)) if path else self._directory

    def changed(self, path: bytes) -> ConflictError:
        """The error that ``path`` is not what it was when the directory was looked at."""
        place = self.full_name(path)
        return ConflictError(
            f"{place!r} changed after the directory was looked at, and is left as it is. {self._next()}", path=place
        )

    def in_the_way(self, path: bytes, why: str) -> InvalidInputError:
        """The error that something unknown has a name that is needed."""
        place = self.full_name(path)
        return InvalidInputError(f"{place!r} is in the way: {why}. Move it away, then try again.", path=place)

    def folder(self, path: bytes, error: OSError) -> CasstoreError:
        """What an ``OSError`` on the way into the folder ``path`` means."""
        if path and error.errno in NO_FOLDER_ERRNOS:
            return self.changed(path)
        return self.refused(path, error)

    def refused(self, path: bytes, error: OSError) -> CasstoreError:
        """What an ``OSError`` about ``path`` means."""
        place = self.full_name(path)
        if error.errno == errno.EEXIST:
            return self.changed(path)
        why = str(error.strerror)
        if error.errno in _FULL:
            why += " (new contents are written before old ones go); free some space"
        elif error.errno in _GONE:
            why += " (was its folder removed meanwhile?)"
        return StorageError(f"{place!r} cannot be changed: {why}. {self._next()}", path=place)

    def _next(self) -> str:
        if self.begun:
            return "What was done stays: repeat the command to go on from there, or go back with `casstore undo`."
        return "Nothing was changed yet; once that is solved, repeat the command."


class Places:
    """Which folders of the new state are there, and which are yet to be made.

    Args:
        walk: Opens folders.
        steps: The changes.
        errors: Words for what goes wrong.
    """

    __slots__ = ("_errors", "_missing", "_steps", "_walk")

    def __init__(self, walk: Walk, steps: Steps, errors: Errors) -> None:
        self._walk = walk
        self._steps = steps
        self._errors = errors
        self._missing: dict[bytes, bytes | None] = {b"": None}

    def missing(self, folder: bytes) -> bytes | None:
        """The highest folder on the way to ``folder`` that is yet to be made; None where all are there.

        Raises:
            InvalidInputError: Something unknown has the name of a folder.
            ConflictError: A folder that the old state has members in is gone.
            StorageError: The system refused.
        """
        known = self._missing
        if folder in known:
            return known[folder]
        way = [folder]
        while (above := parent_of(way[-1])) not in known:
            way.append(above)
        found = known[above]
        for path in reversed(way):
            if found is None and not self._is_there(path):
                found = path
            known[path] = found
        return found

    def _is_there(self, path: bytes) -> bool:
        if path in self._steps.into_folder:
            return False
        try:
            self._walk.enter(path)
        except OSError as error:
            if path in self._steps.old_folders:
                raise self._errors.folder(path, error) from error
            if error.errno == errno.ENOENT:
                return False
            if error.errno in NO_FOLDER_ERRNOS:
                raise self._errors.in_the_way(path, "the state has a directory there") from None
            if error.errno == errno.ENAMETOOLONG:
                raise too_long(self._errors, path) from None
            raise self._errors.refused(path, error) from error
        return True


def too_long(errors: Errors, path: bytes) -> InvalidInputError:
    """The error that the file system takes no name as long as the last one of ``path``."""
    place = errors.full_name(path)
    length = len(path) - path.rfind(b"/") - 1
    return InvalidInputError(
        f"{place!r}: the name has {length} bytes, more than this file system takes; nothing was changed. Use another "
        "file system, or a state without it.",
        path=place,
    )


def split(path: bytes) -> tuple[bytes, bytes]:
    """The folder that ``path`` is in (``b""`` is the top), and its name there.

    Raises:
        CorruptionError: The name would lead elsewhere.
    """
    folder = parent_of(path)
    name = path[len(folder) + 1 :] if folder else path
    check_name(name, path)
    return folder, name


def look(fd: int, name: bytes) -> os.stat_result | None:
    """What has ``name`` in the open folder ``fd``, a symlink itself; None for nothing. Raises ``OSError``."""
    try:
        return os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return None


def members(fd: int, name: bytes) -> Iterator[tuple[int, bytes, bytes, os.stat_result]]:
    """All that is below the folder ``name`` in the open folder ``fd``; what is in a folder comes before the folder.

    Yields the open folder that a member is in, its name, its path below ``name``, and what it is. A member may be
    removed as soon as it was yielded. Raises ``OSError``.
    """
    stack = FolderStack()
    try:
        top = os.open(name, FOLDER_FLAGS, dir_fd=fd)
        stack.push(b"", top, [])
        stack.last.pending.extend(_names(top))
        while True:
            folder = stack.last
            if not folder.pending:
                if len(stack) == 1:
                    return
                path = folder.prefix[:-1]
                status = os.fstat(folder.fd)
                stack.pop()
                above = stack.last
                yield above.fd, path[len(above.prefix) :], path, status
                continue
            member = folder.pending.pop()
            found = look(folder.fd, member)
            if found is None:
                continue
            if stat.S_ISDIR(found.st_mode):
                opened = os.open(member, FOLDER_FLAGS, dir_fd=folder.fd)
                stack.push(folder.prefix + member + b"/", opened, [])
                stack.last.pending.extend(_names(opened))
            else:
                yield folder.fd, member, folder.prefix + member, found
    finally:
        stack.close()


def _names(fd: int) -> list[bytes]:
    return [os.fsencode(name) for name in os.listdir(fd)]
