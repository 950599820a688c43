# SPDX-License-Identifier: MIT
"""Figures of a store: how much there is, how much of it is stored once, and what compression saves."""

from __future__ import annotations

from dataclasses import dataclass, field

from casstore.format.kinds import CHUNK, KIND_NAMES
from casstore.snapshots import Refs, Snapshots, log
from casstore.storage import CacheStats, Storage


@dataclass(slots=True)
class KindStats:
    """Objects of one kind: how many, their bytes unpacked, and their bytes as stored (without headers)."""

    objects: int = 0
    raw_bytes: int = 0
    stored_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Figures of a store; all sizes in bytes.

    Attributes:
        refs: Number of refs.
        snapshots: Snapshots that refs lead to, with their history.
        kinds: Kind of object → its figures; chunks are the contents.
        logical_bytes: What the files and objects of all those snapshots would take as copies.
        raw_bytes: Contents, each distinct chunk once, unpacked.
        stored_bytes: The same, as stored.
        record_bytes: All records with their headers, the dead among them too.
        segments: Segment files.
        cache: Figures of the hot cache since the store was opened.
    """

    refs: int
    snapshots: int
    logical_bytes: int
    raw_bytes: int
    stored_bytes: int
    record_bytes: int
    segments: int
    kinds: dict[str, KindStats] = field(default_factory=dict)
    cache: CacheStats

    @property
    def dedup_ratio(self) -> float:
        """Copies against distinct contents: 10.0 where ten equal snapshots are kept once. Small inline files count."""
        return self.logical_bytes / self.raw_bytes if self.raw_bytes else 1.0

    @property
    def compression_ratio(self) -> float:
        """Distinct contents against the same as stored."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else 1.0


def gather_stats(storage: Storage, snapshots: Snapshots, refs: Refs) -> Stats:
    """Figures as of now.

    *Cost*: one pass over the index, and one node for each root of each snapshot.
    """
    kinds: dict[str, KindStats] = {}
    for _, entry in storage.backend.scan():
        kind = kinds.setdefault(KIND_NAMES[entry.kind], KindStats())
        kind.objects += 1
        kind.raw_bytes += entry.raw_bytes
        kind.stored_bytes += entry.stored_bytes
    seen = set()
    logical = 0
    for _, snapshot_id in refs.ids():
        if snapshot_id not in seen:
            for snapshot in log(snapshots, snapshots.get(snapshot_id)):
                if snapshot.id not in seen:
                    seen.add(snapshot.id)
                    logical += snapshots.content_bytes(snapshot.roots)
    contents = kinds.get(KIND_NAMES[CHUNK], KindStats())
    return Stats(
        refs=len(refs),
        snapshots=len(seen),
        logical_bytes=logical,
        raw_bytes=contents.raw_bytes,
        stored_bytes=contents.stored_bytes,
        record_bytes=storage.backend.used_bytes(),
        segments=len(storage.backend.segments()),
        kinds=kinds,
        cache=storage.cache.stats(),
    )
