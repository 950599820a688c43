# SPDX-License-Identifier: MIT
"""What an opening for writing does after an unclean close, and how an index is made anew from segments.

After a crash LevelDB holds every batch that was synced, and segments hold at least what those batches name. What was
appended beyond is adopted as far as it is intact; the rest is cut off *before* the adopting batch, so that no later
crash can take back what that batch calls durable.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from typing import Final

import casstore.layout as layout
from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.event import event_facts, parse_event
from casstore.format.index_entry import (
    DAMAGED,
    DAMAGED_FLAG,
    NEXT_EVENT,
    NEXT_SEGMENT,
    OBJECT,
    SEGMENT,
    SUSPECT,
    IndexEntry,
    SegmentState,
    decode_entry,
    decode_number,
    decode_segment,
    encode_entry,
    encode_number,
    encode_segment,
    segment_key,
)
from casstore.format.kinds import CHUNK_LIST, EVENT
from casstore.format.record import HEADER_BYTES, RecordHeader, decode_record
from casstore.osfile import OsFiles
from casstore.storage.index import Index, LevelIndex
from casstore.storage.segment_files import SegmentFiles

_BATCH: Final = 20_000

Decompress = Callable[[int, bytes, int], bytes]


def open_index(path: str, files: OsFiles, decompress: Decompress, *, sync: bool = True) -> LevelIndex:
    """The index of a store, recovered, rebuilt where that is needed; the caller holds the writer's lock.

    Cost: what was written since the last sync point; a rebuild reads all segments.
    """
    folder = os.path.join(path, layout.INDEX)
    _finish_rebuild(path, files)
    if not os.path.isdir(folder):
        if not SegmentFiles(path).on_disk():
            # Its name need not be durable: where it is lost, it is made anew from the segments.
            return LevelIndex(folder, create=True, sync=sync)
        return rebuild_index(path, files, decompress, sync=sync)
    try:
        index = LevelIndex(folder, sync=sync)
    except CorruptionError:
        return rebuild_index(path, files, decompress, sync=sync)
    lost = False
    try:
        lost = _lacks_segments(path, index)
        if not lost and _adopt_tails(path, index, files, decompress):
            return index
    except CorruptionError:
        pass
    index.close(clean=False)
    return rebuild_index(path, files, decompress, sync=sync, suspect=lost)


def _lacks_segments(path: str, index: LevelIndex) -> bool:
    """Whether a segment is gone that was not condemned; the latest moves of refs may be gone with it."""
    on_disk = SegmentFiles(path).on_disk()
    states = {int.from_bytes(key[1:], "big"): decode_segment(value) for key, value in index.scan(SEGMENT)}
    return any(segment not in on_disk and not state.condemned for segment, state in states.items())


def _adopt_tails(path: str, index: LevelIndex, files: OsFiles, decompress: Decompress) -> bool:
    """Takes over what was appended since the last sync point; False where the index has to be rebuilt."""
    segments = SegmentFiles(path)
    on_disk = segments.on_disk()
    states = {int.from_bytes(key[1:], "big"): decode_segment(value) for key, value in index.scan(SEGMENT)}
    new = SegmentState(0, 0, False)
    tails = [
        (segment, states.get(segment, new))
        for segment, size in on_disk.items()
        if not states.get(segment, new).condemned and (segment not in states or size > states[segment].durable_bytes)
    ]
    if index.closed_cleanly() and not tails:
        return True
    if not index.batches_complete():
        return False
    changes: dict[bytes, bytes | None] = {}
    events: dict[int, bytes] = {}
    first_new_event = _number(index, NEXT_EVENT, 1)
    healed = 0
    stamp = int(time.time())
    newest = max(on_disk, default=0)
    for segment, state in tails:
        end, ordinal = state.durable_bytes, state.records
        for offset, header, data in segments.walk(segment, end):
            old = index.get(OBJECT + header.address)
            healed += old is not None and bool(decode_entry(old).flags & DAMAGED_FLAG)
            changes[OBJECT + header.address] = encode_entry(_entry(segment, offset, header, ordinal, stamp))
            if header.kind == EVENT:
                payload = _payload(data, decompress)
                events[_event_number(payload)] = payload
            end, ordinal = offset + len(data), ordinal + 1
        if end < on_disk[segment] and segment != newest:
            # A segment is synced before the next one is begun: this is damage, and later lists may lack their pieces.
            return False
        if end == 0:
            files.unlink(segments.path(segment))
            files.sync_folder(segments.folder)
            continue
        # Also where nothing is cut: what is adopted must be on the disk before the batch that says so.
        files.truncate(segments.path(segment), end)
        changes[segment_key(segment)] = encode_segment(SegmentState(end, ordinal, False))
    if tails:
        files.sync_folder(segments.folder)
        changes[NEXT_SEGMENT] = encode_number(max(_number(index, NEXT_SEGMENT, 1), max(on_disk) + 1))
    for number, payload in sorted(events.items()):
        # A move that compaction copied is known already, and must not be made again.
        if number >= first_new_event:
            changes.update(event_facts(payload))
            changes[NEXT_EVENT] = encode_number(number + 1)
    if healed:
        changes[DAMAGED] = encode_number(max(0, _number(index, DAMAGED, 0) - healed))
    index.write(changes)
    return True


def rebuild_index(
    path: str, files: OsFiles, decompress: Decompress, *, sync: bool = True, suspect: bool = False
) -> LevelIndex:
    """A new index made of what the segments hold; replaces the old one when it is complete.

    Damaged stretches are stepped over and remembered, as is what the caller knows (``suspect``): refs that were moved
    there last may be lost.
    """
    fresh = os.path.join(path, layout.NEW_INDEX)
    shutil.rmtree(fresh, ignore_errors=True)
    index = LevelIndex(fresh, create=True, sync=False)
    segments = SegmentFiles(path)
    on_disk = segments.on_disk()
    events: dict[int, bytes] = {}
    stamp = int(time.time())
    changes: dict[bytes, bytes | None] = {}
    for segment, size in on_disk.items():
        ordinal = end = 0
        while True:
            for offset, header, data in segments.walk(segment, end):
                changes[OBJECT + header.address] = encode_entry(_entry(segment, offset, header, ordinal, stamp))
                if header.kind == EVENT:
                    try:
                        payload = _payload(data, decompress)
                        events[_event_number(payload)] = payload
                    except CorruptionError:
                        suspect = True
                end, ordinal = offset + len(data), ordinal + 1
                if len(changes) >= _BATCH:
                    index.write(changes)
                    changes = {}
            if end >= size:
                break
            following = segments.resume(segment, end)
            if following is None:
                break
            suspect = True
            end = following
        if end < size and segment == max(on_disk):
            # The end of the newest segment may never have been durable; anywhere else it is damage.
            size = end
        suspect = suspect or end < size
        files.truncate(segments.path(segment), size)
        changes[segment_key(segment)] = encode_segment(SegmentState(size, ordinal, False))
    for number, payload in sorted(events.items()):
        try:
            changes.update(event_facts(payload))
        except CorruptionError:
            suspect = True
        changes[NEXT_EVENT] = encode_number(number + 1)
    changes[NEXT_SEGMENT] = encode_number(max(on_disk, default=0) + 1)
    if suspect:
        changes[SUSPECT] = b"1"
    index.write(changes)
    _drop_incomplete_lists(index, segments, decompress)
    index.close(clean=True)
    _swap_in(path, files)
    return LevelIndex(os.path.join(path, layout.INDEX), sync=sync)


def _drop_incomplete_lists(index: LevelIndex, segments: SegmentFiles, decompress: Decompress) -> None:
    """Forgets chunk lists whose pieces are gone: a later put of that content must not take them for the content.

    A collected list may still lie in a segment while the segment of its chunks was removed.
    """
    while True:
        gone: dict[bytes, bytes | None] = {}
        for key, value in index.scan(OBJECT):
            entry = decode_entry(value)
            if entry.kind != CHUNK_LIST:
                continue
            address = Address(key[1:])
            record = decode_record(segments.read(entry.segment, entry.offset, HEADER_BYTES + entry.stored_bytes))
            try:
                pieces = decode_chunk_list(address, decompress(record.encoding, record.stored, record.raw_bytes)).pieces
            except CorruptionError:
                gone[key] = None
                continue
            if any(index.get(OBJECT + piece) is None for piece, _ in pieces):
                gone[key] = None
        if not gone:
            return
        index.write(gone)


def _finish_rebuild(path: str, files: OsFiles) -> None:
    """Takes up what a crash between the two renames of a rebuild left."""
    folder, old = os.path.join(path, layout.INDEX), os.path.join(path, layout.OLD_INDEX)
    if os.path.isdir(old):
        if not os.path.isdir(folder):
            files.rename(old, folder)
        else:
            shutil.rmtree(old)


def _swap_in(path: str, files: OsFiles) -> None:
    folder = os.path.join(path, layout.INDEX)
    old = os.path.join(path, layout.OLD_INDEX)
    files.sync_folder(os.path.join(path, layout.NEW_INDEX))
    if os.path.isdir(folder):
        files.rename(folder, old)
    files.rename(os.path.join(path, layout.NEW_INDEX), folder)
    files.sync_folder(path)
    shutil.rmtree(old, ignore_errors=True)


def _entry(segment: int, offset: int, header: RecordHeader, ordinal: int, stamp: int) -> IndexEntry:
    return IndexEntry(
        segment, offset, header.stored_bytes, header.raw_bytes, ordinal, stamp, header.kind, header.encoding
    )


def _payload(data: bytes, decompress: Decompress) -> bytes:
    record = decode_record(data)
    return decompress(record.encoding, record.stored, record.raw_bytes)


def _event_number(payload: bytes) -> int:
    number = parse_event(payload)["number"]
    return number if isinstance(number, int) else 0


def _number(index: Index, key: bytes, default: int) -> int:
    value = index.get(key)
    return default if value is None else decode_number(value)
