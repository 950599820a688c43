# SPDX-License-Identifier: MIT
"""The record: an independent writer as the oracle, every header bit flipped, arbitrary bytes."""

from __future__ import annotations

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError
from casstore.format.kinds import CHUNK, ENCODING_NAMES, KIND_NAMES, MAX_RAW_BYTES, NODE, ZSTD_BASE
from casstore.format.record import (
    HEADER_BYTES,
    REST_START,
    Record,
    base_of,
    check_record,
    decode_header,
    decode_record,
    encode_record,
    header_rest,
)


def write_record(
    kind: int, encoding: int, address: bytes, raw_bytes: int, stored: bytes, *, version: int = 1, reserved: int = 0
) -> bytes:
    """A record written field by field from the layout in the docs, sharing no code with the format."""
    rest = bytearray(44)
    rest[0] = version
    rest[1] = kind
    rest[2] = encoding
    rest[3] = reserved
    rest[4:8] = len(stored).to_bytes(4, "little")
    rest[8:12] = raw_bytes.to_bytes(4, "little")
    rest[12:44] = address
    covered = bytes(rest) + stored
    return b"CASr" + blake3(covered).digest()[:8] + covered


def a_record(kind: int, raw: int, stored: bytes, address: bytes, encoding: int) -> Record:
    if encoding == ZSTD_BASE:
        kind, stored = CHUNK, bytes(33) + stored
    return Record(kind, encoding, Address(address), len(stored) + (raw if encoding else 0), stored)


records = st.builds(
    a_record,
    st.sampled_from(sorted(KIND_NAMES)),
    st.integers(0, 1000),
    st.binary(max_size=100),
    st.binary(min_size=32, max_size=32),
    st.sampled_from(sorted(ENCODING_NAMES)),
)


@given(records)
def test_the_bytes_are_those_of_the_independent_writer(record: Record) -> None:
    encoded = encode_record(record)
    assert encoded == write_record(record.kind, record.encoding, record.address, record.raw_bytes, record.stored)
    assert decode_record(encoded) == record
    assert (
        header_rest(record.kind, record.encoding, len(record.stored), record.raw_bytes, record.address)
        == (encoded[REST_START:HEADER_BYTES])
    )


def test_a_record_is_pinned() -> None:
    address = content_address(b"abc")
    assert encode_record(Record(1, 0, address, 3, b"abc")).hex() == (
        "434153729348d1dc766e8c4e0101000003000000030000006437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85616263"
    )


@given(records, st.binary(max_size=50), st.binary(max_size=50))
def test_a_record_is_found_at_its_offset(record: Record, before: bytes, after: bytes) -> None:
    data = before + encode_record(record) + after
    for buffer in (data, memoryview(data)):
        header = check_record(buffer, len(before))
        assert (header.kind, header.encoding, header.address) == (record.kind, record.encoding, record.address)
        assert (header.stored_bytes, header.raw_bytes) == (len(record.stored), record.raw_bytes)


SAMPLE = Record(1, 1, content_address(b"sample"), 900, bytes(range(40)))


@pytest.mark.parametrize("bit", range(HEADER_BYTES * 8))
def test_every_bit_of_the_header(bit: int) -> None:
    data = bytearray(encode_record(SAMPLE))
    data[bit >> 3] ^= 1 << (bit & 7)
    with pytest.raises((CorruptionError, FormatVersionError)) as caught:
        decode_record(bytes(data))
    # Only the version byte may be taken for another version.
    assert isinstance(caught.value, CorruptionError) or bit >> 3 == 12


@pytest.mark.parametrize("place", range(HEADER_BYTES, HEADER_BYTES + 40))
def test_every_stored_byte(place: int) -> None:
    data = bytearray(encode_record(SAMPLE))
    data[place] ^= 0x10
    with pytest.raises(CorruptionError, match="checksum"):
        decode_record(bytes(data))


def test_cut_at_every_length() -> None:
    data = encode_record(SAMPLE)
    for length in range(len(data)):
        with pytest.raises(CorruptionError, match="cut short"):
            decode_record(data[:length])
    with pytest.raises(CorruptionError, match="follow"):
        decode_record(data + b"\0")


@pytest.mark.parametrize(
    "data",
    [
        write_record(0, 0, bytes(32), 3, b"abc"),
        write_record(6, 0, bytes(32), 3, b"abc"),
        write_record(1, 4, bytes(32), 3, b"abc"),
        write_record(1, 0, bytes(32), 4, b"abc"),
        write_record(1, 1, bytes(32), 2, b"abc"),
        write_record(1, 1, bytes(32), MAX_RAW_BYTES + 1, b"abc"),
        write_record(1, 1, bytes(32), 2**32 - 1, b"abc"),
        write_record(1, 0, bytes(32), 3, b"abc", reserved=1),
    ],
)
def test_a_header_that_no_writer_writes(data: bytes) -> None:
    with pytest.raises(CorruptionError, match="header"):
        decode_header(data)


def test_the_largest_raw_length_is_allowed() -> None:
    assert decode_header(write_record(1, 1, bytes(32), MAX_RAW_BYTES, b"abc")).raw_bytes == MAX_RAW_BYTES


def test_a_later_version_is_named() -> None:
    with pytest.raises(FormatVersionError, match="format 2"):
        decode_record(write_record(1, 0, bytes(32), 0, b"", version=2))


@given(st.binary(max_size=200), st.integers(0, 20))
def test_arbitrary_bytes(data: bytes, offset: int) -> None:
    for decode in (
        lambda: decode_record(data),
        lambda: decode_header(data, offset),
        lambda: check_record(data, offset),
    ):
        try:
            decode()
        except CasstoreError:
            pass


@given(records, st.data())
def test_mutated_records(record: Record, draw: st.DataObject) -> None:
    data = bytearray(encode_record(record))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    try:
        assert decode_record(bytes(data)) == record
    except CasstoreError:
        pass


def test_a_delta_begins_with_its_base() -> None:
    base, address = content_address(b"base"), content_address(b"abc")
    encoded = encode_record(Record(CHUNK, ZSTD_BASE, address, 400, base + b"frame"))
    record = decode_record(encoded)
    assert record.base == base == base_of(decode_header(encoded), encoded)
    full = encode_record(Record(CHUNK, 0, address, 3, b"abc"))
    assert decode_record(full).base is None is base_of(decode_header(full), full)


@pytest.mark.parametrize(("kind", "stored"), [(CHUNK, bytes(32)), (CHUNK, b""), (NODE, bytes(40))])
def test_only_chunks_are_deltas_and_all_have_a_base(kind: int, stored: bytes) -> None:
    encoded = encode_record(Record(kind, ZSTD_BASE, content_address(b"abc"), 400, stored))
    with pytest.raises(CorruptionError, match="header"):
        decode_header(encoded)
