# SPDX-License-Identifier: MIT
"""Pins of this process: what live handles keep from the collector, by Python's own reference counting."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass

from casstore.address import Address


@dataclass(frozen=True, slots=True)
class Pin:
    """What keeps something alive.

    Attributes:
        what: ``"snapshot"``, ``"root"``, ``"content"``, or ``"reader"``.
        address: 32 bytes; None for a reader, which keeps all that it saw.
        count: How many handles.
        owner: ``"this process"``, or the reader's pin.
    """

    what: str
    address: Address | None
    count: int
    owner: str = "this process"


class PinTable:
    """Counts handles by address.

    A handle may be dropped by the garbage collector at any line of any thread, also of one that holds the table's
    lock; so drops go into a queue, which the next look at the table empties.
    """

    __slots__ = ("_counts", "_dropped", "_lock")

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, Address]] = Counter()
        self._dropped: deque[tuple[str, Address]] = deque()
        self._lock = threading.Lock()

    def add(self, what: str, address: Address) -> None:
        """One more handle; ``drop`` it with the same words."""
        with self._lock:
            self._counts[what, address] += 1
            self._empty_queue()

    def drop(self, what: str, address: Address) -> None:
        """One handle fewer; safe in ``__del__``."""
        self._dropped.append((what, address))

    def _empty_queue(self) -> None:
        while self._dropped:
            key = self._dropped.popleft()
            self._counts[key] -= 1
            if self._counts[key] <= 0:
                del self._counts[key]

    def all(self) -> list[Pin]:
        """All pins, as of now."""
        with self._lock:
            self._empty_queue()
            return [Pin(what, address, count) for (what, address), count in self._counts.items()]


class PinHandle:
    """Keeps one address pinned for as long as it lives; share it among all who need the same thing."""

    __slots__ = ("_address", "_table", "_what")

    def __init__(self, table: PinTable, what: str, address: Address) -> None:
        table.add(what, address)
        self._table, self._what, self._address = table, what, address

    def __del__(self) -> None:
        self._table.drop(self._what, self._address)
