# SPDX-License-Identifier: MIT
"""Reading one file or symlink into an entry, its content into the store.

A file is read between two ``fstat``: size, change time and modification time must agree, and exactly that many bytes
must come. Otherwise it is read again, and after three times there is an error that names the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol

from blake3 import blake3

from casstore.address import Address, content_address
from casstore.format.entry import INLINE_BYTES, Entry, file_entry, symlink_entry

ATTEMPTS: Final = 3
LARGE_BYTES: Final = 8 * 1024 * 1024
"""Larger files are streamed, so that memory stays bounded."""
# Without O_NONBLOCK, a file that was swapped for a FIFO would hang the import.
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OWNER_EXECUTES: Final = stat.S_IXUSR

OnOpen = Callable[[os.stat_result, int], None]
"""Called with the status of a file that was read, and the file, still open."""


class Sink(Protocol):
    """Where contents go."""

    def add(self, data: bytes, key: bytes | None = None) -> Address:
        """Keeps a content given whole, for a key; returns its address."""

    def add_stream(self, source: BinaryIO) -> Address:
        """Keeps the content of a binary file; returns its address."""


class HashingSink:
    """Takes contents and keeps nothing but their addresses."""

    __slots__ = ()

    def add(self, data: bytes, key: bytes | None = None) -> Address:
        """The address of a content."""
        return content_address(data)

    def add_stream(self, source: BinaryIO) -> Address:
        """The address of a content that is read to its end."""
        hasher = blake3()
        while block := source.read(1024 * 1024):
            hasher.update(block)
        return Address(hasher.digest())


def read_file(
    sink: Sink, fd: int, name: bytes, on_open: OnOpen | None = None, key: bytes | None = None
) -> tuple[os.stat_result, Entry] | None:
    """Status and entry of the file ``name`` in the open folder ``fd``; None where it did not keep still.

    ``key`` is its path in the tree, by which the sink finds the version before.

    Raises:
        OSError: It cannot be read.
    """
    for _ in range(ATTEMPTS):
        found = _read_once(sink, fd, name, on_open, key)
        if found is not None:
            return found
    return None


def _read_once(
    sink: Sink, fd: int, name: bytes, on_open: OnOpen | None, key: bytes | None
) -> tuple[os.stat_result, Entry] | None:
    file = os.open(name, _READ_FLAGS, dir_fd=fd)
    try:
        before = os.fstat(file)
        mode, size = before.st_mode, before.st_size
        if not stat.S_ISREG(mode):
            return None
        address = None
        content = b""
        if size <= LARGE_BYTES:
            # One byte more than there should be, so that one read also shows the end.
            content = os.read(file, size + 1)
            same = len(content) == size
        else:
            with open(file, "rb", buffering=0, closefd=False) as stream:
                address = sink.add_stream(stream)
            same = os.lseek(file, 0, os.SEEK_CUR) == size
        after = os.fstat(file)
        if (
            not same
            or after.st_ctime_ns != before.st_ctime_ns
            or after.st_mtime_ns != before.st_mtime_ns
            or after.st_size != size
        ):
            return None
        if on_open is not None:
            on_open(before, file)
    finally:
        os.close(file)
    executable = bool(mode & _OWNER_EXECUTES)
    if size <= INLINE_BYTES:
        return before, file_entry(size, None, content, executable)
    return before, file_entry(size, address or sink.add(content, key), None, executable)


def read_symlink(sink: Sink, fd: int, name: bytes) -> Entry:
    """The entry of the symlink ``name`` in the open folder ``fd``.

    Raises:
        OSError: It cannot be read; ``EINVAL`` says that it is no symlink.
    """
    target = os.readlink(name, dir_fd=fd)
    size = len(target)
    if size <= INLINE_BYTES:
        return symlink_entry(size, None, target)
    return symlink_entry(size, sink.add(target), None)
