# SPDX-License-Identifier: MIT
"""The sweep: deletes what the mark did not reach, and gives the space back.

The watch that the plan opened stays open until the sweep ends: what is put meanwhile is new and live, what a dedup hit
meets is live, and so is all below them. Decisions and deletions are made under the write lock, and a writer that hit
something looks again behind that lock. What refers to others goes in one step, before any chunk: a writer that hits a
node, a list or a snapshot finds it gone, or whole down to the last chunk, never with a part of it deleted. All lists
go in one batch: no crash leaves a list in place of which the pieces are gone, which a later put would take for the
content.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from casstore.address import Address, event_address
from casstore.collection.caches import drop_stale_caches
from casstore.collection.mark import Marker
from casstore.collection.roots import Roots
from casstore.errors import ConflictError
from casstore.format.event import encode_history_cut, encode_refs_accepted, event_facts
from casstore.format.index_entry import SUSPECT, IndexEntry
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, SNAPSHOT
from casstore.snapshots import Snapshots

Progress = Callable[[str, int, int | None], None]

_BATCH: Final = 1000
_NODE_BATCH: Final = 20_000
_ORDER: Final = (SNAPSHOT, EVENT, NODE, CHUNK_LIST)
COMPACT_SHARE: Final = 0.1
"""A segment is compacted when at least this share of its bytes is dead."""


@dataclass(slots=True)
class Tally:
    """A number of objects, and the bytes of their records."""

    objects: int = 0
    bytes: int = 0

    def add(self, entry: IndexEntry) -> None:
        """Counts one object."""
        self.objects += 1
        self.bytes += entry.record_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What a collection did.

    Attributes:
        deleted_objects: Objects that are gone.
        deleted_bytes: Bytes of their records.
        freed_bytes: Bytes by which the files that hold records became smaller.
        waiting_segments: Segments that a reader still holds; they go when it ends.
        seconds: How long it took.
    """

    deleted_objects: int
    deleted_bytes: int
    freed_bytes: int
    waiting_segments: int
    seconds: float


