# SPDX-License-Identifier: MIT
"""Changes to a directory that people and programs use: exactly those asked for, and nothing else.

The order is such that nothing can be stranded. First every new content is written beside its place. Then each takes
its place with one rename; what stood there and is of another kind is set aside first. Then what goes is deleted, then
what was set aside, then folders that became empty. At last folders get their times. Right before a path is replaced or
deleted it must still be what it was when the directory was looked at. No content is ever changed in place, as it may
have another name outside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from casstore.errors import CasstoreError
from casstore.format.entry import EXECUTABLE
from casstore.tree.diff import Change
from casstore.workspace.changing.in_place import InPlace
from casstore.workspace.changing.obstacles import Obstacles
from casstore.workspace.changing.places import Errors, Walk, split
from casstore.workspace.changing.placing import Placing
from casstore.workspace.changing.seen import Expected, Seen
from casstore.workspace.changing.staging import Metadata, Staging, with_executable_bit
from casstore.workspace.changing.steps import plan_steps
from casstore.workspace.changing.temporaries import TEMPORARY as TEMPORARY
from casstore.workspace.changing.temporaries import Names
from casstore.workspace.changing.temporaries import clear_temporaries as clear_temporaries
from casstore.workspace.metadata import restore_metadata
from casstore.workspace.report import LeftOut, Progress
from casstore.workspace.scanning.folders import Identity

if TYPE_CHECKING:
    from casstore.format.posix import PosixMetadata
    from casstore.storage import Storage


class Changer:
    """Makes ``changes`` below one open folder; touches nothing else. To be used once.

    Args:
        storage: Where the contents are.
        directory: The folder's path as the user gave it, for messages.
        top: The folder, open; it stays the caller's.
        changes: From what is in the folder to what shall be, sorted by key.
        token: Letters and digits that the temporary names of this run have.
        expected: What was at a path when the folder was looked at; None where nothing was.
        metadata: What the new state kept of a path (is it a directory?), if anything.
        metadata_only: Paths whose metadata alone differs, and whether they are directories.
        left_out: Whether the rules leave a path out: what is there is never touched, and is in the way unless it is
            what shall be.
        progress: Called now and then with ``"writing"``, the files written, and how many there are.
        store: Device and inode of the store's folder, which is never entered.

    Attributes:
        written: Files and symlinks as they lie there now. Those that somebody else changed at once are missing.
        deleted: Files and symlinks that went.
        touched: Folders (``b""`` is the top) in which a name was made, replaced or removed, so that their times moved.
        bytes: Content written.
        warnings: Metadata that could not be restored, and what was kept beside its place.

    Raises:
        CorruptionError: The changes are none between two directory trees, or a key leads outside.
    """

    __slots__ = (
        "_changes",
        "_errors",
        "_left_out",
        "_metadata",
        "_metadata_only",
        "_names",
        "_present",
        "_progress",
        "_seen",
        "_steps",
        "_storage",
        "_store",
        "_top",
        "_twins",
        "bytes",
        "deleted",
        "touched",
        "warnings",
        "written",
    )

    def __init__(
        self,
        storage: Storage,
        directory: str,
        top: int,
        changes: Sequence[Change],
        *,
        token: str,
        expected: Expected,
        metadata: Metadata | None = None,
        metadata_only: Sequence[tuple[bytes, bool]] = (),
        left_out: Callable[[bytes], bool] = lambda _: False,
        progress: Progress | None = None,
        store: Identity | None = None,
    ) -> None:
        self.written: list[tuple[bytes, os.stat_result]] = []
        self.deleted: list[bytes] = []
        self.touched: set[bytes] = set()
        self.bytes = 0
        self.warnings: list[LeftOut] = []
        self._storage = storage
        self._top = top
        self._changes = changes
        self._seen = Seen(expected)
        self._metadata = metadata
        self._metadata_only = metadata_only
        self._left_out = left_out
        self._progress = progress
        self._store = store
        self._errors = Errors(directory)
        self._names = Names(token)
        self._steps = plan_steps(changes)
        self._twins: dict[bytes, bytes] | None = None
        self._present: set[bytes] = set()

    def check(self) -> None:
        """Looks, without changing anything, for all that would stop the changes.

        Raises:
            InvalidInputError: Something is in the way or does not fit (``Obstacles.look_for`` lists it).
            ConflictError: Something changed after the directory was looked at.
            StorageError: The file system is read-only, or the system refused a look.

        Cost: one look at each changed path, and a read of what is left out and there.
        """
        walk = Walk(self._top, self._store)
        try:
            obstacles = Obstacles(self._storage, walk, self._steps, self._errors, self._seen, self._left_out)
            obstacles.look_for(self._changes, self._metadata_only)
            self._twins, self._present = obstacles.twins, obstacles.present
        finally:
            walk.close()

    def clear(self, token: str, folders: Iterable[bytes]) -> int:
        """Removes what a killed run of ``token`` left behind, as ``clear_temporaries``; returns how many names.

        What was set aside then may have other names in the directory. ``run`` still knows those as unchanged.
        """
        return clear_temporaries(self._top, token, folders, self._seen.will_change)

    def run(self) -> None:
        """Makes the changes, after ``check`` if that was not called.

        Raises:
            CorruptionError, NotFoundError: A content is damaged or missing; nothing was changed.
            ConflictError: Something changed meanwhile; it is left as it is. What was done before stays.
            StorageError: The system refused, or the disk is full. What was done before stays; running what then
                remains completes it.

        Cost: one write and one rename for each new content; folders that are not on a changed path are not opened.
        """
        if self._twins is None:
            self.check()
        walk = Walk(self._top, self._store)
        steps, errors, names = self._steps, self._errors, self._names
        staging = Staging(
            self._storage,
            walk,
            steps,
            names,
            errors,
            self._seen.expected,
            self._metadata,
            self.warnings,
            self._present,
        )
        placing = Placing(walk, steps, names, errors, self._seen, self._twins or {})
        placing.written, placing.deleted, placing.touched = self.written, self.deleted, self.touched
        placing.warnings = self.warnings
        try:
            staging.run(self._progress)
            self.bytes = staging.bytes
            placing.place(staging)
            self._change_modes(walk)
            placing.delete()
            self._restore(walk)
        except BaseException:
            staging.clean()
            try:
                placing.drop_asides()
            except CasstoreError:
                pass  # The error that brought us here says more; ``clear_temporaries`` tries again.
            raise
        finally:
            walk.close()

    def _change_modes(self, walk: Walk) -> None:
        for change in self._steps.modes:
            path, new, before = change.key, change.new, self._seen.expected(change.key)
            if new is None or before is None:
                raise self._errors.changed(path)
            metadata = self._metadata(path, False) if self._metadata is not None else None
            mode = with_executable_bit(before.mode, new.kind == EXECUTABLE) | stat.S_IMODE(before.mode) & ~0o777
            self._change(walk, path, mode, metadata)

    def _restore(self, walk: Walk) -> None:
        """Restores what is kept of paths, now that every name is in its place."""
        if self._metadata is None:
            return
        folders: set[bytes] = set()
        for path, is_folder in self._metadata_only:
            if is_folder:
                folders.add(path)
            elif (metadata := self._metadata(path, False)) is not None:
                self._change(walk, path, None, metadata)
        folders |= self.touched
        # The deepest first: a folder may get a mode with which nothing below it can be reached.
        for path in sorted(folders, reverse=True):
            metadata = self._metadata(path, True)
            if metadata is not None:
                try:
                    restore_metadata(path, metadata, walk.enter(path), self.warnings)
                except OSError as error:
                    raise self._errors.folder(path, error) from error

    def _change(self, walk: Walk, path: bytes, mode: int | None, metadata: PosixMetadata | None) -> None:
        """Changes one file or symlink that keeps its content."""
        folder, name = split(path)
        before = self._seen.expected(path)
        try:
            fd = walk.enter(folder)
        except OSError as error:
            raise self._errors.folder(folder, error) from error
        place = InPlace(fd, name, path, self._seen, self._names.take(), self._errors.changed(path))
        self._errors.begun = True
        try:
            status = place.change(mode, metadata, self.warnings)
        except OSError as error:
            raise self._errors.refused(path, error) from error
        self.written.append((path, status))
        if before is not None and status.st_ino != before.inode:
            self.touched.add(folder)
