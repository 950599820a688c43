# SPDX-License-Identifier: MIT
"""Roots of collection: refs, their history while it is kept, events, and the pins of this process."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from casstore.address import event_address
from casstore.collection.mark import Reference
from casstore.format.event import HISTORY_CUT, RefMove, decode_ref_move, parse_event
from casstore.format.index_entry import EVENT_KEY, HISTORY
from casstore.format.kinds import EVENT, SNAPSHOT
from casstore.snapshots import Refs
from casstore.storage import Storage


@dataclass(slots=True)
class Roots:
    """What a mark starts from.

    Attributes:
        references: Kinds and addresses.
        counts: How many there are of each sort.
        cut: Moves of refs with a number up to this keep nothing any more.
        known_cut: The cut that an earlier collection recorded.
        expired: Index keys of the history that goes with them.
        superseded: Index keys of earlier cuts that say nothing any more.
    """

    references: list[Reference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    known_cut: int = 0
    expired: list[bytes] = field(default_factory=list)
    superseded: list[bytes] = field(default_factory=list)

    def add(self, sort: str, reference: Reference) -> None:
        """One more root."""
        self.references.append(reference)
        self.counts[sort] += 1


def gather_roots(storage: Storage, refs: Refs, undo_keep_seconds: int) -> Roots:
    """Everything that must stay with all below it, as of now."""
    roots = Roots()
    for _, snapshot in refs.ids():
        roots.add("refs", (SNAPSHOT, snapshot))
    cuts = _find_events(storage, roots)
    roots.known_cut = cuts[-1][0] if cuts else 0
    _add_history(storage, roots, time.time_ns() - undo_keep_seconds * 1_000_000_000)
    if cuts and roots.cut == roots.known_cut:
        # The one that reaches farthest stands for all others; a new one will stand for it too.
        _, _, payload = cuts.pop()
        roots.add("events", (EVENT, event_address(payload)))
    roots.superseded = [key for _, key, _ in cuts]
    for pin in storage.pins.all():
        entry = None if pin.address is None else storage.backend.find(pin.address)
        if pin.address is not None and entry is not None:
            roots.add("pins", (entry.kind, pin.address))
    return roots


def _find_events(storage: Storage, roots: Roots) -> list[tuple[int, bytes, bytes]]:
    """Adds the events that stay for ever; returns how far each cut of the history reaches, its key and its payload."""
    cuts: list[tuple[int, bytes, bytes]] = []
    for key, payload in storage.backend.facts(EVENT_KEY):
        members = parse_event(payload)
        upto = members.get("upto")
        if members["type"] == HISTORY_CUT and isinstance(upto, int):
            cuts.append((upto, key, payload))
        else:
            roots.add("events", (EVENT, event_address(payload)))
    return sorted(cuts)


def _add_history(storage: Storage, roots: Roots, oldest_ns: int) -> None:
    backend = storage.backend
    moves: list[tuple[bytes, bytes, RefMove]] = []
    for key, payload in backend.facts(HISTORY):
        moves.append((key, payload, decode_ref_move(payload)))
    moves.sort(key=lambda item: item[2].number)
    roots.cut = roots.known_cut
    for _, _, move in moves:
        # Expiry is by number, so that a clock that was set back cannot bring old moves to life again.
        if move.number > roots.cut:
            if move.time_ns > oldest_ns:
                break
            roots.cut = move.number
    latest = {move.name: move.number for _, _, move in moves}
    for key, payload, move in moves:
        young = move.number > roots.cut
        if young or move.number == latest[move.name]:
            # The latest move of each name says, also after a rebuild, what the ref names or that it is gone.
            roots.add("events", (EVENT, event_address(payload)))
        else:
            roots.expired.append(key)
        if young:
            for snapshot in (move.old, move.new):
                if snapshot is not None and backend.find(snapshot) is not None:
                    roots.add("history", (SNAPSHOT, snapshot))
