# SPDX-License-Identifier: MIT
"""Saved search trees: which nodes to show, and a node in cells and as JSON."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from casstore.errors import NotFoundError

from .units import format_size

if TYPE_CHECKING:
    from casstore.address import Address
    from casstore.mcts import Edge, Node, NodeCost, StateTree

MAX_INDENTED: Final = 32
"""Levels that are shown by indentation; deeper nodes say their depth."""
MAX_ACTION_LETTERS: Final = 60

Shown = tuple["Node", int]
"""A node and its depth."""


def outline(tree: StateTree, *, limit: int | None, depth: int | None) -> Iterator[Shown]:
    """Nodes to show, each after its parent and before its siblings, the most visited first.

    Args:
        tree: The tree.
        limit: At most so many: those that most descents came through; None is all.
        depth: None below this depth; None is all.
    """
    chosen = None if limit is None else _most_visited(tree.root, limit, depth)
    waiting: list[Shown] = [] if limit == 0 else [(tree.root, 0)]
    while waiting:
        node, level = waiting.pop()
        yield node, level
        if depth is None or level < depth:
            below = [child for child in _primary_children(node) if chosen is None or child.id in chosen]
            waiting += ((child, level + 1) for child in sorted(below, key=_rank, reverse=True))


def _rank(node: Node) -> tuple[int, int]:
    return -node.visits, node.id


def _primary_children(node: Node) -> Iterator[Node]:
    """What was first reached from the node: followed from the root, each node of the tree once."""
    return (edge.child for edge in node.edges if edge.child.edge is edge)


def _most_visited(root: Node, limit: int, depth: int | None) -> set[int]:
    found: set[int] = set()
    waiting = [(*_rank(root), 0, root)]
    while waiting and len(found) < limit:
        _, node_id, level, node = heapq.heappop(waiting)
        found.add(node_id)
        if depth is None or level < depth:
            for child in _primary_children(node):
                heapq.heappush(waiting, (*_rank(child), level + 1, child))
    return found


def cost_or_none(tree: StateTree, node: Node) -> NodeCost | None:
    """What a node costs; None where its state or its parent's is lost."""
    try:
        return tree.cost(node)
    except NotFoundError:
        return None


def state_id_or_none(node: Node) -> Address | None:
    """The node's state id; None where its state is lost."""
    try:
        return node.state_id
    except NotFoundError:
        return None


def action_words(action: Any) -> str:
    """What was done to the parent's state, on one short line; nothing at the root."""
    text = action if isinstance(action, str) else "" if action is None else json.dumps(action)
    return text if len(text) <= MAX_ACTION_LETTERS else f"{text[:MAX_ACTION_LETTERS]} ..."


def value_words(value: float | None) -> str:
    """A mean value; a dash where none is known."""
    return "-" if value is None else f"{value:.4g}"


def why_no_cost(tree: StateTree, node: Node) -> str:
    """Why it is not known what a node costs."""
    return "lost" if node.id in tree.missing else "parent lost"


def node_row(tree: StateTree, node: Node, depth: int, *, best: bool) -> tuple[str, ...]:
    """A node as cells: indented id (with a star on the best path), visits, value, own bytes, children, action."""
    indent = "  " * depth if depth <= MAX_INDENTED else "  " * MAX_INDENTED + f"(depth {depth}) "
    cost = cost_or_none(tree, node)
    return (
        f"{indent}{node.id}{'*' if best else ''}",
        f"{node.visits:,}",
        value_words(node.value),
        why_no_cost(tree, node) if cost is None else format_size(cost.own_bytes),
        f"{len(node.children):,}",
        action_words(node.action),
    )


def node_json(tree: StateTree, node: Node, depth: int) -> dict[str, Any]:
    """A node with its primary edge; ``merged`` are the other ways that lead to it."""
    cost = cost_or_none(tree, node)
    return {
        "id": node.id,
        "parent": None if node.parent is None else node.parent.id,
        "depth": depth,
        "action": node.action,
        "prior": node.prior,
        "visits": node.visits,
        "value": node.value,
        "stats": node.stats,
        "expanded": node.expanded,
        "children": len(node.children),
        "merged": [edge_json(edge) for edge in node.merged],
        "own_bytes": None if cost is None else cost.own_bytes,
        "shared_bytes": None if cost is None else cost.shared_bytes,
        "snapshot": node.snapshot_id,
        "state_id": state_id_or_none(node),
        "lost": node.id in tree.missing,
    }


def edge_json(edge: Edge) -> dict[str, Any]:
    """A way from one node to another."""
    return {
        "parent": edge.parent.id,
        "child": edge.child.id,
        "action": edge.action,
        "prior": edge.prior,
        "visits": edge.visits,
        "value": edge.value,
    }
