# SPDX-License-Identifier: MIT
"""What a list of changes means for the names in a directory.

A tree has no entry for a folder that holds something, so folders that come, go or give way to a file show only in the
keys of their members. This finds them, from the changes alone.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from casstore.errors import CorruptionError
from casstore.format.entry import DIRECTORY, EXECUTABLE, FILE
from casstore.format.key import keys_problem
from casstore.tree.diff import Change
from casstore.workspace.changing.contents import no_file

_FILES: Final = (FILE, EXECUTABLE)


@dataclass(frozen=True, slots=True)
class Steps:
    """The changes, sorted by what is to be done. A leaf is a file or a symlink; paths are in order.

    Attributes:
        writes: Leaves that are written, new or in the place of something.
        modes: Files of which only the executable bit differs.
        deletes: Leaves that go, except those below ``into_leaf``.
        makes: Folders that the new state has as empty ones.
        vacated: Folders that the old state had as empty ones and that the new one does not have.
        into_folder: Leaves in whose place a folder comes.
        into_leaf: Folders in whose place a leaf comes.
        old_leaves: Every leaf that goes or is replaced.
        old_folders: Every folder above an old entry, and every empty one of the old state.
        new_folders: The same for the new state.
    """

    writes: list[Change]
    modes: list[Change]
    deletes: list[bytes]
    makes: list[bytes]
    vacated: list[bytes]
    into_folder: set[bytes]
    into_leaf: set[bytes]
    old_leaves: set[bytes]
    old_folders: set[bytes]
    new_folders: set[bytes]

    @property
    def adds(self) -> bool:
        """Whether a name may come into being that was not there."""
        return bool(self.makes) or any(old is None or old.kind == DIRECTORY for _, old, _ in self.writes)


def plan_steps(changes: Sequence[Change]) -> Steps:
    """What ``changes`` (sorted by key, of ``files`` roots) mean.

    Raises:
        CorruptionError: They are no changes between two directory trees: a key leads outside, is out of order or is
            both a folder and a leaf, or an entry is of a kind that no directory has.
    """
    check_keys([change.key for change in changes])
    steps = Steps([], [], [], [], [], set(), set(), set(), set(), set())
    old_folders, new_folders = steps.old_folders, steps.new_folders
    add_folders(old_folders, (key for key, old, _ in changes if old is not None))
    add_folders(new_folders, (key for key, _, new in changes if new is not None))
    vacated: list[bytes] = []
    deletes: list[bytes] = []
    for change in changes:
        key, old, new = change
        for entry, folders in ((old, old_folders), (new, new_folders)):
            if entry is not None and not FILE <= entry.kind <= DIRECTORY:
                raise no_file(key, entry)
            if entry is not None and key in folders:
                name = os.fsdecode(key)
                raise CorruptionError(
                    f"{name!r} is both a folder and an entry of one state; run `casstore verify`.", path=name
                )
        if old == new:
            continue
        is_leaf = old is not None and old.kind != DIRECTORY
        if is_leaf:
            steps.old_leaves.add(key)
        if new is None:
            if not is_leaf:
                vacated.append(key)
            elif key in new_folders:
                steps.into_folder.add(key)
            else:
                deletes.append(key)
        elif new.kind == DIRECTORY:
            steps.makes.append(key)
            if is_leaf:
                steps.into_folder.add(key)
        elif is_leaf:
            (steps.modes if is_mode_change(change) else steps.writes).append(change)
        else:
            steps.writes.append(change)
            if old is not None or key in old_folders:
                steps.into_leaf.add(key)
    new_folders.update(steps.makes)
    old_folders.update(key for key, old, _ in changes if old is not None and old.kind == DIRECTORY)
    into_leaf = steps.into_leaf
    steps.vacated.extend(key for key in vacated if key not in new_folders and not is_below(key, into_leaf))
    steps.deletes.extend(key for key in deletes if not is_below(key, into_leaf))
    return steps


def is_mode_change(change: Change) -> bool:
    """Whether nothing but the executable bit differs."""
    _, old, new = change
    if old is None or new is None:
        return False
    return old[1:] == new[1:] and old.kind in _FILES and new.kind in _FILES


def check_keys(keys: Sequence[bytes]) -> None:
    """Passes only paths that lead nowhere but below the top, in strictly ascending order.

    Raises:
        CorruptionError: One does not.
    """
    problem = keys_problem(keys)
    if problem:
        raise CorruptionError(f"these changes cannot be made: {problem}; run `casstore verify`.")


def parent_of(path: bytes) -> bytes:
    """The folder that ``path`` is in (``b""`` is the top)."""
    cut = path.rfind(b"/")
    return path[:cut] if cut > 0 else b""


def is_below(path: bytes, folders: Collection[bytes]) -> bool:
    """Whether one of ``folders`` is above ``path``."""
    if not folders:
        return False
    while path:
        path = parent_of(path)
        if path in folders:
            return True
    return False


def add_folders(folders: set[bytes], keys: Iterable[bytes]) -> None:
    """Adds every folder above one of ``keys``, without the top."""
    for key in keys:
        folder = parent_of(key)
        while folder and folder not in folders:
            folders.add(folder)
            folder = parent_of(folder)
