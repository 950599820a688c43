# SPDX-License-Identifier: MIT
"""Where an export reads from: a store, or what a worker made on top of a store that it may only read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Final, Protocol, runtime_checkable

from casstore.address import Address, content_address, node_address, snapshot_address
from casstore.compression import compress, decompress
from casstore.errors import CorruptionError, NotFoundError, ReadOnlyError
from casstore.format.chunk_list import decode_chunk_list
from casstore.format.kinds import CHUNK, CHUNK_LIST, EVENT, KIND_NAMES, NODE, SNAPSHOT
from casstore.format.record import Record
from casstore.snapshots import shallow_ids
from casstore.storage import Storage

LEVEL: Final = 3

_ADDRESS_OF: Final[dict[int, Callable[[bytes], Address]]] = {
    CHUNK: content_address,
    NODE: node_address,
    SNAPSHOT: snapshot_address,
}


class RecordReader(Protocol):
    """What an export needs."""

    def get_record(self, kind: int, address: Address) -> bytes:
        """The raw bytes of a record, verified against ``address`` and ``kind``; raises ``NotFoundError``."""

    def kind_of(self, address: Address) -> int:
        """The kind of the record under ``address``; raises ``NotFoundError``."""


@runtime_checkable
class StoredReader(RecordReader, Protocol):
    """A reader that has records as they are stored, so that they need not be compressed again."""

    def stored_record(self, address: Address) -> Record:
        """The record under ``address``, its content verified; raises ``NotFoundError``."""


@runtime_checkable
class ShallowReader(RecordReader, Protocol):
    """A reader that knows of which snapshots the parents were given up."""

    def shallow(self) -> Set[Address]:
        """Ids of the shallow snapshots."""


class StorageReader:
    """A store's records."""

    __slots__ = ("_storage", "get_record")

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.get_record = storage.get_record

    def kind_of(self, address: Address) -> int:
        """The kind of the record under ``address``.

        Raises:
            NotFoundError: There is none.
        """
        entry = self._storage.backend.find(address)
        if entry is None:
            raise NotFoundError(f"nothing has the address {address.hex()}.", address=address)
        return entry.kind

    def shallow(self) -> Set[Address]:
        """Ids of the shallow snapshots."""
        return shallow_ids(self._storage)

    def stored_record(self, address: Address) -> Record:
        """The record under ``address``, verified.

        Raises:
            NotFoundError: There is none.
            CorruptionError: It is damaged.
        """
        record = self._storage.backend.get(address)
        if record.base is not None:
            # A bundle stands for itself: whoever adopts it need not have the base.
            return self._storage.record(record.kind, address, self._storage.verified(record))
        try:
            check_stored(record)
        except CorruptionError as error:
            raise self._storage.backend.damaged(address) from error
        return record


def stored_records(reader: RecordReader, level: int) -> Callable[[Address], Record]:
    """Gives records as they go into a bundle; compresses at ``level`` what the reader has only as raw bytes."""
    if isinstance(reader, StoredReader):
        return reader.stored_record

    def stored_record(address: Address) -> Record:
        kind = reader.kind_of(address)
        raw = reader.get_record(kind, address)
        encoding, stored = compress(raw, level)
        return Record(kind, encoding, address, len(raw), stored)

    return stored_record


class OverlayReader:
    """Records in memory over another reader: what a worker made, and the store that it reads.

    Args:
        records: By address; chunks, lists, nodes and snapshots.
        below: Where all others are.
    """

    __slots__ = ("_below", "_records", "_stored_below")

    def __init__(self, records: Mapping[Address, Record], below: RecordReader) -> None:
        self._records = records
        self._below = below
        self._stored_below = stored_records(below, LEVEL)

    def get_record(self, kind: int, address: Address) -> bytes:
        """The raw bytes of a record; errors as of ``RecordReader``."""
        record = self._records.get(address)
        if record is None:
            return self._below.get_record(kind, address)
        if record.kind != kind:
            raise NotFoundError(f"{address.hex()} is a {KIND_NAMES[record.kind]}.", address=address)
        return check_stored(record)

    def kind_of(self, address: Address) -> int:
        """The kind of a record; errors as of ``RecordReader``."""
        record = self._records.get(address)
        return self._below.kind_of(address) if record is None else record.kind

    def shallow(self) -> Set[Address]:
        """Ids of the shallow snapshots."""
        return self._below.shallow() if isinstance(self._below, ShallowReader) else frozenset()

    def stored_record(self, address: Address) -> Record:
        """The record, verified; errors as of ``StoredReader``."""
        record = self._records.get(address)
        if record is None:
            return self._stored_below(address)
        check_stored(record)
        return record


class ReaderRecords:
    """A reader as the record store of a tree that nobody changes."""

    __slots__ = ("get_record",)

    def __init__(self, reader: RecordReader) -> None:
        self.get_record = reader.get_record

    def put_record(self, kind: int, address: Address, raw: bytes) -> bool:
        """Raises ``ReadOnlyError``."""
        raise ReadOnlyError("an export changes nothing.")

    def known(self, address: Address) -> bool:
        """True: whoever exports holds what it reads."""
        return True


def check_stored(record: Record) -> bytes:
    """The raw bytes of a record.

    Raises:
        CorruptionError: They are not what its address says, or it is an event.
    """
    kind, encoding, address, raw_bytes, stored = record
    raw = decompress(encoding, stored, raw_bytes)
    if kind == CHUNK_LIST:
        decode_chunk_list(address, raw)
    elif kind == EVENT or _ADDRESS_OF[kind](raw) != address:
        raise CorruptionError(f"the record of {address.hex()} holds something else.", address=address)
    return raw
