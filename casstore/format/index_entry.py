# SPDX-License-Identifier: MIT
"""Keys and values of the index. The first byte of a key is its namespace.

==========  =====================================  ==================================================
namespace   rest of the key                        value
==========  =====================================  ==================================================
``o``       address (32)                           where the object's record lies (below)
``s``       segment (4, big-endian)                durable length (8), records (4), state (1)
``b``       batch number (8, big-endian)           nothing: each synced batch leaves its number
``r``       ref name                               snapshot (32), event number (8, big-endian)
``h``       ref name, NUL, event number (8)        the event's payload
``e``       event number (8, big-endian)           payloads of events that are no ref moves
``x``       a word                                 facts about the store as a whole
``c``       device (8), inode (8), a folder        stat cache of a directory (``casstore.format.stat_cache``)
==========  =====================================  ==================================================

An object's value, little-endian::

    segment (4) offset (4) stored length (4) raw length (4) ordinal in its segment (4) stamp, seconds (4)
    kind (1) encoding (1) flags (1), then the base's address (32) where flag 2 is set
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from casstore.address import ADDRESS_BYTES, Address
from casstore.errors import CorruptionError
from casstore.format.kinds import KIND_NAMES, RAW
from casstore.format.record import HEADER_BYTES, Record

OBJECT: Final = b"o"
SEGMENT: Final = b"s"
BATCH: Final = b"b"
REF: Final = b"r"
HISTORY: Final = b"h"
EVENT_KEY: Final = b"e"
FACT: Final = b"x"
CACHE: Final = b"c"
"""What can be computed anew: written without a sync, gone after a rebuild."""

CLEAN: Final = FACT + b"clean"
"""The batch number at which the store was last closed in order."""
NEXT_SEGMENT: Final = FACT + b"next-segment"
NEXT_EVENT: Final = FACT + b"next-event"
NEXT_ORDINAL: Final = FACT + b"next-ordinal"
DAMAGED: Final = FACT + b"damaged"
"""How many objects are marked damaged."""
SWEEPING: Final = FACT + b"sweeping"
"""Set while a collection deletes, and by a rebuild: what refers to others may stand without them, until a collection
has ended."""
SUSPECT: Final = FACT + b"suspect"
"""Set by a rebuild that met damage: refs may be lost, so collection refuses until they are accepted."""

LOST_SEGMENT: Final = 0
"""Segment of what is known to be lost: no segment has that number, and the entry is flagged damaged."""

MAX_NUMBER: Final = 1 << 63
"""Largest counter: events have numbers below it."""

MAX_LOST: Final = 1 << 24
"""Ordinals of lost objects are below this."""

DAMAGED_FLAG: Final = 1
BASE_FLAG: Final = 2

_NEXT: Final = "close the store and run `casstore repair`."
_ENTRY = struct.Struct("<IIIIIIBBB")
_unpack_entry = _ENTRY.unpack_from
_SEGMENT = struct.Struct("<QIB")
_U64 = struct.Struct(">Q")
_NO_BASE: Final = (None,)
_new = tuple.__new__  # Half of what the constructor of a named tuple takes, and every read makes an entry.


class IndexEntry(NamedTuple):
    """Where an object's record lies, and what must be known without reading it."""

    segment: int
    offset: int
    stored_bytes: int
    raw_bytes: int
    ordinal: int
    stamp: int
    kind: int
    encoding: int
    flags: int = 0
    base: Address | None = None
    """What a delta is stored against; ``BASE_FLAG`` says that there is one."""

    @property
    def record_bytes(self) -> int:
        """Bytes that the record takes, its header included."""
        return HEADER_BYTES + self.stored_bytes


def entry_of(record: Record, segment: int, offset: int, ordinal: int, stamp: int, flags: int = 0) -> IndexEntry:
    """The entry of a record that lies there; ``flags`` without the one that says whether there is a base."""
    kind, encoding, _, raw_bytes, stored = record
    base = record.base
    if base is not None:
        flags |= BASE_FLAG
    return IndexEntry(segment, offset, len(stored), raw_bytes, ordinal, stamp, kind, encoding, flags, base)


def lost_entry(kind: int, ordinal: int) -> IndexEntry:
    """The entry of an object that something refers to and that is nowhere; a put heals it like a damaged one."""
    return IndexEntry(LOST_SEGMENT, 0, 0, 0, ordinal, 0, kind, RAW, DAMAGED_FLAG)


