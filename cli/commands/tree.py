# SPDX-License-Identifier: MIT
"""``casstore tree``: a search tree that was saved under a ref."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from ..session import Call, common_options, complete_state, help_example, store_command
from ..units import format_count
from ..views import MAX_LISTED
from .tree_prune import prune_tree
from .tree_show import show_node

DEFAULT_SHOWN = 100


class _TreeGroup(click.Group):
    """``tree REF`` is ``tree list REF``, unless REF is called like a subcommand."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts in the subcommand that was left out."""
        if args and not {"-h", "--help"} & {args[0]} and _first_word(args) not in self.commands:
            args = ["list", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Subcommands, and refs."""
        refs = complete_state(ctx, self.params[0], incomplete)
        return [*super().shell_complete(ctx, incomplete), *(CompletionItem(name) for name in refs)]


def _first_word(args: list[str]) -> str:
    """The first word that belongs to no option which every command takes."""
    words = iter(args)
    for word in words:
        if word == "--store":
            next(words, None)
        elif word != "--json" and not word.startswith("--store="):
            return word
    return ""


@click.group(
    "tree",
    cls=_TreeGroup,
    subcommand_metavar="REF | COMMAND [ARGS]...",
    epilog=help_example(
        "casstore --store state.cas tree search\n"
        "casstore --store state.cas tree show search 17\n"
        "casstore --store state.cas tree prune search --keep-best 10 --keep-path --dry-run"
    ),
)
def command() -> None:
    """Show a saved search tree, one node of it, or prune it. `tree REF` is `tree list REF`."""


@store_command(
    "tree list", example="casstore --store state.cas tree search --depth 3\ncasstore --store state.cas tree search -n 0"
)
@click.argument("ref", metavar="REF", shell_complete=complete_state)
@click.option("--depth", type=click.IntRange(min=0), metavar="LEVELS", help="Show nothing deeper.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    metavar="COUNT",
    help=f"Show at most so many nodes; 0 is all (default: {DEFAULT_SHOWN}, with --json all).",
)
def list_nodes(call: Call, ref: str, depth: int | None, limit: int | None) -> None:
    """Show the search tree that was saved under REF: visits, mean value and bytes of its own of each node.

    Children stand below their parent, the most visited first. Of a large tree the nodes are shown that most descents
    came through. A star marks the best path. Bytes of its own are contents that differ from the parent's.
    """
    from casstore.mcts import StateTree

    from ..search_trees import node_json, node_row, outline

    if limit is None and not call.out.as_json:
        limit = DEFAULT_SHOWN
    with call.read() as store:
        tree = StateTree.resume(store, ref)
        best = [node.id for node in tree.best_path()]
        nodes = outline(tree, limit=limit or None, depth=depth)
        if call.out.as_json:
            head = {"ref": ref, "total": len(tree), "root": tree.root.id, "best_path": best}
            head["missing"] = sorted(tree.missing)
            call.out.json_stream(head, "nodes", (node_json(tree, node, level) for node, level in nodes))
            return
        shown = list(nodes)
        starred = set(best)
        call.out.table(
            ("node", ">visits", ">value", ">own", ">children", "action"),
            (node_row(tree, node, level, best=node.id in starred) for node, level in shown),
        )
        missing = sorted(tree.missing)
    if missing:
        more = "" if len(missing) <= MAX_LISTED else " ..."
        numbers = " ".join(map(str, missing[:MAX_LISTED]))
        call.out.note(f"casstore: the states of {format_count(len(missing), 'node')} are lost: {numbers}{more}")
    if len(shown) < len(tree):
        call.out.note(f"casstore: {len(shown):,} of {format_count(len(tree), 'node')}; more with -n or --depth")


command.params += common_options()
for _subcommand in (list_nodes, show_node, prune_tree):
    command.add_command(_subcommand)
