# SPDX-License-Identifier: MIT
"""What a node costs: bytes of its own, and bytes that it shares with its parent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from casstore.format.snapshot import STATE_ROOTS
from casstore.mcts.lineage import own_changes
from casstore.snapshots import Change
from casstore.tree import summary

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.mcts.node import Node


@dataclass(frozen=True, slots=True)
class NodeCost:
    """Bytes of a node's files and objects, before compression and without the nodes of Merkle trees.

    Attributes:
        own_bytes: Contents that differ from the parent's state, each counted once; of the root all.
        shared_bytes: The rest.
    """

    own_bytes: int
    shared_bytes: int


def cost_of(node: Node) -> NodeCost:
    """What a node costs.

    Raises:
        NotFoundError: Its state or its parent's is lost.
    """
    total = _state_bytes(node.open())
    own = total if node.edge is None else own_bytes_of(node)
    return NodeCost(own, total - own)


def own_bytes_of(node: Node) -> int:
    """The first part of ``cost_of``, for a fraction of the cost; of the root all. Raises as that."""
    branch = node.open()
    parent = node.parent
    if parent is None or node._store is None:
        return _state_bytes(branch)
    above = parent.open()
    changes = own_changes(node._store, branch, above)
    return _own_bytes(above.diff(branch) if changes is None else changes)


def _state_bytes(branch: Branch) -> int:
    fields, scratch, _ = branch.snapshot_fields()
    return sum(summary(scratch, fields.roots.get(name)).bytes for name in STATE_ROOTS)


def _own_bytes(changes: Iterable[Change]) -> int:
    """Bytes that the changes bring. What only moved, or changed its kind or mode, brings none."""
    old: set[bytes | None] = set()
    new: dict[bytes | None, int] = {}
    for change in changes:
        if change.old is not None:
            old.add(change.old.address or change.old.inline)
        if change.new is not None:
            new[change.new.address or change.new.inline] = change.new.size
    return sum(size for content, size in new.items() if content not in old)
