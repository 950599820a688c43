# SPDX-License-Identifier: MIT
"""Was the last move of a ref ever durable? Asked where an index is made anew and the newest segment has a hole.

A power loss may keep the event of a move and lose a block of what the move names. Then the move was never durable, and
the ref must stay where it was. But damage of what was durable looks alike, and no durable move may be taken back. So a
move is void only where all of this holds, and stands where any of it does not:

- its record is the last in the newest segment, and nothing follows: what follows a move was appended after its sync;
- its number is the highest, and it stands nowhere else: what compaction copied was durable before;
- no move lies between it and the hole, or what the hole took was synced with that one;
- a block of the hole is zeros, as a file system leaves what it never wrote, or the old index vouches for none of it;
- no file of the old index, be it readable as an index or not, holds the ref as the move left it;
- the state that it names lacks something that no other state lacks; or it deletes a ref, and the hole took the event
  before it, which may be the other half of a rename.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING, Final

import casstore.layout as layout
from casstore.address import Address, event_address, hex_address
from casstore.errors import CorruptionError, FormatVersionError
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.event import HISTORY_CUT, REF_MOVE, SHALLOW, RefMove, decode_ref_move, encode_ref_move, parse_event
from casstore.format.index_entry import OBJECT, IndexEntry, decode_entry, encode_number, history_key
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, NODE, SNAPSHOT
from casstore.format.node import decode_node
from casstore.format.record import decode_record
from casstore.format.snapshot import decode_snapshot
from casstore.storage.index import Index
from casstore.storage.segment_files import SegmentFiles

if TYPE_CHECKING:
    from casstore.storage.filling import Decompress, Filled

_BLOCK_BYTES: Final = 512
"""What a disk writes whole or not at all; larger blocks are several of these."""


def void_move(
    index: Index,
    segments: SegmentFiles,
    filled: Filled,
    decompress: Decompress,
    *,
    known: Container[int] = (),
    durable_bytes: int | None = None,
) -> tuple[int, int] | None:
    """Offset in the newest segment, and number, of a move that was never durable; None where there is none.

    Args:
        index: All intact records, no events applied.
        segments: The store's segments.
        filled: What was found in them.
        decompress: Unpacks a record's stored bytes.
        known: Numbers of the events that the old index knows.
        durable_bytes: Of the newest segment, as the old index says, where that lacks nothing; None otherwise.

    *Cost*: nothing without a hole; where a move is in doubt, a read of every node and list behind refs.
    """
    number = max(filled.events, default=0)
    if not filled.stretches or not number or number in known:
        return None
    hole = filled.stretches[-1]
    if hole.segment != max(filled.sizes) or hole.segment != max(segments.on_disk()):
        return None
    offset = _last_event(segments, filled, event_address(filled.events[number]))
    if offset is None:
        return None
    try:
        move = decode_ref_move(filled.events[number])
    except CorruptionError:
        return None
    lost = hole.start >= durable_bytes if durable_bytes is not None else _was_never_written(segments, filled)
    if not lost or _old_index_holds(segments.store, move):
        return None
    if move.new is None:
        is_void = offset == hole.end and number - 1 not in filled.events
    else:
        walk = _Walk(index, segments, decompress, _shallow(filled))
        missing = walk.missing([move.new])
        is_void = bool(missing) and not missing <= walk.missing(_kept(filled, number))
    return (offset, number) if is_void else None


def _last_event(segments: SegmentFiles, filled: Filled, address: Address) -> int | None:
    """Offset of an event's record, where it ends the segment and is the first event behind the last hole."""
    hole = filled.stretches[-1]
    for offset, header, data in segments.walk(hole.segment, hole.end):
        # The copy of an event, which compaction made, says nothing of what was synced.
        if header.kind == EVENT and header.address not in filled.copies:
            ends = offset + len(data) == filled.sizes[hole.segment]
            return offset if ends and header.address == address else None
    return None


def _was_never_written(segments: SegmentFiles, filled: Filled) -> bool:
    """Whether the last hole has a block of zeros; of its first block only the part counts that lies within it."""
    segment, start, end = filled.stretches[-1]
    for block in range(start - start % _BLOCK_BYTES, end - _BLOCK_BYTES + 1, _BLOCK_BYTES):
        first = max(block, start)
        if not any(segments.read(segment, first, block + _BLOCK_BYTES - first)):
            return True
    return False