def is_lost(entry: IndexEntry) -> bool:
    """Whether an entry stands for an object that is nowhere; a backend without segments counts from another number."""
    return entry.segment == LOST_SEGMENT and not entry.stored_bytes


def encode_entry(entry: IndexEntry) -> bytes:
    """The value of key ``o`` + address."""
    return _ENTRY.pack(*entry[:9]) + (entry.base or b"")


def decode_entry(value: bytes) -> IndexEntry:
    """The entry that ``value`` holds.

    Raises:
        CorruptionError: Not an index entry.
    """
    try:
        fields = _unpack_entry(value)
    except struct.error:
        raise CorruptionError(f"an index entry is malformed; {_NEXT}") from None
    if fields[6] not in KIND_NAMES:
        raise CorruptionError(f"an index entry is malformed; {_NEXT}")
    if not fields[8] & BASE_FLAG:
        if len(value) == _ENTRY.size:
            return _new(IndexEntry, fields + _NO_BASE)
    elif len(value) == _ENTRY.size + ADDRESS_BYTES:
        return _new(IndexEntry, (*fields, Address(value[_ENTRY.size :])))
    raise CorruptionError(f"an index entry is malformed; {_NEXT}")


class SegmentState(NamedTuple):
    """What the index knows of a segment: bytes and records that are durable, and whether it is on its way out."""

    durable_bytes: int
    records: int
    condemned: bool


def encode_segment(state: SegmentState) -> bytes:
    """The value of key ``s`` + segment."""
    return _SEGMENT.pack(*state)


def decode_segment(value: bytes) -> SegmentState:
    """The state that ``value`` holds.

    Raises:
        CorruptionError: Not a segment's state.
    """
    if len(value) != _SEGMENT.size:
        raise CorruptionError(f"a segment's entry in the index is malformed; {_NEXT}")
    durable_bytes, records, condemned = _SEGMENT.unpack(value)
    return SegmentState(durable_bytes, records, bool(condemned))


def segment_key(segment: int) -> bytes:
    """Key of a segment's state.

    Raises:
        CorruptionError: No segment can have that number: a counter in the index is wrong.
    """
    try:
        return SEGMENT + segment.to_bytes(4, "big")
    except OverflowError:
        raise CorruptionError(f"no segment can have the number {segment}; {_NEXT}") from None


def segment_of(key: bytes) -> int:
    """The segment whose state lies under ``key``.

    Raises:
        CorruptionError: Not the key of a segment's state.
    """
    if len(key) != len(SEGMENT) + 4:
        raise CorruptionError(f"the key of a segment in the index is malformed; {_NEXT}")
    return int.from_bytes(key[len(SEGMENT) :], "big")


def batch_key(number: int) -> bytes:
    """Key that synced batch ``number`` leaves."""
    return BATCH + _U64.pack(number)


def ref_key(name: str) -> bytes:
    """Key of a ref."""
    return REF + name.encode()


def decode_ref(key: bytes, value: bytes) -> tuple[str, Address]:
    """The name and the snapshot of the ref that lies there.

    Raises:
        CorruptionError: The key is no ref's, or the value names no snapshot.
    """
    try:
        name = key[len(REF) :].decode()
    except UnicodeDecodeError:
        name = ""
    if not name or len(value) != ADDRESS_BYTES + _U64.size:
        raise CorruptionError(f"a ref in the index is malformed; {_NEXT}")
    return name, Address(value[:ADDRESS_BYTES])


def history_prefix(name: str) -> bytes:
    """What the keys of a ref's history begin with."""
    return HISTORY + name.encode() + b"\0"


def history_key(name: str, number: int) -> bytes:
    """Key of one move of a ref."""
    return history_prefix(name) + _U64.pack(number)


def event_key(number: int) -> bytes:
    """Key of an event that is no ref move."""
    return EVENT_KEY + _U64.pack(number)


def encode_number(number: int) -> bytes:
    """A counter as it stands in the index: 8 bytes, big-endian, so that keys sort by it."""
    return _U64.pack(number)


def decode_number(value: bytes) -> int:
    """The counter that ``value`` holds.

    Raises:
        CorruptionError: Not 8 bytes, or beyond what is ever counted to.
    """
    number: int = _U64.unpack(value)[0] if len(value) == _U64.size else MAX_NUMBER + 1
    if number > MAX_NUMBER:
        raise CorruptionError(f"a counter in the index is malformed; {_NEXT}")
    return number
