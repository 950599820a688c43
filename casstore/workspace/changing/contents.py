# SPDX-License-Identifier: MIT
"""The content of an entry in blocks, held against the size that the entry says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from casstore.errors import CorruptionError
from casstore.format.entry import DIRECTORY, EXECUTABLE, FILE, SYMLINK, Entry
from casstore.workspace.changing.ahead import naming
from casstore.workspace.scanning.folders import FOLDER_FLAGS

if TYPE_CHECKING:
    from casstore.storage import Storage

BLOCK_BYTES: Final = 1024 * 1024
# Without O_NONBLOCK, a file that was swapped for a FIFO would hang.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def blocks_of(storage: Storage, path: bytes, entry: Entry, content: bytes | None) -> Iterable[bytes]:
    """The content of the file ``entry`` at ``path``: ``content`` where it was fetched, else read from the store.

    Raises:
        CorruptionError: It has another size than ``entry`` says; a streamed one shows that at its end.
    """
    if content is None:
        return _stream(storage, path, entry)
    if len(content) != entry.size:
        raise _wrong_size(path, entry.size, len(content))
    return (content,)


def holds(storage: Storage, fd: int, name: bytes, path: bytes, entry: Entry) -> bool:
    """Whether ``name`` in the open folder ``fd`` is, to the last byte, what ``entry`` at ``path`` says.

    What cannot be read is not. Raises ``NotFoundError`` and ``CorruptionError`` for what the store should have.

    *Cost*: one read of both contents, if their sizes are the same.
    """
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if entry.kind == DIRECTORY:
            return stat.S_ISDIR(status.st_mode) and not _members(fd, name)
        if entry.kind == SYMLINK:
            if not stat.S_ISLNK(status.st_mode):
                return False
            there = os.readlink(name, dir_fd=fd)
            return there == b"".join(blocks_of(storage, path, entry, entry.inline))
        wanted = EXECUTABLE if status.st_mode & stat.S_IXUSR else FILE
        if not stat.S_ISREG(status.st_mode) or (entry.kind, entry.size) != (wanted, status.st_size):
            return False
        with open(os.open(name, _READ, dir_fd=fd), "rb") as file:
            blocks = blocks_of(storage, path, entry, entry.inline)
            return all(file.read(len(block)) == block for block in blocks) and not file.read(1)
    except OSError:
        return False


def _members(fd: int, name: bytes) -> list[str]:
    folder = os.open(name, FOLDER_FLAGS, dir_fd=fd)
    try:
        return os.listdir(folder)
    finally:
        os.close(folder)


def no_file(path: bytes, entry: Entry) -> CorruptionError:
    """The error that ``entry`` is of a kind that no directory has."""
    name = os.fsdecode(path)
    return CorruptionError(
        f"no directory can hold the entry {name!r} of kind {entry.kind}; run `casstore verify`.", path=name
    )


def _stream(storage: Storage, path: bytes, entry: Entry) -> Iterator[bytes]:
    if entry.address is None:
        raise _wrong_size(path, entry.size, 0)
    total = 0
    with naming(path), storage.open_content(entry.address) as content:
        while block := content.read(BLOCK_BYTES):
            total += len(block)
            yield block
    if total != entry.size:
        raise _wrong_size(path, entry.size, total)


def _wrong_size(path: bytes, size: int, found: int) -> CorruptionError:
    name = os.fsdecode(path)
    return CorruptionError(
        f"the entry {name!r} says {size} bytes, its content has {found}; run `casstore verify`.", path=name
    )
