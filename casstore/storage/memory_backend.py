# SPDX-License-Identifier: MIT
"""The backend without a disk: for tests and short searches. Nothing outlives the store object."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from casstore.address import Address
from casstore.errors import CorruptionError
from casstore.format.index_entry import IndexEntry, entry_of
from casstore.format.record import HEADER_BYTES, Record
from casstore.storage.backend import SegmentInfo
from casstore.storage.index import MemoryIndex
from casstore.storage.indexed import IndexedBackend

_SEGMENT = 1


class MemoryBackend(IndexedBackend):
    """Records in a dict."""

    def __init__(self) -> None:
        super().__init__(MemoryIndex())
        self._records: dict[Address, Record] = {}
        self._used = 0
        self._ordinal = 0

    def _reachable(self, entry: IndexEntry) -> bool:
        return True

    def get(self, address: Address) -> Record:
        record = self._records.get(address)
        if record is None:
            raise self._missing(address)
        return record

    def _prepare(self, record: Record) -> bytes:
        return b""

    def _keep(self, prepared: Sequence[tuple[Record, bytes]]) -> None:
        stamp = int(time.time())
        for record, _ in prepared:
            # Replaced in one step: somebody may be reading the old one.
            old = self._records.get(record.address)
            self._records[record.address] = record
            self._used += HEADER_BYTES + len(record.stored)
            if old is not None:
                self._used -= HEADER_BYTES + len(old.stored)
            self._pending[record.address] = entry_of(record, _SEGMENT, 0, self._ordinal, stamp)
            self._ordinal += 1

    def _make_durable(self) -> dict[bytes, bytes | None]:
        return {}

    def _forget(self, found: Mapping[Address, IndexEntry]) -> None:
        for address in found:
            self._drop(address)

    def _drop(self, address: Address) -> None:
        record = self._records.pop(address, None)
        if record is not None:
            self._used -= HEADER_BYTES + len(record.stored)

    def _position(self) -> tuple[int, int]:
        return _SEGMENT, self._ordinal

    def segments(self) -> list[SegmentInfo]:
        return [SegmentInfo(_SEGMENT, self.used_bytes(), self._ordinal, False)]

    def check_segments(self) -> Iterator[CorruptionError]:
        return iter(())

    def compact(self, segments: Sequence[int]) -> None:
        pass

    def used_bytes(self) -> int:
        return self._used

    def _leave_to_parent(self) -> None:
        # A copy in memory shares nothing with the parent's.
        self._lock = threading.RLock()

    def close(self) -> None:
        with self._lock:
            self._closed = "the store in memory is closed; what it held is gone."
            self._index_get = self._refuse
            self._records.clear()
            self._pending = {}
            self._index.close(clean=True)
