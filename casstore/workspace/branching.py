# SPDX-License-Identifier: MIT
"""What a branch takes over from a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from casstore.branches import Branch
from casstore.errors import InvalidInputError
from casstore.workspace.part import FILES

if TYPE_CHECKING:
    from casstore.workspace.workspace import Workspace

_PREFIX: Final = f"{FILES}/"


def take_files(branch: Branch, workspace: Workspace) -> Branch:
    """The branch, given the files of the directory; its objects stay. See ``Workspace.capture``."""
    if not isinstance(branch, Branch):
        raise InvalidInputError(f"{branch!r} is no branch; give one, such as store.branch({branch!r}).")
    found = workspace.branch()
    files = branch.files
    changes = [change for change in branch.diff(found) if change.key.startswith(_PREFIX)]
    # What goes first makes room: a file may come where a folder was.
    for key, old, _ in changes:
        if old is not None:
            del files[key[len(_PREFIX) :]]
    for key, _, new in changes:
        if new is not None:
            files.set_entry(key[len(_PREFIX) :], new)
    return branch
