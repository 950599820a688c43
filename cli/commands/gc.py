# SPDX-License-Identifier: MIT
"""``casstore gc``: free what nothing names any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..output import plain_value
from ..progress import progress
from ..session import Call, store_command
from ..units import DURATION, format_count, format_duration, format_size
from ..views import facts_of

if TYPE_CHECKING:
    from casstore.collection import GcPlan


@store_command(
    "gc",
    example="casstore --store state.cas gc --dry-run\ncasstore --store state.cas gc --undo-keep 0 --grace 0",
    writes=True,
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--undo-keep", type=DURATION, metavar="TIME", help="Keep what refs left within this time (7d, 1h, 0).")
@click.option("--grace", type=DURATION, metavar="TIME", help="Keep what was written within this time (1h, 90s, 0).")
@click.option("--accept-refs", is_flag=True, help="Collect although a rebuild of the index may have lost refs.")
def command(call: Call, dry_run: bool, undo_keep: int | None, grace: int | None, accept_refs: bool) -> None:
    """Free what no ref, no undo and no reader needs any more.

    Prints what is kept and why, then what came free. Without options the store's own settings hold (see `config`).
    """
    with (
        call.write() as store,
        store.plan_gc(grace_seconds=grace, undo_keep_seconds=undo_keep, accept_refs=accept_refs) as plan,
    ):
        shown = plain_value(plan)  # before it is executed: what it finds then may differ
        if not call.out.as_json:
            _print_plan(call, plan)
        if dry_run:
            report = None
        else:
            with progress(as_json=call.out.as_json) as callback:
                report = plan.execute(callback)
    if call.out.as_json:
        call.out.json(dry_run=dry_run, plan=shown, report=report)
    elif report is None:
        call.out.line("dry run: nothing was changed")
    else:
        call.out.facts(facts_of(report))


def _print_plan(call: Call, plan: GcPlan) -> None:
    """What stays and why, and what would go."""
    rows = [
        (why, kind, format_count(tally.objects, "object"), format_size(tally.bytes))
        for why, part in (("in use", plan.live), ("too young", plan.young), ("to be freed", plan.dead))
        for kind, tally in sorted(part.items())
    ]
    call.out.table(("", "kind", ">objects", ">size"), rows)
    roots = ", ".join(f"{count:,} {sort}" for sort, count in plan.roots.items() if count)
    call.out.facts(
        [
            ("in use because of", roots or "nothing"),
            ("kept for undo", format_duration(plan.undo_keep_seconds)),
            ("too young is below", format_duration(plan.grace_seconds)),
            ("to be freed", f"{format_count(plan.dead_objects, 'object')}, {format_size(plan.dead_bytes)}"),
            (
                "to be compacted",
                f"{format_count(len(plan.segments), 'segment')}, {format_size(plan.freed_bytes)} of them",
            ),
        ]
    )
