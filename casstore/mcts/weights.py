# SPDX-License-Identifier: MIT
"""Weights: how likely a search is to come back to a node, for those who load or keep things by priority."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from casstore.address import Address
from casstore.errors import InvalidInputError
from casstore.mcts.node import Edge, Node

if TYPE_CHECKING:
    from casstore.mcts.tree import StateTree


def share_of(edge: Edge) -> float:
    """The edge's share among its siblings, from 0 to 1; the shares of all siblings add up to 1.

    One visit is spread by priors, so that an edge without visits has a share too, which shrinks with every visit that
    goes elsewhere.
    """
    siblings = edge.parent.edges
    visits = sum(sibling.visits for sibling in siblings)
    priors = sum(sibling.prior for sibling in siblings)
    prior = edge.prior / priors if priors else 1 / len(siblings)
    return (edge.visits + prior) / (visits + 1)


def shares_of(node: Node) -> list[tuple[Edge, float]]:
    """The node's edges with their shares, as ``share_of`` gives them, the largest first."""
    edges = list(node.edges)
    visits = sum(edge.visits for edge in edges)
    priors = sum(edge.prior for edge in edges)
    even = 1 / len(edges) if edges else 0.0
    found = [(edge, (edge.visits + (edge.prior / priors if priors else even)) / (visits + 1)) for edge in edges]
    found.sort(key=lambda pair: -pair[1])
    return found


def weight_of(node: Node) -> float:
    """The product of the shares along the node's path; 1.0 for the root."""
    weight = 1.0
    edge = node.edge
    while edge is not None:
        weight *= share_of(edge)
        edge = edge.parent.edge
    return weight


def weigher(tree: StateTree) -> Callable[[Address], float]:
    """See ``StateTree.weigher``."""
    alive = weakref.ref(tree)

    def weigh(state: Address) -> float:
        tree = alive()
        if tree is None:
            return 0.0
        with tree._lock:
            nodes = tree._index.with_snapshot(state) or tree._index.find(state)
            return max(map(weight_of, nodes), default=0.0)

    return weigh


def best_path(root: Node, by: str) -> list[Node]:
    """See ``StateTree.best_path``."""
    if by not in ("visits", "value"):
        raise InvalidInputError(f"a path is best by 'visits' or 'value', not by {by!r}.")
    path = [root]
    passed = {root.id}
    while True:
        edges = [edge for edge in path[-1].edges if edge.child.id not in passed]
        edge = best_edge(edges, by)
        if edge is None:
            return path
        passed.add(edge.child.id)
        path.append(edge.child)


def best_edge(edges: list[Edge], by: str = "visits") -> Edge | None:
    """The best of some edges: by visits, equals by value, or the other way round; of equals the oldest.

    What a search has not visited has the value that its node's ``stats`` name.
    """
    found: Edge | None = None
    highest: tuple[float, float] = (0.0, 0.0)
    for edge in edges:
        value = edge.value if edge.visits else edge.child.stats.get("value")
        known = float("-inf") if value is None else value
        rank = (edge.visits, known) if by == "visits" else (known, edge.visits)
        if found is None or rank > highest:
            found, highest = edge, rank
    return found
