# SPDX-License-Identifier: MIT
"""The superblock: what a store is, fixed when it is made.

::

    offset  bytes  field
         0      8  magic "casstore"
         8      4  format version, little-endian, 1
        12      4  features, below: whoever does not know a bit refuses the store
        16      4  features a reader may ignore but a writer must know
        20      1  backend: 1 segments, 2 a file per object
        21      3  reserved, 0
        24      4  chunking: minimum bytes, little-endian
        28      4  chunking: average bytes
        32      4  chunking: maximum bytes
        36     16  store id, random
        52      8  time of creation, nanoseconds since 1970
        60      4  reserved, 0
        64     32  keyed BLAKE3 ("casstore v1 superblock") of the 64 bytes before
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from casstore.address import keyed_address
from casstore.errors import CorruptionError, FormatVersionError

MAGIC: Final = b"casstore"
FORMAT_VERSION: Final = 1
SUPERBLOCK_BYTES: Final = 96
SEGMENTS_BACKEND: Final = 1
FILES_BACKEND: Final = 2
DELTAS: Final = 1
"""Feature: chunks may be stored as deltas (``kinds.ZSTD_BASE``); a collector that does not know takes their bases."""
_KNOWN_FEATURES: Final = DELTAS
BACKEND_NAMES: Final = {SEGMENTS_BACKEND: "segments", FILES_BACKEND: "files"}

_BODY = struct.Struct("<8sIIIB3sIII16sQI")
_digest = keyed_address("superblock")


@dataclass(frozen=True, slots=True, kw_only=True)
class Superblock:
    """Format fields of a store; sizes in bytes, time in nanoseconds since 1970."""

    store_id: bytes
    created_ns: int
    backend: int = SEGMENTS_BACKEND
    chunk_min_bytes: int
    chunk_avg_bytes: int
    chunk_max_bytes: int
    features: int = 0
    write_features: int = 0


def encode_superblock(block: Superblock) -> bytes:
    """The 96 bytes of the file ``superblock``."""
    body = _BODY.pack(
        MAGIC,
        FORMAT_VERSION,
        block.features,
        block.write_features,
        block.backend,
        bytes(3),
        block.chunk_min_bytes,
        block.chunk_avg_bytes,
        block.chunk_max_bytes,
        block.store_id,
        block.created_ns,
        0,
    )
    return body + _digest(body)


def decode_superblock(data: bytes) -> Superblock:
    """What the file ``superblock`` says.

    Raises:
        CorruptionError: Damaged, or not a superblock.
        FormatVersionError: A later format, or a feature that readers must know and this version does not have.
    """
    if len(data) < 16 or data[:8] != MAGIC:
        raise CorruptionError("the superblock is damaged; bring the file `superblock` back from a copy of this store.")
    version = int.from_bytes(data[8:12], "little")
    if len(data) == SUPERBLOCK_BYTES and _digest(data[:64]) == data[64:]:
        if version != FORMAT_VERSION:
            raise FormatVersionError(f"a store of format {version}; this casstore reads format 1: install a later one.")
    elif version > FORMAT_VERSION and len(data) != SUPERBLOCK_BYTES:
        raise FormatVersionError(f"a store of format {version}; this casstore reads format 1: install a later one.")
    else:
        raise CorruptionError("the superblock is damaged; bring the file `superblock` back from a copy of this store.")
    fields = _BODY.unpack(data[:64])
    _, _, features, write_features, backend, _, low, average, high, store_id, created_ns, _ = fields
    if features & ~_KNOWN_FEATURES:
        raise FormatVersionError(
            f"the store uses features {features & ~_KNOWN_FEATURES:#x} that this casstore lacks; install a later one."
        )
    if backend not in BACKEND_NAMES:
        raise FormatVersionError(f"the store uses backend {backend} that this casstore lacks; install a later one.")
    return Superblock(
        store_id=store_id,
        created_ns=created_ns,
        backend=backend,
        chunk_min_bytes=low,
        chunk_avg_bytes=average,
        chunk_max_bytes=high,
        features=features,
        write_features=write_features,
    )
