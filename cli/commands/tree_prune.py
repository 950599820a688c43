# SPDX-License-Identifier: MIT
"""``casstore tree prune``: keep of a saved search tree what mattered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..session import Call, complete_state, store_command
from ..units import format_count, format_size
from ..views import MAX_LISTED, short_id

if TYPE_CHECKING:
    from casstore.mcts import Node, Policy, PrunePlan, StateTree


@store_command(
    "tree prune",
    example="casstore --store state.cas tree prune search --keep-best 10 --keep-path --dry-run\n"
    "casstore --store state.cas tree prune search --keep 17 --keep-subtree 42",
    writes=True,
)
@click.argument("ref", metavar="REF", shell_complete=complete_state)
@click.option("--keep-best", type=click.IntRange(min=0), metavar="K", help="Keep the best K nodes.")
@click.option("--by", type=click.Choice(["value", "visits"]), default="value", show_default=True, help="What is best.")
@click.option("--keep-path", is_flag=True, help="Keep the path of the most visited nodes.")
@click.option("--keep", type=click.IntRange(min=0), multiple=True, metavar="NODE", help="Keep this node.")
@click.option(
    "--keep-subtree",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="NODE",
    help="Keep this node and all it leads to.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
def prune_tree(
    call: Call,
    ref: str,
    keep_best: int | None,
    by: str,
    keep_path: bool,
    keep: tuple[int, ...],
    keep_subtree: tuple[int, ...],
    dry_run: bool,
) -> None:
    """Take out of the tree saved under REF what no option keeps, and save it there again.

    The ancestors of what is kept stay, and the root. Prints the plan first. The space comes free when `refs undo` no
    longer needs it and `gc` runs.
    """
    if keep_best is None and not (keep_path or keep or keep_subtree):
        raise click.UsageError("say what to keep: --keep-best K, --keep-path, --keep NODE or --keep-subtree NODE.")
    from casstore.mcts import StateTree

    with call.read() if dry_run else call.write() as store:
        tree = StateTree.resume(store, ref)
        plan = tree.plan_prune(_policy(tree, keep_best, by, keep_path, keep, keep_subtree))
        shown = _plan_json(plan)
        if not call.out.as_json:
            _print_plan(call, plan)
        old = new = store.refs.id_of(ref)
        if plan.dropped and not dry_run:
            plan.execute()
            new = tree.save(ref, f"pruned: {shown['keep']}").id
    undo = None if new == old else call.shell_line("refs", "undo", ref)
    if call.out.as_json:
        call.out.json(ref=ref, dry_run=dry_run, plan=shown, old=old, new=new, undo=undo)
    elif dry_run:
        call.out.line("dry run: nothing was changed")
    elif undo is None:
        call.out.line("nothing to take out: nothing was changed")
    else:
        call.out.line(f"{ref} is {short_id(new)} (was {short_id(old)})")
        call.out.line(f"undo: {undo}")


def _policy(
    tree: StateTree,
    keep_best: int | None,
    by: str,
    keep_path: bool,
    keep: tuple[int, ...],
    keep_subtree: tuple[int, ...],
) -> Policy:
    from casstore.mcts import best, path, subtree

    policies = [] if keep_best is None else [best(keep_best, by)]
    if keep_path:
        policies.append(path(tree.best_path()[-1]))
    policies += [path(tree[number]) for number in keep]
    policies += [subtree(tree[number]) for number in keep_subtree]
    policy = policies[0]
    for other in policies[1:]:
        policy |= other
    return policy


def _plan_json(plan: PrunePlan) -> dict[str, Any]:
    return {
        "keep": plan.keep,
        "kept": [node.id for node in plan.kept],
        "dropped": [node.id for node in plan.dropped],
        "own_bytes": plan.own_bytes,
    }


def _print_plan(call: Call, plan: PrunePlan) -> None:
    call.out.facts(
        [
            ("keep", plan.keep),
            ("kept", format_count(len(plan.kept), "node")),
            ("to go", f"{format_count(len(plan.dropped), 'node')}, {format_size(plan.own_bytes)} of their own"),
        ]
    )
    call.out.table(("node", ">visits", ">value", "action"), map(_row, plan.dropped[:MAX_LISTED]))
    if len(plan.dropped) > MAX_LISTED:
        call.out.line(f"... and {len(plan.dropped) - MAX_LISTED:,} more (all of them with --json)")


def _row(node: Node) -> tuple[str, ...]:
    from ..search_trees import action_words, value_words

    return (str(node.id), f"{node.visits:,}", value_words(node.value), action_words(node.action))
