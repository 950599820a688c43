# SPDX-License-Identifier: MIT
"""``casstore log``: the snapshots that led to a state."""

from __future__ import annotations

from itertools import islice

import click

from ..session import Call, complete_state, store_command
from ..units import format_time
from ..views import first_line, refs_by_id, short_id, snapshot_json


@store_command("log", example="casstore --store state.cas log main -n 10")
@click.argument("state", shell_complete=complete_state)
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="COUNT", help="Show at most so many.")
def command(call: Call, state: str, limit: int | None) -> None:
    """Snapshots that led to STATE, newest first; follows all parents."""
    with call.read() as store:
        names = refs_by_id(store)
        snapshots = islice(store.log(state), limit)
        if call.out.as_json:
            call.out.json_stream(
                {"state": state},
                "snapshots",
                ({**snapshot_json(snapshot), "refs": names.get(snapshot.id, [])} for snapshot in snapshots),
            )
            return
        call.out.table(
            ("snapshot", "time", "refs", "message"),
            (
                (
                    short_id(snapshot.id),
                    format_time(snapshot.time_ns),
                    ", ".join(names.get(snapshot.id, [])),
                    first_line(snapshot.message),
                )
                for snapshot in snapshots
            ),
        )
