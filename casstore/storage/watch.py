# SPDX-License-Identifier: MIT
"""What must not be collected although no ref leads to it yet.

A ``Watch`` is opened by every running operation (an import, a commit) and by every collection while it marks. What is
appended after it began is live, and so is what a dedup hit met: chunks as one bit each, everything that refers to
other objects by address, because what lies below is live then too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from casstore.address import Address
from casstore.format.index_entry import IndexEntry
from casstore.format.kinds import CHUNK


class Bitmap:
    """A set of records, a bit for each ordinal of each segment."""

    __slots__ = ("_bits",)

    def __init__(self, parts: Mapping[int, bytes] | None = None) -> None:
        self._bits: dict[int, bytearray] = {}
        for segment, bits in (parts or {}).items():
            self._bits[segment] = bytearray(bits)

    def parts(self) -> dict[int, bytes]:
        """Segment → its bits, from which an equal one can be made."""
        return {segment: bytes(bits) for segment, bits in self._bits.items()}

    def add(self, segment: int, ordinal: int) -> bool:
        """Adds a record; whether it was new."""
        bits = self._bits.get(segment)
        if bits is None:
            bits = self._bits[segment] = bytearray()
        place, bit = ordinal >> 3, 1 << (ordinal & 7)
        if place >= len(bits):
            bits.extend(bytes(max(64, place + 1 - len(bits))))
        old = bits[place]
        bits[place] = old | bit
        return not old & bit

    def discard(self, segment: int, ordinal: int) -> None:
        """Takes a record out, where it is in."""
        bits = self._bits.get(segment)
        if bits is not None and ordinal >> 3 < len(bits):
            bits[ordinal >> 3] &= ~(1 << (ordinal & 7))

    def __contains__(self, record: tuple[int, int]) -> bool:
        bits = self._bits.get(record[0])
        place = record[1] >> 3
        return bits is not None and place < len(bits) and bool(bits[place] & (1 << (record[1] & 7)))

    def update(self, other: Bitmap) -> None:
        """Adds all records of ``other``."""
        for segment, bits in list(other._bits.items()):
            mine = self._bits.get(segment, b"")
            joined = int.from_bytes(mine, "little") | int.from_bytes(bits, "little")
            self._bits[segment] = bytearray(joined.to_bytes(max(len(mine), len(bits)), "little"))

    def __len__(self) -> int:
        return sum(int.from_bytes(bits, "little").bit_count() for bits in self._bits.values())

    @property
    def memory_bytes(self) -> int:
        """Bytes that the bits take."""
        return sum(map(len, self._bits.values()))


class Watch:
    """Everything that was put or hit since it began."""

    __slots__ = ("_lock", "chunks", "parents", "start")

    def __init__(self, start: tuple[int, int]) -> None:
        """``start`` is where the next record would have gone when the watch began: segment and ordinal."""
        self.start = start
        self.chunks = Bitmap()
        self.parents: set[Address] = set()
        self._lock = threading.Lock()

    def hit(self, address: Address, entry: IndexEntry) -> None:
        """Somebody relies on a record that was there already."""
        with self._lock:
            if entry.kind == CHUNK:
                self.chunks.add(entry.segment, entry.ordinal)
            else:
                self.parents.add(address)

    def miss(self, address: Address) -> None:
        """What was told by ``hit`` is gone: nobody can rely on it."""
        with self._lock:
            self.parents.discard(address)

    def is_new(self, segment: int, ordinal: int) -> bool:
        """Whether the record was appended after the watch began."""
        return (segment, ordinal) >= self.start
