# SPDX-License-Identifier: MIT
"""History: a snapshot and all it came from."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Final

from casstore.address import Address, parse_address
from casstore.errors import CorruptionError, InvalidInputError, NotFoundError
from casstore.format.event import HISTORY_CUT, SHALLOW, parse_event
from casstore.format.index_entry import EVENT_KEY
from casstore.snapshots.snapshot import Snapshot, Snapshots
from casstore.storage import Storage

_REMEMBERED: Final = 16_384
"""Events of which is known what they say about shallow snapshots, 400 bytes each."""


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
                shallow = shallow_ids(snapshots.storage)
                if snapshot.id in shallow or snapshot.id not in _promised(snapshots, start.id, shallow):
                    # Another one that leads there may be promised it.
                    seen.discard(parent_id)
                    continue
                raise CorruptionError(
                    f"the parent {parent_id.hex()} of {snapshot.id.hex()[:12]} is missing; run `casstore verify`.",
                    address=parent_id,
                ) from None
            heapq.heappush(waiting, (-parent.time_ns, parent.id, parent))


def _promised(snapshots: Snapshots, start: Address, shallow: set[Address]) -> set[Address]:
    """The history without what was given up: that is there until a collection takes it, one after the other."""
    found = {start}
    waiting = [start]
    while waiting:
        snapshot = waiting.pop()
        if snapshot in shallow:
            continue
        with suppress(NotFoundError):
            more = set(snapshots.fields(snapshot).parents) - found
            found |= more
            waiting.extend(more)
    return found


def shallow_ids(storage: Storage) -> set[Address]:
    """The snapshots whose parents were given up on purpose."""
    found = set()
    for _, payload in storage.backend.facts(EVENT_KEY):
        snapshot = shallow_of(payload)
        if snapshot is not None:
            found.add(snapshot)
    return found


@lru_cache(maxsize=_REMEMBERED)
def shallow_of(payload: bytes) -> Address | None:
    """The snapshot that an event makes shallow, or None of another event.

    Raises:
        CorruptionError: It is no event, or names no snapshot.
    """
    # Remembered: each merge asks all of them, and there is one for each line that was cut.
    members = parse_event(payload)
    if members["type"] != SHALLOW:
        return None
    try:
        return parse_address(str(members.get("snapshot")))
    except InvalidInputError:
        raise CorruptionError("a shallow mark names no snapshot; run `casstore verify`.") from None


def history_cut(storage: Storage) -> int:
    """Moves of refs with a number up to this no longer keep their states."""
    cut = 0
    for _, payload in storage.backend.facts(EVENT_KEY):
        members = parse_event(payload)
        upto = members.get("upto")
        if members["type"] == HISTORY_CUT and isinstance(upto, int):
            cut = max(cut, upto)
    return cut
