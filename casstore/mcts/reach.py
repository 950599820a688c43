# SPDX-License-Identifier: MIT
"""How much the nodes weigh that reach an object: the sum of their weights, for whoever loads and keeps by priority.

A node's state holds what its parent's held, but for what the node changed. So only changes are kept, each found once,
as a state never changes: an object counts with all nodes below the one that set it, without those below one that
replaced it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from casstore.address import Address
from casstore.branches.cell import Cell
from casstore.branches.delta import EMPTY, MISS
from casstore.branches.folding import ScratchNodes
from casstore.errors import ClosedError, NotFoundError
from casstore.format.entry import Entry
from casstore.format.snapshot import OBJECTS
from casstore.mcts.node import Node
from casstore.mcts.weights import shares_of, weight_of
from casstore.snapshots import decode_key
from casstore.tree import Root, diff

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.mcts.tree import StateTree

Changes = tuple[tuple[str, Entry | None, Entry | None], ...]
"""Keys of objects that a node changed: what its parent has there, and what it has."""


class TreeReach:
    """Weights of a tree's nodes by the objects that they reach, as of the last ``refresh``.

    It does not keep the tree alive; of a tree that is gone nothing weighs anything. Where transpositions are merged, a
    node counts once, by its primary edge.

    *Thread safety*: ``weight`` from any thread; a refresh shows when it is done.
    *Cost*: ``weight`` is two look-ups; ``refresh`` some 10 µs per node, and for each that is new 10 µs more and 0.2 µs
    per key of its delta, or the nodes of the tree that it changed; memory for the changes of each node.
    """

    __slots__ = ("_changes", "_root", "_seen", "_table", "_total", "_tree")

    def __init__(self, tree: StateTree) -> None:
        self._tree = weakref.ref(tree)
        self._changes: dict[int, tuple[int, Changes]] = {}
        self._table: dict[tuple[str, Entry], float] = {}
        self._root: Branch | None = None
        self._total = 0.0
        self._seen = 0
        self.refresh(0)

    def weight(self, key: str, entry: Entry) -> float:
        """The sum of the weights of the nodes in whose state ``key`` maps to ``entry``; 0.0 where none does.

        A node that came since the last ``refresh`` counts with what it changed.
        """
        tree = self._tree()
        if tree is None:
            return 0.0
        if tree._next_id > self._seen:
            self._catch_up(tree)
        found = self._table.get((key, entry), 0.0)
        if self._root is not None:
            try:
                if self._root.objects.entry(key) == entry:
                    found += self._total
            except NotFoundError:
                pass
        # What was added and taken away again may leave a trace.
        return max(0.0, found)

    def refresh(self, most: int | None = None) -> bool:
        """Takes the weights of now over; whether anything may have changed.

        Args:
            most: New nodes to look into at the most; others count as their parents until the next time.
        """
        tree = self._tree()
        if tree is None:
            changed, self._table, self._root = bool(self._table), {}, None
            return changed
        with tree._lock:
            root, next_id = tree.root, tree._next_id
        order, sums = _from(root, next_id)
        for number in range(len(order) - 1, 0, -1):
            sums[order[number][1]] += sums[number]
        table: dict[tuple[str, Entry], float] = {}
        known: dict[int, tuple[int, Changes]] = {}
        left = len(order) if most is None else most
        for (node, at), total in zip(order[1:], sums[1:]):
            parent = order[at][0]
            kept = self._changes.get(node.id)
            if kept is None or kept[0] != parent.id:
                if left <= 0:
                    continue
                left -= 1
                kept = (parent.id, changes_of(parent, node))
            known[node.id] = kept
            for key, old, new in kept[1]:
                if old is not None:
                    table[key, old] = table.get((key, old), 0.0) - total
                if new is not None:
                    table[key, new] = table.get((key, new), 0.0) + total
        self._changes = known
        self._total = sums[0]
        branch = root.branch
        # A fork, as who collapses the tree discards the node's own.
        self._root = None if branch is None else branch.fork()
        self._table = table
        self._seen = next_id
        return True

    def _catch_up(self, tree: StateTree) -> None:
        """Adds what the nodes changed that came since the last refresh; their parents' objects can wait for that."""
        with tree._lock:
            first, self._seen = self._seen, tree._next_id
            new = [node for number in range(first, self._seen) if (node := tree._nodes.get(number)) is not None]
        for node in new:
            parent = node.parent
            if parent is None:
                continue
            kept = self._changes[node.id] = (parent.id, changes_of(parent, node))
            own = weight_of(node)
            for key, _, entry in kept[1]:
                if entry is not None:
                    self._table[key, entry] = self._table.get((key, entry), 0.0) + own


