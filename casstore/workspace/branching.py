# SPDX-License-Identifier: MIT
"""What a branch takes over from a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from casstore.workspace.part import FILES

if TYPE_CHECKING:
    from casstore.branches import Branch

_PREFIX: Final = f"{FILES}/"


def take_files(branch: Branch, found: Branch) -> None:
    """Gives ``branch`` the files of ``found``; its objects stay. *Cost*: what differs between the two."""
    files = branch.files
    changes = [change for change in branch.diff(found) if change.key.startswith(_PREFIX)]
    # What goes first makes room: a file may come where a folder was.
    for key, old, _ in changes:
        if old is not None:
            del files[key[len(_PREFIX) :]]
    for key, _, new in changes:
        if new is not None:
            files.set_entry(key[len(_PREFIX) :], new)
