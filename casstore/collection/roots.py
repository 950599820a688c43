# SPDX-License-Identifier: MIT
"""Roots of collection: refs, their history while it is kept, events, and the pins of this process."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from casstore.address import Address, event_address
from casstore.collection.mark import Reference
from casstore.format.event import HISTORY_CUT, SHALLOW, RefMove, decode_ref_move, is_lone, parse_event
from casstore.format.index_entry import EVENT_KEY, HISTORY
from casstore.format.kinds import EVENT, SNAPSHOT
from casstore.snapshots import Refs, shallow_of
from casstore.storage import Storage

REFS: Final = "refs"
HISTORIES: Final = "history"
EVENTS: Final = "events"
PINS: Final = "pins"

_PIN_WORDS: Final = {
    "root": "live branch or view",
    "snapshot": "snapshot handle",
    "content": "open content, or value of a branch",
    "workspace": "look at a workspace",
    "plan": "plan of a switch",
}
"""What a pin is for → who holds it, in words; other pins say so themselves."""


class Root(NamedTuple):
    """One root.

    Attributes:
        sort: ``"refs"``, ``"history"``, ``"events"`` or ``"pins"``.
        name: The ref; for a pin who holds it; for an event its type.
        kind: Kind of the record.
        address: 32 bytes.
        number: Number of the move or event; of a pin, how many handles there are.
        until_ns: When it stops keeping anything, nanoseconds since 1970; None where no clock ends it.
    """

    sort: str
    name: str
    kind: int
    address: Address
    number: int = 0
    until_ns: int | None = None

    @property
    def label(self) -> str:
        """As people read it: ``ref main``, ``history main@12``, ``live branch``."""
        if self.sort == REFS:
            return f"ref {self.name}"
        if self.sort == HISTORIES:
            return f"history {self.name}@{self.number}"
        if self.sort == EVENTS:
            return f"event {self.number} ({self.name})"
        return f"{self.name} ({self.number})" if self.number > 1 else self.name


@dataclass(slots=True)
class Roots:
    """What a mark starts from.

    Attributes:
        named: Every root.
        counts: How many there are of each sort.
        cut: Moves of refs with a number up to this keep nothing any more.
        known_cut: The cut that an earlier collection recorded.
        expired: Index keys of the history that goes with them.
        superseded: Index keys of earlier cuts that say nothing any more, and of shallow marks of snapshots that are
            gone.
    """

    named: list[Root] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    cut: int = 0
    known_cut: int = 0
    expired: list[bytes] = field(default_factory=list)
    superseded: list[bytes] = field(default_factory=list)

    @property
    def references(self) -> list[Reference]:
        """Kinds and addresses."""
        return [(root.kind, root.address) for root in self.named]

    def add(self, root: Root) -> None:
        """One more root."""
        self.named.append(root)
        self.counts[root.sort] += 1


def gather_roots(storage: Storage, refs: Refs, undo_keep_seconds: int) -> Roots:
    """Everything that must stay with all below it, as of now."""
    roots = Roots()
    for name, snapshot in refs.ids():
        roots.add(Root(REFS, name, SNAPSHOT, snapshot))
    cuts = _find_events(storage, roots)
    roots.known_cut = cuts[-1][0] if cuts else 0
    _add_history(storage, roots, undo_keep_seconds * 1_000_000_000)
    if cuts and roots.cut == roots.known_cut:
        # The one that reaches farthest stands for all others; a new one will stand for it too.
        upto, _, payload = cuts.pop()
        roots.add(Root(EVENTS, HISTORY_CUT, EVENT, event_address(payload), upto))
    roots.superseded += [key for _, key, _ in cuts]
    for pin in storage.pins.all():
        entry = None if pin.address is None else storage.backend.find(pin.address)
        if pin.address is not None and entry is not None:
            roots.add(Root(PINS, _PIN_WORDS.get(pin.what, pin.what), entry.kind, pin.address, pin.count))
    return roots


def _find_events(storage: Storage, roots: Roots) -> list[tuple[int, bytes, bytes]]:
    """Adds the events that stay for ever; returns how far each cut of the history reaches, its key and its payload."""
    cuts: list[tuple[int, bytes, bytes]] = []
    for key, payload in storage.backend.facts(EVENT_KEY):
        members = parse_event(payload)
        upto = members.get("upto")
        if members["type"] == HISTORY_CUT and isinstance(upto, int):
            cuts.append((upto, key, payload))
        elif members["type"] == SHALLOW and not _is_there(storage, shallow_of(payload)):
            # There is one for each cut, so they must not stay for ever; and who brings the snapshot back brings what
            # came before it too.
            roots.superseded.append(key)
        else:
            number = members["number"]
            number = number if isinstance(number, int) else 0
            roots.add(Root(EVENTS, str(members["type"]), EVENT, event_address(payload), number))
    return sorted(cuts)


def is_needed_mark(storage: Storage, payload: bytes) -> bool:
    """Whether an event is the shallow mark of a snapshot that is there."""
    return _is_there(storage, shallow_of(payload))


def _is_there(storage: Storage, snapshot: Address | None) -> bool:
    return snapshot is not None and storage.backend.find(snapshot) is not None


def _add_history(storage: Storage, roots: Roots, keep_ns: int) -> None:
    backend = storage.backend
    oldest_ns = time.time_ns() - keep_ns
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
    until_ns = 0
    for key, payload, move in moves:
        young = move.number > roots.cut
        if young or (move.number == latest[move.name] and not is_lone(move)):
            # The latest move of each name says, also after a rebuild, what the ref names or that it is gone.
            roots.add(Root(EVENTS, f"move of {move.name}", EVENT, event_address(payload), move.number))
        else:
            roots.expired.append(key)
        if young:
            # No move expires before all that came before it.
            until_ns = max(until_ns, move.time_ns + keep_ns)
            for snapshot in (move.old, move.new):
                if snapshot is not None and backend.find(snapshot) is not None:
                    roots.add(Root(HISTORIES, move.name, SNAPSHOT, snapshot, move.number, until_ns))
