# SPDX-License-Identifier: MIT
"""The quarantine: a folder of the store for damaged bytes, which a repair moves aside and never deletes.

Nothing in it is read as part of the store. That records lie in it is remembered by a later rebuild of the index: what
can no longer be read may have been the latest move of a ref.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

import casstore.layout as layout
from casstore.errors import StorageError
from casstore.osfile import OsFiles

_BLOCK_BYTES = 1024 * 1024


class Quarantined(NamedTuple):
    """A file or folder in the quarantine, and its length in bytes."""

    name: str
    bytes: int


class Quarantine:
    """The quarantine of one store.

    Args:
        store: The store's folder.
        files: The way to the file system.
    """

    __slots__ = ("_files", "folder")

    def __init__(self, store: str, files: OsFiles) -> None:
        self.folder = os.path.join(store, layout.QUARANTINE)
        self._files = files

    def items(self) -> list[Quarantined]:
        """What is in it, by name."""
        try:
            names = sorted(os.listdir(self.folder))
        except FileNotFoundError:
            return []
        return [Quarantined(name, _size(os.path.join(self.folder, name))) for name in names if name[-4:] != ".tmp"]

    def keep(self, name: str, path: str, start: int, end: int) -> str:
        """Copies bytes of a file into the quarantine, durably; the name that they have there.

        What is there already under that name, with the same bytes, is not copied again.

        Raises:
            StorageError: The system refused.
        """
        with self._refusals():
            self._make()
            free = self._free_name(name, lambda other: _same(other, path, start, end))
            target = os.path.join(self.folder, free)
            if not os.path.exists(target):
                self._copy(path, start, end, target)
            return free

    def move(self, name: str, path: str) -> str:
        """Moves a file or folder of the store into the quarantine, durably; the name that it has there.

        Raises:
            StorageError: The system refused.
        """
        with self._refusals():
            self._make()
            free = self._free_name(name, lambda other: False)
            self._files.rename(path, os.path.join(self.folder, free))
            self._files.sync_folder(self.folder)
            self._files.sync_folder(os.path.dirname(path))
            return free

    def drop(self) -> int:
        """Deletes all that is in it; returns how many bytes.

        Raises:
            StorageError: The system refused.
        """
        total = sum(item.bytes for item in self.items())
        with self._refusals():
            for parent, folders, names in os.walk(self.folder, topdown=False):
                for name in names:
                    self._files.unlink(os.path.join(parent, name))
                for name in folders:
                    os.rmdir(os.path.join(parent, name))
            if os.path.isdir(self.folder):
                os.rmdir(self.folder)
                self._files.sync_folder(os.path.dirname(self.folder))
        return total

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"the quarantine cannot be written ({error.strerror}); free space or give yourself access, then repair "
                "again.",
                path=self.folder,
            ) from error

    def _make(self) -> None:
        with contextlib.suppress(FileExistsError):
            self._files.make_folder(self.folder)
        self._files.sync_folder(os.path.dirname(self.folder))

    def _free_name(self, name: str, is_same: Callable[[str], bool]) -> str:
        free, number = name, 1
        while os.path.lexists(os.path.join(self.folder, free)) and not is_same(os.path.join(self.folder, free)):
            number += 1
            free = f"{name}.{number}"
        return free

    def _copy(self, path: str, start: int, end: int, target: str) -> None:
        temporary = f"{target}.tmp"
        with contextlib.suppress(FileNotFoundError):
            self._files.unlink(temporary)
        fd = self._files.create(temporary)
        try:
            with open(path, "rb") as source:
                for block in _blocks(source.fileno(), start, end):
                    self._files.append(fd, [block])
            self._files.sync(fd)
        finally:
            os.close(fd)
        self._files.rename(temporary, target)
        self._files.sync_folder(self.folder)


def holds_records(store: str) -> bool:
    """Whether what was moved aside may have been records, events among them."""
    try:
        return any(map(layout.holds_records, os.listdir(os.path.join(store, layout.QUARANTINE))))
    except FileNotFoundError:
        return False


def _blocks(fd: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (block := os.pread(fd, min(_BLOCK_BYTES, end - start), start)):
        yield block
        start += len(block)


def _same(copy: str, path: str, start: int, end: int) -> bool:
    if os.path.getsize(copy) != end - start:
        return False
    with open(copy, "rb") as one, open(path, "rb") as other:
        pairs = zip(_blocks(one.fileno(), 0, end - start), _blocks(other.fileno(), start, end))
        return all(mine == theirs for mine, theirs in pairs)


def _size(path: str) -> int:
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(parent, name)) for parent, _, names in os.walk(path) for name in names)
