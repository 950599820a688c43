# SPDX-License-Identifier: MIT
"""What an opening for writing does after an unclean close, and how an index is made anew from segments.

After a crash LevelDB holds every batch that was synced, and segments hold at least what those batches name. What was
appended beyond is adopted as far as it is intact; the rest is cut off *before* the adopting batch, so that no later
crash can take back what that batch calls durable.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass

import casstore.layout as layout
from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.event import event_facts
from casstore.format.index_entry import (
    DAMAGED,
    DAMAGED_FLAG,
    EVENT_KEY,
    HISTORY,
    LOST_SEGMENT,
    NEXT_EVENT,
    NEXT_SEGMENT,
    OBJECT,
    SEGMENT,
    SUSPECT,
    SWEEPING,
    SegmentState,
    decode_entry,
    decode_number,
    decode_segment,
    encode_entry,
    encode_number,
    encode_segment,
    segment_key,
    segment_of,
)
from casstore.format.kinds import CHUNK_LIST, EVENT
from casstore.format.record import HEADER_BYTES, decode_record
from casstore.osfile import OsFiles
from casstore.storage.filling import (
    Decompress,
    Filled,
    Stretch,
    event_number,
    event_payload,
    fill_index,
    record_entry,
)
from casstore.storage.index import Index, LevelIndex
from casstore.storage.quarantine import Quarantine, holds_records
from casstore.storage.segment_files import SegmentFiles


@dataclass(frozen=True, slots=True)
class Recovered:
    """What an opening for writing found and did, where that was more than to take over what a crash left.

    Attributes:
        damaged: Stretches of segments, or files of objects, that hold no intact record and were stepped over.
        refs_suspect: Whether moves of refs may be lost, so that a collection refuses until refs are accepted.
    """

    damaged: int
    refs_suspect: bool

    def __str__(self) -> str:
        what = "the index was made anew"
        if self.damaged:
            what += f", past {self.damaged:,} damaged {'place' if self.damaged == 1 else 'places'}"
        if self.refs_suspect:
            what += ", and moves of refs may be lost"
        return f"{what}; run `casstore verify`."


Tell = Callable[[Recovered], object]


def open_index(
    path: str, files: OsFiles, decompress: Decompress, *, sync: bool = True, tell: Tell | None = None
) -> LevelIndex:
    """The index of a store, recovered, rebuilt where that is needed; the caller holds the writer's lock.

    ``tell`` is told of a rebuild.

    Cost: what was written since the last sync point; a rebuild reads all segments.
    """
    folder = os.path.join(path, layout.INDEX)
    finish_rebuild(path, files)
    if not os.path.isdir(folder):
        if not SegmentFiles(path).on_disk():
            # Its name need not be durable: where it is lost, it is made anew from the segments.
            return _named(LevelIndex(folder, create=True, sync=sync), folder, files)
        return rebuild_index(path, files, decompress, sync=sync, tell=tell)
    try:
        index = LevelIndex(folder, sync=sync)
    except CorruptionError:
        return rebuild_index(path, files, decompress, sync=sync, tell=tell)
    _named(index, folder, files)
    lost = False
    try:
        lost = _lacks_segments(path, index)
        if not lost and _adopt_tails(path, index, files, decompress):
            return index
    except CorruptionError:
        pass
    except BaseException:
        # Or LevelDB keeps it locked for whoever tries again, with space that was freed for it.
        index.close(clean=False)
        raise
    try:
        # Every move of a ref is in the segments too; where those are damaged, the old index may still tell.
        events = read_events(index)
    finally:
        # Before the new one takes its place: LevelDB writes where it is, by name.
        index.close(clean=False)
    return rebuild_index(path, files, decompress, sync=sync, suspect=lost, events=events, tell=tell)


def _lacks_segments(path: str, index: LevelIndex) -> bool:
    """Whether a segment is gone that was not condemned; the latest moves of refs may be gone with it."""
    on_disk = SegmentFiles(path).on_disk()
    states = {segment_of(key): decode_segment(value) for key, value in index.scan(SEGMENT)}
    return any(segment not in on_disk and not state.condemned for segment, state in states.items())


def _adopt_tails(path: str, index: LevelIndex, files: OsFiles, decompress: Decompress) -> bool:
    """Takes over what was appended since the last sync point; False where the index has to be rebuilt."""
    segments = SegmentFiles(path)
    on_disk = segments.on_disk()
    states = {segment_of(key): decode_segment(value) for key, value in index.scan(SEGMENT)}
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
            changes[OBJECT + header.address] = encode_entry(record_entry(segment, offset, header, data, ordinal, stamp))
            if header.kind == EVENT:
                payload = event_payload(data, decompress)
                events[event_number(payload)] = payload
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
    path: str,
    files: OsFiles,
    decompress: Decompress,
    *,
    sync: bool = True,
    suspect: bool = False,
    events: Mapping[int, bytes] | None = None,
    tell: Tell | None = None,
) -> LevelIndex:
    """A new index made of what the segments hold; replaces the old one when it is complete.

    Damaged stretches are stepped over and remembered, as is what the caller knows (``suspect``): refs that were moved
    there last may be lost, unless the old index could still tell of them (``events``). A move that was never durable
    and names what a power loss took is cut off, its bytes being kept in the quarantine.
    """
    fresh = os.path.join(path, layout.NEW_INDEX)
    shutil.rmtree(fresh, ignore_errors=True)
    index = LevelIndex(fresh, create=True, sync=False)
    segments = SegmentFiles(path)
    filled = fill_index(index, segments, decompress, events=events, lost=suspect)
    torn = torn_end(filled)
    if filled.void is not None:
        # Should it have been durable after all (docs/reliability.md, "Not promised"), it is not gone.
        segment, start, end = filled.void
        Quarantine(path, files).keep(layout.stretch_name(segment, start, end), segments.path(segment), start, end)
    cut = filled.void or torn
    changes: dict[bytes, bytes | None] = {}
    for segment, size in filled.sizes.items():
        end = cut.start if cut is not None and cut.segment == segment else size
        files.truncate(segments.path(segment), end)
        if end < size:
            state = index.get(segment_key(segment))
            if state is not None:
                changes[segment_key(segment)] = encode_segment(decode_segment(state)._replace(durable_bytes=end))
    damaged = len(filled.stretches) - (torn is not None)
    recovered = Recovered(damaged, bool(suspect or damaged or filled.lost_events or holds_records(path)))
    if recovered.refs_suspect:
        changes[SUSPECT] = b"1"
    # What was collected may be back in part.
    changes[SWEEPING] = b"1"
    index.write(changes)
    drop_incomplete(index, segments, decompress)
    index.close(clean=True)
    swap_in(path, files)
    if tell is not None:
        tell(recovered)
    folder = os.path.join(path, layout.INDEX)
    return _named(LevelIndex(folder, sync=sync), folder, files)


def _named(index: LevelIndex, folder: str, files: OsFiles) -> LevelIndex:
    """The index, with the names of its files durable: LevelDB renames CURRENT and syncs no folder after it.

    Otherwise a power loss could leave a CURRENT that names a MANIFEST which is gone, or an older one that knows less.
    """
    try:
        files.sync_folder(folder)
    except BaseException:
        index.close(clean=False)
        raise
    return index


def torn_end(filled: Filled) -> Stretch | None:
    """The end of the newest segment where it is not intact: it may never have been durable. Elsewhere it is damage."""
    if filled.stretches and filled.sizes:
        last, newest = filled.stretches[-1], max(filled.sizes)
        if last.segment == newest and last.end == filled.sizes[newest]:
            return last
    return None


def read_events(index: Index) -> dict[int, bytes]:
    """Payloads of the events that an index knows, by number, as far as it can be read."""
    events: dict[int, bytes] = {}
    for prefix in (HISTORY, EVENT_KEY):
        with contextlib.suppress(CorruptionError):
            for _, payload in index.scan(prefix):
                with contextlib.suppress(CorruptionError):
                    events[event_number(payload)] = payload
    return events


def drop_incomplete(index: Index, segments: SegmentFiles, decompress: Decompress, lost: Container[bytes] = ()) -> None:
    """Forgets deltas whose base is gone, and chunk lists whose pieces are: no later put may take them for the content.

    A collected delta or list may still lie in a segment while the segment of its base or chunks was removed. What the
    index knows to be lost (``lost``) is not gone: a put of it heals what is made of it.
    """
    while True:
        gone: dict[bytes, bytes | None] = {}
        for key, value in index.scan(OBJECT):
            entry = decode_entry(value)
            if entry.base is not None and entry.base not in lost and index.get(OBJECT + entry.base) is None:
                gone[key] = None
            if entry.kind != CHUNK_LIST or entry.segment == LOST_SEGMENT:
                continue
            address = Address(key[1:])
            try:
                record = decode_record(segments.read(entry.segment, entry.offset, HEADER_BYTES + entry.stored_bytes))
                pieces = decode_chunk_list(address, decompress(record.encoding, record.stored, record.raw_bytes)).pieces
            except CorruptionError:
                gone[key] = None
                continue
            if any(piece not in lost and index.get(OBJECT + piece) is None for piece, _ in pieces):
                gone[key] = None
        if not gone:
            return
        index.write(gone)


def finish_rebuild(path: str, files: OsFiles) -> None:
    """Takes up what a crash between the two renames of a rebuild left."""
    folder, old = os.path.join(path, layout.INDEX), os.path.join(path, layout.OLD_INDEX)
    if os.path.isdir(old):
        if not os.path.isdir(folder):
            files.rename(old, folder)
        else:
            shutil.rmtree(old)


def swap_in(path: str, files: OsFiles, set_aside: Callable[[str], object] | None = None) -> None:
    """The index that was made in ``index.new`` takes its place; ``set_aside`` is given the folder of the old one."""
    folder = os.path.join(path, layout.INDEX)
    old = os.path.join(path, layout.OLD_INDEX)
    files.sync_folder(os.path.join(path, layout.NEW_INDEX))
    if os.path.isdir(folder):
        files.rename(folder, old)
    files.rename(os.path.join(path, layout.NEW_INDEX), folder)
    files.sync_folder(path)
    if set_aside is not None and os.path.isdir(old):
        set_aside(old)
    shutil.rmtree(old, ignore_errors=True)


def _number(index: Index, key: bytes, default: int) -> int:
    value = index.get(key)
    return default if value is None else decode_number(value)