class Sweep:
    """What a plan holds until it is executed or dropped."""

    __slots__ = (
        "_accept_refs",
        "_expanded",
        "_marker",
        "_nodes",
        "_oldest",
        "_roots",
        "_stack",
        "_storage",
        "_watches",
        "_young",
    )

    def __init__(
        self,
        snapshots: Snapshots,
        marker: Marker,
        roots: Roots,
        grace_seconds: int,
        stack: ExitStack,
        accept_refs: bool,
    ) -> None:
        self._storage = snapshots.storage
        self._nodes = snapshots.nodes
        self._marker = marker
        self._roots = roots
        # Operations that run now may end before the plan is executed: what they put is kept even so. What begins later
        # is seen by the plan's own watch, which is among these.
        self._watches = tuple(self._storage.backend.watches())
        # Stamps are whole seconds, rounded down.
        self._oldest = int(time.time()) - grace_seconds - bool(grace_seconds)
        self._stack = stack
        self._accept_refs = accept_refs
        self._expanded: set[Address] = set()
        self._young = Marker(self._storage, lambda snapshot: False, tolerant=True)
        self.mark_watched()
        self._young.bitmap.update(marker.bitmap)
        self.find_dead()

    def close(self) -> None:
        """Ends the watch."""
        self._stack.close()

    # -- what is kept

    def mark_watched(self) -> None:
        """Marks what pins, running operations and other threads rely on, with all below it."""
        find = self._storage.backend.find
        expanded = self._expanded
        found: set[Address] = set()
        for watch in self._watches:
            found |= watch.parents - expanded
            self._marker.bitmap.update(watch.chunks)
        for pin in self._storage.pins.all():
            if pin.address is not None and pin.address not in expanded:
                found.add(pin.address)
        for address in found:
            entry = find(address)
            if entry is not None:
                expanded.add(address)
                self._marker.mark([(entry.kind, address)])

    def find_dead(self) -> dict[int, list[Address]]:
        """What refers to others and may go, by kind; marks what lies below all that is kept.

        A later hit on a record that is kept for its age, or is new, relies on all below it. What is marked after it
        was listed is among the results too.
        """
        young = self._young
        dead: dict[int, list[Address]] = {kind: [] for kind in _ORDER}
        for address, entry in self._storage.backend.scan():
            if entry.kind == CHUNK or (entry.segment, entry.ordinal) in young.bitmap:
                continue
            if not self.is_kept(entry):
                dead[entry.kind].append(address)
            elif entry.kind != EVENT:
                young.mark([(entry.kind, address)])
        return dead

    def is_reached(self, entry: IndexEntry) -> bool:
        """Whether a root or a running operation leads to the record."""
        segment, ordinal = record = (entry.segment, entry.ordinal)
        if record in self._marker.bitmap:
            return True
        for watch in self._watches:  # noqa: SIM110  (a generator would cost more than all it asks)
            if watch.is_new(segment, ordinal) or record in watch.chunks:
                return True
        return False

    def is_kept(self, entry: IndexEntry) -> bool:
        """Whether the record stays, for whatever reason."""
        return (
            entry.stamp > self._oldest or self.is_reached(entry) or (entry.segment, entry.ordinal) in self._young.bitmap
        )

    # -- deletion

    def run(self, progress: Progress | None) -> GcReport:
        """Sweeps and compacts.

        Raises:
            ConflictError: Another collection of this store is sweeping.
        """
        started = time.monotonic()
        storage, backend = self._storage, self._storage.backend
        used = backend.used_bytes()
        try:
            with backend.write_lock():
                if backend.sweeping:
                    raise ConflictError("another collection is deleting right now; make a new plan when it is done.")
                backend.sweeping = True
            try:
                self._expire_history()
                deleted = self._delete_all(progress)
            finally:
                backend.sweeping = False
        finally:
            self.close()
        storage.cache.clear()
        self._nodes.clear()
        drop_stale_caches(storage)
        kept: Counter[int] = Counter()
        for _, entry in backend.scan():
            kept[entry.segment] += entry.record_bytes
        backend.compact(sorted(self.worth_compacting(kept)))
        return GcReport(
            deleted_objects=deleted.objects,
            deleted_bytes=deleted.bytes,
            freed_bytes=max(0, used - backend.used_bytes()),
            waiting_segments=sum(1 for info in backend.segments() if info.condemned),
            seconds=time.monotonic() - started,
        )

    def _expire_history(self) -> None:
        """Records how far history is cut, and takes the cut part out of the index."""
        backend = self._storage.backend
        facts: dict[bytes, bytes | None] = dict.fromkeys(self._roots.expired + self._roots.superseded)
        with backend.write_lock():
            if self._roots.cut > self._roots.known_cut:
                facts.update(self._event(encode_history_cut(backend.next_event(), self._roots.cut)))
            if self._accept_refs and backend.fact(SUSPECT) is not None:
                facts.update(self._event(encode_refs_accepted(backend.next_event(), time.time_ns())))
                facts[SUSPECT] = None
            backend.sync(facts)

    def _event(self, payload: bytes) -> Mapping[bytes, bytes | None]:
        storage = self._storage
        storage.backend.put([storage.record(EVENT, event_address(payload), payload)])
        return event_facts(payload)

    def _delete_all(self, progress: Progress | None) -> Tally:
        deleted = Tally()
        self._delete_parents(self.find_dead(), deleted)
        batch = []
        for address, entry in self._storage.backend.scan():
            if entry.kind == CHUNK and not self.is_kept(entry):
                batch.append(address)
                if len(batch) == _BATCH:
                    self._delete_chunks(batch, deleted)
                    batch = []
                    if progress is not None:
                        progress("deleting", deleted.objects, None)
        self._delete_chunks(batch, deleted)
        return deleted

    def _delete_parents(self, candidates: Mapping[int, Sequence[Address]], deleted: Tally) -> None:
        """Deletes what refers to others, in one step as others see it."""
        backend, young = self._storage.backend, self._young
        with backend.write_lock():
            # Decided again behind the lock: anything may have been hit, renewed or moved since it was listed.
            self.mark_watched()
            for kind, addresses in candidates.items():
                for address in addresses if kind != EVENT else ():
                    entry = backend.find(address)
                    if entry is not None and self.is_kept(entry):
                        young.mark([(kind, address)])
            for kind, addresses in candidates.items():
                size = _NODE_BATCH if kind == NODE else max(1, len(addresses))
                for start in range(0, len(addresses), size):
                    self._delete(addresses[start : start + size], deleted)

    def _delete_chunks(self, addresses: Sequence[Address], deleted: Tally) -> None:
        # A hit on a chunk shows in the watches. What refers to chunks is whole by now, or gone.
        with self._storage.backend.write_lock():
            self._delete(addresses, deleted)

    def _delete(self, addresses: Sequence[Address], deleted: Tally) -> None:
        backend = self._storage.backend
        dead = []
        for address in addresses:
            entry = backend.find(address)
            if entry is not None and not self.is_kept(entry):
                dead.append(address)
                deleted.add(entry)
        backend.delete(dead)

    # -- space

    def worth_compacting(self, kept: Mapping[int, int]) -> dict[int, int]:
        """Segments with enough dead bytes, and how many; ``kept`` has the bytes of each that stay."""
        found: dict[int, int] = {}
        for info in self._storage.backend.segments():
            dead = info.total_bytes - kept.get(info.segment, 0)
            if not info.condemned and dead > 0 and dead >= COMPACT_SHARE * info.total_bytes:
                found[info.segment] = dead
        return found