def on_visit(
    tree: StateTree, callback: Callable[[Iterable[tuple[Branch | Address, float]]], Any]
) -> Callable[[], None]:
    """See ``StateTree.on_visit``."""

    def visited(node: Node, branch: Any) -> None:
        states = []
        for edge, share in shares_of(node):
            state = edge.child._branch or edge.child.snapshot_id
            if state is not None:
                states.append((state, share))
        if states:
            callback(states)

    return tree.on("visited", visited)


def _from(root: Node, below: int) -> tuple[list[tuple[Node, int]], list[float]]:
    """Nodes with ids below that, parents first, each with the place of its parent in the list; and their weights."""
    order, weights = [(root, 0)], [1.0]
    for at, (node, _) in enumerate(order):
        # Grows while it is walked.
        for edge, share in shares_of(node):
            if edge.child.edge is edge and edge.child.id < below:
                order.append((edge.child, at))
                weights.append(weights[at] * share)
    return order, weights


def changes_of(parent: Node, node: Node) -> Changes:
    """What the objects of a node differ in from its parent's; nothing where one of the states is lost."""
    ours, theirs = parent._branch, node._branch
    try:
        if ours is not None and theirs is not None:
            found = _between(ours, theirs)
            if found is not None:
                return found
        held: list[ScratchNodes] = []
        before, after = (_objects(one, held) for one in (parent, node))
        nodes = held[0]
        for other in held[1:]:
            nodes.join(other)
        return tuple((decode_key(key), old, new) for key, old, new in diff(nodes, before, after))
    except (NotFoundError, ClosedError):
        # Pruned by now, or its snapshot was collected.
        return ()


def _between(ours: Branch, theirs: Branch) -> Changes | None:
    """The changes between a branch and a fork of it, by their deltas; None where these do not say."""
    before, after = ours._state, theirs._state
    if before is None or after is None or before[1] is not after[1] or before[3].marks != after[3].marks:
        return None
    if before[3] is after[3]:
        return ()
    # By the objects, not what they say: forks share what was not set again. A delta is folded before it gets long.
    old, new = before[3].keys, after[3].keys
    changed = [key for key, cell in new.items() if old.get(key, MISS) is not cell]
    changed += [key for key in old if key not in new] if len(new) - len(changed) < len(old) else []
    found = []
    for key in dict.fromkeys(changed):
        pair = (_entry(ours, key), _entry(theirs, key))
        if pair[0] != pair[1]:
            found.append((key, *pair))
    return tuple(found)


def _entry(branch: Branch, key: str) -> Entry | None:
    found = branch.objects._find(branch._current(), key)
    return found.addressed() if isinstance(found, Cell) else found


def _objects(node: Node, held: list[ScratchNodes]) -> Root:
    """The root of a node's objects; what it takes is appended to ``held``, and nothing is opened that was not."""
    store, branch = node._store, node._branch
    if store is None:
        raise NotFoundError(f"node {node.id} was pruned.")
    if branch is not None:
        state = branch._current()
        # Its files do not matter here.
        roots, scratch = branch._scratch_roots((state[0], state[1], EMPTY, state[3], state[4]))
        held.append(scratch)
        return roots.get(OBJECTS)
    if node.snapshot_id is None:
        raise NotFoundError(f"the state of node {node.id} is lost.")
    snapshot = store.snapshot(node.snapshot_id)
    scratch = ScratchNodes(store.branches.nodes)
    scratch.held.append(snapshot)
    held.append(scratch)
    return snapshot.roots.get(OBJECTS)
