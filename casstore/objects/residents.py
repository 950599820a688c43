# SPDX-License-Identifier: MIT
"""Residents: the loaded objects of a materializer, counted in bytes, and which of them leave when there are too many.

They are known by weak references: an object whose Refs are gone is gone, whoever may have loaded it.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from casstore.objects.held import MISSING, Held

if TYPE_CHECKING:
    from casstore.format.entry import Entry

OVERHEAD_BYTES: Final = 640
"""What a loaded object takes beside its value: its record, weak references, places in tables (by tracemalloc)."""

SLACK: Final = 16
"""Room is made for a sixteenth of the bound at once, so that the order is made rarely: O(log n) for each load."""


class _Resident(weakref.ref[Held]):
    __slots__ = ("entry", "size")
    entry: Entry | None
    size: int


class Residents:
    """Not thread-safe: the loader's lock is held by whoever calls."""

    __slots__ = ("_all", "_by_entry", "_gone", "unloads", "used_bytes")

    def __init__(self) -> None:
        self._all: dict[int, _Resident] = {}
        self._by_entry: dict[Entry, _Resident] = {}
        # Objects may die at any line of any thread, so what counted them goes into a queue.
        self._gone: deque[_Resident] = deque()
        self.used_bytes = 0
        self.unloads = 0

    def __len__(self) -> int:
        self._drain()
        return len(self._all)

    def __iter__(self) -> Iterator[Held]:
        self._drain()
        return iter([held for one in self._all.values() if (held := one()) is not None])

    def _drain(self) -> None:
        while self._gone:
            self._take_out(self._gone.popleft())

    def _take_out(self, one: _Resident) -> None:
        if self._all.pop(id(one), None) is None:
            return
        self.used_bytes -= one.size
        if one.entry is not None and self._by_entry.get(one.entry) is one:
            del self._by_entry[one.entry]

    def find(self, entry: Entry) -> Held | None:
        """A loaded object that was read from such an entry, the one that was loaded last."""
        found = self._by_entry.get(entry)
        return None if found is None else found()

    def add(self, held: Held) -> None:
        """Counts a loaded object."""
        if self._gone:
            self._drain()
        one = _Resident(held, self._gone.append)
        one.size = held.size + OVERHEAD_BYTES
        one.entry = held.entry
        held.resident = one
        self._all[id(one)] = one
        self.used_bytes += one.size
        if one.entry is not None:
            self._by_entry[one.entry] = one

    def forget_entry(self, held: Held) -> None:
        """Notes that an object is not what its entry says any more."""
        one = held.resident
        if isinstance(one, _Resident) and one.entry is not None:
            if self._by_entry.get(one.entry) is one:
                del self._by_entry[one.entry]
            one.entry = None
        held.entry = None

    def remove(self, held: Held) -> None:
        """Counts it no more."""
        one, held.resident = held.resident, None
        if isinstance(one, _Resident):
            self._take_out(one)

    def make_room(self, allowed_bytes: int) -> list[Any]:
        """Lets objects go until the others fit: least priority first, of equals the least recently used.

        Dirty objects stay, and those that somebody holds anyway.

        Returns:
            The values, to be dropped where no lock is held: what is run when they die may be anybody's.
        """
        self._drain()
        if self.used_bytes <= allowed_bytes:
            return []
        goal = allowed_bytes - allowed_bytes // SLACK
        order = [(held.priority, held.used, number, held) for number, held in enumerate(self)]
        order.sort(reverse=True)
        dropped = []
        while order and self.used_bytes > goal:
            held = order.pop()[3]
            if held.value is MISSING or held.dirty or held.is_held_outside:
                continue
            self.remove(held)
            self.unloads += 1
            dropped.append(held.let_go())
        return dropped
