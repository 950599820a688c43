# SPDX-License-Identifier: MIT
"""A chunk list: the pieces of one content, in order, stored under the content's own address.

::

    offset  bytes  field
         0     32  keyed BLAKE3 ("casstore v1 chunk-list") of the content's address and everything after this field
        32      1  version, 1
        33      3  reserved, 0
        36      4  number of pieces, little-endian, 1 … MAX_PIECES
        40      8  length of the content in bytes, little-endian: the sum of the pieces' lengths
        48  40 × n pieces: address (32 bytes), length (8 bytes, little-endian, not 0)

A piece is a content again: a chunk, or a list (lists nest at most ``MAX_DEPTH`` deep). The digest ties a list to its
address; that the pieces *are* that content is shown by the put that wrote the list, and by ``verify``.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from blake3 import blake3

from casstore.address import Address, type_key
from casstore.errors import CorruptionError, FormatVersionError

VERSION: Final = 1
MAX_PIECES: Final = 4096
MAX_DEPTH: Final = 8
DIGEST_BYTES: Final = 32

_KEY: Final = type_key("chunk-list")
_HEAD = struct.Struct("<B3xIQ")
_PIECE = struct.Struct("<32sQ")
_BODY_START: Final = DIGEST_BYTES + _HEAD.size


class ChunkList(NamedTuple):
    """The pieces of a content of ``size`` bytes: pairs of address and length in bytes."""

    size: int
    pieces: Sequence[tuple[Address, int]]


def encode_chunk_list(address: Address, pieces: Sequence[tuple[Address, int]]) -> bytes:
    """The list's bytes, for the content ``address``; 1 to ``MAX_PIECES`` pieces of at least one byte each."""
    pack = _PIECE.pack
    head = _HEAD.pack(VERSION, len(pieces), sum(length for _, length in pieces))
    body = head + b"".join([pack(piece, length) for piece, length in pieces])
    return blake3(address + body, key=_KEY).digest() + body


def decode_chunk_list(address: Address, data: bytes) -> ChunkList:
    """The list that lies under ``address``.

    Raises:
        CorruptionError: Damaged, or the list of another content.
        FormatVersionError: A list of a later format.
    """
    if len(data) < _BODY_START or blake3(address + data[DIGEST_BYTES:], key=_KEY).digest() != data[:DIGEST_BYTES]:
        raise CorruptionError(f"the chunk list of {address.hex()} is damaged; run `casstore verify`.", address=address)
    version, count, size = _HEAD.unpack_from(data, DIGEST_BYTES)
    if version != VERSION:
        raise FormatVersionError(f"a chunk list of format {version}; this casstore reads format 1.", address=address)
    if not 1 <= count <= MAX_PIECES or len(data) != _BODY_START + count * _PIECE.size or any(data[33:36]):
        raise CorruptionError(f"the chunk list of {address.hex()} is malformed.", address=address)
    pieces: list[tuple[Address, int]] = list(_PIECE.iter_unpack(data[_BODY_START:]))
    if sum(length for _, length in pieces) != size or any(not length for _, length in pieces):
        raise CorruptionError(f"the lengths in the chunk list of {address.hex()} do not add up.", address=address)
    return ChunkList(size, pieces)
