# SPDX-License-Identifier: MIT
"""Figures of a store: how much there is, how much of it is stored once, and what compression saves."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from casstore.format.kinds import CHUNK, KIND_NAMES
from casstore.layout import INDEX
from casstore.snapshots import Refs, Snapshots, log
from casstore.storage import CacheStats, Storage
from casstore.storage.modes import open_to_others
from casstore.storage.reserve import folder_bytes, reserve_bytes


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
        max_bytes: The quota in force, which ``record_bytes`` may not pass; None where there is none.
        index_bytes: Files of the index, which do not count.
        reserve_bytes: Held back for collections on a full disk, which does not count either.
        open_to_others: What other users of the machine may look into, ``"."`` being the store's folder.
        deltas: Contents among these that are stored against others, and what they would and do take.
        cache: Figures of the hot cache since the store was opened.
    """

    refs: int
    snapshots: int
    logical_bytes: int
    raw_bytes: int
    stored_bytes: int
    record_bytes: int
    segments: int
    max_bytes: int | None = None
    index_bytes: int = 0
    reserve_bytes: int = 0
    open_to_others: tuple[str, ...] = ()
    kinds: dict[str, KindStats] = field(default_factory=dict)
    deltas: KindStats = field(default_factory=KindStats)
    cache: CacheStats

    @property
    def dedup_ratio(self) -> float:
        """Copies against distinct contents: 10.0 where ten equal snapshots are kept once. Small inline files count."""
        return self.logical_bytes / self.raw_bytes if self.raw_bytes else 1.0

    @property
    def compression_ratio(self) -> float:
        """Distinct contents against the same as stored."""
        return self.raw_bytes / self.stored_bytes if self.stored_bytes else 1.0


def gather_stats(storage: Storage, snapshots: Snapshots, refs: Refs, path: str | None = None) -> Stats:
    """Figures as of now; ``path`` is the store's folder, None where it has none.

    *Cost*: one pass over the index, and one node for each root of each snapshot.
    """
    kinds: dict[str, KindStats] = {}
    deltas = KindStats()
    for _, entry in storage.backend.scan():
        if entry.base is not None:
            deltas.objects += 1
            deltas.raw_bytes += entry.raw_bytes
            deltas.stored_bytes += entry.stored_bytes
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
        max_bytes=storage.backend.max_bytes,
        index_bytes=0 if path is None else folder_bytes(os.path.join(path, INDEX)),
        reserve_bytes=0 if path is None else reserve_bytes(path),
        open_to_others=() if path is None else tuple(open_to_others(path)),
        kinds=kinds,
        deltas=deltas,
        cache=storage.cache.stats(),
    )
