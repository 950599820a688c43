# SPDX-License-Identifier: MIT
"""What the soak's model knows of a search: nodes by the number of what was done, each with its whole state."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from typing import NamedTuple

from benchmarks.soak_values import Edit, State


class Known(NamedTuple):
    """A node."""

    parent: int | None
    state: State
    score: float


class Search(NamedTuple):
    """A tree of nodes; never changed, only replaced."""

    root: int
    nodes: dict[int, Known]

    def grown(self, new: Sequence[tuple[int, int, Edit, float]]) -> Search:
        """With new nodes: number, parent's number, edit, score."""
        nodes = dict(self.nodes)
        for number, parent, edit, score in new:
            nodes[number] = Known(parent, edit.of(nodes[parent].state), score)
        return Search(self.root, nodes)

    def path(self, number: int) -> list[int]:
        """From a node to the root."""
        found = [number]
        while found[-1] != self.root:
            parent = self.nodes[found[-1]].parent
            if parent is None:
                raise KeyError(number)
            found.append(parent)
        return found

    def collapsed(self, root: int) -> Search:
        """With another root, without what it does not lead to."""
        kept = [number for number in self.nodes if root in self.path(number)]
        return self._only(kept, root)

    def pruned(self, keep: int) -> Search:
        """The best nodes and what leads to them."""
        others = [number for number in self.nodes if number != self.root]
        chosen = heapq.nlargest(keep, others, key=lambda number: (self.nodes[number].score, -number))
        kept = {self.root}
        for number in chosen:
            kept.update(self.path(number))
        return self._only([number for number in self.nodes if number in kept], self.root)

    def _only(self, kept: Collection[int], root: int) -> Search:
        nodes = {number: self.nodes[number] for number in kept}
        nodes[root] = nodes[root]._replace(parent=None)
        return Search(root, nodes)
