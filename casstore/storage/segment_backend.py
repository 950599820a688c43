# SPDX-License-Identifier: MIT
"""The backend for work: records appended to segments, their locations in LevelDB.

Invariants. A segment is written by one opening only and never again after it. Segments are synced in order: the next
one is begun only when the one before is durable, so after a crash what is intact is a prefix of what was appended.
``docs/durability.md`` numbers the steps.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from casstore.address import Address
from casstore.errors import CorruptionError, StorageError
from casstore.format.index_entry import (
    BASE_FLAG,
    LOST_SEGMENT,
    MAX_LOST,
    NEXT_SEGMENT,
    SEGMENT,
    IndexEntry,
    SegmentState,
    decode_segment,
    encode_number,
    encode_segment,
    entry_of,
    segment_key,
    segment_of,
)
from casstore.format.kinds import EVENT
from casstore.format.record import HEADER_BYTES, REST_START, Record, decode_record, encode_record, header_rest
from casstore.layout import SegmentId
from casstore.osfile import OsFiles
from casstore.storage.backend import SegmentInfo
from casstore.storage.give_way import give_way
from casstore.storage.index import Index
from casstore.storage.indexed import IndexedBackend
from casstore.storage.readers import live_pins
from casstore.storage.reserve import Reserve, disk_full, is_full
from casstore.storage.segment_files import SegmentFiles

_COPY_BYTES: Final = 256 * 1024
"""What compaction moves while other writers wait: a millisecond or two."""
_WALK_RECORDS: Final = 32
_TRIES: Final = 4


class SegmentBackend(IndexedBackend):
    """Records in segments. The caller has recovered the store and holds its lock, or opens it read-only."""

    def __init__(
        self,
        path: str,
        index: Index,
        files: OsFiles,
        *,
        segment_bytes: int,
        read_only: bool = False,
        sync: bool = True,
        reserve: Reserve | None = None,
    ) -> None:
        self.path = path
        self._os = files
        self._files = SegmentFiles(path)
        self._segment_bytes = segment_bytes
        self._sync_files = sync
        self._states: dict[int, SegmentState] = {}
        self._blocked_by: dict[int, set[str]] = {}
        for key, value in index.scan(SEGMENT):
            self._states[segment_of(key)] = decode_segment(value)
        on_disk = self._files.on_disk()
        # What lies beyond the end of a file is absent, whatever the index says.
        self._lengths = {
            segment: min(state.durable_bytes, on_disk.get(SegmentId(segment), 0))
            for segment, state in self._states.items()
        }
        self._used = sum(self._lengths.values())
        self._reserve = reserve
        self._covered = 0
        self._moves_waiting = False
        self._writing = 0
        self._fd = -1
        self._records = 0
        self._dirty: set[int] = set()
        self._new_name = False
        super().__init__(index, read_only=read_only)
        # A condemned one may be gone: nothing that this index finds lies in it.
        self._cut_off = any(
            self._lengths[s] < state.durable_bytes and not state.condemned for s, state in self._states.items()
        )
        self._next_segment = max(self._number_fact(NEXT_SEGMENT, 1), max(on_disk, default=0) + 1)
        if not read_only:
            self._blocked_by = {s: live_pins(path) for s, state in self._states.items() if state.condemned}
            self._release_condemned()
            self._hold_back()

    # -- reading

    def _reachable(self, entry: IndexEntry) -> bool:
        end: int = entry.offset + HEADER_BYTES + entry.stored_bytes
        if entry.segment == LOST_SEGMENT:
            return entry.ordinal < MAX_LOST
        # As many records lie before it as its ordinal says. The collector takes memory for each of them.
        return end <= self._lengths.get(entry.segment, 0) and entry.ordinal * HEADER_BYTES <= entry.offset

    def get(self, address: Address) -> Record:
        for _ in range(_TRIES):
            entry = self.find(address)
            if entry is None:
                raise self._missing(address)
            length = HEADER_BYTES + entry.stored_bytes
            try:
                data = self._files.read(entry.segment, entry.offset, length)
            except FileNotFoundError:
                # Compaction moved the record between the look-up and the read: look again.
                continue
            except OSError as error:
                raise StorageError(
                    f"a segment cannot be read ({error}).", address=address, segment=entry.segment
                ) from None
            kind, encoding, raw_bytes = entry.kind, entry.encoding, entry.raw_bytes
            expected = header_rest(kind, encoding, entry.stored_bytes, raw_bytes, address)
            if len(data) == length and data[REST_START:HEADER_BYTES] == expected:
                return Record(kind, encoding, address, raw_bytes, data[HEADER_BYTES:])
            break
        raise self.damaged(address)

    # -- writing

    def _prepare(self, record: Record) -> bytes:
        return encode_record(record)

    def _keep(self, prepared: Sequence[tuple[Record, bytes]]) -> None:
        stamp = int(time.time())
        place = 0
        while place < len(prepared):
            place = self._append_some(prepared, place, stamp, {})

    def _append_some(
        self, prepared: Sequence[tuple[Record, bytes]], place: int, stamp: int, old: Mapping[Address, IndexEntry]
    ) -> int:
        """Appends records from ``place`` on, as many as the segment takes; returns where to go on."""
        if self._fd < 0 or self._lengths[self._writing] >= self._segment_bytes:
            self._begin_segment()
        segment, ordinal = self._writing, self._records
        start = offset = self._lengths[segment]
        parts: list[bytes] = []
        entries: list[tuple[Address, IndexEntry]] = []
        room = self._segment_bytes
        while place < len(prepared):
            record, data = prepared[place]
            if parts and offset + len(data) > room and record.kind != EVENT:
                # Events that are put together stay together: one without the other would be half a change.
                break
            before = old.get(record.address)
            if before is None:
                entry = entry_of(record, segment, offset, ordinal, stamp)
            else:
                entry = entry_of(record, segment, offset, ordinal, before.stamp, before.flags & ~BASE_FLAG)
            entries.append((record.address, entry))
            parts.append(data)
            offset += len(data)
            ordinal += 1
            place += 1
        if offset > self._covered:
            self._cover(offset)
        self._append(parts, start)
        self._used += offset - start
        self._moves_waiting = self._moves_waiting or prepared[place - 1][0].kind == EVENT
        self._lengths[segment] = offset
        self._records = ordinal
        self._dirty.add(segment)
        self._pending.update(entries)
        return place

    def _append(self, parts: Sequence[bytes], start: int) -> None:
        try:
            self._os.append(self._fd, parts)
        except OSError as error:
            segment = self._writing
            if is_full(error) and self._cut(start):
                if threading.get_ident() in self._freeing and self._give_back():
                    self._append(parts, start)
                    return
                if not self._moves_waiting:
                    raise StorageError(disk_full(error), segment=segment, offset=start) from error
                # A move whose event is written is made, or its maker must not go on as if it were not.
            self._fail(f"a segment could not be written ({error})", start)
            raise StorageError(
                f"a segment could not be written ({error}); free space, then open the store again.",
                segment=segment,
                offset=start,
            ) from error

    def _cut(self, end: int) -> bool:
        """Takes back what an append left behind ``end``."""
        try:
            self._os.truncate(self._files.path(self._writing), end)
        except OSError:
            return False
        return True

    def _begin_segment(self) -> None:
        self._end_segment()
        segment = self._next_segment
        path = self._files.path(segment)
        try:
            self._fd = self._os.create(path)
        except OSError as error:
            if is_full(error) and threading.get_ident() in self._freeing and self._give_back():
                self._begin_segment()
                return
            if self._moves_waiting:
                self._failure = f"a segment could not be made ({error})"
            raise StorageError(
                f"a segment could not be made ({error}); free space and try again.", path=path
            ) from error
        self._next_segment = segment + 1
        self._writing = segment
        self._records = 0
        self._lengths[segment] = 0
        self._new_name = True

    def _end_segment(self) -> None:
        if self._fd >= 0:
            if self._writing in self._dirty:
                self._sync_segment()
            self._states[self._writing] = SegmentState(self._lengths[self._writing], self._records, False)
            os.close(self._fd)
            self._fd = -1

    def _sync_segment(self) -> None:
        if not self._sync_files:
            return
        try:
            self._os.sync(self._fd)
            if self._new_name:
                self._os.sync_folder(self._files.folder)
                self._new_name = False
        except OSError as error:
            # A failed fsync must never be retried: the kernel may have dropped the pages and call the next one good.
            state = self._states.get(self._writing)
            self._fail(f"fsync failed ({error})", state.durable_bytes if state else 0)
            raise StorageError(
                f"fsync of a segment failed ({error}); what was not yet durable is lost. "
                "Check the disk and open the store again.",
                segment=self._writing,
            ) from error

    def _fail(self, reason: str, end: int) -> None:
        """No more writes. The segment ends at ``end``, so that no later opening takes what may be lost."""
        self._failure = reason
        try:
            self._os.truncate(self._files.path(self._writing), end)
        except OSError as error:
            self._failure = f"{reason}, and its segment could not be cut ({error})"
        self._lengths[self._writing] = end
        self._used = sum(self._lengths.values())
        self._pending = {address: entry for address, entry in self._pending.items() if self._reachable(entry)}

    def _make_durable(self) -> dict[bytes, bytes | None]:
        if self._fd >= 0 and self._writing in self._dirty:
            self._sync_segment()
            self._states[self._writing] = SegmentState(self._lengths[self._writing], self._records, False)
        changes: dict[bytes, bytes | None] = {}
        for segment in self._dirty:
            changes[segment_key(segment)] = encode_segment(self._states[segment])
        if self._dirty:
            changes[NEXT_SEGMENT] = encode_number(self._next_segment)
        self._dirty = set()
        return changes

    def sync(self, facts: Mapping[bytes, bytes | None] | None = None) -> None:
        with self._lock:
            super().sync(facts)
            if facts:
                self._moves_waiting = False

    def _forget(self, found: Mapping[Address, IndexEntry]) -> None:
        pass

    # -- segments as a whole

    def segments(self) -> list[SegmentInfo]:
        with self._lock:
            infos = []
            for segment, length in sorted(self._lengths.items()):
                state = self._states.get(segment)
                writing = segment == self._writing and self._fd >= 0
                records = self._records if writing or state is None else state.records
                infos.append(SegmentInfo(segment, length, records, bool(state and state.condemned)))
            return infos

    def _position(self) -> tuple[int, int]:
        return (self._writing, self._records) if self._fd >= 0 else (self._next_segment, 0)

    def used_bytes(self) -> int:
        return self._used

    def check_segments(self) -> Iterator[CorruptionError]:
        for info in self.segments():
            state = self._states.get(info.segment)
            if state is not None and info.total_bytes < state.durable_bytes and not state.condemned:
                yield CorruptionError(
                    f"segment {info.segment} ends at offset {info.total_bytes} instead of {state.durable_bytes}; "
                    "run `casstore repair`, or put what is missing again.",
                    segment=info.segment,
                    offset=info.total_bytes,
                )
            end, damaged_from = 0, -1
            while end < info.total_bytes:
                try:
                    for offset, _, data in self._files.walk(info.segment, end):
                        end = offset + len(data)
                    if end >= info.total_bytes:
                        break
                    damaged_from = end
                    following = self._files.resume(info.segment, end)
                except FileNotFoundError:
                    # Compaction removed it since the list was made.
                    break
                end = info.total_bytes if following is None else min(following, info.total_bytes)
                if self._is_used(info.segment, damaged_from, end):
                    yield CorruptionError(
                        f"segment {info.segment} is damaged from offset {damaged_from} to {end}; "
                        "run `casstore repair`, or put the same content again to heal what lay there.",
                        segment=info.segment,
                        offset=damaged_from,
                    )

    def _is_used(self, segment: int, start: int, end: int) -> bool:
        """Whether a record lies in a stretch of a segment; once it was healed or collected, its damage hurts nobody."""
        return any(
            entry.segment == segment and entry.offset < end and entry.offset + entry.record_bytes > start
            for _, entry in self.scan()
        )

    def compact(self, segments: Sequence[int], *, past_damage: bool = False) -> None:
        for segment in segments:
            with self._lock:
                self._check_writable()
                if segment == self._writing and self._fd >= 0:
                    self._end_segment()
                    self.sync()
                state = self._states.get(segment)
                if state is None or state.condemned:
                    continue
            if not self._move_live(segment, state.durable_bytes, past_damage):
                continue
            with self._lock:
                condemned = SegmentState(state.durable_bytes, state.records, True)
                self._states[segment] = condemned
                self.sync({segment_key(segment): encode_segment(condemned)})
                self._blocked_by[segment] = live_pins(self.path)
                self._release_condemned()
        with self._lock:
            self._release_condemned()
        self._index.tidy()

    def _move_live(self, segment: int, end: int, past_damage: bool) -> bool:
        """Copies what the index still finds in ``segment``; False where some of it is damaged."""
        waiting: list[tuple[Record, bytes]] = []
        size = 0
        reached = 0
        walk = self._files.walk_past_damage(segment) if past_damage else self._files.walk(segment)
        for place, (offset, header, data) in enumerate(walk):
            reached = offset + len(data)
            if place % _WALK_RECORDS == 0:
                give_way()
            entry = self.find(header.address)
            if entry is not None and entry.segment == segment and entry.offset == offset:
                waiting.append((decode_record(data), data))
                size += len(data)
                if size >= _COPY_BYTES:
                    self._move(segment, waiting)
                    waiting, size = [], 0
                    give_way()
        self._move(segment, waiting)
        # The walk ends at damaged bytes: what lies behind them keeps its place until it is repaired.
        return reached >= end or past_damage

    def _move(self, segment: int, records: Sequence[tuple[Record, bytes]]) -> None:
        with self._lock:
            old: dict[Address, IndexEntry] = {}
            for record, _ in records:
                entry = self.find(record.address)
                if entry is not None and entry.segment == segment:
                    old[record.address] = entry
            still = [pair for pair in records if pair[0].address in old]
            place = 0
            while place < len(still):
                place = self._append_some(still, place, 0, old)

    def _release_condemned(self) -> None:
        """Removes condemned segments that no reader may need any more."""
        for segment, pins in list(self._blocked_by.items()):
            if pins and pins & live_pins(self.path):
                continue
            self._files.forget(segment)
            path = self._files.path(segment)
            try:
                if os.path.exists(path):
                    self._os.unlink(path)
                # Also where it is gone: who removed it may have been killed before this, and once nothing is known of
                # the segment, a file that a power loss brings back would be taken for a new one.
                self._os.sync_folder(self._files.folder)
            except OSError as error:
                raise StorageError(f"a segment could not be removed ({error}).", segment=segment, path=path) from error
            del self._blocked_by[segment]
            del self._states[segment]
            self._used -= self._lengths.pop(segment, 0)
            self._write_index({segment_key(segment): None})

    # -- the reserve

    def _guarded(
        self, write: Callable[[Mapping[bytes, bytes | None]], None], changes: Mapping[bytes, bytes | None]
    ) -> None:
        super()._guarded(write, changes)
        if self._reserve is not None and self._reserve.index_grew(len(changes)):
            self._covered = -1

    def _cover(self, end: int) -> None:
        """Lets the reserve grow with the segment that is written, or refuses to write."""
        reserve = self._reserve
        if reserve is None:
            self._covered = sys.maxsize
        elif threading.get_ident() not in self._freeing:
            self._covered = reserve.cover(max(end, max(self._lengths.values(), default=0)))
            if self._covered < end:
                raise StorageError(disk_full(reserve.refusal), path=self.path) from reserve.refusal

    def _give_back(self) -> bool:
        self._covered = -1
        return self._reserve is not None and self._reserve.release()

    def _make_room(self) -> None:
        if self._reserve is not None and self._reserve.held_bytes and not self._reserve.has_room():
            self._give_back()

    def _hold_back(self) -> None:
        if self._reserve is not None:
            self._covered = self._reserve.settle(max(self._lengths.values(), default=0))

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            failed = bool(self._failure)
            try:
                if not self.read_only and not failed:
                    self._make_room()
                    self._end_segment()
                    self.sync()
                    self._release_condemned()
            except StorageError:
                failed = True
                raise
            finally:
                if self._fd >= 0:
                    os.close(self._fd)
                    self._fd = -1
                self._closed = "the store is closed; open it again."
                self._files.close()
                try:
                    self._index.close(clean=not self.read_only and not failed)
                finally:
                    if self._reserve is not None and not self.read_only:
                        self._reserve.keep(max(self._lengths.values(), default=0))
