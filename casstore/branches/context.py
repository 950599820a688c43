# SPDX-License-Identifier: MIT
"""What all branches of a store share: its storage, its factories, the pending budget, and striped locks."""

from __future__ import annotations

import threading
from typing import Final

from casstore.branches.cell import PendingBudget
from casstore.codecs import Registry, default_registry
from casstore.errors import ClosedError
from casstore.snapshots import Refs, Snapshots
from casstore.storage import Storage
from casstore.tree import Nodes, Root, lookup

_STRIPES: Final = 64

DEFAULT_FOLD_KEYS: Final = 4096
"""A delta of more keys is folded into its base; docs/design/008-branches.md has the measurement."""


class BranchContext:
    """Shared by all branches of one store."""

    __slots__ = ("budget", "codecs", "fold_keys", "locks", "nodes", "refs", "snapshots", "storage")

    def __init__(self, snapshots: Snapshots, refs: Refs, pending_bytes: int) -> None:
        self.snapshots = snapshots
        self.storage: Storage = snapshots.storage
        self.nodes: Nodes = snapshots.nodes
        self.refs = refs
        self.codecs: Registry = Registry(default_registry())
        self.budget = PendingBudget(self.storage, pending_bytes)
        self.fold_keys = DEFAULT_FOLD_KEYS
        self.locks = tuple(threading.RLock() for _ in range(_STRIPES))

    def check_open(self) -> None:
        """What is in memory could be used without the store; this refuses, so that no work is lost unnoticed.

        Raises:
            ClosedError: The store is closed, or belongs to the parent of this process.
        """
        closed = getattr(self.storage.backend, "_closed", None)
        if closed:
            raise ClosedError(closed)

    def has_key(self, root: Root, key: bytes) -> bool:
        """Whether a tree has a key."""
        return lookup(self.nodes, root, key) is not None

    def lock_of(self, branch: object) -> threading.RLock:
        """The lock that serializes writes to a branch; others may share it."""
        return self.locks[(id(branch) >> 6) % _STRIPES]
