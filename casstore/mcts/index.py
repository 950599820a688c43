# SPDX-License-Identifier: MIT
"""Nodes by state id, indexed when somebody asks."""

from __future__ import annotations

from casstore.address import Address
from casstore.errors import NotFoundError
from casstore.mcts.node import Node


class StateIndex:
    """Finds nodes by their state.

    Args:
        nodes: The tree's nodes by id, in the order of their ids; the tree's own dict.
    """

    __slots__ = ("_below", "_found", "_nodes", "_saved")

    def __init__(self, nodes: dict[int, Node]) -> None:
        self._nodes = nodes
        self._found: dict[Address, list[Node]] = {}
        self._saved: dict[Address, Node] | None = None
        self._below = 0

    def with_snapshot(self, snapshot_id: Address) -> list[Node]:
        """The node that was saved as that snapshot, if any."""
        if self._saved is None:
            self._saved = {node.snapshot_id: node for node in self._nodes.values() if node.snapshot_id is not None}
        node = self._saved.get(snapshot_id)
        return [] if node is None else [node]

    def forget_snapshots(self) -> None:
        """Snapshots were given to nodes, so that index is made anew when it is asked next."""
        self._saved = None

    def find(self, state_id: Address) -> list[Node]:
        """Nodes whose state has that id, oldest first. Nodes whose state is lost have none."""
        self._catch_up()
        return list(self._found.get(state_id, ()))

    def _catch_up(self) -> None:
        new: list[Node] = []
        for node_id in reversed(self._nodes):
            if node_id < self._below:
                break
            new.append(self._nodes[node_id])
        for node in reversed(new):
            try:
                self._found.setdefault(node.state_id, []).append(node)
            except NotFoundError:
                continue
        if new:
            self._below = new[0].id + 1

    def remove(self, node: Node) -> None:
        """Forgets a node that leaves the tree."""
        if self._saved is not None and node.snapshot_id is not None:
            self._saved.pop(node.snapshot_id, None)
        if node.id < self._below and node._state_id is not None:
            left = [other for other in self._found.get(node._state_id, ()) if other is not node]
            if left:
                self._found[node._state_id] = left
            else:
                self._found.pop(node._state_id, None)

    def clear(self) -> None:
        """Forgets all."""
        self._found.clear()
        self._saved = None
