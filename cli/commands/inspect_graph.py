# SPDX-License-Identifier: MIT
"""``casstore inspect graph``: the snapshots that refs reach, and which came from which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..graph import draw, newest_first
from ..session import Call, store_command
from ..units import format_time, json_time
from ..views import first_line, refs_by_id, short_id

if TYPE_CHECKING:
    from casstore import Snapshot, Store
    from casstore.address import Address


@store_command("inspect graph", example="casstore --store state.cas inspect graph")
def inspect_graph(call: Call) -> None:
    """Draw the graph of all snapshots that refs reach; children above parents."""
    with call.read() as store:
        names = refs_by_id(store)
        snapshots = _reached(store, list(names))
    parents = {
        identity: tuple(parent for parent in snapshot.parents if parent in snapshots)
        for identity, snapshot in snapshots.items()
    }
    order = newest_first(parents, {identity: snapshot.time_ns for identity, snapshot in snapshots.items()})
    if call.out.as_json:
        call.out.json(
            refs={name: identity for identity, group in names.items() for name in group},
            snapshots=[
                {
                    "id": identity,
                    "state_id": snapshots[identity].state_id,
                    "parents": list(parents[identity]),
                    "refs": names.get(identity, []),
                    "time_ns": snapshots[identity].time_ns,
                    "time": json_time(snapshots[identity].time_ns),
                    "message": snapshots[identity].message,
                }
                for identity in order
            ],
        )
        return
    for lines, found in draw(order, parents):
        if found is None:
            call.out.line(lines.rstrip())
            continue
        snapshot = snapshots[found]
        words = [lines + short_id(found), format_time(snapshot.time_ns)]
        if found in names:
            words.append(f"({', '.join(names[found])})")
        words.append(first_line(snapshot.message))
        call.out.line(" ".join(words).rstrip())


def _reached(store: Store, starts: list[Address]) -> dict[Address, Snapshot]:
    """Every snapshot that is one of ``starts`` or an ancestor of one."""
    from casstore.snapshots import shallow_ids

    # What retention cut off ends the graph there.
    shallow = shallow_ids(store.storage)
    found: dict[Address, Snapshot] = {}
    while starts:
        identity = starts.pop()
        if identity not in found:
            snapshot = found[identity] = store.resolve(identity)
            gone = identity in shallow
            starts.extend(parent for parent in snapshot.parents if not gone or parent in store)
    return found
