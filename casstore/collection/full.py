# SPDX-License-Identifier: MIT
"""Deltas made full: where a single delta is all that keeps its base, one full record takes less than both.

A base with several deltas stays: each of them made full would take more. Never the reverse: a full record becomes a
delta only by being collected and put again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from casstore.collection.survey import Addresses
from casstore.errors import CorruptionError, NotFoundError, QuotaExceededError, StorageError
from casstore.format.kinds import CHUNK
from casstore.format.record import HEADER_BYTES
from casstore.storage.give_way import give_way

if TYPE_CHECKING:
    from casstore.format.index_entry import IndexEntry
    from casstore.storage import Storage


class Kept(Protocol):
    """What a sweep knows."""

    def is_only_a_base(self, entry: IndexEntry) -> bool:
        """Whether nothing but deltas keeps the record."""

    def give_up(self, delta: IndexEntry, base: IndexEntry) -> None:
        """A delta was written anew in full, so its base is no longer kept for it."""


def make_full(storage: Storage, kept: Kept, lonely: Addresses) -> Addresses:
    """Writes deltas anew whose base would otherwise be kept for one of them; returns the bases that may go.

    All that was written is durable by then. At most one segment's worth in a collection, so that the space that it
    needs is bounded; the next one goes on.

    *Cost*: a read and a write per delta.
    """
    backend = storage.backend
    room = storage.config.segment_bytes
    done: list[tuple[IndexEntry, IndexEntry]] = []
    bases = Addresses()
    for (address,) in lonely.batches(1):
        entry = backend.find(address)
        base = None if entry is None or entry.base is None else backend.find(entry.base)
        if entry is None or entry.base is None or base is None or not kept.is_only_a_base(base):
            continue
        try:
            record = storage.record(CHUNK, address, storage.get_record(CHUNK, address))
        except (CorruptionError, NotFoundError):
            # It stays as it is, and so does its base: `verify` names it, and a put of the content heals it.
            continue
        room -= HEADER_BYTES + len(record.stored)
        if room < 0:
            break
        try:
            # As anybody puts: what is held for a full disk, and what lies beyond the quota, is for freeing space.
            with backend.write_lock(), backend.ordinary():
                current = backend.find(address)
                if current is not None and current.base is not None:
                    backend.put([record])
        except (StorageError, QuotaExceededError):
            # The deleting goes on and brings space, or says what is wrong.
            break
        done.append((entry, base))
        bases.add(entry.base)
        give_way()
    if done:
        # Before any base goes: what replaces the deltas must be durable by then.
        backend.sync()
        for delta, base in done:
            kept.give_up(delta, base)
    return bases
