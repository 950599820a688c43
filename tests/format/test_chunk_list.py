# SPDX-License-Identifier: MIT
"""Chunk lists: tied to their content's address, lengths that add up, arbitrary bytes."""

from __future__ import annotations

import struct

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from casstore.address import Address, content_address
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError
from casstore.format.chunk_list import MAX_DEPTH, MAX_PIECES, decode_chunk_list, encode_chunk_list

OWNER = content_address(b"owner")
KEY = blake3(b"", derive_key_context="casstore v1 chunk-list").digest()

addresses = st.binary(min_size=32, max_size=32).map(Address)
piece_lists = st.lists(st.tuples(addresses, st.integers(1, 2**40)), min_size=1, max_size=20)


def write_list(
    owner: bytes,
    pieces: list[tuple[bytes, int]],
    *,
    version: int = 1,
    reserved: bytes = bytes(3),
    count: int | None = None,
    size: int | None = None,
) -> bytes:
    """A list written field by field from the layout in the docs."""
    body = bytes([version]) + reserved
    body += struct.pack("<I", len(pieces) if count is None else count)
    body += struct.pack("<Q", sum(length for _, length in pieces) if size is None else size)
    for address, length in pieces:
        body += address + struct.pack("<Q", length)
    return blake3(owner + body, key=KEY).digest() + body


@given(addresses, piece_lists)
def test_the_bytes_are_those_of_the_independent_writer(owner: Address, pieces: list[tuple[Address, int]]) -> None:
    encoded = encode_chunk_list(owner, pieces)
    assert encoded == write_list(owner, pieces)  # type: ignore[arg-type]
    found = decode_chunk_list(owner, encoded)
    assert found.pieces == pieces
    assert found.size == sum(length for _, length in pieces)


def test_limits_are_pinned() -> None:
    assert (MAX_PIECES, MAX_DEPTH) == (4096, 8)
    pieces = [(OWNER, 1)] * MAX_PIECES
    assert decode_chunk_list(OWNER, encode_chunk_list(OWNER, pieces)).size == MAX_PIECES
    with pytest.raises(CorruptionError, match="malformed"):
        decode_chunk_list(OWNER, write_list(OWNER, [(OWNER, 1)] * (MAX_PIECES + 1)))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (write_list(OWNER, []), "malformed"),
        (write_list(OWNER, [(OWNER, 5)], count=2), "malformed"),
        (write_list(OWNER, [(OWNER, 5)] * 2, count=1), "malformed"),
        (write_list(OWNER, [(OWNER, 5)], count=2**32 - 1), "malformed"),
        (write_list(OWNER, [(OWNER, 5)], reserved=b"\0\0\1"), "malformed"),
        (write_list(OWNER, [(OWNER, 5)], size=6), "add up"),
        (write_list(OWNER, [(OWNER, 5), (OWNER, 0)]), "add up"),
        (write_list(OWNER, [(OWNER, 2**63)] * 2, size=0), "add up"),
        (write_list(content_address(b"other"), [(OWNER, 5)]), "damaged"),
        (write_list(OWNER, [(OWNER, 5)])[:-1], "damaged"),
        (write_list(OWNER, [(OWNER, 5)]) + b"\0", "damaged"),
        (b"", "damaged"),
        (bytes(48), "damaged"),
    ],
)
def test_lists_that_no_writer_writes(data: bytes, says: str) -> None:
    with pytest.raises(CorruptionError, match=says) as caught:
        decode_chunk_list(OWNER, data)
    assert caught.value.address == OWNER


def test_a_later_version_is_named() -> None:
    with pytest.raises(FormatVersionError, match="format 2"):
        decode_chunk_list(OWNER, write_list(OWNER, [(OWNER, 5)], version=2))


def test_every_bit_of_a_list() -> None:
    data = encode_chunk_list(OWNER, [(content_address(b"a"), 7), (content_address(b"b"), 9)])
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(CorruptionError):
            decode_chunk_list(OWNER, bytes(broken))


@given(st.binary(max_size=300), st.booleans())
def test_arbitrary_bytes(body: bytes, signed: bool) -> None:
    data = blake3(OWNER + body, key=KEY).digest() + body if signed else body
    try:
        decode_chunk_list(OWNER, data)
    except CasstoreError:
        pass
