# SPDX-License-Identifier: MIT
"""History: a snapshot and all it came from."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from casstore.address import Address
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.event import SHALLOW, parse_event
from casstore.format.index_entry import EVENT_KEY
from casstore.snapshots.snapshot import Snapshot, Snapshots
from casstore.storage import Storage


def log(snapshots: Snapshots, start: Snapshot) -> Iterator[Snapshot]:
    """``start`` and its ancestors, each once, newest first.

    Raises:
        CorruptionError: An ancestor is missing that nobody gave up on purpose.
    """
    waiting = [(-start.time_ns, start.id, start)]
    seen = {start.id}
    while waiting:
        _, _, snapshot = heapq.heappop(waiting)
        yield snapshot
        for parent_id in snapshot.parents:
            if parent_id in seen:
                continue
            seen.add(parent_id)
            try:
                parent = snapshots.get(parent_id)
            except NotFoundError:
                if is_shallow(snapshots.storage, snapshot.id):
                    continue
                raise CorruptionError(
                    f"the parent {parent_id.hex()} of {snapshot.id.hex()[:12]} is missing; run `casstore verify`.",
                    address=parent_id,
                ) from None
            heapq.heappush(waiting, (-parent.time_ns, parent.id, parent))


def is_shallow(storage: Storage, snapshot_id: Address) -> bool:
    """Whether the parents of a snapshot were given up on purpose."""
    wanted = snapshot_id.hex()
    for _, payload in storage.backend.facts(EVENT_KEY):
        members = parse_event(payload)
        if members["type"] == SHALLOW and members.get("snapshot") == wanted:
            return True
    return False
