# SPDX-License-Identifier: MIT
"""A survey: which records stay and for what reason, which may go, as one pass of a collection sees them.

It only reads, so it can be made in a process of its own (``survey_process``) while writers go on. What they put and hit
meanwhile shows in the watches of the plan, and is added by the sweep (``sweep.py``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from casstore.address import ADDRESS_BYTES, Address
from casstore.collection.mark import Marker, Reference
from casstore.format.index_entry import IndexEntry
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, KIND_NAMES, NODE, SNAPSHOT
from casstore.storage import Storage
from casstore.storage.watch import Bitmap

PARENTS: Final = (SNAPSHOT, EVENT, NODE, CHUNK_LIST)
"""Kinds that refer to others, and events, in the order in which they go."""
LIVE: Final = "live"
YOUNG: Final = "young"
DEAD: Final = "dead"


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
class Task:
    """What a survey starts from.

    Attributes:
        references: Kinds and addresses of the roots.
        relied_on: Kinds and addresses that running operations met; what is missing below them is no error.
        chunks: Chunks that running operations met.
        shallow: Snapshots whose parents were given up.
        oldest: Stamp, in seconds since 1970; what was used later is too young to go.
        start: Segment and ordinal from which on records are new.
    """

    references: Sequence[Reference]
    relied_on: Sequence[Reference] = ()
    chunks: Bitmap = field(default_factory=Bitmap)
    shallow: Collection[Address] = frozenset()
    oldest: int
    start: tuple[int, int]


class Addresses:
    """Many addresses, 32 bytes each."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def add(self, address: Address) -> None:
        """One more."""
        self.data += address

    def __len__(self) -> int:
        return len(self.data) // ADDRESS_BYTES

    def batches(self, size: int) -> Iterator[list[Address]]:
        """Lists of at most ``size``."""
        step = size * ADDRESS_BYTES
        for start in range(0, len(self.data), step):
            part = bytes(self.data[start : start + step])
            yield [Address(part[at : at + ADDRESS_BYTES]) for at in range(0, len(part), ADDRESS_BYTES)]


@dataclass(slots=True)
class Survey:
    """What a survey found.

    Attributes:
        live: Records that roots and operations lead to.
        live_bases: Bases of deltas among these.
        young: The same for what is kept for its age, and all below it, ``live`` included.
        young_bases: Bases of deltas among these.
        dead: Kind → what may go; of chunks only those that are no deltas.
        dead_deltas: Deltas that may go; before any base does.
        lonely: Deltas that stay, each the only one that keeps its base.
        tallies: ``"live"``, ``"young"`` and ``"dead"`` → name of a kind → its tally.
        kept_bytes: Segment → bytes of its records that stay.
        gaps: Whether something that stays, though nothing that must, leads to what is missing or damaged.
    """

    live: Bitmap = field(default_factory=Bitmap)
    live_bases: Bitmap = field(default_factory=Bitmap)
    young: Bitmap = field(default_factory=Bitmap)
    young_bases: Bitmap = field(default_factory=Bitmap)
    dead: dict[int, Addresses] = field(default_factory=lambda: {kind: Addresses() for kind in (*PARENTS, CHUNK)})
    dead_deltas: Addresses = field(default_factory=Addresses)
    lonely: Addresses = field(default_factory=Addresses)
    tallies: dict[str, dict[str, Tally]] = field(default_factory=lambda: {LIVE: {}, YOUNG: {}, DEAD: {}})
    kept_bytes: Counter[int] = field(default_factory=Counter)
    gaps: bool = False

    @property
    def memory_bytes(self) -> int:
        """Bytes that it takes, as good as all of them."""
        bitmaps = (self.live, self.live_bases, self.young, self.young_bases)
        return sum(bitmap.memory_bytes for bitmap in bitmaps) + sum(len(found.data) for found in self.lists())

    def lists(self) -> list[Addresses]:
        """All lists of addresses, always in the same order."""
        return [*(self.dead[kind] for kind in (*PARENTS, CHUNK)), self.dead_deltas, self.lonely]


def survey(storage: Storage, task: Task) -> Survey:
    """Looks at every record.

    Raises:
        CorruptionError: Something that roots lead to is missing or damaged; nothing may be deleted then.

    *Cost*: a mark, and two passes over the index; some 12 µs a record. Memory: two bits a record, 32 bytes for each
    that may go.
    """
    found = Survey()
    scan = storage.backend.scan
    marker = Marker(storage, task.shallow.__contains__)
    relied = Marker(storage, task.shallow.__contains__, tolerant=True)
    relied.bitmap = marker.bitmap = found.live
    relied.bases = marker.bases = found.live_bases
    marker.mark(task.references)
    found.live.update(task.chunks)
    relied.mark(task.relied_on)
    young = Marker(storage, task.shallow.__contains__, tolerant=True)
    young.bitmap, young.bases = found.young, found.young_bases
    young.bitmap.update(found.live)
    oldest, start = task.oldest, task.start

    def is_kept(entry: IndexEntry) -> bool:
        record = (entry.segment, entry.ordinal)
        return (
            entry.stamp > oldest
            or record >= start
            or record in found.young
            or record in found.live_bases
            or record in found.young_bases
        )

    for address, entry in scan():
        if entry.kind == CHUNK:
            if entry.base is not None and is_kept(entry):
                young.mark_base(address, entry.base)
        elif entry.kind != EVENT and (entry.segment, entry.ordinal) not in found.young and is_kept(entry):
            young.mark([(entry.kind, address)])
    found.gaps = relied.gaps or young.gaps
    tallies, kept_bytes = found.tallies, found.kept_bytes
    lonely = _Lonely(storage, task, found)
    for address, entry in scan():
        record = (entry.segment, entry.ordinal)
        if record in found.live or record in found.live_bases:
            part = LIVE
        elif is_kept(entry):
            part = YOUNG
        else:
            part = DEAD
            (found.dead_deltas if entry.base is not None else found.dead[entry.kind]).add(address)
        if part is not DEAD:
            kept_bytes[entry.segment] += entry.record_bytes
            if entry.base is not None:
                lonely.look(address, entry.base, record in found.live)
        name = KIND_NAMES[entry.kind]
        tally = tallies[part].get(name)
        if tally is None:
            tally = tallies[part][name] = Tally()
        tally.add(entry)
    found.lonely = lonely.result()
    return found


class _Lonely:
    """Finds the deltas that stay and are each the only one to keep their base."""

    __slots__ = ("_candidates", "_find", "_found", "_more", "_once", "_task")

    def __init__(self, storage: Storage, task: Task, found: Survey) -> None:
        self._find = storage.backend.find
        self._task = task
        self._found = found
        self._once, self._more = Bitmap(), Bitmap()
        self._candidates = Addresses()

    def look(self, address: Address, base: Address, live: bool) -> None:
        """A delta that stays."""
        entry = self._find(base)
        if entry is None or entry.stamp > self._task.oldest:
            return
        record = (entry.segment, entry.ordinal)
        if record >= self._task.start or record in self._found.young:
            return
        if not self._once.add(*record):
            self._more.add(*record)
        elif live:
            self._candidates.add(address)

    def result(self) -> Addresses:
        """Those whose base has no other."""
        lonely = Addresses()
        for (address,) in self._candidates.batches(1):
            entry = self._find(address)
            base = None if entry is None or entry.base is None else self._find(entry.base)
            if base is not None and (base.segment, base.ordinal) not in self._more:
                lonely.add(address)
        return lonely
