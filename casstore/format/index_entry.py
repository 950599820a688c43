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
from casstore.format.record import HEADER_BYTES

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
SUSPECT: Final = FACT + b"suspect"
"""Set by a rebuild that met damage: refs may be lost, so collection refuses until they are accepted."""

DAMAGED_FLAG: Final = 1
BASE_FLAG: Final = 2

_NEXT: Final = "close the store and delete its folder `index`: the next opening makes it anew."
_ENTRY = struct.Struct("<IIIIIIBBB")
_unpack_entry = _ENTRY.unpack_from
_SEGMENT = struct.Struct("<QIB")
_U64 = struct.Struct(">Q")


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

    @property
    def record_bytes(self) -> int:
        """Bytes that the record takes, its header included."""
        return HEADER_BYTES + self.stored_bytes


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
    if not fields[8] & BASE_FLAG:
        if len(value) == _ENTRY.size:
            return IndexEntry(*fields)
    elif len(value) == _ENTRY.size + ADDRESS_BYTES:
        return IndexEntry(*fields)._replace(base=Address(value[_ENTRY.size :]))
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
    """Key of a segment's state."""
    return SEGMENT + segment.to_bytes(4, "big")


def batch_key(number: int) -> bytes:
    """Key that synced batch ``number`` leaves."""
    return BATCH + _U64.pack(number)


def ref_key(name: str) -> bytes:
    """Key of a ref."""
    return REF + name.encode()


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
        CorruptionError: Not 8 bytes.
    """
    if len(value) != _U64.size:
        raise CorruptionError(f"a counter in the index is malformed; {_NEXT}")
    number: int = _U64.unpack(value)[0]
    return number
