# SPDX-License-Identifier: MIT
"""What all branches of a store share: its storage, its factories, the pending budget, and striped locks."""

from __future__ import annotations

import threading
from typing import Final

from casstore.address import ADDRESS_BYTES, Address
from casstore.branches.cell import PendingBudget
from casstore.branches.markers import Markers
from casstore.branches.sharing_handles import SharedTable
from casstore.codecs import Registry, default_registry
from casstore.errors import ClosedError, InvalidInputError
from casstore.format.entry import Entry
from casstore.snapshots import Refs, Snapshot, Snapshots
from casstore.storage import Storage
from casstore.tree import Nodes, Root, lookup

_STRIPES: Final = 64

DEFAULT_FOLD_KEYS: Final = 4096
"""A delta of more keys is folded into its base; docs/design/008-branches.md has the measurement."""


MEMO_ROOTS: Final = 4
MEMO_KEYS: Final = 16_384
"""Bounds of the memos: about 300 bytes a key, so 20 MB at the most. They make a hot read 1.2 instead of 5.6 µs."""


class BranchContext:
    """Shared by all branches of one store."""

    __slots__ = (
        "_memos",
        "budget",
        "codecs",
        "fold_keys",
        "locks",
        "markers",
        "nodes",
        "refs",
        "shared",
        "snapshots",
        "storage",
    )

    def __init__(self, snapshots: Snapshots, refs: Refs, pending_bytes: int) -> None:
        self.snapshots = snapshots
        self.storage: Storage = snapshots.storage
        self.nodes: Nodes = snapshots.nodes
        self.refs = refs
        self.codecs: Registry = Registry(default_registry())
        self.budget = PendingBudget(self.storage, pending_bytes)
        self.shared = SharedTable()
        self.fold_keys = DEFAULT_FOLD_KEYS
        self.markers = Markers()
        self._memos: dict[Address, dict[str, Entry | None]] = {}
        self.locks = tuple(threading.RLock() for _ in range(_STRIPES))

    def check_open(self) -> None:
        """What is in memory could be used without the store; this refuses, so that no work is lost unnoticed.

        Raises:
            ClosedError: The store is closed, or belongs to the parent of this process.
        """
        closed = getattr(self.storage.backend, "_closed", None)
        if closed:
            raise ClosedError(closed)

    def resolve(self, state: bytes | str) -> Snapshot:
        """The snapshot that a ref, an id or the beginning of one names; as ``Store.resolve``.

        Raises:
            NotFoundError: Nothing has that name.
            InvalidInputError: Several ids begin so, or ``state`` is no id.
        """
        self.check_open()
        if isinstance(state, str):
            return self.refs[state] if state in self.refs else self.snapshots.get(self.snapshots.find(state))
        if len(state) != ADDRESS_BYTES:
            raise InvalidInputError(f"{state!r} names no state; give a branch, a ref, a snapshot, or an id.")
        return self.snapshots.get(Address(state))

    def memo(self, root: Address) -> dict[str, Entry | None]:
        """Keys of a tree that were looked up of late, and what they map to; a tree never changes, so neither do these.

        For a few trees and a bounded number of keys; what does not fit is forgotten.
        """
        found = self._memos.get(root)
        if found is None:
            if len(self._memos) >= MEMO_ROOTS:
                self._memos = {}
            found = self._memos.setdefault(root, {})
        elif len(found) >= MEMO_KEYS:
            found.clear()
        return found

    def has_key(self, root: Root, key: bytes) -> bool:
        """Whether a tree has a key."""
        return lookup(self.nodes, root, key) is not None

    def lock_of(self, branch: object) -> threading.RLock:
        """The lock that serializes writes to a branch; others may share it."""
        return self.locks[(id(branch) >> 6) % _STRIPES]
