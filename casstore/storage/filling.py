# SPDX-License-Identifier: MIT
"""What segments hold, brought into an empty index: the first half of every rebuild.

Damaged stretches are stepped over and told; nothing is written but the index.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from blake3 import blake3

from casstore.address import Address, event_address, hex_address
from casstore.errors import CorruptionError, FormatVersionError
from casstore.format.event import HISTORY_CUT, SHALLOW, decode_ref_move, event_facts, is_lone, parse_event
from casstore.format.index_entry import (
    BASE_FLAG,
    NEXT_EVENT,
    NEXT_SEGMENT,
    OBJECT,
    IndexEntry,
    SegmentState,
    decode_segment,
    encode_entry,
    encode_number,
    encode_segment,
    segment_key,
)
from casstore.format.kinds import EVENT, MAX_RAW_BYTES
from casstore.format.record import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    MAGIC,
    REST_START,
    RecordHeader,
    base_of,
    decode_header,
    decode_record,
)
from casstore.storage.index import Index
from casstore.storage.last_move import void_move
from casstore.storage.segment_files import OpenSegment, SegmentFiles

_BATCH: Final = 20_000

Decompress = Callable[[int, bytes, int], bytes]
Stamps = Callable[[Address], int | None]
Progress = Callable[[str, int, int | None], None]


class Stretch(NamedTuple):
    """Damaged bytes of a segment, from offset ``start`` to ``end``."""

    segment: int
    start: int
    end: int


@dataclass(slots=True)
class Filled:
    """What was found.

    Attributes:
        sizes: Length in bytes of each segment as it was read.
        stretches: What is damaged.
        records: How many are intact.
        total_bytes: Their length, headers included.
        events: Payloads by number, those that the caller knew included.
        from_index: Numbers of the events that only the caller knew.
        lost_events: Whether an event says nothing that can be read.
        copies: Addresses of records of events that stand in the segments more than once.
        void: Where the event of a move lies that was never durable, and that was not taken; None where there is none.
    """

    sizes: dict[int, int] = field(default_factory=dict)
    stretches: list[Stretch] = field(default_factory=list)
    records: int = 0
    total_bytes: int = 0
    events: dict[int, bytes] = field(default_factory=dict)
    from_index: list[int] = field(default_factory=list)
    lost_events: bool = False
    copies: set[Address] = field(default_factory=set)
    void: Stretch | None = None


def fill_index(
    index: Index,
    segments: SegmentFiles,
    decompress: Decompress,
    *,
    skip: Mapping[int, SegmentState] | None = None,
    events: Mapping[int, bytes] | None = None,
    lost: bool = False,
    durable: Mapping[int, SegmentState] | None = None,
    stamps: Stamps | None = None,
    progress: Progress | None = None,
) -> Filled:
    """Writes into ``index`` what the segments hold; returns what was found.

    Args:
        index: An empty index.
        segments: The store's segments.
        decompress: Unpacks a record's stored bytes.
        skip: Segments to pass over, and what the index shall say of them.
        events: Payloads that the old index knows, by number: those in the segments come first. They are taken only
            where segments are damaged or ``lost``, and of those that history was cut up to only what no collection
            takes: an old index may know moves that one has removed since.
        lost: Whether segments are missing.
        durable: What the old index says of segments, where it lacks nothing.
        stamps: When the old index says that an object was last used.
        progress: Called with ``"records"``, how many were read, and None.

    Raises:
        FormatVersionError: A record that a later casstore wrote.

    *Cost*: one read and one BLAKE3 of every byte.
    """
    filled = Filled()
    skipped = skip or {}
    now = int(time.time())
    changes: dict[bytes, bytes | None] = {}
    on_disk = segments.on_disk()
    for segment, size in on_disk.items():
        if segment in skipped:
            changes[segment_key(segment)] = encode_segment(skipped[segment])
            continue
        filled.sizes[segment] = size
        ordinal = end = 0
        while True:
            for offset, header, data in segments.walk(segment, end):
                stamp = stamps(header.address) if stamps is not None else None
                changes[OBJECT + header.address] = encode_entry(
                    record_entry(segment, offset, header, data, ordinal, now if stamp is None else stamp)
                )
                if header.kind == EVENT:
                    _take_event(filled, header.address, data, decompress)
                end, ordinal = offset + len(data), ordinal + 1
                filled.total_bytes += len(data)
                if len(changes) >= _BATCH:
                    index.write(changes)
                    changes = {}
                    if progress is not None:
                        progress("records", filled.records + ordinal, None)
            if end >= size:
                break
            _refuse_later_formats(segments, segment, end)
            following = segments.resume(segment, end)
            filled.stretches.append(Stretch(segment, end, size if following is None else following))
            if following is None:
                break
            end = following
        filled.records += ordinal
        changes[segment_key(segment)] = encode_segment(SegmentState(size, ordinal, False))
    cut = max(map(_history_cut, (*filled.events.values(), *(events or {}).values())), default=0)
    index.write(changes)
    if filled.stretches or lost:
        _take_known(index, filled, events or {}, cut)
    changes = _without_void_move(index, segments, filled, decompress, events or {}, durable)
    for number, payload in sorted(filled.events.items()):
        try:
            changes.update(event_facts(payload))
        except CorruptionError:
            filled.lost_events = True
        changes[NEXT_EVENT] = encode_number(number + 1)
    changes[NEXT_SEGMENT] = encode_number(max(on_disk, default=0) + 1)
    index.write(changes)
    return filled


def _take_known(index: Index, filled: Filled, known: Mapping[int, bytes], cut: int) -> None:
    """Takes the events that only the old index knows; up to the cut of history those that stay for ever."""
    latest: dict[str, int] = {}
    stay: set[int] = set()
    for number, payload in sorted({**known, **filled.events}.items()):
        with contextlib.suppress(CorruptionError):
            members = parse_event(payload)
            if members["type"] == SHALLOW:
                snapshot = hex_address(members.get("snapshot"))
                if snapshot is not None and index.get(OBJECT + snapshot) is not None:
                    # A mark goes with its snapshot.
                    stay.add(number)
                continue
            move = decode_ref_move(payload)
            if not is_lone(move):
                latest[move.name] = number
    # The latest move of a name says what the ref names, or that it is gone.
    stay.update(latest.values())
    for number, payload in known.items():
        if number not in filled.events and (number > cut or number in stay):
            filled.events[number] = payload
            filled.from_index.append(number)


def _without_void_move(
    index: Index,
    segments: SegmentFiles,
    filled: Filled,
    decompress: Decompress,
    known: Mapping[int, bytes],
    durable: Mapping[int, SegmentState] | None,
) -> dict[bytes, bytes | None]:
    """Takes a move that was never durable out of what was found; what the index must learn of that."""
    newest = max(filled.sizes, default=0)
    synced = None if durable is None else durable.get(newest, SegmentState(0, 0, False)).durable_bytes
    found = void_move(index, segments, filled, decompress, known=known, durable_bytes=synced)
    if found is None:
        return {}
    offset, number = found
    filled.void = Stretch(newest, offset, filled.sizes[newest])
    filled.records -= 1
    filled.total_bytes -= filled.void.end - offset
    address = event_address(filled.events.pop(number))
    value = index.get(segment_key(newest))
    records = 0 if value is None else decode_segment(value).records - 1
    return {
        OBJECT + address: None,
        segment_key(newest): encode_segment(SegmentState(offset, records, False)),
    }


def _take_event(filled: Filled, address: Address, data: bytes, decompress: Decompress) -> None:
    try:
        payload = event_payload(data, decompress)
        number = event_number(payload)
        if number in filled.events:
            filled.copies.add(address)
        filled.events[number] = payload
    except CorruptionError:
        filled.lost_events = True


def _history_cut(payload: bytes) -> int:
    """Up to which number moves were removed, where the event says so."""
    members = parse_event(payload)
    upto = members.get("upto") if members["type"] == HISTORY_CUT else None
    return upto if isinstance(upto, int) else 0


def _refuse_later_formats(segments: SegmentFiles, segment: int, offset: int) -> None:
    """Returns unless what lies at ``offset`` is whole, and of a version or kind that is not known here."""
    reader = OpenSegment(segments.path(segment))
    head = os.pread(reader.fd, HEADER_BYTES, offset)
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        return
    stored_bytes = int.from_bytes(head[16:20], "little")
    if stored_bytes > MAX_RAW_BYTES:
        return
    rest = head[REST_START:] + os.pread(reader.fd, stored_bytes, offset + HEADER_BYTES)
    if blake3(rest).digest(CHECKSUM_BYTES) != head[4:REST_START]:
        return
    try:
        decode_header(head)
    except (CorruptionError, FormatVersionError):
        raise FormatVersionError(
            f"segment {segment} holds a record of a kind that this casstore does not know; use a later one.",
            segment=segment,
            offset=offset,
        ) from None


def record_entry(segment: int, offset: int, header: RecordHeader, data: bytes, ordinal: int, stamp: int) -> IndexEntry:
    """The entry of an intact record."""
    _, kind, encoding, stored_bytes, raw_bytes, _ = header
    base = base_of(header, data)
    flags = 0 if base is None else BASE_FLAG
    return IndexEntry(segment, offset, stored_bytes, raw_bytes, ordinal, stamp, kind, encoding, flags, base)


def event_payload(data: bytes, decompress: Decompress) -> bytes:
    """The payload of an event's record."""
    record = decode_record(data)
    return decompress(record.encoding, record.stored, record.raw_bytes)


def event_number(payload: bytes) -> int:
    """The number of an event."""
    number = parse_event(payload)["number"]
    return number if isinstance(number, int) else 0
