# SPDX-License-Identifier: MIT
"""Pruning: taking nodes out of a tree, by a plan that can be looked at first.

What is taken out leaves memory at once. States of it that were saved stay in the store until the tree is saved again
and the store is collected.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from casstore.errors import ConflictError, NotFoundError
from casstore.mcts.costs import own_bytes_of
from casstore.mcts.keeping import Keep, Policy, chosen, reachable
from casstore.mcts.node import Node, unlink

if TYPE_CHECKING:
    from casstore.mcts.tree import StateTree

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class PruneReport:
    """What pruning did.

    Attributes:
        kept: Nodes that are left.
        dropped: Nodes that went.
    """

    kept: int
    dropped: int


@dataclass
class PrunePlan:
    """What pruning would do; ``execute`` it once.

    Attributes:
        keep: Says what was asked to be kept.
        kept: Nodes that stay, in the order of their ids.
        dropped: Nodes that would go.
    """

    keep: str
    kept: list[Node]
    dropped: list[Node]
    _tree: StateTree | None = field(repr=False)
    _changes: int = field(repr=False)

    @cached_property
    def own_bytes(self) -> int:
        """Bytes of the dropped nodes' own; a lost state counts none. Computed on first use, some 20 µs per node."""
        total = 0
        for node in self.dropped:
            try:
                total += own_bytes_of(node)
            except NotFoundError:
                continue
        return total

    def execute(self) -> PruneReport:
        """Takes the nodes out.

        Raises:
            ConflictError: The plan was executed already, or the tree changed since it was made; nothing was taken out.
        """
        tree, self._tree = self._tree, None
        if tree is None:
            raise ConflictError("this plan was executed already; make a new one with plan_prune().")
        with tree._lock:
            if tree._changes != self._changes:
                raise ConflictError("the tree changed since the plan was made; make a new one with plan_prune().")
            report = PruneReport(kept=len(self.kept), dropped=len(self.dropped))
            take_out(tree, self.dropped)
        return report

    def __str__(self) -> str:
        lines = [
            f"keep {self.keep}",
            f"{len(self.kept)} nodes stay, {len(self.dropped)} go with {self.own_bytes} bytes of their own",
        ]
        lines += [f"  node {node.id}  depth {node.depth}  {node.visits} visits" for node in self.dropped[:_SHOWN]]
        if len(self.dropped) > _SHOWN:
            lines.append(f"  … and {len(self.dropped) - _SHOWN} more")
        return "\n".join(lines)


def plan_prune(tree: StateTree, keep: Keep) -> PrunePlan:
    """What pruning would take out; see ``StateTree.plan_prune``."""
    with tree._lock:
        kept = chosen(tree, keep)
        return PrunePlan(
            keep=repr(keep) if isinstance(keep, Policy) else "what was chosen",
            kept=[node for node in tree if node.id in kept],
            dropped=[node for node in tree if node.id not in kept],
            _tree=tree,
            _changes=tree._changes,
        )


def collapse_plan(tree: StateTree, node: Node) -> list[Node]:
    """Makes ``node`` the root, gives what it leads to primary edges from what stays, and returns what is to go."""
    kept = reachable(node)
    ids = {id(member) for member, _ in kept}
    for member, primary in kept:
        edges = [edge for edge in member.in_edges if id(edge.parent) in ids]
        member.edge = primary
        member.merged = tuple(edge for edge in edges if edge is not primary)
    tree.root = node
    tree._changes += 1
    return [other for other in tree if id(other) not in ids]


def take_out(tree: StateTree, dropped: Iterable[Node]) -> None:
    """Removes nodes, tells the hooks, and frees what the nodes held. The tree's lock is held."""
    nodes = list(dropped)
    gone = {id(node) for node in nodes}
    parents: dict[int, Node] = {}
    children: dict[int, Node] = {}
    for node in nodes:
        del tree._nodes[node.id]
        tree._index.remove(node)
        tree.missing.pop(node.id, None)
        tree._pins.pop(node.id, None)
        for edge in node.in_edges:
            parents[id(edge.parent)] = edge.parent
        for edge in node.edges:
            children[id(edge.child)] = edge.child
    for key, parent in parents.items():
        if key not in gone:
            parent.edges[:] = [edge for edge in parent.edges if id(edge.child) not in gone]
    for key, child in children.items():
        if key not in gone and child.merged:
            child.merged = tuple(edge for edge in child.merged if id(edge.parent) not in gone)
    if nodes:
        tree._changes += 1
    if tree._saved is not None:
        tree._saved.gone += [node.id for node in nodes if node._recorded is not None]
    try:
        for hook in tree._hooks.pruned:
            for node in nodes:
                hook(node, node._branch)
    finally:
        for node in nodes:
            unlink(node)


def undo_edges(tree: StateTree, node: Node, before: int) -> None:
    """Takes back the edges of a node from number ``before`` on, and the nodes that were made with them."""
    with tree._lock:
        edges = node.edges[before:]
        for edge in edges:
            child = edge.child
            child.merged = tuple(other for other in child.merged if other is not edge)
        node.edges[before:] = [edge for edge in edges if edge.child.edge is edge]
        take_out(tree, [edge.child for edge in edges if edge.child.edge is edge])
