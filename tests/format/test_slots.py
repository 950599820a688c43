# SPDX-License-Identifier: MIT
"""Slots written in turn: pinned bytes, damage, and power losses that keep any part of what was not synced."""

from __future__ import annotations

import struct

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from casstore.format.slots import (
    MAX_UNSYNCED,
    PAGE_BYTES,
    SLOTS,
    Slot,
    encode_slot,
    new_file,
    newest_slot,
    place_of,
    slot_bytes_for,
)

KEY = blake3(b"", derive_key_context="casstore v1 slot").digest()


def plain(slot: Slot) -> bytes:
    """The bytes of a slot, made without the code under test."""
    body = struct.pack("<QII", *slot[:2], len(slot.payload)) + slot.payload
    return body + blake3(body, key=KEY).digest()


def test_the_bytes_never_change() -> None:
    assert (SLOTS, PAGE_BYTES, MAX_UNSYNCED) == (3, 4096, 2)
    slot = Slot(7, 1, b"payload")
    assert encode_slot(slot, PAGE_BYTES) == plain(slot)
    assert place_of(7, PAGE_BYTES) == PAGE_BYTES
    file = new_file(slot, PAGE_BYTES)
    assert file == bytes(PAGE_BYTES) + plain(slot).ljust(PAGE_BYTES, b"\0") + bytes(PAGE_BYTES)
    assert newest_slot(file) == slot


@given(st.integers(1, 2**64 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=9000))
def test_there_and_back(number: int, unsynced: int, payload: bytes) -> None:
    slot = Slot(number, unsynced, payload)
    size = slot_bytes_for(payload)
    assert size % PAGE_BYTES == 0
    assert newest_slot(new_file(slot, size)) == slot
    assert encode_slot(slot, len(plain(slot)) - 1) is None


@given(st.binary(max_size=300))
def test_any_bytes_at_all(data: bytes) -> None:
    assert newest_slot(data) is None


@pytest.mark.parametrize("place", [0, 8, 12, 16, 20, 40, 54])
def test_damage_of_the_newest_leaves_the_one_before(place: int) -> None:
    data = bytearray(new_file(Slot(4, 0, b"before"), PAGE_BYTES))
    start = place_of(5, PAGE_BYTES)
    data[start : start + 55] = plain(Slot(5, 0, b"newest!"))
    assert newest_slot(bytes(data)) == Slot(5, 0, b"newest!")
    data[start + place] ^= 1
    assert newest_slot(bytes(data)) == Slot(4, 0, b"before")


@given(st.data())
def test_a_power_loss_leaves_the_last_that_was_synced_or_a_later_one(data: st.DataObject) -> None:
    """The protocol of the writer, beside a disk that keeps any part of what was not synced."""
    size = PAGE_BYTES
    slot = Slot(1, 0, b"1")
    durable = cached = bytearray(new_file(slot, size))
    durable, pending, synced = bytearray(cached), [], 1
    for _ in range(data.draw(st.integers(1, 12))):
        last = newest_slot(bytes(cached))
        assert last == slot
        sync = data.draw(st.booleans())
        if slot.unsynced >= MAX_UNSYNCED:
            durable, pending, synced = bytearray(cached), [], slot.number
            slot = slot._replace(unsynced=0)
        slot = Slot(slot.number + 1, 0 if sync else slot.unsynced + 1, b"%d" % (slot.number + 1))
        encoded = plain(slot)
        start = place_of(slot.number, size)
        cached[start : start + len(encoded)] = encoded
        pending.append((start, encoded))
        # The power may go now, before the sync.
        after = bytearray(durable)
        for place, content in pending:
            keep = data.draw(st.integers(0, len(content)))
            after[place : place + keep] = content[:keep]
        found = newest_slot(bytes(after))
        assert found is not None
        assert synced <= found.number <= slot.number
        assert found.payload == b"%d" % found.number
        if sync:
            durable, pending, synced = bytearray(cached), [], slot.number
