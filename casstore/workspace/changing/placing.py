# SPDX-License-Identifier: MIT
"""What waits under temporary names takes its place; what was there goes.

Each path is compared with what was seen there right before it is replaced or deleted. What is replaced swaps names with
what replaces it, is compared once more, now that nobody finds it by its name, and goes back where it differs. A name
that nothing should have is taken in a way that never replaces.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from typing import Final

from casstore.workspace.changing.obstacles import unknown_member
from casstore.workspace.changing.places import NO_FOLDER_ERRNOS, Errors, Walk, look, members, split
from casstore.workspace.changing.renaming import exchange, rename_new
from casstore.workspace.changing.seen import Seen
from casstore.workspace.changing.staging import Staged, Staging
from casstore.workspace.changing.steps import Steps, parent_of
from casstore.workspace.changing.temporaries import Names
from casstore.workspace.report import LeftOut

# What rmdir says of a folder that is to stay.
_STAYS: Final = frozenset({errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR, errno.ELOOP})
_MAX_NAME_BYTES: Final = 255


class Placing:
    """Takes what ``Staging`` wrote to its places, and deletes what goes.

    Args:
        walk: Opens folders.
        steps: The changes.
        names: Temporary names.
        errors: Words for what goes wrong.
        seen: What was at a path when the directory was looked at.
        twins: New paths that are one, to this file system, with a path that goes.
    """

    __slots__ = (
        "_asides",
        "_errors",
        "_gone",
        "_names",
        "_seen",
        "_steps",
        "_temporaries",
        "_twins",
        "_walk",
        "deleted",
        "touched",
        "warnings",
        "written",
    )

    def __init__(
        self,
        walk: Walk,
        steps: Steps,
        names: Names,
        errors: Errors,
        seen: Seen,
        twins: Mapping[bytes, bytes],
    ) -> None:
        self.written: list[tuple[bytes, os.stat_result]] = []
        self.deleted: list[bytes] = []
        self.touched: set[bytes] = set()
        self.warnings: list[LeftOut] = []
        self._walk = walk
        self._steps = steps
        self._names = names
        self._errors = errors
        self._seen = seen
        self._twins = twins
        # Twins that are deleted already: their names belong to somebody new.
        self._gone: set[bytes] = set()
        # Set aside and replaced: path, and the temporary name.
        self._asides: list[tuple[bytes, bytes]] = []
        self._temporaries: dict[tuple[bytes, bytes], bool] = {}

    def place(self, staging: Staging) -> None:
        """Takes everything staged to its place.

        Raises:
            ConflictError: Something changed meanwhile.
            StorageError: The system refused.
        """
        steps = self._steps
        self._temporaries = staging.temporaries
        for staged in staging.staged:
            path = staged.path
            folder, name = split(path)
            try:
                fd = self._enter(folder)
                if path in steps.into_leaf or path in steps.into_folder:
                    self._swap(fd, name, staged)
                elif path in steps.old_leaves:
                    self._replace(fd, name, staged)
                else:
                    twin = self._twins.get(path)
                    if twin is not None:
                        self._delete(twin)
                        self._gone.add(twin)
                    self._take(fd, name, staged)
                self._errors.begun = True
                del self._temporaries[folder, staged.temporary]
                self.touched.add(folder)
                if staged.status is None:
                    self.written += staged.leaves
                    self.touched |= staged.folders
                else:
                    self.note(fd, name, path, staged.status)
            except OSError as error:
                raise self._errors.refused(path, error) from error

    def delete(self) -> None:
        """Deletes what goes, what was set aside, and the folders that became empty. Raises as ``place``."""
        for path in reversed(self._steps.deletes):
            if path not in self._gone:
                self._delete(path)
        self.drop_asides()
        self._remove_emptied()

    def drop_asides(self) -> None:
        """Deletes what was set aside: no more than what is known."""
        while self._asides:
            path, aside = self._asides[-1]
            folder, name = split(path)
            try:
                fd = self._enter(folder)
                self._remove_known(fd, aside, path)
                self._keep_rest(fd, aside, name, path)
            except OSError as error:
                raise self._errors.refused(path, error) from error
            self._asides.pop()

    def note(self, fd: int, name: bytes, path: bytes, status: os.stat_result) -> None:
        """Notes what lies at ``path``, if it is what was written as ``status``."""
        found = look(fd, name)
        if found is not None and _is_same(found, status):
            self.written.append((path, found))

    def _replace(self, fd: int, name: bytes, staged: Staged) -> None:
        """Puts a leaf in the place of another one; whoever opens the name finds one of them."""
        path, temporary = staged.path, staged.temporary
        self._require_same(fd, name, path)
        if not exchange(fd, temporary, name):
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
            return
        self._errors.begun = True
        try:
            self._require_moved(fd, temporary, path)
        except BaseException:
            self._swap_back(fd, name, staged)
            raise
        os.unlink(temporary, dir_fd=fd)

    def _swap(self, fd: int, name: bytes, staged: Staged) -> None:
        """Puts something in the place of something of another kind, which is set aside."""
        path = staged.path
        was_folder = path in self._steps.into_leaf
        if was_folder:
            self._require_known(fd, name, path)
        else:
            self._require_same(fd, name, path)
        if exchange(fd, staged.temporary, name):
            self._errors.begun = True
            try:
                self._require_moved(fd, staged.temporary, path)
            except BaseException:
                self._swap_back(fd, name, staged)
                raise
            self._asides.append((path, staged.temporary))
            return
        aside = self._names.take()
        try:
            os.rename(name, aside, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as error:
            # An overlay cannot rename a folder that is also in a lower layer.
            if error.errno != errno.EXDEV or not was_folder:
                raise
            self._errors.begun = True
            self._remove_known(fd, name, path)
            self._take(fd, name, staged)
            return
        try:
            self._require_moved(fd, aside, path)
            self._take(fd, name, staged)
        except BaseException:
            try:
                rename_new(fd, aside, name, is_folder=was_folder)
            except FileExistsError:
                found = look(fd, name)
                if found is not None and staged.status is not None and found.st_ino == staged.status.st_ino:
                    # It has its place; only its temporary name could not be removed.
                    self._asides.append((path, aside))
                else:
                    self._keep_rest(fd, aside, name, path)
            raise
        self._asides.append((path, aside))

    def _swap_back(self, fd: int, name: bytes, staged: Staged) -> None:
        """Undoes a swap. Where that fails, what was found stays under the temporary name."""
        at = (parent_of(staged.path), staged.temporary)
        is_folder = self._temporaries.pop(at)
        if exchange(fd, staged.temporary, name):
            self._temporaries[at] = is_folder

    def _take(self, fd: int, name: bytes, staged: Staged) -> None:
        """Gives something staged a name that nothing has."""
        try:
            rename_new(fd, staged.temporary, name, is_folder=staged.status is None)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._errors.changed(staged.path) from error

    def _delete(self, path: bytes) -> None:
        folder, name = split(path)
        fd = self._enter(folder)
        try:
            found = look(fd, name)
            if found is not None:
                if not self._seen.is_same(path, found):
                    raise self._errors.changed(path)
                self._seen.will_change(found)
                os.unlink(name, dir_fd=fd)
        except OSError as error:
            raise self._errors.refused(path, error) from error
        self._errors.begun = True
        self.deleted.append(path)
        self.touched.add(folder)

    def _remove_known(self, fd: int, name: bytes, path: bytes) -> None:
        """Removes ``name``, which was ``path``; of a folder only what is as it was."""
        status = look(fd, name)
        if status is None:
            return
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=fd)
            self.deleted.append(path)
            return
        for folder, member, below, found in members(fd, name):
            place = path + b"/" + below
            if stat.S_ISDIR(found.st_mode):
                _remove_folder(folder, member)
            elif place in self._steps.old_leaves and self._seen.is_same(place, found):
                self._seen.will_change(found)
                os.unlink(member, dir_fd=folder)
                self.deleted.append(place)
        _remove_folder(fd, name)

    def _keep_rest(self, fd: int, aside: bytes, name: bytes, path: bytes) -> None:
        """Gives what is left of something that was set aside, because it is not known, a name that shows."""
        if look(fd, aside) is None:
            return
        suffix = b".kept-" + aside.rpartition(b"-")[2]
        kept = name[: _MAX_NAME_BYTES - len(suffix)] + suffix
        os.rename(aside, kept, src_dir_fd=fd, dst_dir_fd=fd)
        why = f"something came here while it was replaced; it is kept as {os.fsdecode(kept)!r}"
        self.warnings.append(LeftOut(os.fsdecode(path), why))

    def _remove_emptied(self) -> None:
        """Removes folders that became empty, unless the new state has them as empty ones."""
        keep = self._steps.new_folders
        emptied = {parent_of(path) for path in self._steps.deletes}
        emptied.update(self._steps.vacated)
        for path in sorted(emptied, reverse=True):
            while path and path not in keep:
                folder, name = split(path)
                try:
                    fd = self._walk.enter(folder)
                    if not _remove_folder(fd, name):
                        break
                except OSError as error:
                    if error.errno not in NO_FOLDER_ERRNOS:
                        raise self._errors.refused(path, error) from error
                else:
                    self.touched.add(folder)
                    self.touched.discard(path)
                path = folder

    def _require_same(self, fd: int, name: bytes, path: bytes) -> None:
        """Passes only a leaf that is what it was, right before it gives way."""
        found = look(fd, name)
        if found is None or not self._seen.is_same(path, found):
            raise self._errors.changed(path)
        self._seen.will_change(found)

    def _require_known(self, fd: int, name: bytes, path: bytes) -> None:
        try:
            surprise = unknown_member(fd, name, path, self._steps, self._seen)
        except OSError as error:
            if error.errno in NO_FOLDER_ERRNOS:
                raise self._errors.changed(path) from error
            raise
        if surprise is not None:
            raise self._errors.changed(surprise)

    def _require_moved(self, fd: int, aside: bytes, path: bytes) -> None:
        """The same for what lies under another name now."""
        if path in self._steps.into_leaf:
            self._require_known(fd, aside, path)
            return
        if not self._seen.is_same(path, look(fd, aside), moved=True):
            raise self._errors.changed(path)

    def _enter(self, folder: bytes) -> int:
        try:
            return self._walk.enter(folder)
        except OSError as error:
            raise self._errors.folder(folder, error) from error


def _remove_folder(fd: int, name: bytes) -> bool:
    """Removes the folder ``name`` if it is empty."""
    try:
        os.rmdir(name, dir_fd=fd)
    except OSError as error:
        if error.errno in _STAYS:
            return False
        raise
    return True


def _is_same(found: os.stat_result, status: os.stat_result) -> bool:
    """Whether both are one file with one content, as far as the times of changing its content say."""
    return (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode) == (
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_mode,
    )
