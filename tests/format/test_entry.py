# SPDX-License-Identifier: MIT
"""Entries: one encoding each, and a decoder that takes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address
from casstore.errors import CasstoreError, CorruptionError, InvalidInputError
from casstore.format.entry import (
    INLINE_BYTES,
    Entry,
    decode_entry,
    directory_entry,
    encode_entry,
    entry_end,
    file_entry,
    object_entry,
    snapshot_entry,
    symlink_entry,
    value_entry,
)
from casstore.format.varint import MAX_VARINT, decode_varint, encode_varint
from tests.tree.plain import entries, plain_entry, varint

SOME = content_address(b"some")
HEX = SOME.hex()


@given(entries)
def test_what_was_encoded_is_decoded(entry: Entry) -> None:
    encoded = encode_entry(entry)
    assert encoded == plain_entry(entry)
    assert decode_entry(encoded) == entry
    assert decode_entry(b"before" + encoded + b"after", 6, 6 + len(encoded)) == entry
    assert entry_end(b"before" + encoded + b"after", 6) == (6 + len(encoded), entry.size)


@given(entries, st.data())
def test_no_encoding_is_cut_or_prolonged_unseen(entry: Entry, data: st.DataObject) -> None:
    encoded = encode_entry(entry)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(CorruptionError):
        decode_entry(encoded[:cut])
    with pytest.raises(CorruptionError):
        decode_entry(encoded + b"\0")


@given(st.binary(max_size=80) | st.builds(lambda kind, rest: bytes((kind,)) + rest, st.integers(0, 9), st.binary()))
def test_any_bytes_are_an_entry_in_its_one_form_or_an_error(data: bytes) -> None:
    try:
        entry = decode_entry(data)
    except CasstoreError:
        return
    assert encode_entry(entry) == data
    assert entry_end(data, 0) == (len(data), entry.size)


@given(entries, st.data())
def test_a_changed_byte_is_an_entry_in_its_one_form_or_an_error(entry: Entry, data: st.DataObject) -> None:
    encoded = bytearray(encode_entry(entry))
    encoded[data.draw(st.integers(0, min(len(encoded), 300) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_entry(bytes(encoded))
    except CasstoreError:
        return
    assert encode_entry(decoded) == encoded


@pytest.mark.parametrize(
    ("entry", "encoded"),
    [
        (file_entry(3, inline=b"abc"), "0103616263"),
        (file_entry(0, inline=b"", executable=True), "0200"),
        (file_entry(128, SOME), "018001" + HEX),
        (symlink_entry(16384, SOME), "03808001" + HEX),
        (directory_entry(), "04"),
        (snapshot_entry(SOME), "05" + HEX),
        (object_entry("json", 1, 2, inline=b"{}"), "06046a736f6e01027b7d"),
        (object_entry("json", 128, 300, SOME), "06046a736f6e8001ac02" + HEX),
        (value_entry(b"v"), "070176"),
    ],
)
def test_encodings_are_pinned(entry: Entry, encoded: str) -> None:
    assert encode_entry(entry).hex() == encoded
    assert decode_entry(bytes.fromhex(encoded)) == entry


@pytest.mark.parametrize(
    "entry",
    [
        file_entry(127, SOME),
        file_entry(128, inline=bytes(128)),
        file_entry(3, inline=b"ab"),
        file_entry(2, SOME, b"ab"),
        file_entry(200),
        file_entry(200, Address(SOME[:31])),
        file_entry(1 << 63, SOME),
        file_entry(-1, inline=b""),
        Entry(1, 200, SOME, None, "json", 0),
        Entry(4, 0, SOME, None),
        Entry(4, 1, None, None),
        Entry(4, 0, None, b""),
        Entry(4, 0, None, None, "", 1),
        Entry(5, 0, None, None),
        Entry(5, 0, Address(b"short"), None),
        Entry(5, 1, SOME, None),
        Entry(7, 1, None, None),
        Entry(7, 1, None, b"ab"),
        Entry(7, 1, SOME, b"a"),
        value_entry(bytes(65537)),
        Entry(0, 0, None, None),
        Entry(8, 0, None, None),
        object_entry("", 1, 0, inline=b""),
        object_entry("a" * 256, 1, 0, inline=b""),
        object_entry("ä", 1, 0, inline=b""),
        object_entry("a\n", 1, 0, inline=b""),
        object_entry("json", -1, 0, inline=b""),
        object_entry("json", 1, 100, SOME),
    ],
)
def test_an_entry_that_no_reader_takes_is_not_written(entry: Entry) -> None:
    with pytest.raises(InvalidInputError):
        encode_entry(entry)


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "00",
        "08",
        "017f" + HEX,  # small content by address
        "01800180" + "00" * 127,  # large content inline
        "01830061",  # not the shortest number
        "018001" + HEX[:-2],
        "0500",
        "0400",
        "0600010061",  # no type id
        "0601ff0100",  # not ASCII
        "06010a0100",  # not printable
        "07818004" + "00" * 65537,
    ],
)
def test_other_forms_are_refused(encoded: str) -> None:
    with pytest.raises(CorruptionError):
        decode_entry(bytes.fromhex(encoded))


def test_small_content_is_inline_up_to_the_pinned_size() -> None:
    assert INLINE_BYTES == 127
    assert decode_entry(encode_entry(file_entry(127, inline=bytes(127)))).inline == bytes(127)


@given(st.integers(0, MAX_VARINT) | st.sampled_from([0, 127, 128, 16383, 16384, MAX_VARINT]))
def test_numbers_have_one_form(number: int) -> None:
    encoded = encode_varint(number)
    assert encoded == varint(number)
    assert decode_varint(b"x" + encoded + b"y", 1) == (number, 1 + len(encoded))
    with pytest.raises(CorruptionError):
        decode_varint(encoded[:-1] + bytes((encoded[-1] | 128, 0)), 0)
    with pytest.raises(CorruptionError):
        decode_varint(encoded[:-1], 0)


def test_numbers_are_bounded() -> None:
    for number in (-1, MAX_VARINT + 1):
        with pytest.raises(InvalidInputError):
            encode_varint(number)
    for encoded in (b"\xff" * 9 + b"\x01", b"\x80" * 9 + b"\x01", b"\xff" * 1000):
        with pytest.raises(CorruptionError):
            decode_varint(encoded, 0)
