# SPDX-License-Identifier: MIT
"""Writing a bundle: records in the order they come, and the manifest that makes it whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO, Final

from blake3 import blake3

from casstore.address import Address, event_address
from casstore.collection.bundle_reader import LEVEL
from casstore.compression import compress
from casstore.errors import InvalidInputError
from casstore.format.bundle import MAX_RECORDS, Manifest, encode_manifest
from casstore.format.kinds import EVENT
from casstore.format.record import Record, encode_record

_WRITE_BYTES: Final = 1024 * 1024


def writer(file: BinaryIO) -> Callable[[Sequence[bytes]], object]:
    """A function that writes all of the parts it is given."""

    def write(parts: Sequence[bytes]) -> None:
        rest = memoryview(b"".join(parts))
        while rest:
            # An unbuffered file may take less than all.
            rest = rest[file.write(rest) :]

    return write


class BundleOutput:
    """Records on their way out, a MiB at a time."""

    __slots__ = ("_hasher", "_parts", "_waiting", "_write", "bytes", "kinds", "records")

    def __init__(self, write: Callable[[Sequence[bytes]], object]) -> None:
        self._write = write
        self._hasher = blake3()
        self._parts: list[bytes] = []
        self._waiting = 0
        self.records = 0
        self.bytes = 0
        self.kinds: Counter[int] = Counter()

    def add(self, record: Record) -> None:
        """Writes one record."""
        if self.records == MAX_RECORDS:
            raise InvalidInputError(
                f"a bundle holds at most {MAX_RECORDS} records; export older states first, and exclude them."
            )
        self.records += 1
        self.kinds[record.kind] += 1
        self._append(encode_record(record))
        if self._waiting >= _WRITE_BYTES:
            self._flush()

    def finish(
        self,
        tips: tuple[Address, ...],
        refs: Mapping[str, Address],
        excluded: tuple[Address, ...],
        shallow: tuple[Address, ...],
    ) -> None:
        """Writes the manifest."""
        self._flush()
        payload = encode_manifest(
            Manifest(
                tips=tips,
                refs=refs,
                excluded=excluded,
                records=self.records,
                digest=self._hasher.digest(),
                shallow=shallow,
            )
        )
        encoding, stored = compress(payload, LEVEL)
        self._append(encode_record(Record(EVENT, encoding, event_address(payload), len(payload), stored)))
        self._flush()

    def _append(self, data: bytes) -> None:
        self._parts.append(data)
        self._waiting += len(data)
        self.bytes += len(data)

    def _flush(self) -> None:
        for part in self._parts:
            self._hasher.update(part)
        if self._parts:
            self._write(self._parts)
        self._parts, self._waiting = [], 0
