# SPDX-License-Identifier: MIT
"""The walk over a directory that is imported: what is in it, sorted by name, without following a symlink.

Each folder is opened from the one it was found in with ``O_NOFOLLOW``. So a folder that somebody swaps for a symlink
during the walk ends it with an error instead of leading it outside.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import Final, NamedTuple

from casstore import layout
from casstore.errors import CasstoreError, ConflictError, InvalidInputError
from casstore.workspace.folders import FOLDER_FLAGS, FolderStack, Identity
from casstore.workspace.report import LeftOut

# Says that a name is no longer what it was when its folder was listed.
CHANGED_ERRNOS: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EMLINK})
# What os.fsencode does, at a third of its price.
_ENCODING: Final = sys.getfilesystemencoding()
_ERRORS: Final = sys.getfilesystemencodeerrors()
_SUPERBLOCK: Final = os.fsencode(layout.SUPERBLOCK)
# Says nothing about the file: passing over it would lose data in silence.
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})


class Folder(NamedTuple):
    """One folder of the walk; ``fd`` is open until the next one is asked for. Names are sorted bytes."""

    prefix: bytes
    fd: int
    files: list[bytes]
    symlinks: list[bytes]
    folders: list[bytes]


class Scan:
    """A walk over ``directory``, and what it had to leave out.

    Args:
        directory: The folder to walk; a symlink given here is followed, as the user named it.
        exclude: Identity of a folder that is passed over in silence (the store), if any.
        skip_unreadable: Note what cannot be read in ``left_out`` instead of raising.

    Raises:
        InvalidInputError: It is not there, no directory, not readable, the root of the file system or the home folder.
    """

    __slots__ = ("_exclude", "_skip_unreadable", "_stack", "_top", "childless", "directory", "left_out")

    def __init__(self, directory: str, *, exclude: Identity | None, skip_unreadable: bool) -> None:
        self.directory = directory
        self.left_out: list[LeftOut] = []
        # Folders that lost a member to left_out, so that they may turn out to be empty in the snapshot.
        self.childless: list[bytes] = []
        self._exclude = exclude
        self._skip_unreadable = skip_unreadable
        self._stack = FolderStack()
        self._top = _open_top(directory)
        try:
            _refuse(directory, os.fstat(self._top), exclude)
        except CasstoreError:
            os.close(self._top)
            raise

    def close(self) -> None:
        """Gives the open folders back."""
        self._stack.close()
        if self._top >= 0:
            os.close(self._top)
            self._top = -1

    def folders(self) -> Iterator[Folder]:
        """Every folder, a parent before what is in it, in the order of their names. To be called once.

        Raises:
            InvalidInputError: A folder cannot be read (without ``skip_unreadable``).
            ConflictError: A folder changed into something else during the walk.
        """
        stack = self._stack
        fd, self._top = self._top, -1
        prefix = b""
        while True:
            opened = fd
            try:
                try:
                    folder = self._list(prefix, fd)
                except OSError as error:
                    self.unreadable(prefix[:-1], error)
                else:
                    if self._is_excluded(folder):
                        self.leave_out(prefix[:-1], "the store itself")
                    else:
                        yield folder
                        if folder.folders or not prefix:
                            folder.folders.reverse()
                            stack.push(prefix, fd, folder.folders)
                            opened = -1
            finally:
                if opened >= 0:
                    os.close(opened)
            while True:
                above = stack.last
                while not above.pending:
                    stack.pop()
                    if not len(stack):
                        return
                    above = stack.last
                prefix = above.prefix + above.pending.pop() + b"/"
                try:
                    fd = os.open(prefix[len(above.prefix) : -1], FOLDER_FLAGS, dir_fd=above.fd)
                    break
                except OSError as error:
                    self.unreadable(prefix[:-1], error)

    def unreadable(self, path: bytes, error: OSError) -> None:
        """Notes that ``path`` cannot be read, if that was asked for.

        Raises:
            InvalidInputError: It was not.
            ConflictError: ``path`` is not what it was when its folder was listed.
        """
        if error.errno in CHANGED_ERRNOS:
            raise self.changed(path) from None
        name = self.full_name(path)
        if not self._skip_unreadable or not path or error.errno in _EXHAUSTED:
            raise InvalidInputError(
                f"{name!r} cannot be read: {error.strerror}; nothing was imported. Give yourself access to it, "
                "or leave it out with --skip-unreadable (skip_unreadable=True).",
                path=name,
            ) from None
        self.leave_out(path, f"unreadable: {error.strerror}")

    def changed(self, path: bytes) -> ConflictError:
        """The error that says that ``path`` did not keep still."""
        name = self.full_name(path)
        return ConflictError(
            f"{name!r} changed while it was read; nothing was imported. Import again when nothing writes to it.",
            path=name,
        )

    def leave_out(self, path: bytes, why: str) -> None:
        """Notes that ``path`` is not in the snapshot."""
        self.left_out.append(LeftOut(os.fsdecode(path), why))
        self.childless.append(_parent(path))

    def full_name(self, path: bytes) -> str:
        """The path as the user would name it."""
        return os.path.join(self.directory, os.fsdecode(path)) if path else self.directory

    def _is_excluded(self, folder: Folder) -> bool:
        # Every store has a superblock, so other folders cost no look. Not by the inode in the listing above it: for a
        # mount point that is another one.
        if self._exclude is None or _SUPERBLOCK not in folder.files:
            return False
        status = os.fstat(folder.fd)
        return (status.st_dev, status.st_ino) == self._exclude

    def _list(self, prefix: bytes, fd: int) -> Folder:
        files: list[bytes] = []
        symlinks: list[bytes] = []
        folders: list[bytes] = []
        with os.scandir(fd) as members:
            for member in members:
                if member.is_file(follow_symlinks=False):
                    files.append(member.name.encode(_ENCODING, _ERRORS))
                elif member.is_dir(follow_symlinks=False):
                    folders.append(member.name.encode(_ENCODING, _ERRORS))
                elif member.is_symlink():
                    symlinks.append(member.name.encode(_ENCODING, _ERRORS))
                else:
                    mode = member.stat(follow_symlinks=False).st_mode
                    self.leave_out(
                        prefix + member.name.encode(_ENCODING, _ERRORS), f"{_special(mode)}; only its name is known"
                    )
        files.sort()
        symlinks.sort()
        folders.sort()
        return Folder(prefix, fd, files, symlinks, folders)


def folder_name(directory: str | bytes | os.PathLike[str]) -> str:
    """The path that the caller gave, as text.

    Raises:
        InvalidInputError: It can be no path.
    """
    name = os.fsdecode(directory)
    if not name or "\0" in name:
        raise InvalidInputError(f"{name!r} is no path; give a folder.", path=name)
    return name


def identity_of(path: str) -> Identity | None:
    """Device and inode of what ``path`` leads to, ``None`` where there is nothing."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def is_inside(directory: str, folder: str) -> bool:
    """``directory`` is ``folder`` or below it, symlinks resolved."""
    inner, outer = os.path.realpath(directory), os.path.realpath(folder)
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _parent(path: bytes) -> bytes:
    return path.rstrip(b"/").rpartition(b"/")[0]


def _open_top(directory: str) -> int:
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        why = "does not exist; check the spelling"
    except NotADirectoryError:
        why = "is not a directory; give the directory that holds it"
    except (OSError, ValueError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}; give yourself access to it"
    raise InvalidInputError(f"{directory!r} {why}.", path=directory)


def _refuse(directory: str, status: os.stat_result, exclude: Identity | None) -> None:
    own = (status.st_dev, status.st_ino)
    if own == identity_of("/"):
        what = "the root of the file system"
    elif own == identity_of(os.path.expanduser("~")):
        what = "your home folder"
    elif own == exclude:
        what = "the store itself"
    else:
        return
    raise InvalidInputError(
        f"{directory!r} is {what}, which is never imported; give a folder below it.", path=directory
    )


def _special(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    if stat.S_ISSOCK(mode):
        return "a socket"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "a device"
    return "neither file, folder nor symlink"
