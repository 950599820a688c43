# SPDX-License-Identifier: MIT
"""New contents, written beside their places under temporary names; nothing that has a name is touched.

A file or symlink of a folder that is there waits in that folder. A folder that is not there, or stands where a leaf
still is, is built whole, under a temporary name beside its place: one rename puts all of it there. So when the disk
fills up, nothing has changed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from casstore.format.entry import EXECUTABLE, FILE, SYMLINK, Entry
from casstore.tree.diff import Change
from casstore.workspace.changing.ahead import FetchAhead, is_fetched
from casstore.workspace.changing.contents import blocks_of, no_file
from casstore.workspace.changing.places import Errors, Places, Walk, split
from casstore.workspace.changing.seen import Expected
from casstore.workspace.changing.steps import Steps, parent_of
from casstore.workspace.changing.target import EXECUTABLE_MODE, FILE_MODE, FOLDER_MODE, check_target, write_file
from casstore.workspace.changing.temporaries import Names, remove
from casstore.workspace.changing.temporaries import clear_temporaries as clear_temporaries
from casstore.workspace.metadata import restore_link_metadata, restore_metadata
from casstore.workspace.report import LeftOut, Progress

if TYPE_CHECKING:
    from casstore.format.posix import PosixMetadata
    from casstore.storage import Storage

Metadata = Callable[[bytes, bool], "PosixMetadata | None"]
"""What the new state kept of a path (is it a directory?), if anything."""

_FEW_ITEMS: Final = 32
_FEW_BYTES: Final = 1024 * 1024
_READS: Final = 0o444


@dataclass(slots=True)
class Staged:
    """Something that waits for its place.

    Attributes:
        path: Its place.
        temporary: The name that it has meanwhile, in the same folder.
        status: What was written, seen through its descriptor; None for a folder.
        leaves: Everything written below a folder: path, and what it is.
        folders: Every folder made, the folder itself included.
    """

    path: bytes
    temporary: bytes
    status: os.stat_result | None = None
    leaves: list[tuple[bytes, os.stat_result]] = field(default_factory=list)
    folders: set[bytes] = field(default_factory=set)


class Staging:
    """Writes what the steps say.

    Attributes:
        staged: What waits for its place, in order of the first path below it.
        temporaries: Where temporary names lie, and whether they are folders: (folder, name) → is a folder.
        bytes: Content written.
    """

    __slots__ = (
        "_errors",
        "_expected",
        "_folders",
        "_metadata",
        "_names",
        "_places",
        "_present",
        "_steps",
        "_storage",
        "_walk",
        "_warnings",
        "bytes",
        "staged",
        "temporaries",
    )

    def __init__(
        self,
        storage: Storage,
        walk: Walk,
        steps: Steps,
        names: Names,
        errors: Errors,
        expected: Expected,
        metadata: Metadata | None,
        warnings: list[LeftOut],
        present: Set[bytes],
    ) -> None:
        self.staged: list[Staged] = []
        self.temporaries: dict[tuple[bytes, bytes], bool] = {}
        self.bytes = 0
        self._storage = storage
        self._walk = walk
        self._steps = steps
        self._names = names
        self._errors = errors
        self._expected = expected
        self._metadata = metadata
        self._warnings = warnings
        self._present = present
        self._places = Places(walk, steps, errors)
        self._folders: dict[bytes, Staged] = {}

    def run(self, progress: Progress | None) -> None:
        """Writes everything.

        Raises:
            NotFoundError: A content is not in the store.
            CorruptionError: A content is damaged, or a key leads outside.
            InvalidInputError: Something unknown has the name of a folder.
            ConflictError: A folder changed meanwhile.
            StorageError: The system refused.
        """
        writes = [change for change in self._steps.writes if change.key not in self._present]
        items = [(key, new) for key, _, new in writes if new is not None]
        many = len(items) > _FEW_ITEMS or sum(entry.size for _, entry in items) > _FEW_BYTES
        changes = iter(writes)
        done = 0
        with FetchAhead(self._storage, items, thread=many) as batches:
            for batch, fetched in batches:
                contents = iter(fetched)
                for path, entry in batch:
                    content = entry.inline
                    if content is None and is_fetched(entry):
                        content = next(contents)
                    self._write(next(changes), path, entry, content)
                done += len(batch)
                if progress is not None:
                    progress("writing", done, len(items))
        for path in self._steps.makes:
            missing = self._places.missing(path)
            if missing is not None:
                self._enter(self._staged_folder(missing, path), path)
        self._walk.making = None

    def clean(self) -> None:
        """Removes what still has a temporary name, as far as the system lets us."""
        self._walk.making = None
        for (folder, name), is_folder in self.temporaries.items():
            try:
                remove(self._walk.enter(folder), name, is_folder)
            except OSError:
                # The error that brought us here says more, and such names are never captured.
                continue
        self.temporaries.clear()

    def _write(self, change: Change, path: bytes, entry: Entry, content: bytes | None) -> None:
        folder, name = split(path)
        missing = self._places.missing(folder)
        if missing is None:
            self._walk.making = None
            fd = self._enter(folder, path)
            at = self._names.take()
            self.temporaries[folder, at] = False
        else:
            fd = self._enter(self._staged_folder(missing, folder), path)
            at = name
        try:
            if entry.kind == SYMLINK and content is not None:
                status = self._link(fd, at, path, content)
            elif entry.kind in (FILE, EXECUTABLE):
                blocks = blocks_of(self._storage, path, entry, content)
                status = self._file(fd, at, path, blocks, entry, change.old)
                self.bytes += entry.size
            else:
                raise no_file(path, entry)
        except OSError as error:
            raise self._errors.refused(path, error) from error
        if missing is None:
            self.staged.append(Staged(path, at, status))
        else:
            self._folders[missing].leaves.append((path, status))

    def _staged_folder(self, missing: bytes, folder: bytes) -> bytes:
        """Where ``folder`` is being built, which is ``missing`` or below it."""
        above = parent_of(missing)
        staged = self._folders.get(missing)
        if staged is None:
            self._walk.making = None
            fd = self._enter(above, missing)
            name = self._names.take()
            self.temporaries[above, name] = True
            try:
                os.mkdir(name, FOLDER_MODE, dir_fd=fd)
            except OSError as error:
                raise self._errors.refused(missing, error) from error
            staged = self._folders[missing] = Staged(missing, name)
            staged.folders.add(missing)
            self.staged.append(staged)
        place = above + b"/" + staged.temporary if above else staged.temporary
        self._walk.making = place + b"/"
        place += folder[len(missing) :]
        while folder not in staged.folders:
            staged.folders.add(folder)
            folder = parent_of(folder)
        return place

    def _enter(self, folder: bytes, path: bytes) -> int:
        try:
            return self._walk.enter(folder)
        except OSError as error:
            if self._walk.making is not None:
                raise self._errors.refused(path, error) from error
            raise self._errors.folder(folder, error) from error

    def _file(
        self, fd: int, name: bytes, path: bytes, blocks: Iterable[bytes], entry: Entry, old: Entry | None
    ) -> os.stat_result:
        metadata = self._metadata(path, False) if self._metadata is not None else None
        mode = EXECUTABLE_MODE if entry.kind == EXECUTABLE else FILE_MODE
        # A private file stays private: what replaces a file has its permissions.
        before = self._expected(path) if old is not None and metadata is None else None
        kept = None
        if before is not None and stat.S_ISREG(before.mode):
            mode = kept = with_executable_bit(before.mode, entry.kind == EXECUTABLE)
        found: list[os.stat_result] = []

        def finish(file: int) -> None:
            if metadata is not None:
                restore_metadata(path, metadata, file, self._warnings)
            status = os.fstat(file)
            if kept is not None and stat.S_IMODE(status.st_mode) != kept:
                os.fchmod(file, kept)
                status = os.fstat(file)
            found.append(status)

        write_file(fd, name, blocks, mode, finish)
        return found[0]

    def _link(self, fd: int, name: bytes, path: bytes, target: bytes) -> os.stat_result:
        check_target(target, path)
        os.symlink(target, name, dir_fd=fd)
        metadata = self._metadata(path, False) if self._metadata is not None else None
        if metadata is not None:
            restore_link_metadata(path, metadata, fd, name, self._warnings)
        return os.stat(name, dir_fd=fd, follow_symlinks=False)


def with_executable_bit(mode: int, executable: bool) -> int:
    """The permissions of ``mode`` with the executable bit set (for all who may read) or not."""
    permissions = mode & 0o777
    if executable:
        return permissions | (permissions & _READS) >> 2 | stat.S_IXUSR
    return permissions & ~0o111
