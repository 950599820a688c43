# SPDX-License-Identifier: MIT
"""The index of a store under repair: what the old one still knows, and a fresh one of all that is intact.

The fresh index is made beside the old one. Before it takes its place it is true: what is damaged is not in it, what
refs need and is nowhere is in it as lost, and nothing else stands in it without what it is made of.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import casstore.layout as layout
from casstore.address import Address
from casstore.compression import decompress
from casstore.errors import CorruptionError, FormatVersionError, NotFoundError
from casstore.format.index_entry import (
    DAMAGED,
    DAMAGED_FLAG,
    EVENT_KEY,
    HISTORY,
    NEXT_EVENT,
    NEXT_SEGMENT,
    OBJECT,
    REF,
    SEGMENT,
    SUSPECT,
    SegmentState,
    decode_entry,
    decode_number,
    decode_segment,
    encode_entry,
    encode_number,
    encode_segment,
    lost_entry,
    segment_key,
    segment_of,
)
from casstore.osfile import OsFiles
from casstore.storage import Storage
from casstore.storage.filling import Filled, Progress, Stretch, fill_index
from casstore.storage.index import LevelIndex
from casstore.storage.quarantine import Quarantine, holds_records
from casstore.storage.recovery import drop_incomplete, finish_rebuild, read_events, swap_in, torn_end
from casstore.storage.segment_files import SegmentFiles

SOUND: Final = "sound"
DAMAGED_INDEX: Final = "damaged"
ABSENT: Final = "absent"
INEXACT: Final = "inexact"
MADE_ANEW: Final = "made anew"

_MAX_SEGMENTS: Final = 2**31
"""A store that has used up so many numbers of segments gets them anew."""


@dataclass(slots=True)
class OldIndex:
    """What the index that was there says, as far as it can be read.

    Attributes:
        state: ``"sound"`` where all of it can be read and no batch is missing, ``"damaged"`` or ``"absent"``.
        index: It, open; None where it cannot be opened.
        states: What it says of each segment.
        events: Payloads of events, by number.
        clean: Whether it was closed in order, so that nothing durable is unknown to it.
        lost: Addresses that it calls damaged or lost.
        suspect: Whether it says that refs may be lost.
    """

    state: str = ABSENT
    index: LevelIndex | None = None
    states: dict[int, SegmentState] = field(default_factory=dict)
    events: dict[int, bytes] = field(default_factory=dict)
    clean: bool = False
    lost: set[Address] = field(default_factory=set)
    suspect: bool = False

    @property
    def complete(self) -> bool:
        """Whether it knows every move of a ref that was ever durable."""
        return self.state == SOUND

    @property
    def condemned(self) -> dict[int, SegmentState]:
        """The segments that are on their way out, of which nothing is needed."""
        return {segment: state for segment, state in self.states.items() if state.condemned} if self.complete else {}

    def close(self) -> None:
        """Gives it back."""
        if self.index is not None:
            self.index.close(clean=False)
            self.index = None


def read_old_index(path: str, files: OsFiles, work: str | None) -> OldIndex:
    """What the store's index says.

    Args:
        path: The store's folder.
        files: The way to the file system.
        work: A temporary folder to read a copy in; None reads it where it is, and takes up an interrupted rebuild.
    """
    folder = os.path.join(path, layout.INDEX)
    if work is None:
        finish_rebuild(path, files)
    elif not os.path.isdir(folder) and os.path.isdir(os.path.join(path, layout.OLD_INDEX)):
        folder = os.path.join(path, layout.OLD_INDEX)
    if not os.path.isdir(folder):
        return OldIndex()
    if work is not None:
        copy = os.path.join(work, layout.INDEX)
        shutil.copytree(folder, copy)
        folder = copy
    old = OldIndex(DAMAGED_INDEX)
    try:
        old.index = LevelIndex(folder, sync=False)
    except CorruptionError:
        return old
    index = old.index
    old.events = read_events(index)
    try:
        for key, value in index.scan(SEGMENT):
            old.states[segment_of(key)] = decode_segment(value)
        old.suspect = index.get(SUSPECT) is not None
        for key, value in index.scan(OBJECT):
            if decode_entry(value).flags & DAMAGED_FLAG:
                old.lost.add(Address(key[1:]))
        for _ in index.scan(b""):
            pass
        old.clean = index.closed_cleanly()
        if index.batches_complete():
            old.state = SOUND
    except CorruptionError:
        pass
    return old


@dataclass(slots=True)
class Fresh:
    """An index made anew, not yet in place.

    Attributes:
        index: It, open.
        folder: Where it is.
        filled: What was found in the segments.
        damaged: Stretches without an intact record, and records that hold something else than their address says.
        missing: Stretches that the old index calls durable and that are not there.
        torn: Ends that were never durable, and a move whose state is gone in part; they are cut off.
        suspect: Whether moves of refs may be lost.
    """

    index: LevelIndex
    folder: str
    filled: Filled
    damaged: list[Stretch]
    missing: list[Stretch]
    torn: list[Stretch]
    suspect: bool

    def close(self) -> None:
        """Gives it back, and removes it where it did not take its place."""
        self.index.close(clean=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def retired(self) -> list[int]:
        """Segments whose intact records are to be moved out."""
        return sorted({stretch.segment for stretch in self.damaged})


def make_fresh_index(path: str, old: OldIndex, work: str | None, progress: Progress | None) -> Fresh:
    """A fresh index of all that is intact in the segments.

    Raises:
        FormatVersionError: A later casstore wrote some of it.
    """
    folder = os.path.join(path if work is None else work, layout.NEW_INDEX)
    shutil.rmtree(folder, ignore_errors=True)
    index = LevelIndex(folder, create=True, sync=False)
    segments = SegmentFiles(path)

    def stamp_of(address: Address) -> int | None:
        value = old.index.get(OBJECT + address) if old.index is not None else None
        return None if value is None else decode_entry(value).stamp

    filled = fill_index(
        index,
        segments,
        decompress,
        skip=old.condemned,
        events=old.events,
        lost=True,
        durable=old.states if old.complete else None,
        stamps=stamp_of if old.complete else None,
        progress=progress,
    )
    damaged: list[Stretch] = []
    torn: list[Stretch] = []
    unknown = False
    newest = torn_end(filled)
    for stretch in filled.stretches:
        durable = old.states.get(stretch.segment, SegmentState(0, 0, False)).durable_bytes
        if old.complete and stretch == newest and stretch.start >= durable:
            torn.append(stretch)
            continue
        damaged.append(stretch)
        # A segment is synced before the next one is begun, so what lay there was durable.
        unknown = unknown or not old.complete or (not old.clean and stretch.end > durable)
    if filled.void is not None:
        # Kept in the quarantine, and cut off: an opening would take it for a move that nobody has adopted yet.
        damaged.append(filled.void)
        torn.append(filled.void)
    missing = [
        Stretch(segment, filled.sizes.get(segment, 0), state.durable_bytes)
        for segment, state in sorted(old.states.items())
        if old.complete and not state.condemned and state.durable_bytes > filled.sizes.get(segment, 0)
    ]
    suspect = old.suspect or filled.lost_events or unknown or (not old.complete and holds_records(path))
    changes: dict[bytes, bytes | None] = {}
    for stretch in torn:
        value = index.get(segment_key(stretch.segment))
        if value is not None:
            state = decode_segment(value)._replace(durable_bytes=stretch.start)
            changes[segment_key(stretch.segment)] = encode_segment(state)
    if suspect:
        changes[SUSPECT] = b"1"
    if changes:
        index.write(changes)
    return Fresh(index, folder, filled, damaged, missing, torn, suspect)


def drop_false_records(fresh: Fresh, storage: Storage, progress: Progress | None) -> None:
    """Takes records out of the index whose content is not what their address says, and counts them as damaged.

    *Cost*: one read of everything.
    """
    backend = storage.backend
    false: dict[Address, Stretch] = {}
    for count, (address, entry) in enumerate(backend.scan()):
        if progress is not None and count % 1000 == 0:
            progress("contents", count, None)
        if entry.base is not None and backend.find(entry.base) is None:
            continue
        try:
            storage.get_record(entry.kind, address)
        except FormatVersionError:
            raise
        except (CorruptionError, NotFoundError) as error:
            # Where it is the base that is wrong, it comes by itself.
            if error.address in (None, address):
                false[address] = Stretch(entry.segment, entry.offset, entry.offset + entry.record_bytes)
    if false:
        fresh.index.write({OBJECT + address: None for address in false})
        fresh.damaged = sorted({*fresh.damaged, *false.values()})


def settle(fresh: Fresh, path: str, lost: Mapping[Address, int]) -> None:
    """Brings what is lost into the fresh index, and takes out what cannot be whole and that no ref needs."""
    changes: dict[bytes, bytes | None] = {
        OBJECT + address: encode_entry(lost_entry(kind, ordinal))
        for ordinal, (address, kind) in enumerate(lost.items())
    }
    if changes:
        changes[DAMAGED] = encode_number(len(lost))
        fresh.index.write(changes)
    drop_incomplete(fresh.index, SegmentFiles(path), decompress, lost)


def is_exact(old: OldIndex, fresh: Fresh, lost: Mapping[Address, int]) -> bool:
    """Whether the old index says just what the segments hold, so that it may stay."""
    if not old.complete or old.index is None or fresh.damaged or fresh.missing or old.lost != set(lost):
        return False
    if fresh.suspect != old.suspect:
        return False
    try:
        return _objects_agree(old.index, fresh.index) and _facts_agree(old.index, fresh.index, len(lost))
    except CorruptionError:
        return False


def _objects_agree(old: LevelIndex, fresh: LevelIndex) -> bool:
    """Whether every entry of the old index is about a record that lies just there."""
    for key, value in old.scan(OBJECT):
        found = fresh.get(key)
        if found is None:
            return False
        entry, other = decode_entry(value), decode_entry(found)
        if not entry.flags & DAMAGED_FLAG and entry._replace(stamp=other.stamp) != other:
            return False
    return True


def _facts_agree(old: LevelIndex, fresh: LevelIndex, lost: int) -> bool:
    """Whether refs, their history and the counters of the old index are what the events say."""
    if list(old.scan(REF)) != list(fresh.scan(REF)):
        return False
    if any(fresh.get(key) != value for prefix in (HISTORY, EVENT_KEY) for key, value in old.scan(prefix)):
        return False
    for key, below in ((NEXT_EVENT, 2**62), (NEXT_SEGMENT, _MAX_SEGMENTS)):
        was, now = (decode_number(index.get(key) or encode_number(1)) for index in (old, fresh))
        if not now <= was < below:
            return False
    return decode_number(old.get(DAMAGED) or encode_number(0)) == lost


def put_in_place(path: str, files: OsFiles, quarantine: Quarantine, old: OldIndex, fresh: Fresh) -> None:
    """The fresh index takes the place of the old one; an old one that cannot be read is moved aside."""
    segments = SegmentFiles(path)
    for stretch in fresh.torn:
        files.truncate(segments.path(stretch.segment), stretch.start)
    old.close()
    fresh.index.close(clean=True)
    if old.state == DAMAGED_INDEX:
        swap_in(path, files, lambda folder: quarantine.move(layout.INDEX, folder))
    else:
        swap_in(path, files)


def work_folder() -> str:
    """A temporary folder for a look that changes nothing."""
    return tempfile.mkdtemp(prefix="casstore-repair-")
