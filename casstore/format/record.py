# SPDX-License-Identifier: MIT
"""One record: how an object lies in a segment, in a bundle, or in a file of its own.

::

    offset  bytes  field
         0      4  magic "CASr"
         4      8  checksum: first 8 bytes of the BLAKE3 of everything after this field (header rest and stored bytes)
        12      1  version, 1
        13      1  kind                      (kinds.py)
        14      1  encoding                  (kinds.py)
        15      1  reserved, 0
        16      4  stored length, little-endian
        20      4  raw length, little-endian, at most MAX_RAW_BYTES
        24     32  address
        56      …  stored bytes; those of a delta begin with the 32 bytes of its base's address

A record says all about itself, so an index can be rebuilt from segments alone. Whoever reads a record's content checks
its address, which covers more than the checksum does; the checksum is for readers that only walk over records.
"""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from blake3 import blake3

from casstore.address import ADDRESS_BYTES, Address
from casstore.errors import CorruptionError, FormatVersionError
from casstore.format.kinds import CHUNK, ENCODING_NAMES, KIND_NAMES, MAX_RAW_BYTES, RAW, ZSTD_BASE

MAGIC: Final = b"CASr"
VERSION: Final = 1
HEADER_BYTES: Final = 56
CHECKSUM_BYTES: Final = 8
MAX_STORED_BYTES: Final = MAX_RAW_BYTES
"""A record is stored compressed only where that is smaller, so stored bytes never exceed raw bytes."""

_REST = struct.Struct("<BBBBII32s")
_HEADER = struct.Struct("<4s8sBBBBII32s")
_pack_rest = _REST.pack
REST_START: Final = 4 + CHECKSUM_BYTES
_unpack_header = _HEADER.unpack_from


class Record(NamedTuple):
    """One object as it is stored: ``stored`` holds ``raw_bytes`` bytes in ``encoding``."""

    kind: int
    encoding: int
    address: Address
    raw_bytes: int
    stored: bytes

    @property
    def base(self) -> Address | None:
        """What a delta is stored against."""
        return Address(self.stored[:ADDRESS_BYTES]) if self.encoding == ZSTD_BASE else None


class RecordHeader(NamedTuple):
    """The first 56 bytes of a record."""

    checksum: bytes
    kind: int
    encoding: int
    stored_bytes: int
    raw_bytes: int
    address: Address


def encode_record(record: Record) -> bytes:
    """The record's bytes, header and all."""
    kind, encoding, address, raw_bytes, stored = record
    rest = _pack_rest(VERSION, kind, encoding, 0, len(stored), raw_bytes, address) + stored
    return MAGIC + blake3(rest).digest(CHECKSUM_BYTES) + rest


def header_rest(kind: int, encoding: int, stored_bytes: int, raw_bytes: int, address: bytes) -> bytes:
    """What a header holds behind its checksum: bytes ``REST_START`` to ``HEADER_BYTES`` of the record."""
    return _pack_rest(VERSION, kind, encoding, 0, stored_bytes, raw_bytes, address)


def decode_header(data: bytes | memoryview, offset: int = 0) -> RecordHeader:
    """The header at ``offset``; the checksum is not yet compared.

    Raises:
        CorruptionError: Not a record's header.
        FormatVersionError: A record of a later format.
    """
    if len(data) - offset < HEADER_BYTES:
        raise CorruptionError("a record is cut short in its header; run `casstore verify`.", offset=offset)
    magic, checksum, version, kind, encoding, reserved, stored_bytes, raw_bytes, address = _unpack_header(data, offset)
    if magic != MAGIC:
        raise CorruptionError("no record begins here; run `casstore verify`.", offset=offset)
    if version != VERSION:
        raise FormatVersionError(f"a record of format {version}; this casstore reads format 1.", offset=offset)
    if (
        kind not in KIND_NAMES
        or encoding not in ENCODING_NAMES
        or reserved
        or raw_bytes > MAX_RAW_BYTES
        or stored_bytes > raw_bytes
        or (encoding == RAW and stored_bytes != raw_bytes)
        or (encoding == ZSTD_BASE and (kind != CHUNK or stored_bytes <= ADDRESS_BYTES))
    ):
        raise CorruptionError("a record's header is damaged; run `casstore verify`.", offset=offset)
    return RecordHeader(checksum, kind, encoding, stored_bytes, raw_bytes, Address(address))


def base_of(header: RecordHeader, data: bytes | memoryview) -> Address | None:
    """What a delta is stored against, given its header and its whole record."""
    if header.encoding != ZSTD_BASE:
        return None
    return Address(bytes(data[HEADER_BYTES : HEADER_BYTES + ADDRESS_BYTES]))


def check_record(data: bytes | memoryview, offset: int = 0) -> RecordHeader:
    """The header of the whole record at ``offset``, after comparing the checksum over all of it.

    Raises:
        CorruptionError: The record is cut short or damaged.
        FormatVersionError: A record of a later format.
    """
    header = decode_header(data, offset)
    end = offset + HEADER_BYTES + header.stored_bytes
    if end > len(data):
        raise CorruptionError("a record is cut short; run `casstore verify`.", address=header.address, offset=offset)
    covered = data[offset + REST_START : end]
    if blake3(covered).digest(CHECKSUM_BYTES) != header.checksum:
        raise CorruptionError("a record's checksum is wrong; run `casstore verify`.", offset=offset)
    return header


def decode_record(data: bytes) -> Record:
    """The one record that ``data`` is, checksum compared.

    Raises:
        CorruptionError: Damaged, cut short, or followed by other bytes.
        FormatVersionError: A record of a later format.
    """
    header = check_record(data)
    if len(data) != HEADER_BYTES + header.stored_bytes:
        raise CorruptionError("bytes follow a record; run `casstore verify`.", address=header.address)
    return Record(header.kind, header.encoding, header.address, header.raw_bytes, bytes(data[HEADER_BYTES:]))
