# SPDX-License-Identifier: MIT
"""Policies: which nodes of a tree are worth keeping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from casstore.errors import InvalidInputError
from casstore.mcts.node import Edge, Node

if TYPE_CHECKING:
    from casstore.mcts.tree import StateTree


class Policy:
    """Chooses nodes of a tree. Policies are joined by ``|``."""

    __slots__ = ("_choose", "_name")

    def __init__(self, name: str, choose: Callable[[StateTree], Iterable[Node]]) -> None:
        self._name = name
        self._choose = choose

    def __call__(self, tree: StateTree) -> Iterable[Node]:
        """The nodes to keep."""
        return self._choose(tree)

    def __or__(self, other: Policy) -> Policy:
        def choose(tree: StateTree) -> Iterator[Node]:
            yield from self(tree)
            yield from other(tree)

        return Policy(f"{self._name} and {other._name}", choose)

    def __repr__(self) -> str:
        return self._name


Keep = Policy | Iterable[Node] | Callable[[Node], object]
"""A policy, nodes, or a function that tells of each node whether it is kept."""


def best(k: int, by: str | Callable[[Node], float | None] = "value") -> Policy:
    """The best ``k`` nodes, the root not counted; of equals the oldest.

    Args:
        k: How many, 0 or more.
        by: ``"value"``, ``"visits"``, the name of a statistic, or a function of a node. Nodes without one come last.
    """
    if type(k) is not int or k < 0:
        raise InvalidInputError(f"k is {k!r}; give a whole number, 0 or more.")
    measure = _measure(by)

    def choose(tree: StateTree) -> Iterable[Node]:
        from heapq import nlargest

        found = ((measure(node), -node.id, node) for node in tree if node.edge is not None)
        worth = ((value is not None, value if value is not None else 0.0, age, node) for value, age, node in found)
        return [item[3] for item in nlargest(k, worth, key=lambda item: item[:3])]

    return Policy(f"the best {k} by {by if isinstance(by, str) else 'a function'}", choose)


def _measure(by: str | Callable[[Node], float | None]) -> Callable[[Node], float | None]:
    if not isinstance(by, str):
        return by
    if by == "value":
        return lambda node: node.value
    if by == "visits":
        return lambda node: node.visits or node.stats.get("visits", 0)
    return lambda node: node.stats.get(by)


def path(node: Node) -> Policy:
    """A node and its ancestors."""
    return Policy(f"the path to node {node.id}", lambda tree: node.path)


def subtree(node: Node) -> Policy:
    """A node and everything that it leads to without passing its ancestors."""
    return Policy(f"what node {node.id} leads to", lambda tree: (member for member, _ in reachable(node)))


def reachable(node: Node) -> list[tuple[Node, Edge | None]]:
    """A node and everything that it leads to without passing its ancestors, each with an edge that leads there.

    A node comes after the parent of its edge. It has its primary edge wherever that is possible.
    """
    passed = {id(ancestor) for ancestor in node.path}
    found: list[tuple[Node, Edge | None]] = []

    def add(start: Node, edge: Edge | None) -> None:
        waiting = [(start, edge)]
        for member, _ in waiting:  # grows on the way
            passed.add(id(member))
            waiting += [
                (edge.child, edge) for edge in member.edges if edge.child.edge is edge and id(edge.child) not in passed
            ]
        found.extend(waiting)

    add(node, None)
    for member, _ in found:  # grows on the way
        for edge in member.edges:
            if id(edge.child) not in passed:
                add(edge.child, edge)
    return found


def chosen(tree: StateTree, keep: Keep) -> dict[int, Node]:
    """What ``keep`` chooses, with all ancestors and the root, by id.

    Raises:
        InvalidInputError: ``keep`` is no policy, or chose something that is no node of the tree.
    """
    nodes: Iterable[Node]
    if isinstance(keep, Policy):
        nodes = keep(tree)
    elif callable(keep):
        nodes = [node for node in tree if keep(node)]
    elif isinstance(keep, Iterable):
        nodes = keep
    else:
        raise InvalidInputError(f"{keep!r} keeps nothing; give a policy, nodes, or a function of a node.")
    found = {tree.root.id: tree.root}
    for node in nodes:
        tree._check_member(node)
        while node.id not in found:
            found[node.id] = node
            if node.edge is not None:
                node = node.edge.parent
    return found
