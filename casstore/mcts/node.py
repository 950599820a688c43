# SPDX-License-Identifier: MIT
"""Nodes and edges of a search tree.

A node is a state; an edge is a way from one state to another, and carries the statistics of the search, so that a state
that several ways lead to is one node. The edge through which a node was first reached is its primary edge: depth, path
and ancestors follow primary edges, which form a tree; the others are kept in ``merged``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casstore.address import Address
from casstore.errors import InvalidInputError, NotFoundError
from casstore.format.canonical import JsonValue

if TYPE_CHECKING:
    from casstore.branches import Branch
    from casstore.snapshots import Snapshot
    from casstore.store import Store


class Edge:
    """A way from one node to another.

    Attributes:
        parent: Where it begins.
        child: Where it leads.
        action: What was done, a JSON value.
        prior: How promising it was before anything was known, 0 or more; what counts is its share among siblings.
        visits: Descents that went this way.
        value_sum: Sum of the values that they came back with, as seen by whoever chooses at ``parent``.
        pending: Descents that went this way and have not come back.
    """

    __slots__ = ("action", "child", "parent", "pending", "prior", "value_sum", "visits")

    def __init__(self, parent: Node, child: Node, action: JsonValue, prior: float) -> None:
        self.parent = parent
        self.child = child
        self.action = action
        self.prior = prior
        self.visits = 0
        self.value_sum = 0.0
        self.pending = 0

    @property
    def value(self) -> float | None:
        """Mean of the values that came back this way; None where none did."""
        return self.value_sum / self.visits if self.visits else None

    def __repr__(self) -> str:
        return f"<Edge {self.parent.id} to {self.child.id} {self.action!r}, {self.visits} visits>"


class Node:
    """One state of a search tree. A ``StateTree`` makes them.

    Attributes:
        id: Number in the tree, from 0, never given twice.
        edge: The edge through which the node was first reached; None for the root.
        merged: Further edges that lead here.
        edges: Edges to what was made of this state, in the order in which they were made.
        expanded: Whether a search made the node's edges; one that is expanded and has none is an end.
        snapshot_id: The snapshot that holds the state, 32 bytes; None until the tree is saved.
    """

    __slots__ = (
        "__weakref__",
        "_branch",
        "_recorded",
        "_state_id",
        "_stats",
        "_store",
        "edge",
        "edges",
        "expanded",
        "id",
        "merged",
        "snapshot_id",
    )

    def __init__(self, store: Store, node_id: int, branch: Branch | None, snapshot_id: Address | None = None) -> None:
        self.id = node_id
        self.edge: Edge | None = None
        self.merged: tuple[Edge, ...] = ()
        self.edges: list[Edge] = []
        self.expanded = False
        self.snapshot_id = snapshot_id
        self._store: Store | None = store
        self._branch = branch
        self._state_id: Address | None = None
        self._stats: dict[str, int | float] | None = None
        self._recorded: Address | None = None

    # -- place in the tree

    @property
    def is_pruned(self) -> bool:
        """Whether the node was taken out of its tree."""
        return self._store is None

    @property
    def is_root(self) -> bool:
        """Whether the node is its tree's root."""
        return self.edge is None and self._store is not None

    @property
    def parent(self) -> Node | None:
        """The node that this one was first reached from; None for the root."""
        return None if self.edge is None else self.edge.parent

    @property
    def action(self) -> JsonValue:
        """What was done to the parent's state; None for the root."""
        return None if self.edge is None else self.edge.action

    @property
    def prior(self) -> float:
        """Prior of the primary edge; 1.0 for the root."""
        return 1.0 if self.edge is None else self.edge.prior

    @property
    def path(self) -> list[Node]:
        """Nodes from the root to this one, both included."""
        found = [self]
        edge = self.edge
        while edge is not None:
            found.append(edge.parent)
            edge = edge.parent.edge
        return found[::-1]

    @property
    def depth(self) -> int:
        """Edges between the root and this node."""
        depth = 0
        edge = self.edge
        while edge is not None:
            depth += 1
            edge = edge.parent.edge
        return depth

    @property
    def children(self) -> list[Node]:
        """Where the node's edges lead, in their order, each node once."""
        return list(dict.fromkeys(edge.child for edge in self.edges))

    @property
    def in_edges(self) -> tuple[Edge, ...]:
        """All edges that lead here, the primary one first."""
        return self.merged if self.edge is None else (self.edge, *self.merged)

    # -- statistics

    @property
    def stats(self) -> dict[str, int | float]:
        """Numbers that are kept with the node. A search keeps the node's own evaluation as ``"value"``."""
        if self._stats is None:
            self._stats = {}
        return self._stats

    @property
    def visits(self) -> int:
        """Descents that came through the node; for the root, that went on from it."""
        edges = self.edges if self.edge is None else (self.edge, *self.merged)
        return sum(edge.visits for edge in edges)

    @property
    def value(self) -> float | None:
        """Mean value of the descents that ``visits`` counts, else ``stats["value"]``, else None.

        It is seen by whoever chose to come here; at the root, by whoever chooses there.
        """
        edges = self.edges if self.edge is None else (self.edge, *self.merged)
        visits = sum(edge.visits for edge in edges)
        if visits:
            return sum(edge.value_sum for edge in edges) / visits
        return None if self._stats is None else self._stats.get("value")

    # -- the state

    @property
    def branch(self) -> Branch | None:
        """The node's own state; fork it, never write to it. None where the node was pruned or its state is lost.

        *Cost*: nothing, but for a node of a resumed or unloaded tree, whose snapshot is opened on first use (some 25
        µs).
        """
        branch = self._branch
        if branch is None and self._store is not None and self.snapshot_id is not None:
            try:
                branch = self._branch = self._store.branch(self.snapshot_id)
            except NotFoundError:
                return None
        return branch

    @property
    def snapshot(self) -> Snapshot | None:
        """The snapshot that holds the state, or None.

        Raises:
            NotFoundError: It was collected.
        """
        if self.snapshot_id is None or self._store is None:
            return None
        return self._store.snapshot(self.snapshot_id)

    @property
    def state_id(self) -> Address:
        """32 bytes, equal for equal states; computed on first use, some 80 µs.

        Raises:
            NotFoundError: The node was pruned or its state is lost.
        """
        if self._state_id is None:
            self._state_id = self.open().state_id()
        return self._state_id

    def open(self) -> Branch:
        """``branch``, or an error that says why there is none.

        Raises:
            InvalidInputError: The node was pruned.
            NotFoundError: Its state is lost.
        """
        branch = self.branch
        if branch is not None:
            return branch
        if self._store is None:
            raise InvalidInputError(f"node {self.id} was pruned from its tree; use a node that is still in it.")
        raise NotFoundError(
            f"the state of node {self.id} is lost: its snapshot was collected or never arrived; go back to a node "
            "that `tree.missing` does not name.",
            address=self.snapshot_id,
        )

    def __repr__(self) -> str:
        place = "pruned" if self._store is None else f"depth {self.depth}, {len(self.edges)} edges"
        return f"<Node {self.id}, {place}>"


def unlink(node: Node) -> None:
    """Cuts a node off, so that it and its state are freed at once whoever still holds the node."""
    branch, node._branch, node._store = node._branch, None, None
    node.edge = None
    node.merged = ()
    node.edges = []
    if branch is not None:
        branch.discard()
