# SPDX-License-Identifier: MIT
"""The sweep: deletes what the mark did not reach, and gives the space back.

The watch that the plan opened stays open until the sweep ends: what is put meanwhile is new and live, what a dedup hit
meets is live with all below it. Each batch decides and deletes under the write lock, and a writer that hit something
looks again behind that lock. Snapshots go before nodes, nodes before lists, lists before chunks, all lists in one
step: no crash leaves a list in place of which the chunks are gone, which a later put would take for the content.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from casstore.address import Address, event_address
from casstore.collection.mark import Marker
from casstore.collection.roots import Roots
from casstore.format.event import encode_history_cut, encode_refs_accepted, event_facts
from casstore.format.index_entry import SUSPECT, IndexEntry
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, SNAPSHOT
from casstore.storage import Storage
from casstore.storage.watch import Bitmap, Watch

Progress = Callable[[str, int, int | None], None]

_BATCH: Final = 1000
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

    __slots__ = ("_accept_refs", "_expanded", "_marker", "_oldest", "_roots", "_stack", "_storage", "_watch", "_young")

    def __init__(
        self,
        storage: Storage,
        marker: Marker,
        roots: Roots,
        watch: Watch,
        grace_seconds: int,
        stack: ExitStack,
        accept_refs: bool,
    ) -> None:
        self._storage = storage
        self._marker = marker
        self._roots = roots
        self._watch = watch
        self._oldest = int(time.time()) - grace_seconds
        self._stack = stack
        self._accept_refs = accept_refs
        self._expanded: set[Address] = set()
        self._young = Bitmap()

    def close(self) -> None:
        """Ends the watch."""
        self._stack.close()

    # -- what is kept

    def mark_watched(self) -> None:
        """Marks what running operations and other threads rely on, with all below it."""
        find = self._storage.backend.find
        for watch in self._storage.backend.watches():
            for address in list(watch.parents - self._expanded):
                self._expanded.add(address)
                entry = find(address)
                if entry is not None:
                    self._marker.mark([(entry.kind, address)])
            self._marker.bitmap.update(watch.chunks)

    def mark_young(self) -> None:
        """Keeps what lies below a record within its grace period: a later hit on that record relies on it."""
        young = Marker(self._storage, lambda snapshot: False, tolerant=True)
        for address, entry in self._storage.backend.scan():
            if entry.stamp > self._oldest and entry.kind not in (CHUNK, EVENT):
                young.mark([(entry.kind, address)])
        self._young = young.bitmap

    def is_reached(self, entry: IndexEntry) -> bool:
        """Whether a root or a running operation leads to the record."""
        record = (entry.segment, entry.ordinal)
        return record in self._marker.bitmap or any(
            watch.is_new(*record) or record in watch.chunks for watch in self._storage.backend.watches()
        )

    def is_kept(self, entry: IndexEntry) -> bool:
        """Whether the record stays, for whatever reason."""
        return entry.stamp > self._oldest or self.is_reached(entry) or (entry.segment, entry.ordinal) in self._young

    # -- deletion

    def run(self, progress: Progress | None) -> GcReport:
        """Sweeps and compacts."""
        started = time.monotonic()
        storage, backend = self._storage, self._storage.backend
        used = backend.used_bytes()
        try:
            backend.sweeping = True
            self._expire_history()
            deleted = self._delete_all(progress)
        finally:
            backend.sweeping = False
            self.close()
        storage.cache.clear()
        kept: Counter[int] = Counter()
        for _, entry in backend.scan():
            kept[entry.segment] += entry.record_bytes
        backend.compact(sorted(self.worth_compacting(kept)))
        return GcReport(
            deleted_objects=deleted.objects,
            deleted_bytes=deleted.bytes,
            freed_bytes=used - backend.used_bytes(),
            waiting_segments=sum(1 for info in backend.segments() if info.condemned),
            seconds=time.monotonic() - started,
        )

    def _expire_history(self) -> None:
        """Records how far history is cut, and takes the cut part out of the index."""
        backend = self._storage.backend
        facts: dict[bytes, bytes | None] = dict.fromkeys(self._roots.expired)
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
        parents: dict[int, list[Address]] = {kind: [] for kind in _ORDER}
        for address, entry in self._storage.backend.scan():
            if entry.kind != CHUNK and not self.is_kept(entry):
                parents[entry.kind].append(address)
        for kind in _ORDER:
            for batch in _batches(parents[kind], len(parents[kind]) if kind == CHUNK_LIST else _BATCH):
                self._delete(batch, deleted)
        batch = []
        for address, entry in self._storage.backend.scan():
            if entry.kind == CHUNK and not self.is_kept(entry):
                batch.append(address)
                if len(batch) == _BATCH:
                    self._delete(batch, deleted)
                    batch = []
                    if progress is not None:
                        progress("deleting", deleted.objects, None)
        self._delete(batch, deleted)
        return deleted

    def _delete(self, addresses: Sequence[Address], deleted: Tally) -> None:
        backend = self._storage.backend
        with backend.write_lock():
            self.mark_watched()
            dead = []
            for address in addresses:
                entry = backend.find(address)
                # Decided again behind the lock: it may have been hit or moved since it was listed.
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


def _batches(addresses: Sequence[Address], size: int) -> Iterator[Sequence[Address]]:
    for start in range(0, len(addresses), max(1, size)):
        yield addresses[start : start + size]
