# SPDX-License-Identifier: MIT
"""A directory that is an overlay: what it holds is its base's tree with what its upper folder says."""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from casstore.errors import InvalidInputError
from casstore.format.stat_cache import cache_key
from casstore.format.workspace_files import OVERLAY_PRIVATE
from casstore.workspace.observed import Changes, Observed
from casstore.workspace.overlay import Upper
from casstore.workspace.overlay.bases import base_name, base_path
from casstore.workspace.overlay.private import restore_upper
from casstore.workspace.part import FILES
from casstore.workspace.report import LeftOut
from casstore.workspace.scanning.capture import edited
from casstore.workspace.scanning.rule_files import GIT
from casstore.workspace.scanning.scan import LEFTOVER, is_temporary

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.snapshots import Snapshot
    from casstore.store import Store
    from casstore.tree import Change
    from casstore.workspace.report import Progress
    from casstore.workspace.scanning.fingerprint import Fingerprint
    from casstore.workspace.selection import Selection

_NO_DEVICE: Final = 0


def upper_cache_key(workspace: str) -> bytes:
    """What the keys of the store's cache begin with that are about the upper folder of a workspace."""
    # No directory has this identity, so the keys are nobody else's.
    return cache_key(_NO_DEVICE, int(workspace, 16)) + b"u"


class OverlaidDirectory:
    """See ``Directory``. Only the upper folder is read, so neither a mount nor the size of the base matters.

    Args:
        store: An open store.
        workspace: Id of the workspace.
        folder: Its folder in the store.
        directory: Where it is mounted.
        kind: ``"overlay"`` or ``"overlay-private"``.
        lower: Root of the base's files; None is the empty tree.
        selection: What is captured.
    """

    __slots__ = ("_base", "_directory", "_expected", "_lower", "_private", "_selection", "_store", "upper")

    def __init__(
        self,
        store: Store,
        workspace: str,
        folder: str,
        directory: str,
        kind: str,
        lower: Address | None,
        selection: Selection,
    ) -> None:
        if selection.ignore != "nothing":
            raise InvalidInputError(
                "an overlay is captured whole; leave its files out with another method of forking, or capture all."
            )
        self._store = store
        self._selection = selection
        self._lower = lower
        self._directory = directory
        self._base = base_path(os.path.realpath(store.path), base_name(lower))
        self._private = kind == OVERLAY_PRIVATE
        self.upper = Upper(folder, private=self._private, cache_key=upper_cache_key(workspace))
        # As the last kept look saw it.
        self._expected: dict[bytes, Fingerprint | None] = {}

    def observe(
        self,
        *,
        keep: bool,
        known: Mapping[str, Address] | None = None,
        paranoid: bool = False,
        progress: Progress | None = None,
    ) -> Observed:
        """See ``Directory``. *Cost*: some 50 µs for each path that the overlay changed."""
        store = self._store
        leftovers: set[bytes] = set()
        if self._private and keep:
            # Whoever keeps what is seen holds the workspace; others must not rename.
            restore_upper(self.upper.folder)
        keep_git = self._selection.keep_git

        def leaves_out(path: bytes, directory: bool) -> bool:
            name = path[path.rfind(b"/") + 1 :]
            if is_temporary(name):
                leftovers.add(path)
                return True
            return name == b".git" and not keep_git

        # Who only looks must not change what is expected of a path.
        upper = self.upper if keep else copy.copy(self.upper)
        if keep:
            self._expected = {}
        edits = upper.edits(
            store.storage, store.nodes, self._lower, leaves_out=leaves_out, paranoid=paranoid, keep=keep
        )
        nodes = store.nodes
        if not keep and edits:
            from casstore.branches.folding import ScratchNodes

            nodes = ScratchNodes(store.nodes)
        root = edited(nodes, self._lower, edits, tree=True)
        left_out = [LeftOut(os.fsdecode(path), LEFTOVER) for path in sorted(leftovers)]
        seen = {item.path for item in left_out}
        for item in upper.left_out:
            if item.path not in seen:
                name = item.path.rpartition("/")[2]
                left_out.append(LeftOut(item.path, GIT) if name == ".git" else item)
        return Observed({} if root is None else {FILES: root}, nodes, tuple(left_out), frozenset(leftovers))

    def relist(self) -> None:
        """See ``Directory``: every ``observe`` lists the whole upper folder."""

    def expected(self, path: bytes) -> Fingerprint | None:
        """See ``Directory``. A path that the overlay did not change looks as in the base."""
        if path not in self._expected:
            # Looked up once: the inode is that of what the mount shows now, and soon something else has the name.
            self._expected[path] = self.upper.fingerprint(path, base=self._base, shown=self._directory)
        return self._expected[path]

    def require_same(self, status: os.stat_result) -> None:
        """See ``Directory``: a mount is told by its source, and not by what is below its name."""

    def saved(self, snapshot: Snapshot) -> None:
        """See ``Directory``: what is known is about the upper folder, whatever snapshot has its content."""

    def switched(
        self, snapshot: Snapshot, changes: Changes, names: Sequence[Change], spared: Collection[bytes]
    ) -> None:
        """See ``Directory``."""

    def close(self) -> None:
        """See ``Directory``."""
