# SPDX-License-Identifier: MIT
"""``casstore deduplicate``: what states share, and what storing it once saves. It only reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..session import Call, complete_state, store_command
from ..units import exact_size, format_count, format_size
from ..views import MAX_LISTED, short_id

if TYPE_CHECKING:
    from casstore.branches.sharing_states import StatesSharing


@store_command(
    "deduplicate",
    example="casstore --store state.cas deduplicate\ncasstore --store state.cas deduplicate main try-7 --json",
)
@click.argument("states", nargs=-1, shell_complete=complete_state)
def command(call: Call, states: tuple[str, ...]) -> None:
    """Show what STATES (all refs, unless some are given) share with each other.

    This only reports: a store keeps equal contents once from the start, so there is nothing on the disk to put
    together. For each state come its bytes, what they are with each chunk counted once, and chunks that no other of
    these states has; then the chunks that two states share, for up to 12 states. Values that wait in memory are put
    together by the library's store.deduplicate.

    Counted are contents of more than 127 bytes, of files and objects; shorter ones stand in the nodes of trees. History
    and states that a saved search links are not followed; name them to see them.
    """
    from casstore.branches.sharing_states import compare_states

    with call.read() as store:
        named = {name: store.resolve(name) for name in states or sorted(store.refs)}
        report = compare_states(store.storage, store.nodes, named)
    if call.out.as_json:
        call.out.json(changed=False, sharing=report)
        return
    print_sharing(call, report)


def print_sharing(call: Call, report: StatesSharing) -> None:
    """The sums, then the states, then who shares most with whom."""
    call.out.facts(
        [
            ("states", f"{len(report.states):,}"),
            ("bytes", f"{exact_size(report.bytes)}, as the states refer to them"),
            ("contents", f"{exact_size(report.content_bytes)}, {report.contents:,} of them, each once"),
            ("distinct", f"{exact_size(report.distinct_bytes)}, each of their chunks once"),
            ("stored", f"{exact_size(report.stored_bytes)}, the same as stored"),
            ("saved", f"{exact_size(report.saved_bytes)}, before compression"),
        ]
    )
    call.out.table(
        ("state", "snapshot", ">values", ">bytes", ">distinct", ">of its own"),
        (
            (
                state.name,
                short_id(state.id),
                format_count(state.values, "value"),
                format_size(state.bytes),
                f"{format_size(state.distinct_bytes)} distinct",
                f"{format_size(state.unique_bytes)} of its own",
            )
            for state in report.states
        ),
    )
    if report.pairs:
        call.out.table(
            ("state", "and", ">share"),
            ((pair.first, pair.second, f"{format_size(pair.bytes)} shared") for pair in report.pairs[:MAX_LISTED]),
        )
