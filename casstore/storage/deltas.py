# SPDX-License-Identifier: MIT
"""Deltas: chunks stored against a chunk of the version before them.

Invariants. Only chunks are deltas or bases, so a base that is kept for its deltas alone promises nothing else. A base
is a full record when the delta is written. Whoever writes a delta has hit its base in the same operation, and a hit on
a delta is one on its base too, so the collector learns of both (``docs/design/011-deltas.md``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from casstore.address import ADDRESS_BYTES, Address, content_address
from casstore.compression import compress_delta, decompress, decompress_delta
from casstore.errors import CorruptionError, NotFoundError
from casstore.format.index_entry import DAMAGED_FLAG, IndexEntry
from casstore.format.kinds import CHUNK, CHUNK_LIST, ZSTD_BASE
from casstore.format.record import Record
from casstore.storage.indexed import MAX_BASES

if TYPE_CHECKING:
    from casstore.storage.storage import Storage

MIN_BYTES: Final = 256
"""Shorter contents are stored in full: the base's address alone would take an eighth of them."""
_TRIES: Final = 4


def delta_of(storage: Storage, address: Address, data: bytes, like: Address) -> Record | None:
    """``data`` stored against the chunk ``like``, or against that one's own base; None where that saves too little.

    Call it within ``storage.operation()``, which must last until the record was put: the base is hit here.

    *Cost*: one read of the base, and some 10 µs.
    """
    if len(data) < MIN_BYTES:
        return None
    backend = storage.backend
    # What is there already may be the base of others, and is damaged: it is written in full again.
    if backend.find(address) is not None:
        return None
    entry = backend.find(like)
    if entry is not None and entry.base is not None:
        like = entry.base
        entry = backend.find(like)
    if entry is None or entry.kind != CHUNK or entry.base is not None or like == address:
        return None
    # A full record of this data would be about as small as the base's is; a delta costs a second read, for ever.
    wanted = len(data) * entry.stored_bytes // max(1, entry.raw_bytes) * 3 // 4 - ADDRESS_BYTES
    if wanted <= 0:
        return None
    try:
        base = storage.get_record(CHUNK, like)
    except (CorruptionError, NotFoundError):
        # Damaged (and marked so by now) or just collected: no reason to fail a put that does not need it.
        return None
    frame = compress_delta(data, base)
    if len(frame) > wanted or not storage.known(like):
        return None
    return Record(CHUNK, ZSTD_BASE, address, len(data), like + frame)


def read_delta(storage: Storage, record: Record, depth: int = 0) -> bytes:
    """The verified bytes of a delta.

    Raises:
        CorruptionError: The delta or its base is damaged or missing; the one that is gets marked.
    """
    address = record.address
    for _ in range(_TRIES):
        like = record.base
        if like is None:
            return storage.verified(record)
        try:
            base = _raw_base(storage, like, depth)
        except NotFoundError:
            # A collection may have made the delta full, and taken the base, since its record was read.
            newer = storage.backend.get(address)
            if newer == record:
                raise CorruptionError(
                    f"{address.hex()} is stored against {like.hex()}, which is missing; "
                    "run `casstore repair`, or put the same content again.",
                    address=address,
                ) from None
            record = newer
            continue
        try:
            raw = decompress_delta(record.stored[ADDRESS_BYTES:], record.raw_bytes, base)
        except CorruptionError as error:
            raise _damaged(storage, address, like, base) from error
        if content_address(raw) != address:
            raise _damaged(storage, address, like, base)
        return raw
    raise storage.backend.damaged(address)


def _raw_base(storage: Storage, like: Address, depth: int) -> bytes:
    """The bytes of a base, not yet verified: what is made of them is."""
    cached = storage.cache.get(like)
    if cached is not None:
        return cached  # type: ignore[no-any-return]
    record = storage.backend.get(like)
    if record.kind != CHUNK or depth == MAX_BASES:
        raise storage.backend.damaged(like)
    if record.base is not None:
        return read_delta(storage, record, depth + 1)
    try:
        return decompress(record.encoding, record.stored, record.raw_bytes)
    except CorruptionError as error:
        raise storage.backend.damaged(like) from error


def _damaged(storage: Storage, address: Address, like: Address, base: bytes) -> CorruptionError:
    """The error for a delta that leads to other bytes: it is the base that is damaged, or the delta."""
    return storage.backend.damaged(address if content_address(base) == like else like)


def is_readable(storage: Storage, entry: IndexEntry) -> bool:
    """Whether nothing is known against the record of a chunk, or against the one that it is stored against."""
    for _ in range(MAX_BASES):
        if entry.flags & DAMAGED_FLAG or entry.kind != CHUNK:
            return False
        if entry.base is None:
            return True
        base = storage.backend.find(entry.base)
        if base is None:
            return False
        entry = base
    return False


def pieces_of(storage: Storage, content: Address) -> list[Address]:
    """The chunks of the version before, against which those of a new one may be stored."""
    entry = storage.backend.find(content)
    if entry is None:
        return []
    if entry.kind == CHUNK:
        return [content]
    if entry.kind != CHUNK_LIST:
        return []
    try:
        found = storage.chunk_list(content)
    except (CorruptionError, NotFoundError):
        # As in ``delta_of``.
        return []
    return [] if found is None else [piece for piece, _ in found.pieces]