def _old_index_holds(store: str, move: RefMove) -> bool:
    """Whether the files of the index that is replaced hold the move, in the history or as the value of the ref.

    What LevelDB writes lies in its logs as it is, and values do so in its tables; at the end of a block, a log may part
    a key or a value, never both.
    """
    wanted = [history_key(move.name, move.number), encode_ref_move(move)]
    wanted += [] if move.new is None else [move.new + encode_number(move.number)]
    for name in (layout.INDEX, layout.OLD_INDEX):
        folder = os.path.join(store, name)
        for file in os.listdir(folder) if os.path.isdir(folder) else ():
            with open(os.path.join(folder, file), "rb") as opened:
                data = opened.read()
            if any(part in data for part in wanted):
                return True
    return False


def _shallow(filled: Filled) -> set[Address]:
    """The snapshots whose parents were given up on purpose."""
    members = map(parse_event, filled.events.values())
    found = (hex_address(event.get("snapshot")) for event in members if event["type"] == SHALLOW)
    return {address for address in found if address is not None}


def _kept(filled: Filled, before: int) -> set[Address]:
    """The snapshots that refs and their kept history name without the last move."""
    refs: dict[str, Address | None] = {}
    kept: set[Address | None] = set()
    cut = 0
    for number, payload in sorted(filled.events.items(), reverse=True):
        members = parse_event(payload)
        upto = members.get("upto")
        if members["type"] == HISTORY_CUT and isinstance(upto, int):
            cut = max(cut, upto)
        if members["type"] != REF_MOVE or number == before:
            continue
        try:
            move = decode_ref_move(payload)
        except CorruptionError:
            continue
        refs.setdefault(move.name, move.new)
        if number > cut:
            kept |= {move.old, move.new}
    return {address for address in (*kept, *refs.values()) if address is not None}


class _Walk:
    """A walk over states below the layers that know trees and snapshots: records and references alone."""

    def __init__(self, index: Index, segments: SegmentFiles, decompress: Decompress, shallow: set[Address]) -> None:
        self._index = index
        self._segments = segments
        self._decompress = decompress
        self._shallow = shallow

    def missing(self, snapshots: Iterable[Address]) -> set[Address]:
        """What snapshots and their ancestors lead to and is not there, or cannot be read; contents are not read."""
        missing: set[Address] = set()
        seen: set[Address] = set()
        waiting = [(SNAPSHOT, address) for address in snapshots]
        while waiting:
            kind, address = waiting.pop()
            if address in seen:
                continue
            entry = self._find(address)
            if entry is None or (entry.kind != kind and (kind, entry.kind) != (CHUNK, CHUNK_LIST)):
                missing.add(address)
                continue
            if entry.kind == CHUNK and entry.base is None:
                # Not remembered: they are the most, and a look-up is quick.
                continue
            seen.add(address)
            try:
                waiting += self._below(address, entry)
            except CorruptionError:
                missing.add(address)
            except FormatVersionError:
                # A later casstore made it: no hole is to blame.
                continue
        return missing

    def _find(self, address: Address) -> IndexEntry | None:
        value = self._index.get(OBJECT + address)
        return None if value is None else decode_entry(value)

    def _below(self, address: Address, entry: IndexEntry) -> list[tuple[int, Address]]:
        if entry.base is not None:
            return [(CHUNK, entry.base)]
        record = decode_record(self._segments.read(entry.segment, entry.offset, entry.record_bytes))
        raw = self._decompress(record.encoding, record.stored, record.raw_bytes)
        if entry.kind == CHUNK_LIST:
            return [(CHUNK, piece) for piece, _ in decode_chunk_list(address, raw).pieces]
        if entry.kind == NODE:
            node = decode_node(raw)
            below = [(NODE, child) for child in node.children]
            below += [(CHUNK, content) for content in node.contents]
            return below + [(SNAPSHOT, linked) for linked in node.snapshots]
        fields = decode_snapshot(raw)
        below = [(NODE, root) for root in fields.roots.values()]
        return below + [(SNAPSHOT, parent) for parent in fields.parents if address not in self._shallow]
