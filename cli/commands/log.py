# SPDX-License-Identifier: MIT
"""``casstore log``: the snapshots that led to a state."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import click

from ..session import Call, complete_state, store_command
from ..units import format_time
from ..views import first_line, refs_by_id, short_id, snapshot_json

if TYPE_CHECKING:
    from casstore import Snapshot, Store


@store_command("log", example="casstore --store state.cas log main -n 10")
@click.argument("state", shell_complete=complete_state)
@click.option("-n", "--limit", type=click.IntRange(min=0), metavar="COUNT", help="Show at most so many.")
def command(call: Call, state: str, limit: int | None) -> None:
    """Snapshots that led to STATE, newest first; follows all parents.

    Says so where retention cut the line: what came before is gone, or stays only as long as undo or another ref keeps
    it.
    """
    from casstore.snapshots import shallow_ids

    with call.read() as store:
        names = refs_by_id(store)
        shallow = shallow_ids(store.storage)
        snapshots = islice(store.log(state), limit)
        if call.out.as_json:
            call.out.json_stream(
                {"state": state},
                "snapshots",
                (
                    {**snapshot_json(snapshot), "refs": names.get(snapshot.id, []), "shallow": snapshot.id in shallow}
                    for snapshot in snapshots
                ),
            )
            return
        call.out.table(
            ("snapshot", "time", "refs", "message", ""),
            (
                (
                    short_id(snapshot.id),
                    format_time(snapshot.time_ns),
                    ", ".join(names.get(snapshot.id, [])),
                    first_line(snapshot.message),
                    *([_cut(store, snapshot)] if snapshot.id in shallow else []),
                )
                for snapshot in snapshots
            ),
        )


def _cut(store: Store, snapshot: Snapshot) -> str:
    """What became of the history before a snapshot whose line was cut."""
    if any(store.storage.contains(parent) for parent in snapshot.parents):
        return "cut here: what came before stays only while undo or another ref keeps it"
    return "history before this was given up"
