# SPDX-License-Identifier: MIT
"""History: a snapshot and all it came from."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from casstore.address import Address, parse_address
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError
from casstore.format.event import HISTORY_CUT, SHALLOW, parse_event
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
                if snapshot.id in shallow_ids(snapshots.storage):
                    continue
                raise CorruptionError(
                    f"the parent {parent_id.hex()} of {snapshot.id.hex()[:12]} is missing; run `casstore verify`.",
                    address=parent_id,
                ) from None
            heapq.heappush(waiting, (-parent.time_ns, parent.id, parent))


def shallow_ids(storage: Storage) -> set[Address]:
    """The snapshots whose parents were given up on purpose."""
    found = set()
    for _, payload in storage.backend.facts(EVENT_KEY):
        members = parse_event(payload)
        if members["type"] == SHALLOW:
            try:
                found.add(parse_address(str(members.get("snapshot"))))
            except InvalidInputError:
                raise CorruptionError("a shallow mark names no snapshot; run `casstore verify`.") from None
    return found


def history_cut(storage: Storage) -> int:
    """Moves of refs with a number up to this no longer keep their states."""
    cut = 0
    for _, payload in storage.backend.facts(EVENT_KEY):
        members = parse_event(payload)
        upto = members.get("upto")
        if members["type"] == HISTORY_CUT and isinstance(upto, int):
            cut = max(cut, upto)
    return cut
