# SPDX-License-Identifier: MIT
"""A small file that is rewritten often and must never be torn: three slots, written in turn, in place.

::

    slot = number u64 | unsynced u32 | length u32 | payload | BLAKE3 of all that, keyed ("casstore v1 slot"), 32 bytes

The file is three slots of equal size, a multiple of 4,096 bytes. What counts is the whole slot with the highest number.
``unsynced`` says how many writes up to this one were not made durable. A writer syncs before it takes the place of a
slot while that number is 2: so there always is one that is durable and is not being written.

Writing in place needs no rename and no sync of the folder, which cost more than all else.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from casstore.address import keyed_address

SLOTS: Final = 3
PAGE_BYTES: Final = 4096
MAX_UNSYNCED: Final = SLOTS - 1
_HEAD: Final = struct.Struct("<QII")
_DIGEST_BYTES: Final = 32
_digest = keyed_address("slot")


class Slot(NamedTuple):
    """What a slot holds, and how many writes up to it were not synced."""

    number: int
    unsynced: int
    payload: bytes


def slot_bytes_for(payload: bytes) -> int:
    """A size of slots that has room for ``payload``, and for one that is half as long again."""
    wanted = _HEAD.size + len(payload) * 3 // 2 + _DIGEST_BYTES
    return -(-wanted // PAGE_BYTES) * PAGE_BYTES


def encode_slot(slot: Slot, size: int) -> bytes | None:
    """The bytes of a slot; None where it does not fit into ``size`` bytes."""
    body = _HEAD.pack(slot.number, slot.unsynced, len(slot.payload)) + slot.payload
    data = body + _digest(body)
    return data if len(data) <= size else None


def new_file(slot: Slot, size: int) -> bytes:
    """A file that holds one slot."""
    data = encode_slot(slot, size)
    whole = bytearray(SLOTS * size)
    start = place_of(slot.number, size)
    whole[start : start + len(data or b"")] = data or b""
    return bytes(whole)


def place_of(number: int, size: int) -> int:
    """Where in the file the slot with that number goes."""
    return number % SLOTS * size


def newest_slot(data: bytes) -> Slot | None:
    """The whole slot with the highest number in a file; None where there is none."""
    size = len(data) // SLOTS
    best: Slot | None = None
    for start in range(0, size * SLOTS, size or 1):
        slot = _slot_at(data, start, start + size)
        if slot is not None and (best is None or slot.number > best.number):
            best = slot
    return best


def _slot_at(data: bytes, start: int, end: int) -> Slot | None:
    if end - start < _HEAD.size + _DIGEST_BYTES:
        return None
    number, unsynced, length = _HEAD.unpack_from(data, start)
    stop = start + _HEAD.size + length
    if not number or stop + _DIGEST_BYTES > end or data[stop : stop + _DIGEST_BYTES] != _digest(data[start:stop]):
        return None
    return Slot(number, unsynced, data[start + _HEAD.size : stop])
