# SPDX-License-Identifier: MIT
"""``casstore migrate``: brings a store up to what this version writes."""

from __future__ import annotations

import click

from ..session import Call, store_command


@store_command(
    "migrate",
    example="casstore --store state.cas migrate --dry-run\ncasstore --store state.cas migrate",
    writes=True,
)
@click.option("--dry-run", is_flag=True, help="Say what the store has and lacks; change nothing.")
def command(call: Call, dry_run: bool) -> None:
    """Bring a store up to what this version writes, and say what it has.

    A store keeps the form in which it was made until this is run; nothing that is stored changes. There is no way back:
    an earlier casstore refuses the store afterwards. It may be interrupted at any point and run again; where there is
    nothing to do, it touches nothing. A store that a later casstore made is refused.
    """
    import casstore

    report = casstore.migrate(call.store_path, dry_run=dry_run, timeout=call.timeout_seconds)
    if call.out.as_json:
        call.out.json(report=report)
        return
    call.out.facts(
        [
            ("store", report.store_id),
            ("format", f"{report.format_version}, backend {report.backend}"),
            ("features", f"{report.features:#x}"),
        ]
    )
    call.out.table(
        ("migration", "state", "what it brings"),
        ((step.name, step.state, step.brings) for step in report.steps),
    )
    if report.missing:
        call.out.line("dry run: nothing was changed")
    elif not report.changed:
        call.out.line("nothing to do")
