# SPDX-License-Identifier: MIT
"""The sweep: deletes what the survey found dead, and gives the space back.

The watch that the plan opened stays open until the sweep ends: what is put meanwhile is new and live, what a dedup hit
meets is live, and so is all below it. What refers to others is *doomed* in one step, under the write lock: from then on
no hit can revive it, and who meets it writes it anew. So a node, a list or a snapshot that a writer can rely on is
whole, down to the last chunk, however long the deleting takes. Chunks can be revived until they go.

Deleting takes the lock for a few hundred records at a time, and pauses in between. A crash may leave a dead list in
place of which the pieces are gone: a fact in the index says that a sweep was under way, and a store that was left so
trusts no list until a collection has ended (``Backend.doubtful``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from casstore.address import Address, event_address
from casstore.collection.caches import drop_stale_caches
from casstore.collection.full import make_full
from casstore.collection.mark import Marker
from casstore.collection.roots import Roots, is_needed_mark
from casstore.collection.survey import PARENTS, Addresses, Survey, Tally
from casstore.errors import ConflictError
from casstore.format.event import encode_history_cut, encode_refs_accepted, event_facts
from casstore.format.index_entry import SUSPECT, SWEEPING, IndexEntry
from casstore.format.kinds import CHUNK, EVENT
from casstore.snapshots import Snapshots
from casstore.storage.give_way import give_way
from casstore.storage.watch import Watch

Progress = Callable[[str, int, int | None], None]

_BATCH: Final = 256
"""Records that are deleted while other writers wait: about a millisecond."""
_FEW: Final = 64
"""So few records to mark that it can be done while they wait."""
_ROUNDS: Final = 5
"""How often what was written meanwhile is marked before writers must wait for the rest."""
COMPACT_SHARE: Final = 0.1
"""A segment is compacted when at least this share of its bytes is dead."""


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
    """What a plan holds until it is executed or dropped.

    Args:
        snapshots: The store's.
        survey: What stays and what may go, as of the plan.
        shallow: Tells the snapshots whose parents were given up.
        watches: All that were open when the plan was made, its own among them: operations that run now may end before
            the plan is executed, and what they put is kept even so.
        roots: What the survey started from.
        oldest: Stamp, in seconds since 1970; what was used later is too young to go.
        sweeps: ``Backend.sweeps`` from before the survey.
        lengths: Length in bytes of each segment, from before the survey.
        stack: What to close when the plan ends.
        accept_refs: Whether the refs are taken as they are after a rebuild over damage.
    """

    __slots__ = (
        "_accept_refs",
        "_expanded",
        "_lengths",
        "_marker",
        "_oldest",
        "_roots",
        "_snapshots",
        "_stack",
        "_start",
        "_storage",
        "_sweeps",
        "_watches",
        "survey",
    )

    def __init__(
        self,
        snapshots: Snapshots,
        survey: Survey,
        shallow: Callable[[Address], bool],
        watches: Sequence[Watch],
        roots: Roots,
        oldest: int,
        sweeps: int,
        lengths: Mapping[int, int],
        stack: ExitStack,
        accept_refs: bool,
    ) -> None:
        self._snapshots = snapshots
        self._storage = snapshots.storage
        self.survey = survey
        self._watches = tuple(watches)
        self._roots = roots
        self._oldest = oldest
        self._stack = stack
        self._accept_refs = accept_refs
        self._expanded: set[Address] = set()
        self._sweeps = sweeps
        # The plan's own watch is the latest.
        self._start = max(watch.start for watch in watches)
        # What lies behind these is new.
        self._lengths = lengths
        self._marker = Marker(self._storage, shallow, tolerant=True)
        self._marker.bitmap, self._marker.bases = survey.live, survey.live_bases

    def close(self) -> None:
        """Ends the watch."""
        self._stack.close()

    # -- what is kept

    def mark_watched(self) -> int:
        """Marks what pins, running operations and other threads rely on, with all below it; how many were not yet.

        What is newer than the plan needs no mark: who made it put or met all below it, which was told one by one. What
        is missing or damaged below is passed over: of what is relied on, all stays that is there.
        """
        find = self._storage.backend.find
        expanded = self._expanded
        found: set[Address] = set()
        for watch in self._watches:
            found |= watch.parents - expanded
        pinned = {pin.address for pin in self._storage.pins.all() if pin.address is not None} - expanded
        count = 0
        for address in found | pinned:
            entry = find(address)
            if entry is not None:
                expanded.add(address)
                if address in pinned or (entry.segment, entry.ordinal) < self._start:
                    self._marker.mark([(entry.kind, address)])
                    count += 1
        return count

    def is_kept(self, entry: IndexEntry) -> bool:
        """Whether the record stays, for whatever reason."""
        survey = self.survey
        record = (entry.segment, entry.ordinal)
        return (
            entry.stamp > self._oldest
            or record in survey.live
            or record in survey.young
            or record in survey.live_bases
            or record in survey.young_bases
            or self._is_watched(record)
        )

    def _is_watched(self, record: tuple[int, int]) -> bool:
        for watch in self._watches:  # noqa: SIM110  (a generator would cost more than all it asks)
            if watch.is_new(*record) or record in watch.chunks:
                return True
        return False

    def is_only_a_base(self, entry: IndexEntry) -> bool:
        """Whether nothing but deltas keeps the record."""
        record = (entry.segment, entry.ordinal)
        survey = self.survey
        if entry.stamp > self._oldest or record in survey.live or record in survey.young:
            return False
        return not self._is_watched(record)

    def give_up(self, delta: IndexEntry, base: IndexEntry) -> None:
        """A delta was written anew in full; who relies on its base from now on says so by a hit."""
        survey = self.survey
        survey.live_bases.discard(base.segment, base.ordinal)
        survey.young_bases.discard(base.segment, base.ordinal)
        for entry in (delta, base):
            survey.kept_bytes[entry.segment] -= entry.record_bytes

    def _is_doomed(self, entry: IndexEntry) -> bool:
        """Whether a record that refers to others goes: nothing can revive it any more."""
        return entry.kind != CHUNK and not self.is_kept(entry)

    # -- deletion

    def run(self, progress: Progress | None) -> GcReport:
        """Sweeps and compacts.

        Raises:
            ConflictError: Another collection of this store is sweeping.
        """
        backend = self._storage.backend
        try:
            with backend.write_lock():
                if backend.collecting:
                    raise ConflictError("another collection is deleting right now; make a new plan when it is done.")
                if backend.sweeps != self._sweeps:
                    # It deleted and moved what this plan speaks of.
                    raise ConflictError("another collection was executed since this plan was made; make a new plan.")
                backend.collecting = True
            try:
                return self._run(progress)
            finally:
                with backend.write_lock():
                    # Plans that were made meanwhile know where records lay, not where compaction put them.
                    backend.sweeps += 1
                    backend.collecting = False
        finally:
            self.close()

    def _run(self, progress: Progress | None) -> GcReport:
        started = time.monotonic()
        storage, backend = self._storage, self._storage.backend
        used = backend.used_bytes()
        backend.sweeping = True
        try:
            self._begin()
            bases = make_full(self._storage, self, self.survey.lonely)
            self._doom()
            deleted = self._delete_all(bases, progress)
            # Where something that stays leads to what is not there, it must go on to promise nothing.
            backend.interrupted = self.survey.gaps or self._marker.gaps
            backend.sync({} if backend.interrupted else {SWEEPING: None})
        except BaseException:
            # Also what has gone before the fact could be taken away again.
            backend.interrupted = True
            raise
        finally:
            backend.doomed = None
            backend.sweeping = False
        self.close()
        storage.cache.clear()
        self._snapshots.nodes.clear()
        drop_stale_caches(storage)
        # The emptiest first: they give the most back and need the least room.
        found = self.worth_compacting()
        backend.compact(sorted(found, key=lambda segment: (-found[segment], segment)))
        return GcReport(
            deleted_objects=deleted.objects,
            deleted_bytes=deleted.bytes,
            freed_bytes=max(0, used - backend.used_bytes()),
            waiting_segments=sum(1 for info in backend.segments() if info.condemned),
            seconds=time.monotonic() - started,
        )

    def _begin(self) -> None:
        """Records how far history is cut, takes the cut part out of the index, and says that a sweep is under way."""
        backend = self._storage.backend
        facts: dict[bytes, bytes | None] = dict.fromkeys(self._roots.expired + self._roots.superseded)
        facts[SWEEPING] = b"1"
        with backend.write_lock():
            for key in self._roots.superseded:
                # A bundle may have brought the snapshot of a mark since the plan was made.
                if (payload := backend.fact(key)) is not None and is_needed_mark(self._storage, payload):
                    del facts[key]
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

    def _doom(self) -> None:
        """From here on, what is not kept and refers to others cannot be revived."""
        backend = self._storage.backend
        for _ in range(_ROUNDS):
            # Marking takes its time, so most of it is done while others go on.
            if self.mark_watched() <= _FEW:
                break
        with backend.write_lock():
            self.mark_watched()
            backend.doomed = self._is_doomed

    def _delete_all(self, bases: Addresses, progress: Progress | None) -> Tally:
        deleted = Tally()
        survey = self.survey
        # Deltas before bases: no crash may leave one in place of which the base is gone.
        for addresses in (*(survey.dead[kind] for kind in PARENTS), survey.dead_deltas, survey.dead[CHUNK], bases):
            for batch in addresses.batches(_BATCH):
                self._delete(batch, deleted)
                if progress is not None:
                    progress("deleting", deleted.objects, None)
                give_way()
        return deleted

    def _delete(self, addresses: Sequence[Address], deleted: Tally) -> None:
        backend = self._storage.backend
        with backend.write_lock():
            dead = []
            for address in addresses:
                entry = backend.find(address)
                if entry is None:
                    continue
                if self.is_kept(entry):
                    self.survey.kept_bytes[entry.segment] += entry.record_bytes
                else:
                    dead.append(address)
                    deleted.add(entry)
            backend.delete(dead, durable=False)

    # -- space

    def worth_compacting(self) -> dict[int, int]:
        """Segments with enough dead bytes, and how many."""
        found: dict[int, int] = {}
        for info in self._storage.backend.segments():
            length = self._lengths.get(info.segment, 0)
            dead = length - self.survey.kept_bytes[info.segment]
            if not info.condemned and dead > 0 and dead >= COMPACT_SHARE * info.total_bytes:
                found[info.segment] = dead
        return found
