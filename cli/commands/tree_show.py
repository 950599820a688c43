# SPDX-License-Identifier: MIT
"""``casstore tree show``: one node of a saved search tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..names import display_key
from ..session import Call, complete_state, store_command
from ..units import exact_size
from ..views import MAX_LISTED

if TYPE_CHECKING:
    from casstore import Change
    from casstore.mcts import Node, StateTree


@store_command("tree show", example="casstore --store state.cas tree show search 17")
@click.argument("ref", metavar="REF", shell_complete=complete_state)
@click.argument("node_id", metavar="NODE", type=click.IntRange(min=0))
def show_node(call: Call, ref: str, node_id: int) -> None:
    """Show one node: how it was reached, statistics, what it costs, what it changed, and what came of it.

    Its snapshot is a state like any other: `checkout`, `diff` and `cat` take its id.
    """
    from casstore.mcts import StateTree

    from ..described import change_json
    from ..search_trees import edge_json, node_json

    with call.read() as store:
        tree = StateTree.resume(store, ref)
        node = tree[node_id]
        changes = _changes(tree, node)
        if call.out.as_json:
            call.out.json(
                ref=ref,
                node={**node_json(tree, node, node.depth), "weight": tree.weight(node)},
                path=[step.id for step in node.path],
                edges=[edge_json(edge) for edge in node.edges],
                changes=None if changes is None else [change_json(change) for change in changes],
            )
            return
        _print(call, tree, node, changes)


def _changes(tree: StateTree, node: Node) -> list[Change] | None:
    """What leads from the parent's state to the node's; nothing at the root, None where a state is lost."""
    from casstore.errors import NotFoundError

    if node.parent is None:
        return []
    try:
        return list(tree.state_diff(node.parent, node))
    except NotFoundError:
        return None


def _print(call: Call, tree: StateTree, node: Node, changes: list[Change] | None) -> None:
    from ..search_trees import action_words, cost_or_none, state_id_or_none, value_words, why_no_cost

    path = [str(step.id) for step in node.path]
    if len(path) > MAX_LISTED:
        path = [path[0], "...", *path[1 - MAX_LISTED :]]
    cost = cost_or_none(tree, node)
    state_id = state_id_or_none(node)
    call.out.facts(
        [
            ("node", str(node.id)),
            ("path", " ".join(path)),
            ("action", action_words(node.action)),
            ("snapshot", "none" if node.snapshot_id is None else node.snapshot_id.hex()),
            ("state id", "lost" if state_id is None else state_id.hex()),
            ("visits", f"{node.visits:,}"),
            ("value", value_words(node.value)),
            ("prior", f"{node.prior:.4g}"),
            ("weight", f"{tree.weight(node):.4g}"),
            *((f"stats {name}", f"{value:.6g}") for name, value in node.stats.items()),
            ("own", why_no_cost(tree, node) if cost is None else exact_size(cost.own_bytes)),
            *([] if cost is None else [("shared with parent", exact_size(cost.shared_bytes))]),
            *(("also reached from", f"{edge.parent.id} {action_words(edge.action)}".rstrip()) for edge in node.merged),
        ]
    )
    if changes:
        call.out.line("changes:")
        for change in changes[:MAX_LISTED]:
            call.out.line(f"{change.letter} {display_key(change.key)}")
        if len(changes) > MAX_LISTED:
            call.out.line(f"... and {len(changes) - MAX_LISTED:,} more (all of them with --json)")
    if node.edges:
        call.out.line("children:")
        call.out.table(
            (">node", ">visits", ">value", ">prior", "action"),
            (
                (
                    str(edge.child.id),
                    f"{edge.visits:,}",
                    value_words(edge.value),
                    f"{edge.prior:.4g}",
                    action_words(edge.action),
                )
                for edge in sorted(node.edges, key=lambda edge: (-edge.visits, edge.child.id))
            ),
        )
