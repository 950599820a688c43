# SPDX-License-Identifier: MIT
"""The superblock: an independent writer, damage at every byte, later formats by name."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

import casstore
from casstore.errors import CasstoreError, CorruptionError, FormatVersionError
from casstore.format.superblock import (
    FILES_BACKEND,
    SEGMENTS_BACKEND,
    SUPERBLOCK_BYTES,
    Superblock,
    decode_superblock,
    encode_superblock,
)

KEY = blake3(b"", derive_key_context="casstore v1 superblock").digest()
u32 = st.integers(0, 2**32 - 1)
blocks = st.builds(
    Superblock,
    store_id=st.binary(min_size=16, max_size=16),
    created_ns=st.integers(0, 2**64 - 1),
    backend=st.sampled_from([SEGMENTS_BACKEND, FILES_BACKEND]),
    chunk_min_bytes=u32,
    chunk_avg_bytes=u32,
    chunk_max_bytes=u32,
)
SAMPLE = Superblock(
    store_id=bytes(range(16)), created_ns=1, chunk_min_bytes=64, chunk_avg_bytes=256, chunk_max_bytes=1024
)


def write_superblock(
    block: Superblock, *, version: int = 1, incompatible: int = 0, write_features: int = 0, backend: int | None = None
) -> bytes:
    """A superblock written field by field from the layout in the docs."""
    body = b"casstore" + struct.pack("<III", version, incompatible, write_features)
    body += bytes([block.backend if backend is None else backend, 0, 0, 0])
    body += struct.pack("<III", block.chunk_min_bytes, block.chunk_avg_bytes, block.chunk_max_bytes)
    body += block.store_id + struct.pack("<Q", block.created_ns) + bytes(4)
    assert len(body) == 64
    return body + blake3(body, key=KEY).digest()


@given(blocks)
def test_the_bytes_are_those_of_the_independent_writer(block: Superblock) -> None:
    encoded = encode_superblock(block)
    assert encoded == write_superblock(block)
    assert len(encoded) == SUPERBLOCK_BYTES
    assert decode_superblock(encoded) == block


def test_every_bit() -> None:
    data = encode_superblock(SAMPLE)
    for bit in range(len(data) * 8):
        broken = bytearray(data)
        broken[bit >> 3] ^= 1 << (bit & 7)
        with pytest.raises(CorruptionError):
            decode_superblock(bytes(broken))


def test_every_length() -> None:
    data = encode_superblock(SAMPLE)
    for length in range(len(data)):
        with pytest.raises(CorruptionError):
            decode_superblock(data[:length])
    with pytest.raises(CorruptionError):
        decode_superblock(data + b"\0")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (write_superblock(SAMPLE, version=2), "format 2"),
        (write_superblock(SAMPLE, version=0), "format 0"),
        (write_superblock(SAMPLE, version=2)[:40], "format 2"),
        (write_superblock(SAMPLE, version=7) + bytes(100), "format 7"),
        (write_superblock(SAMPLE, incompatible=4), "features 0x4"),
        (write_superblock(SAMPLE, backend=3), "backend 3"),
    ],
)
def test_later_formats_are_named(data: bytes, says: str) -> None:
    with pytest.raises(FormatVersionError, match=says):
        decode_superblock(data)


def test_features_that_only_writers_must_know_are_handed_on() -> None:
    decoded = decode_superblock(write_superblock(SAMPLE, write_features=8))
    assert decoded == replace(SAMPLE, write_features=8)


def test_a_store_with_features_for_writers_is_read_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "store"
    casstore.open(path).close()
    file = path / "superblock"
    file.write_bytes(encode_superblock(replace(decode_superblock(file.read_bytes()), write_features=8)))
    with pytest.raises(FormatVersionError, match="features 0x8"):
        casstore.open(path)
    with casstore.open(path, read_only=True) as store:
        assert list(store.refs) == []


@given(st.binary(max_size=120), st.booleans())
def test_arbitrary_bytes(data: bytes, signed: bool) -> None:
    if signed:
        body = (b"casstore" + data).ljust(64, b"\0")[:64]
        data = body + blake3(body, key=KEY).digest()
    try:
        decode_superblock(data)
    except CasstoreError:
        pass
