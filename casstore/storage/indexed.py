# SPDX-License-Identifier: MIT
"""What all backends share: an index in front of the records, entries that wait for the next sync point, watches.

Invariant: an entry reaches the index only after its record is durable, in the same batch as everything else of that
sync point. Until then it waits in a bounded table, which every lookup asks first.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from casstore.address import Address
from casstore.errors import ClosedError, CorruptionError, NotFoundError, ReadOnlyError, StorageError
from casstore.format.index_entry import (
    CACHE,
    DAMAGED,
    DAMAGED_FLAG,
    NEXT_EVENT,
    OBJECT,
    SWEEPING,
    IndexEntry,
    decode_entry,
    decode_number,
    encode_entry,
    encode_number,
    is_lost,
    lost_entry,
)
from casstore.format.record import Record
from casstore.storage.backend import Prepared, SegmentInfo
from casstore.storage.index import Index
from casstore.storage.quota import check_room
from casstore.storage.watch import Watch

MAX_BASES: Final = 8
"""Where a damaged base was healed as a delta of its own, there are further steps; never more than these."""
MAX_PENDING: Final = 16_384
"""Entries that may wait; a full table makes a sync point (about 7 MB of memory)."""


class IndexedBackend(ABC):
    """Base of the backends: everything but where records lie."""

    def __init__(self, index: Index, *, read_only: bool = False) -> None:
        self.read_only = read_only
        self.max_bytes: int | None = None
        self._freeing: tuple[int, ...] = ()
        self._index = index
        self._index_get = index.get
        self._pending: dict[Address, IndexEntry] = {}
        self._lock = threading.RLock()
        self._watches: tuple[Watch, ...] = ()
        self._sweeping = False
        self.sweeps = 0
        self.collecting = False
        self.interrupted = index.get(SWEEPING) is not None
        self.doomed: Callable[[IndexEntry], bool] | None = None
        self._cut_off = False
        self._closed: str | None = None
        self._failure: str | None = None
        self._next_event = self._number_fact(NEXT_EVENT, 1)
        self._saved_event = self._next_event
        self.damaged_count = self._number_fact(DAMAGED, 0)
        _open.add(self)

    def _number_fact(self, key: bytes, default: int) -> int:
        value = self._index_get(key)
        return default if value is None else decode_number(value)

    @property
    def hurt(self) -> bool:
        return self.damaged_count > 0 or self._cut_off

    @property
    def doubtful(self) -> bool:
        return self.hurt or self.interrupted

    # -- lookups

    @abstractmethod
    def get(self, address: Address) -> Record:
        """The record under ``address``, its header checked and its content not."""

    @abstractmethod
    def _reachable(self, entry: IndexEntry) -> bool:
        """Whether the record's bytes can be there at all: within the intact part of its segment."""

    def find(self, address: Address) -> IndexEntry | None:
        entry = self._pending.get(address)
        if entry is not None:
            return entry
        value = self._index_get(OBJECT + address)
        while value is not None:
            entry = decode_entry(value)
            if self._reachable(entry):
                return entry
            # Compaction may have moved the record since, and removed the segment that it was in: look again.
            entry = self._pending.get(address)
            if entry is not None:
                return entry
            before, value = value, self._index_get(OBJECT + address)
            if value == before:
                break
        return None

    def contains(self, address: Address) -> bool:
        entry = self.find(address)
        return entry is not None and not entry.flags & DAMAGED_FLAG

    def scan(self, prefix: bytes = b"") -> Iterator[tuple[Address, IndexEntry]]:
        if self._closed:
            raise ClosedError(self._closed)
        waiting = sorted(item for item in list(self._pending.items()) if item[0].startswith(prefix))
        place = 0
        for key, value in self._index.scan(OBJECT + prefix):
            address = Address(key[1:])
            if waiting:
                while place < len(waiting) and waiting[place][0] < address:
                    yield waiting[place]
                    place += 1
                if place < len(waiting) and waiting[place][0] == address:
                    continue
            entry = decode_entry(value)
            if self._reachable(entry):
                yield address, entry
            elif (moved := self.find(address)) is not None:
                yield address, moved
        yield from waiting[place:]

    def fact(self, key: bytes) -> bytes | None:
        return self._index_get(key)

    def facts(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        if self._closed:
            raise ClosedError(self._closed)
        return self._index.scan(prefix)

    def cache(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self.facts(CACHE + prefix):
            yield key[1:], value

    def put_cache(self, changes: Mapping[bytes, bytes | None]) -> None:
        with self._lock:
            self._check_writable()
            # A batch that LevelDB wrote in part leaves its log torn: what it appends next would be lost at an opening.
            self._guarded(self._index.write_cache, {CACHE + key: value for key, value in changes.items()})

    # -- changes

    def _leave_to_parent(self) -> None:
        """In a forked child: this belongs to the parent, whose other threads may have held the lock."""
        self._lock = threading.RLock()
        self._closed = "this store belongs to the parent of a forked process; spawn the child and open it there."
        self._index_get = self._refuse
        self._pending = {}

    def _refuse(self, key: bytes) -> bytes | None:
        """Takes the place of the index's ``get`` once the backend is closed."""
        raise ClosedError(self._closed or "the store is closed; open it again.")

    def _check_writable(self) -> None:
        if self._closed:
            raise ClosedError(self._closed)
        if self.read_only:
            raise ReadOnlyError("the store is open read-only; open it without read_only to change it.")
        if self._failure:
            raise StorageError(f"the store takes no more writes: {self._failure}; close it and open it again.")

    def put(self, records: Sequence[Record]) -> None:
        self.put_prepared(self.prepare(records))

    def prepare(self, records: Sequence[Record]) -> list[Prepared]:
        return [(record, self._prepare(record)) for record in records]

    def put_prepared(self, prepared: Sequence[Prepared]) -> None:
        with self._lock:
            self._check_writable()
            pending = self._pending
            # Two threads may have found the same address absent; the second one's record is not kept twice.
            unique = {pair[0].address: pair for pair in prepared}
            fresh = [pair for address, pair in unique.items() if self._is_new(pending.get(address))]
            if fresh:
                if self.max_bytes is not None and threading.get_ident() not in self._freeing:
                    check_room(self.max_bytes, self.used_bytes(), fresh)
                if self.damaged_count:
                    self._count_healed(fresh)
                self._keep(fresh)
                if len(self._pending) >= MAX_PENDING:
                    self.sync()

    @staticmethod
    def _is_new(entry: IndexEntry | None) -> bool:
        # A delta may wait whose base has turned out to be damaged.
        return entry is None or bool(entry.flags & DAMAGED_FLAG) or entry.base is not None

    def _count_healed(self, fresh: Sequence[tuple[Record, bytes]]) -> None:
        for record, _ in fresh:
            old = self.find(record.address)
            if old is not None and old.flags & DAMAGED_FLAG:
                self.damaged_count -= 1

    @abstractmethod
    def _prepare(self, record: Record) -> bytes:
        """The bytes to write for a record; called without the lock."""

    @abstractmethod
    def _keep(self, prepared: Sequence[tuple[Record, bytes]]) -> None:
        """Writes records and adds their entries to ``_pending``; the lock is held."""

    def touch(self, address: Address, stamp: int) -> None:
        with self._lock:
            entry = self.find(address)
            if entry is None or entry.stamp >= stamp or self.read_only or (self.doomed and self.doomed(entry)):
                return
            # Its stamp keeps the record from now on, so what lies below must be kept too: also before the hit is told.
            for watch in self._watches:
                watch.hit(address, entry)
            self._pending[address] = entry._replace(stamp=stamp)
            if len(self._pending) >= MAX_PENDING:
                self.sync()

    def mark_damaged(self, address: Address, lost_kind: int | None = None) -> None:
        """As in ``Backend``; with ``lost_kind`` also what is nowhere is remembered, so that a put heals it."""
        with self._lock:
            entry = self.find(address)
            if entry is None and lost_kind is not None:
                entry = lost_entry(lost_kind, self.damaged_count)._replace(flags=0)
            if entry is None or entry.flags & DAMAGED_FLAG:
                return
            self.damaged_count += 1
            if not self.read_only and not self._closed:
                self._pending[address] = entry._replace(flags=entry.flags | DAMAGED_FLAG)

    def sync(self, facts: Mapping[bytes, bytes | None] | None = None) -> None:
        with self._lock:
            self._check_writable()
            changes: dict[bytes, bytes | None] = {}
            changes.update(self._make_durable())
            pending = self._pending
            for address, entry in pending.items():
                changes[OBJECT + address] = encode_entry(entry)
            if self._next_event != self._saved_event:
                changes[NEXT_EVENT] = encode_number(self._next_event)
            if self.damaged_count != self._number_fact(DAMAGED, 0):
                changes[DAMAGED] = encode_number(self.damaged_count)
            if facts:
                changes.update(facts)
            if changes:
                self._write_index(changes)
                self._saved_event = self._next_event
                # Readers ask the table first and the index second, so entries leave the table last.
                self._pending = {}

    def _write_index(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._guarded(self._index.write, changes)

    def _guarded(
        self, write: Callable[[Mapping[bytes, bytes | None]], None], changes: Mapping[bytes, bytes | None]
    ) -> None:
        try:
            write(changes)
        except StorageError as error:
            self._failure = error.message
            raise

    @contextmanager
    def freeing(self) -> Iterator[None]:
        ident = threading.get_ident()
        with self._lock:
            self._freeing = (*self._freeing, ident)
            if not self.read_only and not self._closed:
                self._make_room()
        try:
            yield
        finally:
            with self._lock:
                left = list(self._freeing)
                left.remove(ident)
                self._freeing = tuple(left)
                if not left and not self.read_only and not self._closed:
                    self._hold_back()

    @contextmanager
    def ordinary(self) -> Iterator[None]:
        ident = threading.get_ident()
        with self._lock:
            before = self._freeing
            self._freeing = tuple(other for other in before if other != ident)
            try:
                yield
            finally:
                self._freeing = before

    def _make_room(self) -> None:  # noqa: B027  (most backends hold nothing back)
        """Gives back what is held for a full disk, where that is needed; the lock is held."""

    def _hold_back(self) -> None:  # noqa: B027
        """Holds it again, as far as there is room; the lock is held."""

    @abstractmethod
    def _make_durable(self) -> dict[bytes, bytes | None]:
        """Makes all kept records durable; returns what the index must learn with it."""

    def delete(self, addresses: Sequence[Address], *, durable: bool = True) -> int:
        with self._lock:
            self._check_writable()
            if any(address in self._pending for address in addresses):
                self.sync()
            write = self._index.write if durable else self._index.write_unsynced
            found = {address: entry for address in addresses if (entry := self.find(address)) is not None}
            if found:
                changes: dict[bytes, bytes | None] = {OBJECT + address: None for address in found}
                hurt = sum(1 for entry in found.values() if entry.flags & DAMAGED_FLAG)
                if hurt:
                    self.damaged_count = max(0, self.damaged_count - hurt)
                    changes[DAMAGED] = encode_number(self.damaged_count)
                self._guarded(write, changes)
                self._forget(found)
            return len(found)

    @abstractmethod
    def _forget(self, found: Mapping[Address, IndexEntry]) -> None:
        """The index no longer knows these records; called with the lock held, after that is durable."""

    def next_event(self) -> int:
        number = self._next_event
        self._next_event = number + 1
        return number

    # -- locks and watches

    def write_lock(self) -> AbstractContextManager[object]:
        return self._lock

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        with self._lock:
            watch = Watch(self._position())
            self._watches = (*self._watches, watch)
        try:
            yield watch
        finally:
            with self._lock:
                self._watches = tuple(other for other in self._watches if other is not watch)

    def watches(self) -> list[Watch]:
        return list(self._watches)

    @property
    def sweeping(self) -> bool:
        """Whether a collection is deleting."""
        return self._sweeping

    @sweeping.setter
    def sweeping(self, value: bool) -> None:
        self._sweeping = value
        self.sweeps += 1

    def hit(self, address: Address, entry: IndexEntry, sweeps: int | None = None, depth: int = 0) -> bool:
        if entry.base is not None:
            # Its base first: once that is kept, no sweep can leave the delta without it.
            base = self.find(entry.base)
            if base is None or depth == MAX_BASES or not self.hit(entry.base, base, sweeps, depth + 1):
                # A collection may have made the delta full, and taken the base, since the entry was looked up.
                newer = self.find(address)
                if newer is None or newer == entry or depth == MAX_BASES:
                    return False
                return self.hit(address, newer, sweeps, depth + 1)
        for watch in self._watches:
            watch.hit(address, entry)
        if self._sweeping or sweeps != self.sweeps:
            # A sweep may have decided before it could see the hit, or begun and ended since the record was found;
            # behind its lock every decision is final.
            with self._lock:
                found = self.find(address)
                if found is None or (self.doomed is not None and self.doomed(found)):
                    for watch in self._watches:
                        watch.miss(address)
                    return False
                for watch in self._watches:
                    watch.hit(address, found)
        return True

    @abstractmethod
    def _position(self) -> tuple[int, int]:
        """Segment and ordinal of the next record; both only grow."""

    @abstractmethod
    def compact(self, segments: Sequence[int]) -> None:
        """Moves what the index still knows out of ``segments`` and gives their space back."""

    @abstractmethod
    def used_bytes(self) -> int:
        """Bytes that records take, headers included and the dead among them too."""

    @abstractmethod
    def check_segments(self) -> Iterator[CorruptionError]:
        """Walks all files record by record; what is damaged."""

    @abstractmethod
    def segments(self) -> list[SegmentInfo]:
        """The segments as they are."""

    @abstractmethod
    def close(self) -> None:
        """Ends the use of the backend."""

    def damaged(self, address: Address) -> CorruptionError:
        """Marks the record of ``address`` damaged; the error to raise for it."""
        entry = self.find(address)
        self.mark_damaged(address)
        if entry is None or is_lost(entry):
            state, segment, offset = "is lost", None, None
        else:
            segment, offset = entry.segment, entry.offset
            state = f"(segment {segment}, offset {offset}) is damaged"
        return CorruptionError(
            f"the record of {address.hex()} {state}; run `casstore repair`, which names what is hurt and what heals "
            "it, or put the same content again.",
            address=address,
            segment=segment,
            offset=offset,
        )

    def _missing(self, address: Address) -> NotFoundError:
        if self._closed:
            raise ClosedError(self._closed)
        return NotFoundError(
            f"nothing has the address {address.hex()}; it was never put, or was collected.", address=address
        )


_open: weakref.WeakSet[IndexedBackend] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for backend in list(_open):
        backend._leave_to_parent()


os.register_at_fork(after_in_child=_after_fork_in_child)
