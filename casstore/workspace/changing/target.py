# SPDX-License-Identifier: MIT
"""A directory that is written to, and nothing outside of it, whatever its content and the keys say.

Every folder below the target is opened from its parent with ``O_NOFOLLOW``, so a symlink is never walked through, be
it planted there, made by somebody else meanwhile, or a link of the same state. Names are single components, checked.
New names are made with ``O_EXCL``. Keys come sorted, so each folder is entered once and all of its keys come together.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from casstore.errors import CasstoreError, CorruptionError, InvalidInputError, StorageError
from casstore.workspace.scanning.folders import FOLDER_FLAGS, FolderStack, Identity

FOLDER_MODE: Final = 0o755
FILE_MODE: Final = 0o644
EXECUTABLE_MODE: Final = 0o755
_NEW_FILE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOSTILE: Final = frozenset({b"", b".", b".."})
_NOT_A_FOLDER: Final = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EMLINK})


OnFile = Callable[[int], None]
"""Called with a file that was written, still open."""


class Target:
    """The folder ``directory`` to write below.

    Args:
        directory: Path as the user gave it, for messages.
        fd: The folder, open; closed by ``close``.
        replace: Names may exist: files are replaced, folders used.
        on_leave: Called with path and open folder once everything in it is written.
    """

    __slots__ = ("_on_leave", "_replace", "_stack", "directories", "directory")

    def __init__(
        self, directory: str, fd: int, *, replace: bool, on_leave: Callable[[bytes, int], None] | None = None
    ) -> None:
        self.directory = directory
        self.directories = 0
        self._replace = replace
        self._on_leave = on_leave
        self._stack = FolderStack()
        self._stack.push(b"", fd, [])

    def finish(self) -> None:
        """Leaves every folder, the target last."""
        while len(self._stack):
            self._leave()

    def close(self) -> None:
        """Gives open folders back; safe to call twice."""
        self._stack.close()

    def enter(self, folder: bytes) -> int:
        """The open folder ``folder`` (``b""`` is the target), made where it is missing. Valid until the next call.

        Raises:
            InvalidInputError: Something else has that name.
            CorruptionError: The path would lead outside.
            StorageError: The system refused.
        """
        return self._stack.enter(folder, self._open, self._leave)

    def write(self, fd: int, name: bytes, path: bytes, blocks: Iterable[bytes], mode: int, done: OnFile | None) -> None:
        """Makes the regular file ``name`` in the open folder ``fd``; ``done`` sees it before it is closed.

        Raises:
            InvalidInputError: The name is taken.
            StorageError: The system refused.
        """
        try:
            if self._replace:
                with self._temporary(fd, name) as temporary:
                    write_file(fd, temporary, blocks, mode, done)
            else:
                write_file(fd, name, blocks, mode, done)
        except OSError as error:
            raise self.failure(fd, name, path, error) from error

    def link(self, fd: int, name: bytes, path: bytes, target: bytes) -> None:
        """Makes the symlink ``name`` in the open folder ``fd``.

        Raises:
            InvalidInputError: The name is taken.
            CorruptionError: No symlink can have that target.
            StorageError: The system refused.
        """
        check_target(target, path)
        try:
            if self._replace:
                with self._temporary(fd, name) as temporary:
                    os.symlink(target, temporary, dir_fd=fd)
            else:
                os.symlink(target, name, dir_fd=fd)
        except OSError as error:
            raise self.failure(fd, name, path, error) from error

    def failure(self, fd: int, name: bytes, path: bytes, error: OSError) -> CasstoreError:
        """What an ``OSError`` about ``path`` means to the user."""
        place = self.full_name(path)
        if error.errno == errno.EEXIST:
            other = same_file(fd, name)
            if other is not None:
                twin = self.full_name(path[: len(path) - len(name)] + other)
                return InvalidInputError(
                    f"{place!r} and {twin!r} are one name to this file system, so the state does not fit; check it out "
                    "on one that tells upper and lower case apart.",
                    path=place,
                )
            return InvalidInputError(
                f"{place!r} came into being during the checkout; see what wrote it, then check out again with --force "
                "(force=True), which replaces files.",
                path=place,
            )
        return StorageError(
            f"{place!r} cannot be written: {error.strerror}. What was written stays; once that is solved, check out "
            "again with --force (force=True).",
            path=place,
        )

    def full_name(self, path: bytes) -> str:
        """The path as the user would name it."""
        return os.path.join(self.directory, os.fsdecode(path)) if path else self.directory

    def _open(self, above: int, name: bytes, path: bytes) -> int:
        check_name(name, path)
        fd = self._make_folder(above, name, path)
        self.directories += 1
        return fd

    def _make_folder(self, above: int, name: bytes, path: bytes) -> int:
        try:
            try:
                os.mkdir(name, FOLDER_MODE, dir_fd=above)
            except FileExistsError:
                if not self._replace:
                    raise
            return os.open(name, FOLDER_FLAGS, dir_fd=above)
        except OSError as error:
            if error.errno in _NOT_A_FOLDER:
                raise in_the_way(self.full_name(path), "a directory") from None
            raise self.failure(above, name, path, error) from error

    def _leave(self) -> None:
        if self._on_leave is not None:
            done = self._stack.last
            self._on_leave(done.prefix[:-1], done.fd)
        self._stack.pop()

    @contextmanager
    def _temporary(self, fd: int, name: bytes) -> Iterator[bytes]:
        """A name to write to, which becomes ``name`` at the end, or goes again after an error."""
        temporary = b".casstore-" + os.urandom(8).hex().encode()
        try:
            yield temporary
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except BaseException:
            try:
                os.unlink(temporary, dir_fd=fd)
            except FileNotFoundError:
                pass
            raise


def check_name(name: bytes, path: bytes) -> None:
    """Passes only what names one member of a folder.

    Raises:
        CorruptionError: ``name`` would lead elsewhere.
    """
    if name in _HOSTILE or b"/" in name or b"\0" in name:
        raise CorruptionError(f"the key {os.fsdecode(path)!r} leads outside its folder; run `casstore verify`.")


def check_target(target: bytes, path: bytes) -> None:
    """Passes only what a symlink can lead to.

    Raises:
        CorruptionError: No symlink can have that target.
    """
    if not target or b"\0" in target:
        raise CorruptionError(f"the symlink {os.fsdecode(path)!r} has an impossible target; run `casstore verify`.")


def in_the_way(place: str, wanted: str) -> InvalidInputError:
    """The error that something else has the name where ``wanted`` belongs."""
    return InvalidInputError(
        f"{place!r} is in the way: the state has {wanted} there. Move it away, or check out into an empty folder.",
        path=place,
    )


def find_obstacles(directory: str, fd: int, paths: Iterator[tuple[bytes, bool]], store: Identity | None) -> None:
    """Looks, without changing anything, whether sorted ``paths`` (path, is a directory) fit into the open folder.

    Raises:
        InvalidInputError: A folder stands where a file belongs, something else where a folder belongs, or the folder
            of the store would be written to.
    """

    def check(path: bytes, *, folder: bool) -> bool:
        """Whether ``path`` is there."""
        place = os.path.join(directory, os.fsdecode(path))
        try:
            status = os.stat(path, dir_fd=fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(
                f"{place!r} cannot be looked at: {error.strerror}; nothing was written. Choose another folder.",
                path=place,
            ) from None
        if stat.S_ISDIR(status.st_mode) != folder:
            raise in_the_way(place, "a directory" if folder else "a file")
        if folder and (status.st_dev, status.st_ino) == store:
            raise InvalidInputError(f"{place!r} is the store itself; check out into an empty folder.", path=place)
        return True

    missing: bytes | None = None
    present: set[bytes] = set()
    for path, is_folder in paths:
        if missing is not None and path.startswith(missing):
            continue
        components = path.split(b"/")
        parent = b""
        for name in components[:-1]:
            check_name(name, path)
            parent = parent + b"/" + name if parent else name
            if parent in present:
                continue
            if not check(parent, folder=True):
                missing = parent + b"/"
                break
            present.add(parent)
        else:
            check_name(components[-1], path)
            check(path, folder=is_folder)


def write_file(fd: int, name: bytes, blocks: Iterable[bytes], mode: int, done: OnFile | None) -> None:
    """Makes the file ``name``; whole, or not at all."""
    file = os.open(name, _NEW_FILE_FLAGS, mode, dir_fd=fd)
    try:
        for block in blocks:
            written = os.write(file, block)
            while written < len(block):
                written += os.write(file, memoryview(block)[written:])
        if done is not None:
            done(file)
    except BaseException:
        os.unlink(name, dir_fd=fd)
        raise
    finally:
        os.close(file)


def same_file(fd: int, name: bytes) -> bytes | None:
    """The other spelling under which the folder ``fd`` already holds ``name``, if it holds it under another one."""
    try:
        wanted = os.stat(name, dir_fd=fd, follow_symlinks=False)
        names = [os.fsencode(member) for member in os.listdir(fd)]
        if name not in names:
            for other in names:
                status = os.stat(other, dir_fd=fd, follow_symlinks=False)
                if (status.st_dev, status.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return other
    except OSError:
        pass
    return None
