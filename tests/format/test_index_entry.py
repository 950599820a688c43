# SPDX-License-Identifier: MIT
"""Keys and values of the index, byte by byte."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address
from casstore.errors import CasstoreError, CorruptionError
from casstore.format.index_entry import (
    BASE_FLAG,
    CLEAN,
    IndexEntry,
    SegmentState,
    batch_key,
    decode_entry,
    decode_number,
    decode_ref,
    decode_segment,
    encode_entry,
    encode_number,
    encode_segment,
    event_key,
    history_key,
    history_prefix,
    ref_key,
    segment_key,
    segment_of,
)
from casstore.format.kinds import KIND_NAMES
from casstore.format.record import HEADER_BYTES

u32 = st.integers(0, 2**32 - 1)
u8 = st.integers(0, 255)
kinds = st.sampled_from(sorted(KIND_NAMES))


@given(st.tuples(u32, u32, u32, u32, u32, u32, kinds, u8, u8), st.binary(min_size=32, max_size=32))
def test_an_entry(fields: tuple[int, ...], base: bytes) -> None:
    has_base = bool(fields[8] & BASE_FLAG)
    entry = IndexEntry(*fields, base=Address(base) if has_base else None)  # type: ignore[arg-type]
    value = b"".join(struct.pack("<I", number) for number in fields[:6]) + bytes(fields[6:])
    if has_base:
        value += base
    assert encode_entry(entry) == value
    assert decode_entry(value) == entry
    assert entry.record_bytes == HEADER_BYTES + entry.stored_bytes
    for wrong in (value[:-1], value + b"\0"):
        with pytest.raises(CorruptionError):
            decode_entry(wrong)


@given(st.integers(0, 2**64 - 1), u32, st.booleans())
def test_a_segment(durable: int, records: int, condemned: bool) -> None:
    value = struct.pack("<QIB", durable, records, condemned)
    assert encode_segment(SegmentState(durable, records, condemned)) == value
    assert decode_segment(value) == (durable, records, condemned)


@given(st.lists(st.integers(0, 2**63), min_size=2, max_size=2))
def test_numbers_sort_like_their_keys(numbers: list[int]) -> None:
    first, second = numbers
    assert (encode_number(first) < encode_number(second)) == (first < second)
    assert decode_number(encode_number(first)) == first


def test_keys_and_values_of_somebody_elses_making() -> None:
    for kind in (0, 6, 77):
        with pytest.raises(CorruptionError):
            decode_entry(bytes(24) + bytes((kind, 0, 0)))
    for number in (2**63 + 1, 2**64 - 1):
        with pytest.raises(CorruptionError):
            decode_number(encode_number(number))
    assert segment_of(segment_key(7)) == 7
    for key in (b"s", b"s123", b"s12345"):
        with pytest.raises(CorruptionError):
            segment_of(key)
    with pytest.raises(CorruptionError):
        segment_key(2**32)
    value = bytes(range(32)) + encode_number(3)
    assert decode_ref(ref_key("é"), value) == ("é", bytes(range(32)))
    bad_refs = ((b"r", value), (b"r\xff", value), (b"rmain", value[:-1]), (b"rmain", value + b"x"), (b"rmain", b""))
    for key, bad in bad_refs:
        with pytest.raises(CorruptionError):
            decode_ref(key, bad)


def test_keys() -> None:
    assert segment_key(258) == b"s\0\0\1\2"
    assert batch_key(1) == b"b" + bytes(7) + b"\1"
    assert ref_key("é") == b"r\xc3\xa9"
    assert history_key("main", 2) == b"hmain\0" + bytes(7) + b"\2"
    assert history_key("main", 2).startswith(history_prefix("main"))
    assert not history_key("main2", 2).startswith(history_prefix("main"))
    assert event_key(2) == b"e" + bytes(7) + b"\2"
    assert CLEAN == b"xclean"


@given(st.binary(max_size=70))
def test_arbitrary_bytes(data: bytes) -> None:
    for decode in (decode_entry, decode_segment, decode_number):
        try:
            decode(data)
        except CasstoreError:
            pass
