# SPDX-License-Identifier: MIT
"""What would stop a list of changes, found before anything is touched."""

from __future__ import annotations

import errno
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from casstore.errors import CasstoreError, InvalidInputError
from casstore.format.entry import DIRECTORY, SYMLINK
from casstore.tree.diff import Change
from casstore.workspace.changing.contents import holds
from casstore.workspace.changing.places import Errors, Places, Walk, look, members, split, too_long
from casstore.workspace.changing.seen import Seen
from casstore.workspace.changing.steps import Steps, add_folders, check_keys, is_below, is_mode_change, parent_of
from casstore.workspace.changing.target import same_file
from casstore.workspace.scanning.scan import TEMPORARY, is_temporary, special_kind

if TYPE_CHECKING:
    from casstore.storage import Storage

# Every file system takes names of this length: eCryptfs stops here.
_SURE_NAME_BYTES: Final = 143
_MAX_TARGET_BYTES: Final = 4095
_WRITABLE: Final = os.W_OK | os.X_OK


class Obstacles:
    """One look over the changed paths.

    Attributes:
        twins: New names that are, to this file system, another name that goes: new path → old path.
        present: Leaves that the rules leave out and that are there already as the new state has them.
    """

    __slots__ = (
        "_errors",
        "_left_out",
        "_names",
        "_places",
        "_seen",
        "_steps",
        "_storage",
        "_walk",
        "_writable",
        "present",
        "twins",
    )

    def __init__(
        self,
        storage: Storage,
        walk: Walk,
        steps: Steps,
        errors: Errors,
        seen: Seen,
        left_out: Callable[[bytes], bool],
    ) -> None:
        self.twins: dict[bytes, bytes] = {}
        self.present: set[bytes] = set()
        self._storage = storage
        self._walk = walk
        self._steps = steps
        self._errors = errors
        self._seen = seen
        self._left_out = left_out
        self._places = Places(walk, steps, errors)
        self._writable: dict[bytes, bool] = {}
        self._names: dict[bytes, frozenset[bytes]] = {}

    def look_for(self, changes: Iterable[Change], metadata_only: Iterable[tuple[bytes, bool]]) -> None:
        """Looks at every changed path.

        Raises:
            InvalidInputError: Something unknown is in the way; a name is too long, is one with another to this file
                system, or is a temporary one; or a folder cannot be written to.
            ConflictError: Something changed after it was looked at.
            StorageError: The file system is read-only, or the system refused a look.
        """
        for change in changes:
            if change.old != change.new:
                self._look_at(change)
        self._look_at_emptied()
        if self._steps.adds:
            self._look_for_one_name()
        paths = sorted(metadata_only)
        check_keys([path for path, _ in paths if path])
        for path, is_folder in paths:
            self._look_at_metadata(path, is_folder)

    def _look_at(self, change: Change) -> None:
        key, old, new = change
        errors, steps = self._errors, self._steps
        if new is not None and TEMPORARY in key:
            self._require_no_temporary(key)
        if new is not None and new.kind == SYMLINK and new.size > _MAX_TARGET_BYTES:
            place = errors.full_name(key)
            raise InvalidInputError(
                f"{place!r}: its target has {new.size} bytes, more than a symlink can hold; nothing was changed. "
                "Choose a state without it.",
                path=place,
            )
        folder, name = split(key)
        missing = self._places.missing(folder)
        if missing is not None:
            self._look_at_new(key, missing)
            return
        fd = self._enter(folder)
        status = self._look(fd, name, key)
        if status is not None and self._left_out(key):
            if old is None and new is not None and holds(self._storage, fd, name, key, new):
                self.present.add(key)
                return
            why = _special(status) or "the rules leave it out"
            raise errors.in_the_way(key, f"{why}, and the state has something else there")
        if old is not None and old.kind != DIRECTORY:
            if status is None:
                if new is not None or key in steps.into_folder:
                    raise errors.changed(key)
                return
            if not self._seen.is_same(key, status):
                raise errors.changed(key)
            if new is not None and is_mode_change(change):
                if os.geteuid() not in (0, status.st_uid):
                    raise self._denied(key, "it belongs to somebody else")
                return
        elif (status is not None and self._is_fit(change, fd, name, status)) or new is None:
            return
        self._require_writable(folder)

    def _is_fit(self, change: Change, fd: int, name: bytes, status: os.stat_result) -> bool:
        """Whether what is there stays; what is neither to stay nor to go is an error."""
        key, _, new = change
        is_folder = stat.S_ISDIR(status.st_mode)
        if new is None:
            if not is_folder:
                raise self._errors.changed(key)
            return True
        if new.kind == DIRECTORY and is_folder:
            return True
        if new.kind != DIRECTORY and is_folder and key in self._steps.into_leaf:
            self._look_into(fd, name, key)
            return False
        other = same_file(fd, name)
        if other is None:
            why = _special(status) or "it is not known"
            raise self._errors.in_the_way(key, f"{why}, and the state has something else there")
        twin = key[: len(key) - len(name)] + other
        if twin not in self._steps.deletes or new.kind == DIRECTORY:
            raise self._one_name(key, twin)
        self.twins[key] = twin
        return False

    def _look_into(self, fd: int, name: bytes, path: bytes) -> None:
        """Looks through a folder that gives way to a leaf: all in it must be known and removable."""
        steps, errors = self._steps, self._errors
        try:
            surprise = unknown_member(fd, name, path, steps, self._seen)
            if surprise is None:
                for folder, member, below, status in members(fd, name):
                    if stat.S_ISDIR(status.st_mode) and not _is_writable(folder, member):
                        raise self._refused(folder, path + b"/" + below, "it cannot be emptied")
                if not _is_writable(fd, name):
                    raise self._refused(fd, path, "it cannot be emptied")
                return
        except OSError as error:
            raise errors.refused(path, error) from error
        if surprise in steps.old_leaves or is_below(surprise, steps.old_leaves):
            raise errors.changed(surprise)
        found = self._look(fd, surprise[len(path) - len(name) :], surprise)
        why = "" if found is None else _special(found)
        why = why or ("the rules leave it out" if self._left_out(surprise) else "it is not known")
        raise errors.in_the_way(surprise, f"{why}, and the state has a file in the place of its folder")

    def _look_at_new(self, key: bytes, missing: bytes) -> None:
        """Looks at a path in a folder that is yet to be made."""
        above = parent_of(missing)
        self._require_writable(above)
        start = len(above) + 1 if above else 0
        if len(key) - start <= _SURE_NAME_BYTES:
            return
        for name in key[start:].split(b"/"):
            if len(name) > _SURE_NAME_BYTES:
                self._look(self._enter(above), name, key[: key.index(name, start) + len(name)])

    def _look_at_emptied(self) -> None:
        """Looks whether folders that become empty can be removed."""
        steps = self._steps
        going = set(steps.vacated)
        add_folders(going, steps.deletes)
        going -= steps.new_folders
        gone = set(steps.deletes)
        for folder in going:
            above, name = split(folder)
            if self._places.missing(above) is not None or self._can_write(above):
                continue
            try:
                for _, _, below, _ in members(self._enter(above), name):
                    path = folder + b"/" + below
                    if path not in gone and path not in going:
                        break
                else:
                    why = "it becomes empty and cannot be removed from its folder"
                    raise self._refused(self._enter(above), folder, why)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise self._errors.refused(folder, error) from error

    def _look_for_one_name(self) -> None:
        """Looks for names that are one where the file system does not tell upper and lower case apart."""
        steps = self._steps
        if not self._is_folding():
            return
        seen: dict[str, bytes] = {}
        for path in (*(change.key for change in steps.writes), *sorted(steps.new_folders)):
            other = seen.setdefault(_folded(path), path)
            if other != path:
                raise self._one_name(path, other)
        for path in sorted(steps.new_folders):
            if self._places.missing(path) is None:
                above, name = split(path)
                other_name = same_file(self._enter(above), name)
                if other_name is not None:
                    raise self._one_name(path, path[: len(path) - len(name)] + other_name)

    def _is_folding(self) -> bool:
        """Whether the top takes a name in the other case for the same; by a look at a name that is there."""
        top = self._enter(b"")
        for change in (*self._steps.writes, *self._steps.modes):
            name = change.key.split(b"/", 1)[0]
            if name.swapcase() != name and self._look(top, name, name) is not None:
                break
        else:
            names = (os.fsencode(name) for name in os.listdir(top))
            name = next((name for name in names if name.swapcase() != name), b"")
        if not name:
            return False
        one, other = self._look(top, name, name), self._look(top, name.swapcase(), name)
        if one is None or other is None or (one.st_dev, one.st_ino) != (other.st_dev, other.st_ino):
            return False
        # Two hard links may differ in case alone.
        return same_file(top, name.swapcase()) is not None or same_file(top, name) is not None

    def _look_at_metadata(self, path: bytes, is_folder: bool) -> None:
        if not path:
            return
        folder, name = split(path)
        try:
            status = look(self._walk.enter(folder), name)
        except OSError as error:
            raise self._errors.folder(folder, error) from error
        if status is None or stat.S_ISDIR(status.st_mode) != is_folder:
            raise self._errors.changed(path)
        if not is_folder and not self._seen.is_same(path, status):
            raise self._errors.changed(path)

    def _enter(self, folder: bytes) -> int:
        try:
            return self._walk.enter(folder)
        except OSError as error:
            raise self._errors.folder(folder, error) from error

    def _look(self, fd: int, name: bytes, path: bytes) -> os.stat_result | None:
        try:
            return look(fd, name)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise too_long(self._errors, path) from None
            raise self._errors.refused(path, error) from error

    def _can_write(self, folder: bytes) -> bool:
        found = self._writable.get(folder)
        if found is None:
            found = self._writable[folder] = _is_writable(self._enter(folder), b".")
        return found

    def _require_writable(self, folder: bytes) -> None:
        if not self._can_write(folder):
            why = "names in it would change, and it is not yours to write to"
            raise self._refused(self._enter(folder), folder, why)

    def _require_no_temporary(self, path: bytes) -> None:
        for name in path.split(b"/"):
            if is_temporary(name):
                place = self._errors.full_name(path)
                raise InvalidInputError(
                    f"{place!r}: names like {os.fsdecode(name)!r} are kept for files in the making and never captured, "
                    "and the state has one; nothing was changed. Choose a state without it.",
                    path=place,
                )

    def _refused(self, fd: int, path: bytes, why: str) -> CasstoreError:
        """Says that ``path`` cannot be written to, which lies in the file system of ``fd``."""
        if os.fstatvfs(fd).f_flag & os.ST_RDONLY:
            return self._errors.refused(path, OSError(errno.EROFS, os.strerror(errno.EROFS)))
        return self._denied(path, why)

    def _denied(self, path: bytes, why: str) -> InvalidInputError:
        place = self._errors.full_name(path)
        return InvalidInputError(
            f"{place!r}: {why}; nothing was changed. Give yourself access to it, then try again.", path=place
        )

    def _one_name(self, path: bytes, other: bytes) -> InvalidInputError:
        place = self._errors.full_name(path)
        return InvalidInputError(
            f"{place!r} and {self._errors.full_name(other)!r} are one name to this file system, so the state does not "
            "fit; nothing was changed. Use a file system that tells them apart.",
            path=place,
        )


def unknown_member(fd: int, name: bytes, path: bytes, steps: Steps, seen: Seen) -> bytes | None:
    """The first path in the folder ``name`` (which is or was ``path``) that is not as it was when it was looked at.

    Raises ``OSError``.
    """
    for _, _, below, status in members(fd, name):
        member = path + b"/" + below
        if stat.S_ISDIR(status.st_mode):
            if member not in steps.old_folders:
                return member
        elif member not in steps.old_leaves or not seen.is_same(member, status):
            return member
    return None


def _special(status: os.stat_result) -> str:
    """Says of a FIFO and the like what it is; nothing of files, folders and symlinks."""
    mode = status.st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
        return ""
    return f"it is {special_kind(mode)}, which no state has"


def _is_writable(fd: int, name: bytes) -> bool:
    return os.access(name, _WRITABLE, dir_fd=fd, effective_ids=True)


def _folded(path: bytes) -> str:
    text = os.fsdecode(path)
    return text.lower() if text.isascii() else unicodedata.normalize("NFC", text.casefold())
