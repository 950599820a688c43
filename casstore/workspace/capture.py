# SPDX-License-Identifier: MIT
"""Reading a directory into entries: every file's content into the store, everything else into the entry itself.

A file is read between two ``fstat``: size, change time and modification time must agree, and exactly that many bytes
must come. Otherwise it is read again, and after three times the import ends with an error that names the file.
"""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from casstore.format.entry import INLINE_BYTES, Entry, directory_entry, file_entry, symlink_entry
from casstore.format.node import MAX_KEY_BYTES
from casstore.workspace.metadata import Place, link_place, read_metadata
from casstore.workspace.report import LeftOut, Progress
from casstore.workspace.scan import Folder, Scan

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.storage import Ingest

ATTEMPTS: Final = 3
LARGE_BYTES: Final = 8 * 1024 * 1024
"""Larger files are streamed, so that memory stays bounded."""
# Without O_NONBLOCK, a file that was swapped for a FIFO would hang the import.
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OWNER_EXECUTES: Final = stat.S_IXUSR

Item = tuple[bytes, Entry]


class Capture:
    """What one walk brought: entries in ``items`` and, where asked for, their metadata in ``posix``, both unsorted."""

    __slots__ = ("_ingest", "_scan", "bytes", "directories", "files", "items", "posix", "symlinks", "warnings")

    def __init__(self, scan: Scan, ingest: Ingest, *, posix: bool) -> None:
        self.items: list[Item] = []
        self.posix: list[Item] | None = [] if posix else None
        self.warnings: list[LeftOut] = []
        self.files = self.directories = self.symlinks = self.bytes = 0
        self._scan = scan
        self._ingest = ingest

    def run(self, progress: Progress | None) -> None:
        """Walks and reads everything.

        Raises:
            InvalidInputError: Something is unreadable and was not to be skipped.
            ConflictError: A file or folder changed while it was read.
        """
        for folder in self._scan.folders():
            if folder.prefix:
                self.directories += 1
            if folder.files:
                self._read_files(folder)
            for name in folder.symlinks:
                self._read_symlink(folder, name)
            if folder.prefix and not (folder.files or folder.symlinks or folder.folders):
                self.items.append((folder.prefix[:-1], directory_entry()))
            if self.posix is not None:
                self._keep_metadata(folder.prefix[:-1], os.fstat(folder.fd), folder.fd, directory=True)
            if progress is not None:
                progress("reading", self.files, None)
        self.items.sort(key=itemgetter(0))
        self._keep_emptied_folders()
        if self.posix is not None:
            self.posix.sort(key=itemgetter(0))

    def _read_files(self, folder: Folder) -> None:
        prefix, fd = folder.prefix, folder.fd
        add, append, read = self._ingest.add, self.items.append, self._read
        total = count = 0
        for name in folder.files:
            path = prefix + name
            try:
                for _ in range(ATTEMPTS):
                    found = read(fd, name, path)
                    if found is not None:
                        break
                else:
                    raise self._scan.changed(path)
            except OSError as error:
                self._scan.unreadable(path, error)
                continue
            mode, size, content, address = found
            executable = bool(mode & _OWNER_EXECUTES)
            if size <= INLINE_BYTES:
                append((path, file_entry(size, None, content, executable)))
            else:
                append((path, file_entry(size, address or add(content), None, executable)))
            total += size
            count += 1
        self.bytes += total
        self.files += count

    def _read(self, fd: int, name: bytes, path: bytes) -> tuple[int, int, bytes, Address | None] | None:
        """Mode, size and content of a file, or the address of a large one; ``None`` where it did not keep still."""
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
                    address = self._ingest.add_stream(stream)
                same = os.lseek(file, 0, os.SEEK_CUR) == size
            after = os.fstat(file)
            if (
                not same
                or after.st_ctime_ns != before.st_ctime_ns
                or after.st_mtime_ns != before.st_mtime_ns
                or after.st_size != size
            ):
                return None
            if self.posix is not None:
                self._keep_metadata(path, before, file, directory=False)
            return mode, size, content, address
        finally:
            os.close(file)

    def _read_symlink(self, folder: Folder, name: bytes) -> None:
        path = folder.prefix + name
        try:
            target = os.readlink(name, dir_fd=folder.fd)
            if self.posix is not None:
                status = os.stat(name, dir_fd=folder.fd, follow_symlinks=False)
                place = link_place(folder.fd, name)
                self._keep_metadata(path, status, place, directory=False)
        except OSError as error:
            # A link can always be read: EINVAL says that it is none any more.
            if error.errno == errno.EINVAL:
                raise self._scan.changed(path) from None
            self._scan.unreadable(path, error)
            return
        size = len(target)
        if size <= INLINE_BYTES:
            self.items.append((path, symlink_entry(size, None, target)))
        else:
            self.items.append((path, symlink_entry(size, self._ingest.add(target), None)))
        self.symlinks += 1

    def _keep_metadata(self, path: bytes, status: os.stat_result, place: Place, *, directory: bool) -> None:
        key, entry = read_metadata(path, status, place, self.warnings, directory=directory)
        if len(key) > MAX_KEY_BYTES:
            self.warnings.append(LeftOut(os.fsdecode(path), "metadata not kept: the path has too many levels"))
        elif self.posix is not None:
            self.posix.append((key, entry))

    def _keep_emptied_folders(self) -> None:
        """Gives a folder whose members were all left out the entry of an empty one."""
        items = self.items
        for path in sorted(set(self._scan.childless) - {b""}, reverse=True):
            at = bisect_left(items, path, key=itemgetter(0))
            below = bisect_left(items, path + b"/", key=itemgetter(0))
            if items[at : at + 1] and items[at][0] == path:
                continue
            if not (items[below : below + 1] and items[below][0].startswith(path + b"/")):
                items.insert(at, (path, directory_entry()))
