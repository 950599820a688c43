# SPDX-License-Identifier: MIT
"""Switching an overlay that nobody sees from outside: its delta is written anew beside, and takes the old one's place.

::

    ID/upper     the delta
    ID/next/     the delta that is being written
    ID/old       the delta that was, for as long as it takes to delete it

Killed between the two renames there is no ``upper``; ``old`` then is what it was.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from casstore.errors import StorageError
from casstore.tree import diff
from casstore.workspace.overlay import Upper, hold_base
from casstore.workspace.overlay.running import hold_private
from casstore.workspace.overlay.upper import remove_tree

if TYPE_CHECKING:
    from casstore.store import Store
    from casstore.tree import Root
    from casstore.workspace.overlay import OverlayMount
    from casstore.workspace.report import LeftOut

NEXT: Final = "next"
OLD: Final = "old"


class UpperChanger:
    """Has the interface of a ``Changer``, for a private overlay.

    Args:
        store: An open store.
        folder: The workspace's folder in the store.
        target: Where commands see the overlay.
        lower: Root of the base's files.
        root: Root of the files that the overlay is to show.
    """

    __slots__ = ("_folder", "_lower", "_root", "_store", "_target", "touched", "warnings", "written")

    def __init__(self, store: Store, folder: str, target: str, lower: Root, root: Root) -> None:
        self._store = store
        self._folder = folder
        self._target = target
        self._lower = lower
        self._root = root
        self.written: list[tuple[bytes, os.stat_result]] = []
        self.touched: set[bytes] = set()
        self.warnings: list[LeftOut] = []

    def check(self) -> None:
        """Passes when no command runs in the overlay.

        Raises:
            LockedError: One does.
        """
        with hold_private(self._overlay("")):
            pass

    def run(self) -> None:
        """Puts the new delta in place.

        Raises:
            LockedError: A command runs in the overlay.
            StorageError: The system refused; the delta is as before, or as wanted.
        """
        store, folder = self._store, self._folder
        beside = os.path.join(folder, NEXT)
        with hold_base(store, self._lower) as tree, hold_private(self._overlay(tree)):
            try:
                remove_tree(beside)
                remove_tree(os.path.join(folder, OLD))
                os.mkdir(beside, 0o700)
                upper = Upper(beside, private=True)
                upper.create()
                changes = diff(store.nodes, self._lower, self._root)
                upper.write(store, changes, base=tree, root=self._root)
                current = os.path.join(folder, os.path.basename(upper.path))
                os.rename(current, os.path.join(folder, OLD))
                os.rename(upper.path, current)
            except OSError as error:
                raise StorageError(
                    f"the delta of {self._target!r} cannot be written: {error.strerror}; free some space, then repeat "
                    "the command.",
                    path=folder,
                ) from error
            remove_tree(os.path.join(folder, OLD))
            remove_tree(beside)

    def _overlay(self, tree: str) -> OverlayMount:
        return Upper(self._folder, private=True).overlay(tree, self._target)


def restore_upper(folder: str) -> None:
    """Puts back what a killed switch had set aside."""
    upper = Upper(folder, private=True).path
    if not os.path.lexists(upper) and os.path.lexists(os.path.join(folder, OLD)):
        os.rename(os.path.join(folder, OLD), upper)
